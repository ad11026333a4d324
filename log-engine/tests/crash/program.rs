//! Programs that run on a simulated machine whose power fails, and the judge of what is there afterwards.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, SimDisk, SimHome};
use engine_env::{CompletionQueue, Disk, Home, OpId, Wait};
use log_engine::{
    AppendError, Appending, BatchBuilder, Compression, Durability, EncodedBatch, Interval, LogConfig,
    LogDone, Offset, Record, RecoveryReport, Sequence, SteppedLog, TopicPartition,
};

/// Numbers from a seed.
#[derive(Debug)]
pub(crate) struct Dice {
    seed: Seed,
    drawn: u64,
}

impl Dice {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        self.seed.derive("draw", self.drawn).0 % n
    }

    pub(crate) fn seed(&mut self) -> Seed {
        self.drawn += 1;
        self.seed.derive("seed", self.drawn)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch of so many records of that size.
    Append { records: u8, bytes: u16 },
    /// A batch of an idempotent producer, one of two.
    Send { producer: u8, records: u8, bytes: u16 },
    /// The last batch but so many of that producer, once more.
    SendAgain { producer: u8, back: u8 },
    /// Submit what can be submitted.
    Start,
    /// Take completions, waiting for one if something is in flight.
    Reap,
    /// Both, until nothing is in flight any more.
    Commit,
    /// One task of upkeep.
    Upkeep,
    /// The interval of `interval:MS` has passed.
    Interval,
    /// Close and open.
    Reopen,
}

/// Equal sizes are frequent: a stale batch fits only where one of its length is expected.
const SIZES: [u16; 6] = [20, 300, 300, 300, 1100, 2500];

pub(crate) fn random_program(dice: &mut Dice, len: u64) -> Vec<Step> {
    (0..len)
        .map(|_| match dice.below(20) {
            0..=4 => Step::Append {
                records: 1 + dice.below(3) as u8,
                bytes: SIZES[dice.below(SIZES.len() as u64) as usize],
            },
            5..=7 => Step::Send {
                producer: dice.below(2) as u8,
                records: 1 + dice.below(3) as u8,
                bytes: SIZES[dice.below(SIZES.len() as u64) as usize],
            },
            8 => Step::SendAgain { producer: dice.below(2) as u8, back: dice.below(5) as u8 },
            9..=11 => Step::Start,
            12..=14 => Step::Reap,
            15..=17 => Step::Upkeep,
            18 => Step::Interval,
            _ => Step::Reopen,
        })
        .collect()
}

pub(crate) fn config(durability: Durability) -> LogConfig {
    #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
    LogConfig {
        durability,
        segment_bytes: 8192,
        index_interval_bytes: 1000,
        zero_fill_step_bytes: 4096,
        recent_bytes: 2000,
        ..LogConfig::default()
    }
}

/// How the machine goes down.
pub(crate) fn crash(kind: u64, seed: Seed) -> Crash {
    match kind % 6 {
        0 => Crash::LoseUnsynced,
        1 => Crash::KeepUnsynced,
        2 => Crash::LengthsOnly,
        3 => Crash::Subset(seed),
        4 => Crash::PowerCut(seed),
        _ => Crash::ProcessKill(seed),
    }
}

/// A batch of an idempotent producer.
#[derive(Debug, Clone)]
struct Sent {
    sequence: Sequence,
    values: Vec<Vec<u8>>,
    /// Where it was stored, if it was.
    base: u64,
}

impl Sent {
    fn end(&self) -> u64 {
        self.base + self.values.len() as u64
    }

    fn encoded(&self) -> EncodedBatch {
        let mut builder = BatchBuilder::new();
        for value in &self.values {
            builder.push(&Record::of_value(value), 1).expect("small");
        }
        builder.finish_as(Compression::None, Some(self.sequence)).expect("not empty")
    }
}

/// As many as Kafka's producers have under way at most.
const SENT_AGAIN_MAX: usize = 5;

/// What was promised and what was tried, in one partition.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Values by offset: recovered ones, then tried ones.
    values: Vec<Vec<u8>>,
    /// Offsets below this were acknowledged and must survive whatever comes.
    acked: u64,
    /// Offsets below this were acknowledged or recovered by `os`: they survive a process kill.
    handed_over: u64,
    /// Of two idempotent producers, the batches that may be stored.
    sent: [Vec<Sent>; 2],
}

/// A machine, its log, and what is known about it.
pub(crate) struct World {
    pub(crate) home: SimHome,
    config: LogConfig,
    partition: TopicPartition,
    log: Option<SteppedLog<SimHome>>,
    disk: Option<SimDisk>,
    in_flight: usize,
    done: Arc<CompletionQueue<LogDone>>,
    /// End of the batch, by token.
    tokens: HashMap<u64, u64>,
    /// Tokens of batches that were sent again.
    repeated: HashSet<u64>,
    next_token: u64,
    /// Distinguishes the values of different lives.
    life: u64,
    /// The topic's creation was acknowledged.
    created: bool,
    model: Model,
}

pub(crate) type Verdict<T = ()> = Result<T, String>;

impl World {
    pub(crate) fn new(seed: Seed, config: LogConfig) -> Self {
        Self {
            home: SimHome::new(seed),
            config,
            partition: TopicPartition::new("t", 0),
            log: None,
            disk: None,
            in_flight: 0,
            done: Arc::default(),
            tokens: HashMap::new(),
            repeated: HashSet::new(),
            next_token: 0,
            life: 0,
            created: false,
            model: Model::default(),
        }
    }

    fn disk(&mut self) -> Option<&mut SimDisk> {
        if self.disk.is_none() {
            self.disk = self.home.disk().ok();
        }
        self.disk.as_mut()
    }

    /// Runs steps until the power fails. `Err`: an acknowledgement was wrong.
    pub(crate) fn run(&mut self, program: &[Step]) -> Verdict {
        for &step in program {
            if !self.home.is_powered() {
                break;
            }
            if self.log.is_none() {
                self.open()?;
            }
            self.step(step)?;
        }
        Ok(())
    }

    fn open(&mut self) -> Verdict {
        let Ok((log, report)) = SteppedLog::open(self.home.clone(), self.config.clone()) else {
            return Ok(());
        };
        self.no_damage(&report)?;
        if log.create_topic("t", 1).is_ok() {
            self.created = true;
            self.log = Some(log);
        }
        Ok(())
    }

    fn no_damage(&self, report: &RecoveryReport) -> Verdict {
        match report.partitions.iter().find(|p| !p.damage.is_empty()) {
            None => Ok(()),
            Some(p) => Err(format!("a crash was taken for damage: {:?}", p.damage)),
        }
    }

    fn step(&mut self, step: Step) -> Verdict {
        match step {
            Step::Append { records, bytes } => self.append(records, bytes)?,
            Step::Send { producer, records, bytes } => self.send(producer, records, bytes)?,
            Step::SendAgain { producer, back } => self.send_again(producer, usize::from(back))?,
            Step::Start => self.start(),
            Step::Reap => self.reap(),
            Step::Commit => self.commit(),
            Step::Upkeep => self.upkeep(Interval::Running),
            Step::Interval => self.upkeep(Interval::Passed),
            Step::Reopen => self.reopen()?,
        }
        self.take_acks()?;
        self.read_along()
    }

    /// A reader that follows the log, from the start each time, sees nothing that may vanish.
    fn read_along(&self) -> Verdict {
        let Some((log, ends)) = self.log.as_ref().and_then(|l| Some((l, l.ends(&self.partition)?))) else {
            return Ok(());
        };
        let readable = if self.config.durability == Durability::Synced { ends.durable } else { ends.end };
        let mut at = ends.start;
        while at < readable {
            // Without the power nothing can be read.
            let Ok(fetched) = log.fetch(&self.partition, at, 20_000) else { return Ok(()) };
            at = fetched.next_offset();
            if fetched.is_empty() || at > readable {
                return Err(format!("a reader was shown offsets up to {at}, with {ends:?}"));
            }
        }
        Ok(())
    }

    fn append(&mut self, records: u8, bytes: u16) -> Verdict {
        if self.log.is_none() {
            return Ok(());
        }
        let base = self.model.values.len();
        let values = self.next_values(records, bytes);
        let batch: Vec<_> = values.iter().map(|v| Record::of_value(v)).collect();
        let token = self.next_token;
        let end = (base + values.len()) as u64;
        self.tokens.insert(token, end);
        let append = |world: &Self| {
            let log = world.log.as_ref().expect("looked for above");
            log.append(&world.partition, &batch, 1, token, &world.done)
        };
        let mut appended = append(self);
        if matches!(appended, Ok(Appending::NeedsUpkeep)) {
            // As the log with threads does: ask for room, then try again.
            self.upkeep(Interval::Running);
            appended = append(self);
        }
        match appended {
            Ok(Appending::Accepted(offset)) => {
                if offset.0 != base as u64 {
                    return Err(format!("offset {offset} was given, and {base} is next"));
                }
                self.next_token += 1;
                self.model.values.extend(values);
            }
            // Nothing was taken: the upkeep didn't get as far, or failed.
            Ok(Appending::NeedsUpkeep) => {}
            // Nothing of it was taken, and appends go on once there is space.
            Err(AppendError::DiskFull { .. }) => {}
            // It may be there in part. With another life its bytes are told apart from later ones.
            Err(_) => self.model.values.extend(values),
        }
        Ok(())
    }

    fn next_values(&self, records: u8, bytes: u16) -> Vec<Vec<u8>> {
        let base = self.model.values.len() as u64;
        (0..u64::from(records))
            .map(|i| {
                let text = format!("life {} offset {} ", self.life, base + i);
                text.bytes().cycle().take(usize::from(bytes)).collect()
            })
            .collect()
    }

    fn send(&mut self, producer: u8, records: u8, bytes: u16) -> Verdict {
        let base = self.model.values.len() as u64;
        let first = self.model.sent[usize::from(producer)].last();
        let first = first.map_or(0, |last| last.sequence.first + last.values.len() as i32);
        let sequence = Sequence { producer_id: i64::from(producer), epoch: 0, first };
        let sent = Sent { sequence, values: self.next_values(records, bytes), base };
        self.send_new(producer, sent)
    }

    /// Sends a batch that isn't stored.
    fn send_new(&mut self, producer: u8, sent: Sent) -> Verdict {
        let Some(log) = &self.log else { return Ok(()) };
        let token = self.next_token;
        self.tokens.insert(token, sent.end());
        match log.append_batch(&self.partition, sent.encoded(), token, &self.done) {
            Ok(Appending::Accepted(offset)) => {
                if offset.0 != sent.base {
                    return Err(format!("offset {offset} was given to {sent:?}, and {} is next", sent.base));
                }
                self.next_token += 1;
            }
            Ok(Appending::NeedsUpkeep) => {
                self.upkeep(Interval::Running);
                return Ok(());
            }
            Err(AppendError::DiskFull { .. }) => return Ok(()),
            Err(error @ AppendError::Sequence { .. }) => return Err(format!("a legal batch: {error}")),
            Err(_) => {}
        }
        self.model.values.extend(sent.values.iter().cloned());
        self.model.sent[usize::from(producer)].push(sent);
        Ok(())
    }

    /// Sends a batch that is stored once more: nothing happens but an acknowledgement.
    fn send_again(&mut self, producer: u8, back: usize) -> Verdict {
        let list = &self.model.sent[usize::from(producer)];
        let Some(sent) = list.len().checked_sub(back + 1).map(|i| list[i].clone()) else { return Ok(()) };
        let Some(log) = &self.log else { return Ok(()) };
        let token = self.next_token;
        self.next_token += 1;
        self.tokens.insert(token, sent.end());
        self.repeated.insert(token);
        match log.append_batch(&self.partition, sent.encoded(), token, &self.done) {
            Ok(Appending::Accepted(offset)) if offset.0 == sent.base => Ok(()),
            Err(error @ AppendError::Sequence { .. }) => Err(format!("a legal repetition: {error}")),
            // In a partition that failed.
            Err(_) => Ok(()),
            Ok(other) => Err(format!("{other:?} for a batch that is at offset {}", sent.base)),
        }
    }

    /// After a crash each producer sends its last batches again, in order: those that are stored stay where they are,
    /// the others are stored now.
    fn producers_come_back(&mut self, end: u64) -> Verdict {
        for producer in 0..2_u8 {
            let list = &mut self.model.sent[usize::from(producer)];
            let lost = list.split_off(list.partition_point(|sent| sent.end() <= end));
            let stored = list.len().min(SENT_AGAIN_MAX.saturating_sub(lost.len()));
            for back in (0..stored).rev() {
                self.send_again(producer, back)?;
            }
            for mut sent in lost.into_iter().take(SENT_AGAIN_MAX) {
                for _ in 0..6 {
                    let before = self.model.values.len() as u64;
                    sent.base = before;
                    self.send_new(producer, sent.clone())?;
                    if self.model.values.len() as u64 > before {
                        break;
                    }
                    // A roll needs the commits done.
                    self.start();
                    self.reap();
                    self.upkeep(Interval::Running);
                }
                if self.model.sent[usize::from(producer)].last().is_none_or(|last| last.base != sent.base) {
                    // There was no room: the next one would be out of order.
                    break;
                }
            }
        }
        self.take_acks()
    }

    fn start(&mut self) {
        let Some(machine) = self.log.as_ref().map(SteppedLog::machine) else { return };
        let Some(disk) = self.disk() else { return };
        let mut started = 0;
        machine.start(&mut |id: OpId, op| {
            started += 1;
            disk.submit(id, op);
        });
        self.in_flight += started;
    }

    fn reap(&mut self) {
        let Some(machine) = self.log.as_ref().map(SteppedLog::machine) else { return };
        if self.in_flight == 0 {
            return;
        }
        let Some(disk) = self.disk() else { return };
        let mut done = Vec::new();
        disk.reap(Wait::Forever, &mut done);
        self.in_flight -= done.len();
        for one in done {
            machine.on_done(one);
        }
    }

    fn upkeep(&mut self, interval: Interval) {
        // A disk of its own: commits stay in flight on the other one.
        if let (Some(log), Ok(mut disk)) = (&self.log, self.home.disk()) {
            log.upkeep(&mut disk, interval);
        }
    }

    fn commit(&mut self) {
        loop {
            self.start();
            if self.in_flight == 0 {
                break;
            }
            self.reap();
        }
    }

    fn reopen(&mut self) -> Verdict {
        self.commit();
        self.take_acks()?;
        let Some(log) = self.log.take() else { return Ok(()) };
        let ends = log.ends(&self.partition);
        let failed = self.model.values.len() as u64 != ends.map_or(0, |e| e.end.0);
        match log.close() {
            // Without the power, or after a failure, closing is refused; what is there then is seen after a crash.
            Err(_) => {
                self.home.cut_power();
                Ok(())
            }
            Ok(()) if failed => {
                Err("a log closed well that had refused an append for the disk's sake".to_owned())
            }
            Ok(()) => {
                self.model.acked = self.model.values.len() as u64;
                self.model.handed_over = self.model.acked;
                self.disk = None;
                Ok(())
            }
        }
    }

    fn take_acks(&mut self) -> Verdict {
        let mut done = Vec::new();
        self.done.drain(Wait::No, &mut done);
        for one in done {
            if one.result.is_ok() && self.repeated.remove(&one.token) {
                let end = self.tokens[&one.token];
                if end > self.model.handed_over {
                    return Err(format!("a repetition up to {end} was acknowledged before the first"));
                }
            } else if one.result.is_ok() {
                let end = self.tokens[&one.token];
                if end <= self.model.handed_over {
                    return Err(format!("offset {end} was acknowledged after {}", self.model.handed_over));
                }
                self.model.handed_over = end;
                if self.config.durability == Durability::Synced {
                    self.model.acked = end;
                }
            }
        }
        if let Some(ends) = self.log.as_ref().and_then(|l| l.ends(&self.partition)) {
            // What `os` reports as durable is a promise too.
            self.model.acked = self.model.acked.max(ends.durable.0);
        }
        Ok(())
    }

    /// Lets the machine go down and judges what recovery makes of it. `recovery_crash` lets the power fail once more
    /// in the middle, at that step.
    pub(crate) fn crash_and_judge(&mut self, crash: Crash, recovery_crash: Option<(u64, Crash)>) -> Verdict {
        let killed_only = matches!(crash, Crash::ProcessKill(_))
            && recovery_crash.is_none_or(|(_, again)| matches!(again, Crash::ProcessKill(_)));
        self.go_down(crash)?;
        if let Some((step, again)) = recovery_crash {
            self.home.crash_at_step(step);
            if let Ok((_, report)) = SteppedLog::open(self.home.clone(), self.config.clone()) {
                self.no_damage(&report)?;
            }
            self.home.reboot(again);
        }
        let promised = if killed_only { self.model.handed_over } else { self.model.acked };
        let (log, report) = SteppedLog::open(self.home.clone(), self.config.clone())
            .map_err(|e| format!("the log doesn't open: {e}"))?;
        self.no_damage(&report)?;
        let end = self.judge(&log, promised)?;
        drop(log);

        // Recovering again changes nothing.
        let before = self.contents();
        let (log, report) = SteppedLog::open(self.home.clone(), self.config.clone())
            .map_err(|e| format!("the log doesn't open a second time: {e}"))?;
        self.no_damage(&report)?;
        if let Some(p) = report.partitions.iter().find(|p| p.tail_truncated.is_some()) {
            return Err(format!("the second recovery cut something: {:?}", p.tail_truncated));
        }
        if self.judge(&log, promised)? != end {
            return Err("the second recovery ends elsewhere".to_owned());
        }
        if before != self.contents() {
            return Err("the second recovery changed a file".to_owned());
        }
        self.model.values.truncate(end as usize);
        self.model.acked = end;
        self.model.handed_over = end;
        self.life += 1;
        self.log = self.created.then_some(log);
        self.producers_come_back(end)?;
        if self.created && self.log.as_ref().is_some_and(|l| l.ends(&self.partition).is_none()) {
            return Err("a topic is gone whose creation was acknowledged".to_owned());
        }
        Ok(())
    }

    fn go_down(&mut self, crash: Crash) -> Verdict {
        self.take_acks()?;
        self.log = None;
        self.disk = None;
        self.in_flight = 0;
        self.done = Arc::default();
        self.home.reboot(crash);
        Ok(())
    }

    /// Lets the machine go down, then each read of the recovery fail in turn. A recovery may refuse, or do without what it
    /// couldn't read; it may not cut it away, and the next one has everything. Gives the number of reads.
    pub(crate) fn crash_and_fail_reads(&mut self, crash: Crash) -> Verdict<u64> {
        self.go_down(crash)?;
        let is_kill = matches!(crash, Crash::ProcessKill(_));
        let promised = if is_kill { self.model.handed_over } else { self.model.acked };
        for number in 0.. {
            let told = |why| format!("read {number} of the recovery failed: {why}");
            let copy = self.home.fork();
            copy.reboot(Crash::ProcessKill(Seed(number)));
            copy.fail_read(number);
            let opened = SteppedLog::open(copy.clone(), self.config.clone());
            if copy.reads() <= number {
                return Ok(number);
            }
            copy.fail_read(u64::MAX);
            if let Ok((log, report)) = opened {
                self.no_damage(&report).and_then(|()| self.judge(&log, promised)).map_err(told)?;
            }
            copy.reboot(if is_kill { Crash::ProcessKill(Seed(number)) } else { Crash::LoseUnsynced });
            let (log, report) =
                SteppedLog::open(copy, self.config.clone()).map_err(|e| told(e.to_string()))?;
            self.no_damage(&report).and_then(|()| self.judge(&log, promised)).map_err(told)?;
        }
        unreachable!("a recovery ends")
    }

    /// Batches are acknowledged, as by a log that was never in trouble; at the latest once upkeep had its turns.
    pub(crate) fn serves(&mut self) -> Verdict {
        let before = self.model.handed_over;
        for _ in 0..4 {
            self.run(&[Step::Append { records: 1, bytes: 900 }, Step::Commit])?;
            if self.model.handed_over > before {
                return Ok(());
            }
            self.run(&[Step::Upkeep, Step::Upkeep])?;
        }
        Err("nothing is acknowledged".to_owned())
    }

    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.home.files().into_iter();
        files.map(|f| (f.clone(), self.home.seen_bytes(&f).expect("it was listed"))).collect()
    }

    /// Every record is the one that was tried at its offset, without a gap, and the promised ones are there.
    fn judge(&self, log: &SteppedLog<SimHome>, promised: u64) -> Verdict<u64> {
        let Some(ends) = log.ends(&self.partition) else {
            return if promised == 0 { Ok(0) } else { Err("the partition is gone".to_owned()) };
        };
        let tried = self.model.values.len() as u64;
        if ends.start != Offset(0) || ends.end.0 < promised || ends.end.0 > tried || ends.durable != ends.end
        {
            return Err(format!("{ends:?}, with {promised} promised and {tried} tried"));
        }
        let mut at = Offset(0);
        while at < ends.end {
            let fetched = log.fetch(&self.partition, at, 3000).map_err(|e| format!("offset {at}: {e}"))?;
            if fetched.is_empty() {
                return Err(format!("nothing at offset {at}, below the end {}", ends.end));
            }
            for record in fetched.records() {
                let record = record.map_err(|e| e.to_string())?;
                if record.offset != at {
                    return Err(format!("offset {} came, and {at} is next", record.offset));
                }
                if record.value != Some(self.model.values[at.0 as usize].as_slice()) {
                    let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                    return Err(format!(
                        "offset {at} has the value {:.60?}, which was never written there",
                        value
                    ));
                }
                at = at.plus(1);
            }
        }
        Ok(ends.end.0)
    }
}

/// One run with several crashes, everything from `seed`.
pub(crate) fn random_run(seed: Seed, config: &LogConfig) -> Verdict<engine_env::sim::CrashCounts> {
    let mut dice = Dice::new(seed);
    let mut world = World::new(dice.seed(), config.clone());
    for round in 0..3 {
        let len = 4 + dice.below(24);
        let program = random_program(&mut dice, len);
        let crash_step = dice.below(90);
        world.home.crash_at_step(crash_step);
        if dice.below(4) == 0 {
            let faults =
                [Fault::WriteError, Fault::SyncError, Fault::NoSpace, Fault::NameError, Fault::SyncDirError];
            let fault = faults[dice.below(faults.len() as u64) as usize];
            world.home.fail_at_step(dice.below(60), fault);
        }
        let told = |why| format!("seed {}, round {round}: {why}", seed.0);
        world.run(&program).map_err(told)?;
        let first = crash(dice.below(6), dice.seed());
        let again = (dice.below(3) == 0).then(|| (dice.below(25), crash(dice.below(6), dice.seed())));
        world.crash_and_judge(first, again).map_err(told)?;
    }
    Ok(world.home.counts())
}
