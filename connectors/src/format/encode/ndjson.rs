//! Newline-delimited JSON: one object per line, all columns, nulls written out.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell::{Cells, TimestampStyle, key};
use super::{ChangeField, csv};
use crate::source::ConnectorError;

/// Writes newline-delimited JSON.
#[derive(Debug)]
pub struct NdjsonEncoder {
    /// What stands before each value: brace or comma, key, colon.
    leads: Vec<Vec<u8>>,
    changes: ChangeField,
    style: TimestampStyle,
}

impl NdjsonEncoder {
    /// An encoder for rows of a schema.
    ///
    /// # Errors
    /// When two columns have one name, or one is named like the field for changes.
    pub fn new(schema: SchemaRef, changes: ChangeField, style: TimestampStyle) -> Result<Self, ConnectorError> {
        csv::check_names(&schema, changes).map_err(|reason| ConnectorError::new("format ndjson", reason))?;
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
        Ok(Self { leads, changes, style })
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
                ChangeField::Op => out.extend_from_slice(if diff > 0 { br#"{"op":"+I""# } else { br#"{"op":"-D""# }),
                ChangeField::Diff => {
                    out.extend_from_slice(br#"{"diff":"#);
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
