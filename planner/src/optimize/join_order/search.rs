//! Which order of joins makes the fewest rows that a join must keep: those of every result that another join reads.
//!
//! Relations are numbered as they are written, and sets of them are bits. Up to [`ALL_MAX`] relations every tree of joins is
//! weighed; of more, the pair with the smallest result is joined until one is left.

use std::collections::BTreeMap;

use super::estimate::Size;

/// Relations of which all orders are weighed.
const ALL_MAX: usize = 10;
/// Rows of a source of unknown size that refers to no other.
const NOMINAL: f64 = 1_000.0;
/// By how much a source of unknown size is larger than those it refers to by their keys.
const REFERRED: f64 = 10.0;
/// Rows for each value of a column of which nothing is known.
const PER_VALUE: f64 = 10.0;

/// A set of relations, as bits.
pub(super) type Set = u64;

/// A tree of joins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Leaf(usize),
    Join(Box<Shape>, Box<Shape>),
}

impl Shape {
    pub(super) fn set(&self) -> Set {
        match self {
            Self::Leaf(leaf) => 1 << leaf,
            Self::Join(left, right) => left.set() | right.set(),
        }
    }

    fn join(left: Self, right: Self) -> Self {
        Self::Join(Box::new(left), Box::new(right))
    }
}

/// Columns of several relations that are equal: the relation of each, and its position if it is a plain column.
#[derive(Clone, Debug, Default)]
pub(super) struct Equal {
    pub(super) members: Vec<(usize, Option<usize>)>,
}

impl Equal {
    fn leaves(&self) -> Set {
        self.members.iter().fold(0, |set, (leaf, _)| set | 1 << leaf)
    }

    /// Whether it is a key of a join between two sets.
    pub(super) fn spans(&self, left: Set, right: Set) -> bool {
        let leaves = self.leaves();
        leaves & left != 0 && leaves & right != 0
    }
}

/// A predicate over several relations that is no equality of columns.
#[derive(Clone, Debug)]
pub(super) struct Other {
    pub(super) leaves: Set,
    /// The relations each side of an equality reads.
    pub(super) sides: Option<(Set, Set)>,
    /// The share of pairs it leaves.
    pub(super) share: f64,
}

impl Other {
    /// Whether it is a key of a join between two sets.
    pub(super) fn spans(&self, left: Set, right: Set) -> bool {
        let within = |part: Set, whole: Set| part & !whole == 0;
        self.sides.is_some_and(|(a, b)| within(a, left) && within(b, right) || within(a, right) && within(b, left))
    }
}

/// What is known of relations that are joined.
pub(super) struct Graph {
    pub(super) sizes: Vec<Size>,
    /// Relations of one row.
    pub(super) single: Set,
    pub(super) equal: Vec<Equal>,
    pub(super) others: Vec<Other>,
    bases: Vec<f64>,
    /// Different values of each class.
    values: Vec<Values>,
}

/// How many different values a class has.
#[derive(Clone, Copy)]
struct Values {
    count: f64,
    /// Nothing says so: it may be far fewer.
    guessed: bool,
}

/// How good an order is: first, how many joins have no key; then the rows that are kept between joins.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Cost {
    pub(super) crosses: u32,
    pub(super) rows: f64,
}

impl Graph {
    pub(super) fn new(sizes: Vec<Size>, single: Set, equal: Vec<Equal>, others: Vec<Other>) -> Self {
        let mut graph = Self { sizes, single, equal, others, bases: vec![], values: vec![] };
        graph.bases = graph.guess_bases();
        graph.values = graph.equal.iter().map(|equal| graph.values_of(equal)).collect();
        graph
    }

    /// Rows of each relation before filters. Of unknown ones, those that refer to others by their key are larger.
    fn guess_bases(&self) -> Vec<f64> {
        let count = self.sizes.len();
        let mut rank = vec![0_u32; count];
        for _ in 0..count {
            for from in 0..count {
                let refers = |to: usize| from != to && self.key_is_met(to, 1 << from) && !self.key_is_met(from, 1 << to);
                let above = (0..count).filter(|to| refers(*to)).map(|to| rank[to] + 1).max();
                rank[from] = rank[from].max(above.unwrap_or(0)).min(6);
            }
        }
        let guess = |(size, rank): (&Size, &u32)| size.base.unwrap_or(NOMINAL * REFERRED.powi(*rank as i32));
        self.sizes.iter().zip(&rank).map(guess).collect()
    }

    /// A key of a relation equals columns of others: each of their rows meets one of its rows at most.
    fn key_is_met(&self, leaf: usize, others: Set) -> bool {
        self.sizes[leaf].unique.iter().any(|key| !key.is_empty() && self.classes_of(leaf, key, others).is_some())
    }

    /// The classes that bind the columns of a key to other relations, if all are bound.
    fn classes_of(&self, leaf: usize, key: &std::collections::BTreeSet<usize>, others: Set) -> Option<Vec<usize>> {
        let class = |column: &usize| {
            let binds = |equal: &Equal| equal.members.contains(&(leaf, Some(*column))) && equal.leaves() & others & !(1 << leaf) != 0;
            self.equal.iter().position(binds)
        };
        key.iter().map(class).collect()
    }

    /// Different values of columns that are equal.
    fn values_of(&self, equal: &Equal) -> Values {
        let known = |(leaf, column): &(usize, Option<usize>)| {
            let column = (*column)?;
            let size = &self.sizes[*leaf];
            size.distinct[column].or_else(|| size.is_unique(column).then(|| self.bases[*leaf]))
        };
        let largest =
            |values: &mut dyn Iterator<Item = f64>| values.fold(None, |most: Option<f64>, it| Some(most.map_or(it, |most| most.max(it))));
        let known = largest(&mut equal.members.iter().filter_map(known));
        let guess = || largest(&mut equal.members.iter().map(|(leaf, _)| self.bases[*leaf])).map_or(1.0, |rows| rows / PER_VALUE);
        let is_told = |(leaf, column): &(usize, Option<usize>)| {
            column.is_some_and(|column| {
                self.sizes[*leaf].distinct[column].is_some() || self.sizes[*leaf].base.is_some() && self.sizes[*leaf].is_unique(column)
            })
        };
        Values { count: known.unwrap_or_else(guess).max(1.0), guessed: !equal.members.iter().any(is_told) }
    }

    /// The values that tell rows of two sets apart. Where many rows of one side may meet many of the other and the number of values is a
    /// guess, the guess is a low one: such a join can be as bad as a cross product.
    fn apart(&self, class: usize, left: Set, right: Set) -> f64 {
        let Values { count, guessed } = self.values[class];
        let repeats = |side: Set| {
            let once = |leaf: usize, column: Option<usize>| column.is_some_and(|column| self.sizes[leaf].is_unique(column));
            self.equal[class].members.iter().any(|(leaf, column)| side >> leaf & 1 == 1 && !once(*leaf, *column))
        };
        if guessed && repeats(left) && repeats(right) { count.sqrt() } else { count }
    }

    /// The share of pairs of two sets that their equal columns leave.
    fn share(&self, left: Set, right: Set) -> f64 {
        let mut open: Vec<usize> = (0..self.equal.len()).filter(|class| self.equal[*class].spans(left, right)).collect();
        let mut share = 1.0;
        // Several columns that are a key together have as many values as there are rows.
        for leaf in 0..self.sizes.len() {
            let others = match (left >> leaf & 1, right >> leaf & 1) {
                (1, _) => right,
                (_, 1) => left,
                _ => continue,
            };
            for key in self.sizes[leaf].unique.iter().filter(|key| key.len() > 1) {
                let Some(classes) = self.classes_of(leaf, key, others) else { continue };
                if classes.iter().all(|class| open.contains(class)) {
                    let apart: f64 = classes.iter().map(|class| self.values[*class].count).product();
                    share /= apart.min(self.bases[leaf].max(1.0));
                    open.retain(|class| !classes.contains(class));
                }
            }
        }
        open.into_iter().fold(share, |share, class| share / self.apart(class, left, right))
    }

    /// Rows of the join of a set, whatever the order.
    fn rows(&self, set: Set) -> f64 {
        let mut rows = 1.0;
        let mut joined: Set = 0;
        for leaf in (0..self.sizes.len()).filter(|leaf| set >> leaf & 1 == 1) {
            rows *= self.bases[leaf] * self.sizes[leaf].share * self.share(joined, 1 << leaf);
            joined |= 1 << leaf;
        }
        self.others.iter().filter(|other| other.leaves & !set == 0).fold(rows, |rows, other| rows * other.share)
    }

    fn has_key(&self, left: Set, right: Set) -> bool {
        let single = |set: Set| set & !self.single == 0;
        single(left)
            || single(right)
            || self.equal.iter().any(|equal| equal.spans(left, right))
            || self.others.iter().any(|other| other.spans(left, right))
    }

    fn all(&self) -> Set {
        (1 << self.sizes.len()) - 1
    }

    /// What a tree of joins costs.
    pub(super) fn cost(&self, shape: &Shape) -> Cost {
        let Shape::Join(left, right) = shape else { return Cost { crosses: 0, rows: 0.0 } };
        let (of_left, of_right) = (self.cost(left), self.cost(right));
        self.combined(of_left, of_right, left.set(), right.set(), self.rows(shape.set()))
    }

    fn combined(&self, of_left: Cost, of_right: Cost, left: Set, right: Set, rows: f64) -> Cost {
        let crosses = of_left.crosses + of_right.crosses + u32::from(!self.has_key(left, right));
        // The last result is read by no other join.
        let kept = if left | right == self.all() { 0.0 } else { rows };
        Cost { crosses, rows: of_left.rows + of_right.rows + kept }
    }

    /// The best tree of joins.
    pub(super) fn best(&self) -> Shape {
        if self.sizes.len() > ALL_MAX { self.one_by_one() } else { self.all_orders() }
    }

    fn all_orders(&self) -> Shape {
        let mut best: BTreeMap<Set, (Cost, Shape)> = BTreeMap::new();
        for leaf in 0..self.sizes.len() {
            best.insert(1 << leaf, (Cost { crosses: 0, rows: 0.0 }, Shape::Leaf(leaf)));
        }
        for set in 1..=self.all() {
            if best.contains_key(&set) {
                continue;
            }
            let (first, rows) = (set & set.wrapping_neg(), self.rows(set));
            let mut found: Option<(Cost, Set)> = None;
            // Every part with the first relation, from the largest: the order as it is written comes early.
            let mut left = (set - 1) & set;
            while left != 0 {
                if left & first != 0 {
                    let right = set & !left;
                    let cost = self.combined(best[&left].0, best[&right].0, left, right, rows);
                    if found.is_none_or(|(least, _)| cost < least) {
                        found = Some((cost, left));
                    }
                }
                left = (left - 1) & set;
            }
            if let Some((cost, left)) = found {
                let shape = Shape::join(best[&left].1.clone(), best[&(set & !left)].1.clone());
                best.insert(set, (cost, shape));
            }
        }
        best.remove(&self.all()).map_or(Shape::Leaf(0), |(_, shape)| shape)
    }

    fn one_by_one(&self) -> Shape {
        let mut parts: Vec<Shape> = (0..self.sizes.len()).map(Shape::Leaf).collect();
        while parts.len() > 1 {
            let mut found: Option<(Cost, usize, usize)> = None;
            for right in 1..parts.len() {
                for left in 0..right {
                    let (a, b) = (parts[left].set(), parts[right].set());
                    let cost = Cost { crosses: u32::from(!self.has_key(a, b)), rows: self.rows(a | b) };
                    if found.is_none_or(|(least, ..)| cost < least) {
                        found = Some((cost, left, right));
                    }
                }
            }
            let Some((_, left, right)) = found else { break };
            let other = parts.remove(right);
            let part = std::mem::replace(&mut parts[left], Shape::Leaf(0));
            parts[left] = Shape::join(part, other);
        }
        parts.swap_remove(0)
    }
}
