//! # The physical plan
//!
//! What will run, in full: a flat list of nodes in topological order, each with the facts derived about its output.
//! Planning decides everything here; rendering only obeys, and EXPLAIN prints nothing else. The same [`NodeId`] serves
//! EXPLAIN, logs, metrics and state.

mod adds_up;
mod aggregate;
mod expire;
mod join;
mod letter;
mod limits;
mod over;
mod props;
mod ranked;
mod recursion;
mod sink;
mod source;
mod trigger;
mod upsert;
mod window;

pub use aggregate::{AggregateClass, AggregateFunction, AggregatePlan, SortKey};
pub use expire::ExpirePlan;
pub use join::{ArrangePlan, AsOfCondition, AsOfMode, AsOfPlan, JoinKind, JoinPlan, Retention, SetOperation};
pub use letter::LetterColumn;
pub use limits::{AtLimit, EvictBy, Evicted, StateClock, StateLimits};
pub use over::{Frame, FrameBound, FrameUnits, OverCall, OverFunction, OverPlan, OverTime};
pub use props::{AttachedWindow, ChangelogKind, Props, StateBound, WatermarkPlan};
pub use ranked::{RankFunction, TopNPlan};
pub use recursion::RecursionPlan;
pub use sink::{SinkOrder, SinkPlan};
pub use source::{
    ErrorPolicy, ErrorRate, ErrorRateMost, ErrorShare, EventTimePlan, MetadataColumn, SourcePlan, SourceTiming, WatermarkStrategy,
};
pub use trigger::{FiringColumn, FiringPlan, TriggerPlan};
pub use upsert::UpsertPlan;
pub use window::{Emit, LateStrategy, TimeDomain, WindowColumn, WindowKind, WindowPlan};

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub u32);
        impl $name {
            /// The position in the plan's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
id_type!(
    /// A node of the plan. Printed as `n3`.
    NodeId
);
id_type!(
    /// A source of the plan: one read of one relation, however many queries use it.
    SourceId
);
id_type!(
    /// A sink of the plan.
    SinkId
);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// An expression with the name of the column it makes. Column references are positions in the input's schema.
#[derive(Clone, Debug)]
pub struct NamedExpr {
    /// Name of the output column.
    pub name: String,
    /// The expression, evaluated over whole batches.
    pub expr: Arc<dyn PhysicalExpr>,
}

/// One stateless step of a fused chain.
#[derive(Clone, Debug)]
pub enum Step {
    /// Keep the rows for which the predicate is true.
    Filter {
        /// A boolean expression.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// Compute new columns.
    Project {
        /// The output columns, in order.
        exprs: Vec<NamedExpr>,
    },
    /// Append `window_start`, `window_end` and `window_time` (timestamps in microseconds), one output row for each window of
    /// the input row. Judges nothing but what INCLUDE_IN_NEXT_WINDOW asks for (a row too late for all its windows is assigned to the
    /// earliest open one): lateness is decided where windows hold state.
    AssignWindows {
        /// The windows and the event time they are assigned by.
        window: WindowPlan,
    },
    /// Keep each row once for each window that it came too late for, with `window_start`, `window_end`, `window_time`, the row's own
    /// `_watermark`, and `_lateness_us`: how far that had passed the window's end. Rows without a time are left out.
    LateRows {
        /// The windows, the event time they are assigned by, the watermark and the allowed lateness.
        window: WindowPlan,
    },
    /// Append `$arrival`: the epoch that the row came in, as a timestamp in microseconds. For rows that only come.
    Arrival,
    /// One output row for each element of a list column, which is replaced by its element.
    Unnest {
        /// The list columns to unnest together.
        columns: Vec<usize>,
        /// Keep a row whose lists are null or empty (elements null).
        preserve_nulls: bool,
    },
}

impl Step {
    /// The watermark the step judges rows by.
    pub fn watermark(&self) -> Option<&WatermarkPlan> {
        match self {
            Self::LateRows { window } => window.watermark.as_ref(),
            Self::AssignWindows { window } if window.late == LateStrategy::IncludeInNextWindow => window.watermark.as_ref(),
            Self::Filter { .. } | Self::Project { .. } | Self::AssignWindows { .. } | Self::Arrival | Self::Unnest { .. } => None,
        }
    }
}

/// What a node does. Closed: a new operator is a new variant, and every `match` must answer for it.
#[derive(Clone, Debug)]
pub enum PhysicalOp {
    /// Read a source: its decoded and computed columns.
    Source {
        /// Which source.
        source: SourceId,
    },
    /// A chain of stateless steps, one timely operator.
    Stateless {
        /// Where rows come from.
        input: NodeId,
        /// The steps, first one first.
        steps: Vec<Step>,
        /// The schema after each step; the last is the node's own.
        schemas: Vec<SchemaRef>,
    },
    /// Turn rows that replace each other into rows that are added and taken back.
    Upsert(UpsertPlan),
    /// Take rows back when they have counted for a while.
    Expire(ExpirePlan),
    /// Bag union (UNION ALL) of relations of equal schema.
    Union {
        /// The relations.
        inputs: Vec<NodeId>,
    },
    /// Groups and their aggregates, over windows or all time. Without aggregates: DISTINCT.
    ///
    /// Output columns: the keys in order (expressions and window columns as they stand in `keys`), then the aggregates.
    Aggregate {
        /// Where rows come from.
        input: NodeId,
        /// The grouping columns.
        keys: Vec<KeyPlan>,
        /// The aggregates.
        aggregates: Vec<AggregatePlan>,
        /// The window, if grouped by one.
        window: Option<WindowPlan>,
        /// When results come out.
        emit: Emit,
    },
    /// Keep a relation in key order for the operators that read it by that key.
    Arrange(ArrangePlan),
    /// Join two arranged relations by equal keys.
    Join(JoinPlan),
    /// Join each row with the version valid at its time.
    AsOf(AsOfPlan),
    /// The first rows of each group.
    TopN(TopNPlan),
    /// Functions over the rows around each row.
    Over(OverPlan),
    /// INTERSECT and EXCEPT over bags of rows; nulls are equal to nulls.
    SetOperation {
        /// The rows.
        left: NodeId,
        /// The rows they are compared with, of equal schema.
        right: NodeId,
        /// Which one.
        kind: SetOperation,
    },
    /// Rows that are given in the statement: in the first epoch, once.
    Values {
        /// The rows.
        rows: arrow::array::RecordBatch,
    },
    /// What went wrong in a relation and in all it is made of, with the columns of [`LetterColumn`].
    Errors {
        /// The relation.
        input: NodeId,
    },
    /// The relation of a recursion, inside of it: as the round before left it.
    Recursive {
        /// The recursion's name.
        name: String,
    },
    /// Compute a relation from itself, round by round, until a round changes nothing.
    Recursion(RecursionPlan),
    /// Hand the changes to a sink.
    Sink {
        /// Where rows come from.
        input: NodeId,
        /// Which sink.
        sink: SinkId,
    },
}

/// One grouping column.
#[derive(Clone, Debug)]
pub enum KeyPlan {
    /// A value computed from the row.
    Expr(NamedExpr),
    /// A column of the window the row was assigned to, under the name given.
    Window(WindowColumn, String),
}

impl PhysicalOp {
    /// Which fields are inputs, to read.
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Source { .. } | Self::Values { .. } | Self::Recursive { .. } => vec![],
            Self::Stateless { input, .. } | Self::Aggregate { input, .. } | Self::Errors { input } | Self::Sink { input, .. } => {
                vec![*input]
            }
            Self::Union { inputs } => inputs.clone(),
            Self::Upsert(upsert) => vec![upsert.input],
            Self::Expire(expire) => vec![expire.input],
            Self::Arrange(arrange) => vec![arrange.input],
            Self::Join(join) => vec![join.left, join.right],
            Self::AsOf(join) => vec![join.left, join.right],
            Self::TopN(top) => vec![top.input],
            Self::Over(over) => vec![over.input],
            Self::SetOperation { left, right, .. } => vec![*left, *right],
            Self::Recursion(recursion) => vec![recursion.base, recursion.step],
        }
    }

    /// The watermarks the operator waits for.
    pub fn watermarks(&self) -> Vec<&WatermarkPlan> {
        match self {
            Self::Aggregate { window: Some(WindowPlan { watermark: Some(watermark), .. }), .. }
            | Self::TopN(TopNPlan { window: Some(WindowPlan { watermark: Some(watermark), .. }), .. })
            | Self::Over(OverPlan { window: Some(WindowPlan { watermark: Some(watermark), .. }), .. }) => vec![watermark],
            Self::Over(OverPlan { time: Some(time), .. }) => vec![&time.watermark],
            Self::Stateless { steps, .. } => steps.iter().filter_map(Step::watermark).collect(),
            Self::Arrange(ArrangePlan { retention: Some(retention), .. }) => vec![&retention.watermark, &retention.own],
            Self::AsOf(AsOfPlan { mode: AsOfMode::Time { watermarks: Some((left, right)), .. }, .. }) => vec![left, right],
            Self::Source { .. }
            | Self::Upsert(_)
            | Self::Expire(_)
            | Self::Union { .. }
            | Self::Aggregate { .. }
            | Self::Arrange(_)
            | Self::Join(_)
            | Self::AsOf(_)
            | Self::TopN(_)
            | Self::Over(_)
            | Self::SetOperation { .. }
            | Self::Values { .. }
            | Self::Errors { .. }
            | Self::Recursive { .. }
            | Self::Recursion(_)
            | Self::Sink { .. } => vec![],
        }
    }

    /// Which fields are inputs, to change; in the order of [`Self::inputs`].
    pub fn inputs_mut(&mut self) -> Vec<&mut NodeId> {
        match self {
            Self::Source { .. } | Self::Values { .. } | Self::Recursive { .. } => vec![],
            Self::Stateless { input, .. } | Self::Aggregate { input, .. } | Self::Errors { input } | Self::Sink { input, .. } => {
                vec![input]
            }
            Self::Union { inputs } => inputs.iter_mut().collect(),
            Self::Upsert(upsert) => vec![&mut upsert.input],
            Self::Expire(expire) => vec![&mut expire.input],
            Self::Arrange(arrange) => vec![&mut arrange.input],
            Self::Join(join) => vec![&mut join.left, &mut join.right],
            Self::AsOf(join) => vec![&mut join.left, &mut join.right],
            Self::TopN(top) => vec![&mut top.input],
            Self::Over(over) => vec![&mut over.input],
            Self::SetOperation { left, right, .. } => vec![left, right],
            Self::Recursion(recursion) => vec![&mut recursion.base, &mut recursion.step],
        }
    }
}

/// One node: an operator, and what is known of its output.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's place in the plan.
    pub id: NodeId,
    /// What it does.
    pub op: PhysicalOp,
    /// What is known of its output.
    pub props: Props,
}

impl Node {
    /// The watermarks the node waits for: its operator's, and the one its limits measure ages by.
    pub fn watermarks(&self) -> Vec<&WatermarkPlan> {
        let mut all = self.op.watermarks();
        all.extend(self.props.limits.as_ref().and_then(|limits| limits.watermark()));
        all
    }
}

/// A checked plan.
///
/// Invariants, checked by [`PhysicalPlan::new`]:
/// 1. `nodes[i].id.index() == i`.
/// 2. Every input of a node comes before it.
/// 3. Every source and sink id is in range.
/// 4. A join reads arrangements.
/// 5. What reads the relation of a recursion stands inside of it: stateless chains, unions, arrangements, inner joins, and anti joins
///    with keys from outside that are there once. Nothing outside reads them but the recursion itself.
#[derive(Clone, Debug)]
pub struct PhysicalPlan {
    nodes: Vec<Node>,
    sources: Vec<SourcePlan>,
    sinks: Vec<SinkPlan>,
}

impl PhysicalPlan {
    /// Assembles a plan.
    ///
    /// # Panics
    /// When an invariant of the type is broken: that is a fault of the planner, not of a statement.
    pub fn new(nodes: Vec<Node>, sources: Vec<SourcePlan>, sinks: Vec<SinkPlan>) -> Self {
        for (position, node) in nodes.iter().enumerate() {
            assert!(node.id.index() == position, "plan invariant 1: {} stands at {position}", node.id);
            for input in node.op.inputs() {
                assert!(input < node.id, "plan invariant 2: {} reads {input}", node.id);
            }
            match &node.op {
                PhysicalOp::Source { source } => assert!(source.index() < sources.len(), "plan invariant 3: {}", node.id),
                PhysicalOp::Sink { sink, .. } => assert!(sink.index() < sinks.len(), "plan invariant 3: {}", node.id),
                PhysicalOp::Join(join) => {
                    for side in [join.left, join.right] {
                        assert!(matches!(nodes[side.index()].op, PhysicalOp::Arrange(_)), "plan invariant 4: {} joins {side}", node.id);
                    }
                }
                _ => {}
            }
        }
        let plan = Self { nodes, sources, sinks };
        plan.nodes.iter().for_each(|node| plan.check_recursion(node));
        plan
    }

    /// Invariant 5.
    fn check_recursion(&self, node: &Node) {
        let PhysicalOp::Recursion(recursion) = &node.op else { return };
        let inside = self.inside(recursion);
        for id in &inside {
            let fits = match &self.node(*id).op {
                PhysicalOp::Recursive { .. } | PhysicalOp::Stateless { .. } | PhysicalOp::Union { .. } | PhysicalOp::Arrange(_) => true,
                PhysicalOp::Join(join) => match join.kind {
                    JoinKind::Inner => true,
                    JoinKind::LeftAnti => inside.contains(&join.left) && !inside.contains(&join.right) && !join.null_aware,
                    _ => false,
                },
                _ => false,
            };
            assert!(fits, "plan invariant 5: {id} stands in {}", node.id);
        }
        let outside = self.nodes.iter().filter(|it| it.id != node.id && !inside.contains(&it.id));
        for reader in outside {
            assert!(reader.op.inputs().iter().all(|input| !inside.contains(input)), "plan invariant 5: {} reads inside", reader.id);
        }
    }

    /// The nodes inside of a recursion: the relation itself, and what reads it.
    pub fn inside(&self, recursion: &RecursionPlan) -> BTreeSet<NodeId> {
        let mut inside = BTreeSet::from([recursion.recursive]);
        for node in &self.nodes[recursion.recursive.index()..=recursion.step.index().max(recursion.recursive.index())] {
            if node.op.inputs().iter().any(|input| inside.contains(input)) {
                inside.insert(node.id);
            }
        }
        inside
    }

    /// All nodes, inputs first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node and all nodes whose rows it is made of, ascending.
    pub fn below(&self, id: NodeId) -> Vec<NodeId> {
        below(&self.nodes, id)
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All sources.
    pub fn sources(&self) -> &[SourcePlan] {
        &self.sources
    }

    /// All sinks.
    pub fn sinks(&self) -> &[SinkPlan] {
        &self.sinks
    }
}

/// A node and all nodes whose rows it is made of, ascending.
pub(crate) fn below(nodes: &[Node], id: NodeId) -> Vec<NodeId> {
    let mut found = std::collections::BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(nodes[id.index()].op.inputs());
        }
    }
    found.into_iter().collect()
}
