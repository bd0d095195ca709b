//! `bool_and` and `bool_or` (and `min` and `max` of booleans, which are the same): how many are true, how many false.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use super::finish;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// Counts of false and true for each group.
pub(super) struct Bools {
    counts: Vec<[i64; 2]>,
    any: bool,
    output: DataType,
}

impl Bools {
    /// `any`: true if any is true; otherwise if all are.
    pub(super) fn new(any: bool, output: DataType) -> Self {
        Self { counts: Vec::new(), any, output }
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        for (truth, partial) in partials.iter().enumerate() {
            for (&group, &count) in groups.iter().zip(partial.as_primitive::<Int64Type>().values()) {
                self.counts[group as usize][truth] += sign * count;
            }
        }
    }
}

impl Accumulator for Bools {
    fn resize(&mut self, groups: usize) {
        if groups > self.counts.len() {
            self.counts.resize(groups, [0; 2]);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_boolean().values();
        let counts = self.counts.as_mut_slice();
        Rows::new(groups, diffs, input.filter, &input.args[..1])
            .for_each(|row, group, diff| counts[group][usize::from(values.value(row))] += diff);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let of =
            |truth: usize| -> ArrayRef { Arc::new(groups.iter().map(|&group| self.counts[group as usize][truth]).collect::<Int64Array>()) };
        vec![of(0), of(1)]
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
            let [no, yes] = self.counts[group as usize];
            (no > 0 || yes > 0).then_some(if self.any { yes > 0 } else { no <= 0 })
        });
        finish(Arc::new(results.collect::<BooleanArray>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.counts[group as usize] = [0; 2];
        }
    }

    fn reset(&mut self) {
        self.counts.clear();
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<[i64; 2]>()
    }
}
