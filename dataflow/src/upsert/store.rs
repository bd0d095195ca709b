//! The last row of each key, in plain Rust.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{SchemaRef, UInt32Type, UInt64Type};
use arrow_row::{RowConverter, SortField};

use super::arena::Arena;
use crate::aggregate::{KeyedBatch, Payload};
use crate::batch::{Batch, record_batch};
use crate::state::key_rows::KeyCodec;
use crate::state::key_table::KeyTable;

/// No row.
const NONE: u32 = u32::MAX;

/// How rows cross the exchange: what keys and values are of a batch.
pub(crate) struct UpsertLayout {
    schema: SchemaRef,
    key: Vec<usize>,
    values: Vec<usize>,
    codec: KeyCodec,
    /// `None` when every column is of the key.
    converter: Option<RowConverter>,
    remember_deleted: bool,
}

/// What an epoch came to.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Rows taken back and added, with their diffs.
    pub(crate) rows: Option<Batch>,
    /// Deletions of keys that were not there.
    pub(crate) unknown: u64,
    /// Rows of a partition before the one that the key was last in.
    pub(crate) overtaken: u64,
}

impl UpsertLayout {
    /// For rows of a schema.
    ///
    /// # Errors
    /// When a column's type has no row bytes.
    pub(crate) fn new(schema: SchemaRef, key: &[usize], remember_deleted: bool) -> Result<Self, String> {
        let type_of = |column: &usize| schema.field(*column).data_type().clone();
        let values: Vec<usize> = (0..schema.fields().len()).filter(|column| !key.contains(column)).collect();
        let codec = KeyCodec::new(&key.iter().map(type_of).collect::<Vec<_>>())?;
        let fields: Vec<SortField> = values.iter().map(|column| SortField::new(type_of(column))).collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields).map_err(|error| error.to_string())?),
        };
        Ok(Self { schema, key: key.to_vec(), values, codec, converter, remember_deleted })
    }

    /// A batch with its keys encoded. Behind the columns come the place of the chunk: its partition and its offset.
    pub(crate) fn keyed(&self, batch: &Batch) -> KeyedBatch {
        let rows = batch.len();
        let keys: Vec<ArrayRef> = self.key.iter().map(|column| Arc::clone(batch.rows.column(*column))).collect();
        let keys = self.codec.encode(&keys, rows).expect("the keys of a batch have less than 2 GiB");
        let mut columns: Vec<ArrayRef> = self.values.iter().map(|column| Arc::clone(batch.rows.column(*column))).collect();
        columns.push(Arc::new(UInt32Array::from_value(batch.origin.partition, rows)));
        columns.push(Arc::new(UInt64Array::from_value(batch.origin.offset, rows)));
        let diffs = batch.diffs.as_ref().map(|diffs| diffs.to_vec());
        KeyedBatch { hashes: keys.hashes(), panes: None, single: false, keys, payload: Payload::Raw { columns, diffs } }
    }
}

/// The rows of one worker's keys. See the module's documentation.
pub(crate) struct UpsertStore {
    layout: Arc<UpsertLayout>,
    keys: KeyTable,
    /// The row of each key, by the key's number; none for keys that were deleted and are remembered.
    rows: Arena,
    /// The partition each key was last in.
    partitions: Vec<u32>,
    live: usize,
    /// While an epoch is applied: where each key is in the list of those that came.
    slots: Vec<u32>,
    /// What came and is not applied.
    open: BTreeMap<u64, Vec<KeyedBatch>>,
}

impl UpsertStore {
    pub(crate) fn new(layout: Arc<UpsertLayout>) -> Self {
        Self {
            layout,
            keys: KeyTable::new(),
            rows: Arena::default(),
            partitions: Vec::new(),
            live: 0,
            slots: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes rows of an epoch that is open.
    pub(crate) fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        self.open.entry(epoch).or_default().push(batch);
    }

    /// The first epoch that is open.
    pub(crate) fn first_open(&self) -> Option<u64> {
        self.open.keys().next().copied()
    }

    /// Applies the rows of an epoch.
    pub(crate) fn close(&mut self, epoch: u64) -> Changes {
        let Some(batches) = self.open.remove(&epoch) else { return Changes::default() };
        let batch = KeyedBatch::concat(&batches);
        drop(batches);
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("upserts cross the exchange as rows") };
        let [values @ .., partitions, offsets] = columns.as_slice() else { panic!("upserts carry their place") };
        let partitions = partitions.as_primitive::<UInt32Type>().values();
        let offsets = offsets.as_primitive::<UInt64Type>().values();

        let mut ids = Vec::with_capacity(batch.len());
        batch.number(&mut self.keys, &mut ids);
        let numbers = self.keys.numbers();
        self.rows.resize(numbers);
        self.partitions.resize(numbers, 0);
        self.slots.resize(numbers, NONE);

        // In the order of partitions; rows of a chunk came in their order.
        let place = |row: u32| (partitions[row as usize], offsets[row as usize]);
        let mut order: Vec<u32> = (0..u32::try_from(batch.len()).expect("an epoch has fewer than 2^32 rows")).collect();
        if !order.is_sorted_by_key(|row| place(*row)) {
            order.sort_by_key(|row| place(*row));
        }
        let mut changes = Changes::default();
        // For each key that came: the row that stands in the end, or none.
        let mut touched: Vec<u32> = Vec::new();
        let mut last: Vec<u32> = Vec::new();
        for row in order {
            let id = ids[row as usize];
            let partition = partitions[row as usize];
            let deletes = diffs.as_ref().is_some_and(|diffs| diffs[row as usize] < 0);
            let slot = self.slots[id as usize];
            if partition < self.partitions[id as usize] {
                changes.overtaken += 1;
                continue;
            }
            let there = if slot == NONE { self.rows.has(id) } else { last[slot as usize] != NONE };
            changes.unknown += u64::from(deletes && !there);
            self.partitions[id as usize] = partition;
            let now = if deletes { NONE } else { row };
            if slot == NONE {
                self.slots[id as usize] = u32::try_from(touched.len()).expect("an epoch has fewer than 2^32 rows");
                touched.push(id);
                last.push(now);
            } else {
                last[slot as usize] = now;
            }
        }
        touched.iter().for_each(|id| self.slots[*id as usize] = NONE);
        changes.rows = self.apply(&touched, &last, values);
        changes
    }

    /// Gives keys their rows, and tells what changed.
    fn apply(&mut self, touched: &[u32], last: &[u32], values: &[ArrayRef]) -> Option<Batch> {
        let layout = Arc::clone(&self.layout);
        let standing: Vec<u32> = last.iter().copied().filter(|row| *row != NONE).collect();
        let encoded = layout.converter.as_ref().map(|converter| {
            let rows = UInt32Array::from(standing);
            let columns: Vec<ArrayRef> = values.iter().map(|column| take(column, &rows, None).expect("rows lie within")).collect();
            converter.convert_columns(&columns).expect("columns are of the types the converter was made for")
        });
        let (mut removed, mut added) = (ByteRows::default(), ByteRows::default());
        let (mut removed_ids, mut added_ids) = (Vec::new(), Vec::new());
        let mut next = 0;
        let mut gone = Vec::new();
        for (id, row) in touched.iter().zip(last) {
            let new: Option<&[u8]> = (*row != NONE).then(|| {
                next += 1;
                encoded.as_ref().map_or(&[][..], |encoded| encoded.row(next - 1).data())
            });
            let old = self.rows.get(*id);
            let was = old.is_some();
            if old != new {
                if let Some(old) = old {
                    removed.push(old);
                    removed_ids.push(*id);
                }
                if let Some(new) = new {
                    added.push(new);
                    added_ids.push(*id);
                }
                self.live = self.live + usize::from(new.is_some()) - usize::from(was);
                self.rows.set(*id, new);
            }
            // A deleted key of the first partition can be brought back by nothing that was read before.
            if new.is_none() && !(layout.remember_deleted && self.partitions[*id as usize] > 0) {
                gone.push(*id);
            }
        }
        let rows = self.output(&removed_ids, removed, &added_ids, added);
        for id in gone {
            self.keys.remove(id);
            self.partitions[id as usize] = 0;
        }
        rows
    }

    fn output(&self, removed_ids: &[u32], removed: ByteRows, added_ids: &[u32], added: ByteRows) -> Option<Batch> {
        let layout = &self.layout;
        let rows = removed_ids.len() + added_ids.len();
        if rows == 0 {
            return None;
        }
        let ids: Vec<u32> = removed_ids.iter().chain(added_ids).copied().collect();
        // Keys as the table holds them: equal keys come out as equal values, whatever record they came in.
        let keys = layout.codec.decode(&self.keys.rows(&ids));
        let mut values = vec![];
        if let Some(converter) = &layout.converter {
            let halves = [removed, added].map(|bytes| {
                let rows = converter.from_binary(bytes.finish());
                converter.convert_rows(rows.iter()).expect("rows were encoded by this converter")
            });
            let [removed, added] = halves;
            values = removed.iter().zip(&added).map(|(a, b)| concat(&[a, b]).expect("columns of one type")).collect();
        }
        let mut columns: Vec<Option<ArrayRef>> = vec![None; layout.schema.fields().len()];
        for (place, column) in layout.key.iter().zip(keys).chain(layout.values.iter().zip(values)) {
            columns[*place] = Some(column);
        }
        let columns = columns.into_iter().map(|column| column.expect("a column is of the key or a value")).collect();
        let mut diffs = vec![-1; removed_ids.len()];
        diffs.resize(rows, 1);
        let rows: RecordBatch = record_batch(&layout.schema, columns, rows);
        Some(Batch::computed(rows, (!removed_ids.is_empty()).then_some(diffs)))
    }

    /// Keys that have a row.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Bytes held, about.
    pub(crate) fn bytes(&self) -> usize {
        let open: usize = self.open.values().flatten().map(KeyedBatch::bytes).sum();
        self.keys.bytes() + self.rows.bytes() + (self.partitions.capacity() + self.slots.capacity()) * 4 + open
    }
}

/// Row bytes, end to end.
#[derive(Default)]
struct ByteRows {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl ByteRows {
    fn push(&mut self, row: &[u8]) {
        self.data.extend_from_slice(row);
        self.ends.push(self.data.len());
    }

    fn finish(self) -> BinaryArray {
        let mut offsets: Vec<i32> = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend(self.ends.iter().map(|end| i32::try_from(*end).expect("the changes of an epoch have less than 2 GiB")));
        BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(self.data), None)
    }
}
