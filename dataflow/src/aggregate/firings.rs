//! # What the groups of windows have put out
//!
//! At an epoch's close, for each group that fired in it, what the last firing of before put out is taken back and what the last firing of
//! the epoch puts out is given, unless they are equal. A group whose rows were all taken back when it fired puts out nothing. Where
//! firings purge, each is a result of its own.

use std::sync::Arc;

use super::fired::{Fired, Firing, Results};
use super::layout::AggregateLayout;
use super::limited::Standing;
use super::trigger::Reason;
use crate::state::group_table::GroupTable;

/// What is known of each group's firings.
#[derive(Debug)]
pub(super) struct Firings {
    pub(super) results: Results,
    pub(super) purge: bool,
    pub(super) by_group: Vec<GroupState>,
    /// What each group's last firing put out.
    shown: Vec<Option<Fired>>,
    /// Firings of the epoch that closes; without purge at most one of each group.
    of_epoch: Vec<(u32, Fired)>,
}

/// What is known of one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupState {
    /// Firings so far.
    pub(super) revision: u32,
    /// Rows came since the last of them.
    pub(super) fresh: bool,
    /// It stands in the list of those.
    pub(super) listed: bool,
    /// Rows of the epoch came.
    pub(super) touched: bool,
    /// It has fired for the last time.
    pub(super) finished: bool,
    /// One more than its place among the firings of the epoch.
    pub(super) place: u32,
    /// While rows are counted: one more than the row it fired at last, or the number of times it fired.
    pub(super) mark: u32,
    pub(super) standing: Standing,
}

/// The changes of an epoch, in order.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) epoch: u64,
    pub(super) lines: Vec<(Fired, i64)>,
    /// The group of each line.
    pub(super) groups: Vec<u32>,
    pub(super) position: usize,
    pub(super) gone: Vec<u32>,
    /// Groups that limits have sealed.
    pub(super) sealed: Vec<u32>,
}

/// A group that fires, and the how manieth time it is.
pub(super) type Due = (u32, Reason, u32);

impl Firings {
    pub(super) fn new(layout: &Arc<AggregateLayout>, purge: bool) -> Self {
        Self { results: Results::new(layout.clone()), purge, by_group: Vec::new(), shown: Vec::new(), of_epoch: Vec::new() }
    }

    /// Makes room for so many groups, and says for how many there is.
    pub(super) fn grow(&mut self, groups: usize) -> usize {
        let groups = groups.max(self.by_group.len());
        self.by_group.resize(groups, GroupState::default());
        self.shown.resize(groups, None);
        groups
    }

    pub(super) fn forget(&mut self, group: u32) {
        self.by_group[group as usize] = GroupState::default();
        self.shown[group as usize] = None;
    }

    pub(super) fn truncate(&mut self, groups: usize) {
        self.by_group.truncate(groups);
        self.shown.truncate(groups);
    }

    pub(super) fn bytes(&self) -> usize {
        let shown: usize = self.shown.iter().flatten().map(Fired::bytes).sum();
        shown + self.by_group.capacity() * size_of::<GroupState>()
    }

    /// Notes the results of groups that fire, as they are now; `is_final` is asked with a window's end.
    pub(super) fn put_out(&mut self, table: &mut GroupTable, due: &[Due], is_final: impl Fn(i64) -> bool, epoch: u64) {
        if due.is_empty() {
            return;
        }
        let groups: Vec<u32> = due.iter().map(|(group, ..)| *group).collect();
        let mut failed = Vec::new();
        let columns = table.evaluate(&groups, &mut failed);
        let firings = due.iter().map(|(group, reason, revision)| {
            let firing = Firing { reason: *reason, revision: *revision, is_final: is_final(table.pane(*group)), at: epoch };
            (table.exists(*group), firing)
        });
        for (group, new) in groups.iter().zip(self.results.keep(&columns, failed, firings)) {
            let state = &mut self.by_group[*group as usize];
            state.finished = new.firing.is_final;
            match state.place.checked_sub(1).filter(|_| !self.purge) {
                Some(place) => self.of_epoch[place as usize].1 = new,
                None => {
                    self.of_epoch.push((*group, new));
                    state.place = self.of_epoch.len() as u32;
                }
            }
        }
        if self.purge {
            table.clear(&groups);
        }
    }

    /// The changes that the firings of an epoch are, in order, and those of groups that limits let go.
    pub(super) fn lines(&mut self, table: &GroupTable, epoch: u64, going: &[(u32, Standing)]) -> Closing {
        let of = |standing: Standing| going.iter().filter(move |it| it.1 == standing).map(|(group, _)| *group);
        let mut fired: Vec<(u32, Option<Fired>)> =
            std::mem::take(&mut self.of_epoch).into_iter().map(|(group, fired)| (group, Some(fired))).collect();
        if of(Standing::Gone).next().is_some() {
            // Nothing of the epoch comes out of these.
            fired.retain(|(group, _)| self.by_group[*group as usize].standing != Standing::Gone);
            fired.extend(of(Standing::Gone).map(|group| (group, None)));
        }
        let mut groups: Vec<u32> = fired.iter().map(|(group, _)| *group).collect();
        groups.sort_unstable();
        groups.dedup();
        table.sort(&mut groups);
        for (rank, group) in groups.iter().enumerate() {
            self.by_group[*group as usize].place = rank as u32;
        }
        let revision = |fired: &Option<Fired>| fired.as_ref().map(|fired| fired.firing.revision);
        fired.sort_by_key(|(group, fired)| (self.by_group[*group as usize].place, revision(fired)));
        let (gone, sealed) = (of(Standing::Left).collect(), of(Standing::Sealing).collect());
        let mut closing = Closing { epoch, lines: Vec::with_capacity(fired.len()), groups: Vec::new(), position: 0, gone, sealed };
        let mut line = |group, fired, diff| {
            closing.groups.push(group);
            closing.lines.push((fired, diff));
        };
        for (group, new) in fired {
            let at = group as usize;
            self.by_group[at].place = 0;
            let Some(new) = new else {
                if let Some(old) = self.shown[at].take() {
                    line(group, old, -1);
                }
                closing.gone.push(group);
                continue;
            };
            if self.purge {
                line(group, new, 1);
                continue;
            }
            // Rows may have come, or been taken back, since it fired.
            let old = self.shown[at].take();
            if !(new.exists && old.as_ref().is_some_and(|old| self.results.same(old, &new))) {
                if let Some(old) = old {
                    line(group, old, -1);
                }
                if new.exists {
                    line(group, new.clone(), 1);
                }
            }
            let GroupState { fresh, standing, .. } = self.by_group[at];
            if new.exists {
                self.shown[at] = Some(new);
            } else if standing == Standing::Here && !fresh && !table.exists(group) {
                closing.gone.push(group);
            }
        }
        closing
    }
}
