//! Crashes with a subscriber: it lives elsewhere, follows the change feed, and keeps what it made of the changes
//! together with its position. After any crash it goes on where it was, and must end up with what the store holds.

use engine_env::sim::SimFile;
use kv_engine::{Change, ChangeEvent, ChangeFeed, FeedError, FeedPosition, MemoryStorage, Storage};

use super::*;
use crate::judge::dump;

/// What the subscriber keeps.
struct Subscriber {
    position: FeedPosition,
    replica: MemoryStorage,
    feed: Option<ChangeFeed<SimFile>>,
    /// No write is ever lost between two others.
    is_strict: bool,
    /// How often it had to begin anew, and how many changes it was told.
    restarts: u64,
    told: u64,
}

impl Subscriber {
    fn new(config: &KvConfig) -> Self {
        let is_strict = config.durability == Durability::Synced;
        Self {
            is_strict,
            position: FeedPosition::START,
            replica: MemoryStorage::new(),
            feed: None,
            restarts: 0,
            told: 0,
        }
    }

    fn begin_anew(&mut self) {
        (self.position, self.replica) = (FeedPosition::START, MemoryStorage::new());
    }

    fn follow(&mut self, store: &Running) -> Result<(), String> {
        if self.feed.is_some() {
            return Ok(());
        }
        self.feed = Some(match store.core.feed(self.position) {
            Ok(feed) => feed,
            Err(FeedError::DeletesGone { .. }) => {
                self.restarts += 1;
                self.begin_anew();
                store.core.feed(self.position).map_err(|e| e.to_string())?
            }
            Err(other) => return Err(other.to_string()),
        });
        Ok(())
    }

    /// Takes in up to `max_bytes` of changes; whether there were any. A disk that fails is no news.
    fn poll(&mut self, store: &Running, max_bytes: u64) -> Result<bool, String> {
        self.follow(store)?;
        let feed = self.feed.as_mut().expect("it was opened");
        let mut changes: Vec<Change> = Vec::new();
        match store.core.read_feed(feed, max_bytes, &mut changes) {
            Ok(()) | Err(FeedError::Disk(_)) => {}
            Err(other) => return Err(other.to_string()),
        }
        let any = !changes.is_empty();
        for change in changes {
            if change.next <= self.position {
                return Err(format!("{change:?} came at {}", self.position));
            }
            self.told += 1;
            self.position = change.next;
            match change.event {
                ChangeEvent::Put { key, version } => {
                    while let Err(refused) = self.replica.put(&key, &version) {
                        // In `os` a power cut may have taken the delete in between; then the later put stands.
                        let PutError::ObsoleteVersion { stored, .. } = &refused else {
                            return Err(refused.to_string());
                        };
                        if self.is_strict {
                            return Err(format!("told too late: {refused}"));
                        }
                        self.replica.delete(&key, stored).map_err(|e| e.to_string())?;
                    }
                }
                ChangeEvent::Deleted { key, version } => {
                    self.replica.delete(&key, &version).map_err(|e| e.to_string())?;
                }
                other => return Err(format!("{other:?} without a cause")),
            }
        }
        self.position = self.position.max(feed.position());
        Ok(any)
    }

    /// Takes in everything, and compares.
    fn check(&mut self, store: &Running) -> Result<(), String> {
        while self.poll(store, 2000)? {}
        let (replica, held) = (dump(&self.replica), sorted(store.dump()?));
        if sorted(replica.clone()) == held {
            return Ok(());
        }
        Err(format!(
            "the subscriber at {} has\n{}\nthe store\n{}",
            self.position,
            show(&replica),
            show(&held)
        ))
    }
}

/// Siblings stand in the order of arrival, which another order of deletes may change.
fn sorted(mut dump: Dump) -> Dump {
    for versions in dump.values_mut() {
        versions.sort_by(|a, b| a.value.cmp(&b.value));
    }
    dump
}

/// One life: a program with a poll after every few steps, a crash, and the comparison after the recovery.
fn live(
    home: &SimHome,
    config: &KvConfig,
    subscriber: &mut Subscriber,
    life: &Life,
    every: usize,
) -> Result<(), String> {
    let rehearsal = home.fork();
    rehearsal.reboot(Crash::KeepUnsynced);
    let (store, _) = Running::open(&rehearsal, config)?;
    store.run(&rehearsal, config, &life.program, &mut History::default())?;
    home.crash_at_step((rehearsal.steps() as f64 * life.crash_at) as u64);
    run(home, config, subscriber, &life.program, every)?;
    subscriber.feed = None;
    let cut = cuts(life.cut.1)[life.cut.0];
    home.reboot(cut);
    if let Some((at, cut, seed)) = life.recovery {
        home.crash_at_step(at);
        drop(Running::open(home, config));
        home.reboot(cuts(seed)[cut]);
    }
    let (store, _) = Running::open(home, config)?;
    let keeps_all = matches!(cut, Crash::ProcessKill(_)) && life.recovery.is_none();
    if config.durability != Durability::Synced && !keeps_all {
        // In `os` a power cut takes what was told. Who notices begins anew.
        subscriber.begin_anew();
    }
    let result = subscriber.check(&store);
    subscriber.feed = None;
    drop(store);
    home.reboot(Crash::KeepUnsynced);
    result
}

fn run(
    home: &SimHome,
    config: &KvConfig,
    subscriber: &mut Subscriber,
    program: &[Step],
    every: usize,
) -> Result<(), String> {
    let Ok((mut store, _)) = Running::open(home, config) else { return Ok(()) };
    let mut history = History::default();
    for (i, step) in program.iter().enumerate() {
        if matches!(step, Step::Reopen) {
            subscriber.feed = None;
        }
        match store.run(home, config, std::slice::from_ref(step), &mut history)? {
            Some(on) => store = on,
            None => return Ok(()),
        }
        if i % every == every - 1 {
            // In small bites, so that it stands within segments that are merged away.
            subscriber.poll(&store, 500)?;
        }
        if i % 16 == 15 {
            subscriber.feed = None;
        }
    }
    Ok(())
}

fn check(config: &KvConfig, cases: u32) -> Result<(), TestError<(u64, Vec<Life>, usize)>> {
    let mut proptest = ProptestConfig::default();
    proptest.cases = (u64::from(cases) * u64::from(proptest.cases) / 256).max(1) as u32;
    proptest.failure_persistence = None;
    let lives = prop::collection::vec(life(), 1..5);
    TestRunner::new(proptest).run(&(any::<u64>(), lives, 1usize..9), |(seed, lives, every)| {
        let home = SimHome::new(Seed(seed));
        let mut subscriber = Subscriber::new(config);
        for life in &lives {
            let life = Life { faults: 0, ..life.clone() };
            live(&home, config, &mut subscriber, &life, every).map_err(TestCaseError::fail)?;
        }
        Ok(())
    })
}

#[test]
fn a_subscriber_ends_up_with_what_the_store_holds_synced() {
    check(&config(Durability::Synced), 400).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_subscriber_ends_up_with_what_the_store_holds_os() {
    check(&config(Durability::Os), 300).unwrap_or_else(|e| panic!("{e}"));
}

/// Two keys, one of them deleted, the other overwritten until everything was merged.
fn churn() -> Vec<Step> {
    let mut program = vec![put(3, 0, 900), COMMIT, put(1, 0, 900), COMMIT, delete(1), COMMIT];
    for _ in 0..24 {
        program.extend([put(0, 0, 1400), COMMIT, MAINTAIN, MAINTAIN]);
    }
    program
}

/// The power goes at every step of a program that merges and drops deletes; the subscriber had seen nothing, a part, or
/// nearly all.
fn at_every_step(config: &KvConfig, stride: usize) -> Result<u64, String> {
    let program = churn();
    let whole = SimHome::new(Seed(1));
    let (store, _) = Running::open(&whole, config)?;
    store.run(&whole, config, &program, &mut History::default())?;
    let mut restarts = 0;
    for at in (0..whole.steps()).step_by(stride) {
        for every in [1000, 40, 3] {
            let home = SimHome::new(Seed(1));
            let mut subscriber = Subscriber::new(config);
            home.crash_at_step(at);
            run(&home, config, &mut subscriber, &program, every)?;
            subscriber.feed = None;
            home.reboot(Crash::PowerCut(Seed(at)));
            let (mut store, _) = Running::open(&home, config)?;
            // Life goes on without the subscriber; then it comes back.
            store = store
                .run(&home, config, &program, &mut History::default())?
                .ok_or("the machine is healthy")?;
            subscriber
                .check(&store)
                .map_err(|e| format!("crash at {at}, a poll every {every} steps: {e}"))?;
            restarts += subscriber.restarts;
        }
    }
    Ok(restarts)
}

#[test]
fn a_subscriber_survives_a_crash_at_every_step_of_a_churn() {
    let restarts = at_every_step(&config(Durability::Synced), 7).unwrap_or_else(|e| panic!("{e}"));
    assert!(restarts > 0, "no subscriber came too late for a delete");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_of_the_feed_are_caught() {
    for bug in [kv_engine::PlantedBug::FeedMissesMerged, kv_engine::PlantedBug::DroppedDeletesForgotten] {
        let config = KvConfig { planted_bug: Some(bug), ..config(Durability::Synced) };
        assert!(at_every_step(&config, 7).is_err(), "{bug:?} was not caught");
    }
}
