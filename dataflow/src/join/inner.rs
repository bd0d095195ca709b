//! # Inner join
//!
//! Joins fresh batches of one side with all batches of the other, two at a time, walking both in key order with jumps on either
//! side: what a fresh batch costs depends on its size, not on that of the state. Output comes in batches of bounded size, also
//! from the middle of a key, so that a hot key delays nobody.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use differential_dataflow::operators::join::{Fresh, JoinTactic};
use differential_dataflow::trace::wrappers::enter::BatchEnter;

use super::output::{JoinShape, Joined};
use super::pairs::Pairs;
use crate::arrange::{Reader, RowTime, RowsBatch, SeenAs, Stretch, has_null};
use crate::epoch::Epoch;
use crate::recursion::LoopTime;

/// Pairs in an output batch, at most. Tests have small ones, so that a key gives several.
const PAIRS: usize = if cfg!(test) { 5 } else { 8192 };

/// The tactic.
pub(super) struct Inner {
    shape: Arc<JoinShape>,
}

impl Inner {
    pub(super) fn new(shape: Arc<JoinShape>) -> Self {
        Self { shape }
    }
}

/// A batch that can be joined in a scope: one of its own, or one of the scope around it.
pub(crate) trait Joinable<T>: 'static {
    /// The times of the rows.
    type Time: SeenAs<T>;
    /// A reader of the rows.
    fn reader(&self) -> Reader<Self::Time>;
}

impl<T: RowTime> Joinable<T> for RowsBatch<T> {
    type Time = T;

    fn reader(&self) -> Reader<T> {
        Reader::new(self.clone())
    }
}

impl Joinable<LoopTime> for BatchEnter<RowsBatch<Epoch>, LoopTime> {
    type Time = Epoch;

    fn reader(&self) -> Reader<Epoch> {
        Reader::new(self.inner().clone())
    }
}

impl<T: RowTime, L: Joinable<T>, R: Joinable<T>> JoinTactic<T, L, R, Joined<T>> for Inner {
    fn prep(&mut self, left: Vec<L>, right: Vec<R>, _fresh: Fresh, _meet: T) -> Box<dyn Iterator<Item = Joined<T>>> {
        let mut open = VecDeque::new();
        for left in &left {
            open.extend(right.iter().map(|right| (left.reader(), right.reader())));
        }
        Box::new(Work { shape: Arc::clone(&self.shape), open, key: KeyWork::default() })
    }
}

/// What is left to do for some batches.
struct Work<T, L: RowTime, R: RowTime> {
    shape: Arc<JoinShape>,
    open: VecDeque<(Reader<L>, Reader<R>)>,
    key: KeyWork<T, L, R>,
}

impl<T: RowTime, L: SeenAs<T>, R: SeenAs<T>> Iterator for Work<T, L, R> {
    type Item = Joined<T>;

    fn next(&mut self) -> Option<Joined<T>> {
        let mut pairs = Pairs::new();
        self.key.resume();
        loop {
            self.key.fill(&mut pairs);
            if pairs.len() >= PAIRS {
                break;
            }
            let Some((left, right)) = self.open.front_mut() else { break };
            if !meet(left, right) {
                self.open.pop_front();
                continue;
            }
            if !self.shape.null_equals_null && left.key().is_some_and(|(hash, _)| has_null(hash)) {
                left.skip();
                right.skip();
                continue;
            }
            self.key.start(left, right);
        }
        (pairs.len() > 0).then(|| pairs.finish(&self.shape))
    }
}

/// Moves both to the next key they have in common.
pub(super) fn meet<L: RowTime, R: RowTime>(left: &mut Reader<L>, right: &mut Reader<R>) -> bool {
    loop {
        let (Some(ours), Some(theirs)) = (left.key(), right.key()) else { return false };
        match ours.cmp(&theirs) {
            Ordering::Less => left.seek(theirs),
            Ordering::Greater => right.seek(ours),
            Ordering::Equal => return true,
        }
    }
}

/// The pairs of one key that have not come out.
struct KeyWork<T, L, R> {
    left: Vec<Stretch<L>>,
    right: Vec<Stretch<R>>,
    seen: PhantomData<T>,
    /// Rows of either side, by stretch.
    left_rows: Vec<(u32, u32)>,
    right_rows: Vec<(u32, u32)>,
    /// The next pair.
    next: (usize, usize),
    /// Where right rows stand in the present output batch, [`NOWHERE`] if they are not in it.
    right_slots: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl<T, L, R> Default for KeyWork<T, L, R> {
    fn default() -> Self {
        Self {
            left: Vec::new(),
            right: Vec::new(),
            seen: PhantomData,
            left_rows: Vec::new(),
            right_rows: Vec::new(),
            next: (0, 0),
            right_slots: Vec::new(),
        }
    }
}

impl<T: RowTime, L: SeenAs<T>, R: SeenAs<T>> KeyWork<T, L, R> {
    fn start(&mut self, left: &mut Reader<L>, right: &mut Reader<R>) {
        self.left.clear();
        self.right.clear();
        left.take(&mut self.left);
        right.take(&mut self.right);
        list_rows(&self.left, &mut self.left_rows);
        list_rows(&self.right, &mut self.right_rows);
        self.next = (0, 0);
        self.resume();
    }

    /// A new output batch begins.
    fn resume(&mut self) {
        self.right_slots.clear();
        // More rows than fit an output batch do not repeat within one.
        if self.right_rows.len() < PAIRS {
            self.right_slots.resize(self.right_rows.len(), NOWHERE);
        }
    }

    fn fill(&mut self, pairs: &mut Pairs<T, L, R>) {
        while let Some((stretch, row)) = self.left_rows.get(self.next.0) {
            let left = &self.left[*stretch as usize];
            let left_row = *row as usize;
            let (time, diff) = (left.chunk.time(left_row).seen(), left.chunk.rows.diff(left_row));
            let mut left_slot = None;
            while let Some((stretch, row)) = self.right_rows.get(self.next.1) {
                if pairs.len() >= PAIRS {
                    return;
                }
                let right = &self.right[*stretch as usize];
                let right_row = *row as usize;
                let right_slot = match self.right_slots.get_mut(self.next.1) {
                    Some(slot) if *slot == NOWHERE => {
                        *slot = pairs.right.add(right, right_row);
                        *slot
                    }
                    Some(slot) => *slot,
                    None => pairs.right.add(right, right_row),
                };
                let left_slot = *left_slot.get_or_insert_with(|| pairs.left.add(left, left_row));
                let time = time.join(&right.chunk.time(right_row).seen());
                pairs.push(left_slot, right_slot, time, diff * right.chunk.rows.diff(right_row));
                self.next.1 += 1;
            }
            self.next = (self.next.0 + 1, 0);
        }
    }
}

/// The rows of a key, by stretch.
fn list_rows<T>(stretches: &[Stretch<T>], rows: &mut Vec<(u32, u32)>) {
    rows.clear();
    for (position, stretch) in (0..).zip(stretches) {
        rows.extend(stretch.rows.clone().map(|row| (position, row as u32)));
    }
}
