//! [`FeedsFollower`]: follows the change feeds of all nodes of a key-value cluster. A write is visible when the feeds of
//! as many nodes have shown it, or a later version of its key, as must have it before it is acknowledged.
//!
//! Why not with the first feed that shows it: that would show what one node alone has, which may be lost with it, or never
//! be acknowledged. A log shows nothing that isn't on every broker in sync; only what survives the loss of a node is
//! comparable. `visible-copies=1` tells the other.

use std::collections::HashMap;

use engine_env::{Port, PortStats, Wait, Waker};
use kv_engine::{Followed, KvFollower, NodeChange, NodeId, Occurred, VectorClock, Versioned, live_version};
use workloads::Fingerprint;

use super::subscriber::Follow;
use crate::engine::{Visible, monotonic_ns};

pub(super) struct FeedsFollower<P: Port> {
    follower: KvFollower<P>,
    shown: FeedQuorum,
    /// Whether a version may be the tombstone of a delete.
    has_tombstones: bool,
    /// Reused.
    told: Vec<Followed>,
}

impl<P: Port> FeedsFollower<P> {
    /// A write is visible when `needed` feeds have shown it.
    pub(super) fn new(follower: KvFollower<P>, needed: u16, has_tombstones: bool) -> Self {
        Self { follower, shown: FeedQuorum::new(needed), has_tombstones, told: Vec::new() }
    }

    /// What was written under a version; nothing, if it is a delete's.
    fn write(has_tombstones: bool, version: Versioned) -> Option<Fingerprint> {
        let version = if has_tombstones { live_version(version)? } else { version };
        Some(Fingerprint::of(&version.value))
    }
}

impl<P: Port> Follow for FeedsFollower<P> {
    fn follow(&mut self, seen: &mut Vec<Visible>) -> Result<(), String> {
        self.follower.poll(Wait::Forever, &mut self.told);
        let at_ns = monotonic_ns();
        let mut result = Ok(());
        for Followed { node, change } in self.told.drain(..) {
            match change {
                Ok(NodeChange::Put { key, version }) => {
                    let clock = version.clock.clone();
                    let visible = self.shown.put(node, key, clock, Self::write(self.has_tombstones, version));
                    seen.extend(visible.map(|write| Visible { write, at_ns }));
                }
                Ok(NodeChange::Damaged { why }) | Err(why) => {
                    result = result.and(Err(format!("{node}: {why}")));
                }
                // What is gone shows nothing.
                Ok(_) => {}
            }
        }
        result
    }

    fn waker(&self) -> Waker {
        self.follower.waker()
    }

    fn sent(&self) -> PortStats {
        self.follower.port_stats()
    }
}

/// Which writes enough feeds have shown. Remembers a few clocks of each key.
struct FeedQuorum {
    needed: usize,
    keys: HashMap<Box<[u8]>, KeyFeeds>,
}

/// What feeds have shown of one key.
#[derive(Default)]
struct KeyFeeds {
    /// All that each node has shown, as one clock.
    nodes: Vec<(NodeId, VectorClock)>,
    /// Shown by some, not by enough.
    waiting: Vec<(VectorClock, Option<Fingerprint>)>,
    /// All that enough have shown, as one clock.
    visible: Option<VectorClock>,
}

impl FeedQuorum {
    fn new(needed: u16) -> Self {
        Self { needed: usize::from(needed).max(1), keys: HashMap::new() }
    }

    /// A node's feed has shown a version, of a write or of a delete; the writes that enough have shown by now, each once.
    fn put(
        &mut self,
        node: NodeId,
        key: Vec<u8>,
        clock: VectorClock,
        write: Option<Fingerprint>,
    ) -> impl Iterator<Item = Fingerprint> + use<> {
        let feeds = self.keys.entry(key.into_boxed_slice()).or_default();
        let is_new = |seen: &VectorClock| !covers(seen, &clock);
        if feeds.visible.as_ref().is_none_or(is_new) && feeds.waiting.iter().all(|(other, _)| *other != clock)
        {
            feeds.waiting.push((clock.clone(), write));
        }
        match feeds.nodes.iter_mut().find(|(other, _)| *other == node) {
            Some((_, seen)) => add(seen, clock),
            None => feeds.nodes.push((node, clock)),
        }
        let KeyFeeds { nodes, waiting, visible } = feeds;
        let enough =
            |clock: &VectorClock| nodes.iter().filter(|(_, seen)| covers(seen, clock)).count() >= self.needed;
        // In the order in which they were shown first, so an older version before a newer one.
        let shown: Vec<_> = waiting.extract_if(.., |(clock, _)| enough(clock)).collect();
        for (clock, _) in &shown {
            match visible {
                Some(visible) => add(visible, clock.clone()),
                None => *visible = Some(clock.clone()),
            }
        }
        shown.into_iter().filter_map(|(_, write)| write)
    }
}

/// Whether `seen` is `clock` or descends from it.
fn covers(seen: &VectorClock, clock: &VectorClock) -> bool {
    clock.compare(seen) == Occurred::Before
}

fn add(seen: &mut VectorClock, clock: VectorClock) {
    *seen = if covers(&clock, seen) { clock } else { seen.merge(&clock, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock's entries: node and version.
    type Entries = &'static [(u16, u64)];

    fn clock(entries: Entries) -> VectorClock {
        VectorClock::from_entries(entries.iter().copied(), 7).expect("in order")
    }

    fn write(n: u8) -> Fingerprint {
        Fingerprint::of(&[n])
    }

    const DELETE: u8 = 0;

    /// Feeds the shows `(node, clock, write)` of one key; the writes that became visible with each.
    fn visible(needed: u16, shows: &[(u16, Entries, u8)]) -> Vec<Vec<Fingerprint>> {
        let mut quorum = FeedQuorum::new(needed);
        let shown = |&(node, entries, n): &(u16, Entries, u8)| {
            let write = (n != DELETE).then(|| write(n));
            quorum.put(NodeId(node), b"k".to_vec(), clock(entries), write).collect()
        };
        shows.iter().map(shown).collect()
    }

    #[test]
    fn a_write_is_visible_once_with_the_feed_that_completes_the_quorum() {
        let a: Entries = &[(0, 1)];
        let shows = [(0, a, 1), (1, a, 1), (2, a, 1)];
        assert_eq!(visible(1, &shows), [vec![write(1)], vec![], vec![]]);
        assert_eq!(visible(2, &shows), [vec![], vec![write(1)], vec![]]);
        assert_eq!(visible(3, &shows), [vec![], vec![], vec![write(1)]]);
    }

    #[test]
    fn a_node_that_went_on_without_a_version_has_shown_it_too_and_the_order_stays() {
        let (a, b): (Entries, Entries) = (&[(0, 1)], &[(0, 2)]);
        // Node 2 missed the first version: with its second one both are on two nodes.
        assert_eq!(
            visible(2, &[(0, a, 1), (0, b, 2), (2, b, 2)]),
            [vec![], vec![], vec![write(1), write(2)]]
        );
        // The one that is late shows what is visible already.
        let late = [(2, b, 2), (1, a, 1), (1, b, 2), (0, a, 1), (0, b, 2)];
        assert_eq!(visible(2, &late), [vec![], vec![write(1)], vec![write(2)], vec![], vec![]]);
    }

    #[test]
    fn a_delete_shows_nothing_but_what_it_has_replaced() {
        let (a, b): (Entries, Entries) = (&[(0, 1)], &[(0, 2)]);
        let shows = [(0, a, 1), (0, b, DELETE), (1, b, DELETE), (1, a, 1)];
        assert_eq!(visible(2, &shows), [vec![], vec![], vec![write(1)], vec![]]);
    }

    #[test]
    fn siblings_are_counted_apart() {
        let (a, b): (Entries, Entries) = (&[(0, 1)], &[(1, 1)]);
        let shows = [(0, a, 1), (1, b, 2), (0, b, 2), (1, a, 1)];
        assert_eq!(visible(2, &shows), [vec![], vec![], vec![write(2)], vec![write(1)]]);
    }
}
