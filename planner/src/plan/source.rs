//! What a source reads, and what its event times promise.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;

use super::{ChangelogKind, NamedExpr};
use crate::connector::Options;

/// One read of one relation.
///
/// Rows pass through three schemas: the connector decodes [`SourcePlan::read_schema`]; the metadata columns are appended
/// behind it; [`SourcePlan::output`] computes the node's schema from both.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// The relation's name, or the quoted path of an ad-hoc file.
    pub name: String,
    /// Canonical name of the connector.
    pub connector: String,
    /// Validated options under their canonical names, with defaults filled in.
    pub options: Options,
    /// The declared physical columns: what a record holds.
    pub declared: SchemaRef,
    /// Positions in `declared` that are decoded; the others are skipped.
    pub read: Vec<usize>,
    /// The columns of `read`, in that order.
    pub read_schema: SchemaRef,
    /// Columns appended to the decoded ones.
    pub metadata: Vec<MetadataColumn>,
    /// The node's columns, over decoded and metadata columns.
    pub output: Vec<NamedExpr>,
    /// Event time and its watermark, if declared.
    pub event_time: Option<EventTimePlan>,
    /// What happens to a row that cannot be decoded or evaluated.
    pub on_error: ErrorPolicy,
    /// The source ends by itself.
    pub bounded: bool,
    /// Which changes its rows make.
    pub changelog: ChangelogKind,
    /// The columns of `declared` that are the primary key, if one is declared; all of them are read where rows replace each other.
    pub key: Option<Vec<usize>>,
}

/// A column that tells where and when a row was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataColumn {
    /// `_partition`: position of the partition within the source (`Int32`).
    Partition,
    /// `_offset`: place of the row in its partition, ascending (`Int64`): byte offset in text, row number elsewhere.
    Offset,
    /// `_timestamp`: processing time, the time of the epoch the row was read in (`Timestamp(µs)`).
    Timestamp,
    /// `_current_watermark`, as `CURRENT_WATERMARK()` is written here: the watermark of the rows before it in its partition, by which the
    /// row is judged (`Timestamp(µs)`); null where there is none yet.
    Watermark,
}

impl MetadataColumn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Partition, Self::Offset, Self::Timestamp, Self::Watermark];

    /// The column's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "_partition",
            Self::Offset => "_offset",
            Self::Timestamp => "_timestamp",
            Self::Watermark => "_current_watermark",
        }
    }

    /// The column of a schema.
    pub fn field(self) -> arrow::datatypes::FieldRef {
        Arc::new(arrow::datatypes::Field::new(self.name(), self.data_type(), self == Self::Watermark))
    }

    /// The column's type.
    pub fn data_type(self) -> arrow::datatypes::DataType {
        use arrow::datatypes::{DataType, TimeUnit};
        match self {
            Self::Partition => DataType::Int32,
            Self::Offset => DataType::Int64,
            Self::Timestamp | Self::Watermark => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// How a source tells event time.
#[derive(Clone, Debug)]
pub struct EventTimePlan {
    /// Name of the column declared by `WATERMARK FOR`.
    pub column: String,
    /// The event time as `Timestamp(µs)`, over decoded and metadata columns.
    pub expr: Arc<dyn PhysicalExpr>,
    /// The promise.
    pub strategy: WatermarkStrategy,
    /// The watermark that a row carries, as `Timestamp(µs)` over decoded and metadata columns: for [`WatermarkStrategy::Carried`].
    pub carried: Option<Arc<dyn PhysicalExpr>>,
    /// What else moves or holds the watermark.
    pub timing: SourceTiming,
}

/// What moves and holds a source's watermark besides its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SourceTiming {
    /// A partition without rows for this long, in microseconds, stops holding the others back: its watermark becomes the greatest of
    /// the source's partitions, and rows it reads later are judged by that.
    pub idle_timeout_us: Option<i64>,
    /// A partition whose watermark is this far, in microseconds, ahead of the slowest of the source waits.
    pub max_drift_us: Option<i64>,
    /// A row whose event time is this far, in microseconds, ahead of the clock is bad: it moves no watermark and goes where ON ERROR says.
    pub future_bound_us: Option<i64>,
}

/// The watermark of a partition after some rows, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WatermarkStrategy {
    /// The greatest event time so far, minus a delay. A delay of 0 is `ascending`: equal times are in time.
    Bounded {
        /// The delay; −1 for strictly ascending times, where an equal time is late.
        delay_us: i64,
    },
    /// The greatest watermark that a row carried so far; rows that carry none move nothing (punctuated watermarks).
    Carried,
}

/// What happens to a bad row.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPolicy {
    /// The run fails.
    Fail,
    /// The row is counted and dropped.
    Skip,
    /// The row is written, with source, partition, offset, raw bytes and reason, to an ndjson file.
    DeadLetter {
        /// The file.
        path: String,
    },
    /// As another policy, as long as there are few bad rows; beyond that the run fails.
    Limited {
        /// What happens to a bad row within the limits: [`ErrorPolicy::Skip`] or [`ErrorPolicy::DeadLetter`].
        policy: Box<ErrorPolicy>,
        /// How many rows may be bad in all.
        rows: Option<u64>,
        /// Which share of the records of a partition may be bad.
        share: Option<ErrorShare>,
        /// How much may be bad within a time.
        rates: Vec<ErrorRate>,
    },
}

/// A share of the records of a partition, taken in their order, so many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErrorShare {
    /// Hundredths of a per cent.
    pub basis_points: u32,
    /// How many records are taken at a time.
    pub of: u64,
}

impl ErrorShare {
    /// How many of the records taken at a time may be bad.
    pub fn bad_max(self) -> u64 {
        u64::try_from(u128::from(self.basis_points) * u128::from(self.of) / 10_000).unwrap_or(u64::MAX)
    }

    /// The share in per cent, as it is written.
    pub fn percent(self) -> String {
        percent(self.basis_points)
    }
}

/// How much may be bad of what a source reads within a time: a stretch of processing time that begins at a multiple of its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErrorRate {
    /// How much.
    pub most: ErrorRateMost,
    /// The time, in microseconds.
    pub within_us: i64,
}

/// See [`ErrorRate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRateMost {
    /// So many rows.
    Rows(u64),
    /// So many hundredths of a per cent of the rows read.
    BasisPoints(u32),
}

impl ErrorRate {
    /// What may be bad, in words.
    pub fn most_text(self) -> String {
        match self.most {
            ErrorRateMost::Rows(rows) => format!("{rows} rows"),
            ErrorRateMost::BasisPoints(points) => format!("{} per cent", percent(points)),
        }
    }
}

/// Hundredths of a per cent as they are written.
fn percent(basis_points: u32) -> String {
    let (whole, rest) = (basis_points / 100, basis_points % 100);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:02}").trim_end_matches('0').to_owned() }
}

impl ErrorPolicy {
    /// The policy as it may be shown: what stands behind the address of a topic may be secret.
    pub fn shown(&self) -> Self {
        match self {
            Self::Fail | Self::Skip => self.clone(),
            Self::DeadLetter { path } => Self::DeadLetter { path: crate::secrets::address(path).into_owned() },
            Self::Limited { policy, rows, share, rates } => {
                Self::Limited { policy: Box::new(policy.shown()), rows: *rows, share: *share, rates: rates.clone() }
            }
        }
    }

    /// How much may be bad within a time.
    pub fn rates(&self) -> &[ErrorRate] {
        match self {
            Self::Limited { rates, .. } => rates,
            Self::Fail | Self::Skip | Self::DeadLetter { .. } => &[],
        }
    }

    /// What happens to one bad row.
    pub fn of_a_row(&self) -> &Self {
        match self {
            Self::Limited { policy, .. } => policy,
            other => other,
        }
    }

    /// How many rows may be bad in all.
    pub fn rows_max(&self) -> Option<u64> {
        match self {
            Self::Limited { rows, .. } => *rows,
            Self::Fail | Self::Skip | Self::DeadLetter { .. } => None,
        }
    }

    /// Which share of the records may be bad.
    pub fn share_max(&self) -> Option<ErrorShare> {
        match self {
            Self::Limited { share, .. } => *share,
            Self::Fail | Self::Skip | Self::DeadLetter { .. } => None,
        }
    }
}
