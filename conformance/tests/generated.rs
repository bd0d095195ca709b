//! Random queries over random changing tables equal the answer of batch engines after every step, with 1 to 4 workers.
//!
//! `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start. A failure prints its seed and the smallest case found.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidemark_conformance::check::{Case, Verdict};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn generated_queries_equal_their_batch_answers() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 400));
    let mut failures = Vec::new();
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    let (mut equal, mut without) = (0_u64, 0_u64);
    for seed in start..start + cases {
        let case = Case::random(seed);
        let (workers, chunking) = (1 + (seed % 4) as usize, (seed % 3 != 0).then_some(seed));
        let verdict = catch_unwind(AssertUnwindSafe(|| case.check(workers, chunking))).unwrap_or(Verdict::Wrong("panicked".into()));
        match verdict {
            Verdict::Equal => equal += 1,
            Verdict::Refused(why) => *refused.entry(why).or_default() += 1,
            Verdict::NoOracle(_) => without += 1,
            Verdict::Wrong(wrong) => {
                let (small, wrong) = case.shrink(wrong, workers, chunking);
                failures.push(format!("seed {seed}, {workers} workers: {wrong}\n{}", small.text()));
                if failures.len() >= number("TIDEMARK_FAILURES", 3) as usize {
                    break;
                }
            }
        }
    }
    let mut refusals: Vec<(u64, String)> = refused.into_iter().map(|(why, times)| (times, why)).collect();
    refusals.sort_by(|left, right| right.cmp(left));
    println!("{equal} equal, {without} without an oracle, refused:");
    refusals.iter().take(20).for_each(|(times, why)| println!("{times:6} {why}"));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
    let refused: u64 = refusals.iter().map(|(times, _)| times).sum();
    assert!(equal * 10 > refused, "{equal} queries ran, {refused} were refused");
}
