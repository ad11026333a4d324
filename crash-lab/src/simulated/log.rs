//! [`LogSubject`]: the log by single steps.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use engine_env::rng::Rng;
use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Disk, Durability, Home, Machine, Wait};
use log_engine::{
    AppendError, Appending, Interval, LogConfig, LogDone, Offset, Record, RecoveryReport, SteppedLog,
    TopicPartition,
};
use rand::{Rng as _, RngExt as _};

use super::scenario::Setup;
use super::subject::{Notes, Subject, told};
use crate::stress::dump_log::Readers;
use crate::stress::{Dump, DumpLine, Engine, Partition, RecordId, Token, ValueCrc, dump_log};

const TOPIC: &str = "sim-topic";
const PARTITIONS: u32 = 2;
const IN_FLIGHT_MAX: usize = 6;
const NOW_MS: i64 = 1_700_000_000_000;

pub(super) struct LogSubject {
    log: SteppedLog<SimHome>,
    machine: Arc<dyn Machine<SimFile>>,
    report: RecoveryReport,
    commits: SimDisk,
    upkeep: SimDisk,
    readers: Readers,
    run: u64,
    seq: u64,
    in_flight: HashMap<u64, Vec<Token>>,
    next_token: u64,
    home: SimHome,
    /// For each partition: batches with this number or a higher one began after a failure that was seen.
    failed_at: HashMap<Partition, u64>,
    done: Arc<CompletionQueue<LogDone>>,
}

impl Subject for LogSubject {
    const ENGINE: Engine = Engine::Log;

    fn open(home: &SimHome, setup: &Setup, durability: Durability, _: u64, run: u64) -> Result<Self, String> {
        let config = LogConfig { durability, ..setup.log.clone() };
        let (log, report) = SteppedLog::open(home.clone(), config).map_err(|e| told(&e))?;
        log.create_topic(TOPIC, PARTITIONS).map_err(|e| told(&e))?;
        Ok(Self {
            machine: log.machine(),
            log,
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
            done: Arc::new(CompletionQueue::new()),
        })
    }

    fn step(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        match rng.random_range(0..100) {
            0..45 if self.in_flight.len() < IN_FLIGHT_MAX => self.append(rng, notes),
            45..70 => self.pump(Wait::No),
            70..75 => self.read(rng, notes)?,
            _ => {
                self.note(format_args!("upkeep"));
                self.log.upkeep(&mut self.upkeep, Interval::Running);
            }
        }
        self.take_answers(notes)
    }

    fn sync(&mut self) -> bool {
        self.note(format_args!("the interval has passed"));
        let partitions = (0..PARTITIONS).map(|n| TopicPartition::new(TOPIC, n));
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

impl LogSubject {
    fn note(&self, line: std::fmt::Arguments<'_>) {
        self.home.note(format_args!("> {line}"));
    }

    /// What a consumer sees from some offset on.
    fn read(&self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let from = TopicPartition::new(TOPIC, rng.random_range(0..PARTITIONS));
        let ends = self.log.ends(&from).expect("it was created at opening");
        let end = if self.readers == Readers::SeeDurable { ends.durable } else { ends.end };
        if end == ends.start {
            return Ok(());
        }
        let at = Offset(rng.random_range(ends.start.0..end.0));
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

    fn append(&mut self, rng: &mut Rng, notes: &mut Notes) {
        let to = TopicPartition::new(TOPIC, rng.random_range(0..PARTITIONS));
        let partition = Partition { topic: to.topic.clone(), partition: to.partition };
        let records = if rng.random_bool(0.7) { 1 } else { rng.random_range(2..8) };
        let (mut tokens, mut drafts) = (Vec::new(), Vec::new());
        for _ in 0..records {
            self.seq += 1;
            let id = RecordId { run: self.run, thread: 0, seq: self.seq };
            // Some batches of equal length, some across sectors: stale bytes would fit, or not.
            let len = if rng.random_bool(0.7) { 200 } else { rng.random_range(0..700) };
            let mut value = vec![0; len];
            rng.fill_bytes(&mut value);
            let crc = ValueCrc::of(&value);
            tokens.push(Token::App { to: partition.clone(), id, value: crc, offset: None });
            drafts.push((id.to_string(), value));
        }
        let batch: Vec<Record<'_>> =
            drafts.iter().map(|(key, value)| Record::new(key.as_bytes(), value)).collect();
        for token in &tokens {
            self.note(format_args!("{token}"));
        }
        notes.attempted.extend(tokens.iter().cloned());
        let number = self.next_token;
        self.next_token += 1;
        match self.log.append(&to, &batch, NOW_MS, number, &self.done) {
            Ok(Appending::Accepted(_)) => drop(self.in_flight.insert(number, tokens)),
            // Nothing was written; it stays an attempt without an effect.
            Ok(Appending::NeedsUpkeep) => drop(self.log.upkeep(&mut self.upkeep, Interval::Running)),
            Err(error) => {
                self.note(format_args!("refused: {error}"));
                notes.failures += 1;
                if !matches!(error, AppendError::DiskFull { .. }) {
                    self.failed_at.entry(partition).or_insert(number);
                }
            }
        }
    }

    /// The committer's turn.
    fn pump(&mut self, wait: Wait) {
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
            let Some(tokens) = self.in_flight.remove(&number) else {
                return Err(format!("batch {number} ended twice"));
            };
            let Some(Token::App { to, .. }) = tokens.first() else {
                unreachable!("a batch has a record, and the log knows only appends")
            };
            match one.result {
                Ok(base) => {
                    if self.failed_at.get(to).is_some_and(|failed_at| number >= *failed_at) {
                        return Err(format!("batch {number} to {to} was acknowledged after a failure"));
                    }
                    self.note(format_args!("ack {} records of {to} from {base}", tokens.len()));
                    acknowledge(tokens, base, notes);
                }
                Err(error) => {
                    self.note(format_args!("failed: {error}"));
                    notes.failures += 1;
                    self.failed_at.entry(to.clone()).or_insert(self.next_token);
                }
            }
        }
        Ok(())
    }
}

fn acknowledge(tokens: Vec<Token>, base: Offset, notes: &mut Notes) {
    for (i, mut token) in (0..).zip(tokens) {
        if let Token::App { offset, .. } = &mut token {
            *offset = Some(base.0 + i);
        }
        notes.acked.push(token);
    }
}
