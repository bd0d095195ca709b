//! Records of one partition as they were fetched: what is asked of them, end to end, undecoded.

use std::sync::Arc;

use rdkafka::Timestamp;
use rdkafka::message::{Headers, Message};

use crate::format::message::Values;

/// A timestamp that a record does not have.
pub(super) const NO_TIMESTAMP: i64 = i64::MIN;

/// Which parts of a record are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) key: bool,
    pub(super) timestamp: bool,
    pub(super) headers: bool,
}

/// A header: its name and its value.
pub(super) type Header = (String, Option<Vec<u8>>);

/// When a record was made, or written, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) millis: i64,
    /// The broker set it as it wrote the record; otherwise the producer did.
    pub(super) of_broker: bool,
}

/// Some records in order.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// Offsets, ascending, mostly without gaps.
    pub(super) offsets: Vec<u64>,
    pub(super) values: Values,
    pub(super) keys: Values,
    pub(super) stamps: Vec<Stamp>,
    pub(super) headers: Vec<Vec<Header>>,
}

impl Messages {
    pub(super) fn new(topic: Arc<str>, partition: i32) -> Self {
        Self {
            topic,
            partition,
            offsets: Vec::new(),
            values: Values::default(),
            keys: Values::default(),
            stamps: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.values.byte_len() + self.keys.byte_len()
    }

    /// Offsets have no gaps.
    pub(super) fn dense(&self) -> bool {
        match (self.offsets.first(), self.offsets.last()) {
            (Some(first), Some(last)) => last - first == self.offsets.len() as u64 - 1,
            _ => true,
        }
    }

    /// Appends a record.
    pub(super) fn push(&mut self, message: &impl Message, wanted: Wanted) {
        self.offsets.push(u64::try_from(message.offset()).unwrap_or_default());
        self.values.push(message.payload());
        if wanted.key {
            self.keys.push(message.key());
        }
        if wanted.timestamp {
            self.stamps.push(match message.timestamp() {
                Timestamp::NotAvailable => Stamp { millis: NO_TIMESTAMP, of_broker: false },
                Timestamp::CreateTime(millis) => Stamp { millis, of_broker: false },
                Timestamp::LogAppendTime(millis) => Stamp { millis, of_broker: true },
            });
        }
        if wanted.headers {
            let headers = message.headers();
            let one = |header: rdkafka::message::Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
            self.headers.push(headers.map(|headers| headers.iter().map(one).collect()).unwrap_or_default());
        }
    }
}
