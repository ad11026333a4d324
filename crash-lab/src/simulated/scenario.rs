//! [`simulate`]: one scenario from one seed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use engine_env::sim::CrashCounts;
use kv_engine::KvConfig;
use log_engine::LogConfig;

use super::kv::KvSubject;
use super::life;
use super::log::LogSubject;

/// What goes wrong, to which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scenario {
    /// The store, `synced`: power cuts and kills at any step, in recovery, too.
    KvPowerCut,
    /// The store, `os`: kills, and now and then a power cut, after which nothing is claimed but that nothing is made up.
    KvKill,
    /// The store, `synced`: failed writes, syncs and directory syncs, a restart, a power cut.
    KvFailedSync,
    /// The store on a disk that gets full, and then has room again.
    KvFullDisk,
    /// The store, closed, then one bit flipped.
    KvRot,
    /// The log, `synced`: power cuts and kills at any step, in recovery, too.
    LogPowerCut,
    /// The log, `os`: kills, and now and then a power cut.
    LogKill,
    /// The log, `synced`: failed writes, syncs and directory syncs, a restart, a power cut.
    LogFailedSync,
    /// The log on a disk that gets full, and then has room again.
    LogFullDisk,
    /// The log, closed, then one bit flipped.
    LogRot,
}

/// No scenario has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no scenario {name:?}; there are {}", Scenario::ALL.map(|s| s.name()).join(", "))]
pub struct UnknownScenario {
    /// The name.
    pub name: String,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::KvPowerCut,
        Self::KvKill,
        Self::KvFailedSync,
        Self::KvFullDisk,
        Self::KvRot,
        Self::LogPowerCut,
        Self::LogKill,
        Self::LogFailedSync,
        Self::LogFullDisk,
        Self::LogRot,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KvPowerCut => "kv-power-cut",
            Self::KvKill => "kv-kill",
            Self::KvFailedSync => "kv-failed-sync",
            Self::KvFullDisk => "kv-full-disk",
            Self::KvRot => "kv-rot",
            Self::LogPowerCut => "log-power-cut",
            Self::LogKill => "log-kill",
            Self::LogFailedSync => "log-failed-sync",
            Self::LogFullDisk => "log-full-disk",
            Self::LogRot => "log-rot",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, UnknownScenario> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| UnknownScenario { name: name.to_owned() })
    }
}

/// The engines' settings. Durability is the scenario's; the rest is small by default, so that segments roll and merge
/// within a few dozen operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The store's.
    pub kv: KvConfig,
    /// The log's.
    pub log: LogConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            kv: KvConfig { segment_bytes: 4096, merge_garbage_ratio: 0.3, shards: 2, ..KvConfig::default() },
            log: LogConfig {
                segment_bytes: 8192,
                zero_fill_step_bytes: 2048,
                index_interval_bytes: 512,
                recent_bytes: 2048,
                ..LogConfig::default()
            },
        }
    }
}

/// What happened in a simulation that broke nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Hash of everything that happened: the machine's trace, the tokens, the dumps.
    pub trace_hash: u64,
    /// From one opening to the next crash.
    pub lives: u64,
    /// Crashes during a recovery.
    pub recoveries_cut: u64,
    /// Operations attempted.
    pub attempted: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// Operations that failed or were refused because of a fault.
    pub failures: u64,
    /// Lines of damage that the engine reported.
    pub damage: u64,
    /// What became of unsynced sectors and names.
    pub crashes: CrashCounts,
}

/// An invariant was broken. The seed replays it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scenario {scenario}, seed {seed}, life {life}: {what}")]
pub struct Failure {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// How many times the engine had been opened; 0 if it panicked.
    pub life: u64,
    /// What is broken, one sentence a line.
    pub what: String,
}

/// Runs `scenario` from `seed`.
///
/// # Errors
/// An invariant was broken.
pub fn simulate(scenario: Scenario, seed: u64, setup: &Setup) -> Result<Summary, Failure> {
    let run = || match scenario {
        Scenario::KvPowerCut => life::power_cut::<KvSubject>(seed, setup),
        Scenario::KvKill => life::kill::<KvSubject>(seed, setup),
        Scenario::KvFailedSync => life::failed_sync::<KvSubject>(seed, setup),
        Scenario::KvFullDisk => life::full_disk::<KvSubject>(seed, setup),
        Scenario::KvRot => life::rot::<KvSubject>(seed, setup),
        Scenario::LogPowerCut => life::power_cut::<LogSubject>(seed, setup),
        Scenario::LogKill => life::kill::<LogSubject>(seed, setup),
        Scenario::LogFailedSync => life::failed_sync::<LogSubject>(seed, setup),
        Scenario::LogFullDisk => life::full_disk::<LogSubject>(seed, setup),
        Scenario::LogRot => life::rot::<LogSubject>(seed, setup),
    };
    // An engine's own assertion is a finding like any other, and must name its seed.
    let (lived, life) = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(lived) => lived,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            (Err(format!("panicked: {text}")), 0)
        }
    };
    lived.map_err(|what| Failure { scenario, seed, life, what })
}
