//! Values without parts, from text. The hot types have faster ways in, beside the formats; what those do not take comes here.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Offset, TimeZone};

use super::{Column, Zone};
use crate::format::fault::{Fallible, Fault, excerpt};
use crate::format::parse::base64;
use crate::format::parse::number::{self, NumberFault};
use crate::format::parse::time::{self, Stamp};

/// A type as SQL names it, for messages.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".into(),
        DataType::Struct(_) => "STRUCT".into(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => "ARRAY".into(),
        DataType::Map(_, _) => "MAP".into(),
        other => other.to_string(),
    }
}

impl Column {
    /// The type as SQL names it, for messages.
    pub(crate) fn sql_name(&self) -> String {
        match self {
            Self::Null(_) => "NULL",
            Self::Boolean(_) => "BOOLEAN",
            Self::Int8(_) => "TINYINT",
            Self::Int16(_) => "SMALLINT",
            Self::Int32(_) => "INT",
            Self::Int64(_) => "BIGINT",
            Self::UInt8(_) => "TINYINT UNSIGNED",
            Self::UInt16(_) => "SMALLINT UNSIGNED",
            Self::UInt32(_) => "INT UNSIGNED",
            Self::UInt64(_) => "BIGINT UNSIGNED",
            Self::Float32(_) => "FLOAT",
            Self::Float64(_) => "DOUBLE",
            Self::Decimal(_, precision, scale) => return format!("DECIMAL({precision}, {scale})"),
            Self::Date32(_) | Self::Date64(_) => "DATE",
            Self::Time32(..) | Self::Time64(..) => "TIME",
            Self::Timestamp(_, _, None) => "TIMESTAMP",
            Self::Timestamp(_, _, Some(_)) => "TIMESTAMP WITH TIME ZONE",
            Self::Text(_) => "VARCHAR",
            Self::Binary(_) => "BYTEA",
            Self::Struct(_) => "STRUCT",
            Self::List(_) => "ARRAY",
            Self::Map(_) => "MAP",
        }
        .into()
    }

    /// A fault: something else was found.
    #[cold]
    pub(crate) fn expected(&self, found: &[u8]) -> Box<Fault> {
        Fault::new(format!("expected {}, found {}", self.sql_name(), excerpt(found)))
    }

    #[cold]
    fn refuse(&self, fault: NumberFault, found: &[u8]) -> Box<Fault> {
        let (found, name) = (excerpt(found), self.sql_name());
        Fault::new(match fault {
            NumberFault::Syntax => format!("expected {name}, found {found}"),
            NumberFault::Range => format!("{found} is out of range for {name}"),
            NumberFault::Inexact if matches!(self, Self::Decimal(..)) => format!("{found} has more digits behind the point than {name}"),
            NumberFault::Inexact => format!("expected {name}, found {found}, which is not whole"),
        })
    }

    /// Appends the value a text stands for: a field of CSV, a string of JSON, a key of a map. An integer that stands for a
    /// timestamp counts `unit`s.
    pub(crate) fn push_text(&mut self, text: &str, unit: TimeUnit) -> Fallible<()> {
        let bytes = text.as_bytes();
        match self {
            Self::Text(varying) => varying.push(text),
            Self::Binary(varying) => varying.push_with(|out| {
                base64::decode(bytes, out).ok_or_else(|| Fault::new(format!("expected base64, found \"{}\"", excerpt(bytes))))
            }),
            Self::Boolean(fixed) => {
                fixed.push(match bytes.trim_ascii() {
                    b"1" | b"t" | b"T" => true,
                    b"0" | b"f" | b"F" => false,
                    word if word.eq_ignore_ascii_case(b"true") => true,
                    word if word.eq_ignore_ascii_case(b"false") => false,
                    _ => return Err(self.expected(&quoted(bytes))),
                });
                Ok(())
            }
            Self::Date32(fixed) => match time::date(bytes.trim_ascii()).and_then(|days| i32::try_from(days).ok()) {
                Some(days) => {
                    fixed.push(days);
                    Ok(())
                }
                None => Err(self.expected(&quoted(bytes))),
            },
            Self::Date64(fixed) => match time::date(bytes.trim_ascii()).and_then(|days| days.checked_mul(86_400_000)) {
                Some(millis) => {
                    fixed.push(millis);
                    Ok(())
                }
                None => Err(self.expected(&quoted(bytes))),
            },
            Self::Time32(fixed, unit) => match time::time_of_day(bytes.trim_ascii()) {
                Some(nanos) => {
                    fixed.push((nanos / (1_000_000_000 / time::per_second(*unit))) as i32);
                    Ok(())
                }
                None => Err(self.expected(&quoted(bytes))),
            },
            Self::Time64(fixed, unit) => match time::time_of_day(bytes.trim_ascii()) {
                Some(nanos) => {
                    fixed.push(nanos / (1_000_000_000 / time::per_second(*unit)));
                    Ok(())
                }
                None => Err(self.expected(&quoted(bytes))),
            },
            Self::Timestamp(..) => self.push_timestamp(bytes.trim_ascii(), unit),
            Self::Null(_) | Self::Struct(_) | Self::List(_) | Self::Map(_) => Err(self.expected(&quoted(bytes))),
            _ => self.push_digits(bytes.trim_ascii(), unit, true),
        }
    }

    /// Appends the value a number of JSON stands for.
    pub(crate) fn push_number(&mut self, digits: &[u8], unit: TimeUnit) -> Fallible<()> {
        self.push_digits(digits, unit, false)
    }

    fn push_digits(&mut self, digits: &[u8], count: TimeUnit, words: bool) -> Fallible<()> {
        macro_rules! whole {
            ($fixed:expr) => {
                match number::integer(digits).and_then(|value| value.try_into().map_err(|_| NumberFault::Range)) {
                    Ok(value) => {
                        $fixed.push(value);
                        Ok(())
                    }
                    Err(fault) => Err(fault),
                }
            };
        }
        let pushed = match self {
            Self::Int8(fixed) => whole!(fixed),
            Self::Int16(fixed) => whole!(fixed),
            Self::Int32(fixed) => whole!(fixed),
            Self::Int64(fixed) => whole!(fixed),
            Self::UInt8(fixed) => whole!(fixed),
            Self::UInt16(fixed) => whole!(fixed),
            Self::UInt32(fixed) => whole!(fixed),
            Self::UInt64(fixed) => whole!(fixed),
            Self::Float32(fixed) => number::float(digits, words).map(|value| fixed.push(value)),
            Self::Float64(fixed) => number::double(digits, words).map(|value| fixed.push(value)),
            Self::Decimal(fixed, precision, scale) => number::decimal(digits, *precision, *scale).map(|value| fixed.push(value)),
            Self::Timestamp(fixed, unit, _) => number::integer(digits)
                .and_then(|value| rescale(value, count, *unit).ok_or(NumberFault::Range))
                .map(|value| fixed.push(value)),
            _ => Err(NumberFault::Syntax),
        };
        pushed.map_err(|fault| self.refuse(fault, digits))
    }

    /// Appends a timestamp from its text.
    #[inline]
    pub(crate) fn push_timestamp(&mut self, text: &[u8], count: TimeUnit) -> Fallible<()> {
        let Self::Timestamp(fixed, unit, zone) = self else { return Err(self.expected(&quoted(text))) };
        let Some(mut stamp) = time::timestamp(text) else {
            return match number::plain_integer(text) {
                Some(_) => self.push_digits(text, count, false),
                None => Err(self.expected(&quoted(text))),
            };
        };
        if let (Some(zone), None) = (&zone, stamp.offset) {
            let Some(offset) = local_offset(stamp, zone) else {
                return Err(Fault::new(format!("there is no {} in the time zone of the column", excerpt(text))));
            };
            stamp.offset = Some(offset);
        }
        match stamp.ticks(*unit) {
            Some(ticks) => {
                fixed.push(ticks);
                Ok(())
            }
            None => Err(self.refuse(NumberFault::Range, text)),
        }
    }
}

#[cold]
fn quoted(text: &[u8]) -> Vec<u8> {
    format!("\"{}\"", excerpt(text)).into_bytes()
}

/// What a local time of a zone is behind UTC, in seconds: the earlier where it happens twice, `None` where it never does.
fn local_offset(stamp: Stamp, zone: &Zone) -> Option<i32> {
    let seconds = stamp.days * 86_400 + stamp.nanos / 1_000_000_000;
    let local = DateTime::from_timestamp(seconds, (stamp.nanos % 1_000_000_000) as u32)?.naive_utc();
    Some(zone.offset_from_local_datetime(&local).earliest()?.fix().local_minus_utc())
}

/// A count of one unit in another, rounded down.
fn rescale(value: i128, from: TimeUnit, to: TimeUnit) -> Option<i64> {
    let (from, to) = (i128::from(time::per_second(from)), i128::from(time::per_second(to)));
    let ticks = if to >= from { value.checked_mul(to / from)? } else { value.div_euclid(from / to) };
    i64::try_from(ticks).ok()
}
