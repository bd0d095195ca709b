//! # Sink operator
//!
//! **Meaning.** Hands each epoch's net change to a sink, once the epoch is complete.
//! **Time.** The sink runs on a thread of its own and may block. The operator holds the capability of the first epoch the sink has
//! not acknowledged: the probe behind it is what sources look at before they read on, so a slow sink slows the sources, and
//! memory stays bounded.
//! **State.** The batches of epochs that are not acknowledged.
//! **Errors.** A sink that fails ends the run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tidemark_connectors::io::Io;
use tidemark_connectors::sink::{Placement, Sink};
use tidemark_connectors::source::ConnectorError;
use tidemark_planner::plan::{ChangelogKind, SinkId, SinkPlan};
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::dataflow::{Stream, StreamVec};
use timely::scheduling::SyncActivator;

use crate::batch::{Batch, NO_WATERMARK};
use crate::consolidate::consolidate;
use crate::control::{Control, Metrics, lock};
use crate::epoch::Epoch;
use crate::exchange::to_worker;
use crate::watermark::{ENDED, WatermarkTracker, WatermarkUpdate};

/// Epochs that may lie in the channel to a sink's thread.
const EPOCHS_QUEUED_MAX: usize = 2;

/// What an operator tells its sink's thread.
enum Order {
    Epoch {
        epoch: Epoch,
        changes: Vec<(RecordBatch, Option<Vec<i64>>)>,
        /// How far the watermark has come, if it moved and the sink is told.
        progress: Option<i64>,
    },
    Finish,
}

/// The sinks of a process, opened before any worker starts, so that what cannot be opened fails the run at once.
pub(crate) struct OpenSinks {
    placements: Vec<Placement>,
    /// By sink, then by worker of the process.
    sinks: Vec<Vec<Mutex<Option<Box<dyn Sink>>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl OpenSinks {
    /// Opens the sinks of a plan for a process with some workers; `first` is the process's first worker.
    pub(crate) fn open(io: &dyn Io, plans: &[SinkPlan], first: usize, workers: usize) -> Result<Self, ConnectorError> {
        let placements: Vec<Placement> = plans.iter().map(|plan| io.placement(plan)).collect();
        let mut sinks = Vec::new();
        for (plan, placement) in plans.iter().zip(&placements) {
            let here = match placement {
                Placement::OneWorker => 0..usize::from(first == 0),
                Placement::EachProcess => first / workers..first / workers + 1,
                Placement::EachWorker => first..first + workers,
            };
            let open = here.map(|place| Ok(Mutex::new(Some(io.open_sink(plan, place)?))));
            sinks.push(open.collect::<Result<Vec<_>, ConnectorError>>()?);
        }
        Ok(Self { placements, sinks, threads: Mutex::new(Vec::new()) })
    }

    /// Waits until every sink has finished.
    pub(crate) fn join(&self) {
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                // The panic has been printed by the thread; the run cannot be called a success.
                std::panic::panic_any("a sink's thread panicked");
            }
        }
    }
}

/// What the workers of a process share about sinks.
#[derive(Clone, Copy)]
pub(crate) struct SinkContext<'a> {
    pub(crate) open: &'a OpenSinks,
    pub(crate) control: &'a Arc<Control>,
    pub(crate) metrics: &'a Arc<Metrics>,
    pub(crate) probe: &'a Handle<Epoch>,
    /// The sources below, with their numbers of partitions.
    pub(crate) partitions: &'a [(u32, usize)],
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
}

/// Builds the operator on one worker. `consolidated`: equal rows of an epoch are added up already.
/// `told` are the watermarks of the sources below, if the plan tells of them.
pub(crate) fn sink<'scope>(
    input: Stream<'scope, Epoch, Batch>,
    told: StreamVec<'scope, Epoch, WatermarkUpdate>,
    id: SinkId,
    plan: &SinkPlan,
    consolidated: bool,
    context: SinkContext<'_>,
) {
    let input = (input, told);
    match context.open.placements[id.index()] {
        Placement::EachWorker => build(input, Pipeline, Some(context.local_worker), id, plan, consolidated, context),
        Placement::EachProcess => {
            let first = input.0.scope().index() - context.local_worker;
            build(input, to_worker(first), (context.local_worker == 0).then_some(0), id, plan, consolidated, context);
        }
        Placement::OneWorker => {
            let here = (input.0.scope().index() == 0).then_some(0);
            build(input, to_worker(0), here, id, plan, consolidated, context);
        }
    }
}

fn build<'scope, P>(
    (input, told): (Stream<'scope, Epoch, Batch>, StreamVec<'scope, Epoch, WatermarkUpdate>),
    pact: P,
    here: Option<usize>,
    id: SinkId,
    plan: &SinkPlan,
    consolidated: bool,
    context: SinkContext<'_>,
) where
    P: ParallelizationContract<Epoch, Batch>,
    P::Puller: Pull<Message<Epoch, Batch>> + 'static,
{
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(format!("Sink {}", plan.name), scope);
    let mut input = builder.new_input(input, pact);
    let mut told = plan.progress.is_some().then(|| builder.new_input(told, Pipeline));
    let (_output, done) = builder.new_output::<Vec<()>>();
    done.probe_with(context.probe);
    let Some(slot) = here else {
        builder.build(move |_capabilities| {
            move |_frontiers| {
                input.for_each(|_, _| panic!("rows of a sink arrive at the worker that owns it"));
                if let Some(told) = &mut told {
                    told.for_each(|_, updates| updates.clear());
                }
            }
        });
        return;
    };
    let sink = lock(&context.open.sinks[id.index()][slot]).take().expect("a sink is rendered once");
    let activator = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    let mut outbox = Outbox::open(sink, id, plan, consolidated, activator, context);
    let metrics = Arc::clone(context.metrics);
    builder.build(move |mut capabilities| {
        let mut capability: Option<Capability<Epoch>> = capabilities.pop();
        move |frontiers| {
            input.for_each(|time, batch| {
                let epoch = *time.least().expect("data has a time");
                outbox.open.entry(epoch).or_default().push(std::mem::take(batch));
            });
            if let Some(told) = &mut told {
                told.for_each(|time, updates| {
                    let epoch = *time.least().expect("data has a time");
                    updates.drain(..).for_each(|update| outbox.tell(epoch, update));
                });
            }
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            outbox.close(frontier);
            outbox.send();
            let Some(held) = capability.as_mut() else { return };
            if slot == 0 {
                let facts = &metrics.sinks[id.index()];
                facts.written_to.store(*held.time(), Ordering::Relaxed);
                facts.given_to.store(frontier.unwrap_or(*held.time()), Ordering::Relaxed);
            }
            match outbox.oldest_unacknowledged().or(frontier) {
                Some(oldest) => {
                    let oldest = oldest.min(frontier.unwrap_or(oldest));
                    if *held.time() < oldest {
                        metrics.epochs.fetch_max(oldest, Ordering::Relaxed);
                        held.downgrade(&oldest);
                    }
                }
                None => {
                    outbox.finish();
                    capability = None;
                }
            }
        }
    });
}

/// Epochs on their way to a sink's thread.
struct Outbox {
    schema: arrow::datatypes::SchemaRef,
    append_only: bool,
    consolidated: bool,
    /// Epochs that may still grow.
    open: BTreeMap<Epoch, Vec<Batch>>,
    /// The watermark, and what was told of it last.
    tracker: Option<WatermarkTracker>,
    told: i64,
    /// Complete epochs that the channel had no room for.
    waiting: VecDeque<Order>,
    /// Complete epochs the thread has not acknowledged, those in `waiting` included.
    unacknowledged: VecDeque<Epoch>,
    orders: Option<Sender<Order>>,
    acknowledged: Arc<AtomicU64>,
}

impl Outbox {
    fn open(
        sink: Box<dyn Sink>,
        id: SinkId,
        plan: &SinkPlan,
        consolidated: bool,
        activator: SyncActivator,
        context: SinkContext<'_>,
    ) -> Self {
        let (orders, received) = bounded(EPOCHS_QUEUED_MAX);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let thread = SinkThread {
            sink,
            received,
            acknowledged: Arc::clone(&acknowledged),
            activator,
            control: Arc::clone(context.control),
            metrics: Arc::clone(context.metrics),
            id,
        };
        let spawned = std::thread::Builder::new().name(format!("sink {}", plan.name)).spawn(move || thread.run());
        lock(&context.open.threads).push(spawned.expect("the system has room for a thread"));
        Self {
            schema: Arc::clone(&plan.schema),
            append_only: plan.changelog == ChangelogKind::AppendOnly,
            consolidated,
            open: BTreeMap::new(),
            tracker: plan.progress.as_ref().map(|progress| WatermarkTracker::new(Some(progress), context.partitions)),
            told: NO_WATERMARK,
            waiting: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            orders: Some(orders),
            acknowledged,
        }
    }

    /// Completes the epochs behind the frontier.
    fn close(&mut self, frontier: Option<Epoch>) {
        let next = |outbox: &Self| {
            let told = outbox.tracker.as_ref().and_then(WatermarkTracker::next_epoch);
            outbox.open.keys().next().copied().into_iter().chain(told).min()
        };
        while let Some(epoch) = next(self).filter(|epoch| frontier.is_none_or(|frontier| *epoch < frontier)) {
            let changes = self.open.remove(&epoch).map_or_else(Vec::new, |batches| self.changes(batches));
            let progress = self.moved(epoch);
            if !changes.is_empty() || progress.is_some() {
                self.unacknowledged.push_back(epoch);
                self.waiting.push_back(Order::Epoch { epoch, changes, progress });
            }
        }
    }

    fn tell(&mut self, epoch: Epoch, update: WatermarkUpdate) {
        if let Some(tracker) = &mut self.tracker {
            tracker.update(epoch, update);
        }
    }

    /// Where the watermark is at the end of an epoch, if it was not there before. Its end is told by that of the output.
    fn moved(&mut self, epoch: Epoch) -> Option<i64> {
        let watermark = self.tracker.as_mut()?.close(epoch);
        let moved = watermark > self.told && watermark != ENDED;
        self.told = self.told.max(watermark);
        moved.then_some(watermark)
    }

    fn changes(&self, mut batches: Vec<Batch>) -> Vec<(RecordBatch, Option<Vec<i64>>)> {
        // Rows of one partition in the partition's order, whichever workers decoded them.
        batches.sort_by_key(|batch| batch.origin);
        if self.append_only {
            // A row that comes twice is two rows: an operator may have added equal rows up.
            return batches.into_iter().map(|batch| (batch.one_by_one().rows, None)).collect();
        }
        if self.consolidated {
            return batches.into_iter().map(|batch| (batch.rows, batch.diffs.map(|diffs| diffs.to_vec()))).collect();
        }
        consolidate(&self.schema, &batches).map(|(rows, diffs)| (rows, Some(diffs))).into_iter().collect()
    }

    fn send(&mut self) {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        while self.unacknowledged.front().is_some_and(|epoch| *epoch <= acknowledged) {
            self.unacknowledged.pop_front();
        }
        let Some(orders) = &self.orders else { return };
        while let Some(order) = self.waiting.pop_front() {
            match orders.try_send(order) {
                Ok(()) => {}
                // The thread activates the operator when it has taken an order.
                Err(TrySendError::Full(order)) => return self.waiting.push_front(order),
                Err(TrySendError::Disconnected(_)) => return self.forget(),
            }
        }
    }

    /// The thread is gone, and has told why: nothing will be acknowledged any more.
    fn forget(&mut self) {
        self.waiting.clear();
        self.unacknowledged.clear();
    }

    fn oldest_unacknowledged(&self) -> Option<Epoch> {
        self.unacknowledged.front().copied().into_iter().chain(self.open.keys().next().copied()).min()
    }

    fn finish(&mut self) {
        if let Some(orders) = self.orders.take() {
            // The channel is empty: everything has been acknowledged.
            let _ = orders.try_send(Order::Finish);
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.finish();
    }
}

struct SinkThread {
    sink: Box<dyn Sink>,
    received: Receiver<Order>,
    acknowledged: Arc<AtomicU64>,
    activator: SyncActivator,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    id: SinkId,
}

impl SinkThread {
    fn run(mut self) {
        let mut failed = false;
        while let Ok(order) = self.received.recv() {
            match order {
                Order::Epoch { epoch, changes, progress } => {
                    if !failed && let Err(error) = self.write(epoch, &changes, progress) {
                        self.control.fail(error.into());
                        failed = true;
                    }
                    self.acknowledged.store(epoch, Ordering::Release);
                    // The worker may be gone already, after a failure elsewhere.
                    let _ = self.activator.activate();
                }
                Order::Finish => break,
            }
        }
        if failed {
            return;
        }
        match self.sink.finish() {
            Ok(report) => {
                self.metrics.sinks[self.id.index()].bytes.fetch_add(report.bytes, Ordering::Relaxed);
            }
            Err(error) => self.control.fail(error.into()),
        }
    }

    fn write(&mut self, epoch: Epoch, changes: &[(RecordBatch, Option<Vec<i64>>)], progress: Option<i64>) -> Result<(), ConnectorError> {
        let mut written = 0;
        for (rows, diffs) in changes {
            self.sink.write(rows, diffs.as_deref())?;
            written += match diffs {
                None => rows.num_rows() as u64,
                Some(diffs) => diffs.iter().map(|diff| diff.unsigned_abs()).sum(),
            };
        }
        if !changes.is_empty() {
            self.sink.end_epoch(epoch)?;
        }
        if let Some(watermark) = progress {
            self.sink.progress(watermark)?;
        }
        self.metrics.sinks[self.id.index()].changes.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}
