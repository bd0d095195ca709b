//! WITH RECURSIVE: what a recursive relation must look like, and the one form of it that DataFusion plans.
//!
//! A recursive relation is a chain of UNION, or of UNION ALL, of queries. Those that do not read the relation are where it begins, in
//! whatever order they are written; the others make rows of its rows. DataFusion knows one of each, and would pass over an ORDER BY.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_expr::TableSource;
use datafusion_sql::sqlparser::ast::{
    self, Cte, Expr, ObjectName, ObjectNamePart, Query, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer;

use super::joins::query_of;
use crate::parse::{LineIndex, WindowTable};
use crate::{PlanError, Span};

/// A recursive relation, as its own query reads it.
pub(crate) struct RecursiveScan {
    pub(crate) name: String,
    schema: SchemaRef,
}

impl RecursiveScan {
    pub(super) fn new(name: &str, schema: SchemaRef) -> Self {
        Self { name: name.to_string(), schema }
    }
}

impl TableSource for RecursiveScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The recursive relations a query declares, with the places of their names.
pub(crate) fn recursions(lines: &LineIndex<'_>, query: &Query) -> Vec<(String, Span)> {
    struct Finder<'a>(&'a LineIndex<'a>, Vec<(String, Span)>);
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            for cte in ctes(query) {
                if let Some(span) = self.0.span(cte.alias.name.span) {
                    self.1.push((cte.alias.name.value.clone(), span));
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(lines, vec![]);
    let _ = query.visit(&mut finder);
    finder.1
}

fn ctes(query: &Query) -> &[Cte] {
    query.with.as_ref().filter(|with| with.recursive).map_or(&[], |with| &with.cte_tables)
}

/// What is wrong with the recursive relations that a query declares itself.
pub(super) fn check(lines: &LineIndex<'_>, query: &Query) -> Vec<PlanError> {
    let mut errors = Vec::new();
    let ctes = ctes(query);
    for (place, cte) in ctes.iter().enumerate() {
        let name = &cte.alias.name;
        let wrong = |message: String, span: tokenizer::Span, help: &str| {
            PlanError::new("plan::recursion", message, lines.span(span).or_else(|| lines.span(name.span))).help(help)
        };
        for later in &ctes[place + 1..] {
            if let Some(span) = references(&cte.query, &later.alias.name.value).first() {
                let message = format!("\"{}\" reads \"{}\", which is declared after it", name.value, later.alias.name.value);
                errors.push(wrong(
                    message,
                    *span,
                    "A relation reads itself and those before it: put both into one, with a column that tells them apart.",
                ));
            }
        }
        let own = references(&cte.query, &name.value);
        let Some(first) = own.first() else { continue };
        let query = &cte.query;
        let extra = [
            query.with.as_ref().map(|with| (with.span(), "WITH")),
            query.order_by.as_ref().map(|order| (order.span(), "ORDER BY")),
            query.limit_clause.as_ref().map(|limit| (limit.span(), "LIMIT")),
        ];
        for (span, words) in extra.into_iter().flatten() {
            let help = match words {
                "WITH" => "Declare it before, beside the recursive relation.",
                _ => "Say it where the relation is read.",
            };
            errors.push(wrong(format!("{words} inside of the recursive relation \"{}\"", name.value), span, help));
        }
        if let Some(span) = in_subqueries(query, &name.value).first() {
            let message = format!("a subquery over \"{}\" in its own query", name.value);
            errors.push(wrong(message, *span, "Join it in FROM instead; what is not in it is not known before it has ended."));
            continue;
        }
        let Some((quantifier, terms)) = chain(&query.body) else {
            let message = format!("\"{}\" reads itself, and is no UNION", name.value);
            errors.push(wrong(message, *first, "Begin with rows that do not need it: SELECT … UNION SELECT … FROM it."));
            continue;
        };
        let counts: Vec<usize> = terms.iter().map(|term| references(*term, &name.value).len()).collect();
        if counts.iter().all(|count| *count > 0) {
            let message = format!("\"{}\" has no rows to begin with", name.value);
            errors.push(wrong(message, *first, "Begin with rows that do not need it: SELECT … UNION SELECT … FROM it."));
        }
        for (term, count) in terms.iter().zip(&counts) {
            if is_all(quantifier) && *count > 1 {
                let message = format!("\"{}\" is read {count} times in one term of a UNION ALL", name.value);
                let span = references(*term, &name.value)[1];
                errors.push(wrong(message, span, "How often a row is made is not defined then; say UNION, which keeps each row once."));
            }
        }
    }
    errors
}

/// Brings the recursive relations that a query declares itself to the form `base UNION step`.
pub(super) fn encode(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for cte in &mut with.cte_tables {
        let name = cte.alias.name.value.clone();
        if references(&cte.query, &name).is_empty() {
            // Not recursive: DataFusion leaves what is in brackets alone.
            let whole = Query { with: None, ..query_of(Box::new(SetExpr::Query(cte.query.clone()))) };
            *cte.query = whole;
            continue;
        }
        let Some((quantifier, terms)) = chain(&cte.query.body) else { continue };
        let (steps, bases): (Vec<&SetExpr>, Vec<&SetExpr>) = terms.into_iter().partition(|term| !references(*term, &name).is_empty());
        // Equal rows of two steps are one in the relation already.
        let sides = (union(bases, quantifier), union(steps, SetQuantifier::All));
        if let (Some(base), Some(step)) = sides {
            *cte.query.body =
                SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: quantifier, left: Box::new(base), right: Box::new(step) };
        }
    }
}

fn is_all(quantifier: SetQuantifier) -> bool {
    matches!(quantifier, SetQuantifier::All | SetQuantifier::AllByName)
}

/// The terms of a chain of unions of one kind. Terms in brackets, and unions of the other kind on the left, are terms of their own.
fn chain(body: &SetExpr) -> Option<(SetQuantifier, Vec<&SetExpr>)> {
    let SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, .. } = body else { return None };
    fn collect<'a>(body: &'a SetExpr, kind: SetQuantifier, terms: &mut Vec<&'a SetExpr>) {
        match body {
            SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } if is_all(*set_quantifier) == is_all(kind) => {
                collect(left, kind, terms);
                collect(right, kind, terms);
            }
            other => terms.push(other),
        }
    }
    let mut terms = Vec::new();
    collect(body, *set_quantifier, &mut terms);
    Some((*set_quantifier, terms))
}

fn union(terms: Vec<&SetExpr>, quantifier: SetQuantifier) -> Option<SetExpr> {
    terms.into_iter().cloned().reduce(|left, right| SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: quantifier,
        left: Box::new(left),
        right: Box::new(right),
    })
}

/// Where a relation is read by a name in a subquery of an expression.
fn in_subqueries(query: &Query, name: &str) -> Vec<tokenizer::Span> {
    struct Finder<'a>(&'a str, Vec<tokenizer::Span>);
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Exists { subquery, .. } | Expr::InSubquery { subquery, .. } | Expr::Subquery(subquery) => {
                    self.1.extend(references(subquery.as_ref(), self.0));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(name, vec![]);
    let _ = query.visit(&mut finder);
    finder.1
}

/// Where a relation is read by a name.
fn references(part: &impl Visit, name: &str) -> Vec<tokenizer::Span> {
    struct Finder<'a>(&'a str, Vec<tokenizer::Span>);
    impl Visitor for Finder<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            if let [ObjectNamePart::Identifier(ident)] = relation.0.as_slice()
                && ident.value.eq_ignore_ascii_case(self.0)
            {
                self.1.push(ident.span);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let Some((table, _)) = WindowTable::decode(factor)
                && let Expr::Identifier(ident) = &table.data
                && ident.value.eq_ignore_ascii_case(self.0)
            {
                self.1.push(ident.span);
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(name, vec![]);
    let _ = ast::Visit::visit(part, &mut finder);
    finder.1
}
