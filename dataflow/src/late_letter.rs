//! A row that came too late for its window, as a dead letter: the row itself, and in the reason its window, its watermark, and how late it
//! was; and the same of sessions as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use tidemark_connectors::source::RowError;
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::{WindowColumn, WindowKind};

use crate::aggregate::panes::Panes;
use crate::aggregate::{Homeless, RefusedRow};
use crate::batch::{Batch, record_batch};
use crate::error_row::{ErrorAt, ErrorRow};
use crate::render_row::{render_row, render_time};

/// The letter of a row that a node refused.
pub(crate) fn late_letter(node: u32, batch: &Batch, panes: Option<Panes>, refused: RefusedRow) -> ErrorRow {
    let RefusedRow { row, window_end, watermark } = refused;
    let start = panes.filter(|panes| panes.kind() != WindowKind::Attached).map(|panes| panes.column(WindowColumn::Start, window_end));
    let diff = batch.diffs.as_ref().map_or(1, |diffs| diffs[row]);
    // What takes a row back too late takes back no letter: the row was in time when it came.
    let reason = reason(if diff < 0 { "late retraction" } else { "late arrival" }, start, window_end, watermark);
    let raw = render_row(&batch.rows, row);
    ErrorRow {
        at: ErrorAt::Late { node, source: batch.origin.source, partition: batch.origin.partition },
        error: RowError { offset: batch.offset(row), raw: raw.into_bytes(), reason },
        diff: diff.abs(),
    }
}

/// The letters of rows that no session of a node held.
pub(crate) fn homeless_letters(node: u32, homeless: &Homeless) -> impl Iterator<Item = ErrorRow> {
    (0..homeless.rows.num_rows()).map(move |row| {
        let ((source, partition), (start, end)) = (homeless.read[row], homeless.windows[row]);
        let offset = u64::try_from(homeless.offsets[row]).unwrap_or_default();
        let reason = reason("late arrival", Some(start), end, homeless.watermarks[row]);
        let error = RowError { offset, raw: render_row(&homeless.rows, row).into_bytes(), reason };
        ErrorRow { at: ErrorAt::Late { node, source, partition }, error, diff: 1 }
    })
}

/// Rows that no session held, with the session that each would have made alone, its watermark, and how late it was.
pub(crate) fn late_rows(homeless: &Homeless, schema: &SchemaRef) -> Batch {
    let times = |of: &dyn Fn(usize) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..homeless.rows.num_rows()).map(of)))
    };
    let mut columns = homeless.rows.columns().to_vec();
    columns.push(times(&|row| homeless.windows[row].0));
    columns.push(times(&|row| homeless.windows[row].1));
    columns.push(times(&|row| homeless.windows[row].1 - 1));
    columns.push(times(&|row| homeless.watermarks[row]));
    let late = homeless.watermarks.iter().zip(&homeless.windows).map(|(watermark, (_, end))| watermark.saturating_sub(*end));
    columns.push(Arc::new(Int64Array::from_iter_values(late)));
    Batch::computed(record_batch(schema, columns, homeless.rows.num_rows()), None)
}

fn reason(what: &str, start: Option<i64>, end: i64, watermark: i64) -> String {
    let shown = render_time(end);
    let window = match start {
        Some(start) => format!("window [{}, {shown})", render_time(start)),
        None => format!("the window that ends {shown}"),
    };
    let late = match watermark.saturating_sub(end) {
        0 => "at its end".to_owned(),
        late => format!("{} past its end", format_us(late)),
    };
    format!("{what}: {window}, watermark {}, {late}", render_time(watermark))
}
