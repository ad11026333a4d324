//! The offset index: for some batches, their last offset and their position. Kafka's 8-byte entries: offset from
//! the segment's base and position, both big-endian `i32`, both rising.

use super::index::{Entry, Index, entries};

/// A batch's last offset, counted from the segment's base, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Last offset of the batch, counted from the segment's first.
    pub relative_offset: u32,
    /// Where the batch starts in the `.log` file, in bytes.
    pub position: u32,
}

impl Entry for IndexEntry {
    const LEN: usize = 8;

    fn decode(bytes: &[u8]) -> Self {
        let half = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self { relative_offset: half(0), position: half(4) }
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }
}

/// See there.
pub(crate) type OffsetIndex = Index<IndexEntry>;

impl OffsetIndex {
    /// The last entry whose offset isn't beyond `relative_offset`.
    pub(crate) fn lookup(&self, relative_offset: u64) -> Option<IndexEntry> {
        self.last_where(|e| u64::from(e.relative_offset) <= relative_offset)
    }

    /// The entries of batches in front of `position`.
    pub(crate) fn entries_before(&self, position: u64) -> Vec<IndexEntry> {
        self.first_while(|e| u64::from(e.position) < position)
    }
}

/// Whether a file's bytes can be the index of a segment with that many bytes and offsets.
pub(crate) fn is_plausible(bytes: &[u8], segment_len: u64, offsets: u64) -> bool {
    let all = || entries::<IndexEntry>(bytes);
    bytes.len().is_multiple_of(IndexEntry::LEN)
        && all().all(|e| u64::from(e.relative_offset) < offsets && u64::from(e.position) < segment_len)
        && all()
            .zip(all().skip(1))
            .all(|(a, b)| a.relative_offset < b.relative_offset && a.position < b.position)
}

#[cfg(test)]
mod tests {
    use super::super::index::encode;
    use super::*;
    use engine_env::SealedBytes;
    use proptest::prelude::*;

    #[test]
    fn entries_are_two_big_endian_integers() {
        let bytes = encode(&[IndexEntry { relative_offset: 300, position: 65_537 }]);
        assert_eq!(bytes, [0, 0, 1, 44, 0, 1, 0, 1]);
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
            let bytes = encode(&list);
            prop_assert!(is_plausible(&bytes, 1 << 30, 1 << 30));
            prop_assert_eq!(entries::<IndexEntry>(&bytes).collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(OffsetIndex::Sealed(SealedBytes::owned(bytes)).lookup(wanted), scanned);
            prop_assert_eq!(OffsetIndex::Memory(list).lookup(wanted), scanned);
        }
    }
}
