//! What can be found wrong in a query by looking at it: constructs that are not supported yet, unknown relations and functions, and
//! functions whose answer would depend on when they are asked. All are told at once.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, Expr, GroupByExpr, ObjectName, ObjectNamePart, Query, Select, Spanned, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer;

use crate::PlanError;
use crate::catalog::{Catalog, Relation};
use crate::error::nearest;
use crate::functions::Functions;
use crate::parse::{SideTable, WindowTable};

/// Functions that tell the time of asking. They have no one answer over a changing input.
const CLOCKS: [&str; 8] =
    ["now", "current_timestamp", "current_date", "current_time", "localtime", "localtimestamp", "today", "unix_timestamp"];

/// Functions the planner itself understands.
const BUILT_IN: [&str; 4] = ["unnest", "unnest_outer", "make_map", crate::parse::WITHIN];

/// Checks a query. Sources it reads are resolved, and what is wrong with them is told here.
pub(super) fn check(catalog: &Catalog<'_>, query: &Query) -> Vec<PlanError> {
    let mut checker = Checker { catalog, ctes: super::names::ctes(query), errors: vec![] };
    let _ = query.visit(&mut checker);
    checker.errors
}

/// Checks an expression that stands alone.
pub(super) fn check_expr(catalog: &Catalog<'_>, expr: &Expr) -> Vec<PlanError> {
    let mut checker = Checker { catalog, ctes: BTreeSet::new(), errors: vec![] };
    let _ = expr.visit(&mut checker);
    checker.errors
}

struct Checker<'a> {
    catalog: &'a Catalog<'a>,
    ctes: BTreeSet<String>,
    errors: Vec<PlanError>,
}

impl Checker<'_> {
    fn not_yet(&mut self, what: &str, span: tokenizer::Span, way_out: &str) {
        let span = self.catalog.lines.span(span);
        self.errors.push(PlanError::new("plan::not_yet", format!("{what} not supported yet"), span).help(way_out));
    }

    /// The kinds of joins there are.
    fn join(&mut self, join: &ast::Join) {
        use ast::JoinOperator as J;
        match &join.join_operator {
            J::Join(_)
            | J::Inner(_)
            | J::Left(_)
            | J::LeftOuter(_)
            | J::Right(_)
            | J::RightOuter(_)
            | J::FullOuter(_)
            | J::Semi(_)
            | J::LeftSemi(_)
            | J::RightSemi(_)
            | J::Anti(_)
            | J::LeftAnti(_)
            | J::RightAnti(_)
            | J::AsOf { .. }
            | J::CrossJoin(ast::JoinConstraint::None) => {}
            J::CrossApply | J::OuterApply => self.not_yet("APPLY is", join.span(), "Write JOIN LATERAL (…) ON TRUE."),
            _ => self.not_yet("this kind of join is", join.span(), "Write JOIN, LEFT JOIN, RIGHT JOIN, FULL JOIN or CROSS JOIN."),
        }
    }

    /// Where rows of the right side stay without a match, a column of USING comes from either side; left's own could not be told from it.
    fn using_of_right(&mut self, select: &Select) {
        use ast::JoinOperator as J;
        for from in &select.from {
            let mut names: Vec<String> = super::joins::name_of(&from.relation).into_iter().collect();
            for join in &from.joins {
                if let J::Right(it) | J::RightOuter(it) | J::FullOuter(it) = &join.join_operator
                    && let ast::JoinConstraint::Using(columns) = it
                {
                    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
                    self.refuse_qualified(select, &names, &columns);
                }
                names.extend(super::joins::name_of(&join.relation));
            }
        }
    }

    fn refuse_qualified(&mut self, select: &Select, relations: &[String], columns: &[String]) {
        let mut found = Vec::new();
        let _ = ast::visit_expressions(select, |expr| {
            if let Expr::CompoundIdentifier(parts) = expr
                && let [.., relation, column] = parts.as_slice()
                && relations.iter().any(|it| it.eq_ignore_ascii_case(&relation.value))
                && columns.iter().any(|it| it.eq_ignore_ascii_case(&column.value))
            {
                found.push((expr.to_string(), column.value.clone(), expr.span()));
            }
            ControlFlow::<()>::Continue(())
        });
        for (whole, column, span) in found {
            let way_out = format!("Write {column} for the column both sides give, or join with ON.");
            self.not_yet(&format!("\"{whole}\" of a RIGHT or FULL JOIN USING is"), span, &way_out);
        }
    }

    fn relation(&mut self, name: &str, span: tokenizer::Span) {
        if self.ctes.contains(name) || self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(name)) {
            return;
        }
        let span = self.catalog.lines.span(span);
        match self.catalog.find(name) {
            None if self.catalog.is_file(name) => {}
            None => self.errors.push(self.catalog.unknown(name, span)),
            Some((_, Relation::View(_))) => {}
            Some((_, Relation::Table(table))) if table.can_read => {
                if let Err(mut errors) = self.catalog.source(name) {
                    self.errors.append(&mut errors);
                }
            }
            Some((key, Relation::Table(_) | Relation::Sink(_))) => {
                let message = format!("\"{key}\" is a sink and cannot be read");
                self.errors
                    .push(PlanError::new("plan::not_a_source", message, span).help("Read what feeds it instead, or put that in a view."));
            }
        }
    }

    fn function(&mut self, function: &ast::Function) {
        let span = function.name.span();
        let [ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else {
            let name = function.name.to_string();
            let span = self.catalog.lines.span(span);
            self.errors.push(PlanError::new("plan::unknown_function", format!("function \"{name}\" does not exist"), span));
            return;
        };
        let name = ident.value.to_lowercase();
        let bare = matches!(function.args, ast::FunctionArguments::None);
        if CLOCKS.contains(&name.as_str()) {
            let span = self.catalog.lines.span(span);
            let message = format!("{name} has no one answer over a stream");
            self.errors.push(
                PlanError::new("plan::volatile", message, span)
                    .label("the time of asking")
                    .help("Use PROCTIME(), the time a row was read, or an event time column."),
            );
            return;
        }
        let functions = Functions::get();
        let known = functions.contains(&name) && (function.over.is_some() || !functions.is_window_only(&name));
        if known || bare || BUILT_IN.contains(&name.as_str()) || super::names::is_rewritten(&name) {
            return;
        }
        if functions.is_window_only(&name) {
            let span = self.catalog.lines.span(span);
            let error = PlanError::new("plan::missing_over", format!("{name} needs OVER"), span);
            self.errors.push(error.help(format!("Say over which rows: {name}(…) OVER (PARTITION BY k ORDER BY ts).")));
            return;
        }
        let span = self.catalog.lines.span(span);
        let error = PlanError::new("plan::unknown_function", format!("function \"{}\" does not exist", ident.value), span);
        self.errors.push(match nearest(&name, functions.names().chain(["proctime", "mod"])) {
            Some(near) => error.help(format!("Did you mean \"{near}\"?")),
            None => error.help("SHOW FUNCTIONS lists them all."),
        });
    }
}

impl Visitor for Checker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(fetch) = &query.fetch {
            self.not_yet("FETCH is", fetch.span(), "Write LIMIT n.");
        }
        self.errors.extend(super::recursion::check(self.catalog.lines, query));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for from in &select.from {
            if let TableFactor::Table { version: Some(_), .. } = &from.relation {
                self.not_yet(
                    "a version of a relation without a join is",
                    from.relation.span(),
                    "Join it: FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON ….",
                );
            }
            from.joins.iter().for_each(|join| self.join(join));
        }
        self.using_of_right(select);
        if let Some(lateral) = select.lateral_views.first() {
            self.not_yet("LATERAL VIEW is", lateral.span(), "Write unnest(items) in SELECT.");
        }
        let (modifiers, span) = match &select.group_by {
            GroupByExpr::All(modifiers) => (modifiers, select.group_by.span()),
            GroupByExpr::Expressions(_, modifiers) => (modifiers, select.group_by.span()),
        };
        if !modifiers.is_empty() {
            self.not_yet("a modifier of GROUP BY is", span, "Write GROUP BY ROLLUP (a, b), CUBE (a, b) or GROUPING SETS ((a), (b)).");
        }
        if let Some(top) = &select.top {
            let span = select.projection.first().map_or_else(|| select.span(), Spanned::span);
            self.not_yet(&format!("{top} is"), span, "Filter with WHERE instead.");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => {
                let span = self.catalog.lines.span(name.span());
                let message = format!("table function \"{name}\" does not exist");
                self.errors.push(
                    PlanError::new("plan::unknown_function", message, span)
                        .help("Table functions are TUMBLE, HOP, CUMULATE, SESSION, LATE and ERRORS."),
                );
            }
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                self.not_yet("TABLESAMPLE is", factor.span(), "Filter by a hash of a column instead.");
            }
            TableFactor::Table { .. } | TableFactor::Derived { .. } => {}
            TableFactor::NestedJoin { table_with_joins, .. } => table_with_joins.joins.iter().for_each(|join| self.join(join)),
            TableFactor::UNNEST { .. } | TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {}
            _ if SideTable::decode(factor).is_some() => {}
            _ => match WindowTable::decode(factor) {
                Some((table, _)) => match &table.data {
                    Expr::Identifier(name) => self.relation(&name.value, name.span),
                    Expr::Subquery(_) => {}
                    other => {
                        let span = self.catalog.lines.span(other.span());
                        self.errors.push(self.catalog.unknown(&other.to_string(), span));
                    }
                },
                None => self.not_yet("this kind of relation is", factor.span(), "Name a source or view in FROM."),
            },
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        match relation.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => self.relation(&name.value, name.span),
            _ => {
                let span = self.catalog.lines.span(relation.span());
                self.errors.push(self.catalog.unknown(&relation.to_string(), span));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.function(function)
        }
        ControlFlow::Continue(())
    }
}
