//! Sets of fixed-size values: open addressing with linear probing, one cache line for most look-ups.
//!
//! Up to eight values stand in a list without hashing.

use super::hash;

/// Values up to this number stand in a list.
const LIST: usize = 8;
/// The first table.
const TABLE: usize = 32;

/// A value as bits, of a fixed size.
pub(super) trait Bits: Copy + Eq + Default + Send + 'static {
    /// A hash whose high bits are good.
    fn hash(self) -> u64;
}

impl Bits for u64 {
    #[inline(always)]
    fn hash(self) -> u64 {
        hash::quick(self)
    }
}

impl Bits for u128 {
    #[inline(always)]
    fn hash(self) -> u64 {
        hash::quick(hash::quick(self as u64) ^ (self >> 64) as u64)
    }
}

/// A set that counts, or does not, as its input can or cannot take rows back.
pub(super) trait Members<K>: Default + Send {
    /// Adds `diff` to a value's count: 1 if the value came in, -1 if it left, 0 otherwise. `heap` follows the bytes on the heap.
    fn add(&mut self, value: K, diff: i64, heap: &mut usize) -> i64;
    /// How many values are in.
    fn len(&self) -> i64;
    /// Calls with each value and its count, in no order.
    fn for_each(&self, call: impl FnMut(K, i64));
    /// Bytes on the heap.
    fn heap(&self) -> usize;
    /// Whether counts are kept.
    const COUNTS: bool;
}

/// Where a hash starts in a table of `2^bits` slots: its high bits.
#[inline(always)]
fn home(hash: u64, slots: usize) -> usize {
    (hash >> (64 - slots.trailing_zeros())) as usize
}

/// A set without counts. Zero bits mark a free slot, and zero itself is a flag.
#[derive(Default)]
pub(super) struct Plain<K> {
    slots: Vec<K>,
    used: u32,
    zero: bool,
}

impl<K: Bits> Plain<K> {
    #[cold]
    fn grow(&mut self, heap: &mut usize) {
        let slots = if self.slots.len() <= LIST { TABLE } else { self.slots.len() * 2 };
        let old = std::mem::replace(&mut self.slots, vec![K::default(); slots]);
        *heap = *heap + self.slots.capacity() * size_of::<K>() - old.capacity() * size_of::<K>();
        for value in old {
            if value != K::default() {
                let mut at = home(value.hash(), slots);
                while self.slots[at] != K::default() {
                    at = (at + 1) & (slots - 1);
                }
                self.slots[at] = value;
            }
        }
    }

    #[inline]
    fn insert(&mut self, value: K, heap: &mut usize) -> bool {
        if value == K::default() {
            return !std::mem::replace(&mut self.zero, true);
        }
        if self.slots.len() <= LIST {
            if self.slots.contains(&value) {
                return false;
            }
            if self.slots.len() < LIST {
                let before = self.slots.capacity();
                self.slots.push(value);
                *heap += (self.slots.capacity() - before) * size_of::<K>();
                self.used += 1;
                return true;
            }
            self.grow(heap);
        }
        let slots = self.slots.as_mut_slice();
        let mask = slots.len() - 1;
        let mut at = home(value.hash(), slots.len());
        loop {
            let slot = &mut slots[at & mask];
            if *slot == value {
                return false;
            }
            if *slot == K::default() {
                *slot = value;
                break;
            }
            at += 1;
        }
        self.used += 1;
        if self.used as usize * 8 > slots.len() * 5 {
            self.grow(heap);
        }
        true
    }
}

impl<K: Bits> Members<K> for Plain<K> {
    const COUNTS: bool = false;

    #[inline]
    fn add(&mut self, value: K, diff: i64, heap: &mut usize) -> i64 {
        assert!(diff > 0, "append-only input takes nothing back");
        i64::from(self.insert(value, heap))
    }

    fn len(&self) -> i64 {
        i64::from(self.used) + i64::from(self.zero)
    }

    fn for_each(&self, mut call: impl FnMut(K, i64)) {
        if self.zero {
            call(K::default(), 1);
        }
        for &value in &self.slots {
            if value != K::default() {
                call(value, 1);
            }
        }
    }

    fn heap(&self) -> usize {
        self.slots.capacity() * size_of::<K>()
    }
}

/// A set with counts. A count of zero marks a free slot.
#[derive(Default)]
pub(super) struct Counted<K> {
    slots: Vec<(K, i64)>,
    used: usize,
    /// Values whose count is above zero.
    present: i64,
}

impl<K: Bits> Counted<K> {
    #[cold]
    fn rebuild(&mut self, slots: usize, heap: &mut usize) {
        let old = std::mem::replace(&mut self.slots, if slots == LIST { Vec::with_capacity(LIST) } else { vec![(K::default(), 0); slots] });
        *heap = *heap + self.slots.capacity() * size_of::<(K, i64)>() - old.capacity() * size_of::<(K, i64)>();
        for entry in old {
            if entry.1 == 0 {
                continue;
            }
            if slots == LIST {
                self.slots.push(entry);
                continue;
            }
            let mut at = home(entry.0.hash(), slots);
            while self.slots[at].1 != 0 {
                at = (at + 1) & (slots - 1);
            }
            self.slots[at] = entry;
        }
    }

    /// Where a value stands, or where it would.
    #[inline(always)]
    fn find(&self, value: K) -> (usize, bool) {
        if self.slots.len() <= LIST {
            let found = self.slots.iter().position(|entry| entry.0 == value);
            return (found.unwrap_or(self.slots.len()), found.is_some());
        }
        let mask = self.slots.len() - 1;
        let mut at = home(value.hash(), self.slots.len());
        loop {
            let slot = &self.slots[at & mask];
            if slot.1 == 0 {
                return (at & mask, false);
            }
            if slot.0 == value {
                return (at & mask, true);
            }
            at += 1;
        }
    }

    fn insert(&mut self, at: usize, value: K, diff: i64, heap: &mut usize) {
        self.used += 1;
        if self.slots.len() < LIST {
            let before = self.slots.capacity();
            self.slots.push((value, diff));
            *heap += (self.slots.capacity() - before) * size_of::<(K, i64)>();
        } else if self.slots.len() == LIST {
            self.rebuild(TABLE, heap);
            let (at, _) = self.find(value);
            self.slots[at] = (value, diff);
        } else {
            self.slots[at] = (value, diff);
            if self.used * 8 > self.slots.len() * 5 {
                self.rebuild(self.slots.len() * 2, heap);
            }
        }
    }

    /// Frees a slot of which the count has become zero, moving back what probed past it.
    fn remove(&mut self, mut hole: usize, heap: &mut usize) {
        self.used -= 1;
        if self.slots.len() <= LIST {
            self.slots.swap_remove(hole);
            return;
        }
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let (value, count) = self.slots[at];
            if count == 0 {
                break;
            }
            // Cyclic distances: the entry may move if its home is not after the hole.
            let wanted = home(value.hash(), self.slots.len());
            if (at.wrapping_sub(wanted) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = (value, count);
                hole = at;
            }
        }
        self.slots[hole].1 = 0;
        if self.used * 8 < self.slots.len() {
            let smaller = if self.slots.len() == TABLE { LIST } else { self.slots.len() / 2 };
            self.rebuild(smaller, heap);
        }
    }
}

impl<K: Bits> Members<K> for Counted<K> {
    const COUNTS: bool = true;

    #[inline]
    fn add(&mut self, value: K, diff: i64, heap: &mut usize) -> i64 {
        if diff == 0 {
            return 0;
        }
        let (at, found) = self.find(value);
        if !found {
            self.insert(at, value, diff, heap);
            self.present += i64::from(diff > 0);
            return i64::from(diff > 0);
        }
        let count = &mut self.slots[at].1;
        let before = *count > 0;
        *count += diff;
        let (after, zero) = (*count > 0, *count == 0);
        if zero {
            self.remove(at, heap);
        }
        let change = i64::from(after) - i64::from(before);
        self.present += change;
        change
    }

    fn len(&self) -> i64 {
        self.present
    }

    fn for_each(&self, mut call: impl FnMut(K, i64)) {
        for &(value, count) in &self.slots {
            if count != 0 {
                call(value, count);
            }
        }
    }

    fn heap(&self) -> usize {
        self.slots.capacity() * size_of::<(K, i64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn sets_are_maps_of_counts(
            span in prop_oneof![Just(6u64), Just(40), Just(5000)],
            steps in prop::collection::vec((any::<u64>(), -2i64..4), 0..4000),
        ) {
            let (mut counted, mut plain, mut heap, mut plain_heap) = (Counted::<u64>::default(), Plain::<u128>::default(), 0, 0);
            let (mut naive, mut seen) = (HashMap::<u64, i64>::new(), std::collections::HashSet::new());
            let steps: Vec<(u64, i64)> = steps.into_iter().map(|(value, diff)| (value % span, diff)).collect();
            let back = steps.iter().map(|&(value, diff)| (value, -diff));
            for (i, (value, diff)) in steps.iter().copied().chain(back).enumerate() {
                let count = naive.entry(value).or_default();
                let before = *count > 0;
                *count += diff;
                prop_assert_eq!(counted.add(value, diff, &mut heap), i64::from(*count > 0) - i64::from(before));
                if diff > 0 && i < steps.len() {
                    prop_assert_eq!(plain.add(value.into(), diff, &mut plain_heap), i64::from(seen.insert(value)));
                }
                if i % 1009 == 0 || i + 1 == steps.len() {
                    prop_assert_eq!(counted.len(), naive.values().filter(|&&count| count > 0).count() as i64);
                    let mut all = HashMap::new();
                    counted.for_each(|value, count| assert!(all.insert(value, count).is_none()));
                    naive.retain(|_, &mut count| count != 0);
                    prop_assert_eq!(&all, &naive);
                    prop_assert_eq!(counted.heap(), heap);
                    prop_assert_eq!(plain.heap(), plain_heap);
                }
            }
            prop_assert_eq!(plain.len(), seen.len() as i64);
            let mut all = std::collections::HashSet::new();
            plain.for_each(|value, _| assert!(all.insert(value as u64)));
            prop_assert_eq!(all, seen);
            prop_assert_eq!(counted.len(), 0);
            prop_assert!(counted.heap() <= LIST * 16);
        }
    }
}
