//! Integers of any width as columns of the output's type, with an error for each that does not fit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit,
    IntervalYearMonthType, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};

use crate::state::wide::{Limbs, bit_length};

/// An integer as sign and magnitude.
pub(super) type Signed = (bool, Limbs);

/// Proof that a type can hold integers.
pub(super) struct IntegerOutput;

impl IntegerOutput {
    /// Whether [`integer_array`] can make the type.
    pub(super) fn new(output: &DataType) -> Result<Self, String> {
        match output {
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Duration(_)
            | DataType::Interval(IntervalUnit::YearMonth) => Ok(Self),
            other => Err(format!("a sum of integers or decimals cannot be {other}")),
        }
    }
}

/// A column of `output`, null where there is no integer or it does not fit; `name` starts the error's text.
///
/// # Panics
/// If the type holds no integers ([`IntegerOutput::new`] tells).
pub(super) fn integer_array(
    output: &DataType,
    name: &str,
    integers: impl Iterator<Item = Option<Signed>>,
    errors: &mut Vec<(usize, String)>,
) -> ArrayRef {
    let mut fail = |row: usize| errors.push((row, format!("{name} does not fit in {output}")));
    macro_rules! small {
        ($type:ty) => {
            build::<$type>(output, integers, |signed| to_i128(signed).and_then(|value| value.try_into().ok()), &mut fail)
        };
    }
    macro_rules! decimal {
        ($type:ty, $precision:expr, $scale:expr) => {
            build::<$type>(
                output,
                integers,
                |signed| {
                    let value = to_i128(signed).and_then(|value| value.try_into().ok())?;
                    <$type>::validate_decimal_precision(value, $precision, $scale).ok().map(|()| value)
                },
                &mut fail,
            )
        };
    }
    match *output {
        DataType::Int8 => small!(Int8Type),
        DataType::Int16 => small!(Int16Type),
        DataType::Int32 => small!(Int32Type),
        DataType::Int64 => small!(Int64Type),
        DataType::UInt8 => small!(UInt8Type),
        DataType::UInt16 => small!(UInt16Type),
        DataType::UInt32 => small!(UInt32Type),
        DataType::UInt64 => small!(UInt64Type),
        DataType::Interval(IntervalUnit::YearMonth) => small!(IntervalYearMonthType),
        DataType::Duration(TimeUnit::Second) => small!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => small!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => small!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => small!(DurationNanosecondType),
        DataType::Decimal32(precision, scale) => decimal!(Decimal32Type, precision, scale),
        DataType::Decimal64(precision, scale) => decimal!(Decimal64Type, precision, scale),
        DataType::Decimal128(precision, scale) => decimal!(Decimal128Type, precision, scale),
        DataType::Decimal256(precision, scale) => build::<Decimal256Type>(
            output,
            integers,
            |signed| {
                let value = to_i256(signed)?;
                Decimal256Type::validate_decimal_precision(value, precision, scale).ok().map(|()| value)
            },
            &mut fail,
        ),
        ref other => unreachable!("a sum of integers as {other}"),
    }
}

fn build<T: ArrowPrimitiveType>(
    output: &DataType,
    integers: impl Iterator<Item = Option<Signed>>,
    convert: impl Fn(&Signed) -> Option<T::Native>,
    fail: &mut impl FnMut(usize),
) -> ArrayRef {
    let values = integers.enumerate().map(|(row, integer)| {
        let integer = integer?;
        let value = convert(&integer);
        if value.is_none() {
            fail(row);
        }
        value
    });
    let array = values.collect::<PrimitiveArray<T>>().with_data_type(output.clone());
    assert!(array.data_type() == output, "the array has the output's type");
    Arc::new(array)
}

/// The low 128 bits without sign.
fn low(limbs: &[u64], at: usize) -> u128 {
    let get = |i: usize| u128::from(limbs.get(i).copied().unwrap_or(0));
    get(at) | (get(at + 1) << 64)
}

fn to_i128((negative, limbs): &Signed) -> Option<i128> {
    if bit_length(limbs) > 128 {
        return None;
    }
    let magnitude = low(limbs, 0);
    if *negative { 0i128.checked_sub_unsigned(magnitude) } else { i128::try_from(magnitude).ok() }
}

fn to_i256((negative, limbs): &Signed) -> Option<i256> {
    if bit_length(limbs) > 255 {
        return None;
    }
    let magnitude = i256::from_parts(low(limbs, 0), low(limbs, 2) as i128);
    Some(if *negative { magnitude.wrapping_neg() } else { magnitude })
}
