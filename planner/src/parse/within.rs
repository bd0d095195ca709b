//! `WITHIN 5m` behind or before the condition of a join: how far apart in time two rows that meet may be.
//!
//! The clause is taken out of the tokens; the condition then reads `(condition) AND $within(before, after)`, both in microseconds: a right row
//! is at most so much earlier, and at most so much later, than the left row it meets.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, Query, Spanned, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer::{self, Location, Token};

use super::cursor::{Cursor, Parsed};
use super::durations;
use super::each_join::each_join;
use super::window_table::ident;
use crate::{PlanError, Span};

/// The name of the function that stands for the clause.
pub(crate) const WITHIN: &str = "$within";

/// One clause.
pub(super) struct Within {
    before_us: i64,
    after_us: i64,
    span: Span,
    place: tokenizer::Span,
}

/// The clauses of a query, each under the place where the relation begins that it joins.
pub(super) type Withins = BTreeMap<Location, Within>;

/// Does the clause begin here.
pub(super) fn begins(cursor: &Cursor<'_>) -> bool {
    let next = Cursor { at: cursor.at + 1, ..cursor.clone() };
    cursor.sees(&["WITHIN"]) && (durations::begins(&next) || next.sees_mark(&Token::LParen))
}

/// Takes `WITHIN 5m` or `WITHIN (1m, 5m)`.
pub(super) fn take(cursor: &mut Cursor<'_>) -> Parsed<Within> {
    let start = cursor.at;
    let place = cursor.peek().map_or_else(tokenizer::Span::empty, |tok| tok.token.span);
    cursor.take(&["WITHIN"]);
    let (before_us, after_us) = if cursor.take_mark(&Token::LParen) {
        let (before, _) = durations::take(cursor, "a duration")?;
        cursor.expect_mark(&Token::Comma)?;
        let (after, _) = durations::take(cursor, "a duration")?;
        cursor.expect_mark(&Token::RParen)?;
        (before, after)
    } else {
        let (us, _) = durations::take(cursor, "a duration")?;
        (us, us)
    };
    let span = cursor.since(start);
    if before_us < 0 || after_us < 0 {
        return Err(PlanError::new("parse::duration", "WITHIN takes no negative duration", span)
            .help("For rows that are always later, compare the times in ON: b.ts BETWEEN a.ts + INTERVAL '1' MINUTE AND …."));
    }
    Ok(Within { before_us, after_us, span, place })
}

/// Puts the clauses into the conditions of their joins.
pub(super) fn attach(query: &mut Query, mut clauses: Withins) -> Vec<PlanError> {
    if clauses.is_empty() {
        return vec![];
    }
    let mut errors = Vec::new();
    each_join(query, |join| {
        let start = join.relation.span().start;
        // A relation in parentheses begins behind the one that opens.
        let Some(place) = clauses.range(..=start).next_back().map(|(place, _)| *place) else { return };
        let Some(clause) = clauses.remove(&place) else { return };
        match constraint_mut(&mut join.join_operator) {
            Some(JoinConstraint::On(condition)) => {
                let nothing = Expr::Value(ValueWithSpan { value: Value::Null, span: clause.place });
                let own = std::mem::replace(condition, nothing);
                *condition =
                    Expr::BinaryOp { left: Box::new(Expr::Nested(Box::new(own))), op: BinaryOperator::And, right: Box::new(call(&clause)) };
            }
            _ => errors.push(no_condition(clause.span)),
        }
    });
    errors.extend(clauses.into_values().map(|clause| no_condition(clause.span)));
    errors
}

fn no_condition(span: Span) -> PlanError {
    PlanError::new("parse::within", "WITHIN belongs to a join with ON", span)
        .label("no condition here")
        .help("Write JOIN b ON a.id = b.id WITHIN 5m.")
}

/// What a join says its rows meet by, if its kind says so.
pub(crate) fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(it)
        | J::Inner(it)
        | J::Left(it)
        | J::LeftOuter(it)
        | J::Right(it)
        | J::RightOuter(it)
        | J::FullOuter(it)
        | J::Semi(it)
        | J::LeftSemi(it)
        | J::RightSemi(it)
        | J::Anti(it)
        | J::LeftAnti(it)
        | J::RightAnti(it) => Some(it),
        _ => None,
    }
}

fn call(clause: &Within) -> Expr {
    let number = |us: i64| {
        let value = ValueWithSpan { value: Value::Number(us.to_string(), false), span: clause.place };
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))
    };
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(ident(WITHIN, clause.place))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![number(clause.before_us), number(clause.after_us)],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
