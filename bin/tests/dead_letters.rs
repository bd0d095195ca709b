//! Dead letters from end to end: written by a run, counted, shown, written out again and read by a corrected pipeline; limits that
//! fail a run; the letters of a group.

mod support;

use std::path::Path;

use support::{tidemark, tidemark_with_input};

const LINES: &str = "{\"a\": 1}\n{\"a\": oops}\n{\"a\": 2}\n{\"a\": \"x\"}\n{\"a\": 3}\n";

fn source(input: &Path, rest: &str) -> String {
    format!("CREATE SOURCE t (a BIGINT) WITH (connector = 'file', path = '{}', format = 'json') ON ERROR {rest};", input.display())
}

fn folder_with(lines: &str) -> (tempfile::TempDir, std::path::PathBuf, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in.ndjson");
    std::fs::write(&input, lines).expect("a file");
    let bad = folder.path().join("bad.ndjson").display().to_string();
    (folder, input, bad)
}

/// A record that fails in two queries is one bad record, for limits and in the summary.
#[test]
fn a_record_is_bad_once() {
    let (_folder, input, _) = folder_with("{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n{\"a\": oops}\n");
    let run = |limit: &str| {
        let queries = "SELECT sum(10 / (a - 2)) AS s FROM t; SELECT max(20 / (a - 2)) AS m FROM t";
        tidemark(&["run", "-w", "2", "-e", &(source(&input, &format!("SKIP LIMIT {limit}")) + queries)])
    };
    let ran = run("2 ROWS");
    assert!(ran.code == Some(0) && ran.stderr.contains(", 2 bad"), "{ran:?}");
    let ran = run("1 ROWS");
    assert!(ran.code == Some(1) && ran.stderr.contains("2 rows were bad, and ON ERROR allows 1"), "{ran:?}");
}

#[test]
fn letters_are_counted_shown_and_read_again() {
    let (folder, input, bad) = folder_with(LINES);
    let sql = source(&input, &format!("DEAD_LETTER '{bad}'")) + "SELECT sum(10 / (a - 2)) AS s FROM t";
    let ran = tidemark(&["run", "-q", "--format", "csv", "-e", &sql]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let listed = tidemark(&["dlq", "list", &bad, "--format", "csv"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let counts: Vec<Vec<&str>> = listed.stdout.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(counts.len(), 3, "{listed:?}");
    assert!(counts.iter().all(|row| row[0] == "t"), "{listed:?}");
    assert_eq!(counts.iter().filter(|row| row[1] == "decode").count(), 2, "{listed:?}");
    assert_eq!(counts.iter().filter(|row| row[1] == "evaluate").count(), 1, "{listed:?}");

    let shown = tidemark(&["dlq", "show", &bad, "--stage", "decode", "--limit", "1"]);
    let letter: serde_json::Value = serde_json::from_str(&shown.stdout).expect("one letter");
    assert_eq!((&letter["raw"], &letter["offset"]), (&serde_json::json!("{\"a\": oops}"), &serde_json::json!(9)), "{letter}");
    let id = letter["id"].as_str().expect("an id");
    let by_id = tidemark(&["dlq", "show", &bad, "--id", id]);
    assert_eq!(by_id.stdout, shown.stdout);

    // The same input gives the same ids: nothing about a letter is left to chance but its time.
    let (_other, again, bad_again) = (tidemark(&["run", "-q", "-e", &sql]), &bad, &bad);
    let ids = |text: &str| {
        let values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        values.map(|value| value.expect("a letter")["id"].to_string()).collect::<Vec<_>>()
    };
    let all = ids(&tidemark(&["dlq", "show", again]).stdout);
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((all.len(), distinct.len()), (6, 3), "{bad_again}");

    let records = folder.path().join("again.ndjson").display().to_string();
    let replayed = tidemark(&["dlq", "replay", &bad, "--stage", "decode", "--limit", "2", "-o", &records]);
    assert_eq!((replayed.code, replayed.stderr.as_str()), (Some(0), "2 written\n"), "{replayed:?}");
    assert_eq!(std::fs::read_to_string(&records).expect("records"), "{\"a\": oops}\n{\"a\": \"x\"}\n");
    let corrected = "CREATE SOURCE t (a VARCHAR) WITH (connector = 'stdin', format = 'json') ON ERROR SKIP; SELECT a FROM t";
    let piped = tidemark(&["dlq", "replay", &bad, "--reason", "expected", "--stage", "decode"]);
    let ran = tidemark_with_input(&["run", "-q", "--format", "csv", "-e", corrected], &piped.stdout);
    assert!(ran.code == Some(0) && ran.stdout.contains('x'), "{ran:?} {piped:?}");

    // A row that failed later has no record to read again, and that is said.
    let replayed = tidemark(&["dlq", "replay", &bad, "--stage", "evaluate"]);
    assert!(replayed.code == Some(1) && replayed.stderr.contains("left out") && replayed.stdout.is_empty(), "{replayed:?}");
    for wrong in [vec!["dlq", "list", "no/such/file"], vec!["dlq", "list", "examples/clickstream/clicks.csv"]] {
        assert_eq!(tidemark(&wrong).code, Some(2));
    }
}

#[test]
fn too_many_bad_rows_fail_the_run() {
    let (_folder, input, bad) = folder_with(LINES);
    for (limit, fits) in [
        ("SKIP LIMIT 2 ROWS", true),
        ("SKIP LIMIT 1", false),
        ("SKIP LIMIT 50 PERCENT OF 5 ROWS", true),
        ("SKIP LIMIT 39.99 PERCENT OF 5 ROWS", false),
        ("SKIP LIMIT 10 ROWS, 20 PERCENT OF 5 ROWS", false),
        ("SKIP LIMIT 2 ROWS WITHIN 1h, 40 PERCENT WITHIN 1h", true),
        ("SKIP LIMIT 1 ROWS WITHIN 1h", false),
        ("SKIP LIMIT 39 PERCENT WITHIN 1h", false),
    ] {
        for workers in ["1", "3"] {
            let sql = source(&input, limit) + "SELECT sum(a) AS s FROM t";
            let ran = tidemark(&["run", "-w", workers, "-e", &sql]);
            assert_eq!(ran.code, Some(i32::from(!fits)), "{limit}: {ran:?}");
            if !fits {
                assert!(ran.stderr.contains("error: too many bad rows in source \"t\": "), "{limit}: {ran:?}");
            }
        }
    }
    // A row that fails in a query is bad as well, once for all queries that it fails in; a result that cannot be computed counts too.
    let twice = "SELECT sum(10 / (a - 2)) AS s FROM t; SELECT max(7 / (a - 2)) AS m FROM t;";
    for (limit, query, fits) in [
        ("SKIP LIMIT 3 ROWS, 60 PERCENT OF 5 ROWS, 60 PERCENT WITHIN 1h", twice, true),
        ("SKIP LIMIT 2 ROWS", twice, false),
        ("SKIP LIMIT 59 PERCENT OF 5 ROWS", twice, false),
        ("SKIP LIMIT 59 PERCENT WITHIN 1h", twice, false),
        ("SKIP LIMIT 2 ROWS", "SELECT 1 / (s - 6) AS x FROM (SELECT sum(a) AS s FROM t)", false),
    ] {
        let ran = tidemark(&["run", "-w", "2", "-e", &(source(&input, limit) + query)]);
        assert_eq!(ran.code, Some(i32::from(!fits)), "{limit}: {ran:?}");
    }
    // What was bad until then is kept.
    let sql = source(&input, &format!("DEAD_LETTER '{bad}' LIMIT 1")) + "SELECT sum(a) AS s FROM t";
    assert_eq!(tidemark(&["run", "-q", "-e", &sql]).code, Some(1));
    assert!(std::fs::read_to_string(&bad).expect("letters").lines().count() >= 2);
}

#[test]
fn computed_columns_that_fail_count_in_the_share() {
    let (_folder, input, _) = folder_with("{\"a\": 0}\n{\"a\": 1}\n{\"a\": 0}\n{\"a\": 2}\n{\"a\": 5}\n");
    for (percent, fits) in [("40", true), ("39", false)] {
        let sql = format!(
            "CREATE SOURCE t (a BIGINT, b AS 10 / a) WITH (connector = 'file', path = '{}', format = 'json')
             ON ERROR SKIP LIMIT {percent} PERCENT OF 5 ROWS;
             SELECT sum(b) AS s FROM t",
            input.display()
        );
        let ran = tidemark(&["run", "-e", &sql]);
        assert_eq!(ran.code, Some(i32::from(!fits)), "{ran:?}");
    }
}

#[test]
fn a_group_writes_one_file_and_has_one_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    for part in 0..4 {
        std::fs::write(folder.path().join(format!("{part}.ndjson")), LINES).expect("a file");
    }
    let input = folder.path().join("?.ndjson");
    let bad = folder.path().join("bad").display().to_string();
    let sql = source(&input, &format!("DEAD_LETTER '{bad}' LIMIT 8")) + "SELECT sum(a) AS s FROM t";
    let ran = tidemark(&["cluster", "-n", "2", "--format", "csv", "-e", &sql]);
    assert!(ran.code == Some(0) && ran.stdout.contains("24"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&bad).expect("letters").lines().count(), 8);
    let sql = source(&input, "SKIP LIMIT 7") + "SELECT sum(a) AS s FROM t";
    let ran = tidemark(&["cluster", "-n", "2", "-e", &sql]);
    assert!(ran.code == Some(1) && ran.stderr.contains("8 rows were bad, and ON ERROR allows 7"), "{ran:?}");
}
