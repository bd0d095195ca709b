//! Sources and sinks in memory, whose epochs follow a script.
//!
//! A table is a list of partitions, a partition a list of steps, a step a list of rows as text. All rows of a step enter the
//! dataflow in one epoch: a reader at the end of its step says `Pending` until the rows of all tables up to there are counted as
//! read, and only then the clock moves on. A partition of a table that grows is discovered in the step before its first row.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use tidemark_connectors::io::{DeadLetter, DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink, SinkReport};
use tidemark_connectors::source::{
    Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, PartitionInfo, PartitionReader, Read, RowError, Source,
};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::epoch::EpochClock;
use tidemark_planner::plan::{SinkPlan, SourcePlan};

use crate::random::Random;
use crate::value::{Row, Value};

/// A row as text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// The rows of one partition, step by step.
pub type TextPartition = Vec<Vec<TextRow>>;

/// What a row counts for.
const ROW_BYTES: u64 = 64;
/// How far apart the epochs of two steps are, in microseconds.
pub const TICK_US: u64 = 1_000_000;
/// The epoch of the first step: 2020-01-01, so that processing time is a time.
pub const START: u64 = 1_577_836_800_000_000;

/// Tables and what was written, for one run.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    /// Another process of a group has the same world open.
    follows: bool,
}

struct Shared {
    tables: BTreeMap<String, Vec<TextPartition>>,
    chunking: u64,
    clock: Arc<EpochClock>,
    /// One for each process.
    controls: Mutex<Vec<Arc<Control>>>,
    gate: Mutex<Gate>,
    written: Mutex<BTreeMap<String, Vec<Change>>>,
    faults: Mutex<Vec<String>>,
    letters: Mutex<Vec<String>>,
    slow: OnceLock<std::time::Duration>,
}

#[derive(Default)]
struct Gate {
    step: usize,
    /// Names of tables that were opened, once for each opening, and of how many of its partitions.
    opened: Vec<(String, usize)>,
    /// Partitions that were discovered.
    discovered: Vec<(String, usize)>,
}

/// The step of the first row of a partition that joins a table.
fn birth(partition: &TextPartition) -> usize {
    partition.iter().position(|rows| !rows.is_empty()).unwrap_or(partition.len().saturating_sub(1)).max(1)
}

/// One change a sink was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The step whose epoch it came in.
    pub step: usize,
    /// The row.
    pub row: Row,
    /// Its diff.
    pub diff: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// A world with some tables. `chunking` seeds where steps are cut into chunks; `None`: one chunk per step.
    pub fn new(tables: BTreeMap<String, Vec<TextPartition>>, chunking: Option<u64>, clock: Arc<EpochClock>, control: Arc<Control>) -> Self {
        Self {
            follows: false,
            shared: Arc::new(Shared {
                tables,
                chunking: chunking.unwrap_or(u64::MAX),
                clock,
                controls: Mutex::new(vec![control]),
                gate: Mutex::default(),
                written: Mutex::default(),
                faults: Mutex::default(),
                letters: Mutex::default(),
                slow: OnceLock::new(),
            }),
        }
    }

    /// The same world, for another process of a group.
    #[must_use]
    pub fn join(&self, control: Arc<Control>) -> Self {
        lock(&self.shared.controls).push(control);
        Self { shared: Arc::clone(&self.shared), follows: true }
    }

    /// Makes every write of every sink take a while.
    pub fn slow_sinks(&self, pause: std::time::Duration) {
        let _ = self.shared.slow.set(pause);
    }

    /// What a sink was given, in order.
    pub fn written(&self, sink: &str) -> Vec<Change> {
        lock(&self.shared.written).get(sink).cloned().unwrap_or_default()
    }

    /// Sinks that were opened.
    pub fn sinks(&self) -> Vec<String> {
        lock(&self.shared.written).keys().cloned().collect()
    }

    /// Broken promises of the engine to its sinks.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.shared.faults).clone()
    }

    /// Dead letters: source, offset, raw, reason.
    pub fn letters(&self) -> Vec<String> {
        lock(&self.shared.letters).clone()
    }
}

impl Shared {
    /// Whether rows of a step may be read. Moves the clock when all rows of the steps before are in.
    fn open(&self, step: usize) -> bool {
        let mut gate = lock(&self.gate);
        if gate.step >= step {
            return true;
        }
        let (mut rows, mut ended) = (0, 0);
        for (table, opened) in &gate.opened {
            let known = |place: &usize| gate.discovered.iter().any(|(name, it)| name == table && it == place);
            if (*opened..self.tables[table].len()).any(|place| birth(&self.tables[table][place]) <= gate.step + 1 && !known(&place)) {
                return false;
            }
            for partition in &self.tables[table] {
                rows += partition.iter().take(gate.step + 1).map(|step| step.len() as u64).sum::<u64>();
                ended += u64::from(partition.len() <= gate.step + 1);
            }
        }
        let reports: Vec<_> = lock(&self.controls).iter().map(|control| control.report()).collect();
        let sources = || reports.iter().flat_map(|report| &report.sources);
        // Bytes count all rows of a chunk as it enters the dataflow; bad rows are counted in more than one place.
        let read: u64 = sources().map(|source| source.bytes).sum::<u64>() / ROW_BYTES;
        let over: u64 = sources().map(|source| source.ended).sum();
        if read < rows || over < ended {
            return false;
        }
        gate.step += 1;
        self.clock.advance(TICK_US);
        gate.step >= step
    }
}

impl Io for Memory {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        let Some(table) = self.shared.tables.get(&plan.name) else {
            return Err(ConnectorError::new(&plan.name, "the test has no such table"));
        };
        let opened = plan.options.integer("grows-from").and_then(|first| usize::try_from(first).ok()).unwrap_or(table.len());
        if !self.follows {
            lock(&self.shared.gate).opened.push((plan.name.clone(), opened));
        }
        let partitions = (0..opened).map(|i| PartitionInfo { name: format!("{}/{i}", plan.name), bytes: None }).collect();
        let places = Mutex::new((0..opened).collect());
        Ok(Box::new(MemorySource { name: plan.name.clone(), plan: plan.clone(), partitions, places, shared: Arc::clone(&self.shared) }))
    }

    fn placement(&self, _plan: &SinkPlan) -> Placement {
        Placement::OneWorker
    }

    fn open_sink(&self, plan: &SinkPlan, _worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        lock(&self.shared.written).entry(plan.name.clone()).or_default();
        Ok(Box::new(MemorySink {
            name: plan.name.clone(),
            append_only: plan.changelog == tidemark_planner::plan::ChangelogKind::AppendOnly,
            schema: plan.schema.clone(),
            open: Vec::new(),
            last: None,
            report: SinkReport::default(),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn open_dead_letters(&self, _path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        Ok(Box::new(Letters(Arc::clone(&self.shared))))
    }
}

struct Letters(Arc<Shared>);

impl DeadLetters for Letters {
    fn write(&mut self, letter: &DeadLetter<'_>) -> Result<(), ConnectorError> {
        let (source, partition, offset) = (letter.source, letter.partition.as_deref().unwrap_or("-"), letter.offset.unwrap_or_default());
        let raw = letter.raw.map(String::from_utf8_lossy).unwrap_or_default();
        lock(&self.0.letters).push(format!("{source} {partition} {offset} {raw}{} {}", letter.row.unwrap_or_default(), letter.reason));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

struct MemorySource {
    name: String,
    plan: SourcePlan,
    partitions: Vec<PartitionInfo>,
    /// Where in the table each partition stands.
    places: Mutex<Vec<usize>>,
    shared: Arc<Shared>,
}

impl Source for MemorySource {
    fn reads_again(&self) -> bool {
        true
    }

    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let partition = lock(&self.places)[partition];
        let seed = if self.shared.chunking == u64::MAX { None } else { Some(self.shared.chunking ^ (partition as u64) << 32) };
        Ok(Box::new(MemoryReader {
            steps: self.shared.tables[&self.name][partition].clone(),
            step: 0,
            row: 0,
            offset: 0,
            random: seed.map(Random::new),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn grows(&self) -> bool {
        self.partitions.len() < self.shared.tables[&self.name].len()
    }

    fn discovered(&self) -> Option<Vec<PartitionInfo>> {
        let mut gate = lock(&self.shared.gate);
        let table = &self.shared.tables[&self.name];
        let known = |gate: &Gate, place: &usize| gate.discovered.iter().any(|(name, it)| *name == self.name && it == place);
        let (step, mut left) = (gate.step, 0);
        let mut found = Vec::new();
        for (place, partition) in table.iter().enumerate().skip(self.partitions.len()) {
            if known(&gate, &place) {
                continue;
            }
            left += 1;
            if birth(partition) <= step + 1 {
                gate.discovered.push((self.name.clone(), place));
                found.push(PartitionInfo { name: format!("{}/{place}", self.name), bytes: None });
            }
        }
        (left > 0).then_some(found)
    }

    fn add(&self, partition: &PartitionInfo) -> Result<(), ConnectorError> {
        let place = partition.name.rsplit('/').next().and_then(|place| place.parse().ok());
        lock(&self.places).push(place.ok_or_else(|| ConnectorError::new(&partition.name, "is no partition of a test's table"))?);
        Ok(())
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(MemoryDecoder { plan: self.plan.clone() })
    }
}

struct MemoryReader {
    steps: TextPartition,
    step: usize,
    row: usize,
    offset: u64,
    random: Option<Random>,
    shared: Arc<Shared>,
}

impl PartitionReader for MemoryReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        if self.random.as_mut().is_some_and(|random| random.chance(20)) {
            return Ok(Read::Pending);
        }
        while self.steps.get(self.step).is_some_and(|rows| self.row >= rows.len()) {
            if self.step + 1 == self.steps.len() {
                break;
            }
            if !self.shared.open(self.step + 1) {
                return Ok(Read::Pending);
            }
            self.step += 1;
            self.row = 0;
        }
        let rest = self.steps.get(self.step).map_or(&[][..], |rows| &rows[self.row.min(rows.len())..]);
        if rest.is_empty() {
            return Ok(Read::End);
        }
        let count = match &mut self.random {
            Some(random) => 1 + random.below(rest.len().min(5)),
            None => rest.len(),
        };
        let rows: Vec<TextRow> = rest[..count].to_vec();
        let offset = self.offset;
        self.row += count;
        self.offset += count as u64;
        Ok(Read::Chunk(Chunk { offset, bytes: count as u64 * ROW_BYTES, body: ChunkBody::Task(Box::new(rows)) }))
    }
}

struct MemoryDecoder {
    plan: SourcePlan,
}

impl Decoder for MemoryDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let ChunkBody::Task(task) = chunk.body else {
            return Err(ConnectorError::new(&self.plan.name, "a chunk of another connector"));
        };
        let Ok(rows) = task.downcast::<Vec<TextRow>>() else {
            return Err(ConnectorError::new(&self.plan.name, "a chunk of another connector"));
        };
        // All declared columns are checked, also those the plan does not read, as a strict decoder would for the ones it reads.
        let mut bad: BTreeMap<usize, String> = BTreeMap::new();
        let mut columns = Vec::new();
        for (position, read) in self.plan.read.iter().zip(self.plan.read_schema.fields()) {
            let field = self.plan.declared.field(*position);
            let text: StringArray = rows.iter().map(|row| row.get(*position).cloned().flatten()).collect();
            let array = parse(&text, read.data_type())?;
            for (i, row) in rows.iter().enumerate() {
                if array.is_null(i) && row.get(*position).is_some_and(Option::is_some) {
                    bad.entry(i).or_insert_with(|| format!("column \"{}\" is not a {}", field.name(), field.data_type()));
                } else if array.is_null(i) && !field.is_nullable() {
                    bad.entry(i).or_insert_with(|| format!("column \"{}\" is null", field.name()));
                }
            }
            columns.push(array);
        }
        let mut diffs = Vec::new();
        if matches!(self.plan.options.get("changelog"), Some("retract" | "upsert")) {
            let place = self.plan.declared.fields().len();
            for (i, row) in rows.iter().enumerate() {
                let diff = row.get(place).and_then(Option::as_deref).and_then(|cell| cell.parse().ok()).filter(|diff| *diff != 0);
                if diff.is_none() {
                    bad.insert(i, "the cell behind the columns is no diff such as +1 or -1".into());
                }
                diffs.push(diff.unwrap_or(1));
            }
        }
        let has_diffs = !diffs.is_empty();
        let errors = bad
            .iter()
            .map(|(i, reason)| RowError {
                offset: chunk.offset + *i as u64,
                raw: rows[*i].iter().map(|cell| cell.as_deref().unwrap_or("null")).collect::<Vec<_>>().join(" ").into_bytes(),
                reason: reason.clone(),
            })
            .collect();
        if bad.is_empty() {
            let diffs = has_diffs.then_some(diffs);
            let columns = batch(&self.plan.read_schema, columns, rows.len())?;
            return Ok(Decoded { columns, offsets: Offsets::Dense { first: chunk.offset }, diffs, errors });
        }
        let mask: arrow::array::BooleanArray = (0..rows.len()).map(|i| Some(!bad.contains_key(&i))).collect();
        let kept: Result<Vec<ArrayRef>, _> = columns.iter().map(|column| filter(column, &mask)).collect();
        let kept = kept.map_err(|error| ConnectorError::new(&self.plan.name, error))?;
        let columns = batch(&self.plan.read_schema, kept, rows.len() - bad.len())?;
        let offsets = (0..rows.len()).filter(|i| !bad.contains_key(i)).map(|i| chunk.offset + i as u64).collect();
        let diffs = has_diffs.then(|| (0..rows.len()).filter(|i| !bad.contains_key(i)).map(|i| diffs[i]).collect());
        Ok(Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs, errors })
    }
}

fn parse(text: &StringArray, ty: &DataType) -> Result<ArrayRef, ConnectorError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let failed = |error| ConnectorError::new("test table", error);
    // `00:01` is short for a time on 1970-01-01.
    if let DataType::Timestamp(_, zone) = ty {
        let text: StringArray = text.iter().map(|cell| cell.map(long_time)).collect();
        let fine = cast_with_options(&text, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), &options).map_err(failed)?;
        return cast_with_options(&fine, ty, &options).map_err(failed);
    }
    cast_with_options(text, ty, &options).map_err(failed)
}

fn long_time(text: &str) -> String {
    let short = text.len() >= 5 && text.as_bytes()[2] == b':';
    match (short, text.len()) {
        // A day and a minute.
        (false, 16) => format!("{text}:00"),
        (false, _) => text.to_owned(),
        (true, 5) => format!("1970-01-01T{text}:00"),
        (true, _) => format!("1970-01-01T{text}"),
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ConnectorError> {
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .map_err(|error| ConnectorError::new("test table", error))
}

struct MemorySink {
    name: String,
    append_only: bool,
    schema: SchemaRef,
    open: Vec<(Row, i64)>,
    last: Option<u64>,
    report: SinkReport,
    shared: Arc<Shared>,
}

impl MemorySink {
    fn fault(&self, text: String) {
        lock(&self.shared.faults).push(format!("sink {}: {text}", self.name));
    }
}

impl Sink for MemorySink {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        if let Some(pause) = self.shared.slow.get() {
            std::thread::sleep(*pause);
        }
        if diffs.is_some_and(|diffs| diffs.len() != rows.num_rows()) {
            self.fault("diffs are not as many as rows".into());
        }
        let types = |schema: &SchemaRef| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        if types(&rows.schema()) != types(&self.schema) {
            self.fault(format!("columns {:?} came instead of {:?}", types(&rows.schema()), types(&self.schema)));
        }
        for (i, row) in Value::rows(rows).into_iter().enumerate() {
            let diff = diffs.map_or(1, |diffs| diffs[i]);
            if diff == 0 {
                self.fault(format!("a change of nothing: {row:?}"));
            }
            if diff < 0 && self.append_only {
                self.fault(format!("a retraction in an append-only changelog: {row:?}"));
            }
            self.report.changes += 1;
            self.open.push((row, diff));
        }
        Ok(())
    }

    fn end_epoch(&mut self, epoch: u64) -> Result<(), ConnectorError> {
        if self.last.is_some_and(|last| last >= epoch) {
            self.fault(format!("epoch {epoch} after {:?}", self.last));
        }
        self.last = Some(epoch);
        if self.open.is_empty() {
            self.fault(format!("epoch {epoch} without changes was announced"));
        }
        let step = usize::try_from((epoch.saturating_sub(START)) / TICK_US).unwrap_or(usize::MAX);
        let mut changes: Vec<Change> = self.open.drain(..).map(|(row, diff)| Change { step, row, diff }).collect();
        let mut sorted: Vec<&Row> = changes.iter().map(|change| &change.row).collect();
        sorted.sort();
        if !self.append_only && sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            lock(&self.shared.faults).push(format!("sink {}: equal rows of an epoch were not added up: {changes:?}", self.name));
        }
        lock(&self.shared.written).entry(self.name.clone()).or_default().append(&mut changes);
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        if !self.open.is_empty() {
            self.fault("changes of an epoch that was not ended".into());
        }
        Ok(self.report)
    }
}
