//! Expressions and what they do to a watermark.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::{Expr, col, lit};

use super::expr::{columns, monotone, physical, remap, text};

fn schema() -> (Schema, DFSchema) {
    let schema =
        Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
    let df_schema = DFSchema::try_from(schema.clone()).expect("a schema");
    (schema, df_schema)
}

fn seconds(count: i64) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(0, 0, count * 1_000_000_000))))
}

fn months(count: i32) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(count, 0, 0))))
}

#[test]
fn watermarks_pass_through_what_keeps_the_order_and_nothing_else() {
    let (schema, df_schema) = schema();
    let trunc = |unit: &str| datafusion_functions::datetime::date_trunc().call(vec![lit(unit), col("ts")]);
    let cast = |unit| datafusion_expr::cast(col("ts"), DataType::Timestamp(unit, None));
    for (expr, expected) in [
        (col("ts"), Some((1, 0))),
        (col("ts") - seconds(5), Some((1, 5_000_000))),
        (col("ts") + seconds(5), Some((1, 0))),
        (col("ts") - seconds(5) + seconds(2), Some((1, 3_000_000))),
        (col("ts") - months(1), None),
        (trunc("hour"), Some((1, 3_600_000_000))),
        (trunc("month"), Some((1, 31 * 86_400_000_000))),
        (cast(TimeUnit::Second), Some((1, 1_000_000))),
        (cast(TimeUnit::Nanosecond), Some((1, 0))),
        (datafusion_functions::core::coalesce().call(vec![col("ts"), col("ts")]), None),
    ] {
        let made = physical(&expr, &df_schema).expect("an expression");
        assert_eq!(monotone(&made, &schema), expected, "{expr}");
    }
}

#[test]
fn expressions_read_and_move_columns() {
    let (_, df_schema) = schema();
    let made = physical(&(col("n") * lit(2_i64) - (col("n") - lit(1_i64))), &df_schema).expect("an expression");
    assert_eq!(text(&made), "n * 2 - (n - 1)");
    assert_eq!(columns(&made).into_iter().collect::<Vec<_>>(), [0]);
    assert_eq!(columns(&remap(&made, &|place| place + 3)).into_iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn integers_that_overflow_are_errors() {
    let (schema, df_schema) = schema();
    let made = physical(&(col("n") + lit(1_i64)), &df_schema).expect("an expression");
    let rows = |n: i64| {
        let ts: arrow::array::ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![0]));
        arrow::array::RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(arrow::array::Int64Array::from(vec![n])), ts])
            .expect("rows")
    };
    assert!(made.evaluate(&rows(1)).is_ok());
    assert!(made.evaluate(&rows(i64::MAX)).is_err());
}
