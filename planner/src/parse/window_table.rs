//! The normal form of a windowed relation: a table function that only the planner can write.
//!
//! The form is described in [`crate::statement`]; this file is the only one that knows how it is laid out in sqlparser's tree.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, TableAlias, TableFactor, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer;

use crate::plan::{LateStrategy, WindowKind};

/// A windowed relation.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowTable {
    /// The shape: tumble, hop, cumulate or session; sizes in microseconds and checked.
    pub kind: WindowKind,
    /// The relation: an identifier, a compound identifier, or a subquery.
    pub data: Expr,
    /// The time rows are assigned by.
    pub time: WindowTime,
    /// Shift of the window starts from the epoch, `0 <= offset`, in microseconds.
    pub offset_us: i64,
    /// How long a closed window is kept for late rows, in microseconds.
    pub lateness_us: i64,
    /// What becomes of late rows.
    pub late: LateStrategy,
    /// What the user wrote, as sqlparser spans it.
    pub span: tokenizer::Span,
}

/// The time of a window.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowTime {
    /// The relation's declared event time column.
    Declared,
    /// A column: an identifier or compound identifier.
    Column(Expr),
    /// Processing time.
    Processing,
}

impl WindowTable {
    /// Writes the normal form.
    ///
    /// # Panics
    /// For [`WindowKind::Attached`], which no statement can say.
    pub fn encode(self, alias: Option<TableAlias>) -> TableFactor {
        let span = self.span;
        let mut args = vec![named("data", self.data, span)];
        match self.time {
            WindowTime::Declared => {}
            WindowTime::Column(expr) => args.push(named("timecol", expr, span)),
            WindowTime::Processing => args.push(named("timecol", call("proctime", span), span)),
        }
        let (name, sizes): (_, &[(&str, i64)]) = match self.kind {
            WindowKind::Tumble { size_us } => ("$tumble", &[("size", size_us)]),
            WindowKind::Hop { size_us, slide_us } => ("$hop", &[("size", size_us), ("slide", slide_us)]),
            WindowKind::Cumulate { size_us, step_us } => ("$cumulate", &[("size", size_us), ("step", step_us)]),
            WindowKind::Session { gap_us } => ("$session", &[("size", gap_us)]),
            WindowKind::Attached => panic!("an attached window is derived by the planner, it has no spelling in SQL"),
        };
        for (key, us) in sizes.iter().chain(&[("offset", self.offset_us), ("lateness", self.lateness_us)]) {
            args.push(named(key, literal(Value::Number(us.to_string(), false), span), span));
        }
        let late = match self.late {
            LateStrategy::Drop => "drop",
        };
        args.push(named("late", literal(Value::SingleQuotedString(late.into()), span), span));
        TableFactor::Function { lateral: false, name: object(name, span), args, with_ordinality: false, alias }
    }

    /// Reads the normal form: the windowed relation and its alias. `None` when the relation is not windowed.
    pub fn decode(factor: &TableFactor) -> Option<(Self, Option<&TableAlias>)> {
        let TableFactor::Function { lateral: false, name: ObjectName(parts), args, with_ordinality: false, alias } = factor else {
            return None;
        };
        let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return None };
        let number = |key: &str| match argument(args, key) {
            Some(Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. })) => digits.parse::<i64>().ok(),
            _ => None,
        };
        let size_us = number("size")?;
        let kind = match name.value.as_str() {
            "$tumble" => WindowKind::Tumble { size_us },
            "$hop" => WindowKind::Hop { size_us, slide_us: number("slide")? },
            "$cumulate" => WindowKind::Cumulate { size_us, step_us: number("step")? },
            "$session" => WindowKind::Session { gap_us: size_us },
            _ => return None,
        };
        let time = match argument(args, "timecol") {
            None => WindowTime::Declared,
            Some(Expr::Function(_)) => WindowTime::Processing,
            Some(expr) => WindowTime::Column(expr.clone()),
        };
        let table = Self {
            kind,
            data: argument(args, "data")?.clone(),
            time,
            offset_us: number("offset")?,
            lateness_us: number("lateness")?,
            late: LateStrategy::Drop,
            span: name.span,
        };
        Some((table, alias.as_ref()))
    }
}

fn argument<'a>(args: &'a [FunctionArg], key: &str) -> Option<&'a Expr> {
    args.iter().find_map(|arg| match arg {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } if name.value == key => Some(expr),
        _ => None,
    })
}

fn named(key: &str, expr: Expr, span: tokenizer::Span) -> FunctionArg {
    FunctionArg::Named { name: ident(key, span), arg: FunctionArgExpr::Expr(expr), operator: FunctionArgOperator::RightArrow }
}

fn literal(value: Value, span: tokenizer::Span) -> Expr {
    Expr::Value(ValueWithSpan { value, span })
}

fn object(name: &str, span: tokenizer::Span) -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(ident(name, span))])
}

/// An identifier with the span of the user's words it stands for.
pub(super) fn ident(name: &str, span: tokenizer::Span) -> Ident {
    Ident { value: name.into(), quote_style: None, span }
}

fn call(name: &str, span: tokenizer::Span) -> Expr {
    Expr::Function(Function {
        name: object(name, span),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args: vec![], clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
