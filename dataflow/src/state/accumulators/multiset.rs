//! An ordered multiset: keys in order, each with a count that may be negative for a while.
//!
//! Keys stand in blocks of at most 4 KiB, so adding one is a search over blocks, a search in a block and a short move of memory;
//! selecting by rank adds up the blocks' totals. A group of few keys is one short vector, the first key in place.

use std::borrow::Borrow;

use smallvec::SmallVec;

/// Keys up to this number stand in one vector.
const SMALL: usize = 16;

/// An ordered multiset of `K`.
pub(super) enum Multiset<K> {
    Small(SmallVec<[(K, i64); 1]>),
    Large(Box<Blocks<K>>),
}

/// Blocks in order, none of them empty.
pub(super) struct Blocks<K> {
    blocks: Vec<Block<K>>,
}

struct Block<K> {
    entries: Vec<(K, i64)>,
    /// The sum of the counts above zero.
    present: i64,
}

/// A key's bytes outside of its own size.
pub(super) trait Heap {
    /// Bytes on the heap.
    fn heap(&self) -> usize {
        0
    }
}

impl Heap for Box<[u8]> {
    fn heap(&self) -> usize {
        self.len() + 8
    }
}

impl<K> Default for Multiset<K> {
    fn default() -> Self {
        Self::Small(SmallVec::new())
    }
}

fn search<K: Borrow<Q>, Q: Ord + ?Sized>(entries: &[(K, i64)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(own, _)| own.borrow().cmp(key))
}

fn spilled_bytes<K>(entries: &SmallVec<[(K, i64); 1]>) -> usize {
    if entries.spilled() { entries.capacity() * size_of::<(K, i64)>() } else { 0 }
}

impl<K: Ord + Heap> Multiset<K> {
    /// Entries of a block.
    const BLOCK: usize = if 4096 / size_of::<(K, i64)>() < 32 { 32 } else { 4096 / size_of::<(K, i64)>() };

    /// Adds `diff` to a key's count; `own` makes the key if it is new. `heap` follows the bytes on the heap.
    #[inline]
    pub(super) fn add<Q: Ord + ?Sized>(&mut self, key: &Q, diff: i64, own: impl FnOnce(&Q) -> K, heap: &mut usize)
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Small(entries) => match search(entries, key) {
                Ok(at) => {
                    entries[at].1 += diff;
                    if entries[at].1 == 0 {
                        *heap -= entries[at].0.heap();
                        entries.remove(at);
                    }
                }
                Err(_) if diff == 0 => {}
                Err(at) => {
                    let key = own(key);
                    *heap += key.heap();
                    let before = spilled_bytes(entries);
                    entries.insert(at, (key, diff));
                    *heap = *heap + spilled_bytes(entries) - before;
                    if entries.len() > SMALL {
                        *heap -= spilled_bytes(entries);
                        let entries = std::mem::take(entries).into_vec();
                        let large = Blocks { blocks: vec![Block::new(entries)] };
                        *heap += large.own_bytes();
                        *self = Self::Large(Box::new(large));
                    }
                }
            },
            Self::Large(blocks) => {
                let shrunk = blocks.add(key, diff, own, heap, Self::BLOCK);
                if shrunk {
                    *heap -= blocks.own_bytes();
                    let entries = SmallVec::from_iter(blocks.blocks.drain(..).flat_map(|block| block.entries));
                    *heap += spilled_bytes(&entries);
                    *self = Self::Small(entries);
                }
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, heap: &mut usize) {
        *heap -= self.heap();
        *self = Self::default();
    }

    fn heap(&self) -> usize {
        let own = match self {
            Self::Small(entries) => spilled_bytes(entries),
            Self::Large(blocks) => blocks.own_bytes(),
        };
        // Keys of a fixed size have nothing on the heap: no need to look at them.
        own + if std::mem::needs_drop::<K>() { self.iter().map(|(key, _)| key.heap()).sum() } else { 0 }
    }

    /// The sum of the counts above zero.
    pub(super) fn present(&self) -> i64 {
        match self {
            Self::Small(entries) => present(entries),
            Self::Large(blocks) => blocks.blocks.iter().map(|block| block.present).sum(),
        }
    }

    /// The least key whose count is above zero.
    pub(super) fn first(&self) -> Option<&K> {
        self.iter().find(|(_, count)| *count > 0).map(|(key, _)| key)
    }

    /// The greatest key whose count is above zero.
    pub(super) fn last(&self) -> Option<&K> {
        self.blocks().rev().flat_map(|entries| entries.iter().rev()).find(|(_, count)| *count > 0).map(|(key, _)| key)
    }

    /// The key of this rank, counting from zero; `None` beyond the last.
    pub(super) fn nth(&self, mut rank: i64) -> Option<&K> {
        let entries = match self {
            Self::Small(entries) => entries.as_slice(),
            Self::Large(blocks) => {
                let block = blocks.blocks.iter().find(|block| {
                    let within = rank < block.present;
                    if !within {
                        rank -= block.present;
                    }
                    within
                })?;
                block.entries.as_slice()
            }
        };
        for (key, count) in entries {
            if rank < *count {
                return Some(key);
            }
            rank -= (*count).max(0);
        }
        None
    }

    /// All keys with their counts (never zero), in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, i64)> {
        self.blocks().flatten()
    }

    fn blocks(&self) -> impl DoubleEndedIterator<Item = &[(K, i64)]> {
        let (small, large): (Option<&[(K, i64)]>, &[Block<K>]) = match self {
            Self::Small(entries) => (Some(entries), &[]),
            Self::Large(blocks) => (None, &blocks.blocks),
        };
        small.into_iter().chain(large.iter().map(|block| block.entries.as_slice()))
    }
}

fn present<K>(entries: &[(K, i64)]) -> i64 {
    entries.iter().map(|(_, count)| (*count).max(0)).sum()
}

impl<K> Block<K> {
    fn new(entries: Vec<(K, i64)>) -> Self {
        let present = present(&entries);
        Self { entries, present }
    }

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(K, i64)>()
    }
}

impl<K: Ord + Heap> Blocks<K> {
    /// Bytes but for those of the keys on the heap.
    fn own_bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.capacity() * size_of::<Block<K>>() + self.blocks.iter().map(Block::bytes).sum::<usize>()
    }

    /// Adds to a count. True if the set has become small.
    fn add<Q: Ord + ?Sized>(&mut self, key: &Q, diff: i64, own: impl FnOnce(&Q) -> K, heap: &mut usize, limit: usize) -> bool
    where
        K: Borrow<Q>,
    {
        let at = self.blocks.partition_point(|block| block.entries[0].0.borrow() <= key).saturating_sub(1);
        let block = &mut self.blocks[at];
        match search(&block.entries, key) {
            Ok(position) => {
                let count = &mut block.entries[position].1;
                block.present += (*count + diff).max(0) - (*count).max(0);
                *count += diff;
                if *count != 0 {
                    return false;
                }
                *heap -= block.entries[position].0.heap();
                block.entries.remove(position);
                if block.entries.is_empty() {
                    *heap -= block.bytes();
                    self.blocks.remove(at);
                } else if block.entries.len() < limit / 4 {
                    self.join(at, heap, limit);
                }
                self.blocks.len() <= 1 && self.blocks.first().is_none_or(|block| block.entries.len() <= SMALL / 2)
            }
            Err(_) if diff == 0 => false,
            Err(position) => {
                let key = own(key);
                *heap += key.heap();
                let before = block.bytes();
                block.present += diff.max(0);
                block.entries.insert(position, (key, diff));
                *heap = *heap + block.bytes() - before;
                if block.entries.len() > limit {
                    self.split(at, heap, limit);
                }
                false
            }
        }
    }

    fn split(&mut self, at: usize, heap: &mut usize, limit: usize) {
        let last = at + 1 == self.blocks.len();
        let own_before = self.blocks.capacity() * size_of::<Block<K>>() + self.blocks[at].bytes();
        let block = &mut self.blocks[at];
        // Keys that only rise leave full blocks behind them.
        let middle = if last { limit - limit / 8 } else { limit / 2 };
        let mut upper = Vec::with_capacity(limit + 1);
        upper.extend(block.entries.drain(middle..));
        block.present = present(&block.entries);
        let upper = Block::new(upper);
        let upper_bytes = upper.bytes();
        self.blocks.insert(at + 1, upper);
        *heap = *heap + self.blocks.capacity() * size_of::<Block<K>>() + self.blocks[at].bytes() + upper_bytes - own_before;
    }

    /// Puts a thin block and its neighbour together, if that leaves room.
    fn join(&mut self, at: usize, heap: &mut usize, limit: usize) {
        let left = if at + 1 < self.blocks.len() { at } else { at.saturating_sub(1) };
        if left + 1 >= self.blocks.len() || self.blocks[left].entries.len() + self.blocks[left + 1].entries.len() > limit / 2 {
            return;
        }
        let right = self.blocks.remove(left + 1);
        let block = &mut self.blocks[left];
        let before = block.bytes() + right.bytes();
        block.present += right.present;
        block.entries.extend(right.entries);
        *heap = *heap + block.bytes() - before;
    }
}

macro_rules! no_heap {
    ($($key:ty),*) => { $(impl Heap for $key {})* };
}
no_heap!(
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    i128,
    arrow::datatypes::i256,
    arrow::datatypes::IntervalDayTime,
    arrow::datatypes::IntervalMonthDayNano
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(set: &Multiset<i64>, naive: &BTreeMap<i64, i64>, heap: usize) -> Result<(), TestCaseError> {
        let naive: Vec<(i64, i64)> = naive.iter().map(|(&k, &c)| (k, c)).filter(|&(_, c)| c != 0).collect();
        prop_assert_eq!(set.iter().copied().collect::<Vec<_>>(), naive.clone());
        let expanded: Vec<i64> = naive.iter().flat_map(|&(k, c)| std::iter::repeat_n(k, c.max(0) as usize)).collect();
        prop_assert_eq!(set.present(), expanded.len() as i64);
        prop_assert_eq!(set.first(), expanded.first());
        prop_assert_eq!(set.last(), expanded.last());
        for rank in [0, 1, expanded.len() / 2, expanded.len().saturating_sub(1), expanded.len()] {
            prop_assert_eq!(set.nth(rank as i64), expanded.get(rank));
        }
        prop_assert_eq!(set.heap(), heap);
        Ok(())
    }

    proptest! {
        #[test]
        fn multiset_is_a_map_of_counts(
            span in prop_oneof![Just(5i64), Just(100), Just(100_000)],
            steps in prop::collection::vec((any::<u32>(), -2i64..4), 1..3000),
            rising in any::<bool>(),
        ) {
            let (mut set, mut naive, mut heap) = (Multiset::<i64>::default(), BTreeMap::new(), 0);
            let steps: Vec<(i64, i64)> = steps.iter().enumerate().map(|(i, &(key, diff))| {
                (if rising { i as i64 / 2 } else { i64::from(key) % span }, diff)
            }).collect();
            for (i, &(key, diff)) in steps.iter().enumerate() {
                set.add(&key, diff, |&key| key, &mut heap);
                *naive.entry(key).or_insert(0) += diff;
                if i % 997 == 0 {
                    check(&set, &naive, heap)?;
                }
            }
            check(&set, &naive, heap)?;
            for &(key, diff) in &steps {
                set.add(&key, -diff, |&key| key, &mut heap);
                *naive.entry(key).or_insert(0) -= diff;
            }
            check(&set, &naive, heap)?;
            set.clear(&mut heap);
            prop_assert_eq!(heap, 0);
        }
    }

    #[test]
    fn byte_keys_are_counted() {
        let (mut set, mut heap) = (Multiset::<Box<[u8]>>::default(), 0);
        for i in 0..1000u32 {
            set.add(&i.to_be_bytes()[..], 1, |bytes| Box::from(bytes), &mut heap);
        }
        assert_eq!(set.heap(), heap);
        for i in 10..1000u32 {
            set.add(&i.to_be_bytes()[..], -1, |bytes| Box::from(bytes), &mut heap);
        }
        assert_eq!((set.heap(), set.present()), (heap, 10));
        assert_eq!(set.last().map(|key| &key[..]), Some(&9u32.to_be_bytes()[..]));
    }
}
