//! A Dynamo/Voldemort-style key-value store: versions, storage, and clusters of it.
//!
//! ```
//! use engine_env::{Backend, OsHome};
//! use kv_engine::{KvConfig, KvStore, Storage, VectorClock, Versioned};
//!
//! # let folder = tempfile::tempdir()?;
//! let home = OsHome::open(folder.path(), Backend::Auto)?;
//! let (store, report) = KvStore::open(home, KvConfig::default())?;
//! assert_eq!(report.records, 0);
//!
//! let mut clock = VectorClock::empty(0);
//! clock.increment(0, engine_env::clock::wall_ms())?;
//! store.put(b"member:1", &Versioned::new(clock, b"Ada"))?;
//! assert_eq!(store.get(b"member:1")?[0].value, b"Ada");
//! store.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | floor | what is there |
//! | --- | --- |
//! | versions | [`VectorClock`], [`Versioned`], [`Siblings`], the resolvers: Voldemort's semantics, bytes and limits |
//! | storage | [`Bitcask`] over any [`Disk`](engine_env::Disk), [`MemoryStorage`], [`ReadOnlyStore`]; none names a thread or a clock |
//! | distribution | [`Ring`], [`Coordinator`] (the client's side), [`Replica`] (the server's), their messages: state machines |
//! | edges | [`KvStore`]: a [`Bitcask`] with its threads; [`KvNode`]: a store, a replica and a port ([`SteppedNode`]: the same without threads, for simulators); [`KvClient`]; [`ReadOnlyBuild`] |
//!
//! A cluster in one process; over TCP it is another [`Net`](engine_env::Net):
//!
//! ```
//! use std::sync::Arc;
//! use engine_env::{Backend, LocalNet, Net, OsHome, Peer, Wait};
//! use kv_engine::{ClientConfig, KvAnswer, KvClient, KvConfig, KvNode, NodeConfig, NodeId, Replication, Ring};
//!
//! # let folder = tempfile::tempdir()?;
//! let (net, ring) = (LocalNet::default(), Arc::new(Ring::even(3, 12)?));
//! let mut nodes = Vec::new();
//! for node in [0, 1, 2] {
//!     let home = OsHome::open(folder.path().join(format!("node-{node}")), Backend::Auto)?;
//!     let config = NodeConfig::new(KvConfig::default(), 3);
//!     nodes.push(KvNode::start(home, &net, NodeId(node), Arc::clone(&ring), config)?);
//! }
//! let config = ClientConfig::new(Replication::new(3, 2, 2)?);
//! let mut client = KvClient::new(net.join(Peer(1000))?, ring, config);
//! client.write(1, b"member:1", b"Ada");
//! let mut outcomes = Vec::new();
//! client.poll(Wait::Forever, &mut outcomes);
//! assert!(outcomes[0].result.is_ok() && outcomes[0].copies >= 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anti_entropy;
mod client;
mod config;
mod coordinator;
mod follower;
mod followers;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handoff;
mod hash;
mod membership;
mod message;
mod metadata;
mod node;
mod operator;
mod read_only_build;
mod replica;
mod ring;
mod storage;
mod store;
mod version;

pub use anti_entropy::{AntiEntropy, AntiEntropyConfig, AntiEntropyStats, SLICES};
pub use client::KvClient;
#[cfg(feature = "planted-bugs")]
pub use config::PlantedBug;
pub use config::{ConfigError, KvConfig, SealedReads};
#[cfg(feature = "planted-bugs")]
pub use coordinator::ClusterBug;
pub use coordinator::{
    CLIENT_VALUE_BYTES_MAX, ClientConfig, Coordinator, CoordinatorStats, HandoffStrategy, KvAnswer,
    KvOpError, KvOutcome, Now, OperationTimeouts, Replication, ReplicationError, Resolve, Update,
};
pub use engine_env::Durability;
pub use follower::{FollowConfig, Followed, Following, KvFollower};
pub use membership::{
    Balance, ControllerConfig, ControllerPhase, DetectorConfig, DetectorKind, DonorRule, KeptMetadata,
    MetadataDamaged, MetadataKey, NodeFailure, NodeLoad, PartitionStorage, PlanError, PlanOptions,
    PlanTotals, PlannedStore, RebalanceBatch, RebalanceController, RebalanceOutcome, RebalancePlan,
    RebalanceProgress, Rebalancer, RebalancerConfig, RebalancerStats, StealTask, StolenPartition,
};
pub use message::{
    MessageError, NodeChange, NodeProgress, RebalanceRequest, RebalanceResponse, ReplicaError, Request,
    RequestId, Response, Steal, Switch, TreeLeaf, TreePlace,
};
pub use metadata::{
    Cluster, Compression, MetadataError, Notice, Retention, RoutingTier, Schema, Serializer, Server,
    StoreDefinition, StoreRouting, Stores, ViewDefinition,
};
pub use node::{KvNode, NodeConfig, NodeHomes, NodeStats, StartError, SteppedNode, StopError};
pub use operator::{Proceed, carry_out};
pub use read_only_build::{BuildConfig, Built, BuiltNode, Placement, ReadOnlyBuild};
pub use replica::{NOBODYS, Replica, ReplicaStats, ReplicaStorage, Taken};
pub use ring::{
    NodeId, QuotaError, Replicated, Ring, RingError, Routing, RoutingStrategy, Zone, ZoneId, ZoneQuotas,
    contact_order, key_hash,
};
pub use storage::bitcask::{
    BatchAnswers, BatchWrite, Bitcask, Change, ChangeEvent, ChangeFeed, Damage, DamageKind, FeedError,
    FeedPosition, HintError, HintRefused, InspectedRecord, Inspection, KvDone, KvStats, MaintenanceStep,
    RecordKind, RecoveryReport, SegmentHeaderError, SegmentSummary, Snapshot, SnapshotEntry, SyncTarget,
    TailTruncated, inspect_segment,
};
pub use storage::memory::MemoryStorage;
#[cfg(feature = "planted-bugs")]
pub use storage::read_only::ReadOnlyBug;
pub use storage::read_only::{
    BuildError, ReadOnlyCheck, ReadOnlyConfig, ReadOnlyDamage, ReadOnlyFolderError, ReadOnlyOpenError,
    ReadOnlyStore, ReadOnlyVerified, ReadOnlyVersions, SwapError, Swapped, read_only_versions,
    roll_back_read_only, swap_read_only, verify_read_only,
};
pub use storage::{
    CloseError, DeleteError, EntriesPage, EntriesPosition, GetError, KEY_BYTES_MAX, OpenError, PutError,
    Storage, VALUE_BYTES_MAX,
};
pub use store::{KvFeed, KvStore, PruneHow, Pruned};
pub use version::{
    ChainedResolver, ClockDecodeError, ClockEntry, ClockError, ClockResolver, Clocked, FailingResolver,
    MergingResolver, Occurred, ParseClockError, Resolver, Siblings, TimeResolver, VectorClock, Versioned,
    live_version, resolve_by_clock, resolve_by_time,
};
