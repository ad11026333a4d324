//! What is inside the files of a log, from their bytes alone: for `workbench inspect` and for people with a broken
//! disk. Needs no folder and changes nothing.

use crate::Offset;
use crate::record::batch::{Batch, BatchError, LENGTH_PREFIX};
use crate::segment::index::entries;
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
        }
    }
}
