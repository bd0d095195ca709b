//! # Arrangement
//!
//! **Meaning.** A relation kept in key order: one indexed, shared copy of its rows for the operators that read it by this key.
//! **Time.** Rows are judged where they are, each by its own watermark, before the exchange: one whose time lies behind it is late.
//! When the frontier passes an epoch, its rows are sorted into a batch and handed on; readers see whole epochs only.
//! **State.** The rows, as long as they are not taken back; with a retention, until the watermark of the relation they are joined
//! with has passed their time plus the slack. They are dropped as batches are merged, or, of a side that is [quiet](forgetting), as that watermark
//! rises, without retractions: no row to come could meet them.
//! **Changelog.** As the input's. **Errors.** A row whose key or time cannot be evaluated leaves for the error stream.
//!
//! Storage is differential's spine over [chunks](chunk) of row bytes: keys as `arrow-row` bytes, the other columns likewise.
//! The rows of a key lie together, keys in the order of their hashes.

mod batcher;
pub(crate) mod chunk;
mod column;
mod floor;
mod forgetting;
mod layout;
mod reader;
mod row_batch;
mod row_bytes;
mod row_time;
mod rows;
mod shared;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use tidemark_planner::plan::{Node, PhysicalOp};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

pub(crate) use batcher::RowBatcher;
pub(crate) use chunk::RowChunk;
pub(crate) use column::Column;
pub(crate) use floor::{Floor, conditions};
pub(crate) use forgetting::ForgettingSpine;
pub(crate) use layout::{ArrangeLayout, has_null};
pub(crate) use reader::{Reader, RowsBatch, Stretch};
pub(crate) use row_batch::{RowBatch, RowDistributor};
pub(crate) use row_bytes::RowBytes;
pub(crate) use row_time::{RowTime, SeenAs};

pub(crate) use rows::Key;
pub(crate) use shared::Shared;

use crate::aggregate::LateRows;
use crate::batch::Batch;
use crate::control::Metrics;
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::limit_row::passed_row;
use crate::state::keeper::passed;
use crate::stateless::error_row;
use crate::watermark::WatermarkUpdate;

/// The trace of an arrangement.
pub(crate) type RowTrace<T> = TraceAgent<ForgettingSpine<T>>;

/// An arrangement and how to read its rows.
#[derive(Clone)]
pub(crate) struct ArrangedRows<'scope, T: RowTime> {
    pub(crate) rows: Arranged<'scope, RowTrace<T>>,
    pub(crate) layout: Arc<ArrangeLayout>,
}

/// What an arrangement is rendered from.
pub(crate) struct ArrangeContext<'a> {
    pub(crate) node: &'a Node,
    pub(crate) input: &'a Node,
    /// What must have passed before rows are forgotten; none if they stay.
    pub(crate) floors: Vec<Floor>,
    pub(crate) metrics: Arc<Metrics>,
    /// The worker's place in its process.
    pub(crate) local_worker: usize,
}

impl ArrangeContext<'_> {
    fn shared(&self) -> Rc<Shared> {
        Rc::new(Shared::counted(Arc::clone(&self.metrics), self.node.id.0, self.local_worker))
    }
}

/// Builds the operators on one worker. `watermarks` are those of the sources the retention waits for.
///
/// # Panics
/// When the plan asks for what cannot be arranged: a fault of the planner.
pub(crate) fn arrange<'scope>(
    input: Stream<'scope, Epoch, Batch>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    mut context: ArrangeContext<'_>,
) -> (ArrangedRows<'scope, Epoch>, StreamVec<'scope, Epoch, ErrorRow>) {
    let shared = context.shared();
    let floors = std::mem::take(&mut context.floors);
    if !floors.is_empty() {
        forget(watermarks, floors, Rc::clone(&shared), &context.node.id.to_string());
    }
    arrange_in(input, &context, shared)
}

/// As [`arrange`], in any scope, of rows that stay until they are taken back.
pub(crate) fn arrange_all<'scope, T: RowTime>(
    input: Stream<'scope, T, Batch>,
    context: &ArrangeContext<'_>,
) -> (ArrangedRows<'scope, T>, StreamVec<'scope, T, ErrorRow>) {
    arrange_in(input, context, context.shared())
}

fn arrange_in<'scope, T: RowTime>(
    input: Stream<'scope, T, Batch>,
    context: &ArrangeContext<'_>,
    shared: Rc<Shared>,
) -> (ArrangedRows<'scope, T>, StreamVec<'scope, T, ErrorRow>) {
    let PhysicalOp::Arrange(plan) = &context.node.op else { panic!("{} is not an arrangement", context.node.id) };
    let layout = ArrangeLayout::new(plan, &context.input.props.schema)
        .unwrap_or_else(|reason| panic!("{} cannot be arranged, the planner should have said so: {reason}", context.node.id));
    let layout = Arc::new(layout);
    let peers = input.scope().peers();
    let (encoded, errors) = encode(input, Arc::clone(&layout), context);
    let name = context.node.id.to_string();
    let batcher = |_, _| RowBatcher::new(shared);
    let rows = if peers == 1 {
        arrange_core::<_, _, _, ForgettingSpine<T>>(encoded, Pipeline, &name, batcher)
    } else {
        arrange_core::<_, _, _, ForgettingSpine<T>>(encoded, DistributorPact(|_peers| RowDistributor), &name, batcher)
    };
    (ArrangedRows { rows, layout }, errors)
}

/// Rows to bytes, on the worker that has them.
fn encode<'scope, T: RowTime>(
    input: Stream<'scope, T, Batch>,
    layout: Arc<ArrangeLayout>,
    context: &ArrangeContext<'_>,
) -> (Stream<'scope, T, RowBatch<T>>, StreamVec<'scope, T, ErrorRow>) {
    let mut builder = OperatorBuilder::new(format!("{} encode", context.node.id), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let (rows_output, rows) = builder.new_output::<RowBatch<T>>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<RowBatch<T>>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let metrics = Arc::clone(&context.metrics);
    let node = context.node.id.0;
    let (limits, peers, local_worker) = (context.node.props.limits.clone(), rows.scope().peers(), context.local_worker);
    builder.build(move |_| {
        move |_frontiers| {
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            input.for_each(|time, batch| {
                let batch = std::mem::take(batch);
                let arranged = layout.encode(&batch, T::of(time.stamp()));
                if let Some(mut rows) = arranged.batch {
                    rows_session.session_with_builder(&time).give_container(&mut rows);
                }
                if !arranged.bad.is_empty() {
                    let rows = arranged.bad.into_iter().map(|bad| error_row(&batch, bad.row, node, bad.reason));
                    errors_session.session(&time).give_iterator(rows);
                }
                if let Some(limits) = &limits {
                    // What the worker's part of the arrangement holds, as it was told last.
                    let bytes = metrics.operator(node).held[local_worker].1.load(Relaxed);
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    if let Some(passed) = passed(limits, peers, (0, bytes)) {
                        errors_session.session(&time).give(passed_row(node, passed));
                    }
                }
                if arranged.late > 0 {
                    metrics.operator(node).late(&LateRows::dropped(arranged.late));
                }
            });
        }
    });
    (rows, errors)
}

/// Follows watermarks, and tells the chunks what they may forget.
fn forget(watermarks: StreamVec<'_, Epoch, WatermarkUpdate>, mut floors: Vec<Floor>, shared: Rc<Shared>, name: &str) {
    let mut builder = OperatorBuilder::new(format!("{name} forget"), watermarks.scope());
    let mut told = builder.new_input(watermarks, Pipeline);
    builder.build(move |_| {
        move |frontiers| {
            told.for_each(|time, updates| {
                let epoch = *time.least().expect("data has a time");
                for update in updates.drain(..) {
                    floors.iter_mut().for_each(|floor| floor.update(epoch, update));
                }
            });
            let last = match frontiers[0].frontier().first() {
                Some(0) => return,
                Some(frontier) => frontier - 1,
                None => Epoch::MAX,
            };
            let raise = |floors: &mut Vec<Floor>, epoch| {
                let least = floors.iter_mut().map(|floor| floor.close(epoch)).min().expect("some floors");
                shared.raise(epoch, least);
            };
            while let Some(epoch) = floors.iter().filter_map(Floor::next_epoch).min().filter(|epoch| *epoch <= last) {
                raise(&mut floors, epoch);
            }
            if last < Epoch::MAX && floors.iter().any(|floor| floor.by_clock) {
                raise(&mut floors, last);
            }
        }
    });
}
