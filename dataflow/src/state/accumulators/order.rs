//! Keys that order primitive values by plain comparison: floats by total order with NaN (all of them one) greatest.

use arrow::datatypes::{IntervalDayTime, IntervalMonthDayNano, i256};
use half::f16;

/// A native value with a key of the same size that orders it.
pub(super) trait Ordered: Copy + Send + 'static {
    /// The key.
    type Key: Copy + Ord + Send + 'static;
    /// The least key.
    const LEAST: Self::Key;
    /// The greatest key.
    const GREATEST: Self::Key;
    /// The value's key. Equal keys are equal values, but for the payload of a NaN.
    fn key(self) -> Self::Key;
    /// The key's value.
    fn value(key: Self::Key) -> Self;
}

macro_rules! plain {
    ($($native:ty),*) => {
        $(impl Ordered for $native {
            type Key = Self;
            const LEAST: Self = Self::MIN;
            const GREATEST: Self = Self::MAX;
            #[inline(always)]
            fn key(self) -> Self {
                self
            }
            #[inline(always)]
            fn value(key: Self) -> Self {
                key
            }
        })*
    };
}
plain!(i8, i16, i32, i64, u8, u16, u32, u64, i128, i256, IntervalDayTime, IntervalMonthDayNano);

macro_rules! float {
    ($native:ty, $key:ty, $nan:expr) => {
        impl Ordered for $native {
            type Key = $key;
            const LEAST: $key = <$key>::MIN;
            const GREATEST: $key = <$key>::MAX;
            #[inline(always)]
            fn key(self) -> $key {
                let bits = if self.is_nan() { $nan } else { self.to_bits() as $key };
                // Below zero, a greater magnitude is less.
                bits ^ ((bits >> (<$key>::BITS - 1)) & <$key>::MAX)
            }
            #[inline(always)]
            fn value(key: $key) -> Self {
                <$native>::from_bits((key ^ ((key >> (<$key>::BITS - 1)) & <$key>::MAX)) as _)
            }
        }
    };
}
float!(f64, i64, 0x7ff8 << 48);
float!(f32, i32, 0x7fc0 << 16);
float!(f16, i16, 0x7e00);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_order_totally_with_nan_greatest() {
        let rising = [f64::NEG_INFINITY, f64::MIN, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.5, f64::MAX, f64::INFINITY, f64::NAN];
        for pair in rising.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
        }
        for x in rising {
            assert_eq!(f64::value(x.key()).to_bits(), x.to_bits());
            assert!(x.key() != f64::LEAST && x.key() != f64::GREATEST);
        }
        assert_eq!((-f64::NAN).key(), f64::NAN.key());
        assert!((-f32::NAN).key() > f32::INFINITY.key() && f32::value((-1.5f32).key()) == -1.5);
    }
}
