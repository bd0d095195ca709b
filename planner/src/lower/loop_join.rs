//! Joins inside of a recursion that ask whether a row has a match, made of joins that stand in a loop.
//!
//! A loop works with changes of changes, so what stands in it must be linear in the rows of the loop: twice the rows, twice the result.
//! Inner joins are. With a relation around the loop so are the others, once its keys are there once: the rows with a match are those
//! that an inner join with the keys finds, those without are the rest. A step that must keep each row once (UNION) can be lax about how
//! often a match is found.

use std::sync::Arc;

use datafusion_common::tree_node::TreeNode;
use datafusion_common::{Column, NullEquality, ScalarValue};
use datafusion_expr::logical_plan::{Aggregate, Join, JoinConstraint, Projection, Union};
use datafusion_expr::{Expr, JoinType, LogicalPlan, lit};

use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::{QueryScope, RecursiveScan};

/// How the columns of [`Kept::keys`] begin.
const KEY: &str = "$key";

/// A join by which side is kept.
struct Kept<'a> {
    /// The side whose rows come out with and without a match.
    kept: &'a Arc<LogicalPlan>,
    other: &'a Arc<LogicalPlan>,
    /// Pairs of keys, those of the side kept first.
    on: Vec<(Expr, Expr)>,
    nulls: NullEquality,
}

impl Lowering<'_> {
    /// What stands in a loop for a join that does not, if there is something. What there is nothing for is refused with the loop as a
    /// whole.
    pub(super) fn join_in_loop(&self, join: &Join, scope: &QueryScope) -> Result<Option<LogicalPlan>> {
        let flipped = matches!(join.join_type, JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark);
        let (kept, other) = if flipped { (&join.right, &join.left) } else { (&join.left, &join.right) };
        let (of_kept, of_other) = (self.loop_read(kept), self.loop_read(other));
        let alone = of_kept.is_some() && of_other.is_none();
        let Some((name, distinct)) = of_kept.or(of_other) else { return Ok(None) };
        let on = join.on.iter().map(|(l, r)| if flipped { (r.clone(), l.clone()) } else { (l.clone(), r.clone()) }).collect();
        let parts = Kept { kept, other, on, nulls: join.null_equality };
        let failed = self.failed(scope.span);
        match join.join_type {
            JoinType::LeftSemi | JoinType::RightSemi if distinct => parts.pairs(join).map(Some).map_err(failed),
            _ if !alone => Ok(None),
            JoinType::Inner | JoinType::Full => Ok(None),
            _ if join.null_aware => {
                let error = PlanError::new("plan::recursion", format!("NOT IN in \"{name}\"'s own query"), self.join_span(join, scope))
                    .help("A null in the list would decide about every row; write NOT EXISTS (SELECT … WHERE x = y).");
                Err(vec![error])
            }
            _ if join.filter.is_some() => {
                let error = PlanError::new(
                    "plan::recursion",
                    format!("a match of \"{name}\" by more than equality in its own query"),
                    self.join_span(join, scope),
                )
                .help("Compare for equality only, or ask where the relation is read.");
                Err(vec![error])
            }
            JoinType::LeftSemi | JoinType::RightSemi => parts.with_match().map(Some).map_err(failed),
            // With keys that are there once the loop has it as it stands.
            JoinType::LeftAnti | JoinType::RightAnti if are_keys(other) => Ok(None),
            JoinType::LeftAnti | JoinType::RightAnti => parts.without_match().map(Some).map_err(failed),
            JoinType::LeftMark | JoinType::RightMark => {
                let marked = [(parts.with_match(), true), (parts.without_match(), false)];
                let marked = marked.map(|(rows, mark)| rows.and_then(|rows| with(rows, vec![lit(mark)], false)));
                both(marked, join).map(Some).map_err(failed)
            }
            JoinType::Left | JoinType::Right => {
                let pairs = Join { join_type: JoinType::Inner, ..join.clone() };
                let nulls = other.schema().fields().iter().map(|field| ScalarValue::try_new_null(field.data_type()).map(lit));
                let unmatched = nulls
                    .collect::<datafusion_common::Result<Vec<_>>>()
                    .and_then(|nulls| parts.without_match().and_then(|rows| with(rows, nulls, flipped)));
                both([Ok(LogicalPlan::Join(pairs)), unmatched], join).map(Some).map_err(failed)
            }
        }
    }

    /// The relation that is being lowered and that a query reads, if any, and whether it keeps each row once.
    fn loop_read(&self, plan: &LogicalPlan) -> Option<(String, bool)> {
        let mut found = None;
        let walked = plan.exists(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Some(scan) = scan.source.downcast_ref::<RecursiveScan>()
            {
                found = self.open_recursion(&scan.name).map(|distinct| (scan.name.clone(), distinct));
            }
            Ok(found.is_some())
        });
        walked.expect("looking does not fail");
        found
    }
}

impl Kept<'_> {
    /// The rows kept, once for each match.
    fn pairs(&self, join: &Join) -> datafusion_common::Result<LogicalPlan> {
        let pairs = LogicalPlan::Join(Join::try_new(
            Arc::clone(self.kept),
            Arc::clone(self.other),
            self.on.clone(),
            join.filter.clone(),
            JoinType::Inner,
            JoinConstraint::On,
            self.nulls,
            false,
        )?);
        only(pairs, self.kept)
    }

    /// The other side's keys, once each, and how they meet.
    fn keys(&self) -> datafusion_common::Result<(LogicalPlan, Vec<(Expr, Expr)>)> {
        // Without keys it matters whether there is a row.
        let (mut keys, mut on) = (vec![lit(true).alias(format!("{KEY}0"))], Vec::new());
        if !self.on.is_empty() {
            keys.clear();
        }
        for (at, (ours, theirs)) in self.on.iter().enumerate() {
            let name = format!("{KEY}{at}");
            keys.push(theirs.clone().alias(&name));
            on.push((ours.clone(), Expr::Column(Column::from_name(name))));
        }
        let keys = LogicalPlan::Projection(Projection::try_new(keys, Arc::clone(self.other))?);
        let columns = keys.schema().columns().into_iter().map(Expr::Column).collect();
        Ok((LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(keys), columns, vec![])?), on))
    }

    fn with_match(&self) -> datafusion_common::Result<LogicalPlan> {
        only(self.asked(JoinType::Inner)?, self.kept)
    }

    fn without_match(&self) -> datafusion_common::Result<LogicalPlan> {
        self.asked(JoinType::LeftAnti)
    }

    fn asked(&self, kind: JoinType) -> datafusion_common::Result<LogicalPlan> {
        let (keys, on) = self.keys()?;
        let kept = Arc::clone(self.kept);
        Ok(LogicalPlan::Join(Join::try_new(kept, Arc::new(keys), on, None, kind, JoinConstraint::On, self.nulls, false)?))
    }
}

/// Whether rows are [`Kept::keys`].
fn are_keys(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(_)) && plan.schema().fields().iter().all(|field| field.name().starts_with(KEY))
}

/// The columns of one side.
fn only(pairs: LogicalPlan, side: &LogicalPlan) -> datafusion_common::Result<LogicalPlan> {
    let columns = side.schema().columns().into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(pairs))?))
}

/// Rows and further columns, these first or last.
fn with(rows: LogicalPlan, more: Vec<Expr>, first: bool) -> datafusion_common::Result<LogicalPlan> {
    let more = more.into_iter().enumerate().map(|(at, it)| it.alias(format!("$more{at}")));
    let columns = rows.schema().columns().into_iter().map(Expr::Column);
    let all = if first { more.chain(columns).collect() } else { columns.chain(more).collect() };
    Ok(LogicalPlan::Projection(Projection::try_new(all, Arc::new(rows))?))
}

/// All rows of two plans, under the columns of the join that they stand for.
fn both(plans: [datafusion_common::Result<LogicalPlan>; 2], join: &Join) -> datafusion_common::Result<LogicalPlan> {
    let inputs = plans.into_iter().map(|plan| plan.map(Arc::new)).collect::<datafusion_common::Result<_>>()?;
    Ok(LogicalPlan::Union(Union { inputs, schema: Arc::clone(&join.schema) }))
}
