//! Adapters: the engines of this workspace behind [`Engine`].

mod io;
mod kv_store;
mod log;
mod memory;
#[cfg(feature = "peers")]
mod peers;

pub use kv_store::KvStoreEngine;
pub use log::LogEngine;
pub use memory::Memory;

use crate::engine::Engine;

/// Every engine of the workspace, the floor first; with the feature `peers` also other people's.
pub(crate) fn standard() -> Vec<Box<dyn Engine>> {
    let own: [Box<dyn Engine>; 3] = [Box::new(Memory), Box::new(KvStoreEngine), Box::new(LogEngine)];
    own.into_iter().chain(others()).collect()
}

#[cfg(feature = "peers")]
use peers::all as others;

#[cfg(not(feature = "peers"))]
fn others() -> Vec<Box<dyn Engine>> {
    Vec::new()
}
