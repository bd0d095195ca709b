//! Rows to text, for sinks: the encoder of the format and whether it shows what kind of change a row is.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::format::encode::{ChangeField, CsvEncoder, NdjsonEncoder};
use crate::record::TextFormat;
use crate::source::ConnectorError;

/// Writes rows in a text format.
#[derive(Debug)]
pub(crate) enum TextEncoder {
    Ndjson(NdjsonEncoder),
    Csv { encoder: CsvEncoder, header: bool },
}

impl TextEncoder {
    /// `op`: a first column shows the kind of change.
    pub(crate) fn new(format: &TextFormat, schema: &SchemaRef, op: bool) -> Result<Self, ConnectorError> {
        let changes = if op { ChangeField::Op } else { ChangeField::None };
        Ok(match format {
            TextFormat::Ndjson(options) => Self::Ndjson(NdjsonEncoder::new(schema.clone(), changes, options.timestamp_style)?),
            TextFormat::Csv(options) => {
                Self::Csv { encoder: CsvEncoder::new(schema.clone(), options.clone(), changes)?, header: options.header }
            }
        })
    }

    /// What stands before all rows.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        match self {
            Self::Csv { encoder, header: true } => encoder.header(out),
            Self::Csv { header: false, .. } | Self::Ndjson(_) => {}
        }
    }

    /// Appends rows; returns how many lines they made.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        match self {
            Self::Ndjson(encoder) => encoder.encode(rows, diffs, out),
            Self::Csv { encoder, .. } => encoder.encode(rows, diffs, out),
        }
    }
}
