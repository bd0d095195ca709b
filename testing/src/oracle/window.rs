//! Windows, by trying every candidate.

use super::relation::InputRow;

/// The shape of windows, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[n·size, (n+1)·size)`.
    Tumble {
        /// Length.
        size: i64,
    },
    /// `[n·slide, n·slide + size)`.
    Hop {
        /// Length.
        size: i64,
        /// Distance.
        slide: i64,
    },
    /// `[n·size, n·size + m·step)` for `m·step <= size`.
    Cumulate {
        /// Greatest length.
        size: i64,
        /// Growth.
        step: i64,
    },
    /// By activity: see [`super::sessions`].
    Session {
        /// Time without rows.
        gap: i64,
    },
}

/// How a window is written in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))`.
    TableFunction,
    /// `FROM TUMBLE(t, ts, …)`.
    Short,
    /// `FROM t WINDOW TUMBLING(…)`.
    Clause,
    /// `GROUP BY TUMBLE(ts, …)`.
    GroupBy,
}

/// A window assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The shape.
    pub shape: Shape,
    /// Shift of all starts.
    pub offset: i64,
    /// Column of event time in the input.
    pub time: usize,
    /// How it is written.
    pub spelling: Spelling,
}

impl Window {
    /// All windows `[start, end)` that hold a time: every candidate nearby is tried against the definition.
    pub fn assign(&self, time: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        let (stride, lengths): (i64, Vec<i64>) = match self.shape {
            Shape::Tumble { size } => (size, vec![size]),
            Shape::Hop { size, slide } => (slide, vec![size]),
            Shape::Cumulate { size, step } => (size, (1..=size / step).map(|m| m * step).collect()),
            Shape::Session { .. } => panic!("no row knows its session alone"),
        };
        let reach = lengths.iter().max().copied().unwrap_or(0) / stride + 2;
        let near = (time - self.offset) / stride;
        for n in near - reach..=near + reach {
            let start = n * stride + self.offset;
            for length in &lengths {
                if start <= time && time < start + length {
                    windows.push((start, start + length));
                }
            }
        }
        windows
    }

    /// Whether a row misses a window: its partition's watermark had reached the end before the row came.
    pub fn late(end: i64, row: &InputRow) -> bool {
        row.watermark.is_some_and(|watermark| end <= watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_by_hand() {
        let window = |shape, offset| Window { shape, offset, time: 0, spelling: Spelling::Short };
        assert_eq!(window(Shape::Tumble { size: 10 }, 0).assign(10), [(10, 20)]);
        assert_eq!(window(Shape::Tumble { size: 10 }, 0).assign(-1), [(-10, 0)]);
        assert_eq!(window(Shape::Tumble { size: 10 }, 3).assign(2), [(-7, 3)]);
        assert_eq!(window(Shape::Hop { size: 10, slide: 5 }, 0).assign(7), [(0, 10), (5, 15)]);
        assert_eq!(window(Shape::Cumulate { size: 10, step: 5 }, 0).assign(7), [(0, 10)]);
        assert_eq!(window(Shape::Cumulate { size: 10, step: 5 }, 0).assign(4), [(0, 5), (0, 10)]);
    }
}
