//! Answers at once, corrected when versions come or go.

use std::cmp::Ordering;

use tidemark_planner::plan::AsOfCondition;

use super::joiner::{Joiner, Pair};
use super::{NONE, OUTPUT_ROWS, version};
use crate::aggregate::{KeyedBatch, Output, Payload};
use crate::keyed_operator::Keep;
use crate::ranked::binary;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::KeyTable;
use crate::state::row_store::{NewRow, RowStore};

#[derive(Debug, Default)]
struct Group {
    /// Left rows and versions, by time.
    sides: [CountedTree; 2],
}

/// What is known of a left row by its number.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// How often the row stands there.
    count: i64,
    /// The version that is out for it, and how often.
    version: u32,
    out: i64,
}

const NO_ANSWER: Answer = Answer { count: 0, version: NONE, out: 0 };

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct Corrected {
    condition: AsOfCondition,
    joiner: Joiner,
    keys: KeyTable,
    groups: Vec<Group>,
    rows: [RowStore; 2],
    answers: Vec<Answer>,
    /// Rows of the epoch that came or went: group and number, for each side.
    changed: [Vec<(u32, u32)>; 2],
    /// Rows that are in no tree and may have to be taken back.
    gone: [Vec<u32>; 2],
    /// Left rows whose answer may be another, while an epoch closes.
    affected: Option<Vec<(u32, u32)>>,
    ids: Vec<u32>,
}

impl Corrected {
    /// An empty store.
    pub fn new(condition: AsOfCondition, joiner: Joiner) -> Self {
        Self {
            condition,
            joiner,
            keys: KeyTable::new(),
            groups: Vec::new(),
            rows: Default::default(),
            answers: Vec::new(),
            changed: Default::default(),
            gone: Default::default(),
            affected: None,
            ids: Vec::new(),
        }
    }

    /// Left rows that a version, which came or went, may answer.
    fn reached(&self, group: u32, changed: u32, affected: &mut Vec<(u32, u32)>) {
        let [lefts, versions] = &self.groups[group as usize].sides;
        let [left_rows, right_rows] = &self.rows;
        let time = right_rows.order(changed);
        let forward = matches!(self.condition, AsOfCondition::AtOrBefore | AsOfCondition::Before);
        // The next version on the side where left rows see this one.
        let through = versions.before(&|id| match right_rows.order(id).cmp(time) {
            Ordering::Equal if forward => Ordering::Less,
            other => other,
        });
        let next = if forward { Some(through) } else { through.checked_sub(1) };
        let next = next.and_then(|position| versions.nth(position)).map(|id| right_rows.order(id));
        let inclusive = matches!(self.condition, AsOfCondition::AtOrBefore | AsOfCondition::AtOrAfter);
        // From the version to the next: the nearer end belongs to it if equal times see it, the farther end if they do not see the next.
        let (from, to, from_inclusive) = if forward { (Some(time), next, inclusive) } else { (next, Some(time), !inclusive) };
        let to_inclusive = if forward { !inclusive } else { inclusive };
        let start = from.map_or(0, |from| {
            lefts.before(&|id| match left_rows.order(id).cmp(from) {
                Ordering::Equal if !from_inclusive => Ordering::Less,
                other => other,
            })
        });
        lefts.walk(start, &mut |item, _| {
            let inside = to.is_none_or(|to| match left_rows.order(item.id).cmp(to) {
                Ordering::Less => true,
                Ordering::Equal => to_inclusive,
                Ordering::Greater => false,
            });
            if inside {
                affected.push((group, item.id));
            }
            inside
        });
    }

    fn settle(&mut self) {
        let [lefts, rights] = std::mem::take(&mut self.changed);
        let mut groups: Vec<u32> = lefts.iter().chain(&rights).map(|(group, _)| *group).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            if self.groups[group as usize].sides.iter().all(CountedTree::is_empty) {
                self.groups[group as usize] = Group::default();
                self.keys.remove(group);
            }
        }
        for (side, gone) in self.gone.iter_mut().enumerate() {
            for id in gone.drain(..) {
                if side == 0 {
                    self.answers[id as usize] = NO_ANSWER;
                }
                self.rows[side].remove(id);
            }
        }
    }
}

impl Keep for Corrected {
    fn absorb(&mut self, input: usize, batch: KeyedBatch) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let (times, rows) = (binary(&columns[0]), binary(&columns[1]));
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.groups.resize_with(self.keys.numbers().max(self.groups.len()), Group::default);
        for (row, group) in ids.iter().enumerate() {
            let diff = diffs.as_ref().map_or(1, |diffs| diffs[row]);
            let mut new = NewRow { rows: &mut self.rows[input], order: times.value(row), row: rows.value(row) };
            let change = self.groups[*group as usize].sides[input].add(diff, &mut new);
            let (Change::Inserted(id) | Change::Counted(id) | Change::Removed(id)) = change;
            self.changed[input].push((*group, id));
            if matches!(change, Change::Removed(_)) {
                self.gone[input].push(id);
            }
            if input == 0 {
                if self.answers.len() <= id as usize {
                    self.answers.resize(id as usize + 1, NO_ANSWER);
                }
                self.answers[id as usize].count += diff;
            }
        }
        self.ids = ids;
    }

    fn close(&mut self, _: &[i64]) -> Output {
        let mut affected = self.affected.take().unwrap_or_else(|| {
            let mut affected = self.changed[0].clone();
            for (group, id) in &self.changed[1] {
                self.reached(*group, *id, &mut affected);
            }
            affected.sort_unstable();
            affected.dedup();
            affected
        });
        let portion = affected.split_off(affected.len().saturating_sub(OUTPUT_ROWS / 2));
        let mut said: Vec<(u32, u32, i64)> = Vec::new();
        for (group, id) in portion {
            let answer = self.answers[id as usize];
            let count = answer.count.max(0);
            let versions = &self.groups[group as usize].sides[1];
            let seen = if count > 0 { version(self.condition, versions, &self.rows[1], self.rows[0].order(id)) } else { answer.version };
            let same = answer.out == 0
                || seen == answer.version
                || (seen != NONE && answer.version != NONE && self.rows[1].compare_ids(seen, answer.version).is_eq());
            if same {
                said.push((id, seen, count - answer.out));
            } else {
                said.push((id, answer.version, -answer.out));
                said.push((id, seen, count));
            }
            let version = if count > 0 { seen } else { NONE };
            self.answers[id as usize] = Answer { version, out: count, ..answer };
        }
        let pairs: Vec<Pair<'_>> = said
            .iter()
            .filter(|(_, _, diff)| *diff != 0)
            .map(|(left, right, diff)| Pair {
                left: self.rows[0].row(*left),
                right: (*right != NONE).then(|| self.rows[1].row(*right)),
                diff: *diff,
            })
            .collect();
        let output = self.joiner.join(&pairs, !affected.is_empty());
        if output.more {
            self.affected = Some(affected);
        } else {
            self.settle();
        }
        output
    }

    fn held(&self) -> (usize, usize) {
        let rows: usize = self.rows.iter().map(RowStore::len).sum();
        let bytes: usize = self.rows.iter().map(RowStore::bytes).sum();
        (rows, bytes + self.keys.bytes() + rows * 24 + self.answers.capacity() * size_of::<Answer>())
    }
}
