//! Variance and standard deviation from the exact sums of values and of their squares: rounded once, retractable.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, Float64Array, LargeBinaryBuilder};
use arrow::datatypes::DataType;

use super::finish;
use super::float_sum::Float;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};
use crate::state::exact_sum::{FIXED_EXPONENT, FloatSum, Precision, SquareSum, spread, to_fixed};
use crate::state::wide::Wide;

/// Sums of one group, of values that fit [`to_fixed`]: in units of 2^-64, and squares in units of 2^-128. Wide enough that no count
/// of rows overflows them.
#[derive(Clone, Copy)]
struct State {
    count: i64,
    sum: Wide<3>,
    squares: Wide<5>,
}

impl State {
    const EMPTY: Self = Self { count: 0, sum: Wide::ZERO, squares: Wide::ZERO };
    const BYTES: usize = 8 * (1 + 3 + 5);

    fn apply(&mut self, other: &Self, negative: bool) {
        if negative {
            self.count -= other.count;
            self.sum.sub(other.sum);
            self.squares.sub(other.squares);
        } else {
            self.count += other.count;
            self.sum.add(other.sum);
            self.squares.add(other.squares);
        }
    }
}

/// Sums of what does not fit.
#[derive(Default)]
struct Large {
    sum: FloatSum,
    squares: SquareSum,
}

/// The spread of values of type `T` in each group.
pub(super) struct Variance<T> {
    states: Vec<State>,
    /// By group; shorter than `states` as long as nobody needs it. A group's sums are those of both.
    large: Vec<Option<Box<Large>>>,
    large_groups: usize,
    /// Divide by the count less one.
    sample: bool,
    /// The deviation.
    root: bool,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

/// The square of a 128-bit integer less than 2^126 without its sign.
#[inline(always)]
fn square(value: i128) -> Wide<5> {
    let magnitude = value.unsigned_abs();
    let (low, high) = (magnitude as u64, (magnitude >> 64) as u64);
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    let mut result = Wide::<5>::from_limbs(&[0, 0, 0, 0, 0]);
    let (ll, lh, hh) = (product(low, low), product(low, high), product(high, high));
    result.0[0] = ll as u64;
    let middle = (ll >> 64) + u128::from(lh as u64) + u128::from(lh as u64);
    result.0[1] = middle as u64;
    let upper = (middle >> 64) + 2 * (lh >> 64) + u128::from(hh as u64);
    result.0[2] = upper as u64;
    result.0[3] = ((upper >> 64) + (hh >> 64)) as u64;
    result
}

#[cold]
#[inline(never)]
fn escalate<'a>(large: &'a mut Vec<Option<Box<Large>>>, large_groups: &mut usize, group: usize) -> &'a mut Large {
    if large.len() <= group {
        large.resize_with(group + 1, || None);
    }
    large[group].get_or_insert_with(|| {
        *large_groups += 1;
        Box::default()
    })
}

impl<T: Float> Variance<T> {
    pub(super) fn new(sample: bool, root: bool, output: DataType) -> Result<Self, String> {
        if !matches!(output, DataType::Float64 | DataType::Float32) {
            return Err(format!("a variance of {} cannot be {output}", T::DATA_TYPE));
        }
        Ok(Self { states: Vec::new(), large: Vec::new(), large_groups: 0, sample, root, output, value: PhantomData })
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], negative: bool) {
        let states = partials[0].as_fixed_size_binary();
        let rest = partials[1].as_binary::<i64>();
        for (row, &group) in groups.iter().enumerate() {
            let bytes = states.value(row);
            let other = State {
                count: Wide::<1>::from_bytes(bytes).0[0] as i64,
                sum: Wide::from_bytes(&bytes[8..]),
                squares: Wide::from_bytes(&bytes[32..]),
            };
            self.states[group as usize].apply(&other, negative);
            if rest.is_valid(row) {
                let bytes = rest.value(row);
                let (length, bytes) = bytes.split_at(8);
                let (sum, squares) = bytes.split_at(Wide::<1>::from_bytes(length).0[0] as usize);
                let own = escalate(&mut self.large, &mut self.large_groups, group as usize);
                own.sum.merge(&FloatSum::decode(sum), negative);
                own.squares.merge(&SquareSum::decode(squares), negative);
            }
        }
    }

    fn result(&self, group: u32, precision: Precision) -> Option<f64> {
        let state = &self.states[group as usize];
        let divisor = state.count - i64::from(self.sample);
        if divisor <= 0 {
            return None;
        }
        let (count, divisor) = (state.count as u64, divisor as u64);
        let Some(large) = self.large.get(group as usize).and_then(Option::as_ref) else {
            let (sum, squares) = (state.sum.magnitude(), state.squares.magnitude());
            return Some(spread(&sum, squares, FIXED_EXPONENT, count, divisor, self.root, precision));
        };
        if large.sum.special().is_some() {
            return Some(f64::NAN);
        }
        let mut sum = large.sum.clone();
        sum.add_limbs(state.sum.is_negative(), &state.sum.magnitude(), FIXED_EXPONENT);
        let mut squares = large.squares.clone();
        squares.add_limbs(state.squares.is_negative(), &state.squares.magnitude(), 2 * FIXED_EXPONENT);
        Some(spread(&sum.magnitude().1, squares.magnitude().1, FloatSum::EXPONENT, count, divisor, self.root, precision))
    }
}

impl<T: Float> Accumulator for Variance<T> {
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize(groups, State::EMPTY);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = &input.args[0].as_primitive::<T>().values()[..groups.len()];
        let Self { states, large, large_groups, .. } = self;
        let states = states.as_mut_slice();
        Rows::new(groups, diffs, input.filter, &input.args[..1]).for_each(|row, group, diff| {
            let value = T::wide(values[row]);
            let state = &mut states[group];
            state.count += diff;
            match to_fixed(value) {
                Some(fixed) if diff == 1 => {
                    state.sum.add(Wide::from_i128(fixed));
                    state.squares.add(square(fixed));
                }
                Some(fixed) => {
                    state.sum.add(Wide::from_i128(fixed).times(diff));
                    state.squares.add(square(fixed).times(diff));
                }
                None => {
                    let own = escalate(large, large_groups, group);
                    own.sum.add(value, diff);
                    own.squares.add(value, diff);
                }
            }
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::FixedSizeBinary(State::BYTES as i32), DataType::LargeBinary]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut states = FixedSizeBinaryBuilder::with_capacity(groups.len(), State::BYTES as i32);
        let mut rest = LargeBinaryBuilder::new();
        let mut bytes = Vec::with_capacity(State::BYTES);
        for &group in groups {
            let state = &self.states[group as usize];
            bytes.clear();
            bytes.extend_from_slice(&state.count.to_le_bytes());
            bytes.extend(state.sum.to_bytes());
            bytes.extend(state.squares.to_bytes());
            states.append_value(&bytes).expect("the width is that of the builder");
            match self.large.get(group as usize).and_then(Option::as_ref) {
                Some(large) => {
                    bytes.clear();
                    bytes.extend_from_slice(&[0; 8]);
                    large.sum.encode(&mut bytes);
                    let length = bytes.len() as u64 - 8;
                    bytes[..8].copy_from_slice(&length.to_le_bytes());
                    large.squares.encode(&mut bytes);
                    rest.append_value(&bytes);
                }
                None => rest.append_null(),
            }
        }
        vec![Arc::new(states.finish()), Arc::new(rest.finish())]
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

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let precision = if self.output == DataType::Float32 { Precision::Single } else { Precision::Double };
        let results: Float64Array = groups.iter().map(|&group| self.result(group, precision)).collect();
        finish(Arc::new(results), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.states[group as usize] = State::EMPTY;
            if let Some(large) = self.large.get_mut(group as usize)
                && large.take().is_some()
            {
                self.large_groups -= 1;
            }
        }
    }

    fn reset(&mut self) {
        self.states.clear();
        self.large.clear();
        self.large_groups = 0;
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>() + self.large.capacity() * size_of::<usize>() + self.large_groups * size_of::<Large>()
    }
}
