//! Durations as text: `5m`, `1h 30m`, `250ms`; and back.

const UNITS: [(&str, i64); 7] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000), ("w", 604_800_000_000)];

/// Reads a duration as microseconds. Units: `ns us ms s m h d w`, in their long forms too (`minutes`, `sec`); several parts add up.
///
/// # Errors
/// One sentence when the text is no duration, or is not a whole number of microseconds.
pub fn parse_us(text: &str) -> Result<i64, String> {
    let wrong = || format!("\"{text}\" is not a duration; write for example 5s, 250ms or 1h 30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let count: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(rest.len());
        let unit = rest[..letters].to_ascii_lowercase();
        rest = rest[letters..].trim_start();
        let part = match unit.as_str() {
            "ns" | "nanosecond" | "nanoseconds" => {
                if count % 1_000 != 0 {
                    return Err(format!("\"{text}\" is finer than a microsecond; times are kept in microseconds"));
                }
                Some(count / 1_000)
            }
            "us" | "µs" | "microsecond" | "microseconds" => Some(count),
            "ms" | "millisecond" | "milliseconds" => count.checked_mul(1_000),
            "s" | "sec" | "secs" | "second" | "seconds" => count.checked_mul(1_000_000),
            "m" | "min" | "mins" | "minute" | "minutes" => count.checked_mul(60_000_000),
            "h" | "hour" | "hours" => count.checked_mul(3_600_000_000),
            "d" | "day" | "days" => count.checked_mul(86_400_000_000),
            "w" | "week" | "weeks" => count.checked_mul(604_800_000_000),
            _ => return Err(wrong()),
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| format!("\"{text}\" is too long a duration"))?;
    }
    Ok(total)
}

/// Writes microseconds in the largest units that say it exactly: `1h 30m`, `250ms`, `0s`.
pub fn format_us(us: i64) -> String {
    if us == 0 {
        return "0s".into();
    }
    let mut parts = Vec::new();
    let mut rest = us.unsigned_abs();
    for (unit, size) in UNITS.iter().rev() {
        let size = size.unsigned_abs();
        if rest >= size && *unit != "w" {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    format!("{}{}", if us < 0 { "-" } else { "" }, parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, us) in [("5m", 300_000_000), ("1h 30m", 5_400_000_000), ("1h30m", 5_400_000_000), ("0s", 0), ("10 seconds", 10_000_000)]
        {
            assert_eq!(parse_us(text), Ok(us), "{text}");
        }
        assert_eq!(format_us(5_400_000_000), "1h 30m");
        assert_eq!(format_us(250_000), "250ms");
        assert_eq!(format_us(14 * 86_400_000_000), "14d");
        for wrong in ["", "5", "m", "5 parsecs", "-5s", "1.5s", "1ns", "99999999999999w"] {
            assert!(parse_us(wrong).is_err(), "{wrong}");
        }
    }
}
