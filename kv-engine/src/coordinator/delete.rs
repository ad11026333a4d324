//! [`Delete`]: one round of a delete.
//!
//! All available replicas are asked at once; the answers of as many as preferred are waited for, and then of all if
//! fewer than required have done it. Replicas that miss it keep the versions, and may bring them back: a delete leaves
//! nothing behind that would forbid it.

use super::error::KvOpError;
use super::hint::Missed;
use super::quorum::Contacts;
use super::round::{Limits, Quorum, Round};
use crate::handoff::SlopOperation;
use crate::membership::NodeFailure;
use crate::message::ReplicaError;
use crate::ring::NodeId;
use crate::version::VectorClock;

#[derive(Debug)]
pub(super) struct Delete {
    contacts: Contacts,
    quorum: Quorum,
    clock: VectorClock,
    until_ns: u64,
    /// Whether any replica removed something.
    removed: bool,
    answers: usize,
    result: Option<Result<(), KvOpError>>,
    answered: bool,
    succeeded: bool,
}

impl Delete {
    /// Starts: all replicas are due.
    pub(super) fn new(
        now_ns: u64,
        mut contacts: Contacts,
        quorum: Quorum,
        limits: Limits,
        clock: VectorClock,
    ) -> Self {
        contacts.ask_next(usize::MAX);
        Self {
            contacts,
            quorum,
            clock,
            until_ns: now_ns + limits.round_ns,
            removed: false,
            answers: 0,
            result: None,
            answered: false,
            succeeded: false,
        }
    }

    /// A replica to be asked, and the clock up to which versions go.
    pub(super) fn poll_due(&mut self) -> Option<(NodeId, &VectorClock)> {
        let node = self.contacts.poll_due()?;
        Some((node, &self.clock))
    }

    pub(super) fn deleted(&mut self, node: NodeId, removed: bool) {
        if self.contacts.succeed(node) {
            self.removed |= removed;
            self.answers += 1;
            self.look();
        }
    }

    fn look(&mut self) {
        if self.answered {
            return;
        }
        let enough = self.contacts.suffice(self.quorum.required);
        let left = self.contacts.outstanding();
        if enough && (self.answers >= self.quorum.preferred || left == 0) {
            self.end(Ok(()));
        } else if left == 0 {
            self.end(Err(self.contacts.shortfall(self.quorum.required)));
        }
    }

    fn end(&mut self, result: Result<(), KvOpError>) {
        self.answered = true;
        self.succeeded = result.is_ok();
        if result.is_err() {
            self.contacts.time_out(|_| {});
        }
        self.result = Some(result);
    }

    pub(super) fn failed_nodes(&self) -> Vec<NodeId> {
        self.contacts.failures().map(|(node, _)| node).collect()
    }

    /// A replica that missed it, and what; only once it has succeeded.
    pub(super) fn next_missed(&mut self) -> Option<Missed> {
        if !self.succeeded {
            return None;
        }
        let node = self.contacts.next_failed()?;
        Some(Missed { node, operation: SlopOperation::Delete, clock: self.clock.clone(), value: Vec::new() })
    }

    /// The clock, for another start.
    pub(super) fn into_clock(self) -> VectorClock {
        self.clock
    }

    /// Once it is known: whether something was removed and how many replicas did it, or why it failed.
    pub(super) fn poll_done(&mut self) -> Option<Result<(bool, usize), KvOpError>> {
        let result = self.result.take()?;
        Some(result.map(|()| (self.removed, self.contacts.succeeded())))
    }
}

impl Round for Delete {
    fn failed(&mut self, _now_ns: u64, node: NodeId, failure: NodeFailure) {
        if self.contacts.fail(node, failure) {
            self.answers += 1;
            self.look();
        }
    }

    fn refused(&mut self, now_ns: u64, node: NodeId, error: ReplicaError) {
        if !self.contacts.is_asked(node) {
            return;
        }
        let fatal = match error {
            ReplicaError::Persistence { why } => {
                return self.failed(now_ns, node, NodeFailure::Persistence { why });
            }
            ReplicaError::ProxyUnreachable { donor } => {
                return self.failed(now_ns, node, NodeFailure::ProxyUnreachable { donor });
            }
            // The replica has moved on: what was to go is gone.
            ReplicaError::ObsoleteVersion { .. } => return self.deleted(node, false),
            ReplicaError::InvalidMetadata => KvOpError::InvalidMetadata { node },
            ReplicaError::Application { why } => KvOpError::Application { node, why },
        };
        self.contacts.fail(node, NodeFailure::Refused);
        if !self.answered {
            self.end(Err(fatal));
        }
    }

    fn is_waiting_for(&self, node: NodeId) -> bool {
        self.contacts.is_asked(node)
    }

    fn poll_timeout(&self) -> Option<u64> {
        (!self.is_over()).then_some(self.until_ns)
    }

    fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId)) {
        if !self.is_over() && now_ns >= self.until_ns {
            self.contacts.time_out(gave_up);
            self.look();
        }
    }

    fn is_over(&self) -> bool {
        self.answered && self.contacts.outstanding() == 0
    }
}
