//! The writer of the log: batches of many sizes to several topics and partitions, shared by all threads, while segments
//! roll.
//!
//! Even threads wait for each batch; odd ones keep several in flight. If it is asked for, some batches go to a compacted
//! topic, one thread more moves the log's starts, and the producers are idempotent: each sends some of its last five batches
//! of a partition again, and has to be told their old offsets.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine_env::rng::Rng;
use engine_env::{CompletionQueue, Durability, Home, Wait};
use log_engine::{
    BatchBuilder, Compression, EncodedBatch, Log, LogConfig, LogDone, Offset, Sequence, TopicPartition,
};
use rand::RngExt as _;

use super::batch_plan::{BatchPlan, COMPACTED, TOPICS, as_records};
use super::dump_log::told;
use super::log_tasks::LogTasks;
use super::token::Token;
use super::write::{Run, WriteError, now_ms};

const THREADS: u32 = 4;
const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// As many as a partition remembers of a producer.
const SENT_AGAIN_MAX: usize = 5;
/// The mover of starts looks so often.
const LOOK_EVERY: Duration = Duration::from_millis(3);

pub(super) fn config(durability: Durability, tasks: LogTasks) -> LogConfig {
    let config = LogConfig {
        durability,
        segment_bytes: 1 << 20,
        zero_fill_step_bytes: 256 << 10,
        ..LogConfig::default()
    };
    if tasks.is_empty() {
        return config;
    }
    // So that segments are sealed, compacted and removed within a second.
    let compacted_topics = if tasks.compaction { vec![COMPACTED.0.to_owned()] } else { Vec::new() };
    LogConfig {
        segment_bytes: 128 << 10,
        zero_fill_step_bytes: 64 << 10,
        compacted_topics,
        compaction_dirty_percent: 10,
        ..config
    }
}

pub(super) fn open<H: Home>(
    home: H,
    dir: &Path,
    durability: Durability,
    tasks: LogTasks,
) -> Result<Log<H>, WriteError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| WriteError::Open {
        dir: dir.to_owned(),
        engine: super::Engine::Log,
        source,
    };
    let (log, _) = Log::open(home, config(durability, tasks)).map_err(|e| refused(Box::new(e)))?;
    for (topic, partitions) in TOPICS.into_iter().chain(tasks.compaction.then_some(COMPACTED)) {
        log.create_topic(topic, partitions).map_err(|e| refused(Box::new(e)))?;
    }
    Ok(log)
}

pub(super) fn write<H: Home>(run: &Run<'_>, log: &Log<H>, tasks: LogTasks) -> Result<(), WriteError> {
    let writers = AtomicU32::new(THREADS);
    run.on_threads(THREADS + u32::from(tasks.retention), |number| {
        if number == THREADS {
            return move_starts(run, log, &writers);
        }
        let written = Thread::new(run, log, number, tasks).go();
        writers.fetch_sub(1, Ordering::Relaxed);
        written
    })
}

/// Moves the start of one partition after the other, while there are writers.
fn move_starts<H: Home>(run: &Run<'_>, log: &Log<H>, writers: &AtomicU32) -> Result<(), WriteError> {
    let mut rng = run.seed.derive("starts", run.run).rng();
    let is_over = || writers.load(Ordering::Relaxed) == 0 || run.pace.is_over();
    while !is_over() {
        std::thread::park_timeout(LOOK_EVERY * 5);
        let (topic, partitions) = TOPICS[rng.random_range(0..TOPICS.len())];
        let of = TopicPartition::new(topic, rng.random_range(0..partitions));
        let ends = log.ends(&of).expect("it was created");
        if ends.durable == ends.start {
            continue;
        }
        // Far enough to take segments, seldom everything.
        let offset = Offset(rng.random_range(ends.start.0..=ends.durable.0));
        let token = Token::Cut { of: told(&of), offset: offset.0 };
        run.attempt(&token)?;
        log.delete_before(&of, offset).map_err(|source| WriteError::Operation {
            token: Box::new(token.clone()),
            source: Box::new(source),
        })?;
        while log.ends(&of).expect("it was created").start < offset && !is_over() {
            std::thread::park_timeout(LOOK_EVERY);
        }
        if log.ends(&of).expect("it was created").start >= offset {
            run.acknowledge(&token)?;
        }
    }
    Ok(())
}

/// What is on its way.
enum InFlight {
    /// These records, for the first time.
    Batch(Vec<Token>),
    /// A batch that has its offset already.
    Again { of: TopicPartition, base: Offset },
}

/// An idempotent producer.
struct Retrying {
    rng: Rng,
    producer_id: i64,
    /// By partition: the next sequence, and the last batches with their offsets.
    sent: HashMap<TopicPartition, (i32, VecDeque<(Offset, EncodedBatch)>)>,
}

struct Thread<'a, H: Home> {
    run: &'a Run<'a>,
    log: &'a Log<H>,
    waits: bool,
    plan: BatchPlan,
    retrying: Option<Retrying>,
    next_number: u64,
    in_flight: HashMap<u64, InFlight>,
    done: Arc<CompletionQueue<LogDone>>,
}

impl<'a, H: Home> Thread<'a, H> {
    fn new(run: &'a Run<'a>, log: &'a Log<H>, number: u32, tasks: LogTasks) -> Self {
        let retrying = tasks.retries.then(|| Retrying {
            rng: run.seed.derive("retries", run.run << 16 | u64::from(number)).rng(),
            // Never given before: runs are counted.
            producer_id: i64::try_from(run.run << 8 | u64::from(number)).unwrap_or(i64::MAX),
            sent: HashMap::new(),
        });
        Self {
            run,
            log,
            waits: number.is_multiple_of(2),
            plan: BatchPlan::new(run.seed, run.run, number, tasks.compaction),
            retrying,
            next_number: 0,
            in_flight: HashMap::new(),
            done: Arc::new(CompletionQueue::new()),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let run = self.run;
        let in_flight_max = if self.waits { 1 } else { BATCHES_IN_FLIGHT_MAX };
        loop {
            let wanted = self.plan.size();
            let Some(granted) = run.pace.take(wanted, || self.reap(Wait::No))? else { break };
            self.append(granted)?;
            while self.in_flight.len() >= in_flight_max {
                self.reap(Wait::Forever)?;
            }
        }
        while !self.in_flight.is_empty() {
            self.reap(Wait::Forever)?;
        }
        Ok(())
    }

    fn append(&mut self, records: u64) -> Result<(), WriteError> {
        let (to, drafts) = self.plan.batch(records);
        for draft in &drafts {
            self.run.attempt(&draft.token)?;
        }
        let now = now_ms();
        let tokens = drafts.iter().map(|draft| draft.token.clone()).collect();
        if self.retrying.is_some() {
            let batch = self.numbered(&to, |builder| {
                as_records(&drafts, now, |records| {
                    records.iter().try_for_each(|record| builder.push(record, now))
                })
                .expect("a few small records");
            });
            return self.produce(&to, batch, tokens);
        }
        if self.waits {
            return match as_records(&drafts, now, |records| self.log.append(&to, records, now)) {
                Ok(base) => self.acknowledge(tokens, base),
                Err(source) => Err(failed(tokens, source)),
            };
        }
        let number = self.next_number();
        let appended =
            as_records(&drafts, now, |records| self.log.append_async(&to, records, now, number, &self.done));
        match appended {
            Ok(_) => {
                self.in_flight.insert(number, InFlight::Batch(tokens));
                Ok(())
            }
            Err(source) => Err(failed(tokens, source)),
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The producer's next batch to that partition.
    fn numbered(&mut self, to: &TopicPartition, fill: impl FnOnce(&mut BatchBuilder)) -> EncodedBatch {
        let retrying = self.retrying.as_mut().expect("only such producers number their batches");
        let (next, _) = retrying.sent.entry(to.clone()).or_default();
        let mut builder = BatchBuilder::new();
        fill(&mut builder);
        let sequence = Sequence { producer_id: retrying.producer_id, epoch: 0, first: *next };
        *next += builder.records().cast_signed();
        builder.finish_as(Compression::None, Some(sequence)).expect("a batch has records")
    }

    /// Sends a batch, and then perhaps one of the partition's last ones once more, this one included.
    fn produce(
        &mut self,
        to: &TopicPartition,
        batch: EncodedBatch,
        tokens: Vec<Token>,
    ) -> Result<(), WriteError> {
        let number = self.next_number();
        let base = match self.log.append_batch_async(to, batch.clone(), number, &self.done) {
            Ok(base) => base,
            Err(source) => return Err(failed(tokens, source)),
        };
        let first = tokens[0].clone();
        self.in_flight.insert(number, InFlight::Batch(tokens));
        let retrying = self.retrying.as_mut().expect("only such producers send again");
        let (_, last) = retrying.sent.get_mut(to).expect("it was numbered");
        last.push_back((base, batch));
        if last.len() > SENT_AGAIN_MAX {
            last.pop_front();
        }
        if retrying.rng.random_bool(0.7) {
            return Ok(());
        }
        let (base, again) = last[retrying.rng.random_range(0..last.len())].clone();
        let number = self.next_number();
        match self.log.append_batch_async(to, again, number, &self.done) {
            Ok(told) if told == base => {
                self.in_flight.insert(number, InFlight::Again { of: to.clone(), base });
                Ok(())
            }
            Ok(told) => Err(moved(to, base, told)),
            Err(source) => Err(failed(vec![first], source)),
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
            match (self.in_flight.remove(&one.token).expect("each batch completes once"), one.result) {
                (InFlight::Batch(tokens), Ok(base)) => self.acknowledge(tokens, base)?,
                (InFlight::Batch(tokens), Err(source)) => return Err(failed(tokens, source)),
                (InFlight::Again { base, .. }, Ok(told)) if told == base => {}
                (InFlight::Again { of, base }, Ok(told)) => return Err(moved(&of, base, told)),
                (InFlight::Again { of, base }, Err(source)) => {
                    let operation = format!("the batch at {base} of {of}, sent again");
                    return Err(WriteError::WrongAnswer { operation, why: source.to_string() });
                }
            }
        }
        Ok(())
    }
}

/// A batch that was sent again has another offset.
fn moved(of: &TopicPartition, base: Offset, told: Offset) -> WriteError {
    WriteError::WrongAnswer {
        operation: format!("the batch at {base} of {of}, sent again"),
        why: format!("it is told to be at {told}"),
    }
}

/// The first record stands for its batch.
fn failed(mut tokens: Vec<Token>, source: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Operation { token: Box::new(tokens.swap_remove(0)), source: Box::new(source) }
}
