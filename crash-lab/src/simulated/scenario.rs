//! [`simulate`]: one scenario from one seed.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use engine_env::marks;
use kv_engine::KvConfig;
use log_engine::LogConfig;

use super::kv::KvSubject;
use super::life;
use super::log::LogSubject;
use super::log_compaction::Compacted;
use super::log_retention::Retained;
use super::log_retries::Retried;
use super::plan::Plan;
use super::rot;
use super::summary::Summary;
use crate::cluster::{kv, log};

/// What goes wrong, to which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scenario {
    /// The store, `synced`: power cuts and kills at any step, in recovery, too.
    KvPowerCut,
    /// The store, `os`: kills, and now and then a power cut, after which nothing is claimed but that nothing is made up.
    KvKill,
    /// The store, `interval:MS`: power cuts and kills, while time passes and syncs come.
    KvInterval,
    /// The store, `synced`: failed writes, syncs and directory syncs, a restart, a power cut.
    KvFailedSync,
    /// The store on a device that can't read now and then.
    KvFailedRead,
    /// The store on a disk that gets full, and then has room again.
    KvFullDisk,
    /// The store, closed, then one bit flipped.
    KvRot,
    /// The store, closed, then a sector or a record in another's place, or as it was before its last write.
    KvMisdirected,
    /// The log, `synced`: power cuts and kills at any step, in recovery, too.
    LogPowerCut,
    /// The log, `os`: kills, and now and then a power cut.
    LogKill,
    /// The log, `interval:MS`: power cuts and kills, while time passes and syncs come.
    LogInterval,
    /// The log, `synced`: failed writes, syncs and directory syncs, a restart, a power cut.
    LogFailedSync,
    /// The log on a device that can't read now and then.
    LogFailedRead,
    /// The log on a disk that gets full, and then has room again.
    LogFullDisk,
    /// The log, closed, then one bit flipped.
    LogRot,
    /// The log, closed, then a sector or a batch in another's place, or as it was before its last write.
    LogMisdirected,
    /// The log, `synced` or `os`, whose start moves by size, age and request: crashes that it survives, and failed writes.
    LogRetention,
    /// The same of a compacted topic.
    LogCompaction,
    /// The same of idempotent producers, which send again whatever may have got lost.
    LogRetries,
    /// Nodes of the store, quorums that overlap: the network breaks in every way there is.
    KvClusterPartitions,
    /// Nodes of the store, quorums that overlap: one, several or all lose power at any step.
    KvClusterPowerCut,
    /// Nodes of the store lose their disks, one at a time.
    KvClusterDiskLost,
    /// Nodes of the store, one of whose disks rots: what rotted is never served and never spread.
    KvClusterRot,
    /// Nodes of the store with hinted handoff and without read repair: hints alone bring every replica everything.
    KvClusterSloppy,
    /// Nodes of the store join and leave while clients work, whoever moves the partitions dies and goes back.
    KvClusterMoves,
    /// Nodes of the store with anti-entropy, without read repair and hints: replicas become equal by that alone.
    KvClusterAntiEntropy,
    /// Nodes of the store, quorums that don't overlap: stale reads are counted, nothing is lost in the end.
    KvClusterPartialQuorum,
    /// Brokers of the log, `acks=all`: the network breaks in every way there is, and brokers die.
    LogClusterPartitions,
    /// Brokers of the log, `acks=all`: leaders and followers lose power at any step.
    LogClusterPowerCut,
    /// Brokers of the log, `acks=all`: followers lose their disks, one at a time.
    LogClusterDiskLost,
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
    pub const ALL: [Self; 30] = [
        Self::KvPowerCut,
        Self::KvKill,
        Self::KvInterval,
        Self::KvFailedSync,
        Self::KvFailedRead,
        Self::KvFullDisk,
        Self::KvRot,
        Self::KvMisdirected,
        Self::LogPowerCut,
        Self::LogKill,
        Self::LogInterval,
        Self::LogFailedSync,
        Self::LogFailedRead,
        Self::LogFullDisk,
        Self::LogRot,
        Self::LogMisdirected,
        Self::LogRetention,
        Self::LogCompaction,
        Self::LogRetries,
        Self::KvClusterPartitions,
        Self::KvClusterPowerCut,
        Self::KvClusterDiskLost,
        Self::KvClusterRot,
        Self::KvClusterSloppy,
        Self::KvClusterPartialQuorum,
        Self::KvClusterMoves,
        Self::KvClusterAntiEntropy,
        Self::LogClusterPartitions,
        Self::LogClusterPowerCut,
        Self::LogClusterDiskLost,
    ];

    /// Those of whole clusters.
    pub const CLUSTERS: [Self; 11] = [
        Self::KvClusterPartitions,
        Self::KvClusterPowerCut,
        Self::KvClusterDiskLost,
        Self::KvClusterRot,
        Self::KvClusterSloppy,
        Self::KvClusterPartialQuorum,
        Self::KvClusterMoves,
        Self::KvClusterAntiEntropy,
        Self::LogClusterPartitions,
        Self::LogClusterPowerCut,
        Self::LogClusterDiskLost,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KvPowerCut => "kv-power-cut",
            Self::KvKill => "kv-kill",
            Self::KvInterval => "kv-interval",
            Self::KvFailedSync => "kv-failed-sync",
            Self::KvFailedRead => "kv-failed-read",
            Self::KvFullDisk => "kv-full-disk",
            Self::KvRot => "kv-rot",
            Self::KvMisdirected => "kv-misdirected",
            Self::LogPowerCut => "log-power-cut",
            Self::LogKill => "log-kill",
            Self::LogInterval => "log-interval",
            Self::LogFailedSync => "log-failed-sync",
            Self::LogFailedRead => "log-failed-read",
            Self::LogFullDisk => "log-full-disk",
            Self::LogRot => "log-rot",
            Self::LogMisdirected => "log-misdirected",
            Self::LogRetention => "log-retention",
            Self::LogCompaction => "log-compaction",
            Self::LogRetries => "log-retries",
            Self::KvClusterPartitions => "kv-cluster-partitions",
            Self::KvClusterPowerCut => "kv-cluster-power-cut",
            Self::KvClusterDiskLost => "kv-cluster-disk-lost",
            Self::KvClusterRot => "kv-cluster-rot",
            Self::KvClusterSloppy => "kv-cluster-sloppy",
            Self::KvClusterPartialQuorum => "kv-cluster-partial-quorum",
            Self::KvClusterMoves => "kv-cluster-moves",
            Self::KvClusterAntiEntropy => "kv-cluster-anti-entropy",
            Self::LogClusterPartitions => "log-cluster-partitions",
            Self::LogClusterPowerCut => "log-cluster-power-cut",
            Self::LogClusterDiskLost => "log-cluster-disk-lost",
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
    /// A mistake put into clusters of the store on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub cluster_bug: Option<kv_engine::ClusterBug>,
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
            #[cfg(feature = "planted-bugs")]
            cluster_bug: None,
        }
    }
}

/// An invariant was broken. The seed replays it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("scenario {scenario}, seed {seed}, life {life}: {what}")]
pub struct Failure {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// How many times the engine had been opened.
    pub life: u64,
    /// What is broken, one sentence a line.
    pub what: String,
}

/// What a run of a scenario was, beside its outcome.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What happened, or what is broken.
    pub result: Result<Summary, Failure>,
    /// Everything that happened, line by line. Lines that begin with `>` are the scenario's own steps, the others the
    /// machine's.
    pub trace: Vec<String>,
}

/// Runs `scenario` from `seed`.
///
/// # Errors
/// An invariant was broken.
pub fn simulate(scenario: Scenario, seed: u64, setup: &Setup) -> Result<Summary, Failure> {
    carry_out(scenario, seed, &Plan::new(setup, &BTreeSet::new(), false))
}

/// Runs `scenario` from `seed` and keeps its trace.
#[must_use]
pub fn record(scenario: Scenario, seed: u64, setup: &Setup) -> Recorded {
    let left_out = BTreeSet::new();
    let plan = Plan::new(setup, &left_out, true);
    let result = carry_out(scenario, seed, &plan);
    Recorded { result, trace: plan.trace() }
}

pub(super) fn carry_out(scenario: Scenario, seed: u64, plan: &Plan<'_>) -> Result<Summary, Failure> {
    let run = || match scenario {
        Scenario::KvPowerCut => life::power_cut::<KvSubject>(seed, plan),
        Scenario::KvKill => life::kill::<KvSubject>(seed, plan),
        Scenario::KvInterval => life::interval::<KvSubject>(seed, plan),
        Scenario::KvFailedSync => life::failed_sync::<KvSubject>(seed, plan),
        Scenario::KvFailedRead => life::failed_read::<KvSubject>(seed, plan),
        Scenario::KvFullDisk => life::full_disk::<KvSubject>(seed, plan),
        Scenario::KvRot => rot::rot::<KvSubject>(seed, plan),
        Scenario::KvMisdirected => rot::misdirected::<KvSubject>(seed, plan),
        Scenario::LogPowerCut => life::power_cut::<LogSubject>(seed, plan),
        Scenario::LogKill => life::kill::<LogSubject>(seed, plan),
        Scenario::LogInterval => life::interval::<LogSubject>(seed, plan),
        Scenario::LogFailedSync => life::failed_sync::<LogSubject>(seed, plan),
        Scenario::LogFailedRead => life::failed_read::<LogSubject>(seed, plan),
        Scenario::LogFullDisk => life::full_disk::<LogSubject>(seed, plan),
        Scenario::LogRot => rot::rot::<LogSubject>(seed, plan),
        Scenario::LogMisdirected => rot::misdirected::<LogSubject>(seed, plan),
        Scenario::LogRetention => life::survivable::<LogSubject<Retained>>("retention", seed, plan),
        Scenario::LogCompaction => life::survivable::<LogSubject<Compacted>>("compaction", seed, plan),
        Scenario::LogRetries => life::survivable::<LogSubject<Retried>>("retries", seed, plan),
        Scenario::KvClusterPartitions => kv::scenarios::partitions(seed, plan),
        Scenario::KvClusterPowerCut => kv::scenarios::power_cut(seed, plan),
        Scenario::KvClusterDiskLost => kv::scenarios::disk_lost(seed, plan),
        Scenario::KvClusterRot => kv::scenarios::rot(seed, plan),
        Scenario::KvClusterSloppy => kv::scenarios::sloppy(seed, plan),
        Scenario::KvClusterPartialQuorum => kv::scenarios::partial_quorum(seed, plan),
        Scenario::KvClusterMoves => kv::scenarios::moves(seed, plan),
        Scenario::KvClusterAntiEntropy => kv::scenarios::anti_entropy(seed, plan),
        Scenario::LogClusterPartitions => log::scenarios::partitions(seed, plan),
        Scenario::LogClusterPowerCut => log::scenarios::power_cut(seed, plan),
        Scenario::LogClusterDiskLost => log::scenarios::disk_lost(seed, plan),
    };
    let _ = marks::take();
    // An engine's own assertion is a finding like any other, and must name its seed.
    let lived = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(lived) => lived,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(format!("panicked: {text}"))
        }
    };
    let marks = marks::take();
    match lived {
        Ok(summary) => Ok(Summary { marks, ..summary }),
        Err(what) => Err(Failure { scenario, seed, life: plan.life(), what }),
    }
}

/// The commit that the sources are at, for a failure's report; asked of git when something has failed.
#[must_use]
pub fn commit() -> String {
    let git = std::process::Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    let text = git
        .ok()
        .filter(|out| out.status.success())
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
