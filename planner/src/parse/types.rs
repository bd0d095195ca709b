//! The types of columns, and the Arrow type each one is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::statement::{TypeKind, TypeName};

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
        TypeKind::Map(key, value) => {
            let entry = Fields::from(vec![Field::new("key", arrow_type(key), false), Field::new("value", arrow_type(value), true)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
        }
        TypeKind::Row(fields) => DataType::Struct(
            fields.iter().map(|field| Field::new(&field.name.value, arrow_type(&field.data_type), !field.not_null)).collect::<Fields>(),
        ),
    }
}
