//! # Errors are data
//!
//! A row that fails to decode or evaluate, or a result that cannot be computed, becomes a row of the error stream. One operator
//! per worker takes them all and does what the sources' policies say.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::source::{ConnectorError, RowError};
use tidemark_planner::plan::{ErrorPolicy, NodeId, PhysicalOp, PhysicalPlan};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::control::{Control, Metrics, RunError, lock};
use crate::epoch::Epoch;

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
    /// A row of a source: source and partition.
    Row {
        /// The source, by its position in the plan.
        source: u32,
        /// The partition.
        partition: u32,
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
    partitions: Vec<Vec<String>>,
    letters: BTreeMap<String, Mutex<Box<dyn DeadLetters>>>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
}

impl ErrorDesk {
    pub(crate) fn open(
        plan: Arc<PhysicalPlan>,
        partitions: Vec<Vec<String>>,
        io: &dyn Io,
        control: Arc<Control>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ConnectorError> {
        let mut letters = BTreeMap::new();
        for source in plan.sources() {
            if let ErrorPolicy::DeadLetter { path } = &source.on_error
                && !letters.contains_key(path)
            {
                letters.insert(path.clone(), Mutex::new(io.open_dead_letters(path)?));
            }
        }
        Ok(Self { plan, partitions, letters, control, metrics })
    }

    fn take(&self, row: &ErrorRow) {
        match row.at {
            ErrorAt::Row { source, partition } => self.take_row(source, partition, &row.error),
            ErrorAt::Node { node } => self.take_result(node, row),
        }
    }

    fn take_row(&self, source: u32, partition: u32, error: &RowError) {
        let plan = &self.plan.sources()[source as usize];
        let partition = self.partitions[source as usize].get(partition as usize).map_or("?", String::as_str);
        self.metrics.sources[source as usize].bad_row(|| format!("{partition}, offset {}: {}", error.offset, error.reason));
        match &plan.on_error {
            ErrorPolicy::Fail => self.control.fail(RunError::BadRow {
                source_name: plan.name.clone(),
                partition: partition.to_owned(),
                offset: error.offset,
                reason: error.reason.clone(),
                raw: error.raw.clone(),
            }),
            ErrorPolicy::Skip => {}
            ErrorPolicy::DeadLetter { path } => {
                let letters = self.letters.get(path).expect("dead letters of every source are open");
                if let Err(error) = lock(letters).write(&plan.name, partition, error) {
                    self.control.fail(error.into());
                }
            }
        }
    }

    /// A result follows the strictest of the policies of the sources it was computed from.
    fn take_result(&self, node: u32, row: &ErrorRow) {
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
            if let ErrorPolicy::DeadLetter { path } = policy {
                let letters = self.letters.get(path).expect("dead letters of every source are open");
                if let Err(error) = lock(letters).write(&NodeId(node).to_string(), "", &row.error) {
                    self.control.fail(error.into());
                }
                return;
            }
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

/// The operator at the end of the error streams.
pub(crate) fn error_sink(stream: StreamVec<'_, Epoch, ErrorRow>, desk: Arc<ErrorDesk>) {
    let mut builder = OperatorBuilder::new("Errors".into(), stream.scope());
    let mut input = builder.new_input(stream, Pipeline);
    builder.build(move |_| {
        move |_frontiers| {
            input.for_each(|_capability, rows| {
                for row in rows.drain(..) {
                    desk.take(&row);
                }
            });
        }
    });
}
