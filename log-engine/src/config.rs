//! Settings of a log, checked once when it is opened.

use engine_env::Durability;

/// Settings of a [`Log`](crate::Log). `LogConfig::default()` suits a machine with gigabytes of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// When an append is acknowledged. Default `synced`.
    pub durability: Durability,
    /// A segment is closed before it would grow beyond this many bytes. Default 256 MiB, at least 4 KiB, below
    /// 2 GiB (positions in an index are 32 bits). No batch may be larger.
    pub segment_bytes: u64,
    /// An index entry is made after at least this many bytes. Default 4096, as Kafka's.
    pub index_interval_bytes: u64,
    /// With `synced`, space is filled with zeros at most this many bytes at a time, ahead of the appends. Default 4 MiB.
    /// A partition begins with 64 KiB and gets as much ahead as it has taken, so thousands of quiet ones take little
    /// space. Less makes appends wait for space at high rates.
    pub zero_fill_step_bytes: u64,
    /// What was appended last is kept in memory for readers, this many bytes in each partition. Default 4 MiB.
    pub recent_bytes: usize,
    /// The same in all partitions together: with many, each has an equal part of this instead. Default 64 MiB.
    pub recent_bytes_total: usize,
    /// Batches of older segments that are read one at a time, and more than once, are kept verified and unpacked in memory,
    /// this many bytes in all partitions together, so that reading single records doesn't verify a whole batch for each.
    /// Default 16 MiB; 0 keeps none.
    pub batch_cache_bytes: usize,
    /// A segment goes once its newest record is older than this, in milliseconds. Default: never. A record may outlive
    /// it by what its segment and two looks take; the active segment is left early for it.
    pub retention_ms: Option<u64>,
    /// The oldest segments of a partition go as long as at least this many bytes are left. Default: never.
    pub retention_bytes: Option<u64>,
    /// How often the two limits are looked at, in milliseconds. Default 5 minutes, as Kafka's; at least 1.
    pub retention_check_ms: u64,
    /// Topics that are compacted: of each key the latest record is kept, however old, and the limits on age and size
    /// don't count. Default: none.
    pub compacted_topics: Vec<String>,
    /// Topics whose records get the time of their append, whatever their producer said: Kafka's
    /// `message.timestamp.type=LogAppendTime`. In a cluster the leader gives it. Default: none.
    pub append_time_topics: Vec<String>,
    /// How long compaction keeps a tombstone so that readers hear of it, in milliseconds from the pass that first meets
    /// it. Default one day, Kafka's `delete.retention.ms`.
    pub tombstone_retention_ms: u64,
    /// A partition is compacted once this share of its sealed bytes came since the last pass, in percent. Default 50,
    /// Kafka's `min.cleanable.dirty.ratio`. Less keeps it smaller and copies more.
    pub compaction_dirty_percent: u8,
    /// Compaction reads and writes no more than this many bytes a second, taken together. Default 64 MiB, at least 4 KiB.
    pub compaction_bytes_per_s: u64,
    /// Memory for the keys of one pass. Default 64 MiB: a million keys. With more keys a pass takes less of the log.
    pub compaction_map_bytes: usize,
    /// How many idempotent producers a partition remembers: those that appended last. Default 10,000, at least 1; each
    /// takes some 300 bytes. A forgotten producer is taken for a new one, so what it sends again may be stored again.
    pub producers_max: usize,
    /// A bug to plant, for tests that show that such a bug is found.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            segment_bytes: 256 << 20,
            index_interval_bytes: 4096,
            zero_fill_step_bytes: 4 << 20,
            recent_bytes: 4 << 20,
            recent_bytes_total: 64 << 20,
            batch_cache_bytes: 16 << 20,
            producers_max: 10_000,
            retention_ms: None,
            retention_bytes: None,
            retention_check_ms: 300_000,
            compacted_topics: Vec::new(),
            append_time_topics: Vec::new(),
            tombstone_retention_ms: 24 * 3_600_000,
            compaction_dirty_percent: 50,
            compaction_bytes_per_s: 64 << 20,
            compaction_map_bytes: 64 << 20,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// Bugs that a storage engine might have. A crash test that doesn't find them proves nothing.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlantedBug {
    /// A commit writes without a sync.
    SyncSkipped,
    /// An append is acknowledged when it is staged.
    EarlyAck,
    /// The durable-end mark is written when a commit begins, not when it is done.
    MarkAhead,
    /// Recovery leaves what lies behind the cut as it was.
    StaleTail,
    /// The names of new segments are never synced.
    NamesNotSynced,
    /// Recovery believes a batch without looking at its checksum.
    CrcSkipped,
    /// After a failed sync the next one is believed: the pages are clean, so it succeeds and proves nothing.
    FailedSyncRetried,
    /// Recovery doesn't write the tail anew: after a failed sync it may be in the page cache alone.
    TailTrusted,
    /// Recovery takes a batch that ends with its file for one that goes on behind it.
    ScanOffByOne,
    /// A rolled segment is sealed before its last commits are done.
    SealEarly,
    /// Recovery doesn't look into the prepared segment.
    PreparedIgnored,
    /// A bad batch ends the log below the mark too, as in Kafka's loader.
    DamageCutAway,
    /// Segments are removed before the new start of the log is on the disk.
    StartUnsynced,
    /// Compaction leaves out the latest record of a key that has several.
    LatestLost,
    /// Compaction leaves out tombstones at once.
    TombstoneDroppedEarly,
    /// Compaction's copies take their places without being synced.
    SwapUnsynced,
    /// The high watermark is the leader's end, whatever the followers hold.
    HighWatermarkAhead,
    /// A batch is appended and acknowledged however few brokers are in sync.
    MinIsrIgnored,
    /// A follower says that it holds what it has not synced.
    ReportUnsynced,
    /// Recovery forgets the producers.
    ProducersForgotten,
    /// A batch that is sent again is stored again.
    DuplicateStored,
    /// A producer snapshot outlives the batches that it tells of.
    SnapshotKept,
    /// A follower keeps what its leader doesn't have.
    TruncationSkipped,
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log's setting {field} is {value}; it must be {rule}")]
pub struct ConfigError {
    /// Which field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it has to be.
    pub rule: &'static str,
}

impl LogConfig {
    /// The first field that can't be used, if any.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, value: u64, rule| Err(ConfigError { field, value: value.to_string(), rule });
        if !(4096..1 << 31).contains(&self.segment_bytes) {
            return wrong("segment_bytes", self.segment_bytes, "from 4096 to 2147483647");
        }
        if !(1..1 << 31).contains(&self.zero_fill_step_bytes) {
            return wrong("zero_fill_step_bytes", self.zero_fill_step_bytes, "from 1 to 2147483647");
        }
        if self.producers_max == 0 {
            return wrong("producers_max", 0, "at least 1");
        }
        if self.durability == Durability::IntervalMs(0) {
            return wrong("durability interval", 0, "at least 1 ms");
        }
        if self.retention_check_ms == 0 {
            return wrong("retention_check_ms", 0, "at least 1");
        }
        if self.compaction_dirty_percent > 100 {
            return wrong("compaction_dirty_percent", self.compaction_dirty_percent.into(), "from 0 to 100");
        }
        if self.compaction_bytes_per_s < 4096 {
            return wrong("compaction_bytes_per_s", self.compaction_bytes_per_s, "at least 4096");
        }
        Ok(())
    }

    /// Whether a topic is compacted.
    pub(crate) fn compacts(&self, topic: &str) -> bool {
        self.compacted_topics.iter().any(|t| t == topic)
    }

    /// Whether a topic's records get the time of their append.
    pub(crate) fn gives_append_time(&self, topic: &str) -> bool {
        self.append_time_topics.iter().any(|t| t == topic)
    }

    /// Whether anything is ever removed by age or size.
    pub(crate) fn has_retention(&self) -> bool {
        self.retention_ms.is_some() || self.retention_bytes.is_some()
    }

    pub(crate) fn synced(&self) -> bool {
        self.durability == Durability::Synced
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has_bug(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }
}

/// Whether a bug is planted: always false in a build without the feature `planted-bugs`.
macro_rules! planted {
    ($config:expr, $bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let planted = $config.has_bug($crate::PlantedBug::$bug);
        #[cfg(not(feature = "planted-bugs"))]
        let planted = false;
        planted
    }};
}
pub(crate) use planted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named() {
        let config = LogConfig { segment_bytes: 100, ..LogConfig::default() };
        assert_eq!(config.check().expect_err("too small").field, "segment_bytes");
        let config = LogConfig { zero_fill_step_bytes: u64::MAX, ..LogConfig::default() };
        assert_eq!(config.check().expect_err("positions would overflow").field, "zero_fill_step_bytes");
    }
}
