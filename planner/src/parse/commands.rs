//! SET, RESET, SHOW, DESCRIBE, EXPLAIN and INSERT.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed};
use super::{create, options, query};
use crate::PlanError;
use crate::statement::{
    CreateSink, Describe, Explain, ExplainFormat, ExplainLevel, Insert, Observe, Reset, Set, Show, ShowWhat, Statement,
};

/// Takes SET.
pub(super) fn take_set(cursor: &mut Cursor<'_>) -> Parsed<Statement> {
    cursor.expect("SET")?;
    if cursor.at_end() {
        return Err(cursor.expected("a setting").help("Write SET name = value, or SHOW SETTINGS to see them all."));
    }
    let setting = options::take_setting(cursor, "the name of a setting")?;
    cursor.expect_end("the end of the statement")?;
    Ok(Statement::Set(Set { setting, span: cursor.whole() }))
}

/// Takes RESET.
pub(super) fn take_reset(cursor: &mut Cursor<'_>) -> Parsed<Statement> {
    cursor.expect("RESET")?;
    let key = if cursor.at_end() || cursor.take(&["ALL"]) { None } else { Some(options::take_key(cursor, "the name of a setting")?) };
    cursor.expect_end("the end of the statement")?;
    Ok(Statement::Reset(Reset { key, span: cursor.whole() }))
}

/// Takes SHOW.
pub(super) fn take_show(cursor: &mut Cursor<'_>) -> Parsed<Statement> {
    cursor.expect("SHOW")?;
    let plain = [
        ("TABLES", ShowWhat::Tables),
        ("SOURCES", ShowWhat::Sources),
        ("SINKS", ShowWhat::Sinks),
        ("VIEWS", ShowWhat::Views),
        ("FUNCTIONS", ShowWhat::Functions),
        ("SETTINGS", ShowWhat::Settings),
        ("ALL", ShowWhat::Settings),
    ];
    let what = if let Some((word, what)) = plain.into_iter().find(|(word, _)| cursor.sees(&[word])) {
        cursor.take(&[word]);
        what
    } else if cursor.take(&["CREATE"]) {
        if cursor.peek_at(1).is_some() {
            for kind in ["SOURCE", "TABLE", "SINK", "VIEW"] {
                if cursor.take(&[kind]) {
                    break;
                }
            }
        }
        ShowWhat::Create(cursor.relation_name("the name of a relation")?)
    } else {
        let (key, span) = options::take_key(cursor, "TABLES, SOURCES, SINKS, VIEWS, FUNCTIONS, SETTINGS or a setting")?;
        ShowWhat::Setting(key, span)
    };
    cursor.expect_end("the end of the statement")?;
    Ok(Statement::Show(Show { what, span: cursor.whole() }))
}

/// Takes DESCRIBE.
pub(super) fn take_describe(cursor: &mut Cursor<'_>) -> Parsed<Statement> {
    cursor.next();
    if cursor.peek_at(1).is_some() {
        for kind in ["TABLE", "SOURCE", "SINK", "VIEW"] {
            if cursor.take(&[kind]) {
                break;
            }
        }
    }
    let name = cursor.relation_name("the name of a relation")?;
    cursor.expect_end("the end of the statement")?;
    Ok(Statement::Describe(Describe { name, span: cursor.whole() }))
}

const LEVELS: [(&str, ExplainLevel); 3] =
    [("LOGICAL", ExplainLevel::Logical), ("OPTIMIZED", ExplainLevel::Optimized), ("PHYSICAL", ExplainLevel::Physical)];

/// Takes EXPLAIN and the statement it explains.
pub(super) fn take_explain(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    cursor.expect("EXPLAIN")?;
    let (mut level, mut format) = (ExplainLevel::default(), ExplainFormat::default());
    let observe = [("WATERMARK", Observe::Watermark), ("PROGRESS", Observe::Progress)].into_iter().find(|(word, _)| cursor.take(&[word]));
    let observe = observe.map(|(_, observe)| observe);
    while observe.is_none() {
        if cursor.sees_any(&["ANALYZE", "LIVE"]) {
            return Err(PlanError::new("parse::not_yet", "EXPLAIN does not measure yet", cursor.here())
                .label("not yet")
                .help("Write EXPLAIN for the plan, and run the statement for its figures."));
        } else if cursor.take(&["PLAN", "FOR"]) {
            break;
        } else if take_level(cursor, &mut level) {
            continue;
        } else if cursor.sees_mark(&Token::LParen)
            && cursor.peek_at(1).is_some_and(|tok| tok.is_any(&["FORMAT", "LEVEL", "LOGICAL", "OPTIMIZED", "PHYSICAL"]))
        {
            cursor.at += 1;
            take_explain_options(cursor, &mut level, &mut format)?;
        } else {
            break;
        }
    }
    if cursor.at_end() {
        return Err(cursor.expected("a query to explain"));
    }
    let span = cursor.whole();
    // The statement's own span begins behind EXPLAIN.
    let mut inner = cursor.split_off();
    let no_plan = |span| {
        PlanError::new("parse::syntax", "nothing to explain", span)
            .label("has no plan")
            .help("EXPLAIN takes a query, INSERT, CREATE VIEW or CREATE SINK … AS.")
    };
    if inner.sees(&["EXPLAIN"]) {
        return Err(no_plan(inner.here()));
    }
    let statement = super::take_statement(&mut inner, errors)?;
    cursor.at = cursor.tokens.len();
    match &statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::CreateView(_)
        | Statement::CreateSink(CreateSink { query: Some(_), .. }) => {
            Ok(Statement::Explain(Explain { level, observe, format, statement: Box::new(statement), span }))
        }
        other => Err(no_plan(other.span())),
    }
}

fn take_level(cursor: &mut Cursor<'_>, level: &mut ExplainLevel) -> bool {
    for (word, own) in LEVELS {
        if cursor.take(&[word]) {
            *level = own;
            return true;
        }
    }
    false
}

fn take_explain_options(cursor: &mut Cursor<'_>, level: &mut ExplainLevel, format: &mut ExplainFormat) -> Parsed<()> {
    loop {
        if cursor.take(&["FORMAT"]) {
            *format = if cursor.take(&["TEXT"]) {
                ExplainFormat::Text
            } else if cursor.take(&["JSON"]) {
                ExplainFormat::Json
            } else {
                return Err(cursor.expected_words("TEXT or JSON", &["TEXT", "JSON"]));
            };
        } else {
            cursor.take(&["LEVEL"]);
            if !take_level(cursor, level) {
                return Err(
                    cursor.expected_words("FORMAT, LOGICAL, OPTIMIZED or PHYSICAL", &["FORMAT", "LOGICAL", "OPTIMIZED", "PHYSICAL"])
                );
            }
        }
        if !cursor.take_mark(&Token::Comma) {
            break;
        }
    }
    cursor.expect_mark(&Token::RParen)?;
    Ok(())
}

/// Takes INSERT INTO.
pub(super) fn take_insert(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    cursor.expect("INSERT")?;
    if cursor.sees(&["OVERWRITE"]) {
        return Err(PlanError::new("parse::unsupported_statement", "INSERT OVERWRITE is not supported", cursor.here())
            .label("not supported")
            .help("Write INSERT INTO: a sink gets the changes of the result as they come."));
    }
    cursor.expect("INTO")?;
    cursor.take(&["TABLE"]);
    let target = cursor.relation_name("the name of a sink or table")?;
    // `(SELECT …)` is a query in parentheses, `(a, b)` are columns.
    let query_next = cursor.peek_at(1).is_some_and(|tok| tok.is_any(&["SELECT", "WITH", "VALUES", "FROM"]) || tok.opens());
    let columns = if query_next { Vec::new() } else { create::take_names(cursor, "the name of a column")? };
    let query = query::take_query(cursor, errors)?;
    Ok(Statement::Insert(Insert { target, columns, query, span: cursor.whole() }))
}
