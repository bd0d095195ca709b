//! Every aggregate against a naive oracle: random rows, groups, filters, retraction order, partial states, reuse.

mod figures;
mod oracle;
mod values;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion_physical_expr::expressions::Column;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use tidemark_planner::plan::{AggregateFunction as F, AggregatePlan, SortKey};

use self::oracle::{Row, judge};
use self::values::{V, any_value, array, special_float, values};
use super::accumulator;
use crate::state::accumulator::{Accumulator, AggregateInput};

const GROUPS: usize = 4;

fn plan(function: F, args: &[DataType], output: DataType) -> AggregatePlan {
    AggregatePlan {
        text: format!("{function:?}"),
        function,
        args: args.iter().enumerate().map(|(at, _)| Arc::new(Column::new("a", at)) as _).collect(),
        arg_types: args.to_vec(),
        filter: None,
        distinct: false,
        order_by: vec![],
        output: Arc::new(Field::new("out", output, true)),
        retractable: false,
    }
}

fn ordered_plan(function: F, args: &[DataType], output: DataType, order: &[(DataType, bool, bool)]) -> AggregatePlan {
    let key = |(at, (data_type, descending, nulls_first)): (usize, &(DataType, bool, bool))| SortKey {
        expr: Arc::new(Column::new("o", args.len() + at)),
        data_type: data_type.clone(),
        descending: *descending,
        nulls_first: *nulls_first,
    };
    AggregatePlan { order_by: order.iter().enumerate().map(key).collect(), ..plan(function, args, output) }
}

/// A change to a group.
#[derive(Clone, Debug)]
struct Event {
    group: usize,
    args: Vec<V>,
    order: Vec<V>,
    filter: V,
    diff: i64,
    /// Which accumulator sees it.
    part: usize,
}

fn row_of(plan: &AggregatePlan, specials: bool) -> BoxedStrategy<(Vec<V>, Vec<V>)> {
    let value = move |data_type: &DataType| {
        if specials && *data_type == DataType::Float64 {
            prop_oneof![5 => any_value(data_type), 1 => special_float()].boxed()
        } else {
            any_value(data_type)
        }
    };
    let args: Vec<_> = plan.arg_types.iter().map(value).collect();
    let order: Vec<_> = plan.order_by.iter().map(|key| any_value(&key.data_type)).collect();
    (args, order).boxed()
}

/// Changes that add up to rows with counts above zero, in an order that does not care; and whether each part by itself does, too.
fn history(plan: &AggregatePlan) -> impl Strategy<Value = (Vec<Event>, bool)> + use<> {
    let (plan, retractable) = (plan.clone(), plan.retractable);
    (any::<bool>(), any::<bool>()).prop_flat_map(move |(specials, whole_parts)| {
        let filter = prop_oneof![4 => Just(V::Bool(true)), 1 => Just(V::Bool(false)), 1 => Just(V::Null)];
        let row = (0..GROUPS, row_of(&plan, specials), filter, 0..3usize);
        let times = prop_oneof![5 => Just(1i64), 1 => Just(2), 1 => Just(3)];
        // Rows that stay, rows that go again, and the diffs they come and go with.
        let rows = prop::collection::vec((row, times, any::<bool>(), -2i64..3, 0..3usize), 0..30);
        (rows, any::<u64>()).prop_map(move |(rows, seed)| {
            let mut events = Vec::new();
            for ((group, (args, order), filter, part), times, stays, swing, other) in rows {
                let event = |diff, part| Event { group, args: args.clone(), order: order.clone(), filter: filter.clone(), diff, part };
                if !retractable {
                    events.push(event(times, part));
                    continue;
                }
                let other = if whole_parts { part } else { other };
                let net = if stays { times } else { 0 };
                events.push(event(net + swing, part));
                events.push(event(-swing, other));
            }
            // A shuffle that shrinks with the seed.
            let mut state = seed;
            for i in (1..events.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                events.swap(i, (state >> 33) as usize % (i + 1));
            }
            (events, whole_parts || !retractable)
        })
    })
}

/// The rows a group holds after events.
fn net<'a>(plan: &AggregatePlan, events: impl Iterator<Item = &'a Event>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for event in events {
        if plan.filter.is_some() && !matches!(event.filter, V::Bool(true)) {
            continue;
        }
        let equal = |row: &&mut Row| {
            row.args.iter().zip(&event.args).all(|(a, b)| a.same(b)) && row.order.iter().zip(&event.order).all(|(a, b)| a.same(b))
        };
        match rows.iter_mut().find(equal) {
            Some(row) => row.times += event.diff,
            None => rows.push(Row { args: event.args.clone(), order: event.order.clone(), times: event.diff }),
        }
    }
    rows.retain(|row| row.times != 0);
    rows
}

fn feed(plan: &AggregatePlan, accumulator: &mut dyn Accumulator, events: &[Event], batch: usize) {
    for events in events.chunks(batch.max(1)) {
        let column = |data_type: &DataType, get: &dyn Fn(&Event) -> V| array(data_type, &events.iter().map(get).collect::<Vec<_>>());
        let args: Vec<ArrayRef> = plan.arg_types.iter().enumerate().map(|(at, t)| column(t, &|event| event.args[at].clone())).collect();
        let order: Vec<ArrayRef> =
            plan.order_by.iter().enumerate().map(|(at, key)| column(&key.data_type, &|event| event.order[at].clone())).collect();
        let filter = column(&DataType::Boolean, &|event| event.filter.clone());
        let filter: &BooleanArray = filter.as_any().downcast_ref().unwrap();
        let groups: Vec<u32> = events.iter().map(|event| event.group as u32).collect();
        let diffs: Vec<i64> = events.iter().map(|event| event.diff).collect();
        let input = AggregateInput { args: &args, order: &order, filter: plan.filter.is_some().then_some(filter) };
        accumulator.update(&groups, input, if diffs.iter().all(|&diff| diff == 1) { None } else { Some(&diffs) });
    }
}

fn check<'a>(plan: &AggregatePlan, accumulator: &dyn Accumulator, what: &str, events: impl Fn(usize) -> Vec<&'a Event>) -> TestCaseResult {
    let groups: Vec<u32> = (0..GROUPS as u32).rev().collect();
    let mut errors = Vec::new();
    let results = accumulator.evaluate(&groups, &mut errors);
    prop_assert_eq!(results.data_type(), plan.output.data_type());
    prop_assert_eq!(results.len(), groups.len());
    let results = values(&results);
    for (at, &group) in groups.iter().enumerate() {
        let rows = net(plan, events(group as usize).into_iter());
        assert!(rows.iter().all(|row| row.times > 0), "the history is sound: {rows:?}");
        let error = errors.iter().find(|(position, _)| *position == at).map(|(_, text)| text.as_str());
        judge(plan, &rows, &results[at], error)
            .map_err(|why| TestCaseError::fail(format!("{what}, group {group}: {why}; rows {rows:?}")))?;
    }
    Ok(())
}

/// The whole contract over one history.
fn contract(plan: &AggregatePlan, events: &[Event], whole_parts: bool, batch: usize, cleared: usize) -> TestCaseResult {
    let fresh = || {
        let mut accumulator = accumulator(plan).unwrap();
        accumulator.resize(GROUPS - 1);
        accumulator.resize(GROUPS);
        accumulator
    };
    let of = |group: usize| move |event: &&Event| event.group == group;
    // One accumulator.
    let mut whole = fresh();
    feed(plan, &mut *whole, events, batch);
    check(plan, &*whole, "whole", |group| events.iter().filter(of(group)).collect())?;
    prop_assert!(whole.bytes() > 0);
    // Several, by partial states, one group of theirs at another number.
    let map: Vec<u32> = (0..GROUPS as u32).map(|group| (group + 1) % GROUPS as u32).collect();
    let all: Vec<u32> = (0..GROUPS as u32).collect();
    let part_events = |part: usize| events.iter().filter(move |event| event.part == part).cloned().collect::<Vec<_>>();
    let mut merged = fresh();
    let mut last = Vec::new();
    for part in [2, 0, 1] {
        let mut accumulator = fresh();
        let moved: Vec<Event> = part_events(part).into_iter().map(|event| Event { group: map[event.group] as usize, ..event }).collect();
        feed(plan, &mut *accumulator, &moved, batch);
        last = accumulator.partials(&map);
        let types: Vec<DataType> = last.iter().map(|column| column.data_type().clone()).collect();
        prop_assert_eq!(types, accumulator.partial_types());
        // In two calls, of slices of the columns.
        for (from, to) in [(0, 1), (1, GROUPS)] {
            let slices: Vec<ArrayRef> = last.iter().map(|column| column.slice(from, to - from)).collect();
            merged.merge(&all[from..to], &slices);
        }
    }
    check(plan, &*merged, "merged", |group| events.iter().filter(of(group)).collect())?;
    if merged.invertible() {
        merged.subtract(&all, &last);
        if whole_parts {
            check(plan, &*merged, "subtracted", |group| events.iter().filter(of(group)).filter(|event| event.part != 1).collect())?;
        }
        merged.merge(&all, &last);
        check(plan, &*merged, "merged again", |group| events.iter().filter(of(group)).collect())?;
    }
    // Cleared groups are empty, the others as they were, and both go on.
    let gone: Vec<u32> = all.iter().copied().filter(|&group| group as usize != cleared).collect();
    merged.clear(&gone);
    check(plan, &*merged, "cleared", |group| events.iter().filter(of(group)).filter(|event| event.group == cleared).collect())?;
    let again: Vec<Event> = events.iter().filter(|event| event.group != cleared).cloned().collect();
    feed(plan, &mut *merged, &again, batch);
    check(plan, &*merged, "refilled", |group| events.iter().filter(of(group)).collect())?;
    // Everything taken back is nothing.
    if plan.retractable {
        let back: Vec<Event> = events.iter().map(|event| Event { diff: -event.diff, ..event.clone() }).collect();
        feed(plan, &mut *whole, &back, batch);
        check(plan, &*whole, "taken back", |_| vec![])?;
        feed(plan, &mut *whole, events, batch);
        check(plan, &*whole, "given again", |group| events.iter().filter(of(group)).collect())?;
    }
    whole.reset();
    whole.resize(GROUPS);
    check(plan, &*whole, "reset", |_| vec![])?;
    feed(plan, &mut *whole, events, batch);
    check(plan, &*whole, "after reset", |group| events.iter().filter(of(group)).collect())?;
    whole.clear(&all);
    let empty = whole.bytes();
    feed(plan, &mut *whole, events, batch);
    whole.clear(&all);
    check(plan, &*whole, "all cleared", |_| vec![])?;
    prop_assert_eq!(whole.bytes(), empty, "clearing releases what groups own");
    Ok(())
}

/// Runs the contract for a plan: append-only and retractable, with and without FILTER.
fn holds(plan: AggregatePlan) {
    for retractable in [false, true] {
        for filter in [false, true] {
            let mut plan = AggregatePlan { retractable, ..plan.clone() };
            plan.filter = filter.then(|| Arc::new(Column::new("f", 9)) as _);
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
                cases: 32,
                failure_persistence: None,
                ..ProptestConfig::default()
            });
            let strategy = (history(&plan), prop_oneof![Just(1usize), Just(5), Just(1000)], 0..GROUPS);
            let result =
                runner.run(&strategy, |((events, whole_parts), batch, cleared)| contract(&plan, &events, whole_parts, batch, cleared));
            if let Err(error) = result {
                panic!(
                    "{} of {:?}, distinct {}, retractable {retractable}, filter {filter}: {error}",
                    plan.text, plan.arg_types, plan.distinct
                );
            }
        }
    }
}

fn holds_distinct(plan: AggregatePlan) {
    holds(AggregatePlan { distinct: true, ..plan });
}

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

#[test]
fn count() {
    holds(plan(F::Count, &[], DataType::Int64));
    holds(plan(F::Count, &[DataType::Int64], DataType::Int64));
    holds(plan(F::Count, &[DataType::Utf8View, DataType::Float64], DataType::Int64));
}

#[test]
fn sum_of_integers() {
    for (from, to) in [
        (DataType::Int64, DataType::Int64),
        (DataType::UInt64, DataType::UInt64),
        (DataType::Int32, DataType::Int64),
        (DataType::Int8, DataType::Int32),
        (DataType::Duration(TimeUnit::Microsecond), DataType::Duration(TimeUnit::Microsecond)),
    ] {
        holds(plan(F::Sum, &[from], to));
    }
}

#[test]
fn sum_of_decimals() {
    for (from, to) in [
        (DataType::Decimal128(38, 2), DataType::Decimal128(38, 2)),
        (DataType::Decimal128(10, 2), DataType::Decimal128(20, 2)),
        (DataType::Decimal256(36, 3), DataType::Decimal256(46, 3)),
        (DataType::Decimal64(18, 3), DataType::Decimal64(18, 3)),
        (DataType::Decimal32(9, 0), DataType::Decimal32(9, 0)),
    ] {
        holds(plan(F::Sum, &[from], to));
    }
}

#[test]
fn sum_of_floats_and_intervals() {
    holds(plan(F::Sum, &[DataType::Float64], DataType::Float64));
    holds(plan(F::Sum, &[DataType::Float32], DataType::Float64));
    holds(plan(F::Sum, &[DataType::Interval(IntervalUnit::MonthDayNano)], DataType::Interval(IntervalUnit::MonthDayNano)));
}

#[test]
fn avg() {
    holds(plan(F::Avg, &[DataType::Float64], DataType::Float64));
    holds(plan(F::Avg, &[DataType::Int64], DataType::Float64));
    holds(plan(F::Avg, &[DataType::Decimal128(10, 2)], DataType::Decimal128(14, 6)));
    holds(plan(F::Avg, &[DataType::Decimal128(38, 10)], DataType::Decimal128(38, 14)));
    holds(plan(F::Avg, &[DataType::Duration(TimeUnit::Microsecond)], DataType::Duration(TimeUnit::Microsecond)));
}

#[test]
fn variance_and_deviation() {
    for function in [F::VarPop, F::VarSamp, F::StddevPop, F::StddevSamp] {
        holds(plan(function, &[DataType::Float64], DataType::Float64));
    }
}

#[test]
fn min_and_max() {
    for data_type in [
        DataType::Int64,
        DataType::Int8,
        DataType::UInt64,
        DataType::Float64,
        DataType::Float32,
        DataType::Decimal128(38, 5),
        DataType::Decimal256(50, 5),
        DataType::Utf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::Date32,
        MICROS,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Boolean,
        DataType::Interval(IntervalUnit::MonthDayNano),
    ] {
        holds(plan(F::Min, std::slice::from_ref(&data_type), data_type.clone()));
        holds(plan(F::Max, std::slice::from_ref(&data_type), data_type.clone()));
    }
    holds_distinct(plan(F::Max, &[DataType::Int64], DataType::Int64));
}

#[test]
fn bools_and_bits() {
    holds(plan(F::BoolAnd, &[DataType::Boolean], DataType::Boolean));
    holds(plan(F::BoolOr, &[DataType::Boolean], DataType::Boolean));
    for data_type in [DataType::Int64, DataType::Int8, DataType::UInt32] {
        for function in [F::BitAnd, F::BitOr, F::BitXor] {
            holds(plan(function, std::slice::from_ref(&data_type), data_type.clone()));
        }
        holds_distinct(plan(F::BitXor, std::slice::from_ref(&data_type), data_type.clone()));
    }
}

#[test]
fn first_and_last() {
    for ignore_nulls in [false, true] {
        let orders: [&[(DataType, bool, bool)]; 3] =
            [&[(MICROS, false, false)], &[(DataType::Utf8, true, true), (DataType::Int32, false, true)], &[]];
        for order in orders {
            holds(ordered_plan(F::FirstValue { ignore_nulls }, &[DataType::Int64], DataType::Int64, order));
            holds(ordered_plan(F::LastValue { ignore_nulls }, &[DataType::Utf8View], DataType::Utf8View, order));
        }
    }
}

#[test]
fn arg_min_and_arg_max() {
    holds(plan(F::ArgMin, &[DataType::Utf8, DataType::Int64], DataType::Utf8));
    let order = [(DataType::Int32, false, true), (DataType::Int8, true, false)];
    holds(ordered_plan(F::ArgMin, &[DataType::Int64, DataType::Float64], DataType::Int64, &order));
    holds(ordered_plan(F::ArgMax, &[DataType::Decimal128(10, 2), MICROS], DataType::Decimal128(10, 2), &order));
    holds(ordered_plan(F::ArgMax, &[DataType::Utf8View, DataType::Float64], DataType::Utf8View, &order));
}

#[test]
fn lists_and_texts() {
    let list = |data_type: DataType| DataType::List(Arc::new(Field::new_list_field(data_type, true)));
    let order = [(DataType::Int8, true, false), (DataType::Int32, false, true)];
    for distinct in [false, true] {
        for ignore_nulls in [false, true] {
            let function = F::ArrayAgg { ignore_nulls };
            let array_agg = ordered_plan(function.clone(), &[DataType::Int64], list(DataType::Int64), &order);
            holds(AggregatePlan { distinct, ..array_agg });
            holds(AggregatePlan { distinct, ..plan(function, &[DataType::Utf8View], list(DataType::Utf8View)) });
        }
        let function = F::StringAgg { delimiter: ", ".to_string() };
        holds(AggregatePlan { distinct, ..ordered_plan(function.clone(), &[DataType::Utf8], DataType::LargeUtf8, &order) });
        holds(AggregatePlan { distinct, ..plan(function, &[DataType::Utf8View], DataType::Utf8View) });
    }
}

#[test]
fn distinct() {
    for data_type in [DataType::Int64, DataType::Float64, DataType::Utf8View, DataType::Decimal128(38, 2), DataType::Boolean, MICROS] {
        holds_distinct(plan(F::Count, &[data_type], DataType::Int64));
    }
    holds_distinct(plan(F::Count, &[DataType::Int8, DataType::Utf8], DataType::Int64));
    holds_distinct(plan(F::Count, &[DataType::Float64, DataType::Int8], DataType::Int64));
    holds_distinct(plan(F::Sum, &[DataType::Int64], DataType::Int64));
    holds_distinct(plan(F::Sum, &[DataType::Float64], DataType::Float64));
    holds_distinct(plan(F::Sum, &[DataType::Decimal256(36, 2)], DataType::Decimal256(46, 2)));
    holds_distinct(plan(F::Avg, &[DataType::Decimal128(12, 2)], DataType::Decimal128(16, 6)));
    holds_distinct(plan(F::VarSamp, &[DataType::Float64], DataType::Float64));
    holds_distinct(plan(F::Percentile { fraction: 0.5 }, &[DataType::Float64], DataType::Float64));
}

#[test]
fn percentiles() {
    for fraction in [0.0, 0.1, 0.5, 0.75, 1.0] {
        for data_type in [DataType::Float64, DataType::Float32, DataType::Int64, DataType::Decimal128(38, 2), DataType::Decimal256(40, 2)] {
            holds(plan(F::Percentile { fraction }, std::slice::from_ref(&data_type), data_type.clone()));
        }
        holds(plan(F::ApproxPercentile { fraction }, &[DataType::Float64], DataType::Float64));
    }
}

#[test]
fn approx_distinct() {
    for data_type in [DataType::Int64, DataType::Float64, DataType::Utf8View, DataType::Boolean, DataType::Decimal128(20, 1)] {
        holds(plan(F::ApproxDistinct, &[data_type], DataType::UInt64));
    }
}

#[test]
fn overflow_that_cancels_is_no_error() {
    let cases = [
        (DataType::Int64, DataType::Int64, i64::MAX.into()),
        (DataType::UInt64, DataType::UInt64, u64::MAX.into()),
        (DataType::Decimal128(38, 2), DataType::Decimal128(38, 2), 10i128.pow(38) - 1),
    ];
    for (from, to, greatest) in cases {
        let plan = AggregatePlan { retractable: true, ..plan(F::Sum, std::slice::from_ref(&from), to.clone()) };
        let mut sum = accumulator(&plan).unwrap();
        sum.resize(1);
        let add = |sum: &mut dyn Accumulator, diff: i64| {
            let args = [array(&from, &[V::Int(greatest)])];
            sum.update(&[0], AggregateInput { args: &args, order: &[], filter: None }, Some(&[diff]));
        };
        add(&mut *sum, 1_000_000_007);
        let mut errors = Vec::new();
        let results = sum.evaluate(&[0], &mut errors);
        assert!(results.is_null(0));
        assert_eq!(errors, [(0, format!("sum does not fit in {to}"))]);
        add(&mut *sum, -1_000_000_006);
        errors.clear();
        let results = values(&sum.evaluate(&[0], &mut errors));
        assert!(errors.is_empty() && results[0].same(&V::Int(greatest)), "{results:?} {errors:?}");
    }
}

#[test]
fn wrong_types_are_refused_with_words() {
    let refused = [
        plan(F::Sum, &[DataType::Utf8], DataType::Utf8),
        plan(F::Sum, &[DataType::Int64], DataType::Utf8),
        plan(F::Sum, &[], DataType::Int64),
        plan(F::Sum, &[DataType::Decimal128(10, 2)], DataType::Decimal128(20, 3)),
        plan(F::Avg, &[DataType::Decimal128(10, 6)], DataType::Decimal128(14, 2)),
        plan(F::Avg, &[DataType::Decimal128(10, 6)], DataType::Float64),
        plan(F::Avg, &[DataType::Interval(IntervalUnit::DayTime)], DataType::Interval(IntervalUnit::DayTime)),
        plan(F::Max, &[DataType::Int64], DataType::Int32),
        plan(F::ArgMin, &[DataType::Int64], DataType::Int64),
        plan(F::VarPop, &[DataType::Int64], DataType::Float64),
        plan(F::BoolAnd, &[DataType::Int64], DataType::Boolean),
        plan(F::BitAnd, &[DataType::Float64], DataType::Float64),
        plan(F::StringAgg { delimiter: String::new() }, &[DataType::Int64], DataType::LargeUtf8),
        plan(F::ArrayAgg { ignore_nulls: false }, &[DataType::Int64], DataType::Int64),
        plan(F::Percentile { fraction: 0.5 }, &[DataType::Utf8], DataType::Utf8),
        plan(F::Percentile { fraction: 1.5 }, &[DataType::Float64], DataType::Float64),
        plan(F::ApproxPercentile { fraction: -0.5 }, &[DataType::Float64], DataType::Float64),
    ];
    for plan in refused {
        let error = accumulator(&plan).err();
        assert!(error.as_ref().is_some_and(|text| !text.is_empty()), "{} of {:?}", plan.text, plan.arg_types);
    }
}
