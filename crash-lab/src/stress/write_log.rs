//! The writer of the log: batches of many sizes to several topics and partitions, shared by all threads, while segments
//! roll.
//!
//! Even threads wait for each batch; odd ones keep several in flight.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use engine_env::{CompletionQueue, Durability, Home, Wait};
use log_engine::{Log, LogConfig, LogDone, Offset, Record};

use super::batch_plan::{BatchPlan, TOPICS};
use super::token::Token;
use super::write::{Run, WriteError, now_ms};

const THREADS: u32 = 4;
const BATCHES_IN_FLIGHT_MAX: usize = 8;

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
    waits: bool,
    plan: BatchPlan,
    next_number: u64,
    in_flight: HashMap<u64, Vec<Token>>,
    done: Arc<CompletionQueue<LogDone>>,
}

impl<'a, H: Home> Thread<'a, H> {
    fn new(run: &'a Run<'a>, log: &'a Log<H>, number: u32) -> Self {
        Self {
            run,
            log,
            waits: number.is_multiple_of(2),
            plan: BatchPlan::new(run.seed, run.run, number),
            next_number: 0,
            in_flight: HashMap::new(),
            done: Arc::new(CompletionQueue::new()),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let run = self.run;
        loop {
            let wanted = self.plan.size();
            let Some(granted) = run.pace.take(wanted, || self.reap(Wait::No))? else { break };
            self.append(granted)?;
            while self.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
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
        let batch: Vec<Record<'_>> = drafts.iter().map(|draft| draft.record(now)).collect();
        let tokens = drafts.iter().map(|draft| draft.token.clone()).collect();
        if self.waits {
            return match self.log.append(&to, &batch, now) {
                Ok(base) => self.acknowledge(tokens, base),
                Err(source) => Err(failed(tokens, source)),
            };
        }
        let number = self.next_number;
        self.next_number += 1;
        match self.log.append_async(&to, &batch, now, number, &self.done) {
            Ok(_) => {
                self.in_flight.insert(number, tokens);
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

/// The first record stands for its batch.
fn failed(mut tokens: Vec<Token>, source: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Operation { token: Box::new(tokens.swap_remove(0)), source: Box::new(source) }
}
