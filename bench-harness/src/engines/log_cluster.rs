//! [`LogClusterEngine`]: a cluster of brokers, written to by a client in the driver's thread and followed by another.

use engine_env::{LocalNet, Net, OsHome, Port, TcpNet, Wait};
use log_engine::{Broker, Fetches, LogClient, ProduceOutcome};
use workloads::{Access, Op, Promise};

use super::brokers::{BrokersPlan, IN_FLIGHT_MAX, replication, sent};
use super::cluster::{DRIVER, Members, SUBSCRIBER, Transport};
use super::outage::OutageWatch;
use super::subscriber::Subscriber;
use super::topic_follower::TopicFollower;
use crate::engine::{
    Answer, Capabilities, Completion, CopiesAtAck, Engine, EngineError, EngineStats, OpError, Place, Session,
    Setting, Submit, Token, Visible,
};
use crate::report::record::{NodeLoad, Recovery, Replication};

/// The cluster of brokers, adapted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogClusterEngine;

impl Engine for LogClusterEngine {
    fn name(&self) -> &'static str {
        "log-cluster"
    }

    fn about(&self) -> &'static str {
        "A cluster of log brokers after Kafka: three brokers, each with its own folder and threads, and each partition on \
         all three, one of which leads. A producer in the driver's thread sends the whole new value under its key to the \
         partition's leader, over a network; writes that come while a batch is under way go together in the next. A write \
         is acknowledged when every broker that keeps up has it, and at least two do. A delete appends an empty record for \
         the key. There are no reads by key: a log has no such question. A consumer on a thread of its own follows \
         the topic; when it has a record, that write counts as visible."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { reads: false, deletes: true, durable: true }
    }

    fn settings(&self) -> Vec<Setting> {
        BrokersPlan::settings()
    }

    fn replication(&self, place: &Place) -> Option<Replication> {
        replication(place)
    }

    fn promise(&self, _place: &Place) -> Promise {
        Promise::Prefix { read_your_writes: false }
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let plan = BrokersPlan::of(place)?;
        let profile = plan.cluster.profile;
        match plan.cluster.transport {
            Transport::Local => open(plan, &LocalNet::new(profile)),
            Transport::Tcp => {
                let net = TcpNet::loopback(&plan.cluster.peers(), profile).map_err(EngineError::engine)?;
                open(plan, &net)
            }
        }
    }
}

fn open<N: Net>(plan: BrokersPlan, net: &N) -> Result<Box<dyn Session>, EngineError> {
    let brokers = plan.start(net)?;
    let outage = brokers.watch();
    let client = plan.producer(net.join(DRIVER).map_err(EngineError::engine)?);
    let subscriber = Subscriber::start(TopicFollower::new(plan.consumer(net, SUBSCRIBER)?, &plan.partitions));
    Ok(Box::new(LogClusterSession {
        plan,
        client,
        subscriber,
        brokers,
        deletes: Vec::new(),
        in_flight: 0,
        done: Vec::new(),
        copies: CopiesAtAck::default(),
        copies_missed: 0,
        outage,
    }))
}

struct LogClusterSession<P: Port> {
    plan: BrokersPlan,
    client: LogClient<P>,
    subscriber: Subscriber,
    brokers: Members<Broker<OsHome>>,
    /// By token: whether the operation under way is a delete.
    deletes: Vec<bool>,
    in_flight: usize,
    done: Vec<ProduceOutcome>,
    copies: CopiesAtAck,
    copies_missed: u64,
    /// Where an outage is planned.
    outage: Option<OutageWatch>,
}

impl<P: Port> Session for LogClusterSession<P> {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        let deletes = match op.access() {
            Access::Write if op.value.is_some() => false,
            Access::Delete => true,
            _ => return Submit::Unsupported,
        };
        if self.in_flight >= IN_FLIGHT_MAX {
            return Submit::Full;
        }
        let at = token.0 as usize;
        if at >= self.deletes.len() {
            self.deletes.resize((at + 1).next_power_of_two(), false);
        }
        self.deletes[at] = deletes;
        let number = self.plan.partition_of(&op.key);
        self.plan.handed_over(&mut self.outage, token.0, number);
        let partition = &self.plan.partitions[number as usize];
        let value = op.value.as_ref().filter(|_| !deletes).map(|v| v.as_bytes());
        self.client.produce(token.0, partition, Some(&op.key), value);
        self.in_flight += 1;
        Submit::Accepted
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.client.poll(wait, &mut self.done, &mut Fetches::default());
        self.in_flight -= self.done.len();
        for ProduceOutcome { token, result, copies } in self.done.drain(..) {
            if let Some(outage) = &mut self.outage {
                outage.ended(token, result.is_ok());
            }
            let result = match result {
                Ok(_) => {
                    self.copies.count(copies);
                    self.copies_missed += u64::from(self.plan.copies_awaited.saturating_sub(copies));
                    let deletes = self.deletes[token as usize];
                    Ok(if deletes { Answer::Deleted(true) } else { Answer::Written })
                }
                Err(error) => Err(OpError::engine(error)),
            };
            out.push(Completion { token: Token(token), result });
        }
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
        let counted = EngineStats { copies_at_ack: self.copies, ..sent(self.client.stats()) };
        self.brokers.counted().plus(&counted).plus(&self.subscriber.counted())
    }

    fn node_loads(&self) -> Vec<NodeLoad> {
        self.brokers.loads("broker")
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        let stats = self.stats();
        let Self { client, subscriber, brokers, .. } = *self;
        let failed = subscriber.failed();
        drop((client, subscriber));
        brokers.stop()?;
        match failed {
            Some(why) => Err(EngineError::engine(format!("the subscriber saw no more: {why}"))),
            None => Ok(stats),
        }
    }
}
