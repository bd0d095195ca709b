//! The rows that came too late for sessions: the sessions are kept as an aggregate over nothing keeps them, and what they refuse comes out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};

use super::expr::{as_column, column, columns, physical, remap, text};
use super::relation::{Rel, Taken, TakenWindow, plain_props};
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::{LATE_COLUMNS, LateSessions, QueryScope, WINDOW_COLUMNS};
use crate::plan::{ChangelogKind, Emit, KeyPlan, LateStrategy, NamedExpr, PhysicalOp, StateBound, WindowPlan};

impl Lowering<'_> {
    pub(super) fn late_sessions(&mut self, late: &LateSessions, scope: &QueryScope) -> Result<Rel> {
        let mut input = self.lower(&late.input, scope)?;
        let span = input.window_span.unwrap_or(scope.span);
        self.use_clause(input.window_span);
        let whole: Vec<FieldRef> = input.schema().fields().iter().cloned().collect();
        let stray = || {
            let error = PlanError::new("plan::not_yet", "the late rows of these sessions cannot be told", span);
            vec![error.label("something is computed from their windows").help("Group by columns of the rows, window_start and window_end.")]
        };
        let Some(TakenWindow { window, gone, predicates }) = input.take_windows() else { return Err(stray()) };
        if !predicates.is_empty() {
            return Err(stray());
        }
        let Some(watermark) = window.watermark.clone() else {
            let error = PlanError::new("plan::never_late", "no row is late for these windows", span).label("they have no watermark");
            return Err(vec![error.help("Add WATERMARK FOR a timestamp column to the source, or WITH WATERMARK to the window.")]);
        };
        if input.props.changelog != ChangelogKind::AppendOnly {
            let error = PlanError::new("plan::late_strategy", "the late rows of sessions of rows that may be taken back", span);
            return Err(vec![
                error
                    .label("which of several equal rows was taken back is not known there")
                    .help("Ask for the late rows of windows of a fixed size."),
            ]);
        }
        let place = |old: usize| match gone[old] {
            Taken::Column(place) => place,
            Taken::Window(_) => old,
        };
        let is_window = |old: &usize| matches!(gone[*old], Taken::Window(_));
        let mut keys = Vec::new();
        for key in &late.keys {
            let made = physical(key, late.input.schema()).map_err(self.failed(scope.span))?;
            if as_column(&made).is_some_and(|old| is_window(&old)) {
                continue;
            }
            if columns(&made).iter().any(is_window) {
                return Err(stray());
            }
            keys.push(KeyPlan::Expr(NamedExpr { name: text(&made), expr: remap(&made, &place) }));
        }
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let width = input.schema().fields().len();
        let times = WINDOW_COLUMNS.into_iter().chain([LATE_COLUMNS[0]]).map(|name| Arc::new(Field::new(name, time.clone(), false)));
        let late_us = Arc::new(Field::new(LATE_COLUMNS[1], DataType::Int64, false));
        let fields: Vec<FieldRef> = input.schema().fields().iter().cloned().chain(times).chain([late_us]).collect();
        let mut props = plain_props(Arc::new(Schema::new(fields)), input.props.bounded);
        let retention_us = super::relation::window_size(window.kind).saturating_add(window.lateness_us);
        props.state = StateBound::Window { retention_us };
        let late = LateStrategy::PutOut { moves: window.late == LateStrategy::IncludeInNextWindow };
        let window = WindowPlan { watermark: Some(watermark), late, letters: None, firing: None, ..window };
        let sources = input.sources.clone();
        let below = self.fuse(&mut input);
        let node =
            self.node(PhysicalOp::Aggregate { input: below, keys, aggregates: vec![], window: Some(window), emit: Emit::Final }, props);
        let mut rel = self.rel(node, sources, Some(span));
        // The columns in the order of before, with those of the window where they stood.
        let of = |name: &str, at: usize| NamedExpr { name: name.to_owned(), expr: column(rel.schema().field(at).name(), at) };
        let mut exprs: Vec<NamedExpr> = whole
            .iter()
            .enumerate()
            .map(|(old, field)| match gone[old] {
                Taken::Column(place) => of(field.name(), place),
                Taken::Window(part) => of(field.name(), width + part),
            })
            .collect();
        let mut out = whole;
        for at in [width + 3, width + 4] {
            exprs.push(of(rel.schema().field(at).name(), at));
            out.push(Arc::new(rel.schema().field(at).clone()));
        }
        rel.project(exprs, out);
        Ok(rel)
    }
}
