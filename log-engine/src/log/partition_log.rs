//! [`PartitionLog`]: the state of one partition, behind its lock.
//!
//! Invariants:
//! * `durable <= end`; `end` moves at append, `durable` when bytes are known to be on stable storage.
//! * Segments are in order, each ends where the next begins, the active one is the last.
//! * With `synced`, only space that was filled with zeros and synced is written.
//! * After a failure nothing is appended or acknowledged any more; reads go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::{CommitQueue, CompletionQueue, DiskError, File};

use super::cleaner::Compaction;
use super::leader_epochs::LeaderEpochs;
use super::mark::{Mark, MarkFile};
use super::producer_snapshot;
use super::producer_state::ProducerState;
use super::recent::Recent;
use crate::record::batch::Batch;
use crate::segment::index::Index;
use crate::segment::index_builder::{IndexBuilder, Indexed};
use crate::segment::name;
use crate::segment::segment::Segment;
use crate::{AppendError, LogConfig, NO_TIMESTAMP, Offset, TopicPartition};

/// The result of an append that was handed over with a token.
#[derive(Debug, Clone)]
pub struct LogDone {
    /// The token.
    pub token: u64,
    /// The record's offset (of a batch: of its first record), or why there is none.
    pub result: Result<Offset, AppendError>,
}

/// Who hears of an append's end.
#[derive(Debug)]
pub(crate) enum Tell {
    /// There is nothing to wait for, or whoever waits looks at the partition.
    Nobody,
    /// One token for the batch.
    Batch(u64, Arc<CompletionQueue<LogDone>>),
    /// One token for each record.
    EachRecord(Vec<u64>, Arc<CompletionQueue<LogDone>>),
}

/// A staged batch.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Base offset of its segment.
    pub(crate) segment: Offset,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) tell: Tell,
}

/// What has to happen once the partition's lock is released.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) done: Vec<(Arc<CompletionQueue<LogDone>>, LogDone)>,
    /// More can be read, or the broker has to look again.
    pub(crate) progressed: bool,
}

impl Effects {
    pub(crate) fn tell(&mut self, tell: Tell, base: &Result<Offset, AppendError>) {
        match tell {
            Tell::Nobody => {}
            Tell::Batch(token, to) => self.done.push((to, LogDone { token, result: base.clone() })),
            Tell::EachRecord(tokens, to) => {
                self.done.extend(tokens.into_iter().zip(0..).map(|(token, i)| {
                    (Arc::clone(&to), LogDone { token, result: base.clone().map(|base| base.plus(i)) })
                }));
            }
        }
    }

    /// Hands out the results: one wake for each run of results to the same queue.
    pub(crate) fn deliver(self) {
        let mut rest = self.done.into_iter().peekable();
        while let Some((to, first)) = rest.next() {
            let mut group = vec![first];
            while let Some((_, one)) = rest.next_if(|(next, _)| Arc::ptr_eq(next, &to)) {
                group.push(one);
            }
            to.push_all(group);
        }
    }
}

/// The segment that takes appends.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub(crate) base: Offset,
    pub(crate) file: F,
    /// Where the next batch goes.
    pub(crate) position: u64,
    /// Space below this position was filled with zeros and synced. Means something with `synced` only.
    pub(crate) prepared: u64,
    pub(crate) index: IndexBuilder,
    /// Whether the file still has the name of a prepared one.
    pub(crate) unnamed: bool,
    /// The latest timestamp of its records, milliseconds.
    pub(crate) newest_ms: i64,
}

impl<F> Active<F> {
    /// An empty one.
    pub(crate) fn new(base: Offset, file: F, config: &LogConfig) -> Self {
        Self {
            base,
            file,
            position: 0,
            prepared: 0,
            index: IndexBuilder::new(config.index_interval_bytes),
            unnamed: false,
            newest_ms: NO_TIMESTAMP,
        }
    }
}

impl<F: File> Active<F> {
    /// Takes note of a batch at `position`.
    #[inline]
    pub(crate) fn note(&mut self, batch: &Batch<'_>, position: u64) {
        self.index.add(Indexed {
            last_relative_offset: batch.last_offset().0 - self.base.0,
            position,
            len: batch.len() as u64,
            max_timestamp_ms: batch.max_timestamp_ms(),
        });
        self.newest_ms = self.newest_ms.max(batch.max_timestamp_ms());
    }

    /// It takes no more batches.
    pub(crate) fn into_rolled(self, end: Offset, path: String, len: u64) -> Segment<F> {
        let (offsets, times) = self.index.finish();
        let indexes = (Index::Memory(offsets), Index::Memory(times));
        let rolled = Segment::rolled((self.base, end), path, self.file, len, indexes);
        rolled.knows_newest_ms(self.newest_ms);
        rolled
    }
}

/// What upkeep has been asked for by an append that had to be put off.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Prepared space up to here.
    pub(crate) prepared: u64,
    /// A next segment.
    pub(crate) next: bool,
}

/// Counters, since opening.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) written_bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) rolls: u64,
    /// Of batches.
    pub(crate) appended_bytes: u64,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct PartitionLog<F> {
    pub(crate) config: Arc<LogConfig>,
    pub(crate) name: TopicPartition,
    pub(crate) dir: String,
    pub(crate) segments: Vec<Arc<Segment<F>>>,
    pub(crate) active: Active<F>,
    /// The file of the next segment and how much of it is prepared.
    pub(crate) next: Option<(F, u64)>,
    pub(crate) wanted: Wanted,
    /// An interval has passed since the last sync of its own.
    pub(crate) sync_due: bool,
    pub(crate) end: Offset,
    pub(crate) durable: Offset,
    /// The place of `durable` in a file.
    pub(crate) durable_place: Mark,
    pub(crate) queue: CommitQueue<F, Ticket>,
    pub(crate) recent: Recent,
    pub(crate) mark: MarkFile<F>,
    pub(crate) failed: Option<DiskError>,
    /// Upkeep or an append found the disk full. What needs space waits until an append asks for it again.
    pub(crate) no_space: Option<DiskError>,
    /// An append has asked since.
    pub(crate) retry_space: bool,
    /// Bytes of a refused append lie behind the end of the active segment (`os` and `interval`).
    pub(crate) leftover: bool,
    pub(crate) counters: Counters,
    /// A buffer to encode the next batch into.
    pub(crate) spare: Vec<u8>,
    /// Other brokers have copies: appends can be read by followers at once.
    pub(crate) replicated: bool,
    /// Whose term each offset was appended in, if somebody leads.
    pub(crate) epochs: LeaderEpochs,
    /// What is remembered of idempotent producers.
    pub(crate) producers: ProducerState,
    /// Producer snapshots of rolled segments' ends, until sealing writes them.
    pub(crate) snapshots: BTreeMap<Offset, Vec<u8>>,
    /// Who sent a batch again that is still on its way to the disk.
    pub(crate) repeated: Vec<Ticket>,
    /// Everything from here on has to go.
    pub(crate) truncate_to: Option<Offset>,
    /// Everything has to go, and the log goes on from here.
    pub(crate) restart_at: Option<Offset>,
    /// The first offset: nothing below it is shown.
    pub(crate) start: Offset,
    /// Its file, once it was moved.
    pub(crate) start_mark: Option<MarkFile<F>>,
    /// Where the log is to start.
    pub(crate) start_to: Option<Offset>,
    /// Segments below the start whose files are still there.
    pub(crate) removed: Vec<Arc<Segment<F>>>,
    /// How far it is compacted.
    pub(crate) compaction: Compaction<F>,
}

impl<F: File> PartitionLog<F> {
    /// The offset below which readers see.
    pub(crate) fn readable_end(&self) -> Offset {
        if self.config.synced() { self.durable } else { self.end }
    }

    pub(crate) fn active_path(&self) -> String {
        name::log(&self.dir, self.active.base)
    }

    /// Whether every segment before the active one is sealed and the active one has its name.
    pub(crate) fn is_settled(&self) -> bool {
        self.failed.is_some()
            || (!self.active.unnamed
                && self.removed.is_empty()
                && self.compaction.ready.is_none()
                && self.segments.iter().all(|s| s.sealed))
    }

    /// Notes a failure: the first one stays.
    pub(crate) fn fail(&mut self, error: DiskError) -> AppendError {
        let cause = self.failed.get_or_insert(error).clone();
        AppendError::Failed { partition: self.name.clone(), cause }
    }

    /// Starts a new active segment in the prepared file.
    pub(crate) fn roll(&mut self, (file, prepared): (F, u64)) {
        let new = Active { prepared, unnamed: true, ..Active::new(self.end, file, &self.config) };
        let path = self.active_path();
        let old = std::mem::replace(&mut self.active, new);
        assert!(self.end > old.base, "a segment without a batch is never rolled");
        let len = old.position;
        self.segments.push(Arc::new(old.into_rolled(self.end, path, len)));
        self.snapshots.insert(self.end, producer_snapshot::encode(&self.producers));
        self.counters.rolls += 1;
    }
}
