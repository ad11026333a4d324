//! [`Source`]: where a view's records come from. A cluster or, here, a log in the same process ([`LocalSource`]).

use std::error::Error;
use std::sync::Arc;

use engine_env::{Home, PortStats, Wait, Waker};
use log_engine::{Consumer, FetchError, Log, Offset, SubscriptionError, TopicPartition};

use super::applier::Change;

/// Why no more records come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The log can't be read there.
    #[error("the view's topic can't be read: {0}")]
    Fetch(#[from] FetchError),
    /// The cluster gives no more.
    #[error("the view's topic gives no more: {0}")]
    Ended(SubscriptionError),
    /// The source's own error.
    #[error("the view's source failed: {0}")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

/// Records of all partitions of a topic, each partition's in order of offsets.
pub trait Source: Send + 'static {
    /// Begins at these offsets, one for each partition.
    ///
    /// # Errors
    /// There is no such partition.
    fn begin(&mut self, from: &[(u32, Offset)]) -> Result<(), SourceError>;

    /// Hands new records to `take`, waiting for a first one as `wait` says. Ends early, perhaps with none, when it is
    /// woken. A few hundred kilobytes at a time, so that what is taken can be one commit.
    ///
    /// # Errors
    /// No more records will come.
    fn poll(&mut self, wait: Wait, take: impl FnMut(u32, &Change<'_>)) -> Result<(), SourceError>;

    /// Ends a wait, from any thread.
    fn waker(&self) -> Waker;

    /// What the source has sent over a network.
    fn sent(&self) -> PortStats {
        PortStats::default()
    }
}

/// Bytes of one poll.
const POLL_BYTES: usize = 512 << 10;

/// A topic of a log in the same process.
#[derive(Debug)]
pub struct LocalSource<H: Home> {
    consumer: Consumer<H>,
    topic: String,
}

impl<H: Home> LocalSource<H> {
    /// A source of this topic's records.
    #[must_use]
    pub fn new(log: Arc<Log<H>>, topic: &str) -> Self {
        Self { consumer: Consumer::new(log), topic: topic.to_owned() }
    }
}

impl<H: Home> Source for LocalSource<H> {
    fn begin(&mut self, from: &[(u32, Offset)]) -> Result<(), SourceError> {
        for &(partition, offset) in from {
            self.consumer.assign(TopicPartition::new(self.topic.as_str(), partition), offset);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Wait, mut take: impl FnMut(u32, &Change<'_>)) -> Result<(), SourceError> {
        let consumed = self.consumer.poll(POLL_BYTES, wait)?;
        for record in consumed.records() {
            let (partition, record) = record?;
            let change = Change {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
            };
            take(partition.partition, &change);
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.consumer.waker()
    }
}
