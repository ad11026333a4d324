//! [`Rebalancer`]: a node's part in a rebalance. It stands in front of the node's [`Replica`]: it takes the orders, keeps
//! which ring is in force, fetches what the node takes over, and passes what clients ask on to donors. Requests, answers,
//! completions and time go in, messages come out; it names no thread, clock or socket.
//!
//! Invariants:
//! * A ring is gone by once it is kept durably, and stays in force over restarts.
//! * A write of a key that moves is answered once its donor has it (and the node, from the moment when it fetches). So
//!   whoever goes by the old ring, and a roll-back, find it.
//! * Nothing is passed on for a client whose ring isn't next to this node's: it could ask the donor, too, as another replica.
//! * Entries are fetched only from a donor that goes by the new ring and has finished the writes that it took by the old
//!   one: nothing is written behind the back of whoever fetches.
//! * What was deleted while a donor's answer was on its way isn't brought back by that answer.
//! * An order that comes after one that was given later, by its id, is dropped: whoever gave it knows better by now. An
//!   order that changes something, or forbids earlier ones, is kept before it is answered: that stands a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine_env::Peer;

use super::keeping::Keep;
use super::metadata::{MetadataKey, RingRecord, StealRecord, digest};
use super::moving::Moving;
use super::partition_storage::{KeptMetadata, PartitionStorage};
use super::proxied::Proxied;
use super::sweep::Sweep;
use crate::message::{
    MessageError, NodeProgress, RebalanceRequest, ReplicaError, Request, RequestId, Response,
    asks_to_rebalance,
};
use crate::replica::{Replica, Taken, refused_delete, refused_put};
use crate::ring::{NodeId, Routing};
use crate::storage::PutError;
use crate::version::{VectorClock, Versioned};

/// Settings of a node's part in rebalances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalancerConfig {
    /// How long a donor may take to answer, in milliseconds. Default: 1000.
    pub donor_timeout_ms: u64,
    /// How many donors are fetched from at once. Default: 3, as in the original.
    pub donors_at_once: usize,
    /// Most bytes of versions in a page, but at least an entry: the node's thread writes a page in one go. Default: 128 KiB.
    pub page_bytes: u32,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<crate::ClusterBug>,
}

impl Default for RebalancerConfig {
    fn default() -> Self {
        Self {
            donor_timeout_ms: 1000,
            donors_at_once: 3,
            page_bytes: 128 << 10,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// What it has counted since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebalancerStats {
    /// Reads that were answered from a donor.
    pub proxied_reads: u64,
    /// Puts and deletes that were passed on to a donor.
    pub proxied_writes: u64,
    /// Operations that weren't done because a donor didn't answer.
    pub proxies_failed: u64,
    /// Keys that were fetched from donors.
    pub keys_moved: u64,
    /// Bytes of keys and versions that were fetched from donors.
    pub bytes_moved: u64,
    /// Versions that were deleted because the node doesn't hold them by its ring.
    pub versions_dropped: u64,
}

/// Why a node's metadata can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node's own record {key:?} can't be read ({source}); restore its metadata folder, or start it as a new node"
)]
pub struct MetadataDamaged {
    /// Which record.
    pub key: MetadataKey,
    /// What is wrong with it.
    #[source]
    pub source: MessageError,
}

/// A question to a donor.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) donor: NodeId,
    pub(super) what: Asked,
}

#[derive(Debug)]
pub(super) enum Asked {
    /// For a client's operation.
    Operation { operation: u64, key: Vec<u8> },
    /// For entries.
    Fetch { steal: usize, until_ns: u64 },
}

/// What a write of its own is for.
#[derive(Debug)]
pub(super) enum Work {
    /// A stealer's client has asked.
    ForStealer {
        to: Peer,
        id: RequestId,
        is_delete: bool,
    },
    /// A page of entries.
    Page {
        version: u64,
        steal: usize,
    },
    /// What a donor has and the node lacks, before a client is told that its put is obsolete.
    CatchUp {
        operation: u64,
    },
    /// A client's delete, which the donor has done.
    Delete {
        operation: u64,
    },
    Keep(Keep),
    Sweep {
        number: u64,
    },
}

/// A write that has ended: what for, whether a delete removed something, and the refusal if it failed.
pub(super) type Worked = (Work, bool, Result<(), Response>);

/// A delete that passed while questions to donors were under way.
#[derive(Debug)]
pub(super) struct Deletion {
    /// Answers to questions before this id may know nothing of it.
    pub(super) before_id: u64,
    pub(super) key: Vec<u8>,
    pub(super) clock: VectorClock,
}

/// Ids of its questions and tickets of its writes have this bit, so that they are told from others'.
const OWN: u64 = 1 << 62;

/// A node's part in a rebalance.
#[derive(Debug)]
pub struct Rebalancer {
    pub(super) me: NodeId,
    pub(super) config: RebalancerConfig,
    pub(super) record: RingRecord,
    pub(super) moving: Option<Moving>,
    pub(super) operations: BTreeMap<u64, Proxied>,
    pub(super) asks: BTreeMap<u64, Ask>,
    pub(super) deletions: Vec<Deletion>,
    /// One after the other.
    pub(super) sweeps: VecDeque<Sweep>,
    /// The id of the latest order that it knows.
    pub(super) last_order: u64,
    pub(super) keeps: VecDeque<Keep>,
    pub(super) is_keeping: bool,
    /// How often something was kept: the clock of what is kept next.
    pub(super) kept: u64,
    pub(super) works: BTreeMap<u64, Work>,
    pub(super) worked: VecDeque<Worked>,
    pub(super) outputs: VecDeque<(Peer, Vec<u8>)>,
    /// For questions, writes and operations.
    pub(super) next_id: u64,
    pub(super) now_ns: u64,
    pub(super) stats: RebalancerStats,
}

impl Rebalancer {
    /// The part of the node `me`, with its replica: by the ring that it has kept, or else by that of `routing`. `first_id`
    /// is higher than any that an earlier life of the node has given, as the time is.
    ///
    /// # Errors
    /// What was kept can't be read.
    pub fn open(
        me: NodeId,
        routing: Routing,
        kept: &KeptMetadata,
        first_id: u64,
        config: RebalancerConfig,
    ) -> Result<(Self, Replica), MetadataDamaged> {
        let damaged = |key| move |source| MetadataDamaged { key, source };
        let record = match &kept.ring {
            Some(kept) => RingRecord::decode(&kept.value).map_err(damaged(MetadataKey::Ring))?,
            None => RingRecord { order: 0, version: 0, ring: Arc::clone(routing.ring()), rebalancing: None },
        };
        if let Some((_, steals)) = &record.rebalancing {
            let out =
                steals.iter().flat_map(|steal| &steal.partitions).any(|p| *p >= record.ring.partitions());
            if out {
                let source = MessageError::Count { count: record.ring.partitions(), left: 0 };
                return Err(MetadataDamaged { key: MetadataKey::Ring, source });
            }
        }
        let progress = match &kept.steals {
            Some(kept) => Some(StealRecord::decode(&kept.value).map_err(damaged(MetadataKey::Steals))?),
            None => None,
        };
        let mut replica = Replica::routed(me, routing);
        #[cfg(feature = "planted-bugs")]
        if config.planted_bug == Some(crate::ClusterBug::StaleRingAccepted) {
            replica.accept_stale_rings();
        }
        if record.version > 0 {
            replica.set_ring(record.version, Arc::clone(&record.ring));
        }
        let counted = |version: &Option<Versioned>| {
            version.iter().flat_map(|version| version.clock.entries()).map(|entry| entry.version).max()
        };
        let rebalancer = Self {
            me,
            config,
            last_order: progress.as_ref().map_or(0, |kept| kept.order).max(record.order),
            moving: Moving::new(&record, progress, 0),
            record,
            operations: BTreeMap::new(),
            asks: BTreeMap::new(),
            deletions: Vec::new(),
            sweeps: VecDeque::new(),
            keeps: VecDeque::new(),
            is_keeping: false,
            kept: counted(&kept.ring).max(counted(&kept.steals)).unwrap_or(0),
            works: BTreeMap::new(),
            worked: VecDeque::new(),
            outputs: VecDeque::new(),
            next_id: OWN | (first_id & (OWN - 1)),
            now_ns: 0,
            stats: RebalancerStats::default(),
        };
        Ok((rebalancer, replica))
    }

    /// Whether an answer with this id is to one of its questions: it goes to [`Rebalancer::handle_answer`].
    #[must_use]
    pub fn has_asked(id: RequestId) -> bool {
        id.0 & OWN != 0
    }

    /// Whether this ticket is one of its own: its completion goes to [`Rebalancer::completed`].
    #[must_use]
    pub fn has_ticket(&self, ticket: u64) -> bool {
        self.works.contains_key(&ticket)
    }

    /// A request came, of any kind: what isn't its business goes on to the replica.
    pub fn handle(
        &mut self,
        now_ns: u64,
        from: Peer,
        message: &[u8],
        replica: &mut Replica,
        storage: &impl PartitionStorage,
    ) {
        self.now_ns = now_ns;
        if self.moving.is_none() && !asks_to_rebalance(message) {
            replica.handle(from, message, storage);
            return;
        }
        match Request::decode(message) {
            Ok((id, Request::Rebalance(request))) => self.asked(from, id, request, replica, storage),
            Ok((id, request)) if replica.is_near(message) && self.pass_on(from, id, &request, message) => {}
            _ => replica.handle(from, message, storage),
        }
        self.settle(replica, storage);
    }

    /// A donor has answered.
    pub fn handle_answer(
        &mut self,
        now_ns: u64,
        from: Peer,
        id: RequestId,
        response: Response,
        replica: &mut Replica,
        storage: &impl PartitionStorage,
    ) {
        self.now_ns = now_ns;
        let is_from_it = |ask: &Ask| Peer(ask.donor.0.into()) == from;
        if !self.asks.get(&id.0).is_some_and(is_from_it) {
            return;
        }
        let Ask { what, .. } = self.asks.remove(&id.0).expect("looked up above");
        match what {
            Asked::Operation { operation, key } => {
                self.told(id.0, operation, &key, response, replica, storage);
            }
            Asked::Fetch { steal, .. } => self.fetched(id.0, steal, response, storage),
        }
        self.settle(replica, storage);
    }

    /// A peer can't be reached: if it is a donor, what waits for it is given up.
    pub fn unreachable(
        &mut self,
        now_ns: u64,
        peer: Peer,
        replica: &mut Replica,
        storage: &impl PartitionStorage,
    ) {
        self.now_ns = now_ns;
        let waiting = |(id, ask): (&u64, &Ask)| (Peer(ask.donor.0.into()) == peer).then_some(*id);
        for id in self.asks.iter().filter_map(waiting).collect::<Vec<_>>() {
            self.give_up(id);
        }
        self.settle(replica, storage);
    }

    /// A write that was taken for later has ended.
    pub fn completed(
        &mut self,
        now_ns: u64,
        ticket: u64,
        removed: bool,
        result: Result<(), PutError>,
        replica: &mut Replica,
        storage: &impl PartitionStorage,
    ) {
        self.now_ns = now_ns;
        if let Some(work) = self.works.remove(&ticket) {
            self.worked.push_back((work, removed, result.map_err(refused_put)));
        }
        self.settle(replica, storage);
    }

    /// When [`Rebalancer::handle_timeout`] is to be called. `None`: nothing is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let operations = self.operations.values().filter_map(Proxied::poll_timeout);
        let asks = self.asks.values().filter_map(|ask| match ask.what {
            Asked::Fetch { until_ns, .. } => Some(until_ns),
            Asked::Operation { .. } => None,
        });
        let sweep = self.can_sweep().then_some(0);
        operations.chain(asks).chain(sweep).chain(self.next_fetch_ns()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ns: u64, replica: &mut Replica, storage: &impl PartitionStorage) {
        self.now_ns = now_ns;
        let late = |(id, ask): (&u64, &Ask)| match ask.what {
            Asked::Fetch { until_ns, .. } => (until_ns <= now_ns).then_some(*id),
            Asked::Operation { operation, .. } => {
                self.operations.get(&operation).is_none_or(|op| op.is_late(now_ns)).then_some(*id)
            }
        };
        for id in self.asks.iter().filter_map(late).collect::<Vec<_>>() {
            self.give_up(id);
        }
        self.sweep_on(replica, storage);
        self.settle(replica, storage);
    }

    /// A message to be sent, and to whom.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// Whether partitions move: Voldemort's `REBALANCING_MASTER`.
    #[must_use]
    pub fn is_rebalancing(&self) -> bool {
        self.moving.is_some()
    }

    /// Whether something of its own waits for the disk.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        !self.works.is_empty()
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> NodeProgress {
        let moving = self.moving.as_ref();
        let count = |len: usize| u32::try_from(len).expect("at most one for each node");
        NodeProgress {
            ring_version: self.record.version,
            ring_digest: digest(&self.record.ring),
            is_rebalancing: moving.is_some(),
            is_suspended: moving.is_some_and(|moving| moving.is_suspended),
            is_repairing: self.sweeps.front().is_some_and(Sweep::is_repair),
            steals: moving.map_or(0, |moving| count(moving.steals.len())),
            steals_done: moving.map_or(0, |moving| count(moving.moved_count())),
            keys_moved: self.stats.keys_moved,
            bytes_moved: self.stats.bytes_moved,
            failure: moving.and_then(|moving| moving.failure.clone()),
        }
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> RebalancerStats {
        self.stats
    }

    pub(super) fn answer(&mut self, to: Peer, id: RequestId, response: &Response) {
        self.outputs.push_back((to, response.encode(id)));
    }

    pub(super) fn refuse(&mut self, to: Peer, id: RequestId, why: String) {
        self.answer(to, id, &Response::Refused(ReplicaError::Application { why }));
    }

    /// Asks a donor; the id of the question.
    pub(super) fn ask(&mut self, donor: NodeId, request: RebalanceRequest<'_>, what: Asked) -> u64 {
        let id = self.new_id();
        self.outputs.push_back((Peer(donor.0.into()), Request::Rebalance(request).encode(RequestId(id))));
        self.asks.insert(id, Ask { donor, what });
        id
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id = OWN | (self.next_id.wrapping_add(1) & (OWN - 1));
        self.next_id
    }

    fn give_up(&mut self, id: u64) {
        let Some(Ask { donor, what }) = self.asks.remove(&id) else { return };
        match what {
            Asked::Operation { operation, .. } => self.proxy_failed(operation, donor),
            Asked::Fetch { steal, .. } => self.fetch_later(steal),
        }
    }

    pub(super) fn put(
        &mut self,
        key: &[u8],
        version: &Versioned,
        work: Work,
        storage: &impl PartitionStorage,
    ) {
        let ticket = self.new_id();
        match storage.start_put(key, version, ticket) {
            Ok(Taken::Later) => drop(self.works.insert(ticket, work)),
            Ok(Taken::Done { .. }) => self.worked.push_back((work, false, Ok(()))),
            Err(error) => self.worked.push_back((work, false, Err(refused_put(error)))),
        }
    }

    pub(super) fn delete(
        &mut self,
        key: &[u8],
        clock: &VectorClock,
        work: Work,
        storage: &impl PartitionStorage,
    ) {
        let ticket = self.new_id();
        match storage.start_delete(key, clock, ticket) {
            Ok(Taken::Later) => drop(self.works.insert(ticket, work)),
            Ok(Taken::Done { removed }) => self.worked.push_back((work, removed, Ok(()))),
            Err(error) => self.worked.push_back((work, false, Err(refused_delete(&error)))),
        }
    }

    /// Does what has become possible.
    fn settle(&mut self, replica: &mut Replica, storage: &impl PartitionStorage) {
        loop {
            self.start_keep(storage);
            let Some((work, removed, result)) = self.worked.pop_front() else { break };
            match work {
                Work::ForStealer { to, id, is_delete } => {
                    let response = match result {
                        Err(refusal) => refusal,
                        Ok(()) if is_delete => Response::Deleted(removed),
                        Ok(()) => Response::Stored,
                    };
                    self.answer(to, id, &response);
                }
                Work::Page { version, steal } => self.page_version_written(version, steal, result),
                Work::CatchUp { operation } => self.caught_up(operation, result),
                Work::Delete { operation } => self.deleted(operation, removed, result),
                Work::Keep(keep) => self.has_kept(keep, result, replica),
                Work::Sweep { number } => self.swept(number, removed, result),
            }
        }
        self.fetch_on();
        self.forget_deletions();
    }

    /// Answers to questions that are still under way are the last ones that may not know of a delete.
    fn forget_deletions(&mut self) {
        if !self.deletions.is_empty() {
            let oldest = self.asks.keys().next().copied().unwrap_or(u64::MAX);
            self.deletions.retain(|deletion| deletion.before_id > oldest);
        }
    }

    /// Those of a donor's versions that weren't deleted since question `id` was asked.
    pub(super) fn not_deleted(&self, id: u64, key: &[u8], mut versions: Vec<Versioned>) -> Vec<Versioned> {
        for deletion in self.deletions.iter().filter(|d| d.before_id > id && d.key == key) {
            versions
                .retain(|version| version.clock.compare(&deletion.clock) != crate::version::Occurred::Before);
        }
        versions
    }
}

#[cfg(test)]
#[path = "rebalancer_tests.rs"]
mod tests;
