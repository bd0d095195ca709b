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
    let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).expect("an epoch has fewer than 2^32 rows")).collect();
    order.sort_by(|left, right| bytes.row(*left as usize).cmp(&bytes.row(*right as usize)));
    let mut kept = Vec::new();
    let mut sums = Vec::new();
    let mut position = 0;
    while position < order.len() {
        let first = order[position];
        let mut sum = 0;
        while position < order.len() && bytes.row(order[position] as usize) == bytes.row(first as usize) {
            sum += diffs[order[position] as usize];
            position += 1;
        }
        if sum != 0 {
            kept.push(first);
            sums.push(sum);
        }
    }
    if kept.is_empty() {
        return None;
    }
    let rows = take_record_batch(&rows, &UInt32Array::from(kept)).expect("positions are in range");
    Some((rows, sums))
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
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

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
