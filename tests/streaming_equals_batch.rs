//! The property that matters: at every epoch, the changes so far add up to the batch answer over the rows admitted so far.
//!
//! Random queries over random sources (disorder, nulls, duplicates, several partitions and sources, any chunking) run on 1 to 4
//! workers and are compared with the oracle after every epoch. `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidemark_testing::oracle::{Case, Generator};
use tidemark_testing::property::{check, job, shrink};
use tidemark_testing::run::run_group;
use tidemark_testing::script::outcome_text;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fails(case: &Case, workers: usize) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(case, workers))) {
        Ok(result) => result.err(),
        Err(_) => Some("panicked".into()),
    }
}

#[test]
fn streaming_equals_batch() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 150));
    let mut failures = Vec::new();
    for seed in start..start + cases {
        let case = Generator::new(seed).case();
        let workers = 1 + (seed % 4) as usize;
        if let Some(wrong) = fails(&case, workers) {
            // A statement that does not plan is the same for any rows.
            let (small, wrong) = if wrong.starts_with("did not plan") {
                (case, wrong)
            } else {
                shrink(case, wrong, 400, Case::shrink, |case| fails(case, workers))
            };
            let rows: Vec<_> = job(&small, 1).tables.into_iter().collect();
            failures.push(format!("seed {seed}: {wrong}{rows:#?}"));
            if failures.len() >= number("TIDEMARK_FAILURES", 3) as usize {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}

/// The same seed gives the same changes, diff for diff, whatever the number of workers and processes and the chunking.
#[test]
fn workers_and_chunking_leave_no_trace() {
    for seed in 0..number("TIDEMARK_CASES", 150) / 5 {
        let case = Generator::new(1_000_000 + seed).case();
        let mut first: Option<String> = None;
        for (processes, workers, chunking) in
            [(1, 1, None), (1, 2, Some(1)), (1, 3, Some(2)), (1, 4, Some(3)), (2, 1, Some(4)), (2, 2, Some(5))]
        {
            let mut job = job(&case, workers);
            job.chunking = chunking;
            let text = outcome_text(&run_group(&job, processes));
            match &first {
                None => first = Some(text),
                Some(first) => assert_eq!(*first, text, "seed {seed}, {processes}x{workers} workers\n{}", job.sql),
            }
        }
    }
}
