//! Adapters: the engines of this workspace behind [`Engine`].

mod memory;

pub use memory::Memory;

use crate::engine::Engine;

/// Every engine of the workspace, the floor first.
pub(crate) fn standard() -> Vec<Box<dyn Engine>> {
    vec![Box::new(Memory)]
}
