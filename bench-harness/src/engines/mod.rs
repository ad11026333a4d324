//! Adapters: the engines of this workspace behind [`Engine`].

mod brokers;
mod caught_up;
mod cluster;
mod feeds_follower;
mod io;
mod joining_cluster;
mod kv_cluster;
mod kv_outage;
mod kv_store;
mod log;
mod log_cluster;
mod log_view;
mod memory;
mod missed_keys;
mod outage;
#[cfg(feature = "peers")]
pub(crate) mod peers;
mod split_port;
mod subscriber;
mod topic_follower;

pub(crate) use joining_cluster::{Join, JoiningCluster, Moved};
pub use kv_cluster::KvClusterEngine;
pub use kv_store::KvStoreEngine;
pub use log::LogEngine;
pub use log_cluster::LogClusterEngine;
pub use log_view::LogViewEngine;
pub use memory::Memory;
pub(crate) use outage::Outage;

use crate::engine::Engine;

/// Every engine of the workspace, the floor first; with the feature `peers` also other people's.
pub(crate) fn standard() -> Vec<Box<dyn Engine>> {
    let own: [Box<dyn Engine>; 6] = [
        Box::new(Memory),
        Box::new(KvStoreEngine),
        Box::new(LogEngine),
        Box::new(KvClusterEngine),
        Box::new(LogClusterEngine),
        Box::new(LogViewEngine),
    ];
    own.into_iter().chain(others()).collect()
}

#[cfg(feature = "peers")]
use peers::all as others;

#[cfg(not(feature = "peers"))]
fn others() -> Vec<Box<dyn Engine>> {
    Vec::new()
}
