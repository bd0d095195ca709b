//! Partial states of many entries per group: one list per group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

/// The type of a list of entries.
pub(super) fn list_type(entry: &DataType) -> DataType {
    DataType::LargeList(Arc::new(Field::new_list_field(entry.clone(), true)))
}

/// Entries as one list per group.
pub(super) fn lists(lengths: &[usize], entries: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(entries.data_type().clone(), true));
    Arc::new(LargeListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), entries, None))
}

/// Lists flattened again: entries, and the group of each.
pub(super) struct Lists {
    pub(super) groups: Vec<u32>,
    pub(super) values: ArrayRef,
}

impl Lists {
    /// List `i` belongs to `groups[i]`.
    pub(super) fn new(groups: &[u32], lists: &ArrayRef) -> Self {
        let lists = lists.as_list::<i64>();
        assert!(lists.len() == groups.len(), "{} partial states for {} groups", lists.len(), groups.len());
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let mut flat = Vec::with_capacity(last - first);
        for (&group, ends) in groups.iter().zip(offsets.windows(2)) {
            flat.resize(flat.len() + (ends[1] - ends[0]) as usize, group);
        }
        Self { groups: flat, values: lists.values().slice(first, last - first) }
    }
}
