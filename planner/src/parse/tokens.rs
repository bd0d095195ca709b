//! The words of a text: sqlparser's tokens with byte spans, without blanks and comments, cut at semicolons.

use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::dialect::StreamingDialect;
use super::hints;
use super::line_index::LineIndex;
use crate::{PlanError, Span};

/// A token and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Tok {
    /// As sqlparser will be given it.
    pub(super) token: TokenWithSpan,
    /// Its bytes.
    pub(super) span: Span,
}

impl Tok {
    /// The text of an unquoted word.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.token.token {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    /// Is this unquoted word, in any letters.
    pub(super) fn is(&self, word: &str) -> bool {
        self.word().is_some_and(|own| own.eq_ignore_ascii_case(word))
    }

    /// Is one of these unquoted words.
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// Is this mark.
    pub(super) fn is_mark(&self, mark: &Token) -> bool {
        self.token.token == *mark
    }

    /// Opens a bracket of any kind.
    pub(super) fn opens(&self) -> bool {
        matches!(self.token.token, Token::LParen | Token::LBracket | Token::LBrace)
    }

    /// Closes a bracket of any kind.
    pub(super) fn closes(&self) -> bool {
        matches!(self.token.token, Token::RParen | Token::RBracket | Token::RBrace)
    }
}

/// The tokens of each statement of a text. Empty statements are left out; the last one is dropped when the text cannot be
/// read to its end, which is then reported.
pub(super) fn statements(lines: &LineIndex<'_>, errors: &mut Vec<PlanError>) -> Vec<Vec<Tok>> {
    let mut raw = Vec::new();
    let dialect = StreamingDialect;
    let end = Tokenizer::new(&dialect, lines.text()).tokenize_with_location_into_buf(&mut raw);
    // Every token begins where the one before it ended, so the one that could not be read begins behind the last.
    let broken = raw.last().map_or(Location { line: 1, column: 1 }, |last| last.span.end);
    let mut statements = vec![Vec::new()];
    let mut bytes = lines.ascending();
    for token in raw {
        match token.token {
            Token::Whitespace(_) => {
                if let Some(last) = statements.last_mut() {
                    let words = hints::words(&token, last.last());
                    last.extend(words.into_iter().map(|token| Tok { span: bytes(token.span), token }));
                }
            }
            Token::EOF => {}
            Token::SemiColon => statements.push(Vec::new()),
            _ => {
                let span = bytes(token.span);
                if let Some(last) = statements.last_mut() {
                    last.push(Tok { token, span });
                }
            }
        }
    }
    if let Err(error) = end {
        statements.pop();
        let start = lines.byte(broken).unwrap_or_default();
        errors.push(unreadable(lines, start, &error.message));
    }
    statements.retain(|tokens| !tokens.is_empty());
    statements
}

fn unreadable(lines: &LineIndex<'_>, start: usize, message: &str) -> PlanError {
    let rest = &lines.text()[start..];
    let first_line = rest.split(['\n', '\r']).next().unwrap_or_default();
    let span = Span::new(start, start + first_line.len().max(rest.chars().next().map_or(0, char::len_utf8)));
    let unclosed = |what: &str, close: &str| {
        PlanError::new("parse::syntax", format!("unclosed {what}"), span)
            .label("opened here")
            .help(format!("Close it with {close}; as it stands it reaches to the end of the text."))
    };
    match rest.as_bytes() {
        [b'/', b'*', ..] => unclosed("comment", "*/"),
        [b'"', ..] => unclosed("quoted name", "\""),
        [b'`', ..] => unclosed("quoted name", "`"),
        [b'$', ..] if message.contains("nterminated") => unclosed("string", "the same $ mark"),
        _ if message.contains("nterminated") => unclosed("string", "' (a quote inside a string is written twice: '')"),
        _ => {
            let end = start + rest.chars().next().map_or(0, char::len_utf8);
            PlanError::new("parse::syntax", format!("cannot read \"{}\"", &lines.text()[start..end]), Span::new(start, end))
                .label(message.to_lowercase().trim_end_matches('.').to_string())
                .help("Write names that hold other signs than letters, digits and _ in double quotes, and texts in single quotes.")
        }
    }
}

/// The first bracket that has no partner, as an error.
pub(super) fn unbalanced(tokens: &[Tok]) -> Option<PlanError> {
    let mut open: Vec<&Tok> = Vec::new();
    for tok in tokens {
        if tok.opens() {
            open.push(tok);
        } else if tok.closes() {
            let partner = |tok: &Tok| match tok.token.token {
                Token::LParen => Token::RParen,
                Token::LBracket => Token::RBracket,
                _ => Token::RBrace,
            };
            match open.pop() {
                Some(opening) if tok.is_mark(&partner(opening)) => {}
                Some(opening) => {
                    return Some(
                        PlanError::new("parse::syntax", format!("\"{}\" closes \"{}\"", tok.token.token, opening.token.token), tok.span)
                            .label("does not fit the bracket it closes")
                            .help(format!("Close the \"{}\" first, or take this one out.", opening.token.token)),
                    );
                }
                None => {
                    return Some(
                        PlanError::new("parse::syntax", format!("\"{}\" closes nothing", tok.token.token), tok.span)
                            .label("no bracket is open here")
                            .help("Take it out, or open the bracket before it."),
                    );
                }
            }
        }
    }
    open.pop().map(|opening| {
        let (what, close) = match opening.token.token {
            Token::LParen => ("parenthesis", ")"),
            Token::LBracket => ("bracket", "]"),
            _ => ("brace", "}"),
        };
        PlanError::new("parse::syntax", format!("unclosed {what}"), opening.span)
            .label("opened here")
            .help(format!("Close it with \"{close}\" before the statement ends."))
    })
}
