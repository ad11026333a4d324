//! [`KvStore`]: a [`Bitcask`] with its threads. This is the edge: here are the threads and the clock.
//!
//! `synced`: a writer that has nobody to share a commit with commits on its own thread; otherwise the committer thread does,
//! many writes at a time.
//! `interval`: a thread syncs periodically. Always: one thread for maintenance, under the rate limit.

#![expect(clippy::disallowed_methods, reason = "the edge: here are the threads and the clock")]

mod bell;
mod gate;
mod maintenance;
mod periodic_sync;
mod prune;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_env::{
    AllCores, Committer, CompletionQueue, Durability, File, FileOf, Home, Machine, Wait, Waker,
};

use crate::config::KvConfig;
use crate::ring::Ring;
use crate::storage::bitcask::{
    BatchAnswers, BatchWrite, Bitcask, Change, ChangeFeed, FeedError, FeedPosition, KvDone, KvStats,
    RecoveryReport, Snapshot,
};
use crate::storage::{
    CloseError, DeleteError, EntriesPage, EntriesPosition, GetError, OpenError, PutError, Storage,
};
use crate::version::{VectorClock, Versioned};
use bell::Bell;
use gate::Gate;
use maintenance::{Maintenance, expire};
use periodic_sync::PeriodicSync;

pub use prune::{PruneHow, Pruned};

/// A key-value store in a folder.
///
/// Dropping it without [`KvStore::close`] is like a killed process: what was acknowledged is as safe as the
/// durability says, and the next open recovers.
#[derive(Debug)]
pub struct KvStore<H: Home> {
    core: Arc<Bitcask<FileOf<H>>>,
    durability: Durability,
    committer: Option<Committer>,
    maintenance: Option<Maintenance>,
    gate: Arc<Gate>,
    home: H,
    _feeds: EndsFeeds<FileOf<H>>,
}

/// Lets no feed wait for a store that is gone.
#[derive(Debug)]
struct EndsFeeds<F: File>(Arc<Bitcask<F>>);

impl<F: File> Drop for EndsFeeds<F> {
    fn drop(&mut self) {
        self.0.end_feeds();
    }
}

/// An open feed of a [`KvStore`]'s changes: see [`ChangeFeed`] for what it tells. Dropping it lets merges drop the deletes
/// that it hadn't passed; keep none open that nobody reads.
#[derive(Debug)]
pub struct KvFeed<H: Home> {
    core: Arc<Bitcask<FileOf<H>>>,
    feed: ChangeFeed<FileOf<H>>,
    bell: Arc<Bell>,
}

impl<H: Home> KvFeed<H> {
    /// Where it is: everything before was told. To go on later, keep this together with what was made of the changes.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        self.feed.position()
    }

    /// Rings `waker` when there is something new after a poll that found nothing: for a thread that waits elsewhere,
    /// and polls with [`Wait::No`].
    pub fn wake_with(&self, waker: Waker) {
        self.feed.wake_with(waker);
    }

    /// Moves the next changes to the end of `out`, until their records have `max_bytes` or all are told, waiting for
    /// a first one as `wait` says. A change is told as soon as its commit is as durable as the store promises.
    ///
    /// # Errors
    /// The disk failed, or the store is closed and everything was told.
    pub fn poll(&mut self, max_bytes: u64, wait: Wait, out: &mut Vec<Change>) -> Result<(), FeedError> {
        let deadline = match wait {
            Wait::AtMost(limit) => Instant::now().checked_add(limit),
            Wait::No | Wait::Forever => None,
        };
        let before = out.len();
        loop {
            self.core.read_feed(&mut self.feed, max_bytes, out)?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if out.len() > before || wait == Wait::No || left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            self.bell.wait(left);
        }
    }
}

impl<H: Home> KvStore<H> {
    /// Opens the store in `home`, creating it in an empty folder, and recovers what an earlier process left.
    ///
    /// # Errors
    /// A setting is out of range, the folder holds something else, or the disk failed.
    pub fn open(home: H, config: KvConfig) -> Result<(Self, RecoveryReport), OpenError> {
        let durability = config.durability;
        let settings = config.clone();
        let mut disk = home.disk()?;
        let (core, report) = Bitcask::open_with(&mut disk, config, &AllCores)?;
        drop(disk);
        let core = Arc::new(core);
        expire(&core, settings.retention_days);
        let committer = match durability {
            Durability::Os => None,
            Durability::Synced => {
                let machine: Arc<dyn Machine<FileOf<H>>> = Arc::clone(&core) as _;
                Some(Committer::spawn("kv-commit", home.clone(), machine)?)
            }
            Durability::IntervalMs(ms) => {
                let machine = Arc::new(PeriodicSync::new(Arc::clone(&core), Duration::from_millis(ms)));
                Some(Committer::spawn("kv-sync", home.clone(), machine)?)
            }
        };
        let bell = Arc::new(Bell::default());
        let gate = Arc::new(Gate::default());
        let maintenance = Maintenance::spawn(&home, &core, &bell, &gate, &settings)?;
        let commit = committer.as_ref().map_or_else(|| Waker::new(|| {}), Committer::waker);
        core.set_bells(commit, Waker::new(move || bell.ring()));
        let _feeds = EndsFeeds(Arc::clone(&core));
        let maintenance = Some(maintenance);
        Ok((Self { core, durability, committer, maintenance, gate, home, _feeds }, report))
    }

    /// Opens a feed that tells every change from `from` on, as soon as it is as durable as the store promises.
    ///
    /// # Errors
    /// Deletes after `from` are gone, or `from` isn't this store's.
    pub fn feed(&self, from: FeedPosition) -> Result<KvFeed<H>, FeedError> {
        let feed = self.core.feed(from)?;
        let bell = Arc::new(Bell::default());
        let ringing = Arc::clone(&bell);
        feed.wake_with(Waker::new(move || ringing.ring()));
        Ok(KvFeed { core: Arc::clone(&self.core), feed, bell })
    }

    /// Puts without waiting: the answer comes through `to` under `token`, once the write is as durable as the store
    /// promises; at once in `os`. That it is obsolete comes there too, if what makes it so isn't as durable yet.
    ///
    /// # Errors
    /// The version is obsolete, or the store takes no writes: then no answer comes through `to`.
    pub fn put_async(
        &self,
        key: &[u8],
        value: &Versioned,
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<(), PutError> {
        self.gate.pass(|| self.core.is_overgrown());
        match self.durability {
            Durability::Synced => {
                let committing = self.core.stage_put(key, value, token, to)?;
                self.wake_unless(committing);
            }
            Durability::Os | Durability::IntervalMs(_) => {
                self.core.put_through(key, value)?;
                to.push(KvDone { token, removed: false, result: Ok(()) });
            }
        }
        Ok(())
    }

    /// Deletes without waiting, like [`KvStore::put_async`].
    ///
    /// # Errors
    /// The store takes no writes: then no answer comes through `to`.
    pub fn delete_async(
        &self,
        key: &[u8],
        version: &VectorClock,
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<(), DeleteError> {
        self.gate.pass(|| self.core.is_overgrown());
        match self.durability {
            Durability::Synced => {
                let committing = self.core.stage_delete(key, version, token, to)?;
                self.wake_unless(committing);
            }
            Durability::Os | Durability::IntervalMs(_) => {
                let removed = self.core.delete_through(key, version)?;
                to.push(KvDone { token, removed, result: Ok(()) });
            }
        }
        Ok(())
    }

    /// Writes a batch: all of it in one commit, in order, and what became of each write. Returns when all of it is as
    /// durable as the store promises. After a crash before that, a prefix of the batch may be there, never a later
    /// write of it without the earlier ones. Readers see its writes in order too.
    ///
    /// A batch stands in one segment, so it should be far smaller than [`KvConfig::segment_bytes`].
    ///
    /// # Errors
    /// The store takes no writes, or the write failed. An obsolete version is no error of the batch: see
    /// [`BatchAnswers`].
    pub fn write_batch(&self, writes: &[BatchWrite<'_>]) -> Result<BatchAnswers, PutError> {
        self.gate.pass(|| self.core.is_overgrown());
        match self.durability {
            Durability::Os | Durability::IntervalMs(_) => self.core.batch_through(writes),
            Durability::Synced => {
                let mut answers = BatchAnswers::new();
                self.wait(|to| {
                    let (all, committing) = self.core.stage_batch(writes, 0, to)?;
                    answers = all;
                    Ok(committing)
                })?;
                Ok(answers)
            }
        }
    }

    /// Writes a batch without waiting, like [`KvStore::put_async`]; what became of each write is known at once, and
    /// one answer comes through `to` when all of it, and what refused writes of it, is as durable as the store promises.
    ///
    /// # Errors
    /// The store takes no writes: then no answer comes through `to`.
    pub fn write_batch_async(
        &self,
        writes: &[BatchWrite<'_>],
        token: u64,
        to: &Arc<CompletionQueue<KvDone>>,
    ) -> Result<BatchAnswers, PutError> {
        self.gate.pass(|| self.core.is_overgrown());
        match self.durability {
            Durability::Synced => {
                let (answers, committing) = self.core.stage_batch(writes, token, to)?;
                self.wake_unless(committing);
                Ok(answers)
            }
            Durability::Os | Durability::IntervalMs(_) => {
                let answers = self.core.batch_through(writes)?;
                to.push(KvDone { token, removed: false, result: Ok(()) });
                Ok(answers)
            }
        }
    }

    /// All entries as they are now, in no particular order, while writes and merges go on: see [`Snapshot`] for what it
    /// sees and costs. A [`KvStore::feed`] from its position tells what comes after it.
    pub fn snapshot(&self) -> Snapshot<'_, FileOf<H>> {
        self.core.snapshot(|_| true)
    }

    /// [`KvStore::snapshot`] of the keys whose master partition is among `partitions`. It goes through all keys, and
    /// reads only the wanted ones.
    pub fn snapshot_of<'a>(&'a self, ring: &'a Ring, partitions: &'a [u32]) -> Snapshot<'a, FileOf<H>> {
        self.core.snapshot(move |key| partitions.contains(&ring.master_partition(key)))
    }

    /// The next entries whose master partition is among `partitions`, until they have `max_bytes`, but at least one; or
    /// none, where many keys had to be looked at: then it goes on from there. Nothing is held between two pages, unlike a
    /// [`KvStore::snapshot_of`], and the position stands a restart.
    ///
    /// # Errors
    /// A version can't be read.
    pub fn page_of(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        let wanted: BTreeSet<u32> = partitions.iter().copied().collect();
        self.core.page(|key| wanted.contains(&ring.master_partition(key)), from, max_bytes)
    }

    /// Calls `each` with every key and its versions, or why they can't be read, as they are now.
    pub fn for_each(&self, each: impl FnMut(&[u8], Result<Vec<Versioned>, GetError>)) {
        self.core.for_each(each);
    }

    /// Calls `each` with every key of a slice, one of `slices` by their hashes, and its clocks, without the disk.
    pub(crate) fn clocks_of_slice(&self, of: (usize, usize), each: impl FnMut(&[u8], &[VectorClock])) {
        self.core.clocks_of_slice(of, each);
    }

    /// The store's figures.
    #[must_use]
    pub fn stats(&self) -> KvStats {
        self.core.stats()
    }

    /// Commits what is staged, ends the threads, and leaves files that the next open needn't recover.
    ///
    /// # Errors
    /// A write had failed before, or the disk fails now. What was acknowledged is safe either way.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.maintenance = None;
        self.committer = None;
        let mut disk = self.home.disk()?;
        self.core.close(&mut disk)
    }

    fn wake_unless(&self, committing: bool) {
        if !committing && let Some(committer) = &self.committer {
            committer.wake();
        }
    }

    /// Waits for a staged write: commits it on this thread if there is nobody to share the commit with.
    fn wait(
        &self,
        stage: impl FnOnce(&Arc<CompletionQueue<KvDone>>) -> Result<bool, PutError>,
    ) -> Result<bool, PutError> {
        // One queue for each thread, reused: a thread waits for one write at a time.
        thread_local! {
            static ANSWER: Arc<CompletionQueue<KvDone>> = Arc::new(CompletionQueue::new());
        }
        ANSWER.with(|answer| {
            let committing = stage(answer)?;
            if !committing && !self.core.commit_if_alone() {
                self.wake_unless(committing);
            }
            let mut done = Vec::with_capacity(1);
            while done.is_empty() {
                answer.drain(Wait::Forever, &mut done);
            }
            let done = done.pop().expect("the loop above ends with an answer");
            done.result.map(|()| done.removed)
        })
    }
}

impl<H: Home> Storage for KvStore<H> {
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.core.get(key)
    }

    fn get_versions(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        Ok(self.core.get_versions(key))
    }

    fn put(&self, key: &[u8], value: &Versioned) -> Result<(), PutError> {
        self.gate.pass(|| self.core.is_overgrown());
        match self.durability {
            Durability::Synced => self.wait(|to| self.core.stage_put(key, value, 0, to)).map(drop),
            Durability::Os | Durability::IntervalMs(_) => self.core.put_through(key, value),
        }
    }

    fn put_versions(&self, key: &[u8], versions: &[Versioned]) -> Result<Vec<Versioned>, PutError> {
        versions.iter().try_for_each(|version| self.core.check_put(key, version))?;
        let batch: Vec<_> = versions.iter().map(|version| BatchWrite::Put { key, version }).collect();
        let answers = self.write_batch(&batch)?;
        let obsolete = versions.iter().zip(&answers).filter(|(_, answer)| answer.is_err());
        Ok(obsolete.map(|(version, _)| version.clone()).collect())
    }

    fn delete(&self, key: &[u8], version: &VectorClock) -> Result<bool, DeleteError> {
        self.gate.pass(|| self.core.is_overgrown());
        Ok(match self.durability {
            Durability::Synced => self.wait(|to| self.core.stage_delete(key, version, 0, to))?,
            Durability::Os | Durability::IntervalMs(_) => self.core.delete_through(key, version)?,
        })
    }
}
