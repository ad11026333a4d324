//! The writer of the log's cluster: as the one of a single log, with `acks=all` and at least two brokers in sync, while
//! brokers die and return.
//!
//! A record whose end is unknown, because its leader died or too few brokers were in sync, is never acknowledged; it may be
//! there or not. Nothing is sent twice.

use std::collections::HashMap;
use std::path::Path;

use engine_env::{Durability, Net as _, OsHome, Peer, Port, Wait};
use log_engine::{
    Acks, Broker, BrokerConfig, BrokerId, ClusterLayout, Fetches, LogClient, LogClientConfig, ProduceError,
    ProduceOutcome,
};

use super::Engine;
use super::batch_plan::{BatchPlan, TOPICS, as_records};
use super::cluster::{COPIES_MIN, Cluster, Member, NODES, Place};
use super::log_tasks::LogTasks;
use super::token::Token;
use super::write::{Run, WriteError, now_ms};
use super::write_log;

const THREADS: u32 = 4;
const RECORDS_IN_FLIGHT_MAX: usize = 500;
/// The peer of the first thread's client.
const CLIENTS: u32 = 1000;

pub(super) fn layout() -> ClusterLayout {
    ClusterLayout::even(NODES, &TOPICS, NODES).expect("as many replicas as brokers, and legal names")
}

impl Member for Broker<OsHome> {
    const ENGINE: Engine = Engine::LogCluster;

    fn start(place: &Place, number: u16) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config = BrokerConfig {
            log: write_log::config(place.durability, LogTasks::default()),
            min_isr: COPIES_MIN,
            // Below most outages, so that the set of those in sync shrinks and grows.
            replica_lag_ms: 100,
            follow_wait_ms: 50,
            ..BrokerConfig::default()
        };
        Ok(Self::start(place.home(number)?, &place.net, BrokerId(number), layout(), config)?)
    }

    fn kill(self) {
        Self::kill(self);
    }

    fn stop(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::stop(self)?)
    }
}

pub(super) fn open(dir: &Path, durability: Durability) -> Result<Cluster<Broker<OsHome>>, WriteError> {
    Cluster::start(Place::new(dir, durability))
}

pub(super) fn write(run: &Run<'_>, cluster: &Cluster<Broker<OsHome>>) -> Result<(), WriteError> {
    cluster.while_nodes_die(run, || {
        run.on_threads(THREADS, |number| {
            let port = cluster.place().net.join(Peer(CLIENTS + number)).expect("nobody else has this name");
            Thread::new(run, port, number).go()
        })
    })
}

struct Thread<'a, P: Port> {
    run: &'a Run<'a>,
    client: LogClient<P>,
    plan: BatchPlan,
    next_token: u64,
    in_flight: HashMap<u64, Token>,
    done: Vec<ProduceOutcome>,
}

impl<'a, P: Port> Thread<'a, P> {
    fn new(run: &'a Run<'a>, port: P, number: u32) -> Self {
        let config = LogClientConfig { acks: Acks::All, timeout_ms: 5_000, ..LogClientConfig::default() };
        Self {
            run,
            client: LogClient::new(port, layout(), config),
            plan: BatchPlan::new(run.seed, run.run, number, false),
            next_token: 0,
            in_flight: HashMap::new(),
            done: Vec::new(),
        }
    }

    fn go(mut self) -> Result<(), WriteError> {
        let run = self.run;
        loop {
            let wanted = self.plan.size();
            let Some(granted) = run.pace.take(wanted, || self.reap(Wait::No))? else { break };
            self.produce(granted)?;
            self.reap(Wait::No)?;
            while self.in_flight.len() >= RECORDS_IN_FLIGHT_MAX {
                self.reap(Wait::Forever)?;
            }
        }
        while !self.in_flight.is_empty() {
            self.reap(Wait::Forever)?;
        }
        Ok(())
    }

    fn produce(&mut self, records: u64) -> Result<(), WriteError> {
        let (to, drafts) = self.plan.batch(records);
        let now = now_ms();
        for draft in drafts {
            self.run.attempt(&draft.token)?;
            let token = self.next_token;
            self.next_token += 1;
            as_records(std::slice::from_ref(&draft), now, |records| {
                self.client.produce_record(token, &to, &records[0]);
            });
            self.in_flight.insert(token, draft.token);
        }
        Ok(())
    }

    /// Takes what has ended.
    fn reap(&mut self, wait: Wait) -> Result<(), WriteError> {
        self.client.poll(wait, &mut self.done, &mut Fetches::default());
        for ProduceOutcome { token, result, copies } in self.done.drain(..) {
            let mut token = self.in_flight.remove(&token).expect("each record ends once");
            match result {
                Ok(landed) => {
                    if copies < COPIES_MIN || landed.is_none() {
                        return Err(WriteError::WrongAnswer {
                            operation: format!("`{token}`"),
                            why: format!("acknowledged with {copies} copies at offset {landed:?}"),
                        });
                    }
                    if let Token::App { offset, .. } = &mut token {
                        *offset = landed.map(|offset| offset.0);
                    }
                    self.run.acknowledge(&token)?;
                }
                Err(
                    ProduceError::NotEnoughReplicas { .. }
                    | ProduceError::NotEnoughReplicasAfterAppend { .. }
                    | ProduceError::TimedOut { .. }
                    | ProduceError::Disconnected { .. }
                    | ProduceError::Closing { .. },
                ) => {}
                Err(error) => {
                    return Err(WriteError::Operation { token: Box::new(token), source: Box::new(error) });
                }
            }
        }
        Ok(())
    }
}
