//! # Accumulators
//!
//! The state of every aggregate function, struct-of-arrays over groups. [`accumulator`] chooses by function, type and whether rows
//! may be taken back:
//!
//! | functions | append-only | retractable |
//! |---|---|---|
//! | count, sum, avg, variance, bool, bit_xor, approx_percentile | exact sums and counts | the same |
//! | bit_and, bit_or | bits | a counter per bit |
//! | min, max, first, last, arg_min, arg_max | the best one | counted ordered multiset |
//! | array_agg, string_agg | counted ordered multiset | the same |
//! | percentile | list of values | counted ordered multiset |
//! | approx_distinct | HyperLogLog | counted set (exact) |
//! | DISTINCT of the first row and of percentile | set in front | counted set in front |
//!
//! Nulls: all but count(*), array_agg, first and last leave them out; arg_min and arg_max leave out rows whose second argument is
//! null. Floats: NaN is one value, greater than all others; the zeros are equal to arithmetic and apart for DISTINCT, min and max.

mod approx_distinct;
mod approx_percentile;
mod best_bytes;
mod bits;
mod bits_of;
mod bools;
mod byte_key;
mod codec;
mod count;
mod distinct;
mod float_sum;
mod hash;
mod interval_sum;
mod lists;
mod min_max;
mod multiset;
mod order;
mod ordered;
mod ordered_bytes;
mod percentile;
mod row_input;
mod row_set;
mod rows;
mod sum;
mod value_set;
mod variance;
mod wide_output;

#[cfg(test)]
mod tests;

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::*;
use tidemark_planner::plan::{AggregateFunction, AggregatePlan};

use self::bits::{BitOperation, CountedBits, PlainBits};
use self::min_max::Best;
use self::ordered::{OrderedValues, Pick};
use self::ordered_bytes::{OrderedBytes, PickRows};
use self::row_input::{RowInput, argument};
use self::sum::{Mean, Sum};
use super::accumulator::Accumulator;

/// The accumulator for an aggregate of a plan.
///
/// # Errors
/// When the function is not defined for the plan's types; the planner should have refused or coerced them.
pub fn accumulator(plan: &AggregatePlan) -> Result<Box<dyn Accumulator>, String> {
    use AggregateFunction as F;
    let output = plan.output.data_type().clone();
    // DISTINCT changes nothing for functions that do not count multiplicity; lists and texts see to it themselves.
    let distinct_matters =
        matches!(plan.function, F::Count | F::Sum | F::Avg | F::VarPop | F::VarSamp | F::StddevPop | F::StddevSamp | F::BitXor)
            || matches!(plan.function, F::Percentile { .. } | F::ApproxPercentile { .. });
    if plan.distinct && distinct_matters && !plan.arg_types.is_empty() {
        let below = match plan.function {
            F::Count => None,
            _ => Some(accumulator(&AggregatePlan { distinct: false, ..plan.clone() })?),
        };
        return distinct::distinct(&plan.arg_types, below, plan.retractable, output);
    }
    match &plan.function {
        F::Count => Ok(Box::new(count::Count::new(output))),
        F::Sum => sum(plan, false),
        F::Avg => sum(plan, true),
        F::Min => min_max::<false>(plan),
        F::Max => min_max::<true>(plan),
        F::VarPop => variance(plan, false, false),
        F::VarSamp => variance(plan, true, false),
        F::StddevPop => variance(plan, false, true),
        F::StddevSamp => variance(plan, true, true),
        F::BoolAnd | F::BoolOr => match argument(plan, 0)? {
            DataType::Boolean => Ok(Box::new(bools::Bools::new(plan.function == F::BoolOr, output))),
            other => Err(format!("{} of {other}", plan.text)),
        },
        F::BitAnd => bit(plan, BitOperation::And),
        F::BitOr => bit(plan, BitOperation::Or),
        F::BitXor => bit(plan, BitOperation::Xor),
        F::ArrayAgg { ignore_nulls } => match output {
            DataType::List(_) => {
                Ok(Box::new(OrderedBytes::new(RowInput::ordered(plan, *ignore_nulls)?, PickRows::List, plan.distinct, output)))
            }
            other => Err(format!("{} cannot be {other}", plan.text)),
        },
        F::StringAgg { delimiter } => match argument(plan, 0)? {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let pick = PickRows::Text { delimiter: delimiter.clone() };
                Ok(Box::new(OrderedBytes::new(RowInput::ordered(plan, true)?, pick, plan.distinct, output)))
            }
            other => Err(format!("{} of {other}", plan.text)),
        },
        F::FirstValue { ignore_nulls } => Ok(best_row(RowInput::ordered(plan, *ignore_nulls)?, false, plan)),
        F::LastValue { ignore_nulls } => Ok(best_row(RowInput::ordered(plan, *ignore_nulls)?, true, plan)),
        F::ArgMin => Ok(best_row(RowInput::by_argument(plan, false)?, false, plan)),
        F::ArgMax => Ok(best_row(RowInput::by_argument(plan, true)?, false, plan)),
        F::ApproxDistinct if plan.retractable => distinct::distinct(&[argument(plan, 0)?.clone()], None, true, output),
        F::ApproxDistinct => Ok(Box::new(approx_distinct::ApproxDistinct::new(argument(plan, 0)?, output)?)),
        F::Percentile { fraction } => percentile::percentile(*fraction, argument(plan, 0)?, plan.retractable),
        F::ApproxPercentile { fraction } => match argument(plan, 0)? {
            DataType::Float64 => Ok(Box::new(approx_percentile::ApproxPercentile::<Float64Type>::new(*fraction, output)?)),
            DataType::Float32 => Ok(Box::new(approx_percentile::ApproxPercentile::<Float32Type>::new(*fraction, output)?)),
            DataType::Float16 => Ok(Box::new(approx_percentile::ApproxPercentile::<Float16Type>::new(*fraction, output)?)),
            other => Err(format!("{} of {other}", plan.text)),
        },
        F::Firing(column) => Err(format!("{} is not computed from rows", column.name())),
    }
}

/// Results as the output's type.
fn finish(results: ArrayRef, output: &DataType) -> ArrayRef {
    if results.data_type() == output { results } else { cast(&results, output).expect("results cast to the planned type") }
}

fn sum(plan: &AggregatePlan, mean: bool) -> Result<Box<dyn Accumulator>, String> {
    let output = plan.output.data_type().clone();
    let integer_mean = |scale: i8, result_scale: i8| {
        let digits = u32::try_from(i32::from(result_scale) - i32::from(scale));
        digits.map(|digits| Mean::Integer { digits }).map_err(|_| format!("{} loses digits as {output}", plan.text))
    };
    let kind = match (argument(plan, 0)?, &output, mean) {
        (_, _, false) => Mean::No,
        (DataType::Decimal32(_, scale), DataType::Decimal32(_, result), true)
        | (DataType::Decimal64(_, scale), DataType::Decimal64(_, result), true)
        | (DataType::Decimal128(_, scale), DataType::Decimal128(_, result), true)
        | (DataType::Decimal256(_, scale), DataType::Decimal256(_, result), true) => integer_mean(*scale, *result)?,
        (DataType::Duration(from), DataType::Duration(to), true) if from == to => Mean::Integer { digits: 0 },
        (_, _, true) => Mean::Float,
    };
    // A sum's scale is that of its values.
    match (argument(plan, 0)?, &output, mean) {
        (
            DataType::Decimal32(_, from) | DataType::Decimal64(_, from) | DataType::Decimal128(_, from) | DataType::Decimal256(_, from),
            to,
            false,
        ) => match to {
            DataType::Decimal32(_, to) | DataType::Decimal64(_, to) | DataType::Decimal128(_, to) | DataType::Decimal256(_, to)
                if to == from => {}
            _ => return Err(format!("{} cannot be {output}", plan.text)),
        },
        (DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..), _, true)
            if matches!(kind, Mean::Float) =>
        {
            return Err(format!("{} cannot be {output}", plan.text));
        }
        _ => {}
    }
    macro_rules! build {
        ($type:ty, $limbs:literal) => {
            Ok(Box::new(Sum::<$type, $limbs>::new(kind, output)?))
        };
    }
    match argument(plan, 0)? {
        DataType::Int8 => build!(Int8Type, 2),
        DataType::Int16 => build!(Int16Type, 2),
        DataType::Int32 => build!(Int32Type, 2),
        DataType::Int64 => build!(Int64Type, 2),
        DataType::UInt8 => build!(UInt8Type, 2),
        DataType::UInt16 => build!(UInt16Type, 2),
        DataType::UInt32 => build!(UInt32Type, 2),
        DataType::UInt64 => build!(UInt64Type, 2),
        DataType::Decimal32(..) => build!(Decimal32Type, 2),
        DataType::Decimal64(..) => build!(Decimal64Type, 2),
        DataType::Decimal128(..) => build!(Decimal128Type, 3),
        DataType::Decimal256(..) => build!(Decimal256Type, 5),
        DataType::Duration(TimeUnit::Second) => build!(DurationSecondType, 2),
        DataType::Duration(TimeUnit::Millisecond) => build!(DurationMillisecondType, 2),
        DataType::Duration(TimeUnit::Microsecond) => build!(DurationMicrosecondType, 2),
        DataType::Duration(TimeUnit::Nanosecond) => build!(DurationNanosecondType, 2),
        DataType::Interval(IntervalUnit::YearMonth) if !mean => build!(IntervalYearMonthType, 2),
        DataType::Interval(IntervalUnit::DayTime) if !mean => Ok(Box::new(interval_sum::IntervalSum::<IntervalDayTimeType>::new(output)?)),
        DataType::Interval(IntervalUnit::MonthDayNano) if !mean => {
            Ok(Box::new(interval_sum::IntervalSum::<IntervalMonthDayNanoType>::new(output)?))
        }
        DataType::Float16 => Ok(Box::new(float_sum::FloatSums::<Float16Type>::new(mean, output)?)),
        DataType::Float32 => Ok(Box::new(float_sum::FloatSums::<Float32Type>::new(mean, output)?)),
        DataType::Float64 => Ok(Box::new(float_sum::FloatSums::<Float64Type>::new(mean, output)?)),
        other => Err(format!("{} of {other}", plan.text)),
    }
}

fn variance(plan: &AggregatePlan, sample: bool, root: bool) -> Result<Box<dyn Accumulator>, String> {
    let output = plan.output.data_type().clone();
    match argument(plan, 0)? {
        DataType::Float16 => Ok(Box::new(variance::Variance::<Float16Type>::new(sample, root, output)?)),
        DataType::Float32 => Ok(Box::new(variance::Variance::<Float32Type>::new(sample, root, output)?)),
        DataType::Float64 => Ok(Box::new(variance::Variance::<Float64Type>::new(sample, root, output)?)),
        other => Err(format!("{} of {other}", plan.text)),
    }
}

fn bit(plan: &AggregatePlan, operation: BitOperation) -> Result<Box<dyn Accumulator>, String> {
    let output = plan.output.data_type().clone();
    macro_rules! build {
        ($type:ty) => {
            if plan.retractable && operation != BitOperation::Xor {
                Ok(Box::new(CountedBits::<$type>::new(operation == BitOperation::Or, output)))
            } else {
                Ok(Box::new(PlainBits::<$type>::new(operation, output)))
            }
        };
    }
    match argument(plan, 0)? {
        DataType::Int8 => build!(Int8Type),
        DataType::Int16 => build!(Int16Type),
        DataType::Int32 => build!(Int32Type),
        DataType::Int64 => build!(Int64Type),
        DataType::UInt8 => build!(UInt8Type),
        DataType::UInt16 => build!(UInt16Type),
        DataType::UInt32 => build!(UInt32Type),
        DataType::UInt64 => build!(UInt64Type),
        other => Err(format!("{} of {other}", plan.text)),
    }
}

fn best_row(input: RowInput, greatest: bool, plan: &AggregatePlan) -> Box<dyn Accumulator> {
    if plan.retractable {
        let pick = if greatest { PickRows::Last } else { PickRows::First };
        Box::new(OrderedBytes::new(input, pick, false, plan.output.data_type().clone()))
    } else {
        Box::new(best_bytes::BestBytes::new(input, greatest))
    }
}

fn min_max<const GREATEST: bool>(plan: &AggregatePlan) -> Result<Box<dyn Accumulator>, String> {
    let (value_type, output) = (argument(plan, 0)?, plan.output.data_type().clone());
    if value_type == &DataType::Boolean {
        // False is less than true.
        return Ok(Box::new(bools::Bools::new(GREATEST, output)));
    }
    macro_rules! build {
        ($type:ty) => {
            if *value_type != output {
                Err(format!("{} cannot be {output}", plan.text))
            } else if plan.retractable {
                let pick: Pick<$type> = if GREATEST { Pick::Greatest } else { Pick::Least };
                Ok(Box::new(OrderedValues::<$type>::new(pick, output)))
            } else {
                Ok(Box::new(Best::<$type, GREATEST>::new(output)))
            }
        };
    }
    bits_of::with_bits_type!(
        value_type,
        build,
        match value_type {
            DataType::Decimal256(..) => build!(Decimal256Type),
            DataType::Interval(IntervalUnit::YearMonth) => build!(IntervalYearMonthType),
            DataType::Interval(IntervalUnit::DayTime) => build!(IntervalDayTimeType),
            DataType::Interval(IntervalUnit::MonthDayNano) => build!(IntervalMonthDayNanoType),
            _ => Ok(best_row(RowInput::values(plan)?, GREATEST, plan)),
        }
    )
}
