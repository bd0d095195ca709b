//! Finding the place of a mistake that DataFusion tells without one: the innermost expression that, alone, is refused with the same
//! words.

use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{self, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Spanned, Visit, Visitor};

use crate::functions::Functions;
use crate::parse::LineIndex;
use crate::{PlanError, Span};

/// The calls of functions in a query, innermost first.
pub(crate) fn calls(lines: &LineIndex<'_>, query: &Query) -> Vec<(String, Span)> {
    struct Finder<'a>(&'a LineIndex<'a>, Vec<(String, Span)>);
    impl Visitor for Finder<'_> {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && let Some(span) = self.0.span(function.span())
            {
                self.1.push((function.name.to_string().to_lowercase(), span));
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(lines, vec![]);
    let _ = query.visit(&mut finder);
    finder.1
}

/// Puts errors without a place of their own to the expression they are about. `plan` plans a query as far as the errors need.
pub(super) fn place(
    lines: &LineIndex<'_>,
    body: &Query,
    whole: Span,
    errors: &mut [PlanError],
    plan: &dyn Fn(&Query) -> Result<(), DataFusionError>,
) {
    for error in errors.iter_mut().filter(|error| error.span == Some(whole)) {
        let found = match error.code {
            "plan::misplaced_aggregate" => aggregate_in_where(body),
            "plan::type_mismatch" | "plan::invalid_query" | "plan::wrong_argument" | "plan::not_yet" => {
                probe(lines, body, whole, error, plan)
            }
            _ => None,
        };
        if let Some(span) = found.and_then(|span| lines.span(span)) {
            error.span = Some(span);
        }
    }
}

fn aggregate_in_where(body: &Query) -> Option<datafusion_sql::sqlparser::tokenizer::Span> {
    struct Finder(Option<datafusion_sql::sqlparser::tokenizer::Span>);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let found = select.selection.as_ref().and_then(|selection| {
                let mut found = None;
                let _ = ast::visit_expressions(selection, |expr| {
                    if let Expr::Function(function) = expr
                        && Functions::get().aggregate.contains_key(&function.name.to_string().to_lowercase())
                    {
                        found = Some(function.span());
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                });
                found
            });
            match found {
                Some(span) => {
                    self.0 = Some(span);
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        }
    }
    let mut finder = Finder(None);
    let _ = body.visit(&mut finder);
    finder.0
}

/// Selects with the expressions in them that can be of a wrong type, innermost first.
struct Candidates(Vec<(Select, Vec<Expr>)>);

impl Visitor for Candidates {
    type Break = ();

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        struct Finder(Vec<Expr>);
        impl Visitor for Finder {
            type Break = ();
            fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Nested(_)) {
                    self.0.push(expr.clone());
                }
                ControlFlow::Continue(())
            }
        }
        let mut finder = Finder(vec![]);
        for item in &select.projection {
            let _ = item.visit(&mut finder);
        }
        let _ = select.selection.visit(&mut finder);
        let _ = select.group_by.visit(&mut finder);
        let _ = select.having.visit(&mut finder);
        self.0.push((select.clone(), finder.0));
        ControlFlow::Continue(())
    }
}

fn probe(
    lines: &LineIndex<'_>,
    body: &Query,
    whole: Span,
    error: &PlanError,
    plan: &dyn Fn(&Query) -> Result<(), DataFusionError>,
) -> Option<datafusion_sql::sqlparser::tokenizer::Span> {
    let mut candidates = Candidates(vec![]);
    let _ = body.visit(&mut candidates);
    for (select, exprs) in candidates.0 {
        for expr in exprs {
            let span = expr.span();
            let alone = Select {
                projection: vec![SelectItem::UnnamedExpr(expr)],
                distinct: None,
                selection: None,
                group_by: GroupByExpr::Expressions(vec![], vec![]),
                having: None,
                ..select.clone()
            };
            let query = Query {
                with: body.with.clone(),
                body: Box::new(SetExpr::Select(Box::new(alone))),
                order_by: None,
                limit_clause: None,
                fetch: None,
                locks: vec![],
                for_clause: None,
                settings: None,
                format_clause: None,
                pipe_operators: vec![],
            };
            if let Err(same) = plan(&query)
                && super::errors::translate(lines, same, whole).iter().any(|it| it.message == error.message)
            {
                return Some(span);
            }
        }
    }
    None
}
