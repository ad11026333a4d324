//! Three brokers with their threads and folders, over both networks of a machine: a broker is killed in the middle of a
//! stream of records and comes back. Nothing acknowledged is lost, and a consumer sees each record once, in order.

#![expect(clippy::disallowed_methods, reason = "a test has threads and looks at files")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine_env::{Backend, Delay, LocalNet, Net, OsHome, Peer, TcpNet, Wait};
use log_engine::{
    Acks, Broker, BrokerConfig, BrokerId, BrokerStats, ClusterLayout, Durability, Fetches, FindTimeError,
    LogClient, LogClientConfig, LogConfig, Offset, ProduceError, ProduceOutcome, Record, TopicPartition,
};

const PARTITIONS: u32 = 3;

struct Cluster<N: Net> {
    net: N,
    layout: ClusterLayout,
    config: BrokerConfig,
    folders: Vec<tempfile::TempDir>,
    brokers: Vec<Option<Broker<OsHome>>>,
}

fn config(durability: Durability) -> BrokerConfig {
    let log = LogConfig {
        durability,
        segment_bytes: 128 << 10,
        zero_fill_step_bytes: 32 << 10,
        ..LogConfig::default()
    };
    BrokerConfig { log, min_isr: 2, replica_lag_ms: 300, follow_wait_ms: 50, ..BrokerConfig::default() }
}

impl<N: Net> Cluster<N> {
    fn start(net: N, durability: Durability) -> Self {
        Self::start_with(net, config(durability))
    }

    fn start_with(net: N, config: BrokerConfig) -> Self {
        let mut cluster = Self {
            net,
            layout: ClusterLayout::even(3, &[("t", PARTITIONS)], 3).expect("it fits"),
            config,
            folders: (0..3).map(|_| tempfile::tempdir().expect("a temporary folder")).collect(),
            brokers: vec![None, None, None],
        };
        (0..3).for_each(|id| cluster.bring_up(id));
        cluster
    }

    fn bring_up(&mut self, id: u16) {
        let home =
            OsHome::open(self.folders[usize::from(id)].path(), Backend::Auto).expect("the folder opens");
        let broker = Broker::start(home, &self.net, BrokerId(id), self.layout.clone(), self.config.clone());
        self.brokers[usize::from(id)] = Some(broker.expect("the broker starts"));
    }

    fn kill(&mut self, id: u16) {
        self.brokers[usize::from(id)].take().expect("it is up").kill();
    }

    fn stats(&self, id: u16) -> BrokerStats {
        self.brokers[usize::from(id)].as_ref().expect("it is up").stats()
    }

    fn client(&self, peer: u32) -> LogClient<N::Port> {
        let port = self.net.join(Peer(peer)).expect("a free name");
        LogClient::new(port, self.layout.clone(), client_config())
    }

    /// Waits until each leader has all three in sync and every log ends where its leader's does.
    fn wait_until_whole(&self) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let mut ends: BTreeMap<TopicPartition, Vec<(Offset, Offset)>> = BTreeMap::new();
            let mut whole = true;
            for id in 0..3 {
                for one in self.stats(id).partitions {
                    whole &= one.leader != BrokerId(id) || one.isr.len() == 3;
                    ends.entry(one.partition).or_default().push((one.end, one.high_watermark));
                }
            }
            if whole && ends.values().all(|all| all.iter().all(|one| one == &all[0])) {
                return;
            }
            assert!(Instant::now() < limit, "never whole again: {ends:?}");
            std::thread::yield_now();
        }
    }
}

fn client_config() -> LogClientConfig {
    LogClientConfig { acks: Acks::All, timeout_ms: 5000, ..LogClientConfig::default() }
}

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    acked: BTreeMap<(u32, u64), u64>,
    consumed: BTreeMap<u32, Vec<u64>>,
    refused: usize,
}

impl Seen {
    fn take(&mut self, done: &mut Vec<ProduceOutcome>, fetches: &mut Fetches) {
        for one in done.drain(..) {
            match one.result {
                Ok(offset) => {
                    assert!(one.copies >= 2, "acknowledged with {} copies", one.copies);
                    let place = ((one.token % u64::from(PARTITIONS)) as u32, offset.expect("acks=all").0);
                    assert_eq!(self.acked.insert(place, one.token), None, "{place:?} was given twice");
                }
                Err(
                    ProduceError::Disconnected { .. }
                    | ProduceError::TimedOut { .. }
                    | ProduceError::NotEnoughReplicas { .. }
                    | ProduceError::NotEnoughReplicasAfterAppend { .. },
                ) => self.refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(fetches.ended().is_empty(), "{:?}", fetches.ended());
        for record in fetches.records() {
            let (from, record) = record.expect("whole records");
            let list = self.consumed.entry(from.partition).or_default();
            assert_eq!(record.offset.0, list.len() as u64, "each offset once, in order");
            let value: [u8; 8] = record.value.expect("a value")[..8].try_into().expect("eight bytes");
            list.push(u64::from_le_bytes(value));
        }
        fetches.clear();
    }
}

/// Records flow while `victim` dies and comes back.
fn one_dies_and_returns<N: Net>(net: N, durability: Durability, victim: u16) {
    let mut cluster = Cluster::start(net, durability);
    let mut producer = cluster.client(1000);
    let mut consumer = cluster.client(1001);
    (0..PARTITIONS).for_each(|p| consumer.subscribe(&tp(p), Offset(0)));
    let (mut done, mut fetches, mut seen) = (Vec::new(), Fetches::default(), Seen::default());
    let (mut token, mut outages) = (0u64, 0);
    let limit = Instant::now() + Duration::from_secs(40);
    let (mut down_since, mut killed) = (None, false);
    let mut after = 0;
    while after < 300 || producer.pending() > 0 {
        assert!(Instant::now() < limit, "{} acknowledged, {} pending", seen.acked.len(), producer.pending());
        if producer.pending() < 64 && after < 300 {
            for _ in 0..16 {
                let mut value = vec![7; 200];
                value[..8].copy_from_slice(&token.to_le_bytes());
                producer.produce(token, &tp((token % u64::from(PARTITIONS)) as u32), None, Some(&value));
                token += 1;
            }
        }
        producer.poll(Wait::AtMost(Duration::from_millis(5)), &mut done, &mut fetches);
        consumer.poll(Wait::No, &mut done, &mut fetches);
        let before = seen.acked.len();
        seen.take(&mut done, &mut fetches);
        if !killed && seen.acked.len() > 500 {
            cluster.kill(victim);
            (killed, down_since) = (true, Some(Instant::now()));
        }
        // Longer than the lag: those in sync have to become fewer.
        if down_since.is_some_and(|at| at.elapsed() > Duration::from_millis(700)) {
            cluster.bring_up(victim);
            down_since = None;
            outages += 1;
        }
        if outages == 1 {
            after += seen.acked.len() - before;
        }
    }
    cluster.wait_until_whole();
    let end_of = |p: u32| {
        let stats = cluster.stats(0);
        stats.partitions.into_iter().find(|one| one.partition == tp(p)).expect("it is hosted").end
    };
    for p in 0..PARTITIONS {
        while consumer.position(&tp(p)).expect("subscribed") < end_of(p) {
            assert!(Instant::now() < limit, "the consumer never gets to the end");
            consumer.poll(Wait::AtMost(Duration::from_millis(50)), &mut done, &mut fetches);
            seen.take(&mut done, &mut fetches);
        }
    }
    for (&(partition, offset), &token) in &seen.acked {
        let consumed = seen.consumed[&partition].get(offset as usize);
        assert_eq!(consumed, Some(&token), "partition {partition}, offset {offset}");
    }
    let leaders: Vec<_> = (0..3).filter(|&id| id != victim).map(|id| cluster.stats(id)).collect();
    let shrinks: u64 = leaders.iter().flat_map(|s| &s.partitions).map(|p| p.isr_shrinks).sum();
    let expands: u64 = leaders.iter().flat_map(|s| &s.partitions).map(|p| p.isr_expands).sum();
    assert!(
        shrinks >= 2 && expands >= 2,
        "each other leader loses it and takes it back: {shrinks}, {expands}"
    );
    assert!(leaders.iter().all(|s| s.truncated_below_high_watermark == 0 && s.messages_refused == 0));
    assert!(seen.refused > 0, "what it led can't go on without it");
    for broker in cluster.brokers.into_iter().flatten() {
        broker.stop().expect("it closes");
    }
}

fn tcp() -> TcpNet {
    TcpNet::loopback(&[Peer(0), Peer(1), Peer(2)], Delay::default()).expect("free ports")
}

#[test]
fn a_broker_dies_and_returns_within_a_process() {
    one_dies_and_returns(LocalNet::new(Delay::default()), Durability::Os, 1);
    one_dies_and_returns(LocalNet::new(Delay::default()), Durability::Synced, 2);
}

#[test]
fn a_broker_dies_and_returns_over_tcp() {
    one_dies_and_returns(tcp(), Durability::Os, 0);
    one_dies_and_returns(tcp(), Durability::Synced, 1);
}

#[test]
fn acks_decide_what_is_waited_for() {
    let cluster = Cluster::start(LocalNet::new(Delay::default()), Durability::Os);
    for (peer, acks, copies) in
        [(1000, Acks::None, 0..=0), (1001, Acks::Leader, 1..=3), (1002, Acks::All, 3..=3)]
    {
        let port = cluster.net.join(Peer(peer)).expect("a free name");
        let mut client =
            LogClient::new(port, cluster.layout.clone(), LogClientConfig { acks, ..client_config() });
        client.produce(9, &tp(0), Some(b"k"), Some(b"v"));
        let (mut done, mut fetches) = (Vec::new(), Fetches::default());
        while done.is_empty() {
            client.poll(Wait::Forever, &mut done, &mut fetches);
        }
        let outcome = done.remove(0);
        assert!(copies.contains(&outcome.copies), "{acks:?}: {outcome:?}");
        assert_eq!(outcome.result.expect("stored").is_none(), acks == Acks::None);
    }
}

#[test]
fn with_too_few_in_sync_nothing_is_appended() {
    let mut cluster = Cluster::start(LocalNet::new(Delay::default()), Durability::Os);
    let mut client = cluster.client(1000);
    cluster.kill(1);
    cluster.kill(2);
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        client.produce(1, &tp(0), None, Some(b"value"));
        while done.is_empty() {
            client.poll(Wait::Forever, &mut done, &mut fetches);
        }
        match done.remove(0).result {
            Err(ProduceError::NotEnoughReplicas { in_sync: 1, min_isr: 2, .. }) => break,
            Err(ProduceError::NotEnoughReplicasAfterAppend { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < limit);
    }
    let end = cluster.stats(0).partitions[0].end;
    cluster.bring_up(1);
    cluster.bring_up(2);
    cluster.wait_until_whole();
    assert_eq!(cluster.stats(0).partitions[0].end, end);
    client.produce(2, &tp(0), None, Some(b"value"));
    while done.is_empty() {
        client.poll(Wait::Forever, &mut done, &mut fetches);
    }
    assert_eq!(done[0].result.as_ref().expect("there are enough again"), &Some(end));
}

/// Produces one record after the other, each of its time, and waits for all.
fn produce_at<N: Net>(client: &mut LogClient<N::Port>, to: &TopicPartition, times_ms: &[i64]) {
    for (token, &timestamp_ms) in (0..).zip(times_ms) {
        let record = Record { timestamp_ms, ..Record::of_value(b"value") };
        client.produce_record(token, to, &record);
        client.flush();
    }
    let mut done = Vec::new();
    while done.len() < times_ms.len() {
        client.poll(Wait::Forever, &mut done, &mut Fetches::default());
    }
    assert!(done.iter().all(|one| one.result.is_ok()), "{done:?}");
}

#[test]
fn a_client_finds_where_a_time_begins_by_asking_the_leader() {
    fn check<N: Net>(net: N) {
        let mut cluster = Cluster::start(net, Durability::Os);
        let mut client = cluster.client(1000);
        let times: Vec<i64> = (1..=40).map(|i| 1000 + 10 * i).collect();
        produce_at::<N>(&mut client, &tp(2), &times);
        let mut find = |partition, ms| client.offset_for_time(&tp(partition), ms).expect("a leader answers");
        assert_eq!(find(2, 0).map(|f| (f.offset, f.timestamp_ms)), Some((Offset(0), 1010)));
        assert_eq!(find(2, 1206).map(|f| (f.offset, f.timestamp_ms)), Some((Offset(20), 1210)));
        assert_eq!(find(2, 1400).map(|f| f.offset), Some(Offset(39)));
        assert_eq!(find(2, 1401), None);
        assert_eq!(find(0, 0), None, "nothing is there");
        let unknown = client.offset_for_time(&TopicPartition::new("other", 0), 0).expect_err("no such topic");
        assert!(matches!(unknown, FindTimeError::UnknownPartition { .. }), "{unknown}");
        // What it finds is where a subscription may begin.
        let at =
            client.offset_for_time(&tp(2), 1350).expect("a leader answers").expect("there is one").offset;
        client.subscribe(&tp(2), at);
        let (mut done, mut fetches) = (Vec::new(), Fetches::default());
        client.poll(Wait::Forever, &mut done, &mut fetches);
        let first = fetches.records().next().expect("one came").expect("whole").1.timestamp_ms;
        assert_eq!(first, 1350);
        cluster.kill(2);
        let port = cluster.net.join(Peer(1001)).expect("a free name");
        let config = LogClientConfig { timeout_ms: 300, ..client_config() };
        let mut impatient = LogClient::new(port, cluster.layout.clone(), config);
        let error = impatient.offset_for_time(&tp(2), 0).expect_err("its leader is gone");
        assert!(matches!(error, FindTimeError::TimedOut { broker: BrokerId(2), .. }), "{error}");
        cluster.bring_up(2);
        assert_eq!(
            client.offset_for_time(&tp(2), 1206).expect("it is back").map(|f| f.offset),
            Some(Offset(20))
        );
    }
    check(LocalNet::new(Delay::default()));
    check(tcp());
}

#[test]
fn with_append_time_the_leader_gives_the_time_and_all_copies_have_it() {
    let log = LogConfig { append_time_topics: vec!["t".to_owned()], ..config(Durability::Os).log };
    let cluster =
        Cluster::start_with(LocalNet::new(Delay::default()), BrokerConfig { log, ..config(Durability::Os) });
    let mut client = cluster.client(1000);
    let before = engine_env::clock::wall_ms();
    produce_at::<LocalNet>(&mut client, &tp(0), &[7, 5_000_000_000_000, 9]);
    let after = engine_env::clock::wall_ms();
    client.subscribe(&tp(0), Offset(0));
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    while fetches.records().count() < 3 {
        client.poll(Wait::Forever, &mut done, &mut fetches);
    }
    for record in fetches.records() {
        let time = record.expect("its checksum is right").1.timestamp_ms;
        assert!((before..=after).contains(&time), "{time} is not between {before} and {after}");
    }
    cluster.wait_until_whole();
}

#[test]
fn an_idle_cluster_says_little() {
    let cluster = Cluster::start(LocalNet::new(Delay::default()), Durability::Os);
    cluster.wait_until_whole();
    let mut client = cluster.client(1000);
    (0..PARTITIONS).for_each(|p| client.subscribe(&tp(p), Offset(0)));
    let sent = || (0..3).map(|id| cluster.stats(id).messages).sum::<u64>();
    let before = sent();
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    client.poll(Wait::AtMost(Duration::from_millis(300)), &mut done, &mut fetches);
    // Six questions between brokers, kept for 50 ms each, and their answers.
    let said = sent() - before;
    assert!(said <= 12 * (300 / 50 + 2), "{said} messages in 300 ms");
    assert!(done.is_empty() && fetches.is_empty());
}

#[test]
fn many_records_share_a_message() {
    let cluster = Cluster::start(LocalNet::new(Delay::default()), Durability::Os);
    let mut client = cluster.client(1000);
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    let (mut token, mut finished) = (0u64, 0);
    while finished < 5000 {
        while client.pending() < 256 {
            client.produce(token, &tp((token % 3) as u32), None, Some(&[1; 100]));
            token += 1;
        }
        client.poll(Wait::Forever, &mut done, &mut fetches);
        assert!(done.iter().all(|one| one.result.is_ok()));
        finished += done.drain(..).count();
    }
    let messages: u64 = (0..3).map(|id| cluster.stats(id).messages).sum::<u64>() + client.stats().messages;
    assert!(messages < finished as u64, "{messages} messages for {finished} records and two copies of each");
}

#[test]
fn without_batching_and_by_polling_the_same_records_come() {
    let cluster = Cluster::start(LocalNet::new(Delay::default()), Durability::Os);
    let port = cluster.net.join(Peer(1000)).expect("a free name");
    let fetching = log_engine::Fetching::Poll { every_ms: 2 };
    let config = LogClientConfig { batching: false, fetching, ..client_config() };
    let mut client = LogClient::new(port, cluster.layout.clone(), config);
    client.subscribe(&tp(1), Offset(0));
    for token in 0..50u64 {
        client.produce(token, &tp(1), None, Some(&token.to_le_bytes()));
    }
    let (mut done, mut fetches) = (Vec::new(), Fetches::default());
    while done.len() < 50 || fetches.records().count() < 50 {
        client.poll(Wait::Forever, &mut done, &mut fetches);
    }
    for (record, expected) in fetches.records().zip(0u64..) {
        let (_, record) = record.expect("a whole record");
        assert_eq!(
            (record.offset, record.value),
            (Offset(expected), Some(expected.to_le_bytes().as_slice()))
        );
    }
    let leader = cluster.stats(1);
    assert_eq!(leader.batches_appended, 50, "each record was a batch of its own");
}
