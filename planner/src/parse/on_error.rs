//! `ON ERROR FAIL | SKIP | DEAD_LETTER 'path' [LIMIT n ROWS [WITHIN time] | p PERCENT [OF n ROWS | WITHIN time], …]`: what a bad row does
//! to a run.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed};
use super::{durations, options};
use crate::PlanError;
use crate::plan::{ErrorPolicy, ErrorRate, ErrorRateMost, ErrorShare};

/// Records that a share is taken of, unless the statement says otherwise.
const SHARE_OF: u64 = 1000;

/// Takes the clause.
pub(super) fn take_on_error(cursor: &mut Cursor<'_>) -> Parsed<ErrorPolicy> {
    cursor.expect("ON")?;
    cursor.expect("ERROR")?;
    let policy = if cursor.take(&["FAIL"]) {
        if cursor.sees(&["LIMIT"]) {
            return Err(PlanError::new("parse::syntax", "FAIL ends the run at the first bad row, so it takes no LIMIT", cursor.here())
                .label("not needed")
                .help("Take LIMIT out, or write SKIP or DEAD_LETTER 'path' before it."));
        }
        return Ok(ErrorPolicy::Fail);
    } else if cursor.take(&["SKIP"]) {
        ErrorPolicy::Skip
    } else if cursor.take(&["DEAD_LETTER"]) {
        let (path, span) = cursor.string("the path of the dead letter file, in single quotes")?;
        ErrorPolicy::DeadLetter { path: options::substitute(cursor, &path, span)? }
    } else {
        return Err(cursor.expected_words("FAIL, SKIP or DEAD_LETTER 'path'", &["FAIL", "SKIP", "DEAD_LETTER"]));
    };
    if !cursor.take(&["LIMIT"]) {
        return Ok(policy);
    }
    let (mut rows, mut share, mut rates) = (None, None, Vec::new());
    loop {
        let place = cursor.here();
        let (digits, number) = take_number(cursor, "a number of rows, or of per cent")?;
        let twice = |what: &str| {
            PlanError::new("parse::syntax", format!("LIMIT says twice how many {what} may be bad"), place)
                .label("the second time")
                .help("Keep one of them.")
        };
        if cursor.take(&["PERCENT"]) {
            let basis_points = basis_points(&digits).ok_or_else(|| {
                PlanError::new("parse::syntax", format!("{digits} is no share of rows in per cent"), number)
                    .label("from 0.01 to 100, with at most two decimals")
                    .help("Write it as 5 PERCENT, or 0.5 PERCENT.")
            })?;
            if let Some(within_us) = take_within(cursor)? {
                rates.push(ErrorRate { most: ErrorRateMost::BasisPoints(basis_points), within_us });
                if cursor.take_mark(&Token::Comma) {
                    continue;
                }
                break;
            }
            let mut of = SHARE_OF;
            if cursor.take(&["OF"]) {
                of = take_whole(cursor, "a number of rows from 1")?;
                cursor.expect("ROWS")?;
            }
            if share.replace(ErrorShare { basis_points, of }).is_some() {
                return Err(twice("per cent"));
            }
        } else {
            let count = digits.parse().map_err(|_| {
                PlanError::new("parse::syntax", format!("{digits} is no number of rows"), number).label("expected a whole number")
            })?;
            // ROWS may be left out.
            cursor.take(&["ROWS"]);
            if let Some(within_us) = take_within(cursor)? {
                rates.push(ErrorRate { most: ErrorRateMost::Rows(count), within_us });
                if cursor.take_mark(&Token::Comma) {
                    continue;
                }
                break;
            }
            if rows.replace(count).is_some() {
                return Err(twice("rows"));
            }
        }
        if !cursor.take_mark(&Token::Comma) {
            break;
        }
    }
    Ok(ErrorPolicy::Limited { policy: Box::new(policy), rows, share, rates })
}

/// `WITHIN 1m`, in microseconds.
fn take_within(cursor: &mut Cursor<'_>) -> Parsed<Option<i64>> {
    if !cursor.take(&["WITHIN"]) {
        return Ok(None);
    }
    let (us, span) = durations::take(cursor, "a time")?;
    if us <= 0 {
        return Err(PlanError::new("parse::syntax", "errors are counted within a time that is longer than nothing", span)
            .label("not longer than nothing")
            .help("Write for example LIMIT 100 ROWS WITHIN 1m."));
    }
    Ok(Some(us))
}

fn take_number(cursor: &mut Cursor<'_>, what: &str) -> Parsed<(String, crate::Span)> {
    match cursor.peek().map(|tok| (&tok.token.token, tok.span)) {
        Some((Token::Number(digits, _), span)) => {
            cursor.next();
            Ok((digits.clone(), span))
        }
        _ => Err(cursor.expected(what)),
    }
}

fn take_whole(cursor: &mut Cursor<'_>, what: &str) -> Parsed<u64> {
    let error = cursor.expected(what);
    let (digits, _) = take_number(cursor, what)?;
    digits.parse().ok().filter(|count| *count > 0).ok_or(error)
}

/// Hundredths of a per cent of a number such as `5` or `0.25`.
fn basis_points(digits: &str) -> Option<u32> {
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    if rest.len() > 2 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let rest: u32 = format!("{rest:0<2}").parse().ok()?;
    let points = whole.checked_mul(100)?.checked_add(rest)?;
    (1..=10_000).contains(&points).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cent_are_exact() {
        for (digits, points) in [("5", Some(500)), ("0.5", Some(50)), ("0.25", Some(25)), (".01", Some(1)), ("100", Some(10_000))] {
            assert_eq!(basis_points(digits), points, "{digits}");
        }
        for digits in ["0", "0.001", "100.01", "5e1", "99999999999"] {
            assert_eq!(basis_points(digits), None, "{digits}");
        }
        let share = ErrorShare { basis_points: 25, of: 1000 };
        assert_eq!((share.bad_max(), share.percent().as_str()), (2, "0.25"));
        assert_eq!(ErrorShare { basis_points: 550, of: 10 }.percent(), "5.5");
    }
}
