//! The normal form of a windowed relation: a table function that only the planner can write.
//!
//! The form is described in [`crate::statement`]; this file is the only one that knows how it is laid out in sqlparser's tree.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, TableAlias, TableFactor, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer;

use crate::plan::{FiringPlan, LateStrategy, WindowKind};

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
    /// What the clause says beyond the window.
    pub options: WindowOptions,
    /// What the user wrote, as sqlparser spans it.
    pub span: tokenizer::Span,
}

/// What a WINDOW clause says beyond the window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WindowOptions {
    /// How long a closed window is kept for late rows, in microseconds.
    pub lateness_us: i64,
    /// What becomes of rows that are late beyond that.
    pub late: LateStrategy,
    /// The dead-letter file, if the clause names one.
    pub letters: Option<LettersPath>,
    /// When results come out.
    pub firing: Option<FiringPlan>,
    /// The delay of a watermark of this query alone, in microseconds.
    pub watermark_us: Option<i64>,
}

/// Where a clause says that rows too late for their windows go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LettersPath {
    /// The file, or the address of a topic.
    pub path: String,
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
    /// None: windows of so many rows.
    None,
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
            WindowTime::Declared | WindowTime::None => {}
            WindowTime::Column(expr) => args.push(named("timecol", expr, span)),
            WindowTime::Processing => args.push(named("timecol", call("proctime", span), span)),
        }
        let (name, sizes): (_, &[(&str, i64)]) = match self.kind {
            WindowKind::Tumble { size_us } => ("$tumble", &[("size", size_us)]),
            WindowKind::Hop { size_us, slide_us } => ("$hop", &[("size", size_us), ("slide", slide_us)]),
            WindowKind::Cumulate { size_us, step_us } => ("$cumulate", &[("size", size_us), ("step", step_us)]),
            WindowKind::Session { gap_us } => ("$session", &[("size", gap_us)]),
            WindowKind::Rows { size, slide } => ("$rows", &[("size", size), ("slide", slide)]),
            WindowKind::Attached => panic!("an attached window is derived by the planner, it has no spelling in SQL"),
        };
        let number = |us: i64| literal(Value::Number(us.to_string(), false), span);
        let text = |text: String| literal(Value::SingleQuotedString(text), span);
        for (key, us) in sizes.iter().chain(&[("offset", self.offset_us), ("lateness", self.options.lateness_us)]) {
            args.push(named(key, number(*us), span));
        }
        let WindowOptions { late, letters, firing, watermark_us, .. } = self.options;
        args.push(named("late", text(late.name().into()), span));
        args.extend(letters.map(|it| named("letters", literal(Value::SingleQuotedString(it.path), it.span), span)));
        args.extend(watermark_us.map(|us| named("watermark", number(us), span)));
        if let Some(firing) = firing {
            let json = serde_json::to_string(&firing).unwrap_or_else(|error| panic!("a trigger can be written: {error}"));
            args.push(named("firing", text(json), span));
        }
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
            "$rows" => WindowKind::Rows { size: size_us, slide: number("slide")? },
            _ => return None,
        };
        let text = |key: &str| match argument(args, key) {
            Some(Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. })) => Some(text.as_str()),
            _ => None,
        };
        let options = WindowOptions {
            lateness_us: number("lateness")?,
            late: LateStrategy::of(text("late")?)?,
            letters: match argument(args, "letters") {
                Some(Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(path), span })) => {
                    Some(LettersPath { path: path.clone(), span: *span })
                }
                _ => None,
            },
            firing: text("firing").and_then(|json| serde_json::from_str(json).ok()),
            watermark_us: number("watermark"),
        };
        let time = match argument(args, "timecol") {
            None if matches!(kind, WindowKind::Rows { .. }) => WindowTime::None,
            None => WindowTime::Declared,
            Some(Expr::Function(_)) => WindowTime::Processing,
            Some(expr) => WindowTime::Column(expr.clone()),
        };
        let table = Self { kind, data: argument(args, "data")?.clone(), time, offset_us: number("offset")?, options, span: name.span };
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

/// A call without arguments.
pub(super) fn call(name: &str, span: tokenizer::Span) -> Expr {
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
