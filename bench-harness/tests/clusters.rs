//! Clusters answer rightly with other settings than the default ones, and while a node is killed and returned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::{Answer, Completion, EngineRegistry, Place, Session, Submit, Token};
use bench_harness::load::Bound;
use bench_harness::run::{Arriving, RunOutcome, RunPlan, run_once};
use engine_env::rng::Seed;
use engine_env::{Durability, Wait};
use workloads::{Arrivals, Op, OpKind, OpenOptions, Registry, Rescheduled, StreamTag, Value, Workload};

fn run(
    name: &str,
    durability: Durability,
    set: &[(&str, &str)],
    arriving: Arriving,
    bound: Bound,
) -> RunOutcome {
    run_of(&*members(&[("members", "300")]), name, durability, set, (arriving, bound))
}

fn members(set: &[(&str, &str)]) -> Arc<dyn Workload> {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let opened = Registry::standard().open("member-update", &OpenOptions { set, ..OpenOptions::default() });
    opened.expect("it comes with the workbench").workload
}

fn run_of(
    workload: &dyn Workload,
    name: &str,
    durability: Durability,
    set: &[(&str, &str)],
    how: (Arriving, Bound),
) -> RunOutcome {
    run_warmed(workload, name, durability, set, how, Duration::ZERO)
}

fn run_warmed(
    workload: &dyn Workload,
    name: &str,
    durability: Durability,
    set: &[(&str, &str)],
    (arriving, bound): (Arriving, Bound),
    warmup: Duration,
) -> RunOutcome {
    let engines = EngineRegistry::standard();
    let dir = tempfile::tempdir().expect("a folder");
    let settings: BTreeMap<_, _> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let plan = RunPlan {
        engine: engines.by_name(name).expect("it is there"),
        workload,
        durability,
        settings: &settings,
        arriving,
        warmup,
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
        ("kv-cluster", &[("replica-tombstones", "on"), ("anti-entropy-ms", "20")]),
        ("kv-cluster", &[("replica-tombstones", "on"), ("version-read", "off"), ("transport", "tcp")]),
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

/// Every kind of workload that deletes: the member model, and recorded streams of changes and of requests.
#[test]
fn deletes_with_replica_tombstones_are_answered_rightly_in_every_workload() {
    let recorded = |name: &str, lines: &dyn Fn(u32) -> String| {
        let text: String = (0..600).map(lines).collect();
        let opened = Registry::read(name, std::io::Cursor::new(text), &OpenOptions::default());
        opened.expect(name).workload
    };
    let is_delete = |n: u32| n % 3 == 2;
    let workloads = [
        members(&[("members", "100"), ("mix.update", "0.3"), ("mix.delete", "0.1")]),
        recorded("a.jsonl", &|n| {
            let key = n % 7;
            if is_delete(n) {
                format!("{{\"ts\":{n},\"op\":\"delete\",\"key\":\"k{key}\"}}\n")
            } else {
                format!("{{\"ts\":{n},\"op\":\"put\",\"key\":\"k{key}\",\"value\":\"v{n}\"}}\n")
            }
        }),
        recorded("a.csv", &|n| {
            let header = if n == 0 { "ts,key,op,value_bytes\n" } else { "" };
            let (op, len) = if is_delete(n) { ("delete", 0) } else { ("put", 100) };
            format!("{header}{n},k{},{op},{len}\n", n % 7)
        }),
        recorded("a.twitter", &|n| {
            let op = ["set", "get", "delete", "get"][n as usize % 4];
            format!("{n},k{},2,100,1,{op},0\n", n % 7)
        }),
    ];
    for workload in &workloads {
        for set in [
            &[("replica-tombstones", "on")][..],
            &[("replica-tombstones", "on"), ("version-read", "off"), ("anti-entropy-ms", "5")],
            &[("replica-tombstones", "on"), ("r", "1"), ("w", "1")],
        ] {
            let how = (Arriving::Closed { clients: 8 }, Bound::operations(1_500));
            let outcome = run_of(&**workload, "kv-cluster", Durability::Os, set, how);
            let all = outcome.tally.all();
            let deletes =
                [OpKind::Delete, OpKind::DeleteProfile].map(|kind| outcome.tally.class(kind).answered);
            let what = format!("{} {set:?}: {:?}", workload.name(), outcome.tally);
            assert_eq!((all.errors, all.unsupported), (0, 0), "{what}");
            assert!(deletes.iter().sum::<u64>() > 50, "{what}");
            let seen = outcome.tally.sightings;
            assert_eq!((seen.unseen, seen.out_of_order, seen.again), (0, 0, 0), "{what}");
        }
    }
}

/// A change of what was deleted is made of nothing, and takes the place of the tombstone.
#[test]
fn a_change_after_a_delete_descends_from_the_delete() {
    let engines = EngineRegistry::standard();
    let engine = engines.by_name("kv-cluster").expect("it is there");
    let dir = tempfile::tempdir().expect("a folder");
    let settings = BTreeMap::from([("replica-tombstones".to_owned(), "on".to_owned())]);
    let place = Place { dir: dir.path().join("data"), durability: Durability::Os, settings };
    let mut session = engine.open(&place).expect("it opens");
    let value = |version| Value::generate(StreamTag::of(Seed(1)), 0, version, 100);
    let change = |version| Op::with_value(OpKind::ReadModifyWrite, 0, b"k".as_slice().into(), value(version));
    assert_eq!(answer(&mut *session, &change(1)), Answer::Written);
    for version in 2..5 {
        assert_eq!(answer(&mut *session, &Op::delete(0, b"k".as_slice())), Answer::Deleted(true));
        assert_eq!(answer(&mut *session, &Op::get(0, b"k".as_slice())), Answer::Value(None));
        assert_eq!(answer(&mut *session, &change(version)), Answer::Written);
        let found = Some(value(version).into_bytes());
        assert_eq!(answer(&mut *session, &Op::get(0, b"k".as_slice())), Answer::Value(found));
    }
    assert_eq!(session.stats().retries, 0, "no write was found obsolete");
    session.close().expect("it closes");
}

fn answer(session: &mut dyn Session, op: &Op) -> Answer {
    let submitted = session.submit(Token(1), op);
    assert!(matches!(submitted, Submit::Accepted), "{submitted:?}");
    let mut done: Vec<Completion> = Vec::new();
    while done.is_empty() {
        session.poll(Wait::AtMost(Duration::from_secs(10)), &mut done);
    }
    done.pop().expect("the loop above ends with one").result.expect("a healthy cluster")
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

/// A planned outage had begun with the warm-up: in runs that warm up for long, the node was back before anything was measured.
#[test]
fn an_outage_is_counted_from_the_measured_phase() {
    let how = (Arriving::Closed { clients: 8 }, Bound::time(Duration::from_millis(2_000)));
    let set = [("outage", "1000:500:0")];
    let workload = members(&[("members", "300")]);
    let warmup = Duration::from_millis(400);
    let seen = seconds(&run_warmed(&*workload, "kv-cluster", Durability::Os, &set, how, warmup));
    assert_eq!(seen.first().map(|row| row.copies_missed), Some(0), "{seen:?}");
    assert!(seen.iter().skip(1).any(|row| row.copies_missed > 0), "{seen:?}");
}

/// The store takes writes at once and mends what the node missed only if it was told to; the log waits for its leader, and
/// mends.
#[test]
fn a_run_with_an_outage_tells_when_writes_are_accepted_and_everything_is_replicated() {
    // Not in bursts: writes are asked for all the time.
    let workload = Rescheduled::new(members(&[("members", "3000")]), Arrivals::Poisson);
    let variants: [(&str, &[(&str, &str)]); 3] =
        [("kv-cluster", &[]), ("kv-cluster", &[("handoff-ms", "20")]), ("log-view", &[])];
    for (name, set) in variants {
        let set = [set, &[("outage", "1000:1000:0")]].concat();
        let how = (Arriving::Open { rate_per_s: 800.0 }, Bound::time(Duration::from_millis(3_500)));
        let outcome = run_of(&workload, name, Durability::Os, &set, how);
        let recovery = outcome.recovery.as_ref().expect("the node is back");
        let context = format!("{name} {set:?}: {recovery:?}");
        assert!((1.0..1.5).contains(&recovery.outage_s) && recovery.watched_s > 1.0, "{context}");
        let accepted = recovery.writes_accepted_s.expect(&context);
        if name == "log-view" {
            assert!(accepted > recovery.outage_s, "{context}");
            assert_eq!(recovery.keys_asked, None, "{context}");
        } else {
            assert!(accepted < 0.5, "{context}");
            assert!(recovery.keys_asked > Some(50), "{context}");
        }
        let is_mended = !(name == "kv-cluster" && set.len() == 1);
        assert_eq!(recovery.replicated_s.is_some(), is_mended, "{context}");
        assert!(recovery.replicated_s.is_none_or(|s| s > 0.0 && s < recovery.watched_s), "{context}");
        assert_eq!(recovery.keys_lacking.unwrap_or(0) > 0, !is_mended, "{context}");
        let all = outcome.measurements(&Default::default());
        assert_eq!(all[0].recovery, outcome.recovery);
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
