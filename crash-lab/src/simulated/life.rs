//! The scenarios: lives of an engine on one simulated machine, each ended by something that goes wrong.
//!
//! After each recovery the judge looks at everything that can be read, and what was read counts as acknowledged from
//! then on: a reader has seen it, so it may not vanish, whatever page it came from.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use engine_env::Durability;
use engine_env::rng::{Rng, Seed};
use engine_env::sim::{Crash, Fault, SimHome};
use rand::{Rng as _, RngExt as _};

use super::plan::{Plan, StepId};
use super::subject::{Notes, Subject};
use super::summary::{FaultClass, Summary};
use crate::stress::{Dump, DumpLine, Token, TokenFile, Violation, judge, judge_repeated};

/// What a scenario gives: what happened, or what is broken.
pub(crate) type Lived = Result<Summary, String>;

/// A machine and everything that is known of it.
pub(super) struct History<'a> {
    name: &'static str,
    seed: u64,
    plan: &'a Plan<'a>,
    durability: Durability,
    pub(super) home: SimHome,
    pub(super) rng: Rng,
    run: u64,
    next_step: u64,
    /// `interval:MS`: when the next sync is due, and what time it is, milliseconds since the life began.
    sync_due_ms: u64,
    now_ms: u64,
    pub(super) notes: Notes,
    /// Read after a recovery.
    seen: HashSet<Token>,
    promised: Vec<Token>,
    pub(super) summary: Summary,
    happened: DefaultHasher,
}

/// Whether power may fail while the engine recovers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    Undisturbed,
    CutShort,
}

impl<'a> History<'a> {
    pub(super) fn new(
        name: &'static str,
        seed: u64,
        plan: &'a Plan<'a>,
        durability: Option<Durability>,
    ) -> Self {
        let mut rng = Seed(seed).derive(name, 0).rng();
        let either = if rng.random_bool(0.5) { Durability::Synced } else { Durability::Os };
        let home = SimHome::new(Seed(seed).derive(name, 1));
        plan.runs_on(&home);
        Self {
            name,
            seed,
            plan,
            durability: durability.unwrap_or(either),
            home,
            rng,
            run: 0,
            next_step: 0,
            sync_due_ms: 0,
            now_ms: 0,
            notes: Notes::default(),
            seen: HashSet::new(),
            promised: Vec::new(),
            summary: Summary::default(),
            happened: DefaultHasher::new(),
        }
    }

    pub(super) fn finish(mut self, result: Result<(), String>) -> Lived {
        self.home.trace_hash().hash(&mut self.happened);
        self.notes.attempted.hash(&mut self.happened);
        self.notes.acked.hash(&mut self.happened);
        let mut summary = self.summary;
        summary.trace_hash = self.happened.finish();
        summary.lives = self.run;
        summary.attempted = self.notes.attempted.len() as u64;
        summary.acknowledged += self.notes.acked.len() as u64;
        summary.failures = self.notes.failures;
        summary.crashes = self.home.counts();
        summary.add_faults(&self.home.faults());
        result.map(|()| summary)
    }

    /// Puts what happens into the trace.
    pub(super) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.home.note(format_args!("> {line}"));
    }

    /// The engine is about to be opened.
    pub(super) fn begin_life(&mut self) {
        self.run += 1;
        self.next_step = 0;
        (self.now_ms, self.sync_due_ms) = (0, 0);
        self.plan.begins_life(self.run);
        self.note(format_args!("life {} begins, {}", self.run, self.durability));
    }

    pub(super) fn open<S: Subject>(&self, home: &SimHome) -> Result<S, String> {
        S::open(home, self.plan.setup, self.durability, self.seed, self.run)
    }

    /// Another machine takes this one's place.
    pub(super) fn go_on_with(&mut self, home: SimHome) {
        self.plan.runs_on(&home);
        self.home = home;
    }

    /// Plans a power failure `left` steps of the machine from now.
    fn power_fails_in(&self, left: u64) {
        self.note(format_args!("the power will fail in {left} steps of the machine"));
        self.home.crash_at_step(self.home.steps() + left);
    }

    pub(super) fn reboot(&self, crash: Crash) {
        self.note(format_args!("the machine goes down by {crash:?} and comes back"));
        self.home.reboot(crash);
    }

    fn plan_fault(&mut self, within: u64, faults: &[Fault]) {
        let step = self.home.steps() + self.rng.random_range(0..within);
        let fault = faults[self.rng.random_range(0..faults.len())];
        self.note(format_args!("{fault:?} planned for step {step} of the machine"));
        self.home.fail_at_step(step, fault);
    }

    fn any_power_cut(&mut self) -> Crash {
        let seed = Seed(self.rng.next_u64());
        match self.rng.random_range(0..10) {
            0 => Crash::LoseUnsynced,
            1 => Crash::KeepUnsynced,
            2 => Crash::LengthsOnly,
            3 => Crash::Subset(seed),
            _ => Crash::PowerCut(seed),
        }
    }

    fn process_kill(&mut self) -> Crash {
        Crash::ProcessKill(Seed(self.rng.next_u64()))
    }

    /// A crash that the durability claims to survive.
    fn any_survivable(&mut self) -> Crash {
        if self.durability == Durability::Synced && self.rng.random_bool(0.8) {
            self.any_power_cut()
        } else {
            self.process_kill()
        }
    }

    /// Opens the engine, again and again if the power fails meanwhile, and judges what it holds.
    pub(super) fn recover<S: Subject>(&mut self, recovery: Recovery) -> Result<S, String> {
        loop {
            self.begin_life();
            if recovery == Recovery::CutShort && self.rng.random_bool(0.3) {
                let left = self.rng.random_range(0..16);
                self.power_fails_in(left);
            }
            let opened = self.open(&self.home);
            if self.home.is_powered() {
                let subject = opened.map_err(|e| format!("the engine doesn't recover: {e}"))?;
                self.home.crash_at_step(u64::MAX);
                self.look::<S>(&subject)?;
                return Ok(subject);
            }
            self.summary.count(FaultClass::RecoveryCut, 1);
            let crash = self.any_survivable();
            self.reboot(crash);
        }
    }

    /// Judges a recovered engine, and notes what it holds as promised.
    fn look<S: Subject>(&mut self, subject: &S) -> Result<(), String> {
        let dump = subject.dump();
        self.judge::<S>(&dump)?;
        if self.rng.random_bool(0.5) {
            // Recovering what was just recovered gives the same: what was told is as durable as promised.
            let copy = self.home.fork();
            let kill = self.process_kill();
            copy.reboot(if self.durability == Durability::Synced { Crash::LoseUnsynced } else { kill });
            let again: S =
                self.open(&copy).map_err(|e| format!("the engine recovers once, but not twice: {e}"))?;
            if let Some(violation) = judge_repeated(&dump, &again.dump()) {
                return Err(violation.to_string());
            }
        }
        for line in dump.lines() {
            let token = match line.clone() {
                DumpLine::Val { key, clock, value } => Token::Put { key, value, clock },
                DumpLine::Rec { of, offset, id, value } => {
                    Token::App { to: of, id, value, offset: Some(offset) }
                }
                DumpLine::End { start: 0, .. } | DumpLine::Bad { .. } => continue,
                DumpLine::End { of, start, .. } => Token::Cut { of, offset: start },
            };
            self.promise(token);
        }
        Ok(())
    }

    /// Somebody has read it: it may not vanish any more.
    fn promise(&mut self, token: Token) {
        if self.seen.insert(token.clone()) {
            self.promised.push(token);
        }
    }

    pub(super) fn violations<S: Subject>(&mut self, dump: &Dump) -> Vec<Violation> {
        dump.to_string().hash(&mut self.happened);
        let promised = self.promised.iter().chain(&self.notes.acked).cloned();
        let acked = TokenFile::from_tokens("acknowledged", promised);
        let attempted = TokenFile::from_tokens("attempted", self.notes.attempted.iter().cloned());
        judge(S::ENGINE, dump, &acked, Some(&attempted)).expect("a subject notes its own engine's tokens")
    }

    /// Nothing may be broken, and nothing damaged.
    fn judge<S: Subject>(&mut self, dump: &Dump) -> Result<(), String> {
        let violations = self.violations::<S>(dump);
        if !violations.is_empty() {
            return Err(listed(&violations));
        }
        match dump.damage().next() {
            None => Ok(()),
            Some(line) => Err(format!("damage is reported, though nothing was damaged: `{line}`")),
        }
    }

    /// Moves the engine on, until the power fails.
    pub(super) fn live<S: Subject>(&mut self, subject: &mut S, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            let id = StepId { life: self.run, number: self.next_step };
            self.next_step += 1;
            if !self.plan.takes(id) {
                continue;
            }
            let mut rng = Seed(self.seed).derive(self.name, 2 + (id.life << 32 | id.number)).rng();
            let failed_reads = self.failed_reads();
            let step = subject.step(&mut rng, &mut self.notes);
            if !self.home.is_powered() {
                return Ok(());
            }
            if self.failed_reads() == failed_reads {
                step?;
            } else if step.is_err() {
                // Whoever asked was told that it can't be read: no answer is not a wrong one.
                self.notes.failures += 1;
            }
            let seen = std::mem::take(&mut self.notes.seen);
            match self.durability {
                // What was only read may be no more durable than what was only acknowledged.
                Durability::IntervalMs(interval_ms) => self.pass_time(subject, interval_ms, &mut rng)?,
                _ => seen.into_iter().for_each(|token| self.promise(token)),
            }
            if !self.home.is_powered() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn failed_reads(&self) -> u64 {
        self.home.faults().get(&Fault::ReadError).copied().unwrap_or(0)
    }

    /// A step takes up to two milliseconds. Once the interval has passed, the sync comes: what was acknowledged before it
    /// began is promised when it is done.
    fn pass_time<S: Subject>(
        &mut self,
        subject: &mut S,
        interval_ms: u64,
        rng: &mut Rng,
    ) -> Result<(), String> {
        self.now_ms += rng.random_range(0..=2);
        if self.now_ms < self.sync_due_ms {
            return Ok(());
        }
        self.sync_due_ms = self.now_ms + interval_ms;
        let acknowledged = self.notes.acked.len();
        if subject.sync() {
            self.notes.synced = acknowledged;
        } else if self.home.is_powered() {
            return Err("the interval has passed, nothing failed, and not everything is synced".to_owned());
        }
        Ok(())
    }

    /// A power cut took what no sync covered.
    fn forget_unsynced(&mut self) {
        let lost = self.notes.acked.split_off(self.notes.synced);
        self.summary.acknowledged += lost.len() as u64;
    }

    /// There is room again, and operations are acknowledged again.
    fn room_again<S: Subject>(&mut self, subject: &mut S) -> Result<(), String> {
        self.note(format_args!("there is room again"));
        self.home.set_free_bytes(None);
        let before = self.notes.acked.len();
        self.live(subject, 120)?;
        if self.notes.acked.len() == before && self.plan.is_whole() {
            return Err("nothing is acknowledged any more, though there is room again".to_owned());
        }
        let dump = subject.dump();
        self.judge::<S>(&dump)
    }

    /// Ends a life. What was in flight dies with it.
    fn crash<S: Subject>(&mut self, subject: S, crash: Crash) {
        self.reboot(crash);
        drop(subject);
    }

    /// A power cut that nothing was claimed for: what is promised starts anew.
    fn forget_promises(&mut self) {
        self.summary.acknowledged += self.notes.acked.len() as u64;
        self.notes.acked.clear();
        self.notes.synced = 0;
        self.promised.clear();
        self.seen.clear();
    }
}

pub(super) fn listed(violations: &[Violation]) -> String {
    let mut lines: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
    if violations.len() > lines.len() {
        lines.push(format!("and {} more", violations.len() - lines.len()));
    }
    lines.join("\n")
}

/// Lives that end at any step, by any crash that `synced` survives; the power may fail in recovery, too.
pub(super) fn power_cut<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new("power cut", seed, plan, Some(Durability::Synced));
    let result = ended_by_crashes::<S>(&mut history, |history| (history.any_survivable(), Survives::All));
    history.finish(result)
}

/// Lives that end by a kill. After a power cut only that nothing is made up.
pub(super) fn kill<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new("kill", seed, plan, Some(Durability::Os));
    let result = ended_by_crashes::<S>(&mut history, |history| {
        if history.rng.random_bool(0.2) {
            (history.any_power_cut(), Survives::Nothing)
        } else {
            (history.process_kill(), Survives::All)
        }
    });
    history.finish(result)
}

/// Lives in which time passes and a sync comes every so often: after a power cut what the last finished one covered is
/// there, after a kill everything.
pub(super) fn interval<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let interval_ms = 1 + seed % 40;
    let mut history = History::new("interval", seed, plan, Some(Durability::IntervalMs(interval_ms)));
    let result = ended_by_crashes::<S>(&mut history, |history| {
        if history.rng.random_bool(0.7) {
            (history.any_power_cut(), Survives::Synced)
        } else {
            (history.process_kill(), Survives::All)
        }
    });
    history.finish(result)
}

/// What of the acknowledged operations a crash may not take.
enum Survives {
    All,
    Synced,
    Nothing,
}

fn ended_by_crashes<S: Subject>(
    history: &mut History<'_>,
    mut any_crash: impl FnMut(&mut History<'_>) -> (Crash, Survives),
) -> Result<(), String> {
    for _ in 0..history.rng.random_range(2..5) {
        let mut subject: S = history.recover(Recovery::CutShort)?;
        let left = history.rng.random_range(0..160);
        history.power_fails_in(left);
        history.live(&mut subject, 120)?;
        let (crash, survives) = any_crash(history);
        history.crash(subject, crash);
        match survives {
            Survives::All => {}
            Survives::Synced => history.forget_unsynced(),
            Survives::Nothing => history.forget_promises(),
        }
    }
    let subject: S = history.recover(Recovery::Undisturbed)?;
    subject.close(&mut history.notes).map_err(|e| format!("a healthy engine doesn't close: {e}"))?;
    history.reboot(Crash::LoseUnsynced);
    history.recover::<S>(Recovery::Undisturbed).map(drop)
}

/// Failures of writing, syncing and naming.
const FAULTS: [Fault; 5] =
    [Fault::SyncError, Fault::SyncError, Fault::WriteError, Fault::SyncDirError, Fault::NameError];

/// Longer lives that end by any crash that the durability survives, in recovery, too. In some of them a write, a sync or a
/// name fails first. For engines that let go of things while they are written.
pub(super) fn survivable<S: Subject>(name: &'static str, seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new(name, seed, plan, None);
    let mut lives = || -> Result<(), String> {
        for _ in 0..history.rng.random_range(2..5) {
            let mut subject: S = history.recover(Recovery::CutShort)?;
            if history.rng.random_bool(0.25) {
                history.plan_fault(150, &FAULTS);
            } else {
                let left = history.rng.random_range(0..500);
                history.power_fails_in(left);
            }
            history.live(&mut subject, 240)?;
            let crash = history.any_survivable();
            history.crash(subject, crash);
        }
        let mut subject: S = history.recover(Recovery::Undisturbed)?;
        history.live(&mut subject, 80)?;
        let dump = subject.dump();
        history.judge::<S>(&dump)?;
        subject.close(&mut history.notes).map_err(|e| format!("a healthy engine doesn't close: {e}"))?;
        history.reboot(Crash::LoseUnsynced);
        history.recover::<S>(Recovery::Undisturbed).map(drop)
    };
    let result = lives();
    history.finish(result)
}

/// Writes, syncs, names and directory syncs fail; the engine is restarted, with the pages that the failed sync left clean
/// and wrong, or loses power.
pub(super) fn failed_sync<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new("failed sync", seed, plan, Some(Durability::Synced));
    let mut lives = || -> Result<(), String> {
        for _ in 0..history.rng.random_range(2..6) {
            let mut subject: S = history.recover(Recovery::Undisturbed)?;
            for _ in 0..history.rng.random_range(1..3) {
                history.plan_fault(60, &FAULTS);
            }
            history.live(&mut subject, 100)?;
            // Reads go on, and still show all that was acknowledged.
            let dump = subject.dump();
            history.judge::<S>(&dump)?;
            let crash =
                if history.rng.random_bool(0.6) { history.process_kill() } else { history.any_power_cut() };
            history.crash(subject, crash);
            if history.rng.random_bool(0.3) {
                // The fault hits recovery: it may fail, cleanly, and leave everything to the next one.
                history.begin_life();
                history.plan_fault(25, &FAULTS);
                let opened = history.open::<S>(&history.home);
                if opened.is_err() {
                    history.notes.failures += 1;
                }
                drop(opened);
                let crash = history.any_survivable();
                history.reboot(crash);
            }
        }
        history.recover::<S>(Recovery::Undisturbed).map(drop)
    };
    let result = lives();
    history.finish(result)
}

/// The device can't read now and then, while the engine works and while it recovers: it may refuse to answer or to open,
/// but it cuts nothing away, calls nothing damaged, and has everything once the device can read.
pub(super) fn failed_read<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new("failed read", seed, plan, None);
    let mut lives = || -> Result<(), String> {
        for _ in 0..history.rng.random_range(2..5) {
            let mut subject: S = history.recover(Recovery::Undisturbed)?;
            for _ in 0..history.rng.random_range(1..6) {
                history.plan_fault(150, &[Fault::ReadError]);
            }
            history.live(&mut subject, 120)?;
            let crash = history.any_survivable();
            history.crash(subject, crash);
            history.begin_life();
            let number = history.rng.random_range(0..12);
            history.note(format_args!("read {number} of the recovery will fail"));
            history.home.fail_read(number);
            let opened = history.open::<S>(&history.home);
            history.home.fail_read(u64::MAX);
            match opened {
                Ok(subject) => history.look::<S>(&subject)?,
                Err(_) => history.notes.failures += 1,
            }
            let crash = history.any_survivable();
            history.reboot(crash);
        }
        history.recover::<S>(Recovery::Undisturbed).map(drop)
    };
    let result = lives();
    history.finish(result)
}

/// The disk fills up while the engine works; it refuses, keeps what it has, and goes on once there is room again: without
/// a restart as well as after one.
pub(super) fn full_disk<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut history = History::new("full disk", seed, plan, None);
    let mut lives = || -> Result<(), String> {
        for _ in 0..2 {
            let mut subject: S = history.recover(Recovery::Undisturbed)?;
            let quiet = history.rng.random_range(0..60);
            history.live(&mut subject, quiet)?;
            let free = history.rng.random_range(0..16_384);
            history.note(format_args!("{free} bytes are left on the disk"));
            history.home.set_free_bytes(Some(free));
            history.live(&mut subject, 120)?;
            let dump = subject.dump();
            history.judge::<S>(&dump)?;
            if history.rng.random_bool(0.5) {
                history.room_again(&mut subject)?;
            }
            let crash = history.any_survivable();
            history.crash(subject, crash);
            history.home.set_free_bytes(None);
        }
        let mut subject: S = history.recover(Recovery::Undisturbed)?;
        history.room_again(&mut subject)
    };
    let result = lives();
    history.finish(result)
}
