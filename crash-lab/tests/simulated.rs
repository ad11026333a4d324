//! Random programs on a simulated machine, judged from outside. See `docs/crash.md` for what each scenario claims.
//!
//! `WORKBENCH_SEEDS=10000 cargo test -p crash-lab --test simulated` runs more of them; `WORKBENCH_SEED=17` starts there.

use crash_lab::simulated::{Scenario, Setup, Summary, simulate};

const SEEDS: u64 = 40;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number in the environment"))
}

#[expect(clippy::print_stderr, reason = "a random test tells what it did")]
fn hold(scenario: Scenario) -> Summary {
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
    sum
}

#[test]
fn kv_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    hold(Scenario::KvPowerCut);
}
#[test]
fn kv_loses_nothing_that_the_kernel_had_to_kills() {
    hold(Scenario::KvKill);
}
#[test]
fn kv_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    hold(Scenario::KvFailedSync);
}
#[test]
fn kv_refuses_writes_on_a_full_disk_and_loses_nothing() {
    hold(Scenario::KvFullDisk);
}
#[test]
fn kv_reports_rot_and_serves_the_rest() {
    hold(Scenario::KvRot);
}
#[test]
fn log_loses_nothing_that_was_synced_to_power_cuts_at_any_step() {
    hold(Scenario::LogPowerCut);
}
#[test]
fn log_loses_nothing_that_the_kernel_had_to_kills() {
    hold(Scenario::LogKill);
}
#[test]
fn log_acknowledges_nothing_that_a_failed_sync_left_in_doubt() {
    hold(Scenario::LogFailedSync);
}
#[test]
fn log_refuses_appends_on_a_full_disk_and_loses_nothing() {
    hold(Scenario::LogFullDisk);
}
#[test]
fn log_reports_rot_and_serves_the_rest() {
    hold(Scenario::LogRot);
}
