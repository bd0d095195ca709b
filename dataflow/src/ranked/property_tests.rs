//! The stores against answers by sorting vectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, AggregatePlan, Emit, Frame, FrameBound, FrameUnits, NodeId, OverCall, OverFunction, OverPlan, RankFunction, SortKey,
    TopNPlan,
};

use super::{OverStore, RowEncoder, TopNStore};
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

/// Adds what came out to what is out.
fn take(output: &Output, out: &mut Bag) {
    let columns: Vec<ArrayRef> =
        output.rows.columns().iter().map(|column| arrow::compute::cast(column, &DataType::Int64).expect("numbers")).collect();
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
            rank: with_rank.then(|| Arc::new(Field::new("a", DataType::UInt64, false))), window: None, emit, retractable: retract,
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

    /// At every epoch the changes add up to each row with what a loop over its group gives.
    #[test]
    fn over_is_what_a_loop_gives(descending: bool, before in 0..3_i64, behind in 0..3_i64, batch_rows in 1..8_usize, epochs in epochs(true)) {
        let call = |function, args: Vec<Arc<dyn PhysicalExpr>>, units, start, end, name: &str, data_type: DataType| OverCall {
            function, args, frame: Frame { units, start, end }, ignore_nulls: false,
            output: Arc::new(Field::new(name, data_type, true)), text: name.into(),
        };
        let sum = AggregatePlan {
            function: AggregateFunction::Sum, args: vec![column(2)], arg_types: vec![DataType::Int64], filter: None, distinct: false,
            order_by: vec![], output: Arc::new(Field::new("b", DataType::Int64, true)), retractable: true, text: "sum(v)".into(),
        };
        let functions = vec![
            call(OverFunction::Rank, vec![], FrameUnits::Range, FrameBound::Unbounded, FrameBound::Current, "a", DataType::UInt64),
            call(OverFunction::Aggregate(Box::new(sum)), vec![], FrameUnits::Rows, FrameBound::Offset(-before), FrameBound::Offset(behind), "b", DataType::Int64),
            call(OverFunction::Shift { rows: before - 1 }, vec![column(2)], FrameUnits::Range, FrameBound::Unbounded, FrameBound::Current, "c", DataType::Int64),
            call(OverFunction::Nth { row: -1 }, vec![column(2)], FrameUnits::Groups, FrameBound::Offset(-before), FrameBound::Current, "d", DataType::Int64),
        ];
        let plan = OverPlan {
            input: NodeId(0), partition_by: vec![column(0)], order_by: vec![order(descending)], functions, window: None, emit: Emit::Changes,
            retractable: true,
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
                take(&output, &mut out);
                if !output.more { break; }
            }
            out.retain(|_, count| *count != 0);
            let groups = sorted(&rows, descending);
            let wanted = bag(groups.values().flat_map(|rows| {
                let ranks = ranks(rows);
                (0..rows.len() as i64).map(|at| {
                    let row = rows[at as usize];
                    let within = |place: i64| (place >= 0).then(|| rows.get(place as usize)).flatten();
                    let sum: i64 = (at - before..=at + behind).filter_map(within).map(|row| row.2).sum();
                    let last = rows.iter().rfind(|other| other.1 == row.1).expect("the row itself is one");
                    vec![row.0, row.1, Some(row.2), Some(ranks[at as usize][1] as i64), Some(sum), within(at - (before - 1)).map(|row| row.2), Some(last.2)]
                }).collect::<Vec<_>>()
            }));
            prop_assert_eq!(&out, &wanted);
        }
    }
}
