//! # Floors
//!
//! Below which event time rows are of no use, epoch by epoch: the watermark of the relation they are joined with, less the slack.
//!
//! The other side of an outer, semi, anti or mark join is asked, for rows of ours that live, how many matches they have had: its
//! rows stay as long as a row they may have matched. Let `l` meet `r` only if `r <= l + a` and `l <= r + b`. A row `l` lives until
//! `W_r` passes `l + a`, so the last row that `r` may have matched lives until `W_r` passes `r + b + a`.

use tidemark_planner::plan::{JoinKind, NodeId, PhysicalOp, PhysicalPlan, Retention, SourceId, TimeDomain, WatermarkPlan};

use crate::batch::NO_WATERMARK;
use crate::epoch::Epoch;
use crate::watermark::{ENDED, WatermarkTracker, WatermarkUpdate};

/// A watermark, less a slack.
pub(crate) struct Floor {
    tracker: WatermarkTracker,
    slack_us: i64,
    /// The watermark moves with the frontier itself.
    pub(crate) by_clock: bool,
}

impl Floor {
    /// `partitions` tells the number of partitions of a source.
    pub(crate) fn new(watermark: &WatermarkPlan, slack_us: i64, partitions: &dyn Fn(SourceId) -> usize) -> Self {
        let sources: Vec<(u32, usize)> = watermark.sources.iter().map(|source| (source.0, partitions(*source))).collect();
        let tracker = WatermarkTracker::new(Some(watermark), &sources);
        Self { tracker, slack_us, by_clock: watermark.domain == TimeDomain::ProcessingTime }
    }

    /// Takes an update stamped with an epoch.
    pub(crate) fn update(&mut self, epoch: Epoch, update: WatermarkUpdate) {
        self.tracker.update(epoch, update);
    }

    /// The least epoch with updates that have not been closed.
    pub(crate) fn next_epoch(&self) -> Option<Epoch> {
        self.tracker.next_epoch()
    }

    /// The floor once an epoch has closed: rows with `time + slack < W`.
    pub(crate) fn close(&mut self, epoch: Epoch) -> i64 {
        match self.tracker.close(epoch) {
            ENDED => ENDED,
            // Unbounded, also for rows without a time, which lie below every watermark.
            _ if self.slack_us == i64::MAX => NO_WATERMARK,
            NO_WATERMARK => NO_WATERMARK,
            watermark => watermark.saturating_sub(self.slack_us),
        }
    }
}

/// The watermarks and slacks that must all have passed before a row of an arrangement may go; `None` if it must stay.
pub(crate) fn conditions(plan: &PhysicalPlan, arrangement: NodeId, retention: &Retention) -> Option<Vec<(WatermarkPlan, i64)>> {
    let mut all = vec![(retention.watermark.clone(), retention.slack_us)];
    for node in plan.nodes() {
        let PhysicalOp::Join(join) = &node.op else { continue };
        let (of_left, of_right) = match join.kind {
            JoinKind::Inner => (false, false),
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => (false, true),
            JoinKind::Right => (true, false),
            JoinKind::Full => (true, true),
        };
        for (this, other, asked) in [(join.left, join.right, of_left), (join.right, join.left, of_right)] {
            if this != arrangement || !asked {
                continue;
            }
            let PhysicalOp::Arrange(other) = &plan.node(other).op else { continue };
            let other = other.retention.as_ref()?;
            all.push((retention.own.clone(), retention.slack_us.saturating_add(other.slack_us)));
        }
    }
    Some(all)
}
