//! The end of lowering: sources read only what is used, steps that only pass columns on are folded away, and nodes are numbered anew.
//! Also: when two operators are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion_common::DFSchema;

use super::expr::{Physical, columns, in_microseconds, physical, remap};
use super::{Lowering, SourceUse, passes_columns};
use crate::catalog::{ColumnValue, SourceTable};
use crate::logical::ident_column;
use crate::plan::{
    AggregatePlan, AsOfMode, EventTimePlan, KeyPlan, MetadataColumn, NamedExpr, Node, NodeId, PhysicalOp, PhysicalPlan, Retention, SortKey,
    SourceId, SourcePlan, Step, TimeDomain, WatermarkStrategy, WindowPlan,
};

/// Whether two operators do the same to the same input.
pub(super) fn same(left: &PhysicalOp, right: &PhysicalOp) -> bool {
    match (left, right) {
        (PhysicalOp::Source { source: a }, PhysicalOp::Source { source: b }) => a == b,
        (PhysicalOp::Stateless { input: a, steps: s, .. }, PhysicalOp::Stateless { input: b, steps: t, .. }) => {
            a == b && s.len() == t.len() && s.iter().zip(t).all(|(s, t)| same_step(s, t))
        }
        (PhysicalOp::Upsert(a), PhysicalOp::Upsert(b)) => a == b,
        (PhysicalOp::Expire(a), PhysicalOp::Expire(b)) => a == b,
        (PhysicalOp::Union { inputs: a }, PhysicalOp::Union { inputs: b }) => a == b,
        (
            PhysicalOp::Aggregate { input: a, keys: k, aggregates: g, window: w, emit: e },
            PhysicalOp::Aggregate { input: b, keys: l, aggregates: h, window: v, emit: f },
        ) => {
            a == b
                && e == f
                && k.len() == l.len()
                && k.iter().zip(l).all(|(k, l)| same_key(k, l))
                && g.len() == h.len()
                && g.iter().zip(h).all(|(g, h)| same_aggregate(g, h))
                && match (w, v) {
                    (Some(w), Some(v)) => same_window(w, v),
                    (None, None) => true,
                    _ => false,
                }
        }
        // Two sinks are two, whatever they write; equal recursions are found before they are lowered.
        (PhysicalOp::Sink { .. } | PhysicalOp::Recursive { .. } | PhysicalOp::Recursion(_), _) => false,
        (PhysicalOp::Arrange(a), PhysicalOp::Arrange(b)) => {
            a.input == b.input && same_exprs(&a.keys, &b.keys) && same_retention(a.retention.as_ref(), b.retention.as_ref())
        }
        (PhysicalOp::Join(a), PhysicalOp::Join(b)) => {
            (a.left, a.right, a.kind, a.null_equals_null, a.null_aware, &a.output, a.nulls_when_final)
                == (b.left, b.right, b.kind, b.null_equals_null, b.null_aware, &b.output, b.nulls_when_final)
                && same_option(a.residual.as_ref(), b.residual.as_ref())
        }
        (PhysicalOp::AsOf(a), PhysicalOp::AsOf(b)) => {
            (a.left, a.right, a.outer, &a.output) == (b.left, b.right, b.outer, &b.output)
                && same_exprs(&a.left_keys, &b.left_keys)
                && same_exprs(&a.right_keys, &b.right_keys)
                && same_option(a.residual.as_ref(), b.residual.as_ref())
                && same_mode(&a.mode, &b.mode)
        }
        (PhysicalOp::TopN(a), PhysicalOp::TopN(b)) => super::ranked::same_top(a, b),
        (PhysicalOp::Over(a), PhysicalOp::Over(b)) => super::over::same_over(a, b),
        (PhysicalOp::SetOperation { left: a, right: b, kind: k }, PhysicalOp::SetOperation { left: c, right: d, kind: l }) => {
            (a, b, k) == (c, d, l)
        }
        (PhysicalOp::Values { rows: a }, PhysicalOp::Values { rows: b }) => a == b,
        (PhysicalOp::Errors { input: a }, PhysicalOp::Errors { input: b }) => a == b,
        (
            PhysicalOp::Source { .. }
            | PhysicalOp::Stateless { .. }
            | PhysicalOp::Upsert(_)
            | PhysicalOp::Expire(_)
            | PhysicalOp::Union { .. }
            | PhysicalOp::Aggregate { .. }
            | PhysicalOp::Arrange(_)
            | PhysicalOp::Join(_)
            | PhysicalOp::AsOf(_)
            | PhysicalOp::TopN(_)
            | PhysicalOp::Over(_)
            | PhysicalOp::SetOperation { .. }
            | PhysicalOp::Values { .. }
            | PhysicalOp::Errors { .. },
            _,
        ) => false,
    }
}

pub(super) fn same_expr(left: &Physical, right: &Physical) -> bool {
    left.as_ref() == right.as_ref()
}

pub(super) fn same_exprs(left: &[Physical], right: &[Physical]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same_expr(a, b))
}

fn same_option(left: Option<&Physical>, right: Option<&Physical>) -> bool {
    match (left, right) {
        (Some(a), Some(b)) => same_expr(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_retention(left: Option<&Retention>, right: Option<&Retention>) -> bool {
    match (left, right) {
        (Some(a), Some(b)) => same_expr(&a.time, &b.time) && (a.slack_us, &a.watermark, &a.own) == (b.slack_us, &b.watermark, &b.own),
        (None, None) => true,
        _ => false,
    }
}

fn same_mode(left: &AsOfMode, right: &AsOfMode) -> bool {
    match (left, right) {
        (
            AsOfMode::Time { left_time: a, right_time: b, condition: c, watermarks: w },
            AsOfMode::Time { left_time: d, right_time: e, condition: f, watermarks: v },
        ) => same_expr(a, d) && same_expr(b, e) && c == f && w == v,
        (AsOfMode::Processing, AsOfMode::Processing) => true,
        (AsOfMode::Time { .. } | AsOfMode::Processing, _) => false,
    }
}

fn same_named(left: &[NamedExpr], right: &[NamedExpr]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.name == b.name && same_expr(&a.expr, &b.expr))
}

fn same_step(left: &Step, right: &Step) -> bool {
    match (left, right) {
        (Step::Filter { predicate: a }, Step::Filter { predicate: b }) => same_expr(a, b),
        (Step::Project { exprs: a }, Step::Project { exprs: b }) => same_named(a, b),
        (Step::AssignWindows { window: a }, Step::AssignWindows { window: b })
        | (Step::LateRows { window: a }, Step::LateRows { window: b }) => same_window(a, b),
        (Step::Unnest { columns: a, preserve_nulls: m }, Step::Unnest { columns: b, preserve_nulls: n }) => a == b && m == n,
        (Step::Arrival, Step::Arrival) => true,
        (
            Step::Filter { .. }
            | Step::Project { .. }
            | Step::AssignWindows { .. }
            | Step::LateRows { .. }
            | Step::Arrival
            | Step::Unnest { .. },
            _,
        ) => false,
    }
}

pub(super) fn same_window(left: &WindowPlan, right: &WindowPlan) -> bool {
    same_option(left.start.as_ref(), right.start.as_ref())
        && same_expr(&left.time, &right.time)
        && (left.kind, left.offset_us, left.lateness_us, left.late, &left.watermark)
            == (right.kind, right.offset_us, right.lateness_us, right.late, &right.watermark)
        && (&left.letters, &left.firing, &left.places) == (&right.letters, &right.firing, &right.places)
}

fn same_key(left: &KeyPlan, right: &KeyPlan) -> bool {
    match (left, right) {
        (KeyPlan::Expr(a), KeyPlan::Expr(b)) => a.name == b.name && same_expr(&a.expr, &b.expr),
        (KeyPlan::Window(a, m), KeyPlan::Window(b, n)) => a == b && m == n,
        (KeyPlan::Expr(_) | KeyPlan::Window(_, _), _) => false,
    }
}

pub(super) fn same_order(left: &[SortKey], right: &[SortKey]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(a, b)| same_expr(&a.expr, &b.expr) && (a.descending, a.nulls_first) == (b.descending, b.nulls_first))
}

pub(super) fn same_aggregate(left: &AggregatePlan, right: &AggregatePlan) -> bool {
    same_option(left.filter.as_ref(), right.filter.as_ref())
        && same_order(&left.order_by, &right.order_by)
        && left.function == right.function
        && left.args.len() == right.args.len()
        && left.args.iter().zip(&right.args).all(|(a, b)| same_expr(a, b))
        && (left.distinct, left.retractable, &left.output) == (right.distinct, right.retractable, &right.output)
}

/// Completes a plan.
pub(super) fn finish(lowering: Lowering<'_>) -> PhysicalPlan {
    let Lowering { mut nodes, sources, sinks, keeps_times, .. } = lowering;
    let waited_for = watermarks_waited_for(&nodes);
    let mut plans = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let id = SourceId(u32::try_from(at).unwrap_or(u32::MAX));
        let kept: Vec<usize> = columns_of_source(&nodes, source.node).into_iter().collect();
        // Rows that replace each other pass through the node that keeps them, whose columns are the source's.
        if let PhysicalOp::Upsert(upsert) = &nodes[source.node.index()].op {
            let below = upsert.input;
            narrow(&mut nodes, below, &kept);
        }
        narrow(&mut nodes, source.node, &kept);
        plans.push(source_plan(source, &kept, keeps_times || waited_for.contains(&id)));
    }
    for node in &mut nodes {
        if let PhysicalOp::Stateless { steps, schemas, .. } = &mut node.op {
            fold(steps, schemas);
        }
    }
    let nodes = renumber(nodes);
    PhysicalPlan::new(nodes, plans, sinks)
}

/// Sources whose event time something waits for.
fn watermarks_waited_for(nodes: &[Node]) -> BTreeSet<SourceId> {
    let mut found = BTreeSet::new();
    for watermark in nodes.iter().flat_map(|node| node.watermarks()) {
        if watermark.domain == TimeDomain::EventTime && !watermark.waits_for_end() {
            found.extend(watermark.sources.iter().copied());
        }
    }
    found
}

/// The columns of a source that something reads: a node that keeps rows by key reads the key; every other reader begins with a
/// projection, made when the source was scanned.
fn columns_of_source(nodes: &[Node], source: NodeId) -> BTreeSet<usize> {
    let mut used = BTreeSet::new();
    if let PhysicalOp::Upsert(upsert) = &nodes[source.index()].op {
        used.extend(&upsert.key);
    }
    for node in nodes.iter().filter(|node| node.op.inputs().contains(&source)) {
        let PhysicalOp::Stateless { steps, .. } = &node.op else {
            unreachable!("lowering invariant: a source is read through a projection")
        };
        if let Some(Step::Project { exprs }) = steps.first() {
            used.extend(exprs.iter().flat_map(|it| columns(&it.expr)));
        }
    }
    used
}

/// Leaves a source only some of its columns.
fn narrow(nodes: &mut [Node], source: NodeId, kept: &[usize]) {
    let place_of: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let place = |old: usize| place_of.get(&old).copied().unwrap_or(old);
    for node in nodes.iter_mut() {
        let props = &mut node.props;
        if node.id == source {
            let fields: Vec<FieldRef> = kept.iter().map(|old| Arc::clone(&props.schema.fields()[*old])).collect();
            props.schema = Arc::new(Schema::new(fields));
            props.unique_keys.retain(|key| key.iter().all(|it| place_of.contains_key(it)));
            props.unique_keys.iter_mut().flatten().for_each(|it| *it = place(*it));
            props.watermarks.retain(|(column, _)| place_of.contains_key(column));
            props.watermarks.iter_mut().for_each(|(column, _)| *column = place(*column));
        }
        if let PhysicalOp::Upsert(upsert) = &mut node.op
            && node.id == source
        {
            upsert.key.iter_mut().for_each(|it| *it = place(*it));
        }
        if let PhysicalOp::Stateless { input, steps, .. } = &mut node.op
            && *input == source
            && let Some(Step::Project { exprs }) = steps.first_mut()
        {
            for it in exprs {
                it.expr = remap(&it.expr, &place);
            }
        }
    }
}

/// Folds steps that only pass columns on into the steps behind them.
fn fold(steps: &mut Vec<Step>, schemas: &mut Vec<SchemaRef>) {
    let mut at = 0;
    while at < steps.len() {
        let Some(passed) = passes_columns(&steps[at]) else {
            at += 1;
            continue;
        };
        // What comes behind must end in a projection, else the columns would come out in another order.
        let Some(next) = steps[at + 1..].iter().position(|step| matches!(step, Step::Project { .. } | Step::Unnest { .. })) else {
            at += 1;
            continue;
        };
        let next = at + 1 + next;
        if matches!(steps[next], Step::Unnest { .. })
            || steps[at + 1..next].iter().any(|step| matches!(step, Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Arrival))
        {
            at += 1;
            continue;
        }
        let place = |new: usize| passed[new];
        for step in &mut steps[at + 1..=next] {
            match step {
                Step::Filter { predicate } => *predicate = remap(predicate, &place),
                Step::Project { exprs } => exprs.iter_mut().for_each(|it| it.expr = remap(&it.expr, &place)),
                Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Arrival | Step::Unnest { .. } => {}
            }
        }
        // The filters between get the schema they see now when nodes are numbered.
        steps.remove(at);
        schemas.remove(at);
    }
}

/// Takes out stateless nodes that do nothing, gives the first filters of a chain the schema they see, and numbers nodes in order.
fn renumber(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::new();
    let mut moved: Vec<NodeId> = Vec::new();
    for mut node in nodes {
        let place = |old: NodeId| moved[old.index()];
        match &mut node.op {
            PhysicalOp::Stateless { input, steps, schemas } => {
                *input = place(*input);
                let below = Arc::clone(&out[input.index()].props.schema);
                let mut schema = Arc::clone(&below);
                for (step, known) in steps.iter().zip(schemas.iter_mut()) {
                    if matches!(step, Step::Filter { .. }) {
                        *known = Arc::clone(&schema);
                    }
                    schema = Arc::clone(known);
                }
                let idle = |step: &Step, schema: &SchemaRef| {
                    schema == &below && passes_columns(step).is_some_and(|passed| passed.iter().enumerate().all(|(at, from)| at == *from))
                };
                if steps.len() == 1 && idle(&steps[0], &schemas[0]) {
                    moved.push(*input);
                    continue;
                }
                // A chain that begins by passing all columns on begins with its second step.
                if steps.len() > 1 && idle(&steps[0], &schemas[0]) {
                    steps.remove(0);
                    schemas.remove(0);
                }
            }
            op => {
                op.inputs_mut().into_iter().for_each(|input| *input = place(*input));
                if let PhysicalOp::Recursion(recursion) = op {
                    recursion.recursive = place(recursion.recursive);
                }
            }
        }
        node.id = NodeId(u32::try_from(out.len()).unwrap_or(u32::MAX));
        moved.push(node.id);
        out.push(node);
    }
    out
}

/// The column that costs least to read.
pub(super) fn cheapest(fields: &arrow::datatypes::Fields) -> Option<usize> {
    (0..fields.len()).min_by_key(|place| fields[*place].data_type().primitive_width().unwrap_or(usize::MAX))
}

/// The read of a source: what is decoded, and how the node's columns are made of it.
fn source_plan(source: &SourceUse, kept: &[usize], keeps_time: bool) -> SourcePlan {
    let table = &source.table;
    let base = SourceTable::base_schema(&table.declared);
    let base_df = DFSchema::try_from(base.clone()).unwrap_or_else(|_| DFSchema::empty());
    // Every expression over the full base first: declared columns, then metadata.
    let over_base = |value: &ColumnValue, field: &Field| -> Physical {
        let made = match value {
            ColumnValue::Declared(place) => {
                let declared = table.declared.field(*place);
                let plain: Physical = super::column(declared.name(), *place);
                if declared.data_type() == field.data_type() {
                    Ok(plain)
                } else {
                    Ok(Arc::new(datafusion_physical_expr::expressions::CastExpr::new(plain, field.data_type().clone(), None)) as Physical)
                }
            }
            ColumnValue::Metadata(it) => physical(&ident_column(it.name()), &base_df),
            ColumnValue::Computed(expr) => physical(expr, &base_df),
        };
        match made {
            Ok(expr) => expr,
            // Types were coerced when the column was declared.
            Err(error) => unreachable!("lowering invariant: column {} of {} can be computed: {error}", field.name(), table.name),
        }
    };
    let mut output: Vec<NamedExpr> = kept
        .iter()
        .map(|place| {
            let column = &source.columns[*place];
            NamedExpr { name: column.field.name().clone(), expr: over_base(&column.value, &column.field) }
        })
        .collect();
    // An event time that nothing waits for is read only if its column is anyway.
    let asked = kept.iter().any(|place| matches!(source.columns[*place].value, ColumnValue::Metadata(MetadataColumn::Watermark)));
    let event_time = source.event_time.filter(|(place, _)| keeps_time || asked || kept.contains(place)).map(|(place, delay_us)| {
        let column = &source.columns[place];
        let expr = in_microseconds(over_base(&column.value, &column.field), column.field.data_type());
        let carried = table.carried.as_ref().map(|it| {
            let field = Field::new("watermark", DataType::Timestamp(TimeUnit::Microsecond, None), true);
            over_base(&ColumnValue::Computed(it.clone()), &field)
        });
        let strategy = if carried.is_some() { WatermarkStrategy::Carried } else { WatermarkStrategy::Bounded { delay_us } };
        EventTimePlan { column: column.field.name().clone(), expr, strategy, carried, timing: table.timing }
    });

    let mut used: BTreeSet<usize> = output.iter().flat_map(|it| columns(&it.expr)).collect();
    used.extend(event_time.iter().flat_map(|it| std::iter::once(&it.expr).chain(&it.carried)).flat_map(columns));
    let width = table.declared.fields().len();
    if let Some(place) = cheapest(table.declared.fields()).filter(|_| used.iter().all(|place| *place >= width)) {
        // Rows are counted by a column at least.
        used.insert(place);
    }
    let read: Vec<usize> = used.iter().copied().filter(|place| *place < width).collect();
    let metadata: Vec<MetadataColumn> = used
        .iter()
        .filter(|place| **place >= width)
        .filter_map(|place| MetadataColumn::ALL.into_iter().find(|it| it.name() == base.field(*place).name()))
        .collect();
    let order: Vec<usize> = used.iter().copied().collect();
    let place = |old: usize| order.iter().position(|it| *it == old).unwrap_or(old);
    for it in &mut output {
        it.expr = remap(&it.expr, &place);
    }
    let event_time = event_time.map(|it| EventTimePlan {
        expr: remap(&it.expr, &place),
        carried: it.carried.as_ref().map(|carried| remap(carried, &place)),
        ..it
    });
    let read_schema = Arc::new(Schema::new(read.iter().map(|place| Arc::clone(&table.declared.fields()[*place])).collect::<Vec<_>>()));
    SourcePlan {
        name: table.name.clone(),
        connector: table.connector.clone(),
        options: table.options.clone(),
        declared: Arc::clone(&table.declared),
        read,
        read_schema,
        metadata,
        output,
        event_time,
        on_error: table.on_error.clone(),
        bounded: table.bounded,
        changelog: table.changelog,
        key: table.declared_key(),
    }
}
