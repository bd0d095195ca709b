//! # Batch
//!
//! The container on stateless edges: an Arrow record batch, the diffs of its rows, and what must travel with rows until a window
//! has judged them: each row's own watermark.

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use timely::Accountable;

use crate::places::Places;

/// A watermark that nothing is behind.
pub const NO_WATERMARK: i64 = i64::MIN;

/// Rows of one relation at one epoch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns.
    pub rows: RecordBatch,
    /// How often each row is added (or taken back); `None` when all are +1, the append-only fast path.
    pub diffs: Option<ScalarBuffer<i64>>,
    /// The watermark of each row: that of the rows before it in its partition.
    pub watermarks: RowWatermarks,
    /// Where the rows were read.
    pub origin: Origin,
    /// Where each of them stands in its partition.
    pub places: Places,
}

/// The watermarks rows are judged by, in microseconds. [`NO_WATERMARK`] where nothing can be late.
#[derive(Clone, Debug, PartialEq)]
pub enum RowWatermarks {
    /// The same for all rows.
    Constant(i64),
    /// One for each row.
    Each(ScalarBuffer<i64>),
}

/// Where a batch was read: it puts batches of an epoch back in the order of their partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// The source, by its position in the plan; `u32::MAX` for rows that an operator made.
    pub source: u32,
    /// The partition.
    pub partition: u32,
    /// Offset of the first row of the chunk.
    pub offset: u64,
}

impl Origin {
    /// Rows that were computed, not read.
    pub const COMPUTED: Self = Self { source: u32::MAX, partition: 0, offset: 0 };
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            rows: RecordBatch::new_empty(arrow::datatypes::Schema::empty().into()),
            diffs: None,
            watermarks: RowWatermarks::Constant(NO_WATERMARK),
            origin: Origin::COMPUTED,
            places: Places::Unknown,
        }
    }
}

impl Accountable for Batch {
    fn record_count(&self) -> i64 {
        i64::try_from(self.rows.num_rows()).unwrap_or(i64::MAX)
    }
}

impl Batch {
    /// Computed rows, which no window can find late.
    pub fn computed(rows: RecordBatch, diffs: Option<Vec<i64>>) -> Self {
        let diffs = diffs.map(ScalarBuffer::from);
        Self { rows, diffs, watermarks: RowWatermarks::Constant(NO_WATERMARK), origin: Origin::COMPUTED, places: Places::Unknown }
    }

    /// The watermark of one row.
    pub fn watermark(&self, row: usize) -> i64 {
        match &self.watermarks {
            RowWatermarks::Constant(watermark) => *watermark,
            RowWatermarks::Each(each) => each[row],
        }
    }

    /// The offset of one row: 0 of one that was computed.
    pub fn offset(&self, row: usize) -> u64 {
        self.places.get(row).unwrap_or(self.origin.offset)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// No rows.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// The same rows with each as often as its diff says, of a relation that takes nothing back.
    ///
    /// # Panics
    /// When a diff is negative: a fault of the plan.
    #[must_use]
    pub fn one_by_one(self) -> Self {
        let Some(diffs) = &self.diffs else { return self };
        if diffs.iter().all(|diff| *diff == 1) {
            return Self { diffs: None, ..self };
        }
        let times = |diff: i64| usize::try_from(diff).expect("an append-only relation takes nothing back");
        let rows: UInt32Array = (0..).zip(diffs).flat_map(|(row, diff)| std::iter::repeat_n(row, times(*diff))).collect();
        Self { diffs: None, ..self.take(&rows) }
    }

    /// Bytes of memory held, about.
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.diffs.as_ref().map_or(0, |diffs| diffs.len() * 8)
    }

    /// The same rows under other columns of the same length.
    ///
    /// # Panics
    /// When the columns do not fit the schema: a fault of the plan.
    #[must_use]
    pub fn with_columns(&self, schema: &SchemaRef, columns: Vec<ArrayRef>) -> Self {
        Self { rows: record_batch(schema, columns, self.len()), ..self.clone() }
    }

    /// The same rows, each taken back as often as it came.
    #[must_use]
    pub fn negated(&self) -> Self {
        let diffs = match &self.diffs {
            None => std::iter::repeat_n(-1, self.len()).collect(),
            Some(diffs) => diffs.iter().map(|diff| -diff).collect(),
        };
        Self { diffs: Some(diffs), ..self.clone() }
    }

    /// The rows for which the mask is true.
    ///
    /// # Panics
    /// When the mask is not as long as the batch.
    #[must_use]
    pub fn filter(&self, mask: &BooleanArray) -> Self {
        let keep = "a mask is as long as its batch";
        let watermarks = match &self.watermarks {
            RowWatermarks::Each(each) => RowWatermarks::Each(filter_values(each, mask)),
            constant @ RowWatermarks::Constant(_) => constant.clone(),
        };
        Self {
            rows: filter_record_batch(&self.rows, mask).expect(keep),
            diffs: self.diffs.as_ref().map(|diffs| filter_values(diffs, mask)),
            watermarks,
            origin: self.origin,
            places: self.places.filter(mask),
        }
    }

    /// The rows at some positions, in that order.
    ///
    /// # Panics
    /// When a position is out of range.
    #[must_use]
    pub fn take(&self, positions: &UInt32Array) -> Self {
        let watermarks = match &self.watermarks {
            RowWatermarks::Each(each) => RowWatermarks::Each(take_values(each, positions)),
            constant @ RowWatermarks::Constant(_) => constant.clone(),
        };
        Self {
            rows: take_record_batch(&self.rows, positions).expect("positions are in range"),
            diffs: self.diffs.as_ref().map(|diffs| take_values(diffs, positions)),
            watermarks,
            origin: self.origin,
            places: self.places.take(positions),
        }
    }
}

/// A record batch of a known number of rows, also without columns.
///
/// # Panics
/// When the columns do not fit the schema: a fault of the plan.
pub fn record_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .unwrap_or_else(|error| panic!("columns fit their schema: {error}"))
}

/// A schema whose columns may all be null: nullability is a planner's belief, and rows need not prove it.
pub(crate) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
}

fn filter_values(values: &ScalarBuffer<i64>, mask: &BooleanArray) -> ScalarBuffer<i64> {
    primitive(filter(&Int64Array::new(values.clone(), None), mask).expect("a mask is as long as its batch"))
}

fn take_values(values: &ScalarBuffer<i64>, positions: &UInt32Array) -> ScalarBuffer<i64> {
    primitive(take(&Int64Array::new(values.clone(), None), positions, None).expect("positions are in range"))
}

fn primitive(array: ArrayRef) -> ScalarBuffer<i64> {
    use arrow::array::AsArray;
    array.as_primitive::<arrow::datatypes::Int64Type>().values().clone()
}
