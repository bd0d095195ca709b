//! How many rows a relation has, as far as a plan can tell: by the statistics of its sources, else relative to sources of unknown size.
//!
//! Estimates decide in which order relations are joined and nothing else, so a declared primary key is believed here.

use std::collections::BTreeSet;

use datafusion_common::{Column, JoinType};
use datafusion_expr::expr::{BinaryExpr, InList};
use datafusion_expr::logical_plan::FetchType;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan, Operator};

use crate::logical::{SourceScan, ViewBody};
use crate::optimize::at_most_one;

/// The share of rows that a comparison with one value leaves, where nothing is known of the column.
const EQUAL: f64 = 0.1;
/// The share that a bound leaves.
const BOUND: f64 = 0.3;
/// The share that anything else leaves.
const OTHER: f64 = 0.3;
/// Rows for each group.
const GROUPED: f64 = 0.1;

/// What is expected of a relation.
#[derive(Clone, Debug, Default)]
pub(super) struct Size {
    /// Rows before the relation was filtered, if that can be told.
    pub(super) base: Option<f64>,
    /// The share of them that is left.
    pub(super) share: f64,
    /// Columns that tell rows apart.
    pub(super) unique: Vec<BTreeSet<usize>>,
    /// Different values of each column, as far as they are known.
    pub(super) distinct: Vec<Option<f64>>,
}

impl Size {
    fn of(rows: f64, width: usize) -> Self {
        Self { base: Some(rows), share: 1.0, unique: vec![], distinct: vec![None; width] }
    }

    /// A relation of which nothing is known.
    fn unknown(width: usize) -> Self {
        Self { base: None, share: 1.0, unique: vec![], distinct: vec![None; width] }
    }

    /// Whether a column alone tells rows apart.
    pub(super) fn is_unique(&self, column: usize) -> bool {
        self.unique.iter().any(|key| key.len() == 1 && key.contains(&column))
    }

    /// The share of rows whose column is one value.
    fn equal(&self, column: Option<usize>) -> f64 {
        let Some(column) = column else { return EQUAL };
        match (self.distinct[column], self.base) {
            (Some(distinct), _) => 1.0 / distinct.max(1.0),
            (None, Some(base)) if self.is_unique(column) => 1.0 / base.max(1.0),
            (None, _) if self.is_unique(column) => 0.001,
            _ => EQUAL,
        }
    }

    /// Columns picked by position; those that are computed are `None`.
    fn pick(self, columns: &[Option<usize>]) -> Self {
        let place = |old: &usize| columns.iter().position(|it| *it == Some(*old));
        let unique = self.unique.iter().filter_map(|key| key.iter().map(place).collect::<Option<BTreeSet<_>>>()).collect();
        Self { unique, distinct: columns.iter().map(|it| it.and_then(|it| self.distinct[it])).collect(), ..self }
    }
}

/// The position of a column in a plan's output.
fn position(plan: &LogicalPlan, column: &Column) -> Option<usize> {
    plan.schema().maybe_index_of_column(column)
}

fn place(plan: &LogicalPlan, expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(column) => position(plan, column),
        Expr::Alias(alias) => place(plan, &alias.expr),
        Expr::Cast(cast) => place(plan, &cast.expr),
        _ => None,
    }
}

/// Estimates a relation.
pub(super) fn size(plan: &LogicalPlan) -> Size {
    let width = plan.schema().fields().len();
    if at_most_one(plan) {
        return Size::of(1.0, width);
    }
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(source) = scan.source.downcast_ref::<SourceScan>() else { return Size::unknown(width) };
            let table = &source.table;
            let names: Vec<&String> = table.columns.iter().map(|column| column.field.name()).collect();
            let of = |field: usize| names.iter().position(|name| *name == plan.schema().field(field).name());
            let columns: Vec<Option<usize>> = (0..width).map(of).collect();
            let of_table = Size {
                base: table.statistics.rows.map(|rows| rows as f64),
                share: 1.0,
                unique: table.key.iter().map(|key| key.iter().copied().collect()).collect(),
                distinct: (0..names.len()).map(|it| table.statistics.distinct.get(&it).map(|it| *it as f64)).collect(),
            };
            of_table.pick(&columns)
        }
        LogicalPlan::SubqueryAlias(it) => size(&it.input),
        LogicalPlan::Sort(it) => size(&it.input),
        LogicalPlan::Extension(it) => match (it.node.as_any().downcast_ref::<ViewBody>(), it.node.inputs().first()) {
            (Some(view), _) => size(&view.input),
            (None, Some(input)) if input.schema().fields().len() == width => Size { unique: vec![], ..size(input) },
            _ => Size::unknown(width),
        },
        LogicalPlan::Filter(it) => {
            let of = size(&it.input);
            Size { share: of.share * selectivity(&it.predicate, &it.input, &of), ..of }
        }
        LogicalPlan::Projection(it) => {
            let columns: Vec<Option<usize>> = it.expr.iter().map(|expr| place(&it.input, expr)).collect();
            size(&it.input).pick(&columns)
        }
        LogicalPlan::Aggregate(it) => {
            let of = size(&it.input);
            let keys: Vec<Option<usize>> = it.group_expr.iter().map(|key| place(&it.input, key)).collect();
            let distinct: Vec<Option<f64>> = keys.iter().map(|key| key.and_then(|key| of.distinct[key])).collect();
            let known: Option<f64> = distinct.iter().copied().product();
            let whole = of.unique.iter().any(|unique| unique.iter().all(|column| keys.contains(&Some(*column))));
            let share = of.share * if whole { 1.0 } else { GROUPED };
            let base = of.base.map(|base| known.map_or(base, |known| known.min(base * of.share)));
            let share = if known.is_some() && base.is_some() { 1.0 } else { share };
            let groups = (0..it.group_expr.len()).collect();
            Size { base, share, unique: vec![groups], distinct: distinct.into_iter().chain(std::iter::repeat(None)).take(width).collect() }
        }
        LogicalPlan::Union(it) => {
            let rows: Option<f64> = it.inputs.iter().map(|input| size(input)).map(|it| Some(it.base? * it.share)).sum();
            rows.map_or(Size::unknown(width), |rows| Size::of(rows, width))
        }
        LogicalPlan::Values(it) => Size::of(it.values.len() as f64, width),
        LogicalPlan::Limit(it) => {
            let of = size(&it.input);
            match it.get_fetch_type() {
                Ok(FetchType::Literal(Some(fetch))) => Size { base: Some(fetch as f64), share: 1.0, ..of },
                _ => of,
            }
        }
        LogicalPlan::Join(it) => {
            let (left, right) = (size(&it.left), size(&it.right));
            match it.join_type {
                JoinType::LeftSemi | JoinType::LeftAnti => Size { share: left.share * 0.5, ..left },
                JoinType::RightSemi | JoinType::RightAnti => Size { share: right.share * 0.5, ..right },
                JoinType::LeftMark | JoinType::RightMark | JoinType::Left => {
                    let mut left = left;
                    let keys: BTreeSet<usize> = it.on.iter().filter_map(|(_, key)| place(&it.right, key)).collect();
                    if it.join_type == JoinType::Left && !right.unique.iter().any(|unique| unique.is_subset(&keys)) {
                        left.unique.clear();
                    }
                    left.distinct.resize(width, None);
                    left
                }
                JoinType::Inner | JoinType::Right | JoinType::Full => {
                    let base = left.base.zip(right.base).map(|(left, right)| left.max(right));
                    Size { base, share: left.share.min(right.share), unique: vec![], distinct: vec![None; width] }
                }
            }
        }
        _ => Size::unknown(width),
    }
}

/// The share of an input's rows for which a predicate holds.
fn selectivity(predicate: &Expr, input: &LogicalPlan, size: &Size) -> f64 {
    split_conjunction(predicate).into_iter().map(|part| one(part, input, size)).product()
}

fn one(predicate: &Expr, input: &LogicalPlan, size: &Size) -> f64 {
    let equal = |column: &Expr| size.equal(place(input, column));
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => selectivity(predicate, input, size),
            Operator::Or => {
                let (left, right) = (one(left, input, size), one(right, input, size));
                left + right - left * right
            }
            Operator::Eq | Operator::IsNotDistinctFrom => match (right.any_column_refs(), left.any_column_refs()) {
                (false, _) => equal(left),
                (_, false) => equal(right),
                _ => EQUAL,
            },
            Operator::NotEq | Operator::IsDistinctFrom => 1.0 - EQUAL,
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => BOUND,
            _ => OTHER,
        },
        Expr::Not(inner) => 1.0 - one(inner, input, size),
        Expr::InList(InList { expr, list, negated }) => {
            let share = (equal(expr) * list.len() as f64).min(1.0);
            if *negated { 1.0 - share } else { share }
        }
        Expr::Like(like) => {
            if like.negated {
                1.0 - EQUAL
            } else {
                EQUAL
            }
        }
        Expr::IsNull(_) => EQUAL,
        Expr::IsNotNull(_) => 1.0 - EQUAL,
        Expr::Literal(value, _) => {
            if *value == datafusion_common::ScalarValue::Boolean(Some(true)) {
                1.0
            } else {
                0.0
            }
        }
        _ => OTHER,
    }
}

/// The share of pairs for which a predicate over several relations holds.
pub(super) fn of_pairs(predicate: &Expr) -> f64 {
    match predicate {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) => EQUAL,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => (of_pairs(left) + of_pairs(right)).min(1.0),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => of_pairs(left) * of_pairs(right),
        Expr::BinaryExpr(BinaryExpr { op: Operator::NotEq, .. }) => 1.0 - EQUAL,
        _ => OTHER,
    }
}
