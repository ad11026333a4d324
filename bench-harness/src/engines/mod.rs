//! Adapters: the engines of this workspace behind [`Engine`].

mod io;
mod kv_store;
mod log;
mod memory;

pub use kv_store::KvStoreEngine;
pub use log::LogEngine;
pub use memory::Memory;

use crate::engine::Engine;

/// Every engine of the workspace, the floor first.
pub(crate) fn standard() -> Vec<Box<dyn Engine>> {
    vec![Box::new(Memory), Box::new(KvStoreEngine), Box::new(LogEngine)]
}
