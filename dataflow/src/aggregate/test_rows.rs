//! Rows of a time, a key and a value, what is computed of them, and what came out, for the tests of this folder.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use tidemark_planner::plan::{AggregateFunction, AggregatePlan, LateStrategy, WindowKind, WindowPlan};

use super::Output;

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

/// An aggregate of a column, or of rows.
pub(super) fn aggregate(function: AggregateFunction, argument: Option<&str>, result: DataType, retractable: bool) -> AggregatePlan {
    AggregatePlan {
        function,
        args: argument.map(column).into_iter().collect(),
        arg_types: argument.map(|_| DataType::Int64).into_iter().collect(),
        filter: None,
        distinct: false,
        order_by: vec![],
        output: Arc::new(Field::new("result", result, true)),
        retractable,
        text: "result".into(),
    }
}

/// Windows that drop what is later than is allowed.
pub(super) fn windows(kind: WindowKind, lateness_us: i64) -> WindowPlan {
    WindowPlan {
        kind,
        offset_us: 0,
        time: column("time"),
        start: None,
        watermark: None,
        lateness_us,
        late: LateStrategy::Drop,
        letters: None,
        firing: None,
        places: vec![],
    }
}

/// The rows that came out, in numbers, and their diffs. A null is the least number, which no test expects.
pub(super) fn read(output: &Output) -> Vec<(Vec<i64>, i64)> {
    assert!(output.errors.is_empty());
    let value = |column: &ArrayRef, row: usize| match column.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(times) => times.value(row),
        None if column.is_null(row) => i64::MIN,
        None if column.data_type() == &DataType::Boolean => i64::from(column.as_boolean().value(row)),
        None => array_value_to_string(column, row).unwrap().parse().unwrap(),
    };
    let change = |row: usize| {
        let values = output.rows.columns().iter().map(|column| value(column, row)).collect();
        (values, output.diffs.as_ref().map_or(1, |diffs| diffs[row]))
    };
    (0..output.rows.num_rows()).map(change).collect()
}
