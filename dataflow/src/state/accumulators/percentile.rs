//! Exact percentiles: interpolation between ranks as DataFusion's `median` and `percentile_cont`, and the append-only state.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, PrimitiveBuilder};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use half::f16;

use super::lists::{Lists, list_type, lists};
use super::order::Ordered;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// Weights are cut to six digits, as DataFusion does.
const WEIGHT_DIGITS: f64 = 1_000_000.0;

/// A value between two, of the type's own arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interpolate<T: ArrowPrimitiveType> {
    /// Half way.
    middle: fn(T::Native, T::Native) -> T::Native,
    /// From the first to the second, by millionths.
    between: fn(T::Native, T::Native, u32) -> T::Native,
}

impl<T: ArrowPrimitiveType> Interpolate<T>
where
    T::Native: Interpolated,
{
    pub(super) fn new() -> Self {
        Self { middle: T::Native::middle, between: T::Native::between }
    }
}

impl<T: ArrowPrimitiveType> Interpolate<T> {
    /// The value at `fraction` of `count` values, of which `nth` gives the one of a rank.
    pub(super) fn at(&self, fraction: f64, count: usize, nth: impl Fn(usize) -> Option<T::Native>) -> Option<T::Native> {
        let last = count.checked_sub(1)?;
        if fraction == 0.5 {
            return if last % 2 == 0 { nth(last / 2) } else { Some((self.middle)(nth(last / 2)?, nth(last / 2 + 1)?)) };
        }
        let position = fraction * last as f64;
        let (below, above) = (position.floor() as usize, position.ceil() as usize);
        if below == above {
            return nth(below);
        }
        let weight = ((position - below as f64) * WEIGHT_DIGITS) as u32;
        Some((self.between)(nth(below)?, nth(above)?, weight))
    }
}

/// Values one can interpolate between.
pub(super) trait Interpolated: Ordered {
    /// Half way, towards zero where there is none.
    fn middle(low: Self, high: Self) -> Self;
    /// `low + (high − low) · millionths / 10^6`.
    fn between(low: Self, high: Self, millionths: u32) -> Self;
}

macro_rules! float {
    ($native:ty, $from:expr, $to:expr) => {
        impl Interpolated for $native {
            fn middle(low: Self, high: Self) -> Self {
                $to(f64::midpoint($from(low), $from(high)))
            }
            fn between(low: Self, high: Self, millionths: u32) -> Self {
                let (low, high) = ($from(low), $from(high));
                $to(low + (high - low) * (f64::from(millionths) / WEIGHT_DIGITS))
            }
        }
    };
}
float!(f64, |x: f64| x, |x: f64| x);
float!(f32, f64::from, |x: f64| x as f32);
float!(f16, f64::from, f16::from_f64);

macro_rules! integer {
    ($($native:ty),*) => {
        $(impl Interpolated for $native {
            fn middle(low: Self, high: Self) -> Self {
                ((i128::from(low) + i128::from(high)) / 2) as $native
            }
            fn between(low: Self, high: Self, millionths: u32) -> Self {
                let (low, high) = (i128::from(low), i128::from(high));
                (low + (high - low) * i128::from(millionths) / 1_000_000) as $native
            }
        })*
    };
}
integer!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Interpolated for i128 {
    fn middle(low: Self, high: Self) -> Self {
        i256::middle(i256::from_i128(low), i256::from_i128(high)).as_i128()
    }
    fn between(low: Self, high: Self, millionths: u32) -> Self {
        i256::between(i256::from_i128(low), i256::from_i128(high), millionths).as_i128()
    }
}

impl Interpolated for i256 {
    fn middle(low: Self, high: Self) -> Self {
        let two = i256::from_i128(2);
        // Decimals of 76 digits leave room for a sum.
        low.wrapping_add(high).wrapping_div(two)
    }
    fn between(low: Self, high: Self, millionths: u32) -> Self {
        let million = i256::from_i128(1_000_000);
        let apart = high.wrapping_sub(low);
        let by = i256::from_i128(millionths.into());
        // In two parts, so that 76 digits do not overflow.
        let whole = apart.wrapping_div(million).wrapping_mul(by);
        let rest = apart.wrapping_rem(million).wrapping_mul(by).wrapping_div(million);
        low.wrapping_add(whole).wrapping_add(rest)
    }
}

/// Calls a macro with the type of primitive values that have percentiles, or gives the other value.
macro_rules! with_percentile_type {
    ($data_type:expr, $call:ident, $otherwise:expr) => {
        match $data_type {
            DataType::Float16 => $call!(Float16Type),
            DataType::Float32 => $call!(Float32Type),
            DataType::Float64 => $call!(Float64Type),
            DataType::Int8 => $call!(Int8Type),
            DataType::Int16 => $call!(Int16Type),
            DataType::Int32 => $call!(Int32Type),
            DataType::Int64 => $call!(Int64Type),
            DataType::UInt8 => $call!(UInt8Type),
            DataType::UInt16 => $call!(UInt16Type),
            DataType::UInt32 => $call!(UInt32Type),
            DataType::UInt64 => $call!(UInt64Type),
            DataType::Decimal32(..) => $call!(Decimal32Type),
            DataType::Decimal64(..) => $call!(Decimal64Type),
            DataType::Decimal128(..) => $call!(Decimal128Type),
            DataType::Decimal256(..) => $call!(Decimal256Type),
            _ => $otherwise,
        }
    };
}

/// An accumulator of percentiles.
pub(super) fn percentile(fraction: f64, value_type: &DataType, retractable: bool) -> Result<Box<dyn Accumulator>, String> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(format!("a percentile's fraction is between 0 and 1, not {fraction}"));
    }
    macro_rules! build {
        ($type:ty) => {
            if retractable {
                let pick = super::ordered::Pick::Fraction(fraction, Interpolate::<$type>::new());
                Ok(Box::new(super::ordered::OrderedValues::<$type>::new(pick, value_type.clone())))
            } else {
                Ok(Box::new(Percentile::<$type>::new(fraction, value_type.clone())))
            }
        };
    }
    with_percentile_type!(value_type, build, Err(format!("no percentile of {value_type}")))
}

/// All values of each group, append-only; ordered when asked.
struct Percentile<T: ArrowPrimitiveType> {
    values: Vec<Vec<T::Native>>,
    heap: usize,
    fraction: f64,
    interpolate: Interpolate<T>,
    value_type: DataType,
}

impl<T: ArrowPrimitiveType> Percentile<T>
where
    T::Native: Interpolated,
{
    fn new(fraction: f64, value_type: DataType) -> Self {
        Self { values: Vec::new(), heap: 0, fraction, interpolate: Interpolate::new(), value_type }
    }

    fn take(&mut self, rows: &Rows<'_>, values: &[T::Native]) {
        let Self { values: state, heap, .. } = self;
        let state = state.as_mut_slice();
        rows.for_each(|row, group, diff| {
            assert!(diff > 0, "append-only input takes nothing back");
            let own = &mut state[group];
            let before = own.capacity();
            if diff == 1 {
                own.push(values[row]);
            } else {
                own.resize(own.len() + diff as usize, values[row]);
            }
            *heap += (own.capacity() - before) * size_of::<T::Native>();
        });
    }
}

impl<T: ArrowPrimitiveType> Accumulator for Percentile<T>
where
    T::Native: Interpolated,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.values.len() {
            self.values.resize_with(groups, Vec::new);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        self.take(&Rows::new(groups, diffs, input.filter, &input.args[..1]), values);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![list_type(&self.value_type)]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let lengths: Vec<usize> = groups.iter().map(|&group| self.values[group as usize].len()).collect();
        let mut values = PrimitiveBuilder::<T>::with_capacity(lengths.iter().sum());
        for &group in groups {
            values.append_slice(&self.values[group as usize]);
        }
        vec![lists(&lengths, Arc::new(values.finish().with_data_type(self.value_type.clone())))]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let flat = Lists::new(groups, &partials[0]);
        self.take(&Rows::masked(&flat.groups, None, None), flat.values.as_primitive::<T>().values());
    }

    fn invertible(&self) -> bool {
        false
    }

    fn subtract(&mut self, _groups: &[u32], _partials: &[ArrayRef]) {
        unreachable!("an append-only percentile is not invertible");
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let mut keys = Vec::new();
        let results = groups.iter().map(|&group| {
            let values = &self.values[group as usize];
            keys.clear();
            keys.extend(values.iter().map(|value| value.key()));
            // The two ranks that can be asked for: one selection, then the least of what is above.
            let last = keys.len().checked_sub(1)?;
            let below = if self.fraction == 0.5 { last / 2 } else { (self.fraction * last as f64).floor() as usize };
            let (_, &mut low, rest) = keys.select_nth_unstable(below);
            let high = rest.iter().min().copied();
            self.interpolate.at(self.fraction, last + 1, |rank| Some(T::Native::value(if rank == below { low } else { high? })))
        });
        let results: PrimitiveArray<T> = results.collect();
        let results = results.with_data_type(self.value_type.clone());
        assert!(results.data_type() == &self.value_type, "values keep their type");
        Arc::new(results)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let values = std::mem::take(&mut self.values[group as usize]);
            self.heap -= values.capacity() * size_of::<T::Native>();
        }
    }

    fn reset(&mut self) {
        self.values.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Vec<T::Native>>() + self.heap
    }
}
