//! Late rows, by the book: random arrivals under every strategy, compared change by change with an oracle of time alone.
//!
//! `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tidemark_testing::late::{Case, case, check, rows, smaller};
use tidemark_testing::property::shrink;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fails(case: &Case, processes: usize, workers: usize) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(case, processes, workers))) {
        Ok(result) => result.err(),
        Err(_) => Some("panicked".into()),
    }
}

#[test]
fn late_rows_are_handled_by_the_book() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 400));
    let mut failures = Vec::new();
    for seed in start..start + cases {
        let case = case(seed);
        let (processes, workers) = if seed % 25 == 0 { (2, 2) } else { (1, 1 + (seed % 4) as usize) };
        if let Some(wrong) = fails(&case, processes, workers) {
            // A statement that does not plan is the same for any rows.
            let (small, wrong) = if wrong.starts_with("did not plan") {
                (case, wrong)
            } else {
                shrink(case, wrong, 300, smaller, |case| fails(case, processes, workers))
            };
            failures.push(format!("seed {seed}: {wrong}{}", rows(&small)));
            if failures.len() >= number("TIDEMARK_FAILURES", 3) as usize {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
