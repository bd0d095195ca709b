//! # Rendering
//!
//! From plan nodes to timely operators, one match arm per operator. The plan has decided everything: there is no `if` here about
//! what to compute.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use tidemark_planner::plan::{NodeId, PhysicalOp, PhysicalPlan, SourceId};
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{Scope, Stream, StreamVec};

use crate::aggregate_operator::{AggregateContext, aggregate};
use crate::arrange::{ArrangeContext, ArrangedRows, Floor, arrange, conditions};
use crate::batch::Batch;
use crate::control::{Control, Metrics, OutTo};
use crate::epoch::{Epoch, EpochClock};
use crate::error_row::{ErrorDesk, ErrorRow, error_sink, sources_below};
use crate::errors_relation::errors_relation;
use crate::expire::expire;
use crate::join::join;
use crate::keyed_operator::KeyedContext;
use crate::letters::Letters;
use crate::partitions;
use crate::ranked_operator::{as_of, over, set_operation, top_n};
use crate::recursion::{RecursionContext, recursion};
use crate::sink::{OpenSinks, SinkContext, sink};
use crate::sleepers::Sleepers;
use crate::source::{SharedSource, SourceWorker, source};
use crate::stateless::{Chain, stateless};
use crate::tick_log::TickLog;
use crate::upsert::{UpsertContext, upsert};
use crate::values::values;
use crate::watermark::WatermarkUpdate;

/// What the workers of a process share.
pub(crate) struct Process {
    pub(crate) plan: Arc<PhysicalPlan>,
    pub(crate) sources: Vec<Arc<SharedSource>>,
    pub(crate) sinks: OpenSinks,
    pub(crate) desk: Arc<ErrorDesk>,
    pub(crate) letters: Arc<Letters>,
    pub(crate) clock: Arc<EpochClock>,
    pub(crate) ticks: Option<Arc<TickLog>>,
    /// The first epoch of the run.
    pub(crate) start: Epoch,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) workers: usize,
    pub(crate) bytes_in_flight_max: u64,
}

/// Renders a plan on one worker. The probe is done when every sink has acknowledged everything.
pub(crate) fn render(scope: Scope<'_, Epoch>, process: &Process, sleepers: &Rc<Sleepers>) -> Handle<Epoch> {
    let probe = Handle::new();
    let mut relations: BTreeMap<NodeId, Stream<'_, Epoch, Batch>> = BTreeMap::new();
    let mut watermarks: BTreeMap<u32, StreamVec<'_, Epoch, WatermarkUpdate>> = BTreeMap::new();
    let mut arrangements: BTreeMap<NodeId, ArrangedRows<'_, Epoch>> = BTreeMap::new();
    let mut errors: BTreeMap<NodeId, StreamVec<'_, Epoch, ErrorRow>> = BTreeMap::new();
    let mut reads = Vec::new();
    let counts = |source: SourceId| process.sources[source.index()].partition_count();
    let inside = inside_of_recursions(&process.plan);
    for node in process.plan.nodes().iter().filter(|node| !inside.contains(&node.id)) {
        match &node.op {
            PhysicalOp::Source { source: id } => {
                let context = SourceWorker {
                    shared: Arc::clone(&process.sources[id.index()]),
                    clock: Arc::clone(&process.clock),
                    ticks: process.ticks.clone(),
                    control: Arc::clone(&process.control),
                    metrics: Arc::clone(&process.metrics),
                    probe: probe.clone(),
                    sleepers: Rc::clone(sleepers),
                    worker: scope.index(),
                    bytes_in_flight_max: process.bytes_in_flight_max / process.workers as u64,
                };
                let streams = source(scope, context);
                relations.insert(node.id, streams.rows);
                let everywhere = if scope.peers() == 1 { streams.watermarks } else { streams.watermarks.broadcast() };
                if let Some(announced) = streams.announced {
                    let announced = if scope.peers() == 1 { announced } else { announced.broadcast() };
                    let (shared, control) = (Arc::clone(&process.sources[id.index()]), Arc::clone(&process.control));
                    partitions::partitions(announced, everywhere.clone(), shared, control, scope.index().is_multiple_of(process.workers));
                }
                watermarks.insert(id.0, everywhere);
                errors.insert(node.id, streams.errors);
                reads.push(streams.reads);
            }
            PhysicalOp::Stateless { input, steps, schemas } => {
                let (rows, failed) = stateless(relations[input].clone(), Chain::new(node.id, steps, schemas), Arc::clone(&process.metrics));
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Upsert(plan) => {
                let context =
                    UpsertContext { node, plan, metrics: Arc::clone(&process.metrics), local_worker: scope.index() % process.workers };
                relations.insert(node.id, upsert(relations[&plan.input].clone(), &context));
            }
            PhysicalOp::Expire(plan) => {
                let context = keyed_context(process, node.id, scope.index());
                let told = told_below(scope, &context, &watermarks);
                relations.insert(node.id, expire(relations[&plan.input].clone(), told, plan.ttl_us, &context));
            }
            PhysicalOp::Union { inputs } => {
                let streams: Vec<_> = inputs.iter().map(|input| relations[input].clone()).collect();
                relations.insert(node.id, scope.concatenate(streams));
            }
            PhysicalOp::Aggregate { input, .. } => {
                let below = sources_below(&process.plan, node.id);
                let context = AggregateContext {
                    node,
                    input: process.plan.node(*input),
                    partitions: below.iter().map(|source| (*source, process.sources[*source as usize].partition_count())).collect(),
                    metrics: Arc::clone(&process.metrics),
                    local_worker: scope.index() % process.workers,
                    start: process.start,
                };
                let told = scope.concatenate(below.iter().map(|source| watermarks[source].clone()).collect::<Vec<_>>());
                let (rows, failed) = aggregate(relations[input].clone(), told, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Arrange(plan) => {
                let waited =
                    plan.retention.as_ref().and_then(|retention| conditions(&process.plan, node.id, retention)).unwrap_or_default();
                let context = ArrangeContext {
                    node,
                    input: process.plan.node(plan.input),
                    floors: waited.iter().map(|(watermark, slack)| Floor::new(watermark, *slack, &counts)).collect(),
                    metrics: Arc::clone(&process.metrics),
                    local_worker: scope.index() % process.workers,
                };
                let told = told(scope, &watermarks, waited.iter().flat_map(|(watermark, _)| &watermark.sources));
                let (rows, failed) = arrange(relations[&plan.input].clone(), told, context);
                arrangements.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Join(plan) => {
                let (left, right) = (arrangements[&plan.left].clone(), arrangements[&plan.right].clone());
                let worker = scope.index() % process.workers;
                let out_to = OutTo { metrics: Arc::clone(&process.metrics), node: node.id.0, worker, part: 0 };
                let retentions = [&left, &right].into_iter().filter_map(|side| side.layout.retention());
                let waited: Vec<_> = retentions.flat_map(|retention| retention.watermark.sources.clone()).collect();
                let told = told(scope, &watermarks, waited.iter().filter(|_| plan.nulls_when_final));
                let (rows, failed) = join(left, right, told, plan, node, &counts, &out_to);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Values { rows } => {
                relations.insert(node.id, values(scope, &node.id.to_string(), rows, process.start));
            }
            PhysicalOp::TopN(plan) => {
                let context = keyed_context(process, node.id, scope.index());
                let told = told_below(scope, &context, &watermarks);
                let schemas = (&process.plan.node(plan.input).props.schema, &node.props.schema);
                let (rows, failed) = top_n(relations[&plan.input].clone(), told, plan, schemas, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Over(plan) => {
                let context = keyed_context(process, node.id, scope.index());
                let told = told_below(scope, &context, &watermarks);
                let schemas = (&process.plan.node(plan.input).props.schema, &node.props.schema);
                let (rows, failed) = over(relations[&plan.input].clone(), told, plan, schemas, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::SetOperation { left, right, kind } => {
                let context = keyed_context(process, node.id, scope.index());
                let told = told_below(scope, &context, &watermarks);
                let sides = [left, right].map(|side| relations[side].clone());
                let (rows, failed) = set_operation(sides, told, *kind, &node.props.schema, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::AsOf(plan) => {
                let context = keyed_context(process, node.id, scope.index());
                let told = told_below(scope, &context, &watermarks);
                let sides = [plan.left, plan.right];
                let rows = sides.map(|side| relations[&side].clone());
                let nodes = sides.map(|side| process.plan.node(side));
                let (rows, failed) = as_of(rows, told, plan, nodes, &node.props.schema, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Errors { input } => {
                let below = process.plan.below(*input);
                let failed = scope.concatenate(below.iter().filter_map(|id| errors.get(id).cloned()).collect::<Vec<_>>());
                let (letters, metrics) = (Arc::clone(&process.letters), Arc::clone(&process.metrics));
                let local_worker = scope.index() % process.workers;
                relations.insert(node.id, errors_relation(failed, node, letters, metrics, local_worker));
            }
            PhysicalOp::Recursive { .. } => unreachable!("{} is rendered with its recursion", node.id),
            PhysicalOp::Recursion(plan) => {
                let context = RecursionContext {
                    node,
                    plan: &process.plan,
                    relations: &relations,
                    arrangements: &arrangements,
                    control: Arc::clone(&process.control),
                    metrics: Arc::clone(&process.metrics),
                    local_worker: scope.index() % process.workers,
                };
                let (rows, failed) = recursion(scope, plan, &context);
                relations.insert(node.id, rows);
                errors.insert(node.id, failed);
            }
            PhysicalOp::Sink { input, sink: id } => {
                let consolidated = process.plan.adds_up(*input);
                let plan = &process.plan.sinks()[id.index()];
                let below = plan.progress.iter().flat_map(|progress| &progress.sources);
                let partitions: Vec<(u32, usize)> = below.clone().map(|source| (source.0, counts(*source))).collect();
                let told = told(scope, &watermarks, below);
                let context = SinkContext {
                    partitions: &partitions,
                    open: &process.sinks,
                    control: &process.control,
                    metrics: &process.metrics,
                    probe: &probe,
                    local_worker: scope.index() % process.workers,
                };
                sink(relations[input].clone(), told, *id, plan, consolidated, context);
            }
        }
    }
    let (errors, reads) = (scope.concatenate(errors.into_values()), scope.concatenate(reads));
    error_sink(errors, reads, Arc::clone(&process.desk), scope.peers() == process.workers).probe_with(&probe);
    probe
}

/// Nodes that are rendered with the recursion they stand in.
fn inside_of_recursions(plan: &PhysicalPlan) -> BTreeSet<NodeId> {
    let recursions = plan.nodes().iter().filter_map(|node| match &node.op {
        PhysicalOp::Recursion(recursion) => Some(plan.inside(recursion)),
        _ => None,
    });
    recursions.flatten().collect()
}

fn keyed_context(process: &Process, node: NodeId, worker: usize) -> KeyedContext {
    let below = sources_below(&process.plan, node);
    KeyedContext {
        node,
        partitions: below.iter().map(|source| (*source, process.sources[*source as usize].partition_count())).collect(),
        metrics: Arc::clone(&process.metrics),
        local_worker: worker % process.workers,
        limits: process.plan.node(node).props.limits.clone(),
    }
}

/// The watermarks of all sources below a node.
fn told_below<'scope>(
    scope: Scope<'scope, Epoch>,
    context: &KeyedContext,
    watermarks: &BTreeMap<u32, StreamVec<'scope, Epoch, WatermarkUpdate>>,
) -> StreamVec<'scope, Epoch, WatermarkUpdate> {
    scope.concatenate(context.partitions.iter().map(|(source, _)| watermarks[source].clone()).collect::<Vec<_>>())
}

/// The watermarks of some sources, each once.
fn told<'scope, 'a>(
    scope: Scope<'scope, Epoch>,
    watermarks: &BTreeMap<u32, StreamVec<'scope, Epoch, WatermarkUpdate>>,
    sources: impl Iterator<Item = &'a SourceId>,
) -> StreamVec<'scope, Epoch, WatermarkUpdate> {
    let sources: BTreeSet<u32> = sources.map(|source| source.0).collect();
    scope.concatenate(sources.iter().map(|source| watermarks[source].clone()).collect::<Vec<_>>())
}
