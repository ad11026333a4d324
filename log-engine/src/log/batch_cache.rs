//! [`BatchCache`]: verified batches of sealed segments, for readers that want one record at a time.
//!
//! A batch is verified and unpacked as a whole, so whoever asks for one record of it after the other would pay for all of
//! them each time. A batch that a fetch of no more than one batch finds for the second time is kept here, as a copy: its
//! bytes are right whatever becomes of the disk, and no segment's file is held by it. The first time it is only remembered
//! that it was asked for: reads all over a large log copy nothing. The bound on memory covers all partitions. Readers that
//! ask for more than a batch go past it, so that a walk through the log doesn't push anything out.
//!
//! What is pushed out first is what wasn't asked for again (Corbató's clock: who was asked for since he was last looked at
//! stays for another round).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Offset;
use crate::record::batch::{Batch, BatchError};

/// A batch that takes more than this share of the cache isn't kept.
const SHARE_MAX: usize = 8;
/// It is remembered of so many batches that somebody asked for them.
const ASKED_MAX: usize = 4096;

/// A batch whose checksum was right.
#[derive(Debug)]
pub(crate) struct VerifiedBatch {
    bytes: Vec<u8>,
    /// Its records, if they are packed.
    unpacked: Option<Vec<u8>>,
    next: Offset,
}

impl VerifiedBatch {
    /// A copy of `batch`, unpacked. The checksum was looked at before.
    pub(crate) fn copy(batch: &Batch<'_>) -> Result<Self, BatchError> {
        let unpacked = match batch.plain_records() {
            Some(_) => None,
            None => Some(batch.unpack()?.into_bytes()),
        };
        Ok(Self { bytes: batch.bytes().to_vec(), unpacked, next: batch.next_offset() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of its records, if they are packed in the batch.
    pub(crate) fn unpacked(&self) -> Option<&[u8]> {
        self.unpacked.as_deref()
    }

    /// The offset behind it.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.unpacked.as_ref().map_or(0, Vec::len)
    }
}

/// A segment, and the first offset of one of its batches.
type Place = (u64, Offset);

#[derive(Debug)]
struct Kept {
    batch: Arc<VerifiedBatch>,
    was_asked_for: bool,
}

#[derive(Debug, Default)]
struct Room {
    batches: BTreeMap<Place, Kept>,
    /// In the order in which they are looked at when there is no room.
    order: VecDeque<Place>,
    bytes: usize,
    /// What was asked for lately, and in which order.
    asked: HashSet<Place>,
    asked_order: VecDeque<Place>,
}

/// The batches that are kept.
#[derive(Debug)]
pub(crate) struct BatchCache {
    bytes_max: usize,
    room: Mutex<Room>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl BatchCache {
    /// With room for so many bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, room: Mutex::default(), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing between two statements leaves it half changed.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch of `segment` that holds `from`, if it is here and `max_bytes` want no more.
    pub(crate) fn get(&self, segment: u64, from: Offset, max_bytes: usize) -> Option<Arc<VerifiedBatch>> {
        if self.bytes_max == 0 {
            return None;
        }
        let mut room = self.room();
        let ((of, _), kept) = room.batches.range_mut(..=(segment, from)).next_back()?;
        if *of != segment || from >= kept.batch.next || kept.batch.bytes.len() < max_bytes {
            return None;
        }
        kept.was_asked_for = true;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(&kept.batch))
    }

    /// Keeps a batch of `segment` that was verified just now, if it was asked for before. `None`: it wasn't, or it can't be
    /// unpacked.
    pub(crate) fn keep(&self, segment: u64, batch: &Batch<'_>) -> Option<Arc<VerifiedBatch>> {
        if self.bytes_max == 0 {
            return None;
        }
        let place = (segment, batch.base_offset());
        self.misses.fetch_add(1, Ordering::Relaxed);
        if !self.room().was_asked_for(place) {
            return None;
        }
        let batch = Arc::new(VerifiedBatch::copy(batch).ok()?);
        let weight = batch.weight();
        if weight > self.bytes_max / SHARE_MAX {
            return Some(batch);
        }
        let mut room = self.room();
        // Two readers may have come for it at once.
        if !room.batches.contains_key(&place) {
            room.make_way_for(weight, self.bytes_max);
            room.batches.insert(place, Kept { batch: Arc::clone(&batch), was_asked_for: false });
            room.order.push_back(place);
            room.bytes += weight;
        }
        Some(batch)
    }

    /// How often a batch was here, and how often it had to be verified.
    pub(crate) fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

impl Room {
    /// Whether somebody asked for it lately; from now on somebody did.
    fn was_asked_for(&mut self, place: Place) -> bool {
        if !self.asked.insert(place) {
            return true;
        }
        self.asked_order.push_back(place);
        if self.asked_order.len() > ASKED_MAX {
            let oldest = self.asked_order.pop_front().expect("there are many");
            self.asked.remove(&oldest);
        }
        false
    }

    fn make_way_for(&mut self, weight: usize, bytes_max: usize) {
        while self.bytes + weight > bytes_max {
            let place = self.order.pop_front().expect("bytes are counted over the batches");
            let kept = self.batches.get_mut(&place).expect("what is in the order is there");
            if std::mem::take(&mut kept.was_asked_for) {
                self.order.push_back(place);
                continue;
            }
            self.bytes -= kept.batch.weight();
            self.batches.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Compression, Record};

    fn encoded(base: u64, records: u64, compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for i in 0..records {
            builder.push(&Record::of_value(&[(base + i) as u8; 100]), 1).expect("small");
        }
        let mut batch = builder.finish_as(compression, None).expect("not empty");
        batch.set_base_offset(Offset(base));
        batch.into_bytes()
    }

    fn keep(cache: &BatchCache, segment: u64, bytes: &[u8]) {
        let batch = Batch::parse(bytes).expect("whole");
        assert!(cache.keep(segment, &batch).is_none(), "once is not enough");
        cache.keep(segment, &batch).expect("it unpacks");
    }

    #[test]
    fn a_batch_is_found_by_each_of_its_offsets_and_by_no_other() {
        let cache = BatchCache::new(1 << 20);
        keep(&cache, 7, &encoded(10, 5, Compression::None));
        keep(&cache, 7, &encoded(20, 5, Compression::Zstd));
        for (segment, from, found) in [
            (7, 9, false),
            (7, 10, true),
            (7, 14, true),
            (7, 15, false),
            (7, 24, true),
            (7, 25, false),
            (8, 12, false),
            (6, 12, false),
        ] {
            assert_eq!(cache.get(segment, Offset(from), 1).is_some(), found, "{segment}, {from}");
        }
        assert!(cache.get(7, Offset(10), 1 << 16).is_none(), "whoever wants more than it reads on");
        let packed = cache.get(7, Offset(20), 1).expect("it was kept");
        assert!(packed.unpacked().expect("packed").len() > packed.bytes().len());
    }

    #[test]
    fn memory_is_bounded_and_what_is_asked_for_stays() {
        let one = encoded(0, 1, Compression::None).len();
        let cache = BatchCache::new(20 * one);
        for base in 0..200 {
            keep(&cache, 1, &encoded(base, 1, Compression::None));
            assert!(cache.get(1, Offset(0), 1).is_some(), "asked for each time, and gone at {base}");
            let room = cache.room();
            assert!(room.bytes <= 20 * one && room.batches.len() == room.order.len());
            assert_eq!(room.bytes, room.batches.values().map(|kept| kept.batch.weight()).sum::<usize>());
        }
        let large = encoded(1000, 10, Compression::None);
        keep(&cache, 1, &large);
        assert!(cache.get(1, Offset(1000), 1).is_none(), "it takes too large a share");
        let none = BatchCache::new(0);
        let batch = Batch::parse(&large).expect("whole");
        assert!((0..3).all(|_| none.keep(1, &batch).is_none()) && none.get(1, Offset(1000), 1).is_none());
    }

    #[test]
    fn who_asks_for_everything_once_has_nothing_kept() {
        let cache = BatchCache::new(1 << 20);
        for base in 0..3 * ASKED_MAX as u64 {
            let bytes = encoded(base % (2 * ASKED_MAX as u64), 1, Compression::None);
            assert!(cache.keep(1, &Batch::parse(&bytes).expect("whole")).is_none());
        }
        let room = cache.room();
        assert_eq!((room.asked.len(), room.asked_order.len(), room.bytes), (ASKED_MAX, ASKED_MAX, 0));
    }
}
