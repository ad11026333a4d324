//! The ring: from a key to the nodes that hold it, as Voldemort does it.

mod hash;
mod partition;
mod routing;

pub use hash::key_hash;
pub use partition::{NodeId, Ring, RingError};
pub(crate) use routing::Routing;
