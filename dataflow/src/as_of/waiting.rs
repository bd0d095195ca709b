//! Answers once, when the right watermark has passed what a left row should see.

use std::collections::BTreeMap;

use tidemark_planner::plan::AsOfCondition;

use super::joiner::{Joiner, Pair};
use super::{NONE, OUTPUT_ROWS, version};
use crate::aggregate::{KeyedBatch, Output, Payload};
use crate::keyed_operator::Keep;
use crate::ranked::binary;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::KeyTable;
use crate::state::row_store::{KnownRow, NewRow, RowStore};
use crate::watermark::ENDED;

/// A left row that waits.
#[derive(Clone, Copy, Debug)]
struct Left {
    group: u32,
    id: u32,
    count: i64,
}

/// What one key has.
#[derive(Debug, Default)]
struct Group {
    versions: CountedTree,
    /// Left rows that wait.
    waiting: usize,
    /// The number is in use.
    live: bool,
}

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct Waiting {
    condition: AsOfCondition,
    joiner: Joiner,
    keys: KeyTable,
    groups: Vec<Group>,
    lefts: RowStore,
    rights: RowStore,
    /// The time of each version by its number.
    times: Vec<i64>,
    /// Left rows by their time.
    waiting: BTreeMap<i64, Vec<Left>>,
    /// The groups that have a version of a time that nothing has passed yet.
    versions: BTreeMap<i64, Vec<u32>>,
    /// Times up to which left rows were looked at in this closing.
    looked: Option<i64>,
    ids: Vec<u32>,
}

impl Waiting {
    /// An empty store.
    pub fn new(condition: AsOfCondition, joiner: Joiner) -> Self {
        Self {
            condition,
            joiner,
            keys: KeyTable::new(),
            groups: Vec::new(),
            lefts: RowStore::default(),
            rights: RowStore::default(),
            times: Vec::new(),
            waiting: BTreeMap::new(),
            versions: BTreeMap::new(),
            looked: None,
            ids: Vec::new(),
        }
    }

    fn absorb_left(&mut self, group: u32, at: i64, time: &[u8], row: &[u8], diff: i64) {
        let same = self.waiting.entry(at).or_default();
        // Only a retraction looks for its like.
        let known = if diff < 0 {
            same.iter().position(|left| left.group == group && self.lefts.compare(left.id, time, row).is_eq())
        } else {
            None
        };
        match known {
            Some(place) => {
                same[place].count += diff;
                if same[place].count == 0 {
                    self.lefts.remove(same.swap_remove(place).id);
                    self.groups[group as usize].waiting -= 1;
                }
            }
            None => {
                same.push(Left { group, id: self.lefts.insert(time, row), count: diff });
                self.groups[group as usize].waiting += 1;
            }
        }
        if same.is_empty() {
            self.waiting.remove(&at);
        }
    }

    fn absorb_right(&mut self, group: u32, at: i64, time: &[u8], row: &[u8], diff: i64) {
        let versions = &mut self.groups[group as usize].versions;
        match versions.add(diff, &mut NewRow { rows: &mut self.rights, order: time, row }) {
            Change::Inserted(id) => {
                if self.times.len() <= id as usize {
                    self.times.resize(id as usize + 1, 0);
                }
                self.times[id as usize] = at;
                self.versions.entry(at).or_default().push(group);
            }
            Change::Removed(id) => self.rights.remove(id),
            Change::Counted(_) => {}
        }
    }

    /// Whether a left row of a time has its answer: no right row can come that it should see instead.
    fn is_final(&self, at: i64, seen: u32, right: i64) -> bool {
        match self.condition {
            _ if right == ENDED => true,
            AsOfCondition::AtOrBefore => at < right,
            AsOfCondition::Before => at <= right,
            AsOfCondition::AtOrAfter | AsOfCondition::After => seen != NONE && self.times[seen as usize] < right,
        }
    }

    /// Forgets a key that has nothing.
    fn forget(&mut self, number: u32) {
        let group = &mut self.groups[number as usize];
        if group.live && group.versions.is_empty() && group.waiting == 0 {
            *group = Group::default();
            self.keys.remove(number);
        }
    }

    /// Forgets versions that no left row at or behind `least` can see.
    fn prune(&mut self, least: i64) {
        let backward = matches!(self.condition, AsOfCondition::AtOrBefore | AsOfCondition::Before);
        while let Some(first) = self.versions.first_entry().filter(|first| match self.condition {
            AsOfCondition::AtOrBefore => *first.key() <= least,
            AsOfCondition::Before | AsOfCondition::AtOrAfter => *first.key() < least,
            AsOfCondition::After => *first.key() <= least,
        }) {
            let (at, groups) = (*first.key(), first.remove());
            for number in groups {
                let group = &mut self.groups[number as usize];
                // Backwards the latest version that was passed is still seen, forwards none is.
                while let Some(id) = group.versions.nth(0) {
                    let passed = if backward {
                        let after = group
                            .versions
                            .before(&|other| self.rights.order(other).cmp(self.rights.order(id)).then(std::cmp::Ordering::Less));
                        group.versions.nth(after).is_some_and(|next| self.times[next as usize] <= at)
                    } else {
                        self.times[id as usize] <= at
                    };
                    if !passed {
                        break;
                    }
                    let mut count = 0;
                    group.versions.walk(0, &mut |item, _| {
                        count = item.count;
                        false
                    });
                    group.versions.add(-count, &mut KnownRow { rows: &self.rights, id });
                    self.rights.remove(id);
                }
                self.forget(number);
            }
        }
    }
}

impl Keep for Waiting {
    fn absorb(&mut self, input: usize, batch: KeyedBatch) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let (times, rows) = (binary(&columns[0]), binary(&columns[1]));
        let stamps = batch.panes.as_ref().expect("rows that wait carry their time");
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.groups.resize_with(self.keys.numbers().max(self.groups.len()), Group::default);
        for (row, group) in ids.iter().enumerate() {
            let diff = diffs.as_ref().map_or(1, |diffs| diffs[row]);
            let (at, time, row) = (stamps[row], times.value(row), rows.value(row));
            self.groups[*group as usize].live = true;
            if input == 0 {
                self.absorb_left(*group, at, time, row, diff);
            } else {
                self.absorb_right(*group, at, time, row, diff);
            }
        }
        self.ids = ids;
    }

    fn close(&mut self, watermarks: &[i64]) -> Output {
        let (left, right) = (watermarks[0], watermarks[1]);
        let mut said: Vec<(Left, u32)> = Vec::new();
        let mut still: BTreeMap<i64, Vec<Left>> = BTreeMap::new();
        let mut done = Vec::new();
        let mut more = false;
        let from = self.looked.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        for (at, rows) in self.waiting.range((from, std::ops::Bound::Unbounded)) {
            if right != ENDED && *at > right {
                break;
            }
            if said.len() >= OUTPUT_ROWS {
                more = true;
                break;
            }
            self.looked = Some(*at);
            done.push(*at);
            for row in rows {
                let versions = &self.groups[row.group as usize].versions;
                let seen = version(self.condition, versions, &self.rights, self.lefts.order(row.id));
                if self.is_final(*at, seen, right) {
                    said.push((*row, seen));
                } else {
                    still.entry(*at).or_default().push(*row);
                }
            }
        }
        let pairs: Vec<Pair<'_>> = said
            .iter()
            .map(|(row, seen)| Pair {
                left: self.lefts.row(row.id),
                right: (*seen != NONE).then(|| self.rights.row(*seen)),
                diff: row.count,
            })
            .collect();
        let output = self.joiner.join(&pairs, more);
        for at in done {
            match still.remove(&at) {
                Some(rows) => self.waiting.insert(at, rows),
                None => self.waiting.remove(&at),
            };
        }
        for (row, _) in &said {
            self.lefts.remove(row.id);
            self.groups[row.group as usize].waiting -= 1;
            self.forget(row.group);
        }
        if !more {
            self.looked = None;
            let first = self.waiting.first_key_value().map_or(i64::MAX, |(at, _)| *at);
            self.prune(left.min(first));
        }
        output
    }

    fn held(&self) -> (usize, usize) {
        let rows = self.lefts.len() + self.rights.len();
        (rows, self.lefts.bytes() + self.rights.bytes() + self.keys.bytes() + rows * 40)
    }
}
