//! Values as bytes that order as the values do: strings as they are, rows of several columns in arrow's row format.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, Float16Array, Float32Array, Float64Array, LargeBinaryArray, LargeBinaryBuilder,
    LargeStringArray, StringArray, StringViewArray, UInt32Array, new_null_array,
};
use arrow::compute::{SortOptions, cast, take};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow_row::{RowConverter, Rows, SortField};

/// Bytes by row.
pub(super) trait Bytes {
    /// The bytes of a row.
    fn bytes(&self, row: usize) -> &[u8];
}

macro_rules! bytes_of {
    ($($array:ty),*) => {
        $(impl Bytes for $array {
            #[inline(always)]
            fn bytes(&self, row: usize) -> &[u8] {
                self.value(row).as_ref()
            }
        })*
    };
}
bytes_of!(StringArray, LargeStringArray, StringViewArray, BinaryArray, LargeBinaryArray, BinaryViewArray);

impl Bytes for Rows {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        self.row(row).data()
    }
}

/// A batch's values as bytes.
pub(super) enum Encoded<'a> {
    Column(&'a ArrayRef),
    Rows(Rows),
}

/// Evaluates `$body` with `$source` a `&impl Bytes`, compiled once for each kind of array.
macro_rules! with_bytes {
    ($encoded:expr, $source:ident => $body:expr) => {
        match &$encoded {
            $crate::state::accumulators::codec::Encoded::Rows($source) => $body,
            $crate::state::accumulators::codec::Encoded::Column(column) => match column.data_type() {
                arrow::datatypes::DataType::Utf8 => {
                    let $source = arrow::array::AsArray::as_string::<i32>(*column);
                    $body
                }
                arrow::datatypes::DataType::LargeUtf8 => {
                    let $source = arrow::array::AsArray::as_string::<i64>(*column);
                    $body
                }
                arrow::datatypes::DataType::Utf8View => {
                    let $source = arrow::array::AsArray::as_string_view(*column);
                    $body
                }
                arrow::datatypes::DataType::Binary => {
                    let $source = arrow::array::AsArray::as_binary::<i32>(*column);
                    $body
                }
                arrow::datatypes::DataType::LargeBinary => {
                    let $source = arrow::array::AsArray::as_binary::<i64>(*column);
                    $body
                }
                arrow::datatypes::DataType::BinaryView => {
                    let $source = arrow::array::AsArray::as_binary_view(*column);
                    $body
                }
                other => unreachable!("{other} is no column of bytes"),
            },
        }
    };
}
pub(super) use with_bytes;

/// How values become bytes and come back.
pub(super) enum Codec {
    /// Strings and binaries: their own bytes.
    Column(DataType),
    /// Rows in arrow's format, of which the last column is the value.
    Rows { converter: RowConverter, value: usize, value_type: DataType },
}

impl Codec {
    /// Of one column that orders ascending.
    pub(super) fn column(data_type: &DataType) -> Result<Self, String> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Ok(Self::Column(data_type.clone()))
            }
            other => Self::rows(&[(other.clone(), SortOptions::default())]),
        }
    }

    /// Of several columns, the last of them the value.
    pub(super) fn rows(columns: &[(DataType, SortOptions)]) -> Result<Self, String> {
        let fields: Vec<SortField> =
            columns.iter().map(|(data_type, options)| SortField::new_with_options(data_type.clone(), *options)).collect();
        let Some((value_type, _)) = columns.last() else {
            return Err("an aggregate needs an argument".to_string());
        };
        if !RowConverter::supports_fields(&fields) {
            let types: Vec<String> = columns.iter().map(|(data_type, _)| data_type.to_string()).collect();
            return Err(format!("values of {} have no order", types.join(", ")));
        }
        let converter = RowConverter::new(fields).map_err(|error| error.to_string())?;
        Ok(Self::Rows { converter, value: columns.len() - 1, value_type: value_type.clone() })
    }

    /// The bytes of a batch's columns.
    pub(super) fn encode<'a>(&self, columns: &'a [ArrayRef]) -> Encoded<'a> {
        match self {
            Self::Column(_) => Encoded::Column(&columns[0]),
            Self::Rows { converter, .. } => Encoded::Rows(converter.convert_columns(columns).expect("columns have the planned types")),
        }
    }

    /// The value of each row of bytes.
    pub(super) fn decode<'a>(&self, items: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
        match self {
            Self::Column(data_type) => {
                let mut builder = LargeBinaryBuilder::new();
                items.for_each(|item| builder.append_option(item));
                let bytes: ArrayRef = Arc::new(builder.finish());
                cast(&bytes, data_type).expect("bytes cast back to the type they came from")
            }
            Self::Rows { value_type, value, .. } => {
                let mut present = Vec::new();
                let mut positions = Vec::new();
                for item in items {
                    positions.push(item.map(|bytes| {
                        present.push(bytes);
                        present.len() as u32 - 1
                    }));
                }
                if present.is_empty() {
                    return new_null_array(value_type, positions.len());
                }
                let all_present = present.len() == positions.len();
                let values = self.decode_columns(present.into_iter()).swap_remove(*value);
                if all_present { values } else { take(&values, &UInt32Array::from(positions), None).expect("positions are in range") }
            }
        }
    }

    /// All columns of rows of bytes.
    pub(super) fn decode_columns<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
        match self {
            Self::Column(_) => vec![self.decode(rows.map(Some))],
            Self::Rows { converter, .. } => {
                let parser = converter.parser();
                converter.convert_rows(rows.map(|bytes| parser.parse(bytes))).expect("bytes were made by this converter")
            }
        }
    }
}

/// The column with every NaN the same one, so that they are equal and order last.
pub(super) fn one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 if column.as_primitive::<Float64Type>().values().iter().any(|x| x.is_nan()) => {
            let column: Float64Array = column.as_primitive::<Float64Type>().unary(|x| if x.is_nan() { f64::NAN } else { x });
            Arc::new(column)
        }
        DataType::Float32 if column.as_primitive::<Float32Type>().values().iter().any(|x| x.is_nan()) => {
            let column: Float32Array = column.as_primitive::<Float32Type>().unary(|x| if x.is_nan() { f32::NAN } else { x });
            Arc::new(column)
        }
        DataType::Float16 if column.as_primitive::<Float16Type>().values().iter().any(|x| x.is_nan()) => {
            let column: Float16Array = column.as_primitive::<Float16Type>().unary(|x| if x.is_nan() { half::f16::NAN } else { x });
            Arc::new(column)
        }
        _ => column.clone(),
    }
}
