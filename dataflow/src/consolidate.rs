//! Adding up equal rows: what a changelog's consumers see of an epoch is its net change.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};

use crate::batch::{Batch, nullable, record_batch};

/// The net change of some batches of one relation: each row once, with a diff that is not 0, ordered by the row's bytes.
/// `None` when nothing is left.
///
/// # Panics
/// When the batches are not of one schema: a fault of the plan.
pub fn consolidate(schema: &SchemaRef, batches: &[Batch]) -> Option<(RecordBatch, Vec<i64>)> {
    let rows = concat(schema, batches)?;
    let diffs: Vec<i64> = batches
        .iter()
        .flat_map(|batch| match &batch.diffs {
            Some(diffs) => diffs.to_vec(),
            None => vec![1; batch.len()],
        })
        .collect();
    if rows.num_columns() == 0 {
        let sum: i64 = diffs.iter().sum();
        return (sum != 0).then(|| (rows.slice(0, 1), vec![sum]));
    }
    let fields = rows.schema_ref().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).expect("every type of a plan has row bytes");
    let bytes = converter.convert_columns(rows.columns()).expect("columns are of the types the converter was made for");
    let total = u32::try_from(rows.num_rows()).expect("an epoch has fewer than 2^32 rows");
    // Most rows differ early: comparing what lies in the list itself seldom needs the rows.
    let mut order: Vec<([u64; 3], u32)> = (0..total).map(|row| (beginning(bytes.row(row as usize).data()), row)).collect();
    order.sort_unstable_by(|(left, left_row), (right, right_row)| {
        left.cmp(right).then_with(|| bytes.row(*left_row as usize).cmp(&bytes.row(*right_row as usize)))
    });
    let mut kept = Vec::new();
    let mut sums = Vec::new();
    let equal =
        |left: &([u64; 3], u32), right: &([u64; 3], u32)| left.0 == right.0 && bytes.row(left.1 as usize) == bytes.row(right.1 as usize);
    for alike in order.chunk_by(equal) {
        let sum: i64 = alike.iter().map(|(_, row)| diffs[*row as usize]).sum();
        if sum != 0 {
            kept.push(alike[0].1);
            sums.push(sum);
        }
    }
    if kept.is_empty() {
        return None;
    }
    let rows = take_record_batch(&rows, &UInt32Array::from(kept)).expect("positions are in range");
    Some((rows, sums))
}

/// The first bytes of a row as numbers that order as they do, as far as they go.
fn beginning(row: &[u8]) -> [u64; 3] {
    let mut first = [0; 24];
    let taken = row.len().min(first.len());
    first[..taken].copy_from_slice(&row[..taken]);
    let word = |at: usize| first[8 * at..8 * at + 8].iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
    [word(0), word(1), word(2)]
}

/// All rows in one batch; `None` when there are none. Column names and nullability are the schema's.
pub fn concat(schema: &SchemaRef, batches: &[Batch]) -> Option<RecordBatch> {
    let batches: Vec<RecordBatch> = batches
        .iter()
        .filter(|batch| !batch.is_empty())
        .map(|batch| record_batch(&nullable(schema), batch.rows.columns().to_vec(), batch.len()))
        .collect();
    match batches.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(concat_batches(several[0].schema_ref(), several).expect("batches of a relation have one schema")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    proptest! {
        /// Texts that differ beyond the first bytes, or by zeros at their ends, are told apart and stand in their order.
        #[test]
        fn rows_add_up_as_in_a_map(
            rows in prop::collection::vec((prop::option::of("[a\0]{0,3}|aaaaaaaaaaaaaaaaaaaaaaaa[ab]{0,2}"), 0..3i64, -2..3i64), 0..60),
        ) {
            let fields = vec![Field::new("s", DataType::Utf8, true), Field::new("a", DataType::Int64, true)];
            let schema: SchemaRef = Schema::new(fields).into();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
            ];
            let diffs = rows.iter().map(|row| row.2).collect();
            let found = consolidate(&schema, &[Batch::computed(record_batch(&schema, columns, rows.len()), Some(diffs))]);
            let mut wanted = std::collections::BTreeMap::new();
            rows.into_iter().for_each(|(text, number, diff)| *wanted.entry((text, number)).or_insert(0) += diff);
            wanted.retain(|_, diff| *diff != 0);
            let found: Vec<_> = found.map_or_else(Vec::new, |(rows, diffs)| {
                let texts = rows.column(0).as_string::<i32>().iter().map(|text| text.map(str::to_owned));
                let numbers = rows.column(1).as_primitive::<Int64Type>().values().to_vec();
                texts.zip(numbers).zip(diffs).collect()
            });
            prop_assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn equal_rows_add_up_and_zeros_vanish() {
        let schema: SchemaRef = Schema::new(vec![Field::new("a", DataType::Int64, true)]).into();
        let batch = |values: Vec<Option<i64>>, diffs| {
            let rows = values.len();
            Batch::computed(record_batch(&schema, vec![Arc::new(Int64Array::from(values)) as ArrayRef], rows), diffs)
        };
        let batches = [batch(vec![Some(2), None, Some(1)], None), batch(vec![None, Some(2)], Some(vec![-1, 3]))];
        let (rows, diffs) = consolidate(&schema, &batches).expect("rows are left");
        assert_eq!(rows.column(0).as_ref(), &Int64Array::from(vec![1, 2]));
        assert_eq!(diffs, vec![1, 4]);
        assert_eq!(consolidate(&schema, &[batch(vec![None, None], Some(vec![1, -1]))]), None);
        assert_eq!(consolidate(&schema, &[]), None);
    }
}
