//! Windows written as functions: `TUMBLE(TABLE bid, DESCRIPTOR(ts), size)` in FROM, `TUMBLE(ts, size)` in GROUP BY, and
//! `TUMBLE_START(ts, size)`. Their names, their arguments, and the sizes that make a window.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Spanned, Value, ValueWithSpan,
};

use super::cursor::{Parsed, quote};
use super::durations;
use super::line_index::LineIndex;
use super::window_table::WindowTime;
use crate::duration::format_us;
use crate::error::nearest;
use crate::plan::WindowKind;
use crate::{PlanError, Span};

/// A family of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

/// What a function such as TUMBLE_START asks of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowPart {
    Start,
    End,
    Time,
    ProcessingTime,
}

impl WindowPart {
    /// The column that answers.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Start => "window_start",
            Self::End => "window_end",
            Self::Time | Self::ProcessingTime => "window_time",
        }
    }
}

/// A function that is a window, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowFunction {
    pub(super) family: Family,
    /// A hop's size comes before its slide. In Flink's HOP the slide comes first.
    size_first: bool,
}

/// The window a function name stands for.
pub(super) fn window_function(name: &str) -> Option<WindowFunction> {
    let (family, size_first) = match name.to_ascii_uppercase().as_str() {
        "TUMBLE" | "TUMBLING_WINDOW" => (Family::Tumble, true),
        "HOP" => (Family::Hop, false),
        "HOPPING_WINDOW" | "SLIDING_WINDOW" => (Family::Hop, true),
        "CUMULATE" | "CUMULATING_WINDOW" => (Family::Cumulate, false),
        "SESSION" | "SESSION_WINDOW" => (Family::Session, true),
        _ => return None,
    };
    Some(WindowFunction { family, size_first })
}

/// The window and the part of it a function name asks for.
pub(super) fn window_part(name: &str) -> Option<(Family, WindowPart)> {
    let upper = name.to_ascii_uppercase();
    let (family, part) = upper.split_once('_')?;
    let family = match family {
        "TUMBLE" => Family::Tumble,
        "HOP" => Family::Hop,
        "CUMULATE" => Family::Cumulate,
        "SESSION" => Family::Session,
        _ => return None,
    };
    let part = match part {
        "START" => WindowPart::Start,
        "END" => WindowPart::End,
        "ROWTIME" => WindowPart::Time,
        "PROCTIME" => WindowPart::ProcessingTime,
        _ => return None,
    };
    Some((family, part))
}

/// The one unquoted identifier that a name is.
pub(super) fn plain_name(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => Some(ident),
        _ => None,
    }
}

/// The arguments of a plain function call: no DISTINCT, FILTER, OVER and the like.
pub(super) fn plain_args(function: &Function) -> Option<&[FunctionArg]> {
    match &function.args {
        FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() && function.over.is_none() => {
            Some(&list.args)
        }
        FunctionArguments::None => Some(&[]),
        _ => None,
    }
}

/// The arguments of a window, by what they are.
#[derive(Debug, Default)]
pub(super) struct CallArguments<'a> {
    /// The relation.
    pub(super) data: Option<&'a Expr>,
    /// The time column, DESCRIPTOR or proctime().
    pub(super) time: Option<&'a Expr>,
    durations: Vec<&'a Expr>,
    size: Option<&'a Expr>,
    slide: Option<&'a Expr>,
    step: Option<&'a Expr>,
    offset: Option<&'a Expr>,
    key: Option<&'a Expr>,
}

const NAMED: [&str; 8] = ["DATA", "TIMECOL", "SIZE", "SLIDE", "STEP", "OFFSET", "GAP", "KEY"];

impl<'a> CallArguments<'a> {
    /// Sorts the arguments of a call. With `data`, the first one is the relation.
    pub(super) fn read(args: &'a [FunctionArg], data: bool, lines: &LineIndex<'_>, around: Span) -> Parsed<Self> {
        let mut own = Self::default();
        for arg in args {
            let span = lines.span(arg.span()).unwrap_or(around);
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    if data && own.data.is_none() {
                        own.data = Some(expr);
                    } else if own.time.is_none() && own.durations.is_empty() && !is_duration(expr) {
                        own.time = Some(expr);
                    } else {
                        own.durations.push(expr);
                    }
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    let slot = match name.value.to_ascii_uppercase().as_str() {
                        "DATA" if data => &mut own.data,
                        "TIMECOL" => &mut own.time,
                        "SIZE" => &mut own.size,
                        "SLIDE" => &mut own.slide,
                        "STEP" => &mut own.step,
                        "OFFSET" => &mut own.offset,
                        "GAP" => &mut own.size,
                        "KEY" => &mut own.key,
                        _ => {
                            let near = nearest(&name.value, NAMED);
                            return Err(PlanError::new(
                                "parse::window",
                                format!("a window has no argument {}", quote(&name.value)),
                                lines.span(name.span).unwrap_or(around),
                            )
                            .label(near.map_or_else(|| "unknown argument".into(), |near| format!("did you mean {near}?")))
                            .help("The arguments are DATA, TIMECOL, SIZE, SLIDE (of HOP), STEP (of CUMULATE), GAP and KEY (of SESSION) and OFFSET."));
                        }
                    };
                    if slot.replace(expr).is_some() {
                        return Err(
                            PlanError::new("parse::window", format!("argument {} is given twice", quote(&name.value)), span).label("again")
                        );
                    }
                }
                _ => return Err(PlanError::new("parse::window", "not an argument of a window", span).label("cannot be read here")),
            }
        }
        Ok(own)
    }

    /// The window these sizes make, and its offset.
    pub(super) fn window(&self, function: WindowFunction, name: &str, lines: &LineIndex<'_>, around: Span) -> Parsed<(WindowKind, i64)> {
        let upper = name.to_ascii_uppercase();
        let us = |expr: &Expr| durations::from_expr(expr, lines, "the argument", Some(around));
        let unused = |slot: Option<&Expr>, what: &str| match slot {
            Some(expr) => Err(PlanError::new("parse::window", format!("{upper} has no {what}"), lines.span(expr.span()).unwrap_or(around))
                .label("not an argument of this window")),
            None => Ok(()),
        };
        let wrong = |help: &str| {
            PlanError::new("parse::window", format!("{upper} does not have the sizes it needs"), around)
                .label("sizes do not fit")
                .help(help.to_string())
        };
        if function.family == Family::Session {
            return self.session(&upper, lines, around);
        }
        unused(self.key, "key")?;
        let mut positional = self.durations.iter().copied();
        // Positional durations fill what is not named, in the function's own order.
        let mut take = |named: Option<&'a Expr>| named.or_else(|| positional.next());
        let kind = match function.family {
            Family::Tumble => {
                unused(self.slide, "slide")?;
                unused(self.step, "step")?;
                let size = take(self.size).ok_or_else(|| wrong("Write TUMBLE(relation, time, size), in GROUP BY TUMBLE(time, size)."))?;
                WindowKind::Tumble { size_us: us(size)? }
            }
            Family::Hop => {
                unused(self.step, "step")?;
                let (size, slide) = if function.size_first {
                    let size = take(self.size);
                    (size, take(self.slide))
                } else {
                    let slide = take(self.slide);
                    (take(self.size), slide)
                };
                let (Some(size), Some(slide)) = (size, slide) else {
                    return Err(wrong(
                        "Write HOP(relation, time, slide, size): the slide comes first. In GROUP BY HOP(time, slide, size).",
                    ));
                };
                WindowKind::Hop { size_us: us(size)?, slide_us: us(slide)? }
            }
            Family::Cumulate => {
                unused(self.slide, "slide")?;
                let step = take(self.step);
                let (Some(step), Some(size)) = (step, take(self.size)) else {
                    return Err(wrong("Write CUMULATE(relation, time, step, size), in GROUP BY CUMULATE(time, step, size)."));
                };
                WindowKind::Cumulate { size_us: us(size)?, step_us: us(step)? }
            }
            Family::Session => unreachable!("answered above"),
        };
        let offset = take(self.offset);
        let offset_us = offset.map_or(Ok(0), us)?;
        if let Some(extra) = positional.next() {
            return Err(PlanError::new(
                "parse::window",
                format!("{upper} has too many arguments"),
                lines.span(extra.span()).unwrap_or(around),
            )
            .label("one too many"));
        }
        checked(kind, offset_us, around)
    }

    /// The session window these arguments make.
    fn session(&self, upper: &str, lines: &LineIndex<'_>, around: Span) -> Parsed<(WindowKind, i64)> {
        let unused = [(self.slide, "slide"), (self.step, "step"), (self.offset, "offset")];
        if let Some((expr, what)) = unused.into_iter().find_map(|(slot, what)| Some((slot?, what))) {
            return Err(PlanError::new("parse::window", format!("{upper} has no {what}"), lines.span(expr.span()).unwrap_or(around))
                .label("not an argument of this window"));
        }
        let gaps: Vec<&Expr> = self.size.into_iter().chain(self.durations.iter().copied().filter(|it| is_duration(it))).collect();
        let [gap] = gaps.as_slice() else {
            return Err(PlanError::new("parse::window", format!("{upper} does not have the gap it needs"), around)
                .label(if gaps.is_empty() { "no gap" } else { "more than one" })
                .help("Write SESSION(TABLE relation PARTITION BY key, DESCRIPTOR(ts), gap), in GROUP BY key, SESSION(ts, gap)."));
        };
        checked(WindowKind::Session { gap_us: durations::from_expr(gap, lines, "the gap", Some(around))? }, 0, around)
    }

    /// The columns whose values have sessions of their own, if the call says them.
    pub(super) fn keys(&self) -> Option<Vec<&'a Expr>> {
        let mut keys: Vec<&Expr> = self.durations.iter().copied().filter(|it| !is_duration(it)).collect();
        match self.key {
            Some(Expr::Tuple(all)) => keys.extend(all),
            Some(Expr::Nested(one)) => keys.push(one),
            Some(one) => keys.push(one),
            None => {}
        }
        (!keys.is_empty()).then_some(keys)
    }

    /// The time column, as the normal form has it.
    pub(super) fn time(&self, lines: &LineIndex<'_>, around: Span) -> Parsed<WindowTime> {
        match self.time {
            None => Ok(WindowTime::Declared),
            Some(expr) => window_time(expr).ok_or_else(|| {
                PlanError::new("parse::window", "the time of a window is a column", lines.span(expr.span()).unwrap_or(around))
                    .label("not a column")
                    .help("Compute the time in the source (ts AS …) or in a subquery, and name that column here.")
            }),
        }
    }
}

fn is_duration(expr: &Expr) -> bool {
    matches!(expr, Expr::Interval(_) | Expr::Value(ValueWithSpan { value: Value::Number(..) | Value::SingleQuotedString(_), .. }))
}

/// A column, `DESCRIPTOR(column)`, `proctime()`.
fn window_time(expr: &Expr) -> Option<WindowTime> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Some(WindowTime::Column(expr.clone())),
        Expr::Function(function) => {
            let name = plain_name(&function.name)?;
            match plain_args(function)? {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))))]
                    if name.value.eq_ignore_ascii_case("DESCRIPTOR") =>
                {
                    Some(WindowTime::Column(inner.clone()))
                }
                [] if name.value.eq_ignore_ascii_case("proctime") || name.value.eq_ignore_ascii_case("processing_time") => {
                    Some(WindowTime::Processing)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Checks the sizes of a window and brings the offset into its range.
pub(super) fn checked(kind: WindowKind, offset_us: i64, span: Span) -> Parsed<(WindowKind, i64)> {
    let wrong = |message: String, help: String| PlanError::new("parse::window", message, span).label("cannot be").help(help);
    let positive = |us: i64, what: &str| {
        if us > 0 {
            return Ok(us);
        }
        Err(wrong(format!("the {what} of a window is {}", format_us(us)), format!("Write a {what} above 0, for example 5m.")))
    };
    let divides = |size: i64, part: i64, what: &str| {
        if size % part == 0 {
            return Ok(());
        }
        let help = if part > size && part % size == 0 {
            format!("The two look swapped: the size is {} and the {what} {}.", format_us(part), format_us(size))
        } else {
            format!("Choose a {what} that divides the size, for example {}.", format_us(divisor_near(size, part)))
        };
        Err(wrong(format!("{what} {} does not divide size {}", format_us(part), format_us(size)), help))
    };
    let cycle = match kind {
        WindowKind::Tumble { size_us } => positive(size_us, "size")?,
        WindowKind::Hop { size_us, slide_us } => {
            positive(size_us, "size")?;
            positive(slide_us, "slide")?;
            divides(size_us, slide_us, "slide")?;
            slide_us
        }
        WindowKind::Cumulate { size_us, step_us } => {
            positive(size_us, "size")?;
            positive(step_us, "step")?;
            divides(size_us, step_us, "step")?;
            size_us
        }
        WindowKind::Session { gap_us } => positive(gap_us, "gap")?,
        // Numbers of rows are checked where they are read, and have no offset.
        WindowKind::Rows { .. } | WindowKind::Attached => 1,
    };
    if offset_us < 0 {
        return Err(wrong(
            format!("the offset of a window is {}", format_us(offset_us)),
            format!("Write an offset of 0 or more: {} means the same.", format_us(offset_us.rem_euclid(cycle))),
        ));
    }
    Ok((kind, offset_us % cycle))
}

/// A part of a size that divides it, not longer than asked if there is one, by whole parts of the size.
pub(super) fn divisor_near(size: i64, part: i64) -> i64 {
    let least = if part >= size { 1 } else { (size + part - 1) / part };
    (least..least + 100_000).find(|parts| size % parts == 0).map_or(size, |parts| size / parts)
}
