//! Facts about a node's output, derived once from its inputs when the plan is made.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{SourceId, StateLimits, TimeDomain};

/// What is known of a node's output.
#[derive(Clone, Debug)]
pub struct Props {
    /// The columns.
    pub schema: SchemaRef,
    /// Which changes can come out.
    pub changelog: ChangelogKind,
    /// Column sets that identify a row, at any time. Each set is sorted.
    pub unique_keys: Vec<Vec<usize>>,
    /// Columns whose new values never fall behind a watermark, with the watermark that holds them.
    pub watermarks: Vec<(usize, WatermarkPlan)>,
    /// The window each row belongs to, when rows came out of a window operator or a window function.
    pub window: Option<AttachedWindow>,
    /// A column that is true of rows that are never taken back: `_is_final`.
    pub settled: Option<usize>,
    /// What bounds the node's state.
    pub state: StateBound,
    /// What bounds it beyond that, because a statement or setting says so.
    pub limits: Option<Arc<StateLimits>>,
    /// Every source below ends by itself.
    pub bounded: bool,
}

/// Which changes a relation can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangelogKind {
    /// Rows are only added.
    AppendOnly,
    /// Rows are added and taken back.
    Retract,
    /// Rows replace the row with the same key.
    Upsert,
}

impl std::fmt::Display for ChangelogKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AppendOnly => "append-only",
            Self::Retract => "retract",
            Self::Upsert => "upsert",
        })
    }
}

/// A watermark as a function of the watermarks of sources: `min over sources of W − delay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkPlan {
    /// The time it speaks of.
    pub domain: TimeDomain,
    /// The sources, ascending, without duplicates.
    pub sources: Vec<SourceId>,
    /// What is subtracted, in microseconds: negative where a query trusts its source more than the source does itself, and
    /// [`WatermarkPlan::END_OF_INPUT_US`] where only the end of the input counts.
    pub delay_us: i64,
}

impl WatermarkPlan {
    /// The delay of a watermark that no event time moves, however far: it waits for the end of the input.
    pub const END_OF_INPUT_US: i64 = i64::MAX;

    /// Whether only the end of the input moves it.
    pub fn waits_for_end(&self) -> bool {
        self.delay_us == Self::END_OF_INPUT_US
    }
}

/// The columns that hold a row's window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedWindow {
    /// Column of the window's start, if it is in the schema.
    pub start: Option<usize>,
    /// Column of the window's exclusive end, if it is in the schema.
    pub end: Option<usize>,
    /// Column of the window's last instant (`end − 1 µs`), if it is in the schema.
    pub time: Option<usize>,
    /// The watermark that closes the window when it reaches the end.
    pub watermark: WatermarkPlan,
    /// Distance from start to end in microseconds, when it is the same for all windows.
    pub size_us: Option<i64>,
    /// Rows come out once, after their window has closed.
    pub closed: bool,
}

/// What bounds a node's state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateBound {
    /// The node keeps nothing.
    None,
    /// Live windows: dropped when the watermark passes their end by the retention given.
    Window {
        /// Window size plus lateness in microseconds.
        retention_us: i64,
    },
    /// One constant-size entry for each distinct key.
    PerKey,
    /// At most so many rows for each distinct key.
    RowsPerKey {
        /// How many.
        rows: u64,
    },
    /// For each distinct key the windows of so many rows that are not full.
    RowWindow {
        /// How many a window holds.
        rows: i64,
    },
    /// The limits that the statement or a setting gives.
    Limits,
    /// One entry for each error whose cause has not been taken back.
    PerError,
    /// For each distinct key the rows of one frame, and those that the watermark has not passed.
    FramePerKey,
    /// Grows with the input, which ends by itself.
    BoundedInput,
    /// Grows until the other side of the join, which ends by itself, has ended. Then nothing is kept.
    UntilOtherEnds,
    /// Grows without bound; the statement allowed it.
    Unbounded {
        /// What grows.
        why: &'static str,
    },
}

impl std::fmt::Display for StateBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Window { retention_us } => write!(f, "windows within {}", crate::duration::format_us(*retention_us)),
            Self::PerKey => f.write_str("one entry per key"),
            Self::RowsPerKey { rows: 1 } => f.write_str("one row per key"),
            Self::RowsPerKey { rows } => write!(f, "{rows} rows per key"),
            Self::RowWindow { rows: 1 } => f.write_str("one entry per key, and the row at hand"),
            Self::RowWindow { rows } => write!(f, "per key, the last {rows} rows added up, until their windows are full"),
            Self::Limits => f.write_str("its limits"),
            Self::PerError => f.write_str("one entry per error that stands"),
            Self::FramePerKey => f.write_str("one frame per key, and rows the watermark has not passed"),
            Self::BoundedInput => f.write_str("the input, which is bounded"),
            Self::UntilOtherEnds => f.write_str("the input until the other side ends"),
            Self::Unbounded { why } => write!(f, "unbounded, as allowed: {why}"),
        }
    }
}
