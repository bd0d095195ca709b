//! # Moving batches to one worker
//!
//! Sinks that want all rows in one place take their batches whole: a distributor that sends every batch to the same worker, and
//! the bytes of a batch for the wire between processes (Arrow IPC, then diffs).

use std::io::Write;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use timely::communication::Push;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use crate::batch::{Batch, NO_WATERMARK, Origin, RowWatermarks, record_batch};
use crate::places::Places;

/// Sends every batch to one worker.
pub(crate) struct ToWorker(usize);

impl Distributor<Batch> for ToWorker {
    fn partition<T: Clone, P: Push<Message<T, Batch>>>(&mut self, container: &mut Batch, stamp: &Stamp<T>, pushers: &mut [P]) {
        Message::push_at(container, stamp.clone(), &mut pushers[self.0]);
    }

    fn flush<T: Clone, P: Push<Message<T, Batch>>>(&mut self, _stamp: &Stamp<T>, _pushers: &mut [P]) {}
}

/// The pact that brings all batches to a worker.
pub(crate) fn to_worker(worker: usize) -> DistributorPact<impl FnOnce(usize) -> ToWorker> {
    DistributorPact(move |_peers| ToWorker(worker))
}

/// Name of the column that carries diffs on the wire; never seen by a plan.
const DIFFS: &str = "\u{0}diffs";

impl ContainerBytes for Batch {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        // Timely may have rounded the frame to words: the reader stops at the end of the stream it finds.
        let (origin, ipc) = bytes.split_at(16);
        let word = |at: usize| u32::from_le_bytes(origin[at..at + 4].try_into().expect("four bytes"));
        let offset = u64::from_le_bytes(origin[8..16].try_into().expect("eight bytes"));
        let mut reader = StreamReader::try_new(ipc, None).expect("a peer of the same build sends Arrow IPC");
        let rows = reader.next().expect("a stream holds one batch").expect("a peer of the same build sends Arrow IPC");
        let mut fields: Vec<_> = rows.schema_ref().fields().iter().cloned().collect();
        let mut columns = rows.columns().to_vec();
        let mut diffs = None;
        if fields.last().is_some_and(|field| field.name() == DIFFS) {
            fields.pop();
            let column: ArrayRef = columns.pop().expect("as many columns as fields");
            diffs = column.as_any().downcast_ref::<Int64Array>().map(|diffs| diffs.values().clone());
        }
        Self {
            rows: record_batch(&Schema::new(fields).into(), columns, rows.num_rows()),
            diffs,
            watermarks: RowWatermarks::Constant(NO_WATERMARK),
            origin: Origin { source: word(0), partition: word(4), offset },
            // The sink asks for none.
            places: Places::Unknown,
        }
    }

    fn length_in_bytes(&self) -> usize {
        crate::wire::measure(self, encode)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        crate::wire::write(self, encode, writer);
    }
}

/// Rows that travel to a sink have been judged by every window: their watermarks stay behind.
fn encode(batch: &Batch) -> Vec<u8> {
    let mut fields: Vec<_> = batch.rows.schema_ref().fields().iter().cloned().collect();
    let mut columns = batch.rows.columns().to_vec();
    if let Some(diffs) = &batch.diffs {
        fields.push(Field::new(DIFFS, DataType::Int64, false).into());
        columns.push(std::sync::Arc::new(Int64Array::new(diffs.clone(), None)));
    }
    let rows: RecordBatch = record_batch(&Schema::new(fields).into(), columns, batch.len());
    let mut body = Vec::new();
    body.extend_from_slice(&batch.origin.source.to_le_bytes());
    body.extend_from_slice(&batch.origin.partition.to_le_bytes());
    body.extend_from_slice(&batch.origin.offset.to_le_bytes());
    let fits = "a batch in memory fits a buffer in memory";
    let mut writer = StreamWriter::try_new(body, rows.schema_ref()).expect(fits);
    writer.write(&rows).expect(fits);
    writer.finish().expect(fits);
    writer.into_inner().expect(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_the_wire() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]).into();
        for diffs in [None, Some(vec![1, -1, 2])] {
            let column = std::sync::Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
            let mut batch = Batch::computed(record_batch(&schema, vec![column], 3), diffs);
            batch.origin = Origin { source: 1, partition: 2, offset: 3 };
            let mut bytes = Vec::new();
            let length = batch.length_in_bytes();
            batch.into_bytes(&mut bytes);
            assert_eq!(bytes.len(), length);
            let read = Batch::from_bytes(timely::bytes::arc::BytesMut::from(bytes).freeze());
            assert_eq!((read.rows, read.diffs, read.origin), (batch.rows, batch.diffs, batch.origin));
        }
    }
}
