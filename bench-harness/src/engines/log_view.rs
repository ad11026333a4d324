//! [`LogViewEngine`]: writes to a cluster of brokers, reads from a materialized view that follows them.

use std::collections::HashMap;
use std::str::FromStr;

use engine_env::{LocalNet, Net, OsHome, Peer, Port, TcpNet, Wait};
use kv_engine::KvConfig;
use log_engine::{Broker, Fetches, LogClient, Offset, ProduceOutcome};
use migration::view::{ClusterSource, ViewClient, ViewClientConfig, ViewConfig, ViewEvent, ViewServer};
use workloads::{Access, Op, Promise};

use super::brokers::{BrokersPlan, IN_FLIGHT_MAX, TOPIC, replication, sent};
use super::cluster::{DRIVER, Members, SUBSCRIBER, Transport};
use super::outage::OutageWatch;
use super::split_port::SplitPort;
use super::subscriber::Subscriber;
use super::topic_follower::TopicFollower;
use crate::engine::{
    Answer, Completion, CopiesAtAck, Engine, EngineError, EngineStats, OpError, Place, Session, Setting,
    Submit, Token, Visible,
};
use crate::report::record::{NodeLoad, Recovery, Replication};

/// The log with a view, adapted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogViewEngine;

const VIEW: Peer = Peer(500);
/// The view's own, as a consumer of the brokers.
const VIEWS_CONSUMER: Peer = Peer(600);

/// What a read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Eventual,
    OwnWrites,
}

impl FromStr for Reads {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "eventual" => Ok(Self::Eventual),
            "own-writes" => Ok(Self::OwnWrites),
            _ => Err(()),
        }
    }
}

impl Reads {
    fn of(place: &Place) -> Result<Self, EngineError> {
        let reads = place.setting("reads", Self::OwnWrites, "eventual or own-writes")?;
        // Without an acknowledgement nobody knows the offset to wait for.
        let has_offsets = place.settings.get("acks").is_none_or(|acks| acks != "0");
        Ok(if has_offsets { reads } else { Self::Eventual })
    }
}

impl Engine for LogViewEngine {
    fn name(&self) -> &'static str {
        "log-view"
    }

    fn about(&self) -> &'static str {
        "A cluster of log brokers after Kafka, and a view of what it holds: three brokers, each partition on all three, and \
         beside them a server that follows the topic and keeps each key's newest value in a key-value store of its own. An \
         update or delete goes to the partition's leader and is acknowledged when every broker that keeps up has it, and \
         at least two do; the view isn't asked. A read goes to the view, over one hop; it waits until the view has what \
         this client wrote last under that key (own-writes), or takes what the view has (eventual). Another consumer, \
         on a thread of its own, follows the topic; when it has a record, that write counts as visible."
    }

    fn settings(&self) -> Vec<Setting> {
        let mut settings = BrokersPlan::settings();
        settings.push(Setting {
            name: "reads",
            default: "own-writes".to_owned(),
            meaning: "what a read waits for: own-writes (the view has this client's last write of the key) or eventual (nothing)",
        });
        settings
    }

    fn replication(&self, place: &Place) -> Option<Replication> {
        replication(place)
    }

    fn promise(&self, place: &Place) -> Promise {
        let read_your_writes = Reads::of(place).is_ok_and(|reads| reads == Reads::OwnWrites);
        Promise::Prefix { read_your_writes }
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let plan = BrokersPlan::of(place)?;
        let profile = plan.cluster.profile;
        match plan.cluster.transport {
            Transport::Local => open(place, plan, &LocalNet::new(profile)),
            Transport::Tcp => {
                let mut peers = plan.cluster.peers();
                peers.push(VIEW);
                open(place, plan, &TcpNet::loopback(&peers, profile).map_err(EngineError::engine)?)
            }
        }
    }
}

fn open<N: Net>(place: &Place, plan: BrokersPlan, net: &N) -> Result<Box<dyn Session>, EngineError> {
    let reads = Reads::of(place)?;
    let default = KvConfig::default();
    let storage = KvConfig {
        durability: place.durability,
        segment_bytes: place.setting("segment-bytes", default.segment_bytes, "a number of bytes")?,
        ..default
    };
    let count = u32::try_from(plan.partitions.len()).expect("at most 1024");
    let mut view = ViewConfig { storage, ..ViewConfig::of(TOPIC, count) };
    // A commit stands whole in one segment.
    view.commit_bytes =
        view.commit_bytes.min(usize::try_from(view.storage.segment_bytes / 4).unwrap_or(usize::MAX));
    let brokers = plan.start(net)?;
    let outage = brokers.watch();
    let source = ClusterSource::new(plan.consumer(net, VIEWS_CONSUMER)?, TOPIC);
    let home = plan.cluster.homes().open("view", 0)?;
    let view = ViewServer::start(home, net, VIEW, source, &view).map_err(EngineError::engine)?;
    let subscriber = Subscriber::start(TopicFollower::new(plan.consumer(net, SUBSCRIBER)?, &plan.partitions));
    let port = net.join(DRIVER).map_err(EngineError::engine)?;
    let (to_brokers, to_view) = SplitPort::split(port, |peer| usize::from(peer == VIEW));
    let patience = ViewClientConfig { timeout_ms: plan.producer.timeout_ms };
    Ok(Box::new(LogViewSession {
        producer: plan.producer(to_brokers),
        reader: ViewClient::new(to_view, VIEW, patience),
        plan,
        reads,
        subscriber,
        view,
        brokers,
        own: Vec::new(),
        writes: HashMap::new(),
        in_flight: 0,
        done: Vec::new(),
        events: Vec::new(),
        copies: CopiesAtAck::default(),
        copies_missed: 0,
        outage,
    }))
}

/// A write under way.
struct Write {
    key_index: u32,
    deletes: bool,
}

struct LogViewSession<P: Port> {
    plan: BrokersPlan,
    reads: Reads,
    producer: LogClient<SplitPort<P>>,
    reader: ViewClient<SplitPort<P>>,
    subscriber: Subscriber,
    view: ViewServer<OsHome>,
    brokers: Members<Broker<OsHome>>,
    /// By key: the offset of this client's last acknowledged write, none before the first.
    own: Vec<Option<Offset>>,
    /// By token.
    writes: HashMap<u64, Write>,
    in_flight: usize,
    done: Vec<ProduceOutcome>,
    events: Vec<ViewEvent>,
    copies: CopiesAtAck,
    copies_missed: u64,
    /// Where an outage is planned.
    outage: Option<OutageWatch>,
}

impl<P: Port> LogViewSession<P> {
    fn acknowledged(&mut self, outcome: ProduceOutcome) -> Completion {
        let ProduceOutcome { token, result, copies } = outcome;
        if let Some(outage) = &mut self.outage {
            outage.ended(token, result.is_ok());
        }
        let Write { key_index, deletes } =
            self.writes.remove(&token).expect("each record that was handed over ends once");
        let result = match result {
            Ok(offset) => {
                self.copies.count(copies);
                self.copies_missed += u64::from(self.plan.copies_awaited.saturating_sub(copies));
                let at = key_index as usize;
                if at >= self.own.len() {
                    self.own.resize((at + 1).next_power_of_two(), None);
                }
                self.own[at] = self.own[at].max(offset);
                Ok(if deletes { Answer::Deleted(true) } else { Answer::Written })
            }
            Err(error) => Err(OpError::engine(error)),
        };
        Completion { token: Token(token), result }
    }

    fn take_events(&mut self, out: &mut Vec<Completion>) {
        for event in self.events.drain(..) {
            if let ViewEvent::Read { token, result } = event {
                self.in_flight -= 1;
                let result = result.map(Answer::Value).map_err(OpError::engine);
                out.push(Completion { token: Token(token), result });
            }
        }
    }
}

impl<P: Port> Session for LogViewSession<P> {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        if self.in_flight >= IN_FLIGHT_MAX {
            return Submit::Full;
        }
        let partition = self.plan.partition_of(&op.key);
        let deletes = match op.access() {
            Access::Read => {
                let own = match self.reads {
                    Reads::Eventual => None,
                    Reads::OwnWrites => self.own.get(op.key_index as usize).copied().flatten(),
                };
                self.reader.get(token.0, &op.key, own.map(|offset| (partition, offset)));
                self.in_flight += 1;
                return Submit::Accepted;
            }
            Access::Write if op.value.is_some() => false,
            Access::Delete => true,
            _ => return Submit::Unsupported,
        };
        let value = op.value.as_ref().filter(|_| !deletes).map(|v| v.as_bytes());
        self.plan.handed_over(&mut self.outage, token.0, partition);
        self.producer.produce(token.0, &self.plan.partitions[partition as usize], Some(&op.key), value);
        self.writes.insert(token.0, Write { key_index: op.key_index, deletes });
        self.in_flight += 1;
        Submit::Accepted
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        let before = out.len();
        self.reader.poll(Wait::No, &mut self.events);
        self.take_events(out);
        let wait = if out.len() > before { Wait::No } else { wait };
        // One port: what comes from the view ends this wait, too.
        let mut done = std::mem::take(&mut self.done);
        self.producer.poll(wait, &mut done, &mut Fetches::default());
        self.in_flight -= done.len();
        for outcome in done.drain(..) {
            let completion = self.acknowledged(outcome);
            out.push(completion);
        }
        self.done = done;
        self.reader.poll(Wait::No, &mut self.events);
        self.take_events(out);
    }

    fn has_subscriber(&self) -> bool {
        true
    }

    fn visible(&mut self, out: &mut Vec<Visible>) {
        self.subscriber.visible(out);
    }

    fn copies_missed(&self) -> u64 {
        self.copies_missed
    }

    fn measured_from_now(&mut self) {
        self.brokers.measured_from_now();
    }

    fn recovery(&self) -> Option<Recovery> {
        self.outage.as_ref()?.recovery()
    }

    fn stats(&self) -> EngineStats {
        let view = self.view.stats();
        let own = EngineStats { copies_at_ack: self.copies, ..sent(self.producer.stats()) };
        let of_view = EngineStats {
            written_bytes: view.storage.written_bytes,
            syncs: view.storage.syncs,
            tail_events: view.storage.rolls + view.storage.merges,
            ..sent(view.sent)
        };
        self.brokers.counted().plus(&own).plus(&of_view).plus(&self.subscriber.counted())
    }

    fn node_loads(&self) -> Vec<NodeLoad> {
        let mut loads = self.brokers.loads("broker");
        loads.push(NodeLoad { node: "view".to_owned(), messages: self.view.stats().sent.messages });
        loads
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        let stats = self.stats();
        let Self { producer, reader, subscriber, view, brokers, .. } = *self;
        let failed = subscriber.failed();
        drop((producer, reader, subscriber));
        let stopped = view.stop().map_err(EngineError::engine);
        brokers.stop()?;
        stopped?;
        match failed {
            Some(why) => Err(EngineError::engine(format!("the subscriber saw no more: {why}"))),
            None => Ok(stats),
        }
    }
}
