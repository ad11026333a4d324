//! [`Read`]: one round of a get or of a getVersions.
//!
//! The first min(preferred, available) replicas are asked at once, and all of these are waited for, until the time is
//! up. If fewer than required answered, or in fewer zones, the others are asked one by one. A refusal that every replica would repeat
//! ends the read at once. An answer that comes after the time was up still counts; in the original it is dropped.

use super::error::KvOpError;
use super::quorum::Contacts;
use super::round::{Limits, Quorum, Round};
use crate::membership::NodeFailure;
use crate::message::ReplicaError;
use crate::ring::NodeId;

/// What each replica answered, in the order of arrival.
pub(super) type Answers<V> = Vec<(NodeId, Vec<V>)>;

/// A read of `V`: whole versions, or clocks.
#[derive(Debug)]
pub(super) struct Read<V> {
    contacts: Contacts,
    required: usize,
    /// When the replicas that were asked last are given up.
    until_ns: u64,
    node_timeout_ns: u64,
    /// Whether replicas are asked one by one by now.
    one_by_one: bool,
    answers: Answers<V>,
    result: Option<Result<(), KvOpError>>,
    over: bool,
}

impl<V> Read<V> {
    /// Starts: the first replicas are due.
    pub(super) fn new(now_ns: u64, mut contacts: Contacts, quorum: Quorum, limits: Limits) -> Self {
        contacts.ask_next(quorum.preferred);
        Self {
            contacts,
            required: quorum.required,
            until_ns: now_ns + limits.round_ns,
            node_timeout_ns: limits.node_ns,
            one_by_one: false,
            answers: Vec::with_capacity(quorum.preferred),
            result: None,
            over: false,
        }
    }

    pub(super) fn poll_due(&mut self) -> Option<NodeId> {
        self.contacts.poll_due()
    }

    pub(super) fn answered(&mut self, now_ns: u64, node: NodeId, versions: Vec<V>) {
        if self.over || !(self.contacts.succeed(node) || self.contacts.succeed_late(node)) {
            return;
        }
        self.answers.push((node, versions));
        self.proceed(now_ns);
    }

    fn proceed(&mut self, now_ns: u64) {
        let enough = self.contacts.suffice(self.required);
        if self.contacts.outstanding() > 0 && !(self.one_by_one && enough) {
            return;
        }
        if enough {
            self.end(Ok(()));
            return;
        }
        self.one_by_one = true;
        match self.contacts.ask_next(1) {
            Some(_) => self.until_ns = now_ns + self.node_timeout_ns,
            None => self.end(Err(self.contacts.shortfall(self.required))),
        }
    }

    fn end(&mut self, result: Result<(), KvOpError>) {
        self.over = true;
        self.result = Some(result);
    }

    /// The answers, once there are enough; or why there aren't.
    pub(super) fn poll_done(&mut self) -> Option<Result<Answers<V>, KvOpError>> {
        let result = self.result.take()?;
        Some(result.map(|()| std::mem::take(&mut self.answers)))
    }
}

impl<V> Round for Read<V> {
    fn failed(&mut self, now_ns: u64, node: NodeId, failure: NodeFailure) {
        if !self.over && self.contacts.fail(node, failure) {
            self.proceed(now_ns);
        }
    }

    fn refused(&mut self, now_ns: u64, node: NodeId, error: ReplicaError) {
        if self.over || !self.contacts.is_asked(node) {
            return;
        }
        match error {
            ReplicaError::Persistence { why } => self.failed(now_ns, node, NodeFailure::Persistence { why }),
            ReplicaError::ProxyUnreachable { donor } => {
                self.failed(now_ns, node, NodeFailure::ProxyUnreachable { donor });
            }
            ReplicaError::InvalidMetadata => self.end(Err(KvOpError::InvalidMetadata { node })),
            ReplicaError::Application { why } => self.end(Err(KvOpError::Application { node, why })),
            // No answer to a read: the replica is given up when its time is up.
            ReplicaError::ObsoleteVersion { .. } => {}
        }
    }

    fn is_waiting_for(&self, node: NodeId) -> bool {
        !self.over && self.contacts.is_asked(node)
    }

    fn poll_timeout(&self) -> Option<u64> {
        (!self.over).then_some(self.until_ns)
    }

    fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId)) {
        if !self.over && now_ns >= self.until_ns {
            self.contacts.time_out(gave_up);
            self.proceed(now_ns);
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
