//! Limits on windows with a trigger against a naive answer, over random rows, triggers, lateness, limits, cuts and workers. Only which
//! worker a key belongs to is asked of the engine, since each worker has its share of a limit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::Literal;
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, Emit, Evicted, FiringColumn, FiringPlan, KeyPlan, NamedExpr, StateLimits, TriggerPlan, WindowColumn, WindowKind,
    WindowPlan,
};

use super::test_accumulators::accumulator;
use super::test_limits::{Member, judge, limits, of_keys_and_time, take_report, worker_of};
use super::test_rows::{aggregate, batch, column, read, schema, windows};
use super::{AggregateLayout, KeyedBatch, LimitCounts, LocalHalf, RowWatermarks, Store};

/// The value of a row is its place.
#[derive(Clone, Debug)]
struct Row {
    epoch: u64,
    time: i64,
    key: i64,
    value: i64,
}

#[derive(Clone, Debug)]
struct Case {
    lateness: i64,
    /// Any of these.
    trigger: Vec<TriggerPlan>,
    purge: bool,
    tells: bool,
    limits: StateLimits,
    rows: Vec<Row>,
    epochs: u64,
    workers: usize,
    chunk: usize,
}

const SIZE: i64 = 10;

type Answer = BTreeMap<Vec<i64>, i64>;

/// Rows of later epochs come at or after it.
fn watermark(epoch: u64) -> i64 {
    3 * epoch as i64
}

impl Case {
    fn layout(&self) -> Arc<AggregateLayout> {
        let aggregate = |function, argument: Option<&str>, result| aggregate(function, argument, result, false);
        let mut aggregates = vec![
            aggregate(AggregateFunction::Count, None, DataType::Int64),
            aggregate(AggregateFunction::Sum, Some("value"), DataType::Int64),
        ];
        if self.tells {
            aggregates.push(aggregate(AggregateFunction::Firing(FiringColumn::Revision), None, DataType::Int64));
            aggregates.push(aggregate(AggregateFunction::Firing(FiringColumn::Final), None, DataType::Boolean));
        }
        let keys = [KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") }), KeyPlan::Window(WindowColumn::End, "e".into())];
        let mut fields =
            vec![Field::new("key", DataType::Int64, true), Field::new("e", DataType::Timestamp(TimeUnit::Microsecond, None), false)];
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.as_ref().clone()));
        let trigger = TriggerPlan::Any(self.trigger.clone());
        let partition = Arc::new(Literal::new(ScalarValue::Int32(Some(0))));
        let places = if trigger.counts() { vec![partition as _, column("value")] } else { vec![] };
        let window = WindowPlan {
            firing: Some(FiringPlan { trigger, purge: self.purge }),
            places,
            ..windows(WindowKind::Tumble { size_us: SIZE }, self.lateness)
        };
        let output = Arc::new(Schema::new(fields));
        let made = AggregateLayout::new(&schema(), false, &keys, &aggregates, Some(&window), Emit::Triggered, output, accumulator);
        Arc::new(made.unwrap().with_limits(Some(Arc::new(self.limits.clone()))))
    }
}

#[derive(Clone, Debug)]
struct Group {
    member: Member,
    /// Rows since it was purged.
    held: Vec<i64>,
    /// Rows of each counting part.
    counted: Vec<u64>,
    revision: i64,
    fresh: bool,
    finished: bool,
    shown: Option<Vec<i64>>,
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
    /// What came out in the epoch and would stay, with the group.
    put_out: Vec<(usize, Vec<i64>)>,
    next: usize,
}

impl Naive {
    fn fire(&mut self, case: &Case, at: usize, is_final: bool) {
        let group = &mut self.groups[at];
        group.revision += 1;
        group.fresh = false;
        group.finished = is_final;
        let mut row = vec![group.member.key, group.member.window.0, group.held.len() as i64, group.held.iter().sum()];
        if case.tells {
            row.extend([group.revision, i64::from(is_final)]);
        }
        if case.purge {
            group.held.clear();
            self.put_out.push((group.member.id, row));
        } else {
            group.shown = Some(row);
        }
    }

    fn epoch(&mut self, case: &Case, epoch: u64, rows: &[&Row], now: i64) {
        let clock = if case.limits.watermark().is_some() { now } else { epoch as i64 };
        let before = watermark(epoch - 1);
        let over = |end: i64, watermark: i64| end.saturating_add(case.lateness) <= watermark;
        let occurs = |part: fn(&TriggerPlan) -> bool| case.trigger.iter().any(part);
        for at in 0..self.groups.len() {
            let tick = |part: &TriggerPlan| matches!(part, TriggerPlan::Every(us) if epoch as i64 % us == 0);
            if self.groups[at].fresh && case.trigger.iter().any(tick) {
                self.fire(case, at, over(self.groups[at].member.window.0, before));
            }
        }
        for row in rows {
            let end = row.time.div_euclid(SIZE) * SIZE + SIZE;
            if epoch > 1 && over(end, before) {
                continue;
            }
            if self.sealed.contains(&(row.key, end)) {
                self.counts.sealed_rows += 1;
                continue;
            }
            let found = self.groups.iter().position(|group| (group.member.key, group.member.window.0) == (row.key, end));
            let at = found.unwrap_or_else(|| {
                self.next += 1;
                let member = Member {
                    id: self.next,
                    key: row.key,
                    window: (end, 0),
                    born: epoch,
                    born_window: (end, 0),
                    born_at: clock,
                    touched: epoch,
                    touched_at: clock,
                    rows: 0,
                };
                let counted = vec![0; case.trigger.len()];
                self.groups.push(Group { member, held: vec![], counted, revision: 0, fresh: false, finished: false, shown: None });
                self.groups.len() - 1
            });
            let group = &mut self.groups[at];
            (group.member.touched, group.member.touched_at) = (epoch, clock);
            group.member.rows += 1;
            group.held.push(row.value);
            group.fresh = true;
            let mut fires = false;
            for (counted, part) in group.counted.iter_mut().zip(&case.trigger) {
                if let TriggerPlan::EveryRecords(records) = part {
                    *counted += 1;
                    if *counted == *records {
                        *counted = 0;
                        fires = true;
                    }
                }
            }
            if fires {
                self.fire(case, at, false);
            }
        }
        for at in 0..self.groups.len() {
            let group = &self.groups[at];
            let end = group.member.window.0;
            let waits = occurs(|part| *part == TriggerPlan::Watermark) && end <= now;
            let on_time = (epoch == 1 || end > before) && (group.fresh || case.tells && !case.purge);
            let late = epoch > 1 && end <= before && group.member.touched == epoch && group.fresh;
            if waits && (on_time || late) {
                self.fire(case, at, over(end, now));
            }
        }
        for at in 0..self.groups.len() {
            let group = &self.groups[at];
            if over(group.member.window.0, now) && (group.fresh || case.tells && !case.purge && !group.finished) {
                self.fire(case, at, true);
            }
        }
        let (ended, live) = std::mem::take(&mut self.groups).into_iter().partition(|group| over(group.member.window.0, now));
        self.groups = live;
        let stays = |stay: &mut Answer, row: Vec<i64>| *stay.entry(row).or_default() += 1;
        let ended: Vec<Group> = ended;
        ended.into_iter().filter_map(|group| group.shown).for_each(|row| stays(&mut self.stay, row));
        self.sealed.retain(|(_, end)| !over(*end, now));
        let members: Vec<Member> = self.groups.iter().map(|group| group.member.clone()).collect();
        let verdict = judge(&case.limits, case.workers, epoch, clock, &members);
        self.counts.add(&verdict.counts);
        self.passed = self.passed.or(verdict.passed);
        for (id, refused) in verdict.leaving.iter().map(|id| (*id, false)).chain(verdict.refused.iter().map(|id| (*id, true))) {
            let at = self.groups.iter().position(|group| group.member.id == id).unwrap();
            if refused || case.limits.evicted == Evicted::Retract {
                assert!(refused || !case.purge);
                self.put_out.retain(|(other, _)| *other != id);
            } else {
                let group = &self.groups[at];
                if group.fresh || case.tells && !case.purge && !group.finished {
                    self.fire(case, at, true);
                }
                let member = &self.groups[at].member;
                if case.limits.evicted == Evicted::Seal {
                    self.sealed.push((member.key, member.window.0));
                }
                self.groups[at].shown.take().into_iter().for_each(|row| stays(&mut self.stay, row));
            }
            self.groups.remove(at);
        }
        std::mem::take(&mut self.put_out).into_iter().for_each(|(_, row)| stays(&mut self.stay, row));
    }

    fn answer(&self, answer: &mut Answer) {
        let shown = self.groups.iter().filter_map(|group| group.shown.as_ref()).map(|row| (row, &1));
        shown.chain(&self.stay).for_each(|(row, count)| *answer.entry(row.clone()).or_default() += count);
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
        let judged_by = if epoch == 1 { RowWatermarks::None } else { RowWatermarks::Constant(watermark(epoch - 1)) };
        for (number, rows) in rows.chunks(case.chunk).enumerate() {
            let half = &mut halves[number % case.workers];
            let pushed = half.push(&batch(rows.iter().map(|row| [row.time, row.key, row.value])), None, judged_by);
            for batch in pushed.batches.into_iter().chain(half.flush()) {
                let parts = KeyedBatch::from_bytes(&batch.to_bytes()).unwrap().split(case.workers);
                stores.iter_mut().zip(parts).for_each(|(store, part)| store.absorb(epoch, part));
            }
        }
        let now = if epoch > case.epochs { i64::MAX } else { watermark(epoch) };
        let mut expected = Answer::new();
        let mut failed = false;
        for (worker, store) in stores.iter_mut().enumerate() {
            loop {
                let output = store.close(epoch, now);
                for (values, diff) in read(&output) {
                    let count = total.entry(values.clone()).or_default();
                    *count += diff;
                    assert!(*count >= 0, "{values:?} is taken back and was not out");
                    assert!(diff == 1 || !case.purge);
                    changes.push((epoch, values, diff));
                }
                if !output.more {
                    break;
                }
            }
            let passed = take_report(store, &mut counts);
            let own: Vec<&Row> = rows.iter().filter(|row| worker_of(&layout, row.key, case.workers) == worker).collect();
            naive[worker].epoch(case, epoch, &own, now);
            assert_eq!(passed, naive[worker].passed, "epoch {epoch}");
            failed |= passed.is_some();
            naive[worker].answer(&mut expected);
        }
        total.retain(|_, count| *count != 0);
        assert_eq!(total, expected, "after epoch {epoch} at {now}");
        let mut all = LimitCounts::default();
        naive.iter().for_each(|one| all.add(&one.counts));
        assert_eq!(counts, all, "after epoch {epoch} at {now}");
        if failed {
            break;
        }
    }
    changes.sort();
    changes
}

fn triggers() -> impl Strategy<Value = Vec<TriggerPlan>> {
    let part =
        prop_oneof![Just(TriggerPlan::Watermark), (1..5i64).prop_map(TriggerPlan::Every), (1..5u64).prop_map(TriggerPlan::EveryRecords),];
    prop::collection::vec(part, 1..3)
}

prop_compose! {
    fn cases()(
        lateness in prop_oneof![Just(0), Just(12i64)], trigger in triggers(), purge in any::<bool>(), tells in any::<bool>(),
        limits in limits(), raw in prop::collection::vec((0..3u64, -14..15i64, 0..8i64), 0..90),
        workers in 1..=4usize, chunk in 1..20usize,
    ) -> Case {
        let mut epoch = 1;
        let rows: Vec<Row> = raw.into_iter().zip(1..).map(|((next, ahead, key), value)| {
            epoch += next / 2;
            Row { epoch, time: 3 * epoch as i64 + ahead, key, value }
        }).collect();
        let evicted = match limits.evicted {
            Evicted::Retract if purge => Evicted::Forget,
            Evicted::Forget if !purge => Evicted::Retract,
            other => other,
        };
        Case { lateness, trigger, purge, tells, limits: StateLimits { evicted, ..limits }, rows, epochs: epoch + 4, workers, chunk }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_with_a_trigger_stay_as_the_definition_says(case in cases()) {
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
