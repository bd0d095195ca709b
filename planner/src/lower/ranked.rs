//! Rows in order: `ROW_NUMBER() … <= n` in its spellings, LIMIT and DISTINCT ON become one bounded operator.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{Column, DFSchema, ScalarValue};
use datafusion_expr::expr::{Sort, WindowFunction, WindowFunctionDefinition};
use datafusion_expr::logical_plan::{FetchType, Filter, Limit, Projection, SkipType, Window};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{Expr, LogicalPlan, Operator};
use datafusion_physical_expr::expressions::Literal;

use super::aggregate::Grouped;
use super::expr::{Physical, as_column, column, physical, remap, shifted};
use super::prune::{same_exprs, same_order, same_window};
use super::relation::{Rel, plain_props};
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::QueryScope;
use crate::plan::{
    ChangelogKind, Emit, LateStrategy, NamedExpr, PhysicalOp, RankFunction, SortKey, StateBound, TimeDomain, TopNPlan, WindowKind,
    WindowPlan,
};

/// The first rows of each group, asked for.
struct TopRequest {
    partition_by: Vec<Physical>,
    order_by: Vec<SortKey>,
    function: RankFunction,
    offset: u64,
    limit: Option<u64>,
    /// Name of the column of ranks, if it is read.
    rank: Option<String>,
}

/// A window function whose greatest ranks are filtered away.
struct Ranked<'p> {
    window: &'p Window,
    call: &'p WindowFunction,
    function: RankFunction,
    offset: u64,
    limit: u64,
    /// What is asked besides.
    rest: Option<Expr>,
    /// The column of ranks, as the filter knows it.
    rank: Column,
    /// What the filter reads.
    schema: &'p DFSchema,
    /// The place of each of its columns in the window function's output.
    columns: Vec<usize>,
}

impl Lowering<'_> {
    /// A filter that keeps the first ranks of a ranking.
    pub(super) fn ranked_filter(&mut self, filter: &Filter, scope: &QueryScope) -> Result<Option<Rel>> {
        let Some(ranked) = Ranked::of(filter) else { return Ok(None) };
        let name = ranked.own_name();
        self.ranked(&ranked, Some(name), scope).map(Some)
    }

    /// The same below a projection, which may not read the rank.
    pub(super) fn ranked_projection(&mut self, projection: &Projection, scope: &QueryScope) -> Result<Option<Rel>> {
        let LogicalPlan::Filter(filter) = projection.input.as_ref() else { return Ok(None) };
        let Some(ranked) = Ranked::of(filter) else { return Ok(None) };
        let read = projection.expr.iter().chain(&ranked.rest).any(|expr| expr.column_refs().contains(&ranked.rank));
        let given = projection.expr.iter().find_map(|expr| match expr {
            Expr::Alias(alias) if *alias.expr == Expr::Column(ranked.rank.clone()) => Some(alias.name.clone()),
            _ => None,
        });
        let name = read.then(|| given.unwrap_or_else(|| ranked.own_name()));
        let mut rel = self.ranked(&ranked, name, scope)?;
        self.refuse_volatile(&rel, &projection.expr, scope)?;
        self.project(&mut rel, &projection.expr, projection.input.schema(), &projection.schema, scope)?;
        Ok(Some(rel))
    }

    /// The rows a ranking leaves, with the columns the filter has. Without a name for the rank its column is there, but says nothing.
    fn ranked(&mut self, ranked: &Ranked<'_>, rank: Option<String>, scope: &QueryScope) -> Result<Rel> {
        let input = self.lower(&ranked.window.input, scope)?;
        let schema = ranked.window.input.schema();
        let params = &ranked.call.params;
        self.refuse_volatile(&input, &params.partition_by, scope)?;
        let failed = self.failed(scope.span);
        let partition_by = params.partition_by.iter().map(|key| physical(key, schema)).collect::<datafusion_common::Result<_>>();
        let order_by = self.sort_keys(&params.order_by, schema, &input, scope)?;
        let with_rank = rank.is_some();
        let request = TopRequest {
            partition_by: partition_by.map_err(&failed)?,
            order_by,
            function: ranked.function,
            offset: ranked.offset,
            limit: Some(ranked.limit),
            rank,
        };
        let mut rel = self.top_n(input, request, scope)?;
        let width = schema.fields().len();
        if !(with_rank && ranked.columns.iter().copied().eq(0..=width)) {
            let mut exprs = Vec::new();
            let mut fields: Vec<FieldRef> = Vec::new();
            for place in &ranked.columns {
                if *place < width || with_rank {
                    let field = Arc::clone(&rel.schema().fields()[*place]);
                    exprs.push(NamedExpr { name: field.name().clone(), expr: column(field.name(), *place) });
                    fields.push(field);
                } else {
                    let name = ranked.own_name();
                    fields.push(Arc::new(Field::new(&name, DataType::Int64, false)));
                    exprs.push(NamedExpr { name, expr: Arc::new(Literal::new(ScalarValue::Int64(Some(0)))) });
                }
            }
            rel.project(exprs, fields);
        }
        if let Some(rest) = &ranked.rest {
            self.refuse_volatile(&rel, std::slice::from_ref(rest), scope)?;
            rel.filter(physical(rest, ranked.schema).map_err(&failed)?);
        }
        Ok(rel)
    }

    /// LIMIT and OFFSET, over the order that belongs to them.
    pub(super) fn limit(&mut self, limit: &Limit, scope: &QueryScope) -> Result<Rel> {
        let failed = self.failed(scope.span);
        let skip = limit.get_skip_type().map_err(&failed)?;
        let fetch = limit.get_fetch_type().map_err(&failed)?;
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (skip, fetch) else {
            let error = PlanError::new("plan::wrong_argument", "LIMIT and OFFSET take a constant", scope.span);
            return Err(vec![error.help("Write a number: LIMIT 10.")]);
        };
        self.limited(&limit.input, skip as u64, fetch.map(|it| it as u64), scope)
    }

    /// The first rows of a plan, by the ORDER BY below its projections.
    fn limited(&mut self, plan: &LogicalPlan, offset: u64, limit: Option<u64>, scope: &QueryScope) -> Result<Rel> {
        let (input, order_by) = match plan {
            LogicalPlan::Projection(projection) if sorted_below(&projection.input) => {
                let mut rel = self.limited(&projection.input, offset, limit, scope)?;
                self.refuse_volatile(&rel, &projection.expr, scope)?;
                self.project(&mut rel, &projection.expr, projection.input.schema(), &projection.schema, scope)?;
                return Ok(rel);
            }
            LogicalPlan::Sort(sort) => {
                let input = self.lower(&sort.input, scope)?;
                let order_by = self.sort_keys(&sort.expr, sort.input.schema(), &input, scope)?;
                (input, order_by)
            }
            other => (self.lower(other, scope)?, vec![]),
        };
        let request = TopRequest { partition_by: vec![], order_by, function: RankFunction::RowNumber, offset, limit, rank: None };
        self.top_n(input, request, scope)
    }

    /// The keys of an order over a relation.
    pub(super) fn sort_keys(&self, sorts: &[Sort], schema: &DFSchema, input: &Rel, scope: &QueryScope) -> Result<Vec<SortKey>> {
        let exprs: Vec<Expr> = sorts.iter().map(|sort| sort.expr.clone()).collect();
        self.refuse_volatile(input, &exprs, scope)?;
        let mut keys = Vec::new();
        for sort in sorts {
            let expr = physical(&sort.expr, schema).map_err(self.failed(scope.span))?;
            if expr.downcast_ref::<Literal>().is_some() {
                // A constant orders nothing.
                continue;
            }
            let data_type = expr.data_type(input.schema()).map_err(self.failed(scope.span))?;
            keys.push(SortKey { expr, data_type, descending: !sort.asc, nulls_first: sort.nulls_first });
        }
        Ok(keys)
    }

    fn top_n(&mut self, mut input: Rel, request: TopRequest, scope: &QueryScope) -> Result<Rel> {
        let TopRequest { mut partition_by, mut order_by, function, offset, limit, rank } = request;
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        // Rows in the order they come in: each epoch's behind all those before.
        let arrival = append_only && order_by.first().is_some_and(|key| !key.descending && arrives_in_order(&input, &key.expr));
        let mut output: Vec<usize> = (0..input.schema().fields().len()).collect();
        if (order_by.is_empty() || arrival)
            && let Some(([partition, at], moved)) = input.carry_places()
        {
            // Without an order of the statement's own, rows stand as they do in their source.
            let place = |old: usize| moved[old];
            for expr in partition_by.iter_mut().chain(order_by.iter_mut().map(|key| &mut key.expr)) {
                *expr = remap(expr, &place);
            }
            for (place, data_type) in [(at, DataType::Int64), (partition, DataType::Int32)] {
                let expr = column(input.schema().field(place).name(), place);
                order_by.push(SortKey { expr, data_type, descending: false, nulls_first: false });
            }
            output = moved;
        }
        let mut grouped = self.attached(&input, &partition_by);
        let emit = self.emit(&input, grouped.as_ref(), false, scope)?;
        if grouped.is_none() {
            input = self.expiring(input, "a Top-N", scope)?;
        }
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        let last = limit.map(|limit| offset.saturating_add(limit));
        let limits = self.row_limits("a Top-N", scope)?;
        let state = match self.top_state(&input, grouped.as_ref(), function, last, emit, scope) {
            Err(_) if limits.is_some() => StateBound::Limits,
            state => state?,
        };
        if let Some(grouped) = &mut grouped
            && emit == Emit::Final
            && grouped.window.watermark.is_none()
        {
            grouped.window.watermark = Some(input.end_of_input());
        }

        let rank: Option<FieldRef> = rank.map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
        let fields: Vec<FieldRef> =
            output.iter().map(|place| Arc::clone(&input.schema().fields()[*place])).chain(rank.iter().cloned()).collect();
        let place_of = |old: usize| output.iter().position(|it| *it == old);
        let mut props = plain_props(Arc::new(Schema::new(fields)), input.props.bounded);
        props.state = state;
        props.limits = limits;
        props.changelog = if emit == Emit::Final || arrival { ChangelogKind::AppendOnly } else { ChangelogKind::Retract };
        let group: Option<Vec<usize>> = partition_by.iter().map(|key| as_column(key).and_then(place_of)).collect();
        if let (Some(mut group), RankFunction::RowNumber) = (group, function) {
            let one = limit == Some(1);
            group.extend(rank.as_ref().filter(|_| !one).map(|_| output.len()));
            if one || rank.is_some() {
                group.sort_unstable();
                group.dedup();
                props.unique_keys.push(group);
            }
        }
        for key in &input.props.unique_keys {
            if let Some(mut key) = key.iter().map(|it| place_of(*it)).collect::<Option<Vec<usize>>>() {
                key.sort_unstable();
                if !props.unique_keys.contains(&key) {
                    props.unique_keys.push(key);
                }
            }
        }
        // A row that comes back in place of another is an old one, unless its window ends both.
        let attached = input.props.window.clone().filter(|_| grouped.is_some());
        let of_window =
            |place: usize| attached.as_ref().is_some_and(|window| [window.start, window.end, window.time].contains(&Some(place)));
        for (place, watermark) in &input.props.watermarks {
            if let Some(there) = place_of(*place).filter(|_| of_window(*place) || (arrival && emit == Emit::Changes)) {
                props.watermarks.push((there, watermark.clone()));
            }
        }
        props.window = attached.map(|window| crate::plan::AttachedWindow {
            start: window.start.and_then(place_of),
            end: window.end.and_then(place_of),
            time: window.time.and_then(place_of),
            closed: emit == Emit::Final,
            ..window
        });
        let (sources, span) = (input.sources.clone(), input.window_span);
        let below = self.fuse(&mut input);
        let plan = TopNPlan {
            input: below,
            partition_by,
            order_by,
            function,
            offset,
            limit,
            output,
            rank,
            window: grouped.map(|grouped| grouped.window),
            emit,
            retractable: !append_only,
        };
        let node = self.node(PhysicalOp::TopN(plan), props);
        Ok(self.rel(node, sources, span))
    }

    /// The window that is part of a group, if its columns are among the keys.
    pub(super) fn attached(&self, input: &Rel, partition_by: &[Physical]) -> Option<Grouped> {
        let attached = input.props.window.clone()?;
        let places: Vec<usize> = partition_by.iter().filter_map(as_column).collect();
        let has = |place: Option<usize>| place.is_some_and(|place| places.contains(&place));
        if !(has(attached.end) || has(attached.time) || (has(attached.start) && attached.size_us.is_some())) {
            return None;
        }
        let name_of = |place: usize| input.schema().field(place).name().clone();
        let end = match (attached.end, attached.time, attached.start, attached.size_us) {
            (Some(end), ..) => column(&name_of(end), end),
            (None, Some(time), ..) => shifted(column(&name_of(time), time), 1),
            (None, None, Some(start), Some(size)) => shifted(column(&name_of(start), start), size),
            _ => return None,
        };
        let held = |place: Option<usize>| place.is_some_and(|place| input.props.watermarks.iter().any(|(column, _)| *column == place));
        let declared = attached.closed || held(attached.end) || held(attached.time) || held(attached.start);
        let window = WindowPlan {
            kind: WindowKind::Attached,
            offset_us: 0,
            time: end,
            start: attached.start.map(|place| column(&name_of(place), place)),
            watermark: declared.then(|| attached.watermark.clone()),
            lateness_us: 0,
            late: LateStrategy::Drop,
            letters: None,
            firing: None,
            places: vec![],
        };
        Some(Grouped { window, size_us: attached.size_us, retention_us: attached.size_us.unwrap_or(0) })
    }

    fn top_state(
        &self,
        input: &Rel,
        grouped: Option<&Grouped>,
        function: RankFunction,
        last: Option<u64>,
        emit: Emit,
        scope: &QueryScope,
    ) -> Result<StateBound> {
        if let Some(grouped) = grouped
            && (grouped.window.watermark.is_some() || emit == Emit::Final)
        {
            return Ok(StateBound::Window { retention_us: grouped.retention_us });
        }
        if self.expires(input) {
            return Ok(StateBound::Limits);
        }
        let append_only = input.props.changelog == ChangelogKind::AppendOnly;
        match (append_only, function, last) {
            (true, RankFunction::RowNumber, Some(rows)) => return Ok(StateBound::RowsPerKey { rows }),
            // The rows are those of an aggregate or the like, one for each key that it keeps itself.
            (false, ..) if !input.props.unique_keys.is_empty() => return Ok(StateBound::PerKey),
            _ => {}
        }
        let (why, message, help) = if !append_only {
            (
                "every row is kept, since rows before it may be taken back",
                "the first rows of an input that takes rows back keep every row",
                "Group by a window, or say ALLOW UNBOUNDED STATE.",
            )
        } else if last.is_none() {
            ("every row is kept", "OFFSET without LIMIT keeps every row", "Add LIMIT, or say ALLOW UNBOUNDED STATE.")
        } else {
            (
                "rows of equal rank are not counted",
                "any number of rows may have one rank",
                "Use ROW_NUMBER(), which gives each row its own, or say ALLOW UNBOUNDED STATE.",
            )
        };
        self.grows(input, why, message.into(), scope.span, help.into(), scope)
    }

    /// The bound of state that keeps what it reads: the input's end, or the statement's permission.
    pub(super) fn grows(
        &self,
        input: &Rel,
        why: &'static str,
        message: String,
        span: crate::Span,
        help: String,
        scope: &QueryScope,
    ) -> Result<StateBound> {
        if input.props.bounded {
            Ok(StateBound::BoundedInput)
        } else if scope.allow_unbounded_state || self.settings.allow_unbounded_state() {
            Ok(StateBound::Unbounded { why })
        } else {
            Err(vec![PlanError::new("plan::unbounded_state", message, span).label("the input does not end").help(help)])
        }
    }
}

/// Whether later epochs bring later values only, never equal ones: the time of reading.
fn arrives_in_order(input: &Rel, expr: &Physical) -> bool {
    let Some(place) = as_column(expr) else { return false };
    input
        .props
        .watermarks
        .iter()
        .any(|(column, watermark)| *column == place && watermark.domain == TimeDomain::ProcessingTime && watermark.delay_us == 0)
        && input.props.window.as_ref().is_none_or(|window| ![window.start, window.end, window.time].contains(&Some(place)))
}

fn sorted_below(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => sorted_below(&projection.input),
        _ => false,
    }
}

impl<'p> Ranked<'p> {
    fn of(filter: &'p Filter) -> Option<Self> {
        let (window, columns) = below_projections(&filter.input)?;
        let [only] = window.window_expr.as_slice() else { return None };
        let call = window_call(only)?;
        let function = rank_function(call)?;
        let schema = filter.input.schema();
        let width = window.input.schema().fields().len();
        let rank = Column::from(schema.qualified_field(columns.iter().position(|place| *place == width)?));
        let (mut first, mut last) = (1_i128, None::<i128>);
        let mut rest = Vec::new();
        for part in split_conjunction(&filter.predicate) {
            let Some((op, value)) = bound(part, &rank) else {
                rest.push(part.clone());
                continue;
            };
            let mut at_most = |value: i128| last = Some(last.map_or(value, |last| last.min(value)));
            match op {
                Operator::LtEq => at_most(value),
                Operator::Lt => at_most(value - 1),
                Operator::GtEq => first = first.max(value),
                Operator::Gt => first = first.max(value + 1),
                _ => {
                    at_most(value);
                    first = first.max(value);
                }
            }
        }
        let last = last?;
        let offset = u64::try_from(first - 1).ok()?;
        let limit = u64::try_from((last - i128::from(offset)).max(0)).ok()?;
        Some(Self { window, call, function, offset, limit, rest: conjunction(rest), rank, schema, columns })
    }

    /// What the column of ranks is called where the statement gives it no name.
    fn own_name(&self) -> String {
        match self.function {
            RankFunction::RowNumber => "row_number",
            RankFunction::Rank => "rank",
            RankFunction::DenseRank => "dense_rank",
        }
        .to_string()
    }
}

/// The window functions below projections that only pick columns, and the place of each column that comes out of the projections.
fn below_projections(plan: &LogicalPlan) -> Option<(&Window, Vec<usize>)> {
    match plan {
        LogicalPlan::Window(window) => Some((window, (0..window.schema.fields().len()).collect())),
        LogicalPlan::SubqueryAlias(alias) => below_projections(&alias.input),
        LogicalPlan::Projection(projection) => {
            let (window, below) = below_projections(&projection.input)?;
            let mut places = Vec::new();
            for expr in &projection.expr {
                let column = match expr {
                    Expr::Alias(alias) => alias.expr.as_ref(),
                    other => other,
                };
                let Expr::Column(column) = column else { return None };
                places.push(below[projection.input.schema().index_of_column(column).ok()?]);
            }
            Some((window, places))
        }
        _ => None,
    }
}

/// The call of a window expression.
pub(super) fn window_call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::WindowFunction(call) => Some(call),
        Expr::Alias(alias) => window_call(&alias.expr),
        _ => None,
    }
}

/// The ranking a call is.
pub(super) fn rank_function(call: &WindowFunction) -> Option<RankFunction> {
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else { return None };
    match function.name() {
        "row_number" => Some(RankFunction::RowNumber),
        "rank" => Some(RankFunction::Rank),
        "dense_rank" => Some(RankFunction::DenseRank),
        _ => None,
    }
}

/// A comparison of a column with a whole number, the column at the left.
fn bound(expr: &Expr, column: &Column) -> Option<(Operator, i128)> {
    let Expr::BinaryExpr(binary) = expr else { return None };
    let is_column = |side: &Expr| matches!(plain(side), Expr::Column(it) if it == column);
    let (op, value) = if is_column(&binary.left) {
        (binary.op, &binary.right)
    } else if is_column(&binary.right) {
        (binary.op.swap()?, &binary.left)
    } else {
        return None;
    };
    let Expr::Literal(value, _) = plain(value) else { return None };
    let known = matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq);
    known.then_some((op, whole(value)?))
}

/// What is below conversions.
fn plain(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => plain(&cast.expr),
        other => other,
    }
}

fn whole(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::Decimal128(Some(value), _, scale) => {
            let unit = 10_i128.checked_pow(u32::try_from(*scale).ok()?)?;
            (value % unit == 0).then_some(value / unit)
        }
        value => match value.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(Some(whole)) if value.data_type().is_integer() => Some(i128::from(whole)),
            _ => None,
        },
    }
}

/// ORDER BY where nothing is cut off.
pub(super) fn no_order(span: crate::Span) -> PlanError {
    PlanError::new("plan::order", "ORDER BY orders nothing here", span)
        .label("changes come in the order of time")
        .help("Add LIMIT, or leave ORDER BY out and sort the result where it is read.")
}

/// Whether two Top-Ns are equal.
pub(super) fn same_top(left: &TopNPlan, right: &TopNPlan) -> bool {
    (left.input, left.function, left.offset, left.limit, &left.output, &left.rank, left.emit)
        == (right.input, right.function, right.offset, right.limit, &right.output, &right.rank, right.emit)
        && same_exprs(&left.partition_by, &right.partition_by)
        && same_order(&left.order_by, &right.order_by)
        && match (&left.window, &right.window) {
            (Some(a), Some(b)) => same_window(a, b),
            (None, None) => true,
            _ => false,
        }
}
