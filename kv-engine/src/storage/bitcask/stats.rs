//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Bitcask;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) written_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) committed_writes: AtomicU64,
    pub(super) rolls: AtomicU64,
    pub(super) merges: AtomicU64,
    pub(super) merged_bytes: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// A store's figures, since it was opened unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KvStats {
    /// Keys that have a version, now.
    pub keys: u64,
    /// Bytes of the records that can be read, now.
    pub live_bytes: u64,
    /// Bytes of all segment files, now, with the zeros that lie ahead, and of their hint files.
    pub disk_bytes: u64,
    /// Memory that the key directory takes, now, bytes: keys, clocks, places, and what the tables hold ahead.
    pub keydir_bytes: u64,
    /// Segment files, now.
    pub segments: u64,
    /// Bytes written: records, headers, zeros ahead, merges.
    pub written_bytes: u64,
    /// Syncs, and writes with a sync.
    pub syncs: u64,
    /// Group commits (`synced` only).
    pub commits: u64,
    /// Puts and deletes in those commits.
    pub committed_writes: u64,
    /// Segments sealed because the next one took over.
    pub rolls: u64,
    /// Merges finished.
    pub merges: u64,
    /// Bytes that merges have read and written, as far as the rate limit counts them.
    pub merged_bytes: u64,
    /// A write or a sync failed: writes are refused until the store is reopened.
    pub writes_stopped: bool,
    /// A merge failed: the store goes on without merging until it is reopened.
    pub merges_stopped: bool,
}

impl<F> Bitcask<F> {
    /// The store's figures.
    #[must_use]
    pub fn stats(&self) -> KvStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let segments = self.keydir.segments();
        KvStats {
            keys: self.keydir.len(),
            live_bytes: segments.iter().map(|s| s.live()).sum(),
            disk_bytes: segments.iter().map(|s| s.allocated() + s.hint_len()).sum(),
            keydir_bytes: self.keydir.bytes(),
            segments: segments.len() as u64,
            written_bytes: load(&self.counters.written_bytes),
            syncs: load(&self.counters.syncs),
            commits: load(&self.counters.commits),
            committed_writes: load(&self.counters.committed_writes),
            rolls: load(&self.counters.rolls),
            merges: load(&self.counters.merges),
            merged_bytes: load(&self.counters.merged_bytes),
            writes_stopped: self.writer().stopped.is_some(),
            merges_stopped: self.merges_stopped.load(Ordering::Acquire),
        }
    }
}
