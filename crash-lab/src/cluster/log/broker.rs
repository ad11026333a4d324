//! [`BrokerProcess`]: a broker of the log, its disk included.

use std::sync::Arc;

use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{Arrival, Disk as _, Done, Home as _, Peer, Wait};
use log_engine::{BrokerConfig, BrokerId, ClusterLayout, Interval, SteppedBroker};

use crate::cluster::process::Process;
use crate::simulated::subject::told;

const NS_PER_MS: u64 = 1_000_000;

/// What every broker is started with.
#[derive(Debug)]
pub(super) struct LogCluster {
    pub(super) layout: Arc<ClusterLayout>,
    pub(super) broker: BrokerConfig,
}

pub(super) struct BrokerProcess {
    pub(super) broker: SteppedBroker<SimHome>,
    commits: SimDisk,
    in_flight: usize,
    upkeep: SimDisk,
}

impl BrokerProcess {
    fn take(&mut self, done: Vec<Done<SimFile>>, now_ns: u64) {
        self.in_flight -= done.len();
        let machine = self.broker.log().machine();
        done.into_iter().for_each(|one| machine.on_done(one));
        self.broker.handle_storage(now_ns / NS_PER_MS);
    }
}

impl Process for BrokerProcess {
    type Config = LogCluster;

    fn folders(_config: &LogCluster) -> usize {
        1
    }

    fn start(config: &LogCluster, me: u16, folders: &[SimHome], now_ns: u64) -> Result<Self, String> {
        let (home, layout) = (&folders[0], Arc::clone(&config.layout));
        let opened =
            SteppedBroker::open(home, BrokerId(me), layout, config.broker.clone(), now_ns / NS_PER_MS);
        let (broker, report) = opened.map_err(|e| told(&e))?;
        if let Some(damage) = report.partitions.iter().flat_map(|partition| &partition.damage).next() {
            return Err(format!("it takes a crash for damage: {damage:?}"));
        }
        let disk = || home.disk().map_err(|e| told(&e));
        Ok(Self { broker, commits: disk()?, in_flight: 0, upkeep: disk()? })
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.broker.handle(now_ns / NS_PER_MS, arrival);
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.broker.poll_timeout().map(|at_ms| at_ms * NS_PER_MS)
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.broker.handle_timeout(now_ns / NS_PER_MS);
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.broker.poll_output()
    }

    fn commit(&mut self) -> bool {
        let Self { broker, commits, in_flight, .. } = self;
        broker.log().machine().start(&mut |id, op| {
            *in_flight += 1;
            commits.submit(id, op);
        });
        *in_flight > 0
    }

    fn complete(&mut self, folders: &[SimHome], now_ns: u64) {
        if self.in_flight == 0 {
            return;
        }
        let mut done = Vec::new();
        self.commits.reap(Wait::Forever, &mut done);
        if folders.iter().all(SimHome::is_powered) {
            self.take(done, now_ns);
        }
    }

    fn complete_oldest(&mut self, _folder: usize, now_ns: u64) {
        let mut done = Vec::new();
        self.commits.reap(Wait::Forever, &mut done);
        self.take(done, now_ns);
    }

    fn upkeep(&mut self, now_ns: u64) {
        self.broker.log().upkeep(&mut self.upkeep, Interval::Running);
        self.broker.handle_storage(now_ns / NS_PER_MS);
    }

    fn has_stopped(&self) -> bool {
        self.broker.log().stopped().is_some()
    }
}
