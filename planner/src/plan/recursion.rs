//! Relations that are computed from themselves: `WITH RECURSIVE`.

use super::NodeId;

/// The least relation that holds the base and what the step makes of the relation itself.
///
/// `step` reads the node `recursive`, which stands for the relation as the round before left it; in the first round that is empty. A round
/// puts the base and the step's rows together, and the last round is the one that changes nothing.
#[derive(Clone, Debug)]
pub struct RecursionPlan {
    /// Its name in the statement.
    pub name: String,
    /// The rows to begin with.
    pub base: NodeId,
    /// The rows made of the relation, over columns equal to the base's.
    pub step: NodeId,
    /// The [`Recursive`](super::PhysicalOp::Recursive) node that the step reads.
    pub recursive: NodeId,
    /// `UNION`: each row once. Otherwise as often as it is made, which is defined while the step reads the relation once.
    pub distinct: bool,
    /// The run fails when a round after so many still changes something.
    pub rounds_max: u64,
}
