//! Rows to text, for sinks: the encoder of the format, and how it shows what kind of change a row is.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::format::encode::{ChangeField, CsvEncoder, DebeziumEncoder, NdjsonEncoder};
use crate::record::TextFormat;
use crate::sink_changes::{Shown, last_of_key};
use crate::source::ConnectorError;

/// Writes rows in a text format.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    kind: Kind,
    /// Of each key only the last row of an epoch is written.
    last_only: bool,
    key: Option<Vec<usize>>,
}

#[derive(Debug)]
enum Kind {
    Ndjson(NdjsonEncoder),
    Csv { encoder: CsvEncoder, header: bool },
    Debezium(DebeziumEncoder),
}

impl TextEncoder {
    /// `key`: the columns that identify a row, if any are known.
    pub(crate) fn new(format: &TextFormat, schema: &SchemaRef, shown: &Shown, key: Option<Vec<usize>>) -> Result<Self, ConnectorError> {
        let changes = match shown {
            Shown::Plain | Shown::Debezium => ChangeField::None,
            Shown::Op(_) => ChangeField::Op,
            Shown::Upsert(_) => ChangeField::Upsert,
            Shown::Diff(_) => ChangeField::Diff,
        };
        let mark = shown.column().unwrap_or_default();
        let kind = match format.rows().0 {
            TextFormat::Ndjson(options) => Kind::Ndjson(NdjsonEncoder::named(schema.clone(), changes, mark, options.timestamp_style)?),
            TextFormat::Csv(options) => {
                let encoder = CsvEncoder::named(schema.clone(), options.clone(), changes, mark)?;
                Kind::Csv { encoder, header: options.header }
            }
            TextFormat::Debezium { json, .. } => Kind::Debezium(DebeziumEncoder::new(schema, key.clone(), json.timestamp_style)?),
            TextFormat::Marked { .. } => panic!("rows are marked once"),
        };
        Ok(Self { kind, last_only: matches!(shown, Shown::Upsert(_)), key })
    }

    /// What stands before all rows.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        if let Kind::Csv { encoder, header: true } = &self.kind {
            encoder.header(out);
        }
    }

    /// Appends a line that says how far the watermark has come, if the format has one.
    pub(crate) fn progress(&mut self, watermark_us: i64, out: &mut Vec<u8>) {
        if let Kind::Ndjson(encoder) = &mut self.kind {
            encoder.progress(watermark_us, out);
        }
    }

    /// Appends the changes of an epoch; returns how many lines they made.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let last = self.last_only.then(|| last_of_key(rows, diffs, self.key.as_deref()));
        let (rows, diffs) = match &last {
            Some((rows, diffs)) => (rows, Some(diffs.as_slice())),
            None => (rows, diffs),
        };
        match &mut self.kind {
            Kind::Ndjson(encoder) => encoder.encode(rows, diffs, out),
            Kind::Csv { encoder, .. } => encoder.encode(rows, diffs, out),
            Kind::Debezium(encoder) => encoder.encode(rows, diffs, out),
        }
    }
}
