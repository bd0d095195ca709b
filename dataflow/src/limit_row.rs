//! What limits do, for the error stream: groups that were not taken in, and limits that fail the run.

use tidemark_connectors::source::RowError;

use crate::aggregate::LimitReport;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::state::keeper::Passed;

/// The rows of a node's report.
pub(crate) fn limit_rows(node: u32, report: LimitReport) -> Vec<ErrorRow> {
    let refused = report.refused.into_iter().map(|refused| ErrorRow {
        at: ErrorAt::Refused { node },
        error: RowError { offset: 0, raw: refused.group.into_bytes(), reason: refused.reason },
        diff: refused.diff,
    });
    refused.chain(report.passed.map(|passed| passed_row(node, passed))).collect()
}

/// A limit that fails the run.
pub(crate) fn passed_row(node: u32, passed: Passed) -> ErrorRow {
    let Passed { reason, limit, found } = passed;
    let reason = format!("{} allows {limit} on this worker, and there are {found} {}", reason.setting(), reason.unit());
    ErrorRow { at: ErrorAt::Limit { node }, error: RowError { offset: 0, raw: Vec::new(), reason }, diff: 1 }
}
