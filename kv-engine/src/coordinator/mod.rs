//! The client's side of every operation, as in Voldemort: it knows the ring, asks the replicas itself, and decides.
//!
//! [`Coordinator`] holds many operations in flight. Arrivals and time go in, messages and outcomes come out; it names
//! no thread, clock or socket. Nodes are `Peer(0..)` by their id.
//!
//! Invariants:
//! * Each round of an operation has a [`RequestId`] of its own: a late answer to an earlier round is never counted.
//! * An operation has one outcome, and always one: each round ends by its timeouts at the latest.
//! * Whoever isn't asked, fails or is late is told to the failure detector once.

mod config;
mod delete;
mod error;
mod get;
mod hint;
mod operation;
mod outcome;
mod put;
mod quorum;
mod read_repair;
mod round;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use engine_env::{Arrival, Peer};

use crate::handoff::SLOP_HEADER_LEN;
use crate::membership::{FailureDetector, NodeFailure};
use crate::message::{Request, RequestId, Response};
use crate::ring::{NodeId, Ring, Routing};
use crate::storage::KEY_BYTES_MAX;
use crate::version::{ENTRIES_LIMIT, VectorClock};

#[cfg(feature = "planted-bugs")]
pub use config::ClusterBug;
pub use config::{ClientConfig, HandoffStrategy, Replication, ReplicationError, Resolve};
pub use error::KvOpError;
use hint::Missed;
use operation::{Ask, Context, Operation, Step};
pub use outcome::{KvAnswer, KvOutcome};
use quorum::Contacts;

/// The time, as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Nanoseconds of a monotonic clock: for timeouts.
    pub ns: u64,
    /// Milliseconds since the Unix epoch: for the timestamps of clocks.
    pub wall_ms: i64,
}

/// Longest value that a client writes, in bytes: 16 MiB, so that a message holds several versions of a key. Stores take
/// longer ones.
pub const CLIENT_VALUE_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(3 * (CLIENT_VALUE_BYTES_MAX + KEY_BYTES_MAX) < engine_env::MESSAGE_BYTES_MAX);

/// What nobody waits for an answer to.
const NO_ANSWER: RequestId = RequestId(0);

/// A place for an operation. Its turn counts rounds, so that each has another id.
#[derive(Debug, Default)]
struct Slot {
    turn: u32,
    operation: Option<Operation>,
    /// The deadline that was put on the heap last.
    due_ns: Option<u64>,
    /// Whether the client has its outcome.
    answered: bool,
}

/// Counts of a coordinator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CoordinatorStats {
    /// Messages that were no answers: another build, or damage on the way. They were dropped.
    pub garbled: u64,
    /// Times that a replica was given up on.
    pub timeouts: u64,
    /// Versions that were written to a replica because a get found that it lacks them.
    pub repairs: u64,
    /// Copies that acknowledged writes and deletes didn't get: their replica was down, unreachable or late.
    pub copies_missed: u64,
    /// Hints that a node has taken.
    pub hints_kept: u64,
    /// Hints that no node has taken.
    pub hints_lost: u64,
}

/// Many operations in flight, without a thread, a clock or a socket.
#[derive(Debug)]
pub struct Coordinator {
    config: ClientConfig,
    routing: Routing,
    detector: FailureDetector,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Operations without an outcome.
    in_flight: usize,
    /// Deadlines with slot and turn; those of rounds that have ended are skipped.
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Where the next hint begins to ask.
    next_candidate: usize,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    outcomes: VecDeque<KvOutcome>,
    stats: CoordinatorStats,
}

impl Coordinator {
    /// A coordinator with nothing in flight.
    #[must_use]
    pub fn new(ring: Arc<Ring>, config: ClientConfig) -> Self {
        Self {
            detector: FailureDetector::new(config.detector, ring.nodes()),
            routing: Routing::new(ring, config.replication.n()),
            config,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            deadlines: BinaryHeap::new(),
            next_candidate: 0,
            outputs: VecDeque::new(),
            outcomes: VecDeque::new(),
            stats: CoordinatorStats::default(),
        }
    }

    /// Reads a key's values from R replicas, resolved. The outcome comes under `token`.
    pub fn get(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::Get);
    }

    /// Reads the clocks of a key's versions from R replicas.
    pub fn get_versions(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::GetVersions);
    }

    /// Puts a version that descends from `clock`: first to a master, whose count goes up by one, then to the other
    /// replicas.
    pub fn put(&mut self, now: Now, token: u64, key: &[u8], clock: VectorClock, value: &[u8]) {
        self.start(now, token, key, Ask::Put { base: clock, value: value.to_vec() });
    }

    /// Reads the clocks from R replicas and puts a version that descends from all of them; starts again if it was
    /// obsolete by then.
    pub fn write(&mut self, now: Now, token: u64, key: &[u8], value: &[u8]) {
        self.start(now, token, key, Ask::Write { value: value.to_vec() });
    }

    /// Reads the clocks from R replicas and deletes these versions.
    pub fn delete(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::Delete);
    }

    /// Deletes the versions before or equal to `clock`.
    pub fn delete_version(&mut self, now: Now, token: u64, key: &[u8], clock: VectorClock) {
        self.start(now, token, key, Ask::DeleteVersion { clock });
    }

    /// A message came, or a node can't be reached.
    pub fn handle(&mut self, now: Now, arrival: &Arrival) {
        match arrival {
            Arrival::Message { from, bytes } => {
                let Some(node) = self.node(*from) else { return };
                match Response::decode(bytes) {
                    Ok((id, response)) => self.answered(now, node, id, response),
                    Err(_) => self.stats.garbled += 1,
                }
            }
            Arrival::Unreachable { peer } => {
                if let Some(node) = self.node(*peer) {
                    self.unreachable(now, node);
                }
            }
        }
    }

    /// A message to be sent, and to whom.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// An operation that has ended.
    pub fn poll_outcome(&mut self) -> Option<KvOutcome> {
        self.outcomes.pop_front()
    }

    /// When [`Coordinator::handle_timeout`] is to be called, in nanoseconds of [`Now::ns`].
    pub fn poll_timeout(&mut self) -> Option<u64> {
        // What has ended leaves its deadline behind: skipped here, so that the heap stays as small as what is in flight.
        while let Some(Reverse((due_ns, slot, turn))) = self.deadlines.peek() {
            let place = &self.slots[*slot as usize];
            if place.operation.is_some() && place.turn == *turn && place.due_ns == Some(*due_ns) {
                break;
            }
            self.deadlines.pop();
        }
        let deadline = self.deadlines.peek().map(|Reverse((due_ns, ..))| *due_ns);
        [deadline, self.detector.next_probe()].into_iter().flatten().min()
    }

    /// Gives up on what is late by now, and probes nodes that are down.
    pub fn handle_timeout(&mut self, now: Now) {
        while self.poll_timeout().is_some_and(|due_ns| due_ns <= now.ns) {
            for node in self.detector.due_probes(now.ns) {
                self.outputs.push_back((peer(node), Request::Ping.encode(NO_ANSWER)));
            }
            let Some(Reverse((due_ns, slot, _))) = self.deadlines.peek().copied() else { continue };
            if due_ns > now.ns {
                continue;
            }
            self.deadlines.pop();
            let place = &mut self.slots[slot as usize];
            place.due_ns = None;
            let Some(operation) = &mut place.operation else { continue };
            let (detector, stats) = (&mut self.detector, &mut self.stats);
            operation.handle_timeout(now.ns, &mut |node| {
                stats.timeouts += 1;
                detector.failure(now.ns, node, &NodeFailure::TimedOut);
            });
            self.drive(now, slot);
        }
    }

    /// How many operations have no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The nodes that count as down.
    pub fn down(&self) -> impl Iterator<Item = NodeId> {
        self.routing.ring().nodes().iter().copied().filter(|node| self.detector.is_down(*node))
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> CoordinatorStats {
        self.stats
    }

    fn node(&self, peer: Peer) -> Option<NodeId> {
        let node = NodeId(u16::try_from(peer.0).ok()?);
        self.routing.ring().nodes().binary_search(&node).ok().map(|_| node)
    }

    fn start(&mut self, now: Now, token: u64, key: &[u8], ask: Ask) {
        self.in_flight += 1;
        let context = Context { now, config: &self.config, routing: &self.routing, detector: &self.detector };
        let started = check(key, &ask).and_then(|()| Operation::new(token, key.to_vec(), ask, context));
        match started {
            Ok(operation) => self.seat(now, operation, false),
            Err(error) => {
                self.in_flight -= 1;
                self.outcomes.push_back(KvOutcome { token, result: Err(error), copies: 0, retries: 0 });
            }
        }
    }

    fn seat(&mut self, now: Now, operation: Operation, answered: bool) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations fit in memory")
        });
        let place = &mut self.slots[slot as usize];
        place.turn = place.turn.wrapping_add(1).max(1);
        place.operation = Some(operation);
        place.due_ns = None;
        place.answered = answered;
        self.drive(now, slot);
    }

    /// Leaves a hint for a replica that missed a write.
    fn leave_hint(&mut self, now: Now, key: &[u8], failed: &[NodeId], missed: Missed) {
        let Some(strategy) = self.config.hinted_handoff else { return };
        // The hint's key has some bytes more than the write's.
        if key.len() > KEY_BYTES_MAX - SLOP_HEADER_LEN {
            self.stats.hints_lost += 1;
            return;
        }
        self.next_candidate = self.next_candidate.wrapping_add(1);
        let candidates = self.candidates(strategy, missed.node, failed);
        let contacts = Contacts::new(&candidates, 0, &self.detector).expect("none is needed");
        let context = Context { now, config: &self.config, routing: &self.routing, detector: &self.detector };
        self.seat(now, Operation::hint(key, missed, contacts, context), true);
    }

    /// Who may keep a hint for a node, in the order of asking. The original shuffles them; here each hint begins one
    /// further, which spreads them as well.
    fn candidates(&self, strategy: HandoffStrategy, missed: NodeId, failed: &[NodeId]) -> Vec<NodeId> {
        let nodes = self.routing.ring().nodes();
        let at = nodes.binary_search(&missed).map_or(0, |at| at + 1);
        let others = nodes.len().saturating_sub(1);
        let many = match strategy {
            HandoffStrategy::Any => others,
            HandoffStrategy::Consistent => others.min(self.config.replication.n().into()),
        };
        let mut candidates: Vec<_> = nodes.iter().cycle().skip(at).take(many).copied().collect();
        if !candidates.is_empty() {
            let by = self.next_candidate % candidates.len();
            candidates.rotate_left(by);
        }
        candidates.retain(|node| !failed.contains(node));
        candidates
    }

    fn answered(&mut self, now: Now, node: NodeId, id: RequestId, response: Response) {
        if response == Response::Pong {
            self.detector.probe_answered(now.ns, node);
            return;
        }
        let (slot, turn) = split(id);
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Some(operation) = place.operation.as_mut().filter(|_| place.turn == turn) else { return };
        if operation.is_waiting_for(node) {
            self.detector.success(now.ns, node, now.ns.saturating_sub(operation.began_ns()));
        }
        operation.handle(now.ns, node, response);
        self.drive(now, slot);
    }

    fn unreachable(&mut self, now: Now, node: NodeId) {
        for slot in 0..self.slots.len() {
            let waiting = |operation: &&mut Operation| operation.is_waiting_for(node);
            let Some(operation) = self.slots[slot].operation.as_mut().filter(waiting) else { continue };
            self.detector.failure(now.ns, node, &NodeFailure::Unreachable);
            operation.failed(now.ns, node, NodeFailure::Unreachable);
            self.drive(now, u32::try_from(slot).expect("slots are numbered by u32"));
        }
    }

    /// Sends what is due, takes what is known, and notes the next deadline.
    fn drive(&mut self, now: Now, slot: u32) {
        let place = &mut self.slots[slot as usize];
        let Some(operation) = &mut place.operation else { return };
        loop {
            while let Some((node, request)) = operation.poll_send() {
                self.outputs.push_back((peer(node), request.encode(join(slot, place.turn))));
            }
            let context =
                Context { now, config: &self.config, routing: &self.routing, detector: &self.detector };
            match operation.step(context) {
                Step::Wait => break,
                Step::NextRound => {
                    place.turn = place.turn.wrapping_add(1).max(1);
                    place.due_ns = None;
                }
                Step::Answer(outcome) => {
                    debug_assert!(!place.answered, "an operation has one outcome");
                    place.answered = true;
                    self.in_flight -= 1;
                    self.outcomes.push_back(outcome);
                    for (node, request) in operation.repairs() {
                        self.stats.repairs += 1;
                        self.outputs.push_back((peer(node), request.encode(NO_ANSWER)));
                    }
                    break;
                }
            }
        }
        let mut missed = Vec::new();
        if place.answered {
            missed.extend(std::iter::from_fn(|| operation.next_missed()));
            self.stats.copies_missed += missed.len() as u64;
        }
        let key = if missed.is_empty() { Vec::new() } else { operation.key().to_vec() };
        let failed = if missed.is_empty() { Vec::new() } else { operation.failed_nodes() };
        if place.answered && operation.is_over() {
            match operation.hint_kept() {
                Some(true) => self.stats.hints_kept += 1,
                Some(false) => self.stats.hints_lost += 1,
                None => {}
            }
            place.operation = None;
            self.free.push(slot);
        } else {
            let due_ns = operation.poll_timeout();
            if due_ns != place.due_ns {
                place.due_ns = due_ns;
                if let Some(due_ns) = due_ns {
                    self.deadlines.push(Reverse((due_ns, slot, place.turn)));
                }
            }
        }
        for missed in missed {
            self.leave_hint(now, &key, &failed, missed);
        }
    }
}
fn peer(node: NodeId) -> Peer {
    Peer(node.0.into())
}

fn join(slot: u32, turn: u32) -> RequestId {
    RequestId(u64::from(turn) << 32 | u64::from(slot))
}

fn split(id: RequestId) -> (u32, u32) {
    (id.0 as u32, (id.0 >> 32) as u32)
}

/// What no replica could do isn't sent.
fn check(key: &[u8], ask: &Ask) -> Result<(), KvOpError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(KvOpError::KeyTooLong { len: key.len() });
    }
    match ask {
        Ask::Put { value, .. } | Ask::Write { value } if value.len() > CLIENT_VALUE_BYTES_MAX => {
            Err(KvOpError::ValueTooLong { len: value.len() })
        }
        Ask::DeleteVersion { clock } if clock.entries().len() > ENTRIES_LIMIT => {
            Err(KvOpError::ClockTooLong { entries: clock.entries().len() })
        }
        _ => Ok(()),
    }
}
