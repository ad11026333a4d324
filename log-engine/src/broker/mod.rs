//! A broker: holds replicas of partitions, leads some, follows the leaders of the others.

pub(crate) mod config;
pub(crate) mod edge;
mod link;
mod machine;
pub(crate) mod stats;
pub(crate) mod stepped;

#[cfg(test)]
mod tests;
