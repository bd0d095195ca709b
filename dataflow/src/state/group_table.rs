//! # Group table
//!
//! Groups of rows by pane and key: a key table for each pane, and one struct-of-arrays state for the groups of all of them, so that a
//! batch that spans panes still costs one call for each aggregate, and a pane is dropped without looking up its keys.
//! Whoever has no windows has one pane, 0.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::accumulator::Accumulator;
pub use super::group_states::GroupInput;
use super::group_states::GroupStates;
use super::key_rows::KeyRows;
use super::key_table::{KeyTable, RowSet, Stretch};

/// No group.
const NONE: u32 = u32::MAX;
/// Batches with more different panes than this are sorted instead of dealt out.
const DEALT: usize = 64;

/// Where a group belongs.
#[derive(Clone, Copy, Debug)]
struct Home {
    pane: i64,
    key: u32,
}

/// What [`GroupTable::find`] found.
#[derive(Debug, Default)]
pub struct Found {
    /// The positions of keys that are there, ascending.
    pub positions: Vec<u32>,
    /// The group of each.
    pub groups: Vec<u32>,
    numbers: Vec<u32>,
}

#[derive(Debug, Default)]
struct Pane {
    keys: KeyTable,
    /// The group of each number of `keys`; [`NONE`] for numbers not in use.
    groups: Vec<u32>,
}

/// States of groups. See the module's documentation.
pub struct GroupTable {
    states: GroupStates,
    panes: BTreeMap<i64, Pane>,
    spare: Vec<Pane>,
    homes: Vec<Home>,
    free: Vec<u32>,
    ids: Vec<u32>,
}

impl std::fmt::Debug for GroupTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupTable").field("groups", &self.len()).field("panes", &self.panes.len()).finish_non_exhaustive()
    }
}

impl GroupTable {
    /// An empty table. `counted` keeps the net number of rows of each group: needed when rows can be taken back.
    pub fn new(accumulators: Vec<Box<dyn Accumulator>>, counted: bool) -> Self {
        Self {
            states: GroupStates::new(accumulators, counted),
            panes: BTreeMap::new(),
            spare: Vec::new(),
            homes: Vec::new(),
            free: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.homes.len() - self.free.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the greatest group in use.
    pub fn groups(&self) -> usize {
        self.homes.len()
    }

    /// Fills `groups` with the group of each row, making groups for new keys.
    pub fn locate(&mut self, keys: &KeyRows, hashes: &[u64], panes: Option<&[i64]>, groups: &mut Vec<u32>) {
        let rows = keys.len();
        groups.clear();
        if rows == 0 {
            return;
        }
        match panes {
            None => self.locate_rows(0, keys, hashes, Stretch { first: 0, rows }, groups),
            Some(panes) => {
                let cuts = panes.windows(2).filter(|pair| pair[0] != pair[1]).count();
                if cuts <= rows / 16 {
                    let mut first = 0;
                    while first < rows {
                        let pane = panes[first];
                        let run = panes[first..].iter().take_while(|other| **other == pane).count();
                        self.locate_rows(pane, keys, hashes, Stretch { first, rows: run }, groups);
                        first += run;
                    }
                } else {
                    self.locate_mixed(panes, keys, hashes, groups);
                }
            }
        }
        self.states.resize(self.homes.len());
    }

    /// Of some keys those that a pane has: their positions, and their groups.
    pub fn find(&self, pane: i64, keys: &KeyRows, hashes: &[u64], found: &mut Found) {
        found.positions.clear();
        found.groups.clear();
        let Some(table) = self.panes.get(&pane) else { return };
        found.numbers.clear();
        table.keys.find(keys, hashes, &mut found.numbers);
        for (position, number) in (0..).zip(&found.numbers) {
            if *number != NONE {
                found.positions.push(position);
                found.groups.push(table.groups[*number as usize]);
            }
        }
    }

    /// Rows whose panes alternate: each pane's rows together.
    fn locate_mixed(&mut self, panes: &[i64], keys: &KeyRows, hashes: &[u64], groups: &mut Vec<u32>) {
        groups.resize(panes.len(), NONE);
        let mut located = Vec::new();
        let mut each = |table: &mut Self, pane: i64, rows: &[u32]| {
            located.clear();
            table.locate_rows(pane, keys, hashes, rows, &mut located);
            for (row, group) in rows.iter().zip(&located) {
                groups[*row as usize] = *group;
            }
        };
        if let Some(dealt) = deal(panes) {
            for (pane, rows) in dealt {
                each(self, pane, &rows);
            }
        } else {
            let mut order: Vec<u32> = (0..panes.len() as u32).collect();
            order.sort_by_key(|row| panes[*row as usize]);
            for rows in order.chunk_by(|left, right| panes[*left as usize] == panes[*right as usize]) {
                each(self, panes[rows[0] as usize], rows);
            }
        }
    }

    fn locate_rows(&mut self, pane: i64, keys: &KeyRows, hashes: &[u64], rows: impl RowSet, groups: &mut Vec<u32>) {
        let (homes, free) = (&mut self.homes, &mut self.free);
        let spare = &mut self.spare;
        let table = self.panes.entry(pane).or_insert_with(|| spare.pop().unwrap_or_default());
        self.ids.clear();
        table.keys.intern(keys, hashes, rows, &mut self.ids);
        if table.groups.len() < table.keys.numbers() {
            table.groups.resize(table.keys.numbers(), NONE);
        }
        let of = table.groups.as_mut_slice();
        groups.extend(self.ids.iter().map(|key| {
            let group = of[*key as usize];
            if group != NONE {
                return group;
            }
            let home = Home { pane, key: *key };
            let group = match free.pop() {
                Some(group) => {
                    homes[group as usize] = home;
                    group
                }
                None => {
                    assert!(homes.len() < NONE as usize, "fewer than 2^32 - 1 groups in one table");
                    homes.push(home);
                    (homes.len() - 1) as u32
                }
            };
            of[*key as usize] = group;
            group
        }));
    }

    /// Adds rows to the groups they were located in.
    pub fn update(&mut self, groups: &[u32], inputs: &[GroupInput], diffs: Option<&[i64]>) {
        self.states.update(groups, inputs, diffs);
    }

    /// The states of groups as columns: the net rows first if they are kept, then each aggregate's.
    pub fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        self.states.partials(groups)
    }

    /// Adds states taken from another table of the same aggregates.
    pub fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.states.merge(groups, partials);
    }

    /// Takes states back that were merged before. Only if [`GroupTable::invertible`].
    pub fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.states.subtract(groups, partials);
    }

    /// Makes groups empty again; they stay.
    pub fn clear(&mut self, groups: &[u32]) {
        self.states.clear(groups);
    }

    /// Whether [`GroupTable::subtract`] works.
    pub fn invertible(&self) -> bool {
        self.states.invertible()
    }

    /// The results of groups, one column for each aggregate. Groups that have none for some aggregate are listed in `errors` by
    /// position, ascending, with the first reason.
    pub fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> Vec<ArrayRef> {
        self.states.evaluate(groups, errors)
    }

    /// Whether a group has rows. Always, where rows are only added.
    pub fn exists(&self, group: u32) -> bool {
        self.states.exists(group)
    }

    /// The net number of rows of a group, where it is kept.
    pub fn rows(&self, group: u32) -> i64 {
        self.states.rows(group)
    }

    /// Whether the net number of rows of each group is kept.
    pub fn counted(&self) -> bool {
        self.states.counted()
    }

    /// The panes that have groups, ascending.
    pub fn panes(&self) -> impl DoubleEndedIterator<Item = i64> {
        self.panes.keys().copied()
    }

    /// The panes within some ends.
    pub fn panes_within(&self, ends: impl std::ops::RangeBounds<i64>) -> impl Iterator<Item = i64> {
        self.panes.range(ends).map(|(pane, _)| *pane)
    }

    /// Whether a pane has groups.
    pub fn has_pane(&self, pane: i64) -> bool {
        self.panes.contains_key(&pane)
    }

    /// The first pane.
    pub fn first_pane(&self) -> Option<i64> {
        self.panes.keys().next().copied()
    }

    /// The groups of a pane, in the order of their keys if asked for, else as they were made.
    pub fn pane_groups(&self, pane: i64, sorted: bool) -> Vec<u32> {
        let Some(table) = self.panes.get(&pane) else { return Vec::new() };
        let mut keys: Vec<u32> = (0..table.groups.len() as u32).filter(|key| table.groups[*key as usize] != NONE).collect();
        if sorted {
            table.keys.sort(&mut keys);
        }
        keys.iter().map(|key| table.groups[*key as usize]).collect()
    }

    /// Sorts groups by pane, then key.
    pub fn sort(&self, groups: &mut Vec<u32>) {
        if self.panes.len() > 1 {
            groups.sort_unstable_by_key(|group| self.homes[*group as usize].pane);
        }
        let mut sorted = Vec::with_capacity(groups.len());
        for (pane, within) in self.by_pane(groups) {
            let mut keys: Vec<u32> = within.iter().map(|group| self.homes[*group as usize].key).collect();
            pane.keys.sort(&mut keys);
            sorted.extend(keys.iter().map(|key| pane.groups[*key as usize]));
        }
        *groups = sorted;
    }

    /// Stretches of groups of one pane.
    fn by_pane<'a>(&'a self, groups: &'a [u32]) -> impl Iterator<Item = (&'a Pane, &'a [u32])> {
        groups.chunk_by(|left, right| self.pane(*left) == self.pane(*right)).map(|within| (&self.panes[&self.pane(within[0])], within))
    }

    /// The pane of a group.
    pub fn pane(&self, group: u32) -> i64 {
        self.homes[group as usize].pane
    }

    /// The keys of groups. `None` for no groups.
    pub fn keys(&self, groups: &[u32]) -> Option<KeyRows> {
        let parts: Vec<KeyRows> = self
            .by_pane(groups)
            .map(|(pane, within)| {
                let keys: Vec<u32> = within.iter().map(|group| self.homes[*group as usize].key).collect();
                pane.keys.rows(&keys)
            })
            .collect();
        if parts.is_empty() { None } else { Some(KeyRows::concat(&parts.iter().collect::<Vec<_>>())) }
    }

    /// The hashes of the keys of groups.
    pub fn hashes(&self, groups: &[u32]) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(groups.len());
        for (pane, within) in self.by_pane(groups) {
            hashes.extend(within.iter().map(|group| pane.keys.hash(self.homes[*group as usize].key)));
        }
        hashes
    }

    /// Forgets a pane with all its groups.
    pub fn release_pane(&mut self, pane: i64) {
        let Some(mut table) = self.panes.remove(&pane) else { return };
        if self.panes.is_empty() {
            self.spare(table);
            self.forget_all();
            return;
        }
        table.groups.retain(|group| *group != NONE);
        self.states.clear(&table.groups);
        self.free.extend_from_slice(&table.groups);
        self.spare(table);
    }

    /// Forgets groups.
    pub fn release(&mut self, groups: &[u32]) {
        for group in groups {
            let Home { pane, key } = self.homes[*group as usize];
            let table = self.panes.get_mut(&pane).expect("a group belongs to a pane");
            table.keys.remove(key);
            table.groups[key as usize] = NONE;
            if table.keys.is_empty() {
                let table = self.panes.remove(&pane).expect("just seen");
                self.spare(table);
            }
        }
        self.states.clear(groups);
        self.free.extend_from_slice(groups);
        if self.panes.is_empty() {
            self.forget_all();
        }
    }

    /// Forgets everything, keeping what is allocated.
    pub fn reset(&mut self) {
        while let Some((_, table)) = self.panes.pop_first() {
            self.spare(table);
        }
        self.forget_all();
    }

    fn forget_all(&mut self) {
        self.states.reset();
        self.homes.clear();
        self.free.clear();
    }

    /// Keeps a few emptied tables for panes to come.
    fn spare(&mut self, mut table: Pane) {
        if self.spare.len() < 4 {
            table.keys.reset();
            table.groups.clear();
            self.spare.push(table);
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let of = |pane: &Pane| pane.keys.bytes() + pane.groups.capacity() * 4;
        let panes: usize = self.panes.values().map(of).sum::<usize>() + self.spare.iter().map(of).sum::<usize>();
        let groups = self.homes.capacity() * size_of::<Home>() + self.free.capacity() * 4 + self.ids.capacity() * 4;
        panes + groups + self.states.bytes()
    }
}

/// The rows of each pane, panes in order of appearance; `None` when there are too many.
fn deal(panes: &[i64]) -> Option<Vec<(i64, Vec<u32>)>> {
    let mut dealt: Vec<(i64, Vec<u32>)> = Vec::new();
    let mut last = 0;
    for (row, pane) in panes.iter().enumerate() {
        if dealt.get(last).is_none_or(|(known, _)| known != pane) {
            last = match dealt.iter().position(|(known, _)| known == pane) {
                Some(position) => position,
                None if dealt.len() == DEALT => return None,
                None => {
                    // Most rows are of the first, as a rule.
                    let rows = if dealt.is_empty() { panes.len() } else { 0 };
                    dealt.push((*pane, Vec::with_capacity(rows)));
                    dealt.len() - 1
                }
            };
        }
        dealt[last].1.push(row as u32);
    }
    Some(dealt)
}
