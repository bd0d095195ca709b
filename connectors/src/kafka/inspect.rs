//! Looking at a cluster without a query: which topics there are, and what their records look like.

use std::time::Duration;

use rdkafka::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemark_planner::connector::Options;

use super::client::{Context, Health, code, listen, patiently, sentence};
use super::options::client_config;
use crate::source::ConnectorError;

/// A cluster, as far as a client has reached it.
pub struct Cluster {
    consumer: BaseConsumer<Context>,
    patience: Duration,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// Offset of the first record there is.
    pub first: i64,
    /// Offset that the next record will have.
    pub next: i64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number of its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was made or written, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Which records are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// At most so many.
    pub count: u64,
    /// Only of this partition.
    pub partition: Option<i32>,
    /// The last ones of each partition, not the first ones.
    pub last: bool,
}

impl Cluster {
    /// A client of the cluster that is reached at `brokers`, with properties of librdkafka.
    ///
    /// # Errors
    /// When a property is wrong.
    pub fn connect(brokers: &str, properties: &[(String, String)], patience: Duration) -> Result<Self, ConnectorError> {
        let mut options = Options::default();
        options.0.insert("brokers".into(), brokers.into());
        for (name, value) in properties {
            options.0.insert(format!("properties.{name}"), value.clone());
        }
        let own = [
            ("group.id", "tidemark-look".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            ("allow.auto.create.topics", "false".to_owned()),
        ];
        let wrong = |reason: String| ConnectorError::new(brokers, reason);
        let config = client_config(&options, &own).map_err(wrong)?;
        let consumer = config.create_with_context(Context::new(brokers)).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { consumer, patience })
    }

    fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    fn ask<T>(&self, request: impl FnMut(Duration) -> Result<T, KafkaError>) -> Result<T, ConnectorError> {
        patiently(self.health(), self.patience, || listen(&self.consumer), request)
    }

    /// The topics in the order of their names, but for the brokers' own.
    ///
    /// # Errors
    /// When no broker answers in time, or one refuses.
    pub fn topics(&self) -> Result<Vec<Topic>, ConnectorError> {
        let answer = self.ask(|timeout| self.consumer.fetch_metadata(None, timeout))?;
        let mut topics = Vec::new();
        for topic in answer.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
            let numbers = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
            topics.push(self.topic(topic.name(), numbers)?);
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    fn topic(&self, name: &str, mut numbers: Vec<i32>) -> Result<Topic, ConnectorError> {
        numbers.sort_unstable();
        let partition = |number| {
            let (first, next) = self.ask(|timeout| self.consumer.fetch_watermarks(name, number, timeout))?;
            Ok(Partition { number, first, next })
        };
        Ok(Topic { name: name.to_owned(), partitions: numbers.into_iter().map(partition).collect::<Result<_, ConnectorError>>()? })
    }

    /// Hands records of a topic to `show`, partition by partition as they come, until there are no more or enough.
    ///
    /// # Errors
    /// When the topic or partition does not exist, or no broker answers in time.
    pub fn peek(&self, topic: &str, look: Look, mut show: impl FnMut(Record) -> bool) -> Result<u64, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(topic, reason);
        let answer = self.ask(|timeout| self.consumer.fetch_metadata(Some(topic), timeout))?;
        let numbers: Vec<i32> =
            answer.topics().iter().filter(|it| it.name() == topic).flat_map(|it| it.partitions()).map(|it| it.id()).collect();
        if numbers.is_empty() {
            return Err(wrong("the topic does not exist".into()));
        }
        let mut partitions = self.topic(topic, numbers)?.partitions;
        if let Some(only) = look.partition {
            partitions.retain(|partition| partition.number == only);
            if partitions.is_empty() {
                return Err(wrong(format!("there is no partition {only}")));
            }
        }
        partitions.retain(|partition| partition.first < partition.next);
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            let back = i64::try_from(look.count).unwrap_or(i64::MAX);
            let start = if look.last { partition.next.saturating_sub(back).max(partition.first) } else { partition.first };
            list.add_partition_offset(topic, partition.number, Offset::Offset(start)).map_err(|error| wrong(error.to_string()))?;
        }
        self.consumer.assign(&list).map_err(|error| wrong(error.to_string()))?;
        let (mut shown, mut open) = (0, partitions.len());
        while shown < look.count && open > 0 {
            match self.consumer.poll(self.patience) {
                None => return Err(wrong(self.health().trouble().unwrap_or_else(|| "no record came in time".into()))),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => {
                    if let Some(fatal) = self.health().fatal() {
                        return Err(fatal);
                    }
                    let code = code(&error).ok_or_else(|| wrong(error.to_string()))?;
                    tracing::debug!("{topic}: {}", sentence(code, ""));
                }
                Some(Ok(message)) => {
                    shown += 1;
                    if !show(record(&message)) {
                        break;
                    }
                }
            }
        }
        Ok(shown)
    }
}

impl Cluster {
    /// Fetches a whole topic and looks at nothing but where each record lies: what a client of librdkafka can do at best. How many
    /// records there were.
    ///
    /// # Errors
    /// As [`Cluster::peek`].
    pub fn drain(&self, topic: &str) -> Result<u64, ConnectorError> {
        let wrong = |error: KafkaError| ConnectorError::new(topic, error);
        let answer = self.ask(|timeout| self.consumer.fetch_metadata(Some(topic), timeout))?;
        let mut list = TopicPartitionList::new();
        for partition in answer.topics().iter().flat_map(|topic| topic.partitions()) {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning).map_err(wrong)?;
        }
        self.consumer.assign(&list).map_err(wrong)?;
        let (mut records, mut bytes, mut open) = (0, 0, list.count());
        while open > 0 {
            match self.consumer.poll(self.patience) {
                Some(Ok(message)) => {
                    records += 1;
                    bytes += message.payload().map_or(0, <[u8]>::len);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(wrong(error)),
                None => return Err(ConnectorError::new(topic, "no record came in time")),
            }
        }
        tracing::debug!(records, bytes, "{topic}: drained");
        self.consumer.unassign().map_err(wrong)?;
        Ok(records)
    }
}

fn record(message: &impl Message) -> Record {
    let headers =
        message.headers().map(|headers| headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(millis),
        },
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
