//! An ordered multiset: keys in order, each with a count that may be negative for a while.
//!
//! A key is a head, which a machine compares at once, and a tail that decides between equal heads (nothing at all for numbers). Keys
//! stand in blocks of about 4 KiB, heads, tails and counts each by themselves, and the blocks are the leaves of a tree whose branches
//! know the first head and the count of what is below: a search reads few cache lines, adding a key moves a short piece of memory,
//! selecting by rank adds up totals on one path; all take time in the logarithm of the keys. A group of few keys is one short vector,
//! the first key in place.

use std::cmp::Ordering;

use smallvec::SmallVec;

/// Keys up to this number stand in one vector.
const SMALL: usize = 16;
/// Nodes below a branch, at most.
const FANOUT: usize = if cfg!(test) { 8 } else { 64 };

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
    Large(Box<Node<H, T>>),
}

/// A part of the keys. Not empty but for the time of one call; all leaves are equally deep.
pub(super) enum Node<H, T> {
    Leaf(Block<H, T>),
    Branch(Branch<H, T>),
}

pub(super) struct Branch<H, T> {
    /// The first head of each node.
    heads: Vec<H>,
    nodes: Vec<Node<H, T>>,
    /// The sum of the counts above zero.
    present: i64,
}

pub(super) struct Block<H, T> {
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
                            let leaf = Node::Leaf(Block::new(std::mem::take(entries).into_iter()));
                            *heap += size_of::<Node<H, T>>() + leaf.own_bytes();
                            *self = Self::Large(Box::new(leaf));
                        }
                    }
                }
            }
            Self::Large(root) => {
                if let Some(upper) = root.add(key, diff, true, heap) {
                    let lower = std::mem::replace(&mut **root, Node::Branch(Branch::default()));
                    let branch = Branch::new(vec![lower, upper]);
                    *heap += branch.list_bytes();
                    **root = Node::Branch(branch);
                }
                while let Node::Branch(branch) = &mut **root
                    && branch.nodes.len() == 1
                    && let Some(only) = branch.nodes.pop()
                {
                    *heap -= branch.list_bytes();
                    **root = only;
                }
                if let Node::Leaf(block) = &mut **root
                    && block.heads.len() <= SMALL / 2
                {
                    *heap -= size_of::<Node<H, T>>() + block.bytes();
                    let entries: SmallVec<_> = std::mem::take(block).into_entries().collect();
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
            Self::Large(root) => {
                let mut bytes = size_of::<Node<H, T>>();
                root.visit(&mut |node| bytes += node.own_bytes());
                bytes
            }
        };
        own + if T::NONE { 0 } else { self.iter().map(|(_, tail, _)| tail.heap()).sum() }
    }

    /// The sum of the counts above zero.
    pub(super) fn present(&self) -> i64 {
        match self {
            Self::Small(entries) => entries.iter().map(|entry| entry.2.max(0)).sum(),
            Self::Large(root) => root.present(),
        }
    }

    /// The least key whose count is above zero.
    pub(super) fn first(&self) -> Option<(H, &T)> {
        self.nth(0)
    }

    /// The greatest key whose count is above zero.
    pub(super) fn last(&self) -> Option<(H, &T)> {
        self.nth(self.present() - 1)
    }

    /// The key of this rank, counting from zero; `None` beyond the last.
    pub(super) fn nth(&self, mut rank: i64) -> Option<(H, &T)> {
        if rank < 0 {
            return None;
        }
        let mut node = match self {
            Self::Small(entries) => return nth_of(entries.iter().map(|(head, tail, count)| (*head, tail, *count)), rank),
            Self::Large(root) => &**root,
        };
        loop {
            match node {
                Node::Leaf(block) => return nth_of(block.iter(), rank),
                Node::Branch(branch) => {
                    node = branch.nodes.iter().find(|node| {
                        let found = rank < node.present();
                        rank -= if found { 0 } else { node.present() };
                        found
                    })?;
                }
            }
        }
    }

    /// All keys with their counts (never zero), in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (H, &T, i64)> {
        let mut blocks = Vec::new();
        let small: &[(H, T, i64)] = match self {
            Self::Small(entries) => entries,
            Self::Large(root) => {
                root.visit(&mut |node| {
                    if let Node::Leaf(block) = node {
                        blocks.push(block);
                    }
                });
                &[]
            }
        };
        small.iter().map(|(head, tail, count)| (*head, tail, *count)).chain(blocks.into_iter().flat_map(Block::iter))
    }
}

impl<H, T> Default for Block<H, T> {
    fn default() -> Self {
        Self { heads: Vec::new(), tails: Vec::new(), counts: Vec::new(), present: 0 }
    }
}

impl<H, T> Default for Branch<H, T> {
    fn default() -> Self {
        Self { heads: Vec::new(), nodes: Vec::new(), present: 0 }
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
        let mut block = Self::default();
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

    fn iter(&self) -> impl Iterator<Item = (H, &T, i64)> {
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

    /// Adds to a count. `last`: no block stands behind this one. What no longer fits comes back as a block to stand behind.
    fn add(&mut self, key: &impl Look<Head = H, Tail = T>, diff: i64, last: bool, heap: &mut usize) -> Option<Self> {
        match self.search(key) {
            Ok(at) => {
                let count = &mut self.counts[at];
                self.present += (*count + diff).max(0) - (*count).max(0);
                *count += diff;
                if *count == 0 {
                    *heap -= self.remove(at).heap();
                }
                None
            }
            Err(_) if diff == 0 => None,
            Err(at) => {
                let tail = key.tail();
                *heap += tail.heap();
                let before = self.bytes();
                self.present += diff.max(0);
                self.heads.insert(at, key.head());
                self.tails.insert(at, tail);
                self.counts.insert(at, diff);
                let upper = (self.heads.len() > Self::LIMIT).then(|| self.split(last));
                *heap = *heap + self.bytes() + upper.as_ref().map_or(0, Self::bytes) - before;
                upper
            }
        }
    }

    fn split(&mut self, last: bool) -> Self {
        let limit = Self::LIMIT;
        // Keys that only rise leave full blocks behind them.
        let middle = if last { limit - limit / 8 } else { limit / 2 };
        let (heads, tails, counts) = (Vec::with_capacity(limit + 1), Vec::with_capacity(limit + 1), Vec::with_capacity(limit + 1));
        let mut upper = Self { heads, tails, counts, present: 0 };
        upper.heads.extend(self.heads.drain(middle..));
        upper.tails.extend(self.tails.drain(middle..));
        upper.counts.extend(self.counts.drain(middle..));
        upper.present = upper.counts.iter().map(|count| (*count).max(0)).sum();
        self.present -= upper.present;
        upper
    }
}

impl<H: Copy + Ord, T: Tail> Node<H, T> {
    fn present(&self) -> i64 {
        match self {
            Self::Leaf(block) => block.present,
            Self::Branch(branch) => branch.present,
        }
    }

    fn first_head(&self) -> H {
        match self {
            Self::Leaf(block) => block.heads[0],
            Self::Branch(branch) => branch.heads[0],
        }
    }

    fn first_tail(&self) -> &T {
        match self {
            Self::Leaf(block) => &block.tails[0],
            Self::Branch(branch) => branch.nodes[0].first_tail(),
        }
    }

    /// How many keys or nodes it holds itself, and how many at most.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Leaf(block) => (block.heads.len(), Block::<H, T>::LIMIT),
            Self::Branch(branch) => (branch.nodes.len(), FANOUT),
        }
    }

    /// Bytes but for those of nodes below and of the tails on the heap.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Leaf(block) => block.bytes(),
            Self::Branch(branch) => branch.list_bytes(),
        }
    }

    /// Calls with this node and those below, in order.
    fn visit<'a>(&'a self, call: &mut impl FnMut(&'a Self)) {
        call(self);
        if let Self::Branch(branch) = self {
            branch.nodes.iter().for_each(|node| node.visit(call));
        }
    }

    /// Adds to a count. What no longer fits comes back as a node to stand behind.
    fn add(&mut self, key: &impl Look<Head = H, Tail = T>, diff: i64, last: bool, heap: &mut usize) -> Option<Self> {
        match self {
            Self::Leaf(block) => block.add(key, diff, last, heap).map(Self::Leaf),
            Self::Branch(branch) => branch.add(key, diff, last, heap).map(Self::Branch),
        }
    }

    /// Appends the keys of the node behind.
    fn extend(&mut self, behind: Self) {
        match (self, behind) {
            (Self::Leaf(block), Self::Leaf(behind)) => {
                block.present += behind.present;
                block.heads.extend(behind.heads);
                block.tails.extend(behind.tails);
                block.counts.extend(behind.counts);
            }
            (Self::Branch(branch), Self::Branch(behind)) => {
                branch.present += behind.present;
                branch.heads.extend(behind.heads);
                branch.nodes.extend(behind.nodes);
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl<H: Copy + Ord, T: Tail> Branch<H, T> {
    fn new(nodes: Vec<Node<H, T>>) -> Self {
        Self { heads: nodes.iter().map(Node::first_head).collect(), present: nodes.iter().map(Node::present).sum(), nodes }
    }

    fn list_bytes(&self) -> usize {
        self.heads.capacity() * size_of::<H>() + self.nodes.capacity() * size_of::<Node<H, T>>()
    }

    /// The node where a key stands, or would.
    #[inline(always)]
    fn find(&self, key: &impl Look<Head = H, Tail = T>) -> usize {
        let head = key.head();
        let end = self.heads.partition_point(|own| *own <= head);
        if T::NONE || end == 0 || self.heads[end - 1] != head {
            return end.saturating_sub(1);
        }
        // Nodes that begin with an equal head: their first tails decide.
        let start = self.heads[..end].partition_point(|own| *own < head);
        (start + self.nodes[start..end].partition_point(|node| key.order_tail(node.first_tail()).is_ge())).saturating_sub(1)
    }

    fn add(&mut self, key: &impl Look<Head = H, Tail = T>, diff: i64, last: bool, heap: &mut usize) -> Option<Self> {
        let at = self.find(key);
        let node = &mut self.nodes[at];
        let before = node.present();
        let upper = node.add(key, diff, last && at + 1 == self.heads.len(), heap);
        self.present += node.present() + upper.as_ref().map_or(0, Node::present) - before;
        let (size, limit) = node.size();
        if size == 0 {
            *heap -= node.own_bytes();
            self.nodes.remove(at);
            self.heads.remove(at);
            return None;
        }
        self.heads[at] = node.first_head();
        if size < limit / 4 {
            self.join(at, heap);
        }
        let upper = upper?;
        let before = self.list_bytes();
        self.heads.insert(at + 1, upper.first_head());
        self.nodes.insert(at + 1, upper);
        let split = (self.nodes.len() > FANOUT).then(|| {
            // As blocks do, see there.
            let middle = if last { FANOUT - FANOUT / 8 } else { FANOUT / 2 };
            self.heads.truncate(middle);
            let upper = Self::new(self.nodes.split_off(middle));
            self.present -= upper.present;
            upper
        });
        *heap = *heap + self.list_bytes() + split.as_ref().map_or(0, Self::list_bytes) - before;
        split
    }

    /// Puts a thin node and its neighbour together, if that leaves room.
    fn join(&mut self, at: usize, heap: &mut usize) {
        let left = if at + 1 < self.nodes.len() { at } else { at.saturating_sub(1) };
        let (size, limit) = self.nodes[left].size();
        if left + 1 >= self.nodes.len() || size + self.nodes[left + 1].size().0 > limit / 2 {
            return;
        }
        self.heads.remove(left + 1);
        let behind = self.nodes.remove(left + 1);
        let node = &mut self.nodes[left];
        let before = node.own_bytes() + behind.own_bytes();
        node.extend(behind);
        *heap = *heap + node.own_bytes() - before;
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

    thread_local! {
        static COMPARISONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// A number that notes how often it is compared.
    #[derive(Clone, Copy, PartialEq, Eq)]
    struct Watched(i64);

    impl PartialOrd for Watched {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Watched {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    /// What a change costs in a group of so many keys: comparisons, and nanoseconds with a look at the middle and both ends.
    fn cost_of_a_change(keys: i64) -> (f64, f64) {
        const CHANGES: i64 = 2000;
        let (mut set, mut heap) = (Multiset::<Watched, ()>::default(), 0);
        // A step without a factor in common meets every key once.
        let key = |i: i64| Watched((i * 7_919) % keys);
        for i in 0..keys {
            set.add(&Value(key(i)), 1, &mut heap);
        }
        COMPARISONS.set(0);
        let start = std::time::Instant::now();
        for i in 0..CHANGES {
            set.add(&Value(key(i)), -1, &mut heap);
            let looks = (set.first().map(|it| it.0.0), set.nth(keys / 2).map(|it| it.0.0), set.last().map(|it| it.0.0));
            std::hint::black_box(looks);
            set.add(&Value(key(i)), 1, &mut heap);
        }
        let spent = start.elapsed().as_nanos() as f64;
        (COMPARISONS.get() as f64 / CHANGES as f64, spent / CHANGES as f64)
    }

    #[test]
    fn ten_times_the_group_does_not_cost_ten_times_as_much() {
        let best = |keys: i64| {
            let runs = (0..5).map(|_| cost_of_a_change(keys));
            runs.reduce(|a, b| (a.0, a.1.min(b.1))).expect("five runs")
        };
        let (small, large) = (best(20_000), best(200_000));
        assert!(large.0 < small.0 * 1.4, "{large:?} for ten times {small:?}");
        // Memory that is farther away may cost some.
        assert!(large.1 < small.1 * 6.0, "{large:?} for ten times {small:?}");
    }
}
