//! # Sessions under retraction
//!
//! A row that is taken back may cut a session in two, and no state can be cut. So rows are kept by instant: one state for each key and
//! event time, with the net number of its rows. When an epoch closes, the sessions of the keys that changed are put together again
//! from their instants.
//!
//! Which of several rows of one time is taken back, nobody can say: it is the one that came first. So the stretch of an instant begins
//! when the first row that is left came; in no order of arrival does it ever grow back over what has closed. Late rows are kept apart, by
//! when they came; they cover nothing, and count in the session that holds them, if one does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::session::{belongs, in_time};
use super::sessions::{Remade, Sessions, came_of, times_of};
use crate::state::group_states::GroupStates;

/// The rows of a key at one time: those in time, or the late ones that came at one time.
#[derive(Clone, Debug)]
struct Instant {
    time: i64,
    /// Late rows, and when they came.
    late: Option<i64>,
    /// When rows came, ascending, and how many; and how many were taken back.
    came: Vec<(i64, i64)>,
    taken: i64,
    /// A session holds it.
    held: bool,
    /// Rows of it came or were taken back since the sessions were made.
    changed: bool,
    group: u32,
}

impl Instant {
    /// The watermark at which no row can change it, or what it belongs to, unless a session holds it.
    fn deadline(&self, gap: i64) -> i64 {
        self.late.map_or(self.time + gap, |came| came.saturating_add(1))
    }

    /// Where its stretch begins, if it has rows in time: each one taken back ends the one that came first.
    fn from(&self) -> Option<i64> {
        let mut taken = self.taken;
        let left = self.came.iter().find(|(_, rows)| {
            taken -= rows;
            taken < 0
        });
        left.filter(|_| self.late.is_none()).map(|(came, _)| *came)
    }

    /// Whether a session that covers `from..end` holds it.
    fn belongs(&self, from: i64, end: i64, gap: i64) -> bool {
        belongs(from, end, self.time, self.late.or_else(|| self.from()).unwrap_or(self.time), gap)
    }

    fn add(&mut self, came: i64, diff: i64) {
        if diff < 0 && self.late.is_none() {
            self.taken -= diff;
            return;
        }
        match self.came.binary_search_by_key(&came, |(came, _)| *came) {
            Ok(place) => self.came[place].1 += diff.abs(),
            Err(place) => self.came.insert(place, (came, diff.abs())),
        }
    }
}

#[derive(Debug)]
pub(super) struct Instants {
    layout: Arc<AggregateLayout>,
    gap: i64,
    /// Of each key, by time.
    of: Vec<Vec<Instant>>,
    states: GroupStates,
    groups_used: usize,
    free: Vec<u32>,
    /// Keys that changed since their sessions were made.
    changed: Vec<u32>,
    /// When the instants of a key are looked at again.
    stale: BinaryHeap<Reverse<(i64, u32)>>,
    groups: Vec<u32>,
}

/// What a run of overlapping stretches covers, and its instants with rows.
#[derive(Debug)]
struct Run {
    from: i64,
    end: i64,
    /// Rows of it changed.
    changed: bool,
    groups: Vec<u32>,
    /// The least times with their net rows, up to the first that has some.
    first: Option<(i64, i64)>,
}

impl Instants {
    pub(super) fn new(layout: Arc<AggregateLayout>, gap: i64) -> Self {
        let states = layout.states();
        Self {
            layout,
            gap,
            of: Vec::new(),
            states,
            groups_used: 0,
            free: Vec::new(),
            changed: Vec::new(),
            stale: BinaryHeap::new(),
            groups: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.groups_used - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.of.iter().map(|list| list.capacity() * size_of::<Instant>()).sum();
        lists + self.of.capacity() * size_of::<Vec<Instant>>() + self.states.bytes()
    }

    /// Adds or takes back rows.
    pub(super) fn add(&mut self, sessions: &mut Sessions, batch: &KeyedBatch) {
        sessions.intern(batch);
        let keys = sessions.keys.numbers();
        self.of.resize_with(keys.max(self.of.len()), Vec::new);
        let times = times_of(batch);
        let came = came_of(&self.layout, batch).unwrap_or(times);
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows of sessions travel as they are") };
        let mut groups = std::mem::take(&mut self.groups);
        groups.clear();
        for (row, (key, (time, came))) in sessions.ids.iter().zip(times.iter().zip(came)).enumerate() {
            groups.push(self.instant(*key, *time, *came, diffs.as_ref().map_or(1, |diffs| diffs[row])));
        }
        self.states.resize(self.groups_used);
        self.states.update(&groups, &self.layout.inputs(columns), diffs.as_deref());
        self.groups = groups;
        self.changed.extend_from_slice(&sessions.ids);
    }

    fn instant(&mut self, key: u32, time: i64, came: i64, diff: i64) -> u32 {
        let late = (!in_time(time, came, self.gap)).then_some(came);
        let list = &mut self.of[key as usize];
        let place = match list.binary_search_by_key(&(time, late), |instant| (instant.time, instant.late)) {
            Ok(place) => place,
            Err(place) => {
                let group = self.free.pop().unwrap_or_else(|| {
                    self.groups_used += 1;
                    (self.groups_used - 1) as u32
                });
                list.insert(place, Instant { time, late, came: Vec::new(), taken: 0, held: false, changed: false, group });
                place
            }
        };
        list[place].add(came, diff);
        list[place].changed = true;
        list[place].group
    }

    /// Makes the sessions of the keys that changed.
    pub(super) fn rebuild(&mut self, sessions: &mut Sessions) -> Remade {
        if self.changed.is_empty() {
            return Remade::default();
        }
        let mut keys = std::mem::take(&mut self.changed);
        keys.sort_unstable();
        keys.dedup();
        let mut remade = Remade { old: sessions.dissolve(&keys), new: Vec::new() };
        let old = old_by_key(sessions);
        let (mut from, mut into) = (Vec::new(), Vec::new());
        for key in keys {
            if let Some(deadline) = self.of[key as usize].iter().map(|instant| instant.deadline(self.gap)).max() {
                self.stale.push(Reverse((deadline, key)));
            }
            for run in self.runs(key) {
                let start = run.first.filter(|(_, rows)| *rows != 0).map_or(run.from, |(time, _)| time);
                let session = sessions.append(key, (run.from, run.end, start));
                remade.new.push((session, run.changed));
                into.resize(into.len() + run.groups.len(), session);
                from.extend(run.groups);
                let known = old.binary_search_by_key(&(key, start), |(key, start, _)| (*key, *start));
                if let Ok(known) = known {
                    sessions.inherit(session, old[known].2);
                }
            }
        }
        sessions.states.merge(&into, &self.states.partials(&from));
        remade
    }

    /// The runs of a key, by time.
    fn runs(&mut self, key: u32) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let list = &mut self.of[key as usize];
        // By time is by end: a stretch overlaps the runs before it that end after it came.
        for (time, from) in list.iter().filter_map(|instant| Some((instant.time, instant.from()?))) {
            let mut run = Run { from, end: time + self.gap, changed: false, groups: Vec::new(), first: None };
            while let Some(last) = runs.pop_if(|last| last.end > from) {
                run.from = run.from.min(last.from);
            }
            runs.push(run);
        }
        for instant in list.iter_mut() {
            if std::mem::take(&mut instant.changed) {
                // Where nothing is left of its stretch, it cannot be said which of those near it had held it.
                let near = |run: &&mut Run| run.from < instant.time + self.gap && instant.time < run.end;
                runs.iter_mut().filter(near).for_each(|run| run.changed = true);
            }
            let run = runs.iter_mut().find(|run| instant.belongs(run.from, run.end, self.gap));
            instant.held = run.is_some();
            if let Some(run) = run {
                // Also where the count is 0: one row may have come for another.
                run.groups.push(instant.group);
                let rows = self.states.rows(instant.group);
                run.first = match run.first {
                    // Late rows may take back those in time, at the same time.
                    Some((time, known)) if time == instant.time => Some((time, known + rows)),
                    Some((_, 0)) | None => Some((instant.time, rows)),
                    other => other,
                };
            }
        }
        runs
    }

    /// Forgets what no live session needs and no row can change any more, of some keys and those whose time has come. Returns the keys
    /// of which nothing is left, and the number of late rows that no session held.
    pub(super) fn forget(&mut self, sessions: &Sessions, watermark: i64, mut keys: Vec<u32>) -> (Vec<u32>, u64) {
        while let Some(Reverse((_, key))) = self.stale.peek().copied().filter(|Reverse((deadline, _))| *deadline <= watermark) {
            self.stale.pop();
            keys.push(key);
        }
        keys.sort_unstable();
        keys.dedup();
        let (mut gone, mut too_late) = (Vec::new(), 0);
        for key in keys.iter().copied() {
            let Some(list) = self.of.get_mut(key as usize) else { continue };
            let live: Vec<(i64, i64)> = sessions.of_key(key).map(|session| sessions.get(session)).map(|it| (it.from, it.end)).collect();
            list.retain(|instant| {
                let needed =
                    instant.deadline(self.gap) > watermark || live.iter().any(|(from, end)| instant.belongs(*from, *end, self.gap));
                if !needed {
                    gone.push(instant.group);
                    too_late +=
                        if instant.late.is_some() && !instant.held { instant.came.iter().map(|(_, rows)| *rows as u64).sum() } else { 0 };
                }
                needed
            });
            let ends = live.iter().map(|(_, end)| *end);
            if let Some(deadline) = list.iter().map(|instant| instant.deadline(self.gap)).max() {
                self.stale.push(Reverse((ends.fold(deadline, i64::max), key)));
            }
        }
        self.states.clear(&gone);
        self.free.extend_from_slice(&gone);
        keys.retain(|key| self.is_empty(*key));
        (keys, too_late)
    }

    /// A key has no instants.
    pub(super) fn is_empty(&self, key: u32) -> bool {
        self.of.get(key as usize).is_none_or(Vec::is_empty)
    }
}

/// The old results of this round by key and start, with their places.
fn old_by_key(sessions: &Sessions) -> Vec<(u32, i64, u32)> {
    let mut old: Vec<(u32, i64, u32)> =
        sessions.old_rows.iter().enumerate().map(|(place, row)| (row.key, row.start, place as u32)).collect();
    old.sort_unstable();
    old
}
