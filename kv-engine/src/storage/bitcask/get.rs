//! Reading: one shared lock, held only while the key is looked up; then the record, verified before it is handed out.
//!
//! Sealed segments are mapped: the record is verified where it stands and its value copied once, to the caller. From a
//! segment that still grows the value is read into the caller's memory. So a get waits for the device only without a
//! lock, and holds up nobody.

use std::sync::Arc;

use engine_env::{DiskError, DiskErrorKind, File, ReadHow, ReadNow};

use super::Bitcask;
use super::entry::Spot;
use super::guess::MapStarts;
use super::keydir::{Segments, segment_of};
use super::planted;
use super::record::{At, DamageKind, HEAD_LEN, Head, HeadRead};
use super::segment::Segment;
use crate::config::SealedReads;
use crate::hash::HashedKey;
use crate::storage::GetError;
use crate::version::{VectorClock, Versioned};

/// A record that the key directory pointed to, to be read without its lock. It keeps the segment's file.
#[derive(Debug)]
pub(super) struct Located<F> {
    segment: Arc<Segment<F>>,
    position: u64,
    sequence: u64,
    len: u32,
    clock_len: usize,
}

impl<F> Clone for Located<F> {
    fn clone(&self) -> Self {
        let Self { segment, position, sequence, len, clock_len } = self;
        Self {
            segment: Arc::clone(segment),
            position: *position,
            sequence: *sequence,
            len: *len,
            clock_len: *clock_len,
        }
    }
}

/// A head, key and clock up to this long are read into the stack.
const SHORT_HEAD_BYTES: usize = 256;

impl<F> Located<F> {
    pub(super) fn new(segments: &Segments<F>, spot: &Spot<'_>) -> Self {
        Self {
            segment: Arc::clone(segment_of(segments, spot.segment)),
            position: spot.position,
            sequence: spot.sequence,
            len: spot.len,
            clock_len: spot.clock.len(),
        }
    }
}

impl<F: File> Located<F> {
    /// Reads the record, which must be `key`'s.
    fn read(
        &self,
        key: &[u8],
        how: SealedReads,
        maps: &MapStarts,
        verify: bool,
    ) -> Result<Versioned, GetError> {
        let mapped = if how == SealedReads::Mapped { self.segment.mapped() } else { None };
        let found = match mapped {
            Some(bytes) => {
                maps.note(self.segment.id, bytes);
                self.copy_from(bytes, key, verify)
            }
            None => self.read_from_file(key, verify)?,
        };
        found.map_err(|why| GetError::Corrupt {
            file: self.segment.name.clone(),
            position: self.position,
            why: why.to_string(),
        })
    }

    fn copy_from(&self, bytes: &[u8], key: &[u8], verify: bool) -> Result<Versioned, DamageKind> {
        let too_short = DamageKind::TooShort { len: bytes.len() as u64, durable: self.end() };
        let (from, to) = (usize::try_from(self.position), usize::try_from(self.end()));
        let (Ok(from), Ok(to)) = (from, to) else { return Err(too_short) };
        let record = bytes.get(from..to).ok_or(too_short)?;
        let (head, value) = record.split_at(self.head_len(key).min(record.len()));
        let clock = self.check(key, head, value, verify)?;
        Ok(Versioned { clock, value: value.to_vec() })
    }

    fn read_from_file(&self, key: &[u8], verify: bool) -> Result<Result<Versioned, DamageKind>, DiskError> {
        let head_len = self.head_len(key);
        let mut short = [0; SHORT_HEAD_BYTES];
        let mut long = Vec::new();
        let head = match short.get_mut(..head_len) {
            Some(head) => head,
            None => {
                long.resize(head_len, 0);
                &mut long
            }
        };
        let mut value = vec![0; (self.len as usize).saturating_sub(head_len)];
        let file = &self.segment.file;
        match file.read_parts_now(self.position, head, &mut value, ReadHow::MayBlock)? {
            ReadNow::Read(n) if n == head_len + value.len() => {}
            ReadNow::Read(n) => {
                let len = self.position + n as u64;
                return Ok(Err(DamageKind::TooShort { len, durable: self.end() }));
            }
            ReadNow::NotCached => {
                return Err(DiskError::new("read", file.path(), Some(self.position), DiskErrorKind::Os(11)));
            }
        }
        Ok(self.check(key, head, &value, verify).map(|clock| Versioned { clock, value }))
    }

    fn end(&self) -> u64 {
        self.position + u64::from(self.len)
    }

    fn head_len(&self, key: &[u8]) -> usize {
        HEAD_LEN + key.len() + self.clock_len
    }

    /// The clock of the record that `head` (with key and clock) and `value` are, if it is the one that was written.
    fn check(&self, key: &[u8], head: &[u8], value: &[u8], verify: bool) -> Result<VectorClock, DamageKind> {
        let bytes = head;
        let head = match bytes.first_chunk::<HEAD_LEN>().map(Head::read) {
            Some(HeadRead::Plausible(head)) => head,
            _ => return Err(DamageKind::NoRecord),
        };
        if head.record_len() != u64::from(self.len) {
            let left = u64::from(self.len);
            return Err(DamageKind::BeyondEnd { len: head.record_len(), left });
        }
        if head.covered_len() != bytes.len() {
            return Err(DamageKind::OtherRecord);
        }
        let at = At { segment: self.segment.id, position: self.position };
        let clock = head.verify(bytes, at)?;
        if head.key(bytes) != key || head.sequence != self.sequence {
            return Err(DamageKind::OtherRecord);
        }
        if verify {
            head.verify_value(value)?;
        }
        Ok(clock)
    }
}

impl<F: File> Bitcask<F> {
    /// All versions of a key, in order of arrival; empty if there is none.
    ///
    /// # Errors
    /// A version can't be read, or isn't what was written.
    pub fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        let key = HashedKey::new(key);
        let shard = self.keydir.read(key);
        let Some(spots) = shard.spots_to_read(key, &self.keydir.maps) else { return Ok(Vec::new()) };
        let expired_before_ms = self.expired_before_ms();
        let mut spots = spots.filter(|spot| spot.timestamp_ms() >= expired_before_ms);
        let Some(first) = spots.next() else { return Ok(Vec::new()) };
        let first = Located::new(shard.segments(), &first);
        let others: Vec<_> = spots.map(|spot| Located::new(shard.segments(), &spot)).collect();
        drop(shard);
        let mut versions = Vec::with_capacity(1 + others.len());
        for located in std::iter::once(&first).chain(&others) {
            versions.push(self.read_located(key.key, located)?);
        }
        Ok(versions)
    }

    /// Calls `each` with every key of a slice, one of `slices` by their hashes, and its clocks, without the disk. `slices`
    /// is a power of two. What is written meanwhile may be told or not; writers wait no longer than it takes to copy a
    /// shard's part of the key directory.
    pub(crate) fn clocks_of_slice(
        &self,
        (slice, slices): (usize, usize),
        mut each: impl FnMut(&[u8], &[VectorClock]),
    ) {
        let shards = self.keydir.shard_indexes();
        // Both go by the low bits of the hash, so the larger number tells which of the other's parts it belongs to.
        let common = shards.len().min(slices);
        let mut clocks = Vec::new();
        for shard in shards.filter(|shard| shard % common == slice % common) {
            let expired_before_ms = self.expired_before_ms();
            let entries = self.keydir.read_shard(shard).entries();
            for entry in entries.iter().filter(|entry| HashedKey::new(entry.key()).shard(slices) == slice) {
                let spots = entry.spots().filter(|spot| spot.timestamp_ms() >= expired_before_ms);
                clocks.clear();
                clocks.extend(spots.map(|spot| spot.clock()));
                if !clocks.is_empty() {
                    each(entry.key(), &clocks);
                }
            }
        }
    }

    pub(super) fn read_located(&self, key: &[u8], located: &Located<F>) -> Result<Versioned, GetError> {
        let verify = !planted!(self, ChecksumIgnored);
        located.read(key, self.config.sealed_reads, &self.keydir.maps, verify)
    }

    /// The clocks of all versions of a key, without the disk.
    #[must_use]
    pub fn get_versions(&self, key: &[u8]) -> Vec<VectorClock> {
        let key = HashedKey::new(key);
        let shard = self.keydir.read(key);
        shard.spots(key).map_or_else(Vec::new, |spots| spots.map(|spot| spot.clock()).collect())
    }
}
