//! Joins whose rows live for a while after they came: planned as interval joins by the time of arrival, so that all that is known of
//! those holds for these too.

use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion_common::ScalarValue;
use datafusion_expr::{LogicalPlan, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, Literal};

use super::expr::{Physical, column};
use super::relation::{ARRIVAL, Rel};
use super::time_bound::Bounds;
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::QueryScope;
use crate::plan::{ChangelogKind, Evicted, JoinKind};

/// Which side's rows go so long after they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinTtl {
    left: Option<i64>,
    right: Option<i64>,
}

impl Lowering<'_> {
    /// What a time-to-live does for a join that nothing else bounds.
    pub(super) fn join_ttl(
        &mut self,
        rels: [&Rel; 2],
        plans: [&LogicalPlan; 2],
        bounds: &Bounds,
        kind: JoinKind,
        scope: &QueryScope,
    ) -> Result<Option<JoinTtl>> {
        let Some(request) = &scope.state else { return Ok(None) };
        let grows = |rel: &Rel, bounded: bool| !rel.props.bounded && !bounded && !self.is_per_key(rel.base);
        let [left, right] = [grows(rels[0], bounds.left.is_some()), grows(rels[1], bounds.right.is_some())];
        let only_add = rels.iter().all(|rel| rel.props.changelog == ChangelogKind::AppendOnly);
        let said = plans.map(|plan| request.ttl_of(plan.schema()));
        let own = [0, 1].map(|side| said[side].as_ref().map(|(us, _)| *us).or(request.ttl_us));
        // A side that ends by itself is kept whole, unless it is named.
        let left_us = own[0].filter(|_| left || said[0].is_some());
        let right_us = own[1].filter(|_| right || said[1].is_some());
        if !(left || right) || !only_add || left_us.or(right_us).is_none() {
            return Ok(None);
        }
        said.into_iter().flatten().for_each(|(_, places)| self.ttl_used.extend(places));
        let span = request.span.unwrap_or(scope.span);
        self.use_state(request);
        if request.event_time {
            let error = PlanError::new("plan::state_limit", "rows of a join are as old as their arrival", span);
            return Err(vec![error.help("Bound the join by event time: JOIN b ON … WITHIN 1h, or leave 'state.time' out.")]);
        }
        if let Some(Evicted::Seal | Evicted::Retract) = request.evicted {
            let error = PlanError::new("plan::state_limit", "pairs of a join stay when their rows go", span);
            return Err(vec![error.help("Leave 'state.evicted' out for this query, or say 'state.evicted' = 'forget'.")]);
        }
        // Rows without a match are told by what the other side keeps, so both sides keep for as long.
        let both = kind != JoinKind::Inner || bounds.left.is_some() || bounds.right.is_some();
        let other = |us: Option<i64>, of: Option<i64>, other: Option<i64>| us.or_else(|| of.or(other).filter(|_| both));
        Ok(Some(JoinTtl { left: other(left_us, own[0], right_us), right: other(right_us, own[1], left_us) }))
    }
}

impl JoinTtl {
    /// The condition over both sides' columns, left's first; the last column of each is its arrival.
    pub(super) fn condition(self, widths: [usize; 2]) -> Vec<Physical> {
        let [left, right] = [column(ARRIVAL, widths[0] - 1), column(ARRIVAL, widths[0] + widths[1] - 1)];
        let before = |early: &Physical, late: &Physical, us: i64| -> Physical {
            let days = i32::try_from(us / 86_400_000_000).unwrap_or(i32::MAX);
            let nanoseconds = (us % 86_400_000_000) * 1_000;
            let interval = IntervalMonthDayNano { months: 0, days, nanoseconds };
            let interval = Arc::new(Literal::new(ScalarValue::IntervalMonthDayNano(Some(interval))));
            let until = Arc::new(BinaryExpr::new(Arc::clone(early), Operator::Plus, interval));
            Arc::new(BinaryExpr::new(Arc::clone(late), Operator::Lt, until))
        };
        let mut all = Vec::new();
        all.extend(self.left.map(|us| before(&left, &right, us)));
        all.extend(self.right.map(|us| before(&right, &left, us)));
        all
    }
}

/// How to bound a join, for whom nothing does.
pub(super) fn way_out(asked: bool) -> &'static str {
    if asked {
        "A time-to-live is for rows that only come, on both sides: aggregate behind the join, bound what changes where it is aggregated, look it up \
         with FOR SYSTEM_TIME AS OF, or say ALLOW UNBOUNDED STATE."
    } else {
        "Bound it by time, such as AND a.ts BETWEEN b.ts - INTERVAL '5' MINUTE AND b.ts, join windows by window_start and window_end, keep rows for a \
         while with OPTIONS ('state.ttl' = '1h'), or say ALLOW UNBOUNDED STATE."
    }
}
