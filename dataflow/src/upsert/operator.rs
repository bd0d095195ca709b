//! Upsert as timely operators: keys are encoded where rows are read, rows are kept where their key lives. What it means is written in
//! [`crate::upsert`]; here batches and capabilities move.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidemark_planner::plan::{Node, UpsertPlan};
use timely::communication::Pull;
use timely::container::NoopBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::store::{UpsertLayout, UpsertStore};
use crate::aggregate::KeyedBatch;
use crate::aggregate::exchange::KeyedDistributor;
use crate::batch::Batch;
use crate::control::{Metrics, OutTo};
use crate::epoch::Epoch;

/// What an upsert is rendered from.
pub(crate) struct UpsertContext<'a> {
    pub(crate) node: &'a Node,
    pub(crate) plan: &'a UpsertPlan,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
}

/// Builds both operators on one worker.
///
/// # Panics
/// When the plan asks for what no state can keep: a fault of the planner.
pub(crate) fn upsert<'scope>(input: Stream<'scope, Epoch, Batch>, context: &UpsertContext<'_>) -> Stream<'scope, Epoch, Batch> {
    let layout = UpsertLayout::new(Arc::clone(&context.node.props.schema), &context.plan.key, context.plan.remember_deleted)
        .unwrap_or_else(|reason| panic!("{} cannot be kept, the planner should have said so: {reason}", context.node.id));
    let layout = Arc::new(layout);
    let peers = input.scope().peers();
    let keyed = encode(input, Arc::clone(&layout), &context.node.id.to_string());
    if peers == 1 {
        keep(keyed, Pipeline, layout, context)
    } else {
        keep(keyed, DistributorPact(|_peers| KeyedDistributor), layout, context)
    }
}

fn encode<'scope>(input: Stream<'scope, Epoch, Batch>, layout: Arc<UpsertLayout>, name: &str) -> Stream<'scope, Epoch, KeyedBatch> {
    let mut builder = OperatorBuilder::new(format!("{name} local"), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, keyed) = builder.new_output::<KeyedBatch>();
    let mut output = OutputBuilder::<_, NoopBuilder<KeyedBatch>>::from(output);
    builder.build(move |_| {
        move |_frontiers| {
            let mut session = output.activate();
            input.for_each(|capability, batch| {
                let batch = std::mem::take(batch);
                if !batch.is_empty() {
                    session.session_with_builder(&capability).give_container(&mut layout.keyed(&batch));
                }
            });
        }
    });
    keyed
}

fn keep<'scope, P>(
    keyed: Stream<'scope, Epoch, KeyedBatch>,
    pact: P,
    layout: Arc<UpsertLayout>,
    context: &UpsertContext<'_>,
) -> Stream<'scope, Epoch, Batch>
where
    P: ParallelizationContract<Epoch, KeyedBatch>,
    P::Puller: Pull<Message<Epoch, KeyedBatch>> + 'static,
{
    let mut builder = OperatorBuilder::new(context.node.id.to_string(), keyed.scope());
    let mut keyed = builder.new_input(keyed, pact);
    let (output, rows) = builder.new_output::<Batch>();
    let mut output = OutputBuilder::<_, NoopBuilder<Batch>>::from(output);
    let mut store = UpsertStore::new(layout);
    let metrics = Arc::clone(&context.metrics);
    let (node, worker) = (context.node.id.0, context.local_worker);
    let out_to = OutTo { metrics: Arc::clone(&metrics), node, worker, part: 0 };
    builder.build(move |mut capabilities| {
        let mut held = capabilities.pop();
        move |frontiers| {
            keyed.for_each(|time, batch| {
                let epoch = *time.least().expect("data has a time");
                store.absorb(epoch, std::mem::take(batch));
            });
            let Some(capability) = held.as_mut() else { return };
            out_to.begin();
            let frontier = frontiers[0].frontier().first().copied();
            let mut session = output.activate();
            let mut closed = false;
            while let Some(epoch) = store.first_open().filter(|epoch| frontier.is_none_or(|frontier| *epoch < frontier)) {
                closed = true;
                let changes = store.close(epoch);
                let ignored = changes.unknown + changes.overtaken;
                if ignored > 0 {
                    metrics.operator(node).ignored.fetch_add(ignored, Relaxed);
                }
                if let Some(mut rows) = changes.rows {
                    session.session_with_builder(&capability.delayed(&epoch)).give_container(&mut rows);
                }
            }
            if closed {
                let held = &metrics.operator(node).held[worker];
                held.0.store(store.len() as u64, Relaxed);
                held.1.store(store.bytes() as u64, Relaxed);
            }
            match frontier {
                Some(frontier) => capability.downgrade(&frontier),
                None => held = None,
            }
            out_to.done(frontier);
        }
    });
    rows
}
