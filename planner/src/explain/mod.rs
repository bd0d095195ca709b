//! # EXPLAIN
//!
//! A view of the physical plan, never a second description: one line for each node, or for each step of a fused chain. Every line
//! answers what runs, when it emits, what changes can come out, and what bounds its state.

mod join;
mod ranked;

use std::collections::BTreeMap;

use arrow::datatypes::Schema;

use crate::duration::format_us;
use crate::logical::{AssignWindows, type_name};
use crate::lower::expr::{Physical, named_in, text};
use crate::plan::{
    AggregateClass, ChangelogKind, Emit, ErrorPolicy, KeyPlan, LateStrategy, Node, NodeId, PhysicalOp, PhysicalPlan, StateBound, Step,
    TimeDomain, WatermarkPlan, WatermarkStrategy, WindowColumn, WindowKind, WindowPlan,
};
use crate::secrets;

/// One line of EXPLAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainLine {
    /// The node; steps of one chain share it.
    pub id: NodeId,
    /// How deep below the sink.
    pub depth: usize,
    /// What it is: `Sink`, `Filter`, `Aggregate`.
    pub name: &'static str,
    /// What is said about it, in order. A field without a name is the operator's own text, such as a predicate.
    pub fields: Vec<(&'static str, String)>,
}

/// The lines of a plan: each sink with what is below it. A node that several read is told once and referred to after that.
pub fn explain(plan: &PhysicalPlan) -> Vec<ExplainLine> {
    let mut lines = Vec::new();
    let mut told: Vec<bool> = vec![false; plan.nodes().len()];
    for node in plan.nodes().iter().filter(|node| matches!(node.op, PhysicalOp::Sink { .. })) {
        tell(plan, node, 0, &mut told, &mut lines);
    }
    lines
}

fn tell(plan: &PhysicalPlan, node: &Node, depth: usize, told: &mut [bool], lines: &mut Vec<ExplainLine>) {
    let id = node.id;
    if std::mem::replace(&mut told[id.index()], true) {
        lines.push(ExplainLine { id, depth, name: "Shared", fields: vec![("", format!("see {id} above"))] });
        return;
    }
    let mut push = |depth: usize, name: &'static str, fields: Vec<(&'static str, String)>| {
        lines.push(ExplainLine { id, depth, name, fields });
    };
    let changelog = || ("changelog", node.props.changelog.to_string());
    let limits = || node.props.limits.as_ref().map(|limits| ("limits", limits.to_string()));
    let mut below = depth + 1;
    match &node.op {
        PhysicalOp::Source { source } => {
            let source = &plan.sources()[source.index()];
            let columns: Vec<&str> = source.output.iter().map(|it| it.name.as_str()).collect();
            let mut fields = vec![("", quoted(&source.name)), ("connector", source.connector.clone()), ("columns", list(&columns))];
            let computed: Vec<String> =
                source.output.iter().filter(|it| text(&it.expr) != it.name).map(|it| format!("{}={}", it.name, text(&it.expr))).collect();
            if !computed.is_empty() {
                fields.push(("computed", list(&computed)));
            }
            if let Some(time) = &source.event_time {
                let watermark = match (time.strategy, &time.carried) {
                    (WatermarkStrategy::Bounded { delay_us }, _) => minus(&time.column, delay_us),
                    (WatermarkStrategy::Carried, carried) => carried.as_ref().map(text).unwrap_or_default(),
                };
                fields.push(("watermark", watermark));
                let timing = [
                    ("idle_timeout", time.timing.idle_timeout_us),
                    ("max_drift", time.timing.max_drift_us),
                    ("future_bound", time.timing.future_bound_us),
                ];
                fields.extend(timing.into_iter().filter_map(|(name, us)| Some((name, format_us(us?)))));
            }
            match source.on_error.of_a_row() {
                ErrorPolicy::Skip => fields.push(("on_error", "skip".into())),
                ErrorPolicy::DeadLetter { path } => fields.push(("on_error", format!("dead_letter({})", secrets::address(path)))),
                ErrorPolicy::Fail | ErrorPolicy::Limited { .. } => {}
            }
            if let Some(rows) = source.on_error.rows_max() {
                fields.push(("errors<=", format!("{rows} rows")));
            }
            if let Some(share) = source.on_error.share_max() {
                fields.push(("error_share<=", format!("{}% of {}", share.percent(), share.of)));
            }
            for rate in source.on_error.rates() {
                fields.push(("errors<=", format!("{} within {}", rate.most_text(), format_us(rate.within_us))));
            }
            fields.push(("bounded", if source.bounded { "yes" } else { "no" }.into()));
            fields.push(changelog());
            push(depth, "Source", fields);
        }
        PhysicalOp::Upsert(upsert) => {
            let key: Vec<&str> = upsert.key.iter().map(|place| node.props.schema.field(*place).name().as_str()).collect();
            let emit = "each epoch, the row taken back and the row added".to_string();
            push(depth, "Upsert", vec![("key", list(&key)), ("emit", emit), changelog(), ("state", node.props.state.to_string())]);
        }
        PhysicalOp::Expire(expire) => {
            let emit = "at once, and taken back when their time is over".to_string();
            let fields = vec![("ttl", format_us(expire.ttl_us)), ("time", "processing".into()), ("emit", emit), changelog()];
            push(depth, "Expire", fields.into_iter().chain([("state", format!("rows of {}", format_us(expire.ttl_us)))]).collect());
        }
        PhysicalOp::Stateless { input, steps, schemas } => {
            for (at, step) in steps.iter().rev().enumerate() {
                // Columns have the names of the schema below the step.
                let below = match steps.len() - 1 - at {
                    0 => &plan.node(*input).props.schema,
                    place => &schemas[place - 1],
                };
                let (name, mut fields) = step_fields(step, below);
                if at == 0 {
                    fields.push(changelog());
                }
                push(depth + at, name, fields);
            }
            below = depth + steps.len();
        }
        PhysicalOp::Union { inputs } => {
            push(depth, "Union", vec![("inputs", inputs.len().to_string()), changelog()]);
        }
        PhysicalOp::Aggregate { input, keys, aggregates, window, emit } => {
            let below = &plan.node(*input).props.schema;
            let mut fields = Vec::new();
            if let Some(window) = window {
                fields.extend(window_fields(plan, window, below));
            }
            let keys: Vec<String> = keys.iter().map(|key| key_text(key, below)).collect();
            fields.push(("keys", list(&keys)));
            if !aggregates.is_empty() {
                let texts: Vec<&str> = aggregates.iter().map(|it| it.text.as_str()).collect();
                fields.push(("aggregates", list(&texts)));
                let classes: Vec<&str> = aggregates.iter().map(|it| class_text(it.class())).collect();
                fields.push(("class", distinct(&classes)));
            }
            fields.push(("emit", emit_text(plan, *emit, window.as_ref())));
            fields.push(changelog());
            fields.push(("state", node.props.state.to_string()));
            fields.extend(limits());
            let puts_out_late = window.as_ref().is_some_and(|window| matches!(window.late, LateStrategy::PutOut { .. }));
            let name = match aggregates.is_empty() {
                true if puts_out_late => "LateSessions",
                true => "Distinct",
                false => "Aggregate",
            };
            push(depth, name, fields);
        }
        op @ (PhysicalOp::Arrange(_)
        | PhysicalOp::Join(_)
        | PhysicalOp::AsOf(_)
        | PhysicalOp::SetOperation { .. }
        | PhysicalOp::Values { .. }
        | PhysicalOp::Recursive { .. }
        | PhysicalOp::Recursion(_)) => {
            let (name, mut fields) = join::fields(plan, op);
            fields.push(changelog());
            fields.push(("state", node.props.state.to_string()));
            fields.extend(limits());
            fields.extend(join::sharers(plan, node));
            push(depth, name, fields);
        }
        op @ (PhysicalOp::TopN(_) | PhysicalOp::Over(_)) => {
            let (name, mut fields) = ranked::fields(plan, op);
            fields.push(changelog());
            fields.push(("state", node.props.state.to_string()));
            fields.extend(limits());
            push(depth, name, fields);
        }
        PhysicalOp::Errors { input } => {
            let of: Vec<String> = plan.below(*input).iter().map(ToString::to_string).collect();
            let of: Vec<&str> = of.iter().map(String::as_str).collect();
            let emit = match node.props.changelog {
                ChangelogKind::AppendOnly => "each error at once",
                ChangelogKind::Retract | ChangelogKind::Upsert => "each epoch, errors that came and errors that are taken back",
            };
            let fields = vec![("of", list(&of)), ("emit", emit.into()), changelog(), ("state", node.props.state.to_string())];
            push(depth, "Errors", fields);
        }
        PhysicalOp::Sink { sink, .. } => {
            let sink = &plan.sinks()[sink.index()];
            let columns: Vec<String> =
                sink.schema.fields().iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect();
            let mut fields = vec![("", quoted(&sink.name)), ("connector", sink.connector.clone())];
            if let Some(format) = sink.options.get("format") {
                fields.push(("format", format.to_string()));
            }
            if let Some(watermark) = &sink.progress {
                fields.push(("progress", watermark_text(plan, watermark)));
            }
            fields.push(("columns", list(&columns)));
            if let Some(key) = &sink.key {
                let names: Vec<&str> = key.iter().map(|place| sink.schema.field(*place).name().as_str()).collect();
                fields.push(("key", list(&names)));
            }
            fields.push(changelog());
            push(depth, "Sink", fields);
        }
    }
    for input in node.op.inputs() {
        tell(plan, plan.node(input), below, told, lines);
    }
}

/// An expression with the names of a schema.
fn text_in(expr: &Physical, schema: &Schema) -> String {
    text(&named_in(expr, schema))
}

fn step_fields(step: &Step, below: &Schema) -> (&'static str, Vec<(&'static str, String)>) {
    match step {
        Step::Filter { predicate } => ("Filter", vec![("", text_in(predicate, below))]),
        Step::Project { exprs } => {
            let exprs: Vec<String> = exprs
                .iter()
                .map(|it| match text_in(&it.expr, below) {
                    plain if plain == it.name => plain,
                    expr => format!("{expr} AS {}", it.name),
                })
                .collect();
            ("Project", vec![("", exprs.join(", "))])
        }
        Step::AssignWindows { window } => {
            let mut fields = shape_fields(window, below);
            if window.late == LateStrategy::IncludeInNextWindow {
                fields.push(("late", window.late.name().into()));
            }
            ("AssignWindows", fields)
        }
        Step::LateRows { window } => {
            let mut fields = shape_fields(window, below);
            fields.push(("lateness", format_us(window.lateness_us)));
            ("LateRows", fields)
        }
        Step::Arrival => ("Arrival", vec![("adds", "the time a row came".into())]),
        Step::Unnest { columns, preserve_nulls } => {
            let columns: Vec<&str> = columns.iter().map(|place| below.field(*place).name().as_str()).collect();
            let mut fields = vec![("columns", list(&columns))];
            if *preserve_nulls {
                fields.push(("empty", "kept".into()));
            }
            ("Unnest", fields)
        }
    }
}

fn shape_fields(window: &WindowPlan, below: &Schema) -> Vec<(&'static str, String)> {
    let mut fields = vec![("window", AssignWindows::shape(window.kind))];
    if let WindowKind::Rows { .. } = window.kind {
        fields.push(("order", "partition, offset".into()));
        return fields;
    }
    fields.push(("time", text_in(&window.time, below)));
    if window.offset_us != 0 {
        fields.push(("offset", format_us(window.offset_us)));
    }
    fields
}

fn window_fields(plan: &PhysicalPlan, window: &WindowPlan, below: &Schema) -> Vec<(&'static str, String)> {
    let mut fields = shape_fields(window, below);
    if let Some(watermark) = &window.watermark {
        fields.push(("watermark", watermark_text(plan, watermark)));
    }
    if !matches!(window.kind, WindowKind::Rows { .. }) {
        fields.push(("late", window.late.name().into()));
    }
    if let Some(path) = &window.letters {
        fields.push(("letters", secrets::address(path).into_owned()));
    }
    if window.lateness_us != 0 {
        fields.push(("lateness", format_us(window.lateness_us)));
    }
    if let Some(firing) = &window.firing {
        let purge = if firing.purge { ", each time the rows since the last" } else { "" };
        fields.push(("trigger", format!("{}{purge}", firing.trigger)));
    }
    fields
}

fn emit_text(plan: &PhysicalPlan, emit: Emit, window: Option<&WindowPlan>) -> String {
    match (emit, window) {
        (Emit::Changes, _) => "changes, as an epoch closes".to_string(),
        (Emit::Final, Some(WindowPlan { kind: WindowKind::Rows { .. }, .. })) => {
            "final, when a window's last row has come, and what is left at the end of the input".into()
        }
        (Emit::Final, Some(window)) => match &window.watermark {
            Some(watermark) if has_watermark(plan, watermark) => "final, when the watermark passes the window's end".into(),
            _ => "final, at the end of the input".into(),
        },
        (Emit::Final, None) => "final, at the end of the input".into(),
        (Emit::Triggered, Some(WindowPlan { firing: Some(firing), .. })) if firing.is_final() => {
            "triggered, at the window's end, as late rows come, and when none can".into()
        }
        (Emit::Triggered, _) => "triggered, as each group's trigger fires, and what is left when its window is forgotten".into(),
    }
}

fn has_watermark(plan: &PhysicalPlan, watermark: &WatermarkPlan) -> bool {
    watermark.domain == TimeDomain::ProcessingTime
        || !watermark.waits_for_end() && watermark.sources.iter().all(|source| plan.sources()[source.index()].event_time.is_some())
}

/// A watermark as a function of those of sources: `min(a, b)-5s`.
fn watermark_text(plan: &PhysicalPlan, watermark: &WatermarkPlan) -> String {
    let names: Vec<String> = watermark.sources.iter().map(|source| quoted(&plan.sources()[source.index()].name)).collect();
    let of = match watermark.domain {
        TimeDomain::ProcessingTime => "processing time".to_string(),
        TimeDomain::EventTime if !has_watermark(plan, watermark) => "end of input".to_string(),
        TimeDomain::EventTime if names.len() == 1 => names.concat(),
        TimeDomain::EventTime => format!("min({})", names.join(", ")),
    };
    if watermark.waits_for_end() { of } else { minus(&of, watermark.delay_us) }
}

fn minus(of: &str, delay_us: i64) -> String {
    match delay_us {
        0 => of.to_string(),
        ..0 => format!("{of}+{}", format_us(-delay_us)),
        _ => format!("{of}-{}", format_us(delay_us)),
    }
}

fn key_text(key: &KeyPlan, below: &Schema) -> String {
    match key {
        KeyPlan::Expr(it) => text_in(&it.expr, below),
        KeyPlan::Window(part, _) => match part {
            WindowColumn::Start => "window_start".into(),
            WindowColumn::End => "window_end".into(),
            WindowColumn::Time => "window_time".into(),
        },
    }
}

fn class_text(class: AggregateClass) -> &'static str {
    match class {
        AggregateClass::Accumulable => "accumulable",
        AggregateClass::Hierarchical => "hierarchical",
        AggregateClass::Holistic => "holistic",
    }
}

fn distinct(words: &[&str]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        if !seen.contains(word) {
            seen.push(word);
        }
    }
    seen.join("+")
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(", "))
}

/// A name as it is, or in quotes when it is not one word.
fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|it| it.is_alphanumeric() || it == '_');
    if plain { name.to_string() } else { format!("'{name}'") }
}

/// Lines as text: the tree at the left, what is said about each node aligned at the right.
pub fn to_text(lines: &[ExplainLine]) -> String {
    let heads: Vec<String> = lines
        .iter()
        .map(|line| {
            let own: Vec<&str> = line.fields.iter().filter(|(name, _)| name.is_empty()).map(|(_, value)| value.as_str()).collect();
            let head = format!("{:<4} {}{}", line.id.to_string(), "  ".repeat(line.depth), line.name);
            // A long text, such as a projection, stands with the rest.
            match own.as_slice() {
                [own] if own.len() <= 24 => format!("{head} {own}"),
                _ => head,
            }
        })
        .collect();
    let width = heads.iter().map(|head| head.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (line, head) in lines.iter().zip(&heads) {
        let rest: Vec<String> = line
            .fields
            .iter()
            .filter_map(|(name, value)| match *name {
                "" if value.len() <= 24 => None,
                "" => Some(value.clone()),
                "emit" => Some(format!("emit={}", value.split(',').next().unwrap_or(value))),
                name if value.contains(' ') && !value.starts_with('[') => Some(format!("{name}=({value})")),
                name => Some(format!("{name}={value}")),
            })
            .collect();
        let pad = width - head.chars().count();
        out.push_str(format!("{head}{}  {}", " ".repeat(pad), rest.join(" ")).trim_end());
        out.push('\n');
    }
    out
}

/// Lines as JSON, with what is known of sources and sinks. Everything that decides what runs is in it, and no secret: the fingerprint
/// is taken of it, and must neither change with a password nor be a way to guess it.
pub fn to_json(plan: &PhysicalPlan) -> String {
    let lines: Vec<serde_json::Value> = explain(plan)
        .into_iter()
        .map(|line| {
            let fields: BTreeMap<&str, String> =
                line.fields.into_iter().map(|(name, value)| (if name.is_empty() { "of" } else { name }, value)).collect();
            let node = plan.node(line.id);
            let inputs: Vec<String> = node.op.inputs().iter().map(ToString::to_string).collect();
            serde_json::json!({
                "id": line.id.to_string(), "depth": line.depth, "name": line.name, "fields": fields, "inputs": inputs,
                "columns": columns(&node.props.schema), "unbounded": matches!(node.props.state, StateBound::Unbounded { .. }),
            })
        })
        .collect();
    let sources: Vec<serde_json::Value> = plan
        .sources()
        .iter()
        .map(|source| {
            serde_json::json!({
                "name": source.name, "connector": source.connector, "options": source.options.shown(), "declared": columns(&source.declared),
                "read": source.read, "metadata": source.metadata, "on_error": source.on_error.shown(), "bounded": source.bounded,
                "output": source.output.iter().map(|it| format!("{} AS {}", text(&it.expr), it.name)).collect::<Vec<_>>(),
                "event_time": source.event_time.as_ref().map(|time| serde_json::json!({
                    "column": time.column, "expr": text(&time.expr), "strategy": time.strategy,
                    "carried": time.carried.as_ref().map(text), "timing": time.timing,
                })),
            })
        })
        .collect();
    let sinks: Vec<serde_json::Value> = plan
        .sinks()
        .iter()
        .map(|sink| {
            serde_json::json!({
                "name": sink.name, "connector": sink.connector, "options": sink.options.shown(), "columns": columns(&sink.schema),
                "changelog": sink.changelog, "key": sink.key, "time_column": sink.time_column, "bounded": sink.bounded,
            })
        })
        .collect();
    let whole = serde_json::json!({ "nodes": lines, "sources": sources, "sinks": sinks });
    format!("{whole:#}")
}

fn columns(schema: &arrow::datatypes::Schema) -> Vec<String> {
    let one = |field: &arrow::datatypes::FieldRef| {
        format!("{} {}{}", field.name(), type_name(field.data_type()), if field.is_nullable() { "" } else { " NOT NULL" })
    };
    schema.fields().iter().map(one).collect()
}

/// A stable number for a plan: the FNV-1a hash of its JSON. Same text and catalog, same number, on every machine.
pub fn fingerprint(plan: &PhysicalPlan) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in to_json(plan).bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
