//! [`LogEngine`]: one node of the log, with an index that follows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine_env::{CompletionQueue, OsHome, Wait, clock};
use log_engine::{
    Consumer, FetchError, Log, LogConfig, LogDone, NO_TIMESTAMP, Offset, Producer, ProducerConfig, Record,
    TopicPartition, partition_for_key,
};
use workloads::{Access, Op};

use super::io::{io_backend, io_setting};
use crate::engine::{
    Answer, Completion, Engine, EngineError, EngineStats, OpError, Place, Session, Setting, Submit, Token,
};

/// The log, adapted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogEngine;

const TOPIC: &str = "members";
/// What the index takes in at a time.
const FOLLOW_BYTES: usize = 1 << 20;

impl Engine for LogEngine {
    fn name(&self) -> &'static str {
        "log"
    }

    fn about(&self) -> &'static str {
        "One node of the log (Kafka's record batches and segments). An update appends the whole value under its key; \
         appends that come at the same time share a batch, and nothing lingers. A consumer inside the same program \
         follows the log and keeps an index in memory from key to offset; a read waits until that consumer has \
         passed the last acknowledged append, then fetches the record at the key's offset. A delete appends an empty \
         record for the key. The follower's work is part of every figure."
    }

    fn settings(&self) -> Vec<Setting> {
        let (log, producer) = (LogConfig::default(), ProducerConfig::default());
        vec![
            io_setting(),
            Setting {
                name: "segment-bytes",
                default: log.segment_bytes.to_string(),
                meaning: "size at which a segment is left for the next one, bytes",
            },
            Setting {
                name: "partitions",
                default: "1".to_owned(),
                meaning: "partitions of the topic, each with files of its own; keys are spread by Kafka's hash",
            },
            Setting {
                name: "batch-bytes",
                default: producer.batch_bytes.to_string(),
                meaning: "a batch goes when it has this many bytes, and in any case before the driver waits",
            },
            Setting {
                name: "index-interval-bytes",
                default: log.index_interval_bytes.to_string(),
                meaning: "bytes between two entries of a segment's offset index",
            },
            Setting {
                name: "recent-bytes",
                default: log.recent_bytes.to_string(),
                meaning: "what was appended last is kept in memory for readers, bytes in each partition",
            },
        ]
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let default = LogConfig::default();
        let config = LogConfig {
            durability: place.durability,
            segment_bytes: place.setting("segment-bytes", default.segment_bytes, "a number of bytes")?,
            index_interval_bytes: place.setting(
                "index-interval-bytes",
                default.index_interval_bytes,
                "a number of bytes",
            )?,
            recent_bytes: place.setting("recent-bytes", default.recent_bytes, "a number of bytes")?,
            ..default
        };
        let partitions = place.setting("partitions", 1_u32, "a number of partitions from 1")?.max(1);
        let batch_bytes =
            place.setting("batch-bytes", ProducerConfig::default().batch_bytes, "a number of bytes")?;
        let home = OsHome::open(&place.dir, io_backend(place)?).map_err(EngineError::engine)?;
        let (log, _) = Log::open(home, config).map_err(EngineError::engine)?;
        log.create_topic(TOPIC, partitions).map_err(EngineError::engine)?;
        let log = Arc::new(log);
        let queue = Arc::new(CompletionQueue::new());
        let mut consumer = Consumer::new(Arc::clone(&log));
        let partitions: Vec<_> = (0..partitions)
            .map(|number| Followed {
                name: TopicPartition::new(TOPIC, number),
                acknowledged: Offset(0),
                followed: Offset(0),
            })
            .collect();
        for partition in &partitions {
            consumer.assign(partition.name.clone(), Offset(0));
        }
        Ok(Box::new(LogSession {
            producer: Producer::new(
                Arc::clone(&log),
                ProducerConfig { batch_bytes, ..ProducerConfig::default() },
                Arc::clone(&queue),
            ),
            index: Index { consumer, partitions, offsets: HashMap::new() },
            log,
            queue,
            done: Vec::new(),
            writes: Vec::new(),
            waiting: Vec::new(),
        }))
    }
}

/// A partition, and how far it is known.
struct Followed {
    name: TopicPartition,
    /// Below this everything is acknowledged to the session.
    acknowledged: Offset,
    /// Below this everything is in the index.
    followed: Offset,
}

/// From key to the offset of its newest record, kept by a consumer.
struct Index {
    consumer: Consumer<OsHome>,
    partitions: Vec<Followed>,
    offsets: HashMap<Box<[u8]>, Offset>,
}

impl Index {
    /// Takes in what can be read now, until there is nothing new.
    fn follow(&mut self) -> Result<(), FetchError> {
        loop {
            let consumed = self.consumer.poll(FOLLOW_BYTES, Wait::No)?;
            if consumed.is_empty() {
                return Ok(());
            }
            for record in consumed.records() {
                let (_, record) = record?;
                let Some(key) = record.key else { continue };
                if record.value.is_none() {
                    self.offsets.remove(key);
                } else if let Some(offset) = self.offsets.get_mut(key) {
                    *offset = record.offset;
                } else {
                    self.offsets.insert(key.into(), record.offset);
                }
            }
            for partition in &mut self.partitions {
                if let Some(position) = self.consumer.position(&partition.name) {
                    partition.followed = position;
                }
            }
        }
    }

    fn has_passed(&self, partition: usize) -> bool {
        self.partitions[partition].followed >= self.partitions[partition].acknowledged
    }
}

/// A write in flight.
#[derive(Debug, Clone, Copy, Default)]
struct Write {
    partition: usize,
    /// For a delete: whether the key was there.
    deletes: Option<bool>,
}

struct LogSession {
    producer: Producer<OsHome>,
    index: Index,
    log: Arc<Log<OsHome>>,
    queue: Arc<CompletionQueue<LogDone>>,
    done: Vec<LogDone>,
    /// By token.
    writes: Vec<Write>,
    /// Reads for which the index is not far enough.
    waiting: Vec<(Token, usize, Box<[u8]>)>,
}

impl LogSession {
    fn partition_of(&self, key: &[u8]) -> usize {
        match self.index.partitions.len() {
            1 => 0,
            count => partition_for_key(key, u32::try_from(count).expect("as many as u32 counts")) as usize,
        }
    }

    /// The answer to a read, or `None` while the index is behind.
    fn read(&mut self, partition: usize, key: &[u8]) -> Result<Option<Answer>, OpError> {
        if !self.index.has_passed(partition) {
            self.index.follow().map_err(OpError::engine)?;
            if !self.index.has_passed(partition) {
                return Ok(None);
            }
        }
        let Some(offset) = self.index.offsets.get(key).copied() else { return Ok(Some(Answer::Value(None))) };
        // At least the one batch that holds the record, however many bytes it has.
        let name = &self.index.partitions[partition].name;
        let fetched = self.log.fetch(name, offset, 1).map_err(OpError::engine)?;
        let record = fetched.records().next().transpose().map_err(OpError::engine)?;
        match record.filter(|r| r.offset == offset && r.key == Some(key)) {
            Some(record) => Ok(Some(Answer::Value(record.value.map(<[u8]>::to_vec)))),
            None => Err(OpError::engine(format!(
                "{name}: the record at offset {offset} isn't the one appended there"
            ))),
        }
    }

    fn write(&mut self, token: Token, op: &Op) -> Result<(), OpError> {
        let partition = self.partition_of(&op.key);
        let deletes = (op.access() == Access::Delete).then(|| self.index.offsets.contains_key(&*op.key));
        let record = Record {
            key: Some(&op.key),
            value: op.value.as_ref().map(|v| v.as_bytes()),
            timestamp_ms: NO_TIMESTAMP,
            headers: &[],
        };
        let name = &self.index.partitions[partition].name;
        self.producer.send(name, &record, clock::wall_ms(), token.0).map_err(OpError::engine)?;
        let at = token.0 as usize;
        if at >= self.writes.len() {
            self.writes.resize((at + 1).next_power_of_two(), Write::default());
        }
        self.writes[at] = Write { partition, deletes };
        Ok(())
    }

    fn acknowledge(&mut self, done: LogDone) -> Completion {
        let Write { partition, deletes } = self.writes[done.token as usize];
        let result = match done.result {
            Ok(offset) => {
                let partition = &mut self.index.partitions[partition];
                partition.acknowledged = partition.acknowledged.max(offset.plus(1));
                Ok(deletes.map_or(Answer::Written, Answer::Deleted))
            }
            Err(error) => Err(OpError::engine(error)),
        };
        Completion { token: Token(done.token), result }
    }
}

impl Session for LogSession {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        match op.access() {
            Access::Read => {
                let partition = self.partition_of(&op.key);
                match self.read(partition, &op.key).transpose() {
                    Some(answer) => Submit::Answered(answer),
                    None => {
                        self.waiting.push((token, partition, (&*op.key).into()));
                        Submit::Accepted
                    }
                }
            }
            Access::Write if op.value.is_none() => Submit::Unsupported,
            // A log has nothing to compare a write with: whoever changes a value reads it and appends the new one.
            Access::Modify | Access::Scan => Submit::Unsupported,
            Access::Write | Access::Delete => match self.write(token, op) {
                Ok(()) => Submit::Accepted,
                Err(error) => Submit::Answered(Err(error)),
            },
        }
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.producer.flush();
        // What is acknowledged can be read, so the follower is a moment behind at most.
        let wait = match wait {
            Wait::No => Wait::No,
            wait if self.waiting.is_empty() => wait,
            _ => Wait::AtMost(Duration::from_millis(1)),
        };
        self.queue.drain(wait, &mut self.done);
        let mut done = std::mem::take(&mut self.done);
        out.extend(done.drain(..).map(|done| self.acknowledge(done)));
        self.done = done;
        // The follower keeps up all the time, not only when a read needs it.
        let followed = self.index.follow();
        for (token, partition, key) in std::mem::take(&mut self.waiting) {
            match (&followed, self.read(partition, &key).transpose()) {
                (_, Some(result)) => out.push(Completion { token, result }),
                (Ok(()), None) => self.waiting.push((token, partition, key)),
                (Err(error), None) => {
                    out.push(Completion { token, result: Err(OpError::engine(error.to_string())) });
                }
            }
        }
    }

    fn stats(&self) -> EngineStats {
        let stats = self.log.stats();
        EngineStats {
            written_bytes: stats.written_bytes,
            syncs: stats.syncs,
            tail_events: stats.rolls,
            ..EngineStats::default()
        }
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        let stats = self.stats();
        let Self { producer, index, log, .. } = *self;
        drop((producer, index));
        let log = Arc::into_inner(log).expect("producer and consumer held the only other handles");
        log.close().map_err(EngineError::engine)?;
        Ok(stats)
    }
}
