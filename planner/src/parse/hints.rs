//! Hints, as Flink writes them: `SELECT /*+ STATE_TTL('a' = '1h', 'b' = '2h') */ …`. The words of this hint become words of the query, behind
//! SELECT; what other comments say is for people, or for other systems.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace, Word};

use super::cursor::{Cursor, Parsed};
use super::dialect::StreamingDialect;
use super::options;
use super::tokens::Tok;
use crate::PlanError;
use crate::statement::OptionSetting;

/// The quote that no text can have: so a column of that name is no hint.
const MARK: char = '+';

/// The words of a comment behind SELECT, if it is the hint.
pub(super) fn words(token: &TokenWithSpan, before: Option<&Tok>) -> Vec<TokenWithSpan> {
    let Token::Whitespace(Whitespace::MultiLineComment(comment)) = &token.token else { return Vec::new() };
    let (Some(text), true) = (comment.strip_prefix('+'), before.is_some_and(|before| before.is("SELECT"))) else { return Vec::new() };
    let mut raw = Vec::new();
    let dialect = StreamingDialect;
    if Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut raw).is_err() {
        return Vec::new();
    }
    raw.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    // The text of the hint begins behind `/*+`.
    let start = token.span.start;
    let moved = |at: Location| match at.line {
        1 => Location { line: start.line, column: start.column + 2 + at.column },
        line => Location { line: start.line + line - 1, column: at.column },
    };
    for token in &mut raw {
        (token.span.start, token.span.end) = (moved(token.span.start), moved(token.span.end));
    }
    match raw.first_mut() {
        Some(TokenWithSpan { token: Token::Word(word), .. }) if word.value.eq_ignore_ascii_case("STATE_TTL") => {
            *word = Word { value: "STATE_TTL".into(), quote_style: Some(MARK), keyword: Keyword::NoKeyword };
            raw
        }
        _ => Vec::new(),
    }
}

/// Whether the words of the hint are next.
pub(super) fn begins(cursor: &Cursor<'_>) -> bool {
    cursor.peek().is_some_and(|tok| matches!(&tok.token.token, Token::Word(word) if word.quote_style == Some(MARK)))
}

/// Takes the hint: an option of the query for each relation that it names.
pub(super) fn take(cursor: &mut Cursor<'_>) -> Parsed<Vec<OptionSetting>> {
    cursor.at += 1;
    let mut errors: Vec<PlanError> = Vec::new();
    let mut taken = options::take_list(cursor, &mut errors)?;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    taken.iter_mut().for_each(|option| option.key = format!("state.ttl.{}", option.key));
    Ok(taken)
}
