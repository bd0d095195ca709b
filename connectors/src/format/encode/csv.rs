//! CSV by RFC 4180: quotes where they are needed, doubled inside; a text for null.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::ChangeField;
use super::cell::{Cells, TimestampStyle};
use crate::format::csv::{CsvOptions, check_null};
use crate::source::ConnectorError;

/// Writes CSV.
#[derive(Debug)]
pub struct CsvEncoder {
    schema: SchemaRef,
    changes: ChangeField,
    /// The name of the field for changes.
    mark: String,
    delimiter: u8,
    quote: u8,
    null: Vec<u8>,
    /// Numbers and dates may hold the delimiter, the quote or the text for null too.
    exotic: bool,
}

/// Whether the columns can be told apart in text.
pub(super) fn check_names(schema: &Schema, changes: ChangeField, mark: &str) -> Result<(), String> {
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.extend((changes != ChangeField::None).then_some(mark));
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two fields would be named \"{}\"", pair[0])),
        None => Ok(()),
    }
}

impl CsvEncoder {
    /// An encoder for rows of a schema.
    ///
    /// # Errors
    /// When two columns have one name, there is no quote character, or null would look like something else.
    pub fn new(schema: SchemaRef, options: CsvOptions, changes: ChangeField) -> Result<Self, ConnectorError> {
        Self::named(schema, options, changes, changes.default_name())
    }

    /// The same with another name of the field for changes.
    ///
    /// # Errors
    /// As [`CsvEncoder::new`].
    pub fn named(schema: SchemaRef, options: CsvOptions, changes: ChangeField, mark: &str) -> Result<Self, ConnectorError> {
        let failed = |reason: String| ConnectorError::new("format csv", reason);
        check_names(&schema, changes, mark).map_err(failed)?;
        let quote = options.quote.ok_or_else(|| failed("a sink needs a quote character".into()))?;
        check_null(&options.null, options.delimiter, options.quote).map_err(failed)?;
        let null = options.null.into_bytes();
        let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.: ".contains(&byte);
        let exotic = ordinary(options.delimiter) || ordinary(quote) || !null.is_empty() && null.iter().all(|byte| ordinary(*byte));
        Ok(Self { schema, changes, mark: mark.to_owned(), delimiter: options.delimiter, quote, null, exotic })
    }

    /// Appends the header line, whatever the option `header` says.
    pub fn header(&self, out: &mut Vec<u8>) {
        let change = (self.changes != ChangeField::None).then_some(self.mark.as_str());
        let names = change.into_iter().chain(self.schema.fields().iter().map(|field| field.name().as_str()));
        for (at, name) in names.enumerate() {
            if at > 0 {
                out.push(self.delimiter);
            }
            let start = out.len();
            out.extend_from_slice(name.as_bytes());
            self.quote_from(start, out);
        }
        out.push(b'\n');
    }

    /// Appends rows to `out`; `diffs` is `None` when all are +1. Returns the number of records.
    pub fn encode(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, out: &mut Vec<u8>) -> u64 {
        let columns: Vec<(Cells<'_>, bool)> = rows
            .columns()
            .iter()
            .map(|column| {
                let cells = Cells::new(column, TimestampStyle::Sql);
                let check = self.exotic || cells.is_free_text();
                (cells, check)
            })
            .collect();
        let mut total = 0;
        for row in 0..rows.num_rows() {
            let (lines, diff) = self.changes.lines(diffs.map_or(1, |diffs| diffs[row]));
            if lines == 0 {
                continue;
            }
            total += lines;
            let start = out.len();
            match self.changes {
                ChangeField::None => {}
                ChangeField::Op | ChangeField::Upsert => out.extend_from_slice(self.changes.word(diff).as_bytes()),
                ChangeField::Diff => out.extend_from_slice(itoa::Buffer::new().format(diff).as_bytes()),
            }
            if self.changes != ChangeField::None && self.exotic {
                self.quote_from(start, out);
            }
            for (at, (cells, check)) in columns.iter().enumerate() {
                if at > 0 || self.changes != ChangeField::None {
                    out.push(self.delimiter);
                }
                if cells.is_null(row) {
                    out.extend_from_slice(&self.null);
                    continue;
                }
                let start = out.len();
                cells.text(row, out);
                if *check {
                    self.quote_from(start, out);
                }
            }
            out.push(b'\n');
            let end = out.len();
            for _ in 1..lines {
                out.extend_from_within(start..end);
            }
        }
        total
    }

    /// Puts quotes around what was written from a place on, if it needs them.
    #[inline]
    fn quote_from(&self, start: usize, out: &mut Vec<u8>) {
        let field = &out[start..];
        let special = memchr::memchr3(self.delimiter, self.quote, b'\n', field).is_some() || memchr::memchr(b'\r', field).is_some();
        // The first byte of a byte order mark, or of a comment, would mean something at the start of a file.
        let leading = matches!(field.first(), Some(0xef | b'#'));
        if special || leading || field == self.null {
            self.requote(start, out);
        }
    }

    #[cold]
    fn requote(&self, start: usize, out: &mut Vec<u8>) {
        let field = out.split_off(start);
        out.push(self.quote);
        for byte in field {
            if byte == self.quote {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }
}
