//! [`NodeConfig`] and [`NodeHomes`]: what a node is started with.

use crate::anti_entropy::AntiEntropyConfig;
use crate::config::KvConfig;
use crate::membership::RebalancerConfig;
use crate::ring::RoutingStrategy;

/// Settings of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Its store.
    pub storage: KvConfig,
    /// How many replicas a key has: by it and the ring the node knows which keys it holds.
    pub replicas: u16,
    /// How keys are dealt out to nodes. Default: consistent routing.
    pub routing: RoutingStrategy,
    /// The store's name, as clients have it: hints for another store are purged. Default: `store`.
    pub store: String,
    /// How often the hints that it keeps are delivered, in milliseconds. Default: 300,000, five minutes, as in the
    /// original.
    pub push_every_ms: u64,
    /// How it takes part in rebalances; for that it needs a folder for its metadata.
    pub rebalancer: RebalancerConfig,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<crate::ClusterBug>,
    /// Whether and how often the node compares what it holds with its peers, so that both get what they lack; it answers
    /// peers that do. All nodes have it, or none. Default: none, as in the original.
    pub anti_entropy: Option<AntiEntropyConfig>,
}

/// A node's folders.
#[derive(Debug)]
pub struct NodeHomes<H> {
    /// Of its store.
    pub store: H,
    /// Of the hints that it keeps for other nodes. None: it keeps none.
    pub hints: Option<H>,
    /// Of what it keeps of its own: which ring is in force. None: it can't take part in a rebalance.
    pub metadata: Option<H>,
}

impl NodeConfig {
    /// A node of a cluster with so many replicas of each key.
    #[must_use]
    pub fn new(storage: KvConfig, replicas: u16) -> Self {
        Self {
            storage,
            replicas,
            routing: RoutingStrategy::Consistent,
            store: "store".to_owned(),
            push_every_ms: 300_000,
            rebalancer: RebalancerConfig::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
            anti_entropy: None,
        }
    }
}
