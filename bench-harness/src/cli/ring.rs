//! `workbench ring`: where a cluster keeps a key, and in which order a client asks for it.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use kv_engine::{
    Cluster, NodeId, Ring, Routing, RoutingStrategy, StoreDefinition, StoreRouting, Stores, ZoneId,
    contact_order, key_hash,
};
use serde::Serialize;

use super::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench ring --cluster config/cluster.xml --key member:1
  workbench ring --cluster config/cluster.xml --stores config/stores.xml --store members --key member:1 --json
  workbench ring --cluster config/cluster.xml --stores config/STORES/members --key-hex 00ff17 --zone 1

The files are Project Voldemort's. For each key: its hash (32-bit FNV-1a, signed), its master partition (absolute value
of the hash, modulo the number of partitions), its preference list (which partition brings which node in), and the
order in which a client asks: reads and deletes begin with nodes of other zones where the store wants zones to answer.
Without --stores the whole walk round the ring is shown, by consistent routing.")]
pub(super) struct RingArgs {
    /// The cluster's cluster.xml
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// A stores.xml, or one file of config/STORES
    #[arg(long, value_name = "FILE")]
    stores: Option<PathBuf>,
    /// Which of its stores; needed where there are several
    #[arg(long, value_name = "NAME", requires = "stores")]
    store: Option<String>,
    /// A key, as text; may be given several times
    #[arg(long, value_name = "KEY", required_unless_present = "key_hex")]
    key: Vec<String>,
    /// A key, as hexadecimal bytes; may be given several times
    #[arg(long, value_name = "HEX")]
    key_hex: Vec<String>,
    /// The zone of the client [default: the cluster's first]
    #[arg(long, value_name = "ID")]
    zone: Option<u16>,
    /// The client's host: with local-pref-all-routing its server is asked first
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Shuffles the nodes where every node holds every key (all-routing)
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// No file of this kind is larger.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Serialize)]
struct Answer {
    cluster: String,
    store: Option<String>,
    strategy: &'static str,
    partitions: u32,
    nodes: usize,
    keys: Vec<KeyAnswer>,
}

#[derive(Debug, Serialize)]
struct KeyAnswer {
    key: String,
    key_hex: String,
    hash: i32,
    partition: u32,
    preference_list: Vec<ReplicaAnswer>,
    reads_ask: Vec<u16>,
    writes_ask: Vec<u16>,
    deletes_ask: Vec<u16>,
}

#[derive(Debug, Serialize)]
struct ReplicaAnswer {
    node: u16,
    partition: u32,
    zone: u16,
    host: String,
    socket_port: u16,
}

pub(super) fn ring(args: &RingArgs) -> Result<(), Failure> {
    let cluster = cluster(&args.cluster)?;
    let of_cluster = |path: &PathBuf| store(path, args.store.as_deref(), &cluster, &args.cluster);
    let store = args.stores.as_ref().map(of_cluster).transpose()?;
    let zone = client_zone(args, &cluster)?;
    let routing = match &store {
        Some(store) => store.routing_in(&cluster, args.host.as_deref(), args.seed),
        None => Routing::new(cluster.ring().clone(), RoutingStrategy::Consistent, u16::MAX),
    };
    let keys = args
        .key
        .iter()
        .map(|key| Ok(key.clone().into_bytes()))
        .chain(args.key_hex.iter().map(|hex| bytes_of(hex)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let answer = Answer {
        cluster: cluster.name().to_owned(),
        strategy: strategy_name(store.as_ref()),
        store: store.as_ref().map(|store| store.name.clone()),
        partitions: cluster.ring().partitions(),
        nodes: cluster.servers().len(),
        keys: keys.iter().map(|key| locate(key, &cluster, &routing, store.as_ref(), zone)).collect(),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&answer).expect("strings and numbers");
        let _ = writeln!(out, "{text}");
    } else {
        print(&answer, store.as_ref(), &mut out);
    }
    Ok(())
}

/// The text of a file of the original's.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        Failure::Input(format!(
            "{}: can't be read ({why}); name a file of the original's kind",
            path.display()
        ))
    };
    let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!("{} bytes are more than any such file has", about.len())));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// The cluster of a cluster.xml.
pub(super) fn cluster(path: &Path) -> Result<Cluster, Failure> {
    Cluster::parse(&path.display().to_string(), &read(path)?).map_err(Failure::input)
}

/// The store of this name in a stores.xml, or its only one, for a cluster that has all of its zones.
pub(super) fn store(
    path: &Path,
    name: Option<&str>,
    cluster: &Cluster,
    cluster_file: &Path,
) -> Result<StoreDefinition, Failure> {
    let store = chosen(path, name)?;
    match store.zones_missing_in(cluster).first() {
        None => Ok(store),
        Some(zone) => Err(Failure::Input(format!(
            "{}: store {:?} has replicas in {zone}, which {} doesn't list; take files of one cluster",
            path.display(),
            store.name,
            cluster_file.display()
        ))),
    }
}

/// The store of this name in the file, or its only one.
fn chosen(path: &Path, name: Option<&str>) -> Result<StoreDefinition, Failure> {
    let file = path.display().to_string();
    let Stores { mut stores, notices, .. } = Stores::parse(&file, &read(path)?).map_err(Failure::input)?;
    for notice in notices {
        let _ = writeln!(std::io::stderr(), "{file}:{}: {}", notice.line, notice.what);
    }
    let at = match name {
        None if stores.len() == 1 => Some(0),
        None => None,
        Some(name) => stores.iter().position(|store| store.name == name),
    };
    let Some(at) = at else {
        let names: Vec<_> = stores.iter().map(|store| store.name.as_str()).collect();
        let got = name.map_or("no --store".to_owned(), |name| format!("{name:?}"));
        return Err(Failure::Input(format!(
            "{file}: which store? (got {got}); choose one with --store: {}",
            names.join(", ")
        )));
    };
    Ok(stores.swap_remove(at))
}

fn client_zone(args: &RingArgs, cluster: &Cluster) -> Result<ZoneId, Failure> {
    let zones = cluster.ring().zones();
    let Some(id) = args.zone else { return Ok(zones[0].id()) };
    if zones.iter().any(|zone| zone.id() == ZoneId(id)) {
        return Ok(ZoneId(id));
    }
    let ids: Vec<_> = zones.iter().map(|zone| zone.id().0.to_string()).collect();
    Err(Failure::Input(format!("--zone: the cluster has no such zone (got {id}); it has {}", ids.join(", "))))
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, Failure> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(Failure::Input(format!(
            "--key-hex: no hexadecimal bytes (got {hex:?}); write two digits for each byte, as in 00ff17"
        ))),
    }
}

fn strategy_name(store: Option<&StoreDefinition>) -> &'static str {
    match store.map(|store| &store.routing) {
        None | Some(StoreRouting::Consistent) => "consistent-routing",
        Some(StoreRouting::Zone { .. }) => "zone-routing",
        Some(StoreRouting::All) => "all-routing",
        Some(StoreRouting::LocalPrefAll) => "local-pref-all-routing",
    }
}

fn locate(
    key: &[u8],
    cluster: &Cluster,
    routing: &Routing,
    store: Option<&StoreDefinition>,
    zone: ZoneId,
) -> KeyAnswer {
    let ring: &Ring = cluster.ring();
    let list = routing.replicated(key);
    let nodes: Vec<NodeId> = list.iter().map(|replica| replica.node).collect();
    let order = |zones_first: u16| {
        let order = contact_order(ring, &nodes, zone, zones_first.into());
        order.into_iter().map(|node| node.0).collect::<Vec<_>>()
    };
    let (reads_ask, writes_ask, deletes_ask) = match store.map(|store| &store.routing) {
        Some(StoreRouting::Zone { reads, writes, .. }) => (order(*reads), order(0), order(*writes)),
        _ => {
            let all: Vec<u16> = nodes.iter().map(|node| node.0).collect();
            (all.clone(), all.clone(), all)
        }
    };
    let preference_list = list
        .iter()
        .map(|replica| {
            let here = |server: &&kv_engine::Server| server.node == replica.node;
            let server = cluster.servers().iter().find(here).expect("the ring's nodes are the servers");
            ReplicaAnswer {
                node: replica.node.0,
                partition: replica.partition,
                zone: server.zone.0,
                host: server.host.clone(),
                socket_port: server.socket_port,
            }
        })
        .collect();
    KeyAnswer {
        key: key.escape_ascii().to_string(),
        key_hex: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        hash: key_hash(key),
        partition: ring.master_partition(key),
        preference_list,
        reads_ask,
        writes_ask,
        deletes_ask,
    }
}

fn print(answer: &Answer, store: Option<&StoreDefinition>, out: &mut impl Write) {
    let counts = store.map_or("no store given: the whole walk".to_owned(), |store| {
        let replication = store.replication;
        format!("store {}, N={} R={} W={}", store.name, replication.n(), replication.r(), replication.w())
    });
    let _ = writeln!(
        out,
        "cluster {}: {} nodes, {} partitions; {counts}, {}",
        answer.cluster, answer.nodes, answer.partitions, answer.strategy
    );
    for key in &answer.keys {
        let _ = writeln!(out, "\nkey {} ({})", key.key, key.key_hex);
        let _ = writeln!(out, "  hash {}, partition {}", key.hash, key.partition);
        for (place, replica) in key.preference_list.iter().enumerate() {
            let _ = writeln!(
                out,
                "  {:>3}. node {} by partition {}, zone {}, {}:{}",
                place + 1,
                replica.node,
                replica.partition,
                replica.zone,
                replica.host,
                replica.socket_port
            );
        }
        let mut line = |what: &str, nodes: &[u16]| {
            let nodes: Vec<_> = nodes.iter().map(u16::to_string).collect();
            let _ = writeln!(out, "  {what} {}", nodes.join(", "));
        };
        if key.reads_ask == key.writes_ask && key.writes_ask == key.deletes_ask {
            line("asked in the order", &key.reads_ask);
        } else {
            line("reads ask  ", &key.reads_ask);
            line("writes ask ", &key.writes_ask);
            line("deletes ask", &key.deletes_ask);
        }
    }
}
