//! A crash test that never fails proves nothing: each planted bug has to be found, within the ordinary effort.

use engine_env::rng::Seed;
use log_engine::{Durability, LogConfig, PlantedBug};

use super::program::{config, random_run};

/// How many runs it takes to find the bug.
fn runs_until_found(bug: PlantedBug) -> Option<(u64, String)> {
    let config = LogConfig { planted_bug: Some(bug), ..config(Durability::Synced) };
    // A panic is a find too: an invariant noticed.
    (0..4000).find_map(|seed| {
        let run = std::panic::catch_unwind(|| random_run(Seed(seed), &config));
        match run {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some((seed, why)),
            Err(_) => Some((seed, "an invariant panicked".to_owned())),
        }
    })
}

fn is_found(bug: PlantedBug) {
    let (runs, why) = runs_until_found(bug).unwrap_or_else(|| panic!("{bug:?} is not found in 4000 runs"));
    assert!(!why.is_empty(), "found after {runs} runs");
}

#[test]
fn a_commit_without_a_sync_is_found() {
    is_found(PlantedBug::SyncSkipped);
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    is_found(PlantedBug::EarlyAck);
}

#[test]
fn producers_that_are_forgotten_at_opening_are_found() {
    is_found(PlantedBug::ProducersForgotten);
}

#[test]
fn a_batch_that_is_stored_twice_is_found() {
    is_found(PlantedBug::DuplicateStored);
}

#[test]
fn a_mark_ahead_of_the_data_is_found() {
    is_found(PlantedBug::MarkAhead);
}

#[test]
fn a_tail_that_is_left_behind_the_cut_is_found() {
    is_found(PlantedBug::StaleTail);
}

#[test]
fn names_that_are_never_synced_are_found() {
    is_found(PlantedBug::NamesNotSynced);
}

#[test]
fn a_checksum_that_is_not_looked_at_is_found() {
    is_found(PlantedBug::CrcSkipped);
}
