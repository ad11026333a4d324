//! The scenarios: lives of an engine on one simulated machine, each ended by something that goes wrong.
//!
//! After each recovery the judge looks at everything that can be read, and what was read counts as acknowledged from
//! then on: a reader has seen it, so it may not vanish, whatever page it came from.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use engine_env::Durability;
use engine_env::rng::{Rng, Seed};
use engine_env::sim::{Crash, CrashCounts, Fault, SimHome};
use rand::{Rng as _, RngExt as _};

use super::scenario::{Setup, Summary};
use super::subject::{Notes, Subject};
use crate::stress::{Dump, DumpLine, Token, TokenFile, Violation, judge, judge_repeated};

/// What a scenario gives: what happened or what is broken, and how often the engine was opened.
type Lived = (Result<Summary, String>, u64);

/// A machine and everything that is known of it.
struct History<'a> {
    seed: u64,
    setup: &'a Setup,
    durability: Durability,
    home: SimHome,
    rng: Rng,
    run: u64,
    notes: Notes,
    /// Read after a recovery.
    seen: HashSet<Token>,
    promised: Vec<Token>,
    summary: Summary,
    happened: DefaultHasher,
}

/// Whether power may fail while the engine recovers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recovery {
    Undisturbed,
    CutShort,
}

impl<'a> History<'a> {
    fn new(name: &str, seed: u64, setup: &'a Setup, durability: Option<Durability>) -> Self {
        let mut rng = Seed(seed).derive(name, 0).rng();
        let either = if rng.random_bool(0.5) { Durability::Synced } else { Durability::Os };
        Self {
            seed,
            setup,
            durability: durability.unwrap_or(either),
            home: SimHome::new(Seed(seed).derive(name, 1)),
            rng,
            run: 0,
            notes: Notes::default(),
            seen: HashSet::new(),
            promised: Vec::new(),
            summary: Summary::default(),
            happened: DefaultHasher::new(),
        }
    }

    fn finish(mut self, result: Result<(), String>) -> Lived {
        self.home.trace_hash().hash(&mut self.happened);
        self.notes.attempted.hash(&mut self.happened);
        self.notes.acked.hash(&mut self.happened);
        let summary = Summary {
            trace_hash: self.happened.finish(),
            lives: self.run,
            attempted: self.notes.attempted.len() as u64,
            acknowledged: self.notes.acked.len() as u64,
            failures: self.notes.failures,
            crashes: self.home.counts(),
            ..self.summary
        };
        (result.map(|()| summary), self.run)
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
    fn recover<S: Subject>(&mut self, recovery: Recovery) -> Result<S, String> {
        loop {
            self.run += 1;
            if recovery == Recovery::CutShort && self.rng.random_bool(0.3) {
                self.home.crash_at_step(self.rng.random_range(0..16));
            }
            let opened = S::open(&self.home, self.setup, self.durability, self.seed, self.run);
            if self.home.is_powered() {
                let subject = opened.map_err(|e| format!("the engine doesn't recover: {e}"))?;
                self.home.crash_at_step(u64::MAX);
                self.look::<S>(&subject)?;
                return Ok(subject);
            }
            self.summary.recoveries_cut += 1;
            let crash = self.any_survivable();
            self.home.reboot(crash);
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
            let again = S::open(&copy, self.setup, self.durability, self.seed, self.run)
                .map_err(|e| format!("the engine recovers once, but not twice: {e}"))?;
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
                DumpLine::End { .. } | DumpLine::Bad { .. } => continue,
            };
            if self.seen.insert(token.clone()) {
                self.promised.push(token);
            }
        }
        Ok(())
    }

    fn violations<S: Subject>(&mut self, dump: &Dump) -> Vec<Violation> {
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
    fn live<S: Subject>(&mut self, subject: &mut S, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            let step = subject.step(&mut self.rng, &mut self.notes);
            if !self.home.is_powered() {
                return Ok(());
            }
            step?;
        }
        Ok(())
    }

    /// Ends a life. What was in flight dies with it.
    fn crash<S: Subject>(&mut self, subject: S, crash: Crash) {
        self.home.reboot(crash);
        drop(subject);
    }

    /// A power cut that nothing was claimed for: what is promised starts anew.
    fn forget_promises(&mut self) {
        self.notes.acked.clear();
        self.promised.clear();
        self.seen.clear();
    }
}

fn listed(violations: &[Violation]) -> String {
    let mut lines: Vec<String> = violations.iter().take(10).map(ToString::to_string).collect();
    if violations.len() > lines.len() {
        lines.push(format!("and {} more", violations.len() - lines.len()));
    }
    lines.join("\n")
}

/// Lives that end at any step, by any crash that `synced` survives; the power may fail in recovery, too.
pub(super) fn power_cut<S: Subject>(seed: u64, setup: &Setup) -> Lived {
    let mut history = History::new("power cut", seed, setup, Some(Durability::Synced));
    let result = ended_by_crashes::<S>(&mut history, |history| (history.any_survivable(), true));
    history.finish(result)
}

/// Lives that end by a kill. After a power cut only that nothing is made up.
pub(super) fn kill<S: Subject>(seed: u64, setup: &Setup) -> Lived {
    let mut history = History::new("kill", seed, setup, Some(Durability::Os));
    let result = ended_by_crashes::<S>(&mut history, |history| {
        if history.rng.random_bool(0.2) {
            (history.any_power_cut(), false)
        } else {
            (history.process_kill(), true)
        }
    });
    history.finish(result)
}

fn ended_by_crashes<S: Subject>(
    history: &mut History<'_>,
    mut any_crash: impl FnMut(&mut History<'_>) -> (Crash, bool),
) -> Result<(), String> {
    for _ in 0..history.rng.random_range(2..5) {
        let mut subject: S = history.recover(Recovery::CutShort)?;
        let left = history.rng.random_range(0..160);
        history.home.crash_at_step(history.home.steps() + left);
        history.live(&mut subject, 120)?;
        let (crash, survivable) = any_crash(history);
        history.crash(subject, crash);
        if !survivable {
            history.forget_promises();
        }
    }
    let subject: S = history.recover(Recovery::Undisturbed)?;
    subject.close(&mut history.notes).map_err(|e| format!("a healthy engine doesn't close: {e}"))?;
    history.home.reboot(Crash::LoseUnsynced);
    history.recover::<S>(Recovery::Undisturbed).map(drop)
}

/// Writes, syncs, names and directory syncs fail; the engine is restarted, with the pages that the failed sync left clean
/// and wrong, or loses power.
pub(super) fn failed_sync<S: Subject>(seed: u64, setup: &Setup) -> Lived {
    const FAULTS: [Fault; 5] =
        [Fault::SyncError, Fault::SyncError, Fault::WriteError, Fault::SyncDirError, Fault::NameError];
    let mut history = History::new("failed sync", seed, setup, Some(Durability::Synced));
    let mut lives = || -> Result<(), String> {
        for _ in 0..history.rng.random_range(2..6) {
            let mut subject: S = history.recover(Recovery::Undisturbed)?;
            for _ in 0..history.rng.random_range(1..3) {
                let step = history.home.steps() + history.rng.random_range(0..60);
                history.home.fail_at_step(step, FAULTS[history.rng.random_range(0..FAULTS.len())]);
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
                let step = history.rng.random_range(0..25);
                history.home.fail_at_step(step, FAULTS[history.rng.random_range(0..FAULTS.len())]);
                history.run += 1;
                let opened = S::open(&history.home, setup, Durability::Synced, seed, history.run);
                if opened.is_err() {
                    history.notes.failures += 1;
                }
                drop(opened);
                let crash = history.any_survivable();
                history.home.reboot(crash);
            }
        }
        history.recover::<S>(Recovery::Undisturbed).map(drop)
    };
    let result = lives();
    history.finish(result)
}

/// The disk fills up while the engine works; it refuses, and goes on once there is room again.
pub(super) fn full_disk<S: Subject>(seed: u64, setup: &Setup) -> Lived {
    let mut history = History::new("full disk", seed, setup, None);
    let mut lives = || -> Result<(), String> {
        for _ in 0..2 {
            let mut subject: S = history.recover(Recovery::Undisturbed)?;
            let quiet = history.rng.random_range(0..60);
            history.live(&mut subject, quiet)?;
            let free = history.rng.random_range(0..16_384);
            history.home.set_free_bytes(Some(free));
            history.live(&mut subject, 120)?;
            let dump = subject.dump();
            history.judge::<S>(&dump)?;
            let crash = history.any_survivable();
            history.crash(subject, crash);
            history.home.set_free_bytes(None);
        }
        let mut subject: S = history.recover(Recovery::Undisturbed)?;
        let before = history.notes.acked.len();
        history.live(&mut subject, 120)?;
        if history.notes.acked.len() == before {
            return Err("nothing is acknowledged any more, though there is room again".to_owned());
        }
        let dump = subject.dump();
        history.judge::<S>(&dump)
    };
    let result = lives();
    history.finish(result)
}

/// One bit of a closed folder rots: whatever is served is right, the rest is reported, and no more is lost than that bit
/// was part of.
pub(super) fn rot<S: Subject>(seed: u64, setup: &Setup) -> Lived {
    let mut history = History::new("rot", seed, setup, None);
    let mut lives = || -> Result<(), String> {
        let mut subject: S = history.recover(Recovery::Undisturbed)?;
        history.live(&mut subject, 200)?;
        subject.close(&mut history.notes).map_err(|e| format!("a healthy engine doesn't close: {e}"))?;
        let whole = history.home.clone();
        for _ in 0..8 {
            history.home = whole.fork();
            history.home.reboot(Crash::LoseUnsynced);
            rot_once::<S>(&mut history)?;
        }
        Ok(())
    };
    let result = lives();
    history.finish(result)
}

fn rot_once<S: Subject>(history: &mut History<'_>) -> Result<(), String> {
    let wants_records = history.rng.random_bool(0.8);
    let files: Vec<(String, u64)> = history
        .home
        .files()
        .into_iter()
        .filter(|path| path != "FORMAT" && S::holds_records(path) == wants_records)
        .map(|path| {
            let len = history.home.seen_bytes(&path).map_or(0, |bytes| bytes.len() as u64);
            (path, len)
        })
        .filter(|(_, len)| *len > 0)
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let (path, len) = files[history.rng.random_range(0..files.len())].clone();
    let bit = history.rng.random_range(0..len * 8);
    history.home.flip_bit(&path, bit).map_err(|e| e.to_string())?;
    let place = format!("bit {} of byte {} of {path} flipped", bit % 8, bit / 8);
    history.run += 1;
    let subject = S::open(&history.home, history.setup, history.durability, history.seed, history.run)
        .map_err(|e| format!("{place}: the engine doesn't open: {e}"))?;
    let dump = subject.dump();
    history.summary.damage += dump.damage().count() as u64;
    let violations = history.violations::<S>(&dump);
    let excused = wants_records && excused(&dump, &violations);
    if violations.is_empty() || excused {
        return Ok(());
    }
    let damage: Vec<String> = dump.damage().map(ToString::to_string).collect();
    Err(format!("{place}:\n{}\nreported: [{}]", listed(&violations), damage.join("; ")))
}

/// Whether reported damage explains the violations: records lost within it, or versions of the one key it hit. Wrong bytes
/// are never excused.
fn excused(dump: &Dump, violations: &[Violation]) -> bool {
    if dump.damage().next().is_none() {
        return false;
    }
    let damaged: Vec<_> = dump.damage().filter_map(DumpLine::damaged_offsets).collect();
    let mut keys = HashSet::new();
    violations.iter().all(|violation| match violation {
        Violation::PutLost { put: cited, .. } | Violation::DeletedIsBack { del: cited, .. } => {
            if let Token::Put { key, .. } | Token::Del { key, .. } = &cited.token {
                keys.insert(key.clone());
            }
            keys.len() == 1
        }
        Violation::RecordLost { app, .. } => match &app.token {
            Token::App { to, offset: Some(offset), .. } => {
                damaged.iter().any(|(of, offsets)| of == to && offsets.contains(offset))
            }
            _ => false,
        },
        _ => false,
    })
}

/// Adds up what many simulations did.
impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        let Self { trace_hash, lives, recoveries_cut, attempted, acknowledged, failures, damage, crashes } =
            other;
        self.trace_hash = self.trace_hash.rotate_left(1) ^ trace_hash;
        self.lives += lives;
        self.recoveries_cut += recoveries_cut;
        self.attempted += attempted;
        self.acknowledged += acknowledged;
        self.failures += failures;
        self.damage += damage;
        let CrashCounts {
            crashes,
            sectors_lost,
            sectors_kept,
            sectors_torn,
            lengths_lost,
            names_lost,
            names_kept,
        } = crashes;
        self.crashes.crashes += crashes;
        self.crashes.sectors_lost += sectors_lost;
        self.crashes.sectors_kept += sectors_kept;
        self.crashes.sectors_torn += sectors_torn;
        self.crashes.lengths_lost += lengths_lost;
        self.crashes.names_lost += names_lost;
        self.crashes.names_kept += names_kept;
    }
}
