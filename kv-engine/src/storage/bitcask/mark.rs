//! The durable-end mark: a small file that says up to where the records are known to be on the disk.
//!
//! It is written after each commit without a sync of its own. A lost mark is only an older one, and an older one is
//! still true. At or past the mark the first bad record ends the active segment; below it, it is damage. The mark
//! on the disk may be older than the last commits, so rot between it and the end can't be told from a torn tail.
//!
//! Two slots of one sector each are written by turns, so that one whole slot survives any torn write.
//! Documented in docs/formats/kv-mark.md.

use engine_env::{Disk, DiskError, File, Op, OpenHow, WriteSync};

use super::segment::HEADER_LEN;

const NAME: &str = "mark";
const SLOT_BYTES: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_BYTES;

const MAGIC: [u8; 8] = *b"kv-mark\n";
const VERSION: u32 = 1;
const VERSION_AT: usize = MAGIC.len();
const SEGMENT_AT: usize = VERSION_AT + 4;
const GENERATION_AT: usize = SEGMENT_AT + 4;
const POSITION_AT: usize = GENERATION_AT + 8;
const CRC_AT: usize = POSITION_AT + 8;
const SLOT_LEN: usize = CRC_AT + 4;
const _: () = assert!(SLOT_LEN == 36 && SLOT_LEN <= SLOT_BYTES);

/// Every record before this end, in written segments up to this one, is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DurableEnd {
    pub(super) segment: u32,
    pub(super) position: u64,
}

impl DurableEnd {
    /// Nothing is known to be durable.
    pub(super) const NONE: Self = Self { segment: 0, position: HEADER_LEN as u64 };
}

fn encode(end: DurableEnd, generation: u64) -> [u8; SLOT_LEN] {
    let mut bytes = [0; SLOT_LEN];
    bytes[..VERSION_AT].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..SEGMENT_AT].copy_from_slice(&VERSION.to_le_bytes());
    bytes[SEGMENT_AT..GENERATION_AT].copy_from_slice(&end.segment.to_le_bytes());
    bytes[GENERATION_AT..POSITION_AT].copy_from_slice(&generation.to_le_bytes());
    bytes[POSITION_AT..CRC_AT].copy_from_slice(&end.position.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(DurableEnd, u64)> {
    let bytes = bytes.first_chunk::<SLOT_LEN>()?;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let whole = bytes[..VERSION_AT] == MAGIC
        && u32_at(VERSION_AT) == VERSION
        && u32_at(CRC_AT) == crc32fast::hash(&bytes[..CRC_AT]);
    whole.then(|| {
        (DurableEnd { segment: u32_at(SEGMENT_AT), position: u64_at(POSITION_AT) }, u64_at(GENERATION_AT))
    })
}

/// The newer of the two slots; none if neither is whole.
fn newest(bytes: &[u8]) -> Option<(DurableEnd, u64)> {
    bytes.chunks(SLOT_BYTES).filter_map(decode).max_by_key(|(_, generation)| *generation)
}

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A mark.
    Mark(DurableEnd),
    /// Never written.
    Fresh,
    /// Written, and neither slot is whole.
    Damaged,
}

/// The mark's open file.
#[derive(Debug)]
pub(super) struct MarkFile<F> {
    file: F,
    generation: u64,
    last: DurableEnd,
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
        let (found, generation) = match newest(&bytes) {
            Some((end, generation)) => (Found::Mark(end), generation),
            None if bytes.iter().all(|b| *b == 0) => (Found::Fresh, 0),
            None => (Found::Damaged, 0),
        };
        Ok((Self { file, generation, last: DurableEnd::NONE }, found))
    }

    /// Notes a later durable end, without a sync. A failure is of no consequence: the old mark is still true.
    pub(super) fn note(&mut self, end: DurableEnd) {
        if end <= self.last {
            return;
        }
        self.last = end;
        self.generation += 1;
        let slot = (self.generation % 2) * SLOT_BYTES as u64;
        let _ = self.file.write_now(slot, &encode(end, self.generation), WriteSync::None);
    }

    /// Notes an end and makes it durable.
    pub(super) fn note_synced<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        end: DurableEnd,
    ) -> Result<(), DiskError> {
        self.last = end;
        self.generation += 1;
        let at = (self.generation % 2) * SLOT_BYTES as u64;
        let buf = encode(end, self.generation).to_vec();
        disk.run(Op::Write { file: self.file.clone(), at, buf, sync: WriteSync::None })?;
        disk.run(Op::Sync { file: self.file.clone() }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_newer_whole_slot_counts() {
        let mut file = vec![0; FILE_BYTES];
        assert_eq!(newest(&file), None);
        let (old, new) = (DurableEnd { segment: 1, position: 50 }, DurableEnd { segment: 2, position: 40 });
        file[..SLOT_LEN].copy_from_slice(&encode(new, 8));
        file[SLOT_BYTES..SLOT_BYTES + SLOT_LEN].copy_from_slice(&encode(old, 7));
        assert_eq!(newest(&file), Some((new, 8)));
        file[20] ^= 1;
        assert_eq!(newest(&file), Some((old, 7)));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
            let _ = newest(&bytes);
        }
    }
}
