//! Does a SELECT aggregate? Asked by the WINDOW clause, where an aggregate without GROUP BY means one group for each window.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, FunctionArguments, Query, Select, SelectItem, Visit, Visitor};

use crate::functions::Functions;

/// The SELECT has an aggregate outside of its subqueries, or HAVING.
pub(super) fn has_aggregate(select: &Select) -> bool {
    let outputs = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } | SelectItem::ExprWithAliases { expr, .. } => {
            is_aggregate(expr)
        }
        _ => false,
    });
    outputs || select.having.is_some() || select.qualify.as_ref().is_some_and(is_aggregate)
}

/// The expression has an aggregate outside of its subqueries.
pub(super) fn is_aggregate(expr: &Expr) -> bool {
    expr.visit(&mut Finder { depth: 0 }).is_break()
}

struct Finder {
    depth: usize,
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        // `count(*) OVER (…)` is a value for each row.
        if self.depth > 0 || call.over.is_some() {
            return ControlFlow::Continue(());
        }
        let by_form = call.filter.is_some()
            || !call.within_group.is_empty()
            || matches!(&call.args, FunctionArguments::List(list) if list.duplicate_treatment.is_some());
        let by_name = call
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .is_some_and(|name| Functions::get().aggregate.contains_key(&name.value.to_ascii_lowercase()));
        if by_form || by_name { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
