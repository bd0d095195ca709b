//! Joins: both sides arranged by the keys, what is known of the pairs, and what bounds the rows that are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DFSchema, JoinType, NullEquality};
use datafusion_expr::logical_plan::Join;
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_physical_expr::conjunction_opt;
use datafusion_physical_expr::expressions::CastExpr;

use super::expr::{Physical, as_column, columns, physical, remap};
use super::join_ttl::way_out;
use super::relation::{Rel, plain_props};
use super::time_bound::{self, Bounds};
use super::{Lowering, Result};
use crate::logical::{QueryScope, SUBQUERY, type_name};
use crate::optimize::{at_most_one, exactly_one};
use crate::plan::{
    ArrangePlan, ChangelogKind, JoinKind, JoinPlan, NodeId, PhysicalOp, Props, Retention, SourceId, StateBound, StateLimits, WatermarkPlan,
};
use crate::statement::EmitClause;
use crate::{PlanError, Span};

/// One side of a join, as it is arranged.
pub(super) struct Side {
    pub(super) rel: Rel,
    pub(super) keys: Vec<Physical>,
}

/// What the pairs of a join must meet, over the columns of left, then right.
struct Condition {
    on: Vec<(Physical, Physical)>,
    residual: Option<Physical>,
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join, scope: &QueryScope) -> Result<Rel> {
        if let Some(plan) = self.join_in_loop(join, scope)? {
            return self.lower(&plan, scope);
        }
        // It is said of the last join of several.
        let order = self.join_order.take();
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Right, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::LeftSemi, false),
            JoinType::LeftAnti => (JoinKind::LeftAnti, false),
            JoinType::LeftMark => (JoinKind::LeftMark, false),
            JoinType::RightSemi => (JoinKind::LeftSemi, true),
            JoinType::RightAnti => (JoinKind::LeftAnti, true),
            JoinType::RightMark => (JoinKind::LeftMark, true),
        };
        // A join of one side only keeps that side left.
        let (left_plan, right_plan) = if swapped { (&join.right, &join.left) } else { (&join.left, &join.right) };
        let (mut left, mut right) = match (self.lower(left_plan, scope), self.lower(right_plan, scope)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(mut errors), Err(more)) => {
                errors.extend(more);
                return Err(errors);
            }
            (Err(errors), _) | (_, Err(errors)) => return Err(errors),
        };
        let on: Vec<(&Expr, &Expr)> = join.on.iter().map(|(l, r)| if swapped { (r, l) } else { (l, r) }).collect();
        self.refuse_random(join, scope)?;
        let condition = self.condition(left_plan, right_plan, [&left, &right], &on, join.filter.as_ref(), scope)?;
        let null_aware = join.null_aware && kind == JoinKind::LeftAnti;
        // Rounds of a recursion need all rows, however old.
        let in_recursion = [&left, &right].into_iter().any(|side| self.in_recursion(side).is_some());
        let bounds = if null_aware || in_recursion {
            Bounds::default()
        } else {
            time_bound::bounds([&left, &right], &condition.on, condition.residual.as_ref())
        };
        let ttl =
            if null_aware || in_recursion { None } else { self.join_ttl([&left, &right], [left_plan, right_plan], &bounds, kind, scope)? };
        let (condition, bounds) = match ttl {
            None => (condition, bounds),
            Some(ttl) => {
                left.stamp_arrival();
                right.stamp_arrival();
                let mut condition = self.condition(left_plan, right_plan, [&left, &right], &on, join.filter.as_ref(), scope)?;
                let arrivals = ttl.condition([&left, &right].map(|rel| rel.schema().fields().len()));
                condition.residual = conjunction_opt(condition.residual.into_iter().chain(arrivals));
                let bounds = time_bound::bounds([&left, &right], &condition.on, condition.residual.as_ref());
                (condition, bounds)
            }
        };
        // The other side has one row at any time: nobody goes without a match.
        let matched = kind == JoinKind::Left && condition.on.is_empty() && condition.residual.is_none() && exactly_one(right_plan);
        let kind = if matched { JoinKind::Inner } else { kind };
        self.warn_of_cost(kind, [left_plan, right_plan], &condition, &bounds, self.join_span(join, scope));
        let (left_keys, right_keys) = condition.on.into_iter().unzip();
        let sides = [Side { rel: left, keys: left_keys }, Side { rel: right, keys: right_keys }];
        let shape = Shape {
            kind,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            null_aware,
            residual: condition.residual,
            widths: [left_plan.schema().fields().len(), right_plan.schema().fields().len()],
        };
        self.joined(sides, shape, bounds, order, join, scope)
    }

    /// A value that differs from call to call cannot decide whether two rows meet: they are asked again when one is taken back.
    fn refuse_random(&self, join: &Join, scope: &QueryScope) -> Result<()> {
        let volatile =
            join.on.iter().any(|(l, r)| l.is_volatile() || r.is_volatile()) || join.filter.as_ref().is_some_and(Expr::is_volatile);
        if !volatile {
            return Ok(());
        }
        let error = PlanError::new("plan::volatile", "a random value in the condition of a join", self.join_span(join, scope))
            .help("Compute it in a column before the rows are joined.");
        Err(vec![error])
    }

    /// Without an equality between the sides each row is compared with all rows of the other.
    fn warn_of_cost(&mut self, kind: JoinKind, plans: [&LogicalPlan; 2], condition: &Condition, bounds: &Bounds, span: Span) {
        let asks_for_any = !matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full);
        let few = plans.into_iter().any(|plan| at_most_one(plan) || is_written_out(plan));
        let near = bounds.left.is_some() && bounds.right.is_some();
        if !condition.on.is_empty() || few || near || (asks_for_any && condition.residual.is_none()) {
            return;
        }
        let warning = PlanError::new("plan::no_equality", "this join compares every row with every row", span)
            .label("no column of one side equals one of the other")
            .help(
                "Add an equality, such as a.id = b.id: without one a change costs as much as the other side has rows, all on one worker.",
            );
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Makes the condition physical. Keys of two types get one.
    fn condition(
        &self,
        left: &LogicalPlan,
        right: &LogicalPlan,
        rels: [&Rel; 2],
        on: &[(&Expr, &Expr)],
        filter: Option<&Expr>,
        scope: &QueryScope,
    ) -> Result<Condition> {
        let failed = self.failed(scope.span);
        let mut keys = Vec::new();
        for (l, r) in on {
            let l = physical(l, left.schema()).map_err(&failed)?;
            let r = physical(r, right.schema()).map_err(&failed)?;
            let (of_left, of_right) = (l.data_type(rels[0].schema()).map_err(&failed)?, r.data_type(rels[1].schema()).map_err(&failed)?);
            if of_left == of_right {
                keys.push((l, r));
                continue;
            }
            let Some(common) = comparison_coercion(&of_left, &of_right) else {
                let message = format!("cannot compare {} with {}", type_name(&of_left), type_name(&of_right));
                return Err(vec![PlanError::new("plan::type_mismatch", message, scope.span).help("Convert one side: CAST(x AS …).")]);
            };
            let cast = |expr: Physical, from: &DataType| -> Physical {
                if *from == common { expr } else { Arc::new(CastExpr::new(expr, common.clone(), None)) }
            };
            keys.push((cast(l, &of_left), cast(r, &of_right)));
        }
        let residual = match filter {
            None => None,
            Some(filter) => {
                let both = both_schemas(left.schema(), right.schema()).map_err(&failed)?;
                let made = physical(filter, &both).map_err(&failed)?;
                // A relation of which only the number of rows matters has a column nevertheless.
                let (width, real) = (left.schema().fields().len(), rels[0].schema().fields().len());
                Some(remap(&made, &|place| if place < width { place } else { place - width + real }))
            }
        };
        Ok(Condition { on: keys, residual: residual.filter(|it| !is_true(it)) })
    }

    /// The join of two sides.
    fn joined(
        &mut self,
        sides: [Side; 2],
        shape: Shape,
        bounds: Bounds,
        order: Option<String>,
        join: &Join,
        scope: &QueryScope,
    ) -> Result<Rel> {
        let [left, right] = &sides;
        let span = self.join_span(join, scope);
        let limits = self.row_limits("a join", scope)?;
        let states = self.join_states(&sides, shape.kind, &bounds, limits.is_some(), span, scope)?;
        let widths = [left.rel.schema().fields().len(), right.rel.schema().fields().len()];
        // Columns that the logical plan does not have are not passed on, but one column there must be.
        let mut output: Vec<usize> = (0..shape.widths[0]).collect();
        match shape.kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => {}
            JoinKind::LeftMark => output.push(widths[0] + widths[1]),
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                output.extend((0..shape.widths[1]).map(|it| it + widths[0]))
            }
        }
        if output.is_empty() {
            output.push(0);
        }
        let schema = Arc::new(Schema::new(output.iter().map(|place| output_field(&sides, shape.kind, *place)).collect::<Vec<_>>()));
        let emits_final = scope.emit.or_else(|| self.settings.emit()) == Some(EmitClause::Final);
        let [left_bound, right_bound] = [&bounds.left, &bounds.right].map(Option::is_some);
        let nulls_when_final = emits_final
            && match shape.kind {
                JoinKind::Left | JoinKind::LeftAnti => left_bound,
                JoinKind::Right => right_bound,
                JoinKind::Full => left_bound && right_bound,
                JoinKind::Inner | JoinKind::LeftSemi | JoinKind::LeftMark => false,
            };
        let mut props = join_props(&sides, &shape, &bounds, schema, nulls_when_final);
        keep_columns(&mut props, &output);
        props.state = if shape.kind == JoinKind::Inner { StateBound::None } else { states[0].clone() };
        let sources: BTreeSet<SourceId> = left.rel.sources.union(&right.rel.sources).copied().collect();
        let window_span = left.rel.window_span.or(right.rel.window_span);

        let [left, right] = sides;
        let [left_state, right_state] = states;
        let [left_judged, right_judged] = bounds.judged;
        let left = self.arrange(left, bounds.left.or(left_judged), left_state, limits.clone());
        let right = self.arrange(right, bounds.right.or(right_judged), right_state, limits);
        let Shape { kind, null_equals_null, null_aware, residual, .. } = shape;
        let plan = JoinPlan { left, right, kind, null_equals_null, null_aware, residual, output, nulls_when_final, order };
        let node = self.node(PhysicalOp::Join(plan), props);
        Ok(self.rel(node, sources, window_span))
    }

    /// A relation in key order. Equal ones are one.
    pub(super) fn arrange(
        &mut self,
        side: Side,
        retention: Option<Retention>,
        state: StateBound,
        limits: Option<Arc<StateLimits>>,
    ) -> NodeId {
        let Side { mut rel, keys } = side;
        let input = self.fuse(&mut rel);
        let props = Props { state, limits, ..rel.props };
        self.node(PhysicalOp::Arrange(ArrangePlan { input, keys, retention }), props)
    }

    /// What bounds the rows each side keeps, if something does or the statement allows that nothing does.
    #[allow(clippy::too_many_arguments)] // what is known of a join, as it stands
    fn join_states(
        &self,
        sides: &[Side; 2],
        kind: JoinKind,
        bounds: &Bounds,
        limited: bool,
        span: Span,
        scope: &QueryScope,
    ) -> Result<[StateBound; 2]> {
        let allowed = scope.allow_unbounded_state || self.settings.allow_unbounded_state();
        // Rows meet what the other side has by now, and wait for what it may yet get, unless they decide which of its rows have a match.
        let passes = match kind {
            JoinKind::Inner => [true, true],
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => [true, false],
            JoinKind::Right => [false, true],
            JoinKind::Full => [false, false],
        };
        // A side that a recursion makes does not end before what it reads.
        let in_recursion = sides.iter().any(|side| self.in_recursion(&side.rel).is_some());
        let of = |place: usize, retention: &Option<Retention>| -> Option<StateBound> {
            let side = &sides[place];
            if side.rel.props.bounded {
                Some(StateBound::BoundedInput)
            } else if let Some(retention) = retention {
                Some(StateBound::Window { retention_us: retention.slack_us.max(0).saturating_add(retention.watermark.delay_us.max(0)) })
            } else if passes[place] && sides[1 - place].rel.props.bounded && !in_recursion {
                Some(StateBound::UntilOtherEnds)
            } else if self.is_per_key(side.rel.base) {
                Some(StateBound::PerKey)
            } else if limited {
                Some(StateBound::Limits)
            } else if allowed {
                Some(StateBound::Unbounded { why: "a join keeps every row" })
            } else {
                None
            }
        };
        match (of(0, &bounds.left), of(1, &bounds.right)) {
            (Some(left), Some(right)) => Ok([left, right]),
            (left, right) => {
                let names = |side: &Side| {
                    let names: Vec<String> =
                        side.rel.sources.iter().map(|id| format!("\"{}\"", self.sources[id.index()].table.name)).collect();
                    names.join(", ")
                };
                let label = match (left, right) {
                    (None, None) => "neither side ends, and no times bound it".to_string(),
                    (None, _) => format!("{} does not end, and no times bound it", names(&sides[0])),
                    (_, _) => format!("{} does not end, and no times bound it", names(&sides[1])),
                };
                let asked = scope.state.as_ref().is_some_and(|request| request.ttl_us.is_some());
                let error = PlanError::new("plan::unbounded_state", "this join keeps every row for ever", span).label(label);
                let error = error.help(way_out(asked));
                Err(vec![error])
            }
        }
    }

    /// Whether a relation has at any time no more rows than an operator below it has keys.
    pub(super) fn is_per_key(&self, node: NodeId) -> bool {
        let node = &self.nodes[node.index()];
        match &node.op {
            PhysicalOp::Aggregate { .. } => node.props.state == StateBound::PerKey,
            PhysicalOp::Values { .. } => true,
            // How many rows a recursion makes of few is not known.
            PhysicalOp::Recursive { .. } | PhysicalOp::Recursion(_) => false,
            PhysicalOp::Source { .. } => node.props.bounded || node.props.changelog == ChangelogKind::Upsert,
            op => op.inputs().into_iter().all(|input| self.is_per_key(input)),
        }
    }

    /// Where a join was written.
    pub(super) fn join_span(&self, join: &Join, scope: &QueryScope) -> Span {
        let is_side = |plan: &LogicalPlan, name: &str| {
            plan.schema().iter().any(|(qualifier, _)| qualifier.is_some_and(|it| it.table().eq_ignore_ascii_case(name)))
        };
        // Relations that rules have made of subqueries have names of their own.
        let made = |plan: &LogicalPlan| {
            let qualifiers = plan.schema().iter().filter_map(|(qualifier, _)| qualifier);
            qualifiers.take(1).any(|it| it.table().starts_with("__in_") || it.table().starts_with("__scalar_sq"))
        };
        let subquery = made(&join.right);
        let found = scope
            .joins
            .iter()
            .find(|(name, _)| if subquery { name == SUBQUERY } else { is_side(&join.right, name) })
            .or_else(|| scope.joins.iter().find(|(name, _)| is_side(&join.left, name)));
        found.or(scope.joins.first()).map_or(scope.span, |(_, span)| *span)
    }
}

/// A join without its sides.
struct Shape {
    kind: JoinKind,
    null_equals_null: bool,
    null_aware: bool,
    residual: Option<Physical>,
    /// How many columns of each side the logical plan has.
    widths: [usize; 2],
}

/// Left's columns, then right's. Names may be there twice: a semi join has never shown both.
fn both_schemas(left: &DFSchema, right: &DFSchema) -> datafusion_common::Result<DFSchema> {
    let fields = left.iter().chain(right.iter()).map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
    DFSchema::new_with_metadata(fields, left.metadata().clone())
}

/// Rows that stand in the statement.
fn is_written_out(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Projection(it) => is_written_out(&it.input),
        LogicalPlan::Filter(it) => is_written_out(&it.input),
        LogicalPlan::SubqueryAlias(it) => is_written_out(&it.input),
        _ => false,
    }
}

fn is_true(expr: &Physical) -> bool {
    let literal = expr.downcast_ref::<datafusion_physical_expr::expressions::Literal>();
    literal.is_some_and(|it| *it.value() == datafusion_common::ScalarValue::Boolean(Some(true)))
}

/// A column of a join's output: one of left, of right, or the mark behind them.
fn output_field(sides: &[Side; 2], kind: JoinKind, place: usize) -> FieldRef {
    let [left, right] = [&sides[0], &sides[1]].map(|side| side.rel.schema());
    let width = left.fields().len();
    let (field, missing) = if place < width {
        (left.field(place), matches!(kind, JoinKind::Right | JoinKind::Full))
    } else if place < width + right.fields().len() {
        (right.field(place - width), matches!(kind, JoinKind::Left | JoinKind::Full))
    } else {
        return Arc::new(Field::new("mark", DataType::Boolean, false));
    };
    Arc::new(Field::new(field.name(), field.data_type().clone(), field.is_nullable() || missing))
}

/// What is known of a join's pairs, over left's columns, then right's.
fn join_props(sides: &[Side; 2], shape: &Shape, bounds: &Bounds, schema: Arc<Schema>, nulls_when_final: bool) -> Props {
    let [left, right] = sides;
    let width = left.rel.schema().fields().len();
    let mut props = plain_props(schema, left.rel.props.bounded && right.rel.props.bounded);
    let append_only = sides.iter().all(|side| side.rel.props.changelog == ChangelogKind::AppendOnly);
    let only_adds = match shape.kind {
        // More rows make more pairs, and a row that has a match keeps it.
        JoinKind::Inner | JoinKind::LeftSemi => true,
        JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::LeftAnti => nulls_when_final,
        // A mark changes when the first match comes.
        JoinKind::LeftMark => false,
    };
    if !(append_only && only_adds) {
        props.changelog = ChangelogKind::Retract;
    }
    let one_sided = matches!(shape.kind, JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark);
    props.unique_keys = if one_sided { left.rel.props.unique_keys.clone() } else { pair_keys(sides, shape.kind, width) };
    let shown = if one_sided { &[0_usize][..] } else { &[0, 1] };
    for side in shown {
        let (rel, retention) = if *side == 0 { (&left.rel, &bounds.left) } else { (&right.rel, &bounds.right) };
        let (own, shift) = (&rel.props.window, if *side == 0 { 0 } else { width });
        for (place, watermark) in time_bound::watermarks(rel, retention.as_ref()) {
            props.watermarks.push((place + shift, watermark));
        }
        if props.window.is_none()
            && let Some(window) = own
            && let Some(watermark) = window_watermark(&props.watermarks, window, shift)
        {
            let moved = |place: Option<usize>| place.map(|it| it + shift);
            // Pairs of closed windows are complete when both have closed.
            let closed =
                shape.kind == JoinKind::Inner && sides.iter().all(|side| side.rel.props.window.as_ref().is_some_and(|it| it.closed));
            props.window = Some(crate::plan::AttachedWindow {
                start: moved(window.start),
                end: moved(window.end),
                time: moved(window.time),
                watermark,
                size_us: window.size_us,
                closed,
            });
        }
    }
    props
}

/// The watermark of a window's end, if one is known.
fn window_watermark(known: &[(usize, WatermarkPlan)], window: &crate::plan::AttachedWindow, shift: usize) -> Option<WatermarkPlan> {
    let place = window.end? + shift;
    known.iter().find(|(column, _)| *column == place).map(|(_, watermark)| watermark.clone())
}

/// Column sets that tell the pairs of a join apart.
fn pair_keys(sides: &[Side; 2], kind: JoinKind, width: usize) -> Vec<Vec<usize>> {
    let [left, right] = sides;
    let shifted = |key: &[usize]| key.iter().map(|place| place + width).collect::<Vec<_>>();
    // Each row of the other side meets one row of this at most.
    let one = |side: &Side| {
        let plain: BTreeSet<usize> = side.keys.iter().filter_map(as_column).collect();
        side.rel.props.unique_keys.iter().any(|key| key.iter().all(|it| plain.contains(it)))
    };
    let mut keys = Vec::new();
    // With nulls for the left side, left's keys no longer tell rows apart.
    if one(right) && matches!(kind, JoinKind::Inner | JoinKind::Left) {
        keys.extend(left.rel.props.unique_keys.iter().cloned());
    }
    if one(left) && matches!(kind, JoinKind::Inner | JoinKind::Right) {
        keys.extend(right.rel.props.unique_keys.iter().map(|key| shifted(key)));
    }
    if keys.is_empty() && kind != JoinKind::Full {
        for l in &left.rel.props.unique_keys {
            for r in &right.rel.props.unique_keys {
                keys.push(l.iter().copied().chain(shifted(r)).collect());
            }
        }
    }
    keys
}

/// Leaves the facts about some columns, where these have gone.
fn keep_columns(props: &mut Props, output: &[usize]) {
    let place = |old: usize| output.iter().position(|it| *it == old);
    let keys = props.unique_keys.iter().filter_map(|key| {
        let mut key: Vec<usize> = key.iter().map(|it| place(*it)).collect::<Option<_>>()?;
        key.sort_unstable();
        Some(key)
    });
    props.unique_keys = keys.collect();
    props.watermarks = props.watermarks.iter().filter_map(|(column, watermark)| Some((place(*column)?, watermark.clone()))).collect();
    if let Some(window) = &mut props.window {
        for part in [&mut window.start, &mut window.end, &mut window.time] {
            *part = part.and_then(place);
        }
        if window.start.is_none() && window.end.is_none() && window.time.is_none() {
            props.window = None;
        }
    }
}

/// Whether an expression reads columns of one side only: which.
pub(super) fn side_of(expr: &Physical, width: usize) -> Option<usize> {
    let read = columns(expr);
    match (read.iter().any(|it| *it < width), read.iter().any(|it| *it >= width)) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        _ => None,
    }
}
