//! Times in options: text to microseconds and days, and the clock for sources that make rows of "now".

use arrow::compute::kernels::cast_utils::{Parser, string_to_timestamp_nanos};
use arrow::datatypes::Date32Type;

/// Microseconds since 1970 of a text such as `2024-01-31 12:00:00`, `2024-01-31` or RFC 3339.
pub(crate) fn parse_timestamp_us(text: &str) -> Option<i64> {
    string_to_timestamp_nanos(text.trim()).ok().map(|nanos| nanos.div_euclid(1000))
}

/// Days since 1970 of a text such as `2024-01-31`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    Date32Type::parse(text.trim())
}

/// Microseconds since 1970, now. For sources only: elsewhere time is an argument.
pub(crate) fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_micros() as i64)
}
