//! Clusters answer rightly with other settings than the default ones, and while a node is killed and returned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::EngineRegistry;
use bench_harness::load::Bound;
use bench_harness::run::{Arriving, RunOutcome, RunPlan, run_once};
use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{OpenOptions, Registry};

fn run(
    name: &str,
    durability: Durability,
    set: &[(&str, &str)],
    arriving: Arriving,
    bound: Bound,
) -> RunOutcome {
    let members = vec![("members".to_owned(), "300".to_owned())];
    let workload = Registry::standard()
        .open("member-update", &OpenOptions { set: members, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let engines = EngineRegistry::standard();
    let dir = tempfile::tempdir().expect("a folder");
    let settings: BTreeMap<_, _> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let plan = RunPlan {
        engine: engines.by_name(name).expect("it is there"),
        workload: &*workload,
        durability,
        settings: &settings,
        arriving,
        warmup: Duration::ZERO,
        bound,
        seed: Seed(5),
        dir: dir.path().join("data"),
        histograms: None,
        memory_per_s: None,
    };
    let what = format!("{name} {durability} {set:?}");
    let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect(&what);
    assert_eq!(outcome.tally.all().wrong, 0, "{what}: {:?}", outcome.tally.wrong_examples);
    outcome
}

#[test]
fn every_variant_of_a_cluster_answers_rightly() {
    let variants: &[(&str, &[(&str, &str)])] = &[
        ("kv-cluster", &[("version-read", "off")]),
        ("kv-cluster", &[("r", "1"), ("w", "3")]),
        ("kv-cluster", &[("r", "1"), ("w", "1")]),
        ("kv-cluster", &[("nodes", "5"), ("net", "lan")]),
        ("log-cluster", &[("batching", "off")]),
        ("log-cluster", &[("acks", "1"), ("partitions", "7")]),
        ("log-cluster", &[("acks", "0")]),
        ("log-view", &[("reads", "eventual")]),
        ("log-view", &[("subscribe", "pull"), ("min-isr", "3")]),
        ("log-view", &[("net", "lan"), ("transport", "tcp")]),
    ];
    for (name, set) in variants {
        let bound = Bound::operations(1_000);
        let outcome = run(name, Durability::Os, set, Arriving::Closed { clients: 16 }, bound);
        let all = outcome.tally.all();
        assert_eq!(all.errors, 0, "{name} {set:?}: {:?}", outcome.tally.error_examples);
        assert_eq!(all.answered + all.unsupported, 1_000, "{name} {set:?}");
        let replication = outcome.replication.expect("a cluster says how it replicates").to_string();
        let fewest = outcome.spent.engine.copies_at_ack.fewest();
        let expected = match set {
            [("r", "1"), ("w", "3")] => ("N=3 R=1 W=3", 3),
            [("r", "1"), ("w", "1")] => ("N=3 R=1 W=1", 1),
            [("acks", "1"), ..] => ("N=3 acks=1 min ISR 2", 1),
            [("acks", "0")] => ("N=3 acks=0 min ISR 2", 0),
            [_, ("min-isr", "3")] => ("N=3 acks=all min ISR 3", 3),
            _ if *name == "kv-cluster" => ("N=3 R=2 W=2", 2),
            _ => ("N=3 acks=all min ISR 2", 2),
        };
        assert_eq!(replication, expected.0, "{name} {set:?}");
        assert!(fewest >= Some(expected.1), "{name} {set:?}: {fewest:?}");
    }
}

/// A second of a run: its operations, those that failed, the longest response time in milliseconds, and copies that
/// acknowledged writes didn't get.
#[derive(Debug)]
struct Seen {
    second: f64,
    count: u64,
    errors: u64,
    max_ms: f64,
    copies_missed: u64,
}

fn seconds(outcome: &RunOutcome) -> Vec<Seen> {
    let all = outcome.latency.series.iter().filter(|row| row.operation == "all");
    all.map(|row| Seen {
        second: row.second,
        count: row.count,
        errors: row.errors,
        max_ms: row.max_us.unwrap_or(0.0) / 1000.0,
        copies_missed: row.copies_missed,
    })
    .collect()
}

/// An outage from the second second on, in the middle of a run, over both networks. No answer is wrong (`run` looks), and
/// what was acknowledged is seen by the subscriber. It shows: the store fails over, and only the copies tell; a log without
/// elections has no leader for a third of its partitions meanwhile.
#[test]
fn a_node_that_is_killed_and_returned_makes_no_answer_wrong_and_the_outage_shows() {
    for (name, transport) in
        [("kv-cluster", "tcp"), ("kv-cluster", "local"), ("log-view", "tcp"), ("log-view", "local")]
    {
        let set = [("transport", transport), ("outage", "1000:1000:0"), ("replica-lag-ms", "300")];
        let set = if name == "kv-cluster" { &set[..2] } else { &set[..] };
        let bound = Bound::time(Duration::from_millis(3_500));
        let outcome = run(name, Durability::Os, set, Arriving::Closed { clients: 8 }, bound);
        let seen = seconds(&outcome);
        let context = format!("{name} over {transport}: {seen:?}");
        assert!(seen.first().is_some_and(|first| first.count > 100 && first.copies_missed == 0), "{context}");
        let of_outage = |row: &&Seen| (1.0..3.0).contains(&row.second.floor());
        assert!(seen.iter().filter(of_outage).any(|row| row.copies_missed > 0), "{context}");
        assert_eq!(outcome.tally.sightings.unseen, 0, "{context}");
        assert_eq!(outcome.spent.engine.copies_at_ack.fewest(), Some(2), "{context}");
        if name == "kv-cluster" {
            assert_eq!(outcome.tally.all().errors, 0, "{context}: {:?}", outcome.tally.error_examples);
        } else {
            assert!(seen.iter().any(|row| row.errors > 0 || row.max_ms > 300.0), "{context}");
        }
    }
}

/// The store's updates are followed as the log's are: each acknowledged one is seen once, in its key's order.
#[test]
fn every_acknowledged_update_becomes_visible_once() {
    let quorums: &[&[(&str, &str)]] = &[
        &[],
        &[("visible-copies", "1")],
        &[("visible-copies", "3")],
        &[("subscribe", "pull"), ("transport", "tcp")],
    ];
    for set in quorums {
        let bound = Bound::operations(2_000);
        let outcome = run("kv-cluster", Durability::Os, set, Arriving::Closed { clients: 16 }, bound);
        let seen = outcome.tally.sightings;
        assert!(seen.seen > 300, "{set:?}: {seen:?}");
        assert_eq!((seen.unseen, seen.out_of_order, seen.again), (0, 0, 0), "{set:?}: {seen:?}");
        assert!(outcome.latency.visible.is_some(), "{set:?}");
    }
}
