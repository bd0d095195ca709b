//! Names before DataFusion sees them: letters' case, metadata columns, and functions that are another spelling of something.
//!
//! Names are matched as written first. A name without quotes that matches nothing known as written, but exactly one known name when
//! case is ignored, means that one. Metadata columns are in a relation when the query names one of them, and never in `*`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use super::windows::{LATE_COLUMNS, WINDOW_COLUMNS};
use crate::catalog::{Catalog, EVENT_TIME, HEADERS, Relation};
use crate::parse::WindowTable;
use crate::plan::MetadataColumn;

/// What preparing a query found out.
pub(super) struct Prepared {
    /// The query names metadata columns.
    pub(super) with_metadata: bool,
}

/// Names in a query, to match others against.
#[derive(Default)]
struct Known {
    exact: BTreeSet<String>,
    by_lower: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    fn add(&mut self, name: &str) {
        if self.exact.insert(name.to_string()) {
            self.by_lower.entry(name.to_lowercase()).or_default().insert(name.to_string());
        }
    }

    fn fix(&self, ident: &mut Ident) {
        if ident.quote_style.is_some() || self.exact.contains(&ident.value) {
            return;
        }
        if let Some(alike) = self.by_lower.get(&ident.value.to_lowercase())
            && alike.len() == 1
            && let Some(name) = alike.first()
        {
            ident.value.clone_from(name);
        }
    }
}

/// Rewrites a query in place.
pub(super) fn prepare(catalog: &Catalog<'_>, query: &mut Query) -> Prepared {
    super::row_in::prepare(query);
    let mut collector = Collector { catalog, known: Known::default(), ctes: BTreeSet::new(), with_metadata: false };
    let _ = VisitMut::visit(query, &mut collector);
    let Collector { mut known, ctes, with_metadata, .. } = collector;
    for name in WINDOW_COLUMNS.into_iter().chain(LATE_COLUMNS) {
        known.add(name);
    }
    let mut rewriter = Rewriter { catalog, known: &known, ctes: &ctes, with_metadata };
    let _ = VisitMut::visit(query, &mut rewriter);
    super::subquery_names::prepare(query);
    Prepared { with_metadata }
}

/// Rewrites an expression over named columns in place.
pub(super) fn prepare_expr<'n>(catalog: &Catalog<'_>, expr: &mut Expr, columns: impl Iterator<Item = &'n str>) {
    let mut known = Known::default();
    columns.for_each(|name| known.add(name));
    let mut rewriter = Rewriter { catalog, known: &known, ctes: &BTreeSet::new(), with_metadata: false };
    let _ = VisitMut::visit(expr, &mut rewriter);
}

/// Names of the relations declared by WITH anywhere in a query.
pub(super) fn ctes(query: &Query) -> BTreeSet<String> {
    struct Finder(BTreeSet<String>);
    impl ast::Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
                self.0.insert(cte.alias.name.value.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(BTreeSet::new());
    let _ = ast::Visit::visit(query, &mut finder);
    finder.0
}

/// Whether a call by this name is understood here, before DataFusion sees it.
pub(super) fn is_rewritten(name: &str) -> bool {
    matches!(name, "proctime" | "current_watermark" | "if" | "mod" | "to_timestamp_ltz")
        || OTHER_NAMES.iter().any(|(other, _)| *other == name)
}

pub(super) fn is_metadata(name: &str) -> bool {
    MetadataColumn::ALL.iter().map(|it| it.name()).chain([EVENT_TIME, HEADERS]).any(|hidden| hidden.eq_ignore_ascii_case(name))
}

/// The name and arguments of a plain function call.
fn call(expr: &Expr) -> Option<(String, &[FunctionArg])> {
    let Expr::Function(function) = expr else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    match &function.args {
        FunctionArguments::List(list) => Some((name.value.to_lowercase(), &list.args)),
        FunctionArguments::None => Some((name.value.to_lowercase(), &[])),
        FunctionArguments::Subquery(_) => None,
    }
}

/// Finds every name a query can mean.
struct Collector<'a> {
    catalog: &'a Catalog<'a>,
    known: Known,
    ctes: BTreeSet<String>,
    with_metadata: bool,
}

impl Collector<'_> {
    fn relation(&mut self, name: &str) {
        let source = self.catalog.source(name).unwrap_or_default();
        if let Some((key, relation)) = self.catalog.find(name) {
            let key = key.to_string();
            if let Relation::View(view) = relation {
                view.plan.schema().fields().iter().for_each(|field| self.known.add(field.name()));
            }
            self.known.add(&key);
        }
        if let Some(table) = source {
            table.all_columns().iter().for_each(|column| self.known.add(column.field.name()));
        }
    }
}

impl VisitorMut for Collector<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        super::recursion::encode(query);
        super::sets::encode(query);
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.insert(cte.alias.name.value.clone());
            self.known.add(&cte.alias.name.value);
            cte.alias.columns.iter().for_each(|column| self.known.add(&column.name.value));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        super::special_joins::encode(&mut select.from);
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.known.add(&alias.value);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            super::special_joins::encode_nested(table_with_joins);
        }
        super::pivot::made(factor).iter().for_each(|name| self.known.add(name));
        let alias = match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => alias.as_ref(),
            _ => super::pivot::alias_of(&*factor),
        };
        if let Some(alias) = alias {
            self.known.add(&alias.name.value);
            alias.columns.iter().for_each(|column| self.known.add(&column.name.value));
        }
        if let Some((table, _)) = WindowTable::decode(factor)
            && let Expr::Identifier(name) = &table.data
        {
            self.relation(&name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if let [ObjectNamePart::Identifier(name)] = relation.0.as_slice() {
            self.relation(&name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.with_metadata |= is_metadata(&name.value),
            Expr::CompoundIdentifier(names) => self.with_metadata |= names.last().is_some_and(|name| is_metadata(&name.value)),
            Expr::Function(_) => {
                self.with_metadata |= call(expr).is_some_and(|(name, _)| name == "proctime" || name == "current_watermark");
            }
            Expr::Lambda(lambda) => lambda.params.iter().for_each(|param| self.known.add(&param.name.value)),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Rewriter<'a> {
    catalog: &'a Catalog<'a>,
    known: &'a Known,
    ctes: &'a BTreeSet<String>,
    with_metadata: bool,
}

impl Rewriter<'_> {
    /// Where all relations are known, a name without quotes is that of one of their columns before it is an alias: `SELECT V AS "V"` over a
    /// column `v`.
    fn own_columns_first(&self, select: &mut Select) {
        let mut columns = BTreeSet::new();
        for factor in select.from.iter().flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|it| &it.relation))) {
            let TableFactor::Table { name: ObjectName(parts), args: None, alias, .. } = factor else { return };
            let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return };
            if self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(&name.value)) || alias.as_ref().is_some_and(|it| !it.columns.is_empty())
            {
                return;
            }
            match (self.catalog.source(&name.value).unwrap_or_default(), self.catalog.find(&name.value)) {
                (Some(table), _) => columns.extend(table.all_columns().iter().map(|column| column.field.name().clone())),
                (None, Some((_, Relation::View(view)))) => columns.extend(view.plan.schema().fields().iter().map(|it| it.name().clone())),
                _ => return,
            }
        }
        let mut own = OwnColumns { columns, depth: 0 };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                let _ = VisitMut::visit(expr, &mut own);
            }
        }
        let _ = VisitMut::visit(&mut select.selection, &mut own);
        let _ = VisitMut::visit(&mut select.group_by, &mut own);
    }

    /// In a SELECT from one view, `_event_time` is the column that carries the view's event time.
    fn event_time_of_view(&self, select: &mut Select) {
        let [from] = select.from.as_slice() else { return };
        let name = match &from.relation {
            _ if !from.joins.is_empty() => None,
            TableFactor::Table { name: ObjectName(parts), args: None, .. } => match parts.as_slice() {
                [ObjectNamePart::Identifier(name)] => Some(name.value.clone()),
                _ => None,
            },
            factor => match WindowTable::decode(factor).map(|(table, _)| table.data) {
                Some(Expr::Identifier(name)) => Some(name.value),
                _ => None,
            },
        };
        let Some(name) = name.filter(|name| !self.ctes.contains(name)) else { return };
        let Some((_, Relation::View(view))) = self.catalog.find(&name) else { return };
        if view.plan.schema().fields().iter().any(|field| field.name() == EVENT_TIME) {
            return;
        }
        if let Some(column) = super::windows::event_time(&view.plan) {
            let ControlFlow::Continue(()) = VisitMut::visit(select, &mut EventTime { of: column.name, depth: 0 });
        }
    }

    /// The metadata columns a relation in FROM brings along: those of a source, none of a query's result.
    fn hidden(&self, factor: &TableFactor) -> Vec<&'static str> {
        if let TableFactor::NestedJoin { table_with_joins: inner, .. } = factor {
            let relations = std::iter::once(&inner.relation).chain(inner.joins.iter().map(|join| &join.relation));
            return relations.flat_map(|relation| self.hidden(relation)).collect();
        }
        let name = match factor {
            TableFactor::Table { name: ObjectName(parts), .. } => match parts.as_slice() {
                [ObjectNamePart::Identifier(name)] => Some(name.clone()),
                _ => None,
            },
            _ => WindowTable::decode(factor).and_then(|(table, _)| match table.data {
                Expr::Identifier(name) => Some(name),
                _ => None,
            }),
        };
        let Some(name) = name.filter(|name| !self.ctes.contains(&name.value)) else { return vec![] };
        let source = self.catalog.source(&name.value).unwrap_or_default();
        source.map_or(vec![], |table| table.hidden_names().collect())
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.own_columns_first(select);
        name_columns(select);
        self.event_time_of_view(select);
        if !self.with_metadata {
            return ControlFlow::Continue(());
        }
        let relations = select.from.iter().flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|it| &it.relation)));
        let hidden: Vec<&str> = relations.flat_map(|relation| self.hidden(relation)).collect();
        for item in &mut select.projection {
            let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item else { continue };
            let mut excluded = match options.opt_exclude.take() {
                Some(ExcludeSelectItem::Single(name)) => vec![name],
                Some(ExcludeSelectItem::Multiple(names)) => names,
                None => vec![],
            };
            for name in &hidden {
                let object = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(*name))]);
                if !excluded.iter().any(|other| other.to_string() == *name) {
                    excluded.push(object);
                }
            }
            if !excluded.is_empty() {
                options.opt_exclude = Some(ExcludeSelectItem::Multiple(excluded));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        for part in &mut relation.0 {
            if let ObjectNamePart::Identifier(name) = part {
                self.known.fix(name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.known.fix(name),
            Expr::CompoundIdentifier(names) => names.iter_mut().for_each(|name| self.known.fix(name)),
            Expr::Function(_) => {
                if let Some(other) = rewrite_call(expr) {
                    *expr = other;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Puts a column in the place of `_event_time`, in one SELECT and not in the queries inside of it.
struct EventTime {
    of: String,
    depth: usize,
}

impl VisitorMut for EventTime {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let ident = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        if let Some(ident) = ident.filter(|ident| self.depth == 0 && ident.value.eq_ignore_ascii_case(EVENT_TIME)) {
            ident.value.clone_from(&self.of);
            ident.quote_style = Some('"');
        }
        ControlFlow::Continue(())
    }
}

/// Writes columns of known relations as they are declared, in one SELECT and not in the queries inside of it.
struct OwnColumns {
    columns: BTreeSet<String>,
    depth: usize,
}

impl VisitorMut for OwnColumns {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let ident = match expr {
            // Its parameters are names, too.
            Expr::Lambda(_) => return ControlFlow::Break(()),
            Expr::Identifier(ident) => ident,
            _ => return ControlFlow::Continue(()),
        };
        if self.depth == 0 && ident.quote_style.is_none() && !self.columns.contains(&ident.value) {
            let mut alike = self.columns.iter().filter(|column| column.eq_ignore_ascii_case(&ident.value));
            if let (Some(name), None) = (alike.next(), alike.next()) {
                ident.value.clone_from(name);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Gives the columns of a result that have no name the words they were written with.
fn name_columns(select: &mut Select) {
    let mut given: Vec<String> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match &*expr {
            // A column keeps its name, the first time.
            Expr::Identifier(name) if !given.contains(&name.value) => {
                given.push(name.value.clone());
                continue;
            }
            Expr::Identifier(name) => name.value.clone(),
            Expr::CompoundIdentifier(parts) => match parts.last() {
                Some(last) => last.value.clone(),
                None => continue,
            },
            // Unnesting a struct makes several columns.
            Expr::Function(function) if function.name.to_string().to_lowercase().starts_with("unnest") => continue,
            other => other.to_string(),
        };
        // Two columns of the same words are told apart by number.
        let again = given.iter().filter(|other| **other == name).count();
        given.push(name.clone());
        let value = if again == 0 { name } else { format!("{name} {}", again + 1) };
        let alias = Ident { value, quote_style: Some('"'), span: ast::Spanned::span(expr) };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// Functions that have another name with DataFusion.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("ceiling", "ceil"),
    ("rand", "random"),
    ("len", "length"),
    ("ucase", "upper"),
    ("lcase", "lower"),
    ("regexp", "regexp_like"),
    ("grouping_id", "grouping"),
];

fn watermark(span: datafusion_sql::sqlparser::tokenizer::Span) -> Ident {
    Ident { value: MetadataColumn::Watermark.name().into(), quote_style: None, span }
}

/// Functions that are another spelling of something.
fn rewrite_call(expr: &Expr) -> Option<Expr> {
    let (name, args) = call(expr)?;
    let plain: Option<Vec<&Expr>> = args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect();
    let Expr::Function(function) = expr else { return None };
    let span = ast::Spanned::span(&function.name);
    match (name.as_str(), plain?.as_slice()) {
        ("proctime", []) => Some(Expr::Identifier(Ident { value: "_timestamp".into(), quote_style: None, span })),
        // The watermark is that of the source's rows, whichever column names it; a relation's name before the column is kept.
        ("current_watermark", [] | [Expr::Identifier(_)]) => Some(Expr::Identifier(watermark(span))),
        ("current_watermark", [Expr::CompoundIdentifier(parts)]) => {
            let mut parts = parts.clone();
            parts.pop();
            parts.push(watermark(span));
            Some(Expr::CompoundIdentifier(parts))
        }
        (name, _) if OTHER_NAMES.iter().any(|(other, _)| *other == name) => {
            let (_, ours) = OTHER_NAMES.iter().find(|(other, _)| *other == name)?;
            let mut function = function.clone();
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident { value: (*ours).into(), quote_style: None, span })]);
            Some(Expr::Function(function))
        }
        ("mod", [left, right]) => Some(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new((*left).clone()))),
            op: ast::BinaryOperator::Modulo,
            right: Box::new(Expr::Nested(Box::new((*right).clone()))),
        }))),
        ("if", [condition, yes, no]) => Some(Expr::Case {
            case_token: ast::helpers::attached_token::AttachedToken::empty(),
            end_token: ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![ast::CaseWhen { condition: (*condition).clone(), result: (*yes).clone() }],
            else_result: Some(Box::new((*no).clone())),
        }),
        ("to_timestamp_ltz", [value, Expr::Value(ValueWithSpan { value: Value::Number(precision, _), .. })]) => {
            let unit = match precision.as_str() {
                "0" => "to_timestamp_seconds",
                "3" => "to_timestamp_millis",
                "6" => "to_timestamp_micros",
                _ => return None,
            };
            let mut function = function.clone();
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident { value: unit.into(), quote_style: None, span })]);
            if let FunctionArguments::List(list) = &mut function.args {
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr((*value).clone()))];
            }
            Some(Expr::Function(function))
        }
        _ => None,
    }
}
