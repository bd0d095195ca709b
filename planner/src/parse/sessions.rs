//! Sessions in a SELECT: which keys have sessions of their own, and that rows are grouped by them.
//!
//! The sessions of the clause and of GROUP BY are those of the grouping columns, over the rows that WHERE keeps. The table function
//! says its keys with PARTITION BY, and its sessions are those of all rows: a SELECT over it must group by these keys and the window,
//! and keep or drop sessions as wholes. So both mean the same to the planner: sessions of the grouping columns.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Expr, GroupByExpr, Select, SelectItem, Spanned, Value, ValueWithSpan, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer;

use super::cursor::Parsed;
use super::window_table::WindowTable;
use super::windows::{last_word, plain_outputs};
use crate::plan::WindowKind;
use crate::{PlanError, Span};

/// The columns of a window.
const WINDOW: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The sessions among the relations of a SELECT; whether each stands beside others.
pub(super) fn relations(select: &Select) -> Vec<(WindowTable, bool)> {
    let alone = matches!(select.from.as_slice(), [only] if only.joins.is_empty());
    let factors = select.from.iter().flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    factors
        .filter_map(WindowTable::decode)
        .filter(|(table, _)| matches!(table.kind, WindowKind::Session { .. }))
        .map(|(table, _)| (table, !alone))
        .collect()
}

/// A session window in a join.
pub(super) fn joined(span: Span) -> PlanError {
    PlanError::new("parse::window", "sessions beside another relation", span)
        .label("joined before they are grouped")
        .help("Group the sessions in a subquery, and join that: FROM (SELECT … FROM SESSION(…) GROUP BY …) AS s JOIN …")
}

/// Sessions whose rows are asked for one by one.
pub(super) fn ungrouped(span: Span) -> PlanError {
    PlanError::new("parse::window", "rows of sessions are not grouped", span)
        .label("which session a row is in is known when it has ended")
        .help("Aggregate them: SELECT user_id, window_start, window_end, count(*) … GROUP BY user_id; array_agg keeps single values.")
}

/// Keys in a group window, where GROUP BY says them.
pub(super) fn keys_in_group_by(span: Span) -> PlanError {
    PlanError::new("parse::window", "keys inside of SESSION in GROUP BY", span)
        .label("GROUP BY names the keys")
        .help("Write GROUP BY user_id, SESSION(ts, gap).")
}

/// The SELECT groups by its window.
pub(super) fn grouped(select: &Select) -> bool {
    grouping(select).iter().any(|name| name.as_deref() == Some("window_end"))
}

/// The grouping columns by their last word; `None` for expressions.
fn grouping(select: &Select) -> Vec<Option<String>> {
    let exprs = match &select.group_by {
        GroupByExpr::All(_) => plain_outputs(select).into_iter().filter(|expr| !super::aggregates::is_aggregate(expr)).collect(),
        GroupByExpr::Expressions(exprs, _) => exprs.clone(),
    };
    let resolve = |expr: &Expr| match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            let place = digits.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
            match place.and_then(|place| select.projection.get(place)) {
                Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => last_word(expr),
                _ => None,
            }
        }
        other => last_word(other).map(|word| {
            // An alias stands for its expression.
            let aliased = select.projection.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value.eq_ignore_ascii_case(&word) => last_word(expr),
                _ => None,
            });
            aliased.unwrap_or(word)
        }),
    };
    exprs.iter().map(resolve).collect()
}

/// Checks a SELECT over the table function.
pub(super) fn check(select: &Select, keys: &[Expr], span: Span, place: &dyn Fn(tokenizer::Span) -> Span) -> Parsed<()> {
    let keys: BTreeSet<String> = keys.iter().filter_map(last_word).collect();
    let by = grouping(select);
    let names: BTreeSet<String> = by.iter().flatten().filter(|name| !WINDOW.contains(&name.as_str())).cloned().collect();
    let window = |name: &str| by.iter().flatten().any(|it| it == name);
    if !window("window_start") && !window("window_end") {
        return Err(ungrouped(span));
    }
    if names != keys || by.contains(&None) || !window("window_end") {
        let all = if keys.is_empty() { "all rows together".into() } else { keys.iter().cloned().collect::<Vec<_>>().join(", ") };
        let list: Vec<&str> = keys.iter().map(String::as_str).chain(["window_start", "window_end"]).collect();
        let help = format!("Write GROUP BY {}, or say PARTITION BY with the columns that are grouped by.", list.join(", "));
        return Err(PlanError::new("parse::window", "sessions of other keys than are grouped by", span)
            .label(format!("sessions of {all}"))
            .help(help));
    }
    if let Some(filter) = &select.selection {
        let mut finder = Other { keys: &keys, found: None };
        let _ = filter.visit(&mut finder);
        if let Some(found) = finder.found {
            return Err(PlanError::new("parse::window", "WHERE would drop rows of sessions that are cut already", place(found))
                .label("not a key and not the window")
                .help(
                    "Drop the rows first: SESSION(TABLE (SELECT … WHERE …) PARTITION BY …), or use FILTER (WHERE …) at the aggregates.",
                ));
        }
    }
    Ok(())
}

/// Groups by the keys that the clause gives, where GROUP BY is left out, else checks that they are those grouped by.
pub(super) fn group_by_keys(select: &mut Select, keys: &[Expr], span: Span, place: &dyn Fn(tokenizer::Span) -> Span) -> Parsed<()> {
    if keys.is_empty() {
        return Ok(());
    }
    if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by
        && exprs.is_empty()
    {
        exprs.extend_from_slice(keys);
        return Ok(());
    }
    let own: BTreeSet<String> = keys.iter().filter_map(last_word).collect();
    let by = grouping(select);
    let names: BTreeSet<String> = by.iter().flatten().filter(|name| !WINDOW.contains(&name.as_str())).cloned().collect();
    if names == own && !by.contains(&None) {
        return Ok(());
    }
    let at = keys.first().map_or(span, |key| place(key.span()));
    Err(PlanError::new("parse::window", "sessions of other keys than are grouped by", at)
        .label("not the grouping columns")
        .help("Leave the keys out: sessions are those of the columns in GROUP BY."))
}

/// Finds a column that is neither a key nor of the window.
struct Other<'a> {
    keys: &'a BTreeSet<String>,
    found: Option<tokenizer::Span>,
}

impl Visitor for Other<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match last_word(expr) {
            Some(word) if !self.keys.contains(&word) && !WINDOW.contains(&word.as_str()) => {
                self.found = Some(expr.span());
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
