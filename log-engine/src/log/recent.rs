//! What was appended last, kept in memory for readers at the log's end.
//!
//! In a log of its own only what readers may see gets here. A replicated log's appends get here at once, for followers:
//! they needn't wait for the leader's sync. Every look says up to which offset it may go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::record::batch::Batch;
use crate::{LogConfig, Offset};

/// Batches that were written together.
#[derive(Debug)]
pub(crate) struct RecentChunk {
    base: Offset,
    end: Offset,
    bytes: Vec<u8>,
}

impl RecentChunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The batches from the one that holds `from` on, below `until`, no more than `max_bytes` but at least one: their
    /// range and the offset behind them.
    pub(crate) fn find(
        &self,
        from: Offset,
        until: Offset,
        max_bytes: usize,
    ) -> (std::ops::Range<usize>, Offset) {
        let batch_at = |at: usize| Batch::parse(&self.bytes[at..]).expect("this log encoded it");
        let mut start = 0;
        while batch_at(start).last_offset() < from {
            start += batch_at(start).len();
        }
        if self.end <= until && self.bytes.len() - start <= max_bytes {
            return (start..self.bytes.len(), self.end);
        }
        let first = batch_at(start);
        let (mut stop, mut next) = (start + first.len(), first.next_offset());
        while stop < self.bytes.len() {
            let batch = batch_at(stop);
            if stop + batch.len() - start > max_bytes || batch.next_offset() > until {
                break;
            }
            stop += batch.len();
            next = batch.next_offset();
        }
        (start..stop, next)
    }
}

/// The memory that all partitions of a log may take together.
#[derive(Debug)]
pub(crate) struct RecentRoom {
    each: usize,
    total: usize,
    partitions: AtomicUsize,
}

impl RecentRoom {
    pub(crate) fn new(config: &LogConfig) -> Arc<Self> {
        let (each, total) = (config.recent_bytes, config.recent_bytes_total);
        Arc::new(Self { each, total, partitions: AtomicUsize::new(0) })
    }

    fn share(&self) -> usize {
        self.each.min(self.total / self.partitions.load(Ordering::Relaxed).max(1))
    }
}

/// Chunks in order, without a gap between them.
#[derive(Debug)]
pub(crate) struct Recent {
    chunks: VecDeque<Arc<RecentChunk>>,
    bytes: usize,
    room: Arc<RecentRoom>,
}

impl Recent {
    /// Of one more partition.
    pub(crate) fn new(room: Arc<RecentRoom>) -> Self {
        room.partitions.fetch_add(1, Ordering::Relaxed);
        Self { chunks: VecDeque::new(), bytes: 0, room }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    /// Adds what was just written, and gives back a buffer that nobody needs any more.
    pub(crate) fn push(&mut self, base: Offset, end: Offset, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let bytes_max = self.room.share();
        if bytes.len() > bytes_max {
            // It would push out everything, and be pushed out by the next one.
            self.clear();
            return Some(bytes);
        }
        if self.chunks.back().is_some_and(|last| last.end != base) {
            self.clear();
        }
        // A buffer that once held more would take more than is counted.
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        self.bytes += bytes.len();
        self.chunks.push_back(Arc::new(RecentChunk { base, end, bytes }));
        let mut spare = None;
        while self.bytes > bytes_max {
            let oldest = self.chunks.pop_front().expect("bytes are counted over the chunks");
            self.bytes -= oldest.bytes.len();
            spare = Arc::try_unwrap(oldest).ok().map(|c| c.bytes).or(spare);
        }
        spare
    }

    /// The chunk that holds `from`.
    pub(crate) fn chunk_of(&self, from: Offset) -> Option<&Arc<RecentChunk>> {
        let last = self.chunks.back()?;
        // Readers at the tail want the last chunk; the others are found by halving.
        if last.base <= from {
            return (from < last.end).then_some(last);
        }
        let after = self.chunks.partition_point(|c| c.base <= from);
        after.checked_sub(1).map(|i| &self.chunks[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EncodedBatch, Record};

    #[test]
    fn many_partitions_share_what_one_may_have_alone() {
        let config = LogConfig { recent_bytes: 1000, recent_bytes_total: 2000, ..LogConfig::default() };
        let room = RecentRoom::new(&config);
        let batch =
            || EncodedBatch::of(&[Record::of_value(&[0; 200])], 1, Vec::new()).expect("one").into_bytes();
        let len = batch().len();
        let fill = |recent: &mut Recent| {
            for at in 0..10 {
                recent.push(Offset(at), Offset(at + 1), batch());
            }
            recent.bytes
        };
        let mut first = Recent::new(Arc::clone(&room));
        assert_eq!(fill(&mut first), 1000 / len * len);
        let _others: Vec<_> = (0..3).map(|_| Recent::new(Arc::clone(&room))).collect();
        first.clear();
        assert_eq!(fill(&mut first), 500 / len * len);
    }
}
