//! The stores against joins written as loops over vectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;
use tidemark_planner::plan::{AsOfCondition, AsOfMode, AsOfPlan, NodeId, SortKey};

use super::*;
use crate::aggregate::RowWatermarks;
use crate::batch::record_batch;
use crate::keyed_operator::Keep;
use crate::ranked::RowEncoder;
use crate::watermark::ENDED;

/// Key, time, value.
type Row = (Option<i64>, Option<i64>, i64);
/// A left row and what it sees: the version's time and value.
type Seen = (Row, Option<(i64, i64)>);

const CONDITIONS: [AsOfCondition; 4] = [AsOfCondition::AtOrBefore, AsOfCondition::Before, AsOfCondition::AtOrAfter, AsOfCondition::After];

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("t", time, true), Field::new("v", DataType::Int64, true)]).into()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    record_batch(&schema(), columns, rows.len())
}

fn column(place: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema().field(place).name(), place))
}

/// The two encoders and the joiner of a join by `k` and `t`; with `residual`, the value of the version must be the greater.
fn parts(condition: AsOfCondition, outer: bool, residual: bool, judged: bool) -> ([RowEncoder; 2], Joiner) {
    let nulls_first = matches!(condition, AsOfCondition::AtOrBefore | AsOfCondition::Before);
    let order = SortKey { expr: column(1), data_type: schema().field(1).data_type().clone(), descending: false, nulls_first };
    let encoder = || {
        let encoder = RowEncoder::new(&schema(), &[column(0)], std::slice::from_ref(&order), &[0, 1, 2], None).expect("plain types");
        if judged { encoder.judged_by(&column(1)) } else { encoder }
    };
    let residual: Option<Arc<dyn PhysicalExpr>> = residual.then(|| {
        let less = BinaryExpr::new(Arc::new(Column::new("v", 2)), Operator::Lt, Arc::new(Column::new("v", 5)));
        Arc::new(less) as Arc<dyn PhysicalExpr>
    });
    let plan = AsOfPlan {
        left: NodeId(0),
        right: NodeId(1),
        outer,
        left_keys: vec![],
        right_keys: vec![],
        mode: AsOfMode::Processing,
        residual,
        output: vec![0, 1, 2, 4, 5],
    };
    let fields = [0, 1, 2, 1, 2].map(|place| Arc::new(schema().field(place).clone()));
    let output: SchemaRef = Schema::new(fields.to_vec()).into();
    let joiner = Joiner::new(&plan, &schema(), &schema(), &output).expect("plain types");
    ([encoder(), encoder().without_nulls()], joiner)
}

fn sees(condition: AsOfCondition, left: &Row, rights: &[Row]) -> Option<(i64, i64)> {
    let (Some(key), Some(time)) = (left.0, left.1) else { return None };
    let fits = |at: i64| match condition {
        AsOfCondition::AtOrBefore => at <= time,
        AsOfCondition::Before => at < time,
        AsOfCondition::AtOrAfter => at >= time,
        AsOfCondition::After => at > time,
    };
    let all =
        rights.iter().filter_map(|(k, t, v)| Some(((*k)?, (*t)?, *v))).filter(|(k, t, _)| *k == key && fits(*t)).map(|(_, t, v)| (t, v));
    match condition {
        AsOfCondition::AtOrBefore | AsOfCondition::Before => all.max(),
        AsOfCondition::AtOrAfter | AsOfCondition::After => all.min(),
    }
}

fn oracle(condition: AsOfCondition, outer: bool, residual: bool, lefts: &[Row], rights: &[Row]) -> BTreeMap<Seen, i64> {
    let mut out = BTreeMap::new();
    for left in lefts {
        let seen = sees(condition, left, rights).filter(|(_, value)| !residual || left.2 < *value);
        if seen.is_some() || outer {
            *out.entry((*left, seen)).or_insert(0) += 1;
        }
    }
    out
}

fn close(store: &mut impl Keep, watermarks: &[i64], out: &mut BTreeMap<Seen, i64>) {
    loop {
        let output = store.close(watermarks);
        let rows = &output.rows;
        let number = |column: usize, row: usize| {
            let column = arrow::compute::cast(rows.column(column), &DataType::Int64).expect("times are numbers");
            let column = column.as_primitive::<Int64Type>();
            arrow::array::Array::is_valid(column, row).then(|| column.value(row))
        };
        for row in 0..rows.num_rows() {
            let left = (number(0, row), number(1, row), number(2, row).expect("values are not null"));
            let seen = number(3, row).zip(number(4, row));
            *out.entry((left, seen)).or_insert(0) += output.diffs.as_ref().map_or(1, |diffs| diffs[row]);
        }
        if !output.more {
            break;
        }
    }
    out.retain(|_, count| *count != 0);
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::weighted(0.9, 0..3_i64), prop::option::weighted(0.9, 0..12_i64), 0..4_i64)
}

proptest! {
    /// At every epoch the changes add up to the join of what stands in both sides.
    #[test]
    fn corrected_answers_are_those_of_the_epoch(
        condition in prop::sample::select(CONDITIONS.to_vec()), outer: bool, residual: bool,
        epochs in prop::collection::vec(prop::collection::vec((0..2_usize, row(), any::<prop::sample::Index>(), any::<bool>()), 0..12), 0..10),
    ) {
        let (encoders, joiner) = parts(condition, outer, residual, false);
        let mut store = Corrected::new(condition, joiner);
        let mut sides: [Vec<Row>; 2] = Default::default();
        let mut out = BTreeMap::new();
        for epoch in epochs {
            for (side, row, which, back) in epoch {
                let (row, diff) = if back && !sides[side].is_empty() {
                    let place = which.index(sides[side].len());
                    (sides[side].swap_remove(place), -1)
                } else {
                    sides[side].push(row);
                    (row, 1)
                };
                let pushed = encoders[side].push(&batch(&[row]), Some(&[diff]), RowWatermarks::None);
                pushed.batches.into_iter().for_each(|batch| store.absorb(side, batch));
            }
            close(&mut store, &[], &mut out);
            prop_assert_eq!(&out, &oracle(condition, outer, residual, &sides[0], &sides[1]));
        }
        for side in 0..2 {
            for row in std::mem::take(&mut sides[side]) {
                let pushed = encoders[side].push(&batch(&[row]), Some(&[-1]), RowWatermarks::None);
                pushed.batches.into_iter().for_each(|batch| store.absorb(side, batch));
            }
        }
        close(&mut store, &[], &mut out);
        prop_assert!(out.is_empty());
        prop_assert_eq!(store.held().0, 0);
    }

    /// Rows in time are answered once, as the join of all rows in time would; late ones are counted.
    #[test]
    fn answers_that_wait_are_final(
        condition in prop::sample::select(CONDITIONS.to_vec()), outer: bool, residual: bool,
        epochs in prop::collection::vec((prop::collection::vec((0..2_usize, (0..3_i64, 0..8_i64, 0..4_i64)), 0..10), 0..4_i64, 0..4_i64), 0..10),
    ) {
        let (encoders, joiner) = parts(condition, outer, residual, true);
        let mut store = Waiting::new(condition, joiner);
        let mut sides: [Vec<Row>; 2] = Default::default();
        let mut out: BTreeMap<Seen, i64> = BTreeMap::new();
        let mut watermarks = [i64::MIN, i64::MIN];
        let (mut late, mut counted) = (0, 0);
        let mut base = [0, 0];
        for (rows, left, right) in epochs {
            for (side, (key, ahead, value)) in rows {
                let time = base[side] + ahead - 2;
                let row = (Some(key), Some(time), value);
                let pushed = encoders[side].push(&batch(&[row]), None, RowWatermarks::Constant(watermarks[side]));
                counted += pushed.late.dropped;
                pushed.batches.into_iter().for_each(|batch| store.absorb(side, batch));
                if time >= watermarks[side] { sides[side].push(row); } else { late += 1; }
            }
            base[0] += left;
            base[1] += right;
            watermarks = base;
            let before = out.clone();
            close(&mut store, &watermarks, &mut out);
            for (row, count) in &before {
                prop_assert!(out.get(row).is_some_and(|now| now >= count), "{row:?} was taken back");
            }
        }
        close(&mut store, &[ENDED, ENDED], &mut out);
        prop_assert_eq!(out, oracle(condition, outer, residual, &sides[0], &sides[1]));
        prop_assert_eq!(counted, late);
        let latest = usize::from(matches!(condition, AsOfCondition::AtOrBefore | AsOfCondition::Before)) * 3 * 4;
        prop_assert!(store.held().0 <= latest, "{} rows are kept", store.held().0);
    }
}

#[test]
fn the_current_version_is_that_of_the_epoch() {
    let (encoders, joiner) = parts(AsOfCondition::AtOrBefore, true, false, false);
    let mut store = Current::new(joiner, false, false);
    let mut out = BTreeMap::new();
    let push = |store: &mut Current, side: usize, row: Row, diff: i64| {
        let pushed = encoders[side].push(&batch(&[row]), Some(&[diff]), RowWatermarks::None);
        pushed.batches.into_iter().for_each(|batch| store.absorb(side, batch));
    };
    let (left, other) = ((Some(1), Some(0), 7), (Some(2), Some(0), 8));
    push(&mut store, 0, left, 1);
    push(&mut store, 0, other, 1);
    push(&mut store, 1, (Some(1), Some(5), 1), 1);
    close(&mut store, &[], &mut out);
    let first = BTreeMap::from([((left, Some((5, 1))), 1), ((other, None), 1)]);
    assert_eq!(out, first);
    // A later version changes nothing that was said.
    push(&mut store, 1, (Some(1), Some(5), 1), -1);
    push(&mut store, 1, (Some(1), Some(4), 2), 1);
    close(&mut store, &[], &mut out);
    assert_eq!(out, first);
    push(&mut store, 0, left, 1);
    close(&mut store, &[], &mut out);
    assert_eq!(out.get(&(left, Some((4, 2)))), Some(&1));
    // What is taken back is what was said.
    push(&mut store, 0, left, -2);
    push(&mut store, 0, other, -1);
    close(&mut store, &[], &mut out);
    assert!(out.is_empty());
}
