//! The contract between a table of groups and one aggregate's state.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;

/// The columns one aggregate reads of a batch, evaluated already.
#[derive(Clone, Copy, Debug)]
pub struct AggregateInput<'a> {
    /// The arguments, of the types in the plan.
    pub args: &'a [ArrayRef],
    /// The columns of `ORDER BY`, in order.
    pub order: &'a [ArrayRef],
    /// Rows for which this is not true do not count.
    pub filter: Option<&'a BooleanArray>,
}

/// One aggregate's state for all groups of a table, struct-of-arrays: group `g` is position `g` of every array.
///
/// Virtual calls happen per batch, never per row.
///
/// **Exactness.** After any sequence of calls, [`Accumulator::evaluate`] answers what a batch database would over the multiset of
/// rows with their diffs added up. A multiset with a negative count can stand only between the calls of one epoch; state must get
/// through it (a retraction may arrive before what it retracts) and be exact once counts are non-negative again.
pub trait Accumulator: Send {
    /// Makes room for groups `0..groups`. New groups are empty; existing ones keep their state.
    fn resize(&mut self, groups: usize);

    /// Adds rows: row `i` to group `groups[i]`, `diffs[i]` times (`None`: once each).
    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>);

    /// Types of the columns of a partial state; fixed for the accumulator's life.
    fn partial_types(&self) -> Vec<DataType>;

    /// The state of some groups as columns, one row per group, to travel to another accumulator of the same plan.
    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef>;

    /// Adds partial states: row `i` to group `groups[i]`. Merging is commutative and associative.
    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]);

    /// Whether [`Accumulator::subtract`] works.
    fn invertible(&self) -> bool;

    /// Takes partial states back that were merged before. Only called if [`Accumulator::invertible`].
    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]);

    /// The results of some groups, of the plan's output type. A result that does not exist, such as a sum that overflows,
    /// is null in the array and has its position (in `groups`) and reason in `errors`.
    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef;

    /// Makes groups empty again and releases what they own.
    fn clear(&mut self, groups: &[u32]);

    /// Makes every group empty and the number of groups 0, keeping allocations for reuse.
    fn reset(&mut self);

    /// Bytes of memory held, for limits and reports; close, not exact.
    fn bytes(&self) -> usize;
}
