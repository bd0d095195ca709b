//! # Source operator
//!
//! **Meaning.** The rows of a source, each partition in its own order, whichever worker decodes them.
//! **Time.** Workers of a process share a source. A worker takes the next chunk of a partition, decodes it on its own, and then
//! *commits* it: chunks of a partition commit in order, and that is the moment their rows enter the dataflow, at the epoch of
//! that moment. Epochs of a partition's chunks therefore never fall, and a row's own watermark (that of the rows before it)
//! follows from the greatest event time committed so far, for any number of workers and any chunking.
//! **Flow.** Timely has none: a worker reads only while few epochs and bytes are on their way to the sinks.
//! **Errors.** Rows that fail to decode or evaluate go to the error stream.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_connectors::source::{Chunk, ConnectorError, Decoded, Decoder, Offsets, PartitionReader, Read, RowError, Source};
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::{MetadataColumn, SourcePlan, SourceTiming, WatermarkStrategy};
use timely::container::CapacityContainerBuilder;
use timely::container::NoopBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::{Scope, Stream, StreamVec};

use crate::batch::{Batch, NO_WATERMARK, Origin, RowWatermarks, record_batch};
use crate::control::{Control, Metrics, RunError, lock};
use crate::epoch::{Epoch, EpochClock};
use crate::error_limits::{RecordsRead, Runs};
use crate::error_row::{ErrorAt, ErrorRow};
use crate::eval::{Evaluated, evaluate};
use crate::partitions::{Announcement, Partitions, Slots};
use crate::places::Places;
use crate::progress::Mark;
use crate::render_row::render_row;
use crate::sleepers::Sleepers;
use crate::tick_log::{TickLog, Turn};
use crate::watermark::{ENDED, FLUSH, WatermarkUpdate};

/// Epochs on their way to the sinks before a source waits.
const EPOCHS_IN_FLIGHT_MAX: usize = 8;
/// Decoded chunks a worker may hold while another worker owes an earlier chunk.
const CHUNKS_WAITING_MAX: usize = 4;
/// Chunks in a row without a pause after which a source counts as running flat out.
const FLAT_OUT: u32 = 8;
/// Time until a source that waits for something other than a tick is asked again.
const POLL_INTERVAL_MIN: Duration = Duration::from_micros(500);

/// A source as the workers of a process share it.
pub(crate) struct SharedSource {
    id: u32,
    plan: SourcePlan,
    /// Decoded columns, then metadata columns.
    full_schema: SchemaRef,
    source: Box<dyn Source>,
    pub(crate) partitions: Partitions,
    /// Partitions of this process that have not ended.
    open: AtomicUsize,
    wanted: Wanted,
    metrics: Arc<Metrics>,
}

/// What rows of a source must say of themselves beside their columns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// The watermark of the rows before them: some operator judges them by it.
    pub(crate) watermarks: bool,
    /// How far they are out of order is counted.
    pub(crate) disorder: bool,
}

/// A partition that this process reads.
pub(crate) struct PartitionSlot {
    read: Mutex<ReadSide>,
    commit: Mutex<CommitSide>,
}

impl PartitionSlot {
    /// Opens a partition; `greatest` is what its rows are first judged by, if others have been read before it came to be.
    pub(crate) fn open(source: &dyn Source, number: usize, greatest: Option<i64>) -> Result<Self, ConnectorError> {
        let greatest = greatest.unwrap_or(NO_WATERMARK);
        Ok(Self {
            read: Mutex::new(ReadSide { reader: Some(source.open(number)?), next_chunk: 0, empty: 0 }),
            commit: Mutex::new(CommitSide {
                next_chunk: 0,
                greatest,
                settled: greatest,
                last: 0,
                ended: false,
                next_offset: 0,
                runs: Runs::default(),
            }),
        })
    }
}

struct ReadSide {
    reader: Option<Box<dyn PartitionReader>>,
    next_chunk: u64,
    /// The last epoch in which it was asked and had nothing.
    empty: Epoch,
}

struct CommitSide {
    next_chunk: u64,
    /// What moves the watermark: the greatest event time of the rows so far, or the greatest watermark they carried.
    greatest: i64,
    /// The same before the last chunk's epoch.
    settled: i64,
    /// The epoch of the last chunk; 0 before the first.
    last: Epoch,
    ended: bool,
    /// One past the last record that entered the dataflow.
    next_offset: u64,
    /// Where runs of records begin, if a share of them is limited.
    runs: Runs,
}

impl SharedSource {
    /// Takes an open source; `process` reads every `processes`-th partition.
    pub(crate) fn new(
        id: u32,
        plan: SourcePlan,
        source: Box<dyn Source>,
        wanted: Wanted,
        metrics: &Arc<Metrics>,
        (process, processes): (usize, usize),
    ) -> Result<Self, ConnectorError> {
        let partitions = Partitions::open(source.as_ref(), process, processes)?;
        let mut fields: Vec<Arc<Field>> = plan.read_schema.fields().iter().cloned().collect();
        fields.extend(plan.metadata.iter().map(|column| column.field()));
        let slots = partitions.slots();
        let here = || source.partitions().iter().zip(slots.iter()).map(|(partition, slot)| slot.as_ref().map(|_| partition));
        let bytes = here().flatten().map(|partition| partition.bytes).sum();
        metrics.sources[id as usize].open(here().map(|one| one.map(|one| one.name.clone())), bytes, wanted.disorder);
        let asked = plan.metadata.contains(&MetadataColumn::Watermark);
        Ok(Self {
            id,
            plan,
            full_schema: Arc::new(Schema::new(fields)),
            open: AtomicUsize::new(slots.iter().flatten().count()),
            source,
            partitions,
            wanted: Wanted { watermarks: wanted.watermarks || asked, ..wanted },
            metrics: Arc::clone(metrics),
        })
    }

    /// Its position in the plan.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The relation's name.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Why it cannot be read again as it was, if so.
    pub(crate) fn not_again(&self) -> Option<&'static str> {
        if !self.source.reads_again() {
            return Some("it would not give the same records again");
        }
        self.timing().future_bound_us.map(|_| "it judges rows by how far they are ahead of the clock")
    }

    pub(crate) fn source(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Number of partitions that it began with, those of other processes included.
    pub(crate) fn partition_count(&self) -> usize {
        self.source.partitions().len()
    }

    /// A partition has been added.
    pub(crate) fn added(&self, name: &str, here: bool) {
        self.metrics.sources[self.id as usize].join(here.then(|| name.to_owned()), self.wanted.disorder);
        self.open.fetch_add(usize::from(here), Ordering::SeqCst);
    }

    /// Everything that was read has been written by every sink.
    pub(crate) fn close(&self) {
        if self.source.keeps_place() {
            for (partition, slot) in self.partitions.slots().iter().enumerate() {
                let read = slot.as_ref().map_or(0, |slot| lock(&slot.commit).next_offset);
                if read > 0 {
                    self.source.acknowledge(partition, read);
                }
            }
        }
        self.source.close();
    }

    /// The event time that has moved a partition to a watermark.
    pub(crate) fn greatest_at(&self, watermark: i64) -> i64 {
        if watermark == NO_WATERMARK { NO_WATERMARK } else { watermark.saturating_add(self.delay_us()) }
    }

    fn delay_us(&self) -> i64 {
        match self.plan.event_time.as_ref().map(|time| time.strategy) {
            Some(WatermarkStrategy::Bounded { delay_us }) => delay_us,
            Some(WatermarkStrategy::Carried) | None => 0,
        }
    }

    fn timing(&self) -> SourceTiming {
        self.plan.event_time.as_ref().map(|time| time.timing).unwrap_or_default()
    }

    /// What moves the watermark of each partition of this process that has not ended and had rows before an epoch.
    fn greatest_of_open(slots: &Slots, before: Epoch) -> impl Iterator<Item = i64> {
        let open = move |slot: &Arc<PartitionSlot>| {
            let side = lock(&slot.commit);
            let greatest = if side.last < before { side.greatest } else { side.settled };
            (!side.ended && greatest != NO_WATERMARK).then_some(greatest)
        };
        slots.iter().flatten().filter_map(open)
    }

    /// What whoever limits errors must know of a chunk, if somebody does.
    fn records_read(&self, partition: usize, runs: &mut Runs, rows: &Prepared) -> Option<RecordsRead> {
        let policy = &self.plan.on_error;
        let share = policy.share_max();
        if share.is_none() && policy.rates().is_empty() {
            return None;
        }
        let bad: Vec<u64> = rows.undecoded.iter().chain(&rows.decoded.errors).map(|error| error.offset).collect();
        let good = (rows.decoded.columns.num_rows(), &rows.decoded.offsets);
        let records = (good.0 + bad.len()) as u64;
        let runs = share.map(|share| runs.take(share.of, good, bad)).unwrap_or_default();
        Some(RecordsRead { source: self.id, partition: u32::try_from(partition).unwrap_or(u32::MAX), records, runs })
    }

    /// Whether a partition is so far ahead of the slowest that it must wait. One that has read nothing holds nobody up.
    fn drifted(&self, slots: &Slots, slot: &PartitionSlot) -> bool {
        let Some(bound) = self.timing().max_drift_us else { return false };
        let own = lock(&slot.commit).greatest;
        let reading = |slot: &Arc<PartitionSlot>| {
            let side = lock(&slot.commit);
            (!side.ended && side.next_chunk > 0 && side.greatest != NO_WATERMARK).then_some(side.greatest)
        };
        slots.iter().flatten().filter_map(reading).min().is_some_and(|least| own > least.saturating_add(bound))
    }
}

/// A chunk that has been decoded and waits for its turn to commit.
struct Waiting {
    partition: usize,
    chunk: u64,
    /// `None`: the partition has ended.
    rows: Option<Prepared>,
    /// It has ended because the run was stopped.
    flushed: bool,
}

struct Prepared {
    decoded: Decoded,
    /// Records that could not be decoded; the errors of `decoded` are of rows that could.
    undecoded: Vec<RowError>,
    times: Option<Vec<i64>>,
    greatest: i64,
    /// Offset and event time of the first row that has the greatest.
    greatest_at: (u64, i64),
    offset: u64,
    /// One past the last record.
    next_offset: u64,
    bytes: u64,
}

/// What one worker needs to read a source.
pub(crate) struct SourceWorker {
    pub(crate) shared: Arc<SharedSource>,
    pub(crate) clock: Arc<EpochClock>,
    pub(crate) ticks: Option<Arc<TickLog>>,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) probe: Handle<Epoch>,
    pub(crate) sleepers: Rc<Sleepers>,
    pub(crate) worker: usize,
    pub(crate) bytes_in_flight_max: u64,
}

impl SourceWorker {
    fn place(&self, partition: usize) -> (u32, u32) {
        (self.shared.id, u32::try_from(partition).unwrap_or(u32::MAX))
    }

    /// Whether a partition has nothing to do before others have done theirs, in the run that is replayed.
    fn is_ahead(&self, partition: usize) -> bool {
        self.ticks.as_ref().is_some_and(|log| log.replays() && !log.wants(self.place(partition), &self.clock))
    }

    /// Writes to the log of ticks, if there is one.
    fn note(&self, partition: usize, what: impl Fn(&TickLog, (u32, u32)) -> Result<(), RunError>) {
        if let Some(log) = &self.ticks
            && let Err(error) = what(log, self.place(partition))
        {
            self.control.fail(error);
        }
    }

    /// The epoch in which a chunk may enter the dataflow now, if it may. In a replay perhaps not all of it: what must wait is the rest.
    fn turn(&self, waiting: &mut Waiting, rest: &mut Option<Prepared>) -> Option<Epoch> {
        let Some(log) = self.ticks.as_ref().filter(|log| log.replays()) else { return Some(self.clock.current()) };
        let reach = waiting.rows.as_ref().map(|rows| rows.next_offset);
        match log.turn(self.place(waiting.partition), reach, &self.clock) {
            Turn::Wait => None,
            Turn::Take { epoch, up_to } => {
                *rest = waiting.rows.as_mut().and_then(|rows| rows.split_off(up_to));
                Some(epoch)
            }
            Turn::End { epoch } => Some(epoch),
            Turn::Wrong(why) => {
                let name = &self.shared.source.partitions()[waiting.partition].name;
                self.control.fail(RunError::Worker(format!("{name} cannot be replayed: {why}")));
                None
            }
        }
    }
}

impl Prepared {
    /// Takes off the records from an offset on.
    fn split_off(&mut self, at: u64) -> Option<Self> {
        if self.next_offset <= at {
            return None;
        }
        let total = self.decoded.columns.num_rows();
        let rows = (0..total).take_while(|row| self.decoded.offsets.get(*row) < at).count();
        let errors = |errors: &mut Vec<RowError>| {
            let first = errors.iter().take_while(|error| error.offset < at).count();
            errors.split_off(first)
        };
        let all: Vec<u64> = (0..total).map(|row| self.decoded.offsets.get(row)).collect();
        let (before, behind) = all.split_at(rows);
        let columns = self.decoded.columns.clone();
        self.decoded.columns = columns.slice(0, rows);
        self.decoded.offsets = Offsets::Each(Arc::new(before.to_vec()));
        let rest = Self {
            decoded: Decoded {
                columns: columns.slice(rows, total - rows),
                offsets: Offsets::Each(Arc::new(behind.to_vec())),
                diffs: self.decoded.diffs.as_mut().map(|diffs| diffs.split_off(rows)),
                errors: errors(&mut self.decoded.errors),
            },
            undecoded: errors(&mut self.undecoded),
            times: self.times.as_mut().map(|times| times.split_off(rows)),
            greatest: self.greatest,
            greatest_at: self.greatest_at,
            offset: at,
            next_offset: self.next_offset,
            bytes: 0,
        };
        self.next_offset = at;
        // Where times are not known, nobody asks for the watermark.
        self.greatest = self.times.iter().flatten().copied().max().unwrap_or(NO_WATERMARK);
        let times = self.times.as_deref().unwrap_or_default();
        if let Some(row) = times.iter().position(|time| *time == self.greatest) {
            self.greatest_at = (before[row], self.greatest);
        }
        Some(rest)
    }
}

/// The streams of a source.
pub(crate) struct SourceStreams<'scope> {
    pub(crate) rows: Stream<'scope, Epoch, Batch>,
    pub(crate) watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    pub(crate) errors: StreamVec<'scope, Epoch, ErrorRow>,
    /// What was read, for limits of errors.
    pub(crate) reads: StreamVec<'scope, Epoch, RecordsRead>,
    /// Partitions that are added, if any can be.
    pub(crate) announced: Option<StreamVec<'scope, Epoch, Announcement>>,
}

/// Builds the operator on one worker.
pub(crate) fn source<'scope>(scope: Scope<'scope, Epoch>, context: SourceWorker) -> SourceStreams<'scope> {
    let mut builder = OperatorBuilder::new(format!("Source {}", context.shared.plan.name), scope);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (watermarks_output, watermarks) = builder.new_output::<Vec<WatermarkUpdate>>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let (reads_output, reads) = builder.new_output::<Vec<RecordsRead>>();
    let (announced_output, announced) = match context.shared.partitions.growing() {
        true => Some(builder.new_output::<Vec<Announcement>>()),
        false => None,
    }
    .unzip();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut watermarks_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<WatermarkUpdate>>>::from(watermarks_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let mut announced_output = announced_output.map(OutputBuilder::<_, CapacityContainerBuilder<Vec<Announcement>>>::from);
    let mut reads_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<RecordsRead>>>::from(reads_output);
    let activator = scope.worker().activator_for(builder.operator_info().address.clone());
    let bed = context.sleepers.bed(scope.worker().activator_for(builder.operator_info().address));
    let mut reader = Reader::new(context);
    let mut released = Released::default();

    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |_frontiers| {
            let Some(held) = capabilities.as_mut() else { return };
            // Read before anything is released, so that no release can be at an earlier epoch than the capability.
            let epoch = reader.context.clock.current();
            for capability in held.iter_mut() {
                capability.downgrade(&epoch);
            }
            let next = reader.step(&mut released);
            let mut rows_session = rows_output.activate();
            let mut watermarks_session = watermarks_output.activate();
            let mut errors_session = errors_output.activate();
            let mut reads_session = reads_output.activate();
            for (epoch, mut batch) in released.rows.drain(..) {
                let capability = held[0].delayed(&epoch);
                rows_session.session_with_builder(&capability).give_container(&mut batch);
            }
            for (epoch, update) in released.watermarks.drain(..) {
                let capability = held[1].delayed(&epoch);
                watermarks_session.session(&capability).give(update);
            }
            for (epoch, error) in released.errors.drain(..) {
                let capability = held[2].delayed(&epoch);
                errors_session.session(&capability).give(error);
            }
            for (epoch, read) in released.reads.drain(..) {
                let capability = held[3].delayed(&epoch);
                reads_session.session(&capability).give(read);
            }
            if let Some(output) = &mut announced_output {
                let mut session = output.activate();
                for (epoch, announcement) in released.announced.drain(..) {
                    let capability = held[4].delayed(&epoch);
                    session.session(&capability).give(announcement);
                }
            }
            match next {
                Next::Now => activator.activate(),
                Next::After(delay) => activator.activate_after(delay),
                Next::Tick => bed.set(true),
                Next::Never => capabilities = None,
            }
        }
    });
    SourceStreams { rows, watermarks, errors, reads, announced }
}

/// When the operator wants to run again.
enum Next {
    Now,
    After(Duration),
    /// When the next epoch begins, however soon that is: another source may yet read rows in this one.
    Tick,
    Never,
}

#[derive(Default)]
struct Released {
    rows: Vec<(Epoch, Batch)>,
    watermarks: Vec<(Epoch, WatermarkUpdate)>,
    errors: Vec<(Epoch, ErrorRow)>,
    reads: Vec<(Epoch, RecordsRead)>,
    announced: Vec<(Epoch, Announcement)>,
}

struct Reader {
    context: SourceWorker,
    decoder: Box<dyn Decoder>,
    /// Chunks of this worker that wait for their turn, in the order they were taken.
    waiting: VecDeque<Waiting>,
    /// Epochs with bytes sent and not yet through the sinks.
    in_flight: VecDeque<(Epoch, u64)>,
    bytes_in_flight: u64,
    /// Epochs whose records the source wants acknowledged: the epoch, the partition, and one past its last record.
    unacknowledged: VecDeque<(Epoch, usize, u64)>,
    next_partition: usize,
    /// Chunks read in a row without a pause.
    streak: u32,
    /// The last epoch in which partitions were looked at for being idle.
    looked: Epoch,
    /// Partitions may be added.
    grows: bool,
    /// This worker asks for them.
    discovers: bool,
}

/// What an attempt to read gave.
enum Got {
    Chunk,
    /// Other workers are taking chunks: there is more, and it will be free in a moment.
    Contended,
    Nothing,
}

impl Reader {
    fn new(context: SourceWorker) -> Self {
        let decoder = context.shared.source.decoder();
        let next_partition = context.worker;
        let grows = context.shared.partitions.growing();
        let discovers = context.worker == 0 && grows;
        Self {
            context,
            decoder,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            unacknowledged: VecDeque::new(),
            next_partition,
            streak: 0,
            looked: 0,
            grows,
            discovers,
        }
    }

    /// Commits what can be committed and reads at most one chunk.
    fn step(&mut self, released: &mut Released) -> Next {
        self.acknowledge();
        self.grow(released);
        self.commit_waiting(released);
        self.pass_over_idle(released);
        let replays = self.context.ticks.as_ref().is_some_and(|log| log.replays());
        if self.context.ticks.as_ref().is_some_and(|log| log.stops_here()) {
            self.context.control.stop();
        }
        if self.context.control.stopping() {
            if self.context.control.flushes() && self.context.control.failure().is_none() && !self.flush() {
                return Next::After(POLL_INTERVAL_MIN);
            }
            // What has been read ahead in a replay is not owed to anybody.
            if replays || self.waiting.is_empty() || self.context.control.failure().is_some() {
                // After a failure the chunk that others wait for may never come.
                return Next::Never;
            }
            // Chunks that were taken are still owed: later ones of other workers wait for them.
            return Next::After(POLL_INTERVAL_MIN);
        }
        let shared = &self.context.shared;
        // In this order: a partition is counted before it is said that there will be no more.
        if !shared.partitions.growing() && shared.open.load(Ordering::SeqCst) == 0 && self.waiting.is_empty() {
            return Next::Never;
        }
        if self.waiting.len() >= CHUNKS_WAITING_MAX {
            return Next::After(Duration::from_micros(50));
        }
        if !self.may_read() {
            return Next::After(Duration::from_micros(200));
        }
        match self.read_one() {
            Ok(Got::Chunk) => {
                self.commit_waiting(released);
                self.streak = self.streak.saturating_add(1);
                self.context.clock.note_read(self.streak > FLAT_OUT);
                Next::Now
            }
            Ok(Got::Contended) => Next::Now,
            Ok(Got::Nothing) => {
                self.streak = 0;
                if self.context.clock.keeps_time() { Next::Tick } else { Next::After(POLL_INTERVAL_MIN) }
            }
            Err(error) => {
                self.context.control.fail(error.into());
                Next::Now
            }
        }
    }

    /// Ends the partitions that have not ended, behind the chunks that were taken of them. False while another worker reads one.
    fn flush(&mut self) -> bool {
        let shared = Arc::clone(&self.context.shared);
        for (partition, slot) in shared.partitions.slots().iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))) {
            let mut side = match slot.read.try_lock() {
                Ok(side) => side,
                Err(TryLockError::WouldBlock) => return false,
                Err(TryLockError::Poisoned(side)) => side.into_inner(),
            };
            if side.reader.take().is_some() {
                let chunk = side.next_chunk;
                side.next_chunk += 1;
                self.waiting.push_back(Waiting { partition, chunk, rows: None, flushed: true });
            }
        }
        true
    }

    /// Announces partitions that have come to be, and tells where those begin that were added.
    fn grow(&mut self, released: &mut Released) {
        if !self.grows {
            return;
        }
        let shared = Arc::clone(&self.context.shared);
        // Before the last that joined are told: nobody joins behind it.
        self.grows = shared.partitions.growing();
        // Read first: what is discovered later belongs to this epoch or a later one.
        let now = self.context.clock.current();
        for (partition, watermark) in shared.partitions.joined() {
            self.tell(partition, watermark, now, released, |mark| mark.set_at = now);
        }
        if !self.discovers {
            return;
        }
        let Some(discovered) = shared.source.discovered() else {
            self.discovers = false;
            return released.announced.push((now, Announcement::Complete));
        };
        for info in discovered {
            tracing::info!("{}: partition {} is new", shared.plan.name, info.name);
            let announcement = shared.partitions.announce(info);
            if let Announcement::Partition { number, .. } = &announcement {
                let joins = WatermarkUpdate { source: shared.id, partition: *number, watermark: NO_WATERMARK };
                released.watermarks.push((now, joins));
            }
            released.announced.push((now, announcement));
        }
    }

    /// Tells the watermark of a partition.
    fn tell(&self, partition: usize, watermark: i64, epoch: Epoch, released: &mut Released, note: impl FnOnce(&mut Mark)) {
        let shared = &self.context.shared;
        let number = u32::try_from(partition).unwrap_or(u32::MAX);
        released.watermarks.push((epoch, WatermarkUpdate { source: shared.id, partition: number, watermark }));
        self.context.metrics.sources[shared.id as usize].watermark(partition, watermark, note);
    }

    /// Tells the source which records have gone through all sinks.
    fn acknowledge(&mut self) {
        while let Some((epoch, partition, next_offset)) = self.unacknowledged.front().copied() {
            if self.context.probe.less_equal(&epoch) {
                break;
            }
            // A sink that has failed lets go of epochs that it has not written, after it has told so.
            if self.context.control.failure().is_some() {
                return;
            }
            self.context.shared.source.acknowledge(partition, next_offset);
            self.unacknowledged.pop_front();
        }
    }

    fn may_read(&mut self) -> bool {
        while let Some((epoch, bytes)) = self.in_flight.front().copied() {
            if self.context.probe.less_equal(&epoch) {
                break;
            }
            self.bytes_in_flight -= bytes;
            self.in_flight.pop_front();
        }
        self.in_flight.len() <= EPOCHS_IN_FLIGHT_MAX && self.bytes_in_flight <= self.context.bytes_in_flight_max
    }

    /// Takes and decodes the next chunk of some partition.
    fn read_one(&mut self) -> Result<Got, ConnectorError> {
        let mut contended = false;
        let shared = Arc::clone(&self.context.shared);
        let slots = shared.partitions.slots();
        let count = slots.len();
        for step in 0..count {
            let partition = (self.next_partition + step) % count;
            let Some(slot) = &slots[partition] else { continue };
            if self.context.is_ahead(partition) {
                continue;
            }
            if shared.drifted(&slots, slot) {
                self.context.metrics.sources[shared.id as usize].note(partition, |mark| mark.waits = true);
                continue;
            }
            let (chunk, taken) = {
                let mut side = match slot.read.try_lock() {
                    Ok(side) => side,
                    Err(TryLockError::WouldBlock) => {
                        contended = true;
                        continue;
                    }
                    Err(TryLockError::Poisoned(side)) => side.into_inner(),
                };
                let Some(reader) = side.reader.as_mut() else { continue };
                let taken = match reader.next()? {
                    Read::Pending => {
                        side.empty = self.context.clock.current();
                        continue;
                    }
                    Read::Chunk(taken) => Some(taken),
                    Read::End => {
                        side.reader = None;
                        None
                    }
                };
                let chunk = side.next_chunk;
                side.next_chunk += 1;
                (chunk, taken)
            };
            self.next_partition = partition + 1;
            let rows = match taken {
                Some(taken) => Some(self.prepare(partition, taken)?),
                None => None,
            };
            self.waiting.push_back(Waiting { partition, chunk, rows, flushed: false });
            return Ok(Got::Chunk);
        }
        Ok(if contended { Got::Contended } else { Got::Nothing })
    }

    /// Decodes a chunk and finds the event times in it.
    fn prepare(&mut self, partition: usize, chunk: Chunk) -> Result<Prepared, ConnectorError> {
        let shared = &self.context.shared;
        let (offset, bytes) = (chunk.offset, chunk.bytes);
        let mut decoded = self.decoder.decode(chunk)?;
        let last = decoded.columns.num_rows().checked_sub(1).map(|row| decoded.offsets.get(row));
        let last = last.max(decoded.errors.last().map(|error| error.offset));
        let next_offset = last.map_or(offset, |last| last + 1);
        let undecoded = std::mem::take(&mut decoded.errors);
        let mut times = None;
        let (mut greatest, mut greatest_at) = (NO_WATERMARK, (offset, NO_WATERMARK));
        if let Some(plan) = &shared.plan.event_time {
            let now = self.context.clock.current();
            let full = self.with_metadata(partition, &decoded, now, None);
            let exprs: Vec<Arc<dyn PhysicalExpr>> = std::iter::once(&plan.expr).chain(&plan.carried).cloned().collect();
            let mut evaluated = evaluate(&exprs, &full);
            if let Some(bound) = plan.timing.future_bound_us {
                reject_future(&mut evaluated, full.num_rows(), i64::try_from(now).unwrap_or(i64::MAX), bound);
            }
            drop_bad_rows(&mut decoded, &evaluated);
            // The time itself, or the watermark that the row carries.
            let array = evaluated.columns[exprs.len() - 1].as_primitive::<TimestampMicrosecondType>();
            // A row without event time moves no watermark; the operator that needs the time reports the row.
            greatest = arrow::compute::max(array).unwrap_or(NO_WATERMARK);
            if let Some(row) = (0..array.len()).find(|row| array.values()[*row] == greatest && array.is_valid(*row)) {
                greatest_at = (decoded.offsets.get(row), evaluated.columns[0].as_primitive::<TimestampMicrosecondType>().value(row));
            }
            if shared.wanted.watermarks || shared.wanted.disorder {
                times = Some(match array.null_count() {
                    0 => array.values().to_vec(),
                    _ => array.iter().map(|time| time.unwrap_or(NO_WATERMARK)).collect(),
                });
            }
        }
        Ok(Prepared { decoded, undecoded, times, greatest, greatest_at, offset, next_offset, bytes })
    }

    /// The decoded columns and the metadata. The watermarks of the rows are known when they are committed.
    fn with_metadata(&self, partition: usize, decoded: &Decoded, epoch: Epoch, watermarks: Option<&[i64]>) -> RecordBatch {
        let rows = decoded.columns.num_rows();
        let shared = &self.context.shared;
        if shared.plan.metadata.is_empty() {
            return decoded.columns.clone();
        }
        let mut columns = decoded.columns.columns().to_vec();
        for column in &shared.plan.metadata {
            columns.push(match column {
                MetadataColumn::Partition => {
                    Arc::new(Int32Array::from_value(i32::try_from(partition).unwrap_or(i32::MAX), rows)) as ArrayRef
                }
                MetadataColumn::Offset => {
                    Arc::new(Int64Array::from_iter_values((0..rows).map(|row| i64::try_from(decoded.offsets.get(row)).unwrap_or(i64::MAX))))
                }
                MetadataColumn::Timestamp => {
                    Arc::new(TimestampMicrosecondArray::from_value(i64::try_from(epoch).unwrap_or(i64::MAX), rows))
                }
                MetadataColumn::Watermark => {
                    let known = |row: usize| watermarks.map(|all| all[row]).filter(|watermark| *watermark != NO_WATERMARK);
                    Arc::new((0..rows).map(known).collect::<TimestampMicrosecondArray>())
                }
            });
        }
        record_batch(&shared.full_schema, columns, rows)
    }

    /// Commits waiting chunks whose turn has come.
    fn commit_waiting(&mut self, released: &mut Released) {
        let shared = Arc::clone(&self.context.shared);
        let slots = shared.partitions.slots();
        let mut position = 0;
        while position < self.waiting.len() {
            let waiting = &mut self.waiting[position];
            let slot = slots[waiting.partition].as_ref().expect("a chunk comes from a partition of this process");
            let mut rest = None;
            let turn = {
                let mut side = lock(&slot.commit);
                // Read under the lock: the epochs of a partition's chunks never fall.
                let now = if side.next_chunk == waiting.chunk { self.context.turn(waiting, &mut rest) } else { None };
                if let Some(now) = now {
                    side.next_chunk += u64::from(rest.is_none());
                    let before = side.greatest;
                    if now > side.last {
                        side.settled = before;
                        side.last = now;
                    }
                    match &waiting.rows {
                        Some(rows) => {
                            side.greatest = before.max(rows.greatest);
                            side.next_offset = rows.next_offset;
                            self.context.note(waiting.partition, |log, place| log.read(now, place, rows.next_offset));
                            if let Some(read) = shared.records_read(waiting.partition, &mut side.runs, rows) {
                                released.reads.push((now, read));
                            }
                        }
                        None => {
                            side.ended = true;
                            self.context.note(waiting.partition, |log, place| log.ended(now, place));
                        }
                    }
                    Some((before, side.greatest, now))
                } else {
                    None
                }
            };
            let Some((before, after, epoch)) = turn else {
                position += 1;
                continue;
            };
            let waiting = match rest {
                Some(rest) => {
                    let waiting = &mut self.waiting[position];
                    Waiting { rows: waiting.rows.replace(rest), ..*waiting }
                }
                None => {
                    let Some(waiting) = self.waiting.remove(position) else { break };
                    waiting
                }
            };
            self.release(waiting, before, after, epoch, released);
        }
    }

    /// Lets partitions without rows for the declared time follow the fastest, once in an epoch. Rows they read later are judged by
    /// that watermark, so that none of them meets a window that has closed meanwhile.
    fn pass_over_idle(&mut self, released: &mut Released) {
        let shared = Arc::clone(&self.context.shared);
        let Some(timeout) = shared.timing().idle_timeout_us else { return };
        if let Some(log) = self.context.ticks.clone().filter(|log| log.replays()) {
            return self.idle_as_logged(&log, released);
        }
        let now = self.context.clock.current();
        if std::mem::replace(&mut self.looked, now) == now {
            return;
        }
        // As of the epoch before: what is read in this one may come sooner or later.
        let slots = shared.partitions.slots();
        let Some(fastest) = SharedSource::greatest_of_open(&slots, now).max() else { return };
        let timeout = u64::try_from(timeout).unwrap_or(u64::MAX);
        for (partition, slot) in slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))) {
            // Somebody is about to read it: to be looked at once more in this epoch.
            let Ok(read) = slot.read.try_lock() else {
                self.looked = 0;
                continue;
            };
            let mut side = lock(&slot.commit);
            if side.last == 0 {
                side.last = now;
            }
            let idle = read.next_chunk == side.next_chunk && !side.ended && is_idle(side.last, read.empty, timeout);
            if !idle || side.greatest >= fastest {
                continue;
            }
            side.greatest = fastest;
            side.settled = fastest;
            let watermark = fastest.saturating_sub(shared.delay_us()).max(NO_WATERMARK + 1);
            self.context.note(partition, |log, place| log.idled(now, place, fastest));
            // Under the lock, so that no row is judged by it before the epoch it is told in.
            self.tell(partition, watermark, now, released, |mark| (mark.set_by, mark.set_at, mark.passed_over) = (None, now, true));
        }
    }

    /// The same, when it was so in the run that is replayed.
    fn idle_as_logged(&mut self, log: &TickLog, released: &mut Released) {
        let shared = Arc::clone(&self.context.shared);
        for (partition, slot) in shared.partitions.slots().iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))) {
            let mut side = lock(&slot.commit);
            while let Some((epoch, greatest)) = log.idle(self.context.place(partition), &self.context.clock) {
                side.greatest = greatest;
                side.settled = greatest;
                let watermark = greatest.saturating_sub(shared.delay_us()).max(NO_WATERMARK + 1);
                self.tell(partition, watermark, epoch, released, |mark| {
                    (mark.set_by, mark.set_at, mark.passed_over) = (None, epoch, true);
                });
            }
        }
    }

    fn release(&mut self, waiting: Waiting, before: i64, after: i64, epoch: Epoch, released: &mut Released) {
        let shared = Arc::clone(&self.context.shared);
        let metrics = &self.context.metrics.sources[shared.id as usize];
        let partition = u32::try_from(waiting.partition).unwrap_or(u32::MAX);
        let Some(prepared) = waiting.rows else {
            // Let the epoch's consumers see the end before anybody can conclude that the source is done.
            if waiting.flushed {
                released.watermarks.push((epoch, WatermarkUpdate { source: FLUSH, partition, watermark: ENDED }));
            }
            self.tell(waiting.partition, ENDED, epoch, released, |mark| mark.set_at = epoch);
            shared.open.fetch_sub(1, Ordering::SeqCst);
            return;
        };
        let delay = shared.delay_us();
        let carried = shared.plan.event_time.as_ref().is_some_and(|time| time.carried.is_some());
        if after > before {
            let watermark = after.saturating_sub(delay).max(NO_WATERMARK + 1);
            self.tell(waiting.partition, watermark, epoch, released, |mark| {
                (mark.set_by, mark.set_at) = (Some(prepared.greatest_at), epoch);
            });
        }
        let (rows, next_offset) = (prepared.decoded.columns.num_rows(), prepared.next_offset);
        metrics.note(waiting.partition, |mark| {
            mark.next_offset = mark.next_offset.max(next_offset);
            mark.waits = false;
            if rows > 0 {
                (mark.read_at, mark.passed_over) = (mark.read_at.max(epoch), false);
            }
            if let (Some(disorder), Some(times)) = (&mut mark.disorder, &prepared.times) {
                disorder.add(times, before);
            }
        });
        let Prepared { mut decoded, undecoded, mut times, offset, next_offset, bytes, .. } = prepared;
        if shared.source.keeps_place() {
            self.unacknowledged.push_back((epoch, waiting.partition, next_offset));
        }
        // Judged before bad rows are left out: also a bad row has moved the watermark of the rows behind it.
        if let Some(times) = &mut times {
            let judged = row_watermarks(times, before, delay);
            if !carried {
                let behind = times.iter().zip(&judged).filter(|(time, watermark)| time < watermark && **time != NO_WATERMARK).count();
                metrics.note(waiting.partition, |mark| mark.judged(judged.len() as u64, behind as u64));
            }
            *times = judged;
        }
        let full = self.with_metadata(waiting.partition, &decoded, epoch, times.as_deref());
        let exprs: Vec<Arc<dyn PhysicalExpr>> = shared.plan.output.iter().map(|named| Arc::clone(&named.expr)).collect();
        let evaluated = evaluate(&exprs, &full);
        if let Some(times) = &mut times {
            *times = evaluated.keep(times).into_owned();
        }
        drop_bad_rows(&mut decoded, &evaluated);
        let columns = evaluated.columns;
        let at = ErrorAt::Row { source: shared.id, partition };
        let record = ErrorAt::Record { source: shared.id, partition };
        released.errors.extend(undecoded.into_iter().map(|error| (epoch, ErrorRow { at: record, error, diff: 1 })));
        released.errors.extend(decoded.errors.drain(..).map(|error| (epoch, ErrorRow { at, error, diff: 1 })));
        let rows = decoded.columns.num_rows();
        metrics.rows.fetch_add(rows as u64, Ordering::Relaxed);
        metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
        if rows == 0 {
            return;
        }
        let schema = self.output_schema(&columns);
        released.rows.push((
            epoch,
            Batch {
                rows: record_batch(&schema, columns, rows),
                diffs: decoded.diffs.map(ScalarBuffer::from),
                watermarks: times.map_or(RowWatermarks::Constant(NO_WATERMARK), |times| RowWatermarks::Each(times.into())),
                origin: Origin { source: shared.id, partition, offset },
                places: Places::All(decoded.offsets),
            },
        ));
        self.bytes_in_flight += bytes;
        match self.in_flight.back_mut() {
            Some((last, sum)) if *last == epoch => *sum += bytes,
            _ => self.in_flight.push_back((epoch, bytes)),
        }
    }

    fn output_schema(&self, columns: &[ArrayRef]) -> SchemaRef {
        let fields: Vec<Field> = self
            .context
            .shared
            .plan
            .output
            .iter()
            .zip(columns)
            .map(|(named, column)| Field::new(&named.name, column.data_type().clone(), true))
            .collect();
        Arc::new(Schema::new(fields))
    }
}

/// Whether a partition whose last rows came in one epoch, and that had nothing when it was asked in another, is idle. While nobody asks it,
/// since sinks are slow or it waits for others, it has not been silent.
fn is_idle(last: Epoch, empty: Epoch, timeout: u64) -> bool {
    empty.saturating_sub(last) >= timeout
}

/// Makes rows bad whose event time is too far ahead of the clock.
fn reject_future(evaluated: &mut Evaluated, of: usize, now: i64, bound: i64) {
    let limit = now.saturating_add(bound);
    let times = evaluated.columns[0].as_primitive::<TimestampMicrosecondType>();
    let ahead: Vec<u32> = (0..times.len()).filter(|row| times.is_valid(*row) && times.value(*row) > limit).map(|row| row as u32).collect();
    evaluated.reject(of, &ahead, &format!("event time is more than {} ahead of the clock", format_us(bound)));
}

/// The watermark of each row: that of the rows before it in its partition.
fn row_watermarks(times: &[i64], before: i64, delay: i64) -> Vec<i64> {
    let mut greatest = before;
    times
        .iter()
        .map(|time| {
            let watermark = if greatest == NO_WATERMARK { NO_WATERMARK } else { greatest.saturating_sub(delay) };
            greatest = greatest.max(*time);
            watermark
        })
        .collect()
}

/// Moves rows that could not be evaluated from the columns to the errors.
fn drop_bad_rows(decoded: &mut Decoded, evaluated: &Evaluated) {
    let Some(kept) = &evaluated.kept else { return };
    for bad in &evaluated.bad {
        let raw = render_row(&decoded.columns, bad.row).into_bytes();
        decoded.errors.push(RowError { offset: decoded.offsets.get(bad.row), raw, reason: bad.reason.clone() });
    }
    decoded.offsets = Offsets::Each(Arc::new(kept.iter().map(|row| decoded.offsets.get(*row as usize)).collect()));
    decoded.diffs = decoded.diffs.take().map(|diffs| evaluated.keep(&diffs).into_owned());
    decoded.columns = evaluated.keep_batch(&decoded.columns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_nobody_asks_is_not_idle() {
        assert!(is_idle(100, 150, 50) && !is_idle(100, 149, 50));
        // Sinks were slow until epoch 900: it was asked last when its rows came.
        assert!(!is_idle(100, 100, 50) && !is_idle(100, 0, 50));
    }

    #[test]
    fn a_row_is_judged_by_the_rows_before_it() {
        assert_eq!(row_watermarks(&[10, 30, 20, NO_WATERMARK, 40], NO_WATERMARK, 5), vec![NO_WATERMARK, 5, 25, 25, 25]);
        assert_eq!(row_watermarks(&[10], 100, 0), vec![100]);
    }
}
