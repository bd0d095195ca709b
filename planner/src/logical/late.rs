//! `LATE(query)`: the rows that came too late for the windows of a query, as a relation.
//!
//! Whether a row is late is known from the row alone, where windows are assigned. So the late rows of a query are what stands below its
//! aggregate, with the assignment of windows turned around: it keeps what the aggregate refuses. Of sessions that is known only where
//! sessions are kept, by their keys: a node of its own stands over the assignment ([`LateSessions`]).

use std::sync::Arc;

use datafusion_common::{Column, Result};
use datafusion_expr::logical_plan::{Extension, Filter, SubqueryAlias};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::late_sessions::LateSessions;
use super::view::ViewBody;
use super::windows::{AssignWindows, LATE_COLUMNS, WINDOW_COLUMNS};
use crate::PlanError;
use crate::plan::WindowKind;

/// The late rows of a plan, if it aggregates over windows.
pub(super) fn late_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => late_rows(&projection.input),
        LogicalPlan::Filter(filter) => late_rows(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => late_rows(&alias.input),
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<ViewBody>() {
            Some(view) => late_rows(&view.input),
            None => Ok(None),
        },
        LogicalPlan::Aggregate(aggregate) if session_below(&aggregate.input) => {
            let node = LateSessions::new(aggregate.input.as_ref().clone(), aggregate.group_expr.clone())?;
            Ok(Some(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
        }
        LogicalPlan::Aggregate(aggregate) => below(&aggregate.input),
        _ => Ok(None),
    }
}

/// Whether the windows below an aggregate are sessions.
fn session_below(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => session_below(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => session_below(&alias.input),
        LogicalPlan::Projection(projection) => session_below(&projection.input),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            let windows = node.downcast_ref::<AssignWindows>();
            windows.is_some_and(|windows| matches!(windows.kind, WindowKind::Session { .. }))
                || node.downcast_ref::<ViewBody>().is_some_and(|view| session_below(&view.input))
        }
        _ => false,
    }
}

/// The input of an aggregate with its windows turned around. `None` when there are none.
fn below(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Filter(filter) => match below(&filter.input)? {
            Some(input) => Some(LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input))?)),
            None => None,
        },
        LogicalPlan::SubqueryAlias(alias) => match below(&alias.input)? {
            Some(input) => Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?)),
            None => None,
        },
        LogicalPlan::Projection(projection) => match below(&projection.input)? {
            Some(input) => {
                let mut exprs = projection.expr.clone();
                for name in WINDOW_COLUMNS.into_iter().chain(LATE_COLUMNS) {
                    if !projection.schema.has_column_with_unqualified_name(name) {
                        let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(name)?;
                        exprs.push(Expr::Column(Column::new(qualifier.cloned(), field.name())));
                    }
                }
                Some(LogicalPlanBuilder::from(input).project(exprs)?.build()?)
            }
            None => None,
        },
        LogicalPlan::Extension(extension) => {
            if let Some(view) = extension.node.as_any().downcast_ref::<ViewBody>() {
                let Some(input) = below(&view.input)? else { return Ok(None) };
                let body = ViewBody { input, ..view.clone() };
                return Ok(Some(LogicalPlan::Extension(Extension { node: Arc::new(body) })));
            }
            let Some(windows) = extension.node.as_any().downcast_ref::<AssignWindows>() else { return Ok(None) };
            Some(LogicalPlan::Extension(Extension { node: Arc::new(windows.only_late()?) }))
        }
        _ => None,
    })
}

/// The mistake of asking for the late rows of something without windows.
pub(super) fn no_windows() -> PlanError {
    PlanError::new("plan::no_windows", "LATE needs a query that aggregates over a window", None)
        .label("no row can be late here")
        .help("Name a view or write a query whose SELECT has a WINDOW clause or a window in GROUP BY.")
}
