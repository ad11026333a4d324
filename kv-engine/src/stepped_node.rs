//! [`SteppedNode`]: a node without threads, for whoever drives it step by step: a simulator, a crash test.
//!
//! It is a [`KvNode`](crate::KvNode) without its thread, its port and its stores' threads: the same replica, the same
//! stores, the same delivery of hints. Nobody can follow its changes, and it takes no part in rebalances.

use std::sync::Arc;

use engine_env::{Arrival, CompletionQueue, Durability, File, FileOf, Home, Peer, Wait};

use crate::handoff::{Hints, Pusher};
use crate::message::{Response, is_response};
use crate::node::{NodeConfig, StartError};
use crate::replica::{NOBODYS, Replica, ReplicaStats, ReplicaStorage, Taken};
use crate::ring::{NodeId, Ring, Routing};
use crate::storage::bitcask::{Bitcask, KvDone, RecoveryReport};
use crate::storage::{DeleteError, GetError, OpenError, PutError};
use crate::version::{VectorClock, Versioned};

/// A node without threads. Times are nanoseconds of one clock, rising.
///
/// Commits and upkeep are those of [`SteppedNode::store`] and [`SteppedNode::hints`]: whoever drives the node submits what
/// they start, hands them what completes, and calls [`SteppedNode::handle_storage`] after that.
#[derive(Debug)]
pub struct SteppedNode<H: Home> {
    replica: Replica,
    pusher: Pusher,
    stores: Stores<FileOf<H>>,
}

impl<H: Home> SteppedNode<H> {
    /// Opens the stores in the folders, recovers them, and serves. Without a folder for hints it keeps none. The second
    /// value tells what was found in the store, and in the hints if it keeps some.
    ///
    /// # Errors
    /// The ring doesn't know the node, or a folder can't be opened.
    pub fn open(
        home: &H,
        hints: Option<&H>,
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
        now_ns: u64,
    ) -> Result<(Self, Vec<RecoveryReport>), StartError> {
        if ring.nodes().binary_search(&node).is_err() {
            return Err(StartError::NotInRing { node });
        }
        let mut reports = Vec::new();
        let mut open = |home: &H| {
            let (store, report) = home
                .disk()
                .map_err(OpenError::from)
                .and_then(|mut disk| Bitcask::open(&mut disk, config.storage.clone()))
                .map_err(|source| StartError::Store { node, source })?;
            reports.push(report);
            Ok::<_, StartError>(store)
        };
        let store = open(home)?;
        let slops = hints.map(&mut open).transpose()?;
        let stores = Stores {
            store,
            slops,
            waits: config.storage.durability == Durability::Synced,
            completions: Arc::new(CompletionQueue::new()),
        };
        let pusher = Pusher::new(now_ns, config.push_every_ms, config.store);
        #[cfg(feature = "planted-bugs")]
        let pusher = pusher.with_bug(config.planted_bug);
        let replica = Replica::routed(node, Routing::new(ring, config.routing, config.replicas));
        Ok((Self { replica, pusher, stores }, reports))
    }

    /// Its store: whose commits to drive, whose upkeep to run.
    #[must_use]
    pub fn store(&self) -> &Bitcask<FileOf<H>> {
        &self.stores.store
    }

    /// The hints that it keeps for other nodes, likewise.
    #[must_use]
    pub fn hints(&self) -> Option<&Bitcask<FileOf<H>>> {
        self.stores.slops.as_ref()
    }

    /// Takes what came over the network.
    pub fn handle(&mut self, now_ns: u64, arrival: &Arrival) {
        match arrival {
            Arrival::Message { from, bytes } if is_response(bytes) => {
                if let Ok((id, response)) = Response::decode(bytes) {
                    self.pusher.handle(*from, id, &response);
                }
            }
            Arrival::Message { from, bytes } => self.replica.handle(*from, bytes, &self.stores),
            Arrival::Unreachable { peer } => {
                if let Ok(node) = u16::try_from(peer.0) {
                    self.pusher.unreachable(NodeId(node));
                }
            }
        }
        self.push_hints(now_ns);
    }

    /// Looks at what commits have done.
    pub fn handle_storage(&mut self) {
        let mut done = Vec::new();
        self.stores.completions.drain(Wait::No, &mut done);
        for KvDone { token, removed, result } in done {
            if token != NOBODYS {
                self.replica.completed(token, removed, result);
            }
        }
    }

    /// When [`SteppedNode::handle_timeout`] wants to be called; `None` if it keeps no hints.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.stores.slops.as_ref().map(|_| self.pusher.poll_timeout())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.push_hints(now_ns);
    }

    fn push_hints(&mut self, now_ns: u64) {
        if self.stores.slops.is_some() {
            self.pusher.deliver(now_ns, self.replica.routing().ring(), &self.stores);
        }
    }

    /// The next message to send. Call until there is none.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.replica.poll_output().or_else(|| self.pusher.poll_output())
    }

    /// What it has counted since it was opened: requests, and hints that it has delivered.
    #[must_use]
    pub fn stats(&self) -> (ReplicaStats, u64) {
        (self.replica.stats(), self.pusher.delivered_count())
    }
}

/// The stores, and where they hand completions.
#[derive(Debug)]
struct Stores<F: File> {
    store: Bitcask<F>,
    /// Hints for other nodes.
    slops: Option<Bitcask<F>>,
    /// Whether a write has to wait for the disk; otherwise it is done when the call returns.
    waits: bool,
    completions: Arc<CompletionQueue<KvDone>>,
}

impl<F: File> Stores<F> {
    fn put(
        &self,
        into: &Bitcask<F>,
        key: &[u8],
        version: &Versioned,
        ticket: u64,
    ) -> Result<Taken, PutError> {
        if self.waits {
            into.stage_put(key, version, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        into.put_through(key, version)?;
        Ok(Taken::Done { removed: false })
    }

    fn remove(
        &self,
        from: &Bitcask<F>,
        key: &[u8],
        clock: &VectorClock,
        ticket: u64,
    ) -> Result<Taken, PutError> {
        if self.waits {
            from.stage_delete(key, clock, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        Ok(Taken::Done { removed: from.delete_through(key, clock)? })
    }
}

impl<F: File> ReplicaStorage for Stores<F> {
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.store.get(key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        Ok(self.store.get_versions(key))
    }

    fn start_put(&self, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
        self.put(&self.store, key, version, ticket)
    }

    fn start_delete(&self, key: &[u8], clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError> {
        Ok(self.remove(&self.store, key, clock, ticket)?)
    }

    fn start_hint(&self, key: &[u8], version: &Versioned, ticket: u64) -> Option<Result<Taken, PutError>> {
        Some(self.put(self.slops.as_ref()?, key, version, ticket))
    }
}

impl<F: File> Hints for Stores<F> {
    fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        if let Some(slops) = &self.slops {
            slops.for_each(|key, _| keys.push(key.to_vec()));
        }
        keys
    }

    fn read(&self, key: &[u8]) -> Vec<Versioned> {
        self.slops.as_ref().and_then(|slops| slops.get(key).ok()).unwrap_or_default()
    }

    fn forget(&self, key: &[u8], clock: &VectorClock) {
        if let Some(slops) = &self.slops {
            // A delete that fails leaves a hint that is delivered once more.
            let _ = self.remove(slops, key, clock, NOBODYS);
        }
    }
}
