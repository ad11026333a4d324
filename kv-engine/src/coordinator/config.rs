//! What a client can be told: [`Replication`] and [`ClientConfig`].

use std::sync::Arc;

use crate::membership::DetectorConfig;
use crate::ring::{RoutingStrategy, ZoneId};
use crate::version::Resolver;

/// How many replicas a key has, and how many of them an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    n: u16,
    r: u16,
    w: u16,
    preferred_reads: u16,
    preferred_writes: u16,
}

/// Why numbers make no replication.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicationError {
    /// R or W is 0 or more than N.
    #[error("{name} can't be {value}: with {n} replicas it is 1 to {n}")]
    Required {
        /// `required reads` or `required writes`.
        name: &'static str,
        /// What it was set to.
        value: u16,
        /// The number of replicas.
        n: u16,
    },
    /// A preferred count is less than the required one, or more than N.
    #[error("{name} can't be {value}: it is {required} (required) to {n} (replicas)")]
    Preferred {
        /// `preferred reads` or `preferred writes`.
        name: &'static str,
        /// What it was set to.
        value: u16,
        /// The required count.
        required: u16,
        /// The number of replicas.
        n: u16,
    },
    /// No replica at all.
    #[error("the number of replicas can't be 0")]
    NoReplicas,
}

impl Replication {
    /// `n` replicas, of which `r` must answer a read and `w` acknowledge a write; preferred counts are the required
    /// ones. As in the original, `r + w > n` isn't asked for: without it a read may miss the last write.
    ///
    /// # Errors
    /// `r` or `w` isn't 1 to `n`.
    pub fn new(n: u16, r: u16, w: u16) -> Result<Self, ReplicationError> {
        if n == 0 {
            return Err(ReplicationError::NoReplicas);
        }
        for (name, value) in [("required reads", r), ("required writes", w)] {
            if !(1..=n).contains(&value) {
                return Err(ReplicationError::Required { name, value, n });
            }
        }
        Ok(Self { n, r, w, preferred_reads: r, preferred_writes: w })
    }

    /// Asks `reads` replicas at once, and waits for the answers of `writes` before a write is answered, if they come
    /// in time.
    ///
    /// # Errors
    /// A count is below the required one, or above N.
    pub fn preferring(self, reads: u16, writes: u16) -> Result<Self, ReplicationError> {
        let n = self.n;
        for (name, value, required) in
            [("preferred reads", reads, self.r), ("preferred writes", writes, self.w)]
        {
            if !(required..=n).contains(&value) {
                return Err(ReplicationError::Preferred { name, value, required, n });
            }
        }
        Ok(Self { preferred_reads: reads, preferred_writes: writes, ..self })
    }

    /// Replicas of each key.
    #[must_use]
    pub fn n(self) -> u16 {
        self.n
    }

    /// Replicas that must answer a read.
    #[must_use]
    pub fn r(self) -> u16 {
        self.r
    }

    /// Replicas that must acknowledge a write.
    #[must_use]
    pub fn w(self) -> u16 {
        self.w
    }

    /// Replicas that a read asks at once.
    #[must_use]
    pub fn preferred_reads(self) -> u16 {
        self.preferred_reads
    }

    /// Replicas whose answers a write waits for, if they come in time.
    #[must_use]
    pub fn preferred_writes(self) -> u16 {
        self.preferred_writes
    }
}

/// What a get makes of several versions.
#[derive(Debug, Clone, Default)]
pub enum Resolve {
    /// By clock, then the one with the latest timestamp under the merge of all clocks: at most one. The default, as
    /// in the original.
    #[default]
    ByTime,
    /// By clock only: all that no other descends from.
    ByClock,
    /// By clock, then by a rule of the caller's. A get fails as inconsistent if several are left.
    By(Arc<dyn Resolver>),
}

impl PartialEq for Resolve {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ByTime, Self::ByTime) | (Self::ByClock, Self::ByClock) => true,
            (Self::By(one), Self::By(another)) => Arc::ptr_eq(one, another),
            _ => false,
        }
    }
}

impl Eq for Resolve {}

/// Which nodes are asked to keep a hint for a replica that missed a write. Those that failed in it, or count as down,
/// never are. With zone routing the first two keep to the client's zone if the replica is there, and else avoid the
/// replica's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffStrategy {
    /// Any other node.
    Any,
    /// The next nodes by id, [`ClientConfig::hint_preflist_size`] of them.
    Consistent,
    /// The nodes of the client's zone, then of the others, nearest first.
    Proximity,
}

/// A mistake put in on purpose, so that the tests of clusters can show that they would find it.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterBug {
    /// A write is acknowledged with one replica fewer than required.
    QuorumShort,
    /// Read repair writes one of several siblings, under the merge of their clocks.
    RepairLosesSibling,
    /// With replica tombstones on, a delete removes the versions instead.
    TombstoneNotKept,
    /// A stealer doesn't fetch the last of the partitions that it takes from a donor.
    RebalanceForgetsRange,
    /// A node accepts what was routed by any ring, however old.
    StaleRingAccepted,
    /// A hint counts as kept, and nobody was asked to keep it.
    HintDropped,
    /// A node deletes a hint when it sends it, not when its replica has acknowledged it.
    HintDeletedEarly,
    /// Anti-entropy's trees leave out their last leaf: what differs there is never found.
    TreeSkipsLastLeaf,
    /// Anti-entropy keeps one of several siblings, under the merge of their clocks.
    AntiEntropyLosesSibling,
}

/// How long one round of each operation may take, in milliseconds. `None`: [`ClientConfig::timeout_ms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperationTimeouts {
    /// A get; the reads of an update too.
    pub get_ms: Option<u64>,
    /// A getAll.
    pub get_all_ms: Option<u64>,
    /// A getVersions; the reads of writes and deletes too.
    pub get_versions_ms: Option<u64>,
    /// A put.
    pub put_ms: Option<u64>,
    /// A delete.
    pub delete_ms: Option<u64>,
}

/// Settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// How many replicas, and how many of them an operation needs.
    pub replication: Replication,
    /// The store's name: hints carry it, so that nodes without the store can tell. Default: `store`.
    pub store: String,
    /// How keys are dealt out to nodes. Default: consistent routing.
    pub routing: RoutingStrategy,
    /// The client's zone, for zone routing and hints. Default: none, the first one of the cluster.
    pub zone: Option<ZoneId>,
    /// With zone routing: so many zones besides one must answer a read. Default: 0.
    pub zone_count_reads: u16,
    /// With zone routing: so many zones besides one must acknowledge a write. Default: 0.
    pub zone_count_writes: u16,
    /// Timeouts that differ from [`ClientConfig::timeout_ms`]. Default: none.
    pub timeouts: OperationTimeouts,
    /// Whether a getAll leaves out keys with too few answers instead of failing. Default: false.
    pub partial_get_all: bool,
    /// How long one round of an operation may take, in milliseconds. Default: 5000. A read that has asked in parallel
    /// so long goes on to the other replicas one by one; a write or delete ends.
    pub timeout_ms: u64,
    /// How long one replica may take where they are asked one by one, in milliseconds. Default: 5000, as in the
    /// original: a master that hangs then uses up the whole time of a put.
    pub node_timeout_ms: u64,
    /// What a get makes of several versions. Default: [`Resolve::ByTime`].
    pub resolve: Resolve,
    /// Whether a get that asked several replicas writes to them what they lack. Default: true.
    pub read_repair: bool,
    /// Who keeps a hint for a replica that missed a write; nodes need a slop store for it. Default: none, nobody.
    pub hinted_handoff: Option<HandoffStrategy>,
    /// How many nodes are asked to keep a hint, with [`HandoffStrategy::Consistent`]. Default: none, as many as a key has
    /// replicas, one fewer where the cluster has no more nodes.
    pub hint_preflist_size: Option<u16>,
    /// Whether a delete leaves a replica tombstone: a version that says that there is none, so that a replica that missed
    /// the delete can't bring the old value back. Not in the original. All clients of a store must agree; tombstones stay
    /// for good. Default: false.
    pub replica_tombstones: bool,
    /// How often an operation is tried that a node refuses because it doesn't hold the key: before each further try the
    /// ring is asked for. Default: 3.
    pub ring_tries: u16,
    /// How often a write or update that finds its version obsolete reads and tries again, counted with the first. Default: 3.
    pub write_tries: u16,
    /// When a node isn't asked any more.
    pub detector: DetectorConfig,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<ClusterBug>,
}

impl ClientConfig {
    /// The original's defaults.
    #[must_use]
    pub fn new(replication: Replication) -> Self {
        Self {
            replication,
            store: "store".to_owned(),
            routing: RoutingStrategy::Consistent,
            zone: None,
            zone_count_reads: 0,
            zone_count_writes: 0,
            timeouts: OperationTimeouts::default(),
            partial_get_all: false,
            timeout_ms: 5000,
            node_timeout_ms: 5000,
            resolve: Resolve::ByTime,
            read_repair: true,
            hinted_handoff: None,
            hint_preflist_size: None,
            replica_tombstones: false,
            ring_tries: 3,
            write_tries: 3,
            detector: DetectorConfig::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_counts_are_one_to_n_and_preferred_ones_follow() {
        let three = Replication::new(3, 2, 2).expect("valid");
        assert_eq!((three.preferred_reads(), three.preferred_writes()), (2, 2));
        assert!(Replication::new(3, 1, 1).is_ok(), "nobody asks for R + W > N");
        let error = Replication::new(3, 4, 1).expect_err("R above N");
        assert_eq!(error.to_string(), "required reads can't be 4: with 3 replicas it is 1 to 3");
        assert!(Replication::new(3, 1, 0).is_err());
        assert_eq!(Replication::new(0, 0, 0), Err(ReplicationError::NoReplicas));
        assert_eq!(three.preferring(3, 2).expect("valid").preferred_reads(), 3);
        assert!(three.preferring(1, 2).is_err());
        assert!(three.preferring(2, 4).is_err());
    }
}
