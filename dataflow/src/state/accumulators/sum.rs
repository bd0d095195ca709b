//! Sums and means of integers and decimals: exact in limbs, judged only when evaluated.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, FixedSizeBinaryBuilder, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, i256};

use super::finish;
use super::rows::Rows;
use super::wide_output::{IntegerOutput, integer_array};
use crate::state::accumulator::{Accumulator, AggregateInput};
use crate::state::exact_sum::{Precision, ratio};
use crate::state::wide::{Wide, divide, multiply};

/// A native value of at most four limbs.
pub(super) trait Summand: Copy + Send + 'static {
    /// Sign extended to `N` limbs.
    fn wide<const N: usize>(self) -> Wide<N>;
}

macro_rules! summands {
    ($($native:ty),*) => {
        $(impl Summand for $native {
            #[inline(always)]
            fn wide<const N: usize>(self) -> Wide<N> {
                Wide::from_i128(self.into())
            }
        })*
    };
}
summands!(i8, i16, i32, i64, u8, u16, u32, u64, i128);

impl Summand for i256 {
    fn wide<const N: usize>(self) -> Wide<N> {
        let (low, high) = self.to_parts();
        Wide::from_limbs(&[low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64])
    }
}

/// What is made of a group's sum and count.
#[derive(Clone, Debug)]
pub(super) enum Mean {
    /// The sum itself.
    No,
    /// The sum times ten to this power, divided by the count, towards zero.
    Integer {
        /// Digits added to the scale.
        digits: u32,
    },
    /// The quotient, rounded once.
    Float,
}

/// Sum and count of one group. Both, because a sum over no rows is null; side by side, because a row touches both.
#[derive(Clone, Copy)]
struct State<const N: usize> {
    sum: Wide<N>,
    count: i64,
}

/// Sums of values of type `T` in `N` limbs: one more than the value needs holds any sum of 2^63 of them.
pub(super) struct Sum<T, const N: usize> {
    states: Vec<State<N>>,
    mean: Mean,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T, const N: usize> Sum<T, N>
where
    T: ArrowPrimitiveType,
    T::Native: Summand,
{
    pub(super) fn new(mean: Mean, output: DataType) -> Result<Self, String> {
        match mean {
            Mean::Float if !matches!(output, DataType::Float64 | DataType::Float32) => {
                return Err(format!("a mean of {} cannot be {output}", T::DATA_TYPE));
            }
            Mean::No | Mean::Integer { .. } => {
                IntegerOutput::new(&output)?;
            }
            Mean::Float => {}
        }
        Ok(Self { states: Vec::new(), mean, output, value: PhantomData })
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], negative: bool) {
        let counts = partials[1].as_primitive::<Int64Type>().values();
        let mut each = |row: usize, sum: Wide<N>| {
            let state = &mut self.states[groups[row] as usize];
            if negative {
                state.sum.sub(sum);
                state.count -= counts[row];
            } else {
                state.sum.add(sum);
                state.count += counts[row];
            }
        };
        if N == 2 {
            let sums = partials[0].as_primitive::<Decimal128Type>().values();
            for (row, &sum) in sums[..groups.len()].iter().enumerate() {
                each(row, Wide::from_i128(sum));
            }
        } else {
            let sums = partials[0].as_fixed_size_binary();
            for row in 0..groups.len() {
                each(row, Wide::from_bytes(sums.value(row)));
            }
        }
    }

    fn evaluate_float(&self, groups: &[u32]) -> ArrayRef {
        let precision = if self.output == DataType::Float32 { Precision::Single } else { Precision::Double };
        let means = groups.iter().map(|&group| {
            let state = &self.states[group as usize];
            (state.count > 0).then(|| ratio(state.sum.is_negative(), &state.sum.magnitude(), 0, state.count as u64, precision))
        });
        finish(Arc::new(means.collect::<Float64Array>()), &self.output)
    }
}

impl<T, const N: usize> Accumulator for Sum<T, N>
where
    T: ArrowPrimitiveType,
    T::Native: Summand,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize(groups, State { sum: Wide::ZERO, count: 0 });
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = &input.args[0].as_primitive::<T>().values()[..groups.len()];
        let rows = Rows::new(groups, diffs, input.filter, &input.args[..1]);
        if let Some(group) = rows.only_group() {
            let mut sum = Wide::ZERO;
            for &value in values {
                sum.add(value.wide::<N>());
            }
            self.states[group].sum.add(sum);
            self.states[group].count += groups.len() as i64;
            return;
        }
        let states = self.states.as_mut_slice();
        if diffs.is_none() {
            rows.for_each(|row, group, _| {
                let state = &mut states[group];
                state.sum.add(values[row].wide());
                state.count += 1;
            });
        } else {
            rows.for_each(|row, group, diff| {
                let state = &mut states[group];
                state.sum.add(values[row].wide::<N>().times(diff));
                state.count += diff;
            });
        }
    }

    fn partial_types(&self) -> Vec<DataType> {
        let sum = if N == 2 { DataType::Decimal128(38, 0) } else { DataType::FixedSizeBinary(8 * N as i32) };
        vec![sum, DataType::Int64]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let counts: Int64Array = groups.iter().map(|&group| self.states[group as usize].count).collect();
        let states = groups.iter().map(|&group| &self.states[group as usize]);
        let sums: ArrayRef = if N == 2 {
            // All 128 bits travel, whatever the decimal's precision says.
            let sums = states.map(|state| (i128::from(state.sum.0[1] as i64) << 64) | i128::from(state.sum.0[0]));
            Arc::new(Decimal128Array::from_iter_values(sums).with_data_type(DataType::Decimal128(38, 0)))
        } else {
            let mut sums = FixedSizeBinaryBuilder::with_capacity(groups.len(), 8 * N as i32);
            for state in states {
                let bytes: Vec<u8> = state.sum.to_bytes().collect();
                sums.append_value(bytes).expect("the width is that of the builder");
            }
            Arc::new(sums.finish())
        };
        vec![sums, Arc::new(counts)]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, false);
    }

    fn invertible(&self) -> bool {
        true
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, true);
    }

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let name = if matches!(self.mean, Mean::No) { "sum" } else { "avg" };
        match self.mean {
            Mean::Float => self.evaluate_float(groups),
            Mean::No => {
                let sums = groups.iter().map(|&group| {
                    let state = &self.states[group as usize];
                    (state.count > 0).then(|| (state.sum.is_negative(), state.sum.magnitude()))
                });
                integer_array(&self.output, name, sums, errors)
            }
            Mean::Integer { digits } => {
                let means = groups.iter().map(|&group| {
                    let state = &self.states[group as usize];
                    (state.count > 0).then(|| {
                        let mut magnitude = state.sum.magnitude();
                        for _ in 0..digits {
                            multiply(&mut magnitude, 10);
                        }
                        divide(&mut magnitude, state.count as u64);
                        (state.sum.is_negative(), magnitude)
                    })
                });
                integer_array(&self.output, name, means, errors)
            }
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.states[group as usize] = State { sum: Wide::ZERO, count: 0 };
        }
    }

    fn reset(&mut self) {
        self.states.clear();
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State<N>>()
    }
}

/// `None` if no row is null.
pub(super) fn nulls_of(valid: Vec<bool>) -> Option<NullBuffer> {
    if valid.iter().all(|&valid| valid) { None } else { Some(NullBuffer::from(valid)) }
}
