//! The 22 queries of TPC-H as views over tables that change: after every batch of changes each equals DataFusion's answer.
//!
//! `TIDEMARK_TPCH_SCALE` sets the scale factor, `TIDEMARK_TPCH` the only query to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidemark_conformance::check::{accumulate, same};
use tidemark_conformance::tpch::{QUERIES, Table, tables};
use tidemark_planner::explain;
use tidemark_testing::run::{Job, plan, run};
use tidemark_testing::value::{Row, Value};

const STEPS: usize = 4;

fn batch_answer(sql: &str, tables: &[Table], step: usize) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let context = SessionContext::new_with_config(
        SessionConfig::new().with_target_partitions(1).set_bool("datafusion.sql_parser.parse_float_as_decimal", true),
    );
    for table in tables {
        let rows = table.at(step);
        let memory = MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("a table");
        context.register_table(table.name, Arc::new(memory)).expect("a table");
    }
    let batches = runtime.block_on(async { context.sql(sql).await.expect("a query").collect().await.expect("an answer") });
    batches.iter().flat_map(Value::rows).collect()
}

#[test]
fn tpch_views_equal_their_batch_answers_after_every_refresh() {
    let scale: f64 = std::env::var("TIDEMARK_TPCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(0.002);
    let only: Option<usize> = std::env::var("TIDEMARK_TPCH").ok().and_then(|text| text.parse().ok());
    let tables = tables(scale, STEPS);
    let declarations: String = tables.iter().map(|table| table.declaration("connector = 'test', changelog = 'retract'")).collect();
    let partitions: BTreeMap<_, _> = tables.iter().map(|table| (table.name.to_owned(), vec![table.partition(STEPS)])).collect();
    let mut failures = Vec::new();
    let mut rows = 0;
    for (number, sql) in QUERIES.iter().filter(|(number, _)| only.is_none_or(|only| only == *number)) {
        let workers = 1 + number % 3;
        let job = Job {
            sql: format!("{declarations}CREATE SINK out WITH (connector = 'test') AS {sql} EMIT CHANGES;"),
            tables: partitions.clone(),
            workers,
            chunking: None,
        };
        let outcome = run(&job);
        if let Some(errors) = &outcome.plan_errors {
            failures.push(format!("q{number} did not plan: {errors:#?}"));
            continue;
        }
        if let Err(error) = &outcome.report {
            failures.push(format!("q{number} failed: {error}"));
            continue;
        }
        let changes = outcome.written.get("out").cloned().unwrap_or_default();
        for step in 0..STEPS {
            let expected = batch_answer(sql, &tables, step);
            rows += expected.len();
            if let Err(wrong) = accumulate(&changes, step).and_then(|found| same(found, expected)) {
                failures.push(format!("q{number} after step {step}: {}", wrong.chars().take(2_000).collect::<String>()));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
    assert!(only.is_some() || rows > 100, "the answers have {rows} rows");
}

/// Rows of the tables at scale factor 1.
const ROWS: [(&str, usize); 8] = [
    ("region", 5),
    ("nation", 25),
    ("supplier", 10_000),
    ("part", 200_000),
    ("partsupp", 800_000),
    ("customer", 150_000),
    ("orders", 1_500_000),
    ("lineitem", 6_001_215),
];

/// `UPDATE_EXPECT=1` writes the expected orders; read the diff.
#[test]
fn joins_of_tpch_are_in_an_order_that_keeps_few_rows() {
    let tables = tables(0.001, 1);
    let mut text = String::new();
    for known in [false, true] {
        let declarations: String = tables
            .iter()
            .map(|table| {
                let rows = ROWS.iter().find(|(name, _)| *name == table.name).map_or(0, |(_, rows)| *rows);
                let statistics = if known { format!(", {}", table.statistics(rows)) } else { String::new() };
                table.declaration(&format!("connector = 'test', changelog = 'retract'{statistics}"))
            })
            .collect();
        text.push_str(if known { "\nwith statistics\n" } else { "without statistics\n" });
        for (number, sql) in QUERIES {
            let program = plan(&format!("{declarations}CREATE SINK out WITH (connector = 'test') AS {sql} EMIT CHANGES;"));
            let plan = program.unwrap_or_else(|errors| panic!("q{number}: {errors:#?}")).plan.expect("a query");
            for line in explain::explain(&plan).iter().filter(|line| line.name == "Join") {
                for (_, order) in line.fields.iter().filter(|(name, _)| *name == "order") {
                    text.push_str(&format!("q{number:<3} {order}\n"));
                }
            }
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tpch/orders.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default());
}
