//! Sets of byte strings: one arena of records, and a table of their positions with a tag of the hash.
//!
//! A record is a count (if counted) and the length, then the bytes. A look-up touches one slot and one record.

use super::hash;

/// A set of byte strings, counted or not.
#[derive(Default)]
pub(super) struct RowSet<const COUNTED: bool> {
    arena: Vec<u8>,
    /// A record's position plus one, below a tag of its hash; zero is free. Empty while records are few.
    table: Vec<u64>,
    records: u32,
    /// Records whose count is zero: their values are not in, but the bytes stay until the set is compacted.
    dead: u32,
    present: i64,
}

/// Records up to this number are searched one by one.
const LIST: u32 = 8;
const TAG_BITS: u32 = 24;
const POSITION_MASK: u64 = (1 << (64 - TAG_BITS)) - 1;

/// The tag, in place. Its bits are not those that choose the slot.
#[inline(always)]
fn tag(hash: u64) -> u64 {
    hash & !POSITION_MASK
}

#[inline(always)]
fn home(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

impl<const COUNTED: bool> RowSet<COUNTED> {
    /// Bytes of a record before its value.
    const HEAD: usize = if COUNTED { 12 } else { 4 };

    /// Adds `diff` to a value's count: 1 if the value came in, -1 if it left, 0 otherwise.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8], diff: i64, heap: &mut usize) -> i64 {
        if diff == 0 {
            return 0;
        }
        assert!(COUNTED || diff > 0, "append-only input takes nothing back");
        let hash = hash::bytes(value);
        let change = match self.find(value, hash) {
            Ok(_) if !COUNTED => 0,
            Ok(at) => self.recount(at, diff, heap),
            Err(slot) => {
                self.insert(slot, value, hash, diff, heap);
                i64::from(diff > 0)
            }
        };
        self.present += change;
        change
    }

    #[inline(always)]
    fn length(&self, at: usize) -> usize {
        let bytes = self.arena[at + Self::HEAD - 4..].first_chunk::<4>();
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn count(&self, at: usize) -> i64 {
        if COUNTED { self.arena[at..].first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes)) } else { 1 }
    }

    fn value(&self, at: usize) -> &[u8] {
        &self.arena[at + Self::HEAD..][..self.length(at)]
    }

    #[inline(always)]
    fn find(&self, value: &[u8], hash: u64) -> Result<usize, usize> {
        if self.table.is_empty() {
            let mut at = 0;
            while at < self.arena.len() {
                let length = self.length(at);
                if length == value.len() && self.arena[at + Self::HEAD..][..length] == *value {
                    return Ok(at);
                }
                at += Self::HEAD + length;
            }
            return Err(0);
        }
        let mask = self.table.len() - 1;
        let mut slot = home(hash, self.table.len());
        loop {
            let entry = self.table[slot & mask];
            if entry == 0 {
                return Err(slot & mask);
            }
            if (entry ^ hash) & !POSITION_MASK == 0 {
                let at = (entry & POSITION_MASK) as usize - 1;
                if self.value(at) == value {
                    return Ok(at);
                }
            }
            slot += 1;
        }
    }

    fn recount(&mut self, at: usize, diff: i64, heap: &mut usize) -> i64 {
        let before = self.count(at);
        let after = before + diff;
        self.arena[at..at + 8].copy_from_slice(&after.to_le_bytes());
        self.dead = self.dead + u32::from(after == 0) - u32::from(before == 0);
        if self.dead > LIST && self.dead > self.records / 2 {
            self.compact(heap);
        }
        i64::from(after > 0) - i64::from(before > 0)
    }

    fn insert(&mut self, slot: usize, value: &[u8], hash: u64, diff: i64, heap: &mut usize) {
        let before = self.heap();
        let at = self.arena.len();
        assert!(value.len() <= u32::MAX as usize && (at as u64) < POSITION_MASK, "a group's distinct values take less than a terabyte");
        if COUNTED {
            self.arena.extend_from_slice(&diff.to_le_bytes());
        }
        self.arena.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.arena.extend_from_slice(value);
        self.records += 1;
        if !self.table.is_empty() {
            self.table[slot] = tag(hash) | (at as u64 + 1);
        }
        if self.records > LIST && self.records as usize * 8 > self.table.len() * 5 {
            self.index();
        }
        *heap = *heap + self.heap() - before;
    }

    /// Builds the table anew, with room to grow.
    #[cold]
    fn index(&mut self) {
        let slots = (self.records as usize * 2).next_power_of_two();
        self.table = vec![0; slots];
        let mut at = 0;
        while at < self.arena.len() {
            let hash = hash::bytes(self.value(at));
            let mut slot = home(hash, slots);
            while self.table[slot] != 0 {
                slot = (slot + 1) & (slots - 1);
            }
            self.table[slot] = tag(hash) | (at as u64 + 1);
            at += Self::HEAD + self.length(at);
        }
    }

    /// Drops records whose count is zero.
    #[cold]
    fn compact(&mut self, heap: &mut usize) {
        *heap -= self.heap();
        let mut live = Vec::new();
        let mut at = 0;
        while at < self.arena.len() {
            let end = at + Self::HEAD + self.length(at);
            if self.count(at) != 0 {
                live.extend_from_slice(&self.arena[at..end]);
            }
            at = end;
        }
        self.arena = live;
        self.records -= self.dead;
        self.dead = 0;
        self.table = Vec::new();
        if self.records > LIST {
            self.index();
        }
        *heap += self.heap();
    }

    /// How many values are in.
    pub(super) fn len(&self) -> i64 {
        self.present
    }

    /// Calls with each value whose count is not zero (1 if not counted), in the order they came.
    pub(super) fn for_each(&self, mut call: impl FnMut(&[u8], i64)) {
        let mut at = 0;
        while at < self.arena.len() {
            let count = self.count(at);
            if count != 0 {
                call(self.value(at), count);
            }
            at += Self::HEAD + self.length(at);
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.arena.capacity() + self.table.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    proptest! {
        #[test]
        fn a_row_set_is_a_map_of_counts(
            span in prop_oneof![Just(6u64), Just(40), Just(3000)],
            steps in prop::collection::vec((any::<u64>(), -2i64..4), 0..3000),
        ) {
            let (mut set, mut heap, mut naive) = (RowSet::<true>::default(), 0, HashMap::<Vec<u8>, i64>::new());
            let (mut plain, mut plain_heap, mut seen) = (RowSet::<false>::default(), 0, HashSet::<Vec<u8>>::new());
            let steps: Vec<(Vec<u8>, i64)> = steps.into_iter().map(|(value, diff)| ("x".repeat((value % span) as usize / 7)
                .into_bytes().into_iter().chain((value % span).to_string().into_bytes()).collect(), diff)).collect();
            let back: Vec<(Vec<u8>, i64)> = steps.iter().map(|(value, diff)| (value.clone(), -diff)).collect();
            for (i, (value, diff)) in steps.iter().chain(&back).enumerate() {
                let count = naive.entry(value.clone()).or_default();
                let before = *count > 0;
                *count += diff;
                prop_assert_eq!(set.add(value, *diff, &mut heap), i64::from(*count > 0) - i64::from(before));
                if *diff > 0 && i < steps.len() {
                    prop_assert_eq!(plain.add(value, *diff, &mut plain_heap), i64::from(seen.insert(value.clone())));
                }
                if i % 1009 == 0 || i + 1 == steps.len() {
                    naive.retain(|_, &mut count| count != 0);
                    let mut all = HashMap::new();
                    set.for_each(|value, count| assert!(all.insert(value.to_vec(), count).is_none()));
                    prop_assert_eq!(&all, &naive);
                    prop_assert_eq!((set.heap(), plain.heap()), (heap, plain_heap));
                    prop_assert_eq!(set.len(), naive.values().filter(|&&count| count > 0).count() as i64);
                }
            }
            prop_assert_eq!((set.len(), plain.len()), (0, seen.len() as i64));
            plain.for_each(|value, count| assert!(count == 1 && seen.remove(value)));
            prop_assert!(seen.is_empty());
            prop_assert!(set.records <= 2 * LIST + 1);
        }
    }
}
