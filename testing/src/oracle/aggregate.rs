//! Aggregates over a list of values, from their definitions.

use std::cmp::Ordering;

use super::expr::{Expr, Type};
use crate::value::{Row, Value};

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `count(*)`.
    CountStar,
    /// `count(x)`.
    Count,
    /// `sum(x)`.
    Sum,
    /// `avg(x)`.
    Avg,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `var_pop(x)`.
    VarPop,
    /// `var_samp(x)`.
    VarSamp,
    /// `stddev_pop(x)`.
    StddevPop,
    /// `stddev(x)`.
    Stddev,
    /// `bool_and(x)`.
    BoolAnd,
    /// `bool_or(x)`.
    BoolOr,
    /// `bit_and(x)`.
    BitAnd,
    /// `bit_or(x)`.
    BitOr,
    /// `bit_xor(x)`.
    BitXor,
    /// `array_agg(x ORDER BY order)`.
    ArrayAgg,
    /// `string_agg(x, ',' ORDER BY order)`.
    StringAgg,
    /// `first_value(x ORDER BY order)`.
    First,
    /// `last_value(x ORDER BY order)`.
    Last,
    /// `arg_min(x, order)`, ties to the row that came first.
    ArgMin,
    /// `arg_max(x, order)`, ties to the row that came first.
    ArgMax,
    /// `median(x)` of floats.
    Median,
}

/// One aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// Its argument.
    pub arg: Option<Expr>,
    /// Equal arguments count once.
    pub distinct: bool,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expr>,
    /// The order of values and whether it descends. Nulls are first where it ascends, last where it descends.
    pub order: Option<(Expr, bool)>,
}

impl Aggregate {
    /// The type of the result.
    pub fn ty(&self, columns: &[Type]) -> Type {
        let arg = self.arg.as_ref().map(|arg| arg.ty(columns));
        match (self.function, arg) {
            (Function::CountStar | Function::Count, _) => Type::Int,
            (Function::Sum, Some(Type::Decimal(precision, scale))) => Type::Decimal((precision + 10).min(38), scale),
            (Function::Avg, Some(Type::Decimal(precision, scale))) => Type::Decimal((precision + 4).min(38), scale + 4),
            (Function::Avg | Function::VarPop | Function::VarSamp | Function::StddevPop | Function::Stddev | Function::Median, _) => {
                Type::Float
            }
            (Function::ArrayAgg, _) => Type::List,
            (Function::StringAgg, _) => Type::Text,
            (_, Some(ty)) => ty,
            (_, None) => Type::Int,
        }
    }

    /// The value over rows that stand in order of arrival: partition by partition, by offset.
    pub fn compute(&self, rows: &[&Row]) -> Value {
        // What counts: filtered, with its order key and its place among the rows.
        let mut items: Vec<(Value, Value, usize)> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            if self.filter.as_ref().is_some_and(|filter| filter.eval(row) != Value::Bool(true)) {
                continue;
            }
            let value = self.arg.as_ref().map_or(Value::Int(1), |arg| arg.eval(row));
            let key = self.order.as_ref().map_or(Value::Null, |(by, _)| by.eval(row));
            items.push((value, key, place));
        }
        if let Some((_, descending)) = &self.order {
            items.sort_by(|a, b| {
                let by = if *descending { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) };
                by.then(a.2.cmp(&b.2))
            });
        }
        match self.function {
            Function::CountStar => return Value::Int(items.len() as i128),
            Function::ArrayAgg => {
                if self.distinct {
                    let mut values: Vec<Value> = items.into_iter().map(|(value, ..)| value).collect();
                    values.sort();
                    values.dedup();
                    return if values.is_empty() { Value::Null } else { Value::List(values) };
                }
                return if items.is_empty() { Value::Null } else { Value::List(items.into_iter().map(|(value, ..)| value).collect()) };
            }
            Function::First => return items.first().map_or(Value::Null, |item| item.0.clone()),
            Function::Last => return items.last().map_or(Value::Null, |item| item.0.clone()),
            Function::ArgMin | Function::ArgMax => {
                let mut best: Option<&(Value, Value, usize)> = None;
                for item in items.iter().filter(|item| !item.1.is_null()) {
                    let wins = best.is_none_or(|best| {
                        let by = item.1.cmp(&best.1);
                        let better = if self.function == Function::ArgMin { Ordering::Less } else { Ordering::Greater };
                        by == better || (by == Ordering::Equal && item.2 < best.2)
                    });
                    if wins {
                        best = Some(item);
                    }
                }
                return best.map_or(Value::Null, |item| item.0.clone());
            }
            _ => {}
        }
        let mut values: Vec<Value> = items.into_iter().map(|(value, ..)| value).filter(|value| !value.is_null()).collect();
        if self.distinct {
            values.sort();
            values.dedup();
        }
        if self.function == Function::Count {
            return Value::Int(values.len() as i128);
        }
        if values.is_empty() {
            return Value::Null;
        }
        match self.function {
            Function::Sum => sum(&values),
            Function::Avg => avg(&values),
            Function::Min => values.into_iter().min().unwrap_or(Value::Null),
            Function::Max => values.into_iter().max().unwrap_or(Value::Null),
            Function::BoolAnd => Value::Bool(values.iter().all(|value| *value == Value::Bool(true))),
            Function::BoolOr => Value::Bool(values.contains(&Value::Bool(true))),
            Function::BitAnd => Value::Int(values.iter().map(int).fold(-1, |a, b| a & b)),
            Function::BitOr => Value::Int(values.iter().map(int).fold(0, |a, b| a | b)),
            Function::BitXor => Value::Int(values.iter().map(int).fold(0, |a, b| a ^ b)),
            Function::VarPop => variance(&values, 0).map_or(Value::Null, Value::Float),
            Function::VarSamp => variance(&values, 1).map_or(Value::Null, Value::Float),
            Function::StddevPop => variance(&values, 0).map_or(Value::Null, |value| Value::Float(value.sqrt())),
            Function::Stddev => variance(&values, 1).map_or(Value::Null, |value| Value::Float(value.sqrt())),
            Function::StringAgg => {
                let texts: Vec<String> = values
                    .iter()
                    .map(|value| match value {
                        Value::Text(text) => text.clone(),
                        other => panic!("string_agg over {other}"),
                    })
                    .collect();
                Value::Text(texts.join(","))
            }
            Function::Median => {
                let mut floats: Vec<f64> = values.iter().map(float).collect();
                floats.sort_by(f64::total_cmp);
                let middle = floats.len() / 2;
                Value::Float(if floats.len() % 2 == 1 { floats[middle] } else { (floats[middle - 1] + floats[middle]) / 2.0 })
            }
            Function::CountStar
            | Function::Count
            | Function::ArrayAgg
            | Function::First
            | Function::Last
            | Function::ArgMin
            | Function::ArgMax => unreachable!("answered above"),
        }
    }
}

fn int(value: &Value) -> i128 {
    match value {
        Value::Int(value) => *value,
        other => panic!("{other} is no integer"),
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        other => panic!("{other} is no number"),
    }
}

/// A float as a whole number of 2^-40: exact for the generator's floats, which are whole numbers of 2^-10 below 2^40.
const UNIT: f64 = 1_099_511_627_776.0;

fn exact(value: f64) -> i128 {
    let scaled = value * UNIT;
    assert!(scaled.fract() == 0.0, "{value} is not a float the oracle adds up exactly");
    scaled as i128
}

fn sum(values: &[Value]) -> Value {
    match &values[0] {
        Value::Int(_) => Value::Int(values.iter().map(int).sum()),
        Value::Decimal(_, scale) => Value::Decimal(values.iter().map(unscaled).sum(), *scale),
        Value::Float(_) => Value::Float(values.iter().map(|value| exact(float(value))).sum::<i128>() as f64 / UNIT),
        other => panic!("sum over {other}"),
    }
}

fn unscaled(value: &Value) -> i128 {
    match value {
        Value::Decimal(value, _) => *value,
        other => panic!("{other} is no decimal"),
    }
}

/// The exact sum divided once. Decimals get four more digits, and what is finer is cut off.
fn avg(values: &[Value]) -> Value {
    let count = values.len() as i128;
    match sum(values) {
        Value::Int(sum) => Value::Float(sum as f64 / count as f64),
        Value::Float(sum) => Value::Float(sum / count as f64),
        Value::Decimal(sum, scale) => {
            let scaled = sum * 10_000;
            Value::Decimal(scaled / count, scale + 4)
        }
        other => panic!("avg over {other}"),
    }
}

/// `(n·Σx² − (Σx)²) / (n·(n − ddof))`, exact until the division.
fn variance(values: &[Value], ddof: i128) -> Option<f64> {
    let count = values.len() as i128;
    if count <= ddof {
        return None;
    }
    let scaled: Vec<i128> = values.iter().map(|value| exact(float(value)) >> 30).collect();
    let (sum, squares): (i128, i128) = (scaled.iter().sum(), scaled.iter().map(|value| value * value).sum());
    let above = count * squares - sum * sum;
    // The scale is 2^10 to the value, so 2^20 to its square.
    Some(above as f64 / (count * (count - ddof)) as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(function: Function, values: &[Value]) -> Value {
        let rows: Vec<Row> = values.iter().map(|value| vec![value.clone()]).collect();
        Aggregate { function, arg: Some(Expr::Column(0)), distinct: false, filter: None, order: None }
            .compute(&rows.iter().collect::<Vec<_>>())
    }

    #[test]
    fn known_answers() {
        let ints = [Value::Int(2), Value::Null, Value::Int(4), Value::Int(4), Value::Int(6)];
        assert_eq!(over(Function::Count, &ints), Value::Int(4));
        assert_eq!(over(Function::Sum, &ints), Value::Int(16));
        assert_eq!(over(Function::Avg, &ints), Value::Float(4.0));
        assert_eq!(over(Function::VarPop, &ints), Value::Float(2.0));
        assert_eq!(over(Function::Sum, &[Value::Null]), Value::Null);
        assert_eq!(over(Function::VarSamp, &[Value::Int(3)]), Value::Null);
        assert_eq!(over(Function::Avg, &[Value::Decimal(1, 2), Value::Decimal(0, 2), Value::Decimal(0, 2)]), Value::Decimal(3_333, 6));
        assert_eq!(over(Function::Avg, &[Value::Decimal(-2, 2), Value::Decimal(0, 2), Value::Decimal(0, 2)]), Value::Decimal(-6_666, 6));
    }
}
