//! Joins as they are written: where each one stands.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{self, Query, Select, Spanned, TableFactor, TableWithJoins, Visit, Visitor};

use crate::Span;
use crate::parse::{LineIndex, WindowTable};

/// The name that a subquery in an expression goes by among [`joins`].
pub(crate) const SUBQUERY: &str = "(subquery)";

/// The relations a query joins to others: the name each goes by, and where it is written, condition included.
pub(crate) fn joins(lines: &LineIndex<'_>, query: &Query) -> Vec<(String, Span)> {
    struct Finder<'a>(&'a LineIndex<'a>, Vec<(String, Span)>);
    impl Finder<'_> {
        fn add(&mut self, factor: &TableFactor, span: datafusion_sql::sqlparser::tokenizer::Span) {
            if let (Some(name), Some(span)) = (name_of(factor), self.0.span(span)) {
                self.1.push((name, span));
            }
        }
        fn table(&mut self, table: &TableWithJoins) {
            table.joins.iter().for_each(|join| self.add(&join.relation, join.span()));
        }
    }
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            for (place, from) in select.from.iter().enumerate() {
                if place > 0 {
                    self.add(&from.relation, from.relation.span());
                }
                self.table(from);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            if let ast::Expr::InSubquery { .. }
            | ast::Expr::Exists { .. }
            | ast::Expr::Subquery(_)
            | ast::Expr::AnyOp { .. }
            | ast::Expr::AllOp { .. } = expr
                && let Some(span) = self.0.span(expr.span())
            {
                self.1.push((SUBQUERY.into(), span));
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
                self.table(table_with_joins);
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(lines, vec![]);
    let _ = query.visit(&mut finder);
    finder.1
}

/// The name a relation goes by.
pub(super) fn name_of(factor: &TableFactor) -> Option<String> {
    let alias = match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. }
        | TableFactor::Function { alias, .. } => alias.as_ref(),
        _ => None,
    };
    if let Some(alias) = alias {
        return Some(alias.name.value.clone());
    }
    match factor {
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone()),
        TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => Some(String::new()),
        _ => WindowTable::decode(factor).map(|(table, _)| match table.data {
            ast::Expr::Identifier(ident) => ident.value,
            _ => String::new(),
        }),
    }
}

/// A query of nothing but a body.
pub(super) fn query_of(body: Box<ast::SetExpr>) -> Query {
    Query {
        with: None,
        body,
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}

/// `SELECT * FROM factor`.
pub(super) fn select_all(factor: TableFactor) -> Select {
    Select {
        select_token: ast::helpers::attached_token::AttachedToken::empty(),
        optimizer_hints: vec![],
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: vec![ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())],
        exclude: None,
        into: None,
        from: vec![TableWithJoins { relation: factor, joins: vec![] }],
        lateral_views: vec![],
        prewhere: None,
        selection: None,
        connect_by: vec![],
        group_by: ast::GroupByExpr::Expressions(vec![], vec![]),
        cluster_by: vec![],
        distribute_by: vec![],
        sort_by: vec![],
        having: None,
        named_window: vec![],
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: ast::SelectFlavor::Standard,
    }
}
