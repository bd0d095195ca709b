//! Opening what a plan names. The engine asks through this trait, so that tests can put their own ends on a plan.

use std::borrow::Cow;

use tidemark_planner::plan::{SinkPlan, SourcePlan};

use crate::sink::{Placement, Sink};
use crate::source::{ConnectorError, Source};

/// The outside world, as the engine sees it.
pub trait Io: Send + Sync {
    /// Opens a source. Called once per process; all its workers share the source.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError>;

    /// Where a sink wants its rows.
    fn placement(&self, plan: &SinkPlan) -> Placement;

    /// Opens a sink. Called once, or once for each process or worker, as its placement says; `place` is the number of that.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_sink(&self, plan: &SinkPlan, place: usize) -> Result<Box<dyn Sink>, ConnectorError>;

    /// Opens a dead-letter file, or what else a path names, for appending.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError>;
}

/// A record, row or result that did not make it.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// Tells it from all others: the same whenever the same record fails in the same way at the same place.
    pub id: u64,
    /// Processing time when it failed, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// Its source, or the node whose result it is.
    pub source: &'a str,
    /// The source's partition; none for a result.
    pub partition: Option<Cow<'a, str>>,
    /// Its place in the partition.
    pub offset: Option<u64>,
    /// Where it failed.
    pub stage: Stage,
    /// What is wrong.
    pub reason: &'a str,
    /// The record as it was read, if that is known.
    pub raw: Option<&'a [u8]>,
    /// The row or the group as text, if that is what failed.
    pub row: Option<&'a str>,
    /// The fingerprint of the plan.
    pub plan: u64,
}

impl DeadLetter<'_> {
    /// Its id as it is written.
    pub fn id_text(&self) -> String {
        format!("{:016x}", self.id)
    }

    /// The plan's fingerprint as it is written.
    pub fn plan_text(&self) -> String {
        format!("{:016x}", self.plan)
    }
}

/// Where something failed, which also says what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A record could not be decoded: its bytes are kept as they were read.
    Decode,
    /// An expression of a row could not be evaluated: the row is kept as text.
    Evaluate,
    /// A result could not be computed: its group is kept as text.
    Compute,
    /// A row came too late for its window: it is kept as text.
    Late,
    /// A group was not taken in, since a limit on state was reached: it is kept as text.
    Refused,
}

impl Stage {
    /// Its name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Evaluate => "evaluate",
            Self::Compute => "compute",
            Self::Late => "late",
            Self::Refused => "refused",
        }
    }
}

/// Takes bad rows.
pub trait DeadLetters: Send {
    /// Writes one bad row.
    ///
    /// # Errors
    /// When the outside world fails; the run fails with it.
    fn write(&mut self, letter: &DeadLetter<'_>) -> Result<(), ConnectorError>;

    /// Passes on what was written; whether it is there for good. Does not wait for a network.
    ///
    /// # Errors
    /// As [`DeadLetters::write`].
    fn settled(&mut self) -> Result<bool, ConnectorError> {
        self.flush().map(|()| true)
    }

    /// Flushes what was written, and waits until it is there for good.
    ///
    /// # Errors
    /// As [`DeadLetters::write`].
    fn flush(&mut self) -> Result<(), ConnectorError>;
}

/// The reason of an error that says our output's reader has gone.
pub const BROKEN_PIPE: &str = "broken pipe";

/// Plain words for what the operating system refused.
pub(crate) fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::BrokenPipe => BROKEN_PIPE.into(),
        ErrorKind::NotFound => "no such file or directory".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "is a directory".into(),
        ErrorKind::StorageFull => "no space left on the device".into(),
        _ => error.to_string(),
    }
}
