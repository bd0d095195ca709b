//! # The order of joins
//!
//! Inner joins of three and more relations may be made in any order: at every time the pairs are the same. What differs is how many rows
//! are kept between them, and how much a change makes on its way. The order is chosen by what is known: statistics of sources where
//! they are given, otherwise keys and filters. Without a better one the order stays as it is written.
//!
//! It stays so, too, where the order would be more than a matter of speed: where a time may bound a join, where rows of windows meet, where
//! some relations end and others do not, where state has limits. `docs/decisions/0017` has the reasons.

mod estimate;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, JoinConstraint, JoinType, NullEquality, Result};
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::logical_plan::{Extension, Join, Projection};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, Filter, LogicalPlan, Operator};
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::{Optimizer, OptimizerContext};

use super::{at_most_one, relations};
use crate::logical::{AsOf, AssignWindows, JoinOrder, LateSessions, QueryScope, RecursiveScan, ViewBody, sources};
use crate::plan::ChangelogKind;
use search::{Equal, Graph, Other, Set, Shape};

/// An order must be better than the written one by this much: estimates are rough.
const BETTER: f64 = 1.1;
/// By this much where sizes are guessed.
const BETTER_BY_GUESS: f64 = 2.0;
/// Relations in one tree that are looked at.
const RELATIONS_MAX: usize = 48;

/// Puts the joins of an optimised plan in order, and says so by a [`JoinOrder`] above them.
pub(crate) fn order_joins(plan: LogicalPlan, scope: &QueryScope) -> Result<LogicalPlan> {
    let ordered = ordered(plan, scope)?;
    if !ordered.transformed {
        return Ok(ordered.data);
    }
    // Columns are dropped below the new joins where nothing above reads them.
    let context = OptimizerContext::new_with_config_options(Arc::new(crate::logical::config())).without_query_execution_start_time();
    let pruned = Optimizer::with_rules(vec![Arc::new(OptimizeProjections::new())]).optimize(ordered.data.clone(), &context, |_, _| {})?;
    Ok(if relations(&ordered.data)?.is_subset(&relations(&pruned)?) { pruned } else { ordered.data })
}

fn ordered(plan: LogicalPlan, scope: &QueryScope) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Extension(extension) = &plan
        && let Some(view) = extension.node.as_any().downcast_ref::<ViewBody>()
    {
        let within = view.scope.clone();
        return plan.map_children(|child| ordered(child, &within));
    }
    if !is_inner(&plan) {
        return plan.map_children(|child| ordered(child, scope));
    }
    let mut leaves = Vec::new();
    let mut conditions = Vec::new();
    let written = flatten(&plan, &mut leaves, &mut conditions);
    let mut changed = false;
    let below: Vec<LogicalPlan> = leaves
        .into_iter()
        .map(|leaf| {
            let done = ordered(leaf.clone(), scope)?;
            changed |= done.transformed;
            Ok(done.data)
        })
        .collect::<Result<_>>()?;
    if below.len() < 3 {
        return Ok(Transformed::new_transformed(with_leaves(plan, &mut below.into_iter())?, changed));
    }
    let names: Vec<String> = below.iter().map(name_of).collect();
    let as_written = |plan: LogicalPlan, below: Vec<LogicalPlan>, why: &str| {
        let joined = with_leaves(plan, &mut below.into_iter())?;
        let text = format!("{}, as written{why}", text(&written, &names));
        Ok(Transformed::new_transformed(marked(joined, text), changed))
    };
    let tree = match Tree::new(&below, &conditions, scope) {
        Ok(tree) => tree,
        Err(why) => return as_written(plan, below, &format!(": {why}")),
    };
    let best = tree.graph.best();
    let (cost, before) = (tree.graph.cost(&best), tree.graph.cost(&written));
    // That a subquery has one row is no statistic.
    let sizes = || names.iter().zip(&tree.graph.sizes).enumerate().filter(|(leaf, _)| tree.graph.single >> leaf & 1 == 0);
    let (told, unknown): (Vec<_>, Vec<_>) = sizes().map(|(_, it)| it).partition(|(_, size)| size.base.is_some());
    let margin = if unknown.is_empty() { BETTER } else { BETTER_BY_GUESS };
    let better = cost.crosses < before.crosses || cost.crosses == before.crosses && cost.rows * margin < before.rows;
    if !better {
        return as_written(plan, below, "");
    }
    let why = match (told.is_empty(), unknown.is_empty()) {
        (true, _) => "keys and filters".to_string(),
        (false, true) => "statistics".to_string(),
        (false, false) => {
            let told: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
            format!("statistics of {}, keys and filters", told.join(" and "))
        }
    };
    let order = format!("{} by {why}", text(&best, &names));
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let joined = tree.build(&best, &below)?;
    let schema = Arc::clone(plan.schema());
    let projection = Projection::try_new_with_schema(columns, Arc::new(marked(joined, order)), schema)?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

fn marked(input: LogicalPlan, order: String) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(JoinOrder { input, order }) })
}

/// An inner join by the usual equality, perhaps with columns picked of it.
fn is_inner(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner && join.null_equality == NullEquality::NullEqualsNothing && !join.null_aware
        }
        LogicalPlan::Projection(it) => it.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) && is_inner(&it.input),
        _ => false,
    }
}

/// The relations and conditions of a tree of inner joins.
fn flatten<'a>(plan: &'a LogicalPlan, leaves: &mut Vec<&'a LogicalPlan>, conditions: &mut Vec<Expr>) -> Shape {
    match plan {
        LogicalPlan::Join(join) if is_inner(plan) => {
            let left = flatten(&join.left, leaves, conditions);
            let right = flatten(&join.right, leaves, conditions);
            let equal =
                join.on.iter().map(|(l, r)| Expr::BinaryExpr(BinaryExpr::new(Box::new(l.clone()), Operator::Eq, Box::new(r.clone()))));
            conditions.extend(equal);
            conditions.extend(join.filter.iter().cloned().flat_map(split_conjunction_owned));
            Shape::Join(Box::new(left), Box::new(right))
        }
        LogicalPlan::Projection(it) if is_inner(plan) => flatten(&it.input, leaves, conditions),
        _ => {
            leaves.push(plan);
            Shape::Leaf(leaves.len() - 1)
        }
    }
}

/// The same tree over other leaves of the same columns.
fn with_leaves(plan: LogicalPlan, leaves: &mut impl Iterator<Item = LogicalPlan>) -> Result<LogicalPlan> {
    if !is_inner(&plan) {
        return Ok(leaves.next().unwrap_or(plan));
    }
    plan.map_children(|child| with_leaves(child, leaves).map(Transformed::yes)).map(|done| done.data)
}

/// What a relation goes by.
fn name_of(plan: &LogicalPlan) -> String {
    let mut names: Vec<&str> = plan.schema().iter().filter_map(|(qualifier, _)| qualifier.map(|it| it.table())).collect();
    names.dedup();
    match names.as_slice() {
        [] => "(subquery)".into(),
        [name] => {
            if name.starts_with("__") {
                "(subquery)".into()
            } else {
                (*name).to_string()
            }
        }
        [first, ..] => format!("{first}…"),
    }
}

/// A tree of joins as EXPLAIN shows it: from left to right, and what is joined apart in parentheses.
fn text(shape: &Shape, names: &[String]) -> String {
    match shape {
        Shape::Leaf(leaf) => names[*leaf].clone(),
        Shape::Join(left, right) => match right.as_ref() {
            Shape::Leaf(leaf) => format!("{}, {}", text(left, names), names[*leaf]),
            Shape::Join(..) => format!("{}, ({})", text(left, names), text(right, names)),
        },
    }
}

/// Why the order must stay, if it must: where it decides more than speed.
fn fixed(leaves: &[LogicalPlan], conditions: &[Expr], scope: &QueryScope) -> Option<&'static str> {
    if scope.state.is_some() {
        return Some("state has limits");
    }
    if leaves.len() > RELATIONS_MAX {
        return Some("there are too many relations");
    }
    if conditions.iter().any(Expr::is_volatile) {
        return Some("a condition is random");
    }
    let mut why = None;
    for leaf in leaves {
        // Nothing here fails.
        let _ = leaf.apply(|node| {
            let found = match node {
                LogicalPlan::TableScan(scan) => scan.source.is::<RecursiveScan>().then_some("a relation is recursive"),
                LogicalPlan::Extension(extension) => {
                    let node = extension.node.as_any();
                    (node.is::<AssignWindows>() || node.is::<LateSessions>() || node.is::<AsOf>())
                        .then_some("a relation has windows or versions")
                }
                _ => None,
            };
            why = why.or(found);
            Ok(TreeNodeRecursion::Continue)
        });
    }
    if why.is_some() {
        return why;
    }
    let tables: Vec<_> = leaves.iter().flat_map(sources).collect();
    let ends = tables.iter().filter(|table| table.bounded).count();
    if ends != 0 && ends != tables.len() {
        return Some("some relations end and others do not");
    }
    let is_time = |column: &&Column| {
        let field = leaves.iter().find_map(|leaf| leaf.schema().qualified_field_from_column(column).ok());
        field.is_none_or(|(_, field)| matches!(field.data_type(), DataType::Timestamp(_, _)))
    };
    let timed = tables.iter().any(|table| table.event_time.is_some() || table.carried.is_some());
    if timed && conditions.iter().any(|condition| condition.column_refs().iter().any(is_time)) {
        return Some("a time may bound it");
    }
    let per_key = tables.iter().all(|table| table.changelog == ChangelogKind::Upsert);
    if ends == 0 && !tables.is_empty() && !per_key && !scope.allow_unbounded_state {
        return Some("it decides what bounds state");
    }
    None
}

/// Relations to be joined, and what joins them.
struct Tree {
    graph: Graph,
    /// The expressions of each class of equal columns, in step with the graph's.
    equal: Vec<Vec<(usize, Expr)>>,
    /// Other conditions, in step with the graph's.
    others: Vec<Expr>,
}

impl Tree {
    fn new(leaves: &[LogicalPlan], conditions: &[Expr], scope: &QueryScope) -> std::result::Result<Self, &'static str> {
        if let Some(why) = fixed(leaves, conditions, scope) {
            return Err(why);
        }
        let mut seen = BTreeSet::new();
        if !leaves.iter().flat_map(|leaf| leaf.schema().columns()).all(|column| seen.insert(column)) {
            return Err("two relations share a name");
        }
        let reads = |expr: &Expr| -> Set {
            let refs = expr.column_refs();
            let of = |leaf: &LogicalPlan| refs.iter().any(|column| leaf.schema().has_column(column));
            leaves.iter().enumerate().filter(|(_, leaf)| of(leaf)).fold(0, |set, (place, _)| set | 1 << place)
        };
        let mut equal: Vec<Vec<(usize, Expr)>> = Vec::new();
        let (mut others, mut facts) = (Vec::new(), Vec::new());
        for condition in conditions {
            let all = reads(condition);
            if all == 0 {
                return Err("a condition reads no relation");
            }
            let sides = match condition {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => Some((reads(left), reads(right), left, right)),
                _ => None,
            };
            if let Some((of_left, of_right, left, right)) = sides
                && of_left.count_ones() == 1
                && of_right.count_ones() == 1
                && of_left != of_right
            {
                let (l, r) = (of_left.trailing_zeros() as usize, of_right.trailing_zeros() as usize);
                if left.get_type(leaves[l].schema()).ok() == right.get_type(leaves[r].schema()).ok() {
                    unite(&mut equal, (l, left.as_ref().clone()), (r, right.as_ref().clone()));
                    continue;
                }
            }
            let sides = sides.map(|(left, right, ..)| (left, right)).filter(|(left, right)| *left != 0 && *right != 0 && left & right == 0);
            facts.push(Other { leaves: all, sides, share: estimate::of_pairs(condition) });
            others.push(condition.clone());
        }
        let classes = equal.iter().map(|members| {
            let member = |(leaf, expr): &(usize, Expr)| {
                let column = expr.try_as_col().and_then(|column| leaves[*leaf].schema().maybe_index_of_column(column));
                (*leaf, column)
            };
            Equal { members: members.iter().map(member).collect() }
        });
        let single = leaves.iter().enumerate().filter(|(_, leaf)| at_most_one(leaf)).fold(0, |set, (place, _)| set | 1 << place);
        let graph = Graph::new(leaves.iter().map(estimate::size).collect(), single, classes.collect(), facts);
        Ok(Self { graph, equal, others })
    }

    /// The joins. Each condition stands at the lowest that has all it reads.
    fn build(&self, shape: &Shape, leaves: &[LogicalPlan]) -> Result<LogicalPlan> {
        let within = |part: Set, whole: Set| part & !whole == 0;
        let Shape::Join(left, right) = shape else {
            let Shape::Leaf(leaf) = shape else { unreachable!("a tree is a leaf or a join") };
            let own = self.graph.others.iter().zip(&self.others).filter(|(fact, _)| fact.leaves == 1 << leaf).map(|(_, it)| it.clone());
            return Ok(match conjunction(own) {
                Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(leaves[*leaf].clone()))?),
                None => leaves[*leaf].clone(),
            });
        };
        let (l, r) = (left.set(), right.set());
        let mut on = Vec::new();
        for members in &self.equal {
            // Within a side of several relations all are equal already; of one relation each must be asked.
            let of = |side: Set| -> Vec<&Expr> {
                let inside: Vec<_> = members.iter().filter(|(leaf, _)| side >> leaf & 1 == 1).collect();
                let several = inside.iter().any(|(leaf, _)| *leaf != inside[0].0);
                inside.into_iter().take(if several { 1 } else { usize::MAX }).map(|(_, expr)| expr).collect()
            };
            let (of_left, of_right) = (of(l), of(r));
            let (Some(first_left), Some(first_right)) = (of_left.first(), of_right.first()) else { continue };
            on.extend(of_left.iter().map(|expr| ((*expr).clone(), (*first_right).clone())));
            on.extend(of_right.iter().skip(1).map(|expr| ((*first_left).clone(), (*expr).clone())));
        }
        let mut filters = Vec::new();
        for (fact, condition) in self.graph.others.iter().zip(&self.others) {
            if !within(fact.leaves, l | r) || within(fact.leaves, l) || within(fact.leaves, r) {
                continue;
            }
            match (condition, fact.sides) {
                (Expr::BinaryExpr(it), Some((a, b))) if within(a, l) && within(b, r) => on.push((*it.left.clone(), *it.right.clone())),
                (Expr::BinaryExpr(it), Some((a, b))) if within(a, r) && within(b, l) => on.push((*it.right.clone(), *it.left.clone())),
                _ => filters.push(condition.clone()),
            }
        }
        let (left, right) = (Arc::new(self.build(left, leaves)?), Arc::new(self.build(right, leaves)?));
        let join = Join::try_new(
            left,
            right,
            on,
            conjunction(filters),
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(LogicalPlan::Join(join))
    }
}

/// Makes two expressions equal, and all that equal either.
fn unite(classes: &mut Vec<Vec<(usize, Expr)>>, left: (usize, Expr), right: (usize, Expr)) {
    let mut united = Vec::new();
    classes.retain_mut(|class| {
        let meets = class.contains(&left) || class.contains(&right);
        if meets {
            united.append(class);
        }
        !meets
    });
    for member in [left, right] {
        if !united.contains(&member) {
            united.push(member);
        }
    }
    classes.push(united);
}
