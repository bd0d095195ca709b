//! Aggregates over all rows of a group: what a frame that begins or ends with the group goes on from, so that nothing far from a change
//! is read again.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{AggregatePlan, FrameBound, OverCall, OverFunction};

use crate::state::accumulator::{Accumulator, AggregateInput};
use crate::state::accumulators::accumulator;

/// The states of the calls that have one, each for all groups.
pub(super) struct Totals {
    calls: Vec<Option<Total>>,
}

struct Total {
    plan: AggregatePlan,
    state: Box<dyn Accumulator>,
    /// How many rows of each group it holds: all, or those so far.
    reached: Vec<usize>,
}

/// One group's state of one call.
pub(super) struct KeptState<'a> {
    pub(super) state: &'a mut Box<dyn Accumulator>,
    pub(super) group: u32,
    /// How many rows it holds.
    pub(super) reached: &'a mut usize,
}

impl std::fmt::Debug for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Totals").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

/// An empty state of an aggregate.
pub(super) fn state_of(plan: &AggregatePlan) -> Box<dyn Accumulator> {
    accumulator(plan).unwrap_or_else(|reason| panic!("the planner should have refused {}: {reason}", plan.text))
}

/// Whether a call goes on from a state. Values that are kept in the order of rows have no place that stays.
pub(super) fn has_total(call: &OverCall) -> bool {
    let unbounded = |bound: &FrameBound| matches!(bound, FrameBound::Unbounded);
    matches!(&call.function, OverFunction::Aggregate(plan) if plan.order_by.is_empty())
        && (unbounded(&call.frame.start) || unbounded(&call.frame.end))
}

impl Totals {
    /// Empty states of the calls that go on from one.
    pub(super) fn new(calls: &[OverCall]) -> Self {
        let total = |call: &OverCall| match &call.function {
            OverFunction::Aggregate(plan) if has_total(call) => {
                Some(Total { plan: plan.as_ref().clone(), state: state_of(plan), reached: Vec::new() })
            }
            _ => None,
        };
        Self { calls: calls.iter().map(total).collect() }
    }

    /// Makes room for groups.
    pub(super) fn resize(&mut self, groups: usize) {
        for total in self.calls.iter_mut().flatten() {
            total.state.resize(groups);
            total.reached.resize(groups.max(total.reached.len()), 0);
        }
    }

    /// Adds rows to a group, or takes them back. An expression's value is null where it has none.
    pub(super) fn add(&mut self, group: u32, diffs: &[i64], value: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> ArrayRef) {
        for total in self.calls.iter_mut().flatten() {
            let columns = Columns::of(&total.plan, value, diffs.len());
            columns.add_each(&mut total.state, group, 0..diffs.len(), Some(diffs));
            let reached = &mut total.reached[group as usize];
            let sum: i64 = diffs.iter().sum();
            *reached = reached.checked_add_signed(sum as isize).expect("no more rows go than have come");
        }
    }

    /// The state of a call, if it goes on from one.
    pub(super) fn of(&mut self, call: usize, group: u32) -> Option<KeptState<'_>> {
        let total = self.calls[call].as_mut()?;
        Some(KeptState { state: &mut total.state, group, reached: &mut total.reached[group as usize] })
    }

    /// The fewest rows of a group that a call has read; `None` if no call goes on from a state.
    pub(super) fn reached(&self, group: u32) -> Option<usize> {
        self.calls.iter().flatten().map(|total| total.reached[group as usize]).min()
    }

    /// Forgets a group.
    pub(super) fn clear(&mut self, group: u32) {
        for total in self.calls.iter_mut().flatten() {
            total.state.clear(&[group]);
            total.reached[group as usize] = 0;
        }
    }

    /// Bytes of memory held, close to it.
    pub(super) fn bytes(&self) -> usize {
        self.calls.iter().flatten().map(|total| total.state.bytes() + total.reached.capacity() * 8).sum()
    }
}

/// What an aggregate reads of some rows.
pub(super) struct Columns {
    args: Vec<ArrayRef>,
    order: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Columns {
    /// The columns of so many rows.
    pub(super) fn of(plan: &AggregatePlan, value: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> ArrayRef, rows: usize) -> Self {
        let args = plan.args.iter().map(&mut *value).collect();
        let filter = plan.filter.as_ref().map(|filter| value(filter).as_boolean().clone());
        let order: Vec<ArrayRef> = if plan.order_by.is_empty() { vec![] } else { vec![Arc::new((0..rows as i64).collect::<Int64Array>())] };
        Self { args, order, filter }
    }

    /// Adds some of the rows, each so often.
    pub(super) fn add(&self, state: &mut Box<dyn Accumulator>, group: u32, rows: Range<usize>, diff: i64) {
        let diffs = (diff != 1).then(|| vec![diff; rows.len()]);
        self.add_each(state, group, rows, diffs.as_deref());
    }

    fn add_each(&self, state: &mut Box<dyn Accumulator>, group: u32, rows: Range<usize>, diffs: Option<&[i64]>) {
        let slice = |columns: &[ArrayRef]| columns.iter().map(|column| column.slice(rows.start, rows.len())).collect::<Vec<_>>();
        let (args, order) = (slice(&self.args), slice(&self.order));
        let filter: Option<BooleanArray> = self.filter.as_ref().map(|filter| filter.slice(rows.start, rows.len()));
        state.update(&vec![group; rows.len()], AggregateInput { args: &args, order: &order, filter: filter.as_ref() }, diffs);
    }
}
