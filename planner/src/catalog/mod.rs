//! # Catalog
//!
//! The relations a file has declared so far: what they are, and the connectors and options behind them.

mod options;
mod source;
mod statistics;
mod timing;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_expr::LogicalPlan;

pub(crate) use source::{ColumnValue, EVENT_TIME, HEADERS, SourceColumn, SourceTable};

use crate::connector::{ConnectorCatalog, METADATA_KEY, Options, Side};
use crate::error::nearest;
use crate::parse::{LineIndex, arrow_type};
use crate::statement::{Column, ColumnKind, Columns, CreateSink, CreateSource, Name, OptionSetting};
use crate::{PlanError, Span};

/// One relation.
pub(crate) enum Relation {
    /// `CREATE SOURCE` or `CREATE TABLE`: what it is as a source is found out when it is first read.
    Table(TableEntry),
    /// `CREATE SINK`.
    Sink(Arc<SinkTable>),
    /// `CREATE VIEW`.
    View(Arc<View>),
}

/// A declared table, and what it turned out to be.
pub(crate) struct TableEntry {
    pub(crate) create: CreateSource,
    /// Canonical name of its connector.
    pub(crate) connector: &'static str,
    /// Readable and writable, by its connector.
    pub(crate) can_read: bool,
    pub(crate) can_write: bool,
    /// `None` inside when reading it was found wrong, and said so.
    source: OnceCell<Option<Arc<SourceTable>>>,
}

/// A declared sink, or a table as a sink.
pub(crate) struct SinkTable {
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) options: Options,
    /// Declared columns; `None` when the sink takes what it is given.
    pub(crate) columns: Option<SchemaRef>,
    pub(crate) primary_key: Option<Vec<usize>>,
}

/// A view: a query under a name.
pub(crate) struct View {
    pub(crate) plan: LogicalPlan,
}

/// All relations, and the text they were declared in.
pub(crate) struct Catalog<'a> {
    pub(crate) connectors: &'a dyn ConnectorCatalog,
    pub(crate) lines: &'a LineIndex<'a>,
    relations: BTreeMap<String, Relation>,
    /// The statements that made relations, for SHOW CREATE.
    spans: BTreeMap<String, Span>,
    /// Quoted paths read as relations.
    files: BTreeMap<String, Arc<SourceTable>>,
}

impl<'a> Catalog<'a> {
    pub(crate) fn new(connectors: &'a dyn ConnectorCatalog, lines: &'a LineIndex<'a>) -> Self {
        Self { connectors, lines, relations: BTreeMap::new(), spans: BTreeMap::new(), files: BTreeMap::new() }
    }

    /// A relation by name: as written, else the only one whose name differs in case.
    pub(crate) fn find(&self, name: &str) -> Option<(&str, &Relation)> {
        if let Some((key, relation)) = self.relations.get_key_value(name) {
            return Some((key, relation));
        }
        let mut alike = self.relations.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (alike.next(), alike.next()) {
            (Some((key, relation)), None) => Some((key, relation)),
            _ => None,
        }
    }

    /// All relations in the order of their names.
    pub(crate) fn relations(&self) -> impl Iterator<Item = (&str, &Relation)> {
        self.relations.iter().map(|(name, relation)| (name.as_str(), relation))
    }

    /// The statement that made a relation.
    pub(crate) fn span_of(&self, name: &str) -> Option<Span> {
        self.spans.get(name).copied()
    }

    /// The error for a name that is no relation.
    pub(crate) fn unknown(&self, name: &str, span: impl Into<Option<Span>>) -> PlanError {
        let error = PlanError::new("plan::unknown_table", format!("relation \"{name}\" does not exist"), span).label("not found");
        match nearest(name, self.relations.keys().map(String::as_str)) {
            Some(near) => error.help(format!("Did you mean \"{near}\"?")),
            None if self.relations.is_empty() => error.help("Declare it with CREATE SOURCE, or quote a file's path: FROM 'trades.ndjson'."),
            None => error.help(format!("Relations are {}.", self.relations.keys().cloned().collect::<Vec<_>>().join(", "))),
        }
    }

    /// Enters a relation, or keeps the one of that name if the statement says so.
    fn enter(&mut self, name: &Name, if_not_exists: bool, span: Span, relation: impl FnOnce() -> Relation) -> Result<(), PlanError> {
        if let Some((other, _)) = self.find(&name.value) {
            if if_not_exists {
                return Ok(());
            }
            let message = format!("relation \"{other}\" exists already");
            return Err(PlanError::new("plan::duplicate_relation", message, name.span).help("Choose another name, or say IF NOT EXISTS."));
        }
        self.relations.insert(name.value.clone(), relation());
        self.spans.insert(name.value.clone(), span);
        Ok(())
    }

    /// `CREATE SOURCE` and `CREATE TABLE`. Options are checked now, as far as the side is known.
    pub(crate) fn create_source(&mut self, create: &CreateSource) -> Result<(), Vec<PlanError>> {
        let spec =
            options::connector(self.connectors, &create.options, &create.name.value, create.name.span).map_err(|error| vec![error])?;
        let wrong_side = |what: &str, way_out: &str| {
            let value = create.options.iter().find(|setting| setting.key.eq_ignore_ascii_case("connector"));
            let span = value.map_or(create.name.span, |setting| setting.value_span);
            let message = format!("connector \"{}\" cannot be {what}", spec.name);
            vec![PlanError::new("plan::wrong_connector", message, span).help(way_out)]
        };
        if !create.table && !spec.source {
            return Err(wrong_side("read", "Say CREATE SINK, or name a connector that can be read."));
        }
        let side = match (create.table && spec.sink, spec.source) {
            (true, true) => Side::Both,
            (true, false) => Side::Sink,
            (false, _) => Side::Source,
        };
        let own: Vec<_> = create.options.iter().filter(|setting| !is_about_source(&setting.key)).cloned().collect();
        options::resolve(spec, &own, side, &create.name.value, create.name.span)?;
        let (can_read, can_write, connector) = (spec.source, create.table && spec.sink, spec.name);
        self.enter(&create.name, create.if_not_exists, create.span, || {
            Relation::Table(TableEntry { create: create.clone(), connector, can_read, can_write, source: OnceCell::new() })
        })
        .map_err(|error| vec![error])
    }

    /// `CREATE SINK`, without its query.
    pub(crate) fn sink_of(&self, create: &CreateSink) -> Result<SinkTable, Vec<PlanError>> {
        self.sink(&create.name, &create.options, create.columns.as_ref())
    }

    /// Enters a sink.
    pub(crate) fn create_sink(&mut self, create: &CreateSink, sink: SinkTable) -> Result<(), PlanError> {
        self.enter(&create.name, create.if_not_exists, create.span, || Relation::Sink(Arc::new(sink)))
    }

    /// Enters a view.
    pub(crate) fn create_view(&mut self, name: &Name, if_not_exists: bool, span: Span, plan: LogicalPlan) -> Result<(), PlanError> {
        self.enter(name, if_not_exists, span, || Relation::View(Arc::new(View { plan })))
    }

    fn sink(&self, name: &Name, settings: &[OptionSetting], columns: Option<&Columns>) -> Result<SinkTable, Vec<PlanError>> {
        let spec = options::connector(self.connectors, settings, &name.value, name.span).map_err(|error| vec![error])?;
        if !spec.sink {
            let value = settings.iter().find(|setting| setting.key.eq_ignore_ascii_case("connector"));
            let span = value.map_or(name.span, |setting| setting.value_span);
            let message = format!("connector \"{}\" cannot be written", spec.name);
            return Err(vec![PlanError::new("plan::wrong_connector", message, span).help("Name a connector that can be written.")]);
        }
        let options = options::resolve(spec, settings, Side::Sink, &name.value, name.span)?;
        let options = options::complete(self.connectors, settings, options, columns, name.span).map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let mut fields = Vec::new();
        let known = self.connectors.metadata(spec.name);
        // Computed and read-only columns are of the source only.
        let written = columns.iter().flat_map(|columns| &columns.columns).filter_map(|column| match &column.kind {
            ColumnKind::Physical { data_type, not_null } => Some((column, data_type, *not_null)),
            ColumnKind::Metadata { data_type, not_null, is_virtual: false, .. } => Some((column, data_type, *not_null)),
            ColumnKind::Metadata { .. } | ColumnKind::Computed { .. } => None,
        });
        for (column, data_type, not_null) in written {
            let field = Field::new(&column.name.value, arrow_type(data_type), !not_null);
            fields.push(match source::known_metadata(column, &known) {
                Some(found) => field.with_metadata([(METADATA_KEY.to_string(), found.name().clone())].into()),
                None => field,
            });
        }
        let declared = columns.map_or(&[][..], |columns| &columns.columns);
        errors.extend(duplicates(declared));
        let mut primary_key = None;
        if let Some(key) = columns.and_then(|columns| columns.primary_key.as_ref()) {
            let mut places = Vec::new();
            for name in &key.columns {
                match find_name(fields.iter().map(|field| field.name().as_str()), name) {
                    Some(place) => places.push(place),
                    None => errors.push(unknown_declared(name, &fields)),
                }
            }
            primary_key = Some(places);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let columns = (!fields.is_empty()).then(|| Arc::new(Schema::new(fields)) as SchemaRef);
        Ok(SinkTable { name: name.value.clone(), connector: spec.name.to_string(), options, columns, primary_key })
    }

    /// A relation as the target of an INSERT.
    pub(crate) fn target(&self, name: &Name) -> Result<Arc<SinkTable>, Vec<PlanError>> {
        match self.find(&name.value) {
            None => Err(vec![self.unknown(&name.value, name.span)]),
            Some((_, Relation::Sink(sink))) => Ok(Arc::clone(sink)),
            Some((_, Relation::Table(table))) if table.can_write => {
                // Sizes are of what is read.
                let settings: Vec<_> =
                    table.create.options.iter().filter(|setting| !statistics::is_option(&setting.key)).cloned().collect();
                self.sink(&table.create.name, &settings, table.create.columns.as_ref()).map(Arc::new)
            }
            Some((key, relation)) => {
                let kind = if matches!(relation, Relation::View(_)) { "view" } else { "source" };
                let message = format!("\"{key}\" is a {kind} and cannot be written");
                Err(vec![PlanError::new("plan::not_a_sink", message, name.span).help("Declare a sink with CREATE SINK or CREATE TABLE.")])
            }
        }
    }

    /// A relation as a source: resolved when first asked for. Mistakes are told the first time only.
    pub(crate) fn source(&self, name: &str) -> Result<Option<Arc<SourceTable>>, Vec<PlanError>> {
        if let Some(file) = self.files.get(name) {
            return Ok(Some(Arc::clone(file)));
        }
        let Some((_, Relation::Table(table))) = self.find(name) else { return Ok(None) };
        if let Some(known) = table.source.get() {
            return Ok(known.clone());
        }
        let resolved = source::resolve(self, &table.create);
        let known = resolved.as_ref().ok().cloned();
        // Set once: the cell was empty a moment ago, and this is the only place that fills it.
        let _ = table.source.set(known);
        resolved.map(Some)
    }

    /// A sink that no statement declares.
    pub(crate) fn built_in_sink(&self, connector: &str, values: &[(&str, &str)]) -> Result<(String, Options), Vec<PlanError>> {
        let Some(spec) = self.connectors.connectors().iter().find(|spec| spec.name == connector) else {
            return Err(vec![PlanError::new("plan::unknown_connector", format!("connector \"{connector}\" does not exist"), None)]);
        };
        let setting = |(key, value): &(&str, &str)| OptionSetting {
            key: (*key).to_string(),
            value: (*value).to_string(),
            key_span: Span::default(),
            value_span: Span::default(),
        };
        let settings: Vec<OptionSetting> = values.iter().map(setting).collect();
        let options = options::resolve(spec, &settings, Side::Sink, connector, Span::default());
        // The values stand nowhere in the text.
        let options = options.map_err(|errors| errors.into_iter().map(|error| PlanError { span: None, ..error }).collect::<Vec<_>>())?;
        Ok((spec.name.to_string(), options))
    }

    /// A quoted path read as a relation.
    pub(crate) fn file(&mut self, path: &str, span: Option<Span>) -> Result<(), PlanError> {
        if self.files.contains_key(path) || self.find(path).is_some() {
            return Ok(());
        }
        let table = source::from_path(self, path, span)?;
        self.files.insert(path.to_string(), Arc::new(table));
        Ok(())
    }

    /// Whether a name is a quoted path that has been read.
    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

/// The place of a name among others: as written, else, without quotes, the only one that differs in case.
pub(crate) fn find_name<'n>(names: impl Iterator<Item = &'n str> + Clone, wanted: &Name) -> Option<usize> {
    if let Some(place) = names.clone().position(|name| name == wanted.value) {
        return Some(place);
    }
    if wanted.quoted {
        return None;
    }
    let mut alike = names.enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(&wanted.value));
    match (alike.next(), alike.next()) {
        (Some((place, _)), None) => Some(place),
        _ => None,
    }
}

/// Whether an option tells of a source, whatever its connector.
fn is_about_source(key: &str) -> bool {
    timing::is_option(key) || statistics::is_option(key)
}

fn unknown_declared(name: &Name, fields: &[Field]) -> PlanError {
    let error = PlanError::new("plan::unknown_column", format!("column \"{}\" does not exist", name.value), name.span);
    match nearest(&name.value, fields.iter().map(|field| field.name().as_str())) {
        Some(near) => error.help(format!("Did you mean \"{near}\"?")),
        None => error.help("Declare the column."),
    }
}

fn duplicates(columns: &[Column]) -> Vec<PlanError> {
    let mut errors = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        if columns[..place].iter().any(|other| other.name.value == column.name.value) {
            let message = format!("column \"{}\" is declared twice", column.name.value);
            errors.push(PlanError::new("plan::duplicate_column", message, column.name.span).help("Give each column a name of its own."));
        }
    }
    errors
}
