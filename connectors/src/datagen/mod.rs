//! # Generated rows
//!
//! Makes rows for the declared columns: seeded, row `i` a pure function of the seed and `i` (but for times of kind `now`). A
//! chunk is a range of row numbers, so every worker can make its share.

mod draw;
mod field;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use tidemark_planner::connector::{ConnectorSpec, OptionKind, Options, SourceFacts};
use tidemark_planner::plan::SourcePlan;

use self::draw::{Column, Rows};
use self::field::{Flow, Parsed};
use crate::options::{alias, default, source};
use crate::pace::Pace;
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, PartitionInfo, PartitionReader, Read, Source};
use crate::time_text;
use crate::width::row_bytes;

/// Most rows in a chunk.
const BLOCK: u64 = 16_384;
/// Prefix of the options that speak of one column.
const FIELDS: &str = "fields.";

/// The connector.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "datagen",
    aliases: &[],
    source: true,
    sink: false,
    options: &[
        alias(
            source("rows", OptionKind::Integer { min: 0 }, "How many rows are made; without end if not given."),
            &["number-of-rows", "number_of_rows"],
        ),
        alias(
            source("rows-per-second", OptionKind::Number, "Rows released per second; as fast as possible if not given."),
            &["rows_per_second", "datagen.rows.per.second"],
        ),
        default(alias(source("seed", OptionKind::Integer { min: 0 }, "Equal seeds make equal rows."), &["datagen.rows.seed"]), "0"),
        source(
            "fields.*",
            OptionKind::Text,
            "Values of one column: fields.<column>.kind is random, sequence, zipf, normal, choice, constant or now; with start, end, \
             step, min, max, length, values, value, prefix, mean, stddev, exponent, null-rate, disorder.",
        ),
    ],
};

/// What the options say of the declared columns.
struct Settings {
    columns: Vec<Column>,
    rows: Option<u64>,
    per_second: Option<f64>,
    event_time: Option<(String, i64)>,
}

impl Settings {
    fn new(options: &Options, declared: &SchemaRef) -> Result<Self, String> {
        let per_second = options.number("rows-per-second");
        if let Some(rate) = per_second
            && (!rate.is_finite() || rate <= 0.0)
        {
            return Err(format!("rows-per-second {rate} is not a rate; give a number above 0"));
        }
        let mut rows = options.integer("rows").map(|rows| rows.max(0) as u64);
        let seed = options.integer("seed").unwrap_or(0) as u64;
        let mut given: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (key, value) in &options.0 {
            if let Some(key) = key.strip_prefix(FIELDS) {
                let (column, property) = field::split(key, declared.fields())?;
                given.entry(column).or_default().insert(property, value);
            }
        }
        let mut columns = Vec::new();
        let mut times = Vec::new();
        let flow = Flow { seed, live: per_second.is_some() || rows.is_none(), per_second };
        for field in declared.fields() {
            let Parsed { column, rows: limit, ascending } =
                field::column(field, given.remove(field.name().as_str()).unwrap_or_default(), flow)?;
            rows = [rows, limit].into_iter().flatten().min();
            if matches!(field.data_type(), DataType::Timestamp(..)) {
                times.push(ascending.then(|| (field.name().clone(), column.lag.min(i64::MAX as u64) as i64)));
            }
            columns.push(column);
        }
        let event_time = if let [time] = times.as_mut_slice() { time.take() } else { None };
        Ok(Self { columns, rows, per_second, event_time })
    }
}

pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    let Some(declared) = declared.filter(|declared| !declared.fields().is_empty()) else {
        return Err("datagen makes the columns that are declared; list them, for example (id BIGINT, price DOUBLE, ts TIMESTAMP)".into());
    };
    let settings = Settings::new(options, declared)?;
    Ok(SourceFacts { event_time: settings.event_time, ..SourceFacts::append_only(Some(declared.clone()), settings.rows.is_some()) })
}

/// Opens the source.
pub(crate) fn open(plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
    let settings = Settings::new(&plan.options, &plan.declared).map_err(|reason| ConnectorError::new(&plan.name, reason))?;
    let columns: Arc<[Column]> = plan.read.iter().map(|column| settings.columns[*column].clone()).collect();
    Ok(Box::new(DatagenSource {
        partitions: [PartitionInfo { name: "datagen".into(), bytes: None }],
        rows: settings.rows,
        per_second: settings.per_second,
        columns,
        schema: plan.read_schema.clone(),
    }))
}

struct DatagenSource {
    partitions: [PartitionInfo; 1],
    rows: Option<u64>,
    per_second: Option<f64>,
    columns: Arc<[Column]>,
    schema: SchemaRef,
}

impl Source for DatagenSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, _partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        Ok(Box::new(DatagenReader {
            rows: self.rows.unwrap_or(u64::MAX),
            pace: self.per_second.map(|rate| (Pace::new(rate), rate)),
            position: 0,
            row_bytes: row_bytes(&self.schema),
            started_us: None,
            last_us: i64::MIN,
        }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(DatagenDecoder { columns: self.columns.clone(), schema: self.schema.clone() })
    }
}

/// Hands out ranges of row numbers, as they are due, with the time of their rows.
struct DatagenReader {
    rows: u64,
    pace: Option<(Pace, f64)>,
    position: u64,
    row_bytes: u64,
    started_us: Option<i64>,
    last_us: i64,
}

impl PartitionReader for DatagenReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let first = self.position;
        if first >= self.rows {
            return Ok(Read::End);
        }
        // Time never goes back within the partition, even if the system's clock does.
        let now_us = time_text::now_us().max(self.last_us);
        self.last_us = now_us;
        let started_us = *self.started_us.get_or_insert(now_us);
        let mut rows = Rows { first, count: BLOCK.min(self.rows - first), now_us, gap_us: 0.0 };
        if let Some((pace, rate)) = &mut self.pace {
            rows.count = rows.count.min(pace.due().saturating_sub(first));
            if rows.count == 0 {
                return Ok(Read::Pending);
            }
            // A row's time is when it is due, not when the reader came round to it.
            rows.gap_us = 1e6 / *rate;
            rows.now_us = started_us + (first as f64 * rows.gap_us) as i64;
        }
        self.position += rows.count;
        Ok(Read::Chunk(Chunk { offset: first, bytes: rows.count * self.row_bytes, body: ChunkBody::Task(Box::new(rows)) }))
    }
}

struct DatagenDecoder {
    columns: Arc<[Column]>,
    schema: SchemaRef,
}

impl Decoder for DatagenDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let rows = match chunk.body {
            ChunkBody::Task(task) => task.downcast::<Rows>().ok(),
            _ => None,
        };
        let Some(rows) = rows else {
            return Err(ConnectorError::new("datagen", "was given a chunk of another source"));
        };
        let columns = self.columns.iter().map(|column| column.make(*rows)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.count as usize));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| ConnectorError::new("datagen", error))?;
        Ok(Decoded { columns, offsets: Offsets::Dense { first: chunk.offset }, diffs: None, errors: Vec::new() })
    }
}
