//! [`ClusterLayout`]: which brokers hold which partitions. Fixed, and the same on every broker and client.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use engine_env::Peer;

use crate::TopicPartition;
use crate::topic::is_topic_name;

/// A broker of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerId(pub u16);

impl BrokerId {
    /// Its name on the network.
    #[must_use]
    pub fn peer(self) -> Peer {
        Peer(u32::from(self.0))
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {}", self.0)
    }
}

/// A partition and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLayout {
    /// Which partition.
    pub partition: TopicPartition,
    /// The brokers that hold it. The first one leads.
    pub replicas: Vec<BrokerId>,
}

/// Why a layout can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No brokers, no partitions, or no replicas.
    #[error("a cluster needs at least one broker, and each partition at least one replica")]
    Empty,
    /// There are fewer brokers than copies were asked for.
    #[error("{replicas} replicas need as many brokers, and there are {brokers}")]
    TooFewBrokers {
        /// Copies asked for.
        replicas: u16,
        /// Brokers there are.
        brokers: u16,
    },
    /// Not a topic's name.
    #[error("{name:?} can't be a topic's name: use 1 to 249 of a-z A-Z 0-9 . _ -, and neither . nor ..")]
    Name {
        /// The name.
        name: String,
    },
    /// A partition is there twice, or a broker twice in one partition.
    #[error("{partition} is named twice, or has one broker twice")]
    Twice {
        /// The partition.
        partition: TopicPartition,
    },
}

/// Which brokers hold which partitions, and who leads each.
///
/// ```
/// use log_engine::{BrokerId, ClusterLayout, TopicPartition};
///
/// let layout = ClusterLayout::even(3, &[("members", 6)], 3)?;
/// assert_eq!(layout.leader(&TopicPartition::new("members", 4)), Some(BrokerId(1)));
/// # Ok::<(), log_engine::LayoutError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterLayout {
    partitions: Vec<PartitionLayout>,
    by_name: HashMap<TopicPartition, u32>,
    brokers: BTreeSet<BrokerId>,
    fingerprint: u32,
}

impl ClusterLayout {
    /// Brokers 0 to `brokers`, topics with that many partitions each, `replicas` copies of each. Leaders go round.
    ///
    /// # Errors
    /// Too few brokers, no partitions, or a wrong name.
    pub fn even(brokers: u16, topics: &[(&str, u32)], replicas: u16) -> Result<Self, LayoutError> {
        if replicas > brokers {
            return Err(LayoutError::TooFewBrokers { replicas, brokers });
        }
        if brokers == 0 {
            return Err(LayoutError::Empty);
        }
        let mut partitions = Vec::new();
        for &(topic, count) in topics {
            for number in 0..count {
                let first = u16::try_from(partitions.len() % usize::from(brokers)).expect("below a u16");
                partitions.push(PartitionLayout {
                    partition: TopicPartition::new(topic, number),
                    replicas: (0..replicas)
                        .map(|i| BrokerId(((u32::from(first) + u32::from(i)) % u32::from(brokers)) as u16))
                        .collect(),
                });
            }
        }
        Self::new(partitions)
    }

    /// Each partition with its replicas, the leader first.
    ///
    /// # Errors
    /// Something is missing, there twice, or has a wrong name.
    pub fn new(mut partitions: Vec<PartitionLayout>) -> Result<Self, LayoutError> {
        partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
        let mut by_name = HashMap::new();
        let mut brokers = BTreeSet::new();
        let mut text = String::new();
        for (number, one) in (0..).zip(&partitions) {
            let partition = one.partition.clone();
            if !is_topic_name(&partition.topic) {
                return Err(LayoutError::Name { name: partition.topic });
            }
            let distinct: BTreeSet<_> = one.replicas.iter().copied().collect();
            if distinct.is_empty() {
                return Err(LayoutError::Empty);
            }
            text.push_str(&format!("{partition}:{:?};", one.replicas));
            if distinct.len() < one.replicas.len() || by_name.insert(partition.clone(), number).is_some() {
                return Err(LayoutError::Twice { partition });
            }
            brokers.extend(distinct);
        }
        if partitions.is_empty() {
            return Err(LayoutError::Empty);
        }
        let fingerprint = crc_fast::crc32_iscsi(text.as_bytes());
        Ok(Self { partitions, by_name, brokers, fingerprint })
    }

    /// All partitions, ordered by topic and number.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionLayout] {
        &self.partitions
    }

    /// All brokers.
    pub fn brokers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.brokers.iter().copied()
    }

    /// Who leads a partition; `None` if there is no such partition.
    #[must_use]
    pub fn leader(&self, partition: &TopicPartition) -> Option<BrokerId> {
        self.index(partition).map(|i| self.leader_of(i))
    }

    /// A partition's number within this layout: what messages name it by.
    pub(crate) fn index(&self, partition: &TopicPartition) -> Option<u32> {
        self.by_name.get(partition).copied()
    }

    pub(crate) fn get(&self, index: u32) -> Option<&PartitionLayout> {
        self.partitions.get(index as usize)
    }

    pub(crate) fn leader_of(&self, index: u32) -> BrokerId {
        self.partitions[index as usize].replicas[0]
    }

    /// Differs between layouts: a message of a cluster that is laid out otherwise isn't taken.
    pub(crate) fn fingerprint(&self) -> u32 {
        self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_go_round_and_every_partition_has_its_copies() {
        let layout = ClusterLayout::even(4, &[("a", 8), ("b", 2)], 3).expect("it fits");
        let mut led = [0; 4];
        for one in layout.partitions() {
            assert_eq!(one.replicas.len(), 3);
            led[usize::from(one.replicas[0].0)] += 1;
        }
        assert_eq!(led, [3, 3, 2, 2]);
        let other = ClusterLayout::even(4, &[("a", 8), ("b", 3)], 3).expect("it fits");
        assert_ne!(layout.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_layout_that_can_not_be_is_refused() {
        let refused = |brokers, topics: &[(&str, u32)], replicas| {
            ClusterLayout::even(brokers, topics, replicas).is_err()
        };
        assert!(refused(2, &[("a", 1)], 3));
        assert!(refused(0, &[("a", 1)], 0));
        assert!(refused(3, &[("a", 1)], 0));
        assert!(refused(3, &[], 1));
        assert!(refused(3, &[("a/b", 1)], 1));
        assert!(refused(3, &[("a", 1), ("a", 2)], 1));
    }
}
