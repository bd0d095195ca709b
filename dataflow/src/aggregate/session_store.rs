//! # Results of sessions
//!
//! EMIT FINAL: a session comes out when the watermark reaches its end. EMIT CHANGES: when an epoch closes, the sessions that its rows
//! touched come out as they were, taken back, and as they are now: two that became one, one that became two, one that grew.
//! Late rows wait until the watermark has passed theirs: until then a session may come to hold them (see [`super::session`]).
//! Limits look at sessions as the rows of an epoch leave them, when those that are over are known.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::{concat, interleave, take};
use tidemark_planner::plan::{Emit, LateStrategy};

use super::admit::{Admission, Fate, fate};
use super::changes::equal_rows;
use super::keyed_batch::{KeyedBatch, Payload};
use super::late::{Homeless, LateRows};
use super::layout::AggregateLayout;
use super::limited::LimitReport;
use super::output::{Emission, GroupError, OUTPUT_ROWS, Output, describe};
use super::session::{NONE, in_time, late_us};
use super::session_instants::Instants;
use super::session_limits::{Going, SessionLimits};
use super::session_triggers::{Lines, SessionTriggers};
use super::sessions::{Sessions, by_key, came_of, times_of};
use super::waiting::Waiting;

#[derive(Debug)]
pub(super) struct SessionStore {
    layout: Arc<AggregateLayout>,
    gap: i64,
    /// How far the watermark that sessions are kept by is behind the one that closes them.
    lateness: i64,
    sessions: Sessions,
    /// When they come out, where a trigger says so.
    triggers: Option<Box<SessionTriggers>>,
    limits: Option<Box<SessionLimits>>,
    /// The rows by instant, where they can be taken back.
    instants: Option<Instants>,
    /// Late rows that no session holds yet.
    late: Vec<KeyedBatch>,
    /// What became of late rows that no session holds.
    too_late: LateRows,
    /// Those of them that are wanted.
    homeless: Vec<KeyedBatch>,
    /// Rows of epochs that are not current, under EMIT CHANGES.
    waiting: Waiting,
    closing: Option<Closing>,
    closed: i64,
    /// Keys of sessions that a limit has let go in the epoch.
    left_keys: Vec<u32>,
}

/// What is coming out.
#[derive(Debug)]
struct Closing {
    what: What,
    position: usize,
}

#[derive(Debug)]
enum What {
    /// Sessions that are over, and those of them that have rows.
    Over { over: Vec<u32>, shown: Vec<u32> },
    /// Sessions that are over, and what the epoch has changed.
    Changed { over: Vec<u32>, items: Vec<Item>, old: Vec<ArrayRef> },
    /// Sessions that are over, and what came out in the epoch as triggers fired.
    Fired { over: Vec<u32>, lines: Lines },
}

/// A result that was, or is, or both.
#[derive(Clone, Copy, Debug)]
struct Item {
    key: u32,
    start: i64,
    end: i64,
    old: u32,
    session: u32,
}

impl SessionStore {
    pub(super) fn new(layout: Arc<AggregateLayout>, workers: usize) -> Self {
        let gap = layout.session_gap().expect("the windows are sessions");
        let mut sessions = Sessions::new(layout.clone(), gap, layout.emit == Emit::Changes);
        let triggers = layout.session_firing().map(|firing| Box::new(SessionTriggers::new(layout.clone(), &firing)));
        let limits = SessionLimits::new(&layout, workers, gap).map(Box::new);
        if triggers.is_some() || limits.is_some() {
            sessions.keep_log();
        }
        Self {
            gap,
            lateness: layout.session_lateness(),
            sessions,
            triggers,
            limits,
            instants: layout.retractable.then(|| Instants::new(layout.clone(), gap)),
            layout,
            late: Vec::new(),
            too_late: LateRows::default(),
            homeless: Vec::new(),
            waiting: Waiting::default(),
            closing: None,
            closed: i64::MIN,
            left_keys: Vec::new(),
        }
    }

    /// Rows of later epochs cannot meet what an earlier one closes. But limits speak of the rows of one epoch, and changes are its own.
    fn waits(&self) -> bool {
        self.triggers.is_none() && (self.layout.emit == Emit::Changes || self.limits.is_some())
    }

    /// Tells triggers and limits what became of rows.
    fn note(&mut self) {
        if self.triggers.is_none() && self.limits.is_none() {
            return;
        }
        let log = self.sessions.take_log();
        if let Some(limits) = &mut self.limits {
            limits.note(&self.sessions, &log);
        }
        if let Some(triggers) = &mut self.triggers {
            triggers.note(&mut self.sessions, &log);
        }
    }

    pub(super) fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        // Where a trigger speaks, the ticks up to an epoch come before its rows.
        let now = self.waiting.is_turn(epoch) && self.closing.is_none() && self.triggers.is_none();
        if now || !self.waits() && self.triggers.is_none() {
            self.apply(batch);
        } else {
            self.waiting.push(epoch, batch);
        }
    }

    pub(super) fn advance(&mut self, frontier: u64) {
        if self.waits() {
            for batch in self.waiting.advance(frontier, self.closing.is_some()) {
                self.apply(batch);
            }
        }
    }

    fn apply(&mut self, batch: KeyedBatch) {
        let kept = self.limits.as_mut().and_then(|limits| limits.unsealed(&batch));
        let batch = kept.unwrap_or(batch);
        if !batch.is_empty() {
            self.take_in(batch);
            self.note();
        }
    }

    fn take_in(&mut self, batch: KeyedBatch) {
        let times = times_of(&batch);
        let least = times.iter().zip(came_of(&self.layout, &batch).unwrap_or(times)).map(|(time, came)| *time.max(came)).min();
        assert!(least.is_none_or(|least| least >= self.closed), "a row came at {least:?}, before {} which is over", self.closed);
        if let Some(instants) = &mut self.instants {
            return instants.add(&mut self.sessions, &batch);
        }
        let Some(came) = came_of(&self.layout, &batch) else { return self.sessions.add(&batch) };
        let rows = || times_of(&batch).iter().zip(came);
        if rows().all(|(time, came)| in_time(*time, *came, self.gap)) {
            return self.sessions.add(&batch);
        }
        let (mut good, mut late) = (Vec::new(), Vec::new());
        for (row, (time, came)) in rows().enumerate() {
            let side = if in_time(*time, *came, self.gap) { &mut good } else { &mut late };
            side.push(row as u32);
        }
        let good = batch.take(&UInt32Array::from(good));
        self.late.push(batch.take(&UInt32Array::from(late)));
        if !good.is_empty() {
            self.sessions.add(&good);
        }
    }

    /// Puts late rows into the sessions that hold them; those that none will hold are too late.
    fn place_late(&mut self, watermark: i64) {
        let strategy = self.layout.window.map_or(LateStrategy::Drop, |window| window.late);
        if matches!(strategy, LateStrategy::IncludeInNextWindow | LateStrategy::PutOut { moves: true }) {
            return self.move_late(watermark);
        }
        let fate = fate(Admission::TooLate, strategy);
        for batch in std::mem::take(&mut self.late) {
            let kept = self.limits.as_mut().and_then(|limits| limits.unsealed(&batch));
            let batch = kept.unwrap_or(batch);
            if batch.is_empty() {
                continue;
            }
            self.sessions.intern(&batch);
            let came = came_of(&self.layout, &batch).expect("late rows say when they came");
            let (mut held, mut sessions, mut waiting, mut homeless) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (row, (time, came)) in times_of(&batch).iter().zip(came).enumerate() {
                match self.sessions.find(self.sessions.ids[row], *time, *came) {
                    Some(session) => {
                        held.push(row as u32);
                        sessions.push(session);
                    }
                    None if *came < watermark => {
                        self.too_late.note(fate, late_us(*time, *came, self.gap, self.lateness));
                        homeless.push(row as u32);
                    }
                    None => waiting.push(row as u32),
                }
            }
            let keys = self.sessions.ids.clone();
            self.sessions.forget_keys(keys);
            if !held.is_empty() {
                self.sessions.add_late(&batch.take(&UInt32Array::from(held)), sessions);
                self.note();
            }
            if !waiting.is_empty() {
                self.late.push(batch.take(&UInt32Array::from(waiting)));
            }
            if self.layout.carries_late() && !homeless.is_empty() {
                self.homeless.push(batch.take(&UInt32Array::from(homeless)));
            }
        }
    }

    /// The same, but a row that none will hold counts as if it had happened at its watermark. It may then hold others, so late rows are
    /// placed one by one, in the order of when they came: one that came later cannot have held one that came before.
    fn move_late(&mut self, watermark: i64) {
        let batches = std::mem::take(&mut self.late);
        let mut order: Vec<(i64, usize, u32)> = Vec::new();
        for (place, batch) in batches.iter().enumerate() {
            let came = came_of(&self.layout, batch).expect("late rows say when they came");
            order.extend(came.iter().zip(0..).map(|(came, row)| (*came, place, row)));
        }
        order.sort_unstable();
        let mut waiting = Vec::new();
        for (came, place, row) in order {
            let one = batches[place].take(&UInt32Array::from(vec![row]));
            if self.limits.as_mut().is_some_and(|limits| limits.unsealed(&one).is_some()) {
                continue;
            }
            let time = times_of(&one)[0];
            self.sessions.intern(&one);
            let key = self.sessions.ids[0];
            match self.sessions.find(key, time, came) {
                Some(session) => {
                    self.sessions.add_late(&one, vec![session]);
                    self.note();
                }
                None if came < watermark => {
                    if self.layout.carries_late() {
                        self.homeless.push(one.clone());
                    } else {
                        self.too_late.note(Fate::Moves, late_us(time, came, self.gap, self.lateness));
                    }
                    let moved = moved(&self.layout, one, came.saturating_add(self.lateness));
                    if self.limits.as_mut().is_none_or(|limits| limits.unsealed(&moved).is_none()) {
                        self.sessions.add(&moved);
                        self.note();
                    } else {
                        self.sessions.forget_keys([key]);
                    }
                }
                None => {
                    self.sessions.forget_keys([key]);
                    waiting.push(one);
                }
            }
        }
        if !waiting.is_empty() {
            self.late.push(KeyedBatch::concat(&waiting));
        }
    }

    pub(super) fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        let kept = if watermark == i64::MAX { watermark } else { watermark.saturating_sub(self.lateness) };
        if self.closing.is_none() {
            if let Some(triggers) = &mut self.triggers {
                triggers.begin(&mut self.sessions, epoch);
            }
            for mut batches in self.waiting.until(epoch) {
                if let Some(triggers) = &self.triggers {
                    batches = triggers.in_order(batches);
                }
                batches.into_iter().for_each(|batch| self.apply(batch));
            }
            match &mut self.instants {
                None => self.place_late(kept),
                Some(instants) => {
                    let remade = instants.rebuild(&mut self.sessions);
                    if let Some(limits) = &mut self.limits {
                        limits.note_remade(&self.sessions, &remade);
                    }
                    if let Some(triggers) = &mut self.triggers {
                        triggers.note_remade(&self.sessions, remade);
                    }
                }
            }
            let mut over = self.sessions.take_due(kept);
            if let Some(triggers) = &mut self.triggers {
                triggers.end(&mut self.sessions, &over, epoch, watermark);
            }
            let staying = self.limit(&over, epoch, watermark);
            over.extend(staying);
            let what = match self.layout.emit {
                _ if self.triggers.is_some() => {
                    let triggers = self.triggers.as_mut().expect("just seen");
                    What::Fired { over, lines: triggers.lines(&self.sessions) }
                }
                Emit::Triggered => unreachable!("a plan that waits for a trigger has one"),
                Emit::Final if self.layout.puts_out_late() => What::Over { over, shown: vec![] },
                Emit::Final => {
                    let shown = over.iter().copied().filter(|session| self.sessions.states.exists(*session)).collect();
                    What::Over { over, shown }
                }
                Emit::Changes => self.changed(over),
            };
            self.closing = Some(Closing { what, position: 0 });
        }
        let mut closing = self.closing.take().expect("set above");
        let (mut output, all) = match &closing.what {
            What::Over { shown, .. } => {
                let end = (closing.position + OUTPUT_ROWS).min(shown.len());
                let output = self.results(&shown[closing.position..end]);
                closing.position = end;
                (output, shown.len())
            }
            What::Changed { items, old, .. } => {
                let end = (closing.position + OUTPUT_ROWS / 2).min(items.len());
                let output = self.changes(&items[closing.position..end], old);
                closing.position = end;
                (output, items.len())
            }
            What::Fired { lines, .. } => {
                let end = (closing.position + OUTPUT_ROWS).min(lines.len());
                let triggers = self.triggers.as_ref().expect("they made the lines");
                let output = triggers.output(&self.sessions, lines, closing.position..end);
                closing.position = end;
                (output, lines.len())
            }
        };
        if closing.position < all {
            self.closing = Some(closing);
            output.more = true;
        } else {
            self.settle(closing.what, epoch, kept);
        }
        output.homeless = std::mem::take(&mut self.homeless).iter().map(|batch| Homeless::of(&self.layout, batch)).collect();
        output
    }

    /// Lets sessions go as limits say. Returns those whose results come out and stay.
    fn limit(&mut self, over: &[u32], epoch: u64, watermark: i64) -> Vec<u32> {
        let bytes = self.bytes();
        let Some(limits) = &mut self.limits else { return Vec::new() };
        let mut sorted = over.to_vec();
        sorted.sort_unstable();
        let going = limits.close(&self.sessions, &sorted, bytes, (epoch, watermark));
        if let Some(triggers) = &mut self.triggers {
            triggers.let_go(&mut self.sessions, &going);
        }
        let Going { gone, staying } = going;
        self.left_keys.extend(gone.iter().map(|session| self.sessions.get(*session).key));
        self.sessions.take_away(&gone);
        staying
    }

    /// What the round has changed, beside the sessions that are over.
    fn changed(&mut self, over: Vec<u32>) -> What {
        let mut touched = std::mem::take(&mut self.sessions.touched);
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|session| self.sessions.is_touched(*session));
        let mut claimed = vec![false; self.sessions.old_rows.len()];
        let mut items = Vec::with_capacity(touched.len());
        for at in touched.iter().filter(|at| self.sessions.states.exists(**at)) {
            let session = self.sessions.get(*at);
            let mut item = Item { key: session.key, start: session.start, end: session.end, old: NONE, session: *at };
            if let Some(old) = self.sessions.old_rows.get(session.old as usize)
                && (old.start, old.end) == (session.start, session.end)
            {
                item.old = session.old;
                claimed[session.old as usize] = true;
            }
            items.push(item);
        }
        for (place, old) in self.sessions.old_rows.iter().enumerate().filter(|(place, _)| !claimed[*place]) {
            items.push(Item { key: old.key, start: old.start, end: old.end, old: place as u32, session: NONE });
        }
        self.sessions.touched = touched;
        items.sort_unstable_by_key(|item| (item.end, item.start));
        let mut sorted = Vec::with_capacity(items.len());
        for alike in items.chunk_by(|left, right| (left.end, left.start) == (right.end, right.start)) {
            // One key has at most one item for a span.
            sorted.extend(
                by_key(&self.sessions.keys, alike.iter().map(|item| (item.key, *item)).collect()).into_iter().map(|(_, item)| item),
            );
        }
        let parts = &self.sessions.old;
        let old = (0..parts.first().map_or(0, Vec::len))
            .map(|column| {
                let parts: Vec<&dyn Array> = parts.iter().map(|columns| columns[column].as_ref()).collect();
                concat(&parts).expect("results of one aggregate have one type")
            })
            .collect();
        What::Changed { over, items: sorted, old }
    }

    /// The columns that say which sessions these are.
    fn key_columns(&self, rows: impl Iterator<Item = (u32, i64, i64)>) -> Vec<ArrayRef> {
        let (mut keys, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (key, start, end) in rows {
            keys.push(key);
            starts.push(start);
            ends.push(end);
        }
        self.layout.session_columns(&self.sessions.keys.rows(&keys), &starts, &ends)
    }

    /// The results of sessions that are over.
    fn results(&self, over: &[u32]) -> Output {
        let mut out = Emission::new(&self.layout);
        if !over.is_empty() {
            let spans = over.iter().map(|at| {
                let session = self.sessions.get(*at);
                (session.key, session.start, session.end)
            });
            let columns = self.key_columns(spans);
            let mut failed = Vec::new();
            let results = self.sessions.states.evaluate(over, &mut failed);
            out.add(columns, results, over.len(), failed);
        }
        out.finish(false)
    }

    /// The changes that some items are.
    fn changes(&self, items: &[Item], old: &[ArrayRef]) -> Output {
        let mut out = Emission::new(&self.layout);
        if items.is_empty() {
            return out.finish(false);
        }
        let live: Vec<u32> = items.iter().map(|item| item.session).filter(|session| *session != NONE).collect();
        let mut failed = Vec::new();
        let new = self.sessions.states.evaluate(&live, &mut failed);
        let mut failed = failed.into_iter().peekable();
        // Where both results are, whether they are equal.
        let mut place = 0;
        let (mut olds, mut news) = (Vec::new(), Vec::new());
        for item in items {
            if item.old != NONE && item.session != NONE {
                olds.push(item.old);
                news.push(place);
            }
            place += u32::from(item.session != NONE);
        }
        let pick = |columns: &[ArrayRef], rows: &[u32]| -> Vec<ArrayRef> {
            let rows = UInt32Array::from(rows.to_vec());
            columns.iter().map(|column| take(column, &rows, None).expect("results lie within")).collect()
        };
        let same = if olds.is_empty() { None } else { Some(equal_rows(&pick(old, &olds), &pick(&new, &news), olds.len())) };
        let (mut both, mut place) = (0, 0);
        let (mut rows, mut picks, mut diffs, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for item in items {
            let now = (item.session != NONE).then(|| {
                place += 1;
                (place - 1, failed.next_if(|(position, _)| *position == place - 1).map(|(_, reason)| reason))
            });
            let was = (item.old != NONE).then(|| self.sessions.old_errors.get(&item.old));
            if let (Some((_, failure)), Some(old_failure)) = (&now, was) {
                both += 1;
                let equal = match (failure, old_failure) {
                    (Some(new), Some(old)) => new == old,
                    (None, None) => same.as_ref().is_some_and(|same| same.value(both - 1)),
                    _ => false,
                };
                if equal {
                    continue;
                }
            }
            let mut put = |failure: Option<&String>, source: (usize, usize), diff: i64| match failure {
                Some(reason) => {
                    let columns = self.key_columns(std::iter::once((item.key, item.start, item.end)));
                    errors.push(GroupError { group: describe(&self.layout, &columns, 0), reason: reason.clone(), diff });
                }
                None => {
                    rows.push((item.key, item.start, item.end));
                    picks.push(source);
                    diffs.push(diff);
                }
            };
            if let Some(failure) = was {
                put(failure, (0, item.old as usize), -1);
            }
            if let Some((place, failure)) = &now {
                put(failure.as_ref(), (1, *place), 1);
            }
        }
        let mut columns = self.key_columns(rows.iter().copied());
        columns.extend(new.iter().enumerate().map(|(position, column)| match old.get(position) {
            None => {
                let rows: UInt32Array = picks.iter().map(|(_, row)| *row as u32).collect::<Vec<_>>().into();
                take(column, &rows, None).expect("results lie within")
            }
            Some(old) => interleave(&[old.as_ref(), column.as_ref()], &picks).expect("results of one aggregate have one type"),
        }));
        if !rows.is_empty() {
            out.add(columns, Vec::new(), rows.len(), Vec::new());
        }
        let mut output = out.finish(false);
        output.errors.extend(errors);
        output.diffs = diffs.contains(&-1).then_some(diffs);
        output
    }

    /// Ends the closing of an epoch: forgets what is over.
    fn settle(&mut self, what: What, epoch: u64, watermark: i64) {
        let mut keys = std::mem::take(&mut self.left_keys);
        let over = match what {
            What::Over { over, .. } | What::Fired { over, .. } => over,
            What::Changed { over, .. } => {
                keys.extend(self.sessions.old_rows.iter().map(|old| old.key));
                self.sessions.end_round();
                over
            }
        };
        keys.extend(over.iter().map(|session| self.sessions.get(*session).key));
        self.sessions.release(&over);
        if let Some(limits) = &mut self.limits {
            limits.forget(watermark);
        }
        if let Some(instants) = &mut self.instants {
            let (unused, too_late) = instants.forget(&self.sessions, watermark, keys);
            keys = unused;
            self.too_late.add(&LateRows::dropped(too_late));
        }
        self.sessions.forget_keys(keys);
        self.closed = self.closed.max(watermark);
        if self.waits() {
            // Rows that came in while the closing was under way.
            for batch in self.waiting.closed(epoch) {
                self.apply(batch);
            }
        }
    }

    pub(super) fn flush(&mut self, epoch: u64) {
        if let Some(triggers) = &mut self.triggers {
            triggers.flush(epoch);
        }
    }

    /// A moment at which a session may end, where a trigger tells of it.
    pub(super) fn next_end(&self) -> Option<u64> {
        self.triggers.as_ref().and_then(|_| self.sessions.next_due()).and_then(|end| u64::try_from(end).ok())
    }

    pub(super) fn take_limit_report(&mut self) -> Option<LimitReport> {
        self.limits.as_mut().and_then(|limits| limits.take_report())
    }

    pub(super) fn next_tick(&self) -> Option<u64> {
        let tick = self.triggers.as_ref().and_then(|triggers| triggers.next_tick());
        tick.into_iter().chain(self.limits.as_ref().and_then(|limits| limits.next_due())).min()
    }

    /// What became of late rows that no session held, since this was asked last.
    pub(super) fn take_too_late(&mut self) -> LateRows {
        std::mem::take(&mut self.too_late)
    }

    pub(super) fn groups(&self) -> usize {
        self.sessions.len() + self.instants.as_ref().map_or(0, Instants::len)
    }

    pub(super) fn bytes(&self) -> usize {
        let batches = self.waiting.bytes() + self.late.iter().map(KeyedBatch::bytes).sum::<usize>();
        let triggers = self.triggers.as_ref().map_or(0, |triggers| triggers.bytes());
        let limits = self.limits.as_ref().map_or(0, |limits| limits.bytes());
        limits + triggers + batches + self.sessions.bytes() + self.instants.as_ref().map_or(0, Instants::bytes)
    }
}

/// A late row as if it had happened at another time.
fn moved(layout: &AggregateLayout, row: KeyedBatch, to: i64) -> KeyedBatch {
    let Payload::Raw { mut columns, diffs } = row.payload else { panic!("rows of sessions travel as they are") };
    columns[layout.payload_exprs.len()] = Arc::new(Int64Array::from(vec![to]));
    KeyedBatch { panes: Some(vec![to]), payload: Payload::Raw { columns, diffs }, ..row }
}
