//! # Keyed batches on timely channels
//!
//! What timely asks of a container, and the distributor that splits batches by worker. Rows are what is counted.

use std::io::Write;

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use super::keyed_batch::KeyedBatch;

impl Accountable for KeyedBatch {
    fn record_count(&self) -> i64 {
        self.len() as i64
    }
}

impl ContainerBytes for KeyedBatch {
    fn from_bytes(bytes: Bytes) -> Self {
        match Self::from_bytes(&bytes) {
            Ok(batch) => batch,
            Err(reason) => panic!("a peer sent what is no keyed batch: {reason}"),
        }
    }

    fn length_in_bytes(&self) -> usize {
        // Timely rounds frames to words; the reader stops at the end of the stream it finds.
        crate::wire::measure(self, Self::to_bytes)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        crate::wire::write(self, Self::to_bytes, writer);
    }
}

/// Sends each row to the worker that keeps its group.
#[derive(Debug, Default)]
pub struct KeyedDistributor;

impl Distributor<KeyedBatch> for KeyedDistributor {
    fn partition<T: Clone, P: Push<Message<T, KeyedBatch>>>(&mut self, container: &mut KeyedBatch, stamp: &Stamp<T>, pushers: &mut [P]) {
        for (mut batch, pusher) in std::mem::take(container).split(pushers.len()).into_iter().zip(pushers) {
            if !batch.is_empty() {
                Message::push_at(&mut batch, stamp.clone(), pusher);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, KeyedBatch>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
