//! Every engine of the workspace answers rightly, at every durability, in both loops, with small segments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::EngineRegistry;
use bench_harness::load::Bound;
use bench_harness::run::{Arriving, RunPlan, run_once};
use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{OpKind, OpenOptions, Registry};

/// Other people's stores, there with the feature `peers` only.
const PEERS: &[&str] =
    if cfg!(feature = "peers") { &["fjall", "fjall-blobs", "redb", "lmdb", "sled"] } else { &[] };

/// Peers keep keys in order, so they scan; and they answer from threads of their own as well.
#[test]
fn peers_scan_and_answer_from_several_threads() {
    let engines = EngineRegistry::standard();
    for (name, workload, threads) in
        PEERS.iter().flat_map(|name| [("ycsb-e", "0"), ("ycsb-f", "3")].map(|(w, t)| (name, w, t)))
    {
        let set = [("recordcount".to_owned(), "500".to_owned())].to_vec();
        let workload = Registry::standard()
            .open(workload, &OpenOptions { set, ..OpenOptions::default() })
            .expect("it comes with the workbench")
            .workload;
        let dir = tempfile::tempdir().expect("a folder");
        let plan = RunPlan {
            engine: engines.by_name(name).expect("it is there"),
            workload: &*workload,
            durability: Durability::Os,
            settings: &BTreeMap::from([("threads".to_owned(), threads.to_owned())]),
            arriving: Arriving::Closed { clients: 16 },
            warmup: Duration::ZERO,
            bound: Bound::operations(2_000),
            seed: Seed(4),
            dir: dir.path().join("data"),
            histograms: None,
            memory_per_s: None,
        };
        let what = format!("{name} {} {threads}", workload.name());
        let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect(&what);
        let all = outcome.tally.all();
        assert_eq!((all.wrong, all.errors, all.unsupported), (0, 0, 0), "{what}: {:?}", outcome.tally);
        let asked = if threads == "0" { OpKind::Scan } else { OpKind::ReadModifyWrite };
        assert!(outcome.tally.class(asked).answered > 800, "{what}");
    }
}

#[test]
fn every_engine_answers_rightly_at_every_durability() {
    let set = [("members", "300"), ("mix.delete", "0.1"), ("mix.update", "0.3")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec();
    let workload = Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let engines = EngineRegistry::standard();
    let own = ["memory", "kv-store", "log", "kv-cluster", "log-cluster", "log-view"];
    assert_eq!(engines.names(), [&own, PEERS].concat());
    for engine in engines.iter() {
        let has = |name: &str| engine.settings().iter().any(|s| s.name == name);
        // A cluster is judged in each loop over one of the networks.
        let networks: &[_] = if has("transport") { &["local", "tcp"] } else { &["", ""] };
        let loops = [Arriving::Closed { clients: 32 }, Arriving::Open { rate_per_s: 20_000.0 }];
        for durability in [Durability::Os, Durability::Synced, Durability::IntervalMs(20)] {
            for (network, arriving) in networks.iter().zip(loops) {
                let dir = tempfile::tempdir().expect("a folder");
                let mut settings = BTreeMap::new();
                let mut set = |name: &str, value: &str| settings.insert(name.to_owned(), value.to_owned());
                if has("segment-bytes") {
                    set("segment-bytes", "262144");
                }
                if has("partitions") {
                    set("partitions", "3");
                }
                if has("transport") {
                    set("transport", network);
                }
                let plan = RunPlan {
                    engine,
                    workload: &*workload,
                    durability,
                    settings: &settings,
                    arriving,
                    warmup: Duration::from_millis(20),
                    bound: Bound::operations(4_000),
                    seed: Seed(3),
                    dir: dir.path().join("data"),
                    histograms: None,
                    memory_per_s: None,
                };
                let what = format!("{} {durability} {arriving:?} {network}", engine.name());
                let can = engine.capabilities();
                let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect(&what);
                let (all, spent) = (outcome.tally.all(), &outcome.spent);
                assert_eq!(all.wrong, 0, "{what}: {:?}", outcome.tally.wrong_examples);
                assert_eq!(all.errors, 0, "{what}: {:?}", outcome.tally.error_examples);
                assert_eq!(all.answered + all.unsupported, 4_000, "{what}");
                for (kind, can) in [
                    (OpKind::ReadProfile, can.reads),
                    (OpKind::UpdateProfile, true),
                    (OpKind::DeleteProfile, can.deletes),
                ] {
                    let class = outcome.tally.class(kind);
                    let (done, other) = if can {
                        (class.answered, class.unsupported)
                    } else {
                        (class.unsupported, class.answered)
                    };
                    assert!(done > 100 && other == 0, "{what}: {kind} {class:?}");
                }
                let sightings = outcome.tally.sightings;
                assert_eq!((sightings.unseen, sightings.out_of_order, sightings.again), (0, 0, 0), "{what}");
                assert!(spent.live_bytes > 50_000, "{what}: {}", spent.live_bytes);
                // Peers don't tell what they write and sync.
                let counts = can.durable && !PEERS.contains(&engine.name());
                if counts {
                    assert!(spent.engine.written_bytes > 500_000, "{what}: {:?}", spent.engine);
                    assert!(spent.engine.tail_events > 0, "{what}: {:?}", spent.engine);
                    assert!(spent.disk_bytes > 0, "{what}");
                }
                if durability == Durability::Synced && counts {
                    assert!(spent.engine.syncs > 0, "{what}: {:?}", spent.engine);
                }
                if has("transport") {
                    assert!(spent.engine.messages > 1_000, "{what}: {:?}", spent.engine);
                    assert!(spent.engine.copies_at_ack.fewest() >= Some(2), "{what}: {:?}", spent.engine);
                    // Each value is on three nodes.
                    assert!(spent.engine.written_bytes > 3_000_000, "{what}: {:?}", spent.engine);
                    assert!(sightings.seen > 0, "{what}: {sightings:?}");
                }
                assert!(!dir.path().join("data").exists(), "{what}: the data is removed");
            }
        }
    }
}

/// Clients that read and write back the same members: the store compares versions and loses nothing that it
/// acknowledged, the log has nothing to compare.
#[test]
fn overlapping_increments_are_lost_where_nothing_keeps_them_apart() {
    let set = [("members".to_owned(), "20".to_owned())].to_vec();
    let workload = Registry::standard()
        .open("member-contended", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let engines = EngineRegistry::standard();
    for engine in ["memory", "kv-store", "log"] {
        for durability in [Durability::Os, Durability::Synced] {
            let dir = tempfile::tempdir().expect("a folder");
            let plan = RunPlan {
                engine: engines.by_name(engine).expect("it is there"),
                workload: &*workload,
                durability,
                settings: &BTreeMap::new(),
                arriving: Arriving::Closed { clients: 32 },
                warmup: Duration::ZERO,
                bound: Bound::operations(6_000),
                seed: Seed(4),
                dir: dir.path().join("data"),
                histograms: None,
                memory_per_s: None,
            };
            let what = format!("{engine} {durability}");
            let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect(&what);
            assert_eq!(outcome.tally.all().wrong, 0, "{what}: {:?}", outcome.tally.wrong_examples);
            let increments = outcome.tally.class(OpKind::IncrementProfile);
            let lost = outcome.lost_updates.expect("the workload increments");
            assert_eq!(lost.acknowledged, increments.answered, "{what}");
            assert_eq!((lost.failed, lost.unread), (0, 0), "{what}: a refused one never happened");
            assert_eq!(lost.surviving + lost.lost, lost.acknowledged, "{what}");
            match (engine, durability) {
                ("log", _) => assert!(lost.lost > 100, "{what}: {lost}"),
                _ => assert_eq!(lost.lost, 0, "{what}: {lost}"),
            }
            let refused = increments.errors;
            match (engine, durability) {
                ("kv-store", Durability::Synced) => {
                    assert!(refused > 0, "{what}: three tries are not always enough");
                    assert!(outcome.tally.error_examples[0].contains("3 tries"), "{what}");
                }
                _ => assert_eq!(refused, 0, "{what}: {:?}", outcome.tally.error_examples),
            }
        }
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_named() {
    let workload = Registry::standard().by_name("member-update").expect("it comes with the workbench");
    let engines = EngineRegistry::standard();
    for (engine, name, value, words) in [
        ("kv-store", "shards", "many", "shards"),
        ("kv-store", "segment-bytes", "1", "segment_bytes"),
        ("log", "io", "magic", "auto, uring or blocking"),
        ("log", "nosuch", "1", "segment-bytes"),
        ("memory", "io", "auto", "none"),
        ("kv-cluster", "transport", "pigeon", "local or tcp"),
        ("kv-cluster", "w", "4", "1 to n"),
        ("kv-cluster", "n", "5", "at most as many copies as nodes"),
        ("kv-cluster", "version-read", "maybe", "on or off"),
        ("kv-cluster", "replica-tombstones", "maybe", "on or off"),
        ("kv-cluster", "anti-entropy-ms", "soon", "milliseconds, or off"),
        ("log-cluster", "acks", "2", "all, 1 or 0"),
        ("log-cluster", "min-isr", "0", "1 to n"),
        ("log-cluster", "outage", "1:2:3", "START_MS:LENGTH_MS:NODE"),
        ("log-view", "reads", "psychic", "eventual or own-writes"),
        ("log-view", "net", "moon", "loopback, lan or wan"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let plan = RunPlan {
            engine: engines.by_name(engine).expect("it is there"),
            workload: &*workload,
            durability: Durability::Os,
            settings: &settings,
            arriving: Arriving::Closed { clients: 1 },
            warmup: Duration::ZERO,
            bound: Bound::operations(1),
            seed: Seed(1),
            dir: dir.path().join("data"),
            histograms: None,
            memory_per_s: None,
        };
        let error = run_once(plan, &Arc::new(AtomicBool::new(false))).expect_err(name).to_string();
        assert!(error.contains(words), "{error}");
    }
}
