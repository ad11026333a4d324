//! What a client of a cluster is told: the end of each produced record, and what its subscriptions gave.

use crate::log::fetch::{FetchError, Fetched};
use crate::record::builder::EncodeError;
use crate::record::record::RecordView;
use crate::{BrokerId, Offset, TopicPartition};

/// The end of a record that was handed to a [`LogClient`](crate::LogClient).
#[derive(Debug, Clone)]
pub struct ProduceOutcome {
    /// The token.
    pub token: u64,
    /// The record's offset; `None` with [`Acks::None`](crate::Acks::None), when nobody says.
    pub result: Result<Option<Offset>, ProduceError>,
    /// How many replicas held the record when it was acknowledged, the leader included: on stable storage if the
    /// brokers' durability is `synced`, in the hands of their kernels otherwise. 0 if nobody said.
    pub copies: u16,
}

/// Why a record was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// No such partition in the client's layout.
    #[error("the layout has no partition {partition}")]
    UnknownPartition {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// The record can't become a batch.
    #[error("can't produce to {partition}: {cause}")]
    Encode {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        #[source]
        cause: EncodeError,
    },
    /// Another broker leads. Nothing was appended.
    #[error("{broker} doesn't lead {partition}, {leader} does; give all the same layout")]
    NotLeader {
        /// The partition.
        partition: TopicPartition,
        /// Who was asked.
        broker: BrokerId,
        /// Who leads.
        leader: BrokerId,
    },
    /// Nothing was appended.
    #[error(
        "{partition} has {in_sync} replicas in sync and needs {min_isr}; nothing was appended, try again later"
    )]
    NotEnoughReplicas {
        /// The partition.
        partition: TopicPartition,
        /// Brokers in sync.
        in_sync: u16,
        /// Brokers needed.
        min_isr: u16,
    },
    /// The record is in the leader's log, and perhaps on others.
    #[error(
        "{partition} lost replicas after the append: {in_sync} are in sync and {min_isr} are needed; the record is at \
         offset {offset}, unless the leader is lost, too"
    )]
    NotEnoughReplicasAfterAppend {
        /// The partition.
        partition: TopicPartition,
        /// Where the record is.
        offset: Offset,
        /// Brokers in sync.
        in_sync: u16,
        /// Brokers needed.
        min_isr: u16,
    },
    /// Nobody answered in time, or the replicas didn't. Whether the record is there is unknown.
    #[error("{partition}: no acknowledgement within {timeout_ms} ms; the record may be there, or not")]
    TimedOut {
        /// The partition.
        partition: TopicPartition,
        /// How long was waited, in milliseconds.
        timeout_ms: u32,
    },
    /// The connection broke before an answer came. Whether the record is there is unknown.
    #[error("{partition}: {broker} can't be reached; the record may be there, or not")]
    Disconnected {
        /// The partition.
        partition: TopicPartition,
        /// Who leads it.
        broker: BrokerId,
    },
    /// The leader found the batch damaged. Nothing was appended.
    #[error("{partition}: the leader found the batch damaged on arrival; nothing was appended")]
    BadBatch {
        /// The partition.
        partition: TopicPartition,
    },
    /// The leader takes no batch of that size. Nothing was appended.
    #[error(
        "{partition}: the batch is larger than {limit} bytes, the leader's segment size; send smaller ones"
    )]
    TooLarge {
        /// The partition.
        partition: TopicPartition,
        /// Most bytes of a batch.
        limit: u64,
    },
    /// The leader's disk failed. Whether the record is there is unknown.
    #[error(
        "{partition}: the disk of {broker} failed; the record may be there, or not. Restart it to recover"
    )]
    StorageFailed {
        /// The partition.
        partition: TopicPartition,
        /// Who leads it.
        broker: BrokerId,
    },
    /// The leader's file system is full. Nothing was appended.
    #[error(
        "{partition}: the file system of {broker} is full; nothing was appended. Free some space and try again"
    )]
    DiskFull {
        /// The partition.
        partition: TopicPartition,
        /// Who leads it.
        broker: BrokerId,
    },
    /// The leader misses a batch in front of it. Nothing was appended.
    #[error("{partition}: sequence {expected} is next; a batch in front is missing, nothing was appended")]
    OutOfOrder {
        /// The partition.
        partition: TopicPartition,
        /// What would have to come.
        expected: i32,
    },
    /// A later incarnation of this producer has taken its place. Nothing was appended.
    #[error("{partition}: epoch {current} of this producer has taken its place; nothing was appended")]
    Fenced {
        /// The partition.
        partition: TopicPartition,
        /// The latest epoch.
        current: i16,
    },
    /// The leader is going down. Nothing was appended.
    #[error("{partition}: {broker} is going down; nothing was appended")]
    Closing {
        /// The partition.
        partition: TopicPartition,
        /// Who leads it.
        broker: BrokerId,
    },
    /// The leader's log is not the one that led before. Nothing was appended.
    #[error(
        "{partition}: a follower has records of terms that {broker} never heard of, so it lost its log; bring back its \
         folder, or copy a follower's"
    )]
    LeaderLostLog {
        /// The partition.
        partition: TopicPartition,
        /// Who leads it.
        broker: BrokerId,
    },
}

impl ProduceError {
    /// Whether the same batch may be taken a moment later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NotEnoughReplicas { .. }
                | Self::NotEnoughReplicasAfterAppend { .. }
                | Self::TimedOut { .. }
                | Self::Disconnected { .. }
                | Self::StorageFailed { .. }
                | Self::Closing { .. }
        )
    }
}

/// Why a subscription ended. Subscribe again to go on, from another offset if need be.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The offset isn't there, or isn't any more.
    #[error("{partition} holds offsets {start} to {end} (exclusive); {offset} lies outside")]
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for.
        offset: Offset,
        /// The first offset that is there.
        start: Offset,
        /// The high watermark.
        end: Offset,
    },
    /// No such partition in the client's layout, or in the broker's.
    #[error("there is no partition {partition}")]
    UnknownPartition {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// The leader can't read there, or what came is damaged.
    #[error("{partition} can't be read at offset {offset}: {why}")]
    Failed {
        /// The partition.
        partition: TopicPartition,
        /// Where.
        offset: Offset,
        /// What the leader said, or what is wrong with what it sent.
        why: String,
    },
}

/// What subscriptions gave: whole batches below the high watermark, by partition, in order.
#[derive(Debug, Clone, Default)]
pub struct Fetches {
    pub(super) fetched: Vec<Fetched>,
    pub(super) ended: Vec<SubscriptionError>,
}

impl Fetches {
    /// Whether nothing came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fetched.is_empty() && self.ended.is_empty()
    }

    /// Forgets what came, and keeps the room for more.
    pub fn clear(&mut self) {
        self.fetched.clear();
        self.ended.clear();
    }

    /// What came, in the order in which it came.
    #[must_use]
    pub fn fetched(&self) -> &[Fetched] {
        &self.fetched
    }

    /// Subscriptions that ended.
    #[must_use]
    pub fn ended(&self) -> &[SubscriptionError] {
        &self.ended
    }

    /// The records, those of a partition in order.
    pub fn records(&self) -> impl Iterator<Item = Result<(&TopicPartition, RecordView<'_>), FetchError>> {
        self.fetched.iter().flat_map(|f| f.records().map(move |r| r.map(|r| (f.partition(), r))))
    }
}
