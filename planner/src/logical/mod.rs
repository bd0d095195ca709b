//! # Logical plans
//!
//! From a parsed query to DataFusion's logical plan with our streaming nodes: names resolved, types coerced, nothing optimised yet.

mod as_of;
mod blame;
mod check;
mod errors;
mod errors_of;
mod join_order;
mod joins;
mod late;
mod late_sessions;
mod names;
mod numbers;
mod pivot;
mod recursion;
mod row_in;
mod scan;
mod sets;
mod special_joins;
mod subquery_names;
mod view;
mod windows;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, DataFusionError};
use datafusion_expr::logical_plan::Extension;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion_optimizer::Analyzer;
use datafusion_optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;

pub(crate) use as_of::AsOf;
pub(crate) use blame::calls;
pub(crate) use errors::{located, place};
pub(crate) use errors_of::ErrorsOf;
pub(crate) use join_order::JoinOrder;
pub(crate) use joins::{SUBQUERY, joins};
pub(crate) use late_sessions::LateSessions;
pub(crate) use recursion::{RecursiveScan, recursions};
pub(crate) use scan::SourceScan;
pub(crate) use sets::SetNode;
pub(crate) use view::{QueryScope, ViewBody};
pub(crate) use windows::{AssignWindows, LATE_COLUMNS, WINDOW_COLUMNS};

use crate::catalog::{Catalog, SourceTable};
use crate::error::nearest;
use crate::parse::LineIndex;
use crate::statement::{Name, Query};
use crate::{PlanError, Span};

/// Errors of one query that are looked for beyond the first.
const UNKNOWN_COLUMNS_MAX: usize = 8;

fn parser_options() -> ParserOptions {
    ParserOptions {
        // `0.1` is one tenth: decimals are exact.
        parse_float_as_decimal: true,
        // Letters' case is dealt with in `names`.
        enable_ident_normalization: false,
        support_varchar_with_length: true,
        enable_options_value_normalization: false,
        collect_spans: true,
        map_string_types_to_utf8view: false,
        default_null_ordering: NullOrdering::NullsMax,
    }
}

/// The options DataFusion plans by.
pub(crate) fn config() -> ConfigOptions {
    let mut options = ConfigOptions::default();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.optimizer.skip_failed_rules = false;
    // A subquery as a value is joined like any other relation: it changes as they do.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    options
}

/// Paths that a query reads as relations, with their places: `FROM 'trades.ndjson'`.
pub(crate) fn quoted_paths(query: &ast::Query) -> Vec<(String, datafusion_sql::sqlparser::tokenizer::Span)> {
    struct Finder(Vec<(String, datafusion_sql::sqlparser::tokenizer::Span)>);
    impl Finder {
        fn add(&mut self, ident: &ast::Ident) {
            if ident.quote_style == Some('\'') {
                self.0.push((ident.value.clone(), ident.span));
            }
        }
    }
    impl ast::Visitor for Finder {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ast::ObjectName) -> ControlFlow<()> {
            if let [ast::ObjectNamePart::Identifier(ident)] = relation.0.as_slice() {
                self.add(ident);
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
            if let Some((table, _)) = crate::parse::WindowTable::decode(factor)
                && let ast::Expr::Identifier(ident) = &table.data
            {
                self.add(ident);
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(vec![]);
    let _ = ast::Visit::visit(query, &mut finder);
    finder.0
}

/// Plans a query. As many mistakes as are cheap to find are told.
pub(crate) fn plan_query(catalog: &Catalog<'_>, query: &Query) -> Result<LogicalPlan, Vec<PlanError>> {
    let mut body = query.body.as_ref().clone();
    let unknown = check::check(catalog, &query.body);
    if unknown.iter().any(|error| error.code != "plan::unknown_function") {
        return Err(unknown);
    }
    if !unknown.is_empty() {
        // An unknown function does not hide an unknown column, its own arguments among them.
        put_known(catalog.lines, &mut body, &unknown.iter().filter_map(|error| error.span).collect());
    }
    let prepared = names::prepare(catalog, &mut body);
    let provider = scan::Provider::new(catalog, prepared.with_metadata);
    let plan = |body: &ast::Query| -> Result<LogicalPlan, DataFusionError> {
        let planned =
            SqlToRel::new_with_options(&provider, parser_options()).sql_statement_to_plan(ast::Statement::Query(Box::new(body.clone())))?;
        analyze(planned)
    };
    let first = match plan(&body) {
        Ok(plan) if unknown.is_empty() => return Ok(plan),
        Ok(_) => return Err(unknown),
        Err(error) => error,
    };
    // Further unknown columns are found by putting NULL for those found already.
    let mut found = errors::translate(catalog.lines, first, query.span);
    blame::place(catalog.lines, &body, query.span, &mut found, &|query| plan(query).map(|_| ()));
    let mut seen: BTreeSet<Span> = BTreeSet::new();
    while found.iter().any(|error| error.code == "plan::unknown_column") && found.len() < UNKNOWN_COLUMNS_MAX {
        let fresh: BTreeSet<Span> = found.iter().filter_map(|error| error.span).filter(|span| !seen.contains(span)).collect();
        if fresh.is_empty() {
            break;
        }
        put_null(catalog.lines, &mut body, &fresh);
        seen.extend(fresh);
        let Err(next) = plan(&body) else { break };
        let more = errors::translate(catalog.lines, next, query.span);
        found.extend(
            more.into_iter().filter(|error| error.code == "plan::unknown_column" && error.span.is_some_and(|it| !seen.contains(&it))),
        );
    }
    if !unknown.is_empty() {
        // The rest is about what was put in their place.
        found.retain(|error| error.code == "plan::unknown_column");
        found.extend(unknown);
    }
    found.sort_by_key(|error| error.span);
    found.dedup();
    Err(found)
}

/// Puts a function that takes anything in the place of those whose names stand at some places.
fn put_known(lines: &LineIndex<'_>, body: &mut ast::Query, places: &BTreeSet<Span>) {
    let _ = ast::visit_expressions_mut(body, |expr| {
        if let ast::Expr::Function(call) = expr
            && let Some(span) = lines.span(ast::Spanned::span(&call.name))
            && places.contains(&span)
        {
            let none = match &call.args {
                ast::FunctionArguments::List(list) => list.args.is_empty(),
                _ => true,
            };
            if none {
                *expr = ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Null, span: ast::Spanned::span(expr) });
            } else if let [ast::ObjectNamePart::Identifier(name)] = call.name.0.as_mut_slice() {
                name.value = "coalesce".into();
                (call.over, call.filter) = (None, None);
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

/// What DataFusion says of a planned query that it cannot optimise, each at its place.
pub(crate) fn optimizer_errors(catalog: &Catalog<'_>, query: &Query, error: DataFusionError) -> Vec<PlanError> {
    let mut body = query.body.as_ref().clone();
    let prepared = names::prepare(catalog, &mut body);
    let provider = scan::Provider::new(catalog, prepared.with_metadata);
    let plan = |body: &ast::Query| -> Result<(), DataFusionError> {
        let planned =
            SqlToRel::new_with_options(&provider, parser_options()).sql_statement_to_plan(ast::Statement::Query(Box::new(body.clone())))?;
        crate::optimize::optimize(analyze(planned)?).map(|_| ())
    };
    let mut found = errors::translate(catalog.lines, error, query.span);
    blame::place(catalog.lines, &body, query.span, &mut found, &plan);
    found
}

/// Replaces the columns that stand at some places by NULL.
fn put_null(lines: &LineIndex<'_>, body: &mut ast::Query, places: &BTreeSet<Span>) {
    let _ = ast::visit_expressions_mut(body, |expr| {
        if let ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) = expr
            && let Some(span) = lines.span(ast::Spanned::span(expr))
            && places.contains(&span)
        {
            *expr = ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Null, span: ast::Spanned::span(expr) });
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `grouping()` by the column that tells groupings apart, then type coercion, after which every expression has the types its function takes.
fn analyze(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    Analyzer::with_rules(vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(TypeCoercion::new())]).execute_and_check(
        numbers::soften(plan)?,
        &config(),
        |_, _| {},
    )
}

/// The plan of a view: its query under the names it gives the columns, keeping what it said about emission.
pub(crate) fn view_body(
    catalog: &Catalog<'_>,
    name: &Name,
    columns: &[Name],
    plan: LogicalPlan,
    scope: QueryScope,
) -> Result<LogicalPlan, Vec<PlanError>> {
    let failed = |error| errors::translate(catalog.lines, error, name.span);
    let width = plan.schema().fields().len();
    if !columns.is_empty() && columns.len() != width {
        let span = columns.iter().map(|column| column.span).reduce(Span::to).unwrap_or(name.span);
        let message = format!("view \"{}\" names {} columns, its query has {width}", name.value, columns.len());
        return Err(vec![PlanError::new("plan::column_count", message, span).help("Name every column of the query, or none.")]);
    }
    // A view's columns have no qualifier but the view's own name, so two of one name could not be told apart.
    let names: Vec<String> = match columns {
        [] => plan.schema().fields().iter().map(|field| field.name().clone()).collect(),
        columns => columns.iter().map(|column| column.value.clone()).collect(),
    };
    if let Some((place, twice)) = names.iter().enumerate().find(|(place, it)| names[..*place].contains(it)) {
        let span = columns.get(place).map_or(name.span, |column| column.span);
        let message = format!("view \"{}\" has two columns \"{twice}\"", name.value);
        return Err(vec![PlanError::new("plan::duplicate_column", message, span).help("Rename one of them with AS.")]);
    }
    let plan = if columns.is_empty() {
        plan
    } else {
        let exprs: Vec<Expr> =
            plan.schema().columns().into_iter().zip(&names).map(|(column, name)| Expr::Column(column).alias(name)).collect();
        LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(failed)?
    };
    let body = ViewBody { name: name.value.clone(), input: plan, scope };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(body) }))
}

/// The sources below a plan.
pub(crate) fn sources(plan: &LogicalPlan) -> Vec<Arc<SourceTable>> {
    let mut found: Vec<Arc<SourceTable>> = Vec::new();
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<SourceScan>()
        {
            found.push(Arc::clone(&source.table));
        }
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    found
}

/// Plans an expression over named columns, as in a declaration.
pub(crate) fn plan_column(catalog: &Catalog<'_>, expr: &ast::Expr, schema: &Schema) -> Result<Expr, Vec<PlanError>> {
    let errors = check::check_expr(catalog, expr);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut expr = expr.clone();
    names::prepare_expr(catalog, &mut expr, schema.fields().iter().map(|field| field.name().as_str()));
    let span = catalog.lines.span(ast::Spanned::span(&expr)).unwrap_or_default();
    let failed = |error| errors::translate(catalog.lines, error, span);
    let provider = scan::Provider::new(catalog, true);
    let schema = DFSchema::try_from(schema.clone()).map_err(failed)?;
    let planned =
        SqlToRel::new_with_options(&provider, parser_options()).sql_to_expr(expr, &schema, &mut PlannerContext::new()).map_err(failed)?;
    let mut unknown = Vec::new();
    let mut aggregate = false;
    let _ = planned.apply(|expr| {
        match expr {
            Expr::Column(column) if schema.field_with_unqualified_name(&column.name).is_err() => {
                let at = column.spans().first().and_then(|span| errors::place(catalog.lines, span)).unwrap_or(span);
                let error = PlanError::new("plan::unknown_column", format!("column \"{}\" does not exist", column.name), at);
                unknown.push(match nearest(&column.name, schema.fields().iter().map(|field| field.name().as_str())) {
                    Some(near) => error.help(format!("Did you mean \"{near}\"?")),
                    None => error.help("A computed column reads the columns before it."),
                });
            }
            Expr::AggregateFunction(_) => aggregate = true,
            _ => {}
        }
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    if aggregate {
        let error = PlanError::new("plan::misplaced_aggregate", "an aggregate cannot compute a column", span);
        unknown.push(error.help("A computed column is computed from one row."));
    }
    if unknown.is_empty() { Ok(planned) } else { Err(unknown) }
}

/// Coerces types and simplifies. Also tells the type, and whether it may be null.
pub(crate) fn coerce(catalog: &Catalog<'_>, expr: Expr, schema: &DFSchema, span: Span) -> Result<(Expr, DataType, bool), Vec<PlanError>> {
    let failed = |error: DataFusionError| errors::translate(catalog.lines, error, span);
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).with_config_options(Arc::new(config())).build();
    let simplifier = ExprSimplifier::new(context);
    let softened = expr.transform_up(|expr| numbers::soften_expr(expr, schema)).map_err(failed)?;
    let coerced = simplifier.coerce(softened.data, schema).map_err(failed)?;
    let simple = simplifier.simplify(coerced).map_err(failed)?;
    let (_, field) = simple.to_field(schema).map_err(failed)?;
    Ok((simple, field.data_type().clone(), field.is_nullable()))
}

/// Replaces columns by expressions.
pub(crate) fn replace_columns(expr: Expr, replacement: &dyn Fn(&str) -> Option<Expr>) -> Expr {
    let rewritten = expr.clone().transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match replacement(&column.name) {
                Some(other) => Transformed::yes(other),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    });
    rewritten.map_or(expr, |it| it.data)
}

/// A column by its exact name.
pub(crate) fn ident_column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// DataFusion's error as ours, at a place.
pub(crate) fn errors_at(lines: &LineIndex<'_>, error: DataFusionError, span: Span) -> Vec<PlanError> {
    errors::translate(lines, error, span)
}

/// A type in SQL's words.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP_LTZ".into(),
        DataType::List(field) | DataType::LargeList(field) => format!("ARRAY<{}>", type_name(field.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("MAP<{}, {}>", type_name(fields[0].data_type()), type_name(fields[1].data_type()))
            }
            _ => "MAP".into(),
        },
        DataType::Null => "NULL".into(),
        other => other.to_string(),
    }
}
