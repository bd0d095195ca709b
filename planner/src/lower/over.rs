//! Functions OVER rows: which each is, the frame it reads, and what bounds the state.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{AggregateFunction as AggregateCall, NullTreatment, Sort, WindowFunction, WindowFunctionDefinition};
use datafusion_expr::logical_plan::Window;
use datafusion_expr::{BinaryExpr, Expr, Operator, WindowFrameBound, WindowFrameUnits};
use datafusion_physical_expr::expressions::{CastExpr, Literal};

use super::aggregate::{constant, no_firing};
use super::expr::{Physical, as_column, column, in_microseconds, physical, text};
use super::prune::{same_aggregate, same_exprs, same_order, same_window};
use super::ranked::window_call;
use super::relation::{Rel, plain_props};
use super::{Lowering, Result, watermark_of};
use crate::PlanError;
use crate::logical::{QueryScope, type_name};
use crate::plan::{
    AggregateFunction, ChangelogKind, Emit, Frame, FrameBound, FrameUnits, NamedExpr, OverCall, OverFunction, OverPlan, OverTime,
    PhysicalOp, SortKey, StateBound, TimeDomain,
};
use crate::statement::EmitClause;

impl Lowering<'_> {
    /// Functions over the rows of groups. Those of one group and order are one operator.
    pub(super) fn over(&mut self, window: &Window, scope: &QueryScope) -> Result<Rel> {
        let mut rel = self.lower(&window.input, scope)?;
        let schema = Arc::clone(window.input.schema());
        let width = schema.fields().len();
        let calls: Vec<&WindowFunction> = window.window_expr.iter().filter_map(window_call).collect();
        assert_eq!(calls.len(), window.window_expr.len(), "lowering invariant: a window's expressions are window functions");
        let mut done = 0;
        while done < calls.len() {
            let first = &calls[done].params;
            let alike = |call: &&&WindowFunction| call.params.partition_by == first.partition_by && call.params.order_by == first.order_by;
            let count = calls[done..].iter().take_while(alike).count();
            let fields = &window.schema.fields()[width + done..width + done + count];
            rel = self.over_one(rel, &schema, &calls[done..done + count], fields, scope)?;
            done += count;
        }
        // Rows of which nothing is read have a column all the same, by which they are counted.
        let beside = rel.schema().fields().len() - window.schema.fields().len();
        if beside > 0 {
            let fields: Vec<FieldRef> = rel.schema().fields().iter().skip(beside).cloned().collect();
            let exprs = fields
                .iter()
                .enumerate()
                .map(|(at, field)| NamedExpr { name: field.name().clone(), expr: column(field.name(), beside + at) });
            rel.project(exprs.collect(), fields);
        }
        Ok(rel)
    }

    fn over_one(
        &mut self,
        mut input: Rel,
        schema: &DFSchema,
        calls: &[&WindowFunction],
        fields: &[FieldRef],
        scope: &QueryScope,
    ) -> Result<Rel> {
        let params = &calls[0].params;
        self.refuse_volatile(&input, &params.partition_by, scope)?;
        let failed = self.failed(scope.span);
        let partition_by: Vec<Physical> =
            params.partition_by.iter().map(|key| physical(key, schema)).collect::<datafusion_common::Result<_>>().map_err(&failed)?;
        let order_by = self.sort_keys(&params.order_by, schema, &input, scope)?;
        let mut functions = Vec::new();
        for (call, field) in calls.iter().zip(fields) {
            functions.push(self.over_call(call, field, schema, &input, &order_by, scope)?);
        }
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        let mut grouped = self.attached(&input, &partition_by);
        let time = match scope.emit.or_else(|| self.settings.emit()) {
            Some(EmitClause::Final) if append_only && grouped.is_none() => over_time(&input, &order_by, &functions),
            _ => None,
        };
        let emit = if time.is_some() { Emit::Final } else { self.emit(&input, grouped.as_ref(), false, scope)? };
        for call in &mut functions {
            if let OverFunction::Aggregate(aggregate) = &mut call.function {
                // A frame moves over rows, and where results change it is moved back.
                aggregate.retractable = emit != Emit::Final || !matches!(call.frame.start, FrameBound::Unbounded);
            }
        }
        if grouped.is_none() && time.is_none() {
            input = self.expiring(input, "OVER", scope)?;
        }
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        let limits = self.row_limits("OVER", scope)?;
        let state = match &grouped {
            _ if time.is_some() => StateBound::FramePerKey,
            Some(grouped) if grouped.window.watermark.is_some() || emit == Emit::Final => {
                StateBound::Window { retention_us: grouped.retention_us }
            }
            _ if limits.is_some() || self.expires(&input) => StateBound::Limits,
            // The rows are those of an aggregate or the like, one for each key that it keeps itself.
            _ if !append_only && !input.props.unique_keys.is_empty() => StateBound::PerKey,
            _ => {
                let message = format!("{} OVER all time keeps every row", functions[0].text);
                let help = "Add the columns of a window to PARTITION BY, keep the first rows of each group with ROW_NUMBER() … <= n, order by \
                            event time with frames that look back and say EMIT FINAL, let rows count for a while with OPTIONS ('state.ttl' = '1h'), \
                            or say ALLOW UNBOUNDED STATE.";
                let name = functions[0].text.split('(').next().unwrap_or_default();
                self.grows(&input, "OVER keeps every row", message, scope.call(name), help.into(), scope)?
            }
        };
        if let Some(grouped) = &mut grouped
            && emit == Emit::Final
            && grouped.window.watermark.is_none()
        {
            grouped.window.watermark = Some(input.end_of_input());
        }
        let columns = input.schema().fields().iter().cloned().chain(functions.iter().map(|call| Arc::clone(&call.output)));
        let mut props = plain_props(Arc::new(Schema::new(columns.collect::<Vec<_>>())), input.props.bounded);
        props.state = state;
        props.limits = limits;
        props.changelog = if emit == Emit::Final { ChangelogKind::AppendOnly } else { ChangelogKind::Retract };
        props.unique_keys = input.props.unique_keys.clone();
        if let Some(window) = input.props.window.clone().filter(|_| grouped.is_some()) {
            let of_window = |place: &usize| [window.start, window.end, window.time].contains(&Some(*place));
            props.watermarks = input.props.watermarks.iter().filter(|(place, _)| of_window(place)).cloned().collect();
            props.window = Some(crate::plan::AttachedWindow { closed: emit == Emit::Final, ..window });
        }
        if time.is_some() {
            // Rows come out in the epoch in which the watermark passes them, so they are not behind it before.
            let ordered = order_by.first().and_then(|key| as_column(&key.expr));
            props.watermarks = input.props.watermarks.iter().filter(|(place, _)| Some(*place) == ordered).cloned().collect();
        }
        let (sources, span) = (input.sources.clone(), input.window_span);
        let below = self.fuse(&mut input);
        let window = grouped.map(|grouped| grouped.window);
        let plan = OverPlan { input: below, partition_by, order_by, functions, window, time, emit, retractable: !append_only };
        let node = self.node(PhysicalOp::Over(plan), props);
        Ok(self.rel(node, sources, span))
    }

    fn over_call(
        &self,
        call: &WindowFunction,
        field: &FieldRef,
        schema: &DFSchema,
        input: &Rel,
        order_by: &[SortKey],
        scope: &QueryScope,
    ) -> Result<OverCall> {
        let params = &call.params;
        self.refuse_volatile(input, &params.args, scope)?;
        let failed = self.failed(scope.span);
        let name = call.fun.name().to_string();
        let span = scope.call(&name);
        let wrong = |message: String, help: &str| Err(vec![PlanError::new("plan::wrong_argument", message, span).help(help)]);
        let mut args: Vec<Physical> =
            params.args.iter().map(|arg| physical(arg, schema)).collect::<datafusion_common::Result<_>>().map_err(&failed)?;
        let written: Vec<String> = args.iter().map(text).collect();
        let mut shown = format!("{name}({})", written.join(", "));
        let ignore_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let whole = |arg: Option<&Physical>| {
            arg.and_then(constant).and_then(|value| match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(value)) => value,
                _ => None,
            })
        };
        if !matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && (params.filter.is_some() || params.distinct) {
            return wrong(format!("{name} takes neither FILTER nor DISTINCT"), "Filter the rows before.");
        }
        let frame = self.frame(call, order_by, schema, input, scope)?;
        let function = match name.as_str() {
            "row_number" => OverFunction::RowNumber,
            "rank" => OverFunction::Rank,
            "dense_rank" => OverFunction::DenseRank,
            "percent_rank" => OverFunction::PercentRank,
            "cume_dist" => OverFunction::CumeDist,
            "ntile" => match whole(args.first()) {
                Some(parts) if parts > 0 => {
                    args.clear();
                    OverFunction::Ntile { parts: parts.unsigned_abs() }
                }
                _ => return wrong("ntile takes a positive constant".into(), "Write a number: ntile(4)."),
            },
            "lag" | "lead" => {
                let rows = match args.get(1) {
                    None => 1,
                    Some(_) => match whole(args.get(1)) {
                        Some(rows) => rows,
                        None => return wrong(format!("{name} takes a constant number of rows"), "Write a number: lag(x, 1)."),
                    },
                };
                let value_type = args[0].data_type(input.schema()).map_err(&failed)?;
                if args.len() > 1 {
                    args.remove(1);
                }
                if let Some(default) = args.get_mut(1)
                    && default.data_type(input.schema()).map_err(&failed)? != value_type
                {
                    *default = Arc::new(CastExpr::new(Arc::clone(default), value_type, None));
                }
                let Some(rows) = (if name == "lag" { Some(rows) } else { rows.checked_neg() }) else {
                    return wrong(format!("{name} cannot reach that far"), "Write a smaller number.");
                };
                OverFunction::Shift { rows }
            }
            "first_value" | "last_value" | "nth_value" => {
                let row = match name.as_str() {
                    "first_value" => 1,
                    "last_value" => -1,
                    _ => match whole(args.get(1)) {
                        Some(row) if row != 0 && row != i64::MIN => row,
                        _ => return wrong("nth_value takes a constant that is not 0".into(), "Write a number: nth_value(x, 2)."),
                    },
                };
                args.truncate(1);
                OverFunction::Nth { row }
            }
            _ => {
                let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
                    return Err(self.not_yet(&format!("{name} OVER rows is"), span, "SHOW FUNCTIONS lists what there is."));
                };
                let filter = params.filter.clone();
                let aggregate = AggregateCall::new_udf(
                    Arc::clone(function),
                    params.args.clone(),
                    params.distinct,
                    filter,
                    vec![],
                    params.null_treatment,
                );
                let mut draft = self.draft(&Expr::AggregateFunction(aggregate), field, schema, input, scope)?;
                if let AggregateFunction::Firing(column) = draft.plan.function {
                    return Err(vec![no_firing(column, scope)]);
                }
                if draft.ordered {
                    // Values come in the order of the rows, each of which has its own position.
                    let expr: Physical = Arc::new(Literal::new(ScalarValue::Int64(Some(0))));
                    draft.plan.order_by = vec![SortKey { expr, data_type: DataType::Int64, descending: false, nulls_first: false }];
                }
                shown = draft.plan.text.clone();
                args.clear();
                OverFunction::Aggregate(Box::new(draft.plan))
            }
        };
        if ignore_nulls {
            shown.push_str(" IGNORE NULLS");
        }
        let output = Arc::new(Field::new(&shown, field.data_type().clone(), field.is_nullable() || !args.is_empty()));
        Ok(OverCall { function, args, frame, ignore_nulls, output, text: shown })
    }

    fn frame(&self, call: &WindowFunction, order_by: &[SortKey], schema: &DFSchema, input: &Rel, scope: &QueryScope) -> Result<Frame> {
        let frame = &call.params.window_frame;
        let units = match frame.units {
            WindowFrameUnits::Rows => FrameUnits::Rows,
            WindowFrameUnits::Range => FrameUnits::Range,
            WindowFrameUnits::Groups => FrameUnits::Groups,
        };
        let bound = |bound: &WindowFrameBound| -> Result<FrameBound> {
            let (value, behind) = match bound {
                WindowFrameBound::CurrentRow => return Ok(FrameBound::Current),
                other if other.is_unbounded() => return Ok(FrameBound::Unbounded),
                WindowFrameBound::Preceding(value) => (value, false),
                WindowFrameBound::Following(value) => (value, true),
            };
            if units == FrameUnits::Range {
                return self.bound_value(value, behind, &call.params.order_by, order_by, schema, input, scope);
            }
            match value.cast_to(&DataType::Int64) {
                Ok(ScalarValue::Int64(Some(rows))) if rows >= 0 => Ok(FrameBound::Offset(if behind { rows } else { -rows })),
                _ => {
                    let error = PlanError::new("plan::wrong_argument", "a bound of a frame is not a whole number", scope.span);
                    Err(vec![error.help("Write a number: ROWS 5 PRECEDING.")])
                }
            }
        };
        Ok(Frame { units, start: bound(&frame.start_bound)?, end: bound(&frame.end_bound)? })
    }

    /// The value of the order at a distance from the row's own.
    #[allow(clippy::too_many_arguments)] // the parts of one bound
    fn bound_value(
        &self,
        distance: &ScalarValue,
        behind: bool,
        sorts: &[Sort],
        order_by: &[SortKey],
        schema: &DFSchema,
        input: &Rel,
        scope: &QueryScope,
    ) -> Result<FrameBound> {
        let ([sort], [key]) = (sorts, order_by) else {
            let error = PlanError::new("plan::wrong_argument", "RANGE with a distance needs an order by one column", scope.span);
            return Err(vec![error.help("Order by one number or time, or count ROWS or GROUPS instead.")]);
        };
        let plus = behind != key.descending;
        let op = if plus { Operator::Plus } else { Operator::Minus };
        let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(sort.expr.clone()), op, Box::new(Expr::Literal(distance.clone(), None))));
        let wrong = || {
            let what = type_name(&key.data_type);
            let error = PlanError::new("plan::wrong_argument", format!("RANGE with a distance cannot count {what}"), scope.span);
            vec![error.help("Order by a number or a time, or count ROWS or GROUPS instead.")]
        };
        let made = physical(&expr, schema).map_err(|_| wrong())?;
        let is = made.data_type(input.schema()).map_err(|_| wrong())?;
        let made = if is == key.data_type { made } else { Arc::new(CastExpr::new(made, key.data_type.clone(), None)) as Physical };
        let literal: Physical = Arc::new(Literal::new(distance.clone()));
        let text = format!("{} {}", text(&literal), if behind { "FOLLOWING" } else { "PRECEDING" });
        Ok(FrameBound::Value { expr: made, text })
    }
}

/// The event time by which rows become final one after the other, if the order begins with one and every function looks back from it.
fn over_time(input: &Rel, order_by: &[SortKey], functions: &[OverCall]) -> Option<OverTime> {
    let first = order_by.first().filter(|key| !key.descending && matches!(key.data_type, DataType::Timestamp(..)))?;
    let watermark = watermark_of(&first.expr, input)?;
    let known = watermark.domain == TimeDomain::EventTime && !watermark.waits_for_end();
    (known && functions.iter().all(looks_back))
        .then(|| OverTime { time: in_microseconds(Arc::clone(&first.expr), &first.data_type), watermark })
}

/// Whether a function reads rows before a row and its peers only, and of rows far before them no more than fits in little.
fn looks_back(call: &OverCall) -> bool {
    let back = |bound: &FrameBound| match bound {
        FrameBound::Current => true,
        FrameBound::Offset(by) => *by <= 0,
        FrameBound::Value { text, .. } => text.ends_with("PRECEDING"),
        FrameBound::Unbounded => false,
    };
    let running = matches!(call.frame.start, FrameBound::Unbounded);
    let frame = back(&call.frame.end) && (running || back(&call.frame.start));
    match &call.function {
        OverFunction::RowNumber | OverFunction::Rank | OverFunction::DenseRank => true,
        OverFunction::PercentRank | OverFunction::CumeDist | OverFunction::Ntile { .. } => false,
        OverFunction::Shift { rows } => *rows >= 0 && !call.ignore_nulls,
        OverFunction::Nth { .. } => frame && !(running && call.ignore_nulls),
        // Values that are kept in the order of rows are all rows.
        OverFunction::Aggregate(plan) => frame && (plan.order_by.is_empty() || !running),
    }
}

/// Whether two operators are equal.
pub(super) fn same_over(left: &OverPlan, right: &OverPlan) -> bool {
    (left.input, left.emit, left.time.is_some()) == (right.input, right.emit, right.time.is_some())
        && same_exprs(&left.partition_by, &right.partition_by)
        && same_order(&left.order_by, &right.order_by)
        && left.functions.len() == right.functions.len()
        && left.functions.iter().zip(&right.functions).all(|(a, b)| same_call(a, b))
        && match (&left.window, &right.window) {
            (Some(a), Some(b)) => same_window(a, b),
            (None, None) => true,
            _ => false,
        }
}

fn same_call(left: &OverCall, right: &OverCall) -> bool {
    let functions = match (&left.function, &right.function) {
        (OverFunction::RowNumber, OverFunction::RowNumber)
        | (OverFunction::Rank, OverFunction::Rank)
        | (OverFunction::DenseRank, OverFunction::DenseRank)
        | (OverFunction::PercentRank, OverFunction::PercentRank)
        | (OverFunction::CumeDist, OverFunction::CumeDist) => true,
        (OverFunction::Ntile { parts: a }, OverFunction::Ntile { parts: b }) => a == b,
        (OverFunction::Shift { rows: a }, OverFunction::Shift { rows: b }) => a == b,
        (OverFunction::Nth { row: a }, OverFunction::Nth { row: b }) => a == b,
        (OverFunction::Aggregate(a), OverFunction::Aggregate(b)) => same_aggregate(a, b),
        _ => false,
    };
    let bounds = |a: &FrameBound, b: &FrameBound| match (a, b) {
        (FrameBound::Unbounded, FrameBound::Unbounded) | (FrameBound::Current, FrameBound::Current) => true,
        (FrameBound::Offset(a), FrameBound::Offset(b)) => a == b,
        (FrameBound::Value { expr: a, .. }, FrameBound::Value { expr: b, .. }) => a.as_ref() == b.as_ref(),
        _ => false,
    };
    functions
        && same_exprs(&left.args, &right.args)
        && left.frame.units == right.frame.units
        && bounds(&left.frame.start, &right.frame.start)
        && bounds(&left.frame.end, &right.frame.end)
        && (left.ignore_nulls, &left.output) == (right.ignore_nulls, &right.output)
}
