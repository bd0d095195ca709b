//! A run that is stopped with `--flush` puts out what it would at the end of the input, whatever the number of workers.

mod support;

use std::fmt::Write as _;

use support::tidemark;

/// Rows of two partitions, two minutes and a half; the watermark ends in the third.
fn files(folder: &std::path::Path) {
    for part in 0..2 {
        let mut text = String::new();
        for row in 0..300 {
            let _ = writeln!(text, "2024-01-01 00:{:02}:{:02},k{},{}", row / 120, row / 2 % 60, (row + part) % 3, row);
        }
        std::fs::write(folder.join(format!("{part}.csv")), text).expect("a file");
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_open_comes_out_when_the_run_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let source = |follow: &str| {
        format!(
            "CREATE SOURCE t (ts TIMESTAMP(3), k VARCHAR, v BIGINT, WATERMARK FOR ts AS ts)
             WITH (connector = 'file', path = '{}/*.csv', format = 'csv', header = 'false', follow = '{follow}');",
            folder.path().display()
        )
    };
    for (query, reason) in [
        ("SELECT k, window_start, count(*) AS n, sum(v) AS total FROM t WINDOW TUMBLING(1m) GROUP BY k", ""),
        ("SELECT k, window_start, count(*) AS n, sum(v) AS total FROM t WINDOW SLIDING(2m, 1m) GROUP BY k", ""),
        ("SELECT k, window_end, count(*) AS n FROM t WINDOW TUMBLING(30 ROWS) GROUP BY k", ""),
        (
            "SELECT k, window_start, count(*) AS n, _is_final, _trigger_reason FROM t WINDOW TUMBLING(1m) TRIGGER EVERY 1000 RECORDS GROUP BY k",
            "watermark",
        ),
        (
            "SELECT k, window_start, count(*) AS n, _is_final, _trigger_reason FROM t WINDOW SESSION(20s) TRIGGER EVERY 1000 RECORDS GROUP BY k",
            "session_end",
        ),
    ] {
        let ended = tidemark(&["run", "-q", "-w", "1", "--format", "csv", "-e", &format!("{}{query};", source("false"))]);
        assert_eq!(ended.code, Some(0), "{query}\n{ended:?}");
        let mut wanted: Vec<String> = sorted(&ended.stdout).into_iter().map(str::to_owned).collect();
        if !reason.is_empty() {
            // Windows of the first two minutes are closed by rows; what is open at the stop is not.
            let open = |line: &String| reason == "session_end" || line.contains("00:02:00");
            wanted.iter_mut().filter(|line| open(line)).for_each(|line| *line = line.replace(reason, "manual"));
            wanted.sort_unstable();
            assert!(wanted.iter().any(|line| line.contains("manual")), "{wanted:?}");
        }
        for workers in ["1", "3"] {
            let sql = format!("{}{query};", source("true"));
            let ran = tidemark(&["run", "-q", "-w", workers, "--format", "csv", "--limit-time", "4s", "--flush", "-e", &sql]);
            assert_eq!(ran.code, Some(0), "{query}\n{ran:?}");
            assert_eq!(sorted(&ran.stdout), wanted, "{query}, {workers} workers");
        }
    }
}

#[test]
fn without_it_nothing_that_is_open_comes_out() {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    let sql = format!(
        "CREATE SOURCE t (ts TIMESTAMP(3), k VARCHAR, v BIGINT, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = '{}/*.csv', format = 'csv', header = 'false', follow = 'true');
         SELECT window_start, count(*) AS n FROM t WINDOW TUMBLING(1m);",
        folder.path().display()
    );
    let ran = tidemark(&["run", "-q", "--format", "csv", "--limit-time", "2s", "-e", &sql]);
    assert!(ran.code == Some(0) && !ran.stdout.contains("00:02:00"), "{ran:?}");
    let refused = tidemark(&["run", "--flush", "--record", "x.log", "-e", &sql]);
    assert!(refused.code != Some(0) && refused.stderr.contains("--record"), "{refused:?}");
}
