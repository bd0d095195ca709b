//! Numbers of two kinds side by side. A literal such as `0.1` is a decimal, so that integers and decimals stay exact; next to a float
//! it is a float. DataFusion would make the float a decimal there, which a great float does not fit.

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};

use arrow::datatypes::DataType;

/// Functions that give one of their arguments, so that these must be of one type.
const CHOOSING: [&str; 6] = ["coalesce", "nvl", "nullif", "greatest", "least", "nvl2"];

/// Rewrites all expressions of a plan.
pub(super) fn soften(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let mapped = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let softened = expr.transform_up(|expr| soften_expr(expr, &schema))?;
            Ok(softened.update_data(|expr| name.restore(expr)))
        })?;
        // Types of this node's columns may have changed with those below.
        mapped.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(rewritten.data)
}

/// Rewrites one expression, its parts being done already.
pub(super) fn soften_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    // What has no type yet is told when types are coerced.
    let kind = |expr: &Expr| match expr.get_type(schema) {
        Ok(DataType::Float16 | DataType::Float32 | DataType::Float64) => Kind::Float,
        Ok(DataType::Decimal32(_, _) | DataType::Decimal64(_, _) | DataType::Decimal128(_, _) | DataType::Decimal256(_, _)) => {
            Kind::Decimal
        }
        _ => Kind::Other,
    };
    let mixed = |all: &[&Expr]| {
        let kinds: Vec<Kind> = all.iter().map(|expr| kind(expr)).collect();
        kinds.contains(&Kind::Float) && kinds.contains(&Kind::Decimal)
    };
    let soft = |expr: Expr| match (kind(&expr), expr) {
        (Kind::Decimal, Expr::Literal(value, metadata)) => match value.cast_to(&DataType::Float64) {
            Ok(float) => Expr::Literal(float, metadata),
            Err(_) => cast(Expr::Literal(value, metadata), DataType::Float64),
        },
        (Kind::Decimal, expr) => cast(expr, DataType::Float64),
        (_, expr) => expr,
    };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if computes(op) && mixed(&[&left, &right]) => {
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: Box::new(soft(*left)), op, right: Box::new(soft(*right)) }))
        }
        Expr::Between(mut it) if mixed(&[&it.expr, &it.low, &it.high]) => {
            it.expr = Box::new(soft(*it.expr));
            it.low = Box::new(soft(*it.low));
            it.high = Box::new(soft(*it.high));
            Transformed::yes(Expr::Between(it))
        }
        Expr::InList(mut it) if mixed(&std::iter::once(it.expr.as_ref()).chain(&it.list).collect::<Vec<_>>()) => {
            it.expr = Box::new(soft(*it.expr));
            it.list = it.list.into_iter().map(soft).collect();
            Transformed::yes(Expr::InList(it))
        }
        Expr::Case(mut it)
            if mixed(&it.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(it.else_expr.as_deref()).collect::<Vec<_>>()) =>
        {
            it.when_then_expr = it.when_then_expr.into_iter().map(|(when, then)| (when, Box::new(soft(*then)))).collect();
            it.else_expr = it.else_expr.map(|expr| Box::new(soft(*expr)));
            Transformed::yes(Expr::Case(it))
        }
        Expr::ScalarFunction(mut it) if CHOOSING.contains(&it.func.name()) && mixed(&it.args.iter().collect::<Vec<_>>()) => {
            it.args = it.args.into_iter().map(soft).collect();
            Transformed::yes(Expr::ScalarFunction(it))
        }
        other => Transformed::no(other),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Decimal,
    Other,
}

fn computes(op: Operator) -> bool {
    use Operator as O;
    op.is_numerical_operators()
        || matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom)
}
