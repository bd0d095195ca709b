//! Messages that are one value, without any framing: text, bytes, or a number with its most significant byte first.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef};

use super::{DecodedValues, MessageDecoder, MessageEncoder, Values};
use crate::format::column::{Column, sql_name};
use crate::format::fault::{Fallible, Fault};

/// The one column of raw messages.
fn one_column(schema: &SchemaRef) -> Result<&DataType, String> {
    let [field] = schema.fields().as_ref() else {
        return Err(format!("format raw is for one column, and there are {}", schema.fields().len()));
    };
    match field.data_type() {
        supported @ (DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64) => Ok(supported),
        other => Err(format!(
            "format raw cannot carry \"{}\", which is {}; it carries VARCHAR, BYTEA, BOOLEAN, whole numbers and floats",
            field.name(),
            sql_name(other)
        )),
    }
}

/// Decodes raw values.
pub(crate) struct RawMessages {
    /// `None` if the column is not read.
    column: Option<(Column, DataType)>,
}

impl RawMessages {
    pub(crate) fn new(all: &SchemaRef, read: &SchemaRef) -> Result<Self, String> {
        let data_type = one_column(all)?;
        let column = match read.fields().is_empty() {
            true => None,
            false => Some((Column::new(data_type)?, data_type.clone())),
        };
        Ok(Self { column })
    }
}

fn push(column: &mut Column, value: &[u8]) -> Fallible<()> {
    fn exact<const N: usize>(value: &[u8]) -> Fallible<[u8; N]> {
        value.try_into().map_err(|_| Fault::new(format!("expected {N} bytes, found {}", value.len())))
    }
    match column {
        Column::Text(varying) => match simdutf8::basic::from_utf8(value) {
            Ok(text) => varying.push(text)?,
            Err(_) => return Err(Fault::new("invalid UTF-8")),
        },
        Column::Binary(varying) => varying.push_with(|out| {
            out.extend_from_slice(value);
            Ok(())
        })?,
        Column::Boolean(fixed) => match exact(value)? {
            [0] => fixed.push(false),
            [1] => fixed.push(true),
            [other] => return Err(Fault::new(format!("expected the byte 0 or 1, found {other}"))),
        },
        Column::Int8(fixed) => fixed.push(i8::from_be_bytes(exact(value)?)),
        Column::Int16(fixed) => fixed.push(i16::from_be_bytes(exact(value)?)),
        Column::Int32(fixed) => fixed.push(i32::from_be_bytes(exact(value)?)),
        Column::Int64(fixed) => fixed.push(i64::from_be_bytes(exact(value)?)),
        Column::Float32(fixed) => fixed.push(f32::from_be_bytes(exact(value)?)),
        Column::Float64(fixed) => fixed.push(f64::from_be_bytes(exact(value)?)),
        other => return Err(Fault::new(format!("{} has no raw form", other.sql_name()))),
    }
    Ok(())
}

impl MessageDecoder for RawMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let (mut places, mut errors) = (Vec::with_capacity(values.len()), Vec::new());
        for (place, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let pushed = match &mut self.column {
                Some((column, _)) => push(column, value),
                None => Ok(()),
            };
            match pushed {
                Ok(()) => places.push(place as u32),
                Err(fault) => errors.push((place as u32, fault.sentence())),
            }
        }
        let columns = self.column.iter_mut().map(|(column, data_type)| column.finish(data_type)).collect();
        let rows = places.len();
        Ok(DecodedValues { columns, rows, places: (rows < values.len()).then_some(places), diffs: None, errors })
    }
}

/// Writes raw values.
pub(crate) struct RawEncoding;

impl RawEncoding {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, String> {
        one_column(schema).map(|_| Self)
    }
}

impl MessageEncoder for RawEncoding {
    /// Null is written as an empty value: a caller that can write null sees it in the column.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        let array = rows.column(0);
        macro_rules! numbers {
            ($type:ty) => {{
                let values = array.as_primitive::<$type>().values();
                each(array, out, ends, |row, out| out.extend_from_slice(&values[row].to_be_bytes()))
            }};
        }
        match array.data_type() {
            DataType::Utf8 => each(array, out, ends, |row, out| out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes())),
            DataType::LargeUtf8 => each(array, out, ends, |row, out| out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes())),
            DataType::Utf8View => each(array, out, ends, |row, out| out.extend_from_slice(array.as_string_view().value(row).as_bytes())),
            DataType::Binary => each(array, out, ends, |row, out| out.extend_from_slice(array.as_binary::<i32>().value(row))),
            DataType::LargeBinary => each(array, out, ends, |row, out| out.extend_from_slice(array.as_binary::<i64>().value(row))),
            DataType::BinaryView => each(array, out, ends, |row, out| out.extend_from_slice(array.as_binary_view().value(row))),
            DataType::Boolean => each(array, out, ends, |row, out| out.push(u8::from(array.as_boolean().value(row)))),
            DataType::Int8 => numbers!(Int8Type),
            DataType::Int16 => numbers!(Int16Type),
            DataType::Int32 => numbers!(Int32Type),
            DataType::Int64 => numbers!(Int64Type),
            DataType::Float32 => numbers!(Float32Type),
            DataType::Float64 => numbers!(Float64Type),
            other => return Err(format!("format raw cannot carry {}", sql_name(other))),
        }
        Ok(())
    }
}

fn each(array: &dyn Array, out: &mut Vec<u8>, ends: &mut Vec<usize>, write: impl Fn(usize, &mut Vec<u8>)) {
    for row in 0..array.len() {
        if array.is_valid(row) {
            write(row, out);
        }
        ends.push(out.len());
    }
}
