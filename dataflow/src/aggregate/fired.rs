//! # What firings put out
//!
//! The result of a group as it was when the group fired, kept as bytes: the next firing takes it back as it was, however the group's state
//! has gone on since. Firings that put out the same are no change.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use tidemark_planner::plan::FiringColumn;

use super::layout::AggregateLayout;
use super::output::{GroupError, Output, describe};
use super::trigger::Reason;
use crate::ranked::RowCodec;

/// One firing of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Firing {
    pub(super) reason: Reason,
    /// The how manieth of its group, from 1.
    pub(super) revision: u32,
    /// No other will come.
    pub(super) is_final: bool,
    /// The epoch.
    pub(super) at: u64,
}

/// What a firing put out.
#[derive(Clone, Debug)]
pub(super) struct Fired {
    /// The result as bytes, or why there is none.
    result: Result<Box<[u8]>, Box<str>>,
    /// The group had rows.
    pub(super) exists: bool,
    pub(super) firing: Firing,
}

impl Fired {
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.result.as_ref().map_or_else(|reason| reason.len(), |bytes| bytes.len())
    }
}

/// Results of one aggregate to [`Fired`] and back.
#[derive(Debug)]
pub(super) struct Results {
    layout: Arc<AggregateLayout>,
    codec: RowCodec,
}

impl Results {
    pub(super) fn new(layout: Arc<AggregateLayout>) -> Self {
        let codec = RowCodec::keeping(&layout.result_types()).expect("every type of a plan has row bytes");
        Self { layout, codec }
    }

    /// Whether the end of a group's firings is asked for.
    pub(super) fn tells_final(&self) -> bool {
        self.layout.firing_columns.iter().any(|(_, column)| *column == FiringColumn::Final)
    }

    /// Whether nothing of a firing is asked for: a firing with nothing new puts out nothing.
    pub(super) fn tells_nothing(&self) -> bool {
        self.layout.firing_columns.is_empty()
    }

    /// Keeps results, some of which failed (by position, ascending), each with whether its group had rows.
    pub(super) fn keep<'a>(
        &'a self,
        columns: &[ArrayRef],
        failed: Vec<(usize, String)>,
        firings: impl ExactSizeIterator<Item = (bool, Firing)> + 'a,
    ) -> impl Iterator<Item = Fired> + 'a {
        let rows = self.codec.encode(columns, firings.len()).expect("the results of one batch of groups lie below 2 GiB");
        let mut failed = failed.into_iter().peekable();
        firings.enumerate().map(move |(row, (exists, firing))| {
            let result = match failed.next_if(|(position, _)| *position == row) {
                Some((_, reason)) => Err(reason.into_boxed_str()),
                None => Ok(rows.value(row).into()),
            };
            Fired { result, exists, firing }
        })
    }

    /// Whether two firings of a group put out the same.
    pub(super) fn same(&self, left: &Fired, right: &Fired) -> bool {
        let (a, b) = (left.firing, right.firing);
        left.result == right.result
            && self.layout.firing_columns.iter().all(|(_, column)| match column {
                FiringColumn::Reason => a.reason == b.reason,
                FiringColumn::Revision => a.revision == b.revision,
                FiringColumn::Final => a.is_final == b.is_final,
                FiringColumn::FiredAt => a.at == b.at,
            })
    }

    /// Output rows of what was kept, each with its diff; `key_columns` has a row for each.
    pub(super) fn output(&self, key_columns: Vec<ArrayRef>, kept: &[(Fired, i64)]) -> Output {
        let mut errors = Vec::new();
        let mut good = Vec::with_capacity(kept.len());
        for (row, (fired, diff)) in kept.iter().enumerate() {
            match &fired.result {
                Ok(_) => good.push(row as u32),
                Err(reason) => {
                    errors.push(GroupError { group: describe(&self.layout, &key_columns, row), reason: reason.to_string(), diff: *diff });
                }
            }
        }
        let of = |row: &u32| &kept[*row as usize];
        let rows = UInt32Array::from_iter_values(good.iter().copied());
        let mut columns: Vec<ArrayRef> = if good.len() == kept.len() {
            key_columns
        } else {
            key_columns.iter().map(|column| take(column, &rows, None).expect("rows lie within")).collect()
        };
        let keys = columns.len();
        columns.extend(self.codec.decode(good.iter().filter_map(|row| of(row).0.result.as_deref().ok())));
        let firings = || good.iter().map(|row| of(row).0.firing);
        for (position, column) in &self.layout.firing_columns {
            let values: ArrayRef = match column {
                FiringColumn::Reason => Arc::new(StringArray::from_iter_values(firings().map(|firing| firing.reason.name()))),
                FiringColumn::Revision => Arc::new(Int64Array::from_iter_values(firings().map(|firing| i64::from(firing.revision)))),
                FiringColumn::Final => Arc::new(BooleanArray::from(firings().map(|firing| firing.is_final).collect::<Vec<_>>())),
                FiringColumn::FiredAt => Arc::new(TimestampMicrosecondArray::from_iter_values(firings().map(|firing| firing.at as i64))),
            };
            columns.insert(keys + position, values);
        }
        let diffs: Vec<i64> = good.iter().map(|row| of(row).1).collect();
        let diffs = diffs.iter().any(|diff| *diff != 1).then_some(diffs);
        Output { rows: self.layout.batch(columns, good.len()), diffs, errors, homeless: vec![], more: false }
    }
}
