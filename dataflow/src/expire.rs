//! # Expire
//!
//! **Meaning.** The rows that came less than a time-to-live ago.
//! **Time.** A row that came in epoch `e` is taken back at epoch `e + ttl` exactly, whatever came in between: the operator holds the
//! capability of its input frontier, which cannot have passed that. When the input ends, what counts then stays.
//! **State.** The rows, as Arrow batches; those of many small epochs are put together.
//! **Changelog.** In: append-only. Out: retract. **Errors.** None.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

use crate::aggregate::LimitCounts;
use crate::batch::Batch;
use crate::control::OutTo;
use crate::epoch::Epoch;
use crate::keyed_operator::KeyedContext;
use crate::state::keeper::Reason;
use crate::watermark::WatermarkUpdate;

/// Batches that lie in a queue before they are put together, and rows that are enough for one.
const SMALL_BATCHES: usize = if cfg!(test) { 4 } else { 256 };
const LARGE_ROWS: usize = 8 << 10;

/// Rows in the order they came, without timely.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// Rows of epochs that are not over.
    open: BTreeMap<Epoch, Vec<RecordBatch>>,
    queue: VecDeque<Chunk>,
    /// How many batches at the end of the queue are small.
    small: usize,
    rows: usize,
    bytes: usize,
}

/// Rows of some epochs, one after the other.
#[derive(Debug)]
struct Chunk {
    rows: RecordBatch,
    /// Epochs, and how many rows of each.
    runs: VecDeque<(Epoch, usize)>,
    /// Rows that are gone.
    gone: usize,
    bytes: usize,
}

impl Ages {
    /// Keeps rows of an epoch that is not over.
    pub(crate) fn push(&mut self, epoch: Epoch, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows += rows.num_rows();
            self.open.entry(epoch).or_default().push(rows);
        }
    }

    /// No more rows come in epochs before this one.
    pub(crate) fn advance(&mut self, frontier: Epoch) {
        while let Some(first) = self.open.first_entry().filter(|first| *first.key() < frontier) {
            let (epoch, batches) = first.remove_entry();
            for rows in batches {
                self.enqueue(Chunk::new(VecDeque::from([(epoch, rows.num_rows())]), rows));
            }
        }
    }

    fn enqueue(&mut self, chunk: Chunk) {
        self.small = if chunk.rows.num_rows() < LARGE_ROWS { self.small + 1 } else { 0 };
        self.bytes += chunk.bytes;
        self.queue.push_back(chunk);
        if self.small >= SMALL_BATCHES {
            let parts: Vec<Chunk> = self.queue.drain(self.queue.len() - self.small..).collect();
            let runs: VecDeque<(Epoch, usize)> = parts.iter().flat_map(|part| part.runs.iter().copied()).collect();
            let rows: Vec<RecordBatch> = parts.iter().map(|part| part.rows.slice(part.gone, part.rows.num_rows() - part.gone)).collect();
            self.bytes -= parts.iter().map(|part| part.bytes).sum::<usize>();
            let rows = concat_batches(&rows[0].schema(), &rows).expect("rows of one relation have one schema");
            self.small = usize::from(rows.num_rows() < LARGE_ROWS);
            let chunk = Chunk::new(runs, rows);
            self.bytes += chunk.bytes;
            self.queue.push_back(chunk);
        }
    }

    /// Takes the rows of the first epoch, if that is at most `last`.
    pub(crate) fn pop(&mut self, last: Epoch) -> Option<(Epoch, RecordBatch)> {
        let chunk = self.queue.front_mut()?;
        let (epoch, count) = chunk.runs.front().copied().filter(|(epoch, _)| *epoch <= last)?;
        chunk.runs.pop_front();
        let rows = chunk.rows.slice(chunk.gone, count);
        chunk.gone += count;
        self.rows -= count;
        if chunk.runs.is_empty() {
            self.bytes -= chunk.bytes;
            self.queue.pop_front();
            self.small = self.small.min(self.queue.len());
        }
        Some((epoch, rows))
    }

    /// Rows that are kept.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }
}

impl Chunk {
    fn new(runs: VecDeque<(Epoch, usize)>, rows: RecordBatch) -> Self {
        let bytes = rows.get_array_memory_size();
        Self { rows, runs, gone: 0, bytes }
    }
}

/// Builds the operator on one worker. `told` says when the input has ended: at the same epoch on every worker.
pub(crate) fn expire<'scope>(
    input: Stream<'scope, Epoch, Batch>,
    told: StreamVec<'scope, Epoch, WatermarkUpdate>,
    ttl_us: i64,
    context: &KeyedContext,
) -> Stream<'scope, Epoch, Batch> {
    let mut builder = OperatorBuilder::new(context.node.to_string(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    let mut told = builder.new_input(told, Pipeline);
    let (output, stream) = builder.new_output::<Batch>();
    let mut output = OutputBuilder::<_, NoopBuilder<Batch>>::from(output);
    let metrics = std::sync::Arc::clone(&context.metrics);
    let (node, local_worker) = (context.node.0, context.local_worker);
    let out_to = OutTo { metrics: std::sync::Arc::clone(&metrics), node, worker: local_worker, part: 0 };
    let ttl = u64::try_from(ttl_us).expect("a time-to-live is above zero");
    let mut ages = Ages::default();
    let mut last_seen: Epoch = 0;
    builder.build(move |mut capabilities| {
        let mut held = capabilities.pop();
        move |frontiers| {
            let Some(capability) = held.as_mut() else { return };
            let mut session = output.activate();
            input.for_each(|time, batch| {
                let mut batch = std::mem::take(batch);
                let epoch = *time.least().expect("data has a time");
                last_seen = last_seen.max(epoch);
                ages.push(epoch, batch.rows.clone());
                session.session_with_builder(&time).give_container(&mut batch);
            });
            told.for_each(|time, updates| {
                last_seen = last_seen.max(*time.least().expect("data has a time"));
                updates.clear();
            });
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            // Epochs up to this one are over; when all are, the last in which something came.
            let last = match frontier {
                Some(0) => return,
                Some(frontier) => frontier - 1,
                None => last_seen,
            };
            out_to.begin();
            ages.advance(last.saturating_add(1));
            let mut gone = 0;
            while let Some((epoch, rows)) = last.checked_sub(ttl).and_then(|until| ages.pop(until)) {
                gone += rows.num_rows() as u64;
                let diffs = vec![-1; rows.num_rows()];
                let mut batch = Batch::computed(rows, Some(diffs));
                session.session_with_builder(&capability.delayed(&(epoch + ttl))).give_container(&mut batch);
            }
            let operator = metrics.operator(node);
            if gone > 0 {
                let mut counts = LimitCounts { left_rows: gone, ..LimitCounts::default() };
                counts.left[Reason::Idle as usize] = gone;
                operator.limited(&counts);
            }
            operator.held[local_worker].0.store(ages.len() as u64, Relaxed);
            operator.held[local_worker].1.store(ages.bytes as u64, Relaxed);
            match frontier {
                Some(frontier) => capability.downgrade(&frontier),
                None => held = None,
            }
            out_to.done(frontier);
        }
    });
    stream
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).expect("one column")
    }

    proptest! {
        /// Whatever is put together, rows go in the order of their epochs, each once, and nothing is held in the end.
        #[test]
        fn rows_go_as_they_came(epochs in prop::collection::vec((0..3u64, prop::collection::vec(0..100i64, 0..5)), 0..60), ttl in 0..9u64) {
            let (mut ages, mut epoch) = (Ages::default(), 1);
            let (mut came, mut went): (Vec<(u64, i64)>, Vec<(u64, i64)>) = (vec![], vec![]);
            for (step, values) in epochs {
                epoch += step;
                ages.push(epoch, rows(&values));
                came.extend(values.iter().map(|value| (epoch, *value)));
                ages.advance(epoch);
                while let Some((of, batch)) = ages.pop((epoch - 1).saturating_sub(ttl)) {
                    went.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().map(|value| (of, *value)));
                }
                let expected: Vec<(u64, i64)> =
                    came.iter().copied().filter(|(of, _)| *of < epoch && *of <= (epoch - 1).saturating_sub(ttl)).collect();
                prop_assert_eq!(&went, &expected);
                prop_assert_eq!(ages.len(), came.len() - went.len());
            }
            ages.advance(epoch + 1);
            while let Some((of, batch)) = ages.pop(epoch) {
                went.extend(batch.column(0).as_primitive::<Int64Type>().values().iter().map(|value| (of, *value)));
            }
            prop_assert_eq!(went, came);
            prop_assert_eq!((ages.len(), ages.bytes), (0, 0));
        }
    }
}
