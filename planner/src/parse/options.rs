//! `key = value`: the options of WITH (…) and of SET, and `${VAR:-default}` in their values.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed, quote, quoted_text};
use super::durations;
use crate::statement::OptionSetting;
use crate::{PlanError, Span};

/// Whether the options of a query are next: `OPTIONS ('state.ttl' = '1h')`. A table's alias with columns has no such key.
pub(super) fn begin(cursor: &Cursor<'_>) -> bool {
    let key = |tok: &super::tokens::Tok| quoted_text(&tok.token.token).is_some();
    cursor.sees(&["OPTIONS"])
        && cursor.peek_at(1).is_some_and(|tok| tok.is_mark(&Token::LParen))
        && (cursor.peek_at(2).is_some_and(key) || cursor.peek_at(3).is_some_and(|tok| tok.is_mark(&Token::Period)))
}

/// Takes `(key = value, …)` behind WITH. Wrong options are reported and left out.
pub(super) fn take_list(cursor: &mut Cursor<'_>, errors: &mut Vec<PlanError>) -> Parsed<Vec<OptionSetting>> {
    cursor.expect_mark(&Token::LParen)?;
    let mut options: Vec<OptionSetting> = Vec::new();
    loop {
        if cursor.take_mark(&Token::RParen) {
            return Ok(options);
        }
        let end = cursor.item_end();
        let mut item = cursor.until(end);
        match take_setting(&mut item, "an option, such as connector = 'file'").and_then(|option| {
            item.expect_end("\",\" or \")\"")?;
            Ok(option)
        }) {
            Ok(option) => push(&mut options, option, errors),
            Err(error) => errors.push(error),
        }
        cursor.at = end;
        if !cursor.take_mark(&Token::Comma) && !cursor.sees_mark(&Token::RParen) {
            return Err(cursor.expected("\",\" or \")\""));
        }
    }
}

/// Adds an option, or reports that its key is there already.
pub(super) fn push(options: &mut Vec<OptionSetting>, option: OptionSetting, errors: &mut Vec<PlanError>) {
    match options.iter().find(|other| other.key.eq_ignore_ascii_case(&option.key)) {
        Some(_) => errors.push(
            PlanError::new("parse::duplicate_option", format!("option {} is given twice", quote(&option.key)), option.key_span)
                .label("given again here")
                .help("Take one of the two out."),
        ),
        None => options.push(option),
    }
}

/// Takes `key = value` to the end of the cursor. `TO` may stand for `=`.
pub(super) fn take_setting(cursor: &mut Cursor<'_>, what: &str) -> Parsed<OptionSetting> {
    let (key, key_span) = take_key(cursor, what)?;
    if !cursor.take_mark(&Token::Eq) && !cursor.take(&["TO"]) {
        return Err(cursor.expected("\"=\"").help(format!("Write {} = value.", cursor.text(key_span))));
    }
    let (value, value_span) = take_value(cursor)?;
    Ok(OptionSetting { key, value, key_span, value_span })
}

/// Takes a key: a text in quotes, or words joined by points and hyphens.
pub(super) fn take_key(cursor: &mut Cursor<'_>, what: &str) -> Parsed<(String, Span)> {
    let Some(first) = cursor.peek() else { return Err(cursor.expected(what)) };
    if let Some(text) = quoted_text(&first.token.token) {
        cursor.at += 1;
        return Ok((text.to_string(), first.span));
    }
    if let Token::Word(word) = &first.token.token {
        if word.quote_style.is_some() {
            cursor.at += 1;
            return Ok((word.value.clone(), first.span));
        }
        let span = take_joined(cursor);
        return Ok((cursor.text(span).to_string(), span));
    }
    Err(cursor.expected(what))
}

/// Takes tokens that stand without blanks between them and could be one word: `scan.startup.mode`, `rows-per-second`.
fn take_joined(cursor: &mut Cursor<'_>) -> Span {
    let start = cursor.at;
    let mut end = cursor.here().start;
    while let Some(tok) = cursor.peek() {
        let part = matches!(tok.token.token, Token::Word(_) | Token::Number(..) | Token::Period | Token::Minus);
        if !part || tok.span.start != end {
            break;
        }
        end = tok.span.end;
        cursor.at += 1;
    }
    cursor.since(start)
}

/// Takes a value and replaces its variables.
fn take_value(cursor: &mut Cursor<'_>) -> Parsed<(String, Span)> {
    let Some(first) = cursor.peek() else { return Err(cursor.expected("a value")) };
    if let Some(text) = quoted_text(&first.token.token) {
        cursor.at += 1;
        return Ok((substitute(cursor, text, first.span)?, first.span));
    }
    if first.is("INTERVAL") {
        let (us, span) = durations::take(cursor, "an interval")?;
        return Ok((durations::as_text(us), span));
    }
    match &first.token.token {
        // `${VAR}` without quotes: the braces are balanced, so its end is the partner of the brace.
        Token::Placeholder(mark) if mark == "$" && cursor.peek_at(1).is_some_and(|tok| tok.is_mark(&Token::LBrace)) => {
            cursor.at += 2;
            let close = cursor.closing();
            let span = first.span.to(cursor.tokens.get(close).map_or(first.span, |tok| tok.span));
            cursor.at = close + 1;
            Ok((substitute(cursor, cursor.text(span), span)?, span))
        }
        Token::Word(_) | Token::Number(..) | Token::Minus | Token::Plus => {
            let start = cursor.at;
            let first_span = take_joined(cursor);
            // A duration of several parts: `1h 30m`, `10 seconds`.
            while let Some(tok) = cursor.peek() {
                if !matches!(tok.token.token, Token::Number(..)) && !tok.word().is_some_and(durations::is_unit) {
                    break;
                }
                cursor.at += 1;
            }
            let span = cursor.since(start);
            let text = cursor.text(span);
            if span != first_span && durations::interval_us(text, None).is_err() {
                return Err(PlanError::new("parse::syntax", format!("{} is not a value", quote(text)), span)
                    .label("several words")
                    .help("Put a value of several words in single quotes."));
            }
            let plain = match text {
                text if text.eq_ignore_ascii_case("true") => "true",
                text if text.eq_ignore_ascii_case("false") => "false",
                text => text,
            };
            Ok((plain.to_string(), span))
        }
        _ => Err(cursor.expected("a value").help("A value is a text in single quotes, a number, true, false, a word or a duration.")),
    }
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$${` is a plain `${`. `raw` are the bytes the text was read from.
pub(super) fn substitute(cursor: &Cursor<'_>, text: &str, raw: Span) -> Parsed<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut seen = 0;
    while let Some(dollar) = rest.find("${") {
        seen += 1;
        if rest[..dollar].ends_with('$') {
            out.push_str(&rest[..dollar - 1]);
            out.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        out.push_str(&rest[..dollar]);
        let span = variable_span(cursor, raw, seen);
        let Some(close) = rest[dollar..].find('}') else {
            return Err(PlanError::new("parse::variable", "unclosed \"${\"", span)
                .label("opened here")
                .help("Close it with \"}\"; write $${ for a plain \"${\"."));
        };
        let inside = &rest[dollar + 2..dollar + close];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name.trim(), Some(default)),
            None => (inside.trim(), None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(PlanError::new("parse::variable", format!("{} is not the name of a variable", quote(name)), span)
                .label("letters, digits and _")
                .help("Write ${NAME} or ${NAME:-default}; write $${ for a plain \"${\"."));
        }
        match (cursor.context.variables)(name)
            .filter(|value| !value.is_empty() || default.is_none())
            .or_else(|| default.map(str::to_string))
        {
            Some(value) => out.push_str(&value),
            None => {
                return Err(PlanError::new("parse::variable", format!("variable {} is not set", quote(name)), span)
                    .label("has no value and no default")
                    .help(format!("Set {name} in the environment, or give a default: ${{{name}:-value}}.")));
            }
        }
        rest = &rest[dollar + close + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Bytes of the nth `${…}` in some bytes of the text.
fn variable_span(cursor: &Cursor<'_>, raw: Span, nth: usize) -> Span {
    let text = cursor.text(raw);
    let Some((start, _)) = text.match_indices("${").nth(nth - 1) else { return raw };
    let end = text[start..].find('}').map_or(text.len(), |close| start + close + 1);
    Span::new(raw.start + start, raw.start + end)
}
