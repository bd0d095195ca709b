//! Primitive values as bits: equal values, equal bits, with every NaN the same one.

use half::f16;

use super::value_set::Bits;

/// A native value as bits and back.
pub(super) trait AsBits: Copy {
    /// The bits.
    type Bits: Bits;
    /// To bits.
    fn bits(self) -> Self::Bits;
    /// From bits.
    fn from_bits(bits: Self::Bits) -> Self;
}

macro_rules! integers {
    ($($native:ty => $bits:ty),*) => {
        $(impl AsBits for $native {
            type Bits = $bits;
            #[inline(always)]
            fn bits(self) -> $bits {
                self as $bits
            }
            #[inline(always)]
            fn from_bits(bits: $bits) -> Self {
                bits as $native
            }
        })*
    };
}
integers!(i8 => u64, i16 => u64, i32 => u64, i64 => u64, u8 => u64, u16 => u64, u32 => u64, u64 => u64, i128 => u128);

macro_rules! floats {
    ($($native:ty),*) => {
        $(impl AsBits for $native {
            type Bits = u64;
            #[inline(always)]
            fn bits(self) -> u64 {
                (if self.is_nan() { Self::NAN } else { self }).to_bits().into()
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                Self::from_bits(bits as _)
            }
        })*
    };
}
floats!(f16, f32, f64);

/// Calls a macro with the type of primitive values that have bits, or gives the other value.
macro_rules! with_bits_type {
    ($data_type:expr, $call:ident, $otherwise:expr) => {{
        use arrow::datatypes::*;
        match $data_type {
            DataType::Int8 => $call!(Int8Type),
            DataType::Int16 => $call!(Int16Type),
            DataType::Int32 => $call!(Int32Type),
            DataType::Int64 => $call!(Int64Type),
            DataType::UInt8 => $call!(UInt8Type),
            DataType::UInt16 => $call!(UInt16Type),
            DataType::UInt32 => $call!(UInt32Type),
            DataType::UInt64 => $call!(UInt64Type),
            DataType::Float16 => $call!(Float16Type),
            DataType::Float32 => $call!(Float32Type),
            DataType::Float64 => $call!(Float64Type),
            DataType::Date32 => $call!(Date32Type),
            DataType::Date64 => $call!(Date64Type),
            DataType::Time32(TimeUnit::Second) => $call!(Time32SecondType),
            DataType::Time32(TimeUnit::Millisecond) => $call!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => $call!(Time64MicrosecondType),
            DataType::Time64(TimeUnit::Nanosecond) => $call!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => $call!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => $call!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $call!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $call!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => $call!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $call!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $call!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $call!(DurationNanosecondType),
            DataType::Decimal32(..) => $call!(Decimal32Type),
            DataType::Decimal64(..) => $call!(Decimal64Type),
            DataType::Decimal128(..) => $call!(Decimal128Type),
            _ => $otherwise,
        }
    }};
}
pub(super) use with_bits_type;
