//! The errors of a query as a relation: the query runs in full, and everything that fails in it or below it is a row.

use super::relation::plain_props;
use super::{Lowering, Rel, Result};
use crate::PlanError;
use crate::logical::{ErrorsOf, QueryScope};
use crate::plan::{ChangelogKind, ErrorPolicy, LetterColumn, PhysicalOp, StateBound, TimeDomain, WatermarkPlan, below};

impl Lowering<'_> {
    pub(super) fn errors_of(&mut self, errors: &ErrorsOf, scope: &QueryScope) -> Result<Rel> {
        let mut rel = self.lower(&errors.input, scope)?;
        let policies = rel.sources.iter().map(|id| (&self.sources[id.index()].table.name, &self.sources[id.index()].table.on_error));
        let failing: Vec<&str> = policies.filter(|(_, policy)| **policy == ErrorPolicy::Fail).map(|(name, _)| name.as_str()).collect();
        if !failing.is_empty() && failing.len() == rel.sources.len() {
            let message = format!("the first bad row of \"{}\" ends the run", failing.join("\", \""));
            let error = PlanError::new("plan::errors_fail", message, self.lines.span(errors.span).unwrap_or(scope.span));
            let error = error.label("so these errors would never be read");
            return Err(vec![error.help("Add ON ERROR SKIP, or ON ERROR DEAD_LETTER 'path', to the source.")]);
        }
        let input = self.fuse(&mut rel);
        let schema = LetterColumn::schema();
        let mut props = plain_props(schema, rel.props.bounded);
        let only_added = below(&self.nodes, input).iter().all(|node| self.nodes[node.index()].props.changelog == ChangelogKind::AppendOnly);
        if only_added {
            // An error is told in the epoch that `at` names.
            let place = LetterColumn::ALL.iter().position(|column| *column == LetterColumn::At).unwrap_or_default();
            let sources = rel.sources.iter().copied().collect();
            props.watermarks.push((place, WatermarkPlan { domain: TimeDomain::ProcessingTime, sources, delay_us: 0 }));
        } else {
            props.changelog = ChangelogKind::Retract;
            props.state = StateBound::PerError;
        }
        let node = self.node(PhysicalOp::Errors { input }, props);
        Ok(self.rel(node, rel.sources, None))
    }
}
