//! What the parts of a WINDOW clause mean together: defaults, and what contradicts itself.
//!
//! A row that comes after its window has closed is *late* within the allowed lateness, and corrects the window; beyond it the row is
//! *too late*, and the strategy speaks. So a lateness alone means UPDATE_PREVIOUS, and none at all means DROP.

use super::window_clause::{Shape, Time, Trigger, WindowClause};
use super::window_table::WindowOptions;
use crate::PlanError;
use crate::plan::{FiringPlan, LateStrategy, TriggerPlan};

impl WindowClause {
    /// What the clause says beyond the window.
    ///
    /// # Errors
    /// Everything that contradicts something else.
    pub(super) fn options(&self) -> Result<WindowOptions, Vec<PlanError>> {
        if let Shape::Rows { .. } = self.shape {
            let errors = self.of_time();
            return if errors.is_empty() { Ok(WindowOptions::default()) } else { Err(errors) };
        }
        let mut errors = Vec::new();
        let session = matches!(self.shape, Shape::Session { .. });
        let lateness_us = self.lateness.map_or(0, |(us, _)| us);
        let late = match self.late {
            Some((late, span)) => {
                let contradiction = match late {
                    LateStrategy::Drop if lateness_us > 0 => Some((
                        "DROP corrects nothing, so nothing is kept for ALLOWED_LATENESS",
                        "Write LATE_DATA_STRATEGY UPDATE_PREVIOUS: rows within the lateness correct their window, later ones are dropped.",
                    )),
                    LateStrategy::UpdatePrevious if lateness_us == 0 => Some((
                        "UPDATE_PREVIOUS has no window to update",
                        "Say how long windows are kept for late rows: ALLOWED_LATENESS 30s.",
                    )),
                    _ => None,
                };
                if let Some((message, help)) = contradiction {
                    errors.push(PlanError::new("parse::window", message, span).help(help));
                }
                late
            }
            None if lateness_us > 0 => LateStrategy::UpdatePrevious,
            None => LateStrategy::Drop,
        };
        if let Some((Time::Processing, _)) = self.time {
            let late = self.late.filter(|(late, _)| *late != LateStrategy::Drop).map(|(_, span)| ("LATE_DATA_STRATEGY", span));
            let lateness = self.lateness.filter(|(us, _)| *us > 0).map(|(_, span)| ("ALLOWED_LATENESS", span));
            let watermark = self.watermark.map(|(_, span)| ("WITH WATERMARK", span));
            for (what, span) in [watermark, lateness, late].into_iter().flatten() {
                let error = PlanError::new("parse::window", format!("{what} has no meaning in processing time"), span);
                errors
                    .push(error.label("no row is late by the clock that reads it").help("Leave it out, or cut windows ON EVENT_TIME(ts)."));
            }
        }
        let mut firing = None;
        if let Some((trigger, span)) = &self.trigger {
            if !session && trigger.waits_for_session() {
                let error = PlanError::new("parse::window", "ON SESSION_END is for session windows", *span).label("no session ends here");
                errors.push(error.help("Write TRIGGER ON WATERMARK: the result comes out when the window ends."));
            }
            let plan = with_end(trigger.plan());
            firing = Some(FiringPlan { trigger: plan, purge: self.purge });
        }
        if errors.is_empty() {
            let watermark_us = self.watermark.map(|(us, _)| us);
            Ok(WindowOptions { lateness_us, late, letters: self.letters.clone(), firing, watermark_us })
        } else {
            Err(errors)
        }
    }
}

impl WindowClause {
    /// The parts that speak of time: a window of so many rows has none. Its rows are never late, and it comes out when it is full.
    fn of_time(&self) -> Vec<PlanError> {
        let alone = "Leave it out: rows are counted in the order of their source, whatever their times.";
        let watermark = "Leave it out: a row is never late for a window of so many rows.";
        let trigger = "Leave it out: the window comes out when it is full. Say EMIT CHANGES for each result as it grows.";
        let parts = [
            self.time.as_ref().map(|(_, span)| ("a time of the window", *span, alone)),
            self.watermark.map(|(_, span)| ("WITH WATERMARK", span, watermark)),
            self.trigger.as_ref().map(|(_, span)| ("TRIGGER", *span, trigger)),
            self.lateness.map(|(_, span)| ("ALLOWED_LATENESS", span, watermark)),
            self.late.map(|(_, span)| ("LATE_DATA_STRATEGY", span, watermark)),
        ];
        let error = |(what, span, help): (&str, crate::Span, &str)| {
            PlanError::new("parse::window", format!("{what} has no meaning for windows of so many rows"), span)
                .label("the window is cut by rows, not by time")
                .help(help)
        };
        parts.into_iter().flatten().map(error).collect()
    }
}

impl Trigger {
    fn waits_for_session(&self) -> bool {
        match self {
            Self::SessionEnd => true,
            Self::Watermark | Self::Every(_) | Self::EveryRecords(_) => false,
            Self::And(inside) | Self::Or(inside) | Self::First(inside) => inside.iter().any(Self::waits_for_session),
        }
    }

    /// A session ends when the watermark reaches its end, as any window does.
    fn plan(&self) -> TriggerPlan {
        let all = |inside: &[Self]| inside.iter().map(Self::plan).collect();
        match self {
            Self::Watermark | Self::SessionEnd => TriggerPlan::Watermark,
            Self::Every(us) => TriggerPlan::Every(*us),
            Self::EveryRecords(records) => TriggerPlan::EveryRecords(*records),
            Self::And(inside) => TriggerPlan::All(all(inside)),
            Self::Or(inside) => TriggerPlan::Any(all(inside)),
            Self::First(inside) => TriggerPlan::First(all(inside)),
        }
    }
}

/// A trigger that does not speak of the window's end fires there too: what it has not put out until then would be lost.
fn with_end(trigger: TriggerPlan) -> TriggerPlan {
    match trigger {
        trigger if trigger.waits_for_watermark() => trigger,
        TriggerPlan::Any(mut inside) => {
            inside.push(TriggerPlan::Watermark);
            TriggerPlan::Any(inside)
        }
        trigger => TriggerPlan::Any(vec![trigger, TriggerPlan::Watermark]),
    }
}
