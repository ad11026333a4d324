//! Segment files: their names, their header, and what is known of an open one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use engine_env::{File, SealedBytes};

use super::entry::Place;
use super::hint::Subject;

const MAGIC: [u8; 8] = *b"kv-data\n";
const VERSION: u32 = 1;
const VERSION_AT: usize = MAGIC.len();
const FLAGS_AT: usize = VERSION_AT + 4;
const ID_AT: usize = FLAGS_AT + 4;
const RESERVED_AT: usize = ID_AT + 4;
const LIVE_AS_OF_AT: usize = RESERVED_AT + 4;
const CRC_AT: usize = LIVE_AS_OF_AT + 8;
/// Position of the first record.
pub(super) const HEADER_LEN: usize = CRC_AT + 4;
const _: () = assert!(HEADER_LEN == 36);

const FLAG_SYNCED: u32 = 1;
const FLAG_MERGED: u32 = 2;

/// Who writes a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Puts and deletes, one after the other.
    Written,
    /// A merge, all at once: it has its name only since it was complete and synced.
    Merged,
}

/// The header of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u32,
    /// Each commit was synced before the next one was written: a hole in it can't come from a power cut.
    pub(super) synced: bool,
    pub(super) origin: Origin,
    /// No put in this segment was replaced or deleted by a record with a sequence below this one.
    pub(super) live_as_of: u64,
}

/// Why a file's first bytes aren't a segment header that this build reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentHeaderError {
    /// Fewer bytes than a header has.
    #[error("{len} bytes are too few for a segment's header")]
    Truncated {
        /// How many there are.
        len: u64,
    },
    /// The magic isn't there.
    #[error("the file doesn't begin with \"kv-data\"")]
    Magic,
    /// Another version's file.
    #[error("the file is of version {found}, this build reads version {VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The checksum doesn't fit.
    #[error("the header's checksum is {computed:08x}, the file says {stored:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The header is another file's.
    #[error("the header says segment {found}, the name says {expected}")]
    OtherSegment {
        /// Id in the header.
        found: u32,
        /// Id in the name.
        expected: u32,
    },
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut flags = 0;
        if self.synced {
            flags |= FLAG_SYNCED;
        }
        if self.origin == Origin::Merged {
            flags |= FLAG_MERGED;
        }
        bytes[..VERSION_AT].copy_from_slice(&MAGIC);
        bytes[VERSION_AT..FLAGS_AT].copy_from_slice(&VERSION.to_le_bytes());
        bytes[FLAGS_AT..ID_AT].copy_from_slice(&flags.to_le_bytes());
        bytes[ID_AT..RESERVED_AT].copy_from_slice(&self.id.to_le_bytes());
        bytes[LIVE_AS_OF_AT..CRC_AT].copy_from_slice(&self.live_as_of.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The checksum, as [`Header::encode`] writes it.
    fn crc(&self) -> u32 {
        u32::from_le_bytes(*self.encode().last_chunk().expect("the checksum comes last"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, SegmentHeaderError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(SegmentHeaderError::Truncated { len: bytes.len() as u64 });
        };
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        if bytes[..VERSION_AT] != MAGIC {
            return Err(SegmentHeaderError::Magic);
        }
        // Before the checksum: another version's header may be of another length.
        if u32_at(VERSION_AT) != VERSION {
            return Err(SegmentHeaderError::Version { found: u32_at(VERSION_AT) });
        }
        let (stored, computed) = (u32_at(CRC_AT), crc32fast::hash(&bytes[..CRC_AT]));
        if stored != computed {
            return Err(SegmentHeaderError::Checksum { stored, computed });
        }
        let flags = u32_at(FLAGS_AT);
        Ok(Self {
            id: u32_at(ID_AT),
            synced: flags & FLAG_SYNCED != 0,
            origin: if flags & FLAG_MERGED != 0 { Origin::Merged } else { Origin::Written },
            live_as_of: u64::from_le_bytes(bytes[LIVE_AS_OF_AT..CRC_AT].try_into().expect("eight bytes")),
        })
    }
}

/// The name of a segment's file.
pub(super) fn name(origin: Origin, id: u32) -> String {
    match origin {
        Origin::Written => format!("data-{id:010}.kv"),
        Origin::Merged => format!("merged-{id:010}.kv"),
    }
}

/// The name of a segment's file until it is complete and durable: a file with a segment's name always has a header.
pub(super) fn unfinished_name(origin: Origin, id: u32) -> String {
    name(origin, id) + UNFINISHED
}

const UNFINISHED: &str = ".tmp";

/// What a file's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) origin: Origin,
    pub(super) id: u32,
    pub(super) finished: bool,
}

/// Reads what [`name`] and [`unfinished_name`] write.
pub(super) fn parse_name(name: &str) -> Option<Named> {
    let (whole, finished) = name.strip_suffix(UNFINISHED).map_or((name, true), |whole| (whole, false));
    let stem = whole.strip_suffix(".kv")?;
    let (origin, digits) = match stem.strip_prefix("data-") {
        Some(digits) => (Origin::Written, digits),
        None => (Origin::Merged, stem.strip_prefix("merged-")?),
    };
    let well_formed = digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit());
    let id = if well_formed { digits.parse().ok()? } else { return None };
    Some(Named { origin, id, finished })
}

/// An open segment and the account of its bytes. Shared by the key directory's shards, the writer and merges.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub(super) id: u32,
    pub(super) origin: Origin,
    pub(super) file: F,
    pub(super) name: String,
    live_as_of: u64,
    header_crc: u32,
    /// End of the last record.
    end: AtomicU64,
    /// File length: more than `end` where zeros lie ahead.
    allocated: AtomicU64,
    /// Bytes of all puts, live or not.
    puts: AtomicU64,
    /// Bytes of the puts that the key directory points to.
    live: AtomicU64,
    tombstones: AtomicU64,
    newest_tombstone: AtomicU64,
    /// Sequence of the first record; more than any if there is none.
    first_sequence: AtomicU64,
    /// Sequence of the last record.
    last_sequence: AtomicU64,
    /// The youngest put's timestamp.
    newest_ms: AtomicI64,
    damaged: AtomicBool,
    /// Nobody writes or cuts the file any more.
    sealed: AtomicBool,
    /// The bytes of a sealed file, once somebody wanted them.
    map: OnceLock<SealedBytes>,
    /// Length of the hint file, if there is one.
    hint_len: AtomicU64,
}

impl<F> Segment<F> {
    pub(super) fn new(header: Header, file: F, end: u64, allocated: u64) -> Self {
        Self {
            id: header.id,
            origin: header.origin,
            file,
            name: name(header.origin, header.id),
            live_as_of: header.live_as_of,
            header_crc: header.crc(),
            end: AtomicU64::new(end),
            allocated: AtomicU64::new(allocated),
            puts: AtomicU64::new(0),
            live: AtomicU64::new(0),
            tombstones: AtomicU64::new(0),
            newest_tombstone: AtomicU64::new(0),
            first_sequence: AtomicU64::new(u64::MAX),
            last_sequence: AtomicU64::new(0),
            newest_ms: AtomicI64::new(i64::MIN),
            damaged: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            map: OnceLock::new(),
            hint_len: AtomicU64::new(0),
        }
    }

    /// What a hint of this segment is of.
    pub(super) fn subject(&self) -> Subject {
        Subject { id: self.id, header_crc: self.header_crc, len: self.end() }
    }

    /// From now on nobody writes or cuts the file: it may be mapped.
    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(super) fn hint_len(&self) -> u64 {
        self.hint_len.load(Ordering::Relaxed)
    }

    pub(super) fn set_hint_len(&self, len: u64) {
        self.hint_len.store(len, Ordering::Relaxed);
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        self.allocated.fetch_max(end, Ordering::AcqRel);
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    pub(super) fn set_allocated(&self, len: u64) {
        self.allocated.store(len, Ordering::Release);
    }

    /// A record with this sequence can be read here.
    pub(super) fn note_sequence(&self, sequence: u64) {
        self.first_sequence.fetch_min(sequence, Ordering::AcqRel);
        self.last_sequence.fetch_max(sequence, Ordering::AcqRel);
    }

    pub(super) fn first_sequence(&self) -> u64 {
        self.first_sequence.load(Ordering::Acquire)
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Ordering::Acquire)
    }

    /// A put with this timestamp is here.
    pub(super) fn note_timestamp(&self, timestamp_ms: i64) {
        self.newest_ms.fetch_max(timestamp_ms, Ordering::AcqRel);
    }

    /// Whether nothing in it can be returned any more.
    pub(super) fn is_expired(&self, before_ms: i64) -> bool {
        self.newest_ms.load(Ordering::Acquire) < before_ms
    }

    pub(super) fn count_put(&self, len: u64, live: bool) {
        self.puts.fetch_add(len, Ordering::AcqRel);
        if live {
            self.live.fetch_add(len, Ordering::AcqRel);
        }
    }

    /// Many puts at once: their bytes, and those of the live ones.
    pub(super) fn count_puts(&self, puts: u64, live: u64) {
        self.puts.fetch_add(puts, Ordering::AcqRel);
        self.live.fetch_add(live, Ordering::AcqRel);
    }

    pub(super) fn count_tombstone(&self, len: u64, sequence: u64) {
        self.tombstones.fetch_add(len, Ordering::AcqRel);
        self.newest_tombstone.fetch_max(sequence, Ordering::AcqRel);
    }

    /// The key directory stopped pointing to this record.
    pub(super) fn forget(&self, place: &Place) {
        debug_assert_eq!(place.segment, self.id, "the account is kept per segment");
        self.live.fetch_sub(u64::from(place.len), Ordering::AcqRel);
    }

    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Acquire)
    }

    pub(super) fn tombstones(&self) -> u64 {
        self.tombstones.load(Ordering::Acquire)
    }

    pub(super) fn newest_tombstone(&self) -> u64 {
        self.newest_tombstone.load(Ordering::Acquire)
    }

    /// Bytes of puts that nobody can read any more.
    pub(super) fn dead_puts(&self) -> u64 {
        self.puts.load(Ordering::Acquire).saturating_sub(self.live())
    }

    pub(super) fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    /// A damaged segment is never merged: what can't be read can't be moved, and mustn't vanish silently.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// No put in this segment was killed by a record with a sequence below this. If all its puts live, that is true
    /// of every sequence applied so far.
    pub(super) fn live_as_of(&self, applied: u64) -> u64 {
        if self.dead_puts() == 0 && !self.is_damaged() { applied } else { self.live_as_of }
    }
}

impl<F: File> Segment<F> {
    /// The bytes of a sealed file, mapped; none while it grows, or if the system refuses the map.
    pub(super) fn mapped(&self) -> Option<&SealedBytes> {
        if self.map.get().is_none() && self.sealed.load(Ordering::Acquire) {
            let bytes = self.file.map_sealed().ok()?;
            bytes.expect_random_reads();
            let _ = self.map.set(bytes);
        }
        self.map.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for (origin, id) in [(Origin::Written, 7), (Origin::Merged, u32::MAX)] {
            let named = Named { origin, id, finished: true };
            assert_eq!(parse_name(&name(origin, id)), Some(named));
            assert_eq!(parse_name(&unfinished_name(origin, id)), Some(Named { finished: false, ..named }));
        }
        for other in
            ["data-7.kv", "data-99999999999.kv", "data-0000000007.kv.old", "mark", "data-+000000007.kv"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_comes_back_and_damage_is_named() {
        let header = Header { id: 3, synced: true, origin: Origin::Merged, live_as_of: 99 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..HEADER_LEN {
            let mut bytes = bytes;
            bytes[at] ^= 0x10;
            assert!(Header::decode(&bytes).is_err(), "byte {at}");
        }
        assert_eq!(Header::decode(&bytes[..9]), Err(SegmentHeaderError::Truncated { len: 9 }));
    }
}
