//! The time index: the latest timestamp up to some batches. Kafka's 12-byte entries: a timestamp (big-endian `i64`,
//! milliseconds since 1970) and the last offset of the batch that brought it (big-endian `i32`, counted from the
//! segment's base), both rising. No record up to that offset is later than the timestamp.
//!
//! Where nothing got later since the last entry there is none. A sealed segment's last entry tells its latest record.

use super::index::{Entry, Index, entries};

/// The latest timestamp so far, and the batch that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Last offset of the batch, counted from the segment's first.
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const LEN: usize = 12;

    fn decode(bytes: &[u8]) -> Self {
        Self {
            timestamp_ms: i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            relative_offset: u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }
}

/// See there.
pub(crate) type TimeIndex = Index<TimeEntry>;

impl TimeIndex {
    /// The last entry that isn't later than `timestamp_ms`.
    pub(crate) fn lookup(&self, timestamp_ms: i64) -> Option<TimeEntry> {
        self.last_where(|e| e.timestamp_ms <= timestamp_ms)
    }
}

/// Whether a file's bytes can be the time index of a segment with that many offsets. An empty one can't: the last entry
/// is written whatever the segment holds.
pub(crate) fn is_plausible(bytes: &[u8], offsets: u64) -> bool {
    let all = || entries::<TimeEntry>(bytes);
    !bytes.is_empty()
        && bytes.len().is_multiple_of(TimeEntry::LEN)
        && all().all(|e| u64::from(e.relative_offset) < offsets)
        && all()
            .zip(all().skip(1))
            .all(|(a, b)| a.timestamp_ms < b.timestamp_ms && a.relative_offset < b.relative_offset)
}

#[cfg(test)]
mod tests {
    use super::super::index::encode;
    use super::*;
    use engine_env::SealedBytes;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_a_timestamp_and_an_offset_big_endian() {
        let bytes = encode(&[TimeEntry { timestamp_ms: 1_700_000_000_000, relative_offset: 300 }]);
        assert_eq!(bytes, [0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0, 0, 1, 44]);
    }

    proptest! {
        #[test]
        fn lookup_finds_what_a_scan_finds(
            steps in proptest::collection::vec((1..20i64, 1..9u32), 1..60), wanted in -5..900i64
        ) {
            let mut at = TimeEntry { timestamp_ms: 0, relative_offset: 0 };
            let list: Vec<_> = steps.iter().map(|&(t, o)| {
                at = TimeEntry { timestamp_ms: at.timestamp_ms + t, relative_offset: at.relative_offset + o };
                at
            }).collect();
            let scanned = list.iter().rfind(|e| e.timestamp_ms <= wanted).copied();
            let bytes = encode(&list);
            prop_assert!(is_plausible(&bytes, 1 << 30));
            prop_assert_eq!(entries::<TimeEntry>(&bytes).collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(TimeIndex::Sealed(SealedBytes::owned(bytes)).lookup(wanted), scanned);
            prop_assert_eq!(TimeIndex::Memory(list).lookup(wanted), scanned);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), wanted: i64) {
            let _ = is_plausible(&bytes, 100);
            let _ = entries::<TimeEntry>(&bytes).count();
            let _ = TimeIndex::Sealed(SealedBytes::owned(bytes)).lookup(wanted);
        }
    }
}
