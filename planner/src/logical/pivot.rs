//! PIVOT and UNPIVOT as the queries they stand for: a group for the columns that are not named, with an aggregate for each value; and one query
//! for each column, put together.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, Expr, ExprWithAlias, GroupByExpr, Ident, NullInclusion, PivotValueSource, Select, SelectItem, SetExpr,
    SetOperator, SetQuantifier, Spanned, TableAlias, TableFactor, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer;

use super::errors::Located;
use super::joins::{query_of, select_all};
use super::names::is_metadata;
use crate::PlanError;

/// Plans the relations of this file.
#[derive(Debug)]
pub(super) struct PivotPlanner;

impl RelationPlanner for PivotPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let (query, alias) = match relation {
            TableFactor::Pivot { table, aggregate_functions, value_column, value_source, default_on_null, alias } => {
                let pivot = Pivot { aggregates: aggregate_functions, by: value_column, values: value_source, default: default_on_null };
                (pivot.query(*table, context)?, alias)
            }
            TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
                (unpivot(*table, value, name, columns, null_inclusion, context)?, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let plan = context.plan(TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: None, sample: None })?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The names of the columns that a PIVOT or UNPIVOT makes.
pub(super) fn made(factor: &TableFactor) -> Vec<String> {
    match factor {
        TableFactor::Pivot { aggregate_functions, value_source: PivotValueSource::List(values), .. } => {
            values.iter().flat_map(|value| aggregate_functions.iter().map(move |aggregate| column_name(value, aggregate))).collect()
        }
        TableFactor::Unpivot { value: Expr::Identifier(value), name, .. } => vec![value.value.clone(), name.value.clone()],
        _ => vec![],
    }
}

/// The alias of a PIVOT or UNPIVOT.
pub(super) fn alias_of(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Pivot { alias, .. } | TableFactor::Unpivot { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// `value`, or `value_alias` of the aggregate.
fn column_name(value: &ExprWithAlias, aggregate: &ExprWithAlias) -> String {
    let value = match (&value.alias, &value.expr) {
        (Some(alias), _) => alias.value.clone(),
        (None, Expr::Value(ValueWithSpan { value, .. })) => value.clone().into_string().unwrap_or_else(|| value.to_string()),
        (None, other) => other.to_string(),
    };
    aggregate.alias.as_ref().map_or_else(|| value.clone(), |alias| format!("{value}_{}", alias.value))
}

fn not_yet<T>(what: &str, span: tokenizer::Span, way_out: &str) -> Result<T> {
    let error = PlanError::new("plan::not_yet", format!("{what} not supported yet"), None).help(way_out);
    Err(DataFusionError::External(Box::new(Located { error, span })))
}

fn quoted(name: &str, span: tokenizer::Span) -> Ident {
    Ident { value: name.to_string(), quote_style: Some('"'), span }
}

/// The columns that expressions read, by their last names.
fn read(exprs: &[&Expr]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for expr in exprs {
        let _ = ast::visit_expressions(*expr, |expr| {
            match expr {
                Expr::Identifier(ident) => names.insert(ident.value.clone()),
                Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| names.insert(ident.value.clone())),
                _ => false,
            };
            ControlFlow::<()>::Continue(())
        });
    }
    names
}

/// The columns of a relation besides some.
fn others(table: &TableFactor, named: &BTreeSet<String>, context: &mut dyn RelationPlannerContext) -> Result<Vec<Ident>> {
    let plan = context.plan(table.clone())?;
    let fields = plan.schema().fields().iter().map(|field| field.name()).filter(|name| !named.contains(*name) && !is_metadata(name));
    Ok(fields.map(|name| quoted(name, table.span())).collect())
}

struct Pivot {
    aggregates: Vec<ExprWithAlias>,
    by: Vec<Expr>,
    values: PivotValueSource,
    default: Option<Expr>,
}

impl Pivot {
    fn query(self, table: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<ast::Query> {
        let span = table.span();
        let [by] = self.by.as_slice() else {
            return not_yet(
                "PIVOT by several columns is",
                span,
                "Make one of them: FOR (a || '-' || b) …, in a query around the relation.",
            );
        };
        let PivotValueSource::List(values) = &self.values else {
            return not_yet(
                "PIVOT over values that are not listed is",
                span,
                "List them: FOR column IN ('a', 'b'), for columns cannot come and go.",
            );
        };
        let named: Vec<&Expr> = self.aggregates.iter().map(|it| &it.expr).chain([by]).collect();
        let groups = others(&table, &read(&named), context)?;
        let mut items: Vec<SelectItem> = groups.iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name.clone()))).collect();
        for value in values {
            for aggregate in &self.aggregates {
                let Expr::Function(call) = &aggregate.expr else {
                    return not_yet("this aggregate of a PIVOT is", aggregate.expr.span(), "Call one function, such as sum(x).");
                };
                let mut call = call.clone();
                let here = Expr::BinaryOp { left: Box::new(by.clone()), op: BinaryOperator::Eq, right: Box::new(value.expr.clone()) };
                let both = |filter: Box<Expr>| {
                    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
                    Expr::BinaryOp { left: nested(*filter), op: BinaryOperator::And, right: nested(here.clone()) }
                };
                call.filter = Some(Box::new(call.filter.take().map_or_else(|| here.clone(), both)));
                let mut expr = Expr::Function(call);
                if let Some(default) = &self.default {
                    let null = Expr::IsNull(Box::new(expr.clone()));
                    expr = Expr::Case {
                        case_token: ast::helpers::attached_token::AttachedToken::empty(),
                        end_token: ast::helpers::attached_token::AttachedToken::empty(),
                        operand: None,
                        conditions: vec![ast::CaseWhen { condition: null, result: default.clone() }],
                        else_result: Some(Box::new(expr)),
                    };
                }
                items.push(SelectItem::ExprWithAlias { expr, alias: quoted(&column_name(value, aggregate), span) });
            }
        }
        let group_by = GroupByExpr::Expressions(groups.into_iter().map(Expr::Identifier).collect(), vec![]);
        Ok(query_of(Box::new(SetExpr::Select(Box::new(Select { projection: items, group_by, ..select_all(table) })))))
    }
}

fn unpivot(
    table: TableFactor,
    value: Expr,
    name: Ident,
    columns: Vec<ExprWithAlias>,
    nulls: Option<NullInclusion>,
    context: &mut dyn RelationPlannerContext,
) -> Result<ast::Query> {
    let span = table.span();
    let Expr::Identifier(value) = value else {
        return not_yet("UNPIVOT into several columns is", value.span(), "Name one: UNPIVOT (value FOR name IN (a, b)).");
    };
    let kept = others(&table, &read(&columns.iter().map(|it| &it.expr).collect::<Vec<_>>()), context)?;
    let mut whole: Option<SetExpr> = None;
    for column in columns {
        let word = match (&column.alias, &column.expr) {
            (Some(alias), _) => alias.value.clone(),
            (None, Expr::Identifier(ident)) => ident.value.clone(),
            (None, other) => return not_yet("this column of an UNPIVOT is", other.span(), "Name columns: FOR name IN (a, b)."),
        };
        let mut items: Vec<SelectItem> = kept.iter().map(|name| SelectItem::UnnamedExpr(Expr::Identifier(name.clone()))).collect();
        let word = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(word), span });
        items.push(SelectItem::ExprWithAlias { expr: word, alias: quoted(&name.value, name.span) });
        items.push(SelectItem::ExprWithAlias { expr: column.expr.clone(), alias: quoted(&value.value, value.span) });
        let selection = (nulls != Some(NullInclusion::IncludeNulls)).then(|| Expr::IsNotNull(Box::new(column.expr)));
        let one = SetExpr::Select(Box::new(Select { projection: items, selection, ..select_all(table.clone()) }));
        whole = Some(match whole {
            None => one,
            Some(before) => SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: Box::new(before),
                right: Box::new(one),
            },
        });
    }
    match whole {
        Some(body) => Ok(query_of(Box::new(body))),
        None => not_yet("UNPIVOT of no column is", span, "Name columns: FOR name IN (a, b)."),
    }
}
