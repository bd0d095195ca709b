//! What arrangements ask of a timestamp: it lies in an epoch, and it crosses processes as words.

use differential_dataflow::lattice::Lattice;
use timely::order::Product;
use timely::progress::{Stamp, Timestamp};

use crate::epoch::Epoch;
use crate::recursion::LoopTime;

/// A timestamp of arranged rows.
pub(crate) trait RowTime: Timestamp + Lattice {
    /// The epoch the time lies in.
    fn epoch(&self) -> Epoch;
    /// The time as two words.
    fn to_words(&self) -> [u64; 2];
    /// The time of two words.
    fn from_words(words: [u64; 2]) -> Self;
    /// The time of a message's rows.
    ///
    /// # Panics
    /// When the message has none or, inside of a scope, several: whoever sends rows sends those of one time.
    fn of(stamp: &Stamp<Self>) -> Self;
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

    fn of(stamp: &Stamp<Self>) -> Self {
        *stamp.least().expect("data has a time")
    }
}

impl RowTime for LoopTime {
    fn epoch(&self) -> Epoch {
        self.outer
    }

    fn to_words(&self) -> [u64; 2] {
        [self.outer, self.inner]
    }

    fn from_words(words: [u64; 2]) -> Self {
        Product::new(words[0], words[1])
    }

    fn of(stamp: &Stamp<Self>) -> Self {
        *stamp.expect_singleton()
    }
}

/// A time as a scope sees it that may lie inside of its own.
pub(crate) trait SeenAs<T>: RowTime {
    /// The time in that scope.
    fn seen(&self) -> T;
}

impl<T: RowTime> SeenAs<T> for T {
    #[inline]
    fn seen(&self) -> T {
        self.clone()
    }
}

impl SeenAs<LoopTime> for Epoch {
    #[inline]
    fn seen(&self) -> LoopTime {
        Product::new(*self, 0)
    }
}
