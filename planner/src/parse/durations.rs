//! Durations in statements: `5m`, `1h 30m`, `INTERVAL '5' SECOND`, `INTERVAL '5 seconds'`, `INTERVAL 5 MINUTE`, `'10s'`.

use datafusion_sql::sqlparser::ast::{Expr, Interval, Spanned, UnaryOperator, Value, ValueWithSpan};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed, quote, quoted_text};
use super::line_index::LineIndex;
use crate::duration::format_us;
use crate::{PlanError, Span};

const HELP: &str = "Write for example 5s, 1h 30m or INTERVAL '10' SECOND.";
const UNEVEN: &str = "Months, quarters and years differ in length: write days, hours, minutes or seconds.";

/// Nanoseconds of a unit of fixed length.
fn unit_ns(unit: &str) -> Result<i128, (String, &'static str)> {
    Ok(match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => 1_000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "week" | "weeks" => 604_800_000_000_000,
        "mon" | "mons" | "month" | "months" | "quarter" | "quarters" | "y" | "yr" | "year" | "years" | "decade" | "decades" | "century" => {
            return Err((format!("{} has no fixed length", quote(unit)), UNEVEN));
        }
        _ => {
            return Err((
                format!("{} is not a unit of time", quote(unit)),
                "The units are ns, us, ms, s, m, h, d and w, and their long names.",
            ));
        }
    })
}

/// The units that make a duration out of a number they are written against: `5m`.
pub(super) fn short_unit(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ns" => "nanoseconds",
        "us" | "µs" | "μs" => "microseconds",
        "ms" => "milliseconds",
        "s" => "seconds",
        "m" => "minutes",
        "h" => "hours",
        "d" => "days",
        "w" => "weeks",
        _ => return None,
    })
}

/// A unit of any spelling that has a fixed length.
pub(super) fn is_unit(word: &str) -> bool {
    unit_ns(word).is_ok()
}

/// Nanoseconds of a number of units; the number may have decimals and a sign.
fn amount_ns(number: &str, unit: &str) -> Result<i128, (String, &'static str)> {
    let wrong = || (format!("{} is not a number of {unit}", quote(number)), HELP);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = [whole, decimals].concat();
    if all.is_empty() || all.len() > 24 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let value: i128 = all.parse().map_err(|_| wrong())?;
    let scaled = value.checked_mul(unit_ns(unit)?).ok_or_else(wrong)?;
    let scale = 10i128.checked_pow(u32::try_from(decimals.len()).map_err(|_| wrong())?).ok_or_else(wrong)?;
    if scaled % scale != 0 {
        return Err((format!("{} is finer than a microsecond", quote(&format!("{number} {unit}"))), "Times are kept in microseconds."));
    }
    Ok(sign * scaled / scale)
}

/// Microseconds of an interval's text, with the unit behind it if there is one.
pub(super) fn interval_us(text: &str, unit: Option<&str>) -> Result<i64, (String, &'static str)> {
    let text = text.trim();
    let wrong = || (format!("{} is not a duration", quote(text)), HELP);
    let mut total = 0i128;
    if let Some(unit) = unit {
        total = amount_ns(text, unit)?;
    } else {
        let mut rest = text;
        while !rest.is_empty() {
            let number = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).ok_or_else(wrong)?;
            let behind = rest[number..].trim_start();
            let letters = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
            if number == 0 || letters == 0 {
                return Err(wrong());
            }
            total = total.checked_add(amount_ns(&rest[..number], &behind[..letters])?).ok_or_else(wrong)?;
            rest = behind[letters..].trim_start();
        }
        if text.is_empty() {
            return Err(wrong());
        }
    }
    if total % 1_000 != 0 {
        return Err((format!("{} is finer than a microsecond", quote(text)), "Times are kept in microseconds."));
    }
    i64::try_from(total / 1_000).map_err(|_| (format!("{} is too long a duration", quote(text)), HELP))
}

fn wrong_duration((message, help): (String, &'static str), span: impl Into<Option<Span>>) -> PlanError {
    PlanError::new("parse::duration", message, span).label("not a duration of fixed length").help(help)
}

/// Does a duration begin here.
pub(super) fn begins(cursor: &Cursor<'_>) -> bool {
    let Some(tok) = cursor.peek() else { return false };
    match &tok.token.token {
        Token::Number(..) => true,
        token if quoted_text(token).is_some() => true,
        _ => tok.is("INTERVAL") && cursor.peek_at(1).is_some_and(|tok| tok.word().is_none() && !tok.is_mark(&Token::Comma)),
    }
}

/// Takes a duration: its microseconds, which may be negative only as an INTERVAL, and its bytes.
pub(super) fn take(cursor: &mut Cursor<'_>, what: &str) -> Parsed<(i64, Span)> {
    let start = cursor.at;
    let interval = cursor.sees(&["INTERVAL"]) && cursor.take(&["INTERVAL"]);
    let minus = interval && cursor.take_mark(&Token::Minus);
    let missing =
        |cursor: &Cursor<'_>| cursor.expected(&format!("{what}, such as 5m or INTERVAL '10' SECOND")).label("a duration belongs here");
    let Some(tok) = cursor.peek() else { return Err(missing(cursor)) };
    let (text, unit) = if let Some(text) = quoted_text(&tok.token.token) {
        cursor.at += 1;
        let unit = interval.then(|| cursor.peek().and_then(|tok| tok.word())).flatten().filter(|word| names_unit(word));
        cursor.at += usize::from(unit.is_some());
        (text.to_string(), unit)
    } else {
        let mut parts = String::new();
        while let Some(Token::Number(digits, false)) = cursor.peek().map(|tok| &tok.token.token) {
            let number = cursor.here();
            cursor.at += 1;
            let Some(unit) = cursor.peek().and_then(|tok| tok.word()) else {
                return Err(PlanError::new("parse::duration", format!("{} has no unit", quote(digits)), number)
                    .label("of what?")
                    .help(format!("Write the unit too, for example {digits}s or {digits}m.")));
            };
            if let Err(wrong) = unit_ns(unit) {
                return Err(wrong_duration(wrong, number.to(cursor.here())));
            }
            cursor.at += 1;
            parts.push_str(digits);
            parts.push_str(unit);
        }
        if parts.is_empty() {
            return Err(missing(cursor));
        }
        (parts, None)
    };
    if interval && cursor.sees(&["TO"]) {
        return Err(PlanError::new(
            "parse::duration",
            "an interval of several fields is not read here",
            cursor.since(start).to(cursor.here()),
        )
        .label("several fields")
        .help("Write it with units, for example INTERVAL '1 hour 30 minutes', or 1h 30m."));
    }
    let span = cursor.since(start);
    let us = interval_us(&text, unit).map_err(|wrong| wrong_duration(wrong, span))?;
    Ok((if minus { -us } else { us }, span))
}

/// A word behind `INTERVAL '5'` that says the unit, be it of fixed length or not.
fn names_unit(word: &str) -> bool {
    match unit_ns(word) {
        Ok(_) => true,
        Err((_, help)) => help == UNEVEN,
    }
}

/// Microseconds of a duration in sqlparser's tree.
pub(super) fn from_expr(expr: &Expr, lines: &LineIndex<'_>, what: &str, around: Option<Span>) -> Parsed<i64> {
    let span = lines.span(expr.span()).or(around);
    match expr {
        Expr::Interval(Interval {
            value,
            leading_field,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }) => {
            let unit = leading_field.as_ref().map(ToString::to_string);
            let (sign, value) = match &**value {
                Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (-1, &**expr),
                other => (1, other),
            };
            let text = match value {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.as_str(),
                Expr::Value(ValueWithSpan { value: Value::Number(digits, false), .. }) => digits.as_str(),
                _ => return Err(wrong_duration((format!("{what} is not a constant"), HELP), span)),
            };
            Ok(sign * interval_us(text, unit.as_deref()).map_err(|wrong| wrong_duration(wrong, span))?)
        }
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            interval_us(text, None).map_err(|wrong| wrong_duration(wrong, span))
        }
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            Err(wrong_duration((format!("{} has no unit", quote(digits)), HELP), span))
        }
        _ => Err(wrong_duration((format!("{what} is not a duration"), HELP), span)),
    }
}

/// A duration as text for a value.
pub(super) fn as_text(us: i64) -> String {
    format_us(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_fixed_length_are_microseconds() {
        for (text, unit, us) in [
            ("10", Some("SECOND"), 10_000_000),
            ("0.001", Some("SECOND"), 1_000),
            ("1.5", Some("hours"), 5_400_000_000),
            ("-5", Some("MINUTE"), -300_000_000),
            ("5 seconds", None, 5_000_000),
            ("1 hour 30 minutes", None, 5_400_000_000),
            ("1h30m", None, 5_400_000_000),
            ("2000ns", None, 2),
            ("0s", None, 0),
        ] {
            assert_eq!(interval_us(text, unit), Ok(us), "{text} {unit:?}");
        }
        for (text, unit) in [
            ("1", Some("MONTH")),
            ("1 year", None),
            ("", None),
            ("", Some("SECOND")),
            ("5", None),
            ("s", None),
            ("1.2.3", Some("SECOND")),
            ("1ns", None),
            ("0.0000001", Some("SECOND")),
            ("99999999999999999", Some("WEEK")),
            ("five", Some("SECOND")),
            ("1:30", Some("HOUR")),
        ] {
            assert!(interval_us(text, unit).is_err(), "{text} {unit:?}");
        }
    }
}
