//! [`ReplicaError`]: why a replica refuses, as the bytes of an answer.

use super::MessageError;
use super::fields::{Rest, push_text};
use crate::ring::NodeId;
use crate::version::VectorClock;

/// Error codes: the original's.
const OBSOLETE_VERSION: u16 = 4;
const INVALID_METADATA: u16 = 9;
const PERSISTENCE: u16 = 10;
const APPLICATION: u16 = 12;
const PROXY_UNREACHABLE: u16 = 15;

/// Why a replica refuses. The numbers on the wire are the original's error codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// Code 4: a stored version descends from the given one or equals it.
    #[error("version {stored} is stored, which makes the given one obsolete")]
    ObsoleteVersion {
        /// The stored clock.
        stored: VectorClock,
    },
    /// Code 9: the key isn't this replica's.
    #[error("the replica doesn't hold this key by its ring")]
    InvalidMetadata,
    /// Code 10: its store failed.
    #[error("the replica's store failed: {why}")]
    Persistence {
        /// What the store says.
        why: String,
    },
    /// Code 12: the request can't be done by any replica.
    #[error("the request can't be done: {why}")]
    Application {
        /// Why not.
        why: String,
    },
    /// Code 15: the key's partition moves to this replica, and its donor doesn't answer.
    #[error("the key moves here from {donor}, which doesn't answer")]
    ProxyUnreachable {
        /// The donor.
        donor: NodeId,
    },
}

pub(super) fn push_refusal(bytes: &mut Vec<u8>, error: &ReplicaError) {
    match error {
        ReplicaError::ObsoleteVersion { stored } => {
            bytes.extend_from_slice(&OBSOLETE_VERSION.to_le_bytes());
            stored.encode(bytes);
        }
        ReplicaError::InvalidMetadata => {
            bytes.extend_from_slice(&INVALID_METADATA.to_le_bytes());
        }
        ReplicaError::Persistence { why } => {
            bytes.extend_from_slice(&PERSISTENCE.to_le_bytes());
            push_text(bytes, why);
        }
        ReplicaError::Application { why } => {
            bytes.extend_from_slice(&APPLICATION.to_le_bytes());
            push_text(bytes, why);
        }
        ReplicaError::ProxyUnreachable { donor } => {
            bytes.extend_from_slice(&PROXY_UNREACHABLE.to_le_bytes());
            bytes.extend_from_slice(&donor.0.to_le_bytes());
        }
    }
}

pub(super) fn read_refusal(rest: &mut Rest<'_>) -> Result<ReplicaError, MessageError> {
    Ok(match rest.u16("error code")? {
        OBSOLETE_VERSION => ReplicaError::ObsoleteVersion { stored: rest.clock()? },
        INVALID_METADATA => ReplicaError::InvalidMetadata,
        PERSISTENCE => ReplicaError::Persistence { why: rest.text()? },
        APPLICATION => ReplicaError::Application { why: rest.text()? },
        PROXY_UNREACHABLE => ReplicaError::ProxyUnreachable { donor: NodeId(rest.u16("donor")?) },
        found => return Err(MessageError::Code { found }),
    })
}
