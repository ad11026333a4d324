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

/// Seconds with their operations, those that failed, and the longest response time in milliseconds.
fn seconds(outcome: &RunOutcome) -> Vec<(f64, u64, u64, f64)> {
    let all = outcome.latency.series.iter().filter(|row| row.operation == "all");
    all.map(|row| (row.second, row.count, row.errors, row.max_us.unwrap_or(0.0) / 1000.0)).collect()
}

#[test]
fn a_node_that_is_killed_and_returned_makes_no_answer_wrong() {
    for name in ["kv-cluster", "log-view"] {
        let set = [("transport", "tcp"), ("outage", "1000:1000:0"), ("replica-lag-ms", "300")];
        let set = if name == "kv-cluster" { &set[..2] } else { &set[..] };
        let bound = Bound::time(Duration::from_millis(3_500));
        let outcome = run(name, Durability::Os, set, Arriving::Closed { clients: 8 }, bound);
        let seconds = seconds(&outcome);
        assert!(seconds.first().is_some_and(|first| first.1 > 100), "{name}: {seconds:?}");
        // A log without elections has no leader for a third of its partitions meanwhile.
        let is_seen = seconds.iter().any(|second| second.2 > 0 || second.3 > 300.0);
        assert!(is_seen || name == "kv-cluster", "{name}: {seconds:?}");
    }
}
