//! Crashes while versions are built, swapped in and rolled back: at every step, with every sort of power cut and process
//! kill, and a second crash in what comes after. What is served is the old version or the new one, whole; what was
//! acknowledged is served; and the store goes on from there.

use engine_env::Home;
use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, FaultRates, SimHome};
use kv_engine::{
    BuildConfig, NodeId, Placement, ReadOnlyBuild, ReadOnlyCheck, ReadOnlyConfig, ReadOnlyOpenError,
    ReadOnlyStore, Ring, read_only_versions, roll_back_read_only, swap_read_only,
};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Builds the next version; its values tell which one it is.
    Build,
    Swap,
    RollBack,
}
use Step::{Build, RollBack, Swap};

/// What is done until the power goes, and how many older versions a swap keeps.
#[derive(Debug, Clone, Copy)]
struct Program {
    steps: &'static [Step],
    backups: usize,
}

const WITH_BACKUP: Program =
    Program { steps: &[Build, Swap, Build, Swap, RollBack, Build, Build, Swap, RollBack], backups: 1 };
const WITHOUT_BACKUP: Program = Program { steps: &[Build, Swap, Build, Swap, Build, Swap], backups: 0 };

/// Set for all of a test by those that plant a bug.
#[derive(Debug, Clone, Copy, Default)]
struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<kv_engine::ReadOnlyBug>,
}

impl Planted {
    fn build(self) -> BuildConfig {
        BuildConfig {
            threads: 0,
            chunk_bytes: 200,
            #[cfg(feature = "planted-bugs")]
            planted_bug: self.bug,
            ..BuildConfig::default()
        }
    }

    fn swap(self, backups: usize) -> ReadOnlyConfig {
        ReadOnlyConfig {
            backups,
            #[cfg(feature = "planted-bugs")]
            planted_bug: self.bug,
        }
    }
}

fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..24u8).map(|n| vec![b'k', n])
}

fn value(version: u64, key: &[u8]) -> Vec<u8> {
    [&version.to_le_bytes()[..], key].concat().repeat(3)
}

/// Takes a step, and gives the version that is served if it says it did.
fn take(home: &SimHome, step: Step, backups: usize, planted: Planted) -> Result<Option<u64>, String> {
    let mut disk = home.disk().map_err(|e| e.to_string())?;
    let swapped = match step {
        Build => {
            let placement = Placement::consistent(&Ring::even(1, 2).expect("a ring"), 1);
            let homes = vec![(NodeId(0), home.clone())];
            let mut build =
                ReadOnlyBuild::start(homes, placement, planted.build()).map_err(|e| e.to_string())?;
            let version = build.version();
            for key in keys() {
                build.put(&key, &value(version, &key)).map_err(|e| e.to_string())?;
            }
            build.finish(&|_, _| {}).map_err(|e| e.to_string())?;
            return Ok(None);
        }
        Swap => swap_read_only(&mut disk, None, &planted.swap(backups)),
        RollBack => roll_back_read_only(&mut disk, None, &planted.swap(backups)),
    };
    swapped.map(|made| Some(made.to)).map_err(|e| e.to_string())
}

/// The version that is served, after a look at all of it.
fn served(home: &SimHome) -> Result<Option<u64>, String> {
    let mut disk = home.disk().expect("power");
    let store = match ReadOnlyStore::open(&mut disk, ReadOnlyCheck::Everything) {
        Ok(store) => store,
        Err(ReadOnlyOpenError::Empty) => return Ok(None),
        Err(other) => return Err(other.to_string()),
    };
    let version = store.version();
    for key in keys() {
        let found = store.value(&key).map_err(|e| e.to_string())?;
        if found != Some(value(version, &key)) {
            return Err(format!("version {version} has {found:?} for {key:?}"));
        }
    }
    Ok(Some(version))
}

fn cuts(seed: u64) -> [Crash; 6] {
    [
        Crash::LoseUnsynced,
        Crash::KeepUnsynced,
        Crash::LengthsOnly,
        Crash::Subset(Seed(seed)),
        Crash::PowerCut(Seed(seed)),
        Crash::ProcessKill(Seed(seed)),
    ]
}

/// Runs the program; the power goes at step `at` of the machine's. Gives what may be served then: what was before the
/// step that didn't end, and what would have been after it.
fn until_crash(
    home: &SimHome,
    at: u64,
    program: Program,
    after: &[Option<u64>],
    planted: Planted,
) -> Result<[Option<u64>; 2], String> {
    home.crash_at_step(at);
    let mut before = None;
    for (step, after) in program.steps.iter().zip(after) {
        match take(home, *step, program.backups, planted) {
            Ok(_) => before = *after,
            Err(_) if !home.is_powered() => return Ok([before, *after]),
            Err(why) => return Err(format!("{step:?} failed without a crash: {why}")),
        }
    }
    Ok([before, before])
}

/// How many steps of the machine the program takes, and what is served after each of its own.
fn rehearsal(program: Program) -> (u64, Vec<Option<u64>>) {
    let home = SimHome::new(Seed(1));
    let mut after = Vec::new();
    let mut steps = 0;
    for step in program.steps {
        take(&home, *step, program.backups, Planted::default()).expect("nothing fails here");
        steps = home.steps();
        after.push(served(&home).expect("whole"));
    }
    (steps, after)
}

#[test]
fn the_programs_do_what_they_should() {
    let (steps, after) = rehearsal(WITH_BACKUP);
    assert!(steps > 100, "{steps} steps");
    let expected = [None, Some(1), Some(1), Some(2), Some(1), Some(1), Some(1), Some(4), Some(1)];
    assert_eq!(after, expected, "3 was built and passed over, 1 stays as the backup");
    assert_eq!(rehearsal(WITHOUT_BACKUP).1, [None, Some(1), Some(1), Some(2), Some(2), Some(3)]);
}

/// Every step of the machine, every sort of crash; then another crash while the store is put in order again.
fn check(program: Program, planted: Planted) -> Result<(), String> {
    let (steps, after) = rehearsal(program);
    for at in 0..steps {
        for (number, cut) in cuts(at).into_iter().enumerate() {
            let home = SimHome::new(Seed(1));
            let allowed = until_crash(&home, at, program, &after, planted)?;
            home.reboot(cut);
            let second_cut = cuts(at + 1)[(number + 3) % 6];
            go_on(&home, allowed, (at % 13, second_cut), program.backups, planted)
                .map_err(|why| format!("step {at}, {cut:?}: {why}"))?;
        }
    }
    Ok(())
}

/// Looks at what a crash left, and goes on from there.
fn go_on(
    home: &SimHome,
    allowed: [Option<u64>; 2],
    (second_crash_at, second_cut): (u64, Crash),
    backups: usize,
    planted: Planted,
) -> Result<(), String> {
    let found = served(home)?;
    if !allowed.contains(&found) {
        return Err(format!("{found:?} is served, allowed were {allowed:?}"));
    }
    let expect = |home: &SimHome, what: &str| match served(home)? {
        now if now == found => Ok(()),
        now => Err(format!("{found:?} was served, and {now:?} is after {what}")),
    };
    // Once it was shown it stays, whatever happens to the power next.
    let copy = home.fork();
    copy.reboot(Crash::LoseUnsynced);
    expect(&copy, "a power cut")?;
    // Another crash while things are put in order, and then none.
    home.crash_at_step(second_crash_at);
    let _ = take(home, Build, backups, planted);
    home.reboot(second_cut);
    expect(home, "an interrupted build")?;
    take(home, Build, backups, planted)?;
    let newest = take(home, Swap, backups, planted)?;
    if served(home)? != newest {
        return Err(format!("{newest:?} was swapped in and isn't served"));
    }
    if found.is_some() && backups > 0 {
        take(home, RollBack, backups, planted)?;
        expect(home, "a swap and a rollback")?;
    }
    // Nothing of what was interrupted is left.
    let versions = read_only_versions(&mut home.disk().expect("power")).map_err(|e| e.to_string())?;
    let whole = versions.whole.iter().map(|v| format!("version-{v}"));
    let set_aside = versions.set_aside.iter().map(|v| format!("version-{v}.bak"));
    let known: Vec<String> = whole.chain(set_aside).chain(["latest".to_owned()]).collect();
    match home.files().iter().find(|f| !known.iter().any(|k| f.split('/').next() == Some(k))) {
        Some(stray) => Err(format!("{stray} was left behind")),
        None => Ok(()),
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_old_version_or_the_new_one() {
    for program in [WITH_BACKUP, WITHOUT_BACKUP] {
        check(program, Planted::default()).unwrap_or_else(|why| panic!("{program:?}: {why}"));
    }
}

#[test]
fn a_disk_that_fails_changes_nothing_that_is_served() {
    let mut refused = 0;
    for seed in 0..200 {
        let home = SimHome::new(Seed(seed));
        for step in [Build, Swap] {
            take(&home, step, 1, Planted::default()).expect("nothing fails yet");
        }
        home.set_fault_rates(FaultRates {
            write_error: 0.02,
            sync_error: 0.02,
            name_error: 0.02,
            no_space: 0.02,
            sync_dir_error: 0.02,
            ..FaultRates::default()
        });
        let result =
            take(&home, Build, 1, Planted::default()).and_then(|_| take(&home, Swap, 1, Planted::default()));
        home.set_fault_rates(FaultRates::default());
        let now = served(&home).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        home.reboot(Crash::PowerCut(Seed(seed)));
        let found = served(&home).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(found, now, "seed {seed}: what was served after the failure stays");
        match result {
            Ok(swapped) => assert_eq!(found, swapped, "seed {seed}"),
            Err(_) => refused += 1,
        }
        // The disk is well again, and so is the store.
        for step in [Build, Swap] {
            take(&home, step, 1, Planted::default()).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
    }
    assert!(refused > 50, "{refused} of 200 were refused");
}

#[test]
fn a_full_disk_refuses_the_build_and_serves_on() {
    let home = SimHome::new(Seed(1));
    for step in [Build, Swap] {
        take(&home, step, 1, Planted::default()).expect("there is room");
    }
    home.set_free_bytes(Some(2000));
    let refused = take(&home, Build, 1, Planted::default()).expect_err("there is no room");
    assert!(refused.contains("full"), "{refused}");
    assert!(home.faults().get(&Fault::NoSpace).is_some_and(|n| *n > 0));
    assert_eq!(served(&home), Ok(Some(1)));
    home.set_free_bytes(None);
    for step in [Build, Swap] {
        take(&home, step, 1, Planted::default()).expect("there is room again");
    }
    assert_eq!(served(&home), Ok(Some(3)));
}

#[cfg(feature = "planted-bugs")]
mod teeth {
    use super::*;
    use kv_engine::ReadOnlyBug;

    fn caught(bug: ReadOnlyBug, program: Program) {
        let why = check(program, Planted { bug: Some(bug) }).expect_err("the bug must be found");
        assert!(why.contains("damaged"), "{bug:?}: {why}");
    }

    #[test]
    fn a_swap_without_its_sync_is_caught() {
        caught(ReadOnlyBug::SwapUnsynced, WITH_BACKUP);
    }

    #[test]
    fn a_build_without_its_syncs_is_caught() {
        caught(ReadOnlyBug::BuildUnsynced, WITH_BACKUP);
    }

    #[test]
    fn a_removal_before_the_swap_is_caught() {
        caught(ReadOnlyBug::RemovedBeforeSwap, WITHOUT_BACKUP);
    }
}
