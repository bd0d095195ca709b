//! The rows that came too late for the sessions of a query, as a node of the logical plan.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::{DFSchema, DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::windows::LATE_COLUMNS;

/// Keeps the rows of its input, which assigns sessions, that no session of their keys holds, and appends [`LATE_COLUMNS`]. The window of
/// such a row is the session it would have made alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LateSessions {
    pub(crate) input: LogicalPlan,
    /// What sessions are grouped by; the columns of the window may be among them.
    pub(crate) keys: Vec<Expr>,
    schema: DFSchemaRef,
}

impl LateSessions {
    pub(super) fn new(input: LogicalPlan, keys: Vec<Expr>) -> Result<Self> {
        let columns = input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let added = [Field::new(LATE_COLUMNS[0], time, false), Field::new(LATE_COLUMNS[1], DataType::Int64, false)];
        let fields = columns.chain(added.into_iter().map(|field| (None, Arc::new(field)))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, keys, schema })
    }
}

impl PartialOrd for LateSessions {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for LateSessions {
    fn name(&self) -> &str {
        "LateSessions"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    /// Which rows are late depends on all rows of their key: no predicate may go below.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "LateSessions: by {}", keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::new(input, exprs),
            None => datafusion_common::internal_err!("late rows are those of one input"),
        }
    }
}
