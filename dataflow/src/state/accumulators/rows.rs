//! The rows of a batch that count: after FILTER and nulls, each with its group and diff.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

/// The rows of one call.
pub(super) struct Rows<'a> {
    groups: &'a [u32],
    diffs: Option<&'a [i64]>,
    /// Rows that count; `None`: all.
    mask: Option<BooleanBuffer>,
}

impl<'a> Rows<'a> {
    /// Rows for which the filter is true and none of `columns` is null.
    pub(super) fn new(groups: &'a [u32], diffs: Option<&'a [i64]>, filter: Option<&BooleanArray>, columns: &[ArrayRef]) -> Self {
        let mut mask = filter.map(true_rows);
        for column in columns {
            assert!(column.len() == groups.len(), "a column of {} rows for {} groups", column.len(), groups.len());
            if let Some(nulls) = column.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                mask = Some(both(mask, nulls.into_inner()));
            }
        }
        Self::masked(groups, diffs, mask)
    }

    /// All rows, or those of a mask.
    pub(super) fn masked(groups: &'a [u32], diffs: Option<&'a [i64]>, mask: Option<BooleanBuffer>) -> Self {
        if let Some(diffs) = diffs {
            assert!(diffs.len() == groups.len(), "{} diffs for {} groups", diffs.len(), groups.len());
        }
        if let Some(mask) = &mask {
            assert!(mask.len() == groups.len(), "a filter of {} rows for {} groups", mask.len(), groups.len());
        }
        Self { groups, diffs, mask }
    }

    /// Rows of partial states that are not null.
    pub(super) fn of_partials(groups: &'a [u32], nulls: Option<&NullBuffer>) -> Self {
        Self::masked(groups, None, nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().clone()))
    }

    /// The one group of all rows, if every row counts once and all are of one group.
    pub(super) fn only_group(&self) -> Option<usize> {
        if self.mask.is_some() || self.diffs.is_some() {
            return None;
        }
        let (&first, rest) = self.groups.split_first()?;
        // Whole blocks at a time, so that the comparison is vectorised and random groups leave after the first block.
        let same = rest.chunks(64).all(|block| block.iter().fold(0, |apart, &group| apart | (group ^ first)) == 0);
        same.then_some(first as usize)
    }

    /// Calls with row, group and diff (never zero), in order. The call is compiled once for each combination of mask and diffs, so
    /// that a plain batch runs a plain loop.
    #[inline(always)]
    pub(super) fn for_each(&self, mut call: impl FnMut(usize, usize, i64)) {
        match (&self.mask, self.diffs) {
            (None, None) => {
                for (row, &group) in self.groups.iter().enumerate() {
                    call(row, group as usize, 1);
                }
            }
            (None, Some(diffs)) => {
                for (row, (&group, &diff)) in self.groups.iter().zip(diffs).enumerate() {
                    if diff != 0 {
                        call(row, group as usize, diff);
                    }
                }
            }
            (Some(mask), None) => {
                for row in mask.set_indices() {
                    call(row, self.groups[row] as usize, 1);
                }
            }
            (Some(mask), Some(diffs)) => {
                for row in mask.set_indices() {
                    let diff = diffs[row];
                    if diff != 0 {
                        call(row, self.groups[row] as usize, diff);
                    }
                }
            }
        }
    }
}

/// Rows that are true: not false, not null.
fn true_rows(filter: &BooleanArray) -> BooleanBuffer {
    match filter.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    }
}

fn both(mask: Option<BooleanBuffer>, with: BooleanBuffer) -> BooleanBuffer {
    match mask {
        Some(mask) => &mask & &with,
        None => with,
    }
}
