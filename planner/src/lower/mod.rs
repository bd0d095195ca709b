//! # Lowering
//!
//! From an optimised logical plan to the nodes that run. Chains of stateless operators fuse into one node; equal nodes are made once,
//! however many queries ask for them; the facts about each node's output are derived on the way, and what cannot be kept exact or
//! bounded is refused.

mod aggregate;
mod as_of;
mod errors_of;
mod expire;
pub(crate) mod expr;
mod join;
mod join_ttl;
mod late_sessions;
mod leftover;
mod limits;
mod loop_join;
mod over;
mod prune;
mod ranked;
mod recursion;
mod relation;
mod sets;
mod sink;
#[cfg(test)]
mod tests;
mod time_bound;
mod values;
mod window_clause;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr::logical_plan::{Distinct, TableScan, Union, Unnest};
use datafusion_expr::{Expr, LogicalPlan};

use crate::catalog::EVENT_TIME;
use crate::catalog::{SourceColumn, SourceTable};
use crate::logical::{
    AsOf, AssignWindows, ErrorsOf, JoinOrder, LateSessions, QueryScope, RecursiveScan, SetNode, SourceScan, ViewBody, errors_at,
};
use crate::parse::{LettersPath, LineIndex};
use crate::plan::{
    ChangelogKind, MetadataColumn, NamedExpr, Node, NodeId, PhysicalOp, PhysicalPlan, Props, SinkPlan, SourceId, StateBound, Step,
    TimeDomain, UpsertPlan, WatermarkPlan, WindowKind, WindowPlan,
};
use crate::settings::Settings;
use crate::{PlanError, Span};
use expr::{Physical, as_column, column, in_microseconds, monotone, physical};
use relation::{Rel, delayed, plain_props};

pub(crate) use sink::SinkRequest;

/// Errors of one statement.
type Result<T> = std::result::Result<T, Vec<PlanError>>;

/// A source that is read, with all its columns until it is known which are used.
struct SourceUse {
    table: Arc<SourceTable>,
    node: NodeId,
    columns: Vec<SourceColumn>,
    /// Column and delay of the watermark: the table's, else that of the first query that declares one for itself.
    event_time: Option<(usize, i64)>,
}

/// A physical plan in the making.
pub(crate) struct Lowering<'a> {
    lines: &'a LineIndex<'a>,
    settings: Settings,
    nodes: Vec<Node>,
    sources: Vec<SourceUse>,
    sinks: Vec<SinkPlan>,
    /// Windows whose clause says more than the window, and which nothing has been aggregated over yet.
    unused_clauses: Vec<Span>,
    /// Where windows of the statement at hand send rows that are too late.
    letters: Vec<LettersPath>,
    /// A window of the statement at hand is corrected by late rows.
    corrects: bool,
    /// Where options of queries were written that something does.
    state_used: BTreeSet<Span>,
    /// Places that say the time-to-live of a relation which something keeps rows of.
    ttl_used: BTreeSet<Span>,
    recursions: recursion::Recursions,
    /// What is allowed, and worth knowing.
    warnings: Vec<PlanError>,
    /// What EXPLAIN says of the order of the joins that are lowered next.
    join_order: Option<String>,
    /// Event times are read also where nothing waits for them.
    pub(crate) keeps_times: bool,
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(lines: &'a LineIndex<'a>) -> Self {
        Self {
            lines,
            settings: Settings::default(),
            nodes: vec![],
            sources: vec![],
            letters: vec![],
            sinks: vec![],
            unused_clauses: vec![],
            corrects: false,
            state_used: BTreeSet::new(),
            ttl_used: BTreeSet::new(),
            recursions: recursion::Recursions::default(),
            warnings: vec![],
            join_order: None,
            keeps_times: false,
        }
    }

    /// What is allowed, and worth knowing, of the statements so far.
    pub(crate) fn take_warnings(&mut self) -> Vec<PlanError> {
        std::mem::take(&mut self.warnings)
    }

    /// The settings for the statements that follow.
    pub(crate) fn settings(&mut self, settings: &Settings) {
        self.settings = settings.clone();
    }

    /// Whether anything will be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// How many sinks of a connector there are.
    pub(crate) fn count_sinks(&self, connector: &str) -> usize {
        self.sinks.iter().filter(|sink| sink.connector == connector).count()
    }

    /// The plan: only what is used is read.
    pub(crate) fn finish(self) -> PhysicalPlan {
        prune::finish(self)
    }

    fn failed(&self, span: Span) -> impl Fn(DataFusionError) -> Vec<PlanError> + use<'a> {
        let lines = self.lines;
        move |error| errors_at(lines, error, span)
    }

    fn not_yet(&self, what: &str, span: Span, way_out: &str) -> Vec<PlanError> {
        vec![PlanError::new("plan::not_yet", format!("{what} not supported yet"), span).help(way_out)]
    }

    /// A node: the one that is there already, if an equal one is.
    fn node(&mut self, op: PhysicalOp, props: Props) -> NodeId {
        let same = |node: &&mut Node| prune::same(&node.op, &op) && node.props.schema == props.schema && node.props.limits == props.limits;
        if let Some(node) = self.nodes.iter_mut().find(same) {
            // Of two that read it, one may have to keep what the other lets go of.
            if node.props.state == StateBound::UntilOtherEnds {
                node.props.state = props.state;
            }
            return node.id;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { id, op, props });
        id
    }

    /// Makes a relation's steps a node.
    fn fuse(&mut self, rel: &mut Rel) -> NodeId {
        if !rel.steps.is_empty() {
            let steps = std::mem::take(&mut rel.steps);
            let schemas = std::mem::take(&mut rel.schemas);
            let mut props = rel.props.clone();
            props.state = StateBound::None;
            props.limits = None;
            rel.base = self.node(PhysicalOp::Stateless { input: rel.base, steps, schemas }, props);
            rel.base_schema = Arc::clone(rel.schema());
            rel.metadata.clear();
        }
        rel.base
    }

    /// Sessions and windows of so many rows that no aggregate took up: which of them a row is in is known where its group is kept.
    fn refuse_stray_sessions(&self, rel: &Rel, scope: &QueryScope) -> Result<()> {
        let stray = |step: &Step| matches!(step, Step::AssignWindows { window } if window.kind.needs_group());
        let stateless = self.nodes.iter().any(|node| matches!(&node.op, PhysicalOp::Stateless { steps, .. } if steps.iter().any(stray)));
        if !stateless && !rel.steps.iter().any(stray) {
            return Ok(());
        }
        Err(vec![stray_windows(rel.window_span.unwrap_or(scope.span))])
    }

    /// A relation that is a node's output.
    fn rel(&self, base: NodeId, sources: BTreeSet<SourceId>, window_span: Option<Span>) -> Rel {
        let props = self.nodes[base.index()].props.clone();
        let base_schema = Arc::clone(&props.schema);
        Rel { base, steps: vec![], base_schema, schemas: vec![], props, sources, metadata: vec![], window_span, options: None }
    }

    /// Lowers a plan whose statement said what the scope holds.
    fn lower(&mut self, plan: &LogicalPlan, scope: &QueryScope) -> Result<Rel> {
        let rel = match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, scope)?,
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input, scope)?,
            LogicalPlan::Filter(filter) => {
                if let Some(rel) = self.ranked_filter(filter, scope)? {
                    return Ok(rel);
                }
                let mut rel = self.lower(&filter.input, scope)?;
                if filter.predicate == Expr::Literal(ScalarValue::Boolean(Some(true)), None) {
                    return Ok(rel);
                }
                self.refuse_volatile(&rel, std::slice::from_ref(&filter.predicate), scope)?;
                let predicate = physical(&filter.predicate, filter.input.schema()).map_err(self.failed(scope.span))?;
                rel.filter(predicate);
                rel
            }
            LogicalPlan::Projection(projection) => {
                if let Some(rel) = self.ranked_projection(projection, scope)? {
                    return Ok(rel);
                }
                let mut rel = self.lower(&projection.input, scope)?;
                self.refuse_volatile(&rel, &projection.expr, scope)?;
                self.project(&mut rel, &projection.expr, projection.input.schema(), &projection.schema, scope)?;
                rel
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, scope)?,
            LogicalPlan::Union(union) => self.union(union, scope)?,
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, scope)?,
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(view) = node.downcast_ref::<ViewBody>() {
                    let rel = self.lower(&view.input, &view.scope)?;
                    self.refuse_unused_state(&view.scope)?;
                    rel
                } else if let Some(joins) = node.downcast_ref::<JoinOrder>() {
                    self.join_order = Some(joins.order.clone());
                    self.lower(&joins.input, scope)?
                } else if let Some(windows) = node.downcast_ref::<AssignWindows>() {
                    self.windows(windows, scope)?
                } else if let Some(late) = node.downcast_ref::<LateSessions>() {
                    self.late_sessions(late, scope)?
                } else if let Some(join) = node.downcast_ref::<AsOf>() {
                    self.as_of(join, scope)?
                } else if let Some(errors) = node.downcast_ref::<ErrorsOf>() {
                    self.errors_of(errors, scope)?
                } else if let Some(set) = node.downcast_ref::<SetNode>() {
                    self.set_operation(set, scope)?
                } else {
                    return Err(self.not_yet(&format!("{} is", extension.node.name()), scope.span, "Write the query another way."));
                }
            }
            LogicalPlan::Distinct(Distinct::All(_) | Distinct::On(_)) => {
                return Err(self.not_yet("this DISTINCT is", scope.span, "Group by the columns instead."));
            }
            LogicalPlan::Window(window) => self.over(window, scope)?,
            LogicalPlan::Join(join) => self.join(join, scope)?,
            LogicalPlan::Limit(limit) => self.limit(limit, scope)?,
            LogicalPlan::Sort(_) => return Err(vec![ranked::no_order(scope.span)]),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::Values(values) => self.values(values, scope)?,
            LogicalPlan::RecursiveQuery(query) => self.recursion(query, scope)?,
            other => {
                let name = other.display().to_string();
                let name = name.split([':', ' ']).next().unwrap_or_default().to_string();
                return Err(self.not_yet(&format!("{name} is"), scope.span, "Write the query another way."));
            }
        };
        let width = plan.schema().fields().len();
        assert!(
            width == 0 || rel.schema().fields().len() == width,
            "lowering invariant: columns stay in place: {} and {}",
            rel.schema(),
            plan.schema()
        );
        Ok(rel)
    }

    fn project(&self, rel: &mut Rel, exprs: &[Expr], input: &DFSchema, output: &DFSchema, scope: &QueryScope) -> Result<()> {
        if exprs.is_empty() {
            // Only the number of rows matters from here on.
            return Ok(());
        }
        let before = Arc::clone(rel.schema());
        let mut named = Vec::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for (expr, field) in exprs.iter().zip(output.fields()) {
            let made = physical(expr, input).map_err(self.failed(scope.span))?;
            let data_type = made.data_type(&before).map_err(self.failed(scope.span))?;
            let nullable = made.nullable(&before).unwrap_or(true) || field.is_nullable();
            // A column that passes keeps the name it has here, which reads better than DataFusion's for an aggregate.
            let name = match (expr, as_column(&made)) {
                (Expr::Column(_), Some(place)) => before.field(place).name(),
                _ => field.name(),
            };
            fields.push(Arc::new(Field::new(name, data_type, nullable)));
            named.push(NamedExpr { name: name.clone(), expr: made });
        }
        let same = named.len() == before.fields().len()
            && named.iter().enumerate().all(|(place, it)| as_column(&it.expr) == Some(place))
            && fields.iter().zip(before.fields()).all(|(new, old)| new == old);
        if !same {
            rel.project(named, fields);
        }
        Ok(())
    }

    /// A function whose answer differs from call to call may read rows that only ever come, never rows that are taken back: the
    /// row that is taken back would not be the one that was given.
    fn refuse_volatile(&self, rel: &Rel, exprs: &[Expr], scope: &QueryScope) -> Result<()> {
        if rel.props.changelog == ChangelogKind::AppendOnly || !exprs.iter().any(Expr::is_volatile) {
            return Ok(());
        }
        let mut span = scope.span;
        for expr in exprs {
            // The closure has no error to return.
            let _ = datafusion_common::tree_node::TreeNode::apply(expr, |expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility == datafusion_expr::Volatility::Volatile
                {
                    span = scope.call(call.func.name());
                }
                Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
            });
        }
        let error = PlanError::new("plan::volatile", "a random value over rows that may be taken back", span)
            .label("the row taken back would not be the one given")
            .help("Compute it where the source is read, before anything is aggregated.");
        Err(vec![error])
    }

    /// A source, with all its columns: what is not used is dropped when the plan is complete.
    fn source(&mut self, table: &Arc<SourceTable>) -> (SourceId, NodeId) {
        if let Some(place) = self.sources.iter().position(|it| Arc::ptr_eq(&it.table, table)) {
            return (SourceId(u32::try_from(place).unwrap_or(u32::MAX)), self.sources[place].node);
        }
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        let columns = table.all_columns();
        let schema = Arc::new(Schema::new(columns.iter().map(|column| Arc::clone(&column.field)).collect::<Vec<_>>()));
        let place_of = |it: MetadataColumn| columns.iter().position(|column| column.field.name() == it.name());
        let mut props = plain_props(schema, table.bounded);
        props.changelog = table.changelog;
        let watermark = |domain| WatermarkPlan { domain, sources: vec![id], delay_us: 0 };
        if let Some((place, _)) = table.event_time {
            props.watermarks.push((place, watermark(TimeDomain::EventTime)));
            let hidden = columns.iter().position(|column| column.field.name() == EVENT_TIME).filter(|_| !table.hidden.is_empty());
            props.watermarks.extend(hidden.filter(|hidden| *hidden != place).map(|hidden| (hidden, watermark(TimeDomain::EventTime))));
        }
        let has = |it| table.metadata().any(|metadata| metadata == it);
        if let (true, Some(place)) = (has(MetadataColumn::Timestamp), place_of(MetadataColumn::Timestamp)) {
            props.watermarks.push((place, watermark(TimeDomain::ProcessingTime)));
        }
        for (place, column) in table.columns.iter().enumerate() {
            if matches!(column.value, crate::catalog::ColumnValue::Metadata(MetadataColumn::Timestamp)) {
                props.watermarks.push((place, watermark(TimeDomain::ProcessingTime)));
            }
        }
        let places = [MetadataColumn::Partition, MetadataColumn::Offset].map(|it| if has(it) { place_of(it) } else { None });
        if let [Some(partition), Some(offset)] = places {
            props.unique_keys.push(vec![partition, offset]);
        }
        let key = table.key.clone().map(|mut key| {
            key.sort_unstable();
            key
        });
        let node = match (table.changelog, key) {
            (ChangelogKind::Upsert, Some(key)) => {
                // A row that is taken back is as old as the table: its times keep to no watermark.
                let mut kept = plain_props(Arc::clone(&props.schema), table.bounded);
                kept.changelog = ChangelogKind::Retract;
                kept.unique_keys.push(key.clone());
                kept.state = StateBound::PerKey;
                let input = self.node(PhysicalOp::Source { source: id }, props);
                self.node(PhysicalOp::Upsert(UpsertPlan { input, key, remember_deleted: table.bounded }), kept)
            }
            (_, key) => {
                // What a database tells of its table is trusted to keep its key; rows that only come are not.
                props.unique_keys.extend(key.filter(|_| table.changelog == ChangelogKind::Retract));
                self.node(PhysicalOp::Source { source: id }, props)
            }
        };
        self.sources.push(SourceUse { table: Arc::clone(table), node, columns, event_time: table.event_time });
        (id, node)
    }

    fn scan(&mut self, scan: &TableScan, scope: &QueryScope) -> Result<Rel> {
        if let Some(recursive) = scan.source.downcast_ref::<RecursiveScan>() {
            return Ok(self.recursive(recursive, scan));
        }
        let Some(source) = scan.source.downcast_ref::<SourceScan>() else {
            return Err(self.not_yet("this relation is", scope.span, "Read a source."));
        };
        assert!(scan.filters.is_empty() && scan.fetch.is_none(), "lowering invariant: scans have no filters, none was asked for");
        let table = Arc::clone(&source.table);
        let (id, node) = self.source(&table);
        let mut rel = self.rel(node, BTreeSet::from([id]), None);
        self.refuse_rows_without_order(&table, scan, scope)?;
        let columns = &self.sources[id.index()].columns;
        let hidden = columns.len() - table.metadata().count();
        rel.metadata = table.metadata().enumerate().map(|(at, it)| (it, hidden + at)).collect();
        // The scan's columns are the first of the source's, in the same order.
        let width = datafusion_expr::TableSource::schema(source).fields().len();
        let mut read: Vec<usize> = scan.projection.clone().unwrap_or_else(|| (0..width).collect());
        if read.is_empty() {
            // Rows without columns are counted by the column that costs least.
            read.extend(prune::cheapest(&table.schema(true).fields));
        }
        let exprs = read
            .iter()
            .map(|place| NamedExpr { name: columns[*place].field.name().clone(), expr: column(columns[*place].field.name(), *place) });
        let fields = read.iter().map(|place| Arc::clone(&columns[*place].field)).collect();
        rel.project(exprs.collect(), fields);
        Ok(rel)
    }

    /// Rows that replace each other are kept as bytes, which maps do not have: equal maps may differ in their order.
    fn refuse_rows_without_order(&self, table: &SourceTable, scan: &TableScan, scope: &QueryScope) -> Result<()> {
        if table.changelog != ChangelogKind::Upsert {
            return Ok(());
        }
        for field in scan.projected_schema.fields() {
            if holds_map(field.data_type()) {
                let message = format!("column \"{}\" of \"{}\" is a map, and rows replace each other there", field.name(), table.name);
                let error = PlanError::new("plan::not_yet", message, scope.span).help("Leave the column out of the query.");
                return Err(vec![error]);
            }
        }
        Ok(())
    }

    fn windows(&mut self, windows: &AssignWindows, scope: &QueryScope) -> Result<Rel> {
        let mut rel = self.lower(&windows.input, scope)?;
        let failed = self.failed(scope.span);
        let time = physical(&windows.time, windows.input.schema()).map_err(&failed)?;
        let data_type = time.data_type(rel.schema()).map_err(&failed)?;
        if !matches!(
            data_type,
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond, _)
        ) {
            let message = format!("windows are cut by a timestamp, not {}", crate::logical::type_name(&data_type));
            return Err(vec![
                PlanError::new("plan::type_mismatch", message, self.lines.span(windows.span)).help("Name a timestamp column."),
            ]);
        }
        let watermark = match windows.options.watermark_us {
            _ if matches!(windows.kind, WindowKind::Rows { .. }) => None,
            None => watermark_of(&time, &rel),
            Some(delay_us) => Some(self.own_watermark(&rel, &time, delay_us, self.lines.span(windows.span).unwrap_or(scope.span))?),
        };
        if windows.only_late {
            return self.late_rows(rel, windows, in_microseconds(time, &data_type), watermark, scope);
        }
        rel.window_span = self.lines.span(windows.span);
        let options = self.window_options(windows, &rel)?;
        rel.assign_windows(WindowPlan {
            kind: windows.kind,
            offset_us: windows.offset_us,
            time: in_microseconds(time, &data_type),
            start: None,
            watermark,
            lateness_us: options.lateness_us,
            late: options.late,
            letters: options.letters.as_ref().map(|it| it.path.clone()),
            firing: options.firing.clone(),
            places: vec![],
        });
        rel.options = Some(options);
        Ok(rel)
    }

    fn union(&mut self, union: &Union, scope: &QueryScope) -> Result<Rel> {
        let mut rels = Vec::new();
        for input in &union.inputs {
            rels.push(self.lower(input, scope)?);
        }
        let width = union.schema.fields().len();
        if width == 0 {
            // Only the number of rows matters: one column says it, the same in every input.
            for rel in &mut rels {
                let one: Physical = Arc::new(datafusion_physical_expr::expressions::Literal::new(ScalarValue::Boolean(Some(true))));
                let field = Arc::new(Field::new("$row", DataType::Boolean, false));
                rel.project(vec![NamedExpr { name: "$row".into(), expr: one }], vec![field]);
            }
        }
        // One schema for all: a column may be null if it may in any input.
        let width = rels[0].schema().fields().len();
        let fields: Vec<FieldRef> = (0..width)
            .map(|place| {
                let nullable = rels.iter().any(|rel| rel.schema().field(place).is_nullable());
                let data_type = rels[0].schema().field(place).data_type().clone();
                let name = union.schema.fields().get(place).map_or("$row", |field| field.name());
                Arc::new(Field::new(name, data_type, nullable))
            })
            .collect();
        let schema = Arc::new(Schema::new(fields.clone()));
        let mut inputs = Vec::new();
        let mut sources = BTreeSet::new();
        for rel in &mut rels {
            let same_types = rel.schema().fields().iter().zip(&fields).all(|(have, want)| have.data_type() == want.data_type());
            assert!(same_types, "lowering invariant: inputs of a union are coerced to one type");
            if rel.schema().fields() != schema.fields() {
                let exprs =
                    fields.iter().enumerate().map(|(at, field)| NamedExpr { name: field.name().clone(), expr: column(field.name(), at) });
                rel.project(exprs.collect(), fields.clone());
            }
            inputs.push(self.fuse(rel));
            sources.extend(rel.sources.iter().copied());
        }
        let mut props = plain_props(schema, rels.iter().all(|rel| rel.props.bounded));
        if rels.iter().any(|rel| rel.props.changelog != ChangelogKind::AppendOnly) {
            props.changelog = ChangelogKind::Retract;
        }
        for place in 0..width {
            if let Some(watermark) =
                union_watermark(rels.iter().map(|rel| rel.props.watermarks.iter().find(|(at, _)| *at == place).map(|it| &it.1)))
            {
                props.watermarks.push((place, watermark));
            }
        }
        let first = rels[0].props.window.clone();
        let alike = |other: &crate::plan::AttachedWindow, first: &crate::plan::AttachedWindow| {
            (other.start, other.end, other.time, other.size_us) == (first.start, first.end, first.time, first.size_us)
        };
        if let Some(first) = first
            && rels.iter().all(|rel| rel.props.window.as_ref().is_some_and(|window| alike(window, &first)))
            && let Some(watermark) = union_watermark(rels.iter().map(|rel| rel.props.window.as_ref().map(|window| &window.watermark)))
        {
            let closed = rels.iter().all(|rel| rel.props.window.as_ref().is_some_and(|window| window.closed));
            props.window = Some(crate::plan::AttachedWindow { watermark, closed, ..first });
        }
        let span = rels.iter().find_map(|rel| rel.window_span);
        let node = self.node(PhysicalOp::Union { inputs }, props);
        Ok(self.rel(node, sources, span))
    }

    fn unnest(&mut self, unnest: &Unnest, scope: &QueryScope) -> Result<Rel> {
        use datafusion_common::NullHandling;
        let mut rel = self.lower(&unnest.input, scope)?;
        let simple = unnest.struct_type_columns.is_empty()
            && unnest.list_type_columns.iter().all(|(_, list)| list.depth == 1)
            && unnest.dependency_indices.iter().enumerate().all(|(at, from)| at == *from);
        let preserve_nulls = match unnest.options.null_handling {
            NullHandling::Drop => Some(false),
            NullHandling::PreserveAndExpandEmpty => Some(true),
            NullHandling::Preserve => None,
        };
        let (true, Some(preserve_nulls)) = (simple, preserve_nulls) else {
            return Err(self.not_yet("this UNNEST is", scope.span, "Unnest one list at a time, one level deep."));
        };
        let lists: Vec<usize> = unnest.list_type_columns.iter().map(|(place, _)| *place).collect();
        let fields = rel.schema().fields().iter().enumerate().map(|(place, field)| {
            let name = unnest.schema.field(place).name();
            match field.data_type() {
                DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) if lists.contains(&place) => {
                    Arc::new(Field::new(name, element.data_type().clone(), true))
                }
                _ => Arc::new(field.as_ref().clone().with_name(name)),
            }
        });
        let fields = fields.collect();
        rel.unnest(lists, preserve_nulls, fields);
        Ok(rel)
    }
}

/// The watermark an expression's new values keep to.
fn watermark_of(expr: &Physical, rel: &Rel) -> Option<WatermarkPlan> {
    let (place, lag) = monotone(expr, rel.schema())?;
    let (_, watermark) = rel.props.watermarks.iter().find(|(column, _)| *column == place)?;
    Some(delayed(watermark, lag))
}

/// The watermark that holds for all of some relations: the least of theirs.
fn union_watermark<'w>(all: impl Iterator<Item = Option<&'w WatermarkPlan>>) -> Option<WatermarkPlan> {
    let mut out: Option<WatermarkPlan> = None;
    for watermark in all {
        let watermark = watermark?;
        match &mut out {
            None => out = Some(watermark.clone()),
            Some(sum) if sum.domain == watermark.domain => {
                sum.sources.extend(&watermark.sources);
                sum.sources.sort_unstable();
                sum.sources.dedup();
                sum.delay_us = sum.delay_us.max(watermark.delay_us);
            }
            Some(_) => return None,
        }
    }
    out
}

fn holds_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(_, _) => true,
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => holds_map(inner.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        _ => false,
    }
}

/// Whether a step only passes columns on.
fn passes_columns(step: &Step) -> Option<Vec<usize>> {
    match step {
        Step::Project { exprs } => exprs.iter().map(|it| as_column(&it.expr)).collect(),
        Step::Filter { .. } | Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Arrival | Step::Unnest { .. } => None,
    }
}

/// Windows that need their group, and are computed with before it is known.
fn stray_windows(span: Span) -> PlanError {
    PlanError::new("plan::not_yet", "these windows cannot be kept", span)
        .label("not grouped by the columns of the window alone")
        .help("Group by the keys, window_start and window_end as they are; compute with them in a query around this one.")
}
