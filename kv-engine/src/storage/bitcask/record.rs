//! The record: one put or one storage tombstone, as bytes. Documented in docs/formats/kv-segment.md.
//!
//! Two checksums. The head's covers lengths, key and clock, the value's checksum, and the segment and position at
//! which the record was written: bytes of a file's former life, or bytes that landed elsewhere, are never accepted.
//! The value's is apart, so that rot in a value still leaves it known whose value it is.

use crc32fast::Hasher;

use crate::storage::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::version::VectorClock;

const HEAD_CRC_AT: usize = 0;
const VALUE_CRC_AT: usize = HEAD_CRC_AT + 4;
const SEQUENCE_AT: usize = VALUE_CRC_AT + 4;
const VALUE_LEN_AT: usize = SEQUENCE_AT + 8;
const CLOCK_LEN_AT: usize = VALUE_LEN_AT + 4;
const KEY_LEN_AT: usize = CLOCK_LEN_AT + 4;
pub(super) const KIND_AT: usize = KEY_LEN_AT + 2;
const RESERVED_AT: usize = KIND_AT + 1;
/// Length of the fixed part; key, clock and value follow.
pub(super) const HEAD_LEN: usize = RESERVED_AT + 1;
const _: () = assert!(HEAD_LEN == 28);

/// 32767 entries of 2 + 7 bytes, and what stands around them.
const CLOCK_LEN_MAX: u32 = 32_767 * 9 + 11;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A version of the key was put.
    Put,
    /// The versions before or equal to the clock were deleted.
    Tombstone,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) segment: u32,
    pub(super) position: u64,
}

/// What goes into a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) kind: RecordKind,
    pub(super) key: &'a [u8],
    pub(super) clock: &'a VectorClock,
    pub(super) value: &'a [u8],
    /// CRC-32 of the value: computed by the caller, outside the writer's lock.
    pub(super) value_crc: u32,
}

/// The checksum of a value.
pub(super) fn value_crc(value: &[u8]) -> u32 {
    crc32fast::hash(value)
}

impl Content<'_> {
    /// The record's length in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        HEAD_LEN + self.key.len() + self.clock.encoded_len() + self.value.len()
    }

    /// Appends the record to `into`, bound to the place where it will stand.
    pub(super) fn encode(&self, at: At, sequence: u64, into: &mut Vec<u8>) {
        let key_len = u16::try_from(self.key.len()).expect("the key's length was checked");
        let value_len = u32::try_from(self.value.len()).expect("the value's length was checked");
        let clock_len = u32::try_from(self.clock.encoded_len()).expect("a clock is below 300 KB");
        into.reserve(self.encoded_len());
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&self.value_crc.to_le_bytes());
        into.extend_from_slice(&sequence.to_le_bytes());
        into.extend_from_slice(&value_len.to_le_bytes());
        into.extend_from_slice(&clock_len.to_le_bytes());
        into.extend_from_slice(&key_len.to_le_bytes());
        into.push(match self.kind {
            RecordKind::Put => 1,
            RecordKind::Tombstone => 2,
        });
        into.push(0);
        into.extend_from_slice(self.key);
        self.clock.encode(into);
        let crc = head_crc(&into[start + VALUE_CRC_AT..], at);
        into[start..start + VALUE_CRC_AT].copy_from_slice(&crc.to_le_bytes());
        into.extend_from_slice(self.value);
    }
}

fn head_crc(head: &[u8], at: At) -> u32 {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&at.segment.to_le_bytes());
    place[4..].copy_from_slice(&at.position.to_le_bytes());
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(&place);
    hasher.finalize()
}

/// Why bytes aren't a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageKind {
    /// Bytes that belong to no record.
    #[error("no record begins here")]
    NoRecord,
    /// The record promises more bytes than the file has.
    #[error("a record of {len} bytes doesn't fit into the {left} bytes that are left")]
    BeyondEnd {
        /// Length that the record promises.
        len: u64,
        /// Bytes to the file's end.
        left: u64,
    },
    /// Lengths, key or clock changed, or the bytes were written for another place.
    #[error("the head's checksum is {computed:08x}, the record says {stored:08x}")]
    HeadChecksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The value changed.
    #[error("the value's checksum is {computed:08x}, the record says {stored:08x}")]
    ValueChecksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The clock is no clock, though its checksum fits.
    #[error("the clock can't be read: {why}")]
    Clock {
        /// Why.
        why: String,
    },
    /// Another record stands here than the key directory remembers.
    #[error("another record stands here than the one that was written")]
    OtherRecord,
    /// The file's own header is damaged.
    #[error("the file's header is damaged: {why}")]
    Header {
        /// Why.
        why: String,
    },
    /// The file is shorter than what was made durable, or missing.
    #[error("the file has {len} bytes, {durable} were durable")]
    TooShort {
        /// Its length.
        len: u64,
        /// The durable end that was noted.
        durable: u64,
    },
}

/// The fixed part of a record, lengths checked for sense but nothing verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) stored_crc: u32,
    value_crc: u32,
    pub(super) sequence: u64,
    value_len: u32,
    clock_len: u32,
    key_len: u16,
    pub(super) kind: RecordKind,
}

/// What the fixed part looks like.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadRead {
    /// All zero: never written.
    Unwritten,
    /// A head can look like this.
    Plausible(Head),
    /// No head looks like this.
    Implausible,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Head {
    /// Reads the fixed part.
    pub(super) fn read(bytes: &[u8; HEAD_LEN]) -> HeadRead {
        let kind = match (bytes[KIND_AT], bytes[RESERVED_AT]) {
            (1, 0) => RecordKind::Put,
            (2, 0) => RecordKind::Tombstone,
            _ if bytes.iter().all(|b| *b == 0) => return HeadRead::Unwritten,
            _ => return HeadRead::Implausible,
        };
        let head = Self {
            stored_crc: u32_at(bytes, HEAD_CRC_AT),
            value_crc: u32_at(bytes, VALUE_CRC_AT),
            sequence: u64::from_le_bytes(bytes[SEQUENCE_AT..VALUE_LEN_AT].try_into().expect("eight bytes")),
            value_len: u32_at(bytes, VALUE_LEN_AT),
            clock_len: u32_at(bytes, CLOCK_LEN_AT),
            key_len: u16::from_le_bytes([bytes[KEY_LEN_AT], bytes[KEY_LEN_AT + 1]]),
            kind,
        };
        let sensible = head.clock_len <= CLOCK_LEN_MAX
            && head.value_len as usize <= VALUE_BYTES_MAX
            && usize::from(head.key_len) <= KEY_BYTES_MAX
            && (kind == RecordKind::Put || head.value_len == 0);
        if sensible { HeadRead::Plausible(head) } else { HeadRead::Implausible }
    }

    /// Length of head, key and clock: what the head's checksum covers.
    pub(super) fn covered_len(&self) -> usize {
        HEAD_LEN + usize::from(self.key_len) + self.clock_len as usize
    }

    /// Length of the whole record.
    pub(super) fn record_len(&self) -> u64 {
        self.covered_len() as u64 + u64::from(self.value_len)
    }

    /// Verifies head, key and clock: `bytes` are at least [`Head::covered_len`] bytes from the record's start.
    pub(super) fn verify(&self, bytes: &[u8], at: At) -> Result<VectorClock, DamageKind> {
        let computed = head_crc(&bytes[VALUE_CRC_AT..self.covered_len()], at);
        if computed != self.stored_crc {
            return Err(DamageKind::HeadChecksum { stored: self.stored_crc, computed });
        }
        let clock_bytes = self.clock(bytes);
        match VectorClock::decode(clock_bytes) {
            Ok((clock, used)) if used == clock_bytes.len() => Ok(clock),
            Ok(_) => Err(DamageKind::Clock { why: "bytes are left over".to_owned() }),
            Err(error) => Err(DamageKind::Clock { why: error.to_string() }),
        }
    }

    /// The key; `bytes` are at least [`Head::covered_len`] bytes from the record's start.
    pub(super) fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[HEAD_LEN..HEAD_LEN + usize::from(self.key_len)]
    }

    /// The clock's bytes; `bytes` as for [`Head::key`].
    pub(super) fn clock<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[HEAD_LEN + usize::from(self.key_len)..self.covered_len()]
    }

    /// Compares the value with its checksum.
    pub(super) fn verify_value(&self, value: &[u8]) -> Result<(), DamageKind> {
        match value_crc(value) {
            computed if computed == self.value_crc => Ok(()),
            computed => Err(DamageKind::ValueChecksum { stored: self.value_crc, computed }),
        }
    }

    /// The verified record; `bytes` are all of it.
    pub(super) fn view<'a>(&self, bytes: &'a [u8], clock: VectorClock, position: u64) -> RecordView<'a> {
        let value = &bytes[self.covered_len()..];
        let damage = self.verify_value(value).err();
        RecordView {
            position,
            len: bytes.len() as u64,
            sequence: self.sequence,
            kind: self.kind,
            key: self.key(bytes),
            clock,
            clock_bytes: self.clock(bytes),
            value,
            value_crc: self.value_crc,
            damage,
        }
    }
}

/// A record whose head is what was written here.
#[derive(Debug, Clone)]
pub(super) struct RecordView<'a> {
    pub(super) position: u64,
    pub(super) len: u64,
    pub(super) sequence: u64,
    pub(super) kind: RecordKind,
    pub(super) key: &'a [u8],
    pub(super) clock: VectorClock,
    pub(super) clock_bytes: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) value_crc: u32,
    /// Set if the value isn't what was written.
    pub(super) damage: Option<DamageKind>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(segment: u32, position: u64, value: &[u8]) -> Vec<u8> {
        let clock = VectorClock::from_entries([(1, 2)], 3).expect("valid");
        let content =
            Content { kind: RecordKind::Put, key: b"key", clock: &clock, value, value_crc: value_crc(value) };
        let mut bytes = Vec::new();
        content.encode(At { segment, position }, 9, &mut bytes);
        assert_eq!(bytes.len(), content.encoded_len());
        bytes
    }

    fn read(bytes: &[u8]) -> Head {
        match Head::read(bytes[..HEAD_LEN].try_into().expect("long enough")) {
            HeadRead::Plausible(head) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_valid_only_where_it_was_written() {
        let bytes = encode(7, 100, b"value");
        let head = read(&bytes);
        let here = At { segment: 7, position: 100 };
        let clock = head.verify(&bytes, here).expect("it was written here");
        let view = head.view(&bytes, clock, 100);
        assert_eq!((view.key, view.value, view.sequence, view.damage), (&b"key"[..], &b"value"[..], 9, None));
        assert!(head.verify(&bytes, At { segment: 8, ..here }).is_err());
        assert!(head.verify(&bytes, At { position: 101, ..here }).is_err());
    }

    #[test]
    fn rot_in_a_value_leaves_the_head_readable() {
        let mut bytes = encode(7, 100, b"value");
        *bytes.last_mut().expect("not empty") ^= 1;
        let head = read(&bytes);
        let clock = head.verify(&bytes, At { segment: 7, position: 100 }).expect("the head is whole");
        assert!(matches!(head.view(&bytes, clock, 100).damage, Some(DamageKind::ValueChecksum { .. })));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(1, 36, b"v");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let HeadRead::Plausible(head) = Head::read(bytes[..HEAD_LEN].try_into().expect("long enough"))
            else {
                continue;
            };
            if head.record_len() != bytes.len() as u64 {
                continue;
            }
            let verified = head.verify(&bytes, At { segment: 1, position: 36 });
            let accepted = verified.is_ok_and(|clock| head.view(&bytes, clock, 36).damage.is_none());
            assert!(!accepted, "bit {bit}");
        }
    }
}
