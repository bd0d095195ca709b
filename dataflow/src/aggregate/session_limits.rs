//! # Sessions under limits
//!
//! Tells [`Limited`] of sessions as groups. A session that several became is as old as the oldest of them, and has the rows of all. Since
//! sessions become one in no order that means something, they are judged as *members*: a session gets one as the epoch closes in which it came,
//! in the order of ends and keys, and of those of sessions that become one the first stays.
//!
//! **Sealed.** A session that is sealed stays as it is: a row whose stretch overlaps that of the session is dropped, and extends nothing.
//! What does not overlap it makes sessions as ever, and they cannot reach it. So which rows are dropped is a matter of the rows alone, not of
//! their order. A seal is forgotten when the watermark has reached the session's end, since no row can belong to it then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use tidemark_planner::plan::FiringPlan;

use super::keyed_batch::KeyedBatch;
use super::layout::AggregateLayout;
use super::limited::{LimitReport, Limited, Standing, rows_of};
use super::output::describe;
use super::session::{NONE, belongs};
use super::sessions::{Log, Remade, Sessions, came_of, times_of};
use crate::state::keeper::Groups;
use crate::state::key_rows::KeyRows;
use crate::state::key_table::{KeyTable, Stretch};

#[derive(Debug)]
pub(super) struct SessionLimits {
    layout: Arc<AggregateLayout>,
    limited: Limited,
    members: Members,
    /// Sessions that rows of the epoch came to.
    touched: Vec<u32>,
    seals: Seals,
}

#[derive(Debug)]
struct Members {
    /// The member of each session, if it has one.
    of: Vec<u32>,
    all: Vec<Member>,
    free: Vec<u32>,
    next: u64,
    /// The rows that came for each session, where states forget those that have come out.
    came: Option<Vec<i64>>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    session: u32,
    /// Those that came first have the least.
    number: u64,
}

/// Sessions that go, and those whose results come out and stay.
#[derive(Debug, Default)]
pub(super) struct Going {
    pub(super) gone: Vec<u32>,
    pub(super) staying: Vec<u32>,
}

impl SessionLimits {
    pub(super) fn new(layout: &Arc<AggregateLayout>, workers: usize, gap: i64) -> Option<Self> {
        let purges = layout.firing.as_ref().is_some_and(|FiringPlan { purge, .. }| *purge);
        Some(Self {
            limited: Limited::new(layout, workers)?,
            layout: Arc::clone(layout),
            members: Members { of: Vec::new(), all: Vec::new(), free: Vec::new(), next: 0, came: purges.then(Vec::new) },
            touched: Vec::new(),
            seals: Seals { gap, keys: KeyTable::new(), of: Vec::new(), due: BinaryHeap::new(), ids: Vec::new() },
        })
    }

    /// The rows of a batch that belong to no sealed session, if some do; the others are counted.
    pub(super) fn unsealed(&mut self, batch: &KeyedBatch) -> Option<KeyedBatch> {
        if self.seals.due.is_empty() {
            return None;
        }
        let sealed = self.seals.held(&self.layout, batch);
        if !sealed.contains(&true) {
            return None;
        }
        let mut kept = Vec::with_capacity(sealed.len());
        for (row, sealed) in sealed.into_iter().enumerate() {
            if sealed {
                self.limited.count_sealed(rows_of(batch, row));
            } else {
                kept.push(row as u32);
            }
        }
        Some(batch.take(&UInt32Array::from(kept)))
    }

    /// Takes note of what became of rows and sessions.
    pub(super) fn note(&mut self, sessions: &Sessions, log: &Log) {
        self.members.grow(sessions.slots());
        for (gone, into) in &log.joined {
            if let Some(other) = self.members.join(*gone, *into) {
                self.limited.leave(&[other]);
            }
            self.touched.push(*into);
        }
        for session in &log.added {
            if let Some(came) = &mut self.members.came {
                came[*session as usize] += 1;
            }
            if self.touched.last() != Some(session) {
                self.touched.push(*session);
            }
        }
    }

    /// Takes note of sessions that were made anew, since rows were taken back.
    pub(super) fn note_remade(&mut self, sessions: &Sessions, remade: &Remade) {
        self.members.grow(sessions.slots());
        remade.old.iter().for_each(|(session, _)| leave(&mut self.members, &mut self.limited, *session));
        self.touched.extend(remade.new.iter().map(|(session, _)| *session));
    }

    /// Ends an epoch: sessions that are over have left by themselves, `over` names them.
    pub(super) fn close(&mut self, sessions: &Sessions, over: &[u32], bytes: usize, (epoch, watermark): (u64, i64)) -> Going {
        self.members.grow(sessions.slots());
        let mut here = std::mem::take(&mut self.touched);
        here.sort_unstable();
        here.dedup();
        over.iter().for_each(|session| leave(&mut self.members, &mut self.limited, *session));
        here.retain(|session| sessions.get(*session).alive && over.binary_search(session).is_err());
        if self.members.came.is_none() {
            here.retain(|session| {
                let there = sessions.states.exists(*session);
                if !there {
                    leave(&mut self.members, &mut self.limited, *session);
                }
                there
            });
        }
        sessions.sort(&mut here);
        let here = here.into_iter().map(|session| self.members.of(session)).collect();
        let view = View { sessions, members: &self.members, bytes };
        let layout = &self.layout;
        let name = |member: u32| {
            let of = sessions.get(self.members.all[member as usize].session);
            describe(layout, &layout.session_columns(&sessions.keys.rows(&[of.key]), &[of.start], &[of.end]), 0)
        };
        let mut going = Going::default();
        for (member, standing) in self.limited.judge(&view, here, epoch, watermark, name) {
            let session = self.members.release(member);
            let list = if standing == Standing::Gone { &mut going.gone } else { &mut going.staying };
            list.push(session);
            if standing == Standing::Sealing {
                self.seals.add(sessions, session);
            }
        }
        sessions.sort(&mut going.staying);
        going
    }

    /// Forgets the seals that no row can meet.
    pub(super) fn forget(&mut self, watermark: i64) {
        self.seals.forget(watermark);
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.limited.next_due()
    }

    pub(super) fn take_report(&mut self) -> Option<LimitReport> {
        self.limited.take_report()
    }

    pub(super) fn bytes(&self) -> usize {
        let members = &self.members;
        let lists = (members.of.capacity() + members.free.capacity() + self.touched.capacity()) * 4;
        let came = members.came.as_ref().map_or(0, |came| came.capacity() * 8);
        lists + came + members.all.capacity() * size_of::<Member>() + self.seals.bytes() + self.limited.bytes()
    }
}

/// A session has gone for another reason.
fn leave(members: &mut Members, limited: &mut Limited, session: u32) {
    let member = members.of[session as usize];
    if member != NONE {
        members.release(member);
        limited.leave(&[member]);
    }
    members.forget(session);
}

impl Members {
    fn grow(&mut self, slots: usize) {
        self.of.resize(slots.max(self.of.len()), NONE);
        if let Some(came) = &mut self.came {
            came.resize(self.of.len(), 0);
        }
    }

    /// The member of a session, a new one if it has none.
    fn of(&mut self, session: u32) -> u32 {
        if self.of[session as usize] == NONE {
            let new = Member { session, number: self.next };
            self.next += 1;
            self.of[session as usize] = match self.free.pop() {
                Some(member) => {
                    self.all[member as usize] = new;
                    member
                }
                None => {
                    self.all.push(new);
                    (self.all.len() - 1) as u32
                }
            };
        }
        self.of[session as usize]
    }

    /// One session has become part of another. Returns the member that there is no more, if both had one.
    fn join(&mut self, gone: u32, into: u32) -> Option<u32> {
        if let Some(came) = &mut self.came {
            came[into as usize] += std::mem::take(&mut came[gone as usize]);
        }
        let from = std::mem::replace(&mut self.of[gone as usize], NONE);
        let own = self.of[into as usize];
        if from == NONE {
            return None;
        }
        let first = own == NONE || self.all[from as usize].number < self.all[own as usize].number;
        let (stays, other) = if first { (from, own) } else { (own, from) };
        self.of[into as usize] = stays;
        self.all[stays as usize].session = into;
        if other == NONE {
            return None;
        }
        self.free.push(other);
        Some(other)
    }

    /// A member has gone; returns its session.
    fn release(&mut self, member: u32) -> u32 {
        let session = self.all[member as usize].session;
        self.of[session as usize] = NONE;
        self.free.push(member);
        self.forget(session);
        session
    }

    fn forget(&mut self, session: u32) {
        if let Some(came) = &mut self.came {
            came[session as usize] = 0;
        }
    }
}

/// The sessions of members, as groups.
struct View<'a> {
    sessions: &'a Sessions,
    members: &'a Members,
    bytes: usize,
}

impl View<'_> {
    fn session(&self, member: u32) -> u32 {
        self.members.all[member as usize].session
    }

    fn key_ids(&self, members: &[u32]) -> Vec<u32> {
        members.iter().map(|member| self.sessions.get(self.session(*member)).key).collect()
    }
}

impl Groups for View<'_> {
    fn slots(&self) -> usize {
        self.members.all.len()
    }

    fn rows(&self, member: u32) -> i64 {
        let session = self.session(member);
        self.members.came.as_ref().map_or_else(|| self.sessions.states.rows(session), |came| came[session as usize])
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn sort(&self, members: &mut Vec<u32>) {
        let mut sessions: Vec<u32> = members.iter().map(|member| self.session(*member)).collect();
        self.sessions.sort(&mut sessions);
        *members = sessions.into_iter().map(|session| self.members.of[session as usize]).collect();
    }

    fn keys(&self, members: &[u32]) -> Option<KeyRows> {
        (!members.is_empty()).then(|| self.sessions.keys.rows(&self.key_ids(members)))
    }

    fn hashes(&self, members: &[u32]) -> Vec<u64> {
        self.key_ids(members).into_iter().map(|key| self.sessions.keys.hash(key)).collect()
    }
}

/// The stretches of sealed sessions.
#[derive(Debug)]
struct Seals {
    gap: i64,
    keys: KeyTable,
    /// Of each key, what its sealed sessions cover.
    of: Vec<Vec<(i64, i64)>>,
    /// When they are forgotten.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    ids: Vec<u32>,
}

impl Seals {
    fn add(&mut self, sessions: &Sessions, session: u32) {
        let of = sessions.get(session);
        self.ids.clear();
        let rows = Stretch { first: 0, rows: 1 };
        self.keys.intern(&sessions.keys.rows(&[of.key]), &[sessions.keys.hash(of.key)], rows, &mut self.ids);
        let key = self.ids[0];
        self.of.resize_with(self.keys.numbers().max(self.of.len()), Vec::new);
        self.of[key as usize].push((of.from, of.end));
        self.due.push(Reverse((of.end, key)));
    }

    /// Which rows of a batch belong to one of them.
    fn held(&mut self, layout: &AggregateLayout, batch: &KeyedBatch) -> Vec<bool> {
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.of.resize_with(self.keys.numbers().max(self.of.len()), Vec::new);
        let times = times_of(batch);
        let came = came_of(layout, batch).unwrap_or(times);
        let of_row = |(key, (time, came)): (&u32, (&i64, &i64))| {
            self.of[*key as usize].iter().any(|(from, end)| belongs(*from, *end, *time, *came, self.gap))
        };
        let held = ids.iter().zip(times.iter().zip(came)).map(of_row).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().filter(|key| self.of[**key as usize].is_empty()).for_each(|key| self.keys.remove(*key));
        self.ids = ids;
        held
    }

    fn forget(&mut self, watermark: i64) {
        while let Some(Reverse((end, key))) = self.due.peek().copied().filter(|Reverse((end, _))| *end <= watermark) {
            self.due.pop();
            let stretches = &mut self.of[key as usize];
            stretches.retain(|(_, other)| *other != end);
            if stretches.is_empty() {
                self.keys.remove(key);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.keys.bytes() + self.of.capacity() * size_of::<Vec<(i64, i64)>>() + self.due.len() * 48
    }
}
