//! From sqlparser's places (line and column, in characters) to bytes of the text.

use datafusion_sql::sqlparser::tokenizer;

use crate::Span;

/// The lines of one text.
#[derive(Clone, Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    /// Byte at which each line begins; the first is 0. Only `\n` ends a line, as in the tokenizer.
    starts: Vec<usize>,
    /// Every letter is one byte, in the whole text.
    ascii: bool,
}

impl<'a> LineIndex<'a> {
    /// Indexes a text.
    pub fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, ascii: text.is_ascii() }
    }

    /// The text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The byte at a place; `None` for sqlparser's empty place (line 0). Places behind the end are the end.
    pub fn byte(&self, place: tokenizer::Location) -> Option<usize> {
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
        let Some(&start) = self.starts.get(line) else { return Some(self.text.len()) };
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let content = &self.text[start..end];
        if self.ascii {
            return Some(start + column.min(content.len()));
        }
        Some(content.char_indices().nth(column).map_or(end, |(at, _)| start + at))
    }

    /// The bytes of spans that follow each other in the text, in one walk over it.
    pub(super) fn ascending(&self) -> impl FnMut(tokenizer::Span) -> Span {
        let mut chars = self.text.char_indices();
        let (mut line, mut column) = (1, 1);
        let end = self.text.len();
        let mut byte = move |place: tokenizer::Location| {
            while (line, column) < (place.line, place.column) {
                match chars.next() {
                    Some((_, '\n')) => (line, column) = (line + 1, 1),
                    Some(_) => column += 1,
                    None => return end,
                }
            }
            chars.offset()
        };
        move |span| Span::new(byte(span.start), byte(span.end))
    }

    /// The bytes of a span of sqlparser's; `None` when it is empty, as it is for words that are in no text.
    pub fn span(&self, span: tokenizer::Span) -> Option<Span> {
        let (start, end) = (self.byte(span.start)?, self.byte(span.end)?);
        Some(Span::new(start, end.max(start)))
    }

    /// Line and column of a byte, both from 1, the column in characters.
    pub fn line_column(&self, byte: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= byte).saturating_sub(1);
        let start = self.starts[line];
        let before = self.text.char_indices().skip_while(|(at, _)| *at < start).take_while(|(at, _)| *at < byte).count();
        (line + 1, before + 1)
    }

    /// The text of a line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> &'a str {
        let Some(&start) = line.checked_sub(1).and_then(|line| self.starts.get(line)) else { return "" };
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// Where sqlparser would put a byte.
    pub fn place(&self, byte: usize) -> tokenizer::Location {
        let (line, column) = self.line_column(byte);
        tokenizer::Location { line: line as u64, column: column as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_what_a_lookup_finds() {
        let text = "SELECT 'µ', b\n\tFROM tüf\r\n\nWHERE x€";
        let lines = LineIndex::new(text);
        let mut walk = lines.ascending();
        let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for pair in bounds.windows(2) {
            let span = tokenizer::Span::new(lines.place(pair[0]), lines.place(pair[1]));
            assert_eq!((Some(walk(span)), lines.span(span)), (Some(Span::new(pair[0], pair[1])), Some(Span::new(pair[0], pair[1]))));
        }
    }

    #[test]
    fn places_are_bytes_whatever_the_letters() {
        let text = "SELECT 'µ', b\n\tFROM tüf\r\nWHERE x";
        let lines = LineIndex::new(text);
        for word in ["SELECT", "b", "FROM", "tüf", "WHERE", "x"] {
            let at = text.find(word).unwrap_or_else(|| panic!("{word} is in the text"));
            assert_eq!(lines.byte(lines.place(at)), Some(at), "{word}");
        }
        assert_eq!(lines.line_column(text.find("tüf").unwrap_or_default()), (2, 7));
        assert_eq!(lines.line(2), "\tFROM tüf");
        assert_eq!(lines.byte(tokenizer::Location { line: 9, column: 1 }), Some(text.len()));
        assert_eq!(lines.byte(tokenizer::Location { line: 1, column: 99 }), Some(text.find('\n').unwrap_or_default() + 1));
        assert_eq!(lines.span(tokenizer::Span::empty()), None);
    }
}
