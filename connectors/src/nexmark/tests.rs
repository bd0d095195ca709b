//! The stream is the same however it is cut, dealt and projected.

use arrow::array::cast::AsArray;
use arrow::array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;

use super::*;
use crate::testing::{Whole, options, read_on, read_partition, source_plan};

fn whole(pairs: &[(&str, &str)], read: &[usize]) -> Vec<Whole> {
    let shape = pairs.iter().find(|(name, _)| *name == "shape").and_then(|(_, word)| Shape::parse(word)).unwrap_or(Shape::Combined);
    let plan = source_plan("nexmark", pairs, &shape.schema(), read);
    let source = open(&plan).expect("valid options");
    (0..source.partitions().len())
        .map(|partition| read_partition(source.as_ref(), partition, &plan.read_schema).expect("readable"))
        .collect()
}

fn one(pairs: &[(&str, &str)], read: &[usize]) -> RecordBatch {
    let mut parts = whole(pairs, read);
    assert_eq!(parts.len(), 1);
    parts.remove(0).rows
}

#[test]
fn proportions_are_the_standard_ones() {
    for (shape, columns, rows) in [("person", 8, 2_000), ("auction", 10, 6_000), ("bid", 7, 92_000), ("combined", 5, 100_000)] {
        let all: Vec<usize> = (0..columns).collect();
        assert_eq!(one(&[("shape", shape), ("events", "100000")], &all).num_rows(), rows, "{shape}");
    }
}

#[test]
fn a_projection_is_the_columns_of_the_whole_in_the_order_asked() {
    for (shape, read) in
        [("bid", vec![3, 0]), ("auction", vec![9, 2, 5]), ("person", vec![7, 1]), ("combined", vec![4, 3, 0]), ("bid", vec![])]
    {
        let all: Vec<usize> = (0..Shape::parse(shape).expect("a shape").schema().fields().len()).collect();
        let pairs = [("shape", shape), ("events", "40000")];
        let expected = one(&pairs, &all).project(&read).expect("columns in range");
        assert_eq!(one(&pairs, &read), expected, "{shape} {read:?}");
    }
}

#[test]
fn preloaded_events_are_the_same() {
    for shape in ["bid", "combined"] {
        for group in ["1", "10"] {
            let pairs = [("shape", shape), ("events", "50000"), ("out-of-order-group", group)];
            let preloaded = [("shape", shape), ("events", "50000"), ("out-of-order-group", group), ("preload", "true")];
            assert_eq!(whole(&pairs, &[0, 3]), whole(&preloaded, &[0, 3]), "{shape} {group}");
        }
    }
}

#[test]
fn a_slice_of_preloaded_events_is_those_events() {
    for group in ["1", "7"] {
        let pairs = [("shape", "bid"), ("events", "40000"), ("out-of-order-group", group)];
        let settings = Settings::new(&options(&pairs)).expect("valid options");
        let mut source = NexmarkSource::new(
            Settings { preload: true, ..settings },
            &[0, 1],
            Arc::new(Shape::Bid.schema().project(&[0, 1]).expect("columns")),
        );
        source.preload().expect("made");
        let blocks = source.shared.preloaded.as_deref().expect("preloaded");
        for (first, count) in [(0, 16_384), (0, 1), (100, 900), (16_384, 50), (32_768, 7_232), (39_999, 1)] {
            let (rows, offsets) = source.shared.slice(blocks, first, count);
            let (expected, expected_offsets) = source.shared.batch(first, count).expect("made");
            assert_eq!(rows, expected, "events {first} + {count}");
            for row in 0..rows.num_rows() {
                assert_eq!(offsets.get(row), expected_offsets.get(row));
            }
        }
    }
}

#[test]
fn partitions_hold_all_events_once_and_ascend() {
    let expected = one(&[("shape", "bid"), ("events", "200000")], &[0, 1, 5]);
    let parts = whole(&[("shape", "bid"), ("events", "200000"), ("partitions", "3")], &[0, 1, 5]);
    assert_eq!(parts.len(), 3);
    let mut rows: Vec<(u64, usize, usize)> = Vec::new();
    for (partition, part) in parts.iter().enumerate() {
        let times = part.rows.column(2).as_primitive::<TimestampMicrosecondType>();
        assert!(times.values().is_sorted(), "event time ascends in partition {partition}");
        assert!(part.rows.num_rows() > 50_000);
        rows.extend((0..part.rows.num_rows()).map(|row| (part.offsets[row], partition, row)));
    }
    rows.sort_unstable();
    let slices: Vec<RecordBatch> = rows.iter().map(|(_, partition, row)| parts[*partition].rows.slice(*row, 1)).collect();
    assert_eq!(concat_batches(&expected.schema(), &slices).expect("one schema"), expected);
}

#[test]
fn the_combined_table_holds_each_event_in_its_own_column() {
    let rows = one(&[("events", "5000")], &[0, 1, 2, 3, 4]);
    let kinds = rows.column(0).as_primitive::<Int32Type>();
    let times = rows.column(4).as_primitive::<TimestampMicrosecondType>();
    let bids = one(&[("events", "5000"), ("shape", "bid")], &[2]);
    let mut prices = bids.column(0).as_primitive::<Int64Type>().values().iter();
    for row in 0..rows.num_rows() {
        for kind in 0..3 {
            let nested = rows.column(kind + 1).as_struct();
            assert_eq!(nested.is_valid(row), kinds.value(row) as usize == kind, "row {row}");
            if nested.is_valid(row) {
                let time = nested.column_by_name("dateTime").expect("a time").as_primitive::<TimestampMicrosecondType>();
                assert_eq!(time.value(row), times.value(row));
            }
        }
        if kinds.value(row) == 2 {
            let price = rows.column(3).as_struct().column_by_name("price").expect("a price").as_primitive::<Int64Type>().value(row);
            assert_eq!(Some(&price), prices.next());
        }
    }
    assert_eq!(prices.next(), None);
}

#[test]
fn released_events_are_the_first_ones_and_all_come() {
    let pairs = [("shape", "bid"), ("events", "3000"), ("events-per-second", "100000"), ("partitions", "2"), ("rate", "10000")];
    let plan = source_plan("nexmark", &pairs, &Shape::Bid.schema(), &[0, 5]);
    let source = open(&plan).expect("valid options");
    let mut rows = 0;
    for partition in 0..2 {
        let started = std::time::Instant::now();
        let mut reader = source.open(partition).expect("opened");
        let part = read_on(source.as_ref(), reader.as_mut(), &plan.read_schema, true).expect("read");
        assert!(started.elapsed().as_millis() >= 29, "1,500 events at 50,000 a second came within {:?}", started.elapsed());
        assert!(part.chunks > 1);
        rows += part.rows.num_rows();
    }
    assert_eq!(rows, 2760);
}

#[test]
fn facts_tell_the_columns_the_end_and_the_disorder() {
    let told = facts(&options(&[("shape", "bid"), ("events", "10")]), None).expect("valid");
    assert_eq!(told.schema.expect("known"), Shape::Bid.schema());
    assert!(told.bounded);
    assert_eq!(told.event_time, Some(("dateTime".into(), 0)));
    let told = facts(&options(&[("shape", "bid"), ("out-of-order-group", "100")]), None).expect("valid");
    assert!(!told.bounded);
    assert_eq!(told.event_time, Some(("dateTime".into(), 11_000)));
}

#[test]
fn wrong_options_are_told() {
    let told = |pairs: &[(&str, &str)]| facts(&options(pairs), None).expect_err("refused");
    assert_eq!(told(&[("preload", "true")]), "preload needs events: say how many are made before the run");
    assert_eq!(told(&[("base-time", "noon")]), "base-time \"noon\" is not a timestamp");
    assert_eq!(
        told(&[("out-of-order-group", "953")]),
        "out-of-order-group 953 is a multiple of 953, the stride of the shuffle; take another number"
    );
    let declared = crate::testing::schema(&[("price", arrow::datatypes::DataType::Utf8)]);
    let told = |declared: &SchemaRef| facts(&options(&[("shape", "bid")]), Some(declared)).expect_err("refused");
    assert_eq!(told(&declared), "nexmark column \"price\" is Int64, not Utf8");
    let declared = crate::testing::schema(&[("prise", arrow::datatypes::DataType::Int64)]);
    assert_eq!(told(&declared), "nexmark has no column \"prise\"; it has auction, bidder, price, channel, url, dateTime, extra");
}
