//! The binary from outside: exit codes, what goes to which stream, how mistakes are drawn, signals and pipes.

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Ran, start, tidemark, tidemark_with_input};

#[test]
fn a_query_over_a_file_prints_its_rows_and_nothing_else() {
    let ran = tidemark(&["run", "-q", "-w", "2", "--format", "csv", "-e", "SELECT count(*) AS n FROM 'examples/clickstream/clicks.csv'"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.lines().any(|line| line.split(',').any(|field| field == "1200")), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_summary_goes_to_standard_error() {
    let sql = "SELECT symbol, count(*) AS n FROM 'examples/clickstream/clicks.csv' GROUP BY symbol".replace("symbol", "page");
    let ran = tidemark(&["run", "-e", &sql]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("finished in "), "{ran:?}");
    for part in ["1,200 rows in", "source examples/clickstream/clicks.csv", "sink stdout", "peak memory"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.stdout.contains("finished in"), "{ran:?}");
}

#[test]
fn the_summary_as_json_is_one_object() {
    let ran = tidemark(&[
        "run",
        "--report",
        "json",
        "--format",
        "csv",
        "-e",
        "SELECT page FROM 'examples/clickstream/clicks.csv' WHERE page = '/cart'",
    ]);
    let json: serde_json::Value = serde_json::from_str(ran.stderr.trim()).expect("one JSON object");
    assert_eq!(json["outcome"], "finished", "{ran:?}");
    assert_eq!(json["sources"][0]["rows"], 1200, "{ran:?}");
    // Standard output holds a header and a line per change.
    assert_eq!(json["sinks"][0]["changes"].as_u64(), Some(ran.stdout.lines().count() as u64 - 1), "{ran:?}");
}

#[test]
fn statements_come_from_a_file_a_text_or_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("q.sql");
    let sql = "SELECT count(*) AS n FROM 'examples/clickstream/clicks.csv'";
    std::fs::write(&file, sql).expect("a file");
    let path = file.display().to_string();
    let answers = [
        tidemark(&["run", "-q", &path]),
        // A file in the place of the command, and options behind it.
        tidemark(&[&path, "-q"]),
        tidemark(&["-e", sql, "-q"]),
        tidemark_with_input(&["run", "-", "-q"], sql),
        tidemark_with_input(&["run", "-q"], sql),
        tidemark(&[
            "run",
            "-q",
            "-e",
            "CREATE VIEW v AS SELECT page FROM 'examples/clickstream/clicks.csv'",
            "-e",
            "SELECT count(*) AS n FROM v",
        ]),
    ];
    for answer in &answers {
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(0), answers[0].stdout.as_str()), "{answer:?}");
    }
    assert!(answers[0].stdout.contains("1200"), "{:?}", answers[0]);
}

#[test]
fn records_come_through_a_pipe() {
    let sql = "CREATE SOURCE t (a BIGINT) WITH (connector = 'stdin', format = 'json'); SELECT sum(a) AS total FROM t";
    let ran = tidemark_with_input(&["run", "-q", "-e", sql], "{\"a\": 40}\n{\"a\": 2}\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("42"), "{ran:?}");
}

#[test]
fn standard_input_cannot_be_statements_and_records_at_once() {
    let ran = tidemark_with_input(&["run", "-"], "CREATE SOURCE t (a BIGINT) WITH (connector = 'stdin', format = 'json'); SELECT a FROM t");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("cli::stdin_taken"), "{ran:?}");
}

#[test]
fn mistakes_point_at_the_character_and_nothing_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("wrong.sql"), "SELECT pag\nFROM 'examples/clickstream/clicks.csv';\nSELECT 1 +;\n").expect("a file");
    let ran = tidemark(&["run", &folder.path().join("wrong.sql").display().to_string()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.stderr.contains("wrong.sql:3:"), "the file, line and column are named: {}", ran.stderr);
    assert!(ran.stderr.is_ascii(), "plain drawing where there is no terminal: {}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}

#[test]
fn a_wrong_column_is_drawn_like_this() {
    let ran = tidemark(&["run", "-e", "SELECT pag FROM 'examples/clickstream/clicks.csv'"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines[0], "plan::unknown_column", "{}", ran.stderr);
    assert_eq!(lines[2], "  x column \"pag\" does not exist", "{}", ran.stderr);
    assert_eq!(lines[3], "   ,-[-e:1:8]", "{}", ran.stderr);
    assert_eq!(lines[4], " 1 | SELECT pag FROM 'examples/clickstream/clicks.csv'", "{}", ran.stderr);
    assert!(lines[5].starts_with("   :        ^"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: Did you mean \"page\"?"), "{}", ran.stderr);
}

#[test]
fn colours_come_when_asked_and_only_then() {
    let wrong = ["run", "-e", "SELECT pag FROM 'examples/clickstream/clicks.csv'"];
    let always = tidemark(&[&["--color", "always"], &wrong[..]].concat());
    assert!(always.stderr.contains('\u{1b}'), "{always:?}");
    let never = tidemark(&[&["--color=never"], &wrong[..]].concat());
    let auto = start(&wrong).env("NO_COLOR", "1").output().map(Ran::from).expect("it runs");
    for ran in [never, auto] {
        assert!(!ran.stderr.contains('\u{1b}') && ran.code == Some(2), "{ran:?}");
    }
}

#[test]
fn check_reports_as_json_and_runs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.csv").display().to_string();
    let good = format!(
        "CREATE SINK s WITH (connector = 'file', path = '{out}', format = 'csv') AS SELECT page FROM 'examples/clickstream/clicks.csv'"
    );
    let ran = tidemark(&["check", "--format", "json", "-e", &good]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!std::path::Path::new(&out).exists(), "check must not write");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&json["ok"], json["diagnostics"].as_array().map(Vec::len)), (&serde_json::json!(true), Some(0)), "{json}");

    let ran = tidemark(&[
        "check",
        "--format",
        "json",
        "-e",
        "SELECT pag FROM 'examples/clickstream/clicks.csv';\nSELECT nop(page) FROM 'examples/clickstream/clicks.csv'",
    ]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let found = json["diagnostics"].as_array().cloned().unwrap_or_default();
    assert_eq!((&json["ok"], found.len()), (&serde_json::json!(false), 2), "all mistakes at once: {json}");
    assert_eq!(found[0]["code"], "plan::unknown_column");
    assert_eq!((&found[0]["span"]["line"], &found[0]["span"]["column"]), (&serde_json::json!(1), &serde_json::json!(8)), "{json}");
    assert_eq!((&found[1]["span"]["line"], &found[1]["span"]["column"]), (&serde_json::json!(2), &serde_json::json!(8)), "{json}");
    assert!(found[0]["help"].as_str().is_some_and(|help| help.contains("page")), "{json}");
}

#[test]
fn a_file_that_is_not_there_is_said_in_one_line() {
    let ran = tidemark(&["run", "no/such/file.sql"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot read no/such/file.sql: ") && ran.stderr.lines().count() == 1, "{ran:?}");
    for empty in ["", " \n"] {
        let ran = tidemark_with_input(&["run", "-"], empty);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), "error: stdin holds no statement\n"), "{ran:?}");
    }
}

#[test]
fn a_wrong_word_on_the_command_line_gets_the_nearest_one() {
    let ran = tidemark(&["chek", "a.sql"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("'check'"), "{ran:?}");
    let ran = tidemark(&["run", "-e", "SELECT 1", "--set", "worker=2"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("\"workers\""), "{ran:?}");
}

#[test]
fn variables_come_from_d_then_the_environment() {
    let sql = "CREATE SOURCE c WITH (connector = 'file', path = '${CLICKS}', format = 'csv'); SELECT count(*) AS n FROM c";
    let path = "examples/clickstream/clicks.csv";
    let by_option = start(&["run", "-q", "-D", &format!("CLICKS={path}"), "-e", sql])
        .env("CLICKS", "nowhere")
        .output()
        .map(Ran::from)
        .expect("it runs");
    let by_environment = start(&["run", "-q", "-e", sql]).env("CLICKS", path).output().map(Ran::from).expect("it runs");
    for ran in [by_option, by_environment] {
        assert!(ran.code == Some(0) && ran.stdout.contains("1200"), "{ran:?}");
    }
    assert_eq!(start(&["run", "-q", "-e", sql]).env_remove("CLICKS").output().map(Ran::from).expect("it runs").code, Some(2));
}

#[test]
fn a_bad_row_fails_the_run_and_is_shown() {
    let sql = "CREATE SOURCE t (a BIGINT) WITH (connector = 'stdin', format = 'json'); SELECT sum(a) AS total FROM t";
    let ran = tidemark_with_input(&["run", "-e", sql], "{\"a\": 1}\n{\"a\": oops}\n");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("error: bad row in source \"t\"") && ran.stderr.contains("oops"), "{ran:?}");
}

#[test]
fn a_bad_row_that_is_skipped_is_counted_and_shown() {
    let sql = "CREATE SOURCE t (a BIGINT) WITH (connector = 'stdin', format = 'json') ON ERROR SKIP; SELECT sum(a) AS total FROM t";
    let ran = tidemark_with_input(&["run", "-e", sql], "{\"a\": 1}\n{\"a\": oops}\n{\"a\": 41}\n");
    assert!(ran.code == Some(0) && ran.stdout.contains("42"), "{ran:?}");
    assert!(ran.stderr.contains("1 bad") && ran.stderr.contains("bad row in t: "), "{ran:?}");
}

const ENDLESS: &str = "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', \"events-per-second\" = 2000); \
    SELECT auction, price FROM bid";

#[test]
fn a_time_limit_ends_cleanly() {
    let began = Instant::now();
    let ran = tidemark(&["run", "--limit-time", "500ms", "--format", "ndjson", "-e", ENDLESS]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(ran.stderr.starts_with("stopped after "), "{}", ran.stderr);
    assert!(ran.stdout.lines().count() > 10, "{}", ran.stdout.lines().count());
    assert!(ran.stdout.ends_with('\n'), "the last line is whole");
}

#[test]
fn an_interrupt_drains_and_reports() {
    let child =
        start(&["run", "--format", "ndjson", "-e", ENDLESS]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(1500));
    let signal = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(signal.success(), "the run was still alive");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopped after "), "{}", ran.stderr);
    assert!(ran.stdout.ends_with('\n') && ran.stdout.lines().count() > 10, "{}", ran.stdout.lines().count());
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let mut child =
        start(&["run", "--format", "ndjson", "-e", ENDLESS]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let head = std::process::Command::new("head").arg("-n3").stdin(child.stdout.take().expect("a pipe")).output().expect("head runs");
    assert_eq!(String::from_utf8_lossy(&head.stdout).lines().count(), 3);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(141), ""), "{ran:?}");
}

#[test]
fn explain_shows_every_query_and_sink() {
    let sql = "CREATE VIEW v AS SELECT page, load_ms FROM 'examples/clickstream/clicks.csv' WHERE load_ms > 10; \
        CREATE SINK s WITH (connector = 'blackhole') AS SELECT page FROM v; SELECT page, count(*) AS n FROM v GROUP BY page";
    for level in ["logical", "optimized", "physical"] {
        let ran = tidemark(&["explain", "--level", level, "-e", sql]);
        assert_eq!(ran.code, Some(0), "{level}: {ran:?}");
        assert!(ran.stdout.contains("load_ms") && ran.stdout.to_lowercase().contains("aggregate"), "{level}: {}", ran.stdout);
    }
    let ran = tidemark(&["explain", "--format", "json", "-e", sql]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(json.to_string().contains("blackhole") || json.to_string().contains("\"s\""), "{json}");
    assert_eq!(tidemark(&["explain", "-e", "SELECT nothing FROM nowhere"]).code, Some(2));
}

#[test]
fn show_and_describe_print_and_need_no_run() {
    let ran = tidemark(&["run", "-e", "CREATE SOURCE t (a BIGINT, b VARCHAR) WITH (connector = 'stdin', format = 'json'); DESCRIBE t"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("BIGINT"), "{ran:?}");
}

#[test]
fn the_demo_ends_by_itself_with_results() {
    let ran = tidemark(&["demo", "--events", "200000"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.lines().count() > 5 && ran.stderr.contains("finished in "), "{ran:?}");
    let sql = tidemark(&["demo", "--sql"]);
    assert!(sql.stdout.contains("CREATE SOURCE"), "{sql:?}");
    // What it prints is what it runs.
    let again = tidemark_with_input(&["run", "-q", "-"], &tidemark(&["demo", "--sql", "--events", "200000"]).stdout);
    assert_eq!(again.stdout, ran.stdout);
}

#[test]
fn version_and_help_are_there() {
    let version = tidemark(&["--version"]);
    assert_eq!((version.code, version.stdout.trim()), (Some(0), concat!("tidemark ", env!("CARGO_PKG_VERSION"))));
    let help = tidemark(&["help"]);
    for command in ["run", "explain", "check", "demo"] {
        assert!(help.stdout.contains(command), "{help:?}");
    }
}

#[test]
fn a_table_stands_in_the_order_that_was_asked_for() {
    let ran = tidemark(&[
        "run",
        "-e",
        "SELECT b, a FROM (VALUES (1, 5), (2, NULL), (3, 7), (4, 5)) v(a, b) ORDER BY b DESC NULLS LAST, a DESC LIMIT 4",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows: Vec<String> = ran.stdout.lines().skip(2).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows, ["7 3", "5 4", "5 1", "null 2", "(4 rows)"]);
}
