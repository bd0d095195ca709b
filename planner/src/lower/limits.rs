//! Limits on state: what a statement or a setting asks for, made fit for an operator, or refused where it would make answers wrong.

use std::sync::Arc;

use datafusion_common::DFSchema;

use super::aggregate::Grouped;
use super::relation::Rel;
use super::{Lowering, Result};
use crate::logical::QueryScope;
use crate::plan::{AtLimit, ChangelogKind, Emit, Evicted, StateClock, StateLimits, TimeDomain, WatermarkPlan, WindowKind};
use crate::state_request::StateRequest;
use crate::{PlanError, Span};

impl Lowering<'_> {
    /// The limits of an aggregate over an input; `keyed`: it has keys.
    pub(super) fn group_limits(
        &mut self,
        input: &Rel,
        names: &DFSchema,
        grouped: Option<&Grouped>,
        keyed: bool,
        emit: Emit,
        scope: &QueryScope,
    ) -> Result<Option<Arc<StateLimits>>> {
        let Some(request) = &scope.state else { return Ok(None) };
        // The one group of an aggregate over everything is neither one of many nor ever without rows to come.
        if !keyed && grouped.is_none() {
            return Ok(None);
        }
        self.use_state(request);
        let ttl_us = request.ttl_of(names).map(|(us, places)| {
            self.ttl_used.extend(places);
            us
        });
        let span = request.span.unwrap_or(scope.span);
        let refuse = |code: &'static str, message: &str, help: &str| Err(vec![PlanError::new(code, message, span).help(help)]);
        // The rows of a firing that purges stay out, whatever becomes of the window.
        let purges =
            emit == Emit::Triggered && grouped.and_then(|grouped| grouped.window.firing.as_ref()).is_some_and(|firing| firing.purge);
        let session = grouped.is_some_and(|grouped| matches!(grouped.window.kind, WindowKind::Session { .. }));
        let of_rows = grouped.is_some_and(|grouped| matches!(grouped.window.kind, WindowKind::Rows { .. }));
        let evicted = request.evicted.unwrap_or(if purges { Evicted::Forget } else { Evicted::Retract });
        let mut limits = StateLimits {
            ttl_us: ttl_us.or(request.ttl_us),
            max_age_us: request.max_age_us,
            clock: StateClock::Processing,
            max_groups: request.max_groups,
            max_windows_per_key: request.max_windows_per_key.filter(|_| grouped.is_some()),
            max_rows_per_group: request.max_rows_per_group,
            max_bytes: request.max_bytes,
            at_limit: request.at_limit,
            evicted,
        };
        let only_adds = input.props.changelog == ChangelogKind::AppendOnly;
        if !only_adds && (session || evicted != Evicted::Seal) {
            // A group of rows that are taken back goes with its rows.
            limits.ttl_us = None;
            limits.max_age_us = None;
        }
        if !limits.counts() {
            limits.at_limit = AtLimit::Fail;
        }
        if !limits.loses() && !limits.counts() {
            return Ok(None);
        }
        if of_rows && (limits.max_windows_per_key.is_some() || limits.max_rows_per_group.is_some()) {
            return refuse(
                "plan::state_limit",
                "windows of so many rows are bounded for each key already",
                "Limit the keys: 'state.ttl' lets those go that no row comes for, 'state.max_groups' says how many there may be.",
            );
        }
        if of_rows && limits.max_bytes.is_some() && limits.at_limit != AtLimit::Fail {
            let way_out = "Say 'state.at_limit' = 'fail', or limit the keys with 'state.max_groups'.";
            return Err(self.not_yet("letting keys of windows of so many rows go by their memory is", span, way_out));
        }
        if !only_adds && session && limits.loses() {
            return refuse(
                "plan::state_limit",
                "sessions that go, over rows that may be taken back after that",
                "Limit the query that these rows come from, or let the run fail with 'state.at_limit' = 'fail'.",
            );
        }
        if !only_adds && limits.loses() && (evicted != Evicted::Seal || limits.at_limit == AtLimit::Refuse) {
            return refuse(
                "plan::state_limit",
                "groups that go, over rows that may be taken back after that",
                "Limit the query that these rows come from, let results stay for good with 'state.evicted' = 'seal', or let the run fail with \
                 'state.at_limit' = 'fail'.",
            );
        }
        let goes = limits.ttl_us.is_some() || limits.max_age_us.is_some() || matches!(limits.at_limit, AtLimit::Evict(_));
        if goes && purges && evicted == Evicted::Retract {
            return refuse(
                "plan::state_limit",
                "results of a trigger that purges are not taken back",
                "Say 'state.evicted' = 'forget': a later row begins the window anew; or 'seal': later rows of the window are dropped.",
            );
        }
        if goes && grouped.is_some() && evicted == Evicted::Forget && !purges {
            return refuse(
                "plan::state_limit",
                "a window that begins anew would have two results",
                "Say 'state.evicted' = 'seal': the result stays, and later rows of the window are dropped.",
            );
        }
        if limits.at_limit == AtLimit::Refuse && limits.max_rows_per_group.is_some() {
            return refuse(
                "plan::state_limit",
                "rows of a group that is there are not refused",
                "Say 'state.at_limit' = 'largest' with 'state.evicted' = 'seal': the group's result stays, and its later rows are dropped.",
            );
        }
        if emit == Emit::Final && grouped.is_none() {
            return Err(self.not_yet(
                "limiting groups that come out at the end of the input is",
                span,
                "Say EMIT CHANGES, or group by a window.",
            ));
        }
        if request.event_time && (limits.ttl_us.is_some() || limits.max_age_us.is_some()) {
            let watermark = grouped.and_then(|grouped| grouped.window.watermark.clone()).or_else(|| self.event_clock(input));
            match watermark {
                Some(watermark) => limits.clock = StateClock::Event(watermark),
                None => return Err(vec![no_watermark(span)]),
            }
        }
        Ok(Some(Arc::new(limits)))
    }

    /// The limit on memory of an operator that keeps rows: beyond it the run fails.
    pub(super) fn row_limits(&mut self, what: &str, scope: &QueryScope) -> Result<Option<Arc<StateLimits>>> {
        let Some(request) = scope.state.as_ref().filter(|request| request.max_bytes.is_some()) else { return Ok(None) };
        self.use_state(request);
        if request.at_limit != AtLimit::Fail {
            let way_out = "Say 'state.at_limit' = 'fail' for this query, or bound it with 'state.ttl'.";
            return Err(self.not_yet(&format!("letting rows of {what} go at a limit is"), request.span.unwrap_or(scope.span), way_out));
        }
        Ok(Some(Arc::new(StateLimits {
            ttl_us: None,
            max_age_us: None,
            clock: StateClock::Processing,
            max_groups: None,
            max_windows_per_key: None,
            max_rows_per_group: None,
            max_bytes: request.max_bytes,
            at_limit: AtLimit::Fail,
            evicted: Evicted::Retract,
        })))
    }

    /// The watermark of all that a relation reads, if all of it has one.
    pub(super) fn event_clock(&self, input: &Rel) -> Option<WatermarkPlan> {
        let declared = !input.sources.is_empty() && input.sources.iter().all(|id| self.sources[id.index()].event_time.is_some());
        declared.then(|| WatermarkPlan { domain: TimeDomain::EventTime, sources: input.sources.iter().copied().collect(), delay_us: 0 })
    }

    /// Notes that something does what a statement asks of its state.
    pub(super) fn use_state(&mut self, request: &StateRequest) {
        self.state_used.extend(request.span);
    }

    /// Refuses options of a query that nothing in it can do.
    pub(super) fn refuse_unused_state(&self, scope: &QueryScope) -> Result<()> {
        let unused = scope.state.iter().flat_map(|request| &request.ttl_of).find(|(.., span)| !self.ttl_used.contains(span));
        if let Some((name, _, span)) = unused {
            let message = format!("no join or aggregate of this query keeps rows of \"{name}\" for a while");
            let help = "Name a relation by its alias, or leave it out: what ends by itself, or is bounded by time, needs no time-to-live.";
            return Err(vec![PlanError::new("plan::unused_options", message, *span).help(help)]);
        }
        match scope.state.as_ref().and_then(|request| request.span) {
            Some(span) if !self.state_used.contains(&span) => {
                let error = PlanError::new("plan::unused_options", "nothing in this query keeps state that these options bound", span);
                Err(vec![error.help("Leave OPTIONS out, or write it in the query that groups or joins.")])
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn no_watermark(span: Span) -> PlanError {
    PlanError::new("plan::state_limit", "state is measured in event time, and the input has no watermark", span)
        .help("Add WATERMARK FOR a timestamp column to the source, or say 'state.time' = 'processing'.")
}
