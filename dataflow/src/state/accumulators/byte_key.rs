//! A byte string as a key of an ordered set: its first bytes as a number, so that comparing seldom leaves the set's own memory.

use std::cmp::Ordering;

use super::multiset::{Look, Tail};

/// Bytes in the head.
const HEAD: usize = 16;
/// Bytes in place: in the head and beside it.
const PLACE: usize = HEAD + 8;

/// What follows the first sixteen bytes.
#[derive(Clone, Debug)]
pub(super) struct ByteTail {
    /// Eight bytes as a big-endian number, zeros behind the end.
    word: u64,
    /// What follows these; not allocated if empty.
    rest: Box<[u8]>,
    /// How many bytes of those in place are meant.
    length: u8,
}

impl Tail for ByteTail {
    fn heap(&self) -> usize {
        // What an allocator adds, about.
        if self.rest.is_empty() { 0 } else { self.rest.len() + 8 }
    }
}

/// Appends a key's bytes.
pub(super) fn append(head: u128, tail: &ByteTail, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&head.to_be_bytes());
    bytes.extend_from_slice(&tail.word.to_be_bytes());
    bytes.truncate(start + usize::from(tail.length));
    bytes.extend_from_slice(&tail.rest);
}

/// A byte string to look up. Orders as bytes do.
pub(super) struct ByteQuery<'a> {
    head: u128,
    word: u64,
    rest: &'a [u8],
    length: u8,
}

impl<'a> ByteQuery<'a> {
    /// A query for bytes.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut padded = [0; PLACE];
        let length = bytes.len().min(PLACE);
        match bytes.first_chunk::<PLACE>() {
            Some(first) => padded = *first,
            None => padded[..length].copy_from_slice(bytes),
        }
        let head = padded.first_chunk::<HEAD>().map_or(0, |chunk| u128::from_be_bytes(*chunk));
        let word = padded.last_chunk::<8>().map_or(0, |chunk| u64::from_be_bytes(*chunk));
        Self { head, word, rest: bytes.get(PLACE..).unwrap_or_default(), length: length as u8 }
    }
}

impl Look for ByteQuery<'_> {
    type Head = u128;
    type Tail = ByteTail;

    #[inline(always)]
    fn head(&self) -> u128 {
        self.head
    }

    /// Where the bytes in place are equal, a string that ends within them is the other's beginning followed by zeros, so it is less; of
    /// two that go on, the rest decides.
    #[inline(always)]
    fn order_tail(&self, tail: &ByteTail) -> Ordering {
        self.word.cmp(&tail.word).then_with(|| self.rest.cmp(&tail.rest)).then_with(|| self.length.cmp(&tail.length))
    }

    fn tail(&self) -> ByteTail {
        ByteTail { word: self.word, rest: Box::from(self.rest), length: self.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_order_as_bytes(
            a in prop::collection::vec(0u8..2, 0..30),
            b in prop::collection::vec(0u8..2, 0..30),
            shared in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for (a, b) in [(a.clone(), b.clone()), ([shared.clone(), a].concat(), [shared, b].concat())] {
                let (query, other) = (ByteQuery::new(&a), ByteQuery::new(&b));
                prop_assert_eq!(query.head().cmp(&other.head()).then_with(|| query.order_tail(&other.tail())), a.cmp(&b));
                let mut bytes = vec![7];
                append(other.head(), &other.tail(), &mut bytes);
                prop_assert_eq!(&bytes[1..], &b[..]);
            }
        }
    }
}
