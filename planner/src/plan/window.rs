//! Windows: how rows are assigned, when results come out, and what becomes of late rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_physical_expr::PhysicalExpr;

use super::{FiringPlan, WatermarkPlan};

/// The windows of an operator. All times are microseconds since the Unix epoch; ends are exclusive.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    /// The shape.
    pub kind: WindowKind,
    /// Shift of the window starts from the Unix epoch, `0 <= offset < slide`.
    pub offset_us: i64,
    /// The time rows are assigned by, `Timestamp(µs)`, over the operator's input. For [`WindowKind::Attached`], the window end. Not read
    /// where windows are of so many rows.
    pub time: Arc<dyn PhysicalExpr>,
    /// For [`WindowKind::Attached`] when both are known: the window start.
    pub start: Option<Arc<dyn PhysicalExpr>>,
    /// The watermark that closes windows. `None` only where nothing waits for it (EMIT CHANGES without a watermark).
    pub watermark: Option<WatermarkPlan>,
    /// How long a closed window is kept: a late row within this time corrects it.
    pub lateness_us: i64,
    /// What becomes of rows that are late beyond that.
    pub late: LateStrategy,
    /// The dead-letter file of [`LateStrategy::DeadLetterQueue`].
    pub letters: Option<String>,
    /// When results come out, where the statement says so: the trigger of [`Emit::Triggered`].
    pub firing: Option<FiringPlan>,
    /// Where a row stands in its source, partition and offset, over the operator's input: the order in which rows are counted. Empty
    /// where none are.
    pub places: Vec<Arc<dyn PhysicalExpr>>,
}

/// The shape of windows. Sizes in microseconds, all positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Fixed, back to back.
    Tumble {
        /// Length.
        size_us: i64,
    },
    /// Overlapping: a window of `size_us` starts every `slide_us`. The size is a multiple of the slide.
    Hop {
        /// Length.
        size_us: i64,
        /// Distance between starts.
        slide_us: i64,
    },
    /// Growing: from each multiple of `size_us`, windows of length `step_us`, `2 step_us`, …, `size_us`.
    Cumulate {
        /// Greatest length.
        size_us: i64,
        /// Growth.
        step_us: i64,
    },
    /// By activity: the rows of a group that are less than `gap_us` apart. Never in [`Step::AssignWindows`](super::Step): which session a row
    /// is in is known when the session ends.
    Session {
        /// Time without rows that ends a session.
        gap_us: i64,
    },
    /// By count: the rows of a group, numbered from 0 in the order of their source. A window ends at each multiple of `slide` and holds
    /// the `size` rows before; the size is a multiple of the slide. As with sessions, never in [`Step::AssignWindows`](super::Step).
    Rows {
        /// Rows of a window.
        size: i64,
        /// Rows from one window's end to the next.
        slide: i64,
    },
    /// The window is in the row already.
    Attached,
}

impl WindowKind {
    /// Whether which window a row is in is known only where the rows of its group are kept.
    pub fn needs_group(self) -> bool {
        matches!(self, Self::Session { .. } | Self::Rows { .. })
    }

    /// The type of the window's columns: moments, or numbers of rows.
    pub fn column_type(self) -> DataType {
        match self {
            Self::Rows { .. } => DataType::Int64,
            Self::Tumble { .. } | Self::Hop { .. } | Self::Cumulate { .. } | Self::Session { .. } | Self::Attached => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
        }
    }
}

/// A column of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowColumn {
    /// `window_start`.
    Start,
    /// `window_end`, exclusive.
    End,
    /// `window_time`: the last instant of the window, `window_end − 1 µs`.
    Time,
}

/// Which clock a time is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeDomain {
    /// When it happened, by a column of the row.
    EventTime,
    /// When it was read, by the epoch clock.
    ProcessingTime,
}

/// When results come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// Each epoch's net change, as the epoch closes.
    Changes,
    /// When the watermark reaches the window's end, or at the end of a bounded input. Once, unless the window allows lateness: then
    /// late rows correct what came out, as the epoch they came in closes. Windows of so many rows: when the last of them has come.
    Final,
    /// When the window's trigger fires ([`WindowPlan::firing`]).
    Triggered,
}

/// What becomes of a row that is too late: beyond the allowed lateness of its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateStrategy {
    /// Counted and dropped.
    #[default]
    Drop,
    /// Late rows correct their window while it is kept; those beyond are counted and dropped.
    UpdatePrevious,
    /// Written to a dead-letter file.
    DeadLetterQueue,
    /// Counted in the earliest window that is open.
    IncludeInNextWindow,
    /// They are what comes out, and nothing else: LATE over sessions.
    PutOut {
        /// The query counts them in the next window, where they may hold others.
        moves: bool,
    },
}

impl LateStrategy {
    /// The word in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::UpdatePrevious => "update_previous",
            Self::DeadLetterQueue => "dead_letter_queue",
            Self::IncludeInNextWindow => "include_in_next_window",
            Self::PutOut { .. } => "put_out",
        }
    }

    /// The strategy of a word.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Drop, Self::UpdatePrevious, Self::DeadLetterQueue, Self::IncludeInNextWindow].into_iter().find(|it| it.name() == name)
    }
}
