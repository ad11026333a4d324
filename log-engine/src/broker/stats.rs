//! What a broker holds and did, for reports and tests.

use crate::{BrokerId, LogStats, Offset, TopicPartition};

/// A partition on one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStats {
    /// Which one.
    pub partition: TopicPartition,
    /// Who leads it.
    pub leader: BrokerId,
    /// The latest leader's term that this broker has heard of.
    pub epoch: i32,
    /// The first offset.
    pub start: Offset,
    /// Where this broker's log ends.
    pub end: Offset,
    /// It holds everything below this, durably with `synced`.
    pub held: Offset,
    /// The high watermark, as far as this broker knows.
    pub high_watermark: Offset,
    /// The brokers in sync, this one first. Empty on a follower, who isn't told.
    pub isr: Vec<BrokerId>,
    /// How often a follower left that set.
    pub isr_shrinks: u64,
    /// How often one came back.
    pub isr_expands: u64,
}

/// A broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Its partitions.
    pub partitions: Vec<PartitionStats>,
    /// Its log.
    pub log: LogStats,
    /// Messages that it sent.
    pub messages: u64,
    /// Bytes of these.
    pub message_bytes: u64,
    /// Producers' batches that it appended as a leader.
    pub batches_appended: u64,
    /// Answers of leaders from which it appended something.
    pub batches_followed: u64,
    /// How often it cut its log because its leader's differs.
    pub truncations: u64,
    /// Records below its high watermark that went with that. More than 0 only without `synced`, if a power cut took
    /// what its leader had acknowledged.
    pub truncated_below_high_watermark: u64,
    /// How often it refused to: with `synced`, a leader that lacks what is below the high watermark has lost its log. Bring
    /// back the leader's folder.
    pub truncations_refused: u64,
    /// How often one of its logs started anew, because retention had taken from the leader what it lacked.
    pub restarts: u64,
    /// Messages that it couldn't read, or that weren't meant for a broker.
    pub messages_refused: u64,
}
