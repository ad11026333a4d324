//! What clients and nodes say to each other: [`Request`] and [`Response`] as bytes. `docs/formats/kv-messages.md` has
//! the layout.
//!
//! Invariants: a decoder takes any bytes and gives a message or an error; it allocates no more than the bytes it was
//! given could hold; what it accepts ends exactly where the bytes end. Requests borrow key and value from the bytes
//! that arrived, so that a replica copies neither.

mod change;
mod error;
mod fields;
mod kind;
mod rebalance;
mod refusal;
mod request;
mod response;
mod ring;
mod routed;
mod tree;

pub use change::NodeChange;
pub use error::MessageError;
pub(crate) use fields::Rest;
pub(crate) use kind::{asks_about_trees, asks_for_changes, asks_to_rebalance, is_response};
pub use rebalance::{NodeProgress, RebalanceRequest, RebalanceResponse, Steal, Switch};
pub(crate) use rebalance::{push_position, push_steals, read_position, read_steals};
pub use refusal::ReplicaError;
pub use request::Request;
pub use response::Response;
pub(crate) use ring::{push_ring, read_ring};
pub(crate) use routed::routed_by;
pub use tree::{TreeLeaf, TreePlace};

/// A number that the asker gives its request and finds in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

#[cfg(test)]
mod tests;
