//! What is inside the files of a log, from their bytes alone: for `workbench inspect` and for people with a broken
//! disk. Needs no folder and changes nothing.

use crate::Offset;
pub use crate::log::leader_epochs::EpochsError;
use crate::log::producer_snapshot;
pub use crate::log::producer_snapshot::SnapshotError;
use crate::record::batch::{Batch, BatchError, LENGTH_PREFIX};
use crate::segment::index::entries;
use crate::segment::name;
pub use crate::segment::offset_index::IndexEntry;
pub use crate::segment::time_index::TimeEntry;

/// Something in a `.log` file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Item<'a> {
    /// A batch whose checksum is right.
    Batch {
        /// Where it starts, in bytes.
        position: u64,
        /// The batch.
        batch: Batch<'a>,
        /// The offset that should have come, where it is another one than the batch's.
        expected: Option<Offset>,
    },
    /// Bytes that are no batch.
    Damage {
        /// Where they start.
        position: u64,
        /// How many there are, up to the next whole batch or the end.
        bytes: u64,
        /// What is wrong with the batch that should be there.
        why: BatchError,
    },
    /// Zeros to the end of the file: prepared space.
    Prepared {
        /// Where they start.
        position: u64,
        /// How many.
        bytes: u64,
    },
}

/// The contents of a `.log` file, in order.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    bytes: &'a [u8],
    position: usize,
    next: Option<Offset>,
}

/// Goes through the bytes of a `.log` file. Damage is skipped up to the next whole batch.
#[must_use]
pub fn segment(bytes: &[u8]) -> Items<'_> {
    Items { bytes, position: 0, next: None }
}

/// Goes through the bytes of an `.index` file.
pub fn index(bytes: &[u8]) -> impl Iterator<Item = IndexEntry> + '_ {
    entries(bytes)
}

/// Goes through the bytes of a `.timeindex` file.
pub fn time_index(bytes: &[u8]) -> impl Iterator<Item = TimeEntry> + '_ {
    entries(bytes)
}

/// The latest durable-end mark in the bytes of a partition's mark file.
#[must_use]
pub fn mark(bytes: &[u8]) -> Option<crate::Mark> {
    crate::log::mark::latest(bytes).map(|(_, mark)| mark)
}

/// An idempotent producer in a `.snapshot` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotProducer {
    /// The producer.
    pub producer_id: i64,
    /// Its incarnation.
    pub epoch: i16,
    /// Its last batches, the oldest first; what Kafka writes has one.
    pub batches: Vec<SnapshotBatch>,
}

/// A batch that a `.snapshot` file remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotBatch {
    /// Sequence numbers of its first and its last record.
    pub sequences: (i32, i32),
    /// Their offsets.
    pub offsets: (Offset, Offset),
    /// Its latest timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// The offset that a `.snapshot` file is of: it is in its name.
#[must_use]
pub fn snapshot_offset(file_name: &str) -> Option<Offset> {
    name::base_of(file_name, ".snapshot")
}

/// The producers in the bytes of a `.snapshot` file, in the file's order.
///
/// # Errors
/// They are not such a snapshot.
pub fn producer_snapshot(bytes: &[u8]) -> Result<Vec<SnapshotProducer>, SnapshotError> {
    let all = producer_snapshot::parse(bytes)?;
    let told = all.into_iter().map(|(producer_id, known)| {
        let batches = known.batches.iter().map(|batch| SnapshotBatch {
            sequences: (batch.first_sequence(), batch.last_sequence),
            offsets: (batch.first_offset(), batch.last_offset),
            timestamp_ms: batch.timestamp_ms,
        });
        SnapshotProducer { producer_id, epoch: known.epoch, batches: batches.collect() }
    });
    Ok(told.collect())
}

/// The terms of leaders in the text of a `leader-epoch-checkpoint`, each with its first offset.
///
/// # Errors
/// It isn't such a file.
pub fn leader_epochs(text: &str) -> Result<Vec<(i32, Offset)>, EpochsError> {
    crate::log::leader_epochs::parse(text)
}

/// The batch at `at`, if it is whole.
fn whole(bytes: &[u8], at: usize) -> Result<Batch<'_>, BatchError> {
    let batch = Batch::parse(&bytes[at..])?;
    batch.check_crc().map(|()| batch)
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let at = self.position;
        if at >= self.bytes.len() {
            return None;
        }
        let position = at as u64;
        let why = match whole(self.bytes, at) {
            Ok(batch) => {
                let expected = self.next.filter(|&next| next != batch.base_offset());
                self.position += batch.len();
                self.next = Some(batch.next_offset());
                return Some(Item::Batch { position, batch, expected });
            }
            Err(why) => why,
        };
        if self.bytes[at..].iter().all(|&b| b == 0) {
            self.position = self.bytes.len();
            return Some(Item::Prepared { position, bytes: (self.bytes.len() - at) as u64 });
        }
        // First where the broken batch says that it ends: a value may hold the bytes of another batch.
        let declared = self.bytes.get(at + 8..at + LENGTH_PREFIX).and_then(|field| {
            let length = i32::from_be_bytes(field.try_into().expect("four bytes"));
            Some(at + LENGTH_PREFIX + usize::try_from(length).ok()?)
        });
        let resumed = declared
            .filter(|&d| d > at && d < self.bytes.len() && whole(self.bytes, d).is_ok())
            .or_else(|| (at + 1..self.bytes.len()).find(|&p| self.looks_whole(p)))
            .unwrap_or(self.bytes.len());
        self.position = resumed;
        Some(Item::Damage { position, bytes: (resumed - at) as u64, why })
    }
}

impl Items<'_> {
    fn looks_whole(&self, at: usize) -> bool {
        self.bytes.get(at + 16) == Some(&2) && whole(self.bytes, at).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::producer_state::{KnownProducer, ProducerState, StoredBatch};
    use crate::record::builder::EncodedBatch;
    use crate::record::record::Record;
    use proptest::prelude::*;

    fn three_batches() -> Vec<u8> {
        let mut bytes = Vec::new();
        for base in 0..3 {
            let mut batch =
                EncodedBatch::of(&[Record::new(b"k", b"value")], 1, Vec::new()).expect("one record");
            batch.set_base_offset(Offset(base));
            bytes.extend_from_slice(batch.bytes());
        }
        bytes
    }

    #[test]
    fn damage_is_located_and_the_rest_is_shown() {
        let mut bytes = three_batches();
        let len = bytes.len() / 3;
        bytes[len + 30] ^= 1;
        bytes.resize(bytes.len() + 100, 0);
        let items: Vec<_> = segment(&bytes).collect();
        assert!(matches!(&items[0], Item::Batch { position: 0, expected: None, .. }));
        let Item::Damage { position, bytes: damaged, why: BatchError::Crc { .. } } = &items[1] else {
            panic!("{items:?}")
        };
        assert_eq!((*position, *damaged), (len as u64, len as u64));
        let Item::Batch { batch, expected, .. } = &items[2] else { panic!("{items:?}") };
        assert_eq!((batch.base_offset(), *expected), (Offset(2), Some(Offset(1))));
        assert!(matches!(items[3], Item::Prepared { bytes: 100, .. }));
        assert_eq!(items.len(), 4);
    }

    #[test]
    fn a_snapshot_tells_its_producers_and_what_harmed_it() {
        let mut state = ProducerState::new(10);
        let batch = |last_sequence, last_offset| StoredBatch {
            last_sequence,
            last_offset: Offset(last_offset),
            last_offset_delta: 4,
            timestamp_ms: 7,
        };
        let batches = [batch(4, 104), batch(9, 119)].into();
        assert!(state.restore(5, KnownProducer { epoch: 1, batches }));
        let bytes = producer_snapshot::encode(&state);
        let told = producer_snapshot(&bytes).expect("its own");
        let [SnapshotProducer { producer_id: 5, epoch: 1, batches }] = told.as_slice() else {
            panic!("{told:?}")
        };
        let last = batches.last().expect("two");
        assert_eq!((batches.len(), last.sequences, last.offsets), (2, (5, 9), (Offset(115), Offset(119))));
        let mut harmed = bytes.clone();
        harmed[20] ^= 1;
        assert!(matches!(producer_snapshot(&harmed), Err(SnapshotError::Crc { .. })));
        assert!(matches!(producer_snapshot(&bytes[..3]), Err(SnapshotError::Cut { len: 3 })));
        harmed[1] = 9;
        assert_eq!(producer_snapshot(&harmed), Err(SnapshotError::Version { found: 9 }));
        assert_eq!(snapshot_offset("00000000000000000120.snapshot"), Some(Offset(120)));
    }

    #[test]
    fn an_epoch_checkpoint_tells_its_terms_and_the_line_that_is_wrong() {
        assert_eq!(leader_epochs("0\n2\n0 0\n3 17\n"), Ok(vec![(0, Offset(0)), (3, Offset(17))]));
        for (text, line) in
            [("1\n0\n", 1), ("0\nx\n", 2), ("0\n2\n0 0\n", 2), ("0\n2\n1 5\n1 9\n", 4), ("0\n1\n0;0\n", 3)]
        {
            assert_eq!(leader_epochs(text).expect_err(text).line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_every_byte_is_told(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0..200usize) {
            let mut bytes = three_batches();
            let at = at.min(bytes.len());
            bytes.splice(at..at, noise);
            let told: u64 = segment(&bytes).map(|item| match item {
                Item::Batch { batch, .. } => batch.len() as u64,
                Item::Damage { bytes, .. } | Item::Prepared { bytes, .. } => bytes,
            }).sum();
            prop_assert_eq!(told, bytes.len() as u64);
            let _ = (index(&bytes).count(), time_index(&bytes).count());
            let _ = mark(&bytes);
            let _ = producer_snapshot(&bytes);
            let _ = std::str::from_utf8(&bytes).map(leader_epochs);
        }
    }
}
