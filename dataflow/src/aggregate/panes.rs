//! # Panes: the arithmetic of windows
//!
//! A pane is a stretch of event time that no window cuts: a tumbling window itself, the slide of a hopping one, the step of a
//! cumulating one. Rows are kept once per pane, and windows are put together from panes. **Panes and windows are both named by
//! their exclusive end** in microseconds: a window's end is the end of its last pane, and it is unique among the windows of an
//! operator for every shape. An attached window is its own pane. A session is no sum of panes: its rows are named by their times. To windows
//! of so many rows the number of a row is its time.

use tidemark_planner::plan::{WindowColumn, WindowKind};

/// The windows of an operator as arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panes {
    kind: WindowKind,
    offset: i64,
    /// Length of a pane; 0 for attached windows and sessions.
    unit: i64,
    /// Greatest length of a window, the gap of sessions; 0 for attached windows.
    size: i64,
    /// `2^64 / unit` rounded down: a division by it is off by at most one.
    reciprocal: u64,
}

/// The panes of a batch of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The end of each row's pane.
    pub panes: Vec<i64>,
    /// The least of them.
    pub least: i64,
    /// The greatest of them.
    pub greatest: i64,
}

impl Panes {
    /// The windows of a plan.
    ///
    /// # Panics
    /// If sizes are not positive or do not divide: the planner rejects such statements.
    pub fn new(kind: WindowKind, offset_us: i64) -> Self {
        let (unit, size) = match kind {
            WindowKind::Tumble { size_us } => (size_us, size_us),
            WindowKind::Hop { size_us, slide_us } => (slide_us, size_us),
            WindowKind::Cumulate { size_us, step_us } => (step_us, size_us),
            WindowKind::Session { gap_us } => (0, gap_us),
            WindowKind::Rows { size, slide } => (slide, size),
            WindowKind::Attached => (0, 0),
        };
        if unit != 0 {
            assert!(unit > 0 && size % unit == 0, "a window's size is a positive multiple of its step");
        }
        let reciprocal = if unit > 1 { u64::MAX / unit as u64 } else { 0 };
        Self { kind, offset: offset_us, unit, size, reciprocal }
    }

    /// The shape.
    pub fn kind(&self) -> WindowKind {
        self.kind
    }

    /// Panes of the longest window.
    pub fn panes_per_window(&self) -> i64 {
        if self.unit == 0 { 1 } else { self.size / self.unit }
    }

    /// Whether the windows of a time can be written as microseconds in 64 bits.
    pub fn in_range(&self, time: i64) -> bool {
        let margin = self.size.saturating_mul(2).saturating_add(self.offset.saturating_abs());
        time.checked_sub(margin).is_some() && time.checked_add(margin).is_some()
    }

    /// The end of the pane of a time; for attached windows and sessions, the time itself.
    pub fn pane(&self, time: i64) -> i64 {
        if self.unit == 0 {
            return time;
        }
        let shifted = time - self.offset;
        shifted.div_euclid(self.unit) * self.unit + self.unit + self.offset
    }

    /// The panes of many times, all in range (see [`Panes::in_range`]).
    ///
    /// Times of a batch are close together: the division is by multiplication with the pane of the least time as origin, and a
    /// batch within one pane divides once.
    pub fn assign(&self, times: &[i64]) -> Assigned {
        let (Some(first), Some(last)) = (times.iter().copied().min(), times.iter().copied().max()) else {
            return Assigned { panes: Vec::new(), least: i64::MAX, greatest: i64::MIN };
        };
        if self.unit == 0 {
            return Assigned { panes: times.to_vec(), least: first, greatest: last };
        }
        let (least, greatest) = (self.pane(first), self.pane(last));
        let panes = if least == greatest {
            vec![least; times.len()]
        } else if greatest.wrapping_sub(least) == self.unit {
            // Two panes: a row lies in the second iff it is not before the end of the first.
            times.iter().map(|time| if *time < least { least } else { greatest }).collect()
        } else {
            let (origin, unit, reciprocal) = (least - self.unit, self.unit as u64, self.reciprocal);
            if reciprocal == 0 {
                times.iter().map(|time| time + 1).collect()
            } else {
                times
                    .iter()
                    .map(|time| {
                        let distance = time.wrapping_sub(origin) as u64;
                        let mut quotient = ((distance as u128 * reciprocal as u128) >> 64) as u64;
                        // The reciprocal is rounded down, so the quotient may be short.
                        let rest = distance - quotient * unit;
                        quotient += u64::from(rest >= unit) + u64::from(rest >= 2 * unit);
                        origin.wrapping_add((quotient * unit) as i64).wrapping_add(self.unit)
                    })
                    .collect()
            }
        };
        Assigned { panes, least, greatest }
    }

    /// The end of the last window that holds a pane.
    pub fn last_window(&self, pane: i64) -> i64 {
        match self.kind {
            WindowKind::Tumble { .. } | WindowKind::Session { .. } | WindowKind::Attached => pane,
            WindowKind::Hop { size_us: size, slide_us: slide } | WindowKind::Rows { size, slide } => pane + (size - slide),
            WindowKind::Cumulate { size_us, .. } => self.cumulate_start(pane) + size_us,
        }
    }

    /// The ends of the windows that hold a pane, ascending.
    pub fn windows(&self, pane: i64) -> impl Iterator<Item = i64> + use<> {
        let (last, step) = (self.last_window(pane), self.unit.max(1));
        std::iter::successors(Some(pane), move |end| (*end < last).then(|| end + step))
    }

    /// How many windows hold a pane.
    pub fn window_count(&self, pane: i64) -> u64 {
        if self.unit == 0 { 1 } else { ((self.last_window(pane) - pane) / self.unit) as u64 + 1 }
    }

    /// The end of the first pane of the window with an end.
    pub fn first_pane(&self, end: i64) -> i64 {
        match self.kind {
            WindowKind::Tumble { .. } | WindowKind::Session { .. } | WindowKind::Attached => end,
            WindowKind::Hop { size_us: size, slide_us: slide } | WindowKind::Rows { size, slide } => end - size + slide,
            WindowKind::Cumulate { step_us, .. } => self.cumulate_start(end) + step_us,
        }
    }

    /// The distance from one pane's end to the next; 0 for attached windows, which have none.
    pub fn unit(&self) -> i64 {
        self.unit
    }

    /// Whether a time is a whole number of lengths from the offset.
    pub fn aligned(&self, time: i64, length: i64) -> bool {
        (time - self.offset).rem_euclid(length) == 0
    }

    /// The end of the stretch of some length, a whole number of panes, that a pane lies in.
    pub fn block(&self, pane: i64, length: i64) -> i64 {
        pane + (self.offset - pane).rem_euclid(length)
    }

    /// A column of the window with an end. For attached windows the start is not known here and is not asked for.
    pub fn column(&self, column: WindowColumn, end: i64) -> i64 {
        match column {
            WindowColumn::End => end,
            WindowColumn::Time => end.saturating_sub(1),
            WindowColumn::Start => match self.kind {
                WindowKind::Tumble { size_us: size } | WindowKind::Hop { size_us: size, .. } | WindowKind::Rows { size, .. } => end - size,
                WindowKind::Cumulate { .. } => self.cumulate_start(end),
                WindowKind::Session { .. } => panic!("a session starts where its first row is"),
                WindowKind::Attached => panic!("the start of an attached window is a key of its own"),
            },
        }
    }

    /// Where the cumulation that a window or pane belongs to begins.
    fn cumulate_start(&self, end: i64) -> i64 {
        (end - 1 - self.offset).div_euclid(self.size) * self.size + self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = WindowKind> {
        prop_oneof![
            (1..50i64).prop_map(|size_us| WindowKind::Tumble { size_us }),
            (1..20i64, 1..6i64).prop_map(|(slide_us, n)| WindowKind::Hop { size_us: slide_us * n, slide_us }),
            (1..20i64, 1..6i64).prop_map(|(step_us, n)| WindowKind::Cumulate { size_us: step_us * n, step_us }),
        ]
    }

    /// All windows that hold a time, by trying every start near it.
    fn by_search(kind: WindowKind, offset: i64, time: i64) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        for start in time - 400..=time {
            match kind {
                WindowKind::Tumble { size_us } if (start - offset) % size_us == 0 => found.push((start, start + size_us)),
                WindowKind::Hop { size_us, slide_us } if (start - offset) % slide_us == 0 => found.push((start, start + size_us)),
                WindowKind::Cumulate { size_us, step_us } if (start - offset) % size_us == 0 => {
                    for steps in 1..=size_us / step_us {
                        found.push((start, start + steps * step_us));
                    }
                }
                _ => {}
            }
        }
        found.retain(|(start, end)| (*start..*end).contains(&time));
        found.sort_by_key(|(_, end)| *end);
        found
    }

    proptest! {
        #[test]
        fn panes_and_windows_are_those_of_a_search(
            kind in kinds(), offset in 0..7i64, times in prop::collection::vec(-300..300i64, 1..40), spread in 1..4i64,
        ) {
            let panes = Panes::new(kind, offset);
            let times: Vec<i64> = times.iter().map(|time| time / (spread * spread)).collect();
            let assigned = panes.assign(&times);
            prop_assert_eq!(assigned.least, *assigned.panes.iter().min().unwrap());
            prop_assert_eq!(assigned.greatest, *assigned.panes.iter().max().unwrap());
            for (time, pane) in times.iter().zip(&assigned.panes) {
                prop_assert_eq!(*pane, panes.pane(*time));
                let expected = by_search(kind, offset, *time);
                let ends: Vec<i64> = panes.windows(*pane).collect();
                prop_assert_eq!(&ends, &expected.iter().map(|(_, end)| *end).collect::<Vec<_>>());
                prop_assert_eq!(panes.window_count(*pane), ends.len() as u64);
                prop_assert_eq!(panes.last_window(*pane), *ends.last().unwrap());
                for (start, end) in expected {
                    prop_assert_eq!(panes.column(WindowColumn::Start, end), start);
                    prop_assert!(panes.first_pane(end) <= *pane && *pane <= end);
                    prop_assert!(panes.first_pane(end) - panes.unit() == start);
                }
            }
        }

        #[test]
        fn far_apart_times_divide_exactly(unit in 1..i64::from(u32::MAX), times in prop::collection::vec(-(1i64 << 60)..1i64 << 60, 1..9)) {
            let panes = Panes::new(WindowKind::Tumble { size_us: unit }, 0);
            for (time, pane) in times.iter().zip(panes.assign(&times).panes) {
                prop_assert!(pane % unit == 0 && pane - unit <= *time && *time < pane, "{} of {} is {}", time, unit, pane);
            }
        }
    }

    #[test]
    fn times_at_the_edge_of_what_can_be_written_are_refused() {
        let panes = Panes::new(WindowKind::Hop { size_us: 10, slide_us: 5 }, 3);
        assert!(!panes.in_range(i64::MAX - 3) && !panes.in_range(i64::MIN + 20));
        assert!(panes.in_range(i64::MAX - 23) && panes.in_range(i64::MIN + 23));
        assert!(Panes::new(WindowKind::Attached, 0).in_range(i64::MAX));
    }
}
