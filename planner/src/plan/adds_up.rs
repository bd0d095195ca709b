//! Whether equal rows of an epoch are added up where they come out: then nobody has to sort them to find out.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::CastExpr;

use super::{NodeId, PhysicalOp, PhysicalPlan, Step, TopNPlan};
use crate::lower::expr::{as_column, columns};

impl PhysicalPlan {
    /// Each row comes out of a node once in an epoch, with the sum of its changes.
    pub fn adds_up(&self, id: NodeId) -> bool {
        let node = self.node(id);
        match &node.op {
            PhysicalOp::Aggregate { .. } => true,
            PhysicalOp::TopN(plan) => plan.adds_up(),
            PhysicalOp::Stateless { input, steps, schemas } => {
                let before = std::iter::once(&self.node(*input).props.schema).chain(schemas);
                steps.iter().zip(before).all(|(step, schema)| keeps_apart(step, schema)) && self.adds_up(*input)
            }
            _ => false,
        }
    }
}

impl TopNPlan {
    /// Equal rows are equal for the operator: it reads no column that does not come out.
    fn adds_up(&self) -> bool {
        let read = self.partition_by.iter().chain(self.order_by.iter().map(|key| &key.expr));
        read.flat_map(columns).all(|column| self.output.contains(&column))
    }
}

/// Whether different rows of a schema stay different.
fn keeps_apart(step: &Step, schema: &Schema) -> bool {
    match step {
        Step::Filter { .. } => true,
        Step::Project { exprs } => {
            let kept: BTreeSet<usize> = exprs.iter().filter_map(|named| one_to_one(&named.expr, schema)).collect();
            kept.len() == schema.fields().len()
        }
        Step::Arrival => true,
        Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Unnest { .. } => false,
    }
}

/// The column whose values an expression gives, perhaps as other whole numbers.
fn one_to_one(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<usize> {
    let Some(cast) = expr.downcast_ref::<CastExpr>() else { return as_column(expr) };
    let column = as_column(cast.expr())?;
    // A whole number that does not fit is an error, never another number.
    let whole = cast.cast_type().is_integer() && schema.field(column).data_type().is_integer();
    (whole && !cast.cast_options().safe).then_some(column)
}
