//! Every short program, crashed at every step in every way: most bugs need no more than three operations.
//!
//! A program begins where a shorter one ended, so only the steps of its last operation are new: nothing is tried twice,
//! and all programs of up to three operations cost little more than those of three.

use engine_env::rng::Seed;
use log_engine::Durability;

use super::ALL;
use super::program::{Step, World, config, crash};

const SMALL: Step = Step::Append { records: 2, bytes: 300 };
const MIDDLE: Step = Step::Append { records: 1, bytes: 1100 };
const LARGE: Step = Step::Append { records: 1, bytes: 2500 };
const CRASHES: u64 = 6;

/// What an operation may be. `Start` leaves a commit on its way, so that what follows happens beside it.
const OPERATIONS: [Step; 7] =
    [SMALL, LARGE, Step::Start, Step::Commit, Step::Upkeep, Step::Interval, Step::Reopen];

/// Where programs begin: with nothing, or with a segment that the next large batch doesn't fit into.
const BEGINNINGS: [&[Step]; 2] =
    [&[], &[LARGE, Step::Commit, LARGE, Step::Commit, LARGE, Step::Commit, Step::Upkeep]];

/// All programs of up to `most` operations, each with the length of what a shorter one has in common with it.
pub(crate) fn programs(most: u32) -> impl Iterator<Item = (Vec<Step>, usize)> {
    BEGINNINGS.into_iter().flat_map(move |beginning| {
        (0..=most).flat_map(move |operations| {
            (0..OPERATIONS.len().pow(operations)).map(move |n| {
                let mut program = beginning.to_vec();
                program.extend(
                    (0..operations).map(|i| OPERATIONS[n / OPERATIONS.len().pow(i) % OPERATIONS.len()]),
                );
                let known = program.len() - usize::from(operations > 0);
                (program, if operations == 0 { 0 } else { known })
            })
        })
    })
}

/// Steps of the machine that the first `operations` of a program take.
fn steps_of(program: &[Step], operations: usize, durability: Durability) -> u64 {
    let mut world = World::new(Seed(1), config(durability));
    world.run(&program[..operations]).expect("nothing fails here");
    world.home.steps()
}

/// Crashes the program at every step behind the first `known` operations, and gives how often.
fn crash_everywhere(program: &[Step], known: usize, durability: Durability) -> u64 {
    let (from, to) = (steps_of(program, known, durability), steps_of(program, program.len(), durability));
    let from = if known == 0 { 0 } else { from };
    for step in from..=to {
        for kind in 0..CRASHES {
            let mut world = World::new(Seed(1), config(durability));
            world.home.crash_at_step(step);
            let crash = crash(kind, Seed(step));
            world
                .run(program)
                .and_then(|()| world.crash_and_judge(crash, None))
                .unwrap_or_else(|why| panic!("{durability}, {crash:?} at step {step} of {program:?}: {why}"));
        }
    }
    (to - from + 1) * CRASHES
}

#[test]
fn every_program_of_three_operations_may_end_at_every_step() {
    for durability in ALL {
        let (mut tried, mut points) = (0, 0);
        for (program, known) in programs(3) {
            points += crash_everywhere(&program, known, durability);
            tried += 1;
        }
        assert_eq!(tried, 2 * (1 + 7 + 49 + 343));
        assert!(points > 10_000, "{durability}: only {points} crash points");
    }
}

#[test]
fn every_step_of_longer_programs_may_be_the_last() {
    let mut programs = Vec::new();
    for a in [SMALL, MIDDLE, LARGE] {
        for b in [SMALL, MIDDLE, LARGE] {
            for between in [Step::Start, Step::Upkeep, Step::Interval, Step::Reopen] {
                programs.push(vec![a, a, between, b, Step::Commit, b, Step::Upkeep, Step::Commit]);
            }
        }
    }
    // Through a roll, with upkeep at every place.
    let round = [LARGE, Step::Upkeep, LARGE, Step::Start, Step::Upkeep, Step::Reap, Step::Upkeep];
    programs.push(round.repeat(5));
    for durability in ALL {
        for program in &programs {
            crash_everywhere(program, 0, durability);
        }
    }
}
