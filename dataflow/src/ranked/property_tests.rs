//! The stores against answers by sorting vectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, AggregatePlan, Emit, Frame, FrameBound, FrameUnits, NodeId, OverCall, OverFunction, OverPlan, OverTime,
    RankFunction, SortKey, TimeDomain, TopNPlan, WatermarkPlan,
};

use super::{OverStore, OverTimeStore, RowEncoder, TopNStore};
use crate::aggregate::{KeyedBatch, Output, RowWatermarks};
use crate::batch::record_batch;
use crate::watermark::ENDED;

/// Group, order, value.
type Row = (Option<i64>, Option<i64>, i64);
type Bag = BTreeMap<Vec<Option<i64>>, i64>;

fn schema(columns: usize) -> SchemaRef {
    let names = ["k", "o", "v", "a", "b", "c", "d"];
    Schema::new(names[..columns].iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>()).into()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    record_batch(&schema(3), columns, rows.len())
}

fn column(place: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema(3).field(place).name(), place))
}

fn order(descending: bool) -> SortKey {
    SortKey { expr: column(1), data_type: DataType::Int64, descending, nulls_first: descending }
}

/// A share as a whole number.
fn millionths(share: f64) -> i64 {
    (share * 1e6).round() as i64
}

/// Adds what came out to what is out.
fn take(output: &Output, out: &mut Bag) {
    let whole = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Float64 => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Int64Type>(millionths)),
            _ => arrow::compute::cast(column, &DataType::Int64).expect("numbers"),
        }
    };
    let columns: Vec<ArrayRef> = output.rows.columns().iter().map(whole).collect();
    for row in 0..output.rows.num_rows() {
        let values = columns.iter().map(|column| column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row)));
        *out.entry(values.collect()).or_insert(0) += output.diffs.as_ref().map_or(1, |diffs| diffs[row]);
    }
}

/// The rows of each group in the order of a key, nulls as greatest values, then of the row itself.
fn sorted(rows: &[Row], descending: bool) -> BTreeMap<Option<i64>, Vec<Row>> {
    let mut groups: BTreeMap<Option<i64>, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row.0).or_default().push(*row));
    for rows in groups.values_mut() {
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.1.is_none(), row.1);
            let by_key = if descending { key(b).cmp(&key(a)) } else { key(a).cmp(&key(b)) };
            by_key.then(a.2.cmp(&b.2))
        });
    }
    groups
}

fn ranks(rows: &[Row]) -> Vec<[u64; 3]> {
    let mut out: Vec<[u64; 3]> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let number = at as u64 + 1;
        out.push(match at.checked_sub(1).map(|before| (rows[before].1, out[before])) {
            Some((value, [_, rank, dense])) if value == row.1 => [number, rank, dense],
            Some((_, [_, _, dense])) => [number, number, dense + 1],
            None => [1, 1, 1],
        });
    }
    out
}

fn bag(rows: impl Iterator<Item = Vec<Option<i64>>>) -> Bag {
    let mut out = Bag::new();
    rows.for_each(|row| *out.entry(row).or_insert(0) += 1);
    out
}

fn epochs(retract: bool) -> impl Strategy<Value = Vec<Vec<(Row, Option<prop::sample::Index>)>>> {
    let row = (prop::option::weighted(0.9, 0..3_i64), prop::option::weighted(0.9, 0..6_i64), 0..3_i64);
    let back = prop::option::weighted(0.4, any::<prop::sample::Index>()).prop_map(move |which| which.filter(|_| retract));
    prop::collection::vec(prop::collection::vec((row, back), 0..20), 0..8)
}

/// Plays the changes of an epoch into a store: rows that come, and rows that go.
fn play(epoch: Vec<(Row, Option<prop::sample::Index>)>, rows: &mut Vec<Row>) -> Vec<(Row, i64)> {
    let mut changes = Vec::new();
    for (row, back) in epoch {
        match back.filter(|_| !rows.is_empty()) {
            Some(which) => {
                let place = which.index(rows.len());
                changes.push((rows.swap_remove(place), -1));
            }
            None => {
                rows.push(row);
                changes.push((row, 1));
            }
        }
    }
    changes
}

/// Hands changes on in batches.
fn feed(encoder: &RowEncoder, changes: Vec<(Row, i64)>, batch_rows: usize, mut absorb: impl FnMut(&KeyedBatch)) {
    for changes in changes.chunks(batch_rows) {
        let (rows, diffs): (Vec<Row>, Vec<i64>) = changes.iter().copied().unzip();
        let pushed = encoder.push(&batch(&rows), Some(&diffs), RowWatermarks::None);
        pushed.batches.iter().for_each(&mut absorb);
    }
}

proptest! {
    /// At every epoch the changes add up to the first rows of each group.
    #[test]
    fn top_n_is_what_sorting_gives(
        function in prop::sample::select(vec![RankFunction::RowNumber, RankFunction::Rank, RankFunction::DenseRank]),
        offset in 0..3_u64, limit in prop::option::weighted(0.8, 0..6_u64), batch_rows in 1..8_usize, descending: bool, with_rank: bool, end_only: bool,
        (retract, epochs) in any::<bool>().prop_flat_map(|retract| (Just(retract), epochs(retract))),
    ) {
        let emit = if end_only { Emit::Final } else { Emit::Changes };
        let plan = TopNPlan {
            input: NodeId(0), partition_by: vec![column(0)], order_by: vec![order(descending)], function, offset, limit, output: vec![0, 1, 2],
            rank: with_rank.then(|| Arc::new(Field::new("a", DataType::Int64, false))), window: None, emit, retractable: retract,
        };
        let mut fields: Vec<_> = schema(3).fields().iter().cloned().collect();
        fields.extend(plan.rank.clone());
        let encoder = RowEncoder::new(&schema(3), &plan.partition_by, &plan.order_by, &plan.output, None).expect("numbers");
        let mut store = TopNStore::new(&plan, &schema(3), &Arc::new(Schema::new(fields))).expect("numbers");
        let (mut rows, mut out) = (Vec::new(), Bag::new());
        let last = plan.last().unwrap_or(u64::MAX);
        let wanted = |rows: &[Row]| {
            let groups = sorted(rows, descending);
            bag(groups.values().flat_map(|rows| {
                let which = match function { RankFunction::RowNumber => 0, RankFunction::Rank => 1, RankFunction::DenseRank => 2 };
                rows.iter().zip(ranks(rows)).map(move |(row, ranks)| (*row, ranks[which])).collect::<Vec<_>>()
            }).filter(|(_, rank)| *rank > offset && *rank <= last).map(|(row, rank)| {
                let mut out = vec![row.0, row.1, Some(row.2)];
                if with_rank { out.push(Some(rank as i64)); }
                out
            }))
        };
        for epoch in epochs {
            feed(&encoder, play(epoch, &mut rows), batch_rows, |batch| store.absorb(batch));
            let mut changed = Bag::new();
            loop {
                let output = store.close(i64::MIN);
                take(&output, &mut out);
                // A row and its rank come out once in an epoch.
                let before = changed.len();
                take(&output, &mut changed);
                prop_assert_eq!(changed.len(), before + output.rows.num_rows());
                if !output.more { break; }
            }
            prop_assert!(changed.values().all(|count| *count != 0));
            out.retain(|_, count| *count != 0);
            if !end_only {
                prop_assert_eq!(&out, &wanted(&rows));
            }
        }
        loop {
            let output = store.close(ENDED);
            take(&output, &mut out);
            if !output.more { break; }
        }
        prop_assert_eq!(&out, &wanted(&rows));
    }
}

/// A function of the tests.
#[derive(Clone, Debug)]
struct Asked {
    what: What,
    units: FrameUnits,
    start: Bound,
    end: Bound,
    /// The column that is read.
    of: usize,
    ignore_nulls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(u64),
    Shift(i64),
    Nth(i64),
    Sum,
    Max,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Unbounded,
    Current,
    Offset(i64),
}

fn asked() -> impl Strategy<Value = Asked> {
    let what = prop_oneof![
        2 => Just(What::RowNumber), 2 => Just(What::Rank), 3 => Just(What::DenseRank), 1 => Just(What::PercentRank), 1 => Just(What::CumeDist),
        1 => (1..5_u64).prop_map(What::Ntile), 4 => (-3..4_i64).prop_map(What::Shift),
        8 => prop::sample::select(vec![1, 2, 3, -1, -2]).prop_map(What::Nth), 8 => Just(What::Sum), 4 => Just(What::Max), 2 => Just(What::Last),
    ];
    let units = prop::sample::select(vec![FrameUnits::Rows, FrameUnits::Range, FrameUnits::Groups]);
    let bound = || prop_oneof![2 => Just(Bound::Unbounded), 2 => Just(Bound::Current), 4 => (-3..4_i64).prop_map(Bound::Offset)];
    (what, units, bound(), bound(), 1..3_usize, prop::bool::weighted(0.2)).prop_map(|(what, units, start, end, of, ignore_nulls)| {
        let ignore_nulls = ignore_nulls && matches!(what, What::Shift(_) | What::Nth(_));
        Asked { what, units, start, end, of, ignore_nulls }
    })
}

impl Asked {
    fn call(&self, at: usize, descending: bool) -> OverCall {
        let output = |data_type| Arc::new(Field::new(["a", "b", "c", "d"][at], data_type, true));
        let aggregate = |function, ordered: bool| {
            let plan = AggregatePlan {
                function,
                args: vec![column(self.of)],
                arg_types: vec![DataType::Int64],
                filter: None,
                distinct: false,
                order_by: if ordered { vec![SortKey { descending: false, ..order(false) }] } else { vec![] },
                output: output(DataType::Int64),
                retractable: true,
                text: String::new(),
            };
            OverFunction::Aggregate(Box::new(plan))
        };
        let (function, data_type) = match self.what {
            What::RowNumber => (OverFunction::RowNumber, DataType::Int64),
            What::Rank => (OverFunction::Rank, DataType::Int64),
            What::DenseRank => (OverFunction::DenseRank, DataType::Int64),
            What::PercentRank => (OverFunction::PercentRank, DataType::Float64),
            What::CumeDist => (OverFunction::CumeDist, DataType::Float64),
            What::Ntile(parts) => (OverFunction::Ntile { parts }, DataType::Int64),
            What::Shift(rows) => (OverFunction::Shift { rows }, DataType::Int64),
            What::Nth(row) => (OverFunction::Nth { row }, DataType::Int64),
            What::Sum => (aggregate(AggregateFunction::Sum, false), DataType::Int64),
            What::Max => (aggregate(AggregateFunction::Max, false), DataType::Int64),
            What::Last => (aggregate(AggregateFunction::LastValue { ignore_nulls: true }, true), DataType::Int64),
        };
        let args = if matches!(self.what, What::Shift(_) | What::Nth(_)) { vec![column(self.of)] } else { vec![] };
        let bound = |bound: Bound| match (bound, self.units) {
            (Bound::Unbounded, _) => FrameBound::Unbounded,
            (Bound::Current, _) => FrameBound::Current,
            (Bound::Offset(by), FrameUnits::Range) => {
                let by = Arc::new(Literal::new(ScalarValue::Int64(Some(if descending { -by } else { by }))));
                FrameBound::Value { expr: Arc::new(BinaryExpr::new(column(1), Operator::Plus, by)), text: String::new() }
            }
            (Bound::Offset(by), _) => FrameBound::Offset(by),
        };
        let frame = Frame { units: self.units, start: bound(self.start), end: bound(self.end) };
        OverCall { function, args, frame, ignore_nulls: self.ignore_nulls, output: output(data_type), text: String::new() }
    }

    /// What it gives for a row of a group in order, by looking at every other.
    fn naive(&self, rows: &[Row], at: usize, descending: bool) -> Option<i64> {
        // Where a value stands in the order: nulls are the greatest.
        let key = |value: Option<i64>| if descending { (value.is_some(), value.map(|value| -value)) } else { (value.is_none(), value) };
        let group = |row: usize| (1..=row).filter(|row| rows[*row].1 != rows[row - 1].1).count() as i64;
        let value = |row: usize| if self.of == 1 { rows[row].1 } else { Some(rows[row].2) };
        let within = |other: usize| {
            let compare = |bound: Bound| match (bound, self.units) {
                (Bound::Unbounded, _) => None,
                (_, FrameUnits::Rows) => Some((other as i64).cmp(&(at as i64 + bound.by()))),
                (_, FrameUnits::Groups) => Some(group(other).cmp(&(group(at) + bound.by()))),
                (_, FrameUnits::Range) => {
                    let by = if descending { -bound.by() } else { bound.by() };
                    Some(key(rows[other].1).cmp(&key(rows[at].1.map(|value| value + by))))
                }
            };
            compare(self.start).is_none_or(|order| order.is_ge()) && compare(self.end).is_none_or(|order| order.is_le())
        };
        let frame: Vec<usize> = (0..rows.len()).filter(|other| within(*other) && !(self.ignore_nulls && value(*other).is_none())).collect();
        let peers = |row: &&Row| key(row.1) < key(rows[at].1);
        let [number, rank, dense] = ranks(rows)[at];
        match self.what {
            What::RowNumber => Some(number as i64),
            What::Rank => Some(rank as i64),
            What::DenseRank => Some(dense as i64),
            What::PercentRank => Some(millionths(rows.iter().filter(peers).count() as f64 / (rows.len().max(2) - 1) as f64)),
            What::CumeDist => Some(millionths(rows.iter().filter(|row| key(row.1) <= key(rows[at].1)).count() as f64 / rows.len() as f64)),
            What::Ntile(parts) => {
                let (small, larger) = (rows.len() / parts as usize, rows.len() % parts as usize);
                let sizes = (0..parts as usize).map(|part| small + usize::from(part < larger));
                let tiles: Vec<i64> = sizes.enumerate().flat_map(|(part, size)| std::iter::repeat_n(part as i64 + 1, size)).collect();
                Some(tiles[at])
            }
            What::Shift(by) => {
                let there: Vec<usize> = (0..rows.len()).filter(|row| !self.ignore_nulls || value(*row).is_some()).collect();
                let place = match by {
                    0 => Some(at),
                    1.. => there.iter().rev().filter(|row| **row < at).nth(by as usize - 1).copied(),
                    _ => there.iter().filter(|row| **row > at).nth(-by as usize - 1).copied(),
                };
                place.and_then(value)
            }
            What::Nth(row @ 1..) => frame.get(row as usize - 1).copied().and_then(value),
            What::Nth(row) => frame.len().checked_sub(-row as usize).and_then(|place| value(frame[place])),
            What::Sum => frame.iter().filter_map(|row| value(*row)).reduce(|a, b| a + b),
            What::Max => frame.iter().filter_map(|row| value(*row)).max(),
            What::Last => frame.iter().rev().find_map(|row| value(*row)),
        }
    }
}

impl Bound {
    fn by(self) -> i64 {
        if let Self::Offset(by) = self { by } else { 0 }
    }
}

/// Many rows, then few changes at a time.
fn few_changes() -> impl Strategy<Value = Vec<Vec<(Row, Option<prop::sample::Index>)>>> {
    let row = || (prop::option::weighted(0.9, 0..2_i64), prop::option::weighted(0.9, 0..12_i64), 0..3_i64);
    let first = prop::collection::vec((row(), Just(None)), 0..60);
    let back = prop::option::weighted(0.4, any::<prop::sample::Index>());
    let later = prop::collection::vec(prop::collection::vec((row(), back), 1..5), 0..12);
    (first, later).prop_map(|(first, later)| std::iter::once(first).chain(later).collect())
}

proptest! {
    /// At every epoch the changes add up to each row with what a loop over its group gives.
    #[test]
    fn over_is_what_a_loop_gives(
        descending: bool, batch_rows in 1..8_usize, asked in prop::collection::vec(asked(), 1..4), epochs in few_changes(),
    ) {
        let functions: Vec<OverCall> = asked.iter().enumerate().map(|(at, asked)| asked.call(at, descending)).collect();
        let plan = OverPlan {
            input: NodeId(0), partition_by: vec![column(0)], order_by: vec![order(descending)], functions, window: None, time: None,
            emit: Emit::Changes, retractable: true,
        };
        let mut fields: Vec<_> = schema(3).fields().iter().cloned().collect();
        fields.extend(plan.functions.iter().map(|call| call.output.clone()));
        let encoder = RowEncoder::new(&schema(3), &plan.partition_by, &plan.order_by, &[0, 1, 2], None).expect("numbers");
        let mut store = OverStore::new(&plan, &schema(3), &Arc::new(Schema::new(fields))).expect("numbers");
        let (mut rows, mut out) = (Vec::new(), Bag::new());
        for epoch in epochs {
            feed(&encoder, play(epoch, &mut rows), batch_rows, |batch| store.absorb(batch));
            loop {
                let output = store.close(i64::MIN);
                prop_assert!(output.errors.is_empty());
                take(&output, &mut out);
                if !output.more { break; }
            }
            out.retain(|_, count| *count != 0);
            let groups = sorted(&rows, descending);
            let wanted = bag(groups.values().flat_map(|rows| {
                (0..rows.len()).map(|at| {
                    let row = rows[at];
                    let results = asked.iter().map(|asked| asked.naive(rows, at, descending));
                    vec![row.0, row.1, Some(row.2)].into_iter().chain(results).collect()
                }).collect::<Vec<_>>()
            }));
            prop_assert_eq!(&out, &wanted);
        }
    }
}

/// A function that reads a row's peers and the rows before them only.
fn looking_back() -> impl Strategy<Value = Asked> {
    asked().prop_map(|asked| {
        let back = |bound: Bound| if let Bound::Offset(by) = bound { Bound::Offset(-by.abs()) } else { bound };
        let what = match asked.what {
            What::PercentRank | What::CumeDist | What::Ntile(_) => What::RowNumber,
            What::Shift(by) => What::Shift(by.abs()),
            other => other,
        };
        let start = if what == What::Last && asked.start == Bound::Unbounded { Bound::Offset(-2) } else { back(asked.start) };
        let end = if asked.end == Bound::Unbounded { Bound::Current } else { back(asked.end) };
        let ignore_nulls = asked.ignore_nulls && matches!(what, What::Nth(_)) && start != Bound::Unbounded;
        Asked { what, start, end, ignore_nulls, ..asked }
    })
}

/// A store of functions in event time, which is the column that orders, and what encodes its rows.
fn in_event_time(asked: &[Asked]) -> (RowEncoder, OverTimeStore) {
    let time: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(column(1), DataType::Timestamp(TimeUnit::Microsecond, None), None));
    let watermark = WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![], delay_us: 0 };
    let plan = OverPlan {
        input: NodeId(0),
        partition_by: vec![column(0)],
        order_by: vec![order(false)],
        functions: asked.iter().enumerate().map(|(at, asked)| asked.call(at, false)).collect(),
        window: None,
        time: Some(OverTime { time: Arc::clone(&time), watermark }),
        emit: Emit::Final,
        retractable: false,
    };
    let mut fields: Vec<_> = schema(3).fields().iter().cloned().collect();
    fields.extend(plan.functions.iter().map(|call| call.output.clone()));
    let encoder = RowEncoder::new(&schema(3), &plan.partition_by, &plan.order_by, &[0, 1, 2], None).expect("numbers").judged_by(&time);
    (encoder, OverTimeStore::new(&plan, &schema(3), &Arc::new(Schema::new(fields))).expect("numbers"))
}

proptest! {
    /// Each row comes out once, when the watermark has passed it, with what a loop over all rows in time gives.
    #[test]
    fn in_event_time_each_row_comes_out_once(
        batch_rows in 1..8_usize, asked in prop::collection::vec(looking_back(), 1..4),
        epochs in prop::collection::vec((prop::collection::vec((prop::option::weighted(0.9, 0..2_i64), -2..8_i64, 0..3_i64), 0..12), 0..5_i64), 0..12),
    ) {
        let (encoder, mut store) = in_event_time(&asked);
        let (mut rows, mut out, mut watermark) = (Vec::<Row>::new(), Bag::new(), 0);
        let steps = epochs.into_iter().map(|(rows, by)| (rows, Some(by))).chain(std::iter::once((vec![], None)));
        for (came, by) in steps {
            let came: Vec<Row> = came.into_iter().map(|(group, ahead, value)| (group, Some(watermark + ahead), value)).collect();
            let mut late = 0;
            for rows in came.chunks(batch_rows) {
                let pushed = encoder.push(&batch(rows), None, RowWatermarks::Constant(watermark));
                late += pushed.late.dropped;
                pushed.batches.iter().for_each(|batch| store.absorb(batch));
            }
            let in_time = |row: &Row| row.1 >= Some(watermark);
            prop_assert_eq!(late, came.iter().filter(|row| !in_time(row)).count() as u64);
            rows.extend(came.into_iter().filter(in_time));
            watermark = by.map_or(ENDED, |by| watermark + by);
            loop {
                let output = store.close(watermark);
                prop_assert!(output.errors.is_empty() && output.diffs.is_none());
                take(&output, &mut out);
                if !output.more { break; }
            }
            let wanted = bag(sorted(&rows, false).values().flat_map(|rows| {
                (0..rows.len()).filter(|at| rows[*at].1 < Some(watermark)).map(|at| {
                    let row = rows[at];
                    let results = asked.iter().map(|asked| asked.naive(rows, at, false));
                    vec![row.0, row.1, Some(row.2)].into_iter().chain(results).collect()
                }).collect::<Vec<_>>()
            }));
            prop_assert_eq!(&out, &wanted);
        }
    }
}

#[test]
fn in_event_time_memory_does_not_grow_with_the_input() {
    let asked = |what, units, start, of| Asked { what, units, start, end: Bound::Current, of, ignore_nulls: false };
    let (encoder, mut store) = in_event_time(&[
        asked(What::Sum, FrameUnits::Range, Bound::Unbounded, 2),
        asked(What::Max, FrameUnits::Rows, Bound::Offset(-5), 2),
        asked(What::Sum, FrameUnits::Range, Bound::Offset(-20), 2),
        asked(What::Nth(2), FrameUnits::Rows, Bound::Unbounded, 1),
    ]);
    let mut bytes_after = |rows: std::ops::Range<i64>| {
        for row in rows {
            let pushed = encoder.push(&batch(&[(Some(row % 3), Some(row), row % 7)]), None, RowWatermarks::Constant(row));
            pushed.batches.iter().for_each(|batch| store.absorb(batch));
            assert_eq!(store.close(row).rows.num_rows(), usize::from(row > 0));
        }
        store.bytes()
    };
    let early = bytes_after(0..300);
    let late = bytes_after(300..3_000);
    assert!(late <= early + early / 2, "{late} bytes after ten times the rows of {early} bytes");
}

/// Seconds that a change takes in a group of so many rows.
fn seconds_of_a_change(rows: i64, asked: &[Asked]) -> f64 {
    const CHANGES: i64 = 40;
    let functions: Vec<OverCall> = asked.iter().enumerate().map(|(at, asked)| asked.call(at, false)).collect();
    let plan = OverPlan {
        input: NodeId(0),
        partition_by: vec![],
        order_by: vec![order(false)],
        functions,
        window: None,
        time: None,
        emit: Emit::Changes,
        retractable: true,
    };
    let mut fields: Vec<_> = schema(3).fields().iter().cloned().collect();
    fields.extend(plan.functions.iter().map(|call| call.output.clone()));
    let encoder = RowEncoder::new(&schema(3), &[], &plan.order_by, &[0, 1, 2], None).expect("numbers");
    let mut store = OverStore::new(&plan, &schema(3), &Arc::new(Schema::new(fields))).expect("numbers");
    let mut play = |changes: Vec<(Row, i64)>| {
        feed(&encoder, changes, 1 << 10, |batch| store.absorb(batch));
        while store.close(i64::MIN).more {}
    };
    play((0..rows).map(|row| ((None, Some(row), row % 7), 1)).collect());
    let start = std::time::Instant::now();
    for change in 0..CHANGES {
        // Near the end, where cumulative results reach few rows.
        let row = (None, Some(rows - 10 - change % 50), change % 7);
        play(vec![(row, 1)]);
        play(vec![(row, -1)]);
    }
    start.elapsed().as_secs_f64() / CHANGES as f64
}

#[test]
fn a_change_costs_what_it_reaches_not_the_group() {
    let asked = |what, units, start, end| Asked { what, units, start, end, of: 2, ignore_nulls: false };
    let calls = [
        asked(What::Sum, FrameUnits::Range, Bound::Unbounded, Bound::Current),
        asked(What::Max, FrameUnits::Rows, Bound::Offset(-3), Bound::Offset(3)),
        asked(What::Nth(1), FrameUnits::Rows, Bound::Unbounded, Bound::Current),
        asked(What::Shift(2), FrameUnits::Rows, Bound::Unbounded, Bound::Current),
    ];
    let best = |rows: i64| (0..3).map(|_| seconds_of_a_change(rows, &calls)).fold(f64::INFINITY, f64::min);
    let (small, large) = (best(1_000), best(10_000));
    assert!(large < small * 4.0, "{large} s for ten times the group of {small} s");
}
