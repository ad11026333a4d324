//! [`KvOutage`]: what a session of the store keeps of an outage: whose write was acknowledged first, and which keys the node
//! missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_engine::{NodeId, Ring, Routing, RoutingStrategy, VectorClock};

use super::missed_keys::MissedKeys;
use super::outage::OutageWatch;
use crate::report::record::Recovery;

/// An outage of a node, as the session sees it.
#[derive(Debug)]
pub(super) struct KvOutage {
    watch: OutageWatch,
    routing: Routing,
    /// Keys of writes under way, by token.
    writes: HashMap<u64, Box<[u8]>>,
    missed: Arc<Mutex<MissedKeys>>,
}

impl KvOutage {
    /// Of a store with `n` copies of each key. The node is asked about `missed` by somebody else.
    pub(super) fn new(watch: OutageWatch, ring: Arc<Ring>, n: u16, missed: Arc<Mutex<MissedKeys>>) -> Self {
        let routing = Routing::new(ring, RoutingStrategy::Consistent, n);
        Self { watch, routing, writes: HashMap::new(), missed }
    }

    /// A write goes to the cluster. A key belongs to its master first of all.
    pub(super) fn handed_over(&mut self, token: u64, key: &[u8]) {
        let replicas = self.routing.replicas(key);
        self.watch.handed_over(token, || replicas.first().map_or(u16::MAX, |master| master.0));
        if replicas.contains(&NodeId(self.watch.member())) {
            self.writes.insert(token, key.into());
        }
    }

    /// An operation has ended; an acknowledged write with the clock that it gave the key.
    pub(super) fn ended(&mut self, token: u64, is_acknowledged: bool, clock: Option<VectorClock>) {
        self.watch.ended(token, is_acknowledged);
        if let (Some(key), Some(clock)) = (self.writes.remove(&token), clock)
            && self.watch.is_away()
        {
            lock(&self.missed).missed(key, clock);
        }
    }

    pub(super) fn recovery(&self) -> Option<Recovery> {
        let recovery = self.watch.recovery()?;
        let (asked, lacking) = lock(&self.missed).counts();
        let count = |keys: usize| Some(keys as u64);
        Some(Recovery { keys_asked: count(asked), keys_lacking: count(lacking), ..recovery })
    }
}

/// Whoever panicked with it left a sample that is whole.
pub(super) fn lock(missed: &Mutex<MissedKeys>) -> MutexGuard<'_, MissedKeys> {
    missed.lock().unwrap_or_else(PoisonError::into_inner)
}
