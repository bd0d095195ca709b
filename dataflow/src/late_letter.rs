//! A row that came too late for its window, as a dead letter: the row itself, and in the reason its window, its watermark, and how late it was.

use tidemark_connectors::source::RowError;
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::{WindowColumn, WindowKind};

use crate::aggregate::RefusedRow;
use crate::aggregate::panes::Panes;
use crate::batch::Batch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::render_row::{render_row, render_time};

/// The letter of a row that a node refused.
pub(crate) fn late_letter(node: u32, batch: &Batch, panes: Option<Panes>, refused: RefusedRow) -> ErrorRow {
    let RefusedRow { row, window_end, watermark } = refused;
    let end = render_time(window_end);
    let window = match panes {
        Some(panes) if panes.kind() != WindowKind::Attached => {
            format!("window [{}, {end})", render_time(panes.column(WindowColumn::Start, window_end)))
        }
        _ => format!("the window that ends {end}"),
    };
    let late = match watermark.saturating_sub(window_end) {
        0 => "at its end".to_owned(),
        late => format!("{} past its end", format_us(late)),
    };
    let reason = format!("late arrival: {window}, watermark {}, {late}", render_time(watermark));
    let raw = render_row(&batch.rows, row);
    ErrorRow {
        at: ErrorAt::Late { node, source: batch.origin.source, partition: batch.origin.partition },
        error: RowError { offset: batch.offset(row), raw: raw.into_bytes(), reason },
        diff: batch.diffs.as_ref().map_or(1, |diffs| diffs[row]),
    }
}
