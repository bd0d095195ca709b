//! EXPLAIN WATERMARK, EXPLAIN PROGRESS, the warning of a stall, and what a stopped run waited for.

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{start, tidemark};

/// Rows of which the last but one is 4 s behind.
const ROWS: [&str; 4] = [
    r#"{"ts":"2024-01-01T00:00:01"}"#,
    r#"{"ts":"2024-01-01T00:00:05"}"#,
    r#"{"ts":"2024-01-01T00:00:01"}"#,
    r#"{"ts":"2024-01-01T00:00:07"}"#,
];

/// A folder with a partition that goes on and one that has nothing after its first row, and a source over them.
fn two_partitions(options: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.ndjson"), ROWS.join("\n") + "\n").expect("a file");
    std::fs::write(folder.path().join("b.ndjson"), r#"{"ts":"2024-01-01T00:00:02"}"#.to_owned() + "\n").expect("a file");
    let sql = format!(
        "CREATE SOURCE t (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
         WITH (connector = 'file', path = '{}', format = 'ndjson'{options}); ",
        folder.path().display()
    );
    (folder, sql)
}

const WINDOWS: &str = "SELECT window_start, count(*) AS n FROM t WINDOW TUMBLING(2s)";

#[test]
fn watermark_tells_what_each_delay_would_buy() {
    let (_folder, sql) = two_partitions("");
    let ran = tidemark(&["run", "-q", "-w", "2", "--format", "csv", "-e", &format!("{sql} EXPLAIN WATERMARK {WINDOWS}")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("source,partition,delay,rows behind,of,in time"), "{ran:?}");
    let of = |partition: &str| lines.iter().copied().filter(|line| line.contains(partition)).collect::<Vec<_>>();
    // Of four rows one is 4 s behind the greatest before it: 5 s is the first of the delays that buys it.
    let (a, b) = (of("a.ndjson"), of("b.ndjson"));
    assert!(a.iter().any(|line| line.contains(",1s,1,4,75.000 %,declared")), "{ran:?}");
    assert!(a.last().is_some_and(|line| line.contains(",5s,0,4,100.000 %,furthest behind: 4s")), "{ran:?}");
    assert!(b.len() == 1 && b[0].contains(",0s,0,1,100.000 %"), "{ran:?}");
    // Nothing of the query itself.
    assert!(lines.iter().all(|line| line.starts_with("source") || line.starts_with("t,")), "{ran:?}");
}

#[test]
fn progress_names_the_row_that_holds_a_window_and_what_would_release_it() {
    let (_folder, sql) = two_partitions(", follow = 'true'");
    let ran = tidemark(&["run", "-q", "-w", "2", "--limit-time", "2s", "-e", &format!("{sql} EXPLAIN PROGRESS {WINDOWS}")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in [
        "5 rows of t",
        "the watermark is 2024-01-01 00:00:01: windows that end later are open",
        "b.ndjson of t for",
        "set by the row at offset 0, whose ts is 2024-01-01 00:00:02",
        "no row has come from it for",
        "released by a row of it with a ts after 2024-01-01 00:00:02, or its end; 'watermark.idle-timeout' in the options of t",
        "a.ndjson of t, at 2024-01-01 00:00:06",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let ended = tidemark(&["run", "-q", "-e", &format!("{} EXPLAIN PROGRESS {WINDOWS}", sql.replace(", follow = 'true'", ""))]);
    assert!(ended.stdout.contains("nothing is held"), "{ended:?}");
}

#[test]
fn progress_names_the_operator_that_is_at_work() {
    let rows = "(k BIGINT, v BIGINT) WITH (connector = 'datagen', rows = '400000', fields.k.kind = 'constant', fields.k.value = '0')";
    // Rows by the hundred billion meet, and almost none comes out.
    let sql = format!(
        "CREATE SOURCE a {rows}; CREATE SOURCE b {rows}; EXPLAIN PROGRESS SELECT a.v FROM a JOIN b ON a.k = b.k AND a.v + b.v = 1 EMIT CHANGES"
    );
    let started = Instant::now();
    let ran = tidemark(&["run", "-q", "-w", "2", "--limit-time", "2s", "-e", &sql]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let names = ran.stdout.contains("Join is still at work on what came");
    assert!(names && ran.stdout.contains("released when it has put out"), "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(30), "nobody waits for it");
}

#[test]
fn progress_names_what_waits_and_why() {
    let (_folder, sql) = two_partitions(", follow = 'true'");
    let of =
        |query: &str| tidemark(&["run", "-q", "-w", "1", "--limit-time", "1s", "-e", &format!("{sql} EXPLAIN PROGRESS {query}")]).stdout;
    let over = of("SELECT ts, count(*) OVER (ORDER BY ts) AS n FROM t EMIT FINAL");
    assert!(over.contains("Over\n") && over.contains("rows of a later time wait for those before them"), "{over}");
    let sessions = of("SELECT window_start, count(*) AS n FROM t WINDOW SESSION(1m)");
    assert!(sessions.contains("Aggregate\n") && sessions.contains("sessions that end later are open"), "{sessions}");
    let triggered = of("SELECT window_start, count(*) AS n FROM t WINDOW TUMBLING(1m) TRIGGER EVERY 100 RECORDS");
    assert!(triggered.contains("have put out only what their triggers say"), "{triggered}");
}

#[test]
fn progress_needs_an_event_time_only_where_it_is_about_that() {
    let ran = tidemark(&["run", "-q", "-e", "EXPLAIN WATERMARK SELECT count(*) FROM 'examples/clickstream/clicks.csv'"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("no source of this query has an event time"), "{ran:?}");
}

#[test]
fn a_partition_that_holds_the_others_up_is_warned_of_once() {
    let (folder, sql) = two_partitions(", follow = 'true'");
    let arguments = ["run", "-w", "1", "--limit-time", "5s", "--stall-warning", "1s", "--format", "csv", "-e"];
    let text = format!("{sql} {WINDOWS}");
    let mut run = start(&[&arguments[..], &[text.as_str()]].concat());
    let child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let started = Instant::now();
    let mut second = 8;
    while started.elapsed() < Duration::from_secs(4) {
        // The other goes on.
        let more = format!("{{\"ts\":\"2024-01-01T00:00:{second:02}\"}}\n");
        let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("a.ndjson")).expect("the file");
        std::io::Write::write_all(&mut file, more.as_bytes()).expect("a line");
        second += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    let ended = child.wait_with_output().expect("the binary ends");
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(stderr.matches("warning: the run is held up").count(), 1, "{stderr}");
    assert!(stderr.contains("b.ndjson of t for"), "{stderr}");
    // And what waited when it was stopped.
    assert!(stderr.contains("results that waited when the run was stopped"), "{stderr}");
}
