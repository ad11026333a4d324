//! [`Response`]: what a node answers.

use std::sync::Arc;

use super::change::{NodeChange, push_changes, read_changes};
use super::fields::{
    CLOCK_LEN_MIN, KEY_LEN_MIN, Rest, message, push_key, push_len, push_versions, versions_len,
};
use super::kind::{
    ANSWER, CHANGES, DELETE, GET, GET_ALL, GET_HASHES, GET_LEAVES, GET_RING, GET_VERSIONS, PING, PUT, REFUSED,
};
use super::rebalance::RebalanceResponse;
use super::refusal::{ReplicaError, push_refusal, read_refusal};
use super::ring::{push_ring, read_ring};
use super::tree::{TreeLeaf, push_hashes, push_leaves, read_hashes, read_leaves};
use super::{MessageError, RequestId};
use crate::ring::Ring;
use crate::version::{VectorClock, Versioned};

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// To [`Request::Get`](super::Request::Get): the versions, none if the key has none.
    Values(Vec<Versioned>),
    /// To [`Request::GetAll`](super::Request::GetAll): the versions of the keys that have some.
    AllValues(Vec<(Vec<u8>, Vec<Versioned>)>),
    /// To [`Request::GetVersions`](super::Request::GetVersions).
    Versions(Vec<VectorClock>),
    /// To [`Request::Put`](super::Request::Put) and [`Request::Hint`](super::Request::Hint): kept, as durably as the replica's
    /// store promises.
    Stored,
    /// To [`Request::Delete`](super::Request::Delete): whether something was removed.
    Deleted(bool),
    /// To [`Request::Changes`](super::Request::Changes): at least one.
    Changes {
        /// Where to go on.
        next: u64,
        /// In the order of the store.
        changes: Vec<NodeChange>,
    },
    /// To [`Request::Ping`](super::Request::Ping).
    Pong,
    /// To [`Request::GetRing`](super::Request::GetRing).
    Ring {
        /// Rises with each change of the ring.
        version: u64,
        /// The ring.
        ring: Arc<Ring>,
    },
    /// To [`Request::Rebalance`](super::Request::Rebalance).
    Rebalance(RebalanceResponse),
    /// To [`Request::GetHashes`](super::Request::GetHashes): in the order asked for.
    Hashes(Vec<u64>),
    /// To [`Request::GetLeaves`](super::Request::GetLeaves): as many of them, from the first on, as fit into a message, but at
    /// least one.
    Leaves(Vec<TreeLeaf>),
    /// To any of them: it wasn't done.
    Refused(ReplicaError),
}

impl Response {
    /// The message's bytes.
    ///
    /// # Panics
    /// If there are more versions, or longer ones, than a message can hold (4 GiB).
    #[must_use]
    pub fn encode(&self, id: RequestId) -> Vec<u8> {
        match self {
            Self::Values(versions) => {
                let mut bytes = message(GET | ANSWER, id, versions_len(versions));
                push_versions(&mut bytes, versions);
                bytes
            }
            Self::AllValues(keys) => {
                let size =
                    |(key, versions): &(Vec<u8>, Vec<Versioned>)| 2 + key.len() + versions_len(versions);
                let mut bytes = message(GET_ALL | ANSWER, id, 4 + keys.iter().map(size).sum::<usize>());
                push_len(&mut bytes, keys.len());
                for (key, versions) in keys {
                    push_key(&mut bytes, key);
                    push_versions(&mut bytes, versions);
                }
                bytes
            }
            Self::Ring { version, ring } => {
                let mut bytes = message(GET_RING | ANSWER, id, 8 + 4 * ring.partitions() as usize);
                bytes.extend_from_slice(&version.to_le_bytes());
                push_ring(&mut bytes, ring);
                bytes
            }
            Self::Versions(clocks) => {
                let size = clocks.iter().map(VectorClock::encoded_len).sum::<usize>();
                let mut bytes = message(GET_VERSIONS | ANSWER, id, 4 + size);
                push_len(&mut bytes, clocks.len());
                for clock in clocks {
                    clock.encode(&mut bytes);
                }
                bytes
            }
            Self::Stored => message(PUT | ANSWER, id, 0),
            Self::Deleted(removed) => {
                let mut bytes = message(DELETE | ANSWER, id, 1);
                bytes.push(u8::from(*removed));
                bytes
            }
            Self::Changes { next, changes } => {
                let mut bytes = message(CHANGES | ANSWER, id, 12);
                bytes.extend_from_slice(&next.to_le_bytes());
                push_changes(&mut bytes, changes);
                bytes
            }
            Self::Hashes(hashes) => {
                let mut bytes = message(GET_HASHES | ANSWER, id, 4 + 8 * hashes.len());
                push_hashes(&mut bytes, hashes);
                bytes
            }
            Self::Leaves(leaves) => {
                let mut bytes = message(GET_LEAVES | ANSWER, id, 4);
                push_leaves(&mut bytes, leaves);
                bytes
            }
            Self::Pong => message(PING | ANSWER, id, 0),
            Self::Rebalance(response) => response.encode(id),
            Self::Refused(error) => {
                let mut bytes = message(REFUSED, id, 16);
                push_refusal(&mut bytes, error);
                bytes
            }
        }
    }

    /// Reads what [`Response::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no response.
    pub fn decode(bytes: &[u8]) -> Result<(RequestId, Self), MessageError> {
        let mut rest = Rest::new(bytes);
        let (kind, id) = rest.header()?;
        const VALUES: u8 = GET | ANSWER;
        const ALL_VALUES: u8 = GET_ALL | ANSWER;
        const RING: u8 = GET_RING | ANSWER;
        const VERSIONS: u8 = GET_VERSIONS | ANSWER;
        const STORED: u8 = PUT | ANSWER;
        const DELETED: u8 = DELETE | ANSWER;
        const PONG: u8 = PING | ANSWER;
        const CHANGED: u8 = CHANGES | ANSWER;
        const HASHES: u8 = GET_HASHES | ANSWER;
        const LEAVES: u8 = GET_LEAVES | ANSWER;
        let response = match kind {
            VALUES => Self::Values(rest.versions()?),
            ALL_VALUES => {
                let count = rest.count(KEY_LEN_MIN + 4)?;
                let mut keys = Vec::with_capacity(count);
                for _ in 0..count {
                    keys.push((rest.key()?.to_vec(), rest.versions()?));
                }
                Self::AllValues(keys)
            }
            RING => {
                let version = rest.u64("ring version")?;
                Self::Ring { version, ring: read_ring(&mut rest)? }
            }
            VERSIONS => {
                let count = rest.count(CLOCK_LEN_MIN)?;
                Self::Versions((0..count).map(|_| rest.clock()).collect::<Result<_, _>>()?)
            }
            STORED => Self::Stored,
            DELETED => Self::Deleted(rest.flag()?),
            PONG => Self::Pong,
            CHANGED => {
                let next = rest.u64("position")?;
                Self::Changes { next, changes: read_changes(&mut rest)? }
            }
            HASHES => Self::Hashes(read_hashes(&mut rest)?),
            LEAVES => Self::Leaves(read_leaves(&mut rest)?),
            REFUSED => Self::Refused(read_refusal(&mut rest)?),
            kind if RebalanceResponse::is_kind(kind) => {
                Self::Rebalance(RebalanceResponse::read(kind, &mut rest)?)
            }
            found => return Err(MessageError::Kind { found }),
        };
        rest.end()?;
        Ok((id, response))
    }
}
