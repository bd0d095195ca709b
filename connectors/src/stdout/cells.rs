//! Values as cells of equal width.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use unicode_width::UnicodeWidthStr;

use crate::format::encode::CellFormatter;

/// Between columns, in the printers for eyes.
pub(super) const GAP: &str = "  ";

/// Cells of one column, one string for all.
pub(super) struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    /// Formats a column.
    pub(super) fn new(array: &dyn Array) -> Self {
        let formatter = CellFormatter::new(array);
        let mut cells = Self { text: String::new(), ends: Vec::with_capacity(array.len()) };
        for row in 0..array.len() {
            let start = cells.text.len();
            formatter.write(row, &mut cells.text);
            if cells.text[start..].contains(char::is_control) {
                // A line break in a value must not break the line.
                let escaped: String = cells.text[start..]
                    .chars()
                    .flat_map(|c| if c.is_control() { Shown::Escaped(c.escape_default()) } else { Shown::AsIs(Some(c)) })
                    .collect();
                cells.text.truncate(start);
                cells.text.push_str(&escaped);
            }
            cells.ends.push(cells.text.len());
        }
        cells
    }

    pub(super) fn get(&self, row: usize) -> &str {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.text[start..self.ends[row]]
    }

    fn width(&self) -> usize {
        (0..self.ends.len()).map(|row| self.get(row).width()).max().unwrap_or(0)
    }
}

enum Shown {
    AsIs(Option<char>),
    Escaped(std::char::EscapeDefault),
}

impl Iterator for Shown {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::AsIs(c) => c.take(),
            Self::Escaped(escape) => escape.next(),
        }
    }
}

/// Names, sides and widths of the columns of a printer.
pub(super) struct Columns {
    names: Vec<String>,
    right: Vec<bool>,
    /// Width of each column so far: they only grow.
    pub(super) widths: Vec<usize>,
}

impl Columns {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        Self {
            widths: names.iter().map(|name| name.width()).collect(),
            names,
            right: schema.fields().iter().map(|field| is_number(field.data_type())).collect(),
        }
    }

    /// The cells of a batch; columns grow to hold them.
    pub(super) fn cells(&mut self, rows: &RecordBatch) -> Vec<Cells> {
        let cells: Vec<Cells> = rows.columns().iter().map(|column| Cells::new(column)).collect();
        for (width, cells) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cells.width());
        }
        cells
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Appends one line of cells, without spaces at its end.
    pub(super) fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, gap: &str, out: &mut String) {
        let start = out.len();
        for (column, cell) in cells.enumerate() {
            if column > 0 {
                out.push_str(gap);
            }
            pad(cell, self.widths[column], self.right[column], out);
        }
        let end = out[start..].trim_end_matches(' ').len();
        out.truncate(start + end);
    }
}

/// Appends a cell, cut or filled to a width.
pub(super) fn pad(cell: &str, width: usize, right: bool, out: &mut String) {
    let own = cell.width();
    if own > width {
        let mut left = width.saturating_sub(1);
        for c in cell.chars() {
            let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if wide > left {
                break;
            }
            left -= wide;
            out.push(c);
        }
        out.push('…');
        out.extend(std::iter::repeat_n(' ', left));
        return;
    }
    let fill = std::iter::repeat_n(' ', width - own);
    if right {
        out.extend(fill);
        out.push_str(cell);
    } else {
        out.push_str(cell);
        out.extend(fill);
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}
