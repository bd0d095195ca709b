//! Messages that are lines: JSON objects and records of CSV.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::{DecodedValues, MessageDecoder, MessageEncoder, Values};
use crate::format::csv::{CsvDecoder, CsvLayout, CsvOptions};
use crate::format::encode::{ChangeField, CsvEncoder, NdjsonEncoder, TimestampStyle};
use crate::format::ndjson::{NdjsonDecoder, NdjsonOptions};
use crate::source::Decoded;

/// Offsets handed to the decoders of lines are places of values plus this: at 0 a byte order mark would be skipped, which is for files.
const BASE: u64 = 1;

/// Decodes JSON objects.
pub(crate) struct JsonMessages {
    decoder: NdjsonDecoder,
}

impl JsonMessages {
    pub(crate) fn new(read: SchemaRef, options: NdjsonOptions) -> Result<Self, String> {
        NdjsonDecoder::new(read, options).map(|decoder| Self { decoder }).map_err(|error| error.reason)
    }
}

impl MessageDecoder for JsonMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let lines = memchr::memchr_iter(b'\n', &values.bytes).count() == values.len();
        let text = if lines { Cow::Borrowed(&values.bytes) } else { Cow::Owned(on_one_line(values)) };
        Ok(by_place(values, self.decoder.decode(&text, BASE)))
    }
}

/// The values with their inner newlines made carriage returns: both are white space between values and wrong inside strings.
fn on_one_line(values: &Values) -> Vec<u8> {
    let mut bytes = values.bytes.clone();
    for place in 0..values.len() {
        let (start, end) = (values.start(place), values.ends[place] as usize - 1);
        bytes[start..end].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'\r');
    }
    bytes
}

/// Tells for rows and errors, which stand at places of bytes, the values they come from. A value has one of them at most.
fn by_place(values: &Values, decoded: Decoded) -> DecodedValues {
    let Decoded { columns, offsets, errors, .. } = decoded;
    let rows = columns.num_rows();
    if rows == values.len() {
        return DecodedValues { columns: columns.columns().to_vec(), rows, places: None, diffs: None, errors: Vec::new() };
    }
    let mut places = Vec::with_capacity(rows);
    let mut wrong = Vec::new();
    let (mut row, mut errors) = (0, errors.into_iter().peekable());
    for (place, value) in values.iter().enumerate() {
        let end = u64::from(values.ends[place]) + BASE;
        if row < rows && offsets.get(row) < end {
            places.push(place as u32);
            row += 1;
        } else if let Some(error) = errors.next_if(|error| error.offset < end) {
            wrong.push((place as u32, error.reason));
        } else if value.is_some() {
            wrong.push((place as u32, "the message is empty".to_owned()));
        }
    }
    assert!(row == rows && errors.next().is_none(), "a value makes one row or one error");
    DecodedValues { columns: columns.columns().to_vec(), rows, places: Some(places), diffs: None, errors: wrong }
}

/// Decodes records of CSV.
pub(crate) struct CsvMessages {
    decoder: CsvDecoder,
    schema: SchemaRef,
    /// Bytes that may make a value more or less than one line.
    quote: Option<u8>,
    comment: bool,
}

impl CsvMessages {
    pub(crate) fn new(all: &SchemaRef, read: SchemaRef, options: CsvOptions) -> Result<Self, String> {
        let layout = Arc::new(CsvLayout::positional(all));
        let (quote, comment) = (options.quote, options.comment.is_some());
        let decoder = CsvDecoder::new(read.clone(), options, layout).map_err(|error| error.reason)?;
        Ok(Self { decoder, schema: read, quote, comment })
    }

    /// One value after the other: a quote that is never closed must not swallow its neighbours.
    fn one_by_one(&mut self, values: &Values) -> DecodedValues {
        let (mut batches, mut places, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (place, value) in values.iter().enumerate() {
            if value.is_none() {
                continue;
            }
            // With its newline: where records have one field, a blank line is that field.
            let decoded = self.decoder.decode(&values.bytes[values.start(place)..values.ends[place] as usize], BASE);
            match (decoded.columns.num_rows(), decoded.errors.into_iter().next()) {
                (_, Some(error)) => errors.push((place as u32, error.reason)),
                (1, None) => {
                    batches.push(decoded.columns);
                    places.push(place as u32);
                }
                (0, None) => errors.push((place as u32, "the message is empty".to_owned())),
                (rows, None) => errors.push((place as u32, format!("expected one record in a message, found {rows}"))),
            }
        }
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let columns = concat_batches(&self.schema, &batches).unwrap_or_else(|error| panic!("batches of one schema: {error}"));
        DecodedValues { columns: columns.columns().to_vec(), rows, places: Some(places), diffs: None, errors }
    }
}

impl MessageDecoder for CsvMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let quoted = self.quote.is_some_and(|quote| memchr::memchr(quote, &values.bytes).is_some());
        let plain = !quoted && !self.comment && memchr::memchr_iter(b'\n', &values.bytes).count() == values.len();
        // In records of one field a blank line is that field, and a null would be one too.
        Ok(if plain && values.nulls.is_empty() {
            by_place(values, self.decoder.decode(&values.bytes, BASE))
        } else {
            self.one_by_one(values)
        })
    }
}

/// Writes JSON objects.
pub(crate) struct JsonEncoding(NdjsonEncoder);

impl JsonEncoding {
    pub(crate) fn new(schema: SchemaRef, options: &NdjsonOptions) -> Result<Self, String> {
        NdjsonEncoder::new(schema, ChangeField::None, options.timestamp_style).map(Self).map_err(|error| error.reason)
    }

    /// With a first field `op`, which is written by [`JsonEncoding::encode_changes`].
    pub(crate) fn with_op(schema: SchemaRef, style: TimestampStyle) -> Result<Self, String> {
        NdjsonEncoder::new(schema, ChangeField::Op, style).map(Self).map_err(|error| error.reason)
    }

    /// Appends one value for each copy of each change.
    pub(crate) fn encode_changes(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let start = out.len();
        self.0.encode(rows, diffs, out);
        cut_lines(start, out, ends);
    }
}

impl MessageEncoder for JsonEncoding {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        self.encode_changes(rows, None, out, ends);
        Ok(())
    }
}

/// Takes the newlines away from lines that were appended from a place on.
fn cut_lines(start: usize, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
    let mut kept = start;
    let mut from = start;
    while let Some(length) = memchr::memchr(b'\n', &out[from..]) {
        out.copy_within(from..from + length, kept);
        kept += length;
        from += length + 1;
        ends.push(kept);
    }
    out.truncate(kept);
}

/// Writes records of CSV.
pub(crate) struct CsvEncoding(CsvEncoder);

impl CsvEncoding {
    pub(crate) fn new(schema: SchemaRef, options: CsvOptions) -> Result<Self, String> {
        CsvEncoder::new(schema, options, ChangeField::None).map(Self).map_err(|error| error.reason)
    }
}

impl MessageEncoder for CsvEncoding {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        let start = out.len();
        self.0.encode(rows, None, out);
        if memchr::memchr_iter(b'\n', &out[start..]).count() == rows.num_rows() {
            cut_lines(start, out, ends);
            return Ok(());
        }
        // Fields have newlines: row by row, the last newline is the record's.
        out.truncate(start);
        for row in 0..rows.num_rows() {
            self.0.encode(&rows.slice(row, 1), None, out);
            out.pop();
            ends.push(out.len());
        }
        Ok(())
    }
}
