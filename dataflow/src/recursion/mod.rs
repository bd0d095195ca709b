//! # Recursion
//!
//! **Meaning.** The least relation that holds the base and what the step makes of the relation: `WITH RECURSIVE`, with each row once
//! (UNION) or as often as it is made (UNION ALL). Equal, at every epoch, to starting with nothing and putting base and step together
//! round by round until a round changes nothing.
//! **Time.** The step runs in a scope of its own, where a time is an epoch and a round. An epoch's changes are computed from those of
//! the rounds of epochs before; when a round of it makes no more, its net change comes out, at the epoch. Epochs follow each other:
//! one that has come waits until the one before has ended.
//! **State.** For each row, in which rounds it was made ([`rounds`]); and the arrangements of the joins.
//! **Changelog.** In: any. Out: append-only if what is read is, otherwise retract. Inside, rounds take back what others made.
//! **Errors.** When a round after the last allowed one still changes something, the run fails. So it does when UNION ALL has made a row
//! so often that the count says nothing.

mod operator;
#[cfg(test)]
mod property_tests;
pub mod rounds;

use std::collections::BTreeMap;
use std::sync::Arc;

use differential_dataflow::trace::wrappers::enter::TraceEnter;
use tidemark_planner::plan::{JoinKind, JoinPlan, Node, NodeId, PhysicalOp, PhysicalPlan, RecursionPlan};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::core::feedback::ConnectLoop;
use timely::dataflow::operators::{Concat, Concatenate, Enter, Feedback, Leave, Operator};
use timely::dataflow::{Scope, Stream, StreamVec};
use timely::order::Product;

use crate::arrange::{ArrangeContext, ArrangeLayout, ArrangedRows, RowTrace, arrange_all};
use crate::batch::Batch;
use crate::control::{Control, Metrics};
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::join::inner_join;
use crate::stateless::{Chain, stateless};

/// How often the step has been run.
pub type Round = u64;

/// The time inside of a recursion: an epoch, and a round of it.
pub type LoopTime = Product<Epoch, Round>;

/// What a recursion is rendered from.
pub(crate) struct RecursionContext<'a, 'scope> {
    pub(crate) node: &'a Node,
    pub(crate) plan: &'a PhysicalPlan,
    /// What stands outside.
    pub(crate) relations: &'a BTreeMap<NodeId, Stream<'scope, Epoch, Batch>>,
    pub(crate) arrangements: &'a BTreeMap<NodeId, ArrangedRows<'scope, Epoch>>,
    pub(crate) control: Arc<Control>,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
}

/// An arrangement as the loop sees it.
enum LoopArrangement<'scope> {
    Inside(ArrangedRows<'scope, LoopTime>),
    Around(differential_dataflow::operators::arrange::Arranged<'scope, TraceEnter<RowTrace<Epoch>, LoopTime>>, Arc<ArrangeLayout>),
}

/// What has been rendered in the loop.
struct Loop<'a, 'scope, 'inner> {
    context: &'a RecursionContext<'a, 'scope>,
    scope: Scope<'inner, LoopTime>,
    relations: BTreeMap<NodeId, Stream<'inner, LoopTime, Batch>>,
    arrangements: BTreeMap<NodeId, ArrangedRows<'inner, LoopTime>>,
    errors: Vec<StreamVec<'inner, LoopTime, ErrorRow>>,
}

/// Builds the operators of a recursion on one worker, those inside of it included.
///
/// # Panics
/// When the plan has something inside that cannot stand there: a fault of the planner.
pub(crate) fn recursion<'scope>(
    scope: Scope<'scope, Epoch>,
    plan: &RecursionPlan,
    context: &RecursionContext<'_, 'scope>,
) -> (Stream<'scope, Epoch, Batch>, StreamVec<'scope, Epoch, ErrorRow>) {
    let name = context.node.id.to_string();
    scope.scoped::<LoopTime, _, _>(&name, |inner| {
        let (handle, recursive) = inner.feedback::<Batch>(Product::new(Default::default(), 1));
        let mut body = Loop {
            context,
            scope: inner,
            relations: BTreeMap::from([(plan.recursive, recursive)]),
            arrangements: BTreeMap::new(),
            errors: Vec::new(),
        };
        for id in context.plan.inside(plan) {
            body.render(context.plan.node(id));
        }
        let terms = [plan.base, plan.step].map(|term| body.relation(term));
        let changes = operator::rounds(inner.concatenate(terms), plan, context);
        body.errors.push(changes.errors);
        changes.rounds.connect_loop(handle);
        (changes.net.leave(scope), inner.concatenate(body.errors).leave(scope))
    })
}

impl<'inner> Loop<'_, '_, 'inner> {
    fn relation(&self, id: NodeId) -> Stream<'inner, LoopTime, Batch> {
        match self.relations.get(&id) {
            Some(inside) => inside.clone(),
            None => self.context.relations[&id].clone().enter(self.scope),
        }
    }

    fn arrangement(&self, id: NodeId) -> LoopArrangement<'inner> {
        match self.arrangements.get(&id) {
            Some(inside) => LoopArrangement::Inside(inside.clone()),
            None => {
                let around = self.context.arrangements[&id].clone();
                LoopArrangement::Around(around.rows.enter(self.scope), around.layout)
            }
        }
    }

    /// The rows of a join's left side without those that have a match.
    fn rest(&self, join: &JoinPlan, node: &Node, matched: Stream<'inner, LoopTime, Batch>) -> Stream<'inner, LoopTime, Batch> {
        let PhysicalOp::Arrange(left) = &self.context.plan.node(join.left).op else {
            panic!("{} joins relations that are arranged", node.id)
        };
        let (schema, output) = (Arc::clone(&node.props.schema), join.output.clone());
        let all = each_batch(self.relation(left.input), &format!("{} all", node.id), move |batch| {
            let columns = output.iter().map(|place| Arc::clone(batch.rows.column(*place))).collect();
            batch.with_columns(&schema, columns)
        });
        all.concat(each_batch(matched, &format!("{} matched", node.id), |batch| batch.negated()))
    }

    fn render(&mut self, node: &Node) {
        match &node.op {
            PhysicalOp::Recursive { .. } => {}
            PhysicalOp::Stateless { input, steps, schemas } => {
                let chain = Chain::new(node.id, steps, schemas);
                let (rows, failed) = stateless(self.relation(*input), chain, Arc::clone(&self.context.metrics));
                self.relations.insert(node.id, rows);
                self.errors.push(failed);
            }
            PhysicalOp::Union { inputs } => {
                let streams: Vec<_> = inputs.iter().map(|input| self.relation(*input)).collect();
                self.relations.insert(node.id, self.scope.concatenate(streams));
            }
            PhysicalOp::Arrange(plan) => {
                assert!(plan.retention.is_none(), "what {} keeps in a loop is not forgotten by time", node.id);
                let context = ArrangeContext {
                    node,
                    input: self.context.plan.node(plan.input),
                    floors: vec![],
                    metrics: Arc::clone(&self.context.metrics),
                    local_worker: self.context.local_worker,
                };
                let (rows, failed) = arrange_all(self.relation(plan.input), &context);
                self.arrangements.insert(node.id, rows);
                self.errors.push(failed);
            }
            PhysicalOp::Join(plan) => {
                use LoopArrangement::{Around, Inside};
                let (rows, failed) = match (self.arrangement(plan.left), self.arrangement(plan.right)) {
                    (Inside(left), Inside(right)) => inner_join((left.rows, &left.layout), (right.rows, &right.layout), plan, node),
                    (Inside(left), Around(right, layout)) => inner_join((left.rows, &left.layout), (right, &layout), plan, node),
                    (Around(left, layout), Inside(right)) => inner_join((left, &layout), (right.rows, &right.layout), plan, node),
                    (Around(..), Around(..)) => panic!("{} reads nothing of the loop it stands in", node.id),
                };
                let rows = match plan.kind {
                    JoinKind::Inner => rows,
                    // The keys of the relation around are there once, so that a row with a match comes out of the join as often as it is.
                    JoinKind::LeftAnti => self.rest(plan, node, rows),
                    kind => panic!("{}: a {kind:?} join cannot stand in a loop, the planner should have said so", node.id),
                };
                self.relations.insert(node.id, rows);
                self.errors.push(failed);
            }
            PhysicalOp::Source { .. }
            | PhysicalOp::Upsert(_)
            | PhysicalOp::Aggregate { .. }
            | PhysicalOp::AsOf(_)
            | PhysicalOp::TopN(_)
            | PhysicalOp::Over(_)
            | PhysicalOp::SetOperation { .. }
            | PhysicalOp::Values { .. }
            | PhysicalOp::Recursion(_)
            | PhysicalOp::Errors { .. }
            | PhysicalOp::Expire(_)
            | PhysicalOp::Sink { .. } => panic!("{} cannot stand in a loop, the planner should have said so", node.id),
        }
    }
}

/// Makes one batch of each.
fn each_batch<'inner>(
    batches: Stream<'inner, LoopTime, Batch>,
    name: &str,
    make: impl Fn(&Batch) -> Batch + 'static,
) -> Stream<'inner, LoopTime, Batch> {
    batches.unary::<NoopBuilder<Batch>, _, _, _>(Pipeline, name, |_, _| {
        move |input, output| {
            input.for_each(|time, batch| output.session_with_builder(&time).give_container(&mut make(batch)));
        }
    })
}
