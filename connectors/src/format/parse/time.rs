//! Dates, times of day and timestamps, from and to the forms of ISO 8601, RFC 3339 and SQL.

use arrow::datatypes::TimeUnit;

use super::load8;

/// A point in time as written: local if there is no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Days since 1970-01-01.
    pub(crate) days: i64,
    /// Nanoseconds since midnight.
    pub(crate) nanos: i64,
    /// Seconds east of Greenwich, where written.
    pub(crate) offset: Option<i32>,
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl Stamp {
    /// Ticks of a unit since 1970, in UTC if there is an offset; finer digits are cut off. `None` when out of range.
    #[inline]
    pub(crate) fn ticks(self, unit: TimeUnit) -> Option<i64> {
        let seconds = self.days * SECONDS_PER_DAY - i64::from(self.offset.unwrap_or(0));
        // One arm for each unit, so that the divisions are by constants.
        let (per_second, of_day) = match unit {
            TimeUnit::Second => (1, self.nanos / NANOS_PER_SECOND),
            TimeUnit::Millisecond => (1_000, self.nanos / 1_000_000),
            TimeUnit::Microsecond => (1_000_000, self.nanos / 1_000),
            TimeUnit::Nanosecond => (NANOS_PER_SECOND, self.nanos),
        };
        i64::try_from(i128::from(seconds) * i128::from(per_second) + i128::from(of_day)).ok()
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar. (The algorithm is Howard Hinnant's.)
#[inline]
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01: year, month, day.
#[inline]
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Two digits at a place.
#[inline(always)]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (tens, ones) = (text.get(at)?.wrapping_sub(b'0'), text.get(at + 1)?.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { None } else { Some(u32::from(tens) * 10 + u32::from(ones)) }
}

/// Reads `2024-01-31` and returns what is behind it. Years outside 0..=9999 have a sign and may be longer.
fn date_prefix(text: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, rest) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (0, rest),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=7).contains(&digits) || (sign == 0 && digits > 4) {
        return None;
    }
    let year = rest[..digits].iter().fold(0i64, |year, digit| year * 10 + i64::from(digit - b'0'));
    let year = if sign < 0 { -year } else { year };
    let rest = &rest[digits..];
    let (month, day) = (two(rest, 1)?, two(rest, 4)?);
    if rest[0] != b'-' || rest[3] != b'-' || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some((days_from_civil(year, month, day), &rest[6..]))
}

/// Reads `12:34`, `12:34:56` or `12:34:56.789` and returns nanoseconds since midnight and what is behind it.
fn time_prefix(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if text[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let minutes = i64::from(hour * 60 + minute);
    let rest = &text[5..];
    if rest.first() != Some(&b':') {
        return Some((minutes * 60 * NANOS_PER_SECOND, rest));
    }
    let second = two(rest, 1)?;
    if second > 59 {
        return None;
    }
    let (fraction, rest) = fraction(&rest[3..])?;
    Some(((minutes * 60 + i64::from(second)) * NANOS_PER_SECOND + fraction, rest))
}

/// Reads a point (or comma) and at most nine digits, if there is a point, as nanoseconds.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 9 {
        return None;
    }
    let value = digits[..count].iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((value * POWERS[9 - count], &digits[count..]))
}

const POWERS: [i64; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Reads nothing, `Z`, `+01`, `+0100` or `+01:00`, as seconds.
#[inline]
fn offset(text: &[u8]) -> Option<Option<i32>> {
    let (sign, rest) = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours = two(rest, 0)?;
    let minutes = match rest.len() {
        2 => 0,
        4 => two(rest, 2)?,
        5 if rest[2] == b':' => two(rest, 3)?,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(Some(sign * (hours * 3600 + minutes * 60) as i32))
}

/// A date, as days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Option<i64> {
    match date_prefix(text)? {
        (days, []) => Some(days),
        _ => None,
    }
}

/// A time of day, as nanoseconds since midnight.
pub(crate) fn time_of_day(text: &[u8]) -> Option<i64> {
    match time_prefix(text)? {
        (nanos, []) => Some(nanos),
        _ => None,
    }
}

/// A timestamp: a date, alone or followed by `T` or a space, a time of day, and perhaps an offset (a space may stand before it).
pub(crate) fn timestamp(text: &[u8]) -> Option<Stamp> {
    if let Some(stamp) = usual_timestamp(text) {
        return Some(stamp);
    }
    let (days, rest) = date_prefix(text)?;
    let [b'T' | b't' | b' ', rest @ ..] = rest else {
        return rest.is_empty().then_some(Stamp { days, nanos: 0, offset: None });
    };
    let (nanos, rest) = time_prefix(rest)?;
    let zone = match rest {
        [b' ', zone @ ..] if !zone.is_empty() => zone,
        zone => zone,
    };
    Some(Stamp { days, nanos, offset: offset(zone)? })
}

/// `2024-01-31T12:34:56` with a four-digit year and anything legal behind: three loads, one test for all digits and separators.
#[inline]
fn usual_timestamp(text: &[u8]) -> Option<Stamp> {
    let (first, second, third) = (load8(text, 0)?, load8(text, 8)?, load8(text, 11)?);
    // Digits become 0..=9, separators 0, anything else has a high nibble or exceeds 9.
    let first = first ^ u64::from_le_bytes(*b"0000-00-");
    let third = third ^ u64::from_le_bytes(*b"00:00:00");
    let day = second as u16 ^ 0x3030;
    let separator = (second >> 16) as u8;
    let over_nine = |word: u64| (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let separators = first & 0xff00_00ff_0000_0000 | third & 0x0000_ff00_00ff_0000;
    if separators != 0 || over_nine(first) | over_nine(third) | over_nine(u64::from(day)) != 0 || !matches!(separator, b'T' | b' ' | b't') {
        return None;
    }
    let byte = |word: u64, at: u32| (word >> (8 * at)) as u32 & 0xff;
    let pair = |word: u64, at: u32| byte(word, at) * 10 + byte(word, at + 1);
    let year = i64::from(pair(first, 0) * 100 + pair(first, 2));
    let month = pair(first, 5);
    let day = pair(u64::from(day), 0);
    let (hour, minute, second) = (pair(third, 0), pair(third, 3), pair(third, 6));
    if month.wrapping_sub(1) > 11 || day.wrapping_sub(1) > 27 && (day == 0 || day > days_in_month(year, month)) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(&text[19..])?;
    let offset = if zone.is_empty() { None } else { offset(zone)? };
    let nanos = i64::from(hour * 3600 + minute * 60 + second) * NANOS_PER_SECOND + fraction;
    Some(Stamp { days: days_from_civil(year, month, day), nanos, offset })
}

/// Appends `2024-01-31`.
#[inline]
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    if (0..=9999).contains(&year) {
        let year = year as usize;
        push_two(year / 100, out);
        push_two(year % 100, out);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(year.unsigned_abs()).as_bytes();
        out.extend((digits.len()..4).map(|_| b'0'));
        out.extend_from_slice(digits);
    }
    out.push(b'-');
    push_two(month as usize, out);
    out.push(b'-');
    push_two(day as usize, out);
}

/// Appends `12:34:56` and, where it is not zero, as much of the fraction as is needed.
#[inline]
pub(crate) fn write_time(nanos: i64, out: &mut Vec<u8>) {
    let seconds = (nanos / NANOS_PER_SECOND) as usize;
    push_two(seconds / 3600, out);
    out.push(b':');
    push_two(seconds / 60 % 60, out);
    out.push(b':');
    push_two(seconds % 60, out);
    let mut fraction = nanos % NANOS_PER_SECOND;
    if fraction == 0 {
        return;
    }
    // Milli-, micro- or nanoseconds: columns of times align better than with any number of digits.
    let mut digits = 9;
    while digits > 3 && fraction % 1000 == 0 {
        fraction /= 1000;
        digits -= 3;
    }
    out.push(b'.');
    let at = out.len();
    out.resize(at + digits, b'0');
    for slot in out[at..].iter_mut().rev() {
        *slot = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
}

/// Ticks of a unit in a second.
pub(crate) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    }
}

/// Appends a timestamp in ticks of a unit, with `separator` between date and time.
#[inline]
pub(crate) fn write_timestamp(ticks: i64, unit: TimeUnit, separator: u8, out: &mut Vec<u8>) {
    let per_second = per_second(unit);
    let per_day = SECONDS_PER_DAY * per_second;
    write_date(ticks.div_euclid(per_day), out);
    out.push(separator);
    write_time(ticks.rem_euclid(per_day) * (NANOS_PER_SECOND / per_second), out);
}

/// Appends `Z` or `+01:00`.
pub(crate) fn write_offset(seconds: i32, out: &mut Vec<u8>) {
    if seconds == 0 {
        out.push(b'Z');
        return;
    }
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let minutes = seconds.unsigned_abs() as usize / 60;
    push_two(minutes / 60, out);
    out.push(b':');
    push_two(minutes % 60, out);
}

#[inline(always)]
fn push_two(value: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate};
    use proptest::prelude::*;

    const MICROS: TimeUnit = TimeUnit::Microsecond;

    fn micros(text: &str) -> Option<i64> {
        timestamp(text.as_bytes())?.ticks(MICROS)
    }

    #[test]
    fn forms_of_timestamps() {
        for text in [
            "2024-02-29T12:00:00.5Z",
            "2024-02-29 12:00:00.500",
            "2024-02-29T13:00:00.500000000+01:00",
            "2024-02-29t10:30:00,5-0130",
            "2024-02-29 12:00:00.5 +00",
            "+2024-02-29 12:00:00.5",
        ] {
            assert_eq!(micros(text), Some(1_709_208_000_500_000), "{text}");
        }
        assert_eq!(micros("2024-02-29"), Some(1_709_164_800_000_000));
        assert_eq!(micros("2024-02-29T12:00"), Some(1_709_208_000_000_000));
        assert_eq!(micros("1969-12-31 23:59:59.999999"), Some(-1));
    }

    #[test]
    fn texts_that_are_no_timestamps() {
        for text in [
            "",
            "2024",
            "2023-02-29 00:00:00",
            "2024-13-01 00:00:00",
            "2024-00-01 00:00:00",
            "2024-01-00 00:00:00",
            "2024-01-32 00:00:00",
            "2024-01-01 24:00:00",
            "2024-01-01 00:60:00",
            "2024-01-01 00:00:60",
            "2024-01-01 00:00:00.",
            "2024-01-01 00:00:00.1234567890",
            "2024-01-01 00:00:00+",
            "2024-01-01 00:00:00 ",
            "2024-01-01 00:00:00x",
            "2024-01-01 00:00:00+24:00",
            "2024/01/01 00:00:00",
            "2024-01-01_00:00:00",
            "12024-01-01 00:00:00",
            "2024-1-1 00:00:00",
            "2024-01-01 0:00:00",
            "２024-01-01 00:00:00",
            "20:4-01-01 00:00:00",
            "2024-01-01 00:00:0/",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn days_are_chronos(days in -90_000_000i64..90_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            if let Some(date) = NaiveDate::from_num_days_from_ce_opt(days as i32 + 719_163) {
                prop_assert_eq!((date.year() as i64, date.month(), date.day()), (year, month, day));
            }
        }

        #[test]
        fn timestamps_back_and_forth(ticks in any::<i64>(), shift in 0u32..40, unit in 0usize..4) {
            let of = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond][unit];
            // Seconds beyond a year of seven digits are nobody's.
            let ticks = if unit == 0 { ticks % 100_000_000_000_000 } else { ticks } >> shift;
            let ticks = if unit == 1 { ticks % 100_000_000_000_000_000 } else { ticks };
            let mut text = Vec::new();
            write_timestamp(ticks, of, b'T', &mut text);
            prop_assert_eq!(timestamp(&text).and_then(|stamp| stamp.ticks(of)), Some(ticks), "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn written_as_rfc_3339(ticks in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
            let mut text = Vec::new();
            write_timestamp(ticks, MICROS, b'T', &mut text);
            write_offset(0, &mut text);
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros(), ticks);
        }

        #[test]
        fn never_panics(text in "[-+0-9TZ:., ]{0,40}") {
            let _ = (timestamp(text.as_bytes()), date(text.as_bytes()), time_of_day(text.as_bytes()));
        }
    }
}
