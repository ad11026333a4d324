//! A view with its threads, on real folders, read over the network while it is killed and started again.
#![expect(clippy::disallowed_methods, reason = "these tests are about threads and files")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, Durability, LocalNet, Net, OsHome, Peer, Port, Wait};
use kv_engine::KvConfig;
use log_engine::{Log, LogConfig, Offset, Record, TopicPartition, partition_for_key};
use migration::view::{
    LocalSource, ViewClient, ViewClientConfig, ViewConfig, ViewEvent, ViewReadError, ViewServer,
    ViewStopError,
};

const PARTITIONS: u32 = 3;
const VIEW: Peer = Peer(500);
const READER: Peer = Peer(1000);

fn home(folder: &Path) -> OsHome {
    OsHome::open(folder, Backend::Auto).expect("the folder is free")
}

fn open_log(folder: &Path, durability: Durability) -> Arc<Log<OsHome>> {
    let config = LogConfig { durability, segment_bytes: 1 << 20, ..LogConfig::default() };
    let (log, _) = Log::open(home(folder), config).expect("the log opens");
    log.create_topic("members", PARTITIONS).expect("new, or there already");
    Arc::new(log)
}

fn config(durability: Durability) -> ViewConfig {
    let storage = KvConfig { durability, segment_bytes: 512 << 10, ..KvConfig::default() };
    ViewConfig { storage, commit_bytes: 8 << 10, ..ViewConfig::of("members", PARTITIONS) }
}

fn start(
    net: &LocalNet,
    log: &Arc<Log<OsHome>>,
    folder: &Path,
    durability: Durability,
) -> ViewServer<OsHome> {
    let source = LocalSource::new(Arc::clone(log), "members");
    ViewServer::start(home(folder), net, VIEW, source, &config(durability)).expect("the view starts")
}

/// Writes or deletes a key of the log; gives its place.
fn append(log: &Log<OsHome>, key: &[u8], value: Option<&[u8]>) -> (u32, Offset) {
    let partition = partition_for_key(key, PARTITIONS);
    let record = match value {
        Some(value) => Record::new(key, value),
        None => Record::tombstone(key),
    };
    let at = TopicPartition::new("members", partition);
    (partition, log.append(&at, &[record], 1).expect("a healthy log"))
}

type Answer = Result<Option<Vec<u8>>, ViewReadError>;

/// Waits for the answer to one read; watch events are passed over.
fn read<P: Port>(client: &mut ViewClient<P>, key: &[u8], at_least: Option<(u32, Offset)>) -> Answer {
    client.get(7, key, at_least);
    let mut events = Vec::new();
    loop {
        client.poll(Wait::Forever, &mut events);
        for event in events.drain(..) {
            if let ViewEvent::Read { token, result } = event {
                assert_eq!(token, 7);
                return result;
            }
        }
    }
}

fn contents(view: &ViewServer<OsHome>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    view.for_each(|key, value| drop(all.insert(key.to_vec(), value.to_vec())));
    all
}

fn wait_for(view: &ViewServer<OsHome>, log: &Log<OsHome>) {
    let started = Instant::now();
    let ends: Vec<_> = (0..PARTITIONS)
        .map(|p| log.ends(&TopicPartition::new("members", p)).expect("it is there").end)
        .collect();
    while view.stats().positions.iter().zip(&ends).any(|(position, end)| position.next < *end) {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}, the log ends at {ends:?}", view.stats());
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_sees_its_own_writes_and_otherwise_a_former_state() {
    for durability in [Durability::Os, Durability::Synced] {
        let (log_folder, view_folder) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let log = open_log(log_folder.path(), durability);
        let net = LocalNet::new(Delay::default());
        let view = start(&net, &log, view_folder.path(), durability);
        let mut client = ViewClient::new(net.join(READER).expect("free"), VIEW, ViewClientConfig::default());
        for round in 0..60u32 {
            for key in 0..4u8 {
                let (value, deletes) = (format!("{key}-{round}"), round % 7 == 6);
                let at = append(&log, &[key], (!deletes).then_some(value.as_bytes()));
                // Whatever it is, it was written to this key before.
                if let Some(former) = read(&mut client, &[key], None).expect("eventual reads don't wait") {
                    let former = String::from_utf8(former).expect("text");
                    let (of, when) = former.split_once('-').expect("as it was written");
                    assert_eq!(of, key.to_string());
                    assert!(when.parse::<u32>().expect("a round") <= round, "{former} in round {round}");
                }
                let own = read(&mut client, &[key], Some(at)).expect("it is applied soon");
                assert_eq!(
                    own,
                    (!deletes).then(|| value.into_bytes()),
                    "{durability}, round {round}, key {key}"
                );
            }
        }
        let stats = view.stop().expect("it closes");
        assert_eq!((stats.records, stats.reads), (240, 480));
        assert!(stats.commits > 0 && stats.sent.messages >= 480);
        if durability == Durability::Synced {
            assert!(stats.storage.syncs >= stats.commits);
        }
    }
}

#[test]
fn a_view_killed_and_started_again_ends_where_a_rebuild_ends() {
    for durability in [Durability::Os, Durability::Synced] {
        let (log_folder, view_folder) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let log = open_log(log_folder.path(), durability);
        let writer = Arc::clone(&log);
        let (more, wanted) = mpsc::channel::<u32>();
        let writing = std::thread::spawn(move || {
            let mut i = 0;
            while let Ok(records) = wanted.recv() {
                for _ in 0..records {
                    let key = (i * 7 % 61u32).to_le_bytes();
                    let value = [i.to_le_bytes().as_slice(), &[b'.'; 200]].concat();
                    append(&writer, &key, (i % 11 != 10).then_some(&value));
                    i += 1;
                }
            }
        });
        // Enough for a view to be killed while there is more: a log in `os` outruns any thread that watches it.
        let records = if durability == Durability::Os { 2_000 } else { 200 };
        let (mut in_the_middle, mut before) = (0, 0);
        let applied =
            |view: &ViewServer<OsHome>| view.stats().positions.iter().map(|p| p.next.0).sum::<u64>();
        for life in 1..=8 {
            more.send(records).expect("it writes");
            let net = LocalNet::new(Delay::default());
            let view = start(&net, &log, view_folder.path(), durability);
            while applied(&view) == before && before < life * u64::from(records) {
                std::thread::yield_now();
            }
            before = applied(&view);
            view.kill();
            in_the_middle += u32::from(before != life * u64::from(records));
        }
        drop(more);
        writing.join().expect("it writes");
        let net = LocalNet::new(Delay::default());
        let view = start(&net, &log, view_folder.path(), durability);
        wait_for(&view, &log);
        let live = contents(&view);
        assert!(in_the_middle > 0 && live.len() > 40, "{in_the_middle} kills, {} keys", live.len());
        view.stop().expect("it closes");

        let other_folder = tempfile::tempdir().expect("a folder");
        let rebuilt = start(&LocalNet::new(Delay::default()), &log, other_folder.path(), durability);
        wait_for(&rebuilt, &log);
        assert_eq!(rebuilt.stats().records, 8 * u64::from(records));
        assert_eq!(contents(&rebuilt), live, "{durability}");
        rebuilt.kill();
    }
}

#[test]
fn a_read_without_its_offset_ends_with_an_error_and_a_dead_view_is_named() {
    let (log_folder, view_folder) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let log = open_log(log_folder.path(), Durability::Os);
    let net = LocalNet::new(Delay::default());
    let view = start(&net, &log, view_folder.path(), Durability::Os);
    let config = ViewClientConfig { timeout_ms: 50 };
    let mut client = ViewClient::new(net.join(READER).expect("free"), VIEW, config);
    let (partition, offset) = append(&log, b"k", Some(b"v"));
    assert_eq!(read(&mut client, b"k", Some((partition, offset))), Ok(Some(b"v".to_vec())));
    let later = read(&mut client, b"k", Some((partition, offset.plus(1))));
    assert_eq!(later, Err(ViewReadError::NotApplied { next: offset.plus(1) }));
    let nowhere = read(&mut client, b"k", Some((PARTITIONS, offset)));
    assert!(
        matches!(&nowhere, Err(ViewReadError::Failed { why }) if why.contains("partition 3")),
        "{nowhere:?}"
    );

    client.watch();
    let at = append(&log, b"k", Some(b"w"));
    let mut events = Vec::new();
    let has_moved =
        |events: &[ViewEvent]| events.contains(&ViewEvent::Moved { partition: at.0, next: at.1.plus(1) });
    while !has_moved(&events) {
        client.poll(Wait::Forever, &mut events);
    }
    assert_eq!(read(&mut client, b"k", None), Ok(Some(b"w".to_vec())));

    view.kill();
    let dead = read(&mut client, b"k", None);
    assert!(matches!(dead, Err(ViewReadError::Unreachable { .. })), "{dead:?}");
    // A new view at the same place answers the same reader.
    let view = start(&net, &log, view_folder.path(), Durability::Os);
    assert_eq!(read(&mut client, b"k", Some(at)), Ok(Some(b"w".to_vec())));
    view.stop().expect("it closes");
}

/// A view that is ahead of its log follows another log than the one it was built from, or that log lost its end.
#[test]
fn a_view_that_can_not_go_on_says_why_and_still_answers() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let log = open_log(folders[0].path(), Durability::Os);
    let at = append(&log, b"k", Some(b"v"));
    let net = LocalNet::new(Delay::default());
    let view = start(&net, &log, folders[1].path(), Durability::Os);
    wait_for(&view, &log);
    view.stop().expect("it closes");
    let other = open_log(folders[2].path(), Durability::Os);
    let view = start(&net, &other, folders[1].path(), Durability::Os);
    let mut client = ViewClient::new(net.join(READER).expect("free"), VIEW, ViewClientConfig::default());
    assert_eq!(read(&mut client, b"k", Some(at)), Ok(Some(b"v".to_vec())));
    while view.stats().stopped.is_none() {
        std::thread::yield_now();
    }
    assert_eq!(read(&mut client, b"k", None), Ok(Some(b"v".to_vec())));
    let stopped = view.stop().expect_err("it had stopped applying");
    assert!(matches!(&stopped, ViewStopError::Stopped { why } if why.contains("lies outside")), "{stopped}");
}
