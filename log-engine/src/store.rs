//! [`Log`]: the log with its two threads. One owns the disk that commits go through, the other does upkeep.
//!
//! A blocking append that has nobody to share a commit with writes on its own thread: a hand-off costs a lone submitter a
//! third. Everybody else's bytes gather while a commit is in flight or is handed over, and one thread writes them together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{AllCores, Committer, CompletionQueue, Disk, DiskError, File, FileOf, Home, Wait, Waker};

use crate::core::{Bells, Core};
use crate::log::append::AppendError;
use crate::log::cleaner::Stepped;
use crate::log::fetch::{FetchError, Fetched};
use crate::log::partition_log::{Effects, LogDone, Tell};
use crate::log::recovery::RecoveryReport;
use crate::record::builder::EncodedBatch;
use crate::record::record::Record;
use crate::segment::time_search::TimedOffset;
use crate::stepped::{CreateTopicError, Ends, Interval, LogStats, OpenError, SteppedLog, encode};
use crate::{Durability, LogConfig, Offset, TopicPartition};

/// So many groups of partitions are recovered at a time at most, each with a disk of its own.
const DISKS_MAX: usize = 16;

/// A log: topics with partitions, in one folder. Shared by reference; every method may be called from any thread.
///
/// ```
/// use engine_env::{Backend, OsHome};
/// use log_engine::{Log, LogConfig, Offset, Record, TopicPartition};
///
/// # let folder = tempfile::tempdir()?;
/// let home = OsHome::open(folder.path(), Backend::Auto)?;
/// let (log, recovered) = Log::open(home, LogConfig::default())?;
/// log.create_topic("events", 1)?;
/// let events = TopicPartition::new("events", 0);
/// let offset = log.append(&events, &[Record::new(b"key", b"value")], 1_700_000_000_000)?;
/// let fetched = log.fetch(&events, offset, 1 << 20)?;
/// assert_eq!(fetched.records().next().unwrap()?.value, Some(b"value".as_slice()));
/// log.close()?;
/// # assert!(recovered.partitions.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Log<H: Home> {
    // Dropped first: the committer finishes what is staged before the rest goes.
    committer: Committer,
    compaction: Option<Worker>,
    upkeep: Worker,
    stepped: SteppedLog<H>,
}

impl<H: Home> Log<H> {
    /// Opens the log in `home`'s folder, an empty one included, and recovers every partition.
    ///
    /// # Errors
    /// A wrong setting, a folder of something else, or the disk's failure.
    pub fn open(home: H, config: LogConfig) -> Result<(Self, RecoveryReport), OpenError> {
        let (stepped, report) = SteppedLog::open_with(home.clone(), config, &AllCores, DISKS_MAX)?;
        let committer = Committer::spawn("log-commit", home.clone(), stepped.machine())?;
        let upkeep = Worker::spawn("log-upkeep", home.clone(), &stepped.core, keep_up)?;
        let compaction = match stepped.core.config.compacted_topics.is_empty() {
            true => None,
            false => Some(Worker::spawn("log-compact", home, &stepped.core, compact)?),
        };
        let bells = Bells {
            commit: committer.waker(),
            upkeep: upkeep.waker(),
            compaction: compaction.as_ref().map(Worker::waker),
        };
        stepped.core.bells.set(bells).expect("the bells are set once, here");
        Ok((Self { committer, compaction, upkeep, stepped }, report))
    }

    /// Creates a topic, durably. Fine if it is there with that many partitions.
    ///
    /// # Errors
    /// A wrong name, another number of partitions, or the disk's failure.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), CreateTopicError> {
        self.stepped.create_topic(topic, partitions)
    }

    /// All partitions, ordered by topic and number.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.stepped.partitions()
    }

    /// Appends records as one batch and waits until they are as durable as the log's [`Durability`] says. Gives the
    /// offset of the first one. `now_ms` is the timestamp of records without one.
    ///
    /// # Errors
    /// The partition doesn't exist, the records don't fit a batch, or the disk failed. After a failure of the disk
    /// it is unknown whether the records are there; nothing is appended until the log is reopened.
    pub fn append(
        &self,
        partition: &TopicPartition,
        records: &[Record<'_>],
        now_ms: i64,
    ) -> Result<Offset, AppendError> {
        let core = &self.stepped.core;
        let partition = self.stepped.partition(partition)?;
        let mut batch = encode(&partition.name, records, now_ms, partition.lock().take_spare())?;
        if core.config.gives_append_time(&partition.name.topic) {
            batch.set_append_time(now_ms);
        }
        let mut effects = Effects::default();
        if !core.config.synced() {
            let (appended, log) =
                core.append_waiting(&partition, partition.lock(), batch, Tell::Nobody, &mut effects)?;
            drop(log);
            core.settle(&partition, effects);
            return Ok(appended.base);
        }
        // One queue for each thread, reused: a thread waits for one append at a time. Waiting for the partition itself
        // would wake everybody with each commit, also those whose turn is the next one.
        thread_local! {
            static ANSWER: Arc<CompletionQueue<LogDone>> = Arc::new(CompletionQueue::new());
        }
        ANSWER.with(|answer| {
            let tell = Tell::Batch(0, Arc::clone(answer));
            let (_, mut log) =
                core.append_waiting(&partition, partition.lock(), batch, tell, &mut effects)?;
            let sync = log.commit_sync();
            let begun = if log.queue.is_lone() { log.queue.begin() } else { None };
            if let Some((file, at, bytes)) = begun {
                drop(log);
                let result = file.write_now(at, &bytes, sync);
                let mut log = partition.lock();
                log.finish_commit(result, bytes, &mut effects);
                let more = log.queue.can_begin();
                drop(log);
                if more {
                    core.want_commit(&partition);
                }
            } else {
                let commit = log.queue.can_begin();
                drop(log);
                if commit {
                    core.want_commit(&partition);
                }
            }
            core.settle(&partition, effects);
            let mut done = Vec::with_capacity(1);
            while done.is_empty() {
                answer.drain(Wait::Forever, &mut done);
            }
            done.pop().expect("the loop above ends with an answer").result
        })
    }

    /// Appends records as one batch; [`LogDone`] with this `token` comes through `to` once they are as durable as
    /// the log's [`Durability`] says (with `os`: before this returns). Gives the offset of the first one.
    ///
    /// Waits only where appends outrun the preparing of space.
    ///
    /// # Errors
    /// As of [`Log::append`]; then nothing comes through `to`.
    pub fn append_async(
        &self,
        partition: &TopicPartition,
        records: &[Record<'_>],
        now_ms: i64,
        token: u64,
        to: &Arc<CompletionQueue<LogDone>>,
    ) -> Result<Offset, AppendError> {
        let partition = self.stepped.partition(partition)?;
        let batch = encode(&partition.name, records, now_ms, partition.lock().take_spare())?;
        self.append_telling(&partition, batch, Tell::Batch(token, Arc::clone(to)), || now_ms)
    }

    /// As [`Log::append_async`], of a batch that is encoded already: one of an idempotent producer, for example, which is
    /// stored once, however often it is sent. Sent again it is acknowledged at its old offsets.
    ///
    /// # Errors
    /// As of [`Log::append_async`]; or it isn't its producer's next one.
    pub fn append_batch_async(
        &self,
        partition: &TopicPartition,
        batch: EncodedBatch,
        token: u64,
        to: &Arc<CompletionQueue<LogDone>>,
    ) -> Result<Offset, AppendError> {
        let partition = self.stepped.partition(partition)?;
        self.append_telling(&partition, batch, Tell::Batch(token, Arc::clone(to)), wall_ms)
    }

    /// Appends a finished batch; each record has a token of its own, in order. Gives a buffer for the next batch;
    /// with an error, the tokens come back.
    pub(crate) fn append_batch(
        &self,
        partition: &TopicPartition,
        batch: EncodedBatch,
        tokens: Vec<u64>,
        to: &Arc<CompletionQueue<LogDone>>,
    ) -> Result<Vec<u8>, (AppendError, Vec<u64>)> {
        let partition = match self.stepped.partition(partition) {
            Ok(partition) => partition,
            Err(error) => return Err((error, tokens)),
        };
        let kept = tokens.clone();
        self.append_telling(&partition, batch, Tell::EachRecord(tokens, Arc::clone(to)), wall_ms)
            .map_err(|error| (error, kept))?;
        Ok(partition.lock().take_spare())
    }

    fn append_telling(
        &self,
        partition: &crate::core::Partition<FileOf<H>>,
        mut batch: EncodedBatch,
        tell: Tell,
        now_ms: impl FnOnce() -> i64,
    ) -> Result<Offset, AppendError> {
        let core = &self.stepped.core;
        if core.config.gives_append_time(&partition.name.topic) {
            batch.set_append_time(now_ms());
        }
        let mut effects = Effects::default();
        let (appended, log) = core.append_waiting(partition, partition.lock(), batch, tell, &mut effects)?;
        let commit = log.queue.can_begin();
        drop(log);
        if commit {
            core.want_commit(partition);
        }
        core.settle(partition, effects);
        Ok(appended.base)
    }

    /// Batches from the one that holds `from` on: up to `max_bytes`, but at least one if there is one. Empty at the
    /// readable end: the durable one with `synced`, else the log's.
    ///
    /// # Errors
    /// No such partition or offset, damage, or the disk's failure.
    pub fn fetch(
        &self,
        partition: &TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        self.stepped.fetch(partition, from, max_bytes)
    }

    /// Deletes the records below `offset`, as far as they are durable: readers are refused there soon after, and the
    /// segments that end there or before are removed. The start is durable and never goes back.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn delete_before(&self, partition: &TopicPartition, offset: Offset) -> Result<(), FetchError> {
        self.stepped.delete_before(partition, offset)
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
        self.stepped.offset_for_time(partition, timestamp_ms)
    }

    /// Where a partition starts and ends; `None` if there is no such partition.
    #[must_use]
    pub fn ends(&self, partition: &TopicPartition) -> Option<Ends> {
        self.stepped.ends(partition)
    }

    /// Sums over all partitions.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.stepped.stats()
    }

    /// The log's settings.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.stepped.core.config
    }

    pub(crate) fn stepped(&self) -> &SteppedLog<H> {
        &self.stepped
    }

    pub(crate) fn core(&self) -> &Core<FileOf<H>> {
        &self.stepped.core
    }

    /// Finishes what was staged, makes everything durable and leaves the files tidy. Dropping the log instead
    /// finishes what was staged, and leaves the rest to the next recovery.
    ///
    /// # Errors
    /// The disk's failure, now or before.
    pub fn close(self) -> Result<(), DiskError> {
        let Self { committer, compaction, upkeep, stepped } = self;
        stepped.core.closing.store(true, Ordering::Release);
        drop(committer);
        drop(compaction);
        drop(upkeep);
        stepped.close()
    }
}

/// A thread with a disk of its own that works for all partitions.
#[derive(Debug)]
struct Worker {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Rung when there is work.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
    stop: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ringing.notify_one();
    }

    fn wait(&self, at_most: Option<Duration>) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rung = match at_most {
            None => self.ringing.wait_while(rung, |r| !*r).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.ringing
                    .wait_timeout_while(rung, limit, |r| !*r)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        *rung = false;
    }
}

impl Worker {
    #[expect(clippy::disallowed_methods, reason = "this is the edge where the log gets its threads")]
    fn spawn<H: Home>(
        name: &str,
        home: H,
        core: &Arc<Core<FileOf<H>>>,
        work: impl FnOnce(H::Disk, &Core<FileOf<H>>, &Bell) + Send + 'static,
    ) -> Result<Self, DiskError> {
        let core = Arc::clone(core);
        let bell = Arc::new(Bell::default());
        let (ready, built) = mpsc::channel();
        let ringing = Arc::clone(&bell);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match home.disk() {
                Err(error) => drop(ready.send(Err(error))),
                Ok(disk) => {
                    let _ = ready.send(Ok(()));
                    work(disk, &core, &ringing);
                }
            })
            .expect("the operating system refused a thread");
        built.recv().expect("the thread reports before it ends")?;
        Ok(Self { bell, thread: Some(thread) })
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.bell);
        Waker::new(move || bell.ring())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn keep_up<D: Disk>(mut disk: D, core: &Core<D::File>, bell: &Bell) {
    let interval = match core.config.durability {
        Durability::IntervalMs(ms) => Some(Duration::from_millis(ms)),
        Durability::Os | Durability::Synced => None,
    };
    let limits = Duration::from_millis(core.config.retention_check_ms);
    let clock = Monotonic::start();
    let mut next_sync = interval.unwrap_or_default();
    let mut next_look = core.config.has_retention().then_some(Duration::ZERO);
    while !bell.stop.load(Ordering::Acquire) {
        let now = Duration::from_nanos(clock.now_ns());
        let due = interval.is_some() && now >= next_sync;
        if let Some(interval) = interval.filter(|_| due) {
            next_sync = now + interval;
        }
        if next_look.is_some_and(|at| now >= at) {
            core.enforce_retention(wall_ms());
            next_look = Some(now + limits);
        }
        let (mut busy, mut passed) =
            if due { (core.all(), Interval::Passed) } else { (core.take_upkeep(), Interval::Running) };
        let worked = !busy.is_empty();
        // One task of each in turn: a partition that waits for space isn't held up by another's sealing.
        while !busy.is_empty() && !bell.stop.load(Ordering::Acquire) {
            busy.retain(|p| core.keep_up(p, &mut disk, passed));
            passed = Interval::Running;
        }
        if !worked {
            let now = Duration::from_nanos(clock.now_ns());
            let next = [interval.map(|_| next_sync), next_look].into_iter().flatten().min();
            bell.wait(next.map(|at| at.saturating_sub(now)));
        }
    }
}

/// How often partitions are looked at for compaction, beside after each upkeep.
const COMPACTION_LOOK: Duration = Duration::from_secs(1);

/// Compacts, no faster than the limit says.
fn compact<D: Disk>(mut disk: D, core: &Core<D::File>, bell: &Bell) {
    let bytes_per_s = core.config.compaction_bytes_per_s as f64;
    let clock = Monotonic::start();
    while !bell.stop.load(Ordering::Acquire) {
        match core.compact(&mut disk, wall_ms()) {
            Stepped::Worked(bytes) => {
                let now = Duration::from_nanos(clock.now_ns());
                let next = now + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
                // A ring is no reason to go on earlier.
                while !bell.stop.load(Ordering::Acquire)
                    && let left = next.saturating_sub(Duration::from_nanos(clock.now_ns()))
                    && !left.is_zero()
                {
                    bell.wait(Some(left));
                }
            }
            Stepped::Waits | Stepped::Done => bell.wait(Some(COMPACTION_LOOK)),
        }
    }
}
