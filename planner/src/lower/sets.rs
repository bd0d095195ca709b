//! INTERSECT and EXCEPT: both sides in one schema, and what bounds the rows that are counted.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};

use super::expr::column;
use super::relation::{Rel, plain_props};
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::{QueryScope, SetNode};
use crate::plan::{ChangelogKind, NamedExpr, PhysicalOp, SetOperation, StateBound};

impl Lowering<'_> {
    pub(super) fn set_operation(&mut self, set: &SetNode, scope: &QueryScope) -> Result<Rel> {
        let sides = match (self.lower(&set.left, scope), self.lower(&set.right, scope)) {
            (Ok(left), Ok(right)) => [self.expiring(left, "a set operation", scope)?, self.expiring(right, "a set operation", scope)?],
            (Err(mut errors), Err(more)) => {
                errors.extend(more);
                return Err(errors);
            }
            (Err(errors), _) | (_, Err(errors)) => return Err(errors),
        };
        let limits = self.row_limits("a set operation", scope)?;
        let state = self.set_state(&sides, set, limits.is_some(), scope)?;
        let names = datafusion_expr::UserDefinedLogicalNodeCore::schema(set).fields();
        let [mut left, mut right] = sides;
        let fields: Vec<FieldRef> = left
            .schema()
            .fields()
            .iter()
            .zip(right.schema().fields())
            .zip(names)
            .map(|((l, r), name)| Arc::new(Field::new(name.name(), l.data_type().clone(), l.is_nullable() || r.is_nullable())))
            .collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        for rel in [&mut left, &mut right] {
            let same_types = rel.schema().fields().iter().zip(&fields).all(|(have, want)| have.data_type() == want.data_type());
            assert!(same_types, "lowering invariant: the sides of a set operation are coerced to one type");
            if rel.schema() != &schema {
                let exprs = fields.iter().enumerate().map(|(at, it)| NamedExpr { name: it.name().clone(), expr: column(it.name(), at) });
                rel.project(exprs.collect(), fields.clone());
            }
        }
        let mut props = plain_props(schema, left.props.bounded && right.props.bounded);
        let append_only = [&left, &right].iter().all(|rel| rel.props.changelog == ChangelogKind::AppendOnly);
        // What is in both sides stays, if both only grow.
        let only_adds = matches!(set.kind, SetOperation::Intersect | SetOperation::IntersectAll);
        if !(append_only && only_adds) {
            props.changelog = ChangelogKind::Retract;
        }
        props.unique_keys = left.props.unique_keys.clone();
        if matches!(set.kind, SetOperation::Intersect | SetOperation::Except) && props.unique_keys.is_empty() {
            props.unique_keys.push((0..fields.len()).collect());
        }
        props.state = state;
        props.limits = limits;
        let sources = left.sources.union(&right.sources).copied().collect();
        let (left, right) = (self.fuse(&mut left), self.fuse(&mut right));
        let node = self.node(PhysicalOp::SetOperation { left, right, kind: set.kind }, props);
        Ok(self.rel(node, sources, None))
    }

    fn set_state(&self, sides: &[Rel; 2], set: &SetNode, limited: bool, scope: &QueryScope) -> Result<StateBound> {
        if sides.iter().all(|rel| rel.props.bounded) {
            return Ok(StateBound::BoundedInput);
        }
        if sides.iter().all(|rel| rel.props.bounded || self.is_per_key(rel.base)) {
            return Ok(StateBound::PerKey);
        }
        if limited || sides.iter().all(|rel| rel.props.bounded || self.is_per_key(rel.base) || self.expires(rel)) {
            return Ok(StateBound::Limits);
        }
        if scope.allow_unbounded_state || self.settings.allow_unbounded_state() {
            return Ok(StateBound::Unbounded { why: "a set operation counts every distinct row" });
        }
        let words = SetNode::words(set.kind);
        let span = self.lines.span(set.span).unwrap_or(scope.span);
        let error = PlanError::new("plan::unbounded_state", format!("{words} counts every distinct row for ever"), span)
            .label("the input does not end")
            .help("Aggregate both sides by key first, let rows count for a while with OPTIONS ('state.ttl' = '1h'), or say ALLOW UNBOUNDED STATE.");
        Err(vec![error])
    }
}
