//! [`LogSubject`]: the log by single steps. What it is used for, beside appends of records that stay, is its [`Use`].

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use engine_env::rng::Rng;
use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Disk, Durability, Home, Machine, Wait};
use log_engine::{
    AppendError, Appending, BatchBuilder, Compression, EncodedBatch, Interval, LogConfig, LogDone, Offset,
    RecoveryReport, Sequence, SteppedLog, TopicPartition,
};
use rand::{Rng as _, RngExt as _};

use super::scenario::Setup;
use super::subject::{Notes, Subject, told};
use crate::stress::batch_plan::{Draft, as_records};
use crate::stress::dump_log::Readers;
use crate::stress::{Dump, DumpLine, Engine, Partition, RecordId, Token, dump_log};

pub(super) const TOPIC: &str = "sim-topic";
const PARTITIONS: u32 = 2;
pub(super) const IN_FLIGHT_MAX: usize = 6;
const NOW_MS: i64 = 1_700_000_000_000;

/// What a log is used for.
pub(super) trait Use: Default {
    /// Its settings, from the scenario's.
    fn settings(config: LogConfig) -> LogConfig {
        config
    }

    /// One step of the seed's choice.
    fn step(log: &mut LogSubject<Self>, rng: &mut Rng, notes: &mut Notes) -> Result<(), String>;
}

/// Appends of records that stay, and reads.
#[derive(Default)]
pub(super) struct Plain;

impl Use for Plain {
    fn step(log: &mut LogSubject<Self>, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        match rng.random_range(0..100) {
            0..45 if log.in_flight() < IN_FLIGHT_MAX => log.append(rng, notes)?,
            45..70 => log.pump(Wait::No),
            70..75 => log.read(rng, notes)?,
            _ => log.keep_up(),
        }
        Ok(())
    }
}

/// A batch on its way.
struct InFlight {
    to: Partition,
    tokens: Vec<Token>,
    bytes: u64,
    /// Which of [`Notes::sent`] it is, if its producer may send it again.
    sent: Option<usize>,
}

/// What came of a batch that was handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    Accepted(Offset),
    /// Nothing was taken; upkeep had a turn.
    NotTaken,
    /// The disk failed: it may be there or not.
    Failed,
}

pub(super) struct LogSubject<U = Plain> {
    pub(super) log: SteppedLog<SimHome>,
    pub(super) using: U,
    /// What its clock says, milliseconds.
    pub(super) now_ms: i64,
    machine: Arc<dyn Machine<SimFile>>,
    report: RecoveryReport,
    commits: SimDisk,
    pub(super) upkeep: SimDisk,
    readers: Readers,
    run: u64,
    seq: u64,
    in_flight: HashMap<u64, InFlight>,
    next_token: u64,
    home: SimHome,
    /// For each partition: batches with this number or a higher one began after a failure that was seen.
    failed_at: HashMap<Partition, u64>,
    /// Where readers were told that the partitions start.
    starts: [Offset; PARTITIONS as usize],
    done: Arc<CompletionQueue<LogDone>>,
}

impl<U: Use> Subject for LogSubject<U> {
    const ENGINE: Engine = Engine::Log;

    fn open(home: &SimHome, setup: &Setup, durability: Durability, _: u64, run: u64) -> Result<Self, String> {
        let config = U::settings(LogConfig { durability, ..setup.log.clone() });
        let (log, report) = SteppedLog::open(home.clone(), config).map_err(|e| told(&e))?;
        log.create_topic(TOPIC, PARTITIONS).map_err(|e| told(&e))?;
        Ok(Self {
            machine: log.machine(),
            log,
            using: U::default(),
            now_ms: NOW_MS,
            report,
            commits: home.disk().map_err(|e| told(&e))?,
            upkeep: home.disk().map_err(|e| told(&e))?,
            readers: if durability == Durability::Synced { Readers::SeeDurable } else { Readers::SeeAll },
            run,
            // Four digits from the start: IDs, and so batches, of equal length.
            seq: 1_000,
            in_flight: HashMap::new(),
            next_token: 0,
            home: home.clone(),
            failed_at: HashMap::new(),
            starts: [Offset(0); PARTITIONS as usize],
            done: Arc::new(CompletionQueue::new()),
        })
    }

    fn step(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        U::step(self, rng, notes)?;
        self.watch_starts(notes);
        self.take_answers(notes)
    }

    fn sync(&mut self) -> bool {
        self.note(format_args!("the interval has passed"));
        let partitions = partitions();
        let ends = |log: &SteppedLog<SimHome>, of: &TopicPartition| log.ends(of).expect("it was created");
        let targets: Vec<_> = partitions.map(|of| (ends(&self.log, &of).end, of)).collect();
        let reached =
            |log: &SteppedLog<SimHome>| targets.iter().all(|(end, of)| ends(log, of).durable >= *end);
        while !reached(&self.log) && self.log.upkeep(&mut self.upkeep, Interval::Passed) {}
        reached(&self.log)
    }

    fn dump(&self) -> Dump {
        dump_log::dump(&self.log, &self.report, self.readers)
    }

    fn holds_records(path: &str) -> bool {
        path.ends_with(".log")
    }

    fn records_in(bytes: &[u8]) -> Vec<Range<u64>> {
        let batches = log_engine::inspect::segment(bytes).filter_map(|item| match item {
            log_engine::inspect::Item::Batch { position, batch, .. } => {
                Some(position..position + batch.len() as u64)
            }
            _ => None,
        });
        batches.collect()
    }

    fn close(mut self, notes: &mut Notes) -> Result<(), String> {
        while !self.in_flight.is_empty() {
            self.pump(Wait::Forever);
            self.take_answers(notes)?;
        }
        drop(self.machine);
        self.log.close().map_err(|e| told(&e))
    }
}

/// The partitions that there are.
pub(super) fn partitions() -> impl Iterator<Item = TopicPartition> {
    (0..PARTITIONS).map(|n| TopicPartition::new(TOPIC, n))
}

pub(super) fn any_partition(rng: &mut Rng) -> TopicPartition {
    TopicPartition::new(TOPIC, rng.random_range(0..PARTITIONS))
}

impl<U: Use> LogSubject<U> {
    pub(super) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.home.note(format_args!("> {line}"));
    }

    /// Batches on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Bytes of batches that are on their way to a partition.
    pub(super) fn bytes_in_flight(&self, to: &TopicPartition) -> u64 {
        let to = dump_log::told(to);
        self.in_flight.values().filter(|batch| batch.to == to).map(|batch| batch.bytes).sum()
    }

    /// Up to where a consumer reads.
    pub(super) fn readable_end(&self, of: &TopicPartition) -> Offset {
        let ends = self.log.ends(of).expect("it was created at opening");
        if self.readers == Readers::SeeDurable { ends.durable } else { ends.end }
    }

    pub(super) fn keep_up(&mut self) {
        self.note(format_args!("upkeep"));
        self.log.upkeep(&mut self.upkeep, Interval::Running);
    }

    /// Lets go of what lies below some offset.
    pub(super) fn cut(&mut self, rng: &mut Rng, notes: &mut Notes) {
        let of = any_partition(rng);
        let ends = self.log.ends(&of).expect("it was created at opening");
        let offset = rng.random_range(ends.start.0..=ends.durable.0);
        allow_start(&of, Offset(offset), notes);
        self.note(format_args!("delete what lies below {offset} of {of}"));
        self.log.delete_before(&of, Offset(offset)).expect("it was created at opening");
    }

    /// Whoever reads is told where the partitions start.
    fn watch_starts(&mut self, notes: &mut Notes) {
        for (of, told) in partitions().zip(&mut self.starts) {
            let start = self.log.ends(&of).expect("it was created at opening").start;
            if start > *told {
                *told = start;
                notes.acked.push(Token::Cut { of: dump_log::told(&of), offset: start.0 });
            }
        }
    }

    /// A name that no other record has.
    pub(super) fn next_id(&mut self, thread: u32, key: Option<u32>) -> RecordId {
        self.seq += 1;
        RecordId { run: self.run, thread, seq: self.seq, key }
    }

    /// What a consumer sees from some offset on.
    pub(super) fn read(&self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let from = any_partition(rng);
        let start = self.log.ends(&from).expect("it was created at opening").start;
        let end = self.readable_end(&from);
        if end <= start {
            return Ok(());
        }
        let at = Offset(rng.random_range(start.0..end.0));
        self.note(format_args!("fetch {from} from {at}"));
        let mut lines = Vec::new();
        dump_log::stretch(&self.log, &from, &dump_log::told(&from), at, end, &mut lines);
        for line in lines {
            match line {
                DumpLine::Rec { of, offset, id, value } => {
                    notes.seen.push(Token::App { to: of, id, value, offset: Some(offset) });
                }
                other => return Err(format!("fetching {from} from {at} gave `{other}`")),
            }
        }
        Ok(())
    }

    fn append(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let to = any_partition(rng);
        let records = if rng.random_bool(0.7) { 1 } else { rng.random_range(2..8) };
        let drafts = (0..records)
            .map(|_| {
                let id = self.next_id(0, None);
                // Some batches of equal length, some across sectors: stale bytes would fit, or not.
                let len = if rng.random_bool(0.7) { 200 } else { rng.random_range(0..700) };
                let mut value = vec![0; len];
                rng.fill_bytes(&mut value);
                Draft::new(&to, id, Some(value))
            })
            .collect::<Vec<_>>();
        self.begin(&to, &drafts, notes).map(drop)
    }

    /// Hands over a batch of new records.
    pub(super) fn begin(
        &mut self,
        to: &TopicPartition,
        drafts: &[Draft],
        notes: &mut Notes,
    ) -> Result<Begun, String> {
        let batch = encode(drafts, self.now_ms, None);
        self.hand_over(to, drafts, batch, None, notes)
    }

    /// Hands over a batch; `sent` tells which of [`Notes::sent`] it is.
    pub(super) fn hand_over(
        &mut self,
        to: &TopicPartition,
        drafts: &[Draft],
        batch: EncodedBatch,
        sent: Option<usize>,
        notes: &mut Notes,
    ) -> Result<Begun, String> {
        let tokens: Vec<Token> = drafts.iter().map(|draft| draft.token.clone()).collect();
        for token in &tokens {
            self.note(format_args!("{token}"));
        }
        notes.attempted.extend(tokens.iter().cloned());
        let number = self.next_token;
        self.next_token += 1;
        let partition = dump_log::told(to);
        let bytes = batch.bytes().len() as u64;
        match self.log.append_batch(to, batch, number, &self.done) {
            Ok(Appending::Accepted(base)) => {
                self.in_flight.insert(number, InFlight { to: partition, tokens, bytes, sent });
                Ok(Begun::Accepted(base))
            }
            // Nothing was written; it stays an attempt without an effect.
            Ok(Appending::NeedsUpkeep) => {
                self.log.upkeep(&mut self.upkeep, Interval::Running);
                Ok(Begun::NotTaken)
            }
            Err(error @ AppendError::Sequence { .. }) => Err(format!("a legal batch was refused: {error}")),
            Err(error) => {
                self.note(format_args!("refused: {error}"));
                notes.failures += 1;
                if matches!(error, AppendError::DiskFull { .. }) {
                    return Ok(Begun::NotTaken);
                }
                self.failed_at.entry(partition).or_insert(number);
                Ok(Begun::Failed)
            }
        }
    }

    /// The committer's turn.
    pub(super) fn pump(&mut self, wait: Wait) {
        self.note(format_args!("commit"));
        let Self { machine, commits, .. } = self;
        machine.start(&mut |id, op| commits.submit(id, op));
        let mut done = Vec::new();
        commits.reap(wait, &mut done);
        done.into_iter().for_each(|one| machine.on_done(one));
    }

    fn take_answers(&mut self, notes: &mut Notes) -> Result<(), String> {
        let mut done = Vec::new();
        self.done.drain(Wait::No, &mut done);
        for one in done {
            let number = one.token;
            let Some(InFlight { to, tokens, sent, .. }) = self.in_flight.remove(&number) else {
                return Err(format!("batch {number} ended twice"));
            };
            match one.result {
                Ok(base) => {
                    if self.failed_at.get(&to).is_some_and(|failed_at| number >= *failed_at) {
                        return Err(format!("batch {number} to {to} was acknowledged after a failure"));
                    }
                    self.note(format_args!("ack {} records of {to} from {base}", tokens.len()));
                    if let Some(sent) = sent {
                        notes.sent[sent].is_at(base)?;
                    }
                    acknowledge(tokens, base, notes);
                }
                Err(error) => {
                    self.note(format_args!("failed: {error}"));
                    notes.failures += 1;
                    self.failed_at.entry(to).or_insert(self.next_token);
                }
            }
        }
        Ok(())
    }
}

/// From now on the partition may start there.
pub(super) fn allow_start(of: &TopicPartition, offset: Offset, notes: &mut Notes) {
    notes.attempted.push(Token::Cut { of: dump_log::told(of), offset: offset.0 });
}

/// The batch of some drafts.
pub(super) fn encode(drafts: &[Draft], now_ms: i64, sequence: Option<Sequence>) -> EncodedBatch {
    let mut builder = BatchBuilder::new();
    as_records(drafts, now_ms, |records| records.iter().try_for_each(|record| builder.push(record, now_ms)))
        .expect("a few small records");
    builder.finish_as(Compression::None, sequence).expect("a batch has a record")
}

fn acknowledge(tokens: Vec<Token>, base: Offset, notes: &mut Notes) {
    for (i, mut token) in (0..).zip(tokens) {
        if let Token::App { offset, .. } = &mut token {
            *offset = Some(base.0 + i);
        }
        notes.acked.push(token);
    }
}
