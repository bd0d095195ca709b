//! What a batch database would answer: loops over vectors.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, i256};
use tidemark_planner::plan::{AggregateFunction as F, AggregatePlan};

use super::values::V;
use crate::state::exact_sum::tests::{Naive, UNIT, is_nearest};

/// One row of a group with its multiplicity, above zero.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) args: Vec<V>,
    pub(super) order: Vec<V>,
    pub(super) times: i64,
}

/// Judges a result over rows that passed the filter.
pub(super) fn judge(plan: &AggregatePlan, rows: &[Row], result: &V, error: Option<&str>) -> Result<(), String> {
    let rows = relevant(plan, rows);
    let expect = |expected: V| {
        if error.is_some() {
            Err(format!("unexpected error {error:?}"))
        } else if result.same(&expected) {
            Ok(())
        } else {
            Err(format!("{result:?} instead of {expected:?}"))
        }
    };
    let output = plan.output.data_type();
    let mut values: Vec<V> =
        rows.iter().flat_map(|row| row.args.first().map(|v| vec![v.clone(); row.times.min(1000) as usize])).flatten().collect();
    values.sort_by(V::order);
    let count: i64 = rows.iter().map(|row| row.times).sum();
    match &plan.function {
        F::Count => expect(V::Int(count.into())),
        F::ApproxDistinct => {
            values.dedup_by(|a, b| a.same(b));
            let (exact, estimate) = (values.len() as i128, result.int());
            let slack = if plan.retractable { 0 } else { exact / 20 + i128::from(exact > 4) };
            if (exact - estimate).abs() <= slack { Ok(()) } else { Err(format!("{estimate} distinct instead of {exact}")) }
        }
        F::Sum | F::Avg | F::VarPop | F::VarSamp | F::StddevPop | F::StddevSamp if count == 0 => expect(V::Null),
        F::Sum if matches!(output, DataType::Interval(_)) => {
            let mut sums = [0i128; 3];
            for row in &rows {
                let V::Interval(months, days, nanos) = row.args[0] else { panic!("an interval") };
                for (sum, part) in sums.iter_mut().zip([months.into(), days.into(), nanos]) {
                    *sum += i128::from(part) * i128::from(row.times);
                }
            }
            let fits = (|| Some(V::Interval(sums[0].try_into().ok()?, sums[1].try_into().ok()?, sums[2].try_into().ok()?)))();
            match (fits, error) {
                (Some(expected), None) => expect(expected),
                (None, Some(error)) if error == format!("sum does not fit in {output}") && result.is_null() => Ok(()),
                (expected, error) => Err(format!("{error:?} instead of {expected:?}")),
            }
        }
        F::Sum | F::Avg if matches!(output, DataType::Float64 | DataType::Float32) => float_quotient(plan, &rows, count, result),
        F::Sum | F::Avg => {
            let mean = plan.function == F::Avg;
            let mut sum = rows.iter().fold(i256::ZERO, |sum, row| {
                sum.checked_add(i256::from_i128(row.args[0].int()).checked_mul(i256::from_i128(row.times.into())).unwrap()).unwrap()
            });
            if mean {
                let scale = |data_type: &DataType| match data_type {
                    DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => *s,
                    _ => 0,
                };
                for _ in scale(&plan.arg_types[0])..scale(output) {
                    sum = sum.checked_mul(i256::from_i128(10)).unwrap();
                }
                sum = sum.checked_div(i256::from_i128(count.into())).unwrap();
            }
            let (least, greatest) = match output {
                DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
                DataType::Int64 | DataType::Duration(_) => (i64::MIN.into(), i64::MAX.into()),
                DataType::UInt64 => (0, u64::MAX.into()),
                DataType::Decimal32(p, _) | DataType::Decimal64(p, _) | DataType::Decimal128(p, _) | DataType::Decimal256(p, _) => {
                    (-(10i128.pow((*p).min(38).into()) - 1), 10i128.pow((*p).min(38).into()) - 1)
                }
                other => panic!("no range of {other}"),
            };
            let fits = sum.to_i128().is_some_and(|sum| (least..=greatest).contains(&sum)) || matches!(output, DataType::Decimal256(..));
            match error {
                None if fits => expect(V::Int(sum.to_i128().unwrap())),
                Some(error) if !fits && result.is_null() => {
                    let expected = format!("{} does not fit in {output}", if mean { "avg" } else { "sum" });
                    if error == expected { Ok(()) } else { Err(format!("error {error:?} instead of {expected:?}")) }
                }
                _ => Err(format!("{result:?}, {error:?} for {sum}")),
            }
        }
        F::VarPop | F::VarSamp | F::StddevPop | F::StddevSamp => spread(plan, &rows, count, result),
        F::Min => expect(values.first().cloned().unwrap_or(V::Null)),
        F::Max => expect(values.last().cloned().unwrap_or(V::Null)),
        F::BoolAnd if values.is_empty() => expect(V::Null),
        F::BoolAnd => expect(V::Bool(values.iter().all(|v| matches!(v, V::Bool(true))))),
        F::BoolOr if values.is_empty() => expect(V::Null),
        F::BoolOr => expect(V::Bool(values.iter().any(|v| matches!(v, V::Bool(true))))),
        F::BitAnd => expect(values.iter().map(V::int).reduce(|a, b| a & b).map_or(V::Null, V::Int)),
        F::BitOr => expect(values.iter().map(V::int).reduce(|a, b| a | b).map_or(V::Null, V::Int)),
        F::BitXor => {
            let odd = rows.iter().filter(|row| row.times % 2 == 1).map(|row| row.args[0].int()).fold(0, |a, b| a ^ b);
            expect(if rows.is_empty() { V::Null } else { V::Int(odd) })
        }
        F::FirstValue { .. } => expect(ordered(plan, &rows).first().map_or(V::Null, |row| row.args[0].clone())),
        F::LastValue { .. } => expect(ordered(plan, &rows).last().map_or(V::Null, |row| row.args[0].clone())),
        F::ArgMin | F::ArgMax => {
            let mut rows = ordered(plan, &rows);
            // Stable, so that ties stay in the order asked for.
            rows.sort_by(|a, b| {
                let order = a.args[1].order(&b.args[1]);
                if plan.function == F::ArgMax { order.reverse() } else { order }
            });
            expect(rows.first().map_or(V::Null, |row| row.args[0].clone()))
        }
        F::ArrayAgg { .. } | F::StringAgg { .. } => {
            let mut list: Vec<V> = Vec::new();
            for row in ordered(plan, &rows) {
                for _ in 0..row.times {
                    if !(plan.distinct && list.iter().any(|v| v.same(&row.args[0]))) {
                        list.push(row.args[0].clone());
                    }
                }
            }
            if list.is_empty() {
                return expect(V::Null);
            }
            if let F::StringAgg { delimiter } = &plan.function {
                let texts: Vec<&str> = list.iter().map(|v| if let V::Text(text) = v { text.as_str() } else { panic!("a text") }).collect();
                return expect(V::Text(texts.join(delimiter)));
            }
            expect(V::List(list))
        }
        F::Percentile { fraction } => {
            if values.is_empty() {
                return expect(V::Null);
            }
            let position = fraction * (values.len() - 1) as f64;
            let (low, high) = (values[position.floor() as usize].clone(), values[position.ceil() as usize].clone());
            if position.fract() == 0.0 {
                return expect(low);
            }
            let weight = (position.fract() * 1e6).trunc();
            match (low, high) {
                (V::Float(low), V::Float(high))
                    if *fraction == 0.5 && low.is_finite() && high.is_finite() && *output == DataType::Float64 =>
                {
                    let mut sum = Naive::new();
                    sum.add_float(low, 1);
                    sum.add_float(high, 1);
                    if is_nearest(&sum.digits().1, UNIT, 2, result.float()) {
                        Ok(())
                    } else {
                        Err(format!("{result:?} between {low} and {high}"))
                    }
                }
                (V::Float(low), V::Float(high)) if *fraction == 0.5 => {
                    let middle = low / 2.0 + high / 2.0;
                    expect(V::Float(if *output == DataType::Float32 { f64::from(middle as f32) } else { middle }))
                }
                (V::Float(low), V::Float(high)) => {
                    let between = low + (high - low) * (weight / 1e6);
                    expect(V::Float(if *output == DataType::Float32 { f64::from(between as f32) } else { between }))
                }
                (V::Int(low), V::Int(high)) => {
                    let (low, high) = (i256::from_i128(low), i256::from_i128(high));
                    let between = if *fraction == 0.5 {
                        low.wrapping_add(high).wrapping_div(i256::from_i128(2))
                    } else {
                        let part = high.wrapping_sub(low).wrapping_mul(i256::from_i128(weight as i128));
                        low.wrapping_add(part.wrapping_div(i256::from_i128(1_000_000)))
                    };
                    expect(V::Int(between.to_i128().unwrap()))
                }
                other => panic!("no percentile of {other:?}"),
            }
        }
        F::ApproxPercentile { fraction } => {
            if values.is_empty() {
                return expect(V::Null);
            }
            let exact = values[(fraction * (values.len() - 1) as f64).floor() as usize].float();
            let near = result.float();
            let fine = near == exact || (near.is_nan() && exact.is_nan()) || (near - exact).abs() <= 0.01 * exact.abs() + f64::MIN_POSITIVE;
            if fine { Ok(()) } else { Err(format!("{near} is not near {exact}")) }
        }
        F::Firing(_) => panic!("not computed from rows"),
    }
}

/// The rows an aggregate counts: without nulls, and once each if distinct.
fn relevant(plan: &AggregatePlan, rows: &[Row]) -> Vec<Row> {
    let mut kept: Vec<Row> = rows
        .iter()
        .filter(|row| match &plan.function {
            F::ArrayAgg { ignore_nulls } | F::FirstValue { ignore_nulls } | F::LastValue { ignore_nulls } => {
                !ignore_nulls || !row.args[0].is_null()
            }
            F::ArgMin | F::ArgMax => !row.args[1].is_null(),
            _ => row.args.iter().all(|v| !v.is_null()),
        })
        .cloned()
        .collect();
    if plan.distinct && !matches!(plan.function, F::ArrayAgg { .. } | F::StringAgg { .. }) {
        let mut once: Vec<Row> = Vec::new();
        for row in kept {
            if !once.iter().any(|other| other.args.iter().zip(&row.args).all(|(a, b)| a.same(b))) {
                once.push(Row { times: 1, ..row });
            }
        }
        kept = once;
    }
    kept
}

/// By ORDER BY, then by value.
fn ordered(plan: &AggregatePlan, rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| {
        for (key, (x, y)) in plan.order_by.iter().zip(a.order.iter().zip(&b.order)) {
            let order = match (x.is_null(), y.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) => {
                    if key.nulls_first {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                (false, true) => {
                    if key.nulls_first {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
                }
                (false, false) => {
                    if key.descending {
                        y.order(x)
                    } else {
                        x.order(y)
                    }
                }
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        a.args[0].order(&b.args[0])
    });
    rows
}

/// The sum of specials, if there are any.
fn special(rows: &[Row]) -> Option<f64> {
    let specials: Vec<f64> =
        rows.iter().filter_map(|row| if let V::Float(x) = row.args[0] { Some(x) } else { None }).filter(|x| !x.is_finite()).collect();
    if specials.is_empty() { None } else { Some(specials.iter().sum()) }
}

fn float_quotient(plan: &AggregatePlan, rows: &[Row], count: i64, result: &V) -> Result<(), String> {
    let divisor = if plan.function == F::Avg { count as u128 } else { 1 };
    if let Some(special) = special(rows) {
        return if V::Float(special).same(result) { Ok(()) } else { Err(format!("{result:?} instead of {special}")) };
    }
    let mut sum = Naive::new();
    for row in rows {
        match row.args[0] {
            V::Float(x) => sum.add_float(x, row.times),
            V::Int(x) => sum.add(x < 0, x.unsigned_abs(), 0, row.times),
            ref other => panic!("no sum of {other:?}"),
        }
    }
    let (negative, digits) = sum.digits();
    let result = result.float();
    if is_nearest(&digits, UNIT, divisor, result) && (result == 0.0 || (result < 0.0) == negative) {
        Ok(())
    } else {
        Err(format!("{result} is not the nearest to the exact result"))
    }
}

fn spread(plan: &AggregatePlan, rows: &[Row], count: i64, result: &V) -> Result<(), String> {
    let sample = matches!(plan.function, F::VarSamp | F::StddevSamp);
    let divisor = count - i64::from(sample);
    if divisor == 0 {
        return if result.is_null() { Ok(()) } else { Err(format!("{result:?} of one value")) };
    }
    let result = result.float();
    if special(rows).is_some() {
        return if result.is_nan() { Ok(()) } else { Err(format!("{result} of specials")) };
    }
    // count² · variance = the sum over pairs of (x − y)².
    let mut naive = Naive::new();
    for (i, a) in rows.iter().enumerate() {
        for b in &rows[..i] {
            naive.add_squared_difference(a.args[0].float(), b.args[0].float(), a.times * b.times);
        }
    }
    let digits = naive.digits().1;
    let denominator = count as u128 * divisor as u128;
    let fine = if matches!(plan.function, F::VarPop | F::VarSamp) {
        is_nearest(&digits, UNIT, denominator, result)
    } else {
        // The variance lies between the squares of the result's neighbours.
        super::super::super::exact_sum::tests::is_nearest_root(&digits, UNIT, denominator, result)
    };
    if fine { Ok(()) } else { Err(format!("{result} is not the nearest spread")) }
}
