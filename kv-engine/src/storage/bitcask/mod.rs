//! [`Bitcask`]: append-only segments, and a directory of all keys in memory.
//!
//! Every put and every delete is appended to the active segment as a record; a delete as a *storage tombstone*. The
//! key directory knows, for each version of each key, its clock and where its record stands: so a put is judged
//! without the disk, and a get is one shared lock and one positioned read.
//!
//! Invariants:
//! * Records carry a sequence that rises with every write. What is alive follows from the records alone, in any
//!   order: a put is dead once a later put descends from it or a later tombstone covers it.
//! * Whatever kills a record stays on the disk for as long as the killed record may be there.
//! * `synced`: a write is published to readers and acknowledged only once it is durable; commits become durable in
//!   order, across segments too. Puts are judged against everything staged before them, durable or not; a refusal is
//!   told once what it rests on is durable.
//! * After a failed write or sync no more writes are taken until the store is opened again. Reads go on.
//!
//! No threads, no clocks: the owner calls [`Bitcask::maintain`] and drives the commits (see [`engine_env::Machine`]).

mod arena;
mod batch;
#[cfg(all(test, loom))]
mod commit_models;
mod entry;
mod feed;
mod feeds;
mod folder;
mod get;
mod group_commit;
mod guess;
mod hint;
mod inspect;
mod keydir;
mod maintenance;
mod mark;
mod merge;
mod page;
mod periodic_sync;
mod record;
mod recovery;
mod replay;
mod scan;
mod segment;
mod slots;
mod snapshot;
mod stats;
mod through;
mod write;
mod writer;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use engine_env::{Waker, sync};

use crate::config::KvConfig;
use feeds::Feeds;
use keydir::Keydir;
use maintenance::Maintenance;
use mark::MarkFile;
use segment::Segment;
use stats::Counters;
use writer::Writer;

pub use batch::{BatchAnswers, BatchWrite};
pub use feed::{Change, ChangeEvent, ChangeFeed, FeedError, FeedPosition};
pub use group_commit::KvDone;
pub use hint::HintError;
pub use inspect::{InspectedRecord, Inspection, SegmentSummary, inspect_segment};
pub use maintenance::MaintenanceStep;
pub use periodic_sync::SyncTarget;
pub use record::{DamageKind, RecordKind};
pub use recovery::{Damage, HintRefused, RecoveryReport, TailTruncated};
pub use segment::SegmentHeaderError;
pub use snapshot::{Snapshot, SnapshotEntry};
pub use stats::KvStats;

/// The store without its threads: a key directory over segments of a disk. See the module for its invariants.
///
/// Writes in `os` and `interval` go through [`Bitcask::put_through`] and [`Bitcask::delete_through`], on the caller's
/// thread. In `synced`, [`Bitcask::stage_put`] and [`Bitcask::stage_delete`] queue them, and whoever drives the store as a
/// [`engine_env::Machine`] (or [`Bitcask::commit_now`]) writes them out and answers.
#[derive(Debug)]
pub struct Bitcask<F> {
    config: KvConfig,
    keydir: Keydir<F>,
    writer: sync::Mutex<Writer<F>>,
    mark: Mutex<MarkFile<F>>,
    maintenance: Mutex<Maintenance<F>>,
    next_segment: AtomicU32,
    next_snapshot: AtomicU64,
    /// Versions with an older timestamp have expired.
    expired_before_ms: AtomicI64,
    /// Finished segments that have no hint file yet.
    unhinted: Mutex<VecDeque<Arc<Segment<F>>>>,
    feeds: Arc<Feeds>,
    counters: Counters,
    /// Bytes of records that deletes have killed since the maintenance bell was rung for that.
    freed_by_deletes: AtomicU64,
    /// The active segment is twice its size: the next one isn't ready.
    overgrown: AtomicBool,
    /// Merging ended with a disk error; the store goes on without until it is reopened. Not under the maintenance
    /// lock, which is held while the disk works.
    merges_stopped: AtomicBool,
    /// Rung when staged writes wait and nobody is committing.
    commit_bell: OnceLock<Waker>,
    /// Rung when [`Bitcask::maintain`] has work.
    maintenance_bell: OnceLock<Waker>,
}

impl<F> Bitcask<F> {
    /// Sets whom to wake when staged writes wait to be committed, and when there is maintenance to do. Once.
    pub fn set_bells(&self, commit: Waker, maintenance: Waker) {
        let _ = self.commit_bell.set(commit);
        let _ = self.maintenance_bell.set(maintenance);
    }

    /// Whether the active segment is twice its size because the next one isn't ready: a writer that can wait should
    /// wait until maintenance has caught up. Whoever goes on writing makes one segment larger than it should be.
    #[must_use]
    pub fn is_overgrown(&self) -> bool {
        self.overgrown.load(Ordering::Acquire)
    }

    /// Lets versions expire whose clock is older than this. They aren't returned any more, and merges drop them.
    pub fn expire_before(&self, timestamp_ms: i64) {
        self.expired_before_ms.fetch_max(timestamp_ms, Ordering::AcqRel);
    }

    fn expired_before_ms(&self) -> i64 {
        self.expired_before_ms.load(Ordering::Acquire)
    }

    fn writer(&self) -> sync::MutexGuard<'_, Writer<F>> {
        sync::lock_short(&self.writer)
    }

    fn mark(&self) -> MutexGuard<'_, MarkFile<F>> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "planted-bugs")]
    fn planted(&self, bug: crate::PlantedBug) -> bool {
        self.config.planted(bug)
    }
}

/// `planted!(self, Bug)`: whether that mistake was asked for; false, and gone, in an ordinary build.
macro_rules! planted {
    ($store:expr, $bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        {
            $store.planted(crate::PlantedBug::$bug)
        }
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = &$store;
            false
        }
    }};
}
use planted;
