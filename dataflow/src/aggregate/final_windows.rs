//! # Results that come out once
//!
//! EMIT FINAL: a window comes out when the watermark reaches its end. Rows are kept once per pane. A tumbling or attached window is its
//! pane. A cumulating one is the sum of the panes since its start, kept in a running table. A hopping one is the sum of its panes:
//! a running table to which the pane that enters is added and from which the one that leaves is subtracted, where states can be
//! subtracted and windows have several panes, else a table merged anew, of few parts ([`super::pane_blocks`]).
//!
//! Rows of epochs that are not closed yet are applied at once. That is sound: `W(e) <= w_row` for every row of a later epoch, so
//! a row that counts for a window has `w_row < end`, and a window that `W(e)` closes has `end <= W(e)`.

use std::sync::Arc;

use tidemark_planner::plan::WindowKind;

use super::keyed_batch::KeyedBatch;
use super::layout::AggregateLayout;
use super::output::{Emission, Ends, OUTPUT_ROWS, Output, take_in};
use super::pane_blocks::{PaneBlocks, add_pane};
use super::panes::Panes;
use crate::state::group_table::GroupTable;

/// Panes of a window from which on subtracting one pane is cheaper than merging all.
const PANES_RUNNING: i64 = 3;

#[derive(Debug)]
pub(super) struct FinalStore {
    layout: Arc<AggregateLayout>,
    panes: GroupTable,
    /// Rows that count for single windows only, by window.
    singles: GroupTable,
    /// The sum of the panes of the window that comes out, or came out last.
    running: GroupTable,
    /// In how many panes of the running sum each of its groups is.
    presence: Vec<u32>,
    subtracts: bool,
    /// Sums of panes of hopping windows, where states cannot be subtracted.
    blocks: PaneBlocks,
    /// The watermark that windows were closed at.
    closed: i64,
    /// The window that came out last.
    last_end: Option<i64>,
    open: Option<Open>,
    even_empty: bool,
    groups: Vec<u32>,
}

/// A window that is coming out, or several tumbling ones.
#[derive(Debug)]
struct Open {
    source: Source,
    ends: Ends,
    groups: Vec<u32>,
    position: usize,
}

#[derive(Debug)]
enum Source {
    /// The panes themselves, to be forgotten after.
    Panes(Vec<i64>),
    /// A pane that other windows need too.
    Pane,
    /// The running sum.
    Running,
}

impl FinalStore {
    pub(super) fn new(layout: Arc<AggregateLayout>, owns_empty: bool) -> Self {
        let (mut panes, singles, running) = (layout.table(), layout.table(), layout.table());
        let even_empty = owns_empty && layout.global();
        let mut groups = Vec::new();
        if even_empty {
            let keys = crate::state::key_rows::KeyRows::Unit(1);
            panes.locate(&keys, &keys.hashes(), None, &mut groups);
        }
        let subtracts = panes.invertible() && layout.window.is_some_and(|window| window.panes.panes_per_window() >= PANES_RUNNING);
        let blocks = match layout.window {
            Some(window) if !subtracts && matches!(window.panes.kind(), WindowKind::Hop { .. }) => PaneBlocks::new(&layout, window.panes),
            _ => PaneBlocks::default(),
        };
        Self {
            layout,
            panes,
            singles,
            running,
            presence: Vec::new(),
            subtracts,
            blocks,
            closed: i64::MIN,
            last_end: None,
            open: None,
            even_empty,
            groups,
        }
    }

    pub(super) fn absorb(&mut self, batch: &KeyedBatch) {
        if self.closed > i64::MIN
            && let Some(least) = batch.panes.iter().flatten().min()
        {
            assert!(*least > self.closed, "a row counts for no window that has come out: {least} <= {}", self.closed);
        }
        let table = if batch.single { &mut self.singles } else { &mut self.panes };
        take_in(table, &self.layout, batch, &mut self.groups);
    }

    pub(super) fn close(&mut self, watermark: i64) -> Output {
        let layout = self.layout.clone();
        let mut out = Emission::new(&layout);
        while out.rows < OUTPUT_ROWS {
            let Some(mut open) = self.open.take().or_else(|| self.open_next(watermark)) else { break };
            let end = (open.position + OUTPUT_ROWS - out.rows).min(open.groups.len());
            let table = match open.source {
                Source::Panes(_) | Source::Pane => &self.panes,
                Source::Running => &self.running,
            };
            out.emit(table, &open.groups[open.position..end], open.ends, self.even_empty);
            open.position = end;
            if end < open.groups.len() {
                self.open = Some(open);
            } else {
                self.finish(open);
            }
        }
        let more = self.open.is_some() || self.next_end(watermark).is_some();
        if !more {
            self.closed = self.closed.max(watermark);
        }
        out.finish(more)
    }

    /// The next window that the watermark closes.
    fn next_end(&self, watermark: i64) -> Option<i64> {
        let first = self.panes.first_pane();
        let Some(window) = &self.layout.window else {
            return first.filter(|_| watermark == i64::MAX);
        };
        let end = match window.panes.kind() {
            WindowKind::Tumble { .. } | WindowKind::Attached => first,
            WindowKind::Session { .. } | WindowKind::Rows { .. } => {
                unreachable!("sessions and windows of so many rows have stores of their own")
            }
            WindowKind::Hop { .. } => {
                let by_panes = first.map(|pane| self.last_end.map_or(pane, |last| pane.max(last + window.panes.unit())));
                [by_panes, self.singles.first_pane()].into_iter().flatten().min()
            }
            WindowKind::Cumulate { .. } => match self.last_end {
                Some(last) if !self.running.is_empty() => Some(last + window.panes.unit()),
                _ => first,
            },
        };
        end.filter(|end| *end <= watermark)
    }

    fn open_next(&mut self, watermark: i64) -> Option<Open> {
        let end = self.next_end(watermark)?;
        let open = |source, ends, groups| Some(Open { source, ends, groups, position: 0 });
        let Some(window) = self.layout.window else {
            let groups = self.panes.pane_groups(end, true);
            return open(Source::Panes(vec![end]), Ends::OfPanes, groups);
        };
        match window.panes.kind() {
            WindowKind::Session { .. } | WindowKind::Rows { .. } => {
                unreachable!("sessions and windows of so many rows have stores of their own")
            }
            WindowKind::Tumble { .. } | WindowKind::Attached => {
                // Small windows come out together.
                let (mut ends, mut groups) = (Vec::new(), Vec::new());
                for end in self.panes.panes_within(..=watermark) {
                    groups.extend(self.panes.pane_groups(end, true));
                    ends.push(end);
                    if groups.len() >= OUTPUT_ROWS {
                        break;
                    }
                }
                open(Source::Panes(ends), Ends::OfPanes, groups)
            }
            WindowKind::Cumulate { .. } => {
                self.add_to_running(end);
                self.panes.release_pane(end);
                self.last_end = Some(end);
                open(Source::Running, Ends::At(end), self.running.pane_groups(0, true))
            }
            WindowKind::Hop { .. } => {
                let source = self.sum_panes(window.panes, end);
                let groups = match source {
                    Source::Pane => {
                        let only = self.panes.panes_within(window.panes.first_pane(end)..=end).next();
                        only.map_or_else(Vec::new, |pane| self.panes.pane_groups(pane, true))
                    }
                    _ => self.running.pane_groups(0, true),
                };
                self.last_end = Some(end);
                open(source, Ends::At(end), groups)
            }
        }
    }

    /// Sums up the panes of a hopping window.
    fn sum_panes(&mut self, panes: Panes, end: i64) -> Source {
        let singles = self.singles.pane_groups(end, false);
        if self.subtracts {
            let after = self.last_end.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let entered: Vec<i64> = self.panes.panes_within((after, std::ops::Bound::Included(end))).collect();
            for pane in entered {
                self.add_to_running(pane);
            }
        } else {
            if self.panes.panes_within(panes.first_pane(end)..=end).take(2).count() == 1 && singles.is_empty() {
                return Source::Pane;
            }
            let mut blocks = std::mem::take(&mut self.blocks);
            blocks.cover(&self.panes, panes, panes.first_pane(end) - panes.unit(), end, |table, pane| {
                add_pane(table, pane, &mut self.running, None, &mut self.groups);
            });
            self.blocks = blocks;
        }
        if let Some(keys) = self.singles.keys(&singles) {
            let hashes = self.singles.hashes(&singles);
            self.running.locate(&keys, &hashes, None, &mut self.groups);
            self.running.merge(&self.groups, &self.singles.partials(&singles));
            if self.subtracts {
                self.count_presence();
            }
        }
        Source::Running
    }

    fn add_to_running(&mut self, pane: i64) {
        if add_pane(&self.panes, pane, &mut self.running, None, &mut self.groups) {
            self.count_presence();
        }
    }

    fn count_presence(&mut self) {
        self.presence.resize(self.running.groups().max(self.presence.len()), 0);
        for group in &self.groups {
            self.presence[*group as usize] += 1;
        }
    }

    fn subtract_from_running(&mut self, from: bool, pane: i64) {
        let table = if from { &self.panes } else { &self.singles };
        let groups = table.pane_groups(pane, false);
        let Some(keys) = table.keys(&groups) else { return };
        self.running.locate(&keys, &table.hashes(&groups), None, &mut self.groups);
        self.running.subtract(&self.groups, &table.partials(&groups));
        let mut gone = Vec::new();
        for group in &self.groups {
            let presence = &mut self.presence[*group as usize];
            *presence -= 1;
            if *presence == 0 {
                gone.push(*group);
            }
        }
        self.running.release(&gone);
    }

    /// Forgets what no later window needs.
    fn finish(&mut self, open: Open) {
        match (open.source, open.ends) {
            (Source::Panes(ends), _) => {
                if self.even_empty {
                    self.even_empty = false;
                }
                ends.iter().for_each(|end| self.panes.release_pane(*end));
            }
            (Source::Pane | Source::Running, Ends::OfPanes) => unreachable!("a sum of panes is of one window"),
            (Source::Pane | Source::Running, Ends::At(end)) => {
                let panes = self.layout.window.as_ref().expect("panes are of windows").panes;
                if let WindowKind::Cumulate { .. } = panes.kind() {
                    if panes.last_window(end) == end {
                        self.forget_running();
                    }
                    return;
                }
                let left: Vec<i64> = self.panes.panes_within(..=end).take_while(|pane| panes.last_window(*pane) <= end).collect();
                if self.subtracts {
                    self.subtract_from_running(false, end);
                    for pane in &left {
                        self.subtract_from_running(true, *pane);
                    }
                } else {
                    self.forget_running();
                    self.blocks.forget_before(panes.first_pane(end));
                }
                left.iter().for_each(|pane| self.panes.release_pane(*pane));
                self.singles.release_pane(end);
            }
        }
    }

    fn forget_running(&mut self) {
        self.running.reset();
        self.presence.clear();
    }

    pub(super) fn groups(&self) -> usize {
        self.panes.len() + self.singles.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.panes.bytes() + self.singles.bytes() + self.running.bytes() + self.blocks.bytes()
    }
}
