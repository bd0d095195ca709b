//! What a declared table is as a source: its columns, its event time, and what the connector says of it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::{Expr, cast};

use super::statistics::{self, Statistics};
use super::{Catalog, duplicates, find_name, options, timing, unknown_declared};
use crate::connector::{METADATA_KEY, Options, Side};
use crate::error::nearest;
use crate::logical::{self, ident_column};
use crate::parse::{arrow_type, map_of};
use crate::plan::{ChangelogKind, ErrorPolicy, MetadataColumn, SourceTiming};
use crate::statement::{Column, ColumnKind, CreateSource, Name};
use crate::{PlanError, Span};

/// A source, ready to be read.
#[derive(Debug)]
pub(crate) struct SourceTable {
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) options: Options,
    /// What a record holds.
    pub(crate) declared: SchemaRef,
    /// What `*` shows, in order.
    pub(crate) columns: Vec<SourceColumn>,
    /// The column of event time and the delay of its watermark, in microseconds.
    pub(crate) event_time: Option<(usize, i64)>,
    /// The watermark that rows carry, over declared and metadata columns, where it is not the event time minus a delay.
    pub(crate) carried: Option<Expr>,
    pub(crate) timing: SourceTiming,
    pub(crate) on_error: ErrorPolicy,
    pub(crate) bounded: bool,
    /// Which changes its rows make.
    pub(crate) changelog: ChangelogKind,
    /// The primary key as positions in `columns`, if one is declared.
    pub(crate) key: Option<Vec<usize>>,
    /// Columns that are there when they are named and `*` does not show: `_event_time` and `_headers`.
    pub(crate) hidden: Vec<SourceColumn>,
    /// Expected sizes.
    pub(crate) statistics: Statistics,
}

/// The event time under a name that is the same for all sources.
pub(crate) const EVENT_TIME: &str = "_event_time";
/// The headers of a record: null where the connector has none.
pub(crate) const HEADERS: &str = "_headers";

/// A column and where its values come from.
#[derive(Clone, Debug)]
pub(crate) struct SourceColumn {
    pub(crate) field: FieldRef,
    pub(crate) value: ColumnValue,
}

/// Where a column's values come from.
#[derive(Clone, Debug)]
pub(crate) enum ColumnValue {
    /// A column of the record.
    Declared(usize),
    /// Where and when the row was read.
    Metadata(MetadataColumn),
    /// An expression over declared and metadata columns, with its types coerced.
    Computed(Expr),
}

impl SourceTable {
    /// The metadata columns that are reachable by name: those no declared column hides. Rows that are taken back have none: the row
    /// that takes back stands elsewhere than the row it means.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = MetadataColumn> {
        let shown = if self.changelog == ChangelogKind::Retract { &[][..] } else { &MetadataColumn::ALL[..] };
        shown.iter().copied().filter(|it| !self.columns.iter().any(|column| column.field.name() == it.name()))
    }

    /// The primary key as positions in `declared`, if all of it is there.
    pub(crate) fn declared_key(&self) -> Option<Vec<usize>> {
        let declared = |place: &usize| match self.columns[*place].value {
            ColumnValue::Declared(place) => Some(place),
            ColumnValue::Metadata(_) | ColumnValue::Computed(_) => None,
        };
        self.key.as_ref()?.iter().map(declared).collect()
    }

    /// All columns: those `*` shows, the hidden ones, then the metadata columns.
    pub(crate) fn all_columns(&self) -> Vec<SourceColumn> {
        let metadata = self.metadata().map(|it| SourceColumn { field: it.field(), value: ColumnValue::Metadata(it) });
        self.columns.iter().chain(&self.hidden).cloned().chain(metadata).collect()
    }

    /// The names of the columns that `*` does not show.
    pub(crate) fn hidden_names(&self) -> impl Iterator<Item = &'static str> {
        let known = [EVENT_TIME, HEADERS].into_iter().filter(|name| self.hidden.iter().any(|column| column.field.name() == name));
        known.chain(self.metadata().map(MetadataColumn::name))
    }

    /// The schema a scan has.
    pub(crate) fn schema(&self, with_metadata: bool) -> SchemaRef {
        let shown = if with_metadata { self.all_columns() } else { self.columns.clone() };
        Arc::new(Schema::new(shown.into_iter().map(|column| column.field).collect::<Vec<_>>()))
    }

    /// What computed columns may read: declared and metadata columns.
    pub(crate) fn base_schema(declared: &Schema) -> Schema {
        let metadata = MetadataColumn::ALL.into_iter().filter(|it| declared.field_with_name(it.name()).is_err()).map(MetadataColumn::field);
        Schema::new(declared.fields().iter().cloned().chain(metadata).collect::<Vec<_>>())
    }
}

/// Times are microseconds, whatever unit the record has.
fn in_microseconds(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())))
        }
        _ => Arc::clone(field),
    }
}

fn declared_column(place: usize, field: &FieldRef) -> SourceColumn {
    SourceColumn { field: in_microseconds(field), value: ColumnValue::Declared(place) }
}

/// The columns that are there when they are named.
fn hidden(declared: &SchemaRef, columns: &[SourceColumn], event_time: Option<(usize, i64)>, changelog: ChangelogKind) -> Vec<SourceColumn> {
    let mut hidden = Vec::new();
    let free = |name: &str| !columns.iter().any(|column| column.field.name() == name);
    if let Some((place, _)) = event_time.filter(|_| free(EVENT_TIME)) {
        let SourceColumn { field, value } = &columns[place];
        hidden.push(SourceColumn { field: Arc::new(field.as_ref().clone().with_name(EVENT_TIME)), value: value.clone() });
    }
    // The record that takes a row back has other headers than the row it means.
    if free(HEADERS) && changelog != ChangelogKind::Retract {
        let none = map_of(DataType::Utf8, DataType::Binary);
        let column = match declared.column_with_name(HEADERS) {
            Some((place, field)) => SourceColumn {
                field: Arc::new(Field::new(HEADERS, field.data_type().clone(), field.is_nullable())),
                value: ColumnValue::Declared(place),
            },
            None => {
                let null = Expr::Literal(ScalarValue::try_new_null(&none).unwrap_or(ScalarValue::Null), None);
                SourceColumn { field: Arc::new(Field::new(HEADERS, none, true)), value: ColumnValue::Computed(null) }
            }
        };
        hidden.push(column);
    }
    hidden
}

pub(super) fn resolve(catalog: &Catalog<'_>, create: &CreateSource) -> Result<Arc<SourceTable>, Vec<PlanError>> {
    let name = &create.name.value;
    let spec = options::connector(catalog.connectors, &create.options, name, create.name.span).map_err(|error| vec![error])?;
    let (timing_options, own): (Vec<_>, Vec<_>) = create.options.iter().cloned().partition(|setting| timing::is_option(&setting.key));
    let (sizes, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|setting| statistics::is_option(&setting.key));
    let timing = timing::resolve(&timing_options, name)?;
    let options = options::resolve(spec, &own, Side::Source, name, create.name.span)?;
    let options = options::complete(catalog.connectors, &create.options, options, create.columns.as_ref(), create.name.span)
        .map_err(|error| vec![error])?;

    let columns = create.columns.as_ref().map_or(&[][..], |columns| &columns.columns);
    let mut errors = duplicates(columns);
    if let Some((policy, span)) = &create.on_error
        && let ErrorPolicy::DeadLetter { path } = policy.of_a_row()
        && let Err(reason) = catalog.connectors.check_dead_letters(path)
    {
        errors.push(PlanError::new("plan::dead_letters", reason, *span).label("dead letters cannot go there"));
    }
    let physical: Vec<Field> = columns
        .iter()
        .filter_map(|column| match &column.kind {
            ColumnKind::Physical { data_type, not_null } => Some(Field::new(&column.name.value, arrow_type(data_type), !not_null)),
            ColumnKind::Metadata { .. } | ColumnKind::Computed { .. } => None,
        })
        .collect();
    let said = (!physical.is_empty()).then(|| Arc::new(Schema::new(physical)) as SchemaRef);
    let facts = catalog.connectors.source_facts(spec.name, &options, said.as_ref()).map_err(|reason| {
        let path = ["path", "file", "dir", "url"].iter().find_map(|key| create.options.iter().find(|it| it.key.eq_ignore_ascii_case(key)));
        let span = path.map_or(create.name.span, |setting| setting.value_span);
        vec![PlanError::new("plan::source", reason, span).label(format!("source \"{name}\""))]
    })?;
    let inferred = said.is_none();
    let primary_key = create.columns.as_ref().and_then(|columns| columns.primary_key.as_ref());
    let changelog = facts.changelog_with(primary_key.is_some());
    let known = catalog.connectors.metadata(spec.name);
    let Some(mut declared) = said.or(facts.schema) else {
        let error = PlanError::new("plan::missing_columns", format!("source \"{name}\" declares no columns"), create.name.span);
        return Err(vec![error.help(format!("Declare its columns: CREATE SOURCE {name} (a BIGINT, …) WITH (…)."))]);
    };

    if let (ChangelogKind::Upsert, Some(key)) = (changelog, primary_key) {
        declared = keyed_by(&declared, &key.columns);
    }
    let mut out: Vec<SourceColumn> = Vec::new();
    if inferred {
        out.extend(declared.fields().iter().enumerate().map(|(place, field)| declared_column(place, field)));
    }
    let declared = with_metadata(declared, columns, &known, &mut errors);
    let retracts = changelog == ChangelogKind::Retract;
    let base = if retracts { declared.as_ref().clone() } else { SourceTable::base_schema(&declared) };
    // The watermark of a row is known when its columns have been computed.
    let known_late = MetadataColumn::Watermark.name();
    let base = Schema::new(
        base.fields()
            .iter()
            .filter(|field| field.name() != known_late || declared.field_with_name(known_late).is_ok())
            .cloned()
            .collect::<Vec<_>>(),
    );
    for column in columns {
        match &column.kind {
            ColumnKind::Physical { .. } => {
                if let Ok(place) = declared.index_of(&column.name.value) {
                    out.push(declared_column(place, &declared.fields()[place]));
                }
            }
            ColumnKind::Metadata { .. } if retracts => {
                let message = format!("\"{}\" says where a row was read, and rows of \"{name}\" are taken back", column.name.value);
                let error = PlanError::new("plan::changelog_metadata", message, column.name.span)
                    .label("the row that takes back stands elsewhere")
                    .help("Leave the column out.");
                errors.push(error);
            }
            ColumnKind::Metadata { data_type, .. } if known_metadata(column, &known).is_some() => {
                if let Ok(place) = declared.index_of(&column.name.value) {
                    let field = declared.field(place).clone().with_data_type(arrow_type(data_type)).with_metadata(Default::default());
                    out.push(SourceColumn { field: Arc::new(field), value: ColumnValue::Declared(place) });
                }
            }
            ColumnKind::Metadata { data_type, not_null, key, .. } => {
                let (key, span) = key.as_ref().map_or((&column.name.value, column.name.span), |(key, span)| (key, *span));
                match metadata_key(key, span, &known) {
                    Ok(metadata) => {
                        let wanted = arrow_type(data_type);
                        let value = if wanted == metadata.data_type() {
                            ColumnValue::Metadata(metadata)
                        } else {
                            ColumnValue::Computed(cast(ident_column(metadata.name()), wanted.clone()))
                        };
                        let field = Arc::new(Field::new(&column.name.value, wanted, !not_null));
                        out.push(SourceColumn { field, value });
                    }
                    Err(error) => errors.push(error),
                }
            }
            ColumnKind::Computed { expr, .. } => match computed(catalog, expr, &base, &out) {
                Ok((expr, _, _)) if retracts && expr.is_volatile() => {
                    let message = format!("\"{}\" differs from row to row, and rows of \"{name}\" are taken back", column.name.value);
                    let error = PlanError::new("plan::volatile", message, column.name.span)
                        .label("the row taken back would not be the one given")
                        .help("Compute it of the row's own columns.");
                    errors.push(error);
                }
                Ok((expr, data_type, nullable)) => {
                    // A computed time is kept in microseconds like any other.
                    let field = Arc::new(Field::new(&column.name.value, data_type.clone(), nullable));
                    let kept = in_microseconds(&field);
                    let expr = if kept.data_type() == &data_type { expr } else { cast(expr, kept.data_type().clone()) };
                    out.push(SourceColumn { field: kept, value: ColumnValue::Computed(expr) });
                }
                Err(mut wrong) => errors.append(&mut wrong),
            },
        }
    }
    let mut key = None;
    if let Some(primary) = primary_key {
        let fields: Vec<Field> = out.iter().map(|column| column.field.as_ref().clone()).collect();
        let mut places = Vec::new();
        for name in &primary.columns {
            match find_name(fields.iter().map(|field| field.name().as_str()), name) {
                Some(place) if changelog == ChangelogKind::Upsert && !matches!(out[place].value, ColumnValue::Declared(_)) => {
                    let message = format!("primary key \"{}\" is not a column of the record", name.value);
                    let error = PlanError::new("plan::upsert_key", message, name.span);
                    errors.push(error.help("Rows replace each other by columns they hold themselves: name those."));
                }
                Some(place) => places.push(place),
                None => errors.push(unknown_declared(name, &fields)),
            }
        }
        key = Some(places);
    } else if changelog == ChangelogKind::Upsert && errors.is_empty() {
        let message = format!("rows of \"{name}\" replace each other, and it has no primary key");
        let error = PlanError::new("plan::missing_key", message, create.name.span);
        errors.push(error.help("Say which rows are the same: add PRIMARY KEY (column, …) NOT ENFORCED to its columns."));
    }
    // A column whose own declaration is wrong is not reported missing as well.
    let statistics = match errors.is_empty() {
        true => statistics::resolve(&sizes, &out, name)?,
        false => Statistics::default(),
    };
    let mut event_time = None;
    let mut carried = None;
    if errors.is_empty() {
        match &create.watermark {
            Some(watermark) => {
                match event_column(&out, &watermark.column, name) {
                    Ok(place) => event_time = Some((place, watermark.delay_us)),
                    Err(error) => errors.push(error),
                }
                if let Some(expr) = &watermark.expr {
                    match carried_watermark(catalog, expr, watermark.strategy_span, &base, &out) {
                        Ok(expr) => carried = Some(expr),
                        Err(mut wrong) => errors.append(&mut wrong),
                    }
                }
            }
            None => {
                event_time = facts.event_time.as_ref().and_then(|(column, disorder)| {
                    let place = out.iter().position(|it| it.field.name() == column)?;
                    matches!(out[place].field.data_type(), DataType::Timestamp(_, _)).then_some((place, *disorder))
                });
            }
        }
    }
    if errors.is_empty() && event_time.is_none() {
        errors.extend(timing::without_watermark(&timing_options, name));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let hidden = hidden(&declared, &out, event_time, changelog);
    Ok(Arc::new(SourceTable {
        hidden,
        name: name.clone(),
        connector: spec.name.to_string(),
        options,
        declared,
        columns: out,
        event_time,
        carried,
        timing,
        on_error: create.on_error.as_ref().map_or(ErrorPolicy::Fail, |(policy, _)| policy.clone()),
        bounded: facts.bounded,
        changelog,
        key,
        statistics,
    }))
}

/// Columns of a key hold no nulls: a record without its key is a bad record.
fn keyed_by(declared: &SchemaRef, key: &[Name]) -> SchemaRef {
    let mut fields: Vec<FieldRef> = declared.fields().iter().cloned().collect();
    for name in key {
        if let Some(place) = find_name(declared.fields().iter().map(|field| field.name().as_str()), name) {
            fields[place] = Arc::new(fields[place].as_ref().clone().with_nullable(false));
        }
    }
    Arc::new(Schema::new(fields))
}

/// What a connector knows of each record that a column asks for: its name, with or without an underscore before it.
pub(super) fn known_metadata<'k>(column: &Column, known: &'k [Field]) -> Option<&'k Field> {
    let ColumnKind::Metadata { key, .. } = &column.kind else { return None };
    let key = key.as_ref().map_or(&column.name.value, |(key, _)| key);
    let is = |name: &str| name.eq_ignore_ascii_case(key) || key.strip_prefix('_').is_some_and(|key| name.eq_ignore_ascii_case(key));
    known.iter().find(|field| is(field.name()))
}

/// The columns of a record, and behind them those of what the connector knows of it.
fn with_metadata(declared: SchemaRef, columns: &[Column], known: &[Field], errors: &mut Vec<PlanError>) -> SchemaRef {
    let mut fields: Vec<FieldRef> = declared.fields().iter().cloned().collect();
    for column in columns {
        let Some(found) = known_metadata(column, known) else { continue };
        if let ColumnKind::Metadata { data_type, .. } = &column.kind
            && !arrow::compute::can_cast_types(found.data_type(), &arrow_type(data_type))
        {
            let (is, wants) = (logical::type_name(found.data_type()), logical::type_name(&arrow_type(data_type)));
            let message = format!("metadata \"{}\" is {is}, not {wants}", found.name());
            errors
                .push(PlanError::new("plan::type_mismatch", message, column.span).help(format!("Declare \"{}\" {is}.", column.name.value)));
        }
        let mark = [(METADATA_KEY.to_string(), found.name().clone())];
        fields.push(Arc::new(found.clone().with_name(&column.name.value).with_metadata(mark.into())));
    }
    // Headers can be asked for without being declared; what nobody asks for is not read.
    if let Some(found) = known.iter().find(|field| field.name() == &HEADERS[1..])
        && !columns.iter().any(|column| column.name.value == HEADERS)
        && !fields.iter().any(|field| field.name() == HEADERS)
    {
        let mark = [(METADATA_KEY.to_string(), found.name().clone())];
        fields.push(Arc::new(found.clone().with_name(HEADERS).with_metadata(mark.into())));
    }
    Arc::new(Schema::new(fields))
}

fn metadata_key(key: &str, span: Span, known: &[Field]) -> Result<MetadataColumn, PlanError> {
    let is = |it: &&MetadataColumn| it.name().eq_ignore_ascii_case(key) || it.name()[1..].eq_ignore_ascii_case(key);
    // The watermark is known when the columns of a row have been computed.
    MetadataColumn::ALL.iter().filter(|it| **it != MetadataColumn::Watermark).find(is).copied().ok_or_else(|| {
        let error = PlanError::new("plan::unknown_metadata", format!("metadata \"{key}\" does not exist"), span);
        let names: Vec<&str> = if known.is_empty() {
            vec!["partition", "offset", "timestamp"]
        } else {
            known.iter().map(|field| field.name().as_str()).collect()
        };
        match nearest(key, names.iter().copied()) {
            Some(near) => error.help(format!("Did you mean \"{near}\"?")),
            None if known.is_empty() => error.help("A source knows partition, offset and timestamp of each row."),
            None => error.help(format!("The connector knows of each record its {}.", names.join(", "))),
        }
    })
}

/// A computed column: its expression over declared and metadata columns, its type, and whether it may be null. Earlier computed
/// columns that it names are put in.
fn computed(
    catalog: &Catalog<'_>,
    expr: &datafusion_sql::sqlparser::ast::Expr,
    base: &Schema,
    earlier: &[SourceColumn],
) -> Result<(Expr, DataType, bool), Vec<PlanError>> {
    let shown: Vec<FieldRef> = earlier
        .iter()
        .filter(|column| !matches!(column.value, ColumnValue::Declared(_)))
        .map(|column| Arc::clone(&column.field))
        .filter(|field| base.field_with_name(field.name()).is_err())
        .collect();
    let visible = Schema::new(base.fields().iter().cloned().chain(shown).collect::<Vec<_>>());
    let planned = logical::plan_column(catalog, expr, &visible)?;
    let resolved = logical::replace_columns(planned, &|name| {
        earlier.iter().find(|column| column.field.name() == name).and_then(|column| match &column.value {
            ColumnValue::Declared(_) => None,
            ColumnValue::Metadata(metadata) => Some(ident_column(metadata.name())),
            ColumnValue::Computed(expr) => Some(expr.clone()),
        })
    });
    let span = catalog.lines.span(datafusion_sql::sqlparser::ast::Spanned::span(expr)).unwrap_or_default();
    let schema = DFSchema::try_from(base.clone()).map_err(|error| logical::errors_at(catalog.lines, error, span))?;
    logical::coerce(catalog, resolved, &schema, span)
}

/// The watermark that rows carry, in microseconds.
fn carried_watermark(
    catalog: &Catalog<'_>,
    expr: &datafusion_sql::sqlparser::ast::Expr,
    span: Span,
    base: &Schema,
    columns: &[SourceColumn],
) -> Result<Expr, Vec<PlanError>> {
    let (expr, data_type, _) = computed(catalog, expr, base, columns)?;
    match &data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => Ok(expr),
        DataType::Timestamp(_, _) => Ok(cast(expr, DataType::Timestamp(TimeUnit::Microsecond, None))),
        other => {
            let message = format!("a watermark is a timestamp, not {}", logical::type_name(other));
            Err(vec![
                PlanError::new("plan::type_mismatch", message, span)
                    .help("Write an expression that gives a timestamp, or null for rows that carry none."),
            ])
        }
    }
}

fn event_column(columns: &[SourceColumn], name: &Name, source: &str) -> Result<usize, PlanError> {
    let Some(place) = find_name(columns.iter().map(|column| column.field.name().as_str()), name) else {
        let error = PlanError::new("plan::unknown_column", format!("column \"{}\" does not exist", name.value), name.span)
            .label(format!("not found in {source}"));
        if MetadataColumn::ALL.iter().any(|it| it.name().eq_ignore_ascii_case(&name.value)) {
            return Err(error.help(format!("Give it a column: at AS {0}, and WATERMARK FOR at.", name.value)));
        }
        return Err(match nearest(&name.value, columns.iter().map(|column| column.field.name().as_str())) {
            Some(near) => error.help(format!("Did you mean \"{near}\"?")),
            None => error.help("Declare the column."),
        });
    };
    match columns[place].field.data_type() {
        DataType::Timestamp(_, _) => Ok(place),
        other => {
            let message = format!("event time \"{}\" is {}, not a timestamp", name.value, logical::type_name(other));
            let help = if other.is_integer() {
                format!("Add a computed column for it, such as ts AS to_timestamp_millis({}), and WATERMARK FOR ts.", name.value)
            } else {
                format!("Declare \"{}\" TIMESTAMP(3), or compute a timestamp from it.", name.value)
            };
            Err(PlanError::new("plan::type_mismatch", message, name.span).help(help))
        }
    }
}

pub(super) fn from_path(catalog: &Catalog<'_>, path: &str, span: Option<Span>) -> Result<SourceTable, PlanError> {
    let wrong = |reason: String| PlanError::new("plan::source", reason, span);
    let (connector, options) = catalog.connectors.path_options(path).map_err(wrong)?;
    let facts = catalog.connectors.source_facts(connector, &options, None).map_err(wrong)?;
    let Some(declared) = facts.schema else {
        return Err(wrong(format!("the columns of \"{path}\" are unknown")).help("Declare them with CREATE SOURCE."));
    };
    let columns: Vec<SourceColumn> = declared.fields().iter().enumerate().map(|(place, field)| declared_column(place, field)).collect();
    let event_time = facts
        .event_time
        .as_ref()
        .and_then(|(name, disorder)| columns.iter().position(|column| column.field.name() == name).map(|place| (place, *disorder)));
    Ok(SourceTable {
        hidden: hidden(&declared, &columns, event_time, facts.changelog),
        name: path.to_string(),
        connector: connector.to_string(),
        options,
        declared,
        columns,
        event_time,
        carried: None,
        timing: SourceTiming::default(),
        on_error: ErrorPolicy::Fail,
        bounded: facts.bounded,
        changelog: facts.changelog,
        key: None,
        statistics: Statistics::default(),
    })
}
