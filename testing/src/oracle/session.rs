//! Sessions, from their definition in the book, by comparing every row with every other.

use super::relation::InputRow;
use crate::value::Value;

/// A session: its start, its end, its rows in the order given.
pub type Session = (i64, i64, Vec<InputRow>);

/// The sessions of the rows of one key, and how many rows are in none because they are late. Rows without event time are in none.
pub fn sessions(rows: &[InputRow], time: usize, gap: i64) -> (Vec<Session>, u64) {
    let timed: Vec<(i64, i64, &InputRow)> = rows
        .iter()
        .filter_map(|row| match row.values[time] {
            Value::Time(at) => Some((at, row.watermark.map_or(at, |watermark| watermark.max(at)), row)),
            _ => None,
        })
        .collect();
    // Each row in time begins as a session of its own; what overlaps is joined until nothing does.
    let mut parts: Vec<(i64, i64)> = timed.iter().filter(|(at, came, _)| *came < at + gap).map(|(at, came, _)| (*came, at + gap)).collect();
    while let Some((one, other)) = overlapping(&parts) {
        let gone = parts.remove(other);
        parts[one] = (parts[one].0.min(gone.0), parts[one].1.max(gone.1));
    }
    let mut late = 0;
    let mut found: Vec<Session> = parts.iter().map(|(_, end)| (i64::MAX, *end, vec![])).collect();
    for (at, came, row) in timed {
        // In time: the one that covers the row's last instant. Late: only if it is also open past when the row came.
        let place = parts.iter().position(|(from, end)| *from < at + gap && at + gap <= *end && came < *end);
        match place {
            Some(place) => {
                found[place].0 = found[place].0.min(at);
                found[place].2.push(row.clone());
            }
            None => late += 1,
        }
    }
    (found, late)
}

/// Two stretches that share an instant.
fn overlapping(parts: &[(i64, i64)]) -> Option<(usize, usize)> {
    for one in 0..parts.len() {
        for other in one + 1..parts.len() {
            if parts[one].0 < parts[other].1 && parts[other].0 < parts[one].1 {
                return Some((one, other));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_by_hand() {
        let row = |at: i64, watermark: Option<i64>| InputRow { values: vec![Value::Time(at)], watermark };
        let of = |rows: &[InputRow]| {
            let (found, late) = sessions(rows, 0, 10);
            (found.into_iter().map(|(start, end, rows)| (start, end, rows.len())).collect::<Vec<_>>(), late)
        };
        assert_eq!(of(&[row(0, None), row(9, None), row(19, None)]), (vec![(0, 19, 2), (19, 29, 1)], 0));
        // Behind a watermark that has closed the first: not joined, though less than the gap away.
        assert_eq!(of(&[row(0, None), row(9, Some(12))]), (vec![(0, 10, 1), (9, 19, 1)], 0));
        // Too late alone, held by a session that was open all the time.
        assert_eq!(of(&[row(8, None), row(17, None), row(1, Some(12))]), (vec![(1, 27, 3)], 0));
        assert_eq!(of(&[row(17, None), row(1, Some(12))]), (vec![(17, 27, 1)], 1));
    }
}
