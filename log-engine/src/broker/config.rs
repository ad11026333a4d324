//! Settings of a broker, checked once when it starts.

use crate::{ConfigError, LogConfig};

/// Settings of a [`Broker`](crate::Broker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Its log. The durability there is each replica's own: with `synced` a follower acknowledges what it has synced.
    pub log: LogConfig,
    /// With [`Acks::All`](crate::Acks::All) nothing is appended or acknowledged with fewer brokers in sync, the leader
    /// included. Default 2, at least 1.
    pub min_isr: u16,
    /// A follower that is later than this leaves the set of those in sync, in milliseconds. Default 10,000, at least 1.
    /// Less lets a pause take replicas out, more makes acknowledgements wait longer for a dead one.
    pub replica_lag_ms: u64,
    /// How long a leader keeps a follower's question when there is nothing new, in milliseconds. Default 500. A lost
    /// connection is noticed after twice as long at the latest.
    pub follow_wait_ms: u32,
    /// How long after a failure a follower asks its leader again, in milliseconds. Default 50.
    pub retry_ms: u64,
    /// Most bytes of a partition in one answer to a follower (but always at least a batch). Default 1 MiB.
    pub follow_bytes: u32,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            log: LogConfig::default(),
            min_isr: 2,
            replica_lag_ms: 10_000,
            follow_wait_ms: 500,
            retry_ms: 50,
            follow_bytes: 1 << 20,
        }
    }
}

impl BrokerConfig {
    /// The first field that can't be used, if any. The log's own are checked when it is opened.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("min_isr", u64::from(self.min_isr)),
            ("replica_lag_ms", self.replica_lag_ms),
            ("follow_wait_ms", u64::from(self.follow_wait_ms)),
            ("retry_ms", self.retry_ms),
            ("follow_bytes", u64::from(self.follow_bytes)),
        ];
        match numbers.into_iter().find(|&(_, value)| value == 0) {
            Some((field, _)) => Err(ConfigError { field, value: "0".to_owned(), rule: "at least 1" }),
            None => Ok(()),
        }
    }
}
