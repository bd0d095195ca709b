//! Records cut into fields.

use super::CsvOptions;
use crate::format::fault::{Fallible, Fault, excerpt};

/// The characters that cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
}

impl Dialect {
    pub(crate) fn new(options: &CsvOptions) -> Self {
        let CsvOptions { delimiter, quote, escape, comment, .. } = *options;
        Self { delimiter, quote, escape, comment }
    }
}

/// One bit for each delimiter, newline, quote and escape character.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    words: Vec<u64>,
}

impl Stops {
    /// Marks a chunk.
    pub(crate) fn build(&mut self, bytes: &[u8], dialect: Dialect) {
        let quote = dialect.quote.unwrap_or(b'\n');
        let escape = dialect.escape.unwrap_or(b'\n');
        self.words.clear();
        self.words.reserve(bytes.len().div_ceil(64));
        let mut chunks = bytes.chunks_exact(64);
        for chunk in &mut chunks {
            if let Ok(chunk) = <&[u8; 64]>::try_from(chunk) {
                self.words.push(word(chunk, dialect.delimiter, quote, escape));
            }
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut padded = [0u8; 64];
            padded[..rest.len()].copy_from_slice(rest);
            self.words.push(word(&padded, dialect.delimiter, quote, escape));
        }
    }

    /// The first mark at a place or behind it, at most `len`.
    #[inline(always)]
    pub(crate) fn from(&self, start: usize, len: usize) -> usize {
        let mut word = start / 64;
        let Some(bits) = self.words.get(word) else { return len };
        let mut bits = bits & (u64::MAX << (start % 64));
        while bits == 0 {
            word += 1;
            match self.words.get(word) {
                Some(next) => bits = *next,
                None => return len,
            }
        }
        (word * 64 + bits.trailing_zeros() as usize).min(len)
    }
}

#[inline(always)]
fn word(chunk: &[u8; 64], delimiter: u8, quote: u8, escape: u8) -> u64 {
    let mut flags = [0u8; 64];
    for (flag, byte) in flags.iter_mut().zip(chunk) {
        *flag = u8::from(*byte == delimiter) | u8::from(*byte == b'\n') | u8::from(*byte == quote) | u8::from(*byte == escape);
    }
    let mut out = 0u64;
    for (at, eight) in flags.chunks_exact(8).enumerate() {
        let word = <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes);
        out |= (word.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
    }
    out
}

/// A field as it stands in a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawField {
    /// Its content: without quotes and carriage return.
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) quoted: bool,
    /// Quotes are doubled or characters escaped inside.
    pub(crate) escapes: bool,
    /// Place of the delimiter or newline behind, or the end.
    pub(crate) stop: usize,
    /// What is wrong with it: text behind the closing quote, or no closing quote.
    pub(crate) fault: Option<RawFault>,
}

/// What can be wrong with a field before it is a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawFault {
    /// The quotes are not closed before the end.
    Open,
    /// There is text behind the closing quote.
    Behind,
}

impl RawFault {
    #[cold]
    pub(crate) fn fault(self, bytes: &[u8]) -> Box<Fault> {
        match self {
            Self::Open => Fault::new("a quoted field is not closed"),
            Self::Behind => Fault::new(format!("text behind a closing quote: {}", excerpt(bytes))),
        }
    }
}

/// Cuts the field that starts at a place.
#[inline(always)]
pub(crate) fn field(bytes: &[u8], stops: &Stops, dialect: Dialect, start: usize) -> RawField {
    if dialect.quote.is_some() && bytes.get(start).copied() == dialect.quote {
        return quoted_field(bytes, stops, dialect, start);
    }
    let stop = plain_stop(bytes, stops, dialect, start);
    RawField { start, end: without_return(bytes, start, stop), quoted: false, escapes: false, stop, fault: None }
}

/// The delimiter or newline that ends unquoted text.
#[inline(always)]
fn plain_stop(bytes: &[u8], stops: &Stops, dialect: Dialect, start: usize) -> usize {
    let mut stop = stops.from(start, bytes.len());
    while let Some(byte) = bytes.get(stop) {
        if *byte == dialect.delimiter || *byte == b'\n' {
            break;
        }
        stop = stops.from(stop + 1, bytes.len());
    }
    stop
}

/// Without the carriage return before a newline or the end.
#[inline(always)]
fn without_return(bytes: &[u8], start: usize, stop: usize) -> usize {
    if stop > start && bytes[stop - 1] == b'\r' && bytes.get(stop).is_none_or(|byte| *byte == b'\n') { stop - 1 } else { stop }
}

fn quoted_field(bytes: &[u8], stops: &Stops, dialect: Dialect, open: usize) -> RawField {
    let start = open + 1;
    let (mut at, mut escapes) = (start, false);
    loop {
        at = stops.from(at, bytes.len());
        match bytes.get(at).copied() {
            None => return RawField { start, end: at, quoted: true, escapes, stop: at, fault: Some(RawFault::Open) },
            byte if byte == dialect.escape => {
                escapes = true;
                at += 2;
            }
            byte if byte == dialect.quote => {
                if bytes.get(at + 1).copied() != dialect.quote {
                    break;
                }
                escapes = true;
                at += 2;
            }
            Some(_) => at += 1,
        }
    }
    let stop = plain_stop(bytes, stops, dialect, at + 1);
    let behind = without_return(bytes, at + 1, stop) > at + 1;
    RawField { start, end: at, quoted: true, escapes, stop, fault: behind.then_some(RawFault::Behind) }
}

/// Appends the content of a quoted field with its escapes undone.
pub(crate) fn undo_escapes(content: &str, dialect: Dialect, out: &mut String) {
    let mut characters = content.chars();
    while let Some(character) = characters.next() {
        let special = |byte: Option<u8>| byte.is_some_and(|byte| char::from(byte) == character);
        if special(dialect.escape) || special(dialect.quote) {
            out.extend(characters.next());
        } else {
            out.push(character);
        }
    }
}

/// Whether a line that starts at a place is a comment.
#[inline(always)]
pub(crate) fn is_comment(bytes: &[u8], dialect: Dialect, start: usize) -> bool {
    dialect.comment.is_some() && bytes.get(start).copied() == dialect.comment
}

/// One past the line that holds a place.
pub(crate) fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1)
}

/// All fields of the record at a place as texts, and one past its end.
pub(crate) fn texts(text: &str, stops: &Stops, dialect: Dialect, start: usize, out: &mut Vec<(String, bool)>) -> Fallible<usize> {
    let bytes = text.as_bytes();
    let mut at = start;
    loop {
        let field = field(bytes, stops, dialect, at);
        if let Some(fault) = field.fault {
            return Err(fault.fault(&bytes[field.end..field.stop]));
        }
        let content = &text[field.start..field.end];
        let mut undone = String::with_capacity(content.len());
        match field.escapes {
            true => undo_escapes(content, dialect, &mut undone),
            false => undone.push_str(content),
        }
        out.push((undone, field.quoted));
        if bytes.get(field.stop).copied() != Some(dialect.delimiter) {
            return Ok((field.stop + 1).min(bytes.len()));
        }
        at = field.stop + 1;
    }
}

/// The fields of the first record, behind a byte order mark and comments.
pub(crate) fn header_fields(record: &[u8], options: &CsvOptions) -> Result<Vec<String>, String> {
    let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
    let text = std::str::from_utf8(record).map_err(|_| "the header is not UTF-8")?;
    let dialect = Dialect::new(options);
    let mut start = 0;
    while is_comment(record, dialect, start) {
        start = line_end(record, start);
    }
    let mut stops = Stops::default();
    stops.build(record, dialect);
    let mut fields = Vec::new();
    texts(text, &stops, dialect, start, &mut fields).map_err(|fault| format!("the header is not CSV: {}", fault.sentence()))?;
    Ok(fields.into_iter().map(|(name, _)| name).collect())
}
