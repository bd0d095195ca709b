//! # Forgetting spine
//!
//! Differential's spine drops rows only where it merges batches, and merges only as rows come: a side of a join that has gone quiet
//! would keep what it has for ever. This one looks, as the floor rises, how much of it lies below, and when that seems to be more
//! than half it lets go of it. Batches keep their bounds, and readers that hold one keep it as it was.
//!
//! It looks each time the floor has come an eighth nearer to the greatest time held, so what looking costs does not grow with the
//! number of epochs, and what letting go costs is paid by the rows that go.

use std::rc::Rc;

use differential_dataflow::logging::Logger;
use differential_dataflow::trace::chunk::{ChunkBatch, ChunkSpine};
use differential_dataflow::trace::{ExertionLogic, Span, Trace, TraceReader};
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;
use timely::scheduling::Activator;

use super::chunk::{ChunkBuilder, RowChunk};
use super::reader::RowsBatch;
use super::row_time::RowTime;
use super::rows::Events;
use super::shared::Shared;

/// See the module's documentation.
pub(crate) struct ForgettingSpine<T: RowTime> {
    spine: ChunkSpine<RowChunk<T>>,
    info: OperatorInfo,
    logger: Option<Logger>,
    /// Of the first chunk with event times.
    shared: Option<Rc<Shared>>,
    /// The floor at which it looks again.
    look_at: i64,
}

impl<T: RowTime> ForgettingSpine<T> {
    fn look(&mut self) {
        let Some(shared) = &self.shared else { return };
        let since = self.spine.get_logical_compaction().iter().map(RowTime::epoch).min();
        // Without a reader there is nothing to keep, and all goes soon.
        let Some(floor) = since.map(|since| shared.floor(since)).filter(|floor| *floor >= self.look_at) else { return };
        let (mut rows, mut below, mut greatest) = (0, 0, i64::MIN);
        self.spine.map_spans(|span| {
            for events in span.inner.iter().flat_map(|batch| &batch.chunks).filter_map(|chunk| chunk.rows.events.as_ref()) {
                rows += events.each.len() as u64;
                below += about_below(events, floor);
                greatest = greatest.max(events.greatest);
            }
        });
        if below * 2 > rows {
            self.forget(floor);
        }
        self.look_at = if greatest < floor { i64::MAX } else { floor.saturating_add(1).saturating_add(greatest.saturating_sub(floor) / 8) };
    }

    /// Lets go of the rows below the floor.
    fn forget(&mut self, floor: i64) {
        let mut spans = Vec::new();
        self.spine.map_spans(|span| spans.push(span.clone()));
        let mut spine = ChunkSpine::new(self.info.clone(), self.logger.clone(), None);
        let [logical, physical] =
            [self.spine.get_logical_compaction().to_owned(), self.spine.get_physical_compaction().to_owned()] as [Antichain<T>; 2];
        spine.set_logical_compaction(logical.borrow());
        spine.set_physical_compaction(physical.borrow());
        // The old one goes first: it holds the rows.
        self.spine = spine;
        for Span { desc, inner } in spans {
            let kept = inner.and_then(|batch| at_or_above(batch, floor));
            self.spine.insert(Span::new(desc, kept));
        }
    }

    /// Rows come.
    fn note(&mut self, batch: &RowsBatch<T>) {
        for chunk in &batch.chunks {
            let Some(events) = &chunk.rows.events else { continue };
            self.shared.get_or_insert_with(|| Rc::clone(&chunk.rows.shared));
            self.look_at = self.look_at.min(events.greatest.saturating_add(1));
        }
    }
}

/// How many rows lie below a floor, if their times are evenly spread.
fn about_below(events: &Events, floor: i64) -> u64 {
    let rows = events.each.len() as u64;
    if events.greatest < floor {
        rows
    } else if events.least >= floor {
        0
    } else {
        let (part, whole) = (floor.abs_diff(events.least), events.greatest.abs_diff(events.least));
        (u128::from(rows) * u128::from(part) / u128::from(whole)) as u64
    }
}

/// The rows of a batch that are not below a floor.
fn at_or_above<T: RowTime>(batch: RowsBatch<T>, floor: i64) -> Option<RowsBatch<T>> {
    let events = |chunk: &RowChunk<T>| chunk.rows.events.as_ref().map_or(i64::MAX, |events| events.least);
    if batch.chunks.iter().all(|chunk| events(chunk) >= floor) {
        return Some(batch);
    }
    let mut chunks = Vec::new();
    let mut builder = ChunkBuilder::new(Rc::clone(&batch.chunks[0].rows.shared));
    for chunk in &batch.chunks {
        let kept = |row: usize| chunk.rows.event(row).is_none_or(|event| event >= floor);
        let mut row = 0;
        while row < chunk.rows.len() {
            let end = (row..chunk.rows.len()).find(|row| !kept(*row)).unwrap_or(chunk.rows.len());
            builder.append(chunk, row..end, &mut chunks);
            row = (end..chunk.rows.len()).find(|row| kept(*row)).unwrap_or(chunk.rows.len());
        }
    }
    chunks.extend(builder.finish());
    (!chunks.is_empty()).then(|| Rc::new(ChunkBatch::new(chunks)))
}

impl<T: RowTime> TraceReader for ForgettingSpine<T> {
    type Time = T;
    type Batch = RowsBatch<T>;

    fn spans_through(&mut self, upper: AntichainRef<'_, T>) -> Option<Vec<Span<T, Self::Batch>>> {
        self.spine.spans_through(upper)
    }

    fn set_logical_compaction(&mut self, frontier: AntichainRef<'_, T>) {
        self.spine.set_logical_compaction(frontier);
        // All readers have moved on, also where this side's own input has ended.
        self.look();
    }

    fn get_logical_compaction(&mut self) -> AntichainRef<'_, T> {
        self.spine.get_logical_compaction()
    }

    fn set_physical_compaction(&mut self, frontier: AntichainRef<'_, T>) {
        self.spine.set_physical_compaction(frontier);
    }

    fn get_physical_compaction(&mut self) -> AntichainRef<'_, T> {
        self.spine.get_physical_compaction()
    }

    fn map_spans<F: FnMut(&Span<T, Self::Batch>)>(&self, f: F) {
        self.spine.map_spans(f);
    }
}

impl<T: RowTime> Trace for ForgettingSpine<T> {
    fn new(info: OperatorInfo, logger: Option<Logger>, activator: Option<Activator>) -> Self {
        let spine = ChunkSpine::new(info.clone(), logger.clone(), activator);
        Self { spine, info, logger, shared: None, look_at: i64::MAX }
    }

    fn exert(&mut self) {
        self.spine.exert();
    }

    fn set_exert_logic(&mut self, logic: ExertionLogic) {
        self.spine.set_exert_logic(logic);
    }

    fn insert(&mut self, span: Span<T, Self::Batch>) {
        span.inner.iter().for_each(|batch| self.note(batch));
        self.spine.insert(span);
    }

    fn close(&mut self) {
        self.spine.close();
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::Description;

    use super::*;

    fn batch(epoch: u64, events: &[i64], shared: &Rc<Shared>) -> Span<u64, RowsBatch<u64>> {
        let mut chunks = Vec::new();
        let mut builder = ChunkBuilder::new(Rc::clone(shared));
        for (row, event) in events.iter().enumerate() {
            if builder.len() == super::super::chunk::CHUNK_ROWS {
                chunks.extend(builder.finish());
            }
            builder.push((row as u64, b"k"), false, &event.to_be_bytes(), epoch, 1, Some(*event));
        }
        chunks.extend(builder.finish());
        let desc = Description::new(Antichain::from_elem(epoch), Antichain::from_elem(epoch + 1), Antichain::from_elem(0));
        Span::new(desc, (!chunks.is_empty()).then(|| Rc::new(ChunkBatch::new(chunks))))
    }

    fn held(spine: &ForgettingSpine<u64>) -> Vec<i64> {
        let mut held = Vec::new();
        spine.map_spans(|span| {
            let chunks = span.inner.iter().flat_map(|batch| &batch.chunks);
            held.extend(chunks.flat_map(|chunk| chunk.rows.events.as_ref().expect("times").each.clone()));
        });
        held.sort_unstable();
        held
    }

    #[test]
    fn rows_go_as_the_floor_passes_them_though_no_others_come() {
        let shared = Rc::new(Shared::default());
        let mut spine = ForgettingSpine::<u64>::new(OperatorInfo::new(0, 0, Rc::new([])), None, None);
        let times: Vec<i64> = (0..100).collect();
        spine.insert(batch(0, &times, &shared));
        spine.insert(batch(1, &[], &shared));
        for epoch in 2..22 {
            spine.insert(batch(epoch, &[], &shared));
            shared.raise(epoch - 1, 5 * (epoch as i64 - 1));
            spine.set_physical_compaction(Antichain::from_elem(epoch).borrow());
            let before = held(&spine);
            spine.set_logical_compaction(Antichain::from_elem(epoch).borrow());
            let floor = 5 * (epoch as i64 - 1);
            let after = held(&spine);
            assert!(before.iter().filter(|time| **time >= floor).eq(after.iter().filter(|time| **time >= floor)), "what can be met stays");
            let below = after.iter().filter(|time| **time < floor).count();
            let live = after.len() - below;
            assert!(below <= live + 100 / 8 + 5, "{below} of {} rows at floor {floor} are of no use", after.len());
        }
        assert_eq!(held(&spine), Vec::<i64>::new());
        spine.insert(batch(22, &[7, 300], &shared));
        spine.set_logical_compaction(Antichain::from_elem(23).borrow());
        assert_eq!(held(&spine), vec![7, 300], "one row in two is not yet worth the way");
    }
}
