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
use engine_env::{Arrival, CompletionQueue, Home, Net, Peer, Port, Wait, Waker};

use super::config::{NodeConfig, NodeHomes};
use super::error::{StartError, StopError};
use super::machine::NodeMachine;
use super::stats::NodeStats;
use super::stores::{Stores, kept_metadata, metadata_config};
use crate::followers::Followers;
use crate::message::asks_for_changes;
use crate::ring::{NodeId, Ring};
use crate::storage::CloseError;
use crate::storage::bitcask::{KvStats, RecoveryReport};
use crate::store::KvStore;

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
    /// What its thread has counted, nothing of the stores.
    counted: Mutex<NodeStats>,
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
        let kept = kept_metadata(metadata.as_ref());
        NodeMachine::check(node, &ring, &kept)?;
        let (store, recovery) = open(homes.store, config.storage.clone())?;
        let store = Arc::new(store);
        let slops = homes.hints.map(|home| open(home, config.storage.clone())).transpose()?;
        let slops = slops.map(|(slops, _)| Arc::new(slops));
        let durability = config.storage.durability;
        let clock = Monotonic::start();
        let first_id = u64::try_from(wall_ms()).unwrap_or(0).wrapping_mul(1_000_000);
        let now = (clock.now_ns(), first_id);
        let machine = NodeMachine::new(node, ring, config, &kept, slops.is_some(), now)?;
        let port = net.join(Peer(node.0.into()))?;
        let waker = port.waker();
        let shared = Arc::new(Shared::default());
        let completions = Arc::new(CompletionQueue::with_waker(waker.clone()));
        let stores = Stores::new(Arc::clone(&store), slops.clone(), metadata, durability, completions);
        let service = Service {
            followers: Followers::new(waker.clone()),
            port,
            machine,
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
        let counted = *self.shared.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, hints) = (self.store_stats)();
        NodeStats { store, hints, ..counted }
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

/// What the node's thread runs.
struct Service<H: Home, P> {
    port: P,
    machine: NodeMachine,
    followers: Followers<H>,
    clock: Monotonic,
    stores: Stores<Arc<KvStore<H>>>,
    shared: Arc<Shared>,
}

impl<H: Home, P: Port> Service<H, P> {
    fn run(mut self) -> Result<(), CloseError> {
        let mut arrivals = Vec::new();
        let mut done = Vec::new();
        loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            let ending = self.shared.ending.load(Ordering::Acquire);
            if ending && (!closing || !self.machine.is_writing()) {
                break;
            }
            self.port.receive(self.wait(), &mut arrivals);
            for arrival in arrivals.drain(..) {
                match &arrival {
                    Arrival::Message { from, bytes } if asks_for_changes(bytes) => {
                        self.followers.handle(*from, bytes, &self.stores.store);
                        continue;
                    }
                    Arrival::Message { .. } => {}
                    Arrival::Unreachable { peer } => self.followers.unreachable(*peer),
                }
                self.machine.handle(self.clock.now_ns(), &arrival, &self.stores);
            }
            self.stores.completions.drain(Wait::No, &mut done);
            for done in done.drain(..) {
                self.machine.completed(self.clock.now_ns(), done, &self.stores);
            }
            self.machine.takes_turn(self.clock.now_ns(), &self.stores);
            self.followers.tell();
            for (to, bytes) in self.followers.outputs() {
                self.port.send(to, bytes);
            }
            while let Some((to, bytes)) = self.machine.poll_output() {
                self.port.send(to, bytes);
            }
            let counted = NodeStats { port: self.port.stats(), ..self.machine.stats() };
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
        let Some(due_ns) = self.machine.poll_timeout() else { return Wait::Forever };
        match due_ns.saturating_sub(self.clock.now_ns()) {
            0 => Wait::No,
            left_ns => Wait::AtMost(Duration::from_nanos(left_ns)),
        }
    }
}
