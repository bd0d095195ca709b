//! Where reading begins and ends in each partition. Found when a source is opened, so that "latest" means the start of the run.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{Context, Health, listen, patiently};
use super::options::Place;
use crate::source::ConnectorError;

/// What places are looked up with.
pub(super) struct Lookup<'a> {
    pub(super) consumer: &'a BaseConsumer<Context>,
    pub(super) health: &'a Health,
    pub(super) patience: Duration,
    /// Where a partition begins that the group has not read yet.
    pub(super) unread_at_latest: bool,
}

/// A partition of a topic.
pub(super) type Partition<'a> = (&'a str, i32);

impl Lookup<'_> {
    /// The offset of the first record at or behind a place, for each partition.
    pub(super) fn offsets(&self, place: &Place, partitions: &[Partition<'_>]) -> Result<Vec<i64>, ConnectorError> {
        match place {
            Place::Earliest => partitions.iter().map(|partition| Ok(self.bounds(*partition)?.0)).collect(),
            Place::Latest => partitions.iter().map(|partition| Ok(self.bounds(*partition)?.1)).collect(),
            Place::Offsets(offsets) => {
                // A partition that is not named is read whole.
                let at = |partition: &Partition<'_>| match offsets.get(&partition.1) {
                    Some(offset) => Ok(*offset),
                    None => Ok(self.bounds(*partition)?.0),
                };
                partitions.iter().map(at).collect()
            }
            Place::Group => self.listed(partitions, Offset::Invalid, |asked, timeout| self.consumer.committed_offsets(asked, timeout)),
            Place::Timestamp(millis) => {
                self.listed(partitions, Offset::Offset(*millis), |asked, timeout| self.consumer.offsets_for_times(asked, timeout))
            }
        }
    }

    /// The first offset of a partition, and that behind its last.
    fn bounds(&self, (topic, partition): Partition<'_>) -> Result<(i64, i64), ConnectorError> {
        self.ask(|timeout| self.consumer.fetch_watermarks(topic, partition, timeout))
    }

    fn listed(
        &self,
        partitions: &[Partition<'_>],
        ask_with: Offset,
        request: impl Fn(TopicPartitionList, Duration) -> rdkafka::error::KafkaResult<TopicPartitionList>,
    ) -> Result<Vec<i64>, ConnectorError> {
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in partitions {
            asked.add_partition_offset(topic, *partition, ask_with).map_err(|error| ConnectorError::new(*topic, error))?;
        }
        let answer = self.ask(|timeout| request(asked.clone(), timeout))?;
        partitions
            .iter()
            .map(|partition| match answer.find_partition(partition.0, partition.1).map(|found| found.offset()) {
                Some(Offset::Offset(offset)) => Ok(offset),
                // No record is as late: behind the last one.
                Some(Offset::End) => Ok(self.bounds(*partition)?.1),
                _ if matches!(ask_with, Offset::Offset(_)) || self.unread_at_latest => Ok(self.bounds(*partition)?.1),
                _ => Ok(self.bounds(*partition)?.0),
            })
            .collect()
    }

    fn ask<T>(&self, request: impl FnMut(Duration) -> rdkafka::error::KafkaResult<T>) -> Result<T, ConnectorError> {
        patiently(self.health, self.patience, || listen(self.consumer), request)
    }
}
