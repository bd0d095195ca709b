//! Rows as lines for pipes: newline-delimited JSON or CSV.

use arrow::array::RecordBatch;
use tidemark_planner::plan::SinkPlan;

use super::Place;
use crate::changes::{Epoch, Order};
use crate::encoder::TextEncoder;
use crate::record::TextFormat;
use crate::sink::{Sink, SinkReport};
use crate::sink_changes::Shown;
use crate::source::ConnectorError;

pub(super) struct Lines {
    place: Place,
    encoder: TextEncoder,
    epoch: Epoch,
    buffer: Vec<u8>,
    report: SinkReport,
}

impl Lines {
    pub(super) fn new(plan: &SinkPlan, format: &TextFormat, place: Place) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
        let debezium = matches!(format, TextFormat::Debezium { .. });
        let shown = Shown::of(&plan.options, debezium, &plan.schema, plan.changelog).map_err(wrong)?;
        let encoder = TextEncoder::new(format, &plan.schema, &shown, plan.key.clone())?;
        let mut buffer = Vec::new();
        encoder.begin(&mut buffer);
        Ok(Self { place, encoder, epoch: Epoch::new(Order::of(plan).shown(&shown)), buffer, report: SinkReport::default() })
    }
}

impl Sink for Lines {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.epoch.push(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        if let Some((rows, diffs)) = self.epoch.take()? {
            self.report.changes += self.encoder.encode(&rows, diffs.as_deref(), &mut self.buffer);
            self.report.bytes += self.place.write(b"", &self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn progress(&mut self, watermark_us: i64) -> Result<(), ConnectorError> {
        self.encoder.progress(watermark_us, &mut self.buffer);
        self.report.bytes += self.place.write(b"", &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.end_epoch(0)?;
        if !self.buffer.is_empty() {
            // A header without rows.
            self.report.bytes += self.place.write(b"", &self.buffer)?;
            self.buffer.clear();
        }
        Ok(self.report)
    }
}
