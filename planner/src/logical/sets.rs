//! INTERSECT and EXCEPT as a node of the logical plan: bags of rows, nulls equal to nulls. DataFusion would make joins of them, which count
//! rows otherwise.
//!
//! Before DataFusion plans a query, `a INTERSECT b` becomes `SELECT * FROM $intersect(a, b)`, a relation that is planned here.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion_common::{DFSchema, DFSchemaRef, Result};
use datafusion_expr::logical_plan::Extension;
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::type_coercion::binary::type_union_coercion;
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, cast};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor,
};
use datafusion_sql::sqlparser::tokenizer;

use super::errors::Located;
use crate::PlanError;
use crate::plan::SetOperation;

/// A set operation over two relations of equal columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetNode {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    pub(crate) kind: SetOperation,
    /// Where it was written.
    pub(crate) span: tokenizer::Span,
    schema: DFSchemaRef,
}

impl SetNode {
    fn new(left: LogicalPlan, right: LogicalPlan, kind: SetOperation, span: tokenizer::Span) -> Result<Self> {
        let fields = left.schema().fields().iter().zip(right.schema().fields()).map(|(left, right)| {
            let nullable = left.is_nullable() || (right.is_nullable() && !matches!(kind, SetOperation::Except | SetOperation::ExceptAll));
            (None, Arc::new(left.as_ref().clone().with_nullable(nullable)))
        });
        let schema = Arc::new(DFSchema::new_with_metadata(fields.collect(), left.schema().metadata().clone())?);
        Ok(Self { left, right, kind, span, schema })
    }

    /// The same operation over other relations.
    pub(crate) fn over(&self, left: LogicalPlan, right: LogicalPlan) -> Result<Self> {
        Self::new(left, right, self.kind, self.span)
    }

    /// The operation in SQL.
    pub(crate) fn words(kind: SetOperation) -> &'static str {
        match kind {
            SetOperation::Intersect => "INTERSECT",
            SetOperation::IntersectAll => "INTERSECT ALL",
            SetOperation::Except => "EXCEPT",
            SetOperation::ExceptAll => "EXCEPT ALL",
        }
    }
}

impl Hash for SetNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl PartialOrd for SetNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for SetNode {
    fn name(&self) -> &str {
        "SetOperation"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    /// Predicates stay above: the columns of the two sides have other names.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::words(self.kind))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.pop()) {
            (Some(right), Some(left)) => Ok(Self { left, right, ..self.clone() }),
            _ => datafusion_common::internal_err!("a set operation has two inputs"),
        }
    }

    /// Every column tells rows apart.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        Some(vec![all.clone(), all])
    }
}

const NAMES: [(&str, SetOperation); 4] = [
    ("$intersect", SetOperation::Intersect),
    ("$intersect_all", SetOperation::IntersectAll),
    ("$except", SetOperation::Except),
    ("$except_all", SetOperation::ExceptAll),
];

/// Puts the relations of this file in the place of INTERSECT and EXCEPT in a query, not in the queries inside of it.
pub(super) fn encode(query: &mut Query) {
    encode_body(&mut query.body);
}

fn encode_body(body: &mut SetExpr) {
    let SetExpr::SetOperation { op, left, right, set_quantifier } = body else { return };
    let kind = match (op, set_quantifier) {
        (SetOperator::Intersect, SetQuantifier::All) => SetOperation::IntersectAll,
        (SetOperator::Intersect, SetQuantifier::None | SetQuantifier::Distinct) => SetOperation::Intersect,
        (SetOperator::Except | SetOperator::Minus, SetQuantifier::All) => SetOperation::ExceptAll,
        (SetOperator::Except | SetOperator::Minus, SetQuantifier::None | SetQuantifier::Distinct) => SetOperation::Except,
        _ => {
            encode_body(left);
            encode_body(right);
            return;
        }
    };
    let span = left.span().union(&right.span());
    let name = NAMES.iter().find(|(_, it)| *it == kind).map_or("", |(name, _)| name);
    let placeholder = || Box::new(SetExpr::Values(ast::Values { explicit_row: false, value_keyword: false, rows: vec![] }));
    let side = |body: &mut Box<SetExpr>| {
        let body = std::mem::replace(body, placeholder());
        let query = super::joins::query_of(body);
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(Box::new(query))))
    };
    let factor = TableFactor::Function {
        lateral: false,
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident { value: name.into(), quote_style: None, span })]),
        args: vec![side(left), side(right)],
        with_ordinality: false,
        alias: None,
    };
    *body = SetExpr::Select(Box::new(super::joins::select_all(factor)));
}

/// The operation and its sides, if a relation is one of this file's.
pub(super) fn decode(factor: &TableFactor) -> Option<(SetOperation, [&Query; 2], tokenizer::Span)> {
    let TableFactor::Function { name: ObjectName(parts), args, .. } = factor else { return None };
    let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return None };
    let (_, kind) = NAMES.iter().find(|(it, _)| *it == name.value)?;
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(left))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(right))),
    ] = args.as_slice()
    else {
        return None;
    };
    Some((*kind, [left, right], name.span))
}

/// Plans the relations of this file.
#[derive(Debug)]
pub(super) struct SetPlanner;

impl RelationPlanner for SetPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some((kind, sides, span)) = decode(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let mut plans = Vec::new();
        for side in sides {
            let derived = TableFactor::Derived { lateral: false, subquery: Box::new(side.clone()), alias: None, sample: None };
            // Types are settled here: what is above sees the common ones.
            plans.push(TypeCoercion::new().analyze(super::numbers::soften(context.plan(derived)?)?, &super::config())?);
        }
        let widths = [plans[0].schema().fields().len(), plans[1].schema().fields().len()];
        if widths[0] != widths[1] {
            let message = format!("{} of {} columns and {}", SetNode::words(kind), widths[0], widths[1]);
            let error = PlanError::new("plan::column_count", message, None).help("Select as many columns on both sides.");
            return Err(datafusion_common::DataFusionError::External(Box::new(Located { error, span })));
        }
        let mut types = Vec::new();
        for (left, right) in plans[0].schema().fields().iter().zip(plans[1].schema().fields()) {
            let Some(common) = type_union_coercion(left.data_type(), right.data_type()) else {
                let (l, r) = (super::type_name(left.data_type()), super::type_name(right.data_type()));
                let message = format!("column \"{}\" is {l} on one side and {r} on the other", left.name());
                let error = PlanError::new("plan::type_mismatch", message, None).help("Convert one side: CAST(x AS …).");
                return Err(datafusion_common::DataFusionError::External(Box::new(Located { error, span })));
            };
            types.push(common);
        }
        let cast_all = |plan: LogicalPlan| -> Result<LogicalPlan> {
            if plan.schema().fields().iter().zip(&types).all(|(field, wanted)| field.data_type() == wanted) {
                return Ok(plan);
            }
            let exprs = plan.schema().columns().into_iter().zip(plan.schema().fields()).zip(&types).map(|((column, field), wanted)| {
                let name = column.name.clone();
                let expr = Expr::Column(column);
                if field.data_type() == wanted { expr } else { cast(expr, wanted.clone()).alias(name) }
            });
            let exprs: Vec<Expr> = exprs.collect();
            LogicalPlanBuilder::from(plan).project(exprs)?.build()
        };
        let right = cast_all(plans.remove(1))?;
        let left = cast_all(plans.remove(0))?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(SetNode::new(left, right, kind, span)?) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
    }
}
