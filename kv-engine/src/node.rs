//! [`KvNode`]: a replica with its threads, its folder and its port. An edge: here is a thread.
//!
//! One thread receives, works and sends; it never waits for a commit. A durable write's completion rings its port, so
//! that it waits for network and disk at once. Each round takes all that has arrived, and sends all answers in one
//! flush. The store's own threads commit and maintain.

#![expect(clippy::disallowed_methods, reason = "the edge: here is a thread")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use engine_env::{
    Arrival, CompletionQueue, Durability, Home, Net, NetError, Peer, Port, PortStats, Wait, Waker,
};

use crate::config::KvConfig;
use crate::replica::{Replica, ReplicaStats, ReplicaStorage, Taken};
use crate::ring::{NodeId, Ring};
use crate::storage::bitcask::{KvDone, KvStats, RecoveryReport};
use crate::storage::{CloseError, DeleteError, GetError, OpenError, PutError, Storage};
use crate::store::KvStore;
use crate::version::{VectorClock, Versioned};

/// Settings of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its store.
    pub storage: KvConfig,
    /// How many replicas a key has: by it and the ring the node knows which keys it holds.
    pub replicas: u16,
}

impl NodeConfig {
    /// A node of a cluster with so many replicas of each key.
    #[must_use]
    pub fn new(storage: KvConfig, replicas: u16) -> Self {
        Self { storage, replicas }
    }
}

/// Why a node can't be started.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ring doesn't know it.
    #[error("{node} isn't in the ring; add it there first")]
    NotInRing {
        /// The node.
        node: NodeId,
    },
    /// Its store can't be opened.
    #[error("the store of {node} can't be opened")]
    Store {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: OpenError,
    },
    /// It can't join the network.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// Why a node couldn't be stopped cleanly. What was acknowledged is safe; the next start recovers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// Its store couldn't be closed.
    #[error("the store of {node} couldn't be closed")]
    Store {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: CloseError,
    },
    /// Its thread panicked.
    #[error("the thread of {node} panicked; its message is in the standard error output")]
    Panicked {
        /// The node.
        node: NodeId,
    },
}

/// What a node has counted since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NodeStats {
    /// Requests.
    pub replica: ReplicaStats,
    /// Messages sent.
    pub port: PortStats,
    /// Its store's figures.
    pub store: KvStats,
}

/// A running node. Dropping it without [`KvNode::stop`] is like [`KvNode::kill`].
pub struct KvNode {
    node: NodeId,
    shared: Arc<Shared>,
    waker: Waker,
    recovery: RecoveryReport,
    store_stats: Box<dyn Fn() -> KvStats + Send + Sync>,
    thread: Option<JoinHandle<Result<(), CloseError>>>,
}

impl std::fmt::Debug for KvNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvNode").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What the node's owner and its thread both touch.
#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    /// Whether the thread closes the store at its end.
    closing: AtomicBool,
    counted: Mutex<(ReplicaStats, PortStats)>,
}

impl KvNode {
    /// Opens the store in `home`, joins the network as `node`, and serves.
    ///
    /// # Errors
    /// The ring doesn't know the node, its folder can't be opened, or its name or address is taken.
    pub fn start<H: Home, N: Net>(
        home: H,
        net: &N,
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
    ) -> Result<Self, StartError> {
        if ring.nodes().binary_search(&node).is_err() {
            return Err(StartError::NotInRing { node });
        }
        let durability = config.storage.durability;
        let (store, recovery) =
            KvStore::open(home, config.storage).map_err(|source| StartError::Store { node, source })?;
        let store = Arc::new(store);
        let port = net.join(Peer(node.0.into()))?;
        let waker = port.waker();
        let shared = Arc::new(Shared::default());
        let completions = Arc::new(CompletionQueue::with_waker(waker.clone()));
        let service = Service {
            port,
            replica: Replica::new(node, ring, config.replicas),
            store: QueuedStore {
                store: Arc::clone(&store),
                waits: durability == Durability::Synced,
                completions,
            },
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name(format!("kv-node-{}", node.0))
            .spawn(move || service.run())
            .expect("the operating system refused a thread");
        let stats_of = Arc::downgrade(&store);
        let store_stats = Box::new(move || stats_of.upgrade().map(|s| s.stats()).unwrap_or_default());
        Ok(Self { node, shared, waker, recovery, store_stats, thread: Some(thread) })
    }

    /// What the store found when it was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        let (replica, port) = *self.shared.counted.lock().unwrap_or_else(PoisonError::into_inner);
        NodeStats { replica, port, store: (self.store_stats)() }
    }

    /// Answers what has arrived, leaves the network and closes the store.
    ///
    /// # Errors
    /// The store couldn't be closed cleanly. What was acknowledged is safe either way.
    pub fn stop(mut self) -> Result<(), StopError> {
        let node = self.node;
        self.shared.closing.store(true, Ordering::Release);
        match self.end() {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(source))) => Err(StopError::Store { node, source }),
            Some(Err(_)) => Err(StopError::Panicked { node }),
        }
    }

    /// Leaves the network and lets go of the store as it is: as close to a killed process as a thread can come.
    pub fn kill(self) {
        drop(self);
    }

    fn end(&mut self) -> Option<std::thread::Result<Result<(), CloseError>>> {
        self.shared.ending.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for KvNode {
    fn drop(&mut self) {
        // A panic there was reported by the panic hook; a second one here would only hide it.
        let _ = self.end();
    }
}

/// The store, and where it hands completions.
struct QueuedStore<H: Home> {
    store: Arc<KvStore<H>>,
    /// Whether a write has to wait for the disk; otherwise it is done when the call returns.
    waits: bool,
    completions: Arc<CompletionQueue<KvDone>>,
}

impl<H: Home> ReplicaStorage for QueuedStore<H> {
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.store.get(key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        self.store.get_versions(key)
    }

    fn start_put(&self, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
        if self.waits {
            self.store.put_async(key, version, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        self.store.put(key, version)?;
        Ok(Taken::Done { removed: false })
    }

    fn start_delete(&self, key: &[u8], clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError> {
        if self.waits {
            self.store.delete_async(key, clock, ticket, &self.completions)?;
            return Ok(Taken::Later);
        }
        Ok(Taken::Done { removed: self.store.delete(key, clock)? })
    }
}

/// What the node's thread runs.
struct Service<H: Home, P> {
    port: P,
    replica: Replica,
    store: QueuedStore<H>,
    shared: Arc<Shared>,
}

impl<H: Home, P: Port> Service<H, P> {
    fn run(mut self) -> Result<(), CloseError> {
        let mut arrivals = Vec::new();
        let mut done = Vec::new();
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            let ending = self.shared.ending.load(Ordering::Acquire);
            if ending && (!closing || self.replica.pending() == 0) {
                break;
            }
            self.port.receive(Wait::Forever, &mut arrivals);
            for arrival in arrivals.drain(..) {
                // Of a party that is gone there is nothing to forget: answers to it are dropped by the port.
                if let Arrival::Message { from, bytes } = arrival {
                    self.replica.handle(from, &bytes, &self.store);
                }
            }
            self.store.completions.drain(Wait::No, &mut done);
            for KvDone { token, removed, result } in done.drain(..) {
                self.replica.completed(token, removed, result);
            }
            while let Some((to, bytes)) = self.replica.poll_output() {
                self.port.send(to, bytes);
            }
            let counted = (self.replica.stats(), self.port.stats());
            *self.shared.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        }
        let Self { mut port, store, shared, .. } = self;
        if !shared.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        port.flush();
        drop(port);
        let store =
            Arc::into_inner(store.store).expect("the node's owner holds it weakly, and is busy stopping it");
        store.close()
    }
}
