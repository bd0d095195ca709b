//! # Control
//!
//! The strings that lead into a running dataflow: stop it, learn what it has done, learn why it failed. Shared by the workers of
//! a process and whoever started them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tidemark_connectors::source::ConnectorError;
use tidemark_planner::plan::{PhysicalOp, PhysicalPlan};

use crate::aggregate::{LateRows, LimitCounts};
use crate::batch::NO_WATERMARK;
use crate::epoch::Epoch;
use crate::progress::Mark;
use crate::report::{LateReport, OperatorReport, PartitionReport, RunReport, SinkReport, SourceReport, StateReport};

/// What a chain of stateless steps is called; it is reported where one of its rows could not be computed, or counts in a later window.
const STATELESS: &str = "Stateless";
/// How many bad rows are shown as examples, per source.
pub(crate) const EXAMPLES: usize = 5;

/// Why a run failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// The outside world failed.
    #[error("{what}: {reason}")]
    Connector {
        /// The file, topic or connection.
        what: String,
        /// What happened.
        reason: String,
    },
    /// A row could not be decoded or evaluated, and the source says FAIL.
    #[error("bad row in source \"{source_name}\", partition {partition}, offset {offset}: {reason}")]
    BadRow {
        /// The source.
        source_name: String,
        /// The partition's name.
        partition: String,
        /// Where the row stands.
        offset: u64,
        /// What is wrong.
        reason: String,
        /// The row as it was read.
        raw: Vec<u8>,
    },
    /// A result could not be computed, and the sources say FAIL.
    #[error("{node} could not compute a result: {reason}")]
    Evaluation {
        /// The node, as EXPLAIN names it.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A limit on state was passed.
    #[error(
        "{node} is at its limit: {reason}; raise the limit, or say what goes instead of the run: SET state.at_limit = 'lru', 'oldest', 'lfu', \
         'largest' or 'refuse'"
    )]
    Limit {
        /// The operator, as EXPLAIN names it.
        node: String,
        /// The limit and what there is.
        reason: String,
    },
    /// A recursion does not end.
    #[error("recursion \"{name}\" ({node}) {reason}")]
    Recursion {
        /// Its name in the statement.
        name: String,
        /// The node, as EXPLAIN names it.
        node: String,
        /// What it does, as the end of the sentence.
        reason: String,
    },
    /// A worker or the network between workers failed.
    #[error("{0}")]
    Worker(String),
    /// Another process of the group failed, or cannot be had.
    #[error("process {process} ({address}) {reason}")]
    Peer {
        /// Its number.
        process: usize,
        /// Its address.
        address: String,
        /// What is the matter with it, as the end of the sentence.
        reason: String,
    },
}

impl From<ConnectorError> for RunError {
    fn from(error: ConnectorError) -> Self {
        Self::Connector { what: error.what, reason: error.reason }
    }
}

/// Handle of a run.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    /// A run that is stopped lets out what is open.
    flush: AtomicBool,
    /// Somebody whom the frontier waits for is gone.
    abandoned: AtomicBool,
    failure: Mutex<Option<RunError>>,
    metrics: OnceLock<Arc<Metrics>>,
}

impl Control {
    /// A handle for one run.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Asks the run to read nothing more, to finish what it has read, and to end. Open windows are not fired, unless
    /// [`Control::flush_when_stopped`] was said.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// From now on, being stopped is the end of the input: what is open comes out.
    pub fn flush_when_stopped(&self) {
        self.flush.store(true, Relaxed);
    }

    /// Whether what is open comes out when the run is stopped.
    pub(crate) fn flushes(&self) -> bool {
        self.flush.load(Relaxed)
    }

    /// The run was asked to stop, or has failed.
    pub fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// What the run has done so far.
    pub fn report(&self) -> RunReport {
        let mut report = self.metrics.get().map(|metrics| metrics.report()).unwrap_or_default();
        report.stopped = self.stopping();
        report
    }

    /// Ends the run with an error. The first error is the one reported.
    pub(crate) fn fail(&self, error: RunError) {
        lock(&self.failure).get_or_insert(error);
        self.stop();
    }

    /// Nothing will be finished any more: whoever waits for a frontier goes. Comes with a failure.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
        self.stop();
    }

    pub(crate) fn abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    pub(crate) fn failure(&self) -> Option<RunError> {
        lock(&self.failure).clone()
    }

    pub(crate) fn install(&self, metrics: Arc<Metrics>) {
        assert!(self.metrics.set(metrics).is_ok(), "a control handle serves one run");
    }
}

/// A mutex guard, also after a panic elsewhere: what these mutexes hold is consistent between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of a run.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) start: Instant,
    pub(crate) sources: Vec<SourceMetrics>,
    pub(crate) sinks: Vec<SinkMetrics>,
    pub(crate) operators: Vec<OperatorMetrics>,
    pub(crate) epochs: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct SourceMetrics {
    name: String,
    pub(crate) rows: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) bad: AtomicU64,
    examples: Mutex<Vec<String>>,
    /// Per partition, `None` where another process reads it.
    partitions: Mutex<Vec<Option<Arc<PartitionMetrics>>>>,
    bytes_total: OnceLock<Option<u64>>,
}

#[derive(Debug)]
struct PartitionMetrics {
    name: String,
    watermark: AtomicI64,
    mark: Mutex<Mark>,
}

impl PartitionMetrics {
    fn new(name: Option<String>, measure: bool) -> Option<Arc<Self>> {
        name.map(|name| Arc::new(Self { name, watermark: AtomicI64::new(NO_WATERMARK), mark: Mutex::new(Mark::new(measure)) }))
    }
}

#[derive(Debug, Default)]
pub(crate) struct SinkMetrics {
    name: String,
    pub(crate) changes: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// The epoch to which everything is written, and that to which everything has come: of the first worker that has the sink.
    pub(crate) written_to: AtomicU64,
    pub(crate) given_to: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct OperatorMetrics {
    pub(crate) node: u32,
    name: &'static str,
    late: Mutex<LateRows>,
    limits: Mutex<LimitCounts>,
    pub(crate) errors: AtomicU64,
    /// Changes that meant nothing.
    pub(crate) ignored: AtomicU64,
    /// One slot per worker of the process: groups and bytes held.
    pub(crate) held: Vec<(AtomicU64, AtomicU64)>,
    /// Slots of each worker: the epoch to which a part of it has put out everything, 0 where that is not known; and whether it is at
    /// work this moment.
    out_to: Vec<[(AtomicU64, AtomicBool); PARTS]>,
}

/// Parts of an operator that put out results each in its time: the pairs of a join, and the rows of either side that have no partner.
const PARTS: usize = 3;

/// Where a part of an operator on one worker says how far it is.
#[derive(Clone)]
pub(crate) struct OutTo {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: u32,
    pub(crate) worker: usize,
    pub(crate) part: usize,
}

impl OutTo {
    fn slot(&self) -> &(AtomicU64, AtomicBool) {
        &self.metrics.operator(self.node).out_to[self.worker][self.part]
    }

    /// It has something to do, and nothing else on this worker goes on meanwhile.
    pub(crate) fn begin(&self) {
        self.slot().1.store(true, Relaxed);
    }

    /// It has put out everything up to an epoch, or for good.
    pub(crate) fn done(&self, frontier: Option<Epoch>) {
        let (to, at_work) = self.slot();
        to.store(frontier.unwrap_or(Epoch::MAX), Relaxed);
        at_work.store(false, Relaxed);
    }

    /// Another part of the same operator.
    pub(crate) fn part(&self, part: usize) -> Self {
        Self { part, ..self.clone() }
    }
}

impl Metrics {
    pub(crate) fn new(plan: &PhysicalPlan, workers: usize) -> Self {
        let operators = plan.nodes().iter().filter_map(|node| match &node.op {
            PhysicalOp::Aggregate { .. } => Some((node.id.0, "Aggregate")),
            PhysicalOp::Upsert(_) => Some((node.id.0, "Upsert")),
            PhysicalOp::Expire(_) => Some((node.id.0, "Expire")),
            PhysicalOp::Arrange(_) => Some((node.id.0, "Arrange")),
            PhysicalOp::Join(_) => Some((node.id.0, "Join")),
            PhysicalOp::AsOf(_) => Some((node.id.0, "AsOfJoin")),
            PhysicalOp::SetOperation { .. } => Some((node.id.0, "SetOperation")),
            PhysicalOp::TopN(_) => Some((node.id.0, "TopN")),
            PhysicalOp::Over(_) => Some((node.id.0, "Over")),
            PhysicalOp::Stateless { .. } => Some((node.id.0, STATELESS)),
            PhysicalOp::Errors { .. } => Some((node.id.0, "Errors")),
            PhysicalOp::Recursion(_) => Some((node.id.0, "Recursion")),
            PhysicalOp::Source { .. }
            | PhysicalOp::Union { .. }
            | PhysicalOp::Values { .. }
            | PhysicalOp::Recursive { .. }
            | PhysicalOp::Sink { .. } => None,
        });
        Self {
            start: Instant::now(),
            sources: plan.sources().iter().map(|source| SourceMetrics { name: source.name.clone(), ..SourceMetrics::default() }).collect(),
            sinks: plan.sinks().iter().map(|sink| SinkMetrics { name: sink.name.clone(), ..SinkMetrics::default() }).collect(),
            operators: operators
                .map(|(node, name)| OperatorMetrics {
                    node,
                    name,
                    late: Mutex::default(),
                    limits: Mutex::default(),
                    errors: AtomicU64::new(0),
                    ignored: AtomicU64::new(0),
                    held: (0..workers).map(|_| Default::default()).collect(),
                    out_to: (0..workers).map(|_| Default::default()).collect(),
                })
                .collect(),
            epochs: AtomicU64::new(0),
        }
    }

    pub(crate) fn operator(&self, node: u32) -> &OperatorMetrics {
        self.operators.iter().find(|operator| operator.node == node).expect("every node that can fail has metrics")
    }

    fn report(&self) -> RunReport {
        RunReport {
            sources: self.sources.iter().map(SourceMetrics::report).collect(),
            sinks: self
                .sinks
                .iter()
                .map(|sink| SinkReport {
                    name: sink.name.clone(),
                    changes: sink.changes.load(Relaxed),
                    bytes: sink.bytes.load(Relaxed),
                    written_to_us: sink.written_to.load(Relaxed),
                    given_to_us: sink.given_to.load(Relaxed),
                })
                .collect(),
            operators: self
                .operators
                .iter()
                .filter(|operator| operator.name != STATELESS || operator.errors.load(Relaxed) > 0 || lock(&operator.late).total() > 0)
                .map(|operator| (operator, *lock(&operator.late)))
                .map(|(operator, late)| OperatorReport {
                    node: operator.node,
                    name: operator.name.into(),
                    late: late.dropped,
                    late_rows: LateReport::of(&late),
                    limits: StateReport::of(&lock(&operator.limits)),
                    errors: operator.errors.load(Relaxed),
                    ignored: operator.ignored.load(Relaxed),
                    groups: operator.held.iter().map(|held| held.0.load(Relaxed)).sum(),
                    state_bytes: operator.held.iter().map(|held| held.1.load(Relaxed)).sum(),
                    out_to_us: operator.out_to(|_| true),
                    at_work_on_us: operator.out_to(|at_work| at_work),
                })
                .collect(),
            elapsed: self.start.elapsed(),
            epochs: self.epochs.load(Relaxed),
            stopped: false,
        }
    }
}

impl OperatorMetrics {
    /// What people know it by: `n2 Aggregate`.
    pub(crate) fn title(&self) -> String {
        format!("n{} {}", self.node, self.name)
    }

    /// The epoch to which it has put out everything, of those of its parts that are at work or not.
    fn out_to(&self, of: impl Fn(bool) -> bool) -> Option<Epoch> {
        let parts = self.out_to.iter().flatten().filter(|(_, at_work)| of(at_work.load(Relaxed)));
        parts.map(|(to, _)| to.load(Relaxed)).filter(|to| *to > 0).min()
    }

    /// Counts what limits on state have done.
    pub(crate) fn limited(&self, counts: &LimitCounts) {
        if !counts.is_empty() {
            lock(&self.limits).add(counts);
        }
    }

    /// Counts rows that met a closed window.
    pub(crate) fn late(&self, rows: &LateRows) {
        if rows.total() > 0 {
            lock(&self.late).add(rows);
        }
    }
}

impl SourceMetrics {
    /// The names of the partitions, `None` where another process reads them.
    pub(crate) fn open(&self, names: impl Iterator<Item = Option<String>>, bytes_total: Option<u64>, measure: bool) {
        *lock(&self.partitions) = names.map(|name| PartitionMetrics::new(name, measure)).collect();
        let _ = self.bytes_total.set(bytes_total);
    }

    /// A partition has been added.
    pub(crate) fn join(&self, name: Option<String>, measure: bool) {
        lock(&self.partitions).push(PartitionMetrics::new(name, measure));
    }

    /// Raises the watermark of a partition, and notes how it stands.
    pub(crate) fn watermark(&self, partition: usize, watermark: i64, note: impl FnOnce(&mut Mark)) {
        if let Some(known) = self.partition(partition) {
            let mut mark = lock(&known.mark);
            if known.watermark.fetch_max(watermark, Relaxed) < watermark {
                note(&mut mark);
            }
        }
    }

    /// Notes how a partition stands.
    pub(crate) fn note(&self, partition: usize, note: impl FnOnce(&mut Mark)) {
        if let Some(known) = self.partition(partition) {
            note(&mut lock(&known.mark));
        }
    }

    fn partition(&self, partition: usize) -> Option<Arc<PartitionMetrics>> {
        lock(&self.partitions).get(partition).cloned().flatten()
    }

    pub(crate) fn bad_row(&self, sentence: impl FnOnce() -> String) {
        self.bad.fetch_add(1, Relaxed);
        let mut examples = lock(&self.examples);
        if examples.len() < EXAMPLES {
            examples.push(sentence());
        }
    }

    fn report(&self) -> SourceReport {
        let all = lock(&self.partitions).clone();
        let here = all.iter().flatten();
        let partitions: Vec<PartitionReport> = here.map(|one| lock(&one.mark).report(&one.name, one.watermark.load(Relaxed))).collect();
        // A partition without a watermark yet is behind all others.
        let slowest = partitions.iter().filter(|one| !one.ended).min_by_key(|one| one.watermark_us);
        let watermarks = partitions.iter().filter(|one| !one.ended).filter_map(|one| one.watermark_us);
        SourceReport {
            name: self.name.clone(),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            bytes_total: self.bytes_total.get().copied().flatten(),
            bad: self.bad.load(Relaxed),
            bad_examples: lock(&self.examples).clone(),
            partitions: partitions.len() as u64,
            ended: partitions.iter().filter(|one| one.ended).count() as u64,
            watermark_us: watermarks.min(),
            confidence: slowest.or(partitions.first()).and_then(|one| one.confidence),
            partition_reports: partitions,
        }
    }
}
