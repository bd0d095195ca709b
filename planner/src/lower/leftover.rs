//! Subqueries that no rule could make a join of: they are refused here, where all rules have run.

use datafusion_common::Spans;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr, LogicalPlan};

use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::{QueryScope, place};

impl Lowering<'_> {
    /// Refuses what is left of subqueries in a plan.
    pub(super) fn refuse_leftovers(&self, plan: &LogicalPlan, scope: &QueryScope) -> Result<()> {
        let mut errors: Vec<PlanError> = Vec::new();
        let found = plan.apply(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    let (what, spans, way_out): (&str, Option<&Spans>, &str) = match expr {
                        Expr::ScalarSubquery(it) => ("this subquery as a value", Some(&it.spans), OUTSIDE),
                        Expr::InSubquery(it) => ("this IN with a subquery", Some(&it.subquery.spans), OUTSIDE),
                        Expr::Exists(it) => ("this EXISTS", Some(&it.subquery.spans), OUTSIDE),
                        Expr::SetComparison(it) => ("this comparison with a subquery", Some(&it.subquery.spans), OUTSIDE),
                        Expr::OuterReferenceColumn(_, column) => ("this use of a column of the query around", Some(column.spans()), INSIDE),
                        _ => return Ok(TreeNodeRecursion::Continue),
                    };
                    let at = spans.and_then(Spans::first).and_then(|span| place(self.lines, span));
                    // One that is written without columns, such as EXISTS (SELECT 1 …), is found by its first column inside.
                    let error =
                        PlanError::new("plan::not_yet", format!("{what} is not supported yet"), at.unwrap_or(scope.span)).help(way_out);
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                    Ok(TreeNodeRecursion::Jump)
                })
            })
        });
        found.map_err(self.failed(scope.span))?;
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

const OUTSIDE: &str = "Use it in WHERE or in the select list, compare with columns of the query around by = in its WHERE, or write a join.";
const INSIDE: &str = "Name columns of the query around only in the WHERE of the subquery, or write a join.";
