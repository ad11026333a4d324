//! [`BatchPlan`]: what a thread of the log's writers appends next: batches of many sizes to several topics and partitions.
//! Pure, from a seed. A record's key is its ID as text, its value random bytes. In a compacted topic the key is one of a few
//! numbers, the ID stands in a header, and some records have no value: tombstones.

use engine_env::rng::{Rng, Seed};
use log_engine::{Header, Record, TopicPartition};
use rand::{Rng as _, RngExt as _};

use super::token::{Partition, RecordId, Token, ValueCrc};

/// Topics and how many partitions each has. Names with dots and dashes are legal, and awkward.
pub(super) const TOPICS: [(&str, u32); 2] = [("stress", 4), ("stress-audit.v2", 2)];

/// The compacted topic, if there is one.
pub(super) const COMPACTED: (&str, u32) = ("stress-latest", 2);
/// Keys of each of its partitions.
const KEYS: u32 = 64;
/// The header that holds the ID of a record of a compacted topic.
pub(super) const ID_HEADER: &str = "id";

/// A record before it is encoded.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) token: Token,
    key: Vec<u8>,
    id: Vec<u8>,
    is_keyed: bool,
    value: Option<Vec<u8>>,
}

impl Draft {
    /// A record of `to` with that name. Without a value it is a tombstone, and its name has a key.
    pub(crate) fn new(to: &TopicPartition, id: RecordId, value: Option<Vec<u8>>) -> Self {
        let name = id.to_string().into_bytes();
        let (key, is_keyed) = match id.key {
            None => (name.clone(), false),
            Some(key) => (key.to_string().into_bytes(), true),
        };
        let crc = value.as_deref().map_or(ValueCrc::TOMBSTONE, ValueCrc::of);
        let to = Partition { topic: to.topic.clone(), partition: to.partition };
        let token = Token::App { to, id, value: crc, offset: None };
        Self { token, key, id: name, is_keyed, value }
    }

    /// The header that a record of a compacted topic has.
    fn header(&self) -> Header<'_> {
        Header { name: ID_HEADER, value: Some(&self.id) }
    }
}

/// Hands the drafts to `use_them` as records of that time.
pub(crate) fn as_records<T>(
    drafts: &[Draft],
    timestamp_ms: i64,
    use_them: impl FnOnce(&[Record<'_>]) -> T,
) -> T {
    let headers: Vec<[Header<'_>; 1]> = drafts.iter().map(|draft| [draft.header()]).collect();
    let records: Vec<Record<'_>> = drafts
        .iter()
        .zip(&headers)
        .map(|(draft, header)| Record {
            key: Some(&draft.key),
            value: draft.value.as_deref(),
            timestamp_ms,
            headers: if draft.is_keyed { header.as_slice() } else { &[] },
        })
        .collect();
    use_them(&records)
}

/// The batches of one thread of a run.
pub(super) struct BatchPlan {
    rng: Rng,
    run: u64,
    thread: u32,
    seq: u64,
    /// Whether some go to the compacted topic.
    compacted: bool,
}

impl BatchPlan {
    pub(super) fn new(seed: Seed, run: u64, thread: u32, compacted: bool) -> Self {
        let rng = seed.derive("batches", run << 16 | u64::from(thread)).rng();
        Self { rng, run, thread, seq: 0, compacted }
    }

    /// How many records the next batch shall have.
    pub(super) fn size(&mut self) -> u64 {
        match self.rng.random_range(0..100) {
            0..60 => 1,
            60..90 => self.rng.random_range(2..9),
            _ => self.rng.random_range(9..100),
        }
    }

    /// So many records, and where they go.
    pub(super) fn batch(&mut self, records: u64) -> (TopicPartition, Vec<Draft>) {
        let is_keyed = self.compacted && self.rng.random_bool(0.5);
        let (topic, partitions) =
            if is_keyed { COMPACTED } else { TOPICS[self.rng.random_range(0..TOPICS.len())] };
        let to = TopicPartition::new(topic, self.rng.random_range(0..partitions));
        let drafts = (0..records).map(|_| self.draft(&to, is_keyed)).collect();
        (to, drafts)
    }

    fn draft(&mut self, to: &TopicPartition, is_keyed: bool) -> Draft {
        self.seq += 1;
        let key = is_keyed.then(|| self.rng.random_range(0..KEYS));
        let id = RecordId { run: self.run, thread: self.thread, seq: self.seq, key };
        let is_tombstone = is_keyed && self.rng.random_bool(0.1);
        let value = (!is_tombstone).then(|| self.value(usize::from(is_keyed)));
        Draft::new(to, id, value)
    }

    /// Random bytes, so many at least.
    fn value(&mut self, bytes_min: usize) -> Vec<u8> {
        let len = match self.rng.random_range(0..100) {
            0..70 => self.rng.random_range(bytes_min..100),
            70..95 => self.rng.random_range(100..1_000),
            _ => self.rng.random_range(1_000..8_000),
        };
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
