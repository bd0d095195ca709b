//! # Results that change of windows that overlap
//!
//! An hour by the second has 3,600 windows for each row. Where results change after they are out, under EMIT CHANGES or by late rows, a
//! row is kept once all the same: for its pane. What an epoch brings is kept apart until the epoch closes. Then the windows that it
//! touches are walked in the order of their ends, for the keys that it touches, with two sums over the panes of the window: one without
//! what came, the old result, and one with it, the new. From one window to the next the pane that leaves is taken out and the one that enters
//! is added, where states can be subtracted; else each sum is made anew of few parts ([`super::pane_blocks`]), as the first one is.
//! Then what came joins the rest.
//!
//! Windows that come out when they close and are corrected after that: those that have closed before are walked so, and those that close now
//! come out by a running sum of all keys, as in [`super::final_windows`].
//!
//! So an epoch costs what its changes are, and a pane is kept until its last window is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use tidemark_planner::plan::Emit;

use super::changes::{NONE, Results, joined};
use super::keyed_batch::KeyedBatch;
use super::layout::AggregateLayout;
use super::output::{Emission, Ends, OUTPUT_ROWS, Output, take_in};
use super::pane_blocks::{PaneBlocks, add_pane};
use super::panes::Panes;
use super::waiting::Waiting;
use crate::state::group_states::GroupStates;
use crate::state::group_table::{Found, GroupTable};
use crate::state::key_rows::KeyRows;
use crate::state::key_table::{KeyTable, Stretch};

#[derive(Debug)]
pub(super) struct SlidingStore {
    layout: Arc<AggregateLayout>,
    panes: Panes,
    lateness: i64,
    /// Windows come out when they close.
    waits: bool,
    kept: Kept,
    /// What the epoch brought.
    came: Rows,
    waiting: Waiting,
    /// The watermark that windows were closed at.
    closed: i64,
    running: Running,
    closing: Option<Closing>,
    groups: Vec<u32>,
}

/// Rows by pane, and rows that count for single windows only by window.
#[derive(Debug)]
struct Rows {
    panes: GroupTable,
    singles: GroupTable,
}

/// What is kept of the epochs that have closed.
#[derive(Debug)]
struct Kept {
    rows: Rows,
    blocks: PaneBlocks,
    subtracts: bool,
}

/// The sum over the panes of the window that came out last, less the pane that left: all keys, for windows that close.
#[derive(Debug)]
struct Running {
    table: GroupTable,
    /// In how many panes each group is.
    presence: Vec<u32>,
    /// The greatest end of a window that has closed; `i64::MIN` before the first.
    at: i64,
    /// The window that is coming out, its groups and how many of them are out.
    open: Option<(i64, Vec<u32>, usize)>,
}

#[derive(Debug)]
struct Closing {
    epoch: u64,
    /// What touched windows are walked with.
    walk: Option<Walk>,
}

/// Walks the windows that what came touches.
#[derive(Debug)]
struct Walk {
    keys: KeyRows,
    hashes: Vec<u64>,
    /// Positions of keys in their order.
    order: Vec<u32>,
    old: GroupStates,
    new: GroupStates,
    /// In how many parts of what came each key is, within the window.
    presence: Vec<u32>,
    /// The window that the sums are of.
    at: Option<i64>,
    /// No window beyond this one is walked.
    upto: i64,
    found: Found,
    pending: Pending,
    ready: VecDeque<Output>,
}

/// Results as they were and are, of several windows.
#[derive(Debug, Default)]
struct Pending {
    positions: Vec<u32>,
    ends: Vec<i64>,
    olds: Vec<u32>,
    old: Vec<Vec<ArrayRef>>,
    old_rows: u32,
    old_errors: BTreeMap<u32, String>,
    new: Vec<Vec<ArrayRef>>,
    failed: Vec<(usize, String)>,
    there: Vec<bool>,
}

impl Rows {
    fn new(layout: &AggregateLayout) -> Self {
        Self { panes: layout.table(), singles: layout.table() }
    }

    fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.singles.is_empty()
    }

    /// The first window after one that has rows.
    fn next_window(&self, panes: Panes, after: Option<i64>) -> Option<i64> {
        let Some(after) = after else {
            return [self.panes.first_pane(), self.singles.first_pane()].into_iter().flatten().min();
        };
        let next = after + panes.unit();
        let by_panes = match self.panes.panes_within(panes.first_pane(next)..=next).next() {
            Some(_) => Some(next),
            None => self.panes.panes_within(next..).next(),
        };
        let single = self.singles.panes_within(after + 1..).next();
        [by_panes, single].into_iter().flatten().min()
    }
}

impl SlidingStore {
    pub(super) fn new(layout: Arc<AggregateLayout>) -> Self {
        let window = layout.window.expect("sliding windows are windows");
        let rows = Rows::new(&layout);
        Self {
            panes: window.panes,
            lateness: window.lateness_us,
            waits: layout.emit == Emit::Final,
            kept: Kept { subtracts: rows.panes.invertible(), rows, blocks: PaneBlocks::new(&layout, window.panes) },
            came: Rows::new(&layout),
            waiting: Waiting::default(),
            closed: i64::MIN,
            running: Running { table: layout.table(), presence: Vec::new(), at: i64::MIN, open: None },
            closing: None,
            groups: Vec::new(),
            layout,
        }
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

    fn apply(&mut self, batch: &KeyedBatch) {
        let table = if batch.single { &mut self.came.singles } else { &mut self.came.panes };
        take_in(table, &self.layout, batch, &mut self.groups);
    }

    pub(super) fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        if self.closing.is_none() {
            for batch in self.waiting.until(epoch).into_iter().flatten() {
                self.apply(&batch);
            }
            let upto = if self.waits { self.running.at } else { i64::MAX };
            let walk = Walk::new(&self.layout, &self.came, upto);
            if walk.is_none() {
                self.join();
            }
            self.closing = Some(Closing { epoch, walk });
        }
        let mut closing = self.closing.take().expect("set above");
        assert_eq!(closing.epoch, epoch, "one epoch closes at a time");
        if let Some(walk) = &mut closing.walk {
            if let Some(mut output) = walk.go_on(&self.layout, self.panes, &mut self.kept, &self.came) {
                output.more = true;
                self.closing = Some(closing);
                return output;
            }
            closing.walk = None;
            self.join();
        }
        let output = if self.waits { self.close_windows(watermark) } else { Emission::new(&self.layout).finish(false) };
        if output.more {
            self.closing = Some(closing);
        } else {
            self.settle(epoch, watermark);
        }
        output
    }

    /// What came joins what is kept.
    fn join(&mut self) {
        let mut found = Found::default();
        let panes: Vec<i64> = self.came.panes.panes().collect();
        for pane in panes {
            let own = self.came.panes.pane_groups(pane, false);
            let Some(keys) = self.came.panes.keys(&own) else { continue };
            let (hashes, partials) = (self.came.panes.hashes(&own), self.came.panes.partials(&own));
            if self.kept_in_running(pane) {
                let running = &mut self.running;
                running.table.locate(&keys, &hashes, None, &mut self.groups);
                running.table.merge(&self.groups, &partials);
                running.presence.resize(running.table.groups().max(running.presence.len()), 0);
                self.kept.rows.panes.find(pane, &keys, &hashes, &mut found);
                let mut known = found.positions.iter().copied().peekable();
                for (position, group) in (0..).zip(&self.groups) {
                    if known.next_if_eq(&position).is_none() {
                        running.presence[*group as usize] += 1;
                    }
                }
            }
            let kept = &mut self.kept;
            kept.blocks.add(self.panes, pane, &keys, &hashes, &partials, &mut self.groups);
            kept.rows.panes.locate(&keys, &hashes, Some(&vec![pane; own.len()]), &mut self.groups);
            kept.rows.panes.merge(&self.groups, &partials);
            if !self.waits && kept.rows.singles.is_empty() && self.came.singles.is_empty() {
                let gone: Vec<u32> = self.groups.iter().copied().filter(|group| !kept.rows.panes.exists(*group)).collect();
                kept.rows.panes.release(&gone);
            }
        }
        let windows: Vec<i64> = self.came.singles.panes().collect();
        for window in windows {
            add_pane(&self.came.singles, window, &mut self.kept.rows.singles, Some(window), &mut self.groups);
        }
        self.came.panes.reset();
        self.came.singles.reset();
    }

    /// Whether the running sum has a pane in it.
    fn kept_in_running(&self, pane: i64) -> bool {
        self.waits && self.kept.subtracts && pane <= self.running.at && self.panes.last_window(pane) > self.running.at
    }

    /// The windows that close now, in portions.
    fn close_windows(&mut self, watermark: i64) -> Output {
        let layout = self.layout.clone();
        let mut out = Emission::new(&layout);
        while out.rows < OUTPUT_ROWS {
            let Some((end, groups, position)) = self.running.open.take().or_else(|| self.open_next(watermark)) else { break };
            let next = (position + OUTPUT_ROWS - out.rows).min(groups.len());
            out.emit(&self.running.table, &groups[position..next], Ends::At(end), false);
            if next < groups.len() {
                self.running.open = Some((end, groups, next));
            } else {
                self.leave(end);
            }
        }
        let more = self.running.open.is_some() || self.next_to_close(watermark).is_some();
        out.finish(more)
    }

    fn next_to_close(&self, watermark: i64) -> Option<i64> {
        let after = Some(self.running.at).filter(|at| *at > i64::MIN);
        self.kept.rows.next_window(self.panes, after).filter(|end| *end <= watermark)
    }

    /// Makes the running sum that of the next window that closes.
    fn open_next(&mut self, watermark: i64) -> Option<(i64, Vec<u32>, usize)> {
        let end = self.next_to_close(watermark)?;
        let (running, rows) = (&mut self.running, &self.kept.rows);
        if self.kept.subtracts {
            let entered: Vec<i64> = rows.panes.panes_within(running.at.saturating_add(1)..=end).collect();
            for pane in entered {
                running.add(&rows.panes, pane, &mut self.groups);
            }
        } else {
            let start = self.panes.first_pane(end) - self.panes.unit();
            let blocks = &mut self.kept.blocks;
            blocks.cover(&rows.panes, self.panes, start, end, |table, pane| running.add(table, pane, &mut self.groups));
        }
        running.add(&rows.singles, end, &mut self.groups);
        Some((end, running.table.pane_groups(0, true), 0))
    }

    /// Takes out of the running sum what later windows do not have.
    fn leave(&mut self, end: i64) {
        let (running, rows) = (&mut self.running, &self.kept.rows);
        if self.kept.subtracts {
            running.subtract(&rows.singles, end, &mut self.groups);
            running.subtract(&rows.panes, self.panes.first_pane(end), &mut self.groups);
        } else {
            running.reset();
        }
        running.at = end;
    }

    /// Ends the closing of an epoch: forgets what no row can reach.
    fn settle(&mut self, epoch: u64, watermark: i64) {
        self.closed = self.closed.max(watermark);
        let rows = &mut self.kept.rows;
        let over = |end: i64| end.saturating_add(self.lateness) <= self.closed;
        let gone: Vec<i64> = rows.panes.panes().take_while(|pane| over(self.panes.last_window(*pane))).collect();
        gone.iter().for_each(|pane| rows.panes.release_pane(*pane));
        let gone: Vec<i64> = rows.singles.panes().take_while(|end| over(*end)).collect();
        gone.iter().for_each(|end| rows.singles.release_pane(*end));
        let least = self.closed.saturating_sub(self.lateness);
        if rows.panes.is_empty() {
            self.kept.blocks.reset();
        } else if self.panes.in_range(least) {
            let first = self.panes.pane(least);
            self.kept.blocks.forget_before(self.panes.first_pane(first) - self.panes.unit());
        }
        if self.waits && self.panes.in_range(self.closed) {
            self.running.at = self.running.at.max(self.panes.pane(self.closed) - self.panes.unit());
        }
        // Rows that came in while the closing was under way.
        for batch in self.waiting.closed(epoch) {
            self.apply(&batch);
        }
    }

    pub(super) fn groups(&self) -> usize {
        [&self.kept.rows, &self.came].iter().map(|rows| rows.panes.len() + rows.singles.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        let rows: usize = [&self.kept.rows, &self.came].iter().map(|rows| rows.panes.bytes() + rows.singles.bytes()).sum();
        self.waiting.bytes() + rows + self.kept.blocks.bytes() + self.running.table.bytes()
    }
}

impl Running {
    fn add(&mut self, from: &GroupTable, pane: i64, groups: &mut Vec<u32>) {
        if add_pane(from, pane, &mut self.table, None, groups) {
            self.presence.resize(self.table.groups().max(self.presence.len()), 0);
            groups.iter().for_each(|group| self.presence[*group as usize] += 1);
        }
    }

    fn subtract(&mut self, from: &GroupTable, pane: i64, groups: &mut Vec<u32>) {
        let own = from.pane_groups(pane, false);
        let Some(keys) = from.keys(&own) else { return };
        self.table.locate(&keys, &from.hashes(&own), None, groups);
        self.table.subtract(groups, &from.partials(&own));
        let mut gone = Vec::new();
        for group in groups.iter() {
            let presence = &mut self.presence[*group as usize];
            *presence -= 1;
            if *presence == 0 {
                gone.push(*group);
            }
        }
        self.table.release(&gone);
    }

    fn reset(&mut self) {
        self.table.reset();
        self.presence.clear();
    }
}

impl Walk {
    /// Over the windows of what came up to one; `None` if there are none.
    fn new(layout: &AggregateLayout, came: &Rows, upto: i64) -> Option<Self> {
        let first = [came.panes.first_pane(), came.singles.first_pane()].into_iter().flatten().min();
        if came.is_empty() || first.is_none_or(|first| first > upto) {
            return None;
        }
        let mut numbers = KeyTable::new();
        let mut ids = Vec::new();
        for table in [&came.panes, &came.singles] {
            for pane in table.panes_within(..=upto) {
                let groups = table.pane_groups(pane, false);
                let Some(keys) = table.keys(&groups) else { continue };
                ids.clear();
                numbers.intern(&keys, &table.hashes(&groups), Stretch { first: 0, rows: keys.len() }, &mut ids);
            }
        }
        let all: Vec<u32> = (0..numbers.numbers() as u32).collect();
        let mut order = all.clone();
        numbers.sort(&mut order);
        let (mut old, mut new) = (layout.states(), layout.states());
        old.resize(all.len());
        new.resize(all.len());
        Some(Self {
            keys: numbers.rows(&all),
            hashes: all.iter().map(|key| numbers.hash(*key)).collect(),
            order,
            old,
            new,
            presence: vec![0; all.len()],
            at: None,
            upto,
            found: Found::default(),
            pending: Pending::default(),
            ready: VecDeque::new(),
        })
    }

    /// The next portion of changes; `None` when all are out.
    fn go_on(&mut self, layout: &AggregateLayout, panes: Panes, kept: &mut Kept, came: &Rows) -> Option<Output> {
        loop {
            if let Some(output) = self.ready.pop_front() {
                return Some(output);
            }
            let Some(end) = came.next_window(panes, self.at).filter(|end| *end <= self.upto) else {
                self.pending.finish(layout, &self.keys, &mut self.ready);
                return self.ready.pop_front();
            };
            self.step(panes, kept, came, end);
            self.compare(layout, kept, came, end);
            if self.pending.positions.len() >= OUTPUT_ROWS / 2 {
                self.pending.finish(layout, &self.keys, &mut self.ready);
            }
        }
    }

    /// Makes the sums those of a window.
    fn step(&mut self, panes: Panes, kept: &mut Kept, came: &Rows, end: i64) {
        let Self { keys, hashes, old, new, presence, found, .. } = self;
        let before = self.at.replace(end);
        if kept.subtracts && before == Some(end - panes.unit()) {
            let left = panes.first_pane(end - panes.unit());
            kept.rows.panes.find(left, keys, hashes, found);
            let partials = kept.rows.panes.partials(&found.groups);
            old.subtract(&found.positions, &partials);
            new.subtract(&found.positions, &partials);
            came.panes.find(left, keys, hashes, found);
            new.subtract(&found.positions, &came.panes.partials(&found.groups));
            found.positions.iter().for_each(|position| presence[*position as usize] -= 1);
            kept.rows.panes.find(end, keys, hashes, found);
            let partials = kept.rows.panes.partials(&found.groups);
            old.merge(&found.positions, &partials);
            new.merge(&found.positions, &partials);
            came.panes.find(end, keys, hashes, found);
            new.merge(&found.positions, &came.panes.partials(&found.groups));
            found.positions.iter().for_each(|position| presence[*position as usize] += 1);
            return;
        }
        for states in [&mut *old, &mut *new] {
            states.reset();
            states.resize(hashes.len());
        }
        presence.fill(0);
        let first = panes.first_pane(end);
        kept.blocks.cover(&kept.rows.panes, panes, first - panes.unit(), end, |table, pane| {
            table.find(pane, keys, hashes, found);
            let partials = table.partials(&found.groups);
            old.merge(&found.positions, &partials);
            new.merge(&found.positions, &partials);
        });
        for pane in came.panes.panes_within(first..=end) {
            came.panes.find(pane, keys, hashes, found);
            new.merge(&found.positions, &came.panes.partials(&found.groups));
            found.positions.iter().for_each(|position| presence[*position as usize] += 1);
        }
    }

    /// Compares what a window was with what it is.
    fn compare(&mut self, layout: &AggregateLayout, kept: &Kept, came: &Rows, end: i64) {
        let Self { keys, hashes, old, new, presence, found, .. } = self;
        let single = kept.rows.singles.has_pane(end) || came.singles.has_pane(end);
        let mut undo = Vec::new();
        if single {
            kept.rows.singles.find(end, keys, hashes, found);
            let partials = kept.rows.singles.partials(&found.groups);
            old.merge(&found.positions, &partials);
            new.merge(&found.positions, &partials);
            undo.push((found.positions.clone(), partials, false));
            came.singles.find(end, keys, hashes, found);
            let partials = came.singles.partials(&found.groups);
            new.merge(&found.positions, &partials);
            found.positions.iter().for_each(|position| presence[*position as usize] += 1);
            undo.push((found.positions.clone(), partials, true));
        }
        let active: Vec<u32> = self.order.iter().copied().filter(|position| presence[*position as usize] > 0).collect();
        for part in active.chunks(OUTPUT_ROWS / 2) {
            self.pending.note(end, part, old, new);
            if active.len() > part.len() {
                self.pending.finish(layout, keys, &mut self.ready);
            }
        }
        for (positions, partials, came) in undo {
            if came {
                positions.iter().for_each(|position| presence[*position as usize] -= 1);
            }
            if kept.subtracts {
                new.subtract(&positions, &partials);
                if !came {
                    old.subtract(&positions, &partials);
                }
            }
        }
    }
}

impl Pending {
    /// Notes the results of some keys for a window.
    fn note(&mut self, end: i64, positions: &[u32], old: &GroupStates, new: &GroupStates) {
        let was: Vec<u32> = positions.iter().copied().filter(|position| old.exists(*position)).collect();
        let first = self.positions.len();
        let mut errors = Vec::new();
        if !was.is_empty() {
            self.old.push(old.evaluate(&was, &mut errors));
            self.old_errors.extend(errors.drain(..).map(|(position, reason)| (self.old_rows + position as u32, reason)));
        }
        for position in positions {
            if old.exists(*position) {
                self.olds.push(self.old_rows);
                self.old_rows += 1;
            } else {
                self.olds.push(NONE);
            }
            self.there.push(new.exists(*position));
        }
        self.new.push(new.evaluate(positions, &mut errors));
        self.failed.extend(errors.into_iter().map(|(position, reason)| (first + position, reason)));
        self.positions.extend_from_slice(positions);
        self.ends.resize(self.positions.len(), end);
    }

    /// Puts out what was noted.
    fn finish(&mut self, layout: &AggregateLayout, keys: &KeyRows, ready: &mut VecDeque<Output>) {
        let noted = std::mem::take(self);
        if noted.positions.is_empty() {
            return;
        }
        let keys = keys.take(&UInt32Array::from(noted.positions));
        let results = Results {
            key_columns: layout.key_columns(&keys, &noted.ends),
            olds: noted.olds,
            old: &joined(&noted.old),
            old_errors: &noted.old_errors,
            new: joined(&noted.new),
            failed: noted.failed,
            there: noted.there,
        };
        ready.push_back(results.changes(layout));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::layout::AggregateLayout;
    use crate::aggregate::test_accumulators::accumulator;
    use crate::aggregate::test_rows::{aggregate, batch, column, schema, windows};
    use crate::aggregate::{LocalHalf, RowWatermarks, Store};
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
    use tidemark_planner::plan::{AggregateFunction, KeyPlan, LateStrategy, NamedExpr, WindowColumn, WindowKind, WindowPlan};

    fn layout(emit: Emit, lateness_us: i64) -> Arc<AggregateLayout> {
        let count = aggregate(AggregateFunction::Count, None, DataType::Int64, false);
        let keys = [KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") }), KeyPlan::Window(WindowColumn::End, "end".into())];
        let window =
            WindowPlan { late: LateStrategy::UpdatePrevious, ..windows(WindowKind::Hop { size_us: 3_600, slide_us: 1 }, lateness_us) };
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = vec![Field::new("key", DataType::Int64, true), Field::new("end", timestamp, true), count.output.as_ref().clone()];
        let output = Arc::new(Schema::new(fields));
        Arc::new(AggregateLayout::new(&schema(), false, &keys, &[count], Some(&window), emit, output, accumulator).unwrap())
    }

    /// Puts rows of one epoch in, closes it, and returns how many changes came out and what they add up to.
    fn epoch(store: &mut Store, half: &mut LocalHalf, number: u64, rows: &[[i64; 3]], watermarks: (i64, i64)) -> (usize, i64) {
        for batch in half.push(&batch(rows.iter().copied()), None, RowWatermarks::Constant(watermarks.0)).batches {
            store.absorb(number, batch);
        }
        let (mut changes, mut sum) = (0, 0);
        loop {
            let output = store.close(number, watermarks.1);
            let counts = output.rows.column(2).as_primitive::<Int64Type>();
            changes += counts.len();
            sum += counts
                .values()
                .iter()
                .enumerate()
                .map(|(row, count)| count * output.diffs.as_ref().map_or(1, |diffs| diffs[row]))
                .sum::<i64>();
            if !output.more {
                return (changes, sum);
            }
        }
    }

    #[test]
    fn a_row_in_thousands_of_windows_is_kept_once() {
        for emit in [Emit::Changes, Emit::Final] {
            let layout = layout(emit, 100);
            let (mut store, mut half) = (Store::new(layout.clone(), false), LocalHalf::new(layout, true));
            let rows: Vec<[i64; 3]> = (0..50).map(|row| [row / 5, row % 2, 0]).collect();
            let came = epoch(&mut store, &mut half, 1, &rows, (i64::MIN, 5));
            assert_eq!(store.groups(), 20, "two keys in ten panes");
            // Closed are the windows that end at 1 to 5.
            let expected = if emit == Emit::Final { (10, 75) } else { (2 * 3_609, 50 * 3_600) };
            assert_eq!(came, expected, "{emit:?}");
            // A late row for key 0 in the third pane: the windows that end at 3, 4 and 5 are corrected.
            let came = epoch(&mut store, &mut half, 2, &[[2, 0, 0]], (5, 5));
            assert_eq!(came, if emit == Emit::Final { (6, 3) } else { (7_200, 3_600) }, "{emit:?}");
            assert_eq!(store.groups(), 20);
            let (_, sum) = epoch(&mut store, &mut half, 3, &[], (5, i64::MAX));
            assert_eq!(sum, if emit == Emit::Final { 51 * 3_600 - 75 - 3 } else { 0 }, "{emit:?}");
            assert_eq!((store.groups(), store.bytes() > 0), (0, true));
        }
    }
}
