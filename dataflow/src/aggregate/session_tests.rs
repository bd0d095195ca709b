//! Sessions against their definition: stretches of rows that overlap, found by comparing every pair, over random disorder, lateness,
//! retraction, cuts into epochs and workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use tidemark_planner::plan::{AggregateFunction, Emit, FiringPlan, KeyPlan, NamedExpr, TriggerPlan, WindowColumn, WindowKind, WindowPlan};

use super::test_accumulators::accumulator;
use super::test_rows::{aggregate, batch, column, read, schema, windows};
use super::{AggregateLayout, KeyedBatch, LocalHalf, RowWatermarks, Store};

#[derive(Clone, Debug)]
struct Row {
    epoch: u64,
    time: i64,
    key: i64,
    value: i64,
    diff: i64,
    watermark: i64,
}

impl Row {
    fn cells(&self) -> [i64; 3] {
        [self.time, self.key, self.value]
    }
}

#[derive(Clone, Debug)]
struct Case {
    gap: i64,
    lateness: i64,
    emit: Emit,
    /// Of [`Emit::Triggered`].
    trigger: TriggerPlan,
    retractable: bool,
    delay: i64,
    /// Rows of each partition, epochs ascending.
    partitions: Vec<Vec<Row>>,
    epochs: u64,
    workers: usize,
    chunk: usize,
}

type Answer = BTreeMap<Vec<i64>, i64>;

impl Case {
    fn layout(&self) -> Arc<AggregateLayout> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let aggregate = |function, argument: Option<&str>| aggregate(function, argument, DataType::Int64, self.retractable);
        let aggregates = vec![
            aggregate(AggregateFunction::Count, None),
            aggregate(AggregateFunction::Sum, Some("value")),
            aggregate(AggregateFunction::Min, Some("value")),
        ];
        let keys = [
            KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") }),
            KeyPlan::Window(WindowColumn::Start, "s".into()),
            KeyPlan::Window(WindowColumn::End, "e".into()),
        ];
        let mut fields = vec![Field::new("key", DataType::Int64, true), Field::new("s", time.clone(), false), Field::new("e", time, false)];
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.as_ref().clone()));
        let window = WindowPlan {
            firing: (self.emit == Emit::Triggered).then(|| FiringPlan { trigger: self.trigger.clone(), purge: false }),
            ..windows(WindowKind::Session { gap_us: self.gap }, self.lateness)
        };
        let output = Arc::new(Schema::new(fields));
        let made = AggregateLayout::new(&schema(), self.retractable, &keys, &aggregates, Some(&window), self.emit, output, accumulator);
        Arc::new(made.unwrap())
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.partitions.iter().flatten()
    }

    fn watermark(&self, epoch: u64) -> i64 {
        let of = |rows: &Vec<Row>| {
            rows.iter().filter(|row| row.epoch <= epoch).map(|row| row.time).max().map_or(i64::MIN, |time| time - self.delay)
        };
        self.partitions.iter().map(of).min().unwrap()
    }

    /// Sessions come out once.
    fn once(&self) -> bool {
        self.emit == Emit::Final && self.lateness == 0
    }

    /// The sessions of the rows up to an epoch, by definition, each with its end, and how many late rows are in none.
    fn answer(&self, epoch: u64) -> (Vec<(i64, Vec<i64>)>, u64) {
        let mut by_key: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
        self.rows().filter(|row| row.epoch <= epoch).for_each(|row| by_key.entry(row.key).or_default().push(row));
        let (mut answer, mut lost) = (Vec::new(), 0);
        for (key, rows) in by_key {
            let came = |row: &Row| row.time.max(row.watermark.saturating_sub(self.lateness));
            let (good, late): (Vec<&Row>, Vec<&Row>) = rows.into_iter().partition(|row| came(row) < row.time + self.gap);
            // The stretches of times that have rows left.
            let mut stretches: BTreeMap<i64, (Vec<i64>, usize)> = BTreeMap::new();
            for row in &good {
                let (cames, taken) = stretches.entry(row.time).or_default();
                if row.diff > 0 { cames.push(came(row)) } else { *taken += 1 }
            }
            let mut covers: Vec<(i64, i64)> = Vec::new();
            for (time, (mut cames, taken)) in stretches {
                cames.sort_unstable();
                covers.extend(cames.get(taken).map(|from| (*from, time + self.gap)));
            }
            // Overlapping ones are one, until there are none.
            'again: loop {
                for a in 0..covers.len() {
                    for b in a + 1..covers.len() {
                        if covers[a].0 < covers[b].1 && covers[b].0 < covers[a].1 {
                            let other = covers.swap_remove(b);
                            covers[a] = (covers[a].0.min(other.0), covers[a].1.max(other.1));
                            continue 'again;
                        }
                    }
                }
                break;
            }
            for row in &late {
                let last = row.time + self.gap - 1;
                lost += u64::from(!covers.iter().any(|(from, end)| (*from..*end).contains(&last) && came(row) < *end));
            }
            for (from, end) in covers {
                let mut values: BTreeMap<(i64, i64), i64> = BTreeMap::new();
                let mut times: BTreeMap<i64, i64> = BTreeMap::new();
                let held = |row: &&&Row| (from..end).contains(&(row.time + self.gap - 1)) && came(row) < end;
                for row in good.iter().filter(|row| (from..end).contains(&(row.time + self.gap - 1))).chain(late.iter().filter(held)) {
                    *values.entry((row.value, 0)).or_default() += row.diff;
                    *times.entry(row.time).or_default() += row.diff;
                }
                let count: i64 = values.values().sum();
                if count == 0 {
                    continue;
                }
                let start = times.iter().find(|(_, count)| **count != 0).map_or(from, |(time, _)| *time);
                let sum = values.iter().map(|((value, _), count)| value * count).sum();
                let min = values.iter().filter(|(_, count)| **count != 0).map(|((value, _), _)| *value).min().unwrap();
                answer.push((end, vec![key, start, end, count, sum, min]));
            }
        }
        (answer, lost)
    }
}

fn add(total: &mut Answer, row: Vec<i64>, diff: i64) {
    let count = total.entry(row.clone()).or_default();
    *count += diff;
    if *count == 0 {
        total.remove(&row);
    }
}

/// Runs a case and compares every epoch; returns what has come out and how many rows were too late.
fn run(case: &Case, compare: bool) -> (Answer, u64) {
    let layout = case.layout();
    let mut halves: Vec<LocalHalf> = (0..case.workers).map(|_| LocalHalf::new(layout.clone(), false)).collect();
    let mut stores: Vec<Store> = (0..case.workers).map(|_| Store::new(layout.clone(), false)).collect();
    let (mut total, mut too_late) = (Answer::new(), 0);
    for epoch in 1..=case.epochs + 1 {
        for (partition, rows) in case.partitions.iter().enumerate() {
            let rows: Vec<Row> = rows.iter().filter(|row| row.epoch == epoch).cloned().collect();
            for (number, rows) in rows.chunks(case.chunk).enumerate() {
                let half = &mut halves[(partition + number) % case.workers];
                let diffs: Vec<i64> = rows.iter().map(|row| row.diff).collect();
                let watermarks: Vec<i64> = rows.iter().map(|row| row.watermark).collect();
                let pushed =
                    half.push(&batch(rows.iter().map(Row::cells)), case.retractable.then_some(&diffs), RowWatermarks::Each(&watermarks));
                assert!(pushed.bad.is_empty() && pushed.late.dropped == 0);
                for batch in pushed.batches {
                    let parts = KeyedBatch::from_bytes(&batch.to_bytes()).unwrap().split(case.workers);
                    stores.iter_mut().zip(parts).for_each(|(store, part)| store.absorb(epoch, part));
                }
            }
        }
        let last = epoch > case.epochs;
        let watermark = if last { i64::MAX } else { case.watermark(epoch) };
        for store in &mut stores {
            loop {
                let output = store.close(epoch, watermark);
                for (values, diff) in read(&output) {
                    assert!(diff == 1 || !case.once());
                    add(&mut total, values, diff);
                }
                if !output.more {
                    break;
                }
            }
            too_late += store.take_too_late().total();
        }
        if compare {
            let rows = case.answer(if case.once() { u64::MAX } else { epoch }).0;
            let mut expected = Answer::new();
            for (end, row) in rows {
                if case.emit == Emit::Changes || last || end <= watermark {
                    add(&mut expected, row, 1);
                }
            }
            if case.retractable && case.once() && !last {
                // A session that loses its last rows ends earlier, perhaps when it should have come out already.
                let all: Vec<Vec<i64>> = case.answer(u64::MAX).0.into_iter().map(|(_, row)| row).collect();
                assert!(total.iter().all(|(row, count)| *count == 1 && all.contains(row)), "after epoch {epoch}: {total:?} of {all:?}");
                continue;
            }
            let mut found = total.clone();
            if case.emit == Emit::Triggered {
                // Of sessions that go on something may stand, or not yet.
                found.retain(|row, _| last || row[2] <= watermark);
            }
            assert_eq!(found, expected, "after epoch {epoch} at {watermark}");
        }
    }
    assert_eq!(stores.iter().map(Store::groups).sum::<usize>(), 0, "nothing is kept after the end");
    (total, too_late)
}

prop_compose! {
    fn row()(
        step in prop_oneof![8 => -9..10i64, 1 => 15..60i64],
        key in 0..3i64, value in -5..20i64,
        next in prop::bool::weighted(0.3), takes_back in prop::bool::weighted(0.35), which in any::<prop::sample::Index>(),
    ) -> (i64, i64, i64, bool, Option<prop::sample::Index>) {
        (step, key, value, next, takes_back.then_some(which))
    }
}

prop_compose! {
    fn cases()(
        gap in 1..20i64, lateness in prop_oneof![Just(0), 1..20i64], changes in any::<bool>(), retractable in any::<bool>(),
        delay in prop_oneof![3 => 0..10i64, 1 => Just(1000)], raw in prop::collection::vec(prop::collection::vec(row(), 0..50), 1..4),
        first in -40..40i64, workers in 1..=4usize, chunk in 1..20usize,
    ) -> Case {
        let mut epochs = 1;
        let partitions = raw.into_iter().map(|raw| {
            let (mut rows, mut time, mut epoch, mut greatest): (Vec<Row>, i64, u64, Option<i64>) = (Vec::new(), first, 1, None);
            let mut alive: Vec<usize> = Vec::new();
            for (step, key, value, next, takes_back) in raw {
                epoch += u64::from(next);
                let watermark = greatest.map_or(i64::MIN, |greatest: i64| greatest - delay);
                let row = match takes_back {
                    Some(which) if retractable && !alive.is_empty() => {
                        Row { epoch, diff: -1, watermark, ..rows[alive.swap_remove(which.index(alive.len()))] }
                    }
                    _ => {
                        time += step;
                        alive.push(rows.len());
                        Row { epoch, time, key, value, diff: 1, watermark }
                    }
                };
                greatest = greatest.max(Some(row.time));
                rows.push(row);
            }
            epochs = epochs.max(epoch);
            rows
        }).collect();
        let emit = if changes { Emit::Changes } else { Emit::Final };
        Case { gap, lateness, emit, trigger: TriggerPlan::Watermark, retractable, delay, partitions, epochs, workers, chunk }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_are_those_of_the_definition(case in cases()) {
        let (_, too_late) = run(&case, true);
        prop_assert_eq!(too_late, case.answer(u64::MAX).1);
    }

    /// Whatever made them fire before, sessions that have ended stand as they are, and nothing else with an end that has passed.
    #[test]
    fn no_result_outlives_its_end(mut case in cases(), every in 1..4i64, both in any::<bool>()) {
        let early = TriggerPlan::Every(every);
        let early = if both { TriggerPlan::All(vec![early, TriggerPlan::Every(2)]) } else { early };
        case.emit = Emit::Triggered;
        case.trigger = TriggerPlan::Any(vec![early, TriggerPlan::Watermark]);
        run(&case, true);
    }

    #[test]
    fn cuts_into_epochs_leave_no_trace(case in cases(), cut in 1..4u64) {
        let once = run(&case, false);
        let mut coarse = case.clone();
        coarse.partitions.iter_mut().flatten().for_each(|row| row.epoch = row.epoch.div_ceil(cut));
        coarse.workers = 5 - case.workers;
        coarse.chunk = 1 + case.chunk / 2;
        prop_assert_eq!(once, run(&coarse, false));
    }
}
