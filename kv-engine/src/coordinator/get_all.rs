//! [`GetAll`]: a get of several keys.
//!
//! First in parallel: of each key the first replicas, as many as preferred, grouped so that each node gets one request.
//! Then step by step: one further replica of each key that has fewer answers than preferred, grouped again. A key with
//! fewer answers than required fails the whole, or is left out where partial answers are allowed. How many zones
//! answer isn't looked at, as in the original.

use std::collections::{BTreeMap, VecDeque};

use super::error::KvOpError;
use super::get::Answers;
use super::quorum::Contacts;
use super::round::{Limits, Quorum, Round};
use crate::membership::NodeFailure;
use crate::message::ReplicaError;
use crate::ring::NodeId;
use crate::version::Versioned;

/// What became of one key.
#[derive(Debug)]
pub(super) struct KeyRead {
    pub(super) key: Vec<u8>,
    contacts: Contacts,
    pub(super) answers: Answers<Versioned>,
}

impl KeyRead {
    pub(super) fn new(key: Vec<u8>, contacts: Contacts) -> Self {
        Self { key, contacts, answers: Vec::new() }
    }
}

/// What comes after an event.
pub(super) enum Advance {
    /// More answers.
    Wait,
    /// Another step: its requests need another id.
    NextStep,
    /// All that is to be had.
    Done(Vec<KeyRead>),
}

#[derive(Debug)]
pub(super) struct GetAll {
    keys: Vec<KeyRead>,
    quorum: Quorum,
    /// Whether a key that is short of answers is left out.
    partial: bool,
    /// Requests of this step that aren't sent yet: nodes, and which keys.
    due: VecDeque<(NodeId, Vec<usize>)>,
    asked: BTreeMap<NodeId, Vec<usize>>,
    until_ns: u64,
    node_timeout_ns: u64,
    fatal: Option<KvOpError>,
    over: bool,
}

impl GetAll {
    /// Starts: the first replicas of each key are due.
    pub(super) fn new(
        now_ns: u64,
        keys: Vec<KeyRead>,
        quorum: Quorum,
        limits: Limits,
        partial: bool,
    ) -> Self {
        let mut all = Self {
            keys,
            quorum,
            partial,
            due: VecDeque::new(),
            asked: BTreeMap::new(),
            until_ns: now_ns.saturating_add(limits.round_ns),
            node_timeout_ns: limits.node_ns,
            fatal: None,
            over: false,
        };
        all.ask(quorum.preferred);
        all
    }

    /// Groups the next `count` replicas of each key that is short of the preferred answers.
    fn ask(&mut self, count: usize) {
        let mut groups: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, read) in self.keys.iter_mut().enumerate() {
            if read.answers.len() < self.quorum.preferred {
                read.contacts.ask_next(count);
                while let Some(node) = read.contacts.poll_due() {
                    groups.entry(node).or_default().push(at);
                }
            }
        }
        self.due.extend(groups);
    }

    /// A node to be asked, and for which keys.
    pub(super) fn poll_due(&mut self) -> Option<(NodeId, Vec<&[u8]>)> {
        let (node, which) = self.due.pop_front()?;
        let keys = which.iter().map(|at| self.keys[*at].key.as_slice()).collect();
        self.asked.insert(node, which);
        Some((node, keys))
    }

    /// A node answered with what it has; keys that it doesn't name have no version there.
    pub(super) fn answered(&mut self, node: NodeId, found: Vec<(Vec<u8>, Vec<Versioned>)>) {
        let Some(which) = self.asked.remove(&node) else { return };
        let mut found: BTreeMap<_, _> = found.into_iter().collect();
        for at in which {
            let read = &mut self.keys[at];
            if read.contacts.succeed(node) {
                read.answers.push((node, found.remove(&read.key).unwrap_or_default()));
            }
        }
    }

    /// Goes on where the step has ended.
    pub(super) fn advance(&mut self, now_ns: u64) -> Result<Advance, KvOpError> {
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        if self.over || !self.asked.is_empty() || !self.due.is_empty() {
            return Ok(Advance::Wait);
        }
        self.ask(1);
        if !self.due.is_empty() {
            self.until_ns = now_ns.saturating_add(self.node_timeout_ns);
            return Ok(Advance::NextStep);
        }
        self.over = true;
        let required = self.quorum.required;
        let short = |read: &&KeyRead| read.answers.len() < required;
        if !self.partial
            && let Some(read) = self.keys.iter().find(short)
        {
            return Err(read.contacts.insufficient(required));
        }
        self.keys.retain(|read| read.answers.len() >= required);
        Ok(Advance::Done(std::mem::take(&mut self.keys)))
    }

    /// The keys, for another start.
    pub(super) fn into_keys(self) -> Vec<Vec<u8>> {
        self.keys.into_iter().map(|read| read.key).collect()
    }
}

impl Round for GetAll {
    fn failed(&mut self, _now_ns: u64, node: NodeId, failure: NodeFailure) {
        for at in self.asked.remove(&node).unwrap_or_default() {
            self.keys[at].contacts.fail(node, failure.clone());
        }
    }

    fn refused(&mut self, now_ns: u64, node: NodeId, error: ReplicaError) {
        if !self.is_waiting_for(node) {
            return;
        }
        let fatal = match error {
            ReplicaError::Persistence { why } => {
                return self.failed(now_ns, node, NodeFailure::Persistence { why });
            }
            ReplicaError::ProxyUnreachable { donor } => {
                return self.failed(now_ns, node, NodeFailure::ProxyUnreachable { donor });
            }
            ReplicaError::InvalidMetadata => KvOpError::InvalidMetadata { node },
            ReplicaError::Application { why } => KvOpError::Application { node, why },
            // No answer to a read: the replica is given up when its time is up.
            ReplicaError::ObsoleteVersion { .. } => return,
        };
        self.fatal = Some(fatal);
        self.over = true;
    }

    fn is_waiting_for(&self, node: NodeId) -> bool {
        !self.over && self.asked.contains_key(&node)
    }

    fn poll_timeout(&self) -> Option<u64> {
        (!self.over).then_some(self.until_ns)
    }

    fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId)) {
        if self.over || now_ns < self.until_ns {
            return;
        }
        for (node, which) in std::mem::take(&mut self.asked) {
            gave_up(node);
            for at in which {
                self.keys[at].contacts.fail(node, NodeFailure::TimedOut);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
