//! `ERRORS(query)`: what went wrong in a query, as a relation: records that could not be decoded, rows and results that could not be
//! computed, rows too late for a window whose clause keeps them as dead letters.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion_common::{DFSchema, DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::tokenizer;

use crate::plan::LetterColumn;

/// The errors of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorsOf {
    pub(crate) input: LogicalPlan,
    /// What the user wrote, for messages.
    pub(crate) span: tokenizer::Span,
    schema: DFSchemaRef,
}

impl ErrorsOf {
    pub(super) fn new(input: LogicalPlan, span: tokenizer::Span) -> Result<Self> {
        let schema = DFSchema::try_from(LetterColumn::schema().as_ref().clone())?;
        Ok(Self { input, span, schema: Arc::new(schema) })
    }
}

impl Hash for ErrorsOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
    }
}

impl PartialOrd for ErrorsOf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for ErrorsOf {
    fn name(&self) -> &str {
        "Errors"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    /// A predicate is on the errors, not on the rows.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        LetterColumn::ALL.map(|column| column.name().to_owned()).into()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errors")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input, ..self.clone() }),
            None => datafusion_common::internal_err!("errors are those of one query"),
        }
    }

    /// The query is computed in full: an error in a column counts, whichever columns of the errors are read.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
