//! [`timed_log`]: a cluster of the log with time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{HardwareProfile, Quantity};
use engine_env::{Arrival, Durability, Peer};
use log_engine::{
    BrokerConfig, ClusterLayout, Fetches, Header, LogClientConfig, LogConfig, NO_TIMESTAMP, Offset, Record,
    Session, TopicPartition, partition_for_key,
};

use super::broker::{BrokerProcess, LogCluster};
use crate::cluster::timed::{Answer, Asker, Ended, Figures, Holds, Load, TimedWorld, What, run};
use crate::simulated::subject::told;

/// Producers; the first one also consumes everything.
const CLIENTS: usize = 4;
const TOPIC: &str = "members";
/// Which operation wrote a record.
const NUMBER: &str = "number";
/// What clocks show when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
/// A full one has 256 MiB.
const SEGMENT_BYTES: u64 = 4 << 20;
/// As the store's clients.
const TIMEOUT_MS: u32 = 5_000;
const PAGE_BYTES: f64 = 4096.0;

/// A cluster of the log: acks=all, two in sync at least, one partition for each broker to lead.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedLog {
    /// How many brokers.
    pub brokers: u16,
    /// Copies of each partition.
    pub replicas: u16,
    /// When a replica counts a record as held.
    pub durability: Durability,
    /// How many bytes of records a full-size broker holds, in GiB. The page cache keeps the same share of the preload as it
    /// would keep of these.
    pub node_gib: f64,
    /// What everything follows from.
    pub seed: Seed,
}

/// Runs a load of writes and deletes on a cluster of the log, on machines of that kind; a consumer follows all of it.
///
/// # Errors
/// The load has reads, the cluster can't be built, its preload failed, or its consumer got a record twice.
pub fn timed_log(profile: &HardwareProfile, cluster: &TimedLog, load: &Load) -> Result<Figures, String> {
    if load.asked.iter().any(|asked| asked.what == What::Read) {
        return Err("a log is read in order, not by key: ask it for writes and deletes".to_owned());
    }
    let TimedLog { brokers, replicas, durability, node_gib, seed } = *cluster;
    let partitions = u32::from(brokers);
    let layout = ClusterLayout::even(brokers, &[(TOPIC, partitions)], replicas).map_err(|e| told(&e))?;
    let session = || {
        let config = LogClientConfig { timeout_ms: TIMEOUT_MS, ..LogClientConfig::default() };
        Session::new(layout.clone(), config)
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| LogAsker::new(session(), layout.clone())).collect();
    for partition in 0..partitions {
        clients[0].session.subscribe(&TopicPartition::new(TOPIC, partition), Offset(0));
    }
    let log = LogConfig { durability, segment_bytes: SEGMENT_BYTES, ..LogConfig::default() };
    let broker = BrokerConfig { log, ..BrokerConfig::default() };
    let config = LogCluster { layout: Arc::new(layout.clone()), broker };
    let bytes: usize = load.preload.iter().map(|(key, value)| key.len() + value.len()).sum();
    let node_bytes = bytes as f64 * f64::from(replicas) / f64::from(brokers);
    let cached = profile.value(Quantity::PageCache) / node_gib;
    let pages = (node_bytes * cached / PAGE_BYTES).ceil().max(1.0) as usize;
    let mut world = TimedWorld::<BrokerProcess, _>::new(profile, seed, brokers, config, pages, clients)?;
    run(&mut world, load)
}

/// Where a record is.
type Receipt = (TopicPartition, Offset);

/// A client of the log. Its clock counts milliseconds; what reaches it is handled at once.
struct LogAsker {
    session: Session,
    layout: ClusterLayout,
    /// Where what is under way goes, by its token.
    under_way: BTreeMap<u64, TopicPartition>,
    ended: VecDeque<Ended<Receipt>>,
    seen: VecDeque<u64>,
    /// Timers aren't looked at before.
    floor_ns: u64,
}

impl LogAsker {
    fn new(session: Session, layout: ClusterLayout) -> Self {
        let (under_way, ended, seen) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        Self { session, layout, under_way, ended, seen, floor_ns: 0 }
    }

    fn partition_of(&self, key: &[u8]) -> TopicPartition {
        let partitions = u32::try_from(self.layout.partitions().len()).expect("as many as brokers");
        TopicPartition::new(TOPIC, partition_for_key(key, partitions))
    }

    /// Takes what the session has for its user; a batch that had to wait goes when the one before it is done.
    fn takes(&mut self, now_ns: u64) {
        let (mut done, mut fetches) = (Vec::new(), Fetches::default());
        self.session.hand_out(&mut done, &mut fetches);
        for outcome in done {
            let partition = self.under_way.remove(&outcome.token);
            let result = match outcome.result {
                Ok(offset) => Ok(Answer::Done(partition.zip(offset))),
                Err(error) => Err(told(&error)),
            };
            self.ended.push_back((outcome.token, result));
        }
        for record in fetches.records() {
            let (_, record) = record.expect("nothing rots here");
            let mut headers = record.headers;
            let number = headers.find(|header| header.name == NUMBER).and_then(|header| header.value);
            let number = number.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
            self.seen.push_back(number.expect("every record has its number"));
        }
        self.session.flush(now_ns / NS_PER_MS);
    }
}

impl Asker for LogAsker {
    const IS_FOLLOWED: bool = true;
    type Receipt = Receipt;

    fn begin(&mut self, now_ns: u64, token: u64, key: &[u8], what: &What) {
        let value = match what {
            What::Read => unreachable!("loads with reads are refused"),
            What::Write(value) => Some(value.as_slice()),
            What::Delete => None,
        };
        let number = token.to_le_bytes();
        let headers = [Header { name: NUMBER, value: Some(&number) }];
        let record = Record { key: Some(key), value, timestamp_ms: NO_TIMESTAMP, headers: &headers };
        let partition = self.partition_of(key);
        let now_ms = now_ns / NS_PER_MS;
        let wall_ms = EPOCH_MS + i64::try_from(now_ms).expect("the world is young");
        self.session.produce(now_ms, wall_ms, token, &partition, &record);
        self.under_way.insert(token, partition);
        self.session.flush(now_ms);
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.session.handle(now_ns / NS_PER_MS, arrival);
        self.takes(now_ns);
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.session.poll_timeout().map(|at_ms| (at_ms * NS_PER_MS).max(self.floor_ns))
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.floor_ns = now_ns + NS_PER_MS;
        self.session.handle_timeout(now_ns / NS_PER_MS);
        self.takes(now_ns);
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.session.poll_output()
    }

    fn poll_ended(&mut self) -> Option<Ended<Receipt>> {
        self.ended.pop_front()
    }

    fn poll_seen(&mut self) -> Option<u64> {
        self.seen.pop_front()
    }

    fn replicas(&self, key: &[u8]) -> Vec<u16> {
        let partition = self.partition_of(key);
        let of_it = self.layout.partitions().iter().find(|one| one.partition == partition);
        of_it.map(|one| one.replicas.iter().map(|broker| broker.0).collect()).unwrap_or_default()
    }
}

impl Holds<Receipt> for BrokerProcess {
    fn holds(&self, _key: &[u8], (partition, offset): &Receipt) -> bool {
        let partitions = self.broker.stats().partitions;
        partitions.iter().any(|one| one.partition == *partition && one.held > *offset)
    }
}
