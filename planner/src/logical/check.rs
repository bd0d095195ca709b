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
    let mut errors = checker.errors;
    // A table function is no relation either.
    let functions: Vec<_> = errors.iter().filter(|error| error.code == "plan::unknown_function").map(|error| error.span).collect();
    errors.retain(|error| error.code != "plan::unknown_table" || !functions.contains(&error.span));
    errors
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

    /// LIMIT and OFFSET are numbers.
    fn limit(&mut self, query: &Query) {
        let exprs = match &query.limit_clause {
            None => [None, None],
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => [limit.as_ref(), offset.as_ref().map(|it| &it.value)],
            Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => [Some(offset), Some(limit)],
        };
        for expr in exprs.into_iter().flatten() {
            let negative = matches!(expr, Expr::UnaryOp { op: ast::UnaryOperator::Minus, .. });
            let mut reads = false;
            let _ = ast::visit_expressions(expr, |expr| {
                reads |= matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_));
                ControlFlow::<()>::Continue(())
            });
            if negative || reads {
                let (message, label) = match negative {
                    true => ("LIMIT and OFFSET are not negative", "below 0"),
                    false => ("LIMIT and OFFSET take a constant", "differs from row to row"),
                };
                let error = PlanError::new("plan::wrong_argument", message, self.catalog.lines.span(expr.span()));
                self.errors.push(error.label(label).help("Write a number: LIMIT 10."));
            }
        }
    }

    /// The bounds of a frame are numbers of rows or groups, or a distance in the one column of the order.
    fn frame(&mut self, function: &ast::Function) {
        let Some(ast::WindowType::WindowSpec(over)) = &function.over else { return };
        let Some(frame) = &over.window_frame else { return };
        for bound in [Some(&frame.start_bound), frame.end_bound.as_ref()].into_iter().flatten() {
            let (ast::WindowFrameBound::Preceding(Some(distance)) | ast::WindowFrameBound::Following(Some(distance))) = bound else {
                continue;
            };
            let number = matches!(distance.as_ref(), Expr::Value(value) if matches!(&value.value, ast::Value::Number(text, _) if text.bytes().all(|it| it.is_ascii_digit())));
            let (message, help) = match frame.units {
                ast::WindowFrameUnits::Range if over.order_by.len() == 1 => continue,
                ast::WindowFrameUnits::Range => {
                    ("RANGE with a distance needs an order by one column", "Order by one number or time, or count ROWS or GROUPS instead.")
                }
                _ if number => continue,
                _ => ("a bound of a frame is not a whole number", "Write a number: ROWS 5 PRECEDING."),
            };
            let span = self.catalog.lines.span(distance.span()).or_else(|| self.catalog.lines.span(function.name.span()));
            self.errors.push(PlanError::new("plan::wrong_argument", message, span).help(help));
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
            let what = if fetch.with_ties { "FETCH … WITH TIES is" } else { "this FETCH is" };
            let way_out = "Write FETCH FIRST n ROWS ONLY or LIMIT n; for ties, QUALIFY rank() OVER (ORDER BY x) <= n.";
            self.not_yet(what, fetch.span(), way_out);
        }
        self.limit(query);
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
            self.not_yet(&format!("{top} is"), span, "Write LIMIT n behind the query.");
        }
        if let Some(into) = &select.into {
            let way_out = format!("Write CREATE VIEW {0} AS SELECT …, or CREATE SINK {0} WITH (…) AS SELECT ….", into.name);
            self.not_yet("SELECT INTO is", into.name.span(), &way_out);
        }
        for item in &select.projection {
            if let ast::SelectItem::Wildcard(options) | ast::SelectItem::QualifiedWildcard(_, options) = item
                && options.opt_rename.is_some()
            {
                self.not_yet("* RENAME is", item.span(), "Name the columns: SELECT x AS z, y FROM ….");
            }
        }
        if let Some(call) = select.selection.as_ref().and_then(over) {
            let error =
                PlanError::new("plan::misplaced_function", "a function OVER rows cannot stand in WHERE", self.catalog.lines.span(call));
            self.errors.push(error.label("rows are filtered before it is computed").help("Filter by it with QUALIFY."));
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
            TableFactor::MatchRecognize { table, .. } => {
                let way_out = "Compare rows with LAG(…) OVER (PARTITION BY … ORDER BY …), or join the relation with itself WITHIN a time.";
                self.not_yet("MATCH_RECOGNIZE is", table.span(), way_out);
            }
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
        match expr {
            Expr::Function(function) => {
                self.function(function);
                self.frame(function);
            }
            Expr::Value(value) => {
                if let ast::Value::Placeholder(name) = &value.value {
                    let message = format!("nothing gives {name} a value");
                    let error = PlanError::new("plan::placeholder", message, self.catalog.lines.span(value.span));
                    self.errors.push(error.help("Write ${NAME} in the statement, and give it on the command line: --set NAME=value."));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The place of a function OVER rows in a condition. Subqueries are queries of their own.
fn over(condition: &Expr) -> Option<tokenizer::Span> {
    struct Finder(usize, Option<tokenizer::Span>);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && self.0 == 0
                && function.over.is_some()
            {
                self.1 = self.1.or(Some(function.name.span()));
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(0, None);
    let _ = condition.visit(&mut finder);
    finder.1
}
