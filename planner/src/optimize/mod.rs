//! # Optimisation
//!
//! The rules that rewrite a logical plan, each with the reason why it keeps the meaning over an input that changes. A rule that is not
//! here was left out on purpose: rules that make results depend on order or number of rows (`push_down_limit`, `eliminate_limit`), that
//! drop a source because its rows cannot matter, and with it its end and its watermark (`propagate_empty_relation`,
//! `eliminate_filter`), that turn one aggregate into two, so that the upper one takes rows back (`single_distinct_to_groupby`), and those
//! for joins and subqueries, which cannot be planned yet.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_optimizer::simplify_expressions::SimplifyExpressions;
use datafusion_optimizer::{Optimizer, OptimizerContext, OptimizerRule};

#[cfg(test)]
mod tests;

/// The rules, in order.
fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        // Nested unions become one. A bag union is associative at every time.
        Arc::new(OptimizeUnions::new()),
        // Constants are computed once. What a row gives depends on the row alone; the clock is not asked, so `now()` stays.
        Arc::new(SimplifyExpressions::new()),
        // DISTINCT is grouping by all columns, at every time.
        Arc::new(ReplaceDistinctWithAggregate::new()),
        // Grouping twice by one expression is grouping once.
        Arc::new(EliminateDuplicatedExpr::new()),
        // A predicate on the row alone commutes with projection, union, window assignment, and with grouping where it reads grouping
        // columns only: all rows of a group pass or none does. Watermarks are taken where rows are read, before any filter.
        Arc::new(PushDownFilter::new()),
        // An expression used twice is computed once. Volatile ones are left alone.
        Arc::new(CommonSubexprEliminate::new()),
        // Columns that nothing reads are not read; projections on projections are one.
        Arc::new(OptimizeProjections::new()),
    ]
}

/// Optimises a plan. Deterministic: same plan, same result.
///
/// # Errors
/// When a rule fails, such as on a constant expression that cannot be computed.
pub(crate) fn optimize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let context = OptimizerContext::new_with_config_options(Arc::new(crate::logical::config())).without_query_execution_start_time();
    Optimizer::with_rules(rules()).optimize(plan, &context, |_, _| {})
}
