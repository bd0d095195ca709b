//! The only place where an event time meets the watermark.

use tidemark_planner::plan::LateStrategy;

/// How a row stands to one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The window is open, even if the row is behind the watermark.
    InTime,
    /// The window has closed, but is kept.
    Late,
    /// The window is forgotten.
    TooLate,
}

/// Judges a row for a window. All in microseconds; `window_end` is exclusive.
///
/// `watermark` is the row's own: that of the rows before it in its partition, so the answer does not depend on timing.
/// `i64::MIN` says that there is none: nothing is late.
pub fn admit(window_end: i64, watermark: i64, lateness: i64) -> Admission {
    if window_end > watermark || watermark == i64::MIN {
        Admission::InTime
    } else if window_end.saturating_add(lateness) > watermark {
        Admission::Late
    } else {
        Admission::TooLate
    }
}

/// What becomes of a row for one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It counts: the window is open.
    Counts,
    /// It counts, and corrects what the window has put out.
    Corrects,
    /// It is dropped.
    Dropped,
    /// It becomes a dead letter.
    DeadLetter,
    /// It counts in the earliest open window, if it counts in none of its own.
    Moves,
}

/// The fate of a row so judged: within the allowed lateness it corrects, beyond it the strategy speaks.
pub fn fate(admission: Admission, strategy: LateStrategy) -> Fate {
    match (admission, strategy) {
        (Admission::InTime, _) => Fate::Counts,
        (Admission::Late, _) => Fate::Corrects,
        (Admission::TooLate, LateStrategy::Drop | LateStrategy::UpdatePrevious) => Fate::Dropped,
        (Admission::TooLate, LateStrategy::DeadLetterQueue) => Fate::DeadLetter,
        // It is all that is wanted of the row.
        (Admission::TooLate, LateStrategy::PutOut { .. }) => Fate::Counts,
        (Admission::TooLate, LateStrategy::IncludeInNextWindow) => Fate::Moves,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_are_exclusive_of_the_window() {
        assert_eq!(admit(10, 9, 0), Admission::InTime);
        assert_eq!(admit(10, 10, 0), Admission::TooLate);
        assert_eq!(admit(10, 10, 1), Admission::Late);
        assert_eq!(admit(10, 11, 1), Admission::TooLate);
        assert_eq!(admit(-5, -6, 3), Admission::InTime);
        assert_eq!(admit(-5, -5, 3), Admission::Late);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(admit(i64::MAX - 1, i64::MAX, 0), Admission::TooLate);
        assert_eq!(admit(i64::MAX - 1, i64::MAX - 1, i64::MAX), Admission::Late);
        assert_eq!(admit(i64::MIN, i64::MIN, 0), Admission::InTime);
    }

    #[test]
    fn the_strategy_speaks_beyond_the_lateness_only() {
        for strategy in [LateStrategy::UpdatePrevious, LateStrategy::DeadLetterQueue, LateStrategy::IncludeInNextWindow] {
            assert_eq!(fate(Admission::InTime, strategy), Fate::Counts);
            assert_eq!(fate(Admission::Late, strategy), Fate::Corrects);
        }
        assert_eq!(fate(Admission::TooLate, LateStrategy::UpdatePrevious), Fate::Dropped);
        assert_eq!(fate(Admission::TooLate, LateStrategy::DeadLetterQueue), Fate::DeadLetter);
        assert_eq!(fate(Admission::TooLate, LateStrategy::IncludeInNextWindow), Fate::Moves);
    }
}
