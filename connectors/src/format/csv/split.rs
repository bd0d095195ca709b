//! Where a CSV file can be cut: at newlines outside quotes.

use super::CsvOptions;

/// Finds record boundaries in a file that is read piece by piece, from its start. Carries what the end of one piece means for
/// the next.
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
        Self {
            quote: options.quote,
            escape: options.escape,
            delimiter: options.delimiter,
            comment: options.comment,
            state: State::RecordStart,
        }
    }

    /// Takes the next piece and tells where it can be cut: one past its last newline that ends a record.
    pub fn split_point(&mut self, piece: &[u8]) -> Option<usize> {
        let mut cut = None;
        for (at, byte) in piece.iter().enumerate() {
            self.step(*byte);
            if self.state == State::RecordStart {
                cut = Some(at + 1);
            }
        }
        cut
    }

    /// Takes the next piece and tells where its first record that ends in it ends: one past the newline. What stands behind
    /// is not taken.
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
            State::Comment => {
                if byte == b'\n' {
                    State::RecordStart
                } else {
                    State::Comment
                }
            }
            State::Escaped => State::Quoted,
            State::Quoted if Some(byte) == self.escape => State::Escaped,
            State::Quoted if Some(byte) == self.quote => State::QuoteSeen,
            State::Quoted => State::Quoted,
            State::QuoteSeen if Some(byte) == self.quote && self.escape.is_none() => State::Quoted,
            State::RecordStart if Some(byte) == self.comment => State::Comment,
            State::RecordStart | State::FieldStart if Some(byte) == self.quote => State::Quoted,
            _ if byte == b'\n' => State::RecordStart,
            _ if byte == self.delimiter => State::FieldStart,
            _ => State::Plain,
        };
    }
}
