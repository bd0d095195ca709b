//! Subqueries that read the row around them in any way, as joins.
//!
//! A subquery is asked once for each set of values that it reads of rows around: these values are a relation of their own, which is carried
//! through the subquery operator by operator until nothing reads a row around any more. What each of them gives for a set of values is
//! what the subquery gives for one row: grouping groups by the values, too, LIMIT counts the rows of each, and so on. The result is joined
//! to the rows around by the values, nulls equal to nulls. (T. Neumann, A. Kemper: Unnesting Arbitrary Queries, BTW 2015.)
//!
//! Rules before this one make simpler joins of what they can: those that only pull predicates out of a subquery need no such relation.

use std::sync::Arc;

use datafusion_common::alias::AliasGenerator;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchemaRef, Result, ScalarValue};
use datafusion_expr::expr::Sort;
use datafusion_expr::logical_plan::{
    Aggregate, Distinct, Extension, FetchType, Filter, Join, JoinConstraint, Limit, Projection, SkipType, Subquery, Union, Unnest, Window,
};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, lit};
use datafusion_functions::expr_fn::coalesce;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use super::distinct_on::numbered;
use crate::logical::SetNode;

/// The rule for values and for relations in FROM; [`SubqueriesToJoins`](super::subqueries::SubqueriesToJoins) asks for the others.
#[derive(Debug)]
pub(super) enum UnnestSubqueries {
    /// Those out of which a predicate cannot be pulled.
    Involved,
    /// All there are.
    Left,
}

impl OptimizerRule for UnnestSubqueries {
    fn name(&self) -> &str {
        match self {
            Self::Involved => "unnest_involved_subqueries",
            Self::Left => "unnest_subqueries",
        }
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let aliases = config.alias_generator();
        match plan {
            LogicalPlan::Filter(filter) if holds_value(&filter.predicate) => {
                let columns = filter.input.schema().columns();
                let mut values = Values { plan: filter.input.as_ref().clone(), rule: self, aliases, changed: false };
                let predicate = values.join(filter.predicate.clone())?;
                if !values.changed {
                    return Ok(Transformed::no(LogicalPlan::Filter(filter)));
                }
                let plan = LogicalPlanBuilder::from(values.plan).filter(predicate)?;
                Ok(Transformed::yes(plan.project(columns.into_iter().map(Expr::Column))?.build()?))
            }
            LogicalPlan::Projection(projection) if projection.expr.iter().any(holds_value) => {
                let mut values = Values { plan: projection.input.as_ref().clone(), rule: self, aliases, changed: false };
                let mut exprs = Vec::new();
                for expr in &projection.expr {
                    let (relation, name) = expr.qualified_name();
                    exprs.push(values.join(expr.clone())?.unalias().alias_qualified(relation, name));
                }
                if !values.changed {
                    return Ok(Transformed::no(LogicalPlan::Projection(projection)));
                }
                Ok(Transformed::yes(LogicalPlanBuilder::from(values.plan).project(exprs)?.build()?))
            }
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.iter().chain(&aggregate.aggr_expr).any(holds_value) => {
                aggregated(aggregate, aliases)
            }
            LogicalPlan::Join(join) => lateral(join, self, aliases),
            other => Ok(Transformed::no(other)),
        }
    }
}

impl UnnestSubqueries {
    fn takes(&self, subquery: &LogicalPlan) -> Result<bool> {
        match self {
            Self::Involved => is_involved(subquery),
            Self::Left => Ok(true),
        }
    }
}

/// Whether a predicate that reads a row around stands below an operator that it cannot be pulled out of: one that asks how many rows there
/// are, or which, or gives them other names.
pub(super) fn is_involved(plan: &LogicalPlan) -> Result<bool> {
    if !reads_outer(plan)? {
        return Ok(false);
    }
    match plan {
        LogicalPlan::Projection(it) => is_involved(&it.input),
        LogicalPlan::Filter(it) => is_involved(&it.input),
        LogicalPlan::Subquery(it) => is_involved(&it.subquery),
        LogicalPlan::Aggregate(it) => Ok(is_involved(&it.input)? || groups(&it.input)?),
        LogicalPlan::Join(it) if it.join_type == JoinType::Inner => Ok(is_involved(&it.left)? || is_involved(&it.right)?),
        LogicalPlan::TableScan(_) => Ok(false),
        _ => Ok(true),
    }
}

/// Whether an aggregate reads a row around.
fn groups(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_)) && reads_outer(node)?))
}

fn holds_value(expr: &Expr) -> bool {
    // The closure has no error to return.
    expr.exists(|it| Ok(matches!(it, Expr::ScalarSubquery(_)))).unwrap_or(false)
}

/// Rows, and the values of subqueries that are joined to them.
struct Values<'a> {
    plan: LogicalPlan,
    rule: &'a UnnestSubqueries,
    aliases: &'a Arc<AliasGenerator>,
    changed: bool,
}

impl Values<'_> {
    /// Puts columns for the subqueries in an expression.
    fn join(&mut self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_down(|expr| {
            let Expr::ScalarSubquery(subquery) = &expr else { return Ok(Transformed::no(expr)) };
            if !self.rule.takes(&subquery.subquery)? {
                return Ok(Transformed::no(expr));
            }
            let Some(asked) = ask(&self.plan, subquery, self.aliases)? else { return Ok(Transformed::no(expr)) };
            let value = Expr::Column(asked.columns[0].clone());
            self.plan = asked.join(std::mem::take(&mut self.plan), JoinType::Left, None)?;
            self.changed = true;
            Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
        })?;
        Ok(done.data)
    }
}

/// Subqueries in what is grouped by or aggregated are columns of the rows first.
fn aggregated(aggregate: Aggregate, aliases: &Arc<AliasGenerator>) -> Result<Transformed<LogicalPlan>> {
    let mut rows: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut made = |exprs: &[Expr]| {
        let mut put = |expr: Expr| {
            if !matches!(expr, Expr::ScalarSubquery(_)) {
                return Ok(Transformed::no(expr));
            }
            let name = aliases.next("__value");
            rows.push(expr.alias(&name));
            Ok(Transformed::new(Expr::Column(Column::new_unqualified(name)), true, TreeNodeRecursion::Jump))
        };
        exprs.iter().map(|expr| Ok(expr.clone().transform_down(&mut put)?.data)).collect::<Result<Vec<_>>>()
    };
    let (group, aggr) = (made(&aggregate.group_expr)?, made(&aggregate.aggr_expr)?);
    let rows = LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).project(rows)?.build()?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(rows), group, aggr)?);
    let columns = plan.schema().columns();
    Ok(Transformed::yes(renamed(plan, &columns, &[], &aggregate.schema)?))
}

/// A relation in FROM that reads the relations before it.
fn lateral(join: Join, rule: &UnnestSubqueries, aliases: &Arc<AliasGenerator>) -> Result<Transformed<LogicalPlan>> {
    let relation = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        other => other,
    };
    let LogicalPlan::Subquery(subquery) = relation else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left)
        || !reads_outer(&subquery.subquery)?
        || !rule.takes(&subquery.subquery)?
    {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let Some(asked) = ask(&join.left, subquery, aliases)? else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    // Under the names that the relation has around.
    let named = asked.columns.iter().zip(join.right.schema().iter());
    let named = named.map(|(column, (relation, field))| Expr::Column(column.clone()).alias_qualified(relation.cloned(), field.name()));
    let right = LogicalPlanBuilder::from(asked.plan.clone()).project(named.chain(as_exprs(&asked.values)))?.build()?;
    let schema = Arc::clone(&join.schema);
    let equal = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    let condition = conjunction(equal.chain(join.filter.clone()));
    let plan = Asked { plan: right, ..asked }.join(join.left.as_ref().clone(), join.join_type, condition)?;
    Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(schema.columns().into_iter().map(Expr::Column))?.build()?))
}

/// A subquery that has been asked for all values it reads.
pub(super) struct Asked {
    pub(super) plan: LogicalPlan,
    /// The columns of the subquery.
    pub(super) columns: Vec<Column>,
    /// The values that the rows are for.
    values: Vec<Column>,
    /// The columns around they are values of.
    outer: Vec<Column>,
}

impl Asked {
    /// The rows are for a row around.
    pub(super) fn condition(&self) -> Option<Expr> {
        same(&self.outer, &self.values)
    }

    fn join(self, rows: LogicalPlan, kind: JoinType, condition: Option<Expr>) -> Result<LogicalPlan> {
        let on = conjunction(self.condition().into_iter().chain(condition)).unwrap_or_else(|| lit(true));
        LogicalPlanBuilder::from(rows).join_on(self.plan, kind, Some(on))?.build()
    }
}

/// Asks a subquery for all values that it reads of some rows. `None`: it does what this cannot carry values through, or reads other rows.
pub(super) fn ask(rows: &LogicalPlan, subquery: &Subquery, aliases: &AliasGenerator) -> Result<Option<Asked>> {
    let outer = outer_columns(&subquery.subquery)?;
    if outer.is_empty() || !outer.iter().all(|column| rows.schema().has_column(column)) {
        return Ok(None);
    }
    let values = LogicalPlanBuilder::from(rows.clone()).project(outer.iter().cloned().map(Expr::Column))?.build()?;
    let pushing = Pushing { values, outer, aliases };
    let Some(pushed) = pushing.push(&subquery.subquery)? else { return Ok(None) };
    // Names of its own for all that comes out.
    let alias = aliases.next("__asked");
    let name = |at: usize| format!("c{at}");
    let all = pushed.columns.iter().chain(&pushed.values).enumerate();
    let exprs = all.map(|(at, column)| Expr::Column(column.clone()).alias(name(at)));
    let plan = LogicalPlanBuilder::from(pushed.plan).project(exprs)?.alias(alias.as_str())?.build()?;
    let mut columns: Vec<Column> =
        (0..pushed.columns.len() + pushed.values.len()).map(|at| Column::new(Some(alias.clone()), name(at))).collect();
    let values = columns.split_off(pushed.columns.len());
    Ok(Some(Asked { plan, columns, values, outer: pushing.outer }))
}

/// What carries values through a subquery.
struct Pushing<'a> {
    /// The values, not distinct yet.
    values: LogicalPlan,
    outer: Vec<Column>,
    aliases: &'a AliasGenerator,
}

/// A part of the subquery for all values.
struct Pushed {
    plan: LogicalPlan,
    /// The columns of the part, under the names they have without values.
    columns: Vec<Column>,
    values: Vec<Column>,
}

impl Pushing<'_> {
    /// The values, each once, under new names.
    fn fresh(&self) -> Result<(LogicalPlan, Vec<Column>)> {
        let alias = self.aliases.next("__values");
        let columns: Vec<Expr> = self.values.schema().columns().into_iter().map(Expr::Column).collect();
        let distinct = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(self.values.clone()), columns.clone(), vec![])?);
        let names: Vec<Column> = (0..columns.len()).map(|at| Column::new_unqualified(format!("{alias}_{at}"))).collect();
        let renamed = columns.into_iter().zip(&names).map(|(column, name)| column.alias(&name.name));
        Ok((LogicalPlanBuilder::from(distinct).project(renamed)?.build()?, names))
    }

    /// An expression that reads the values instead of rows around.
    fn made(&self, expr: Expr, values: &[Column]) -> Result<Expr> {
        let done = expr.transform_up(|expr| {
            let Expr::OuterReferenceColumn(_, column) = &expr else { return Ok(Transformed::no(expr)) };
            let place = self.outer.iter().position(|outer| outer == column);
            let place = place.ok_or_else(|| datafusion_common::internal_datafusion_err!("{column} is a column around"))?;
            Ok(Transformed::yes(Expr::Column(values[place].clone())))
        })?;
        Ok(done.data)
    }

    fn all_made(&self, exprs: &[Expr], values: &[Column]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.made(expr.clone(), values)).collect()
    }

    /// Each set of values with all rows of a part that reads none.
    fn crossed(&self, plan: &LogicalPlan) -> Result<Pushed> {
        let (rows, values) = self.fresh()?;
        let columns = plan.schema().columns();
        Ok(Pushed { plan: LogicalPlanBuilder::from(rows).cross_join(plan.clone())?.build()?, columns, values })
    }

    fn push(&self, plan: &LogicalPlan) -> Result<Option<Pushed>> {
        if holds_subquery(plan)? {
            return Ok(None);
        }
        if !reads_outer(plan)? {
            return self.crossed(plan).map(Some);
        }
        match plan {
            LogicalPlan::Filter(filter) => {
                let Some(below) = self.push(&filter.input)? else { return Ok(None) };
                let predicate = self.made(filter.predicate.clone(), &below.values)?;
                let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(below.plan))?);
                Ok(Some(Pushed { plan, ..below }))
            }
            LogicalPlan::Projection(projection) => {
                let Some(below) = self.push(&projection.input)? else { return Ok(None) };
                let exprs = self.all_made(&projection.expr, &below.values)?;
                let named = exprs.into_iter().zip(projection.schema.iter()).map(|(expr, (relation, field))| {
                    if expr.qualified_name() == (relation.cloned(), field.name().clone()) {
                        return expr;
                    }
                    expr.unalias().alias_qualified(relation.cloned(), field.name())
                });
                let exprs = as_exprs(&below.values).chain(named).collect();
                let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(below.plan))?);
                Ok(Some(Pushed { plan, columns: projection.schema.columns(), values: below.values }))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(below) = self.push(&alias.input)? else { return Ok(None) };
                let plan = renamed(below.plan, &below.columns, &below.values, &alias.schema)?;
                Ok(Some(Pushed { plan, columns: alias.schema.columns(), values: below.values }))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(below) = self.push(input)? else { return Ok(None) };
                let columns = as_exprs(&below.values).chain(as_exprs(&below.columns)).collect();
                let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(below.plan), columns, vec![])?);
                Ok(Some(Pushed { plan, columns: below.columns, values: below.values }))
            }
            // An order without LIMIT orders nothing.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.push(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<SetNode>() {
                Some(set) => self.set(set),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Option<Pushed>> {
        if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            return Ok(None);
        }
        let Some(below) = self.push(&aggregate.input)? else { return Ok(None) };
        let group = as_exprs(&below.values).chain(self.all_made(&aggregate.group_expr, &below.values)?).collect();
        let aggr = self.all_made(&aggregate.aggr_expr, &below.values)?;
        let grouped = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(below.plan), group, aggr)?);
        let width = below.values.len();
        let made = grouped.schema().columns();
        if !aggregate.group_expr.is_empty() {
            let plan = renamed(grouped, &made[width..], &below.values, &aggregate.schema)?;
            return Ok(Some(Pushed { plan, columns: aggregate.schema.columns(), values: below.values }));
        }
        // An aggregate over all rows has a row of no rows, too.
        let (rows, values) = self.fresh()?;
        let on = same(&values, &below.values).unwrap_or_else(|| lit(true));
        let all = LogicalPlanBuilder::from(rows).join_on(grouped, JoinType::Left, Some(on))?.build()?;
        let mut exprs: Vec<Expr> = as_exprs(&values).collect();
        for ((column, (relation, field)), call) in made[width..].iter().zip(aggregate.schema.iter()).zip(&aggregate.aggr_expr) {
            let value = Expr::Column(column.clone());
            let value = match of_nothing(call, field.data_type())? {
                Some(nothing) if nothing.is_null() => value,
                Some(nothing) => coalesce(vec![value, Expr::Literal(nothing, None)]),
                None => return Ok(None),
            };
            exprs.push(value.alias_qualified(relation.cloned(), field.name()));
        }
        let plan = LogicalPlanBuilder::from(all).project(exprs)?.build()?;
        Ok(Some(Pushed { plan, columns: aggregate.schema.columns(), values }))
    }

    /// The first rows for each set of values. Without an order any rows will do, so the least.
    fn limit(&self, limit: &Limit) -> Result<Option<Pushed>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?) else {
            return Ok(None);
        };
        let (order, input) = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (Some(&sort.expr), &sort.input),
            _ => (None, &limit.input),
        };
        let Some(below) = self.push(input)? else { return Ok(None) };
        let sorted = |sort: &Sort| Ok(Sort { expr: self.made(sort.expr.clone(), &below.values)?, ..sort.clone() });
        let order = match order {
            Some(order) => order.iter().map(sorted).collect::<Result<Vec<_>>>()?,
            None => as_exprs(&below.columns).map(|column| column.sort(true, true)).collect(),
        };
        let (numbered, place) = numbered(Arc::new(below.plan), as_exprs(&below.values).collect(), order)?;
        let last = fetch.map(|fetch| lit((skip + fetch) as u64));
        let kept = (skip > 0).then(|| place.clone().gt(lit(skip as u64))).into_iter().chain(last.map(|last| place.lt_eq(last)));
        let mut plan = LogicalPlanBuilder::from(numbered);
        if let Some(kept) = conjunction(kept) {
            plan = plan.filter(kept)?;
        }
        let plan = plan.project(as_exprs(&below.values).chain(as_exprs(&below.columns)))?.build()?;
        Ok(Some(Pushed { plan, columns: below.columns, values: below.values }))
    }

    fn window(&self, window: &Window) -> Result<Option<Pushed>> {
        let Some(below) = self.push(&window.input)? else { return Ok(None) };
        let calls = window.window_expr.iter().map(|expr| {
            let made = self.made(expr.clone(), &below.values)?;
            let apart = made.transform_down(|expr| match expr {
                Expr::WindowFunction(mut call) => {
                    call.params.partition_by.splice(0..0, as_exprs(&below.values));
                    Ok(Transformed::new(Expr::WindowFunction(call), true, TreeNodeRecursion::Jump))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(apart.data)
        });
        let made = Window::try_new(calls.collect::<Result<_>>()?, Arc::new(below.plan))?;
        let calls = made.schema.columns().split_off(made.schema.fields().len() - window.window_expr.len());
        let columns: Vec<Column> = below.columns.into_iter().chain(calls).collect();
        let plan = renamed(LogicalPlan::Window(made), &columns, &below.values, &window.schema)?;
        Ok(Some(Pushed { plan, columns: window.schema.columns(), values: below.values }))
    }

    /// A side that decides which rows of the other come out has those of its own values.
    fn join(&self, join: &Join) -> Result<Option<Pushed>> {
        let two_sided = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => true,
            _ => return Ok(None),
        };
        if join.null_aware {
            return Ok(None);
        }
        let read = [reads_outer(&join.left)?, reads_outer(&join.right)?];
        let left = if two_sided || read[0] || !read[1] { self.push(&join.left)? } else { Some(plain(&join.left)) };
        let right = if read[1] { self.push(&join.right)? } else { Some(plain(&join.right)) };
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        let values = if left.values.is_empty() { &right.values } else { &left.values };
        let mut condition: Vec<Expr> = same(&left.values, &right.values).into_iter().collect();
        let null_safe = join.null_equality == datafusion_common::NullEquality::NullEqualsNull;
        for (l, r) in &join.on {
            let (l, r) = (self.made(l.clone(), values)?, self.made(r.clone(), values)?);
            condition.push(binary_expr(l, if null_safe { Operator::IsNotDistinctFrom } else { Operator::Eq }, r));
        }
        if let Some(filter) = &join.filter {
            condition.push(self.made(filter.clone(), values)?);
        }
        let values = values.clone();
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(left.plan),
            Arc::new(right.plan),
            vec![],
            conjunction(condition),
            join.join_type,
            JoinConstraint::On,
            datafusion_common::NullEquality::NullEqualsNothing,
            false,
        )?);
        // Only what the join had: the values of the right side are those of the left one.
        Ok(Some(Pushed { plan, columns: join.schema.columns(), values }))
    }

    fn union(&self, union: &Union) -> Result<Option<Pushed>> {
        let mut inputs = Vec::new();
        let mut values = None;
        for input in &union.inputs {
            let Some(below) = self.push(input)? else { return Ok(None) };
            let plan = self.lined_up(below, &union.schema, values.get_or_insert_with(Vec::new))?;
            inputs.push(Arc::new(plan));
        }
        let plan = LogicalPlan::Union(Union { schema: Arc::clone(inputs[0].schema()), inputs });
        Ok(Some(Pushed { plan, columns: union.schema.columns(), values: values.unwrap_or_default() }))
    }

    fn set(&self, set: &SetNode) -> Result<Option<Pushed>> {
        let schema = datafusion_expr::UserDefinedLogicalNodeCore::schema(set);
        let mut values = Vec::new();
        let (Some(left), Some(right)) = (self.push(&set.left)?, self.push(&set.right)?) else { return Ok(None) };
        let (left, right) = (self.lined_up(left, schema, &mut values)?, self.lined_up(right, schema, &mut values)?);
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(set.over(left, right)?) });
        Ok(Some(Pushed { plan, columns: schema.columns(), values }))
    }

    /// Values first, then columns, under the same names for each input of an operator.
    fn lined_up(&self, below: Pushed, schema: &DFSchemaRef, values: &mut Vec<Column>) -> Result<LogicalPlan> {
        if values.is_empty() {
            let alias = self.aliases.next("__values");
            values.extend((0..below.values.len()).map(|at| Column::new_unqualified(format!("{alias}_{at}"))));
        }
        let own = as_exprs(&below.values).zip(values.iter()).map(|(value, name)| value.alias(&name.name));
        let columns = below.columns.iter().zip(schema.iter());
        let columns =
            columns.map(|(column, (relation, field))| Expr::Column(column.clone()).alias_qualified(relation.cloned(), field.name()));
        LogicalPlanBuilder::from(below.plan).project(own.chain(columns))?.build()
    }

    fn unnest(&self, unnest: &Unnest) -> Result<Option<Pushed>> {
        let Some(below) = self.push(&unnest.input)? else { return Ok(None) };
        let plan = LogicalPlanBuilder::from(below.plan)
            .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?
            .build()?;
        Ok(Some(Pushed { plan, columns: unnest.schema.columns(), values: below.values }))
    }
}

/// A part that has no values.
fn plain(plan: &LogicalPlan) -> Pushed {
    Pushed { plan: plan.clone(), columns: plan.schema().columns(), values: vec![] }
}

/// Values are those of rows around, nulls equal to nulls.
fn same(left: &[Column], right: &[Column]) -> Option<Expr> {
    let pairs = left.iter().zip(right);
    conjunction(pairs.map(|(l, r)| binary_expr(Expr::Column(l.clone()), Operator::IsNotDistinctFrom, Expr::Column(r.clone()))))
}

fn as_exprs(columns: &[Column]) -> impl Iterator<Item = Expr> + '_ {
    columns.iter().cloned().map(Expr::Column)
}

/// Columns under the names of a schema, behind those that keep theirs.
fn renamed(plan: LogicalPlan, columns: &[Column], kept: &[Column], schema: &DFSchemaRef) -> Result<LogicalPlan> {
    let named = columns.iter().zip(schema.iter()).map(|(column, (relation, field))| {
        if column.relation.as_ref() == relation && &column.name == field.name() {
            return Expr::Column(column.clone());
        }
        Expr::Column(column.clone()).alias_qualified(relation.cloned(), field.name())
    });
    LogicalPlanBuilder::from(plan).project(as_exprs(kept).chain(named))?.build()
}

/// What an aggregate gives of no rows, if that is known.
fn of_nothing(call: &Expr, data_type: &arrow::datatypes::DataType) -> Result<Option<ScalarValue>> {
    match call {
        Expr::Alias(alias) => of_nothing(&alias.expr, data_type),
        Expr::AggregateFunction(call) => call.func.default_value(data_type).map(Some),
        _ => Ok(None),
    }
}

/// Whether a plan reads the row of a query around it.
pub(super) fn reads_outer(plan: &LogicalPlan) -> Result<bool> {
    Ok(!outer_columns(plan)?.is_empty())
}

/// The columns of queries around it that a plan reads. What a subquery in it reads of it is not around it.
fn outer_columns(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut found: Vec<Column> = Vec::new();
    let mut add = |column: Column| {
        if !found.contains(&column) {
            found.push(column);
        }
    };
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            let subquery = match expr {
                Expr::OuterReferenceColumn(_, column) => {
                    add(column.clone());
                    return Ok(TreeNodeRecursion::Continue);
                }
                Expr::ScalarSubquery(subquery) => subquery,
                Expr::Exists(it) => &it.subquery,
                Expr::InSubquery(it) => &it.subquery,
                Expr::SetComparison(it) => &it.subquery,
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            let around = outer_columns(&subquery.subquery)?.into_iter();
            around.filter(|column| !plan.inputs().iter().any(|input| input.schema().has_column(column))).for_each(&mut add);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    for (place, input) in plan.inputs().into_iter().enumerate() {
        // A relation in FROM reads those before it.
        let before = match plan {
            LogicalPlan::Join(join) if place == 1 => Some(join.left.schema()),
            _ => None,
        };
        let around = outer_columns(input)?.into_iter();
        around.filter(|column| !before.is_some_and(|schema| schema.has_column(column))).for_each(&mut add);
    }
    Ok(found)
}

/// Whether the plan's own expressions hold a subquery, which no rule has made a join of.
fn holds_subquery(plan: &LogicalPlan) -> Result<bool> {
    let mut found = matches!(plan, LogicalPlan::Subquery(_));
    plan.apply_expressions(|expr| {
        found |=
            expr.exists(|it| Ok(matches!(it, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
