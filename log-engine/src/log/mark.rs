//! The durable-end mark: how far a partition was durable at some moment. `docs/formats/log-folder.md` has the bytes.
//!
//! It is written behind every commit and never flushed for its own sake: a lost mark is only an older mark, and an
//! older mark is still true. Below it a bad batch is damage; at or past it, the end of the log.

use engine_env::{Disk, DiskError, File, Op, OpenHow, ReadHow, ReadNow, WriteSync};

use crate::Offset;

const MAGIC: &[u8; 8] = b"LOGMARK1";
const SEQUENCE: usize = 8;
const SEGMENT: usize = SEQUENCE + 8;
const POSITION: usize = SEGMENT + 8;
const OFFSET: usize = POSITION + 8;
const CRC: usize = OFFSET + 8;
const SLOT_LEN: usize = CRC + 4;
/// A sector: the two slots never share one.
const SLOT_SPACING: usize = 512;
/// Length of the file.
pub(crate) const MARK_FILE_LEN: usize = 4096;

/// Segments are shorter.
const SEGMENT_LEN_MAX: u64 = 1 << 31;

/// Everything below this place is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// First offset of the segment.
    pub segment: Offset,
    /// Position in the segment's file.
    pub position: u64,
    /// The offset that comes at that position.
    pub offset: Offset,
}

/// A mark and its number: the highest number is the latest.
fn encode(sequence: u64, mark: Mark) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..SEQUENCE].copy_from_slice(MAGIC);
    slot[SEQUENCE..SEGMENT].copy_from_slice(&sequence.to_le_bytes());
    slot[SEGMENT..POSITION].copy_from_slice(&mark.segment.0.to_le_bytes());
    slot[POSITION..OFFSET].copy_from_slice(&mark.position.to_le_bytes());
    slot[OFFSET..CRC].copy_from_slice(&mark.offset.0.to_le_bytes());
    let crc = crc_fast::crc32_iscsi(&slot[..CRC]);
    slot[CRC..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Mark)> {
    let slot = slot.get(..SLOT_LEN)?;
    let word = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("eight bytes"));
    let stored = u32::from_le_bytes(slot[CRC..].try_into().expect("four bytes"));
    if !slot.starts_with(MAGIC) || crc_fast::crc32_iscsi(&slot[..CRC]) != stored {
        return None;
    }
    let mark =
        Mark { segment: Offset(word(SEGMENT)), position: word(POSITION), offset: Offset(word(OFFSET)) };
    let possible = mark.segment <= mark.offset && mark.offset.0 < 1 << 63 && mark.position < SEGMENT_LEN_MAX;
    possible.then_some((word(SEQUENCE), mark))
}

/// The latest mark in a mark file's bytes.
pub(crate) fn latest(bytes: &[u8]) -> Option<(u64, Mark)> {
    let slots = [bytes, bytes.get(SLOT_SPACING..).unwrap_or_default()];
    slots.into_iter().filter_map(decode).max_by_key(|(sequence, _)| *sequence)
}

/// The file of a partition's mark.
#[derive(Debug, Clone)]
pub(crate) struct MarkFile<F> {
    pub(crate) file: F,
    sequence: u64,
    /// What was written last, or read at opening.
    pub(crate) mark: Mark,
    /// A write failed. The mark on disk stays true, it only gets old.
    given_up: bool,
}

impl<F: File> MarkFile<F> {
    /// Opens a file for marks and reads the latest; makes the file, durably, if it isn't there.
    pub(crate) fn open<D: Disk<File = F>>(disk: &mut D, dir: &str, name: &str) -> Result<Self, DiskError> {
        let (file, len) = disk.open(&format!("{dir}/{name}"), OpenHow::OpenOrCreate)?;
        if len < MARK_FILE_LEN as u64 {
            disk.run(Op::ZeroFill { file: file.clone(), at: len, len: MARK_FILE_LEN as u64 - len })?;
            disk.run(Op::Sync { file: file.clone() })?;
            disk.run(Op::SyncDir { dir: dir.to_owned() })?;
        }
        Self::read(file)
    }

    /// Reads the file's mark. Without a readable one everything counts as written since.
    fn read(file: F) -> Result<Self, DiskError> {
        let mut bytes = [0; 2 * SLOT_SPACING];
        let read = match file.read_now(0, &mut bytes, ReadHow::MayBlock)? {
            ReadNow::Read(n) => n,
            ReadNow::NotCached => unreachable!("a read that may block never says so"),
        };
        let (sequence, mark) = latest(&bytes[..read]).unwrap_or_default();
        Ok(Self { file, sequence, mark, given_up: false })
    }

    /// Writes a mark, durably, also an earlier one: before what lies behind it is cut away.
    pub(crate) fn set(&mut self, mark: Mark) -> Result<(), DiskError> {
        // Without the write the old mark would call the cut damage.
        self.given_up = false;
        self.advance(mark, WriteSync::Data)
    }

    /// Writes the mark that is there once more and syncs it: after a sync that failed it may be in the page cache alone.
    pub(crate) fn confirm(&mut self) -> Result<(), DiskError> {
        let at = (self.sequence % 2) * SLOT_SPACING as u64;
        self.file.write_now(at, &encode(self.sequence, self.mark), WriteSync::Data)
    }

    /// Writes a later mark into the slot that doesn't hold the latest one.
    pub(crate) fn advance(&mut self, mark: Mark, sync: WriteSync) -> Result<(), DiskError> {
        // Asked for a synced one, the mark that is there already may still be one that no sync covered.
        if self.given_up || (mark == self.mark && sync == WriteSync::None) {
            return Ok(());
        }
        let sequence = self.sequence + 1;
        let at = (sequence % 2) * SLOT_SPACING as u64;
        let written = self.file.write_now(at, &encode(sequence, mark), sync);
        self.given_up = written.is_err();
        if written.is_ok() {
            (self.sequence, self.mark) = (sequence, mark);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Mark = Mark { segment: Offset(0), position: 100, offset: Offset(3) };
    const NEW: Mark = Mark { segment: Offset(7), position: 900, offset: Offset(12) };

    #[test]
    fn the_latest_whole_slot_counts() {
        let mut bytes = vec![0; MARK_FILE_LEN];
        assert_eq!(latest(&bytes), None);
        bytes[512..512 + SLOT_LEN].copy_from_slice(&encode(5, OLD));
        bytes[..SLOT_LEN].copy_from_slice(&encode(6, NEW));
        assert_eq!(latest(&bytes), Some((6, NEW)));
        for at in 0..SLOT_LEN {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert_eq!(latest(&torn), Some((5, OLD)), "byte {at}");
        }
    }

    /// A slot with a right checksum and a position where no segment reaches was believed: the next append's position
    /// overflowed.
    #[test]
    fn a_position_beyond_any_segment_is_no_mark() {
        let mut bytes = vec![0; MARK_FILE_LEN];
        for (position, counts) in [(u64::MAX, false), (1 << 31, false), ((1 << 31) - 1, true)] {
            let mark = Mark { position, ..NEW };
            bytes[..SLOT_LEN].copy_from_slice(&encode(6, mark));
            assert_eq!(latest(&bytes).is_some(), counts, "{position}");
        }
    }

    #[test]
    fn the_mark_has_the_bytes_of_the_format_document() {
        let hex: String = encode(6, NEW).iter().map(|b| format!("{b:02x}")).collect();
        let document = include_str!("../../../docs/formats/log-folder.md");
        assert!(document.contains(&hex), "docs/formats/log-folder.md should show {hex}");
    }
}
