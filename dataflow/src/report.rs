//! What a run has done, counted while it runs and printed when it ends. Nothing is dropped that is not counted here.

use std::borrow::Cow;
use std::time::Duration;

use crate::aggregate::LimitCounts;
use crate::aggregate::late::{LATENESS_BOUNDS_US, LateRows};
use crate::state::keeper::Reason;

/// Counts of a run, so far or at its end.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
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
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
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
    /// The share of the last rows that were not behind the watermark, where rows are judged by it: of the partition with the least.
    pub confidence: Option<f64>,
    /// The partitions that this process reads.
    pub partition_reports: Vec<PartitionReport>,
}

/// Where a partition stands.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct PartitionReport {
    /// Its name.
    pub name: String,
    /// It has ended.
    pub ended: bool,
    /// Its watermark in microseconds, once there is one and until it has ended.
    pub watermark_us: Option<i64>,
    /// The offset of the row that set the watermark.
    pub set_by_offset: Option<u64>,
    /// The event time of that row.
    pub set_by_time_us: Option<i64>,
    /// When the watermark was set, in microseconds since 1970.
    pub set_at_us: Option<u64>,
    /// When the last rows were read.
    pub read_at_us: Option<u64>,
    /// One past the last record.
    pub next_offset: u64,
    /// It was idle for the declared time and follows the fastest.
    pub passed_over: bool,
    /// It is so far ahead that it waits for the slowest.
    pub waits: bool,
    /// The share of the last rows that were not behind the watermark. Advisory: nothing is decided by it.
    pub confidence: Option<f64>,
    /// What delays would have bought, where that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delays: Vec<DelayReport>,
    /// How far the row was behind that was furthest behind the greatest event time before it, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_max_us: Option<i64>,
    /// How far rows were behind on average; those that were not are behind by 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_mean_us: Option<i64>,
}

/// What a delay of the watermark would have bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct DelayReport {
    /// The delay in microseconds.
    pub delay_us: i64,
    /// Rows that would not have been behind the watermark.
    pub in_time: u64,
    /// Of so many.
    pub rows: u64,
}

/// Counts of a sink.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SinkReport {
    /// Name of the sink.
    pub name: String,
    /// Changes written.
    pub changes: u64,
    /// Bytes written, where known.
    pub bytes: u64,
    /// The epoch to which it has written everything, in microseconds since 1970; 0 before the first.
    pub written_to_us: u64,
    /// The epoch to which it has been given everything.
    pub given_to_us: u64,
}

/// Counts of a node that keeps state.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct OperatorReport {
    /// The node, as EXPLAIN names it.
    pub node: u32,
    /// Its kind, as EXPLAIN names it.
    pub name: Cow<'static, str>,
    /// Rows dropped because they were too late for a window, counted once per window they missed.
    pub late: u64,
    /// Everything about rows that met a closed window, if any did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_rows: Option<LateReport>,
    /// What limits on its state have done, if they did something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<StateReport>,
    /// Results that could not be computed, such as sums that overflow.
    pub errors: u64,
    /// Changes that meant nothing: deletions of keys that are not there, rows of a partition before the one a key was last in.
    pub ignored: u64,
    /// Groups held.
    pub groups: u64,
    /// Bytes held, about.
    pub state_bytes: u64,
    /// The epoch to which it has put out everything, where that is known, in microseconds since 1970.
    pub out_to_us: Option<u64>,
    /// The same of a worker that is at work on it this moment, and on nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_work_on_us: Option<u64>,
}

/// Rows that met a closed window, once for each such window.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LateClass {
    /// They were less late than this, and not less than the class before; `None` for the last class.
    pub below_us: Option<i64>,
    /// How many.
    pub rows: u64,
}

/// What limits on state have done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct StateReport {
    /// Groups, or rows of joins, that went because of their age: `state.ttl`, `state.max_age`.
    pub expired: u64,
    /// Groups that went because there were too many: `state.max_…`.
    pub evicted: u64,
    /// The same by the setting that says so.
    pub by_setting: Vec<LimitClass>,
    /// Rows that the groups had.
    pub rows: u64,
    /// Groups that were not taken in.
    pub refused_groups: u64,
    /// Their rows.
    pub refused_rows: u64,
    /// Rows dropped since their group was sealed.
    pub sealed_rows: u64,
}

/// Groups that went for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct LimitClass {
    /// The setting.
    pub setting: Cow<'static, str>,
    /// How many.
    pub groups: u64,
}

impl StateReport {
    /// Adds what another process counted of the same operator.
    pub fn add(&mut self, other: &Self) {
        self.expired += other.expired;
        self.evicted += other.evicted;
        for class in &other.by_setting {
            match self.by_setting.iter_mut().find(|own| own.setting == class.setting) {
                Some(own) => own.groups += class.groups,
                None => self.by_setting.push(class.clone()),
            }
        }
        self.rows += other.rows;
        self.refused_groups += other.refused_groups;
        self.refused_rows += other.refused_rows;
        self.sealed_rows += other.sealed_rows;
    }

    pub(crate) fn of(counts: &LimitCounts) -> Option<Self> {
        use Reason::{Age, Bytes, Groups, Idle, Rows, Windows};
        if counts.is_empty() {
            return None;
        }
        let left = |reasons: &[Reason]| reasons.iter().map(|reason| counts.left[*reason as usize]).sum();
        let classes = [Idle, Age, Rows, Windows, Groups, Bytes].into_iter();
        let classes = classes.map(|reason| LimitClass { setting: reason.setting().into(), groups: counts.left[reason as usize] });
        Some(Self {
            expired: left(&[Idle, Age]),
            evicted: left(&[Rows, Windows, Groups, Bytes]),
            by_setting: classes.filter(|class| class.groups > 0).collect(),
            rows: counts.left_rows,
            refused_groups: counts.refused_groups,
            refused_rows: counts.refused_rows,
            sealed_rows: counts.sealed_rows,
        })
    }
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
