//! Window functions: a value for each row, computed from the rows around it.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_physical_expr::PhysicalExpr;

use super::{AggregatePlan, Emit, NodeId, SortKey, WatermarkPlan, WindowPlan};

/// Functions OVER the rows of a group in order. Output columns: the input's, then one for each function.
///
/// The order is total: rows that are equal by `order_by` are told apart by the bytes of their columns where a position is asked for
/// (`ROWS` frames, `row_number`, `lag`); peers by `order_by` alone.
#[derive(Clone, Debug)]
pub struct OverPlan {
    /// Where rows come from.
    pub input: NodeId,
    /// The groups. Empty: all rows are one group, and live on one worker.
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// The order within a group.
    pub order_by: Vec<SortKey>,
    /// The functions.
    pub functions: Vec<OverCall>,
    /// The window that is part of the group ([`WindowKind::Attached`](super::WindowKind::Attached)): groups are dropped when it has closed.
    pub window: Option<WindowPlan>,
    /// Rows come out once, when the watermark has passed their time: functions look back only, over input that only adds rows.
    pub time: Option<OverTime>,
    /// When results come out.
    pub emit: Emit,
    /// The input may take rows back.
    pub retractable: bool,
}

/// The event time that an order begins with.
#[derive(Clone, Debug)]
pub struct OverTime {
    /// The time in microseconds, over the operator's input.
    pub time: Arc<dyn PhysicalExpr>,
    /// What it never falls behind.
    pub watermark: WatermarkPlan,
}

/// One function.
#[derive(Clone, Debug)]
pub struct OverCall {
    /// What is computed.
    pub function: OverFunction,
    /// Arguments that are read of rows, over the operator's input.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// The rows it is computed from.
    pub frame: Frame,
    /// Rows whose argument is null are passed over.
    pub ignore_nulls: bool,
    /// The output column.
    pub output: FieldRef,
    /// The function as written, for EXPLAIN.
    pub text: String,
}

/// What a function computes.
#[derive(Clone, Debug)]
pub enum OverFunction {
    /// Position, from 1. `Int64`.
    RowNumber,
    /// Position of the first peer. `Int64`.
    Rank,
    /// Number of different ranks so far. `Int64`.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`. `Float64`.
    PercentRank,
    /// Share of rows up to the last peer. `Float64`.
    CumeDist,
    /// Which of so many parts of equal size, from 1. `Int64`.
    Ntile {
        /// How many parts.
        parts: u64,
    },
    /// The argument so many rows before (negative: behind); the second argument where there is no such row.
    Shift {
        /// How many rows before.
        rows: i64,
    },
    /// The argument of the n-th row of the frame, from 1; from its end if negative.
    Nth {
        /// Which row, never 0.
        row: i64,
    },
    /// An aggregate of the frame. Its `order_by`, if it has one, is the position in the group.
    Aggregate(Box<AggregatePlan>),
}

/// The rows around a row.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What bounds count.
    pub units: FrameUnits,
    /// The first row.
    pub start: FrameBound,
    /// The last row.
    pub end: FrameBound,
}

/// What the bounds of a frame count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Values of the order.
    Range,
    /// Groups of peers.
    Groups,
}

/// A bound of a frame.
#[derive(Clone, Debug)]
pub enum FrameBound {
    /// The first row of the group for a start, the last for an end.
    Unbounded,
    /// The row itself, or its peers.
    Current,
    /// So many rows or groups behind; before, if negative.
    Offset(i64),
    /// The value of the order at the bound, over the operator's input, of the type of the only sort key.
    Value {
        /// The value.
        expr: Arc<dyn PhysicalExpr>,
        /// The bound as written, for EXPLAIN.
        text: String,
    },
}
