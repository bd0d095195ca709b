//! Newline-delimited JSON: one object per line, all columns, nulls written out.

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;

use super::cell::{Cells, TimestampStyle, key};
use super::{ChangeField, csv};
use crate::source::ConnectorError;

/// The key of a line that says how far the watermark has come.
pub const PROGRESS: &str = "_progress";

/// Writes newline-delimited JSON.
#[derive(Debug)]
pub struct NdjsonEncoder {
    /// What stands before each value: brace or comma, key, colon.
    leads: Vec<Vec<u8>>,
    /// The field for changes: brace, key, colon.
    mark: Vec<u8>,
    changes: ChangeField,
    style: TimestampStyle,
}

impl NdjsonEncoder {
    /// An encoder for rows of a schema.
    ///
    /// # Errors
    /// When two columns have one name, or one is named like the field for changes.
    pub fn new(schema: SchemaRef, changes: ChangeField, style: TimestampStyle) -> Result<Self, ConnectorError> {
        Self::named(schema, changes, changes.default_name(), style)
    }

    /// The same with another name of the field for changes.
    ///
    /// # Errors
    /// As [`NdjsonEncoder::new`].
    pub fn named(schema: SchemaRef, changes: ChangeField, name: &str, style: TimestampStyle) -> Result<Self, ConnectorError> {
        csv::check_names(&schema, changes, name).map_err(|reason| ConnectorError::new("format ndjson", reason))?;
        let leads = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| {
                let mut lead = if at == 0 && changes == ChangeField::None { b"{".to_vec() } else { b",".to_vec() };
                lead.extend(key(field.name()));
                lead
            })
            .collect();
        let mut mark = b"{".to_vec();
        mark.extend(key(name));
        Ok(Self { leads, mark, changes, style })
    }

    /// Appends an object with one key, `_progress`: how far the watermark has come.
    pub fn progress(&mut self, watermark_us: i64, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend(key(PROGRESS));
        Cells::new(&TimestampMicrosecondArray::from(vec![watermark_us]), self.style).json(0, out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends rows to `out`; `diffs` is `None` when all are +1. Returns the number of lines.
    pub fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let columns: Vec<Cells<'_>> = rows.columns().iter().map(|column| Cells::new(column, self.style)).collect();
        let mut total = 0;
        for row in 0..rows.num_rows() {
            let (lines, diff) = self.changes.lines(diffs.map_or(1, |diffs| diffs[row]));
            if lines == 0 {
                continue;
            }
            total += lines;
            let start = out.len();
            match self.changes {
                ChangeField::None if columns.is_empty() => out.push(b'{'),
                ChangeField::None => {}
                ChangeField::Op | ChangeField::Upsert => {
                    out.extend_from_slice(&self.mark);
                    out.push(b'"');
                    out.extend_from_slice(self.changes.word(diff).as_bytes());
                    out.push(b'"');
                }
                ChangeField::Diff => {
                    out.extend_from_slice(&self.mark);
                    out.extend_from_slice(itoa::Buffer::new().format(diff).as_bytes());
                }
            }
            for (lead, cells) in self.leads.iter().zip(&columns) {
                out.extend_from_slice(lead);
                cells.json(row, out);
            }
            out.extend_from_slice(b"}\n");
            let end = out.len();
            for _ in 1..lines {
                out.extend_from_within(start..end);
            }
        }
        total
    }
}
