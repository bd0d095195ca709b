//! # Newline-delimited JSON
//!
//! One object per line. Keys are columns; keys that no column has are skipped, absent keys are null, and of equal keys the
//! last wins. One pass, no tree: a small index tells where strings end, the bytes between values are compared with those of
//! the line before, and each value goes straight into its column.

mod guess;
mod index;
mod options;
mod skip;
mod string;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

pub(crate) use guess::Guess;
pub(crate) use index::{Block, Index};
pub use options::NdjsonOptions;
pub(crate) use options::{TIMESTAMP_UNIT, timestamp_unit};
pub(crate) use skip::{no_value, number_end, skip_value};
pub(crate) use string::unescape;
pub(crate) use value::Reader;

use super::column::Records;
use super::fault::{Fallible, Fault};
use crate::source::{ConnectorError, Decoded, Offsets, RowError};

/// Deepest nesting of brackets.
pub const DEPTH_MAX: usize = 128;

/// Bytes handled at once: the block and its index stay in the nearest caches.
const BLOCK_BYTES: usize = 64 * 1024;

/// Decodes chunks of whole lines. Keeps nothing between chunks but buffers and guesses.
#[derive(Debug)]
pub struct NdjsonDecoder {
    schema: SchemaRef,
    rows: Records,
    reader: Reader,
    index: Index,
    offsets: Vec<u64>,
    errors: Vec<RowError>,
    /// A line that is `null` is passed over like an empty one.
    tombstones: bool,
}

impl NdjsonDecoder {
    /// A decoder for the columns to read: other keys are skipped, also inside structs.
    ///
    /// # Errors
    /// When a column has a type JSON cannot carry.
    pub fn new(schema: SchemaRef, options: NdjsonOptions) -> Result<Self, ConnectorError> {
        let rows = Records::new(schema.fields()).map_err(|reason| ConnectorError::new("format ndjson", reason))?;
        let reader = Reader::new(&options);
        Ok(Self { schema, rows, reader, index: Index::default(), offsets: Vec::new(), errors: Vec::new(), tombstones: false })
    }

    /// The same, where a line that is `null` means nothing.
    #[must_use]
    pub fn with_tombstones(self) -> Self {
        Self { tombstones: true, ..self }
    }

    /// Decodes whole lines. The offset of a row is `base_offset` plus the place of its line in `bytes`; a byte order mark is
    /// skipped where `base_offset` is 0. The last line may lack its newline.
    pub fn decode(&mut self, bytes: &[u8], base_offset: u64) -> Decoded {
        let mut start = if base_offset == 0 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        while start < bytes.len() {
            let end = block_end(bytes, start);
            self.block(&bytes[start..end], base_offset + start as u64);
            start = end;
        }
        let rows = self.rows.len();
        let columns = self.rows.finish(self.schema.fields());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .unwrap_or_else(|error| panic!("columns were made for the schema: {error}"));
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows));
        self.rows.reserve(rows);
        Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs: None, errors: std::mem::take(&mut self.errors) }
    }

    fn block(&mut self, bytes: &[u8], offset: u64) {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => self.lines(text, offset),
            Err(_) => {
                let mut start = 0;
                while start < bytes.len() {
                    let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at + 1);
                    match simdutf8::basic::from_utf8(&bytes[start..end]) {
                        Ok(text) => self.lines(text, offset + start as u64),
                        Err(_) => {
                            let raw = without_line_end(&bytes[start..end]).to_vec();
                            self.errors.push(RowError { offset: offset + start as u64, raw, reason: "invalid UTF-8".into() });
                        }
                    }
                    start = end;
                }
            }
        }
    }

    fn lines(&mut self, text: &str, offset: u64) {
        let block = Block::lines(text, &mut self.index);
        let mut at = 0;
        while at < text.len() {
            let row = self.rows.len();
            at = match line(&mut self.reader, &block, at, self.tombstones, &mut self.rows) {
                Ok(end) => {
                    if self.rows.len() > row {
                        self.offsets.push(offset + at as u64);
                    }
                    end
                }
                Err(fault) => {
                    self.rows.truncate(row);
                    let rest = &block.bytes[at..];
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    let raw = without_line_end(&rest[..end]).to_vec();
                    self.errors.push(RowError { offset: offset + at as u64, raw, reason: fault.sentence() });
                    at + end
                }
            };
        }
    }
}

/// Reads a line, which may be empty, and returns one past its end.
#[inline]
fn line(reader: &mut Reader, block: &Block<'_>, at: usize, tombstones: bool, rows: &mut Records) -> Fallible<usize> {
    let start = block.skip_space(at);
    let end = match block.peek(start) {
        b'{' => reader.object(block, start, rows)?,
        b'\n' => start,
        b'n' if tombstones => skip::word(block, start, "null")?,
        _ => return Err(Fault::new(format!("expected an object, found {}", skip::found(block, start)))),
    };
    let end = block.skip_space(end);
    if block.peek(end) == b'\n' {
        Ok(end + 1)
    } else {
        Err(Fault::new(format!("expected the end of the line, found {}", skip::found(block, end))))
    }
}

/// One past the last line that ends within the usual size of a block, or of the one line that is longer.
fn block_end(bytes: &[u8], start: usize) -> usize {
    let rest = &bytes[start..];
    if rest.len() <= BLOCK_BYTES {
        return bytes.len();
    }
    if let Some(at) = memchr::memrchr(b'\n', &rest[..BLOCK_BYTES]) {
        return start + at + 1;
    }
    memchr::memchr(b'\n', &rest[BLOCK_BYTES..]).map_or(bytes.len(), |at| start + BLOCK_BYTES + at + 1)
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where a buffer can be cut: one past its last newline, if it has one.
pub fn split_point(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes).map(|at| at + 1)
}
