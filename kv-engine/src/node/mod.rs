//! A node: [`KvNode`] with threads, [`SteppedNode`] without, over one machine (`machine.rs`), which is told what arrives and what
//! time it is.

mod config;
mod error;
mod machine;
mod stats;
mod stepped;
mod stores;
mod threaded;

pub use config::{NodeConfig, NodeHomes};
pub use error::{StartError, StopError};
pub use stats::NodeStats;
pub use stepped::SteppedNode;
pub use threaded::KvNode;
