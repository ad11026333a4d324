//! `os` and `interval`: a write is handed to the kernel and published on the caller's thread, under the writer's lock.

use engine_env::marks::reached;
use engine_env::{DiskErrorKind, File, WriteSync};

use super::Bitcask;
use super::stats::count;
use super::write::Write;
use super::writer::Judged;
use crate::hash::HashedKey;
use crate::storage::{KEY_BYTES_MAX, PutError};
use crate::version::{VectorClock, Versioned};

impl<F: File> Bitcask<F> {
    /// Puts a version on the caller's thread: on return the kernel has it (`os` and `interval` durability).
    ///
    /// # Errors
    /// The version is obsolete, or the write failed.
    pub fn put_through(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        self.write_through(&Write::put(key, version, &self.config)?).map(drop)
    }

    /// Deletes on the caller's thread, like [`Bitcask::put_through`]; whether anything was removed.
    ///
    /// # Errors
    /// The write failed.
    pub fn delete_through(&self, key: &[u8], version: &VectorClock) -> Result<bool, PutError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(false);
        }
        self.write_through(&Write::delete(key, version)?)
    }

    fn write_through(&self, write: &Write<'_>) -> Result<bool, PutError> {
        let len = write.content.encoded_len() as u64;
        self.keydir.fetch(HashedKey::new(write.key));
        let mut writer = self.writer();
        writer.check()?;
        let removed = match writer.judge(&self.keydir, write)? {
            Judged::Write { removed } => removed,
            Judged::Nothing => return Ok(false),
            Judged::Obsolete { refusal, .. } => return Err(refusal),
        };
        let rolled = writer.roll_if_full(len, self.config.segment_bytes);
        let (at, sequence) = (writer.place(), writer.next_sequence);
        let mut buf = std::mem::take(&mut writer.buf);
        buf.clear();
        write.content.encode(at, sequence, &mut buf);
        let written = writer.active.file.write_now(at.position, &buf, WriteSync::None);
        writer.keep_buf(buf);
        let result = match written {
            Ok(()) => {
                writer.take_sequence();
                self.publish(&writer.active, write.key, write.effect(at, sequence, len), sequence, at, len);
                writer.applied = writer.next_sequence;
                self.feeds.show(writer.applied);
                count(&self.counters.written_bytes, len);
                Ok(removed)
            }
            Err(cause) if cause.kind == DiskErrorKind::NoSpace => {
                reached("kv write refused by a full disk");
                writer.active.set_allocated(writer.active.allocated().max(at.position + len));
                // Its first bytes may stand there, and if only zeros are missing, a longer file makes it whole.
                match writer.wipe(at.position, len) {
                    Ok(()) => Err(PutError::DiskFull { cause }),
                    Err(cause) => Err(PutError::WriteFailed { cause }),
                }
            }
            Err(cause) => {
                writer.stop(cause.clone());
                Err(PutError::WriteFailed { cause })
            }
        };
        self.note_growth(&writer);
        drop(writer);
        self.feeds.ring();
        self.note_roll(rolled);
        result
    }
}
