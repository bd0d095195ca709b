//! DISTINCT ON as what it means: the first row of each group by the order. DataFusion's own rewriting takes the first value of each
//! column by itself, which may come from different rows where the order leaves ties.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, Result};
use datafusion_expr::expr::{Sort, WindowFunction, WindowFunctionDefinition};
use datafusion_expr::expr_rewriter::{normalize_col, normalize_cols, normalize_sorts};
use datafusion_expr::logical_plan::{Distinct, DistinctOn, Window};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion_functions_window::row_number::row_number_udwf;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct FirstRowOfEach;

impl OptimizerRule for FirstRowOfEach {
    fn name(&self) -> &str {
        "first_row_of_each"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Distinct(Distinct::On(distinct)) = plan else { return Ok(Transformed::no(plan)) };
        let DistinctOn { on_expr, select_expr, sort_expr, schema, input } = distinct;
        let partition_by = normalize_cols(on_expr, input.as_ref())?;
        let order_by = normalize_sorts(sort_expr.unwrap_or_default(), input.as_ref())?;
        let select = select_expr
            .into_iter()
            .zip(schema.iter())
            .map(|(expr, (qualifier, field))| Ok(normalize_col(expr, input.as_ref())?.alias_qualified(qualifier.cloned(), field.name())))
            .collect::<Result<Vec<_>>>()?;
        let (ranked, rank) = numbered(input, partition_by, order_by)?;
        let first = LogicalPlanBuilder::from(ranked).filter(rank.lt_eq(lit(1_u64)))?;
        let plan = first.project(select)?.build()?;
        Ok(Transformed::yes(plan))
    }
}

/// Rows with their number in each group by an order, and that number.
pub(super) fn numbered(input: Arc<LogicalPlan>, partition_by: Vec<Expr>, order_by: Vec<Sort>) -> Result<(LogicalPlan, Expr)> {
    let mut call = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    call.params.partition_by = partition_by;
    call.params.order_by = order_by;
    let window = Window::try_new(vec![Expr::WindowFunction(Box::new(call))], input)?;
    let number = Column::from(window.schema.qualified_field(window.schema.fields().len() - 1));
    Ok((LogicalPlan::Window(window), col(number)))
}
