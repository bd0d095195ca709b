//! Windows in sqlparser's tree, every spelling to the normal form of [`crate::statement`]: the WINDOW clause, Flink's table
//! functions, and the group windows of older SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, FunctionArg, GroupByExpr, Ident, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr,
    Spanned, TableAlias, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{self, Location, Token};

use super::aggregates::has_aggregate;
use super::cursor::{Cursor, Parsed, quote};
use super::dialect::StreamingDialect;
use super::line_index::LineIndex;
use super::query::Clauses;
use super::sessions;
use super::side_table::{Side, SideTable};
use super::window_call::{CallArguments, Family, WindowPart, checked, plain_args, plain_name, window_function, window_part};
use super::window_clause::{Shape, Time};
use super::window_table::{WindowOptions, WindowTable, WindowTime, call, ident};
use crate::catalog::EVENT_TIME;
use crate::plan::{FiringColumn, LateStrategy, WindowKind};
use crate::{PlanError, Span};

/// Whether a row counts in another window than its own.
const LATE: &str = "_late";

/// Brings all windows of a query into normal form. Returns what is wrong with them.
pub(super) fn normalise(query: &mut Query, clauses: Clauses, cursor: &Cursor<'_>) -> Vec<PlanError> {
    let mut normaliser = Normaliser { clauses, windows: BTreeMap::new(), sessions: BTreeMap::new(), cursor, errors: Vec::new() };
    let ControlFlow::Continue(()) = query.visit(&mut normaliser);
    let Normaliser { clauses, mut errors, .. } = normaliser;
    for clause in clauses.values() {
        errors.push(
            PlanError::new("parse::window", "WINDOW belongs to a SELECT … FROM", clause.word.to(clause.span))
                .label("no SELECT takes it")
                .help("Write it behind the FROM and WHERE of the SELECT it is for."),
        );
    }
    errors
}

struct Normaliser<'a> {
    /// The clauses not yet applied.
    clauses: Clauses,
    /// The windows of the SELECTs that were given one, by the place of the SELECT.
    windows: BTreeMap<Location, Window>,
    /// The keys of the sessions that are relations, by their place.
    sessions: BTreeMap<Location, Vec<Expr>>,
    /// The tokens of the query.
    cursor: &'a Cursor<'a>,
    errors: Vec<PlanError>,
}

/// The window of a SELECT, from its clause or its GROUP BY.
#[derive(Clone, Debug)]
struct Window {
    kind: WindowKind,
    time: WindowTime,
    offset_us: i64,
    options: WindowOptions,
    /// What the user wrote, for sqlparser and for us.
    place: tokenizer::Span,
    span: Span,
}

impl VisitorMut for Normaliser<'_> {
    type Break = std::convert::Infallible;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let Err(error) = self.table_factor(factor) {
            self.errors.push(error);
            // The call shall not be judged again, as a value.
            if let TableFactor::TableFunction { expr, .. } = factor {
                *expr = Expr::value(Value::Null);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        if let Err(error) = self.select(select) {
            self.errors.push(error);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        match &*query.body {
            SetExpr::Select(select) => {
                if let (Some(window), Some(order)) = (self.windows.get(&select.select_token.0.span.start), &mut query.order_by) {
                    // A selected `_window_start` is there under that name.
                    let selected = output_names(select);
                    let mut rewriter = Rewriter::new(self.cursor, Some(window), selected);
                    if let OrderByKind::Expressions(exprs) = &mut order.kind {
                        for expr in exprs {
                            let ControlFlow::Continue(()) = expr.visit(&mut rewriter);
                        }
                    }
                    self.errors.append(&mut rewriter.errors);
                }
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                let span = self.cursor.context.lines.span(query.span()).unwrap_or_else(|| self.cursor.whole());
                self.errors.push(
                    PlanError::new("parse::unsupported_statement", "a query cannot change tables", span)
                        .label("not a query")
                        .help("Begin the statement with INSERT INTO, and put WITH behind it."),
                );
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Normaliser<'_> {
    /// The bytes and the place of a call whose name stands at a place: to its closing parenthesis.
    fn call_span(&self, name: &Ident) -> (tokenizer::Span, Span) {
        let tokens = self.cursor.tokens;
        let at = tokens.partition_point(|tok| tok.token.span.start < name.span.start);
        let mut inside = Cursor { at: at + 1, ..self.cursor.clone() };
        if !inside.take_mark(&Token::LParen) {
            return (name.span, self.span(name.span));
        }
        let close = inside.closing();
        match (tokens.get(at), tokens.get(close)) {
            (Some(first), Some(last)) => (tokenizer::Span::new(first.token.span.start, last.token.span.end), first.span.to(last.span)),
            _ => (name.span, self.span(name.span)),
        }
    }

    fn span(&self, span: tokenizer::Span) -> Span {
        self.cursor.context.lines.span(span).unwrap_or_else(|| self.cursor.whole())
    }

    /// Flink's table functions, with or without TABLE(…) around them.
    fn table_factor(&mut self, factor: &mut TableFactor) -> Parsed<()> {
        let in_table = matches!(factor, TableFactor::TableFunction { .. });
        let (name, args, alias) = match &*factor {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args.as_slice(), alias),
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => match plain_args(function) {
                Some(args) => (&function.name, args, alias),
                None => return Ok(()),
            },
            TableFactor::Function { name, args, alias, .. } => (name, args.as_slice(), alias),
            _ => return Ok(()),
        };
        let Some(ident) = plain_name(name) else { return Ok(()) };
        let (place, span) = self.call_span(ident);
        let Some(function) = window_function(&ident.value) else {
            if let Some(side) = Side::of_word(&ident.value) {
                let lines = self.cursor.context.lines;
                let data = CallArguments::read(args, true, lines, span)?.data.and_then(relation);
                let Some(data) = data else {
                    let (what, label, help) = match side {
                        Side::Late => (
                            "a view or a query",
                            "late rows of what?",
                            "Write LATE(view), or LATE(SELECT … FROM trades WINDOW TUMBLING(5m) GROUP BY symbol).",
                        ),
                        Side::Errors => (
                            "a source, a view or a query",
                            "errors of what?",
                            "Write ERRORS(trades), or ERRORS(SELECT price / volume FROM trades).",
                        ),
                    };
                    return Err(PlanError::new("parse::window", format!("{} takes {what}", side.word()), span).label(label).help(help));
                };
                let alias = alias.clone().or_else(|| own_name(&data));
                let query = match data {
                    Expr::Subquery(_) => data,
                    name => Expr::Subquery(Box::new(all_of(named_relation(name)))),
                };
                *factor = SideTable { side, data: query, span: place }.encode(alias);
                return Ok(());
            }
            // TABLE(f(x)) is f(x).
            if in_table {
                *factor = TableFactor::Function {
                    lateral: false,
                    name: name.clone(),
                    args: args.to_vec(),
                    with_ordinality: false,
                    alias: alias.clone(),
                };
            }
            return Ok(());
        };
        let lines = self.cursor.context.lines;
        let call = CallArguments::read(args, true, lines, span)?;
        let Some(data) = call.data.map(relation) else {
            return Err(PlanError::new("parse::window", format!("{} has no relation", ident.value.to_ascii_uppercase()), span)
                .label("windows of what?")
                .help("Write for example TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)."));
        };
        let Some(data) = data else {
            let at = call.data.map_or(span, |data| lines.span(data.span()).unwrap_or(span));
            return Err(PlanError::new("parse::window", "the rows of a window come from a relation", at)
                .label("not a relation")
                .help("Name a relation, or write a query in parentheses: TUMBLE((SELECT …), ts, size)."));
        };
        let (kind, offset_us) = call.window(function, &ident.value, lines, span)?;
        let time = unqualified(call.time(lines, span)?, alias.as_ref(), &data);
        let alias = alias.clone().or_else(|| own_name(&data));
        if function.family == Family::Session {
            self.sessions.insert(place.start, call.keys().unwrap_or_default().into_iter().cloned().collect());
        }
        let table = WindowTable { kind, data, time, offset_us, options: WindowOptions::default(), span: place };
        *factor = table.encode(alias);
        Ok(())
    }

    /// The WINDOW clause or the group window of a SELECT.
    fn select(&mut self, select: &mut Select) -> Parsed<()> {
        let at = select.select_token.0.span.start;
        for (table, joined) in sessions::relations(select) {
            let span = self.span(table.span);
            match self.sessions.get(&table.span.start) {
                Some(keys) if !joined => sessions::check(select, keys, span, &|span| self.span(span))?,
                _ => return Err(sessions::joined(span)),
            }
        }
        let clause = self.clauses.remove(&at);
        let grouped = self.take_group_window(select)?;
        let by_clause = clause.is_some();
        let window = match (clause, grouped) {
            (Some(clause), Some(group)) => {
                return Err(PlanError::new("parse::window", "a second window for the same SELECT", group.span)
                    .label(format!("{} is there already", self.cursor.text(clause.span)))
                    .help("Keep one of the two: the WINDOW clause groups by its window already."));
            }
            (None, None) => None,
            (None, Some(group)) => Some(group),
            (Some(clause), None) => {
                let options = match clause.options() {
                    Ok(options) => options,
                    Err(mut refused) => {
                        let last = refused.pop();
                        self.errors.append(&mut refused);
                        return last.map_or(Ok(()), Err);
                    }
                };
                let (kind, offset) = match clause.shape {
                    Shape::Tumbling { size, offset } => (WindowKind::Tumble { size_us: size.0 }, offset),
                    Shape::Sliding { size, slide, offset } => (WindowKind::Hop { size_us: size.0, slide_us: slide.0 }, offset),
                    Shape::Cumulating { step, size, offset } => (WindowKind::Cumulate { size_us: size.0, step_us: step.0 }, offset),
                    Shape::Session { gap, keys } => {
                        let keys: Vec<Expr> = keys.into_iter().map(|(parts, _)| column(parts)).collect();
                        sessions::group_by_keys(select, &keys, clause.span, &|span| self.span(span))?;
                        (WindowKind::Session { gap_us: gap.0 }, None)
                    }
                    Shape::Rows { size, slide } => (WindowKind::Rows { size, slide }, None),
                };
                let (kind, offset_us) = checked(kind, offset.map_or(0, |offset| offset.0), clause.span)?;
                let time = match clause.time {
                    None if matches!(kind, WindowKind::Rows { .. }) => WindowTime::None,
                    None => WindowTime::Declared,
                    Some((Time::Processing, _)) => WindowTime::Processing,
                    Some((Time::Column(parts), _)) => WindowTime::Column(column(parts)),
                };
                let lines = self.cursor.context.lines;
                let place = tokenizer::Span::new(lines.place(clause.span.start), lines.place(clause.span.end));
                Some(Window { kind, time, offset_us, options, place, span: clause.span })
            }
        };
        let uses_time = self.rewrite(select, window.as_ref())?;
        let Some(window) = window else { return Ok(()) };
        group_by_window(select, &window, by_clause, uses_time);
        if window.kind.needs_group() && !sessions::grouped(select) {
            return Err(if let WindowKind::Rows { .. } = window.kind {
                ungrouped_rows(window.span)
            } else {
                sessions::ungrouped(window.span)
            });
        }
        self.window_from(select, &window)?;
        self.windows.insert(at, window);
        Ok(())
    }

    /// Takes `TUMBLE(ts, size)` and the like out of GROUP BY.
    fn take_group_window(&mut self, select: &mut Select) -> Parsed<Option<Window>> {
        let GroupByExpr::Expressions(exprs, _) = &mut select.group_by else { return Ok(None) };
        let mut found: Option<Window> = None;
        let mut at = 0;
        while at < exprs.len() {
            let Some(window) = self.group_window(&exprs[at])? else {
                at += 1;
                continue;
            };
            if let Some(first) = &found {
                return Err(PlanError::new("parse::window", "a second window in GROUP BY", window.span)
                    .label(format!("{} is there already", self.cursor.text(first.span)))
                    .help("A SELECT has one window: put the other into a subquery."));
            }
            // The window's columns take its place; they are moved to the end with those of the clause.
            exprs.remove(at);
            found = Some(window);
        }
        Ok(found)
    }

    fn group_window(&self, expr: &Expr) -> Parsed<Option<Window>> {
        let Expr::Function(call) = expr else { return Ok(None) };
        let (Some(ident), Some(args)) = (plain_name(&call.name), plain_args(call)) else { return Ok(None) };
        let Some(function) = window_function(&ident.value) else { return Ok(None) };
        let (place, span) = self.call_span(ident);
        let lines = self.cursor.context.lines;
        let call = CallArguments::read(args, false, lines, span)?;
        if function.family == Family::Session && call.keys().is_some() {
            return Err(sessions::keys_in_group_by(span));
        }
        let (kind, offset_us) = call.window(function, &ident.value, lines, span)?;
        Ok(Some(Window { kind, time: call.time(lines, span)?, offset_us, options: WindowOptions::default(), place, span }))
    }

    /// Replaces the functions and words that stand for the window's columns, wherever they are in the SELECT. Returns whether
    /// `window_time` is among them.
    fn rewrite(&mut self, select: &mut Select, window: Option<&Window>) -> Parsed<bool> {
        if window.is_some() {
            refuse_firing_of_rows(select, self.cursor.context.lines)?;
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) = item
                    && let Some(alias) = hidden_word(expr)
                {
                    *item = SelectItem::ExprWithAlias { alias: alias.clone(), expr: expr.clone() };
                }
            }
        }
        let mut rewriter = Rewriter::new(self.cursor, window, BTreeSet::new());
        let ControlFlow::Continue(()) = select.visit(&mut rewriter);
        match rewriter.errors.pop() {
            Some(last) => {
                self.errors.append(&mut rewriter.errors);
                Err(last)
            }
            None => Ok(rewriter.uses_time),
        }
    }

    /// Puts the window around the one relation of FROM.
    fn window_from(&self, select: &mut Select, window: &Window) -> Parsed<()> {
        let alone =
            matches!(select.from.as_slice(), [only] if only.joins.is_empty() && !matches!(only.relation, TableFactor::NestedJoin { .. }));
        if !alone {
            let error = if select.from.is_empty() {
                PlanError::new("parse::window", "a window without FROM", window.span)
                    .label("windows of what?")
                    .help("Add FROM and a relation.")
            } else {
                PlanError::new("parse::window", "a window over several relations", window.span)
                    .label("FROM has more than one relation")
                    .help("Window the join's result in a subquery: SELECT … FROM (SELECT … FROM a JOIN b ON …) WINDOW TUMBLING(5m).")
            };
            return Err(error);
        }
        let Some(from) = select.from.first_mut() else { return Ok(()) };
        if let Some((inner, _)) = WindowTable::decode(&from.relation) {
            return Err(PlanError::new("parse::window", "a window over a window", window.span)
                .label(format!("{} is there already", self.cursor.text(self.span(inner.span))))
                .help("Keep one of the two, or put the inner one into a subquery that chooses its columns."));
        }
        let (data, alias) = windowed_data(&from.relation);
        let time = unqualified(window.time.clone(), alias.as_ref(), &data);
        let table =
            WindowTable { kind: window.kind, data, time, offset_us: window.offset_us, options: window.options.clone(), span: window.place };
        from.relation = table.encode(alias);
        Ok(())
    }
}

/// The relation as data of a window, and the alias that stays outside.
fn windowed_data(factor: &TableFactor) -> (Expr, Option<TableAlias>) {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty()
            && partitions.is_empty()
            && index_hints.is_empty()
            && alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) =>
        {
            if let Some(parts) = name.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<Vec<_>>>() {
                let data = column(parts);
                let alias = alias.clone().or_else(|| own_name(&data));
                return (data, alias);
            }
        }
        TableFactor::Derived { lateral: false, subquery, alias, sample: None }
            if alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) =>
        {
            return (Expr::Subquery(subquery.clone()), alias.clone());
        }
        _ => {}
    }
    let outer = alias_of(factor).map(|alias| TableAlias { columns: vec![], ..alias.clone() });
    (Expr::Subquery(Box::new(all_of(factor.clone()))), outer)
}

fn alias_of(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// A relation by its name.
fn named_relation(name: Expr) -> TableFactor {
    let parts = match name {
        Expr::Identifier(ident) => vec![ident],
        Expr::CompoundIdentifier(parts) => parts,
        other => panic!("a relation is a name or a query, not {other}"),
    };
    let dialect = StreamingDialect;
    let mut parsed = Parser::new(&dialect).try_with_sql("relation").and_then(|mut parser| parser.parse_table_factor());
    match &mut parsed {
        Ok(TableFactor::Table { name, .. }) => name.0 = parts.into_iter().map(ObjectNamePart::Identifier).collect(),
        other => panic!("the planner's own relation must parse: {other:?}"),
    }
    parsed.unwrap_or_else(|error| panic!("just seen: {error}"))
}

/// `SELECT * FROM factor`.
fn all_of(factor: TableFactor) -> Query {
    let dialect = StreamingDialect;
    let parsed = Parser::new(&dialect).try_with_sql("SELECT * FROM relation").and_then(|mut parser| parser.parse_query());
    let mut query = match parsed {
        Ok(query) => *query,
        Err(error) => panic!("the planner's own query must parse: {error}"),
    };
    let SetExpr::Select(select) = &mut *query.body else { panic!("the planner's own query is a SELECT") };
    select.from[0].relation = factor;
    query
}

/// An identifier of one or several parts.
fn column(mut parts: Vec<Ident>) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => Expr::Identifier(only),
        Some(last) => {
            parts.push(last);
            Expr::CompoundIdentifier(parts)
        }
        None => Expr::CompoundIdentifier(parts),
    }
}

/// The last name of a relation, as an alias.
fn own_name(data: &Expr) -> Option<TableAlias> {
    let name = match data {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    Some(TableAlias { explicit: true, name: name.clone(), columns: vec![], at: None })
}

/// The relation an argument names: a name, a quoted path, or a query.
fn relation(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) => Some(expr.clone()),
        Expr::Nested(inner) => relation(inner),
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(path), span }) => {
            Some(Expr::Identifier(Ident { value: path.clone(), quote_style: Some('\''), span: *span }))
        }
        _ => None,
    }
}

/// The time column without the name of the relation it is of.
fn unqualified(time: WindowTime, alias: Option<&TableAlias>, data: &Expr) -> WindowTime {
    let WindowTime::Column(Expr::CompoundIdentifier(mut parts)) = time else { return time };
    let own = own_name(data);
    let of_relation = [alias, own.as_ref()].into_iter().flatten().any(|alias| alias.name.value == parts[0].value);
    if of_relation && parts.len() > 1 {
        parts.remove(0);
    }
    WindowTime::Column(column(parts))
}

/// Adds the window's columns to the grouping.
fn group_by_window(select: &mut Select, window: &Window, by_clause: bool, uses_time: bool) {
    let aggregates = has_aggregate(select);
    if let GroupByExpr::All(modifiers) = &select.group_by {
        let exprs = plain_outputs(select).into_iter().filter(|expr| !super::aggregates::is_aggregate(expr)).collect();
        select.group_by = GroupByExpr::Expressions(exprs, modifiers.clone());
    }
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    if by_clause && ungrouped && !aggregates && select.having.is_none() {
        let wildcard = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        if select.distinct != Some(Distinct::Distinct) || wildcard {
            // Rows, one for each window: nothing is grouped.
            return;
        }
        select.distinct = None;
        select.group_by = GroupByExpr::Expressions(plain_outputs(select), vec![]);
    }
    if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
        // `window_time` is a function of the window: grouping by it too changes nothing, and lets it be selected.
        let columns: &[&str] = if uses_time { &["window_start", "window_end", "window_time"] } else { &["window_start", "window_end"] };
        for name in columns {
            let there = exprs.iter().any(|expr| match expr {
                Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case(name),
                Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|last| last.value.eq_ignore_ascii_case(name)),
                _ => false,
            });
            if !there {
                exprs.push(Expr::Identifier(ident(name, window.place)));
            }
        }
    }
}

/// Windows of so many rows whose rows are asked for one by one.
fn ungrouped_rows(span: Span) -> PlanError {
    PlanError::new("parse::window", "rows of these windows are not grouped", span).label("rows are counted where they are aggregated").help(
        "Aggregate them: SELECT symbol, window_start, count(*) … GROUP BY symbol; ROW_NUMBER() OVER (PARTITION BY …) numbers single rows.",
    )
}

/// The selected expressions that can be grouped by. A constant cannot: in GROUP BY it is a position.
pub(super) fn plain_outputs(select: &Select) -> Vec<Expr> {
    let exprs = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    });
    exprs.filter(|expr| !matches!(expr, Expr::Value(_))).collect()
}

fn output_names(select: &Select) -> BTreeSet<String> {
    let names = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// `_window_start`, `_late` and the like, as an expression: its own identifier.
fn hidden_word(expr: &Expr) -> Option<&Ident> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => parts.last()?,
        _ => return None,
    };
    let hidden = ["_window_start", "_window_end"].iter().any(|word| ident.value.eq_ignore_ascii_case(word));
    (hidden || ident.value.eq_ignore_ascii_case(LATE) || FiringColumn::of(&ident.value).is_some()).then_some(ident)
}

/// Refuses the columns of a firing where there are only rows: in WHERE and GROUP BY of the SELECT that is windowed.
fn refuse_firing_of_rows(select: &Select, lines: &LineIndex<'_>) -> Parsed<()> {
    let keys = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => exprs.as_slice(),
        GroupByExpr::All(_) => &[],
    };
    for (exprs, clause) in [(select.selection.as_slice(), "WHERE"), (keys, "GROUP BY")] {
        let found = exprs.iter().try_for_each(|expr| expr.visit(&mut FiringFinder { depth: 0 }));
        if let ControlFlow::Break(ident) = found {
            return Err(PlanError::new("parse::window", format!("{} is not known in {clause}", ident.value), lines.span(ident.span))
                .label("the firing that will put this row out is still to come")
                .help("Ask it of the result: HAVING, or WHERE in a query around this one."));
        }
    }
    Ok(())
}

/// Finds a column of a firing outside of subqueries.
struct FiringFinder {
    depth: usize,
}

impl Visitor for FiringFinder {
    type Break = Ident;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Ident> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Ident> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Ident> {
        match expr {
            Expr::Identifier(ident) if self.depth == 0 && FiringColumn::of(&ident.value).is_some() => ControlFlow::Break(ident.clone()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Replaces what stands for the window's columns in the expressions of one SELECT, not in the queries inside of them.
struct Rewriter<'a> {
    cursor: &'a Cursor<'a>,
    window: Option<&'a Window>,
    /// Names that stand for themselves.
    keep: BTreeSet<String>,
    depth: usize,
    /// `window_time` was met.
    uses_time: bool,
    errors: Vec<PlanError>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if self.depth == 0
            && let Err(error) = self.expr(expr)
        {
            self.errors.push(error);
        }
        ControlFlow::Continue(())
    }
}

impl<'a> Rewriter<'a> {
    fn new(cursor: &'a Cursor<'a>, window: Option<&'a Window>, keep: BTreeSet<String>) -> Self {
        Self { cursor, window, keep, depth: 0, uses_time: false, errors: Vec::new() }
    }

    fn expr(&mut self, expr: &mut Expr) -> Parsed<()> {
        if self.window.is_some() {
            if let Expr::Identifier(ident) = expr
                && let Some(column) = FiringColumn::of(&ident.value)
            {
                if !self.keep.contains(column.name()) {
                    *expr = call(column.name(), ident.span);
                }
                return Ok(());
            }
            if let Expr::Identifier(ident) = expr
                && ident.value.eq_ignore_ascii_case(LATE)
            {
                *expr = self.late(ident.span)?;
                return Ok(());
            }
            let word = match expr {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.last_mut(),
                _ => None,
            };
            if let Some(word) = word {
                self.uses_time |= word.value.eq_ignore_ascii_case("window_time");
                for hidden in ["_window_start", "_window_end"] {
                    if word.value.eq_ignore_ascii_case(hidden) && !self.keep.contains(hidden) {
                        *word = Ident { value: hidden.trim_start_matches('_').into(), quote_style: None, span: word.span };
                    }
                }
                return Ok(());
            }
        }
        let Expr::Function(call) = expr else { return Ok(()) };
        let Some(name) = plain_name(&call.name) else { return Ok(()) };
        let upper = name.value.to_ascii_uppercase();
        let lines = self.cursor.context.lines;
        let span = lines.span(name.span).unwrap_or_else(|| self.cursor.whole());
        if window_function(&upper).is_some() {
            return Err(PlanError::new("parse::window", format!("{upper} is not a value"), span)
                .label("belongs into FROM or GROUP BY")
                .help("Write GROUP BY TUMBLE(ts, size) and select TUMBLE_START(ts, size), or window_start and window_end."));
        }
        let Some((family, part)) = window_part(&upper) else { return Ok(()) };
        if part == WindowPart::ProcessingTime {
            return Err(PlanError::new("parse::not_yet", format!("{upper} is not supported yet"), span)
                .label("not yet")
                .help("Use the end of the window: window_end."));
        }
        let Some(window) = self.window else {
            return Err(PlanError::new("parse::window", format!("{upper} without its window"), span)
                .label("the SELECT does not group by a window")
                .help("Add GROUP BY TUMBLE(ts, size); where FROM has the window already, write window_start or window_end."));
        };
        let args = plain_args(call).unwrap_or_default();
        let same = match (family, window.kind) {
            (Family::Tumble, WindowKind::Tumble { .. })
            | (Family::Hop, WindowKind::Hop { .. })
            | (Family::Cumulate, WindowKind::Cumulate { .. })
            | (Family::Session, WindowKind::Session { .. }) => args.is_empty() || self.same_window(&upper, args, window, span)?,
            _ => false,
        };
        if !same {
            return Err(PlanError::new("parse::window", format!("{upper} of another window"), span)
                .label(format!("the window is {}", quote(self.cursor.text(window.span))))
                .help(format!("Give it the arguments of that window, or write {}.", part.column())));
        }
        self.uses_time |= part == WindowPart::Time;
        *expr = Expr::Identifier(ident(part.column(), name.span));
        Ok(())
    }

    /// `_late`: the row counts in a later window than its own, which had closed. No other row is before the start of its window.
    fn late(&self, span: tokenizer::Span) -> Parsed<Expr> {
        let at = self.cursor.context.lines.span(span).unwrap_or_else(|| self.cursor.whole());
        let refused = |label: &str, help: &str| {
            Err(PlanError::new("parse::window", format!("{LATE} is not known here"), at).label(label.to_string()).help(help.to_string()))
        };
        let Some(window) = self.window.filter(|window| window.options.late == LateStrategy::IncludeInNextWindow) else {
            return refused(
                "only INCLUDE_IN_NEXT_WINDOW counts a row in another window than its own",
                "Late rows that correct their window make a result whose _trigger_reason is 'late'; those that are too late are the rows of LATE(view).",
            );
        };
        if matches!(window.kind, WindowKind::Session { .. }) {
            return refused(
                "where a session starts is known when it is over",
                "Aggregate the sessions, and compare min(ts) with window_start in a query around it.",
            );
        }
        let time = match &window.time {
            WindowTime::Column(time) => time.clone(),
            WindowTime::Declared => Expr::Identifier(ident(EVENT_TIME, span)),
            WindowTime::Processing => return refused("no row is late by processing time", "Window by event time: ON EVENT_TIME(ts)."),
            WindowTime::None => return refused("no row is late for a window of so many rows", "Window by event time: ON EVENT_TIME(ts)."),
        };
        Ok(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(time),
            op: BinaryOperator::Lt,
            right: Box::new(Expr::Identifier(ident("window_start", span))),
        })))
    }

    /// The arguments of TUMBLE_START and its like say the window the SELECT groups by.
    fn same_window(&self, upper: &str, args: &[FunctionArg], window: &Window, span: Span) -> Parsed<bool> {
        let lines = self.cursor.context.lines;
        let base = upper.split('_').next().unwrap_or(upper);
        let Some(function) = window_function(base) else { return Ok(false) };
        let call = CallArguments::read(args, false, lines, span)?;
        let (kind, offset_us) = call.window(function, base, lines, span)?;
        let same_time = match (call.time(lines, span)?, &window.time) {
            // A clause without a column takes the declared one, whatever its name.
            (WindowTime::Declared, _) | (_, WindowTime::Declared) => true,
            (WindowTime::Processing, WindowTime::Processing) => true,
            (WindowTime::Column(own), WindowTime::Column(other)) => last_word(&own) == last_word(other),
            _ => false,
        };
        Ok(kind == window.kind && offset_us == window.offset_us && same_time)
    }
}

pub(super) fn last_word(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(ident.value.to_ascii_lowercase()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|last| last.value.to_ascii_lowercase()),
        _ => None,
    }
}
