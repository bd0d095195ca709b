//! Queries: our clauses are taken out of the tokens, sqlparser reads the rest, and the windows are put back in normal form.
//!
//! One pass over the tokens knows, for each level of brackets, the SELECT it is in. A WINDOW clause met there is read by
//! [`window_clause`] and kept under the place of that SELECT, which sqlparser's tree still has; the tokens that remain keep
//! their places, so the tree's spans are those of the text. The same pass turns `5m` into `INTERVAL '5 minutes'`, drops
//! Flink's `TABLE` before a window's relation, and takes EMIT, ALLOW UNBOUNDED STATE and OPTIONS off the query.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use super::as_of_left::{self, LeftJoins};
use super::cursor::{Cursor, Parsed, quoted_text};
use super::dialect::StreamingDialect;
use super::tokens::Tok;
use super::window_clause::{self, WindowClause};
use super::within::{self, Withins};
use super::{durations, hints, options, spellings, syntax_error, window_call, windows};
use crate::error::nearest;
use crate::statement::{EmitClause, OptionSetting, Query};
use crate::{PlanError, Span};

/// The clauses of a query, each under the place of its SELECT.
pub(super) type Clauses = BTreeMap<Location, WindowClause>;

/// Takes a query, to the end of the cursor. When several things are wrong, all but the last are pushed.
pub(super) fn take_query(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Query> {
    if cursor.at_end() {
        return Err(cursor.expected("a query"));
    }
    let own = cursor.split_off();
    let span = own.whole();
    let mut taken = Extraction::default();
    taken.run(&own)?;
    let mut body = parse_tree(&own, &taken.rest)?;
    cursor.at = cursor.tokens.len();
    as_of_left::mark(&mut body, taken.left_joins);
    let mut wrong = within::attach(&mut body, taken.withins);
    spellings::normalise(&mut body);
    wrong.extend(windows::normalise(&mut body, taken.clauses, &own));
    match wrong.pop() {
        Some(last) => {
            errors.append(&mut wrong);
            Err(last)
        }
        None => {
            let mut twice = Vec::new();
            taken.hints.into_iter().for_each(|hint| options::push(&mut taken.options, hint, &mut twice));
            match twice.pop() {
                Some(error) => Err(error),
                None => {
                    Ok(Query { body, emit: taken.emit, allow_unbounded_state: taken.allow_unbounded_state, options: taken.options, span })
                }
            }
        }
    }
}

/// Takes an expression, to the end of the cursor.
pub(super) fn take_expr(cursor: &mut Cursor<'_>) -> Parsed<(Box<ast::Expr>, Span)> {
    if cursor.at_end() {
        return Err(cursor.expected("an expression"));
    }
    let own = cursor.split_off();
    let mut taken = Extraction::default();
    taken.run(&own)?;
    if let Some((_, span)) = taken.emit {
        return Err(PlanError::new("parse::syntax", "EMIT belongs to a query", span).label("not here"));
    }
    let dialect = StreamingDialect;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(taken.rest);
    let expr = parser.parse_expr().map_err(|error| syntax_error::from_sqlparser(&error, &own, stopped(&parser, &own)))?;
    if parser.peek_token_ref().token != Token::EOF {
        let at = stopped(&parser, &own);
        return Err(syntax_error::leftover(&Cursor { at, ..own }, "the end of the expression"));
    }
    cursor.at = cursor.tokens.len();
    Ok((Box::new(expr), own.whole()))
}

/// sqlparser's tree of a query.
fn parse_tree(cursor: &Cursor<'_>, rest: &[TokenWithSpan]) -> Parsed<Box<ast::Query>> {
    let dialect = StreamingDialect;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(rest.to_vec());
    let error = match parser.parse_query() {
        Ok(query) if parser.peek_token_ref().token == Token::EOF => return Ok(query),
        Ok(_) => syntax_error::leftover(&Cursor { at: stopped(&parser, cursor), ..cursor.clone() }, "the end of the statement"),
        Err(error) => syntax_error::from_sqlparser(&error, cursor, stopped(&parser, cursor)),
    };
    // sqlparser tries what stands in brackets in several ways and reports the last; the first query in brackets that is wrong
    // by itself says more.
    Err(wrong_inside(cursor, rest).unwrap_or(error))
}

/// Where among our tokens sqlparser stands.
fn stopped(parser: &Parser<'_>, cursor: &Cursor<'_>) -> usize {
    let next = parser.peek_token_ref();
    if next.token == Token::EOF {
        return cursor.tokens.len();
    }
    cursor.tokens.partition_point(|tok| tok.token.span.start < next.span.start)
}

/// The error of the innermost query in parentheses that does not parse alone.
fn wrong_inside(cursor: &Cursor<'_>, rest: &[TokenWithSpan]) -> Option<PlanError> {
    let mut open = Vec::new();
    for (at, token) in rest.iter().enumerate() {
        match token.token {
            Token::LParen => open.push(at),
            Token::RParen => {
                let start = open.pop()? + 1;
                let first = &rest[start].token;
                let query = matches!(first, Token::Word(word) if matches!(word.keyword, Keyword::SELECT | Keyword::WITH));
                if !query {
                    continue;
                }
                let dialect = StreamingDialect;
                let mut parser = Parser::new(&dialect).with_tokens_with_locations(rest[start..at].to_vec());
                // Our cursor over the same part of the text: its end is the closing parenthesis.
                let end = cursor.tokens.partition_point(|tok| tok.token.span.start < token.span.start);
                let part = Cursor { at: 0, ..cursor.clone() }.until(end);
                match parser.parse_query() {
                    Ok(_) if parser.peek_token_ref().token == Token::EOF => {}
                    Ok(_) => {
                        let at = stopped(&parser, &part);
                        return Some(syntax_error::leftover(&Cursor { at, ..part }, "\")\""));
                    }
                    Err(error) => {
                        let at = stopped(&parser, &part);
                        return Some(syntax_error::from_sqlparser(&error, &part, at));
                    }
                }
            }
            _ => {}
        }
    }
    None
}

/// One level of brackets.
#[derive(Default)]
struct Level {
    /// The arguments of a window function: durations may have blanks, `TABLE` may precede the relation.
    window_call: bool,
    /// The SELECT (or the FROM that stands for one) the tokens belong to.
    select: Option<Location>,
    /// FROM was seen in it.
    from: bool,
    /// The relation behind the last JOIN begins here.
    joined: Option<Location>,
    /// The query of `LATE(SELECT …)`, which sqlparser takes in parentheses of its own.
    side_query: bool,
}

/// What the pass over the tokens finds.
#[derive(Default)]
struct Extraction {
    rest: Vec<TokenWithSpan>,
    clauses: Clauses,
    withins: Withins,
    left_joins: LeftJoins,
    emit: Option<(EmitClause, Span)>,
    allow_unbounded_state: bool,
    options: Vec<OptionSetting>,
    hints: Vec<OptionSetting>,
}

const WINDOW_CALLS: [&str; 9] =
    ["TUMBLE", "HOP", "CUMULATE", "SESSION", "TUMBLING_WINDOW", "HOPPING_WINDOW", "SLIDING_WINDOW", "CUMULATING_WINDOW", "SESSION_WINDOW"];

/// Table functions that take a query.
const SIDES: [&str; 2] = ["LATE", "ERRORS"];

/// Words that a query begins with.
const QUERY: [&str; 3] = ["SELECT", "WITH", "VALUES"];

/// Words that name no relation behind FROM, unless quoted.
const NO_RELATION: [&str; 9] = ["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "WINDOW", "UNION", "JOIN", "EMIT"];

impl Extraction {
    fn run(&mut self, whole: &Cursor<'_>) -> Parsed<()> {
        let mut cursor = whole.clone();
        let mut levels = vec![Level::default()];
        while let Some(tok) = cursor.peek() {
            let before = cursor.at.checked_sub(1).and_then(|at| cursor.tokens.get(at));
            let nested = levels.len() > 1;
            let Some(level) = levels.last_mut() else { break };
            if before.is_some_and(|before| before.is("JOIN")) {
                level.joined = Some(tok.token.span.start);
            }
            if hints::begins(&cursor) {
                self.hints.extend(hints::take(&mut cursor)?);
                continue;
            }
            if tok.opens() {
                let window_call = before.is_some_and(|before| before.is_any(&WINDOW_CALLS) || is_window_part(before));
                let side_query =
                    before.is_some_and(|before| before.is_any(&SIDES)) && cursor.peek_at(1).is_some_and(|tok| tok.is_any(&QUERY));
                if side_query {
                    self.rest.push(tok.token.clone());
                }
                levels.push(Level { window_call, side_query, ..Level::default() });
            } else if tok.closes() {
                if levels.len() > 1
                    && let Some(closed) = levels.pop()
                    && closed.side_query
                {
                    self.rest.push(tok.token.clone());
                }
            } else if before.is_some_and(|before| before.is_mark(&Token::Period)) {
                // Part of a name, whatever the word.
            } else if let Some(place) = level.joined.filter(|_| before.is_some_and(ends_clause) && within::begins(&cursor)) {
                let clause = within::take(&mut cursor)?;
                level.joined = None;
                self.withins.insert(place, clause);
                continue;
            } else if before.is_some_and(|before| before.is("ASOF"))
                && let Some((words, relation)) = as_of_left::begins(&cursor)
            {
                self.left_joins.insert(relation);
                cursor.at += words;
                continue;
            } else if tok.is("SELECT") {
                // FROM is kept for `FROM trades SELECT …`.
                level.select = Some(tok.token.span.start);
            } else if tok.is_any(&["UNION", "EXCEPT", "INTERSECT"]) && !before.is_some_and(|before| before.is_mark(&Token::Mul)) {
                // Not `* EXCEPT (a)`.
                *level = Level { window_call: level.window_call, side_query: level.side_query, ..Level::default() };
            } else if tok.is("FROM") {
                // FROM alone is a query: FROM trades. In EXTRACT(HOUR FROM ts) it is none.
                let begins = before.is_none_or(|before| before.opens() || before.is_any(&["ALL", "UNION"]) || (!nested && before.closes()));
                if level.select.is_none() && begins {
                    level.select = Some(tok.token.span.start);
                }
                level.from = true;
            } else if (level.select.is_some() && window_clause::begins(&cursor))
                || (before.is_some_and(ends_clause) && level.from && lone_window(&cursor))
            {
                self.take_window(&mut cursor, level.select)?;
                continue;
            } else if level.select.is_some() && before.is_some_and(|before| before.is("FROM")) && tok.is_any(&NO_RELATION) {
                return Err(cursor.expected("a relation"));
            } else if let Some(clause) = self.part(&cursor, before, level) {
                match clause {
                    Some(clause) => window_clause::take_part(&mut cursor, clause)?,
                    None => {
                        let what = cursor.text(tok.span).to_ascii_uppercase();
                        return Err(PlanError::new("parse::window", format!("{what} without WINDOW"), tok.span)
                            .label("belongs behind a WINDOW clause")
                            .help("Write the window first, for example WINDOW TUMBLING(5m)."));
                    }
                }
                continue;
            } else if before.is_some_and(ends_clause) && self.take_output(&mut cursor, nested)? {
                continue;
            } else if level.window_call && tok.is("TABLE") && cursor.peek_at(1).is_some() {
                cursor.at += 1;
                continue;
            } else if level.window_call && cursor.sees(&["PARTITION", "BY"]) {
                self.rest.extend(take_partition(&mut cursor)?);
                continue;
            } else if let Some((tokens, taken)) = duration(&cursor, before, level.window_call) {
                self.rest.extend(tokens);
                cursor.at += taken;
                continue;
            } else if is_quoted_relation(tok, before, level) {
                // sqlparser forgets where a name in single quotes stands, unless it is a word.
                if let Some(text) = quoted_text(&tok.token.token) {
                    let word = Word { value: text.to_string(), quote_style: Some('\''), keyword: Keyword::NoKeyword };
                    self.rest.push(TokenWithSpan { token: Token::Word(word), span: tok.token.span });
                    cursor.at += 1;
                    continue;
                }
            }
            self.rest.push(plain_word(tok, cursor.peek_at(1)));
            cursor.at += 1;
        }
        Ok(())
    }

    /// A part of the WINDOW clause begins here: the clause it belongs to, or none.
    fn part(&mut self, cursor: &Cursor<'_>, before: Option<&Tok>, level: &Level) -> Option<Option<&mut WindowClause>> {
        if !level.from || !window_clause::part_begins(cursor) || !before.is_some_and(ends_clause) {
            return None;
        }
        let select = level.select.filter(|select| self.clauses.contains_key(select));
        match select {
            Some(select) => Some(self.clauses.get_mut(&select)),
            None if is_alias(cursor) => None,
            None => Some(None),
        }
    }

    fn take_window(&mut self, cursor: &mut Cursor<'_>, select: Option<Location>) -> Parsed<()> {
        if lone_window(cursor) {
            cursor.take(&["WINDOW"]);
            return Err(cursor.expected("a window").help("Write for example WINDOW TUMBLING(5m), or SQL's WINDOW w AS (…)."));
        }
        let clause = window_clause::take(cursor)?;
        let Some(select) = select else {
            return Err(PlanError::new("parse::window", "WINDOW belongs to a SELECT", clause.word.to(clause.span)).label("no SELECT here"));
        };
        if self.clauses.contains_key(&select) {
            return Err(PlanError::new("parse::window", "a second WINDOW for the same SELECT", clause.word.to(clause.span))
                .label("said again here")
                .help("A SELECT has one window: put the other into a subquery."));
        }
        self.clauses.insert(select, clause);
        Ok(())
    }

    /// Takes EMIT …, ALLOW UNBOUNDED STATE or OPTIONS (…), if that is next.
    fn take_output(&mut self, cursor: &mut Cursor<'_>, nested: bool) -> Parsed<bool> {
        let start = cursor.at;
        if options::begin(cursor) {
            let wrong = |message: &str, span, label: &str, help: &str| {
                Err(PlanError::new("parse::options", message.to_string(), span).label(label).help(help))
            };
            let word = cursor.here();
            cursor.at += 1;
            let mut errors = Vec::new();
            let taken = options::take_list(cursor, &mut errors)?;
            if let Some(error) = errors.into_iter().next() {
                return Err(error);
            }
            if nested {
                let help = "Write it at the end of the statement, outside of all parentheses.";
                return wrong("OPTIONS inside a query", word, "belongs to the whole statement", help);
            }
            if !self.options.is_empty() {
                return wrong("OPTIONS is said twice", word, "said again here", "Write all options in one list.");
            }
            self.options = taken;
            return Ok(true);
        }
        let emit = if cursor.take(&["EMIT", "CHANGES"]) {
            Some(EmitClause::Changes)
        } else if cursor.take(&["EMIT", "FINAL"])
            || cursor.take(&["EMIT", "AFTER", "WINDOW", "CLOSE"])
            || cursor.take(&["EMIT", "ON", "WINDOW", "CLOSE"])
        {
            Some(EmitClause::Final)
        } else if cursor.take(&["ALLOW", "UNBOUNDED", "STATE"]) {
            None
        } else {
            if cursor.sees(&["EMIT"]) {
                let next = Cursor { at: cursor.at + 1, ..cursor.clone() };
                let near = next.peek().and_then(|tok| tok.word()).and_then(|word| nearest(word, ["CHANGES", "FINAL", "AFTER"]));
                if near.is_some() || next.at_end() {
                    return Err(next.expected_words("CHANGES or FINAL", &["CHANGES", "FINAL", "AFTER"]));
                }
            }
            if cursor.sees(&["ALLOW"]) {
                let next = Cursor { at: cursor.at + 1, ..cursor.clone() };
                let near = next.peek().and_then(|tok| tok.word()).and_then(|word| nearest(word, ["UNBOUNDED"]));
                if near.is_some() {
                    return Err(next.expected_words("UNBOUNDED STATE", &["UNBOUNDED"]));
                }
            }
            return Ok(false);
        };
        let span = cursor.since(start);
        if nested {
            return Err(PlanError::new("parse::emit", format!("{} inside a query", cursor.text(span)), span)
                .label("belongs to the whole statement")
                .help("Write it at the end of the statement, outside of all parentheses."));
        }
        match emit {
            Some(_) if self.emit.is_some() => {
                return Err(PlanError::new("parse::emit", "EMIT is said twice", span)
                    .label("said again here")
                    .help("Keep one of the two."));
            }
            Some(emit) => self.emit = Some((emit, span)),
            None => self.allow_unbounded_state = true,
        }
        Ok(true)
    }
}

/// Takes `PARTITION BY a, b` behind the relation of a window: the named argument `, KEY => (a, b)`. The list ends before DESCRIPTOR;
/// where there is none it has one column, unless it is in parentheses.
fn take_partition(cursor: &mut Cursor<'_>) -> Parsed<Vec<TokenWithSpan>> {
    let place = cursor.peek().map_or_else(datafusion_sql::sqlparser::tokenizer::Span::empty, |tok| tok.token.span);
    cursor.expect("PARTITION")?;
    cursor.expect("BY")?;
    let mark = |token| TokenWithSpan { token, span: place };
    let key = Token::make_word("KEY", None);
    let mut taken = vec![mark(Token::Comma), mark(key), mark(Token::RArrow), mark(Token::LParen)];
    let closed = cursor.take_mark(&Token::LParen);
    let mut ahead = 0;
    let mut depth = 0_usize;
    let mut many = closed;
    while let Some(tok) = cursor.peek_at(ahead) {
        if tok.opens() {
            depth += 1;
        } else if tok.closes() {
            match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            }
        }
        many |= depth == 0 && tok.is("DESCRIPTOR");
        ahead += 1;
    }
    loop {
        if !cursor.peek().is_some_and(|tok| tok.word().is_some() || matches!(tok.token.token, Token::Word(_))) {
            return Err(cursor.expected("a column"));
        }
        while let Some(tok) = cursor.peek().filter(|tok| matches!(tok.token.token, Token::Word(_) | Token::Period)) {
            taken.push(tok.token.clone());
            cursor.at += 1;
        }
        let last = Cursor { at: cursor.at + 1, ..cursor.clone() };
        let more = many && cursor.peek().is_some_and(|tok| tok.is_mark(&Token::Comma)) && !last.sees(&["DESCRIPTOR"]);
        if !more {
            break;
        }
        taken.push(mark(Token::Comma));
        cursor.at += 1;
    }
    if closed {
        cursor.expect_mark(&Token::RParen)?;
    }
    taken.push(mark(Token::RParen));
    Ok(taken)
}

/// The token as sqlparser gets it. It takes `user` for a function without parentheses; here it is a column like any other.
fn plain_word(tok: &Tok, next: Option<&Tok>) -> TokenWithSpan {
    let mut token = tok.token.clone();
    if let Token::Word(word) = &mut token.token
        && word.keyword == Keyword::USER
        && !next.is_some_and(Tok::opens)
    {
        word.keyword = Keyword::NoKeyword;
    }
    token
}

/// `WINDOW` with nothing that could follow it.
fn lone_window(cursor: &Cursor<'_>) -> bool {
    cursor.sees(&["WINDOW"]) && cursor.peek_at(1).is_none_or(|tok| tok.closes() || tok.is_mark(&Token::LParen)) && cursor.at > 0
}

/// A word such as `trigger` used as an alias.
fn is_alias(cursor: &Cursor<'_>) -> bool {
    if cursor.sees_any(&["ON", "WITH"]) {
        return cursor.sees(&["ON"]);
    }
    let followed = match cursor.peek_at(1) {
        None => false,
        Some(next) if cursor.sees(&["TRIGGER"]) => next.is_any(&["ON", "EVERY", "FIRST"]) || next.opens(),
        Some(next) if cursor.sees(&["ALLOWED_LATENESS"]) => {
            next.is("INTERVAL") || matches!(next.token.token, Token::Number(..)) || quoted_text(&next.token.token).is_some()
        }
        Some(next) => next.word().is_some(),
    };
    !followed
}

/// A clause can end with this token.
fn ends_clause(tok: &Tok) -> bool {
    match &tok.token.token {
        Token::Word(_) => !tok.is_any(&[
            "SELECT",
            "DISTINCT",
            "FROM",
            "WHERE",
            "BY",
            "HAVING",
            "AND",
            "OR",
            "NOT",
            "ON",
            "AS",
            "JOIN",
            "LIMIT",
            "OFFSET",
            "CASE",
            "WHEN",
            "THEN",
            "ELSE",
            "IN",
            "LIKE",
            "BETWEEN",
            "IS",
            "UNION",
            "EXCEPT",
            "INTERSECT",
            "QUALIFY",
            "USING",
        ]),
        Token::Number(..) | Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) => true,
        // `SELECT *` may be all there is.
        Token::Mul => true,
        _ => tok.closes(),
    }
}

/// `TUMBLE_START` and its like.
fn is_window_part(tok: &Tok) -> bool {
    tok.word().is_some_and(|word| window_call::window_part(word).is_some())
}

/// A text in single quotes that names a relation.
fn is_quoted_relation(tok: &Tok, before: Option<&Tok>, level: &Level) -> bool {
    let Some(before) = before else { return false };
    quoted_text(&tok.token.token).is_some() && ((level.select.is_some() && before.is("FROM")) || before.is("JOIN"))
}

/// `5m`, `1h 30m`: an INTERVAL, as tokens at the same place, and how many tokens it was. Outside of the arguments of a
/// window a unit stands right behind its number, where SQL allows no word.
fn duration(cursor: &Cursor<'_>, before: Option<&Tok>, window_call: bool) -> Option<(Vec<TokenWithSpan>, usize)> {
    let first = cursor.peek()?;
    let behind_interval = before.is_some_and(|before| before.is("INTERVAL"));
    // `INTERVAL 5 MINUTE` is SQL already.
    let blanks = window_call && !behind_interval;
    let mut text = String::new();
    let mut taken = 0;
    let mut last = first;
    while let (Some(number), Some(unit)) = (cursor.peek_at(taken), cursor.peek_at(taken + 1)) {
        let (Token::Number(digits, false), Some(word)) = (&number.token.token, unit.word()) else { break };
        let adjacent = number.span.end == unit.span.start;
        let long = match durations::short_unit(word) {
            Some(long) if adjacent || blanks => long,
            None if blanks && durations::is_unit(word) => word,
            _ => break,
        };
        if taken > 0 {
            text.push(' ');
        }
        text.push_str(digits);
        text.push(' ');
        text.push_str(long);
        last = unit;
        taken += 2;
    }
    if taken == 0 {
        return None;
    }
    let span = first.token.span.union(&last.token.span);
    let value = TokenWithSpan { token: Token::SingleQuotedString(text), span };
    let interval = TokenWithSpan { token: Token::make_keyword("INTERVAL"), span: first.token.span };
    Some((if behind_interval { vec![value] } else { vec![interval, value] }, taken))
}
