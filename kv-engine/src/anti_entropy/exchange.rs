//! [`AntiEntropy`]: a node's part in it. Every so often it makes the trees of its store and compares them with one peer
//! after the other; when others ask, it answers. It names no thread, clock or socket.

use std::collections::{BTreeSet, VecDeque};

use engine_env::Peer;

use super::comparison::{Asked, Comparison, Next, WINDOW};
use super::merkle::{Forest, Growing, Grown};
use super::server::{TreeServer, is_shared};
#[cfg(feature = "planted-bugs")]
use crate::coordinator::ClusterBug;
use crate::message::{ReplicaError, Request, RequestId, Response, is_response};
use crate::replica::{NOBODYS, ReplicaStorage};
use crate::ring::{NodeId, Routing};
use crate::storage::PutError;
use crate::version::Versioned;

/// A peer that doesn't answer so long is left alone until the next round. Trees of many keys take their time.
const ANSWER_NS: u64 = 30_000_000_000;
/// Ids of its requests have the highest bit, so that no answer is taken for one to a hint.
const IDS: u64 = 1 << 63;

/// Settings of a node's anti-entropy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AntiEntropyConfig {
    /// How long after one round the next begins, in milliseconds; 0 counts as 1. A round walks through all keys, on the
    /// node's thread, a 64th of the store at a time, and so does each peer that is asked in it.
    pub every_ms: u64,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<ClusterBug>,
}

impl AntiEntropyConfig {
    /// A round each `every_ms`.
    #[must_use]
    pub fn new(every_ms: u64) -> Self {
        Self {
            every_ms,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }

    fn growing(self) -> Growing {
        let growing = Growing::default();
        #[cfg(feature = "planted-bugs")]
        let growing = match self.planted_bug {
            Some(ClusterBug::TreeSkipsLastLeaf) => growing.skipping_last_leaf(),
            _ => growing,
        };
        growing
    }

    fn round_at(self, now_ns: u64) -> u64 {
        now_ns.saturating_add(self.every_ms.max(1).saturating_mul(1_000_000))
    }
}

/// What was compared and moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AntiEntropyStats {
    /// Rounds that came to their end.
    pub rounds: u64,
    /// Comparisons with a peer that came to their end.
    pub comparisons: u64,
    /// Of these, with nothing that differed.
    pub equal: u64,
    /// Comparisons that were broken off: the peer is away, silent, or refuses. The next round tries again.
    pub broken_off: u64,
    /// Keys of which a peer gave versions that were lacking here.
    pub fetched: u64,
    /// Versions that a peer was given.
    pub sent: u64,
    /// Of either, those that couldn't be read or kept. The next round finds them again.
    pub failed: u64,
}

#[derive(Debug)]
enum Stage {
    Resting { until_ns: u64 },
    Growing(Growing),
    Comparing(Round),
}

/// What this node had when the round began, and with whom it is compared.
#[derive(Debug)]
struct Round {
    forest: Forest,
    comparison: Box<Comparison>,
    peers: VecDeque<NodeId>,
}

/// A node's anti-entropy with its peers.
#[derive(Debug)]
pub struct AntiEntropy {
    me: NodeId,
    config: AntiEntropyConfig,
    stage: Stage,
    server: TreeServer,
    /// Peers with which the last comparison was broken off: one version at a time goes to and from them, for a connection is
    /// cut when more waits for its reader than it holds, and values may be large.
    careful: BTreeSet<NodeId>,
    last_id: u64,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    stats: AntiEntropyStats,
}

impl AntiEntropy {
    /// The first round begins `config.every_ms` from now.
    #[must_use]
    pub fn new(now_ns: u64, me: NodeId, config: AntiEntropyConfig) -> Self {
        Self {
            me,
            config,
            stage: Stage::Resting { until_ns: config.round_at(now_ns) },
            server: TreeServer::default(),
            careful: BTreeSet::new(),
            last_id: IDS,
            outputs: VecDeque::new(),
            stats: AntiEntropyStats::default(),
        }
    }

    /// When [`AntiEntropy::handle_timeout`] is to be called; `None` while [`AntiEntropy::walk`] is what it waits for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.stage {
            Stage::Resting { until_ns } => Some(*until_ns),
            Stage::Growing(_) => None,
            Stage::Comparing(round) => Some(round.comparison.until_ns),
        }
    }

    /// Begins a round, or gives up on a peer that is late.
    pub fn handle_timeout(&mut self, now_ns: u64, routing: &Routing, storage: &impl ReplicaStorage) {
        if self.poll_timeout().is_none_or(|at_ns| now_ns < at_ns) {
            return;
        }
        match self.stage {
            Stage::Resting { .. } => self.stage = Stage::Growing(self.config.growing()),
            Stage::Growing(_) => {}
            Stage::Comparing(_) => self.break_off(now_ns, routing, storage),
        }
    }

    /// What the store holds isn't to be compared now: ends the round that is under way, and begins no other for
    /// `config.every_ms`. Whoever waits for trees is refused them.
    pub fn pause(&mut self, now_ns: u64) {
        // Its own questions; what it has answered already still goes out.
        self.outputs.retain(|(_, bytes)| is_response(bytes));
        for (to, id, response) in self.server.give_up() {
            self.outputs.push_back((to, response.encode(id)));
        }
        self.rest(now_ns);
    }

    /// Goes a slice further through the store, if trees are to be made. Whether it is to be called again, soon.
    pub fn walk(&mut self, now_ns: u64, routing: &Routing, storage: &impl ReplicaStorage) -> bool {
        if let Stage::Growing(growing) = &mut self.stage {
            match growing.step(routing.ring(), storage) {
                Grown::Partly => {}
                Grown::Wholly(forest) => self.begin(now_ns, forest, routing, storage),
                Grown::Never => self.rest(now_ns),
            }
        }
        let config = self.config;
        for (to, id, response) in self.server.step(|| config.growing(), routing, storage) {
            self.outputs.push_back((to, response.encode(id)));
        }
        matches!(self.stage, Stage::Growing(_)) || self.server.is_busy()
    }

    /// A node asks about trees. What can't be read is dropped, like any garbled request.
    pub fn asked(&mut self, from: Peer, message: &[u8], routing: &Routing, storage: &impl ReplicaStorage) {
        let Ok((id, request)) = Request::decode(message) else { return };
        let other = u16::try_from(from.0).ok().map(NodeId);
        let other = other.filter(|node| routing.ring().nodes().binary_search(node).is_ok());
        let response = match (other, request) {
            (Some(other), Request::GetHashes { level, at }) => {
                self.server.hashes((from, id), (self.me, other), (level, at), routing)
            }
            (Some(other), Request::GetLeaves { at }) => {
                Some(TreeServer::leaves((self.me, other), &at, routing, storage))
            }
            _ => {
                let why = "only nodes of the ring compare what they hold".to_owned();
                Some(Response::Refused(ReplicaError::Application { why }))
            }
        };
        if let Some(response) = response {
            self.outputs.push_back((from, response.encode(id)));
        }
    }

    /// A node answered. What is no answer to a question of this one's changes nothing.
    pub fn answered(
        &mut self,
        now_ns: u64,
        (from, id): (Peer, RequestId),
        response: Response,
        routing: &Routing,
        storage: &impl ReplicaStorage,
    ) {
        let Stage::Comparing(Round { forest, comparison, .. }) = &mut self.stage else { return };
        if from != peer(comparison.peer) {
            return;
        }
        let Some(asked) = comparison.answered(id) else { return };
        comparison.until_ns = now_ns.saturating_add(ANSWER_NS);
        let fits = match (asked, response) {
            (Asked::Hashes { level, at }, Response::Hashes(theirs)) => {
                comparison.compare_hashes(forest, (level, &at), &theirs).is_ok()
            }
            (Asked::Leaves { at }, Response::Leaves(theirs)) => {
                comparison.compare_leaves(&at, theirs, routing.ring(), storage).is_ok()
            }
            (Asked::Values { key }, Response::Values(versions)) => {
                self.keep(&key, versions, storage);
                true
            }
            // One that has moved on lacks nothing any more.
            (Asked::Put { .. }, Response::Refused(ReplicaError::ObsoleteVersion { .. })) => true,
            (Asked::Put { .. }, Response::Stored) => {
                self.stats.sent += 1;
                true
            }
            // One key that is damaged or too long must not keep the others apart.
            (
                Asked::Values { .. } | Asked::Put { .. },
                Response::Refused(ReplicaError::Persistence { .. } | ReplicaError::Application { .. }),
            ) => {
                self.stats.failed += 1;
                true
            }
            _ => false,
        };
        if fits {
            self.proceed(now_ns, routing, storage);
        } else {
            self.break_off(now_ns, routing, storage);
        }
    }

    /// A node can't be reached.
    pub fn unreachable(
        &mut self,
        now_ns: u64,
        node: NodeId,
        routing: &Routing,
        storage: &impl ReplicaStorage,
    ) {
        if matches!(&self.stage, Stage::Comparing(round) if round.comparison.peer == node) {
            self.break_off(now_ns, routing, storage);
        }
    }

    /// A message to be sent, and to whom.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> AntiEntropyStats {
        self.stats
    }

    fn rest(&mut self, now_ns: u64) {
        self.stage = Stage::Resting { until_ns: self.config.round_at(now_ns) };
    }

    /// The trees are made: the round goes through all other nodes, each node beginning with the one behind it.
    fn begin(&mut self, now_ns: u64, forest: Forest, routing: &Routing, storage: &impl ReplicaStorage) {
        let nodes = routing.ring().nodes();
        let behind = nodes.partition_point(|node| *node <= self.me);
        let others = nodes[behind..].iter().chain(&nodes[..behind]).filter(|node| **node != self.me);
        self.compare_with_next(now_ns, forest, others.copied().collect(), routing, storage);
    }

    fn compare_with_next(
        &mut self,
        now_ns: u64,
        forest: Forest,
        mut peers: VecDeque<NodeId>,
        routing: &Routing,
        storage: &impl ReplicaStorage,
    ) {
        let me = self.me;
        while let Some(peer) = peers.pop_front() {
            let partitions = 0..routing.ring().partitions();
            let mut shared = partitions.filter(|p| is_shared((me, peer), routing, *p)).peekable();
            if shared.peek().is_some() {
                let window = if self.careful.contains(&peer) { 1 } else { WINDOW };
                let comparison = Box::new(Comparison::new(peer, shared, window));
                self.stage = Stage::Comparing(Round { forest, comparison, peers });
                self.proceed(now_ns, routing, storage);
                return;
            }
        }
        self.stats.rounds += 1;
        self.rest(now_ns);
    }

    fn break_off(&mut self, now_ns: u64, routing: &Routing, storage: &impl ReplicaStorage) {
        self.stats.broken_off += 1;
        if let Stage::Comparing(round) = &self.stage {
            self.careful.insert(round.comparison.peer);
        }
        self.end_comparison(now_ns, routing, storage);
    }

    fn end_comparison(&mut self, now_ns: u64, routing: &Routing, storage: &impl ReplicaStorage) {
        let resting = Stage::Resting { until_ns: self.config.round_at(now_ns) };
        if let Stage::Comparing(Round { forest, peers, .. }) = std::mem::replace(&mut self.stage, resting) {
            self.compare_with_next(now_ns, forest, peers, routing, storage);
        }
    }

    /// Asks what is to be asked next, or ends the comparison.
    fn proceed(&mut self, now_ns: u64, routing: &Routing, storage: &impl ReplicaStorage) {
        let Self { stage: Stage::Comparing(round), careful, last_id, outputs, stats, .. } = self else {
            return;
        };
        let comparison = &mut round.comparison;
        loop {
            let id = RequestId((*last_id + 1) | IDS);
            match comparison.next(id, storage) {
                Next::Ask(asked, question) => {
                    *last_id = id.0;
                    comparison.until_ns = now_ns.saturating_add(ANSWER_NS);
                    outputs.push_back((peer(comparison.peer), question));
                    comparison.asked(id, asked);
                }
                Next::Wait => return,
                Next::Nothing => {
                    careful.remove(&comparison.peer);
                    stats.comparisons += 1;
                    stats.equal += u64::from(!comparison.differs);
                    break;
                }
            }
        }
        self.end_comparison(now_ns, routing, storage);
    }

    /// Keeps what a peer has and this node lacks. Others may have written meanwhile: the store decides.
    fn keep(&mut self, key: &[u8], versions: Vec<Versioned>, storage: &impl ReplicaStorage) {
        self.stats.fetched += 1;
        #[cfg(feature = "planted-bugs")]
        let versions = match self.config.planted_bug {
            Some(ClusterBug::AntiEntropyLosesSibling) => losing_siblings(key, versions, storage),
            _ => versions,
        };
        for version in versions {
            match storage.start_put(key, &version, NOBODYS) {
                Ok(_) | Err(PutError::ObsoleteVersion { .. }) => {}
                Err(_) => self.stats.failed += 1,
            }
        }
    }
}

fn peer(node: NodeId) -> Peer {
    Peer(node.0.into())
}

/// What a careless repair would keep: the peer's first version, under the merge of all clocks.
#[cfg(feature = "planted-bugs")]
fn losing_siblings(key: &[u8], versions: Vec<Versioned>, storage: &impl ReplicaStorage) -> Vec<Versioned> {
    let ours = storage.clocks(key).unwrap_or_default();
    let Some(first) = versions.first().cloned() else { return versions };
    let theirs = versions.iter().map(|version| &version.clock);
    let clock = theirs.chain(&ours).fold(first.clock.clone(), |merged, clock| merged.merge(clock, 0));
    vec![Versioned { clock, value: first.value }]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::merkle::SLICES;
    use super::*;
    use crate::message::TreePlace;
    use crate::ring::{Ring, RoutingStrategy};
    use crate::storage::memory::MemoryStorage;

    const MS: u64 = 1_000_000;

    fn routing(nodes: u16) -> Routing {
        Routing::new(Arc::new(Ring::even(nodes, 6).expect("a ring")), RoutingStrategy::Consistent, 2)
    }

    /// Node 0 of a ring, up to its first question.
    fn asking(routing: &Routing, store: &MemoryStorage) -> (AntiEntropy, Peer, RequestId) {
        let mut node = AntiEntropy::new(0, NodeId(0), AntiEntropyConfig::new(10));
        assert_eq!(node.poll_timeout(), Some(10 * MS));
        node.handle_timeout(9 * MS, routing, store);
        assert!(!node.walk(9 * MS, routing, store), "it isn't time yet");
        node.handle_timeout(10 * MS, routing, store);
        let steps = (1..).find(|_| !node.walk(10 * MS, routing, store));
        assert_eq!(steps, Some(SLICES));
        let (to, id) = question(&mut node);
        (node, to, id)
    }

    fn question(node: &mut AntiEntropy) -> (Peer, RequestId) {
        let (to, bytes) = node.poll_output().expect("it asks");
        let (id, request) = Request::decode(&bytes).expect("a request");
        assert!(matches!(request, Request::GetHashes { level: 0, .. }), "{request:?}");
        (to, id)
    }

    #[test]
    fn a_pause_ends_a_round_and_refuses_whoever_waits_for_trees() {
        let (routing, store) = (routing(3), MemoryStorage::new());
        let (mut node, peer, id) = asking(&routing, &store);
        let at = vec![TreePlace { partition: 0, at: 0 }];
        node.asked(peer, &Request::GetHashes { level: 0, at }.encode(RequestId(1)), &routing, &store);
        assert!(node.walk(11 * MS, &routing, &store), "it makes trees for its peer");
        node.pause(11 * MS);
        let (to, bytes) = node.poll_output().expect("it would wait for its whole time");
        let (id_told, told) = Response::decode(&bytes).expect("an answer");
        assert_eq!((to, id_told), (peer, RequestId(1)));
        assert!(matches!(told, Response::Refused(_)), "{told:?}");
        assert!(!node.walk(11 * MS, &routing, &store));
        node.answered(12 * MS, (peer, id), Response::Hashes(vec![1]), &routing, &store);
        node.unreachable(12 * MS, NodeId(1), &routing, &store);
        assert_eq!((node.poll_output(), node.stats()), (None, AntiEntropyStats::default()));
        assert_eq!(node.poll_timeout(), Some(21 * MS));
        node.handle_timeout(21 * MS, &routing, &store);
        assert!(node.walk(21 * MS, &routing, &store), "another round begins");
    }

    #[test]
    fn a_round_goes_through_the_peers_that_hold_something_too() {
        // Of six partitions, node 0 of six shares one with node 1 and one with node 5.
        let (routing, store) = (routing(6), MemoryStorage::new());
        let (mut node, first, id) = asking(&routing, &store);
        assert_eq!(first, Peer(1));
        // The wrong node, or the wrong question: nothing happens.
        node.answered(11 * MS, (Peer(5), id), Response::Hashes(vec![0]), &routing, &store);
        node.answered(11 * MS, (first, RequestId(id.0 + 1)), Response::Hashes(vec![0]), &routing, &store);
        assert_eq!(node.poll_output(), None);
        // Too many hashes for what was asked.
        node.answered(12 * MS, (first, id), Response::Hashes(vec![0, 0]), &routing, &store);
        assert_eq!(node.stats().broken_off, 1);
        let (second, _) = question(&mut node);
        assert_eq!(second, Peer(5));
        node.unreachable(13 * MS, NodeId(1), &routing, &store);
        assert_eq!(node.stats().broken_off, 1, "it is with the other one now");
        node.unreachable(13 * MS, NodeId(5), &routing, &store);
        let stats = node.stats();
        assert_eq!((stats.broken_off, stats.rounds, stats.comparisons), (2, 1, 0));
        assert_eq!(node.poll_timeout(), Some(23 * MS));
    }

    #[test]
    fn a_silent_peer_is_given_up() {
        let (routing, store) = (routing(2), MemoryStorage::new());
        let (mut node, ..) = asking(&routing, &store);
        assert_eq!(node.poll_timeout(), Some(10 * MS + ANSWER_NS));
        node.handle_timeout(10 * MS + ANSWER_NS, &routing, &store);
        assert_eq!((node.stats().broken_off, node.stats().rounds), (1, 1));
    }

    #[test]
    fn only_nodes_are_told_what_is_there() {
        let (routing, store) = (routing(2), MemoryStorage::new());
        let mut node = AntiEntropy::new(0, NodeId(0), AntiEntropyConfig::new(10));
        let at = vec![TreePlace { partition: 0, at: 0 }];
        for from in [Peer(1000), Peer(u32::MAX)] {
            for request in
                [Request::GetLeaves { at: at.clone() }, Request::GetHashes { level: 0, at: at.clone() }]
            {
                node.asked(from, &request.encode(RequestId(1)), &routing, &store);
                let (to, bytes) = node.poll_output().expect("it refuses");
                let (_, response) = Response::decode(&bytes).expect("a response");
                assert!(
                    matches!(response, Response::Refused(ReplicaError::Application { .. })),
                    "{response:?}"
                );
                assert_eq!(to, from);
            }
        }
        assert!(!node.walk(0, &routing, &store));
        node.asked(Peer(1), b"nonsense", &routing, &store);
        assert_eq!(node.poll_output(), None);
    }
}
