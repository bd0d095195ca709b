//! Golden plans: what a text is planned to (`plans/`), and what is refused with which words (`refused/`).
//! `UPDATE_EXPECT=1 cargo test -p tidemark-planner --test plans` writes the expected texts; read the diff.

#[allow(dead_code)]
mod common;
mod world;

use std::fmt::Write as _;

use common::{draw, golden, sql_files, variables};
use tidemark_planner::settings::Settings;
use tidemark_planner::{Output, PlanContext, PlanError, Program, explain, plan_text};
use world::World;

fn plan(text: &str) -> Result<Program, Vec<PlanError>> {
    plan_text(text, &PlanContext { connectors: &World, variables: &variables, settings: Settings::default(), stdout_format: None })
}

fn shown(program: &Program) -> String {
    let mut out = String::new();
    for output in &program.outputs {
        match output {
            Output::Text(text) => {
                let _ = writeln!(out, "{}", text.trim_end());
            }
            Output::Table { columns, rows } => {
                let _ = writeln!(out, "{}", columns.join(" | "));
                for row in rows {
                    let _ = writeln!(out, "{}", row.join(" | "));
                }
            }
        }
        out.push('\n');
    }
    if let Some(plan) = &program.plan {
        let _ = write!(out, "{}", explain::to_text(&explain::explain(plan)));
    }
    for warning in &program.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

#[test]
fn texts_are_planned() {
    let mut equal = true;
    for path in sql_files("plans") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut actual = String::new();
        // Pipelines in one file are parted by a line of dashes and planned each on its own; the first part is before all others.
        let mut parts = text.split("\n----\n");
        let prelude = parts.next().unwrap_or_default();
        for part in parts {
            let whole = format!("{prelude}\n{part}");
            let said = match plan(&whole) {
                Ok(program) => shown(&program),
                Err(errors) => errors.iter().map(|error| draw(&whole, error)).collect(),
            };
            let _ = write!(actual, "{}\n{said}\n", part.trim());
        }
        equal &= golden(&path, &actual);
    }
    assert!(equal, "see the differences above");
}

#[test]
fn refused_texts_say_what_and_where() {
    let mut equal = true;
    for path in sql_files("refused") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut actual = String::new();
        let mut parts = text.split("\n----\n");
        let prelude = parts.next().unwrap_or_default();
        for part in parts {
            let whole = format!("{prelude}\n{part}");
            let said = match plan(&whole) {
                Ok(program) => panic!("{} should be refused:\n{part}\nbut is planned:\n{}", path.display(), shown(&program)),
                Err(errors) => errors.iter().map(|error| draw(&whole, error)).collect::<Vec<_>>().join("\n"),
            };
            let _ = writeln!(actual, "{said}");
        }
        equal &= golden(&path, &actual);
    }
    assert!(equal, "see the differences above");
}

const BID: &str = "CREATE SOURCE bid (auction BIGINT NOT NULL, price BIGINT, url STRING, ts TIMESTAMP(3), \
                   WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream', topic = 'bid');\n";

#[test]
fn planning_is_deterministic_and_the_fingerprint_tells_plans_apart() {
    let fingerprint = |query: &str| plan(&format!("{BID}{query}")).map(|program| program.fingerprint);
    let first = fingerprint("SELECT auction, price FROM bid WHERE price > 100");
    assert_eq!(first, fingerprint("SELECT auction, price FROM bid WHERE price > 100"));
    for other in [
        "SELECT auction, price FROM bid WHERE price > 101",
        "SELECT auction, price FROM bid WHERE price >= 100",
        "SELECT price, auction FROM bid WHERE price > 100",
        "SELECT auction, regexp_extract(url, 'a(b)', 1) AS price FROM bid WHERE price > 100",
        "SELECT auction, regexp_extract(url, 'a(c)', 1) AS price FROM bid WHERE price > 100",
    ] {
        assert_ne!(first, fingerprint(other), "{other}");
    }
    let regex = |pattern: &str| fingerprint(&format!("SELECT regexp_extract(url, '{pattern}', 1) AS x FROM bid"));
    assert_ne!(regex("a(b)"), regex("a(c)"));
}

#[test]
fn statements_share_what_is_equal() {
    let program = plan(&format!(
        "{BID}CREATE VIEW v AS SELECT auction, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) \
         GROUP BY auction, window_start, window_end;
         SELECT * FROM v; SELECT * FROM v WHERE n > 1; SELECT auction FROM bid;"
    ));
    let plan = program.unwrap_or_else(|errors| panic!("{errors:#?}")).plan.expect("three queries");
    assert_eq!(plan.sources().len(), 1);
    let aggregates = plan.nodes().iter().filter(|node| matches!(node.op, tidemark_planner::plan::PhysicalOp::Aggregate { .. }));
    assert_eq!(aggregates.count(), 1);
    let names: Vec<&str> = plan.sinks().iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["stdout", "stdout 2", "stdout 3"]);
}
