//! # Optimisation
//!
//! The rules that rewrite a logical plan, each with the reason why it keeps the meaning over an input that changes. A rule that is not
//! here was left out on purpose: rules that make results depend on order or number of rows (`push_down_limit`, `eliminate_limit`), that
//! drop a source because its rows cannot matter, and with it its end and its watermark (`propagate_empty_relation`,
//! `eliminate_filter`), that turn one aggregate into two, so that the upper one takes rows back (`single_distinct_to_groupby`), and those
//! that make conditions of a join for speed only (`filter_null_join_keys`: null keys are dropped where rows are arranged).

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{JoinType, Result};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion_optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use crate::logical::{AssignWindows, WINDOW_COLUMNS};

mod distinct_on;
mod grouping_sets;
mod join_order;
mod single_row;
mod subqueries;
#[cfg(test)]
mod tests;
mod unnest;

pub(crate) use join_order::order_joins;
pub(crate) use single_row::{at_most_one, exactly_one};
use subqueries::SubqueriesToJoins;
use unnest::UnnestSubqueries;

/// The rules, in order.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        // `x > ALL (SELECT …)` asks whether there is a row for which the comparison is false, or null.
        Arc::new(RewriteSetComparison::new()),
        // EXISTS, IN and NOT IN are semi, anti and mark joins, nulls told apart where they count: at every time the same rows have a match.
        Arc::new(SubqueriesToJoins),
        // Several groupings of one relation are aggregates of their own, put together.
        Arc::new(grouping_sets::OneAggregateForEach),
        // Nested unions become one. A bag union is associative at every time.
        Arc::new(OptimizeUnions::new()),
        // Constants are computed once. What a row gives depends on the row alone; the clock is not asked, so `now()` stays.
        Arc::new(SimplifyExpressions::new()),
        // DISTINCT ON keeps the first row of each group by its order, at every time.
        Arc::new(distinct_on::FirstRowOfEach),
        // DISTINCT is grouping by all columns, at every time.
        Arc::new(ReplaceDistinctWithAggregate::new()),
        // Subqueries that read rows around below LIMIT, DISTINCT and the like: see the last of the rules on subqueries.
        Arc::new(UnnestSubqueries::Involved),
        // A subquery that gives one row at most is joined to each row it is asked for, grouped by what it reads of that row; what an aggregate
        // gives of no rows is put where there is no match.
        Arc::new(ScalarSubqueryToJoin::new()),
        // A relation in FROM that reads the relations before it is joined to them by what it reads.
        Arc::new(DecorrelateLateralJoin::new()),
        // Subqueries that these leave are asked once for all values that they read of the rows around, and joined by them: what a row is
        // joined to is what the subquery gives for it, at every time.
        Arc::new(UnnestSubqueries::Left),
        // Equalities of a join's condition become its keys. Nothing else changes.
        Arc::new(ExtractEquijoinPredicate::new()),
        // Relations listed with commas, and crossed ones, are joined by the equalities among the predicates on them: an inner join is a
        // cross product filtered, in any order, at every time.
        Arc::new(JoinInOrder(EliminateCrossJoin::new())),
        // An outer join whose added nulls a predicate above drops again is an inner join, at every time.
        Arc::new(EliminateOuterJoin::new()),
        // Grouping twice by one expression is grouping once.
        Arc::new(EliminateDuplicatedExpr::new()),
        // A predicate on the row alone commutes with projection, union, window assignment, and with grouping where it reads grouping
        // columns only: all rows of a group pass or none does. Watermarks are taken where rows are read, before any filter.
        Arc::new(PushFilterDown(PushDownFilter::new())),
        // An expression used twice is computed once. Volatile ones are left alone.
        Arc::new(CommonSubexprEliminate::new()),
        // Columns that nothing reads are not read; projections on projections are one.
        Arc::new(OptimizeProjections::new()),
    ]
}

/// [`PushDownFilter`], but never below an aggregate without grouping columns: that makes its one row of nothing, too, so a predicate
/// that reads no column (a HAVING that became `false`) would no longer drop it. Nor one that mixes the window of sessions with keys.
#[derive(Debug)]
struct PushFilterDown(PushDownFilter);

impl OptimizerRule for PushFilterDown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut below = &plan;
        while let LogicalPlan::Filter(filter) = below {
            below = &filter.input;
        }
        match (&plan, below) {
            (LogicalPlan::Filter(_), LogicalPlan::Aggregate(aggregate)) if aggregate.group_expr.is_empty() => Ok(Transformed::no(plan)),
            (LogicalPlan::Filter(filter), LogicalPlan::Aggregate(aggregate))
                if over_sessions(&aggregate.input) && split_conjunction(&filter.predicate).into_iter().any(mixed) =>
            {
                Ok(Transformed::no(plan))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// Rows of the plan are assigned to sessions, or to windows of so many rows.
fn over_sessions(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<AssignWindows>() {
            Some(windows) => windows.kind.needs_group(),
            None => extension.node.inputs().into_iter().any(over_sessions),
        },
        LogicalPlan::Aggregate(_) => false,
        other => other.inputs().into_iter().any(over_sessions),
    }
}

/// The predicate is on the window and on something else: below the aggregate it could not be asked, for no row knows its window.
fn mixed(predicate: &Expr) -> bool {
    let columns = predicate.column_refs();
    let of_window = columns.iter().filter(|column| WINDOW_COLUMNS.contains(&column.name.as_str())).count();
    of_window > 0 && of_window < columns.len()
}

/// [`EliminateCrossJoin`], but only where there is a cross product: elsewhere relations are joined in the order they are written, so that a
/// join that is bounded by time stays one.
#[derive(Debug)]
struct JoinInOrder(EliminateCrossJoin);

impl OptimizerRule for JoinInOrder {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let crossed = plan.exists(|node| {
            Ok(matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner && join.on.is_empty() && join.filter.is_none()))
        })?;
        if crossed { self.0.rewrite(plan, config) } else { Ok(Transformed::no(plan)) }
    }
}

/// Optimises a plan. Deterministic: same plan, same result.
///
/// # Errors
/// When a rule fails, such as on a constant expression that cannot be computed.
pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    single_row::check(&plan)?;
    let plan = single_row::one_row_in(plan)?;
    let context = OptimizerContext::new_with_config_options(Arc::new(crate::logical::config())).without_query_execution_start_time();
    let optimized = Optimizer::with_rules(rules()).optimize(plan.clone(), &context, |_, _| {})?;
    if relations(&plan)?.is_subset(&relations(&optimized)?) {
        return Ok(optimized);
    }
    // Of an aggregate without grouping columns, whose columns nothing reads, the pruning of columns leaves one row without a source. That
    // row is right, but the source it came from would no longer be read, nor end.
    let kept = rules().into_iter().filter(|rule| rule.name() != OptimizeProjections::new().name()).collect();
    Optimizer::with_rules(kept).optimize(plan, &context, |_, _| {})
}

/// The relations a plan reads.
fn relations(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.insert(scan.table_name.to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
