//! Where the committed seeds come from: the encoders, and both engines at work in a simulated folder.
//!
//! `UPDATE_SEEDS=1 cargo test -p fuzz` writes them anew. Those of `log-message` are written by log-engine's own test, those
//! of `log-snapshot` are the bytes that `docs/formats/log-folder.md` shows. A seed
//! stays as it is while its format stands: then it also shows that old bytes are still read.

use std::path::Path;
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use engine_env::{CompletionQueue, Durability, Home};
use fuzz::join;
use kv_engine::{
    Bitcask, EntriesPosition, KvConfig, NodeId, RebalanceRequest, ReplicaError, Request, RequestId, Response,
    Ring, Steal, Switch, TreeLeaf, TreePlace, VectorClock, Versioned,
};
use log_engine::{
    Appending, EncodedBatch, Header, Interval, LogConfig, Offset, Record, SteppedLog, TopicPartition,
};
use migration::view;

pub(crate) fn write_anew_if_asked() {
    if std::env::var_os("UPDATE_SEEDS").is_none() {
        return;
    }
    for (target, name, bytes) in seeds() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join(name), bytes).expect("a file");
    }
}

/// Target, name, bytes.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let key = b"member:1";
    let mut encoded_clock = Vec::new();
    clock(3).encode(&mut encoded_clock);
    let id = RequestId(7);
    let versions = vec![Versioned::new(clock(2), b"old"), Versioned::new(clock(3), b"new")];
    let refused = ReplicaError::ObsoleteVersion { stored: clock(3) };
    let (small, large) = (kv_store(3, 20), kv_store(4, 1500));
    let (short, rolled) = (log_partition(2, 40), log_partition(5, 2500));
    let first = |files: &Files| files.get("data-0000000001.kv").to_vec();
    let position = view::Position { next: Offset(9), newest_ms: 1_700_000_000_000 };
    let text = |text: &str| text.as_bytes().to_vec();
    let place = TreePlace { partition: 7, at: 300 };
    let keys = vec![(key.to_vec(), vec![clock(1), clock(2)]), (b"b".to_vec(), vec![clock(3)])];
    let leaves = vec![TreeLeaf { place, keys }, TreeLeaf { place, keys: Vec::new() }];
    vec![
        ("net-frames", "hello", frames(&[])),
        ("net-frames", "messages", frames(&[b"hi", b"", &[7; 40]])),
        ("kv-clock", "three", encoded_clock),
        ("kv-request", "get", Request::Get { key }.encode(id)),
        ("kv-request", "versions", Request::GetVersions { key }.encode(id)),
        ("kv-request", "put", Request::Put { key, clock: clock(3), value: b"Ada" }.encode(id)),
        ("kv-request", "delete", Request::Delete { key, clock: clock(2) }.encode(id)),
        ("kv-request", "hint", Request::Hint { key: &slop(key), clock: clock(2), value: b"Ada" }.encode(id)),
        ("kv-request", "hashes", Request::GetHashes { level: 2, at: vec![place, place] }.encode(id)),
        ("kv-request", "leaves", Request::GetLeaves { at: vec![place] }.encode(id)),
        ("kv-response", "values", Response::Values(versions).encode(id)),
        ("kv-response", "versions", Response::Versions(vec![clock(1), clock(2)]).encode(id)),
        ("kv-response", "hashes", Response::Hashes(vec![1, u64::MAX]).encode(id)),
        ("kv-response", "leaves", Response::Leaves(leaves).encode(id)),
        ("kv-response", "refused", Response::Refused(refused).encode(id)),
        ("kv-request", "switch", Request::Rebalance(switch()).encode(id)),
        ("kv-request", "entries", Request::Rebalance(entries()).encode(id)),
        ("kv-slop", "delete", slop(key)),
        ("kv-metadata", "rebalancing", kept_by_a_stealer()),
        ("kv-segment", "small", first(&small)),
        ("kv-segment", "large", first(&large)),
        ("kv-store", "one-segment", kv_files(&small)),
        ("kv-store", "two-segments", kv_files(&large)),
        ("log-batch", "three", batch(3)),
        ("log-batch", "one", batch(1)),
        ("log-files", "sealed", log_files(&rolled)),
        ("log-partition", "short", log_folder(&short)),
        ("log-partition", "rolled", log_folder(&rolled)),
        (
            "view-request",
            "get",
            view::Request::Get { id: 1, at_least: Some((2, Offset(3))), wait_ms: 4, key: key.to_vec() }
                .encode(),
        ),
        ("view-request", "watch", view::Request::Watch.encode()),
        ("view-reply", "value", view::Reply::Value { id: 1, value: Some(b"Ada".to_vec()) }.encode()),
        ("view-reply", "moved", view::Reply::Moved { partition: 1, next: Offset(8) }.encode()),
        ("view-position", "nine", position.encode()),
        ("stress-token", "put", text("put 6b31 89abcdef 1:2,3:4")),
        ("stress-token", "record", text("app stress-0 1.0.17 89abcdef 12")),
        ("stress-token", "keyed", text("app stress-latest-0 1.0.17@5 00000000 12")),
        ("stress-token", "cut", text("cut stress-0 12")),
        ("stress-token", "expired", text("exp stress-latest-0 12")),
        (
            "stress-dump",
            "store",
            text("bad data-0000000001.kv:36 checksum\nval 6b31 89abcdef 1:2\nval 6b32 00000000 -\n"),
        ),
        ("stress-dump", "log", text("end t-0 0 2\nrec t-0 0 1.0.1 89abcdef\nrec t-0 1 1.0.2 01234567\n")),
        (
            "cluster-xml",
            "two-nodes",
            text(
                "<cluster><name>c</name>\n\
                 <server><id>0</id><host>a</host><http-port>1</http-port><socket-port>2</socket-port>\
                 <partitions>0,2</partitions></server>\n\
                 <server><id>1</id><host>b</host><http-port>1</http-port><socket-port>2</socket-port>\
                 <partitions>1, 3</partitions></server></cluster>\n",
            ),
        ),
        (
            "stores-xml",
            "one",
            text(
                "<stores><store><name>s</name><persistence>bdb</persistence><routing>client</routing>\
                 <replication-factor>3</replication-factor><required-reads>2</required-reads>\
                 <required-writes>1</required-writes>\n\
                 <key-serializer><type>string</type></key-serializer>\
                 <value-serializer><type>string</type></value-serializer></store></stores>\n",
            ),
        ),
        ("workload", "spec", text("base = \"member-update\"\nmembers = 9\n")),
        (
            "workload",
            "ycsb",
            text("recordcount=10\noperationcount=20\nreadproportion=0.5\nupdateproportion=0.5\n"),
        ),
        (
            "workload",
            "omb",
            text(
                "name: small\ntopics: 1\npartitionsPerTopic: 2\nmessageSize: 100\npayloadFile: p\nsubscriptionsPerTopic: 1\nproducersPerTopic: 1\nconsumerPerSubscription: 1\nproducerRate: 1000\ntestDurationMinutes: 1\n",
            ),
        ),
        (
            "workload",
            "jsonl",
            text(
                "{\"ts\":1,\"op\":\"put\",\"key\":\"a\",\"value\":\"x\"}\n{\"ts\":2,\"op\":\"delete\",\"key\":\"a\"}\n",
            ),
        ),
        ("workload", "csv", text("ts,key,op,value_bytes\n1,a,put,10\n2,a,delete,0\n")),
        ("workload", "twitter", text("0,a,1,10,1,get,0\n1,a,1,10,1,set,0\n")),
    ]
}

fn clock(nodes: u16) -> VectorClock {
    let entries = (0..nodes).map(|node| (node * 200, u64::from(node) * 300 + 1));
    VectorClock::from_entries(entries, 1_700_000_000_000).expect("in range")
}

/// By hand, from `docs/formats/net-frame.md`: in pieces of five bytes.
fn frames(messages: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![5];
    bytes.extend(b"wb-net\x01\x00");
    bytes.extend(7u32.to_le_bytes());
    bytes.extend(8u64.to_le_bytes());
    bytes.extend([9; 16]);
    for message in messages {
        bytes.extend((message.len() as u32).to_le_bytes());
        bytes.extend(1000u64.to_le_bytes());
        bytes.extend(*message);
    }
    bytes
}

/// By hand, from the original's layout.
fn entries() -> RebalanceRequest<'static> {
    let from = EntriesPosition { shards: 64, shard: 3, after: Some(b"member:1".to_vec()) };
    RebalanceRequest::Entries { ring_version: 1, partitions: vec![0, 2], from, max_bytes: 4096 }
}

fn switch() -> RebalanceRequest<'static> {
    let ring = |nodes| Arc::new(Ring::even(nodes, 4).expect("a ring"));
    let steals = vec![Steal { donor: NodeId(0), partitions: vec![2] }];
    RebalanceRequest::Switch(Box::new(Switch { version: 1, source: ring(2), target: ring(3), steals }))
}

/// Layout, order and ring version, then what the order to switch has: the new ring, that it is rebalancing, the one before, and
/// what it takes.
fn kept_by_a_stealer() -> Vec<u8> {
    let RebalanceRequest::Switch(order) = switch() else { unreachable!("it is one") };
    let ring_bytes = |ring: &Arc<Ring>| {
        let response = Response::Ring { version: 1, ring: Arc::clone(ring) };
        response.encode(RequestId(0))[18..].to_vec()
    };
    let steal = [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
    let head = [1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &ring_bytes(&order.target), &[1], &ring_bytes(&order.source), &steal].concat()
}

fn slop(key: &[u8]) -> Vec<u8> {
    [&[1, 0, 0, 0, 0, 0, 2, 0], key].concat()
}

/// A folder's files.
struct Files(SimHome);

impl Files {
    /// The bytes of a file; none if it isn't there.
    fn get(&self, path: &str) -> Vec<u8> {
        self.0.seen_bytes(path).unwrap_or_default()
    }
}

fn kv_store(keys: u8, value_len: usize) -> Files {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("the machine runs");
    let config = KvConfig { durability: Durability::Os, segment_bytes: 4096, ..KvConfig::default() };
    let (store, _) = Bitcask::open(&mut disk, config).expect("an empty folder");
    let version = |node, count, value: &[u8]| {
        Versioned::new(VectorClock::from_entries([(node, count)], 5).expect("in range"), value)
    };
    for key in 0..keys {
        store.put_through(&[b'k', key], &version(0, 1, &vec![key; value_len])).expect("new");
    }
    store.put_through(b"k\0", &version(1, 1, b"a sibling")).expect("concurrent");
    store.delete_through(b"k\x01", &version(0, 1, b"").clock).expect("it is there");
    Files(home)
}

fn kv_files(files: &Files) -> Vec<u8> {
    let names =
        ["mark", "merged-0000000001.kv", "data-0000000001.hint", "data-0000000001.kv", "data-0000000002.kv"];
    let bytes = names.map(|name| files.get(name));
    join(&bytes.each_ref().map(Vec::as_slice))
}

fn log_partition(batches: usize, value_len: usize) -> Files {
    let home = SimHome::new(Seed(1));
    let config = LogConfig {
        durability: Durability::Os,
        segment_bytes: 8192,
        zero_fill_step_bytes: 4096,
        index_interval_bytes: 1000,
        ..LogConfig::default()
    };
    let (log, _) = SteppedLog::open(home.clone(), config).expect("an empty folder");
    log.create_topic("t", 1).expect("a new topic");
    let mut disk = home.disk().expect("the machine runs");
    let (partition, done) = (TopicPartition::new("t", 0), Arc::new(CompletionQueue::new()));
    let value = vec![b'v'; value_len];
    for _ in 0..batches {
        while log.append(&partition, &[Record::new(b"k", &value)], 5, 0, &done).expect("a healthy log")
            == Appending::NeedsUpkeep
        {
            log.upkeep(&mut disk, Interval::Running);
        }
        while log.upkeep(&mut disk, Interval::Running) {}
    }
    drop(disk);
    log.close().expect("a healthy log");
    Files(home)
}

fn log_files(files: &Files) -> Vec<u8> {
    let names = ["00000000000000000000.index", "durable-end.mark", "00000000000000000000.log"];
    let bytes = names.map(|name| files.get(&format!("t-0/{name}")));
    join(&bytes.each_ref().map(Vec::as_slice))
}

fn log_folder(files: &Files) -> Vec<u8> {
    let names = [
        "durable-end.mark",
        "log-start-offset.mark",
        "leader-epoch-checkpoint",
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
        "00000000000000000003.log",
        "00000000000000000000.log",
    ];
    let bytes = names.map(|name| files.get(&format!("t-0/{name}")));
    join(&bytes.each_ref().map(Vec::as_slice))
}

fn batch(records: usize) -> Vec<u8> {
    let headers = [Header { name: "h", value: Some(b"v") }];
    let record = Record { headers: &headers, ..Record::new(b"key", b"value") };
    EncodedBatch::of(&vec![record; records], 5, Vec::new()).expect("a batch").bytes().to_vec()
}
