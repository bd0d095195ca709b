//! Databases for `sqllogictest` files: Tidemark, and SQLite, which fills in what is expected.
//!
//! Statements that change tables run in SQLite; what they changed becomes one step of each table's changelog. A query is then compiled
//! to a dataflow, run over the whole changelog with several numbers of workers, and its final collection is the answer.

use std::collections::BTreeMap;

use sqllogictest::{DBOutput, DefaultColumnType};
use tidemark_testing::memory::{TextPartition, TextRow};
use tidemark_testing::run::{Job, run};
use tidemark_testing::value::Value;

use crate::check::accumulate;

/// What went wrong with a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

/// Tables in SQLite, and how they came to be.
pub struct Tables {
    connection: rusqlite::Connection,
    /// Name, columns as declared, and the rows after each statement.
    tables: BTreeMap<String, (String, Vec<Vec<TextRow>>)>,
    statements: usize,
}

impl Tables {
    /// No tables.
    ///
    /// # Errors
    /// When SQLite has no memory.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { connection: rusqlite::Connection::open_in_memory()?, tables: BTreeMap::new(), statements: 0 })
    }

    fn is_query(sql: &str) -> bool {
        let word: String = sql.trim_start().chars().take_while(|letter| letter.is_alphabetic()).collect();
        matches!(word.to_ascii_uppercase().as_str(), "SELECT" | "WITH" | "VALUES")
    }

    fn change(&mut self, sql: &str) -> Result<(), Failure> {
        self.connection.execute_batch(sql)?;
        let head: Vec<&str> = sql.trim_start().splitn(4, char::is_whitespace).collect();
        if let ["CREATE", "TABLE", name, columns] = head.as_slice() {
            let columns = columns.trim().trim_end_matches(';').trim_start_matches('(').trim_end_matches(')');
            self.tables.insert((*name).to_owned(), (columns.to_owned(), vec![Vec::new(); self.statements]));
        }
        self.statements += 1;
        for (name, (_, steps)) in &mut self.tables {
            let mut statement = self.connection.prepare(&format!("SELECT * FROM {name}"))?;
            let width = statement.column_count();
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let mut cells: TextRow = Vec::new();
                for at in 0..width {
                    cells.push(match row.get_ref(at)? {
                        rusqlite::types::ValueRef::Null => None,
                        rusqlite::types::ValueRef::Integer(number) => Some(number.to_string()),
                        rusqlite::types::ValueRef::Real(number) => Some(number.to_string()),
                        rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                            Some(String::from_utf8_lossy(text).into_owned())
                        }
                    });
                }
                found.push(cells);
            }
            steps.push(found);
        }
        Ok(())
    }

    /// The changes of a table, step by step, each row with its diff behind it.
    fn changes(steps: &[Vec<TextRow>]) -> TextPartition {
        let mut before: &[TextRow] = &[];
        let mut partition = Vec::new();
        for after in steps {
            let mut counts: BTreeMap<&TextRow, i64> = BTreeMap::new();
            after.iter().for_each(|row| *counts.entry(row).or_default() += 1);
            before.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
            let changed = counts.into_iter().filter(|(_, diff)| *diff != 0);
            partition.push(changed.map(|(row, diff)| row.iter().cloned().chain([Some(diff.to_string())]).collect()).collect());
            before = after;
        }
        partition
    }
}

/// Tidemark as a database.
pub struct Tidemark(pub Tables);

impl sqllogictest::DB for Tidemark {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        if !Tables::is_query(sql) {
            self.0.change(sql)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut text = String::new();
        let mut tables = BTreeMap::new();
        for (name, (columns, steps)) in &self.0.tables {
            text.push_str(&format!("CREATE SOURCE {name} ({columns}) WITH (connector = 'test', changelog = 'retract');\n"));
            tables.insert(name.clone(), vec![Tables::changes(steps)]);
        }
        text.push_str(&format!("CREATE SINK out WITH (connector = 'test') AS {} EMIT CHANGES;", sql.trim().trim_end_matches(';')));
        let mut answer: Option<Vec<Vec<String>>> = None;
        for workers in [1, 3] {
            let outcome = run(&Job { sql: text.clone(), tables: tables.clone(), workers, chunking: (workers > 1).then_some(7) });
            if let Some(errors) = &outcome.plan_errors {
                let errors: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect();
                return Err(Failure(errors.join("; ")));
            }
            outcome.report.as_ref().map_err(|error| Failure(error.to_string()))?;
            if let Some(fault) = outcome.faults.first() {
                return Err(Failure(fault.clone()));
            }
            let changes = outcome.written.get("out").cloned().unwrap_or_default();
            let rows = accumulate(&changes, usize::MAX).map_err(Failure)?;
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(show).collect()).collect();
            match &answer {
                Some(answer) if *answer != rows => return Err(Failure(format!("{workers} workers: {rows:?} instead of {answer:?}"))),
                _ => answer = Some(rows),
            }
        }
        let rows = answer.unwrap_or_default();
        let width = rows.first().map_or(1, Vec::len);
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows })
    }
}

/// SQLite as a database: what the files expect was written by it, where it can answer.
pub struct Sqlite(pub Tables);

impl sqllogictest::DB for Sqlite {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        if !Tables::is_query(sql) {
            self.0.change(sql)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let mut statement = self.0.connection.prepare(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut cells = Vec::new();
            for at in 0..width {
                cells.push(show(&match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Null => Value::Null,
                    rusqlite::types::ValueRef::Integer(number) => Value::Int(number.into()),
                    rusqlite::types::ValueRef::Real(number) => Value::Float(number),
                    rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                        Value::Text(String::from_utf8_lossy(text).into_owned())
                    }
                }));
            }
            found.push(cells);
        }
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows: found })
    }
}

/// A value as the files write it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Text(text) if text.is_empty() => "(empty)".into(),
        Value::Float(number) => format!("{number:.3}"),
        Value::Bool(value) => u8::from(*value).to_string(),
        other => other.to_string(),
    }
}
