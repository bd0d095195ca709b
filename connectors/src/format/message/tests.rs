//! Messages, one by one against naive readings, and Avro against the `apache-avro` crate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use apache_avro::types::Value as Avro;
use apache_avro::{Schema as AvroText, from_avro_datum, to_avro_datum};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::testing::{options, schema};

pub(super) fn values<'a>(all: impl IntoIterator<Item = Option<&'a [u8]>>) -> Values {
    let mut values = Values::default();
    all.into_iter().for_each(|value| values.push(value));
    values
}

fn format(name: &str, pairs: &[(&str, &str)]) -> MessageFormat {
    MessageFormat::from_options(name, SchemaKind::Value, &options(pairs)).expect("valid")
}

/// Places of rows, and errors.
pub(super) fn places(decoded: &DecodedValues) -> (Vec<u32>, Vec<(u32, &str)>) {
    let places = decoded.places.clone().unwrap_or_else(|| (0..decoded.rows as u32).collect());
    (places, decoded.errors.iter().map(|(place, reason)| (*place, reason.as_str())).collect())
}

proptest! {
    /// A chunk decodes as its messages do one by one, whatever they hold.
    #[test]
    fn a_chunk_is_its_messages(
        messages in prop::collection::vec(prop::option::of(prop_oneof![
            "[0-9]{1,3}", "\\{\"n\":[0-9]{1,3}\\}", "\\{ ?\n? ?\"n\": ?\n?\"?[0-9x]{1,2}\"?\r?\n?\\}", "[\"\n,{}#ab]{0,6}", Just(String::new()),
        ]), 0..12),
        name in prop::sample::select(vec!["json", "csv", "raw"]),
    ) {
        let columns = schema(&[("n", DataType::Utf8)]);
        let format = format(name, &[]);
        let mut decoder = format.decoder(&columns, &columns, &Meaning::default()).unwrap();
        let whole = decoder.decode(&values(messages.iter().map(|it| it.as_deref().map(str::as_bytes)))).unwrap();
        let (mut rows, mut wrong, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (place, message) in messages.iter().enumerate() {
            let one = decoder.decode(&values([message.as_deref().map(str::as_bytes)])).unwrap();
            prop_assert!(one.rows + one.errors.len() == usize::from(message.is_some()), "{message:?}: {one:?}");
            if one.rows == 1 {
                rows.push(place as u32);
                let column = one.columns[0].as_string::<i32>();
                texts.push(column.is_valid(0).then(|| column.value(0).to_owned()));
            }
            wrong.extend(one.errors.into_iter().map(|(_, reason)| (place as u32, reason)));
        }
        let found: Vec<Option<String>> = whole.columns[0].as_string::<i32>().iter().map(|it| it.map(str::to_owned)).collect();
        prop_assert_eq!(places(&whole).0, rows);
        prop_assert_eq!(found, texts);
        prop_assert_eq!(whole.errors, wrong);
    }
}

fn sample() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX])), false),
        ("small", Arc::new(Int32Array::from(vec![Some(-1), None, Some(7)])), true),
        ("name", Arc::new(StringArray::from(vec![Some("é"), None, Some("")])), true),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), true),
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1e300)])), true),
        ("price", Arc::new(Decimal128Array::from(vec![Some(-12_345), Some(0), None]).with_precision_and_scale(10, 2).unwrap()), true),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_704_067_200_000_001), None, Some(-1)])), true),
        ("list", Arc::new(list), true),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array, _)| array).collect()).expect("columns fit")
}

pub(super) fn encoded(format: &MessageFormat, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    format.encoder(&rows.schema(), SchemaKind::Value).expect("an encoder").encode(rows, &mut bytes, &mut ends).expect("encoded");
    let mut start = 0;
    ends.iter().map(|end| bytes[std::mem::replace(&mut start, *end)..*end].to_vec()).collect()
}

#[test]
fn every_format_reads_what_it_writes() {
    let rows = sample();
    for name in ["json", "csv", "avro"] {
        let format = format(name, &[]);
        let messages = encoded(&format, &rows);
        let decoded = format
            .decoder(&rows.schema(), &rows.schema(), &Meaning::default())
            .unwrap()
            .decode(&values(messages.iter().map(|it| Some(it.as_slice()))))
            .unwrap();
        assert_eq!(decoded.errors, [], "{name}");
        for (field, (found, wanted)) in rows.schema().fields().iter().zip(decoded.columns.iter().zip(rows.columns())) {
            // The empty text is null in CSV.
            if !(name == "csv" && field.name() == "name") {
                assert_eq!(found, wanted, "{name}: {}", field.name());
            }
        }
    }
}

#[test]
fn avro_is_read_by_others() {
    let rows = sample();
    let text = avro_write::schema_of(&rows.schema(), "value").expect("a schema").to_string();
    let schema = AvroText::parse_str(&text).expect("a schema of Avro");
    for (row, message) in encoded(&format("avro", &[]), &rows).iter().enumerate() {
        let mut bytes = message.as_slice();
        let Avro::Record(fields) = from_avro_datum(&schema, &mut bytes, None).expect("a datum") else { panic!("a record") };
        assert!(bytes.is_empty());
        assert_eq!(fields[0].1, Avro::Long(rows.column(0).as_primitive::<Int64Type>().value(row)));
        let Avro::Union(variant, _) = &fields[5].1 else { panic!("a union") };
        assert_eq!(*variant == 0, rows.column(5).is_null(row));
    }
}

#[test]
fn avro_of_others_is_read_and_other_columns_are_passed_over() {
    let text = r#"{"type":"record","name":"r","fields":[
        {"name":"skipped","type":{"type":"map","values":{"type":"array","items":"string"}}},
        {"name":"kind","type":{"type":"enum","name":"k","symbols":["A","B"]}},
        {"name":"inner","type":["null",{"type":"record","name":"i","fields":[{"name":"deep","type":"int"},{"name":"other","type":"double"}]}]},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"amount","type":{"type":"fixed","name":"f","size":4,"logicalType":"decimal","precision":9,"scale":1}},
        {"name":"tags","type":{"type":"map","values":"long"}}]}"#;
    let written = AvroText::parse_str(text).expect("a schema");
    let datum = |n: i32| {
        let map = |value: Avro| Avro::Map([("k".to_owned(), value)].into());
        let inner = Avro::Record(vec![("deep".into(), Avro::Int(n)), ("other".into(), Avro::Double(0.1))]);
        let record = Avro::Record(vec![
            ("skipped".into(), map(Avro::Array(vec![Avro::String("x".into())]))),
            ("kind".into(), Avro::Enum(1, "B".into())),
            ("inner".into(), Avro::Union(1, Box::new(inner))),
            ("at".into(), Avro::TimestampMillis(1_000 + i64::from(n))),
            ("amount".into(), Avro::Decimal(apache_avro::Decimal::from((-15i32).to_be_bytes()))),
            ("tags".into(), map(Avro::Long(5))),
        ]);
        to_avro_datum(&written, record).expect("a datum")
    };
    let inner = DataType::Struct(vec![Field::new("deep", DataType::Int64, true), Field::new("absent", DataType::Utf8, true)].into());
    let columns = schema(&[
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("kind", DataType::Utf8),
        ("inner", inner),
        ("amount", DataType::Decimal128(10, 2)),
        ("absent", DataType::Int32),
    ]);
    let format = format("avro", &[("avro.schema", text)]);
    let mut decoder = format.decoder(&columns, &columns, &Meaning::default()).expect("a decoder");
    let (first, cut) = (datum(7), datum(8)[..10].to_vec());
    let decoded = decoder.decode(&values([Some(first.as_slice()), Some(&cut), None, Some(&first)])).expect("decoded");
    let (rows, errors) = places(&decoded);
    assert_eq!(rows, [0, 3]);
    assert!(errors.len() == 1 && errors[0].0 == 1 && errors[0].1.contains("was the record written with another schema?"), "{errors:?}");
    let at = decoded.columns[0].as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(at.values().to_vec(), [1_007_000, 1_007_000]);
    assert_eq!(decoded.columns[1].as_string::<i32>().value(0), "B");
    assert_eq!(decoded.columns[2].as_struct().column(0).as_primitive::<Int64Type>().value(1), 7);
    assert_eq!(decoded.columns[3].as_primitive::<arrow::datatypes::Decimal128Type>().value(0), -150);
    assert!(decoded.columns[4].is_null(0) && decoded.columns[2].as_struct().column(1).is_null(0));
}

proptest! {
    /// Bytes that are no Avro are errors, never a panic.
    #[test]
    fn any_bytes_are_told_from_avro(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let columns = sample().schema();
        let mut decoder = format("avro", &[]).decoder(&columns, &columns, &Meaning::default()).unwrap();
        let decoded = decoder.decode(&values([Some(bytes.as_slice())])).unwrap();
        prop_assert_eq!(decoded.rows + decoded.errors.len(), 1);
    }
}

/// A schema registry: requests it has seen, and its address. It gives number 7 to whatever is registered.
pub(crate) fn registry() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut registered = serde_json::Value::Null;
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut first, mut length, mut login) = (String::new(), 0, false);
            if reader.read_line(&mut first).is_err() {
                continue;
            }
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
                    break;
                }
                let line = line.to_ascii_lowercase();
                length = line.strip_prefix("content-length:").and_then(|it| it.trim().parse().ok()).unwrap_or(length);
                login |= line.starts_with("authorization: basic bwu6chc=");
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            log.lock().expect("whole").push(first.trim().to_owned());
            let (status, answer) = match first.split(' ').nth(1).unwrap_or_default() {
                _ if !login => (401, r#"{"message":"who are you"}"#.to_owned()),
                "/subjects/t-value/versions" => {
                    registered = serde_json::from_slice(&body).expect("JSON");
                    (200, r#"{"id":7}"#.to_owned())
                }
                "/schemas/ids/7" => (200, registered.to_string()),
                _ => (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()),
            };
            let stream = reader.get_mut();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        }
    });
    (address, seen)
}

#[test]
fn schemas_are_registered_and_found() {
    let (address, seen) = registry();
    let pairs = |login| vec![("schema-registry", address.as_str()), ("schema-registry.login", login), ("topic", "t")];
    let format = format("avro-confluent", &pairs("me:pw").iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>());
    let rows = sample();
    let messages = encoded(&format, &rows);
    assert!(messages.iter().all(|message| message.starts_with(&[0, 0, 0, 0, 7])));
    let mut decoder = format.decoder(&rows.schema(), &rows.schema(), &Meaning::default()).expect("a decoder");
    let unknown = [0, 0, 0, 0, 9, 1, 2];
    let all = messages.iter().map(|it| Some(it.as_slice())).chain([Some(&unknown[..]), Some(b"{}")]);
    let decoded = decoder.decode(&values(all)).expect("decoded");
    assert_eq!(decoded.columns[0].as_ref(), rows.column(0).as_ref());
    let (_, errors) = places(&decoded);
    assert_eq!(errors[0], (3, "the schema registry has no schema 9"));
    assert!(errors[1].1.contains("does not begin with the number of a schema"), "{errors:?}");
    decoder.decode(&values([Some(messages[0].as_slice()), Some(&unknown)])).expect("decoded");
    let seen = seen.lock().expect("whole").clone();
    assert_eq!(seen.len(), 3, "each schema is asked for once: {seen:?}");
    let refused = self::format("avro-confluent", &pairs("me:wrong"))
        .encoder(&rows.schema(), SchemaKind::Value)
        .expect("an encoder")
        .encode(&rows, &mut Vec::new(), &mut Vec::new());
    assert!(refused.expect_err("no login").ends_with("answers 401: who are you"));
}
