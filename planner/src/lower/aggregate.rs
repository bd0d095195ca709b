//! Aggregates: which function each is, in which order it takes its values, over which windows, when it emits, and what bounds its state.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{AggregateFunction as AggregateCall, NullTreatment};
use datafusion_expr::logical_plan::Aggregate;
use datafusion_expr::{Expr, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Literal};

use super::expr::{Physical, as_column, column, columns, physical, remap, shifted, text};
use super::relation::{Rel, Taken, delayed, plain_props, window_size};
use super::{Lowering, Result, stray_windows, watermark_of};
use crate::logical::{QueryScope, type_name};
use crate::plan::{
    AggregateClass, AggregateFunction, AggregatePlan, AtLimit, AttachedWindow, ChangelogKind, Emit, Evicted, FiringColumn, FiringPlan,
    KeyPlan, LateStrategy, NamedExpr, PhysicalOp, Props, SortKey, StateBound, StateLimits, TriggerPlan, WindowColumn, WindowKind,
    WindowPlan,
};
use crate::statement::EmitClause;
use crate::{PlanError, Span};

/// One aggregate, before it is known where its columns come from.
pub(super) struct Draft {
    pub(super) plan: AggregatePlan,
    /// The order of its values matters.
    pub(super) ordered: bool,
}

/// The columns of a window in the order they are appended.
const PARTS: [WindowColumn; 3] = [WindowColumn::Start, WindowColumn::End, WindowColumn::Time];

/// The window an aggregate groups by.
pub(super) struct Grouped {
    pub(super) window: WindowPlan,
    /// Distance from start to end, if it is the same for all.
    pub(super) size_us: Option<i64>,
    /// How long a window lives.
    pub(super) retention_us: i64,
}

impl Lowering<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, scope: &QueryScope) -> Result<Rel> {
        let mut input = self.lower(&aggregate.input, scope)?;
        let df_schema = aggregate.input.schema();
        self.refuse_volatile(&input, &aggregate.group_expr, scope)?;
        self.refuse_volatile(&input, &aggregate.aggr_expr, scope)?;
        let failed = self.failed(scope.span);
        if aggregate.aggr_expr.is_empty() && self.in_recursion(&input) == Some(true) {
            // The relation keeps each row once: how often a step makes one does not matter.
            self.project(&mut input, &aggregate.group_expr, df_schema, &aggregate.schema, scope)?;
            return Ok(input);
        }

        let mut keys: Vec<NamedExpr> = Vec::new();
        for (expr, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
            if matches!(expr, Expr::GroupingSet(_)) {
                return Err(self.not_yet("GROUPING SETS are", scope.span, "Combine one query for each grouping with UNION ALL."));
            }
            let made = physical(expr, df_schema).map_err(&failed)?;
            let name = match as_column(&made) {
                Some(_) => field.name().clone(),
                None => text(&made),
            };
            keys.push(NamedExpr { name, expr: made });
        }
        let mut drafts = Vec::new();
        let outputs = aggregate.schema.fields().iter().skip(keys.len());
        for (expr, field) in aggregate.aggr_expr.iter().zip(outputs) {
            drafts.push(self.draft(expr, field, df_schema, &input, scope)?);
        }
        let tells = drafts.iter().find_map(|draft| match draft.plan.function {
            AggregateFunction::Firing(column) => Some(column),
            _ => None,
        });
        let by_trigger = input.options.as_ref().and_then(|options| options.firing.as_ref()).is_some_and(|firing| firing.trigger.counts());
        let counts = by_trigger || input.counts_rows();
        let places = self.break_ties(&mut input, &mut keys, &mut drafts, counts)?;
        // The places of rows move as the arguments of an aggregate do.
        let places = places.filter(|_| counts);
        let placed = places.is_some();
        drafts.extend(places.map(|places| Draft { plan: bare(places), ordered: false }));

        let (key_plans, mut grouped, hoisted) = self.windows_of(&mut input, &mut keys, &mut drafts);
        let places = if placed { drafts.pop().map(|draft| draft.plan.args) } else { None };
        if input.counts_rows() {
            return Err(vec![stray_windows(input.window_span.unwrap_or(scope.span))]);
        }
        if let Some(grouped) = &mut grouped {
            self.use_clause(input.window_span);
            if let WindowKind::Rows { .. } = grouped.window.kind {
                self.count_rows(&input, &mut grouped.window, tells, places, scope)?;
            } else {
                self.firing(&input, &mut grouped.window, tells, places, scope)?;
            }
        } else if let Some(column) = tells {
            return Err(vec![no_firing(column, scope)]);
        }
        let emit = self.emit(&input, grouped.as_ref(), tells.is_some(), scope)?;
        let as_final =
            emit == Emit::Final || grouped.as_ref().and_then(|grouped| grouped.window.firing.as_ref()).is_some_and(FiringPlan::is_final);
        self.corrects |= as_final && grouped.as_ref().is_some_and(|grouped| grouped.window.lateness_us > 0);
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        for draft in &mut drafts {
            draft.plan.retractable = !append_only;
        }
        let aggregates: Vec<AggregatePlan> = drafts.into_iter().map(|draft| draft.plan).collect();
        let limits = self.group_limits(&input, df_schema, grouped.as_ref(), !key_plans.is_empty(), emit, scope)?;
        let state = self.state(&input, grouped.as_ref(), &aggregates, emit, limits.as_deref(), scope)?;

        let mut grouped = grouped;
        if let Some(grouped) = &mut grouped
            && emit != Emit::Changes
            && grouped.window.watermark.is_none()
            && !matches!(grouped.window.kind, WindowKind::Rows { .. })
        {
            // Without a declared watermark the end of the bounded input closes all windows.
            grouped.window.watermark = Some(input.end_of_input());
        }
        let time_type = grouped.as_ref().map(|grouped| grouped.window.kind.column_type());
        let node_schema = self.output_schema(&key_plans, time_type, &aggregates, &input);
        let mut props = self.output_props(node_schema, &key_plans, grouped.as_ref(), &aggregates, emit, state, &input);
        if let Some(limits) = limits {
            if grouped.as_ref().is_some_and(|grouped| matches!(grouped.window.kind, WindowKind::Rows { .. })) && limits.loses() {
                // The rows of a key that has gone are numbered anew when it comes again.
                props.unique_keys.clear();
            }
            limit_props(&mut props, limits, emit, grouped.is_some());
        }
        let sources = input.sources.clone();
        let span = input.window_span;
        let below = self.fuse(&mut input);
        let window = grouped.map(|grouped| grouped.window);
        let node = self.node(PhysicalOp::Aggregate { input: below, keys: key_plans, aggregates, window, emit }, props);
        let mut rel = self.rel(node, sources, span);
        if let Some(predicate) = datafusion_physical_expr::conjunction_opt(hoisted) {
            rel.filter(predicate);
        }
        Ok(rel)
    }

    /// What an aggregate call is to the engine.
    pub(super) fn draft(&self, expr: &Expr, field: &FieldRef, schema: &DFSchema, input: &Rel, scope: &QueryScope) -> Result<Draft> {
        let failed = self.failed(scope.span);
        let call = match expr {
            Expr::Alias(alias) => &alias.expr,
            other => other,
        };
        let Expr::AggregateFunction(AggregateCall { func, params }) = call else {
            return Err(self.not_yet("this aggregate is", scope.span, "Write it another way."));
        };
        let name = func.name();
        let span = scope.call(name);
        let mut args =
            params.args.iter().map(|arg| physical(arg, schema)).collect::<datafusion_common::Result<Vec<_>>>().map_err(&failed)?;
        let wrong = |message: String, help: &str| Err(vec![PlanError::new("plan::wrong_argument", message, span).help(help)]);
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let mut order_is_argument = false;
        let function = match name {
            "count" => {
                // `count(*)` reaches us as the count of a constant.
                if !params.distinct {
                    args.retain(|arg| arg.downcast_ref::<Literal>().is_none_or(|literal| literal.value().is_null()));
                }
                AggregateFunction::Count
            }
            "sum" => AggregateFunction::Sum,
            "avg" => AggregateFunction::Avg,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            "var_pop" => AggregateFunction::VarPop,
            "var" | "var_samp" => AggregateFunction::VarSamp,
            "stddev_pop" => AggregateFunction::StddevPop,
            "stddev" | "stddev_samp" => AggregateFunction::StddevSamp,
            "bool_and" => AggregateFunction::BoolAnd,
            "bool_or" => AggregateFunction::BoolOr,
            "bit_and" => AggregateFunction::BitAnd,
            "bit_or" => AggregateFunction::BitOr,
            "bit_xor" => AggregateFunction::BitXor,
            "array_agg" => AggregateFunction::ArrayAgg { ignore_nulls },
            "string_agg" => {
                let delimiter = match args.get(1) {
                    None => ",".to_string(),
                    Some(arg) => match constant(arg).and_then(|it| it.try_as_str().flatten().map(str::to_string)) {
                        Some(delimiter) => delimiter,
                        None => return wrong("the separator of string_agg is not a constant".into(), "Write it as text: ', '."),
                    },
                };
                args.truncate(1);
                AggregateFunction::StringAgg { delimiter }
            }
            "first_value" => AggregateFunction::FirstValue { ignore_nulls },
            "last_value" => AggregateFunction::LastValue { ignore_nulls },
            "any_value" => AggregateFunction::FirstValue { ignore_nulls: params.null_treatment != Some(NullTreatment::RespectNulls) },
            "arg_min" => AggregateFunction::ArgMin,
            "arg_max" => AggregateFunction::ArgMax,
            "approx_distinct" => AggregateFunction::ApproxDistinct,
            "median" => AggregateFunction::Percentile { fraction: 0.5 },
            "approx_median" => AggregateFunction::ApproxPercentile { fraction: 0.5 },
            "percentile_cont" | "approx_percentile_cont" | "approx_percentile" => {
                order_is_argument = true;
                let given = args.get(1).and_then(constant).and_then(|it| match it {
                    ScalarValue::Float64(value) => value,
                    _ => None,
                });
                let Some(fraction) = given.filter(|fraction| (0.0..=1.0).contains(fraction)) else {
                    return wrong(format!("the fraction of {name} is not a constant between 0 and 1"), "Write it as a number: 0.95.");
                };
                args.truncate(1);
                let descending = params.order_by.first().is_some_and(|sort| !sort.asc);
                let fraction = if descending { 1.0 - fraction } else { fraction };
                if name == "percentile_cont" {
                    AggregateFunction::Percentile { fraction }
                } else {
                    AggregateFunction::ApproxPercentile { fraction }
                }
            }
            other => {
                if let Some(column) = FiringColumn::of(other) {
                    let output = Arc::new(Field::new(column.name(), column.data_type(), false));
                    let (function, text) = (AggregateFunction::Firing(column), column.name().to_string());
                    let plan = AggregatePlan { function, output, text, ..bare(vec![]) };
                    return Ok(Draft { plan, ordered: false });
                }
                return Err(self.not_yet(
                    &format!("aggregate {other} is"),
                    span,
                    "SHOW FUNCTIONS lists what there is; compute it from sums and counts.",
                ));
            }
        };
        let data_type = |expr: &Physical| expr.data_type(input.schema());
        let arg_types = args.iter().map(data_type).collect::<datafusion_common::Result<Vec<_>>>().map_err(&failed)?;
        let kept = |it: &DataType| matches!(it, DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Decimal128(_, _));
        if matches!(function, AggregateFunction::Sum | AggregateFunction::Avg)
            && let Some(other) = arg_types.iter().find(|it| !kept(it))
        {
            let what = format!("{name} of {} is", type_name(other));
            return Err(self.not_yet(&what, span, "Convert the argument: CAST(x AS DOUBLE)."));
        }
        let filter = params.filter.as_ref().map(|filter| physical(filter, schema)).transpose().map_err(&failed)?;
        let mut order_by = Vec::new();
        for sort in params.order_by.iter().filter(|_| !order_is_argument) {
            let expr = physical(&sort.expr, schema).map_err(&failed)?;
            let data_type = data_type(&expr).map_err(&failed)?;
            order_by.push(SortKey { expr, data_type, descending: !sort.asc, nulls_first: sort.nulls_first });
        }
        let ordered = matches!(
            function,
            AggregateFunction::ArrayAgg { .. }
                | AggregateFunction::StringAgg { .. }
                | AggregateFunction::FirstValue { .. }
                | AggregateFunction::LastValue { .. }
                | AggregateFunction::ArgMin
                | AggregateFunction::ArgMax
        );
        if !ordered {
            order_by.clear();
        }
        let written = call_text(name, &function, &args, params.distinct, &order_by, filter.as_ref());
        let output = Arc::new(Field::new(&written, field.data_type().clone(), field.is_nullable()));
        let distinct = params.distinct;
        let plan = AggregatePlan { function, args, arg_types, filter, distinct, order_by, output, retractable: false, text: written };
        Ok(Draft { plan, ordered })
    }

    /// Ends each order with what breaks ties: the row's place in its source if it still has one, else the value itself.
    ///
    /// `counts`: places are needed for rows to be counted in order. Returns them, if they are known.
    fn break_ties(&self, input: &mut Rel, keys: &mut [NamedExpr], drafts: &mut [Draft], counts: bool) -> Result<Option<Vec<Physical>>> {
        let needs_places = counts || drafts.iter().any(|draft| draft.ordered && !draft.plan.distinct);
        let places = if needs_places { input.carry_places() } else { None };
        if let Some((_, moved)) = &places {
            let place = |old: usize| moved[old];
            move_all(keys, drafts, &place);
        }
        for draft in drafts.iter_mut().filter(|draft| draft.ordered) {
            let plan = &mut draft.plan;
            match (&places, plan.distinct) {
                (Some(([partition, offset], _)), false) => {
                    for (place, data_type) in [(*partition, DataType::Int32), (*offset, DataType::Int64)] {
                        let expr = column(input.schema().field(place).name(), place);
                        plan.order_by.push(SortKey { expr, data_type, descending: false, nulls_first: false });
                    }
                }
                _ => {
                    let value = (Arc::clone(&plan.args[0]), plan.arg_types[0].clone());
                    if !plan.order_by.iter().any(|key| key.expr.as_ref() == value.0.as_ref()) {
                        plan.order_by.push(SortKey { expr: value.0, data_type: value.1, descending: false, nulls_first: false });
                    }
                }
            }
        }
        Ok(places.map(|(places, _)| places.iter().map(|place| column(input.schema().field(*place).name(), *place)).collect()))
    }

    /// Completes what a window says of its firings, and refuses what cannot be.
    fn firing(
        &self,
        input: &Rel,
        window: &mut WindowPlan,
        tells: Option<FiringColumn>,
        places: Option<Vec<Physical>>,
        scope: &QueryScope,
    ) -> Result<()> {
        let span = input.window_span.unwrap_or(scope.span);
        match (&mut window.firing, tells) {
            (None, None) => return Ok(()),
            (None, Some(column)) if scope.emit == Some(EmitClause::Changes) => return Err(vec![no_firing(column, scope)]),
            (firing @ None, Some(_)) => {
                *firing = Some(FiringPlan { trigger: TriggerPlan::Watermark, purge: false });
            }
            (Some(_), _) => {}
        }
        let Some(firing) = &mut window.firing else { return Ok(()) };
        if firing.purge && input.props.changelog != ChangelogKind::AppendOnly {
            let error = PlanError::new("plan::purge", "FIRE AND PURGE over rows that may be taken back", span);
            return Err(vec![
                error
                    .label("a row could be taken back from a result that is forgotten")
                    .help("Leave AND PURGE out: results are corrected."),
            ]);
        }
        if firing.trigger.counts() {
            let Some(places) = places else {
                let error = PlanError::new("plan::trigger_order", "EVERY n RECORDS counts rows in the order of their source", span);
                let error = error.label("these rows have no such order: they are joined, computed or taken back");
                return Err(vec![error.help("Write a trigger of time, such as TRIGGER EVERY 30s, or count the rows of one source.")]);
            };
            window.places = places;
        }
        Ok(())
    }

    /// Completes a window of so many rows, and refuses what cannot be.
    fn count_rows(
        &self,
        input: &Rel,
        window: &mut WindowPlan,
        tells: Option<FiringColumn>,
        places: Option<Vec<Physical>>,
        scope: &QueryScope,
    ) -> Result<()> {
        if let Some(column) = tells {
            let error = PlanError::new(
                "plan::no_firing",
                format!("{} tells of a firing, and there is none", column.name()),
                scope.call(column.name()),
            );
            let error = error.label("a window of so many rows comes out once, when it is full");
            return Err(vec![error.help("Leave it out, or cut windows by time: WINDOW TUMBLING(5m) TRIGGER EVERY 100 RECORDS.")]);
        }
        let span = input.window_span.unwrap_or(scope.span);
        let refuse = |label: &str, help: &str| {
            let error = PlanError::new("plan::row_order", "windows of so many rows count rows in the order of their source", span);
            Err(vec![error.label(label).help(help)])
        };
        if input.props.changelog != ChangelogKind::AppendOnly {
            return refuse(
                "these rows may be taken back, and all rows behind one would move",
                "Count rows of a source that only adds rows, or of windows that come out once; ROW_NUMBER() OVER (… ORDER BY …) numbers rows that \
                 change.",
            );
        }
        let Some(places) = places else {
            return refuse(
                "these rows have no such order: they are joined or computed",
                "Count the rows of one source, or cut windows by time: WINDOW TUMBLING(5m).",
            );
        };
        window.places = places;
        Ok(())
    }

    /// Finds the window that is grouped by. Assignment that the aggregate can do itself is taken out of the input's steps.
    ///
    /// Predicates on the window that were pushed below the aggregate come back as predicates on its output.
    fn windows_of(&self, input: &mut Rel, keys: &mut [NamedExpr], drafts: &mut [Draft]) -> (Vec<KeyPlan>, Option<Grouped>, Vec<Physical>) {
        let plain = |keys: &[NamedExpr]| (keys.iter().cloned().map(KeyPlan::Expr).collect::<Vec<_>>(), None, vec![]);
        let Some(attached) = input.props.window.clone() else { return plain(keys) };
        let part_of = |place: usize| match place {
            place if attached.start == Some(place) => Some(WindowColumn::Start),
            place if attached.end == Some(place) => Some(WindowColumn::End),
            place if attached.time == Some(place) => Some(WindowColumn::Time),
            _ => None,
        };
        let parts: Vec<Option<WindowColumn>> = keys.iter().map(|key| as_column(&key.expr).and_then(part_of)).collect();
        let identified = parts.iter().flatten().any(|part| match part {
            WindowColumn::End | WindowColumn::Time => true,
            // A start tells the window only where all have one length.
            WindowColumn::Start => attached.size_us.is_some(),
        });
        if !identified {
            return plain(keys);
        }

        let mut trial = input.clone();
        if !attached.closed
            && let Some(super::relation::TakenWindow { window, gone, predicates }) = trial.take_windows()
        {
            // A predicate on a part of the window that is a key can be asked of the result.
            let key_of = |part: usize| parts.iter().position(|it| *it == Some(PARTS[part]));
            let hoisted: Option<Vec<Physical>> = predicates
                .iter()
                .map(|predicate| {
                    let known = columns(predicate).iter().all(|part| key_of(*part).is_some());
                    known.then(|| remap(predicate, &|part| key_of(part).unwrap_or(part)))
                })
                .collect();
            let read_by_values: Vec<Physical> = drafts
                .iter()
                .flat_map(|draft| {
                    let plan = &draft.plan;
                    plan.args.iter().chain(&plan.filter).chain(plan.order_by.iter().map(|key| &key.expr)).cloned()
                })
                .chain(keys.iter().zip(&parts).filter(|(_, part)| part.is_none()).map(|(key, _)| Arc::clone(&key.expr)))
                .collect();
            let on_rows = |expr: &Physical| columns(expr).iter().all(|it| matches!(gone[*it], Taken::Column(_)));
            if let (true, Some(hoisted)) = (read_by_values.iter().all(on_rows), hoisted) {
                let place = |old: usize| match gone[old] {
                    Taken::Column(place) => place,
                    Taken::Window(_) => old,
                };
                let key_plans: Vec<KeyPlan> = keys
                    .iter()
                    .zip(&parts)
                    .map(|(key, part)| match part {
                        Some(part) => KeyPlan::Window(*part, key.name.clone()),
                        None => KeyPlan::Expr(NamedExpr { name: key.name.clone(), expr: remap(&key.expr, &place) }),
                    })
                    .collect();
                move_all(&mut [], drafts, &place);
                trial.props.watermarks.clear();
                trial.props.window = None;
                trial.props.unique_keys.clear();
                *input = trial;
                let retention_us = window_size(window.kind).saturating_add(window.lateness_us);
                return (key_plans, Some(Grouped { window, size_us: attached.size_us, retention_us }), hoisted);
            }
        }

        // The window is in the rows: its end is, or follows from, one of its columns.
        let name_of = |place: usize| input.schema().field(place).name().clone();
        let end: Option<Physical> = match (attached.end, attached.time, attached.start, attached.size_us) {
            (Some(end), ..) => Some(column(&name_of(end), end)),
            (None, Some(time), ..) => Some(shifted(column(&name_of(time), time), 1)),
            (None, None, Some(start), Some(size)) => Some(shifted(column(&name_of(start), start), size)),
            _ => None,
        };
        let Some(end) = end else { return plain(keys) };
        let start = attached.start.map(|place| column(&name_of(place), place));
        let key_plans = keys
            .iter()
            .zip(&parts)
            .map(|(key, part)| match part {
                Some(part) => KeyPlan::Window(*part, key.name.clone()),
                None => KeyPlan::Expr(key.clone()),
            })
            .collect();
        // A watermark that nothing but the end of the input moves is no declared one.
        let declared = attached.closed || watermark_known(input, &attached);
        let options = input.options.clone().unwrap_or_default();
        let window = WindowPlan {
            kind: WindowKind::Attached,
            offset_us: 0,
            time: end,
            start,
            watermark: declared.then(|| attached.watermark.clone()),
            lateness_us: options.lateness_us,
            // Rows that belong into the next window were put there when windows were assigned.
            late: if options.late == LateStrategy::IncludeInNextWindow { LateStrategy::Drop } else { options.late },
            letters: options.letters.map(|it| it.path),
            firing: options.firing,
            places: vec![],
        };
        let retention_us = attached.size_us.unwrap_or(0).saturating_add(window.lateness_us);
        (key_plans, Some(Grouped { window, size_us: attached.size_us, retention_us }), vec![])
    }

    /// When an aggregate emits, if that can be.
    /// `tells`: something of the firing is asked for.
    pub(super) fn emit(&self, input: &Rel, grouped: Option<&Grouped>, tells: bool, scope: &QueryScope) -> Result<Emit> {
        let said = scope.emit.or_else(|| self.settings.emit());
        let bounded = input.props.bounded;
        let watermark = grouped.is_some_and(|grouped| grouped.window.watermark.is_some());
        let span = if scope.emit.is_some() { scope.emit_span.unwrap_or(scope.span) } else { scope.span };
        // A trigger says when; EMIT CHANGES beside it says that the result may change.
        let firing = grouped.and_then(|grouped| grouped.window.firing.as_ref());
        let triggered = firing.is_some_and(|firing| tells || !firing.is_final());
        let said = match firing {
            Some(firing) if firing.is_final() => Some(EmitClause::Final),
            Some(_) if scope.emit == Some(EmitClause::Final) => {
                let error = PlanError::new("plan::final_trigger", "EMIT FINAL beside a trigger that fires early", span);
                return Err(vec![
                    error.label("the first results would not be final").help("Leave EMIT FINAL out, or write TRIGGER ON WATERMARK."),
                ]);
            }
            Some(_) => return Ok(Emit::Triggered),
            None => said,
        };
        match (said, grouped) {
            (None | Some(EmitClause::Final), Some(Grouped { window: WindowPlan { kind: WindowKind::Rows { .. }, .. }, .. })) => {
                Ok(Emit::Final)
            }
            (Some(EmitClause::Changes), _) | (None, None) => Ok(Emit::Changes),
            (Some(EmitClause::Final), None) if bounded => Ok(Emit::Final),
            (Some(EmitClause::Final), None) => {
                let error = PlanError::new("plan::final_without_watermark", "a group over all time is never final", span)
                    .label("the input does not end")
                    .help("Group by a window, such as WINDOW TUMBLING(5m), or say EMIT CHANGES.");
                Err(vec![error])
            }
            (_, Some(_)) if watermark || bounded => Ok(if triggered { Emit::Triggered } else { Emit::Final }),
            (_, Some(_)) => {
                let names: Vec<&str> = input.sources.iter().map(|id| self.sources[id.index()].table.name.as_str()).collect();
                let without: Vec<&str> = input
                    .sources
                    .iter()
                    .map(|id| &self.sources[id.index()].table)
                    .filter(|it| it.event_time.is_none())
                    .map(|it| it.name.as_str())
                    .collect();
                let span = if scope.emit.is_some() { span } else { input.window_span.unwrap_or(span) };
                let error = PlanError::new("plan::final_without_watermark", "these windows never close", span);
                let error = match without.first() {
                    Some(source) => error.label(format!("source \"{source}\" has no watermark")).help(format!(
                        "Add WATERMARK FOR a timestamp column to source \"{source}\", such as WATERMARK FOR ts AS ts - INTERVAL '5' SECOND."
                    )),
                    None => error.label("not cut by the column that has the watermark").help(format!(
                        "Cut windows by the event time of \"{}\", or add WATERMARK FOR the column they are cut by.",
                        names.join("\", \"")
                    )),
                };
                Err(vec![error])
            }
        }
    }

    /// What bounds the state of an aggregate, if something does or the statement allows that nothing does.
    fn state(
        &self,
        input: &Rel,
        grouped: Option<&Grouped>,
        aggregates: &[AggregatePlan],
        emit: Emit,
        limits: Option<&StateLimits>,
        scope: &QueryScope,
    ) -> Result<StateBound> {
        let allowed = scope.allow_unbounded_state || self.settings.allow_unbounded_state();
        let grows = |why: &'static str, message: String, span: Span, help: String| {
            if input.props.bounded {
                Ok(StateBound::BoundedInput)
            } else if limits.is_some_and(|limits| bounds_values(limits, grouped.is_some())) {
                Ok(StateBound::Limits)
            } else if allowed {
                Ok(StateBound::Unbounded { why })
            } else {
                let error = PlanError::new("plan::unbounded_state", message, span).label("the input does not end").help(help);
                Err(vec![error])
            }
        };
        if let Some(grouped) = grouped {
            if let WindowKind::Rows { size, .. } = grouped.window.kind {
                return Ok(StateBound::RowWindow { rows: size });
            }
            if grouped.window.watermark.is_none() && (emit == Emit::Changes || (emit == Emit::Triggered && !input.props.bounded)) {
                // Sessions, windows with a trigger, and rows that may be taken back do not go by a time-to-live.
                let goes = emit == Emit::Changes
                    && !matches!(grouped.window.kind, WindowKind::Session { .. })
                    && input.props.changelog == ChangelogKind::AppendOnly;
                let or_goes = if goes { ", let windows go without rows with OPTIONS ('state.ttl' = '1h')" } else { "" };
                return grows(
                    "windows without a watermark are never dropped",
                    "windows without a watermark are kept for ever".into(),
                    input.window_span.unwrap_or(scope.span),
                    format!("Add WATERMARK FOR a timestamp column to the source{or_goes}, or say ALLOW UNBOUNDED STATE."),
                );
            }
            return Ok(StateBound::Window { retention_us: grouped.retention_us });
        }
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        let growing = aggregates.iter().find(|it| match it.class() {
            AggregateClass::Accumulable => false,
            AggregateClass::Hierarchical => !append_only,
            AggregateClass::Holistic => true,
        });
        match growing {
            None => Ok(StateBound::PerKey),
            Some(it) => grows(
                "an aggregate keeps every value",
                format!("{} over all time keeps every value", it.text),
                it.text.split('(').next().map_or(scope.span, |name| scope.call(name)),
                "Group by a window, limit memory with OPTIONS ('state.max_bytes' = '1000000000'), or say ALLOW UNBOUNDED STATE.".into(),
            ),
        }
    }

    /// `time`: the type of the window's columns.
    fn output_schema(&self, keys: &[KeyPlan], time: Option<DataType>, aggregates: &[AggregatePlan], input: &Rel) -> Arc<Schema> {
        let time = time.unwrap_or(DataType::Null);
        let keys = keys.iter().map(|key| match key {
            KeyPlan::Window(_, name) => Arc::new(Field::new(name, time.clone(), false)),
            KeyPlan::Expr(it) => {
                let data_type = it.expr.data_type(input.schema()).unwrap_or(DataType::Null);
                Arc::new(Field::new(&it.name, data_type, it.expr.nullable(input.schema()).unwrap_or(true)))
            }
        });
        Arc::new(Schema::new(keys.chain(aggregates.iter().map(|it| Arc::clone(&it.output))).collect::<Vec<_>>()))
    }

    #[allow(clippy::too_many_arguments)]
    fn output_props(
        &self,
        schema: Arc<Schema>,
        keys: &[KeyPlan],
        grouped: Option<&Grouped>,
        aggregates: &[AggregatePlan],
        emit: Emit,
        state: StateBound,
        input: &Rel,
    ) -> Props {
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        let mut props = plain_props(schema, input.props.bounded);
        props.state = state;
        let lateness_us = grouped.map_or(0, |grouped| grouped.window.lateness_us);
        let firing = grouped.and_then(|grouped| grouped.window.firing.as_ref());
        let purges = firing.is_some_and(|firing| firing.purge);
        let once = lateness_us == 0 && (emit == Emit::Final || (emit == Emit::Triggered && firing.is_some_and(FiringPlan::is_final)));
        props.changelog = match emit {
            _ if once || purges => ChangelogKind::AppendOnly,
            // A set that only grows: DISTINCT over rows that only come.
            _ if aggregates.is_empty() && append_only => ChangelogKind::AppendOnly,
            Emit::Changes | Emit::Final | Emit::Triggered => ChangelogKind::Retract,
        };
        // A window that is purged may come out several times.
        props.unique_keys = if purges { vec![] } else { vec![(0..keys.len()).collect()] };
        props.settled =
            aggregates.iter().position(|it| it.function == AggregateFunction::Firing(FiringColumn::Final)).map(|place| keys.len() + place);
        let place_of = |part| keys.iter().position(|key| matches!(key, KeyPlan::Window(it, _) if *it == part));
        match grouped {
            // Nothing behind waits for such a window: its columns are numbers.
            Some(grouped) if matches!(grouped.window.kind, WindowKind::Rows { .. }) => {}
            Some(grouped) => {
                // Corrections come until the allowed lateness is over: what reads them is never late by its own watermark.
                let watermark = grouped.window.watermark.as_ref().map(|watermark| delayed(watermark, lateness_us));
                if let Some(watermark) = &watermark {
                    for (place, key) in keys.iter().enumerate() {
                        match (key, grouped.size_us) {
                            (KeyPlan::Window(WindowColumn::End | WindowColumn::Time, _), _) => {
                                props.watermarks.push((place, watermark.clone()))
                            }
                            (KeyPlan::Window(WindowColumn::Start, _), Some(size)) => {
                                props.watermarks.push((place, delayed(watermark, size)))
                            }
                            _ => {}
                        }
                    }
                }
                props.window = Some(AttachedWindow {
                    start: place_of(WindowColumn::Start),
                    end: place_of(WindowColumn::End),
                    time: place_of(WindowColumn::Time),
                    watermark: watermark.unwrap_or_else(|| input.end_of_input()),
                    size_us: grouped.size_us,
                    closed: once,
                });
            }
            None if emit == Emit::Changes => {
                for (place, key) in keys.iter().enumerate() {
                    if let KeyPlan::Expr(it) = key
                        && let Some(watermark) = watermark_of(&it.expr, input)
                    {
                        props.watermarks.push((place, watermark));
                    }
                }
            }
            // What comes out at the end of the input comes all at once, behind every watermark.
            None => {}
        }
        props
    }
}

/// There is no firing that a column could tell of.
pub(super) fn no_firing(column: FiringColumn, scope: &QueryScope) -> PlanError {
    let error =
        PlanError::new("plan::no_firing", format!("{} tells of a firing, and there is none", column.name()), scope.call(column.name()));
    error
        .label("this query does not wait for a trigger")
        .help("Select it where windows are aggregated, without EMIT CHANGES: SELECT count(*), _is_final FROM t WINDOW TUMBLING(5m) TRIGGER EVERY 30s.")
}

/// A count of some columns, to be made something of.
fn bare(args: Vec<Physical>) -> AggregatePlan {
    AggregatePlan {
        function: AggregateFunction::Count,
        args,
        arg_types: vec![],
        filter: None,
        distinct: false,
        order_by: vec![],
        output: Arc::new(Field::new("", DataType::Int64, false)),
        retractable: false,
        text: String::new(),
    }
}

/// What limits change in the facts about an aggregate's output.
fn limit_props(props: &mut Props, limits: Arc<StateLimits>, emit: Emit, windows: bool) {
    let goes = limits.loses() && limits.at_limit != AtLimit::Refuse || limits.ttl_us.is_some() || limits.max_age_us.is_some();
    match limits.evicted {
        Evicted::Retract if goes && emit == Emit::Changes => {
            props.changelog = ChangelogKind::Retract;
            if !windows {
                // A result that is taken back is as old as its group.
                props.watermarks.clear();
            }
        }
        Evicted::Forget if goes => props.unique_keys.clear(),
        Evicted::Seal if goes => {
            // Results may come out before their window closes.
            if let Some(window) = &mut props.window {
                window.closed = false;
            }
        }
        Evicted::Retract | Evicted::Forget | Evicted::Seal => {}
    }
    props.limits = Some(limits);
}

/// Whether limits bound state that would keep every value, or every window.
fn bounds_values(limits: &StateLimits, windows: bool) -> bool {
    limits.max_bytes.is_some()
        || limits.max_age_us.is_some()
        || limits.max_rows_per_group.is_some()
        || windows && (limits.ttl_us.is_some() || limits.max_groups.is_some())
}

/// Whether the watermark of an attached window is one that some column keeps to.
fn watermark_known(input: &Rel, attached: &AttachedWindow) -> bool {
    let held = |place: Option<usize>| place.is_some_and(|place| input.props.watermarks.iter().any(|(column, _)| *column == place));
    held(attached.end) || held(attached.time) || held(attached.start)
}

/// Points keys and aggregates at columns that have moved.
fn move_all(keys: &mut [NamedExpr], drafts: &mut [Draft], place: &dyn Fn(usize) -> usize) {
    for key in keys {
        key.expr = remap(&key.expr, place);
    }
    for draft in drafts {
        let plan = &mut draft.plan;
        let exprs = plan.args.iter_mut().chain(&mut plan.filter).chain(plan.order_by.iter_mut().map(|key| &mut key.expr));
        for expr in exprs {
            *expr = remap(expr, place);
        }
    }
}

/// A constant, also below casts.
pub(super) fn constant(expr: &Physical) -> Option<ScalarValue> {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Some(literal.value().clone());
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return constant(cast.expr())?.cast_to(cast.cast_type()).ok();
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && *binary.op() == Operator::Divide
        && let (Some(ScalarValue::Float64(Some(left))), Some(ScalarValue::Float64(Some(right)))) =
            (constant(binary.left()), constant(binary.right()))
    {
        return Some(ScalarValue::Float64(Some(left / right)));
    }
    None
}

/// An aggregate as a user would write it.
fn call_text(
    name: &str,
    function: &AggregateFunction,
    args: &[Physical],
    distinct: bool,
    order_by: &[SortKey],
    filter: Option<&Physical>,
) -> String {
    // Conversions that the function asked for are not the user's words.
    let plain = |arg: &Physical| match arg.downcast_ref::<CastExpr>() {
        Some(cast) if cast.cast_type().is_numeric() => text(cast.expr()),
        _ => text(arg),
    };
    let mut inside: Vec<String> = args.iter().map(plain).collect();
    match function {
        AggregateFunction::StringAgg { delimiter } => inside.push(format!("'{delimiter}'")),
        AggregateFunction::Percentile { fraction } | AggregateFunction::ApproxPercentile { fraction } if !name.ends_with("median") => {
            inside.push(fraction.to_string());
        }
        AggregateFunction::Count if inside.is_empty() => inside.push("*".into()),
        _ => {}
    }
    let mut out = format!("{name}({}{}", if distinct { "DISTINCT " } else { "" }, inside.join(", "));
    if !order_by.is_empty() {
        let keys: Vec<String> =
            order_by.iter().map(|key| format!("{}{}", text(&key.expr), if key.descending { " DESC" } else { "" })).collect();
        out.push_str(&format!(" ORDER BY {}", keys.join(", ")));
    }
    out.push(')');
    if let AggregateFunction::FirstValue { ignore_nulls: true }
    | AggregateFunction::LastValue { ignore_nulls: true }
    | AggregateFunction::ArrayAgg { ignore_nulls: true } = function
        && name != "any_value"
    {
        out.push_str(" IGNORE NULLS");
    }
    if let Some(filter) = filter {
        out.push_str(&format!(" FILTER (WHERE {})", text(filter)));
    }
    out
}
