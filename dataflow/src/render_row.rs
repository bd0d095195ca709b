//! Rows and times as text, for messages about them: `{price: 10, symbol: AAA}`.

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
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

/// Microseconds since 1970 as Arrow prints a timestamp.
pub(crate) fn render_time(us: i64) -> String {
    let time = TimestampMicrosecondArray::from(vec![us]);
    arrow::util::display::array_value_to_string(&time, 0).unwrap_or_else(|_| us.to_string())
}
