//! # Set operation
//!
//! **Meaning.** INTERSECT and EXCEPT over bags of rows, with and without ALL. Nulls are equal to nulls, and so are the two zeros of floats.
//! **Time.** Each epoch's net change, as the epoch closes.
//! **State.** For each different row, how often it stands in either side.
//! **Changelog.** In: any. Out: retract.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use tidemark_planner::plan::SetOperation;

use crate::aggregate::{KeyedBatch, Output, Payload, Pushed, RowWatermarks};
use crate::batch::{Batch, record_batch};
use crate::eval::BadRow;
use crate::keyed_operator::{Encode, Keep};
use crate::state::key_rows::KeyCodec;
use crate::state::key_table::KeyTable;

/// Changes that come out at once.
const OUTPUT_ROWS: usize = if cfg!(test) { 8 } else { 64 << 10 };

pub(crate) fn codec(schema: &SchemaRef) -> Result<KeyCodec, String> {
    let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    KeyCodec::new(&types)
}

/// Makes whole rows keys.
#[derive(Debug)]
pub struct WholeRows(KeyCodec);

impl WholeRows {
    /// An encoder of rows of a schema.
    ///
    /// # Errors
    /// When a column has a type without equality.
    pub fn new(schema: &SchemaRef) -> Result<Self, String> {
        codec(schema).map(Self)
    }

    fn encode(&self, rows: &RecordBatch, diffs: Option<&[i64]>, first: usize, pushed: &mut Pushed) {
        let count = rows.num_rows();
        match self.0.encode(rows.columns(), count) {
            Ok(keys) => pushed.batches.push(KeyedBatch {
                hashes: keys.hashes(),
                panes: None,
                single: false,
                keys,
                payload: Payload::Raw { columns: vec![], diffs: diffs.map(<[i64]>::to_vec) },
            }),
            Err(reason) if count == 1 => pushed.bad.push(BadRow { row: first, reason }),
            // Too many bytes for one column.
            Err(_) => {
                let half = count / 2;
                for (from, len) in [(0, half), (half, count - half)] {
                    self.encode(&rows.slice(from, len), diffs.map(|diffs| &diffs[from..from + len]), first + from, pushed);
                }
            }
        }
    }
}

impl Encode for WholeRows {
    fn push(&mut self, batch: &Batch, _: RowWatermarks<'_>) -> Pushed {
        let mut pushed = Pushed::default();
        if !batch.is_empty() {
            self.encode(&batch.rows, batch.diffs.as_deref(), 0, &mut pushed);
        }
        pushed
    }
}

/// One different row.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// How often it stands in left and in right.
    sides: [i64; 2],
    /// How often it is out.
    out: i64,
    touched: bool,
}

/// The rows of one worker.
#[derive(Debug)]
pub struct SetStore {
    kind: SetOperation,
    codec: KeyCodec,
    schema: SchemaRef,
    keys: KeyTable,
    counts: Vec<Counts>,
    touched: Vec<u32>,
    ids: Vec<u32>,
}

impl SetStore {
    /// An empty store of rows of a schema.
    ///
    /// # Errors
    /// When a column has a type without equality.
    pub fn new(kind: SetOperation, schema: &SchemaRef) -> Result<Self, String> {
        Ok(Self {
            kind,
            codec: codec(schema)?,
            schema: schema.clone(),
            keys: KeyTable::new(),
            counts: Vec::new(),
            touched: Vec::new(),
            ids: Vec::new(),
        })
    }

    fn wanted(&self, [left, right]: [i64; 2]) -> i64 {
        let (left, right) = (left.max(0), right.max(0));
        match self.kind {
            SetOperation::Intersect => i64::from(left > 0 && right > 0),
            SetOperation::IntersectAll => left.min(right),
            SetOperation::Except => i64::from(left > 0 && right == 0),
            SetOperation::ExceptAll => (left - right).max(0),
        }
    }
}

impl Keep for SetStore {
    fn absorb(&mut self, input: usize, batch: KeyedBatch) {
        let Payload::Raw { diffs, .. } = &batch.payload else { panic!("whole rows are not added up before the exchange") };
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.counts.resize(self.keys.numbers().max(self.counts.len()), Counts::default());
        for (row, id) in ids.iter().enumerate() {
            let counts = &mut self.counts[*id as usize];
            counts.sides[input] += diffs.as_ref().map_or(1, |diffs| diffs[row]);
            if !std::mem::replace(&mut counts.touched, true) {
                self.touched.push(*id);
            }
        }
        self.ids = ids;
    }

    fn close(&mut self, _: &[i64]) -> Output {
        let (mut changed, mut diffs, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        while changed.len() < OUTPUT_ROWS
            && let Some(id) = self.touched.pop()
        {
            let sides = self.counts[id as usize].sides;
            let wanted = self.wanted(sides);
            let counts = &mut self.counts[id as usize];
            counts.touched = false;
            let diff = wanted - std::mem::replace(&mut counts.out, wanted);
            if diff != 0 {
                changed.push(id);
                diffs.push(diff);
            }
            if sides == [0, 0] {
                gone.push(id);
            }
        }
        let columns: Vec<ArrayRef> = if changed.is_empty() {
            self.schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect()
        } else {
            self.codec.decode(&self.keys.rows(&changed))
        };
        let rows = record_batch(&self.schema, columns, changed.len());
        for id in gone {
            self.keys.remove(id);
            self.counts[id as usize] = Counts::default();
        }
        let diffs = diffs.iter().any(|diff| *diff != 1).then_some(diffs);
        Output { rows, diffs, errors: vec![], homeless: vec![], more: !self.touched.is_empty() }
    }

    fn held(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.bytes() + self.counts.capacity() * size_of::<Counts>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn rows(values: &[Option<i64>]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        record_batch(&schema.into(), vec![Arc::new(Int64Array::from(values.to_vec()))], values.len())
    }

    /// The answer by sorting and counting.
    fn oracle(kind: SetOperation, sides: &[BTreeMap<Option<i64>, i64>; 2]) -> BTreeMap<Option<i64>, i64> {
        let mut out = BTreeMap::new();
        for (value, left) in &sides[0] {
            let right = sides[1].get(value).copied().unwrap_or(0);
            let count = match kind {
                SetOperation::Intersect => {
                    if *left > 0 && right > 0 {
                        1
                    } else {
                        0
                    }
                }
                SetOperation::IntersectAll => *left.min(&right),
                SetOperation::Except => {
                    if *left > 0 && right == 0 {
                        1
                    } else {
                        0
                    }
                }
                SetOperation::ExceptAll => (left - right).max(0),
            };
            if count > 0 {
                out.insert(*value, count);
            }
        }
        out
    }

    proptest! {
        /// After every epoch the changes add up to the operation over the rows so far; every epoch's change is net.
        #[test]
        fn changes_add_up(
            kind in prop::sample::select(vec![SetOperation::Intersect, SetOperation::IntersectAll, SetOperation::Except, SetOperation::ExceptAll]),
            epochs in prop::collection::vec(prop::collection::vec((0..2_usize, prop::option::of(0..12_i64), any::<bool>()), 0..30), 0..8),
        ) {
            let schema = rows(&[]).schema();
            let mut encoder = WholeRows::new(&schema).expect("numbers are equal or not");
            let mut store = SetStore::new(kind, &schema).expect("numbers are equal or not");
            let mut sides = [BTreeMap::new(), BTreeMap::new()];
            let mut out: BTreeMap<Option<i64>, i64> = BTreeMap::new();
            for epoch in epochs {
                for (side, value, back) in epoch {
                    let count = sides[side].entry(value).or_insert(0_i64);
                    let diff = if back && *count > 0 { -1 } else { 1 };
                    *count += diff;
                    let pushed = Encode::push(&mut encoder, &Batch::computed(rows(&[value]), Some(vec![diff])), RowWatermarks::None);
                    pushed.batches.into_iter().for_each(|batch| store.absorb(side, batch));
                }
                let mut seen = std::collections::BTreeSet::new();
                loop {
                    let output = store.close(&[]);
                    let values = output.rows.column(0).as_primitive::<Int64Type>();
                    for (row, value) in values.iter().enumerate() {
                        prop_assert!(seen.insert(value), "{value:?} changes twice");
                        *out.entry(value).or_insert(0) += output.diffs.as_ref().map_or(1, |diffs| diffs[row]);
                    }
                    if !output.more { break; }
                }
                out.retain(|_, count| *count != 0);
                prop_assert_eq!(&out, &oracle(kind, &sides));
                let kept = sides[0].keys().chain(sides[1].keys()).collect::<std::collections::BTreeSet<_>>();
                let kept = kept.into_iter().filter(|value| sides.iter().any(|side| side.get(*value).is_some_and(|count| *count != 0)));
                prop_assert_eq!(store.held().0, kept.count());
            }
        }
    }
}
