//! The operators of [`crate::ranked`], [`crate::as_of`] and [`crate::set_operation`] as timely sees them: encoders and stores under the
//! common shell.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{
    AsOfCondition, AsOfMode, AsOfPlan, ChangelogKind, Node, NodeId, OverPlan, OverTime, SetOperation, SortKey, TopNPlan,
};
use timely::dataflow::{Stream, StreamVec};

use crate::aggregate::{KeyedBatch, Output, Pushed, RowWatermarks};
use crate::as_of::{Corrected, Current, Joiner, Waiting};
use crate::batch::Batch;
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::keyed_operator::{Encode, Keep, KeyedContext, KeyedInput, keyed};
use crate::ranked::{OverStore, OverTimeStore, RowEncoder, TopNStore};
use crate::set_operation::{SetStore, WholeRows};
use crate::watermark::WatermarkUpdate;

type Rows<'scope> = Stream<'scope, Epoch, Batch>;
type Errors<'scope> = StreamVec<'scope, Epoch, ErrorRow>;

impl Encode for RowEncoder {
    fn push(&mut self, batch: &Batch, watermarks: RowWatermarks<'_>) -> Pushed {
        Self::push(self, &batch.rows, batch.diffs.as_deref(), watermarks)
    }
}

/// The stores of one input and one watermark.
macro_rules! keep {
    ($($store:ty),*) => {$(
        impl Keep for $store {
            fn absorb(&mut self, _input: usize, batch: KeyedBatch) {
                Self::absorb(self, &batch);
            }

            fn close(&mut self, watermarks: &[i64]) -> Output {
                Self::close(self, watermarks[0])
            }

            fn held(&self) -> (usize, usize) {
                (self.groups(), self.bytes())
            }
        }
    )*};
}

keep!(TopNStore, OverStore, OverTimeStore);

/// What can be rendered, or the planner's fault.
fn planned<T>(made: Result<T, String>, node: NodeId) -> T {
    made.unwrap_or_else(|reason| panic!("{node} cannot be kept, the planner should have said so: {reason}"))
}

/// A Top-N; the schemas are those of its input and output.
pub(crate) fn top_n<'scope>(
    rows: Rows<'scope>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plan: &TopNPlan,
    (input, output): (&SchemaRef, &SchemaRef),
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let end = plan.window.as_ref().map(|window| &window.time);
    let watermark = plan.window.as_ref().and_then(|window| window.watermark.clone());
    let encoder = planned(RowEncoder::new(input, &plan.partition_by, &plan.order_by, &plan.output, end), context.node);
    let store = planned(TopNStore::new(plan, input, output), context.node);
    let input = KeyedInput { rows, encoder: Box::new(encoder), judged_by: watermark.clone() };
    keyed(vec![input], watermarks, &[watermark], store, context)
}

/// Functions OVER rows; the schemas are those of the input and output.
pub(crate) fn over<'scope>(
    rows: Rows<'scope>,
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plan: &OverPlan,
    (input, output): (&SchemaRef, &SchemaRef),
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let all: Vec<usize> = (0..input.fields().len()).collect();
    if let Some(OverTime { time, watermark }) = &plan.time {
        let encoder = planned(RowEncoder::new(input, &plan.partition_by, &plan.order_by, &all, None), context.node).judged_by(time);
        let store = planned(OverTimeStore::new(plan, input, output), context.node);
        let input = KeyedInput { rows, encoder: Box::new(encoder), judged_by: Some(watermark.clone()) };
        return keyed(vec![input], watermarks, &[Some(watermark.clone())], store, context);
    }
    let end = plan.window.as_ref().map(|window| &window.time);
    let watermark = plan.window.as_ref().and_then(|window| window.watermark.clone());
    let encoder = planned(RowEncoder::new(input, &plan.partition_by, &plan.order_by, &all, end), context.node);
    let store = planned(OverStore::new(plan, input, output), context.node);
    let input = KeyedInput { rows, encoder: Box::new(encoder), judged_by: watermark.clone() };
    keyed(vec![input], watermarks, &[watermark], store, context)
}

/// INTERSECT or EXCEPT of two relations of one schema.
pub(crate) fn set_operation<'scope>(
    sides: [Rows<'scope>; 2],
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    kind: SetOperation,
    schema: &SchemaRef,
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let inputs = sides.into_iter().map(|rows| {
        let encoder = planned(WholeRows::new(schema), context.node);
        KeyedInput { rows, encoder: Box::new(encoder), judged_by: None }
    });
    let store = planned(SetStore::new(kind, schema), context.node);
    keyed(inputs.collect(), watermarks, &[], store, context)
}

/// An AS OF join of two nodes' output.
pub(crate) fn as_of<'scope>(
    [left_rows, right_rows]: [Rows<'scope>; 2],
    watermarks: StreamVec<'scope, Epoch, WatermarkUpdate>,
    plan: &AsOfPlan,
    [left, right]: [&Node; 2],
    output: &SchemaRef,
    context: &KeyedContext,
) -> (Rows<'scope>, Errors<'scope>) {
    let node = context.node;
    let joiner = planned(Joiner::new(plan, &left.props.schema, &right.props.schema, output), node);
    let encoder = |of: &Node, keys: &[Arc<dyn PhysicalExpr>], order: &[SortKey]| {
        let columns: Vec<usize> = (0..of.props.schema.fields().len()).collect();
        planned(RowEncoder::new(&of.props.schema, keys, order, &columns, None), node)
    };
    let input = |rows, encoder, judged_by| KeyedInput { rows, encoder: Box::new(encoder), judged_by };
    match &plan.mode {
        AsOfMode::Processing => {
            let only_adds = |of: &Node| of.props.changelog == ChangelogKind::AppendOnly;
            let inputs = vec![
                input(left_rows, encoder(left, &plan.left_keys, &[]), None),
                input(right_rows, encoder(right, &plan.right_keys, &[]).without_nulls(), None),
            ];
            keyed(inputs, watermarks, &[], Current::new(joiner, only_adds(left), only_adds(right)), context)
        }
        AsOfMode::Time { left_time, right_time, condition, watermarks: known } => {
            // A null time lies where no version is seen from it.
            let nulls_first = matches!(condition, AsOfCondition::AtOrBefore | AsOfCondition::Before);
            let key = |time: &Arc<dyn PhysicalExpr>, of: &Node| SortKey {
                expr: Arc::clone(time),
                data_type: planned(time.data_type(&of.props.schema).map_err(|error| error.to_string()), node),
                descending: false,
                nulls_first,
            };
            let lefts = encoder(left, &plan.left_keys, &[key(left_time, left)]);
            let rights = encoder(right, &plan.right_keys, &[key(right_time, right)]).without_nulls();
            match known {
                Some((of_left, of_right)) => {
                    let (of_left, of_right) = (Some(of_left.clone()), Some(of_right.clone()));
                    let inputs = vec![
                        input(left_rows, lefts.judged_by(left_time), of_left.clone()),
                        input(right_rows, rights.judged_by(right_time), of_right.clone()),
                    ];
                    keyed(inputs, watermarks, &[of_left, of_right], Waiting::new(*condition, joiner), context)
                }
                None => {
                    let inputs = vec![input(left_rows, lefts, None), input(right_rows, rights, None)];
                    keyed(inputs, watermarks, &[], Corrected::new(*condition, joiner), context)
                }
            }
        }
    }
}
