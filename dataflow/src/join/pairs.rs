//! # Pairs
//!
//! Matching rows of two sides, gathered for one output batch: places of rows, each once, and which of them make up each pair.

use std::rc::Rc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;

use crate::arrange::{ArrangeLayout, Column, RowChunk, RowTime, Stretch};

/// Rows of one side.
pub(super) struct Side<T> {
    chunks: Vec<RowChunk<T>>,
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    chunk: u32,
    key: u32,
    row: u32,
}

impl<T> Default for Side<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), places: Vec::new() }
    }
}

impl<T: RowTime> Side<T> {
    /// Adds a row and returns its place among the rows.
    pub(super) fn add(&mut self, stretch: &Stretch<T>, row: usize) -> u32 {
        if self.chunks.last().is_none_or(|last| !Rc::ptr_eq(&last.rows, &stretch.chunk.rows)) {
            self.chunks.push(stretch.chunk.clone());
        }
        let chunk = self.chunks.len() as u32 - 1;
        self.places.push(Place { chunk, key: stretch.key as u32, row: row as u32 });
        self.places.len() as u32 - 1
    }

    /// The columns of the rows. `wanted` says which; the others are null.
    pub(super) fn columns(&self, layout: &ArrangeLayout, wanted: impl Fn(usize) -> bool) -> Vec<ArrayRef> {
        let rows = |place: &Place| &self.chunks[place.chunk as usize].rows;
        let keys = self.places.iter().map(|place| rows(place).key(place.key as usize).1);
        let values = self.places.iter().map(|place| rows(place).value(place.row as usize));
        layout.decode(keys, values, self.places.len(), wanted)
    }
}

/// Pairs of rows, whose sides may have times of other scopes.
pub(super) struct Pairs<T, L = T, R = T> {
    pub(super) left: Side<L>,
    pub(super) right: Side<R>,
    pub(super) left_index: Vec<u32>,
    pub(super) right_index: Vec<u32>,
    pub(super) times: Column<T>,
    pub(super) diffs: Column<i64>,
}

impl<T: RowTime, L: RowTime, R: RowTime> Pairs<T, L, R> {
    pub(super) fn new() -> Self {
        Self {
            left: Side::default(),
            right: Side::default(),
            left_index: Vec::new(),
            right_index: Vec::new(),
            times: Column::default(),
            diffs: Column::default(),
        }
    }

    /// Number of pairs.
    pub(super) fn len(&self) -> usize {
        self.left_index.len()
    }

    #[inline]
    pub(super) fn push(&mut self, left: u32, right: u32, time: T, diff: i64) {
        self.left_index.push(left);
        self.right_index.push(right);
        self.times.push(time);
        self.diffs.push(diff);
    }
}

/// A column of rows, as pairs have it.
pub(super) fn spread(column: &ArrayRef, index: &[u32]) -> ArrayRef {
    let same = index.len() == column.len() && index.iter().enumerate().all(|(place, row)| place == *row as usize);
    if same { column.clone() } else { take(column, &UInt32Array::from(index.to_vec()), None).expect("rows lie within the side") }
}
