//! Where results go.

use arrow::datatypes::SchemaRef;

use super::{ChangelogKind, WatermarkPlan};
use crate::connector::Options;

/// One sink and what it will be given.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// The sink's name; `stdout` for a bare SELECT.
    pub name: String,
    /// Canonical name of the connector.
    pub connector: String,
    /// Validated options under their canonical names, with defaults filled in.
    pub options: Options,
    /// The columns.
    pub schema: SchemaRef,
    /// The changes that will come.
    pub changelog: ChangelogKind,
    /// Columns that identify a row, if any are known or declared.
    pub key: Option<Vec<usize>>,
    /// The column of ascending event time, if there is one: rows of an epoch may be put in its order.
    pub time_column: Option<usize>,
    /// The input ends by itself.
    pub bounded: bool,
    /// The order that the query's own `ORDER BY … LIMIT` gives the final rows, as far as its columns come out. For sinks that show a whole result.
    pub order: Vec<SinkOrder>,
    /// The watermark of the result, if the sink is told as it moves: results of windows that end by then change no more.
    pub progress: Option<WatermarkPlan>,
}

/// One column of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SinkOrder {
    /// The column.
    pub column: usize,
    /// Greatest first.
    pub descending: bool,
    /// Nulls before all others.
    pub nulls_first: bool,
}
