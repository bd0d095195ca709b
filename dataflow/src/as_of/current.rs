//! Answers by the version that is current when a left row is processed: its epoch's versions are taken first.

use std::collections::BTreeMap;

use super::joiner::{Joiner, Pair};
use super::{NONE, OUTPUT_ROWS};
use crate::aggregate::{KeyedBatch, Output, Payload};
use crate::keyed_operator::Keep;
use crate::ranked::binary;
use crate::state::key_table::KeyTable;
use crate::state::row_store::RowStore;

/// A version that stands.
#[derive(Clone, Copy, Debug)]
struct Version {
    /// The epoch it came in, counted.
    round: u64,
    id: u32,
    count: i64,
}

/// What was said for a left row: the version as bytes, and how often.
type Said = Vec<(Option<Box<[u8]>>, i64)>;

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct Current {
    joiner: Joiner,
    /// Versions are never taken back: only the current one is kept.
    replace: bool,
    /// Left rows may be taken back: what was said of them is remembered.
    remember: bool,
    keys: KeyTable,
    rights: RowStore,
    versions: Vec<Vec<Version>>,
    said: BTreeMap<(u32, Box<[u8]>), Said>,
    /// Left rows of the epoch, each with its group.
    lefts: Vec<(KeyedBatch, Vec<u32>)>,
    /// Where the closing stands: batch and row.
    at: (usize, usize),
    round: u64,
}

impl Current {
    /// An empty store; the flags say whether the left and the right input only bring rows.
    pub fn new(joiner: Joiner, left_only_adds: bool, right_only_adds: bool) -> Self {
        Self {
            joiner,
            replace: right_only_adds,
            remember: !left_only_adds,
            keys: KeyTable::new(),
            rights: RowStore::default(),
            versions: Vec::new(),
            said: BTreeMap::new(),
            lefts: Vec::new(),
            at: (0, 0),
            round: 0,
        }
    }

    fn locate(&mut self, batch: &KeyedBatch) -> Vec<u32> {
        let mut ids = Vec::with_capacity(batch.len());
        batch.number(&mut self.keys, &mut ids);
        self.versions.resize_with(self.keys.numbers().max(self.versions.len()), Vec::new);
        ids
    }

    fn version(&mut self, group: u32, row: &[u8], diff: i64) {
        let versions = &mut self.versions[group as usize];
        let known = versions.iter().position(|version| self.rights.row(version.id) == row);
        match known {
            Some(place) if versions[place].count + diff == 0 => self.rights.remove(versions.swap_remove(place).id),
            Some(place) => {
                versions[place].count += diff;
                if diff > 0 {
                    versions[place].round = self.round;
                }
            }
            None => versions.push(Version { round: self.round, id: self.rights.insert(&[], row), count: diff }),
        }
        if self.replace && versions.len() > 1 {
            let rights = &self.rights;
            versions.sort_by(|a, b| a.round.cmp(&b.round).then_with(|| rights.compare_ids(a.id, b.id)));
            for old in versions.drain(..versions.len() - 1).collect::<Vec<_>>() {
                self.rights.remove(old.id);
            }
        }
    }

    /// The version that is current: the last to come, and of those that came together the greatest by its bytes.
    fn current(&self, group: u32) -> u32 {
        let there = self.versions[group as usize].iter().filter(|version| version.count > 0);
        let last = there.max_by(|a, b| a.round.cmp(&b.round).then_with(|| self.rights.compare_ids(a.id, b.id)));
        last.map_or(NONE, |version| version.id)
    }

    /// What is said of a left row that comes or goes.
    fn answer(&mut self, group: u32, row: &[u8], diff: i64, answers: &mut Vec<(Option<Box<[u8]>>, i64)>) {
        if diff < 0 {
            let mut left = -diff;
            if let Some(said) = self.said.get_mut(&(group, Box::from(row))) {
                while left > 0
                    && let Some((version, count)) = said.last_mut()
                {
                    let back = left.min(*count);
                    answers.push((version.clone(), -back));
                    *count -= back;
                    left -= back;
                    if *count == 0 {
                        said.pop();
                    }
                }
                if said.is_empty() {
                    self.said.remove(&(group, Box::from(row)));
                }
            }
            return;
        }
        let current = self.current(group);
        let version: Option<Box<[u8]>> = (current != NONE).then(|| Box::from(self.rights.row(current)));
        if self.remember {
            self.said.entry((group, Box::from(row))).or_default().push((version.clone(), diff));
        }
        answers.push((version, diff));
    }
}

impl Keep for Current {
    fn absorb(&mut self, input: usize, batch: KeyedBatch) {
        if input == 0 {
            let groups = self.locate(&batch);
            self.lefts.push((batch, groups));
            return;
        }
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let ids = self.locate(&batch);
        let rows = binary(&columns[1]);
        for (row, group) in ids.iter().enumerate() {
            self.version(*group, rows.value(row), diffs.as_ref().map_or(1, |diffs| diffs[row]));
        }
    }

    fn close(&mut self, _: &[i64]) -> Output {
        // Rows that come stand before rows that go: a row may do both in one epoch.
        let signs = if self.remember { 2 } else { 1 };
        let batches = std::mem::take(&mut self.lefts);
        let mut picked: Vec<(usize, usize)> = Vec::new();
        let mut answers: Vec<(Option<Box<[u8]>>, i64)> = Vec::new();
        while self.at.0 < batches.len() * signs && answers.len() < OUTPUT_ROWS {
            let (turn, row) = self.at;
            let (sign, place) = (turn / batches.len(), turn % batches.len());
            let (batch, groups) = &batches[place];
            if row == batch.len() {
                self.at = (turn + 1, 0);
                continue;
            }
            self.at.1 += 1;
            let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
            let diff = diffs.as_ref().map_or(1, |diffs| diffs[row]);
            if (diff < 0) != (sign == 1) {
                continue;
            }
            self.answer(groups[row], binary(&columns[1]).value(row), diff, &mut answers);
            picked.resize(answers.len(), (place, row));
        }
        let pairs: Vec<Pair<'_>> = picked
            .iter()
            .zip(&answers)
            .map(|((place, row), (version, diff))| {
                let Payload::Raw { columns, .. } = &batches[*place].0.payload else { panic!("rows in order are not added up") };
                Pair { left: binary(&columns[1]).value(*row), right: version.as_deref(), diff: *diff }
            })
            .collect();
        let more = self.at.0 < batches.len() * signs;
        let output = self.joiner.join(&pairs, more);
        if more {
            self.lefts = batches;
        } else {
            self.at = (0, 0);
            self.round += 1;
            if !self.remember {
                // Keys that have no version are not kept.
                let mut groups: Vec<u32> = batches.into_iter().flat_map(|(_, groups)| groups).collect();
                groups.sort_unstable();
                groups.dedup();
                groups.retain(|group| self.versions[*group as usize].is_empty());
                groups.into_iter().for_each(|group| self.keys.remove(group));
            }
        }
        output
    }

    fn held(&self) -> (usize, usize) {
        let said: usize = self.said.iter().map(|((_, row), said)| row.len() + said.len() * 32 + 64).sum();
        (self.rights.len() + self.said.len(), self.rights.bytes() + self.keys.bytes() + self.versions.capacity() * 24 + said)
    }
}
