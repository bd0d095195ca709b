//! Debezium's envelopes, one a line: the row before, the row after, and `c`, `u` or `d`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell::{Cells, TimestampStyle, key};
use super::{ChangeField, csv};
use crate::sink_changes::pairs;
use crate::source::ConnectorError;

/// Writes envelopes.
#[derive(Debug)]
pub struct DebeziumEncoder {
    /// What stands before each value: brace or comma, key, colon.
    leads: Vec<Vec<u8>>,
    key: Option<Vec<usize>>,
    style: TimestampStyle,
}

impl DebeziumEncoder {
    /// An encoder for rows of a schema. With a key, a row taken back and the row added for it are one update.
    ///
    /// # Errors
    /// When two columns have one name.
    pub fn new(schema: &SchemaRef, key: Option<Vec<usize>>, style: TimestampStyle) -> Result<Self, ConnectorError> {
        csv::check_names(schema, ChangeField::None, "").map_err(|reason| ConnectorError::new("format debezium-json", reason))?;
        let lead = |(at, name): (usize, &String)| {
            let mut lead = if at == 0 { b"{".to_vec() } else { b",".to_vec() };
            lead.extend(self::key(name));
            lead
        };
        let leads = schema.fields().iter().map(|field| field.name()).enumerate().map(lead).collect();
        Ok(Self { leads, key, style })
    }

    /// Appends the changes of an epoch to `out`; `diffs` is `None` when all are +1. Returns the number of lines.
    pub fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let columns: Vec<Cells<'_>> = rows.columns().iter().map(|column| Cells::new(column, self.style)).collect();
        let mut lines = 0;
        for (before, after) in pairs(rows, diffs, self.key.as_deref()) {
            out.extend_from_slice(br#"{"before":"#);
            self.row(&columns, before, out);
            out.extend_from_slice(br#","after":"#);
            self.row(&columns, after, out);
            out.extend_from_slice(match (before, after) {
                (Some(_), Some(_)) => br#","op":"u"}"#,
                (None, _) => br#","op":"c"}"#,
                (_, None) => br#","op":"d"}"#,
            });
            out.push(b'\n');
            lines += 1;
        }
        lines
    }

    fn row(&self, columns: &[Cells<'_>], row: Option<usize>, out: &mut Vec<u8>) {
        let Some(row) = row else { return out.extend_from_slice(b"null") };
        if columns.is_empty() {
            out.push(b'{');
        }
        for (lead, cells) in self.leads.iter().zip(columns) {
            out.extend_from_slice(lead);
            cells.json(row, out);
        }
        out.push(b'}');
    }
}
