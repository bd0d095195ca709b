//! # Errors are data
//!
//! A row that fails to decode or evaluate, or a result that cannot be computed, becomes a row of the error stream. One operator
//! per worker takes them all and does what the sources' policies say. In a group of processes they all go to the first one, so that
//! limits hold for the group, and one process writes each dead letter file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::source::{ConnectorError, RowError};
use tidemark_planner::plan::{ErrorPolicy, NodeId, PhysicalOp, PhysicalPlan};
use timely::communication::Pull;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::control::{Control, Metrics, RunError, lock};
use crate::epoch::Epoch;
use crate::error_limits::{ErrorLimits, Exceeded, RecordsRead};
use crate::letters::Letters;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
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
    letters: Arc<Letters>,
    /// By path.
    open: BTreeMap<String, Mutex<Box<dyn DeadLetters>>>,
    control: Arc<Control>,
    metrics: Arc<Metrics>,
}

impl ErrorDesk {
    /// Opens what the policies write to; `lead`: errors come to this process.
    pub(crate) fn open(
        plan: Arc<PhysicalPlan>,
        letters: Arc<Letters>,
        lead: bool,
        io: &dyn Io,
        control: Arc<Control>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ConnectorError> {
        let mut open = BTreeMap::new();
        let of_sources = plan.sources().iter().filter_map(|source| match source.on_error.of_a_row() {
            ErrorPolicy::DeadLetter { path } => Some(path),
            _ => None,
        });
        let of_late_rows = plan.nodes().iter().filter_map(|node| late_letters(&node.op));
        for path in of_sources.chain(of_late_rows).filter(|_| lead) {
            if !open.contains_key(path) {
                open.insert(path.clone(), Mutex::new(io.open_dead_letters(path)?));
            }
        }
        Ok(Self { plan, letters, open, control, metrics })
    }

    /// Takes an error. `first`: whether no other error of a record has come yet.
    fn take(&self, epoch: Epoch, row: &ErrorRow, limits: Option<&mut ErrorLimits>, first: impl FnOnce(Record) -> bool) {
        if row.diff < 0 {
            // What it takes back has been told.
            return;
        }
        match row.at {
            ErrorAt::Record { source, partition } | ErrorAt::Row { source, partition } => {
                if first((source, partition, row.error.offset)) {
                    let (metrics, error) = (&self.metrics.sources[source as usize], &row.error);
                    let name = self.letters.partition(source, partition).unwrap_or_default();
                    metrics.bad_row(|| format!("{name}, offset {}: {}", error.offset, error.reason));
                }
                self.take_row(epoch, source, partition, row, limits)
            }
            // A late row is no mistake of anybody: it goes where its window's clause says.
            ErrorAt::Late { node, .. } => {
                let path = late_letters(&self.plan.node(NodeId(node)).op).expect("only such nodes refuse rows");
                self.post(path, epoch, row);
            }
            ErrorAt::Node { node } => self.take_result(epoch, node, row, limits),
            ErrorAt::Refused { node } => self.take_refused(epoch, node, row),
            ErrorAt::Limit { node } => {
                self.control.fail(RunError::Limit { node: self.metrics.operator(node).title(), reason: row.error.reason.clone() })
            }
        }
    }

    fn take_row(&self, epoch: Epoch, source: u32, at: u32, row: &ErrorRow, limits: Option<&mut ErrorLimits>) {
        let plan = &self.plan.sources()[source as usize];
        let partition = self.letters.partition(source, at).unwrap_or_default();
        let error = &row.error;
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
            self.post(path, epoch, row);
        }
        if let Some(limits) = limits {
            limits.record(epoch, source, at, error.offset, &error.reason);
        }
    }

    /// A group that was refused was asked for: it is no failure, and kept where bad rows are.
    fn take_refused(&self, epoch: Epoch, node: u32, row: &ErrorRow) {
        if let Some(path) = self.letters_below(node) {
            self.post(path, epoch, row);
        }
    }

    /// Where the letters of a node's results go.
    fn letters_below(&self, node: u32) -> Option<&String> {
        sources_below(&self.plan, NodeId(node)).into_iter().find_map(|source| {
            match self.plan.sources()[source as usize].on_error.of_a_row() {
                ErrorPolicy::DeadLetter { path } => Some(path),
                _ => None,
            }
        })
    }

    /// A result follows the strictest of the policies of the sources it was computed from.
    fn take_result(&self, epoch: Epoch, node: u32, row: &ErrorRow, limits: Option<&mut ErrorLimits>) {
        self.metrics.operator(node).errors.fetch_add(1, Relaxed);
        let sources = sources_below(&self.plan, NodeId(node));
        if sources.iter().any(|source| self.plan.sources()[*source as usize].on_error == ErrorPolicy::Fail) {
            let node = self.letters.node(NodeId(node)).to_owned();
            self.control.fail(RunError::Evaluation { node, reason: row.error.reason.clone() });
            return;
        }
        if let Some(path) = self.letters_below(node) {
            self.post(path, epoch, row);
        }
        if let Some(limits) = limits {
            sources.into_iter().for_each(|source| limits.result(epoch, source, &row.error.reason));
        }
    }

    /// Ends the run where a limit is exceeded.
    fn judge(&self, exceeded: Vec<Exceeded>) {
        for Exceeded { source, partition, reason } in exceeded {
            let name = &self.plan.sources()[source as usize].name;
            let partition = partition.and_then(|partition| self.letters.partition(source, partition));
            let reason = partition.map_or(reason.clone(), |partition| format!("{reason}, in {partition}"));
            self.control.fail(RunError::Connector { what: format!("too many bad rows in source \"{name}\""), reason });
        }
    }

    /// Writes a dead letter.
    fn post(&self, path: &str, epoch: Epoch, row: &ErrorRow) {
        let letters = self.open.get(path).expect("dead letters of every source are open where errors come to");
        if let Err(error) = lock(letters).write(&self.letters.letter(epoch, row)) {
            self.control.fail(error.into());
        }
    }

    /// Whether all letters so far are written for good. After a failure nothing is waited for.
    fn settled(&self) -> bool {
        let mut all = true;
        for letters in self.open.values() {
            match lock(letters).settled() {
                Ok(settled) => all &= settled,
                Err(error) => {
                    self.control.fail(error.into());
                    return true;
                }
            }
        }
        all || self.control.failure().is_some()
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&self) -> Result<(), ConnectorError> {
        self.open.values().try_for_each(|letters| lock(letters).flush())
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
    let mut found: Vec<u32> = Vec::new();
    for node in plan.below(node) {
        if let PhysicalOp::Source { source } = plan.node(node).op {
            found.push(source.0);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The operator at the end of the error streams. They all lead to one worker if anything is counted there, or if there are several
/// processes; else each worker takes its own. The frontier of what it gives passes an epoch when the epoch's letters are written for good.
pub(crate) fn error_sink<'scope>(
    errors: StreamVec<'scope, Epoch, ErrorRow>,
    reads: StreamVec<'scope, Epoch, RecordsRead>,
    desk: Arc<ErrorDesk>,
    one_process: bool,
) -> StreamVec<'scope, Epoch, ()> {
    let limits = ErrorLimits::new(desk.plan.sources());
    if one_process && limits.is_none() {
        build((errors, Pipeline), (reads, Pipeline), desk, limits)
    } else {
        let first = (Exchange::new(|_: &ErrorRow| 0), Exchange::new(|_: &RecordsRead| 0));
        build((errors, first.0), (reads, first.1), desk, limits)
    }
}

/// Which record of which partition of which source.
type Record = (u32, u32, u64);

/// How soon letters on their way are asked for again.
const SETTLE_INTERVAL: Duration = Duration::from_millis(1);

fn build<'scope, P, Q>(
    errors: (StreamVec<'scope, Epoch, ErrorRow>, P),
    reads: (StreamVec<'scope, Epoch, RecordsRead>, Q),
    desk: Arc<ErrorDesk>,
    mut limits: Option<ErrorLimits>,
) -> StreamVec<'scope, Epoch, ()>
where
    P: ParallelizationContract<Epoch, Vec<ErrorRow>>,
    P::Puller: Pull<Message<Epoch, Vec<ErrorRow>>> + 'static,
    Q: ParallelizationContract<Epoch, Vec<RecordsRead>>,
    Q::Puller: Pull<Message<Epoch, Vec<RecordsRead>>> + 'static,
{
    let scope = errors.0.scope();
    let mut builder = OperatorBuilder::new("Errors".into(), scope);
    let activator = scope.worker().activator_for(builder.operator_info().address);
    let mut errors = builder.new_input(errors.0, errors.1);
    let mut reads = builder.new_input(reads.0, reads.1);
    let (_output, done) = builder.new_output::<Vec<()>>();
    builder.build(move |mut capabilities| {
        let mut held = capabilities.pop();
        let mut unsettled = false;
        // Bad records by epoch: a record is bad once, however many queries it fails in, and all its failures are of one epoch.
        let mut bad: BTreeMap<Epoch, BTreeSet<Record>> = BTreeMap::new();
        move |frontiers| {
            errors.for_each(|capability, rows| {
                let epoch = *capability.least().expect("data has a time");
                unsettled = true;
                let bad = bad.entry(epoch).or_default();
                rows.drain(..).for_each(|row| desk.take(epoch, &row, limits.as_mut(), |record| bad.insert(record)));
            });
            reads.for_each(|capability, reads| {
                let epoch = *capability.least().expect("data has a time");
                if let Some(limits) = &mut limits {
                    reads.drain(..).for_each(|read| limits.read(epoch, read));
                }
            });
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            bad = frontier.map(|frontier| bad.split_off(&frontier)).unwrap_or_default();
            if let (Some(limits), Some(_)) = (&mut limits, &held) {
                desk.judge(limits.close(frontier));
            }
            unsettled = unsettled && !desk.settled();
            if unsettled {
                return activator.activate_after(SETTLE_INTERVAL);
            }
            match (frontier, &mut held) {
                (Some(frontier), Some(held)) => held.downgrade(&frontier),
                _ => held = None,
            }
        }
    });
    done
}
