//! # What comes out of a join
//!
//! From pairs to output batches: the residual predicate over the columns it reads, then the columns that are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column as ColumnExpr;
use datafusion_physical_expr::utils::collect_columns;
use tidemark_connectors::source::RowError;
use tidemark_planner::plan::{JoinPlan, Node};
use timely::Accountable;

use super::pairs::{Pairs, spread};
use crate::arrange::{ArrangeLayout, Column, RowTime};
use crate::batch::{Batch, record_batch};
use crate::error_row::{ErrorAt, ErrorRow};
use crate::eval::evaluate;
use crate::render_row::render_row;

/// What a join computes, ready to run.
pub(super) struct JoinShape {
    pub(super) left: Arc<ArrangeLayout>,
    pub(super) right: Arc<ArrangeLayout>,
    pub(super) null_equals_null: bool,
    pub(super) residual: Option<Residual>,
    /// Positions of the output columns in left ++ right.
    pub(super) output: Vec<usize>,
    pub(super) schema: SchemaRef,
    pub(super) node: u32,
}

/// A predicate over pairs.
pub(super) struct Residual {
    /// Over `columns`.
    predicate: Arc<dyn PhysicalExpr>,
    /// Positions in left ++ right, ascending.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl JoinShape {
    pub(super) fn new(plan: &JoinPlan, node: &Node, left: &Arc<ArrangeLayout>, right: &Arc<ArrangeLayout>) -> Self {
        let fields: Vec<Arc<Field>> = left.schema().fields().iter().chain(right.schema().fields()).cloned().collect();
        Self {
            left: Arc::clone(left),
            right: Arc::clone(right),
            null_equals_null: plan.null_equals_null,
            residual: plan.residual.as_ref().map(|predicate| Residual::new(predicate, &fields)),
            output: plan.output.clone(),
            schema: Arc::clone(&node.props.schema),
            node: node.id.0,
        }
    }

    pub(super) fn left_width(&self) -> usize {
        self.left.schema().fields().len()
    }
}

impl Residual {
    fn new(predicate: &Arc<dyn PhysicalExpr>, fields: &[Arc<Field>]) -> Self {
        let mut columns: Vec<usize> = collect_columns(predicate).iter().map(ColumnExpr::index).collect();
        columns.sort_unstable();
        columns.dedup();
        let moved = Arc::clone(predicate).transform(|expr| {
            let moved = expr.downcast_ref::<ColumnExpr>().map(|column| {
                let place = columns.binary_search(&column.index()).expect("collected above");
                Arc::new(ColumnExpr::new(column.name(), place)) as Arc<dyn PhysicalExpr>
            });
            Ok(moved.map_or(Transformed::no(expr), Transformed::yes))
        });
        // Names may repeat between the sides; positions are what counts.
        let fields: Vec<Field> = columns.iter().map(|column| fields[*column].as_ref().clone().with_nullable(true)).collect();
        Self { predicate: moved.expect("moving columns cannot fail").data, columns, schema: Arc::new(Schema::new(fields)) }
    }

    pub(super) fn reads(&self, column: usize) -> bool {
        self.columns.binary_search(&column).is_ok()
    }

    /// Positions of the pairs for which the predicate is true, and the pairs for which it has no value.
    pub(super) fn select(
        &self,
        left: &[ArrayRef],
        right: &[ArrayRef],
        left_index: &[u32],
        right_index: &[u32],
    ) -> (Vec<u32>, Vec<BadPair>) {
        let columns = self.columns.iter().map(|column| match column.checked_sub(left.len()) {
            None => spread(&left[*column], left_index),
            Some(column) => spread(&right[column], right_index),
        });
        let rows = record_batch(&self.schema, columns.collect(), left_index.len());
        let evaluated = evaluate(std::slice::from_ref(&self.predicate), &rows);
        let holds = evaluated.columns[0].as_boolean();
        let pair = |position: usize| evaluated.kept.as_ref().map_or(position as u32, |kept| kept[position]);
        let kept = (0..holds.len()).filter(|row| holds.is_valid(*row) && holds.value(*row)).map(pair).collect();
        let bad = evaluated.bad.into_iter();
        let bad = bad.map(|bad| BadPair {
            pair: bad.row,
            error: RowError { offset: 0, raw: render_row(&rows, bad.row).into_bytes(), reason: bad.reason },
        });
        (kept, bad.collect())
    }
}

/// A pair for which the residual has no value.
pub(super) struct BadPair {
    pub(super) pair: usize,
    pub(super) error: RowError,
}

/// What a join has found in one go.
#[derive(Clone)]
pub(super) struct Joined<T> {
    pub(super) parts: Vec<(T, Batch)>,
    pub(super) errors: Vec<(T, ErrorRow)>,
    /// Pairs that were looked at. It is what work is measured in: also pairs that do not match cost time.
    pub(super) pairs: usize,
}

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self { parts: Vec::new(), errors: Vec::new(), pairs: 0 }
    }
}

impl<T> Accountable for Joined<T> {
    fn record_count(&self) -> i64 {
        self.pairs as i64
    }
}

impl<T: RowTime, L: RowTime, R: RowTime> Pairs<T, L, R> {
    /// The output rows.
    pub(super) fn finish(self, shape: &JoinShape) -> Joined<T> {
        let pairs = self.len();
        let width = shape.left_width();
        let wanted =
            |column: usize| shape.output.contains(&column) || shape.residual.as_ref().is_some_and(|residual| residual.reads(column));
        let left = self.left.columns(&shape.left, wanted);
        let right = self.right.columns(&shape.right, |column| wanted(width + column));
        let mut errors = Vec::new();
        let Self { mut left_index, mut right_index, mut times, mut diffs, .. } = self;
        if let Some(residual) = &shape.residual {
            let (kept, bad) = residual.select(&left, &right, &left_index, &right_index);
            errors.extend(bad.into_iter().map(|bad| {
                let error = ErrorRow { at: ErrorAt::Node { node: shape.node }, error: bad.error, diff: *diffs.get(bad.pair) };
                (times.get(bad.pair).clone(), error)
            }));
            if kept.len() < pairs {
                left_index = kept.iter().map(|pair| left_index[*pair as usize]).collect();
                right_index = kept.iter().map(|pair| right_index[*pair as usize]).collect();
                times = pick(&times, &kept);
                diffs = pick(&diffs, &kept);
            }
        }
        let columns = shape.output.iter().map(|column| match column.checked_sub(width) {
            None => spread(&left[*column], &left_index),
            Some(column) => spread(&right[column], &right_index),
        });
        Joined { parts: by_time(&shape.schema, columns.collect(), times, &diffs), errors, pairs }
    }
}

fn pick<X: Clone + PartialEq>(values: &Column<X>, rows: &[u32]) -> Column<X> {
    let mut picked = Column::default();
    rows.iter().for_each(|row| picked.push(values.get(*row as usize).clone()));
    picked
}

/// Rows apart by their times.
pub(super) fn by_time<T: RowTime>(schema: &SchemaRef, columns: Vec<ArrayRef>, times: Column<T>, diffs: &Column<i64>) -> Vec<(T, Batch)> {
    if times.is_empty() {
        return Vec::new();
    }
    let diffs = match diffs {
        Column::Same(1, _) => None,
        other => Some((0..other.len()).map(|row| *other.get(row)).collect()),
    };
    let batch = Batch::computed(record_batch(schema, columns, times.len()), diffs);
    match times {
        Column::Same(time, _) => vec![(time, batch)],
        Column::Each(each) => {
            let mut rows: BTreeMap<&T, Vec<u32>> = BTreeMap::new();
            for (row, time) in (0..).zip(&each) {
                rows.entry(time).or_default().push(row);
            }
            rows.into_iter().map(|(time, rows)| (time.clone(), batch.take(&UInt32Array::from(rows)))).collect()
        }
    }
}
