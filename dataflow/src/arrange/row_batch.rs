//! # Row batches
//!
//! What crosses the exchange in front of an arrangement: rows of one time as bytes, keys apart from the rest, with the hashes of
//! their keys. A hash's upper bits name the worker, as for aggregates; its lowest bit says that the key holds a null.

use std::io::Write;

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use super::row_bytes::RowBytes;
use super::row_time::RowTime;
use crate::aggregate::keyed_batch::owner;

/// Rows on their way to the worker that keeps their keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowBatch<T> {
    /// The time of all rows.
    pub(crate) time: T,
    /// The hash of each row's key.
    pub(crate) hashes: Vec<u64>,
    /// The keys.
    pub(crate) keys: RowBytes,
    /// The other columns.
    pub(crate) values: RowBytes,
    /// The event time of each row, where rows are forgotten by it.
    pub(crate) events: Option<Vec<i64>>,
    /// How often each row counts; `None` when all count once.
    pub(crate) diffs: Option<Vec<i64>>,
}

impl<T: RowTime> Default for RowBatch<T> {
    fn default() -> Self {
        Self::empty(T::minimum())
    }
}

impl<T: RowTime> RowBatch<T> {
    fn empty(time: T) -> Self {
        Self { time, hashes: Vec::new(), keys: RowBytes::default(), values: RowBytes::default(), events: None, diffs: None }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn push_from(&mut self, other: &Self, row: usize) {
        self.hashes.push(other.hashes[row]);
        self.keys.push(other.keys.get(row));
        self.values.push(other.values.get(row));
        if let Some(events) = &other.events {
            self.events.get_or_insert_default().push(events[row]);
        }
        if let Some(diffs) = &other.diffs {
            self.diffs.get_or_insert_default().push(diffs[row]);
        }
    }

    /// The rows of each worker, in their order. As many batches as workers, some perhaps empty.
    pub(crate) fn split(self, workers: usize) -> Vec<Self> {
        let mut parts: Vec<Self> = (0..workers).map(|_| Self::empty(self.time.clone())).collect();
        let mut counts = vec![0usize; workers];
        self.hashes.iter().for_each(|hash| counts[owner(*hash, workers)] += 1);
        if let Some(only) = counts.iter().position(|count| *count == self.len()) {
            parts[only] = self;
            return parts;
        }
        for row in 0..self.len() {
            parts[owner(self.hashes[row], workers)].push_from(&self, row);
        }
        parts
    }
}

impl<T: RowTime> Accountable for RowBatch<T> {
    fn record_count(&self) -> i64 {
        self.len() as i64
    }
}

/// Sends each row to the worker that keeps its key.
#[derive(Debug, Default)]
pub(crate) struct RowDistributor;

impl<R: RowTime> Distributor<RowBatch<R>> for RowDistributor {
    fn partition<T: Clone, P: Push<Message<T, RowBatch<R>>>>(&mut self, container: &mut RowBatch<R>, stamp: &Stamp<T>, pushers: &mut [P]) {
        for (mut batch, pusher) in std::mem::take(container).split(pushers.len()).into_iter().zip(pushers) {
            if !batch.is_empty() {
                Message::push_at(&mut batch, stamp.clone(), pusher);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, RowBatch<R>>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

const EVENTS: u64 = 1;
const DIFFS: u64 = 2;

impl<T: RowTime> RowBatch<T> {
    fn to_bytes(&self) -> Vec<u8> {
        let [first, second] = self.time.to_words();
        let flags = self.events.as_ref().map_or(0, |_| EVENTS) | self.diffs.as_ref().map_or(0, |_| DIFFS);
        let mut bytes = Vec::new();
        let mut word = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        [first, second, flags, self.len() as u64].into_iter().for_each(&mut word);
        self.hashes.iter().copied().for_each(&mut word);
        self.events.iter().flatten().for_each(|event| word(*event as u64));
        self.diffs.iter().flatten().for_each(|diff| word(*diff as u64));
        for list in [&self.keys, &self.values] {
            (0..list.len()).for_each(|row| word(list.get(row).len() as u64));
        }
        for list in [&self.keys, &self.values] {
            (0..list.len()).for_each(|row| bytes.extend_from_slice(list.get(row)));
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

impl<T: RowTime> ContainerBytes for RowBatch<T> {
    fn from_bytes(bytes: Bytes) -> Self {
        let mut at = 0;
        let mut word = || {
            at += 8;
            u64::from_le_bytes(bytes[at - 8..at].try_into().expect("eight bytes"))
        };
        let time = T::from_words([word(), word()]);
        let flags = word();
        let rows = usize::try_from(word()).expect("a number of rows");
        let hashes = (0..rows).map(|_| word()).collect();
        let events = (flags & EVENTS != 0).then(|| (0..rows).map(|_| word() as i64).collect());
        let diffs = (flags & DIFFS != 0).then(|| (0..rows).map(|_| word() as i64).collect());
        let lengths: Vec<usize> = (0..2 * rows).map(|_| usize::try_from(word()).expect("a length")).collect();
        let mut list = |lengths: &[usize]| {
            let mut list = RowBytes::with_capacity(lengths.iter().sum());
            for length in lengths {
                list.push(&bytes[at..at + length]);
                at += length;
            }
            list
        };
        let (keys, values) = lengths.split_at(rows);
        Self { time, hashes, keys: list(keys), values: list(values), events, diffs }
    }

    fn length_in_bytes(&self) -> usize {
        let lists = self.keys.bytes_between(0..self.len()) + self.values.bytes_between(0..self.len());
        let columns = 3 + usize::from(self.events.is_some()) + usize::from(self.diffs.is_some());
        (32 + 8 * self.len() * columns + lists).next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        writer.write_all(&self.to_bytes()).expect("timely's buffers take what was announced");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_the_wire_and_splits_by_hash() {
        let mut batch = RowBatch::empty(7u64);
        for row in 0..20u64 {
            batch.hashes.push(row << 60);
            batch.keys.push(&vec![1; row as usize % 4]);
            batch.values.push(&row.to_le_bytes());
        }
        for extras in [false, true] {
            batch.events = extras.then(|| (0..20).collect());
            batch.diffs = extras.then(|| (0..20).map(|row| row - 7).collect());
            let mut bytes = Vec::new();
            batch.into_bytes(&mut bytes);
            assert_eq!(bytes.len(), batch.length_in_bytes());
            assert_eq!(RowBatch::from_bytes(timely::bytes::arc::BytesMut::from(bytes).freeze()), batch);
            let parts = batch.clone().split(3);
            assert_eq!(parts.iter().map(RowBatch::len).sum::<usize>(), 20);
            for (worker, part) in parts.iter().enumerate() {
                assert!(part.hashes.iter().all(|hash| owner(*hash, 3) == worker));
                assert_eq!(part.diffs.as_ref().map(Vec::len), extras.then_some(part.len()));
            }
        }
    }
}
