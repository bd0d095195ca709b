//! About how many bytes a row takes in memory: what generated chunks are accounted with, since no bytes were read for them.

use arrow::datatypes::{DataType, Schema};

/// Bytes of a value of no fixed width, with its offset.
const TEXT_BYTES: u64 = 32;

/// About the bytes of one row; at least one, so that rows without columns count too.
pub(crate) fn row_bytes(schema: &Schema) -> u64 {
    schema.fields().iter().map(|field| value_bytes(field.data_type())).sum::<u64>().max(1)
}

fn value_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| value_bytes(field.data_type())).sum(),
        DataType::Boolean => 1,
        other => other.primitive_width().map_or(TEXT_BYTES, |width| width as u64),
    }
}
