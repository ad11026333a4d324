//! [`Applier`]: turns records of a topic into commits of a store, each with the positions last. No thread, no disk.
//!
//! Whoever drives it takes records from a source, hands the batch to a store, and tells it what became of that.

use kv_engine::{
    BatchAnswers, BatchWrite, GetError, KEY_BYTES_MAX, PutError, VectorClock, Versioned, resolve_by_time,
};
use log_engine::{Offset, TopicPartition};

use super::position::{Position, PositionError};

/// A record, as far as a view is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key; a record without one has no place in a view.
    pub key: Option<&'a [u8]>,
    /// The value; `None` deletes the key.
    pub value: Option<&'a [u8]>,
}

/// What the store's keys begin with.
const RECORD: u8 = b'r';
const POSITION: u8 = b'p';
/// Versions count from 1, offsets from 0.
const FIRST_VERSION: u64 = 1;
/// Partitions stand in clocks as node ids do.
const PARTITIONS_MAX: u32 = 1 << 15;

/// A clock's versions have at most seven bytes.
const OFFSET_MAX: u64 = 1 << 48;

/// The key under which the view's store keeps `key`.
#[must_use]
pub fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(RECORD);
    stored.extend_from_slice(key);
    stored
}

/// The key that the view's store keeps under `stored`; none if it keeps something else there.
pub(super) fn key_of(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[RECORD])
}

fn position_key(partition: &TopicPartition) -> Vec<u8> {
    let mut key = vec![POSITION];
    key.extend_from_slice(partition.to_string().as_bytes());
    key
}

/// The clock of a partition's record: later records of the partition descend from it.
fn clock_at(partition: u32, offset: Offset, timestamp_ms: i64) -> VectorClock {
    let node = u16::try_from(partition).expect("partitions are fewer than 32768: checked in open");
    VectorClock::from_entries([(node, offset.0 + FIRST_VERSION)], timestamp_ms)
        .expect("a version of at least 1 and below 2^49, of a node below 32768, is valid")
}

/// The one value among the versions of a key. More than one is there only if records of the key are in more than one
/// partition: then the latest by timestamp.
#[must_use]
pub fn resolve(versions: Vec<Versioned>) -> Option<Versioned> {
    let newest_ms = versions.iter().map(|v| v.clock.timestamp_ms()).max()?;
    resolve_by_time(versions, newest_ms)
}

/// Records that could not be applied, by reason. They stay in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// Without a key.
    pub without_key: u64,
    /// With a key or a value that the store doesn't take.
    pub too_long: u64,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The partitions that moved, and where they are now.
    pub moved: Vec<(u32, Position)>,
    /// Records that changed something, or deleted what wasn't there.
    pub records: u64,
    /// Records that had been applied before a crash.
    pub repeated: u64,
}

/// Why an applier can't begin or go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApplierError {
    /// The position can't be read.
    #[error(
        "the view's position in {partition} can't be read ({cause}); build the view again in an empty folder"
    )]
    PositionUnreadable {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        #[source]
        cause: GetError,
    },
    /// The position isn't one.
    #[error("the view's position in {partition} makes no sense: {cause}")]
    PositionUnknown {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        #[source]
        cause: PositionError,
    },
    /// Clocks have no place for that many.
    #[error("a view takes topics of at most {PARTITIONS_MAX} partitions, not {partitions}")]
    TooManyPartitions {
        /// How many the topic has.
        partitions: u32,
    },
    /// The source named a partition that the topic doesn't have.
    #[error("the source gave a record of {partition}, which the view doesn't follow")]
    UnknownPartition {
        /// The partition.
        partition: TopicPartition,
    },
    /// No log that was written by appending gets there.
    #[error("{partition} has a record at offset {offset}, more than a view can count to; the log is damaged")]
    OffsetTooHigh {
        /// The partition.
        partition: TopicPartition,
        /// The offset.
        offset: Offset,
    },
    /// The store refused the position: somebody else writes to it.
    #[error(
        "the view's position in {partition} was overtaken ({cause}); one view writes to a store, never two"
    )]
    PositionRefused {
        /// The partition.
        partition: TopicPartition,
        /// What the store said.
        #[source]
        cause: PutError,
    },
}

#[derive(Debug)]
struct Followed {
    partition: TopicPartition,
    key: Vec<u8>,
    /// What the store holds, as durably as it promises.
    applied: Position,
    /// With what has gathered.
    gathered: Position,
}

#[derive(Debug)]
enum Write {
    Put(Versioned),
    Delete(VectorClock),
}

/// Gathers records and makes commits of them.
#[derive(Debug)]
pub struct Applier {
    followed: Vec<Followed>,
    writes: Vec<(Vec<u8>, Write)>,
    bytes: usize,
    /// The writes from here on are positions.
    positions_from: usize,
    /// The partitions whose positions are in the batch, in order.
    moving: Vec<usize>,
    skipped: Skipped,
}

impl Applier {
    /// An applier for all partitions of `topic`, from the positions that `get` finds in the store.
    ///
    /// # Errors
    /// A position is there and can't be read, or the topic has too many partitions.
    pub fn open(
        topic: &str,
        partitions: u32,
        mut get: impl FnMut(&[u8]) -> Result<Vec<Versioned>, GetError>,
    ) -> Result<Self, ApplierError> {
        if partitions > PARTITIONS_MAX {
            return Err(ApplierError::TooManyPartitions { partitions });
        }
        let mut followed = Vec::new();
        for number in 0..partitions {
            let partition = TopicPartition::new(topic, number);
            let key = position_key(&partition);
            let stored = get(&key)
                .map_err(|cause| ApplierError::PositionUnreadable { partition: partition.clone(), cause })?;
            let applied = match stored.first() {
                None => Position::default(),
                Some(stored) => Position::decode(&stored.value)
                    .map_err(|cause| ApplierError::PositionUnknown { partition: partition.clone(), cause })?,
            };
            followed.push(Followed { partition, key, applied, gathered: applied });
        }
        Ok(Self {
            followed,
            writes: Vec::new(),
            bytes: 0,
            positions_from: 0,
            moving: Vec::new(),
            skipped: Skipped::default(),
        })
    }

    /// How far each partition is applied, by number.
    pub fn positions(&self) -> impl Iterator<Item = (u32, Position)> {
        self.followed.iter().map(|f| (f.partition.partition, f.applied))
    }

    /// The offset to fetch next from each partition, by number.
    pub fn wanted(&self) -> impl Iterator<Item = (u32, Offset)> {
        self.followed.iter().map(|f| (f.partition.partition, f.gathered.next))
    }

    /// Bytes that have gathered for the next commit.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.bytes
    }

    /// What could not be applied so far.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Gathers a record. One below the position is left out: it is applied.
    ///
    /// # Errors
    /// The topic has no such partition.
    ///
    /// # Panics
    /// If a batch is out: tell what became of it first.
    pub fn take(&mut self, partition: u32, change: &Change<'_>) -> Result<(), ApplierError> {
        assert!(self.moving.is_empty(), "a record came between a batch and its result");
        let topic = self.followed.first().map_or("", |f| f.partition.topic.as_str()).to_owned();
        let Some(followed) = self.followed.get_mut(partition as usize) else {
            let partition = TopicPartition::new(topic, partition);
            return Err(ApplierError::UnknownPartition { partition });
        };
        if change.offset.0 > OFFSET_MAX {
            let (partition, offset) = (followed.partition.clone(), change.offset);
            return Err(ApplierError::OffsetTooHigh { partition, offset });
        }
        if change.offset < followed.gathered.next {
            return Ok(());
        }
        followed.gathered.next = change.offset.plus(1);
        followed.gathered.newest_ms = followed.gathered.newest_ms.max(change.timestamp_ms);
        let Some(key) = change.key else {
            self.skipped.without_key += 1;
            return Ok(());
        };
        if key.len() >= KEY_BYTES_MAX {
            self.skipped.too_long += 1;
            return Ok(());
        }
        let clock = clock_at(partition, change.offset, change.timestamp_ms);
        let write = match change.value {
            Some(value) => Write::Put(Versioned::new(clock, value)),
            None => Write::Delete(clock),
        };
        self.bytes += 1 + key.len() + change.value.map_or(0, <[u8]>::len);
        self.writes.push((stored_key(key), write));
        Ok(())
    }

    /// What has gathered, as one batch with the positions last; none if nothing has. Say with [`Applier::applied`] what
    /// the store answered.
    pub fn batch(&mut self) -> Option<Vec<BatchWrite<'_>>> {
        if self.moving.is_empty() {
            self.positions_from = self.writes.len();
            for (i, followed) in self.followed.iter().enumerate() {
                if followed.gathered != followed.applied {
                    let Position { next, newest_ms } = followed.gathered;
                    // The clock of the last record applied: rises with every commit.
                    let clock = clock_at(followed.partition.partition, Offset(next.0 - 1), newest_ms);
                    let position = Versioned::new(clock, followed.gathered.encode());
                    self.writes.push((followed.key.clone(), Write::Put(position)));
                    self.moving.push(i);
                }
            }
            if self.moving.is_empty() {
                return None;
            }
        }
        let batch = self.writes.iter().map(|(key, write)| match write {
            Write::Put(version) => BatchWrite::Put { key, version },
            Write::Delete(version) => BatchWrite::Delete { key, version },
        });
        Some(batch.collect())
    }

    /// The batch is in the store, as durable as it promises; these were its answers.
    ///
    /// # Errors
    /// A position was refused: the store has another writer, and this view can't go on.
    pub fn applied(&mut self, answers: BatchAnswers) -> Result<Applied, ApplierError> {
        let mut applied = Applied::default();
        for (i, answer) in answers.into_iter().enumerate() {
            let position = i.checked_sub(self.positions_from).map(|i| self.moving[i]);
            match (position, answer) {
                (None, Ok(_)) => applied.records += 1,
                (None, Err(PutError::ObsoleteVersion { .. })) => applied.repeated += 1,
                (None, Err(_)) => self.skipped.too_long += 1,
                (Some(i), Ok(_)) => {
                    let followed = &mut self.followed[i];
                    followed.applied = followed.gathered;
                    applied.moved.push((followed.partition.partition, followed.applied));
                }
                (Some(i), Err(cause)) => {
                    let partition = self.followed[i].partition.clone();
                    return Err(ApplierError::PositionRefused { partition, cause });
                }
            }
        }
        self.writes.clear();
        self.moving.clear();
        self.bytes = 0;
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kv_engine::{MemoryStorage, Storage};

    use super::*;

    fn change(offset: u64, key: &'static [u8], value: Option<&'static [u8]>) -> Change<'static> {
        Change { offset: Offset(offset), timestamp_ms: 10 + offset as i64, key: Some(key), value }
    }

    /// Writes the first `n` writes of the batch, as a crash may leave them.
    fn write(store: &MemoryStorage, batch: &[BatchWrite<'_>], n: usize) -> BatchAnswers {
        let answers = batch.iter().take(n).map(|write| match *write {
            BatchWrite::Put { key, version } => store.put(key, version).map(|()| true),
            BatchWrite::Delete { key, version } => Ok(store.delete(key, version).expect("in memory")),
        });
        answers.collect()
    }

    fn contents(store: &MemoryStorage) -> BTreeMap<Vec<u8>, Vec<Versioned>> {
        let mut all = BTreeMap::new();
        store.for_each(|key, versions| drop(all.insert(key.to_vec(), versions.to_vec())));
        all
    }

    const LOG: [Change<'static>; 6] = [
        Change { offset: Offset(0), timestamp_ms: 1, key: Some(b"a"), value: Some(b"1") },
        Change { offset: Offset(1), timestamp_ms: 2, key: Some(b"b"), value: Some(b"2") },
        Change { offset: Offset(2), timestamp_ms: 3, key: Some(b"a"), value: None },
        Change { offset: Offset(3), timestamp_ms: 4, key: None, value: Some(b"nowhere") },
        Change { offset: Offset(4), timestamp_ms: 5, key: Some(b"b"), value: Some(b"5") },
        Change { offset: Offset(5), timestamp_ms: 6, key: Some(b"c"), value: Some(b"6") },
    ];

    fn open(store: &MemoryStorage) -> Applier {
        Applier::open("t", 2, |key| store.get(key)).expect("positions that were written")
    }

    #[test]
    fn whatever_part_of_a_commit_survives_going_on_ends_at_the_same() {
        let whole = MemoryStorage::new();
        let mut applier = open(&whole);
        LOG.iter().for_each(|c| applier.take(1, c).expect("there is a partition 1"));
        let batch = applier.batch().expect("something gathered");
        let answers = write(&whole, &batch, usize::MAX);
        let applied = applier.applied(answers).expect("a fresh store");
        assert_eq!(
            applied,
            Applied { moved: vec![(1, Position { next: Offset(6), newest_ms: 6 })], records: 5, repeated: 0 }
        );
        assert_eq!(applier.skipped(), Skipped { without_key: 1, too_long: 0 });
        for survives in 0..=6 {
            for first in 1..LOG.len() {
                let store = MemoryStorage::new();
                let mut applier = open(&store);
                LOG[..first].iter().for_each(|c| applier.take(1, c).expect("a partition"));
                write(&store, &applier.batch().expect("something gathered"), survives);
                let mut again = open(&store);
                let (_, wanted) = again.wanted().last().expect("two partitions");
                assert!(wanted == Offset(0) || wanted == LOG[first - 1].offset.plus(1));
                for c in &LOG[wanted.0 as usize..] {
                    again.take(1, c).expect("a partition");
                }
                let batch = again.batch().expect("something gathered");
                let answers = write(&store, &batch, usize::MAX);
                again.applied(answers).expect("one writer");
                assert_eq!(contents(&store), contents(&whole), "{survives} of {first} survived");
            }
        }
    }

    #[test]
    fn what_was_applied_is_left_out_and_gaps_are_taken() {
        let store = MemoryStorage::new();
        let mut applier = open(&store);
        applier.take(0, &change(7, b"k", Some(b"x"))).expect("a partition");
        applier.take(0, &change(6, b"k", Some(b"old"))).expect("a partition");
        let batch = applier.batch().expect("one record");
        assert_eq!(batch.len(), 2);
        let answers = write(&store, &batch, 2);
        applier.applied(answers).expect("fresh");
        assert!(applier.batch().is_none());
        assert_eq!(resolve(store.get(&stored_key(b"k")).expect("there")).expect("one").value, b"x");
        assert!(matches!(
            applier.take(2, &change(0, b"k", None)),
            Err(ApplierError::UnknownPartition { .. })
        ));
    }

    #[test]
    fn two_views_on_one_store_are_noticed() {
        let store = MemoryStorage::new();
        let (mut one, mut other) = (open(&store), open(&store));
        for applier in [&mut one, &mut other] {
            applier.take(0, &change(0, b"k", Some(b"x"))).expect("a partition");
        }
        let answers = write(&store, &one.batch().expect("one record"), 2);
        one.applied(answers).expect("fresh");
        let answers = write(&store, &other.batch().expect("one record"), 2);
        assert!(matches!(other.applied(answers), Err(ApplierError::PositionRefused { .. })));
    }

    #[test]
    fn a_position_that_makes_no_sense_is_no_beginning() {
        let store = MemoryStorage::new();
        let version = Versioned::new(VectorClock::empty(0), b"what");
        store.put(&position_key(&TopicPartition::new("t", 1)), &version).expect("fresh");
        let error = Applier::open("t", 2, |key| store.get(key)).expect_err("no position");
        assert!(error.to_string().contains("t-1"), "{error}");
        assert!(matches!(
            Applier::open("t", 40_000, |_| Ok(Vec::new())),
            Err(ApplierError::TooManyPartitions { .. })
        ));
    }
}
