//! A place among the tokens of a statement, and the questions our own grammar asks there.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::line_index::LineIndex;
use super::tokens::Tok;
use crate::error::nearest;
use crate::statement::Name;
use crate::{PlanError, Span};

/// What one text is parsed with.
pub(super) struct Context<'a> {
    /// The text and its lines.
    pub(super) lines: &'a LineIndex<'a>,
    /// What `${NAME}` stands for.
    pub(super) variables: &'a dyn Fn(&str) -> Option<String>,
}

/// A place among tokens.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    /// What the text is parsed with.
    pub(super) context: &'a Context<'a>,
    /// The tokens of the statement, or of a part of it.
    pub(super) tokens: &'a [Tok],
    /// The next token.
    pub(super) at: usize,
    /// The token that ends the part, when it is a part.
    pub(super) stop: Option<&'a Tok>,
}

/// The result of reading one thing.
pub(super) type Parsed<T> = Result<T, PlanError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(context: &'a Context<'a>, tokens: &'a [Tok]) -> Self {
        Self { context, tokens, at: 0, stop: None }
    }

    /// A cursor over the tokens left, from their start.
    pub(super) fn split_off(&self) -> Self {
        Self { context: self.context, tokens: self.rest(), at: 0, stop: self.stop }
    }

    /// The next token.
    pub(super) fn peek(&self) -> Option<&'a Tok> {
        self.tokens.get(self.at)
    }

    /// The token `ahead` places behind the next.
    pub(super) fn peek_at(&self, ahead: usize) -> Option<&'a Tok> {
        self.tokens.get(self.at + ahead)
    }

    /// No token is left.
    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Option<&'a Tok> {
        let tok = self.tokens.get(self.at)?;
        self.at += 1;
        Some(tok)
    }

    /// The tokens left.
    pub(super) fn rest(&self) -> &'a [Tok] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    /// The text of some bytes.
    pub(super) fn text(&self, span: Span) -> &'a str {
        &self.context.lines.text()[span.start..span.end]
    }

    /// The next tokens are these words.
    pub(super) fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.peek_at(ahead).is_some_and(|tok| tok.is(word)))
    }

    /// The next token is this mark.
    pub(super) fn sees_mark(&self, mark: &Token) -> bool {
        self.peek().is_some_and(|tok| tok.is_mark(mark))
    }

    /// The next token is one of these words.
    pub(super) fn sees_any(&self, words: &[&str]) -> bool {
        self.peek().is_some_and(|tok| tok.is_any(words))
    }

    /// The next token is one of these marks.
    pub(super) fn sees_any_mark(&self, marks: &[Token]) -> bool {
        marks.iter().any(|mark| self.sees_mark(mark))
    }

    /// Bytes from the first token to the last.
    pub(super) fn whole(&self) -> Span {
        match (self.tokens.first(), self.tokens.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        }
    }

    /// Takes these words if they are next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let seen = self.sees(words);
        if seen {
            self.at += words.len();
        }
        seen
    }

    /// Takes this mark if it is next.
    pub(super) fn take_mark(&mut self, mark: &Token) -> bool {
        let seen = self.sees_mark(mark);
        if seen {
            self.at += 1;
        }
        seen
    }

    /// Takes this word, or says it was expected.
    pub(super) fn expect(&mut self, word: &str) -> Parsed<Span> {
        match self.peek() {
            Some(tok) if tok.is(word) => {
                self.at += 1;
                Ok(tok.span)
            }
            _ => Err(self.expected_words(word, &[word])),
        }
    }

    /// Takes this mark, or says it was expected.
    pub(super) fn expect_mark(&mut self, mark: &Token) -> Parsed<Span> {
        match self.peek() {
            Some(tok) if tok.is_mark(mark) => {
                self.at += 1;
                Ok(tok.span)
            }
            _ => Err(self.expected(&format!("\"{mark}\""))),
        }
    }

    /// Takes a name, quoted or not.
    pub(super) fn name(&mut self, what: &str) -> Parsed<Name> {
        match self.peek().map(|tok| (&tok.token.token, tok.span)) {
            Some((Token::Word(word), span)) => {
                self.at += 1;
                Ok(Name { value: word.value.clone(), quoted: word.quote_style.is_some(), span })
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Takes the name of a relation: one part.
    pub(super) fn relation_name(&mut self, what: &str) -> Parsed<Name> {
        let name = self.name(what)?;
        if self.sees_mark(&Token::Period) {
            let end = self.peek_at(1).map_or(name.span, |tok| tok.span);
            return Err(PlanError::new(
                "parse::syntax",
                format!("\"{}\" has several parts", self.text(name.span.to(end))),
                name.span.to(end),
            )
            .label("one name, without a point")
            .help("All relations of a file live side by side, without catalogs and schemas: give it one name, such as \"orders\"."));
        }
        Ok(name)
    }

    /// Takes a text in single quotes: its content, and the bytes with the quotes.
    pub(super) fn string(&mut self, what: &str) -> Parsed<(String, Span)> {
        match self.peek() {
            Some(tok) => match quoted_text(&tok.token.token) {
                Some(text) => {
                    self.at += 1;
                    Ok((text.to_string(), tok.span))
                }
                None => Err(self.expected(what)),
            },
            None => Err(self.expected(what)),
        }
    }

    /// Bytes of the next token; behind the last one at the end.
    pub(super) fn here(&self) -> Span {
        match (self.peek().or(self.stop), self.tokens.last()) {
            (Some(tok), _) => tok.span,
            (None, Some(last)) => Span::new(last.span.end, last.span.end),
            (None, None) => Span::default(),
        }
    }

    /// Bytes from an earlier token to the last one taken.
    pub(super) fn since(&self, start: usize) -> Span {
        let first = self.tokens.get(start).map_or_else(|| self.here(), |tok| tok.span);
        self.at
            .checked_sub(1)
            .filter(|last| *last >= start)
            .and_then(|last| self.tokens.get(last))
            .map_or(first, |last| first.to(last.span))
    }

    /// `expected …, found …` at the next token.
    pub(super) fn expected(&self, what: &str) -> PlanError {
        PlanError::new("parse::syntax", format!("expected {what}, found {}", self.found()), self.here()).label(format!("expected {what}"))
    }

    /// The same where these words would have been right: a near miss is named.
    pub(super) fn expected_words(&self, what: &str, words: &[&str]) -> PlanError {
        let error = self.expected(what);
        match self
            .peek()
            .and_then(Tok::word)
            .and_then(|found| nearest(found, words.iter().copied()).filter(|near| !near.eq_ignore_ascii_case(found)))
        {
            Some(near) => error.label(format!("did you mean {near}?")),
            None => error,
        }
    }

    /// The next token as a message quotes it.
    pub(super) fn found(&self) -> String {
        match self.peek().or(self.stop) {
            None => "the end of the statement".into(),
            Some(tok) => quote(self.text(tok.span)),
        }
    }

    /// Says so if something is left.
    pub(super) fn expect_end(&self, what: &str) -> Parsed<()> {
        if self.at_end() { Ok(()) } else { Err(super::syntax_error::leftover(self, what)) }
    }

    /// The place of the bracket that closes the one before the cursor; the end if there is none.
    pub(super) fn closing(&self) -> usize {
        let mut depth = 0usize;
        for (at, tok) in self.tokens.iter().enumerate().skip(self.at) {
            if tok.opens() {
                depth += 1;
            } else if tok.closes() {
                match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return at,
                }
            }
        }
        self.tokens.len()
    }

    /// The place of the next comma, or closing bracket, that belongs to the list the cursor is in; the end if there is none.
    pub(super) fn item_end(&self) -> usize {
        let mut depth = 0usize;
        for (at, tok) in self.tokens.iter().enumerate().skip(self.at) {
            if tok.opens() {
                depth += 1;
            } else if tok.closes() {
                match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return at,
                }
            } else if depth == 0 && tok.is_mark(&Token::Comma) {
                return at;
            }
        }
        self.tokens.len()
    }

    /// A cursor over the tokens from here to a place.
    pub(super) fn until(&self, end: usize) -> Self {
        let end = end.min(self.tokens.len());
        Self { context: self.context, tokens: &self.tokens[..end], at: self.at, stop: self.tokens.get(end).or(self.stop) }
    }
}

/// The content of a text in single quotes.
pub(super) fn quoted_text(token: &Token) -> Option<&str> {
    match token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::UnicodeStringLiteral(text) => Some(text),
        Token::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// A part of the user's text for a message: in double quotes, one line, not too long.
pub(super) fn quote(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() < text.len() || line.chars().count() > 40 {
        return format!("\"{}…\"", line.chars().take(37).collect::<String>());
    }
    format!("\"{line}\"")
}
