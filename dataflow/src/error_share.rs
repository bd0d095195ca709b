//! # Share of bad records
//!
//! Counts the bad ones among each so many records of a partition, in the partition's order: the answer does not depend on how the
//! partition was cut into chunks, nor on who decoded them.

use tidemark_connectors::source::Offsets;
use tidemark_planner::plan::ErrorShare;

/// The count of one partition.
#[derive(Debug, Default)]
pub(crate) struct BadShare {
    /// Records so far.
    seen: u64,
    /// Which of the runs of records `bad` is about.
    run: u64,
    bad: u64,
}

impl BadShare {
    /// Takes the next records: good ones with their offsets, and the offsets of bad ones. Says so when too many are bad.
    pub(crate) fn take(&mut self, share: ErrorShare, good: (usize, &Offsets), mut bad: Vec<u64>) -> Option<String> {
        let (count, offsets) = good;
        bad.sort_unstable();
        let before = self.seen;
        self.seen += (count + bad.len()) as u64;
        let mut exceeded = None;
        for (nth, offset) in bad.iter().enumerate() {
            let position = before + (first_not_below(count, offsets, *offset) + nth) as u64;
            let run = position / share.of;
            if run != self.run {
                self.run = run;
                self.bad = 0;
            }
            self.bad += 1;
            if self.bad == share.bad_max() + 1 && exceeded.is_none() {
                let first = run * share.of;
                exceeded = Some(format!(
                    "more than {} per cent of the {} records from number {} on are bad",
                    share.percent(),
                    share.of,
                    first + 1
                ));
            }
        }
        exceeded
    }
}

/// How many good records lie before an offset.
fn first_not_below(count: usize, offsets: &Offsets, offset: u64) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if offsets.get(middle) < offset { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Counted naively: the first run of records with too many bad ones.
    fn oracle(share: ErrorShare, records: &[bool]) -> Option<u64> {
        let runs = records.chunks(usize::try_from(share.of).unwrap());
        let over = |run: &&[bool]| run.iter().filter(|bad| **bad).count() as u64 > share.bad_max();
        runs.enumerate().find(|(_, run)| over(run)).map(|(run, _)| run as u64 * share.of + 1)
    }

    proptest! {
        #[test]
        fn chunks_leave_no_trace(
            records in proptest::collection::vec(prop::bool::weighted(0.3), 0..200),
            cuts in proptest::collection::vec(1_usize..30, 1..20),
            points in 1_u32..10_000,
            of in 1_u64..40,
        ) {
            let share = ErrorShare { basis_points: points, of };
            let mut counted = BadShare::default();
            let mut found = None;
            let (mut at, mut cut) = (0, 0);
            while at < records.len() {
                let end = (at + cuts[cut % cuts.len()]).min(records.len());
                cut += 1;
                let offsets_of = |wanted: bool| (at..end).filter(|i| records[*i] == wanted).map(|i| 10 * i as u64).collect::<Vec<_>>();
                let good = offsets_of(false);
                let said = counted.take(share, (good.len(), &Offsets::Each(Arc::new(good))), offsets_of(true));
                found = found.or(said);
                at = end;
            }
            let expected = oracle(share, &records);
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(first)) = (found, expected) {
                let needle = format!("from number {first} on");
                prop_assert!(found.contains(&needle), "{} {}", found, first);
            }
        }
    }
}
