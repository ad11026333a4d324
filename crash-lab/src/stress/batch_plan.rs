//! [`BatchPlan`]: what a thread of the log's writers appends next: batches of many sizes to several topics and partitions.
//! Pure, from a seed. A record's key is its ID as text, its value random bytes.

use engine_env::rng::{Rng, Seed};
use log_engine::{Record, TopicPartition};
use rand::{Rng as _, RngExt as _};

use super::token::{Partition, RecordId, Token, ValueCrc};

/// Topics and how many partitions each has. Names with dots and dashes are legal, and awkward.
pub(super) const TOPICS: [(&str, u32); 2] = [("stress", 4), ("stress-audit.v2", 2)];

/// A record before it is encoded.
pub(super) struct Draft {
    pub(super) token: Token,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Draft {
    pub(super) fn record(&self, now_ms: i64) -> Record<'_> {
        Record { key: Some(&self.key), value: Some(&self.value), timestamp_ms: now_ms, headers: &[] }
    }
}

/// The batches of one thread of a run.
pub(super) struct BatchPlan {
    rng: Rng,
    run: u64,
    thread: u32,
    seq: u64,
}

impl BatchPlan {
    pub(super) fn new(seed: Seed, run: u64, thread: u32) -> Self {
        Self { rng: seed.derive("batches", run << 16 | u64::from(thread)).rng(), run, thread, seq: 0 }
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
        let (topic, partitions) = TOPICS[self.rng.random_range(0..TOPICS.len())];
        let to = TopicPartition::new(topic, self.rng.random_range(0..partitions));
        let drafts = (0..records).map(|_| self.draft(&to)).collect();
        (to, drafts)
    }

    fn draft(&mut self, to: &TopicPartition) -> Draft {
        self.seq += 1;
        let id = RecordId { run: self.run, thread: self.thread, seq: self.seq };
        let value = self.value();
        let to = Partition { topic: to.topic.clone(), partition: to.partition };
        let token = Token::App { to, id, value: ValueCrc::of(&value), offset: None };
        Draft { token, key: id.to_string().into_bytes(), value }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.random_range(0..100) {
            0..70 => self.rng.random_range(0..100),
            70..95 => self.rng.random_range(100..1_000),
            _ => self.rng.random_range(1_000..8_000),
        };
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}
