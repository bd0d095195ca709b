//! Time functions with Flink's meaning: `DATE_FORMAT` with Java patterns, and `YEAR(ts)` to `SECOND(ts)`.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

const DAY_US: i64 = 86_400_000_000;

/// `DATE_FORMAT(ts, pattern)`: the timestamp as text. The pattern is Java's (`yyyy-MM-dd HH:mm:ss.SSS`), or C's when it holds a `%`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateFormat {
    signature: Signature,
}

impl DateFormat {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// A pattern, cut into what it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Year,
    ShortYear,
    /// Two digits if true.
    Month(bool),
    MonthName(bool),
    Day(bool),
    DayOfYear,
    /// Long name if true.
    Weekday(bool),
    Hour(bool),
    Hour12(bool),
    Minute(bool),
    Second(bool),
    /// So many digits of the second's fraction.
    Fraction(usize),
    HalfDay,
    /// A C pattern.
    Strftime(String),
}

impl Piece {
    /// Says the same for all times of a day.
    fn of_the_day(&self) -> bool {
        matches!(
            self,
            Self::Text(_)
                | Self::Year
                | Self::ShortYear
                | Self::Month(_)
                | Self::MonthName(_)
                | Self::Day(_)
                | Self::DayOfYear
                | Self::Weekday(_)
        )
    }
}

fn parse_pattern(pattern: &str) -> Result<Vec<Piece>> {
    if pattern.contains('%') {
        let wrong = chrono::format::StrftimeItems::new(pattern).any(|item| matches!(item, chrono::format::Item::Error));
        if wrong {
            return plan_err!("\"{pattern}\" is not a date format");
        }
        return Ok(vec![Piece::Strftime(pattern.to_string())]);
    }
    let mut pieces = Vec::new();
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let letter = chars[at];
        if letter == '\'' {
            // Quoted text; two quotes are one quote.
            let mut text = String::new();
            at += 1;
            if chars.get(at) == Some(&'\'') {
                text.push('\'');
                at += 1;
            } else {
                loop {
                    match chars.get(at) {
                        Some('\'') if chars.get(at + 1) == Some(&'\'') => {
                            text.push('\'');
                            at += 2;
                        }
                        Some('\'') => {
                            at += 1;
                            break;
                        }
                        Some(other) => {
                            text.push(*other);
                            at += 1;
                        }
                        None => return plan_err!("\"{pattern}\" has a quote that does not end"),
                    }
                }
            }
            pieces.push(Piece::Text(text));
            continue;
        }
        let count = chars[at..].iter().take_while(|other| **other == letter).count();
        at += count;
        let piece = match (letter, count) {
            ('y' | 'u', 2) => Piece::ShortYear,
            ('y' | 'u', 1 | 3 | 4) => Piece::Year,
            ('M' | 'L', 1) => Piece::Month(false),
            ('M' | 'L', 2) => Piece::Month(true),
            ('M' | 'L', 3) => Piece::MonthName(false),
            ('M' | 'L', 4) => Piece::MonthName(true),
            ('d', 1 | 2) => Piece::Day(count == 2),
            ('D', 3) => Piece::DayOfYear,
            ('E', 1..=3) => Piece::Weekday(false),
            ('E', 4) => Piece::Weekday(true),
            ('H', 1 | 2) => Piece::Hour(count == 2),
            ('h', 1 | 2) => Piece::Hour12(count == 2),
            ('m', 1 | 2) => Piece::Minute(count == 2),
            ('s', 1 | 2) => Piece::Second(count == 2),
            ('S', 1..=9) => Piece::Fraction(count),
            ('a', 1) => Piece::HalfDay,
            (letter, _) if letter.is_ascii_alphabetic() => {
                let group: String = std::iter::repeat_n(letter, count).collect();
                return Err(plan_datafusion_err!("\"{pattern}\" is not a date format: \"{group}\" is unknown"));
            }
            _ => Piece::Text(std::iter::repeat_n(letter, count).collect()),
        };
        pieces.push(piece);
    }
    Ok(pieces)
}

fn write_number(out: &mut String, value: u32, padded: bool) -> std::fmt::Result {
    if padded { write!(out, "{value:02}") } else { write!(out, "{value}") }
}

fn write_time(out: &mut String, pieces: &[Piece], time: NaiveDateTime) -> std::fmt::Result {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Year => write!(out, "{:04}", time.year())?,
            Piece::ShortYear => write!(out, "{:02}", time.year().rem_euclid(100))?,
            Piece::Month(padded) => write_number(out, time.month(), *padded)?,
            Piece::MonthName(long) => write!(out, "{}", time.format(if *long { "%B" } else { "%b" }))?,
            Piece::Day(padded) => write_number(out, time.day(), *padded)?,
            Piece::DayOfYear => write!(out, "{:03}", time.ordinal())?,
            Piece::Weekday(long) => write!(out, "{}", time.format(if *long { "%A" } else { "%a" }))?,
            Piece::Hour(padded) => write_number(out, time.hour(), *padded)?,
            Piece::Hour12(padded) => write_number(out, time.hour12().1, *padded)?,
            Piece::Minute(padded) => write_number(out, time.minute(), *padded)?,
            Piece::Second(padded) => write_number(out, time.second(), *padded)?,
            Piece::Fraction(digits) => {
                let nanos = format!("{:09}", time.nanosecond() % 1_000_000_000);
                out.push_str(&nanos[..(*digits).min(9)]);
            }
            Piece::HalfDay => out.push_str(if time.hour12().0 { "PM" } else { "AM" }),
            Piece::Strftime(pattern) => write!(out, "{}", time.format(pattern))?,
        }
    }
    Ok(())
}

fn civil(us: i64) -> Result<NaiveDateTime> {
    DateTime::<Utc>::from_timestamp_micros(us).map(|time| time.naive_utc()).ok_or_else(|| exec_datafusion_err!("time {us} is out of range"))
}

fn format_constant(times: &TimestampMicrosecondArray, pieces: &[Piece]) -> Result<ArrayRef> {
    let mut out = StringBuilder::with_capacity(times.len(), times.len() * 10);
    let mut text = String::new();
    // A pattern of days writes the same text for all times of a day: most streams stay within one.
    let daily = pieces.iter().all(Piece::of_the_day);
    let mut last_day = None;
    for row in 0..times.len() {
        if times.is_null(row) {
            out.append_null();
            continue;
        }
        let us = times.value(row);
        let day = us.div_euclid(DAY_US);
        if !daily || last_day != Some(day) {
            text.clear();
            write_time(&mut text, pieces, civil(us)?).map_err(|_| exec_datafusion_err!("time {us} does not fit the format"))?;
            last_day = Some(day);
        }
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

fn coerce_time(name: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Timestamp(_, _)
        | DataType::Date32
        | DataType::Date64
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::LargeUtf8
        | DataType::Null => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        other => plan_err!("{name} takes a timestamp, not {other}"),
    }
}

impl ScalarUDFImpl for DateFormat {
    fn name(&self) -> &str {
        "date_format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null] = types else {
            return plan_err!("date_format takes a timestamp and a pattern such as 'yyyy-MM-dd'");
        };
        Ok(vec![coerce_time("date_format", time)?, DataType::Utf8])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn simplify(
        &self,
        args: Vec<Expr>,
        _: &datafusion_expr::simplify::SimplifyContext,
    ) -> Result<datafusion_expr::simplify::ExprSimplifyResult> {
        // A wrong constant pattern is found when the plan is made.
        if let Some(Expr::Literal(ScalarValue::Utf8(Some(pattern)), _)) = args.get(1) {
            parse_pattern(pattern)?;
        }
        Ok(datafusion_expr::simplify::ExprSimplifyResult::Original(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, pattern] = args.args.as_slice() else {
            return exec_err!("date_format takes two arguments");
        };
        let times = time.to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if let ColumnarValue::Scalar(pattern) = pattern {
            return match pattern.try_as_str().flatten() {
                Some(pattern) => Ok(ColumnarValue::Array(format_constant(times, &parse_pattern(pattern)?)?)),
                None => Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))),
            };
        }
        let patterns = pattern.to_array(args.number_rows)?;
        let patterns: &StringArray = patterns.as_string::<i32>();
        let mut out = StringBuilder::with_capacity(times.len(), times.len() * 10);
        let mut text = String::new();
        for row in 0..times.len() {
            if times.is_null(row) || patterns.is_null(row) {
                out.append_null();
                continue;
            }
            text.clear();
            write_time(&mut text, &parse_pattern(patterns.value(row))?, civil(times.value(row))?)
                .map_err(|_| exec_datafusion_err!("a time does not fit the format"))?;
            out.append_value(&text);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

/// `YEAR(ts)`, `HOUR(ts)` and their like: a part of a timestamp, as `Int64`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimePart {
    signature: Signature,
    name: &'static str,
}

impl TimePart {
    /// Every part there is a function for.
    pub(super) const NAMES: [&'static str; 10] =
        ["year", "quarter", "month", "week", "dayofyear", "dayofmonth", "dayofweek", "hour", "minute", "second"];

    pub(super) fn new(name: &'static str) -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable), name }
    }
}

impl ScalarUDFImpl for TimePart {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [time] => Ok(vec![coerce_time(self.name, time)?]),
            _ => plan_err!("{} takes one timestamp", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = args.args[0].to_array(args.number_rows)?;
        let typed = times.as_primitive::<TimestampMicrosecondType>();
        // Parts of a day need no calendar.
        let of_day = |size: i64, count: i64| -> Int64Array { typed.unary::<_, Int64Type>(|us| us.div_euclid(size).rem_euclid(count)) };
        let out: ArrayRef = match self.name {
            "hour" => Arc::new(of_day(3_600_000_000, 24)),
            "minute" => Arc::new(of_day(60_000_000, 60)),
            "second" => Arc::new(of_day(1_000_000, 60)),
            name => {
                let part = match name {
                    "year" => DatePart::Year,
                    "quarter" => DatePart::Quarter,
                    "month" => DatePart::Month,
                    "week" => DatePart::Week,
                    "dayofyear" => DatePart::DayOfYear,
                    "dayofmonth" => DatePart::Day,
                    _ => DatePart::DayOfWeekSunday0,
                };
                let parts = cast(&date_part(&times, part)?, &DataType::Int64)?;
                // Days of the week count from 1, Sunday.
                if name == "dayofweek" { Arc::new(parts.as_primitive::<Int64Type>().unary::<_, Int64Type>(|day| day + 1)) } else { parts }
            }
        };
        Ok(ColumnarValue::Array(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::call;

    fn time(text: &str) -> i64 {
        text.parse::<NaiveDateTime>().expect("a time").and_utc().timestamp_micros()
    }

    #[test]
    fn date_format_writes_java_patterns() {
        let us = time("2024-03-05T07:08:09.012345");
        for (pattern, expected) in [
            ("yyyy-MM-dd", "2024-03-05"),
            ("yyyy-MM-dd HH:mm:ss.SSS", "2024-03-05 07:08:09.012"),
            ("HH:mm", "07:08"),
            ("d.M.yy h a", "5.3.24 7 AM"),
            ("EEE dd MMM''yy", "Tue 05 Mar'24"),
            ("yyyy'T'", "2024T"),
            ("%Y/%m", "2024/03"),
        ] {
            let times = Arc::new(TimestampMicrosecondArray::from(vec![Some(us), None, Some(us + DAY_US), Some(us)]));
            let scalar = ColumnarValue::Scalar(ScalarValue::Utf8(Some(pattern.into())));
            let out = call(DateFormat::new(), vec![ColumnarValue::Array(times.clone()), scalar.clone()], 4);
            let out = out.as_string::<i32>();
            assert_eq!((out.value(0), out.is_null(1), out.value(3)), (expected, true, expected), "{pattern}");
            let by_row = ColumnarValue::Array(scalar.to_array(4).expect("an array"));
            assert_eq!(call(DateFormat::new(), vec![ColumnarValue::Array(times), by_row], 4).as_string::<i32>(), out);
        }
        for wrong in ["yyyy-QQ", "yyyyy", "'open", "%Q!"] {
            assert!(parse_pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_of_times_before_and_after_the_epoch() {
        let times: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![time("2024-03-05T07:08:09.012345"), time("1969-12-31T23:59:58.5")]));
        for (name, expected) in [
            ("year", [2024, 1969]),
            ("month", [3, 12]),
            ("dayofmonth", [5, 31]),
            ("dayofweek", [3, 4]),
            ("hour", [7, 23]),
            ("minute", [8, 59]),
            ("second", [9, 58]),
        ] {
            let out = call(TimePart::new(name), vec![ColumnarValue::Array(Arc::clone(&times))], 2);
            assert_eq!(out.as_primitive::<Int64Type>().values(), &expected, "{name}");
        }
    }
}
