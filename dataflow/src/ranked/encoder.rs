//! The half before the exchange: rows become bytes under their group, and rows of windows that have closed are dropped.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::SortKey;

use super::codec::{RowCodec, column};
use crate::aggregate::admit::{Admission, admit};
use crate::aggregate::{KeyedBatch, LateRows, Payload, Pushed, RowWatermarks};
use crate::eval::{BadRow, evaluate};
use crate::state::key_rows::KeyCodec;

/// Turns rows into keyed batches whose payload is what orders each row and what it is.
#[derive(Debug)]
pub struct RowEncoder {
    /// The keys, then the keys of the order, then the window's end if there is one.
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    keys: KeyCodec,
    order: RowCodec,
    row: RowCodec,
    /// The input's columns that a row consists of.
    columns: Vec<usize>,
    /// What the last expression is, if it decides whether a row is late.
    stamp: Stamp,
    /// Rows without a key or a place in the order are left out: they match nothing.
    drop_nulls: bool,
}

/// What a row is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    /// Nothing: no row is late.
    None,
    /// The exclusive end of its window.
    WindowEnd,
    /// Its time.
    Time,
}

impl RowEncoder {
    /// An encoder of rows of a schema.
    ///
    /// # Errors
    /// When a key or column has a type without an order.
    pub fn new(
        schema: &SchemaRef,
        partition_by: &[Arc<dyn PhysicalExpr>],
        order_by: &[SortKey],
        columns: &[usize],
        window_end: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Self, String> {
        let key_types: Vec<DataType> =
            partition_by.iter().map(|key| key.data_type(schema).map_err(|error| error.to_string())).collect::<Result<_, _>>()?;
        let exprs = partition_by.iter().cloned().chain(order_by.iter().map(|key| key.expr.clone())).chain(window_end.cloned());
        Ok(Self {
            exprs: exprs.collect(),
            keys: KeyCodec::new(&key_types)?,
            order: order_codec(order_by)?,
            row: row_codec(schema, columns)?,
            columns: columns.to_vec(),
            stamp: if window_end.is_some() { Stamp::WindowEnd } else { Stamp::None },
            drop_nulls: false,
        })
    }

    /// Judges rows by a time: those behind their watermark are late. The time travels with the row.
    #[must_use]
    pub fn judged_by(mut self, time: &Arc<dyn PhysicalExpr>) -> Self {
        assert_eq!(self.stamp, Stamp::None, "a row is judged by one thing");
        self.exprs.push(Arc::clone(time));
        self.stamp = Stamp::Time;
        self
    }

    /// Leaves out rows of which a key, or what orders them, is null.
    #[must_use]
    pub fn without_nulls(self) -> Self {
        Self { drop_nulls: true, ..self }
    }

    /// Takes rows in. `diffs` and watermarks are of the rows, in their order.
    pub fn push(&self, rows: &RecordBatch, diffs: Option<&[i64]>, watermarks: RowWatermarks<'_>) -> Pushed {
        let mut pushed = Pushed::default();
        let total = rows.num_rows();
        if total == 0 {
            return pushed;
        }
        let mut evaluated = evaluate(&self.exprs, rows);
        if self.stamp != Stamp::None {
            let stamps = evaluated.columns.last().expect("what rows are judged by is the last expression");
            let nulls: Vec<u32> = (0..stamps.len() as u32).filter(|row| stamps.is_null(*row as usize)).collect();
            let reason = if self.stamp == Stamp::Time { "event time is null" } else { "window is null" };
            evaluated.reject(total, &nulls, reason);
        }
        pushed.bad = std::mem::take(&mut evaluated.bad);
        let given = diffs;
        let mut diffs = given.map(|diffs| evaluated.keep(diffs).into_owned());
        let kept = evaluated.keep_batch(rows);
        let mut columns: Vec<ArrayRef> = self.columns.iter().map(|place| kept.column(*place).clone()).collect();
        let mut exprs = evaluated.columns.clone();
        let mut count = kept.num_rows();
        let mut stamps = None;
        if self.stamp != Stamp::None {
            let column = exprs.pop().expect("what rows are judged by is the last expression");
            stamps = Some(microseconds(&column));
        }
        let left = self.left(&exprs, stamps.as_deref(), |row| match &watermarks {
            RowWatermarks::None => i64::MIN,
            RowWatermarks::Constant(watermark) => *watermark,
            RowWatermarks::Each(each) => each[evaluated.kept.as_ref().map_or(row, |kept| kept[row] as usize)],
        });
        if let Some((left, late)) = left {
            pushed.late.add(&LateRows::dropped(late));
            count = left.len();
            diffs = diffs.map(|diffs| left.iter().map(|row| diffs[*row as usize]).collect());
            stamps = stamps.map(|stamps| left.iter().map(|row| stamps[*row as usize]).collect());
            let left = UInt32Array::from(left);
            for column in columns.iter_mut().chain(exprs.iter_mut()) {
                *column = take(column, &left, None).expect("rows lie within");
            }
        }
        if count == 0 {
            return pushed;
        }
        let panes = stamps;
        let (keys, order) = exprs.split_at(self.keys.types().len());
        let encoded =
            self.keys.encode(keys, count).and_then(|keys| Ok((keys, self.order.encode(order, count)?, self.row.encode(&columns, count)?)));
        match encoded {
            Ok((keys, order, row)) => pushed.batches.push(KeyedBatch {
                hashes: keys.hashes(),
                panes,
                single: false,
                keys,
                payload: Payload::Raw { columns: vec![column(order), column(row)], diffs },
            }),
            Err(reason) if total == 1 => pushed.bad.push(BadRow { row: 0, reason }),
            Err(_) => return self.push_halves(rows, given, watermarks),
        }
        pushed
    }

    /// The rows that are neither late nor left out, and how many were late; `None` if all are left.
    fn left(&self, exprs: &[ArrayRef], stamps: Option<&[i64]>, watermark_of: impl Fn(usize) -> i64) -> Option<(Vec<u32>, u64)> {
        let rows = exprs.first().map_or_else(|| stamps.map_or(0, <[i64]>::len), |column| column.len());
        let nulls = self.drop_nulls && exprs.iter().any(|column| column.logical_null_count() > 0);
        if stamps.is_none() && !nulls {
            return None;
        }
        let after = i64::from(self.stamp == Stamp::Time);
        let (mut left, mut late) = (Vec::with_capacity(rows), 0);
        for row in 0..rows {
            if nulls && exprs.iter().any(|column| column.is_null(row)) {
                continue;
            }
            // A time is in time up to its watermark, a window while its end lies behind it.
            if let Some(stamps) = stamps
                && admit(stamps[row].saturating_add(after), watermark_of(row), 0) != Admission::InTime
            {
                late += 1;
                continue;
            }
            left.push(row as u32);
        }
        (left.len() < rows).then_some((left, late))
    }

    /// The bytes of a batch are too many for one column.
    #[cold]
    fn push_halves(&self, rows: &RecordBatch, diffs: Option<&[i64]>, watermarks: RowWatermarks<'_>) -> Pushed {
        let half = rows.num_rows() / 2;
        let mut joined = Pushed::default();
        for (first, len) in [(0, half), (half, rows.num_rows() - half)] {
            let watermarks = match watermarks {
                RowWatermarks::Each(each) => RowWatermarks::Each(&each[first..first + len]),
                other => other,
            };
            let pushed = self.push(&rows.slice(first, len), diffs.map(|diffs| &diffs[first..first + len]), watermarks);
            joined.batches.extend(pushed.batches);
            joined.bad.extend(pushed.bad.into_iter().map(|bad| BadRow { row: bad.row + first, ..bad }));
            joined.late.add(&pushed.late);
        }
        joined
    }
}

/// A column of times as microseconds.
fn microseconds(column: &ArrayRef) -> Vec<i64> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    let times = if *column.data_type() == wanted { column.clone() } else { cast(column, &wanted).expect("a time is a timestamp") };
    times.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// The codec of an order.
pub(super) fn order_codec(order_by: &[SortKey]) -> Result<RowCodec, String> {
    let keys: Vec<_> = order_by.iter().map(|key| (key.data_type.clone(), key.descending, key.nulls_first)).collect();
    RowCodec::ordering(&keys)
}

/// The codec of some columns of a schema.
pub(super) fn row_codec(schema: &SchemaRef, columns: &[usize]) -> Result<RowCodec, String> {
    let types: Vec<DataType> = columns.iter().map(|place| schema.field(*place).data_type().clone()).collect();
    RowCodec::keeping(&types)
}
