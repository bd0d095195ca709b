//! Looks for cases that fail. `TIDEMARK_CASES` sets how many are tried, `TIDEMARK_SEED` where they start.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Case, check, rows, smaller};
use crate::property::shrink;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fails(case: &Case, processes: usize, workers: usize) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| check(case, processes, workers))) {
        Ok(result) => result.err(),
        Err(_) => Some("panicked".into()),
    }
}

/// Checks random cases with 1 to 4 workers, some in two processes.
///
/// # Panics
/// If some fail, with the smallest that was found of each.
pub fn search(cases: u64, random: fn(u64) -> Case) {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", cases));
    let mut failures = Vec::new();
    for seed in start..start + cases {
        let case = random(seed);
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
