//! Clusters of the store.

mod client;
mod node;
mod registers;
pub(crate) mod scenarios;
#[cfg(test)]
mod tests;
pub(super) mod timed;
