//! What a node is asked in a rebalance: orders of whoever runs it, and what stealers ask their donor.

use std::sync::Arc;

use engine_env::Peer;

use super::keeping::Keep;
use super::metadata::RingRecord;
use super::moving::Moving;
use super::partition_storage::PartitionStorage;
use super::rebalancer::{Asked, Rebalancer, Work};
use crate::message::{RebalanceRequest, RebalanceResponse, ReplicaError, RequestId, Response, Switch};
use crate::replica::{Replica, persistence};
use crate::ring::Ring;
use crate::storage::EntriesPage;
use crate::version::Versioned;

/// No page is larger, whoever asks; a single entry may be.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Rebalancer {
    pub(super) fn asked(
        &mut self,
        from: Peer,
        id: RequestId,
        request: RebalanceRequest<'_>,
        replica: &Replica,
        storage: &impl PartitionStorage,
    ) {
        let is_order = matches!(
            request,
            RebalanceRequest::Switch(_)
                | RebalanceRequest::Fence { .. }
                | RebalanceRequest::Suspend { .. }
                | RebalanceRequest::RollBack { .. }
                | RebalanceRequest::Finish { .. }
        );
        if is_order && id.0 < self.last_order {
            return;
        }
        if is_order {
            self.last_order = id.0;
        }
        match request {
            RebalanceRequest::Entries { ring_version, partitions, from: position, max_bytes } => {
                let is_there =
                    replica.ring_version() == ring_version && !replica.has_pending_before(ring_version);
                let response = if !is_there {
                    Response::Rebalance(RebalanceResponse::NotYet)
                } else if partitions.is_empty() {
                    Response::Rebalance(RebalanceResponse::Entries { next: None, entries: Vec::new() })
                } else {
                    // A page of more would block this thread, and perhaps fit into no message.
                    let max_bytes = (max_bytes as usize).min(PAGE_BYTES_MAX);
                    match storage.page(replica.routing().ring(), &partitions, &position, max_bytes) {
                        Ok(EntriesPage { entries, next }) => {
                            Response::Rebalance(RebalanceResponse::Entries { next, entries })
                        }
                        Err(error) => persistence(&error),
                    }
                };
                self.answer(from, id, &response);
            }
            // It has forgotten the ring before: whoever asks has everything, and needs it no more.
            RebalanceRequest::ProxyGet { key }
            | RebalanceRequest::ProxyPut { key, .. }
            | RebalanceRequest::ProxyDelete { key, .. }
                if self.moving.is_none() && !replica.routing().replicas(key).contains(&self.me) =>
            {
                self.answer(from, id, &Response::Refused(ReplicaError::InvalidMetadata));
            }
            RebalanceRequest::ProxyGet { key } => {
                let response = storage.read(key).map_or_else(|error| persistence(&error), Response::Values);
                self.answer(from, id, &response);
            }
            RebalanceRequest::ProxyPut { key, clock, value } => {
                let version = Versioned::new(clock, value);
                self.put(key, &version, Work::ForStealer { to: from, id, is_delete: false }, storage);
            }
            RebalanceRequest::ProxyDelete { key, clock } => {
                self.delete(key, &clock, Work::ForStealer { to: from, id, is_delete: true }, storage);
            }
            RebalanceRequest::Switch(order) => self.switch(from, id, *order),
            RebalanceRequest::Fence { version } => self.keeps.push_back(Keep::fenced(version, from, id)),
            RebalanceRequest::Suspend { version } => self.suspend(from, id, version),
            RebalanceRequest::RollBack { version, to } => self.roll_back(from, id, version, to),
            RebalanceRequest::Finish { version } => self.finish(from, id, version),
            RebalanceRequest::Repair => self.repair(from, id, replica),
            RebalanceRequest::State => {
                let mut progress = self.progress();
                if !storage.keeps_metadata() {
                    progress.failure = Some(self.keeps_nothing());
                }
                self.answer(from, id, &Response::Rebalance(RebalanceResponse::State(progress)));
            }
        }
    }

    fn switch(&mut self, from: Peer, id: RequestId, order: Switch) {
        let Switch { version, source, target, steals } = order;
        if self.record.version == version && self.record.ring == target {
            match &self.moving {
                None => self.answer(from, id, &Response::Stored),
                // Whoever goes on where another one was must not meet that one's orders to go back.
                Some(_) => self.keeps.push_back(Keep::confirmed(version, from, id)),
            }
            return;
        }
        if self.record.version >= version || self.moving.is_some() {
            let what = if self.moving.is_some() { "is being rebalanced to" } else { "goes by" };
            let why = format!(
                "{} {what} ring version {}, so it can't switch to version {version}",
                self.me, self.record.version
            );
            self.refuse(from, id, why);
            return;
        }
        let partitions = self.record.ring.partitions();
        let fits = |ring: &Ring| ring.partitions() == partitions;
        let mut all = steals.iter().flat_map(|steal| &steal.partitions);
        let own = steals.iter().any(|steal| steal.donor == self.me);
        if !fits(&source) || !fits(&target) || own || all.any(|partition| *partition >= partitions) {
            let why = format!("the order doesn't fit the {partitions} partitions of {}", self.me);
            self.refuse(from, id, why);
            return;
        }
        // The same order again, while it is carried out: whoever sent it asks once more.
        if self.is_switching() {
            return;
        }
        let record = RingRecord { order: id.0, version, ring: target, rebalancing: Some((source, steals)) };
        self.keeps.push_back(Keep::in_force(record, from, id));
    }

    fn suspend(&mut self, from: Peer, id: RequestId, version: u64) {
        match &self.moving {
            // Also where it is suspended: it may be about to go on.
            Some(moving) if moving.version == version => {
                self.keeps.push_back(Keep::suspended(version, from, id));
            }
            None if self.record.version == version => self.refuse_finished(from, id, version),
            // It has gone back already, or was never there.
            _ => self.answer(from, id, &Response::Stored),
        }
    }

    fn roll_back(&mut self, from: Peer, id: RequestId, version: u64, to: u64) {
        if self.record.version >= to {
            self.answer(from, id, &Response::Stored);
            return;
        }
        let ring = match &self.record.rebalancing {
            Some((source, _)) => source,
            None if self.record.version == version => {
                self.refuse_finished(from, id, version);
                return;
            }
            None => &self.record.ring,
        };
        let record = RingRecord { order: id.0, version: to, ring: Arc::clone(ring), rebalancing: None };
        self.keeps.push_back(Keep::in_force(record, from, id));
    }

    fn finish(&mut self, from: Peer, id: RequestId, version: u64) {
        if self.record.version != version {
            let why = format!("{} goes by ring version {}, not {version}", self.me, self.record.version);
            self.refuse(from, id, why);
            return;
        }
        match &self.moving {
            None => self.answer(from, id, &Response::Stored),
            Some(moving) if moving.is_done() => {
                let ring = Arc::clone(&self.record.ring);
                let record = RingRecord { order: id.0, version, ring, rebalancing: None };
                self.keeps.push_back(Keep::in_force(record, from, id));
            }
            Some(_) => {
                let why = format!("{} hasn't taken everything yet", self.me);
                self.refuse(from, id, why);
            }
        }
    }

    /// From now on it goes by this.
    pub(super) fn go_by(&mut self, record: RingRecord, replica: &mut Replica) {
        if record.version != self.record.version {
            replica.set_ring(record.version, Arc::clone(&record.ring));
        }
        self.record = record;
        self.moving = Moving::new(&self.record, None, self.now_ns);
        // What was fetched for another ring is nothing to this one, nor what was to be deleted by it.
        self.sweeps.clear();
        self.asks.retain(|_, ask| matches!(ask.what, Asked::Operation { .. }));
    }

    pub(super) fn refuse_finished(&mut self, to: Peer, id: RequestId, version: u64) {
        let why = format!(
            "the rebalance to ring version {version} is finished at {}: there is no way back",
            self.me
        );
        self.refuse(to, id, why);
    }
}
