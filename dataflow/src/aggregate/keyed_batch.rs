//! # Keyed batch
//!
//! What crosses the exchange: rows with their keys encoded and hashed, as they are or aggregated already. A hash's upper ten bits are
//! its bucket, one of 1,024; stretches of buckets belong to workers, so that state can be read back by another number of them.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{concat, take};

use crate::state::key_rows::{KeyRows, NULL_HASH};
use crate::state::key_table::{KeyTable, Stretch};

/// Number of virtual buckets.
pub const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 10;

/// The bucket of a hash.
pub fn bucket(hash: u64) -> usize {
    (hash >> (64 - BUCKET_BITS)) as usize
}

/// The worker that keeps a hash, among some.
pub fn owner(hash: u64, workers: usize) -> usize {
    (bucket(hash) * workers) >> BUCKET_BITS
}

/// The worker that keeps the one group of an aggregate without keys.
pub fn global_owner(workers: usize) -> usize {
    owner(NULL_HASH, workers)
}

/// Rows on their way to the worker that keeps their groups.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedBatch {
    /// The hash of each row's key.
    pub hashes: Vec<u64>,
    /// The end of each row's pane; `None` without windows.
    pub panes: Option<Vec<i64>>,
    /// `panes` name single windows: rows that were late for other windows of their pane, and count for this one only.
    pub single: bool,
    /// The keys.
    pub keys: KeyRows,
    /// What the aggregates read.
    pub payload: Payload,
}

/// What the aggregates read of a keyed batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Rows.
    Raw {
        /// The columns, by the layout's payload.
        columns: Vec<ArrayRef>,
        /// How often each row counts; `None` when all count once.
        diffs: Option<Vec<i64>>,
    },
    /// Partial states of groups.
    Partial {
        /// As [`crate::state::group_table::GroupTable::partials`] makes them.
        columns: Vec<ArrayRef>,
    },
}

impl Default for KeyedBatch {
    fn default() -> Self {
        Self {
            hashes: Vec::new(),
            panes: None,
            single: false,
            keys: KeyRows::Unit(0),
            payload: Payload::Raw { columns: Vec::new(), diffs: None },
        }
    }
}

impl KeyedBatch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Puts the number of each row's key into `ids`, giving new numbers to new keys.
    pub fn number(&self, keys: &mut KeyTable, ids: &mut Vec<u32>) {
        ids.clear();
        keys.intern(&self.keys, &self.hashes, Stretch { first: 0, rows: self.len() }, ids);
    }

    /// Some of the rows.
    pub fn take(&self, rows: &UInt32Array) -> Self {
        let columns = |columns: &[ArrayRef]| columns.iter().map(|column| take(column, rows, None).expect("rows lie within")).collect();
        let pick = |values: &[i64]| rows.values().iter().map(|row| values[*row as usize]).collect();
        Self {
            hashes: rows.values().iter().map(|row| self.hashes[*row as usize]).collect(),
            panes: self.panes.as_deref().map(pick),
            single: self.single,
            keys: self.keys.take(rows),
            payload: match &self.payload {
                Payload::Raw { columns: of, diffs } => Payload::Raw { columns: columns(of), diffs: diffs.as_deref().map(pick) },
                Payload::Partial { columns: of } => Payload::Partial { columns: columns(of) },
            },
        }
    }

    /// The rows of each worker, in their order. As many batches as workers, some perhaps empty.
    pub fn split(self, workers: usize) -> Vec<Self> {
        if workers == 1 {
            return vec![self];
        }
        let mut counts = vec![0usize; workers];
        self.hashes.iter().for_each(|hash| counts[owner(*hash, workers)] += 1);
        if let Some(only) = counts.iter().position(|count| *count == self.len()) {
            let mut batches: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
            batches[only] = self;
            return batches;
        }
        let mut rows: Vec<Vec<u32>> = counts.iter().map(|count| Vec::with_capacity(*count)).collect();
        for (row, hash) in self.hashes.iter().enumerate() {
            rows[owner(*hash, workers)].push(row as u32);
        }
        rows.into_iter().map(|rows| if rows.is_empty() { Self::default() } else { self.take(&UInt32Array::from(rows)) }).collect()
    }

    /// Batches of one operator and one form (raw or partial, single or not) as one.
    ///
    /// # Panics
    /// If the forms differ, or there are no batches.
    pub fn concat(batches: &[Self]) -> Self {
        let batches: Vec<&Self> = batches.iter().filter(|batch| !batch.is_empty()).collect();
        let Some(first) = batches.first() else { return Self::default() };
        if batches.len() == 1 {
            return (*first).clone();
        }
        assert!(batches.iter().all(|batch| batch.single == first.single), "batches of one form");
        let of = |batch: &Self| match (&batch.payload, &first.payload) {
            (Payload::Raw { columns, .. }, Payload::Raw { .. }) | (Payload::Partial { columns }, Payload::Partial { .. }) => {
                columns.clone()
            }
            _ => panic!("batches of one form"),
        };
        let parts: Vec<Vec<ArrayRef>> = batches.iter().map(|batch| of(batch)).collect();
        let columns = (0..parts[0].len())
            .map(|position| {
                let parts: Vec<&dyn Array> = parts.iter().map(|columns| columns[position].as_ref()).collect();
                concat(&parts).expect("batches of one operator have one schema")
            })
            .collect();
        let payload = match &first.payload {
            Payload::Partial { .. } => Payload::Partial { columns },
            Payload::Raw { .. } => {
                let diffs_of = |batch: &&Self| match &batch.payload {
                    Payload::Raw { diffs: Some(diffs), .. } => diffs.clone(),
                    _ => vec![1; batch.len()],
                };
                let any = batches.iter().any(|batch| matches!(&batch.payload, Payload::Raw { diffs: Some(_), .. }));
                Payload::Raw { columns, diffs: any.then(|| batches.iter().flat_map(diffs_of).collect()) }
            }
        };
        Self {
            hashes: batches.iter().flat_map(|batch| batch.hashes.iter().copied()).collect(),
            panes: first.panes.as_ref().map(|_| batches.iter().flat_map(|batch| batch.panes.iter().flatten().copied()).collect()),
            single: first.single,
            keys: KeyRows::concat(&batches.iter().map(|batch| &batch.keys).collect::<Vec<_>>()),
            payload,
        }
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        let columns = match &self.payload {
            Payload::Raw { columns, .. } | Payload::Partial { columns } => columns,
        };
        let payload: usize = columns.iter().map(|column| column.get_buffer_memory_size()).sum();
        payload + self.keys.bytes() + self.hashes.capacity() * 8 + self.panes.as_ref().map_or(0, |panes| panes.capacity() * 8)
    }
}
