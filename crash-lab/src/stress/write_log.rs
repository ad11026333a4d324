//! The writer of the log: batches of many sizes to several topics and partitions, shared by all threads, while segments
//! roll.
//!
//! Even threads wait for each batch; odd ones keep several in flight. A record's key is its ID as text, its value random
//! bytes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use engine_env::rng::Rng;
use engine_env::{CompletionQueue, Durability, Home, Wait};
use log_engine::{Log, LogConfig, LogDone, Offset, Record, TopicPartition};
use rand::{Rng as _, RngExt as _};

use super::token::{Partition, Token, ValueCrc};
use super::write::{Run, WriteError, now_ms};

const THREADS: u32 = 4;
const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// Topics and how many partitions each has. Names with dots and dashes are legal, and awkward.
const TOPICS: [(&str, u32); 2] = [("stress", 4), ("stress-audit.v2", 2)];

pub(super) fn config(durability: Durability) -> LogConfig {
    LogConfig { durability, segment_bytes: 1 << 20, zero_fill_step_bytes: 256 << 10, ..LogConfig::default() }
}

pub(super) fn open<H: Home>(home: H, dir: &Path, durability: Durability) -> Result<Log<H>, WriteError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| WriteError::Open {
        dir: dir.to_owned(),
        engine: super::Engine::Log,
        source,
    };
    let (log, _) = Log::open(home, config(durability)).map_err(|e| refused(Box::new(e)))?;
    for (topic, partitions) in TOPICS {
        log.create_topic(topic, partitions).map_err(|e| refused(Box::new(e)))?;
    }
    Ok(log)
}

pub(super) fn write<H: Home>(run: &Run<'_>, log: &Log<H>) -> Result<(), WriteError> {
    run.on_threads(THREADS, |number| Thread::new(run, log, number).go())
}

struct Thread<'a, H: Home> {
    run: &'a Run<'a>,
    log: &'a Log<H>,
    number: u32,
    seq: u64,
    rng: Rng,
    in_flight: HashMap<u64, Vec<Token>>,
    done: Arc<CompletionQueue<LogDone>>,
}

/// A record of a batch before it is encoded.
struct Draft {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<'a, H: Home> Thread<'a, H> {
    fn new(run: &'a Run<'a>, log: &'a Log<H>, number: u32) -> Self {
        let rng = run.seed.derive("batches", run.run << 16 | u64::from(number)).rng();
        Self {
            run,
            log,
            number,
            seq: 0,
            rng,
            in_flight: HashMap::new(),
            done: Arc::new(CompletionQueue::new()),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let waits = self.number.is_multiple_of(2);
        loop {
            let wanted = match self.rng.random_range(0..100) {
                0..60 => 1,
                60..90 => self.rng.random_range(2..9),
                _ => self.rng.random_range(9..100),
            };
            let run = self.run;
            let Some(granted) = run.pace.take(wanted, || self.reap(Wait::No))? else { break };
            self.append(granted, waits)?;
            while self.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
                self.reap(Wait::Forever)?;
            }
        }
        while !self.in_flight.is_empty() {
            self.reap(Wait::Forever)?;
        }
        Ok(())
    }

    fn partition(&mut self) -> TopicPartition {
        let (topic, partitions) = TOPICS[self.rng.random_range(0..TOPICS.len())];
        TopicPartition::new(topic, self.rng.random_range(0..partitions))
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

    fn append(&mut self, records: u64, waits: bool) -> Result<(), WriteError> {
        let to = self.partition();
        let partition = Partition { topic: to.topic.clone(), partition: to.partition };
        let (mut tokens, mut drafts) = (Vec::new(), Vec::new());
        for _ in 0..records {
            self.seq += 1;
            let id = self.run.record_id(self.number, self.seq);
            let draft = Draft { key: id.to_string().into_bytes(), value: self.value() };
            let value = ValueCrc::of(&draft.value);
            tokens.push(Token::App { to: partition.clone(), id, value, offset: None });
            drafts.push(draft);
        }
        for token in &tokens {
            self.run.attempt(token)?;
        }
        let now = now_ms();
        let batch: Vec<Record<'_>> = drafts.iter().map(|draft| record(draft, now)).collect();
        if waits {
            return match self.log.append(&to, &batch, now) {
                Ok(base) => self.acknowledge(tokens, base),
                Err(source) => Err(failed(tokens, source)),
            };
        }
        // The last record's number names the batch.
        match self.log.append_async(&to, &batch, now, self.seq, &self.done) {
            Ok(_) => {
                self.in_flight.insert(self.seq, tokens);
                Ok(())
            }
            Err(source) => Err(failed(tokens, source)),
        }
    }

    fn acknowledge(&self, tokens: Vec<Token>, base: Offset) -> Result<(), WriteError> {
        for (i, mut token) in (0..).zip(tokens) {
            if let Token::App { offset, .. } = &mut token {
                *offset = Some(base.0 + i);
            }
            self.run.acknowledge(&token)?;
        }
        Ok(())
    }

    /// Acknowledges what has completed.
    fn reap(&mut self, wait: Wait) -> Result<(), WriteError> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        let mut done = Vec::new();
        self.done.drain(wait, &mut done);
        for one in done {
            let tokens = self.in_flight.remove(&one.token).expect("each batch completes once");
            match one.result {
                Ok(base) => self.acknowledge(tokens, base)?,
                Err(source) => return Err(failed(tokens, source)),
            }
        }
        Ok(())
    }
}

fn record(draft: &Draft, now: i64) -> Record<'_> {
    Record { key: Some(&draft.key), value: Some(&draft.value), timestamp_ms: now, headers: &[] }
}

/// The first record stands for its batch.
fn failed(mut tokens: Vec<Token>, source: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Operation { token: Box::new(tokens.swap_remove(0)), source: Box::new(source) }
}
