//! # Blocks of panes
//!
//! An hour by the second is 3,600 panes. Where states cannot be subtracted (the least, the greatest), a window would be the sum of all
//! of them, again for every second. So panes that no row can reach any more are summed up in blocks of eight, blocks in blocks, and
//! a window is put together from the largest blocks that lie within it: at most seven of each size on either side. A block is summed
//! up when the first window needs it, and forgotten when the windows have moved past its start.

use std::collections::BTreeSet;

use arrow::array::ArrayRef;

use super::layout::AggregateLayout;
use super::panes::Panes;
use crate::state::group_table::GroupTable;
use crate::state::key_rows::KeyRows;

/// Panes of a block, blocks of a larger one.
const FAN: i64 = if cfg!(test) { 2 } else { 8 };

/// Sums of panes. Level 0 are the panes themselves, which others hold.
#[derive(Debug, Default)]
pub(super) struct PaneBlocks {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// The sums, under the ends of their blocks.
    table: GroupTable,
    /// The ends of the blocks that are summed up, also where that is nothing.
    built: BTreeSet<i64>,
    /// Length of a block.
    length: i64,
}

/// Adds the groups of a pane of one table to a pane of another. Where they went is left in `groups`.
pub(super) fn add_pane(from: &GroupTable, pane: i64, into: &mut GroupTable, to: Option<i64>, groups: &mut Vec<u32>) -> bool {
    let own = from.pane_groups(pane, false);
    let Some(keys) = from.keys(&own) else { return false };
    let panes = to.map(|to| vec![to; own.len()]);
    into.locate(&keys, &from.hashes(&own), panes.as_deref(), groups);
    into.merge(groups, &from.partials(&own));
    true
}

impl PaneBlocks {
    /// The blocks that fit into windows of so many panes.
    pub(super) fn new(layout: &AggregateLayout, panes: Panes) -> Self {
        let mut levels = Vec::new();
        let (mut length, mut count) = (panes.unit(), panes.panes_per_window());
        while count >= 2 * FAN {
            length *= FAN;
            count /= FAN;
            levels.push(Level { table: layout.table(), built: BTreeSet::new(), length });
        }
        Self { levels }
    }

    /// Calls with the parts of `start..end`, as few as there can be, in the order of time: a table and the pane in it.
    pub(super) fn cover(&mut self, base: &GroupTable, panes: Panes, start: i64, end: i64, mut part: impl FnMut(&GroupTable, i64)) {
        let mut at = start;
        while at < end {
            if base.panes_within(at + 1..=end).next().is_none() {
                break;
            }
            let fits = |level: &Level| panes.aligned(at, level.length) && at + level.length <= end;
            match self.levels.iter().rposition(fits) {
                Some(level) => {
                    at += self.levels[level].length;
                    self.build(base, panes, level, at);
                    if self.levels[level].table.has_pane(at) {
                        part(&self.levels[level].table, at);
                    }
                }
                None => {
                    at += panes.unit();
                    if base.has_pane(at) {
                        part(base, at);
                    }
                }
            }
        }
    }

    /// Sums up a block.
    fn build(&mut self, base: &GroupTable, panes: Panes, level: usize, end: i64) {
        if !self.levels[level].built.insert(end) {
            return;
        }
        let length = self.levels[level].length;
        if base.panes_within(end - length + 1..=end).next().is_none() {
            return;
        }
        let mut groups = Vec::new();
        let step = if level == 0 { panes.unit() } else { self.levels[level - 1].length };
        for part in (1..=FAN).map(|part| end - length + part * step) {
            if level == 0 {
                add_pane(base, part, &mut self.levels[0].table, Some(end), &mut groups);
            } else {
                self.build(base, panes, level - 1, part);
                let (below, above) = self.levels.split_at_mut(level);
                add_pane(&below[level - 1].table, part, &mut above[0].table, Some(end), &mut groups);
            }
        }
    }

    /// Adds to the blocks that are summed up what is added to a pane: states of keys that each stand once.
    pub(super) fn add(&mut self, panes: Panes, pane: i64, keys: &KeyRows, hashes: &[u64], partials: &[ArrayRef], groups: &mut Vec<u32>) {
        for level in &mut self.levels {
            let end = panes.block(pane, level.length);
            if level.built.contains(&end) {
                level.table.locate(keys, hashes, Some(&vec![end; keys.len()]), groups);
                level.table.merge(groups, partials);
            }
        }
    }

    /// Forgets all blocks.
    pub(super) fn reset(&mut self) {
        for level in &mut self.levels {
            level.built.clear();
            level.table.reset();
        }
    }

    /// Forgets the blocks that begin before a time: no later window holds one.
    pub(super) fn forget_before(&mut self, start: i64) {
        for level in &mut self.levels {
            while let Some(end) = level.built.first().copied().filter(|end| end - level.length < start) {
                level.built.remove(&end);
                level.table.release_pane(end);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.table.bytes()).sum()
    }
}
