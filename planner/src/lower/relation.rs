//! A relation while it is lowered: a node and the stateless steps on top of it that are not a node yet, with the facts about the rows
//! that come out. Steps fuse into one node when something that is no step needs the relation.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use datafusion_physical_expr::{conjunction_opt, split_conjunction};

use super::expr::{Physical, as_column, column, columns, monotone, remap, substitute};
use crate::Span;
use crate::logical::{LATE_COLUMNS, WINDOW_COLUMNS};
use crate::parse::WindowOptions;
use crate::plan::{
    AttachedWindow, ChangelogKind, MetadataColumn, NamedExpr, NodeId, Props, SourceId, StateBound, Step, TimeDomain, WatermarkPlan,
    WindowKind, WindowPlan,
};

/// The column of the time a row came.
pub(crate) const ARRIVAL: &str = "$arrival";

/// A node with steps on top.
#[derive(Clone, Debug)]
pub(crate) struct Rel {
    pub(crate) base: NodeId,
    pub(crate) steps: Vec<Step>,
    /// The schema below the first step.
    pub(crate) base_schema: SchemaRef,
    /// The schema after each step.
    pub(crate) schemas: Vec<SchemaRef>,
    /// Facts about what comes out of the last step.
    pub(crate) props: Props,
    /// All sources below.
    pub(crate) sources: BTreeSet<SourceId>,
    /// If the node is a source: the positions of its metadata columns.
    pub(crate) metadata: Vec<(MetadataColumn, usize)>,
    /// Where the last window was written.
    pub(crate) window_span: Option<Span>,
    /// What its clause said.
    pub(crate) options: Option<WindowOptions>,
}

impl Rel {
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.props.schema
    }

    fn push(&mut self, step: Step, schema: SchemaRef) {
        self.steps.push(step);
        self.schemas.push(Arc::clone(&schema));
        self.props.schema = schema;
    }

    /// Keeps the rows for which a predicate is true.
    pub(crate) fn filter(&mut self, predicate: Physical) {
        let schema = Arc::clone(self.schema());
        let settled = self.props.settled;
        if settled.is_some() && split_conjunction(&predicate).iter().any(|part| as_column(part) == settled) {
            self.props.changelog = ChangelogKind::AppendOnly;
        }
        self.push(Step::Filter { predicate }, schema);
    }

    /// Computes new columns under the names and types given.
    pub(crate) fn project(&mut self, exprs: Vec<NamedExpr>, fields: Vec<FieldRef>) {
        let before = Arc::clone(self.schema());
        let place_of = |old: usize| exprs.iter().position(|it| as_column(&it.expr) == Some(old));
        let unique_keys =
            self.props.unique_keys.iter().filter_map(|key| sorted(key.iter().map(|it| place_of(*it)).collect::<Option<_>>()?));
        let unique_keys = unique_keys.collect();
        let mut watermarks = Vec::new();
        for (place, it) in exprs.iter().enumerate() {
            let known = monotone(&it.expr, &before)
                .and_then(|(from, lag)| Some((self.props.watermarks.iter().find(|(column, _)| *column == from)?, lag)));
            if let Some(((_, watermark), lag)) = known {
                watermarks.push((place, delayed(watermark, lag)));
            }
        }
        let window = self.props.window.take().and_then(|window| {
            let moved = AttachedWindow {
                start: window.start.and_then(place_of),
                end: window.end.and_then(place_of),
                time: window.time.and_then(place_of),
                ..window
            };
            (moved.start.is_some() || moved.end.is_some() || moved.time.is_some()).then_some(moved)
        });
        self.props.unique_keys = unique_keys;
        self.props.watermarks = watermarks;
        self.props.window = window;
        self.props.settled = self.props.settled.and_then(place_of);
        let exprs = self.compose(exprs);
        self.push(Step::Project { exprs }, Arc::new(Schema::new(fields)));
    }

    /// Puts the expressions of a projection below into those above it, unless something would then be computed twice.
    fn compose(&mut self, exprs: Vec<NamedExpr>) -> Vec<NamedExpr> {
        let Some(Step::Project { exprs: below }) = self.steps.last() else { return exprs };
        let costs = |place: usize| as_column(&below[place].expr).is_none() && !columns(&below[place].expr).is_empty();
        let mut uses = vec![0_usize; below.len()];
        for it in &exprs {
            count_uses(&it.expr, &mut uses);
        }
        // The first projection over a source is the scan's own: it stays, for what is read to be known from it.
        let scan = self.steps.len() == 1 && !self.metadata.is_empty();
        if scan || uses.iter().enumerate().any(|(place, uses)| *uses > 1 && costs(place)) {
            return exprs;
        }
        let exprs =
            exprs.into_iter().map(|it| NamedExpr { expr: substitute(&it.expr, &|place| Arc::clone(&below[place].expr)), ..it }).collect();
        self.steps.pop();
        self.schemas.pop();
        exprs
    }

    /// Appends the columns of windows.
    pub(crate) fn assign_windows(&mut self, window: WindowPlan) {
        let width = self.schema().fields().len();
        let [start, end, time] = [width, width + 1, width + 2];
        let size_us = window_size(window.kind);
        // A cumulating window starts at the same place whatever its length.
        let fixed = match window.kind {
            WindowKind::Tumble { size_us } | WindowKind::Hop { size_us, .. } => Some(size_us),
            WindowKind::Rows { size, .. } => Some(size),
            WindowKind::Cumulate { .. } | WindowKind::Session { .. } | WindowKind::Attached => None,
        };
        if !matches!(window.kind, WindowKind::Tumble { .. }) {
            self.props.unique_keys.iter_mut().for_each(|key| key.push(end));
        }
        if let Some(watermark) = &window.watermark {
            // A row lies before the end of its window, and less than the window's size behind its start.
            if !matches!(window.kind, WindowKind::Session { .. }) {
                // A session may have begun long ago.
                self.props.watermarks.push((start, delayed(watermark, size_us)));
            }
            self.props.watermarks.push((end, watermark.clone()));
            self.props.watermarks.push((time, watermark.clone()));
        }
        self.props.window = Some(AttachedWindow {
            start: Some(start),
            end: Some(end),
            time: Some(time),
            watermark: window.watermark.clone().unwrap_or_else(|| self.end_of_input()),
            size_us: fixed,
            closed: false,
        });
        let added = WINDOW_COLUMNS.map(|name| Arc::new(Field::new(name, window.kind.column_type(), false)));
        let fields: Vec<FieldRef> = self.schema().fields().iter().cloned().chain(added).collect();
        self.push(Step::AssignWindows { window }, Arc::new(Schema::new(fields)));
    }

    /// Keeps what came too late for its windows, with the columns that say so.
    pub(crate) fn late_rows(&mut self, window: WindowPlan) {
        let time_type = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = WINDOW_COLUMNS.into_iter().chain([LATE_COLUMNS[0]]).map(|name| Arc::new(Field::new(name, time_type.clone(), false)));
        let late_us = Arc::new(Field::new(LATE_COLUMNS[1], DataType::Int64, false));
        let fields: Vec<FieldRef> = self.schema().fields().iter().cloned().chain(times).chain([late_us]).collect();
        // No column keeps to the watermark: these rows are those that did not.
        self.props.watermarks.clear();
        self.props.unique_keys.clear();
        self.props.window = None;
        self.push(Step::LateRows { window }, Arc::new(Schema::new(fields)));
    }

    /// Appends the time each row comes.
    pub(crate) fn stamp_arrival(&mut self) {
        let place = self.schema().fields().len();
        let field = Arc::new(Field::new(ARRIVAL, DataType::Timestamp(TimeUnit::Microsecond, None), false));
        let fields: Vec<FieldRef> = self.schema().fields().iter().cloned().chain([field]).collect();
        let sources = self.sources.iter().copied().collect();
        self.props.watermarks.push((place, WatermarkPlan { domain: TimeDomain::ProcessingTime, sources, delay_us: 0 }));
        self.push(Step::Arrival, Arc::new(Schema::new(fields)));
    }

    /// Replaces lists by their elements.
    pub(crate) fn unnest(&mut self, lists: Vec<usize>, preserve_nulls: bool, fields: Vec<FieldRef>) {
        self.props.unique_keys.clear();
        self.props.watermarks.retain(|(column, _)| !lists.contains(column));
        self.push(Step::Unnest { columns: lists, preserve_nulls }, Arc::new(Schema::new(fields)));
    }

    /// Whether the windows that rows are assigned to are of so many rows.
    pub(crate) fn counts_rows(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::AssignWindows { window } if matches!(window.kind, WindowKind::Rows { .. })))
    }

    /// The watermark that only the end of the input moves.
    pub(crate) fn end_of_input(&self) -> WatermarkPlan {
        WatermarkPlan {
            domain: TimeDomain::EventTime,
            sources: self.sources.iter().copied().collect(),
            delay_us: WatermarkPlan::END_OF_INPUT_US,
        }
    }

    /// The column of the source at the bottom that a column passes on, if the relation is a source with steps on top.
    pub(crate) fn source_column(&self, column: usize) -> Option<usize> {
        let mut place = column;
        for (at, step) in self.steps.iter().enumerate().rev() {
            match step {
                Step::Project { exprs } => place = as_column(&exprs.get(place)?.expr)?,
                Step::Filter { .. } => {}
                Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Arrival => {
                    let below = if at == 0 { &self.base_schema } else { &self.schemas[at - 1] };
                    if place >= below.fields().len() {
                        return None;
                    }
                }
                Step::Unnest { .. } => return None,
            }
        }
        Some(place)
    }

    /// Whether rows are a single source's, each with its place: what breaks ties.
    pub(crate) fn has_places(&self) -> bool {
        self.props.changelog == ChangelogKind::AppendOnly
            && self.metadata.iter().any(|(it, _)| *it == MetadataColumn::Partition)
            && self.metadata.iter().any(|(it, _)| *it == MetadataColumn::Offset)
            && !self.steps.iter().any(|step| matches!(step, Step::Unnest { .. } | Step::LateRows { .. } | Step::Arrival))
    }

    /// Carries the partition and the offset of each row through all steps. Returns their positions at the end, and where each column
    /// of before has gone.
    pub(crate) fn carry_places(&mut self) -> Option<([usize; 2], Vec<usize>)> {
        if !self.has_places() {
            return None;
        }
        let wanted = [MetadataColumn::Partition, MetadataColumn::Offset];
        let mut places: Vec<usize> = Vec::new();
        for it in wanted {
            places.push(self.metadata.iter().find(|(metadata, _)| *metadata == it)?.1);
        }
        let mut at = [places[0], places[1]];
        let mut moved: Vec<usize> = (0..self.base_schema.fields().len()).collect();
        let mut schema = Arc::clone(&self.base_schema);
        for (step, out) in self.steps.iter_mut().zip(&mut self.schemas) {
            let place = |old: usize| moved[old];
            match step {
                Step::Filter { predicate } => {
                    *predicate = remap(predicate, &place);
                    *out = Arc::clone(&schema);
                }
                Step::Project { exprs } => {
                    for it in exprs.iter_mut() {
                        it.expr = remap(&it.expr, &place);
                    }
                    moved = (0..exprs.len()).collect();
                    let mut fields: Vec<FieldRef> = out.fields().iter().cloned().collect();
                    for (slot, metadata) in at.iter_mut().zip(wanted) {
                        // A column that the query selects anyway is not carried twice.
                        match exprs.iter().position(|it| as_column(&it.expr) == Some(*slot)) {
                            Some(there) => *slot = there,
                            None => {
                                exprs.push(NamedExpr { name: metadata.name().into(), expr: column(metadata.name(), *slot) });
                                fields.push(Arc::new(Field::new(metadata.name(), metadata.data_type(), false)));
                                *slot = exprs.len() - 1;
                            }
                        }
                    }
                    schema = Arc::new(Schema::new(fields));
                    *out = Arc::clone(&schema);
                }
                Step::AssignWindows { window } => {
                    window.time = remap(&window.time, &place);
                    let added = out.fields().iter().skip(moved.len()).cloned();
                    let fields: Vec<FieldRef> = schema.fields().iter().cloned().chain(added).collect();
                    let width = schema.fields().len();
                    moved.extend(width..fields.len());
                    schema = Arc::new(Schema::new(fields));
                    *out = Arc::clone(&schema);
                }
                Step::LateRows { .. } | Step::Arrival | Step::Unnest { .. } => return None,
            }
        }
        self.props.schema = schema;
        self.move_props(&moved);
        Some((at, moved))
    }

    /// Puts the facts about columns where the columns have gone.
    fn move_props(&mut self, moved: &[usize]) {
        let place = |old: &mut usize| *old = moved[*old];
        self.props.unique_keys.iter_mut().flatten().for_each(place);
        self.props.watermarks.iter_mut().for_each(|(column, _)| place(column));
        self.props.settled.iter_mut().for_each(place);
        if let Some(window) = &mut self.props.window {
            [&mut window.start, &mut window.end, &mut window.time].into_iter().flatten().for_each(place);
        }
    }

    /// Takes the last window assignment out of the steps, if nothing behind it computes on the window's columns: an aggregate then
    /// assigns windows itself, and shares panes. Returns the window over the columns that are left, and for each column of before where
    /// it has gone.
    pub(crate) fn take_windows(&mut self) -> Option<TakenWindow> {
        let at = self.steps.iter().rposition(|step| matches!(step, Step::AssignWindows { .. }))?;
        let Step::AssignWindows { window } = self.steps[at].clone() else { return None };
        let below = if at == 0 { Arc::clone(&self.base_schema) } else { Arc::clone(&self.schemas[at - 1]) };
        let width = below.fields().len();
        let mut gone: Vec<Taken> = (0..width).map(Taken::Column).chain([0, 1, 2].map(Taken::Window)).collect();
        let mut time = Arc::clone(&window.time);
        let mut steps = self.steps[..at].to_vec();
        let mut schemas = self.schemas[..at].to_vec();
        let mut schema = below;
        let mut predicates = Vec::new();
        for (step, out) in self.steps[at + 1..].iter().zip(&self.schemas[at + 1..]) {
            let real = |expr: &Physical| columns(expr).iter().all(|it| matches!(gone[*it], Taken::Column(_)));
            let place = |old: usize| match gone[old] {
                Taken::Column(place) => place,
                Taken::Window(_) => old,
            };
            match step {
                Step::Filter { predicate } => {
                    let mut on_rows = Vec::new();
                    for part in split_conjunction(predicate) {
                        let windows: Option<Vec<usize>> = columns(part)
                            .iter()
                            .map(|it| match gone[*it] {
                                Taken::Window(which) => Some(which),
                                Taken::Column(_) => None,
                            })
                            .collect();
                        match windows {
                            Some(windows) if !windows.is_empty() => {
                                let which = |old: usize| match gone[old] {
                                    Taken::Window(which) => which,
                                    Taken::Column(_) => old,
                                };
                                predicates.push(remap(part, &which));
                            }
                            _ if real(part) => on_rows.push(remap(part, &place)),
                            _ => return None,
                        }
                    }
                    if let Some(predicate) = conjunction_opt(on_rows) {
                        steps.push(Step::Filter { predicate });
                        schemas.push(Arc::clone(&schema));
                    }
                }
                Step::Project { exprs } => {
                    let mut kept = Vec::new();
                    let mut fields: Vec<FieldRef> = Vec::new();
                    let mut next = Vec::new();
                    for (it, field) in exprs.iter().zip(out.fields()) {
                        match as_column(&it.expr).map(|place| gone[place]) {
                            Some(Taken::Window(which)) => next.push(Taken::Window(which)),
                            _ if !real(&it.expr) => return None,
                            _ => {
                                next.push(Taken::Column(kept.len()));
                                kept.push(NamedExpr { name: it.name.clone(), expr: remap(&it.expr, &place) });
                                fields.push(Arc::clone(field));
                            }
                        }
                    }
                    if !matches!(window.kind, WindowKind::Rows { .. }) {
                        // The time comes through as a column.
                        let known = kept.iter().position(|it| it.expr.as_ref() == time.as_ref());
                        let there = match known {
                            Some(there) => there,
                            None => {
                                let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
                                let nullable = time.nullable(&schema).unwrap_or(true);
                                let own = as_column(&time).map(|place| schema.field(place).name().clone());
                                let free = |name: &String| !kept.iter().any(|it| it.name == *name);
                                let name = own.filter(free).unwrap_or_else(|| "$time".into());
                                fields.push(Arc::new(Field::new(&name, data_type, nullable)));
                                kept.push(NamedExpr { name, expr: Arc::clone(&time) });
                                kept.len() - 1
                            }
                        };
                        time = column(&kept[there].name, there);
                    }
                    gone = next;
                    schema = Arc::new(Schema::new(fields));
                    steps.push(Step::Project { exprs: kept });
                    schemas.push(Arc::clone(&schema));
                }
                Step::AssignWindows { .. } | Step::LateRows { .. } | Step::Arrival | Step::Unnest { .. } => return None,
            }
        }
        self.steps = steps;
        self.schemas = schemas;
        self.props.schema = schema;
        Some(TakenWindow { window: WindowPlan { time, ..window }, gone, predicates })
    }
}

/// A window assignment that was taken out of a relation's steps.
pub(crate) struct TakenWindow {
    /// The window, over the columns that are left.
    pub(crate) window: WindowPlan,
    /// Where each column of before has gone.
    pub(crate) gone: Vec<Taken>,
    /// Predicates on the window alone, that stood among the steps; their columns are 0 start, 1 end, 2 time.
    pub(crate) predicates: Vec<Physical>,
}

/// Where a column has gone when window assignment was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// To this position.
    Column(usize),
    /// It is a column of the window: 0 start, 1 end, 2 time.
    Window(usize),
}

/// The greatest distance from a window's start to its end; of a session, from its last row.
pub(crate) fn window_size(kind: WindowKind) -> i64 {
    match kind {
        WindowKind::Tumble { size_us } | WindowKind::Hop { size_us, .. } | WindowKind::Cumulate { size_us, .. } => size_us,
        WindowKind::Session { gap_us } => gap_us,
        // These have no length in time.
        WindowKind::Rows { .. } | WindowKind::Attached => 0,
    }
}

/// A watermark further behind.
pub(crate) fn delayed(watermark: &WatermarkPlan, lag_us: i64) -> WatermarkPlan {
    WatermarkPlan { delay_us: watermark.delay_us.saturating_add(lag_us), ..watermark.clone() }
}

/// Counts how often each column is read.
fn count_uses(expr: &Physical, uses: &mut [usize]) {
    match as_column(expr) {
        Some(place) => uses[place] += 1,
        None => expr.children().into_iter().for_each(|child| count_uses(child, uses)),
    }
}

fn sorted(mut key: Vec<usize>) -> Option<Vec<usize>> {
    key.sort_unstable();
    Some(key)
}

/// Facts of a relation nothing is known about.
pub(crate) fn plain_props(schema: SchemaRef, bounded: bool) -> Props {
    Props {
        schema,
        changelog: ChangelogKind::AppendOnly,
        unique_keys: vec![],
        watermarks: vec![],
        window: None,
        settled: None,
        state: StateBound::None,
        limits: None,
        bounded,
    }
}
