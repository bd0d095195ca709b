//! sqlparser's complaints in our words: the place in bytes, what was expected, and the keyword a word was meant to be.

use datafusion_sql::sqlparser::parser::ParserError;
use datafusion_sql::sqlparser::tokenizer::Location;

use super::cursor::Cursor;
use super::tokens::Tok;
use crate::PlanError;

/// Keywords that people mistype; long enough that a near word is no accident.
const KEYWORDS: [&str; 44] = [
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "CROSS",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WINDOW",
    "QUALIFY",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "CAST",
    "INTERVAL",
    "EMIT",
    "CHANGES",
    "FINAL",
    "TRIGGER",
    "ALLOWED_LATENESS",
    "LATE_DATA_STRATEGY",
    "TUMBLING",
    "SLIDING",
    "PARTITION",
    "VALUES",
    "EXISTS",
    "FILTER",
    "USING",
    "LATERAL",
    "ALLOW",
];

/// Words that begin a statement.
pub(super) const STARTERS: [&str; 11] =
    ["SELECT", "CREATE", "INSERT", "WITH", "SET", "RESET", "SHOW", "DESCRIBE", "EXPLAIN", "VALUES", "FROM"];

/// The keyword a word was meant to be, if it is none and near to one.
fn meant(tok: &Tok) -> Option<&'static str> {
    let word = tok.word()?;
    if word.len() < 3 || KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) {
        return None;
    }
    let upper = word.to_ascii_uppercase();
    KEYWORDS
        .iter()
        .map(|keyword| (strsim::damerau_levenshtein(&upper, keyword), *keyword))
        .filter(|(distance, keyword)| *distance <= if keyword.len() <= 4 { 1 } else { 2 } && *distance * 2 < word.len())
        .min()
        .map(|(_, keyword)| keyword)
}

/// Something is left where the end, or one of a few words, was expected.
pub(super) fn leftover(cursor: &Cursor<'_>, what: &str) -> PlanError {
    let error = cursor.expected(what);
    if let Some(typo) = typo(cursor) {
        return typo;
    }
    match cursor.peek() {
        Some(tok) if tok.is_any(&STARTERS) || tok.is_any(&["DROP", "UPDATE", "DELETE"]) => {
            error.help("End the statement before it with a semicolon.")
        }
        Some(tok) if tok.is("WHERE") => error.help("WHERE stands behind FROM and its joins, before GROUP BY and WINDOW."),
        Some(tok) if tok.is("HAVING") => error.help("HAVING stands behind GROUP BY."),
        Some(tok) if tok.is("GROUP") => error.help("GROUP BY stands behind WHERE, before HAVING, ORDER BY and LIMIT."),
        _ => error,
    }
}

/// A mistyped keyword at the cursor, or just before it: a word nobody knows is first taken for an alias, and the complaint
/// comes one word later.
fn typo(cursor: &Cursor<'_>) -> Option<PlanError> {
    let before = cursor.at.checked_sub(1).and_then(|at| cursor.tokens.get(at));
    for tok in [cursor.peek(), before].into_iter().flatten() {
        if let Some(keyword) = meant(tok) {
            return Some(
                PlanError::new("parse::syntax", format!("unexpected \"{}\"", cursor.text(tok.span)), tok.span)
                    .label(format!("did you mean {keyword}?"))
                    .help(format!("Write {keyword}; if it is meant as a name, put it in double quotes.")),
            );
        }
    }
    None
}

/// What sqlparser said about the tokens of a cursor. `fallback` is the token it stopped at, if it does not say.
pub(super) fn from_sqlparser(error: &ParserError, cursor: &Cursor<'_>, fallback: usize) -> PlanError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return PlanError::new("parse::too_deep", "nested too deeply", cursor.until(fallback + 1).whole())
                .help("Split the query into views, or WITH parts, of fewer levels.");
        }
    };
    let (message, place) = split_place(text);
    let ended = message.ends_with("found: EOF");
    let at = match place {
        _ if ended => cursor.tokens.len(),
        Some(place) => cursor.tokens.partition_point(|tok| tok.token.span.start < place),
        None => fallback.min(cursor.tokens.len()),
    };
    // Sometimes the place is that of the token behind the one found.
    let found = message.rsplit_once("found: ").map(|(_, found)| found);
    let shows = |at: usize| cursor.tokens.get(at).map(|tok| tok.token.token.to_string()).as_deref() == found;
    let at = if found.is_some() && at > 0 && !shows(at) && shows(at - 1) { at - 1 } else { at };
    let here = Cursor { at, ..cursor.clone() };
    let expected =
        message.strip_prefix("Expected: ").or_else(|| message.strip_prefix("Expected ").filter(|rest| rest.contains(", found: ")));
    let Some(expected) = expected else {
        return typo(&here).unwrap_or_else(|| {
            let mut message = message.trim_end_matches('.').to_string();
            if let Some(first) = message.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            PlanError::new("parse::syntax", message, here.here()).label("here")
        });
    };
    let expected = expected.rsplit_once(", found: ").map_or(expected, |(expected, _)| expected);
    if expected == "end of statement" {
        return leftover(&here, "the end of the statement");
    }
    typo(&here).unwrap_or_else(|| here.expected(&plain(expected)))
}

/// sqlparser's name of what it expected, for people.
fn plain(expected: &str) -> String {
    match expected {
        "identifier" => "a name".into(),
        "an expression" | "expression" => "an expression".into(),
        "SELECT, VALUES, or a subquery in the query body" => "SELECT, VALUES or a query in parentheses".into(),
        "a list of columns in parentheses" => expected.into(),
        mark if mark.len() <= 2 && !mark.chars().all(char::is_alphanumeric) => format!("\"{mark}\""),
        other => other.into(),
    }
}

/// Cuts ` at Line: 1, Column: 2` off a message.
fn split_place(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? }));
    match place {
        Some(place) => (message, Some(place)),
        None => (text, None),
    }
}
