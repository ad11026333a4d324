//! Random programs on a simulated machine, judged from outside. See `docs/crash.md` for what each scenario claims.
//!
//! `WORKBENCH_SEEDS=10000 cargo test -p crash-lab --test simulated` runs more of them; `WORKBENCH_SEED=17` starts there.
//! `corpus.txt` lists every seed that ever found something; all of them run first, always.

use crash_lab::simulated::{
    CrashKind, FaultClass, Many, Pick, Scenario, Setup, Summary, commit, losses, record, shrink, simulate,
    simulate_many,
};
use crash_lab::stress::Engine;
use engine_env::{Durability, marks};

/// With the four scenarios of an engine that crash it, 10,000 crash points each.
const SEEDS: u64 = 600;
/// Of scenarios with longer lives, which take as long.
const LONG_SEEDS: u64 = 200;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number in the environment"))
}

/// A cluster is many machines.
const CLUSTER_SEEDS: u64 = 150;

fn hold(scenario: Scenario) -> (Summary, u64) {
    hold_for(scenario, SEEDS)
}

#[expect(clippy::print_stderr, reason = "a random test tells what it did")]
fn hold_for(scenario: Scenario, seeds: u64) -> (Summary, u64) {
    let (first, seeds) = (number("WORKBENCH_SEED", 0), number("WORKBENCH_SEEDS", seeds));
    let setup = Setup::default();
    let Many { summary, failure, .. } =
        simulate_many(Pick::Scenario(scenario), first..first + seeds, &setup, |_| {});
    if let Some(failure) = failure {
        let story = shrink(scenario, failure.seed, &setup).map_or(failure.to_string(), |s| s.to_string());
        panic!(
            "{story}\ncommit {}; replay: workbench simulate --scenario {scenario} --seed {}; add it to crash-lab/corpus.txt",
            commit(),
            failure.seed
        );
    }
    eprintln!("{scenario}: {seeds} seeds from {first}\n{summary}");
    (summary, seeds)
}

/// The simulation really lost, tore and failed things: otherwise that nothing broke shows nothing.
fn bites(sum: &Summary, seeds: u64) {
    if seeds < SEEDS {
        return;
    }
    let Summary { attempted, acknowledged, .. } = sum;
    let at_least = |class, times| {
        assert!(sum.faults_of(class) >= times, "few {class}: {}", sum.faults_of(class));
    };
    at_least(FaultClass::LostSector, seeds);
    at_least(FaultClass::TornSector, seeds / 10);
    at_least(FaultClass::RecoveryCut, seeds / 8);
    assert!(
        attempted > acknowledged && *acknowledged > 10 * seeds,
        "{acknowledged} of {attempted} acknowledged"
    );
}

/// The scenario came to these rare paths of the engines, so that it says something about them.
fn reaches(sum: &Summary, seeds: u64, names: &[&str]) {
    if seeds < LONG_SEEDS || !marks::ENABLED {
        return;
    }
    let missed: Vec<_> = names.iter().filter(|name| !sum.marks.contains_key(**name)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}; reached: {:?}", sum.marks);
}

#[test]
fn kv_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    let (sum, seeds) = hold(Scenario::KvPowerCut);
    bites(&sum, seeds);
    reaches(
        &sum,
        seeds,
        &[
            "kv torn tail cut",
            "kv roll",
            "kv roll without a prepared segment",
            "kv segment grown past its space",
            "kv merge done",
            "kv merge kept a tombstone",
            "kv merge dropped a tombstone",
            "kv record found dead at opening",
            "kv unfinished segment removed",
        ],
    );
}

#[test]
fn kv_loses_nothing_that_the_kernel_had_to_kills() {
    hold(Scenario::KvKill);
}

#[test]
fn kv_loses_nothing_that_the_last_finished_sync_covered() {
    let (sum, seeds) = hold(Scenario::KvInterval);
    bites(&sum, seeds);
}

#[test]
fn log_loses_nothing_that_the_last_finished_sync_covered() {
    let (sum, seeds) = hold(Scenario::LogInterval);
    bites(&sum, seeds);
}

#[test]
fn kv_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    let (sum, seeds) = hold(Scenario::KvFailedSync);
    reaches(&sum, seeds, &["kv commit failed", "kv merge ended by an error"]);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations failed: {}", sum.failures);
}

#[test]
fn kv_answers_nothing_wrong_and_cuts_nothing_when_reads_fail() {
    let (sum, seeds) = hold(Scenario::KvFailedRead);
    assert!(seeds < SEEDS || sum.faults_of(FaultClass::ReadError) > seeds, "{sum}");
}

#[test]
fn log_answers_nothing_wrong_and_cuts_nothing_when_reads_fail() {
    let (sum, seeds) = hold(Scenario::LogFailedRead);
    assert!(seeds < SEEDS || sum.faults_of(FaultClass::ReadError) > seeds, "{sum}");
}

#[test]
fn kv_refuses_writes_on_a_full_disk_and_loses_nothing() {
    let (sum, seeds) = hold(Scenario::KvFullDisk);
    reaches(&sum, seeds, &["kv write refused by a full disk", "kv growth refused by a full disk"]);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations were refused: {}", sum.failures);
}

#[test]
fn kv_reports_rot_and_serves_the_rest() {
    let (sum, seeds) = hold(Scenario::KvRot);
    reaches(&sum, seeds, &["kv damage found at opening"]);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

#[test]
fn kv_believes_no_bytes_of_another_place_or_time() {
    let (sum, seeds) = hold(Scenario::KvMisdirected);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

#[test]
fn log_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    let (sum, seeds) = hold(Scenario::LogPowerCut);
    bites(&sum, seeds);
    reaches(
        &sum,
        seeds,
        &[
            "log torn tail cut",
            "log append waits for room",
            "log prepared segment adopted",
            "log marked segment adopted",
            "log index rebuilt",
            "log leftover removed",
        ],
    );
}

#[test]
fn log_loses_nothing_that_the_kernel_had_to_kills() {
    let (sum, seeds) = hold(Scenario::LogKill);
    reaches(&sum, seeds, &["log segment behind the end removed"]);
}

#[test]
fn log_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    let (sum, seeds) = hold(Scenario::LogFailedSync);
    reaches(&sum, seeds, &["log commit failed"]);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations failed: {}", sum.failures);
}

#[test]
fn log_refuses_appends_on_a_full_disk_and_loses_nothing() {
    let (sum, seeds) = hold(Scenario::LogFullDisk);
    reaches(&sum, seeds, &["log append refused by a full disk", "log upkeep put off by a full disk"]);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations were refused: {}", sum.failures);
}

#[test]
fn log_reports_rot_and_serves_the_rest() {
    let (sum, seeds) = hold(Scenario::LogRot);
    reaches(&sum, seeds, &["log damage found at opening"]);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

#[test]
fn log_believes_no_bytes_of_another_place_or_time() {
    let (sum, seeds) = hold(Scenario::LogMisdirected);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

/// Clusters did work, and what was to go wrong went wrong: each of these at least once in two seeds.
fn hold_cluster(scenario: Scenario, faults: &[FaultClass]) -> Summary {
    let (sum, seeds) = hold_for(scenario, CLUSTER_SEEDS);
    if seeds >= CLUSTER_SEEDS {
        let Summary { attempted, acknowledged, .. } = &sum;
        assert!(*acknowledged > 10 * seeds && acknowledged < attempted, "{sum}");
        for &fault in faults {
            assert!(sum.faults_of(fault) >= seeds / 2, "few {fault}: {sum}");
        }
    }
    sum
}

#[test]
fn kv_clusters_read_nothing_stale_while_their_network_breaks() {
    let sum = hold_cluster(
        Scenario::KvClusterPartitions,
        &[FaultClass::Network, FaultClass::Pause, FaultClass::ClockJump],
    );
    assert!(sum.observed("versions repaired") > 0 && sum.observed("answers with siblings") > 0, "{sum}");
}

#[test]
fn kv_clusters_lose_nothing_to_power_cuts_of_one_or_of_all() {
    hold_cluster(Scenario::KvClusterPowerCut, &[FaultClass::LostSector, FaultClass::RecoveryCut]);
}

#[test]
fn kv_clusters_lose_nothing_to_fewer_lost_disks_than_have_acknowledged_it() {
    hold_cluster(Scenario::KvClusterDiskLost, &[FaultClass::DiskLost, FaultClass::LostSector]);
}

#[test]
fn kv_clusters_serve_and_spread_nothing_that_rotted() {
    hold_cluster(Scenario::KvClusterRot, &[FaultClass::BitFlip, FaultClass::DiskLost]);
}

#[test]
fn kv_clusters_bring_every_replica_everything_by_hints_alone() {
    let sum = hold_cluster(Scenario::KvClusterSloppy, &[FaultClass::Network]);
    assert!(sum.observed("hints delivered") > 0 && sum.observed("replicas judged unread") > 0, "{sum}");
}

#[test]
fn kv_clusters_read_nothing_stale_while_their_partitions_move() {
    let sum = hold_cluster(Scenario::KvClusterMoves, &[FaultClass::Network, FaultClass::LostSector]);
    for what in ["moves finished", "moves gone back", "keys moved"] {
        assert!(sum.observed(what) > 0, "{what}: {sum}");
    }
}

#[test]
fn kv_clusters_become_equal_by_anti_entropy_alone() {
    let sum = hold_cluster(Scenario::KvClusterAntiEntropy, &[FaultClass::Network]);
    for what in ["answers with siblings", "versions compared away", "replicas judged unread"] {
        assert!(sum.observed(what) > 0, "{what}: {sum}");
    }
}

/// What R + W <= N costs, counted; that nothing is lost in the end is judged as elsewhere.
#[test]
fn kv_clusters_whose_quorums_miss_each_other_read_stale_values() {
    let sum = hold_cluster(Scenario::KvClusterPartialQuorum, &[FaultClass::Network]);
    assert!(sum.observed("stale reads") > 0 && sum.observed("deletes undone") > 0, "{sum}");
}

#[test]
fn log_clusters_lose_nothing_while_their_network_breaks_and_brokers_die() {
    hold_cluster(Scenario::LogClusterPartitions, &[FaultClass::Network, FaultClass::Pause]);
}

#[test]
fn log_clusters_lose_nothing_to_power_cuts_of_leaders_and_followers() {
    let sum = hold_cluster(Scenario::LogClusterPowerCut, &[FaultClass::LostSector, FaultClass::RecoveryCut]);
    assert!(sum.observed("logs truncated") > 0, "followers have to be ahead of a leader now and then: {sum}");
}

#[test]
fn log_clusters_lose_nothing_to_a_followers_lost_disk() {
    hold_cluster(Scenario::LogClusterDiskLost, &[FaultClass::DiskLost]);
}

#[test]
fn log_lets_go_of_what_it_may_and_never_starts_earlier_again() {
    let (sum, seeds) = hold_for(Scenario::LogRetention, LONG_SEEDS);
    reaches(&sum, seeds, &["log segments removed by retention", "log segment below the start removed"]);
}

#[test]
fn log_keeps_the_latest_record_of_each_key() {
    let (sum, seeds) = hold_for(Scenario::LogCompaction, LONG_SEEDS);
    reaches(&sum, seeds, &["log segments exchanged for their copy", "log exchange finished at opening"]);
}

#[test]
fn log_stores_once_what_is_sent_again() {
    let (sum, seeds) = hold_for(Scenario::LogRetries, LONG_SEEDS);
    reaches(&sum, seeds, &["log batch sent again", "log commit failed", "log segments removed by retention"]);
}

#[test]
fn the_same_seed_does_the_same_and_another_does_something_else() {
    let setup = Setup::default();
    for scenario in Scenario::ALL {
        let run = |seed| simulate(scenario, seed, &setup).expect("nothing breaks");
        assert_eq!(run(1), run(1), "{scenario}");
        assert_ne!(run(1).trace_hash, run(2).trace_hash, "{scenario}");
        let (first, second) = (record(scenario, 1, &setup), record(scenario, 1, &setup));
        assert!(first.trace == second.trace && !first.trace.is_empty(), "{scenario}");
        assert_eq!(first.result.expect("nothing breaks"), run(1), "{scenario}: watching changes nothing");
    }
}

#[test]
fn many_seeds_at_once_are_the_same_as_one_after_the_other() {
    let setup = Setup::default();
    let one_by_one = (0..40).fold(Summary::default(), |mut sum, seed| {
        sum += simulate(Pick::BySeed.scenario(seed), seed, &setup).expect("nothing breaks");
        sum
    });
    let many = simulate_many(Pick::BySeed, 0..40, &setup, |_| {});
    assert_eq!((many.seeds, many.summary), (40, one_by_one));
}

#[test]
fn every_seed_that_ever_failed_holds() {
    let setup = Setup::default();
    let corpus = include_str!("../corpus.txt");
    let lines = corpus.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let mut replayed = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        let (scenario, seed) = line.split_once(' ').expect("a scenario and a seed");
        let scenario: Scenario = scenario.parse().expect("a scenario's name");
        let seed = seed.trim().parse().expect("a seed");
        simulate(scenario, seed, &setup).unwrap_or_else(|e| panic!("it fails again: {e}"));
        replayed += 1;
    }
    assert!(replayed > 0, "the corpus is empty");
}

/// What `os` and `synced` mean, in numbers: a kill costs neither anything, a power cut costs `os` some.
#[test]
fn only_a_power_cut_of_os_costs_acknowledged_operations() {
    for engine in [Engine::Kv, Engine::Log] {
        for durability in [Durability::Os, Durability::Synced] {
            for kind in [CrashKind::ProcessKill, CrashKind::PowerCut] {
                let losses = losses(engine, durability, kind, 150, 1);
                let may_lose = durability == Durability::Os && kind == CrashKind::PowerCut;
                assert_eq!(losses.lost > 0, may_lose, "{engine} {durability} {kind}: {losses:?}");
                assert!(
                    losses.broken == 0 && losses.acknowledged > 1000,
                    "{engine} {durability} {kind}: {losses:?}"
                );
            }
        }
    }
}

/// Bugs on purpose. `cargo test -p crash-lab --features planted-bugs --test simulated teeth -- --nocapture` prints the table
/// of `docs/crash.md`.
#[cfg(feature = "planted-bugs")]
mod teeth {
    use super::*;

    /// Enough for the rarest; most are found at once.
    const SEEDS_MAX: u64 = 3_000;
    /// Over so many seeds it is counted how many find the bug.
    const COUNTED: u64 = 60;

    #[expect(clippy::print_stderr, reason = "the table is worth reading")]
    fn found(bug: &dyn std::fmt::Debug, scenario: Scenario, setup: &Setup) {
        // An engine that panics over a planted bug has found it; its stack is not worth reading.
        let failure = simulate_many(Pick::Scenario(scenario), 0..SEEDS_MAX, setup, |_| {}).failure;
        let failure =
            failure.unwrap_or_else(|| panic!("{scenario} doesn't find {bug:?} in {SEEDS_MAX} seeds"));
        let finders = (0..COUNTED).filter(|seed| simulate(scenario, *seed, setup).is_err()).count();
        let what: String = failure.what.lines().next().unwrap_or_default().chars().take(60).collect();
        eprintln!("| `{bug:?}` | {scenario} | {} | {finders} of {COUNTED} | {what} ... |", failure.seed + 1);
    }

    #[test]
    fn bugs_planted_in_the_store_are_found() {
        use kv_engine::PlantedBug as Bug;
        for (bug, scenario) in [
            (Bug::SyncSkipped, Scenario::KvPowerCut),
            (Bug::EarlyAck, Scenario::KvPowerCut),
            (Bug::DirSyncSkipped, Scenario::KvPowerCut),
            (Bug::MergeUnsynced, Scenario::KvPowerCut),
            (Bug::TombstonesDropped, Scenario::KvPowerCut),
            (Bug::ChecksumIgnored, Scenario::KvRot),
            (Bug::SiblingLost, Scenario::KvPowerCut),
            (Bug::FailedSyncRetried, Scenario::KvFailedSync),
            (Bug::TailTrusted, Scenario::KvFailedSync),
            (Bug::MarkAhead, Scenario::KvPowerCut),
            (Bug::ScanOffByOne, Scenario::KvPowerCut),
            (Bug::DeleteUnlogged, Scenario::KvPowerCut),
            (Bug::SequenceReused, Scenario::KvPowerCut),
        ] {
            let mut setup = Setup::default();
            setup.kv.planted_bug = Some(bug);
            found(&bug, scenario, &setup);
        }
    }

    #[test]
    fn bugs_planted_in_clusters_of_the_store_are_found() {
        use kv_engine::ClusterBug as Bug;
        for (bug, scenario) in [
            (Bug::QuorumShort, Scenario::KvClusterPartitions),
            (Bug::RepairLosesSibling, Scenario::KvClusterPartitions),
            (Bug::TombstoneNotKept, Scenario::KvClusterPartitions),
            (Bug::HintDropped, Scenario::KvClusterSloppy),
            (Bug::HintDeletedEarly, Scenario::KvClusterSloppy),
            // A stale ring that is accepted takes more luck, and a leaf that is left out more keys: the store has tests of its own.
            (Bug::RebalanceForgetsRange, Scenario::KvClusterMoves),
            (Bug::AntiEntropyLosesSibling, Scenario::KvClusterAntiEntropy),
        ] {
            let setup = Setup { cluster_bug: Some(bug), ..Setup::default() };
            found(&bug, scenario, &setup);
        }
        // Replicas that answer before their commit, or whose commit is none; nodes that keep hints likewise.
        use kv_engine::PlantedBug::{ChecksumIgnored, EarlyAck, SyncSkipped};
        for (bug, scenario) in [
            (EarlyAck, Scenario::KvClusterPowerCut),
            (SyncSkipped, Scenario::KvClusterPowerCut),
            (EarlyAck, Scenario::KvClusterSloppy),
            (ChecksumIgnored, Scenario::KvClusterRot),
        ] {
            let mut setup = Setup::default();
            setup.kv.planted_bug = Some(bug);
            found(&bug, scenario, &setup);
        }
    }

    #[test]
    fn bugs_planted_in_clusters_of_the_log_are_found() {
        use log_engine::PlantedBug as Bug;
        for (bug, scenario) in [
            (Bug::HighWatermarkAhead, Scenario::LogClusterPartitions),
            (Bug::MinIsrIgnored, Scenario::LogClusterPartitions),
            (Bug::DuplicateStored, Scenario::LogClusterPartitions),
            (Bug::ProducersForgotten, Scenario::LogClusterPartitions),
            (Bug::ReportUnsynced, Scenario::LogClusterPowerCut),
            (Bug::TruncationSkipped, Scenario::LogClusterPowerCut),
        ] {
            let mut setup = Setup::default();
            setup.log.planted_bug = Some(bug);
            found(&bug, scenario, &setup);
        }
    }

    #[test]
    fn bugs_planted_in_the_log_are_found() {
        use log_engine::PlantedBug as Bug;
        // Not `StaleTail`: random lengths hardly ever let a stale batch fit. The log's own crash tests build that case, and
        // those of replication have theirs; `SnapshotKept` needs a log that is truncated.
        for (bug, scenario) in [
            (Bug::SyncSkipped, Scenario::LogPowerCut),
            (Bug::EarlyAck, Scenario::LogPowerCut),
            (Bug::MarkAhead, Scenario::LogPowerCut),
            (Bug::NamesNotSynced, Scenario::LogPowerCut),
            (Bug::CrcSkipped, Scenario::LogPowerCut),
            (Bug::FailedSyncRetried, Scenario::LogFailedSync),
            (Bug::TailTrusted, Scenario::LogFailedSync),
            (Bug::ScanOffByOne, Scenario::LogPowerCut),
            (Bug::SealEarly, Scenario::LogPowerCut),
            (Bug::PreparedIgnored, Scenario::LogPowerCut),
            (Bug::DamageCutAway, Scenario::LogRot),
            (Bug::StartUnsynced, Scenario::LogRetention),
            (Bug::LatestLost, Scenario::LogCompaction),
            (Bug::TombstoneDroppedEarly, Scenario::LogCompaction),
            (Bug::SwapUnsynced, Scenario::LogCompaction),
            (Bug::ProducersForgotten, Scenario::LogRetries),
            (Bug::DuplicateStored, Scenario::LogRetries),
        ] {
            let mut setup = Setup::default();
            setup.log.planted_bug = Some(bug);
            found(&bug, scenario, &setup);
        }
    }
}
