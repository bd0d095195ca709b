//! Where a CSV file can be cut: at newlines outside quotes.

use super::CsvOptions;

/// Finds record boundaries in a file that is read piece by piece, from its start. Carries what the end of one piece means for
/// the next. A quote opens only at the start of a field; elsewhere outside quotes it is a character like any other.
#[derive(Clone, Debug)]
pub struct CsvSplitter {
    quote: Option<u8>,
    escape: Option<u8>,
    delimiter: u8,
    comment: Option<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a record.
    RecordStart,
    /// At the start of a further field.
    FieldStart,
    /// In a field without quotes, or behind its closing quote.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Inside quotes, behind the escape character.
    Escaped,
    /// Behind a quote inside quotes: the end, or the first of two.
    QuoteSeen,
    /// In a comment.
    Comment,
}

impl CsvSplitter {
    /// At the start of a file.
    pub fn new(options: &CsvOptions) -> Self {
        let CsvOptions { quote, escape, delimiter, comment, .. } = *options;
        Self { quote, escape, delimiter, comment, state: State::RecordStart }
    }

    /// Takes the next piece and tells where it can be cut: one past its last newline that ends a record.
    pub fn split_point(&mut self, piece: &[u8]) -> Option<usize> {
        let Some(quote) = self.quote.filter(|_| self.comment.is_none()) else { return self.step_through(piece) };
        let (mut cut, mut at) = (None, 0);
        while at < piece.len() {
            match self.state {
                State::Quoted => {
                    let found = match self.escape {
                        Some(escape) => memchr::memchr2(quote, escape, &piece[at..]),
                        None => memchr::memchr(quote, &piece[at..]),
                    };
                    let Some(found) = found else { return cut };
                    at += found;
                    self.step(piece[at]);
                    at += 1;
                }
                State::Escaped | State::QuoteSeen | State::Comment => {
                    self.step(piece[at]);
                    at += 1;
                    if self.state == State::RecordStart {
                        cut = Some(at);
                    }
                }
                State::RecordStart | State::FieldStart | State::Plain => {
                    let end = memchr::memchr(quote, &piece[at..]).map_or(piece.len(), |found| at + found);
                    if let Some(newline) = memchr::memrchr(b'\n', &piece[at..end]) {
                        cut = Some(at + newline + 1);
                    }
                    match piece[at..end].last() {
                        Some(b'\n') => self.state = State::RecordStart,
                        Some(last) if *last == self.delimiter => self.state = State::FieldStart,
                        Some(_) => self.state = State::Plain,
                        None => {}
                    }
                    if end < piece.len() {
                        self.step(quote);
                    }
                    at = end + 1;
                }
            }
        }
        cut
    }

    fn step_through(&mut self, piece: &[u8]) -> Option<usize> {
        if self.quote.is_none() && self.comment.is_none() {
            return memchr::memrchr(b'\n', piece).map(|at| at + 1);
        }
        let mut cut = None;
        for (at, byte) in piece.iter().enumerate() {
            self.step(*byte);
            if self.state == State::RecordStart {
                cut = Some(at + 1);
            }
        }
        cut
    }

    /// Takes the next piece and tells where its first record or comment that ends in it ends: one past the newline. What stands
    /// behind is not taken.
    pub fn first_end(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            self.step(*byte);
            if self.state == State::RecordStart {
                return Some(at + 1);
            }
        }
        None
    }

    fn step(&mut self, byte: u8) {
        self.state = match self.state {
            State::Comment if byte != b'\n' => State::Comment,
            State::Comment => State::RecordStart,
            State::Escaped => State::Quoted,
            State::Quoted if Some(byte) == self.escape => State::Escaped,
            State::Quoted if Some(byte) == self.quote => State::QuoteSeen,
            State::Quoted => State::Quoted,
            State::QuoteSeen if Some(byte) == self.quote => State::Quoted,
            State::RecordStart if Some(byte) == self.comment => State::Comment,
            State::RecordStart | State::FieldStart if Some(byte) == self.quote => State::Quoted,
            _ if byte == b'\n' => State::RecordStart,
            _ if byte == self.delimiter => State::FieldStart,
            _ => State::Plain,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Jumping from quote to quote finds what stepping finds, wherever the pieces are cut.
        #[test]
        fn jumps_find_what_steps_find(text in "[\"\\\\,\n#ab]{0,80}", escape: bool, comment: bool, cuts in prop::collection::vec(0usize..80, 0..4)) {
            let options = CsvOptions { escape: escape.then_some(b'\\'), comment: comment.then_some(b'#'), ..CsvOptions::default() };
            let mut splitter = CsvSplitter::new(&options);
            let mut steps = CsvSplitter::new(&options);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut start = 0;
            for end in cuts {
                let piece = &text.as_bytes()[start..end];
                let mut expected = None;
                for (at, byte) in piece.iter().enumerate() {
                    steps.step(*byte);
                    if steps.state == State::RecordStart {
                        expected = Some(at + 1);
                    }
                }
                prop_assert_eq!(splitter.split_point(piece), expected);
                prop_assert_eq!(splitter.state, steps.state);
                start = end;
            }
        }
    }

    #[test]
    fn the_first_record_may_hold_newlines_and_stand_behind_comments() {
        let options = CsvOptions { comment: Some(b'#'), ..CsvOptions::default() };
        let text = b"# a \"comment\"\nx,\"y\nz\"\n1,2\n";
        let mut splitter = CsvSplitter::new(&options);
        assert_eq!(splitter.first_end(text), Some(14));
        assert_eq!(splitter.first_end(&text[14..]), Some(8));
        assert_eq!(CsvSplitter::new(&options).first_end(b"x,\"y\n"), None);
    }
}
