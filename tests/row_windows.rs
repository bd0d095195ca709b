//! Windows of so many rows against their naive definition: random rows, sizes, slides and times to live on 1 to 4 workers, any chunking.
//! `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use std::collections::BTreeMap;

use tidemark_testing::flat::{BOUNDED_BY_KEYS, held_by_tenths};
use tidemark_testing::oracle::RowWindows;
use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, run};
use tidemark_testing::value::Row;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The net changes of each step.
fn found(case: &RowWindows, workers: usize, chunking: u64) -> Result<Vec<BTreeMap<Row, i64>>, String> {
    let tables = BTreeMap::from([("t".to_string(), case.table())]);
    let outcome = run(&Job { sql: case.sql(), tables, workers, chunking: Some(chunking) });
    if let Some(errors) = outcome.plan_errors {
        return Err(format!("did not plan: {errors:#?}"));
    }
    outcome.report.map_err(|error| error.to_string())?;
    if let Some(fault) = outcome.faults.first() {
        return Err(fault.clone());
    }
    let mut steps = vec![BTreeMap::new(); case.partitions[0].len()];
    for change in outcome.written.get("out").into_iter().flatten() {
        if !case.changes && change.diff < 0 {
            return Err(format!("taken back: {change:?}"));
        }
        let step = steps.get_mut(change.step).ok_or_else(|| format!("a change after the end: {change:?}"))?;
        *step.entry(change.row.clone()).or_default() += change.diff;
    }
    steps.iter_mut().for_each(|step| step.retain(|_, diff| *diff != 0));
    Ok(steps)
}

#[test]
fn windows_of_rows_are_those_of_the_definition() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 300));
    for seed in start..start + cases {
        let case = RowWindows::random(&mut Random::new(seed));
        let workers = 1 + (seed % 4) as usize;
        let found = found(&case, workers, seed).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{}", case.sql()));
        for (step, (found, expected)) in found.iter().zip(case.answer()).enumerate() {
            assert_eq!(*found, expected, "seed {seed}, step {step}, {workers} workers\n{}{:?}", case.sql(), case.partitions);
        }
    }
}

/// What has come out is not kept.
#[test]
fn state_does_not_grow_with_closed_windows() {
    for (name, query) in BOUNDED_BY_KEYS {
        let held = held_by_tenths(query, 200_000, 2);
        let (first, last) = (held[1..4].iter().max().expect("some"), held[7..].iter().max().expect("some"));
        assert!(*first > 0, "{name} holds something: {held:?}");
        assert!(*last < 2 * first, "{name}: state grows: {held:?}");
    }
}
