//! The rounds of a recursion, as timely sees them: rows go to the worker that keeps them; a round closes when the frontier has passed it,
//! an epoch when nothing of it is under way. The operator holds a capability for the next round that it knows something of, and for each epoch
//! whose net change has not come out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidemark_planner::plan::RecursionPlan;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::order::Product;
use timely::progress::frontier::MutableAntichain;

use super::rounds::{COPIES_MAX, Rounds};
use super::{LoopTime, RecursionContext, Round};
use crate::aggregate::KeyedBatch;
use crate::aggregate::exchange::KeyedDistributor;
use crate::arrange::RowTime;
use crate::batch::Batch;
use crate::control::{Control, OutTo, RunError};
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::keyed_operator::{KeyedContext, KeyedInput, encode};
use crate::set_operation::WholeRows;

/// What comes out of the rounds.
pub(super) struct Changes<'scope> {
    /// The changes of each round, at its time.
    pub(super) rounds: Stream<'scope, LoopTime, Batch>,
    /// The net change of each epoch.
    pub(super) net: Stream<'scope, LoopTime, Batch>,
    pub(super) errors: StreamVec<'scope, LoopTime, ErrorRow>,
}

/// Builds the operators on one worker.
pub(super) fn rounds<'scope>(
    made: Stream<'scope, LoopTime, Batch>,
    plan: &RecursionPlan,
    context: &RecursionContext<'_, '_>,
) -> Changes<'scope> {
    let node = context.node;
    let schema = &node.props.schema;
    let refused = |reason| panic!("{} cannot be kept, the planner should have said so: {reason}", node.id);
    let keyed_context = KeyedContext {
        node: node.id,
        partitions: vec![],
        metrics: Arc::clone(&context.metrics),
        local_worker: context.local_worker,
        limits: None,
    };
    let encoder = Box::new(WholeRows::new(schema).unwrap_or_else(refused));
    let (keyed, errors) = encode(KeyedInput { rows: made, encoder, judged_by: None }, &keyed_context);
    let mut builder = OperatorBuilder::new(node.id.to_string(), keyed.scope());
    // A pact that sends rows to their owner costs nothing where there is one worker.
    let mut input = builder.new_input(keyed, DistributorPact(|_peers| KeyedDistributor));
    let (rounds_output, rounds) = builder.new_output::<Batch>();
    let (net_output, net) = builder.new_output::<Batch>();
    let mut rounds_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rounds_output);
    let mut net_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(net_output);
    let refused = |reason| panic!("{} cannot be kept, the planner should have said so: {reason}", node.id);
    let mut work = Work {
        store: Rounds::new(plan.distinct, schema).unwrap_or_else(refused),
        epochs: BTreeMap::new(),
        limit: Limit {
            name: plan.name.clone(),
            node: node.id.to_string(),
            rounds_max: plan.rounds_max,
            control: Arc::clone(&context.control),
        },
    };
    let (metrics, node, local_worker) = (Arc::clone(&context.metrics), node.id.0, context.local_worker);
    let out_to = OutTo { metrics: Arc::clone(&metrics), node, worker: local_worker, part: 0 };
    builder.build(move |_capabilities| {
        move |frontiers| {
            out_to.begin();
            input.for_each(|time, batch| {
                let at = LoopTime::of(time.stamp());
                let epoch =
                    work.epochs.entry(at.outer).or_insert_with(|| Open { net: time.delayed(&at, 1), next: None, waiting: BTreeMap::new() });
                epoch.hold(time.delayed(&at, 0));
                epoch.waiting.entry(at.inner).or_default().push(std::mem::take(batch));
            });
            let mut rounds_session = rounds_output.activate();
            let mut net_session = net_output.activate();
            let ended = work.close(&frontiers[0], |out, capability, mut batch| {
                let session = match out {
                    Out::Round => &mut rounds_session,
                    Out::Net => &mut net_session,
                };
                session.session_with_builder(capability).give_container(&mut batch);
            });
            if ended {
                let (rows, bytes) = work.store.held();
                let held = &metrics.operator(node).held[local_worker];
                held.0.store(rows as u64, Relaxed);
                held.1.store(bytes as u64, Relaxed);
            }
            let open = work.epochs.keys().next().copied();
            out_to.done(open.into_iter().chain(frontiers[0].frontier().iter().map(|time| time.outer)).min());
        }
    });
    Changes { rounds, net, errors }
}

/// An epoch that has not ended.
struct Open {
    /// To put its net change out.
    net: Capability<LoopTime>,
    /// For the next round of it that changes something.
    next: Option<Capability<LoopTime>>,
    /// What rounds have made that have not closed.
    waiting: BTreeMap<Round, Vec<KeyedBatch>>,
}

impl Open {
    /// Holds on to a round, if nothing earlier is held.
    fn hold(&mut self, capability: Capability<LoopTime>) {
        if self.next.as_ref().is_none_or(|held| capability.time().inner < held.time().inner) {
            self.next = Some(capability);
        }
    }
}

enum Out {
    Round,
    Net,
}

struct Limit {
    name: String,
    node: String,
    rounds_max: u64,
    control: Arc<Control>,
}

impl Limit {
    fn fail(&self, reason: String) {
        self.control.fail(RunError::Recursion { name: self.name.clone(), node: self.node.clone(), reason });
        // What the epoch has made so far is no answer: it must not come out.
        self.control.abandon();
    }
}

struct Work {
    store: Rounds,
    epochs: BTreeMap<Epoch, Open>,
    limit: Limit,
}

impl Work {
    /// Closes rounds and epochs that the frontier has passed, in order. Whether an epoch has ended.
    fn close(&mut self, frontier: &MutableAntichain<LoopTime>, mut put_out: impl FnMut(Out, &Capability<LoopTime>, Batch)) -> bool {
        let frontier = frontier.frontier();
        let mut ended = false;
        while let Some(mut entry) = self.epochs.first_entry() {
            let epoch = *entry.key();
            // What an epoch changes depends on all of those before.
            if frontier.iter().any(|time| time.outer < epoch) {
                break;
            }
            let open = entry.get_mut();
            while let Some(capability) = open.next.take() {
                let round = capability.time().inner;
                if frontier.less_equal(capability.time()) {
                    open.next = Some(capability);
                    return ended;
                }
                open.waiting.remove(&round).unwrap_or_default().iter().for_each(|batch| self.store.absorb(round, batch));
                let changes = match self.store.close(round) {
                    Ok(changes) => changes,
                    Err(_) => {
                        let reason = format!("makes a row more than {COPIES_MAX} times, in round {round}: it goes in a circle");
                        self.limit.fail(reason);
                        return ended;
                    }
                };
                if round >= self.limit.rounds_max && !changes.is_empty() {
                    let rounds = self.limit.rounds_max;
                    self.limit.fail(format!("still changes something in round {}: recursion_limit is {rounds}", round + 1));
                    return ended;
                }
                changes.into_iter().for_each(|batch| put_out(Out::Round, &capability, batch));
                let next = open.waiting.keys().next().copied().into_iter().chain(self.store.next()).min();
                open.next = next.map(|next| capability.delayed(&Product::new(epoch, next)));
            }
            if frontier.less_equal(&Product::new(epoch, Round::MAX)) {
                break;
            }
            self.store.finish().into_iter().for_each(|batch| put_out(Out::Net, &open.net, batch));
            entry.remove();
            ended = true;
        }
        ended
    }
}
