//! [`SteppedNode`]: a node without threads, for whoever drives it step by step: a simulator, a crash test.
//!
//! It is a [`KvNode`](crate::KvNode) without its thread, its port and its stores' threads. Nobody can follow its changes.

use std::sync::Arc;

use engine_env::{Arrival, CompletionQueue, FileOf, Home, Peer, Wait};

use super::config::{NodeConfig, NodeHomes};
use super::error::StartError;
use super::machine::NodeMachine;
use super::stats::NodeStats;
use super::stores::{Stores, kept_metadata, metadata_config};
use crate::config::KvConfig;
use crate::ring::{NodeId, Ring};
use crate::storage::OpenError;
use crate::storage::bitcask::{Bitcask, RecoveryReport};

/// A node without threads. Times are nanoseconds of one clock, rising, over all lives of the node.
///
/// Commits and upkeep are those of [`SteppedNode::stores`]: whoever drives the node submits what they start, hands them what
/// completes, and calls [`SteppedNode::handle_storage`] after that.
#[derive(Debug)]
pub struct SteppedNode<H: Home> {
    machine: NodeMachine,
    stores: Stores<Bitcask<FileOf<H>>>,
}

impl<H: Home> SteppedNode<H> {
    /// Opens the stores in the folders, recovers them, and serves. The second value tells what was found, in the order of
    /// [`SteppedNode::stores`].
    ///
    /// # Errors
    /// The ring doesn't know the node, a folder can't be opened, or what the node has kept can't be read.
    pub fn open(
        homes: &NodeHomes<H>,
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
        now_ns: u64,
    ) -> Result<(Self, Vec<RecoveryReport>), StartError> {
        let open = |home: &H, config: KvConfig| {
            home.disk()
                .map_err(OpenError::from)
                .and_then(|mut disk| Bitcask::open(&mut disk, config))
                .map_err(|source| StartError::Store { node, source })
        };
        let storage = &config.storage;
        let metadata =
            homes.metadata.as_ref().map(|home| open(home, metadata_config(storage))).transpose()?;
        let (metadata, of_metadata) = metadata.unzip();
        let kept = kept_metadata(metadata.as_ref());
        NodeMachine::check(node, &ring, &kept)?;
        let (store, of_store) = open(&homes.store, storage.clone())?;
        let slops = homes.hints.as_ref().map(|home| open(home, storage.clone())).transpose()?;
        let (slops, of_slops) = slops.unzip();
        let reports = std::iter::once(of_store).chain(of_slops).chain(of_metadata).collect();
        let keeps_hints = slops.is_some();
        let completions = Arc::new(CompletionQueue::new());
        let stores = Stores::new(store, slops, metadata, storage.durability, completions);
        let machine = NodeMachine::new(node, ring, config, &kept, keeps_hints, (now_ns, now_ns))?;
        Ok((Self { machine, stores }, reports))
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Bitcask<FileOf<H>> {
        &self.stores.store
    }

    /// The hints that it keeps for other nodes.
    #[must_use]
    pub fn hints(&self) -> Option<&Bitcask<FileOf<H>>> {
        self.stores.slops.as_ref()
    }

    /// All of them: its store, its hints, what it keeps of its own. Their commits are to be driven, and their upkeep run.
    pub fn stores(&self) -> impl Iterator<Item = &Bitcask<FileOf<H>>> {
        std::iter::once(&self.stores.store).chain(&self.stores.slops).chain(&self.stores.metadata)
    }

    /// The ring that it goes by.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        self.machine.ring()
    }

    /// Takes what came over the network.
    pub fn handle(&mut self, now_ns: u64, arrival: &Arrival) {
        self.machine.handle(now_ns, arrival, &self.stores);
        self.machine.takes_turn(now_ns, &self.stores);
    }

    /// Looks at what commits have done.
    pub fn handle_storage(&mut self, now_ns: u64) {
        let mut done = Vec::new();
        self.stores.completions.drain(Wait::No, &mut done);
        done.into_iter().for_each(|done| self.machine.completed(now_ns, done, &self.stores));
    }

    /// When [`SteppedNode::handle_timeout`] wants to be called; `None`: when something has come.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.machine.poll_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.machine.takes_turn(now_ns, &self.stores);
    }

    /// The next message to send. Call until there is none.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.machine.poll_output()
    }

    /// What it has counted since it was opened; whoever carries its messages counts those.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        let hints = self.stores.slops.as_ref().map_or(0, |slops| slops.stats().keys);
        NodeStats { store: self.stores.store.stats(), hints, ..self.machine.stats() }
    }
}
