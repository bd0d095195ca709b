//! What a statement and the settings ask of state, before it is known which operators it is for.

use datafusion_common::DFSchema;

use crate::Span;
use crate::plan::{AtLimit, Evicted};

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateRequest {
    pub(crate) ttl_us: Option<i64>,
    /// The same for what is read of one relation, by the name it goes by, in lower case.
    pub(crate) ttl_of: Vec<(String, i64, Span)>,
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
    /// The time-to-live of rows that some relations were read for, the longest of those that are said, with the places that say so.
    pub(crate) fn ttl_of(&self, schema: &DFSchema) -> Option<(i64, Vec<Span>)> {
        let named = |name: &str| schema.iter().any(|(relation, _)| relation.is_some_and(|it| it.table().eq_ignore_ascii_case(name)));
        let said: Vec<_> = self.ttl_of.iter().filter(|(name, ..)| named(name)).collect();
        Some((said.iter().map(|(_, us, _)| *us).max()?, said.iter().map(|(.., span)| *span).collect()))
    }

    /// Whether something is limited.
    pub(crate) fn asks(&self) -> bool {
        let ages = [self.ttl_us, self.max_age_us];
        let numbers = [self.max_groups, self.max_windows_per_key, self.max_rows_per_group, self.max_bytes];
        !self.ttl_of.is_empty() || ages.iter().any(Option::is_some) || numbers.iter().any(Option::is_some)
    }
}
