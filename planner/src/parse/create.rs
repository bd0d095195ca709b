//! CREATE SOURCE, TABLE, SINK and VIEW.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::columns::{take_columns, take_watermark_strategy};
use super::cursor::{Cursor, Parsed, quote};
use super::{on_error, options, query};
use crate::plan::ErrorPolicy;
use crate::statement::{ColumnKind, Columns, CreateSink, CreateSource, CreateView, OptionSetting, Statement, Watermark};
use crate::{PlanError, Span};

const KINDS: [&str; 5] = ["SOURCE", "TABLE", "SINK", "VIEW", "FUNCTION"];

/// Takes a CREATE statement, to the end of the cursor.
pub(super) fn take_create(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    cursor.expect("CREATE")?;
    if cursor.sees(&["OR", "REPLACE"]) {
        return Err(PlanError::new("parse::unsupported_statement", "OR REPLACE is not supported", cursor.here())
            .label("nothing is there to replace")
            .help("A file is planned from the start each time: take OR REPLACE out, and keep one CREATE of each name."));
    }
    // Everything lives as long as the run, so TEMPORARY says nothing new.
    if !cursor.take(&["TEMPORARY"]) {
        cursor.take(&["TEMP"]);
    }
    if cursor.take(&["SOURCE"]) {
        return take_source(cursor, false, errors);
    }
    if cursor.take(&["TABLE"]) {
        return take_source(cursor, true, errors);
    }
    if cursor.take(&["SINK"]) {
        return take_sink(cursor, errors);
    }
    if cursor.take(&["VIEW"]) {
        return take_view(cursor, errors);
    }
    if cursor.take(&["FUNCTION"]) {
        return super::function::take_function(cursor);
    }
    let help = match cursor.peek() {
        Some(tok) if tok.is("MATERIALIZED") => {
            "Write CREATE VIEW for a query others read, or CREATE SINK … AS for a result that is kept: every query here is kept up to date."
        }
        Some(tok) if tok.is("STREAM") => {
            "Write CREATE SOURCE name (columns) WITH (options), or CREATE VIEW name AS for a stream made by a query."
        }
        Some(tok) if tok.is_any(&["TYPE", "DOMAIN"]) => "Write the type out in the column: ROW<a INT, b VARCHAR>.",
        Some(tok) if tok.is("EXTERNAL") => "Write CREATE SOURCE name (columns) WITH (connector = 'file', path = '…').",
        Some(tok) if tok.is_any(&["INDEX", "UNIQUE"]) => "State is indexed by what the queries need: leave the index out.",
        Some(tok) if tok.is_any(&["DATABASE", "SCHEMA", "CATALOG"]) => "All relations of a file live side by side: leave it out.",
        Some(tok) if tok.is_any(&["CONNECTION", "SECRET"]) => "Write the options into each WITH (…), secrets as '${VARIABLE}'.",
        _ => return Err(cursor.expected_words("SOURCE, TABLE, SINK, VIEW or FUNCTION", &KINDS)),
    };
    let start = cursor.at - 1;
    cursor.next();
    cursor.take(&["VIEW"]);
    let span = cursor.since(start);
    let what = cursor.text(span).to_ascii_uppercase();
    Err(PlanError::new("parse::unsupported_statement", format!("{what} is not supported"), span).label("not supported").help(help))
}

fn take_if_not_exists(cursor: &mut Cursor<'_>) -> Parsed<bool> {
    if cursor.take(&["IF"]) {
        cursor.expect("NOT")?;
        cursor.expect("EXISTS")?;
        return Ok(true);
    }
    Ok(false)
}

/// What stands behind the columns of a source or sink, in any order.
#[derive(Default)]
struct Tail {
    with: Option<Span>,
    options: Vec<OptionSetting>,
    on_error: Option<(ErrorPolicy, Span)>,
    timestamp_by: Option<Watermark>,
}

fn once<T>(slot: &mut Option<T>, value: T, what: &str, span: Span) -> Parsed<()> {
    if slot.replace(value).is_some() {
        return Err(PlanError::new("parse::syntax", format!("{what} is said twice"), span)
            .label("said again here")
            .help("Keep one of the two."));
    }
    Ok(())
}

fn take_tail(cursor: &mut Cursor<'_>, sink: bool, errors: &mut Vec<PlanError>) -> Parsed<Tail> {
    let mut tail = Tail::default();
    loop {
        let start = cursor.at;
        if cursor.take(&["WITH"]) {
            let options = options::take_list(cursor, errors)?;
            let span = cursor.since(start);
            once(&mut tail.with, span, "WITH (…)", span)?;
            for option in options {
                options::push(&mut tail.options, option, errors);
            }
        } else if cursor.sees(&["ON", "ERROR"]) {
            let policy = on_error::take_on_error(cursor)?;
            let span = cursor.since(start);
            if sink {
                return Err(PlanError::new("parse::syntax", "ON ERROR belongs to a source", span)
                    .label("not for a sink")
                    .help("Say it behind the WITH (…) of the CREATE SOURCE whose rows may be bad."));
            }
            once(&mut tail.on_error, (policy, span), "ON ERROR", span)?;
        } else if !sink && cursor.sees(&["TIMESTAMP", "BY"]) {
            cursor.take(&["TIMESTAMP", "BY"]);
            let column = cursor.name("the event time column")?;
            let (delay_us, strategy_span) = if cursor.sees(&["WITH"]) && !cursor.peek_at(1).is_some_and(|tok| tok.is_mark(&Token::LParen)) {
                take_watermark_strategy(cursor)?
            } else {
                (0, column.span)
            };
            let span = cursor.since(start);
            once(&mut tail.timestamp_by, Watermark { column, delay_us, expr: None, strategy_span, span }, "TIMESTAMP BY", span)?;
        } else if sink && cursor.take(&["FORMAT"]) {
            let key_span = cursor.since(start);
            let (value, value_span) = options::take_key(cursor, "a format, such as ndjson")?;
            options::push(&mut tail.options, OptionSetting { key: "format".into(), value, key_span, value_span }, errors);
        } else if cursor.sees_any(&["PARTITIONED", "PARTITION", "DISTRIBUTED", "LIKE", "COMMENT", "ENGINE", "INCLUDE"]) {
            let what = cursor.text(cursor.here()).to_ascii_uppercase();
            return Err(PlanError::new("parse::unsupported_clause", format!("{what} is not supported here"), cursor.here())
                .label("not supported")
                .help("Take it out; what the connector needs to know goes into WITH (…)."));
        } else {
            return Ok(tail);
        }
    }
}

fn take_source(cursor: &mut Cursor<'_>, table: bool, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    let if_not_exists = take_if_not_exists(cursor)?;
    let name = cursor.relation_name("the name of the relation")?;
    let (columns, declared) = if cursor.sees_mark(&Token::LParen) {
        let (columns, watermark) = take_columns(cursor, errors)?;
        (Some(columns), watermark)
    } else {
        (None, None)
    };
    let tail = take_tail(cursor, false, errors)?;
    if cursor.sees(&["AS"]) {
        let help = format!(
            "Write CREATE VIEW {} AS … for a query others read, or CREATE SINK {} WITH (…) AS … for one whose result is written.",
            name.value, name.value
        );
        let what = if table { "CREATE TABLE … AS" } else { "CREATE SOURCE … AS" };
        return Err(PlanError::new("parse::unsupported_statement", format!("{what} is not supported"), cursor.here())
            .label("a query")
            .help(help));
    }
    cursor.expect_end("WITH (…), ON ERROR, TIMESTAMP BY or the end of the statement")?;
    if tail.with.is_none() {
        return Err(PlanError::new("parse::syntax", format!("{} has no WITH (…)", quote(&name.value)), name.span)
            .label("where is it read from?")
            .help("Add for example WITH (connector = 'file', path = 'trades.ndjson')."));
    }
    let watermark = match (declared, tail.timestamp_by) {
        (Some(declared), Some(by)) if declared.column.value != by.column.value => {
            return Err(PlanError::new("parse::syntax", "event time is declared twice", by.span)
                .label(format!("WATERMARK FOR says {}", quote(&declared.column.value)))
                .help("Keep one event time column: WATERMARK FOR says the same as TIMESTAMP BY, and how late rows may come."));
        }
        (Some(declared), _) => Some(declared),
        (None, by) => by,
    };
    Ok(Statement::CreateSource(CreateSource {
        name,
        table,
        if_not_exists,
        columns,
        watermark,
        options: tail.options,
        on_error: tail.on_error,
        span: cursor.whole(),
    }))
}

fn take_sink(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    let if_not_exists = take_if_not_exists(cursor)?;
    let name = cursor.relation_name("the name of the sink")?;
    let mut columns = None;
    if cursor.sees_mark(&Token::LParen) {
        let (declared, watermark) = take_columns(cursor, errors)?;
        errors.extend(not_for_a_sink(&declared, watermark.as_ref()));
        columns = Some(declared);
    }
    if cursor.sees(&["FROM"]) {
        return Err(PlanError::new("parse::unsupported_statement", "CREATE SINK … FROM is not supported", cursor.here())
            .label("a relation")
            .help(format!("Write CREATE SINK {} WITH (…) AS SELECT * FROM ….", name.value)));
    }
    let tail = take_tail(cursor, true, errors)?;
    let mut body = None;
    if cursor.take(&["AS"]) {
        body = Some(query::take_query(cursor, errors)?);
    } else {
        cursor.expect_end("WITH (…), FORMAT, AS or the end of the statement")?;
    }
    if tail.with.is_none() {
        return Err(no_with(&name.value, name.span));
    }
    Ok(Statement::CreateSink(CreateSink { name, if_not_exists, columns, options: tail.options, query: body, span: cursor.whole() }))
}

fn no_with(name: &str, span: Span) -> PlanError {
    PlanError::new("parse::syntax", format!("{} has no WITH (…)", quote(name)), span)
        .label("where is it written to?")
        .help("Add for example WITH (connector = 'file', path = 'out.ndjson') before AS.")
}

fn not_for_a_sink(columns: &Columns, watermark: Option<&Watermark>) -> Vec<PlanError> {
    let wrong = |what: &str, span: Span| {
        PlanError::new("parse::syntax", format!("{what} belongs to a source"), span)
            .label("not for a sink")
            .help("Declare only names and types here: a sink writes what its query gives it.")
    };
    let columns = columns.columns.iter().filter_map(|column| match column.kind {
        ColumnKind::Physical { .. } => None,
        ColumnKind::Metadata { .. } => Some(wrong("METADATA", column.span)),
        ColumnKind::Computed { .. } => Some(wrong("a computed column", column.span)),
    });
    columns.chain(watermark.map(|watermark| wrong("WATERMARK FOR", watermark.span))).collect()
}

fn take_view(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    let if_not_exists = take_if_not_exists(cursor)?;
    let name = cursor.relation_name("the name of the view")?;
    let columns = take_names(cursor, "the name of a column")?;
    cursor.expect("AS")?;
    let query = query::take_query(cursor, errors)?;
    Ok(Statement::CreateView(CreateView { name, if_not_exists, columns, query, span: cursor.whole() }))
}

/// Takes `(a, b)` if it is next.
pub(super) fn take_names(cursor: &mut Cursor<'_>, what: &str) -> Parsed<Vec<crate::statement::Name>> {
    let mut names = Vec::new();
    if cursor.take_mark(&Token::LParen) {
        loop {
            names.push(cursor.name(what)?);
            if !cursor.take_mark(&Token::Comma) {
                break;
            }
        }
        cursor.expect_mark(&Token::RParen)?;
    }
    Ok(names)
}
