//! A run that kept a log of its ticks is replayed byte by byte, whatever the number of workers.

mod support;

use std::path::Path;

use support::{Ran, tidemark};

/// Half a second of bids in two partitions.
const BIDS: &str =
    "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', events = 20000, 'events-per-second' = 40000, partitions = 2);";

/// What comes out of these depends on when bids were read.
const QUERIES: [&str; 3] = [
    "SELECT auction % 10 AS a, window_end, count(*) AS n, max(price) AS top, _trigger_reason, _revision, _fired_at
     FROM bid WINDOW TUMBLING(1s) TRIGGER EVERY 50ms OR EVERY 100 RECORDS GROUP BY auction % 10;",
    "SELECT window_start, count(*) AS n, _fired_at, _trigger_reason FROM bid WINDOW TUMBLING(100ms) ON PROCESSING_TIME() TRIGGER EVERY 30ms;",
    "SELECT auction % 10 AS a, window_start, window_end, count(*) AS n, _fired_at, _trigger_reason
     FROM bid WINDOW SESSION(1ms) TRIGGER EVERY 50ms GROUP BY auction % 10;",
];

fn run(sql: &str, workers: &str, log: [&str; 2]) -> Ran {
    tidemark(&["run", "-q", "-w", workers, "--format", "changelog", log[0], log[1], "-e", sql])
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn a_replay_puts_out_what_the_run_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = path(folder.path(), "ticks.log");
    for query in QUERIES {
        let sql = format!("{BIDS}{query}");
        let recorded = run(&sql, "2", ["--record", &log]);
        assert_eq!(recorded.code, Some(0), "{recorded:?}");
        assert!(recorded.stdout.contains("processing_time"), "{recorded:?}");
        for workers in ["1", "2", "4"] {
            let replayed = run(&sql, workers, ["--replay", &log]);
            assert_eq!(replayed.code, Some(0), "{replayed:?}");
            assert!(recorded.stdout == replayed.stdout, "{query}\n{workers} workers:\n{}\n{}", recorded.stdout, replayed.stdout);
        }
    }
}

#[test]
fn progress_is_told_behind_what_it_is_of_and_comes_again_in_a_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = path(folder.path(), "ticks.log");
    // A bid may be late by what the windows wait for: results are corrected until their progress is told.
    let sql = format!(
        "SET progress = true; {BIDS} SELECT window_end, count(*) AS n FROM bid WINDOW TUMBLING(100ms) ALLOWED_LATENESS 300ms
         LATE_DATA_STRATEGY UPDATE_PREVIOUS EMIT CHANGES;"
    );
    let recorded = run(&sql, "2", ["--record", &log]);
    let (mut reached, mut told, mut changes) = (String::new(), 0, 0);
    for line in recorded.stdout.lines().skip(1) {
        let (mark, rest) = line.split_at(6);
        let time = rest.get(..rest.find("  ").unwrap_or(rest.len())).unwrap_or_default();
        if mark.starts_with('@') {
            assert!(rest > reached.as_str(), "it moves forward: {}", recorded.stdout);
            (reached, told) = (rest.to_owned(), told + 1);
        } else {
            assert!(time > reached.as_str(), "what changes is of later windows: {}", recorded.stdout);
            changes += 1;
        }
    }
    assert!(told > 2 && changes > 2, "{}", recorded.stdout);
    for workers in ["1", "3"] {
        let replayed = run(&sql, workers, ["--replay", &log]);
        assert!(recorded.stdout == replayed.stdout, "{workers} workers:\n{}\n{}", recorded.stdout, replayed.stdout);
    }
}

#[test]
fn progress_has_its_place_in_some_formats_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (lines, table) = (path(folder.path(), "out.ndjson"), path(folder.path(), "out.csv"));
    let to = |path: &str| {
        format!(
            "{BIDS} CREATE SINK o WITH (connector = 'file', path = '{path}', progress = 'true') AS SELECT auction, \"dateTime\" FROM bid;"
        )
    };
    let ran = tidemark(&["run", "-q", "-e", &to(&lines)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let written = std::fs::read_to_string(&lines).expect("the file");
    assert!(written.lines().any(|line| line.starts_with("{\"_progress\":\"20")), "{written}");
    let refused = tidemark(&["run", "-q", "-e", &to(&table)]);
    assert!(refused.code == Some(2) && refused.stderr.contains("has no place for progress"), "{refused:?}");
    let none = tidemark(&["run", "-q", "-e", "SET progress = true; SELECT page FROM 'examples/clickstream/clicks.csv';"]);
    assert!(none.code == Some(2) && none.stderr.contains("none of its sources has a watermark"), "{none:?}");
}

#[test]
fn a_log_of_something_else_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = path(folder.path(), "ticks.log");
    let small = "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', events = 100); SELECT count(*) AS n FROM bid;";
    assert_eq!(run(small, "1", ["--record", &log]).code, Some(0));
    let refused = |sql: &str, log: [&str; 2], why: &str| {
        let ran = run(sql, "1", log);
        assert!(ran.code != Some(0) && ran.stderr.contains(why), "{why}: {ran:?}");
    };
    refused(&small.replace("count(*)", "max(price)"), ["--replay", &log], "the statements or settings differ");
    refused(&small.replace("events = 100", "events = 100, partitions = 2"), ["--replay", &log], "the log is of another run");
    refused(small, ["--replay", &path(folder.path(), "none.log")], "cannot read");
    std::fs::write(path(folder.path(), "text"), "hello").expect("a file");
    refused(small, ["--replay", &path(folder.path(), "text")], "no log of ticks");
    let input = "CREATE SOURCE t (a BIGINT) WITH (connector = 'stdin', format = 'csv'); SELECT count(*) AS n FROM t;";
    refused(input, ["--record", &log], "source \"t\" cannot be replayed");

    let lines = path(folder.path(), "t.csv");
    let file =
        format!("CREATE SOURCE t (a BIGINT) WITH (connector = 'file', path = '{lines}', format = 'csv'); SELECT sum(a) AS n FROM t;");
    std::fs::write(&lines, "a\n1\n2\n3\n").expect("a file");
    assert_eq!(run(&file, "1", ["--record", &log]).code, Some(0));
    std::fs::write(&lines, "a\n1\n2\n3\n4\n").expect("a file");
    refused(&file, ["--replay", &log], "more records than when the log was written");
    std::fs::write(&lines, "a\n1\n2\n").expect("a file");
    refused(&file, ["--replay", &log], "fewer records than when the log was written");
}
