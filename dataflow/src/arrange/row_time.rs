//! What arrangements ask of a timestamp: it lies in an epoch, and it crosses processes as words.

use differential_dataflow::lattice::Lattice;
use timely::progress::Timestamp;

use crate::epoch::Epoch;

/// A timestamp of arranged rows.
pub(crate) trait RowTime: Timestamp + Lattice {
    /// The epoch the time lies in.
    fn epoch(&self) -> Epoch;
    /// The time as two words.
    fn to_words(&self) -> [u64; 2];
    /// The time of two words.
    fn from_words(words: [u64; 2]) -> Self;
}

impl RowTime for Epoch {
    fn epoch(&self) -> Epoch {
        *self
    }

    fn to_words(&self) -> [u64; 2] {
        [*self, 0]
    }

    fn from_words(words: [u64; 2]) -> Self {
        words[0]
    }
}
