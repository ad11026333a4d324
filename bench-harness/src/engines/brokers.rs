//! The brokers that `log-cluster` and `log-view` have in common: their settings, and how they are started.

use std::str::FromStr;

use engine_env::{Net, OsHome, Peer, Port, PortStats};
use log_engine::{
    Acks, Broker, BrokerConfig, BrokerId, ClusterLayout, Fetching, LogClient, LogClientConfig,
    TopicPartition, partition_for_key,
};

use super::caught_up::CaughtUp;
use super::cluster::{ClusterPlan, Member, Members, Switch, bounded};
use super::outage::OutageWatch;
use crate::engine::{EngineError, EngineStats, Place, Setting};
use crate::report::record::Replication;

pub(super) const TOPIC: &str = "members";
const PARTITIONS: u16 = 3;

/// Records that a client has under way, at most: what a network holds for one that doesn't read is bounded.
pub(super) const IN_FLIGHT_MAX: usize = 8192;

/// When the leader says yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AcksSetting(Acks);

impl FromStr for AcksSetting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "all" => Ok(Self(Acks::All)),
            "1" => Ok(Self(Acks::Leader)),
            "0" => Ok(Self(Acks::None)),
            _ => Err(()),
        }
    }
}

/// How a consumer gets new records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SubscribeSetting(Fetching);

/// What a consumer that polls lets pass between two questions, in milliseconds.
pub(super) const POLL_EVERY_MS: u64 = 10;

impl FromStr for SubscribeSetting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "push" => Ok(Self(LogClientConfig::default().fetching)),
            "pull" => Ok(Self(Fetching::Poll { every_ms: POLL_EVERY_MS })),
            _ => Err(()),
        }
    }
}

/// Settings of the brokers and their clients.
#[derive(Debug, Clone)]
pub(super) struct BrokersPlan {
    pub(super) cluster: ClusterPlan,
    pub(super) layout: ClusterLayout,
    /// All partitions of the topic, by number.
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) producer: LogClientConfig,
    /// Of whoever follows the topic.
    pub(super) consumer: LogClientConfig,
    broker: BrokerConfig,
    /// Copies that an acknowledged write has while all are in sync; 0 where nobody waits for all.
    pub(super) copies_awaited: u16,
}

const COPIES: &str = "a number of copies, 1 to the number of nodes";
const MIN_ISR: &str = "a number of copies, 1 to n";

/// Copies, and how many of them must be in sync.
fn copies(place: &Place) -> Result<(u16, u16), EngineError> {
    let n = bounded(place, "n", 3, 1..=64, COPIES)?;
    Ok((n, bounded(place, "min-isr", n / 2 + 1, 1..=n, MIN_ISR)?))
}

fn acks(place: &Place) -> Result<Acks, EngineError> {
    place.setting("acks", AcksSetting(Acks::All), "all, 1 or 0").map(|setting| setting.0)
}

/// As the report says it.
pub(super) fn replication(place: &Place) -> Option<Replication> {
    let (n, min_isr) = copies(place).ok()?;
    let acks = match acks(place).ok()? {
        Acks::All => "all",
        Acks::Leader => "1",
        Acks::None => "0",
    };
    Some(Replication::InSync { n: n.into(), acks: acks.to_owned(), min_isr: min_isr.into() })
}

impl BrokersPlan {
    pub(super) fn settings() -> Vec<Setting> {
        let (broker, client) = (BrokerConfig::default(), LogClientConfig::default());
        let mut settings = ClusterPlan::settings();
        let mut add = |name, default: String, meaning| settings.push(Setting { name, default, meaning });
        add("n", "3".to_owned(), "copies of each partition, the leader's included");
        add(
            "acks",
            "all".to_owned(),
            "when a write is acknowledged: all (every copy in sync has it), 1 (the leader has it), 0 (it was sent)",
        );
        add(
            "min-isr",
            "more than half of n".to_owned(),
            "with acks all: copies that must be in sync, or writes are refused",
        );
        add(
            "partitions",
            PARTITIONS.to_string(),
            "partitions of the topic; leaders go round the nodes, keys are spread by Kafka's hash",
        );
        add(
            "batching",
            "on".to_owned(),
            "on: writes that come while a batch is under way go together in the next one; off: each is a batch and a message of its own",
        );
        add("batch-bytes", client.batch_bytes.to_string(), "a batch has at most this many bytes");
        add(
            "subscribe",
            "push".to_owned(),
            "how followers of the topic get new records: push (the leader keeps the question until there is something) or pull (asked again 10 ms after each answer)",
        );
        add(
            "timeout-ms",
            TIMEOUT_MS.to_string(),
            "how long a write may wait for its acknowledgement, milliseconds",
        );
        add(
            "replica-lag-ms",
            broker.replica_lag_ms.to_string(),
            "a copy that is later than this counts as out of sync, milliseconds",
        );
        add(
            "segment-bytes",
            broker.log.segment_bytes.to_string(),
            "size at which a segment is left for the next one, bytes",
        );
        settings
    }

    pub(super) fn of(place: &Place) -> Result<Self, EngineError> {
        let cluster = ClusterPlan::of(place)?;
        let (n, min_isr) = copies(place)?;
        if n > cluster.nodes {
            let got = format!("{n} copies on {} nodes", cluster.nodes);
            return Err(EngineError::BadSetting { name: "n", got, expects: COPIES });
        }
        let count = bounded(place, "partitions", PARTITIONS, 1..=1024, "a number of partitions, 1 to 1024")?;
        let mut broker = BrokerConfig { min_isr, ..BrokerConfig::default() };
        broker.replica_lag_ms = place.setting("replica-lag-ms", broker.replica_lag_ms, "milliseconds")?;
        broker.log.durability = place.durability;
        broker.log.segment_bytes =
            place.setting("segment-bytes", broker.log.segment_bytes, "a number of bytes")?;
        let SubscribeSetting(fetching) = place.setting(
            "subscribe",
            SubscribeSetting(LogClientConfig::default().fetching),
            "push or pull",
        )?;
        let Switch(batching) = place.setting("batching", Switch(true), "on or off")?;
        let consumer = LogClientConfig { fetching, ..LogClientConfig::default() };
        let producer = LogClientConfig {
            acks: acks(place)?,
            batching,
            batch_bytes: place.setting("batch-bytes", consumer.batch_bytes, "a number of bytes")?,
            timeout_ms: place.setting("timeout-ms", TIMEOUT_MS, "milliseconds")?.max(1),
            ..LogClientConfig::default()
        };
        let layout = ClusterLayout::even(cluster.nodes, &[(TOPIC, u32::from(count))], n)
            .map_err(EngineError::engine)?;
        let partitions = (0..u32::from(count)).map(|number| TopicPartition::new(TOPIC, number)).collect();
        // Who doesn't wait for all misses none.
        let copies_awaited = if producer.acks == Acks::All { n } else { 0 };
        Ok(Self { cluster, layout, partitions, producer, consumer, broker, copies_awaited })
    }

    /// The partition that a key belongs to.
    pub(super) fn partition_of(&self, key: &[u8]) -> u32 {
        match u32::try_from(self.partitions.len()).expect("at most 1024") {
            1 => 0,
            count => partition_for_key(key, count),
        }
    }

    pub(super) fn start<N: Net>(&self, net: &N) -> Result<Members<Broker<OsHome>>, EngineError> {
        let (homes, net) = (self.cluster.homes(), net.clone());
        let (layout, config) = (self.layout.clone(), self.broker.clone());
        let mut caught_up = CaughtUp::new(&self.layout);
        Members::start(
            &self.cluster,
            move |number| {
                let home = homes.open("broker", number)?;
                Broker::start(home, &net, BrokerId(number), layout.clone(), config.clone())
                    .map_err(EngineError::engine)
            },
            move |brokers, number| {
                let stats: Vec<_> = brokers.iter().flatten().map(Broker::stats).collect();
                caught_up.look(BrokerId(number), &stats)
            },
        )
    }

    /// Tells the watch of an outage of a write to this partition.
    pub(super) fn handed_over(&self, outage: &mut Option<OutageWatch>, token: u64, partition: u32) {
        if let Some(outage) = outage {
            let name = &self.partitions[partition as usize];
            outage.handed_over(token, || self.layout.leader(name).expect("it is of the layout").0);
        }
    }

    /// Whoever follows the topic, as a client of its own.
    pub(super) fn consumer<N: Net>(&self, net: &N, me: Peer) -> Result<LogClient<N::Port>, EngineError> {
        let port = net.join(me).map_err(EngineError::engine)?;
        Ok(LogClient::new(port, self.layout.clone(), self.consumer.clone()))
    }

    pub(super) fn producer<P: Port>(&self, port: P) -> LogClient<P> {
        LogClient::new(port, self.layout.clone(), self.producer.clone())
    }
}

/// Longer than a copy may be late before it counts as out of sync: so a copy that dies costs time, not writes.
const TIMEOUT_MS: u32 = 15_000;

pub(super) fn sent(port: PortStats) -> EngineStats {
    EngineStats { messages: port.messages, message_bytes: port.bytes, ..EngineStats::default() }
}

impl Member for Broker<OsHome> {
    fn counted(&self) -> EngineStats {
        let stats = self.stats();
        EngineStats {
            written_bytes: stats.log.written_bytes,
            syncs: stats.log.syncs,
            tail_events: stats.log.rolls,
            messages: stats.messages,
            message_bytes: stats.message_bytes,
            ..EngineStats::default()
        }
    }

    fn kill(self) {
        Self::kill(self);
    }

    fn stop(self) -> Result<(), EngineError> {
        Self::stop(self).map_err(EngineError::engine)
    }
}
