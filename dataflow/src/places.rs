//! Where the rows of a batch stand in their partition. Known as long as rows are those of a source: an error names the record.

use arrow::array::{BooleanArray, UInt32Array};
use arrow::buffer::ScalarBuffer;
use tidemark_connectors::source::Offsets;

/// The places of rows, in their order.
#[derive(Clone, Debug, Default)]
pub enum Places {
    /// Not known: rows were computed.
    #[default]
    Unknown,
    /// The rows of a chunk, all of them.
    All(Offsets),
    /// Some rows of a chunk, by position.
    Some(Offsets, ScalarBuffer<u32>),
}

impl Places {
    /// The place of a row.
    pub fn get(&self, row: usize) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::All(offsets) => Some(offsets.get(row)),
            Self::Some(offsets, positions) => Some(offsets.get(positions[row] as usize)),
        }
    }

    /// The places of the rows for which the mask is true.
    #[must_use]
    pub fn filter(&self, mask: &BooleanArray) -> Self {
        let kept = || mask.values().set_indices();
        match self {
            Self::Unknown => Self::Unknown,
            // A batch has fewer than 2^32 rows.
            Self::All(offsets) => Self::Some(offsets.clone(), kept().map(|row| row as u32).collect()),
            Self::Some(offsets, positions) => Self::Some(offsets.clone(), kept().map(|row| positions[row]).collect()),
        }
    }

    /// The places of the rows at some positions.
    #[must_use]
    pub fn take(&self, rows: &UInt32Array) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::All(offsets) => Self::Some(offsets.clone(), rows.values().clone()),
            Self::Some(offsets, positions) => {
                Self::Some(offsets.clone(), rows.values().iter().map(|row| positions[*row as usize]).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_places() {
        let all = Places::All(Offsets::Each(vec![3, 5, 8, 13].into()));
        let kept = all.filter(&BooleanArray::from(vec![true, false, true, true]));
        let taken = kept.take(&UInt32Array::from(vec![2, 0, 0]));
        assert_eq!([0, 1, 2].map(|row| kept.get(row)), [Some(3), Some(8), Some(13)]);
        assert_eq!([0, 1, 2].map(|row| taken.get(row)), [Some(13), Some(3), Some(3)]);
        assert_eq!(all.take(&UInt32Array::from(vec![1])).filter(&BooleanArray::from(vec![true])).get(0), Some(5));
        assert_eq!(Places::Unknown.take(&UInt32Array::from(vec![1])).get(0), None);
    }
}
