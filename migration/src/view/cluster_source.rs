//! [`ClusterSource`]: a topic of a cluster of brokers, followed by a client of its own.

use engine_env::{Port, PortStats, Wait, Waker};
use log_engine::{Fetches, LogClient, Offset, ProduceOutcome, TopicPartition};

use super::applier::Change;
use super::source::{Source, SourceError};

/// A topic of a cluster: records below the high watermark, which no broker that leads will take back.
#[derive(Debug)]
pub struct ClusterSource<P: Port> {
    client: LogClient<P>,
    topic: String,
    /// Stays empty: nothing is produced here.
    done: Vec<ProduceOutcome>,
    fetches: Fetches,
}

impl<P: Port> ClusterSource<P> {
    /// A source of this topic's records. The client is for it alone.
    #[must_use]
    pub fn new(client: LogClient<P>, topic: &str) -> Self {
        Self { client, topic: topic.to_owned(), done: Vec::new(), fetches: Fetches::default() }
    }
}

impl<P: Port> Source for ClusterSource<P> {
    fn begin(&mut self, from: &[(u32, Offset)]) -> Result<(), SourceError> {
        for &(partition, offset) in from {
            self.client.subscribe(&TopicPartition::new(self.topic.as_str(), partition), offset);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Wait, mut take: impl FnMut(u32, &Change<'_>)) -> Result<(), SourceError> {
        self.fetches.clear();
        self.client.poll(wait, &mut self.done, &mut self.fetches);
        for record in self.fetches.records() {
            let (partition, record) = record?;
            let change = Change {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
            };
            take(partition.partition, &change);
        }
        match self.fetches.ended().first() {
            None => Ok(()),
            Some(ended) => Err(SourceError::Ended(ended.clone())),
        }
    }

    fn waker(&self) -> Waker {
        self.client.waker()
    }

    fn sent(&self) -> PortStats {
        self.client.stats()
    }
}
