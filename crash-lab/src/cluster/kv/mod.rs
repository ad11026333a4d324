//! Clusters of the store.

mod client;
mod mover;
mod node;
mod party;
mod registers;
pub(crate) mod scenarios;
#[cfg(test)]
mod tests;
pub(super) mod timed;
