//! Streaming equals batch: runs a random case and compares it with the oracle at every step.

use std::collections::BTreeMap;

use crate::memory::{Change, TextPartition};
use crate::oracle::{COLUMNS, Case, Nesting, Relation, Type, evaluate};
use crate::run::{Job, Outcome, run};
use crate::value::{Row, Value};

/// The job of a case.
pub fn job(case: &Case, workers: usize) -> Job {
    let mut sql = String::new();
    let mut tables: BTreeMap<String, Vec<TextPartition>> = BTreeMap::new();
    for (s, source) in case.sources.iter().enumerate() {
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|(name, ty)| {
                let ty = match ty {
                    Type::Bool => "BOOLEAN".to_owned(),
                    Type::Int => "BIGINT".to_owned(),
                    Type::Float => "DOUBLE".to_owned(),
                    Type::Decimal(precision, scale) => format!("DECIMAL({precision}, {scale})"),
                    Type::Text => "VARCHAR".to_owned(),
                    Type::Time => "TIMESTAMP".to_owned(),
                    Type::List => unreachable!("sources have no lists"),
                };
                format!("{name} {ty}")
            })
            .collect();
        sql.push_str(&format!(
            "CREATE SOURCE t{s} ({}, WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND) WITH (connector = 'test');\n",
            columns.join(", "),
            source.delay / 1_000_000
        ));
        let text = |row: &Row| row.iter().map(cell).collect();
        let partitions = source
            .partitions
            .iter()
            .map(|partition| partition.steps.iter().map(|step| step.iter().map(text).collect()).collect())
            .collect();
        tables.insert(format!("t{s}"), partitions);
    }
    let statement = case.sql();
    sql.push_str(&statement.before);
    let emit = if case.fin { "FINAL" } else { "CHANGES" };
    sql.push_str(&format!("CREATE SINK out WITH (connector = 'test') AS {} EMIT {emit};\n", statement.query));
    Job { sql, tables, workers, chunking: Some(case.chunking) }
}

fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Checks a case with some number of workers.
///
/// # Errors
/// What is wrong, with the statement.
pub fn check(case: &Case, workers: usize) -> Result<(), String> {
    let job = job(case, workers);
    let outcome = run(&job);
    compare(case, &outcome).map_err(|wrong| format!("{wrong}\nworkers: {workers}\n{}", job.sql))
}

fn compare(case: &Case, outcome: &Outcome) -> Result<(), String> {
    if let Some(errors) = &outcome.plan_errors {
        return Err(format!("did not plan: {errors:#?}"));
    }
    let report = outcome.report.as_ref().map_err(|error| format!("failed: {error}"))?;
    if let Some(fault) = outcome.faults.first() {
        return Err(fault.clone());
    }
    let changes = outcome.written.get("out").cloned().unwrap_or_default();
    let last = case.steps().saturating_sub(1);
    let mut late = 0;
    let all = evaluate(&case.relation, &case.admitted(last), &mut late);
    let counted: u64 = report.operators.iter().map(|operator| operator.late).sum();
    // A filter above the windows may be asked before them, and what it drops is not late.
    if counted > late || (counted < late && !filtered_above(&case.relation)) {
        return Err(format!("{counted} late rows were counted instead of {late}"));
    }
    if let Some(change) = changes.iter().find(|change| change.step > last) {
        return Err(format!("a change after the end: {change:?}"));
    }
    for step in 0..=last {
        let found = accumulate(&changes, step)?;
        let expected = if case.fin || waits(case) {
            // What the watermark has closed, of rows that no later row can change.
            let closed = case.watermark(step);
            all.iter().filter(|row| step == last || ended(&case.relation, row, closed)).cloned().collect()
        } else {
            evaluate(&case.relation, &case.admitted(step), &mut 0)
        };
        same(found, expected).map_err(|wrong| format!("after step {step} of {last}: {wrong}"))?;
    }
    Ok(())
}

/// A view with windows gives them when they are closed, however the query over it emits.
fn waits(case: &Case) -> bool {
    let Relation::Group(outer) = &case.relation else { return false };
    case.nesting == Nesting::View && matches!(&outer.input, Relation::Group(inner) if inner.window.is_some())
}

fn filtered_above(relation: &Relation) -> bool {
    match relation {
        Relation::Scan(_) | Relation::Union(_) | Relation::Select { .. } => false,
        Relation::Group(group) => {
            group.having.is_some() || (group.filter.is_some() && group.window.is_none()) || filtered_above(&group.input)
        }
    }
}

/// Whether a row of an EMIT FINAL result is out: its window has closed.
fn ended(relation: &Relation, row: &Row, watermark: Option<i64>) -> bool {
    let Some(watermark) = watermark else { return false };
    let windowed = match relation {
        Relation::Group(group) => group.window.is_some() || matches!(&group.input, Relation::Group(inner) if inner.window.is_some()),
        Relation::Scan(_) | Relation::Select { .. } | Relation::Union(_) => false,
    };
    match (windowed, row.get(1)) {
        (true, Some(Value::Time(end))) => *end <= watermark,
        // Without windows, the end of all input.
        _ => watermark == i64::MAX,
    }
}

/// Adds up the changes to a step. No row may have a negative count, and no window result may be taken back under EMIT FINAL.
fn accumulate(changes: &[Change], step: usize) -> Result<Vec<Row>, String> {
    let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.step <= step) {
        *counts.entry(&change.row).or_default() += change.diff;
    }
    let mut rows = Vec::new();
    for (row, count) in counts {
        if count < 0 {
            return Err(format!("after step {step} the row {} stands {count} times", show(row)));
        }
        rows.extend((0..count).map(|_| row.clone()));
    }
    Ok(rows)
}

fn same(mut found: Vec<Row>, mut expected: Vec<Row>) -> Result<(), String> {
    found.sort();
    expected.sort();
    let close = |a: &Row, b: &Row| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.close_to(b));
    if found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| close(a, b)) {
        return Ok(());
    }
    let mut text = String::new();
    for row in &found {
        if !expected.iter().any(|other| close(row, other)) {
            text.push_str(&format!("\n  found    {}", show(row)));
        }
    }
    for row in &expected {
        if !found.iter().any(|other| close(row, other)) {
            text.push_str(&format!("\n  expected {}", show(row)));
        }
    }
    Err(format!("{} rows instead of {}{text}", found.len(), expected.len()))
}

fn show(row: &Row) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// The smallest case found that still fails, and how it fails, after trying so many of those that `smaller` makes of a case.
pub fn shrink<C>(
    case: C,
    wrong: String,
    mut budget: usize,
    smaller: impl Fn(&C) -> Vec<C>,
    fails: impl Fn(&C) -> Option<String>,
) -> (C, String) {
    let (mut case, mut wrong) = (case, wrong);
    'smaller: loop {
        for candidate in smaller(&case) {
            if budget == 0 {
                break 'smaller;
            }
            budget -= 1;
            if let Some(how) = fails(&candidate) {
                (case, wrong) = (candidate, how);
                continue 'smaller;
            }
        }
        break;
    }
    (case, wrong)
}
