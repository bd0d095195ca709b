//! What EXPLAIN says of arrangements, joins, set operations and recursion.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};

use super::{list, quoted, text_in, watermark_text};
use crate::duration::format_us;
use crate::lower::expr::Physical;
use crate::plan::{
    ArrangePlan, AsOfCondition, AsOfMode, AsOfPlan, JoinKind, JoinPlan, Node, NodeId, PhysicalOp, PhysicalPlan, Retention, SetOperation,
};

/// An operator's name and what is said about it.
pub(super) fn fields(plan: &PhysicalPlan, op: &PhysicalOp) -> (&'static str, Vec<(&'static str, String)>) {
    match op {
        PhysicalOp::Arrange(arrange) => ("Arrange", arrange_fields(plan, arrange)),
        PhysicalOp::Join(join) => ("Join", join_fields(plan, join)),
        PhysicalOp::AsOf(join) => ("AsOfJoin", as_of_fields(plan, join)),
        PhysicalOp::SetOperation { kind, .. } => (
            match kind {
                SetOperation::Intersect => "Intersect",
                SetOperation::IntersectAll => "IntersectAll",
                SetOperation::Except => "Except",
                SetOperation::ExceptAll => "ExceptAll",
            },
            vec![],
        ),
        PhysicalOp::Values { rows } => ("Values", vec![("rows", rows.num_rows().to_string())]),
        PhysicalOp::Recursive { name } => ("Recursive", vec![("", quoted(name)), ("rows", "of the round before".into())]),
        PhysicalOp::Recursion(recursion) => (
            "Recursion",
            vec![
                ("", quoted(&recursion.name)),
                ("union", if recursion.distinct { "distinct" } else { "all" }.into()),
                ("rounds_max", recursion.rounds_max.to_string()),
                ("emit", "each epoch, once a round changes nothing".into()),
            ],
        ),
        PhysicalOp::Source { .. }
        | PhysicalOp::Stateless { .. }
        | PhysicalOp::Upsert(_)
        | PhysicalOp::Expire(_)
        | PhysicalOp::Union { .. }
        | PhysicalOp::Aggregate { .. }
        | PhysicalOp::TopN(_)
        | PhysicalOp::Over(_)
        | PhysicalOp::Errors { .. }
        | PhysicalOp::Sink { .. } => unreachable!("told where nodes are told"),
    }
}

/// Who reads an arrangement that several read.
pub(super) fn sharers(plan: &PhysicalPlan, node: &Node) -> Option<(&'static str, String)> {
    if !matches!(node.op, PhysicalOp::Arrange(_)) {
        return None;
    }
    let reads = |reader: &Node| reader.op.inputs().iter().filter(|it| **it == node.id).count();
    let uses: usize = plan.nodes().iter().map(reads).sum();
    let readers: Vec<String> = plan.nodes().iter().filter(|it| reads(it) > 0).map(|it| it.id.to_string()).collect();
    (uses > 1).then(|| ("shared", format!("by {}", readers.join(", "))))
}

fn key_texts(plan: &PhysicalPlan, keys: &[Physical], of: NodeId) -> String {
    let schema = &plan.node(of).props.schema;
    let texts: Vec<String> = keys.iter().map(|key| text_in(key, schema)).collect();
    list(&texts)
}

fn arrange_fields(plan: &PhysicalPlan, arrange: &ArrangePlan) -> Vec<(&'static str, String)> {
    let mut fields = vec![("keys", key_texts(plan, &arrange.keys, arrange.input))];
    if let Some(retention) = &arrange.retention {
        let time = text_in(&retention.time, &plan.node(arrange.input).props.schema);
        let slack = match retention.slack_us {
            0 => String::new(),
            slack if slack > 0 => format!(" + {}", format_us(slack)),
            slack => format!(" - {}", format_us(slack.saturating_neg())),
        };
        fields.push(match retention.slack_us {
            Retention::FOREVER => ("late_if", format!("{time} < {}", watermark_text(plan, &retention.own))),
            _ => ("kept_while", format!("{time}{slack} >= {}", watermark_text(plan, &retention.watermark))),
        });
    }
    fields
}

fn join_fields(plan: &PhysicalPlan, join: &JoinPlan) -> Vec<(&'static str, String)> {
    let kind = match join.kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::LeftSemi => "semi",
        JoinKind::LeftAnti if join.null_aware => "anti, null-aware",
        JoinKind::LeftAnti => "anti",
        JoinKind::LeftMark => "mark",
    };
    let mut fields = vec![("kind", kind.to_string())];
    if let Some(order) = &join.order {
        fields.push(("order", order.clone()));
    }
    if join.null_equals_null {
        fields.push(("nulls", "equal".into()));
    }
    if let Some(residual) = &join.residual {
        fields.push(("where", text_in(residual, &both(plan, join.left, join.right))));
    }
    if join.nulls_when_final {
        fields.push(("nulls_emitted", "when the row expires".into()));
    }
    fields
}

/// The columns of both sides. Those of one name are told apart by their side.
fn both(plan: &PhysicalPlan, left: NodeId, right: NodeId) -> Schema {
    let [left, right] = [left, right].map(|side| &plan.node(side).props.schema);
    let name = |field: &FieldRef, other: &Schema, side: &str| match other.field_with_name(field.name()) {
        Ok(_) => Arc::new(field.as_ref().clone().with_name(format!("{side}.{}", field.name()))),
        Err(_) => Arc::clone(field),
    };
    let of_left = left.fields().iter().map(|field| name(field, right, "left"));
    let of_right = right.fields().iter().map(|field| name(field, left, "right"));
    Schema::new(of_left.chain(of_right).collect::<Vec<_>>())
}

fn as_of_fields(plan: &PhysicalPlan, join: &AsOfPlan) -> Vec<(&'static str, String)> {
    let [left, right] = [join.left, join.right].map(|side| &plan.node(side).props.schema);
    let mut fields = vec![
        ("kind", if join.outer { "left" } else { "inner" }.to_string()),
        ("left_keys", key_texts(plan, &join.left_keys, join.left)),
        ("right_keys", key_texts(plan, &join.right_keys, join.right)),
    ];
    match &join.mode {
        AsOfMode::Processing => fields.push(("version", "current when the row is processed".into())),
        AsOfMode::Time { left_time, right_time, condition, watermarks } => {
            let comparison = match condition {
                AsOfCondition::AtOrBefore => ">=",
                AsOfCondition::Before => ">",
                AsOfCondition::AtOrAfter => "<=",
                AsOfCondition::After => "<",
            };
            fields.push(("version", format!("{} {comparison} {}", text_in(left_time, left), text_in(right_time, right))));
            let emit = match watermarks {
                Some((_, right)) => format!("once, when {} has passed the row", watermark_text(plan, right)),
                None => "at once, corrected by later versions".into(),
            };
            fields.push(("emit", emit));
        }
    }
    if let Some(residual) = &join.residual {
        fields.push(("where", text_in(residual, &both(plan, join.left, join.right))));
    }
    fields
}
