//! The original's two files that say what a cluster is: `cluster.xml` (servers, partitions, zones) and `stores.xml` (how
//! often a store's values are kept, and who must answer). Read as the original reads them, defaults filled in; what it
//! would refuse is refused with file, line, value and reason.

mod cluster;
mod store;
mod stores;
mod xml;

pub use cluster::{Cluster, Server};
pub use store::{
    Compression, Retention, RoutingTier, Schema, Serializer, StoreDefinition, StoreRouting, ViewDefinition,
};
pub use stores::{Notice, Stores};
pub use xml::MetadataError;
