//! # Who stays
//!
//! The policy of limits on groups, without their states: told which groups rows came for in each epoch, it says as the epoch closes which
//! groups go, which new ones are not taken in, or that the run fails. It depends on the epochs' rows as sets, never on the order within an
//! epoch: what else is equal is decided by the window that ends first, then by the bytes of the key.

use std::collections::VecDeque;

use tidemark_planner::plan::{AtLimit, EvictBy, StateLimits};

use super::group_table::GroupTable;
use super::key_rows::KeyRows;
use super::key_table::{KeyTable, Stretch};

/// What the keeper asks of the groups it judges.
pub trait Groups {
    /// One more than the greatest number of a group.
    fn slots(&self) -> usize;
    /// The rows that a group has.
    fn rows(&self, group: u32) -> i64;
    /// Bytes of memory that all groups take.
    fn bytes(&self) -> usize;
    /// Sorts groups by the end of their window, then by key.
    fn sort(&self, groups: &mut Vec<u32>);
    /// The keys of groups. `None` for no groups.
    fn keys(&self, groups: &[u32]) -> Option<KeyRows>;
    /// The hashes of the keys of groups.
    fn hashes(&self, groups: &[u32]) -> Vec<u64>;
}

impl Groups for GroupTable {
    fn slots(&self) -> usize {
        self.groups()
    }

    fn rows(&self, group: u32) -> i64 {
        self.rows(group)
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn sort(&self, groups: &mut Vec<u32>) {
        self.sort(groups);
    }

    fn keys(&self, groups: &[u32]) -> Option<KeyRows> {
        self.keys(groups)
    }

    fn hashes(&self, groups: &[u32]) -> Vec<u64> {
        self.hashes(groups)
    }
}

/// Why a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No row came for long.
    Idle,
    /// Its first row came long ago.
    Age,
    /// It has too many rows.
    Rows,
    /// Its key has too many windows.
    Windows,
    /// There are too many groups.
    Groups,
    /// State takes too much memory.
    Bytes,
}

impl Reason {
    /// The setting that says so.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Idle => "state.ttl",
            Self::Age => "state.max_age",
            Self::Rows => "state.max_rows_per_group",
            Self::Windows => "state.max_windows_per_key",
            Self::Groups => "state.max_groups",
            Self::Bytes => "state.max_bytes",
        }
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Windows => "windows",
            Self::Idle | Self::Age | Self::Groups => "groups",
            Self::Bytes => "bytes",
        }
    }
}

/// A limit that was passed where that fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Which one.
    pub reason: Reason,
    /// What it is, on this worker.
    pub limit: u64,
    /// What there is.
    pub found: u64,
}

/// The limit on all groups or all memory of one of some workers that what is held passes, if one does.
pub fn passed(limits: &StateLimits, workers: usize, (groups, bytes): (usize, usize)) -> Option<Passed> {
    let over = |reason, limit: Option<u64>, found: usize| {
        let limit = limit?.div_ceil(workers as u64);
        (found as u64 > limit).then_some(Passed { reason, limit, found: found as u64 })
    };
    over(Reason::Groups, limits.max_groups, groups).or_else(|| over(Reason::Bytes, limits.max_bytes, bytes))
}

/// What is to be done as an epoch closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Groups that go.
    pub leaving: Vec<(u32, Reason)>,
    /// Groups that came in this epoch and are not taken in.
    pub refused: Vec<(u32, Reason)>,
    /// The run fails.
    pub passed: Option<Passed>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    here: bool,
    /// Going, or refused, by the judgement under way.
    leaving: bool,
    /// Counts the groups that had this number.
    generation: u32,
    /// Epochs, from 1, in which rows came first and last.
    born: u64,
    touched: u64,
    /// The clock then.
    born_at: i64,
    touched_at: i64,
    /// The number of its key, where windows are counted.
    key: u32,
}

/// An entry of a queue; out of date when the group has gone or was touched again.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    group: u32,
    generation: u32,
    at: i64,
    round: u64,
}

/// The windows of each key.
#[derive(Debug, Default)]
struct Windows {
    keys: KeyTable,
    groups: Vec<Vec<u32>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Keeper {
    limits: StateLimits,
    members: Vec<Member>,
    live: usize,
    round: u64,
    /// Groups by their last and first row, where something goes by that.
    recent: Option<VecDeque<Stamp>>,
    oldest: Option<VecDeque<Stamp>>,
    windows: Option<Windows>,
}

/// The clock shows nothing yet.
const UNKNOWN: i64 = i64::MIN;
/// The input has ended: nothing ages any more.
const ENDED: i64 = i64::MAX;

impl Keeper {
    /// The keeper of one of some workers.
    pub fn new(limits: &StateLimits, workers: usize) -> Self {
        let share = |number: u64| number.div_ceil(workers as u64);
        let limits = StateLimits { max_groups: limits.max_groups.map(share), max_bytes: limits.max_bytes.map(share), ..limits.clone() };
        let goes_by = |by| limits.at_limit == AtLimit::Evict(by);
        Self {
            recent: (limits.ttl_us.is_some() || goes_by(EvictBy::LeastRecent)).then(VecDeque::new),
            oldest: (limits.max_age_us.is_some() || goes_by(EvictBy::Oldest)).then(VecDeque::new),
            windows: limits.max_windows_per_key.is_some().then(Windows::default),
            limits,
            members: Vec::new(),
            live: 0,
            round: 0,
        }
    }

    /// Groups that are kept.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        let queues = [&self.recent, &self.oldest].into_iter().flatten().map(VecDeque::capacity).sum::<usize>();
        let windows = self.windows.as_ref().map_or(0, |windows| windows.keys.bytes() + windows.groups.capacity() * 32);
        self.members.capacity() * size_of::<Member>() + queues * size_of::<Stamp>() + windows
    }

    /// When the clock next shows that some group may have to go, though no row comes.
    pub fn next_due(&self) -> Option<i64> {
        let first = |queue: &Option<VecDeque<Stamp>>, us: Option<i64>| Some(queue.as_ref()?.front()?.at.saturating_add(us?));
        [first(&self.recent, self.limits.ttl_us), first(&self.oldest, self.limits.max_age_us)].into_iter().flatten().min()
    }

    /// Ends an epoch: `touched` are the groups that rows came for, by window and key, each once; `now` is what the clock shows. Groups that
    /// the judgement names have gone, for the keeper.
    pub fn close(&mut self, table: &impl Groups, touched: &[u32], now: i64) -> Judgement {
        self.round += 1;
        let fresh = self.note(table, touched, now);
        let mut judgement = Judgement::default();
        self.ages(now, &mut judgement);
        self.numbers(table, touched, &fresh, &mut judgement);
        for (group, _) in judgement.leaving.iter().chain(&judgement.refused) {
            self.leave(*group);
        }
        judgement
    }

    /// Takes note of the rows that came; returns the groups that are new.
    fn note(&mut self, table: &impl Groups, touched: &[u32], now: i64) -> Vec<u32> {
        let slots = table.slots().max(self.members.len());
        self.members.resize(slots, Member::default());
        let mut fresh = Vec::new();
        for group in touched {
            let member = &mut self.members[*group as usize];
            (member.touched, member.touched_at) = (self.round, now);
            let stamp = Stamp { group: *group, generation: member.generation, at: now, round: self.round };
            if !member.here {
                member.here = true;
                (member.born, member.born_at) = (self.round, now);
                self.live += 1;
                fresh.push(*group);
                if let Some(oldest) = &mut self.oldest {
                    oldest.push_back(stamp);
                }
            }
            if let Some(recent) = &mut self.recent {
                recent.push_back(stamp);
            }
        }
        if let (Some(windows), Some(keys)) = (&mut self.windows, table.keys(&fresh)) {
            let mut ids = Vec::with_capacity(fresh.len());
            windows.keys.intern(&keys, &table.hashes(&fresh), Stretch { first: 0, rows: fresh.len() }, &mut ids);
            windows.groups.resize_with(windows.keys.numbers().max(windows.groups.len()), Vec::new);
            for (group, key) in fresh.iter().zip(ids) {
                self.members[*group as usize].key = key;
                windows.groups[key as usize].push(*group);
            }
        }
        fresh
    }

    /// Groups that time takes.
    fn ages(&mut self, now: i64, judgement: &mut Judgement) {
        if now == UNKNOWN || now == ENDED {
            return;
        }
        if let Some(us) = self.limits.ttl_us {
            self.expire(now, us, Reason::Idle, judgement);
        }
        if let Some(us) = self.limits.max_age_us {
            self.expire(now, us, Reason::Age, judgement);
        }
    }

    fn expire(&mut self, now: i64, us: i64, reason: Reason, judgement: &mut Judgement) {
        let queue = if reason == Reason::Idle { &mut self.recent } else { &mut self.oldest };
        let Some(queue) = queue else { return };
        // The time of those that came before the clock showed anything begins now.
        queue.iter_mut().take_while(|stamp| stamp.at == UNKNOWN).for_each(|stamp| stamp.at = now);
        while let Some(stamp) = queue.front().copied() {
            let member = &mut self.members[stamp.group as usize];
            let since = if reason == Reason::Idle { member.touched } else { member.born };
            let current = member.here && member.generation == stamp.generation && since == stamp.round;
            if current && stamp.at.saturating_add(us) > now {
                break;
            }
            queue.pop_front();
            if current && !std::mem::replace(&mut member.leaving, true) {
                judgement.leaving.push((stamp.group, reason));
            }
        }
    }

    /// Groups that are too many.
    fn numbers(&mut self, table: &impl Groups, touched: &[u32], fresh: &[u32], judgement: &mut Judgement) {
        if let Some(limit) = self.limits.max_rows_per_group {
            for group in touched {
                let rows = table.rows(*group).unsigned_abs();
                if rows > limit && !self.members[*group as usize].leaving {
                    match self.limits.at_limit {
                        AtLimit::Fail => return pass(judgement, Reason::Rows, limit, rows),
                        AtLimit::Refuse | AtLimit::Evict(_) => self.go(*group, Reason::Rows, judgement),
                    }
                }
            }
        }
        if let Some(limit) = self.limits.max_windows_per_key {
            self.windows_per_key(table, fresh, limit, judgement);
        }
        if let Some(limit) = self.limits.max_groups {
            self.all_groups(table, fresh, limit, limit, Reason::Groups, judgement);
        }
        if let Some(limit) = self.limits.max_bytes {
            let (bytes, slots) = ((table.bytes() + self.bytes()) as u64, table.slots().max(1) as u64);
            if bytes > limit {
                // Memory is not given back group by group: as many may stay as take the limit on average.
                let most = u64::try_from(u128::from(limit) * u128::from(slots) / u128::from(bytes)).unwrap_or(u64::MAX);
                self.all_groups(table, fresh, most, limit, Reason::Bytes, judgement);
                if let Some(passed) = &mut judgement.passed
                    && passed.reason == Reason::Bytes
                {
                    passed.found = bytes;
                }
            }
        }
    }

    fn windows_per_key(&mut self, table: &impl Groups, fresh: &[u32], limit: u64, judgement: &mut Judgement) {
        let mut keys: Vec<u32> = fresh.iter().map(|group| self.members[*group as usize].key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let windows = self.windows.as_ref().expect("windows are counted where they are limited");
            let mut groups: Vec<u32> = windows.groups[key as usize].clone();
            groups.retain(|group| !self.members[*group as usize].leaving);
            let over = groups.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
            if over == 0 {
                continue;
            }
            if self.limits.at_limit == AtLimit::Fail {
                return pass(judgement, Reason::Windows, limit, groups.len() as u64);
            }
            if self.limits.at_limit == AtLimit::Refuse {
                groups.retain(|group| self.members[*group as usize].born == self.round);
            }
            self.choose(table, groups, over, Reason::Windows, judgement);
        }
    }

    fn all_groups(&mut self, table: &impl Groups, fresh: &[u32], most: u64, limit: u64, reason: Reason, judgement: &mut Judgement) {
        let staying = self.live - judgement.leaving.len() - judgement.refused.len();
        let over = staying.saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        if over == 0 {
            return;
        }
        match self.limits.at_limit {
            AtLimit::Fail => pass(judgement, reason, limit, staying as u64),
            AtLimit::Refuse => {
                let groups = fresh.iter().copied().filter(|group| !self.members[*group as usize].leaving).collect();
                self.choose(table, groups, over, reason, judgement);
            }
            AtLimit::Evict(EvictBy::Oldest) => self.take_from_queue(over, false, reason, judgement),
            AtLimit::Evict(EvictBy::LeastRecent) => self.take_from_queue(over, true, reason, judgement),
            AtLimit::Evict(EvictBy::LeastFrequent | EvictBy::Largest) => {
                let members = self.members.iter().enumerate().filter(|(_, member)| member.here && !member.leaving);
                let groups = members.map(|(group, _)| group as u32).collect();
                self.choose(table, groups, over, reason, judgement);
            }
        }
    }

    /// The first of a queue go. Its order is that of epochs, and within one of windows and keys.
    fn take_from_queue(&mut self, mut over: usize, recent: bool, reason: Reason, judgement: &mut Judgement) {
        while over > 0 {
            let queue = if recent { &mut self.recent } else { &mut self.oldest };
            let stamp = queue.as_mut().and_then(VecDeque::pop_front).expect("every group that stays is in the queue");
            let member = &self.members[stamp.group as usize];
            let since = if recent { member.touched } else { member.born };
            if member.here && !member.leaving && member.generation == stamp.generation && since == stamp.round {
                self.go(stamp.group, reason, judgement);
                over -= 1;
            }
        }
    }

    /// So many of some groups go, or are refused, by the policy.
    fn choose(&mut self, table: &impl Groups, groups: Vec<u32>, over: usize, reason: Reason, judgement: &mut Judgement) {
        let members = &self.members;
        let rank = |group: u32| -> (i64, u64) {
            match self.limits.at_limit {
                AtLimit::Evict(EvictBy::Oldest) => (0, members[group as usize].born),
                AtLimit::Evict(EvictBy::LeastRecent) => (0, members[group as usize].touched),
                AtLimit::Evict(EvictBy::LeastFrequent) => (table.rows(group), 0),
                AtLimit::Evict(EvictBy::Largest) => (table.rows(group).saturating_neg(), 0),
                AtLimit::Refuse | AtLimit::Fail => (0, 0),
            }
        };
        let refuse = self.limits.at_limit == AtLimit::Refuse;
        for group in first(table, groups, over, rank, refuse) {
            if refuse {
                self.members[group as usize].leaving = true;
                judgement.refused.push((group, reason));
            } else {
                self.go(group, reason, judgement);
            }
        }
    }

    fn go(&mut self, group: u32, reason: Reason, judgement: &mut Judgement) {
        if !std::mem::replace(&mut self.members[group as usize].leaving, true) {
            judgement.leaving.push((group, reason));
        }
    }

    /// A group has gone: because the keeper said so, or because its window has closed or its rows were taken back.
    pub fn leave(&mut self, group: u32) {
        let Some(member) = self.members.get_mut(group as usize).filter(|member| member.here) else { return };
        member.here = false;
        member.leaving = false;
        member.generation = member.generation.wrapping_add(1);
        self.live -= 1;
        let key = member.key;
        if let Some(windows) = &mut self.windows {
            let groups = &mut windows.groups[key as usize];
            groups.retain(|other| *other != group);
            if groups.is_empty() {
                windows.keys.remove(key);
            }
        }
        if self.live == 0 {
            [&mut self.recent, &mut self.oldest].into_iter().flatten().for_each(VecDeque::clear);
        }
    }
}

fn pass(judgement: &mut Judgement, reason: Reason, limit: u64, found: u64) {
    judgement.passed.get_or_insert(Passed { reason, limit, found });
}

/// The first `count` of groups by rank; equals by window and key, or from behind by them.
fn first(table: &impl Groups, mut groups: Vec<u32>, count: usize, rank: impl Fn(u32) -> (i64, u64), from_behind: bool) -> Vec<u32> {
    if count == 0 || groups.is_empty() {
        return Vec::new();
    }
    if count >= groups.len() {
        table.sort(&mut groups);
        return groups;
    }
    let (_, edge, _) = groups.select_nth_unstable_by_key(count - 1, |group| rank(*group));
    let edge = rank(*edge);
    let mut chosen: Vec<u32> = groups.iter().copied().filter(|group| rank(*group) < edge).collect();
    let mut equal: Vec<u32> = groups.into_iter().filter(|group| rank(*group) == edge).collect();
    table.sort(&mut equal);
    let wanted = count - chosen.len();
    if from_behind {
        chosen.extend(equal.iter().rev().take(wanted));
    } else {
        chosen.extend(equal.iter().take(wanted));
    }
    table.sort(&mut chosen);
    chosen
}
