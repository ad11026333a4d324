//! Batches: several writes in one commit, in order.
//!
//! Invariant: a batch stands whole in one segment, so the first bad record that ends a segment after a crash ends the
//! batch too: what survives of it is a prefix, in every durability. (In `os` a power cut may take more recent segments
//! and leave older ones, or the other way round; it is only inside of a batch that the order holds there.)

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{CompletionQueue, DiskErrorKind, File, WriteSync};

use super::Bitcask;
use super::group_commit::{Deferred, KvDone, Reply};
use super::planted;
use super::record::At;
use super::stats::count;
use super::write::Write;
use super::writer::{Judged, Writer};
use crate::config::KvConfig;
use crate::storage::{KEY_BYTES_MAX, PutError};
use crate::version::{VectorClock, Versioned};

/// One write of a batch.
#[derive(Debug, Clone, Copy)]
pub enum BatchWrite<'a> {
    /// Puts a version, as [`Storage::put`](crate::Storage::put) does.
    Put {
        /// The key.
        key: &'a [u8],
        /// The version.
        version: &'a Versioned,
    },
    /// Removes the versions before or equal to the clock, as [`Storage::delete`](crate::Storage::delete) does.
    Delete {
        /// The key.
        key: &'a [u8],
        /// The clock.
        version: &'a VectorClock,
    },
}

/// What became of each write of a batch, in its order. `Ok`: whether it changed anything (a put always does, a delete
/// only if there was something to remove). `Err`: it alone was refused, as obsolete or as too long; the others went.
pub type BatchAnswers = Vec<Result<bool, PutError>>;

impl<'a> BatchWrite<'a> {
    /// None for a delete of a key that can't be there.
    fn prepare(&self, config: &KvConfig) -> Result<Option<Write<'a>>, PutError> {
        match *self {
            Self::Put { key, version } => Write::put(key, version, config).map(Some),
            Self::Delete { key, .. } if key.len() > KEY_BYTES_MAX => Ok(None),
            Self::Delete { key, version } => Write::delete(key, version).map(Some),
        }
    }
}

type Prepared<'a> = Vec<Result<Option<Write<'a>>, PutError>>;

/// Checks and sums what can be checked and summed outside the lock: the writes, and their bytes if none is refused.
fn prepare<'a>(writes: &[BatchWrite<'a>], config: &KvConfig) -> (Prepared<'a>, u64) {
    let writes: Prepared<'a> = writes.iter().map(|write| write.prepare(config)).collect();
    let len = writes.iter().flatten().flatten().map(|w| w.content.encoded_len() as u64).sum();
    (writes, len)
}

impl<F: File> Bitcask<F> {
    /// Writes a batch on the caller's thread, with one call of the kernel (`os` and `interval` durability).
    ///
    /// # Errors
    /// The store takes no writes, or the write failed: then none of the batch was taken, and after a failed write a
    /// prefix of it may be there when the store is opened again.
    pub fn batch_through(&self, writes: &[BatchWrite<'_>]) -> Result<BatchAnswers, PutError> {
        let (prepared, len) = prepare(writes, &self.config);
        let mut guard = self.writer();
        let writer = &mut *guard;
        writer.check()?;
        let rolled = writer.roll_if_full(len, self.config.segment_bytes);
        let start = writer.place();
        let first_sequence = writer.next_sequence;
        let mut buf = std::mem::take(&mut writer.buf);
        buf.clear();
        let mut answers = Vec::with_capacity(writes.len());
        let mut taken = Vec::with_capacity(writes.len());
        for write in prepared {
            answers.push(write.and_then(|write| {
                let Some(write) = write else { return Ok(false) };
                let removed = match writer.judge(&self.keydir, &write)? {
                    Judged::Write { removed } => removed,
                    Judged::Nothing => return Ok(false),
                    // By a write of this batch, with which it stands and falls.
                    Judged::Obsolete { refusal, .. } => return Err(refusal),
                };
                let at = At { position: start.position + buf.len() as u64, ..start };
                let sequence = first_sequence + taken.len() as u64;
                write.content.encode(at, sequence, &mut buf);
                self.overlay(writer, write.key.into(), &write, sequence);
                taken.push((write, at, sequence));
                Ok(removed || write.is_put())
            }));
        }
        let len = buf.len() as u64;
        let written = match len {
            0 => Ok(()),
            _ => writer.active.file.write_now(start.position, &buf, WriteSync::None),
        };
        writer.keep_buf(buf);
        writer.overlay.clear();
        let result = match written {
            Ok(()) => {
                for (write, at, sequence) in taken {
                    let len = write.content.encoded_len() as u64;
                    let effect = write.effect(at, sequence, len);
                    self.publish(&writer.active, write.key, effect, sequence, at, len);
                    writer.take_sequence();
                }
                writer.applied = writer.next_sequence;
                self.feeds.show(writer.applied);
                count(&self.counters.written_bytes, len);
                Ok(answers)
            }
            Err(cause) if cause.kind == DiskErrorKind::NoSpace => {
                reached("kv batch refused by a full disk");
                writer.active.set_allocated(writer.active.allocated().max(start.position + len));
                // Its first records may stand there whole, each with a true checksum.
                match writer.wipe(start.position, len) {
                    Ok(()) => Err(PutError::DiskFull { cause }),
                    Err(cause) => Err(PutError::WriteFailed { cause }),
                }
            }
            Err(cause) => {
                writer.stop(cause.clone());
                Err(PutError::WriteFailed { cause })
            }
        };
        self.note_growth(writer);
        drop(guard);
        self.feeds.ring();
        self.note_roll(rolled);
        result
    }

    /// Stages a batch (`synced` durability). One answer comes through `to` once all of it is durable, and what refused
    /// writes of it, too. Beside what became of each write, whether somebody is committing already: if not, the caller
    /// commits ([`Bitcask::commit_now`]) or wakes the one who does.
    ///
    /// # Errors
    /// The store takes no writes: then nothing was staged, and no answer comes through `to`.
    pub fn stage_batch(
        &self,
        writes: &[BatchWrite<'_>],
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<(BatchAnswers, bool), PutError> {
        let (prepared, len) = prepare(writes, &self.config);
        let mut guard = self.writer();
        let writer = &mut *guard;
        writer.check()?;
        let rolled = writer.roll_if_full(len, self.config.segment_bytes);
        writer.take_space(len)?;
        let (mut is_staged, mut until) = (false, None);
        let mut answers = Vec::with_capacity(writes.len());
        for write in prepared {
            let answer = match write {
                Ok(Some(write)) => self.stage_one(writer, &write, &mut is_staged, &mut until),
                Ok(None) => Ok(false),
                Err(refused) => Err(refused),
            };
            if let Err(cause @ PutError::WritesStopped { .. }) = answer {
                return Err(cause);
            }
            answers.push(answer);
        }
        let reply = Reply { token, removed: false, refusal: None, to: Arc::clone(to) };
        let mut at_once = planted!(self, EarlyAck);
        if is_staged && !at_once {
            // The last record carries the answer: commits become durable in order.
            let last = writer.queue.last_staged().expect("a write was staged under this lock");
            last.reply = Some(reply);
        } else if let Some(until) = until.filter(|_| !at_once) {
            writer.deferred.push(Deferred { until, reply });
        } else {
            at_once = true;
        }
        let committing = !writer.queue.can_begin();
        self.note_growth(writer);
        drop(guard);
        self.note_roll(rolled);
        if at_once {
            to.push(KvDone { token, removed: false, result: Ok(()) });
        }
        Ok((answers, committing))
    }

    fn stage_one(
        &self,
        writer: &mut Writer<F>,
        write: &Write<'_>,
        is_staged: &mut bool,
        until: &mut Option<u64>,
    ) -> Result<bool, PutError> {
        let removed = match writer.judge(&self.keydir, write)? {
            Judged::Write { removed } => removed,
            Judged::Nothing => return Ok(false),
            Judged::Obsolete { refusal, until: of_this } => {
                *until = (*until).max(Some(of_this));
                return Err(refusal);
            }
        };
        self.stage_judged(writer, write.key.into(), write, None)?;
        *is_staged = true;
        Ok(removed || write.is_put())
    }
}
