//! [`Ring`]: who owns which partition. The number of partitions is fixed for the life of a cluster; they are listed per
//! node, never computed.
//!
//! Invariants: partition ids are 0 to P-1, each on exactly one node; a node may own none; node ids needn't be
//! contiguous.

use std::fmt;

use super::hash::{key_hash, partition_of};

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
}

/// Nodes and their partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Owner of each partition.
    owners: Box<[NodeId]>,
    /// All nodes, also those without a partition, in ascending order.
    nodes: Box<[NodeId]>,
}

impl Ring {
    /// A ring of nodes, each with its partitions.
    ///
    /// # Errors
    /// The partitions aren't exactly 0 to P-1, each once; or a node comes twice.
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, Vec<u32>)>) -> Result<Self, RingError> {
        let nodes: Vec<_> = nodes.into_iter().collect();
        let mut ids: Vec<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RingError::NodeTwice { node: pair[0] });
        }
        if let Some(node) = ids.iter().find(|node| node.0 > NODE_ID_MAX) {
            return Err(RingError::NodeOutOfRange { node: *node });
        }
        let listed =
            || nodes.iter().flat_map(|(node, partitions)| partitions.iter().map(move |p| (*p, *node)));
        let highest = listed().map(|(partition, _)| partition).max().ok_or(RingError::Empty)?;
        if highest >= PARTITIONS_MAX {
            return Err(RingError::PartitionOutOfRange { partition: highest });
        }
        let mut owners = vec![None; highest as usize + 1];
        for (partition, node) in listed() {
            if let Some(first) = owners[partition as usize].replace(node) {
                return Err(RingError::PartitionTwice { partition, first, second: node });
            }
        }
        let owners = owners
            .iter()
            .zip(0..)
            .map(|(owner, partition)| owner.ok_or(RingError::PartitionMissing { partition, highest }));
        Ok(Self { owners: owners.collect::<Result<_, _>>()?, nodes: ids.into() })
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
}
