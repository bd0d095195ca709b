//! # Encoders
//!
//! Batches of changes to text.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::csv::CsvOptions;
use crate::source::ConnectorError;

/// How a change shows that it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeField {
    /// It does not: only for append-only relations.
    #[default]
    None,
    /// A first field `op`: `+I` or `-D`, one line for each copy.
    Op,
    /// A first field `diff`: the signed number of copies.
    Diff,
}

/// Writes newline-delimited JSON.
#[derive(Debug)]
pub struct NdjsonEncoder {
    schema: SchemaRef,
}

impl NdjsonEncoder {
    /// An encoder for rows of a schema.
    ///
    /// # Errors
    /// When a column has a type JSON cannot carry.
    pub fn new(schema: SchemaRef, changes: ChangeField, style: TimestampStyle) -> Result<Self, ConnectorError> {
        let _ = (changes, style);
        Ok(Self { schema })
    }

    /// Appends rows to `out`; `diffs` is `None` when all are +1. Returns the number of lines.
    pub fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let _ = (rows, diffs, out, &self.schema);
        0
    }
}

/// How timestamps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampStyle {
    /// `2024-01-01T00:00:00.123`.
    Iso,
    /// `2024-01-01 00:00:00.123`.
    Sql,
}

/// Writes CSV.
#[derive(Debug)]
pub struct CsvEncoder {
    schema: SchemaRef,
}

impl CsvEncoder {
    /// An encoder for rows of a schema.
    ///
    /// # Errors
    /// When a column has a type CSV cannot carry.
    pub fn new(schema: SchemaRef, options: CsvOptions, changes: ChangeField) -> Result<Self, ConnectorError> {
        let _ = (options, changes);
        Ok(Self { schema })
    }

    /// Appends the header line, whatever the option `header` says.
    pub fn header(&self, out: &mut Vec<u8>) {
        let _ = (&self.schema, out);
    }

    /// Appends rows to `out`; `diffs` is `None` when all are +1. Returns the number of records.
    pub fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let _ = (rows, diffs, out);
        0
    }
}

/// Appends one value as a reader of tables wants it: SQL style, nested values as JSON, null as `null`. For few cells:
/// printers of whole columns keep a [`CellFormatter`].
pub fn format_cell(array: &dyn Array, row: usize, out: &mut String) {
    CellFormatter::new(array).write(row, out);
}

/// Formats the values of one column.
pub struct CellFormatter<'a> {
    array: &'a dyn Array,
}

impl<'a> CellFormatter<'a> {
    /// For a column.
    pub fn new(array: &'a dyn Array) -> Self {
        Self { array }
    }

    /// Appends one value.
    pub fn write(&self, row: usize, out: &mut String) {
        let _ = (self.array, row, out);
    }
}
