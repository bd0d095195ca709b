//! What a store puts out, and how results of groups become output rows.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{concat, filter};
use arrow::util::display::array_value_to_string;

use super::keyed_batch::{KeyedBatch, Payload};
use super::late::Homeless;
use super::layout::AggregateLayout;
use crate::state::group_table::GroupTable;

/// Rows that come out at once; a closing that brings more comes out in several batches.
pub(super) const OUTPUT_ROWS: usize = if cfg!(test) { 8 } else { 64 << 10 };

/// A result that does not exist, such as a sum that overflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupError {
    /// The group, as its key columns with their names.
    pub group: String,
    /// What is wrong, one short sentence in lower case.
    pub reason: String,
    /// +1, or −1 when the error is taken back.
    pub diff: i64,
}

/// What came out of a store.
#[derive(Clone, Debug)]
pub struct Output {
    /// Rows in the output schema: keys, then aggregates.
    pub rows: RecordBatch,
    /// +1 or −1 for each row; `None` when all are +1.
    pub diffs: Option<Vec<i64>>,
    /// Groups without a result, and those that got one.
    pub errors: Vec<GroupError>,
    /// Rows that no session holds, where they are wanted.
    pub homeless: Vec<Homeless>,
    /// There is more at the same epoch and watermark: call again.
    pub more: bool,
}

/// Puts a keyed batch into a table; `groups` is left with the group of each row.
pub(super) fn take_in(table: &mut GroupTable, layout: &AggregateLayout, batch: &KeyedBatch, groups: &mut Vec<u32>) {
    table.locate(&batch.keys, &batch.hashes, batch.panes.as_deref(), groups);
    add(table, layout, batch, groups);
}

/// Adds a keyed batch to the groups its rows were located in.
pub(super) fn add(table: &mut GroupTable, layout: &AggregateLayout, batch: &KeyedBatch, groups: &[u32]) {
    match &batch.payload {
        Payload::Raw { columns, diffs } => table.update(groups, &layout.inputs(columns), diffs.as_deref()),
        Payload::Partial { columns } => table.merge(groups, columns),
    }
}

/// The key columns of a row, for people.
pub(super) fn describe(layout: &AggregateLayout, key_columns: &[ArrayRef], row: usize) -> String {
    let schema = layout.output();
    let parts: Vec<String> = key_columns
        .iter()
        .enumerate()
        .map(|(position, column)| {
            let value = if column.is_null(row) {
                "null".to_string()
            } else {
                array_value_to_string(column, row).unwrap_or_else(|error| format!("({error})"))
            };
            format!("{}={value}", schema.field(position).name())
        })
        .collect();
    parts.join(", ")
}

/// The windows of groups that come out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// Each group's pane is its window, or there are no windows.
    OfPanes,
    /// One window.
    At(i64),
}

/// Collects results that are new and stay.
pub(super) struct Emission<'a> {
    layout: &'a AggregateLayout,
    parts: Vec<Vec<ArrayRef>>,
    pub(super) rows: usize,
    errors: Vec<GroupError>,
}

impl<'a> Emission<'a> {
    pub(super) fn new(layout: &'a AggregateLayout) -> Self {
        Self { layout, parts: Vec::new(), rows: 0, errors: Vec::new() }
    }

    /// Adds the results of groups of a table. Those without rows are left out, unless `even_empty`.
    pub(super) fn emit(&mut self, table: &GroupTable, groups: &[u32], ends: Ends, even_empty: bool) {
        let there: Vec<u32>;
        let groups = if table.counted() && !even_empty {
            there = groups.iter().copied().filter(|group| table.exists(*group)).collect();
            &there
        } else {
            groups
        };
        let Some(keys) = table.keys(groups) else { return };
        let ends: Vec<i64> = match ends {
            Ends::OfPanes => groups.iter().map(|group| table.pane(*group)).collect(),
            Ends::At(end) => vec![end; groups.len()],
        };
        let columns = self.layout.key_columns(&keys, &ends);
        let mut failed = Vec::new();
        let results = table.evaluate(groups, &mut failed);
        self.add(columns, results, groups.len(), failed);
    }

    /// Adds rows of key columns and results; those that failed are errors.
    pub(super) fn add(&mut self, mut columns: Vec<ArrayRef>, results: Vec<ArrayRef>, mut rows: usize, failed: Vec<(usize, String)>) {
        if !failed.is_empty() {
            let mut good = vec![true; rows];
            for (position, reason) in failed {
                good[position] = false;
                self.errors.push(GroupError { group: describe(self.layout, &columns, position), reason, diff: 1 });
            }
            let good = BooleanArray::from(good);
            rows = good.true_count();
            columns.extend(results);
            columns = columns.iter().map(|column| filter(column, &good).expect("one flag for each row")).collect();
        } else {
            columns.extend(results);
        }
        self.rows += rows;
        if rows > 0 {
            self.parts.push(columns);
        }
    }

    pub(super) fn finish(mut self, more: bool) -> Output {
        let rows = match self.parts.len() {
            0 => RecordBatch::new_empty(self.layout.output().clone()),
            1 => self.layout.batch(self.parts.remove(0), self.rows),
            _ => {
                let columns = (0..self.parts[0].len())
                    .map(|position| {
                        let parts: Vec<&dyn Array> = self.parts.iter().map(|columns| columns[position].as_ref()).collect();
                        concat(&parts).expect("parts have the types of the output")
                    })
                    .collect();
                self.layout.batch(columns, self.rows)
            }
        };
        Output { rows, diffs: None, errors: self.errors, homeless: vec![], more }
    }
}
