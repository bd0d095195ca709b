//! Recursion: the base, the step inside of a loop over the relation it makes, and what may stand there.
//!
//! A recursive relation is the least that holds what its base and its step make. Steps that only add rows when the relation grows have one;
//! stateless chains, unions and inner joins are such, and their changes are computed round by round.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion_expr::logical_plan::{RecursiveQuery, TableScan};

use super::expr::column;
use super::relation::{Rel, plain_props};
use super::{Lowering, Result};
use crate::PlanError;
use crate::logical::{QueryScope, RecursiveScan};
use crate::plan::{ChangelogKind, JoinKind, NamedExpr, NodeId, PhysicalOp, RecursionPlan, StateBound, Step};

/// Recursions that are lowered, and those that are being lowered.
#[derive(Default)]
pub(super) struct Recursions {
    /// A relation that is read twice is one relation.
    known: Vec<(RecursiveQuery, Rel)>,
    open: Vec<Open>,
}

struct Open {
    name: String,
    recursive: NodeId,
    distinct: bool,
}

impl Lowering<'_> {
    pub(super) fn recursion(&mut self, query: &RecursiveQuery, scope: &QueryScope) -> Result<Rel> {
        if let Some((_, rel)) = self.recursions.known.iter().find(|(known, _)| known == query) {
            return Ok(rel.clone());
        }
        let mut base = self.lower(&query.static_term, scope)?;
        let width = query.schema.fields().len();
        // What a step makes may be null wherever the relation may be.
        let fields: Vec<FieldRef> = (0..width)
            .map(|place| Arc::new(Field::new(query.schema.field(place).name(), base.schema().field(place).data_type().clone(), true)))
            .collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        let under_fields = |rel: &mut Rel| {
            let same_types = rel.schema().fields().iter().zip(&fields).all(|(have, want)| have.data_type() == want.data_type());
            assert!(same_types, "lowering invariant: a recursion's step is coerced to the types of its base");
            if rel.schema().fields() != schema.fields() {
                let exprs = fields.iter().enumerate().map(|(at, it)| NamedExpr { name: it.name().clone(), expr: column(it.name(), at) });
                rel.project(exprs.collect(), fields.clone());
            }
        };
        under_fields(&mut base);
        let mut sources = base.sources.clone();
        let base_node = self.fuse(&mut base);

        // Rounds take back what rounds before have made, also where the relation itself only grows.
        let mut props = plain_props(Arc::clone(&schema), base.props.bounded);
        props.changelog = ChangelogKind::Retract;
        let recursive = self.node(PhysicalOp::Recursive { name: query.name.clone() }, props);
        self.recursions.open.push(Open { name: query.name.clone(), recursive, distinct: query.is_distinct });
        let step = self.lower(&query.recursive_term, scope);
        self.recursions.open.pop();
        let mut step = step?;
        under_fields(&mut step);
        let step_node = self.fuse(&mut step);
        sources.extend(step.sources.iter().copied());

        let inside = self.reads(recursive);
        self.refuse_inside(&inside, query, scope)?;
        let mut outside = BTreeSet::from([base_node]);
        for id in &inside {
            outside.extend(self.nodes[id.index()].op.inputs().into_iter().filter(|input| !inside.contains(input)));
        }
        if !inside.contains(&step_node) {
            outside.insert(step_node);
        }
        let mut props = plain_props(schema, outside.iter().all(|id| self.nodes[id.index()].props.bounded));
        // A row that had no match gets one when the relation around grows.
        let negates = |id: &NodeId| matches!(&self.nodes[id.index()].op, PhysicalOp::Join(join) if join.kind == JoinKind::LeftAnti);
        if outside.iter().any(|id| self.nodes[id.index()].props.changelog != ChangelogKind::AppendOnly) || inside.iter().any(negates) {
            props.changelog = ChangelogKind::Retract;
        }
        if query.is_distinct {
            props.unique_keys.push((0..width).collect());
        }
        props.state = self.recursion_state(props.bounded, query, scope)?;
        let plan = RecursionPlan {
            name: query.name.clone(),
            base: base_node,
            step: step_node,
            recursive,
            distinct: query.is_distinct,
            rounds_max: self.settings.recursion_limit(),
        };
        let node = self.node(PhysicalOp::Recursion(plan), props);
        let rel = self.rel(node, sources, None);
        self.recursions.known.push((query.clone(), rel.clone()));
        Ok(rel)
    }

    /// The relation of a recursion that is being lowered.
    pub(super) fn recursive(&mut self, scanned: &RecursiveScan, scan: &TableScan) -> Rel {
        let open = self.recursions.open.iter().rev().find(|open| open.name == scanned.name);
        let node = open.expect("lowering invariant: a recursive relation is read in its own query").recursive;
        let mut rel = self.rel(node, BTreeSet::new(), None);
        if let Some(read) = &scan.projection
            && !read.is_empty()
        {
            let fields: Vec<FieldRef> = read.iter().map(|place| Arc::clone(&rel.schema().fields()[*place])).collect();
            let exprs = read.iter().zip(&fields).map(|(place, it)| NamedExpr { name: it.name().clone(), expr: column(it.name(), *place) });
            rel.project(exprs.collect(), fields.clone());
        }
        rel
    }

    /// Whether a relation is made of one that is being lowered, and if so whether that keeps each row once.
    pub(super) fn in_recursion(&self, rel: &Rel) -> Option<bool> {
        let made_of = |open: &&Open| self.reads(open.recursive).contains(&rel.base);
        self.recursions.open.iter().rev().find(made_of).map(|open| open.distinct)
    }

    /// Whether a relation of a name is being lowered, and if so whether it keeps each row once.
    pub(super) fn open_recursion(&self, name: &str) -> Option<bool> {
        self.recursions.open.iter().rev().find(|open| open.name == name).map(|open| open.distinct)
    }

    /// The nodes that read a node, and itself.
    fn reads(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut found = BTreeSet::from([node]);
        for reader in &self.nodes[node.index()..] {
            if reader.op.inputs().iter().any(|input| found.contains(input)) {
                found.insert(reader.id);
            }
        }
        found
    }

    /// Refuses what has no place in a loop.
    fn refuse_inside(&self, inside: &BTreeSet<NodeId>, query: &RecursiveQuery, scope: &QueryScope) -> Result<()> {
        let name = &query.name;
        for id in inside {
            let (message, help) = match &self.nodes[id.index()].op {
                PhysicalOp::Recursive { .. } | PhysicalOp::Union { .. } => continue,
                PhysicalOp::Arrange(arrange) if arrange.retention.is_none() => continue,
                PhysicalOp::Stateless { steps, .. } => {
                    if !steps.iter().any(|step| matches!(step, Step::AssignWindows { .. } | Step::LateRows { .. })) {
                        continue;
                    }
                    (format!("windows over \"{name}\" in its own query"), "Assign windows before the recursion or behind it.")
                }
                PhysicalOp::Join(join) => match join.kind {
                    JoinKind::Inner => continue,
                    // Of keys that are there once: so it was made.
                    JoinKind::LeftAnti if inside.contains(&join.left) && !inside.contains(&join.right) && !join.null_aware => continue,
                    JoinKind::Left | JoinKind::Right | JoinKind::Full => (
                        format!("an outer join of \"{name}\" in its own query"),
                        "A row without a match could get one in a later round; write JOIN.",
                    ),
                    JoinKind::LeftSemi | JoinKind::LeftMark => {
                        (format!("a subquery over \"{name}\" in its own query"), "Join it in FROM instead.")
                    }
                    JoinKind::LeftAnti => (
                        format!("\"{name}\" is negated in its own query"),
                        "What is not there in one round may be there in the next; exclude rows where the relation is read.",
                    ),
                },
                PhysicalOp::Aggregate { .. } => {
                    (format!("\"{name}\" is grouped in its own query"), "Aggregate the relation where it is read.")
                }
                PhysicalOp::Arrange(_) | PhysicalOp::Expire(_) => {
                    (format!("rows of \"{name}\" that count for a while only"), "Let rows go where the relation is read.")
                }
                PhysicalOp::TopN(_) => {
                    (format!("LIMIT or ranks over \"{name}\" in its own query"), "Say LIMIT where the relation is read.")
                }
                PhysicalOp::Over(_) => {
                    (format!("functions OVER rows of \"{name}\" in its own query"), "Compute them where the relation is read.")
                }
                PhysicalOp::SetOperation { .. } => (
                    format!("INTERSECT or EXCEPT over \"{name}\" in its own query"),
                    "Join the relations, or exclude rows where it is read.",
                ),
                PhysicalOp::AsOf(_) => (format!("an AS OF join of \"{name}\" in its own query"), "Join before the recursion or behind it."),
                PhysicalOp::Errors { .. } => {
                    (format!("the errors of \"{name}\" in its own query"), "Read its errors behind the recursion.")
                }
                PhysicalOp::Recursion(_) => (
                    format!("a recursion over \"{name}\" in its own query"),
                    "Make one recursion of both, or let it read the other when that has ended.",
                ),
                PhysicalOp::Sink { .. } | PhysicalOp::Source { .. } | PhysicalOp::Values { .. } | PhysicalOp::Upsert(_) => {
                    unreachable!("lowering invariant: {id} reads no query")
                }
            };
            let span = scope.recursion(name);
            return Err(vec![PlanError::new("plan::recursion", message, span).help(help)]);
        }
        Ok(())
    }

    fn recursion_state(&self, bounded: bool, query: &RecursiveQuery, scope: &QueryScope) -> Result<StateBound> {
        if !query.is_distinct {
            // What a round makes is passed on and forgotten.
            return Ok(StateBound::None);
        }
        if bounded {
            return Ok(StateBound::BoundedInput);
        }
        if scope.allow_unbounded_state || self.settings.allow_unbounded_state() {
            return Ok(StateBound::Unbounded { why: "a recursion keeps every row" });
        }
        let message = format!("\"{}\" keeps every row for ever", query.name);
        let error = PlanError::new("plan::unbounded_state", message, scope.recursion(&query.name))
            .label("the input does not end")
            .help("Say UNION ALL if no row is made twice, or ALLOW UNBOUNDED STATE.");
        Err(vec![error])
    }
}
