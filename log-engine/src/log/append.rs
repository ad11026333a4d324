//! Appending: offsets are given here, and durability is reported here.
//!
//! With `os` and `interval` the batch is handed to the kernel at once, on the caller's thread: a hand-off to a ring
//! costs more than the write. With `synced` it is staged; whoever drives the partition begins and finishes commits.

use engine_env::marks::reached;
use engine_env::{DiskError, DiskErrorKind, File, WriteSync};

use super::mark::Mark;
use super::partition_log::{Effects, PartitionLog, Tell, Ticket};
use crate::config::planted;
use crate::record::batch::{EncodeError, EncodedBatch};
use crate::{Offset, TopicPartition};

/// Why an append was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No such partition.
    #[error("there is no partition {partition}; create its topic first")]
    UnknownPartition {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// The records can't become a batch.
    #[error("can't append to {partition}: {cause}")]
    Encode {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        #[source]
        cause: EncodeError,
    },
    /// The file system is full. Nothing was appended, reads go on, and appends succeed again once there is space.
    #[error("{partition} takes no appends: the file system is full ({cause}); free some space and try again")]
    DiskFull {
        /// The partition.
        partition: TopicPartition,
        /// The operation that found out.
        #[source]
        cause: Box<DiskError>,
    },
    /// The disk failed, now or earlier. What it holds behind the last acknowledged record is unknown.
    #[error("{partition} takes no appends: {cause}. Reads go on; reopen the log to recover")]
    Failed {
        /// The partition.
        partition: TopicPartition,
        /// What failed first.
        #[source]
        cause: DiskError,
    },
    /// The log is being closed.
    #[error("{partition} takes no appends: the log is being closed")]
    Closed {
        /// The partition.
        partition: TopicPartition,
    },
}

/// Why a batch was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no prepared space, or no next segment: run upkeep, then try again.
    NeedsRoom(EncodedBatch, Tell),
    Error(AppendError),
}

/// A batch's offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
}

impl<F: File> PartitionLog<F> {
    /// Gives the batch the next offsets, and writes or stages it.
    pub(crate) fn append(
        &mut self,
        mut batch: EncodedBatch,
        tell: Tell,
        effects: &mut Effects,
    ) -> Result<Appended, Refused> {
        if let Some(error) = &self.failed {
            let error = error.clone();
            return Err(Refused::Error(self.fail(error)));
        }
        let len = batch.bytes().len() as u64;
        if len > self.config.segment_bytes {
            let cause = EncodeError::TooLarge { bytes: len, limit: self.config.segment_bytes };
            return Err(Refused::Error(AppendError::Encode { partition: self.name.clone(), cause }));
        }
        let end = self.end.plus(u64::from(batch.records()));
        let full = self.active.position + len > self.config.segment_bytes
            || end.0 - self.active.base.0 > u64::from(u32::MAX >> 1);
        if full && self.active.position > 0 {
            let Some(next) = self.next.take() else {
                self.wanted.next = true;
                return Err(self.no_room(batch, tell));
            };
            self.roll(next);
        }
        let position = self.active.position;
        if self.config.synced() && position + len > self.active.prepared {
            self.wanted.prepared = position + len;
            return Err(self.no_room(batch, tell));
        }
        if self.leftover {
            // A refused append may have left a part of itself behind the end: that goes first.
            return Err(self.no_room(batch, tell));
        }
        let base = self.end;
        batch.set_base_offset(base);
        if self.config.synced() {
            let early = planted!(self.config, EarlyAck);
            let mut tell = tell;
            if early {
                effects.tell(std::mem::replace(&mut tell, Tell::Nobody), &Ok(base));
            }
            let ticket = Ticket { segment: self.active.base, base, end, tell };
            self.queue
                .stage(&self.active.file, position, ticket, |buf| buf.extend_from_slice(batch.bytes()))
                .map_err(|e| Refused::Error(self.fail(e)))?;
            if planted!(self.config, MarkAhead) {
                let mark = Mark { segment: self.active.base, position: position + len, offset: end };
                let _ = self.mark.advance(mark, WriteSync::None);
            }
            self.spare = batch.into_bytes();
        } else {
            if let Err(error) = self.active.file.write_now(position, batch.bytes(), WriteSync::None) {
                if error.kind != DiskErrorKind::NoSpace {
                    return Err(Refused::Error(self.fail(error)));
                }
                reached("log append refused by a full disk");
                (self.leftover, self.no_space) = (true, Some(error));
                return Err(self.no_room(batch, tell));
            }
            self.no_space = None;
            self.counters.written_bytes += len;
            effects.tell(tell, &Ok(base));
            effects.progressed = true;
            if let Some(spare) = self.recent.push(base, end, batch.into_bytes()) {
                self.spare = spare;
            }
        }
        self.active.index.add(end.0 - 1 - self.active.base.0, position, len);
        self.active.position += len;
        self.end = end;
        Ok(Appended { base, end })
    }

    /// The batch has to wait for upkeep; or, while the disk is full, upkeep tries once more and the batch is refused.
    fn no_room(&mut self, batch: EncodedBatch, tell: Tell) -> Refused {
        match &self.no_space {
            None => {
                reached("log append waits for room");
                Refused::NeedsRoom(batch, tell)
            }
            Some(cause) => {
                self.retry_space = true;
                let (partition, cause) = (self.name.clone(), Box::new(cause.clone()));
                Refused::Error(AppendError::DiskFull { partition, cause })
            }
        }
    }

    /// A buffer to encode into.
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// How a commit is written.
    pub(crate) fn commit_sync(&self) -> WriteSync {
        if planted!(self.config, SyncSkipped) { WriteSync::None } else { WriteSync::Data }
    }

    /// Takes the result of a begun commit: moves the durable end, or fails everything that waits.
    pub(crate) fn finish_commit(
        &mut self,
        result: Result<(), DiskError>,
        bytes: Vec<u8>,
        effects: &mut Effects,
    ) {
        effects.progressed = true;
        match self.queue.finish(result, bytes) {
            Ok(chunk) => {
                let (Some(first), Some(last)) = (chunk.tags.first(), chunk.tags.last()) else {
                    unreachable!("a chunk has the ticket of the batch that began it")
                };
                assert!(
                    self.durable == first.base && first.base < last.end && last.end <= self.end,
                    "commits become durable in the order of their offsets"
                );
                let (base, end) = (first.base, last.end);
                self.durable = end;
                self.counters.written_bytes += chunk.bytes.len() as u64;
                self.counters.syncs += 1;
                let position = chunk.at + chunk.bytes.len() as u64;
                self.durable_place = Mark { segment: last.segment, position, offset: end };
                // A failed mark is only an old mark.
                let _ = self.mark.advance(self.durable_place, WriteSync::None);
                for ticket in chunk.tags {
                    effects.tell(ticket.tell, &Ok(ticket.base));
                }
                if let Some(spare) = self.recent.push(base, end, chunk.bytes) {
                    self.queue.recycle(spare);
                }
            }
            Err((error, tickets)) => {
                reached("log commit failed");
                let error = Err(self.fail(error));
                for ticket in tickets {
                    effects.tell(ticket.tell, &error);
                }
            }
        }
    }
}
