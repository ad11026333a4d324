//! [`HighWatermark`]: the offset below which every replica in sync holds everything. Consumers read below it.
//!
//! Invariants:
//! * It never goes back, also over a restart after a process kill: it is written into a file behind every move.
//! * That file is never flushed for its own sake. After a power cut an older value may come back; an older one is still
//!   true, and the followers' first reports bring it up again.

use engine_env::{Disk, DiskError, File, WriteSync};

use crate::Offset;
use crate::log::mark::{Mark, MarkFile};
use crate::segment::name;

/// A partition's high watermark, and its file: one like the durable-end mark's, with only its offset used.
#[derive(Debug)]
pub(crate) struct HighWatermark<F> {
    value: Offset,
    file: MarkFile<F>,
}

impl<F: File> HighWatermark<F> {
    /// Reads it back, for a log that ends at `end`.
    pub(crate) fn open<D: Disk<File = F>>(disk: &mut D, dir: &str, end: Offset) -> Result<Self, DiskError> {
        let file = MarkFile::open(disk, dir, name::HIGH_WATERMARK)?;
        // With `os`, a power cut may have taken what was below it.
        Ok(Self { value: file.mark.offset.min(end), file })
    }

    pub(crate) fn value(&self) -> Offset {
        self.value
    }

    /// Moves it up, never down. Gives whether it moved.
    pub(crate) fn advance(&mut self, to: Offset) -> bool {
        let moves = to > self.value;
        if moves {
            self.value = to;
        }
        moves
    }

    /// What was below it is gone: the log was truncated to `end`.
    pub(crate) fn truncate(&mut self, end: Offset) {
        self.value = self.value.min(end);
    }

    /// Writes it down.
    pub(crate) fn save(&mut self) {
        let mark = Mark { segment: Offset(0), position: 0, offset: self.value };
        // A mark that couldn't be written is only an old one.
        let _ = self.file.advance(mark, WriteSync::None);
    }
}
