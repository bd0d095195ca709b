//! One case: a query over changing tables, run as a stream and compared with the batch engines after every step.

use std::collections::BTreeMap;

use tidemark_testing::memory::Change;
use tidemark_testing::property::shrink;
use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, run};
use tidemark_testing::value::{Row, Value};

use crate::engines;
use crate::query::{Dialect, Generator, Query};
use crate::tables::Table;

/// A query and its tables.
#[derive(Clone, Debug)]
pub struct Case {
    /// The tables.
    pub tables: Vec<Table>,
    /// The query.
    pub query: Query,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal after every step.
    Equal,
    /// The query is not supported: the message.
    Refused(String),
    /// No batch engine answers it.
    NoOracle(String),
    /// What is wrong.
    Wrong(String),
}

impl Case {
    /// The case of a seed.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(4);
        let rows = *random.pick(&[3, 6, 10]);
        let tables: Vec<Table> = (0..3).map(|number| Table::random(&mut random, number, steps, rows)).collect();
        let depth = 1 + random.below(3);
        let query = Generator::new(&mut random, &tables).query(depth);
        Self { tables, query }
    }

    /// The statements.
    pub fn sql(&self) -> String {
        let mut sql: String = self.tables.iter().map(Table::declaration).collect();
        sql.push_str(&format!("CREATE SINK out WITH (connector = 'test') AS {} EMIT CHANGES;\n", self.query.sql(Dialect::Standard)));
        sql
    }

    fn steps(&self) -> usize {
        self.tables.iter().map(|table| table.steps.len()).max().unwrap_or(1)
    }

    /// Runs the case with some number of workers and compares.
    pub fn check(&self, workers: usize, chunking: Option<u64>) -> Verdict {
        let tables = self.tables.iter().map(|table| (table.name.clone(), vec![table.partition()])).collect();
        let job = Job { sql: self.sql(), tables, workers, chunking };
        let outcome = run(&job);
        if let Some(errors) = &outcome.plan_errors {
            let texts: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect();
            return if errors.iter().all(|error| error.code.ends_with("::not_yet") || error.code.ends_with("::unsupported")) {
                Verdict::Refused(texts.join("; "))
            } else {
                Verdict::Wrong(format!("did not plan: {}", texts.join("; ")))
            };
        }
        if let Err(error) = &outcome.report {
            return Verdict::Wrong(format!("failed: {error}"));
        }
        if let Some(fault) = outcome.faults.first() {
            return Verdict::Wrong(fault.clone());
        }
        let changes = outcome.written.get("out").cloned().unwrap_or_default();
        for step in 0..self.steps() {
            let found = match accumulate(&changes, step) {
                Ok(found) => found,
                Err(wrong) => return Verdict::Wrong(wrong),
            };
            let sqlite = engines::sqlite(&self.query.sql(Dialect::Sqlite), &self.tables, step);
            let expected = match sqlite {
                Ok(rows) => rows,
                Err(lite) => match engines::datafusion(&self.query.sql(Dialect::Standard), &self.tables, step) {
                    Ok(rows) => rows,
                    Err(error) => return Verdict::NoOracle(format!("{lite}; {error}")),
                },
            };
            if let Err(wrong) = same(found, expected) {
                let other = engines::datafusion(&self.query.sql(Dialect::Standard), &self.tables, step);
                let other = match other {
                    Ok(rows) => rows.iter().map(|row| format!("\n    {}", show(row))).collect::<String>(),
                    Err(error) => error,
                };
                return Verdict::Wrong(format!("after step {step} of {}: {wrong}\n  DataFusion says:{other}", self.steps() - 1));
            }
        }
        Verdict::Equal
    }

    /// The smallest case found that is wrong still, and how.
    pub fn shrink(self, wrong: String, workers: usize, chunking: Option<u64>) -> (Self, String) {
        // The same kind of failure, lest a smaller statement that is not even a query takes its place.
        let no_plan = |how: &str| how.starts_with("did not plan");
        let kind = no_plan(&wrong);
        shrink(self, wrong, 600, Self::smaller, |candidate| {
            let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| candidate.check(workers, chunking)));
            let how = match verdict {
                Ok(Verdict::Wrong(how)) => how,
                Ok(_) => return None,
                Err(_) => "panicked".into(),
            };
            (no_plan(&how) == kind).then_some(how)
        })
    }

    fn smaller(&self) -> Vec<Self> {
        let mut found: Vec<Self> = self.query.smaller().into_iter().map(|query| Self { query, ..self.clone() }).collect();
        for (at, table) in self.tables.iter().enumerate() {
            if table.steps.len() > 1 && self.tables.iter().all(|table| table.steps.len() > 1) && at == 0 {
                let mut other = self.clone();
                for table in &mut other.tables {
                    let last = table.steps.pop().unwrap_or_default();
                    if let Some(step) = table.steps.last_mut() {
                        step.extend(last);
                    }
                }
                found.push(other);
            }
            for smaller in table.smaller() {
                let mut other = self.clone();
                other.tables[at] = smaller;
                found.push(other);
            }
        }
        found
    }

    /// The case for a person: statements and rows.
    pub fn text(&self) -> String {
        let mut text = self.sql();
        for table in &self.tables {
            for (step, changes) in table.steps.iter().enumerate() {
                for (row, diff) in changes {
                    text.push_str(&format!("{} step {step}: {diff:+} {row:?}\n", table.name));
                }
            }
        }
        text
    }
}

/// Adds up the changes to a step.
///
/// # Errors
/// When a row stands a negative number of times.
pub fn accumulate(changes: &[Change], step: usize) -> Result<Vec<Row>, String> {
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

/// Compares two bags of rows. Equal numbers are equal whatever their type.
///
/// # Errors
/// The rows that only one side has.
pub fn same(mut found: Vec<Row>, mut expected: Vec<Row>) -> Result<(), String> {
    for value in found.iter_mut().chain(&mut expected).flatten() {
        if let Value::Decimal(whole, 0) = value {
            *value = Value::Int(*whole);
        }
    }
    found.sort();
    expected.sort();
    let close = |a: &Row, b: &Row| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.close_to(b));
    if found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| close(a, b)) {
        return Ok(());
    }
    let list = |rows: &[Row]| rows.iter().map(|row| format!("\n    {}", show(row))).collect::<String>();
    Err(format!("{} rows instead of {}\n  found:{}\n  expected:{}", found.len(), expected.len(), list(&found), list(&expected)))
}

fn show(row: &[Value]) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}
