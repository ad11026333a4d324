//! [`Put`]: one round of a put.
//!
//! First serially: each replica in turn is tried with the caller's clock counted up for it. The first success is the
//! master, and its clock is the version's. Then in parallel: the same clock to all replicas behind the master. It is
//! done when enough have succeeded and as many as preferred have answered, or when nobody is left to answer, or when
//! the time is up. A replica that has a newer version already counts as a success, except as master. Nothing is
//! undone when the put fails.
//!
//! After it was answered the round goes on until all replicas have answered or run out of time: those that didn't do
//! it are known then. Two things differ from the original: the time limit ends the serial part too, and the caller's
//! clock is always counted up (there it isn't if the master is the last replica and the store has no hand-off).

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
pub(super) struct Put {
    contacts: Contacts,
    quorum: Quorum,
    /// The caller's clock.
    base: VectorClock,
    /// The base, counted up for the replica that is tried, or for the master.
    clock: VectorClock,
    value: Vec<u8>,
    master: Option<NodeId>,
    /// The replica that is tried as master.
    tried: Option<NodeId>,
    wall_ms: i64,
    round_until_ns: u64,
    node_until_ns: u64,
    node_timeout_ns: u64,
    /// Answers of replicas other than the master, good or bad.
    answers: usize,
    result: Option<Result<(), KvOpError>>,
    answered: bool,
    succeeded: bool,
}

impl Put {
    /// Starts: the first replica is due. `wall_ms` becomes the version's timestamp.
    pub(super) fn new(
        (now_ns, wall_ms): (u64, i64),
        contacts: Contacts,
        quorum: Quorum,
        limits: Limits,
        base: VectorClock,
        value: Vec<u8>,
    ) -> Self {
        let mut put = Self {
            contacts,
            quorum,
            clock: VectorClock::empty(wall_ms),
            base,
            value,
            master: None,
            tried: None,
            wall_ms,
            round_until_ns: now_ns + limits.round_ns,
            node_until_ns: u64::MAX,
            node_timeout_ns: limits.node_ns,
            answers: 0,
            result: None,
            answered: false,
            succeeded: false,
        };
        put.try_next(now_ns);
        put
    }

    /// A replica to be asked, and what to put there.
    pub(super) fn poll_due(&mut self) -> Option<(NodeId, &VectorClock, &[u8])> {
        let node = self.contacts.poll_due()?;
        Some((node, &self.clock, &self.value))
    }

    fn try_next(&mut self, now_ns: u64) {
        self.tried = match now_ns < self.round_until_ns {
            true => self.contacts.ask_next(1),
            false => None,
        };
        let Some(node) = self.tried else {
            self.end(Err(self.contacts.insufficient(self.quorum.required)));
            return;
        };
        self.clock.clone_from(&self.base);
        if let Err(source) = self.clock.increment(node.0, self.wall_ms) {
            self.end(Err(source.into()));
            return;
        }
        self.node_until_ns = now_ns.saturating_add(self.node_timeout_ns);
    }

    pub(super) fn stored(&mut self, node: NodeId) {
        if !self.contacts.succeed(node) {
            return;
        }
        if self.master.is_none() {
            self.master = Some(node);
            self.contacts.ask_next(usize::MAX);
        } else {
            self.answers += 1;
        }
        self.look();
    }

    /// Whether it can be answered by now.
    fn look(&mut self) {
        if self.answered {
            return;
        }
        let enough = self.contacts.suffice(self.quorum.required);
        let left = self.contacts.outstanding();
        if enough && (self.answers + 1 >= self.quorum.preferred || left == 0) {
            self.end(Ok(()));
        } else if left == 0 {
            self.end(Err(self.contacts.shortfall(self.quorum.required)));
        }
    }

    fn end(&mut self, result: Result<(), KvOpError>) {
        self.answered = true;
        self.succeeded = result.is_ok();
        if result.is_err() {
            // Nobody asks what became of the others: there are no hints for a put that failed.
            self.contacts.time_out(|_| {});
        }
        self.result = Some(result);
    }

    /// Once it is known: the version's clock and how many replicas have it, or why it failed.
    pub(super) fn poll_done(&mut self) -> Option<Result<(VectorClock, usize), KvOpError>> {
        let result = self.result.take()?;
        Some(result.map(|()| (self.clock.clone(), self.contacts.succeeded())))
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
        let (clock, value) = (self.clock.clone(), self.value.clone());
        Some(Missed { node, operation: SlopOperation::Put, clock, value })
    }

    /// The value, for another round.
    pub(super) fn take_value(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.value)
    }

    /// The caller's clock and the value, for another start.
    pub(super) fn into_base(self) -> (VectorClock, Vec<u8>) {
        (self.base, self.value)
    }
}

impl Round for Put {
    fn failed(&mut self, now_ns: u64, node: NodeId, failure: NodeFailure) {
        if !self.contacts.fail(node, failure) {
            return;
        }
        if self.master.is_none() {
            self.try_next(now_ns);
        } else {
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
            ReplicaError::ObsoleteVersion { .. } if self.master.is_some() => return self.stored(node),
            ReplicaError::ObsoleteVersion { stored } => {
                KvOpError::ObsoleteVersion { given: self.clock.clone(), stored }
            }
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
        if self.is_over() {
            return None;
        }
        Some(match self.master {
            None => self.node_until_ns.min(self.round_until_ns),
            Some(_) => self.round_until_ns,
        })
    }

    fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId)) {
        if self.poll_timeout().is_none_or(|due| now_ns < due) {
            return;
        }
        self.contacts.time_out(gave_up);
        match self.master {
            None => self.try_next(now_ns),
            Some(_) => self.look(),
        }
    }

    fn is_over(&self) -> bool {
        self.answered && self.contacts.outstanding() == 0
    }
}
