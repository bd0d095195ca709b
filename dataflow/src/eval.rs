//! # Evaluation of expressions over batches, bad rows apart
//!
//! DataFusion evaluates a whole batch or fails as a whole. A bad row (a division by zero, a cast that cannot be) must cost itself
//! only: on failure the batch is bisected until every failing row stands alone, and the results of the good stretches are joined.
//! Without a failure nothing is copied; each bad row costs about `log2(rows)` evaluations.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, take, take_record_batch};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;

/// A row for which an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Its position in the batch.
    pub row: usize,
    /// What is wrong, one short sentence in lower case.
    pub reason: String,
}

/// The values of expressions over the good rows of a batch.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One column for each expression, over the good rows.
    pub columns: Vec<ArrayRef>,
    /// Positions of the good rows, ascending; `None` when all rows are good.
    pub kept: Option<Vec<u32>>,
    /// The bad rows, ascending.
    pub bad: Vec<BadRow>,
}

impl Evaluated {
    /// The good rows of something that has one value for each row of the batch, such as its diffs.
    pub fn keep<'a, T: Copy>(&self, values: &'a [T]) -> std::borrow::Cow<'a, [T]> {
        match &self.kept {
            None => std::borrow::Cow::Borrowed(values),
            Some(kept) => std::borrow::Cow::Owned(kept.iter().map(|row| values[*row as usize]).collect()),
        }
    }

    /// The good rows of the batch itself.
    pub fn keep_batch(&self, batch: &RecordBatch) -> RecordBatch {
        match &self.kept {
            None => batch.clone(),
            Some(kept) => take_record_batch(batch, &UInt32Array::from(kept.clone())).expect("kept rows lie within the batch"),
        }
    }

    /// Drops more rows: `rows` are positions among the good rows, ascending. Columns, `kept` and `bad` follow.
    ///
    /// `of` is the number of rows of the batch.
    pub fn reject(&mut self, of: usize, rows: &[u32], reason: &str) {
        if rows.is_empty() {
            return;
        }
        let before: Vec<u32> = self.kept.take().unwrap_or_else(|| (0..of as u32).collect());
        let mut rejected = rows.iter().peekable();
        let mut left = Vec::with_capacity(before.len() - rows.len());
        for position in 0..before.len() as u32 {
            if rejected.peek() == Some(&&position) {
                rejected.next();
                self.bad.push(BadRow { row: before[position as usize] as usize, reason: reason.to_string() });
            } else {
                left.push(position);
            }
        }
        self.bad.sort_by_key(|bad| bad.row);
        self.kept = Some(left.iter().map(|position| before[*position as usize]).collect());
        let left = UInt32Array::from(left);
        for column in &mut self.columns {
            *column = take(column, &left, None).expect("rows left lie within the column");
        }
    }
}

/// Evaluates expressions over a batch. Rows for which any of them fails are left out of every column and listed.
pub fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Evaluated {
    match evaluate_all(exprs, batch) {
        Ok(columns) => Evaluated { columns, kept: None, bad: Vec::new() },
        Err(error) => bisect_all(exprs, batch, error),
    }
}

#[cold]
fn bisect_all(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch, error: DataFusionError) -> Evaluated {
    let mut search = Search { exprs, stretches: Vec::new(), kept: Vec::new(), bad: Vec::new() };
    if batch.num_rows() == 0 {
        // Nothing to blame: an expression that fails over no rows (a constant that does not fold) fails again over the rows it meets.
        let columns = exprs.iter().map(|expr| empty_column(expr, batch)).collect();
        return Evaluated { columns, kept: None, bad: Vec::new() };
    }
    search.failed(batch, 0, error);
    let columns = (0..exprs.len())
        .map(|position| {
            let parts: Vec<&dyn arrow::array::Array> = search.stretches.iter().map(|columns| columns[position].as_ref()).collect();
            if parts.is_empty() {
                empty_column(&exprs[position], batch)
            } else {
                concat(&parts).expect("stretches of one expression have one type")
            }
        })
        .collect();
    Evaluated { columns, kept: Some(search.kept), bad: search.bad }
}

fn empty_column(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> ArrayRef {
    let data_type = expr.data_type(&batch.schema()).expect("a planned expression has a type");
    arrow::array::new_empty_array(&data_type)
}

struct Search<'a> {
    exprs: &'a [Arc<dyn PhysicalExpr>],
    stretches: Vec<Vec<ArrayRef>>,
    kept: Vec<u32>,
    bad: Vec<BadRow>,
}

impl Search<'_> {
    fn visit(&mut self, batch: &RecordBatch, first: usize) {
        match evaluate_all(self.exprs, batch) {
            Ok(columns) => {
                self.stretches.push(columns);
                self.kept.extend((first..first + batch.num_rows()).map(|row| row as u32));
            }
            Err(error) => self.failed(batch, first, error),
        }
    }

    fn failed(&mut self, batch: &RecordBatch, first: usize, error: DataFusionError) {
        let rows = batch.num_rows();
        if rows == 1 {
            self.bad.push(BadRow { row: first, reason: reason(&error) });
            return;
        }
        let half = rows / 2;
        self.visit(&batch.slice(0, half), first);
        self.visit(&batch.slice(half, rows - half), first + half);
    }
}

fn evaluate_all(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>, DataFusionError> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// What an evaluation error says, without the names of the libraries it came through.
pub fn reason(error: &DataFusionError) -> String {
    let mut text = error.strip_backtrace();
    loop {
        let rest = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
        match rest {
            Some(rest) => text = rest.to_string(),
            None => break,
        }
    }
    let text = text.trim().trim_end_matches(" error").trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_string(),
    }
}

const PREFIXES: [&str; 9] = [
    "Arrow error: ",
    "Execution error: ",
    "Cast error: ",
    "Compute error: ",
    "Invalid argument error: ",
    "Arithmetic overflow: ",
    "Parser error: ",
    "External error: ",
    "Internal error: ",
];

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion_expr::Operator;
    use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};

    fn batch(values: Vec<i64>) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values))]).unwrap()
    }

    fn hundred_by_a() -> Arc<dyn PhysicalExpr> {
        let hundred = Arc::new(Literal::new(datafusion_common::ScalarValue::Int64(Some(100))));
        Arc::new(BinaryExpr::new(hundred, Operator::Divide, Arc::new(Column::new("a", 0))))
    }

    #[test]
    fn bad_rows_cost_themselves_only() {
        let input = batch((0..1000).map(|row| if row % 97 == 5 { 0 } else { row + 1 }).collect());
        let result = evaluate(&[hundred_by_a(), Arc::new(Column::new("a", 0))], &input);
        let bad: Vec<usize> = result.bad.iter().map(|bad| bad.row).collect();
        assert_eq!(bad, (0..1000).filter(|row| row % 97 == 5).collect::<Vec<_>>());
        assert_eq!(result.bad[0].reason, "divide by zero");
        let kept: Vec<u32> = (0..1000).filter(|row| row % 97 != 5).collect();
        assert_eq!(result.kept.as_ref(), Some(&kept));
        let values: Vec<i64> = kept.iter().map(|row| 100 / (*row as i64 + 1)).collect();
        assert_eq!(result.columns[0].as_ref(), &Int64Array::from(values) as &dyn Array);
        assert_eq!(result.columns[1].len(), kept.len());
        assert_eq!(result.keep_batch(&input).num_rows(), kept.len());
    }

    #[test]
    fn a_good_batch_is_not_copied() {
        let input = batch(vec![1, 2]);
        let result = evaluate(&[Arc::new(Column::new("a", 0)) as Arc<dyn PhysicalExpr>], &input);
        assert!(Arc::ptr_eq(&result.columns[0], input.column(0)));
        assert_eq!((result.kept, result.bad.len()), (None, 0));
    }

    #[test]
    fn all_rows_may_be_bad_and_none_may_be_there() {
        let result = evaluate(&[hundred_by_a()], &batch(vec![0, 0, 0]));
        assert_eq!((result.columns[0].len(), result.bad.len(), result.kept), (0, 3, Some(vec![])));
        assert_eq!(result.columns[0].data_type(), &DataType::Int64);
        let result = evaluate(&[hundred_by_a()], &batch(vec![]));
        assert_eq!((result.columns[0].len(), result.bad.len()), (0, 0));
    }

    #[test]
    fn reasons_quote_the_value_and_not_the_library() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        let input = RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec!["1", "x"]))]).unwrap();
        let cast: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(Arc::new(Column::new("a", 0)), DataType::Int64, None));
        let result = evaluate(&[cast], &input);
        assert_eq!(result.bad, vec![BadRow { row: 1, reason: "cannot cast string 'x' to value of Int64 type".into() }]);
    }

    #[test]
    fn rejected_rows_join_the_bad_ones() {
        let mut result = evaluate(&[hundred_by_a(), Arc::new(Column::new("a", 0))], &batch(vec![1, 0, 2, 4]));
        result.reject(4, &[1], "too even");
        assert_eq!(result.kept, Some(vec![0, 3]));
        assert_eq!(result.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), vec![1, 2]);
        assert_eq!(result.columns[0].as_ref(), &Int64Array::from(vec![100, 25]) as &dyn Array);
        assert_eq!(result.keep(&[7, 8, 9, 10]).as_ref(), &[7, 10]);
    }
}
