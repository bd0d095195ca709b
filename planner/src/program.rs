//! A SQL text as a program: its statements in order, what they put out at once, and the plan that runs.

use datafusion_expr::LogicalPlan;

use crate::catalog::{Catalog, Relation, SinkTable};
use crate::connector::ConnectorCatalog;
use crate::explain;
use crate::functions::Functions;
use crate::logical::{self, QueryScope, type_name};
use crate::lower::{Lowering, SinkRequest};
use crate::macros::Macros;
use crate::optimize::{optimize, order_joins};
use crate::parse::{LineIndex, Parsing, parse_all};
use crate::plan::{PhysicalOp, PhysicalPlan};
use crate::settings::Settings;
use crate::statement::{
    CreateSink, CreateView, Describe, Explain, ExplainFormat, ExplainLevel, Insert, Name, Observe, Query, Show, ShowWhat, Statement,
};
use crate::{PlanError, Span};

/// What planning may ask about the world.
pub struct PlanContext<'a> {
    /// The connectors at hand.
    pub connectors: &'a dyn ConnectorCatalog,
    /// Values of `${NAME}` in options.
    pub variables: &'a dyn Fn(&str) -> Option<String>,
    /// Settings before the first SET.
    pub settings: Settings,
    /// How a bare SELECT is written, if the command line says so. It goes before the setting.
    pub stdout_format: Option<String>,
}

/// A planned text.
#[derive(Debug)]
pub struct Program {
    /// What runs; `None` when no statement writes anything.
    pub plan: Option<PhysicalPlan>,
    /// What EXPLAIN, SHOW and DESCRIBE put out, in the order of the statements.
    pub outputs: Vec<Output>,
    /// What EXPLAIN looks at, in the order of the statements.
    pub observations: Vec<Observation>,
    /// The settings after the last SET.
    pub settings: Settings,
    /// What is allowed, and worth knowing.
    pub warnings: Vec<PlanError>,
    /// A number that is equal for equal plans, and 0 without a plan.
    pub fingerprint: u64,
}

/// A query that EXPLAIN runs to look at it.
#[derive(Debug)]
pub struct Observation {
    /// What is looked at.
    pub observe: Observe,
    /// What runs. Its sinks are to be given nothing.
    pub plan: PhysicalPlan,
}

/// What a statement puts out at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Lines of text.
    Text(String),
    /// Rows under headings.
    Table {
        /// The headings.
        columns: Vec<String>,
        /// The rows, each as wide as the headings.
        rows: Vec<Vec<String>>,
    },
}

/// Plans a text: every statement in order, all sources and sinks in one plan.
///
/// # Errors
/// All mistakes found, in the order of the text.
pub fn plan_text(text: &str, context: &PlanContext<'_>) -> Result<Program, Vec<PlanError>> {
    let Parsing { statements, mut errors, words } = parse_all(text, context.variables);
    let lines = LineIndex::new(text);
    let mut planner = Planner {
        catalog: Catalog::new(context.connectors, &lines),
        lines: &lines,
        lowering: Lowering::new(&lines),
        settings: context.settings.clone(),
        context,
        outputs: vec![],
        observations: vec![],
        warnings: vec![],
        broken: words,
        macros: Macros::new(&lines),
    };
    for statement in &statements {
        let expanded = planner.macros.expand(statement);
        if let Err(mut wrong) = expanded.and_then(|statement| planner.statement(&statement)) {
            // What hangs on a broken relation is not reported missing.
            wrong.retain(|error| !planner.hangs_on_broken(error));
            errors.append(&mut wrong);
            planner.broken.extend(declared(statement));
        }
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span.map_or(usize::MAX, |span| span.start));
        errors.dedup();
        return Err(errors);
    }
    let Planner { mut lowering, outputs, observations, settings, mut warnings, .. } = planner;
    warnings.extend(lowering.take_warnings());
    let plan = (!lowering.is_empty()).then(|| lowering.finish());
    if plan.is_none() && outputs.is_empty() && observations.is_empty() && !statements.is_empty() {
        let hint =
            PlanError::new("plan::nothing_to_run", "nothing is written", None).help("Add a SELECT, a CREATE SINK … AS or an INSERT INTO.");
        warnings.push(hint);
    }
    let fingerprint = plan.as_ref().map_or(0, explain::fingerprint);
    Ok(Program { plan, outputs, observations, settings, warnings, fingerprint })
}

/// The relation a statement would have made.
fn declared(statement: &Statement) -> Option<String> {
    match statement {
        Statement::CreateSource(it) => Some(it.name.value.clone()),
        Statement::CreateSink(it) => Some(it.name.value.clone()),
        Statement::CreateView(it) => Some(it.name.value.clone()),
        _ => None,
    }
}

struct Planner<'a> {
    catalog: Catalog<'a>,
    lines: &'a LineIndex<'a>,
    lowering: Lowering<'a>,
    settings: Settings,
    context: &'a PlanContext<'a>,
    outputs: Vec<Output>,
    observations: Vec<Observation>,
    warnings: Vec<PlanError>,
    /// Relations whose declaration is wrong.
    broken: Vec<String>,
    macros: Macros<'a>,
}

impl<'a> Planner<'a> {
    fn hangs_on_broken(&self, error: &PlanError) -> bool {
        matches!(error.code, "plan::unknown_table" | "plan::unknown_function")
            && error.span.is_some_and(|span| {
                let text = self.lines.text().get(span.start..span.end).unwrap_or_default().trim_matches(['"', '`']);
                self.broken.iter().any(|name| name.eq_ignore_ascii_case(text))
            })
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), Vec<PlanError>> {
        match statement {
            Statement::CreateSource(create) => {
                self.catalog.create_source(create)?;
                if !create.table {
                    self.catalog.source(&create.name.value)?;
                }
                Ok(())
            }
            Statement::CreateView(create) => {
                let plan = self.view(create)?;
                self.catalog.create_view(&create.name, create.if_not_exists, create.span, plan).map_err(|error| vec![error])
            }
            Statement::CreateFunction(create) => self.macros.declare(create),
            Statement::CreateSink(_) | Statement::Insert(_) | Statement::Query(_) => {
                let mut lowering = std::mem::replace(&mut self.lowering, Lowering::new(self.lines));
                let done = self.run(statement, &mut lowering);
                self.lowering = lowering;
                if let (Some(sink), Statement::CreateSink(create)) = (done?, statement) {
                    self.catalog.create_sink(create, sink).map_err(|error| vec![error])?;
                }
                Ok(())
            }
            Statement::Set(set) => {
                let it = &set.setting;
                self.settings.set(&it.key, &it.value, Some(it.key_span), Some(it.value_span)).map_err(|error| vec![error])
            }
            Statement::Reset(reset) => {
                let key = reset.key.as_ref().map(|(key, span)| (key.as_str(), Some(*span)));
                self.settings.reset(key).map_err(|error| vec![error])
            }
            Statement::Show(show) => self.show(show),
            Statement::Describe(describe) => self.describe(describe),
            Statement::Explain(explain) => self.explain(explain),
        }
    }

    /// Plans a query, and the files it names.
    fn query(&mut self, query: &Query) -> Result<LogicalPlan, Vec<PlanError>> {
        let mut errors = Vec::new();
        for (path, span) in logical::quoted_paths(&query.body) {
            if let Err(error) = self.catalog.file(&path, self.lines.span(span)) {
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        logical::plan_query(&self.catalog, query)
    }

    fn scope(&self, query: &Query) -> Result<QueryScope, Vec<PlanError>> {
        Ok(QueryScope {
            emit: query.emit.map(|(emit, _)| emit).or_else(|| self.settings.emit()),
            emit_span: query.emit.map(|(_, span)| span),
            allow_unbounded_state: query.allow_unbounded_state || self.settings.allow_unbounded_state(),
            state: self.settings.state(&query.options)?,
            span: query.span,
            calls: logical::calls(self.lines, &query.body),
            joins: logical::joins(self.lines, &query.body),
            recursions: logical::recursions(self.lines, &query.body),
        })
    }

    fn view(&mut self, create: &CreateView) -> Result<LogicalPlan, Vec<PlanError>> {
        let plan = self.query(&create.query)?;
        let scope = self.scope(&create.query)?;
        logical::view_body(&self.catalog, &create.name, &create.columns, plan, scope)
    }

    /// Plans a statement that writes, into a plan. The sink it declares, if it does, is not entered yet.
    fn run(&mut self, statement: &Statement, lowering: &mut Lowering<'a>) -> Result<Option<SinkTable>, Vec<PlanError>> {
        match statement {
            Statement::Query(query) => {
                let plan = self.query(query)?;
                self.print(query, plan, lowering).map(|()| None)
            }
            Statement::CreateSink(create) => self.create_sink(create, lowering).map(Some),
            Statement::Insert(insert) => self.insert(insert, lowering).map(|()| None),
            _ => Ok(None),
        }
    }

    fn lower(&self, query: &Query, plan: LogicalPlan, lowering: &mut Lowering<'a>, request: SinkRequest<'_>) -> Result<(), Vec<PlanError>> {
        let scope = self.scope(query)?;
        let plan = self.optimized(query, plan, &scope)?;
        lowering.settings(&self.settings);
        lowering.sink(self.context.connectors, &plan, &scope, request)
    }

    fn optimized(&self, query: &Query, plan: LogicalPlan, scope: &QueryScope) -> Result<LogicalPlan, Vec<PlanError>> {
        optimize(plan).and_then(|plan| order_joins(plan, scope)).map_err(|error| logical::optimizer_errors(&self.catalog, query, error))
    }

    /// A bare SELECT prints.
    fn print(&self, query: &Query, plan: LogicalPlan, lowering: &mut Lowering<'a>) -> Result<(), Vec<PlanError>> {
        let format = self.context.stdout_format.as_deref().or_else(|| self.settings.format());
        let format = match format {
            Some(format) => format.to_string(),
            None if self.is_bounded(&plan) && !self.settings.progress() => "table".into(),
            None => "changelog".into(),
        };
        let mut settings = vec![("format", format.as_str())];
        settings.extend(self.settings.progress().then_some(("progress", "true")));
        let (connector, options) = self.catalog.built_in_sink("stdout", &settings)?;
        let prints = lowering.count_sinks("stdout");
        let name = if prints == 0 { "stdout".to_string() } else { format!("stdout {}", prints + 1) };
        let request =
            SinkRequest { name, connector, options, columns: None, key: None, targets: None, span: query.span, query: &query.body };
        self.lower(query, plan, lowering, request)
    }

    fn is_bounded(&self, plan: &LogicalPlan) -> bool {
        logical::sources(plan).iter().all(|table| table.bounded)
    }

    fn create_sink(&mut self, create: &CreateSink, lowering: &mut Lowering<'a>) -> Result<SinkTable, Vec<PlanError>> {
        let sink = self.catalog.sink_of(create);
        let planned = create.query.as_ref().map(|query| (query, self.query(query)));
        // Mistakes of the options and of the query are told together.
        let sink = match (sink, &planned) {
            (Ok(sink), _) => sink,
            (Err(mut errors), Some((_, Err(more)))) => {
                errors.extend(more.iter().cloned());
                return Err(errors);
            }
            (Err(errors), _) => return Err(errors),
        };
        if let Some((query, planned)) = planned {
            let request = SinkRequest {
                name: sink.name.clone(),
                connector: sink.connector.clone(),
                options: sink.options.clone(),
                columns: sink.columns.clone(),
                key: sink.primary_key.clone(),
                targets: None,
                span: create.name.span,
                query: &query.body,
            };
            self.lower(query, planned?, lowering, request)?;
        }
        Ok(sink)
    }

    fn insert(&mut self, insert: &Insert, lowering: &mut Lowering<'a>) -> Result<(), Vec<PlanError>> {
        let target = self.catalog.target(&insert.target);
        let planned = self.query(&insert.query);
        let (target, plan) = match (target, planned) {
            (Ok(target), Ok(plan)) => (target, plan),
            (target, planned) => {
                let mut errors = target.err().unwrap_or_default();
                errors.extend(planned.err().unwrap_or_default());
                return Err(errors);
            }
        };
        let mut targets = None;
        if !insert.columns.is_empty() {
            let Some(columns) = &target.columns else {
                let span = insert.columns.iter().map(|column| column.span).reduce(Span::to).unwrap_or(insert.span);
                let message = format!("\"{}\" declares no columns to name", target.name);
                return Err(vec![PlanError::new("plan::column_count", message, span).help("Leave the column list out.")]);
            };
            targets = Some(places(&insert.columns, columns, &target.name)?);
        }
        let request = SinkRequest {
            name: target.name.clone(),
            connector: target.connector.clone(),
            options: target.options.clone(),
            columns: target.columns.clone(),
            key: target.primary_key.clone(),
            targets,
            span: insert.target.span,
            query: &insert.query.body,
        };
        self.lower(&insert.query, plan, lowering, request)
    }

    /// Plans what EXPLAIN will run to look at.
    fn observe(&mut self, observe: Observe, statement: &Statement, span: Span) -> Result<(), Vec<PlanError>> {
        let mut lowering = Lowering::new(self.lines);
        // Times are looked at also where nothing waits for them.
        lowering.keeps_times = observe == Observe::Watermark;
        if let Statement::CreateView(create) = statement {
            let plan = self.view(create)?;
            self.print(&create.query, plan, &mut lowering)?;
        } else {
            self.run(statement, &mut lowering)?;
        }
        let plan = lowering.finish();
        if observe == Observe::Watermark && plan.sources().iter().all(|source| source.event_time.is_none()) {
            let error = PlanError::new("plan::no_event_time", "no source of this query has an event time", span);
            return Err(vec![error.help("Add WATERMARK FOR a timestamp column to the source.")]);
        }
        self.observations.push(Observation { observe, plan });
        Ok(())
    }

    fn explain(&mut self, explained: &Explain) -> Result<(), Vec<PlanError>> {
        if let Some(observe) = explained.observe {
            return self.observe(observe, &explained.statement, explained.span);
        }
        let logical_text = |planner: &Self, plan: LogicalPlan, query: &Query| -> Result<String, Vec<PlanError>> {
            let plan = match explained.level {
                ExplainLevel::Optimized => planner.optimized(query, plan, &planner.scope(query)?)?,
                ExplainLevel::Logical | ExplainLevel::Physical => plan,
            };
            Ok(plan.display_indent().to_string())
        };
        let output = match (explained.level, explained.statement.as_ref()) {
            (ExplainLevel::Physical, Statement::CreateView(create)) => {
                let plan = self.view(create)?;
                let mut lowering = Lowering::new(self.lines);
                self.print(&create.query, plan, &mut lowering)?;
                self.warnings.extend(lowering.take_warnings());
                physical_text(&lowering.finish(), explained.format)
            }
            (ExplainLevel::Physical, statement) => {
                let mut lowering = Lowering::new(self.lines);
                self.run(statement, &mut lowering)?;
                self.warnings.extend(lowering.take_warnings());
                physical_text(&lowering.finish(), explained.format)
            }
            (_, statement) => {
                let query = match statement {
                    Statement::Query(query) => Some(query),
                    Statement::Insert(insert) => Some(&insert.query),
                    Statement::CreateView(create) => Some(&create.query),
                    Statement::CreateSink(create) => create.query.as_ref(),
                    _ => None,
                };
                let Some(query) = query else {
                    let error = PlanError::new("plan::nothing_to_explain", "this statement has no query", explained.span);
                    return Err(vec![error.help("Explain a SELECT, an INSERT, a CREATE VIEW or a CREATE SINK … AS.")]);
                };
                let plan = self.query(query)?;
                let text = logical_text(self, plan, query)?;
                match explained.format {
                    ExplainFormat::Text => text,
                    ExplainFormat::Json => {
                        format!("{:#}", serde_json::json!({ "plan": text.lines().collect::<Vec<_>>() }))
                    }
                }
            }
        };
        self.outputs.push(Output::Text(output));
        Ok(())
    }

    fn show(&mut self, show: &Show) -> Result<(), Vec<PlanError>> {
        let kind = |relation: &Relation| match relation {
            Relation::Table(table) if table.create.table => "table",
            Relation::Table(_) => "source",
            Relation::Sink(_) => "sink",
            Relation::View(_) => "view",
        };
        let connector = |relation: &Relation| match relation {
            Relation::Table(table) => table.connector.to_string(),
            Relation::Sink(sink) => sink.connector.clone(),
            Relation::View(_) => String::new(),
        };
        let relations = |wanted: &dyn Fn(&Relation) -> bool| {
            let rows = self.catalog.relations().filter(|(_, relation)| wanted(relation));
            let rows = rows.map(|(name, relation)| vec![name.to_string(), kind(relation).to_string(), connector(relation)]).collect();
            Output::Table { columns: ["name", "kind", "connector"].map(String::from).to_vec(), rows }
        };
        let output = match &show.what {
            ShowWhat::Tables => relations(&|_| true),
            ShowWhat::Sources => relations(&|it| matches!(it, Relation::Table(table) if table.can_read)),
            ShowWhat::Sinks => relations(&|it| matches!(it, Relation::Sink(_)) || matches!(it, Relation::Table(table) if table.can_write)),
            ShowWhat::Views => relations(&|it| matches!(it, Relation::View(_))),
            ShowWhat::Functions => {
                let functions = Functions::get();
                let mut names: Vec<(&str, &str)> = functions
                    .scalar
                    .keys()
                    .map(|name| (name.as_str(), "scalar"))
                    .chain(functions.higher_order.keys().map(|name| (name.as_str(), "scalar")))
                    .chain(functions.aggregate.keys().map(|name| (name.as_str(), "aggregate")))
                    .collect();
                names.sort_unstable();
                let rows = names.into_iter().map(|(name, kind)| vec![name.to_string(), kind.to_string()]).collect();
                Output::Table { columns: ["name", "kind"].map(String::from).to_vec(), rows }
            }
            ShowWhat::Settings => {
                let rows = Settings::specs().iter().map(|spec| {
                    let value = self.settings.show(spec.name, None).unwrap_or_default();
                    vec![spec.name.to_string(), value.to_string(), spec.help.to_string()]
                });
                Output::Table { columns: ["name", "value", "help"].map(String::from).to_vec(), rows: rows.collect() }
            }
            ShowWhat::Create(name) => {
                let Some((key, _)) = self.catalog.find(&name.value) else {
                    return Err(vec![self.catalog.unknown(&name.value, name.span)]);
                };
                let span = self.catalog.span_of(key).unwrap_or_default();
                Output::Text(self.lines.text().get(span.start..span.end).unwrap_or_default().to_string())
            }
            ShowWhat::Setting(key, span) => {
                let value = self.settings.show(key, Some(*span)).map_err(|error| vec![error])?;
                Output::Table { columns: vec![key.to_lowercase()], rows: vec![vec![value.to_string()]] }
            }
        };
        self.outputs.push(output);
        Ok(())
    }

    fn describe(&mut self, describe: &Describe) -> Result<(), Vec<PlanError>> {
        let name = &describe.name.value;
        let mut rows = Vec::new();
        let mut row = |field: &arrow::datatypes::Field, extra: String| {
            let null = if field.is_nullable() { "yes" } else { "no" };
            rows.push(vec![field.name().clone(), type_name(field.data_type()), null.to_string(), extra]);
        };
        match self.catalog.find(name) {
            None => return Err(vec![self.catalog.unknown(name, describe.name.span)]),
            Some((_, Relation::View(view))) => view.plan.schema().fields().iter().for_each(|field| row(field, String::new())),
            Some((_, Relation::Sink(sink))) => {
                sink.columns.iter().flat_map(|columns| columns.fields()).for_each(|field| row(field, String::new()));
            }
            Some((_, Relation::Table(table))) if table.can_read => {
                if let Some(source) = self.catalog.source(name)? {
                    for (place, column) in source.columns.iter().enumerate() {
                        let mut extra = Vec::new();
                        match &column.value {
                            crate::catalog::ColumnValue::Declared(at) => {
                                if source.declared.field(*at).metadata().contains_key(crate::connector::METADATA_KEY) {
                                    extra.push("metadata".to_string());
                                }
                            }
                            crate::catalog::ColumnValue::Metadata(_) => extra.push("metadata".to_string()),
                            crate::catalog::ColumnValue::Computed(_) => extra.push("computed".to_string()),
                        }
                        if let Some((_, delay)) = source.event_time.filter(|(at, _)| *at == place) {
                            extra.push(match (&source.carried, delay) {
                                (Some(_), _) => "event time, watermark carried by rows".to_string(),
                                (None, ..0) => "event time, strictly ascending".to_string(),
                                (None, delay) => format!("event time, watermark {} behind", crate::duration::format_us(delay)),
                            });
                        }
                        row(&column.field, extra.join(", "));
                    }
                }
            }
            Some((_, Relation::Table(_))) => {
                let target = self.catalog.target(&describe.name)?;
                target.columns.iter().flat_map(|columns| columns.fields()).for_each(|field| row(field, String::new()));
            }
        }
        self.outputs.push(Output::Table { columns: ["column", "type", "null", "about"].map(String::from).to_vec(), rows });
        Ok(())
    }
}

fn physical_text(plan: &PhysicalPlan, format: ExplainFormat) -> String {
    assert!(
        plan.nodes().iter().any(|node| matches!(node.op, PhysicalOp::Sink { .. })) || plan.nodes().is_empty(),
        "explained plans end in sinks"
    );
    match format {
        ExplainFormat::Text => explain::to_text(&explain::explain(plan)),
        ExplainFormat::Json => explain::to_json(plan),
    }
}

/// Places of the columns an INSERT names.
fn places(names: &[Name], columns: &arrow::datatypes::Schema, target: &str) -> Result<Vec<usize>, Vec<PlanError>> {
    let mut errors = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for name in names {
        match crate::catalog::find_name(columns.fields().iter().map(|field| field.name().as_str()), name) {
            Some(place) if places.contains(&place) => {
                let message = format!("column \"{}\" is named twice", name.value);
                errors.push(PlanError::new("plan::duplicate_column", message, name.span).help("Name each column once."));
            }
            Some(place) => places.push(place),
            None => {
                let message = format!("column \"{}\" does not exist", name.value);
                let error = PlanError::new("plan::unknown_column", message, name.span).label(format!("not found in {target}"));
                let known: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
                errors.push(match crate::error::nearest(&name.value, known.iter().copied()) {
                    Some(near) => error.help(format!("Did you mean \"{near}\"?")),
                    None => error.help(format!("Columns are {}.", known.join(", "))),
                });
            }
        }
    }
    if errors.is_empty() { Ok(places) } else { Err(errors) }
}
