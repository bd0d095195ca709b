//! Triggers against their naive definition: random rows, disorder, windows and triggers on 1 to 4 workers, any chunking. `TIDEMARK_CASES` sets
//! how many, `TIDEMARK_SEED` where they start.

use std::collections::BTreeMap;

use tidemark_testing::oracle::Triggered;
use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, run};
use tidemark_testing::value::Row;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The net changes of each step.
fn found(case: &Triggered, workers: usize, chunking: u64) -> Result<Vec<BTreeMap<Row, i64>>, String> {
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
        let step = steps.get_mut(change.step).ok_or_else(|| format!("a change after the end: {change:?}"))?;
        *step.entry(change.row.clone()).or_default() += change.diff;
    }
    steps.iter_mut().for_each(|step| step.retain(|_, diff| *diff != 0));
    Ok(steps)
}

#[test]
fn firings_are_those_of_the_definition() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 200));
    for seed in start..start + cases {
        let case = Triggered::random(&mut Random::new(seed));
        let workers = 1 + (seed % 4) as usize;
        let found = found(&case, workers, seed).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{}", case.sql()));
        for (step, (found, expected)) in found.iter().zip(case.answer()).enumerate() {
            assert_eq!(*found, expected, "seed {seed}, step {step}, {workers} workers\n{}{:#?}", case.sql(), case.table());
        }
    }
}
