//! # Parse
//!
//! SQL text to [statements](crate::statement). sqlparser makes the tokens and reads queries and expressions; what it lacks is
//! read here, around it: CREATE SOURCE with its watermark, the WINDOW clause, EMIT, durations such as `5m`. Every part keeps
//! its place in the text.

mod aggregates;
mod as_of_left;
mod columns;
mod commands;
mod create;
mod cursor;
mod dialect;
mod durations;
mod each_join;
mod function;
mod hints;
mod line_index;
mod on_error;
mod options;
mod query;
mod sessions;
mod side_table;
mod spellings;
mod syntax_error;
mod tokens;
mod types;
mod window_call;
mod window_clause;
mod window_options;
mod window_table;
mod windows;
mod within;

pub(crate) use as_of_left::unmarked;
pub(crate) use function::is_parameter;
pub use line_index::LineIndex;
pub use side_table::{Side, SideTable};
pub use types::arrow_type;
pub(crate) use types::map_of;
pub use window_table::{LettersPath, WindowOptions, WindowTable, WindowTime};
pub(crate) use within::{WITHIN, constraint_mut};

use datafusion_sql::sqlparser::tokenizer::Token;

use crate::PlanError;
use crate::error::nearest;
use crate::statement::Statement;
use cursor::{Context, Cursor, Parsed};

/// Reads a text of statements, parted by semicolons. `variables` tells what `${NAME}` in option values stands for.
///
/// # Errors
/// All mistakes found, in the order of the text: a wrong statement does not hide those behind its semicolon.
pub fn parse(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Statement>, Vec<PlanError>> {
    let mut parsed = parse_all(text, variables);
    if parsed.errors.is_empty() {
        return Ok(parsed.statements);
    }
    parsed.errors.sort_by_key(|error| error.span.map_or(usize::MAX, |span| span.start));
    Err(parsed.errors)
}

/// What a text was read as.
pub(crate) struct Parsing {
    /// The statements that are right.
    pub(crate) statements: Vec<Statement>,
    /// What is wrong with the others.
    pub(crate) errors: Vec<PlanError>,
    /// The words in those: names among them are not known, but not missing either.
    pub(crate) words: Vec<String>,
}

/// Reads a text of statements; those that are wrong are left out.
pub(crate) fn parse_all(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Parsing {
    let lines = LineIndex::new(text);
    let context = Context { lines: &lines, variables };
    let mut parsed = Parsing { statements: vec![], errors: vec![], words: vec![] };
    for tokens in tokens::statements(&lines, &mut parsed.errors) {
        let known = parsed.errors.len();
        match tokens::unbalanced(&tokens) {
            Some(error) => parsed.errors.push(error),
            None => match take_statement(&mut Cursor::new(&context, &tokens), &mut parsed.errors) {
                Ok(statement) => parsed.statements.push(statement),
                Err(error) => parsed.errors.push(error),
            },
        }
        if parsed.errors.len() > known {
            parsed.words.extend(tokens.iter().filter_map(|tok| tok.word()).map(str::to_string));
        }
    }
    parsed
}

/// Takes one statement, to the end of the cursor.
fn take_statement(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Statement> {
    let Some(first) = cursor.peek() else { return Err(cursor.expected("a statement")) };
    if first.is_mark(&Token::LParen) || first.is_any(&["SELECT", "WITH", "VALUES", "FROM"]) {
        return query::take_query(cursor, errors).map(Statement::Query);
    }
    let Some(word) = first.word() else { return Err(cursor.expected("a statement, such as SELECT or CREATE SOURCE")) };
    match word.to_ascii_uppercase().as_str() {
        "CREATE" => create::take_create(cursor, errors),
        "INSERT" => commands::take_insert(cursor, errors),
        "SET" => commands::take_set(cursor),
        "RESET" => commands::take_reset(cursor),
        "SHOW" => commands::take_show(cursor),
        "DESCRIBE" | "DESC" => commands::take_describe(cursor),
        "EXPLAIN" => commands::take_explain(cursor, errors),
        upper => Err(match way_out(upper) {
            Some(help) => PlanError::new("parse::unsupported_statement", format!("{upper} is not supported"), first.span)
                .label("not supported")
                .help(help),
            None => {
                let error = cursor.expected("a statement");
                match nearest(word, syntax_error::STARTERS) {
                    Some(near) => error.label(format!("did you mean {near}?")),
                    None => error.help("Statements begin with SELECT, WITH, CREATE, INSERT, SET, RESET, SHOW, DESCRIBE or EXPLAIN."),
                }
            }
        }),
    }
}

/// What to do instead of a statement that other systems have.
fn way_out(word: &str) -> Option<&'static str> {
    Some(match word {
        "DROP" => "A file is planned from the start each time: take the CREATE out instead.",
        "ALTER" => "A file is planned from the start each time: change the CREATE instead.",
        "UPDATE" | "DELETE" | "MERGE" | "UPSERT" | "REPLACE" | "TRUNCATE" => {
            "Tables here are streams: write a query whose result is the table you want, and CREATE SINK … AS it."
        }
        "USE" => "All relations of a file live side by side, without catalogs and schemas: leave it out.",
        "COPY" | "LOAD" | "IMPORT" | "UNLOAD" => "Write INSERT INTO a sink, or SELECT … FROM 'file.csv'.",
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "END" => "There are no transactions: every epoch is one. Leave it out.",
        "EXECUTE" | "STATEMENT" => "All statements of a file run together already: leave EXECUTE STATEMENT SET, BEGIN and END out.",
        "REFRESH" => "Results are kept up to date by themselves: leave it out.",
        "ANALYZE" | "VACUUM" | "OPTIMIZE" | "COMPACT" => "Nothing has to be tuned by hand: leave it out.",
        "GRANT" | "REVOKE" | "DENY" => "Access is governed by who may read the files and topics: leave it out.",
        "SUBSCRIBE" | "TAIL" | "DECLARE" | "FETCH" | "CLOSE" => "Write the SELECT alone: its changes are shown as they come.",
        "CALL" | "ADD" | "REMOVE" | "INSTALL" | "ATTACH" | "DETACH" | "PREPARE" | "COMMENT" | "LIST" | "PRAGMA" => "Leave it out.",
        "ASSERT" => "Write a query of the rows that break the rule, and a sink for them.",
        _ => return None,
    })
}
