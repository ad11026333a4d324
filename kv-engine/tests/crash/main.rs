//! Crashes: at every step of short programs, and at random ones of long programs; with every sort of power cut and
//! process kill, and a second crash inside the recovery. Whatever was acknowledged must be there; whatever was never
//! written mustn't; and once a recovery has shown a state, that state stays.
//!
//! `PROPTEST_CASES` scales the random part.

mod faults;
mod feed;
mod judge;
mod program;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, FaultRates, SimHome};
use kv_engine::{Durability, KvConfig, PutError};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};

use judge::{check_no_phantom, check_prefix, show};
use program::{Dump, History, Running, Step, config, step};

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

/// One life of a machine: a program and how it ends.
#[derive(Debug, Clone)]
struct Life {
    program: Vec<Step>,
    /// Where the power goes, as a share of the program's steps.
    crash_at: f64,
    /// Which sort of crash, and its seed.
    cut: (usize, u64),
    /// Whether, where and how the recovery crashes too.
    recovery: Option<(u64, usize, u64)>,
    /// Chance of each fault, in thousandths.
    faults: u32,
}

fn life() -> impl Strategy<Value = Life> {
    let cut = || (0usize..6, any::<u64>());
    let recovery = prop::option::of((0u64..30, 0usize..6, any::<u64>()));
    (
        prop::collection::vec(step(), 1..60),
        0.0..1.05f64,
        cut(),
        recovery,
        prop_oneof![3 => Just(0u32), 1 => 1u32..30],
    )
        .prop_map(|(program, crash_at, cut, recovery, faults)| Life {
            program,
            crash_at,
            cut,
            recovery,
            faults,
        })
}

/// Lives one life on the machine, judges what the next one finds, and gives that.
fn live(home: &SimHome, config: &KvConfig, base: &Dump, life: &Life) -> Result<Dump, String> {
    // A rehearsal on a copy tells how many steps there are.
    let rehearsal = home.fork();
    rehearsal.reboot(Crash::KeepUnsynced);
    let (store, _) = Running::open(&rehearsal, config)?;
    store.run(&rehearsal, config, &life.program, &mut History::default())?;
    let at = (rehearsal.steps() as f64 * life.crash_at) as u64;

    home.crash_at_step(at);
    let mut history = History::default();
    let opened = match Running::open(home, config) {
        Ok((store, report)) => {
            if !report.damage.is_empty() {
                return Err(format!("damage after a crash: {:?}", report.damage));
            }
            Some(store)
        }
        Err(_) => None,
    };
    let rate = f64::from(life.faults) / 1000.0;
    home.set_fault_rates(FaultRates {
        write_error: rate,
        sync_error: rate,
        no_space: rate,
        name_error: rate,
        sync_dir_error: rate,
        ..FaultRates::default()
    });
    if let Some(store) = opened {
        store.run(home, config, &life.program, &mut history)?;
    }
    home.set_fault_rates(FaultRates::default());
    let cut = cuts(life.cut.1)[life.cut.0];
    let mut killed_only = matches!(cut, Crash::ProcessKill(_));
    home.reboot(cut);
    if let Some((at, cut, seed)) = life.recovery {
        home.crash_at_step(at);
        drop(Running::open(home, config));
        let cut = cuts(seed)[cut];
        killed_only &= matches!(cut, Crash::ProcessKill(_));
        home.reboot(cut);
    }
    let found = recover(home, config)?;
    match config.durability {
        Durability::Synced => check_prefix(base, &history, history.acknowledged, &found)?,
        // A fault is a lost write too, so then only what was never written is wrong.
        _ if killed_only && life.faults == 0 => {
            check_prefix(base, &history, history.acknowledged, &found)?;
        }
        _ => check_no_phantom(base, &history, &found)?,
    }
    if history.synced == history.taken.len() {
        // A clean close and a sync are promises in every durability.
        check_prefix(base, &history, history.synced, &found)?;
    }
    Ok(found)
}

/// Opens after a crash. What is found must stay, whatever happens to the machine before the next write.
fn recover(home: &SimHome, config: &KvConfig) -> Result<Dump, String> {
    let (store, report) = Running::open(home, config)?;
    if !report.damage.is_empty() {
        return Err(format!("damage after a crash: {:?}", report.damage));
    }
    let found = store.dump()?;
    drop(store);
    for cut in [Crash::LoseUnsynced, Crash::PowerCut(Seed(7))] {
        let copy = home.fork();
        copy.reboot(cut);
        let (again, report) = Running::open(&copy, config)?;
        let second = again.dump()?;
        if second != found {
            return Err(format!(
                "a second recovery after {cut:?} differs\nfirst  {}\nsecond {}",
                show(&found),
                show(&second)
            ));
        }
        if !report.damage.is_empty() || report.tail_truncated.is_some() {
            return Err(format!("a second recovery found something to do: {report:?}"));
        }
    }
    home.reboot(Crash::KeepUnsynced);
    Ok(found)
}

fn check_lives(seed: u64, config: &KvConfig, lives: &[Life]) -> Result<(), String> {
    let home = SimHome::new(Seed(seed));
    let mut base = Dump::new();
    for life in lives {
        base = live(&home, config, &base, life)?;
    }
    Ok(())
}

fn check(config: &KvConfig, cases: u32) -> Result<(), TestError<(u64, Vec<Life>)>> {
    let mut proptest = ProptestConfig::default();
    // PROPTEST_CASES scales: 256 is the library's default, `cases` is ours.
    proptest.cases = (u64::from(cases) * u64::from(proptest.cases) / 256).max(1) as u32;
    proptest.failure_persistence = None;
    TestRunner::new(proptest).run(&(any::<u64>(), prop::collection::vec(life(), 1..4)), |(seed, lives)| {
        check_lives(seed, config, &lives).map_err(TestCaseError::fail)
    })
}

#[test]
fn random_crashes_lose_nothing_acknowledged_synced() {
    check(&config(Durability::Synced), 600).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn random_crashes_keep_the_promise_of_os() {
    check(&config(Durability::Os), 300).unwrap_or_else(|e| panic!("{e}"));
}

const fn put(key: u8, node: u16, len: u16) -> Step {
    Step::Put { key, node, seen: 255, len }
}

/// A concurrent version.
const fn blind(key: u8, node: u16, len: u16) -> Step {
    Step::Put { key, node, seen: 0, len }
}

const fn batch(writes: u8, len: u16) -> Step {
    Step::Batch { key: 0, node: 0, writes, len, deletes: true }
}

const fn delete(key: u8) -> Step {
    Step::Delete { key, seen: 255 }
}

const COMMIT: Step = Step::Commit;
const DRIVE: Step = Step::Drive;
const MAINTAIN: Step = Step::Maintain;
const REOPEN: Step = Step::Reopen;

/// Short programs about one thing each: most bugs need three operations.
const PROGRAMS: &[&[Step]] = &[
    &[],
    &[put(0, 0, 9), COMMIT],
    &[put(0, 0, 9), DRIVE],
    &[put(0, 0, 1400), COMMIT],
    &[put(0, 0, 9), put(1, 0, 9), put(2, 0, 1200), COMMIT],
    &[put(0, 0, 9), COMMIT, put(0, 0, 8), COMMIT],
    &[put(0, 0, 700), COMMIT, put(0, 0, 700), DRIVE],
    &[put(0, 0, 9), COMMIT, blind(0, 1, 9), COMMIT],
    &[blind(0, 0, 9), blind(0, 1, 9), COMMIT, put(0, 0, 5), COMMIT],
    &[put(0, 0, 9), COMMIT, delete(0), COMMIT],
    &[put(0, 0, 9), COMMIT, delete(0), COMMIT, blind(0, 0, 9), COMMIT],
    &[put(0, 0, 9), COMMIT, delete(0), blind(0, 0, 4), COMMIT],
    &[put(0, 0, 9), COMMIT, REOPEN],
    &[put(0, 0, 9), REOPEN, put(0, 0, 9), COMMIT],
    &[put(0, 0, 9), COMMIT, REOPEN, delete(0), COMMIT, REOPEN],
    &[MAINTAIN, put(0, 0, 9), COMMIT],
    // A roll.
    &[MAINTAIN, put(0, 0, 1400), put(1, 0, 1400), COMMIT, put(2, 0, 1400), COMMIT, MAINTAIN, MAINTAIN],
    // A roll inside one batch.
    &[MAINTAIN, put(0, 0, 1400), put(1, 0, 1400), put(2, 0, 1400), put(3, 0, 1400), COMMIT, COMMIT, MAINTAIN],
    // A segment that outgrows its size, because nothing was prepared.
    &[put(0, 0, 1400), put(1, 0, 1400), put(2, 0, 1400), COMMIT, put(3, 0, 1400), COMMIT, MAINTAIN],
    // A merge of a segment that is mostly garbage.
    &[
        MAINTAIN,
        put(0, 0, 1400),
        COMMIT,
        put(0, 0, 1400),
        COMMIT,
        put(0, 0, 1400),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        put(0, 0, 9),
        COMMIT,
    ],
    // A tombstone in a younger segment than the put it kills; the younger one is merged first.
    &[
        MAINTAIN,
        put(0, 0, 1400),
        put(1, 0, 1400),
        COMMIT,
        put(2, 0, 1400),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        delete(0),
        put(2, 0, 1400),
        COMMIT,
        put(2, 0, 1400),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        REOPEN,
    ],
    &[
        MAINTAIN,
        put(0, 0, 1400),
        blind(0, 1, 1400),
        COMMIT,
        put(1, 0, 1400),
        COMMIT,
        MAINTAIN,
        delete(0),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        blind(0, 0, 3),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
    ],
    // The same, and the older segment isn't worth a merge: the dead put in it stays, so the tombstone must.
    &[
        MAINTAIN,
        put(0, 0, 600),
        put(1, 0, 1400),
        put(2, 0, 1400),
        COMMIT,
        put(3, 0, 1400),
        COMMIT,
        delete(0),
        put(3, 0, 1400),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        put(4, 0, 1400),
        COMMIT,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        MAINTAIN,
        REOPEN,
    ],
    // Batches: with a put before and after, with one that doesn't fit into the segment's rest, and twice the same.
    &[put(0, 0, 9), batch(4, 700), COMMIT, put(1, 0, 9), COMMIT],
    &[MAINTAIN, put(0, 0, 1400), COMMIT, batch(3, 1300), DRIVE, MAINTAIN, batch(7, 40), COMMIT, MAINTAIN],
    &[batch(7, 600), batch(7, 20), COMMIT, REOPEN, batch(7, 20), COMMIT],
    // Stays staged: nobody was told, everything may be lost.
    &[put(0, 0, 9), put(1, 0, 9)],
];

const STEPS: [Step; 6] = [put(0, 0, 9), put(0, 0, 1400), blind(0, 1, 700), delete(0), MAINTAIN, REOPEN];

/// All programs of two of these steps, each with a commit behind it.
fn pairs() -> impl Iterator<Item = Vec<Step>> {
    (0..STEPS.len().pow(2)).map(|n| vec![STEPS[n % 6], COMMIT, STEPS[n / 6], COMMIT])
}

/// All programs of three of these steps, with commits: three operations are enough for most bugs.
fn triples() -> impl Iterator<Item = Vec<Step>> {
    (0..STEPS.len().pow(3)).map(|n| {
        let [a, b, c] = [n % 6, n / 6 % 6, n / 36].map(|i| STEPS[i]);
        vec![a, b, COMMIT, c, COMMIT]
    })
}

#[test]
fn every_crash_point_of_short_programs() {
    let mut points = 0u64;
    let mut lost = 0;
    for durability in [Durability::Synced, Durability::Os] {
        let config = config(durability);
        let written = PROGRAMS.iter().map(|program| program.to_vec());
        for program in &written.chain(triples()).collect::<Vec<_>>() {
            let whole = SimHome::new(Seed(1));
            let (store, _) = Running::open(&whole, &config).expect("a machine without faults");
            store.run(&whole, &config, program, &mut History::default()).expect("a machine without faults");
            for at in 0..=whole.steps() {
                for (i, cut) in cuts(at).into_iter().enumerate() {
                    let life = Life {
                        program: program.to_vec(),
                        crash_at: 0.0,
                        cut: (i, at),
                        recovery: None,
                        faults: 0,
                    };
                    let home = SimHome::new(Seed(1));
                    if let Err(why) = live_to(&home, &config, &life, at) {
                        panic!("{durability} {program:?}\ncrash at step {at}, {cut:?}: {why}");
                    }
                    points += 1;
                    lost += home.counts().sectors_lost;
                }
            }
        }
    }
    assert!(
        points > 10_000 && lost > 1000,
        "{points} crash points, {lost} sectors lost: too tame to show anything"
    );
}

/// In `os` a power cut keeps no order between writes; inside of a batch it does: a consumer can keep its position behind
/// what it consumed.
#[test]
fn what_survives_of_a_batch_is_a_prefix_of_it_in_every_durability() {
    let (mut whole, mut parts) = (0, 0);
    for durability in [Durability::Synced, Durability::Os] {
        let config = config(durability);
        for before in [0u8, 2] {
            let life = |home: &SimHome, at: u64| {
                home.crash_at_step(at);
                let Ok((store, _)) = Running::open(home, &config) else { return };
                let fill: Vec<Step> = std::iter::once(MAINTAIN)
                    .chain((0..before).flat_map(|_| [put(0, 0, 1400), COMMIT]))
                    .chain([Step::Batch { key: 0, node: 0, writes: 4, len: 500, deletes: false }, COMMIT])
                    .collect();
                let mut history = History::default();
                store.run(home, &config, &fill, &mut history).expect("no broken rule");
            };
            let rehearsal = SimHome::new(Seed(1));
            life(&rehearsal, u64::MAX);
            for at in 0..=rehearsal.steps() + 1 {
                for cut in (0..20).flat_map(|seed| cuts(at * 20 + seed)) {
                    let home = SimHome::new(Seed(at));
                    life(&home, at);
                    home.reboot(cut);
                    let found = recover(&home, &config).expect("it recovers");
                    let kept: Vec<bool> = (0..4u8)
                        .map(|key| {
                            let versions = found.get([b'k', key].as_slice());
                            versions.is_some_and(|v| v.iter().any(|v| v.value.len() == 502))
                        })
                        .collect();
                    let n = kept.iter().filter(|k| **k).count();
                    assert!(kept[..n].iter().all(|k| *k), "{durability}, step {at}, {cut:?}: {kept:?}");
                    whole += u32::from(n == 4);
                    parts += u32::from((1..4).contains(&n));
                }
            }
        }
    }
    assert!(whole > 50 && parts > 50, "{whole} whole, {parts} in part: too tame to show anything");
}

/// [`live`] with the crash at an exact step.
fn live_to(home: &SimHome, config: &KvConfig, life: &Life, at: u64) -> Result<(), String> {
    home.crash_at_step(at);
    let mut history = History::default();
    if let Ok((store, _)) = Running::open(home, config) {
        store.run(home, config, &life.program, &mut history)?;
    }
    let cut = cuts(life.cut.1)[life.cut.0];
    home.reboot(cut);
    let found = recover(home, config)?;
    if config.durability == Durability::Synced || matches!(cut, Crash::ProcessKill(_)) {
        check_prefix(&Dump::new(), &history, history.acknowledged, &found)
    } else {
        check_no_phantom(&Dump::new(), &history, &found)
    }
}

/// Every crash point of the recovery itself, after every sort of crash in the middle of a roll and a batch.
#[test]
fn every_crash_point_of_a_recovery() {
    let config = config(Durability::Synced);
    let program = PROGRAMS[17];
    let whole = SimHome::new(Seed(1));
    let (store, _) = Running::open(&whole, &config).expect("a machine without faults");
    store.run(&whole, &config, program, &mut History::default()).expect("a machine without faults");
    for at in (0..whole.steps()).step_by(2) {
        for cut in cuts(at) {
            let home = SimHome::new(Seed(1));
            home.crash_at_step(at);
            let mut history = History::default();
            if let Ok((store, _)) = Running::open(&home, &config) {
                store.run(&home, &config, program, &mut history).expect("no broken rule");
            }
            let steps = {
                let copy = home.fork();
                copy.reboot(cut);
                Running::open(&copy, &config).expect("it recovers");
                copy.steps()
            };
            for again in 0..steps {
                let copy = home.fork();
                copy.reboot(cut);
                copy.crash_at_step(again);
                assert!(Running::open(&copy, &config).is_err(), "the power went before the end");
                copy.reboot(Crash::PowerCut(Seed(again)));
                let judged = recover(&copy, &config)
                    .and_then(|found| check_prefix(&Dump::new(), &history, history.acknowledged, &found));
                if let Err(why) = judged {
                    panic!("crash at {at}, {cut:?}, recovery crashed at {again}: {why}");
                }
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_restart_trusts_no_page() {
    let config = config(Durability::Synced);
    for seed in 0..50 {
        let home = SimHome::new(Seed(seed));
        let (store, _) = Running::open(&home, &config).expect("a healthy machine");
        let mut history = History::default();
        let store = store
            .run(&home, &config, &[put(0, 0, 900), COMMIT], &mut history)
            .expect("no broken rule")
            .expect("a healthy machine");
        home.fail_next(Fault::SyncError);
        let program = [put(0, 0, 900), put(1, 0, 900), COMMIT, put(2, 0, 9), COMMIT];
        let stopped = store.run(&home, &config, &program, &mut history).expect("no broken rule");
        assert!(stopped.is_none(), "the store stops writing");
        assert_eq!(history.acknowledged, 1);
        // The process ends; the page cache still shows what never reached the disk.
        home.reboot(Crash::ProcessKill(Seed(seed)));
        let found = recover(&home, &config).expect("it recovers, and stays recovered after a power cut");
        check_prefix(&Dump::new(), &history, 1, &found).expect("only what was written");
    }
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    for durability in [Durability::Synced, Durability::Os] {
        let config = config(durability);
        let home = SimHome::new(Seed(3));
        let (store, _) = Running::open(&home, &config).expect("a healthy machine");
        let mut history = History::default();
        home.set_free_bytes(Some(6000));
        let filling: Vec<Step> = (0..12).flat_map(|_| [MAINTAIN, put(0, 0, 900), COMMIT]).collect();
        let store = store
            .run(&home, &config, &filling, &mut history)
            .expect("no broken rule")
            .expect("it still serves");
        let refused = if durability == Durability::Synced {
            store.core.stage_put(b"new", &version(900), 99, &std::sync::Arc::default()).map(drop)
        } else {
            store.core.put_through(b"new", &version(900))
        };
        assert!(matches!(refused, Err(PutError::DiskFull { .. })), "{durability}: {refused:?}");
        let kept = store.dump().expect("reads go on");
        check_prefix(&Dump::new(), &history, history.acknowledged, &kept).expect("all there");
        // Reopening while it is still full, too.
        drop(store);
        home.reboot(Crash::LoseUnsynced);
        let (store, _) = Running::open(&home, &config).expect("a full disk is no reason not to open");
        home.set_free_bytes(None);
        let acknowledged = history.acknowledged;
        let base = store.dump().expect("intact");
        let mut history = History::default();
        let after = [MAINTAIN, MAINTAIN, put(1, 0, 900), COMMIT];
        store.run(&home, &config, &after, &mut history).expect("no broken rule").expect("it writes again");
        assert_eq!(history.acknowledged, 1, "{durability}");
        assert!(acknowledged > 0);
        home.reboot(Crash::ProcessKill(Seed(1)));
        let found = recover(&home, &config).expect("it recovers");
        check_prefix(&base, &history, 1, &found).expect("what was written after the space came back");
    }
}

// A write that the disk refused as full left bytes behind the end of a segment, uncounted. Nobody cut them when the next
// segment took over, and the next opening called them damage.
#[test]
fn what_a_refused_write_left_behind_the_end_is_no_damage_later() {
    let seen = |key, node, seen, len| Step::Put { key, node, seen, len };
    let program = vec![
        MAINTAIN,
        seen(0, 0, 0, 770),
        DRIVE,
        REOPEN,
        MAINTAIN,
        seen(0, 1, 13, 36),
        COMMIT,
        seen(1, 0, 0, 5),
        COMMIT,
        seen(0, 0, 19, 0),
        DRIVE,
        REOPEN,
        MAINTAIN,
        Step::Batch { key: 0, node: 0, writes: 3, len: 973, deletes: false },
        REOPEN,
        seen(0, 0, 103, 952),
    ];
    let life = Life { program, crash_at: 0.8377737428529286, cut: (1, 0), recovery: None, faults: 12 };
    check_lives(9_182_043_321_221_436_760, &config(Durability::Synced), &[life])
        .unwrap_or_else(|e| panic!("{e}"));
}

// A batch that the disk refused as full had left its first records whole behind the end of the file, and the next opening
// took them in: a write came up that the store had refused, and that was never written by anybody's account.
#[test]
fn nothing_of_a_batch_that_a_full_disk_refused_comes_up_later() {
    let config = config(Durability::Os);
    let mut left = 0;
    for seed in 0..200 {
        let home = SimHome::new(Seed(seed));
        let (store, _) = Running::open(&home, &config).expect("a healthy machine");
        let mut history = History::default();
        let store = store
            .run(&home, &config, &[MAINTAIN, put(0, 0, 40), Step::Sync], &mut history)
            .expect("no broken rule")
            .expect("a healthy machine");
        home.fail_next(Fault::NoSpace);
        let refused = Step::Batch { key: 1, node: 0, writes: 3, len: 300, deletes: false };
        let store = store.run(&home, &config, &[refused], &mut history).expect("no broken rule");
        let Some(store) = store else { continue };
        // A put of the same length as the batch's first record would lead right up to its second one.
        let next = if seed % 2 == 0 { vec![] } else { vec![put(1, 0, 300)] };
        drop(store.run(&home, &config, &next, &mut history).expect("no broken rule"));
        left += 1;
        home.reboot(cuts(seed)[seed as usize / 2 % 6]);
        let found = recover(&home, &config).expect("it recovers");
        check_no_phantom(&Dump::new(), &history, &found).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    assert!(left > 150, "the disk refuses, and the store goes on: {left}");
}

fn version(len: usize) -> kv_engine::Versioned {
    kv_engine::Versioned::new(kv_engine::VectorClock::from_entries([(0, 1)], 0).expect("valid"), vec![1; len])
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = || {
        let config = config(Durability::Synced);
        let home = SimHome::new(Seed(11));
        for program in PROGRAMS {
            let (store, _) = Running::open(&home, &config).expect("a healthy machine");
            store.run(&home, &config, program, &mut History::default()).expect("no broken rule");
            home.reboot(Crash::PowerCut(Seed(5)));
        }
        home.trace_hash()
    };
    assert_eq!(trace(), trace());
}

#[cfg(feature = "planted-bugs")]
mod teeth {
    use super::*;
    use kv_engine::PlantedBug;

    /// A judge that was never seen to condemn proves nothing.
    #[test]
    fn every_planted_bug_is_caught() {
        for bug in [
            PlantedBug::SyncSkipped,
            PlantedBug::EarlyAck,
            PlantedBug::DirSyncSkipped,
            PlantedBug::ChecksumIgnored,
            PlantedBug::MergeUnsynced,
            PlantedBug::TombstonesDropped,
        ] {
            let config = KvConfig { planted_bug: Some(bug), ..config(Durability::Synced) };
            // Random programs rarely get as far as a merge that drops a tombstone too early; one of the short ones does.
            let by_program = PROGRAMS.iter().any(|program| {
                let life =
                    Life { program: program.to_vec(), crash_at: 0.0, cut: (0, 0), recovery: None, faults: 0 };
                live_to(&SimHome::new(Seed(1)), &config, &life, u64::MAX).is_err()
            });
            assert!(by_program || check(&config, 2000).is_err(), "{bug:?} was not caught");
        }
    }
}
