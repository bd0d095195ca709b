//! # Encoders
//!
//! Batches of changes to text, and single cells for those who print tables.

mod cell;
mod csv;
mod debezium;
mod ndjson;
#[cfg(test)]
mod tests;

pub use cell::TimestampStyle;
pub use csv::CsvEncoder;
pub use debezium::DebeziumEncoder;
pub use ndjson::{NdjsonEncoder, PROGRESS};

use arrow::array::Array;
use cell::Cells;

/// How a change shows that it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeField {
    /// It does not: only for append-only relations.
    #[default]
    None,
    /// A first field `op`: `+I` or `-D`, one line for each copy.
    Op,
    /// A first field: `+U` for the row a key has now, `-D` for the last row of a key that is gone.
    Upsert,
    /// A first field `diff`: the signed number of copies.
    Diff,
}

impl ChangeField {
    /// Lines for a change: how many, and what is written in each.
    fn lines(self, diff: i64) -> (u64, i64) {
        match self {
            Self::None => {
                assert!(diff >= 0, "a retraction came to an encoder that writes no changes");
                (diff.unsigned_abs(), diff)
            }
            Self::Op | Self::Upsert => (diff.unsigned_abs(), diff),
            Self::Diff => (u64::from(diff != 0), diff),
        }
    }
}

impl ChangeField {
    /// The name of the first field, if no other is given.
    fn default_name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Op | Self::Upsert => "op",
            Self::Diff => "diff",
        }
    }

    /// The word for a change, where words are written.
    fn word(self, diff: i64) -> &'static str {
        match (self, diff > 0) {
            (_, false) => "-D",
            (Self::Upsert, true) => "+U",
            (_, true) => "+I",
        }
    }
}

/// Appends one value as a reader of tables wants it: SQL style, nested values as JSON, null as `null`. For few cells:
/// printers of whole columns keep a [`CellFormatter`].
pub fn format_cell(array: &dyn Array, row: usize, out: &mut String) {
    CellFormatter::new(array).write(row, out);
}

/// Formats the values of one column.
pub struct CellFormatter<'a> {
    cells: Cells<'a>,
}

impl<'a> CellFormatter<'a> {
    /// For a column.
    pub fn new(array: &'a dyn Array) -> Self {
        Self { cells: Cells::new(array, TimestampStyle::Sql) }
    }

    /// Whether a value is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.cells.is_null(row)
    }

    /// Appends one value; null as `null`.
    pub fn write(&self, row: usize, out: &mut String) {
        let mut bytes = Vec::new();
        self.write_bytes(row, &mut bytes);
        out.push_str(&String::from_utf8_lossy(&bytes));
    }

    /// [`CellFormatter::write`] to a buffer of bytes, without a detour.
    pub fn write_bytes(&self, row: usize, out: &mut Vec<u8>) {
        if self.cells.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            self.cells.text(row, out);
        }
    }
}
