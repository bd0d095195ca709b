//! # Reader
//!
//! Walks the keys of one batch forward, by small steps or long jumps.

use std::ops::Range;
use std::rc::Rc;

use differential_dataflow::trace::chunk::ChunkBatch;

use super::chunk::RowChunk;
use super::row_time::RowTime;
use super::rows::Key;

/// A batch of an arrangement.
pub(crate) type RowsBatch<T> = Rc<ChunkBatch<RowChunk<T>>>;

/// A place in a batch.
#[derive(Clone)]
pub(crate) struct Reader<T: RowTime> {
    batch: RowsBatch<T>,
    chunk: usize,
    key: usize,
}

/// Rows of one key in one chunk.
#[derive(Clone, Debug)]
pub(crate) struct Stretch<T> {
    /// The chunk.
    pub(crate) chunk: RowChunk<T>,
    /// The key's place in the chunk.
    pub(crate) key: usize,
    /// The rows.
    pub(crate) rows: Range<usize>,
}

impl<T: RowTime> Reader<T> {
    /// A reader at the first key.
    pub(crate) fn new(batch: RowsBatch<T>) -> Self {
        Self { batch, chunk: 0, key: 0 }
    }

    /// The present key, unless there are no more.
    #[inline]
    pub(crate) fn key(&self) -> Option<Key<'_>> {
        self.batch.chunks.get(self.chunk).map(|chunk| chunk.rows.key(self.key))
    }

    /// Moves to the first key that is not less than `target`. Never moves back.
    pub(crate) fn seek(&mut self, target: Key<'_>) {
        let chunks = &self.batch.chunks;
        let last_below = |chunk: &RowChunk<T>| chunk.rows.key(chunk.rows.key_count() - 1) < target;
        let Some(present) = chunks.get(self.chunk) else { return };
        if last_below(present) {
            // Gallop over chunks, then search between.
            let mut step = 1;
            let mut low = self.chunk;
            while chunks.get(low + step).is_some_and(last_below) {
                low += step;
                step *= 2;
            }
            let high = (low + step).min(chunks.len());
            self.chunk = low + 1 + chunks[low + 1..high].partition_point(last_below);
            self.key = 0;
        }
        if let Some(chunk) = chunks.get(self.chunk) {
            self.key = chunk.rows.seek(self.key, target);
        }
    }

    /// Adds the rows of the present key, which may lie across chunks, and moves to the next key.
    pub(crate) fn take(&mut self, out: &mut Vec<Stretch<T>>) {
        let Some(first) = self.batch.chunks.get(self.chunk) else { return };
        loop {
            let chunk = &self.batch.chunks[self.chunk];
            out.push(Stretch { chunk: chunk.clone(), key: self.key, rows: chunk.rows.rows_of(self.key) });
            let key = chunk.rows.key(self.key);
            self.key += 1;
            if self.key < chunk.rows.key_count() {
                return;
            }
            self.chunk += 1;
            self.key = 0;
            if self.batch.chunks.get(self.chunk).is_none_or(|next| next.rows.key(0) != key) {
                return;
            }
            debug_assert!(first.rows.key_count() > 0, "chunks have keys");
        }
    }

    /// Passes over the present key.
    pub(crate) fn skip(&mut self) {
        loop {
            let Some(chunk) = self.batch.chunks.get(self.chunk) else { return };
            let key = chunk.rows.key(self.key);
            self.key += 1;
            if self.key < chunk.rows.key_count() {
                return;
            }
            self.chunk += 1;
            self.key = 0;
            if self.batch.chunks.get(self.chunk).is_none_or(|next| next.rows.key(0) != key) {
                return;
            }
        }
    }
}
