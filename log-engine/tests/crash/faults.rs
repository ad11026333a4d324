//! Short programs on a disk that is full, that fails, or that can't read: at every allocation, every step, every read.

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault};
use log_engine::Durability;

use super::ALL;
use super::program::{Step, World, config, crash};
use super::short::programs;

const SECTOR: u64 = 512;

fn faults(world: &World, fault: Fault) -> u64 {
    world.home.faults().get(&fault).copied().unwrap_or(0)
}

/// The disk has room for so many sectors; then it is full, and then there is room again.
fn on_a_disk_of(sectors: u64, program: &[Step], durability: Durability, kind: u64) -> Result<bool, String> {
    let mut world = World::new(Seed(1), config(durability));
    world.home.set_free_bytes(Some(sectors * SECTOR));
    world.run(program)?;
    let was_full = faults(&world, Fault::NoSpace) > 0;
    world.home.set_free_bytes(None);
    // Closing is refused where something couldn't be made durable; the program then went on without power.
    if world.home.is_powered() {
        world.serves().map_err(|why| format!("with room again, without a restart: {why}"))?;
    }
    world.crash_and_judge(crash(kind, Seed(sectors)), None)?;
    world.serves().map_err(|why| format!("with room again, after a restart: {why}"))?;
    Ok(was_full)
}

#[test]
fn a_disk_full_at_any_allocation_refuses_loses_nothing_and_goes_on_with_room() {
    let mut full = 0;
    for durability in ALL {
        for (program, _) in programs(2) {
            for sectors in 0.. {
                let kind = sectors + full;
                let was_full = on_a_disk_of(sectors, &program, durability, kind).unwrap_or_else(|why| {
                    panic!("{durability}, room for {sectors} sectors, crash {kind}, {program:?}: {why}")
                });
                if !was_full {
                    break;
                }
                full += 1;
            }
        }
    }
    assert!(full > 2_000, "the disk was full only {full} times");
}

#[test]
fn a_fault_at_any_step_loses_nothing() {
    const FAULTS: [Fault; 5] =
        [Fault::WriteError, Fault::SyncError, Fault::NoSpace, Fault::NameError, Fault::SyncDirError];
    let mut struck = 0;
    for durability in ALL {
        for (program, known) in programs(2) {
            let mut whole = World::new(Seed(1), config(durability));
            whole.run(&program[..known]).expect("nothing fails here");
            let from = if known == 0 { 0 } else { whole.home.steps() };
            whole.run(&program[known..]).expect("nothing fails here");
            for step in from..whole.home.steps() {
                for fault in FAULTS {
                    let mut world = World::new(Seed(1), config(durability));
                    world.home.fail_at_step(step, fault);
                    let crash = crash(step + struck, Seed(step));
                    let verdict = world.run(&program).and_then(|()| {
                        struck += faults(&world, fault);
                        world.crash_and_judge(crash, None)?;
                        world.serves()
                    });
                    verdict.unwrap_or_else(|why| {
                        panic!("{durability}, {fault:?} from step {step} of {program:?}, {crash:?}: {why}")
                    });
                }
            }
        }
    }
    assert!(struck > 2_000, "only {struck} faults struck");
}

#[test]
fn a_read_that_fails_anywhere_gives_no_wrong_answer_and_cuts_nothing() {
    let (mut running, mut recovering) = (0, 0);
    for durability in ALL {
        for (program, _) in programs(2) {
            let mut whole = World::new(Seed(1), config(durability));
            whole.run(&program).expect("nothing fails here");
            for number in 0..whole.home.reads() {
                let mut world = World::new(Seed(1), config(durability));
                world.home.fail_read(number);
                let crash = crash(number, Seed(number));
                let verdict = world.run(&program).and_then(|()| world.crash_and_judge(crash, None));
                verdict.unwrap_or_else(|why| {
                    panic!("{durability}, read {number} failed, {program:?}, {crash:?}: {why}")
                });
                running += faults(&world, Fault::ReadError);
            }
            for crash in [Crash::LoseUnsynced, Crash::PowerCut(Seed(1)), Crash::ProcessKill(Seed(1))] {
                let mut world = World::new(Seed(1), config(durability));
                let verdict = world.run(&program).and_then(|()| world.crash_and_fail_reads(crash));
                recovering +=
                    verdict.unwrap_or_else(|why| panic!("{durability}, {program:?}, {crash:?}: {why}"));
            }
        }
    }
    assert!(running > 500 && recovering > 500, "too few reads failed: {running} and {recovering}");
}
