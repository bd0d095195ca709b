//! One row as text, for messages about it: `{price: 10, symbol: AAA}`.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The row's columns by name, as Arrow prints them.
pub(crate) fn render_row(rows: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::new().with_display_error(true).with_null("null");
    let fields = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column.as_ref(), &options).map(|formatter| formatter.value(row).to_string());
        format!("{}: {}", field.name(), value.unwrap_or_else(|error| error.to_string()))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}
