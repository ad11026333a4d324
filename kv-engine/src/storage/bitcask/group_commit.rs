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
    /// Why it wasn't written, if what it rests on becomes durable.
    pub(super) refusal: Option<PutError>,
    pub(super) to: Arc<CompletionQueue<KvDone>>,
}

/// The answer to something that has staged nothing, but was judged against what is staged.
#[derive(Debug)]
pub(super) struct Deferred {
    /// The sequence of the last write that it rests on.
    pub(super) until: u64,
    pub(super) reply: Reply,
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
    /// Of the write of the key that was staged last.
    pub(super) last_sequence: u64,
    outstanding: usize,
}

impl<F: File> Bitcask<F> {
    /// Stages a put (`synced` durability). The answer comes through `to` once it is durable, also that it is obsolete if
    /// what makes it so isn't durable yet. Whether somebody is committing already: if not, the caller commits
    /// ([`Bitcask::commit_now`]) or wakes the one who does.
    ///
    /// # Errors
    /// A durable version makes it obsolete, or the store takes no writes: then no answer comes through `to`.
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
        let removed = match writer.judge(&self.keydir, write)? {
            Judged::Write { removed } => removed,
            Judged::Nothing => {
                drop(guard);
                to.push(KvDone { token, removed: false, result: Ok(()) });
                return Ok(true);
            }
            Judged::Obsolete { refusal, until } => {
                // Somebody may count the refusal as a copy.
                let reply = Reply { token, removed: false, refusal: Some(refusal), to: Arc::clone(to) };
                writer.deferred.push(Deferred { until, reply });
                return Ok(!writer.queue.can_begin());
            }
        };
        if planted!(self, DeleteUnlogged) && write.content.kind == RecordKind::Tombstone {
            let key = HashedKey::new(write.key);
            self.keydir.write(key).delete(key, write.content.clock);
            to.push(KvDone { token, removed, result: Ok(()) });
            return Ok(true);
        }
        let rolled = writer.roll_if_full(len, self.config.segment_bytes);
        writer.take_space(len)?;
        let mut reply = Some(Reply { token, removed, refusal: None, to: Arc::clone(to) });
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
        self.overlay(writer, key, write, sequence);
        Ok(())
    }

    /// Lets later writes of the key be judged against one that isn't published yet.
    pub(super) fn overlay(&self, writer: &mut Writer<F>, key: Arc<[u8]>, write: &Write<'_>, sequence: u64) {
        let overlay = writer.overlay.entry(key).or_insert_with(|| Overlay {
            versions: self.get_versions(write.key).into_iter().collect(),
            last_sequence: sequence,
            outstanding: 0,
        });
        overlay.last_sequence = sequence;
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
        let settled = if result.is_ok() { writer.applied } else { u64::MAX };
        let deferred = writer.deferred.extract_if(.., |deferred| deferred.until < settled);
        replies.extend(deferred.map(|deferred| deferred.reply));
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
        let done = |Reply { token, removed, refusal, .. }: Reply| {
            let result = result.clone().and(refusal.map_or(Ok(()), Err));
            KvDone { token, removed, result }
        };
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

#[cfg(test)]
mod tests {
    use engine_env::rng::Seed;
    use engine_env::sim::{Fault, SimFile, SimHome};
    use engine_env::{Durability, Home, Wait};

    use super::super::BatchWrite;
    use super::*;
    use crate::config::KvConfig;

    /// A store whose commits are made by hand.
    struct Stepped {
        home: SimHome,
        core: Bitcask<SimFile>,
        answers: Arc<CompletionQueue<KvDone>>,
    }

    impl Stepped {
        fn new() -> Self {
            let home = SimHome::new(Seed(1));
            let mut disk = home.disk().expect("a healthy machine");
            let config = KvConfig {
                durability: Durability::Synced,
                segment_bytes: 4096,
                shards: 1,
                ..KvConfig::default()
            };
            let (core, _) = Bitcask::open(&mut disk, config).expect("an empty folder");
            Self { home, core, answers: Arc::default() }
        }

        fn put(&self, key: &[u8], clock: &str, token: u64) -> Result<bool, PutError> {
            self.core.stage_put(key, &version(clock), token, &self.answers)
        }

        /// Begins a commit as the committer does; what it returns ends it.
        fn begin(&self) -> impl FnOnce() + use<'_> {
            let (file, at, bytes) = self.core.writer().queue.begin().expect("something is staged");
            move || {
                let result = file.write_now(at, &bytes, WriteSync::Data);
                self.core.complete(result, bytes);
            }
        }

        fn answers(&self) -> Vec<(u64, &'static str)> {
            let mut done = Vec::new();
            self.answers.drain(Wait::No, &mut done);
            let told = |done: KvDone| match done.result {
                Ok(()) => (done.token, "done"),
                Err(PutError::ObsoleteVersion { .. }) => (done.token, "obsolete"),
                Err(PutError::WriteFailed { .. }) => (done.token, "failed"),
                Err(other) => panic!("{other}"),
            };
            done.into_iter().map(told).collect()
        }
    }

    fn version(clock: &str) -> Versioned {
        Versioned::new(clock.parse().expect("a clock"), b"v")
    }

    /// A put was refused as obsolete by a version that was only staged. Whoever counts such a refusal as a copy counted one
    /// that a power cut could still take.
    #[test]
    fn a_put_that_a_staged_version_makes_obsolete_is_refused_once_that_one_is_durable() {
        let store = Stepped::new();
        store.put(b"k", "0:2", 1).expect("fresh");
        for (clock, token) in [("0:1", 2), ("0:2", 3)] {
            store.put(b"k", clock, token).expect("whether it is obsolete isn't known yet");
        }
        assert_eq!(store.answers(), []);
        assert!(store.core.commit_now());
        assert_eq!(store.answers(), [(1, "done"), (2, "obsolete"), (3, "obsolete")]);
        assert!(!store.core.commit_now(), "nothing was written for them");
        assert!(matches!(store.put(b"k", "0:1", 4), Err(PutError::ObsoleteVersion { .. })));
        store.put(b"k", "1:1", 5).expect("a sibling");
        let refused = store.put(b"k", "0:1", 6);
        assert!(
            matches!(refused, Err(PutError::ObsoleteVersion { .. })),
            "durable, whatever is staged beside it"
        );
    }

    #[test]
    fn a_refusal_waits_for_the_commit_that_it_rests_on_and_for_no_other() {
        let store = Stepped::new();
        store.put(b"a", "0:1", 1).expect("fresh");
        let end = store.begin();
        store.put(b"b", "0:1", 2).expect("fresh");
        store.put(b"b", "0:1", 3).expect("it waits");
        store.put(b"a", "0:1", 4).expect("it waits");
        end();
        assert_eq!(store.answers(), [(1, "done"), (4, "obsolete")]);
        store.begin()();
        assert_eq!(store.answers(), [(2, "done"), (3, "obsolete")]);
    }

    #[test]
    fn a_refusal_fails_with_the_commit_that_it_rests_on() {
        let store = Stepped::new();
        store.put(b"a", "0:1", 1).expect("fresh");
        let end = store.begin();
        store.put(b"b", "0:1", 2).expect("fresh");
        store.put(b"b", "0:1", 3).expect("it waits");
        store.put(b"a", "0:1", 4).expect("it waits");
        store.home.fail_next(Fault::SyncError);
        end();
        assert_eq!(store.answers(), [(1, "failed"), (2, "failed"), (3, "failed"), (4, "failed")]);
        assert!(matches!(store.put(b"a", "0:1", 5), Err(PutError::WritesStopped { .. })));
    }

    #[test]
    fn a_batch_of_which_nothing_is_taken_is_answered_once_what_refuses_it_is_durable() {
        let store = Stepped::new();
        store.put(b"k", "0:2", 1).expect("fresh");
        let (old, new) = (version("0:1"), version("0:2"));
        let batch =
            [BatchWrite::Put { key: b"k", version: &old }, BatchWrite::Put { key: b"k", version: &new }];
        let (answers, _) = store.core.stage_batch(&batch, 2, &store.answers).expect("a healthy store");
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert_eq!(store.answers(), []);
        store.begin()();
        assert_eq!(store.answers(), [(1, "done"), (2, "done")]);
        let (answers, _) = store.core.stage_batch(&batch, 3, &store.answers).expect("a healthy store");
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert_eq!(store.answers(), [(3, "done")], "durable already");
    }
}
