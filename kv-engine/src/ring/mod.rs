//! The ring: from a key to the nodes that hold it, as Voldemort does it.

mod contact_order;
mod hash;
mod partition;
mod routing;
mod zone;

pub use contact_order::contact_order;
pub use hash::key_hash;
pub(crate) use hash::partition_of;
pub(crate) use partition::NODE_ID_MAX;
pub use partition::{NodeId, Ring, RingError};
pub use routing::{QuotaError, Replicated, Routing, RoutingStrategy, ZoneQuotas};
pub use zone::{Zone, ZoneId};
