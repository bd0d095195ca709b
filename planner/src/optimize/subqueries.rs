//! EXISTS, IN and NOT IN as joins, wherever they stand: semi and anti joins where they are a conjunct of a filter, marks elsewhere.
//!
//! Nulls are exact. `x IN S` is true if some element equals `x`, null if none does but the comparison with some is null, false otherwise.
//! Where only truth counts (a filter, below AND and OR) the null need not be told from false; elsewhere a second mark tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_common::alias::AliasGenerator;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::expr::{BinaryExpr, Exists, InSubquery};
use datafusion_expr::logical_plan::{Filter, Projection, Subquery};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, lit, not, when};
use datafusion_optimizer::decorrelate::PullUpCorrelatedExpr;
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use super::unnest::{ask, is_involved, reads_outer};

/// The rule.
#[derive(Debug)]
pub(super) struct SubqueriesToJoins;

impl OptimizerRule for SubqueriesToJoins {
    fn name(&self) -> &str {
        "subqueries_to_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => filtered(filter, config.alias_generator()),
            LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
                projected(projection, config.alias_generator())
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn has_subquery(expr: &Expr) -> bool {
    // The closure has no error to return.
    expr.exists(|it| Ok(matches!(it, Expr::InSubquery(_) | Expr::Exists(_)))).unwrap_or(false)
}

/// How an element is compared with the value that is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Compared {
    /// Equal.
    Equal,
    /// Equal, or the comparison is null.
    NotDifferent,
    /// The comparison is null.
    Null,
}

impl Compared {
    /// The comparison, of an equality.
    fn of(self, equal: Expr) -> Expr {
        match self {
            Self::Equal => equal,
            Self::NotDifferent => Expr::IsNotFalse(Box::new(equal)),
            Self::Null => Expr::IsNull(Box::new(equal)),
        }
    }
}

/// The plan joined so far, and what makes names.
struct Joins<'a> {
    plan: LogicalPlan,
    aliases: &'a AliasGenerator,
}

fn filtered(filter: Filter, aliases: &AliasGenerator) -> Result<Transformed<LogicalPlan>> {
    let input = Arc::unwrap_or_clone(filter.input);
    let columns = input.schema().columns();
    let mut joins = Joins { plan: input, aliases };
    let mut rest = Vec::new();
    let mut changed = false;
    for part in split_conjunction_owned(filter.predicate) {
        let part = if has_subquery(&part) { joins.conjunct(part)? } else { Transformed::no(Some(part)) };
        changed |= part.transformed;
        rest.extend(part.data);
    }
    let mut plan = joins.plan;
    if let Some(predicate) = conjunction(rest) {
        plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
    }
    if plan.schema().fields().len() != columns.len() {
        plan = LogicalPlanBuilder::from(plan).project(columns.into_iter().map(Expr::from))?.build()?;
    }
    Ok(if changed { Transformed::yes(plan) } else { Transformed::no(plan) })
}

fn projected(projection: Projection, aliases: &AliasGenerator) -> Result<Transformed<LogicalPlan>> {
    let mut joins = Joins { plan: projection.input.as_ref().clone(), aliases };
    let mut exprs = Vec::new();
    let mut changed = false;
    for expr in &projection.expr {
        let name = expr.qualified_name();
        let made = joins.value(expr.clone(), false)?;
        changed |= made.transformed;
        exprs.push(if made.data.qualified_name() == name { made.data } else { made.data.alias_qualified(name.0, name.1) });
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    Ok(Transformed::yes(LogicalPlanBuilder::from(joins.plan).project(exprs)?.build()?))
}

/// A predicate with NOT carried to the subquery.
fn negation_inside(expr: Expr) -> Expr {
    match expr {
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(it) => Expr::InSubquery(InSubquery { negated: !it.negated, ..it }),
            Expr::Exists(it) => Expr::Exists(Exists { negated: !it.negated, ..it }),
            Expr::Not(inner) => negation_inside(*inner),
            other => Expr::Not(Box::new(other)),
        },
        other => other,
    }
}

impl Joins<'_> {
    /// Joins a conjunct of a filter. What of it is left to be asked of the pairs comes back.
    fn conjunct(&mut self, expr: Expr) -> Result<Transformed<Option<Expr>>> {
        let expr = negation_inside(expr);
        let done = match &expr {
            Expr::Exists(Exists { subquery, negated }) => {
                let kind = if *negated { JoinType::LeftAnti } else { JoinType::LeftSemi };
                self.join(subquery, None, kind)?.is_some()
            }
            Expr::InSubquery(it) if !it.negated => {
                self.join(&it.subquery, Some((&it.expr, Compared::Equal)), JoinType::LeftSemi)?.is_some()
            }
            Expr::InSubquery(it) if !self.may_be_null(it)? => {
                self.join(&it.subquery, Some((&it.expr, Compared::Equal)), JoinType::LeftAnti)?.is_some()
            }
            // A value that reads no column makes no key, and the comparison would be asked of the list alone, where it drops nulls.
            Expr::InSubquery(it) if it.subquery.outer_ref_columns.is_empty() && !it.expr.column_refs().is_empty() => self.null_aware(it)?,
            Expr::InSubquery(it) => self.join(&it.subquery, Some((&it.expr, Compared::NotDifferent)), JoinType::LeftAnti)?.is_some(),
            _ => {
                let made = self.value(expr, true)?;
                return Ok(Transformed::new_transformed(Some(made.data), made.transformed));
            }
        };
        Ok(if done { Transformed::yes(None) } else { Transformed::no(Some(expr)) })
    }

    /// Puts marks for the subqueries in an expression. `truth_only`: nobody tells null from false.
    fn value(&mut self, expr: Expr, truth_only: bool) -> Result<Transformed<Expr>> {
        if !has_subquery(&expr) {
            return Ok(Transformed::no(expr));
        }
        match negation_inside(expr) {
            Expr::Exists(it) => match self.join(&it.subquery, None, JoinType::LeftMark)? {
                Some(mark) => Ok(Transformed::yes(if it.negated { not(mark) } else { mark })),
                None => Ok(Transformed::no(Expr::Exists(it))),
            },
            Expr::InSubquery(it) => {
                let made = match (self.may_be_null(&it)?, truth_only, it.negated) {
                    (false, _, negated) => {
                        let mark = self.join(&it.subquery, Some((&it.expr, Compared::Equal)), JoinType::LeftMark)?;
                        mark.map(|mark| if negated { not(mark) } else { mark })
                    }
                    (true, true, false) => self.join(&it.subquery, Some((&it.expr, Compared::Equal)), JoinType::LeftMark)?,
                    (true, true, true) => self.join(&it.subquery, Some((&it.expr, Compared::NotDifferent)), JoinType::LeftMark)?.map(not),
                    (true, false, negated) => {
                        let equal = self.join(&it.subquery, Some((&it.expr, Compared::Equal)), JoinType::LeftMark)?;
                        let null = self.join(&it.subquery, Some((&it.expr, Compared::Null)), JoinType::LeftMark)?;
                        match (equal, null) {
                            (Some(equal), Some(null)) => {
                                let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
                                let value = when(equal, lit(true)).when(null, unknown).otherwise(lit(false))?;
                                Some(if negated { not(value) } else { value })
                            }
                            _ => None,
                        }
                    }
                };
                Ok(match made {
                    Some(made) => Transformed::yes(made),
                    None => Transformed::no(Expr::InSubquery(it)),
                })
            }
            Expr::BinaryExpr(it) if matches!(it.op, Operator::And | Operator::Or) => {
                let (left, right) = (self.value(*it.left, truth_only)?, self.value(*it.right, truth_only)?);
                let changed = left.transformed || right.transformed;
                let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.data), it.op, Box::new(right.data)));
                Ok(Transformed::new_transformed(expr, changed))
            }
            other => other.map_children(|child| self.value(child, false)),
        }
    }

    /// Whether a comparison of an IN can be null.
    fn may_be_null(&self, it: &InSubquery) -> Result<bool> {
        Ok(it.expr.nullable(self.plan.schema())? || it.subquery.subquery.schema().field(0).is_nullable())
    }

    /// `NOT IN` of a subquery that does not read the row: an anti join that knows of nulls.
    fn null_aware(&mut self, it: &InSubquery) -> Result<bool> {
        let alias = self.aliases.next("__in");
        let element = Expr::Column(Column::from(it.subquery.subquery.schema().qualified_field(0))).alias("c0");
        let right = LogicalPlanBuilder::from(it.subquery.subquery.as_ref().clone()).project([element])?.alias(alias.as_str())?.build()?;
        let equal = it.expr.as_ref().clone().eq(Expr::Column(Column::new(Some(alias), "c0")));
        let left = std::mem::take(&mut self.plan);
        let keys = (Vec::<Column>::new(), Vec::<Column>::new());
        self.plan = LogicalPlanBuilder::from(left)
            .join_detailed_with_options(right, JoinType::LeftAnti, keys, Some(equal), NullEquality::NullEqualsNothing, true)?
            .build()?;
        Ok(true)
    }

    /// Joins a subquery that is asked for all values it reads: see [`super::unnest`].
    fn unnested(&mut self, subquery: &Subquery, compare: Option<(&Expr, Compared)>, kind: JoinType) -> Result<Option<Expr>> {
        let Some(asked) = ask(&self.plan, subquery, self.aliases)? else { return Ok(None) };
        let element = Expr::Column(asked.columns[0].clone());
        let compared = compare.map(|(value, compared)| compared.of(value.clone().eq(element)));
        let condition = conjunction(compared.into_iter().chain(asked.condition())).unwrap_or_else(|| lit(true));
        let alias = asked.columns[0].relation.clone();
        let left = std::mem::take(&mut self.plan);
        self.plan = LogicalPlanBuilder::from(left).join_on(asked.plan, kind, Some(condition))?.build()?;
        Ok(Some(match kind {
            JoinType::LeftMark => Expr::Column(Column::new(alias, "mark")),
            _ => lit(true),
        }))
    }

    /// Joins a subquery. Returns the mark, if the join makes one, else true; `None` when the subquery cannot be made a join.
    fn join(&mut self, subquery: &Subquery, compare: Option<(&Expr, Compared)>, kind: JoinType) -> Result<Option<Expr>> {
        let plan = subquery.subquery.as_ref();
        if is_involved(plan)?
            && let Some(mark) = self.unnested(subquery, compare, kind)?
        {
            return Ok(Some(mark));
        }
        let skips = plan.exists(|node| Ok(matches!(node, LogicalPlan::Limit(limit) if limit.skip.is_some())))?;
        if skips && !subquery.outer_ref_columns.is_empty() {
            return Ok(None);
        }
        let mut pull_up = PullUpCorrelatedExpr::new().with_exists_sub_query(compare.is_none());
        let inner = plan.clone().rewrite(&mut pull_up)?.data;
        // An aggregate over all rows has a row of no rows, too; grouped by what is correlated it would not.
        if !pull_up.can_pull_up || pull_up.pulled_up_scalar_agg || pull_up.pull_up_having_expr.is_some() || reads_outer(&inner)? {
            return self.unnested(subquery, compare, kind);
        }
        // Only the columns that are compared come along, under names of their own.
        let mut names: BTreeMap<Column, String> = BTreeMap::new();
        let mut exprs: Vec<Expr> = Vec::new();
        let alias = self.aliases.next("__in");
        let schema = inner.schema();
        let add = |column: Column, exprs: &mut Vec<Expr>| {
            let name = format!("c{}", exprs.len());
            exprs.push(Expr::Column(column.clone()).alias(&name));
            Column::new(Some(alias.clone()), name)
        };
        let mut condition = Vec::new();
        if let Some((value, compared)) = compare {
            let element = Expr::Column(add(Column::from(schema.qualified_field(0)), &mut exprs));
            let equal = value.clone().eq(element);
            condition.push(compared.of(equal));
        }
        let inner_columns: Vec<Column> = pull_up.correlated_subquery_cols_map.values().flatten().cloned().collect();
        for part in pull_up.join_filters {
            let mut lost = false;
            let made = part.transform_up(|expr| {
                let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
                if !inner_columns.contains(column) {
                    return Ok(Transformed::no(expr));
                }
                // Below an alias the column has another relation.
                let there = match schema.maybe_index_of_column(column) {
                    Some(place) => Some(place),
                    None => {
                        let mut alike = schema.fields().iter().enumerate().filter(|(_, field)| field.name() == &column.name);
                        match (alike.next(), alike.next()) {
                            (Some((place, _)), None) => Some(place),
                            _ => None,
                        }
                    }
                };
                let Some(place) = there else {
                    lost = true;
                    return Ok(Transformed::no(expr));
                };
                let own = Column::from(schema.qualified_field(place));
                let name = match names.get(&own) {
                    Some(name) => Column::new(Some(alias.clone()), name),
                    None => {
                        let added = add(own.clone(), &mut exprs);
                        names.insert(own, added.name.clone());
                        added
                    }
                };
                Ok(Transformed::yes(Expr::Column(name)))
            })?;
            if lost {
                return self.unnested(subquery, compare, kind);
            }
            condition.push(made.data);
        }
        if exprs.is_empty() {
            exprs.push(lit(true).alias("c0"));
        }
        let right = LogicalPlanBuilder::from(inner).project(exprs)?.alias(alias.as_str())?.build()?;
        let condition = conjunction(condition).unwrap_or_else(|| lit(true));
        let left = std::mem::take(&mut self.plan);
        self.plan = LogicalPlanBuilder::from(left).join_on(right, kind, Some(condition))?.build()?;
        Ok(Some(match kind {
            JoinType::LeftMark => Expr::Column(Column::new(Some(alias), "mark")),
            _ => lit(true),
        }))
    }
}
