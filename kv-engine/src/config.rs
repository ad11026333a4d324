//! What a store can be told: [`KvConfig`].

use engine_env::Durability;

use crate::storage::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// A mistake put in on purpose, so that the crash tests can show that they would find it.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Commits are written without a sync.
    SyncSkipped,
    /// Writes are acknowledged when staged.
    EarlyAck,
    /// The directory isn't synced after a file was created or renamed in it.
    DirSyncSkipped,
    /// Checksums of records are computed but not compared.
    ChecksumIgnored,
    /// A merge removes its inputs before its output is synced.
    MergeUnsynced,
    /// A merge drops every tombstone.
    TombstonesDropped,
    /// A merge keeps the newest of a key's siblings only.
    SiblingLost,
    /// After a failed sync the next one is believed: the pages are clean, so it succeeds and proves nothing.
    FailedSyncRetried,
    /// Recovery doesn't write the tail anew: after a failed sync it may be in the page cache alone.
    TailTrusted,
    /// The durable-end mark is written when a record is staged.
    MarkAhead,
    /// Recovery takes a record that ends with its file for one that goes on behind it.
    ScanOffByOne,
    /// A delete takes effect and is acknowledged, and no tombstone is written.
    DeleteUnlogged,
    /// Sequences start anew after a restart.
    SequenceReused,
    /// A change feed reads no merged segments.
    FeedMissesMerged,
    /// Nobody remembers which deletes were merged away, so no feed is refused.
    DroppedDeletesForgotten,
    /// A merge drops every expired version, also one that keeps an older one dead.
    ExpiryUnguarded,
    /// A hint file is taken for its segment's, whatever it says.
    HintBelieved,
}

/// How records of segments that don't grow any more are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedReads {
    /// From a memory map: one copy, no system call. A device that fails to read kills the process.
    Mapped,
    /// With a system call for each. A device that fails to read gives an error.
    Called,
}

/// Settings of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct KvConfig {
    /// What an acknowledged write survives. Default: [`Durability::Os`].
    pub durability: Durability,
    /// A segment is left for the next one at this size, in bytes; 4 KiB to 2 GiB. The last one may be exceeded while
    /// the next is being prepared. Smaller segments are merged in smaller steps; each costs an open file.
    /// Default: 64 MiB.
    pub segment_bytes: u64,
    /// How fast a merge may read and write, in bytes per second. Default: 64 MiB/s.
    pub merge_bytes_per_s: u64,
    /// A sealed segment is merged once this share of it is garbage; above 0, at most 1. A lower share costs writes
    /// and saves space. Default: 0.4.
    pub merge_garbage_ratio: f64,
    /// While the segments take more than this many times the bytes of the records that can be read, merges aren't held to
    /// their rate; above 1. Default: 1.8.
    pub space_ratio_max: f64,
    /// Longest key that a put may have, in bytes; up to 65535, the default.
    pub key_bytes_max: usize,
    /// Longest value that a put may have, in bytes; up to 1 GiB, the default.
    pub value_bytes_max: usize,
    /// Versions whose clock is older than this many days aren't returned any more, and merges drop them; at least 1.
    /// Until then their clocks count: a put must descend from them, and [`Storage::get_versions`](crate::Storage::get_versions)
    /// tells them. A change feed tells no expiry. As Voldemort's `retention-days`. Default: none, kept for good.
    pub retention_days: Option<u32>,
    /// Into how many parts the key directory is split, so that readers and writers of different keys don't meet;
    /// a power of two up to 4096. Default: 64.
    pub shards: usize,
    /// How records of sealed segments are read. Default: [`SealedReads::Mapped`].
    pub sealed_reads: SealedReads,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl Default for KvConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Os,
            segment_bytes: 64 << 20,
            merge_bytes_per_s: 64 << 20,
            merge_garbage_ratio: 0.4,
            space_ratio_max: 1.8,
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: VALUE_BYTES_MAX,
            retention_days: None,
            shards: 64,
            sealed_reads: SealedReads::Mapped,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// Which setting is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} can't be {value}: {allowed}")]
pub struct ConfigError {
    /// Name of the field in [`KvConfig`].
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be set to.
    pub allowed: &'static str,
}

impl KvConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, value, allowed| Err(ConfigError { field, value, allowed });
        if self.durability == Durability::IntervalMs(0) {
            return wrong("durability", self.durability.to_string(), "the interval is at least 1 ms");
        }
        if !(4096..=1 << 31).contains(&self.segment_bytes) {
            return wrong("segment_bytes", self.segment_bytes.to_string(), "4096 to 2147483648 bytes");
        }
        if self.merge_bytes_per_s == 0 {
            return wrong("merge_bytes_per_s", "0".to_owned(), "at least 1 byte per second");
        }
        if !(self.merge_garbage_ratio > 0.0 && self.merge_garbage_ratio <= 1.0) {
            return wrong("merge_garbage_ratio", self.merge_garbage_ratio.to_string(), "above 0, at most 1");
        }
        if self.space_ratio_max.is_nan() || self.space_ratio_max <= 1.0 {
            return wrong("space_ratio_max", self.space_ratio_max.to_string(), "above 1");
        }
        if self.key_bytes_max > KEY_BYTES_MAX {
            return wrong("key_bytes_max", self.key_bytes_max.to_string(), "at most 65535 bytes");
        }
        if self.value_bytes_max > VALUE_BYTES_MAX {
            return wrong("value_bytes_max", self.value_bytes_max.to_string(), "at most 1073741824 bytes");
        }
        if self.retention_days == Some(0) {
            return wrong("retention_days", "0".to_owned(), "at least 1 day, or none");
        }
        if !self.shards.is_power_of_two() || self.shards > 4096 {
            return wrong("shards", self.shards.to_string(), "a power of two from 1 to 4096");
        }
        Ok(())
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    pub(crate) fn zero_fills(&self) -> bool {
        self.durability == Durability::Synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named() {
        let config = KvConfig { shards: 3, ..KvConfig::default() };
        assert_eq!(config.validate().expect_err("3 is no power of two").field, "shards");
        assert_eq!(KvConfig::default().validate(), Ok(()));
    }
}
