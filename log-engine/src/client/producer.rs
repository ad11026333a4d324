//! [`Producer`]: gathers records into batches, one batch a partition. No linger: what has gathered goes when the
//! batch is full, or at [`Producer::flush`].

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::{CompletionQueue, Home};

use super::accumulator::Accumulator;
use super::numbering::{Numbering, ProducerIdentity};
use super::partitioner::partition_for_key;
use crate::TopicPartition;
use crate::log::append::AppendError;
use crate::log::partition_log::LogDone;
use crate::record::compression::Compression;
use crate::record::record::Record;
use crate::store::Log;

/// Settings of a [`Producer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// A batch goes when it has this many bytes. Default 16 KiB, as Kafka's `batch.size`.
    pub batch_bytes: usize,
    /// How a batch's records are packed. Default not at all, as Kafka's `compression.type`. `batch_bytes` counts them
    /// unpacked.
    pub compression: Compression,
    /// Makes it idempotent: its batches are numbered, so that one is stored once, whoever sends it again, and none is
    /// stored out of order. Default none.
    pub identity: Option<ProducerIdentity>,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self { batch_bytes: 16 << 10, compression: Compression::None, identity: None }
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No such topic.
    #[error("there is no topic {topic}; create it first")]
    UnknownTopic {
        /// The topic that was named.
        topic: String,
    },
    /// The log refused the record.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Batches records for a log. Each record's [`LogDone`] comes through the queue given to [`Producer::new`].
#[derive(Debug)]
pub struct Producer<H: Home> {
    log: Arc<Log<H>>,
    config: ProducerConfig,
    done: Arc<CompletionQueue<LogDone>>,
    gathering: BTreeMap<TopicPartition, Gathering>,
    topics: BTreeMap<String, Topic>,
}

/// What a partition gets.
#[derive(Debug)]
struct Gathering {
    batch: Accumulator,
    numbering: Numbering,
}

#[derive(Debug)]
struct Topic {
    partitions: Vec<TopicPartition>,
    /// Where the next record without a key goes.
    next: usize,
}

impl<H: Home> Producer<H> {
    /// A producer for `log` that reports to `done`.
    #[must_use]
    pub fn new(log: Arc<Log<H>>, config: ProducerConfig, done: Arc<CompletionQueue<LogDone>>) -> Self {
        Self { log, config, done, gathering: BTreeMap::new(), topics: BTreeMap::new() }
    }

    /// Adds a record to the batch of a partition, and hands the batch over when it is full.
    ///
    /// # Errors
    /// The log refused the record, or the batch that was full. Records of a refused batch come through the queue
    /// with the error.
    pub fn send(
        &mut self,
        partition: &TopicPartition,
        record: &Record<'_>,
        now_ms: i64,
        token: u64,
    ) -> Result<(), SendError> {
        if !self.gathering.contains_key(partition) {
            if self.log.ends(partition).is_none() {
                return Err(AppendError::UnknownPartition { partition: partition.clone() }.into());
            }
            let numbering = Numbering::new(self.config.identity);
            self.gathering.insert(partition.clone(), Gathering { batch: Accumulator::default(), numbering });
        }
        let gathering = self.gathering.get_mut(partition).expect("it was put there if it was missing");
        let batch = &gathering.batch;
        if !batch.is_empty() && batch.len() + record.payload_len() > self.config.batch_bytes {
            hand_over(&self.log, partition, gathering, self.config.compression, &self.done);
        }
        gathering.batch.push(record, now_ms, token).map_err(|cause| {
            SendError::Append(AppendError::Encode { partition: partition.clone(), cause })
        })?;
        if gathering.batch.len() >= self.config.batch_bytes {
            hand_over(&self.log, partition, gathering, self.config.compression, &self.done);
        }
        Ok(())
    }

    /// Adds a record to the partition that its key belongs to (Kafka's default partitioner; records without a key
    /// go to the partitions in turn). Gives the partition.
    ///
    /// # Errors
    /// As of [`Producer::send`]; or there is no such topic.
    pub fn send_keyed(
        &mut self,
        topic: &str,
        record: &Record<'_>,
        now_ms: i64,
        token: u64,
    ) -> Result<TopicPartition, SendError> {
        if !self.topics.contains_key(topic) {
            let all = self.log.partitions().into_iter();
            let partitions: Vec<_> = all.filter(|p| p.topic == topic).collect();
            if partitions.is_empty() {
                return Err(SendError::UnknownTopic { topic: topic.to_owned() });
            }
            self.topics.insert(topic.to_owned(), Topic { partitions, next: 0 });
        }
        let topic = self.topics.get_mut(topic).expect("it was put there if it was missing");
        let count = topic.partitions.len();
        let i = match record.key {
            Some(key) => {
                partition_for_key(key, u32::try_from(count).expect("fewer than 2^32 partitions")) as usize
            }
            None => {
                topic.next = (topic.next + 1) % count;
                topic.next
            }
        };
        let partition = topic.partitions[i].clone();
        self.send(&partition, record, now_ms, token)?;
        Ok(partition)
    }

    /// Hands over everything that has gathered.
    pub fn flush(&mut self) {
        for (partition, gathering) in &mut self.gathering {
            hand_over(&self.log, partition, gathering, self.config.compression, &self.done);
        }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log<H>> {
        &self.log
    }
}

/// Gives a batch to the log. A refusal goes to each record's token.
fn hand_over<H: Home>(
    log: &Log<H>,
    partition: &TopicPartition,
    gathered: &mut Gathering,
    compression: Compression,
    done: &Arc<CompletionQueue<LogDone>>,
) {
    let Ok((batch, tokens)) = gathered.batch.take(compression, gathered.numbering.next()) else { return };
    let records = batch.records();
    match log.append_batch(partition, batch, tokens, done) {
        Ok(buffer) => {
            gathered.numbering.advance(records);
            gathered.batch.reuse(buffer);
        }
        // Nothing was appended: the next batch has the same numbers.
        Err((error, tokens)) => {
            done.push_all(tokens.into_iter().map(|token| LogDone { token, result: Err(error.clone()) }));
        }
    }
}
