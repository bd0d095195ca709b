//! Golden plans: what a text is planned to (`plans/`), and what is refused with which words (`refused/`).
//! `UPDATE_EXPECT=1 cargo test -p tidemark-planner --test plans` writes the expected texts; read the diff.

mod common;
mod world;

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use common::{draw, golden, sql_files, variables};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{ChangelogKind, KeyPlan, LetterColumn, PhysicalOp, PhysicalPlan, Step, WindowPlan};
use tidemark_planner::settings::Settings;
use tidemark_planner::{Output, PlanContext, PlanError, Program, explain, plan_text};
use world::World;

fn plan(text: &str) -> Result<Program, Vec<PlanError>> {
    plan_text(text, &PlanContext { connectors: &World, variables: &variables, settings: Settings::default(), stdout_format: None })
}

/// Every expression has the type its column is said to have, reads columns there are, and evaluates on a row of nulls or zeros.
fn check(plan: &PhysicalPlan) {
    let typed = |expr: &Arc<dyn PhysicalExpr>, below: &Schema, wanted: &DataType, what: &str| {
        let is = expr.data_type(below).unwrap_or_else(|error| panic!("{what}: {expr}: {error}"));
        assert_eq!(&is, wanted, "{what}: {expr}");
        let rows = RecordBatch::new_empty(Arc::new(below.clone()));
        let value = expr.evaluate(&rows).unwrap_or_else(|error| panic!("{what}: {expr}: {error}"));
        assert_eq!(&value.data_type(), wanted, "{what}: {expr}");
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let windows = |window: &WindowPlan, below: &Schema, what: &str| {
        typed(&window.time, below, &time, what);
        window.start.iter().for_each(|start| typed(start, below, &time, what));
    };
    for node in plan.nodes() {
        let what = node.id.to_string();
        let schema = &node.props.schema;
        for (column, _) in &node.props.watermarks {
            assert!(matches!(schema.field(*column).data_type(), DataType::Timestamp(_, _)), "{what}");
        }
        assert!(node.props.unique_keys.iter().flatten().all(|column| *column < schema.fields().len()), "{what}");
        match &node.op {
            PhysicalOp::Source { source } => {
                let source = &plan.sources()[source.index()];
                let metadata = source.metadata.iter().map(|it| Arc::new(Field::new(it.name(), it.data_type(), false)));
                let below = Schema::new(source.read_schema.fields().iter().cloned().chain(metadata).collect::<Vec<_>>());
                assert!(!source.read.is_empty(), "{what}: rows are counted by a column");
                assert_eq!(source.output.len(), schema.fields().len(), "{what}");
                for (it, field) in source.output.iter().zip(schema.fields()) {
                    typed(&it.expr, &below, field.data_type(), &what);
                    assert_eq!(&it.name, field.name());
                }
                source.event_time.iter().for_each(|it| typed(&it.expr, &below, &time, &what));
            }
            PhysicalOp::Stateless { input, steps, schemas } => {
                let mut below = Arc::clone(&plan.node(*input).props.schema);
                assert_eq!(schemas.last(), Some(schema), "{what}");
                for (step, after) in steps.iter().zip(schemas) {
                    match step {
                        Step::Filter { predicate } => {
                            typed(predicate, &below, &DataType::Boolean, &what);
                            assert_eq!(after, &below, "{what}");
                        }
                        Step::Project { exprs } => {
                            assert!(!exprs.is_empty() && exprs.len() == after.fields().len(), "{what}");
                            exprs.iter().zip(after.fields()).for_each(|(it, field)| typed(&it.expr, &below, field.data_type(), &what));
                        }
                        Step::AssignWindows { window } => {
                            windows(window, &below, &what);
                            assert_eq!(after.fields().len(), below.fields().len() + 3, "{what}");
                        }
                        Step::LateRows { window } => {
                            windows(window, &below, &what);
                            assert_eq!(after.fields().len(), below.fields().len() + 5, "{what}");
                        }
                        Step::Arrival => assert_eq!(after.fields().len(), below.fields().len() + 1, "{what}"),
                        Step::Unnest { .. } => {}
                    }
                    below = Arc::clone(after);
                }
            }
            PhysicalOp::Expire(expire) => {
                assert_eq!(&plan.node(expire.input).props.schema, schema, "{what}");
                assert_eq!(plan.node(expire.input).props.changelog, ChangelogKind::AppendOnly, "{what}");
            }
            PhysicalOp::Upsert(upsert) => {
                assert_eq!(&plan.node(upsert.input).props.schema, schema, "{what}");
                assert!(upsert.key.iter().all(|place| !schema.field(*place).is_nullable()), "{what}: a key has no nulls");
            }
            PhysicalOp::Union { inputs } => {
                assert!(inputs.iter().all(|input| plan.node(*input).props.schema.fields() == schema.fields()), "{what}");
            }
            PhysicalOp::Aggregate { input, keys, aggregates, window, .. } => {
                let below = &plan.node(*input).props.schema;
                window.iter().for_each(|window| windows(window, below, &what));
                assert_eq!(keys.len() + aggregates.len(), schema.fields().len(), "{what}");
                for (key, field) in keys.iter().zip(schema.fields()) {
                    match key {
                        KeyPlan::Expr(it) => typed(&it.expr, below, field.data_type(), &what),
                        KeyPlan::Window(_, _) => {
                            let wanted = window.as_ref().map_or(time.clone(), |window| window.kind.column_type());
                            assert_eq!(field.data_type(), &wanted, "{what}");
                        }
                    }
                }
                for (aggregate, field) in aggregates.iter().zip(schema.fields().iter().skip(keys.len())) {
                    assert_eq!(aggregate.output.data_type(), field.data_type(), "{what}");
                    aggregate.args.iter().zip(&aggregate.arg_types).for_each(|(arg, wanted)| typed(arg, below, wanted, &what));
                    aggregate.order_by.iter().for_each(|key| typed(&key.expr, below, &key.data_type, &what));
                    aggregate.filter.iter().for_each(|filter| typed(filter, below, &DataType::Boolean, &what));
                }
            }
            PhysicalOp::Errors { .. } => assert_eq!(schema, &LetterColumn::schema(), "{what}"),
            PhysicalOp::Arrange(_)
            | PhysicalOp::Join(_)
            | PhysicalOp::AsOf(_)
            | PhysicalOp::SetOperation { .. }
            | PhysicalOp::Values { .. }
            | PhysicalOp::Recursive { .. } => {}
            PhysicalOp::Recursion(recursion) => {
                for side in [recursion.base, recursion.step, recursion.recursive] {
                    assert_eq!(plan.node(side).props.schema.fields(), schema.fields(), "{what}");
                }
            }
            PhysicalOp::Over(over) => {
                let below = &plan.node(over.input).props.schema;
                over.window.iter().for_each(|window| windows(window, below, &what));
                over.order_by.iter().for_each(|key| typed(&key.expr, below, &key.data_type, &what));
                assert!(below.fields().iter().chain(over.functions.iter().map(|call| &call.output)).eq(schema.fields()), "{what}");
            }
            PhysicalOp::TopN(top) => {
                let below = &plan.node(top.input).props.schema;
                top.window.iter().for_each(|window| windows(window, below, &what));
                top.order_by.iter().for_each(|key| typed(&key.expr, below, &key.data_type, &what));
                let columns = top.output.iter().map(|place| &below.fields()[*place]).chain(&top.rank);
                assert!(columns.eq(schema.fields()), "{what}");
            }
            PhysicalOp::Sink { input, sink } => {
                assert_eq!(plan.sinks()[sink.index()].schema.fields(), plan.node(*input).props.schema.fields(), "{what}");
            }
        }
    }
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
                Ok(program) => {
                    program.plan.iter().for_each(check);
                    shown(&program)
                }
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

/// What is known of the result a query's sink is given: key, columns with a watermark and its delay in microseconds, state below.
fn facts(query: &str) -> (Vec<Vec<usize>>, Vec<(usize, i64)>, String) {
    let program = plan(&format!("{BID}{query}")).unwrap_or_else(|errors| panic!("{query}: {errors:#?}"));
    let plan = program.plan.expect("a query");
    let node = plan.nodes().last().expect("a sink");
    let watermarks = node.props.watermarks.iter().map(|(column, watermark)| (*column, watermark.delay_us)).collect();
    let stateful = plan.nodes().iter().rev().find(|node| !matches!(node.props.state, tidemark_planner::plan::StateBound::None));
    let state = stateful.map_or_else(|| "none".to_string(), |node| node.props.state.to_string());
    (node.props.unique_keys.clone(), watermarks, state)
}

#[test]
fn facts_follow_columns() {
    const SECOND: i64 = 1_000_000;
    let windowed = "FROM bid WINDOW TUMBLING(10s) GROUP BY auction";
    // Projection moves what is known, and drops it where a column is dropped or computed from in a way that loses it.
    assert_eq!(facts("SELECT price, ts FROM bid"), (vec![], vec![(1, 0)], "none".into()));
    assert_eq!(facts("SELECT ts - INTERVAL '3' SECOND AS t, _offset, _partition FROM bid").1, [(0, 3 * SECOND)]);
    assert_eq!(facts("SELECT _offset, price, _partition FROM bid").0, [vec![0, 2]]);
    assert_eq!(facts("SELECT _offset, price FROM bid").0, Vec::<Vec<usize>>::new());
    assert_eq!(facts("SELECT price AS ts FROM bid").1, []);
    // A group is one row.
    assert_eq!(facts("SELECT max(price) AS m, auction FROM bid GROUP BY auction").0, [vec![1]]);
    assert_eq!(facts("SELECT max(price) AS m FROM bid GROUP BY auction").0, Vec::<Vec<usize>>::new());
    // Windows: the end keeps up with the watermark, the start is a window behind.
    let (keys, watermarks, state) = facts(&format!("SELECT window_start, auction, window_end, count(*) AS n {windowed}"));
    assert_eq!((keys, watermarks, state.as_str()), (vec![vec![0, 1, 2]], vec![(0, 10 * SECOND), (2, 0)], "windows within 10s"));
    // A row in several windows is several rows.
    let hop = "FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))";
    assert_eq!(facts(&format!("SELECT _partition, _offset, window_end {hop}")).0, [vec![0, 1, 2]]);
    assert_eq!(facts(&format!("SELECT _partition, _offset {hop}")).0, Vec::<Vec<usize>>::new());
    // The least watermark of two relations holds for both.
    let union = "SELECT ts FROM bid UNION ALL SELECT ts - INTERVAL '7' SECOND AS ts FROM bid";
    assert_eq!(facts(union), (vec![], vec![(0, 7 * SECOND)], "none".into()));
    assert_eq!(facts("SELECT ts FROM bid UNION ALL SELECT now_ AS ts FROM (SELECT max(ts) AS now_ FROM bid) AS t").1, []);
    assert_eq!(facts("SELECT date_trunc('minute', ts) AS m, count(*) AS n FROM bid GROUP BY 1").1, [(0, 60 * SECOND)]);
    assert_eq!(facts("SELECT DISTINCT auction FROM bid").2, "one entry per key");
}

#[test]
fn equal_rows_are_added_up_where_nothing_that_tells_them_apart_is_dropped() {
    let adds_up = |query: &str| {
        let program = plan(&format!("{BID}{query}")).unwrap_or_else(|errors| panic!("{query}: {errors:#?}"));
        let plan = program.plan.expect("a query");
        let sink = plan.nodes().last().expect("a sink");
        plan.adds_up(sink.op.inputs()[0])
    };
    let ranked = "(SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rn FROM bid) AS r WHERE rn <= 2";
    assert!(adds_up(&format!("SELECT * FROM {ranked}")));
    assert!(adds_up(&format!("SELECT *, price * 2 AS twice FROM {ranked} AND price > 3")));
    assert!(!adds_up(&format!("SELECT auction, rn FROM {ranked}")));
    assert!(!adds_up(&format!("SELECT *, unnest(make_array(1, 1)) AS one FROM {ranked}")));
    assert!(adds_up("SELECT auction, count(*) AS n FROM bid GROUP BY auction HAVING count(*) > 1"));
    assert!(!adds_up("SELECT count(*) AS n FROM bid GROUP BY auction"));
    // Rows in the order of their source are told apart by where they stand there, which does not come out.
    assert!(!adds_up("SELECT auction, price FROM bid LIMIT 3"));
    assert!(!adds_up("SELECT * FROM bid"));
}

/// The parts of a window clause, GROUP BY and EMIT mean the same in every order.
#[test]
fn parts_of_a_window_clause_stand_in_any_order() {
    const HEAD: &str = "SELECT symbol, avg(price) AS price FROM trades ";
    const SOURCE: &str = "CREATE SOURCE trades (symbol VARCHAR, price BIGINT, volume BIGINT, at TIMESTAMP, WATERMARK FOR at AS at) WITH (connector = 'stream');";
    let parts = [
        "ON EVENT_TIME(at)",
        "WITH WATERMARK BOUNDED_OUT_OF_ORDERNESS(10s)",
        "TRIGGER EVERY 30s OR EVERY 1000 RECORDS",
        "ALLOWED_LATENESS 30s",
        "LATE_DATA_STRATEGY UPDATE_PREVIOUS",
        "GROUP BY symbol HAVING sum(volume) > 1",
        "EMIT CHANGES",
    ];
    let print = |text: &str| plan(&format!("{SOURCE} {HEAD}{text};")).unwrap_or_else(|errors| panic!("{text}: {errors:#?}")).fingerprint;
    let wanted = print(&format!("WINDOW TUMBLING(5m) {}", parts.join(" ")));
    let mut orders: Vec<Vec<&'static str>> = vec![vec![]];
    for part in parts {
        let with =
            |order: &Vec<&'static str>| (0..=order.len()).map(|at| [&order[..at], &[part], &order[at..]].concat()).collect::<Vec<_>>();
        orders = orders.iter().flat_map(with).collect();
    }
    assert_eq!(orders.len(), 5040);
    // Planning all of them takes long: 19 divides no factorial below 20, so every part is met at every place.
    for order in orders.iter().step_by(19) {
        let (group, others): (Vec<&str>, Vec<&str>) = order.iter().partition(|part| part.starts_with("GROUP BY"));
        for text in
            [format!("WINDOW TUMBLING(5m) {}", order.join(" ")), format!("{} WINDOW TUMBLING(5m) {}", group.join(" "), others.join(" "))]
        {
            assert_eq!(print(&text), wanted, "{text}");
        }
    }
}
