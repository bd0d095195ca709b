//! # Counted tree
//!
//! Numbers of rows in an order that the caller knows, each with a count: a B-tree whose branches know how many rows lie below them. Adding,
//! removing, finding the n-th row and finding how many rows stand before one cost logarithmic time. A small tree is one vector.
//!
//! Counts may be negative for a while, when a retraction comes before what it takes back; such a row counts as none.

use std::cmp::Ordering;

/// Items of a leaf and branches of a node, at most.
const FULL: usize = if cfg!(test) { 6 } else { 64 };

/// A row of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: u32,
    /// How often it is there; never 0.
    pub count: i64,
}

impl Item {
    fn weight(self) -> u64 {
        u64::try_from(self.count).unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Item>),
    Inner(Vec<Branch>),
}

#[derive(Clone, Debug)]
struct Branch {
    node: Box<Node>,
    /// The least row below.
    first: u32,
    items: usize,
    weight: u64,
}

/// A row that is added or taken back, and the rows of the tree.
pub trait Probe {
    /// Where a row of the tree stands to this one.
    fn place(&self, id: u32) -> Ordering;
    /// Numbers this row, which is new.
    fn number(&mut self) -> u32;
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct CountedTree {
    root: Node,
    items: usize,
    weight: u64,
}

/// What became of a row that was added or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, under this number.
    Inserted(u32),
    /// Its count is another.
    Counted(u32),
    /// Its count is 0: it is in the tree no more.
    Removed(u32),
}

impl Default for CountedTree {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), items: 0, weight: 0 }
    }
}

impl CountedTree {
    /// Number of different rows.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Number of rows, each as often as it counts.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Adds to the count of a row.
    pub fn add(&mut self, diff: i64, row: &mut impl Probe) -> Change {
        let (change, split) = self.root.add(diff, row);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            self.root = Node::Inner(vec![Branch::of(left), right]);
        }
        while let Node::Inner(branches) = &mut self.root
            && branches.len() == 1
        {
            self.root = *branches.pop().expect("there is one").node;
        }
        (self.items, self.weight) = self.root.totals();
        change
    }

    /// The last row.
    pub fn last(&self) -> Option<Item> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => return items.last().copied(),
                Node::Inner(branches) => node = &branches.last()?.node,
            }
        }
    }

    /// How many rows stand before those for which `place` is not [`Ordering::Less`].
    pub fn before(&self, place: &impl Fn(u32) -> Ordering) -> u64 {
        let mut node = &self.root;
        let mut sum = 0;
        loop {
            match node {
                Node::Leaf(items) => {
                    return sum + items.iter().take_while(|item| place(item.id).is_lt()).map(|item| item.weight()).sum::<u64>();
                }
                Node::Inner(branches) => {
                    let at = branches.partition_point(|branch| place(branch.first).is_lt()).saturating_sub(1);
                    sum += branches[..at].iter().map(|branch| branch.weight).sum::<u64>();
                    node = &branches[at].node;
                }
            }
        }
    }

    /// The row at a position, counting from 0, each as often as it counts.
    pub fn nth(&self, position: u64) -> Option<u32> {
        let mut found = None;
        self.walk(position, &mut |item, _| {
            found = Some(item.id);
            false
        });
        found
    }

    /// Calls `f` with each row, from the one at position `from` on, and how many rows stand before it, until it returns false. Rows
    /// that count as none are left out.
    pub fn walk(&self, from: u64, f: &mut impl FnMut(Item, u64) -> bool) {
        if from < self.weight {
            self.root.walk(from, 0, f);
        }
    }
}

impl Branch {
    fn of(node: Node) -> Self {
        let (items, weight) = node.totals();
        let first = node.first();
        Self { node: Box::new(node), first, items, weight }
    }

    fn refresh(&mut self) {
        (self.items, self.weight) = self.node.totals();
        if self.items > 0 {
            self.first = self.node.first();
        }
    }
}

impl Node {
    fn totals(&self) -> (usize, u64) {
        match self {
            Self::Leaf(items) => (items.len(), items.iter().map(|item| item.weight()).sum()),
            Self::Inner(branches) => branches.iter().fold((0, 0), |(items, weight), branch| (items + branch.items, weight + branch.weight)),
        }
    }

    fn first(&self) -> u32 {
        match self {
            Self::Leaf(items) => items[0].id,
            Self::Inner(branches) => branches[0].first,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(branches) => branches.len(),
        }
    }

    fn add(&mut self, diff: i64, row: &mut impl Probe) -> (Change, Option<Branch>) {
        match self {
            Self::Leaf(items) => {
                let change = match items.binary_search_by(|item| row.place(item.id)) {
                    Ok(at) => {
                        items[at].count += diff;
                        let id = items[at].id;
                        if items[at].count == 0 {
                            items.remove(at);
                            Change::Removed(id)
                        } else {
                            Change::Counted(id)
                        }
                    }
                    Err(at) => {
                        let id = row.number();
                        items.insert(at, Item { id, count: diff });
                        Change::Inserted(id)
                    }
                };
                let split = (items.len() > FULL).then(|| Branch::of(Self::Leaf(items.split_off(FULL / 2))));
                (change, split)
            }
            Self::Inner(branches) => {
                let at = branches.partition_point(|branch| row.place(branch.first).is_le()).saturating_sub(1);
                let (change, split) = branches[at].node.add(diff, row);
                branches[at].refresh();
                match split {
                    Some(right) => branches.insert(at + 1, right),
                    None if matches!(change, Change::Removed(_)) => Self::join(branches, at),
                    None => {}
                }
                let split = (branches.len() > FULL).then(|| Branch::of(Self::Inner(branches.split_off(FULL / 2))));
                (change, split)
            }
        }
    }

    /// Joins a node that has become small with a neighbour.
    fn join(branches: &mut Vec<Branch>, at: usize) {
        if branches[at].items == 0 {
            branches.remove(at);
            return;
        }
        for left in [at, at.wrapping_sub(1)] {
            if left < branches.len() && left + 1 < branches.len() && branches[left].node.size() + branches[left + 1].node.size() <= FULL / 2
            {
                let right = *branches.remove(left + 1).node;
                match (branches[left].node.as_mut(), right) {
                    (Self::Leaf(items), Self::Leaf(more)) => items.extend(more),
                    (Self::Inner(below), Self::Inner(more)) => below.extend(more),
                    _ => unreachable!("all leaves are equally deep"),
                }
                branches[left].refresh();
                return;
            }
        }
    }

    fn walk(&self, from: u64, mut before: u64, f: &mut impl FnMut(Item, u64) -> bool) -> bool {
        match self {
            Self::Leaf(items) => {
                for item in items {
                    let weight = item.weight();
                    if weight > 0 && before + weight > from && !f(*item, before) {
                        return false;
                    }
                    before += weight;
                }
            }
            Self::Inner(branches) => {
                for branch in branches {
                    if before + branch.weight > from && !branch.node.walk(from, before, f) {
                        return false;
                    }
                    before += branch.weight;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Number(u32);

    impl Probe for Number {
        fn place(&self, id: u32) -> Ordering {
            id.cmp(&self.0)
        }
        fn number(&mut self) -> u32 {
            self.0
        }
    }

    proptest! {
        /// The tree is a sorted map with counts, whatever is added and taken back.
        #[test]
        fn a_tree_is_a_sorted_map(steps in prop::collection::vec((0..60_u32, -2..=2_i64), 0..600), probe in 0..70_u32) {
            let mut tree = CountedTree::default();
            let mut known: BTreeMap<u32, i64> = BTreeMap::new();
            for (key, diff) in steps {
                if diff == 0 {
                    continue;
                }
                let was = known.get(&key).copied().unwrap_or(0);
                let change = tree.add(diff, &mut Number(key));
                let wanted = match (was, was + diff) {
                    (0, _) => Change::Inserted(key),
                    (_, 0) => Change::Removed(key),
                    _ => Change::Counted(key),
                };
                prop_assert_eq!(change, wanted);
                if was + diff == 0 { known.remove(&key); } else { known.insert(key, was + diff); }
                let rows: Vec<u32> = known.iter().flat_map(|(key, count)| std::iter::repeat_n(*key, (*count).max(0) as usize)).collect();
                prop_assert_eq!((tree.len(), tree.weight()), (known.len(), rows.len() as u64));
                prop_assert_eq!(tree.last().map(|item| item.id), known.keys().last().copied());
            }
            let rows: Vec<u32> = known.iter().flat_map(|(key, count)| std::iter::repeat_n(*key, (*count).max(0) as usize)).collect();
            for (at, key) in rows.iter().enumerate() {
                prop_assert_eq!(tree.nth(at as u64), Some(*key));
            }
            prop_assert_eq!(tree.nth(rows.len() as u64), None);
            prop_assert_eq!(tree.before(&|id| id.cmp(&probe)), rows.iter().filter(|key| **key < probe).count() as u64);
            let mut walked = Vec::new();
            tree.walk(3, &mut |item, before| {
                walked.push((item.id, before));
                true
            });
            let mut wanted: Vec<(u32, u64)> = Vec::new();
            let mut before = 0;
            for (key, count) in &known {
                let weight = (*count).max(0) as u64;
                if weight > 0 && before + weight > 3 { wanted.push((*key, before)); }
                before += weight;
            }
            prop_assert_eq!(walked, wanted);
        }
    }
}
