//! The client's side of every operation, as in Voldemort: it knows the ring, asks the replicas itself, and decides.
//!
//! [`Coordinator`] holds many operations in flight. Arrivals and time go in, messages and outcomes come out; it names
//! no thread, clock or socket. Nodes are `Peer(0..)` by their id.
//!
//! Invariants:
//! * Each round of an operation has a [`RequestId`] of its own: a late answer to an earlier round is never counted.
//! * An operation has one outcome, and always one: each round ends by its timeouts at the latest.
//! * Whoever isn't asked, fails or is late is told to the failure detector once.

mod bootstrap;
mod candidates;
mod config;
mod context;
mod delete;
mod error;
mod get;
mod get_all;
mod hint;
mod operation;
mod outcome;
mod put;
mod quorum;
mod read_repair;
mod round;
mod update;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use engine_env::{Arrival, Peer};

use crate::handoff::Slop;
use crate::membership::{FailureDetector, NodeFailure};
use crate::message::{Request, RequestId, Response};
use crate::ring::{NodeId, Ring, Routing, RoutingStrategy};
use crate::storage::KEY_BYTES_MAX;
use crate::version::{ENTRIES_LIMIT, VectorClock};

#[cfg(feature = "planted-bugs")]
pub use config::ClusterBug;
pub use config::{ClientConfig, HandoffStrategy, OperationTimeouts, Replication, ReplicationError, Resolve};
pub use error::KvOpError;
pub use outcome::{KvAnswer, KvOutcome};
pub use update::Update;

use bootstrap::Bootstrap;
use candidates::{Choice, candidates};
use context::Context;
use hint::Missed;
use operation::{Ask, Operation, Parked, Step};
use quorum::Contacts;
use update::Action;

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
    /// Times that the ring was asked for because a node refused a key.
    pub ring_reads: u64,
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
    /// How many hints were left: where the next one begins to ask.
    hints: usize,
    ring_version: u64,
    /// Asks for the ring.
    bootstrap: Bootstrap,
    /// Operations that wait for the ring.
    parked: Vec<Parked>,
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
            routing: Routing::new(ring, config.routing.clone(), config.replication.n()),
            config,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            deadlines: BinaryHeap::new(),
            hints: 0,
            ring_version: 0,
            bootstrap: Bootstrap::default(),
            parked: Vec::new(),
            outputs: VecDeque::new(),
            outcomes: VecDeque::new(),
            stats: CoordinatorStats::default(),
        }
    }

    /// Reads a key's values from R replicas, resolved. The outcome comes under `token`.
    pub fn get(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::Get);
    }

    /// Reads the values of several keys, each from R replicas, resolved. Keys given twice are read once.
    pub fn get_all(&mut self, now: Now, token: u64, keys: &[&[u8]]) {
        let mut distinct = BTreeSet::new();
        let keys = keys.iter().filter(|key| distinct.insert(**key)).map(|key| key.to_vec()).collect();
        self.start(now, token, &[], Ask::GetAll { keys });
    }

    /// Reads the clocks of a key's versions from R replicas.
    pub fn get_versions(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::GetVersions);
    }

    /// Puts a version that descends from `clock`: first to a master, whose count goes up by one, then to the other
    /// replicas.
    pub fn put(&mut self, now: Now, token: u64, key: &[u8], clock: VectorClock, value: &[u8]) {
        self.start_with_value(now, token, key, value, |value| Ask::Put { base: clock, value });
    }

    /// Reads the clocks from R replicas and puts a version that descends from all of them; starts again if it was
    /// obsolete by then.
    pub fn write(&mut self, now: Now, token: u64, key: &[u8], value: &[u8]) {
        self.start_with_value(now, token, key, value, |value| Ask::Write { value });
    }

    /// Reads the versions from R replicas, has `update` make a value of what the resolver leaves, and puts it; starts
    /// again if it was obsolete by then, three times in all unless configured otherwise, and then rolls back.
    pub fn apply_update(&mut self, now: Now, token: u64, key: &[u8], update: Box<dyn Update>) {
        self.start(now, token, key, Ask::Update(Action(update)));
    }

    /// Reads the clocks from R replicas and deletes these versions.
    pub fn delete(&mut self, now: Now, token: u64, key: &[u8]) {
        self.start(now, token, key, Ask::Delete);
    }

    /// Deletes the versions before or equal to `clock`. With replica tombstones this is the put of one: it fails as
    /// obsolete where a newer version stands.
    pub fn delete_version(&mut self, now: Now, token: u64, key: &[u8], clock: VectorClock) {
        self.start(now, token, key, Ask::DeleteVersion { clock });
    }

    /// From now on it goes by this ring, unless it knows a newer one. Operations under way stay with the nodes that they
    /// have asked.
    pub fn set_ring(&mut self, version: u64, ring: Arc<Ring>) {
        if version < self.ring_version {
            return;
        }
        self.ring_version = version;
        if **self.routing.ring() != *ring {
            self.detector.set_nodes(ring.nodes());
            self.routing = self.routing.on(ring);
        }
    }

    /// The version of the ring that it goes by.
    #[must_use]
    pub fn ring_version(&self) -> u64 {
        self.ring_version
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
        [deadline, self.detector.next_probe(), self.bootstrap.poll_timeout()].into_iter().flatten().min()
    }

    /// Gives up on what is late by now, and probes nodes that are down.
    pub fn handle_timeout(&mut self, now: Now) {
        while self.poll_timeout().is_some_and(|due_ns| due_ns <= now.ns) {
            if self.bootstrap.poll_timeout().is_some_and(|due_ns| due_ns <= now.ns) {
                self.ask_next_for_ring(now);
            }
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

    fn start_with_value(
        &mut self,
        now: Now,
        token: u64,
        key: &[u8],
        value: &[u8],
        ask: impl FnOnce(Vec<u8>) -> Ask,
    ) {
        if let Err(error) = check_value(value) {
            self.outcomes.push_back(KvOutcome { token, result: Err(error), copies: 0, retries: 0 });
            return;
        }
        let ask = ask(self.context(now).stored(value.to_vec()));
        self.start(now, token, key, ask);
    }

    fn start(&mut self, now: Now, token: u64, key: &[u8], ask: Ask) {
        self.in_flight += 1;
        match check(key, &ask) {
            Ok(()) => {
                self.start_again(now, Parked { token, key: key.to_vec(), ask, retries: 0, restarts: 0 });
            }
            Err(error) => {
                if let Ask::Update(mut action) = ask {
                    action.0.roll_back();
                }
                self.in_flight -= 1;
                self.outcomes.push_back(KvOutcome { token, result: Err(error), copies: 0, retries: 0 });
            }
        }
    }

    fn start_again(&mut self, now: Now, parked: Parked) {
        let (token, retries) = (parked.token, parked.retries);
        match Operation::new(parked, self.context(now)) {
            Ok(operation) => self.seat(now, operation, false),
            Err(error) => {
                self.in_flight -= 1;
                self.outcomes.push_back(KvOutcome { token, result: Err(error), copies: 0, retries });
            }
        }
    }

    fn context(&self, now: Now) -> Context<'_> {
        Context {
            now,
            config: &self.config,
            routing: &self.routing,
            ring_version: self.ring_version,
            detector: &self.detector,
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
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(ClusterBug::HintDropped) {
            self.stats.hints_kept += 1;
            return;
        }
        // The hint's key has some bytes more than the write's.
        if key.len() > KEY_BYTES_MAX.saturating_sub(Slop::header_len(&self.config.store)) {
            self.stats.hints_lost += 1;
            return;
        }
        self.hints = self.hints.wrapping_add(1);
        let ring = self.routing.ring();
        let n = usize::from(self.config.replication.n());
        let by_default = if n == ring.nodes().len() { n - 1 } else { n };
        let choice = Choice {
            strategy,
            preflist_size: self.config.hint_preflist_size.map_or(by_default, usize::from),
            zone: self.context(now).zone(),
            by_zones: matches!(self.routing.strategy(), RoutingStrategy::Zone(_)),
            turn: self.hints,
        };
        let mut candidates = candidates(ring, missed.node, choice);
        candidates.retain(|node| !failed.contains(node));
        let contacts = Contacts::new(&candidates, 0, &self.detector).expect("none is needed");
        self.seat(now, Operation::hint(key, missed, contacts, self.context(now)), true);
    }

    /// Has the next node asked for the ring; if none is left, whoever waits for it goes on with the one there is.
    fn ask_next_for_ring(&mut self, now: Now) {
        let patience_ns = self.config.node_timeout_ms.saturating_mul(1_000_000);
        match self.bootstrap.ask_next(now.ns.saturating_add(patience_ns)) {
            Some((node, id)) => self.outputs.push_back((peer(node), Request::GetRing.encode(id))),
            None => {
                for parked in std::mem::take(&mut self.parked) {
                    self.start_again(now, parked);
                }
            }
        }
    }

    /// An operation waits for the ring: `refused` by a node, which probably knows a newer one.
    fn park(&mut self, now: Now, parked: Parked, refused: NodeId) {
        self.parked.push(parked);
        if self.bootstrap.poll_timeout().is_none() {
            self.stats.ring_reads += 1;
            self.bootstrap.start(self.routing.ring().nodes(), refused);
            self.ask_next_for_ring(now);
        }
    }

    fn answered(&mut self, now: Now, node: NodeId, id: RequestId, response: Response) {
        if response == Response::Pong {
            self.detector.probe_answered(now.ns, node);
            return;
        }
        if self.bootstrap.is_waiting_for(node, id) {
            match response {
                // An older ring than ours: this node is behind.
                Response::Ring { version, .. } if version < self.ring_version => {}
                Response::Ring { version, ring } => {
                    self.set_ring(version, ring);
                    self.bootstrap.finish();
                }
                _ => {}
            }
            self.ask_next_for_ring(now);
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
        if self.bootstrap.asks(node) {
            self.ask_next_for_ring(now);
        }
    }

    /// Sends what is due, takes what is known, and notes the next deadline.
    fn drive(&mut self, now: Now, slot: u32) {
        let place = &mut self.slots[slot as usize];
        let Some(operation) = &mut place.operation else { return };
        loop {
            let ring_version = operation.ring_version();
            while let Some((node, request)) = operation.poll_send() {
                let bytes = request.encode_routed(join(slot, place.turn), ring_version);
                self.outputs.push_back((peer(node), bytes));
            }
            let context = Context {
                now,
                config: &self.config,
                routing: &self.routing,
                ring_version: self.ring_version,
                detector: &self.detector,
            };
            match operation.step(context) {
                Step::Wait => break,
                Step::NextRound => {
                    place.turn = place.turn.wrapping_add(1).max(1);
                    place.due_ns = None;
                }
                Step::Answer(KvOutcome { result: Err(KvOpError::InvalidMetadata { node }), .. })
                    if operation.restarts() + 1 < self.config.ring_tries =>
                {
                    let parked = place.operation.take().expect("it was there").park();
                    self.free.push(slot);
                    self.park(now, parked, node);
                    return;
                }
                Step::Answer(outcome) => {
                    if outcome.result.is_err() {
                        operation.roll_back();
                    }
                    debug_assert!(!place.answered, "an operation has one outcome");
                    place.answered = true;
                    self.in_flight -= 1;
                    self.outcomes.push_back(outcome);
                    for (node, request) in operation.repairs() {
                        self.stats.repairs += 1;
                        self.outputs.push_back((peer(node), request.encode_routed(NO_ANSWER, ring_version)));
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
    let too_long =
        |key: &[u8]| (key.len() > KEY_BYTES_MAX).then_some(KvOpError::KeyTooLong { len: key.len() });
    match ask {
        Ask::GetAll { keys } => keys.iter().find_map(|key| too_long(key)).map_or(Ok(()), Err),
        Ask::DeleteVersion { clock } if clock.entries().len() > ENTRIES_LIMIT => {
            Err(KvOpError::ClockTooLong { entries: clock.entries().len() })
        }
        _ => too_long(key).map_or(Ok(()), Err),
    }
}

fn check_value(value: &[u8]) -> Result<(), KvOpError> {
    match value.len() > CLIENT_VALUE_BYTES_MAX {
        true => Err(KvOpError::ValueTooLong { len: value.len() }),
        false => Ok(()),
    }
}
