//! # Batcher
//!
//! Holds what arrives for epochs that are open, and sorts the rows of those that close, all at once: by hash first, then by how the
//! value begins, which decides nearly always. Two keys of one hash are looked for afterwards: there is hardly ever one.

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
    /// How the value begins.
    prefix: u64,
    batch: u32,
    row: u32,
}

/// The first bytes of a string, so that unequal prefixes are ordered as the strings are.
#[inline]
fn prefix(string: &[u8]) -> u64 {
    match string.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => string.iter().enumerate().fold(0, |prefix, (place, byte)| prefix | u64::from(*byte) << (56 - 8 * place)),
    }
}

/// The places of all rows, in the order of chunks.
fn sorted_places<T: RowTime>(batches: &[RowBatch<T>]) -> Vec<Place> {
    let mut places = Vec::with_capacity(batches.iter().map(RowBatch::len).sum());
    for (batch, rows) in (0..).zip(batches) {
        places.extend((0..).zip(&rows.hashes).map(|(row, hash)| Place {
            hash: *hash,
            prefix: prefix(rows.values.get(row as usize)),
            batch,
            row,
        }));
    }
    places.sort_unstable_by(|a, b| (a.hash, a.prefix).cmp(&(b.hash, b.prefix)).then_with(|| compare_rest(batches, a, b)));
    for same_hash in places.chunk_by_mut(|a, b| a.hash == b.hash) {
        let first = key(batches, &same_hash[0]);
        if same_hash[1..].iter().any(|place| key(batches, place) != first) {
            same_hash.sort_unstable_by(|a, b| key(batches, a).cmp(key(batches, b)).then_with(|| compare_rest(batches, a, b)));
        }
    }
    places
}

/// Sorted, consolidated chunks of some batches.
fn sort<T: RowTime>(batches: &[RowBatch<T>], shared: &Rc<Shared>) -> Vec<RowChunk<T>> {
    let places = sorted_places(batches);
    let mut chunks = Vec::new();
    let mut builder = ChunkBuilder::new(Rc::clone(shared));
    let mut last: Option<Place> = None;
    let mut next = 0;
    while next < places.len() {
        let place = places[next];
        let mut sum = 0;
        while next < places.len() && same_row(batches, &places[next], &place) {
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
fn key<'a, T>(batches: &'a [RowBatch<T>], place: &Place) -> &'a [u8] {
    batches[place.batch as usize].keys.get(place.row as usize)
}

/// Compares rows of one key.
fn compare_rest<T: RowTime>(batches: &[RowBatch<T>], a: &Place, b: &Place) -> Ordering {
    let (left, right) = (&batches[a.batch as usize], &batches[b.batch as usize]);
    let values = left.values.get(a.row as usize).cmp(right.values.get(b.row as usize));
    values.then_with(|| left.time.cmp(&right.time))
}

fn same_row<T: RowTime>(batches: &[RowBatch<T>], a: &Place, b: &Place) -> bool {
    (a.hash, a.prefix) == (b.hash, b.prefix) && compare_rest(batches, a, b) == Ordering::Equal && key(batches, a) == key(batches, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrange::RowBytes;

    /// Keys of one hash, and values that begin alike, are in their order nevertheless.
    #[test]
    fn rows_are_sorted_whatever_collides() {
        let mut random = 1u64;
        let mut next = |of: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % of
        };
        for _ in 0..50 {
            let mut batches = Vec::new();
            let mut wanted = std::collections::BTreeMap::new();
            for time in 1..3u64 {
                let mut batch =
                    RowBatch { time, hashes: vec![], keys: RowBytes::default(), values: RowBytes::default(), events: None, diffs: None };
                for _ in 0..next(60) {
                    let (hash, key) = (next(3), vec![next(2) as u8; next(3) as usize]);
                    let value = [vec![7; next(12) as usize], vec![0; next(3) as usize]].concat();
                    batch.hashes.push(hash);
                    batch.keys.push(&key);
                    batch.values.push(&value);
                    *wanted.entry((hash, key, value, time)).or_insert(0i64) += 1;
                }
                batches.push(batch);
            }
            let mut found = Vec::new();
            for chunk in sort(&batches, &Rc::new(Shared::default())) {
                for key in 0..chunk.rows.key_count() {
                    let (hash, bytes) = chunk.rows.key(key);
                    let row = |row| ((hash, bytes.to_vec(), chunk.rows.value(row).to_vec(), *chunk.time(row)), chunk.rows.diff(row));
                    found.extend(chunk.rows.rows_of(key).map(row));
                }
            }
            assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
        }
    }

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
