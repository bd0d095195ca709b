//! Where strings end, found before parsing: one bit for each byte that can stop a string, and one for each backslash.
//!
//! Written so that the compiler vectorises the comparisons; sixty-four flags are then pressed into a word by multiplication.

use crate::format::fault::{Fallible, Fault};

/// The bits of one block of text.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Quotes that are not escaped, and control characters.
    stops: Vec<u64>,
    backslashes: Vec<u64>,
    any_backslash: bool,
}

const LANES: u64 = 0x0101_0101_0101_0101;

impl Index {
    /// Indexes a block, which begins outside strings.
    pub(crate) fn build(&mut self, bytes: &[u8]) {
        let words = bytes.len().div_ceil(64);
        self.stops.clear();
        self.stops.reserve(words);
        self.backslashes.clear();
        self.backslashes.reserve(words);
        let mut escape = Escape { next: 0, any: false };
        let mut chunks = bytes.chunks_exact(64);
        for chunk in &mut chunks {
            if let Ok(chunk) = <&[u8; 64]>::try_from(chunk) {
                self.word(chunk, &mut escape);
            }
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut padded = [b' '; 64];
            padded[..rest.len()].copy_from_slice(rest);
            self.word(&padded, &mut escape);
        }
        self.any_backslash = escape.any;
    }

    #[inline(always)]
    fn word(&mut self, chunk: &[u8; 64], escape: &mut Escape) {
        let mut stops = [0u8; 64];
        let mut any_backslash = 0u8;
        for (stop, byte) in stops.iter_mut().zip(chunk) {
            *stop = u8::from(*byte == b'"') | u8::from(*byte < 0x20);
            any_backslash |= u8::from(*byte == b'\\');
        }
        if u64::from(any_backslash) | escape.next == 0 {
            self.stops.push(press(&stops));
            self.backslashes.push(0);
        } else {
            self.word_with_escapes(chunk, escape);
        }
    }

    #[inline(never)]
    fn word_with_escapes(&mut self, chunk: &[u8; 64], escape: &mut Escape) {
        escape.any = true;
        let backslashes = press(&chunk.map(|byte| u8::from(byte == b'\\')));
        let quotes = press(&chunk.map(|byte| u8::from(byte == b'"')));
        let controls = press(&chunk.map(|byte| u8::from(byte < 0x20)));
        self.stops.push(quotes & !escape.escaped(backslashes) | controls);
        self.backslashes.push(backslashes);
    }
}

/// Sixty-four flags, each 0 or 1, as a word.
#[inline(always)]
fn press(flags: &[u8; 64]) -> u64 {
    let mut out = 0u64;
    for (at, eight) in flags.chunks_exact(8).enumerate() {
        let word = <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes) & LANES;
        out |= (word.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
    }
    out
}

/// Which characters are escaped: those behind an odd number of backslashes.
struct Escape {
    /// 1 if the first character of the next word is escaped.
    next: u64,
    any: bool,
}

impl Escape {
    /// The method is simdjson's: adding carries through runs of backslashes that begin at odd places.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.next;
        let follows = backslashes << 1 | self.next;
        let odd_starts = backslashes & !EVEN & !follows;
        let (runs, overflow) = odd_starts.overflowing_add(backslashes);
        self.next = u64::from(overflow);
        (EVEN ^ (runs << 1)) & follows
    }
}

/// A block of text with its index.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) text: &'a str,
    pub(crate) bytes: &'a [u8],
    index: &'a Index,
    /// A newline ends the record; otherwise it is white space.
    lines: bool,
}

impl<'a> Block<'a> {
    /// A block of lines.
    pub(crate) fn lines(text: &'a str, index: &'a mut Index) -> Self {
        index.build(text.as_bytes());
        Self { text, bytes: text.as_bytes(), index, lines: true }
    }

    /// One value.
    pub(crate) fn value(text: &'a str, index: &'a mut Index) -> Self {
        Self { lines: false, ..Self::lines(text, index) }
    }

    /// The byte at a place; a newline, which nothing but an end expects, behind the end.
    #[inline(always)]
    pub(crate) fn peek(&self, at: usize) -> u8 {
        match self.bytes.get(at) {
            Some(byte) => *byte,
            None => b'\n',
        }
    }

    /// Skips white space.
    #[inline]
    pub(crate) fn skip_space(&self, mut at: usize) -> usize {
        loop {
            match self.peek(at) {
                b' ' | b'\t' | b'\r' => at += 1,
                b'\n' if !self.lines && at < self.bytes.len() => at += 1,
                _ => return at,
            }
        }
    }

    /// The place of the quote that closes the string whose first character is at a place.
    #[inline(always)]
    pub(crate) fn string_end(&self, start: usize) -> Fallible<usize> {
        let end = self.stop(start);
        if self.peek(end) == b'"' { Ok(end) } else { Err(self.string_fault(end)) }
    }

    #[inline(always)]
    fn stop(&self, start: usize) -> usize {
        let mut word = start / 64;
        let Some(bits) = self.index.stops.get(word) else { return self.bytes.len() };
        let mut bits = bits & (u64::MAX << (start % 64));
        while bits == 0 {
            word += 1;
            match self.index.stops.get(word) {
                Some(next) => bits = *next,
                None => return self.bytes.len(),
            }
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    #[cold]
    fn string_fault(&self, end: usize) -> Box<Fault> {
        match self.bytes.get(end) {
            None | Some(b'\n') => Fault::new("a string is not closed"),
            Some(byte) => Fault::new(format!("control character 0x{byte:02x} in a string")),
        }
    }

    /// Whether the text of a string has escapes.
    #[inline(always)]
    pub(crate) fn has_escapes(&self, start: usize, end: usize) -> bool {
        self.index.any_backslash && self.any_backslash(start, end)
    }

    fn any_backslash(&self, start: usize, end: usize) -> bool {
        if start == end {
            return false;
        }
        let (first, last) = (start / 64, (end - 1) / 64);
        (first..=last).any(|word| {
            let mut bits = self.index.backslashes.get(word).copied().unwrap_or(0);
            if word == first {
                bits &= u64::MAX << (start % 64);
            }
            if word == last {
                bits &= u64::MAX >> (63 - (end - 1) % 64);
            }
            bits != 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Each stop is where a loop over characters finds it.
        #[test]
        fn stops_are_where_a_loop_finds_them(text in "[ab\"\\\\\n\u{1}é]{0,300}") {
            let mut index = Index::default();
            let block = Block::lines(&text, &mut index);
            let mut escaped = false;
            let mut stops = Vec::new();
            for (at, byte) in text.bytes().enumerate() {
                if byte < 0x20 || (byte == b'"' && !escaped) {
                    stops.push(at);
                }
                escaped = byte == b'\\' && !escaped;
            }
            stops.push(text.len());
            for at in 0..text.len() {
                prop_assert_eq!(block.stop(at), *stops.iter().find(|stop| **stop >= at).unwrap());
                for end in at..text.len() {
                    prop_assert_eq!(block.has_escapes(at, end), text.as_bytes()[at..end].contains(&b'\\'));
                }
            }
        }
    }
}
