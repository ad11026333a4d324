//! [`SteppedBroker`]: a broker without threads, for whoever drives it step by step: a simulator, a crash test.

use std::sync::Arc;

use engine_env::{Arrival, DiskError, Home, Peer, Waker};

use super::config::BrokerConfig;
use super::machine::Machine;
use super::stats::BrokerStats;
use crate::{BrokerId, ClusterLayout, ConfigError, CreateTopicError, OpenError, RecoveryReport, SteppedLog};

/// Why a broker can't start.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The layout has nothing for it.
    #[error("the layout gives {broker} no partition; start brokers that the layout names")]
    NotInLayout {
        /// The broker.
        broker: BrokerId,
    },
    /// Its log can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A partition can't be created.
    #[error(transparent)]
    Create(#[from] CreateTopicError),
    /// It can't get onto the network.
    #[error(transparent)]
    Net(#[from] engine_env::NetError),
    /// The disk failed.
    #[error("the broker can't start: {0}")]
    Disk(#[from] DiskError),
}

/// A broker without threads. Time comes in milliseconds from any origin, rising.
///
/// Commits and upkeep are those of [`SteppedBroker::log`]; whoever drives it calls [`SteppedBroker::handle_storage`]
/// after them.
#[derive(Debug)]
pub struct SteppedBroker<H: Home> {
    log: SteppedLog<H>,
    machine: Machine<engine_env::FileOf<H>>,
}

impl<H: Home> SteppedBroker<H> {
    /// Opens the log in `home`'s folder, recovers it, and creates what the layout gives this broker. Every partition
    /// that it leads begins a new term.
    ///
    /// # Errors
    /// A wrong setting, a folder of something else, or the disk's failure.
    pub fn open(
        home: &H,
        me: BrokerId,
        layout: Arc<ClusterLayout>,
        config: BrokerConfig,
        now_ms: u64,
    ) -> Result<(Self, RecoveryReport), StartError> {
        config.check()?;
        let (log, report) = SteppedLog::open(home.clone(), config.log.clone())?;
        let machine = start(&log, home, me, layout, config, now_ms)?;
        log.core.broker.set(Waker::new(|| ())).expect("it is set once, here");
        Ok((Self { log, machine }, report))
    }

    /// Its log: whose machine to drive, whose upkeep to run.
    #[must_use]
    pub fn log(&self) -> &SteppedLog<H> {
        &self.log
    }

    /// What a clock on the wall says, milliseconds since the Unix epoch: the time of append of batches that come from now on,
    /// in topics whose records get it.
    pub fn set_wall_ms(&mut self, wall_ms: i64) {
        self.machine.set_wall_ms(wall_ms);
    }

    /// Takes what came over the network.
    pub fn handle(&mut self, now_ms: u64, arrival: Arrival) {
        self.machine.handle(now_ms, arrival);
    }

    /// Looks at what commits and upkeep have done.
    pub fn handle_storage(&mut self, now_ms: u64) {
        self.machine.handle_storage(now_ms);
    }

    /// The next message to send. Call until there is none.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.machine.poll_output()
    }

    /// When [`SteppedBroker::handle_timeout`] wants to be called; perhaps for nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.machine.poll_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.machine.handle_timeout(now_ms);
    }

    /// What it holds and did. Messages are counted by whoever carries them.
    #[must_use]
    pub fn stats(&self) -> BrokerStats {
        BrokerStats { log: self.log.stats(), ..self.machine.stats() }
    }
}

/// Creates what is missing in the folder, and a machine over it.
pub(super) fn start<H: Home>(
    log: &SteppedLog<H>,
    home: &H,
    me: BrokerId,
    layout: Arc<ClusterLayout>,
    config: BrokerConfig,
    now_ms: u64,
) -> Result<Machine<engine_env::FileOf<H>>, StartError> {
    let mine: Vec<_> = layout
        .partitions()
        .iter()
        .filter(|p| p.replicas.contains(&me))
        .map(|p| p.partition.clone())
        .collect();
    if mine.is_empty() {
        return Err(StartError::NotInLayout { broker: me });
    }
    log.create_partitions(mine)?;
    let mut disk = home.disk()?;
    Ok(Machine::new(me, layout, config, Arc::clone(&log.core), &mut disk, now_ms)?)
}
