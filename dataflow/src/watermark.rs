//! # Watermarks in the dataflow
//!
//! Each source partition binds epochs to watermarks; updates `(source, partition, W)` travel beside the data, stamped with their
//! epoch. When the frontier passes `e`, the least watermark over the partitions is final: [`WatermarkTracker::close`].
//!
//! A partition that comes to be while a source is read takes part from the first epoch in which something is said of it. Until its
//! own watermark is known the relation's stands still; it never falls.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_planner::plan::{TimeDomain, WatermarkPlan};

use crate::batch::NO_WATERMARK;
use crate::epoch::Epoch;

/// A partition will read nothing more.
pub const ENDED: i64 = i64::MAX;

/// In place of a source: what ends in this epoch has been ended by a stop.
pub const FLUSH: u32 = u32::MAX;

/// From this epoch on, rows of the partition with an event time below the watermark are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WatermarkUpdate {
    /// The source, by its position in the plan, or [`FLUSH`].
    pub source: u32,
    /// The partition.
    pub partition: u32,
    /// The watermark in microseconds; [`ENDED`] when the partition has ended.
    pub watermark: i64,
}

/// Follows the watermark of one relation: the least over all partitions of its sources, less a delay.
#[derive(Debug)]
pub struct WatermarkTracker {
    domain: TimeDomain,
    delay_us: i64,
    sources: BTreeSet<u32>,
    partitions: BTreeMap<(u32, u32), i64>,
    pending: BTreeMap<Epoch, Vec<WatermarkUpdate>>,
    current: i64,
}

impl WatermarkTracker {
    /// A tracker of a relation whose sources begin with the numbers of partitions given. Without a plan it only tells the end of input.
    pub fn new(plan: Option<&WatermarkPlan>, sources: &[(u32, usize)]) -> Self {
        let partitions = sources
            .iter()
            .flat_map(|(source, count)| {
                (0..*count).map(move |partition| ((*source, u32::try_from(partition).unwrap_or(u32::MAX)), NO_WATERMARK))
            })
            .collect();
        Self {
            domain: plan.map_or(TimeDomain::EventTime, |plan| plan.domain),
            delay_us: plan.map_or(0, |plan| plan.delay_us),
            sources: sources.iter().map(|(source, _)| *source).collect(),
            partitions,
            pending: BTreeMap::new(),
            current: NO_WATERMARK,
        }
    }

    /// Takes an update stamped with an epoch. Updates of other sources are passed over.
    pub fn update(&mut self, epoch: Epoch, update: WatermarkUpdate) {
        if self.sources.contains(&update.source) {
            self.pending.entry(epoch).or_default().push(update);
        }
    }

    /// The least epoch with updates that have not been closed.
    pub fn next_epoch(&self) -> Option<Epoch> {
        self.pending.keys().next().copied()
    }

    /// The watermark that is final once the frontier has passed `epoch`. Never falls.
    pub fn close(&mut self, epoch: Epoch) -> i64 {
        while let Some(entry) = self.pending.first_entry() {
            let at = *entry.key();
            if at > epoch {
                break;
            }
            let updates = entry.remove();
            if updates.iter().any(|update| !self.partitions.contains_key(&(update.source, update.partition))) {
                // What the partitions before had reached stands, whether or not anybody asked for it.
                self.settle(at.saturating_sub(1));
            }
            for update in updates {
                let watermark = self.partitions.entry((update.source, update.partition)).or_insert(NO_WATERMARK);
                *watermark = (*watermark).max(update.watermark);
            }
        }
        self.settle(epoch);
        self.current
    }

    fn settle(&mut self, epoch: Epoch) {
        let least = self.partitions.values().copied().min().unwrap_or(ENDED);
        let next = match (self.domain, least) {
            (_, ENDED) => ENDED,
            (TimeDomain::EventTime, NO_WATERMARK) => NO_WATERMARK,
            (TimeDomain::EventTime, least) => least.saturating_sub(self.delay_us),
            (TimeDomain::ProcessingTime, _) => i64::try_from(epoch).unwrap_or(ENDED).saturating_sub(self.delay_us),
        };
        self.current = self.current.max(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(source: u32, partition: u32, watermark: i64) -> WatermarkUpdate {
        WatermarkUpdate { source, partition, watermark }
    }

    #[test]
    fn least_partition_holds_the_watermark_and_early_updates_wait() {
        let plan = WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![], delay_us: 5 };
        let mut tracker = WatermarkTracker::new(Some(&plan), &[(0, 2), (3, 1)]);
        tracker.update(1, update(0, 0, 100));
        tracker.update(2, update(0, 1, 50));
        tracker.update(2, update(9, 0, 1));
        assert_eq!(tracker.close(1), NO_WATERMARK);
        tracker.update(3, update(3, 0, 70));
        tracker.update(4, update(0, 1, 90));
        assert_eq!(tracker.close(3), 45);
        assert_eq!(tracker.close(4), 65);
        for (source, partition) in [(0, 0), (0, 1), (3, 0)] {
            tracker.update(5, update(source, partition, ENDED));
        }
        assert_eq!(tracker.close(5), ENDED);
    }

    #[test]
    fn a_partition_that_joins_holds_the_watermark_and_does_not_lower_it() {
        let plan = WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![], delay_us: 0 };
        // Whether or not the epochs before were closed one by one.
        for closed in [true, false] {
            let mut tracker = WatermarkTracker::new(Some(&plan), &[(0, 1)]);
            tracker.update(1, update(0, 0, 100));
            if closed {
                assert_eq!(tracker.close(1), 100);
            }
            tracker.update(2, update(0, 1, NO_WATERMARK));
            tracker.update(2, update(0, 0, 120));
            tracker.update(2, update(7, 0, NO_WATERMARK));
            assert_eq!(tracker.close(2), 100);
            tracker.update(3, update(0, 1, 100));
            tracker.update(3, update(0, 0, 150));
            assert_eq!(tracker.close(3), 100);
            tracker.update(4, update(0, 1, 130));
            assert_eq!(tracker.close(4), 130);
        }
    }

    #[test]
    fn processing_time_is_the_epoch() {
        let plan = WatermarkPlan { domain: TimeDomain::ProcessingTime, sources: vec![], delay_us: 0 };
        let mut tracker = WatermarkTracker::new(Some(&plan), &[(0, 1)]);
        assert_eq!(tracker.close(7), 7);
        tracker.update(8, update(0, 0, ENDED));
        assert_eq!(tracker.close(8), ENDED);
    }
}
