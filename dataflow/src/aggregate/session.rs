//! # Sessions
//!
//! What a session is, as arithmetic. A row is the stretch of event time from when it *came* — its own time, or the watermark of the
//! rows before it in its partition if that is further — to its time plus the gap. It is in time if that stretch is not empty.
//!
//! **Definition.** The rows of a key that are in time and whose stretches overlap, directly or through others, are one session. It
//! starts at the least time of its rows and ends a gap after the greatest. A row that is late, by its own stretch, still belongs to a session
//! that was open when the row would have ended alone, and is open past the row's watermark; it extends nothing. All other late rows are
//! too late.
//!
//! **Why so.** For rows in order this is the usual rule: a row less than a gap behind the one before it is in its session. The
//! definition speaks of a set of rows, each with its own watermark, and of nothing that depends on when they met: overlapping is
//! symmetric, and unions of stretches are the same in any order. So the answer does not depend on workers, on chunks, on epochs. And
//! it agrees with closing: a row of a later epoch came at or after `W(e)`, so its stretch cannot reach into a session with
//! `end <= W(e)`, which may come out and be forgotten.

use super::admit::Fate;
use super::late::LateRows;
use super::local_half::RowWatermarks;

/// No session.
pub(super) const NONE: u32 = u32::MAX;

/// When a row came, in event time.
pub(super) fn came(time: i64, watermark: i64) -> i64 {
    time.max(watermark)
}

/// Whether a row is in time for the session it would make alone.
pub(super) fn in_time(time: i64, came: i64, gap: i64) -> bool {
    came < time + gap
}

/// How far the watermark of a late row had passed the end of the session that the row would have made alone.
pub(super) fn late_us(time: i64, came: i64, gap: i64, lateness: i64) -> i64 {
    came.saturating_add(lateness).saturating_sub(time + gap)
}

/// Whether a row belongs to a session that covers `from..end`: the only place where rows and sessions meet.
pub(super) fn belongs(from: i64, end: i64, time: i64, came: i64, gap: i64) -> bool {
    came < end && from < time + gap
}

/// When the rows of a batch came; `None` if all came at their times. Notes those that only the lateness keeps in time.
pub(super) fn rows_came(times: &[i64], watermarks: RowWatermarks<'_>, gap: i64, lateness: i64, noted: &mut LateRows) -> Option<Vec<i64>> {
    let least = times.iter().copied().min()?;
    let of = |row: usize| match watermarks {
        RowWatermarks::None => i64::MIN,
        RowWatermarks::Constant(watermark) => watermark,
        RowWatermarks::Each(each) => each[row],
    };
    let greatest = match watermarks {
        RowWatermarks::Each(each) => each.iter().copied().max()?,
        _ => of(0),
    };
    if greatest <= least {
        return None;
    }
    let late = |row: usize, time: i64| !in_time(time, came(time, of(row)), gap);
    if lateness > 0 {
        let kept = |row: usize, time: i64| in_time(time, came(time, of(row).saturating_sub(lateness)), gap);
        for (row, time) in times.iter().enumerate().filter(|(row, time)| late(*row, **time) && kept(*row, **time)) {
            noted.note(Fate::Corrects, of(row).saturating_sub(time + gap));
        }
    }
    let came: Vec<i64> = times.iter().enumerate().map(|(row, time)| came(*time, of(row).saturating_sub(lateness))).collect();
    (came != times).then_some(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_gap_behind_starts_a_new_session() {
        assert!(belongs(0, 10, 9, 9, 10));
        assert!(!belongs(0, 10, 10, 10, 10));
        assert!(belongs(10, 20, 1, 1, 10));
        assert!(!belongs(10, 20, 0, 0, 10));
    }

    #[test]
    fn a_row_behind_the_watermark_does_not_reach_what_has_closed() {
        // The session 0..10 had closed when the watermark was 12.
        assert!(!belongs(0, 10, 9, came(9, 12), 10));
        assert!(belongs(0, 13, 9, came(9, 12), 10));
        assert!(in_time(9, came(9, 12), 10) && !in_time(2, came(2, 12), 10));
        // Late alone, but its session is open.
        assert!(belongs(11, 30, 2, came(2, 12), 10));
        assert!(!belongs(12, 30, 2, came(2, 12), 10) && !belongs(5, 12, 2, came(2, 12), 10));
        assert_eq!(came(3, i64::MIN), 3);
    }
}
