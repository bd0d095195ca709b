//! Limits on groups against a naive answer. Only which worker a key belongs to is asked of the engine, since each worker has its share of a
//! limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, AtLimit, Emit, EvictBy, Evicted, KeyPlan, NamedExpr, StateClock, StateLimits, WindowColumn, WindowKind,
};

use super::test_accumulators::accumulator;
use super::test_limits::{Member, judge, limits, of_keys_and_time, take_report, worker_of};
use super::test_rows::{aggregate, batch, column, read, schema, windows};
use super::{AggregateLayout, KeyedBatch, LimitCounts, LocalHalf, RowWatermarks, Store};

#[derive(Clone, Debug)]
struct Row {
    epoch: u64,
    time: i64,
    key: i64,
    value: i64,
}

impl Row {
    fn cells(&self) -> [i64; 3] {
        [self.time, self.key, self.value]
    }
}

#[derive(Clone, Debug)]
struct Case {
    window: bool,
    lateness: i64,
    emit: Emit,
    limits: StateLimits,
    rows: Vec<Row>,
    epochs: u64,
    workers: usize,
    chunk: usize,
}

const SIZE: i64 = 10;

/// Rows, and how often each stands.
type Answer = BTreeMap<Vec<i64>, i64>;

impl Case {
    fn layout(&self) -> Arc<AggregateLayout> {
        let aggregate = |function, argument: Option<&str>| aggregate(function, argument, DataType::Int64, false);
        let aggregates = vec![aggregate(AggregateFunction::Count, None), aggregate(AggregateFunction::Sum, Some("value"))];
        let mut keys = vec![KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") })];
        let mut fields = vec![Field::new("key", DataType::Int64, true)];
        if self.window {
            keys.push(KeyPlan::Window(WindowColumn::End, "e".into()));
            fields.push(Field::new("e", DataType::Timestamp(TimeUnit::Microsecond, None), false));
        }
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.as_ref().clone()));
        let window = self.window.then(|| windows(WindowKind::Tumble { size_us: SIZE }, self.lateness));
        let output = Arc::new(Schema::new(fields));
        let made = AggregateLayout::new(&schema(), false, &keys, &aggregates, window.as_ref(), self.emit, output, accumulator).unwrap();
        Arc::new(made.with_limits(Some(Arc::new(self.limits.clone()))))
    }

    /// Rows of later epochs come at or after it.
    fn watermark(&self, epoch: u64) -> i64 {
        3 * epoch as i64
    }
}

#[derive(Clone, Debug)]
struct Group {
    key: i64,
    end: i64,
    born: u64,
    born_at: i64,
    touched: u64,
    touched_at: i64,
    rows: i64,
    sum: i64,
}

/// One worker by the definition.
#[derive(Default)]
struct Naive {
    groups: Vec<Group>,
    sealed: Vec<(i64, i64)>,
    /// Results that stay.
    stay: Answer,
    counts: LimitCounts,
    passed: Option<(usize, u64)>,
}

impl Group {
    fn member(&self, id: usize) -> Member {
        let Self { key, end, born, born_at, touched, touched_at, rows, .. } = *self;
        Member { id, key, window: (end, 0), born, born_window: (end, 0), born_at, touched, touched_at, rows }
    }
}

impl Naive {
    fn result(case: &Case, group: &Group) -> Vec<i64> {
        if case.window { vec![group.key, group.end, group.rows, group.sum] } else { vec![group.key, group.rows, group.sum] }
    }

    fn epoch(&mut self, case: &Case, epoch: u64, rows: &[&Row], watermark: i64) {
        let now = if case.limits.watermark().is_some() { watermark } else { epoch as i64 };
        for row in rows {
            let end = if case.window { row.time.div_euclid(SIZE) * SIZE + SIZE } else { 0 };
            if self.sealed.contains(&(row.key, end)) {
                self.counts.sealed_rows += 1;
                continue;
            }
            let found = self.groups.iter().position(|group| (group.key, group.end) == (row.key, end));
            let at = found.unwrap_or_else(|| {
                let new = Group { key: row.key, end, born: epoch, born_at: now, touched: epoch, touched_at: now, rows: 0, sum: 0 };
                self.groups.push(new);
                self.groups.len() - 1
            });
            let group = &mut self.groups[at];
            (group.touched, group.touched_at) = (epoch, now);
            group.rows += 1;
            group.sum += row.value;
        }
        if case.window {
            let over = |end: i64| end.saturating_add(case.lateness) <= watermark;
            for group in self.groups.iter().filter(|group| over(group.end)) {
                *self.stay.entry(Self::result(case, group)).or_default() += 1;
            }
            self.groups.retain(|group| !over(group.end));
            self.sealed.retain(|(_, end)| !over(*end));
        }
        let members: Vec<Member> = self.groups.iter().enumerate().map(|(id, group)| group.member(id)).collect();
        let verdict = judge(&case.limits, case.workers, epoch, now, &members);
        self.counts.add(&verdict.counts);
        self.passed = self.passed.or(verdict.passed);
        for id in &verdict.leaving {
            let group = &self.groups[*id];
            if case.limits.evicted != Evicted::Retract {
                *self.stay.entry(Self::result(case, group)).or_default() += 1;
            }
            if case.limits.evicted == Evicted::Seal {
                self.sealed.push((group.key, group.end));
            }
        }
        let mut id = 0;
        self.groups.retain(|_| {
            id += 1;
            !verdict.leaving.contains(&(id - 1)) && !verdict.refused.contains(&(id - 1))
        });
    }

    /// What has come out.
    fn answer(&self, case: &Case, watermark: i64, answer: &mut Answer) {
        for (row, count) in &self.stay {
            *answer.entry(row.clone()).or_default() += count;
        }
        for group in self.groups.iter().filter(|group| case.emit == Emit::Changes || group.end <= watermark) {
            *answer.entry(Self::result(case, group)).or_default() += 1;
        }
    }
}

/// Runs a case, compares every epoch, and returns all changes.
fn run(case: &Case) -> Vec<(u64, Vec<i64>, i64)> {
    let layout = case.layout();
    let mut halves: Vec<LocalHalf> = (0..case.workers).map(|_| LocalHalf::new(layout.clone(), false)).collect();
    let mut stores: Vec<Store> = (0..case.workers).map(|_| Store::among(layout.clone(), false, case.workers)).collect();
    let mut naive: Vec<Naive> = (0..case.workers).map(|_| Naive::default()).collect();
    let (mut total, mut changes, mut counts) = (Answer::new(), Vec::new(), LimitCounts::default());
    for epoch in 1..=case.epochs + 1 {
        let rows: Vec<Row> = case.rows.iter().filter(|row| row.epoch == epoch).cloned().collect();
        for (number, rows) in rows.chunks(case.chunk).enumerate() {
            let half = &mut halves[number % case.workers];
            let pushed = half.push(&batch(rows.iter().map(Row::cells)), None, RowWatermarks::Constant(case.watermark(epoch - 1)));
            let flushed = half.flush();
            for batch in pushed.batches.into_iter().chain(flushed) {
                let parts = KeyedBatch::from_bytes(&batch.to_bytes()).unwrap().split(case.workers);
                stores.iter_mut().zip(parts).for_each(|(store, part)| store.absorb(epoch, part));
            }
        }
        let last = epoch > case.epochs;
        let watermark = if last { i64::MAX } else { case.watermark(epoch) };
        let (mut expected, mut failed) = (Answer::new(), false);
        for (worker, store) in stores.iter_mut().enumerate() {
            if !rows.is_empty()
                || store.next_tick().is_some_and(|tick| tick <= epoch)
                || case.window
                || case.limits.watermark().is_some()
                || last
            {
                loop {
                    let output = store.close(epoch, watermark);
                    for (values, diff) in read(&output) {
                        let count = total.entry(values.clone()).or_default();
                        *count += diff;
                        assert!(*count >= 0, "{values:?} is taken back and was not out");
                        changes.push((epoch, values, diff));
                    }
                    if !output.more {
                        break;
                    }
                }
            }
            let passed = take_report(store, &mut counts);
            let own: Vec<&Row> = rows.iter().filter(|row| worker_of(&layout, row.key, case.workers) == worker).collect();
            naive[worker].epoch(case, epoch, &own, watermark);
            assert_eq!(passed, naive[worker].passed, "epoch {epoch}");
            failed |= passed.is_some();
            naive[worker].answer(case, watermark, &mut expected);
        }
        total.retain(|_, count| *count != 0);
        assert_eq!(total, expected, "after epoch {epoch} at {watermark}");
        let mut all = LimitCounts::default();
        naive.iter().for_each(|one| all.add(&one.counts));
        assert_eq!(counts, all, "after epoch {epoch} at {watermark}");
        if failed {
            break;
        }
    }
    changes.sort();
    changes
}

prop_compose! {
    fn cases()(
        (window, lateness, fin) in (any::<bool>(), prop_oneof![Just(0), Just(12i64)], any::<bool>()), limits in limits(),
        raw in prop::collection::vec((0..3u64, 0..15i64, 0..8i64, -5..20i64), 0..90), workers in 1..=4usize, chunk in 1..20usize,
    ) -> Case {
        let mut epoch = 1;
        let rows: Vec<Row> = raw.into_iter().map(|(next, ahead, key, value)| {
            epoch += next / 2;
            Row { epoch, time: 3 * epoch as i64 + ahead, key, value }
        }).collect();
        let limits = StateLimits {
            max_windows_per_key: limits.max_windows_per_key.filter(|_| window),
            evicted: if window && limits.evicted == Evicted::Forget { Evicted::Retract } else { limits.evicted },
            ..limits
        };
        let emit = if fin && window { Emit::Final } else { Emit::Changes };
        Case { window, lateness: if window { lateness } else { 0 }, emit, limits, rows, epochs: epoch + 4, workers, chunk }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_stay_as_the_definition_says(case in cases()) {
        run(&case);
    }

    /// What is said of each key, and of time, does not depend on workers and chunks.
    #[test]
    fn limits_of_keys_and_time_are_the_same_for_all_workers(case in cases(), workers in 1..=4usize, chunk in 1..20usize) {
        let one = Case { limits: of_keys_and_time(case.limits.clone()), ..case };
        let other = Case { workers, chunk, ..one.clone() };
        prop_assert_eq!(run(&one), run(&other));
    }
}

#[test]
fn memory_is_bounded_about() {
    let limits = StateLimits {
        ttl_us: None,
        max_age_us: None,
        clock: StateClock::Processing,
        max_groups: None,
        max_windows_per_key: None,
        max_rows_per_group: None,
        max_bytes: Some(200_000),
        at_limit: AtLimit::Evict(EvictBy::LeastRecent),
        evicted: Evicted::Retract,
    };
    let case = Case { window: false, lateness: 0, emit: Emit::Changes, limits, rows: vec![], epochs: 0, workers: 1, chunk: 1 };
    let layout = case.layout();
    let (mut half, mut store) = (LocalHalf::new(layout.clone(), true), Store::new(layout, false));
    let mut most = 0;
    for epoch in 1..200u64 {
        let rows: Vec<Row> = (0..100).map(|at| Row { epoch, time: 0, key: (epoch * 100 + at) as i64, value: 1 }).collect();
        for batch in half.push(&batch(rows.iter().map(Row::cells)), None, RowWatermarks::None).batches.into_iter().chain(half.flush()) {
            store.absorb(epoch, batch);
        }
        while store.close(epoch, i64::MIN).more {}
        most = most.max(store.bytes());
    }
    assert!(most < 400_000 && store.groups() > 100, "{most} bytes, {} groups", store.groups());
}
