//! # Changelogs
//!
//! Records that say what they do to a table: a column with the kind of change, a column with a diff, or Debezium's envelopes. The
//! formats of rows stay what they are; here the marks are read off, and rows get their diffs.

mod debezium;
mod marked;
mod options;
#[cfg(test)]
mod tests;

pub(crate) use debezium::{DebeziumDecoder, EnvelopeReading};
pub(crate) use marked::MarkedDecoder;
pub(crate) use options::{Changes, DebeziumOptions, Marks, NO_CHANGES, SCHEMA_INCLUDE_SPEC, SPECS};

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::compute::filter;
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemark_planner::plan::{ChangelogKind, SourcePlan};

/// How the rows of a source are meant, by its plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// Rows replace the row with their key.
    pub(crate) upsert: bool,
    /// The columns of the primary key among those read; empty if there is none.
    pub(crate) key: Vec<String>,
}

impl Meaning {
    /// Of a plan.
    pub(crate) fn of(plan: &SourcePlan) -> Self {
        let key = plan.key.iter().flatten().map(|place| plan.declared.field(*place).name().clone()).collect();
        Self { upsert: plan.changelog == ChangelogKind::Upsert, key }
    }

    fn is_key(&self, field: &Field) -> bool {
        self.key.iter().any(|name| name == field.name())
    }
}

/// The same columns, where all but the key may be null: what a deletion holds.
fn relaxed(read: &SchemaRef, keeps: impl Fn(&Field) -> bool) -> Vec<Arc<Field>> {
    read.fields()
        .iter()
        .map(|field| if keeps(field) { Arc::clone(field) } else { Arc::new(field.as_ref().clone().with_nullable(true)) })
        .collect()
}

/// Columns for a schema. Where a column that has no nulls has some, they are of deletions, whose values nobody reads: any value will do.
fn assemble(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let columns = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| if field.is_nullable() || column.null_count() == 0 { column } else { without_nulls(&column) })
        .collect();
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .unwrap_or_else(|error| panic!("columns were made for the schema: {error}"))
}

/// The values that lie under nulls are the type's zero, or an empty text.
pub(crate) fn without_nulls(column: &ArrayRef) -> ArrayRef {
    let data = column.to_data().into_builder().nulls(None).build();
    make_array(data.unwrap_or_else(|error| panic!("a column of values without nulls: {error}")))
}

fn keep(columns: &[ArrayRef], mask: &BooleanArray) -> Vec<ArrayRef> {
    columns.iter().map(|column| filter(column, mask).unwrap_or_else(|error| panic!("a mask is as long as its rows: {error}"))).collect()
}

/// A record's bytes in a chunk of lines, without the end of the line.
pub(crate) fn line_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = &bytes[at.min(bytes.len())..];
    let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn schema_of(fields: Vec<Arc<Field>>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}
