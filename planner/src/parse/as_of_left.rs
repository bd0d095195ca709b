//! `ASOF LEFT JOIN`, which the parser of SQL does not know: the word is taken out of the tokens, and the join's condition is marked.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Ident, JoinOperator, Query, Select, Spanned, TableFactor, TableWithJoins, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Location;

use super::cursor::Cursor;

/// What stands before the condition of a join that keeps rows without a match.
const LEFT: &str = "$left";

/// Where the relations begin that are joined so.
pub(super) type LeftJoins = BTreeSet<Location>;

/// Behind ASOF: how many words to leave out, and where the relation begins.
pub(super) fn begins(cursor: &Cursor<'_>) -> Option<(usize, Location)> {
    let words = [&["LEFT", "JOIN"][..], &["LEFT", "OUTER", "JOIN"]].into_iter().find(|words| cursor.sees(words))?;
    let relation = cursor.peek_at(words.len())?;
    Some((words.len() - 1, relation.token.span.start))
}

/// Marks the joins.
pub(super) fn mark(query: &mut Query, joins: LeftJoins) {
    if !joins.is_empty() {
        let _ = VisitMut::visit(query, &mut Marker(joins));
    }
}

/// The condition without the mark, and whether it had one.
pub(crate) fn unmarked(condition: &Expr) -> (&Expr, bool) {
    match condition {
        Expr::Prefixed { prefix, value } if prefix.value == LEFT => (value, true),
        other => (other, false),
    }
}

struct Marker(LeftJoins);

impl Marker {
    fn table(&mut self, table: &mut TableWithJoins) {
        for join in &mut table.joins {
            let start = join.relation.span().start;
            let JoinOperator::AsOf { match_condition, .. } = &mut join.join_operator else { continue };
            // A relation in parentheses begins behind the one that opens.
            let Some(place) = self.0.range(..=start).next_back().copied() else { continue };
            self.0.remove(&place);
            let span = match_condition.span();
            let nothing = Expr::Value(ValueWithSpan { value: Value::Null, span });
            let own = std::mem::replace(match_condition, nothing);
            *match_condition = Expr::Prefixed { prefix: Ident { value: LEFT.into(), quote_style: None, span }, value: Box::new(own) };
        }
    }
}

impl VisitorMut for Marker {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(|from| self.table(from));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.table(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}
