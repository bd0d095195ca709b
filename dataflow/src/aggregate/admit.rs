//! The only place where an event time meets the watermark.

use tidemark_planner::plan::{Emit, LateStrategy};

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

/// Whether a row so judged counts. A late row under EMIT CHANGES corrects a window that is still kept; under EMIT FINAL the
/// window has come out already, and the strategy speaks.
pub(crate) fn counts(admission: Admission, emit: Emit, strategy: LateStrategy) -> bool {
    match (admission, emit, strategy) {
        (Admission::InTime, _, _) | (Admission::Late, Emit::Changes, LateStrategy::Drop) => true,
        (Admission::Late, Emit::Final, LateStrategy::Drop) | (Admission::TooLate, _, LateStrategy::Drop) => false,
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
    fn late_rows_correct_only_what_can_be_corrected() {
        assert!(counts(Admission::Late, Emit::Changes, LateStrategy::Drop));
        assert!(!counts(Admission::Late, Emit::Final, LateStrategy::Drop));
        assert!(!counts(Admission::TooLate, Emit::Changes, LateStrategy::Drop));
    }
}
