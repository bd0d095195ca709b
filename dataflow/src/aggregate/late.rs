//! # Late rows
//!
//! What is known of the rows that met a closed window: how many had which fate, and how late they were. A row counts once for each
//! window it meets. **How late** is how far its watermark had passed the window's end: an allowed lateness above that would have kept the
//! window for it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{Int64Type, UInt32Type};

use super::admit::Fate;
use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::panes::Panes;
use crate::batch::{Origin, record_batch};
use crate::places::Places;

/// Upper bounds of the classes of lateness, exclusive, in microseconds; one class more lies above them.
pub const LATENESS_BOUNDS_US: [i64; 8] = [
    1_000,         // 1 ms
    10_000,        // 10 ms
    100_000,       // 100 ms
    1_000_000,     // 1 s
    10_000_000,    // 10 s
    60_000_000,    // 1 min
    600_000_000,   // 10 min
    3_600_000_000, // 1 h
];

/// Rows that met a closed window, once for each such window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateRows {
    /// The window was kept and counts the row.
    pub corrected: u64,
    /// Dropped.
    pub dropped: u64,
    /// Became dead letters.
    pub dead_lettered: u64,
    /// Rows that count in the earliest open window in place of their own. Once for each row.
    pub moved: u64,
    /// The sum of how late they were, in microseconds.
    pub sum_us: u128,
    /// The latest, in microseconds.
    pub max_us: i64,
    /// How many were as late as each class of [`LATENESS_BOUNDS_US`].
    pub classes: [u64; LATENESS_BOUNDS_US.len() + 1],
}

impl LateRows {
    /// Rows dropped, of which it is not known how late they were.
    pub fn dropped(rows: u64) -> Self {
        Self { dropped: rows, ..Self::default() }
    }

    /// Counts a row that met a closed window.
    pub fn note(&mut self, fate: Fate, late_us: i64) {
        match fate {
            Fate::Counts => return,
            Fate::Corrects => self.corrected += 1,
            Fate::Dropped => self.dropped += 1,
            Fate::DeadLetter => self.dead_lettered += 1,
            Fate::Moves => self.moved += 1,
        }
        let late_us = late_us.max(0);
        self.sum_us += late_us.unsigned_abs() as u128;
        self.max_us = self.max_us.max(late_us);
        self.classes[LATENESS_BOUNDS_US.partition_point(|bound| *bound <= late_us)] += 1;
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.corrected += other.corrected;
        self.dropped += other.dropped;
        self.dead_lettered += other.dead_lettered;
        self.moved += other.moved;
        self.sum_us += other.sum_us;
        self.max_us = self.max_us.max(other.max_us);
        self.classes.iter_mut().zip(other.classes).for_each(|(own, other)| *own += other);
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.corrected + self.dropped + self.dead_lettered + self.moved
    }
}

/// Where a batch of rows was read.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Source, partition, and the offset of the first row of the chunk.
    pub origin: Origin,
    /// The offset of each row, where it is known.
    pub places: Places,
}

impl Place {
    /// Source, partition and offset of some rows, as columns.
    pub(super) fn columns(&self, rows: &[u32]) -> [ArrayRef; 3] {
        let offset = |row: &u32| i64::try_from(self.places.get(*row as usize).unwrap_or(self.origin.offset)).unwrap_or(i64::MAX);
        [
            Arc::new(UInt32Array::from_value(self.origin.source, rows.len())),
            Arc::new(UInt32Array::from_value(self.origin.partition, rows.len())),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(offset))),
        ]
    }
}

/// Rows that no session holds, with all that is known of them.
#[derive(Clone, Debug)]
pub struct Homeless {
    /// The rows as the aggregate read them.
    pub rows: RecordBatch,
    /// Source and partition of each.
    pub read: Vec<(u32, u32)>,
    /// The offset of each.
    pub offsets: Vec<i64>,
    /// The session that each would have made alone.
    pub windows: Vec<(i64, i64)>,
    /// The watermark of each.
    pub watermarks: Vec<i64>,
}

impl Homeless {
    /// Reads what travelled with rows: behind the payload and when they came, their place and their columns.
    pub(super) fn of(layout: &AggregateLayout, batch: &KeyedBatch) -> Self {
        let Payload::Raw { columns, .. } = &batch.payload else { panic!("rows of sessions travel as they are") };
        let [came, source, partition, offset, rows @ ..] = &columns[layout.payload_exprs.len()..] else {
            panic!("rows that may be too late travel with their place");
        };
        let gap = layout.session_gap().expect("the windows are sessions");
        let lateness = layout.session_lateness();
        let times = batch.panes.as_deref().expect("rows of sessions have times");
        let parts = source.as_primitive::<UInt32Type>().values().iter().zip(partition.as_primitive::<UInt32Type>().values());
        Self {
            rows: record_batch(&layout.input, rows.to_vec(), batch.len()),
            read: parts.map(|(source, partition)| (*source, *partition)).collect(),
            offsets: offset.as_primitive::<Int64Type>().values().to_vec(),
            windows: times.iter().map(|time| (*time, time + gap)).collect(),
            watermarks: came.as_primitive::<Int64Type>().values().iter().map(|came| came.saturating_add(lateness)).collect(),
        }
    }
}

/// A row that a closed window refused and that becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The row in its batch.
    pub row: usize,
    /// The window's exclusive end.
    pub window_end: i64,
    /// The row's watermark.
    pub watermark: i64,
}

/// The end of the earliest window that is open at a watermark: what a row that is too late moves into. It lies in the window only, or, where
/// windows grow, in all that are left of that cumulation. `None` where no such window can be written.
pub fn earliest_open(panes: Panes, watermark: i64) -> Option<i64> {
    (panes.unit() > 0 && panes.in_range(watermark)).then(|| panes.pane(watermark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_planner::plan::WindowKind;

    #[test]
    fn classes_are_exclusive_above() {
        let mut late = LateRows::default();
        late.note(Fate::Dropped, 0);
        late.note(Fate::Corrects, 999);
        late.note(Fate::DeadLetter, 1_000);
        late.note(Fate::Moves, 3_600_000_000);
        late.note(Fate::Counts, 5);
        assert_eq!(late.classes, [2, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((late.total(), late.max_us, late.sum_us), (4, 3_600_000_000, 3_600_001_999));
        let mut twice = late;
        twice.add(&late);
        assert_eq!((twice.total(), twice.classes[0]), (8, 4));
    }

    #[test]
    fn the_earliest_open_window_ends_first_above_the_watermark() {
        let tumble = Panes::new(WindowKind::Tumble { size_us: 10 }, 0);
        assert_eq!(earliest_open(tumble, 9), Some(10));
        assert_eq!(earliest_open(tumble, 10), Some(20));
        assert_eq!(earliest_open(Panes::new(WindowKind::Hop { size_us: 10, slide_us: 5 }, 0), 12), Some(15));
        assert_eq!(earliest_open(tumble, i64::MAX - 1), None);
        assert_eq!(earliest_open(Panes::new(WindowKind::Attached, 0), 12), None);
    }
}
