//! Values nobody reads, and values read as their own text.

use super::DEPTH_MAX;
use super::index::Block;
use crate::format::fault::{Fallible, Fault, excerpt};

/// One past the end of the value at a place, which must be JSON: whether a record is bad does not depend on the columns read.
/// `depth` counts the brackets around it.
#[inline(always)]
pub(crate) fn skip_value(block: &Block<'_>, at: usize, depth: usize, scratch: &mut String) -> Fallible<usize> {
    if block.peek(at) == b'"' { check_string(block, at, scratch) } else { check_value(block, at, depth, scratch) }
}

/// A fault: there is no value here.
#[cold]
pub(crate) fn no_value(block: &Block<'_>, at: usize) -> Box<Fault> {
    Fault::new(format!("expected a value, found {}", found(block, at)))
}

/// What stands at a place, for messages: a string, a word or number, or all that is in brackets; else the rest of the line.
#[cold]
pub(crate) fn found(block: &Block<'_>, at: usize) -> String {
    let rest = match block.bytes.get(at..) {
        None | Some([] | [b'\n', ..]) => return "the end of the line".into(),
        Some(rest) => &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())],
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_');
    let len = match rest[0] {
        b'"' => block.string_end(at + 1).ok().map(|end| end + 1 - at),
        b'{' | b'[' => bracketed(block, at).map(|end| end - at),
        byte if plain(&byte) => Some(rest.iter().take_while(|byte| plain(byte)).count()),
        _ => None,
    };
    excerpt(&rest[..len.unwrap_or(rest.len()).min(rest.len())])
}

/// One past the bracket that closes the one at a place, if any does.
fn bracketed(block: &Block<'_>, mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match block.bytes.get(at)? {
            b'"' => at = block.string_end(at + 1).ok()?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
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

/// [`skip_value`], without the shortcut.
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

#[inline(always)]
fn check_string(block: &Block<'_>, at: usize, scratch: &mut String) -> Fallible<usize> {
    if block.peek(at) != b'"' {
        expect(block, at, b'"')?;
    }
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
