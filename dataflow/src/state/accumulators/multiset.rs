//! An ordered multiset: keys in order, each with a count that may be negative for a while.
//!
//! A key is a head, which a machine compares at once, and a tail that decides between equal heads (nothing at all for numbers). Keys
//! stand in blocks of about 4 KiB, heads, tails and counts each by themselves, and the blocks' first heads by themselves again: a
//! search reads few cache lines, adding a key moves a short piece of memory, selecting by rank adds up the blocks' totals. A group of
//! few keys is one short vector, the first key in place.

use std::cmp::Ordering;

use smallvec::SmallVec;

/// Keys up to this number stand in one vector.
const SMALL: usize = 16;

/// A key to look up, and to make if it is new.
pub(super) trait Look {
    /// What is compared first.
    type Head: Copy + Ord + Send + 'static;
    /// What decides between equal heads.
    type Tail: Tail;
    /// The head.
    fn head(&self) -> Self::Head;
    /// How its tail orders against that of a key with an equal head.
    fn order_tail(&self, tail: &Self::Tail) -> Ordering;
    /// Makes the tail.
    fn tail(&self) -> Self::Tail;
}

/// What a set keeps of a key beside its head.
pub(super) trait Tail: Send + 'static {
    /// There is nothing: equal heads are equal keys.
    const NONE: bool = false;
    /// Bytes on the heap.
    fn heap(&self) -> usize;
}

impl Tail for () {
    const NONE: bool = true;
    fn heap(&self) -> usize {
        0
    }
}

/// A value that is all head.
pub(super) struct Value<H>(pub(super) H);

impl<H: Copy + Ord + Send + 'static> Look for Value<H> {
    type Head = H;
    type Tail = ();
    #[inline(always)]
    fn head(&self) -> H {
        self.0
    }
    #[inline(always)]
    fn order_tail(&self, _: &()) -> Ordering {
        Ordering::Equal
    }
    #[inline(always)]
    fn tail(&self) {}
}

/// An ordered multiset of keys of head `H` and tail `T`.
pub(super) enum Multiset<H, T> {
    Small(SmallVec<[(H, T, i64); 1]>),
    Large(Box<Blocks<H, T>>),
}

/// Blocks in order, none of them empty.
pub(super) struct Blocks<H, T> {
    /// The first head of each block.
    heads: Vec<H>,
    blocks: Vec<Block<H, T>>,
}

struct Block<H, T> {
    heads: Vec<H>,
    tails: Vec<T>,
    counts: Vec<i64>,
    /// The sum of the counts above zero.
    present: i64,
}

impl<H, T> Default for Multiset<H, T> {
    fn default() -> Self {
        Self::Small(SmallVec::new())
    }
}

fn spilled_bytes<E>(entries: &SmallVec<[E; 1]>) -> usize {
    if entries.spilled() { entries.capacity() * size_of::<E>() } else { 0 }
}

impl<H: Copy + Ord + Send + 'static, T: Tail> Multiset<H, T> {
    /// Adds `diff` to a key's count. `heap` follows the bytes on the heap.
    #[inline]
    pub(super) fn add<Q: Look<Head = H, Tail = T>>(&mut self, key: &Q, diff: i64, heap: &mut usize) {
        match self {
            Self::Small(entries) => {
                let head = key.head();
                let at = entries.binary_search_by(|(own, tail, _)| own.cmp(&head).then_with(|| key.order_tail(tail).reverse()));
                match at {
                    Ok(at) => {
                        entries[at].2 += diff;
                        if entries[at].2 == 0 {
                            let (_, tail, _) = entries.remove(at);
                            *heap -= tail.heap();
                        }
                    }
                    Err(_) if diff == 0 => {}
                    Err(at) => {
                        let tail = key.tail();
                        *heap += tail.heap();
                        let before = spilled_bytes(entries);
                        entries.insert(at, (head, tail, diff));
                        *heap = *heap + spilled_bytes(entries) - before;
                        if entries.len() > SMALL {
                            *heap -= spilled_bytes(entries);
                            let large = Blocks::new(std::mem::take(entries));
                            *heap += large.own_bytes();
                            *self = Self::Large(Box::new(large));
                        }
                    }
                }
            }
            Self::Large(blocks) => {
                if blocks.add(key, diff, heap) {
                    *heap -= blocks.own_bytes();
                    let entries: SmallVec<_> = blocks.blocks.drain(..).flat_map(Block::into_entries).collect();
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
        own + if T::NONE { 0 } else { self.iter().map(|(_, tail, _)| tail.heap()).sum() }
    }

    /// The sum of the counts above zero.
    pub(super) fn present(&self) -> i64 {
        match self {
            Self::Small(entries) => entries.iter().map(|entry| entry.2.max(0)).sum(),
            Self::Large(blocks) => blocks.blocks.iter().map(|block| block.present).sum(),
        }
    }

    /// The least key whose count is above zero.
    pub(super) fn first(&self) -> Option<(H, &T)> {
        self.iter().find(|entry| entry.2 > 0).map(|(head, tail, _)| (head, tail))
    }

    /// The greatest key whose count is above zero.
    pub(super) fn last(&self) -> Option<(H, &T)> {
        self.iter().rfind(|entry| entry.2 > 0).map(|(head, tail, _)| (head, tail))
    }

    /// The key of this rank, counting from zero; `None` beyond the last.
    pub(super) fn nth(&self, mut rank: i64) -> Option<(H, &T)> {
        match self {
            Self::Small(entries) => nth_of(entries.iter().map(|(head, tail, count)| (*head, tail, *count)), rank),
            Self::Large(blocks) => {
                for block in &blocks.blocks {
                    if rank < block.present {
                        return nth_of(block.iter(), rank);
                    }
                    rank -= block.present;
                }
                None
            }
        }
    }

    /// All keys with their counts (never zero), in order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (H, &T, i64)> {
        let (small, large): (&[(H, T, i64)], &[Block<H, T>]) = match self {
            Self::Small(entries) => (entries, &[]),
            Self::Large(blocks) => (&[], &blocks.blocks),
        };
        small.iter().map(|(head, tail, count)| (*head, tail, *count)).chain(large.iter().flat_map(Block::iter))
    }
}

fn nth_of<'a, H, T>(mut entries: impl Iterator<Item = (H, &'a T, i64)>, mut rank: i64) -> Option<(H, &'a T)> {
    let found = entries.find(|(_, _, count)| {
        let found = rank < *count;
        rank -= (*count).max(0);
        found
    });
    found.map(|(head, tail, _)| (head, tail))
}

impl<H: Copy + Ord, T: Tail> Block<H, T> {
    /// The most entries of a block.
    const LIMIT: usize = if 4096 / (size_of::<H>() + size_of::<T>() + 8) < 64 { 64 } else { 4096 / (size_of::<H>() + size_of::<T>() + 8) };

    fn new(entries: impl Iterator<Item = (H, T, i64)>) -> Self {
        let mut block = Self { heads: Vec::new(), tails: Vec::new(), counts: Vec::new(), present: 0 };
        for (head, tail, count) in entries {
            block.heads.push(head);
            block.tails.push(tail);
            block.counts.push(count);
            block.present += count.max(0);
        }
        block
    }

    fn into_entries(self) -> impl Iterator<Item = (H, T, i64)> {
        self.heads.into_iter().zip(self.tails).zip(self.counts).map(|((head, tail), count)| (head, tail, count))
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (H, &T, i64)> {
        self.heads.iter().zip(&self.tails).zip(&self.counts).map(|((head, tail), count)| (*head, tail, *count))
    }

    fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<H>()
            + if T::NONE { 0 } else { self.tails.capacity() * size_of::<T>() }
            + self.counts.capacity() * 8
    }

    #[inline(always)]
    fn search(&self, key: &impl Look<Head = H, Tail = T>) -> Result<usize, usize> {
        let head = key.head();
        let at = self.heads.partition_point(|own| *own < head);
        if self.heads.get(at) != Some(&head) {
            return Err(at);
        }
        if T::NONE {
            return Ok(at);
        }
        let equal = self.heads[at..].partition_point(|own| *own == head);
        match self.tails[at..at + equal].binary_search_by(|tail| key.order_tail(tail).reverse()) {
            Ok(within) => Ok(at + within),
            Err(within) => Err(at + within),
        }
    }

    fn remove(&mut self, at: usize) -> T {
        self.heads.remove(at);
        self.counts.remove(at);
        self.tails.remove(at)
    }
}

impl<H: Copy + Ord, T: Tail> Blocks<H, T> {
    fn new(entries: impl IntoIterator<Item = (H, T, i64)>) -> Self {
        let block = Block::new(entries.into_iter());
        Self { heads: vec![block.heads[0]], blocks: vec![block] }
    }

    /// Bytes but for those of the tails on the heap.
    fn own_bytes(&self) -> usize {
        size_of::<Self>() + self.list_bytes() + self.blocks.iter().map(Block::bytes).sum::<usize>()
    }

    fn list_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<H>() + self.blocks.capacity() * size_of::<Block<H, T>>()
    }

    /// The block where a key stands, or would.
    #[inline(always)]
    fn find(&self, key: &impl Look<Head = H, Tail = T>) -> usize {
        let head = key.head();
        let end = self.heads.partition_point(|own| *own <= head);
        if T::NONE || end == 0 || self.heads[end - 1] != head {
            return end.saturating_sub(1);
        }
        // Blocks that begin with an equal head: their first tails decide.
        let start = self.heads[..end].partition_point(|own| *own < head);
        (start + self.blocks[start..end].partition_point(|block| key.order_tail(&block.tails[0]).is_ge())).saturating_sub(1)
    }

    /// Adds to a count. True if the set has become small.
    fn add(&mut self, key: &impl Look<Head = H, Tail = T>, diff: i64, heap: &mut usize) -> bool {
        let at = self.find(key);
        let block = &mut self.blocks[at];
        match block.search(key) {
            Ok(position) => {
                let count = &mut block.counts[position];
                block.present += (*count + diff).max(0) - (*count).max(0);
                *count += diff;
                if *count != 0 {
                    return false;
                }
                *heap -= block.remove(position).heap();
                if block.heads.is_empty() {
                    *heap -= block.bytes();
                    self.blocks.remove(at);
                    self.heads.remove(at);
                } else {
                    self.heads[at] = block.heads[0];
                    if block.heads.len() < Block::<H, T>::LIMIT / 4 {
                        self.join(at, heap);
                    }
                }
                self.blocks.len() <= 1 && self.blocks.first().is_none_or(|block| block.heads.len() <= SMALL / 2)
            }
            Err(_) if diff == 0 => false,
            Err(position) => {
                let tail = key.tail();
                *heap += tail.heap();
                let before = block.bytes();
                block.present += diff.max(0);
                block.heads.insert(position, key.head());
                block.tails.insert(position, tail);
                block.counts.insert(position, diff);
                *heap = *heap + block.bytes() - before;
                self.heads[at] = block.heads[0];
                if block.heads.len() > Block::<H, T>::LIMIT {
                    self.split(at, heap);
                }
                false
            }
        }
    }

    fn split(&mut self, at: usize, heap: &mut usize) {
        let limit = Block::<H, T>::LIMIT;
        let before = self.list_bytes() + self.blocks[at].bytes();
        // Keys that only rise leave full blocks behind them.
        let middle = if at + 1 == self.blocks.len() { limit - limit / 8 } else { limit / 2 };
        let block = &mut self.blocks[at];
        let mut upper = Block {
            heads: Vec::with_capacity(limit + 1),
            tails: Vec::with_capacity(limit + 1),
            counts: Vec::with_capacity(limit + 1),
            present: 0,
        };
        upper.heads.extend(block.heads.drain(middle..));
        upper.tails.extend(block.tails.drain(middle..));
        upper.counts.extend(block.counts.drain(middle..));
        upper.present = upper.counts.iter().map(|count| (*count).max(0)).sum();
        block.present -= upper.present;
        self.heads.insert(at + 1, upper.heads[0]);
        self.blocks.insert(at + 1, upper);
        *heap = *heap + self.list_bytes() + self.blocks[at].bytes() + self.blocks[at + 1].bytes() - before;
    }

    /// Puts a thin block and its neighbour together, if that leaves room.
    fn join(&mut self, at: usize, heap: &mut usize) {
        let left = if at + 1 < self.blocks.len() { at } else { at.saturating_sub(1) };
        let room = Block::<H, T>::LIMIT / 2;
        if left + 1 >= self.blocks.len() || self.blocks[left].heads.len() + self.blocks[left + 1].heads.len() > room {
            return;
        }
        self.heads.remove(left + 1);
        let right = self.blocks.remove(left + 1);
        let block = &mut self.blocks[left];
        let before = block.bytes() + right.bytes();
        block.present += right.present;
        block.heads.extend(right.heads);
        block.tails.extend(right.tails);
        block.counts.extend(right.counts);
        *heap = *heap + block.bytes() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::super::byte_key::ByteQuery;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(set: &Multiset<i64, ()>, naive: &BTreeMap<i64, i64>, heap: usize) -> Result<(), TestCaseError> {
        let naive: Vec<(i64, i64)> = naive.iter().map(|(&k, &c)| (k, c)).filter(|&(_, c)| c != 0).collect();
        prop_assert_eq!(set.iter().map(|(key, (), count)| (key, count)).collect::<Vec<_>>(), naive.clone());
        let expanded: Vec<i64> = naive.iter().flat_map(|&(k, c)| std::iter::repeat_n(k, c.max(0) as usize)).collect();
        prop_assert_eq!(set.present(), expanded.len() as i64);
        prop_assert_eq!(set.first().map(|(key, ())| key), expanded.first().copied());
        prop_assert_eq!(set.last().map(|(key, ())| key), expanded.last().copied());
        for rank in [0, 1, expanded.len() / 2, expanded.len().saturating_sub(1), expanded.len()] {
            prop_assert_eq!(set.nth(rank as i64).map(|(key, ())| key), expanded.get(rank).copied());
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
            let (mut set, mut naive, mut heap) = (Multiset::<i64, ()>::default(), BTreeMap::new(), 0);
            let steps: Vec<(i64, i64)> = steps.iter().enumerate().map(|(i, &(key, diff))| {
                (if rising { i as i64 / 2 } else { i64::from(key) % span }, diff)
            }).collect();
            for (i, &(key, diff)) in steps.iter().enumerate() {
                set.add(&Value(key), diff, &mut heap);
                *naive.entry(key).or_insert(0) += diff;
                if i % 997 == 0 {
                    check(&set, &naive, heap)?;
                }
            }
            check(&set, &naive, heap)?;
            for &(key, diff) in &steps {
                set.add(&Value(key), -diff, &mut heap);
                *naive.entry(key).or_insert(0) -= diff;
            }
            check(&set, &naive, heap)?;
            set.clear(&mut heap);
            prop_assert_eq!(heap, 0);
        }

        #[test]
        fn byte_strings_with_much_in_common_are_counted(steps in prop::collection::vec((any::<u32>(), -2i64..4, 0usize..3), 1..2000)) {
            // Equal heads in long runs, over block borders.
            let key = |i: u32, long: usize| [&[b'x'; 36][..long * 12], format!("{:03}", i % 700).as_bytes()].concat();
            let (mut set, mut naive, mut heap) = (Multiset::default(), BTreeMap::<Vec<u8>, i64>::new(), 0);
            let back = steps.iter().map(|&(i, diff, long)| (i, -diff, long));
            for (at, (i, diff, long)) in steps.iter().copied().chain(back).enumerate() {
                set.add(&ByteQuery::new(&key(i, long)), diff, &mut heap);
                *naive.entry(key(i, long)).or_insert(0) += diff;
                if at % 499 == 0 || at + 1 == steps.len() {
                    let all: Vec<(Vec<u8>, i64)> = set.iter().map(|(head, tail, count)| {
                        let mut bytes = Vec::new();
                        super::super::byte_key::append(head, tail, &mut bytes);
                        (bytes, count)
                    }).collect();
                    prop_assert_eq!(all, naive.clone().into_iter().filter(|&(_, count)| count != 0).collect::<Vec<_>>());
                    prop_assert_eq!(set.heap(), heap);
                }
            }
            prop_assert!(set.first().is_none() && set.last().is_none());
        }
    }
}
