//! Physical expressions: made from logical ones, moved to other column positions, read for what they do to a watermark, and written
//! for EXPLAIN.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Expr, Operator};
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::logical::type_name;

/// An expression over columns by position.
pub(crate) type Physical = Arc<dyn PhysicalExpr>;

/// Makes an expression physical. Integer arithmetic that overflows is an error of the row, not another number.
pub(crate) fn physical(expr: &Expr, schema: &DFSchema) -> Result<Physical> {
    let mut props = ExecutionProps::new();
    props.config_options = Some(Arc::new(crate::logical::config()));
    let made = datafusion_physical_expr::create_physical_expr(expr, schema, &props, &PhysicalPlanningContext::default())?;
    let checked = made.transform_up(|node| {
        let arithmetic = node
            .downcast_ref::<BinaryExpr>()
            .filter(|binary| matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply))
            .map(|binary| BinaryExpr::new(Arc::clone(binary.left()), *binary.op(), Arc::clone(binary.right())).with_fail_on_overflow(true));
        Ok(match arithmetic {
            Some(checked) => Transformed::yes(Arc::new(checked) as Physical),
            None => Transformed::no(node),
        })
    })?;
    Ok(checked.data)
}

/// A column.
pub(crate) fn column(name: &str, place: usize) -> Physical {
    Arc::new(Column::new(name, place))
}

/// The position, if the expression is a column and nothing else.
pub(crate) fn as_column(expr: &Physical) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Every column an expression reads.
pub(crate) fn columns(expr: &Physical) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    // The closure has no error to return.
    let _ = expr.apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>() {
            found.insert(column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The same expression over columns that have moved.
pub(crate) fn remap(expr: &Physical, place: &dyn Fn(usize) -> usize) -> Physical {
    let moved = Arc::clone(expr).transform_up(|node| {
        let column = node.downcast_ref::<Column>().map(|column| Column::new(column.name(), place(column.index())));
        Ok(match column {
            Some(column) => Transformed::yes(Arc::new(column) as Physical),
            None => Transformed::no(node),
        })
    });
    moved.map_or_else(|_| Arc::clone(expr), |it| it.data)
}

/// The same expression with other expressions for its columns.
pub(crate) fn substitute(expr: &Physical, other: &dyn Fn(usize) -> Physical) -> Physical {
    let done = Arc::clone(expr).transform_up(|node| {
        Ok(match as_column(&node) {
            Some(place) => Transformed::yes(other(place)),
            None => Transformed::no(node),
        })
    });
    done.map_or_else(|_| Arc::clone(expr), |it| it.data)
}

/// The same expression with the names its columns have in a schema. Columns of one name, as a join makes them, are told apart by place.
pub(crate) fn named_in(expr: &Physical, schema: &arrow::datatypes::Schema) -> Physical {
    let done = Arc::clone(expr).transform_up(|node| {
        Ok(match as_column(&node) {
            Some(place) if place < schema.fields().len() => {
                let name = schema.field(place).name();
                let alone = schema.fields().iter().filter(|field| field.name() == name).count() == 1;
                Transformed::yes(if alone { column(name, place) } else { column(&format!("{name}@{place}"), place) })
            }
            _ => Transformed::no(node),
        })
    });
    done.map_or_else(|_| Arc::clone(expr), |it| it.data)
}

fn literal(expr: &Physical) -> Option<&ScalarValue> {
    expr.downcast_ref::<Literal>().map(Literal::value)
}

/// A constant length of time in microseconds, rounded up. Months have no constant length.
pub(crate) fn interval_us(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(it)) if it.months == 0 => {
            let nanos = it.nanoseconds;
            let us = nanos.div_euclid(1_000) + i64::from(nanos.rem_euclid(1_000) != 0);
            i64::from(it.days).checked_mul(86_400_000_000)?.checked_add(us)
        }
        ScalarValue::IntervalDayTime(Some(it)) => {
            i64::from(it.days).checked_mul(86_400_000_000)?.checked_add(i64::from(it.milliseconds).checked_mul(1_000)?)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => Some(*us),
        ScalarValue::DurationMillisecond(Some(ms)) => ms.checked_mul(1_000),
        ScalarValue::DurationSecond(Some(s)) => s.checked_mul(1_000_000),
        _ => None,
    }
}

/// The longest a `date_trunc` unit can be, in microseconds.
fn unit_us(unit: &str) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    Some(match unit.to_lowercase().as_str() {
        "microsecond" => 1,
        "millisecond" => 1_000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => DAY,
        "week" => 7 * DAY,
        "month" => 31 * DAY,
        "quarter" => 92 * DAY,
        "year" => 366 * DAY,
        _ => return None,
    })
}

/// The column an expression follows, and by how much it can lag behind it, in microseconds: new values of the expression never fall
/// behind the column's watermark minus the lag. `None` when nothing of the kind is known.
pub(crate) fn monotone(expr: &Physical, schema: &arrow::datatypes::Schema) -> Option<(usize, i64)> {
    if let Some(place) = as_column(expr) {
        return Some((place, 0));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema).ok()?;
        let (DataType::Timestamp(_, from_zone), DataType::Timestamp(unit, to_zone)) = (&from, cast.cast_type()) else { return None };
        let same_instant = |zone: &Option<Arc<str>>| zone.as_deref().is_none_or(|zone| zone == "UTC" || zone == "+00:00");
        if from_zone != to_zone && !(same_instant(from_zone) && same_instant(to_zone)) {
            return None;
        }
        let rounding = match unit {
            TimeUnit::Second => 1_000_000,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond | TimeUnit::Nanosecond => 0,
        };
        let (place, lag) = monotone(cast.expr(), schema)?;
        return Some((place, lag.checked_add(rounding)?));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let (inner, by) = match (binary.op(), literal(binary.left()), literal(binary.right())) {
            (Operator::Minus, _, Some(by)) => (binary.left(), interval_us(by)?),
            (Operator::Plus, _, Some(by)) => (binary.left(), interval_us(by)?.checked_neg()?),
            (Operator::Plus, Some(by), _) => (binary.right(), interval_us(by)?.checked_neg()?),
            _ => return None,
        };
        let (place, lag) = monotone(inner, schema)?;
        // Being ahead of the watermark is not made use of.
        return Some((place, lag.checked_add(by)?.max(0)));
    }
    if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let lag_of = match (function.fun().name(), function.args()) {
            ("date_trunc", [unit, _]) => literal(unit).and_then(|it| it.try_as_str().flatten()).and_then(unit_us),
            ("date_bin", [by, _] | [by, _, _]) => literal(by).and_then(interval_us),
            _ => None,
        };
        let (place, lag) = monotone(function.args().get(1)?, schema)?;
        return Some((place, lag.checked_add(lag_of?)?));
    }
    None
}

/// A timestamp of any unit and zone as `Timestamp(µs)` without a zone: the instant stays.
pub(crate) fn in_microseconds(expr: Physical, data_type: &DataType) -> Physical {
    let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => expr,
        DataType::Timestamp(unit, zone) => {
            let micros: Physical = if *unit == TimeUnit::Microsecond {
                expr
            } else {
                Arc::new(CastExpr::new(expr, DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), None))
            };
            if zone.is_none() {
                return micros;
            }
            // By way of the integer, so that no wall clock of the zone comes in.
            Arc::new(CastExpr::new(Arc::new(CastExpr::new(micros, DataType::Int64, None)), plain, None))
        }
        _ => expr,
    }
}

/// A timestamp moved by a constant.
pub(crate) fn shifted(expr: Physical, us: i64) -> Physical {
    let by = ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(0, 0, us.saturating_mul(1_000))));
    Arc::new(BinaryExpr::new(expr, Operator::Plus, Arc::new(Literal::new(by))))
}

/// An expression as a user reads it. Two expressions that differ read differently.
pub(crate) fn text(expr: &Physical) -> String {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return column.name().to_string();
    }
    if let Some(value) = literal(expr) {
        return literal_text(value);
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return format!("CAST({} AS {})", text(cast.expr()), type_name(cast.cast_type()));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let precedence = binary.op().precedence();
        let side = |side: &Physical, right: bool| {
            let inner = side.downcast_ref::<BinaryExpr>().map(|inner| *inner.op());
            let same_chain = |op: Operator| op == *binary.op() && matches!(op, Operator::And | Operator::Or);
            match inner {
                Some(op) if op.precedence() < precedence || (op.precedence() == precedence && right && !same_chain(op)) => {
                    format!("({})", text(side))
                }
                _ => text(side),
            }
        };
        return format!("{} {} {}", side(binary.left(), false), binary.op(), side(binary.right(), true));
    }
    if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let args: Vec<String> = function.args().iter().map(text).collect();
        return format!("{}({})", function.fun().name(), args.join(", "));
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        let mut out = String::from("CASE");
        let mut say = |word: &str, expr: &Physical| out.push_str(&format!(" {word}{}", text(expr)));
        if let Some(operand) = case.expr() {
            say("", operand);
        }
        for (when, then) in case.when_then_expr() {
            say("WHEN ", when);
            say("THEN ", then);
        }
        if let Some(other) = case.else_expr() {
            say("ELSE ", other);
        }
        return out + " END";
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let not = if like.negated() { "NOT " } else { "" };
        let word = if like.case_insensitive() { "ILIKE" } else { "LIKE" };
        return format!("{} {not}{word} {}", text(like.expr()), text(like.pattern()));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let items: Vec<String> = list.list().iter().map(text).collect();
        return format!("{} {}IN ({})", text(list.expr()), if list.negated() { "NOT " } else { "" }, items.join(", "));
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return format!("NOT ({})", text(not.arg()));
    }
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        return format!("{} IS NULL", operand(is_null.arg()));
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        return format!("{} IS NOT NULL", operand(is_not_null.arg()));
    }
    Sql(expr).to_string()
}

/// An expression before a word: in parentheses if it has parts.
fn operand(expr: &Physical) -> String {
    if expr.downcast_ref::<BinaryExpr>().is_some() { format!("({})", text(expr)) } else { text(expr) }
}

fn literal_text(value: &ScalarValue) -> String {
    match value {
        value if value.is_null() => "NULL".into(),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::IntervalMonthDayNano(Some(it)) if it.months == 0 && it.nanoseconds % 1_000 == 0 => {
            let us = i64::from(it.days).saturating_mul(86_400_000_000).saturating_add(it.nanoseconds / 1_000);
            format!("INTERVAL '{}'", crate::duration::format_us(us))
        }
        ScalarValue::Decimal128(Some(_), _, _) => arrow_text(value),
        ScalarValue::TimestampMicrosecond(Some(_), _) | ScalarValue::Date32(Some(_)) => format!("'{}'", arrow_text(value)),
        other => other.to_string(),
    }
}

fn arrow_text(value: &ScalarValue) -> String {
    value.to_array().ok().and_then(|array| arrow::util::display::array_value_to_string(&array, 0).ok()).unwrap_or_else(|| value.to_string())
}

/// An expression in DataFusion's own words.
struct Sql<'a>(&'a Physical);

impl std::fmt::Display for Sql<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt_sql(f)
    }
}
