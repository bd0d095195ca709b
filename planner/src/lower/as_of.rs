//! AS OF joins: keys, how the version is found, and what bounds the versions that are kept.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::DFSchema;
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Operator};

use super::expr::{Physical, as_column, in_microseconds, physical, remap};
use super::join::side_of;
use super::relation::{Rel, plain_props};
use super::{Lowering, Result, union_watermark, watermark_of};
use crate::PlanError;
use crate::logical::{AsOf, QueryScope, type_name};
use crate::plan::{AsOfCondition, AsOfMode, AsOfPlan, ChangelogKind, PhysicalOp, StateBound, TimeDomain};

/// The keys of both sides, and what else a version must meet.
type Matched = (Vec<Physical>, Vec<Physical>, Option<Physical>);

impl Lowering<'_> {
    pub(super) fn as_of(&mut self, join: &AsOf, scope: &QueryScope) -> Result<Rel> {
        let (mut left, mut right) = match (self.lower(&join.left, scope), self.lower(&join.right, scope)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(mut errors), Err(more)) => {
                errors.extend(more);
                return Err(errors);
            }
            (Err(errors), _) | (_, Err(errors)) => return Err(errors),
        };
        let span = self.lines.span(join.span).unwrap_or(scope.span);
        let both = self.both(join, scope)?;
        let widths = [&left, &right].map(|rel| rel.schema().fields().len());
        let df_width = join.left.schema().fields().len();
        let place = |old: usize| if old < df_width { old } else { old - df_width + widths[0] };
        let (left_keys, right_keys, residual) = self.matched(join, &both, widths[0], &place, scope)?;
        let mode = self.as_of_mode(join, &both, &left, &right, &place, scope)?;

        let limits = self.row_limits("a join AS OF", scope)?;
        let state = match self.as_of_state(&left, &right, &mode, span, scope) {
            Err(_) if limits.is_some() => StateBound::Limits,
            state => state?,
        };
        let outer_field =
            |field: &FieldRef| Arc::new(Field::new(field.name(), field.data_type().clone(), field.is_nullable() || join.outer));
        let mut output: Vec<usize> = (0..df_width).collect();
        output.extend((0..join.right.schema().fields().len()).map(|it| it + widths[0]));
        if output.is_empty() {
            output.push(0);
        }
        let all: Vec<FieldRef> = left.schema().fields().iter().cloned().chain(right.schema().fields().iter().map(outer_field)).collect();
        let schema = Arc::new(Schema::new(output.iter().map(|it| Arc::clone(&all[*it])).collect::<Vec<_>>()));
        let mut props = plain_props(schema, left.props.bounded && right.props.bounded);
        props.state = state;
        props.limits = limits;
        let once = match &mode {
            AsOfMode::Processing => true,
            AsOfMode::Time { watermarks, .. } => watermarks.is_some() && right.props.changelog == ChangelogKind::AppendOnly,
        };
        if !(once && left.props.changelog == ChangelogKind::AppendOnly) {
            props.changelog = ChangelogKind::Retract;
        }
        // Each left row comes out once at most, and left's columns come first.
        props.unique_keys = left.props.unique_keys.iter().filter(|key| key.iter().all(|it| *it < df_width)).cloned().collect();
        match &mode {
            AsOfMode::Processing => props.watermarks = left.props.watermarks.clone(),
            AsOfMode::Time { left_time, watermarks: Some((own, other)), .. } => {
                // A left row waits for the right side's watermark.
                if let (Some(column), Some(held)) = (as_column(left_time), union_watermark([Some(own), Some(other)].into_iter())) {
                    props.watermarks.push((column, held));
                }
            }
            AsOfMode::Time { watermarks: None, .. } => {}
        }
        props.watermarks.retain(|(column, _)| *column < df_width);
        let sources = left.sources.union(&right.sources).copied().collect();
        let (left, right) = (self.fuse(&mut left), self.fuse(&mut right));
        let plan = AsOfPlan { left, right, outer: join.outer, left_keys, right_keys, mode, residual, output };
        let node = self.node(PhysicalOp::AsOf(plan), props);
        Ok(self.rel(node, sources, None))
    }

    fn both(&self, join: &AsOf, scope: &QueryScope) -> Result<DFSchema> {
        let fields = join.left.schema().iter().chain(join.right.schema().iter());
        let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        DFSchema::new_with_metadata(fields, Default::default()).map_err(self.failed(scope.span))
    }

    fn matched(&self, join: &AsOf, both: &DFSchema, width: usize, place: &dyn Fn(usize) -> usize, scope: &QueryScope) -> Result<Matched> {
        let failed = self.failed(scope.span);
        let (mut left_keys, mut right_keys, mut rest) = (vec![], vec![], vec![]);
        let condition = join.condition.clone().unalias_nested().data;
        for part in split_conjunction(&condition) {
            if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part {
                let made = [left, right].map(|side| physical(side, both).map(|it| remap(&it, place)));
                let [l, r] = made;
                let (l, r) = (l.map_err(&failed)?, r.map_err(&failed)?);
                let of_right = |expr: &Physical| remap(expr, &|it| it - width);
                match (side_of(&l, width), side_of(&r, width)) {
                    (Some(0), Some(1)) => {
                        right_keys.push(of_right(&r));
                        left_keys.push(l);
                        continue;
                    }
                    (Some(1), Some(0)) => {
                        right_keys.push(of_right(&l));
                        left_keys.push(r);
                        continue;
                    }
                    _ => {}
                }
            }
            if *part != datafusion_expr::lit(true) {
                rest.push(remap(&physical(part, both).map_err(&failed)?, place));
            }
        }
        Ok((left_keys, right_keys, datafusion_physical_expr::conjunction_opt(rest)))
    }

    fn as_of_mode(
        &self,
        join: &AsOf,
        both: &DFSchema,
        left: &Rel,
        right: &Rel,
        place: &dyn Fn(usize) -> usize,
        scope: &QueryScope,
    ) -> Result<AsOfMode> {
        let failed = self.failed(scope.span);
        let span = self.lines.span(join.span).unwrap_or(scope.span);
        let width = left.schema().fields().len();
        let made = |expr: &Expr| physical(expr, both).map(|it| remap(&it, place)).map_err(&failed);
        // Rules keep the name of an expression that they turn around.
        let (first, op, second) = match join.time.clone().unalias_nested().data {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => (made(&left)?, Some(op), Some(made(&right)?)),
            alone => (made(&alone)?, None, None),
        };
        let (first, op, second) = match (op.and_then(|op| op.swap()), second) {
            (Some(swapped), Some(second)) if side_of(&first, width) == Some(1) => (second, Some(swapped), Some(first)),
            (_, second) => (first, op, second),
        };
        let is_processing =
            |time: &Physical| watermark_of(time, left).is_some_and(|watermark| watermark.domain == TimeDomain::ProcessingTime);
        if side_of(&first, width) == Some(0) && op.is_none_or(|op| op == Operator::GtEq) && is_processing(&first) {
            return Ok(AsOfMode::Processing);
        }
        let (Some(op), Some(second)) = (op, second) else {
            let error = PlanError::new("plan::no_event_time", "the right side of this join has no event time", span)
                .label("no version is older than another")
                .help("Add WATERMARK FOR a timestamp column to its source, or look up the current row: FOR SYSTEM_TIME AS OF PROCTIME().");
            return Err(vec![error]);
        };
        if (side_of(&first, width), side_of(&second, width)) != (Some(0), Some(1)) {
            let error = PlanError::new("plan::wrong_match_condition", "the times of this join are not of one side each", span)
                .help("Compare a column of the left side with one of the right: MATCH_CONDITION (a.ts >= b.ts).");
            return Err(vec![error]);
        }
        let (left_time, right_time) = (first, remap(&second, &|it| it - width));
        let condition = match op {
            Operator::Gt => AsOfCondition::Before,
            Operator::LtEq => AsOfCondition::AtOrAfter,
            Operator::Lt => AsOfCondition::After,
            _ => AsOfCondition::AtOrBefore,
        };
        let types = [left_time.data_type(left.schema()).map_err(&failed)?, right_time.data_type(right.schema()).map_err(&failed)?];
        if types[0] != types[1] && !types.iter().all(|it| matches!(it, DataType::Timestamp(_, _))) {
            let message = format!("the times of this join are {} and {}", type_name(&types[0]), type_name(&types[1]));
            return Err(vec![PlanError::new("plan::type_mismatch", message, span).help("Convert one side: CAST(x AS …).")]);
        }
        let watermarks = watermark_of(&left_time, left)
            .zip(watermark_of(&right_time, right))
            .filter(|(l, r)| l.domain == r.domain && l.domain == TimeDomain::EventTime);
        let left_time = in_microseconds(left_time, &types[0]);
        let right_time = in_microseconds(right_time, &types[1]);
        Ok(AsOfMode::Time { left_time, right_time, condition, watermarks })
    }

    fn as_of_state(&self, left: &Rel, right: &Rel, mode: &AsOfMode, span: crate::Span, scope: &QueryScope) -> Result<StateBound> {
        let waits = matches!(mode, AsOfMode::Processing | AsOfMode::Time { watermarks: Some(_), .. });
        if left.props.bounded && right.props.bounded {
            return Ok(StateBound::BoundedInput);
        }
        if waits {
            // One version for each key, and those still to be seen.
            return Ok(StateBound::PerKey);
        }
        if scope.allow_unbounded_state || self.settings.allow_unbounded_state() {
            return Ok(StateBound::Unbounded { why: "a join AS OF keeps every row" });
        }
        let error = PlanError::new("plan::unbounded_state", "this join keeps every row and version for ever", span)
            .label("no watermark tells which versions are done with")
            .help("Add WATERMARK FOR the times that are compared to both sources, or say ALLOW UNBOUNDED STATE.");
        Err(vec![error])
    }
}
