//! # Layout of an arrangement
//!
//! Which columns are in the key's bytes and which in the value's, and the way there and back. A column that is the key is not
//! stored again, unless equal keys may look different (floats: −0.0 and 0.0 are equal).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow_row::{RowConverter, RowParser, SortField};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use tidemark_planner::plan::{ArrangePlan, Retention, TimeDomain};

use super::row_batch::RowBatch;
use super::row_bytes::RowBytes;
use super::row_time::RowTime;
use crate::batch::{Batch, NO_WATERMARK, RowWatermarks};
use crate::eval::{BadRow, evaluate};
use crate::state::key_rows::{hash_bytes, normal_zero};

/// The way of rows into an arrangement and out of it.
#[derive(Debug)]
pub(crate) struct ArrangeLayout {
    schema: SchemaRef,
    keys: Codec,
    values: Codec,
    /// The keys, then the event time.
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    retention: Option<Retention>,
    /// Where each column of the schema is stored.
    stored: Vec<Stored>,
    /// Which columns of the schema are the value's.
    value_columns: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Stored {
    Key(usize),
    Value(usize),
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Arranged<T> {
    /// The rows.
    pub(crate) batch: Option<RowBatch<T>>,
    /// Rows that could not be evaluated.
    pub(crate) bad: Vec<BadRow>,
    /// Rows that came too late.
    pub(crate) late: u64,
}

impl ArrangeLayout {
    /// The layout of an arrangement over rows of a schema.
    ///
    /// # Errors
    /// When a type has no row bytes: the planner should have said so.
    pub(crate) fn new(plan: &ArrangePlan, schema: &SchemaRef) -> Result<Self, String> {
        let types: Result<Vec<DataType>, _> = plan.keys.iter().map(|key| key.data_type(schema)).collect();
        let types = types.map_err(|error| error.to_string())?;
        let mut stored = Vec::new();
        let mut value_columns = Vec::new();
        for (position, field) in schema.fields().iter().enumerate() {
            let is_key = |key: &Arc<dyn PhysicalExpr>| key.downcast_ref::<Column>().is_some_and(|column| column.index() == position);
            match plan.keys.iter().position(is_key) {
                Some(key) if exact(field.data_type()) => stored.push(Stored::Key(key)),
                _ => {
                    stored.push(Stored::Value(value_columns.len()));
                    value_columns.push(position);
                }
            }
        }
        let mut exprs = plan.keys.clone();
        exprs.extend(plan.retention.as_ref().map(|retention| Arc::clone(&retention.time)));
        Ok(Self {
            schema: Arc::clone(schema),
            keys: Codec::new(types)?,
            values: Codec::new(value_columns.iter().map(|column| schema.field(*column).data_type().clone()).collect())?,
            exprs,
            retention: plan.retention.clone(),
            stored,
            value_columns,
        })
    }

    /// The schema of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// When rows are forgotten.
    pub(crate) fn retention(&self) -> Option<&Retention> {
        self.retention.as_ref()
    }

    /// The rows of a batch as bytes.
    pub(crate) fn encode<T: RowTime>(&self, batch: &Batch, time: T) -> Arranged<T> {
        let mut evaluated = evaluate(&self.exprs, &batch.rows);
        let mut events = None;
        let mut late = 0;
        if let Some(retention) = &self.retention {
            let times = evaluated.columns[self.keys.types.len()].clone();
            let times = times.as_primitive::<TimestampMicrosecondType>();
            // A row without a time meets nothing: it is forgotten at once.
            let found: Vec<i64> = (0..times.len()).map(|row| if times.is_valid(row) { times.value(row) } else { i64::MIN }).collect();
            let rows = late_rows(batch, retention, &evaluated.kept, &found);
            late = rows.len() as u64;
            let bad = std::mem::take(&mut evaluated.bad);
            evaluated.reject(batch.len(), &rows, "late");
            evaluated.bad = bad;
            let mut rejected = rows.iter().peekable();
            events = Some((0..).zip(&found).filter(|(row, _)| rejected.next_if_eq(&row).is_none()).map(|(_, time)| *time).collect());
        }
        let bad = std::mem::take(&mut evaluated.bad);
        let rows = evaluated.keep_batch(&batch.rows);
        if rows.num_rows() == 0 {
            return Arranged { batch: None, bad, late };
        }
        let key_columns: Vec<ArrayRef> = evaluated.columns[..self.keys.types.len()].iter().map(normal_zero).collect();
        let keys = self.keys.encode(&key_columns, rows.num_rows());
        let columns: Vec<ArrayRef> = self.value_columns.iter().map(|column| rows.column(*column).clone()).collect();
        let values = self.values.encode(&columns, rows.num_rows());
        let hashes = hashes(&keys, &key_columns);
        let diffs = batch.diffs.as_ref().map(|diffs| evaluated.keep(diffs).into_owned());
        Arranged { batch: Some(RowBatch { time, hashes, keys, values, events, diffs }), bad, late }
    }

    /// The columns of some rows. `wanted` says which; the others are null.
    pub(crate) fn decode<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
        values: impl Iterator<Item = &'a [u8]>,
        rows: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<ArrayRef> {
        let columns = 0..self.stored.len();
        let any_key = columns.clone().any(|column| wanted(column) && matches!(self.stored[column], Stored::Key(_)));
        let any_value = columns.clone().any(|column| wanted(column) && matches!(self.stored[column], Stored::Value(_)));
        let keys = if any_key { self.keys.decode(keys) } else { Vec::new() };
        let values = if any_value { self.values.decode(values) } else { Vec::new() };
        columns
            .map(|column| match self.stored[column] {
                _ if !wanted(column) => arrow::array::new_null_array(self.schema.field(column).data_type(), rows),
                Stored::Key(key) => keys[key].clone(),
                Stored::Value(value) => values[value].clone(),
            })
            .collect()
    }
}

/// Whether equal keys of a type are the same value.
fn exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => false,
        other => !other.is_nested(),
    }
}

/// Positions, among the rows that were kept, of those behind the watermark of their relation.
fn late_rows(batch: &Batch, retention: &Retention, kept: &Option<Vec<u32>>, times: &[i64]) -> Vec<u32> {
    if retention.own.domain != TimeDomain::EventTime || batch.watermarks == RowWatermarks::Constant(NO_WATERMARK) {
        return Vec::new();
    }
    let watermark = |row: usize| match &batch.watermarks {
        RowWatermarks::Constant(watermark) => *watermark,
        RowWatermarks::Each(each) => each[kept.as_ref().map_or(row, |kept| kept[row] as usize)],
    };
    (0..times.len())
        .filter(|row| {
            let watermark = watermark(*row);
            // A row without a time is not late: it is nothing's past.
            watermark != NO_WATERMARK && times[*row] != i64::MIN && times[*row] < watermark.saturating_sub(retention.own.delay_us)
        })
        .map(|row| row as u32)
        .collect()
}

/// The hash of each key, with its lowest bit set where the key holds a null.
fn hashes(keys: &RowBytes, columns: &[ArrayRef]) -> Vec<u64> {
    let mut hashes = hash_bytes((0..keys.len()).map(|row| keys.get(row)));
    hashes.iter_mut().for_each(|hash| *hash &= !1);
    for nulls in columns.iter().filter_map(|column| column.logical_nulls()).filter(|nulls| nulls.null_count() > 0) {
        hashes.iter_mut().zip(nulls.iter()).for_each(|(hash, valid)| *hash |= u64::from(!valid));
    }
    hashes
}

/// Whether the key of a hash holds a null.
pub(crate) fn has_null(hash: u64) -> bool {
    hash & 1 == 1
}

struct Codec {
    types: Vec<DataType>,
    converter: RowConverter,
    parser: RowParser,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("types", &self.types).finish_non_exhaustive()
    }
}

impl Codec {
    fn new(types: Vec<DataType>) -> Result<Self, String> {
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        let converter = RowConverter::new(fields).map_err(|error| format!("cannot arrange these types: {error}"))?;
        Ok(Self { types, parser: converter.parser(), converter })
    }

    fn encode(&self, columns: &[ArrayRef], rows: usize) -> RowBytes {
        let mut list = RowBytes::default();
        if self.types.is_empty() {
            (0..rows).for_each(|_| list.push(&[]));
            return list;
        }
        let encoded = self.converter.convert_columns(columns).expect("columns are of the plan's types");
        list = RowBytes::with_capacity((0..rows).map(|row| encoded.row_len(row)).sum());
        encoded.iter().for_each(|row| list.push(row.data()));
        list
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
        let columns = self.converter.convert_rows(rows.map(|row| self.parser.parse(row))).expect("rows were encoded by this codec");
        let types = self.types.iter();
        // Dictionaries come back as their values.
        columns
            .into_iter()
            .zip(types)
            .map(
                |(column, wanted)| {
                    if column.data_type() == wanted { column } else { cast(&column, wanted).expect("values of a dictionary") }
                },
            )
            .collect()
    }
}
