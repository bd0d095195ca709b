//! Sending records: a producer, and what the brokers have acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::client::{Health, code, patiently, sentence};
use crate::source::ConnectorError;

/// How long the brokers may take to make a topic.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(5);

/// What the producer's callbacks tell.
struct Deliveries {
    health: Health,
    /// Records sent and neither delivered nor given up.
    outstanding: AtomicU64,
    done: Mutex<()>,
    wake: Condvar,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{}: {message}", self.health.name());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = code(&error) {
            self.health.note(code, reason);
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {}
            Err((error, _)) => {
                let reason = code(error).map_or_else(|| error.to_string(), |code| sentence(code, ""));
                let trouble = self.health.trouble().map(|trouble| format!("; {trouble}")).unwrap_or_default();
                self.health.fail(format!("{reason}{trouble}"));
            }
        }
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }
}

/// Sends records to one topic.
pub(super) struct Outlet {
    producer: ThreadedProducer<Deliveries>,
    /// Partitions of the topic when it was opened.
    partitions: i32,
}

impl Outlet {
    /// A producer for a topic that is there, or is made when it is asked for.
    pub(super) fn open(name: &str, config: &ClientConfig, topic: &str, connect_timeout: Duration) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(name, reason);
        let context = Deliveries { health: Health::new(name), outstanding: AtomicU64::new(0), done: Mutex::new(()), wake: Condvar::new() };
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(context).map_err(|error| wrong(error.to_string()))?;
        let health = &producer.context().health;
        let ask = |timeout| producer.client().fetch_metadata(Some(topic), timeout);
        patiently(health, connect_timeout, || {}, ask)?;
        // A topic that the brokers make when they are asked for it is not there at once, and has no leader at first.
        let ask = |timeout| {
            let answer = ask(timeout)?;
            match answer.topics().iter().find_map(|topic| topic.error()) {
                Some(error) => Err(KafkaError::MetadataFetch(Code::from(error))),
                None => Ok(answer.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>()),
            }
        };
        let partitions = patiently(health, connect_timeout.min(TOPIC_TIMEOUT), || {}, ask).map_err(|error| {
            let reason = format!("topic \"{topic}\" cannot be written: {}", error.reason);
            health.fatal().unwrap_or_else(|| wrong(reason))
        })?;
        Ok(Self { producer, partitions: i32::try_from(partitions).unwrap_or(i32::MAX) })
    }

    /// Partitions of the topic when it was opened.
    pub(super) fn partitions(&self) -> i32 {
        self.partitions
    }

    pub(super) fn name(&self) -> &str {
        self.producer.context().health.name()
    }

    /// Whether the brokers have acknowledged all that was sent. Does not wait.
    pub(super) fn settled(&self) -> Result<bool, ConnectorError> {
        let context = self.producer.context();
        match context.health.fatal() {
            Some(fatal) => Err(fatal),
            None => Ok(context.outstanding.load(Ordering::Acquire) == 0),
        }
    }

    /// Hands a record to the producer; while its queue is full, waits.
    pub(super) fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), ConnectorError> {
        let context = self.producer.context();
        loop {
            context.outstanding.fetch_add(1, Ordering::AcqRel);
            let (error, back) = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            context.outstanding.fetch_sub(1, Ordering::AcqRel);
            if code(&error) != Some(Code::QueueFull) {
                let reason = code(&error).map_or_else(|| error.to_string(), |code| sentence(code, ""));
                return Err(context.health.fatal().unwrap_or_else(|| ConnectorError::new(self.name(), reason)));
            }
            if let Some(fatal) = context.health.fatal() {
                return Err(fatal);
            }
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the brokers have acknowledged all that was sent.
    pub(super) fn wait(&self) -> Result<(), ConnectorError> {
        let context = self.producer.context();
        let mut done = context.done.lock().unwrap_or_else(PoisonError::into_inner);
        while context.outstanding.load(Ordering::Acquire) > 0 {
            if let Some(fatal) = context.health.fatal() {
                return Err(fatal);
            }
            let woken = context.wake.wait_timeout(done, Duration::from_millis(100));
            done = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(fatal) = context.health.fatal() {
            return Err(fatal);
        }
        context.health.well();
        Ok(())
    }
}
