//! Measurements, by hand: `cargo test --release -p tidemark-dataflow figures -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use tidemark_planner::plan::{AggregateFunction as F, AggregatePlan};

use super::super::accumulator;
use super::{MICROS, ordered_plan, plan};
use crate::state::accumulator::AggregateInput;

const ROWS: usize = 8192;
const BATCHES: usize = 64;

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 31
    }
}

/// Nanoseconds this thread has run: others on the machine do not count, but for the caches they take.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Nanoseconds per row, the best of four runs over fresh state; `warm` runs over state that has seen the rows.
fn measure(
    name: &str,
    plan: &AggregatePlan,
    groups: usize,
    column: impl Fn(usize) -> Vec<ArrayRef>,
    order: impl Fn(usize) -> Vec<ArrayRef>,
) {
    let mut next = random(7);
    let keys: Vec<Vec<u32>> = (0..BATCHES).map(|_| (0..ROWS).map(|_| next() as u32 % groups as u32).collect()).collect();
    let args: Vec<Vec<ArrayRef>> = (0..BATCHES).map(&column).collect();
    let orders: Vec<Vec<ArrayRef>> = (0..BATCHES).map(&order).collect();
    let diffs = vec![1i64; ROWS];
    for retractable in [false, true] {
        let plan = AggregatePlan { retractable, ..plan.clone() };
        let mut cold = f64::INFINITY;
        let mut warm = f64::INFINITY;
        let mut bytes = 0;
        for _ in 0..4 {
            let mut state = accumulator(&plan).unwrap();
            state.resize(groups);
            for run in 0..2 {
                let (start, wall) = (cpu_ns(), Instant::now());
                for batch in 0..BATCHES {
                    let input = AggregateInput { args: &args[batch], order: &orders[batch], filter: None };
                    state.update(&keys[batch], input, retractable.then_some(&diffs));
                }
                let (cpu, wall) = (cpu_ns() - start, wall.elapsed().as_nanos() as u64);
                // The thread's clock is coarse: short runs go by the wall's, the best of which nobody interrupted.
                let each = (if cpu > 40_000_000 { cpu.min(wall) } else { wall }) as f64 / (BATCHES * ROWS) as f64;
                if run == 0 {
                    cold = cold.min(each);
                } else {
                    warm = warm.min(each);
                }
            }
            bytes = state.bytes();
            black_box(state.evaluate(&[0], &mut Vec::new()));
        }
        println!(
            "{name:26} groups {groups:7}  {}  {cold:7.2} ns cold  {warm:7.2} ns warm  {:7.1} M/s warm  {:8.1} bytes/group",
            if retractable { "retract" } else { "append " },
            1000.0 / warm,
            bytes as f64 / groups as f64
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn figures() {
    let none = |_: usize| vec![];
    let ints = |span: u64| {
        move |seed: usize| {
            let mut next = random(seed as u64 + 1);
            vec![Arc::new((0..ROWS).map(|_| (next() % span) as i64).collect::<Int64Array>()) as ArrayRef]
        }
    };
    let floats = |unit: f64| {
        move |seed: usize| {
            let mut next = random(seed as u64 + 1);
            vec![Arc::new((0..ROWS).map(|_| (next() % 100_000) as f64 * unit).collect::<Float64Array>()) as ArrayRef]
        }
    };
    let texts = |seed: usize| {
        let mut next = random(seed as u64 + 1);
        vec![Arc::new((0..ROWS).map(|_| Some(format!("user-{:06}", next() % 100_000))).collect::<StringArray>()) as ArrayRef]
    };
    let times = |seed: usize| {
        vec![Arc::new((0..ROWS).map(|row| Some((seed * ROWS + row) as i64)).collect::<TimestampMicrosecondArray>()) as ArrayRef]
    };
    let int = |function: F| plan(function, &[DataType::Int64], DataType::Int64);
    let float = |function: F| plan(function, &[DataType::Float64], DataType::Float64);
    let only = std::env::var("ONLY").unwrap_or_default();
    let measure = |name: &str,
                   plan: &AggregatePlan,
                   groups: usize,
                   column: &dyn Fn(usize) -> Vec<ArrayRef>,
                   order: &dyn Fn(usize) -> Vec<ArrayRef>| {
        if name.contains(&only) {
            measure(name, plan, groups, column, order);
        }
    };
    for groups in [1, 1000, 1_000_000] {
        measure("count(*)", &plan(F::Count, &[], DataType::Int64), groups, &none, &none);
        measure("count(int)", &int(F::Count), groups, &ints(1 << 30), &none);
        measure("sum(int)", &int(F::Sum), groups, &ints(1 << 30), &none);
        measure("min(int)", &int(F::Min), groups, &ints(1 << 30), &none);
        measure("max(int)", &int(F::Max), groups, &ints(1 << 30), &none);
        measure("sum(float)", &float(F::Sum), groups, &floats(0.01), &none);
        measure("sum(float), small", &float(F::Sum), groups.min(1000), &floats(1e-7), &none);
        measure("var(float)", &float(F::VarPop), groups, &floats(0.01), &none);
        measure("percentile(float)", &float(F::Percentile { fraction: 0.5 }), groups, &floats(0.01), &none);
        measure("approx_percentile(float)", &float(F::ApproxPercentile { fraction: 0.5 }), groups, &floats(0.01), &none);
        measure("approx_distinct(int)", &plan(F::ApproxDistinct, &[DataType::Int64], DataType::UInt64), groups, &ints(1 << 30), &none);
        measure("bit_and(int)", &int(F::BitAnd), groups.min(1000), &ints(1 << 30), &none);
        let distinct = AggregatePlan { distinct: true, ..int(F::Count) };
        measure("count(distinct int), few", &distinct, groups, &ints(100), &none);
        measure("count(distinct int), many", &distinct, groups, &ints(1 << 30), &none);
        measure("count(distinct int), 1 M", &distinct, groups, &ints(1 << 20), &none);
        let distinct = AggregatePlan { distinct: true, ..plan(F::Count, &[DataType::Utf8], DataType::Int64) };
        measure("count(distinct text)", &distinct, groups, &texts, &none);
        measure("max(text)", &plan(F::Max, &[DataType::Utf8], DataType::Utf8), groups, &texts, &none);
        let by_time = [(MICROS, false, false)];
        measure(
            "first(int order by time)",
            &ordered_plan(F::FirstValue { ignore_nulls: false }, &[DataType::Int64], DataType::Int64, &by_time),
            groups,
            &ints(1 << 30),
            &times,
        );
        measure(
            "last(int order by time)",
            &ordered_plan(F::LastValue { ignore_nulls: false }, &[DataType::Int64], DataType::Int64, &by_time),
            groups,
            &ints(1 << 30),
            &times,
        );
    }
}
