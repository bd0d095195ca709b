//! Sets of byte strings with counts: bytes in one arena, entries beside it, a table of positions over both.

use super::hash;

/// One byte string.
struct Entry {
    hash: u32,
    length: u32,
    start: usize,
    /// May be zero: the value is not in, but its bytes stay until the next growth.
    count: i64,
}

/// A set of byte strings, each with a count.
#[derive(Default)]
pub(super) struct RowSet {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Positions in `entries`, plus one; zero is free. Empty while entries are few.
    table: Vec<u32>,
    present: i64,
    /// Entries whose count is zero.
    dead: usize,
}

/// Entries up to this number are searched one by one.
const LIST: usize = 8;

impl RowSet {
    /// Adds `diff` to a value's count: 1 if the value came in, -1 if it left, 0 otherwise.
    #[inline]
    pub(super) fn add(&mut self, value: &[u8], diff: i64, heap: &mut usize) -> i64 {
        if diff == 0 {
            return 0;
        }
        let hash = hash::bytes(value);
        let change = match self.find(value, hash) {
            Ok(at) => {
                let count = &mut self.entries[at].count;
                let before = *count;
                *count += diff;
                let after = *count;
                self.dead = self.dead + usize::from(after == 0) - usize::from(before == 0);
                if self.dead > LIST && self.dead * 2 > self.entries.len() {
                    self.compact(heap);
                }
                i64::from(after > 0) - i64::from(before > 0)
            }
            Err(slot) => {
                self.insert(slot, value, hash, diff, heap);
                i64::from(diff > 0)
            }
        };
        self.present += change;
        change
    }

    #[inline(always)]
    fn find(&self, value: &[u8], hash: u64) -> Result<usize, usize> {
        let same = |entry: &Entry| {
            entry.hash == hash as u32 && entry.length as usize == value.len() && self.bytes[entry.start..][..value.len()] == *value
        };
        if self.table.is_empty() {
            return self.entries.iter().position(same).ok_or(0);
        }
        let mask = self.table.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            match self.table[at] {
                0 => return Err(at),
                position if same(&self.entries[position as usize - 1]) => return Ok(position as usize - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn insert(&mut self, slot: usize, value: &[u8], hash: u64, diff: i64, heap: &mut usize) {
        let before = self.heap();
        assert!(self.entries.len() < u32::MAX as usize - 1, "a group holds fewer than 2^32 distinct values");
        self.entries.push(Entry { hash: hash as u32, length: value.len() as u32, start: self.bytes.len(), count: diff });
        self.bytes.extend_from_slice(value);
        if !self.table.is_empty() {
            self.table[slot] = self.entries.len() as u32;
        }
        if self.entries.len() > LIST && self.entries.len() * 8 > self.table.len() * 5 {
            self.index();
        }
        *heap = *heap + self.heap() - before;
    }

    /// Builds the table anew, with room to grow.
    fn index(&mut self) {
        let slots = (self.entries.len() * 2).next_power_of_two();
        let (entries, bytes) = (&self.entries, &self.bytes);
        self.table.clear();
        self.table.resize(slots, 0);
        for (position, entry) in entries.iter().enumerate() {
            let hash = hash::bytes(&bytes[entry.start..][..entry.length as usize]);
            let mut at = (hash >> 32) as usize & (slots - 1);
            while self.table[at] != 0 {
                at = (at + 1) & (slots - 1);
            }
            self.table[at] = position as u32 + 1;
        }
    }

    /// Drops entries whose count is zero.
    #[cold]
    fn compact(&mut self, heap: &mut usize) {
        *heap -= self.heap();
        let live = self.entries.iter().filter(|entry| entry.count != 0);
        let (mut bytes, mut entries) = (Vec::new(), Vec::with_capacity(self.entries.len() - self.dead));
        for entry in live {
            let start = bytes.len();
            bytes.extend_from_slice(&self.bytes[entry.start..][..entry.length as usize]);
            entries.push(Entry { start, ..*entry });
        }
        self.bytes = bytes;
        self.entries = entries;
        self.dead = 0;
        self.table = Vec::new();
        if self.entries.len() > LIST {
            self.index();
        }
        *heap += self.heap();
    }

    /// How many values are in.
    pub(super) fn len(&self) -> i64 {
        self.present
    }

    /// Calls with each value whose count is not zero.
    pub(super) fn for_each<'a>(&'a self, mut call: impl FnMut(&'a [u8], i64)) {
        for entry in &self.entries {
            if entry.count != 0 {
                call(&self.bytes[entry.start..][..entry.length as usize], entry.count);
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>() + self.table.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn a_row_set_is_a_map_of_counts(
            span in prop_oneof![Just(6u64), Just(40), Just(3000)],
            steps in prop::collection::vec((any::<u64>(), -2i64..4), 0..3000),
        ) {
            let (mut set, mut heap, mut naive) = (RowSet::default(), 0, HashMap::<Vec<u8>, i64>::new());
            let steps: Vec<(Vec<u8>, i64)> = steps.into_iter().map(|(value, diff)| ("x".repeat((value % span) as usize / 7 + 1)
                .into_bytes().into_iter().chain((value % span).to_le_bytes()).collect(), diff)).collect();
            let back: Vec<(Vec<u8>, i64)> = steps.iter().map(|(value, diff)| (value.clone(), -diff)).collect();
            for (i, (value, diff)) in steps.iter().chain(&back).enumerate() {
                let count = naive.entry(value.clone()).or_default();
                let before = *count > 0;
                *count += diff;
                prop_assert_eq!(set.add(value, *diff, &mut heap), i64::from(*count > 0) - i64::from(before));
                if i % 1009 == 0 || i + 1 == steps.len() {
                    naive.retain(|_, &mut count| count != 0);
                    let mut all = HashMap::new();
                    set.for_each(|value, count| assert!(all.insert(value.to_vec(), count).is_none()));
                    prop_assert_eq!(&all, &naive);
                    prop_assert_eq!(set.heap(), heap);
                    prop_assert_eq!(set.len(), naive.values().filter(|&&count| count > 0).count() as i64);
                }
            }
            prop_assert_eq!(set.len(), 0);
            prop_assert!(set.entries.len() <= 2 * LIST + 1);
        }
    }
}
