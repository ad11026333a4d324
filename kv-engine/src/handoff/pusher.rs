//! [`Pusher`]: delivers a node's hints, every so often. It names no thread, clock or store.
//!
//! A scan takes all hints that are there; up to a hundred are under way at once. A replica that can't be reached, or
//! doesn't answer, is left alone until the next scan. Hints that nobody will ever take are purged: for nodes
//! or stores that there aren't, and those that their node refuses because the key has left it, by both nodes' rings. Each hint is
//! deleted on its own acknowledgement: the original streams batches, has no such answer, and deletes a batch when the
//! next one was sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_env::Peer;

use super::slop::{Slop, SlopOperation};
#[cfg(feature = "planted-bugs")]
use crate::coordinator::ClusterBug;
use crate::message::{ReplicaError, Request, RequestId, Response};
use crate::ring::{NodeId, Ring, Routing};
use crate::version::{VectorClock, Versioned};

/// How many hints are under way at once.
const WINDOW: usize = 100;
const ANSWER_NS: u64 = 5_000_000_000;

/// A hint: its key in the slop store and the version's clock.
pub(crate) type HintName = (Vec<u8>, VectorClock);

/// The hints that a node keeps, as they are delivered.
pub(crate) trait Hints {
    /// Their keys.
    fn keys(&self) -> Vec<Vec<u8>>;

    /// The versions under a key. What can't be read stays, and is met again in each scan.
    fn read(&self, key: &[u8]) -> Vec<Versioned>;

    /// Deletes one that was delivered, or that nobody will ever take.
    fn forget(&self, key: &[u8], clock: &VectorClock);
}

#[derive(Debug)]
struct UnderWay {
    hint: HintName,
    node: NodeId,
    until_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Pusher {
    /// The name of the store that nodes have.
    store: String,
    every_ns: u64,
    scan_at_ns: u64,
    /// Keys of the slop store that this scan hasn't come to yet.
    queue: VecDeque<Vec<u8>>,
    under_way: BTreeMap<u64, UnderWay>,
    next_id: u64,
    /// Not to be reached in this scan.
    silent: BTreeSet<NodeId>,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    delivered: VecDeque<HintName>,
    delivered_count: u64,
    given_up_count: u64,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<ClusterBug>,
}

impl Pusher {
    /// A pusher of hints for the store of that name; the first scan comes after `every_ms`.
    pub(crate) fn new(now_ns: u64, every_ms: u64, store: String) -> Self {
        let every_ns = every_ms.saturating_mul(1_000_000);
        Self {
            store,
            every_ns,
            scan_at_ns: now_ns.saturating_add(every_ns),
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            next_id: 1,
            silent: BTreeSet::new(),
            outputs: VecDeque::new(),
            delivered: VecDeque::new(),
            delivered_count: 0,
            given_up_count: 0,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn with_bug(self, planted_bug: Option<ClusterBug>) -> Self {
        Self { planted_bug, ..self }
    }

    /// Gives up on what is late, scans when it is time, sends what there is room for, and has those deleted that were
    /// delivered.
    pub(crate) fn deliver(&mut self, now_ns: u64, ring: &Ring, hints: &impl Hints) {
        if self.handle_timeout(now_ns) {
            self.scan(now_ns, hints.keys());
        }
        self.push(now_ns, ring, |key| hints.read(key));
        while let Some((key, clock)) = self.poll_delivered() {
            hints.forget(&key, &clock);
        }
    }

    /// When [`Pusher::deliver`] is to be called.
    pub(crate) fn poll_timeout(&self) -> u64 {
        self.under_way.values().map(|hint| hint.until_ns).min().unwrap_or(self.scan_at_ns)
    }

    /// Gives up on what is late. Whether it is time for a scan: then [`Pusher::scan`] comes next.
    fn handle_timeout(&mut self, now_ns: u64) -> bool {
        let late = |hint: &&UnderWay| hint.until_ns <= now_ns;
        let silent: Vec<_> = self.under_way.values().filter(late).map(|hint| hint.node).collect();
        silent.into_iter().for_each(|node| self.unreachable(node));
        self.queue.is_empty() && self.under_way.is_empty() && now_ns >= self.scan_at_ns
    }

    /// Starts a scan of these keys of the slop store.
    fn scan(&mut self, now_ns: u64, keys: impl IntoIterator<Item = Vec<u8>>) {
        self.queue.extend(keys);
        self.silent.clear();
        self.scan_at_ns = now_ns.saturating_add(self.every_ns);
    }

    /// Sends what there is room for. `read` gives the versions under a key of the slop store.
    fn push(&mut self, now_ns: u64, ring: &Ring, read: impl Fn(&[u8]) -> Vec<Versioned>) {
        while self.under_way.len() < WINDOW {
            let Some(slop_key) = self.queue.pop_front() else { return };
            let Some(slop) = Slop::decode_key(&slop_key) else { continue };
            // Before it is read: a node that is away for long has many hints.
            if self.silent.contains(&slop.node) {
                continue;
            }
            for Versioned { clock, value } in read(&slop_key) {
                let hint = (slop_key.clone(), clock.clone());
                if ring.nodes().binary_search(&slop.node).is_err() || slop.store != self.store {
                    // Its replica has left, or its store: nobody will ever take it.
                    self.give_up(hint);
                    continue;
                }
                // What isn't this hint's value stays where it is, for somebody to look at.
                let Some(value) = slop.decode_value(&value) else { continue };
                let request = match slop.operation {
                    SlopOperation::Put => Request::Put { key: slop.key, clock, value: &value },
                    SlopOperation::Delete => Request::Delete { key: slop.key, clock },
                };
                self.outputs.push_back((Peer(slop.node.0.into()), request.encode(RequestId(self.next_id))));
                #[cfg(feature = "planted-bugs")]
                if self.planted_bug == Some(ClusterBug::HintDeletedEarly) {
                    self.delivered.push_back(hint.clone());
                }
                let until_ns = now_ns.saturating_add(ANSWER_NS);
                self.under_way.insert(self.next_id, UnderWay { hint, node: slop.node, until_ns });
                self.next_id += 1;
            }
        }
    }

    fn give_up(&mut self, hint: HintName) {
        self.given_up_count += 1;
        self.delivered.push_back(hint);
    }

    /// A replica answered. `routing` is this node's own; while partitions move (`moves`) it isn't known yet whose keys are whose.
    pub(crate) fn handle(
        &mut self,
        (from, id): (Peer, RequestId),
        response: &Response,
        routing: &Routing,
        moves: bool,
    ) {
        let Some(hint) = self.under_way.get(&id.0) else { return };
        if Peer(hint.node.0.into()) != from {
            return;
        }
        let hint = self.under_way.remove(&id.0).expect("looked up above").hint;
        let has_left = |(slop_key, _): &HintName| {
            let slop = Slop::decode_key(slop_key);
            !moves && slop.is_some_and(|slop| !routing.replicas(slop.key).contains(&slop.node))
        };
        if matches!(response, Response::Refused(ReplicaError::InvalidMetadata)) && has_left(&hint) {
            self.give_up(hint);
            return;
        }
        // What a replica refuses for another reason stays for the next scan.
        if matches!(
            response,
            Response::Stored | Response::Deleted(_) | Response::Refused(ReplicaError::ObsoleteVersion { .. })
        ) {
            self.delivered_count += 1;
            self.delivered.push_back(hint);
        }
    }

    /// A replica can't be reached.
    pub(crate) fn unreachable(&mut self, node: NodeId) {
        self.under_way.retain(|_, hint| hint.node != node);
        self.silent.insert(node);
    }

    /// A message to be sent, and to whom.
    pub(crate) fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// A hint that is to be deleted from the slop store.
    fn poll_delivered(&mut self) -> Option<HintName> {
        self.delivered.pop_front()
    }

    /// How many hints were purged, because nobody will ever take them.
    pub(crate) fn given_up_count(&self) -> u64 {
        self.given_up_count
    }

    /// How many hints were delivered.
    pub(crate) fn delivered_count(&self) -> u64 {
        self.delivered_count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ring::{Ring, RoutingStrategy};

    const MS: u64 = 1_000_000;

    struct Hints(BTreeMap<Vec<u8>, Vec<Versioned>>);

    fn slop(operation: SlopOperation, node: u16, key: &[u8]) -> Vec<u8> {
        Slop { operation, store: "s", node: NodeId(node), key }.encode_key()
    }

    fn pusher() -> Pusher {
        Pusher::new(0, 10, "s".to_owned())
    }

    /// Three nodes; every key has so many replicas.
    fn routing(replicas: u16) -> Routing {
        let ring = Arc::new(Ring::even(3, 3).expect("a ring"));
        Routing::new(ring, RoutingStrategy::Consistent, replicas)
    }

    impl Hints {
        fn new(keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
            let version = |key: &[u8]| {
                let value = Slop::decode_key(key).expect("a slop key").encode_value(b"v", 7);
                vec![Versioned::new("0:1".parse().expect("a clock"), value)]
            };
            Self(keys.into_iter().map(|key| (key.clone(), version(&key))).collect())
        }

        fn tick(&self, pusher: &mut Pusher, now_ns: u64) -> Vec<(Peer, RequestId)> {
            if pusher.handle_timeout(now_ns) {
                pusher.scan(now_ns, self.0.keys().cloned());
            }
            pusher.push(now_ns, routing(3).ring(), |key| self.0.get(key).cloned().unwrap_or_default());
            std::iter::from_fn(|| pusher.poll_output())
                .map(|(to, bytes)| (to, Request::decode(&bytes).expect("a request").0))
                .collect()
        }
    }

    #[test]
    fn a_hint_goes_only_after_its_replica_has_acknowledged_it() {
        let hints = Hints::new([slop(SlopOperation::Put, 1, b"a"), slop(SlopOperation::Delete, 1, b"b")]);
        let mut pusher = pusher();
        assert_eq!(pusher.poll_timeout(), 10 * MS);
        assert_eq!(hints.tick(&mut pusher, 9 * MS), []);
        let sent = hints.tick(&mut pusher, 10 * MS);
        assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [Peer(1); 2]);
        pusher.handle((Peer(2), sent[0].1), &Response::Stored, &routing(3), false);
        let failed = Response::Refused(ReplicaError::Persistence { why: String::new() });
        pusher.handle((Peer(1), sent[1].1), &failed, &routing(3), false);
        assert_eq!(pusher.poll_delivered(), None);
        pusher.handle((Peer(1), sent[0].1), &Response::Stored, &routing(3), false);
        let (key, clock) = pusher.poll_delivered().expect("delivered");
        assert_eq!((key, clock.to_string()), (slop(SlopOperation::Put, 1, b"a"), "0:1".to_owned()));
        assert_eq!(pusher.poll_delivered(), None, "the other one stays");
        // An obsolete hint is delivered too.
        let sent = hints.tick(&mut pusher, 20 * MS);
        let obsolete = ReplicaError::ObsoleteVersion { stored: VectorClock::empty(0) };
        pusher.handle((Peer(1), sent[0].1), &Response::Refused(obsolete), &routing(3), false);
        assert!(pusher.poll_delivered().is_some());
        assert_eq!(pusher.delivered_count(), 2);
    }

    #[test]
    fn a_replica_that_is_away_is_left_alone_until_the_next_scan() {
        let hints = Hints::new((0..250u8).map(|key| slop(SlopOperation::Put, 1, &[key])));
        let mut pusher = pusher();
        assert_eq!(hints.tick(&mut pusher, 10 * MS).len(), WINDOW);
        pusher.unreachable(NodeId(1));
        assert_eq!(hints.tick(&mut pusher, 11 * MS), []);
        let sent = hints.tick(&mut pusher, 20 * MS);
        assert_eq!(sent.len(), WINDOW);
        // No answer is as bad as none to be had.
        assert_eq!(pusher.poll_timeout(), 20 * MS + ANSWER_NS);
        assert_eq!(hints.tick(&mut pusher, 20 * MS + ANSWER_NS), []);
        pusher.handle((Peer(1), sent[0].1), &Response::Stored, &routing(3), false);
        assert_eq!(pusher.poll_delivered(), None, "it was given up, and is sent again");
    }

    #[test]
    fn hints_for_a_replica_that_is_away_are_not_even_read() {
        let hints = Hints::new((0..250u8).map(|key| slop(SlopOperation::Put, 1, &[key])));
        let (mut pusher, routing) = (pusher(), routing(3));
        let reads = std::cell::Cell::new(0);
        let read = |key: &[u8]| {
            reads.set(reads.get() + 1);
            hints.0[key].clone()
        };
        assert!(pusher.handle_timeout(10 * MS));
        pusher.scan(10 * MS, hints.0.keys().cloned());
        pusher.push(10 * MS, routing.ring(), read);
        assert_eq!(reads.get(), WINDOW);
        pusher.unreachable(NodeId(1));
        pusher.push(11 * MS, routing.ring(), read);
        assert_eq!(reads.get(), WINDOW);
    }

    #[test]
    fn hints_for_a_node_or_store_that_there_is_not_are_purged() {
        let node = SlopOperation::Put;
        let elsewhere = Slop { operation: node, store: "t", node: NodeId(1), key: b"a" }.encode_key();
        for key in [slop(SlopOperation::Put, 9, b"a"), elsewhere] {
            let hints = Hints::new([key]);
            let mut pusher = pusher();
            assert_eq!(hints.tick(&mut pusher, 10 * MS), []);
            assert!(pusher.poll_delivered().is_some());
            assert_eq!(pusher.delivered_count(), 0);
        }
    }

    /// The node that keeps the hint may go by an older ring than its replica, and the other way round.
    #[test]
    fn a_hint_that_its_node_refuses_is_purged_only_if_the_key_has_left_it_by_both_rings() {
        let of_one = routing(1);
        let key = (0..u8::MAX).map(|byte| [byte]).find(|key| of_one.replicas(key) != [NodeId(1)]);
        let slop_key = slop(SlopOperation::Put, 1, &key.expect("two thirds of them"));
        let hints = Hints::new([slop_key.clone()]);
        let mut pusher = pusher();
        let holds_all = routing(3);
        for (routing, moves, purged) in
            [(&holds_all, false, false), (&of_one, true, false), (&of_one, false, true)]
        {
            pusher.scan(10 * MS, [slop_key.clone()]);
            pusher.push(10 * MS, routing.ring(), |key| hints.0[key].clone());
            let (to, bytes) = pusher.poll_output().expect("it is sent");
            let (id, _) = Request::decode(&bytes).expect("a request");
            let refused = Response::Refused(ReplicaError::InvalidMetadata);
            pusher.handle((to, id), &refused, routing, moves);
            assert_eq!((pusher.poll_delivered().is_some(), pusher.given_up_count()), (purged, purged.into()));
        }
        assert_eq!(pusher.delivered_count(), 0);
    }

    #[test]
    fn the_writes_value_is_delivered_not_the_hints() {
        let hints = Hints::new([slop(SlopOperation::Put, 1, b"a")]);
        let mut pusher = pusher();
        pusher.handle_timeout(10 * MS);
        pusher.scan(10 * MS, hints.0.keys().cloned());
        pusher.push(10 * MS, routing(3).ring(), |key| hints.0[key].clone());
        let (_, bytes) = pusher.poll_output().expect("it is sent");
        let (_, request) = Request::decode(&bytes).expect("a request");
        assert_eq!(request, Request::Put { key: b"a", clock: "0:1".parse().expect("a clock"), value: b"v" });
    }

    #[test]
    fn a_value_that_is_not_the_hints_own_is_left_where_it_is() {
        let mut hints = Hints::new([slop(SlopOperation::Put, 1, b"a")]);
        hints.0.values_mut().for_each(|versions| versions[0].value.truncate(3));
        let mut pusher = pusher();
        assert_eq!(hints.tick(&mut pusher, 10 * MS), []);
        assert_eq!(pusher.poll_delivered(), None);
    }
}
