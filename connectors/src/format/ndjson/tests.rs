//! The decoder against an oracle that parses each line with `serde_json` and knows nothing of the decoder.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A value as a test compares it.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Text(String),
    Float(f64),
    Bool(bool),
    Parts(Vec<Cell>),
}

fn schema() -> SchemaRef {
    let inner = Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, false)]);
    Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
        Field::new("f", DataType::Float64, true),
        Field::new("z", DataType::Boolean, true),
        Field::new("l", DataType::new_list(DataType::Int64, true), true),
        Field::new("s", DataType::Struct(inner), true),
    ]))
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).into()),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            Cell::Parts((0..list.len()).map(|at| cell(&list, at)).collect())
        }
        DataType::Struct(_) => Cell::Parts(array.as_struct().columns().iter().map(|column| cell(column, row)).collect()),
        other => panic!("{other}"),
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// What a value is for a column, `Err` if the record is bad.
fn oracle_value(value: Option<&Value>, field: &Field) -> Result<Cell, ()> {
    match (value, field.data_type()) {
        (None | Some(Value::Null), _) => {
            if field.is_nullable() {
                Ok(Cell::Null)
            } else {
                Err(())
            }
        }
        (Some(Value::Number(number)), DataType::Int64) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Cell::Int(whole)),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => Ok(Cell::Int(float as i64)),
            _ => Err(()),
        },
        (Some(Value::String(text)), DataType::Int64) => text.trim().parse().map(Cell::Int).map_err(|_| ()),
        (Some(Value::Number(number)), DataType::Float64) => number.as_f64().map(Cell::Float).ok_or(()),
        (Some(Value::String(text)), DataType::Float64) => text.trim().parse().map(Cell::Float).map_err(|_| ()),
        (Some(Value::Bool(value)), DataType::Boolean) => Ok(Cell::Bool(*value)),
        (Some(Value::String(text)), DataType::Utf8) => Ok(Cell::Text(text.clone())),
        (Some(other), DataType::Utf8) => Ok(Cell::Text(other.to_string())),
        (Some(Value::Array(values)), DataType::List(item)) => {
            values.iter().map(|value| oracle_value(Some(value), item)).collect::<Result<_, _>>().map(Cell::Parts)
        }
        (Some(Value::Object(map)), DataType::Struct(fields)) => {
            fields.iter().map(|field| oracle_value(map.get(field.name()), field)).collect::<Result<_, _>>().map(Cell::Parts)
        }
        _ => Err(()),
    }
}

/// Good rows with offsets, and offsets of bad lines.
type Answer = (Vec<(u64, Vec<Cell>)>, Vec<u64>);

fn oracle(bytes: &[u8], schema: &Schema) -> Answer {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        if !line.iter().all(|byte| b" \t\r".contains(byte)) {
            let row = match serde_json::from_slice::<Value>(line) {
                Ok(Value::Object(map)) => {
                    schema.fields().iter().map(|field| oracle_value(map.get(field.name()), field)).collect::<Result<Vec<_>, _>>()
                }
                _ => Err(()),
            };
            match row {
                Ok(row) => good.push((offset, row)),
                Err(()) => bad.push(offset),
            }
        }
        offset += line.len() as u64 + 1;
    }
    (good, bad)
}

fn decoder() -> NdjsonDecoder {
    NdjsonDecoder::new(schema(), NdjsonOptions::default()).unwrap()
}

fn answer(decoded: &Decoded) -> Answer {
    let rows = rows(&decoded.columns).into_iter().enumerate();
    (rows.map(|(at, row)| (decoded.offsets.get(at), row)).collect(), decoded.errors.iter().map(|error| error.offset).collect())
}

/// Texts of JSON that stand for the same cell: raw JSON in a text column is compared by value.
fn normal(answer: Answer) -> Answer {
    fn text(cell: Cell) -> Cell {
        match cell {
            Cell::Text(text) => match serde_json::from_str::<Value>(&text) {
                Ok(value) => Cell::Text(value.to_string()),
                Err(_) => Cell::Text(text),
            },
            Cell::Parts(parts) => Cell::Parts(parts.into_iter().map(self::normal_cell).collect()),
            other => other,
        }
    }
    let rows = answer.0.into_iter().map(|(offset, row)| (offset, row.into_iter().map(text).collect())).collect();
    (rows, answer.1)
}

fn normal_cell(cell: Cell) -> Cell {
    normal((vec![(0, vec![cell])], vec![])).0.remove(0).1.remove(0)
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \t\r]{1,3}"]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z]{0,12}",
        1 => "[ -~éß漢😀]{0,90}",
        1 => any::<String>(),
        1 => "[0-9]{1,4}",
    ]
    .prop_map(|text| Value::String(text).to_string())
}

fn escaped() -> impl Strategy<Value = String> {
    r#"(a|\\n|\\"|\\\\|\\/|\\u00e9|\\ud83d\\ude00|\\ud800|\\u0000|\\x|é){0,8}"#.prop_map(|text| format!("\"{text}\""))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|value| value.to_string()),
        (any::<i64>(), 0u32..63).prop_map(|(value, shift)| (value >> shift).to_string()),
        r"-?[0-9]{1,22}",
        r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,6})?([eE][+-]?[0-9])?",
        r"[-+.0-9eE]{1,5}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => number(),
        4 => string(),
        1 => escaped(),
        1 => Just("null".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("false".to_owned()),
        1 => Just("nul".to_owned()),
    ];
    leaf.prop_recursive(3, 20, 4, |value| {
        prop_oneof![
            (space(), prop::collection::vec(value.clone(), 0..4))
                .prop_map(|(space, values)| format!("[{space}{}{space}]", values.join(","))),
            object(value).boxed(),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::sample::select(vec!["i", "n", "t", "f", "z", "l", "s", "a", "b"]).prop_map(|key| format!("\"{key}\"")),
        1 => Just("\"\\u0069\"".to_owned()),
        1 => string(),
    ]
}

fn object(value: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop::collection::vec((space(), key(), space(), value, space()), 0..6).prop_map(|fields| {
        let fields: Vec<String> = fields.into_iter().map(|(a, key, b, value, c)| format!("{a}{key}{b}:{c}{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A record that is likely good.
fn record() -> impl Strategy<Value = String> {
    let number = || (any::<i64>(), 0u32..63).prop_map(|(value, shift)| (value >> shift).to_string());
    let pair = (number(), string()).prop_map(|(a, b)| format!("{{\"a\":{a},\"b\":{b}}}"));
    let list = prop::collection::vec(number(), 0..4).prop_map(|items| format!("[{}]", items.join(",")));
    let float = (-1_000_000i64..1_000_000, 0u32..4).prop_map(|(value, places)| format!("{:.*}", places as usize, value as f64 / 100.0));
    (number(), number(), string(), float, any::<bool>(), list, pair, space(), 0usize..8).prop_map(|(i, n, t, f, z, l, s, gap, drop)| {
        let mut fields = vec![
            format!("\"i\":{i}"),
            format!("\"n\":{gap}{n}"),
            format!("\"t\":{t}"),
            format!("\"f\":{f}"),
            format!("\"z\":{z}"),
            format!("\"l\":{l}"),
            format!("\"s\":{s}"),
            format!("\"unread{gap}\":{s}"),
        ];
        if drop != 1 {
            fields.remove(drop);
        }
        format!("{gap}{{{}}}{gap}", fields.join(","))
    })
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![6 => record(), 2 => object(value()), 1 => space(), 1 => value()].prop_map(String::into_bytes);
    (text, prop_oneof![6 => Just(None), 1 => any::<(prop::sample::Index, u8, bool)>().prop_map(Some)]).prop_map(|(mut line, change)| {
        // The oracle refuses numbers that no double holds, also where nobody reads them: none must come about.
        if let Some((at, byte, insert)) = change.filter(|change| !b"eE".contains(&change.1)) {
            let at = at.index(line.len() + 1);
            if insert {
                line.insert(at, byte);
            } else {
                line.truncate(at);
            }
        }
        line
    })
}

/// Bytes that a failing case shows as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

fn lines() -> impl Strategy<Value = Shown> {
    (prop::collection::vec(line(), 0..12), any::<bool>()).prop_map(|(lines, last)| {
        let mut bytes = lines.join(&b'\n');
        if last {
            bytes.push(b'\n');
        }
        Shown(bytes)
    })
}

fn close(left: &Cell, right: &Cell) -> bool {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) => {
            left == right || (left - right).abs() <= 1e-15 * left.abs() || left.is_nan() && right.is_nan()
        }
        (Cell::Parts(left), Cell::Parts(right)) => left.len() == right.len() && left.iter().zip(right).all(|(a, b)| close(a, b)),
        _ => left == right,
    }
}

fn same(left: Answer, right: Answer) -> Result<(), TestCaseError> {
    prop_assert_eq!(&left.1, &right.1, "offsets of bad lines");
    prop_assert_eq!(left.0.len(), right.0.len());
    for (left, right) in left.0.iter().zip(&right.0) {
        prop_assert_eq!(left.0, right.0, "offsets of rows");
        prop_assert!(left.1.iter().zip(&right.1).all(|(a, b)| close(a, b)), "{:?} is not {:?}", left, right);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn decodes_what_the_oracle_decodes(Shown(bytes) in lines()) {
        let decoded = decoder().decode(&bytes, 0);
        for error in &decoded.errors {
            let line = &bytes[error.offset as usize..][..error.raw.len()];
            prop_assert_eq!(line, &error.raw[..]);
            prop_assert!(!error.raw.contains(&b'\n') && !error.reason.is_empty());
        }
        same(normal(answer(&decoded)), normal(oracle(&bytes, &schema())))?;
    }

    /// What a decoder has seen before changes nothing, nor does where the chunks are cut.
    #[test]
    fn cuts_change_nothing(Shown(before) in lines(), Shown(bytes) in lines(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let whole = decoder().decode(&bytes, 7);
        let mut ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        if !ends.is_empty() {
            let mut kept: Vec<usize> = cuts.iter().map(|cut| ends[cut.index(ends.len())]).collect();
            kept.sort_unstable();
            ends = kept;
        }
        ends.push(bytes.len());
        let mut pieces = decoder();
        pieces.decode(&before, 0);
        let (mut good, mut bad, mut errors, mut start) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for end in ends {
            let decoded = pieces.decode(&bytes[start..end], 7 + start as u64);
            let (rows, offsets) = answer(&decoded);
            good.extend(rows);
            bad.extend(offsets);
            errors.extend(decoded.errors);
            start = end;
        }
        prop_assert_eq!(&errors, &whole.errors);
        same((good, bad), answer(&whole))?;
    }

    /// Reading fewer columns gives the same values, and a record that is no JSON is bad whatever is read.
    #[test]
    fn projection_changes_nothing(Shown(bytes) in lines(), keep in prop::collection::vec(any::<bool>(), 7)) {
        let kept: Vec<usize> = (0..7).filter(|at| keep[*at]).collect();
        let narrow = Arc::new(schema().project(&kept).unwrap());
        let decoded = NdjsonDecoder::new(narrow.clone(), NdjsonOptions::default()).unwrap().decode(&bytes, 0);
        same(normal(answer(&decoded)), normal(oracle(&bytes, &narrow)))?;
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\\n intfl0123-.eE".to_vec())], 0..400)) {
        let decoded = decoder().decode(&bytes, 3);
        same(normal(answer(&decoded)), normal({
            let (good, bad) = oracle(&bytes, &schema());
            (good.into_iter().map(|(at, row)| (at + 3, row)).collect(), bad.into_iter().map(|at| at + 3).collect())
        }))?;
    }
}

fn one(data_type: DataType, value: &str) -> Result<RecordBatch, String> {
    one_with(data_type, value, NdjsonOptions::default())
}

fn one_with(data_type: DataType, value: &str, options: NdjsonOptions) -> Result<RecordBatch, String> {
    let schema = Arc::new(Schema::new(vec![Field::new("price", data_type, true)]));
    let decoded = NdjsonDecoder::new(schema, options).unwrap().decode(format!("{{\"price\":{value}}}\r\n").as_bytes(), 0);
    match decoded.errors.into_iter().next() {
        Some(error) => Err(error.reason),
        None => Ok(decoded.columns),
    }
}

#[test]
fn reasons_name_the_field_and_what_was_found() {
    for (data_type, value, reason) in [
        (DataType::Int64, r#""abc""#, r#"field "price": expected BIGINT, found abc"#),
        (DataType::Int64, "12.5", r#"field "price": expected BIGINT, found 12.5, which is not whole"#),
        (DataType::Int64, "9223372036854775808", r#"field "price": 9223372036854775808 is out of range for BIGINT"#),
        (DataType::Int8, "128", r#"field "price": 128 is out of range for TINYINT"#),
        (DataType::UInt32, "-1", r#"field "price": -1 is out of range for INT UNSIGNED"#),
        (DataType::Int64, "true", r#"field "price": expected BIGINT, found true"#),
        (DataType::Int64, r#"{"a":[1,2]}"#, r#"field "price": expected BIGINT, found {"a":[1,2]}"#),
        (DataType::Boolean, r#""true""#, r#"field "price": expected BOOLEAN, found "true""#),
        (DataType::Decimal128(5, 2), "1.234", r#"field "price": 1.234 has more digits behind the point than DECIMAL(5, 2)"#),
        (DataType::Decimal128(5, 2), "1234.5", r#"field "price": 1234.5 is out of range for DECIMAL(5, 2)"#),
        (DataType::Float64, "1e999", r#"field "price": 1e999 is out of range for DOUBLE"#),
        (DataType::Date32, r#""2024-02-30""#, r#"field "price": expected DATE, found "2024-02-30""#),
        (DataType::Timestamp(TimeUnit::Microsecond, None), r#""noon""#, r#"field "price": expected TIMESTAMP, found "noon""#),
        (DataType::Binary, r#""a$""#, r#"field "price": expected base64, found "a$""#),
        (DataType::Utf8, "{bad}", r#"field "price": expected '"', found bad"#),
        (DataType::Utf8, r#""a"#, r#"field "price": control character 0x0d in a string"#),
    ] {
        assert_eq!(one(data_type, value).unwrap_err(), reason);
    }
}

#[test]
fn timestamps_from_text_and_integers() {
    let micros = |value: &str, unit| {
        let options = NdjsonOptions { timestamp_unit: unit, ..NdjsonOptions::default() };
        one_with(DataType::Timestamp(TimeUnit::Microsecond, None), value, options)
            .map(|batch| batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0))
    };
    assert_eq!(micros(r#""2024-02-29T12:00:00.5Z""#, TimeUnit::Second), Ok(1_709_208_000_500_000));
    assert_eq!(micros(r#""2024-02-29 12:00:00.5""#, TimeUnit::Second), Ok(1_709_208_000_500_000));
    assert_eq!(micros("1709208000500", TimeUnit::Millisecond), Ok(1_709_208_000_500_000));
    assert_eq!(micros(r#""1709208000500""#, TimeUnit::Millisecond), Ok(1_709_208_000_500_000));
    assert_eq!(micros("1709208000", TimeUnit::Second), Ok(1_709_208_000_000_000));
    assert_eq!(micros("-1", TimeUnit::Nanosecond), Ok(-1));
    assert!(micros("9223372036854775807", TimeUnit::Second).unwrap_err().contains("out of range"));
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()));
    let zoned = |text: &str| one(zone.clone(), text).map(|batch| batch.column(0).as_primitive::<TimestampMicrosecondType>().value(0));
    assert_eq!(zoned(r#""2024-02-29T13:00:00""#), Ok(1_709_208_000_000_000));
    assert_eq!(zoned(r#""2024-02-29T12:00:00Z""#), Ok(1_709_208_000_000_000));
    assert!(zoned(r#""2024-03-31T02:30:00""#).unwrap_err().contains("time zone"));
}

#[test]
fn maps_binary_decimals_and_fixed_lists() {
    let entries = Field::new(
        "entries",
        DataType::Struct(Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Int64, true)])),
        false,
    );
    let map = one(DataType::Map(Arc::new(entries), false), r#"{"a":1,"b":{"x":2},"b":null,"a":3}"#).unwrap();
    assert_eq!(
        format!("{:?}", map.column(0).as_map().value(0).column(0).as_string::<i32>().iter().collect::<Vec<_>>()),
        r#"[Some("b"), Some("a")]"#
    );
    assert_eq!(one(DataType::Binary, r#""Zm9v""#).unwrap().column(0).as_binary::<i32>().value(0), b"foo");
    let decimal = one(DataType::Decimal128(20, 3), "12345678901234567.891").unwrap();
    assert_eq!(decimal.column(0).as_primitive::<arrow::datatypes::Decimal128Type>().value(0), 12_345_678_901_234_567_891);
    let pair = DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Int64, true)), 2);
    assert_eq!(one(pair.clone(), "[1,2]").unwrap().column(0).as_fixed_size_list().value(0).len(), 2);
    assert_eq!(one(pair.clone(), "[1]").unwrap_err(), r#"field "price": expected a list of 2 elements"#);
    assert!(one(pair, "null").unwrap().column(0).is_null(0));
}

#[test]
fn deep_nesting_is_an_error_not_an_overflow() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(one(DataType::Utf8, &deep(127)).is_ok());
    for depth in [128, 100_000] {
        assert!(one(DataType::Utf8, &deep(depth)).unwrap_err().ends_with("nested deeper than 128"));
        assert_eq!(one(DataType::Int64, &format!("1,\"x\":{}", deep(depth))).unwrap_err(), "nested deeper than 128");
    }
    assert!(one(DataType::Utf8, &"[".repeat(100_000)).is_err());
}

#[test]
fn marks_blank_lines_and_long_lines() {
    let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, true)]));
    let mut decoder = NdjsonDecoder::new(schema, NdjsonOptions::default()).unwrap();
    let long = "x".repeat(3 * BLOCK_BYTES);
    let text = format!("\u{feff}{{\"t\":\"a\"}}\r\n\r\n  \n{{\"t\":\"{long}\"}}\n{{\"t\":\"{long}\n{{\"t\":\"b\"}}");
    let decoded = decoder.decode(text.as_bytes(), 0);
    assert_eq!(rows(&decoded.columns), [[Cell::Text("a".into())], [Cell::Text(long)], [Cell::Text("b".into())]]);
    assert_eq!(decoded.offsets.get(0), 3);
    assert_eq!(decoded.errors.len(), 1);
    // Only the first bytes of a partition may be a mark.
    assert_eq!(decoder.decode(text.as_bytes(), 10).errors.len(), 2);
}

#[test]
fn of_equal_keys_the_last_wins() {
    let mut decoder = decoder();
    let text = "{\"n\":\"x\",\"i\":1,\"n\":0,\"i\":null,\"s\":{\"a\":1,\"b\":\"x\"},\"l\":[1,2],\"l\":[3],\"s\":{\"b\":\"y\",\"a\":[],\"a\":2}}\n{\"n\":0,\"n\":\"x\"}\n";
    let decoded = decoder.decode(text.as_bytes(), 0);
    let row = rows(&decoded.columns).remove(0);
    assert_eq!(row[0], Cell::Null);
    assert_eq!(row[1], Cell::Int(0));
    assert_eq!(row[5], Cell::Parts(vec![Cell::Int(3)]));
    assert_eq!(row[6], Cell::Parts(vec![Cell::Int(2), Cell::Text("y".into())]));
    assert_eq!(decoded.errors.len(), 1);
}

#[test]
fn no_columns_still_count_rows() {
    let mut decoder = NdjsonDecoder::new(Arc::new(Schema::empty()), NdjsonOptions::default()).unwrap();
    let decoded = decoder.decode(b"{\"a\":1}\n{}\n{\"a\":}\n", 0);
    assert_eq!((decoded.columns.num_rows(), decoded.errors.len()), (2, 1));
}

#[test]
fn keys_that_come_and_go_are_read_right() {
    let schema = Arc::new(Schema::new((0..40).map(|at| Field::new(format!("c{at}"), DataType::Int64, true)).collect::<Vec<_>>()));
    let mut decoder = NdjsonDecoder::new(schema, NdjsonOptions::default()).unwrap();
    let mut text = String::new();
    for row in 0..500usize {
        let fields: Vec<String> = (0..40)
            .filter(|at| (row * 7 + at * 13) % (2 + at % 5) != 0)
            .map(|at| format!("\"c{}\":{}", (at + row / 50) % 40, row * 100 + at))
            .collect();
        text.push_str(&format!("{{{}}}\n", fields.join(",")));
    }
    let decoded = decoder.decode(text.as_bytes(), 0);
    assert_eq!(decoded.errors, []);
    for (row, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        for at in 0..40 {
            let expected = value.get(format!("c{at}")).map_or(Cell::Null, |value| Cell::Int(value.as_i64().unwrap()));
            assert_eq!(cell(decoded.columns.column(at), row), expected);
        }
    }
}
