//! However rows are cut into chunks and epochs, in whatever order chunks arrive and however many workers share the keys: at every
//! epoch the changes so far add up to the last row of each key.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::store::{UpsertLayout, UpsertStore};
use crate::batch::{Batch, NO_WATERMARK, Origin, RowWatermarks};
use crate::places::Places;

type Row = (i64, Option<String>, Option<i64>);

/// A record: where it stands, its epoch, its row, and whether it deletes.
#[derive(Clone, Debug)]
struct Record {
    partition: u32,
    epoch: u64,
    chunk: u64,
    row: Row,
    deletes: bool,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("key", DataType::Int64, false),
        Field::new("number", DataType::Int64, true),
    ]))
}

fn batch(records: &[Record], diffs: bool) -> Batch {
    let text: StringArray = records.iter().map(|record| record.row.1.as_deref()).collect();
    let key = Int64Array::from_iter_values(records.iter().map(|record| record.row.0));
    let number: Int64Array = records.iter().map(|record| record.row.2).collect();
    let rows = RecordBatch::try_new(schema(), vec![Arc::new(text), Arc::new(key), Arc::new(number)]).unwrap();
    let diffs: Option<Vec<i64>> = diffs.then(|| records.iter().map(|record| if record.deletes { -1 } else { 1 }).collect());
    Batch {
        rows,
        diffs: diffs.map(Into::into),
        watermarks: RowWatermarks::Constant(NO_WATERMARK),
        places: Places::Unknown,
        origin: Origin { source: 0, partition: records[0].partition, offset: records[0].chunk * 100 },
    }
}

fn add(sum: &mut BTreeMap<Row, i64>, batch: &Batch) {
    let [text, key, number] = batch.rows.columns() else { panic!("three columns") };
    for row in 0..batch.len() {
        let number = number.as_primitive::<Int64Type>();
        let text = text.as_string::<i32>();
        let key = key.as_primitive::<Int64Type>().value(row);
        let text = text.is_valid(row).then(|| text.value(row).to_owned());
        let number = number.is_valid(row).then(|| number.value(row));
        let diff = batch.diffs.as_ref().map_or(1, |diffs| diffs[row]);
        let entry = sum.entry((key, text, number)).or_default();
        *entry += diff;
    }
    sum.retain(|_, count| *count != 0);
}

/// The naive table: of each key the last record by partition and place.
fn table(records: &[Record], epoch: u64) -> BTreeMap<Row, i64> {
    let mut last: BTreeMap<i64, (u32, usize)> = BTreeMap::new();
    for (place, record) in records.iter().enumerate().filter(|(_, record)| record.epoch <= epoch) {
        let entry = last.entry(record.row.0).or_insert((record.partition, place));
        *entry = (*entry).max((record.partition, place));
    }
    let standing = last.values().map(|(_, place)| &records[*place]).filter(|record| !record.deletes);
    standing.map(|record| (record.row.clone(), 1)).collect()
}

fn records(keys: i64, partitions: u32) -> impl Strategy<Value = Vec<Record>> {
    let one =
        (0..keys, prop::option::of("[ab]{0,3}"), prop::option::of(0..3i64), prop::bool::weighted(0.3), 0..partitions, 0..3u64, 0..3u64);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        // Within a partition epochs and chunks never fall.
        let mut at: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        all.into_iter()
            .map(|(key, text, number, deletes, partition, epoch_step, chunk_step)| {
                let (epoch, chunk) = at.entry(partition).or_default();
                *epoch += epoch_step / 2;
                *chunk += if epoch_step / 2 > 0 { 1 } else { chunk_step / 2 };
                Record { partition, epoch: *epoch, chunk: *chunk, row: (key, text, number), deletes }
            })
            .collect()
    })
}

fn check(records: &[Record], workers: usize, shuffle: u64, remember: bool) {
    let layout = Arc::new(UpsertLayout::new(schema(), &[1], remember).unwrap());
    let mut stores: Vec<UpsertStore> = (0..workers).map(|_| UpsertStore::new(Arc::clone(&layout))).collect();
    let mut chunks: BTreeMap<(u64, u32, u64), Vec<Record>> = BTreeMap::new();
    for record in records {
        chunks.entry((record.epoch, record.partition, record.chunk)).or_default().push(record.clone());
    }
    let mut order: Vec<_> = chunks.into_iter().collect();
    // Chunks of an epoch come in any order.
    order.sort_by_key(|((epoch, partition, chunk), _)| (*epoch, (u64::from(*partition) * 31 + chunk).wrapping_mul(shuffle | 1) % 17));
    let mut sum = BTreeMap::new();
    let last = order.iter().map(|((epoch, _, _), _)| *epoch).max().unwrap_or(0);
    let mut rest = order.as_slice();
    for epoch in 0..=last {
        while let Some((((at, _, _), chunk), behind)) = rest.split_first() {
            if *at > epoch {
                break;
            }
            let diffs = chunk.iter().any(|record| record.deletes);
            for (worker, keyed) in layout.keyed(&batch(chunk, diffs)).split(workers).into_iter().enumerate() {
                if !keyed.is_empty() {
                    stores[worker].absorb(*at, keyed);
                }
            }
            rest = behind;
        }
        for store in &mut stores {
            if let Some(rows) = store.close(epoch).rows {
                add(&mut sum, &rows);
            }
        }
        let wanted = table(records, epoch);
        assert_eq!(sum, wanted, "epoch {epoch}");
        assert_eq!(stores.iter().map(UpsertStore::len).sum::<usize>(), wanted.len());
    }
}

proptest! {
    #[test]
    fn changes_add_up_to_the_table(
        records in records(6, 3), workers in 1usize..=4, shuffle in any::<u64>()
    ) {
        check(&records, workers, shuffle, true);
    }

    /// Where a key stays in one partition, nothing need be remembered of deleted keys.
    #[test]
    fn keys_of_one_partition_need_no_memory(
        mut records in records(6, 3), workers in 1usize..=4, shuffle in any::<u64>()
    ) {
        for record in &mut records {
            record.row.0 = record.row.0 * 3 + i64::from(record.partition);
        }
        check(&records, workers, shuffle, false);
    }
}

#[test]
fn what_means_nothing_is_counted() {
    let layout = Arc::new(UpsertLayout::new(schema(), &[1], true).unwrap());
    let mut store = UpsertStore::new(Arc::clone(&layout));
    let record = |partition, key, deletes| Record { partition, epoch: 0, chunk: 0, row: (key, None, None), deletes };
    for (epoch, records, unknown, overtaken) in [
        (0, vec![record(1, 1, false), record(1, 2, true), record(1, 1, true), record(1, 1, true)], 2, 0),
        (1, vec![record(0, 1, false), record(0, 2, false), record(0, 3, false)], 0, 2),
        (2, vec![record(0, 3, true)], 0, 0),
    ] {
        store.absorb(epoch, layout.keyed(&batch(&records, true)));
        let changes = store.close(epoch);
        assert_eq!((changes.unknown, changes.overtaken), (unknown, overtaken), "epoch {epoch}");
    }
    assert_eq!(store.len(), 0);
}
