//! # Layout
//!
//! What an aggregate node reads, keeps and puts out, worked out once from the plan: the expressions to evaluate (equal ones once),
//! which of them are keys, and which columns each aggregate sees.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{
    AggregateClass, AggregateFunction, AggregatePlan, ChangelogKind, Emit, FiringColumn, FiringPlan, KeyPlan, LateStrategy, Node,
    PhysicalOp, StateLimits, TriggerPlan, WindowColumn, WindowKind, WindowPlan,
};

use super::panes::Panes;
use crate::state::accumulator::Accumulator;
use crate::state::group_states::{GroupInput, GroupStates};
use crate::state::group_table::GroupTable;
use crate::state::key_rows::{KeyCodec, KeyRows};

/// The window of an aggregate, as far as state is concerned.
#[derive(Clone, Copy, Debug)]
pub struct WindowLayout {
    /// The arithmetic.
    pub panes: Panes,
    /// How long a closed window is kept, in microseconds.
    pub lateness_us: i64,
    /// What becomes of late rows.
    pub late: LateStrategy,
}

/// Makes the state of an aggregate; fails when a function cannot be kept for the types given.
pub type MakeAccumulator = fn(&AggregatePlan) -> Result<Box<dyn Accumulator>, String>;

/// Whether partial aggregation before the exchange can pay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Partial {
    /// Partial states are as large as the rows.
    Never,
    /// When groups are fewer than this share of the rows.
    Below(f64),
}

/// Panes of a window from which on one row in each of its windows costs more than putting together those that change.
const PANES_SLIDING: i64 = if cfg!(test) { 2 } else { 16 };

/// See the module's documentation.
#[derive(Debug)]
pub struct AggregateLayout {
    pub(crate) exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) key_exprs: Vec<usize>,
    pub(crate) time_expr: Option<usize>,
    pub(crate) payload_exprs: Vec<usize>,
    inputs: Vec<InputColumns>,
    key_columns: Vec<KeyColumn>,
    aggregates: Vec<AggregatePlan>,
    make: MakeAccumulator,
    pub(crate) codec: KeyCodec,
    pub(crate) window: Option<WindowLayout>,
    pub(crate) emit: Emit,
    /// Rows can be taken back.
    pub(crate) retractable: bool,
    /// The rows of each group are counted.
    pub(crate) counted: bool,
    pub(crate) partial: Partial,
    /// When results come out, where a trigger says so.
    pub(crate) firing: Option<FiringPlan>,
    /// Which of the result columns tell of the firing, by position among them, ascending.
    pub(crate) firing_columns: Vec<(usize, FiringColumn)>,
    /// Where in the payload the place of a row stands, partition and offset, if rows are counted.
    pub(crate) places: Vec<usize>,
    /// Limits on its groups.
    pub(crate) limits: Option<Arc<StateLimits>>,
    /// The rows that are read.
    pub(crate) input: SchemaRef,
    output: SchemaRef,
}

/// The columns of an aggregate, by position in the payload.
#[derive(Debug)]
struct InputColumns {
    args: Vec<usize>,
    order: Vec<usize>,
    filter: Option<usize>,
}

#[derive(Debug)]
enum KeyColumn {
    /// The n-th column of the encoded key.
    Encoded(usize),
    /// Known from the window's end.
    Window(WindowColumn),
}

impl AggregateLayout {
    /// The layout of an aggregate node over an input.
    ///
    /// # Errors
    /// When a type cannot be grouped by, or a function not be kept: the planner should have said so.
    ///
    /// # Panics
    /// If the node is not an aggregate.
    pub fn of(node: &Node, input: &Node, make: MakeAccumulator) -> Result<Self, String> {
        let PhysicalOp::Aggregate { keys, aggregates, window, emit, .. } = &node.op else { panic!("{} is not an aggregate", node.id) };
        let retractable = input.props.changelog != ChangelogKind::AppendOnly;
        let layout =
            Self::new(&input.props.schema, retractable, keys, aggregates, window.as_ref(), *emit, node.props.schema.clone(), make)?;
        Ok(layout.with_limits(node.props.limits.clone()))
    }

    /// The same with limits on its groups.
    pub fn with_limits(mut self, limits: Option<Arc<StateLimits>>) -> Self {
        if limits.is_some() {
            // What a group has is told by its rows.
            self.counted = true;
            self.limits = limits;
        }
        self
    }

    /// The layout of an aggregate over rows of a schema. `retractable` says that rows can be taken back.
    ///
    /// # Errors
    /// As [`AggregateLayout::of`].
    #[allow(clippy::too_many_arguments)] // the parts of a plan node, as they stand in it
    pub fn new(
        input: &SchemaRef,
        retractable: bool,
        keys: &[KeyPlan],
        aggregates: &[AggregatePlan],
        window: Option<&WindowPlan>,
        emit: Emit,
        output: SchemaRef,
        make: MakeAccumulator,
    ) -> Result<Self, String> {
        let mut unique = Unique::default();
        let (mut key_exprs, mut key_types, mut key_columns) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            let expr = match (key, window) {
                (KeyPlan::Expr(named), _) => &named.expr,
                (KeyPlan::Window(WindowColumn::Start, _), Some(WindowPlan { kind: WindowKind::Attached, start, .. })) => {
                    start.as_ref().ok_or("the start of these windows is not known")?
                }
                (KeyPlan::Window(column, _), Some(_)) => {
                    key_columns.push(KeyColumn::Window(*column));
                    continue;
                }
                (KeyPlan::Window(_, name), None) => return Err(format!("\"{name}\" is a column of a window, and there is none")),
            };
            key_columns.push(KeyColumn::Encoded(key_exprs.len()));
            key_exprs.push(unique.position(expr));
            key_types.push(expr.data_type(input).map_err(|error| error.to_string())?);
        }
        // Where rows are counted nothing asks for their time.
        let window_of_time = window.filter(|window| !matches!(window.kind, WindowKind::Rows { .. }));
        let time_expr = window_of_time.map(|window| unique.position(&window.time));
        if let Some(window) = window_of_time {
            let found = window.time.data_type(input).map_err(|error| error.to_string())?;
            if !matches!(found, DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(format!("windows are assigned by a timestamp in microseconds, not by {found}"));
            }
        }
        let mut payload = Unique::default();
        let mut inputs = Vec::new();
        let told = |aggregate: &AggregatePlan| match aggregate.function {
            AggregateFunction::Firing(column) => Some(column),
            _ => None,
        };
        let firing_columns = aggregates.iter().enumerate().filter_map(|(at, aggregate)| Some((at, told(aggregate)?))).collect();
        let aggregates: Vec<AggregatePlan> = aggregates.iter().filter(|aggregate| told(aggregate).is_none()).cloned().collect();
        for aggregate in &aggregates {
            inputs.push(InputColumns {
                args: aggregate.args.iter().map(|expr| payload.position(expr)).collect(),
                order: aggregate.order_by.iter().map(|key| payload.position(&key.expr)).collect(),
                filter: aggregate.filter.as_ref().map(|expr| payload.position(expr)),
            });
            make(aggregate)?;
        }
        let firing = window.and_then(|window| window.firing.clone()).filter(|_| emit == Emit::Triggered);
        let places: Vec<usize> = window.iter().flat_map(|window| &window.places).map(|place| payload.position(place)).collect();
        let payload_exprs = payload.0.iter().map(|expr| unique.position(expr)).collect();
        let mut layout = Self {
            exprs: unique.0,
            key_exprs,
            time_expr,
            payload_exprs,
            inputs,
            key_columns,
            codec: KeyCodec::new(&key_types)?,
            window: window.map(|window| WindowLayout {
                panes: Panes::new(window.kind, window.offset_us),
                lateness_us: window.lateness_us,
                late: window.late,
            }),
            emit,
            retractable,
            counted: retractable,
            partial: match window.map(|window| window.kind) {
                // Which session a row belongs to is known where all rows of its key are.
                Some(WindowKind::Session { .. }) => Partial::Never,
                // Nor can a row be counted that was added up.
                _ if !places.is_empty() => Partial::Never,
                _ => partial(&aggregates, retractable),
            },
            firing,
            firing_columns,
            places,
            aggregates,
            limits: None,
            make,
            input: input.clone(),
            output,
        };
        // Whether a sum of parts has rows is told by their number.
        layout.counted |= layout.slides();
        Ok(layout)
    }

    /// The schema of what comes out.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Whether the aggregate is over all rows of all time: it has a result even over no rows.
    pub fn global(&self) -> bool {
        self.key_columns.is_empty() && self.window.is_none() && !self.aggregates.is_empty()
    }

    /// Whether a row is kept once for its pane, though it is in many windows whose results change: those that change are put together
    /// when they do ([`super::sliding`]).
    pub(crate) fn slides(&self) -> bool {
        let overlaps = |window: WindowLayout| {
            matches!(window.panes.kind(), WindowKind::Hop { .. }) && window.panes.panes_per_window() >= PANES_SLIDING
        };
        // What cannot be added up in parts is not put together of panes.
        self.window.is_some_and(overlaps)
            && self.partial != Partial::Never
            && self.limits.is_none()
            && (self.emit == Emit::Changes || self.stays_open())
    }

    /// Whether state is kept for each window rather than for each pane.
    pub(crate) fn per_window(&self) -> bool {
        if self.slides() {
            return false;
        }
        match self.emit {
            Emit::Changes | Emit::Triggered => true,
            Emit::Final => self.stays_open(),
        }
    }

    /// Whether windows come out when they close and are kept one by one: because late rows correct them, or limits let them go.
    pub(crate) fn stays_open(&self) -> bool {
        self.emit == Emit::Final && self.window.is_some_and(|window| window.lateness_us > 0 || self.limits.is_some())
    }

    /// The gap between sessions, if the windows are sessions.
    pub(crate) fn session_gap(&self) -> Option<i64> {
        match self.window.map(|window| window.panes.kind()) {
            Some(WindowKind::Session { gap_us }) => Some(gap_us),
            _ => None,
        }
    }

    /// Whether windows are of so many rows.
    pub(crate) fn counts_rows(&self) -> bool {
        matches!(self.window.map(|window| window.panes.kind()), Some(WindowKind::Rows { .. }))
    }

    /// How far sessions are kept behind the watermark: while what comes late can still be corrected.
    pub(crate) fn session_lateness(&self) -> i64 {
        self.window.map_or(0, |window| window.lateness_us)
    }

    /// When sessions come out, where not once or at each change: as a trigger says, or when they have ended and as late rows correct them.
    pub(crate) fn session_firing(&self) -> Option<FiringPlan> {
        let corrected = self.emit == Emit::Final && !self.puts_out_late() && self.session_lateness() > 0;
        let ended = || FiringPlan { trigger: TriggerPlan::Watermark, purge: false };
        self.firing.clone().or_else(|| corrected.then(ended))
    }

    /// Whether what comes out is the rows that no session holds.
    pub(crate) fn puts_out_late(&self) -> bool {
        self.window.is_some_and(|window| matches!(window.late, LateStrategy::PutOut { .. }))
    }

    /// Whether rows that may come too late for their session travel with all their columns, since they are wanted then.
    pub(crate) fn carries_late(&self) -> bool {
        self.session_gap().is_some()
            && self.window.is_some_and(|window| matches!(window.late, LateStrategy::DeadLetterQueue | LateStrategy::PutOut { .. }))
    }

    /// The types of the results that are computed from rows.
    pub(crate) fn result_types(&self) -> Vec<DataType> {
        self.aggregates.iter().map(|aggregate| aggregate.output.data_type().clone()).collect()
    }

    fn accumulators(&self) -> Vec<Box<dyn Accumulator>> {
        self.aggregates.iter().map(|aggregate| (self.make)(aggregate).expect("made once when the layout was")).collect()
    }

    /// An empty table of groups.
    pub(crate) fn table(&self) -> GroupTable {
        GroupTable::new(self.accumulators(), self.counted)
    }

    /// The states of no groups.
    pub(crate) fn states(&self) -> GroupStates {
        GroupStates::new(self.accumulators(), self.counted)
    }

    /// What each aggregate reads of the payload.
    pub(crate) fn inputs(&self, payload: &[ArrayRef]) -> Vec<GroupInput> {
        let of = |positions: &[usize]| positions.iter().map(|position| payload[*position].clone()).collect();
        self.inputs
            .iter()
            .map(|input| GroupInput {
                args: of(&input.args),
                order: of(&input.order),
                filter: input.filter.map(|position| payload[position].as_boolean().clone()),
            })
            .collect()
    }

    /// The key columns of groups of some windows, by name of the output.
    pub(crate) fn key_columns(&self, keys: &KeyRows, ends: &[i64]) -> Vec<ArrayRef> {
        let panes = |column| self.window.as_ref().map(|window| ends.iter().map(|end| window.panes.column(column, *end)).collect());
        self.columns_of(keys, panes)
    }

    /// The key columns of sessions.
    pub(crate) fn session_columns(&self, keys: &KeyRows, starts: &[i64], ends: &[i64]) -> Vec<ArrayRef> {
        let of = |column| match column {
            WindowColumn::Start => starts.to_vec(),
            WindowColumn::End => ends.to_vec(),
            WindowColumn::Time => ends.iter().map(|end| end.saturating_sub(1)).collect(),
        };
        self.columns_of(keys, |column| Some(of(column)))
    }

    fn columns_of(&self, keys: &KeyRows, times: impl Fn(WindowColumn) -> Option<Vec<i64>>) -> Vec<ArrayRef> {
        let decoded = self.codec.decode(keys);
        self.key_columns
            .iter()
            .enumerate()
            .map(|(position, column)| match column {
                KeyColumn::Encoded(encoded) => decoded[*encoded].clone(),
                KeyColumn::Window(column) => {
                    let times = times(*column).expect("window columns are of a window");
                    timestamps(times, self.output.field(position).data_type())
                }
            })
            .collect()
    }

    /// The output rows of key and aggregate columns.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
            .expect("the plan's output schema is that of its keys and aggregates")
    }
}

fn timestamps(times: Vec<i64>, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone_opt(zone.clone()))
        }
        other => cast(&TimestampMicrosecondArray::from(times), other).expect("window columns are timestamps"),
    }
}

fn partial(aggregates: &[AggregatePlan], retractable: bool) -> Partial {
    let mut share: f64 = 0.5;
    for aggregate in aggregates {
        match aggregate.class() {
            AggregateClass::Holistic => return Partial::Never,
            AggregateClass::Hierarchical if retractable => return Partial::Never,
            AggregateClass::Accumulable | AggregateClass::Hierarchical => {}
        }
        if matches!(aggregate.function, AggregateFunction::ApproxDistinct | AggregateFunction::ApproxPercentile { .. }) {
            // A sketch travels only in place of many rows.
            share = share.min(1.0 / 256.0);
        }
    }
    Partial::Below(share)
}

/// Expressions, equal ones once.
#[derive(Default)]
struct Unique(Vec<Arc<dyn PhysicalExpr>>);

impl Unique {
    fn position(&mut self, expr: &Arc<dyn PhysicalExpr>) -> usize {
        match self.0.iter().position(|known| known == expr) {
            Some(position) => position,
            None => {
                self.0.push(expr.clone());
                self.0.len() - 1
            }
        }
    }
}
