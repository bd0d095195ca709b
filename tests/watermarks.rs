//! What moves and holds a source's watermark besides its rows: idle partitions, drift, and times from the future.

use std::collections::BTreeMap;

use tidemark_testing::memory::{TextPartition, TextRow};
use tidemark_testing::run::{Job, Outcome, run};

fn row(cells: &[&str]) -> TextRow {
    cells.iter().map(|cell| (*cell != "null").then(|| (*cell).to_owned())).collect()
}

fn partition(steps: &[&[[&str; 2]]]) -> TextPartition {
    steps.iter().map(|step| step.iter().map(|cells| row(cells)).collect()).collect()
}

fn windows(options: &str, partitions: Vec<TextPartition>, workers: usize) -> Outcome {
    let sql = format!(
        "CREATE SOURCE t (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts AS ts) WITH (connector = 'test'{options}) ON ERROR SKIP;\n\
         CREATE SINK out WITH (connector = 'test') AS SELECT window_start, sum(v) AS sum FROM t WINDOW TUMBLING(10s);"
    );
    let outcome = run(&Job { sql, tables: BTreeMap::from([("t".to_owned(), partitions)]), workers, chunking: None });
    assert_eq!(outcome.plan_errors, None);
    outcome.report.as_ref().expect("the run succeeds");
    outcome
}

fn rows(outcome: &Outcome) -> Vec<(usize, String)> {
    let changes = outcome.written.get("out").cloned().unwrap_or_default();
    let text = |row: &[tidemark_testing::value::Value]| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    changes.iter().map(|change| (change.step, text(&change.row))).collect()
}

fn late(outcome: &Outcome) -> u64 {
    outcome.report.as_ref().expect("the run succeeds").operators.iter().map(|operator| operator.late).sum()
}

/// Partition 1 reads one row and then nothing until step 8.
fn one_sleeps() -> Vec<TextPartition> {
    let busy = partition(&[
        &[["00:01", "1"]],
        &[["00:11", "2"]],
        &[["00:12", "4"]],
        &[["00:13", "8"]],
        &[["00:14", "16"]],
        &[["00:15", "32"]],
        &[["00:16", "64"]],
        &[["00:17", "128"]],
    ]);
    let sleeper = partition(&[&[["00:02", "1000"]], &[], &[], &[], &[], &[], &[], &[["00:03", "5000"]]]);
    let seconds = |partition: TextPartition| -> TextPartition {
        // `00:11` is eleven seconds here, not minutes.
        let stretch = |row: TextRow| {
            let mut row = row;
            row[0] = row[0].take().map(|time| format!("00:{time}"));
            row
        };
        partition.into_iter().map(|step| step.into_iter().map(stretch).collect()).collect()
    };
    let (mut busy, mut sleeper) = (seconds(busy), seconds(sleeper));
    // Many more steps in which it sleeps, so that the time is certainly noticed.
    for _ in 0..20 {
        busy.insert(6, Vec::new());
        sleeper.insert(6, Vec::new());
    }
    vec![busy, sleeper]
}

#[test]
fn a_partition_that_sleeps_holds_windows_open() {
    for workers in [1, 2] {
        let outcome = windows("", one_sleeps(), workers);
        assert_eq!(late(&outcome), 0);
        let found = rows(&outcome);
        assert!(found.iter().all(|(step, _)| *step == 27), "{found:?}");
        assert!(found.iter().any(|(_, row)| row.ends_with(" 6001")), "{found:?}");
    }
}

#[test]
fn an_idle_partition_is_passed_over_and_its_old_rows_are_late() {
    for workers in [1, 2, 3] {
        let outcome = windows(", 'watermark.idle-timeout' = '2s'", one_sleeps(), workers);
        let found = rows(&outcome);
        let first = found.iter().find(|(_, row)| row.ends_with(" 1001")).unwrap_or_else(|| panic!("the window is not there: {found:?}"));
        assert!((2..27).contains(&first.0), "{found:?}");
        assert_eq!(late(&outcome), 1, "{found:?}");
    }
}

#[test]
fn a_time_from_the_future_moves_nothing() {
    // The test's clock stands at the beginning of 2020.
    let day = |time: &str| format!("2020-01-01T{time}");
    let (now, later) = (day("00:00:01"), day("00:00:12"));
    let rows_in = partition(&[&[[&now, "1"], ["2031-01-01T00:00:00", "2"]], &[[&now, "4"]], &[[&later, "8"]]]);
    for workers in [1, 2] {
        let outcome = windows(", 'watermark.future-bound' = '1h'", vec![rows_in.clone()], workers);
        let found = rows(&outcome);
        assert_eq!(late(&outcome), 0, "{found:?}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.ends_with(" 5") && found[1].1.ends_with(" 8"), "{found:?}");
        let bad: u64 = outcome.report.as_ref().expect("the run succeeds").sources.iter().map(|source| source.bad).sum();
        assert_eq!(bad, 1);
    }
}

#[test]
fn a_fast_partition_waits_and_all_rows_are_counted() {
    let many = |first: usize, step: usize| -> TextPartition {
        vec![(0..200).map(|at| row(&[&format!("00:{:02}:{:02}", (first + at * step) / 60, (first + at * step) % 60), "1"])).collect()]
    };
    for workers in [1, 2, 4] {
        let outcome = run(&Job {
            sql: "CREATE SOURCE t (ts TIMESTAMP, v BIGINT, WATERMARK FOR ts AS ts) WITH (connector = 'test', 'scan.watermark.alignment.max-drift' = '20s');\n\
                  CREATE SINK out WITH (connector = 'test') AS SELECT sum(v) AS sum FROM t WINDOW TUMBLING(1h);"
                .into(),
            tables: BTreeMap::from([("t".to_owned(), vec![many(0, 1), many(0, 10), many(5, 3)])]),
            workers,
            chunking: Some(11),
        });
        assert_eq!(outcome.plan_errors, None);
        assert_eq!(rows(&outcome).into_iter().map(|(_, row)| row).collect::<Vec<_>>(), ["600"]);
        assert_eq!(late(&outcome), 0);
    }
}
