//! [`Writer`]: what the writer's lock protects. One lock orders all writes: under it a write is judged against everything
//! before it and gets its place; then it goes [`through`](super::through) to the kernel, or is staged for a
//! [`group_commit`](super::group_commit).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::marks::reached;
use engine_env::{CommitQueue, DiskError, DiskErrorKind, File, WriteSync};

use super::Bitcask;
use super::group_commit::{Deferred, Overlay, Pending};
use super::keydir::Keydir;
use super::mark::DurableEnd;
use super::record::{At, RecordKind};
use super::segment::{HEADER_LEN, Segment};
use super::stats::count;
use super::write::{Effect, Write};
use crate::hash::{HashedKey, KeyHasher};
use crate::storage::PutError;

/// What judging a write said.
pub(super) enum Judged {
    /// Write it; `removed` is a delete's answer.
    Write { removed: bool },
    /// A delete that removes nothing, durably so: answer at once.
    Nothing,
    /// A put that only what isn't durable yet makes obsolete: refuse it when the write with this sequence is.
    Obsolete { refusal: PutError, until: u64 },
}

/// What the writer's lock protects.
#[derive(Debug)]
pub(super) struct Writer<F> {
    pub(super) active: Arc<Segment<F>>,
    /// The next segment, ready before it is needed: writers create no files.
    pub(super) prepared: Option<Arc<Segment<F>>>,
    /// Left behind by a roll, oldest first, until synced and trimmed.
    pub(super) sealed: VecDeque<Arc<Segment<F>>>,
    pub(super) next_sequence: u64,
    /// Every record with a sequence below this is published.
    pub(super) applied: u64,
    pub(super) durable: DurableEnd,
    pub(super) queue: CommitQueue<F, Pending>,
    pub(super) overlay: HashMap<Arc<[u8]>, Overlay, KeyHasher>,
    /// Answers that are true once what they rest on is durable.
    pub(super) deferred: Vec<Deferred>,
    /// Set for good by a failed write or sync.
    pub(super) stopped: Option<DiskError>,
    /// Set while there is no space for the next segment.
    pub(super) no_space: Option<DiskError>,
    /// The last attempt to prepare a segment failed: waiting for one may take long.
    pub(super) unprepared: bool,
    /// The id of the segment whose preparing failed. Its file may have got its name all the same, so nobody but it may come
    /// next: an empty segment in front of a later one would look as if its records were lost.
    pub(super) unprepared_id: Option<u32>,
    pub(super) closed: bool,
    pub(super) buf: Vec<u8>,
}

/// Space past a segment's end is taken in pieces of this size.
const GROWTH_BYTES: u64 = 16 << 10;
static ZEROS: [u8; GROWTH_BYTES as usize] = [0; GROWTH_BYTES as usize];

/// A larger buffer isn't kept between writes.
const BUF_BYTES_MAX: usize = 1 << 20;

impl<F: File> Writer<F> {
    pub(super) fn new(active: Arc<Segment<F>>, next_sequence: u64, durable: DurableEnd) -> Self {
        Self {
            active,
            prepared: None,
            sealed: VecDeque::new(),
            next_sequence,
            applied: next_sequence,
            durable,
            queue: CommitQueue::new(),
            overlay: HashMap::default(),
            deferred: Vec::new(),
            stopped: None,
            no_space: None,
            unprepared: false,
            unprepared_id: None,
            closed: false,
            buf: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), PutError> {
        if self.closed {
            return Err(PutError::Closed);
        }
        match &self.stopped {
            Some(cause) => Err(PutError::WritesStopped { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Judges a write against everything before it, durable or not.
    ///
    /// # Errors
    /// A published version makes a put obsolete.
    pub(super) fn judge(&self, keydir: &Keydir<F>, write: &Write<'_>) -> Result<Judged, PutError> {
        let clock = write.content.clock;
        let staged = if self.overlay.is_empty() { None } else { self.overlay.get(write.key) };
        match write.content.kind {
            RecordKind::Put => {
                let newer = staged.map(|overlay| (overlay.versions.newer_than(clock), overlay.last_sequence));
                if let Some((None, _)) = newer {
                    return Ok(Judged::Write { removed: false });
                }
                let refusal = |stored| PutError::ObsoleteVersion { given: clock.clone(), stored };
                let key = HashedKey::new(write.key);
                if let Some(stored) = keydir.read(key).newer_than(key, clock) {
                    return Err(refusal(stored));
                }
                Ok(match newer {
                    Some((Some(stored), until)) => {
                        Judged::Obsolete { refusal: refusal(stored.clone()), until }
                    }
                    _ => Judged::Write { removed: false },
                })
            }
            RecordKind::Tombstone => match staged {
                // Even if nothing is left to remove, the removal that left nothing isn't durable yet: this one's
                // record makes the answer wait for it.
                Some(overlay) => Ok(Judged::Write { removed: overlay.versions.has_not_after(clock) }),
                None => {
                    let key = HashedKey::new(write.key);
                    let removes = keydir.read(key).has_not_after(key, clock);
                    Ok(if removes { Judged::Write { removed: true } } else { Judged::Nothing })
                }
            },
        }
    }

    /// Moves on to the prepared segment if a record of `len` bytes doesn't fit any more. Without a prepared one the
    /// active segment grows: a writer never waits for a file to be created.
    pub(super) fn roll_if_full(&mut self, len: u64, segment_bytes: u64) -> bool {
        let end = self.active.end();
        if end + len <= segment_bytes || end == HEADER_LEN as u64 {
            return false;
        }
        let Some(next) = self.prepared.take() else {
            reached("kv roll without a prepared segment");
            return false;
        };
        reached("kv roll");
        self.sealed.push_back(std::mem::replace(&mut self.active, next));
        true
    }

    /// Whether writers have outrun maintenance, which is at work.
    fn is_overgrown(&self, segment_bytes: u64) -> bool {
        self.prepared.is_none()
            && !self.unprepared
            && self.stopped.is_none()
            && self.active.end() > 2 * segment_bytes
    }

    /// Keeps a buffer for the next write.
    pub(super) fn keep_buf(&mut self, buf: Vec<u8>) {
        if buf.capacity() <= BUF_BYTES_MAX {
            self.buf = buf;
        }
    }

    /// Makes sure that a commit of `len` more bytes finds its space (`synced` durability). A synced write that finds the
    /// disk full poisons the segment and ends all writing; zeros without a sync only tell that it is full. While
    /// maintenance has no space for the next segment either, it isn't tried.
    pub(super) fn take_space(&mut self, len: u64) -> Result<(), PutError> {
        let (from, to) = (self.active.allocated(), self.active.end() + len);
        if to <= from {
            return Ok(());
        }
        if let Some(cause) = &self.no_space {
            return Err(PutError::DiskFull { cause: cause.clone() });
        }
        reached("kv segment grown past its space");
        let to = to.next_multiple_of(GROWTH_BYTES);
        let mut at = from;
        while at < to {
            let piece = &ZEROS[..usize::try_from((to - at).min(GROWTH_BYTES)).expect("at most a piece")];
            match self.active.file.write_now(at, piece, WriteSync::None) {
                Ok(()) => at += piece.len() as u64,
                Err(cause) if cause.kind == DiskErrorKind::NoSpace => {
                    reached("kv growth refused by a full disk");
                    return Err(PutError::DiskFull { cause });
                }
                Err(cause) => {
                    self.stop(cause.clone());
                    return Err(PutError::WriteFailed { cause });
                }
            }
            self.active.set_allocated(at);
        }
        Ok(())
    }

    /// Puts zeros, durably, over what a refused write left behind the end: the next record may be shorter, and a crash
    /// would find whole records behind it. It overwrites, so it needs no space; where it fails, the store stops.
    pub(super) fn wipe(&mut self, from: u64, len: u64) -> Result<(), DiskError> {
        let file = &self.active.file;
        let wiped = file.len().and_then(|there| {
            let to = there.min(from + len);
            let mut at = from;
            while at < to {
                let piece = &ZEROS[..usize::try_from((to - at).min(GROWTH_BYTES)).expect("at most a piece")];
                file.write_now(at, piece, WriteSync::Data)?;
                at += piece.len() as u64;
            }
            Ok(())
        });
        wiped.inspect_err(|cause| self.stop(cause.clone()))
    }

    /// Where the next record goes.
    pub(super) fn place(&self) -> At {
        At { segment: self.active.id, position: self.active.end() }
    }

    pub(super) fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    /// What may be noted as durable. Never in a segment before the oldest unfinished one: those may be merged and
    /// gone. Never past that one while it is unfinished: a refused write may have left bytes behind its end.
    pub(super) fn end_to_note(&self) -> DurableEnd {
        let oldest = self.sealed.front().unwrap_or(&self.active);
        let from = DurableEnd { segment: oldest.id, position: HEADER_LEN as u64 };
        let to = DurableEnd { segment: oldest.id, position: oldest.end() };
        self.durable.clamp(from, to)
    }

    /// Ends all writing.
    pub(super) fn stop(&mut self, cause: DiskError) {
        self.stopped.get_or_insert(cause);
    }
}

impl<F: File> Bitcask<F> {
    pub(super) fn note_growth(&self, writer: &Writer<F>) {
        if writer.is_overgrown(self.config.segment_bytes) {
            self.overgrown.store(true, Ordering::Release);
        }
    }

    /// Makes a written record visible and moves the segment's end past it.
    pub(super) fn publish(
        &self,
        segment: &Segment<F>,
        key: &[u8],
        effect: Effect,
        sequence: u64,
        at: At,
        len: u64,
    ) {
        if segment.end() < at.position + len {
            segment.set_end(at.position + len);
        }
        segment.note_sequence(sequence);
        let key = HashedKey::new(key);
        let mut shard = self.keydir.write(key);
        match effect {
            Effect::Put(place) => {
                segment.count_put(len, true);
                segment.note_timestamp(place.clock.timestamp_ms());
                shard.put(key, place);
            }
            Effect::Delete(version) => {
                segment.count_tombstone(len, sequence);
                let freed = shard.delete(key, &version);
                drop(shard);
                // Deletes make much garbage with few records: the next roll may be far.
                let so_far = self.freed_by_deletes.fetch_add(freed, Ordering::Relaxed) + freed;
                if so_far >= self.config.segment_bytes / 2 {
                    self.freed_by_deletes.store(0, Ordering::Relaxed);
                    self.ring_maintenance();
                }
            }
        }
    }

    /// After the writer's lock: the next segment is to be prepared.
    pub(super) fn note_roll(&self, rolled: bool) {
        if rolled {
            count(&self.counters.rolls, 1);
            self.ring_maintenance();
        }
    }

    pub(super) fn ring_maintenance(&self) {
        if let Some(bell) = self.maintenance_bell.get() {
            bell.wake();
        }
    }

    /// Why the store takes no more writes, if it doesn't.
    #[must_use]
    pub fn stopped(&self) -> Option<DiskError> {
        self.writer().stopped.clone()
    }
}
