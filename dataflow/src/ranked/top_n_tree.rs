//! Top-N over all rows of each group, in trees: for input that takes rows back, ranks that several rows may have, and many ranks.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::BinaryArray;
use tidemark_planner::plan::{Emit, RankFunction, TopNPlan};

use super::OUTPUT_ROWS;
use super::top_n::Shown;
use crate::aggregate::KeyedBatch;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::KeyTable;
use crate::state::row_store::{KnownRow, NewRow, RowStore};
use crate::watermark::ENDED;

/// The rows of one worker.
#[derive(Debug)]
pub(super) struct RankedTrees {
    function: RankFunction,
    offset: u64,
    last: u64,
    with_rank: bool,
    retractable: bool,
    emit: Emit,
    windowed: bool,
    keys: KeyTable,
    rows: RowStore,
    /// The round in which each row was numbered.
    born: Vec<u32>,
    groups: Vec<Group>,
    /// The groups of each window that is open.
    windows: BTreeMap<i64, Vec<u32>>,
    /// The current epoch.
    round: u32,
    touched: Vec<u32>,
    /// What touched groups had put out before.
    before: Vec<Shown>,
    /// Rows that left their group and may be put out a last time.
    gone: Vec<u32>,
    /// Touched groups that have put out their changes.
    done: usize,
    ids: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    tree: CountedTree,
    /// The round that touched it last.
    round: u32,
    /// Where what it had put out begins.
    before: usize,
    /// It is listed with its window.
    listed: bool,
}

impl RankedTrees {
    pub(super) fn new(plan: &TopNPlan) -> Self {
        Self {
            function: plan.function,
            offset: plan.offset,
            last: plan.last().unwrap_or(u64::MAX),
            with_rank: plan.rank.is_some(),
            retractable: plan.retractable,
            emit: plan.emit,
            windowed: plan.window.is_some(),
            keys: KeyTable::new(),
            rows: RowStore::default(),
            born: Vec::new(),
            groups: Vec::new(),
            windows: BTreeMap::new(),
            round: 1,
            touched: Vec::new(),
            before: Vec::new(),
            gone: Vec::new(),
            done: 0,
            ids: Vec::new(),
        }
    }

    /// Takes rows of the epoch that closes next: what orders each, what it is, and how often it comes.
    pub(super) fn absorb(&mut self, batch: &KeyedBatch, (orders, rows): (&BinaryArray, &BinaryArray), diffs: Option<&[i64]>) {
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        if self.groups.len() < self.keys.numbers() {
            self.groups.resize_with(self.keys.numbers(), Group::default);
        }
        for (at, group) in ids.iter().enumerate() {
            let diff = diffs.map_or(1, |diffs| diffs[at]);
            if let Some(ends) = &batch.panes
                && !std::mem::replace(&mut self.groups[*group as usize].listed, true)
            {
                self.windows.entry(ends[at]).or_default().push(*group);
            }
            self.add(*group, orders.value(at), rows.value(at), diff);
        }
        self.ids = ids;
    }

    fn add(&mut self, number: u32, order: &[u8], row: &[u8], diff: i64) {
        let group = &mut self.groups[number as usize];
        if !self.retractable
            && group.tree.weight() >= self.last
            && let Some(last) = group.tree.last()
        {
            // It cannot come out: nothing before it will ever go.
            let behind = match self.function {
                RankFunction::RowNumber => self.rows.compare(last.id, order, row).is_le(),
                RankFunction::Rank => self.rows.order(last.id) < order,
                RankFunction::DenseRank => false,
            };
            if behind {
                return;
            }
        }
        if self.emit == Emit::Changes && group.round != self.round {
            group.round = self.round;
            group.before = self.before.len();
            self.touched.push(number);
            show(&group.tree, &self.rows, self.function, (self.offset, self.last), self.with_rank, &mut self.before);
        }
        match group.tree.add(diff, &mut NewRow { rows: &mut self.rows, order, row }) {
            Change::Inserted(id) => {
                if self.born.len() <= id as usize {
                    self.born.resize(id as usize + 1, 0);
                }
                self.born[id as usize] = self.round;
            }
            Change::Removed(id) => self.drop_row(id),
            Change::Counted(_) => {}
        }
        if !self.retractable && self.function == RankFunction::RowNumber {
            self.cut(number, self.last);
        }
    }

    /// Forgets a row that is in no group, at once unless it may have to be taken back.
    fn drop_row(&mut self, id: u32) {
        if self.emit == Emit::Final || self.born[id as usize] == self.round {
            self.rows.remove(id);
        } else {
            self.gone.push(id);
        }
    }

    /// Leaves a group so many rows.
    fn cut(&mut self, number: u32, rows: u64) {
        while self.groups[number as usize].tree.weight() > rows {
            let tree = &mut self.groups[number as usize].tree;
            let over = i64::try_from(tree.weight() - rows).unwrap_or(i64::MAX);
            let item = tree.last().expect("a tree with weight has rows");
            let change = tree.add(-over.min(item.count), &mut KnownRow { rows: &self.rows, id: item.id });
            if let Change::Removed(id) = change {
                self.drop_row(id);
            }
        }
    }

    /// What comes out as an epoch closes; whether there is more.
    pub(super) fn close(&mut self, watermark: i64, changes: &mut Vec<Shown>) -> bool {
        match self.emit {
            Emit::Changes | Emit::Triggered => self.changes(changes),
            Emit::Final => self.results(watermark, changes),
        }
    }

    /// The net change of groups that were touched; whether there is more.
    fn changes(&mut self, changes: &mut Vec<Shown>) -> bool {
        let mut after = Vec::new();
        while self.done < self.touched.len() && changes.len() < OUTPUT_ROWS {
            let number = self.touched[self.done];
            self.done += 1;
            let end = self.touched.get(self.done).map_or(self.before.len(), |next| self.groups[*next as usize].before);
            let group = &self.groups[number as usize];
            after.clear();
            show(&group.tree, &self.rows, self.function, (self.offset, self.last), self.with_rank, &mut after);
            differ(&self.rows, &self.before[group.before..end], &after, changes);
        }
        self.done < self.touched.len()
    }

    /// The rows of groups that are final; whether there is more.
    fn results(&mut self, watermark: i64, results: &mut Vec<Shown>) -> bool {
        let range = (self.offset, self.last);
        if !self.windowed {
            if watermark == ENDED {
                for group in &mut self.groups {
                    show(&group.tree, &self.rows, self.function, range, self.with_rank, results);
                }
            }
            return false;
        }
        let mut over = 0;
        for (_, groups) in self.windows.range(..=watermark) {
            if results.len() >= OUTPUT_ROWS {
                break;
            }
            over += 1;
            for group in groups {
                show(&self.groups[*group as usize].tree, &self.rows, self.function, range, self.with_rank, results);
            }
        }
        for _ in 0..over {
            let (_, groups) = self.windows.pop_first().expect("it was met");
            let rows = self.forget(groups);
            self.gone.extend(rows);
        }
        self.windows.range(..=watermark).next().is_some()
    }

    /// Forgets groups; their rows are still to be put out.
    fn forget(&mut self, groups: Vec<u32>) -> Vec<u32> {
        let mut rows = Vec::new();
        for number in groups {
            let group = std::mem::take(&mut self.groups[number as usize]);
            group.tree.walk(0, &mut |item, _| {
                rows.push(item.id);
                true
            });
            self.keys.remove(number);
        }
        rows
    }

    /// Ends the epoch, when all of it is out.
    pub(super) fn settle(&mut self, watermark: i64) {
        if self.emit == Emit::Changes {
            let touched = std::mem::take(&mut self.touched);
            for number in &touched {
                if !self.retractable && self.function != RankFunction::RowNumber {
                    let keep = self.reach(*number);
                    self.cut(*number, keep);
                }
                let group = &mut self.groups[*number as usize];
                if group.tree.is_empty() && !group.listed {
                    self.groups[*number as usize] = Group::default();
                    self.keys.remove(*number);
                }
            }
            self.touched = touched;
            self.touched.clear();
            while let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark) {
                let groups = first.remove();
                let rows = self.forget(groups);
                self.gone.extend(rows);
            }
        }
        self.gone.drain(..).for_each(|id| self.rows.remove(id));
        self.before.clear();
        self.done = 0;
        self.round = self.round.checked_add(1).unwrap_or_else(|| {
            self.groups.iter_mut().for_each(|group| group.round = 0);
            self.born.fill(0);
            1
        });
    }

    /// How many rows of a group have a rank that may come out.
    fn reach(&self, number: u32) -> u64 {
        let tree = &self.groups[number as usize].tree;
        let mut ranks = Ranks::default();
        let mut reach = 0;
        tree.walk(0, &mut |item, before| {
            if ranks.next(&self.rows, self.function, item.id, before) > self.last {
                return false;
            }
            reach = before + item.count.unsigned_abs();
            true
        });
        reach
    }

    /// The rows by number.
    pub(super) fn rows(&self) -> &RowStore {
        &self.rows
    }

    /// Number of groups kept.
    pub(super) fn groups(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of memory held, close to it.
    pub(super) fn bytes(&self) -> usize {
        let items = self.rows.len() * 24;
        self.keys.bytes() + self.rows.bytes() + self.born.capacity() * 4 + self.groups.capacity() * size_of::<Group>() + items
    }
}

/// Numbers the rows of a tree.
#[derive(Default)]
struct Ranks {
    previous: Option<u32>,
    rank: u64,
}

impl Ranks {
    /// The rank of the next row, behind so many others; of rows that stand there several times, that of the first.
    fn next(&mut self, rows: &RowStore, function: RankFunction, id: u32, before: u64) -> u64 {
        let tied = || self.previous.is_some_and(|previous| rows.order(previous) == rows.order(id));
        self.rank = match function {
            RankFunction::RowNumber => before + 1,
            RankFunction::Rank | RankFunction::DenseRank if tied() => self.rank,
            RankFunction::Rank => before + 1,
            RankFunction::DenseRank => self.rank + 1,
        };
        self.previous = Some(id);
        self.rank
    }
}

/// Appends the rows of a tree whose ranks lie in `range` (exclusive, inclusive), in order.
fn show(tree: &CountedTree, rows: &RowStore, function: RankFunction, range: (u64, u64), with_rank: bool, out: &mut Vec<Shown>) {
    let (offset, last) = range;
    if last <= offset {
        return;
    }
    let from = if function == RankFunction::RowNumber { offset } else { 0 };
    let mut ranks = Ranks::default();
    tree.walk(from, &mut |item, before| {
        let rank = ranks.next(rows, function, item.id, before);
        if rank > last {
            return false;
        }
        if function == RankFunction::RowNumber {
            let end = before.saturating_add(item.count.unsigned_abs()).min(last);
            let first = rank.max(offset + 1);
            if with_rank {
                out.extend((first..=end).map(|rank| Shown { id: item.id, rank, count: 1 }));
            } else {
                out.push(Shown { id: item.id, rank: 0, count: i64::try_from(end + 1 - first).unwrap_or(i64::MAX) });
            }
            return end < last;
        }
        if rank > offset {
            out.push(Shown { id: item.id, rank: if with_rank { rank } else { 0 }, count: item.count });
        }
        true
    });
}

/// Appends what has to be said to get from some rows to others. Both are in order.
fn differ(rows: &RowStore, before: &[Shown], after: &[Shown], changes: &mut Vec<Shown>) {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => rows.compare_ids(old.id, new.id).then(old.rank.cmp(&new.rank)),
        };
        let gone = if order.is_le() { old.next() } else { None };
        let come = if order.is_ge() { new.next() } else { None };
        let count = come.map_or(0, |shown| shown.count) - gone.map_or(0, |shown| shown.count);
        if let Some(shown) = come.or(gone).filter(|_| count != 0) {
            changes.push(Shown { count, ..*shown });
        }
    }
}
