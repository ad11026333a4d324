//! [`KvOutcome`]: what a client is told.

use super::error::KvOpError;
use crate::version::{VectorClock, Versioned};

/// An operation's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvOutcome {
    /// The token that the operation was started with.
    pub token: u64,
    /// What came of it.
    pub result: Result<KvAnswer, KvOpError>,
    /// How many replicas had done a write, or answered a read, when the operation was answered; of a getAll, for the
    /// key with the fewest. 0 if it failed.
    pub copies: u16,
    /// How often a write read and tried again because its version was obsolete.
    pub retries: u16,
}

/// What an operation gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvAnswer {
    /// A get: what the resolver left; nothing if the key has no version.
    Values(Vec<Versioned>),
    /// A getAll: the keys that have a version, in the order asked for, each as a get would give it. Where partial
    /// answers are allowed, keys with too few answers are left out too.
    AllValues(Vec<(Vec<u8>, Vec<Versioned>)>),
    /// A getVersions: the clocks that no other descends from.
    Versions(Vec<VectorClock>),
    /// A put or write: the clock that the version has.
    Written(VectorClock),
    /// A delete: whether any replica removed something; with replica tombstones, whether the key had a version at all, if
    /// only a tombstone.
    Deleted(bool),
}
