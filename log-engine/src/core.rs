//! [`Core`]: all partitions of a log and the lists of who needs a commit or upkeep. No thread: whoever drives it
//! rings no bell but those it is given.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use engine_env::{Disk, DiskError, Done, File, Machine, Op, OpId, Wait, Waker};

use crate::log::append::{AppendError, Appended, Refused};
use crate::log::batch_cache::BatchCache;
use crate::log::cleaner::{CleanError, Cleaner, Stepped};
use crate::log::fetch::{self, FetchError, Fetched, Reader};
use crate::log::partition_log::{Effects, PartitionLog, Tell};
use crate::log::recent::RecentRoom;
use crate::log::{retention, upkeep};
use crate::record::builder::EncodedBatch;
use crate::segment::time_search::TimedOffset;
use crate::stepped::Interval;
use crate::{LogConfig, Offset, TopicPartition};

/// A partition behind its lock.
#[derive(Debug)]
pub(crate) struct Partition<F> {
    pub(crate) number: u32,
    pub(crate) name: TopicPartition,
    log: Mutex<PartitionLog<F>>,
    /// The durable end, the room for appends or the failure moved.
    pub(crate) changed: Condvar,
    commit_wanted: AtomicBool,
    upkeep_wanted: AtomicBool,
    is_listed_as_moved: AtomicBool,
    /// Retention takes nothing at or behind this offset: a replicated log's high watermark.
    pub(crate) removable_below: AtomicU64,
}

impl<F> Partition<F> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, PartitionLog<F>> {
        // A panic under this lock is a broken invariant of ours; the state is as it was between two statements, and
        // readers are better served than by a second panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells readers that there may be more.
#[derive(Debug, Default)]
pub(crate) struct Readable {
    generation: AtomicU64,
    waiters: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Readable {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        // A waiter counts itself before it looks at the generation: one of the two sees the other.
        if self.waiters.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.moved.notify_all();
        }
    }

    /// Waits until the generation isn't `seen` any more.
    pub(crate) fn wait(&self, seen: u64, wait: Wait) {
        if wait == Wait::No {
            return;
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let unmoved = |(): &mut ()| self.generation() == seen;
        match wait {
            Wait::No => {}
            Wait::Forever => {
                drop(self.moved.wait_while(lock, unmoved).unwrap_or_else(PoisonError::into_inner));
            }
            Wait::AtMost(limit) => {
                drop(
                    self.moved
                        .wait_timeout_while(lock, limit, unmoved)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            }
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Table<F> {
    list: Vec<Arc<Partition<F>>>,
    by_name: HashMap<TopicPartition, u32>,
}

/// Who is told that there is work. Without bells, somebody looks by himself.
#[derive(Debug)]
pub(crate) struct Bells {
    pub(crate) commit: Waker,
    pub(crate) upkeep: Waker,
    /// Rung after upkeep, if topics are compacted.
    pub(crate) compaction: Option<Waker>,
}

/// A pass of compaction that the disk or damage ended is tried again after so long.
const GIVEN_UP_MS: i64 = 60_000;

/// The log without threads.
#[derive(Debug)]
pub(crate) struct Core<F> {
    pub(crate) config: Arc<LogConfig>,
    pub(crate) recent_room: Arc<RecentRoom>,
    pub(crate) batch_cache: BatchCache,
    table: RwLock<Table<F>>,
    to_commit: Mutex<Vec<u32>>,
    to_keep_up: Mutex<Vec<u32>>,
    pub(crate) readable: Readable,
    pub(crate) bells: OnceLock<Bells>,
    pub(crate) closing: AtomicBool,
    /// The broker over this log, if there is one: rung when a commit or upkeep has moved a partition.
    pub(crate) broker: OnceLock<Waker>,
    moved: Mutex<Vec<u32>>,
    cleaning: Mutex<Cleaning<F>>,
}

/// The compaction that is under way: one partition at a time.
#[derive(Debug)]
struct Cleaning<F> {
    pass: Option<(Arc<Partition<F>>, Cleaner<F>)>,
    /// Whose turn it is to be looked at first.
    turn: usize,
}

impl<F: File> Core<F> {
    pub(crate) fn new(config: Arc<LogConfig>) -> Self {
        Self {
            recent_room: RecentRoom::new(&config),
            batch_cache: BatchCache::new(config.batch_cache_bytes),
            config,
            table: RwLock::new(Table { list: Vec::new(), by_name: HashMap::new() }),
            to_commit: Mutex::default(),
            to_keep_up: Mutex::default(),
            readable: Readable::default(),
            bells: OnceLock::new(),
            closing: AtomicBool::new(false),
            broker: OnceLock::new(),
            moved: Mutex::default(),
            cleaning: Mutex::new(Cleaning { pass: None, turn: 0 }),
        }
    }

    pub(crate) fn add(&self, log: PartitionLog<F>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(table.list.len()).expect("fewer than 2^32 partitions");
        let name = log.name.clone();
        table.by_name.insert(name.clone(), number);
        table.list.push(Arc::new(Partition {
            number,
            name,
            log: Mutex::new(log),
            changed: Condvar::new(),
            commit_wanted: AtomicBool::new(false),
            upkeep_wanted: AtomicBool::new(false),
            is_listed_as_moved: AtomicBool::new(false),
            removable_below: AtomicU64::new(u64::MAX),
        }));
    }

    pub(crate) fn all(&self) -> Vec<Arc<Partition<F>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    pub(crate) fn get(&self, name: &TopicPartition) -> Option<Arc<Partition<F>>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_name.get(name).map(|&number| Arc::clone(&table.list[number as usize]))
    }

    fn by_number(&self, number: u32) -> Arc<Partition<F>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table.list[number as usize])
    }

    /// Tells the broker, if there is one, that there is more room, more that is durable, or a failure.
    fn tell_broker(&self, partition: &Partition<F>) {
        let Some(broker) = self.broker.get() else { return };
        if !partition.is_listed_as_moved.swap(true, Ordering::AcqRel) {
            self.moved.lock().unwrap_or_else(PoisonError::into_inner).push(partition.number);
            broker.wake();
        }
    }

    /// The numbers of the partitions that moved since the last call.
    pub(crate) fn take_moved(&self, into: &mut Vec<u32>) {
        let from = into.len();
        into.append(&mut self.moved.lock().unwrap_or_else(PoisonError::into_inner));
        if into.len() > from {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            for &number in &into[from..] {
                // Before the broker looks: what moves from here on is told again.
                table.list[number as usize].is_listed_as_moved.store(false, Ordering::Release);
            }
        }
    }

    pub(crate) fn want_commit(&self, partition: &Partition<F>) {
        if !partition.commit_wanted.swap(true, Ordering::AcqRel) {
            self.to_commit.lock().unwrap_or_else(PoisonError::into_inner).push(partition.number);
            if let Some(bells) = self.bells.get() {
                bells.commit.wake();
            }
        }
    }

    pub(crate) fn want_upkeep(&self, partition: &Partition<F>) {
        if !partition.upkeep_wanted.swap(true, Ordering::AcqRel) {
            self.to_keep_up.lock().unwrap_or_else(PoisonError::into_inner).push(partition.number);
            if let Some(bells) = self.bells.get() {
                bells.upkeep.wake();
            }
        }
    }

    /// Appends, once. Whoever calls delivers the effects and asks for commits.
    pub(crate) fn try_append(
        &self,
        partition: &Partition<F>,
        log: &mut PartitionLog<F>,
        batch: EncodedBatch,
        tell: Tell,
        effects: &mut Effects,
    ) -> Result<Appended, Refused> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Refused::Error(AppendError::Closed { partition: partition.name.clone() }));
        }
        let appended = log.append(batch, tell, effects);
        if log.failed.is_some() {
            // Upkeep has nothing more to do here: those who wait for room hear it now or never.
            partition.changed.notify_all();
        }
        if log.next_task().is_some() {
            self.want_upkeep(partition);
        }
        appended
    }

    /// Appends, waiting for room if need be. The lock is still held afterwards.
    pub(crate) fn append_waiting<'p>(
        &self,
        partition: &'p Partition<F>,
        mut log: MutexGuard<'p, PartitionLog<F>>,
        mut batch: EncodedBatch,
        mut tell: Tell,
        effects: &mut Effects,
    ) -> Result<(Appended, MutexGuard<'p, PartitionLog<F>>), AppendError> {
        loop {
            match self.try_append(partition, &mut log, batch, tell, effects) {
                Ok(appended) => return Ok((appended, log)),
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::NeedsRoom(batch_again, tell_again)) => {
                    (batch, tell) = (batch_again, tell_again);
                    log = partition.changed.wait(log).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// After the lock was released: results to their queues, waiters and readers told.
    pub(crate) fn settle(&self, partition: &Partition<F>, effects: Effects) {
        if effects.progressed {
            self.readable.advance();
            self.tell_broker(partition);
        }
        effects.deliver();
    }

    /// Runs one task of upkeep of one partition.
    pub(crate) fn keep_up<D: Disk<File = F>>(
        &self,
        partition: &Partition<F>,
        disk: &mut D,
        interval: Interval,
    ) -> bool {
        let mut log = partition.lock();
        log.sync_due |= interval == Interval::Passed && log.durable < log.end;
        if log.can_truncate() {
            log.truncate(disk);
            drop(log);
            self.tell_broker(partition);
            return true;
        }
        let Some(task) = log.next_task() else { return false };
        let dir = log.dir.clone();
        drop(log);
        let only_takes_space = task.only_takes_space();
        let result = upkeep::run(disk, &dir, upkeep::names_synced(&self.config), task);
        partition.lock().finish_task(result, only_takes_space);
        if let Some(compaction) = self.bells.get().and_then(|b| b.compaction.as_ref()) {
            compaction.wake();
        }
        // Whoever waits for room, or for nothing any more because it failed.
        partition.changed.notify_all();
        self.tell_broker(partition);
        true
    }

    /// Asks upkeep to remove what is too old, or too much.
    pub(crate) fn enforce_retention(&self, now_ms: i64) {
        if !self.config.has_retention() {
            return;
        }
        for partition in self.all() {
            if self.config.compacts(&partition.name.topic) {
                continue;
            }
            let mut log = partition.lock();
            if log.failed.is_some() {
                continue;
            }
            log.leave_old_active(now_ms);
            let sealed = log.sealed();
            let behind = log.segments[sealed.len()..].iter().map(|s| s.len).sum::<u64>();
            let active_bytes = behind + log.active.position;
            drop(log);
            let below = Offset(partition.removable_below.load(Ordering::Acquire));
            // Outside the lock: it may have to read. What can't be read is the readers' to report, and is kept.
            let start = retention::start_within_limits(&self.config, &sealed, active_bytes, below, now_ms);
            let mut log = partition.lock();
            if let Ok(Some(start)) = start {
                log.want_start(start);
            }
            let has_task = log.next_task().is_some();
            drop(log);
            if has_task {
                self.want_upkeep(&partition);
            }
        }
    }

    /// Compacts for a step.
    pub(crate) fn compact<D: Disk<File = F>>(&self, disk: &mut D, now_ms: i64) -> Stepped {
        let mut cleaning = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaning.pass.is_none() {
            let mut topics = self.all();
            topics.retain(|p| self.config.compacts(&p.name.topic));
            let turn = cleaning.turn % topics.len().max(1);
            topics.rotate_left(turn);
            cleaning.pass = topics.into_iter().zip(1..).find_map(|(partition, looked_at)| {
                let below = Offset(partition.removable_below.load(Ordering::Acquire));
                let cleaner = partition.lock().cleaner(below, now_ms)?;
                cleaning.turn = turn + looked_at;
                Some((partition, cleaner))
            });
        }
        let Some((partition, cleaner)) = &mut cleaning.pass else { return Stepped::Done };
        let partition = Arc::clone(partition);
        match cleaner.step(disk, now_ms, || partition.lock()) {
            Ok(Stepped::Done) => {
                cleaning.pass = None;
                // The next look may find another partition.
                Stepped::Worked(0)
            }
            Ok(stepped) => {
                if partition.lock().next_task().is_some() {
                    self.want_upkeep(&partition);
                }
                stepped
            }
            Err(why) => {
                cleaning.pass = None;
                // The log itself is as it was. Readers of a damaged place are told by their own errors.
                if !matches!(why, CleanError::Overtaken) {
                    partition.lock().clean_later(now_ms.saturating_add(GIVEN_UP_MS));
                }
                Stepped::Worked(0)
            }
        }
    }

    /// Asks upkeep to let a partition start at `offset`, or at what is durable if that is less.
    pub(crate) fn delete_before(&self, partition: &Partition<F>, offset: Offset) {
        let below = Offset(partition.removable_below.load(Ordering::Acquire));
        partition.lock().want_start(offset.min(below));
        self.want_upkeep(partition);
    }

    /// The partitions that asked for upkeep since the last call.
    pub(crate) fn take_upkeep(&self) -> Vec<Arc<Partition<F>>> {
        let list = std::mem::take(&mut *self.to_keep_up.lock().unwrap_or_else(PoisonError::into_inner));
        let partitions: Vec<_> = list.into_iter().map(|n| self.by_number(n)).collect();
        for p in &partitions {
            p.upkeep_wanted.store(false, Ordering::Release);
        }
        partitions
    }

    pub(crate) fn look_up(&self, name: &TopicPartition) -> Result<Arc<Partition<F>>, FetchError> {
        self.get(name).ok_or_else(|| FetchError::UnknownPartition { partition: name.clone() })
    }

    pub(crate) fn fetch(
        &self,
        name: &TopicPartition,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let partition = self.look_up(name)?;
        self.fetch_as(&partition, Reader::Local, from, max_bytes)
    }

    pub(crate) fn offset_for_time(
        &self,
        name: &TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<TimedOffset>, FetchError> {
        self.offset_for_time_as(&*self.look_up(name)?, Reader::Local, timestamp_ms)
    }

    /// As [`Core::offset_for_time`], for that reader.
    pub(crate) fn offset_for_time_as(
        &self,
        partition: &Partition<F>,
        reader: Reader,
        timestamp_ms: i64,
    ) -> Result<Option<TimedOffset>, FetchError> {
        let stretches = partition.lock().stretches(timestamp_ms, reader);
        stretches.first_at(&partition.name, timestamp_ms)
    }

    /// As [`Core::fetch`], for that reader.
    pub(crate) fn fetch_as(
        &self,
        partition: &Partition<F>,
        reader: Reader,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        // Followers and consumers behind a broker unpack for themselves.
        let cache = (reader == Reader::Local).then_some(&self.batch_cache);
        fetch::fetch(&partition.name, from, max_bytes, cache, |at| partition.lock().spot(at, reader))
    }
}

impl<F: File> Machine<F> for Core<F> {
    fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>)) {
        let list = std::mem::take(&mut *self.to_commit.lock().unwrap_or_else(PoisonError::into_inner));
        for number in list {
            let partition = self.by_number(number);
            partition.commit_wanted.store(false, Ordering::Release);
            let mut log = partition.lock();
            let sync = log.commit_sync();
            if let Some((file, at, buf)) = log.queue.begin() {
                // One commit of a partition is in flight at most: its number names it.
                submit(OpId(u64::from(number)), Op::Write { file, at, buf, sync });
            }
        }
    }

    fn on_done(&self, done: Done<F>) {
        let number = u32::try_from(done.id.0).expect("start() names commits by a partition's number");
        let partition = self.by_number(number);
        let bytes = done.buf.expect("a write gives its buffer back");
        let result: Result<(), DiskError> = done.result.map(drop);
        let mut effects = Effects::default();
        let mut log = partition.lock();
        log.finish_commit(result, bytes, &mut effects);
        let more = log.queue.can_begin();
        let upkeep = log.next_task().is_some();
        drop(log);
        if more {
            self.want_commit(&partition);
        }
        if upkeep {
            self.want_upkeep(&partition);
        }
        self.settle(&partition, effects);
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use engine_env::rng::Seed;
    use engine_env::sim::{Fault, SimHome};
    use engine_env::{CompletionQueue, DiskErrorKind};

    use super::*;
    use crate::{Durability, Record, SteppedLog};

    /// With `os`, one thread waited for the next segment when another's write failed: upkeep had nothing to do in a
    /// failed partition, nobody else told the waiter, and its append never came back.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test has threads")]
    fn a_failed_write_ends_the_wait_for_room() {
        let home = SimHome::new(Seed(1));
        let config = LogConfig { durability: Durability::Os, segment_bytes: 4096, ..LogConfig::default() };
        let (log, _) = SteppedLog::open(home.clone(), config).expect("it opens");
        log.create_topic("t", 1).expect("new");
        let name = log.partitions().remove(0);
        let done = Arc::new(CompletionQueue::new());
        let large = [0; 3000];
        log.append(&name, &[Record::of_value(&large)], 1, 0, &done).expect("there is room");

        let partition = log.core.get(&name).expect("it was created");
        let (core, waiting) = (Arc::clone(&log.core), Arc::clone(&partition));
        let (sender, came_back) = mpsc::channel();
        std::thread::spawn(move || {
            let batch = EncodedBatch::of(&[Record::of_value(&large)], 1, Vec::new()).expect("a small record");
            let appended = core
                .append_waiting(&waiting, waiting.lock(), batch, Tell::Nobody, &mut Effects::default())
                .map(|(appended, _)| appended);
            sender.send(appended).expect("the test waits for it");
        });
        while !partition.lock().wanted.next {
            std::thread::yield_now();
        }
        home.fail_next(Fault::WriteError);
        log.append(&name, &[Record::of_value(b"small")], 1, 1, &done).expect_err("the write fails");
        let appended = came_back.recv_timeout(Duration::from_secs(20)).expect("it doesn't wait for ever");
        let Err(AppendError::Failed { cause, .. }) = appended else { panic!("{appended:?}") };
        assert!(matches!(cause.kind, DiskErrorKind::Os(_)), "{cause}");
    }
}
