//! What a statement and the settings ask of state, before it is known which operators it is for.

use crate::Span;
use crate::plan::{AtLimit, Evicted};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateRequest {
    pub(crate) ttl_us: Option<i64>,
    pub(crate) max_age_us: Option<i64>,
    /// Both are measured by the watermark.
    pub(crate) event_time: bool,
    pub(crate) max_groups: Option<u64>,
    pub(crate) max_windows_per_key: Option<u64>,
    pub(crate) max_rows_per_group: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) at_limit: AtLimit,
    pub(crate) evicted: Option<Evicted>,
    /// Where the query itself says it.
    pub(crate) span: Option<Span>,
}

impl StateRequest {
    /// Whether something is limited.
    pub(crate) fn asks(&self) -> bool {
        let ages = [self.ttl_us, self.max_age_us];
        let numbers = [self.max_groups, self.max_windows_per_key, self.max_rows_per_group, self.max_bytes];
        ages.iter().any(Option::is_some) || numbers.iter().any(Option::is_some)
    }
}
