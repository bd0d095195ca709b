//! Strings with escapes: the slow path.

use crate::format::fault::{Fallible, Fault};

/// Appends the text a string stands for; `raw` is what stands between its quotes.
pub(crate) fn unescape(raw: &str, out: &mut String) -> Fallible<()> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied();
        let (character, used) = match escape {
            Some(b'"') => ('"', 2),
            Some(b'\\') => ('\\', 2),
            Some(b'/') => ('/', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode(&rest.as_bytes()[at..])?,
            _ => return Err(Fault::new("unknown escape in a string")),
        };
        out.push(character);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Ok(())
}

/// The character of `\uXXXX` or of two of them, and the bytes they take.
fn unicode(escape: &[u8]) -> Fallible<(char, usize)> {
    let first = unit(escape)?;
    match first {
        0xd800..=0xdbff => {
            if escape.get(6..8) == Some(b"\\u")
                && let second @ 0xdc00..=0xdfff = unit(&escape[6..])?
                && let Some(character) = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            {
                return Ok((character, 12));
            }
            Err(Fault::new("lone surrogate in a string"))
        }
        _ => match char::from_u32(first) {
            Some(character) => Ok((character, 6)),
            None => Err(Fault::new("lone surrogate in a string")),
        },
    }
}

/// The number in `\uXXXX`.
fn unit(escape: &[u8]) -> Fallible<u32> {
    escape
        .get(2..6)
        .and_then(|digits| digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?)))
        .ok_or_else(|| Fault::new("\\u needs four hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let text = |raw: &str| {
            let mut out = String::new();
            unescape(raw, &mut out).map(|()| out).map_err(|fault| fault.sentence())
        };
        assert_eq!(text(r#"a\"\\\/\b\f\n\r\tz"#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(text(r"\u00e9\uD83D\uDE00é").unwrap(), "é😀é");
        assert_eq!(text(r"\u0000").unwrap(), "\0");
        for lone in [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\ud800", r"\ud83d\n"] {
            assert_eq!(text(lone).unwrap_err(), "lone surrogate in a string", "{lone}");
        }
        for wrong in [r"\x", r"\u12", r"\u12g4", r"\ud800\u12"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }
}
