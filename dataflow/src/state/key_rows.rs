//! # Key rows
//!
//! The key columns of some rows as values that compare and hash without knowing their types. Three encodings, chosen once from the
//! types: nothing at all (a global aggregate), one 64-bit word (a single key of a narrow primitive type), or bytes (a single text or
//! binary key as it is; anything else as `arrow-row`). All of them order as the values do, nulls first, so that results can come out
//! in a defined order without decoding.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray, UInt64Array, make_array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_row::{RowConverter, SortField};

/// The keys of some rows. Which variant stands is a matter of the key types alone, see [`KeyCodec`].
#[derive(Clone, Debug, PartialEq)]
pub enum KeyRows {
    /// No key columns: all rows are equal.
    Unit(usize),
    /// One word for each row; null where the key is.
    Words(UInt64Array),
    /// Bytes for each row; null only for a single key that is.
    Bytes(BinaryArray),
}

/// The hash of a key that is null. Also that of the empty key, so that a global aggregate has one owner.
pub const NULL_HASH: u64 = 0x9e37_79b9_7f4a_7c15;

impl KeyRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Unit(rows) => *rows,
            Self::Words(words) => words.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the rows.
    pub fn take(&self, rows: &arrow::array::UInt32Array) -> Self {
        match self {
            Self::Unit(_) => Self::Unit(rows.len()),
            Self::Words(words) => Self::Words(take(words, rows, None).expect("rows lie within").as_primitive().clone()),
            Self::Bytes(bytes) => Self::Bytes(take(bytes, rows, None).expect("rows lie within").as_binary().clone()),
        }
    }

    /// Rows of the same key types, one after the other.
    ///
    /// # Panics
    /// If the parts are of different key types, there are none, or they hold more than 2 GiB.
    pub fn concat(parts: &[&Self]) -> Self {
        let first = parts.first().expect("concat of at least one part");
        if parts.len() == 1 {
            return (*first).clone();
        }
        match first {
            Self::Unit(_) => Self::Unit(parts.iter().map(|part| part.len()).sum()),
            Self::Words(_) | Self::Bytes(_) => {
                let arrays: Vec<&dyn Array> = parts
                    .iter()
                    .map(|part| match part {
                        Self::Words(words) => words as &dyn Array,
                        Self::Bytes(bytes) => bytes as &dyn Array,
                        Self::Unit(_) => panic!("key rows of one operator have one encoding"),
                    })
                    .collect();
                let joined = concat(&arrays).expect("key rows of one operator have one encoding");
                match first {
                    Self::Words(_) => Self::Words(joined.as_primitive().clone()),
                    _ => Self::Bytes(joined.as_binary().clone()),
                }
            }
        }
    }

    /// The hash of each row: the same in every worker and process of a build.
    ///
    /// For words it is a bijection: equal hashes mean equal words.
    pub fn hashes(&self) -> Vec<u64> {
        match self {
            Self::Unit(rows) => vec![NULL_HASH; *rows],
            Self::Words(words) => {
                let mut hashes: Vec<u64> = words.values().iter().map(|word| mix(*word)).collect();
                null_hashes(&mut hashes, words.nulls());
                hashes
            }
            Self::Bytes(bytes) => {
                let data = bytes.value_data();
                let strings = bytes.value_offsets().windows(2).map(|ends| &data[ends[0] as usize..ends[1] as usize]);
                let mut hashes = hash_bytes(strings);
                null_hashes(&mut hashes, bytes.nulls());
                hashes
            }
        }
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Unit(_) => 0,
            Self::Words(words) => words.get_buffer_memory_size(),
            Self::Bytes(bytes) => bytes.get_buffer_memory_size(),
        }
    }
}

/// The hashes of byte strings: the same in every worker and process of a build.
pub(crate) fn hash_bytes<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Vec<u64> {
    let state = foldhash::quality::FixedState::with_seed(0x7469_6465);
    strings
        .map(|string| {
            let mut hasher = state.build_hasher();
            hasher.write(string);
            hasher.finish()
        })
        .collect()
}

fn null_hashes(hashes: &mut [u64], nulls: Option<&NullBuffer>) {
    if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
        for (hash, valid) in hashes.iter_mut().zip(nulls.iter()) {
            if !valid {
                *hash = NULL_HASH;
            }
        }
    }
}

/// A bijection that spreads every bit of the input over all of the output.
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9e6c_63d0_876a_3f6b);
    let word = (word ^ (word >> 29)).wrapping_mul(0x9e6d_62d0_6f6a_02bb);
    word ^ (word >> 32)
}

/// Turns key columns into key rows and back.
pub struct KeyCodec {
    types: Vec<DataType>,
    kind: Kind,
}

enum Kind {
    Unit,
    Word,
    Text,
    Rows(RowConverter),
}

impl std::fmt::Debug for KeyCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyCodec").field("types", &self.types).finish_non_exhaustive()
    }
}

impl KeyCodec {
    /// The codec for keys of some types.
    ///
    /// # Errors
    /// When a type has no order, such as a map.
    pub fn new(types: &[DataType]) -> Result<Self, String> {
        let kind = match types {
            [] => Kind::Unit,
            [only] if is_word(only) => Kind::Word,
            [DataType::Utf8 | DataType::Binary] => Kind::Text,
            types => {
                let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
                Kind::Rows(RowConverter::new(fields).map_err(|error| format!("cannot group by these types: {error}"))?)
            }
        };
        Ok(Self { types: types.to_vec(), kind })
    }

    /// The types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The keys of `rows` rows.
    ///
    /// # Errors
    /// When the keys of one batch exceed 2 GiB.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<KeyRows, String> {
        assert_eq!(columns.len(), self.types.len(), "one column for each key");
        match &self.kind {
            Kind::Unit => Ok(KeyRows::Unit(rows)),
            Kind::Word => Ok(KeyRows::Words(to_words(&columns[0]))),
            Kind::Text => Ok(KeyRows::Bytes(match columns[0].data_type() {
                DataType::Utf8 => BinaryArray::from(columns[0].as_string::<i32>().clone()),
                _ => columns[0].as_binary::<i32>().clone(),
            })),
            Kind::Rows(converter) => {
                let normal: Vec<ArrayRef> = columns.iter().map(normal_zero).collect();
                let encoded = converter.convert_columns(&normal).map_err(|error| error.to_string())?;
                Ok(KeyRows::Bytes(encoded.try_into_binary().map_err(|error| error.to_string())?))
            }
        }
    }

    /// The key columns of some rows.
    ///
    /// # Panics
    /// If the rows are not of this codec.
    pub fn decode(&self, rows: &KeyRows) -> Vec<ArrayRef> {
        match (&self.kind, rows) {
            (Kind::Unit, KeyRows::Unit(_)) => Vec::new(),
            (Kind::Word, KeyRows::Words(words)) => vec![from_words(words, &self.types[0])],
            (Kind::Text, KeyRows::Bytes(bytes)) => vec![match self.types[0] {
                DataType::Utf8 => Arc::new(StringArray::try_from_binary(bytes.clone()).expect("text keys are text")) as ArrayRef,
                _ => Arc::new(bytes.clone()),
            }],
            (Kind::Rows(converter), KeyRows::Bytes(bytes)) => {
                let rows = converter.from_binary(bytes.clone());
                let columns = converter.convert_rows(rows.iter()).expect("key rows were encoded by this codec");
                let types = self.types.iter();
                columns
                    .into_iter()
                    .zip(types)
                    // Dictionaries come back as their values.
                    .map(
                        |(column, wanted)| {
                            if column.data_type() == wanted { column } else { cast(&column, wanted).expect("values of a dictionary") }
                        },
                    )
                    .collect()
            }
            _ => panic!("key rows of another codec"),
        }
    }

    /// An empty list of this codec's rows.
    pub fn empty(&self) -> KeyRows {
        match self.kind {
            Kind::Unit => KeyRows::Unit(0),
            Kind::Word => KeyRows::Words(UInt64Array::new(ScalarBuffer::from(Vec::new()), None)),
            Kind::Text | Kind::Rows(_) => KeyRows::Bytes(BinaryArray::new(OffsetBuffer::new_empty(), Vec::<u8>::new().into(), None)),
        }
    }
}

fn is_word(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(data_type, D::Boolean | D::Float32 | D::Float64) || word_type(data_type).is_some()
}

/// The integer type of the same width and order, for types that are integers underneath.
fn word_type(data_type: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match data_type {
        D::Int8 => D::Int8,
        D::Int16 => D::Int16,
        D::Int32 | D::Date32 | D::Time32(_) => D::Int32,
        D::Int64 | D::Date64 | D::Time64(_) | D::Timestamp(_, _) | D::Duration(_) => D::Int64,
        D::UInt8 => D::UInt8,
        D::UInt16 => D::UInt16,
        D::UInt32 => D::UInt32,
        D::UInt64 => D::UInt64,
        _ => return None,
    })
}

/// The same buffers under another type of the same layout.
fn retype(array: &dyn Array, data_type: &DataType) -> ArrayRef {
    make_array(array.to_data().into_builder().data_type(data_type.clone()).build().expect("types of one layout"))
}

const SIGN: u64 = 1 << 63;

fn primitive_words<T: ArrowPrimitiveType>(array: &dyn Array, word: impl Fn(T::Native) -> u64) -> UInt64Array {
    let array = array.as_primitive::<T>();
    let values: Vec<u64> = array.values().iter().map(|value| word(*value)).collect();
    UInt64Array::new(values.into(), array.nulls().cloned())
}

fn float_word(value: f64) -> u64 {
    // One zero and one NaN: values that are equal group together.
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    let bits = value.to_bits();
    bits ^ (((bits as i64 >> 63) as u64) | SIGN)
}

fn word_float(word: u64) -> f64 {
    f64::from_bits(word ^ (((!word as i64 >> 63) as u64) | SIGN))
}

fn to_words(column: &ArrayRef) -> UInt64Array {
    match column.data_type() {
        DataType::Boolean => {
            let column = column.as_boolean();
            let values: Vec<u64> = column.values().iter().map(u64::from).collect();
            return UInt64Array::new(values.into(), column.nulls().cloned());
        }
        DataType::Float32 => return primitive_words::<Float32Type>(column, |value| float_word(f64::from(value))),
        DataType::Float64 => return primitive_words::<Float64Type>(column, float_word),
        _ => {}
    }
    let integer = word_type(column.data_type()).expect("a word type");
    let column = if *column.data_type() == integer { column.clone() } else { retype(column, &integer) };
    let signed = |value: i64| (value as u64) ^ SIGN;
    match integer {
        DataType::Int8 => primitive_words::<Int8Type>(&column, |value| signed(value.into())),
        DataType::Int16 => primitive_words::<Int16Type>(&column, |value| signed(value.into())),
        DataType::Int32 => primitive_words::<Int32Type>(&column, |value| signed(value.into())),
        DataType::Int64 => primitive_words::<Int64Type>(&column, signed),
        DataType::UInt8 => primitive_words::<UInt8Type>(&column, u64::from),
        DataType::UInt16 => primitive_words::<UInt16Type>(&column, u64::from),
        DataType::UInt32 => primitive_words::<UInt32Type>(&column, u64::from),
        _ => column.as_primitive::<UInt64Type>().clone(),
    }
}

fn primitive_column<T: ArrowPrimitiveType>(words: &UInt64Array, value: impl Fn(u64) -> T::Native) -> ArrayRef {
    let values: Vec<T::Native> = words.values().iter().map(|word| value(*word)).collect();
    Arc::new(arrow::array::PrimitiveArray::<T>::new(values.into(), words.nulls().cloned()))
}

fn from_words(words: &UInt64Array, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Boolean => {
            let values = words.values().iter().map(|word| *word != 0).collect();
            return Arc::new(BooleanArray::new(values, words.nulls().cloned()));
        }
        DataType::Float32 => return primitive_column::<Float32Type>(words, |word| word_float(word) as f32),
        DataType::Float64 => return primitive_column::<Float64Type>(words, word_float),
        _ => {}
    }
    let integer = word_type(data_type).expect("a word type");
    let signed = |word: u64| (word ^ SIGN) as i64;
    let column = match integer {
        DataType::Int8 => primitive_column::<Int8Type>(words, |word| signed(word) as i8),
        DataType::Int16 => primitive_column::<Int16Type>(words, |word| signed(word) as i16),
        DataType::Int32 => primitive_column::<Int32Type>(words, |word| signed(word) as i32),
        DataType::Int64 => primitive_column::<Int64Type>(words, signed),
        DataType::UInt8 => primitive_column::<UInt8Type>(words, |word| word as u8),
        DataType::UInt16 => primitive_column::<UInt16Type>(words, |word| word as u16),
        DataType::UInt32 => primitive_column::<UInt32Type>(words, |word| word as u32),
        _ => Arc::new(words.clone()),
    };
    if *data_type == integer { column } else { retype(&column, data_type) }
}

/// Floats with one zero and one NaN, other columns as they are.
pub(crate) fn normal_zero(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let normal = column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|value| word_float(float_word(value.into())) as f32);
            Arc::new(normal)
        }
        DataType::Float64 => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| word_float(float_word(value)))),
        _ => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date32Array, DictionaryArray, Float32Array, Float64Array, Int8Array, Int64Array, TimestampMicrosecondArray, UInt32Array,
    };
    use arrow::compute::SortOptions;

    fn codec(columns: &[ArrayRef]) -> KeyCodec {
        KeyCodec::new(&columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>()).unwrap()
    }

    /// Round trip, order and equality of hashes, by the columns themselves.
    fn check(columns: Vec<ArrayRef>) {
        let codec = codec(&columns);
        let rows = columns[0].len();
        let keys = codec.encode(&columns, rows).unwrap();
        assert_eq!(keys.len(), rows);
        assert_eq!(codec.decode(&keys), columns);
        let hashes = keys.hashes();
        let sort: Vec<_> = columns
            .iter()
            .map(|column| arrow::compute::SortColumn {
                values: column.clone(),
                options: Some(SortOptions { descending: false, nulls_first: true }),
            })
            .collect();
        let wanted = arrow::compute::lexsort_to_indices(&sort, None).unwrap();
        let mut table = crate::state::key_table::KeyTable::new();
        let mut ids = Vec::new();
        table.intern(&keys, &hashes, crate::state::key_table::Stretch { first: 0, rows }, &mut ids);
        let mut sorted: Vec<u32> = (0..table.len() as u32).collect();
        table.sort(&mut sorted);
        let decoded = codec.decode(&table.rows(&sorted));
        let mut wanted_rows: Vec<Vec<String>> = wanted.values().iter().map(|row| text(&columns, *row as usize)).collect();
        wanted_rows.dedup();
        let sorted_rows: Vec<Vec<String>> = (0..sorted.len()).map(|row| text(&decoded, row)).collect();
        assert_eq!(sorted_rows, wanted_rows);
        for left in 0..rows {
            for right in 0..rows {
                assert_eq!(hashes[left] == hashes[right], text(&columns, left) == text(&columns, right), "rows {left} and {right}");
            }
        }
        let some = UInt32Array::from(vec![rows as u32 - 1, 0]);
        let joined = KeyRows::concat(&[&keys.take(&some), &codec.empty(), &keys]);
        assert_eq!(joined.len(), rows + 2);
        assert_eq!(text(&codec.decode(&joined), 0), text(&columns, rows - 1));
        assert_eq!(text(&codec.decode(&joined), 2), text(&columns, 0));
    }

    fn text(columns: &[ArrayRef], row: usize) -> Vec<String> {
        let text = |column: &ArrayRef| {
            if column.is_null(row) {
                "null".to_string()
            } else {
                format!("'{}'", arrow::util::display::array_value_to_string(column, row).unwrap())
            }
        };
        columns.iter().map(text).collect()
    }

    #[test]
    fn keys_of_every_encoding_come_back_in_order() {
        check(vec![Arc::new(Int64Array::from(vec![Some(3), None, Some(i64::MIN), Some(-1), Some(i64::MAX), Some(0), None, Some(3)]))]);
        check(vec![Arc::new(Int8Array::from(vec![-128, 127, 0, -1]))]);
        check(vec![Arc::new(UInt32Array::from(vec![u32::MAX, 0, 7]))]);
        check(vec![Arc::new(Date32Array::from(vec![Some(-5), Some(20_000), None]))]);
        check(vec![Arc::new(TimestampMicrosecondArray::from(vec![5, -5, 0]).with_timezone("Europe/Vienna"))]);
        check(vec![Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))]);
        check(vec![Arc::new(Float64Array::from(vec![
            Some(1.5),
            None,
            Some(-2.0),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            Some(1e-300),
        ]))]);
        check(vec![Arc::new(Float32Array::from(vec![0.1, -0.1, f32::MAX]))]);
        check(vec![Arc::new(StringArray::from(vec![Some("b"), None, Some(""), Some("abcdefghij"), Some("abcdefgh"), Some("b")]))]);
        check(vec![
            Arc::new(StringArray::from(vec![Some("b"), None, Some(""), Some("b")])),
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(-1)])),
        ]);
        let dictionary: DictionaryArray<arrow::datatypes::Int32Type> = vec!["x", "y", "x"].into_iter().collect();
        check(vec![Arc::new(dictionary)]);
    }

    #[test]
    fn equal_floats_are_one_key() {
        for other in [None, Some(Arc::new(Int64Array::from(vec![1, 1, 1, 1])) as ArrayRef)] {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]))];
            columns.extend(other);
            let hashes = codec(&columns).encode(&columns, 4).unwrap().hashes();
            assert!(hashes[0] == hashes[1] && hashes[2] == hashes[3] && hashes[0] != hashes[2]);
        }
    }

    #[test]
    fn no_key_is_one_group() {
        let codec = KeyCodec::new(&[]).unwrap();
        let keys = codec.encode(&[], 3).unwrap();
        assert_eq!((keys.len(), keys.hashes()), (3, vec![NULL_HASH; 3]));
        assert!(codec.decode(&keys).is_empty());
    }
}
