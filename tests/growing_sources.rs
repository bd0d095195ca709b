//! Partitions that are added while a source is read: on any number of workers and processes the windows are those of a loop over
//! the rows, and a partition that joins neither lowers the watermark nor brings rows into windows that have closed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemark_testing::memory::TextPartition;
use tidemark_testing::run::{Job, run_group};

/// Window and delay, in seconds.
const SIZE: i64 = 10;

/// Seconds of rows, step by step, of partitions there from the start and of those that join.
#[derive(Clone, Debug)]
struct Case {
    delay: i64,
    steps: usize,
    first: Vec<Vec<Vec<i64>>>,
    joining: Vec<Vec<Vec<i64>>>,
    chunking: Option<u64>,
}

fn partitions(steps: usize, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Vec<i64>>>> {
    let step = |k: usize| prop::collection::vec((-6..6_i64).prop_map(move |off| (k as i64 * 5 + off).max(0)), 0..4);
    prop::collection::vec((0..steps).map(step).collect::<Vec<_>>(), count)
}

fn cases() -> impl Strategy<Value = Case> {
    (3..8usize).prop_flat_map(|steps| {
        (0..4_i64, partitions(steps, 1..3), partitions(steps, 1..3), prop::option::of(any::<u64>())).prop_map(
            move |(delay, first, mut joining, chunking)| {
                joining.iter_mut().for_each(|partition| partition[0].clear());
                Case { delay, steps, first, joining, chunking }
            },
        )
    })
}

/// What comes out, as `(step, window start, count)`, and how many rows are too late.
type Answer = (BTreeSet<(usize, i64, i64)>, u64);

fn oracle(case: &Case) -> Answer {
    let all: Vec<&Vec<Vec<i64>>> = case.first.iter().chain(&case.joining).collect();
    let joins = |p: usize| match p.checked_sub(case.first.len()) {
        None => 0,
        // Announced in the step before that of its first row.
        Some(at) => case.joining[at].iter().position(|rows| !rows.is_empty()).unwrap_or(case.steps - 1).max(1) - 1,
    };
    // The watermark of each partition; `None`: there is none yet.
    let mut own: Vec<Option<i64>> = vec![None; all.len()];
    let (mut reached, mut counts, mut closed, mut late) = (None, BTreeMap::<i64, i64>::new(), BTreeSet::new(), 0);
    let mut out = BTreeSet::new();
    for step in 0..case.steps {
        for (p, partition) in all.iter().enumerate() {
            if joins(p) == step && p >= case.first.len() {
                own[p] = reached;
            }
            for time in &partition[step] {
                let start = time - time % SIZE;
                if own[p].is_some_and(|watermark| start + SIZE <= watermark) {
                    late += 1;
                } else {
                    assert!(!closed.contains(&start), "a row in time meets a window that has closed");
                    *counts.entry(start).or_default() += 1;
                }
                own[p] = own[p].max(Some(time - case.delay));
            }
        }
        let known = (0..all.len()).filter(|p| joins(*p) <= step);
        reached = reached.max(known.map(|p| own[p]).min().flatten());
        for (start, count) in &counts {
            let over = step + 1 == case.steps || reached.is_some_and(|watermark| start + SIZE <= watermark);
            if over && closed.insert(*start) {
                out.insert((step, *start, *count));
            }
        }
    }
    (out, late)
}

fn engine(case: &Case, workers: usize, processes: usize) -> Answer {
    let text = |partition: &Vec<Vec<i64>>| -> TextPartition {
        let cell = |time: &i64| vec![Some(format!("00:{:02}:{:02}", time / 60, time % 60))];
        partition.iter().map(|rows| rows.iter().map(cell).collect()).collect()
    };
    let tables = BTreeMap::from([("t".to_owned(), case.first.iter().chain(&case.joining).map(text).collect())]);
    let sql = format!(
        "CREATE SOURCE t (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND) WITH (connector = 'test', 'grows-from' = '{}');
         CREATE SINK out WITH (connector = 'test') AS
         SELECT CAST(EXTRACT(EPOCH FROM window_start) AS BIGINT) AS start, count(*) AS n FROM t WINDOW TUMBLING({SIZE}s) EMIT FINAL;",
        case.delay,
        case.first.len()
    );
    let outcome = run_group(&Job { sql, tables, workers, chunking: case.chunking }, processes);
    assert_eq!((outcome.plan_errors, outcome.faults), (None, vec![]));
    let report = outcome.report.expect("the run succeeds");
    let number = |value: &tidemark_testing::value::Value| value.to_string().parse::<i64>().expect("a number");
    let changes = outcome.written.get("out").cloned().unwrap_or_default();
    let rows = changes.iter().map(|change| (change.step, number(&change.row[0]), number(&change.row[1]) * change.diff)).collect();
    (rows, report.operators.iter().map(|operator| operator.late).sum())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("TIDEMARK_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24), ..ProptestConfig::default() })]

    #[test]
    fn windows_are_those_of_a_loop_over_the_rows(case in cases()) {
        let expected = oracle(&case);
        for (workers, processes) in [(1, 1), (3, 1), (1, 2), (2, 2)] {
            prop_assert_eq!(engine(&case, workers, processes), expected.clone(), "{} workers, {} processes", workers, processes);
        }
    }
}
