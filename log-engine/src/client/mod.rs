//! Those who use a log: the producer that batches, the consumer that follows.

mod accumulator;
pub(crate) mod consumer;
pub(crate) mod log_client;
pub(crate) mod numbering;
pub(crate) mod outcome;
pub(crate) mod partitioner;
pub(crate) mod producer;
pub(crate) mod session;
pub(crate) mod time_queries;
