//! Top-N over rows that only come, each with a rank of its own: a group keeps the few rows that may still come out in a short list, for
//! one row in place.
//!
//! A list's entries hold the first bytes of what orders them, so that most comparisons read nothing else. A row that comes waits in its
//! batch until the batch is over: of the rows of one key only those are copied that are left by then. Since nothing is taken back, rows
//! only move behind, and what has changed is seen by comparing numbers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::BinaryArray;
use arrow::datatypes::DataType;
use smallvec::SmallVec;
use tidemark_planner::plan::{Emit, RankFunction, TopNPlan};

use super::OUTPUT_ROWS;
use super::top_n::Shown;
use crate::aggregate::KeyedBatch;
use crate::state::key_table::KeyTable;
use crate::state::row_store::RowStore;
use crate::watermark::ENDED;

/// The most rows of a list.
const SHORT: u64 = if cfg!(test) { 5 } else { 64 };
/// Marks the number of a row that is still in its batch.
const COMING: u32 = 1 << 31;

/// The rows of one worker.
#[derive(Debug)]
pub(super) struct ShortLists {
    offset: u64,
    last: u64,
    with_rank: bool,
    emit: Emit,
    windowed: bool,
    /// What a value's bytes begin with in most rows.
    pivot: u8,
    keys: KeyTable,
    rows: RowStore,
    groups: Vec<Group>,
    /// The groups of each window that is open.
    windows: BTreeMap<i64, Vec<u32>>,
    /// The current epoch.
    round: u32,
    touched: Vec<u32>,
    /// What touched groups kept before.
    before: Vec<Entry>,
    /// Rows that left their group and may be put out a last time.
    gone: Vec<u32>,
    /// Touched groups that have put out their changes.
    done: usize,
    /// Groups with rows that are still in their batch.
    fresh: Vec<u32>,
    ids: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    /// In order. Their counts add up to no more than can come out.
    rows: SmallVec<[Entry; 1]>,
    weight: u32,
    /// The round that touched it last.
    round: u32,
    /// What it kept before that: where it begins, and how many rows.
    before: (u32, u32),
    /// It is listed with its window.
    listed: bool,
    fresh: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The beginning of what orders it.
    head: u64,
    id: u32,
    count: u32,
}

/// A batch's rows, as far as they are still there only, and all others.
struct Bytes<'a> {
    orders: &'a BinaryArray,
    rows: &'a BinaryArray,
    kept: &'a RowStore,
}

impl Bytes<'_> {
    /// Where an entry stands to a row of the batch.
    fn compare(&self, entry: Entry, head: u64, row: usize) -> Ordering {
        entry.head.cmp(&head).then_with(|| {
            let (order, bytes) = (self.orders.value(row), self.rows.value(row));
            if entry.id & COMING == 0 {
                self.kept.compare(entry.id, order, bytes)
            } else {
                let other = (entry.id ^ COMING) as usize;
                self.orders.value(other).cmp(order).then_with(|| self.rows.value(other).cmp(bytes))
            }
        })
    }
}

impl ShortLists {
    /// An empty store of a plan whose groups can be kept so.
    pub(super) fn of(plan: &TopNPlan) -> Option<Self> {
        let last = plan.last().filter(|last| *last <= SHORT)?;
        if plan.retractable || plan.function != RankFunction::RowNumber {
            return None;
        }
        Some(Self {
            offset: plan.offset,
            last,
            with_rank: plan.rank.is_some(),
            emit: plan.emit,
            windowed: plan.window.is_some(),
            pivot: plan.order_by.first().map_or(1, |key| pivot(&key.data_type, key.descending)),
            keys: KeyTable::new(),
            rows: RowStore::default(),
            groups: Vec::new(),
            windows: BTreeMap::new(),
            round: 1,
            touched: Vec::new(),
            before: Vec::new(),
            gone: Vec::new(),
            done: 0,
            fresh: Vec::new(),
            ids: Vec::new(),
        })
    }

    /// Takes rows of the epoch that closes next: what orders each, what it is, and how often it comes.
    pub(super) fn absorb(&mut self, batch: &KeyedBatch, (orders, rows): (&BinaryArray, &BinaryArray), diffs: Option<&[i64]>) {
        if self.last == 0 {
            return;
        }
        assert!(batch.len() < COMING as usize, "a batch has fewer than 2^31 rows");
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        if self.groups.len() < self.keys.numbers() {
            self.groups.resize_with(self.keys.numbers(), Group::default);
        }
        for (row, number) in ids.iter().enumerate() {
            if let Some(ends) = &batch.panes
                && !std::mem::replace(&mut self.groups[*number as usize].listed, true)
            {
                self.windows.entry(ends[row]).or_default().push(*number);
            }
            let diff = diffs.map_or(1, |diffs| diffs[row]);
            assert!(diff > 0, "append-only input takes nothing back");
            let count = u64::try_from(diff).map_or(self.last, |diff| diff.min(self.last)) as u32;
            self.add(*number, row, count, (orders, rows));
        }
        for number in self.fresh.drain(..) {
            let group = &mut self.groups[number as usize];
            group.fresh = false;
            for entry in group.rows.iter_mut().filter(|entry| entry.id & COMING != 0) {
                let row = (entry.id ^ COMING) as usize;
                entry.id = self.rows.insert(orders.value(row), rows.value(row));
                assert!(entry.id < COMING, "fewer than 2^31 rows on a worker");
            }
        }
        self.ids = ids;
    }

    #[inline]
    fn add(&mut self, number: u32, row: usize, count: u32, (orders, rows): (&BinaryArray, &BinaryArray)) {
        let head = head(orders.value(row), self.pivot);
        let group = &mut self.groups[number as usize];
        let bytes = Bytes { orders, rows, kept: &self.rows };
        if u64::from(group.weight) >= self.last
            && let Some(last) = group.rows.last()
            && bytes.compare(*last, head, row).is_le()
        {
            // It cannot come out: nothing before it will ever go.
            return;
        }
        if self.emit == Emit::Changes && group.round != self.round {
            group.round = self.round;
            group.before = (self.before.len() as u32, group.rows.len() as u32);
            self.touched.push(number);
            self.before.extend_from_slice(&group.rows);
        }
        match group.rows.binary_search_by(|entry| bytes.compare(*entry, head, row)) {
            Ok(at) => group.rows[at].count += count,
            Err(at) => {
                group.rows.insert(at, Entry { head, id: COMING | row as u32, count });
                if !std::mem::replace(&mut group.fresh, true) {
                    self.fresh.push(number);
                }
            }
        }
        group.weight += count;
        while let Some(over) = u64::from(group.weight).checked_sub(self.last).filter(|over| *over > 0) {
            let last = group.rows.last_mut().expect("a group with weight has rows");
            let cut = last.count.min(over as u32);
            last.count -= cut;
            group.weight -= cut;
            if last.count > 0 {
                continue;
            }
            let id = last.id;
            group.rows.pop();
            let (first, len) = group.before;
            if id & COMING != 0 {
                // It has never been kept.
            } else if self.emit == Emit::Changes && self.before[first as usize..(first + len) as usize].iter().any(|entry| entry.id == id) {
                self.gone.push(id);
            } else {
                self.rows.remove(id);
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
        let (mut old, mut new) = (Vec::new(), Vec::new());
        while self.done < self.touched.len() && changes.len() < OUTPUT_ROWS {
            let group = &self.groups[self.touched[self.done] as usize];
            self.done += 1;
            let (first, len) = group.before;
            old.clear();
            new.clear();
            self.show(&self.before[first as usize..(first + len) as usize], &mut old);
            self.show(&group.rows, &mut new);
            differ(&old, &new, self.with_rank, changes);
        }
        self.done < self.touched.len()
    }

    /// The rows of groups that are final; whether there is more.
    fn results(&mut self, watermark: i64, results: &mut Vec<Shown>) -> bool {
        if !self.windowed {
            if watermark == ENDED {
                self.groups.iter().for_each(|group| self.show(&group.rows, results));
            }
            return false;
        }
        while results.len() < OUTPUT_ROWS
            && let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark)
        {
            for number in first.remove() {
                self.show(&self.groups[number as usize].rows, results);
                self.forget(number);
            }
        }
        self.windows.range(..=watermark).next().is_some()
    }

    /// Appends the rows of a list whose ranks lie in the range.
    fn show(&self, entries: &[Entry], out: &mut Vec<Shown>) {
        let mut before = 0;
        for entry in entries {
            let (first, end) = (before + 1, before + u64::from(entry.count));
            let (first, end) = (first.max(self.offset + 1), end.min(self.last));
            if self.with_rank {
                out.extend((first..=end).map(|rank| Shown { id: entry.id, rank, count: 1 }));
            } else if first <= end {
                out.push(Shown { id: entry.id, rank: 0, count: (end + 1 - first) as i64 });
            }
            before += u64::from(entry.count);
        }
    }

    /// Forgets a group; its rows may still be put out.
    fn forget(&mut self, number: u32) {
        let group = std::mem::take(&mut self.groups[number as usize]);
        self.gone.extend(group.rows.iter().map(|entry| entry.id));
        self.keys.remove(number);
    }

    /// Ends the epoch, when all of it is out.
    pub(super) fn settle(&mut self, watermark: i64) {
        if self.emit == Emit::Changes {
            self.touched.clear();
            while let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark) {
                for number in first.remove() {
                    self.forget(number);
                }
            }
        }
        self.gone.drain(..).for_each(|id| self.rows.remove(id));
        self.before.clear();
        self.done = 0;
        self.round = self.round.checked_add(1).unwrap_or_else(|| {
            self.groups.iter_mut().for_each(|group| group.round = 0);
            1
        });
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
        let lists = if self.last > 1 { self.rows.len() * size_of::<Entry>() } else { 0 };
        self.keys.bytes() + self.rows.bytes() + self.groups.capacity() * size_of::<Group>() + lists
    }
}

/// What the bytes of most values of a type begin with: those of fixed size with 1, other ones with 2 if they are not empty.
fn pivot(data_type: &DataType, descending: bool) -> u8 {
    match (data_type.is_primitive() || *data_type == DataType::Boolean, descending) {
        (true, _) => 1,
        (false, false) => 2,
        (false, true) => !2,
    }
}

/// A number for bytes that orders as they do, as far as it differs: for those that begin with the pivot the eight that follow.
fn head(order: &[u8], pivot: u8) -> u64 {
    match order.first() {
        Some(first) if *first == pivot => {
            let mut head = [0; 8];
            let rest = &order[1..order.len().min(9)];
            head[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(head)
        }
        Some(first) if *first > pivot => u64::MAX,
        _ => 0,
    }
}

/// Appends what has to be said to get from some rows to others. Both are in order, and since rows only come, those that are out no more
/// are the last of the old ones.
fn differ(old: &[Shown], new: &[Shown], with_rank: bool, changes: &mut Vec<Shown>) {
    if with_rank {
        // Ranks follow each other in both.
        for place in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(place), new.get(place));
            if old.map(|shown| shown.id) != new.map(|shown| shown.id) {
                changes.extend(old.map(|shown| Shown { count: -1, ..*shown }));
                changes.extend(new);
            }
        }
        return;
    }
    let mut old = old.iter().peekable();
    for shown in new {
        let before = old.next_if(|old| old.id == shown.id).map_or(0, |old| old.count);
        if shown.count != before {
            changes.push(Shown { count: shown.count - before, ..*shown });
        }
    }
    changes.extend(old.map(|shown| Shown { count: -shown.count, ..*shown }));
}
