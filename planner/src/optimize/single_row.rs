//! Subqueries as values: they must be seen, from the statement alone, to give one row at most.

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DataFusionError, Result, ScalarValue};
use datafusion_expr::expr::{BinaryExpr, InSubquery, SetComparison, SetQuantifier};
use datafusion_expr::logical_plan::{FetchType, Subquery};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan, Operator, lit};

use crate::PlanError;
use crate::logical::{ViewBody, located};

/// Refuses subqueries as values that may give several rows.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    let mut wrong = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && !at_most_one(&subquery.subquery)
                {
                    wrong.push(refusal(subquery));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match wrong.len() {
        0 => Ok(()),
        1 => Err(wrong.remove(0)),
        _ => Err(DataFusionError::Collection(wrong)),
    }
}

fn refusal(subquery: &Subquery) -> DataFusionError {
    let error = PlanError::new("plan::many_rows", "this subquery may give more than one row", None)
        .label("used as one value")
        .help("Aggregate it without GROUP BY, such as max(x), or ask IN (SELECT …).");
    located(error, subquery.spans.first())
}

/// `x IN (SELECT max(y) …)` is a comparison with one value, which is there also when nothing is aggregated; and an aggregate over all rows
/// always exists. Comparisons with any or all elements that have a name of their own get it.
pub(super) fn one_row_in(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::InSubquery(InSubquery { expr: value, subquery, negated }) if exactly_one(&subquery.subquery) => {
                        let op = if negated { Operator::NotEq } else { Operator::Eq };
                        Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(value, op, Box::new(Expr::ScalarSubquery(subquery)))))
                    }
                    // `= ANY` is IN, `<> ALL` is NOT IN.
                    Expr::SetComparison(SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::Any }) => {
                        Transformed::yes(Expr::InSubquery(InSubquery::new(expr, subquery, false)))
                    }
                    Expr::SetComparison(SetComparison { expr, subquery, op: Operator::NotEq, quantifier: SetQuantifier::All }) => {
                        Transformed::yes(Expr::InSubquery(InSubquery::new(expr, subquery, true)))
                    }
                    Expr::Exists(it) if exactly_one(&it.subquery.subquery) => Transformed::yes(lit(!it.negated)),
                    other => Transformed::no(other),
                })
            })
        })
    })?;
    Ok(done.data)
}

/// Whether a plan gives one row whatever there is.
pub(crate) fn exactly_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(it) => exactly_one(&it.input),
        LogicalPlan::SubqueryAlias(it) => exactly_one(&it.input),
        LogicalPlan::Aggregate(it) => it.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(it) => it.produce_one_row,
        LogicalPlan::Extension(it) => it.node.as_any().downcast_ref::<ViewBody>().is_some_and(|view| exactly_one(&view.input)),
        _ => false,
    }
}

/// A relation that has no more than one row at any time.
pub(crate) fn at_most_one(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(it) => at_most_one(&it.input),
        LogicalPlan::Filter(it) => at_most_one(&it.input),
        LogicalPlan::Sort(it) => at_most_one(&it.input),
        LogicalPlan::SubqueryAlias(it) => at_most_one(&it.input),
        LogicalPlan::Subquery(it) => at_most_one(&it.subquery),
        LogicalPlan::Distinct(it) => at_most_one(it.input()),
        LogicalPlan::Limit(it) => matches!(it.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1)))) || at_most_one(&it.input),
        LogicalPlan::Aggregate(it) => {
            let fixed = fixed_columns(&it.input);
            it.group_expr.iter().all(|key| matches!(key, Expr::Literal(_, _)) || fixed.contains(key))
        }
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(it) => it.values.len() <= 1,
        LogicalPlan::Join(it) => at_most_one(&it.left) && at_most_one(&it.right),
        LogicalPlan::Extension(it) => it.node.as_any().downcast_ref::<ViewBody>().is_some_and(|view| at_most_one(&view.input)),
        _ => false,
    }
}

/// Columns that have one value for each row of the query around: equal to something that reads no column here.
fn fixed_columns(plan: &LogicalPlan) -> Vec<Expr> {
    let LogicalPlan::Filter(filter) = plan else { return vec![] };
    let mut fixed = fixed_columns(&filter.input);
    for part in split_conjunction(&filter.predicate) {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { continue };
        for (column, value) in [(left, right), (right, left)] {
            let null = matches!(value.as_ref(), Expr::Literal(ScalarValue::Null, _));
            if matches!(column.as_ref(), Expr::Column(_)) && !value.any_column_refs() && !null {
                fixed.push(column.as_ref().clone());
            }
        }
    }
    fixed
}
