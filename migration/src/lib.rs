//! From a key-value store to a log, on top of both engines.
//!
//! So far [`view`]: a materialized view, the state that a log's records add up to, kept in a key-value store and read
//! over the network.

pub mod view;
