//! [`Ring`]: who owns which partition. The number of partitions is fixed for the life of a cluster; they are listed per
//! node, never computed.
//!
//! Invariants: partition ids are 0 to P-1, each on exactly one node; a node may own none; node ids needn't be
//! contiguous; each node is in one of the zones, and proximity lists name zones that there are.

use std::collections::BTreeSet;
use std::fmt;

use super::hash::{key_hash, partition_of};
use super::zone::{Zone, ZoneId};

/// A node of a cluster, 0 to 32767: also its id in vector clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// The highest node id: what a vector clock can hold.
pub(crate) const NODE_ID_MAX: u16 = 32_767;
/// The most partitions: ids go to 65535.
const PARTITIONS_MAX: u32 = 65_536;

/// Why partitions and nodes make no ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// No node, or no partition.
    #[error("a ring needs at least one node and one partition")]
    Empty,
    /// A node id that no vector clock can hold.
    #[error("{node} can't be in a ring: ids go from 0 to 32767")]
    NodeOutOfRange {
        /// The node.
        node: NodeId,
    },
    /// A node is listed twice.
    #[error("{node} is listed twice; list each node once, with all of its partitions")]
    NodeTwice {
        /// The node.
        node: NodeId,
    },
    /// A partition id above 65535.
    #[error("partition {partition} can't be in a ring: ids go from 0 to 65535")]
    PartitionOutOfRange {
        /// The partition.
        partition: u32,
    },
    /// A partition has two owners.
    #[error("partition {partition} is on {first} and on {second}; give it to one of them")]
    PartitionTwice {
        /// The partition.
        partition: u32,
        /// One owner.
        first: NodeId,
        /// The other, perhaps the same.
        second: NodeId,
    },
    /// A partition has no owner.
    #[error("partition {partition} is on no node, but {highest} is the highest; ids go up without a gap")]
    PartitionMissing {
        /// The partition.
        partition: u32,
        /// The highest partition that has an owner.
        highest: u32,
    },
    /// A zone is listed twice.
    #[error("{zone} is listed twice; list each zone once")]
    ZoneTwice {
        /// The zone.
        zone: ZoneId,
    },
    /// A node is in a zone that isn't listed.
    #[error("{node} is in {zone}, which isn't listed; list it, or put the node into one that is")]
    NodeInUnknownZone {
        /// The node.
        node: NodeId,
        /// Its zone.
        zone: ZoneId,
    },
    /// A proximity list names a zone that isn't listed.
    #[error("the proximity list of {zone} names {near}, which isn't listed; list it, or leave it out")]
    UnknownZoneNear {
        /// The zone whose list it is.
        zone: ZoneId,
        /// The zone that it names.
        near: ZoneId,
    },
}

/// Nodes and their partitions and zones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Owner of each partition.
    owners: Box<[NodeId]>,
    /// All nodes, also those without a partition, in ascending order.
    nodes: Box<[NodeId]>,
    /// The zone of each of `nodes`.
    zone_of: Box<[ZoneId]>,
    /// In the order listed: the first one is that of clients that name none.
    zones: Box<[Zone]>,
}

impl Ring {
    /// A ring of nodes, each with its partitions, all in zone 0.
    ///
    /// # Errors
    /// The partitions aren't exactly 0 to P-1, each once; or a node comes twice.
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, Vec<u32>)>) -> Result<Self, RingError> {
        let only = ZoneId(0);
        let nodes = nodes.into_iter().map(|(node, partitions)| (node, only, partitions));
        Self::zoned([Zone::new(only, [])], nodes)
    }

    /// A ring of nodes in zones, each with its partitions.
    ///
    /// # Errors
    /// As [`Ring::new`]; or zones are named that aren't listed, or listed twice.
    pub fn zoned(
        zones: impl IntoIterator<Item = Zone>,
        nodes: impl IntoIterator<Item = (NodeId, ZoneId, Vec<u32>)>,
    ) -> Result<Self, RingError> {
        let zones: Vec<Zone> = zones.into_iter().collect();
        let listed = check_zones(&zones)?;
        let mut nodes: Vec<_> = nodes.into_iter().collect();
        nodes.sort_by_key(|(node, ..)| *node);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(RingError::NodeTwice { node: pair[0].0 });
        }
        for (node, zone, _) in &nodes {
            if node.0 > NODE_ID_MAX {
                return Err(RingError::NodeOutOfRange { node: *node });
            }
            if !listed.contains(zone) {
                return Err(RingError::NodeInUnknownZone { node: *node, zone: *zone });
            }
        }
        let owned =
            || nodes.iter().flat_map(|(node, _, partitions)| partitions.iter().map(move |p| (*p, *node)));
        let highest = owned().map(|(partition, _)| partition).max().ok_or(RingError::Empty)?;
        if highest >= PARTITIONS_MAX {
            return Err(RingError::PartitionOutOfRange { partition: highest });
        }
        let mut owners = vec![None; highest as usize + 1];
        for (partition, node) in owned() {
            if let Some(first) = owners[partition as usize].replace(node) {
                return Err(RingError::PartitionTwice { partition, first, second: node });
            }
        }
        let owners = owners
            .iter()
            .zip(0..)
            .map(|(owner, partition)| owner.ok_or(RingError::PartitionMissing { partition, highest }));
        Ok(Self {
            owners: owners.collect::<Result<_, _>>()?,
            nodes: nodes.iter().map(|(node, ..)| *node).collect(),
            zone_of: nodes.iter().map(|(_, zone, _)| *zone).collect(),
            zones: zones.into(),
        })
    }

    /// Nodes 0 to `nodes` - 1, with the partitions dealt out in turn.
    ///
    /// # Errors
    /// No node, no partition, or too many of them.
    pub fn even(nodes: u16, partitions: u32) -> Result<Self, RingError> {
        if nodes == 0 || partitions == 0 {
            return Err(RingError::Empty);
        }
        if partitions > PARTITIONS_MAX {
            return Err(RingError::PartitionOutOfRange { partition: partitions - 1 });
        }
        Self::new(
            (0..nodes).map(|node| {
                (NodeId(node), (u32::from(node)..partitions).step_by(usize::from(nodes)).collect())
            }),
        )
    }

    /// All nodes in ascending order, also those without a partition.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The zones, in the order listed.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The zone of a node; `None` if the ring doesn't know the node.
    #[must_use]
    pub fn zone_of(&self, node: NodeId) -> Option<ZoneId> {
        self.nodes.binary_search(&node).ok().map(|at| self.zone_of[at])
    }

    /// A zone and the others in the order in which a client there prefers them: its proximity list, then those that
    /// the list doesn't name. `None` if the ring doesn't know the zone.
    pub(crate) fn nearest_first(&self, zone: ZoneId) -> Option<Vec<ZoneId>> {
        let own = self.zones.iter().find(|listed| listed.id() == zone)?;
        let mut order = vec![zone];
        order.extend(own.proximity());
        for other in &self.zones {
            if !order.contains(&other.id()) {
                order.push(other.id());
            }
        }
        Some(order)
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.owners.len()).expect("at most 65536")
    }

    /// The node that owns a partition.
    ///
    /// # Panics
    /// If the ring has no such partition.
    #[must_use]
    pub fn owner(&self, partition: u32) -> NodeId {
        self.owners[partition as usize]
    }

    /// The partition of a key.
    #[must_use]
    pub fn master_partition(&self, key: &[u8]) -> u32 {
        partition_of(key_hash(key), self.partitions())
    }
}

/// The ids of the zones.
fn check_zones(zones: &[Zone]) -> Result<BTreeSet<ZoneId>, RingError> {
    let mut listed = BTreeSet::new();
    if let Some(zone) = zones.iter().find(|zone| !listed.insert(zone.id())) {
        return Err(RingError::ZoneTwice { zone: zone.id() });
    }
    for zone in zones {
        if let Some(near) = zone.proximity().iter().find(|near| !listed.contains(near)) {
            return Err(RingError::UnknownZoneNear { zone: zone.id(), near: *near });
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(nodes: &[(u16, &[u32])]) -> Result<Ring, RingError> {
        Ring::new(nodes.iter().map(|(node, partitions)| (NodeId(*node), partitions.to_vec())))
    }

    #[test]
    fn partitions_are_dealt_out_in_turn() {
        let even = Ring::even(3, 7).expect("a ring");
        assert_eq!(Ok(even), ring(&[(0, &[0, 3, 6]), (1, &[1, 4]), (2, &[2, 5])]));
        assert_eq!(Ring::even(3, 2).expect("a ring").nodes().len(), 3, "one node owns nothing");
        assert_eq!(Ring::even(0, 2), Err(RingError::Empty));
        assert_eq!(Ring::even(1, 65_537), Err(RingError::PartitionOutOfRange { partition: 65_536 }));
    }

    #[test]
    fn each_partition_is_on_one_node_without_a_gap() {
        assert_eq!(ring(&[(7, &[1, 0]), (3, &[])]).expect("ids have gaps").nodes(), [NodeId(3), NodeId(7)]);
        assert_eq!(ring(&[(0, &[])]), Err(RingError::Empty));
        assert_eq!(ring(&[(0, &[0]), (0, &[1])]), Err(RingError::NodeTwice { node: NodeId(0) }));
        let (first, second) = (NodeId(0), NodeId(1));
        let twice = RingError::PartitionTwice { partition: 1, first, second };
        assert_eq!(ring(&[(0, &[0, 1]), (1, &[1])]), Err(twice));
        let missing = RingError::PartitionMissing { partition: 1, highest: 2 };
        assert_eq!(ring(&[(0, &[0]), (1, &[2])]), Err(missing));
        assert_eq!(ring(&[(0, &[65_536])]), Err(RingError::PartitionOutOfRange { partition: 65_536 }));
        assert_eq!(ring(&[(32_768, &[0])]), Err(RingError::NodeOutOfRange { node: NodeId(32_768) }));
    }
    #[test]
    fn nodes_are_in_zones_that_are_listed() {
        let zones = || [Zone::new(ZoneId(0), [ZoneId(1)]), Zone::new(ZoneId(1), [])];
        let ring = Ring::zoned(zones(), [(NodeId(4), ZoneId(1), vec![0]), (NodeId(2), ZoneId(0), vec![])]);
        let ring = ring.expect("a ring");
        assert_eq!((ring.zone_of(NodeId(4)), ring.zone_of(NodeId(2))), (Some(ZoneId(1)), Some(ZoneId(0))));
        assert_eq!(ring.zone_of(NodeId(3)), None);
        let unknown = Ring::zoned(zones(), [(NodeId(4), ZoneId(2), vec![0])]);
        assert_eq!(unknown, Err(RingError::NodeInUnknownZone { node: NodeId(4), zone: ZoneId(2) }));
        let twice = Ring::zoned([Zone::new(ZoneId(3), []), Zone::new(ZoneId(3), [])], []);
        assert_eq!(twice, Err(RingError::ZoneTwice { zone: ZoneId(3) }));
        let near = Ring::zoned([Zone::new(ZoneId(3), [ZoneId(4)])], []);
        assert_eq!(near, Err(RingError::UnknownZoneNear { zone: ZoneId(3), near: ZoneId(4) }));
    }

    #[test]
    fn zones_that_a_proximity_list_leaves_out_come_last() {
        let zones = [Zone::new(ZoneId(0), []), Zone::new(ZoneId(1), [ZoneId(2)]), Zone::new(ZoneId(2), [])];
        let ring = Ring::zoned(zones, [(NodeId(0), ZoneId(0), vec![0])]).expect("a ring");
        assert_eq!(ring.nearest_first(ZoneId(1)), Some([1, 2, 0].map(ZoneId).to_vec()));
        assert_eq!(ring.nearest_first(ZoneId(7)), None);
    }
}
