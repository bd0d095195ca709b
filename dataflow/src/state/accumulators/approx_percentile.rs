//! `approx_percentile`: a histogram whose buckets are 1/64 of their value wide, so any value in one is within 1 % of its middle.
//!
//! A bucket is the sign, exponent and first six bits of the fraction of a float: no logarithm, the same on every machine. Counts add
//! and subtract, so it takes rows back.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, AsArray, Float64Array, Int32Builder, Int64Builder};
use arrow::datatypes::{DataType, Int32Type, Int64Type};

use super::finish;
use super::float_sum::Float;
use super::lists::{Lists, list_type, lists};
use super::multiset::{Multiset, Value};
use super::order::Ordered;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// Bits of a float that do not matter.
const DROPPED: u32 = 52 - 6;

/// Buckets order as their values do.
#[inline(always)]
fn bucket(value: f64) -> i32 {
    // Both zeros are one.
    (if value == 0.0 { 0.0 } else { value }.key() >> DROPPED) as i32
}

/// The middle of a bucket.
fn middle(bucket: i32) -> f64 {
    let key = i64::from(bucket) << DROPPED;
    let (first, last) = (f64::value(key), f64::value(key | ((1 << DROPPED) - 1)));
    if bucket == 0 {
        // Zero, and what is too small to matter.
        0.0
    } else if first.is_finite() {
        first + (last - first) / 2.0
    } else if last == f64::NEG_INFINITY {
        // Below zero the value itself comes last in its bucket.
        last
    } else {
        first
    }
}

/// Histograms of values of type `T`.
pub(super) struct ApproxPercentile<T> {
    buckets: Vec<Multiset<i32, ()>>,
    heap: usize,
    fraction: f64,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: Float> ApproxPercentile<T> {
    pub(super) fn new(fraction: f64, output: DataType) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(format!("a percentile's fraction is between 0 and 1, not {fraction}"));
        }
        Ok(Self { buckets: Vec::new(), heap: 0, fraction, output, value: PhantomData })
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let buckets = Lists::new(groups, &partials[0]);
        let counts = Lists::new(groups, &partials[1]);
        let keys = buckets.values.as_primitive::<Int32Type>().values();
        let counts = counts.values.as_primitive::<Int64Type>().values();
        for ((&group, &key), &count) in buckets.groups.iter().zip(keys).zip(counts) {
            self.buckets[group as usize].add(&Value(key), sign * count, &mut self.heap);
        }
    }
}

impl<T: Float> Accumulator for ApproxPercentile<T> {
    fn resize(&mut self, groups: usize) {
        if groups > self.buckets.len() {
            self.buckets.resize_with(groups, Multiset::default);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        let Self { buckets, heap, .. } = self;
        Rows::new(groups, diffs, input.filter, &input.args[..1])
            .for_each(|row, group, diff| buckets[group].add(&Value(bucket(T::wide(values[row]))), diff, heap));
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![list_type(&DataType::Int32), list_type(&DataType::Int64)]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let (mut buckets, mut counts) = (Int32Builder::new(), Int64Builder::new());
        let mut lengths = Vec::with_capacity(groups.len());
        for &group in groups {
            let before = counts.len();
            for (bucket, (), count) in self.buckets[group as usize].iter() {
                buckets.append_value(bucket);
                counts.append_value(count);
            }
            lengths.push(counts.len() - before);
        }
        vec![lists(&lengths, Arc::new(buckets.finish())), lists(&lengths, Arc::new(counts.finish()))]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        true
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let results = groups.iter().map(|&group| {
            let buckets = &self.buckets[group as usize];
            let last = buckets.present() - 1;
            // The last rank that is not beyond the fraction.
            let rank = (self.fraction * last.max(0) as f64).floor() as i64;
            buckets.nth(rank).map(|(bucket, ())| middle(bucket))
        });
        finish(Arc::new(results.collect::<Float64Array>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.buckets[group as usize].clear(&mut self.heap);
        }
    }

    fn reset(&mut self) {
        self.buckets.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Multiset<i32, ()>>() + self.heap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_within_a_hundredth(value in any::<f64>()) {
            let middle = middle(bucket(value));
            if value.is_nan() {
                prop_assert!(middle.is_nan());
            } else if value == 0.0 || value.is_infinite() {
                prop_assert_eq!(middle, value);
            } else if value.is_normal() {
                prop_assert!((middle / value - 1.0).abs() < 0.01, "{} for {}", middle, value);
            } else {
                prop_assert!((middle - value).abs() < f64::MIN_POSITIVE);
            }
        }
    }

    #[test]
    fn ends_stand_for_themselves() {
        for value in [0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, -1.0, 1.0, f64::MIN_POSITIVE] {
            let middle = middle(bucket(value));
            assert!(middle == value || (middle / value - 1.0).abs() < 0.01, "{middle} for {value}");
        }
        assert_eq!(bucket(-0.0), bucket(0.0));
        assert!(middle(bucket(-f64::NAN)).is_nan());
    }
}
