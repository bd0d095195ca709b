//! # Batcher
//!
//! Holds what arrives for epochs that are open, and sorts the rows of those that close, all at once: by hash first, which decides
//! nearly always.

use std::cmp::Ordering;
use std::rc::Rc;

use differential_dataflow::batcher::{Batcher, Extract};
use differential_dataflow::trace::chunk::ChunkBatch;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::chunk::{CHUNK_ROWS, ChunkBuilder, RowChunk};
use super::row_batch::RowBatch;
use super::row_time::RowTime;
use super::shared::Shared;

/// See the module's documentation.
pub(crate) struct RowBatcher<T> {
    held: Vec<RowBatch<T>>,
    shared: Rc<Shared>,
    frontier: Antichain<T>,
}

impl<T: RowTime> RowBatcher<T> {
    pub(crate) fn new(shared: Rc<Shared>) -> Self {
        Self { held: Vec::new(), shared, frontier: Antichain::new() }
    }
}

impl<T: RowTime> Batcher<RowBatch<T>> for RowBatcher<T> {
    fn insert(&mut self, container: &mut RowBatch<T>) {
        self.held.push(std::mem::take(container));
    }
}

impl<T: RowTime> Extract for RowBatcher<T> {
    type Time = T;
    type Output = ChunkBatch<RowChunk<T>>;

    fn extract<'a>(&'a mut self, upper: AntichainRef<'_, T>) -> (Option<Self::Output>, AntichainRef<'a, T>) {
        let (open, closed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(|batch| upper.less_equal(&batch.time));
        self.frontier.clear();
        open.iter().for_each(|batch| {
            self.frontier.insert_ref(&batch.time);
        });
        self.held = open;
        let chunks = sort(&closed, &self.shared);
        ((!chunks.is_empty()).then(|| ChunkBatch::new(chunks)), self.frontier.borrow())
    }
}

#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    batch: u32,
    row: u32,
}

/// Sorted, consolidated chunks of some batches.
fn sort<T: RowTime>(batches: &[RowBatch<T>], shared: &Rc<Shared>) -> Vec<RowChunk<T>> {
    let mut places = Vec::with_capacity(batches.iter().map(RowBatch::len).sum());
    for (batch, rows) in batches.iter().enumerate() {
        places.extend(rows.hashes.iter().enumerate().map(|(row, hash)| Place { hash: *hash, batch: batch as u32, row: row as u32 }));
    }
    places.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| compare(batches, a, b)));
    let mut chunks = Vec::new();
    let mut builder = ChunkBuilder::new(Rc::clone(shared));
    let mut last: Option<Place> = None;
    let mut next = 0;
    while next < places.len() {
        let place = places[next];
        let mut sum = 0;
        while next < places.len() && (places[next].hash == place.hash && compare(batches, &places[next], &place) == Ordering::Equal) {
            let Place { batch, row, .. } = places[next];
            sum += batches[batch as usize].diffs.as_ref().map_or(1, |diffs| diffs[row as usize]);
            next += 1;
        }
        if sum == 0 {
            continue;
        }
        let batch = &batches[place.batch as usize];
        let row = place.row as usize;
        let key = batch.keys.get(row);
        if builder.len() >= CHUNK_ROWS {
            chunks.extend(builder.finish());
            last = None;
        }
        let same_key = last.is_some_and(|last| last.hash == place.hash && batches[last.batch as usize].keys.get(last.row as usize) == key);
        let event = batch.events.as_ref().map(|events| events[row]);
        builder.push((place.hash, key), same_key, batch.values.get(row), batch.time.clone(), sum, event);
        last = Some(place);
    }
    chunks.extend(builder.finish());
    chunks
}

#[inline]
fn compare<T: RowTime>(batches: &[RowBatch<T>], a: &Place, b: &Place) -> Ordering {
    let (left, right) = (&batches[a.batch as usize], &batches[b.batch as usize]);
    let (a, b) = (a.row as usize, b.row as usize);
    left.keys
        .get(a)
        .cmp(right.keys.get(b))
        .then_with(|| left.values.get(a).cmp(right.values.get(b)))
        .then_with(|| left.time.cmp(&right.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrange::RowBytes;

    /// Memory of a row beyond its own bytes: at most 16, and 0.6 of them.
    #[test]
    fn rows_cost_little_more_than_their_bytes() {
        for (repeats, text) in [(1, 0), (1, 40), (4, 0), (4, 40)] {
            let rows = 6_000u64;
            let (mut keys, mut values) = (RowBytes::default(), RowBytes::default());
            let mut hashes = Vec::new();
            let mut bytes = 0;
            for row in 0..rows {
                let key = (row / repeats).to_be_bytes();
                let value = [&row.to_be_bytes()[..], &vec![7; (row * text) as usize % 41]].concat();
                bytes += key.len() + value.len();
                hashes.push((row / repeats).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                keys.push(&key);
                values.push(&value);
            }
            let batch = RowBatch { time: 1u64, hashes, keys, values, events: None, diffs: None };
            let chunks = sort(&[batch], &Rc::new(Shared::default()));
            let held: usize = chunks.iter().map(|chunk| chunk.rows.bytes()).sum();
            assert_eq!(chunks.iter().map(|chunk| chunk.rows.len()).sum::<usize>(), rows as usize);
            assert!(held <= bytes * 8 / 5 + 16 * rows as usize, "{held} bytes for {bytes} in {rows} rows");
        }
    }
}
