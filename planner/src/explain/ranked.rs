//! What EXPLAIN says of operators that put rows in order.

use arrow::datatypes::Schema;

use super::{emit_text, list, shape_fields, text_in, watermark_text};
use crate::plan::{
    Frame, FrameBound, FrameUnits, OverFunction, OverPlan, PhysicalOp, PhysicalPlan, RankFunction, SortKey, TopNPlan, WindowPlan,
};

/// An operator's name and what is said about it.
pub(super) fn fields(plan: &PhysicalPlan, op: &PhysicalOp) -> (&'static str, Vec<(&'static str, String)>) {
    match op {
        PhysicalOp::TopN(top) => top_fields(plan, top),
        PhysicalOp::Over(over) => over_fields(plan, over),
        _ => unreachable!("told where nodes are told"),
    }
}

fn over_fields(plan: &PhysicalPlan, over: &OverPlan) -> (&'static str, Vec<(&'static str, String)>) {
    let below = &plan.node(over.input).props.schema;
    let functions: Vec<String> = over
        .functions
        .iter()
        .map(|call| match &call.function {
            OverFunction::Nth { .. } | OverFunction::Aggregate(_) => format!("{} {}", call.text, frame_text(&call.frame)),
            _ => call.text.clone(),
        })
        .collect();
    let mut fields = vec![("functions", list(&functions))];
    fields.extend(group_fields(plan, below, &over.partition_by, &over.order_by, over.window.as_ref()));
    match &over.time {
        Some(time) => {
            fields.push(("watermark", watermark_text(plan, &time.watermark)));
            fields.push(("emit", "final, when the watermark passes the row's time".to_string()));
        }
        None => fields.push(("emit", emit_text(plan, over.emit, over.window.as_ref()))),
    }
    ("Over", fields)
}

/// A frame as SQL writes it.
fn frame_text(frame: &Frame) -> String {
    let units = match frame.units {
        FrameUnits::Rows => "ROWS",
        FrameUnits::Range => "RANGE",
        FrameUnits::Groups => "GROUPS",
    };
    let bound = |bound: &FrameBound, unbounded: &str| match bound {
        FrameBound::Unbounded => format!("UNBOUNDED {unbounded}"),
        FrameBound::Current => "CURRENT ROW".to_string(),
        FrameBound::Offset(rows) if *rows > 0 => format!("{rows} FOLLOWING"),
        FrameBound::Offset(rows) => format!("{} PRECEDING", rows.unsigned_abs()),
        FrameBound::Value { text, .. } => text.clone(),
    };
    format!("{units} BETWEEN {} AND {}", bound(&frame.start, "PRECEDING"), bound(&frame.end, "FOLLOWING"))
}

/// A Top-N's name and what is said about it.
fn top_fields(plan: &PhysicalPlan, top: &TopNPlan) -> (&'static str, Vec<(&'static str, String)>) {
    let below = &plan.node(top.input).props.schema;
    let mut fields = Vec::new();
    let ranks = match (top.offset, top.last()) {
        (0, Some(1)) => "1".to_string(),
        (0, Some(last)) => format!("1..{last}"),
        (offset, Some(last)) => format!("{}..{last}", offset + 1),
        (offset, None) => format!("{}..", offset + 1),
    };
    match top.function {
        RankFunction::RowNumber => fields.push(("rows", ranks)),
        RankFunction::Rank => fields.push(("ranks", ranks)),
        RankFunction::DenseRank => fields.push(("dense_ranks", ranks)),
    }
    fields.extend(group_fields(plan, below, &top.partition_by, &top.order_by, top.window.as_ref()));
    if let Some(rank) = &top.rank {
        fields.push(("rank_as", rank.name().clone()));
    }
    fields.push(("emit", emit_text(plan, top.emit, top.window.as_ref())));
    ("TopN", fields)
}

/// The groups, their order, and the window that ends them.
pub(super) fn group_fields(
    plan: &PhysicalPlan,
    below: &Schema,
    partition_by: &[crate::lower::expr::Physical],
    order_by: &[SortKey],
    window: Option<&WindowPlan>,
) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(window) = window {
        fields.extend(shape_fields(window, below));
        if let Some(watermark) = &window.watermark {
            fields.push(("watermark", watermark_text(plan, watermark)));
        }
    }
    let keys: Vec<String> = partition_by.iter().map(|key| text_in(key, below)).collect();
    fields.push(("keys", list(&keys)));
    let order: Vec<String> = order_by.iter().map(|key| sort_text(key, below)).collect();
    fields.push(("order", list(&order)));
    fields
}

/// A key of an order, as SQL writes it: nulls are greatest unless it is said otherwise.
fn sort_text(key: &SortKey, below: &Schema) -> String {
    let mut out = text_in(&key.expr, below);
    if key.descending {
        out.push_str(" DESC");
    }
    if key.nulls_first != key.descending {
        out.push_str(if key.nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
    }
    out
}
