//! Versions of a value, with Voldemort's semantics: vector clocks, siblings, and the resolvers of the client side.

mod prune;
mod resolver;
mod siblings;
pub(crate) mod tombstone;
mod vector_clock;
mod versioned;

pub(crate) use prune::obsolete_when_pruned;
pub use resolver::{
    ChainedResolver, ClockResolver, FailingResolver, MergingResolver, Resolver, TimeResolver,
    resolve_by_clock, resolve_by_time,
};
pub use siblings::{Clocked, Siblings};
pub use tombstone::live_version;
pub(crate) use vector_clock::ENTRIES_LIMIT;
pub use vector_clock::{ClockDecodeError, ClockEntry, ClockError, Occurred, ParseClockError, VectorClock};
pub use versioned::Versioned;
