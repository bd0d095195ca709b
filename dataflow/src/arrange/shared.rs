//! What the chunks of one arrangement share: how much memory they hold, and which rows may be forgotten.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::control::Metrics;
use crate::epoch::Epoch;

/// Shared by the chunks of an arrangement on one worker.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    gauge: Option<Gauge>,
    floors: RefCell<VecDeque<(Epoch, i64)>>,
}

#[derive(Debug)]
struct Gauge {
    metrics: Arc<Metrics>,
    node: u32,
    local_worker: usize,
}

impl Shared {
    /// With the place where rows and bytes are counted.
    pub(crate) fn counted(metrics: Arc<Metrics>, node: u32, local_worker: usize) -> Self {
        Self { gauge: Some(Gauge { metrics, node, local_worker }), floors: RefCell::default() }
    }

    pub(crate) fn hold(&self, rows: usize, bytes: usize) {
        if let Some(gauge) = &self.gauge {
            let held = &gauge.metrics.operator(gauge.node).held[gauge.local_worker];
            held.0.fetch_add(rows as u64, Relaxed);
            held.1.fetch_add(bytes as u64, Relaxed);
        }
    }

    pub(crate) fn release(&self, rows: usize, bytes: usize) {
        if let Some(gauge) = &self.gauge {
            let held = &gauge.metrics.operator(gauge.node).held[gauge.local_worker];
            held.0.fetch_sub(rows as u64, Relaxed);
            held.1.fetch_sub(bytes as u64, Relaxed);
        }
    }

    /// Rows with an event time below `floor` meet no row of an epoch after `epoch`.
    pub(crate) fn raise(&self, epoch: Epoch, floor: i64) {
        let mut floors = self.floors.borrow_mut();
        if floors.back().is_none_or(|(_, last)| *last < floor) {
            floors.push_back((epoch, floor));
        }
    }

    /// Below which event time rows are of no use to a reader who asks for epochs from `since` on.
    pub(crate) fn floor(&self, since: Epoch) -> i64 {
        let mut floors = self.floors.borrow_mut();
        // Readers ask for later and later epochs; one that lags behind finds nothing to forget.
        while floors.get(1).is_some_and(|(epoch, _)| *epoch < since) {
            floors.pop_front();
        }
        floors.front().filter(|(epoch, _)| *epoch < since).map_or(i64::MIN, |(_, floor)| *floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_for_later_epochs_only() {
        let shared = Shared::default();
        shared.raise(3, 30);
        shared.raise(4, 30);
        shared.raise(5, 50);
        assert_eq!(shared.floor(3), i64::MIN);
        assert_eq!(shared.floor(4), 30);
        assert_eq!(shared.floor(5), 30);
        assert_eq!(shared.floor(6), 50);
        assert_eq!(shared.floor(5), i64::MIN);
    }
}
