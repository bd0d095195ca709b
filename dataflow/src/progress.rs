//! # Where partitions stand
//!
//! What a run keeps of each partition so that it can be said what holds a watermark: the row that set it, when that was, whether the
//! partition has had anything since, and how far its rows are out of order. Noted once for each chunk; nothing here changes a result.

use crate::batch::NO_WATERMARK;
use crate::epoch::Epoch;
use crate::report::{DelayReport, PartitionReport};
use crate::watermark::ENDED;

/// Rows after which the share of rows in time forgets half of what it knows.
const TRAIL_ROWS: u64 = 1 << 17;

/// Delays for which it is counted how many rows would have been in time, in microseconds, ascending.
pub const DELAYS_US: [i64; 18] = [
    0,
    1_000,
    10_000,
    100_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// How far rows were behind the greatest event time before them in their partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disorder {
    rows: u64,
    /// Rows behind by at most each delay and more than the one before; the last are behind by more than all.
    classes: [u64; DELAYS_US.len() + 1],
    sum_us: u128,
    max_us: i64,
}

impl Disorder {
    /// Takes the times of a chunk, with the greatest time before it.
    pub(crate) fn add(&mut self, times: &[i64], before: i64) {
        let mut greatest = before;
        for time in times.iter().copied().filter(|time| *time != NO_WATERMARK) {
            let behind = if greatest == NO_WATERMARK { 0 } else { greatest.saturating_sub(time).max(0) };
            self.rows += 1;
            self.classes[DELAYS_US.partition_point(|delay| *delay < behind)] += 1;
            self.sum_us += u128::from(behind.unsigned_abs());
            self.max_us = self.max_us.max(behind);
            greatest = greatest.max(time);
        }
    }
}

/// One partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    /// Offset and event time of the row that set the watermark; `None` before the first, and where the others set it.
    pub(crate) set_by: Option<(u64, i64)>,
    /// The epoch it was set in.
    pub(crate) set_at: Epoch,
    /// The epoch of the last rows; 0 before the first.
    pub(crate) read_at: Epoch,
    /// One past the last record.
    pub(crate) next_offset: u64,
    /// It was idle for the declared time and follows the fastest.
    pub(crate) passed_over: bool,
    /// It is so far ahead that it waits for the slowest.
    pub(crate) waits: bool,
    /// Of the last rows, how many there were and how many were behind the watermark.
    trail: (u64, u64),
    pub(crate) disorder: Option<Disorder>,
}

impl Mark {
    /// A partition of which nothing has been read.
    pub(crate) fn new(measure: bool) -> Self {
        Self { disorder: measure.then(Disorder::default), ..Self::default() }
    }

    /// Counts rows that were judged, and those of them that were behind the watermark.
    pub(crate) fn judged(&mut self, rows: u64, behind: u64) {
        self.trail = (self.trail.0 + rows, self.trail.1 + behind);
        if self.trail.0 >= TRAIL_ROWS {
            self.trail = (self.trail.0 / 2, self.trail.1 / 2);
        }
    }

    pub(crate) fn report(&self, name: &str, watermark: i64) -> PartitionReport {
        let (rows, behind) = self.trail;
        let known = |epoch: Epoch| (epoch > 0).then_some(epoch);
        PartitionReport {
            name: name.to_owned(),
            ended: watermark == ENDED,
            watermark_us: (watermark != ENDED && watermark != NO_WATERMARK).then_some(watermark),
            set_by_offset: self.set_by.map(|(offset, _)| offset),
            set_by_time_us: self.set_by.map(|(_, time)| time),
            set_at_us: known(self.set_at),
            read_at_us: known(self.read_at),
            next_offset: self.next_offset,
            passed_over: self.passed_over,
            waits: self.waits,
            confidence: (rows > 0).then(|| 1.0 - behind as f64 / rows as f64),
            delays: self.disorder.as_ref().map_or_else(Vec::new, |disorder| {
                let mut in_time = 0;
                let known = DELAYS_US.iter().zip(disorder.classes).map(|(delay_us, rows)| {
                    in_time += rows;
                    DelayReport { delay_us: *delay_us, in_time, rows: disorder.rows }
                });
                known.collect()
            }),
            behind_max_us: self.disorder.as_ref().map(|disorder| disorder.max_us),
            behind_mean_us: self
                .disorder
                .as_ref()
                .filter(|disorder| disorder.rows > 0)
                .map(|disorder| i64::try_from(disorder.sum_us / u128::from(disorder.rows)).unwrap_or(i64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_buys_the_rows_that_are_behind_by_at_most_that() {
        let mut mark = Mark::new(true);
        let disorder = mark.disorder.as_mut().expect("it measures");
        disorder.add(&[100, 2_000_000, NO_WATERMARK, 1_000_000, 1_999_000], NO_WATERMARK);
        disorder.add(&[3_000_000, 3_000_000], 2_000_000);
        let report = mark.report("p", 5);
        let bought = |us: i64| report.delays.iter().find(|delay| delay.delay_us == us).map(|delay| (delay.in_time, delay.rows));
        assert_eq!(
            (bought(0), bought(1_000), bought(500_000), bought(1_000_000)),
            (Some((4, 6)), Some((5, 6)), Some((5, 6)), Some((6, 6)))
        );
        assert_eq!((report.behind_max_us, report.behind_mean_us), (Some(1_000_000), Some(166_833)));
    }

    #[test]
    fn confidence_is_of_the_last_rows() {
        let mut mark = Mark::default();
        assert_eq!(mark.report("p", 0).confidence, None);
        mark.judged(100, 50);
        assert_eq!(mark.report("p", 0).confidence, Some(0.5));
        for _ in 0..40 {
            mark.judged(TRAIL_ROWS, 0);
        }
        assert!(mark.report("p", 0).confidence.is_some_and(|share| share > 0.999));
    }
}
