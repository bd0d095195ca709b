//! What is told of a record, row or result that did not make it: the same in dead letter files and topics and in `ERRORS(query)`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// One thing that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterColumn {
    /// Tells it from all others: the same whenever the same record fails in the same way at the same place.
    Id,
    /// Processing time when it failed.
    At,
    /// Its source, or the node whose result it is.
    Source,
    /// The source's partition; of a result, null.
    Partition,
    /// Its place in the partition; of a result, null.
    Offset,
    /// Where it failed.
    Stage,
    /// Why.
    Reason,
    /// The record as it was read, where that is known.
    Raw,
    /// The row or the group as text, where that is what failed.
    Row,
    /// The fingerprint of the plan.
    Plan,
}

impl LetterColumn {
    /// All of them, in order.
    pub const ALL: [Self; 10] =
        [Self::Id, Self::At, Self::Source, Self::Partition, Self::Offset, Self::Stage, Self::Reason, Self::Raw, Self::Row, Self::Plan];

    /// Its name, in SQL as in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::At => "at",
            Self::Source => "source",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Stage => "stage",
            Self::Reason => "reason",
            Self::Raw => "raw",
            Self::Row => "row",
            Self::Plan => "plan",
        }
    }

    fn field(self) -> Field {
        let (data_type, nullable) = match self {
            Self::At => (DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Self::Offset => (DataType::Int64, true),
            Self::Raw => (DataType::Binary, true),
            Self::Partition | Self::Row => (DataType::Utf8, true),
            Self::Id | Self::Source | Self::Stage | Self::Reason | Self::Plan => (DataType::Utf8, false),
        };
        Field::new(self.name(), data_type, nullable)
    }

    /// The columns of `ERRORS(query)`.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(Self::ALL.map(Self::field).to_vec()))
    }
}
