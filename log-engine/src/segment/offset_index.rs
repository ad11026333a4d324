//! The offset index: for some batches, their last offset and their position. Kafka's 8-byte entries: offset from
//! the segment's base and position, both big-endian `i32`, both rising.
//!
//! The file has no checksum. So an entry is only a hint: whoever follows it checks that the batch it points at ends
//! with the entry's offset, and falls back to the segment's start.

use engine_env::SealedBytes;

/// Bytes of an entry.
pub(crate) const ENTRY_LEN: usize = 8;

/// A batch's last offset, counted from the segment's base, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Last offset of the batch, counted from the segment's first.
    pub relative_offset: u32,
    /// Where the batch starts in the `.log` file, in bytes.
    pub position: u32,
}

impl IndexEntry {
    fn decode(bytes: &[u8]) -> Self {
        let half = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self { relative_offset: half(0), position: half(4) }
    }
}

/// An index, in memory or in a sealed file.
#[derive(Debug)]
pub(crate) enum OffsetIndex {
    /// Of the active segment, or rebuilt.
    Memory(Vec<IndexEntry>),
    /// The file of a sealed segment.
    Sealed(SealedBytes),
}

impl OffsetIndex {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(entries) => entries.len(),
            Self::Sealed(bytes) => bytes.len() / ENTRY_LEN,
        }
    }

    fn get(&self, i: usize) -> IndexEntry {
        match self {
            Self::Memory(entries) => entries[i],
            Self::Sealed(bytes) => IndexEntry::decode(&bytes[i * ENTRY_LEN..]),
        }
    }

    /// The last entry whose offset isn't beyond `relative_offset`.
    pub(crate) fn lookup(&self, relative_offset: u64) -> Option<IndexEntry> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if u64::from(self.get(middle).relative_offset) <= relative_offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|i| self.get(i))
    }

    /// The file's bytes.
    pub(crate) fn encode(entries: &[IndexEntry]) -> Vec<u8> {
        let mut out = Vec::with_capacity(entries.len() * ENTRY_LEN);
        for e in entries {
            out.extend_from_slice(&e.relative_offset.to_be_bytes());
            out.extend_from_slice(&e.position.to_be_bytes());
        }
        out
    }

    /// Whether a file's bytes can be the index of a segment with that many bytes and offsets.
    pub(crate) fn is_plausible(bytes: &[u8], segment_len: u64, offsets: u64) -> bool {
        bytes.len().is_multiple_of(ENTRY_LEN)
            && entries(bytes)
                .all(|e| u64::from(e.relative_offset) < offsets && u64::from(e.position) < segment_len)
            && entries(bytes)
                .zip(entries(bytes).skip(1))
                .all(|(a, b)| a.relative_offset < b.relative_offset && a.position < b.position)
    }
}

/// The entries in the bytes of an `.index` file; a cut-off one at the end is left out.
pub(crate) fn entries(bytes: &[u8]) -> impl Iterator<Item = IndexEntry> + '_ {
    bytes.chunks_exact(ENTRY_LEN).map(IndexEntry::decode)
}

impl OffsetIndex {
    /// The entries of batches in front of `position`.
    pub(crate) fn entries_before(&self, position: u64) -> Vec<IndexEntry> {
        (0..self.len()).map(|i| self.get(i)).take_while(|e| u64::from(e.position) < position).collect()
    }
}

/// Makes an entry every so many bytes.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    pub(crate) entries: Vec<IndexEntry>,
    interval_bytes: u64,
    since_last: u64,
}

impl IndexBuilder {
    pub(crate) fn new(interval_bytes: u64) -> Self {
        Self::of(Vec::new(), interval_bytes)
    }

    /// One that goes on behind these entries.
    pub(crate) fn of(entries: Vec<IndexEntry>, interval_bytes: u64) -> Self {
        Self { entries, interval_bytes, since_last: 0 }
    }

    /// Takes note of a batch.
    #[inline]
    pub(crate) fn add(&mut self, last_relative_offset: u64, position: u64, len: u64) {
        // Appends stay in range; a folder that claims other offsets or positions just isn't indexed there.
        if self.since_last > self.interval_bytes
            && let (Ok(relative_offset), Ok(position)) =
                (u32::try_from(last_relative_offset), u32::try_from(position))
        {
            self.since_last = 0;
            self.entries.push(IndexEntry { relative_offset, position });
        }
        self.since_last += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_are_two_big_endian_integers() {
        let bytes = OffsetIndex::encode(&[IndexEntry { relative_offset: 300, position: 65_537 }]);
        assert_eq!(bytes, [0, 0, 1, 44, 0, 1, 0, 1]);
    }

    /// A name in a folder may claim any offset, and a batch's base offset lies outside its checksum: recovery panicked
    /// at a batch 2^32 offsets behind its segment's first, which an index can't say.
    #[test]
    fn a_batch_that_an_index_cannot_name_has_no_entry() {
        let mut index = IndexBuilder::new(10);
        for (offset, position) in [(0, 0), (1 << 40, 100), (2, 1 << 40), (3, 200)] {
            index.add(offset, position, 100);
        }
        assert_eq!(index.entries, [IndexEntry { relative_offset: 3, position: 200 }]);
    }

    proptest! {
        #[test]
        fn lookup_finds_what_a_scan_finds(steps in proptest::collection::vec((1..20u32, 1..900u32), 0..60), wanted in 0..900u64) {
            let mut at = IndexEntry { relative_offset: 0, position: 0 };
            let list: Vec<_> = steps.iter().map(|&(o, p)| {
                at = IndexEntry { relative_offset: at.relative_offset + o, position: at.position + p };
                at
            }).collect();
            let scanned = list.iter().rfind(|e| u64::from(e.relative_offset) <= wanted).copied();
            let bytes = OffsetIndex::encode(&list);
            prop_assert!(OffsetIndex::is_plausible(&bytes, 1 << 30, 1 << 30));
            prop_assert_eq!(entries(&bytes).collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(OffsetIndex::Sealed(SealedBytes::owned(bytes)).lookup(wanted), scanned);
            prop_assert_eq!(OffsetIndex::Memory(list).lookup(wanted), scanned);
        }
    }
}
