//! Looking into a segment file without a store: every record with its place, and damage located.

use super::record::{At, DamageKind, RecordKind, RecordView};
use super::recovery::Damage;
use super::scan::{InMemory, Parsed, parse_at, resynchronise, zeros_from};
use super::segment::{self, HEADER_LEN, Header, Origin, SegmentHeaderError};
use crate::version::VectorClock;

/// What a segment's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The name that the file has in its store.
    pub name: String,
    /// Its id.
    pub id: u32,
    /// Whether each commit was synced before the next.
    pub synced: bool,
    /// Whether a merge wrote it.
    pub merged: bool,
    /// No put in it was killed by a record with a lower sequence.
    pub live_as_of: u64,
}

/// A record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedRecord {
    /// Its first byte.
    pub position: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its place in the order of all writes.
    pub sequence: u64,
    /// Put or tombstone.
    pub kind: RecordKind,
    /// The key.
    pub key: Vec<u8>,
    /// The version put, or the version deleted.
    pub clock: VectorClock,
    /// Length of the value in bytes.
    pub value_len: u64,
    /// CRC-32 of the value, as stored.
    pub value_crc: u32,
    /// Set if the value isn't what was written.
    pub damage: Option<DamageKind>,
}

/// Everything in a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The header.
    pub segment: SegmentSummary,
    /// The records whose heads are valid, by position.
    pub records: Vec<InspectedRecord>,
    /// Stretches that are neither records nor zeros to the end, and damaged values. In the active segment of a
    /// store that wasn't closed, the last stretch may be an unfinished write.
    pub damage: Vec<Damage>,
    /// Where the zeros or nothing begin.
    pub end: u64,
    /// Zeros behind the end.
    pub zero_bytes: u64,
}

/// Takes the bytes of a segment file apart. Never fails on damaged records: they are listed.
///
/// # Errors
/// The bytes don't begin with a header that this build reads.
pub fn inspect_segment(bytes: &[u8]) -> Result<Inspection, SegmentHeaderError> {
    let header = Header::decode(bytes)?;
    let name = segment::name(header.origin, header.id);
    let (records, damage, end) = walk(bytes, header.id, &name);
    let segment = SegmentSummary {
        name,
        id: header.id,
        synced: header.synced,
        merged: header.origin == Origin::Merged,
        live_as_of: header.live_as_of,
    };
    Ok(Inspection { segment, records, damage, end, zero_bytes: bytes.len() as u64 - end })
}

fn walk(bytes: &[u8], id: u32, name: &str) -> (Vec<InspectedRecord>, Vec<Damage>, u64) {
    const IN_MEMORY: &str = "bytes in memory don't fail to be read";
    let mut source = InMemory(bytes);
    let len = bytes.len() as u64;
    let mut position = HEADER_LEN as u64;
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    loop {
        let why = match parse_at(&mut source, At { segment: id, position }).expect(IN_MEMORY) {
            Parsed::End => break,
            Parsed::Record(record) => {
                let (at, bytes) = (position, record.len);
                position += record.len;
                if let Some(why) = record.damage.clone() {
                    damage.push(Damage { file: name.to_owned(), position: at, bytes, why });
                }
                records.push(record.into());
                continue;
            }
            Parsed::Bad(why) => why,
            Parsed::Unwritten => DamageKind::NoRecord,
        };
        if zeros_from(&mut source, position).expect(IN_MEMORY) {
            break;
        }
        let next = resynchronise(&mut source, id, position + 1, len).expect(IN_MEMORY).unwrap_or(len);
        damage.push(Damage { file: name.to_owned(), position, bytes: next - position, why });
        position = next;
    }
    (records, damage, position)
}

impl From<RecordView<'_>> for InspectedRecord {
    fn from(record: RecordView<'_>) -> Self {
        Self {
            position: record.position,
            len: record.len,
            sequence: record.sequence,
            kind: record.kind,
            key: record.key.to_vec(),
            clock: record.clock,
            value_len: record.value.len() as u64,
            value_crc: record.value_crc,
            damage: record.damage,
        }
    }
}
