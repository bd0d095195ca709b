//! What is written is read back, for every type and any value; and the exact texts of each.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, FixedSizeListArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray,
    ListArray, MapArray, RecordBatch, StringArray, StringViewArray, StructArray, Time32MillisecondArray, Time32SecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, TimeUnit};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::format::csv::{CsvDecoder, CsvLayout, CsvOptions};
use crate::format::ndjson::{NdjsonDecoder, NdjsonOptions};

fn pair() -> Fields {
    Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("b \"q\"", DataType::Utf8, true)])
}

fn map() -> DataType {
    let entries = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Float64, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn types() -> Vec<DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let mut types = vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Decimal128(5, 5),
        DataType::Decimal128(10, 0),
        DataType::Decimal128(5, -2),
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(Second),
        DataType::Time32(Millisecond),
        DataType::Time64(Microsecond),
        DataType::Time64(Nanosecond),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::Struct(pair()),
        DataType::new_list(DataType::Utf8, true),
        DataType::new_large_list(DataType::Timestamp(Millisecond, None), true),
        DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Int32, true)), 2),
        DataType::new_list(DataType::Struct(pair()), true),
        map(),
    ];
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        for zone in [None, Some("UTC"), Some("+02:30"), Some("Europe/Berlin")] {
            types.push(DataType::Timestamp(unit, zone.map(Into::into)));
        }
    }
    types
}

fn text(rng: &mut StdRng) -> String {
    const PIECES: [&str; 20] = [
        "a",
        "bc",
        "\"",
        "\\",
        ",",
        "\n",
        "\r",
        "é",
        "漢",
        "😀",
        "\0",
        "\u{1f}",
        "\u{feff}",
        " ",
        "'",
        "#",
        "\t",
        "null",
        "1",
        "longer text",
    ];
    (0..rng.random_range(0..6)).map(|_| PIECES[rng.random_range(0..PIECES.len())]).collect()
}

fn bytes(rng: &mut StdRng) -> Vec<u8> {
    (0..rng.random_range(0..9)).map(|_| rng.random()).collect()
}

/// A random array; floats are finite where `finite`, as JSON wants them.
fn array(data_type: &DataType, len: usize, rng: &mut StdRng, finite: bool) -> ArrayRef {
    fn option<T>(rng: &mut StdRng, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
        if rng.random_bool(0.15) { None } else { Some(value(rng)) }
    }
    // Small and large numbers, and the extremes.
    fn long(rng: &mut StdRng) -> i64 {
        match rng.random_range(0..8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => rng.random_range(-2..3),
            _ => rng.random::<i64>() >> rng.random_range(0..63),
        }
    }
    macro_rules! each {
        ($array:ident, $value:expr) => {{
            let value = $value;
            Arc::new((0..len).map(|_| option(rng, value)).collect::<$array>()) as ArrayRef
        }};
    }
    let nulls = |rng: &mut StdRng| Some(NullBuffer::from((0..len).map(|_| rng.random_bool(0.85)).collect::<Vec<_>>()));
    let lengths = |rng: &mut StdRng| (0..len).map(|_| rng.random_range(0..4)).collect::<Vec<usize>>();
    let decimal = |precision: u8, rng: &mut StdRng| {
        let limit = 10i128.pow(u32::from(precision));
        match rng.random_range(0..6) {
            0 => limit - 1,
            1 => 1 - limit,
            2 => 0,
            _ => (i128::from(long(rng)) * i128::from(long(rng))) % limit,
        }
    };
    match data_type {
        DataType::Boolean => each!(BooleanArray, |rng: &mut StdRng| rng.random::<bool>()),
        DataType::Int8 => each!(Int8Array, |rng: &mut StdRng| long(rng) as i8),
        DataType::Int16 => each!(Int16Array, |rng: &mut StdRng| long(rng) as i16),
        DataType::Int32 => each!(Int32Array, |rng: &mut StdRng| long(rng) as i32),
        DataType::Int64 => each!(Int64Array, long),
        DataType::UInt8 => each!(UInt8Array, |rng: &mut StdRng| long(rng) as u8),
        DataType::UInt16 => each!(UInt16Array, |rng: &mut StdRng| long(rng) as u16),
        DataType::UInt32 => each!(UInt32Array, |rng: &mut StdRng| long(rng) as u32),
        DataType::UInt64 => each!(UInt64Array, |rng: &mut StdRng| long(rng) as u64),
        DataType::Float32 => each!(Float32Array, |rng: &mut StdRng| loop {
            let value = f32::from_bits(rng.random());
            if value.is_finite() || !finite && !value.is_nan() {
                break value;
            }
        }),
        DataType::Float64 => each!(Float64Array, |rng: &mut StdRng| loop {
            let value = if rng.random() { f64::from_bits(rng.random()) } else { rng.random_range(-1000..1000) as f64 / 8.0 };
            if value.is_finite() || !finite && !value.is_nan() {
                break value;
            }
        }),
        DataType::Decimal128(precision, scale) => Arc::new(
            (0..len)
                .map(|_| option(rng, |rng| decimal(*precision, rng)))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        DataType::Date32 => each!(Date32Array, |rng: &mut StdRng| long(rng) as i32),
        DataType::Date64 => each!(Date64Array, |rng: &mut StdRng| i64::from(long(rng) as i32) * 86_400_000),
        DataType::Time32(TimeUnit::Second) => each!(Time32SecondArray, |rng: &mut StdRng| rng.random_range(0..86_400)),
        DataType::Time32(_) => each!(Time32MillisecondArray, |rng: &mut StdRng| rng.random_range(0..86_400_000)),
        DataType::Time64(TimeUnit::Microsecond) => each!(Time64MicrosecondArray, |rng: &mut StdRng| rng.random_range(0..86_400_000_000)),
        DataType::Time64(_) => each!(Time64NanosecondArray, |rng: &mut StdRng| rng.random_range(0..86_400_000_000_000)),
        DataType::Timestamp(unit, zone) => match unit {
            // Years of more than seven digits have no text.
            TimeUnit::Second => Arc::new(
                (0..len)
                    .map(|_| option(rng, |rng| long(rng) % 300_000_000_000_000))
                    .collect::<TimestampSecondArray>()
                    .with_timezone_opt(zone.clone()),
            ),
            TimeUnit::Millisecond => Arc::new(
                (0..len)
                    .map(|_| option(rng, |rng| long(rng) % 300_000_000_000_000_000))
                    .collect::<TimestampMillisecondArray>()
                    .with_timezone_opt(zone.clone()),
            ),
            TimeUnit::Microsecond => {
                Arc::new((0..len).map(|_| option(rng, long)).collect::<TimestampMicrosecondArray>().with_timezone_opt(zone.clone()))
            }
            TimeUnit::Nanosecond => {
                Arc::new((0..len).map(|_| option(rng, long)).collect::<TimestampNanosecondArray>().with_timezone_opt(zone.clone()))
            }
        },
        DataType::Utf8 => each!(StringArray, text),
        DataType::LargeUtf8 => each!(LargeStringArray, text),
        DataType::Utf8View => each!(StringViewArray, text),
        DataType::Binary => each!(BinaryArray, bytes),
        DataType::LargeBinary => each!(LargeBinaryArray, bytes),
        DataType::BinaryView => each!(BinaryViewArray, bytes),
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| array(field.data_type(), len, rng, finite)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls(rng)))
        }
        DataType::List(field) => {
            let lengths = lengths(rng);
            let child = array(field.data_type(), lengths.iter().sum(), rng, finite);
            Arc::new(ListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), child, nulls(rng)))
        }
        DataType::LargeList(field) => {
            let lengths = lengths(rng);
            let child = array(field.data_type(), lengths.iter().sum(), rng, finite);
            Arc::new(LargeListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), child, nulls(rng)))
        }
        DataType::FixedSizeList(field, size) => {
            let child = array(field.data_type(), len * *size as usize, rng, finite);
            Arc::new(FixedSizeListArray::new(field.clone(), *size, child, nulls(rng)))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
            let lengths = lengths(rng);
            let total = lengths.iter().sum();
            let keys = Arc::new((0..total).map(|at| Some(format!("{}{at}", text(rng)))).collect::<StringArray>());
            let entries_array = StructArray::new(fields.clone(), vec![keys, array(fields[1].data_type(), total, rng, finite)], None);
            Arc::new(MapArray::new(entries.clone(), OffsetBuffer::from_lengths(lengths), entries_array, nulls(rng), false))
        }
        other => panic!("{other}"),
    }
}

fn batch(seed: u64, len: usize, finite: bool) -> RecordBatch {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut types = types();
    if seed.is_multiple_of(4) {
        // Few columns, one at least, in another order.
        let start = rng.random_range(0..types.len());
        types.rotate_left(start);
        types.truncate(rng.random_range(1..4));
    }
    let fields: Vec<Field> =
        types.iter().enumerate().map(|(at, data_type)| Field::new(format!("c{at} \"é,"), data_type.clone(), true)).collect();
    let columns = types.iter().map(|data_type| array(data_type, len, &mut rng, finite)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ndjson_back_and_forth(seed: u64, len in 1usize..20, sql: bool, skip in 0usize..3) {
        let rows = batch(seed, len + skip, true).slice(skip, len);
        let style = if sql { TimestampStyle::Sql } else { TimestampStyle::Iso };
        let mut out = Vec::new();
        let lines = NdjsonEncoder::new(rows.schema(), ChangeField::None, style).unwrap().encode(&rows, None, &mut out);
        prop_assert_eq!(lines, len as u64);
        for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
        let decoded = NdjsonDecoder::new(rows.schema(), NdjsonOptions::default()).unwrap().decode(&out, 0);
        prop_assert_eq!(&decoded.errors, &vec![]);
        for (left, right) in decoded.columns.columns().iter().zip(rows.columns()) {
            prop_assert_eq!(left, right, "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn csv_back_and_forth(seed: u64, len in 1usize..20, null in prop::sample::select(vec!["", "NULL", "null", "1", "-"]), delimiter in prop::sample::select(b",;\t|1-:".to_vec()), header: bool) {
        let rows = batch(seed, len, false);
        prop_assume!(!null.as_bytes().contains(&delimiter));
        let options = CsvOptions { null: null.into(), delimiter, ..CsvOptions::default() };
        let mut encoder = CsvEncoder::new(rows.schema(), options.clone(), ChangeField::None).unwrap();
        let mut out = Vec::new();
        let mut layout = CsvLayout::positional(&rows.schema());
        if header {
            encoder.header(&mut out);
            layout = CsvLayout::from_header(&out, &options).unwrap();
            prop_assert_eq!(layout.check(&rows.schema()), Ok(()));
        }
        let start = out.len();
        encoder.encode(&rows, None, &mut out);
        let decoded = CsvDecoder::new(rows.schema(), options, Arc::new(layout)).unwrap().decode(&out[start..], start as u64);
        prop_assert_eq!(&decoded.errors, &vec![]);
        for (left, right) in decoded.columns.columns().iter().zip(rows.columns()) {
            prop_assert_eq!(left, right, "{}", String::from_utf8_lossy(&out));
        }
    }
}

fn sample() -> RecordBatch {
    let zone: Option<Arc<str>> = Some("Europe/Berlin".into());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec![Some("a \"b\",\n\u{1}"), None]))),
        ("price", Arc::new(Decimal128Array::from(vec![12345, -5]).with_precision_and_scale(10, 3).unwrap())),
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, 1e300]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_704_067_200_000_000, 1_704_067_200_120_000]))),
        ("zoned", Arc::new(TimestampMicrosecondArray::from(vec![1_704_067_200_000_001, 0]).with_timezone_opt(zone))),
        ("day", Arc::new(Date32Array::from(vec![19_723, -1]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"foo"[..], b""]))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![])]))),
        ("word", Arc::new(vec![Some("x"), None].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn texts_of_json() {
    let rows = sample();
    let mut out = Vec::new();
    let mut encoder = NdjsonEncoder::new(rows.schema(), ChangeField::Op, TimestampStyle::Iso).unwrap();
    assert_eq!(encoder.encode(&rows, Some(&[2, -1]), &mut out), 3);
    let first = r#"{"op":"+I","id":1,"name":"a \"b\",\n\u0001","price":12.345,"x":null,"at":"2024-01-01T00:00:00","zoned":"2024-01-01T01:00:00.000001+01:00","day":"2024-01-01","bytes":"Zm9v","list":[1,null],"word":"x"}"#;
    let second = r#"{"op":"-D","id":2,"name":null,"price":-0.005,"x":1e300,"at":"2024-01-01T00:00:00.120","zoned":"1970-01-01T01:00:00+01:00","day":"1969-12-31","bytes":"","list":[],"word":null}"#;
    assert_eq!(String::from_utf8(out).unwrap(), format!("{first}\n{first}\n{second}\n"));
    let mut out = Vec::new();
    let narrow = rows.project(&[0]).unwrap();
    let mut encoder = NdjsonEncoder::new(narrow.schema(), ChangeField::Diff, TimestampStyle::Sql).unwrap();
    assert_eq!(encoder.encode(&narrow, Some(&[-3, 0]), &mut out), 1);
    assert_eq!(out, b"{\"diff\":-3,\"id\":1}\n");
    assert!(
        NdjsonEncoder::new(Arc::new(Schema::new(vec![Field::new("op", DataType::Utf8, true)])), ChangeField::Op, TimestampStyle::Iso)
            .is_err()
    );
}

#[test]
fn texts_of_csv() {
    let rows = sample();
    let mut encoder = CsvEncoder::new(rows.schema(), CsvOptions::default(), ChangeField::Diff).unwrap();
    let mut out = Vec::new();
    encoder.header(&mut out);
    assert_eq!(encoder.encode(&rows, Some(&[2, -1]), &mut out), 2);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "diff,id,name,price,x,at,zoned,day,bytes,list,word\n\
         2,1,\"a \"\"b\"\",\n\u{1}\",12.345,NaN,2024-01-01 00:00:00,2024-01-01 01:00:00.000001+01:00,2024-01-01,Zm9v,\"[1,null]\",x\n\
         -1,2,,-0.005,1e300,2024-01-01 00:00:00.120,1970-01-01 01:00:00+01:00,1969-12-31,\"\",[],\n"
    );
    assert!(CsvEncoder::new(rows.schema(), CsvOptions { quote: None, ..CsvOptions::default() }, ChangeField::None).is_err());
}

#[test]
fn cells_for_tables() {
    let rows = sample();
    let cells = |row: usize| {
        let mut cells = Vec::new();
        for column in rows.columns() {
            let mut cell = String::new();
            format_cell(column, row, &mut cell);
            cells.push(cell);
        }
        cells.join("|")
    };
    assert_eq!(cells(0), "1|a \"b\",\n\u{1}|12.345|NaN|2024-01-01 00:00:00|2024-01-01 01:00:00.000001+01:00|2024-01-01|Zm9v|[1,null]|x");
    assert_eq!(cells(1), "2|null|-0.005|1e300|2024-01-01 00:00:00.120|1970-01-01 01:00:00+01:00|1969-12-31||[]|null");
}

#[test]
#[should_panic(expected = "a retraction came to an encoder that writes no changes")]
fn retractions_need_a_field() {
    let rows = sample();
    NdjsonEncoder::new(rows.schema(), ChangeField::None, TimestampStyle::Iso).unwrap().encode(&rows, Some(&[1, -1]), &mut Vec::new());
}
