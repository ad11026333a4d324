//! Compaction against a list of records: of each key the latest one stays, offsets never change, tombstones stay for
//! their time, and a crash at any step loses nothing of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimHome};
use engine_env::{CompletionQueue, Home, drive_until_idle};
use log_engine::{Appending, Durability, Interval, LogConfig, Offset, Record, SteppedLog, TopicPartition};
use proptest::prelude::*;

const TOMBSTONES_MS: u64 = 1000;

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn config(durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        segment_bytes: 4096,
        index_interval_bytes: 300,
        zero_fill_step_bytes: 4096,
        recent_bytes: 0,
        compacted_topics: vec!["t".to_owned()],
        tombstone_retention_ms: TOMBSTONES_MS,
        compaction_dirty_percent: 1,
        ..LogConfig::default()
    }
}

/// A key, or none, and a value, or a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Option<u8>,
    value: Option<Vec<u8>>,
}

impl Entry {
    fn of(key: u8, len: usize, offset: usize) -> Self {
        Self { key: Some(key), value: Some(vec![offset as u8; len]) }
    }
}

struct World {
    home: SimHome,
    log: SteppedLog<SimHome>,
    model: Vec<Entry>,
    now_ms: i64,
}

impl World {
    fn new(config: LogConfig) -> Self {
        let home = SimHome::new(Seed(3));
        let (log, _) = SteppedLog::open(home.clone(), config).expect("an empty folder");
        log.create_topic("t", 1).expect("new");
        Self { home, log, model: Vec::new(), now_ms: 10_000 }
    }

    /// Appends a batch, durably.
    fn append(&mut self, entries: &[Entry]) {
        let keys: Vec<_> = entries.iter().map(|e| e.key.map(|k| [k])).collect();
        let records: Vec<_> = entries
            .iter()
            .zip(&keys)
            .map(|(e, key)| Record {
                key: key.as_ref().map(|k| k.as_slice()),
                value: e.value.as_deref(),
                timestamp_ms: self.now_ms,
                headers: &[],
            })
            .collect();
        let done = Arc::new(CompletionQueue::new());
        let mut disk = self.home.disk().expect("powered");
        while self.log.append(&tp(), &records, self.now_ms, 0, &done).expect("healthy")
            == Appending::NeedsUpkeep
        {
            drive_until_idle(&mut disk, &*self.log.machine(), std::time::Duration::from_secs(9));
            assert!(self.log.upkeep(&mut disk, Interval::Running), "nothing makes room");
        }
        drive_until_idle(&mut disk, &*self.log.machine(), std::time::Duration::from_secs(9));
        self.model.extend_from_slice(entries);
    }

    fn upkeep(&self) {
        if let Ok(mut disk) = self.home.disk() {
            for _ in 0..20 {
                self.log.upkeep(&mut disk, Interval::Running);
            }
        }
    }

    /// Compacts until there is nothing to do, or no power.
    fn compact(&self) {
        let Ok(mut disk) = self.home.disk() else { return };
        let mut idle = 0;
        while idle < 3 && self.home.is_powered() {
            let worked = self.log.compact(&mut disk, self.now_ms);
            let kept_up = self.log.upkeep(&mut disk, Interval::Running);
            idle = if worked || kept_up { 0 } else { idle + 1 };
        }
    }

    fn reopen(&mut self, crash: Crash, config: LogConfig) {
        self.home.reboot(crash);
        let (log, report) = SteppedLog::open(self.home.clone(), config).expect("it opens");
        assert!(report.partitions[0].damage.is_empty(), "{report}");
        self.log = log;
    }

    /// What is there, by offset.
    fn read(&self) -> Result<BTreeMap<u64, Entry>, String> {
        let ends = self.log.ends(&tp()).expect("it is there");
        let (mut found, mut at) = (BTreeMap::new(), ends.start);
        while at < ends.end {
            let fetched = self.log.fetch(&tp(), at, 1500).map_err(|e| e.to_string())?;
            if fetched.next_offset() <= at {
                return Err(format!("nothing at {at}, and the log ends at {}", ends.end));
            }
            for record in fetched.records() {
                let record = record.map_err(|e| e.to_string())?;
                let entry = Entry { key: record.key.map(|k| k[0]), value: record.value.map(<[u8]>::to_vec) };
                if record.offset < at || found.insert(record.offset.0, entry).is_some() {
                    return Err(format!("offset {} came again", record.offset));
                }
            }
            at = fetched.next_offset();
        }
        Ok(found)
    }

    fn latest(&self) -> BTreeMap<u8, u64> {
        let keyed = self.model.iter().zip(0..).filter_map(|(e, offset)| Some((e.key?, offset)));
        keyed.collect()
    }

    /// Nothing is changed or lost that has to be there. `tombstones_may_go`: their time may be over.
    fn judge(&self, tombstones_may_go: bool) -> Result<BTreeMap<u64, Entry>, String> {
        let end = self.log.ends(&tp()).expect("it is there").end;
        if end != Offset(self.model.len() as u64) {
            return Err(format!("the log ends at {end}, and {} records were appended", self.model.len()));
        }
        let found = self.read()?;
        for (&offset, entry) in &found {
            if *entry != self.model[offset as usize] {
                return Err(format!("offset {offset} holds {entry:?}, not what was appended"));
            }
        }
        for (&key, offset) in &self.latest() {
            let is_tombstone = self.model[*offset as usize].value.is_none();
            let may_be_gone = is_tombstone && tombstones_may_go;
            if !(may_be_gone || found.contains_key(offset)) {
                return Err(format!("the latest record of key {key}, at {offset}, is gone"));
            }
            // A tombstone that is gone while what it deletes is there would bring it back.
            let last = found.iter().rev().find(|(_, e)| e.key == Some(key));
            let state = last.and_then(|(_, e)| e.value.as_ref());
            if state != self.model[*offset as usize].value.as_ref() {
                return Err(format!("key {key} reads as {state:?}"));
            }
        }
        let keyless = self.model.iter().zip(0_u64..).filter(|(e, _)| e.key.is_none());
        match keyless.map(|(_, offset)| offset).find(|offset| !found.contains_key(offset)) {
            Some(offset) => Err(format!("offset {offset} has no key, and is gone")),
            None => Ok(found),
        }
    }

    /// In front of the active segment and the one before it, only the latest record of each key is there.
    fn is_compact(&self, found: &BTreeMap<u64, Entry>) -> Result<(), String> {
        let segments = self.home.files().into_iter().filter(|f| f.ends_with(".log"));
        let bases = segments.map(|f| f["t-0/".len()..][..20].parse::<u64>().expect("digits"));
        let active = bases.max().expect("there is one");
        let sealed = &self.model[..active as usize];
        for (&offset, entry) in found.range(..active) {
            let later = sealed.iter().zip(0..).any(|(e, o)| e.key == entry.key && o > offset);
            if entry.key.is_some() && later {
                return Err(format!("offset {offset} was replaced, and is still there"));
            }
        }
        Ok(())
    }
}

/// Keys that come again, some deleted, over several segments.
fn filled(config: LogConfig) -> World {
    let mut world = World::new(config);
    for round in 0..12 {
        let entry = |key: u8| match (round, key) {
            (7, 2) => Entry { key: Some(2), value: None },
            (r, 3) if r > 4 => Entry { key: None, value: Some(vec![r as u8; 40]) },
            _ => Entry::of(key, 220, round),
        };
        for key in (0..4).filter(|&key| key != 2 || round <= 7) {
            world.append(&[entry(key), Entry::of(10 + key, 20, round)]);
        }
        world.upkeep();
    }
    assert!(world.log.stats().segments >= 4, "{:?}", world.log.stats());
    world
}

const BOTH: [Durability; 2] = [Durability::Os, Durability::Synced];

#[test]
fn the_latest_of_each_key_stays_and_tombstones_go_when_their_time_is_over() {
    for durability in BOTH {
        let mut world = filled(config(durability));
        let before = world.log.stats();
        world.compact();
        let found = world.judge(false).expect("compacted");
        world.is_compact(&found).expect("compacted");
        let after = world.log.stats();
        assert!(after.compactions > 0, "{before:?}, {after:?}");
        assert!(after.disk_bytes < before.disk_bytes / 2, "{before:?}, {after:?}");
        let tombstone = |found: &BTreeMap<u64, Entry>| found.values().any(|e| e.value.is_none());
        assert!(tombstone(&found), "its time is not over");

        world.now_ms += TOMBSTONES_MS as i64 - 1;
        world.compact();
        assert!(tombstone(&world.judge(false).expect("compacted")));
        world.now_ms += 2;
        world.compact();
        assert!(!tombstone(&world.judge(true).expect("compacted")), "its time is over");
        // What the first pass made small, the second put together.
        assert!(world.log.stats().segments < before.segments, "{before:?}, {:?}", world.log.stats());

        world.reopen(Crash::LoseUnsynced, config(durability));
        if durability == Durability::Synced {
            world.judge(true).expect("reopened");
        }
    }
}

#[test]
fn a_map_with_room_for_few_keys_takes_more_passes() {
    let mut config = config(Durability::Synced);
    config.compaction_map_bytes = 200;
    let mut world = filled(config.clone());
    for _ in 0..60 {
        world.compact();
        world.now_ms += 1;
    }
    let found = world.judge(false).expect("compacted");
    assert!(found.len() < world.model.len());
}

#[test]
fn damage_ends_a_pass_in_front_of_it() {
    let mut world = filled(config(Durability::Synced));
    let files: Vec<_> = world.home.files().into_iter().filter(|f| f.ends_with(".log")).collect();
    world.home.flip_bit(&files[2], 8 * 300).expect("it is there");
    world.reopen(Crash::KeepUnsynced, config(Durability::Synced));
    world.compact();
    assert!(world.log.stats().compactions > 0, "what lies before the damage is compacted");
    let base: u64 = files[2]["t-0/".len()..][..20].parse().expect("digits");
    let error = (base..base + 4).find_map(|at| world.log.fetch(&tp(), Offset(at), 1).err());
    assert!(error.is_some(), "the damage is still reported, at its place");
    let end = world.log.ends(&tp()).expect("it is there").end.0;
    assert!(world.log.fetch(&tp(), Offset(end - 1), 1).is_ok());
}

/// Crashes at each step of compacting; gives how many, or what went wrong.
fn crash_everywhere(config: &LogConfig, kinds: u64) -> Result<u64, String> {
    let clean = LogConfig { ..self::config(config.durability) };
    let start = |home: &SimHome| {
        let copy = home.fork();
        copy.reboot(Crash::KeepUnsynced);
        let (log, _) = SteppedLog::open(copy.clone(), config.clone()).expect("it opens");
        (copy, log)
    };
    let full = filled(clean.clone());
    let world = |home: &SimHome| {
        let (home, log) = start(home);
        World { home, log, model: full.model.clone(), now_ms: full.now_ms }
    };
    let whole = world(&full.home);
    let before = whole.home.steps();
    whole.compact();
    let steps = whole.home.steps() - before;
    let mut crashes = 0;
    for step in 0..=steps {
        for kind in 0..kinds {
            let mut world = world(&full.home);
            world.home.crash_at_step(world.home.steps() + step);
            world.compact();
            let crash = match kind {
                0 => Crash::LoseUnsynced,
                1 => Crash::KeepUnsynced,
                kind => Crash::PowerCut(Seed(kind * 1000 + step)),
            };
            let told = |why: String| format!("{crash:?} at step {step} of {steps}: {why}");
            world.home.reboot(crash);
            let (log, report) =
                SteppedLog::open(world.home.clone(), clean.clone()).map_err(|e| told(e.to_string()))?;
            if !report.partitions[0].damage.is_empty() {
                return Err(told(format!("a crash was taken for damage: {report}")));
            }
            world.log = log;
            world.judge(false).map_err(told)?;
            let files = world.home.files();
            if let Some(left) = files.iter().find(|f| f.ends_with(".swap") || f.ends_with(".cleaned")) {
                return Err(told(format!("{left} is left over")));
            }
            // Another pass, from wherever this one came to.
            world.compact();
            let found = world.judge(false).map_err(told)?;
            world.is_compact(&found).map_err(told)?;
            crashes += 1;
        }
    }
    Ok(crashes)
}

#[test]
fn a_crash_at_any_step_leaves_every_latest_record() {
    for durability in BOTH {
        let crashes =
            crash_everywhere(&config(durability), 4).unwrap_or_else(|why| panic!("{durability}: {why}"));
        assert!(crashes > 100, "only {crashes}");
    }
}

#[cfg(feature = "planted-bugs")]
mod teeth {
    use super::*;
    use log_engine::PlantedBug;

    fn with(bug: PlantedBug) -> LogConfig {
        LogConfig { planted_bug: Some(bug), ..config(Durability::Synced) }
    }

    #[test]
    fn a_latest_record_that_is_left_out_is_found() {
        let world = filled(with(PlantedBug::LatestLost));
        world.compact();
        world.judge(false).expect_err("the bug is found");
    }

    #[test]
    fn a_tombstone_that_goes_too_early_is_found() {
        let world = filled(with(PlantedBug::TombstoneDroppedEarly));
        world.compact();
        world.judge(false).expect_err("the bug is found");
    }

    #[test]
    fn a_copy_that_is_not_synced_is_found() {
        crash_everywhere(&with(PlantedBug::SwapUnsynced), 12).expect_err("the bug is found");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(Option<u8>, Option<u16>)>),
    Upkeep,
    Compact,
    CompactALittle(u8),
    Later(u16),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (proptest::option::weighted(0.9, 0..6_u8), proptest::option::weighted(0.8, 0..500_u16));
    prop_oneof![
        10 => proptest::collection::vec(entry, 1..6).prop_map(Step::Append),
        3 => Just(Step::Upkeep),
        1 => Just(Step::Compact),
        3 => any::<u8>().prop_map(Step::CompactALittle),
        1 => (0..1500_u16).prop_map(Step::Later),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_topic_reads_as_its_list_of_records(
        steps in proptest::collection::vec(step(), 1..80),
        durability in prop_oneof![Just(Durability::Os), Just(Durability::Synced)],
    ) {
        let mut world = World::new(config(durability));
        for step in &steps {
            match step {
                Step::Append(entries) => {
                    let base = world.model.len();
                    let entries: Vec<_> = entries.iter().zip(base..).map(|(&(key, len), offset)| Entry {
                        key,
                        value: len.map(|len| vec![offset as u8; usize::from(len)]),
                    }).collect();
                    world.append(&entries);
                }
                Step::Upkeep => world.upkeep(),
                Step::Compact => world.compact(),
                Step::CompactALittle(times) => {
                    let mut disk = world.home.disk().expect("powered");
                    for _ in 0..times % 8 {
                        world.log.compact(&mut disk, world.now_ms);
                    }
                }
                Step::Later(ms) => world.now_ms += i64::from(*ms),
                Step::Kill => world.reopen(Crash::ProcessKill(Seed(3)), config(durability)),
            }
            world.judge(true).map_err(TestCaseError::fail)?;
        }
        world.upkeep();
        world.compact();
        let found = world.judge(true).map_err(TestCaseError::fail)?;
        world.is_compact(&found).map_err(TestCaseError::fail)?;
    }
}
