//! Figures as people read them: counts, bytes, durations, rates and times.

use std::time::Duration;

/// A count with thousands apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun, in the plural where it belongs: `1 row`, `2 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A figure with three digits and a unit's prefix.
fn scaled(value: f64, prefixes: &[&str], unit: &str) -> String {
    let mut value = value.max(0.0);
    let mut at = 0;
    while value >= 999.5 && at + 1 < prefixes.len() {
        value /= 1000.0;
        at += 1;
    }
    let decimals = if at == 0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {}{unit}", prefixes[at]).trim_end().to_owned()
}

/// Bytes, decimal: `45.1 MB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, &["", "k", "M", "G", "T"], "B")
}

/// Something per second: `2.31 M rows/s`.
pub(crate) fn rate(n: u64, elapsed: Duration, noun: &str) -> String {
    let per_second = if elapsed.is_zero() { 0.0 } else { n as f64 / elapsed.as_secs_f64() };
    let figure = scaled(per_second, &["", "k", "M", "G"], "");
    format!("{figure} {noun}/s")
}

/// An elapsed time: `850 ms`, `1.24 s`, `2 m 05 s`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else if seconds < 3600.0 {
        format!("{} m {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    } else {
        format!("{} h {:02} m", time.as_secs() / 3600, time.as_secs() / 60 % 60)
    }
}

/// A time in microseconds since the Unix epoch, in UTC: `2024-01-01 09:35:00`.
pub(crate) fn time(us: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(us) {
        Some(time) if (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&us) => time.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
        _ if us > 0 => "the end of time".to_owned(),
        _ => "the beginning of time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "row"), counted(1200, "row")], ["1 row", "1,200 rows"]);
        assert_eq!([12, 999, 1000, 45_120_000, 999_999].map(bytes), ["12 B", "999 B", "1.00 kB", "45.1 MB", "1.00 MB"]);
        assert_eq!(rate(2_310_000, Duration::from_secs(1), "rows"), "2.31 M rows/s");
        assert_eq!(rate(5, Duration::ZERO, "rows"), "0 rows/s");
        assert_eq!(
            [850, 1240, 125_000, 3_725_000].map(|ms| elapsed(Duration::from_millis(ms))),
            ["850 ms", "1.24 s", "2 m 05 s", "1 h 02 m"]
        );
        assert_eq!(time(1_704_101_700_000_000), "2024-01-01 09:35:00");
        assert_eq!(time(1_704_101_700_250_000), "2024-01-01 09:35:00.250");
        assert_eq!([time(i64::MAX), time(i64::MIN)], ["the end of time", "the beginning of time"]);
    }
}
