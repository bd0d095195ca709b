//! A node above inner joins of three and more relations that says in which order they are joined, and why, for EXPLAIN. It changes no row.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use datafusion_common::{DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The order of the joins below.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JoinOrder {
    pub(crate) input: LogicalPlan,
    /// The relations as they are joined, and the reason.
    pub(crate) order: String,
}

impl PartialOrd for JoinOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for JoinOrder {
    fn name(&self) -> &str {
        "JoinOrder"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinOrder: {}", self.order)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input, order: self.order.clone() }),
            None => datafusion_common::internal_err!("an order of joins has one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
