use engine_env::Durability;
use engine_env::rng::Seed;
use engine_env::sim::{HardwareProfile, Quantity};
use kv_engine::Replication;

use super::{
    Asked, Figures, Latencies, Load, Outage, TimedKv, TimedLog, What, sensitivity, timed_kv, timed_log,
};

const MS: u64 = 1_000_000;
const KEYS: u64 = 300;

fn cluster(durability: Durability) -> TimedKv {
    let replication = Replication::new(3, 2, 2).expect("valid");
    TimedKv { nodes: 3, replication, durability, handoff_ms: None, node_gib: 40.0, seed: Seed(5) }
}

fn key(number: u64) -> Vec<u8> {
    format!("member:{number}").into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    vec![(number % 251) as u8; 1_000]
}

/// One operation every so often, the keys in turn; all count.
fn load(operations: u64, every_ns: u64, what: impl Fn(u64) -> What) -> Load {
    let asked = |at: u64| Asked { due_ns: at * every_ns, key: key(at * 7 % KEYS), what: what(at) };
    Load {
        preload: (0..KEYS).map(|number| (key(number), value(number))).collect(),
        asked: (0..operations).map(asked).collect(),
        window_ns: 0..operations * every_ns,
        outages: Vec::new(),
    }
}

fn reads(operations: u64, every_ns: u64) -> Load {
    load(operations, every_ns, |_| What::Read)
}

fn mixed(operations: u64, every_ns: u64) -> Load {
    let what = |at: u64| match at % 10 {
        0..6 => What::Read,
        9 if at % 200 == 9 => What::Delete,
        _ => What::Write(value(at)),
    };
    load(operations, every_ns, what)
}

fn on(profile: &HardwareProfile, durability: Durability, load: &Load) -> Figures {
    timed_kv(profile, &cluster(durability), load).expect("figures")
}

fn p50_us(latencies: &Latencies) -> f64 {
    latencies.quantile_ns(0.5).expect("enough of them") as f64 / 1e3
}

#[test]
fn one_seed_has_one_result() {
    let (hdd, load) = (HardwareProfile::hdd_2012(), mixed(2_000, 10 * MS));
    let once = on(&hdd, Durability::Synced, &load);
    assert_eq!(once, on(&hdd, Durability::Synced, &load));
    assert_eq!((once.asked, once.failed), (2_000, 0));
    let other = TimedKv { seed: Seed(6), ..cluster(Durability::Synced) };
    assert_ne!(once, timed_kv(&hdd, &other, &load).expect("figures"), "pauses come at other times");
}

/// With nobody else there, an operation takes the sum of its steps: a get is there and back, a write three times there and
/// back (the clocks, the master, the others), of which two wait for a commit.
#[test]
fn a_lone_operation_takes_the_sum_of_its_steps() {
    let nvme = HardwareProfile::nvme_2024();
    let us = |quantity| nvme.value(quantity);
    let round_us = 2.0 * us(Quantity::Hop) + us(Quantity::Cpu);
    let commit_us = us(Quantity::Write) + us(Quantity::Sync) + 4096.0 / us(Quantity::Sequential);
    let close =
        |found: f64, sum: f64| assert!((0.99..1.06).contains(&(found / sum)), "{found} µs, not {sum}");

    let alone = on(&nvme, Durability::Os, &reads(400, 10 * MS));
    close(p50_us(&alone.reads), round_us + us(Quantity::CachedCall));
    let write = |at| What::Write(value(at));
    let synced = on(&nvme, Durability::Synced, &load(400, 10 * MS, write));
    close(p50_us(&synced.writes), 3.0 * round_us + 2.0 * commit_us);
    let handed_over = on(&nvme, Durability::Os, &load(400, 10 * MS, write));
    close(p50_us(&handed_over.writes), 3.0 * round_us + 2.0 * us(Quantity::CachedCall));
}

#[test]
fn a_read_that_misses_waits_for_the_disk_and_uses_it() {
    let hdd = HardwareProfile::hdd_2012().scaled(Quantity::PageCache, 0.001).expect("less");
    let figures = on(&hdd, Durability::Os, &reads(600, 100 * MS));
    let seek_us = hdd.value(Quantity::Read);
    let found_us = p50_us(&figures.reads);
    assert!((seek_us..seek_us + 2_000.0).contains(&found_us), "{found_us}");
    for node in &figures.nodes {
        assert!(node.disk_reads > 9 * node.cached_reads, "{node:?}");
        let used = node.disk_reads as f64 * seek_us * 1e3 / (600 * 100 * MS) as f64;
        let (disk, threads) = (node.disk.utilisation, node.threads.utilisation * 8.0);
        assert!((used..used * 1.1).contains(&disk), "{disk}, not {used}");
        assert!(threads > used, "a thread waits with its request: {node:?}");
    }
}

#[test]
fn more_than_a_disk_can_do_is_saturated_and_has_no_percentiles() {
    let hdd = HardwareProfile::hdd_2012().scaled(Quantity::PageCache, 0.001).expect("less");
    let figures = on(&hdd, Durability::Os, &reads(3_000, 2 * MS));
    assert!(figures.saturated, "500 reads a second, two seeks each, on three disks: {figures:?}");
    assert_eq!(figures.reads.quantile_ns(0.5), None);
    let busiest = figures.nodes.iter().map(|node| node.disk.utilisation).fold(0.0, f64::max);
    assert!(busiest > 0.95, "{figures:?}");
    assert!(figures.nodes.iter().any(|node| node.threads.queue_max > 100), "{figures:?}");
}

#[test]
fn pauses_are_a_tail() {
    let all_cached = TimedKv { node_gib: 1.0, ..cluster(Durability::Os) };
    let hdd = HardwareProfile::hdd_2012();
    let load = reads(20_000, 2 * MS);
    let with = timed_kv(&hdd, &all_cached, &load).expect("figures");
    let rare = hdd.scaled(Quantity::PauseEvery, 1_000.0).expect("more");
    let without = timed_kv(&rare, &all_cached, &load).expect("figures");
    let p99 = |figures: &Figures| figures.reads.quantile_ns(0.99).expect("enough of them");
    assert!(p99(&with) > 10 * MS && p99(&without) < 2 * MS, "{} and {}", p99(&with), p99(&without));
    assert!((p50_us(&with.reads) / p50_us(&without.reads) - 1.0).abs() < 0.01);
}

#[test]
fn what_a_result_rests_on_is_found() {
    let nvme = HardwareProfile::nvme_2024();
    let load = load(300, 10 * MS, |at| What::Write(value(at)));
    let once = on(&nvme, Durability::Synced, &load);
    let rows = sensitivity(&nvme, |profile| timed_kv(profile, &cluster(Durability::Synced), &load));
    let rows = rows.expect("figures");
    assert_eq!(rows.iter().map(|row| row.quantity).collect::<Vec<_>>(), Quantity::ALL);
    let p50 = |quantity, doubled: bool| {
        let row = rows.iter().find(|row| row.quantity == quantity).expect("all are there");
        let figures = if doubled { &row.doubled } else { &row.halved };
        p50_us(&figures.as_ref().expect("another value").writes)
    };
    // Two commits a write.
    let sync_us = nvme.value(Quantity::Sync);
    assert!((p50(Quantity::Sync, true) - p50_us(&once.writes) - 2.0 * sync_us).abs() < 1.0);
    assert!((p50_us(&once.writes) - p50(Quantity::Sync, false) - sync_us).abs() < 1.0);
    assert!((p50(Quantity::Read, true) - p50_us(&once.writes)).abs() < 1.0, "nothing is read from the disk");
    assert_eq!(rows[Quantity::Threads as usize].halved, None, "half a thread");
}

fn log(durability: Durability) -> TimedLog {
    TimedLog { brokers: 3, replicas: 3, durability, node_gib: 40.0, seed: Seed(5) }
}

/// A record goes to its leader; the followers, whose question waits there, get it and ask on, which tells the leader that they
/// have it: so it is acknowledged after two ways there and back, and three requests.
#[test]
fn a_lone_record_takes_the_sum_of_its_steps_and_is_seen_once() {
    let nvme = HardwareProfile::nvme_2024();
    let us = |quantity| nvme.value(quantity);
    let write = |at| What::Write(value(at));
    let load = load(400, 10 * MS, write);
    let figures = timed_log(&nvme, &log(Durability::Os), &load).expect("figures");
    assert_eq!((figures.asked, figures.failed, figures.saturated), (400, 0, false));
    let sum_us = 4.0 * us(Quantity::Hop) + 3.0 * us(Quantity::Cpu);
    let found_us = p50_us(&figures.writes);
    assert!((0.95..1.25).contains(&(found_us / sum_us)), "{found_us} µs, not {sum_us}");
    let visible = figures.visible.as_ref().expect("there is a consumer");
    assert_eq!(visible.count(), 400);
    assert!((0.9..1.5).contains(&(p50_us(visible) / found_us)), "{} and {found_us}", p50_us(visible));
    assert_eq!(figures, timed_log(&nvme, &log(Durability::Os), &load).expect("figures"));

    let synced = timed_log(&nvme, &log(Durability::Synced), &load).expect("figures");
    let commit_us = us(Quantity::Write) + us(Quantity::Sync);
    let more_us = p50_us(&synced.writes) - found_us;
    // The leader's commit and its followers' overlap but for the way between them.
    assert!((commit_us..2.2 * commit_us).contains(&more_us), "{more_us} and {commit_us}");
}

/// Many partitions commit side by side. A commit was told as done at another one's time, and while one was told too early
/// another stayed at the disk: under load requests piled up without end.
#[test]
fn commits_of_many_partitions_end_when_the_disk_is_through_with_them() {
    let nvme = HardwareProfile::nvme_2024();
    let write = |at| What::Write(value(at));
    let alone = timed_log(&nvme, &log(Durability::Synced), &load(400, 10 * MS, write)).expect("figures");
    let busy = timed_log(&nvme, &log(Durability::Synced), &load(6_000, MS / 4, write)).expect("figures");
    assert_eq!((busy.asked, busy.failed, busy.saturated), (6_000, 0, false));
    let (alone_us, busy_us) = (p50_us(&alone.writes), p50_us(&busy.writes));
    assert!((0.9..3.0).contains(&(busy_us / alone_us)), "{busy_us} and {alone_us}");
    let commits_us = 3.0 * (nvme.value(Quantity::Write) + nvme.value(Quantity::Sync));
    let p95_us = busy.writes.quantile_ns(0.95).expect("it isn't saturated") as f64 / 1e3;
    assert!(p95_us < alone_us + 4.0 * commits_us, "{p95_us} and {alone_us}");
}

#[test]
fn a_log_is_not_asked_for_keys() {
    let told = timed_log(&HardwareProfile::nvme_2024(), &log(Durability::Os), &reads(10, MS));
    assert!(told.is_err_and(|why| why.contains("not by key")));
}

/// Node 2 dies after a second, and is started so much later; half of what comes is written, and some is
/// deleted.
fn load_with_outage(every_ns: u64, length_ns: u64) -> Load {
    let what = |at: u64| match at {
        _ if at.is_multiple_of(2) => What::Read,
        _ if at % 50 == 1 => What::Delete,
        _ => What::Write(value(at)),
    };
    let outage = Outage { after_ns: 1_000 * MS, length_ns, node: 2 };
    Load { outages: vec![outage], ..load(2_500, every_ns, what) }
}

#[test]
fn a_store_answers_while_a_node_is_away_and_hints_bring_it_what_it_missed() {
    let nvme = HardwareProfile::nvme_2024();
    let load = load_with_outage(2 * MS, 2_000 * MS);
    let run = |handoff_ms, durability| {
        let cluster = TimedKv { nodes: 5, handoff_ms, ..cluster(durability) };
        timed_kv(&nvme, &cluster, &load).expect("figures")
    };
    for durability in [Durability::Os, Durability::Synced] {
        let hinted = run(Some(20), durability);
        let [outage] = hinted.outages[..] else { panic!("{:?}", hinted.outages) };
        assert_eq!((outage.outage, outage.asked), (load.outages[0], 1_000));
        assert_eq!((hinted.failed, outage.answered), (0, 1_000), "two of three replicas are there");
        // Of five nodes, three hold a key.
        assert!((200..400).contains(&outage.missed), "{outage:?}");
        let times = (outage.writes_accepted_ns, outage.recovery_ns, outage.replicated_ns);
        let (Some(accepted), Some(recovery), Some(replicated)) = times else { panic!("{outage:?}") };
        assert!(accepted < 100 * MS, "{outage:?}");
        assert!(recovery < replicated && replicated < 300 * MS, "{outage:?}");
        assert_eq!(hinted, run(Some(20), durability), "one seed has one result");
    }
    // Of three nodes, those that stay keep hints beside their own copies.
    let three = timed_kv(&nvme, &TimedKv { handoff_ms: Some(20), ..cluster(Durability::Os) }, &load);
    let three = three.expect("figures");
    let [outage] = three.outages[..] else { panic!("{:?}", three.outages) };
    assert_eq!((outage.lacking, outage.missed), (0, 480), "{outage:?}");
    // Without hints it never has all of them: clients ask it again ten seconds after they took it for dead.
    let bare = run(None, Durability::Os);
    let [outage] = bare.outages[..] else { panic!("{:?}", bare.outages) };
    assert_eq!((outage.answered, outage.replicated_ns), (1_000, None), "{outage:?}");
    assert!(outage.watched_ns > 10_000 * MS && outage.lacking > 0, "{outage:?}");
}

/// With acks=all the leaders of what it follows wait for it until it counts as out of sync, after ten seconds.
#[test]
fn a_log_that_elects_no_leader_takes_a_dead_ones_writes_when_it_is_back() {
    let nvme = HardwareProfile::nvme_2024();
    for (length_ns, misses) in [(2_000 * MS, false), (14_000 * MS, true)] {
        let mut load = load_with_outage(10 * MS, length_ns);
        load.asked.retain(|asked| asked.what != What::Read);
        let figures = timed_log(&nvme, &log(Durability::Os), &load).expect("figures");
        let [outage] = figures.outages[..] else { panic!("{:?}", figures.outages) };
        assert!(outage.writes_accepted_ns > Some(length_ns), "{outage:?}");
        assert!(outage.replicated_ns.is_some_and(|ns| ns < 2_000 * MS), "{outage:?}");
        assert!(outage.replicated_ns >= outage.recovery_ns, "{outage:?}");
        assert_eq!(outage.missed > 0, misses, "{outage:?}");
        assert!(figures.failed > 0 && figures.failed == outage.asked - outage.answered, "{figures:?}");
        assert!(figures.first_failure.as_ref().is_some_and(|why| why.contains("broker 2")), "{figures:?}");
    }
}

/// The second death of a node isn't taken for the first one's.
#[test]
fn a_node_that_dies_twice_has_two_outages() {
    let outage = |after_ns| Outage { after_ns, length_ns: 500 * MS, node: 2 };
    let outages = vec![outage(1_000 * MS), outage(3_000 * MS)];
    let load = Load { outages, ..load_with_outage(2 * MS, MS) };
    let figures = timed_kv(&HardwareProfile::nvme_2024(), &cluster(Durability::Os), &load).expect("figures");
    let [first, second] = figures.outages[..] else { panic!("{:?}", figures.outages) };
    for outage in [first, second] {
        assert!(outage.recovery_ns.is_some_and(|ns| ns < 100 * MS), "{outage:?}");
        assert!((1..=125).contains(&outage.missed), "a quarter of what was due then was written: {outage:?}");
    }
}

#[test]
fn outages_of_nodes_that_are_not_there_or_away_already_are_refused() {
    let outage = |after_ns, node| Outage { after_ns, length_ns: 10 * MS, node };
    for (outages, words) in [
        (vec![outage(0, 3)], "no node 3"),
        (vec![outage(0, 1), outage(5 * MS, 1)], "node 1 overlap"),
        (vec![outage(5 * MS, 1), outage(0, 1)], "node 1 overlap"),
    ] {
        let load = Load { outages, ..reads(10, MS) };
        let told = timed_kv(&HardwareProfile::nvme_2024(), &cluster(Durability::Os), &load);
        assert!(told.as_ref().is_err_and(|why| why.contains(words)), "{told:?}");
    }
}
