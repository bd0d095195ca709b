//! What is told of an error: its names looked up, and a number that tells it from all others.

use std::borrow::Cow;
use std::sync::Arc;

use tidemark_connectors::io::{DeadLetter, Stage};
use tidemark_planner::plan::{NodeId, PhysicalPlan};

use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::source::SharedSource;

/// Makes letters of errors.
pub(crate) struct Letters {
    plan: Arc<PhysicalPlan>,
    fingerprint: u64,
    sources: Vec<Arc<SharedSource>>,
    /// What EXPLAIN calls each node.
    nodes: Vec<String>,
}

impl Letters {
    pub(crate) fn new(plan: Arc<PhysicalPlan>, sources: Vec<Arc<SharedSource>>) -> Self {
        let fingerprint = tidemark_planner::explain::fingerprint(&plan);
        let nodes = plan.nodes().iter().map(|node| node.id.to_string()).collect();
        Self { plan, fingerprint, sources, nodes }
    }

    /// The name of a source's partition.
    pub(crate) fn partition(&self, source: u32, partition: u32) -> Option<String> {
        Some(self.sources.get(source as usize)?.partitions.name(partition as usize))
    }

    /// The name of a node.
    pub(crate) fn node(&self, node: NodeId) -> &str {
        &self.nodes[node.index()]
    }

    /// The letter of an error.
    pub(crate) fn letter<'a>(&'a self, epoch: Epoch, row: &'a ErrorRow) -> DeadLetter<'a> {
        let error = &row.error;
        let of = |source: u32| self.plan.sources().get(source as usize).map(|source| source.name.as_str());
        let (stage, source, place) = match row.at {
            ErrorAt::Record { source, partition } => (Stage::Decode, of(source), Some((source, partition))),
            ErrorAt::Row { source, partition } => (Stage::Evaluate, of(source), Some((source, partition))),
            ErrorAt::Late { node, source, partition } => {
                (Stage::Late, of(source).or_else(|| Some(self.node(NodeId(node)))), Some((source, partition)))
            }
            ErrorAt::Node { node } | ErrorAt::Limit { node } => (Stage::Compute, Some(self.node(NodeId(node))), None),
            ErrorAt::Refused { node } => (Stage::Refused, Some(self.node(NodeId(node))), None),
        };
        let source = source.unwrap_or_default();
        let partition = place.and_then(|(source, partition)| self.partition(source, partition));
        let offset = partition.as_ref().map(|_| error.offset);
        let mut hasher = blake3::Hasher::new();
        let parts: [&[u8]; 6] = [
            source.as_bytes(),
            partition.as_deref().unwrap_or_default().as_bytes(),
            stage.name().as_bytes(),
            &offset.unwrap_or_default().to_le_bytes(),
            &error.raw,
            error.reason.as_bytes(),
        ];
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let hash = hasher.finalize();
        let id = hash.as_bytes().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
        // What was read is told from what was made of it: only that can be read again.
        let (raw, text) =
            if stage == Stage::Decode { (Some(error.raw.as_slice()), None) } else { (None, std::str::from_utf8(&error.raw).ok()) };
        DeadLetter {
            id,
            at_us: i64::try_from(epoch).unwrap_or(i64::MAX),
            source,
            partition: partition.map(Cow::Owned),
            offset,
            stage,
            reason: &error.reason,
            raw,
            row: text,
            plan: self.fingerprint,
        }
    }
}
