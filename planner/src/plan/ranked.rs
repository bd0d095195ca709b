//! Operators that put the rows of a group in order.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion_physical_expr::PhysicalExpr;

use super::{Emit, NodeId, SortKey, WindowPlan};

/// The first rows of each group, by an order: ORDER BY … LIMIT, DISTINCT ON, deduplication, and `ROW_NUMBER() … <= n` in all its spellings.
///
/// The order is total: rows that are equal by `order_by` are told apart by the bytes of their output columns, so the answer is the
/// same whatever order rows come in. Output columns: the input's, picked by `output`, then the rank if it is asked for.
#[derive(Clone, Debug)]
pub struct TopNPlan {
    /// Where rows come from.
    pub input: NodeId,
    /// The groups. Empty: all rows are one group, and live on one worker.
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// The order within a group.
    pub order_by: Vec<SortKey>,
    /// How rows are numbered.
    pub function: RankFunction,
    /// Ranks up to this one are left out.
    pub offset: u64,
    /// How many ranks come out behind the offset. `None`: all.
    pub limit: Option<u64>,
    /// Positions of the input's columns that come out.
    pub output: Vec<usize>,
    /// The column of the rank (`Int64`), if it comes out.
    pub rank: Option<FieldRef>,
    /// The window that is part of the group ([`WindowKind::Attached`](super::WindowKind::Attached)): groups are dropped when it has closed.
    pub window: Option<WindowPlan>,
    /// When rows come out.
    pub emit: Emit,
    /// The input may take rows back: then every row of a group is kept, otherwise only those that may come out.
    pub retractable: bool,
}

impl TopNPlan {
    /// The greatest rank that comes out.
    pub fn last(&self) -> Option<u64> {
        self.limit.map(|limit| self.offset.saturating_add(limit))
    }
}

/// How rows are numbered within their group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RankFunction {
    /// 1, 2, 3, …: each row has its own.
    RowNumber,
    /// Rows equal by the order have one rank, that of the first of them.
    Rank,
    /// Rows equal by the order have one rank, one more than that of the rows before.
    DenseRank,
}
