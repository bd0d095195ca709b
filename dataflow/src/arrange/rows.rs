//! # Sorted rows
//!
//! The rows of a chunk, without their times: sorted by (hash, key, value), each key once. Hashes are evenly spread, so a key is
//! found by interpolation, with one or two steps in memory.

use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use super::column::Column;
use super::row_bytes::RowBytes;
use super::shared::Shared;

/// The rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// The hash of each key.
    pub(super) hashes: Vec<u64>,
    /// The keys.
    pub(super) keys: RowBytes,
    pub(super) ends: KeyEnds,
    /// The other columns of each row.
    pub(super) values: RowBytes,
    /// How often each row counts.
    pub(super) diffs: Column<i64>,
    /// The event time of each row, where rows are forgotten by it.
    pub(super) events: Option<Events>,
    pub(super) shared: Rc<Shared>,
    counted: bool,
}

/// Event times and their range.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(super) each: Vec<i64>,
    pub(super) least: i64,
    pub(super) greatest: i64,
}

/// Behind which row each key ends.
#[derive(Debug)]
pub(super) enum KeyEnds {
    /// Every key has one row.
    Unique(usize),
    Each(Vec<u32>),
}

impl KeyEnds {
    fn end(&self, key: usize) -> usize {
        match self {
            Self::Unique(_) => key + 1,
            Self::Each(ends) => ends[key] as usize,
        }
    }

    fn start(&self, key: usize) -> usize {
        match self {
            Self::Unique(_) => key,
            Self::Each(ends) => key.checked_sub(1).map_or(0, |before| ends[before] as usize),
        }
    }

    fn each(&mut self) -> &mut Vec<u32> {
        if let Self::Unique(keys) = self {
            *self = Self::Each((1..=*keys as u32).collect());
        }
        match self {
            Self::Each(ends) => ends,
            Self::Unique(_) => unreachable!("changed above"),
        }
    }
}

/// A key as rows are ordered by it.
pub(crate) type Key<'a> = (u64, &'a [u8]);

impl Rows {
    /// Without rows.
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            hashes: Vec::new(),
            keys: RowBytes::default(),
            ends: KeyEnds::Unique(0),
            values: RowBytes::default(),
            diffs: Column::default(),
            events: None,
            shared,
            counted: false,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys.
    pub(crate) fn key_count(&self) -> usize {
        self.hashes.len()
    }

    /// One key.
    #[inline]
    pub(crate) fn key(&self, key: usize) -> Key<'_> {
        (self.hashes[key], self.keys.get(key))
    }

    /// The rows of a key.
    #[inline]
    pub(crate) fn rows_of(&self, key: usize) -> Range<usize> {
        self.ends.start(key)..self.ends.end(key)
    }

    /// The key a row belongs to.
    pub(super) fn key_of(&self, row: usize) -> usize {
        match &self.ends {
            KeyEnds::Unique(_) => row,
            KeyEnds::Each(ends) => ends.partition_point(|end| *end as usize <= row),
        }
    }

    /// The columns besides the key of a row.
    #[inline]
    pub(crate) fn value(&self, row: usize) -> &[u8] {
        self.values.get(row)
    }

    /// How often a row counts.
    #[inline]
    pub(crate) fn diff(&self, row: usize) -> i64 {
        *self.diffs.get(row)
    }

    /// The event time of a row.
    #[inline]
    pub(crate) fn event(&self, row: usize) -> Option<i64> {
        self.events.as_ref().map(|events| events.each[row])
    }

    /// The first key from `from` on that is not less than `target`.
    pub(crate) fn seek(&self, from: usize, target: Key<'_>) -> usize {
        let hashes = &self.hashes;
        let (hash, bytes) = target;
        let mut at = from;
        // Near first: a dense walk moves by a few keys.
        for _ in 0..4 {
            match hashes.get(at) {
                Some(found) if *found < hash => at += 1,
                _ => return self.seek_among_equals(at, hash, bytes),
            }
        }
        let last = hashes.len() - 1;
        if at > last || hashes[last] < hash {
            return hashes.len();
        }
        // Between `at` and the last, where an even spread would have it; then outwards in growing steps.
        let span = (hashes[last] - hashes[at]) as u128;
        let guess = match span {
            0 => at,
            span => at + ((hash.saturating_sub(hashes[at]) as u128 * (last - at) as u128) / span) as usize,
        };
        let guess = guess.min(last);
        let (mut low, mut high);
        let mut step = 8;
        if hashes[guess] < hash {
            low = guess;
            high = guess + step;
            while high < last && hashes[high] < hash {
                low = high;
                step *= 2;
                high += step;
            }
            high = high.min(last);
        } else {
            high = guess;
            low = guess.saturating_sub(step).max(at);
            while low > at && hashes[low] >= hash {
                high = low;
                step *= 2;
                low = low.saturating_sub(step).max(at);
            }
        }
        let found = low + hashes[low..=high].partition_point(|found| *found < hash);
        self.seek_among_equals(found, hash, bytes)
    }

    #[inline]
    fn seek_among_equals(&self, mut at: usize, hash: u64, bytes: &[u8]) -> usize {
        while at < self.hashes.len() && self.hashes[at] == hash && self.keys.get(at) < bytes {
            at += 1;
        }
        at
    }

    /// Adds a row behind all others. `same_key`: it has the key of the last one.
    #[inline]
    pub(super) fn push(&mut self, key: Key<'_>, same_key: bool, value: &[u8], diff: i64, event: Option<i64>) {
        if same_key {
            let end = self.ends.each().last_mut().expect("there is a last key");
            *end += 1;
        } else {
            self.hashes.push(key.0);
            self.keys.push(key.1);
            match &mut self.ends {
                KeyEnds::Unique(keys) => *keys += 1,
                KeyEnds::Each(ends) => ends.push(self.values.len() as u32 + 1),
            }
        }
        self.values.push(value);
        self.diffs.push(diff);
        if let Some(event) = event {
            let events = self.events.get_or_insert(Events { each: Vec::new(), least: event, greatest: event });
            events.each.push(event);
            events.least = events.least.min(event);
            events.greatest = events.greatest.max(event);
        }
    }

    /// Whether the last key is this one.
    pub(super) fn ends_with(&self, key: Key<'_>) -> bool {
        self.key_count().checked_sub(1).is_some_and(|last| self.key(last) == key)
    }

    /// Adds stretches of rows of other rows, which lie behind all of these.
    pub(super) fn extend(&mut self, other: &Self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let base = self.len();
        let (mut first, last) = (other.key_of(rows.start), other.key_of(rows.end - 1));
        let joined = self.ends_with(other.key(first));
        if joined {
            let end = other.ends.end(first).min(rows.end);
            let last = self.ends.each().last_mut().expect("there is a last key");
            *last += (end - rows.start) as u32;
            first += 1;
        }
        if first <= last {
            self.hashes.extend_from_slice(&other.hashes[first..=last]);
            self.keys.extend(&other.keys, first..last + 1);
            match (&mut self.ends, &other.ends) {
                (KeyEnds::Unique(keys), KeyEnds::Unique(_)) => *keys += last + 1 - first,
                (ends, _) => {
                    let ends = ends.each();
                    ends.extend((first..=last).map(|key| (base + other.ends.end(key).min(rows.end) - rows.start) as u32));
                }
            }
        }
        self.values.extend(&other.values, rows.clone());
        self.diffs.extend(&other.diffs, rows.clone());
        if let Some(theirs) = &other.events {
            let each = &theirs.each[rows];
            let least = each.iter().copied().min().expect("some rows");
            let greatest = each.iter().copied().max().expect("some rows");
            let events = self.events.get_or_insert(Events { each: Vec::new(), least, greatest });
            events.each.extend_from_slice(each);
            events.least = events.least.min(least);
            events.greatest = events.greatest.max(greatest);
        }
    }

    /// Compares rows of one key by what else they hold.
    pub(super) fn compare_values(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        self.value(row).cmp(other.value(other_row))
    }

    /// Ends writing: unused room is given back and the memory counted.
    pub(super) fn seal(mut self) -> Rc<Self> {
        self.hashes.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
        self.diffs.shrink_to_fit();
        if let KeyEnds::Each(ends) = &mut self.ends {
            ends.shrink_to_fit();
        }
        if let Some(events) = &mut self.events {
            events.each.shrink_to_fit();
        }
        self.shared.hold(self.len(), self.bytes());
        self.counted = true;
        Rc::new(self)
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        let ends = match &self.ends {
            KeyEnds::Unique(_) => 0,
            KeyEnds::Each(ends) => ends.capacity() * 4,
        };
        let events = self.events.as_ref().map_or(0, |events| events.each.capacity() * 8);
        self.hashes.capacity() * 8 + self.keys.bytes() + ends + self.values.bytes() + self.diffs.bytes() + events
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if self.counted {
            self.shared.release(self.len(), self.bytes());
        }
    }
}
