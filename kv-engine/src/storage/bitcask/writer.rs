//! Writing: judging, appending, publishing, in `os` durability at once, in `synced` by group commit.
//!
//! One lock orders all writes. `os`: under it the record is handed to the kernel and published. `synced`: under it
//! the record is staged; a commit writes what is staged, and publishes and answers it once it is durable.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::marks::reached;
use engine_env::{
    CommitQueue, CompletionQueue, DiskError, DiskErrorKind, Done, File, Machine, Op, OpId, Outcome, WriteSync,
};

use super::Bitcask;
use super::entry::Place;
use super::keydir::Keydir;
use super::mark::DurableEnd;
use super::planted;
use super::record::{At, Content, RecordKind, value_crc};
use super::segment::{HEADER_LEN, Segment};
use super::stats::count;
use crate::config::KvConfig;
use crate::hash::{HashedKey, KeyHasher};
use crate::storage::{KEY_BYTES_MAX, PutError};
use crate::version::{ENTRIES_LIMIT, Siblings, VectorClock, Versioned};

/// The answer to a write that was staged.
#[derive(Debug, Clone)]
pub struct KvDone {
    /// The token that was given with the write.
    pub token: u64,
    /// For a delete: whether it removed something.
    pub removed: bool,
    /// Durable, or why not.
    pub result: Result<(), PutError>,
}

/// Whom to tell when a write is durable.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) token: u64,
    pub(super) removed: bool,
    pub(super) to: Arc<CompletionQueue<KvDone>>,
}

/// What a record does to the key directory.
#[derive(Debug)]
pub(super) enum Effect {
    Put(Place),
    Delete(VectorClock),
}

/// A staged write.
#[derive(Debug)]
pub(super) struct Pending {
    key: Arc<[u8]>,
    effect: Effect,
    at: At,
    len: u64,
    sequence: u64,
    /// None if nobody is to be told any more.
    pub(super) reply: Option<Reply>,
}

/// The versions of a key as they will be when everything staged is durable.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    versions: Siblings<VectorClock>,
    outstanding: usize,
}

/// A put or a delete on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) key: &'a [u8],
    pub(super) content: Content<'a>,
}

impl<'a> Write<'a> {
    pub(super) fn put(key: &'a [u8], version: &'a Versioned, config: &KvConfig) -> Result<Self, PutError> {
        let (len, max) = (key.len(), config.key_bytes_max);
        if len > max {
            return Err(PutError::KeyTooLong { len, max });
        }
        let (len, max) = (version.value.len(), config.value_bytes_max);
        if len > max {
            return Err(PutError::ValueTooLong { len, max });
        }
        check_clock(&version.clock)?;
        let value = version.value.as_slice();
        let content =
            Content { kind: RecordKind::Put, key, clock: &version.clock, value, value_crc: value_crc(value) };
        Ok(Self { key, content })
    }

    pub(super) fn delete(key: &'a [u8], version: &'a VectorClock) -> Result<Self, PutError> {
        check_clock(version)?;
        let content = Content {
            kind: RecordKind::Tombstone,
            key,
            clock: version,
            value: &[],
            value_crc: value_crc(&[]),
        };
        Ok(Self { key, content })
    }

    pub(super) fn is_put(&self) -> bool {
        self.content.kind == RecordKind::Put
    }

    pub(super) fn effect(&self, at: At, sequence: u64, len: u64) -> Effect {
        let clock = self.content.clock.clone();
        match self.content.kind {
            RecordKind::Tombstone => Effect::Delete(clock),
            RecordKind::Put => Effect::Put(Place {
                clock,
                sequence,
                position: at.position,
                segment: at.segment,
                len: u32::try_from(len).expect("key, clock and value are below 4 GiB together"),
            }),
        }
    }
}

/// A record is only written with a clock that can be read back.
fn check_clock(clock: &VectorClock) -> Result<(), PutError> {
    let entries = clock.entries().len();
    if entries > ENTRIES_LIMIT { Err(PutError::ClockTooLong { entries }) } else { Ok(()) }
}

/// What judging a write said.
pub(super) enum Judged {
    /// Write it; `removed` is a delete's answer.
    Write { removed: bool },
    /// A delete that removes nothing, durably so: answer at once.
    Nothing,
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
    pub(super) fn judge(&self, keydir: &Keydir<F>, write: &Write<'_>) -> Result<Judged, PutError> {
        let clock = write.content.clock;
        let staged = if self.overlay.is_empty() { None } else { self.overlay.get(write.key) };
        match write.content.kind {
            RecordKind::Put => {
                let stored = match staged {
                    Some(overlay) => overlay.versions.newer_than(clock).cloned(),
                    None => {
                        let key = HashedKey::new(write.key);
                        keydir.read(key).newer_than(key, clock)
                    }
                };
                match stored {
                    Some(stored) => Err(PutError::ObsoleteVersion { given: clock.clone(), stored }),
                    None => Ok(Judged::Write { removed: false }),
                }
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
    /// Whether a put may be made at all, whatever is stored.
    ///
    /// # Errors
    /// Its key, value or clock is too long.
    pub fn check_put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        Write::put(key, version, &self.config).map(drop)
    }

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
        let mut writer = self.writer();
        writer.check()?;
        let Judged::Write { removed } = writer.judge(&self.keydir, write)? else { return Ok(false) };
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

    /// Stages a put (`synced` durability). The answer comes through `to` once it is durable. Whether somebody is
    /// committing already: if not, the caller commits ([`Bitcask::commit_now`]) or wakes the one who does.
    ///
    /// # Errors
    /// The version is obsolete, or the store takes no writes: then no answer comes through `to`.
    pub fn stage_put(
        &self,
        key: &[u8],
        version: &Versioned,
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<bool, PutError> {
        self.stage(&Write::put(key, version, &self.config)?, token, to)
    }

    /// Stages a delete, like [`Bitcask::stage_put`].
    ///
    /// # Errors
    /// The store takes no writes: then no answer comes through `to`.
    pub fn stage_delete(
        &self,
        key: &[u8],
        version: &VectorClock,
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<bool, PutError> {
        if key.len() > KEY_BYTES_MAX {
            to.push(KvDone { token, removed: false, result: Ok(()) });
            return Ok(true);
        }
        self.stage(&Write::delete(key, version)?, token, to)
    }

    fn stage(
        &self,
        write: &Write<'_>,
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<bool, PutError> {
        let len = write.content.encoded_len() as u64;
        let key: Arc<[u8]> = write.key.into();
        let mut guard = self.writer();
        let writer = &mut *guard;
        writer.check()?;
        let Judged::Write { removed } = writer.judge(&self.keydir, write)? else {
            drop(guard);
            to.push(KvDone { token, removed: false, result: Ok(()) });
            return Ok(true);
        };
        if planted!(self, DeleteUnlogged) && write.content.kind == RecordKind::Tombstone {
            let key = HashedKey::new(write.key);
            self.keydir.write(key).delete(key, write.content.clock);
            to.push(KvDone { token, removed, result: Ok(()) });
            return Ok(true);
        }
        let rolled = writer.roll_if_full(len, self.config.segment_bytes);
        writer.take_space(len)?;
        let mut reply = Some(Reply { token, removed, to: Arc::clone(to) });
        if planted!(self, EarlyAck) {
            reply = None;
            to.push(KvDone { token, removed, result: Ok(()) });
        }
        self.stage_judged(writer, key, write, reply)?;
        let committing = !writer.queue.can_begin();
        self.note_growth(writer);
        drop(guard);
        self.note_roll(rolled);
        Ok(committing)
    }

    /// Stages a write for which there is room, and lets what comes after it be judged against it.
    pub(super) fn stage_judged(
        &self,
        writer: &mut Writer<F>,
        key: Arc<[u8]>,
        write: &Write<'_>,
        reply: Option<Reply>,
    ) -> Result<(), PutError> {
        let len = write.content.encoded_len() as u64;
        let at = writer.place();
        let sequence = writer.take_sequence();
        let effect = write.effect(at, sequence, len);
        let pending = Pending { key: Arc::clone(&key), effect, at, len, sequence, reply };
        let active = Arc::clone(&writer.active);
        writer
            .queue
            .stage(&active.file, at.position, pending, |buf| write.content.encode(at, sequence, buf))
            .map_err(|cause| PutError::WritesStopped { cause })?;
        active.set_end(at.position + len);
        if planted!(self, MarkAhead) {
            self.mark().note(DurableEnd { segment: at.segment, position: at.position + len });
        }
        self.overlay(writer, key, write);
        Ok(())
    }

    /// Lets later writes of the key be judged against one that isn't published yet.
    pub(super) fn overlay(&self, writer: &mut Writer<F>, key: Arc<[u8]>, write: &Write<'_>) {
        let overlay = writer.overlay.entry(key).or_insert_with(|| Overlay {
            versions: self.get_versions(write.key).into_iter().collect(),
            outstanding: 0,
        });
        overlay.outstanding += 1;
        let clock = write.content.clock;
        match write.content.kind {
            RecordKind::Put => {
                overlay.versions.put(clock.clone(), drop).expect("it was judged under this lock");
            }
            RecordKind::Tombstone => {
                overlay.versions.delete(clock, drop);
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

    /// Writes out what is staged, on the caller's thread, unless somebody is at it already; whether it did.
    pub fn commit_now(&self) -> bool {
        let Some((file, at, bytes)) = self.writer().queue.begin() else { return false };
        let result = file.write_now(at, &bytes, self.commit_sync());
        self.complete(result, bytes);
        true
    }

    /// [`Bitcask::commit_now`] for a writer that has nobody to share the commit with; else it is left to the committer,
    /// who is to be told. Whether it did.
    pub fn commit_if_alone(&self) -> bool {
        let mut writer = self.writer();
        let begun = if writer.queue.is_lone() { writer.queue.begin() } else { None };
        drop(writer);
        let Some((file, at, bytes)) = begun else { return false };
        let result = file.write_now(at, &bytes, self.commit_sync());
        self.complete(result, bytes);
        true
    }

    fn commit_sync(&self) -> WriteSync {
        if planted!(self, SyncSkipped) { WriteSync::None } else { WriteSync::Data }
    }

    /// Takes the result of a commit's write: publishes, then answers.
    fn complete(&self, result: Result<(), DiskError>, bytes: Vec<u8>) {
        let retried = planted!(self, FailedSyncRetried)
            && result.as_ref().is_err_and(|error| matches!(error.kind, DiskErrorKind::Os(_)));
        let result = if retried { Ok(()) } else { result };
        let mut guard = self.writer();
        let writer = &mut *guard;
        let written = bytes.len() as u64;
        let (tags, result) = match writer.queue.finish(result, bytes) {
            Ok(chunk) => {
                writer.queue.recycle(chunk.bytes);
                (chunk.tags, Ok(()))
            }
            Err((cause, tags)) => {
                reached("kv commit failed");
                writer.stop(cause.clone());
                writer.overlay.clear();
                (tags, Err(PutError::WriteFailed { cause }))
            }
        };
        let writes = tags.len() as u64;
        let mut replies = Vec::with_capacity(tags.len());
        let mut durable = None;
        for tag in tags {
            if result.is_ok() {
                durable = Some(DurableEnd { segment: tag.at.segment, position: tag.at.position + tag.len });
                self.settle(writer, tag.key, tag.effect, tag.sequence, tag.at, tag.len);
            }
            replies.extend(tag.reply);
        }
        if let Some(durable) = durable {
            writer.durable = durable;
            self.feeds.show(writer.applied);
            count(&self.counters.commits, 1);
            count(&self.counters.committed_writes, writes);
            count(&self.counters.syncs, 1);
            count(&self.counters.written_bytes, written);
        }
        let more = writer.queue.can_begin();
        let sealed = writer.sealed.front().is_some_and(|s| s.id < writer.durable.segment);
        let noted = durable.map(|_| writer.end_to_note());
        drop(guard);
        answer(replies, &result);
        self.feeds.ring();
        if let Some(noted) = noted {
            self.mark().note(noted);
        }
        if more && let Some(bell) = self.commit_bell.get() {
            bell.wake();
        }
        if sealed {
            self.ring_maintenance();
        }
    }

    /// Publishes a durable write and takes it off the overlay.
    fn settle(
        &self,
        writer: &mut Writer<F>,
        key: Arc<[u8]>,
        effect: Effect,
        sequence: u64,
        at: At,
        len: u64,
    ) {
        let segment = if writer.active.id == at.segment {
            &writer.active
        } else {
            let sealed = writer.sealed.iter().find(|s| s.id == at.segment);
            sealed.expect("a segment stays sealed here until everything staged for it is durable")
        };
        self.publish(segment, &key, effect, sequence, at, len);
        writer.applied = sequence + 1;
        if let Some(overlay) = writer.overlay.get_mut(&key) {
            overlay.outstanding -= 1;
            if overlay.outstanding == 0 {
                writer.overlay.remove(&key);
            }
        }
    }

    /// Why the store takes no more writes, if it doesn't.
    #[must_use]
    pub fn stopped(&self) -> Option<DiskError> {
        self.writer().stopped.clone()
    }

    /// What a periodic sync should sync next (`interval` durability); none if everything is.
    #[must_use]
    pub fn sync_target(&self) -> Option<SyncTarget<F>> {
        // In `synced` commits see to it, and what isn't durable yet is only staged: no sync would make it so.
        let writer = self.writer();
        if self.config.zero_fills() || writer.stopped.is_some() {
            return None;
        }
        writer.sealed.iter().chain(std::iter::once(&writer.active)).find_map(|segment| {
            let end = DurableEnd { segment: segment.id, position: segment.end() };
            let is_last = segment.id == writer.active.id;
            (end > writer.durable).then(|| SyncTarget { file: segment.file.clone(), end, is_last })
        })
    }

    /// Takes the result of syncing what [`Bitcask::sync_target`] gave. A failure ends all writing.
    pub fn sync_done(&self, target: &SyncTarget<F>, result: Result<(), DiskError>) {
        let mut writer = self.writer();
        if let Err(cause) = result {
            writer.stop(cause);
            return;
        }
        // The kernel tells of a lost page once: another sync of the file may have been told, and this one wasn't.
        if writer.stopped.is_some() {
            return;
        }
        count(&self.counters.syncs, 1);
        writer.durable = writer.durable.max(target.end);
        let end = writer.end_to_note();
        drop(writer);
        self.mark().note(end);
    }

    pub(super) fn ring_maintenance(&self) {
        if let Some(bell) = self.maintenance_bell.get() {
            bell.wake();
        }
    }
}

/// A file to sync, and what is durable afterwards.
#[derive(Debug, Clone)]
pub struct SyncTarget<F> {
    /// The file.
    pub file: F,
    /// With it, everything that was written when it was asked for is durable; else there is more to sync.
    pub is_last: bool,
    end: DurableEnd,
}

/// Tells everybody, one wake for each run of replies to the same queue.
fn answer(replies: Vec<Reply>, result: &Result<(), PutError>) {
    let mut replies = replies.into_iter().peekable();
    while let Some(first) = replies.next() {
        let to = Arc::clone(&first.to);
        let done =
            |reply: Reply| KvDone { token: reply.token, removed: reply.removed, result: result.clone() };
        let group = std::iter::once(first)
            .chain(std::iter::from_fn(|| replies.next_if(|next| Arc::ptr_eq(&next.to, &to))));
        to.push_all(group.map(done));
    }
}

impl<F: File> Machine<F> for Bitcask<F> {
    fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>)) {
        let begun = self.writer().queue.begin();
        if let Some((file, at, buf)) = begun {
            submit(OpId(0), Op::Write { file, at, buf, sync: self.commit_sync() });
        }
    }

    fn on_done(&self, done: Done<F>) {
        let result = done.result.map(|outcome| debug_assert!(matches!(outcome, Outcome::Finished)));
        self.complete(result, done.buf.unwrap_or_default());
    }

    fn next_deadline(&self) -> Option<std::time::Duration> {
        None
    }
}
