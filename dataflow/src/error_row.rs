//! # Errors are data
//!
//! A row that fails to decode or evaluate, or a result that cannot be computed, becomes a row of the error stream. One operator
//! per worker takes them all and does what the sources' policies say. In a group of processes they all go to the first one, so that
//! limits hold for the group, and one process writes each dead letter file.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tidemark_connectors::io::{DeadLetter, DeadLetters, Io, Stage};
use tidemark_connectors::source::{ConnectorError, RowError};
use tidemark_planner::plan::{ErrorPolicy, NodeId, PhysicalOp, PhysicalPlan};
use timely::communication::Pull;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::control::{Control, Metrics, RunError, lock};
use crate::epoch::Epoch;
use crate::source::SharedSource;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ErrorRow {
    /// What failed.
    pub at: ErrorAt,
    /// The record and the reason.
    pub error: RowError,
    /// +1, or −1 when the cause was taken back.
    pub diff: i64,
}

/// Where an error happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ErrorAt {
    /// A record of a source that could not be decoded: the error has its bytes as they were read.
    Record {
        /// The source, by its position in the plan.
        source: u32,
        /// The partition.
        partition: u32,
    },
    /// A row of a source that could not be evaluated: the error has the row as text.
    Row {
        /// The source, by its position in the plan.
        source: u32,
        /// The partition.
        partition: u32,
    },
    /// A row that came too late for its window at a node.
    Late {
        /// The node.
        node: u32,
        /// The source; `u32::MAX` for rows that were computed.
        source: u32,
        /// The partition.
        partition: u32,
    },
    /// A group that limits did not let in at a node.
    Refused {
        /// The node.
        node: u32,
    },
    /// A limit on a node's state was passed, which fails the run.
    Limit {
        /// The node.
        node: u32,
    },
    /// A result of a node.
    Node {
        /// The node.
        node: u32,
    },
}

/// Does what the policies say, for all workers of a process.
pub(crate) struct ErrorDesk {
    plan: Arc<PhysicalPlan>,
    /// The plan's number, for letters.
    fingerprint: u64,
    sources: Vec<Arc<SharedSource>>,
    letters: BTreeMap<String, Mutex<Box<dyn DeadLetters>>>,
    /// Bad rows of each source so far, for those that limit them.
    bad: Vec<AtomicU64>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
}

impl ErrorDesk {
    /// Opens what the policies write to; `lead`: errors come to this process.
    pub(crate) fn open(
        plan: Arc<PhysicalPlan>,
        sources: Vec<Arc<SharedSource>>,
        lead: bool,
        io: &dyn Io,
        control: Arc<Control>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ConnectorError> {
        let mut letters = BTreeMap::new();
        let of_sources = plan.sources().iter().filter_map(|source| match source.on_error.of_a_row() {
            ErrorPolicy::DeadLetter { path } => Some(path),
            _ => None,
        });
        let of_late_rows = plan.nodes().iter().filter_map(|node| late_letters(&node.op));
        for path in of_sources.chain(of_late_rows).filter(|_| lead) {
            if !letters.contains_key(path) {
                letters.insert(path.clone(), Mutex::new(io.open_dead_letters(path)?));
            }
        }
        let bad = plan.sources().iter().map(|_| AtomicU64::new(0)).collect();
        let fingerprint = tidemark_planner::explain::fingerprint(&plan);
        Ok(Self { plan, fingerprint, sources, letters, bad, control, metrics })
    }

    fn take(&self, epoch: Epoch, row: &ErrorRow) {
        match row.at {
            ErrorAt::Record { source, partition } => self.take_row(epoch, source, partition, Stage::Decode, &row.error),
            ErrorAt::Row { source, partition } => self.take_row(epoch, source, partition, Stage::Evaluate, &row.error),
            ErrorAt::Late { node, source, partition } => self.take_late(epoch, node, source, partition, &row.error),
            ErrorAt::Node { node } => self.take_result(epoch, node, row),
            ErrorAt::Refused { node } => self.take_refused(epoch, node, &row.error),
            ErrorAt::Limit { node } => {
                self.control.fail(RunError::Limit { node: self.metrics.operator(node).title(), reason: row.error.reason.clone() })
            }
        }
    }

    fn take_row(&self, epoch: Epoch, source: u32, partition: u32, stage: Stage, error: &RowError) {
        let plan = &self.plan.sources()[source as usize];
        let partition = &self.sources[source as usize].partitions.name(partition as usize);
        self.metrics.sources[source as usize].bad_row(|| format!("{partition}, offset {}: {}", error.offset, error.reason));
        if plan.on_error == ErrorPolicy::Fail {
            self.control.fail(RunError::BadRow {
                source_name: plan.name.clone(),
                partition: partition.clone(),
                offset: error.offset,
                reason: error.reason.clone(),
                raw: error.raw.clone(),
            });
            return;
        }
        if let ErrorPolicy::DeadLetter { path } = plan.on_error.of_a_row() {
            self.post(path, epoch, &plan.name, partition, stage, error);
        }
        let bad = self.bad[source as usize].fetch_add(1, Relaxed) + 1;
        if let Some(most) = plan.on_error.rows_max().filter(|most| bad > *most) {
            self.control.fail(too_many(&plan.name, format!("{bad} rows were bad, and ON ERROR allows {most}; the last: {}", error.reason)));
        }
    }

    /// A late row is no mistake of anybody: it goes where its window's clause says.
    fn take_late(&self, epoch: Epoch, node: u32, source: u32, partition: u32, error: &RowError) {
        let path = late_letters(&self.plan.node(NodeId(node)).op).expect("only such nodes refuse rows");
        let (name, partition) = match (self.plan.sources().get(source as usize), self.sources.get(source as usize)) {
            (Some(plan), Some(source)) => (plan.name.clone(), source.partitions.name(partition as usize)),
            _ => (NodeId(node).to_string(), String::new()),
        };
        self.post(path, epoch, &name, &partition, Stage::Late, error);
    }

    /// A group that was refused was asked for: it is no failure, and kept where bad rows are.
    fn take_refused(&self, epoch: Epoch, node: u32, error: &RowError) {
        let path = self.policies(NodeId(node)).into_iter().find_map(|policy| match policy.of_a_row() {
            ErrorPolicy::DeadLetter { path } => Some(path),
            _ => None,
        });
        if let Some(path) = path {
            self.post(path, epoch, &NodeId(node).to_string(), "", Stage::Refused, error);
        }
    }

    /// A result follows the strictest of the policies of the sources it was computed from.
    fn take_result(&self, epoch: Epoch, node: u32, row: &ErrorRow) {
        let metrics = self.metrics.operator(node);
        if row.diff < 0 {
            return;
        }
        metrics.errors.fetch_add(1, Relaxed);
        let policies = self.policies(NodeId(node));
        if policies.iter().any(|policy| **policy == ErrorPolicy::Fail) {
            self.control.fail(RunError::Evaluation { node: NodeId(node).to_string(), reason: row.error.reason.clone() });
            return;
        }
        for policy in policies {
            if let ErrorPolicy::DeadLetter { path } = policy.of_a_row() {
                return self.post(path, epoch, &NodeId(node).to_string(), "", Stage::Compute, &row.error);
            }
        }
    }

    /// Writes a dead letter.
    fn post(&self, path: &str, epoch: Epoch, source: &str, partition: &str, stage: Stage, error: &RowError) {
        let mut hasher = blake3::Hasher::new();
        for part in [source.as_bytes(), partition.as_bytes(), stage.name().as_bytes(), &error.offset.to_le_bytes(), &error.raw] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let id = hasher.finalize().to_hex();
        let letter = DeadLetter {
            id: &id[..16],
            at_us: i64::try_from(epoch).unwrap_or(i64::MAX),
            source,
            partition,
            stage,
            error,
            plan: self.fingerprint,
        };
        let letters = self.letters.get(path).expect("dead letters of every source are open where errors come to");
        if let Err(error) = lock(letters).write(&letter) {
            self.control.fail(error.into());
        }
    }

    fn policies(&self, node: NodeId) -> Vec<&ErrorPolicy> {
        sources_below(&self.plan, node).into_iter().map(|source| &self.plan.sources()[source as usize].on_error).collect()
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&self) -> Result<(), ConnectorError> {
        self.letters.values().try_for_each(|letters| lock(letters).flush())
    }
}

/// Where rows go that are too late for an operator's windows, if they are kept.
fn late_letters(op: &PhysicalOp) -> Option<&String> {
    match op {
        PhysicalOp::Aggregate { window: Some(window), .. } => window.letters.as_ref(),
        _ => None,
    }
}

/// The sources a node reads, ascending, without duplicates.
pub(crate) fn sources_below(plan: &PhysicalPlan, node: NodeId) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        let op = &plan.node(node).op;
        if let PhysicalOp::Source { source } = op {
            found.push(source.0);
        }
        open.extend(op.inputs());
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The failure of a source with too many bad rows.
pub(crate) fn too_many(source: &str, reason: String) -> RunError {
    RunError::Connector { what: format!("too many bad rows in source \"{source}\""), reason }
}

/// The operator at the end of the error streams; `here`: every process has errors of its own only, because there is no other.
pub(crate) fn error_sink(stream: StreamVec<'_, Epoch, ErrorRow>, desk: Arc<ErrorDesk>, here: bool) {
    if here { build(stream, Pipeline, desk) } else { build(stream, Exchange::new(|_: &ErrorRow| 0), desk) }
}

fn build<'scope, P>(stream: StreamVec<'scope, Epoch, ErrorRow>, pact: P, desk: Arc<ErrorDesk>)
where
    P: ParallelizationContract<Epoch, Vec<ErrorRow>>,
    P::Puller: Pull<Message<Epoch, Vec<ErrorRow>>> + 'static,
{
    let mut builder = OperatorBuilder::new("Errors".into(), stream.scope());
    let mut input = builder.new_input(stream, pact);
    builder.build(move |_| {
        move |_frontiers| {
            input.for_each(|capability, rows| {
                let epoch = *capability.least().expect("data has a time");
                for row in rows.drain(..) {
                    desk.take(epoch, &row);
                }
            });
        }
    });
}
