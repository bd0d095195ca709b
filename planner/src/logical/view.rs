//! The query of a view inside another: it passes rows on unchanged, and keeps what its own statement said about emission.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};

use datafusion_common::{DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::Span;
use crate::functions::Functions;
use crate::state_request::StateRequest;
use crate::statement::EmitClause;

/// What a statement says of all the windows and state in its query.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct QueryScope {
    /// `EMIT`, if said.
    pub(crate) emit: Option<EmitClause>,
    /// Where EMIT was said.
    pub(crate) emit_span: Option<Span>,
    /// `ALLOW UNBOUNDED STATE` was said.
    pub(crate) allow_unbounded_state: bool,
    /// What is asked of state.
    pub(crate) state: Option<StateRequest>,
    /// The query.
    pub(crate) span: Span,
    /// The functions it calls, in lower case, with their places.
    pub(crate) calls: Vec<(String, Span)>,
    /// The relations it joins to others: the name each goes by, and where the join is written.
    pub(crate) joins: Vec<(String, Span)>,
    /// The recursive relations it declares, with the places of their names.
    pub(crate) recursions: Vec<(String, Span)>,
}

impl QueryScope {
    /// Where a function is called, under any of its names; the whole query when that is not known.
    pub(crate) fn call(&self, name: &str) -> Span {
        let functions = Functions::get();
        let is = |written: &str| {
            written == name
                || functions.aggregate.get(written).is_some_and(|it| it.name() == name)
                || functions.scalar.get(written).is_some_and(|it| it.name() == name)
        };
        self.calls.iter().find(|(written, _)| is(written)).map_or(self.span, |(_, span)| *span)
    }

    /// Where a recursive relation is declared.
    pub(crate) fn recursion(&self, name: &str) -> Span {
        self.recursions.iter().find(|(declared, _)| declared == name).map_or(self.span, |(_, span)| *span)
    }
}

/// A view's query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ViewBody {
    pub(crate) name: String,
    pub(crate) input: LogicalPlan,
    pub(crate) scope: QueryScope,
}

impl Hash for ViewBody {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for ViewBody {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for ViewBody {
    fn name(&self) -> &str {
        "View"
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
        write!(f, "View: {}", self.name)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input, ..self.clone() }),
            None => datafusion_common::internal_err!("a view has one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
