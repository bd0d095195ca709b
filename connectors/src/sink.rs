//! # Sinks
//!
//! A sink takes a relation's changes epoch by epoch, on a thread of its own: it may block, and the pipeline then waits with
//! bounded memory.

use arrow::array::RecordBatch;

use crate::source::ConnectorError;

/// A sink that has been opened.
pub trait Sink: Send {
    /// Changes of the epoch that is open. `diffs` is `None` when all are +1. Within an epoch equal rows are added up already.
    ///
    /// # Errors
    /// When the outside world fails; the run fails with it.
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError>;

    /// The epoch is complete: what was written is one consistent step. Epochs without changes are not announced.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn end_epoch(&mut self, epoch: u64) -> Result<(), ConnectorError>;

    /// The watermark has come this far, in microseconds: results of windows that end by then change no more. Told behind the changes of
    /// the epoch in which it moved, to sinks that asked for it.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn progress(&mut self, _watermark_us: i64) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// No more will come: write footers, flush, close. Called once, also after ^C.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn finish(&mut self) -> Result<SinkReport, ConnectorError>;
}

/// What a sink did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SinkReport {
    /// Changes written.
    pub changes: u64,
    /// Bytes written, where that means something.
    pub bytes: u64,
}

/// Where a sink wants its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All at one worker, in order.
    OneWorker,
    /// Each process has its own sink, for the rows of its workers.
    EachProcess,
    /// Each worker has its own sink.
    EachWorker,
}
