//! Counted ordered multisets of bytes: what takes rows back, and what keeps all rows (`array_agg`, `string_agg`).

use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, Int64Builder, LargeBinaryBuilder, LargeStringBuilder, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type};
use arrow_row::{RowConverter, SortField};
use hashbrown::HashSet;

use super::byte_key::{ByteQuery, ByteTail, append};
use super::codec::{Bytes, with_bytes};
use super::lists::{Lists, list_type, lists};
use super::multiset::Multiset;
use super::row_input::RowInput;
use super::rows::Rows;
use super::sum::nulls_of;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// What is read from a group's rows.
pub(super) enum PickRows {
    /// The value of the first.
    First,
    /// The value of the last.
    Last,
    /// All values as a list.
    List,
    /// All values as one text.
    Text {
        /// What stands between.
        delimiter: String,
    },
}

/// The rows of each group, counted.
pub(super) struct OrderedBytes {
    sets: Vec<Multiset<u128, ByteTail>>,
    heap: usize,
    input: RowInput,
    pick: PickRows,
    /// Values count once, where they come first. For lists and texts.
    distinct: bool,
    output: DataType,
}

impl OrderedBytes {
    pub(super) fn new(input: RowInput, pick: PickRows, distinct: bool, output: DataType) -> Self {
        Self { sets: Vec::new(), heap: 0, input, pick, distinct, output }
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let rows = Lists::new(groups, &partials[0]);
        let counts = Lists::new(groups, &partials[1]);
        let diffs = counts.values.as_primitive::<Int64Type>();
        let selected = Rows::masked(&rows.groups, Some(diffs.values()), None);
        take_rows(&mut self.sets, &mut self.heap, &selected, rows.values.as_binary::<i64>(), sign);
    }

    /// Values in order with repetitions, and where each group's end. Groups whose list would be too long get an error.
    fn expand(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> (ArrayRef, Vec<usize>, Vec<bool>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        let mut spans = Vec::with_capacity(groups.len());
        for &group in groups {
            let start = ends.len() - 1;
            for (head, tail, _) in self.sets[group as usize].iter().filter(|(_, _, count)| *count > 0) {
                append(head, tail, &mut bytes);
                ends.push(bytes.len());
            }
            spans.push(start..ends.len() - 1);
        }
        let rows = ends.len() - 1;
        let values = self.input.codec.decode(ends.windows(2).map(|span| Some(&bytes[span[0]..span[1]])));
        let codes = self.distinct.then(|| {
            let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())]).expect("values order, or planning failed");
            converter.convert_columns(&[super::codec::one_nan(&values)]).expect("values have the planned type")
        });
        let mut positions: Vec<u32> = Vec::with_capacity(rows);
        let mut lengths = Vec::with_capacity(groups.len());
        let mut valid = Vec::with_capacity(groups.len());
        let mut seen: HashSet<&[u8]> = HashSet::new();
        for (at, span) in spans.into_iter().enumerate() {
            let start = positions.len();
            let counts = || self.sets[groups[at] as usize].iter().map(|(_, _, count)| count).filter(|count| *count > 0);
            if let Some(codes) = &codes {
                seen.clear();
                positions.extend(span.filter(|&row| seen.insert(codes.row(row).data())).map(|row| row as u32));
            } else {
                let total = counts().fold(0i64, i64::saturating_add);
                if total + start as i64 > i64::from(i32::MAX) {
                    errors.push((at, format!("{} holds more than 2^31 values", self.name())));
                } else {
                    for (row, count) in span.zip(counts()) {
                        positions.resize(positions.len() + count as usize, row as u32);
                    }
                }
            }
            lengths.push(positions.len() - start);
            valid.push(positions.len() > start);
        }
        let unchanged = positions.len() == rows && positions.iter().enumerate().all(|(i, &at)| i == at as usize);
        let values = if unchanged { values } else { take(&values, &UInt32Array::from(positions), None).expect("positions are in range") };
        (values, lengths, valid)
    }

    fn name(&self) -> &'static str {
        if matches!(self.pick, PickRows::Text { .. }) { "string_agg" } else { "array_agg" }
    }

    fn list(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let (values, lengths, valid) = self.expand(groups, errors);
        let DataType::List(field) = &self.output else { unreachable!("array_agg makes a list, not {}", self.output) };
        let values = if values.data_type() == field.data_type() {
            values
        } else {
            cast(&values, field.data_type()).expect("a list's values cast to its field's type")
        };
        Arc::new(ListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), values, nulls_of(valid)))
    }

    fn text(&self, groups: &[u32], delimiter: &str, errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let (values, lengths, valid) = self.expand(groups, errors);
        let values = cast(&values, &DataType::LargeUtf8).expect("values cast to text");
        let values = values.as_string::<i64>();
        let mut builder = LargeStringBuilder::new();
        let mut text = String::new();
        let mut at = 0;
        for (length, valid) in lengths.into_iter().zip(valid) {
            text.clear();
            for row in at..at + length {
                if row > at {
                    text.push_str(delimiter);
                }
                text.push_str(values.value(row));
            }
            at += length;
            builder.append_option(valid.then_some(text.as_str()));
        }
        super::finish(Arc::new(builder.finish()), &self.output)
    }
}

fn take_rows(sets: &mut [Multiset<u128, ByteTail>], heap: &mut usize, rows: &Rows<'_>, source: &impl Bytes, sign: i64) {
    rows.for_each(|row, group, diff| sets[group].add(&ByteQuery::new(source.bytes(row)), sign * diff, heap));
}

impl Accumulator for OrderedBytes {
    fn resize(&mut self, groups: usize) {
        if groups > self.sets.len() {
            self.sets.resize_with(groups, Multiset::default);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let (rows, columns) = self.input.select(groups, input, diffs);
        let encoded = self.input.codec.encode(&columns);
        let Self { sets, heap, .. } = self;
        with_bytes!(encoded, source => take_rows(sets, heap, &rows, source, 1));
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![list_type(&DataType::LargeBinary), list_type(&DataType::Int64)]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut rows = LargeBinaryBuilder::new();
        let mut counts = Int64Builder::new();
        let mut lengths = Vec::with_capacity(groups.len());
        let mut bytes = Vec::new();
        for &group in groups {
            let before = counts.len();
            for (head, tail, count) in self.sets[group as usize].iter() {
                bytes.clear();
                append(head, tail, &mut bytes);
                rows.append_value(&bytes);
                counts.append_value(count);
            }
            lengths.push(counts.len() - before);
        }
        vec![lists(&lengths, Arc::new(rows.finish())), lists(&lengths, Arc::new(counts.finish()))]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        true
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let one = |pick: fn(&Multiset<u128, ByteTail>) -> Option<(u128, &ByteTail)>| {
            let mut bytes = Vec::new();
            let spans: Vec<_> = groups
                .iter()
                .map(|&group| {
                    pick(&self.sets[group as usize]).map(|(head, tail)| {
                        let start = bytes.len();
                        append(head, tail, &mut bytes);
                        start..bytes.len()
                    })
                })
                .collect();
            self.input.output(self.input.codec.decode(spans.into_iter().map(|span| span.map(|span| &bytes[span]))))
        };
        match &self.pick {
            PickRows::First => one(Multiset::first),
            PickRows::Last => one(Multiset::last),
            PickRows::List => self.list(groups, errors),
            PickRows::Text { delimiter } => self.text(groups, delimiter, errors),
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.sets[group as usize].clear(&mut self.heap);
        }
    }

    fn reset(&mut self) {
        self.sets.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<Multiset<u128, ByteTail>>() + self.heap
    }
}
