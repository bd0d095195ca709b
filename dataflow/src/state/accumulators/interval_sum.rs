//! Sums of intervals of several parts: each part is summed by itself, exactly.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, IntervalDayTime, IntervalMonthDayNano};

use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// An interval of parts.
pub(super) trait Parts: Copy + Send + 'static {
    /// Its parts; those it does not have are zero.
    fn parts(self) -> [i64; 3];
    /// From parts, if they fit.
    fn from_parts(parts: [i128; 3]) -> Option<Self>;
}

impl Parts for IntervalDayTime {
    fn parts(self) -> [i64; 3] {
        [0, self.days.into(), self.milliseconds.into()]
    }
    fn from_parts([_, days, milliseconds]: [i128; 3]) -> Option<Self> {
        Some(Self { days: days.try_into().ok()?, milliseconds: milliseconds.try_into().ok()? })
    }
}

impl Parts for IntervalMonthDayNano {
    fn parts(self) -> [i64; 3] {
        [self.months.into(), self.days.into(), self.nanoseconds]
    }
    fn from_parts([months, days, nanoseconds]: [i128; 3]) -> Option<Self> {
        Some(Self { months: months.try_into().ok()?, days: days.try_into().ok()?, nanoseconds: nanoseconds.try_into().ok()? })
    }
}

/// Sums of intervals of type `T`.
pub(super) struct IntervalSum<T> {
    states: Vec<([i128; 3], i64)>,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> IntervalSum<T>
where
    T::Native: Parts,
{
    pub(super) fn new(output: DataType) -> Result<Self, String> {
        if output != T::DATA_TYPE {
            return Err(format!("a sum of {} cannot be {output}", T::DATA_TYPE));
        }
        Ok(Self { states: Vec::new(), output, value: PhantomData })
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let counts = partials[3].as_primitive::<Int64Type>().values();
        for (&group, &count) in groups.iter().zip(counts) {
            self.states[group as usize].1 += sign * count;
        }
        for (at, partial) in partials[..3].iter().enumerate() {
            for (&group, &part) in groups.iter().zip(partial.as_primitive::<Decimal128Type>().values()) {
                let own = &mut self.states[group as usize].0[at];
                *own = own.wrapping_add(part.wrapping_mul(sign.into()));
            }
        }
    }
}

impl<T: ArrowPrimitiveType> Accumulator for IntervalSum<T>
where
    T::Native: Parts,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize(groups, ([0; 3], 0));
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        let states = self.states.as_mut_slice();
        Rows::new(groups, diffs, input.filter, &input.args[..1]).for_each(|row, group, diff| {
            let (sums, count) = &mut states[group];
            for (sum, part) in sums.iter_mut().zip(values[row].parts()) {
                *sum = sum.wrapping_add(i128::from(part).wrapping_mul(diff.into()));
            }
            *count += diff;
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        let part = DataType::Decimal128(38, 0);
        vec![part.clone(), part.clone(), part, DataType::Int64]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let states = || groups.iter().map(|&group| self.states[group as usize]);
        let part = |at: usize| -> ArrayRef {
            let sums = Decimal128Array::from_iter_values(states().map(|(sums, _)| sums[at]));
            Arc::new(sums.with_data_type(DataType::Decimal128(38, 0)))
        };
        vec![part(0), part(1), part(2), Arc::new(states().map(|(_, count)| count).collect::<Int64Array>())]
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

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let results = groups.iter().enumerate().map(|(at, &group)| {
            let (sums, count) = self.states[group as usize];
            if count <= 0 {
                return None;
            }
            let result = T::Native::from_parts(sums);
            if result.is_none() {
                errors.push((at, format!("sum does not fit in {}", self.output)));
            }
            result
        });
        Arc::new(results.collect::<PrimitiveArray<T>>())
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.states[group as usize] = ([0; 3], 0);
        }
    }

    fn reset(&mut self) {
        self.states.clear();
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<([i128; 3], i64)>()
    }
}
