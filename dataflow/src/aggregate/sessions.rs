//! # The sessions of one worker
//!
//! The sessions of each key as a list, newest first, over one table of states. Rows that are only added extend sessions and merge
//! them, state with state; what can be taken back is kept by [`super::session_instants`], which makes sessions anew here. Remembers,
//! where asked to, what sessions were before the current round of changes touched them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;

use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::session::{NONE, belongs};
use super::session_deadlines::Deadlines;
use crate::state::group_states::GroupStates;
use crate::state::key_table::KeyTable;

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) key: u32,
    /// The next older session of the key.
    pub(super) older: u32,
    /// Where its rows' stretches begin.
    pub(super) from: i64,
    /// Where they end: the end of the session.
    pub(super) end: i64,
    /// The least time of its rows.
    pub(super) start: i64,
    /// When it is looked at again.
    queued: i64,
    /// The round that touched it last.
    round: u32,
    /// Where its old result stands in this round.
    pub(super) old: u32,
    /// Its result is out.
    pub(super) shown: bool,
    pub(super) alive: bool,
    /// What it was merged into, within one batch.
    into: u32,
}

/// A result that was out before this round.
#[derive(Clone, Copy, Debug)]
pub(super) struct OldRow {
    pub(super) key: u32,
    pub(super) start: i64,
    pub(super) end: i64,
}

#[derive(Debug)]
pub(super) struct Sessions {
    layout: Arc<AggregateLayout>,
    gap: i64,
    /// Old results are remembered.
    remembers: bool,
    pub(super) keys: KeyTable,
    /// The newest session of each key.
    heads: Vec<u32>,
    all: Vec<Session>,
    free: Vec<u32>,
    pub(super) states: GroupStates,
    due: Deadlines,
    round: u32,
    pub(super) touched: Vec<u32>,
    /// Shown sessions that were touched since old results were last taken.
    fresh: Vec<u32>,
    pub(super) old_rows: Vec<OldRow>,
    pub(super) old: Vec<Vec<ArrayRef>>,
    pub(super) old_errors: BTreeMap<u32, String>,
    merged: Vec<u32>,
    /// What became of rows, where somebody wants to know.
    log: Option<Log>,
    pub(super) ids: Vec<u32>,
    groups: Vec<u32>,
}

/// What became of rows since this was asked last.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Sessions that were merged, each with the one that it went into.
    pub(super) joined: Vec<(u32, u32)>,
    /// The session of each row.
    pub(super) added: Vec<u32>,
}

/// Sessions that were taken apart and made anew.
#[derive(Debug, Default)]
pub(super) struct Remade {
    /// What was there, and in which place, in the order of keys.
    pub(super) old: Vec<(u32, Session)>,
    /// What is there now, and whether rows of it changed.
    pub(super) new: Vec<(u32, bool)>,
}

/// When the rows of a batch came: at their times, unless it says otherwise.
pub(super) fn came_of<'a>(layout: &AggregateLayout, batch: &'a KeyedBatch) -> Option<&'a [i64]> {
    let Payload::Raw { columns, .. } = &batch.payload else { panic!("rows of sessions travel as they are") };
    columns.get(layout.payload_exprs.len()).map(|column| column.as_primitive::<Int64Type>().values().as_ref())
}

/// The times of the rows of a batch.
pub(super) fn times_of(batch: &KeyedBatch) -> &[i64] {
    batch.panes.as_deref().expect("rows of sessions have times")
}

impl Sessions {
    pub(super) fn new(layout: Arc<AggregateLayout>, gap: i64, remembers: bool) -> Self {
        let states = layout.states();
        Self {
            layout,
            gap,
            remembers,
            keys: KeyTable::new(),
            heads: Vec::new(),
            all: Vec::new(),
            free: Vec::new(),
            states,
            due: Deadlines::new(gap),
            round: 1,
            touched: Vec::new(),
            fresh: Vec::new(),
            old_rows: Vec::new(),
            old: Vec::new(),
            old_errors: BTreeMap::new(),
            merged: Vec::new(),
            log: None,
            ids: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// From now on it is noted what becomes of rows.
    pub(super) fn keep_log(&mut self) {
        self.log = Some(Log::default());
    }

    pub(super) fn take_log(&mut self) -> Log {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// One more than the greatest session in use.
    pub(super) fn slots(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, session: u32) -> &Session {
        &self.all[session as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let lists = self.heads.capacity() * 4 + self.all.capacity() * size_of::<Session>() + self.due.bytes();
        lists + self.keys.bytes() + self.states.bytes()
    }

    /// Numbers the keys of a batch into `self.ids`.
    pub(super) fn intern(&mut self, batch: &KeyedBatch) {
        batch.number(&mut self.keys, &mut self.ids);
        self.heads.resize(self.keys.numbers().max(self.heads.len()), NONE);
    }

    /// Adds rows that are only added and in time.
    pub(super) fn add(&mut self, batch: &KeyedBatch) {
        self.intern(batch);
        let (ids, mut groups) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.groups));
        groups.clear();
        let times = times_of(batch);
        match came_of(&self.layout, batch) {
            None => groups.extend(ids.iter().zip(times).map(|(key, time)| self.place(*key, *time, *time))),
            Some(came) => {
                groups.extend(ids.iter().zip(times.iter().zip(came)).map(|(key, (time, came))| self.place(*key, *time, *came)));
            }
        }
        self.take_old();
        self.update(batch, &mut groups);
        self.settle_merged();
        (self.ids, self.groups) = (ids, groups);
    }

    /// Adds late rows to the sessions they belong to.
    pub(super) fn add_late(&mut self, batch: &KeyedBatch, mut sessions: Vec<u32>) {
        for (session, time) in sessions.iter().zip(times_of(batch)) {
            self.touch(*session);
            let session = &mut self.all[*session as usize];
            session.start = session.start.min(*time);
        }
        self.take_old();
        self.update(batch, &mut sessions);
    }

    /// The session that a late row belongs to.
    pub(super) fn find(&self, key: u32, time: i64, came: i64) -> Option<u32> {
        let mut at = self.heads[key as usize];
        while at != NONE {
            let session = &self.all[at as usize];
            if belongs(session.from, session.end, time, came, self.gap) {
                return Some(at);
            }
            at = session.older;
        }
        None
    }

    fn update(&mut self, batch: &KeyedBatch, groups: &mut [u32]) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows of sessions travel as they are") };
        if !self.merged.is_empty() {
            groups.iter_mut().for_each(|group| *group = self.resolve(*group));
        }
        self.states.resize(self.all.len());
        self.states.update(groups, &self.layout.inputs(columns), diffs.as_deref());
        if let Some(log) = &mut self.log {
            log.added.extend_from_slice(groups);
        }
    }

    /// The session of a row: one that it extends, perhaps to others, or a new one.
    fn place(&mut self, key: u32, time: i64, came: i64) -> u32 {
        let end = time + self.gap;
        let mut newer = NONE;
        let mut at = self.heads[key as usize];
        while at != NONE && self.all[at as usize].from >= end {
            newer = at;
            at = self.all[at as usize].older;
        }
        if at == NONE || !belongs(self.all[at as usize].from, self.all[at as usize].end, time, came, self.gap) {
            return self.insert(key, newer, at, (came, end, time));
        }
        self.touch(at);
        let session = &mut self.all[at as usize];
        session.from = session.from.min(came);
        session.end = session.end.max(end);
        session.start = session.start.min(time);
        loop {
            let Session { from, older, .. } = self.all[at as usize];
            if older == NONE || self.all[older as usize].end <= from {
                return at;
            }
            self.touch(older);
            let gone = &mut self.all[older as usize];
            gone.into = at;
            let gone = *gone;
            self.merged.push(older);
            let session = &mut self.all[at as usize];
            session.older = gone.older;
            session.from = session.from.min(gone.from);
            session.start = session.start.min(gone.start);
        }
    }

    /// A new session between two of its key, covering `(from, end)` with its least time.
    fn insert(&mut self, key: u32, newer: u32, older: u32, (from, end, start): (i64, i64, i64)) -> u32 {
        let session = Session { key, older, from, end, start, queued: end, round: 0, old: NONE, shown: false, alive: true, into: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.all[at as usize] = session;
                at
            }
            None => {
                assert!(self.all.len() < NONE as usize, "fewer than 2^32 - 1 sessions in one table");
                self.all.push(session);
                (self.all.len() - 1) as u32
            }
        };
        match newer {
            NONE => self.heads[key as usize] = at,
            newer => self.all[newer as usize].older = at,
        }
        self.due.push(end, at);
        self.touch(at);
        at
    }

    /// Notes that a session changes in this round.
    fn touch(&mut self, at: u32) {
        if !self.remembers {
            return;
        }
        let session = &mut self.all[at as usize];
        if session.round == self.round {
            return;
        }
        session.round = self.round;
        session.old = NONE;
        self.touched.push(at);
        if session.shown {
            session.old = self.old_rows.len() as u32;
            self.old_rows.push(OldRow { key: session.key, start: session.start, end: session.end });
            self.fresh.push(at);
        }
    }

    /// Takes the results of the shown sessions touched last, before their states change.
    fn take_old(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let first = (self.old_rows.len() - self.fresh.len()) as u32;
        let mut errors = Vec::new();
        self.old.push(self.states.evaluate(&self.fresh, &mut errors));
        self.old_errors.extend(errors.into_iter().map(|(position, reason)| (first + position as u32, reason)));
        self.fresh.clear();
    }

    fn resolve(&self, mut session: u32) -> u32 {
        while self.all[session as usize].into != NONE {
            session = self.all[session as usize].into;
        }
        session
    }

    /// Moves the states of sessions that were merged.
    fn settle_merged(&mut self) {
        if self.merged.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.merged);
        let into: Vec<u32> = gone.iter().map(|session| self.resolve(*session)).collect();
        if let Some(log) = &mut self.log {
            log.joined.extend(gone.iter().copied().zip(into.iter().copied()));
        }
        let partials = self.states.partials(&gone);
        self.states.merge(&into, &partials);
        self.discard(&gone);
    }

    /// Gives the places of sessions that are in no list any more to new ones.
    fn discard(&mut self, gone: &[u32]) {
        self.states.clear(gone);
        for session in gone {
            self.all[*session as usize].alive = false;
        }
        self.free.extend_from_slice(gone);
    }

    /// The live sessions of a key, newest first.
    pub(super) fn of_key(&self, key: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(some(self.heads[key as usize]), move |at| some(self.all[*at as usize].older))
    }

    /// Takes all sessions of some keys away, their results remembered. Says what they were.
    pub(super) fn dissolve(&mut self, keys: &[u32]) -> Vec<(u32, Session)> {
        let gone: Vec<u32> = keys.iter().flat_map(|key| self.of_key(*key)).collect();
        let were = if self.log.is_some() { gone.iter().map(|session| (*session, *self.get(*session))).collect() } else { vec![] };
        gone.iter().for_each(|session| self.touch(*session));
        self.take_old();
        keys.iter().for_each(|key| self.heads[*key as usize] = NONE);
        self.discard(&gone);
        were
    }

    /// Takes sessions away, their results remembered.
    pub(super) fn take_away(&mut self, gone: &[u32]) {
        gone.iter().for_each(|session| self.touch(*session));
        self.take_old();
        self.release(gone);
    }

    /// A new session behind all others of its key; the caller adds its state.
    pub(super) fn append(&mut self, key: u32, cover: (i64, i64, i64)) -> u32 {
        let at = self.insert(key, NONE, self.heads[key as usize], cover);
        self.states.resize(self.all.len());
        at
    }

    /// Sessions that end at or before a watermark, by end, start and key.
    pub(super) fn take_due(&mut self, watermark: i64) -> Vec<u32> {
        let mut over = Vec::new();
        while let Some(due) = self.due.take(watermark) {
            for (deadline, at) in due {
                let session = &mut self.all[at as usize];
                if !session.alive || session.queued != deadline {
                    continue;
                }
                if session.end <= watermark {
                    // Nothing else shall find it.
                    session.queued = i64::MIN;
                    over.push((session.end, session.start, at));
                } else {
                    session.queued = session.end;
                    self.due.push(session.end, at);
                }
            }
        }
        over.sort_unstable();
        let mut over: Vec<u32> = over.into_iter().map(|(.., at)| at).collect();
        self.sort(&mut over);
        over
    }

    /// Sorts sessions by end, start and key.
    pub(super) fn sort(&self, sessions: &mut Vec<u32>) {
        let span = |at: &u32| (self.all[*at as usize].end, self.all[*at as usize].start);
        if !sessions.is_sorted_by_key(span) {
            sessions.sort_unstable_by_key(span);
        }
        let mut sorted = Vec::with_capacity(sessions.len());
        for alike in sessions.chunk_by(|left, right| span(left) == span(right)) {
            if let [at] = alike {
                sorted.push(*at);
                continue;
            }
            let pairs = alike.iter().map(|at| (self.all[*at as usize].key, *at)).collect();
            sorted.extend(by_key(&self.keys, pairs).into_iter().map(|(_, at)| at));
        }
        *sessions = sorted;
    }

    /// When a session is to be looked at next: not behind its end.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.least()
    }

    /// Forgets sessions. Their keys stay until [`Sessions::forget_keys`].
    pub(super) fn release(&mut self, over: &[u32]) {
        for at in over {
            let Session { key, older, .. } = self.all[*at as usize];
            if self.heads[key as usize] == *at {
                self.heads[key as usize] = older;
                continue;
            }
            let newer = self.of_key(key).find(|other| self.all[*other as usize].older == *at).expect("a session is in the list of its key");
            self.all[newer as usize].older = older;
        }
        self.discard(over);
    }

    /// Forgets the keys among some that have no session.
    pub(super) fn forget_keys(&mut self, keys: impl IntoIterator<Item = u32>) {
        let mut gone: Vec<u32> = keys.into_iter().filter(|key| self.heads[*key as usize] == NONE).collect();
        gone.sort_unstable();
        gone.dedup();
        gone.iter().for_each(|key| self.keys.remove(*key));
    }

    /// Ends the round of changes: what was touched is out now.
    pub(super) fn end_round(&mut self) {
        for at in std::mem::take(&mut self.touched) {
            let shown = self.states.exists(at);
            self.all[at as usize].shown = shown;
        }
        self.old_rows.clear();
        self.old.clear();
        self.old_errors.clear();
        self.round = match self.round.checked_add(1) {
            Some(round) => round,
            None => {
                self.all.iter_mut().for_each(|session| session.round = 0);
                1
            }
        };
    }

    /// Says where the old result of a session made anew stands.
    pub(super) fn inherit(&mut self, session: u32, old: u32) {
        self.all[session as usize].old = old;
    }

    /// The round that is under way touched this session, and it is alive.
    pub(super) fn is_touched(&self, session: u32) -> bool {
        let session = &self.all[session as usize];
        session.alive && session.round == self.round
    }
}

/// Pairs of a key and something, in the order of the keys. Each key stands once.
pub(super) fn by_key<T: Copy>(keys: &KeyTable, mut pairs: Vec<(u32, T)>) -> Vec<(u32, T)> {
    if pairs.len() < 2 {
        return pairs;
    }
    pairs.sort_unstable_by_key(|(key, _)| *key);
    let mut order: Vec<u32> = pairs.iter().map(|(key, _)| *key).collect();
    keys.sort(&mut order);
    let of = |key: u32| pairs[pairs.binary_search_by_key(&key, |(key, _)| *key).expect("each key is there")];
    order.into_iter().map(of).collect()
}
