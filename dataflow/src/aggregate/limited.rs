//! # Groups under limits
//!
//! What becomes of groups that [`Keeper`] names, beside the store that keeps them: whether a result is taken back or stays, which rows are
//! dropped because their group is sealed, and what of all that is counted.

use std::sync::Arc;

use arrow::array::{AsArray, UInt32Array};
use arrow::datatypes::Int64Type;
use tidemark_planner::plan::{Evicted, StateClock};

use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::output::{GroupError, describe};
use crate::state::group_table::GroupTable;
use crate::state::keeper::{Groups, Judgement, Keeper, Passed, Reason};
use crate::state::key_rows::KeyRows;

/// How a group stands to its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// As others.
    #[default]
    Here,
    /// It goes with the epoch that closes, and its result with it.
    Gone,
    /// It goes, and its result stays.
    Left,
    /// It goes, its result stays, and its key is remembered.
    Sealing,
    /// Later rows are dropped.
    Sealed,
}

/// What limits have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    /// Groups that went, by reason, in the order of [`Reason`].
    pub left: [u64; 6],
    /// The rows they had.
    pub left_rows: u64,
    /// Groups that were not taken in.
    pub refused_groups: u64,
    /// The rows they had.
    pub refused_rows: u64,
    /// Rows of groups that were sealed.
    pub sealed_rows: u64,
}

impl LimitCounts {
    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.left.iter_mut().zip(other.left).for_each(|(own, other)| *own += other);
        self.left_rows += other.left_rows;
        self.refused_groups += other.refused_groups;
        self.refused_rows += other.refused_rows;
        self.sealed_rows += other.sealed_rows;
    }
}

/// What limits have done since this was asked last.
#[derive(Clone, Debug, Default)]
pub struct LimitReport {
    /// How much.
    pub counts: LimitCounts,
    /// Groups that were not taken in.
    pub refused: Vec<GroupError>,
    /// A limit was passed: the run fails.
    pub passed: Option<Passed>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Limited {
    keeper: Keeper,
    layout: Arc<AggregateLayout>,
    evicted: Evicted,
    /// Ages are measured by the watermark.
    by_watermark: bool,
    /// Some group is sealed.
    sealed: bool,
    report: LimitReport,
}

impl Limited {
    /// The limits of a layout, on one of some workers.
    pub(super) fn new(layout: &Arc<AggregateLayout>, workers: usize) -> Option<Self> {
        let limits = layout.limits.as_deref()?;
        Some(Self {
            keeper: Keeper::new(limits, workers),
            layout: Arc::clone(layout),
            evicted: limits.evicted,
            by_watermark: matches!(limits.clock, StateClock::Event(_)),
            sealed: false,
            report: LimitReport::default(),
        })
    }

    /// The next epoch in which some group may have to go, though no row comes.
    pub(super) fn next_due(&self) -> Option<u64> {
        let due = if self.by_watermark { None } else { self.keeper.next_due() };
        due.and_then(|due| u64::try_from(due).ok())
    }

    /// The rows that are not of sealed groups, if some are, their groups left in `groups`; the others are counted.
    pub(super) fn unsealed(&mut self, batch: &KeyedBatch, groups: &mut Vec<u32>, sealed: impl Fn(u32) -> bool) -> Option<KeyedBatch> {
        if !self.sealed || !groups.iter().any(|group| sealed(*group)) {
            return None;
        }
        let mut kept = Vec::with_capacity(groups.len());
        for (row, group) in groups.iter().enumerate() {
            if sealed(*group) {
                self.report.counts.sealed_rows += rows_of(batch, row);
            } else {
                kept.push(row as u32);
            }
        }
        *groups = kept.iter().map(|row| groups[*row as usize]).collect();
        Some(batch.take(&UInt32Array::from(kept)))
    }

    /// Counts rows that were dropped since their group is sealed.
    pub(super) fn count_sealed(&mut self, rows: u64) {
        self.report.counts.sealed_rows += rows;
    }

    /// Ends an epoch. `touched` are the groups of a table that rows came for, in any order; `came` are the rows that came for each group,
    /// where the table knows only those that came since the group came out. Returns the groups that go and how.
    pub(super) fn close(
        &mut self,
        table: &GroupTable,
        came: Option<&[i64]>,
        touched: &[u32],
        epoch: u64,
        watermark: i64,
    ) -> Vec<(u32, Standing)> {
        // A window that is over goes by itself.
        let lateness = self.layout.window.filter(|_| !self.layout.counts_rows()).map(|window| window.lateness_us);
        let over = |pane: i64| lateness.is_some_and(|us| pane.saturating_add(us) <= watermark);
        for pane in table.panes().take_while(|pane| over(*pane)) {
            self.leave(&table.pane_groups(pane, false));
        }
        let mut here = Vec::with_capacity(touched.len());
        for group in touched.iter().filter(|group| !over(table.pane(**group))) {
            if came.is_some() || table.exists(*group) {
                here.push(*group);
            } else {
                self.keeper.leave(*group);
            }
        }
        let layout = Arc::clone(&self.layout);
        let name = |group: u32| {
            let keys = table.keys(&[group]).expect("one group has one key");
            // A key of windows of so many rows is refused with its first.
            let end = layout.window.filter(|_| layout.counts_rows()).map_or(table.pane(group), |window| window.panes.unit());
            describe(&layout, &layout.key_columns(&keys, &[end]), 0)
        };
        match came {
            None => self.judge(table, here, epoch, watermark, name),
            Some(came) => self.judge(&Purged { table, came }, here, epoch, watermark, name),
        }
    }

    /// Ends an epoch for groups of which none is over: `here` are those that rows came for.
    pub(super) fn judge(
        &mut self,
        groups: &impl Groups,
        mut here: Vec<u32>,
        epoch: u64,
        watermark: i64,
        name: impl Fn(u32) -> String,
    ) -> Vec<(u32, Standing)> {
        groups.sort(&mut here);
        let now = if self.by_watermark { watermark } else { now(epoch) };
        let Judgement { leaving, refused, passed } = self.keeper.close(groups, &here, now);
        self.report.passed = self.report.passed.or(passed);
        let standing = match self.evicted {
            Evicted::Retract => Standing::Gone,
            Evicted::Forget => Standing::Left,
            Evicted::Seal => Standing::Sealing,
        };
        self.sealed |= standing == Standing::Sealing && !leaving.is_empty();
        let counts = &mut self.report.counts;
        for (group, reason) in &leaving {
            counts.left[*reason as usize] += 1;
            counts.left_rows += groups.rows(*group).unsigned_abs();
        }
        let mut going: Vec<(u32, Standing)> = leaving.into_iter().map(|(group, _)| (group, standing)).collect();
        for (group, reason) in refused {
            let rows = groups.rows(group).unsigned_abs();
            counts.refused_groups += 1;
            counts.refused_rows += rows;
            self.report.refused.push(refusal(name(group), reason, rows));
            going.push((group, Standing::Gone));
        }
        going
    }

    /// Groups have gone for another reason.
    pub(super) fn leave(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.keeper.leave(*group));
    }

    /// What was done since this was asked last.
    pub(super) fn take_report(&mut self) -> Option<LimitReport> {
        let some = !self.report.counts.is_empty() || self.report.passed.is_some();
        some.then(|| std::mem::take(&mut self.report))
    }

    pub(super) fn bytes(&self) -> usize {
        self.keeper.bytes()
    }
}

/// Processing time as an epoch closes.
fn now(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX - 1)
}

/// How many rows a row of a batch stands for.
pub(super) fn rows_of(batch: &KeyedBatch, row: usize) -> u64 {
    match &batch.payload {
        // Rows are counted under limits, and counts come first.
        Payload::Partial { columns } => columns[0].as_primitive::<Int64Type>().value(row).unsigned_abs(),
        Payload::Raw { diffs, .. } => diffs.as_ref().map_or(1, |diffs| diffs[row].unsigned_abs()),
    }
}

fn refusal(group: String, reason: Reason, rows: u64) -> GroupError {
    let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    GroupError { group, reason: format!("not taken in: {} is reached; {rows}", reason.setting()), diff: 1 }
}

/// Groups of a table that forgets rows which have come out: what came for each is known beside it.
struct Purged<'a> {
    table: &'a GroupTable,
    came: &'a [i64],
}

impl Groups for Purged<'_> {
    fn slots(&self) -> usize {
        self.table.groups()
    }

    fn rows(&self, group: u32) -> i64 {
        self.came[group as usize]
    }

    fn bytes(&self) -> usize {
        self.table.bytes()
    }

    fn sort(&self, groups: &mut Vec<u32>) {
        self.table.sort(groups);
    }

    fn keys(&self, groups: &[u32]) -> Option<KeyRows> {
        self.table.keys(groups)
    }

    fn hashes(&self, groups: &[u32]) -> Vec<u64> {
        self.table.hashes(groups)
    }
}
