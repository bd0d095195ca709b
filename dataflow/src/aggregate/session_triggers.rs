//! # Triggers of sessions
//!
//! Each session has a trigger of its own. Two that become one have counted together, and what each had put out is taken back when the one
//! they became fires. The result of a firing has the bounds that the session had then. Rows that are late for a session of their own
//! are added behind the others of the epoch in which it is known which session holds them.
//!
//! **No result outlives its end.** A session that has grown since it came out may go on for as long as rows come, and what had come out
//! of it would be taken back far behind the watermark, when windows over it are closed. So what stands of a session that has grown is taken
//! back when the watermark passes the end that it had, at the latest: a result whose `window_end` has passed is that of a session which
//! has ended.
//!
//! **Rows that are taken back** make the sessions of their key anew. One that becomes another one, or is joined with others, goes on as
//! that; what stands of one that falls apart, or is gone, is taken back at once, and its parts remember what had occurred to it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use tidemark_planner::plan::FiringPlan;

use super::fired::{Fired, Firing, Results};
use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::output::Output;
use super::session_limits::Going;
use super::sessions::{Log, Remade, Sessions, by_key};
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
    /// Sessions that changed in the epoch.
    touched: Vec<u32>,
    /// When the watermark makes a session be looked at: at its end, and at the end of what stands of it; not behind either.
    ends: BinaryHeap<Reverse<(i64, u32)>>,
    /// The watermark of the epoch that was closed last.
    watermark: i64,
    ticks: BTreeSet<i64>,
    flushes: BTreeSet<u64>,
    /// The changes of the epoch that closes, as they came.
    lines: Vec<(Bounds, Fired, i64)>,
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct SessionState {
    revision: u32,
    /// Rows came since it fired last.
    fresh: bool,
    /// It stands in the list of those.
    listed: bool,
    /// It changed in the epoch.
    touched: bool,
    /// It has fired for the last time.
    finished: bool,
    /// When the watermark makes it be looked at; `i64::MIN`: it has passed.
    queued: i64,
}

impl Default for SessionState {
    fn default() -> Self {
        Self { revision: 0, fresh: false, listed: false, touched: false, finished: false, queued: i64::MIN }
    }
}

/// What is known of one session.
#[derive(Clone, Debug)]
struct Known {
    state: SessionState,
    words: Vec<u64>,
    shown: Vec<(Bounds, Fired)>,
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
            touched: Vec::new(),
            ends: BinaryHeap::new(),
            watermark: i64::MIN,
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
            self.fire(sessions, &due, i64::MIN);
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

    /// Makes room for the sessions there are.
    fn grow(&mut self, sessions: &Sessions) {
        let slots = sessions.slots().max(self.by_session.len());
        self.by_session.resize(slots, SessionState::default());
        self.shown.resize_with(slots, Vec::new);
        self.words.resize(slots * self.trigger.words(), 0);
    }

    /// Takes note of rows that were added, and of sessions that became one by them.
    pub(super) fn note(&mut self, sessions: &mut Sessions, log: &Log) {
        self.grow(sessions);
        for (gone, into) in &log.joined {
            let from = self.take(*gone);
            self.give(*into, from);
        }
        let mut due = Vec::new();
        for session in log.added.iter().copied() {
            self.by_session[session as usize].fresh = true;
            self.touch(session, sessions);
            if self.trigger.counts() {
                due.extend(self.step(session, Event::Row).map(|reason| (session, reason)));
            }
        }
        // Rows that came together: one firing of a session puts out all of them.
        due.sort_by_key(|(session, _)| *session);
        due.dedup_by_key(|(session, _)| *session);
        self.fire(sessions, &due, i64::MIN);
    }

    /// Takes note of sessions that were made anew, since rows were taken back. What was there and what is there are in the order of keys.
    pub(super) fn note_remade(&mut self, sessions: &Sessions, remade: Remade) {
        self.grow(sessions);
        // The new ones stand in the places of the old.
        let old: Vec<_> = remade.old.into_iter().map(|(slot, session)| (session, self.take(slot))).collect();
        let first_of = |key: u32| old.partition_point(|(session, _)| session.key < key);
        let mut heirs: Vec<Vec<u32>> = vec![vec![]; old.len()];
        for (slot, changed) in remade.new {
            let new = *sessions.get(slot);
            let mut alike = false;
            for at in first_of(new.key)..first_of(new.key + 1) {
                let was = &old[at].0;
                if was.from < new.end && new.from < was.end {
                    heirs[at].push(slot);
                    alike |= (was.start, was.end) == (new.start, new.end);
                }
            }
            if changed || !alike {
                self.by_session[slot as usize].fresh = true;
                self.touch(slot, sessions);
            } else {
                self.queue(slot, new.end);
            }
        }
        for ((_, mut from), heirs) in old.into_iter().zip(heirs) {
            if heirs.len() != 1 {
                self.lines.extend(from.shown.drain(..).map(|(bounds, fired)| (bounds, fired, -1)));
            }
            for heir in &heirs {
                self.give(*heir, from.clone());
                // What falls apart has changed.
                self.by_session[*heir as usize].fresh |= heirs.len() > 1;
                if self.by_session[*heir as usize].fresh {
                    self.touch(*heir, sessions);
                }
            }
        }
    }

    /// Takes what is known of a session away from its place.
    fn take(&mut self, session: u32) -> Known {
        let (at, width) = (session as usize, self.trigger.words());
        let words = self.words[at * width..(at + 1) * width].to_vec();
        self.words[at * width..(at + 1) * width].fill(0);
        Known { state: std::mem::take(&mut self.by_session[at]), words, shown: std::mem::take(&mut self.shown[at]) }
    }

    /// A session goes on as another one.
    fn give(&mut self, session: u32, from: Known) {
        let (at, width) = (session as usize, self.trigger.words());
        let state = &mut self.by_session[at];
        state.revision = state.revision.max(from.state.revision);
        state.fresh |= from.state.fresh;
        self.trigger.merge(&mut self.words[at * width..(at + 1) * width], &from.words);
        for (bounds, _) in &from.shown {
            self.queue(session, bounds.2);
        }
        self.shown[at].extend(from.shown);
        self.list(session);
    }

    /// A session changed in this epoch.
    fn touch(&mut self, session: u32, sessions: &Sessions) {
        if !std::mem::replace(&mut self.by_session[session as usize].touched, true) {
            self.touched.push(session);
        }
        self.list(session);
        self.queue(session, sessions.get(session).end);
    }

    fn list(&mut self, session: u32) {
        let state = &mut self.by_session[session as usize];
        if state.fresh && !std::mem::replace(&mut state.listed, true) {
            self.fresh.push(session);
        }
    }

    /// A session is to be looked at when the watermark passes a time, if not before.
    fn queue(&mut self, session: u32, at: i64) {
        let queued = &mut self.by_session[session as usize].queued;
        if at > self.watermark && (*queued == i64::MIN || at < *queued) {
            *queued = at;
            self.ends.push(Reverse((at, session)));
        }
    }

    fn step(&mut self, session: u32, event: Event) -> Option<Reason> {
        let width = self.trigger.words();
        let first = session as usize * width;
        self.trigger.step(&mut self.words[first..first + width], event)
    }

    /// All rows of the epoch are in, and the watermark has come. `over` are the sessions that no row can reach any more.
    pub(super) fn end(&mut self, sessions: &mut Sessions, over: &[u32], epoch: u64, watermark: i64) {
        let before = self.watermark;
        self.watermark = before.max(watermark);
        let flushed = self.flushes.first().is_some_and(|flush| *flush <= epoch);
        self.flushes = self.flushes.split_off(&(epoch + 1));
        // A flush that ends the input is why sessions come out, not the watermark of an end that has not come by itself.
        let by_hand = flushed && watermark == i64::MAX;
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|session| std::mem::take(&mut self.by_session[*session as usize].touched));
        let passed = self.passed();
        let mut due = Vec::new();
        for session in touched.iter().copied().filter(|session| sessions.get(*session).end <= before) {
            if self.step(session, Event::Watermark).is_some() && self.by_session[session as usize].fresh {
                due.push((session, Reason::Late));
            }
        }
        for session in passed.iter().copied().filter(|session| (before + 1..=watermark).contains(&sessions.get(*session).end)) {
            let fires = self.step(session, Event::Watermark).is_some();
            let fresh = self.by_session[session as usize].fresh;
            let heard = fresh || !(self.purge || self.results.tells_nothing());
            if fires && heard && (fresh || sessions.states.exists(session)) {
                due.push((session, if by_hand { Reason::Manual } else { Reason::SessionEnd }));
            }
        }
        self.fire(sessions, &due, watermark);
        if flushed {
            let mut fresh = self.fresh.clone();
            fresh.sort_unstable();
            fresh.dedup();
            fresh.retain(|session| self.by_session[*session as usize].fresh);
            let due: Vec<_> = fresh.into_iter().map(|session| (session, Reason::Manual)).collect();
            self.fire(sessions, &due, watermark);
        }
        let last = if by_hand { Reason::Manual } else { Reason::Closing };
        let closing = over.iter().copied().filter(|session| self.has_to_tell(*session, sessions));
        let due: Vec<_> = closing.map(|session| (session, last)).collect();
        self.fire(sessions, &due, watermark);
        for session in over {
            self.take(*session);
        }
        touched.iter().chain(&passed).for_each(|session| self.outlive(*session, sessions));
    }

    /// Whether a session that will not fire again has something to put out.
    fn has_to_tell(&self, session: u32, sessions: &Sessions) -> bool {
        let state = self.by_session[session as usize];
        let tells = !self.purge && self.results.tells_final();
        state.fresh || tells && !state.finished && sessions.states.exists(session)
    }

    /// Limits let sessions go: what has come out of some is taken back, others put out what they have not.
    pub(super) fn let_go(&mut self, sessions: &mut Sessions, going: &Going) {
        let due = going.staying.iter().copied().filter(|session| self.has_to_tell(*session, sessions));
        let due: Vec<_> = due.map(|session| (session, Reason::Limit)).collect();
        // They do not fire again.
        self.fire(sessions, &due, i64::MAX);
        for session in &going.staying {
            self.take(*session);
        }
        for session in &going.gone {
            let shown = self.take(*session).shown;
            self.lines.extend(shown.into_iter().map(|(bounds, old)| (bounds, old, -1)));
        }
        if self.purge && !going.gone.is_empty() {
            // They are not taken in: nothing of the epoch comes out. Sessions of a key do not overlap, so their ends tell them apart.
            let mut spans: Vec<Bounds> = going.gone.iter().map(|at| sessions.get(*at)).map(|it| (it.key, it.from, it.end)).collect();
            spans.sort_unstable();
            self.lines.retain(|((key, _, end), ..)| {
                let at = spans.partition_point(|(other, from, _)| (other, from) < (key, end));
                at.checked_sub(1).is_none_or(|at| spans[at].0 != *key || spans[at].2 < *end)
            });
        }
    }

    /// The changes of the epoch, which is over.
    pub(super) fn lines(&mut self, sessions: &Sessions) -> Lines {
        self.fresh.retain(|session| {
            let state = &mut self.by_session[*session as usize];
            // The list may hold a place twice, for the session that had it and for the one that has.
            state.listed &= state.fresh;
            state.listed
        });
        if !self.fresh.is_empty() {
            self.ticks.extend(self.trigger.ticks_after(moment(self.epoch)));
        }
        self.in_lines(sessions)
    }

    /// The sessions that are to be looked at now that the watermark has come so far.
    fn passed(&mut self) -> Vec<u32> {
        let mut passed = Vec::new();
        while let Some(Reverse((at, session))) = self.ends.peek().copied().filter(|Reverse((at, _))| *at <= self.watermark) {
            self.ends.pop();
            if self.by_session[session as usize].queued == at {
                self.by_session[session as usize].queued = i64::MIN;
                passed.push(session);
            }
        }
        passed
    }

    /// Takes back what stands of a session with an end that has passed and is not its own, and looks at the session again when the next end
    /// does.
    fn outlive(&mut self, session: u32, sessions: &Sessions) {
        let at = session as usize;
        if self.shown[at].is_empty() && self.by_session[at].queued != i64::MIN {
            return;
        }
        let of = sessions.get(session);
        if !of.alive {
            return;
        }
        let watermark = self.watermark;
        let stale = |(bounds, _): &(Bounds, Fired)| bounds.2 <= watermark && bounds.2 < of.end;
        for (bounds, old) in self.shown[at].extract_if(.., |shown| stale(shown)) {
            self.lines.push((bounds, old, -1));
        }
        let next = self.shown[at].iter().map(|(bounds, _)| bounds.2).filter(|end| *end > watermark).fold(of.end, i64::min);
        self.queue(session, next);
    }

    /// Sessions put out what they are now, in place of what stands of them. At this watermark those that no row can reach have fired for
    /// the last time.
    fn fire(&mut self, sessions: &mut Sessions, due: &[(u32, Reason)], watermark: i64) {
        if due.is_empty() {
            return;
        }
        let all: Vec<u32> = due.iter().map(|(session, _)| *session).collect();
        let mut failed = Vec::new();
        let columns: Vec<ArrayRef> = sessions.states.evaluate(&all, &mut failed);
        let at = self.epoch;
        let (by_session, lateness) = (&mut self.by_session, self.layout.session_lateness());
        let firings: Vec<(bool, Firing)> = due
            .iter()
            .map(|(session, reason)| {
                let is_final = sessions.get(*session).end.saturating_add(lateness) <= watermark;
                let state = &mut by_session[*session as usize];
                state.revision += 1;
                state.fresh = false;
                state.finished = is_final;
                (sessions.states.exists(*session), Firing { reason: *reason, revision: state.revision, is_final, at })
            })
            .collect();
        for (session, new) in all.iter().zip(self.results.keep(&columns, failed, firings.into_iter())) {
            let of = sessions.get(*session);
            let bounds = (of.key, of.start, of.end);
            let shown = &mut self.shown[*session as usize];
            self.lines.extend(shown.drain(..).map(|(bounds, old)| (bounds, old, -1)));
            // All its rows may have been taken back.
            if !new.exists {
                continue;
            }
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
        let lists = self.ends.capacity() * 16 + (self.fresh.capacity() + self.touched.capacity()) * 4;
        shown + lists + self.words.capacity() * 8 + self.by_session.capacity() * size_of::<SessionState>()
    }
}

fn moment(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
