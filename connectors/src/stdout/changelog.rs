//! One line per change, as it comes: its diff, then the columns. Columns grow and never shrink, so that lines stay aligned.

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use tidemark_planner::plan::SinkPlan;

use super::Place;
use super::cells::{Columns, GAP};
use crate::changes::{Epoch, Order};
use crate::format::encode::format_cell;
use crate::registry::StdoutStyle;
use crate::sink::{Sink, SinkReport};
use crate::source::ConnectorError;

const DIFF: &str = "diff";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Changelog {
    place: Place,
    columns: Columns,
    epoch: Epoch,
    color: bool,
    report: SinkReport,
}

impl Changelog {
    pub(super) fn new(plan: &SinkPlan, place: Place, style: StdoutStyle) -> Self {
        Self {
            place,
            columns: Columns::new(&plan.schema),
            epoch: Epoch::new(Order::of(plan)),
            color: style.color,
            report: SinkReport::default(),
        }
    }

    fn heading(&self) -> String {
        let (dim, plain) = if self.color { (DIM, PLAIN) } else { ("", "") };
        let mut heading = format!("{dim}{DIFF}{GAP}");
        self.columns.line(self.columns.names(), GAP, &mut heading);
        heading.push_str(plain);
        heading.push('\n');
        heading
    }
}

impl Sink for Changelog {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.epoch.push(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        let Some((rows, diffs)) = self.epoch.take()? else {
            return Ok(());
        };
        let cells = self.columns.cells(&rows);
        let plain = if self.color { PLAIN } else { "" };
        let heading = self.heading();
        let mut text = String::new();
        for row in 0..rows.num_rows() {
            let diff = diffs.as_ref().map_or(1, |diffs| diffs[row]);
            self.report.changes += diff.unsigned_abs();
            if self.color {
                text.push_str(if diff < 0 { RED } else { GREEN });
            }
            let shown = format!("{diff:+}");
            text.push_str(&shown);
            text.push_str(plain);
            text.extend(std::iter::repeat_n(' ', DIFF.len().saturating_sub(shown.len())));
            text.push_str(GAP);
            self.columns.line(cells.iter().map(|cells| cells.get(row)), GAP, &mut text);
            text.push('\n');
        }
        self.report.bytes += self.place.write(heading.as_bytes(), text.as_bytes())?;
        Ok(())
    }

    fn progress(&mut self, watermark_us: i64) -> Result<(), ConnectorError> {
        let (dim, plain) = if self.color { (DIM, PLAIN) } else { ("", "") };
        let mut time = String::new();
        format_cell(&TimestampMicrosecondArray::from(vec![watermark_us]), 0, &mut time);
        let line = format!("{dim}{:width$}{GAP}{time}{plain}\n", "@", width = DIFF.len());
        self.report.bytes += self.place.write(self.heading().as_bytes(), line.as_bytes())?;
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.end_epoch(0)?;
        Ok(self.report)
    }
}
