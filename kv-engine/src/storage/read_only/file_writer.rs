//! [`FileWriter`]: a new file, written front to back in large pieces, with its length and CRC-32.

use engine_env::{Disk, DiskError, File, OpenHow, WriteSync};

/// Bytes per write: large enough that a call costs nothing beside its copy.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct FileWriter<F> {
    file: F,
    written: u64,
    waiting: Vec<u8>,
    crc: crc32fast::Hasher,
}

impl<F: File> FileWriter<F> {
    pub(super) fn create<D: Disk<File = F>>(disk: &mut D, path: &str) -> Result<Self, DiskError> {
        let (file, _) = disk.open(path, OpenHow::CreateNew)?;
        Ok(Self { file, written: 0, waiting: Vec::new(), crc: crc32fast::Hasher::new() })
    }

    /// Bytes given so far.
    pub(super) fn len(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), DiskError> {
        self.crc.update(&self.waiting);
        self.file.write_now(self.written, &self.waiting, WriteSync::None)?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Hands over what is left. Gives the file, not synced, with its length and checksum.
    pub(super) fn finish(mut self) -> Result<(F, u64, u32), DiskError> {
        self.hand_over()?;
        Ok((self.file, self.written, self.crc.finalize()))
    }
}
