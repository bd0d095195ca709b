//! Comparisons of several values at once, such as `(a, b) IN (SELECT x, y FROM t)`, in terms of their columns, which DataFusion plans.
//!
//! A row is equal to another if all its values are: true, false, or null where no value differs and one is not known. What must hold, in
//! WHERE, is asked for by EXISTS: a row that is equal, or for NOT IN no row of which it is not known that it differs. Elsewhere null is told
//! from false.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, Select, SelectItem, Spanned, TableAlias, TableAliasColumnDef, TableFactor, UnaryOperator,
    Value, ValueWithSpan, VisitMut, VisitorMut, helpers::attached_token::AttachedToken,
};
use datafusion_sql::sqlparser::tokenizer;

use super::joins::{query_of, select_all};

/// The name of the rows that a row is compared with.
const ROWS: &str = "$rows";

/// Rewrites a query in place.
pub(super) fn prepare(query: &mut Query) {
    struct Rewriter;
    impl VisitorMut for Rewriter {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            select.selection.iter_mut().chain(&mut select.having).for_each(must_hold);
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            rewrite(expr);
            ControlFlow::Continue(())
        }
    }
    let _ = VisitMut::visit(query, &mut Rewriter);
}

/// A condition of which only matters whether it is true.
fn must_hold(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => must_hold(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            must_hold(left);
            must_hold(right);
        }
        Expr::InSubquery { expr: row, subquery, negated } => {
            let Some(values) = values(row) else { return };
            let equal = equal(&values, &columns(values.len(), row.span()));
            let asked = if *negated { Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(equal)))) } else { equal };
            *expr = exists(subquery, values.len(), asked, *negated, row.span());
        }
        _ => {}
    }
}

fn rewrite(expr: &mut Expr) {
    let span = expr.span();
    match expr {
        Expr::InSubquery { expr: row, subquery, negated } => {
            let Some(values) = values(row) else { return };
            let equal = equal(&values, &columns(values.len(), span));
            let unknown = Expr::IsNull(Box::new(Expr::Nested(Box::new(equal.clone()))));
            let is_in = Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![
                    CaseWhen { condition: exists(subquery, values.len(), equal, false, span), result: value(Value::Boolean(true), span) },
                    CaseWhen { condition: exists(subquery, values.len(), unknown, false, span), result: value(Value::Null, span) },
                ],
                else_result: Some(Box::new(value(Value::Boolean(false), span))),
            };
            *expr = if *negated { not(is_in) } else { is_in };
        }
        Expr::InList { expr: row, list, negated } => {
            let Some(left) = values(row) else { return };
            let Some(rows) = list.iter().map(|row| values(row).filter(|row| row.len() == left.len())).collect::<Option<Vec<_>>>() else {
                return;
            };
            let any = rows
                .iter()
                .map(|row| Expr::Nested(Box::new(equal(&left, row))))
                .reduce(|left, right| both(left, BinaryOperator::Or, right));
            let Some(any) = any else { return };
            *expr = if *negated { not(any) } else { Expr::Nested(Box::new(any)) };
        }
        Expr::BinaryOp { left, op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq), right } => {
            let (Some(ours), Some(theirs)) = (values(left), values(right)) else { return };
            if ours.len() != theirs.len() {
                return;
            }
            let equal = equal(&ours, &theirs);
            *expr = if *op == BinaryOperator::Eq { Expr::Nested(Box::new(equal)) } else { not(equal) };
        }
        _ => {}
    }
}

/// The values of a row, if it is one of several.
fn values(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(values) if values.len() > 1 => Some(values.clone()),
        _ => None,
    }
}

fn columns(count: usize, span: tokenizer::Span) -> Vec<Expr> {
    (0..count).map(|place| Expr::CompoundIdentifier(vec![ident(ROWS, span), ident(&column(place), span)])).collect()
}

fn column(place: usize) -> String {
    format!("${}", place + 1)
}

fn ident(name: &str, span: tokenizer::Span) -> Ident {
    Ident { value: name.to_string(), quote_style: Some('"'), span }
}

fn value(value: Value, span: tokenizer::Span) -> Expr {
    Expr::Value(ValueWithSpan { value, span })
}

fn both(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr))) }
}

fn equal(left: &[Expr], right: &[Expr]) -> Expr {
    let pairs = left.iter().zip(right).map(|(left, right)| both(right.clone(), BinaryOperator::Eq, Expr::Nested(Box::new(left.clone()))));
    pairs.reduce(|left, right| both(left, BinaryOperator::And, right)).expect("rows have several values")
}

/// Whether a condition on a row of a subquery is true for one.
fn exists(subquery: &Query, width: usize, condition: Expr, negated: bool, span: tokenizer::Span) -> Expr {
    let name = |name: &str| TableAliasColumnDef { name: ident(name, span), data_type: None };
    let alias =
        TableAlias { explicit: true, name: ident(ROWS, span), columns: (0..width).map(|place| name(&column(place))).collect(), at: None };
    let rows = TableFactor::Derived { lateral: false, subquery: Box::new(subquery.clone()), alias: Some(alias), sample: None };
    let one = SelectItem::UnnamedExpr(value(Value::Number("1".into(), false), span));
    let select = Select { projection: vec![one], selection: Some(condition), ..select_all(rows) };
    let query = query_of(Box::new(datafusion_sql::sqlparser::ast::SetExpr::Select(Box::new(select))));
    Expr::Exists { subquery: Box::new(query), negated }
}
