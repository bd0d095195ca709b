//! # Late rows
//!
//! What is known of the rows that met a closed window: how many had which fate, and how late they were. A row counts once for each
//! window it meets. **How late** is how far its watermark had passed the window's end: an allowed lateness above that would have kept the
//! window for it.

use super::admit::Fate;
use super::panes::Panes;

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
