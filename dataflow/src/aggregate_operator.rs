//! # Aggregate operators
//!
//! The two halves of an aggregate as timely operators: one before the exchange, where rows are judged and perhaps added up, one
//! behind it, where groups are kept. What they mean is written in [`crate::aggregate`]; here batches and capabilities move.
//!
//! **Time.** The first half holds the capability of the epoch whose rows it has not sent. The second holds that of its input
//! frontier and no earlier one, so it delays nobody, and puts out an epoch's results once the frontier has passed it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidemark_connectors::source::RowError;
use tidemark_planner::plan::{Node, PhysicalOp, TimeDomain, WatermarkPlan};
use timely::communication::Pull;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concat};
use timely::dataflow::{Stream, StreamVec};

use crate::aggregate::exchange::KeyedDistributor;
use crate::aggregate::{AggregateLayout, KeyedBatch, LimitReport, LocalHalf, Output, Place, RowWatermarks as Judges, Store, global_owner};
use crate::batch::{Batch, NO_WATERMARK, RowWatermarks};
use crate::control::{Metrics, OutTo};
use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::late_letter::{homeless_letters, late_letter, late_rows};
use crate::limit_row::limit_rows;
use crate::state::accumulators::accumulator;
use crate::stateless::error_row;
use crate::watermark::{ENDED, FLUSH, WatermarkTracker, WatermarkUpdate};

/// What an aggregate is rendered from.
pub(crate) struct AggregateContext<'a> {
    pub(crate) node: &'a Node,
    pub(crate) input: &'a Node,
    /// The sources below, with their numbers of partitions.
    pub(crate) partitions: Vec<(u32, usize)>,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
    /// The first epoch of the run.
    pub(crate) start: Epoch,
}

type Rows<'scope> = Stream<'scope, Epoch, Batch>;
type Errors<'scope> = StreamVec<'scope, Epoch, ErrorRow>;

/// Builds both operators on one worker.
///
/// # Panics
/// When the plan asks for what no state can keep: a fault of the planner.
pub(crate) fn aggregate<'scope>(
    input: Rows<'scope>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    context: &AggregateContext<'_>,
) -> (Rows<'scope>, Errors<'scope>) {
    let layout = AggregateLayout::of(context.node, context.input, accumulator)
        .unwrap_or_else(|reason| panic!("{} cannot be kept, the planner should have said so: {reason}", context.node.id));
    let layout = Arc::new(layout);
    let peers = input.scope().peers();
    let (keyed, bad) = local_half(input, Arc::clone(&layout), context);
    let (rows, failed) = if peers == 1 {
        store(keyed, Pipeline, watermarks, layout, context)
    } else {
        store(keyed, DistributorPact(|_peers| KeyedDistributor), watermarks, layout, context)
    };
    (rows, bad.concat(failed))
}

/// The watermark that closes windows, or that limits measure ages by.
fn watermark_plan(node: &Node) -> Option<&WatermarkPlan> {
    let of_limits = || node.props.limits.as_ref().and_then(|limits| limits.watermark());
    match &node.op {
        PhysicalOp::Aggregate { window: Some(window), .. } => window.watermark.as_ref().or_else(of_limits),
        _ => of_limits(),
    }
}

fn local_half<'scope>(
    input: Rows<'scope>,
    layout: Arc<AggregateLayout>,
    context: &AggregateContext<'_>,
) -> (Stream<'scope, Epoch, KeyedBatch>, Errors<'scope>) {
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(format!("{} local", context.node.id), scope);
    let mut input = builder.new_input(input, Pipeline);
    let (keyed_output, keyed) = builder.new_output::<KeyedBatch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut keyed_output = OutputBuilder::<_, NoopBuilder<KeyedBatch>>::from(keyed_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let panes = layout.window.map(|window| window.panes);
    let mut half = LocalHalf::new(layout, scope.peers() == 1);
    let delay = watermark_plan(context.node).filter(|plan| plan.domain == TimeDomain::EventTime).map(|plan| plan.delay_us);
    let metrics = Arc::clone(&context.metrics);
    let node = context.node.id.0;
    builder.build(move |_| {
        // The epoch of the rows that lie in the half, with the right to send them.
        let mut open: Option<Capability<Epoch>> = None;
        move |frontiers| {
            let mut keyed_session = keyed_output.activate();
            let mut errors_session = errors_output.activate();
            input.for_each(|time, batch| {
                let batch = std::mem::take(batch);
                let epoch = *time.least().expect("data has a time");
                if let Some(capability) = open.take_if(|open| *open.time() != epoch) {
                    for mut keyed in half.flush() {
                        keyed_session.session_with_builder(&capability).give_container(&mut keyed);
                    }
                }
                let mut shifted = Vec::new();
                half.read_at(Place { origin: batch.origin, places: batch.places.clone() });
                let pushed = half.push(&batch.rows, batch.diffs.as_deref(), judges(&batch, delay, &mut shifted));
                for mut keyed in pushed.batches {
                    keyed_session.session_with_builder(&time).give_container(&mut keyed);
                }
                if !pushed.bad.is_empty() {
                    let rows = pushed.bad.into_iter().map(|bad| error_row(&batch, bad.row, node, bad.reason));
                    errors_session.session(&time).give_iterator(rows);
                }
                metrics.operator(node).late(&pushed.late);
                if !pushed.refused.is_empty() {
                    let letters = pushed.refused.into_iter().map(|refused| late_letter(node, &batch, panes, refused));
                    errors_session.session(&time).give_iterator(letters);
                }
                if open.is_none() {
                    open = time.retain_least(0);
                }
            });
            if let Some(capability) = open.take_if(|open| !frontiers[0].less_equal(open.time())) {
                for mut keyed in half.flush() {
                    keyed_session.session_with_builder(&capability).give_container(&mut keyed);
                }
            }
        }
    });
    (keyed, errors)
}

/// The watermarks that rows of a batch are judged by. `delay` is what separates the window's watermark from the sources'.
pub(crate) fn judges<'a>(batch: &'a Batch, delay: Option<i64>, shifted: &'a mut Vec<i64>) -> Judges<'a> {
    match (delay, &batch.watermarks) {
        (None, _) | (_, RowWatermarks::Constant(NO_WATERMARK)) => Judges::None,
        (Some(delay), RowWatermarks::Constant(watermark)) => Judges::Constant(watermark.saturating_sub(delay)),
        (Some(0), RowWatermarks::Each(each)) => Judges::Each(each),
        (Some(delay), RowWatermarks::Each(each)) => {
            shifted.extend(each.iter().map(|watermark| match *watermark {
                NO_WATERMARK => NO_WATERMARK,
                watermark => watermark.saturating_sub(delay),
            }));
            Judges::Each(shifted)
        }
    }
}

fn store<'scope, P>(
    keyed: Stream<'scope, Epoch, KeyedBatch>,
    pact: P,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    layout: Arc<AggregateLayout>,
    context: &AggregateContext<'_>,
) -> (Rows<'scope>, Errors<'scope>)
where
    P: ParallelizationContract<Epoch, KeyedBatch>,
    P::Puller: Pull<Message<Epoch, KeyedBatch>> + 'static,
{
    let scope = keyed.scope();
    let mut builder = OperatorBuilder::new(context.node.id.to_string(), scope);
    let mut keyed = builder.new_input(keyed, pact);
    let mut told = builder.new_input(watermarks, Pipeline);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let plan = watermark_plan(context.node);
    let (puts_out_late, schema) = (layout.puts_out_late(), layout.output().clone());
    let mut closer = Closer {
        store: Store::among(layout, global_owner(scope.peers()) == scope.index(), scope.peers()),
        tracker: WatermarkTracker::new(plan, &context.partitions),
        watched: plan.is_some(),
        flushed: false,
        by_clock: plan.is_some_and(|plan| plan.domain == TimeDomain::ProcessingTime),
        // An aggregate over no rows has a result too: it belongs to the first epoch, on any number of workers.
        touched: BTreeSet::from([context.start]),
    };
    let node = context.node.id.0;
    let metrics = Arc::clone(&context.metrics);
    let local_worker = context.local_worker;
    let out_to = OutTo { metrics: Arc::clone(&metrics), node, worker: local_worker, part: 0 };
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |frontiers| {
            told.for_each(|time, updates| {
                let epoch = *time.least().expect("data has a time");
                updates.drain(..).for_each(|update| closer.tell(epoch, update));
            });
            keyed.for_each(|time, batch| {
                let epoch = *time.least().expect("data has a time");
                closer.touched.insert(epoch);
                closer.store.absorb(epoch, std::mem::take(batch));
            });
            let Some(held) = capabilities.as_mut() else { return };
            out_to.begin();
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            let mut closed = false;
            closer.close(*held[0].time(), frontier, |epoch, output, limited| {
                closed = true;
                let capability = held[0].delayed(&epoch);
                if puts_out_late {
                    for homeless in &output.homeless {
                        rows_session.session_with_builder(&capability).give_container(&mut late_rows(homeless, &schema));
                    }
                } else if !output.homeless.is_empty() {
                    let capability = held[1].delayed(&epoch);
                    let letters = output.homeless.iter().flat_map(|homeless| homeless_letters(node, homeless));
                    errors_session.session(&capability).give_iterator(letters);
                }
                let mut batch = Batch::computed(output.rows, output.diffs);
                rows_session.session_with_builder(&capability).give_container(&mut batch);
                if !output.errors.is_empty() {
                    let capability = held[1].delayed(&epoch);
                    let rows = output.errors.into_iter().map(|error| ErrorRow {
                        at: ErrorAt::Node { node },
                        error: RowError { offset: 0, raw: error.group.into_bytes(), reason: error.reason },
                        diff: error.diff,
                    });
                    errors_session.session(&capability).give_iterator(rows);
                }
                if let Some(limited) = limited {
                    metrics.operator(node).limited(&limited.counts);
                    let rows = limit_rows(node, limited);
                    errors_session.session(&held[1].delayed(&epoch)).give_iterator(rows.into_iter());
                }
            });
            metrics.operator(node).late(&closer.store.take_too_late());
            if closed {
                let held = &metrics.operator(node).held[local_worker];
                held.0.store(closer.store.groups() as u64, Relaxed);
                held.1.store(closer.store.bytes() as u64, Relaxed);
            }
            match frontier {
                Some(frontier) => {
                    held.iter_mut().for_each(|capability| capability.downgrade(&frontier));
                }
                None => capabilities = None,
            }
            out_to.done(frontier);
        }
    });
    (rows, errors)
}

/// Decides which epochs to close, and with which watermark.
struct Closer {
    store: Store,
    tracker: WatermarkTracker,
    /// Windows wait for a watermark; otherwise only the end of the input matters.
    watched: bool,
    /// The input ends because the run was stopped.
    flushed: bool,
    /// The watermark moves with the frontier itself.
    by_clock: bool,
    /// Open epochs in which something came.
    touched: BTreeSet<Epoch>,
}

impl Closer {
    fn tell(&mut self, epoch: Epoch, update: WatermarkUpdate) {
        self.touched.insert(epoch);
        self.flushed |= update.source == FLUSH;
        self.tracker.update(epoch, update);
    }

    /// Closes what lies in `least..frontier`.
    fn close(&mut self, least: Epoch, frontier: Option<Epoch>, mut put_out: impl FnMut(Epoch, Output, Option<LimitReport>)) {
        let last = match frontier {
            Some(frontier) if frontier > least => Some(frontier - 1),
            Some(_) => return,
            None => None,
        };
        if let Some(last) = last.filter(|_| self.by_clock) {
            // Processing time moves without rows.
            self.touched.insert(last);
        }
        loop {
            // A tick has its epoch, even if no rows came in it; when the input has ended, its last epoch closes what is left.
            let until = last.or_else(|| self.touched.last().copied());
            let end = if self.by_clock { self.store.next_end() } else { None };
            let tick = self.store.next_tick().into_iter().chain(end).min().filter(|tick| until.is_some_and(|until| *tick <= until));
            let Some(epoch) = self.touched.first().copied().into_iter().chain(tick).min() else { break };
            if last.is_some_and(|last| epoch > last) {
                break;
            }
            self.touched.remove(&epoch);
            let watermark = self.tracker.close(epoch);
            let watermark = if self.watched || watermark == ENDED { watermark } else { NO_WATERMARK };
            if self.flushed && watermark == ENDED {
                self.store.flush(epoch);
            }
            loop {
                let output = self.store.close(epoch, watermark);
                let more = output.more;
                put_out(epoch, output, self.store.take_limit_report());
                if !more {
                    break;
                }
            }
        }
        if let Some(frontier) = frontier {
            self.store.advance(frontier);
        }
    }
}
