//! Windows as a stateless step: one output row for each window a row lies in, or for each window it came too late for.
//!
//! Both follow from the row, its time and its own watermark, so neither keeps anything.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{LateStrategy, TimeDomain, WindowColumn, WindowKind, WindowPlan};

use crate::aggregate::admit::{Admission, Fate, admit};
use crate::aggregate::late::{LateRows, earliest_open};
use crate::aggregate::panes::Panes;
use crate::batch::{Batch, NO_WATERMARK};
use crate::error_row::ErrorRow;
use crate::stateless::{error_row, evaluate_rows};

/// See the module's documentation.
pub(crate) struct WindowStep {
    panes: Panes,
    time: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    lateness_us: i64,
    /// The delay of the windows' watermark behind the sources', in event time.
    delay_us: Option<i64>,
    /// Rows that are too late for all their windows are assigned to the earliest open one.
    moves: bool,
}

impl WindowStep {
    pub(crate) fn new(window: &WindowPlan, schema: &SchemaRef) -> Self {
        let watermark = window.watermark.as_ref().filter(|watermark| watermark.domain == TimeDomain::EventTime);
        Self {
            panes: Panes::new(window.kind, window.offset_us),
            time: Arc::clone(&window.time),
            schema: Arc::clone(schema),
            lateness_us: window.lateness_us,
            delay_us: watermark.map(|watermark| watermark.delay_us),
            moves: window.late == LateStrategy::IncludeInNextWindow,
        }
    }

    /// Appends the columns of windows, one row for each window of each row. Rows that move into a later window are counted in `late`.
    pub(crate) fn assign(&self, batch: Batch, node: u32, errors: &mut Vec<ErrorRow>, late: &mut LateRows) -> Batch {
        let (batch, times) = self.usable(batch, node, Some(errors));
        let assigned = self.panes.assign(times.as_primitive::<TimestampMicrosecondType>().values());
        let mut positions = Vec::with_capacity(batch.len());
        let mut ends = Vec::with_capacity(batch.len());
        for (row, pane) in assigned.panes.into_iter().enumerate() {
            let watermark = if self.moves { self.watermark(&batch, row) } else { NO_WATERMARK };
            let last = self.panes.last_window(pane);
            let missed = admit(last, watermark, self.lateness_us) == Admission::TooLate;
            let moved = if missed { earliest_open(self.panes, watermark) } else { None };
            if moved.is_some() {
                late.note(Fate::Moves, watermark.saturating_sub(last));
            }
            let first = ends.len();
            match (moved, self.panes.kind()) {
                (None, _) => ends.extend(self.panes.windows(pane)),
                (Some(end), WindowKind::Cumulate { .. }) => ends.extend(self.panes.windows(end)),
                (Some(end), _) => ends.push(end),
            }
            let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
            positions.extend((first..ends.len()).map(|_| row));
        }
        let batch = batch.take(&UInt32Array::from(positions));
        let mut columns = batch.rows.columns().to_vec();
        columns.extend(self.columns(&ends));
        batch.with_columns(&self.schema, columns)
    }

    /// Keeps each row once for each window it came too late for, and appends the window, the row's watermark, and how late it was.
    pub(crate) fn late_rows(&self, batch: Batch, node: u32) -> Batch {
        // What cannot be judged is reported by the aggregate that these windows are of.
        let (batch, times) = self.usable(batch, node, None);
        let assigned = self.panes.assign(times.as_primitive::<TimestampMicrosecondType>().values());
        let (mut positions, mut ends, mut watermarks) = (Vec::new(), Vec::new(), Vec::new());
        for (row, pane) in assigned.panes.into_iter().enumerate() {
            let watermark = self.watermark(&batch, row);
            for end in self.panes.windows(pane).take_while(|end| admit(*end, watermark, self.lateness_us) == Admission::TooLate) {
                positions.push(u32::try_from(row).expect("a batch has fewer than 2^32 rows"));
                ends.push(end);
                watermarks.push(watermark);
            }
        }
        let mut batch = batch.take(&UInt32Array::from(positions));
        let mut columns = batch.rows.columns().to_vec();
        columns.extend(self.columns(&ends));
        let late = watermarks.iter().zip(&ends).map(|(watermark, end)| watermark.saturating_sub(*end));
        let late: ArrayRef = Arc::new(Int64Array::from_iter_values(late));
        columns.extend([Arc::new(TimestampMicrosecondArray::from(watermarks)) as ArrayRef, late]);
        // Windows over late rows begin anew: these rows are late for nothing else.
        batch.watermarks = crate::batch::RowWatermarks::Constant(NO_WATERMARK);
        batch.with_columns(&self.schema, columns)
    }

    fn watermark(&self, batch: &Batch, row: usize) -> i64 {
        match (batch.watermark(row), self.delay_us) {
            (NO_WATERMARK, _) | (_, None) => NO_WATERMARK,
            (watermark, Some(delay)) => watermark.saturating_sub(delay),
        }
    }

    fn columns(&self, ends: &[i64]) -> [ArrayRef; 3] {
        [WindowColumn::Start, WindowColumn::End, WindowColumn::Time].map(|column| {
            Arc::new(TimestampMicrosecondArray::from_iter_values(ends.iter().map(|end| self.panes.column(column, *end)))) as ArrayRef
        })
    }

    /// The rows with a time whose windows can be written, and their times. The others go to `errors`, if they are wanted.
    fn usable(&self, batch: Batch, node: u32, errors: Option<&mut Vec<ErrorRow>>) -> (Batch, ArrayRef) {
        let mut unwanted = Vec::new();
        let errors = errors.unwrap_or(&mut unwanted);
        let (batch, mut columns) = evaluate_rows(std::slice::from_ref(&self.time), batch, node, errors);
        let times = columns.remove(0);
        let usable: Vec<bool> = {
            let times = times.as_primitive::<TimestampMicrosecondType>();
            (0..times.len()).map(|row| times.is_valid(row) && self.panes.in_range(times.value(row))).collect()
        };
        if !usable.contains(&false) {
            return (batch, times);
        }
        for row in (0..batch.len()).filter(|row| !usable[*row]) {
            let reason = if times.is_null(row) { "event time is null" } else { "event time is out of range" };
            errors.push(error_row(&batch, row, node, reason.into()));
        }
        let mask = BooleanArray::from(usable);
        let times = arrow::compute::filter(&times, &mask).expect("a mask is as long as its batch");
        (batch.filter(&mask), times)
    }
}
