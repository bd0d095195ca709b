//! Window assignment as a node of the logical plan, and the planner of its table functions.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion_common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, ScalarValue};
use datafusion_expr::logical_plan::Extension;
use datafusion_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion_sql::sqlparser::ast::{self, Spanned, TableFactor};
use datafusion_sql::sqlparser::tokenizer;

use super::errors::Located;
use super::errors_of::ErrorsOf;
use super::scan::SourceScan;
use crate::PlanError;
use crate::duration::format_us;
use crate::parse::{Side, SideTable, WindowOptions, WindowTable, WindowTime};
use crate::plan::WindowKind;

/// The columns a window adds, in order.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The columns that say how late a row was, in order.
pub(crate) const LATE_COLUMNS: [&str; 2] = ["_watermark", "_lateness_us"];

/// Appends `window_start`, `window_end` and `window_time`: one output row for each window a row lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignWindows {
    pub(crate) input: LogicalPlan,
    /// The time rows are assigned by. A constant that nothing reads, where windows are of so many rows.
    pub(crate) time: Expr,
    pub(crate) kind: WindowKind,
    pub(crate) offset_us: i64,
    pub(crate) options: WindowOptions,
    /// Keep only what came too late for its windows, and append [`LATE_COLUMNS`].
    pub(crate) only_late: bool,
    /// What the user wrote, for messages.
    pub(crate) span: tokenizer::Span,
    schema: DFSchemaRef,
}

impl AssignWindows {
    fn new(input: LogicalPlan, time: Expr, table: &WindowTable) -> Result<Self> {
        let schema = Self::schema_over(&input, table.kind, false)?;
        let WindowTable { kind, offset_us, options, span, .. } = table;
        Ok(Self { input, time, kind: *kind, offset_us: *offset_us, options: options.clone(), only_late: false, span: *span, schema })
    }

    /// The same windows, of which only late rows are kept.
    pub(super) fn only_late(&self) -> Result<Self> {
        Ok(Self { only_late: true, schema: Self::schema_over(&self.input, self.kind, true)?, ..self.clone() })
    }

    fn schema_over(input: &LogicalPlan, kind: WindowKind, only_late: bool) -> Result<DFSchemaRef> {
        let columns = input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let mut added: Vec<Field> = WINDOW_COLUMNS.into_iter().map(|name| Field::new(name, kind.column_type(), false)).collect();
        if only_late {
            added.extend([Field::new(LATE_COLUMNS[0], time, false), Field::new(LATE_COLUMNS[1], DataType::Int64, false)]);
        }
        let added = added.into_iter().map(|field| (None, Arc::new(field)));
        let schema = DFSchema::new_with_metadata(columns.chain(added).collect(), input.schema().metadata().clone())?;
        Ok(Arc::new(schema))
    }

    /// The shape as a user reads it: `tumble(5m)`.
    pub(crate) fn shape(kind: WindowKind) -> String {
        match kind {
            WindowKind::Tumble { size_us } => format!("tumble({})", format_us(size_us)),
            WindowKind::Hop { size_us, slide_us } => format!("hop({}, {})", format_us(size_us), format_us(slide_us)),
            WindowKind::Cumulate { size_us, step_us } => format!("cumulate({}, {})", format_us(size_us), format_us(step_us)),
            WindowKind::Session { gap_us } => format!("session({})", format_us(gap_us)),
            WindowKind::Rows { size, slide } if size == slide => format!("tumble({})", rows_text(size)),
            WindowKind::Rows { size, slide } => format!("hop({}, {})", rows_text(size), rows_text(slide)),
            WindowKind::Attached => "attached".into(),
        }
    }
}

/// A number of rows.
fn rows_text(rows: i64) -> String {
    if rows == 1 { "1 row".into() } else { format!("{rows} rows") }
}

impl Hash for AssignWindows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.time.hash(state);
        format!("{:?} {}", self.kind, self.offset_us).hash(state);
        self.options.hash(state);
        self.only_late.hash(state);
    }
}

impl PartialOrd for AssignWindows {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AssignWindows {
    fn name(&self) -> &str {
        "AssignWindows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }

    /// A predicate on the row alone holds for all its windows or none, so it may go below; one on a window may not.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        WINDOW_COLUMNS.into_iter().chain(LATE_COLUMNS).map(String::from).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.only_late { "LateRows" } else { "AssignWindows" };
        write!(f, "{name}: {}", Self::shape(self.kind))?;
        if !matches!(self.kind, WindowKind::Rows { .. }) {
            write!(f, " by {}", self.time)?;
        }
        if self.offset_us != 0 {
            write!(f, " offset {}", format_us(self.offset_us))?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(time), Some(input)) = (exprs.pop(), inputs.pop()) else {
            return datafusion_common::internal_err!("a window has one time and one input");
        };
        let schema = Self::schema_over(&input, self.kind, self.only_late)?;
        Ok(Self { input, time, schema, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|column| *column < width).collect()])
    }
}

/// Plans `$tumble`, `$hop`, `$cumulate`, `$session`, `$rows`, `$late` and `$errors`.
#[derive(Debug)]
pub(super) struct WindowPlanner;

impl RelationPlanner for WindowPlanner {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        if let Some((table, alias)) = SideTable::decode(&relation) {
            let alias = alias.cloned();
            let input = context.plan(factor(&table.data)?)?;
            let plan = match table.side {
                Side::Late => super::late::late_rows(&input)?.ok_or_else(|| located(super::late::no_windows(), table.span))?,
                Side::Errors => LogicalPlan::Extension(Extension { node: Arc::new(ErrorsOf::new(input, table.span)?) }),
            };
            return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
        }
        let Some((table, alias)) = WindowTable::decode(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let alias = alias.cloned();
        let data = factor(&table.data)?;
        let input = context.plan(data)?;
        if let Some(name) = WINDOW_COLUMNS.into_iter().find(|name| input.schema().has_column_with_unqualified_name(name)) {
            let error = PlanError::new("plan::duplicate_column", format!("the relation has a column \"{name}\" already"), None)
                .help(format!("Select it under another name before windows are assigned: {name} AS inner_{name}."));
            return Err(located(error, table.span));
        }
        let time = match &table.time {
            WindowTime::Column(expr) => {
                let time = context.sql_to_expr(expr.clone(), input.schema())?;
                check_time(&time, &input, expr)?;
                time
            }
            WindowTime::None => Expr::Literal(ScalarValue::TimestampMicrosecond(Some(0), None), None),
            WindowTime::Processing => Expr::Column(Column::new_unqualified("_timestamp")),
            WindowTime::Declared => match event_time(&input) {
                Some(column) => Expr::Column(column),
                None => {
                    let name = table.data.to_string();
                    let error = PlanError::new("plan::no_event_time", format!("\"{name}\" has no event time to window by"), None)
                        .help("Add WATERMARK FOR a timestamp column to the source, or name the column: ON EVENT_TIME(ts).");
                    return Err(located(error, table.span));
                }
            },
        };
        let time = normalize(time, &input)?;
        let node = AssignWindows::new(input, time, &table)?;
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// Gives a column its qualifier.
fn normalize(expr: Expr, input: &LogicalPlan) -> Result<Expr> {
    datafusion_expr::expr_rewriter::normalize_col(expr, input)
}

fn located(error: PlanError, span: tokenizer::Span) -> DataFusionError {
    DataFusionError::External(Box::new(Located { error, span }))
}

fn check_time(time: &Expr, input: &LogicalPlan, written: &ast::Expr) -> Result<()> {
    let data_type = datafusion_expr::ExprSchemable::get_type(&normalize(time.clone(), input)?, input.schema().as_ref())?;
    if matches!(data_type, DataType::Timestamp(_, _)) {
        return Ok(());
    }
    let message = format!("\"{written}\" is {}, not a timestamp", super::type_name(&data_type));
    let error = PlanError::new("plan::type_mismatch", message, None).help("Windows are cut by a timestamp column.");
    Err(located(error, written.span()))
}

fn factor(data: &ast::Expr) -> Result<TableFactor> {
    let name = |idents: Vec<ast::Ident>| TableFactor::Table {
        name: ast::ObjectName(idents.into_iter().map(ast::ObjectNamePart::Identifier).collect()),
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
    match data {
        ast::Expr::Identifier(ident) => Ok(name(vec![ident.clone()])),
        ast::Expr::CompoundIdentifier(idents) => Ok(name(idents.clone())),
        ast::Expr::Subquery(query) => Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None }),
        other => datafusion_common::plan_err!("a relation expected, not {other}"),
    }
}

/// The column that carries a relation's declared event time, if it comes through.
pub(super) fn event_time(plan: &LogicalPlan) -> Option<Column> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = &scan.source.downcast_ref::<SourceScan>()?.table;
            let (place, _) = table.event_time?;
            let column = Column::new(Some(scan.table_name.clone()), table.columns[place].field.name());
            plan.schema().has_column(&column).then_some(column)
        }
        LogicalPlan::Filter(filter) => event_time(&filter.input),
        // Of a join, the time of the relation named first.
        LogicalPlan::Join(join) => event_time(&join.left).filter(|column| plan.schema().has_column(column)),
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = event_time(&alias.input)?;
            let place = alias.input.schema().index_of_column(&inner).ok()?;
            Some(Column::from(alias.schema.qualified_field(place)))
        }
        LogicalPlan::Projection(projection) => {
            let inner = event_time(&projection.input)?;
            let place = projection.expr.iter().position(|expr| match expr {
                Expr::Column(column) => *column == inner,
                Expr::Alias(alias) => matches!(alias.expr.as_ref(), Expr::Column(column) if *column == inner),
                _ => false,
            })?;
            Some(Column::from(projection.schema.qualified_field(place)))
        }
        LogicalPlan::Aggregate(aggregate) => {
            // The last instant of a window is the time of its result.
            let of_time = |field: &&Arc<Field>| field.name() == "window_time" && matches!(field.data_type(), DataType::Timestamp(..));
            let place = aggregate.schema.fields().iter().position(|field| of_time(&field))?;
            Some(Column::from(aggregate.schema.qualified_field(place)))
        }
        LogicalPlan::Union(union) => {
            let places: Option<Vec<usize>> = union
                .inputs
                .iter()
                .map(|input| event_time(input).and_then(|column| input.schema().index_of_column(&column).ok()))
                .collect();
            let places = places?;
            let first = *places.first()?;
            places.iter().all(|place| *place == first).then(|| Column::from(union.schema.qualified_field(first)))
        }
        LogicalPlan::Extension(extension) => {
            let view = extension.node.as_any().downcast_ref::<super::view::ViewBody>()?;
            event_time(&view.input)
        }
        _ => None,
    }
}
