//! [`KvClusterEngine`]: a cluster of key-value stores, asked by a client in the driver's thread.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use engine_env::clock::wall_ms;
use engine_env::{LocalNet, Net, Peer, Port, TcpNet, Wait};
use kv_engine::{
    AntiEntropyConfig, ClientConfig, FollowConfig, Following, HandoffStrategy, KvAnswer, KvClient, KvConfig,
    KvFollower, KvNode, KvOpError, KvOutcome, NodeConfig, NodeHomes, NodeId, Replication as Quorums, Resolve,
    Ring, VectorClock, resolve_by_time,
};
use workloads::{Access, Op, Promise};

use super::brokers::{POLL_EVERY_MS, sent};
use super::cluster::{
    ClusterPlan, DRIVER, Member, Members, SUBSCRIBER, SURVEYOR, Switch, Transport, bounded,
};
use super::feeds_follower::FeedsFollower;
use super::kv_outage::{KvOutage, lock};
use super::missed_keys::MissedKeys;
use super::subscriber::Subscriber;
use crate::engine::{
    Answer, Capabilities, Completion, CopiesAtAck, Engine, EngineError, EngineStats, OpError, Place, Session,
    Setting, Submit, Token, Visible,
};
use crate::report::record::{NodeLoad, Recovery, Replication};

/// The cluster of key-value stores, adapted.
#[derive(Debug, Clone, Copy, Default)]
pub struct KvClusterEngine;

/// Operations that the client has under way, at most: what a network holds for one that doesn't read is bounded.
const IN_FLIGHT_MAX: usize = 8192;
const PARTITIONS: u32 = 48;

/// How many copies, and how many must answer.
#[derive(Debug, Clone, Copy)]
struct Counts {
    n: u16,
    r: u16,
    w: u16,
}

impl Counts {
    fn of(place: &Place) -> Result<Self, EngineError> {
        let n = bounded(place, "n", 3, 1..=64, "a number of copies, 1 to the number of nodes")?;
        let majority = n / 2 + 1;
        Ok(Self {
            n,
            r: bounded(place, "r", majority, 1..=n, "a number of answers, 1 to n")?,
            w: bounded(place, "w", majority, 1..=n, "a number of acknowledgements, 1 to n")?,
        })
    }
}

/// How the subscriber gets changes, if there is one.
#[derive(Debug, Clone, Copy)]
struct SubscribeSetting(Option<Following>);

impl FromStr for SubscribeSetting {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "push" => Ok(Self(Some(Following::Push))),
            "pull" => Ok(Self(Some(Following::Pull { every_ms: POLL_EVERY_MS }))),
            "off" => Ok(Self(None)),
            _ => Err(()),
        }
    }
}

impl Engine for KvClusterEngine {
    fn name(&self) -> &'static str {
        "kv-cluster"
    }

    fn about(&self) -> &'static str {
        "A cluster of key-value stores after Voldemort: three nodes, each with its own folder and threads, and each \
         member's value on all three. The client is in the driver's thread and speaks to the nodes over a network. An \
         update reads the versions that two nodes have, then sends the whole new value to one node, then to the others, \
         and is acknowledged when two nodes have it. A read asks two nodes and returns the newest value that they have: \
         one of them has the last acknowledged update. With other settings other numbers of nodes must answer; where they \
         don't overlap, a read may miss the last update. There are no deletes unless replica tombstones are on: in the \
         original a delete leaves nothing behind, so a node that hears of it late brings the value back. A subscriber on a thread of its own follows \
         the changes that each node tells of its own store; when as many have shown a write as must have it before it is \
         acknowledged, it counts as visible."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { reads: true, deletes: false, durable: true }
    }

    fn settings(&self) -> Vec<Setting> {
        let config = KvConfig::default();
        let mut settings = ClusterPlan::settings();
        let mut add = |name, default: String, meaning| settings.push(Setting { name, default, meaning });
        add("n", "3".to_owned(), "copies of each value");
        add("r", "more than half of n".to_owned(), "nodes that must answer a read");
        add("w", "more than half of n".to_owned(), "nodes that must have a write before it is acknowledged");
        add(
            "partitions",
            PARTITIONS.to_string(),
            "parts of the key space that the ring deals out to the nodes",
        );
        add(
            "version-read",
            "on".to_owned(),
            "on: an update reads the stored versions first; off: it descends from what this client wrote last, and reads only when that is obsolete",
        );
        add(
            "replica-tombstones",
            "off".to_owned(),
            "on: a delete leaves a version that says so, and reads and later updates go by it; off: there are no deletes",
        );
        add(
            "anti-entropy-ms",
            "off".to_owned(),
            "how long after one comparison of hash trees with its peers a node begins the next, milliseconds, or off: both get what they lack",
        );
        add(
            "handoff-ms",
            "off".to_owned(),
            "how often a node delivers the hints that it keeps for one that is away, milliseconds, or off: nobody keeps hints, and what a node missed it gets from reads and later writes alone",
        );
        add(
            "subscribe",
            "push".to_owned(),
            "how the subscriber gets changes: push (a node keeps the question until there is something), pull (asked again 10 ms after each answer) or off (nobody follows)",
        );
        add(
            "visible-copies",
            "w".to_owned(),
            "nodes that must have shown a write before it counts as visible",
        );
        add("timeout-ms", "5000".to_owned(), "how long one round of an operation may take, milliseconds");
        add(
            "segment-bytes",
            config.segment_bytes.to_string(),
            "size at which a node leaves a segment for the next one, bytes",
        );
        add(
            "merge-bytes-per-s",
            config.merge_bytes_per_s.to_string(),
            "how fast each node's merge may read and write, bytes per second",
        );
        settings
    }

    fn replication(&self, place: &Place) -> Option<Replication> {
        let Counts { n, r, w } = Counts::of(place).ok()?;
        Some(Replication::Quorum { n: n.into(), r: r.into(), w: w.into() })
    }

    fn promise(&self, place: &Place) -> Promise {
        match Counts::of(place) {
            Ok(Counts { n, r, w }) if r + w <= n => Promise::PartialQuorum,
            _ => Promise::Quorum,
        }
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let plan = ClusterPlan::of(place)?;
        match plan.transport {
            Transport::Local => open(place, &plan, LocalNet::new(plan.profile)),
            Transport::Tcp => {
                let net = TcpNet::loopback(&plan.peers(), plan.profile).map_err(EngineError::engine)?;
                open(place, &plan, net)
            }
        }
    }
}

fn open<N: Net>(place: &Place, plan: &ClusterPlan, net: N) -> Result<Box<dyn Session>, EngineError> {
    let Counts { n, r, w } = Counts::of(place)?;
    if n > plan.nodes {
        let got = format!("{n} copies on {} nodes", plan.nodes);
        return Err(EngineError::BadSetting { name: "n", got, expects: "at most as many copies as nodes" });
    }
    let mut storage = KvConfig { durability: place.durability, ..KvConfig::default() };
    storage.segment_bytes = place.setting("segment-bytes", storage.segment_bytes, "a number of bytes")?;
    storage.merge_bytes_per_s =
        place.setting("merge-bytes-per-s", storage.merge_bytes_per_s, "bytes per second")?;
    let partitions = place.setting("partitions", PARTITIONS, "a number of partitions")?;
    let Switch(reads_version) = place.setting("version-read", Switch(true), "on or off")?;
    let Switch(replica_tombstones) = place.setting("replica-tombstones", Switch(false), "on or off")?;
    let anti_entropy = match place.settings.get("anti-entropy-ms").map(String::as_str) {
        None | Some("off") => None,
        Some(_) => {
            let every_ms = place.setting("anti-entropy-ms", 0_u64, "milliseconds, or off")?;
            Some(AntiEntropyConfig::new(every_ms))
        }
    };
    let handoff_ms = match place.settings.get("handoff-ms").map(String::as_str) {
        None | Some("off") => None,
        Some(_) => Some(place.setting("handoff-ms", 0_u64, "milliseconds, or off")?.max(1)),
    };
    let SubscribeSetting(following) =
        place.setting("subscribe", SubscribeSetting(Some(Following::Push)), "push, pull or off")?;
    let visible_copies = match place.settings.get("visible-copies").map(String::as_str) {
        None | Some("w") => w,
        Some(_) => bounded(place, "visible-copies", w, 1..=n, "a number of nodes, 1 to n, or w")?,
    };
    let timeout_ms = place.setting("timeout-ms", 5000_u64, "milliseconds")?.max(1);

    let ring = Arc::new(Ring::even(plan.nodes, partitions).map_err(EngineError::engine)?);
    let quorums = Quorums::new(n, r, w).map_err(EngineError::engine)?;
    // By time only here, where the siblings can be counted.
    let resolve = Resolve::ByClock;
    let client = ClientConfig {
        timeout_ms,
        node_timeout_ms: timeout_ms,
        resolve,
        replica_tombstones,
        hinted_handoff: handoff_ms.map(|_| HandoffStrategy::Any),
        ..ClientConfig::new(quorums)
    };
    let port = net.join(DRIVER).map_err(EngineError::engine)?;
    let (homes, of_nodes, of_net) = (plan.homes(), Arc::clone(&ring), net.clone());
    let start = move |number| {
        let mut config = NodeConfig { anti_entropy, ..NodeConfig::new(storage.clone(), n) };
        let mut homes_of = NodeHomes { store: homes.open("node", number)?, hints: None, metadata: None };
        if let Some(every_ms) = handoff_ms {
            config.push_every_ms = every_ms;
            homes_of.hints = Some(homes.open("hints", number)?);
        }
        KvNode::start_in(homes_of, &of_net, NodeId(number), Arc::clone(&of_nodes), config)
            .map_err(EngineError::engine)
    };
    let missed = Arc::<Mutex<MissedKeys>>::default();
    let surveyor = plan.outage.map(|_| net.join(SURVEYOR)).transpose();
    let (mut surveyor, asked) = (surveyor.map_err(EngineError::engine)?, Arc::clone(&missed));
    let survey = move |_: &[Option<KvNode>], number: u16| {
        surveyor.as_mut().is_none_or(|port| lock(&asked).ask(port, Peer(number.into())))
    };
    let nodes = Members::start(plan, start, survey)?;
    let outage = nodes.watch().map(|watch| KvOutage::new(watch, Arc::clone(&ring), n, missed));
    let subscriber = match following {
        None => None,
        Some(following) => {
            let port = net.join(SUBSCRIBER).map_err(EngineError::engine)?;
            let config = FollowConfig { following, ..FollowConfig::default() };
            let follower = KvFollower::new(port, &ring, config);
            Some(Subscriber::start(FeedsFollower::new(follower, visible_copies, replica_tombstones)))
        }
    };
    Ok(Box::new(KvClusterSession {
        subscriber,
        reads_version,
        replica_tombstones,
        outage,
        ..KvClusterSession::new(KvClient::new(port, ring, client), nodes)
    }))
}

impl Member for KvNode {
    fn counted(&self) -> EngineStats {
        let stats = self.stats();
        EngineStats {
            written_bytes: stats.store.written_bytes,
            syncs: stats.store.syncs,
            tail_events: stats.store.rolls + stats.store.merges,
            messages: stats.port.messages,
            message_bytes: stats.port.bytes,
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

/// What the session must know of an operation under way, beside its token.
enum Under {
    Way,
    /// A put below a clock of this client's own: if that is obsolete, the key is written after a read.
    OwnClock {
        key: Box<[u8]>,
        value: Box<[u8]>,
    },
    /// A write whose clock is to be remembered.
    Remember {
        key: Box<[u8]>,
    },
    /// The read of a read-modify-write, and which try it is.
    Read {
        op: Op,
        tries: u32,
        /// From which its write descends if there is no value: the clock of what was deleted before the read.
        buried: Option<VectorClock>,
    },
    /// The clocks of a read-modify-write that found no value: there may be tombstones.
    Buried {
        op: Op,
        tries: u32,
    },
    /// Its write: refused if somebody else wrote meanwhile.
    Changed {
        op: Op,
        tries: u32,
    },
}

/// A read-modify-write gives up after so many tries, as the original's `applyUpdate`.
const TRIES: u32 = 3;

pub(super) struct KvClusterSession<P: Port> {
    client: KvClient<P>,
    subscriber: Option<Subscriber>,
    nodes: Members<KvNode>,
    reads_version: bool,
    /// Whether there are deletes, and versions that say so.
    replica_tombstones: bool,
    /// Without a read before: the clocks of this client's last writes.
    written: HashMap<Box<[u8]>, VectorClock>,
    in_flight: HashMap<u64, Under>,
    outcomes: Vec<KvOutcome>,
    /// What this client knows alone.
    counted: EngineStats,
    copies: CopiesAtAck,
    /// Where an outage is planned.
    outage: Option<KvOutage>,
}

impl<P: Port> KvClusterSession<P> {
    /// With the defaults, and without a subscriber.
    pub(super) fn new(client: KvClient<P>, nodes: Members<KvNode>) -> Self {
        Self {
            client,
            subscriber: None,
            nodes,
            reads_version: true,
            replica_tombstones: false,
            written: HashMap::new(),
            in_flight: HashMap::new(),
            outcomes: Vec::new(),
            counted: EngineStats::default(),
            copies: CopiesAtAck::default(),
            outage: None,
        }
    }

    fn write(&mut self, token: u64, key: &[u8], value: &[u8]) {
        let under = if self.reads_version {
            self.client.write(token, key, value);
            Under::Way
        } else {
            let clock = self.written.get(key).cloned().unwrap_or_else(|| VectorClock::empty(0));
            self.client.put(token, key, clock, value);
            Under::OwnClock { key: key.into(), value: value.into() }
        };
        self.in_flight.insert(token, under);
    }

    fn modify(&mut self, token: u64, op: Op, tries: u32, buried: Option<VectorClock>) {
        self.client.get(token, &op.key);
        self.in_flight.insert(token, Under::Read { op, tries, buried });
    }

    /// The end of an operation, unless it goes on.
    fn end(&mut self, outcome: KvOutcome) -> Option<Completion> {
        let KvOutcome { token, result, copies, retries } = outcome;
        let under = self.in_flight.remove(&token)?;
        self.counted.retries += u64::from(retries);
        let result = match (result, under) {
            (Ok(KvAnswer::Values(values)), under) => {
                self.counted.siblings += u64::from(values.len() > 1);
                let version = resolve_by_time(values, wall_ms());
                let Under::Read { op, tries, buried } = under else {
                    let value = version.map(|version| version.value);
                    return Some(Completion { token: Token(token), result: Ok(Answer::Value(value)) });
                };
                if version.is_none() && buried.is_none() && self.replica_tombstones {
                    self.client.get_versions(token, &op.key);
                    self.in_flight.insert(token, Under::Buried { op, tries });
                    return None;
                }
                match op.modified(version.as_ref().map(|version| version.value.as_slice())) {
                    Ok(value) => {
                        let clock = version.map(|version| version.clock).or(buried);
                        let clock = clock.unwrap_or_else(|| VectorClock::empty(0));
                        self.client.put(token, &op.key, clock, value.as_bytes());
                        self.in_flight.insert(token, Under::Changed { op, tries });
                        return None;
                    }
                    Err(fault) => Err(OpError::engine(fault)),
                }
            }
            (Ok(KvAnswer::Versions(clocks)), Under::Buried { op, tries }) => {
                // Read before the value is read again: whoever writes in between makes the write obsolete.
                let buried = clocks.into_iter().reduce(|one, other| one.merge(&other, wall_ms()));
                self.modify(token, op, tries, Some(buried.unwrap_or_else(|| VectorClock::empty(0))));
                return None;
            }
            (Ok(KvAnswer::Deleted(removed)), Under::Way) => {
                // Without anything to delete nothing was written.
                if removed {
                    self.copies.count(copies);
                }
                Ok(Answer::Deleted(removed))
            }
            (Err(KvOpError::ObsoleteVersion { .. }), Under::Changed { tries: TRIES.., .. }) => {
                Err(OpError::Refused { tries: TRIES })
            }
            (Err(KvOpError::ObsoleteVersion { .. }), Under::Changed { op, tries }) => {
                self.counted.retries += 1;
                self.modify(token, op, tries + 1, None);
                return None;
            }
            (Ok(KvAnswer::Written(clock)), under) => {
                if let Under::OwnClock { key, .. } | Under::Remember { key } = under {
                    self.written.insert(key, clock);
                }
                self.copies.count(copies);
                Ok(Answer::Written)
            }
            (Ok(_), _) => Err(OpError::engine("the client gave an answer to another question")),
            (Err(KvOpError::ObsoleteVersion { .. }), Under::OwnClock { key, value }) => {
                self.counted.retries += 1;
                self.client.write(token, &key, &value);
                self.in_flight.insert(token, Under::Remember { key });
                return None;
            }
            (Err(error), _) => Err(OpError::engine(error)),
        };
        Some(Completion { token: Token(token), result })
    }
}

impl<P: Port> Session for KvClusterSession<P> {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return Submit::Full;
        }
        match (op.access(), &op.value) {
            (Access::Read, _) => {
                self.client.get(token.0, &op.key);
                self.in_flight.insert(token.0, Under::Way);
            }
            (Access::Modify, Some(_)) => self.modify(token.0, op.clone(), 1, None),
            (Access::Delete, _) if self.replica_tombstones => {
                self.client.delete(token.0, &op.key);
                self.in_flight.insert(token.0, Under::Way);
            }
            (Access::Write, Some(value)) => self.write(token.0, &op.key, value.as_bytes()),
            _ => return Submit::Unsupported,
        }
        if let Some(outage) = self.outage.as_mut().filter(|_| op.access().changes()) {
            outage.handed_over(token.0, &op.key);
        }
        Submit::Accepted
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.client.poll(wait, &mut outcomes);
        for outcome in outcomes.drain(..) {
            let clock = match (&self.outage, &outcome.result) {
                (Some(_), Ok(KvAnswer::Written(clock))) => Some(clock.clone()),
                _ => None,
            };
            let Some(completion) = self.end(outcome) else { continue };
            if let Some(outage) = &mut self.outage {
                outage.ended(completion.token.0, completion.result.is_ok(), clock);
            }
            out.push(completion);
        }
        self.outcomes = outcomes;
    }

    fn has_subscriber(&self) -> bool {
        self.subscriber.is_some()
    }

    fn visible(&mut self, out: &mut Vec<Visible>) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.visible(out);
        }
    }

    fn copies_missed(&self) -> u64 {
        self.client.stats().copies_missed
    }

    fn measured_from_now(&mut self) {
        self.nodes.measured_from_now();
    }

    fn recovery(&self) -> Option<Recovery> {
        self.outage.as_ref()?.recovery()
    }

    fn stats(&self) -> EngineStats {
        let own = EngineStats { copies_at_ack: self.copies, ..sent(self.client.port_stats()) };
        let of_subscriber = self.subscriber.as_ref().map(Subscriber::counted).unwrap_or_default();
        self.nodes.counted().plus(&self.counted).plus(&own).plus(&of_subscriber)
    }

    fn node_loads(&self) -> Vec<NodeLoad> {
        self.nodes.loads("node")
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        let stats = self.stats();
        let Self { client, subscriber, nodes, .. } = *self;
        let failed = subscriber.as_ref().and_then(Subscriber::failed);
        drop((client, subscriber));
        nodes.stop()?;
        match failed {
            Some(why) => Err(EngineError::engine(format!("the subscriber saw no more: {why}"))),
            None => Ok(stats),
        }
    }
}
