//! Appending: offsets are given here, and durability is reported here.
//!
//! With `os` and `interval` the batch is handed to the kernel at once, on the caller's thread: a hand-off to a ring
//! costs more than the write. With `synced` it is staged; whoever drives the partition begins and finishes commits.

use engine_env::marks::reached;
use engine_env::{DiskError, DiskErrorKind, File, WriteSync};

use super::leader_epochs::{Epoch, Follows};
use super::mark::Mark;
use super::partition_log::{Effects, PartitionLog, Tell, Ticket};
use super::producer_state::{Admission, SequenceError, Stamp};
use crate::config::planted;
use crate::record::batch::{Batch, BatchError};
use crate::record::builder::{EncodeError, EncodedBatch};
use crate::segment::index_builder::Indexed;
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
    /// The batch isn't its producer's next one. Nothing was appended.
    #[error("can't append to {partition}: {cause}")]
    Sequence {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        #[source]
        cause: SequenceError,
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

/// Why a leader's batches can't be appended to a follower's log.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReplicateError {
    /// What the leader sent isn't what comes next.
    #[error("{partition} can't follow its leader at offset {offset}: {cause}")]
    Batch {
        partition: TopicPartition,
        /// The offset that comes next.
        offset: Offset,
        #[source]
        cause: BatchError,
    },
    /// Terms are numbered upwards.
    #[error("{partition} can't follow its leader at offset {offset}: epoch {found} comes after epoch {last}")]
    Epoch { partition: TopicPartition, offset: Offset, found: Epoch, last: Epoch },
    #[error(transparent)]
    Append(#[from] AppendError),
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
    /// It was there already: its producer sent it again.
    pub(crate) is_repeated: bool,
}

impl<F: File> PartitionLog<F> {
    /// Gives the batch the next offsets, and writes or stages it. A batch that an idempotent producer sends again has
    /// its offsets already; whoever sends it hears of it when it is as durable as the first time.
    pub(crate) fn append(
        &mut self,
        mut batch: EncodedBatch,
        tell: Tell,
        effects: &mut Effects,
    ) -> Result<Appended, Refused> {
        self.check_takes_appends().map_err(Refused::Error)?;
        let len = batch.bytes().len() as u64;
        if let Err(error) = self.check_len(len) {
            return Err(Refused::Error(error));
        }
        let stamp = Stamp::of(&batch.view());
        if let Some(stamp) = &stamp {
            let cause = match self.producers.admit(stamp) {
                Ok(Admission::Stored { .. }) if planted!(self.config, DuplicateStored) => None,
                Ok(Admission::Stored { base, end }) => {
                    reached("log batch sent again");
                    self.tell_repeated(base, end, tell, effects);
                    return Ok(Appended { base, end, is_repeated: true });
                }
                Ok(Admission::New) => None,
                Err(cause) => Some(cause),
            };
            if let Some(cause) = cause {
                let partition = self.name.clone();
                return Err(Refused::Error(AppendError::Sequence { partition, cause }));
            }
        }
        let end = self.end.plus(u64::from(batch.records()));
        if !self.make_room(len, end) {
            return Err(self.no_room().map_or_else(|| Refused::NeedsRoom(batch, tell), Refused::Error));
        }
        let (base, position) = (self.end, self.active.position);
        let newest_ms = batch.max_timestamp_ms();
        batch.set_base_offset(base);
        if let Some(epoch) = self.epochs.led {
            batch.set_leader_epoch(epoch);
        }
        self.put(batch.bytes(), end, tell, effects).map_err(Refused::Error)?;
        if let Some(stamp) = &stamp {
            self.producers.appended(stamp, base);
        }
        self.active.index.add(Indexed {
            last_relative_offset: end.0 - 1 - self.active.base.0,
            position,
            len,
            max_timestamp_ms: newest_ms,
        });
        self.active.newest_ms = self.active.newest_ms.max(newest_ms);
        // Followers of a replicated log read on from memory, before the sync.
        if !self.config.synced() || self.replicated {
            if let Some(spare) = self.recent.push(base, end, batch.into_bytes()) {
                self.spare = spare;
            }
        } else {
            self.spare = batch.into_bytes();
        }
        Ok(Appended { base, end, is_repeated: false })
    }

    /// Tells of a batch that was appended before, once it is durable.
    fn tell_repeated(&mut self, base: Offset, end: Offset, tell: Tell, effects: &mut Effects) {
        if self.readable_end() >= end {
            effects.tell(tell, &Ok(base));
        } else {
            self.repeated.push(Ticket { segment: self.active.base, base, end, tell });
        }
    }

    /// Appends batches as a leader gave them: same offsets, same bytes. Gives how many bytes were taken; the rest needs
    /// upkeep first (room, or a new leader epoch in its checkpoint), then try again.
    pub(crate) fn append_replicated(
        &mut self,
        run: &[u8],
        effects: &mut Effects,
    ) -> Result<usize, ReplicateError> {
        let mut taken = 0;
        while taken < run.len() {
            self.check_takes_appends()?;
            let rest = &run[taken..];
            let base = self.end;
            let bad = |offset, cause| ReplicateError::Batch { partition: self.name.clone(), offset, cause };
            let first = Batch::parse(rest).map_err(|cause| bad(base, cause))?;
            first.check_next(base).map_err(|cause| bad(base, cause))?;
            self.check_len(first.len() as u64)?;
            let epoch = first.leader_epoch();
            match self.may_follow(epoch) {
                Follows::Yes => {}
                Follows::NotYet => return Ok(taken),
                Follows::Never => {
                    let last = self.epochs.before(base);
                    let (partition, offset) = (self.name.clone(), base);
                    return Err(ReplicateError::Epoch { partition, offset, found: epoch, last });
                }
            }
            if !self.make_room(first.len() as u64, first.next_offset()) {
                return self.no_room().map_or(Ok(taken), |full| Err(full.into()));
            }
            // As many of its kind as the segment takes, in one write.
            let start = self.active.position;
            let (mut len, mut end) = (first.len(), first.next_offset());
            let indexed = |batch: &Batch<'_>, position| Indexed {
                last_relative_offset: batch.last_offset().0 - self.active.base.0,
                position,
                len: batch.len() as u64,
                max_timestamp_ms: batch.max_timestamp_ms(),
            };
            let mut batches = vec![indexed(&first, start)];
            let stamped = |batch: &Batch<'_>| Stamp::of(batch).map(|stamp| (stamp, batch.base_offset()));
            let mut stamps: Vec<_> = stamped(&first).into_iter().collect();
            let mut newest_ms = first.max_timestamp_ms();
            while len < rest.len() {
                let bad =
                    |offset, cause| ReplicateError::Batch { partition: self.name.clone(), offset, cause };
                let batch = Batch::parse(&rest[len..]).map_err(|cause| bad(end, cause))?;
                batch.check_next(end).map_err(|cause| bad(end, cause))?;
                if batch.leader_epoch() != epoch
                    || !self.fits((len + batch.len()) as u64, batch.next_offset())
                {
                    break;
                }
                batches.push(indexed(&batch, start + len as u64));
                stamps.extend(stamped(&batch));
                newest_ms = newest_ms.max(batch.max_timestamp_ms());
                len += batch.len();
                end = batch.next_offset();
            }
            self.put(&rest[..len], end, Tell::Nobody, effects)?;
            self.active.newest_ms = self.active.newest_ms.max(newest_ms);
            batches.into_iter().for_each(|batch| self.active.index.add(batch));
            // The leader has looked at their order.
            stamps.iter().for_each(|(stamp, base)| self.producers.appended(stamp, *base));
            taken += len;
        }
        Ok(taken)
    }

    fn check_takes_appends(&mut self) -> Result<(), AppendError> {
        match self.failed.clone() {
            None => Ok(()),
            Some(error) => Err(self.fail(error)),
        }
    }

    fn check_len(&self, len: u64) -> Result<(), AppendError> {
        if len <= self.config.segment_bytes {
            return Ok(());
        }
        let cause = EncodeError::TooLarge { bytes: len, limit: self.config.segment_bytes };
        Err(AppendError::Encode { partition: self.name.clone(), cause })
    }

    /// Whether the active segment can grow by so many bytes, up to that offset.
    fn fits(&self, len: u64, end: Offset) -> bool {
        let position = self.active.position + len;
        position <= self.config.segment_bytes
            && end.0 - self.active.base.0 <= u64::from(u32::MAX >> 1)
            && (!self.config.synced() || position <= self.active.prepared)
    }

    /// Rolls if need be. `false`: upkeep was asked for room.
    fn make_room(&mut self, len: u64, end: Offset) -> bool {
        let full = self.active.position + len > self.config.segment_bytes
            || end.0 - self.active.base.0 > u64::from(u32::MAX >> 1);
        if full && self.active.position > 0 {
            let Some(next) = self.next.take() else {
                self.wanted.next = true;
                return false;
            };
            self.roll(next);
        }
        let position = self.active.position + len;
        if self.config.synced() && position > self.active.prepared {
            self.wanted.prepared = position;
            return false;
        }
        if self.leftover {
            // A refused append may have left a part of itself behind the end: that goes first.
            return false;
        }
        true
    }

    /// Writes or stages whole batches at the log's end, for which there is room.
    fn put(
        &mut self,
        bytes: &[u8],
        end: Offset,
        mut tell: Tell,
        effects: &mut Effects,
    ) -> Result<(), AppendError> {
        let (base, position, len) = (self.end, self.active.position, bytes.len() as u64);
        if self.config.synced() {
            if planted!(self.config, EarlyAck) {
                effects.tell(std::mem::replace(&mut tell, Tell::Nobody), &Ok(base));
            }
            let ticket = Ticket { segment: self.active.base, base, end, tell };
            self.queue
                .stage(&self.active.file, position, ticket, |buf| buf.extend_from_slice(bytes))
                .map_err(|e| self.fail(e))?;
            if planted!(self.config, MarkAhead) {
                let mark = Mark { segment: self.active.base, position: position + len, offset: end };
                let _ = self.mark.advance(mark, WriteSync::None);
            }
        } else {
            if let Err(error) = self.active.file.write_now(position, bytes, WriteSync::None) {
                if error.kind != DiskErrorKind::NoSpace {
                    return Err(self.fail(error));
                }
                reached("log append refused by a full disk");
                (self.leftover, self.no_space) = (true, Some(error));
                return Err(self.no_room().expect("it was just found to be full"));
            }
            self.no_space = None;
            self.counters.written_bytes += len;
            effects.tell(tell, &Ok(base));
            effects.progressed = true;
        }
        self.counters.appended_bytes += len;
        self.active.position += len;
        self.end = end;
        Ok(())
    }

    /// The batch has to wait for upkeep; or, while the disk is full, upkeep tries once more and the batch is refused.
    fn no_room(&mut self) -> Option<AppendError> {
        let Some(cause) = &self.no_space else {
            reached("log append waits for room");
            return None;
        };
        self.retry_space = true;
        let (partition, cause) = (self.name.clone(), Box::new(cause.clone()));
        Some(AppendError::DiskFull { partition, cause })
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
        let retried = planted!(self.config, FailedSyncRetried)
            && result.as_ref().is_err_and(|error| matches!(error.kind, DiskErrorKind::Os(_)));
        let result = if retried { Ok(()) } else { result };
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
                let repeated = self.repeated.extract_if(.., |ticket| ticket.end <= end);
                for ticket in chunk.tags.into_iter().chain(repeated) {
                    effects.tell(ticket.tell, &Ok(ticket.base));
                }
                let spare = if self.replicated {
                    Some(chunk.bytes)
                } else {
                    self.recent.push(base, end, chunk.bytes)
                };
                if let Some(spare) = spare {
                    self.queue.recycle(spare);
                }
            }
            Err((error, tickets)) => {
                reached("log commit failed");
                let error = Err(self.fail(error));
                for ticket in tickets.into_iter().chain(self.repeated.drain(..)) {
                    effects.tell(ticket.tell, &error);
                }
            }
        }
    }
}
