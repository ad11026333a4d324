//! [`Proxied`]: a client's operation on keys that move here, which a donor has to see first.
//!
//! Until a stealer has everything, reads are answered with what the donor has, which is at least what was acknowledged. A
//! write goes to the donor first: what it refuses as obsolete is obsolete; what it has taken the stealer keeps too, once it
//! fetches, and answers. The original answers first and passes puts on afterwards, deletes never.

use std::collections::BTreeMap;

use engine_env::Peer;

use super::partition_storage::PartitionStorage;
use super::rebalancer::{Asked, Deletion, Rebalancer, Work};
use crate::message::{RebalanceRequest, ReplicaError, Request, RequestId, Response};
use crate::replica::{Replica, persistence};
use crate::ring::NodeId;
use crate::version::Versioned;

#[derive(Debug)]
pub(super) struct Proxied {
    from: Peer,
    id: RequestId,
    /// The client's request.
    message: Vec<u8>,
    /// Answers that are missing.
    asked: usize,
    /// What donors have.
    found: BTreeMap<Vec<u8>, Vec<Versioned>>,
    /// Writes of its own that haven't ended.
    writes: usize,
    /// What the client is told in the end, if that is known.
    answer: Option<Response>,
    until_ns: u64,
}

impl Proxied {
    /// When it is given up, while a donor hasn't answered.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        (self.asked > 0).then_some(self.until_ns)
    }

    pub(super) fn is_late(&self, now_ns: u64) -> bool {
        self.until_ns <= now_ns
    }
}

impl Rebalancer {
    /// Passes a client's request on to donors, if it has to; whether it did.
    pub(super) fn pass_on(
        &mut self,
        from: Peer,
        id: RequestId,
        request: &Request<'_>,
        message: &[u8],
    ) -> bool {
        let Some(moving) = &self.moving else { return false };
        let partition = |key: &[u8]| self.record.ring.master_partition(key);
        let read = |key| {
            let donor = moving.reads_go_to(partition(key))?;
            Some((donor, key, RebalanceRequest::ProxyGet { key }))
        };
        let written = |key| moving.writes_go_to(partition(key));
        let questions: Vec<(NodeId, &[u8], RebalanceRequest<'_>)> = match request {
            Request::Get { key } | Request::GetVersions { key } => read(*key).into_iter().collect(),
            Request::GetAll { keys } => keys.iter().filter_map(|key| read(*key)).collect(),
            Request::Put { key, clock, value } => written(*key)
                .map(|donor| (donor, *key, RebalanceRequest::ProxyPut { key, clock: clock.clone(), value }))
                .into_iter()
                .collect(),
            Request::Delete { key, clock } => written(*key)
                .map(|donor| (donor, *key, RebalanceRequest::ProxyDelete { key, clock: clock.clone() }))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        if questions.is_empty() {
            return false;
        }
        match request {
            Request::Put { .. } | Request::Delete { .. } => self.stats.proxied_writes += 1,
            _ => self.stats.proxied_reads += 1,
        }
        let operation = self.new_id();
        let proxied = Proxied {
            from,
            id,
            message: message.to_vec(),
            asked: questions.len(),
            found: BTreeMap::new(),
            writes: 0,
            answer: None,
            until_ns: self.now_ns.saturating_add(self.donor_timeout_ns()),
        };
        self.operations.insert(operation, proxied);
        for (donor, key, question) in questions {
            self.ask(donor, question, Asked::Operation { operation, key: key.to_vec() });
        }
        true
    }

    /// A donor has answered question `id` of an operation.
    pub(super) fn told(
        &mut self,
        id: u64,
        operation: u64,
        key: &[u8],
        response: Response,
        replica: &mut Replica,
        storage: &impl PartitionStorage,
    ) {
        let Some(mut proxied) = self.operations.remove(&operation) else { return };
        proxied.asked -= 1;
        let message = std::mem::take(&mut proxied.message);
        let (_, request) = Request::decode(&message).expect("it was read when it came");
        let partition = self.record.ring.master_partition(key);
        let still_moves = self.moving.as_ref().is_some_and(|moving| moving.writes_go_to(partition).is_some());
        let keeps = match &self.moving {
            Some(moving) if still_moves => moving.keeps(partition),
            _ => replica.routing().replicas(key).contains(&self.me),
        };
        let response = match response {
            Response::Refused(ReplicaError::InvalidMetadata) if keeps => {
                self.of_finished_donor(&request, key, storage)
            }
            other => other,
        };
        let answer = match (request, response) {
            // The client's put is obsolete, and the node has now what makes it so.
            (_, Response::Values(versions)) if proxied.answer.is_some() => {
                let left = self.not_deleted(id, key, versions);
                proxied.writes = left.len();
                for version in &left {
                    self.put(key, version, Work::CatchUp { operation }, storage);
                }
                if left.is_empty() { proxied.answer.take() } else { None }
            }
            (Request::Get { .. }, Response::Values(versions)) => Some(Response::Values(versions)),
            (Request::GetVersions { .. }, Response::Values(versions)) => {
                Some(Response::Versions(versions.into_iter().map(|version| version.clock).collect()))
            }
            (Request::GetAll { keys }, Response::Values(versions)) => {
                proxied.found.insert(key.to_vec(), versions);
                (proxied.asked == 0).then(|| {
                    let found = &proxied.found;
                    replica.all_values(&keys, |key| {
                        found.get(key).map_or_else(|| storage.read(key), |v| Ok(v.clone()))
                    })
                })
            }
            // Another ring is in force by now, and the key isn't this node's: what the donor has done counts for nobody.
            (Request::Put { .. } | Request::Delete { .. }, Response::Stored | Response::Deleted(_))
                if !keeps && !still_moves =>
            {
                Some(Response::Refused(ReplicaError::InvalidMetadata))
            }
            (Request::Put { .. }, Response::Stored) => {
                if keeps {
                    replica.handle(proxied.from, &message, storage);
                    return;
                }
                Some(Response::Stored)
            }
            (Request::Put { .. }, Response::Refused(error @ ReplicaError::ObsoleteVersion { .. }))
                if keeps =>
            {
                proxied.answer = Some(Response::Refused(error));
                proxied.asked = 1;
                let donor = self
                    .moving
                    .as_ref()
                    .and_then(|moving| moving.writes_go_to(self.record.ring.master_partition(key)));
                match donor {
                    Some(donor) => {
                        let question = RebalanceRequest::ProxyGet { key };
                        self.ask(donor, question, Asked::Operation { operation, key: key.to_vec() });
                        None
                    }
                    None => proxied.answer.take(),
                }
            }
            (Request::Delete { clock, .. }, Response::Deleted(removed)) => {
                if keeps {
                    self.deletions.push(Deletion {
                        before_id: self.next_id + 1,
                        key: key.to_vec(),
                        clock: clock.clone(),
                    });
                    proxied.writes = 1;
                    proxied.answer = Some(Response::Deleted(removed));
                    self.delete(key, &clock, Work::Delete { operation }, storage);
                    None
                } else {
                    Some(Response::Deleted(removed))
                }
            }
            (_, Response::Refused(ReplicaError::InvalidMetadata)) => Some(self.no_answer(key)),
            (_, refusal @ Response::Refused(_)) => Some(refusal),
            // No answer to this question: the donor is of another build.
            _ => Some(self.no_answer(key)),
        };
        match answer {
            Some(answer) => self.answer(proxied.from, proxied.id, &answer),
            None => {
                proxied.message = message;
                self.operations.insert(operation, proxied);
            }
        }
    }

    /// The donor has forgotten the ring before, so this node has everything that it had: what it would have answered.
    fn of_finished_donor(
        &self,
        request: &Request<'_>,
        key: &[u8],
        storage: &impl PartitionStorage,
    ) -> Response {
        let partition = self.record.ring.master_partition(key);
        match request {
            Request::Put { .. } => Response::Stored,
            Request::Delete { .. } => Response::Deleted(false),
            _ if self.moving.as_ref().is_some_and(|moving| moving.reads_go_to(partition).is_some()) => {
                self.no_answer(key)
            }
            _ => storage.read(key).map_or_else(|error| persistence(&error), Response::Values),
        }
    }

    fn no_answer(&self, key: &[u8]) -> Response {
        let partition = self.record.ring.master_partition(key);
        let donor = self.moving.as_ref().and_then(|moving| moving.writes_go_to(partition));
        Response::Refused(ReplicaError::ProxyUnreachable { donor: donor.unwrap_or(self.me) })
    }

    /// A version that the donor has is there now, or can't be.
    pub(super) fn caught_up(&mut self, operation: u64, result: Result<(), Response>) {
        let obsolete =
            |refusal: &Response| matches!(refusal, Response::Refused(ReplicaError::ObsoleteVersion { .. }));
        let result = match result {
            Err(refusal) if obsolete(&refusal) => Ok(()),
            other => other,
        };
        self.wrote(operation, result);
    }

    /// The node has deleted what the donor has deleted.
    pub(super) fn deleted(&mut self, operation: u64, removed: bool, result: Result<(), Response>) {
        if let Some(proxied) = self.operations.get_mut(&operation)
            && let Some(Response::Deleted(anything)) = &mut proxied.answer
        {
            *anything |= removed;
        }
        self.wrote(operation, result);
    }

    /// A write of an operation has ended; after the last one the client has its answer.
    fn wrote(&mut self, operation: u64, result: Result<(), Response>) {
        let Some(proxied) = self.operations.get_mut(&operation) else { return };
        proxied.writes -= 1;
        if let Err(refusal) = result {
            proxied.answer = Some(refusal);
        }
        if proxied.writes == 0 {
            let Proxied { from, id, answer, .. } = self.operations.remove(&operation).expect("it is there");
            self.answer(from, id, &answer.expect("it was known before anything was written"));
        }
    }

    /// A donor doesn't answer.
    pub(super) fn proxy_failed(&mut self, operation: u64, donor: NodeId) {
        let Some(proxied) = self.operations.remove(&operation) else { return };
        self.stats.proxies_failed += 1;
        let refusal = Response::Refused(ReplicaError::ProxyUnreachable { donor });
        self.answer(proxied.from, proxied.id, &refusal);
    }
}
