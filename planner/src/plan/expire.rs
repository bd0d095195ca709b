//! Rows that count for a while.

use super::NodeId;

/// Rows are taken back so long after they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpirePlan {
    /// Where rows come from; they only come.
    pub input: NodeId,
    /// How long they count, in microseconds of processing time.
    pub ttl_us: i64,
}
