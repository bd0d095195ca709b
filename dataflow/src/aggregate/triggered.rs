//! # Results as triggers fire
//!
//! Rows are added to the group of their window; when it comes out is up to the group's [`Trigger`], and what, is up to [`super::firings`].
//! A trigger that purges forgets the rows it has put out, so every firing is a result of its own.
//!
//! **Order.** Within an epoch: the ticks of processing time up to it, its rows, its watermark, a flush, the end of windows that no
//! row can reach, limits on what is left. Where rows are counted they are taken in the order of their places (partition, offset), and a group that fires at a
//! row puts out the rows up to that one: the answer is that of the rows one by one, however they were cut into epochs and dealt out to workers.
//!
//! **Limits** look at groups as the epoch leaves them. A group whose result stays puts out what is new before it goes; of one whose result
//! is taken back, or that is not taken in, nothing of the epoch comes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, Int64Type};

use super::fired::Fired;
use super::firings::{Closing, Due, Firings};
use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::limited::{LimitReport, Limited, Standing, rows_of};
use super::output::{OUTPUT_ROWS, Output, add};
use super::trigger::{Event, Reason, Trigger};
use super::waiting::Waiting;
use crate::state::group_table::GroupTable;

#[derive(Debug)]
pub(super) struct TriggeredStore {
    layout: Arc<AggregateLayout>,
    table: GroupTable,
    trigger: Trigger,
    /// The trigger's state of each group.
    words: Vec<u64>,
    firings: Firings,
    waiting: Waiting,
    /// Moments of processing time at which some group may fire.
    ticks: BTreeSet<i64>,
    /// Groups that may have something new for the next tick.
    fresh: Vec<u32>,
    /// Groups that rows of the epoch came to.
    touched: Vec<u32>,
    flushes: BTreeSet<u64>,
    watermark: i64,
    closing: Option<Closing>,
    limited: Option<Box<Limited>>,
    /// The rows that came for each group, where that is limited and the table forgets those that have come out.
    came: Option<Vec<i64>>,
}

impl TriggeredStore {
    pub(super) fn new(layout: Arc<AggregateLayout>, workers: usize) -> Self {
        let firing = layout.firing.clone().expect("a plan that waits for a trigger has one");
        Self {
            table: layout.table(),
            trigger: Trigger::new(&firing.trigger),
            firings: Firings::new(&layout, firing.purge),
            words: Vec::new(),
            waiting: Waiting::default(),
            ticks: BTreeSet::new(),
            fresh: Vec::new(),
            touched: Vec::new(),
            flushes: BTreeSet::new(),
            watermark: i64::MIN,
            closing: None,
            came: (firing.purge && layout.limits.is_some()).then(Vec::new),
            limited: Limited::new(&layout, workers).map(Box::new),
            layout,
        }
    }

    pub(super) fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        self.waiting.push(epoch, batch);
    }

    /// All groups that have something new shall fire when an epoch closes; if the input ends with it, they all have fired by hand.
    pub(super) fn flush(&mut self, epoch: u64) {
        self.flushes.insert(epoch);
    }

    /// The next moment of processing time at which some group may fire, or have to go.
    pub(super) fn next_tick(&self) -> Option<u64> {
        let tick = self.ticks.first().and_then(|tick| u64::try_from(*tick).ok());
        tick.into_iter().chain(self.limited.as_ref().and_then(|limited| limited.next_due())).min()
    }

    pub(super) fn take_limit_report(&mut self) -> Option<LimitReport> {
        self.limited.as_mut().and_then(|limited| limited.take_report())
    }

    /// The next end of a window.
    pub(super) fn next_end(&self) -> Option<u64> {
        let end = if self.watermark == i64::MAX { None } else { self.table.panes_within(self.watermark + 1..).next() };
        end.and_then(|end| u64::try_from(end).ok())
    }

    pub(super) fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        if self.closing.is_none() {
            self.closing = Some(self.begin(epoch, watermark));
        }
        let mut closing = self.closing.take().expect("set above");
        assert_eq!(closing.epoch, epoch, "one epoch closes at a time");
        let end = (closing.position + OUTPUT_ROWS).min(closing.lines.len());
        let within = closing.position..end;
        let mut output = self.output(&closing.groups[within.clone()], &closing.lines[within]);
        closing.position = end;
        if end < closing.lines.len() {
            self.closing = Some(closing);
            output.more = true;
        } else {
            self.settle(&closing, watermark);
        }
        output
    }

    /// All that happens in an epoch, in order.
    fn begin(&mut self, epoch: u64, watermark: i64) -> Closing {
        let moment = i64::try_from(epoch).unwrap_or(i64::MAX);
        while let Some(tick) = self.ticks.first().copied().filter(|tick| *tick <= moment) {
            self.ticks.pop_first();
            self.tick(tick);
        }
        for batches in self.waiting.until(epoch) {
            if self.trigger.counts() {
                self.count_rows(&batches, epoch);
            } else {
                batches.iter().for_each(|batch| self.add_rows(batch));
            }
        }
        let flushed = self.flushes.first().is_some_and(|flush| *flush <= epoch);
        self.flushes = self.flushes.split_off(&(epoch + 1));
        // A flush that ends the input is why windows come out, not the watermark of an end that has not come by itself.
        let by_hand = flushed && watermark == i64::MAX;
        self.pass_watermark(epoch, watermark, if by_hand { Reason::Manual } else { Reason::Watermark });
        if flushed {
            let due = self.all_groups().into_iter().filter(|group| self.firings.by_group[*group as usize].fresh);
            let due: Vec<Due> = due.map(|group| (group, Reason::Manual, 0)).collect();
            self.fire_next(due, epoch, watermark);
        }
        self.end_windows(epoch, watermark, if by_hand { Reason::Manual } else { Reason::Closing });
        let going = self.limit(epoch, watermark);
        self.arm(moment);
        self.firings.lines(&self.table, epoch, &going)
    }

    /// Lets groups go as limits say; those whose results stay put out what they have not. Returns them.
    fn limit(&mut self, epoch: u64, watermark: i64) -> Vec<(u32, Standing)> {
        let Some(limited) = &mut self.limited else { return Vec::new() };
        let mut touched = std::mem::take(&mut self.touched);
        let going = limited.close(&self.table, self.came.as_deref(), &touched, epoch, watermark);
        let mut due = Vec::new();
        for (group, standing) in &going {
            let told = !self.firings.purge && self.firings.results.tells_final() && self.table.exists(*group);
            let state = &mut self.firings.by_group[*group as usize];
            state.standing = *standing;
            if *standing != Standing::Gone && (state.fresh || told && !state.finished) {
                due.push((*group, Reason::Limit, 0));
            }
            state.fresh = false;
            state.touched = false;
        }
        touched.retain(|group| self.firings.by_group[*group as usize].standing == Standing::Here);
        self.touched = touched;
        self.fire(due, epoch, |_| true);
        going
    }

    fn all_groups(&self) -> Vec<u32> {
        self.table.panes().flat_map(|pane| self.table.pane_groups(pane, false)).collect()
    }

    /// Makes room for the groups of the table.
    fn grow(&mut self) {
        let groups = self.firings.grow(self.table.groups());
        self.words.resize(groups * self.trigger.words(), 0);
        if let Some(came) = &mut self.came {
            came.resize(groups, 0);
        }
    }

    /// Takes the rows of groups that are sealed out of a batch, if there are some, and notes how many came for the others.
    fn take_note(&mut self, batch: &KeyedBatch, groups: &mut Vec<u32>) -> Option<KeyedBatch> {
        let by_group = &self.firings.by_group;
        let sealed = |group: u32| by_group[group as usize].standing == Standing::Sealed;
        let kept = self.limited.as_mut()?.unsealed(batch, groups, sealed);
        if let Some(came) = &mut self.came {
            let batch = kept.as_ref().unwrap_or(batch);
            groups.iter().enumerate().for_each(|(row, group)| came[*group as usize] += rows_of(batch, row) as i64);
        }
        kept
    }

    fn step(&mut self, group: u32, event: Event) -> Option<Reason> {
        let width = self.trigger.words();
        let first = group as usize * width;
        self.trigger.step(&mut self.words[first..first + width], event)
    }

    fn touch(&mut self, group: u32) {
        let state = &mut self.firings.by_group[group as usize];
        state.fresh = true;
        if !std::mem::replace(&mut state.touched, true) {
            self.touched.push(group);
        }
    }

    fn tick(&mut self, tick: i64) {
        let mut due = Vec::new();
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.retain(|group| {
            let stays = self.firings.by_group[*group as usize].fresh;
            let reason = if stays { self.step(*group, Event::Tick(tick)) } else { None };
            due.extend(reason.map(|reason| (*group, reason, 0)));
            let stays = stays && reason.is_none();
            self.firings.by_group[*group as usize].listed = stays;
            stays
        });
        self.fresh = fresh;
        self.fire_next(due, tick.unsigned_abs(), self.watermark);
    }

    /// Rows that are not counted.
    fn add_rows(&mut self, batch: &KeyedBatch) {
        let mut groups = Vec::new();
        self.table.locate(&batch.keys, &batch.hashes, batch.panes.as_deref(), &mut groups);
        self.grow();
        let kept = self.take_note(batch, &mut groups);
        add(&mut self.table, &self.layout, kept.as_ref().unwrap_or(batch), &groups);
        groups.iter().for_each(|group| self.touch(*group));
    }

    /// The rows of an epoch, one by one as far as the trigger can tell.
    fn count_rows(&mut self, batches: &[KeyedBatch], epoch: u64) {
        let batch = KeyedBatch::concat(batches);
        let batch = match order(&self.layout, &batch) {
            Some(order) => batch.take(&order),
            None => batch,
        };
        let mut groups = Vec::new();
        self.table.locate(&batch.keys, &batch.hashes, batch.panes.as_deref(), &mut groups);
        self.grow();
        let batch = self.take_note(&batch, &mut groups).unwrap_or(batch);
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows that are counted travel as they are") };
        let add = |table: &mut GroupTable, rows: &[u32]| {
            let of: Vec<u32> = rows.iter().map(|row| groups[*row as usize]).collect();
            let rows = UInt32Array::from(rows.to_vec());
            let columns: Vec<ArrayRef> = columns.iter().map(|column| take(column, &rows, None).expect("rows lie within")).collect();
            let diffs: Option<Vec<i64>> = diffs.as_ref().map(|diffs| rows.values().iter().map(|row| diffs[*row as usize]).collect());
            table.update(&of, &self.layout.inputs(&columns), diffs.as_deref());
        };
        // The firings of each round with the rows before them; without purge there is one round, of the last firing of each group.
        let mut due: Vec<Vec<Due>> = vec![vec![]];
        let mut rounds: Vec<Vec<u32>> = vec![vec![]];
        for (row, group) in groups.iter().enumerate() {
            let width = self.trigger.words();
            let first = *group as usize * width;
            let fires = self.trigger.step(&mut self.words[first..first + width], Event::Row);
            let state = &mut self.firings.by_group[*group as usize];
            if !std::mem::replace(&mut state.touched, true) {
                self.touched.push(*group);
            }
            state.fresh = true;
            let round = if self.firings.purge { state.mark as usize } else { 0 };
            if self.firings.purge {
                if rounds.len() <= round {
                    rounds.push(vec![]);
                    due.push(vec![]);
                }
                rounds[round].push(row as u32);
            }
            if let Some(reason) = fires {
                state.revision += 1;
                state.fresh = false;
                state.mark = if self.firings.purge { state.mark + 1 } else { row as u32 + 1 };
                due[round].push((*group, reason, state.revision));
            }
        }
        if self.firings.purge {
            for (rows, due) in rounds.iter().zip(due) {
                add(&mut self.table, rows);
                self.firings.put_out(&mut self.table, &due, |_| false, epoch);
            }
        } else {
            let before = |row: &u32| *row < self.firings.by_group[groups[*row as usize] as usize].mark;
            let (before, behind): (Vec<u32>, Vec<u32>) = (0..groups.len() as u32).partition(before);
            let last =
                due.remove(0).into_iter().filter(|(group, _, revision)| self.firings.by_group[*group as usize].revision == *revision);
            let last: Vec<Due> = last.collect();
            add(&mut self.table, &before);
            self.firings.put_out(&mut self.table, &last, |_| false, epoch);
            add(&mut self.table, &behind);
        }
        groups.iter().for_each(|group| self.firings.by_group[*group as usize].mark = 0);
    }

    /// Windows whose end the watermark reaches, for a reason, and those that rows came to behind it.
    fn pass_watermark(&mut self, epoch: u64, watermark: i64, reached: Reason) {
        let before = self.watermark;
        self.watermark = before.max(watermark);
        if self.layout.window.is_none() {
            return;
        }
        let mut due = Vec::new();
        let touched = std::mem::take(&mut self.touched);
        for group in &touched {
            if self.table.pane(*group) > before {
                continue;
            }
            let fires = self.step(*group, Event::Watermark);
            let state = &mut self.firings.by_group[*group as usize];
            if fires.is_some() && state.fresh {
                due.push((*group, Reason::Late, 0));
            }
        }
        self.touched = touched;
        let closing: Vec<i64> = self.table.panes().skip_while(|end| *end <= before).take_while(|end| *end <= watermark).collect();
        for end in closing {
            for group in self.table.pane_groups(end, false) {
                if self.firings.by_group[group as usize].standing == Standing::Sealed {
                    continue;
                }
                let fires = self.step(group, Event::Watermark);
                let state = &mut self.firings.by_group[group as usize];
                let heard = state.fresh || !(self.firings.purge || self.firings.results.tells_nothing());
                if fires.is_some() && heard && (state.fresh || self.table.exists(group)) {
                    due.push((group, reached, 0));
                }
            }
        }
        self.fire_next(due, epoch, watermark);
    }

    /// The windows that no row can reach put out what they have not.
    fn end_windows(&mut self, epoch: u64, watermark: i64, reason: Reason) {
        let mut due = Vec::new();
        for end in self.ended(watermark) {
            for group in self.table.pane_groups(end, false) {
                let state = self.firings.by_group[group as usize];
                let told = !self.firings.purge && self.firings.results.tells_final() && !state.finished && self.table.exists(group);
                if state.fresh || told {
                    due.push((group, reason, 0));
                }
            }
        }
        self.fire_next(due, epoch, watermark);
    }

    /// The panes that no row can reach.
    fn ended(&self, watermark: i64) -> Vec<i64> {
        match &self.layout.window {
            Some(window) => self.table.panes().take_while(|end| end.saturating_add(window.lateness_us) <= watermark).collect(),
            None if watermark == i64::MAX => self.table.panes().collect(),
            None => Vec::new(),
        }
    }

    /// Groups fire once more.
    fn fire_next(&mut self, due: Vec<Due>, epoch: u64, watermark: i64) {
        let lateness = self.layout.window.map(|window| window.lateness_us);
        self.fire(due, epoch, |end| match lateness {
            Some(lateness) => end.saturating_add(lateness) <= watermark,
            None => watermark == i64::MAX,
        });
    }

    fn fire(&mut self, mut due: Vec<Due>, epoch: u64, is_final: impl Fn(i64) -> bool) {
        for (group, _, revision) in &mut due {
            let state = &mut self.firings.by_group[*group as usize];
            state.revision += 1;
            state.fresh = false;
            *revision = state.revision;
        }
        self.firings.put_out(&mut self.table, &due, is_final, epoch);
    }

    /// Asks for the ticks at which the rows of an epoch may fire.
    fn arm(&mut self, moment: i64) {
        let touched = std::mem::take(&mut self.touched);
        let mut armed = false;
        for group in &touched {
            let state = &mut self.firings.by_group[*group as usize];
            state.touched = false;
            if state.fresh {
                armed = true;
                if !std::mem::replace(&mut state.listed, true) {
                    self.fresh.push(*group);
                }
            }
        }
        if armed {
            self.ticks.extend(self.trigger.ticks_after(moment));
        }
    }

    fn output(&self, groups: &[u32], lines: &[(Fired, i64)]) -> Output {
        let key_columns = match self.table.keys(groups) {
            Some(keys) => {
                let ends: Vec<i64> = groups.iter().map(|group| self.table.pane(*group)).collect();
                self.layout.key_columns(&keys, &ends)
            }
            None => self.layout.key_columns(&self.layout.codec.empty(), &[]),
        };
        self.firings.results.output(key_columns, lines)
    }

    /// Forgets groups that have gone, what sealed ones had, and windows that no row can reach.
    fn settle(&mut self, Closing { gone, sealed, .. }: &Closing, watermark: i64) {
        let ended = self.ended(watermark);
        let ended_groups = ended.iter().flat_map(|end| self.table.pane_groups(*end, false));
        let over: Vec<u32> = gone.iter().copied().chain(ended_groups).collect();
        over.iter().chain(sealed).for_each(|group| self.forget(*group));
        sealed.iter().for_each(|group| self.firings.by_group[*group as usize].standing = Standing::Sealed);
        self.table.clear(sealed);
        if let Some(limited) = &mut self.limited {
            limited.leave(gone);
        }
        self.table.release(gone);
        ended.iter().for_each(|end| self.table.release_pane(*end));
        if !over.is_empty() || !sealed.is_empty() {
            self.fresh.retain(|group| self.firings.by_group[*group as usize].listed);
            let groups = self.table.groups();
            self.firings.truncate(groups);
            self.words.truncate(groups * self.trigger.words());
            if let Some(came) = &mut self.came {
                came.truncate(groups);
            }
        }
    }

    fn forget(&mut self, group: u32) {
        let (at, width) = (group as usize, self.trigger.words());
        self.firings.forget(group);
        self.words[at * width..(at + 1) * width].fill(0);
        if let Some(came) = &mut self.came {
            came[at] = 0;
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let words = self.words.capacity() * 8 + self.fresh.capacity() * 4;
        let limited = self.limited.as_ref().map_or(0, |limited| limited.bytes()) + self.came.as_ref().map_or(0, |came| came.capacity() * 8);
        self.table.bytes() + self.waiting.bytes() + words + limited + self.firings.bytes()
    }
}

/// The order of rows by their places, unless they are in it.
pub(super) fn order(layout: &AggregateLayout, batch: &KeyedBatch) -> Option<UInt32Array> {
    let Payload::Raw { columns, .. } = &batch.payload else { return None };
    let [partition, offset] = layout.places.as_slice() else { panic!("rows that are counted have a place") };
    let partitions = columns[*partition].as_primitive::<Int32Type>().values();
    let offsets = columns[*offset].as_primitive::<Int64Type>().values();
    let place = |row: u32| (partitions[row as usize], offsets[row as usize]);
    let rows = batch.len() as u32;
    if (1..rows).all(|row| place(row - 1) <= place(row)) {
        return None;
    }
    let mut order: Vec<u32> = (0..rows).collect();
    order.sort_by_key(|row| place(*row));
    Some(UInt32Array::from(order))
}
