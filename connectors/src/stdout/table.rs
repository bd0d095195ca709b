//! The result as one table, printed at the end: all changes added up.
//!
//! Keeps the rows of the result, as columns. Retractions are added up whenever what came since last time is more than what was left.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use tidemark_planner::plan::SinkPlan;

use super::Place;
use super::cells::Columns;
use crate::changes::{Order, sortable};
use crate::registry::StdoutStyle;
use crate::sink::{Sink, SinkReport};
use crate::source::ConnectorError;

/// Rows with diffs that are kept before they are added up for the first time.
const COMPACT_ROWS: usize = 65_536;
/// Columns of a table too wide for the terminal are cut, but not below this width.
const LEAST_WIDTH: usize = 8;
const SEPARATOR: &str = " | ";

pub(super) struct Table {
    what: String,
    place: Place,
    schema: SchemaRef,
    order: Order,
    batches: Vec<(RecordBatch, Option<Vec<i64>>)>,
    rows: usize,
    compact_at: usize,
    width: Option<usize>,
    report: SinkReport,
}

impl Table {
    pub(super) fn new(plan: &SinkPlan, place: Place, style: StdoutStyle) -> Self {
        Self {
            what: plan.name.clone(),
            place,
            schema: plan.schema.clone(),
            order: Order::of(plan).asked(plan),
            batches: Vec::new(),
            rows: 0,
            compact_at: COMPACT_ROWS,
            width: style.width.filter(|_| style.terminal),
            report: SinkReport::default(),
        }
    }

    /// Adds up equal rows.
    fn compact(&mut self) -> Result<(), ConnectorError> {
        let wrong = |error: arrow::error::ArrowError| ConnectorError::new(&self.what, error);
        let diffs: Vec<i64> = self
            .batches
            .iter()
            .flat_map(|(rows, diffs)| {
                let ones = if diffs.is_none() { rows.num_rows() } else { 0 };
                diffs.iter().flatten().copied().chain(std::iter::repeat_n(1, ones))
            })
            .collect();
        let rows = concat_batches(&self.schema, self.batches.iter().map(|(rows, _)| rows)).map_err(wrong)?;
        self.batches.clear();
        let columns: Vec<_> = rows.columns().iter().map(sortable).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let keys = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&columns)).map_err(wrong)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
        let mut kept: Vec<u32> = Vec::new();
        let mut sums: Vec<i64> = Vec::new();
        for group in order.chunk_by(|a, b| keys.row(*a as usize) == keys.row(*b as usize)) {
            let sum: i64 = group.iter().map(|row| diffs[*row as usize]).sum();
            if sum != 0 {
                kept.push(group[0]);
                sums.push(sum);
            }
        }
        self.rows = kept.len();
        self.compact_at = (2 * self.rows).max(COMPACT_ROWS);
        let rows = take_record_batch(&rows, &UInt32Array::from(kept)).map_err(wrong)?;
        let diffs = sums.iter().any(|sum| *sum != 1).then_some(sums);
        self.batches.push((rows, diffs));
        Ok(())
    }
}

impl Sink for Table {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.report.changes += diffs.map_or(rows.num_rows() as u64, |diffs| diffs.iter().map(|diff| diff.unsigned_abs()).sum());
        self.rows += rows.num_rows();
        self.batches.push((rows.clone(), diffs.map(<[i64]>::to_vec)));
        if self.rows >= self.compact_at && self.batches.iter().any(|(_, diffs)| diffs.is_some()) {
            self.compact()?;
        }
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.compact()?;
        let (rows, diffs) = self.batches.pop().unwrap_or_else(|| (RecordBatch::new_empty(self.schema.clone()), None));
        let (rows, diffs) = self.order.sort(&rows, diffs)?;
        let mut columns = Columns::new(&self.schema);
        let cells = columns.cells(&rows);
        if let Some(width) = self.width {
            fit(&mut columns.widths, width);
        }
        let mut heading = String::from(" ");
        columns.line(columns.names(), SEPARATOR, &mut heading);
        heading.push('\n');
        let rules: Vec<String> = columns.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        heading.push_str(&rules.join("+"));
        heading.push('\n');
        let mut text = String::new();
        let mut count: i64 = 0;
        for row in 0..rows.num_rows() {
            let copies = diffs.as_ref().map_or(1, |diffs| diffs[row]);
            count += copies;
            let start = text.len();
            if copies < 0 {
                // Only a source that retracts what it never said leads here; hiding it would hide the fault.
                text.push_str(&format!("({copies})"));
            }
            text.push(' ');
            columns.line(cells.iter().map(|cells| cells.get(row)), SEPARATOR, &mut text);
            text.push('\n');
            let line = start..text.len();
            for _ in 1..copies {
                let copy = text[line.clone()].to_string();
                text.push_str(&copy);
            }
        }
        text.push_str(&if count == 1 { "(1 row)\n".into() } else { format!("({count} rows)\n") });
        self.report.bytes += self.place.write(heading.as_bytes(), text.as_bytes())?;
        Ok(self.report)
    }
}

/// Cuts the widest columns until the table fits.
fn fit(widths: &mut [usize], available: usize) {
    let total = |widths: &[usize]| widths.iter().map(|width| width + SEPARATOR.len()).sum::<usize>();
    while total(widths) > available + 1 {
        let Some(widest) = widths.iter_mut().max() else { return };
        if *widest <= LEAST_WIDTH {
            return;
        }
        *widest -= 1;
    }
}
