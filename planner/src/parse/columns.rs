//! The parentheses of a CREATE: columns, the key, the watermark.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::create::take_names;
use super::cursor::{Cursor, Parsed};
use super::{durations, query, types};
use crate::statement::{Column, ColumnKind, Columns, Name, PrimaryKey, Watermark};
use crate::{PlanError, Span};

/// What one item of the list declares.
enum Item {
    Column(Column, Option<Span>),
    Key(PrimaryKey),
    Watermark(Watermark),
}

/// Takes `(…)`. Each item that is wrong is reported and left out.
pub(super) fn take_columns(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<(Columns, Option<Watermark>)> {
    let start = cursor.at;
    cursor.expect_mark(&Token::LParen)?;
    let mut columns = Columns { columns: Vec::new(), primary_key: None, span: Span::default() };
    let mut watermark: Option<Watermark> = None;
    loop {
        let end = declaration_end(cursor);
        let mut item = cursor.until(end);
        let taken = take_item(&mut item).and_then(|taken| {
            item.expect_end("\",\" or \")\"")?;
            Ok(taken)
        });
        match taken {
            Ok(Item::Column(column, None)) => columns.columns.push(column),
            Ok(Item::Column(column, Some(span))) => {
                push_key(&mut columns, PrimaryKey { columns: vec![column.name.clone()], span }, errors);
                columns.columns.push(column);
            }
            Ok(Item::Key(key)) => push_key(&mut columns, key, errors),
            Ok(Item::Watermark(next)) => match watermark {
                None => watermark = Some(next),
                Some(_) => errors.push(
                    PlanError::new("parse::syntax", "WATERMARK FOR is said twice", next.span)
                        .label("said again here")
                        .help("A source has one event time: keep one of the two."),
                ),
            },
            Err(error) => errors.push(error),
        }
        cursor.at = end;
        if cursor.take_mark(&Token::RParen) {
            break;
        }
        cursor.expect_mark(&Token::Comma)?;
    }
    columns.span = cursor.since(start);
    Ok((columns, watermark))
}

/// The end of a declaration: the next comma outside of brackets, those of `MAP<k, v>` included.
fn declaration_end(cursor: &Cursor<'_>) -> usize {
    let mut item = cursor.clone();
    let mut angles = 0usize;
    let first = cursor.item_end();
    loop {
        let end = item.item_end();
        // In a computed column `<` is an operator.
        if !cursor.tokens[cursor.at..end].iter().any(|tok| tok.is("AS")) {
            for tok in &cursor.tokens[item.at..end] {
                match tok.token.token {
                    Token::Lt => angles += 1,
                    Token::Gt => angles = angles.saturating_sub(1),
                    Token::ShiftRight => angles = angles.saturating_sub(2),
                    _ => {}
                }
            }
        }
        if angles == 0 {
            return end;
        }
        if !cursor.tokens.get(end).is_some_and(|tok| tok.is_mark(&Token::Comma)) {
            // One is not closed: it shall not swallow the columns behind it.
            return first;
        }
        item.at = end + 1;
    }
}

fn push_key(columns: &mut Columns, key: PrimaryKey, errors: &mut Vec<PlanError>) {
    if columns.primary_key.is_some() {
        errors.push(
            PlanError::new("parse::syntax", "PRIMARY KEY is said twice", key.span)
                .label("said again here")
                .help("Write one PRIMARY KEY (a, b) NOT ENFORCED with all its columns."),
        );
    } else {
        columns.primary_key = Some(key);
    }
}

fn take_item(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let start = cursor.at;
    if cursor.sees(&["WATERMARK", "FOR"]) {
        return take_watermark(cursor).map(Item::Watermark);
    }
    if cursor.sees(&["CONSTRAINT"]) && cursor.peek_at(2).is_some_and(|tok| tok.is("PRIMARY")) {
        cursor.at += 2;
    }
    if cursor.sees(&["PRIMARY", "KEY"]) {
        cursor.take(&["PRIMARY", "KEY"]);
        if !cursor.sees_mark(&Token::LParen) {
            return Err(cursor.expected("\"(\""));
        }
        let columns = take_names(cursor, "a column of the key")?;
        cursor.take(&["NOT", "ENFORCED"]);
        return Ok(Item::Key(PrimaryKey { columns, span: cursor.since(start) }));
    }
    if cursor.sees_any(&["UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT", "PERIOD", "INDEX"])
        && cursor.peek_at(1).is_some_and(|tok| !is_type_word(tok.word()))
    {
        return Err(unsupported(cursor));
    }
    let name = cursor.name("a column, PRIMARY KEY or WATERMARK FOR")?;
    if cursor.take(&["AS"]) {
        return take_computed(cursor, name, start);
    }
    take_typed(cursor, name, start)
}

fn is_type_word(word: Option<&str>) -> bool {
    word.is_some_and(|word| !word.eq_ignore_ascii_case("KEY"))
}

fn unsupported(cursor: &Cursor<'_>) -> PlanError {
    let what = cursor.text(cursor.here()).to_ascii_uppercase();
    PlanError::new("parse::unsupported_clause", format!("{what} is not supported here"), cursor.here())
        .label("not supported")
        .help("A column may be NOT NULL, PRIMARY KEY NOT ENFORCED, METADATA, or computed: name AS expression.")
}

fn take_computed(cursor: &mut Cursor<'_>, name: Name, start: usize) -> Parsed<Item> {
    let end = cursor.tokens.len();
    let comment_at = match cursor.rest() {
        [.., word, text] if word.is("COMMENT") && super::cursor::quoted_text(&text.token.token).is_some() => Some(end - 2),
        _ => None,
    };
    let (expr, span) = query::take_expr(&mut cursor.until(comment_at.unwrap_or(end)))?;
    cursor.at = comment_at.unwrap_or(end);
    let comment = take_comment(cursor)?;
    Ok(Item::Column(Column { name, kind: ColumnKind::Computed { expr, span }, comment, span: cursor.since(start) }, None))
}

fn take_comment(cursor: &mut Cursor<'_>) -> Parsed<Option<String>> {
    if cursor.take(&["COMMENT"]) {
        return Ok(Some(cursor.string("a comment in single quotes")?.0));
    }
    Ok(None)
}

fn take_typed(cursor: &mut Cursor<'_>, name: Name, start: usize) -> Parsed<Item> {
    let data_type = types::take_type(cursor)?;
    let (mut not_null, mut key_span, mut comment, mut metadata) = (false, None, None, None);
    while !cursor.at_end() {
        let at = cursor.at;
        if cursor.take(&["NOT", "NULL"]) {
            not_null = true;
        } else if cursor.take(&["NULL"]) {
            // The default.
        } else if cursor.take(&["PRIMARY", "KEY"]) {
            cursor.take(&["NOT", "ENFORCED"]);
            key_span = Some(cursor.since(at));
        } else if metadata.is_none() && cursor.take(&["METADATA"]) {
            let key = if cursor.take(&["FROM"]) { Some(cursor.string("the key in single quotes")?) } else { None };
            metadata = Some((key, cursor.take(&["VIRTUAL"])));
        } else if cursor.sees(&["COMMENT"]) {
            comment = take_comment(cursor)?;
        } else if cursor.sees_any(&["DEFAULT", "UNIQUE", "CHECK", "REFERENCES", "GENERATED", "COLLATE", "CONSTRAINT", "AUTO_INCREMENT"]) {
            return Err(unsupported(cursor));
        } else {
            return Err(cursor.expected_words("\",\" or \")\"", &["NOT", "NULL", "PRIMARY", "METADATA", "COMMENT"]));
        }
    }
    let kind = match metadata {
        Some((key, is_virtual)) => ColumnKind::Metadata { data_type, not_null, key, is_virtual },
        None => ColumnKind::Physical { data_type, not_null },
    };
    Ok(Item::Column(Column { name, kind, comment, span: cursor.since(start) }, key_span))
}

fn take_watermark(cursor: &mut Cursor<'_>) -> Parsed<Watermark> {
    let start = cursor.at;
    cursor.expect("WATERMARK")?;
    cursor.expect("FOR")?;
    let column = cursor.name("the event time column")?;
    if cursor.sees(&["WITH"]) {
        let (delay_us, strategy_span) = take_watermark_strategy(cursor)?;
        return Ok(Watermark { column, delay_us, expr: None, strategy_span, span: cursor.since(start) });
    }
    cursor.expect("AS").map_err(|error| error.help(how(&column.value)))?;
    let at = cursor.at;
    match take_watermark_bound(cursor, &column) {
        Ok((delay_us, strategy_span)) => Ok(Watermark { column, delay_us, expr: None, strategy_span, span: cursor.since(start) }),
        Err(Bound::Wrong(error)) => Err(error),
        // Any other expression carries the watermark itself.
        Err(Bound::Other(simple)) => {
            cursor.at = at;
            let end = cursor.tokens.len();
            let (expr, strategy_span) = query::take_expr(&mut cursor.until(end)).map_err(|_| simple)?;
            cursor.at = end;
            Ok(Watermark { column, delay_us: 0, expr: Some(expr), strategy_span, span: cursor.since(start) })
        }
    }
}

/// Why a watermark is not the column minus a duration.
enum Bound {
    /// It is meant to be, and is wrong.
    Wrong(PlanError),
    /// It may be another expression; what to say if it is none.
    Other(PlanError),
}

fn how(column: &str) -> String {
    format!(
        "Write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND, with the longest time rows come late, or AS {column} if they come in order."
    )
}

/// Takes `ts` or `ts - duration`.
fn take_watermark_bound(cursor: &mut Cursor<'_>, column: &Name) -> Result<(i64, Span), Bound> {
    let start = cursor.at;
    let rest = cursor.rest().first().zip(cursor.rest().last()).map_or_else(|| cursor.here(), |(first, last)| first.span.to(last.span));
    let wrong = |message: &str, span: Span| PlanError::new("parse::watermark", message, span).label("not a bound").help(how(&column.value));
    let round = cursor.take_mark(&Token::LParen);
    let name = cursor.name("the event time column").map_err(|error| Bound::Other(error.help(how(&column.value))))?;
    let same = if name.quoted || column.quoted { name.value == column.value } else { name.value.eq_ignore_ascii_case(&column.value) };
    let other = || Bound::Other(wrong("a watermark is the column minus a duration, or an expression that carries it", rest));
    if cursor.sees_any_mark(&[Token::LParen, Token::Period]) || !same {
        return Err(other());
    }
    let mut delay_us = 0;
    if cursor.take_mark(&Token::Minus) {
        let (us, span) = durations::take(cursor, "how late rows may come").map_err(Bound::Wrong)?;
        if us < 0 {
            return Err(Bound::Wrong(wrong("a watermark cannot run ahead of the time", span)));
        }
        delay_us = us;
    }
    if round {
        cursor.expect_mark(&Token::RParen).map_err(Bound::Other)?;
    }
    if !cursor.at_end() {
        return Err(other());
    }
    Ok((delay_us, cursor.since(start)))
}

/// Takes `WITH BOUNDED_OUT_OF_ORDERNESS(10s)` or `WITH ASCENDING_TIMESTAMPS`: the delay, and the bytes. The word WATERMARK
/// may stand behind WITH.
pub(super) fn take_watermark_strategy(cursor: &mut Cursor<'_>) -> Parsed<(i64, Span)> {
    cursor.expect("WITH")?;
    cursor.take(&["WATERMARK"]);
    let start = cursor.at;
    if cursor.take(&["ASCENDING_TIMESTAMPS"]) {
        let mut delay_us = 0;
        if cursor.take_mark(&Token::LParen) {
            // A watermark one microsecond past the greatest time: a row at that very time is late.
            if cursor.take(&["STRICT"]) {
                delay_us = -1;
            }
            cursor.expect_mark(&Token::RParen)?;
        }
        return Ok((delay_us, cursor.since(start)));
    }
    if cursor.take(&["BOUNDED_OUT_OF_ORDERNESS"]) {
        cursor.expect_mark(&Token::LParen)?;
        let (us, span) = durations::take(cursor, "how late rows may come")?;
        if us < 0 {
            return Err(PlanError::new("parse::watermark", "a watermark cannot run ahead of the time", span).label("negative"));
        }
        cursor.expect_mark(&Token::RParen)?;
        return Ok((us, cursor.since(start)));
    }
    let words = ["BOUNDED_OUT_OF_ORDERNESS", "ASCENDING_TIMESTAMPS"];
    Err(cursor.expected_words("BOUNDED_OUT_OF_ORDERNESS(10s) or ASCENDING_TIMESTAMPS", &words))
}
