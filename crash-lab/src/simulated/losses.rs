//! [`losses`]: how many acknowledged operations are gone after so many crashes. What the scenarios demand to be none, this
//! counts: for `os` and power cuts there are some, because that is what `os` means.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use engine_env::Durability;
use engine_env::sim::Crash;
use rand::{Rng as _, RngExt as _};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::kv::KvSubject;
use super::life::{History, Recovery};
use super::log::LogSubject;
use super::plan::Plan;
use super::scenario::Setup;
use super::subject::Subject;
use crate::stress::{Engine, Violation};

/// How the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKind {
    /// `kill -9`: the page cache stays.
    ProcessKill,
    /// What no sync covered may be lost, kept or torn, sector by sector.
    PowerCut,
}

impl fmt::Display for CrashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessKill => "process kill",
            Self::PowerCut => "power cut",
        })
    }
}

/// What crashes cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Crashes, each of an engine with up to 160 steps behind it.
    pub crashes: u64,
    /// Operations that had been acknowledged before a crash.
    pub acknowledged: u64,
    /// Of those, not there after recovery: puts and records gone, deletes undone.
    pub lost: u64,
    /// Crashes after which something else was wrong: a value that nobody wrote, damage where nothing was damaged, an engine
    /// that doesn't open. Always a bug.
    pub broken: u64,
}

impl std::ops::Add for Losses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            crashes: self.crashes + other.crashes,
            acknowledged: self.acknowledged + other.acknowledged,
            lost: self.lost + other.lost,
            broken: self.broken + other.broken,
        }
    }
}

impl Losses {
    /// The share of acknowledged operations that is gone; `None` if there were none.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.acknowledged > 0).then(|| self.lost as f64 / self.acknowledged as f64)
    }
}

impl std::iter::Sum for Losses {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| a + b)
    }
}

/// Crashes `engine`, or one node of it alone if it is a cluster, so many times on simulated machines, each fresh from
/// `seed`, and counts. The same arguments give the same figures. With `interval:MS` a step takes up to two milliseconds, and
/// syncs come when they are due.
#[must_use]
pub fn losses(engine: Engine, durability: Durability, kind: CrashKind, crashes: u64, seed: u64) -> Losses {
    let setup = Setup::default();
    let one = |number: u64| {
        let seed = engine_env::rng::Seed(seed).derive("losses", number).0;
        let run = || match engine {
            Engine::Kv | Engine::KvCluster => crash_once::<KvSubject>(durability, kind, seed, &setup),
            Engine::Log | Engine::LogCluster => crash_once::<LogSubject>(durability, kind, seed, &setup),
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(Losses { crashes: 1, broken: 1, ..Losses::default() })
    };
    (0..crashes).into_par_iter().map(one).reduce(Losses::default, std::ops::Add::add)
}

fn crash_once<S: Subject>(durability: Durability, kind: CrashKind, seed: u64, setup: &Setup) -> Losses {
    let left_out = BTreeSet::new();
    let plan = Plan::new(setup, &left_out, false);
    let mut history = History::new("losses", seed, &plan, Some(durability));
    let broken = Losses { crashes: 1, broken: 1, ..Losses::default() };
    let Ok(mut subject) = history.recover::<S>(Recovery::Undisturbed) else { return broken };
    let steps = history.rng.random_range(1..160);
    if history.live(&mut subject, steps).is_err() {
        return broken;
    }
    let acknowledged = history.notes.acked.len() as u64;
    let crash_seed = engine_env::rng::Seed(history.rng.next_u64());
    history.reboot(match kind {
        CrashKind::ProcessKill => Crash::ProcessKill(crash_seed),
        CrashKind::PowerCut => Crash::PowerCut(crash_seed),
    });
    drop(subject);
    history.begin_life();
    let Ok(subject) = history.open::<S>(&history.home) else { return Losses { acknowledged, ..broken } };
    let dump = subject.dump();
    let mut lost = BTreeSet::new();
    let mut wrong = dump.damage().next().is_some();
    for violation in history.violations::<S>(&dump) {
        match violation {
            Violation::PutLost { put: cited, .. }
            | Violation::DeletedIsBack { del: cited, .. }
            | Violation::RecordLost { app: cited, .. } => drop(lost.insert(cited.token)),
            Violation::EndTooLow { .. } => {}
            _ => wrong = true,
        }
    }
    // What was only read, and what was read after its acknowledgement, is the same operation.
    let lost = history.notes.acked.iter().filter(|token| lost.contains(token)).count() as u64;
    Losses { crashes: 1, acknowledged, lost, broken: u64::from(wrong) }
}
