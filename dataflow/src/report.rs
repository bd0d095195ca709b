//! What a run has done, counted while it runs and printed when it ends. Nothing is dropped that is not counted here.

use std::time::Duration;

/// Counts of a run, so far or at its end.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct RunReport {
    /// One entry per source of the plan.
    pub sources: Vec<SourceReport>,
    /// One entry per sink of the plan.
    pub sinks: Vec<SinkReport>,
    /// One entry per node that keeps state or drops rows.
    pub operators: Vec<OperatorReport>,
    /// Time since the start.
    pub elapsed: Duration,
    /// Epochs that closed.
    pub epochs: u64,
    /// The run was stopped before its sources ended.
    pub stopped: bool,
}

/// Counts of a source, all partitions and workers together.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SourceReport {
    /// Name of the relation.
    pub name: String,
    /// Good rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes to be read, where all partitions know their size.
    pub bytes_total: Option<u64>,
    /// Rows that could not be decoded or evaluated.
    pub bad: u64,
    /// The first few bad rows, as sentences.
    pub bad_examples: Vec<String>,
    /// Partitions.
    pub partitions: u64,
    /// Partitions that have ended.
    pub ended: u64,
    /// The watermark in microseconds, once there is one: least over the partitions that have not ended.
    pub watermark_us: Option<i64>,
}

/// Counts of a sink.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SinkReport {
    /// Name of the sink.
    pub name: String,
    /// Changes written.
    pub changes: u64,
    /// Bytes written, where known.
    pub bytes: u64,
}

/// Counts of a node that keeps state.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct OperatorReport {
    /// The node, as EXPLAIN names it.
    pub node: u32,
    /// Its kind, as EXPLAIN names it.
    pub name: &'static str,
    /// Rows too late for a window, counted once per window they missed.
    pub late: u64,
    /// Results that could not be computed, such as sums that overflow.
    pub errors: u64,
    /// Changes that meant nothing: deletions of keys that are not there, rows of a partition before the one a key was last in.
    pub ignored: u64,
    /// Groups held.
    pub groups: u64,
    /// Bytes held, about.
    pub state_bytes: u64,
}
