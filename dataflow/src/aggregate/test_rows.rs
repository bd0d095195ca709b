//! Rows of a time, a key and a value, for the tests of this folder.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

/// The columns.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("key", DataType::Int64, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

/// One of them.
pub(super) fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &schema()).unwrap())
}

/// Rows, each a time, a key and a value.
pub(super) fn batch(rows: impl Iterator<Item = [i64; 3]> + Clone) -> RecordBatch {
    let cells = |at: usize| rows.clone().map(move |row| row[at]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(cells(0))),
        Arc::new(Int64Array::from_iter_values(cells(1))),
        Arc::new(Int64Array::from_iter_values(cells(2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}
