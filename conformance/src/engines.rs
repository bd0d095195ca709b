//! The two batch engines, each asked for the answer over tables as they stand.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidemark_testing::value::{Row, Value};

use crate::tables::{Cell, Table, Type};

/// DataFusion's answer over the tables after a step.
///
/// # Errors
/// What DataFusion says when it cannot plan or run the query.
pub fn datafusion(sql: &str, tables: &[Table], step: usize) -> Result<Vec<Row>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for table in tables {
        let (schema, batch) = arrow_table(table, step);
        let memory = MemTable::try_new(schema, vec![vec![batch]]).map_err(|error| error.to_string())?;
        context.register_table(table.name.as_str(), Arc::new(memory)).map_err(|error| error.to_string())?;
    }
    let batches = runtime
        .block_on(async { context.sql(sql).await?.collect().await })
        .map_err(|error: datafusion::error::DataFusionError| error.to_string())?;
    Ok(batches.iter().flat_map(Value::rows).collect())
}

fn arrow_table(table: &Table, step: usize) -> (Arc<Schema>, RecordBatch) {
    let rows = table.rows(step);
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (at, (name, ty)) in table.columns.iter().enumerate() {
        match ty {
            Type::Int => {
                fields.push(Field::new(name, DataType::Int64, true));
                let cell = |row: &Vec<Cell>| match &row[at] {
                    Cell::Int(number) => Some(*number),
                    Cell::Null | Cell::Text(_) => None,
                };
                columns.push(Arc::new(rows.iter().map(cell).collect::<Int64Array>()));
            }
            Type::Text => {
                fields.push(Field::new(name, DataType::Utf8, true));
                let cell = |row: &Vec<Cell>| match &row[at] {
                    Cell::Text(text) => Some(text.clone()),
                    Cell::Null | Cell::Int(_) => None,
                };
                columns.push(Arc::new(rows.iter().map(cell).collect::<StringArray>()));
            }
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns are as long as the table");
    (schema, batch)
}

/// SQLite's answer over the tables after a step.
///
/// # Errors
/// What SQLite says when it cannot plan or run the query.
pub fn sqlite(sql: &str, tables: &[Table], step: usize) -> Result<Vec<Row>, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let connection = rusqlite::Connection::open_in_memory().map_err(text)?;
    for table in tables {
        let columns: Vec<String> =
            table.columns.iter().map(|(name, ty)| format!("{name} {}", if *ty == Type::Int { "INTEGER" } else { "TEXT" })).collect();
        connection.execute_batch(&format!("CREATE TABLE {} ({})", table.name, columns.join(", "))).map_err(text)?;
        let marks = vec!["?"; table.columns.len()].join(", ");
        let mut insert = connection.prepare(&format!("INSERT INTO {} VALUES ({marks})", table.name)).map_err(text)?;
        for row in table.rows(step) {
            let cells = row.iter().map(|cell| match cell {
                Cell::Null => rusqlite::types::Value::Null,
                Cell::Int(number) => rusqlite::types::Value::Integer(*number),
                Cell::Text(text) => rusqlite::types::Value::Text(text.clone()),
            });
            insert.execute(rusqlite::params_from_iter(cells)).map_err(text)?;
        }
    }
    let mut statement = connection.prepare(sql).map_err(text)?;
    let width = statement.column_count();
    let mut rows = statement.query([]).map_err(text)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(text)? {
        let mut cells = Vec::with_capacity(width);
        for at in 0..width {
            cells.push(match row.get_ref(at).map_err(text)? {
                rusqlite::types::ValueRef::Null => Value::Null,
                rusqlite::types::ValueRef::Integer(number) => Value::Int(number.into()),
                rusqlite::types::ValueRef::Real(number) => Value::Float(number),
                rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                    Value::Text(String::from_utf8_lossy(text).into_owned())
                }
            });
        }
        found.push(cells);
    }
    Ok(found)
}
