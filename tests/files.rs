//! Streaming equals batch over real files: ndjson, csv and parquet, several files as partitions, any number of workers.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tidemark_dataflow::control::Control;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::capture::Capture;
use tidemark_testing::oracle::{Case, Generator, Source, evaluate};
use tidemark_testing::run::plan_with;
use tidemark_testing::value::{Row, Value};

const COLUMNS: &str = "id BIGINT, ts TIMESTAMP, k VARCHAR, g BIGINT, v BIGINT, d DECIMAL(12, 2), f DOUBLE, b BOOLEAN";
const NAMES: [&str; 8] = ["id", "ts", "k", "g", "v", "d", "f", "b"];

fn execute(sql: &str, workers: usize) -> (Vec<(Row, i64)>, RunReport) {
    let capture = Capture::default();
    let program = plan_with(sql, &capture.connectors).unwrap_or_else(|errors| panic!("{errors:#?}\n{sql}"));
    let config = RunConfig { workers, ..RunConfig::default() };
    let report = run(Arc::new(program.plan.expect("there is a query")), &capture, &config, &Control::new())
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    (capture.rows(), report)
}

fn write_ndjson(source: &Source, folder: &Path) {
    for (p, partition) in source.partitions.iter().enumerate() {
        let mut text = String::new();
        for row in partition.steps.iter().flatten() {
            let fields: Vec<String> = NAMES
                .iter()
                .zip(row)
                // A missing field is null, as one that says so.
                .filter(|(name, value)| !(value.is_null() && **name == "g"))
                .map(|(name, value)| {
                    let value = match value {
                        Value::Text(text) => format!("\"{text}\""),
                        Value::Time(_) => format!("\"{}\"", iso(value)),
                        other => other.to_string(),
                    };
                    format!("\"{name}\":{value}")
                })
                .collect();
            let _ = writeln!(text, "{{{}}}", fields.join(","));
        }
        std::fs::write(folder.join(format!("part-{p}.ndjson")), text).expect("the file can be written");
    }
}

fn write_csv(source: &Source, folder: &Path) {
    for (p, partition) in source.partitions.iter().enumerate() {
        let mut text = format!("{}\n", NAMES.join(","));
        for row in partition.steps.iter().flatten() {
            let fields: Vec<String> = row
                .iter()
                .map(|value| match value {
                    Value::Null => String::new(),
                    Value::Text(text) => format!("\"{text}\""),
                    Value::Time(_) => iso(value),
                    other => other.to_string(),
                })
                .collect();
            let _ = writeln!(text, "{}", fields.join(","));
        }
        std::fs::write(folder.join(format!("part-{p}.csv")), text).expect("the file can be written");
    }
}

fn iso(value: &Value) -> String {
    let text = value.to_string();
    match (text.contains('T'), text.len()) {
        (true, _) => text,
        (false, 5) => format!("1970-01-01T{text}:00"),
        (false, _) => format!("1970-01-01T{text}"),
    }
}

/// Tidemark writes parquet from ndjson, file by file, so that files keep their order.
fn write_parquet(source: &Source, folder: &Path) {
    for p in 0..source.partitions.len() {
        let (from, to) = (folder.join(format!("part-{p}.ndjson")), folder.join(format!("part-{p}.parquet")));
        let capture = Capture::default();
        let sql = format!(
            "CREATE SOURCE t ({COLUMNS}) WITH (connector = 'file', path = '{}', format = 'ndjson');
             CREATE SINK o WITH (connector = 'file', path = '{}', format = 'parquet') AS SELECT * FROM t;",
            from.display(),
            to.display()
        );
        let program = plan_with(&sql, &capture.connectors).unwrap_or_else(|errors| panic!("{errors:#?}"));
        // One worker keeps the order of the file.
        run(Arc::new(program.plan.expect("there is a query")), &capture.connectors, &RunConfig::default(), &Control::new())
            .expect("it runs");
    }
}

fn statement(case: &Case, folder: &Path, format: &str) -> String {
    let query = case.sql();
    format!(
        "CREATE SOURCE t0 ({COLUMNS}, WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND)
           WITH (connector = 'file', path = '{}/part-*.{format}', format = '{format}');
         {} CREATE SINK o WITH (connector = 'blackhole') AS {} EMIT {};",
        case.sources[0].delay / 1_000_000,
        folder.display(),
        query.before,
        query.query,
        if case.fin { "FINAL" } else { "CHANGES" }
    )
}

#[test]
fn files_of_every_format_give_the_batch_answer() {
    for seed in 0..12 {
        let case = Generator::new(500 + seed).large(3_000, 1 + (seed % 3) as usize);
        let folder = tempfile::tempdir().expect("a folder can be made");
        write_ndjson(&case.sources[0], folder.path());
        write_csv(&case.sources[0], folder.path());
        write_parquet(&case.sources[0], folder.path());
        let mut late = 0;
        let mut expected = evaluate(&case.relation, &case.admitted(0), &mut late);
        expected.sort();
        for format in ["ndjson", "csv", "parquet"] {
            for workers in [1, 2, 4] {
                let sql = statement(&case, folder.path(), format);
                let (rows, report) = execute(&sql, workers);
                let found: Vec<Row> = rows
                    .into_iter()
                    .flat_map(|(row, count)| {
                        assert!(count > 0, "seed {seed}, {format}, {workers} workers: {row:?} stands {count} times\n{sql}");
                        (0..count).map(move |_| row.clone())
                    })
                    .collect();
                let close =
                    found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| a.iter().zip(b).all(|(a, b)| a.close_to(b)));
                assert!(
                    close,
                    "seed {seed}, {format}, {workers} workers: {} rows instead of {}\n{sql}\n{:?}\n{:?}",
                    found.len(),
                    expected.len(),
                    found.iter().find(|row| !expected.contains(row)),
                    expected.iter().find(|row| !found.contains(row))
                );
                let counted: u64 = report.operators.iter().map(|operator| operator.late).sum();
                assert_eq!(counted, late, "seed {seed}, {format}, {workers} workers: late rows\n{sql}");
            }
        }
    }
}
