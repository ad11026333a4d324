//! Short programs on a disk that is full, that fails, or that can't read: at every allocation, every step, every read.

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, SimHome};
use kv_engine::{Durability, KvConfig};

use super::judge::{check_no_phantom, check_prefix};
use super::program::{Dump, History, Running, Step, config};
use super::{COMMIT, MAINTAIN, PROGRAMS, cuts, pairs, put, recover, triples};

const SECTOR: u64 = 512;
const DURABILITIES: [Durability; 2] = [Durability::Synced, Durability::Os];

/// With `PROPTEST_CASES` above its default, those of three steps too.
fn programs() -> Vec<Vec<Step>> {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse::<u32>().ok()).unwrap_or(256);
    let written = PROGRAMS.iter().map(|program| program.to_vec()).chain(pairs());
    if cases > 256 { written.chain(triples()).collect() } else { written.collect() }
}

fn faults(home: &SimHome, fault: Fault) -> u64 {
    home.faults().get(&fault).copied().unwrap_or(0)
}

/// Opens and runs. `None`: opening failed, or the store stopped.
fn attempt(
    home: &SimHome,
    config: &KvConfig,
    program: &[Step],
    history: &mut History,
) -> Result<Option<Running>, String> {
    match Running::open(home, config) {
        Ok((_, report)) if !report.damage.is_empty() => Err(format!("damage: {:?}", report.damage)),
        Ok((store, _)) => store.run(home, config, program, history),
        Err(_) => Ok(None),
    }
}

/// Writes are acknowledged, as by a store that was never in trouble.
fn serves(
    store: Running,
    home: &SimHome,
    config: &KvConfig,
    history: &mut History,
) -> Result<Running, String> {
    let before = history.acknowledged;
    let program = [MAINTAIN, MAINTAIN, put(3, 0, 300), COMMIT];
    let store = store.run(home, config, &program, history)?.ok_or("the store stopped")?;
    if history.acknowledged == before {
        return Err("nothing is acknowledged".to_owned());
    }
    Ok(store)
}

/// What recovery after `cut` gives is what was promised; and then the store serves.
fn crash_and_judge(home: &SimHome, config: &KvConfig, history: &History, cut: Crash) -> Result<(), String> {
    home.reboot(cut);
    let found = recover(home, config)?;
    // In `os` a failed write is a lost write, and so is what a power cut takes.
    if config.durability == Durability::Synced {
        check_prefix(&Dump::new(), history, history.acknowledged, &found)?;
    } else {
        check_no_phantom(&Dump::new(), history, &found)?;
    }
    let (store, _) = Running::open(home, config)?;
    serves(store, home, config, &mut History::default())
        .map(drop)
        .map_err(|why| format!("after a restart: {why}"))
}

/// The disk has room for so many sectors; then it is full, and then there is room again.
fn on_a_disk_of(sectors: u64, program: &[Step], config: &KvConfig, cut: Crash) -> Result<bool, String> {
    let home = SimHome::new(Seed(1));
    home.set_free_bytes(Some(sectors * SECTOR));
    let mut history = History::default();
    let store = attempt(&home, config, program, &mut history)?;
    let was_full = faults(&home, Fault::NoSpace) > 0;
    if let Some(store) = &store {
        let seen = store.dump().map_err(|why| format!("reads don't go on: {why}"))?;
        check_prefix(&Dump::new(), &history, history.acknowledged, &seen)?;
    }
    home.set_free_bytes(None);
    if let Some(store) = store {
        serves(store, &home, config, &mut history).map_err(|why| format!("without a restart: {why}"))?;
    }
    crash_and_judge(&home, config, &history, cut)?;
    Ok(was_full)
}

#[test]
fn a_disk_full_at_any_allocation_refuses_loses_nothing_and_goes_on_with_room() {
    let mut full = 0;
    for durability in DURABILITIES {
        let config = config(durability);
        for program in programs() {
            for sectors in 0.. {
                let cut = cuts(sectors)[(sectors + full) as usize % 6];
                let was_full = on_a_disk_of(sectors, &program, &config, cut).unwrap_or_else(|why| {
                    panic!("{durability}, room for {sectors} sectors, {cut:?}, {program:?}: {why}")
                });
                if !was_full {
                    break;
                }
                full += 1;
            }
        }
    }
    assert!(full > 1_000, "the disk was full only {full} times");
}

#[test]
fn a_fault_at_any_step_loses_nothing() {
    const FAULTS: [Fault; 5] =
        [Fault::WriteError, Fault::SyncError, Fault::NoSpace, Fault::NameError, Fault::SyncDirError];
    let mut struck = 0;
    for durability in DURABILITIES {
        let config = config(durability);
        for program in programs() {
            let whole = SimHome::new(Seed(1));
            attempt(&whole, &config, &program, &mut History::default()).expect("nothing fails here");
            for step in 0..whole.steps() {
                for fault in FAULTS {
                    let home = SimHome::new(Seed(1));
                    home.fail_at_step(step, fault);
                    let mut history = History::default();
                    let cut = cuts(step)[(step + struck) as usize % 6];
                    let verdict = attempt(&home, &config, &program, &mut history).and_then(|_| {
                        struck += faults(&home, fault);
                        crash_and_judge(&home, &config, &history, cut)
                    });
                    verdict.unwrap_or_else(|why| {
                        panic!("{durability}, {fault:?} from step {step} of {program:?}, {cut:?}: {why}")
                    });
                }
            }
        }
    }
    assert!(struck > 1_000, "only {struck} faults struck");
}

/// Lets each read of an opening fail in turn. It may refuse; it may not cut away what it couldn't read, and the next one
/// has everything.
fn fail_reads_of_recovery(home: &SimHome, config: &KvConfig, history: &History) -> Result<u64, String> {
    let judge = |store: &Running| -> Result<(), String> {
        let found = store.dump()?;
        match config.durability {
            Durability::Synced => check_prefix(&Dump::new(), history, history.acknowledged, &found),
            _ => check_no_phantom(&Dump::new(), history, &found),
        }
    };
    let expected = {
        let copy = home.fork();
        copy.reboot(Crash::ProcessKill(Seed(0)));
        Running::open(&copy, config)?.0.dump()?
    };
    for number in 0.. {
        let told = |why: String| format!("read {number} of the recovery failed: {why}");
        let copy = home.fork();
        copy.reboot(Crash::ProcessKill(Seed(number)));
        copy.fail_read(number);
        let opened = Running::open(&copy, config);
        if copy.reads() <= number {
            return Ok(number);
        }
        copy.fail_read(u64::MAX);
        if let Ok((store, report)) = opened {
            if !report.damage.is_empty() {
                return Err(told(format!("it is called damage: {:?}", report.damage)));
            }
            judge(&store).map_err(told)?;
        }
        copy.reboot(Crash::ProcessKill(Seed(number)));
        let (store, report) = Running::open(&copy, config).map_err(told)?;
        if !report.damage.is_empty() || store.dump()? != expected {
            return Err(told(format!("the next one differs: {report:?}")));
        }
    }
    unreachable!("a recovery ends")
}

/// Each read of a dump fails in turn: an error for one key, and the others are right.
fn fail_reads_of_gets(store: &Running, home: &SimHome, history: &History) -> Result<u64, String> {
    let whole = store.dump()?;
    for number in 0.. {
        let first = home.reads();
        home.fail_read(first + number);
        let (found, failed) = store.readable();
        if home.reads() <= first + number {
            return Ok(number);
        }
        check_no_phantom(&Dump::new(), history, &found)?;
        if failed != 1 || found.len() + 1 != whole.len() {
            return Err(format!("one read failed, {failed} keys of {} can't be read", whole.len()));
        }
    }
    unreachable!("a dump ends")
}

#[test]
fn a_read_that_fails_anywhere_gives_no_wrong_answer_and_cuts_nothing() {
    let (mut running, mut reading, mut recovering) = (0, 0, 0);
    for durability in DURABILITIES {
        let config = config(durability);
        for program in programs() {
            let whole = SimHome::new(Seed(1));
            let mut history = History::default();
            let store = attempt(&whole, &config, &program, &mut history).expect("nothing fails here");
            let reads = whole.reads();
            if let Some(store) = store {
                reading += fail_reads_of_gets(&store, &whole, &history)
                    .unwrap_or_else(|why| panic!("{durability}, {program:?}: {why}"));
            }
            for number in 0..reads {
                let home = SimHome::new(Seed(1));
                home.fail_read(number);
                let mut history = History::default();
                let cut = cuts(number)[number as usize % 6];
                let verdict = attempt(&home, &config, &program, &mut history).and_then(|_| {
                    running += faults(&home, Fault::ReadError);
                    crash_and_judge(&home, &config, &history, cut)
                });
                verdict.unwrap_or_else(|why| {
                    panic!("{durability}, read {number} failed, {program:?}, {cut:?}: {why}")
                });
            }
            for cut in [Crash::LoseUnsynced, Crash::PowerCut(Seed(1)), Crash::ProcessKill(Seed(1))] {
                let home = SimHome::new(Seed(1));
                let mut history = History::default();
                attempt(&home, &config, &program, &mut history).expect("nothing fails here");
                home.reboot(cut);
                recovering += fail_reads_of_recovery(&home, &config, &history)
                    .unwrap_or_else(|why| panic!("{durability}, {program:?}, {cut:?}: {why}"));
            }
        }
    }
    assert!(
        running > 100 && reading > 100 && recovering > 100,
        "too few reads failed: {running}, {reading}, {recovering}"
    );
}
