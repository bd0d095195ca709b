//! Values to text: one formatter for each column of a batch, chosen once, so that a cell costs one branch.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Offset, TimeZone};

use crate::format::parse::{base64, time};

/// How timestamps are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampStyle {
    /// `2024-01-01T00:00:00.123`.
    #[default]
    Iso,
    /// `2024-01-01 00:00:00.123`.
    Sql,
}

impl TimestampStyle {
    fn separator(self) -> u8 {
        match self {
            Self::Iso => b'T',
            Self::Sql => b' ',
        }
    }
}

/// The cells of a column.
pub(crate) struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
    style: TimestampStyle,
}

enum Kind<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], i8),
    Date32(&'a [i32]),
    Date64(&'a [i64]),
    /// Ticks, and nanoseconds in one.
    Time32(&'a [i32], i64),
    Time64(&'a [i64], i64),
    Timestamp(&'a [i64], TimeUnit, Option<Tz>),
    Utf8(&'a StringArray),
    LargeUtf8(&'a arrow::array::LargeStringArray),
    Utf8View(&'a arrow::array::StringViewArray),
    Binary(&'a arrow::array::BinaryArray),
    LargeBinary(&'a arrow::array::LargeBinaryArray),
    BinaryView(&'a arrow::array::BinaryViewArray),
    FixedBinary(&'a arrow::array::FixedSizeBinaryArray),
    /// Each with its key as JSON: quotes, escapes and colon.
    Struct(Vec<(Vec<u8>, Cells<'a>)>),
    List(&'a OffsetBuffer<i32>, Box<Cells<'a>>),
    LargeList(&'a OffsetBuffer<i64>, Box<Cells<'a>>),
    FixedList(usize, Box<Cells<'a>>),
    Map(&'a OffsetBuffer<i32>, Box<(Cells<'a>, Cells<'a>)>),
    Dictionary(Vec<usize>, Box<Cells<'a>>),
    /// Types that are rare enough for Arrow's own formatter.
    Other(ArrayFormatter<'a>),
    /// A type nothing can write; the reason.
    Refused(Arc<str>),
}

fn values<T: ArrowPrimitiveType>(array: &dyn Array) -> &[T::Native] {
    array.as_primitive::<T>().values()
}

impl<'a> Cells<'a> {
    /// For a column.
    pub(crate) fn new(array: &'a dyn Array, style: TimestampStyle) -> Self {
        let child = |array: &'a dyn Array| Self::new(array, style);
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean()),
            DataType::Int8 => Kind::Int8(values::<Int8Type>(array)),
            DataType::Int16 => Kind::Int16(values::<Int16Type>(array)),
            DataType::Int32 => Kind::Int32(values::<Int32Type>(array)),
            DataType::Int64 => Kind::Int64(values::<Int64Type>(array)),
            DataType::UInt8 => Kind::UInt8(values::<UInt8Type>(array)),
            DataType::UInt16 => Kind::UInt16(values::<UInt16Type>(array)),
            DataType::UInt32 => Kind::UInt32(values::<UInt32Type>(array)),
            DataType::UInt64 => Kind::UInt64(values::<UInt64Type>(array)),
            DataType::Float32 => Kind::Float32(values::<Float32Type>(array)),
            DataType::Float64 => Kind::Float64(values::<Float64Type>(array)),
            DataType::Decimal128(_, scale) => Kind::Decimal(values::<Decimal128Type>(array), *scale),
            DataType::Date32 => Kind::Date32(values::<Date32Type>(array)),
            DataType::Date64 => Kind::Date64(values::<Date64Type>(array)),
            DataType::Time32(TimeUnit::Second) => Kind::Time32(values::<Time32SecondType>(array), 1_000_000_000),
            DataType::Time32(TimeUnit::Millisecond) => Kind::Time32(values::<Time32MillisecondType>(array), 1_000_000),
            DataType::Time64(TimeUnit::Microsecond) => Kind::Time64(values::<Time64MicrosecondType>(array), 1_000),
            DataType::Time64(TimeUnit::Nanosecond) => Kind::Time64(values::<Time64NanosecondType>(array), 1),
            DataType::Timestamp(unit, zone) => {
                let ticks = match unit {
                    TimeUnit::Second => values::<TimestampSecondType>(array),
                    TimeUnit::Millisecond => values::<TimestampMillisecondType>(array),
                    TimeUnit::Microsecond => values::<TimestampMicrosecondType>(array),
                    TimeUnit::Nanosecond => values::<TimestampNanosecondType>(array),
                };
                match zone.as_ref().map(|zone| zone.parse::<Tz>()) {
                    None => Kind::Timestamp(ticks, *unit, None),
                    Some(Ok(zone)) => Kind::Timestamp(ticks, *unit, Some(zone)),
                    Some(Err(error)) => Kind::Refused(error.to_string().into()),
                }
            }
            DataType::Utf8 => Kind::Utf8(array.as_string()),
            DataType::LargeUtf8 => Kind::LargeUtf8(array.as_string()),
            DataType::Utf8View => Kind::Utf8View(array.as_string_view()),
            DataType::Binary => Kind::Binary(array.as_binary()),
            DataType::LargeBinary => Kind::LargeBinary(array.as_binary()),
            DataType::BinaryView => Kind::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Kind::FixedBinary(array.as_fixed_size_binary()),
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter();
                Kind::Struct(fields.iter().zip(columns).map(|(field, column)| (key(field.name()), child(column))).collect())
            }
            DataType::List(_) => Kind::List(array.as_list().offsets(), Box::new(child(array.as_list::<i32>().values()))),
            DataType::LargeList(_) => Kind::LargeList(array.as_list().offsets(), Box::new(child(array.as_list::<i64>().values()))),
            DataType::FixedSizeList(_, size) => Kind::FixedList(*size as usize, Box::new(child(array.as_fixed_size_list().values()))),
            DataType::Map(_, _) => {
                let map = array.as_map();
                Kind::Map(map.offsets(), Box::new((child(map.keys()), child(map.values()))))
            }
            DataType::Dictionary(_, _) if !array.as_any_dictionary().values().is_empty() => {
                let dictionary = array.as_any_dictionary();
                Kind::Dictionary(dictionary.normalized_keys(), Box::new(child(dictionary.values().as_ref())))
            }
            DataType::Dictionary(_, _) => Kind::Null,
            _ => match ArrayFormatter::try_new(array, &OTHER) {
                Ok(formatter) => Kind::Other(formatter),
                Err(error) => Kind::Refused(error.to_string().into()),
            },
        };
        Self { nulls: array.nulls(), kind, style }
    }

    /// Whether a cell is null.
    #[inline(always)]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match (&self.kind, self.nulls) {
            (Kind::Null, _) => true,
            (_, Some(nulls)) if nulls.is_null(row) => true,
            (Kind::Dictionary(keys, values), _) => values.is_null(keys[row]),
            _ => false,
        }
    }

    /// Appends a cell as JSON.
    #[inline]
    pub(crate) fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.kind {
            Kind::Utf8(array) => json_string(array.value(row), out),
            Kind::LargeUtf8(array) => json_string(array.value(row), out),
            Kind::Utf8View(array) => json_string(array.value(row), out),
            Kind::Float32(values) if !values[row].is_finite() => out.extend_from_slice(b"null"),
            Kind::Float64(values) if !values[row].is_finite() => out.extend_from_slice(b"null"),
            Kind::Date32(_)
            | Kind::Date64(_)
            | Kind::Time32(..)
            | Kind::Time64(..)
            | Kind::Timestamp(..)
            | Kind::Binary(_)
            | Kind::LargeBinary(_)
            | Kind::BinaryView(_)
            | Kind::FixedBinary(_) => {
                out.push(b'"');
                self.text(row, out);
                out.push(b'"');
            }
            Kind::Other(_) | Kind::Refused(_) => json_string(&self.other(row), out),
            Kind::Dictionary(keys, values) => values.json(keys[row], out),
            _ => self.text(row, out),
        }
    }

    /// Appends a cell, which is not null, as plain text: strings as they are, nested values as JSON.
    #[inline]
    pub(crate) fn text(&self, row: usize, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Null => {}
            Kind::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Kind::Int8(values) => integer(values[row], out),
            Kind::Int16(values) => integer(values[row], out),
            Kind::Int32(values) => integer(values[row], out),
            Kind::Int64(values) => integer(values[row], out),
            Kind::UInt8(values) => integer(values[row], out),
            Kind::UInt16(values) => integer(values[row], out),
            Kind::UInt32(values) => integer(values[row], out),
            Kind::UInt64(values) => integer(values[row], out),
            Kind::Float32(values) => out.extend_from_slice(ryu::Buffer::new().format(values[row]).as_bytes()),
            Kind::Float64(values) => out.extend_from_slice(ryu::Buffer::new().format(values[row]).as_bytes()),
            Kind::Decimal(values, scale) => decimal(values[row], *scale, out),
            Kind::Date32(values) => time::write_date(i64::from(values[row]), out),
            Kind::Date64(values) => time::write_date(values[row].div_euclid(86_400_000), out),
            Kind::Time32(values, nanos) => time::write_time(i64::from(values[row]) * nanos, out),
            Kind::Time64(values, nanos) => time::write_time(values[row] * nanos, out),
            Kind::Timestamp(values, unit, None) => time::write_timestamp(values[row], *unit, self.style.separator(), out),
            Kind::Timestamp(values, unit, Some(zone)) => zoned(values[row], *unit, zone, self.style, out),
            Kind::Utf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::LargeUtf8(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Utf8View(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Binary(array) => base64::encode(array.value(row), out),
            Kind::LargeBinary(array) => base64::encode(array.value(row), out),
            Kind::BinaryView(array) => base64::encode(array.value(row), out),
            Kind::FixedBinary(array) => base64::encode(array.value(row), out),
            Kind::Struct(fields) => {
                out.push(b'{');
                for (at, (key, cells)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    cells.json(row, out);
                }
                out.push(b'}');
            }
            Kind::List(offsets, cells) => list(cells, offsets[row] as usize, offsets[row + 1] as usize, out),
            Kind::LargeList(offsets, cells) => list(cells, offsets[row] as usize, offsets[row + 1] as usize, out),
            Kind::FixedList(size, cells) => list(cells, row * size, (row + 1) * size, out),
            Kind::Map(offsets, entries) => {
                let (keys, values) = &**entries;
                out.push(b'{');
                for entry in offsets[row] as usize..offsets[row + 1] as usize {
                    if entry > offsets[row] as usize {
                        out.push(b',');
                    }
                    map_key(keys, entry, out);
                    out.push(b':');
                    values.json(entry, out);
                }
                out.push(b'}');
            }
            Kind::Dictionary(keys, values) => values.text(keys[row], out),
            Kind::Other(_) | Kind::Refused(_) => out.extend_from_slice(self.other(row).as_bytes()),
        }
    }

    fn other(&self, row: usize) -> String {
        match &self.kind {
            Kind::Other(formatter) => {
                let mut text = String::new();
                match formatter.value(row).write(&mut text) {
                    Ok(()) => text,
                    Err(error) => error.to_string(),
                }
            }
            Kind::Refused(reason) => reason.to_string(),
            _ => String::new(),
        }
    }

    /// Whether a cell may hold any characters; the others hold digits, signs and words.
    pub(crate) fn is_free_text(&self) -> bool {
        match &self.kind {
            Kind::Null
            | Kind::Boolean(_)
            | Kind::Int8(_)
            | Kind::Int16(_)
            | Kind::Int32(_)
            | Kind::Int64(_)
            | Kind::UInt8(_)
            | Kind::UInt16(_)
            | Kind::UInt32(_)
            | Kind::UInt64(_)
            | Kind::Float32(_)
            | Kind::Float64(_)
            | Kind::Decimal(..)
            | Kind::Date32(_)
            | Kind::Date64(_)
            | Kind::Time32(..)
            | Kind::Time64(..)
            | Kind::Timestamp(..) => false,
            Kind::Dictionary(_, values) => values.is_free_text(),
            _ => true,
        }
    }
}

static OTHER: FormatOptions<'static> = FormatOptions::new();

#[inline(always)]
fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a decimal with all digits of its scale.
fn decimal(value: i128, scale: i8, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    match usize::try_from(scale) {
        Ok(0) => out.extend_from_slice(digits),
        Ok(scale) => {
            let whole = digits.len().saturating_sub(scale);
            out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
            out.push(b'.');
            out.extend((digits.len()..scale).map(|_| b'0'));
            out.extend_from_slice(&digits[whole..]);
        }
        Err(_) => {
            out.extend_from_slice(digits);
            if value != 0 {
                out.extend((0..scale.unsigned_abs()).map(|_| b'0'));
            }
        }
    }
}

fn zoned(ticks: i64, unit: TimeUnit, zone: &Tz, style: TimestampStyle, out: &mut Vec<u8>) {
    let per_second = time::per_second(unit);
    let local = DateTime::from_timestamp(ticks.div_euclid(per_second), 0)
        .map(|utc| zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
        .filter(|offset| offset % 60 == 0)
        .and_then(|offset| Some((i64::from(offset).checked_mul(per_second)?.checked_add(ticks)?, offset)));
    // Offsets with seconds, of times before time zones, have no written form: such times are written in UTC.
    let (ticks, offset) = local.unwrap_or((ticks, 0));
    time::write_timestamp(ticks, unit, style.separator(), out);
    time::write_offset(offset, out);
}

fn list(cells: &Cells<'_>, start: usize, end: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for at in start..end {
        if at > start {
            out.push(b',');
        }
        cells.json(at, out);
    }
    out.push(b']');
}

/// Keys of JSON objects are strings, whatever the keys of the map are.
fn map_key(keys: &Cells<'_>, entry: usize, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    keys.text(entry, &mut text);
    json_string(&String::from_utf8_lossy(&text), out);
}

/// A key of JSON with its colon.
pub(crate) fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    json_string(name, &mut key);
    key.push(b':');
    key
}

/// Appends a string of JSON, quotes and escapes included.
#[inline]
pub(crate) fn json_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let (mut written, mut at) = (0, 0);
    while at < bytes.len() {
        if let Some(word) = crate::format::parse::load8(bytes, at)
            && !needs_escape(word)
        {
            at += 8;
            continue;
        }
        let end = bytes.len().min(at + 8);
        while at < end {
            let byte = bytes[at];
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                out.extend_from_slice(&bytes[written..at]);
                escape(byte, out);
                written = at + 1;
            }
            at += 1;
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Whether any of eight bytes is a quote, a backslash or a control character. May say yes without need, never no.
#[inline(always)]
fn needs_escape(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control) & HIGH != 0
}

#[cold]
fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
