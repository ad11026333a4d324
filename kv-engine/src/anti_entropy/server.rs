//! [`TreeServer`]: answers other replicas' questions about the keys that both hold.
//!
//! A question for roots is answered once the trees have been made anew from the store, slice by slice; deeper ones from
//! the trees that were made last. They may have been made for somebody else meanwhile: then some places are found to
//! differ that don't any more, or the other way round, which the next round finds.

use std::collections::BTreeMap;

use engine_env::Peer;

use super::merkle::{Forest, Growing, Grown, leaf_of, slice_of};
use crate::message::{ReplicaError, RequestId, Response, TreeLeaf, TreePlace};
use crate::replica::ReplicaStorage;
use crate::ring::{NodeId, Routing};
use crate::version::VectorClock;

/// More hashes aren't told at once: as many as there can be partitions, so that the roots are.
pub(super) const HASHES_MAX: usize = 65_536;
/// About how many bytes of keys and clocks one answer has; a leaf is never divided.
const LEAVES_BYTES: usize = 1 << 20;
/// A leaf with more than this can't be told in a message.
const LEAF_BYTES_MAX: usize = engine_env::MESSAGE_BYTES_MAX / 4 * 3;

/// A question for roots that waits for the trees.
#[derive(Debug)]
struct Waiting {
    from: Peer,
    id: RequestId,
    roots: Vec<TreePlace>,
}

#[derive(Debug, Default)]
pub(super) struct TreeServer {
    growing: Option<Growing>,
    /// Those for whom the trees are being made.
    waiting: Vec<Waiting>,
    /// Those who came when it had begun: some of what they want to be told of may have been passed by.
    later: Vec<Waiting>,
    forest: Option<Forest>,
}

/// The nodes of a question: who is asked and who asks.
pub(super) type Between = (NodeId, NodeId);

/// Whether both nodes hold the keys of a partition.
pub(super) fn is_shared((me, other): Between, routing: &Routing, partition: u32) -> bool {
    routing.replicas_in(partition).is_some_and(|nodes| nodes.contains(&me) && nodes.contains(&other))
}

fn refused(why: &str) -> Response {
    Response::Refused(ReplicaError::Application { why: why.to_owned() })
}

const NOT_NOW: &str = "what this node holds isn't to be compared now: partitions move";
const NOT_WALKED: &str = "this store can't be walked through";

/// Bytes that a key takes in an answer, about.
fn told_len((key, clocks): &(Vec<u8>, Vec<VectorClock>)) -> usize {
    6 + key.len() + clocks.iter().map(VectorClock::encoded_len).sum::<usize>()
}

impl TreeServer {
    /// A question for the hashes at places; `None`: the answer comes from [`TreeServer::step`].
    pub(super) fn hashes(
        &mut self,
        (from, id): (Peer, RequestId),
        between: Between,
        (level, at): (u8, Vec<TreePlace>),
        routing: &Routing,
    ) -> Option<Response> {
        if at.len() > HASHES_MAX {
            return Some(refused("ask for fewer hashes at once"));
        }
        if !at.iter().all(|place| is_shared(between, routing, place.partition)) {
            return Some(Response::Refused(ReplicaError::InvalidMetadata));
        }
        if level > 0 {
            return Some(self.hashes_at(level, &at));
        }
        // One that asks again has given up its question before.
        self.waiting.retain(|waiting| waiting.from != from);
        self.later.retain(|waiting| waiting.from != from);
        self.later.push(Waiting { from, id, roots: at });
        None
    }

    fn hashes_at(&self, level: u8, at: &[TreePlace]) -> Response {
        let Some(forest) = &self.forest else { return refused("ask for the roots first") };
        let hashes = at.iter().map(|place| forest.hash(level, *place)).collect::<Option<Vec<_>>>();
        hashes.map_or_else(|| refused("trees have no such place"), Response::Hashes)
    }

    /// Whether [`TreeServer::step`] has something to do.
    pub(super) fn is_busy(&self) -> bool {
        self.growing.is_some() || !self.later.is_empty()
    }

    /// Adds a slice to the trees that somebody waits for; the answers that are complete with it. `growing` begins trees.
    pub(super) fn step(
        &mut self,
        growing: impl FnOnce() -> Growing,
        routing: &Routing,
        storage: &impl ReplicaStorage,
    ) -> Vec<(Peer, RequestId, Response)> {
        if self.growing.is_none() && !self.later.is_empty() {
            self.waiting = std::mem::take(&mut self.later);
            self.growing = Some(growing());
        }
        let Some(growing) = &mut self.growing else { return Vec::new() };
        match growing.step(routing.ring(), storage) {
            Grown::Partly => return Vec::new(),
            Grown::Wholly(forest) => self.forest = Some(forest),
            Grown::Never => self.forest = None,
        }
        self.growing = None;
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let answer = |Waiting { from, id, roots }| {
            let response =
                if self.forest.is_some() { self.hashes_at(0, &roots) } else { refused(NOT_WALKED) };
            (from, id, response)
        };
        waiting.map(answer).collect()
    }

    /// Forgets the trees. What those are told that wait for them.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = (Peer, RequestId, Response)> {
        let Self { waiting, later, .. } = std::mem::take(self);
        let refused = |Waiting { from, id, .. }| (from, id, refused(NOT_NOW));
        waiting.into_iter().chain(later).map(refused)
    }

    /// The keys and clocks of leaves of one slice: as many of them, from the first on, as fit into a message.
    pub(super) fn leaves(
        between: Between,
        at: &[TreePlace],
        routing: &Routing,
        storage: &impl ReplicaStorage,
    ) -> Response {
        if !at.iter().all(|place| is_shared(between, routing, place.partition)) {
            return Response::Refused(ReplicaError::InvalidMetadata);
        }
        let Some(slice) = at.first().map(|leaf| slice_of(*leaf)) else { return refused("name some leaves") };
        if at.iter().any(|leaf| slice_of(*leaf) != slice) {
            return refused("name leaves of one slice");
        }
        let mut found: BTreeMap<TreePlace, Vec<_>> = at.iter().map(|leaf| (*leaf, Vec::new())).collect();
        let walked = storage.clocks_of_slice(slice, &mut |key, clocks| {
            if let Some(keys) = found.get_mut(&leaf_of(routing.ring(), key)) {
                keys.push((key.to_vec(), clocks.to_vec()));
            }
        });
        if !walked {
            return refused(NOT_WALKED);
        }
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        for place in at {
            let Some(keys) = found.remove(place) else { continue };
            bytes += keys.iter().map(told_len).sum::<usize>();
            if !leaves.is_empty() && bytes > LEAVES_BYTES {
                break;
            }
            if bytes > LEAF_BYTES_MAX {
                let why = format!(
                    "the keys and clocks of a leaf of partition {} take {bytes} bytes, more than a message has; \
                     deal the keys out to more partitions",
                    place.partition
                );
                return Response::Refused(ReplicaError::Application { why });
            }
            leaves.push(TreeLeaf { place: *place, keys });
        }
        Response::Leaves(leaves)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ring::{Ring, RoutingStrategy};
    use crate::storage::Storage;
    use crate::storage::memory::MemoryStorage;
    use crate::version::Versioned;

    const ME: NodeId = NodeId(0);
    const OTHER: NodeId = NodeId(1);

    fn routing() -> Routing {
        Routing::new(Arc::new(Ring::even(4, 4).expect("a ring")), RoutingStrategy::Consistent, 2)
    }

    /// Partition 0 is on nodes 0 and 1.
    const SHARED: TreePlace = TreePlace { partition: 0, at: 0 };

    fn keys_of(routing: &Routing, partition: u32) -> impl Iterator<Item = [u8; 2]> {
        let is_there = move |key: &[u8; 2]| routing.ring().master_partition(key) == partition;
        (0u16..).map(u16::to_le_bytes).filter(is_there)
    }

    fn put(store: &MemoryStorage, key: &[u8]) {
        store.put(key, &Versioned::new("0:1".parse().expect("a clock"), b"v")).expect("fresh");
    }

    fn ask_roots(server: &mut TreeServer, from: u32, id: u64) -> Option<Response> {
        server.hashes((Peer(from), RequestId(id)), (ME, OTHER), (0, vec![SHARED]), &routing())
    }

    /// The answers that come up to the end of one walk, and how many steps it took.
    fn walk(server: &mut TreeServer, store: &MemoryStorage) -> (Vec<(Peer, RequestId, Response)>, usize) {
        for step in 1.. {
            let answers = server.step(Growing::default, &routing(), store);
            if !answers.is_empty() {
                return (answers, step);
            }
            assert!(server.is_busy(), "somebody waits");
        }
        unreachable!("a walk has an end")
    }

    #[test]
    fn roots_are_told_when_the_store_was_walked_through_since_they_were_asked_for() {
        let (mut server, store) = (TreeServer::default(), MemoryStorage::new());
        let deeper = |server: &mut TreeServer| {
            server.hashes((Peer(1), RequestId(9)), (ME, OTHER), (2, vec![SHARED]), &routing())
        };
        assert!(matches!(deeper(&mut server), Some(Response::Refused(_))), "there are no trees yet");
        assert_eq!(ask_roots(&mut server, 1, 1), None);
        assert_eq!(server.step(Growing::default, &routing(), &store), []);
        // It begins anew for one who comes later: the first slices were passed by.
        assert_eq!(ask_roots(&mut server, 2, 2), None);
        let in_first_slice = |key: &[u8; 2]| slice_of(leaf_of(routing().ring(), key)) == 0;
        let key = keys_of(&routing(), 0).find(in_first_slice).expect("one in 64");
        put(&store, &key);
        let (early, steps) = walk(&mut server, &store);
        assert_eq!((early.len(), early[0].0, early[0].1, steps), (1, Peer(1), RequestId(1), 63));
        let (late, steps) = walk(&mut server, &store);
        assert_eq!((late.len(), late[0].0, late[0].1, steps), (1, Peer(2), RequestId(2), 64));
        assert_ne!(early[0].2, late[0].2, "it has seen the key");
        assert!(!server.is_busy());
        assert!(matches!(deeper(&mut server), Some(Response::Hashes(hashes)) if hashes.len() == 1));
    }

    #[test]
    fn who_asks_again_has_one_answer() {
        let (mut server, store) = (TreeServer::default(), MemoryStorage::new());
        assert_eq!(ask_roots(&mut server, 1, 1), None);
        assert_eq!(ask_roots(&mut server, 1, 2), None);
        let (answers, _) = walk(&mut server, &store);
        assert_eq!(answers.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), [RequestId(2)]);
        assert!(!server.is_busy());
    }

    #[test]
    fn who_waits_is_told_when_nothing_is_to_be_compared_any_more() {
        let (mut server, store) = (TreeServer::default(), MemoryStorage::new());
        assert_eq!(ask_roots(&mut server, 1, 1), None);
        assert_eq!(server.step(Growing::default, &routing(), &store), []);
        assert_eq!(ask_roots(&mut server, 2, 2), None);
        let told: Vec<_> = server.give_up().collect();
        assert_eq!(told, [(1, 1), (2, 2)].map(|(from, id)| (Peer(from), RequestId(id), refused(NOT_NOW))));
        assert!(!server.is_busy());
        assert_eq!(server.give_up().count(), 0);
    }

    #[test]
    fn nothing_is_told_of_partitions_that_only_one_of_both_holds() {
        let (mut server, store) = (TreeServer::default(), MemoryStorage::new());
        let refused = || Response::Refused(ReplicaError::InvalidMetadata);
        for partition in [1, 2, 3, 4, u32::MAX] {
            let at = vec![SHARED, TreePlace { partition, at: 0 }];
            let from = (Peer(1), RequestId(1));
            let answer = server.hashes(from, (ME, OTHER), (0, at.clone()), &routing());
            assert_eq!(answer, Some(refused()), "{partition}");
            assert_eq!(TreeServer::leaves((ME, OTHER), &at, &routing(), &store), refused(), "{partition}");
        }
        assert!(!server.is_busy());
    }

    #[test]
    fn leaves_tell_the_keys_of_their_partition_and_no_others() {
        let (routing, store) = (routing(), MemoryStorage::new());
        let shared: Vec<_> = keys_of(&routing, 0).take(50).collect();
        shared.iter().for_each(|key| put(&store, key));
        keys_of(&routing, 1).take(50).for_each(|key| put(&store, &key));
        let mut told = Vec::new();
        for key in &shared {
            let place = leaf_of(routing.ring(), key);
            let Response::Leaves(leaves) = TreeServer::leaves((ME, OTHER), &[place], &routing, &store) else {
                panic!("both hold it")
            };
            assert_eq!(leaves.len(), 1);
            told.extend(leaves[0].keys.iter().map(|(key, _)| key.clone()));
        }
        told.sort_unstable();
        told.dedup();
        let mut expected: Vec<_> = shared.iter().map(|key| key.to_vec()).collect();
        expected.sort_unstable();
        assert_eq!(told, expected);
        let of_two = [TreePlace { partition: 0, at: 0 }, TreePlace { partition: 0, at: 1 }];
        let answer = TreeServer::leaves((ME, OTHER), &of_two, &routing, &store);
        assert!(matches!(answer, Response::Refused(ReplicaError::Application { .. })), "{answer:?}");
    }
}
