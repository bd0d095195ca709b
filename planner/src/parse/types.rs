//! The types of columns, and the Arrow type each one is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed, quote};
use crate::error::nearest;
use crate::statement::{RowField, TypeKind, TypeName};
use crate::{PlanError, Span};

/// The names a type may be meant by.
const NAMES: [&str; 34] = [
    "BOOLEAN",
    "BOOL",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "VARCHAR",
    "CHAR",
    "STRING",
    "TEXT",
    "BYTES",
    "BYTEA",
    "BINARY",
    "VARBINARY",
    "BLOB",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "TIMESTAMPTZ",
    "DATETIME",
    "ARRAY",
    "MAP",
    "ROW",
    "STRUCT",
    "INT2",
    "INT4",
    "INT8",
];

/// Types may nest this deep.
const DEPTH_MAX: usize = 32;

/// The Arrow type of a declared type.
///
/// Timestamps are microseconds; `TIMESTAMP_LTZ` is in UTC. A map's entries are `entries: {key (not null), value}`, a list's
/// element is `item`; values and elements may be null.
pub fn arrow_type(name: &TypeName) -> DataType {
    match &name.kind {
        TypeKind::Boolean => DataType::Boolean,
        TypeKind::Int8 => DataType::Int8,
        TypeKind::Int16 => DataType::Int16,
        TypeKind::Int32 => DataType::Int32,
        TypeKind::Int64 => DataType::Int64,
        TypeKind::UInt8 => DataType::UInt8,
        TypeKind::UInt16 => DataType::UInt16,
        TypeKind::UInt32 => DataType::UInt32,
        TypeKind::UInt64 => DataType::UInt64,
        TypeKind::Float32 => DataType::Float32,
        TypeKind::Float64 => DataType::Float64,
        TypeKind::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
        TypeKind::Text => DataType::Utf8,
        TypeKind::Bytes => DataType::Binary,
        TypeKind::Date => DataType::Date32,
        TypeKind::Time => DataType::Time64(TimeUnit::Microsecond),
        TypeKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        TypeKind::TimestampUtc => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        TypeKind::Array(element) => DataType::List(Arc::new(Field::new_list_field(arrow_type(element), true))),
        TypeKind::Map(key, value) => map_of(arrow_type(key), arrow_type(value)),
        TypeKind::Row(fields) => DataType::Struct(
            fields.iter().map(|field| Field::new(&field.name.value, arrow_type(&field.data_type), !field.not_null)).collect::<Fields>(),
        ),
    }
}

/// A map as it is laid out everywhere.
pub(crate) fn map_of(key: DataType, value: DataType) -> DataType {
    let entry = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// Takes a type.
pub(super) fn take_type(cursor: &mut Cursor<'_>) -> Parsed<TypeName> {
    let mut closers = 0;
    let name = take_nested(cursor, &mut closers, 0)?;
    if closers > 0 {
        return Err(
            PlanError::new("parse::syntax", "\">\" closes nothing", cursor.since(cursor.at.saturating_sub(1))).label("one too many")
        );
    }
    Ok(name)
}

/// `closers` counts the `>` taken with a `>>` that belong to the types around this one.
fn take_nested(cursor: &mut Cursor<'_>, closers: &mut usize, depth: usize) -> Parsed<TypeName> {
    let start = cursor.at;
    if depth > DEPTH_MAX {
        return Err(PlanError::new("parse::too_deep", "type is nested too deeply", cursor.here()).label("too many levels"));
    }
    let kind = take_kind(cursor, closers, depth)?;
    let mut name = TypeName { kind, span: cursor.since(start) };
    loop {
        if *closers > 0 {
            break;
        }
        if cursor.sees_mark(&Token::LBracket) && cursor.peek_at(1).is_some_and(|tok| tok.is_mark(&Token::RBracket)) {
            cursor.at += 2;
        } else if !cursor.take(&["ARRAY"]) {
            break;
        }
        name = TypeName { kind: TypeKind::Array(Box::new(name)), span: cursor.since(start) };
    }
    Ok(name)
}

fn take_kind(cursor: &mut Cursor<'_>, closers: &mut usize, depth: usize) -> Parsed<TypeKind> {
    let Some(word) = cursor.peek().and_then(|tok| tok.word()) else { return Err(cursor.expected("a type")) };
    let span = cursor.here();
    cursor.at += 1;
    let signed = |cursor: &mut Cursor<'_>, signed: TypeKind, unsigned: TypeKind| if cursor.take(&["UNSIGNED"]) { unsigned } else { signed };
    Ok(match word.to_ascii_uppercase().as_str() {
        "BOOLEAN" | "BOOL" => TypeKind::Boolean,
        "TINYINT" | "INT1" => signed(cursor, TypeKind::Int8, TypeKind::UInt8),
        "SMALLINT" | "INT2" => signed(cursor, TypeKind::Int16, TypeKind::UInt16),
        "INT" | "INTEGER" | "INT4" => signed(cursor, TypeKind::Int32, TypeKind::UInt32),
        "BIGINT" | "INT8" | "LONG" => signed(cursor, TypeKind::Int64, TypeKind::UInt64),
        "FLOAT" | "REAL" | "FLOAT4" => TypeKind::Float32,
        "DOUBLE" => {
            cursor.take(&["PRECISION"]);
            TypeKind::Float64
        }
        "FLOAT8" => TypeKind::Float64,
        "DECIMAL" | "NUMERIC" | "DEC" => take_decimal(cursor)?,
        "VARCHAR" | "CHAR" | "CHARACTER" | "STRING" | "TEXT" | "NVARCHAR" => {
            cursor.take(&["VARYING"]);
            take_length(cursor)?;
            TypeKind::Text
        }
        "BYTES" | "BYTEA" | "BINARY" | "VARBINARY" | "BLOB" => {
            take_length(cursor)?;
            TypeKind::Bytes
        }
        "DATE" => TypeKind::Date,
        "TIME" => {
            take_precision(cursor, "times")?;
            cursor.take(&["WITHOUT", "TIME", "ZONE"]);
            TypeKind::Time
        }
        "TIMESTAMP" | "DATETIME" => {
            take_precision(cursor, "timestamps")?;
            if cursor.take(&["WITH", "LOCAL", "TIME", "ZONE"]) || cursor.take(&["WITH", "TIME", "ZONE"]) {
                TypeKind::TimestampUtc
            } else {
                cursor.take(&["WITHOUT", "TIME", "ZONE"]);
                TypeKind::Timestamp
            }
        }
        "TIMESTAMP_LTZ" | "TIMESTAMPTZ" | "TIMESTAMP_TZ" => {
            take_precision(cursor, "timestamps")?;
            TypeKind::TimestampUtc
        }
        "ARRAY" | "LIST" => {
            expect_open(cursor, "ARRAY<INT>")?;
            let element = take_nested(cursor, closers, depth + 1)?;
            expect_close(cursor, closers)?;
            TypeKind::Array(Box::new(element))
        }
        "MAP" => {
            expect_open(cursor, "MAP<VARCHAR, INT>")?;
            let key = take_nested(cursor, closers, depth + 1)?;
            cursor.expect_mark(&Token::Comma)?;
            let value = take_nested(cursor, closers, depth + 1)?;
            expect_close(cursor, closers)?;
            TypeKind::Map(Box::new(key), Box::new(value))
        }
        "ROW" | "STRUCT" => take_row(cursor, closers, depth)?,
        _ => {
            let near = nearest(word, NAMES);
            return Err(PlanError::new("parse::unknown_type", format!("unknown type {}", quote(word)), span)
                .label(near.map_or_else(|| "not a type".into(), |near| format!("did you mean {near}?")))
                .help("The types are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), VARCHAR, BYTES, DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ, ARRAY<t>, MAP<k, v> and ROW<a t, b t>."));
        }
    })
}

fn take_row(cursor: &mut Cursor<'_>, closers: &mut usize, depth: usize) -> Parsed<TypeKind> {
    let round = cursor.take_mark(&Token::LParen);
    if !round {
        expect_open(cursor, "ROW<a INT, b VARCHAR>")?;
    }
    let mut fields = Vec::new();
    loop {
        let name = cursor.name("the name of a field")?;
        cursor.take_mark(&Token::Colon);
        let data_type = take_nested(cursor, closers, depth + 1)?;
        let not_null = *closers == 0 && cursor.take(&["NOT", "NULL"]);
        if !not_null && *closers == 0 {
            cursor.take(&["NULL"]);
        }
        fields.push(RowField { name, data_type, not_null });
        if *closers > 0 || !cursor.take_mark(&Token::Comma) {
            break;
        }
    }
    if !round {
        expect_close(cursor, closers)?;
    } else if *closers > 0 {
        return Err(
            PlanError::new("parse::syntax", "\">\" closes \"(\"", cursor.since(cursor.at.saturating_sub(1))).label("expected \")\"")
        );
    } else {
        cursor.expect_mark(&Token::RParen)?;
    }
    Ok(TypeKind::Row(fields))
}

fn expect_open(cursor: &mut Cursor<'_>, example: &str) -> Parsed<()> {
    match cursor.expect_mark(&Token::Lt) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.help(format!("Write for example {example}."))),
    }
}

fn expect_close(cursor: &mut Cursor<'_>, closers: &mut usize) -> Parsed<()> {
    if let Some(less) = closers.checked_sub(1) {
        *closers = less;
    } else if cursor.take_mark(&Token::ShiftRight) {
        *closers += 1;
    } else {
        cursor.expect_mark(&Token::Gt)?;
    }
    Ok(())
}

/// Takes `(n)` with a whole number in it.
fn take_numbers(cursor: &mut Cursor<'_>) -> Parsed<Option<(Vec<u32>, Span)>> {
    if !cursor.sees_mark(&Token::LParen) {
        return Ok(None);
    }
    let start = cursor.at;
    cursor.at += 1;
    let mut numbers = Vec::new();
    loop {
        let number = match cursor.peek().map(|tok| &tok.token.token) {
            Some(Token::Number(digits, false)) => digits.parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return Err(cursor.expected("a whole number")) };
        numbers.push(number);
        cursor.at += 1;
        if !cursor.take_mark(&Token::Comma) {
            break;
        }
    }
    cursor.expect_mark(&Token::RParen)?;
    Ok(Some((numbers, cursor.since(start))))
}

fn wrong_argument(span: Span, message: impl Into<String>, help: &str) -> PlanError {
    PlanError::new("parse::type", message, span).label("cannot be").help(help)
}

fn take_length(cursor: &mut Cursor<'_>) -> Parsed<()> {
    match take_numbers(cursor)? {
        Some((numbers, span)) if numbers.len() != 1 => {
            Err(wrong_argument(span, "a length is one number", "Write for example VARCHAR(20), or VARCHAR."))
        }
        _ => Ok(()),
    }
}

fn take_precision(cursor: &mut Cursor<'_>, what: &str) -> Parsed<()> {
    match take_numbers(cursor)? {
        None => Ok(()),
        Some((numbers, _)) if numbers.len() == 1 && numbers[0] <= 6 => Ok(()),
        Some((_, span)) => Err(wrong_argument(span, format!("{what} are kept in microseconds"), "Write a precision from 0 to 6, or none.")),
    }
}

fn take_decimal(cursor: &mut Cursor<'_>) -> Parsed<TypeKind> {
    let Some((numbers, span)) = take_numbers(cursor)? else { return Ok(TypeKind::Decimal { precision: 38, scale: 10 }) };
    let wrong = || wrong_argument(span, "no such decimal", "Write DECIMAL(p, s) with 1 to 38 digits p, and s of them behind the point.");
    let (precision, scale) = match numbers.as_slice() {
        [precision] => (*precision, 0),
        [precision, scale] => (*precision, *scale),
        _ => return Err(wrong()),
    };
    if precision == 0 || precision > 38 || scale > precision {
        return Err(wrong());
    }
    Ok(TypeKind::Decimal { precision: u8::try_from(precision).map_err(|_| wrong())?, scale: i8::try_from(scale).map_err(|_| wrong())? })
}
