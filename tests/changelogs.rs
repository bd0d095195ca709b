//! Changelogs in and out over real files: however a table's changes are written, and with any number of workers, what is read adds up
//! to the table; and what a query writes as changes reads back as the query's result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tidemark_connectors::io::Io;
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::capture::Capture;
use tidemark_testing::random::Random;
use tidemark_testing::run::plan_with;
use tidemark_testing::value::{Row, Value};

/// A row of the table: a key, a text, a group that may be null, a number.
type Record = (i64, &'static str, Option<&'static str>, i64);

const COLUMNS: &str = "id BIGINT NOT NULL, name VARCHAR NOT NULL, city VARCHAR, n BIGINT";

fn go(sql: &str, io: &dyn Io, connectors: &Connectors, workers: usize) -> RunReport {
    let program = plan_with(sql, connectors).unwrap_or_else(|errors| panic!("{errors:#?}\n{sql}"));
    let config = RunConfig { workers, ..RunConfig::default() };
    run(Arc::new(program.plan.expect("there is a query")), io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// What a query comes to.
fn result(source: &str, query: &str, workers: usize) -> (Vec<(Row, i64)>, RunReport) {
    let capture = Capture::default();
    let sql = format!("{source}; CREATE SINK o WITH (connector = 'blackhole') AS {query};");
    let report = go(&sql, &capture, &capture.connectors, workers);
    (capture.rows(), report)
}

/// The changes of a table, one after the other: the row before and the row after.
fn changes(seed: u64, count: usize) -> Vec<(Option<Record>, Option<Record>)> {
    let mut random = Random::new(seed);
    let mut table: BTreeMap<i64, Record> = BTreeMap::new();
    (0..count)
        .map(|_| {
            let id = random.between(1, 200);
            let before = table.get(&id).copied();
            let row =
                (id, *random.pick(&["a", "b \"c\"", "d,e", "é"]), *random.pick(&[None, Some("wien"), Some("graz")]), random.between(-5, 5));
            let after = (before.is_none() || random.chance(70)).then_some(row);
            match after {
                Some(row) => table.insert(id, row),
                None => table.remove(&id),
            };
            (before, after)
        })
        .collect()
}

fn table(changes: &[(Option<Record>, Option<Record>)]) -> Vec<Record> {
    let mut table: BTreeMap<i64, Record> = BTreeMap::new();
    for (before, after) in changes {
        if let Some(row) = before {
            table.remove(&row.0);
        }
        if let Some(row) = after {
            table.insert(row.0, *row);
        }
    }
    table.into_values().collect()
}

fn text(value: Option<&str>) -> String {
    value.map_or("null".into(), |value| format!("{value:?}"))
}

fn object(row: &Record) -> String {
    format!(r#"{{"id":{},"name":{:?},"city":{},"n":{}}}"#, row.0, row.1, text(row.2), row.3)
}

fn write(folder: &Path, form: &str, changes: &[(Option<Record>, Option<Record>)]) {
    let mut out = String::new();
    if form == "words.csv" {
        out.push_str("id,name,kind,city,n\n");
    }
    for (before, after) in changes {
        let op = match (before, after) {
            (None, _) => "c",
            (_, Some(_)) => "u",
            (_, None) => "d",
        };
        let side = |row: &Option<Record>| row.as_ref().map_or("null".into(), object);
        let kind = |row: &Record, kind: &str| object(row).replacen('{', &format!(r#"{{"kind":"{kind}","#), 1);
        match form {
            "whole.json" => writeln!(out, r#"{{"before":{},"after":{},"op":"{op}"}}"#, side(before), side(after)).expect("a string"),
            "keyed.json" => {
                let before = match (op, before) {
                    ("d", Some(row)) => format!(r#"{{"id":{}}}"#, row.0),
                    _ => "null".into(),
                };
                let after = side(after);
                let envelope = format!(r#"{{"before":{before},"after":{after},"source":{{"table":"t"}},"op":"{op}"}}"#);
                writeln!(out, r#"{{"schema":{{"type":"struct"}},"payload":{envelope}}}"#).expect("a string");
                if op == "d" {
                    out.push_str("null\n");
                }
            }
            "words.ndjson" => {
                let (minus, plus) = if op == "u" { ("-U", "+U") } else { ("-D", "+I") };
                before.iter().for_each(|row| writeln!(out, "{}", kind(row, minus)).expect("a string"));
                after.iter().for_each(|row| writeln!(out, "{}", kind(row, plus)).expect("a string"));
            }
            "last.ndjson" => match after {
                Some(row) => writeln!(out, "{}", kind(row, if op == "u" { "update" } else { "insert" })).expect("a string"),
                None => writeln!(out, r#"{{"id":{},"kind":"delete"}}"#, before.map_or(0, |row| row.0)).expect("a string"),
            },
            _ => {
                let line = |row: &Record, kind: &str| {
                    let name = row.1.replace('"', "\"\"");
                    format!("{},\"{name}\",{kind},{},{}\n", row.0, row.2.unwrap_or_default(), row.3)
                };
                before.iter().for_each(|row| out.push_str(&line(row, "-1")));
                after.iter().for_each(|row| out.push_str(&line(row, "1")));
            }
        }
    }
    std::fs::write(folder.join(form), out).expect("a file can be written");
}

#[test]
fn a_table_is_what_its_changes_add_up_to() {
    for seed in 0..3 {
        let changes = changes(seed, 3_000);
        let folder = tempfile::tempdir().expect("a folder can be made");
        let rows: Vec<Record> = table(&changes);
        let city = |city: Option<&str>| city.map_or(Value::Null, Value::text);
        let mut expected: Vec<(Row, i64)> =
            rows.iter().map(|row| (vec![Value::Int(row.0.into()), Value::text(row.1), city(row.2), Value::Int(row.3.into())], 1)).collect();
        expected.sort();
        let mut groups: BTreeMap<Option<&str>, (i128, i128, i64)> = BTreeMap::new();
        for row in &rows {
            let group = groups.entry(row.2).or_insert((0, 0, i64::MIN));
            *group = (group.0 + 1, group.1 + i128::from(row.3), group.2.max(row.3));
        }
        let mut grouped: Vec<(Row, i64)> = groups
            .into_iter()
            .map(|(name, (count, sum, most))| (vec![city(name), Value::Int(count), Value::Int(sum), Value::Int(most.into())], 1))
            .collect();
        grouped.sort();
        for (form, key, options) in [
            ("whole.json", false, "format = 'debezium-json'"),
            ("whole.json", true, "format = 'debezium-json'"),
            ("whole.json", true, "format = 'debezium-json', changelog.mode = 'retract'"),
            ("keyed.json", true, "format = 'debezium-json', debezium-json.schema-include = 'true'"),
            ("words.ndjson", false, "changelog.op-column = 'kind'"),
            ("words.ndjson", true, "changelog.op-column = 'kind', changelog.mode = 'upsert'"),
            ("last.ndjson", true, "changelog.op-column = 'kind', changelog.mode = 'upsert'"),
            ("words.csv", false, "changelog.diff-column = 'kind'"),
        ] {
            write(folder.path(), form, &changes);
            let key = if key { ", PRIMARY KEY (id) NOT ENFORCED" } else { "" };
            let path = folder.path().join(form);
            let source = format!("CREATE SOURCE t ({COLUMNS}{key}) WITH (connector = 'file', path = '{}', {options})", path.display());
            for workers in [1, 2, 4] {
                let what = format!("seed {seed}, {form}, {options}, {workers} workers");
                assert_eq!(result(&source, "SELECT id, name, city, n FROM t", workers).0, expected, "{what}");
                let query = "SELECT city, count(*) AS c, sum(n) AS s, max(n) AS m FROM t GROUP BY city";
                assert_eq!(result(&source, query, workers).0, grouped, "{what}");
            }
        }
    }
}

#[test]
fn what_is_written_as_changes_reads_back_as_the_result() {
    let changes = changes(77, 2_000);
    let folder = tempfile::tempdir().expect("a folder can be made");
    write(folder.path(), "whole.json", &changes);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let source = format!(
        "CREATE SOURCE t ({COLUMNS}, PRIMARY KEY (id) NOT ENFORCED) WITH (connector = 'file', path = '{}', format = 'debezium-json')",
        path("whole.json")
    );
    let query = "SELECT coalesce(city, '-') AS town, count(*) AS c, sum(n) AS s FROM t GROUP BY coalesce(city, '-')";
    let (expected, _) = result(&source, query, 2);
    assert_eq!(expected.len(), 3);
    let columns = "town VARCHAR NOT NULL, c BIGINT, s BIGINT";
    for (name, key, options) in [
        ("a.json", false, "format = 'debezium-json'"),
        ("b.json", true, "format = 'debezium-json'"),
        ("c.ndjson", false, "changelog.op-column = 'op'"),
        ("d.csv", false, "changelog.op-column = 'kind'"),
        ("e.csv", false, "changelog.op-column = 'kind', header = 'false'"),
        ("f.ndjson", false, "changelog.diff-column = 'n'"),
        ("g.csv", true, "changelog.op-column = 'op', changelog.mode = 'upsert'"),
        ("h.ndjson", true, "changelog.op-column = 'op', changelog.mode = 'upsert'"),
    ] {
        let with = format!("WITH (connector = 'file', path = '{}', {options})", path(name));
        let key = if key { ", PRIMARY KEY (town) NOT ENFORCED" } else { "" };
        for workers in [1, 3] {
            let connectors = Connectors::of_process(StdoutStyle::default());
            go(&format!("{source}; CREATE SINK o {with} AS {query};"), &connectors, &connectors, workers);
            let back = format!("CREATE SOURCE t ({columns}{key}) {with}");
            let (rows, report) = result(&back, "SELECT town, c, s FROM t", workers);
            assert_eq!(rows, expected, "{name}, {workers} workers");
            assert!(report.operators.iter().all(|operator| operator.ignored == 0), "{name}: every deletion has its row");
        }
    }
}

#[test]
fn bad_records_follow_the_policy() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("t.json");
    let lines = [
        r#"{"before":null,"after":{"id":1,"name":"a","city":null,"n":1},"op":"c"}"#,
        r#"{"before":null,"after":{"id":null,"name":"a","city":null,"n":1},"op":"c"}"#,
        r#"{"before":null,"after":{"id":1,"name":"a","city":null,"n":1},"op":"x"}"#,
        r#"{"before":null,"after":{"id":2,"name":"b","city":null,"n":1},"op":"u"}"#,
        r#"{"before":{"id":3},"after":null,"op":"d"}"#,
    ];
    std::fs::write(&path, lines.join("\n")).expect("a file can be written");
    let letters = folder.path().join("letters.ndjson");
    let source = |key: &str| {
        let with = format!("WITH (connector = 'file', path = '{}', format = 'debezium-json')", path.display());
        format!("CREATE SOURCE t ({COLUMNS}{key}) {with} ON ERROR DEAD_LETTER '{}'", letters.display())
    };
    let (rows, report) = result(&source(", PRIMARY KEY (id) NOT ENFORCED"), "SELECT id FROM t", 2);
    assert_eq!(rows, [(vec![Value::Int(1)], 1), (vec![Value::Int(2)], 1)]);
    assert_eq!(report.sources[0].bad, 2);
    assert_eq!(report.operators.iter().map(|operator| operator.ignored).sum::<u64>(), 1, "key 3 was not there");
    let told = std::fs::read_to_string(&letters).expect("dead letters");
    assert!(told.contains("field \\\"op\\\": x is no kind of change"), "{told}");
    let (rows, report) = result(&source(""), "SELECT id, name FROM t", 2);
    assert_eq!(rows, [(vec![Value::Int(1), Value::text("a")], 1)]);
    assert_eq!(report.sources[0].bad, 4, "without a key, updates and deletions need the whole row before");
}

#[test]
fn sinks_that_cannot_carry_the_changes_are_refused() {
    let connectors = Connectors::of_process(StdoutStyle::default());
    let source = "CREATE SOURCE s (k VARCHAR, v BIGINT) WITH (connector = 'datagen', rows = 1);";
    for (sink, query, wanted) in [
        (
            "o WITH (connector = 'stdout', format = 'ndjson', changelog.mode = 'append')",
            "SELECT k, count(*) AS n FROM s GROUP BY k",
            "cannot say so",
        ),
        (
            "o WITH (connector = 'stdout', format = 'ndjson', changelog.mode = 'upsert')",
            "SELECT k, v FROM s",
            "the rows of this query have none",
        ),
        (
            "o (k VARCHAR, n BIGINT, PRIMARY KEY (n) NOT ENFORCED) WITH (connector = 'stdout', format = 'csv', changelog.mode = 'upsert')",
            "SELECT k, count(*) AS n FROM s GROUP BY k",
            "keeps one row for each n, and this query may have several",
        ),
        (
            "o WITH (connector = 'stdout', changelog.mode = 'upsert')",
            "SELECT k, count(*) AS n FROM s GROUP BY k",
            "a changelog shows its diffs anyway",
        ),
        ("o WITH (connector = 'stdout', format = 'debezium-json', op = 'true')", "SELECT k, v FROM s", "leave out \"op\""),
    ] {
        let errors = plan_with(&format!("{source} CREATE SINK {sink} AS {query};"), &connectors).expect_err(sink);
        assert!(errors.iter().any(|error| error.message.contains(wanted)), "{sink}: {errors:#?}");
    }
    for (sink, query) in [
        ("o WITH (connector = 'stdout', format = 'ndjson', changelog.mode = 'upsert')", "SELECT DISTINCT k, v FROM s WHERE v > 1"),
        (
            "o (n BIGINT, k VARCHAR, PRIMARY KEY (n, k) NOT ENFORCED) WITH (connector = 'stdout', format = 'csv', changelog.mode = 'upsert')",
            "SELECT count(*) AS n, k FROM s GROUP BY k",
        ),
    ] {
        plan_with(&format!("{source} CREATE SINK {sink} AS {query};"), &connectors).unwrap_or_else(|errors| panic!("{errors:#?}"));
    }
}
