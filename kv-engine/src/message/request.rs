//! [`Request`]: what clients and nodes ask of a node.

use super::fields::{HEADER_LEN, KEY_LEN_MIN, Rest, message, push_key, push_len};
use super::kind::{
    CHANGES, DELETE, GET, GET_ALL, GET_HASHES, GET_LEAVES, GET_RING, GET_VERSIONS, HINT, PING, PUT,
};
use super::rebalance::RebalanceRequest;
use super::routed::{ROUTED, can_be_routed, skip_ring};
use super::tree::{TreePlace, places_len, push_places, read_places};
use super::{MessageError, RequestId};
use crate::version::VectorClock;

/// What a client asks of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// All versions of a key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// All versions of several keys.
    GetAll {
        /// The keys.
        keys: Vec<&'a [u8]>,
    },
    /// The clocks of all versions of a key.
    GetVersions {
        /// The key.
        key: &'a [u8],
    },
    /// Keep a version.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its clock.
        clock: VectorClock,
        /// Its value.
        value: &'a [u8],
    },
    /// Remove the versions before or equal to a clock.
    Delete {
        /// The key.
        key: &'a [u8],
        /// The clock.
        clock: VectorClock,
    },
    /// Keep a write for a replica that missed it. Answered like [`Request::Put`].
    Hint {
        /// Its key in the slop store: what is to be done, for whom, and the key.
        key: &'a [u8],
        /// The write's clock.
        clock: VectorClock,
        /// The write's value, empty for a delete.
        value: &'a [u8],
    },
    /// The changes of the node's store from a position on. Kept until there is one; a later one of the same asker takes
    /// its place.
    Changes {
        /// The position, 0 for everything: see [`FeedPosition`](crate::FeedPosition).
        from: u64,
        /// Most bytes of records in the answer, but at least a change.
        max_bytes: u32,
    },
    /// Is anybody there?
    Ping,
    /// The ring that the replica goes by.
    GetRing,
    /// What is asked while partitions move.
    Rebalance(RebalanceRequest<'a>),
    /// Hashes at places of the trees of partitions that asker and replica both hold. Roots, level 0, are asked for first:
    /// they are answered when the trees have been made.
    GetHashes {
        /// The level, from 0, the roots, to 2, the leaves.
        level: u8,
        /// Which places of the level.
        at: Vec<TreePlace>,
    },
    /// The keys of leaves of those trees, with the clocks of their versions. All of one slice.
    GetLeaves {
        /// Which leaves.
        at: Vec<TreePlace>,
    },
}

impl Request<'_> {
    /// The message's bytes.
    ///
    /// # Panics
    /// If the key or the value is longer than a store takes: whoever makes a request has checked that.
    #[must_use]
    pub fn encode(&self, id: RequestId) -> Vec<u8> {
        self.encode_by(id, None)
    }

    /// The message's bytes, with the version of the ring by which whoever asks has chosen whom: a node refuses it where that
    /// ring is too old for its own, or too new. Only gets, getAlls, getVersions, puts and deletes have it.
    ///
    /// # Panics
    /// As [`Request::encode`].
    #[must_use]
    pub fn encode_routed(&self, id: RequestId, ring_version: u64) -> Vec<u8> {
        self.encode_by(id, Some(ring_version))
    }

    fn encode_by(&self, id: RequestId, ring_version: Option<u64>) -> Vec<u8> {
        let (kind, body_len) = match self {
            Self::Get { key } => (GET, 2 + key.len()),
            Self::GetAll { keys } => (GET_ALL, 4 + keys.iter().map(|key| 2 + key.len()).sum::<usize>()),
            Self::GetVersions { key } => (GET_VERSIONS, 2 + key.len()),
            Self::Put { key, clock, value } => (PUT, 2 + key.len() + clock.encoded_len() + 4 + value.len()),
            Self::Hint { key, clock, value } => (HINT, 2 + key.len() + clock.encoded_len() + 4 + value.len()),
            Self::Delete { key, clock } => (DELETE, 2 + key.len() + clock.encoded_len()),
            Self::Changes { .. } => (CHANGES, 8 + 4),
            Self::Ping => (PING, 0),
            Self::GetRing => (GET_RING, 0),
            Self::Rebalance(request) => return request.encode(id),
            Self::GetHashes { at, .. } => (GET_HASHES, 1 + places_len(at)),
            Self::GetLeaves { at } => (GET_LEAVES, places_len(at)),
        };
        let (mut bytes, body_len) = match ring_version.filter(|_| can_be_routed(kind)) {
            None => (message(kind, id, body_len), body_len),
            Some(version) => {
                let mut bytes = message(kind | ROUTED, id, 8 + body_len);
                bytes.extend_from_slice(&version.to_le_bytes());
                (bytes, 8 + body_len)
            }
        };
        match self {
            Self::Get { key } | Self::GetVersions { key } => push_key(&mut bytes, key),
            Self::GetAll { keys } => {
                push_len(&mut bytes, keys.len());
                keys.iter().for_each(|key| push_key(&mut bytes, key));
            }
            Self::Put { key, clock, value } | Self::Hint { key, clock, value } => {
                push_key(&mut bytes, key);
                clock.encode(&mut bytes);
                push_len(&mut bytes, value.len());
                bytes.extend_from_slice(value);
            }
            Self::Delete { key, clock } => {
                push_key(&mut bytes, key);
                clock.encode(&mut bytes);
            }
            Self::Changes { from, max_bytes } => {
                bytes.extend_from_slice(&from.to_le_bytes());
                bytes.extend_from_slice(&max_bytes.to_le_bytes());
            }
            Self::GetHashes { level, at } => {
                bytes.push(*level);
                push_places(&mut bytes, at);
            }
            Self::GetLeaves { at } => push_places(&mut bytes, at),
            Self::Ping | Self::GetRing | Self::Rebalance(_) => {}
        }
        debug_assert_eq!(bytes.len(), HEADER_LEN + body_len, "the length was computed ahead");
        bytes
    }
}

impl<'a> Request<'a> {
    /// Reads what [`Request::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no request.
    pub fn decode(bytes: &'a [u8]) -> Result<(RequestId, Self), MessageError> {
        let mut rest = Rest::new(bytes);
        let (kind, id) = rest.header()?;
        let request = match skip_ring(kind, &mut rest)? {
            GET => Self::Get { key: rest.key()? },
            GET_ALL => {
                let count = rest.count(KEY_LEN_MIN)?;
                Self::GetAll { keys: (0..count).map(|_| rest.key()).collect::<Result<_, _>>()? }
            }
            GET_VERSIONS => Self::GetVersions { key: rest.key()? },
            kind @ (PUT | HINT) => {
                let (key, clock) = (rest.key()?, rest.clock()?);
                let len = rest.u32("value length")? as usize;
                let value = rest.take(len, "value")?;
                if kind == PUT { Self::Put { key, clock, value } } else { Self::Hint { key, clock, value } }
            }
            DELETE => Self::Delete { key: rest.key()?, clock: rest.clock()? },
            CHANGES => Self::Changes { from: rest.u64("position")?, max_bytes: rest.u32("most bytes")? },
            PING => Self::Ping,
            GET_RING => Self::GetRing,
            kind if RebalanceRequest::is_kind(kind) => {
                Self::Rebalance(RebalanceRequest::read(kind, &mut rest)?)
            }
            GET_HASHES => {
                let [level] = rest.array("level")?;
                Self::GetHashes { level, at: read_places(&mut rest)? }
            }
            GET_LEAVES => Self::GetLeaves { at: read_places(&mut rest)? },
            found => return Err(MessageError::Kind { found }),
        };
        rest.end()?;
        Ok((id, request))
    }
}
