//! Values nobody reads, and values read as their own text.

use super::DEPTH_MAX;
use super::index::Block;
use crate::format::fault::{Fallible, Fault, excerpt};

/// One past the end of the value at a place, looking at no more than is needed to find it: brackets and quotes are matched,
/// numbers and words are not read.
#[inline]
pub(crate) fn skip_value(block: &Block<'_>, at: usize) -> Fallible<usize> {
    match block.peek(at) {
        b'"' => Ok(block.string_end(at + 1)? + 1),
        b'{' | b'[' => skip_nested(block, at),
        _ => {
            let mut end = at;
            while block.peek(end).is_ascii_alphanumeric() || matches!(block.peek(end), b'-' | b'+' | b'.') {
                end += 1;
            }
            if end == at { Err(no_value(block, at)) } else { Ok(end) }
        }
    }
}

/// A fault: there is no value here.
#[cold]
pub(crate) fn no_value(block: &Block<'_>, at: usize) -> Box<Fault> {
    Fault::new(format!("expected a value, found {}", found(block, at)))
}

/// What stands at a place, for messages.
#[cold]
pub(crate) fn found(block: &Block<'_>, at: usize) -> String {
    match block.bytes.get(at) {
        None | Some(b'\n') => "the end of the line".into(),
        Some(_) => {
            let rest = &block.bytes[at..];
            let line = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let value = matches!(rest[0], b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b'a'..=b'z');
            match skip_value(block, at) {
                Ok(end) if value => excerpt(&block.bytes[at..end]),
                _ => excerpt(&rest[..line]),
            }
        }
    }
}

fn skip_nested(block: &Block<'_>, start: usize) -> Fallible<usize> {
    // One bit for each open bracket, the innermost lowest: 1 for a list.
    let mut kinds = 0u128;
    let mut depth = 0;
    let mut at = start;
    loop {
        match block.peek(at) {
            b'"' => at = block.string_end(at + 1)? + 1,
            open @ (b'{' | b'[') => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(too_deep());
                }
                kinds = kinds << 1 | u128::from(open == b'[');
                at += 1;
            }
            close @ (b'}' | b']') => {
                if (kinds & 1 == 1) != (close == b']') {
                    return Err(Fault::new(format!("unexpected '{}'", char::from(close))));
                }
                kinds >>= 1;
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            b'\n' if block.skip_space(at) == at => return Err(Fault::new("brackets are not closed")),
            _ => at += 1,
        }
    }
}

/// A fault: too many brackets.
#[cold]
pub(crate) fn too_deep() -> Box<Fault> {
    Fault::new(format!("nested deeper than {DEPTH_MAX}"))
}

/// One past the end of the number at a place, written as JSON wants it.
#[inline]
pub(crate) fn number_end(block: &Block<'_>, at: usize) -> Option<usize> {
    let mut at = at + usize::from(block.peek(at) == b'-');
    let digits = |mut at: usize| {
        let start = at;
        while block.peek(at).is_ascii_digit() {
            at += 1;
        }
        if at == start { None } else { Some(at) }
    };
    at = if block.peek(at) == b'0' { at + 1 } else { digits(at)? };
    if block.peek(at) == b'.' {
        at = digits(at + 1)?;
    }
    if matches!(block.peek(at), b'e' | b'E') {
        at += 1;
        at += usize::from(matches!(block.peek(at), b'+' | b'-'));
        at = digits(at)?;
    }
    Some(at)
}

/// One past the end of a value that is JSON throughout. `depth` counts the brackets around it.
pub(crate) fn check_value(block: &Block<'_>, at: usize, depth: usize, scratch: &mut String) -> Fallible<usize> {
    match block.peek(at) {
        b'"' => check_string(block, at, scratch),
        open @ (b'{' | b'[') => {
            if depth >= DEPTH_MAX {
                return Err(too_deep());
            }
            let close = if open == b'{' { b'}' } else { b']' };
            let mut at = block.skip_space(at + 1);
            if block.peek(at) == close {
                return Ok(at + 1);
            }
            loop {
                if open == b'{' {
                    at = block.skip_space(check_string(block, at, scratch)?);
                    expect(block, at, b':')?;
                    at = block.skip_space(at + 1);
                }
                at = block.skip_space(check_value(block, at, depth + 1, scratch)?);
                if block.peek(at) == close {
                    return Ok(at + 1);
                }
                expect(block, at, b',')?;
                at = block.skip_space(at + 1);
            }
        }
        b't' => word(block, at, "true"),
        b'f' => word(block, at, "false"),
        b'n' => word(block, at, "null"),
        _ => number_end(block, at).ok_or_else(|| no_value(block, at)),
    }
}

fn check_string(block: &Block<'_>, at: usize, scratch: &mut String) -> Fallible<usize> {
    expect(block, at, b'"')?;
    let end = block.string_end(at + 1)?;
    if block.has_escapes(at + 1, end) {
        scratch.clear();
        super::string::unescape(&block.text[at + 1..end], scratch)?;
    }
    Ok(end + 1)
}

/// Insists on a character.
#[inline]
pub(crate) fn expect(block: &Block<'_>, at: usize, wanted: u8) -> Fallible<()> {
    if block.peek(at) == wanted && at < block.bytes.len() {
        Ok(())
    } else {
        Err(Fault::new(format!("expected '{}', found {}", char::from(wanted), found(block, at))))
    }
}

/// Insists on a word.
pub(crate) fn word(block: &Block<'_>, at: usize, wanted: &str) -> Fallible<usize> {
    let end = at + wanted.len();
    if block.bytes.get(at..end) == Some(wanted.as_bytes()) && !block.peek(end).is_ascii_alphanumeric() {
        Ok(end)
    } else {
        Err(no_value(block, at))
    }
}
