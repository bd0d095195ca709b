//! # Stateless operator
//!
//! **Meaning.** A fused chain of filters, projections, window assignments and unnestings, a whole batch at a time.
//! **Time.** Rows keep their epoch, their own watermark and their origin.
//! **State.** None.
//! **Changelog.** As the input's.
//! **Errors.** A row that fails to evaluate leaves the batch for the error stream; its fellows go on.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{prep_null_mask_filter, take};
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use tidemark_connectors::source::RowError;
use tidemark_planner::plan::{NodeId, Step};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::operate::FrontierInterest;

use crate::aggregate::late::LateRows;
use crate::arrange::RowTime;
use crate::batch::{Batch, Origin};
use crate::control::Metrics;
use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::eval::evaluate;
use crate::render_row::render_row;
use crate::window_step::WindowStep;

/// The steps of a chain, ready to run.
pub(crate) struct Chain {
    /// The node they are, for errors.
    node: u32,
    steps: Vec<ReadyStep>,
}

enum ReadyStep {
    Filter(Arc<dyn PhysicalExpr>),
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
    AssignWindows(WindowStep),
    LateRows(WindowStep),
    Arrival(SchemaRef),
    Unnest { columns: Vec<usize>, preserve_nulls: bool, schema: SchemaRef },
}

impl Chain {
    /// A chain from the plan's steps and the schema after each.
    pub(crate) fn new(node: NodeId, steps: &[Step], schemas: &[SchemaRef]) -> Self {
        let ready = steps.iter().zip(schemas).map(|(step, schema)| match step {
            Step::Filter { predicate } => ReadyStep::Filter(Arc::clone(predicate)),
            Step::Project { exprs } => {
                ReadyStep::Project { exprs: exprs.iter().map(|named| Arc::clone(&named.expr)).collect(), schema: Arc::clone(schema) }
            }
            Step::AssignWindows { window } if window.kind.needs_group() => {
                panic!("a row does not say which session it is in, the planner should have said so")
            }
            Step::AssignWindows { window } => ReadyStep::AssignWindows(WindowStep::new(window, schema)),
            Step::LateRows { window } => ReadyStep::LateRows(WindowStep::new(window, schema)),
            Step::Arrival => ReadyStep::Arrival(Arc::clone(schema)),
            Step::Unnest { columns, preserve_nulls } => {
                ReadyStep::Unnest { columns: columns.clone(), preserve_nulls: *preserve_nulls, schema: Arc::clone(schema) }
            }
        });
        Self { node: node.0, steps: ready.collect() }
    }

    /// Runs a batch of an epoch through the chain. Rows that fail are added to `errors`, those that move into a later window to `late`.
    pub(crate) fn run(&self, mut batch: Batch, epoch: Epoch, errors: &mut Vec<ErrorRow>, late: &mut LateRows) -> Batch {
        for step in &self.steps {
            if batch.is_empty() {
                break;
            }
            batch = step.run(batch, self.node, epoch, errors, late);
        }
        batch
    }
}

impl ReadyStep {
    fn run(&self, batch: Batch, node: u32, epoch: Epoch, errors: &mut Vec<ErrorRow>, late: &mut LateRows) -> Batch {
        match self {
            Self::Filter(predicate) => {
                let (batch, columns) = evaluate_rows(std::slice::from_ref(predicate), batch, node, errors);
                let mask = columns[0].as_boolean();
                let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                if mask.true_count() == batch.len() { batch } else { batch.filter(&mask) }
            }
            Self::Project { exprs, schema } => {
                let (batch, columns) = evaluate_rows(exprs, batch, node, errors);
                batch.with_columns(schema, columns)
            }
            Self::AssignWindows(step) => step.assign(batch, node, errors, late),
            Self::LateRows(step) => step.late_rows(batch, node),
            Self::Arrival(schema) => {
                let came = TimestampMicrosecondArray::from_value(i64::try_from(epoch).unwrap_or(i64::MAX), batch.len());
                let columns = batch.rows.columns().iter().cloned().chain([Arc::new(came) as ArrayRef]).collect();
                batch.with_columns(schema, columns)
            }
            Self::Unnest { columns, preserve_nulls, schema } => unnest(columns, *preserve_nulls, schema, batch),
        }
    }
}

/// The expressions over a batch, and the rows that could be evaluated.
pub(crate) fn evaluate_rows(
    exprs: &[Arc<dyn PhysicalExpr>],
    batch: Batch,
    node: u32,
    errors: &mut Vec<ErrorRow>,
) -> (Batch, Vec<ArrayRef>) {
    let evaluated = evaluate(exprs, &batch.rows);
    let Some(kept) = evaluated.kept else { return (batch, evaluated.columns) };
    errors.extend(evaluated.bad.into_iter().map(|bad| error_row(&batch, bad.row, node, bad.reason)));
    (batch.take(&UInt32Array::from(kept)), evaluated.columns)
}

/// An error about one row of a batch that a node read: of its source's, where rows are those of a source, else of the node's own.
pub(crate) fn error_row(batch: &Batch, row: usize, node: u32, reason: String) -> ErrorRow {
    let Origin { source, partition, .. } = batch.origin;
    let at = if source == Origin::COMPUTED.source { ErrorAt::Node { node } } else { ErrorAt::Row { source, partition } };
    ErrorRow {
        at,
        error: RowError { offset: batch.offset(row), raw: render_row(&batch.rows, row).into_bytes(), reason },
        diff: batch.diffs.as_ref().map_or(1, |diffs| diffs[row]),
    }
}

fn unnest(columns: &[usize], preserve_nulls: bool, schema: &SchemaRef, batch: Batch) -> Batch {
    let lists: Vec<_> = columns
        .iter()
        .map(|column| {
            arrow::compute::cast(batch.rows.column(*column), &list_type(batch.rows.column(*column).data_type())).expect("a list is a list")
        })
        .collect();
    let length = |list: &ArrayRef, row: usize| if list.is_null(row) { 0 } else { list.as_list::<i64>().value_length(row) };
    let mut positions = Vec::new();
    let mut elements: Vec<Vec<Option<i64>>> = vec![Vec::new(); lists.len()];
    for row in 0..batch.len() {
        let longest = lists.iter().map(|list| length(list, row)).max().unwrap_or(0);
        let copies = if longest == 0 && preserve_nulls { 1 } else { longest };
        for element in 0..copies {
            positions.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
            for (list, elements) in lists.iter().zip(&mut elements) {
                elements.push((element < length(list, row)).then(|| list.as_list::<i64>().value_offsets()[row] + element));
            }
        }
    }
    let taken = batch.take(&UInt32Array::from(positions));
    let mut output = taken.rows.columns().to_vec();
    for ((column, list), elements) in columns.iter().zip(&lists).zip(elements) {
        let values = list.as_list::<i64>().values();
        output[*column] = take(values, &arrow::array::Int64Array::from(elements), None).expect("positions are in range");
    }
    taken.with_columns(schema, output)
}

fn list_type(list: &arrow::datatypes::DataType) -> arrow::datatypes::DataType {
    use arrow::datatypes::DataType;
    match list {
        DataType::List(field) | DataType::FixedSizeList(field, _) | DataType::LargeList(field) => DataType::LargeList(Arc::clone(field)),
        other => panic!("the plan unnests lists, not {other}"),
    }
}

/// Builds the operator on one worker.
pub(crate) fn stateless<'scope, T: RowTime>(
    input: Stream<'scope, T, Batch>,
    chain: Chain,
    metrics: Arc<Metrics>,
) -> (Stream<'scope, T, Batch>, StreamVec<'scope, T, ErrorRow>) {
    let mut builder = OperatorBuilder::new(NodeId(chain.node).to_string(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let mut failed = Vec::new();
    builder.build(move |_| {
        move |_frontiers| {
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            input.for_each(|capability, batch| {
                let epoch = T::of(capability.stamp()).epoch();
                let mut late = LateRows::default();
                let mut result = chain.run(std::mem::take(batch), epoch, &mut failed, &mut late);
                if late.total() > 0 {
                    metrics.operator(chain.node).late(&late);
                }
                rows_session.session_with_builder(&capability).give_container(&mut result);
                if !failed.is_empty() {
                    errors_session.session(&capability).give_iterator(failed.drain(..));
                }
            });
        }
    });
    (rows, errors)
}
