//! Other spellings of what there is: `FETCH FIRST n ROWS ONLY` is LIMIT n, `SEMI JOIN` keeps the left side.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{self, Expr, JoinOperator, LimitClause, Query, Select, Value, VisitMut, VisitorMut};

/// Brings a query to the spellings that the planner reads.
pub(super) fn normalise(query: &mut Query) {
    struct Spellings;
    impl VisitorMut for Spellings {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            fetch(query);
            ControlFlow::Continue(())
        }

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
                let none = || JoinOperator::CrossJoin(ast::JoinConstraint::None);
                join.join_operator = match std::mem::replace(&mut join.join_operator, none()) {
                    JoinOperator::Semi(on) => JoinOperator::LeftSemi(on),
                    JoinOperator::Anti(on) => JoinOperator::LeftAnti(on),
                    other => other,
                };
            }
            ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Spellings);
}

/// One that LIMIT cannot say is left, and told.
fn fetch(query: &mut Query) {
    let limit = match &mut query.limit_clause {
        None => &mut None,
        Some(LimitClause::LimitOffset { limit, .. }) => limit,
        Some(LimitClause::OffsetCommaLimit { .. }) => return,
    };
    let plain = query.fetch.as_ref().is_some_and(|fetch| !fetch.with_ties && !fetch.percent);
    if limit.is_some() || !plain {
        return;
    }
    let rows = query.fetch.take().and_then(|fetch| fetch.quantity);
    let rows = rows.unwrap_or_else(|| Expr::Value(Value::Number("1".into(), false).into()));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => *limit = Some(rows),
        clause => *clause = Some(LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: vec![] }),
    }
}
