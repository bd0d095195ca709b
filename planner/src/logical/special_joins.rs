//! Joins that DataFusion does not plan, or not as they are meant: AS OF, WITHIN, UNNEST of a column, NATURAL, and USING that keeps rows of
//! the right side without a match.
//!
//! Before DataFusion plans a query, each of them gets parentheses of its own, `(left JOIN right …)`, which is a relation; those are planned
//! here.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion_common::{Column, JoinType, NullHandling, Result, ScalarValue, UnnestOptions};
use datafusion_expr::logical_plan::{Extension, Join};
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr};
use datafusion_functions::core::expr_fn::coalesce;
use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Spanned, TableFactor, TableVersion, TableWithJoins, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer;

use super::as_of::AsOf;
use super::errors::Located;
use super::names::is_metadata;
use super::windows::event_time;
use crate::PlanError;
use crate::parse::{WITHIN, constraint_mut, unmarked};

/// What is special about a join.
#[derive(Debug, PartialEq)]
enum Special {
    /// `ASOF JOIN … MATCH_CONDITION (…)`.
    AsOf,
    /// `JOIN … FOR SYSTEM_TIME AS OF time`.
    SystemTime,
    /// `WITHIN duration`.
    Within,
    /// `JOIN UNNEST(list)`.
    Unnest,
    /// NATURAL.
    Natural,
    /// RIGHT or FULL with USING.
    UsingOfRight,
}

fn special(join: &ast::Join) -> Option<Special> {
    if matches!(join.join_operator, JoinOperator::AsOf { .. }) {
        return Some(Special::AsOf);
    }
    if let TableFactor::Table { version: Some(_), .. } = &join.relation {
        return Some(Special::SystemTime);
    }
    if matches!(join.relation, TableFactor::UNNEST { .. }) {
        return Some(Special::Unnest);
    }
    let constraint = constraint(&join.join_operator)?;
    if within(constraint).is_some() {
        return Some(Special::Within);
    }
    match (constraint, &join.join_operator) {
        (JoinConstraint::Natural, _) => Some(Special::Natural),
        (JoinConstraint::Using(_), JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)) => {
            Some(Special::UsingOfRight)
        }
        _ => None,
    }
}

/// What rows of a join must meet.
pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(it)
        | J::Inner(it)
        | J::Left(it)
        | J::LeftOuter(it)
        | J::Right(it)
        | J::RightOuter(it)
        | J::FullOuter(it)
        | J::CrossJoin(it)
        | J::Semi(it)
        | J::LeftSemi(it)
        | J::RightSemi(it)
        | J::Anti(it)
        | J::LeftAnti(it)
        | J::RightAnti(it)
        | J::StraightJoin(it)
        | J::AsOf { constraint: it, .. } => Some(it),
        _ => None,
    }
}

/// The condition before WITHIN, and the two durations in microseconds: how much earlier and how much later than left a right row may be.
fn within(constraint: &JoinConstraint) -> Option<(&ast::Expr, [i64; 2])> {
    let JoinConstraint::On(ast::Expr::BinaryOp { left, op: BinaryOperator::And, right }) = constraint else { return None };
    let ast::Expr::Function(call) = right.as_ref() else { return None };
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    let number = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }))) => {
            digits.parse::<i64>().ok()
        }
        _ => None,
    };
    match (name.value.as_str(), list.args.as_slice()) {
        (WITHIN, [before, after]) => Some((left, [number(before)?, number(after)?])),
        _ => None,
    }
}

/// Gives special joins in FROM parentheses of their own. Relations behind a comma that read those before it are joined to them.
pub(super) fn encode(from: &mut Vec<TableWithJoins>) {
    while let Some(place) = from.iter().position(|it| matches!(it.relation, TableFactor::UNNEST { .. })).filter(|it| *it > 0) {
        let unnest = from.remove(place);
        let mut before = from.drain(..place);
        let Some(mut whole) = before.next() else { break };
        for other in before {
            whole.joins.push(crossed(other.relation));
            whole.joins.extend(other.joins);
        }
        whole.joins.push(crossed(unnest.relation));
        whole.joins.extend(unnest.joins);
        from.insert(0, whole);
    }
    from.iter_mut().for_each(encode_table);
}

fn crossed(relation: TableFactor) -> ast::Join {
    ast::Join { relation, global: false, join_operator: JoinOperator::CrossJoin(JoinConstraint::None) }
}

/// The same for joins in parentheses. A special join that is alone in them, as those made here, stays.
pub(super) fn encode_nested(table: &mut TableWithJoins) {
    if table.joins.len() != 1 || special(&table.joins[0]).is_none() {
        encode_table(table);
    }
}

fn encode_table(table: &mut TableWithJoins) {
    while let Some(place) = table.joins.iter().position(|join| special(join).is_some()) {
        let rest = table.joins.split_off(place + 1);
        let Some(join) = table.joins.pop() else { break };
        let nothing =
            TableFactor::UNNEST { alias: None, array_exprs: vec![], with_offset: false, with_offset_alias: None, with_ordinality: false };
        let first = std::mem::replace(&mut table.relation, nothing);
        let before = std::mem::take(&mut table.joins);
        let left = if before.is_empty() { first } else { nested(TableWithJoins { relation: first, joins: before }) };
        table.relation = nested(TableWithJoins { relation: left, joins: vec![join] });
        table.joins = rest;
    }
}

fn nested(table: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table), alias: None }
}

/// Plans the joins of this file.
#[derive(Debug)]
pub(super) struct JoinPlanner;

impl RelationPlanner for JoinPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let kind = match &relation {
            TableFactor::NestedJoin { table_with_joins, .. } if table_with_joins.joins.len() == 1 => special(&table_with_joins.joins[0]),
            _ => None,
        };
        let (Some(kind), TableFactor::NestedJoin { table_with_joins, alias }) = (kind, relation.clone()) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let TableWithJoins { relation: left, mut joins } = *table_with_joins;
        let join = joins.remove(0);
        let plan = match kind {
            Special::AsOf => as_of(left, join, context)?,
            Special::SystemTime => system_time(left, join, context)?,
            Special::Within => bounded(left, join, context)?,
            Special::Unnest => unnested(left, join, context)?,
            Special::Natural => natural(left, join, context)?,
            Special::UsingOfRight => using(left, join, context)?,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn refused<T>(error: PlanError, span: tokenizer::Span) -> Result<T> {
    Err(datafusion_common::DataFusionError::External(Box::new(Located { error, span })))
}

fn not_yet<T>(what: &str, span: tokenizer::Span, way_out: &str) -> Result<T> {
    refused(PlanError::new("plan::not_yet", format!("{what} not supported yet"), None).help(way_out), span)
}

/// The condition of an AS OF join, as one expression over both sides.
fn condition(
    constraint: &JoinConstraint,
    left: &LogicalPlan,
    right: &LogicalPlan,
    span: tokenizer::Span,
    context: &mut dyn RelationPlannerContext,
) -> Result<Expr> {
    match constraint {
        JoinConstraint::On(expr) => {
            let both = left.schema().join(right.schema())?;
            context.sql_to_expr(expr.clone(), &both)
        }
        JoinConstraint::Using(names) => {
            let mut all: Option<Expr> = None;
            for name in names {
                let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
                    return not_yet("this USING is", span, "Name columns.");
                };
                let one = key_of(left, ident)?.eq(key_of(right, ident)?);
                all = Some(all.map_or(one.clone(), |all| all.and(one)));
            }
            Ok(all.unwrap_or_else(|| datafusion_expr::lit(true)))
        }
        JoinConstraint::None => Ok(datafusion_expr::lit(true)),
        JoinConstraint::Natural => not_yet("NATURAL here is", span, "Name the columns: USING (…)."),
    }
}

fn key_of(plan: &LogicalPlan, ident: &Ident) -> Result<Expr> {
    let column = Column::new_unqualified(&ident.value);
    datafusion_expr::expr_rewriter::normalize_col(Expr::Column(column), plan)
}

fn as_of(left: TableFactor, join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else {
        return datafusion_common::internal_err!("an ASOF join has a match condition");
    };
    let (left, right) = (context.plan(left)?, context.plan(join.relation.clone())?);
    let both = left.schema().join(right.schema())?;
    let (match_condition, outer) = unmarked(match_condition);
    let time = context.sql_to_expr(match_condition.clone(), &both)?;
    let comparison =
        matches!(&time, Expr::BinaryExpr(it) if matches!(it.op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq));
    if !comparison {
        let error = PlanError::new("plan::wrong_match_condition", "MATCH_CONDITION is no comparison of two times", None)
            .help("Compare a column of each side: MATCH_CONDITION (a.ts >= b.ts).");
        return refused(error, match_condition.span());
    }
    let condition = condition(constraint, &left, &right, span, context)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(AsOf::new(left, right, outer, condition, time, span)?) }))
}

fn system_time(left: TableFactor, mut join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let outer = match &join.join_operator {
        JoinOperator::Join(_) | JoinOperator::Inner(_) => false,
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => true,
        _ => {
            return not_yet(
                "this join AS OF a time is",
                span,
                "Write JOIN or LEFT JOIN: the right side is looked up for each row of the left.",
            );
        }
    };
    let version = match &mut join.relation {
        TableFactor::Table { version, .. } => version.take(),
        _ => None,
    };
    let Some(TableVersion::ForSystemTimeAsOf(time)) = version else {
        return not_yet("this version of a relation is", span, "Write FOR SYSTEM_TIME AS OF a time of the left side.");
    };
    let (left, right) = (context.plan(left)?, context.plan(join.relation.clone())?);
    let time = context.sql_to_expr(time, left.schema())?;
    let time = datafusion_expr::expr_rewriter::normalize_col(time, &left)?;
    let time = match event_time(&right) {
        Some(column) => binary_expr(time, Operator::GtEq, Expr::Column(column)),
        None => time,
    };
    let condition = match constraint(&join.join_operator) {
        Some(constraint) => condition(constraint, &left, &right, span, context)?,
        None => datafusion_expr::lit(true),
    };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(AsOf::new(left, right, outer, condition, time, span)?) }))
}

fn bounded(left: TableFactor, mut join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let Some((plain, [before, after])) =
        constraint(&join.join_operator).and_then(within).map(|(plain, durations)| (plain.clone(), durations))
    else {
        return datafusion_common::internal_err!("WITHIN has durations");
    };
    if let Some(constraint) = constraint_mut(&mut join.join_operator) {
        *constraint = JoinConstraint::On(plain);
    }
    let planned = context.plan(nested(TableWithJoins { relation: left, joins: vec![join] }))?;
    let LogicalPlan::Join(join) = planned else {
        return not_yet("WITHIN here is", span, "Compare the times in ON: a.ts BETWEEN b.ts - INTERVAL '5' MINUTE AND b.ts.");
    };
    let mut times = Vec::new();
    for (side, word) in [(&join.left, "left"), (&join.right, "right")] {
        let Some(column) = event_time(side) else {
            let error = PlanError::new("plan::no_event_time", format!("the {word} side of this join has no event time"), None)
                .label("WITHIN compares event times")
                .help("Add WATERMARK FOR a timestamp column to its source, or compare columns in ON.");
            return refused(error, span);
        };
        times.push(Expr::Column(column));
    }
    let (Some(right), Some(left)) = (times.pop(), times.pop()) else {
        return datafusion_common::internal_err!("a join has two sides");
    };
    let interval =
        |us: i64| Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, us.saturating_mul(1_000)))), None);
    let earliest = binary_expr(left.clone(), Operator::Minus, interval(before));
    let latest = binary_expr(left, Operator::Plus, interval(after));
    let bound = right.clone().gt_eq(earliest).and(right.lt_eq(latest));
    let filter = Some(join.filter.clone().map_or(bound.clone(), |filter| filter.and(bound)));
    Ok(LogicalPlan::Join(Join { filter, ..join }))
}

/// NATURAL as USING of the columns both sides have. Columns that nobody declared do not count.
fn natural(left: TableFactor, mut join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let sides = [context.plan(left.clone())?, context.plan(join.relation.clone())?];
    let known: Vec<&String> = sides[0].schema().fields().iter().map(|field| field.name()).collect();
    let common = sides[1].schema().fields().iter().map(|field| field.name()).filter(|name| known.contains(name) && !is_metadata(name));
    let names: Vec<ObjectName> = common
        .map(|name| ObjectName(vec![ObjectNamePart::Identifier(Ident { value: name.clone(), quote_style: Some('"'), span })]))
        .collect();
    if names.is_empty() {
        let error = PlanError::new("plan::no_common_column", "the two sides have no column of one name", None)
            .label("NATURAL joins by the columns both have")
            .help("Say what is equal: JOIN … ON a.x = b.y, or write CROSS JOIN.");
        return refused(error, span);
    }
    let kind = match &join.join_operator {
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Some(JoinType::Right),
        JoinOperator::FullOuter(_) => Some(JoinType::Full),
        _ => None,
    };
    if let Some(kind) = kind {
        let [left, right] = sides;
        let keys = names.iter().filter_map(|name| name.0.last()?.as_ident()).map(|ident| ident.value.clone()).collect();
        return merged(left, right, kind, keys);
    }
    if let Some(constraint) = constraint_mut(&mut join.join_operator) {
        *constraint = JoinConstraint::Using(names);
    }
    context.plan(nested(TableWithJoins { relation: left, joins: vec![join] }))
}

/// A join of which columns of one name are one: the value of whichever side has a row. They belong to no side, and come first.
fn merged(left: LogicalPlan, right: LogicalPlan, kind: JoinType, names: Vec<String>) -> Result<LogicalPlan> {
    let width = left.schema().fields().len();
    let keys = names.iter().map(Column::from_name).collect();
    let plan = LogicalPlanBuilder::from(left).join_using(right, kind, keys)?.build()?;
    let columns = plan.schema().columns();
    let (of_left, of_right) = columns.split_at(width);
    let of = |side: &[Column], name: &String| side.iter().find(|column| column.name == *name).cloned().map(Expr::Column);
    let keys = names.iter().filter_map(|name| Some(coalesce(vec![of(of_left, name)?, of(of_right, name)?]).alias(name)));
    let rest = columns.iter().filter(|column| !names.contains(&column.name)).cloned().map(Expr::Column);
    let exprs: Vec<Expr> = keys.chain(rest).collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// USING whose column must come from either side: where left has no row, its column is null, right's is the one that is meant.
fn using(left: TableFactor, join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let (kind, names) = match &join.join_operator {
        JoinOperator::FullOuter(JoinConstraint::Using(names)) => (JoinType::Full, names),
        JoinOperator::Right(JoinConstraint::Using(names)) | JoinOperator::RightOuter(JoinConstraint::Using(names)) => {
            (JoinType::Right, names)
        }
        _ => return datafusion_common::internal_err!("a right or full join with USING"),
    };
    let mut keys = Vec::new();
    for name in names {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return not_yet("this USING is", span, "Name columns.");
        };
        keys.push(Column::from_name(&ident.value));
    }
    let (left, right) = (context.plan(left)?, context.plan(join.relation.clone())?);
    let width = left.schema().fields().len();
    let plan = LogicalPlanBuilder::from(left).join_using(right, kind, keys.clone())?.build()?;
    let columns = plan.schema().columns();
    let exprs: Vec<Expr> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let key = place < width && keys.iter().any(|key| key.name == column.name);
            let other = columns[width..].iter().find(|other| other.name == column.name);
            match other.filter(|_| key) {
                Some(other) => coalesce(vec![Expr::Column(column.clone()), Expr::Column(other.clone())])
                    .alias_qualified(column.relation.clone(), &column.name),
                None => Expr::Column(column.clone()),
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

/// One row for each element of the lists, beside the row they are of.
fn unnested(left: TableFactor, join: ast::Join, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
    let span = join.span();
    let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = join.relation.clone() else {
        return datafusion_common::internal_err!("UNNEST of lists");
    };
    if with_offset {
        return not_yet("WITH OFFSET is", span, "Write WITH ORDINALITY, which counts from 1.");
    }
    let always = |constraint: &JoinConstraint| {
        matches!(constraint, JoinConstraint::None | JoinConstraint::On(ast::Expr::Value(ValueWithSpan { value: Value::Boolean(true), .. })))
    };
    let null_handling = match &join.join_operator {
        JoinOperator::CrossJoin(it) | JoinOperator::Join(it) | JoinOperator::Inner(it) if always(it) => NullHandling::Drop,
        JoinOperator::Left(it) | JoinOperator::LeftOuter(it) if always(it) => NullHandling::PreserveAndExpandEmpty,
        _ => {
            return not_yet(
                "this join with UNNEST is",
                span,
                "Write CROSS JOIN UNNEST(x) AS t (y), or LEFT JOIN UNNEST(x) AS t (y) ON TRUE.",
            );
        }
    };
    let left = context.plan(left)?;
    let relation = alias.as_ref().map_or_else(|| "unnest".to_string(), |alias| alias.name.value.clone());
    let mut exprs: Vec<(Expr, String)> = Vec::new();
    for list in array_exprs {
        let expr = context.sql_to_expr(list.clone(), left.schema())?;
        let expr = datafusion_expr::expr_rewriter::normalize_col(expr, &left)?;
        match datafusion_expr::ExprSchemable::get_type(&expr, left.schema().as_ref())? {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => exprs.push((expr, "element".into())),
            DataType::Map(_, _) => {
                exprs.push((call("map_keys", vec![expr.clone()])?, "key".into()));
                exprs.push((call("map_values", vec![expr])?, "value".into()));
            }
            other => {
                let message = format!("\"{list}\" is {}, not a list", super::type_name(&other));
                let error = PlanError::new("plan::type_mismatch", message, None).help("UNNEST takes a list or a map apart.");
                return refused(error, list.span());
            }
        }
    }
    if with_ordinality {
        let Some((first, _)) = exprs.first().cloned() else { return not_yet("UNNEST of nothing is", span, "Name a list.") };
        let one = || datafusion_expr::lit(1_i64);
        let length = datafusion_expr::cast(call("array_length", vec![first])?, DataType::Int64);
        exprs.push((call("range", vec![one(), length + one()])?, "ordinality".into()));
    }
    let names = alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.value.clone()).collect::<Vec<_>>();
    if !names.is_empty() && names.len() != exprs.len() {
        let message = format!("UNNEST makes {} columns, {} are named", exprs.len(), names.len());
        return refused(PlanError::new("plan::column_count", message, None).help("Name every column, or none."), span);
    }
    let mut all: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
    let mut lists = Vec::new();
    for (place, (expr, own)) in exprs.into_iter().enumerate() {
        let name = names.get(place).cloned().unwrap_or(own);
        let whole = format!("{relation}.{name}");
        all.push(expr.alias(&whole));
        lists.push((Column::new_unqualified(whole), name));
    }
    let options = UnnestOptions::new().with_null_handling(null_handling);
    let columns = lists.iter().map(|(column, _)| column.clone()).collect();
    let plan = LogicalPlanBuilder::from(left).project(all)?.unnest_columns_with_options(columns, options)?.build()?;
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(|column| match lists.iter().find(|(list, _)| *list == column) {
            Some((_, name)) => Expr::Column(column).alias_qualified(Some(relation.clone()), name),
            None => Expr::Column(column),
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match crate::functions::Functions::get().scalar.get(name) {
        Some(function) => Ok(function.call(args)),
        None => datafusion_common::internal_err!("{name} is a function"),
    }
}
