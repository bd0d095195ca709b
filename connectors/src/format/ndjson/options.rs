//! Options of newline-delimited JSON, for sources and sinks.

use crate::format::encode::TimestampStyle;
use arrow::datatypes::TimeUnit;
use tidemark_planner::connector::{OptionKind, OptionSpec, Options, Side};

/// How JSON values are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdjsonOptions {
    /// What an integer counts where a timestamp is wanted.
    pub timestamp_unit: TimeUnit,
    /// A key that is absent is an error, not a null.
    pub fail_on_missing_field: bool,
    /// How timestamps are written; both styles are read.
    pub timestamp_style: TimestampStyle,
}

impl Default for NdjsonOptions {
    fn default() -> Self {
        Self { timestamp_unit: TimeUnit::Millisecond, fail_on_missing_field: false, timestamp_style: TimestampStyle::Iso }
    }
}

/// The option `timestamp-unit`, shared by the text formats.
pub(crate) const TIMESTAMP_UNIT: OptionSpec = OptionSpec {
    name: "timestamp-unit",
    aliases: &[],
    kind: OptionKind::OneOf(&["s", "ms", "us", "ns"]),
    side: Side::Source,
    required: false,
    default: Some("ms"),
    help: "What an integer counts where a timestamp is wanted: seconds, milli-, micro- or nanoseconds since 1970.",
};

/// Reads `timestamp-unit`.
pub(crate) fn timestamp_unit(options: &Options) -> TimeUnit {
    match options.get(TIMESTAMP_UNIT.name) {
        Some("s") => TimeUnit::Second,
        Some("us") => TimeUnit::Microsecond,
        Some("ns") => TimeUnit::Nanosecond,
        _ => TimeUnit::Millisecond,
    }
}

impl NdjsonOptions {
    /// Options of sources and sinks in this format, besides [`crate::format::COMMON_SPECS`].
    pub const SPECS: &'static [OptionSpec] = &[OptionSpec {
        name: "fail-on-missing-field",
        aliases: &["json.fail-on-missing-field"],
        kind: OptionKind::Flag,
        side: Side::Source,
        required: false,
        default: Some("false"),
        help: "Whether a record without one of the columns is bad; otherwise the column is null.",
    }];

    /// From validated options.
    pub fn from_options(options: &Options) -> Self {
        Self {
            timestamp_unit: timestamp_unit(options),
            fail_on_missing_field: options.flag("fail-on-missing-field"),
            timestamp_style: if options.get("timestamp-format") == Some("SQL") { TimestampStyle::Sql } else { TimestampStyle::Iso },
        }
    }
}
