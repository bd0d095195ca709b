//! # Results that change
//!
//! EMIT CHANGES: at an epoch's close, for each group that rows of the epoch touched, its old result is taken back and its new one put
//! out, unless they are equal. The old result is remembered, in bulk, before the first row of the epoch is applied. Rows of
//! epochs that are not current wait.
//!
//! Windows that come out when they close and are corrected after that are kept here too: a group is *due* at an epoch when the watermark
//! reaches its window's end there, or has reached it and rows of the epoch touched the group. Only groups that are due change.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat, interleave, take};

use super::keyed_batch::KeyedBatch;
use super::layout::AggregateLayout;
use super::limited::{LimitReport, Limited, Standing};
use super::output::{Emission, GroupError, OUTPUT_ROWS, Output, add, describe};
use super::waiting::Waiting;
use crate::state::group_table::GroupTable;
use crate::state::key_rows::KeyRows;

/// No old result.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct ChangesStore {
    layout: Arc<AggregateLayout>,
    table: GroupTable,
    by_group: Vec<GroupState>,
    /// The number of the current round of changes, an epoch each.
    round: u32,
    touched: Vec<u32>,
    /// Old results in portions, and those that were errors.
    old: Vec<Vec<ArrayRef>>,
    old_rows: u32,
    old_errors: BTreeMap<u32, String>,
    waiting: Waiting,
    /// The watermark that windows have come out at, where they wait for their end.
    due: Option<i64>,
    closing: Option<Closing>,
    even_empty: bool,
    groups: Vec<u32>,
    limited: Option<Box<Limited>>,
}

#[derive(Clone, Copy, Debug)]
struct GroupState {
    /// The round that touched the group last.
    round: u32,
    /// Where its old result stands in this round.
    old: u32,
    /// Its result, or that it has none, is out.
    shown: bool,
    standing: Standing,
}

const UNTOUCHED: GroupState = GroupState { round: 0, old: NONE, shown: false, standing: Standing::Here };

#[derive(Debug)]
struct Closing {
    epoch: u64,
    touched: Vec<u32>,
    position: usize,
    old: Vec<ArrayRef>,
}

impl ChangesStore {
    pub(super) fn new(layout: Arc<AggregateLayout>, owns_empty: bool, workers: usize) -> Self {
        let table = layout.table();
        let even_empty = owns_empty && layout.global();
        let due = layout.stays_open().then_some(i64::MIN);
        let mut store = Self {
            limited: Limited::new(&layout, workers).map(Box::new),
            layout,
            table,
            by_group: Vec::new(),
            round: 1,
            touched: Vec::new(),
            old: Vec::new(),
            old_rows: 0,
            old_errors: BTreeMap::new(),
            waiting: Waiting::default(),
            closing: None,
            even_empty,
            groups: Vec::new(),
            due,
        };
        if even_empty {
            let keys = KeyRows::Unit(1);
            store.locate(&keys, &keys.hashes(), None);
            store.touch(None);
        }
        store
    }

    pub(super) fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        if self.waiting.is_turn(epoch) && self.closing.is_none() {
            self.apply(&batch);
        } else {
            self.waiting.push(epoch, batch);
        }
    }

    pub(super) fn advance(&mut self, frontier: u64) {
        for batch in self.waiting.advance(frontier, self.closing.is_some()) {
            self.apply(&batch);
        }
    }

    fn locate(&mut self, keys: &KeyRows, hashes: &[u64], panes: Option<&[i64]>) {
        self.table.locate(keys, hashes, panes, &mut self.groups);
        self.by_group.resize(self.table.groups().max(self.by_group.len()), UNTOUCHED);
    }

    /// Remembers the results of groups that are about to change. Those of windows that have not come out yet, by the panes, have none; all of
    /// them are looked at when their window closes, if they cannot have gone before.
    fn touch(&mut self, panes: Option<&[i64]>) {
        let mut shown = Vec::new();
        let open = self.due.zip(panes).filter(|_| !self.table.counted());
        for (row, group) in self.groups.iter().enumerate() {
            if open.is_some_and(|(before, panes)| panes[row] > before) {
                continue;
            }
            let state = &mut self.by_group[*group as usize];
            if state.round != self.round {
                state.round = self.round;
                state.old = NONE;
                self.touched.push(*group);
                if state.shown {
                    state.old = self.old_rows + shown.len() as u32;
                    shown.push(*group);
                }
            }
        }
        if !shown.is_empty() {
            let mut errors = Vec::new();
            self.old.push(self.table.evaluate(&shown, &mut errors));
            self.old_errors.extend(errors.into_iter().map(|(position, reason)| (self.old_rows + position as u32, reason)));
            self.old_rows += shown.len() as u32;
        }
    }

    fn apply(&mut self, batch: &KeyedBatch) {
        self.locate(&batch.keys, &batch.hashes, batch.panes.as_deref());
        if let Some(limited) = &mut self.limited {
            let by_group = &self.by_group;
            let sealed = |group: u32| by_group[group as usize].standing == Standing::Sealed;
            if let Some(kept) = limited.unsealed(batch, &mut self.groups, sealed) {
                if !kept.is_empty() {
                    self.touch(kept.panes.as_deref());
                    add(&mut self.table, &self.layout, &kept, &self.groups);
                }
                return;
            }
        }
        self.touch(batch.panes.as_deref());
        add(&mut self.table, &self.layout, batch, &self.groups);
    }

    pub(super) fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        if self.closing.is_none() {
            for batch in self.waiting.until(epoch).into_iter().flatten() {
                self.apply(&batch);
            }
            let mut touched = std::mem::take(&mut self.touched);
            let going = self.limit(&touched, epoch, watermark);
            if let Some(before) = self.due {
                touched = self.due_groups(touched, before, watermark);
                self.due = Some(before.max(watermark));
            }
            if !going.is_empty() {
                touched.extend(going);
                touched.sort_unstable();
                touched.dedup();
            }
            self.table.sort(&mut touched);
            let old = joined(&std::mem::take(&mut self.old));
            self.closing = Some(Closing { epoch, touched, position: 0, old });
        }
        let mut closing = self.closing.take().expect("set above");
        assert_eq!(closing.epoch, epoch, "one epoch closes at a time");
        let end = (closing.position + OUTPUT_ROWS / 2).min(closing.touched.len());
        let mut output = self.changes(&closing.touched[closing.position..end], &closing.old);
        closing.position = end;
        if end < closing.touched.len() {
            self.closing = Some(closing);
            output.more = true;
        } else {
            self.settle(&closing.touched, epoch, watermark);
        }
        output
    }

    /// Lets groups go as limits say; returns them.
    fn limit(&mut self, touched: &[u32], epoch: u64, watermark: i64) -> Vec<u32> {
        let Some(limited) = &mut self.limited else { return Vec::new() };
        let going = limited.close(&self.table, None, touched, epoch, watermark);
        if going.is_empty() {
            return Vec::new();
        }
        self.groups = going.iter().map(|(group, _)| *group).collect();
        self.touch(None);
        // All of them are handed on.
        self.touched.clear();
        for (group, standing) in &going {
            self.by_group[*group as usize].standing = *standing;
        }
        std::mem::take(&mut self.groups)
    }

    /// Of groups that were touched, those whose windows closed before; and all of windows that close now. Groups that have gone before
    /// they came out are forgotten.
    fn due_groups(&mut self, touched: Vec<u32>, before: i64, watermark: i64) -> Vec<u32> {
        let (mut due, mut gone) = (Vec::new(), Vec::new());
        for group in touched {
            let end = self.table.pane(group);
            if end <= before {
                due.push(group);
            } else if end > watermark && !self.table.exists(group) {
                self.by_group[group as usize] = UNTOUCHED;
                gone.push(group);
            }
        }
        self.table.release(&gone);
        let closing: Vec<i64> = self.table.panes().skip_while(|end| *end <= before).take_while(|end| *end <= watermark).collect();
        for end in closing {
            for group in self.table.pane_groups(end, false) {
                let state = &mut self.by_group[group as usize];
                if state.standing == Standing::Sealed {
                    continue;
                }
                if state.round != self.round {
                    *state = GroupState { round: self.round, ..UNTOUCHED };
                }
                due.push(group);
            }
        }
        due
    }

    /// The changes of some groups that were touched.
    fn changes(&self, groups: &[u32], old: &[ArrayRef]) -> Output {
        let Some(keys) = self.table.keys(groups) else { return Emission::new(&self.layout).finish(false) };
        let ends: Vec<i64> = groups.iter().map(|group| self.table.pane(*group)).collect();
        let mut failed = Vec::new();
        let new = self.table.evaluate(groups, &mut failed);
        let here = |group: u32| (self.even_empty || self.table.exists(group)) && self.by_group[group as usize].standing != Standing::Gone;
        let results = Results {
            key_columns: self.layout.key_columns(&keys, &ends),
            olds: groups.iter().map(|group| self.by_group[*group as usize].old).collect(),
            old,
            old_errors: &self.old_errors,
            new,
            failed,
            there: groups.iter().map(|group| here(*group)).collect(),
        };
        results.changes(&self.layout)
    }

    /// Ends the round: forgets groups that are gone and windows that no row can reach.
    fn settle(&mut self, touched: &[u32], epoch: u64, watermark: i64) {
        let (mut gone, mut sealed) = (Vec::new(), Vec::new());
        for group in touched {
            let there = self.even_empty || self.table.exists(*group);
            let state = &mut self.by_group[*group as usize];
            state.shown = there;
            match state.standing {
                Standing::Here if there => {}
                Standing::Here => gone.push(*group),
                Standing::Gone | Standing::Left => {
                    *state = UNTOUCHED;
                    gone.push(*group);
                }
                Standing::Sealing | Standing::Sealed => {
                    state.standing = Standing::Sealed;
                    sealed.push(*group);
                }
            }
        }
        self.table.clear(&sealed);
        self.table.release(&gone);
        if let Some(limited) = &mut self.limited {
            limited.leave(&gone);
        }
        if let Some(window) = &self.layout.window {
            let over: Vec<i64> = self.table.panes().take_while(|end| end.saturating_add(window.lateness_us) <= watermark).collect();
            for end in over {
                for group in self.table.pane_groups(end, false) {
                    self.by_group[group as usize] = UNTOUCHED;
                }
                self.table.release_pane(end);
            }
        }
        self.by_group.truncate(self.table.groups());
        self.old_rows = 0;
        self.old_errors.clear();
        self.round = match self.round.checked_add(1) {
            Some(round) => round,
            None => {
                self.by_group.iter_mut().for_each(|state| state.round = 0);
                1
            }
        };
        // Rows that came in while the closing was under way.
        for batch in self.waiting.closed(epoch) {
            self.apply(&batch);
        }
    }

    pub(super) fn take_limit_report(&mut self) -> Option<LimitReport> {
        self.limited.as_mut().and_then(|limited| limited.take_report())
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.limited.as_ref().and_then(|limited| limited.next_due())
    }

    pub(super) fn groups(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let limited = self.limited.as_ref().map_or(0, |limited| limited.bytes());
        self.table.bytes() + limited + self.waiting.bytes() + self.by_group.capacity() * size_of::<GroupState>()
    }
}

/// Results of groups as they were and as they are.
pub(super) struct Results<'a> {
    /// The key columns of the groups.
    pub(super) key_columns: Vec<ArrayRef>,
    /// Where the old result of each stands in `old`, or [`NONE`].
    pub(super) olds: Vec<u32>,
    pub(super) old: &'a [ArrayRef],
    /// Old results that were errors.
    pub(super) old_errors: &'a BTreeMap<u32, String>,
    /// The result of each group now.
    pub(super) new: Vec<ArrayRef>,
    /// Those of them that are errors, by position, ascending.
    pub(super) failed: Vec<(usize, String)>,
    /// Whether each group is there.
    pub(super) there: Vec<bool>,
}

impl Results<'_> {
    /// What has changed: old results that are taken back, new ones that come out.
    pub(super) fn changes(self, layout: &AggregateLayout) -> Output {
        let Self { key_columns, olds, old, old_errors, new, failed, there } = self;
        let groups = olds.len();
        let mut failed = failed.into_iter().peekable();
        let before: Option<Vec<ArrayRef>> = olds.iter().any(|old| *old != NONE).then(|| {
            let rows: UInt32Array = olds.iter().map(|old| (*old != NONE).then_some(*old)).collect();
            old.iter().map(|column| take(column, &rows, None).expect("old results lie within")).collect()
        });
        let same: Option<BooleanArray> = before.as_ref().map(|before| equal_rows(before, &new, groups));

        let (mut picks, mut diffs, mut errors) = (Vec::with_capacity(groups), Vec::with_capacity(groups), Vec::new());
        for (row, there) in there.into_iter().enumerate() {
            let failure = failed.next_if(|(position, _)| *position == row).map(|(_, reason)| reason);
            let failure = failure.filter(|_| there);
            let was = olds[row] != NONE;
            let old_failure = if was { old_errors.get(&olds[row]) } else { None };
            if let (Some(old), Some(new)) = (old_failure, &failure)
                && old == new
            {
                continue;
            }
            let unchanged = was && there && old_failure.is_none() && failure.is_none();
            if unchanged && same.as_ref().is_some_and(|same| same.value(row)) {
                continue;
            }
            match old_failure {
                Some(reason) => {
                    errors.push(GroupError { group: describe(layout, &key_columns, row), reason: reason.clone(), diff: -1 });
                }
                None if was => {
                    picks.push((0, row));
                    diffs.push(-1);
                }
                None => {}
            }
            match failure {
                Some(reason) => errors.push(GroupError { group: describe(layout, &key_columns, row), reason, diff: 1 }),
                None if there => {
                    picks.push((1, row));
                    diffs.push(1);
                }
                None => {}
            }
        }
        let rows: UInt32Array = picks.iter().map(|(_, row)| *row as u32).collect::<Vec<_>>().into();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(key_columns.len() + new.len());
        let all = picks.len() == groups && before.is_none();
        if all {
            columns.extend(key_columns);
            columns.extend(new);
        } else {
            columns.extend(key_columns.iter().map(|column| take(column, &rows, None).expect("rows lie within")));
            columns.extend(new.iter().enumerate().map(|(position, column)| match &before {
                None => take(column, &rows, None).expect("rows lie within"),
                Some(before) => {
                    interleave(&[before[position].as_ref(), column.as_ref()], &picks).expect("results of one aggregate have one type")
                }
            }));
        }
        let diffs = diffs.contains(&-1).then_some(diffs);
        Output { rows: layout.batch(columns, picks.len()), diffs, errors, homeless: vec![], more: false }
    }
}

/// Columns that were made in parts.
pub(super) fn joined(parts: &[Vec<ArrayRef>]) -> Vec<ArrayRef> {
    (0..parts.first().map_or(0, Vec::len))
        .map(|column| {
            let parts: Vec<&dyn Array> = parts.iter().map(|columns| columns[column].as_ref()).collect();
            concat(&parts).expect("results of one aggregate have one type")
        })
        .collect()
}

/// For each row, whether all columns hold equal values, null being equal to null.
pub(super) fn equal_rows(left: &[ArrayRef], right: &[ArrayRef], rows: usize) -> BooleanArray {
    let mut same = BooleanArray::from(vec![true; rows]);
    for (left, right) in left.iter().zip(right) {
        let equal = not_distinct(left, right).unwrap_or_else(|_| {
            // Nested values: no kernel compares them.
            (0..rows).map(|row| Some(left.slice(row, 1).as_ref() == right.slice(row, 1).as_ref())).collect()
        });
        same = arrow::compute::and(&same, &equal).expect("as long as each other");
    }
    same
}
