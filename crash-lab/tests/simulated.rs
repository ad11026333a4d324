//! Random programs on a simulated machine, judged from outside. See `docs/crash.md` for what each scenario claims.
//!
//! `WORKBENCH_SEEDS=10000 cargo test -p crash-lab --test simulated` runs more of them; `WORKBENCH_SEED=17` starts there.

use crash_lab::simulated::{Scenario, Setup, Summary, simulate};

const SEEDS: u64 = 200;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number in the environment"))
}

#[expect(clippy::print_stderr, reason = "a random test tells what it did")]
fn hold(scenario: Scenario) -> (Summary, u64) {
    let (first, seeds) = (number("WORKBENCH_SEED", 0), number("WORKBENCH_SEEDS", SEEDS));
    let setup = Setup::default();
    let mut sum = Summary::default();
    for seed in first..first + seeds {
        match simulate(scenario, seed, &setup) {
            Ok(summary) => sum += summary,
            Err(failure) => panic!("{failure}\nreplay: WORKBENCH_SEED={seed} WORKBENCH_SEEDS=1"),
        }
    }
    eprintln!("{scenario}: {seeds} seeds from {first}: {sum:?}");
    (sum, seeds)
}

/// The simulation really lost, tore and failed things: otherwise that nothing broke shows nothing.
fn bites(sum: &Summary, seeds: u64) {
    if seeds < SEEDS {
        return;
    }
    let Summary { crashes, recoveries_cut, attempted, acknowledged, .. } = sum;
    assert!(crashes.sectors_lost >= seeds, "few sectors lost: {crashes:?}");
    assert!(crashes.sectors_torn >= seeds / 10, "few sectors torn: {crashes:?}");
    assert!(*recoveries_cut >= seeds / 8, "few recoveries cut short: {recoveries_cut}");
    assert!(
        attempted > acknowledged && *acknowledged > 10 * seeds,
        "{acknowledged} of {attempted} acknowledged"
    );
}

#[test]
fn kv_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    let (sum, seeds) = hold(Scenario::KvPowerCut);
    bites(&sum, seeds);
}

#[test]
fn kv_loses_nothing_that_the_kernel_had_to_kills() {
    hold(Scenario::KvKill);
}

#[test]
fn kv_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    let (sum, seeds) = hold(Scenario::KvFailedSync);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations failed: {}", sum.failures);
}

#[test]
fn kv_refuses_writes_on_a_full_disk_and_loses_nothing() {
    let (sum, seeds) = hold(Scenario::KvFullDisk);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations were refused: {}", sum.failures);
}

#[test]
fn kv_reports_rot_and_serves_the_rest() {
    let (sum, seeds) = hold(Scenario::KvRot);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

#[test]
fn log_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    let (sum, seeds) = hold(Scenario::LogPowerCut);
    bites(&sum, seeds);
}

#[test]
fn log_loses_nothing_that_the_kernel_had_to_kills() {
    hold(Scenario::LogKill);
}

#[test]
fn log_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    let (sum, seeds) = hold(Scenario::LogFailedSync);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations failed: {}", sum.failures);
}

#[test]
fn log_refuses_appends_on_a_full_disk_and_loses_nothing() {
    let (sum, seeds) = hold(Scenario::LogFullDisk);
    assert!(seeds < SEEDS || sum.failures > seeds, "few operations were refused: {}", sum.failures);
}

#[test]
fn log_reports_rot_and_serves_the_rest() {
    let (sum, seeds) = hold(Scenario::LogRot);
    assert!(seeds < SEEDS || sum.damage > seeds, "little damage was reported: {}", sum.damage);
}

#[test]
fn the_same_seed_does_the_same_and_another_does_something_else() {
    let setup = Setup::default();
    for scenario in Scenario::ALL {
        let run = |seed| simulate(scenario, seed, &setup).expect("nothing breaks");
        assert_eq!(run(1), run(1), "{scenario}");
        assert_ne!(run(1).trace_hash, run(2).trace_hash, "{scenario}");
    }
}

#[cfg(feature = "planted-bugs")]
mod teeth {
    use crash_lab::simulated::Failure;

    use super::*;

    /// The first failure of `scenario` among some hundred seeds.
    fn first_failure(scenario: Scenario, setup: &Setup) -> Option<Failure> {
        (0..300).find_map(|seed| simulate(scenario, seed, setup).err())
    }

    #[expect(clippy::print_stderr, reason = "which seed found which bug is worth reading")]
    fn found(scenario: Scenario, bug: &dyn std::fmt::Debug, setup: &Setup) {
        let failure =
            first_failure(scenario, setup).unwrap_or_else(|| panic!("{scenario} doesn't find {bug:?}"));
        let what = failure.what.lines().next().unwrap_or_default();
        eprintln!("{bug:?}: {scenario} finds it with seed {}: {what}", failure.seed);
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
        ] {
            let mut setup = Setup::default();
            setup.kv.planted_bug = Some(bug);
            found(scenario, &bug, &setup);
        }
    }

    #[test]
    fn bugs_planted_in_the_log_are_found() {
        use log_engine::PlantedBug as Bug;
        // Not `StaleTail`: random lengths hardly ever let a stale batch fit. The log's own crash tests build that case.
        for (bug, scenario) in [
            (Bug::SyncSkipped, Scenario::LogPowerCut),
            (Bug::EarlyAck, Scenario::LogPowerCut),
            (Bug::MarkAhead, Scenario::LogPowerCut),
            (Bug::NamesNotSynced, Scenario::LogPowerCut),
            (Bug::CrcSkipped, Scenario::LogPowerCut),
        ] {
            let mut setup = Setup::default();
            setup.log.planted_bug = Some(bug);
            found(scenario, &bug, &setup);
        }
    }
}
