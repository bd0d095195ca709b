//! How fast text is decoded and encoded on one core, beside Arrow's readers and writers, in one run.
//!
//! `cargo run --release -p tidemark-connectors --example decode [rows]`

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Event, EventType};
use tidemark_connectors::format::csv::{CsvDecoder, CsvLayout, CsvOptions};
use tidemark_connectors::format::encode::{ChangeField, CsvEncoder, NdjsonEncoder, TimestampStyle};
use tidemark_connectors::format::ndjson::{NdjsonDecoder, NdjsonOptions, split_point};

const CHUNK_BYTES: usize = 1 << 20;
const ROUNDS: usize = 5;

fn bids() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let number = |name| Field::new(name, DataType::Int64, true);
    let time = Field::new("dateTime", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    Arc::new(Schema::new(vec![number("auction"), number("bidder"), number("price"), text("channel"), text("url"), time, text("extra")]))
}

/// Bids as ndjson, alone and as events of the combined shape.
fn text(rows: usize) -> (String, String) {
    let (mut plain, mut combined) = (String::new(), String::new());
    for event in EventGenerator::new(NexmarkConfig::default()).with_type_filter(EventType::Bid).take(rows) {
        let Event::Bid(bid) = event else { continue };
        let time = chrono::DateTime::from_timestamp_millis(bid.date_time as i64).unwrap_or_default();
        let object = format!(
            r#"{{"auction":{},"bidder":{},"price":{},"channel":"{}","url":"{}","dateTime":"{}","extra":"{}"}}"#,
            bid.auction,
            bid.bidder,
            bid.price,
            bid.channel,
            bid.url,
            time.format("%Y-%m-%d %H:%M:%S%.3f"),
            bid.extra
        );
        plain.push_str(&object);
        plain.push('\n');
        combined.push_str(&format!("{{\"event_type\":2,\"person\":null,\"auction\":null,\"bid\":{object}}}\n"));
    }
    (plain, combined)
}

fn chunks(text: &str) -> Vec<&[u8]> {
    let (mut chunks, mut rest) = (Vec::new(), text.as_bytes());
    while rest.len() > CHUNK_BYTES {
        let (chunk, behind) = rest.split_at(split_point(&rest[..CHUNK_BYTES]).unwrap_or(rest.len()));
        chunks.push(chunk);
        rest = behind;
    }
    chunks.push(rest);
    chunks
}

/// Time this thread has had a processor, where the system tells: a busy machine then disturbs less.
fn clock(start: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    match told.and_then(|told| told.split(' ').next()?.parse().ok()) {
        Some(nanos) => Duration::from_nanos(nanos),
        None => start.elapsed(),
    }
}

/// Runs all in turn, some rounds, and prints the best of each.
fn compare(title: &str, rows: usize, bytes: usize, runs: &mut [(&str, &mut dyn FnMut() -> usize)]) {
    let epoch = Instant::now();
    let mut best = vec![Duration::MAX; runs.len()];
    for _ in 0..ROUNDS {
        for ((name, run), best) in runs.iter_mut().zip(&mut best) {
            let start = clock(epoch);
            assert_eq!(run(), rows, "{name}");
            *best = clock(epoch).saturating_sub(start).min(*best);
        }
    }
    println!("{title}");
    for ((name, _), best) in runs.iter().zip(best) {
        let seconds = best.as_secs_f64();
        println!("  {name:<12} {:6.2} M rows/s {:7.0} MB/s", rows as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    }
}

fn ours(chunks: &[&[u8]], schema: &SchemaRef) -> usize {
    let mut decoder = NdjsonDecoder::new(schema.clone(), NdjsonOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut offset = 0;
    chunks
        .iter()
        .map(|chunk| {
            let decoded = decoder.decode(chunk, offset);
            offset += chunk.len() as u64;
            black_box(&decoded);
            decoded.columns.num_rows()
        })
        .sum()
}

fn arrows(chunks: &[&[u8]], schema: &SchemaRef) -> usize {
    let mut decoder =
        arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(8192).build_decoder().unwrap_or_else(|error| panic!("{error}"));
    let mut rows = 0;
    for chunk in chunks {
        let mut rest = *chunk;
        while !rest.is_empty() {
            let read = decoder.decode(rest).unwrap_or_else(|error| panic!("{error}"));
            rest = &rest[read..];
            if !rest.is_empty()
                && let Ok(Some(batch)) = decoder.flush()
            {
                rows += black_box(batch).num_rows();
            }
        }
    }
    while let Ok(Some(batch)) = decoder.flush() {
        rows += batch.num_rows();
    }
    rows
}

fn main() {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(400_000);
    let (plain, combined) = text(rows);
    let plain_chunks = chunks(&plain);
    println!("{rows} bids, {} bytes each", plain.len() / rows);
    let all = bids();
    let named = |names: &[&str]| {
        let kept: Vec<usize> = names.iter().filter_map(|name| all.index_of(name).ok()).collect();
        Arc::new(all.project(&kept).unwrap_or_else(|error| panic!("{error}")))
    };
    for (title, schema) in [
        ("ndjson, all 7 columns", all.clone()),
        ("ndjson, 3 columns: auction, bidder, price", named(&["auction", "bidder", "price"])),
        ("ndjson, 3 columns: auction, price, dateTime", named(&["auction", "price", "dateTime"])),
        ("ndjson, no column", named(&[])),
    ] {
        let (mut a, mut b) = (|| ours(&plain_chunks, &schema), || arrows(&plain_chunks, &schema));
        let mut runs: Vec<(&str, &mut dyn FnMut() -> usize)> = vec![("tidemark", &mut a)];
        if !schema.fields().is_empty() {
            runs.push(("arrow-json", &mut b));
        }
        compare(title, rows, plain.len(), &mut runs);
    }
    let bid = Field::new("bid", DataType::Struct(named(&["auction", "price", "dateTime"]).fields().clone()), true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("event_type", DataType::Int32, true), bid]));
    let combined_chunks = chunks(&combined);
    let (mut a, mut b) = (|| ours(&combined_chunks, &schema), || arrows(&combined_chunks, &schema));
    compare("ndjson, combined events, 3 fields of bid", rows, combined.len(), &mut [("tidemark", &mut a), ("arrow-json", &mut b)]);

    let mut decoder = NdjsonDecoder::new(all.clone(), NdjsonOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let batches: Vec<RecordBatch> = plain_chunks.iter().map(|chunk| decoder.decode(chunk, 1).columns).collect();
    csv(&batches, rows, &all, &named(&["auction", "price", "dateTime"]));
    encode(&batches, rows, &all);
}

fn csv(batches: &[RecordBatch], rows: usize, all: &SchemaRef, few: &SchemaRef) {
    let options = CsvOptions { header: false, ..CsvOptions::default() };
    let mut out = Vec::new();
    let mut encoder = CsvEncoder::new(all.clone(), options.clone(), ChangeField::None).unwrap_or_else(|error| panic!("{error}"));
    for batch in batches {
        encoder.encode(batch, None, &mut out);
    }
    let text = String::from_utf8(out).unwrap_or_default();
    let chunks = chunks(&text);
    for (title, schema) in [("csv, all 7 columns", all), ("csv, 3 columns: auction, price, dateTime", few)] {
        let mut ours = || {
            let layout = Arc::new(CsvLayout::positional(all));
            let mut decoder = CsvDecoder::new(schema.clone(), options.clone(), layout).unwrap_or_else(|error| panic!("{error}"));
            chunks.iter().map(|chunk| black_box(decoder.decode(chunk, 1)).columns.num_rows()).sum()
        };
        let mut arrows = || {
            let projection = schema.fields().iter().filter_map(|field| all.index_of(field.name()).ok()).collect();
            let reader = arrow_csv::ReaderBuilder::new(all.clone()).with_batch_size(8192).with_projection(projection);
            let reader = reader.build_buffered(Cursor::new(text.as_bytes())).unwrap_or_else(|error| panic!("{error}"));
            reader.map(|batch| batch.map_or(0, |batch| black_box(batch).num_rows())).sum()
        };
        compare(title, rows, text.len(), &mut [("tidemark", &mut ours), ("arrow-csv", &mut arrows)]);
    }
}

fn encode(batches: &[RecordBatch], rows: usize, all: &SchemaRef) {
    let mut out = Vec::new();
    let mut encoder = NdjsonEncoder::new(all.clone(), ChangeField::None, TimestampStyle::Iso).unwrap_or_else(|error| panic!("{error}"));
    let mut bytes = 0;
    for batch in batches {
        out.clear();
        encoder.encode(batch, None, &mut out);
        bytes += out.len();
    }
    let mut ours = || {
        for batch in batches {
            out.clear();
            encoder.encode(batch, None, &mut out);
            black_box(&out);
        }
        rows
    };
    let mut arrows = || {
        for batch in batches {
            let mut writer = arrow_json::LineDelimitedWriter::new(Vec::with_capacity(2 * CHUNK_BYTES));
            writer.write(batch).unwrap_or_else(|error| panic!("{error}"));
            black_box(writer.into_inner());
        }
        rows
    };
    compare("encode ndjson", rows, bytes, &mut [("tidemark", &mut ours), ("arrow-json", &mut arrows)]);
    let options = CsvOptions::default();
    let mut encoder = CsvEncoder::new(all.clone(), options, ChangeField::None).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    let mut ours = || {
        for batch in batches {
            out.clear();
            encoder.encode(batch, None, &mut out);
            black_box(&out);
        }
        rows
    };
    let mut arrows = || {
        for batch in batches {
            let mut writer = arrow_csv::Writer::new(Vec::with_capacity(2 * CHUNK_BYTES));
            writer.write(batch).unwrap_or_else(|error| panic!("{error}"));
            black_box(writer.into_inner());
        }
        rows
    };
    compare("encode csv", rows, bytes, &mut [("tidemark", &mut ours), ("arrow-csv", &mut arrows)]);
}
