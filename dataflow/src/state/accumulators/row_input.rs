//! Which columns of a batch make up an aggregate's rows of bytes, and which of its rows count.

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use tidemark_planner::plan::AggregatePlan;

use super::codec::{Codec, one_nan};
use super::finish;
use super::rows::Rows;
use crate::state::accumulator::AggregateInput;

/// The columns of an aggregate's rows: what they are ordered by, then the value.
pub(super) struct RowInput {
    pub(super) codec: Codec,
    /// Arguments that come first in the order.
    by: Vec<usize>,
    /// Columns of ORDER BY that follow.
    order: usize,
    /// The argument that is the value.
    value: usize,
    /// Arguments whose nulls leave the row out.
    not_null: Vec<usize>,
    output: DataType,
}

impl RowInput {
    /// Values in their own order.
    pub(super) fn values(plan: &AggregatePlan) -> Result<Self, String> {
        let codec = Codec::column(argument(plan, 0)?)?;
        Ok(Self { codec, by: vec![], order: 0, value: 0, not_null: vec![0], output: plan.output.data_type().clone() })
    }

    /// Values in the order of ORDER BY; equals by value.
    pub(super) fn ordered(plan: &AggregatePlan, ignore_nulls: bool) -> Result<Self, String> {
        let mut columns = order_columns(plan);
        columns.push((argument(plan, 0)?.clone(), SortOptions::default()));
        let not_null = if ignore_nulls { vec![0] } else { vec![] };
        let output = plan.output.data_type().clone();
        Ok(Self { codec: Codec::rows(&columns)?, by: vec![], order: plan.order_by.len(), value: 0, not_null, output })
    }

    /// Values of the first argument in the order of the second, then of ORDER BY, then of themselves. Rows whose second argument is
    /// null are left out.
    pub(super) fn by_argument(plan: &AggregatePlan, descending: bool) -> Result<Self, String> {
        let mut columns = vec![(argument(plan, 1)?.clone(), SortOptions { descending, nulls_first: false })];
        columns.extend(order_columns(plan));
        columns.push((argument(plan, 0)?.clone(), SortOptions::default()));
        let output = plan.output.data_type().clone();
        Ok(Self { codec: Codec::rows(&columns)?, by: vec![1], order: plan.order_by.len(), value: 0, not_null: vec![1], output })
    }

    /// The rows that count, and their columns.
    pub(super) fn select<'a>(&self, groups: &'a [u32], input: AggregateInput<'_>, diffs: Option<&'a [i64]>) -> (Rows<'a>, Vec<ArrayRef>) {
        let not_null: Vec<ArrayRef> = self.not_null.iter().map(|&at| input.args[at].clone()).collect();
        let rows = Rows::new(groups, diffs, input.filter, &not_null);
        assert!(input.order.len() >= self.order, "{} of {} columns of ORDER BY", input.order.len(), self.order);
        let mut columns: Vec<ArrayRef> = self.by.iter().map(|&at| one_nan(&input.args[at])).collect();
        columns.extend(input.order[..self.order].iter().map(one_nan));
        columns.push(input.args[self.value].clone());
        (rows, columns)
    }

    /// A column of values as the type of the output.
    pub(super) fn output(&self, values: ArrayRef) -> ArrayRef {
        finish(values, &self.output)
    }
}

/// The type of an argument.
pub(super) fn argument(plan: &AggregatePlan, at: usize) -> Result<&DataType, String> {
    plan.arg_types.get(at).ok_or_else(|| format!("{} has {} arguments", plan.text, plan.arg_types.len()))
}

fn order_columns(plan: &AggregatePlan) -> Vec<(DataType, SortOptions)> {
    let options = plan.order_by.iter().map(|key| {
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        (key.data_type.clone(), options)
    });
    options.collect()
}
