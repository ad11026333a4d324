//! [`Hint`]: one write that a replica missed, on its way to a node that keeps it. Candidates are asked one by one; if
//! none takes it, the hint is lost, and read repair has to find the difference.

use super::quorum::Contacts;
use super::round::{Limits, Round};
use crate::handoff::{Slop, SlopOperation};
use crate::membership::NodeFailure;
use crate::message::{ReplicaError, Request};
use crate::ring::NodeId;
use crate::version::VectorClock;

/// A write as its hint repeats it.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    pub(super) node: NodeId,
    pub(super) operation: SlopOperation,
    pub(super) clock: VectorClock,
    /// Empty for a delete.
    pub(super) value: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Hint {
    contacts: Contacts,
    /// The hint's key in the slop store.
    key: Vec<u8>,
    clock: VectorClock,
    value: Vec<u8>,
    until_ns: u64,
    node_timeout_ns: u64,
    /// Whether somebody keeps it; `None` while that is open.
    kept: Option<bool>,
}

impl Hint {
    /// Starts: the first candidate is due. `wall_ms` becomes the time of arrival.
    pub(super) fn new(
        (now_ns, wall_ms): (u64, i64),
        contacts: Contacts,
        limits: Limits,
        (store, key): (&str, &[u8]),
        missed: Missed,
    ) -> Self {
        let Missed { node, operation, clock, value } = missed;
        let slop = Slop { operation, store, node, key };
        let (key, value) = (slop.encode_key(), slop.encode_value(&value, wall_ms));
        let mut hint =
            Self { contacts, key, clock, value, until_ns: 0, node_timeout_ns: limits.node_ns, kept: None };
        hint.ask_next(now_ns);
        hint
    }

    fn ask_next(&mut self, now_ns: u64) {
        match self.contacts.ask_next(1) {
            Some(_) => self.until_ns = now_ns.saturating_add(self.node_timeout_ns),
            None => self.kept = Some(false),
        }
    }

    pub(super) fn poll_due(&mut self) -> Option<(NodeId, Request<'_>)> {
        let node = self.contacts.poll_due()?;
        Some((node, Request::Hint { key: &self.key, clock: self.clock.clone(), value: &self.value }))
    }

    pub(super) fn stored(&mut self, node: NodeId) {
        if self.contacts.succeed(node) {
            self.kept = Some(true);
        }
    }

    /// Whether somebody keeps it, once that is known.
    pub(super) fn kept(&self) -> Option<bool> {
        self.kept
    }
}

impl Round for Hint {
    fn failed(&mut self, now_ns: u64, node: NodeId, failure: NodeFailure) {
        if self.contacts.fail(node, failure) {
            self.ask_next(now_ns);
        }
    }

    fn refused(&mut self, now_ns: u64, node: NodeId, error: ReplicaError) {
        match error {
            // It keeps a newer hint of this key.
            ReplicaError::ObsoleteVersion { .. } => self.stored(node),
            _ => self.failed(now_ns, node, NodeFailure::Refused),
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
            self.ask_next(now_ns);
        }
    }

    fn is_over(&self) -> bool {
        self.kept.is_some()
    }
}
