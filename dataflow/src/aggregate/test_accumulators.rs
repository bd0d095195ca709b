//! Accumulators for the tests of this folder: each keeps the whole multiset of its values and computes from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use tidemark_planner::plan::{AggregateFunction, AggregatePlan};

use crate::state::accumulator::{Accumulator, AggregateInput};

struct Multisets {
    function: AggregateFunction,
    /// Value to multiplicity; rows without argument count under `Some(0)`.
    groups: Vec<BTreeMap<Option<i64>, i64>>,
}

/// Count, sum (of 64 bits) and min.
pub(super) fn accumulator(plan: &AggregatePlan) -> Result<Box<dyn Accumulator>, String> {
    match plan.function {
        AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Min => {
            Ok(Box::new(Multisets { function: plan.function.clone(), groups: Vec::new() }))
        }
        _ => Err("not in tests".into()),
    }
}

impl Multisets {
    fn add(&mut self, group: u32, value: Option<i64>, times: i64) {
        let count = self.groups[group as usize].entry(value).or_default();
        *count += times;
        if *count == 0 {
            self.groups[group as usize].remove(&value);
        }
    }

    fn merge_signed(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        for (group, text) in groups.iter().zip(partials[0].as_string::<i32>().iter()) {
            for item in text.unwrap().split_terminator(',') {
                let (value, times) = item.split_once('*').unwrap();
                self.add(*group, value.parse().ok(), sign * times.parse::<i64>().unwrap());
            }
        }
    }
}

impl Accumulator for Multisets {
    fn resize(&mut self, groups: usize) {
        assert!(groups >= self.groups.len(), "groups are not taken away but by reset");
        self.groups.resize(groups, BTreeMap::new());
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        assert!(input.args.iter().all(|column| column.len() == groups.len()));
        for (row, group) in groups.iter().enumerate() {
            if input.filter.is_some_and(|filter| filter.is_null(row) || !filter.value(row)) {
                continue;
            }
            let value = input.args.first().map_or(Some(0), |column| {
                let column = column.as_primitive::<Int64Type>();
                column.is_valid(row).then(|| column.value(row))
            });
            self.add(*group, value, diffs.map_or(1, |diffs| diffs[row]));
        }
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Utf8]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let text = |group: &u32| {
            let items = self.groups[*group as usize].iter();
            items.map(|(value, times)| format!("{}*{times},", value.map_or("null".into(), |value| value.to_string()))).collect::<String>()
        };
        vec![Arc::new(groups.iter().map(|group| Some(text(group))).collect::<StringArray>())]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.merge_signed(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        self.function != AggregateFunction::Min
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        assert!(self.invertible());
        self.merge_signed(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let mut results = Vec::new();
        for (position, group) in groups.iter().enumerate() {
            let values = self.groups[*group as usize].iter().filter_map(|(value, times)| value.map(|value| (value, *times)));
            results.push(match self.function {
                AggregateFunction::Count => Some(values.map(|(_, times)| times).sum()),
                AggregateFunction::Min => values.map(|(value, _)| value).min(),
                _ => {
                    let sum: i128 = values.clone().map(|(value, times)| i128::from(value) * i128::from(times)).sum();
                    if values.count() == 0 {
                        None
                    } else {
                        let sum = i64::try_from(sum).ok();
                        if sum.is_none() {
                            errors.push((position, "sum overflows".into()));
                        }
                        sum
                    }
                }
            });
        }
        Arc::new(Int64Array::from(results))
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.groups[*group as usize].clear());
    }

    fn reset(&mut self) {
        self.groups.clear();
    }

    fn bytes(&self) -> usize {
        self.groups.len() * 48
    }
}
