//! GROUPING SETS, ROLLUP and CUBE as what they mean: one aggregate for each grouping over the same rows, all of them together. A column that a
//! grouping leaves out is null in its rows; which ones are is told by the column that `grouping()` reads.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DFSchema, Result, ScalarValue};
use datafusion_expr::expr::GroupingSet;
use datafusion_expr::logical_plan::{Aggregate, Projection, Union};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct OneAggregateForEach;

impl OptimizerRule for OneAggregateForEach {
    fn name(&self) -> &str {
        "one_aggregate_for_each"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        let [Expr::GroupingSet(grouping)] = aggregate.group_expr.as_slice() else { return Ok(Transformed::no(plan)) };
        let all: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        let mut inputs: Vec<Arc<LogicalPlan>> = Vec::new();
        let mut seen: Vec<Vec<bool>> = Vec::new();
        for set in sets(grouping) {
            let kept: Vec<bool> = all.iter().map(|expr| set.contains(expr)).collect();
            // A grouping that is named twice comes out twice; its ordinal keeps the two apart.
            let ordinal = seen.iter().filter(|other| **other == kept).count();
            inputs.push(Arc::new(one(aggregate, &all, &kept, ordinal)?));
            seen.push(kept);
        }
        // A union's columns have no qualifiers: they have names of their own in it, and their right names above it.
        let fields: Vec<FieldRef> = (aggregate.schema.fields().iter().enumerate())
            .map(|(place, field)| Arc::new(field.as_ref().clone().with_name(name(place))))
            .collect();
        let schema = Arc::new(DFSchema::from_unqualified_fields(fields.into(), HashMap::new())?);
        let all = match inputs.len() {
            1 => inputs.remove(0),
            _ => Arc::new(LogicalPlan::Union(Union { inputs, schema })),
        };
        let exprs = aggregate.schema.iter().enumerate().map(|(place, (qualifier, field))| {
            Expr::Column(Column::new_unqualified(name(place))).alias_qualified(qualifier.cloned(), field.name())
        });
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs.collect(), all)?)))
    }
}

/// The name of a column in the union.
fn name(place: usize) -> String {
    format!("__grouped_{place}")
}

/// The groupings that are asked for.
fn sets(grouping: &GroupingSet) -> Vec<Vec<Expr>> {
    match grouping {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|len| exprs[..len].to_vec()).collect(),
        GroupingSet::Cube(exprs) => (0..1_usize << exprs.len())
            .map(|left_out| {
                let kept = |place: &usize| left_out >> (exprs.len() - 1 - place) & 1 == 0;
                (0..exprs.len()).filter(kept).map(|place| exprs[place].clone()).collect()
            })
            .collect(),
    }
}

/// One grouping, with the columns of all.
fn one(aggregate: &Aggregate, all: &[Expr], kept: &[bool], ordinal: usize) -> Result<LogicalPlan> {
    let keys: Vec<Expr> = all.iter().zip(kept).filter(|(_, kept)| **kept).map(|(expr, _)| expr.clone()).collect();
    let width = keys.len();
    let made = Aggregate::try_new(Arc::clone(&aggregate.input), keys, aggregate.aggr_expr.clone())?;
    let column = |place: usize| Expr::Column(Column::from(made.schema.qualified_field(place)));
    let left_out = kept.iter().fold(0_u64, |bits, kept| (bits << 1) | u64::from(!kept));
    let id = left_out | ((ordinal as u64) << all.len());
    let mut next = 0;
    let mut exprs = Vec::new();
    for (place, field) in aggregate.schema.fields().iter().enumerate() {
        let expr = match kept.get(place) {
            Some(true) => {
                next += 1;
                column(next - 1)
            }
            Some(false) => Expr::Literal(ScalarValue::try_from(field.data_type())?, None),
            None if place == all.len() => Expr::Literal(ScalarValue::UInt64(Some(id)).cast_to(field.data_type())?, None),
            None => column(width + place - all.len() - 1),
        };
        exprs.push(expr.alias(name(place)));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(LogicalPlan::Aggregate(made)))?))
}
