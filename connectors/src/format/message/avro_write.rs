//! Writing Avro: the schema that columns have, and rows in its binary form.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use serde_json::{Value, json};

use super::MessageEncoder;
use super::registry::{Registry, SchemaKind};
use crate::format::column::sql_name;

/// The schema of a record with these columns. Each that may be null is a union with null.
pub(super) fn schema_of(columns: &SchemaRef, name: &str) -> Result<Value, String> {
    let mut fields = Vec::new();
    for field in columns.fields() {
        let valid =
            |text: &str| text.chars().enumerate().all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()));
        if !valid(field.name()) {
            return Err(format!("\"{}\" is no name in Avro; rename the column", field.name()));
        }
        let of = nullable(field, &format!("{name}_{}", field.name()))?;
        fields.push(if field.is_nullable() {
            json!({"name": field.name(), "type": of, "default": null})
        } else {
            json!({"name": field.name(), "type": of})
        });
    }
    Ok(json!({"type": "record", "name": name, "fields": fields}))
}

fn nullable(field: &Field, name: &str) -> Result<Value, String> {
    let of = type_of(field.data_type(), name)?;
    Ok(if field.is_nullable() { json!(["null", of]) } else { of })
}

fn type_of(data_type: &DataType, name: &str) -> Result<Value, String> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => json!("int"),
        DataType::Int64 | DataType::UInt32 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("bytes"),
        DataType::Date32 => json!({"type": "int", "logicalType": "date"}),
        DataType::Time64(TimeUnit::Microsecond) => json!({"type": "long", "logicalType": "time-micros"}),
        DataType::Timestamp(TimeUnit::Microsecond, None) => json!({"type": "long", "logicalType": "local-timestamp-micros"}),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!({"type": "long", "logicalType": "timestamp-micros"}),
        DataType::Decimal128(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        DataType::Struct(fields) => schema_of(&std::sync::Arc::new(arrow::datatypes::Schema::new(fields.clone())), name)?,
        DataType::List(field) => json!({"type": "array", "items": nullable(field, name)?}),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields[0].data_type() == &DataType::Utf8 => {
                json!({"type": "map", "values": nullable(&fields[1], name)?})
            }
            _ => return Err("keys of maps are text in Avro".into()),
        },
        other => return Err(format!("format avro cannot carry {}", sql_name(other))),
    })
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends a cell, and before it which variant of the union it is, if it may be null.
fn cell(array: &ArrayRef, row: usize, nullable: bool, out: &mut Vec<u8>) -> Result<(), String> {
    if nullable {
        let valid = array.is_valid(row);
        long(i64::from(valid), out);
        if !valid {
            return Ok(());
        }
    }
    macro_rules! whole {
        ($type:ty) => {
            long(i64::from(array.as_primitive::<$type>().value(row)), out)
        };
    }
    match array.data_type() {
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Date32 => whole!(Date32Type),
        DataType::Time64(_) => whole!(Time64MicrosecondType),
        DataType::Timestamp(_, _) => whole!(TimestampMicrosecondType),
        DataType::Float32 => out.extend_from_slice(&array.as_primitive::<Float32Type>().value(row).to_le_bytes()),
        DataType::Float64 => out.extend_from_slice(&array.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        DataType::Utf8 => sized(array.as_string::<i32>().value(row).as_bytes(), out),
        DataType::Binary => sized(array.as_binary::<i32>().value(row), out),
        DataType::Decimal128(_, _) => {
            let bytes = array.as_primitive::<Decimal128Type>().value(row).to_be_bytes();
            // As few bytes as keep the sign.
            let spare = bytes.windows(2).take_while(|pair| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xff, 0x80))).count();
            sized(&bytes[spare..], out);
        }
        DataType::Struct(fields) => {
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                cell(column, row, field.is_nullable(), out)?;
            }
        }
        DataType::List(field) => {
            let values = array.as_list::<i32>().value(row);
            block(values.len(), out, |at, out| cell(&values, at, field.is_nullable(), out))?;
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Err("a map without entries".into()) };
            let values = array.as_map().value(row);
            let (keys, items) = (values.column(0), values.column(1));
            block(values.len(), out, |at, out| {
                cell(keys, at, false, out)?;
                cell(items, at, fields[1].is_nullable(), out)
            })?;
        }
        other => return Err(format!("format avro cannot carry {}", sql_name(other))),
    }
    Ok(())
}

fn block(count: usize, out: &mut Vec<u8>, mut each: impl FnMut(usize, &mut Vec<u8>) -> Result<(), String>) -> Result<(), String> {
    if count > 0 {
        long(count as i64, out);
        (0..count).try_for_each(|at| each(at, out))?;
    }
    long(0, out);
    Ok(())
}

/// Writes Avro.
pub(crate) struct AvroEncoding {
    schema: SchemaRef,
    text: String,
    registry: Option<Registry>,
    kind: SchemaKind,
    /// The five bytes before each value, once the registry has given the schema its number.
    frame: Option<[u8; 5]>,
}

impl AvroEncoding {
    pub(crate) fn new(schema: &SchemaRef, registry: Option<Registry>, kind: SchemaKind) -> Result<Self, String> {
        let text = schema_of(schema, if kind == SchemaKind::Key { "key" } else { "value" })?.to_string();
        Ok(Self { schema: schema.clone(), text, registry, kind, frame: None })
    }
}

impl MessageEncoder for AvroEncoding {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        if let (Some(registry), None) = (&self.registry, self.frame) {
            let [a, b, c, d] = registry.register(self.kind, &self.text)?.to_be_bytes();
            self.frame = Some([0, a, b, c, d]);
        }
        for row in 0..rows.num_rows() {
            if let Some(frame) = &self.frame {
                out.extend_from_slice(frame);
            }
            for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
                cell(column, row, field.is_nullable(), out)?;
            }
            ends.push(out.len());
        }
        Ok(())
    }
}
