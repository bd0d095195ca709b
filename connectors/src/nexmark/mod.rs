//! # Nexmark
//!
//! The auction stream of the Nexmark benchmark, made in the process: events are numbered, and a chunk is a range of numbers, so
//! every worker can make its share and the stream is the same for any number of workers. With several partitions, blocks of
//! numbers are dealt round robin; each partition ascends in event time.

mod generate;
mod schema;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StructArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Fields, SchemaRef};
use tidemark_planner::connector::{ConnectorSpec, OptionKind, Options, SourceFacts};
use tidemark_planner::plan::SourcePlan;

use self::generate::{Auctions, Bids, Generator, Kind, Persons, Rows};
pub use self::schema::Shape;
pub use self::write::write_file;

use crate::options::{alias, default, source};
use crate::pace::Pace;
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, PartitionInfo, PartitionReader, Read, Source};
use crate::time_text;
use crate::width::row_bytes;

/// Events in a chunk: batches of 8k to 16k rows, whose columns stay in the cache.
const BLOCK: u64 = 16_384;
/// Events in a chunk when events are released by the clock to several partitions: small, so that all of them move.
const PACED_BLOCK: u64 = 500;
/// Event time begins at 2015-07-15T00:00:00Z, as in Beam's Nexmark.
const BASE_TIME_MS: i64 = 1_436_918_400_000;
/// Events per second of event time, when nothing is said.
const RATE: u64 = 10_000;

/// The connector.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "nexmark",
    aliases: &[],
    source: true,
    sink: false,
    options: &[
        default(alias(source("shape", SHAPES, "Which table: all events in one, or one kind of event."), &["table-type"]), "combined"),
        alias(
            source("events", OptionKind::Integer { min: 0 }, "How many events of all kinds are made; without end if not given."),
            &["events.num", "nexmark.event.num"],
        ),
        source("rate", OptionKind::Integer { min: 1 }, "Events per second of event time; 10000, or events-per-second, if not given."),
        alias(
            source("events-per-second", OptionKind::Integer { min: 1 }, "Events released per second; as fast as possible if not given."),
            &["rows-per-second", "next-event.rate"],
        ),
        default(source("preload", OptionKind::Flag, "Make all events before the run starts, to measure the queries alone."), "false"),
        default(
            alias(source("partitions", OptionKind::Integer { min: 1 }, "Partitions that events are dealt to."), &["nexmark.split.num"]),
            "1",
        ),
        source("base-time", OptionKind::Text, "Event time of the first event, such as 2015-07-15 00:00:00 (the default), or now."),
        default(
            alias(
                source(
                    "out-of-order-group",
                    OptionKind::Integer { min: 1 },
                    "Events are shuffled within groups of this many; 1 keeps order.",
                ),
                &["out-of-order-group-size"],
            ),
            "1",
        ),
    ],
};

const SHAPES: OptionKind = OptionKind::OneOf(&["combined", "person", "auction", "bid"]);

/// What the options say.
#[derive(Clone, Debug)]
struct Settings {
    shape: Shape,
    events: Option<u64>,
    rate: u64,
    per_second: Option<u64>,
    preload: bool,
    partitions: u64,
    base_time_ms: u64,
    group: usize,
}

impl Settings {
    fn new(options: &Options) -> Result<Self, String> {
        let positive = |name: &str| options.integer(name).map(|value| value.max(1) as u64);
        let per_second = positive("events-per-second");
        let group = positive("out-of-order-group").unwrap_or(1);
        if group > 1 && group % 953 == 0 {
            return Err(format!("out-of-order-group {group} is a multiple of 953, the stride of the shuffle; take another number"));
        }
        let events = options.integer("events").map(|events| events.max(0) as u64);
        let preload = options.flag("preload");
        if preload && events.is_none() {
            return Err("preload needs events: say how many are made before the run".into());
        }
        let base_time_ms = match options.get("base-time") {
            None => BASE_TIME_MS,
            Some("now") => time_text::now_us() / 1000,
            Some(text) => {
                time_text::parse_timestamp_us(text).ok_or_else(|| format!("base-time \"{text}\" is not a timestamp"))?.div_euclid(1000)
            }
        };
        Ok(Self {
            shape: options.get("shape").and_then(Shape::parse).unwrap_or(Shape::Combined),
            events,
            rate: positive("rate").or(per_second).unwrap_or(RATE),
            per_second,
            preload,
            partitions: positive("partitions").unwrap_or(1),
            base_time_ms: u64::try_from(base_time_ms).map_err(|_| "base-time lies before 1970".to_string())?,
            group: group as usize,
        })
    }

    fn generator(&self) -> Generator {
        Generator::new(self.base_time_ms, self.rate, self.group)
    }

    fn block(&self) -> u64 {
        if self.per_second.is_some() && self.partitions > 1 { PACED_BLOCK } else { BLOCK }
    }
}

pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    let settings = Settings::new(options)?;
    let schema = settings.shape.schema();
    if let Some(declared) = declared {
        for field in declared.fields() {
            let index = position(&schema, field.name())?;
            let own = schema.field(index);
            if own.data_type() != field.data_type() {
                return Err(format!("nexmark column \"{}\" is {}, not {}", own.name(), own.data_type(), field.data_type()));
            }
        }
    }
    let event_time = Some(("dateTime".into(), settings.generator().disorder_us()));
    Ok(SourceFacts { event_time, ..SourceFacts::append_only(Some(schema), settings.events.is_some()) })
}

fn position(schema: &SchemaRef, name: &str) -> Result<usize, String> {
    let exact = schema.fields().iter().position(|field| field.name() == name);
    exact.or_else(|| schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))).ok_or_else(|| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        format!("nexmark has no column \"{name}\"; it has {}", names.join(", "))
    })
}

/// What decoders share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    generator: Generator,
    /// Columns of the shape that are read, ascending in `wanted`; `order` puts them as the plan wants them.
    wanted: Vec<bool>,
    order: Vec<usize>,
    schema: SchemaRef,
    /// The batch of each block, when all were made before.
    preloaded: Option<Vec<(RecordBatch, Offsets)>>,
}

/// Opens the source.
pub(crate) fn open(plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
    let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
    let settings = Settings::new(&plan.options).map_err(wrong)?;
    let full = settings.shape.schema();
    let positions =
        plan.read_schema.fields().iter().map(|field| position(&full, field.name()).map_err(wrong)).collect::<Result<Vec<_>, _>>()?;
    let mut source = NexmarkSource::new(settings, &positions, plan.read_schema.clone());
    if source.shared.settings.preload {
        source.preload()?;
    }
    Ok(Box::new(source))
}

pub(super) struct NexmarkSource {
    shared: Arc<Shared>,
    partitions: Vec<PartitionInfo>,
}

impl NexmarkSource {
    fn new(settings: Settings, positions: &[usize], schema: SchemaRef) -> Self {
        let full = settings.shape.schema();
        let wanted: Vec<bool> = (0..full.fields().len()).map(|column| positions.contains(&column)).collect();
        let order = positions.iter().map(|position| wanted[..*position].iter().filter(|wanted| **wanted).count()).collect();
        let partitions =
            (0..settings.partitions).map(|partition| PartitionInfo { name: format!("nexmark-{partition}"), bytes: None }).collect();
        let generator = settings.generator();
        Self { shared: Arc::new(Shared { settings, generator, wanted, order, schema, preloaded: None }), partitions }
    }

    /// Makes all blocks, on all processors.
    fn preload(&mut self) -> Result<(), ConnectorError> {
        let events = self.shared.settings.events.unwrap_or(0);
        let block = self.shared.settings.block();
        let blocks = events.div_ceil(block);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = &self.shared;
        let parts = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..threads as u64)
                .map(|thread| {
                    let share = (blocks * thread / threads as u64)..(blocks * (thread + 1) / threads as u64);
                    scope.spawn(move || {
                        share.map(|at| shared.batch(at * block, block.min(events - at * block))).collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let shared = Arc::get_mut(&mut self.shared);
        assert!(shared.is_some(), "nexmark: a decoder exists before the source is ready");
        if let Some(shared) = shared {
            shared.preloaded = Some(parts.into_iter().flatten().collect());
        }
        Ok(())
    }
}

impl Shared {
    /// The rows of events that stand at some places of the stream, and their offsets.
    fn batch(&self, first: u64, count: u64) -> Result<(RecordBatch, Offsets), ConnectorError> {
        let (columns, rows, offsets) = match self.settings.shape {
            Shape::Person => self.one_kind::<Persons>(Kind::Person, first, count)?,
            Shape::Auction => self.one_kind::<Auctions>(Kind::Auction, first, count)?,
            Shape::Bid => self.one_kind::<Bids>(Kind::Bid, first, count)?,
            Shape::Combined => (self.combined(first, count)?, count as usize, Offsets::Dense { first }),
        };
        let columns = self.order.iter().map(|column| columns[*column].clone()).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| ConnectorError::new("nexmark", error))?;
        Ok((batch, offsets))
    }

    /// The same out of blocks made before. Readers never cross the end of a block.
    fn slice(&self, blocks: &[(RecordBatch, Offsets)], first: u64, count: u64) -> (RecordBatch, Offsets) {
        let block = self.settings.block();
        let (rows, offsets) = &blocks[(first / block) as usize];
        if first.is_multiple_of(block) && count == block {
            return (rows.clone(), offsets.clone());
        }
        match offsets {
            Offsets::Dense { first: first_row } => {
                let row = |n: u64| match self.settings.shape {
                    Shape::Combined => n,
                    Shape::Person => Generator::before(Kind::Person, n),
                    Shape::Auction => Generator::before(Kind::Auction, n),
                    Shape::Bid => Generator::before(Kind::Bid, n),
                };
                let (start, end) = (row(first), row(first + count));
                (rows.slice((start - first_row) as usize, (end - start) as usize), Offsets::Dense { first: start })
            }
            Offsets::Each(places) => {
                let (start, end) = (places.partition_point(|place| *place < first), places.partition_point(|place| *place < first + count));
                (rows.slice(start, end - start), Offsets::Each(Arc::new(places[start..end].to_vec())))
            }
        }
    }

    fn one_kind<R: Rows>(&self, kind: Kind, first: u64, count: u64) -> Result<(Vec<ArrayRef>, usize, Offsets), ConnectorError> {
        let generator = &self.generator;
        let share = Generator::share(kind, count) as usize;
        let mut rows = R::new(&self.wanted, share);
        if self.settings.group == 1 {
            // In order, the rows of a kind can be counted: the offset is the row's number.
            let mut made = 0;
            for n in first..first + count {
                if Generator::kind(n) == kind {
                    rows.push(generator, n);
                    made += 1;
                }
            }
            return Ok((rows.finish()?, made, Offsets::Dense { first: Generator::before(kind, first) }));
        }
        let mut offsets = Vec::with_capacity(share);
        for place in first..first + count {
            let n = generator.event_at(place);
            if Generator::kind(n) == kind {
                rows.push(generator, n);
                offsets.push(place);
            }
        }
        Ok((rows.finish()?, offsets.len(), Offsets::Each(Arc::new(offsets))))
    }

    fn combined(&self, first: u64, count: u64) -> Result<Vec<ArrayRef>, ConnectorError> {
        let generator = &self.generator;
        let rows = count as usize;
        let events = first..first + count;
        let kinds: Vec<Kind> = events.clone().map(|place| Generator::kind(generator.event_at(place))).collect();
        let mut columns = Vec::new();
        if self.wanted[0] {
            columns.push(Arc::new(Int32Array::from_iter_values(kinds.iter().map(|kind| *kind as i32))) as ArrayRef);
        }
        if self.wanted[1] {
            columns.push(self.nested::<Persons>(Kind::Person, schema::person(), first, &kinds)?);
        }
        if self.wanted[2] {
            columns.push(self.nested::<Auctions>(Kind::Auction, schema::auction(), first, &kinds)?);
        }
        if self.wanted[3] {
            columns.push(self.nested::<Bids>(Kind::Bid, schema::bid(), first, &kinds)?);
        }
        if self.wanted[4] {
            let mut times = Vec::with_capacity(rows);
            times.extend(events.map(|place| generator.time_us(generator.event_at(place))));
            columns.push(Arc::new(TimestampMicrosecondArray::from(times)));
        }
        Ok(columns)
    }

    fn nested<R: Rows>(&self, kind: Kind, fields: Fields, first: u64, kinds: &[Kind]) -> Result<ArrayRef, ConnectorError> {
        let mut rows = R::new(&vec![true; fields.len()], kinds.len());
        for (place, event) in (first..).zip(kinds) {
            if *event == kind { rows.push(&self.generator, self.generator.event_at(place)) } else { rows.push_hidden() }
        }
        let nulls: NullBuffer = kinds.iter().map(|event| *event == kind).collect();
        let array = StructArray::try_new(fields, rows.finish()?, Some(nulls)).map_err(|error| ConnectorError::new("nexmark", error))?;
        Ok(Arc::new(array))
    }
}

impl Source for NexmarkSource {
    fn reads_again(&self) -> bool {
        true
    }

    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let settings = &self.shared.settings;
        Ok(Box::new(NexmarkReader {
            partition: partition as u64,
            partitions: settings.partitions,
            block: settings.block(),
            events: settings.events.unwrap_or(u64::MAX),
            position: 0,
            row_bytes: row_bytes(&self.shared.schema),
            pace: settings.per_second.map(|rate| Pace::new(rate as f64 / settings.partitions as f64)),
        }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(NexmarkDecoder(self.shared.clone()))
    }
}

/// Deals the blocks of one partition: `partition`, `partition + partitions`, …
struct NexmarkReader {
    partition: u64,
    partitions: u64,
    block: u64,
    events: u64,
    /// Events of this partition handed out.
    position: u64,
    row_bytes: u64,
    pace: Option<Pace>,
}

impl PartitionReader for NexmarkReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let (block, within) = (self.position / self.block, self.position % self.block);
        let first = (block * self.partitions + self.partition) * self.block + within;
        if first >= self.events {
            return Ok(Read::End);
        }
        let mut count = (self.block - within).min(self.events - first);
        if let Some(pace) = &mut self.pace {
            count = count.min(pace.due().saturating_sub(self.position));
            if count == 0 {
                return Ok(Read::Pending);
            }
        }
        self.position += count;
        Ok(Read::Chunk(Chunk { offset: first, bytes: count * self.row_bytes, body: ChunkBody::Range { first, count } }))
    }
}

struct NexmarkDecoder(Arc<Shared>);

impl Decoder for NexmarkDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let ChunkBody::Range { first, count } = chunk.body else {
            return Err(ConnectorError::new("nexmark", "was given a chunk of another source"));
        };
        let shared = &self.0;
        let (columns, offsets) = match &shared.preloaded {
            Some(blocks) => shared.slice(blocks, first, count),
            None => shared.batch(first, count)?,
        };
        Ok(Decoded { columns, offsets, diffs: None, errors: Vec::new() })
    }
}
