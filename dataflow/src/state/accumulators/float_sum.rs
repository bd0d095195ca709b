//! Sums and means of floats: exact in fixed point where values fit, in chunks where they do not, rounded once.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Float64Array, Int64Array, LargeBinaryBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int64Type};

use super::finish;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};
use crate::state::exact_sum::{FIXED_EXPONENT, FloatSum, Precision, ratio, to_fixed};

/// A float type, widened without loss.
pub(super) trait Float: ArrowPrimitiveType {
    /// The value as `f64`.
    fn wide(value: Self::Native) -> f64;
}

impl Float for Float64Type {
    #[inline(always)]
    fn wide(value: f64) -> f64 {
        value
    }
}

impl Float for Float32Type {
    #[inline(always)]
    fn wide(value: f32) -> f64 {
        value.into()
    }
}

impl Float for Float16Type {
    #[inline(always)]
    fn wide(value: Self::Native) -> f64 {
        value.into()
    }
}

/// Sum (in units of 2^-64) and count of one group: halves of an `i128`, to stay at 24 bytes.
#[derive(Clone, Copy, Default)]
struct State {
    low: u64,
    high: i64,
    count: i64,
}

impl State {
    #[inline(always)]
    fn sum(&self) -> i128 {
        (i128::from(self.high) << 64) | i128::from(self.low)
    }

    #[inline(always)]
    fn set_sum(&mut self, sum: i128) {
        self.low = sum as u64;
        self.high = (sum >> 64) as i64;
    }
}

/// Sums of values of type `T`.
pub(super) struct FloatSums<T> {
    states: Vec<State>,
    /// What did not fit, by group; shorter than `states` as long as nobody needs it. A group's sum is that of both.
    escalated: Vec<Option<Box<FloatSum>>>,
    escalated_groups: usize,
    mean: bool,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: Float> FloatSums<T> {
    pub(super) fn new(mean: bool, output: DataType) -> Result<Self, String> {
        if !matches!(output, DataType::Float64 | DataType::Float32) {
            return Err(format!("a sum or mean of {} cannot be {output}", T::DATA_TYPE));
        }
        Ok(Self { states: Vec::new(), escalated: Vec::new(), escalated_groups: 0, mean, output, value: PhantomData })
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], negative: bool) {
        let sums = partials[0].as_primitive::<Decimal128Type>().values();
        let counts = partials[1].as_primitive::<Int64Type>().values();
        let rest = partials[2].as_binary::<i64>();
        for (row, &group) in groups.iter().enumerate() {
            let state = &mut self.states[group as usize];
            state.count += if negative { -counts[row] } else { counts[row] };
            let sum = if negative { state.sum().checked_sub(sums[row]) } else { state.sum().checked_add(sums[row]) };
            match sum {
                Some(sum) => state.set_sum(sum),
                None => {
                    let before = state.sum();
                    state.set_sum(0);
                    let large = escalate(&mut self.escalated, &mut self.escalated_groups, group as usize);
                    large.add_fixed(before);
                    // The least i128 has no negative.
                    large.add_fixed(if negative { !sums[row] } else { sums[row] });
                    large.add_fixed(i128::from(negative));
                }
            }
            if rest.is_valid(row) {
                let large = escalate(&mut self.escalated, &mut self.escalated_groups, group as usize);
                large.merge(&FloatSum::decode(rest.value(row)), negative);
            }
        }
    }
}

#[cold]
#[inline(never)]
fn escalate<'a>(escalated: &'a mut Vec<Option<Box<FloatSum>>>, escalated_groups: &mut usize, group: usize) -> &'a mut FloatSum {
    if escalated.len() <= group {
        escalated.resize_with(group + 1, || None);
    }
    escalated[group].get_or_insert_with(|| {
        *escalated_groups += 1;
        Box::default()
    })
}

impl<T: Float> Accumulator for FloatSums<T> {
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize(groups, State::default());
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = &input.args[0].as_primitive::<T>().values()[..groups.len()];
        let Self { states, escalated, escalated_groups, .. } = self;
        let states = states.as_mut_slice();
        Rows::new(groups, diffs, input.filter, &input.args[..1]).for_each(|row, group, diff| {
            let value = T::wide(values[row]);
            let state = &mut states[group];
            state.count += diff;
            let before = state.sum();
            let sum = to_fixed(value)
                .and_then(|fixed| if diff == 1 { Some(fixed) } else { fixed.checked_mul(diff.into()) })
                .and_then(|fixed| before.checked_add(fixed));
            match sum {
                Some(sum) => state.set_sum(sum),
                None => escalate(escalated, escalated_groups, group).add(value, diff),
            }
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Decimal128(38, 0), DataType::Int64, DataType::LargeBinary]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let states = || groups.iter().map(|&group| &self.states[group as usize]);
        // All 128 bits travel, whatever the decimal's precision says.
        let sums = Decimal128Array::from_iter_values(states().map(State::sum)).with_data_type(DataType::Decimal128(38, 0));
        let counts: Int64Array = states().map(|state| state.count).collect();
        let mut rest = LargeBinaryBuilder::new();
        let mut bytes = Vec::new();
        for &group in groups {
            match self.escalated.get(group as usize).and_then(Option::as_ref) {
                Some(large) => {
                    bytes.clear();
                    large.encode(&mut bytes);
                    rest.append_value(&bytes);
                }
                None => rest.append_null(),
            }
        }
        vec![Arc::new(sums), Arc::new(counts), Arc::new(rest.finish())]
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
        let results = groups.iter().map(|&group| {
            let state = &self.states[group as usize];
            if state.count <= 0 {
                return None;
            }
            let divisor = if self.mean { state.count as u64 } else { 1 };
            Some(match self.escalated.get(group as usize).and_then(Option::as_ref) {
                Some(large) => {
                    let mut sum = large.clone();
                    sum.add_fixed(state.sum());
                    sum.ratio(divisor, precision)
                }
                None => {
                    let magnitude = state.sum().unsigned_abs();
                    ratio(state.high < 0, &[magnitude as u64, (magnitude >> 64) as u64], FIXED_EXPONENT, divisor, precision)
                }
            })
        });
        finish(Arc::new(results.collect::<Float64Array>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.states[group as usize] = State::default();
            if let Some(large) = self.escalated.get_mut(group as usize)
                && large.take().is_some()
            {
                self.escalated_groups -= 1;
            }
        }
    }

    fn reset(&mut self) {
        self.states.clear();
        self.escalated.clear();
        self.escalated_groups = 0;
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
            + self.escalated.capacity() * size_of::<usize>()
            + self.escalated_groups * size_of::<FloatSum>()
    }
}
