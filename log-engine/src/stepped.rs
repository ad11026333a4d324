//! [`SteppedLog`]: the log without threads, for whoever drives it step by step: a simulator, a crash test.
//!
//! [`Log`](crate::Log) is this with one thread that commits and one that does upkeep.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use engine_env::{
    CompletionQueue, Disk, DiskError, EntryKind, FileOf, Home, Machine, OneWorker, Op, Workers, WriteSync,
};

use crate::core::Core;
use crate::log::append::{AppendError, Refused};
use crate::log::cleaner::Stepped;
use crate::log::fetch::{FetchError, Fetched};
use crate::log::mark::Mark;
use crate::log::partition_log::{Effects, LogDone, Tell};
use crate::log::recovery::{self, RecoveryReport};
use crate::log::{format, producer_recovery, seal};
use crate::record::builder::{EncodeError, EncodedBatch};
use crate::record::record::Record;
use crate::segment::name;
use crate::segment::time_search::TimedOffset;
use crate::topic::is_topic_name;
use crate::{ConfigError, LogConfig, Offset, TopicPartition};

/// Why a log can't be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder belongs to another version or another engine. Nothing was changed.
    #[error(
        "{file} says {found:?}, and this program reads {expected:?}; open the folder with the program that wrote it, \
         or choose another folder"
    )]
    Format {
        /// The file that says so, below the folder.
        file: String,
        /// What it says.
        found: String,
        /// What it would have to say.
        expected: String,
    },
    /// The folder holds something else. Nothing was changed.
    #[error("the folder holds {found:?} and no FORMAT file: it is not a log; choose an empty folder")]
    NotALog {
        /// One thing that is there.
        found: String,
    },
    /// The disk failed.
    #[error("can't open the log: {0}")]
    Disk(#[from] DiskError),
}

/// Why a topic can't be created.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CreateTopicError {
    /// Not a topic's name.
    #[error("{name:?} can't be a topic's name: use 1 to 249 of a-z A-Z 0-9 . _ -, and neither . nor ..")]
    Name {
        /// The name.
        name: String,
    },
    /// A topic has at least one partition.
    #[error("topic {topic} needs at least one partition")]
    NoPartitions {
        /// The topic.
        topic: String,
    },
    /// It is there, otherwise.
    #[error("topic {topic} is there with {found} partitions, not {wanted}; the number can't be changed")]
    OtherPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many were asked for.
        wanted: u32,
    },
    /// The disk failed.
    #[error("can't create topic {topic}: {cause}")]
    Disk {
        /// The topic.
        topic: String,
        /// What failed.
        #[source]
        cause: DiskError,
    },
}

/// Where a partition starts and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The first offset.
    pub start: Offset,
    /// The offset below which everything is on stable storage. Readers see up to here with `synced`.
    pub durable: Offset,
    /// The offset that the next record gets. Readers see up to here with `os` and `interval`.
    pub end: Offset,
}

/// What a log has and did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of its segments: batches, without prepared space.
    pub disk_bytes: u64,
    /// Bytes handed to the disk: batches, zeros ahead of them, not indexes and marks.
    pub written_bytes: u64,
    /// Syncs asked for, writes that sync included.
    pub syncs: u64,
    /// Segments, active ones included.
    pub segments: u64,
    /// Rolls to a new segment.
    pub rolls: u64,
    /// Records, damaged places included; of a compacted topic, offsets.
    pub records: u64,
    /// Segments that compaction has replaced by their copies, several by one.
    pub compactions: u64,
    /// Fetches of one batch of a sealed segment that found it verified in memory.
    pub batch_cache_hits: u64,
    /// Those that had to read and verify it.
    pub batch_cache_misses: u64,
    /// Passes of compaction that damage or the disk ended; each is tried again after a minute.
    pub compactions_given_up: u64,
}

/// What came of [`SteppedLog::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appending {
    /// The base offset. The token comes through its queue.
    Accepted(Offset),
    /// There is no prepared space: run [`SteppedLog::upkeep`], then try again.
    NeedsUpkeep,
}

/// Whether the interval of `interval:MS` has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Not yet.
    Running,
    /// Sync what isn't synced.
    Passed,
}

/// The log without threads.
#[derive(Debug)]
pub struct SteppedLog<H: Home> {
    home: H,
    pub(crate) core: Arc<Core<FileOf<H>>>,
    /// One topic is created at a time.
    creating: Mutex<()>,
}

impl<H: Home> SteppedLog<H> {
    /// Opens the log in `home`'s folder, an empty one included, and recovers every partition.
    ///
    /// # Errors
    /// A wrong setting, a folder of something else, or the disk's failure.
    pub fn open(home: H, config: LogConfig) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with(home, config, &OneWorker, 1)
    }

    /// [`SteppedLog::open`], with `workers` to recover partitions, up to `disks_max` at a time, and to read segments.
    pub(crate) fn open_with(
        home: H,
        config: LogConfig,
        workers: &dyn Workers,
        disks_max: usize,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        config.check()?;
        let mut disk = home.disk()?;
        format::check(&mut disk)?;
        let core = Arc::new(Core::new(Arc::new(config)));
        let mut partitions: Vec<_> = disk
            .list("")?
            .into_iter()
            .filter(|e| e.kind == EntryKind::Dir)
            .filter_map(|e| TopicPartition::of_folder(&e.name))
            .collect();
        drop(disk);
        partitions.sort();
        let groups: Vec<_> = partitions.chunks(partitions.len().div_ceil(disks_max).max(1)).collect();
        let recovered: Vec<_> = groups.iter().map(|_| Mutex::new(None)).collect();
        workers.run(groups.len(), &|job| {
            let recover_group = || -> Result<Vec<_>, DiskError> {
                // A disk belongs to the thread that uses it.
                let mut disk = home.disk()?;
                let (config, room) = (&core.config, &core.recent_room);
                let each = groups[job].iter().cloned();
                each.map(|name| recovery::recover(&mut disk, name, config, room, workers)).collect()
            };
            *recovered[job].lock().unwrap_or_else(PoisonError::into_inner) = Some(recover_group());
        });
        let mut report = RecoveryReport::default();
        for group in recovered {
            let group = group.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (log, found) in group.expect("every job was run")? {
                core.add(log);
                report.partitions.push(found);
            }
        }
        Ok((Self { home, core, creating: Mutex::new(()) }, report))
    }

    /// Creates a topic, durably. Fine if it is there with that many partitions.
    ///
    /// # Errors
    /// A wrong name, another number of partitions, or the disk's failure.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), CreateTopicError> {
        let _one_at_a_time = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_topic_name(topic) {
            return Err(CreateTopicError::Name { name: topic.to_owned() });
        }
        if partitions == 0 {
            return Err(CreateTopicError::NoPartitions { topic: topic.to_owned() });
        }
        let there: Vec<_> = self.core.all().into_iter().filter(|p| p.name.topic == topic).collect();
        let found = u32::try_from(there.len()).expect("fewer than 2^32 partitions");
        if found == partitions && there.iter().all(|p| p.name.partition < partitions) {
            return Ok(());
        }
        // A crash while a topic was made may leave some of its partitions, all of them empty: the rest is added.
        let unfinished = there.iter().all(|p| p.name.partition < partitions && p.lock().end == Offset(0));
        if !unfinished {
            let topic = topic.to_owned();
            return Err(CreateTopicError::OtherPartitions { topic, found, wanted: partitions });
        }
        let all = (0..partitions).map(|n| TopicPartition::new(topic, n)).collect();
        self.add_partitions(all).map_err(|cause| CreateTopicError::Disk { topic: topic.to_owned(), cause })
    }

    /// Creates partitions of which other brokers have other ones. Fine if they are there.
    pub(crate) fn create_partitions(&self, partitions: Vec<TopicPartition>) -> Result<(), CreateTopicError> {
        let _one_at_a_time = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let topic = partitions.first().map_or_else(String::new, |p| p.topic.clone());
        self.add_partitions(partitions).map_err(|cause| CreateTopicError::Disk { topic, cause })
    }

    fn add_partitions(&self, partitions: Vec<TopicPartition>) -> Result<(), DiskError> {
        let mut disk = self.home.disk()?;
        let missing: Vec<_> = partitions.into_iter().filter(|p| self.core.get(p).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for partition in &missing {
            recovery::create(&mut disk, &partition.to_string())?;
        }
        disk.run(Op::SyncDir { dir: String::new() })?;
        for partition in missing {
            let (log, _) = recovery::recover(
                &mut disk,
                partition,
                &self.core.config,
                &self.core.recent_room,
                &OneWorker,
            )?;
            self.core.add(log);
        }
        Ok(())
    }

    /// All partitions, ordered by topic and number.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let mut names: Vec<_> = self.core.all().iter().map(|p| p.name.clone()).collect();
        names.sort();
        names
    }

    /// Appends records as one batch. [`LogDone`] comes through `to`: with `os` at once, with `synced` when the
    /// commit that holds the batch is done.
    ///
    /// # Errors
    /// The partition doesn't exist, the records don't fit a batch, or the disk failed before.
    pub fn append(
        &self,
        partition: &TopicPartition,
        records: &[Record<'_>],
        now_ms: i64,
        token: u64,
        to: &Arc<CompletionQueue<LogDone>>,
    ) -> Result<Appending, AppendError> {
        let buffer = self.partition(partition)?.lock().take_spare();
        let mut batch = encode(partition, records, now_ms, buffer)?;
        if self.core.config.gives_append_time(&partition.topic) {
            batch.set_append_time(now_ms);
        }
        self.append_batch(partition, batch, token, to)
    }

    /// As [`SteppedLog::append`], of a batch that is encoded already: one of an idempotent producer, for example, which is
    /// stored once, however often it is sent. Sent again it is accepted at its old offsets. Its timestamps are taken as they
    /// are.
    ///
    /// # Errors
    /// As of [`SteppedLog::append`]; or it isn't its producer's next one.
    pub fn append_batch(
        &self,
        partition: &TopicPartition,
        batch: EncodedBatch,
        token: u64,
        to: &Arc<CompletionQueue<LogDone>>,
    ) -> Result<Appending, AppendError> {
        let partition = self.partition(partition)?;
        let mut log = partition.lock();
        let mut effects = Effects::default();
        let tell = Tell::Batch(token, Arc::clone(to));
        let appended = self.core.try_append(&partition, &mut log, batch, tell, &mut effects);
        let commit = log.queue.can_begin();
        drop(log);
        if commit {
            self.core.want_commit(&partition);
        }
        self.core.settle(&partition, effects);
        match appended {
            Ok(appended) => Ok(Appending::Accepted(appended.base)),
            Err(Refused::NeedsRoom(..)) => Ok(Appending::NeedsUpkeep),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    pub(crate) fn partition(
        &self,
        name: &TopicPartition,
    ) -> Result<Arc<crate::core::Partition<FileOf<H>>>, AppendError> {
        self.core.get(name).ok_or_else(|| AppendError::UnknownPartition { partition: name.clone() })
    }

    /// What submits commits and takes their completions.
    #[must_use]
    pub fn machine(&self) -> Arc<dyn Machine<FileOf<H>>> {
        Arc::clone(&self.core) as Arc<dyn Machine<FileOf<H>>>
    }

    /// Runs one task of upkeep (zero-filling ahead, the next segment, sealing, the interval's sync) on a disk with
    /// nothing in flight. `false`: there was none.
    pub fn upkeep(&self, disk: &mut H::Disk, interval: Interval) -> bool {
        self.core.all().iter().any(|p| self.core.keep_up(p, disk, interval))
    }

    /// Looks at the limits on age and size, as of `now_ms` since the Unix epoch. What has to go is removed by
    /// [`SteppedLog::upkeep`].
    pub fn enforce_retention(&self, now_ms: i64) {
        self.core.enforce_retention(now_ms);
    }

    /// Compacts for a step: reads a few hundred kilobytes at most. What was copied is put into its place by
    /// [`SteppedLog::upkeep`]. `false`: there is nothing to do, or upkeep has to go first.
    pub fn compact(&self, disk: &mut H::Disk, now_ms: i64) -> bool {
        matches!(self.core.compact(disk, now_ms), Stepped::Worked(_))
    }

    /// Asks [`SteppedLog::upkeep`] to delete the records below `offset`, as far as they are durable.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn delete_before(&self, partition: &TopicPartition, offset: Offset) -> Result<(), FetchError> {
        self.core.delete_before(&*self.core.look_up(partition)?, offset);
        Ok(())
    }

    /// Batches from the one that holds `from` on: up to `max_bytes`, but at least one if there is one.
    ///
    /// # Errors
    /// No such partition or offset, damage, or the disk's failure.
    pub fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        self.core.fetch(partition, from, max_bytes)
    }

    /// The first record that isn't earlier than `timestamp_ms` (milliseconds since the Unix epoch), as Kafka's
    /// `offsetsForTimes`; `None`: every readable one is earlier. Fetch from its offset to read from that time on.
    ///
    /// # Errors
    /// No such partition, damage in front of it, or the disk's failure.
    pub fn offset_for_time(
        &self,
        partition: &TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<TimedOffset>, FetchError> {
        self.core.offset_for_time(partition, timestamp_ms)
    }

    /// Why a partition takes no more appends until the log is opened again, if one doesn't.
    #[must_use]
    pub fn stopped(&self) -> Option<DiskError> {
        self.core.all().iter().find_map(|partition| partition.lock().failed.clone())
    }

    /// Where a partition starts and ends; `None` if there is no such partition.
    #[must_use]
    pub fn ends(&self, partition: &TopicPartition) -> Option<Ends> {
        let partition = self.core.get(partition)?;
        let log = partition.lock();
        Some(Ends { start: log.start, durable: log.durable, end: log.end })
    }

    /// Sums over all partitions.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let mut sum = LogStats::default();
        for partition in self.core.all() {
            let log = partition.lock();
            sum.disk_bytes += log.active.position + log.segments.iter().map(|s| s.len).sum::<u64>();
            sum.written_bytes += log.counters.written_bytes;
            sum.syncs += log.counters.syncs;
            sum.segments += log.segments.len() as u64 + 1;
            sum.rolls += log.counters.rolls;
            sum.compactions += log.compaction.exchanges;
            sum.compactions_given_up += log.compaction.given_up;
            sum.records += log.end.0 - log.start.0;
        }
        (sum.batch_cache_hits, sum.batch_cache_misses) = self.core.batch_cache.hits_and_misses();
        sum
    }

    /// Makes everything durable and leaves the files tidy: segments cut to their last batch, no prepared one. The
    /// machine must be idle: nothing staged, nothing in flight.
    ///
    /// # Errors
    /// The disk's failure, now or before.
    pub fn close(self) -> Result<(), DiskError> {
        self.core.closing.store(true, Ordering::Release);
        let mut disk = self.home.disk()?;
        let mut closed = Ok(());
        for partition in self.core.all() {
            let one = self.close_partition(&partition, &mut disk);
            // The others are closed all the same.
            closed = closed.and(one);
        }
        closed
    }

    fn close_partition(
        &self,
        partition: &crate::core::Partition<FileOf<H>>,
        disk: &mut H::Disk,
    ) -> Result<(), DiskError> {
        partition.lock().retry_space = true;
        while !partition.lock().is_settled() && self.core.keep_up(partition, disk, Interval::Running) {}
        let mut log = partition.lock();
        if let Some(error) = &log.failed {
            return Err(error.clone());
        }
        if let Some(full) = log.no_space.as_ref().filter(|_| !log.is_settled()) {
            return Err(full.clone());
        }
        assert!(log.queue.is_idle(), "a log is closed when its commits are done");
        seal::cut(disk, &log.active.file, log.active.position)?;
        let place = Mark { segment: log.active.base, position: log.active.position, offset: log.end };
        log.mark.advance(place, WriteSync::Data)?;
        producer_recovery::save(disk, &log.dir, log.end, &log.producers)?;
        if log.next.take().is_some() {
            disk.run(Op::Remove { path: format!("{}/{}", log.dir, name::NEXT) })?;
            disk.run(Op::SyncDir { dir: log.dir.clone() })?;
        }
        Ok(())
    }
}

pub(crate) fn encode(
    partition: &TopicPartition,
    records: &[Record<'_>],
    now_ms: i64,
    reuse: Vec<u8>,
) -> Result<EncodedBatch, AppendError> {
    EncodedBatch::of(records, now_ms, reuse)
        .map_err(|cause: EncodeError| AppendError::Encode { partition: partition.clone(), cause })
}
