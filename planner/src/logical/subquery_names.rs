//! Names of what a subquery gives, where nobody can name it: in predicates.
//!
//! A correlated subquery is turned into a join by carrying the columns it is compared by up through its SELECT. An alias there that has
//! the name of such a column would make the name ambiguous, so each item gets a name of its own.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{self, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr};
use datafusion_sql::sqlparser::ast::{VisitMut, VisitorMut};

use crate::parse::constraint_mut;

/// Renames the items of subqueries in the predicates of a query.
pub(super) fn prepare(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut Renamer { next: 0 });
}

struct Renamer {
    next: usize,
}

impl VisitorMut for Renamer {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let joins = select.from.iter_mut().flat_map(|from| &mut from.joins).filter_map(|join| condition(&mut join.join_operator));
        for predicate in select.selection.iter_mut().chain(&mut select.having).chain(joins) {
            let _ = ast::visit_expressions_mut(predicate, |expr| {
                if let Expr::Subquery(query) | Expr::InSubquery { subquery: query, .. } | Expr::Exists { subquery: query, .. } = expr {
                    self.rename(query);
                }
                ControlFlow::<()>::Continue(())
            });
        }
        ControlFlow::Continue(())
    }
}

fn condition(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match constraint_mut(operator)? {
        JoinConstraint::On(expr) => Some(expr),
        _ => None,
    }
}

impl Renamer {
    fn rename(&mut self, query: &mut Query) {
        let SetExpr::Select(select) = query.body.as_mut() else { return };
        // ORDER BY, GROUP BY, HAVING and QUALIFY may say an alias.
        let said = query.order_by.is_some()
            || select.having.is_some()
            || select.qualify.is_some()
            || !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
        if said {
            return;
        }
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.next += 1;
                *alias = Ident { value: format!("__item_{}", self.next), quote_style: alias.quote_style, span: alias.span };
            }
        }
    }
}
