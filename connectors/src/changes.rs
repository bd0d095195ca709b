//! The changes of one epoch, put in an order that depends on nothing but the changes: equal results print as equal bytes.
//!
//! By the time column first, if there is one; then, if a key is known, by key, so that the row taken back stands before the row
//! that takes its place; retractions before insertions; then by all columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use tidemark_planner::plan::{SinkOrder, SinkPlan};

use crate::format::encode::CellFormatter;
use crate::sink_changes::Shown;
use crate::source::ConnectorError;

/// What decides the order of changes.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    what: String,
    schema: SchemaRef,
    time: Option<usize>,
    key: Option<Vec<usize>>,
    /// The order in which changes came is kept: for writers that come by one stream.
    as_given: bool,
    /// What the query orders its rows by, before all else.
    asked: Vec<SinkOrder>,
}

impl Order {
    /// The order in which changes come.
    pub(crate) fn unsorted(self) -> Self {
        Self { as_given: true, ..self }
    }

    /// The query's own order comes first: for a whole result.
    pub(crate) fn asked(self, plan: &SinkPlan) -> Self {
        Self { asked: plan.order.clone(), ..self }
    }

    /// Where rows of a key belong together they stand together, whatever their time.
    pub(crate) fn shown(self, shown: &Shown) -> Self {
        let time = self.time.filter(|_| self.key.is_none() || !shown.pairs());
        Self { time, ..self }
    }

    pub(crate) fn of(plan: &SinkPlan) -> Self {
        Self {
            what: plan.name.clone(),
            schema: plan.schema.clone(),
            time: plan.time_column,
            key: plan.key.clone().filter(|key| !key.is_empty()),
            as_given: false,
            asked: vec![],
        }
    }

    /// The rows in order, each with its diff.
    pub(crate) fn sort(&self, rows: &RecordBatch, diffs: Option<Vec<i64>>) -> Result<(RecordBatch, Option<Vec<i64>>), ConnectorError> {
        if rows.num_rows() < 2 || self.as_given {
            return Ok((rows.clone(), diffs));
        }
        let wrong = |error: arrow::error::ArrowError| ConnectorError::new(&self.what, error);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(rows.num_columns() + 2);
        columns.extend(self.asked.iter().map(|asked| rows.column(asked.column).clone()));
        columns.extend(self.time.map(|time| rows.column(time).clone()));
        if let Some(diffs) = &diffs {
            columns.extend(self.key.iter().flatten().map(|column| rows.column(*column).clone()));
            columns.push(Arc::new(BooleanArray::from_iter(diffs.iter().map(|diff| Some(*diff > 0)))));
        }
        columns.extend((0..rows.num_columns()).filter(|column| Some(*column) != self.time).map(|column| rows.column(column).clone()));
        let columns: Vec<ArrayRef> = columns.iter().map(sortable).collect();
        let options = |place: usize| {
            let asked = self.asked.get(place);
            asked.map_or_else(SortOptions::default, |asked| SortOptions { descending: asked.descending, nulls_first: asked.nulls_first })
        };
        let fields = columns.iter().enumerate().map(|(at, column)| SortField::new_with_options(column.data_type().clone(), options(at)));
        let converter = RowConverter::new(fields.collect()).map_err(wrong)?;
        let keys = converter.convert_columns(&columns).map_err(wrong)?;
        let diff = |row: usize| diffs.as_ref().map_or(1, |diffs| diffs[row]);
        let compare = |a: usize, b: usize| keys.row(a).cmp(&keys.row(b)).then_with(|| diff(a).cmp(&diff(b)));
        if (1..keys.num_rows()).all(|row| compare(row - 1, row).is_le()) {
            return Ok((rows.clone(), diffs));
        }
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_unstable_by(|a, b| compare(*a as usize, *b as usize));
        let diffs = diffs.map(|diffs| order.iter().map(|row| diffs[*row as usize]).collect());
        let rows = take_record_batch(rows, &UInt32Array::from(order)).map_err(wrong)?;
        Ok((rows, diffs))
    }
}

/// The column, or the text it prints as, if its type has no order of its own.
pub(crate) fn sortable(column: &ArrayRef) -> ArrayRef {
    if RowConverter::supports_fields(&[SortField::new(column.data_type().clone())]) {
        return column.clone();
    }
    let formatter = CellFormatter::new(column);
    Arc::new(StringArray::from_iter_values((0..column.len()).map(|row| {
        let mut text = String::new();
        formatter.write(row, &mut text);
        text
    })))
}

/// Collects the changes of the epoch that is open.
#[derive(Debug)]
pub(crate) struct Epoch {
    order: Order,
    batches: Vec<RecordBatch>,
    /// Diffs of all rows so far; kept once some batch has them.
    diffs: Option<Vec<i64>>,
    rows: usize,
}

impl Epoch {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, batches: Vec::new(), diffs: None, rows: 0 }
    }

    pub(crate) fn push(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) {
        if diffs.is_some() && self.diffs.is_none() {
            self.diffs = Some(vec![1; self.rows]);
        }
        if let Some(all) = &mut self.diffs {
            match diffs {
                Some(diffs) => all.extend_from_slice(diffs),
                None => all.resize(all.len() + rows.num_rows(), 1),
            }
        }
        self.rows += rows.num_rows();
        self.batches.push(rows.clone());
    }

    /// The changes in order; nothing, if there are none. Begins the next epoch.
    pub(crate) fn take(&mut self) -> Result<Option<(RecordBatch, Option<Vec<i64>>)>, ConnectorError> {
        let batches = std::mem::take(&mut self.batches);
        let diffs = self.diffs.take();
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(None);
        }
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            _ => concat_batches(&self.order.schema, &batches).map_err(|error| ConnectorError::new(&self.order.what, error))?,
        };
        self.order.sort(&rows, diffs).map(Some)
    }
}
