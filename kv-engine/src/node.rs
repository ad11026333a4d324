//! [`KvNode`]: a replica with its threads, its folder and its port. An edge: here is a thread.
//!
//! One thread receives, works and sends; it never waits for a commit. A durable write's completion rings its port, so
//! that it waits for network and disk at once. Each round takes all that has arrived, and sends all answers in one
//! flush. The store's own threads commit and maintain. What the node itself has to remember, which ring is in force and what
//! it is taking over, is in a small store of its own.

#![expect(clippy::disallowed_methods, reason = "the edge: here is a thread")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{
    Arrival, CompletionQueue, Durability, Home, Net, NetError, Peer, Port, PortStats, Wait, Waker,
};

use crate::anti_entropy::{AntiEntropy, AntiEntropyConfig, AntiEntropyStats, SLICES};
use crate::config::KvConfig;
use crate::followers::Followers;
use crate::handoff::{Hints, Pusher};
use crate::membership::{
    KeptMetadata, MetadataDamaged, MetadataKey, PartitionStorage, Rebalancer, RebalancerConfig,
    RebalancerStats,
};
use crate::message::{Response, asks_about_trees, asks_for_changes, is_response};
use crate::replica::{NOBODYS, Replica, ReplicaStats, ReplicaStorage, Taken};
use crate::ring::{NodeId, Ring, Routing, RoutingStrategy};
use crate::storage::bitcask::{KvDone, KvStats, RecoveryReport};
use crate::storage::{
    CloseError, DeleteError, EntriesPage, EntriesPosition, GetError, OpenError, PutError, Storage,
};
use crate::store::KvStore;
use crate::version::{VectorClock, Versioned};

/// Settings of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its store.
    pub storage: KvConfig,
    /// How many replicas a key has: by it and the ring the node knows which keys it holds.
    pub replicas: u16,
    /// How keys are dealt out to nodes. Default: consistent routing.
    pub routing: RoutingStrategy,
    /// The store's name, as clients have it: hints for another store are purged. Default: `store`.
    pub store: String,
    /// How often the hints that it keeps are delivered, in milliseconds. Default: 300,000, five minutes, as in the
    /// original.
    pub push_every_ms: u64,
    /// How it takes part in rebalances; for that it needs a folder for its metadata.
    pub rebalancer: RebalancerConfig,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<crate::ClusterBug>,
    /// Whether and how often the node compares what it holds with its peers, so that both get what they lack; it answers
    /// peers that do. All nodes have it, or none. Default: none, as in the original.
    pub anti_entropy: Option<AntiEntropyConfig>,
}

/// A node's folders.
#[derive(Debug)]
pub struct NodeHomes<H> {
    /// Of its store.
    pub store: H,
    /// Of the hints that it keeps for other nodes. None: it keeps none.
    pub hints: Option<H>,
    /// Of what it keeps of its own: which ring is in force. None: it can't take part in a rebalance.
    pub metadata: Option<H>,
}

impl NodeConfig {
    /// A node of a cluster with so many replicas of each key.
    #[must_use]
    pub fn new(storage: KvConfig, replicas: u16) -> Self {
        Self {
            storage,
            replicas,
            routing: RoutingStrategy::Consistent,
            store: "store".to_owned(),
            push_every_ms: 300_000,
            rebalancer: RebalancerConfig::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
            anti_entropy: None,
        }
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
    /// What it keeps of its own can't be read.
    #[error("the metadata of {node} can't be read")]
    Metadata {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: MetadataDamaged,
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
    /// Hints that it keeps for other nodes now.
    pub hints: u64,
    /// Hints that it has delivered.
    pub hints_delivered: u64,
    /// Its part in rebalances.
    pub rebalancer: RebalancerStats,
    /// Comparisons with its peers.
    pub anti_entropy: AntiEntropyStats,
}

/// A running node. Dropping it without [`KvNode::stop`] is like [`KvNode::kill`].
pub struct KvNode {
    node: NodeId,
    shared: Arc<Shared>,
    waker: Waker,
    recovery: RecoveryReport,
    /// Of the store, and how many hints are kept.
    store_stats: Box<dyn Fn() -> (KvStats, u64) + Send + Sync>,
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
    counted: Mutex<Counted>,
}

/// What its thread has counted.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    replica: ReplicaStats,
    port: PortStats,
    hints_delivered: u64,
    rebalancer: RebalancerStats,
    anti_entropy: AntiEntropyStats,
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
        let homes = NodeHomes { store: home, hints: None, metadata: None };
        Self::start_in(homes, net, node, ring, config)
    }

    /// Like [`KvNode::start`], with a second folder for the hints that it keeps for other nodes: what they missed, to
    /// be delivered every [`NodeConfig::push_every_ms`]. Hints are as durable as the store.
    ///
    /// # Errors
    /// As [`KvNode::start`]; either folder.
    pub fn start_with_hints<H: Home, N: Net>(
        home: H,
        hints: H,
        net: &N,
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
    ) -> Result<Self, StartError> {
        let homes = NodeHomes { store: home, hints: Some(hints), metadata: None };
        Self::start_in(homes, net, node, ring, config)
    }

    /// Like [`KvNode::start`], with the folders that are given. With one for metadata the node takes part in rebalances,
    /// and goes by the ring that it went by last: `ring` is for its first start.
    ///
    /// # Errors
    /// As [`KvNode::start`]; any folder; or what it has kept can't be read.
    pub fn start_in<H: Home, N: Net>(
        homes: NodeHomes<H>,
        net: &N,
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
    ) -> Result<Self, StartError> {
        let open =
            |home, config| KvStore::open(home, config).map_err(|source| StartError::Store { node, source });
        let metadata = homes.metadata.map(|home| open(home, metadata_config(&config.storage))).transpose()?;
        let metadata = metadata.map(|(metadata, _)| Arc::new(metadata));
        let kept = kept_metadata(metadata.as_deref());
        if kept.ring.is_none() && ring.nodes().binary_search(&node).is_err() {
            return Err(StartError::NotInRing { node });
        }
        let durability = config.storage.durability;
        let clock = Monotonic::start();
        let pusher = Pusher::new(clock.now_ns(), config.push_every_ms, config.store);
        #[cfg(feature = "planted-bugs")]
        let pusher = pusher.with_bug(config.planted_bug);
        let (store, recovery) = open(homes.store, config.storage.clone())?;
        let store = Arc::new(store);
        let slops = homes.hints.map(|home| open(home, config.storage)).transpose()?;
        let slops = slops.map(|(slops, _)| Arc::new(slops));
        let routing = Routing::new(ring, config.routing, config.replicas);
        let first_id = u64::try_from(wall_ms()).unwrap_or(0).wrapping_mul(1_000_000);
        let (rebalancer, replica) = Rebalancer::open(node, routing, &kept, first_id, config.rebalancer)
            .map_err(|source| StartError::Metadata { node, source })?;
        let port = net.join(Peer(node.0.into()))?;
        let waker = port.waker();
        let shared = Arc::new(Shared::default());
        let completions = Arc::new(CompletionQueue::with_waker(waker.clone()));
        let stores = Stores {
            store: Arc::clone(&store),
            slops: slops.clone(),
            metadata,
            waits: durability == Durability::Synced,
            completions,
        };
        let anti_entropy = config.anti_entropy.map(|config| AntiEntropy::new(clock.now_ns(), node, config));
        let service = Service {
            followers: Followers::new(waker.clone()),
            port,
            replica,
            rebalancer,
            pusher,
            anti_entropy,
            walks: false,
            clock,
            stores,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name(format!("kv-node-{}", node.0))
            .spawn(move || service.run())
            .expect("the operating system refused a thread");
        let of = (Arc::downgrade(&store), slops.as_ref().map(Arc::downgrade));
        let store_stats = Box::new(move || {
            let store = of.0.upgrade().map(|store| store.stats()).unwrap_or_default();
            let slops = of.1.as_ref().and_then(Weak::upgrade);
            (store, slops.map_or(0, |slops| slops.stats().keys))
        });
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
        let Counted { replica, port, hints_delivered, rebalancer, anti_entropy } =
            *self.shared.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, hints) = (self.store_stats)();
        NodeStats { replica, port, store, hints, hints_delivered, rebalancer, anti_entropy }
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

/// The stores, and where they hand completions.
struct Stores<H: Home> {
    store: Arc<KvStore<H>>,
    /// Hints for other nodes.
    slops: Option<Arc<KvStore<H>>>,
    /// What the node keeps of its own.
    metadata: Option<Arc<KvStore<H>>>,
    /// Whether a write has to wait for the disk; otherwise it is done when the call returns.
    waits: bool,
    completions: Arc<CompletionQueue<KvDone>>,
}

impl<H: Home> ReplicaStorage for Stores<H> {
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

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) -> bool {
        self.store.clocks_of_slice((slice, SLICES), each);
        true
    }

    fn start_hint(&self, key: &[u8], version: &Versioned, ticket: u64) -> Option<Result<Taken, PutError>> {
        let slops = self.slops.as_ref()?;
        Some(if self.waits {
            slops.put_async(key, version, ticket, &self.completions).map(|()| Taken::Later)
        } else {
            slops.put(key, version).map(|()| Taken::Done { removed: false })
        })
    }
}

impl<H: Home> PartitionStorage for Stores<H> {
    fn page(
        &self,
        ring: &Ring,
        partitions: &[u32],
        from: &EntriesPosition,
        max_bytes: usize,
    ) -> Result<EntriesPage, GetError> {
        self.store.page_of(ring, partitions, from, max_bytes)
    }

    fn keeps_metadata(&self) -> bool {
        self.metadata.is_some()
    }

    fn start_keep(
        &self,
        key: MetadataKey,
        version: &Versioned,
        ticket: u64,
    ) -> Option<Result<Taken, PutError>> {
        let metadata = self.metadata.as_ref()?;
        Some(if self.waits {
            metadata.put_async(key.bytes(), version, ticket, &self.completions).map(|()| Taken::Later)
        } else {
            metadata.put(key.bytes(), version).map(|()| Taken::Done { removed: false })
        })
    }
}

/// The settings of the store of what a node keeps of its own: a few small values.
fn metadata_config(storage: &KvConfig) -> KvConfig {
    KvConfig { durability: storage.durability, segment_bytes: 1 << 20, shards: 1, ..KvConfig::default() }
}

/// What a node has kept. An entry that can't be read is damage, which its decoder tells.
fn kept_metadata<H: Home>(metadata: Option<&KvStore<H>>) -> KeptMetadata {
    let kept = |key: MetadataKey| {
        let versions =
            metadata?.get(key.bytes()).unwrap_or_else(|_| vec![Versioned::new(VectorClock::empty(0), b"")]);
        versions.into_iter().next_back()
    };
    KeptMetadata { ring: kept(MetadataKey::Ring), steals: kept(MetadataKey::Steals) }
}

impl<H: Home> Hints for Stores<H> {
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
            let _ = slops.delete_async(key, clock, NOBODYS, &self.completions);
        }
    }
}

/// What the node's thread runs.
struct Service<H: Home, P> {
    port: P,
    replica: Replica,
    rebalancer: Rebalancer,
    pusher: Pusher,
    anti_entropy: Option<AntiEntropy>,
    /// Whether it is walking through the store, so that it doesn't wait.
    walks: bool,
    followers: Followers<H>,
    clock: Monotonic,
    stores: Stores<H>,
    shared: Arc<Shared>,
}

impl<H: Home, P: Port> Service<H, P> {
    fn run(mut self) -> Result<(), CloseError> {
        let mut arrivals = Vec::new();
        let mut done = Vec::new();
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            let ending = self.shared.ending.load(Ordering::Acquire);
            if ending && (!closing || (self.replica.pending() == 0 && !self.rebalancer.is_writing())) {
                break;
            }
            self.port.receive(self.wait(), &mut arrivals);
            for arrival in arrivals.drain(..) {
                match arrival {
                    Arrival::Message { from, bytes } if is_response(&bytes) => self.answered(from, &bytes),
                    Arrival::Message { from, bytes } if self.compares() && asks_about_trees(&bytes) => {
                        self.asked_about_trees(from, &bytes);
                    }
                    Arrival::Message { from, bytes } if asks_for_changes(&bytes) => {
                        self.followers.handle(from, &bytes, &self.stores.store);
                    }
                    Arrival::Message { from, bytes } => {
                        let now_ns = self.clock.now_ns();
                        self.rebalancer.handle(now_ns, from, &bytes, &mut self.replica, &self.stores);
                    }
                    // Of other clients there is nothing to forget: the port drops answers to those that are gone.
                    Arrival::Unreachable { peer } => {
                        self.followers.unreachable(peer);
                        let now_ns = self.clock.now_ns();
                        self.rebalancer.unreachable(now_ns, peer, &mut self.replica, &self.stores);
                        if let Ok(node) = u16::try_from(peer.0) {
                            self.unreachable(NodeId(node));
                        }
                    }
                }
            }
            self.stores.completions.drain(Wait::No, &mut done);
            for KvDone { token, removed, result } in done.drain(..) {
                if self.rebalancer.has_ticket(token) {
                    let (now_ns, replica) = (self.clock.now_ns(), &mut self.replica);
                    self.rebalancer.completed(now_ns, token, removed, result, replica, &self.stores);
                } else if token != NOBODYS {
                    self.replica.completed(token, removed, result);
                }
            }
            let now_ns = self.clock.now_ns();
            if self.rebalancer.poll_timeout().is_some_and(|due_ns| due_ns <= now_ns) {
                self.rebalancer.handle_timeout(now_ns, &mut self.replica, &self.stores);
            }
            self.push_hints();
            self.compare_with_peers();
            self.followers.tell();
            for (to, bytes) in self.followers.outputs() {
                self.port.send(to, bytes);
            }
            while let Some((to, bytes)) = self.rebalancer.poll_output() {
                self.port.send(to, bytes);
            }
            while let Some((to, bytes)) = self.replica.poll_output() {
                self.port.send(to, bytes);
            }
            let counted = Counted {
                replica: self.replica.stats(),
                port: self.port.stats(),
                hints_delivered: self.pusher.delivered_count(),
                rebalancer: self.rebalancer.stats(),
                anti_entropy: self.anti_entropy.as_ref().map(AntiEntropy::stats).unwrap_or_default(),
            };
            *self.shared.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        }
        let Self { mut port, followers, stores, shared, .. } = self;
        // Their feeds hold the store.
        drop(followers);
        if !shared.closing.load(Ordering::Acquire) {
            return Ok(());
        }
        port.flush();
        drop(port);
        let Stores { store, slops, metadata, .. } = stores;
        let mine = "the node's owner holds it weakly, and is busy stopping it";
        let close = |store: Arc<KvStore<H>>| Arc::into_inner(store).expect(mine).close();
        let (hints, metadata) = (slops.map_or(Ok(()), close), metadata.map_or(Ok(()), close));
        close(store).and(hints).and(metadata)
    }

    fn wait(&self) -> Wait {
        if self.walks {
            return Wait::No;
        }
        let of_hints = self.stores.slops.as_ref().map(|_| self.pusher.poll_timeout());
        let of_rebalance = self.rebalancer.poll_timeout();
        let of_comparison = self.anti_entropy.as_ref().and_then(AntiEntropy::poll_timeout);
        let due_ns = of_hints.into_iter().chain(of_rebalance).chain(of_comparison).min();
        let Some(due_ns) = due_ns else { return Wait::Forever };
        match due_ns.saturating_sub(self.clock.now_ns()) {
            0 => Wait::No,
            left_ns => Wait::AtMost(Duration::from_nanos(left_ns)),
        }
    }

    fn answered(&mut self, from: Peer, bytes: &[u8]) {
        let Ok((id, response)) = Response::decode(bytes) else { return };
        if Rebalancer::has_asked(id) {
            let now_ns = self.clock.now_ns();
            self.rebalancer.handle_answer(now_ns, from, id, response, &mut self.replica, &self.stores);
            return;
        }
        self.pusher.handle(from, id, &response);
        if let Some(anti_entropy) = &mut self.anti_entropy {
            let now_ns = self.clock.now_ns();
            anti_entropy.answered(now_ns, (from, id), response, self.replica.routing(), &self.stores);
        }
    }

    fn asked_about_trees(&mut self, from: Peer, bytes: &[u8]) {
        if let Some(anti_entropy) = &mut self.anti_entropy {
            anti_entropy.asked(from, bytes, self.replica.routing(), &self.stores);
        }
    }

    fn unreachable(&mut self, node: NodeId) {
        self.pusher.unreachable(node);
        if let Some(anti_entropy) = &mut self.anti_entropy {
            anti_entropy.unreachable(self.clock.now_ns(), node, self.replica.routing(), &self.stores);
        }
    }

    /// Whether it has a part in anti-entropy now. Not while partitions move: what a stealer has of them is what was left of an
    /// earlier time, or not yet all of it, and what its peers lack of that has been deleted.
    fn compares(&self) -> bool {
        self.anti_entropy.is_some() && !self.rebalancer.is_rebalancing()
    }

    fn compare_with_peers(&mut self) {
        let compares = self.compares();
        let Some(anti_entropy) = &mut self.anti_entropy else { return };
        let (now_ns, routing) = (self.clock.now_ns(), self.replica.routing());
        if !compares {
            anti_entropy.pause(now_ns);
        }
        anti_entropy.handle_timeout(now_ns, routing, &self.stores);
        self.walks = anti_entropy.walk(now_ns, routing, &self.stores);
        while let Some((to, bytes)) = anti_entropy.poll_output() {
            self.port.send(to, bytes);
        }
    }

    fn push_hints(&mut self) {
        if self.stores.slops.is_none() {
            return;
        }
        self.pusher.deliver(self.clock.now_ns(), self.replica.routing().ring(), &self.stores);
        while let Some((to, bytes)) = self.pusher.poll_output() {
            self.port.send(to, bytes);
        }
    }
}
