//! A sink that counts and forgets. Each worker has its own, so that nothing but the query is measured.

use arrow::array::RecordBatch;
use tidemark_planner::connector::ConnectorSpec;

use crate::sink::{Sink, SinkReport};
use crate::source::ConnectorError;

/// The connector.
pub(crate) const SPEC: ConnectorSpec =
    ConnectorSpec { name: "blackhole", aliases: &["null", "discard"], source: false, sink: true, options: &[] };

/// The sink.
#[derive(Default)]
pub(crate) struct Blackhole(SinkReport);

impl Sink for Blackhole {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.0.changes += count(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        Ok(self.0)
    }
}

/// How many changes a batch holds: copies count.
fn count(rows: &RecordBatch, diffs: Option<&[i64]>) -> u64 {
    diffs.map_or(rows.num_rows() as u64, |diffs| diffs.iter().map(|diff| diff.unsigned_abs()).sum())
}
