//! `WITHIN 5m` behind or before the condition of a join: how far apart in time two rows that meet may be.
//!
//! The clause is taken out of the tokens; the condition then reads `(condition) AND $within(before, after)`, both in microseconds: a right row
//! is at most so much earlier, and at most so much later, than the left row it meets.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, JoinConstraint, JoinOperator,
    ObjectName, ObjectNamePart, Query, Select, Spanned, TableFactor, TableWithJoins, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::{self, Location, Token};

use super::cursor::{Cursor, Parsed};
use super::durations;
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
pub(super) fn attach(query: &mut Query, clauses: Withins) -> Vec<PlanError> {
    let mut attacher = Attacher { clauses, errors: vec![] };
    if !attacher.clauses.is_empty() {
        let _ = VisitMut::visit(query, &mut attacher);
    }
    let left = attacher.clauses.into_values().map(|clause| no_condition(clause.span));
    attacher.errors.into_iter().chain(left).collect()
}

fn no_condition(span: Span) -> PlanError {
    PlanError::new("parse::within", "WITHIN belongs to a join with ON", span)
        .label("no condition here")
        .help("Write JOIN b ON a.id = b.id WITHIN 5m.")
}

struct Attacher {
    clauses: Withins,
    errors: Vec<PlanError>,
}

impl Attacher {
    fn table(&mut self, table: &mut TableWithJoins) {
        for join in &mut table.joins {
            let start = join.relation.span().start;
            // A relation in parentheses begins behind the one that opens.
            let Some(place) = self.clauses.keys().copied().rfind(|place| *place <= start) else { continue };
            let Some(clause) = self.clauses.remove(&place) else { continue };
            match constraint_mut(&mut join.join_operator) {
                Some(JoinConstraint::On(condition)) => {
                    let nothing = Expr::Value(ValueWithSpan { value: Value::Null, span: clause.place });
                    let own = std::mem::replace(condition, nothing);
                    *condition = Expr::BinaryOp {
                        left: Box::new(Expr::Nested(Box::new(own))),
                        op: BinaryOperator::And,
                        right: Box::new(call(&clause)),
                    };
                }
                _ => self.errors.push(no_condition(clause.span)),
            }
        }
    }
}

impl VisitorMut for Attacher {
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
