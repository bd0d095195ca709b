//! # Comma-separated values
//!
//! RFC 4180 with the usual freedoms: other delimiters, a header, comments, a text for null. A quote opens only at the start of
//! a field. An unquoted field with the text for null is null; in columns that are not text, `""` is too if null is the empty
//! text. Nested columns hold JSON. Blank lines are skipped, except where records have one field: there they are that field.

mod layout;
mod options;
mod record;
mod split;
#[cfg(test)]
mod tests;

pub use layout::CsvLayout;
pub use options::CsvOptions;
pub(crate) use options::check_null;
pub(crate) use record::{Dialect, Stops, is_comment, line_end, texts};
pub use split::CsvSplitter;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{SchemaRef, TimeUnit};

use super::column::{Column, Records, Slot};
use super::fault::{Fallible, Fault};
use super::ndjson::{Block, Index, NdjsonOptions, Reader};
use super::parse::number::integer_at;
use crate::source::{ConnectorError, Decoded, Offsets, RowError};
use record::{RawField, field, undo_escapes};

/// Marks a field that is not read.
const SKIP: u32 = u32::MAX;

/// Decodes chunks of whole records.
#[derive(Debug)]
pub struct CsvDecoder {
    schema: SchemaRef,
    layout: Arc<CsvLayout>,
    /// For each field of a record its column, or [`SKIP`].
    slots: Vec<u32>,
    /// Columns that no field holds.
    absent: Vec<usize>,
    rows: Records,
    fields: Fields,
    stops: Stops,
    offsets: Vec<u64>,
    errors: Vec<RowError>,
}

/// Turns fields into values.
#[derive(Debug)]
struct Fields {
    dialect: Dialect,
    null: Box<[u8]>,
    timestamp_unit: TimeUnit,
    reader: Reader,
    index: Index,
    scratch: String,
}

impl CsvDecoder {
    /// A decoder for the columns to read, found in records by the layout. Columns that the layout lacks are null.
    ///
    /// # Errors
    /// When a column has a type CSV cannot carry.
    pub fn new(schema: SchemaRef, options: CsvOptions, layout: Arc<CsvLayout>) -> Result<Self, ConnectorError> {
        let rows = Records::new(schema.fields()).map_err(|reason| ConnectorError::new("format csv", reason))?;
        let json = NdjsonOptions { timestamp_unit: options.timestamp_unit, ..NdjsonOptions::default() };
        let fields = Fields {
            dialect: Dialect::new(&options),
            null: options.null.as_bytes().into(),
            timestamp_unit: options.timestamp_unit,
            reader: Reader::new(&json),
            index: Index::default(),
            scratch: String::new(),
        };
        let mut decoder = Self {
            schema,
            layout,
            slots: Vec::new(),
            absent: Vec::new(),
            rows,
            fields,
            stops: Stops::default(),
            offsets: Vec::new(),
            errors: Vec::new(),
        };
        decoder.place();
        Ok(decoder)
    }

    /// Says how the records of the next chunks are laid out: files of one source may order their columns differently.
    pub fn set_layout(&mut self, layout: &Arc<CsvLayout>) {
        if !Arc::ptr_eq(layout, &self.layout) {
            self.layout = layout.clone();
            self.place();
        }
    }

    fn place(&mut self) {
        let columns = self.schema.fields();
        let place = |name: &String| columns.iter().position(|field| field.name() == name).map_or(SKIP, |at| at as u32);
        self.slots = self.layout.names().iter().map(place).collect();
        self.absent = (0..columns.len()).filter(|at| !self.slots.contains(&(*at as u32))).collect();
    }

    /// Decodes whole records, the header not among them. The offset of a row is `base_offset` plus the place of its record in
    /// `bytes`; a byte order mark is skipped where `base_offset` is 0. The last record may lack its newline.
    pub fn decode(&mut self, bytes: &[u8], base_offset: u64) -> Decoded {
        let start = if base_offset == 0 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let (bytes, base_offset) = (&bytes[start..], base_offset + start as u64);
        self.stops.build(bytes, self.fields.dialect);
        let text = simdutf8::basic::from_utf8(bytes).ok();
        let mut at = 0;
        while at < bytes.len() {
            if is_comment(bytes, self.fields.dialect, at) {
                at = line_end(bytes, at);
                continue;
            }
            let row = self.rows.len();
            let (end, result) = self.record(bytes, text, at);
            match result {
                Ok(true) => self.offsets.push(base_offset + at as u64),
                Ok(false) => {}
                Err(fault) => {
                    self.rows.truncate(row);
                    let raw = &bytes[at..end];
                    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
                    let raw = raw.strip_suffix(b"\r").unwrap_or(raw).to_vec();
                    self.errors.push(RowError { offset: base_offset + at as u64, raw, reason: fault.sentence() });
                }
            }
            at = end;
        }
        let rows = self.rows.len();
        let columns = self.rows.finish(self.schema.fields());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .unwrap_or_else(|error| panic!("columns were made for the schema: {error}"));
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs: None, errors: std::mem::take(&mut self.errors) }
    }

    /// Reads the record at a place: one past its end, and whether it is a row. Without `text`, some record is not UTF-8.
    fn record(&mut self, bytes: &[u8], text: Option<&str>, start: usize) -> (usize, Fallible<bool>) {
        let Self { slots, absent, rows, fields, stops, .. } = self;
        let dialect = fields.dialect;
        let (mut at, mut count) = (start, 0);
        // The rest of a bad record is only cut into fields, to find its end.
        let mut result = Ok(true);
        let mut broken = false;
        let end = loop {
            let raw = field(bytes, stops, dialect, at);
            if result.is_ok() {
                if let Some(fault) = raw.fault {
                    broken = true;
                    result = Err(fault.fault(&bytes[raw.end..raw.stop]));
                } else if let Some(slot) = slots.get(count)
                    && *slot != SKIP
                {
                    let slot = &mut rows.slots[*slot as usize];
                    if let Err(fault) = fields.value(bytes, text, raw, slot) {
                        result = Err(fault.within(&slot.name));
                    }
                }
            }
            count += 1;
            match bytes.get(raw.stop) {
                Some(byte) if *byte == dialect.delimiter => at = raw.stop + 1,
                Some(_) => {
                    if count == 1 && slots.len() != 1 && !raw.quoted && raw.start == raw.end {
                        return (raw.stop + 1, blank(rows, result));
                    }
                    break raw.stop + 1;
                }
                None => {
                    if count == 1 && slots.len() != 1 && !raw.quoted && raw.start == raw.end {
                        return (bytes.len(), blank(rows, result));
                    }
                    break bytes.len();
                }
            }
        };
        if text.is_none() && simdutf8::basic::from_utf8(&bytes[start..end]).is_err() {
            result = Err(Fault::new("invalid UTF-8"));
        } else if count != slots.len() && !broken {
            result = Err(Fault::new(format!("expected {} fields, found {count}", slots.len())));
        }
        if result.is_ok() {
            for at in absent.iter() {
                let slot = &mut rows.slots[*at];
                if !slot.nullable {
                    result = Err(Fault::new("is missing").within(&slot.name));
                    break;
                }
                slot.column.push_null();
            }
        }
        if result.is_ok() {
            rows.close();
        }
        (end, result)
    }
}

/// A blank line is no row: its only field is taken back.
fn blank(rows: &mut Records, result: Fallible<bool>) -> Fallible<bool> {
    drop(result);
    let len = rows.len();
    rows.truncate(len);
    Ok(false)
}

impl Fields {
    /// Appends the value of a field.
    #[inline(always)]
    fn value(&mut self, bytes: &[u8], text: Option<&str>, raw: RawField, slot: &mut Slot) -> Fallible<()> {
        let content = &bytes[raw.start..raw.end];
        let is_null = *content == *self.null;
        if is_null && (!raw.quoted || content.is_empty() && !matches!(slot.column, Column::Text(_) | Column::Binary(_))) {
            if !slot.nullable {
                return Err(Fault::new("is null, and the column is NOT NULL"));
            }
            slot.column.push_null();
            return Ok(());
        }
        if let Column::Int64(fixed) = &mut slot.column
            && let Some((value, end)) = integer_at(bytes, raw.start)
            && end == raw.end
        {
            fixed.push(value);
            return Ok(());
        }
        let content = match text {
            Some(text) => text.get(raw.start..raw.end),
            None => simdutf8::basic::from_utf8(content).ok(),
        };
        let Some(content) = content else { return Err(Fault::new("invalid UTF-8")) };
        if raw.escapes {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            undo_escapes(content, self.dialect, &mut scratch);
            let result = self.content(&scratch, slot);
            self.scratch = scratch;
            return result;
        }
        self.content(content, slot)
    }

    #[inline]
    fn content(&mut self, content: &str, slot: &mut Slot) -> Fallible<()> {
        match &mut slot.column {
            Column::Text(varying) => varying.push(content),
            Column::Struct(_) | Column::List(_) | Column::Map(_) => {
                let block = Block::value(content, &mut self.index);
                let start = block.skip_space(0);
                let end = self.reader.value(&block, start, &mut slot.column, slot.nullable)?;
                match block.skip_space(end) {
                    end if end >= content.len() => Ok(()),
                    _ => Err(slot.column.expected(content.as_bytes())),
                }
            }
            column => column.push_text(content, self.timestamp_unit),
        }
    }
}
