//! # Keyed operators
//!
//! What operators with keyed state have in common, as timely sees it: an operator before the exchange that makes keyed batches, and one
//! behind it that keeps them and puts out changes when an epoch closes.
//!
//! **Time.** The first operator sends rows at their own time and holds nothing. The second holds the capability of its input frontier;
//! batches wait for their epoch to close, are applied, and the epoch's results come out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidemark_connectors::source::RowError;
use tidemark_planner::plan::{NodeId, StateLimits, TimeDomain, WatermarkPlan};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Timestamp;

use crate::aggregate::exchange::KeyedDistributor;
use crate::aggregate::{KeyedBatch, Output, Pushed, RowWatermarks as Judges};
use crate::aggregate_operator::judges;
use crate::batch::Batch;
use crate::control::{Metrics, OutTo};
use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::limit_row::passed_row;
use crate::state::keeper::passed;
use crate::stateless::error_row;
use crate::watermark::{ENDED, WatermarkTracker, WatermarkUpdate};

type Rows<'scope> = Stream<'scope, Epoch, Batch>;
type Errors<'scope, T = Epoch> = StreamVec<'scope, T, ErrorRow>;

/// Makes keyed batches of an input.
pub(crate) trait Encode: 'static {
    /// Takes rows in; the watermarks are the rows' own.
    fn push(&mut self, batch: &Batch, watermarks: Judges<'_>) -> Pushed;
}

/// Keeps keyed batches and puts out changes.
pub(crate) trait Keep: 'static {
    /// Takes a batch of the epoch that closes next, from one of the inputs.
    fn absorb(&mut self, input: usize, batch: KeyedBatch);
    /// Closes an epoch with its watermarks, in the order they were given. Called again while there is more.
    fn close(&mut self, watermarks: &[i64]) -> Output;
    /// Groups or rows kept, and bytes of memory held.
    fn held(&self) -> (usize, usize);
}

/// One input of a keyed operator.
pub(crate) struct KeyedInput<'scope, T: Timestamp = Epoch> {
    pub(crate) rows: Stream<'scope, T, Batch>,
    pub(crate) encoder: Box<dyn Encode>,
    /// The watermark its rows are judged by, if any.
    pub(crate) judged_by: Option<WatermarkPlan>,
}

/// What a keyed operator is rendered from.
pub(crate) struct KeyedContext {
    pub(crate) node: NodeId,
    /// The sources below, with their numbers of partitions.
    pub(crate) partitions: Vec<(u32, usize)>,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
    /// Limits on what is held.
    pub(crate) limits: Option<Arc<StateLimits>>,
}

/// Builds the operators of one worker.
pub(crate) fn keyed<'scope>(
    inputs: Vec<KeyedInput<'scope>>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plans: &[Option<WatermarkPlan>],
    store: impl Keep,
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let scope = watermarks.scope();
    let mut all_errors = Vec::new();
    let mut halves = Vec::new();
    for input in inputs {
        let (keyed, errors) = encode(input, context);
        halves.push(keyed);
        all_errors.push(errors);
    }
    let (rows, errors) = keep(halves, watermarks, plans, store, context);
    all_errors.push(errors);
    (rows, scope.concatenate(all_errors))
}

/// The half before the exchange, in any scope.
pub(crate) fn encode<'scope, T: Timestamp>(
    input: KeyedInput<'scope, T>,
    context: &KeyedContext,
) -> (Stream<'scope, T, KeyedBatch>, Errors<'scope, T>) {
    let KeyedInput { rows, mut encoder, judged_by } = input;
    let mut builder = OperatorBuilder::new(format!("{} local", context.node), rows.scope());
    let mut input = builder.new_input(rows, Pipeline);
    let (keyed_output, keyed) = builder.new_output::<KeyedBatch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut keyed_output = OutputBuilder::<_, NoopBuilder<KeyedBatch>>::from(keyed_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let delay = judged_by.filter(|plan| plan.domain == TimeDomain::EventTime).map(|plan| plan.delay_us);
    let metrics = Arc::clone(&context.metrics);
    let node = context.node.0;
    builder.build(move |_| {
        move |_frontiers| {
            let mut keyed_session = keyed_output.activate();
            let mut errors_session = errors_output.activate();
            input.for_each(|time, batch| {
                let batch = std::mem::take(batch);
                let mut shifted = Vec::new();
                let pushed = encoder.push(&batch, judges(&batch, delay, &mut shifted));
                for mut keyed in pushed.batches {
                    keyed_session.session_with_builder(&time).give_container(&mut keyed);
                }
                if !pushed.bad.is_empty() {
                    let rows = pushed.bad.into_iter().map(|bad| error_row(&batch, bad.row, node, bad.reason));
                    errors_session.session(&time).give_iterator(rows);
                }
                metrics.operator(node).late(&pushed.late);
            });
        }
    });
    (keyed, errors)
}

fn keep<'scope>(
    halves: Vec<Stream<'scope, Epoch, KeyedBatch>>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plans: &[Option<WatermarkPlan>],
    store: impl Keep,
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let scope = watermarks.scope();
    let mut builder = OperatorBuilder::new(context.node.to_string(), scope);
    // A pact that sends rows to their owner costs nothing where there is one worker.
    let mut inputs: Vec<_> = halves.into_iter().map(|half| builder.new_input(half, DistributorPact(|_peers| KeyedDistributor))).collect();
    let mut told = builder.new_input(watermarks, Pipeline);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let mut closer = Closer {
        store,
        trackers: plans.iter().map(|plan| WatermarkTracker::new(plan.as_ref(), &partitions_of(plan.as_ref(), context))).collect(),
        watched: plans.iter().map(Option::is_some).collect(),
        by_clock: plans.iter().flatten().any(|plan| plan.domain == TimeDomain::ProcessingTime),
        waiting: BTreeMap::new(),
    };
    let node = context.node.0;
    let metrics = Arc::clone(&context.metrics);
    let local_worker = context.local_worker;
    let out_to = OutTo { metrics: Arc::clone(&metrics), node, worker: local_worker, part: 0 };
    let (limits, peers) = (context.limits.clone(), scope.peers());
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |frontiers| {
            told.for_each(|time, updates| {
                let epoch = *time.least().expect("data has a time");
                updates.drain(..).for_each(|update| closer.tell(epoch, update));
            });
            for (place, input) in inputs.iter_mut().enumerate() {
                input.for_each(|time, batch| {
                    let epoch = *time.least().expect("data has a time");
                    closer.waiting.entry(epoch).or_default().push((place, std::mem::take(batch)));
                });
            }
            let Some(held) = capabilities.as_mut() else { return };
            out_to.begin();
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            let mut closed = false;
            closer.close(*held[0].time(), frontier, |epoch, output| {
                closed = true;
                if output.rows.num_rows() > 0 {
                    let capability = held[0].delayed(&epoch);
                    let mut batch = Batch::computed(output.rows, output.diffs);
                    rows_session.session_with_builder(&capability).give_container(&mut batch);
                }
                if !output.errors.is_empty() {
                    let capability = held[1].delayed(&epoch);
                    let rows = output.errors.into_iter().map(|error| ErrorRow {
                        at: ErrorAt::Node { node },
                        error: RowError { offset: 0, raw: error.group.into_bytes(), reason: error.reason },
                        diff: error.diff,
                    });
                    errors_session.session(&capability).give_iterator(rows);
                }
            });
            if closed {
                let (groups, bytes) = closer.store.held();
                if let Some(passed) = limits.as_deref().and_then(|limits| passed(limits, peers, (groups, bytes))) {
                    errors_session.session(&held[1]).give(passed_row(node, passed));
                }
                let held = &metrics.operator(node).held[local_worker];
                held.0.store(groups as u64, Relaxed);
                held.1.store(bytes as u64, Relaxed);
            }
            match frontier {
                Some(frontier) => held.iter_mut().for_each(|capability| capability.downgrade(&frontier)),
                None => capabilities = None,
            }
            out_to.done(frontier);
        }
    });
    (rows, errors)
}

/// The partitions a watermark is the least of.
fn partitions_of(plan: Option<&WatermarkPlan>, context: &KeyedContext) -> Vec<(u32, usize)> {
    let of = |source: u32| plan.is_none_or(|plan| plan.sources.is_empty() || plan.sources.iter().any(|it| it.0 == source));
    context.partitions.iter().copied().filter(|(source, _)| of(*source)).collect()
}

/// Decides which epochs to close, and with which watermarks.
struct Closer<S> {
    store: S,
    trackers: Vec<WatermarkTracker>,
    /// Whether each watermark is waited for; of others only the end of the input matters.
    watched: Vec<bool>,
    /// Some watermark moves with the frontier itself.
    by_clock: bool,
    /// Open epochs in which something came: batches, each with its input.
    waiting: BTreeMap<Epoch, Vec<(usize, KeyedBatch)>>,
}

impl<S: Keep> Closer<S> {
    fn tell(&mut self, epoch: Epoch, update: WatermarkUpdate) {
        self.waiting.entry(epoch).or_default();
        self.trackers.iter_mut().for_each(|tracker| tracker.update(epoch, update));
    }

    /// Closes what lies in `least..frontier`.
    fn close(&mut self, least: Epoch, frontier: Option<Epoch>, mut put_out: impl FnMut(Epoch, Output)) {
        let last = match frontier {
            Some(frontier) if frontier > least => Some(frontier - 1),
            Some(_) => return,
            None => None,
        };
        if let Some(last) = last.filter(|_| self.by_clock) {
            // Processing time moves without rows.
            self.waiting.entry(last).or_default();
        }
        while let Some(first) = self.waiting.first_entry() {
            let epoch = *first.key();
            if last.is_some_and(|last| epoch > last) {
                break;
            }
            for (input, batch) in first.remove() {
                self.store.absorb(input, batch);
            }
            let watermarks: Vec<i64> = self
                .trackers
                .iter_mut()
                .zip(&self.watched)
                .map(|(tracker, watched)| match tracker.close(epoch) {
                    watermark if *watched || watermark == ENDED => watermark,
                    _ => crate::batch::NO_WATERMARK,
                })
                .collect();
            loop {
                let output = self.store.close(&watermarks);
                let more = output.more;
                put_out(epoch, output);
                if !more {
                    break;
                }
            }
        }
    }
}
