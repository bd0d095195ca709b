//! The top of a plan: a query's result handed to a sink, fitted to the columns the sink declares.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::LogicalPlan;
use datafusion_physical_expr::expressions::{CastExpr, Literal};
use datafusion_sql::sqlparser::ast::{Query, SelectItem, SetExpr, Spanned};

use super::expr::{Physical, as_column, column};
use super::relation::Rel;
use super::{Lowering, Result};
use crate::PlanError;
use crate::Span;
use crate::connector::{ConnectorCatalog, Options};
use crate::logical::{QueryScope, type_name};
use crate::plan::{
    ChangelogKind, NamedExpr, OverPlan, PhysicalOp, SinkId, SinkOrder, SinkPlan, SortKey, StateBound, TimeDomain, TopNPlan, WatermarkPlan,
};
use crate::statement::EmitClause;

/// Where a query's result goes.
pub(crate) struct SinkRequest<'q> {
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) options: Options,
    /// Declared columns, if the sink has any.
    pub(crate) columns: Option<SchemaRef>,
    /// Declared key.
    pub(crate) key: Option<Vec<usize>>,
    /// For each column of the query the declared column it is for; `None`: in order.
    pub(crate) targets: Option<Vec<usize>>,
    /// Where the sink was named.
    pub(crate) span: Span,
    /// The query as written.
    pub(crate) query: &'q Query,
}

impl Lowering<'_> {
    /// Lowers a query and hands its result to a sink.
    pub(crate) fn sink(
        &mut self,
        connectors: &dyn ConnectorCatalog,
        plan: &LogicalPlan,
        scope: &QueryScope,
        request: SinkRequest<'_>,
    ) -> Result<()> {
        if self.sinks.iter().any(|sink| sink.name == request.name) {
            let error = PlanError::new("plan::duplicate_sink", format!("sink \"{}\" has a query already", request.name), request.span)
                .help("Combine the queries with UNION ALL.");
            return Err(vec![error]);
        }
        self.refuse_leftovers(plan, scope)?;
        self.corrects = false;
        let mut rel = self.lower(plan, scope)?;
        self.refuse_stray_sessions(&rel, scope)?;
        self.refuse_unused_clauses()?;
        self.refuse_wrong_letters(connectors)?;
        self.refuse_unused_state(scope)?;
        if scope.emit == Some(EmitClause::Final) && rel.props.changelog != ChangelogKind::AppendOnly && !self.corrects {
            let error =
                PlanError::new("plan::final_without_watermark", "this result is never final", scope.emit_span.unwrap_or(scope.span))
                    .label("what it reads takes rows back")
                    .help("Say EMIT FINAL in the view that aggregates, or say EMIT CHANGES here.");
            return Err(vec![error]);
        }
        if let Some(columns) = &request.columns {
            self.fit(&mut rel, columns, &request)?;
        }
        one_text_type(&mut rel);
        let schema = Arc::clone(rel.schema());
        connectors
            .check_sink(&request.connector, &request.options, &schema, rel.props.changelog)
            .map_err(|reason| vec![PlanError::new("plan::sink", reason, request.span).label(format!("sink \"{}\"", request.name))])?;
        let needed = connectors.needs_key(&request.connector, &request.options, rel.props.changelog);
        let key = sink_key(&rel, &request, needed).map_err(|error| vec![*error])?;
        let id = SinkId(u32::try_from(self.sinks.len()).unwrap_or(u32::MAX));
        let progress = if request.options.get("progress") == Some("true") { Some(self.progress(&rel, request.span)?) } else { None };
        let time = rel.props.watermarks.iter().filter(|(_, watermark)| watermark.domain == TimeDomain::EventTime);
        self.sinks.push(SinkPlan {
            name: request.name,
            connector: request.connector,
            options: request.options,
            schema,
            changelog: rel.props.changelog,
            key,
            time_column: time.map(|(place, _)| *place).min(),
            bounded: rel.props.bounded,
            order: self.order_of(&rel),
            progress,
        });
        let mut props = rel.props.clone();
        let input = self.fuse(&mut rel);
        props.state = StateBound::None;
        props.limits = None;
        self.node(PhysicalOp::Sink { input, sink: id }, props);
        Ok(())
    }

    /// The watermark of a result: that of its sources, less what windows and other operators on the way wait for late rows.
    fn progress(&self, rel: &Rel, span: Span) -> Result<WatermarkPlan> {
        if rel.sources.iter().all(|source| self.sources[source.index()].table.event_time.is_none()) {
            let error = PlanError::new("plan::no_event_time", "there is no event time whose progress could be told", span)
                .label("none of its sources has a watermark")
                .help("Declare one: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND; or leave progress out.");
            return Err(vec![error]);
        }
        let mut delay_us = 0;
        let mut below = vec![rel.base];
        let mut seen = BTreeSet::new();
        while let Some(node) = below.pop() {
            if !seen.insert(node) {
                continue;
            }
            let op = &self.nodes[node.index()].op;
            below.extend(op.inputs());
            let waits = match op {
                PhysicalOp::Aggregate { window: Some(window), .. }
                | PhysicalOp::TopN(TopNPlan { window: Some(window), .. })
                | PhysicalOp::Over(OverPlan { window: Some(window), .. }) => {
                    window.watermark.as_ref().map(|watermark| (watermark, window.lateness_us))
                }
                PhysicalOp::Over(OverPlan { time: Some(time), .. }) => Some((&time.watermark, 0)),
                _ => None,
            };
            if let Some((watermark, lateness_us)) = waits.filter(|(watermark, _)| watermark.domain == TimeDomain::EventTime) {
                delay_us = delay_us.max(watermark.delay_us.saturating_add(lateness_us));
            }
        }
        Ok(WatermarkPlan { domain: TimeDomain::EventTime, sources: rel.sources.iter().copied().collect(), delay_us })
    }

    /// The order of the first rows of everything, as far as its columns come out.
    fn order_of(&self, rel: &Rel) -> Vec<SinkOrder> {
        let PhysicalOp::TopN(top) = &self.nodes[rel.base.index()].op else { return vec![] };
        if !top.partition_by.is_empty() {
            return vec![];
        }
        let width = rel.schema().fields().len();
        let shown = |key: &SortKey| {
            let place = top.output.iter().position(|column| Some(*column) == as_column(&key.expr))?;
            let column = (0..width).find(|column| rel.source_column(*column) == Some(place))?;
            Some(SinkOrder { column, descending: key.descending, nulls_first: key.nulls_first })
        };
        top.order_by.iter().map_while(shown).collect()
    }

    /// Brings a result into the columns a sink declares: by position, or by the column list of the INSERT.
    fn fit(&self, rel: &mut Rel, columns: &SchemaRef, request: &SinkRequest<'_>) -> Result<()> {
        let have = Arc::clone(rel.schema());
        let given = request.targets.as_ref().map_or(columns.fields().len(), Vec::len);
        if have.fields().len() != given {
            let message = format!("\"{}\" takes {given} columns, the query has {}", request.name, have.fields().len());
            let span = self.lines.span(request.query.span()).unwrap_or(request.span);
            let names: Vec<&str> = match &request.targets {
                Some(targets) => targets.iter().map(|target| columns.field(*target).name().as_str()).collect(),
                None => columns.fields().iter().map(|field| field.name().as_str()).collect(),
            };
            return Err(vec![PlanError::new("plan::column_count", message, span).help(format!("Select {}.", names.join(", ")))]);
        }
        let mut errors = Vec::new();
        let mut exprs = Vec::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for (target, field) in columns.fields().iter().enumerate() {
            let from = match &request.targets {
                Some(targets) => targets.iter().position(|it| *it == target),
                None => Some(target),
            };
            let Some(from) = from else {
                if !field.is_nullable() {
                    let message = format!("column \"{}\" of \"{}\" is NOT NULL and gets no value", field.name(), request.name);
                    errors.push(PlanError::new("plan::missing_column", message, request.span).help("Add it to the column list."));
                }
                let null =
                    ScalarValue::try_from(field.data_type()).map_err(|error| crate::logical::errors_at(self.lines, error, request.span))?;
                exprs.push(NamedExpr { name: field.name().clone(), expr: Arc::new(Literal::new(null)) });
                fields.push(Arc::clone(field));
                continue;
            };
            let given = have.field(from);
            let span = self.item_span(request.query, from).unwrap_or(request.span);
            let plain: Physical = column(given.name(), from);
            let expr = if given.data_type() == field.data_type() {
                plain
            } else if implicit(given.data_type(), field.data_type()) {
                Arc::new(CastExpr::new(plain, field.data_type().clone(), None))
            } else {
                let (is, wants) = (type_name(given.data_type()), type_name(field.data_type()));
                let message = format!("column \"{}\" of \"{}\" is {wants}, the query gives {is}", field.name(), request.name);
                errors.push(
                    PlanError::new("plan::type_mismatch", message, span).help(format!("Convert it: CAST({} AS {wants}).", given.name())),
                );
                continue;
            };
            if given.is_nullable() && !field.is_nullable() {
                let message = format!("column \"{}\" of \"{}\" is NOT NULL, the query may give null", field.name(), request.name);
                errors.push(
                    PlanError::new("plan::type_mismatch", message, span)
                        .help(format!("Say what stands for null: coalesce({}, …), or declare the column without NOT NULL.", given.name())),
                );
                continue;
            }
            exprs.push(NamedExpr { name: field.name().clone(), expr });
            // What the table's column is beside the record, such as its timestamp, goes along.
            fields.push(Arc::clone(field));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if have.fields() != &arrow::datatypes::Fields::from(fields.clone()) {
            rel.project(exprs, fields);
        }
        Ok(())
    }

    /// Where a column of the result was written, if the query says each column.
    fn item_span(&self, query: &Query, place: usize) -> Option<Span> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let wild = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _)));
        if wild { None } else { self.lines.span(select.projection.get(place)?.span()) }
    }
}

/// The columns that identify a row of the sink: those declared, else those known of the query. A sink that keeps one row for each key
/// needs one that holds; `needed` is how it writes each change instead.
fn sink_key(rel: &Rel, request: &SinkRequest<'_>, needed: Option<&str>) -> std::result::Result<Option<Vec<usize>>, Box<PlanError>> {
    let known = &rel.props.unique_keys;
    let names = |key: &[usize]| key.iter().map(|place| rel.schema().field(*place).name().as_str()).collect::<Vec<_>>().join(", ");
    let key = request.key.clone().or_else(|| known.first().cloned());
    let Some(each_change) = needed else { return Ok(key) };
    let Some(key) = key else {
        let message = format!("sink \"{}\" keeps one row for each key, and the rows of this query have none", request.name);
        let help = format!("Group by what identifies a row, or write each change: {each_change}.");
        return Err(Box::new(PlanError::new("plan::sink_key", message, request.span).help(help)));
    };
    // Rows that are unique by some columns are unique by more.
    if known.iter().any(|unique| unique.iter().all(|place| key.contains(place))) {
        return Ok(Some(key));
    }
    let message = format!("sink \"{}\" keeps one row for each {}, and this query may have several", request.name, names(&key));
    let help = match known.first() {
        Some(unique) => {
            format!("Its rows differ by {}: make that the PRIMARY KEY, or write each change: {each_change}.", names(unique))
        }
        None => format!("Group by {}, or write each change: {each_change}.", names(&key)),
    };
    Err(Box::new(PlanError::new("plan::sink_key", message, request.span).help(help)))
}

/// Gives all text one type: some functions give views or long text.
fn one_text_type(rel: &mut Rel) {
    let plain = |it: &DataType| match it {
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        _ => None,
    };
    let schema = Arc::clone(rel.schema());
    if !schema.fields().iter().any(|field| plain(field.data_type()).is_some()) {
        return;
    }
    let mut exprs = Vec::new();
    let mut fields: Vec<FieldRef> = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        let expr: Physical = column(field.name(), place);
        let (expr, data_type) = match plain(field.data_type()) {
            Some(data_type) => (Arc::new(CastExpr::new(expr, data_type.clone(), None)) as Physical, data_type),
            None => (expr, field.data_type().clone()),
        };
        exprs.push(NamedExpr { name: field.name().clone(), expr });
        fields.push(Arc::new(field.as_ref().clone().with_data_type(data_type)));
    }
    rel.project(exprs, fields);
}

/// Whether a value may become another type without being asked: nothing of it is lost, or its loss is an error of the row.
fn implicit(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary, LargeUtf8, List, Null, Struct,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    let rank = |it: &DataType| match it {
        Int8 => Some(1),
        UInt8 | Int16 => Some(2),
        UInt16 | Int32 => Some(3),
        // Counts are unsigned 64-bit numbers that fit a signed one.
        UInt32 | UInt64 | Int64 => Some(4),
        _ => None,
    };
    match (from, to) {
        (Null, _) => true,
        _ if from == to => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Float32, Float64) => true,
        (Decimal128(_, _), Decimal128(_, _) | Float32 | Float64) => true,
        (Date32, Timestamp(_, _)) | (Timestamp(_, _), Timestamp(_, _)) => true,
        (List(a), List(b)) => implicit(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && implicit(a.data_type(), b.data_type()))
        }
        (from, Float32 | Float64 | Decimal128(_, _)) => rank(from).is_some(),
        (from, to) => match (rank(from), rank(to)) {
            (Some(from), Some(to_rank)) => from <= to_rank && !to.is_unsigned_integer(),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_the_value_is_implicit() {
        use DataType::{Float64, Int32, Int64, UInt64, Utf8};
        for (from, to) in [(Int32, Int64), (UInt64, Int64), (Int64, Float64), (Int64, DataType::Decimal128(20, 0)), (DataType::Null, Utf8)]
        {
            assert!(implicit(&from, &to), "{from} to {to}");
        }
        for (from, to) in
            [(Int64, Int32), (Float64, Int64), (Utf8, Int64), (Int64, Utf8), (Int64, UInt64), (Float64, DataType::Decimal128(9, 2))]
        {
            assert!(!implicit(&from, &to), "{from} to {to}");
        }
    }
}
