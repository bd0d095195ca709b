//! Limits on sessions against a naive answer: the rows that are left, and the stretches that are sealed, as lists; sessions found by comparing
//! every pair. Only which worker a key belongs to is asked of the engine, since each worker has its share of a limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::Literal;
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, Emit, Evicted, FiringPlan, KeyPlan, NamedExpr, StateLimits, TriggerPlan, WindowColumn, WindowKind, WindowPlan,
};

use super::test_accumulators::accumulator;
use super::test_limits::{Member, judge, limits, of_keys_and_time, take_report, worker_of};
use super::test_rows::{aggregate, batch, column, read, schema, windows};
use super::{AggregateLayout, KeyedBatch, LimitCounts, LocalHalf, RowWatermarks, Store};

#[derive(Clone, Copy, Debug)]
struct Row {
    epoch: u64,
    time: i64,
    key: i64,
    value: i64,
    watermark: i64,
}

#[derive(Clone, Debug)]
struct Case {
    gap: i64,
    lateness: i64,
    /// Triggered: at each row.
    emit: Emit,
    /// Firings purge: what comes out is not compared, what limits do is.
    purge: bool,
    limits: StateLimits,
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
        let aggregate = |function, argument: Option<&str>| aggregate(function, argument, DataType::Int64, false);
        let aggregates = vec![aggregate(AggregateFunction::Count, None), aggregate(AggregateFunction::Sum, Some("value"))];
        let keys = [
            KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") }),
            KeyPlan::Window(WindowColumn::Start, "s".into()),
            KeyPlan::Window(WindowColumn::End, "e".into()),
        ];
        let mut fields = vec![Field::new("key", DataType::Int64, true), Field::new("s", time.clone(), false), Field::new("e", time, false)];
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.as_ref().clone()));
        let partition = Arc::new(Literal::new(ScalarValue::Int32(Some(0))));
        let firing = FiringPlan { trigger: TriggerPlan::EveryRecords(1), purge: self.purge };
        let window = WindowPlan {
            firing: (self.emit == Emit::Triggered).then_some(firing),
            places: if self.emit == Emit::Triggered { vec![partition as _, column("value")] } else { vec![] },
            ..windows(WindowKind::Session { gap_us: self.gap }, self.lateness)
        };
        let output = Arc::new(Schema::new(fields));
        let made = AggregateLayout::new(&schema(), false, &keys, &aggregates, Some(&window), self.emit, output, accumulator);
        Arc::new(made.unwrap().with_limits(Some(Arc::new(self.limits.clone()))))
    }

    fn watermark(&self, epoch: u64) -> i64 {
        let of = |rows: &Vec<Row>| {
            rows.iter().filter(|row| row.epoch <= epoch).map(|row| row.time).max().map_or(i64::MIN, |time| time - self.delay)
        };
        self.partitions.iter().map(of).min().unwrap()
    }

    /// When a row came, and when the session ends that it makes alone.
    fn stretch(&self, row: &Row) -> (i64, i64) {
        (row.time.max(row.watermark.saturating_sub(self.lateness)), row.time + self.gap)
    }
}

/// A session, with the rows that make it and those that are late in it.
#[derive(Clone, Debug)]
struct Session {
    member: Member,
    from: i64,
    rows: Vec<Row>,
    late: Vec<Row>,
}

impl Session {
    fn holds(&self, case: &Case, row: &Row) -> bool {
        let (came, end) = case.stretch(row);
        self.member.key == row.key && came < self.member.window.0 && self.from < end
    }

    fn result(&self) -> Vec<i64> {
        let all = || self.rows.iter().chain(&self.late);
        let (end, start) = self.member.window;
        vec![self.member.key, start, end, all().count() as i64, all().map(|row| row.value).sum()]
    }

    /// Works out its bounds from its rows.
    fn settle(&mut self, case: &Case) {
        self.from = self.rows.iter().map(|row| case.stretch(row).0).min().unwrap();
        let end = self.rows.iter().map(|row| case.stretch(row).1).max().unwrap();
        let start = self.rows.iter().chain(&self.late).map(|row| row.time).min().unwrap();
        self.member.window = (end, start);
        self.member.rows = (self.rows.len() + self.late.len()) as i64;
    }
}

/// One worker by the definition.
#[derive(Default)]
struct Naive {
    sessions: Vec<Session>,
    waiting: Vec<Row>,
    /// Of a key, what a sealed session covers.
    sealed: Vec<(i64, i64, i64)>,
    stay: Answer,
    counts: LimitCounts,
    passed: Option<(usize, u64)>,
    lost: u64,
    next: usize,
}

impl Naive {
    fn is_sealed(&mut self, case: &Case, row: &Row) -> bool {
        let (came, end) = case.stretch(row);
        let sealed = self.sealed.iter().any(|(key, from, until)| *key == row.key && came < *until && *from < end);
        self.counts.sealed_rows += u64::from(sealed);
        sealed
    }

    fn epoch(&mut self, case: &Case, epoch: u64, rows: &[Row], watermark: i64) {
        let clock = if case.limits.watermark().is_some() { watermark } else { epoch as i64 };
        let kept = if watermark == i64::MAX { watermark } else { watermark.saturating_sub(case.lateness) };
        for row in rows {
            let (came, end) = case.stretch(row);
            if came >= end {
                // Judged once: when it comes, and again where it waits.
                self.waiting.push(*row);
                continue;
            }
            if self.is_sealed(case, row) {
                continue;
            }
            self.next += 1;
            let member = Member {
                id: self.next,
                key: row.key,
                window: (end, row.time),
                // Of this epoch until it is known what it has become.
                born: epoch,
                born_window: (i64::MAX, i64::MAX),
                born_at: clock,
                touched: epoch,
                touched_at: clock,
                rows: 1,
            };
            self.sessions.push(Session { member, from: came, rows: vec![*row], late: vec![] });
        }
        'again: loop {
            for a in 0..self.sessions.len() {
                for b in a + 1..self.sessions.len() {
                    let (one, two) = (&self.sessions[a], &self.sessions[b]);
                    if one.member.key == two.member.key && one.from < two.member.window.0 && two.from < one.member.window.0 {
                        let other = self.sessions.swap_remove(b);
                        let one = &mut self.sessions[a];
                        let age = |member: &Member| (member.born, member.born_window);
                        if age(&other.member) < age(&one.member) {
                            (one.member.born, one.member.born_window) = age(&other.member);
                            one.member.born_at = other.member.born_at;
                        }
                        if other.member.touched > one.member.touched {
                            (one.member.touched, one.member.touched_at) = (other.member.touched, other.member.touched_at);
                        }
                        one.rows.extend(other.rows);
                        one.late.extend(other.late);
                        one.settle(case);
                        continue 'again;
                    }
                }
            }
            break;
        }
        for row in std::mem::take(&mut self.waiting) {
            if self.is_sealed(case, &row) {
                continue;
            }
            match self.sessions.iter_mut().find(|session| session.holds(case, &row)) {
                Some(session) => {
                    session.late.push(row);
                    (session.member.touched, session.member.touched_at) = (epoch, clock);
                    session.settle(case);
                }
                None if case.stretch(&row).0 < kept => self.lost += 1,
                None => self.waiting.push(row),
            }
        }
        // Time begins when the clock first shows one.
        for member in self.sessions.iter_mut().map(|session| &mut session.member) {
            member.born_at = if member.born_at == i64::MIN { clock } else { member.born_at };
            member.touched_at = if member.touched_at == i64::MIN { clock } else { member.touched_at };
        }
        for session in self.sessions.iter_mut().filter(|session| session.member.born_window.0 == i64::MAX) {
            session.member.born_window = session.member.window;
        }
        let over = |session: &Session| session.member.window.0 <= kept;
        for session in self.sessions.iter().filter(|session| over(session)) {
            *self.stay.entry(session.result()).or_default() += 1;
        }
        self.sessions.retain(|session| !over(session));
        let members: Vec<Member> = self.sessions.iter().map(|session| session.member.clone()).collect();
        let verdict = judge(&case.limits, case.workers, epoch, clock, &members);
        self.counts.add(&verdict.counts);
        self.passed = self.passed.or(verdict.passed);
        for session in self.sessions.iter().filter(|session| verdict.leaving.contains(&session.member.id)) {
            if case.limits.evicted == Evicted::Seal {
                *self.stay.entry(session.result()).or_default() += 1;
                self.sealed.push((session.member.key, session.from, session.member.window.0));
            }
        }
        let goes = |id: &usize| verdict.leaving.contains(id) || verdict.refused.contains(id);
        self.sessions.retain(|session| !goes(&session.member.id));
        self.sealed.retain(|(_, _, end)| *end > kept);
    }

    /// What has come out.
    fn answer(&self, case: &Case, watermark: i64, answer: &mut Answer) {
        for (row, count) in &self.stay {
            *answer.entry(row.clone()).or_default() += count;
        }
        for session in self.sessions.iter().filter(|session| case.emit != Emit::Final || session.member.window.0 <= watermark) {
            *answer.entry(session.result()).or_default() += 1;
        }
    }
}

/// Runs a case, compares every epoch, and returns all that has come out by epoch.
fn run(case: &Case) -> Vec<Answer> {
    let layout = case.layout();
    let mut halves: Vec<LocalHalf> = (0..case.workers).map(|_| LocalHalf::new(layout.clone(), false)).collect();
    let mut stores: Vec<Store> = (0..case.workers).map(|_| Store::among(layout.clone(), false, case.workers)).collect();
    let mut naive: Vec<Naive> = (0..case.workers).map(|_| Naive::default()).collect();
    let (mut total, mut by_epoch, mut counts, mut too_late) = (Answer::new(), Vec::new(), LimitCounts::default(), 0);
    for epoch in 1..=case.epochs + 1 {
        let mut all = Vec::new();
        for (partition, rows) in case.partitions.iter().enumerate() {
            let rows: Vec<Row> = rows.iter().filter(|row| row.epoch == epoch).cloned().collect();
            for (number, rows) in rows.chunks(case.chunk).enumerate() {
                let half = &mut halves[(partition + number) % case.workers];
                let watermarks: Vec<i64> = rows.iter().map(|row| row.watermark).collect();
                let cells = rows.iter().map(|row| [row.time, row.key, row.value]);
                for batch in half.push(&batch(cells), None, RowWatermarks::Each(&watermarks)).batches {
                    let parts = KeyedBatch::from_bytes(&batch.to_bytes()).unwrap().split(case.workers);
                    stores.iter_mut().zip(parts).for_each(|(store, part)| store.absorb(epoch, part));
                }
            }
            all.extend(rows);
        }
        let watermark = if epoch > case.epochs { i64::MAX } else { case.watermark(epoch) };
        let (mut expected, mut failed) = (Answer::new(), false);
        for (worker, store) in stores.iter_mut().enumerate() {
            loop {
                let output = store.close(epoch, watermark);
                for (values, diff) in read(&output) {
                    assert!(diff == 1 || case.emit != Emit::Final || case.lateness > 0);
                    *total.entry(values).or_default() += diff;
                }
                if !output.more {
                    break;
                }
            }
            too_late += store.take_too_late().total();
            let passed = take_report(store, &mut counts);
            let own: Vec<Row> = all.iter().filter(|row| worker_of(&layout, row.key, case.workers) == worker).cloned().collect();
            naive[worker].epoch(case, epoch, &own, watermark);
            assert_eq!(passed, naive[worker].passed, "epoch {epoch}");
            failed |= passed.is_some();
            naive[worker].answer(case, watermark, &mut expected);
        }
        total.retain(|_, count| *count != 0);
        assert!(case.purge || total == expected, "{total:?} instead of {expected:?} after epoch {epoch} at {watermark}");
        let mut all = LimitCounts::default();
        naive.iter().for_each(|one| all.add(&one.counts));
        assert_eq!(counts, all, "after epoch {epoch} at {watermark}");
        assert_eq!(too_late, naive.iter().map(|one| one.lost).sum::<u64>(), "after epoch {epoch} at {watermark}");
        by_epoch.push(total.clone());
        if failed {
            return by_epoch;
        }
    }
    assert_eq!(stores.iter().map(Store::groups).sum::<usize>(), 0, "nothing is kept after the end");
    by_epoch
}

prop_compose! {
    fn cases()(
        gap in 1..20i64, lateness in prop_oneof![Just(0), 1..20i64],
        emit in prop_oneof![Just(Emit::Final), Just(Emit::Changes), Just(Emit::Triggered)], purge in any::<bool>(), limits in limits(),
        delay in prop_oneof![4 => 0..20i64, 1 => Just(1000)],
        raw in prop::collection::vec(
            prop::collection::vec((prop_oneof![8 => -9..10i64, 1 => 15..60i64], 0..5i64, prop::bool::weighted(0.25)), 0..50), 1..4),
        first in -40..40i64, workers in 1..=4usize, chunk in 1..20usize,
    ) -> Case {
        let (mut epochs, mut place) = (1, 0);
        let partitions = raw.into_iter().map(|raw| {
            let (mut rows, mut time, mut epoch, mut greatest): (Vec<Row>, i64, u64, Option<i64>) = (Vec::new(), first, 1, None);
            for (step, key, next) in raw {
                epoch += u64::from(next);
                time += step;
                place += 1;
                let watermark = greatest.map_or(i64::MIN, |greatest: i64| greatest - delay);
                rows.push(Row { epoch, time, key, value: place, watermark });
                greatest = greatest.max(Some(time));
            }
            epochs = epochs.max(epoch);
            rows
        }).collect();
        let purge = purge && emit == Emit::Triggered;
        let evicted = match limits.evicted {
            Evicted::Forget if !purge => Evicted::Seal,
            Evicted::Retract if purge => Evicted::Forget,
            other => other,
        };
        Case { gap, lateness, emit, purge, limits: StateLimits { evicted, ..limits }, delay, partitions, epochs, workers, chunk }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_stay_as_the_definition_says(case in cases()) {
        run(&case);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is said of each key, and of time, does not depend on workers and chunks.
    #[test]
    fn limits_of_keys_and_time_are_the_same_for_all_workers(case in cases(), workers in 1..=4usize, chunk in 1..20usize) {
        let one = Case { limits: of_keys_and_time(case.limits.clone()), ..case };
        let other = Case { workers, chunk, ..one.clone() };
        prop_assert_eq!(run(&one), run(&other));
    }
}
