//! # Group states
//!
//! The states of all aggregates of a set of groups, struct-of-arrays, with the net number of rows of each group where rows can be taken
//! back. Groups are numbers; who they belong to is known above: by pane and key in [`super::group_table`], by session elsewhere.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::accumulator::{Accumulator, AggregateInput};

/// The columns one aggregate reads of a batch.
#[derive(Clone, Debug, Default)]
pub struct GroupInput {
    /// The arguments.
    pub args: Vec<ArrayRef>,
    /// The columns of `ORDER BY`.
    pub order: Vec<ArrayRef>,
    /// Rows for which this is not true do not count.
    pub filter: Option<BooleanArray>,
}

/// See the module's documentation.
pub struct GroupStates {
    accumulators: Vec<Box<dyn Accumulator>>,
    partial_columns: Vec<usize>,
    /// Net rows of each group; absent where rows are only added, and a group is there because a row came.
    counts: Option<Vec<i64>>,
}

impl std::fmt::Debug for GroupStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupStates").field("aggregates", &self.accumulators.len()).finish_non_exhaustive()
    }
}

impl GroupStates {
    /// No groups. `counted` keeps the net number of rows of each group: needed when rows can be taken back.
    pub fn new(accumulators: Vec<Box<dyn Accumulator>>, counted: bool) -> Self {
        let partial_columns = accumulators.iter().map(|accumulator| accumulator.partial_types().len()).collect();
        Self { accumulators, partial_columns, counts: counted.then(Vec::new) }
    }

    /// Makes room for groups `0..groups`; new ones are empty.
    pub fn resize(&mut self, groups: usize) {
        for accumulator in &mut self.accumulators {
            accumulator.resize(groups);
        }
        if let Some(counts) = &mut self.counts {
            counts.resize(groups, 0);
        }
    }

    /// Adds rows to the groups they were located in.
    pub fn update(&mut self, groups: &[u32], inputs: &[GroupInput], diffs: Option<&[i64]>) {
        assert_eq!(inputs.len(), self.accumulators.len(), "one input for each aggregate");
        for (accumulator, input) in self.accumulators.iter_mut().zip(inputs) {
            let input = AggregateInput { args: &input.args, order: &input.order, filter: input.filter.as_ref() };
            accumulator.update(groups, input, diffs);
        }
        if let Some(counts) = &mut self.counts {
            match diffs {
                None => groups.iter().for_each(|group| counts[*group as usize] += 1),
                Some(diffs) => groups.iter().zip(diffs).for_each(|(group, diff)| counts[*group as usize] += diff),
            }
        }
    }

    /// The states of groups as columns: the net rows first if they are kept, then each aggregate's.
    pub fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut columns = Vec::with_capacity(1 + self.partial_columns.iter().sum::<usize>());
        if let Some(counts) = &self.counts {
            let counts: Vec<i64> = groups.iter().map(|group| counts[*group as usize]).collect();
            columns.push(Arc::new(Int64Array::from(counts)) as ArrayRef);
        }
        for accumulator in &self.accumulators {
            columns.extend(accumulator.partials(groups));
        }
        columns
    }

    /// Adds states taken from other states of the same aggregates.
    pub fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.merge_signed(groups, partials, 1);
    }

    /// Takes states back that were merged before. Only if [`GroupStates::invertible`].
    pub fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.merge_signed(groups, partials, -1);
    }

    fn merge_signed(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let mut columns = partials;
        if let Some(counts) = &mut self.counts {
            let (first, rest) = columns.split_first().expect("counts come first");
            for (group, count) in groups.iter().zip(first.as_primitive::<Int64Type>().values()) {
                counts[*group as usize] += sign * count;
            }
            columns = rest;
        }
        assert_eq!(columns.len(), self.partial_columns.iter().sum::<usize>(), "partial states of the same aggregates");
        for (accumulator, width) in self.accumulators.iter_mut().zip(&self.partial_columns) {
            let (own, rest) = columns.split_at(*width);
            if sign > 0 {
                accumulator.merge(groups, own)
            } else {
                accumulator.subtract(groups, own)
            }
            columns = rest;
        }
    }

    /// Whether [`GroupTable::subtract`] works.
    pub fn invertible(&self) -> bool {
        self.accumulators.iter().all(|accumulator| accumulator.invertible())
    }

    /// The results of groups, one column for each aggregate. Groups that have none for some aggregate are listed in `errors` by
    /// position, ascending, with the first reason.
    pub fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> Vec<ArrayRef> {
        let columns = self.accumulators.iter().map(|accumulator| accumulator.evaluate(groups, errors)).collect();
        if !errors.is_empty() {
            errors.sort_by_key(|(position, _)| *position);
            errors.dedup_by_key(|(position, _)| *position);
        }
        columns
    }

    /// Whether a group has rows. Always, where rows are only added.
    pub fn exists(&self, group: u32) -> bool {
        self.counts.as_ref().is_none_or(|counts| counts[group as usize] != 0)
    }

    /// The net number of rows of a group, where it is kept.
    pub fn rows(&self, group: u32) -> i64 {
        self.counts.as_ref().map_or(0, |counts| counts[group as usize])
    }

    /// Whether the net number of rows of each group is kept.
    pub fn counted(&self) -> bool {
        self.counts.is_some()
    }

    /// Makes groups empty again and releases what they own.
    pub fn clear(&mut self, groups: &[u32]) {
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.clear(groups));
        if let Some(counts) = &mut self.counts {
            groups.iter().for_each(|group| counts[*group as usize] = 0);
        }
    }

    /// Forgets all groups, keeping what is allocated.
    pub fn reset(&mut self) {
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset());
        if let Some(counts) = &mut self.counts {
            counts.clear();
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let counts = self.counts.as_ref().map_or(0, |counts| counts.capacity() * 8);
        counts + self.accumulators.iter().map(|accumulator| accumulator.bytes()).sum::<usize>()
    }
}
