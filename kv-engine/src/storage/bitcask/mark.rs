//! The durable-end mark: a small file that says up to where the records are known to be on the disk.
//!
//! It is written after each commit without a sync of its own. A lost mark is only an older one, and an older one is
//! still true. At or past the mark the first bad record ends the active segment; below it, it is damage. The mark
//! on the disk may be older than the last commits, so rot between it and the end can't be told from a torn tail.
//!
//! Four slots of one sector each. Two *running* slots are written by turns after commits; a power cut may tear both,
//! since neither was synced. Two *anchor* slots are written by turns when the store is opened and closed and before a
//! merge removes its inputs, each synced before anything is built on it: one of them is always whole. The newest whole
//! slot counts.
//! Documented in docs/formats/kv-mark.md.

use engine_env::{Disk, DiskError, File, Op, OpenHow, WriteSync};

use super::segment::HEADER_LEN;

const NAME: &str = "mark";
const SLOT_BYTES: usize = 512;
const ANCHORS: u64 = 2;
const SLOTS: u64 = 4;
const FILE_BYTES: usize = SLOTS as usize * SLOT_BYTES;

const MAGIC: [u8; 8] = *b"kv-mark\n";
const VERSION: u32 = 2;
const VERSION_AT: usize = MAGIC.len();
const SEGMENT_AT: usize = VERSION_AT + 4;
const GENERATION_AT: usize = SEGMENT_AT + 4;
const POSITION_AT: usize = GENERATION_AT + 8;
const DELETES_FROM_AT: usize = POSITION_AT + 8;
const SEQUENCE_FROM_AT: usize = DELETES_FROM_AT + 8;
const CRC_AT: usize = SEQUENCE_FROM_AT + 8;
const SLOT_LEN: usize = CRC_AT + 4;
const _: () = assert!(SLOT_LEN == 52 && SLOT_LEN <= SLOT_BYTES);

/// Every record before this end, in written segments up to this one, is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DurableEnd {
    pub(super) segment: u32,
    pub(super) position: u64,
}

impl DurableEnd {
    /// Everything is: what only a planted bug believes.
    pub(super) const EVERYTHING: Self = Self { segment: u32::MAX, position: HEADER_LEN as u64 };
    /// Nothing is known to be durable.
    pub(super) const NONE: Self = Self { segment: 0, position: HEADER_LEN as u64 };
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    end: DurableEnd,
    generation: u64,
    /// Merges have dropped no tombstone from this sequence on.
    deletes_from: u64,
    /// Writes since the store was opened have this sequence or later ones; so will those after the next opening.
    sequence_from: u64,
}

fn encode(slot: &Slot) -> [u8; SLOT_LEN] {
    let Slot { end, generation, deletes_from, sequence_from } = slot;
    let mut bytes = [0; SLOT_LEN];
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..SEGMENT_AT].copy_from_slice(&VERSION.to_le_bytes());
    bytes[SEGMENT_AT..GENERATION_AT].copy_from_slice(&end.segment.to_le_bytes());
    bytes[GENERATION_AT..POSITION_AT].copy_from_slice(&generation.to_le_bytes());
    bytes[POSITION_AT..DELETES_FROM_AT].copy_from_slice(&end.position.to_le_bytes());
    bytes[DELETES_FROM_AT..SEQUENCE_FROM_AT].copy_from_slice(&deletes_from.to_le_bytes());
    bytes[SEQUENCE_FROM_AT..CRC_AT].copy_from_slice(&sequence_from.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Slot> {
    let bytes = bytes.first_chunk::<SLOT_LEN>()?;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let whole = bytes[..VERSION_AT] == MAGIC
        && u32_at(VERSION_AT) == VERSION
        && u32_at(CRC_AT) == crc32fast::hash(&bytes[..CRC_AT]);
    whole.then(|| Slot {
        end: DurableEnd { segment: u32_at(SEGMENT_AT), position: u64_at(POSITION_AT) },
        generation: u64_at(GENERATION_AT),
        deletes_from: u64_at(DELETES_FROM_AT),
        sequence_from: u64_at(SEQUENCE_FROM_AT),
    })
}

/// The newest whole slot, and which one it is.
fn newest(bytes: &[u8]) -> Option<(Slot, u64)> {
    let whole = (0..).zip(bytes.chunks(SLOT_BYTES)).filter_map(|(slot, b)| Some((slot, decode(b)?)));
    let (number, slot) = whole.max_by_key(|(_, slot)| slot.generation)?;
    Some((slot, number))
}

/// The anchor slot to write next: the one that isn't the newest whole anchor.
fn next_anchor(bytes: &[u8]) -> u64 {
    let anchors = &bytes[..bytes.len().min(ANCHORS as usize * SLOT_BYTES)];
    newest(anchors).map_or(0, |(_, number)| ANCHORS - 1 - number)
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A mark.
    Mark(DurableEnd),
    /// Never written.
    Fresh,
    /// Written, and no slot is whole: damage, unless the power went while the first mark was written.
    Unreadable,
}

/// The mark's open file.
#[derive(Debug)]
pub(super) struct MarkFile<F> {
    file: F,
    generation: u64,
    anchor: u64,
    last: DurableEnd,
    deletes_from: u64,
    sequence_from: u64,
}

impl<F: File> MarkFile<F> {
    /// Opens or creates the file.
    pub(super) fn open<D: Disk<File = F>>(disk: &mut D) -> Result<(Self, Found), DiskError> {
        let (file, len) = disk.open(NAME, OpenHow::OpenOrCreate)?;
        if len < FILE_BYTES as u64 {
            disk.run(Op::ZeroFill { file: file.clone(), at: len, len: FILE_BYTES as u64 - len })?;
            disk.run(Op::Sync { file: file.clone() })?;
            super::folder::sync_dir(disk)?;
        }
        let bytes = disk.read(&file, 0, FILE_BYTES)?;
        let slot = newest(&bytes).map(|(slot, _)| slot);
        let found = match slot {
            Some(slot) => Found::Mark(slot.end),
            None if bytes.iter().all(|b| *b == 0) => Found::Fresh,
            None => Found::Unreadable,
        };
        let anchor = next_anchor(&bytes);
        let mark = Self {
            file,
            generation: slot.map_or(0, |slot| slot.generation),
            anchor,
            last: DurableEnd::NONE,
            deletes_from: slot.map_or(0, |slot| slot.deletes_from),
            sequence_from: slot.map_or(0, |slot| slot.sequence_from),
        };
        Ok((mark, found))
    }

    /// From here on merges have dropped no tombstone, as far as the mark knows.
    pub(super) fn deletes_from(&self) -> u64 {
        self.deletes_from
    }

    /// To be noted with the next end.
    pub(super) fn set_deletes_from(&mut self, sequence: u64) {
        self.deletes_from = self.deletes_from.max(sequence);
    }

    /// The first sequence that the store gave when it was last opened, as far as the mark knows.
    pub(super) fn sequence_from(&self) -> u64 {
        self.sequence_from
    }

    /// To be noted with the next end.
    pub(super) fn set_sequence_from(&mut self, sequence: u64) {
        self.sequence_from = self.sequence_from.max(sequence);
    }

    fn slot(&self) -> Slot {
        let Self { last: end, generation, deletes_from, sequence_from, .. } = *self;
        Slot { end, generation, deletes_from, sequence_from }
    }

    /// Notes a later durable end, without a sync. A failure is of no consequence: the old mark is still true.
    pub(super) fn note(&mut self, end: DurableEnd) {
        if end <= self.last {
            return;
        }
        self.last = end;
        self.generation += 1;
        let slot = (ANCHORS + self.generation % (SLOTS - ANCHORS)) * SLOT_BYTES as u64;
        let _ = self.file.write_now(slot, &encode(&self.slot()), WriteSync::None);
    }

    /// Notes an end and makes it durable.
    pub(super) fn note_synced<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        end: DurableEnd,
    ) -> Result<(), DiskError> {
        // Another thread may have noted a later one meanwhile; the newest slot must hold the latest.
        let end = end.max(self.last);
        self.last = end;
        self.generation += 1;
        let at = self.anchor * SLOT_BYTES as u64;
        self.anchor = ANCHORS - 1 - self.anchor;
        let buf = encode(&self.slot()).to_vec();
        disk.run(Op::Write { file: self.file.clone(), at, buf, sync: WriteSync::None })?;
        disk.run(Op::Sync { file: self.file.clone() }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newest_whole_slot_counts_and_the_newest_anchor_stays() {
        let mut file = vec![0; FILE_BYTES];
        assert_eq!((newest(&file), next_anchor(&file)), (None, 0));
        let slot = |segment, generation| Slot {
            end: DurableEnd { segment, position: 50 },
            generation,
            deletes_from: 3 * generation,
            sequence_from: 5 * generation,
        };
        let (old, new) = (slot(1, 7), slot(2, 8));
        let anchor = SLOT_BYTES..SLOT_BYTES + SLOT_LEN;
        let running = 3 * SLOT_BYTES..3 * SLOT_BYTES + SLOT_LEN;
        file[anchor].copy_from_slice(&encode(&old));
        file[running.clone()].copy_from_slice(&encode(&new));
        assert_eq!((newest(&file), next_anchor(&file)), (Some((new, 3)), 0));
        file[running.start + 20] ^= 1;
        assert_eq!(newest(&file), Some((old, 1)));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2100)) {
            let _ = (newest(&bytes), next_anchor(&bytes));
        }
    }
}
