//! A view whose machine is killed at every step, and at random ones, recoveries included: what it says it has applied is
//! there, and going on ends at what a rebuild from offset 0 gives.
//!
//! `PROPTEST_CASES` scales the random part.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Durability, Home, Wait};
use kv_engine::{Bitcask, KvConfig};
use log_engine::Offset;
use migration::view::{Applier, Change, resolve, stored_key};
use proptest::prelude::*;

const PARTITIONS: u32 = 2;
const KEYS: u8 = 5;

/// What stands in the log: of each partition, key and value by offset.
type Log = Vec<Vec<(u8, Option<Vec<u8>>)>>;
/// What a view answers, by partition and key.
type Contents = BTreeMap<(u32, u8), Vec<u8>>;

fn key_of(partition: u32, key: u8) -> Vec<u8> {
    vec![partition as u8, key]
}

/// The log's own answer: all records of a partition below an offset, the last one of each key.
fn state(log: &Log, partition: u32, below: usize) -> Contents {
    let mut state = Contents::new();
    for (key, value) in &log[partition as usize][..below] {
        match value {
            Some(value) => drop(state.insert((partition, *key), value.clone())),
            None => drop(state.remove(&(partition, *key))),
        }
    }
    state
}

fn config(durability: Durability) -> KvConfig {
    KvConfig { durability, segment_bytes: 4096, shards: 2, ..KvConfig::default() }
}

struct View {
    disk: SimDisk,
    store: Bitcask<SimFile>,
    applier: Applier,
}

impl View {
    fn open(home: &SimHome, durability: Durability) -> Result<Self, String> {
        let mut disk = home.disk().map_err(|e| e.to_string())?;
        let (store, report) = Bitcask::open(&mut disk, config(durability)).map_err(|e| e.to_string())?;
        assert!(report.damage.is_empty(), "damage after a crash: {:?}", report.damage);
        let applier = Applier::open("t", PARTITIONS, |key| store.get(key)).map_err(|e| e.to_string())?;
        Ok(Self { disk, store, applier })
    }

    fn contents(&self, partition: u32) -> Contents {
        (0..KEYS)
            .filter_map(|key| {
                let stored = stored_key(&key_of(partition, key));
                let value = resolve(self.store.get(&stored).expect("what is there can be read"))?;
                Some(((partition, key), value.value))
            })
            .collect()
    }

    /// Applies the next `records` records of each partition in one commit; whether there were any.
    fn step(&mut self, log: &Log, records: usize, durability: Durability) -> Result<bool, String> {
        for (partition, from) in self.applier.wanted().collect::<Vec<_>>() {
            let new = log[partition as usize].iter().zip(0u64..).skip(from.0 as usize).take(records);
            for ((key, value), offset) in new {
                let key = key_of(partition, *key);
                let change = Change {
                    offset: Offset(offset),
                    timestamp_ms: offset as i64,
                    key: Some(&key),
                    value: value.as_deref(),
                };
                self.applier.take(partition, &change).map_err(|e| e.to_string())?;
            }
        }
        let Some(batch) = self.applier.batch() else { return Ok(false) };
        let answers = if durability == Durability::Synced {
            let queue = Arc::new(CompletionQueue::new());
            let (answers, _) = self.store.stage_batch(&batch, 0, &queue).map_err(|e| e.to_string())?;
            while self.store.commit_now() {}
            let mut done = Vec::new();
            queue.drain(Wait::No, &mut done);
            done.pop().expect("everything was committed").result.map_err(|e| e.to_string())?;
            answers
        } else {
            self.store.batch_through(&batch).map_err(|e| e.to_string())?
        };
        self.applier.applied(answers).map_err(|e| e.to_string())?;
        let _ = self.store.maintain(&mut self.disk);
        Ok(true)
    }

    fn follow(&mut self, log: &Log, records: usize, durability: Durability) -> Result<(), String> {
        while self.step(log, records, durability)? {}
        Ok(())
    }
}

fn cuts(seed: u64, durability: Durability) -> Vec<Crash> {
    let mut cuts = vec![Crash::ProcessKill(Seed(seed))];
    if durability == Durability::Synced {
        cuts.extend([Crash::LoseUnsynced, Crash::Subset(Seed(seed)), Crash::PowerCut(Seed(seed))]);
    }
    cuts
}

/// What was applied before the crash is there, with at most a part of the next commit; then it goes on to the end.
fn check_after_crash(
    home: &SimHome,
    log: &Log,
    records: usize,
    durability: Durability,
    acknowledged: &[(u32, Offset)],
) {
    let mut view = View::open(home, durability).expect("a machine without faults");
    for (partition, position) in view.applier.positions().collect::<Vec<_>>() {
        let known =
            acknowledged.iter().find(|(p, _)| *p == partition).expect("every partition has a position");
        assert!(position.next >= known.1, "the position went back from {} to {}", known.1, position.next);
        let found = view.contents(partition);
        let end = log[partition as usize].len();
        let explains = (position.next.0 as usize..=end).any(|n| state(log, partition, n) == found);
        assert!(
            explains,
            "partition {partition} at {}: no prefix of the log explains {found:?}",
            position.next
        );
    }
    view.follow(log, records, durability).expect("a machine without faults");
    let mut rebuilt = View::open(&SimHome::new(Seed(99)), durability).expect("an empty machine");
    rebuilt.follow(log, 1000, durability).expect("a machine without faults");
    for partition in 0..PARTITIONS {
        assert_eq!(view.contents(partition), state(log, partition, log[partition as usize].len()));
        assert_eq!(view.contents(partition), rebuilt.contents(partition));
        assert_eq!(
            view.applier.positions().nth(partition as usize),
            rebuilt.applier.positions().nth(partition as usize)
        );
    }
}

/// Follows the log until the machine dies; gives the positions that were acknowledged.
fn live(home: &SimHome, log: &Log, records: usize, durability: Durability, at: u64) -> Vec<(u32, Offset)> {
    home.crash_at_step(at);
    let mut acknowledged: Vec<_> = (0..PARTITIONS).map(|p| (p, Offset(0))).collect();
    let Ok(mut view) = View::open(home, durability) else { return acknowledged };
    loop {
        acknowledged = view.applier.positions().map(|(p, position)| (p, position.next)).collect();
        match view.step(log, records, durability) {
            Ok(true) => {}
            // Once more, for what the last step acknowledged.
            _ => {
                let now = view.applier.positions().map(|(p, position)| (p, position.next));
                return now.zip(acknowledged).map(|(now, before)| now.max(before)).collect();
            }
        }
    }
}

fn record(partition: u32, offset: u64, key: u8, len: usize) -> (u8, Option<Vec<u8>>) {
    if offset % 5 == 4 {
        return (key, None);
    }
    let mut value = format!("{partition}-{offset}-").into_bytes();
    value.resize(value.len() + len, b'x');
    (key, Some(value))
}

#[test]
fn a_view_killed_at_every_step_ends_where_a_rebuild_ends() {
    let log: Log = (0..PARTITIONS)
        .map(|p| (0..14).map(|o| record(p, o, (o * 7 % 3) as u8, 100 + 40 * o as usize)).collect())
        .collect();
    let mut points = 0;
    let mut partial = 0;
    for durability in [Durability::Synced, Durability::Os] {
        for records in [1, 4] {
            let rehearsal = SimHome::new(Seed(1));
            live(&rehearsal, &log, records, durability, u64::MAX);
            for at in 0..=rehearsal.steps() {
                for cut in cuts(at, durability) {
                    let home = SimHome::new(Seed(1));
                    let acknowledged = live(&home, &log, records, durability, at);
                    home.reboot(cut);
                    check_after_crash(&home, &log, records, durability, &acknowledged);
                    points += 1;
                    partial += u32::from(acknowledged.iter().any(|(_, next)| (1..14).contains(&next.0)));
                }
            }
        }
    }
    assert!(points > 300 && partial > 150, "{points} crash points, {partial} in the middle: too tame");
}

fn logs() -> impl Strategy<Value = Log> {
    let record = (0..KEYS, prop::option::weighted(0.8, prop_oneof![0usize..40, 300usize..1500]));
    let partition = prop::collection::vec(record, 0..30).prop_map(|records| {
        let records = records.into_iter().zip(0u64..);
        records
            .map(|((key, len), o)| (key, len.map(|len| format!("{o}-{}", "y".repeat(len)).into_bytes())))
            .collect()
    });
    prop::collection::vec(partition, PARTITIONS as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn a_view_killed_again_and_again_ends_where_a_rebuild_ends(
        log in logs(),
        records in 1usize..8,
        synced in any::<bool>(),
        crashes in prop::collection::vec((0.0..1.0f64, any::<u64>()), 1..4),
    ) {
        let durability = if synced { Durability::Synced } else { Durability::Os };
        let rehearsal = SimHome::new(Seed(1));
        live(&rehearsal, &log, records, durability, u64::MAX);
        let steps = rehearsal.steps();
        let home = SimHome::new(Seed(1));
        let mut acknowledged: Vec<_> = (0..PARTITIONS).map(|p| (p, Offset(0))).collect();
        for (share, seed) in crashes {
            let reached = live(&home, &log, records, durability, (steps as f64 * share) as u64);
            for (known, reached) in acknowledged.iter_mut().zip(reached) {
                *known = reached.max(*known);
            }
            let cuts = cuts(seed, durability);
            home.reboot(cuts[seed as usize % cuts.len()]);
        }
        check_after_crash(&home, &log, records, durability, &acknowledged);
    }
}
