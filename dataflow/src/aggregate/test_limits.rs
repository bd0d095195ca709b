//! Limits by their definition, for the tests of this folder: lists of groups that are sorted whenever somebody has to go. It shares no code with
//! the keeper.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use proptest::prelude::*;
use tidemark_planner::plan::{AtLimit, EvictBy, Evicted, StateClock, StateLimits, TimeDomain, WatermarkPlan};

use super::keyed_batch::owner;
use super::{AggregateLayout, LimitCounts, Store};

/// A group, as far as limits are concerned.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Who it is, to whoever asks.
    pub(super) id: usize,
    pub(super) key: i64,
    /// The end and start of its window.
    pub(super) window: (i64, i64),
    /// Its first epoch, its window then, and the clock.
    pub(super) born: u64,
    pub(super) born_window: (i64, i64),
    pub(super) born_at: i64,
    pub(super) touched: u64,
    pub(super) touched_at: i64,
    pub(super) rows: i64,
}

/// What is to be done as an epoch closes, with the places of the reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) leaving: Vec<usize>,
    pub(super) refused: Vec<usize>,
    pub(super) counts: LimitCounts,
    /// The reason and the limit that fail the run.
    pub(super) passed: Option<(usize, u64)>,
}

struct Judge<'a> {
    limits: &'a StateLimits,
    epoch: u64,
    left: Vec<Member>,
    verdict: Verdict,
}

impl Judge<'_> {
    fn go(&mut self, id: usize, reason: usize) {
        let at = self.left.iter().position(|member| member.id == id).unwrap();
        let member = self.left.remove(at);
        self.verdict.counts.left[reason] += 1;
        self.verdict.counts.left_rows += member.rows as u64;
        self.verdict.leaving.push(id);
    }

    fn choose(&mut self, mut from: Vec<Member>, limit: usize, most: u64, reason: usize) {
        let over = from.len().saturating_sub(limit);
        match self.limits.at_limit {
            _ if over == 0 => {}
            AtLimit::Fail => _ = self.verdict.passed.get_or_insert((reason, most)),
            AtLimit::Refuse => {
                from.retain(|member| member.born == self.epoch);
                from.sort_by_key(|member| (member.window, member.key));
                for member in from.into_iter().rev().take(over) {
                    self.left.retain(|other| other.id != member.id);
                    self.verdict.counts.refused_groups += 1;
                    self.verdict.counts.refused_rows += member.rows as u64;
                    self.verdict.refused.push(member.id);
                }
            }
            AtLimit::Evict(by) => {
                from.sort_by_key(|member| match by {
                    EvictBy::Oldest => (member.born as i64, member.born_window, member.key),
                    EvictBy::LeastRecent => (member.touched as i64, member.window, member.key),
                    EvictBy::LeastFrequent => (member.rows, member.window, member.key),
                    EvictBy::Largest => (-member.rows, member.window, member.key),
                });
                from.into_iter().take(over).for_each(|member| self.go(member.id, reason));
            }
        }
    }
}

/// Judges the groups of one of some workers, none of which is over.
pub(super) fn judge(limits: &StateLimits, workers: usize, epoch: u64, now: i64, members: &[Member]) -> Verdict {
    let mut judge = Judge { limits, epoch, left: members.to_vec(), verdict: Verdict::default() };
    for member in members.iter().filter(|_| now != i64::MAX && now != i64::MIN) {
        if limits.ttl_us.is_some_and(|us| member.touched_at.saturating_add(us) <= now) {
            judge.go(member.id, 0);
        } else if limits.max_age_us.is_some_and(|us| member.born_at.saturating_add(us) <= now) {
            judge.go(member.id, 1);
        }
    }
    if let Some(limit) = limits.max_rows_per_group {
        for member in judge.left.clone().into_iter().filter(|member| member.touched == epoch && member.rows as u64 > limit) {
            if limits.at_limit == AtLimit::Fail {
                judge.verdict.passed.get_or_insert((2, limit));
            } else {
                judge.go(member.id, 2);
            }
        }
    }
    if let Some(limit) = limits.max_windows_per_key {
        let mut keys: Vec<i64> = judge.left.iter().map(|member| member.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let own = judge.left.iter().filter(|member| member.key == key).cloned().collect();
            judge.choose(own, limit as usize, limit, 3);
        }
    }
    if let Some(limit) = limits.max_groups {
        let share = limit.div_ceil(workers as u64);
        judge.choose(judge.left.clone(), share as usize, share, 4);
    }
    judge.verdict
}

pub(super) fn policies() -> impl Strategy<Value = AtLimit> {
    prop_oneof![
        Just(AtLimit::Fail),
        Just(AtLimit::Refuse),
        Just(AtLimit::Evict(EvictBy::Oldest)),
        Just(AtLimit::Evict(EvictBy::LeastRecent)),
        Just(AtLimit::Evict(EvictBy::LeastFrequent)),
        Just(AtLimit::Evict(EvictBy::Largest)),
    ]
}

prop_compose! {
    /// Limits that the planner lets through, but for what windows allow of [`Evicted`].
    pub(super) fn limits()(
        by_watermark in any::<bool>(), (ttl_us, max_age_us) in (prop::option::weighted(0.4, 1..12i64), prop::option::weighted(0.3, 1..20i64)),
        numbers in (prop::option::weighted(0.5, 1..9u64), prop::option::weighted(0.4, 1..3u64), prop::option::weighted(0.3, 1..6u64)),
        at_limit in policies(), evicted in prop_oneof![Just(Evicted::Retract), Just(Evicted::Seal), Just(Evicted::Forget)],
    ) -> StateLimits {
        let watermark = WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![], delay_us: 0 };
        let (max_groups, max_windows_per_key, max_rows_per_group) = numbers;
        StateLimits {
            ttl_us,
            max_age_us,
            clock: if by_watermark { StateClock::Event(watermark) } else { StateClock::Processing },
            max_groups,
            max_windows_per_key,
            max_rows_per_group: max_rows_per_group.filter(|_| at_limit != AtLimit::Refuse),
            max_bytes: None,
            at_limit,
            evicted,
        }
    }
}

/// The worker that a key belongs to.
pub(super) fn worker_of(layout: &AggregateLayout, key: i64, workers: usize) -> usize {
    let keys = layout.codec.encode(&[Arc::new(Int64Array::from(vec![key])) as ArrayRef], 1).unwrap();
    owner(keys.hashes()[0], workers)
}

/// Adds up what a store tells of its limits, and returns the reason and the limit that fail the run.
pub(super) fn take_report(store: &mut Store, counts: &mut LimitCounts) -> Option<(usize, u64)> {
    let report = store.take_limit_report().unwrap_or_default();
    assert_eq!(report.refused.len() as u64, report.counts.refused_groups);
    counts.add(&report.counts);
    report.passed.map(|passed| (passed.reason as usize, passed.limit))
}

/// Limits that do not depend on which keys share a worker.
pub(super) fn of_keys_and_time(mut limits: StateLimits) -> StateLimits {
    limits.max_groups = None;
    if limits.at_limit == AtLimit::Fail {
        limits.max_windows_per_key = None;
        limits.max_rows_per_group = None;
    }
    limits
}
