//! Functions over rows of one group in order.
//!
//! What is computed is told of some rows, from rows that stand together and hold all that these read: a stretch of the group, its
//! place known, and few rows besides. Aggregates whose frame begins or ends with the group go on from a state that is kept
//! ([`Totals`]).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{concat, interleave};
use arrow::datatypes::DataType;
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{AggregatePlan, FrameBound, FrameUnits, OverCall, OverFunction};

use super::codec::RowCodec;
use super::totals::{Columns, KeptState, Totals, state_of};
use crate::eval::evaluate;
use crate::state::accumulator::Accumulator;

/// Rows of one group, in order.
pub(super) struct Partition<'a> {
    /// Rows that stand together, then the ones of `besides`.
    pub(super) rows: &'a RecordBatch,
    /// What orders each row that stands together.
    pub(super) orders: &'a [&'a [u8]],
    /// The codec of the order.
    pub(super) codec: &'a RowCodec,
    /// Rows of the group before them.
    pub(super) before: usize,
    /// Groups of peers before them, where their first row begins one.
    pub(super) groups_before: usize,
    /// Rows of the group.
    pub(super) total: usize,
    /// Positions in the group of single rows that are read.
    pub(super) besides: &'a [usize],
    /// The rows asked for, by their place among those that stand together.
    pub(super) wanted: Range<usize>,
}

/// The state of aggregates over all rows of a group, or all so far, for each call that has one.
pub(super) struct Kept<'a> {
    pub(super) totals: &'a mut Totals,
    pub(super) group: u32,
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
    /// The results of some functions for the rows wanted, of their types; those that have none are listed, ascending, by their place
    /// among the wanted ones.
    pub(super) fn results(&self, calls: &[OverCall], mut kept: Option<Kept<'_>>) -> (Vec<ArrayRef>, Vec<Failed>) {
        let peers = Peers::of(self.orders);
        let mut failed: Vec<Failed> = Vec::new();
        let columns = calls.iter().enumerate().map(|(at, call)| self.result(call, at, kept.as_mut(), &peers, &mut failed)).collect();
        failed.retain(|failure| self.wanted.contains(&failure.0));
        failed.iter_mut().for_each(|failure| failure.0 -= self.wanted.start);
        failed.sort_by_key(|failure| failure.0);
        failed.dedup_by_key(|failure| failure.0);
        (columns, failed)
    }

    fn result(&self, call: &OverCall, at: usize, kept: Option<&mut Kept<'_>>, peers: &Peers, failed: &mut Vec<Failed>) -> ArrayRef {
        let (rows, before) = (self.total, self.before);
        let numbers = |number: &dyn Fn(usize) -> usize| -> ArrayRef {
            Arc::new(self.wanted.clone().map(|row| number(row) as i64).collect::<Int64Array>())
        };
        let shares = |share: &dyn Fn(usize) -> f64| -> ArrayRef { Arc::new(self.wanted.clone().map(share).collect::<Float64Array>()) };
        match &call.function {
            OverFunction::RowNumber => numbers(&|row| before + row + 1),
            OverFunction::Rank => numbers(&|row| before + peers.first(row) + 1),
            OverFunction::DenseRank => numbers(&|row| self.groups_before + peers.group[row] + 1),
            OverFunction::PercentRank => {
                let others = rows.saturating_sub(1).max(1) as f64;
                shares(&|row| (before + peers.first(row)) as f64 / others)
            }
            OverFunction::CumeDist => shares(&|row| (before + peers.end(row)) as f64 / rows as f64),
            OverFunction::Ntile { parts } => {
                let parts = usize::try_from(*parts).unwrap_or(usize::MAX);
                let (small, larger) = (rows / parts, rows % parts);
                // The first parts have one row more.
                let split = larger * (small + 1);
                numbers(&|row| {
                    let row = before + row;
                    if row < split { row / (small + 1) + 1 } else { larger + (row - split) / small.max(1) + 1 }
                })
            }
            OverFunction::Shift { rows: by } => self.shift(call, *by, failed),
            OverFunction::Nth { row } => {
                let values = self.value(&call.args[0], failed);
                let there = if call.ignore_nulls { Some(self.not_null(&values)) } else { None };
                let frames = self.frames(call, peers, failed);
                let picks = frames.iter().map(|frame| nth(*row, *frame, there.as_deref()).map(|position| self.place(position)));
                pick(&values, None, picks)
            }
            OverFunction::Aggregate(plan) => {
                let frames = self.frames(call, peers, failed);
                self.aggregate(plan, kept.and_then(|kept| kept.totals.of(at, kept.group)), &frames, failed)
            }
        }
    }

    /// Where the row at a position of the group stands in the batch.
    fn place(&self, position: usize) -> usize {
        match position.checked_sub(self.before).filter(|place| *place < self.orders.len()) {
            Some(place) => place,
            None => {
                let besides = self.besides.iter().position(|other| *other == position);
                self.orders.len() + besides.unwrap_or_else(|| panic!("row {position} is read, but not given"))
            }
        }
    }

    /// The positions of rows whose value is not null.
    fn not_null(&self, values: &ArrayRef) -> Vec<usize> {
        (0..self.orders.len()).filter(|row| values.is_valid(*row)).map(|row| self.before + row).collect()
    }

    /// An expression over all rows; null where it fails.
    fn value(&self, expr: &Arc<dyn PhysicalExpr>, failed: &mut Vec<Failed>) -> ArrayRef {
        value(expr, self.rows, failed)
    }

    fn shift(&self, call: &OverCall, by: i64, failed: &mut Vec<Failed>) -> ArrayRef {
        let values = self.value(&call.args[0], failed);
        let default = call.args.get(1).map(|expr| self.value(expr, failed));
        let default = default.map(|default| default.slice(self.wanted.start, self.wanted.len()));
        let from = |position: usize, by: i64, of: usize| -> Option<usize> {
            let at = i64::try_from(position).ok()?.checked_sub(by)?;
            usize::try_from(at).ok().filter(|at| *at < of)
        };
        let rows = self.wanted.clone().map(|row| self.before + row);
        if call.ignore_nulls && by != 0 {
            let there = self.not_null(&values);
            let picks = rows.map(|row| {
                // The by-th row with a value before this one, or behind it.
                let before = there.partition_point(|it| *it < row);
                let place = if by > 0 {
                    from(before, by, there.len())
                } else {
                    let behind = there.partition_point(|it| *it <= row);
                    from(behind, by + 1, there.len())
                };
                place.map(|place| self.place(there[place]))
            });
            return pick(&values, default.as_ref(), picks);
        }
        pick(&values, default.as_ref(), rows.map(|row| from(row, by, self.total).map(|position| self.place(position))))
    }

    /// The frame of each row wanted, as positions in the group: its first row, and one past its last.
    fn frames(&self, call: &OverCall, peers: &Peers, failed: &mut Vec<Failed>) -> Vec<(usize, usize)> {
        let values = |bound: &FrameBound, failed: &mut Vec<Failed>| match bound {
            FrameBound::Value { expr, .. } => {
                let column = self.value(expr, failed);
                Some(self.codec.encode(&[column], self.rows.num_rows()).expect("one group's order fits a column"))
            }
            _ => None,
        };
        let (lowest, highest) = (values(&call.frame.start, failed), values(&call.frame.end, failed));
        let shifted = |of: usize, by: i64, end: usize| -> usize {
            let at = (of as i64).saturating_add(by);
            usize::try_from(at).unwrap_or(0).min(end)
        };
        let (before, groups) = (self.before, peers.starts.len() - 1);
        self.wanted
            .clone()
            .map(|row| {
                let start = match (&call.frame.start, call.frame.units) {
                    (FrameBound::Unbounded, _) => 0,
                    (FrameBound::Current, FrameUnits::Rows) => before + row,
                    (FrameBound::Current, _) => before + peers.first(row),
                    (FrameBound::Offset(by), FrameUnits::Rows) => shifted(before + row, *by, self.total),
                    (FrameBound::Offset(by), _) => before + peers.starts[shifted(peers.group[row], *by, groups)],
                    (FrameBound::Value { .. }, _) => {
                        let lowest = lowest.as_ref().expect("it was computed").value(row);
                        before + self.orders.partition_point(|order| *order < lowest)
                    }
                };
                let end = match (&call.frame.end, call.frame.units) {
                    (FrameBound::Unbounded, _) => self.total,
                    (FrameBound::Current, FrameUnits::Rows) => before + row + 1,
                    (FrameBound::Current, _) => before + peers.end(row),
                    (FrameBound::Offset(by), FrameUnits::Rows) => shifted(before + row + 1, *by, self.total),
                    (FrameBound::Offset(by), _) => before + peers.starts[shifted(peers.group[row] + 1, *by, groups)],
                    (FrameBound::Value { .. }, _) => {
                        let highest = highest.as_ref().expect("it was computed").value(row);
                        before + self.orders.partition_point(|order| *order <= highest)
                    }
                };
                (start.min(self.total), end.max(start.min(self.total)))
            })
            .collect()
    }

    fn aggregate(
        &self,
        plan: &AggregatePlan,
        kept: Option<KeptState<'_>>,
        frames: &[(usize, usize)],
        failed: &mut Vec<Failed>,
    ) -> ArrayRef {
        let Some(first) = frames.first() else { return arrow::array::new_empty_array(plan.output.data_type()) };
        let columns = Columns::of(plan, &mut |expr| self.value(expr, failed), self.rows.num_rows());
        let (mut scratch, mut reached) = (None, 0);
        let (state, group, reached, goes_on) = match kept {
            Some(kept) => (kept.state, kept.group, kept.reached, true),
            None => {
                let state = scratch.insert(state_of(plan));
                state.resize(1);
                (state, 0, &mut reached, false)
            }
        };
        // What the state holds, as positions in the group.
        let mut inside = if goes_on { (0, *reached) } else { (first.0, first.0) };
        let at_end = *reached;
        if goes_on && self.before == 0 && first.1 < inside.1 / 2 {
            // Shorter than taking back what stands behind.
            state.clear(&[group]);
            inside = (0, 0);
        }
        let change = |state: &mut Box<dyn Accumulator>, from: usize, to: usize, diff: i64| {
            if from < to {
                columns.add(state, group, from - self.before..to - self.before, diff);
            }
        };
        let turn = |state: &mut Box<dyn Accumulator>, inside: &mut (usize, usize), frame: (usize, usize)| {
            change(state, inside.1, frame.1, 1);
            change(state, frame.1, inside.1, -1);
            change(state, inside.0, frame.0, -1);
            change(state, frame.0, inside.0, 1);
            *inside = frame;
        };
        let mut results: Vec<ArrayRef> = Vec::with_capacity(frames.len());
        let mut reason: Option<String> = None;
        for (row, frame) in frames.iter().enumerate() {
            if row == 0 || *frame != inside {
                if !goes_on && (frame.0 < inside.0 || frame.1 < inside.1 || frame.0 >= inside.1) {
                    state.clear(&[group]);
                    inside = (frame.0, frame.0);
                }
                turn(state, &mut inside, *frame);
                let mut errors = Vec::new();
                results.push(state.evaluate(&[group], &mut errors));
                reason = errors.pop().map(|(_, reason)| reason);
            } else {
                results.push(results[row - 1].clone());
            }
            if let Some(reason) = &reason {
                failed.push((self.wanted.start + row, reason.clone()));
            }
        }
        if goes_on {
            // A state of all rows is one again; a state of rows that are final stays where it has come to.
            if at_end == self.total {
                turn(state, &mut inside, (0, self.total));
            }
            *reached = inside.1;
        }
        let parts: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        concat(&parts).expect("results have one type")
    }
}

/// An expression over some rows; null where it fails.
pub(super) fn value(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch, failed: &mut Vec<Failed>) -> ArrayRef {
    let evaluated = evaluate(std::slice::from_ref(expr), rows);
    let column = evaluated.columns.into_iter().next().expect("one expression has one column");
    let Some(kept) = evaluated.kept else { return column };
    failed.extend(evaluated.bad.into_iter().map(|bad| (bad.row, bad.reason)));
    let mut places: Vec<Option<usize>> = vec![None; rows.num_rows()];
    kept.iter().enumerate().for_each(|(place, row)| places[*row as usize] = Some(place));
    pick(&column, None, places.into_iter())
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
