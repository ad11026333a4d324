//! Three nodes over TCP on this machine, and clients that wait for each answer: latencies of get, of a put that reads
//! the version first, and of one that doesn't.
//!
//! `cargo run --release -p kv-engine --example three_nodes -- [CLIENTS] [SECONDS] [os|synced]`, by default 8, 3 and os.
//! N 3, R 2, W 2, values of 1 KB, 10,000 keys. Nodes and clients share the machine's cores. Not measured: an offered
//! rate (each client waits, so a slow answer slows the questions), reads of cold data, and long runs.
//!
//! Beside it stands what the original does with the same quorums, values and 8 clients: Voldemort on Java 17 with its own
//! client, client and servers together on two busy cores, once with its memory store, once with BDB that doesn't sync.
//! That was another day and another machine: for orientation only.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example: it starts threads, looks at the clock and prints"
)]

use std::error::Error;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, Durability, Net, OsHome, Peer, Port, TcpNet, Wait};
use kv_engine::{
    ClientConfig, KvAnswer, KvClient, KvConfig, KvNode, NodeConfig, NodeId, Replication, Ring, VectorClock,
};

const NODES: u16 = 3;
const KEYS: u64 = 10_000;
const VALUE: [u8; 1024] = [7; 1024];

/// What the original does: operations a second, and microseconds at p50, p95 and p99.
struct Original {
    store: &'static str,
    ops_per_s: f64,
    us: [u64; 3],
}

const fn original(store: &'static str, ops_per_s: f64, us: [u64; 3]) -> Original {
    Original { store, ops_per_s, us }
}

const GETS: &[Original] =
    &[original("memory", 17_500.0, [432, 721, 979]), original("BDB", 16_000.0, [458, 797, 1_339])];
const PUTS: &[Original] =
    &[original("memory", 3_900.0, [1_923, 3_274, 5_547]), original("BDB", 3_200.0, [1_990, 5_662, 11_237])];
const WRITES_ALONE: &[Original] = &[original("memory", 7_700.0, [871, 1_669, 3_752])];

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let clients: u32 = args.next().map_or(Ok(8), |text| text.parse())?;
    let seconds: u64 = args.next().map_or(Ok(3), |text| text.parse())?;
    let durability: Durability = args.next().map_or(Ok(Durability::Os), |text| text.parse())?;

    let folder = tempfile::tempdir()?;
    let peers: Vec<Peer> = (0..NODES).map(|node| Peer(node.into())).collect();
    let net = TcpNet::loopback(&peers, Delay::default())?;
    let ring = Arc::new(Ring::even(NODES, 12)?);
    let mut nodes = Vec::new();
    for node in 0..NODES {
        let home = OsHome::open(folder.path().join(format!("node-{node}")), Backend::Auto)?;
        let storage = KvConfig { durability, ..KvConfig::default() };
        let config = NodeConfig::new(storage, NODES);
        nodes.push(KvNode::start(home, &net, NodeId(node), Arc::clone(&ring), config)?);
    }
    let config = ClientConfig::new(Replication::new(NODES, 2, 2)?);
    let join = |name| -> Result<_, Box<dyn Error + Send + Sync>> {
        Ok(KvClient::new(net.join(Peer(1000 + name))?, Arc::clone(&ring), config.clone()))
    };

    let mut loader = join(clients)?;
    let mut outcomes = Vec::new();
    for index in 0..KEYS {
        loader.write(index, &key(index), &VALUE);
    }
    while loader.in_flight() > 0 {
        loader.poll(Wait::Forever, &mut outcomes);
    }
    if let Some(failed) = outcomes.iter().find(|outcome| outcome.result.is_err()) {
        return Err(format!("loading failed: {failed:?}").into());
    }

    println!("{clients} clients, {NODES} nodes, N3 R2 W2, {durability}, 1 KB values, TCP loopback");
    println!("{:<30} {:>9} {:>8} {:>8} {:>8}", "", "ops/s", "p50 us", "p95 us", "p99 us");
    for (what, work, originals) in [
        ("get", Work::Get, GETS),
        ("put (reads the version)", Work::Write, PUTS),
        ("put without the version read", Work::Put, WRITES_ALONE),
    ] {
        let handles: Vec<_> = (0..clients).map(&join).collect::<Result<_, _>>()?;
        let start = Barrier::new(handles.len());
        let begun = Instant::now();
        let taken = std::thread::scope(|scope| {
            let workers: Vec<_> = handles
                .into_iter()
                .zip(0..)
                .map(|(client, name)| {
                    let (start, length) = (&start, Duration::from_secs(seconds));
                    scope.spawn(move || {
                        start.wait();
                        work_for(client, name, clients.into(), work, length)
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("a client panicked")).collect::<Vec<_>>()
        });
        let elapsed = begun.elapsed().as_secs_f64();
        let mut taken: Vec<u64> = taken.into_iter().flatten().collect();
        taken.sort_unstable();
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize] / 1000;
        let rate = taken.len() as f64 / elapsed;
        println!("{what:<30} {rate:>9.0} {:>8} {:>8} {:>8}", at(0.5), at(0.95), at(0.99));
        for Original { store, ops_per_s, us: [p50, p95, p99] } in originals {
            let (faster, of_p99) = (rate / ops_per_s, at(0.99) as f64 / *p99 as f64);
            let name = format!("  the original, {store}");
            println!(
                "{name:<30} {ops_per_s:>9.0} {p50:>8} {p95:>8} {p99:>8}   here {faster:.1}x the rate, {of_p99:.2}x its p99"
            );
        }
    }
    for node in nodes {
        node.stop()?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Get,
    Write,
    Put,
}

fn key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// One operation after the other on this client's share of the keys; nanoseconds that each took.
fn work_for<P: Port>(
    mut client: KvClient<P>,
    name: u64,
    clients: u64,
    work: Work,
    length: Duration,
) -> Vec<u64> {
    let mut taken = Vec::new();
    let mut outcomes = Vec::new();
    let mut clocks: Vec<Option<VectorClock>> = vec![None; KEYS as usize];
    let begun = Instant::now();
    // Every client walks its own keys, in a fixed order that is no neighbourhood.
    let mut step = name;
    while begun.elapsed() < length {
        step = (step + clients * 7919) % (KEYS / clients * clients);
        if matches!(work, Work::Put) && clocks[step as usize].is_none() {
            client.get_versions(0, &key(step));
            clocks[step as usize] = Some(match answer(&mut client, &mut outcomes) {
                KvAnswer::Versions(clocks) => clocks.into_iter().next().expect("all keys were loaded"),
                other => panic!("a getVersions gave {other:?}"),
            });
        }
        let started = Instant::now();
        match work {
            Work::Get => client.get(0, &key(step)),
            Work::Write => client.write(0, &key(step), &VALUE),
            Work::Put => {
                let clock = clocks[step as usize].clone().expect("read above");
                client.put(0, &key(step), clock, &VALUE);
            }
        }
        let answer = answer(&mut client, &mut outcomes);
        taken.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match answer {
            KvAnswer::Values(values) => assert_eq!(values[0].value, VALUE, "what was written"),
            KvAnswer::Written(clock) => clocks[step as usize] = Some(clock),
            other => panic!("unasked for: {other:?}"),
        }
    }
    taken
}

fn answer<P: Port>(client: &mut KvClient<P>, outcomes: &mut Vec<kv_engine::KvOutcome>) -> KvAnswer {
    while outcomes.is_empty() {
        client.poll(Wait::Forever, outcomes);
    }
    outcomes.pop().expect("looped until there is one").result.expect("three nodes run")
}
