//! A fourth node joins three over TCP on this machine while clients work: what is moved, how long it takes, and what clients
//! notice before, meanwhile and afterwards.
//!
//! `cargo run --release -p kv-engine --example rebalance_under_load -- [CLIENTS] [SECONDS] [KEYS] [os|synced]`, by default 8,
//! 5, 100000 and os. N 3, R 2, W 2, values of 1 KB; half of the operations read, half write (they read the version first).
//! SECONDS is how long it measures before and after. Each client waits for its answer, and nodes and clients share the
//! machine's cores, so the move and the clients take them from each other. Every answer is checked: a value that is older than
//! what the client wrote itself ends the run. Not measured: an offered rate, reads of cold data, and nodes on machines of their
//! own.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example: it starts threads, looks at the clock and prints"
)]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, Durability, Net, OsHome, Peer, Port, TcpNet, Wait};
use kv_engine::{
    ClientConfig, ControllerConfig, KvAnswer, KvClient, KvConfig, KvNode, KvOutcome, NodeConfig, NodeHomes,
    NodeId, PlanOptions, PlannedStore, RebalanceOutcome, RebalancePlan, Replication, Ring, Routing,
    RoutingStrategy, carry_out,
};

const N: u16 = 3;
const PARTITIONS: u32 = 48;
const VALUE_BYTES: usize = 1024;
const PHASES: [&str; 3] = ["before", "while it moves", "after"];
const OVER: u8 = 3;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let clients: u64 = args.next().map_or(Ok(8), |text| text.parse())?;
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let keys: u64 = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let durability: Durability = args.next().map_or(Ok(Durability::Os), |text| text.parse())?;

    let folder = tempfile::tempdir()?;
    let peers: Vec<Peer> = (0..4).map(Peer).collect();
    let net = TcpNet::loopback(&peers, Delay::default())?;
    let plan = plan()?;
    let mut nodes = Vec::new();
    for node in 0..4 {
        let ring = if node < 3 { &plan.current } else { &plan.interim };
        nodes.push(start(folder.path(), &net, node, ring, durability)?);
    }
    load(client(&net, 0, &plan)?, keys)?;

    let phase = AtomicU8::new(0);
    let (outcome, moving, taken) = std::thread::scope(|scope| {
        let workers = (0..clients)
            .map(|name| {
                let client = client(&net, 1 + name as u32, &plan)?;
                let phase = &phase;
                Ok(scope.spawn(move || work(client, name, clients, keys, phase)))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        std::thread::sleep(Duration::from_secs(seconds));
        phase.store(1, Ordering::Relaxed);
        let begun = Instant::now();
        let mut port = net.join(Peer(3000))?;
        let config = ControllerConfig { poll_ms: 20, ..ControllerConfig::default() };
        let outcome = carry_out(&mut port, &plan, config, |_| ControlFlow::Continue(()));
        let moving = begun.elapsed();
        phase.store(2, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(seconds));
        phase.store(OVER, Ordering::Relaxed);
        let taken = workers.into_iter().map(|worker| worker.join().expect("a client panicked"));
        Ok::<_, Failure>((outcome, moving, taken.collect::<Vec<_>>()))
    })?;
    if outcome != RebalanceOutcome::Finished {
        return Err(format!("it didn't come to its end: {outcome:?}").into());
    }

    println!(
        "{clients} clients, 3 nodes and a fourth, N3 R2 W2, {durability}, {keys} keys of 1 KB, TCP loopback"
    );
    let (mut moved_keys, mut moved_bytes) = (0, 0);
    for node in &nodes {
        let stats = node.stats().rebalancer;
        moved_keys += stats.keys_moved;
        moved_bytes += stats.bytes_moved;
    }
    let mib = moved_bytes as f64 / f64::from(1 << 20);
    println!(
        "moved: {moved_keys} copies of keys, {mib:.1} MiB, in {:.2} s ({:.1} MiB/s); {} of {} copies of partitions",
        moving.as_secs_f64(),
        mib / moving.as_secs_f64(),
        plan.totals.moved(),
        plan.totals.copies_before
    );
    println!("steps of the operator: 3 (start the node with the ring of the plan; plan; carry out)");
    println!("{:<16} {:>9} {:>8} {:>8} {:>8} {:>7}", "", "ops/s", "p50 us", "p99 us", "max us", "failed");
    for (number, name) in PHASES.iter().enumerate() {
        let length = if number == 1 { moving.as_secs_f64() } else { seconds as f64 };
        let mut all: Vec<u64> = taken.iter().flat_map(|worker| worker[number].ns.iter().copied()).collect();
        let failed: u64 = taken.iter().map(|worker| worker[number].failed).sum();
        all.sort_unstable();
        let at = |share: f64| {
            all.get((all.len().saturating_sub(1) as f64 * share) as usize).map_or(0, |ns| ns / 1000)
        };
        let rate = all.len() as f64 / length;
        println!("{name:<16} {rate:>9.0} {:>8} {:>8} {:>8} {failed:>7}", at(0.5), at(0.99), at(1.0));
    }
    for node in nodes {
        node.stop()?;
    }
    Ok(())
}

/// Three nodes with even shares, and the same four: the fourth takes every fourth partition of each.
fn plan() -> Result<RebalancePlan, Failure> {
    let current = Arc::new(Ring::even(3, PARTITIONS)?);
    let owner = |partition: u32| if partition / 3 % 4 == 3 { NodeId(3) } else { current.owner(partition) };
    let owned = |node| (0..PARTITIONS).filter(|partition| owner(*partition) == node).collect::<Vec<_>>();
    let target = Arc::new(Ring::new((0..4).map(NodeId).map(|node| (node, owned(node))))?);
    let routing = Routing::new(Arc::clone(&current), RoutingStrategy::Consistent, N);
    let stores = [PlannedStore { name: "store".to_owned(), routing }];
    Ok(RebalancePlan::new(&current, &target, &stores, PlanOptions::default())?)
}

fn start(
    folder: &Path,
    net: &TcpNet,
    node: u16,
    ring: &Arc<Ring>,
    durability: Durability,
) -> Result<KvNode, Failure> {
    let home = |what| OsHome::open(folder.join(format!("{what}-{node}")), Backend::Auto);
    let homes = NodeHomes { store: home("store")?, hints: None, metadata: Some(home("metadata")?) };
    let config = NodeConfig::new(KvConfig { durability, ..KvConfig::default() }, N);
    Ok(KvNode::start_in(homes, net, NodeId(node), Arc::clone(ring), config)?)
}

fn client(net: &TcpNet, name: u32, plan: &RebalancePlan) -> Result<KvClient<<TcpNet as Net>::Port>, Failure> {
    let config = ClientConfig::new(Replication::new(N, 2, 2)?);
    Ok(KvClient::new(net.join(Peer(1000 + name))?, Arc::clone(&plan.current), config))
}

fn load<P: Port>(mut client: KvClient<P>, keys: u64) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    for number in 0..keys {
        client.write(number, &key(number), &value(0));
        while client.in_flight() > 200 {
            client.poll(Wait::Forever, &mut outcomes);
        }
    }
    while client.in_flight() > 0 {
        client.poll(Wait::Forever, &mut outcomes);
    }
    match outcomes.iter().find(|outcome| outcome.result.is_err()) {
        Some(failed) => Err(format!("loading failed: {failed:?}").into()),
        None => Ok(()),
    }
}

/// What one client saw in one phase.
#[derive(Debug, Default)]
struct Seen {
    ns: Vec<u64>,
    failed: u64,
}

/// One operation after the other on this client's share of the keys, until it is over.
fn work<P: Port>(mut client: KvClient<P>, name: u64, clients: u64, keys: u64, phase: &AtomicU8) -> [Seen; 3] {
    let mut seen = [Seen::default(), Seen::default(), Seen::default()];
    let mut rounds = vec![0; keys as usize];
    let mut outcomes: Vec<KvOutcome> = Vec::new();
    let share = (keys / clients).max(1);
    for step in 0u64.. {
        let number = (step * 7919 % share * clients + name) % keys;
        let is_write = step % 2 == 0;
        let now = phase.load(Ordering::Relaxed);
        if now == OVER {
            break;
        }
        let started = Instant::now();
        let round = rounds[number as usize] + 1;
        if is_write {
            client.write(0, &key(number), &value(round));
        } else {
            client.get(0, &key(number));
        }
        while outcomes.is_empty() {
            client.poll(Wait::Forever, &mut outcomes);
        }
        let seen = &mut seen[usize::from(now)];
        match outcomes.pop().expect("looped until there is one").result {
            Ok(KvAnswer::Written(_)) => rounds[number as usize] = round,
            Ok(KvAnswer::Values(values)) => {
                let found = u64::from_le_bytes(values[0].value[..8].try_into().expect("a number"));
                assert!(found >= rounds[number as usize], "key {number} gave {found}");
            }
            Ok(other) => panic!("unasked for: {other:?}"),
            Err(_) => {
                seen.failed += 1;
                continue;
            }
        }
        seen.ns.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    seen
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn value(round: u64) -> Vec<u8> {
    let mut value = round.to_le_bytes().to_vec();
    value.resize(VALUE_BYTES, b'.');
    value
}
