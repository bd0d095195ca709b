//! A time-to-live for operators that keep rows: below them, rows are taken back when it is over, and their answers follow.

use super::relation::Rel;
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::QueryScope;
use crate::plan::{ChangelogKind, Evicted, ExpirePlan, PhysicalOp, StateBound};

impl Lowering<'_> {
    /// A relation whose rows count for as long as a time-to-live says, where one is asked for and the rows only come and never end;
    /// else the relation as it is. `what` keeps them.
    pub(super) fn expiring(&mut self, mut input: Rel, what: &str, scope: &QueryScope) -> Result<Rel> {
        let Some(request) = &scope.state else { return Ok(input) };
        let grows = self.in_recursion(&input).is_none()
            && !input.props.bounded
            && input.props.changelog == ChangelogKind::AppendOnly
            && !self.is_per_key(input.base);
        let Some(ttl_us) = request.ttl_us.filter(|_| grows) else { return Ok(input) };
        let span = request.span.unwrap_or(scope.span);
        self.use_state(request);
        if request.event_time {
            let error = PlanError::new("plan::state_limit", format!("rows of {what} are as old as their arrival"), span);
            return Err(vec![error.help("Group by a window to bound it in event time, or leave 'state.time' out.")]);
        }
        if let Some(evicted @ (Evicted::Seal | Evicted::Forget)) = request.evicted {
            let message = format!("the answer of {what} cannot stay when its rows go: \"{}\" is for groups", evicted.word());
            return Err(vec![PlanError::new("plan::state_limit", message, span).help("Leave 'state.evicted' out for this query.")]);
        }
        let below = self.fuse(&mut input);
        let mut props = input.props;
        props.changelog = ChangelogKind::Retract;
        // A row that is taken back is as old as its time-to-live.
        props.watermarks.clear();
        props.window = None;
        props.limits = None;
        props.state = StateBound::Window { retention_us: ttl_us };
        let node = self.node(PhysicalOp::Expire(ExpirePlan { input: below, ttl_us }), props);
        Ok(self.rel(node, input.sources, input.window_span))
    }

    /// Whether the rows of a relation are taken back when their time is over.
    pub(super) fn expires(&self, input: &Rel) -> bool {
        matches!(self.nodes[input.base.index()].op, PhysicalOp::Expire(_))
    }
}
