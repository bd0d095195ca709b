//! # Limits of errors
//!
//! Counts, for sources whose ON ERROR has a LIMIT, the records that are bad at any stage and the results that cannot be computed, and says
//! when there are too many. A record is bad once, however often it fails: all its failures are of the epoch it was read in.
//!
//! Which records are counted together is known from the input alone for a share of so many records of a partition, and from the epochs
//! they were read in for so many, or a share, within a time. An epoch is counted when it is complete, so neither the cut into chunks nor
//! the number of workers matters.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_connectors::source::Offsets;
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::{ErrorRate, ErrorRateMost, ErrorShare, SourcePlan};

use crate::epoch::Epoch;

/// Records of a partition that have been read, good and bad ones.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RecordsRead {
    /// The source.
    pub(crate) source: u32,
    /// The partition.
    pub(crate) partition: u32,
    /// How many.
    pub(crate) records: u64,
    /// Runs of records that begin among them: their numbers, and the offset of the first record of each.
    pub(crate) runs: Vec<(u64, u64)>,
}

/// Where the runs of records of a partition begin that a share is taken of.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// Records so far.
    seen: u64,
}

impl Runs {
    /// Takes the next records: good ones with their offsets, and the offsets of bad ones.
    pub(crate) fn take(&mut self, of: u64, good: (usize, &Offsets), mut bad: Vec<u64>) -> Vec<(u64, u64)> {
        let (count, offsets) = good;
        bad.sort_unstable();
        let records = (count + bad.len()) as u64;
        let mut runs = Vec::new();
        let mut next = (of - self.seen % of) % of;
        // Bad records before the next run, each among the good ones that lie before it.
        let mut bad_before = 0;
        while next < records {
            let position = next as usize;
            while bad_before < bad.len() && first_not_below(count, offsets, bad[bad_before]) + bad_before < position {
                bad_before += 1;
            }
            let is_bad = bad_before < bad.len() && first_not_below(count, offsets, bad[bad_before]) + bad_before == position;
            let offset = if is_bad { bad[bad_before] } else { offsets.get(position - bad_before) };
            runs.push(((self.seen + next) / of, offset));
            next += of;
        }
        self.seen += records;
        runs
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

/// The limits of all sources.
#[derive(Debug)]
pub(crate) struct ErrorLimits {
    /// `None` for a source without limits.
    sources: Vec<Option<SourceLimits>>,
    /// What was told of epochs that are not complete.
    open: BTreeMap<Epoch, Told>,
}

#[derive(Debug, Default)]
struct Told {
    reads: Vec<RecordsRead>,
    /// Bad records, each with a reason.
    records: BTreeMap<(u32, u32, u64), String>,
    /// Results that could not be computed, by a source they are made of.
    results: BTreeMap<u32, (u64, String)>,
}

/// A limit that is exceeded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// Of this source.
    pub(crate) source: u32,
    /// In this partition, if the limit is one of partitions.
    pub(crate) partition: Option<u32>,
    /// Which, and how.
    pub(crate) reason: String,
}

impl ErrorLimits {
    /// The limits of a plan, if there are any.
    pub(crate) fn new(plans: &[SourcePlan]) -> Option<Self> {
        let sources: Vec<Option<SourceLimits>> = plans.iter().map(SourceLimits::new).collect();
        sources.iter().any(Option::is_some).then(|| Self { sources, open: BTreeMap::new() })
    }

    pub(crate) fn read(&mut self, epoch: Epoch, read: RecordsRead) {
        self.open.entry(epoch).or_default().reads.push(read);
    }

    /// A record of a source is bad.
    pub(crate) fn record(&mut self, epoch: Epoch, source: u32, partition: u32, offset: u64, reason: &str) {
        if self.limited(source) {
            let record = self.open.entry(epoch).or_default().records.entry((source, partition, offset));
            // Of several reasons, the same one in every run.
            record
                .and_modify(|known| {
                    if known.as_str() > reason {
                        reason.clone_into(known)
                    }
                })
                .or_insert_with(|| reason.to_owned());
        }
    }

    /// A result made of a source cannot be computed.
    pub(crate) fn result(&mut self, epoch: Epoch, source: u32, reason: &str) {
        if self.limited(source) {
            let (count, last) = self.open.entry(epoch).or_default().results.entry(source).or_default();
            *count += 1;
            if last.as_str() < reason {
                reason.clone_into(last);
            }
        }
    }

    fn limited(&self, source: u32) -> bool {
        self.sources.get(source as usize).is_some_and(Option::is_some)
    }

    /// Counts the epochs before the frontier. Says which limits are exceeded.
    pub(crate) fn close(&mut self, frontier: Option<Epoch>) -> Vec<Exceeded> {
        let mut out = Vec::new();
        while let Some(first) = self.open.first_entry().filter(|first| frontier.is_none_or(|frontier| *first.key() < frontier)) {
            let (epoch, told) = first.remove_entry();
            for (source, limits) in (0..).zip(&mut self.sources) {
                if let Some(limits) = limits {
                    limits.pass(Some(epoch), source, &mut out);
                    limits.count(source, &told, &mut out);
                }
            }
        }
        for (source, limits) in (0..).zip(&mut self.sources) {
            if let Some(limits) = limits {
                limits.pass(frontier, source, &mut out);
            }
        }
        out
    }
}

/// The limits of one source, and what they have counted.
#[derive(Debug)]
struct SourceLimits {
    rows_max: Option<u64>,
    bad: u64,
    share: Option<ErrorShare>,
    /// Of each partition, the run that its last record is in, and its bad records.
    runs: BTreeMap<u32, (u64, u64)>,
    rates: Vec<Rate>,
}

/// A limit within a time.
#[derive(Debug)]
struct Rate {
    limit: ErrorRate,
    /// Which stretch of time is counted.
    at: Option<i64>,
    records: u64,
    bad: u64,
}

impl SourceLimits {
    fn new(plan: &SourcePlan) -> Option<Self> {
        let policy = &plan.on_error;
        let rates: Vec<Rate> = policy.rates().iter().map(|limit| Rate { limit: *limit, at: None, records: 0, bad: 0 }).collect();
        let limits = Self { rows_max: policy.rows_max(), bad: 0, share: policy.share_max(), runs: BTreeMap::new(), rates };
        (limits.rows_max.is_some() || limits.share.is_some() || !limits.rates.is_empty()).then_some(limits)
    }

    /// Time has come to an epoch, or to its end: stretches of time before it are complete.
    fn pass(&mut self, epoch: Option<Epoch>, source: u32, out: &mut Vec<Exceeded>) {
        for rate in &mut self.rates {
            let now = epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX).div_euclid(rate.limit.within_us));
            if let Some(at) = rate.at.filter(|at| now.is_none_or(|now| now > *at)) {
                if let ErrorRateMost::BasisPoints(points) = rate.limit.most
                    && u128::from(rate.bad) * 10_000 > u128::from(points) * u128::from(rate.records)
                {
                    let (bad, records) = (rate.bad, rate.records);
                    let from = crate::render_row::render_time(at.saturating_mul(rate.limit.within_us));
                    let (within, most) = (format_us(rate.limit.within_us), rate.limit.most_text());
                    let reason = format!("{bad} of {records} rows were bad in the {within} from {from}, and ON ERROR allows {most}");
                    out.push(Exceeded { source, partition: None, reason });
                }
                (rate.at, rate.records, rate.bad) = (None, 0, 0);
            }
            if rate.at.is_none() {
                rate.at = now;
            }
        }
    }

    fn count(&mut self, source: u32, told: &Told, out: &mut Vec<Exceeded>) {
        let records = told.records.range((source, 0, 0)..=(source, u32::MAX, u64::MAX));
        let results = told.results.get(&source);
        let bad = records.clone().count() as u64 + results.map_or(0, |(count, _)| *count);
        let reads = || told.reads.iter().filter(|read| read.source == source);
        let last = || results.map(|(_, reason)| reason.as_str()).or(records.clone().next_back().map(|(_, reason)| reason.as_str()));
        self.bad += bad;
        if let Some(most) = self.rows_max.filter(|most| bad > 0 && self.bad > *most) {
            let reason = format!("{} rows were bad, and ON ERROR allows {most}; the last: {}", self.bad, last().unwrap_or_default());
            out.push(Exceeded { source, partition: None, reason });
        }
        for rate in &mut self.rates {
            rate.records += reads().map(|read| read.records).sum::<u64>();
            rate.bad += bad;
            if let ErrorRateMost::Rows(most) = rate.limit.most
                && bad > 0
                && rate.bad > most
            {
                let (within, last) = (format_us(rate.limit.within_us), last().unwrap_or_default());
                let reason = format!("{} rows were bad within {within}, and ON ERROR allows {most}; the last: {last}", rate.bad);
                out.push(Exceeded { source, partition: None, reason });
            }
        }
        let Some(share) = self.share else { return };
        let mut runs: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        reads().for_each(|read| runs.entry(read.partition).or_default().extend(&read.runs));
        let partitions: BTreeSet<u32> = records.clone().map(|((_, partition, _), _)| *partition).chain(runs.keys().copied()).collect();
        for partition in partitions {
            let mut begun = runs.remove(&partition).unwrap_or_default();
            begun.sort_unstable();
            let mut begun = begun.into_iter().peekable();
            let (run, bad) = self.runs.entry(partition).or_default();
            let mut begin = |offset: u64, run: &mut u64, bad: &mut u64| {
                while let Some((next, _)) = begun.next_if(|(_, first)| *first <= offset) {
                    (*run, *bad) = (next, 0);
                }
            };
            for ((.., offset), _) in told.records.range((source, partition, 0)..=(source, partition, u64::MAX)) {
                begin(*offset, run, bad);
                *bad += 1;
                if *bad == share.bad_max() + 1 {
                    let (percent, of, first) = (share.percent(), share.of, *run * share.of + 1);
                    let reason = format!("more than {percent} per cent of the {of} records from number {first} on are bad");
                    out.push(Exceeded { source, partition: Some(partition), reason });
                }
            }
            begin(u64::MAX, run, bad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    const WITHIN: i64 = 10;

    /// A record: in the chunk before or in one after it, in the same epoch or so many later, and how it fails.
    #[derive(Clone, Copy, Debug)]
    struct Record {
        new_chunk: bool,
        later: u64,
        fails: Fails,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fails {
        Never,
        WhenDecoded,
        /// In so many expressions.
        Later(usize),
    }

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let fails = prop_oneof![4 => Just(Fails::Never), 1 => Just(Fails::WhenDecoded), 1 => (1..3_usize).prop_map(Fails::Later)];
        let record = (any::<bool>(), prop_oneof![3 => Just(0), 1 => 1..15_u64], fails);
        let record = record.prop_map(|(new_chunk, later, fails)| Record { new_chunk: new_chunk || later > 0, later, fails });
        proptest::collection::vec(record, 0..80)
    }

    /// Epoch of each record.
    fn epochs(records: &[Record]) -> Vec<u64> {
        records
            .iter()
            .scan(1_000, |epoch, record| {
                *epoch += record.later;
                Some(*epoch)
            })
            .collect()
    }

    fn tell(limits: &mut ErrorLimits, partition: u32, records: &[Record], of: u64) {
        let epochs = epochs(records);
        let mut runs = Runs::default();
        let starts: Vec<usize> = (0..records.len()).filter(|at| *at == 0 || records[*at].new_chunk).collect();
        for (nth, start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(records.len());
            let offsets =
                |bad: bool| (*start..end).filter(move |at| (records[*at].fails == Fails::WhenDecoded) == bad).map(|at| 7 * at as u64);
            let good: Vec<u64> = offsets(false).collect();
            let runs = runs.take(of, (good.len(), &Offsets::Each(Arc::new(good))), offsets(true).collect());
            let read = RecordsRead { source: 0, partition, records: (end - start) as u64, runs };
            limits.read(epochs[*start], read);
        }
        for (at, record) in records.iter().enumerate() {
            let times = match record.fails {
                Fails::Never => 0,
                Fails::WhenDecoded => 1,
                Fails::Later(times) => times,
            };
            (0..times).for_each(|nth| limits.record(epochs[at], 0, partition, 7 * at as u64, &format!("reason {nth}")));
        }
    }

    fn limits(rows_max: Option<u64>, share: Option<ErrorShare>, rates: &[ErrorRateMost]) -> ErrorLimits {
        let rates = rates.iter().map(|most| ErrorRate { most: *most, within_us: WITHIN });
        let rates = rates.map(|limit| Rate { limit, at: None, records: 0, bad: 0 }).collect();
        let source = SourceLimits { rows_max, bad: 0, share, runs: BTreeMap::new(), rates };
        ErrorLimits { sources: vec![Some(source)], open: BTreeMap::new() }
    }

    /// What is exceeded, closing at some epochs first.
    fn exceeded(mut limits: ErrorLimits, partitions: &[Vec<Record>], of: u64, closings: &[u64]) -> Vec<(Option<u32>, String)> {
        (0..).zip(partitions).for_each(|(partition, records)| tell(&mut limits, partition, records, of));
        let mut closings = closings.to_vec();
        closings.sort_unstable();
        let mut out: Vec<Exceeded> = closings.into_iter().flat_map(|at| limits.close(Some(at))).collect();
        out.extend(limits.close(None));
        out.into_iter().map(|it| (it.partition, it.reason)).collect()
    }

    fn bad(record: &Record) -> bool {
        record.fails != Fails::Never
    }

    proptest! {
        #[test]
        fn shares_of_records_leave_no_trace_of_chunks_and_epochs(
            partitions in proptest::collection::vec(records(), 1..3),
            points in 1_u32..10_000,
            of in 1_u64..20,
            closings in proptest::collection::vec(1_000_u64..1_400, 0..5),
        ) {
            let share = ErrorShare { basis_points: points, of };
            let mut found = exceeded(limits(None, Some(share), &[]), &partitions, of, &closings);
            let mut expected = Vec::new();
            for (partition, records) in (0..).zip(&partitions) {
                for (run, records) in records.chunks(of as usize).enumerate() {
                    if records.iter().filter(|it| bad(it)).count() as u64 > share.bad_max() {
                        let first = run as u64 * of + 1;
                        let text = format!("more than {} per cent of the {of} records from number {first} on are bad", share.percent());
                        expected.push((Some(partition), text));
                    }
                }
            }
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn counts_and_rates_are_exact(
            partitions in proptest::collection::vec(records(), 1..3),
            most in 0_u64..20,
            points in 1_u32..10_000,
            closings in proptest::collection::vec(1_000_u64..1_400, 0..5),
        ) {
            let rates = [ErrorRateMost::Rows(most), ErrorRateMost::BasisPoints(points)];
            let found = exceeded(limits(Some(most), None, &rates), &partitions, 1, &closings);
            let has = |part: &str| found.iter().any(|(_, reason)| reason.contains(part));
            let all: Vec<(u64, bool)> = partitions
                .iter()
                .flat_map(|records| epochs(records).into_iter().zip(records.iter().map(bad)))
                .collect();
            prop_assert_eq!(has(" rows were bad, and"), all.iter().filter(|it| it.1).count() as u64 > most);
            let mut stretches: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (epoch, bad) in all {
                let (read, failed) = stretches.entry(epoch / WITHIN as u64).or_default();
                *read += 1;
                *failed += u64::from(bad);
            }
            prop_assert_eq!(has(" rows were bad within "), stretches.values().any(|(_, bad)| *bad > most));
            let over = |(read, bad): &(u64, u64)| bad * 10_000 > u64::from(points) * read;
            for (at, stretch) in &stretches {
                let (read, bad) = stretch;
                let from = crate::render_row::render_time((at * WITHIN as u64) as i64);
                prop_assert_eq!(has(&format!("{bad} of {read} rows were bad in the 10us from {from},")), over(stretch));
            }
        }
    }

    #[test]
    fn results_count_too() {
        let mut limits = limits(Some(1), None, &[ErrorRateMost::BasisPoints(5_000)]);
        limits.read(10, RecordsRead { source: 0, partition: 0, records: 3, runs: vec![] });
        limits.record(10, 0, 0, 5, "no number");
        limits.result(10, 0, "overflow");
        let found: Vec<String> = limits.close(None).into_iter().map(|it| it.reason).collect();
        assert_eq!(
            found,
            [
                "2 rows were bad, and ON ERROR allows 1; the last: overflow",
                "2 of 3 rows were bad in the 10us from 1970-01-01T00:00:00.000010, and ON ERROR allows 50 per cent",
            ]
        );
    }
}
