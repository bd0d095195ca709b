//! # Triggers of sessions
//!
//! Each session has a trigger of its own. Two that become one have counted together, and what each had put out is taken back when the one
//! they became fires. The result of a firing has the bounds that the session had then. Rows that are late for a session of their own
//! are added behind the others of the epoch in which it is known which session holds them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use tidemark_planner::plan::FiringPlan;

use super::fired::{Fired, Firing, Results};
use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::output::Output;
use super::sessions::{Sessions, by_key};
use super::trigger::{Event, Reason, Trigger};

/// A session's key, start and end.
type Bounds = (u32, i64, i64);

#[derive(Debug)]
pub(super) struct SessionTriggers {
    layout: Arc<AggregateLayout>,
    trigger: Trigger,
    purge: bool,
    results: Results,
    by_session: Vec<SessionState>,
    /// The trigger's state of each session.
    words: Vec<u64>,
    /// What stands of each session and of those it was made of.
    shown: Vec<Vec<(Bounds, Fired)>>,
    /// Sessions that may have something new for the next tick.
    fresh: Vec<u32>,
    ticks: BTreeSet<i64>,
    flushes: BTreeSet<u64>,
    /// The changes of the epoch that closes, as they came.
    lines: Vec<(Bounds, Fired, i64)>,
    epoch: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct SessionState {
    revision: u32,
    /// Rows came since it fired last.
    fresh: bool,
    /// It stands in the list of those.
    listed: bool,
}

/// The changes of an epoch, in order.
#[derive(Debug)]
pub(super) struct Lines {
    bounds: Vec<Bounds>,
    lines: Vec<(Fired, i64)>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

impl SessionTriggers {
    pub(super) fn new(layout: Arc<AggregateLayout>, firing: &FiringPlan) -> Self {
        Self {
            trigger: Trigger::new(&firing.trigger),
            purge: firing.purge,
            results: Results::new(layout.clone()),
            layout,
            by_session: Vec::new(),
            words: Vec::new(),
            shown: Vec::new(),
            fresh: Vec::new(),
            ticks: BTreeSet::new(),
            flushes: BTreeSet::new(),
            lines: Vec::new(),
            epoch: 0,
        }
    }

    pub(super) fn flush(&mut self, epoch: u64) {
        self.flushes.insert(epoch);
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        self.ticks.first().and_then(|tick| u64::try_from(*tick).ok())
    }

    /// An epoch closes: the ticks up to it come before its rows.
    pub(super) fn begin(&mut self, sessions: &mut Sessions, epoch: u64) {
        while let Some(tick) = self.ticks.first().copied().filter(|tick| *tick <= moment(epoch)) {
            self.ticks.pop_first();
            self.epoch = tick.unsigned_abs();
            let mut due = Vec::new();
            let mut fresh = std::mem::take(&mut self.fresh);
            fresh.sort_unstable();
            fresh.dedup();
            fresh.retain(|session| {
                let stays = self.by_session[*session as usize].fresh;
                let reason = if stays { self.step(*session, Event::Tick(tick)) } else { None };
                due.extend(reason.map(|reason| (*session, reason)));
                let stays = stays && reason.is_none();
                self.by_session[*session as usize].listed = stays;
                stays
            });
            self.fresh = fresh;
            self.fire(sessions, &due, false);
        }
        self.epoch = epoch;
    }

    /// The rows of an epoch, each by itself, in the order of their places, where the trigger counts them.
    pub(super) fn in_order(&self, batches: Vec<KeyedBatch>) -> Vec<KeyedBatch> {
        let [partition, offset] = self.layout.places.as_slice() else { return batches };
        let mut order: Vec<(i32, i64, usize, u32)> = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let Payload::Raw { columns, .. } = &batch.payload else { panic!("rows of sessions travel as they are") };
            let partitions = columns[*partition].as_primitive::<Int32Type>().values();
            let offsets = columns[*offset].as_primitive::<Int64Type>().values();
            order.extend(partitions.iter().zip(offsets).zip(0..).map(|((partition, offset), row)| (*partition, *offset, at, row)));
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, at, row)| batches[at].take(&vec![row].into())).collect()
    }

    /// Takes note of rows that were added, and of sessions that became one by them.
    pub(super) fn note(&mut self, sessions: &mut Sessions) {
        let log = sessions.take_log();
        let (slots, width) = (sessions.slots().max(self.by_session.len()), self.trigger.words());
        self.by_session.resize(slots, SessionState::default());
        self.shown.resize_with(slots, Vec::new);
        self.words.resize(slots * width, 0);
        for (gone, into) in log.joined {
            let (from, to) = (gone as usize, into as usize);
            let state = std::mem::take(&mut self.by_session[from]);
            self.by_session[to].revision = self.by_session[to].revision.max(state.revision);
            self.by_session[to].fresh |= state.fresh;
            let shown = std::mem::take(&mut self.shown[from]);
            self.shown[to].extend(shown);
            let words: Vec<u64> = self.words[from * width..(from + 1) * width].to_vec();
            self.trigger.merge(&mut self.words[to * width..(to + 1) * width], &words);
            self.words[from * width..(from + 1) * width].fill(0);
            self.list(into);
        }
        let mut due = Vec::new();
        for session in log.added {
            self.by_session[session as usize].fresh = true;
            self.list(session);
            if self.trigger.counts() {
                due.extend(self.step(session, Event::Row).map(|reason| (session, reason)));
            }
        }
        // Rows that came together: one firing of a session puts out all of them.
        due.sort_by_key(|(session, _)| *session);
        due.dedup_by_key(|(session, _)| *session);
        self.fire(sessions, &due, false);
    }

    fn list(&mut self, session: u32) {
        let state = &mut self.by_session[session as usize];
        if state.fresh && !std::mem::replace(&mut state.listed, true) {
            self.fresh.push(session);
        }
    }

    fn step(&mut self, session: u32, event: Event) -> Option<Reason> {
        let width = self.trigger.words();
        let first = session as usize * width;
        self.trigger.step(&mut self.words[first..first + width], event)
    }

    /// All rows of the epoch are in: sessions that are over fire for the last time.
    pub(super) fn end(&mut self, sessions: &mut Sessions, over: &[u32], epoch: u64) -> Lines {
        let mut due = Vec::new();
        for session in over {
            let fires = self.step(*session, Event::Watermark);
            let told = if fires.is_some() { !self.results.tells_nothing() } else { self.results.tells_final() };
            if self.by_session[*session as usize].fresh || (told && !self.purge) {
                due.push((*session, if fires.is_some() { Reason::SessionEnd } else { Reason::Closing }));
            }
        }
        self.fire(sessions, &due, true);
        if self.flushes.first().is_some_and(|flush| *flush <= epoch) {
            self.flushes = self.flushes.split_off(&(epoch + 1));
            let mut fresh = self.fresh.clone();
            fresh.sort_unstable();
            fresh.dedup();
            fresh.retain(|session| self.by_session[*session as usize].fresh);
            let due: Vec<_> = fresh.into_iter().map(|session| (session, Reason::Manual)).collect();
            self.fire(sessions, &due, false);
        }
        for session in over {
            let (at, width) = (*session as usize, self.trigger.words());
            self.by_session[at] = SessionState::default();
            self.shown[at] = Vec::new();
            self.words[at * width..(at + 1) * width].fill(0);
        }
        self.fresh.retain(|session| self.by_session[*session as usize].fresh);
        if !self.fresh.is_empty() {
            self.ticks.extend(self.trigger.ticks_after(moment(epoch)));
        }
        self.in_lines(sessions)
    }

    /// Sessions put out what they are now, in place of what stands of them.
    fn fire(&mut self, sessions: &mut Sessions, due: &[(u32, Reason)], is_final: bool) {
        if due.is_empty() {
            return;
        }
        let all: Vec<u32> = due.iter().map(|(session, _)| *session).collect();
        let mut failed = Vec::new();
        let columns: Vec<ArrayRef> = sessions.states.evaluate(&all, &mut failed);
        let at = self.epoch;
        let by_session = &mut self.by_session;
        let firings: Vec<Firing> = due
            .iter()
            .map(|(session, reason)| {
                let state = &mut by_session[*session as usize];
                state.revision += 1;
                state.fresh = false;
                Firing { reason: *reason, revision: state.revision, is_final, at }
            })
            .collect();
        for (session, new) in all.iter().zip(self.results.keep(&columns, failed, firings.into_iter())) {
            let of = sessions.get(*session);
            let bounds = (of.key, of.start, of.end);
            let shown = &mut self.shown[*session as usize];
            self.lines.extend(shown.drain(..).map(|(bounds, old)| (bounds, old, -1)));
            self.lines.push((bounds, new.clone(), 1));
            if !self.purge {
                shown.push((bounds, new));
            }
        }
        if self.purge {
            sessions.states.clear(&all);
        }
    }

    /// The changes by end, start and key, without those that another undid.
    fn in_lines(&mut self, sessions: &Sessions) -> Lines {
        let mut lines = std::mem::take(&mut self.lines);
        let span = |line: &(Bounds, Fired, i64)| (line.0.2, line.0.1);
        lines.sort_by_key(|line| (span(line), line.0.0));
        let mut out = Lines { bounds: Vec::with_capacity(lines.len()), lines: Vec::with_capacity(lines.len()) };
        for alike in lines.chunk_by(|left, right| span(left) == span(right)) {
            let of_keys: Vec<_> = alike.chunk_by(|left, right| left.0.0 == right.0.0).collect();
            let pairs = of_keys.iter().enumerate().map(|(at, lines)| (lines[0].0.0, at)).collect();
            for (_, at) in by_key(&sessions.keys, pairs) {
                let first = out.lines.len();
                for (bounds, fired, diff) in of_keys[at] {
                    let undone = |last: &(Fired, i64)| last.1 == -diff && self.results.same(&last.0, fired);
                    if out.lines.len() > first && out.lines.last().is_some_and(undone) {
                        out.lines.pop();
                        out.bounds.pop();
                    } else {
                        out.lines.push((fired.clone(), *diff));
                        out.bounds.push(*bounds);
                    }
                }
            }
        }
        out
    }

    /// Some of the changes as output.
    pub(super) fn output(&self, sessions: &Sessions, lines: &Lines, within: std::ops::Range<usize>) -> Output {
        let bounds = &lines.bounds[within.clone()];
        let keys: Vec<u32> = bounds.iter().map(|(key, ..)| *key).collect();
        let starts: Vec<i64> = bounds.iter().map(|(_, start, _)| *start).collect();
        let ends: Vec<i64> = bounds.iter().map(|(.., end)| *end).collect();
        let keys = if keys.is_empty() { self.layout.codec.empty() } else { sessions.keys.rows(&keys) };
        self.results.output(self.layout.session_columns(&keys, &starts, &ends), &lines.lines[within])
    }

    pub(super) fn bytes(&self) -> usize {
        let shown: usize = self.shown.iter().flatten().map(|(_, fired)| fired.bytes() + size_of::<Bounds>()).sum();
        shown + self.words.capacity() * 8 + self.by_session.capacity() * size_of::<SessionState>()
    }
}

fn moment(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
