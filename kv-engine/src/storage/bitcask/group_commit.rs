//! `synced`: group commit. Writes are staged under the writer's lock; one commit at a time writes out what is staged, with
//! a sync, and publishes and answers it once it is durable. What waits meanwhile forms the next one.
//!
//! Invariant: as long as something is staged, somebody is committing, or was told to: the one who staged first, who
//! commits itself or wakes the committer, or whoever ends a commit and finds more.

use std::sync::Arc;

use engine_env::marks::reached;
use engine_env::{
    CompletionQueue, DiskError, DiskErrorKind, Done, File, Machine, Op, OpId, Outcome, WriteSync,
};

use super::Bitcask;
use super::mark::DurableEnd;
use super::planted;
use super::record::{At, RecordKind};
use super::stats::count;
use super::write::{Effect, Write};
use super::writer::{Judged, Writer};
use crate::hash::HashedKey;
use crate::storage::{KEY_BYTES_MAX, PutError};
use crate::version::{Siblings, VectorClock, Versioned};

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
    pub(super) versions: Siblings<VectorClock>,
    outstanding: usize,
}

impl<F: File> Bitcask<F> {
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
