//! Crashes of the log in the simulated machine: at every step of short programs, at random steps of long ones, and
//! in the middle of recovery. What was acknowledged is there, in order, byte for byte; nothing else is.
//!
//! `PROPTEST_CASES` scales the random part (default 256).

mod faults;
mod program;
mod short;
mod stale;
#[cfg(feature = "planted-bugs")]
mod teeth;

use engine_env::rng::Seed;
use log_engine::Durability;
use program::{Step, World, config, crash, random_run};

const ALL: [Durability; 3] = [Durability::Os, Durability::IntervalMs(5), Durability::Synced];

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256)
}

#[test]
fn every_step_of_a_recovery_may_be_the_last() {
    let large = Step::Append { records: 1, bytes: 2500 };
    let mut program = Vec::new();
    for _ in 0..4 {
        program.extend([large, Step::Upkeep, large, Step::Start, Step::Reap]);
    }
    for durability in ALL {
        for at in (5..60).step_by(3) {
            for recovery_step in 0..20 {
                for kind in [0, 4] {
                    let mut world = World::new(Seed(2), config(durability));
                    world.home.crash_at_step(at);
                    let again = (recovery_step, crash(kind + 1, Seed(at)));
                    let verdict = world.run(&program).and_then(|()| {
                        world.crash_and_judge(crash(kind, Seed(at + recovery_step)), Some(again))
                    });
                    verdict.unwrap_or_else(|why| {
                        panic!("{durability}, step {at}, recovery {recovery_step}: {why}")
                    });
                }
            }
        }
    }
}

/// Two producers through a roll, each batch sent twice, at once or later.
#[test]
fn producers_may_send_again_whatever_step_was_the_last() {
    let mut program = Vec::new();
    for i in 0..6 {
        let (producer, back) = (i % 2, i / 2);
        let (send, again) =
            (Step::Send { producer, records: 1, bytes: 2500 }, Step::SendAgain { producer, back });
        program.extend([
            send,
            Step::Upkeep,
            send,
            again,
            Step::Start,
            again,
            Step::Upkeep,
            Step::Reap,
            again,
        ]);
    }
    program.extend([Step::Reopen, Step::SendAgain { producer: 0, back: 2 }]);
    for durability in ALL {
        let mut whole = World::new(Seed(1), config(durability));
        whole.run(&program).expect("nothing fails here");
        for step in 0..=whole.home.steps() {
            for kind in 0..6 {
                let mut world = World::new(Seed(1), config(durability));
                world.home.crash_at_step(step);
                let verdict =
                    world.run(&program).and_then(|()| world.crash_and_judge(crash(kind, Seed(step)), None));
                verdict.unwrap_or_else(|why| panic!("{durability}, crash {kind} at step {step}: {why}"));
            }
        }
    }
}

#[test]
fn random_programs_lose_nothing_that_was_acknowledged() {
    let (mut torn, mut lost) = (0, 0);
    for durability in ALL {
        for seed in 0..cases() * 5 {
            let counts = random_run(Seed(seed), &config(durability))
                .unwrap_or_else(|why| panic!("{durability}: {why}"));
            torn += counts.sectors_torn;
            lost += counts.sectors_lost;
        }
    }
    assert!(torn > cases() && lost > cases() * 4, "the crashes were harmless: {torn} torn, {lost} lost");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut world = World::new(Seed(seed), config(Durability::Synced));
        let program = program::random_program(&mut program::Dice::new(Seed(seed)), 40);
        world.run(&program).expect("nothing fails here");
        world.home.trace_hash()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
