//! DISTINCT: a set per group decides which rows are new (or gone), and only those reach the aggregate below.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, Int64Builder, LargeBinaryBuilder, PrimitiveBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};

use super::bits_of::{AsBits, with_bits_type};
use super::codec::{Bytes, Codec, one_nan, with_bytes};
use super::finish;
use super::lists::{Lists, list_type, lists};
use super::row_set::RowSet;
use super::rows::Rows;
use super::value_set::{Counted, Members, Plain};
use crate::state::accumulator::{Accumulator, AggregateInput};

/// An accumulator over distinct arguments. Without one below it counts them.
pub(super) fn distinct(
    types: &[DataType],
    below: Option<Box<dyn Accumulator>>,
    retractable: bool,
    output: DataType,
) -> Result<Box<dyn Accumulator>, String> {
    let below = Below { accumulator: below, retractable, output, rows: Vec::new(), groups: Vec::new(), diffs: Vec::new() };
    if let [data_type] = types {
        macro_rules! build {
            ($type:ty) => {
                if retractable {
                    type Set = Counted<<<$type as ArrowPrimitiveType>::Native as AsBits>::Bits>;
                    return Ok(Box::new(DistinctValues::<$type, Set>::new(data_type.clone(), below)));
                } else {
                    type Set = Plain<<<$type as ArrowPrimitiveType>::Native as AsBits>::Bits>;
                    return Ok(Box::new(DistinctValues::<$type, Set>::new(data_type.clone(), below)));
                }
            };
        }
        with_bits_type!(data_type, build, ());
    }
    let codec = if let [data_type] = types {
        Codec::column(data_type)?
    } else {
        Codec::rows(&types.iter().map(|data_type| (data_type.clone(), Default::default())).collect::<Vec<_>>())?
    };
    if retractable {
        Ok(Box::new(DistinctRows::<true> { sets: Vec::new(), heap: 0, codec, below }))
    } else {
        Ok(Box::new(DistinctRows::<false> { sets: Vec::new(), heap: 0, codec, below }))
    }
}

/// The aggregate over distinct values, and rows on their way to it.
struct Below {
    accumulator: Option<Box<dyn Accumulator>>,
    retractable: bool,
    output: DataType,
    rows: Vec<u32>,
    groups: Vec<u32>,
    diffs: Vec<i64>,
}

impl Below {
    #[inline(always)]
    fn note(&mut self, row: usize, group: usize, change: i64) {
        if change != 0 && self.accumulator.is_some() {
            self.rows.push(row as u32);
            self.groups.push(group as u32);
            self.diffs.push(change);
        }
    }

    /// Hands on the rows noted; `columns` gives the arguments of these.
    fn hand_on(&mut self, columns: impl FnOnce(&[u32]) -> Vec<ArrayRef>) {
        let Some(accumulator) = &mut self.accumulator else { return };
        if self.rows.is_empty() {
            return;
        }
        let args = columns(&self.rows);
        let input = AggregateInput { args: &args, order: &[], filter: None };
        accumulator.update(&self.groups, input, self.retractable.then_some(self.diffs.as_slice()));
        self.rows.clear();
        self.groups.clear();
        self.diffs.clear();
    }

    fn evaluate(&self, groups: &[u32], count: impl Fn(u32) -> i64, errors: &mut Vec<(usize, String)>) -> ArrayRef {
        match &self.accumulator {
            Some(accumulator) => accumulator.evaluate(groups, errors),
            None => finish(Arc::new(groups.iter().map(|&group| count(group)).collect::<Int64Array>()), &self.output),
        }
    }

    fn bytes(&self) -> usize {
        let own = self.rows.capacity() * 4 + self.groups.capacity() * 4 + self.diffs.capacity() * 8;
        own + self.accumulator.as_ref().map_or(0, |accumulator| accumulator.bytes())
    }
}

fn take_rows(columns: &[ArrayRef], rows: &[u32]) -> Vec<ArrayRef> {
    let rows = UInt32Array::from(rows.to_vec());
    columns.iter().map(|column| take(column, &rows, None).expect("rows are of the batch")).collect()
}

/// Distinct values of one primitive column.
struct DistinctValues<T, S> {
    sets: Vec<S>,
    heap: usize,
    value_type: DataType,
    below: Below,
    value: PhantomData<fn() -> T>,
}

impl<T, S> DistinctValues<T, S>
where
    T: ArrowPrimitiveType,
    T::Native: AsBits,
    S: Members<<T::Native as AsBits>::Bits>,
{
    fn new(value_type: DataType, below: Below) -> Self {
        Self { sets: Vec::new(), heap: 0, value_type, below, value: PhantomData }
    }

    fn take(&mut self, rows: &Rows<'_>, column: &ArrayRef, sign: i64) {
        let Self { sets, heap, below, .. } = self;
        let sets = sets.as_mut_slice();
        let values = column.as_primitive::<T>().values();
        if below.accumulator.is_none() {
            rows.for_each(|row, group, diff| {
                sets[group].add(values[row].bits(), sign * diff, heap);
            });
            return;
        }
        rows.for_each(|row, group, diff| {
            let change = sets[group].add(values[row].bits(), sign * diff, heap);
            below.note(row, group, change);
        });
        below.hand_on(|rows| take_rows(std::slice::from_ref(column), rows));
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let values = Lists::new(groups, &partials[0]);
        if S::COUNTS {
            let counts = Lists::new(groups, &partials[1]);
            let diffs = counts.values.as_primitive::<Int64Type>();
            self.take(&Rows::masked(&values.groups, Some(diffs.values()), None), &values.values, sign);
        } else {
            self.take(&Rows::masked(&values.groups, None, None), &values.values, sign);
        }
    }
}

impl<T, S> Accumulator for DistinctValues<T, S>
where
    T: ArrowPrimitiveType,
    T::Native: AsBits,
    S: Members<<T::Native as AsBits>::Bits>,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.sets.len() {
            self.sets.resize_with(groups, S::default);
        }
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.resize(groups);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        self.take(&Rows::new(groups, diffs, input.filter, &input.args[..1]), &input.args[0], 1);
    }

    fn partial_types(&self) -> Vec<DataType> {
        let mut types = vec![list_type(&self.value_type)];
        if S::COUNTS {
            types.push(list_type(&DataType::Int64));
        }
        types
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut values = PrimitiveBuilder::<T>::new();
        let mut counts = Int64Builder::new();
        let mut lengths = Vec::with_capacity(groups.len());
        for &group in groups {
            let before = values.len();
            self.sets[group as usize].for_each(|bits, count| {
                values.append_value(T::Native::from_bits(bits));
                if S::COUNTS {
                    counts.append_value(count);
                }
            });
            lengths.push(values.len() - before);
        }
        let values = values.finish().with_data_type(self.value_type.clone());
        let mut partials = vec![lists(&lengths, Arc::new(values))];
        if S::COUNTS {
            partials.push(lists(&lengths, Arc::new(counts.finish())));
        }
        partials
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        S::COUNTS
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        assert!(S::COUNTS, "a set without counts takes nothing back");
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        self.below.evaluate(groups, |group| self.sets[group as usize].len(), errors)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let set = std::mem::take(&mut self.sets[group as usize]);
            self.heap -= set.heap();
        }
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.clear(groups);
        }
    }

    fn reset(&mut self) {
        self.sets.clear();
        self.heap = 0;
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.reset();
        }
    }

    fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<S>() + self.heap + self.below.bytes()
    }
}

/// Distinct rows of any columns.
struct DistinctRows<const COUNTED: bool> {
    sets: Vec<RowSet<COUNTED>>,
    heap: usize,
    codec: Codec,
    below: Below,
}

fn take_bytes<const COUNTED: bool>(
    sets: &mut [RowSet<COUNTED>],
    heap: &mut usize,
    below: &mut Below,
    rows: &Rows<'_>,
    source: &impl Bytes,
    sign: i64,
) {
    rows.for_each(|row, group, diff| {
        let change = sets[group].add(source.bytes(row), sign * diff, heap);
        below.note(row, group, change);
    });
}

impl<const COUNTED: bool> DistinctRows<COUNTED> {
    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let rows = Lists::new(groups, &partials[0]);
        let counts = COUNTED.then(|| Lists::new(groups, &partials[1]));
        let diffs = counts.as_ref().map(|counts| &counts.values.as_primitive::<Int64Type>().values()[..]);
        let selected = Rows::masked(&rows.groups, diffs, None);
        let source = rows.values.as_binary::<i64>();
        let Self { sets, heap, codec, below } = self;
        take_bytes(sets, heap, below, &selected, source, sign);
        below.hand_on(|rows| codec.decode_columns(rows.iter().map(|&row| source.value(row as usize))));
    }
}

impl<const COUNTED: bool> Accumulator for DistinctRows<COUNTED> {
    fn resize(&mut self, groups: usize) {
        if groups > self.sets.len() {
            self.sets.resize_with(groups, RowSet::default);
        }
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.resize(groups);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let rows = Rows::new(groups, diffs, input.filter, input.args);
        let columns: Vec<ArrayRef> = input.args.iter().map(one_nan).collect();
        let encoded = self.codec.encode(&columns);
        let Self { sets, heap, below, .. } = self;
        with_bytes!(encoded, source => take_bytes(sets, heap, below, &rows, source, 1));
        below.hand_on(|rows| take_rows(input.args, rows));
    }

    fn partial_types(&self) -> Vec<DataType> {
        let mut types = vec![list_type(&DataType::LargeBinary)];
        if COUNTED {
            types.push(list_type(&DataType::Int64));
        }
        types
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut rows = LargeBinaryBuilder::new();
        let mut counts = Int64Builder::new();
        let mut lengths = Vec::with_capacity(groups.len());
        for &group in groups {
            let before = rows.len();
            self.sets[group as usize].for_each(|row, count| {
                rows.append_value(row);
                if COUNTED {
                    counts.append_value(count);
                }
            });
            lengths.push(rows.len() - before);
        }
        let mut partials = vec![lists(&lengths, Arc::new(rows.finish()))];
        if COUNTED {
            partials.push(lists(&lengths, Arc::new(counts.finish())));
        }
        partials
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        COUNTED
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        assert!(COUNTED, "a set without counts takes nothing back");
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        self.below.evaluate(groups, |group| self.sets[group as usize].len(), errors)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let set = std::mem::take(&mut self.sets[group as usize]);
            self.heap -= set.heap();
        }
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.clear(groups);
        }
    }

    fn reset(&mut self) {
        self.sets.clear();
        self.heap = 0;
        if let Some(accumulator) = &mut self.below.accumulator {
            accumulator.reset();
        }
    }

    fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<RowSet<COUNTED>>() + self.heap + self.below.bytes()
    }
}
