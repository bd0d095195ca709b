//! Functions over the rows of one group in order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat, interleave};
use arrow::datatypes::DataType;
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{AggregatePlan, FrameBound, FrameUnits, OverCall, OverFunction};

use super::codec::RowCodec;
use crate::eval::evaluate;
use crate::state::accumulator::AggregateInput;
use crate::state::accumulators::accumulator;

/// The rows of one group, in order.
pub(super) struct Partition<'a> {
    pub(super) rows: &'a RecordBatch,
    /// What orders each row.
    pub(super) orders: &'a [&'a [u8]],
    /// The codec of the order.
    pub(super) codec: &'a RowCodec,
}

/// A row without a result, and why.
pub(super) type Failed = (usize, String);

/// Rows that are equal by the order.
struct Peers {
    /// The group of peers of each row.
    group: Vec<usize>,
    /// The first row of each group, and one past the last row of all.
    starts: Vec<usize>,
}

impl Peers {
    fn of(orders: &[&[u8]]) -> Self {
        let mut starts = Vec::new();
        let mut group = Vec::with_capacity(orders.len());
        for row in 0..orders.len() {
            if row == 0 || orders[row] != orders[row - 1] {
                starts.push(row);
            }
            group.push(starts.len() - 1);
        }
        starts.push(orders.len());
        Self { group, starts }
    }

    fn first(&self, row: usize) -> usize {
        self.starts[self.group[row]]
    }

    fn end(&self, row: usize) -> usize {
        self.starts[self.group[row] + 1]
    }
}

impl Partition<'_> {
    fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// The results of some functions, of their types; rows that have none are listed, ascending.
    pub(super) fn results(&self, calls: &[OverCall]) -> (Vec<ArrayRef>, Vec<Failed>) {
        let peers = Peers::of(self.orders);
        let mut failed: Vec<Failed> = Vec::new();
        let columns = calls.iter().map(|call| self.result(call, &peers, &mut failed)).collect();
        failed.sort_by_key(|failure| failure.0);
        failed.dedup_by_key(|failure| failure.0);
        (columns, failed)
    }

    fn result(&self, call: &OverCall, peers: &Peers, failed: &mut Vec<Failed>) -> ArrayRef {
        let rows = self.len();
        let numbers =
            |number: &dyn Fn(usize) -> usize| -> ArrayRef { Arc::new((0..rows).map(|row| number(row) as u64).collect::<UInt64Array>()) };
        match &call.function {
            OverFunction::RowNumber => numbers(&|row| row + 1),
            OverFunction::Rank => numbers(&|row| peers.first(row) + 1),
            OverFunction::DenseRank => numbers(&|row| peers.group[row] + 1),
            OverFunction::PercentRank => {
                let others = rows.saturating_sub(1).max(1) as f64;
                Arc::new((0..rows).map(|row| peers.first(row) as f64 / others).collect::<Float64Array>())
            }
            OverFunction::CumeDist => Arc::new((0..rows).map(|row| peers.end(row) as f64 / rows as f64).collect::<Float64Array>()),
            OverFunction::Ntile { parts } => {
                let parts = usize::try_from(*parts).unwrap_or(usize::MAX);
                let (small, larger) = (rows / parts, rows % parts);
                // The first parts have one row more.
                let split = larger * (small + 1);
                numbers(&|row| if row < split { row / (small + 1) + 1 } else { larger + (row - split) / small.max(1) + 1 })
            }
            OverFunction::Shift { rows: by } => self.shift(call, *by, failed),
            OverFunction::Nth { row } => {
                let values = self.value(&call.args[0], failed);
                let there = if call.ignore_nulls { Some(not_null(&values)) } else { None };
                let frames = self.frames(call, peers, failed);
                let picks = frames.iter().map(|frame| nth(*row, *frame, there.as_deref()));
                pick(&values, None, picks)
            }
            OverFunction::Aggregate(plan) => self.aggregate(plan, &self.frames(call, peers, failed), failed),
        }
    }

    /// An expression over all rows; null where it fails.
    fn value(&self, expr: &Arc<dyn PhysicalExpr>, failed: &mut Vec<Failed>) -> ArrayRef {
        let evaluated = evaluate(std::slice::from_ref(expr), self.rows);
        let column = evaluated.columns.into_iter().next().expect("one expression has one column");
        let Some(kept) = evaluated.kept else { return column };
        failed.extend(evaluated.bad.into_iter().map(|bad| (bad.row, bad.reason)));
        let mut places: Vec<Option<usize>> = vec![None; self.len()];
        kept.iter().enumerate().for_each(|(place, row)| places[*row as usize] = Some(place));
        pick(&column, None, places.into_iter())
    }

    fn shift(&self, call: &OverCall, by: i64, failed: &mut Vec<Failed>) -> ArrayRef {
        let values = self.value(&call.args[0], failed);
        let default = call.args.get(1).map(|expr| self.value(expr, failed));
        let rows = self.len();
        let from = |position: usize, by: i64, of: usize| -> Option<usize> {
            let at = i64::try_from(position).ok()?.checked_sub(by)?;
            usize::try_from(at).ok().filter(|at| *at < of)
        };
        if call.ignore_nulls && by != 0 {
            let there = not_null(&values);
            let picks: Vec<Option<usize>> = (0..rows)
                .map(|row| {
                    // The by-th row with a value before this one, or behind it.
                    let before = there.partition_point(|it| *it < row);
                    let place = if by > 0 {
                        from(before, by, there.len())
                    } else {
                        let behind = there.partition_point(|it| *it <= row);
                        from(behind, by + 1, there.len())
                    };
                    place.map(|place| there[place])
                })
                .collect();
            return pick(&values, default.as_ref(), picks.into_iter());
        }
        pick(&values, default.as_ref(), (0..rows).map(|row| from(row, by, rows)))
    }

    /// The frame of each row: its first row, and one past its last.
    fn frames(&self, call: &OverCall, peers: &Peers, failed: &mut Vec<Failed>) -> Vec<(usize, usize)> {
        let rows = self.len();
        let values = |bound: &FrameBound, failed: &mut Vec<Failed>| match bound {
            FrameBound::Value { expr, .. } => {
                let column = self.value(expr, failed);
                Some(self.codec.encode(&[column], rows).expect("one group's order fits a column"))
            }
            _ => None,
        };
        let (lowest, highest) = (values(&call.frame.start, failed), values(&call.frame.end, failed));
        let shifted = |of: usize, by: i64, end: usize| -> usize {
            let at = (of as i64).saturating_add(by);
            usize::try_from(at).unwrap_or(0).min(end)
        };
        let groups = peers.starts.len() - 1;
        (0..rows)
            .map(|row| {
                let start = match (&call.frame.start, call.frame.units) {
                    (FrameBound::Unbounded, _) => 0,
                    (FrameBound::Current, FrameUnits::Rows) => row,
                    (FrameBound::Current, _) => peers.first(row),
                    (FrameBound::Offset(by), FrameUnits::Rows) => shifted(row, *by, rows),
                    (FrameBound::Offset(by), _) => peers.starts[shifted(peers.group[row], *by, groups)],
                    (FrameBound::Value { .. }, _) => {
                        let lowest = lowest.as_ref().expect("it was computed").value(row);
                        self.orders.partition_point(|order| *order < lowest)
                    }
                };
                let end = match (&call.frame.end, call.frame.units) {
                    (FrameBound::Unbounded, _) => rows,
                    (FrameBound::Current, FrameUnits::Rows) => row + 1,
                    (FrameBound::Current, _) => peers.end(row),
                    (FrameBound::Offset(by), FrameUnits::Rows) => shifted(row + 1, *by, rows),
                    (FrameBound::Offset(by), _) => peers.starts[shifted(peers.group[row] + 1, *by, groups)],
                    (FrameBound::Value { .. }, _) => {
                        let highest = highest.as_ref().expect("it was computed").value(row);
                        self.orders.partition_point(|order| *order <= highest)
                    }
                };
                (start.min(rows), end.max(start.min(rows)))
            })
            .collect()
    }

    fn aggregate(&self, plan: &AggregatePlan, frames: &[(usize, usize)], failed: &mut Vec<Failed>) -> ArrayRef {
        let args: Vec<ArrayRef> = plan.args.iter().map(|arg| self.value(arg, failed)).collect();
        let filter = plan.filter.as_ref().map(|filter| self.value(filter, failed).as_boolean().clone());
        let order: Vec<ArrayRef> =
            if plan.order_by.is_empty() { vec![] } else { vec![Arc::new((0..self.len() as i64).collect::<Int64Array>())] };
        let mut state = accumulator(plan).unwrap_or_else(|reason| panic!("the planner should have refused {}: {reason}", plan.text));
        let update = |state: &mut Box<dyn crate::state::accumulator::Accumulator>, from: usize, to: usize, diff: i64| {
            if from < to {
                let slice = |columns: &[ArrayRef]| columns.iter().map(|column| column.slice(from, to - from)).collect::<Vec<_>>();
                let (args, order) = (slice(&args), slice(&order));
                let filter: Option<BooleanArray> = filter.as_ref().map(|filter| filter.slice(from, to - from));
                let input = AggregateInput { args: &args, order: &order, filter: filter.as_ref() };
                let diffs = (diff != 1).then(|| vec![diff; to - from]);
                state.update(&vec![0; to - from], input, diffs.as_deref());
            }
        };
        state.resize(1);
        let mut inside = (0, 0);
        let mut results: Vec<ArrayRef> = Vec::with_capacity(frames.len());
        let mut reason: Option<String> = None;
        for (row, frame) in frames.iter().enumerate() {
            if row == 0 || *frame != inside {
                if frame.0 < inside.0 || frame.1 < inside.1 || frame.0 >= inside.1 {
                    state.clear(&[0]);
                    inside = (frame.0, frame.0);
                }
                update(&mut state, inside.1, frame.1, 1);
                update(&mut state, inside.0, frame.0, -1);
                inside = *frame;
                let mut errors = Vec::new();
                results.push(state.evaluate(&[0], &mut errors));
                reason = errors.pop().map(|(_, reason)| reason);
            } else {
                results.push(results[row - 1].clone());
            }
            if let Some(reason) = &reason {
                failed.push((row, reason.clone()));
            }
        }
        let parts: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        if parts.is_empty() {
            arrow::array::new_empty_array(plan.output.data_type())
        } else {
            concat(&parts).expect("results have one type")
        }
    }
}

/// The rows whose value is not null.
fn not_null(values: &ArrayRef) -> Vec<usize> {
    (0..values.len()).filter(|row| values.is_valid(*row)).collect()
}

/// The n-th row of a frame, of those in `there` if given.
fn nth(n: i64, (start, end): (usize, usize), there: Option<&[usize]>) -> Option<usize> {
    let (from, to) = match there {
        None => (start, end),
        Some(there) => (there.partition_point(|row| *row < start), there.partition_point(|row| *row < end)),
    };
    let steps = usize::try_from(n.unsigned_abs() - 1).ok()?;
    let place = if n > 0 {
        from.checked_add(steps).filter(|place| *place < to)?
    } else {
        to.checked_sub(1 + steps).filter(|place| *place >= from)?
    };
    Some(there.map_or(place, |there| there[place]))
}

/// The values at some rows; the row's own default, or null, where there is none.
fn pick(values: &ArrayRef, default: Option<&ArrayRef>, picks: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    let null = arrow::array::new_null_array(values.data_type(), 1);
    let (other, each) = match default {
        Some(default) => (default, true),
        None => (&null, false),
    };
    let picks: Vec<(usize, usize)> = picks
        .enumerate()
        .map(|(row, pick)| match pick {
            Some(place) => (0, place),
            None => (1, if each { row } else { 0 }),
        })
        .collect();
    if picks.is_empty() {
        return values.slice(0, 0);
    }
    interleave(&[values.as_ref(), other.as_ref()], &picks).expect("a default has the type of its value")
}

/// The types of results.
pub(super) fn result_types(calls: &[OverCall]) -> Vec<DataType> {
    calls.iter().map(|call| call.output.data_type().clone()).collect()
}
