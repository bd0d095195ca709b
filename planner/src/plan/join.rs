//! Joins and what they read: relations arranged by a key, which forget rows that no future row can meet.

use std::sync::Arc;

use datafusion_physical_expr::PhysicalExpr;

use super::{NodeId, WatermarkPlan};

/// A relation kept in key order: one indexed, shared copy of its rows for every operator that reads it by this key.
///
/// The node's schema is its input's. Equal arrangements are one node, so several joins share one copy.
#[derive(Clone, Debug)]
pub struct ArrangePlan {
    /// Where rows come from.
    pub input: NodeId,
    /// The key, over the input's columns. Empty: all rows have one key, and live on one worker.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows are dropped when no future row of the other side can meet them. `None`: kept until they are taken back.
    pub retention: Option<Retention>,
}

/// When a row may be forgotten, and when it comes too late to be taken.
///
/// A row is dropped from state, without a retraction, once `time + slack_us < W` for the watermark `W` of the relation it is
/// joined with. A row whose `time` lies behind the watermark of its own relation when it is read (`w_row`) is late: it is counted
/// and dropped before it is joined, because the rows it should meet may be gone.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The row's time, `Timestamp(µs)`, over the input's columns.
    pub time: Arc<dyn PhysicalExpr>,
    /// How far behind the watermark of the other side a row can still be met, in microseconds; negative when rows of the other
    /// side are always later. [`Retention::FOREVER`]: rows stay, and are only judged.
    pub slack_us: i64,
    /// The other side's watermark.
    pub watermark: WatermarkPlan,
    /// This relation's own watermark, by which late rows are judged.
    pub own: WatermarkPlan,
}

impl Retention {
    /// The slack of rows that are never forgotten.
    pub const FOREVER: i64 = i64::MAX;
}

/// An equality join of two arranged relations. Its columns are those of left, then right, picked by `output`.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// An [`Arrange`](super::PhysicalOp::Arrange) node.
    pub left: NodeId,
    /// An [`Arrange`](super::PhysicalOp::Arrange) node with as many keys, of the same types.
    pub right: NodeId,
    /// Which rows come out.
    pub kind: JoinKind,
    /// Null keys are equal to null keys (`IS NOT DISTINCT FROM`, set operations); otherwise they match nothing.
    pub null_equals_null: bool,
    /// `NOT IN`: an anti join that is empty while the right side holds a null key, and drops left rows with null keys unless the right side is empty.
    pub null_aware: bool,
    /// What must hold besides equal keys, over the columns of left, then right.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Positions in left ++ right (and the mark behind them, for [`JoinKind::LeftMark`]) of the output columns. For semi and anti joins, positions in left.
    pub output: Vec<usize>,
    /// A left row without a match, in a join whose state is bounded by time and that emits only final rows, comes out when it is dropped. Otherwise
    /// nulls come out at once and are taken back when a match arrives.
    pub nulls_when_final: bool,
    /// The relations that are joined here and below, in that order, and why in that order, if there are three or more.
    pub order: Option<String>,
}

/// Which rows of a join come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs, and left rows without a match, with nulls.
    Left,
    /// Pairs, and right rows without a match, with nulls.
    Right,
    /// Pairs, and rows of both sides without a match.
    Full,
    /// Left rows with a match, as often as they stand in left.
    LeftSemi,
    /// Left rows without a match.
    LeftAnti,
    /// All left rows, and whether they have a match (`Boolean`, never null).
    LeftMark,
}

/// A join of each left row with the one right row that was valid at its time: the latest of its key at or before it.
#[derive(Clone, Debug)]
pub struct AsOfPlan {
    /// The rows to enrich.
    pub left: NodeId,
    /// The versions.
    pub right: NodeId,
    /// Left rows without a version come out with nulls; otherwise they are dropped.
    pub outer: bool,
    /// The keys over left's columns.
    pub left_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The keys over right's columns, of the same types.
    pub right_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// How versions are found.
    pub mode: AsOfMode,
    /// What must hold besides, over left ++ right, of the version found.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Positions in left ++ right of the output columns.
    pub output: Vec<usize>,
}

/// How an AS OF join finds the version.
#[derive(Clone, Debug)]
pub enum AsOfMode {
    /// By time columns. With both watermarks, a left row waits until the right side's watermark has passed it, comes out once, and
    /// versions that no future left row can see are dropped. Without, answers come at once and are corrected.
    Time {
        /// Over left's columns, any ordered type that equals `right_time`'s.
        left_time: Arc<dyn PhysicalExpr>,
        /// Over right's columns.
        right_time: Arc<dyn PhysicalExpr>,
        /// Which versions a left row may see.
        condition: AsOfCondition,
        /// The watermarks of left and right, when both sides have one.
        watermarks: Option<(WatermarkPlan, WatermarkPlan)>,
    },
    /// The version current when the left row is processed; later versions change nothing.
    Processing,
}

/// Which versions a left row may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AsOfCondition {
    /// `left >= right`: the latest at or before.
    AtOrBefore,
    /// `left > right`: the latest before.
    Before,
    /// `left <= right`: the first at or after.
    AtOrAfter,
    /// `left < right`: the first after.
    After,
}

/// Set operations over bags that are not joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetOperation {
    /// A row that is in both sides, once.
    Intersect,
    /// A row as often as in the side that has fewer.
    IntersectAll,
    /// A row of left that is not in right, once.
    Except,
    /// A row as often as left has more than right.
    ExceptAll,
}
