//! [`NodeStats`]: what a node has counted.

use engine_env::PortStats;

use crate::anti_entropy::AntiEntropyStats;
use crate::membership::RebalancerStats;
use crate::replica::ReplicaStats;
use crate::storage::bitcask::KvStats;

/// What a node has counted since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NodeStats {
    /// Requests.
    pub replica: ReplicaStats,
    /// Messages sent.
    pub port: PortStats,
    /// Its store's figures.
    pub store: KvStats,
    /// Hints that it keeps for other nodes now.
    pub hints: u64,
    /// Hints that it has delivered.
    pub hints_delivered: u64,
    /// Hints that it has deleted because nobody will ever take them: the key, the node or the store has left.
    pub hints_given_up: u64,
    /// Its part in rebalances.
    pub rebalancer: RebalancerStats,
    /// Comparisons with its peers.
    pub anti_entropy: AntiEntropyStats,
}
