//! # Join
//!
//! **Meaning.** Pairs of rows of two arranged relations with equal keys for which the residual predicate holds; for outer, semi,
//! anti and mark joins, what becomes of rows with and without such a match. Multiplicities are those of bags.
//! **Time.** A pair has the later of its rows' times. Rows without a match come out as the epoch closes and are taken back in the
//! epoch that brings one.
//! **State.** That of the arrangements. Rows of a side are let go of when the other has ended, unless they decide which of its rows have
//! a match.
//! **Changelog.** Inner and semi joins of append-only relations are append-only; otherwise retract.
//! **Errors.** A pair for which the residual cannot be evaluated is an error, and no match.
//!
//! The inner part is differential's join operator with a tactic of ours ([`inner`]): batches are walked in key order, and pairs
//! are gathered by column into output batches. It gives way in the middle of a key.

mod inner;
mod key_changes;
mod one_sided;
mod output;
mod pairs;
mod pending;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::operators::join::join_with_tactic;
use differential_dataflow::trace::TraceReader;
use tidemark_planner::plan::{JoinKind, JoinPlan, Node, SourceId};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

use inner::{Inner, Joinable};
use one_sided::{OneSided, one_sided};
use output::{JoinShape, Joined};

use crate::arrange::{ArrangeLayout, ArrangedRows, RowTime};
use crate::batch::Batch;
use crate::control::OutTo;
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::watermark::WatermarkUpdate;

/// Builds the operators of a join on one worker. `told` are the watermarks that rows wait for which come out when they are final.
///
/// # Panics
/// When the plan asks for what cannot be joined: a fault of the planner.
pub(crate) fn join<'scope>(
    left: ArrangedRows<'scope, Epoch>,
    right: ArrangedRows<'scope, Epoch>,
    told: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plan: &JoinPlan,
    node: &Node,
    partitions: &dyn Fn(SourceId) -> usize,
    out_to: &OutTo,
) -> (Stream<'scope, Epoch, Batch>, StreamVec<'scope, Epoch, ErrorRow>) {
    let shape = Arc::new(JoinShape::new(plan, node, &left.layout, &right.layout));
    let name = node.id.to_string();
    let told = (&told, partitions);
    let when_final = plan.nulls_when_final;
    match plan.kind {
        JoinKind::Inner => inner(left, right, shape, &name, out_to),
        JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => {
            let join = OneSided::of_left(shape, plan.kind, plan.null_aware, when_final);
            one_sided(left, right, join, told, &name, out_to.part(1))
        }
        JoinKind::Left | JoinKind::Right | JoinKind::Full => {
            let (mut rows, mut errors) = inner(left.clone(), right.clone(), Arc::clone(&shape), &name, out_to);
            if plan.kind != JoinKind::Right {
                let unmatched = OneSided::of_left(Arc::clone(&shape), plan.kind, false, when_final);
                let (more, failed) = one_sided(left.clone(), right.clone(), unmatched, told, &name, out_to.part(1));
                (rows, errors) = (rows.concat(more), errors.concat(failed));
            }
            if plan.kind != JoinKind::Left {
                let (more, failed) = one_sided(right, left, OneSided::of_right(shape, when_final), told, &name, out_to.part(2));
                (rows, errors) = (rows.concat(more), errors.concat(failed));
            }
            (rows, errors)
        }
    }
}

fn inner<'scope>(
    left: ArrangedRows<'scope, Epoch>,
    right: ArrangedRows<'scope, Epoch>,
    shape: Arc<JoinShape>,
    name: &str,
    out_to: &OutTo,
) -> (Stream<'scope, Epoch, Batch>, StreamVec<'scope, Epoch, ErrorRow>) {
    split(join_with_tactic(left.rows, right.rows, name, Inner::new(shape)), name, Some(out_to.clone()))
}

/// Builds the operators of an inner join in any scope, of arrangements with their layouts.
pub(crate) fn inner_join<'scope, T, L, R>(
    (left, left_layout): (Arranged<'scope, L>, &Arc<ArrangeLayout>),
    (right, right_layout): (Arranged<'scope, R>, &Arc<ArrangeLayout>),
    plan: &JoinPlan,
    node: &Node,
) -> (Stream<'scope, T, Batch>, StreamVec<'scope, T, ErrorRow>)
where
    T: RowTime,
    L: TraceReader<Time = T, Batch: Joinable<T>> + 'static,
    R: TraceReader<Time = T, Batch: Joinable<T>> + 'static,
{
    let shape = Arc::new(JoinShape::new(plan, node, left_layout, right_layout));
    let name = node.id.to_string();
    split(join_with_tactic(left, right, &name, Inner::new(shape)), &name, None)
}

/// Rows and errors of a join, each with its own time.
fn split<'scope, T: RowTime>(
    joined: Stream<'scope, T, Joined<T>>,
    name: &str,
    out_to: Option<OutTo>,
) -> (Stream<'scope, T, Batch>, StreamVec<'scope, T, ErrorRow>) {
    let mut builder = OperatorBuilder::new(format!("{name} split"), joined.scope());
    let mut input = builder.new_input(joined, Pipeline);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    builder.build(move |_| {
        move |frontiers| {
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            input.for_each(|capability, joined| {
                for (time, mut batch) in joined.parts.drain(..) {
                    rows_session.session_with_builder(&capability.delayed(&time, 0)).give_container(&mut batch);
                }
                for (time, error) in joined.errors.drain(..) {
                    errors_session.session(&capability.delayed(&time, 1)).give(error);
                }
            });
            if let Some(out_to) = &out_to {
                out_to.done(frontiers[0].frontier().iter().map(RowTime::epoch).min());
            }
        }
    });
    (rows, errors)
}
