//! AS OF joins as a node of the logical plan: each row of left with the one row of right that was valid at its time.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion_common::{DFSchema, DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::tokenizer;

/// An AS OF join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AsOf {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// Rows without a version come out with nulls.
    pub(crate) outer: bool,
    /// What the version must meet: equalities of keys, and others.
    pub(crate) condition: Expr,
    /// `left.time >= right.time` or its like; for a version as of a time of which right has no event time, left's time alone.
    pub(crate) time: Expr,
    /// Where it was written.
    pub(crate) span: tokenizer::Span,
    schema: DFSchemaRef,
}

impl AsOf {
    pub(super) fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        outer: bool,
        condition: Expr,
        time: Expr,
        span: tokenizer::Span,
    ) -> Result<Self> {
        let schema = Self::schema_over(&left, &right, outer)?;
        Ok(Self { left, right, outer, condition, time, span, schema })
    }

    fn schema_over(left: &LogicalPlan, right: &LogicalPlan, outer: bool) -> Result<DFSchemaRef> {
        let right = right.schema().iter().map(|(qualifier, field)| {
            let field = if outer { Arc::new(field.as_ref().clone().with_nullable(true)) } else { Arc::clone(field) };
            (qualifier.cloned(), field)
        });
        let left = left.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        Ok(Arc::new(DFSchema::new_with_metadata(left.chain(right).collect(), Default::default())?))
    }
}

impl Hash for AsOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.right.hash(state);
        self.condition.hash(state);
        self.time.hash(state);
    }
}

impl PartialOrd for AsOf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AsOf {
    fn name(&self) -> &str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.condition.clone(), self.time.clone()]
    }

    /// A predicate on versions must see the version that was found, and one on left's columns cannot be asked of right.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfJoin: {} as of {}{}", self.condition, self.time, if self.outer { " or nulls" } else { "" })
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(time), Some(condition)) = (exprs.pop(), exprs.pop()) else {
            return datafusion_common::internal_err!("an AS OF join has a condition and a time");
        };
        let (Some(right), Some(left)) = (inputs.pop(), inputs.pop()) else {
            return datafusion_common::internal_err!("an AS OF join has two inputs");
        };
        Self::new(left, right, self.outer, condition, time, self.span)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = output_columns.iter().copied().filter(|it| *it < width).collect();
        let right = output_columns.iter().filter(|it| **it >= width).map(|it| it - width).collect();
        Some(vec![left, right])
    }
}
