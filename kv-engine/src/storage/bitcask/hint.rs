//! Hint files: what a finished segment's records say, without their values, so that opening needn't read them.
//!
//! A hint is never needed and never trusted blindly: it is taken only if its checksum fits, if it was made of this very
//! segment (id, header, length), if its records lie end to end from the segment's first byte to its last, and if the
//! segment's last record is the one that it ends with. Anything else, and the segment is read instead. So a hint is written
//! without a sync, and a crash may leave any part of it.
//! Documented in docs/formats/kv-hint.md.

use std::sync::PoisonError;

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, File, Op, OpenHow, WriteSync};

use super::Bitcask;
use super::record::{At, HEAD_LEN, RecordKind};
use super::scan::{Direct, InMemory, ParsedHead, Source, View, WINDOW_BYTES, parse_head_at};
use super::segment::{self, HEADER_LEN, Segment};
use super::stats::count;
use crate::config::SealedReads;
use crate::storage::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::version::VectorClock;

const MAGIC: [u8; 8] = *b"kv-hint\n";
const VERSION: u32 = 1;
const VERSION_AT: usize = MAGIC.len();
const SEGMENT_AT: usize = VERSION_AT + 4;
const HEADER_CRC_AT: usize = SEGMENT_AT + 4;
const LAST_CRC_AT: usize = HEADER_CRC_AT + 4;
const SEGMENT_LEN_AT: usize = LAST_CRC_AT + 4;
const RECORDS_AT: usize = SEGMENT_LEN_AT + 8;
const CRC_AT: usize = RECORDS_AT + 8;
const RECORDS_FROM: usize = CRC_AT + 4;
const _: () = assert!(RECORDS_FROM == 44);

/// Which segment a hint is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) id: u32,
    /// Checksum of the segment's header.
    pub(super) header_crc: u32,
    /// Where its last record ends, and the file with it.
    pub(super) len: u64,
}

/// Why a hint isn't taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintError {
    /// Fewer bytes than a hint has.
    #[error("{len} bytes are too few for a hint file")]
    Truncated {
        /// How many there are.
        len: u64,
    },
    /// The magic isn't there.
    #[error("the file doesn't begin with \"kv-hint\"")]
    Magic,
    /// Another version's file.
    #[error("the file is of version {found}, this build reads version {VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The checksum doesn't fit.
    #[error("the checksum is {computed:08x}, the file says {stored:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// It was made of another segment, or of this one when it was shorter or longer.
    #[error("it describes another state of the segment")]
    OtherSegment,
    /// What it says of the records can't be.
    #[error("its records can't be those of a segment")]
    Records,
    /// The segment's last record isn't the one that the hint ends with.
    #[error("the segment ends with another record")]
    OtherEnd,
}

/// What a hint says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HintedRecord<'a> {
    pub(super) position: u64,
    pub(super) len: u64,
    pub(super) sequence: u64,
    pub(super) kind: RecordKind,
    pub(super) key: &'a [u8],
    /// In Voldemort's bytes; checked.
    pub(super) clock: &'a [u8],
}

/// The name of a segment's hint file.
pub(super) fn name_of(segment_name: &str) -> String {
    let stem = segment_name.strip_suffix(".kv").unwrap_or(segment_name);
    format!("{stem}.hint")
}

/// The name of the segment whose hint file this is.
pub(super) fn subject_name(name: &str) -> Option<String> {
    let segment = format!("{}.kv", name.strip_suffix(".hint")?);
    segment::parse_name(&segment).is_some_and(|named| named.finished).then_some(segment)
}

fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[RECORDS_FROM..]);
    hasher.finalize()
}

fn put_varint(mut n: u64, into: &mut Vec<u8>) {
    while n >= 0x80 {
        into.push(n as u8 | 0x80);
        n >>= 7;
    }
    into.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (shift < 63 || byte <= 1).then_some(n);
        }
    }
    None
}

/// Makes the hint of a segment by going through its records' heads; none if something isn't a record, which the next
/// opening finds and reports.
pub(super) fn make<S: Source>(source: &mut S, subject: Subject) -> Result<Option<Vec<u8>>, DiskError> {
    let mut bytes = vec![0; RECORDS_FROM];
    let (mut at, mut last_sequence, mut last_crc, mut records) = (HEADER_LEN as u64, 0, 0, 0u64);
    while at < subject.len {
        let place = At { segment: subject.id, position: at };
        let ParsedHead::Head(head, _) = parse_head_at(source, place)? else { return Ok(None) };
        let Some(step) = head.sequence.checked_sub(last_sequence).filter(|step| *step > 0) else {
            return Ok(None);
        };
        let covered = source.bytes(at, head.covered_len())?;
        let (key, clock) = (head.key(covered), head.clock(covered));
        bytes.push(match head.kind {
            RecordKind::Put => 1,
            RecordKind::Tombstone => 2,
        });
        put_varint(step, &mut bytes);
        put_varint(key.len() as u64, &mut bytes);
        put_varint(clock.len() as u64, &mut bytes);
        put_varint(head.record_len() - head.covered_len() as u64, &mut bytes);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(clock);
        (last_sequence, last_crc) = (head.sequence, head.stored_crc);
        at += head.record_len();
        records += 1;
    }
    if at != subject.len || records == 0 {
        return Ok(None);
    }
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..SEGMENT_AT].copy_from_slice(&VERSION.to_le_bytes());
    bytes[SEGMENT_AT..HEADER_CRC_AT].copy_from_slice(&subject.id.to_le_bytes());
    bytes[HEADER_CRC_AT..LAST_CRC_AT].copy_from_slice(&subject.header_crc.to_le_bytes());
    bytes[LAST_CRC_AT..SEGMENT_LEN_AT].copy_from_slice(&last_crc.to_le_bytes());
    bytes[SEGMENT_LEN_AT..RECORDS_AT].copy_from_slice(&subject.len.to_le_bytes());
    bytes[RECORDS_AT..CRC_AT].copy_from_slice(&records.to_le_bytes());
    let crc = crc(&bytes);
    bytes[CRC_AT..RECORDS_FROM].copy_from_slice(&crc.to_le_bytes());
    Ok(Some(bytes))
}

/// The records of a hint, in the segment's order.
#[derive(Debug)]
pub(super) struct HintedRecords<'a> {
    bytes: &'a [u8],
    position: u64,
    sequence: u64,
    left: u64,
    len: u64,
    /// Checksum of the last record's head.
    last_crc: u32,
}

/// Takes a hint file of `subject`, whose records are checked one by one as they are read: until the last one is, none
/// may be believed. `believed` leaves the checks out, which only a planted bug asks for.
pub(super) fn read(bytes: &[u8], subject: Subject, believed: bool) -> Result<HintedRecords<'_>, HintError> {
    if bytes.len() < RECORDS_FROM {
        return Err(HintError::Truncated { len: bytes.len() as u64 });
    }
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if bytes[..VERSION_AT] != MAGIC {
        return Err(HintError::Magic);
    }
    if u32_at(VERSION_AT) != VERSION {
        return Err(HintError::Version { found: u32_at(VERSION_AT) });
    }
    let (stored, computed) = (u32_at(CRC_AT), crc(bytes));
    if stored != computed && !believed {
        return Err(HintError::Checksum { stored, computed });
    }
    let found =
        Subject { id: u32_at(SEGMENT_AT), header_crc: u32_at(HEADER_CRC_AT), len: u64_at(SEGMENT_LEN_AT) };
    if found != subject && !believed {
        return Err(HintError::OtherSegment);
    }
    Ok(HintedRecords {
        bytes: &bytes[RECORDS_FROM..],
        position: HEADER_LEN as u64,
        sequence: 0,
        left: u64_at(RECORDS_AT),
        len: found.len,
        last_crc: u32_at(LAST_CRC_AT),
    })
}

impl<'a> HintedRecords<'a> {
    /// The checksum in the head of the segment's last record.
    pub(super) fn last_crc(&self) -> u32 {
        self.last_crc
    }

    fn take(&mut self) -> Option<HintedRecord<'a>> {
        let (&kind, mut rest) = self.bytes.split_first()?;
        let kind = match kind {
            1 => RecordKind::Put,
            2 => RecordKind::Tombstone,
            _ => return None,
        };
        let step = take_varint(&mut rest).filter(|step| *step > 0)?;
        let mut len = |max: usize| -> Option<usize> {
            usize::try_from(take_varint(&mut rest)?).ok().filter(|len| *len <= max)
        };
        let (key_len, clock_len, value_len) = (len(KEY_BYTES_MAX)?, len(usize::MAX)?, len(VALUE_BYTES_MAX)?);
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (clock, rest) = rest.split_at_checked(clock_len)?;
        if VectorClock::decode(clock).ok()?.1 != clock_len || (kind == RecordKind::Tombstone && value_len > 0)
        {
            return None;
        }
        let sequence = self.sequence.checked_add(step)?;
        let len = (HEAD_LEN + key_len + clock_len + value_len) as u64;
        let record = HintedRecord { position: self.position, len, sequence, kind, key, clock };
        (self.bytes, self.sequence) = (rest, sequence);
        self.position += len;
        self.left = self.left.checked_sub(1)?;
        (self.position <= self.len).then_some(record)
    }
}

impl<'a> Iterator for HintedRecords<'a> {
    type Item = Result<HintedRecord<'a>, HintError>;

    /// An error is the last thing that comes, and says that nothing before it counts.
    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            let whole = self.left == 0 && self.position == self.len;
            (self.left, self.position) = (0, self.len);
            return (!whole).then_some(Err(HintError::Records));
        }
        let record = self.take().ok_or(HintError::Records);
        if record.is_err() {
            (self.bytes, self.left, self.position) = (&[], 0, self.len);
        }
        Some(record)
    }
}

impl<F: File> Bitcask<F> {
    /// Notes that a segment is finished and has no hint yet.
    pub(super) fn want_hint(&self, segment: &std::sync::Arc<Segment<F>>) {
        self.unhinted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(std::sync::Arc::clone(segment));
    }

    /// Writes the hints of segments that were finished since the last call; gives their bytes. A hint that can't be
    /// written is left out: the next opening reads the segment instead.
    pub(super) fn write_hints<D: Disk<File = F>>(&self, disk: &mut D) -> u64 {
        let mut written = 0;
        loop {
            let Some(segment) = self.unhinted.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
            else {
                return written;
            };
            if segment.is_damaged() || !self.keydir.has_segment(segment.id) {
                continue;
            }
            if let Ok(len) = self.write_hint(disk, &segment) {
                written += len;
            } else {
                reached("kv hint not written");
                let _ = disk.run(Op::Remove { path: name_of(&segment.name) });
            }
        }
    }

    fn write_hint<D: Disk<File = F>>(&self, disk: &mut D, segment: &Segment<F>) -> Result<u64, DiskError> {
        let subject = segment.subject();
        let mapped = if self.config.sealed_reads == SealedReads::Mapped { segment.mapped() } else { None };
        let hint = match mapped {
            Some(bytes) => make(&mut InMemory(bytes), subject)?,
            None => {
                let mut view = View::default();
                make(&mut Direct::new(&segment.file, subject.len, WINDOW_BYTES, &mut view), subject)?
            }
        };
        let Some(buf) = hint else { return Ok(0) };
        let (file, old_len) = disk.open(&name_of(&segment.name), OpenHow::OpenOrCreate)?;
        if old_len > 0 {
            disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
        }
        let len = buf.len() as u64;
        disk.run(Op::Write { file, at: 0, buf, sync: WriteSync::None })?;
        reached("kv hint written");
        segment.set_hint_len(len);
        count(&self.counters.written_bytes, len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Content, value_crc};
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u32 = 7;

    /// A segment of these records: key, value length, sequence step, whether it is a tombstone.
    fn segment(records: &[(Vec<u8>, usize, u64, bool)]) -> (Vec<u8>, Subject) {
        let mut bytes = vec![0; HEADER_LEN];
        let mut sequence = 0;
        for (key, value_len, step, is_tombstone) in records {
            sequence += step;
            let clock = VectorClock::from_entries([(1, sequence)], 5).expect("valid");
            let (kind, value) = match is_tombstone {
                true => (RecordKind::Tombstone, vec![]),
                false => (RecordKind::Put, vec![3; *value_len]),
            };
            let content = Content { kind, key, clock: &clock, value: &value, value_crc: value_crc(&value) };
            let at = At { segment: SEGMENT, position: bytes.len() as u64 };
            content.encode(at, sequence, &mut bytes);
        }
        let subject = Subject { id: SEGMENT, header_crc: 99, len: bytes.len() as u64 };
        (bytes, subject)
    }

    fn records() -> impl Strategy<Value = Vec<(Vec<u8>, usize, u64, bool)>> {
        let key = prop::collection::vec(any::<u8>(), 0..20);
        let step = prop_oneof![4 => 1u64..300, 1 => Just(1u64 << 32)];
        prop::collection::vec((key, 0usize..300, step, any::<bool>()), 1..20)
    }

    fn all<'a>(hint: &'a [u8], subject: Subject) -> Result<Vec<HintedRecord<'a>>, HintError> {
        read(hint, subject, false)?.collect()
    }

    proptest! {
        #[test]
        fn a_hint_says_what_the_segment_does(records in records()) {
            let (bytes, subject) = segment(&records);
            let hint = make(&mut InMemory(&bytes), subject).expect("in memory").expect("all records");
            prop_assert!(hint.len() <= bytes.len() + 8, "no longer than the segment");
            let hinted = all(&hint, subject).expect("just made");
            prop_assert_eq!(hinted.len(), records.len());
            for (one, (key, _, _, is_tombstone)) in hinted.iter().zip(&records) {
                let at = At { segment: SEGMENT, position: one.position };
                let Ok(ParsedHead::Head(head, clock)) = parse_head_at(&mut InMemory(&bytes), at) else {
                    panic!("no record at {}", one.position)
                };
                prop_assert_eq!((one.sequence, one.len), (head.sequence, head.record_len()));
                prop_assert_eq!((one.key, one.kind == RecordKind::Tombstone), (key.as_slice(), *is_tombstone));
                prop_assert_eq!(VectorClock::decode(one.clock).expect("checked").0, clock);
            }
        }

        #[test]
        fn a_hint_of_another_state_or_with_a_flipped_bit_is_refused(
            records in records(),
            bit in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let (bytes, subject) = segment(&records);
            let hint = make(&mut InMemory(&bytes), subject).expect("in memory").expect("all records");
            for other in [
                Subject { id: 8, ..subject },
                Subject { header_crc: 98, ..subject },
                Subject { len: subject.len + 40, ..subject },
            ] {
                prop_assert_eq!(all(&hint, other), Err(HintError::OtherSegment));
            }
            let mut flipped = hint.clone();
            let bit = bit.index(8 * flipped.len());
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(all(&flipped, subject).is_err());
            prop_assert!(all(&hint[..cut.index(hint.len())], subject).is_err());
        }

        /// Also with a checksum that fits: bytes from a disk may be anything.
        #[test]
        fn any_bytes_never_panic(
            tail in prop::collection::vec(any::<u8>(), 0..200),
            records in 0u64..5,
            len in 0u64..500,
        ) {
            let subject = Subject { id: SEGMENT, header_crc: 99, len };
            let mut bytes = vec![0; RECORDS_FROM];
            bytes[..VERSION_AT].copy_from_slice(&MAGIC);
            bytes[VERSION_AT..SEGMENT_AT].copy_from_slice(&VERSION.to_le_bytes());
            bytes[SEGMENT_AT..HEADER_CRC_AT].copy_from_slice(&SEGMENT.to_le_bytes());
            bytes[HEADER_CRC_AT..LAST_CRC_AT].copy_from_slice(&99u32.to_le_bytes());
            bytes[SEGMENT_LEN_AT..RECORDS_AT].copy_from_slice(&len.to_le_bytes());
            bytes[RECORDS_AT..CRC_AT].copy_from_slice(&records.to_le_bytes());
            bytes.extend(&tail);
            let crc = crc(&bytes);
            bytes[CRC_AT..RECORDS_FROM].copy_from_slice(&crc.to_le_bytes());
            if let Ok(found) = all(&bytes, subject) {
                prop_assert_eq!(found.len() as u64, records);
            }
            let _ = read(&tail, subject, true).map(Iterator::count);
        }
    }

    #[test]
    fn a_segment_with_something_else_in_it_gets_no_hint() {
        let (mut bytes, subject) = segment(&[(b"k".to_vec(), 9, 1, false), (b"l".to_vec(), 9, 1, false)]);
        bytes[HEADER_LEN + 10] ^= 1;
        assert_eq!(make(&mut InMemory(&bytes), subject).expect("in memory"), None);
        let empty = Subject { len: HEADER_LEN as u64, ..subject };
        assert_eq!(make(&mut InMemory(&bytes), empty).expect("in memory"), None);
    }

    #[test]
    fn names_lead_to_each_other() {
        assert_eq!(name_of("data-0000000007.kv"), "data-0000000007.hint");
        assert_eq!(subject_name("merged-0000000007.hint").as_deref(), Some("merged-0000000007.kv"));
        for other in ["data-7.hint", "data-0000000007.kv", "data-0000000007.kv.tmp.hint", "mark"] {
            assert_eq!(subject_name(other), None, "{other}");
        }
    }
}
