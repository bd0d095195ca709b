//! `bit_and`, `bit_or` and `bit_xor`: a counter per bit where rows may be taken back, plain bits where they may not.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryBuilder, Int64Array, PrimitiveArray, UInt64Array};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use super::finish;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitOperation {
    /// All have the bit.
    And,
    /// Any has the bit.
    Or,
    /// An odd number has the bit.
    Xor,
}

/// An integer as 64 bits.
pub(super) trait Word: Copy + Send + 'static {
    /// Its bits, zero extended.
    fn bits(self) -> u64;
    /// From its bits.
    fn from_bits(bits: u64) -> Self;
}

macro_rules! words {
    ($($native:ty => $unsigned:ty),*) => {
        $(impl Word for $native {
            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                bits as $native
            }
        })*
    };
}
words!(i8 => u8, i16 => u16, i32 => u32, i64 => u64, u8 => u8, u16 => u16, u32 => u32, u64 => u64);

/// The bits so far and how many values there were. Exclusive or undoes itself, so it is retractable in this form.
pub(super) struct PlainBits<T: ArrowPrimitiveType> {
    states: Vec<(u64, i64)>,
    operation: BitOperation,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> PlainBits<T>
where
    T::Native: Word,
{
    pub(super) fn new(operation: BitOperation, output: DataType) -> Self {
        Self { states: Vec::new(), operation, output, value: PhantomData }
    }

    fn empty(&self) -> (u64, i64) {
        (if self.operation == BitOperation::And { u64::MAX } else { 0 }, 0)
    }

    fn take(&mut self, rows: &Rows<'_>, bits: impl Fn(usize) -> u64, count: impl Fn(usize) -> i64) {
        let states = self.states.as_mut_slice();
        match self.operation {
            BitOperation::And => rows.for_each(|row, group, diff| {
                assert!(diff > 0, "append-only input takes nothing back");
                states[group].0 &= bits(row);
                states[group].1 += diff * count(row);
            }),
            BitOperation::Or => rows.for_each(|row, group, diff| {
                assert!(diff > 0, "append-only input takes nothing back");
                states[group].0 |= bits(row);
                states[group].1 += diff * count(row);
            }),
            BitOperation::Xor => rows.for_each(|row, group, diff| {
                states[group].0 ^= if diff & 1 != 0 { bits(row) } else { 0 };
                states[group].1 += diff * count(row);
            }),
        }
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let bits = partials[0].as_primitive::<UInt64Type>().values();
        let counts = partials[1].as_primitive::<Int64Type>().values();
        self.take(&Rows::masked(groups, None, None), |row| bits[row], |row| sign * counts[row]);
    }
}

impl<T: ArrowPrimitiveType> Accumulator for PlainBits<T>
where
    T::Native: Word,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.states.len() {
            self.states.resize(groups, self.empty());
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        self.take(&Rows::new(groups, diffs, input.filter, &input.args[..1]), |row| values[row].bits(), |_| 1);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::UInt64, DataType::Int64]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let states = || groups.iter().map(|&group| self.states[group as usize]);
        vec![
            Arc::new(states().map(|(bits, _)| bits).collect::<UInt64Array>()),
            Arc::new(states().map(|(_, count)| count).collect::<Int64Array>()),
        ]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        self.operation == BitOperation::Xor
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        assert!(self.invertible(), "plain bits take nothing back but exclusive or");
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let results = groups.iter().map(|&group| {
            let (bits, count) = self.states[group as usize];
            (count > 0).then(|| T::Native::from_bits(bits))
        });
        finish(Arc::new(results.collect::<PrimitiveArray<T>>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.states[group as usize] = self.empty();
        }
    }

    fn reset(&mut self) {
        self.states.clear();
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<(u64, i64)>()
    }
}

/// For each group the number of values, then for each bit the number of values that have it.
pub(super) struct CountedBits<T: ArrowPrimitiveType> {
    counts: Vec<i64>,
    groups: usize,
    any: bool,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> CountedBits<T>
where
    T::Native: Word,
{
    const BITS: usize = 8 * size_of::<T::Native>();
    const STRIDE: usize = Self::BITS + 1;

    /// `any`: bits that any value has; otherwise those that all have.
    pub(super) fn new(any: bool, output: DataType) -> Self {
        Self { counts: Vec::new(), groups: 0, any, output, value: PhantomData }
    }

    fn of(&self, group: u32) -> &[i64] {
        &self.counts[group as usize * Self::STRIDE..][..Self::STRIDE]
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let partial = partials[0].as_fixed_size_binary();
        for (row, &group) in groups.iter().enumerate() {
            let own = &mut self.counts[group as usize * Self::STRIDE..][..Self::STRIDE];
            for (count, bytes) in own.iter_mut().zip(partial.value(row).chunks_exact(8)) {
                let with = bytes.iter().rev().fold(0u64, |value, &byte| (value << 8) | u64::from(byte)) as i64;
                *count += sign * with;
            }
        }
    }
}

impl<T: ArrowPrimitiveType> Accumulator for CountedBits<T>
where
    T::Native: Word,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.groups {
            self.groups = groups;
            self.counts.resize(groups * Self::STRIDE, 0);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        let counts = self.counts.as_mut_slice();
        Rows::new(groups, diffs, input.filter, &input.args[..1]).for_each(|row, group, diff| {
            let own = &mut counts[group * Self::STRIDE..][..Self::STRIDE];
            let bits = values[row].bits();
            own[0] += diff;
            for (bit, count) in own[1..].iter_mut().enumerate() {
                *count += diff & -((bits >> bit & 1) as i64);
            }
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::FixedSizeBinary(8 * Self::STRIDE as i32)]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut builder = FixedSizeBinaryBuilder::with_capacity(groups.len(), 8 * Self::STRIDE as i32);
        for &group in groups {
            let bytes: Vec<u8> = self.of(group).iter().flat_map(|count| count.to_le_bytes()).collect();
            builder.append_value(bytes).expect("the width is that of the builder");
        }
        vec![Arc::new(builder.finish())]
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
            let (&total, with) = self.of(group).split_first()?;
            let has = |count: i64| if self.any { count > 0 } else { count == total };
            let bits = with.iter().enumerate().fold(0, |bits, (bit, &count)| bits | (u64::from(has(count)) << bit));
            (total > 0).then(|| T::Native::from_bits(bits))
        });
        finish(Arc::new(results.collect::<PrimitiveArray<T>>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.counts[group as usize * Self::STRIDE..][..Self::STRIDE].fill(0);
        }
    }

    fn reset(&mut self) {
        self.counts.clear();
        self.groups = 0;
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
