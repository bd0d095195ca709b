//! What a WINDOW clause says beyond its window: a watermark of its own, and what becomes of late rows.

use datafusion_sql::sqlparser::tokenizer;

use super::expr::{Physical, as_column};
use super::relation::Rel;
use super::{Lowering, Result};
use crate::connector::ConnectorCatalog;
use crate::logical::{AssignWindows, QueryScope};
use crate::parse::{LettersPath, WindowOptions};
use crate::plan::{ChangelogKind, ErrorPolicy, LateStrategy, PhysicalOp, TimeDomain, WatermarkPlan, WindowKind, WindowPlan};
use crate::{PlanError, Span};

/// Where late rows go when neither the clause nor the source names a file.
const LETTERS: &str = "dead-letters.ndjson";

impl Lowering<'_> {
    /// The watermark a query declares for itself: the source keeps the greatest time, and each query subtracts its own delay.
    pub(super) fn own_watermark(&mut self, rel: &Rel, time: &Physical, delay_us: i64, span: Span) -> Result<WatermarkPlan> {
        let refuse = |message: String, help: String| Err(vec![PlanError::new("plan::own_watermark", message, span).help(help)]);
        let column = as_column(time).and_then(|place| rel.source_column(place));
        let (PhysicalOp::Source { source }, Some(column)) = (&self.nodes[rel.base.index()].op, column) else {
            return refuse(
                "this time is not a column of a source, so it has no watermark to declare".into(),
                "Leave WITH WATERMARK out: what is computed from a time with a watermark has that watermark.".into(),
            );
        };
        let source_use = &mut self.sources[source.index()];
        if source_use.table.carried.is_some() {
            return refuse(
                format!("the rows of source \"{}\" carry its watermark", source_use.table.name),
                "Leave WITH WATERMARK out, or declare another source over the same data.".into(),
            );
        }
        let (declared, declared_us) = *source_use.event_time.get_or_insert((column, delay_us));
        if declared != column {
            let name = |place: usize| source_use.columns[place].field.name();
            let table = &source_use.table.name;
            return refuse(
                format!("the watermark of source \"{table}\" is on \"{}\", not on \"{}\"", name(declared), name(column)),
                format!("Cut windows by \"{}\", or declare another source over the same data.", name(declared)),
            );
        }
        Ok(WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![*source], delay_us: delay_us.saturating_sub(declared_us) })
    }

    /// What a clause says, with the file of its dead letters.
    pub(super) fn window_options(&mut self, windows: &AssignWindows, rel: &Rel) -> Result<WindowOptions> {
        let mut options = windows.options.clone();
        if options.late == LateStrategy::IncludeInNextWindow && rel.props.changelog != ChangelogKind::AppendOnly {
            let message = "INCLUDE_IN_NEXT_WINDOW over rows that may be taken back";
            let error = PlanError::new("plan::late_strategy", message, self.lines.span(windows.span));
            let error = error.label("a row would be taken back from another window than the one that counts it");
            return Err(vec![error.help("Write ALLOWED_LATENESS with LATE_DATA_STRATEGY UPDATE_PREVIOUS, or DEAD_LETTER_QUEUE.")]);
        }
        let session = matches!(windows.kind, WindowKind::Session { .. });
        if options.late == LateStrategy::DeadLetterQueue && session && rel.props.changelog != ChangelogKind::AppendOnly {
            let error = PlanError::new(
                "plan::late_strategy",
                "dead letters of sessions of rows that may be taken back",
                self.lines.span(windows.span),
            );
            let error = error.label("which of several equal rows was taken back is not known there");
            return Err(vec![error.help("Leave DEAD_LETTER_QUEUE out: late rows are counted and dropped.")]);
        }
        self.letters.extend(options.letters.clone());
        if options.late == LateStrategy::DeadLetterQueue && options.letters.is_none() {
            let of_source = rel.sources.iter().find_map(|id| match self.sources[id.index()].table.on_error.of_a_row() {
                ErrorPolicy::DeadLetter { path } => Some(path.clone()),
                _ => None,
            });
            options.letters = Some(LettersPath { path: of_source.unwrap_or_else(|| LETTERS.into()), span: tokenizer::Span::empty() });
        }
        let said = options.lateness_us != 0 || options.late != LateStrategy::Drop || options.firing.is_some();
        if let (true, Some(span)) = (said, self.lines.span(windows.span)) {
            self.unused_clauses.push(span);
        }
        Ok(options)
    }

    /// Refuses a statement whose dead letters have nowhere to go.
    pub(super) fn refuse_wrong_letters(&mut self, connectors: &dyn ConnectorCatalog) -> Result<()> {
        for letters in std::mem::take(&mut self.letters) {
            connectors.check_dead_letters(&letters.path).map_err(|reason| {
                vec![PlanError::new("plan::dead_letters", reason, self.lines.span(letters.span)).label("dead letters cannot go there")]
            })?;
        }
        Ok(())
    }

    /// The rows that came too late for their windows.
    pub(super) fn late_rows(
        &self,
        mut rel: Rel,
        windows: &AssignWindows,
        time: Physical,
        watermark: Option<WatermarkPlan>,
        scope: &QueryScope,
    ) -> Result<Rel> {
        if matches!(windows.kind, WindowKind::Rows { .. }) {
            let error = PlanError::new("plan::never_late", "no row is late for windows of so many rows", scope.span);
            return Err(vec![error.label("they are cut by rows, not by time").help("Leave LATE out, or cut windows by time.")]);
        }
        if watermark.is_none() {
            let error = PlanError::new("plan::never_late", "no row is late for these windows", scope.span).label("they have no watermark");
            return Err(vec![error.help("Add WATERMARK FOR a timestamp column to the source, or WITH WATERMARK to the window.")]);
        }
        if rel.props.changelog != ChangelogKind::AppendOnly {
            // A row may be taken back late that was in time when it came: it would stand fewer than no times.
            let error = PlanError::new("plan::late_strategy", "the late rows of rows that may be taken back", scope.span);
            let error = error.label("a row that counts may be taken back too late, and is not among the late ones");
            return Err(vec![
                error.help("Write LATE_DATA_STRATEGY DEAD_LETTER_QUEUE: each late change becomes a letter, with what it is."),
            ]);
        }
        rel.late_rows(WindowPlan {
            kind: windows.kind,
            offset_us: windows.offset_us,
            time,
            start: None,
            watermark,
            lateness_us: windows.options.lateness_us,
            // What else became of the rows does not matter here.
            late: LateStrategy::Drop,
            letters: None,
            firing: None,
            places: vec![],
        });
        Ok(rel)
    }

    /// Something is aggregated over the window that was written at a place.
    pub(super) fn use_clause(&mut self, window: Option<Span>) {
        self.unused_clauses.retain(|span| Some(*span) != window);
    }

    /// Refuses a statement whose window clauses would have no effect.
    pub(super) fn refuse_unused_clauses(&mut self) -> Result<()> {
        let unused = std::mem::take(&mut self.unused_clauses);
        let Some(span) = unused.first() else { return Ok(()) };
        let error =
            PlanError::new("plan::unused_window_clause", "triggers and strategies for late rows need an aggregate over the window", *span)
                .label("nothing is aggregated over it")
                .help("Aggregate over the window, or leave TRIGGER, ALLOWED_LATENESS and LATE_DATA_STRATEGY out.");
        Err(vec![error])
    }
}
