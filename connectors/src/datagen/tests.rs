//! Rows are functions of seed and number; distributions are what they say; wrong options are told.

use std::collections::BTreeMap;

use arrow::array::cast::AsArray;
use arrow::array::types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::TimeUnit;
use proptest::prelude::*;

use super::*;
use crate::testing::{options, read_on, read_partition, schema, source_plan};

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn rows(columns: &[(&str, DataType)], pairs: &[(&str, &str)]) -> RecordBatch {
    let declared = schema(columns);
    let all: Vec<usize> = (0..columns.len()).collect();
    let plan = source_plan("datagen", pairs, &declared, &all);
    let source = open(&plan).expect("valid options");
    read_partition(source.as_ref(), 0, &declared).expect("readable").rows
}

fn refused(columns: &[(&str, DataType)], pairs: &[(&str, &str)]) -> String {
    facts(&options(pairs), Some(&schema(columns))).expect_err("refused")
}

fn every_type() -> Vec<(&'static str, DataType)> {
    vec![
        ("tiny", DataType::Int8),
        ("number", DataType::Int32),
        ("id", DataType::Int64),
        ("count", DataType::UInt16),
        ("ratio", DataType::Float64),
        ("ratio32", DataType::Float32),
        ("price", DataType::Decimal128(10, 2)),
        ("word", DataType::Utf8),
        ("view", DataType::Utf8View),
        ("flag", DataType::Boolean),
        ("ts", TIMESTAMP),
        ("ts_ms", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))),
        ("day", DataType::Date32),
    ]
}

#[test]
fn every_type_has_useful_defaults() {
    let rows = rows(&every_type(), &[("rows", "20000")]);
    assert_eq!(rows.num_rows(), 20_000);
    assert!(rows.columns().iter().all(|column| column.null_count() == 0));
    let ids = rows.column(2).as_primitive::<Int64Type>();
    assert!(ids.values().iter().all(|id| (0..1000).contains(id)));
    let prices = rows.column(6).as_primitive::<Decimal128Type>();
    assert!(prices.values().iter().all(|price| (0..10_000).contains(price)));
    let times = rows.column(10).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value_as_datetime(0).expect("a time").to_string(), "2024-01-01 00:00:00");
    assert_eq!(times.value(19_999) - times.value(0), 19_999_000_000);
    let days = rows.column(12).as_primitive::<Date32Type>();
    assert!(days.values().iter().all(|day| (19_723..19_723 + 366).contains(day)));
}

#[test]
fn kinds_do_what_they_say() {
    let columns = [
        ("s", DataType::Int64),
        ("z", DataType::Int64),
        ("n", DataType::Float64),
        ("c", DataType::Utf8),
        ("k", DataType::Utf8),
        ("w", DataType::Utf8),
    ];
    let pairs = [
        ("rows", "50000"),
        ("fields.s.start", "10"),
        ("fields.s.step", "3"),
        ("fields.z.kind", "zipf"),
        ("fields.z.min", "1"),
        ("fields.z.max", "100"),
        ("fields.n.mean", "5"),
        ("fields.n.stddev", "2"),
        ("fields.c.values", "AAA, BBB,CCC"),
        ("fields.k.kind", "random"),
        ("fields.k.prefix", "user-"),
        ("fields.k.max", "9"),
        ("fields.w.kind", "zipf"),
        ("fields.w.values", "common,rare"),
        ("fields.w.exponent", "3"),
    ];
    let rows = rows(&columns, &pairs);
    let sequence = rows.column(0).as_primitive::<Int64Type>().values();
    assert_eq!((sequence[0], sequence[1], sequence[49_999]), (10, 13, 10 + 3 * 49_999));
    let mut counts = BTreeMap::new();
    rows.column(1).as_primitive::<Int64Type>().values().iter().for_each(|value| *counts.entry(*value).or_insert(0_u32) += 1);
    assert!(counts.keys().all(|value| (1..=100).contains(value)));
    assert!(counts[&1] > counts[&2] && counts[&2] > counts[&10] && counts[&10] > counts[&100], "{counts:?}");
    let normal = rows.column(2).as_primitive::<Float64Type>().values();
    let mean = normal.iter().sum::<f64>() / 50_000.0;
    let deviation = (normal.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 50_000.0).sqrt();
    assert!((mean - 5.0).abs() < 0.05 && (deviation - 2.0).abs() < 0.05, "{mean} {deviation}");
    let words = |column: usize| {
        let mut counts = BTreeMap::new();
        rows.column(column).as_string::<i32>().iter().flatten().for_each(|word| *counts.entry(word.to_string()).or_insert(0_u32) += 1);
        counts
    };
    assert_eq!(words(3).keys().collect::<Vec<_>>(), ["AAA", "BBB", "CCC"]);
    assert_eq!(words(4).len(), 10);
    assert!(words(4).keys().all(|word| word.starts_with("user-")));
    assert!(words(5)["common"] > 5 * words(5)["rare"], "{:?}", words(5));
}

#[test]
fn nulls_come_at_their_rate_and_change_no_other_value() {
    let columns = [("a", DataType::Int64), ("b", DataType::Utf8)];
    let without = rows(&columns, &[("rows", "10000")]);
    let with = rows(&columns, &[("rows", "10000"), ("fields.a.null-rate", "0.25")]);
    assert_eq!(with.column(1), without.column(1));
    let (a, plain) = (with.column(0).as_primitive::<Int64Type>(), without.column(0).as_primitive::<Int64Type>());
    assert!((2_300..2_700).contains(&a.null_count()), "{}", a.null_count());
    assert!((0..10_000).all(|row| a.is_null(row) || a.value(row) == plain.value(row)));
}

#[test]
fn disorder_is_bounded_and_vouched_for() {
    let pairs = [("rows", "5000"), ("fields.ts.step", "1s"), ("fields.ts.disorder", "10s")];
    let rows = rows(&[("ts", TIMESTAMP)], &pairs);
    let times = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
    assert!(!times.is_sorted());
    let mut greatest = i64::MIN;
    for time in times {
        greatest = greatest.max(*time);
        assert!(greatest - time <= 10_000_000);
    }
    let told = facts(&options(&pairs), Some(&schema(&[("ts", TIMESTAMP)]))).expect("valid");
    assert_eq!(told.event_time, Some(("ts".into(), 10_000_000)));
    assert!(told.bounded);
    // With two candidates, or nulls, nothing is promised.
    let two = schema(&[("ts", TIMESTAMP), ("other", TIMESTAMP)]);
    assert_eq!(facts(&options(&[]), Some(&two)).expect("valid").event_time, None);
    let nulls = options(&[("fields.ts.null-rate", "0.1")]);
    assert_eq!(facts(&nulls, Some(&schema(&[("ts", TIMESTAMP)]))).expect("valid").event_time, None);
}

#[test]
fn a_sequence_with_an_end_ends_the_source() {
    let columns = [("id", DataType::Int32), ("x", DataType::Float64)];
    let pairs = [
        ("fields.id.start", "5"),
        ("fields.id.end", "14"),
        ("fields.x.kind", "sequence"),
        ("fields.x.step", "0.1"),
        ("fields.x.end", "100"),
    ];
    let told = facts(&options(&pairs), Some(&schema(&columns))).expect("valid");
    assert!(told.bounded);
    let rows = rows(&columns, &pairs);
    assert_eq!(rows.column(0).as_primitive::<Int32Type>().values().to_vec(), (5..15).collect::<Vec<_>>());
}

#[test]
fn rows_of_now_come_by_the_clock_and_ascend() {
    let declared = schema(&[("ts", TIMESTAMP)]);
    let plan = source_plan("datagen", &[("rows", "200"), ("rows-per-second", "10000")], &declared, &[0]);
    let source = open(&plan).expect("valid");
    let before = time_text::now_us();
    let started = std::time::Instant::now();
    let mut reader = source.open(0).expect("opened");
    let whole = read_on(source.as_ref(), reader.as_mut(), &declared, true).expect("read");
    let after = time_text::now_us();
    let times = whole.rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
    assert!(started.elapsed().as_millis() >= 19, "200 rows at 10,000 a second came within {:?}", started.elapsed());
    assert!(whole.chunks > 1);
    assert!(times.is_sorted() && times[0] >= before && times[199] <= after);
    assert_eq!(times[199] - times[0], 19_900);
}

#[test]
fn a_sequence_that_outgrows_its_type_is_no_null() {
    let declared = schema(&[("tiny", DataType::Int8)]);
    let plan = source_plan("datagen", &[("rows", "200"), ("fields.tiny.kind", "sequence")], &declared, &[0]);
    let source = open(&plan).expect("valid");
    let error = read_partition(source.as_ref(), 0, &declared).expect_err("128 is no Int8");
    assert!(error.to_string().starts_with("datagen column tiny: "), "{error}");
}

#[test]
fn wrong_options_are_told() {
    let columns = [("price", DataType::Int32), ("ts", TIMESTAMP), ("word", DataType::Utf8)];
    for (key, value, message) in [
        ("fields.prise.min", "1", "option \"fields.prise.min\": there is no column \"prise\"; did you mean \"price\"?"),
        ("fields.price.mni", "1", "option \"fields.price.mni\": there is no property \"mni\"; did you mean \"min\"?"),
        ("fields.price", "1", "option \"fields.price\" names no property; write for example fields.price.kind"),
        ("fields.price.kind", "sequenze", "option \"fields.price.kind\": \"sequenze\" is not a kind; did you mean \"sequence\"?"),
        ("fields.price.min", "ten", "option \"fields.price.min\": \"ten\" is not a value of type Int32"),
        ("fields.price.max", "3000000000", "option \"fields.price.max\": \"3000000000\" is not a value of type Int32"),
        ("fields.price.kind", "now", "column \"price\" of type Int32 cannot be of kind now"),
        ("fields.price.length", "3", "option \"fields.price.length\": a column of kind random and type Int32 does not use it"),
        ("fields.price.disorder", "3s", "option \"fields.price.disorder\": only a timestamp can be out of order, and the column is Int32"),
        ("fields.ts.step", "soon", "option \"fields.ts.step\": \"soon\" is not a duration; write for example 5s, 250ms or 1h 30m"),
        ("fields.word.null-rate", "2", "option \"fields.word.null-rate\": \"2\" is not a number from 0 to 1"),
        ("fields.word.kind", "zipf", ""),
        ("rows-per-second", "0", "rows-per-second 0 is not a rate; give a number above 0"),
    ] {
        if message.is_empty() {
            assert!(facts(&options(&[(key, value)]), Some(&schema(&columns))).is_ok(), "{key} = {value}");
        } else {
            assert_eq!(refused(&columns, &[(key, value)]), message);
        }
    }
    assert_eq!(
        refused(&columns, &[("fields.price.min", "5"), ("fields.price.max", "4")]),
        "option \"fields.price.min\": min is greater than max"
    );
    assert_eq!(refused(&[("l", DataType::Binary)], &[]), "datagen cannot make column \"l\" of type Binary");
    assert!(facts(&options(&[]), None).expect_err("refused").starts_with("datagen makes the columns that are declared; "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Any range of rows of any column is that range of the whole.
    #[test]
    fn a_range_is_a_slice_of_the_whole(first in 0_u64..3000, count in 1_u64..500, seed in 0_u64..1000) {
        let declared = schema(&every_type());
        let pairs = [("rows".to_string(), "3500".to_string()), ("seed".to_string(), seed.to_string()), ("fields.number.kind".to_string(), "zipf".to_string()),
            ("fields.word.length".to_string(), "5".to_string()), ("fields.id.null-rate".to_string(), "0.5".to_string()), ("fields.ts.disorder".to_string(), "9s".to_string())];
        let settings = Settings::new(&Options(pairs.into()), &declared).expect("valid");
        for column in &settings.columns {
            let whole = column.make(Rows { first: 0, count: 3500, now_us: 0, gap_us: 0.0 }).expect("made");
            let range = column.make(Rows { first, count, now_us: 0, gap_us: 0.0 }).expect("made");
            prop_assert_eq!(&range, &whole.slice(first as usize, count as usize), "{}", column.name);
        }
    }
}
