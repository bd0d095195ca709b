//! # Pending rows
//!
//! Rows of ours that come out when they can have no match any more: their times and keys, apart by stretches of time, so that
//! those whose time has come are found without looking at the others.

use std::collections::BTreeMap;

use crate::arrange::{Key, RowBytes};

/// How much time rows of one stretch lie apart at most: about a second.
const STRETCH_BITS: u32 = if cfg!(test) { 2 } else { 20 };

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Pending {
    stretches: BTreeMap<i64, Rows>,
}

#[derive(Default)]
struct Rows {
    events: Vec<i64>,
    keys: Keys,
}

/// Keys, in no order.
#[derive(Default)]
pub(super) struct Keys {
    hashes: Vec<u64>,
    bytes: RowBytes,
}

impl Keys {
    fn push(&mut self, key: Key<'_>) {
        self.hashes.push(key.0);
        self.bytes.push(key.1);
    }

    fn get(&self, row: usize) -> Key<'_> {
        (self.hashes[row], self.bytes.get(row))
    }

    /// Each key once, ascending.
    pub(super) fn sorted(&self) -> Vec<Key<'_>> {
        let mut keys: Vec<Key<'_>> = (0..self.hashes.len()).map(|row| self.get(row)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Pending {
    /// Notes a row.
    pub(super) fn add(&mut self, event: i64, key: Key<'_>) {
        let rows = self.stretches.entry(event >> STRETCH_BITS).or_default();
        rows.events.push(event);
        rows.keys.push(key);
    }

    /// Takes out the keys of the rows with a time below the floor.
    pub(super) fn take_below(&mut self, floor: i64) -> Keys {
        let mut taken = Keys::default();
        while let Some(first) = self.stretches.first_entry().filter(|entry| *entry.key() <= floor >> STRETCH_BITS) {
            let (stretch, rows) = (*first.key(), first.remove());
            let mut left = Rows::default();
            for (row, event) in rows.events.iter().enumerate() {
                if *event < floor {
                    taken.push(rows.keys.get(row));
                } else {
                    left.events.push(*event);
                    left.keys.push(rows.keys.get(row));
                }
            }
            if !left.events.is_empty() {
                self.stretches.insert(stretch, left);
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_when_their_time_has_come() {
        let mut pending = Pending::default();
        for event in [5i64, -3, 9, 5, 100, i64::MIN] {
            pending.add(event, (event as u64, b"k"));
        }
        assert_eq!(pending.take_below(i64::MIN).sorted(), vec![]);
        assert_eq!(pending.take_below(6).sorted().len(), 3);
        assert_eq!(pending.take_below(9).sorted(), vec![]);
        assert_eq!(pending.take_below(10).sorted(), vec![(9, &b"k"[..])]);
        assert_eq!(pending.take_below(i64::MAX).sorted(), vec![(100, &b"k"[..])]);
        assert!(pending.stretches.is_empty());
    }
}
