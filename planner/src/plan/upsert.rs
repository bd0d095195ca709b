//! Rows that replace the row with the same key, turned into rows that are added and taken back.

use super::NodeId;

/// Keeps the last row of each key and puts out what changes in an epoch: the row that was there taken back, the new one added.
///
/// The input's diffs say what a row does: positive, it replaces the row of its key; negative, it deletes it, and only its key counts.
/// The last row by partition and offset is the one that holds, in whatever order partitions are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpsertPlan {
    /// The source whose rows replace each other.
    pub input: NodeId,
    /// The columns of the primary key, none of them null.
    pub key: Vec<usize>,
    /// Deleted keys are remembered, with the partition that deleted them, until the input ends: a row of an earlier partition that is
    /// read later must not bring them back. Only where the input ends; elsewhere a key stays in one partition.
    pub remember_deleted: bool,
}
