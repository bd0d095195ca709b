//! Columns as bytes that order as the rows do, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, SortField};

use crate::state::key_rows::normal_zero;

/// Some columns as one string of bytes for each row.
pub struct RowCodec {
    types: Vec<DataType>,
    /// None for no columns.
    converter: Option<RowConverter>,
    /// Zeros and NaNs of floats are made one: equal values have equal bytes, but come back as another of their kind.
    normal: bool,
}

impl std::fmt::Debug for RowCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCodec").field("types", &self.types).finish_non_exhaustive()
    }
}

impl RowCodec {
    /// A codec whose bytes order as the sort keys say; each is a type, descending, nulls first.
    ///
    /// # Errors
    /// When a type has no order.
    pub fn ordering(keys: &[(DataType, bool, bool)]) -> Result<Self, String> {
        let fields = keys.iter().map(|(data_type, descending, nulls_first)| {
            let options = SortOptions { descending: *descending, nulls_first: *nulls_first };
            SortField::new_with_options(data_type.clone(), options)
        });
        Self::new(keys.iter().map(|key| key.0.clone()).collect(), fields.collect(), true)
    }

    /// A codec from whose bytes the very same values come back.
    ///
    /// # Errors
    /// When a type cannot be encoded.
    pub fn keeping(types: &[DataType]) -> Result<Self, String> {
        Self::new(types.to_vec(), types.iter().map(|data_type| SortField::new(data_type.clone())).collect(), false)
    }

    fn new(types: Vec<DataType>, fields: Vec<SortField>, normal: bool) -> Result<Self, String> {
        let converter = if types.is_empty() { None } else { Some(RowConverter::new(fields).map_err(|error| error.to_string())?) };
        Ok(Self { types, converter, normal })
    }

    /// The types of the columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The bytes of `rows` rows.
    ///
    /// # Errors
    /// When they exceed 2 GiB.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<BinaryArray, String> {
        let Some(converter) = &self.converter else {
            return Ok(BinaryArray::new(OffsetBuffer::new_zeroed(rows), Buffer::from_vec(Vec::<u8>::new()), None));
        };
        let encoded = if self.normal {
            let columns: Vec<ArrayRef> = columns.iter().map(normal_zero).collect();
            converter.convert_columns(&columns)
        } else {
            converter.convert_columns(columns)
        };
        encoded.and_then(arrow_row::Rows::try_into_binary).map_err(|error| error.to_string())
    }

    /// The columns of rows given as bytes.
    ///
    /// # Panics
    /// When the bytes are not of this codec.
    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
        let Some(converter) = &self.converter else { return Vec::new() };
        let parser = converter.parser();
        let columns = converter.convert_rows(rows.map(|bytes| parser.parse(bytes))).expect("rows were encoded by this codec");
        let of_type = |(column, wanted): (ArrayRef, &DataType)| {
            // Dictionaries come back as their values.
            if column.data_type() == wanted { column } else { cast(&column, wanted).expect("values of a dictionary") }
        };
        columns.into_iter().zip(&self.types).map(of_type).collect()
    }
}

/// A column of a keyed batch as bytes.
pub(crate) fn binary(column: &ArrayRef) -> &BinaryArray {
    use arrow::array::AsArray;
    column.as_binary()
}

/// Bytes as a column of a keyed batch.
pub(super) fn column(bytes: BinaryArray) -> ArrayRef {
    Arc::new(bytes)
}
