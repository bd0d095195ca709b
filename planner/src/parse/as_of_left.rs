//! `ASOF LEFT JOIN`, which the parser of SQL does not know: the word is taken out of the tokens, and the join's condition is marked.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{Expr, Ident, JoinOperator, Query, Spanned, Value, ValueWithSpan};
use datafusion_sql::sqlparser::tokenizer::Location;

use super::cursor::Cursor;
use super::each_join::each_join;

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
pub(super) fn mark(query: &mut Query, mut joins: LeftJoins) {
    if joins.is_empty() {
        return;
    }
    each_join(query, |join| {
        let start = join.relation.span().start;
        let JoinOperator::AsOf { match_condition, .. } = &mut join.join_operator else { return };
        // A relation in parentheses begins behind the one that opens.
        let Some(place) = joins.range(..=start).next_back().copied() else { return };
        joins.remove(&place);
        let span = match_condition.span();
        let nothing = Expr::Value(ValueWithSpan { value: Value::Null, span });
        let own = std::mem::replace(match_condition, nothing);
        *match_condition = Expr::Prefixed { prefix: Ident { value: LEFT.into(), quote_style: None, span }, value: Box::new(own) };
    });
}

/// The condition without the mark, and whether it had one.
pub(crate) fn unmarked(condition: &Expr) -> (&Expr, bool) {
    match condition {
        Expr::Prefixed { prefix, value } if prefix.value == LEFT => (value, true),
        other => (other, false),
    }
}
