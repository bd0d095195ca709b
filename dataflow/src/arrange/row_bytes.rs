//! # Row bytes
//!
//! Strings of bytes, one after the other. Where all are of one length, which is the case for keys and values without text, only
//! the length is kept.

/// A list of byte strings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowBytes {
    bytes: Vec<u8>,
    ends: Ends,
}

#[derive(Clone, Debug, PartialEq)]
enum Ends {
    /// So many strings of one width.
    Fixed { width: usize, len: usize },
    /// Where each string ends.
    Each(Vec<u32>),
    /// The same for more than 4 GiB.
    Wide(Vec<u64>),
}

impl Default for RowBytes {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: Ends::Fixed { width: 0, len: 0 } }
    }
}

impl RowBytes {
    /// An empty list with room.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Number of strings.
    pub(crate) fn len(&self) -> usize {
        match &self.ends {
            Ends::Fixed { len, .. } => *len,
            Ends::Each(ends) => ends.len(),
            Ends::Wide(ends) => ends.len(),
        }
    }

    /// Where a string starts. The number of strings gives the end of the last.
    #[inline]
    fn start(&self, row: usize) -> usize {
        match &self.ends {
            Ends::Fixed { width, .. } => row * width,
            Ends::Each(ends) => row.checked_sub(1).map_or(0, |before| ends[before] as usize),
            Ends::Wide(ends) => row.checked_sub(1).map_or(0, |before| ends[before] as usize),
        }
    }

    /// One string.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.start(row)..self.start(row + 1)]
    }

    /// Adds a string.
    #[inline]
    pub(crate) fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        match &mut self.ends {
            Ends::Fixed { width, len } if *width == string.len() => *len += 1,
            Ends::Fixed { width, len } if *len == 0 => (*width, *len) = (string.len(), 1),
            _ => self.push_end(self.bytes.len()),
        }
    }

    fn push_end(&mut self, end: usize) {
        if let Ends::Fixed { width, len } = self.ends {
            self.ends = match u32::try_from(len * width) {
                Ok(_) => Ends::Each((1..=len).map(|row| (row * width) as u32).collect()),
                Err(_) => Ends::Wide((1..=len).map(|row| (row * width) as u64).collect()),
            };
        }
        if let (Ends::Each(ends), Err(_)) = (&self.ends, u32::try_from(end)) {
            self.ends = Ends::Wide(ends.iter().map(|end| u64::from(*end)).collect());
        }
        match &mut self.ends {
            Ends::Each(ends) => ends.push(end as u32),
            Ends::Wide(ends) => ends.push(end as u64),
            Ends::Fixed { .. } => unreachable!("widened above"),
        }
    }

    /// Adds the strings of another list at `rows`.
    pub(crate) fn extend(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        if rows.len() == 1 {
            self.push(other.get(rows.start));
            return;
        }
        let (first, last) = (other.start(rows.start), other.start(rows.end));
        match (&mut self.ends, &other.ends) {
            (Ends::Fixed { width, len }, Ends::Fixed { width: theirs, .. }) if *len == 0 || width == theirs => {
                (*width, *len) = (*theirs, *len + rows.len());
                self.bytes.extend_from_slice(&other.bytes[first..last]);
            }
            _ => {
                let base = self.bytes.len();
                self.bytes.extend_from_slice(&other.bytes[first..last]);
                for row in rows {
                    self.push_end(base + other.start(row + 1) - first);
                }
            }
        }
    }

    /// Gives back unused room.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        match &mut self.ends {
            Ends::Fixed { .. } => {}
            Ends::Each(ends) => ends.shrink_to_fit(),
            Ends::Wide(ends) => ends.shrink_to_fit(),
        }
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.capacity()
            + match &self.ends {
                Ends::Fixed { .. } => 0,
                Ends::Each(ends) => ends.capacity() * 4,
                Ends::Wide(ends) => ends.capacity() * 8,
            }
    }

    /// Bytes in the strings from one to another.
    pub(crate) fn bytes_between(&self, rows: std::ops::Range<usize>) -> usize {
        self.start(rows.end) - self.start(rows.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_come_back(parts in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3), 0..6), 0..5)) {
            let mut all = RowBytes::default();
            for part in &parts {
                let mut list = RowBytes::default();
                part.iter().for_each(|string| list.push(string));
                all.extend(&list, 0..list.len());
            }
            let wanted: Vec<&Vec<u8>> = parts.iter().flatten().collect();
            prop_assert_eq!(all.len(), wanted.len());
            for (row, string) in wanted.iter().enumerate() {
                prop_assert_eq!(all.get(row), string.as_slice());
            }
            let from = all.len() / 3;
            let mut tail = RowBytes::default();
            tail.push(b"ab");
            tail.extend(&all, from..all.len());
            for row in from..all.len() {
                prop_assert_eq!(tail.get(row - from + 1), all.get(row));
            }
        }
    }
}
