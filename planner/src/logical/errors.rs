//! DataFusion's errors in our words, at their place.

use datafusion_common::{Column, DataFusionError, Diagnostic, SchemaError};
use datafusion_sql::sqlparser::tokenizer;

use crate::catalog::EVENT_TIME;
use crate::error::nearest;
use crate::parse::LineIndex;
use crate::plan::FiringColumn;
use crate::{PlanError, Span};

/// An error of ours on its way through DataFusion, with sqlparser's place.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Located {
    pub(super) error: PlanError,
    pub(super) span: tokenizer::Span,
}

/// An error of ours at a place of DataFusion's, on its way through DataFusion.
pub(crate) fn located(error: PlanError, span: Option<datafusion_common::Span>) -> DataFusionError {
    let location = |it: datafusion_common::Location| tokenizer::Location { line: it.line, column: it.column };
    let span = span.map(|span| tokenizer::Span { start: location(span.start), end: location(span.end) });
    DataFusionError::External(Box::new(Located { error, span: span.unwrap_or_else(tokenizer::Span::empty) }))
}

/// A place of DataFusion's in bytes.
pub(crate) fn place(lines: &LineIndex<'_>, span: datafusion_common::Span) -> Option<Span> {
    let location = |it: datafusion_common::Location| tokenizer::Location { line: it.line, column: it.column };
    lines.span(tokenizer::Span { start: location(span.start), end: location(span.end) })
}

/// All errors in one of DataFusion's. Those without a place get the fallback.
pub(super) fn translate(lines: &LineIndex<'_>, error: DataFusionError, fallback: Span) -> Vec<PlanError> {
    match error {
        DataFusionError::Collection(errors) => errors.into_iter().flat_map(|error| translate(lines, error, fallback)).collect(),
        error => vec![one(lines, error, None, fallback)],
    }
}

fn one(lines: &LineIndex<'_>, error: DataFusionError, diagnostic: Option<Diagnostic>, fallback: Span) -> PlanError {
    let at = |diagnostic: &Option<Diagnostic>| {
        diagnostic.as_ref().and_then(|it| it.span).and_then(|span| place(lines, span)).unwrap_or(fallback)
    };
    match error {
        DataFusionError::Context(_, inner) => one(lines, *inner, diagnostic, fallback),
        DataFusionError::Diagnostic(outer, inner) => one(lines, *inner, diagnostic.or(Some(*outer)), fallback),
        DataFusionError::External(inner) => match inner.downcast::<Located>() {
            Ok(located) => {
                let mut error = located.error;
                error.span = lines.span(located.span).or(Some(fallback));
                error
            }
            Err(other) => PlanError::new("plan::invalid_query", tidy(&other.to_string()), fallback),
        },
        DataFusionError::SchemaError(error, _) => schema(lines, *error, at(&diagnostic)),
        DataFusionError::NotImplemented(message) => {
            PlanError::new("plan::not_yet", tidy(&message), at(&diagnostic)).help("This part of SQL is not supported yet.")
        }
        DataFusionError::Plan(message) => plan(&message, diagnostic.as_ref(), at(&diagnostic)),
        other => plan(&other.strip_backtrace(), diagnostic.as_ref(), at(&diagnostic)),
    }
}

fn schema(lines: &LineIndex<'_>, error: SchemaError, fallback: Span) -> PlanError {
    let span_of = |column: &Column| column.spans().first().and_then(|span| place(lines, span)).unwrap_or(fallback);
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let span = span_of(&field);
            let mut relations: Vec<String> =
                valid_fields.iter().filter_map(|column| column.relation.as_ref().map(ToString::to_string)).collect();
            relations.dedup();
            let unknown_relation = field.relation.as_ref().is_some_and(|it| !relations.is_empty() && !relations.contains(&it.to_string()));
            let place = match &field.relation {
                Some(relation) => format!("not found in {relation}"),
                None if relations.len() == 1 => format!("not found in {}", relations[0]),
                None => "not found".into(),
            };
            if let (true, Some(relation)) = (unknown_relation, &field.relation) {
                let message = format!("\"{relation}\" is no relation of this query");
                let error = PlanError::new("plan::unknown_table", message, span);
                return match nearest(relation.table(), relations.iter().map(String::as_str)) {
                    Some(near) => error.help(format!("Did you mean \"{near}\"?")),
                    None => error.help(format!("Relations in FROM are {}.", relations.join(", "))),
                };
            }
            let error = PlanError::new("plan::unknown_column", format!("column \"{}\" does not exist", field.name), span).label(place);
            if FiringColumn::of(&field.name).is_some() {
                return error.help("It tells of a firing, and is selected where a window is aggregated: SELECT count(*), _is_final FROM t WINDOW TUMBLING(5m) TRIGGER EVERY 30s.");
            }
            if field.name == EVENT_TIME {
                return error.help("It is the column that WATERMARK FOR names, of a source or of a view that passes it on: declare one.");
            }
            if field.name == "_late" {
                return error.help(
                    "It is known where windows are aggregated: count(*) FILTER (WHERE _late) … LATE_DATA_STRATEGY INCLUDE_IN_NEXT_WINDOW.",
                );
            }
            match nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str())) {
                Some(near) => error.help(format!("Did you mean \"{near}\"?")),
                None => {
                    let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                    error.help(format!("Columns are {}.", names.join(", ")))
                }
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column \"{}\" is ambiguous", field.name);
            PlanError::new("plan::ambiguous_column", message, span_of(&field))
                .help("Put the relation's name before it, or rename one of them.")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("column \"{name}\" is there twice");
            PlanError::new("plan::duplicate_column", message, fallback).help("Rename one of them with AS.")
        }
    }
}

fn plan(message: &str, diagnostic: Option<&Diagnostic>, span: Span) -> PlanError {
    if message.contains("must be in GROUP BY") || message.contains("must appear in the GROUP BY") {
        let column = diagnostic.and_then(|it| it.message.strip_prefix('\'')).and_then(|it| it.split('\'').next());
        return match column {
            Some(column) => {
                let column = column.rsplit('.').next().unwrap_or(column);
                PlanError::new("plan::not_grouped", format!("column \"{column}\" is not grouped"), span)
                    .label("differs within a group")
                    .help(format!("Add {column} to GROUP BY, or say which value is meant: any_value({column})."))
            }
            None => PlanError::new("plan::not_grouped", "a column is not grouped", span).help("Add it to GROUP BY, or aggregate it."),
        };
    }
    if is_type_mismatch(message) {
        return type_mismatch(message, span);
    }
    if message.contains("Aggregate functions are not allowed in the WHERE clause") {
        return PlanError::new("plan::misplaced_aggregate", "an aggregate cannot stand in WHERE", span).help("Use HAVING instead.");
    }
    if message.contains("WITHIN GROUP is only supported") {
        let error = PlanError::new("plan::wrong_argument", "this function takes no WITHIN GROUP", span);
        return error.help("Say the order inside: string_agg(s, ',' ORDER BY x).");
    }
    let wrong_constant = message.contains("is not a regular expression") || message.contains("is not a date format");
    let code = if wrong_constant || message.contains("\" has no group ") { "plan::wrong_argument" } else { "plan::invalid_query" };
    PlanError::new(code, tidy(message), span)
}

/// Whether a message of DataFusion's is about types that do not fit.
pub(super) fn is_type_mismatch(message: &str) -> bool {
    [
        "failed to match any signature",
        "coerce",
        "coercion",
        "Cannot infer common",
        "comparison operation",
        "call to",
        "takes ",
        "Invalid arithmetic",
        "to valid types",
    ]
    .iter()
    .any(|part| message.contains(part))
}

fn type_mismatch(message: &str, span: Span) -> PlanError {
    let error = |message: String| PlanError::new("plan::type_mismatch", message, span).help("Convert one side: CAST(x AS …).");
    if let Some(rest) = message.split("Cannot infer common argument type for comparison operation ").nth(1) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [left, _, right, ..] = words.as_slice() {
            return error(format!("cannot compare {} with {}", sql_word(left), sql_word(right)));
        }
    }
    if let Some(rest) = message.split("Cannot coerce arithmetic expression ").nth(1) {
        let rest = rest.split(" to valid types").next().unwrap_or(rest);
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [left, op, right] = words.as_slice() {
            return error(format!("cannot compute {} {op} {}", sql_word(left), sql_word(right)));
        }
    }
    if let Some(rest) = message.split("Function '").nth(1)
        && message.contains("failed to match any signature")
    {
        let name = rest.split('\'').next().unwrap_or_default();
        let received = message.split("but received ").nth(1).and_then(|it| it.split(" (").next()).unwrap_or("that type");
        return error(format!("{name} cannot take {}", sql_word(received)));
    }
    // The innermost reason comes last.
    let reason = message.split("Error during planning: ").last().unwrap_or(message);
    let reason = reason.split(" No function matches").next().unwrap_or(reason);
    let error = PlanError::new("plan::type_mismatch", tidy(reason), span);
    error.help("Convert the argument: CAST(x AS …).")
}

fn sql_word(arrow: &str) -> String {
    match arrow.trim_end_matches([',', '.']) {
        "Utf8" | "LargeUtf8" | "Utf8View" | "String" => "text".into(),
        "Int8" | "Int16" | "Int32" | "Int64" | "UInt8" | "UInt16" | "UInt32" | "UInt64" => "an integer".into(),
        "Float32" | "Float64" => "a float".into(),
        "Boolean" => "a boolean".into(),
        other if other.starts_with("Timestamp") => "a timestamp".into(),
        other if other.starts_with("Decimal") => "a decimal".into(),
        other if other.starts_with("Interval") => "an interval".into(),
        other if other.starts_with("List") => "a list".into(),
        other if other.starts_with("Date") => "a date".into(),
        other => other.to_string(),
    }
}

/// One sentence, lower case, without a full stop.
fn tidy(message: &str) -> String {
    let line = message.lines().next().unwrap_or(message).trim().trim_end_matches('.');
    let line = line.strip_prefix("Error during planning: ").unwrap_or(line);
    let mut chars = line.chars();
    match chars.next() {
        // An upper-case word stays: it is a keyword or a name.
        Some(first) if line.chars().nth(1).is_some_and(char::is_uppercase) => format!("{first}{}", chars.as_str()),
        Some(first) => format!("{}{}", first.to_lowercase(), chars.as_str()),
        None => String::new(),
    }
}
