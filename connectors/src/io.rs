//! Opening what a plan names. The engine asks through this trait, so that tests can put their own ends on a plan.

use tidemark_planner::plan::{SinkPlan, SourcePlan};

use crate::sink::{Placement, Sink};
use crate::source::{ConnectorError, RowError, Source};

/// The outside world, as the engine sees it.
pub trait Io: Send + Sync {
    /// Opens a source. Called once per process; all its workers share the source.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError>;

    /// Where a sink wants its rows.
    fn placement(&self, plan: &SinkPlan) -> Placement;

    /// Opens a sink. Called once, or once per worker, as its placement says.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_sink(&self, plan: &SinkPlan, worker: usize) -> Result<Box<dyn Sink>, ConnectorError>;

    /// Opens a dead-letter file for appending.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError>;
}

/// Takes bad rows.
pub trait DeadLetters: Send {
    /// Writes one bad row.
    ///
    /// # Errors
    /// When the outside world fails; the run fails with it.
    fn write(&mut self, source: &str, partition: &str, error: &RowError) -> Result<(), ConnectorError>;

    /// Flushes what was written.
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
