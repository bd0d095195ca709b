//! What EXPLAIN says of operators that put rows in order.

use arrow::datatypes::Schema;

use super::{emit_text, list, shape_fields, text_in, watermark_text};
use crate::plan::{PhysicalPlan, RankFunction, SortKey, TopNPlan, WindowPlan};

/// A Top-N's name and what is said about it.
pub(super) fn top_fields(plan: &PhysicalPlan, top: &TopNPlan) -> (&'static str, Vec<(&'static str, String)>) {
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
