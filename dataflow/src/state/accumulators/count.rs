//! `count(*)` and `count(a, …)`: rows, or rows whose arguments are all not null.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use super::finish;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// A count for each group.
pub(super) struct Count {
    counts: Vec<i64>,
    output: DataType,
}

impl Count {
    pub(super) fn new(output: DataType) -> Self {
        Self { counts: Vec::new(), output }
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let counts = partials[0].as_primitive::<Int64Type>().values();
        for (&group, &count) in groups.iter().zip(counts.iter()) {
            self.counts[group as usize] += sign * count;
        }
    }
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        if groups > self.counts.len() {
            self.counts.resize(groups, 0);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let rows = Rows::new(groups, diffs, input.filter, input.args);
        if let Some(group) = rows.only_group() {
            self.counts[group] += groups.len() as i64;
            return;
        }
        let counts = self.counts.as_mut_slice();
        rows.for_each(|_, group, diff| counts[group] += diff);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![Arc::new(groups.iter().map(|&group| self.counts[group as usize]).collect::<Int64Array>())]
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
        let counts: Int64Array = groups.iter().map(|&group| self.counts[group as usize]).collect();
        finish(Arc::new(counts), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.counts[group as usize] = 0;
        }
    }

    fn reset(&mut self) {
        self.counts.clear();
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
