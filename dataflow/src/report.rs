//! What a run has done, counted while it runs and printed when it ends. Nothing is dropped that is not counted here.

use std::time::Duration;

use crate::aggregate::late::{LATENESS_BOUNDS_US, LateRows};

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
    /// Rows dropped because they were too late for a window, counted once per window they missed.
    pub late: u64,
    /// Everything about rows that met a closed window, if any did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_rows: Option<LateReport>,
    /// Results that could not be computed, such as sums that overflow.
    pub errors: u64,
    /// Changes that meant nothing: deletions of keys that are not there, rows of a partition before the one a key was last in.
    pub ignored: u64,
    /// Groups held.
    pub groups: u64,
    /// Bytes held, about.
    pub state_bytes: u64,
}

/// Rows that met a closed window, once for each such window.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LateReport {
    /// Counted: the window was kept, and corrected if it had come out.
    pub corrected: u64,
    /// Dropped.
    pub dropped: u64,
    /// Written as dead letters.
    pub dead_lettered: u64,
    /// Counted in the earliest open window in place of their own, once for each row.
    pub moved: u64,
    /// How far the watermark had passed the window's end, on average.
    pub mean_us: i64,
    /// The same at most.
    pub max_us: i64,
    /// The same in classes, ascending; those without rows are left out, and so are rows of sessions.
    pub classes: Vec<LateClass>,
}

/// Rows about as late as each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LateClass {
    /// They were less late than this, and not less than the class before; `None` for the last class.
    pub below_us: Option<i64>,
    /// How many.
    pub rows: u64,
}

impl LateReport {
    pub(crate) fn of(late: &LateRows) -> Option<Self> {
        let total = late.total();
        if total == 0 {
            return None;
        }
        // How late a row was for a session that nobody had is not known.
        let measured = late.classes.iter().sum::<u64>().max(1);
        let classes = late.classes.iter().enumerate().filter(|(_, rows)| **rows > 0);
        Some(Self {
            corrected: late.corrected,
            dropped: late.dropped,
            dead_lettered: late.dead_lettered,
            moved: late.moved,
            mean_us: i64::try_from(late.sum_us / u128::from(measured)).unwrap_or(i64::MAX),
            max_us: late.max_us,
            classes: classes.map(|(at, rows)| LateClass { below_us: LATENESS_BOUNDS_US.get(at).copied(), rows: *rows }).collect(),
        })
    }
}
