//! The bytes of messages: little-endian but for clocks, which have Voldemort's bytes.

use super::rebalance::{RebalanceRequest, RebalanceResponse};
use super::ring::{push_ring, read_ring};
use super::tree::{places_len, push_hashes, push_leaves, push_places, read_hashes, read_leaves, read_places};
use super::{NodeChange, ReplicaError, Request, RequestId, Response};
use crate::ring::{NodeId, RingError};
use crate::version::{ClockDecodeError, VectorClock, Versioned};

/// The version of the layout that this build writes and reads.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 1 + 1 + 8;

/// Kinds of requests: the original's opcodes where it has one.
const GET: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const GET_ALL: u8 = 4;
const GET_VERSIONS: u8 = 10;
const PING: u8 = 32;
const HINT: u8 = 33;
const CHANGES: u8 = 34;
const GET_RING: u8 = 35;
const GET_HASHES: u8 = 36;
const GET_LEAVES: u8 = 37;
/// An answer's kind is that of its request with this bit.
pub(super) const ANSWER: u8 = 0x80;
const REFUSED: u8 = 0xff;

/// Error codes: the original's.
const OBSOLETE_VERSION: u16 = 4;
const INVALID_METADATA: u16 = 9;
const PERSISTENCE: u16 = 10;
const APPLICATION: u16 = 12;
const PROXY_UNREACHABLE: u16 = 15;

/// What a change is.
const CHANGE_PUT: u8 = 0;
const CHANGE_DELETED: u8 = 1;
const CHANGE_DAMAGED: u8 = 2;
/// The fewest bytes a change has: damage without a text.
const CHANGE_LEN_MIN: usize = 1 + 2;
/// Room that is made for changes before they are read: they are larger in memory than on the way.
const CHANGES_AHEAD_MAX: usize = 1024;

/// The fewest bytes a key takes: its length.
pub(super) const KEY_LEN_MIN: usize = 2;
/// The fewest bytes a clock has: the empty one's.
pub(super) const CLOCK_LEN_MIN: usize = 11;
/// Longest text of an error, in bytes.
const TEXT_LEN_MAX: usize = 1000;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes end too early.
    #[error("the message ends at byte {got}, inside of its {field}")]
    Truncated {
        /// What is cut off.
        field: &'static str,
        /// Bytes there are.
        got: usize,
    },
    /// Another layout.
    #[error(
        "the message has layout version {found}, this build reads {VERSION}; run the same build on all nodes"
    )]
    Version {
        /// The version it has.
        found: u8,
    },
    /// A kind that this build doesn't know, or an answer where a request belongs, or the other way round.
    #[error("the message is of kind {found}, which doesn't belong here; run the same build on all nodes")]
    Kind {
        /// The kind it has.
        found: u8,
    },
    /// An error code that this build doesn't know.
    #[error("the answer has the unknown error code {found}; run the same build on all nodes")]
    Code {
        /// The code it has.
        found: u16,
    },
    /// More items than its bytes can hold.
    #[error("the message announces {count} items in {left} bytes")]
    Count {
        /// Announced items.
        count: u32,
        /// Bytes left for them.
        left: usize,
    },
    /// A value that is neither yes nor no.
    #[error("the message has {found} where 0 or 1 belongs")]
    Bool {
        /// What it has.
        found: u8,
    },
    /// A change that is none of those there are.
    #[error("the message tells a change of the unknown kind {found}; run the same build on all nodes")]
    Change {
        /// The kind it has.
        found: u8,
    },
    /// A clock that is none.
    #[error("the message holds no valid clock")]
    Clock {
        /// What is wrong with it.
        #[from]
        source: ClockDecodeError,
    },
    /// A ring that is none.
    #[error("the message holds no valid ring")]
    Ring {
        /// What is wrong with it.
        #[from]
        source: RingError,
    },
    /// A ring whose partition belongs to a node that it doesn't list.
    #[error("the ring in the message gives a partition to node {owner}, which it doesn't list")]
    UnknownOwner {
        /// The node.
        owner: u16,
    },
    /// Bytes behind the end.
    #[error("{extra} bytes follow the end of the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

impl Request<'_> {
    /// The message's bytes.
    ///
    /// # Panics
    /// If the key or the value is longer than a store takes: whoever makes a request has checked that.
    #[must_use]
    pub fn encode(&self, id: RequestId) -> Vec<u8> {
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
        let mut bytes = message(kind, id, body_len);
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
        let request = match kind {
            GET => Self::Get { key: rest.key()? },
            GET_ALL => {
                let count = rest.count(KEY_LEN_MIN)?;
                Self::GetAll { keys: (0..count).map(|_| rest.key()).collect::<Result<_, _>>()? }
            }
            GET_VERSIONS => Self::GetVersions { key: rest.key()? },
            PUT | HINT => {
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
                push_len(&mut bytes, changes.len());
                changes.iter().for_each(|change| push_change(&mut bytes, change));
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
                match error {
                    ReplicaError::ObsoleteVersion { stored } => {
                        bytes.extend_from_slice(&OBSOLETE_VERSION.to_le_bytes());
                        stored.encode(&mut bytes);
                    }
                    ReplicaError::InvalidMetadata => {
                        bytes.extend_from_slice(&INVALID_METADATA.to_le_bytes());
                    }
                    ReplicaError::Persistence { why } => {
                        bytes.extend_from_slice(&PERSISTENCE.to_le_bytes());
                        push_text(&mut bytes, why);
                    }
                    ReplicaError::Application { why } => {
                        bytes.extend_from_slice(&APPLICATION.to_le_bytes());
                        push_text(&mut bytes, why);
                    }
                    ReplicaError::ProxyUnreachable { donor } => {
                        bytes.extend_from_slice(&PROXY_UNREACHABLE.to_le_bytes());
                        bytes.extend_from_slice(&donor.0.to_le_bytes());
                    }
                }
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
                let count = rest.count(CHANGE_LEN_MIN)?;
                let mut changes = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
                for _ in 0..count {
                    changes.push(rest.change()?);
                }
                Self::Changes { next, changes }
            }
            HASHES => Self::Hashes(read_hashes(&mut rest)?),
            LEAVES => Self::Leaves(read_leaves(&mut rest)?),
            REFUSED => Self::Refused(match rest.u16("error code")? {
                OBSOLETE_VERSION => ReplicaError::ObsoleteVersion { stored: rest.clock()? },
                INVALID_METADATA => ReplicaError::InvalidMetadata,
                PERSISTENCE => ReplicaError::Persistence { why: rest.text()? },
                APPLICATION => ReplicaError::Application { why: rest.text()? },
                PROXY_UNREACHABLE => ReplicaError::ProxyUnreachable { donor: NodeId(rest.u16("donor")?) },
                found => return Err(MessageError::Code { found }),
            }),
            kind if RebalanceResponse::is_kind(kind) => {
                Self::Rebalance(RebalanceResponse::read(kind, &mut rest)?)
            }
            found => return Err(MessageError::Kind { found }),
        };
        rest.end()?;
        Ok((id, response))
    }
}

/// Whether these bytes, if they are a message, are an answer.
pub(crate) fn is_response(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|kind| kind & ANSWER != 0)
}

/// Whether these bytes, if they are a message, are a [`RebalanceRequest`].
pub(crate) fn asks_to_rebalance(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|kind| RebalanceRequest::is_kind(*kind))
}

/// Whether these bytes, if they are a message, are a [`Request::Changes`].
pub(crate) fn asks_for_changes(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&CHANGES)
}

/// Whether these bytes, if they are a message, are a [`Request::GetHashes`] or a [`Request::GetLeaves`].
pub(crate) fn asks_about_trees(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(&(GET_HASHES | GET_LEAVES)))
}

pub(super) fn message(kind: u8, id: RequestId, body_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body_len);
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(&id.0.to_le_bytes());
    bytes
}

pub(super) fn push_key(bytes: &mut Vec<u8>, key: &[u8]) {
    let len = u16::try_from(key.len()).expect("whoever asks has checked the key's length");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(key);
}

pub(super) fn versions_len(versions: &[Versioned]) -> usize {
    4 + versions.iter().map(|v| 4 + v.clock.encoded_len() + v.value.len()).sum::<usize>()
}

pub(super) fn push_versions(bytes: &mut Vec<u8>, versions: &[Versioned]) {
    push_len(bytes, versions.len());
    for version in versions {
        push_len(bytes, version.clock.encoded_len() + version.value.len());
        version.clock.encode(bytes);
        bytes.extend_from_slice(&version.value);
    }
}

pub(super) fn push_len(bytes: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("values end at 1 GiB, and a key has few versions");
    bytes.extend_from_slice(&len.to_le_bytes());
}

fn push_change(bytes: &mut Vec<u8>, change: &NodeChange) {
    match change {
        NodeChange::Put { key, version } => {
            bytes.push(CHANGE_PUT);
            push_key(bytes, key);
            push_len(bytes, version.clock.encoded_len() + version.value.len());
            version.clock.encode(bytes);
            bytes.extend_from_slice(&version.value);
        }
        NodeChange::Deleted { key, version } => {
            bytes.push(CHANGE_DELETED);
            push_key(bytes, key);
            version.encode(bytes);
        }
        NodeChange::Damaged { why } => {
            bytes.push(CHANGE_DAMAGED);
            push_text(bytes, why);
        }
    }
}

pub(super) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_LEN_MAX)];
    bytes.extend_from_slice(&u16::try_from(text.len()).expect("cut above").to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left of a message.
pub(crate) struct Rest<'a> {
    bytes: &'a [u8],
    /// Length of the whole message.
    len: usize,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, len: bytes.len() }
    }

    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], MessageError> {
        let (head, tail) =
            self.bytes.split_at_checked(len).ok_or(MessageError::Truncated { field, got: self.len })?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const LEN: usize>(&mut self, field: &'static str) -> Result<[u8; LEN], MessageError> {
        Ok(self.take(LEN, field)?.try_into().expect("as long as asked for"))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, MessageError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    fn change(&mut self) -> Result<NodeChange, MessageError> {
        let [kind] = self.array("change")?;
        Ok(match kind {
            CHANGE_PUT => {
                let key = self.key()?.to_vec();
                let len = self.u32("version length")? as usize;
                NodeChange::Put { key, version: Versioned::decode(self.take(len, "version")?)? }
            }
            CHANGE_DELETED => NodeChange::Deleted { key: self.key()?.to_vec(), version: self.clock()? },
            CHANGE_DAMAGED => NodeChange::Damaged { why: self.text()? },
            found => return Err(MessageError::Change { found }),
        })
    }

    pub(crate) fn flag(&mut self) -> Result<bool, MessageError> {
        match self.array("flag")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(MessageError::Bool { found }),
        }
    }

    fn header(&mut self) -> Result<(u8, RequestId), MessageError> {
        let [version, kind] = self.array("header")?;
        if version != VERSION {
            return Err(MessageError::Version { found: version });
        }
        Ok((kind, RequestId(self.u64("header")?)))
    }

    pub(crate) fn key(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.u16("key length")?;
        self.take(len.into(), "key")
    }

    pub(crate) fn clock(&mut self) -> Result<VectorClock, MessageError> {
        let (clock, used) = VectorClock::decode(self.bytes)?;
        self.bytes = &self.bytes[used..];
        Ok(clock)
    }

    pub(crate) fn versions(&mut self) -> Result<Vec<Versioned>, MessageError> {
        let count = self.count(4 + CLOCK_LEN_MIN)?;
        let mut versions = Vec::with_capacity(count);
        for _ in 0..count {
            let len = self.u32("version length")? as usize;
            versions.push(Versioned::decode(self.take(len, "version")?)?);
        }
        Ok(versions)
    }

    /// A number of items of which each takes at least `item_len_min` bytes.
    pub(crate) fn count(&mut self, item_len_min: usize) -> Result<usize, MessageError> {
        let count = self.u32("count")?;
        if count as usize > self.bytes.len() / item_len_min {
            return Err(MessageError::Count { count, left: self.bytes.len() });
        }
        Ok(count as usize)
    }

    /// A text that is for reading only: what isn't UTF-8 in it is replaced.
    pub(crate) fn text(&mut self) -> Result<String, MessageError> {
        let len = self.u16("text length")?;
        Ok(String::from_utf8_lossy(self.take(len.into(), "text")?).into_owned())
    }

    pub(crate) fn end(&self) -> Result<(), MessageError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(MessageError::Trailing { extra: self.bytes.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tree::{TreeLeaf, TreePlace};
    use super::*;
    use crate::ring::{Ring, Zone, ZoneId};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn clock() -> impl Strategy<Value = VectorClock> {
        (proptest::collection::btree_map(0u16..100, 1u64..1000, 0..4), any::<i64>())
            .prop_map(|(entries, at)| VectorClock::from_entries(entries, at).expect("in range"))
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..50)
    }

    fn version() -> impl Strategy<Value = Versioned> {
        (clock(), bytes()).prop_map(|(clock, value)| Versioned::new(clock, value))
    }

    fn change() -> impl Strategy<Value = NodeChange> {
        prop_oneof![
            (bytes(), version()).prop_map(|(key, version)| NodeChange::Put { key, version }),
            (bytes(), clock()).prop_map(|(key, version)| NodeChange::Deleted { key, version }),
            ".{0,30}".prop_map(|why| NodeChange::Damaged { why }),
        ]
    }

    fn ring() -> impl Strategy<Value = Arc<Ring>> {
        (1u16..6, 1u32..30, 1u16..4).prop_map(|(nodes, partitions, zones)| {
            let zone = |id| Zone::new(ZoneId(id), (0..zones).map(ZoneId));
            let node = |id: u16| {
                let partitions = (u32::from(id)..partitions).step_by(usize::from(nodes));
                (NodeId(id * 3), ZoneId(id % zones), partitions.collect())
            };
            Arc::new(Ring::zoned((0..zones).map(zone), (0..nodes).map(node)).expect("a ring"))
        })
    }

    fn places() -> impl Strategy<Value = Vec<TreePlace>> {
        vec(place(), 0..5)
    }

    fn place() -> impl Strategy<Value = TreePlace> {
        (any::<u32>(), any::<u16>()).prop_map(|(partition, at)| TreePlace { partition, at })
    }

    fn leaf() -> impl Strategy<Value = TreeLeaf> {
        (place(), vec((bytes(), vec(clock(), 0..3)), 0..3)).prop_map(|(place, keys)| TreeLeaf { place, keys })
    }

    fn response() -> impl Strategy<Value = Response> {
        prop_oneof![
            (any::<u64>(), vec(change(), 0..4))
                .prop_map(|(next, changes)| Response::Changes { next, changes }),
            vec(version(), 0..4).prop_map(Response::Values),
            vec((bytes(), vec(version(), 0..3)), 0..4).prop_map(Response::AllValues),
            (any::<u64>(), ring()).prop_map(|(version, ring)| Response::Ring { version, ring }),
            vec(clock(), 0..4).prop_map(Response::Versions),
            vec(any::<u64>(), 0..5).prop_map(Response::Hashes),
            vec(leaf(), 0..3).prop_map(Response::Leaves),
            Just(Response::Stored),
            any::<bool>().prop_map(Response::Deleted),
            Just(Response::Pong),
            clock().prop_map(|stored| Response::Refused(ReplicaError::ObsoleteVersion { stored })),
            Just(Response::Refused(ReplicaError::InvalidMetadata)),
            ".{0,30}".prop_map(|why| Response::Refused(ReplicaError::Persistence { why })),
            ".{0,30}".prop_map(|why| Response::Refused(ReplicaError::Application { why })),
            any::<u16>().prop_map(|donor| {
                Response::Refused(ReplicaError::ProxyUnreachable { donor: NodeId(donor) })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_request_reads_as_it_was_written(
            id: u64, kind in 0..11, keys in vec(bytes(), 0..4), key in bytes(), clock in clock(), value in bytes(),
            at in places(), level: u8
        ) {
            let request = match kind {
                0 => Request::Get { key: &key },
                1 => Request::GetVersions { key: &key },
                2 => Request::Put { key: &key, clock, value: &value },
                3 => Request::Delete { key: &key, clock },
                4 => Request::Hint { key: &key, clock, value: &value },
                5 => Request::Changes { from: id, max_bytes: id as u32 },
                6 => Request::GetAll { keys: keys.iter().map(Vec::as_slice).collect() },
                7 => Request::GetRing,
                8 => Request::GetHashes { level, at },
                9 => Request::GetLeaves { at },
                _ => Request::Ping,
            };
            let bytes = request.encode(RequestId(id));
            prop_assert_eq!(Request::decode(&bytes), Ok((RequestId(id), request)));
            for cut in 0..bytes.len() {
                prop_assert!(Request::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn a_response_reads_as_it_was_written(id: u64, response in response()) {
            let bytes = response.encode(RequestId(id));
            prop_assert_eq!(Response::decode(&bytes), Ok((RequestId(id), response)));
            for cut in 0..bytes.len() {
                prop_assert!(Response::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_give_a_message_or_an_error(
            bytes in vec(any::<u8>(), 0..200), kind in prop_oneof![
                any::<u8>(), 1u8..5, Just(10), 32u8..38, 0x81u8..0x85, Just(0x8a), 0xa2u8..0xa6, Just(0xff)
            ]
        ) {
            let _ = Request::decode(&bytes);
            let _ = Response::decode(&bytes);
            let mut bytes = bytes;
            // Past the version and the kind, where the lengths and counts are.
            if bytes.len() > 2 {
                (bytes[0], bytes[1]) = (VERSION, kind);
                let _ = Request::decode(&bytes);
                let _ = Response::decode(&bytes);
            }
        }
    }

    // One golden message each way: it fails when a byte moves.
    #[test]
    fn the_layout_stands_as_documented() {
        let clock = VectorClock::from_entries([(1, 2)], 3).expect("in range");
        let clock_bytes = [0, 1, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
        let put = Request::Put { key: b"k", clock: clock.clone(), value: b"va" }.encode(RequestId(5));
        let expected =
            [&[1, 2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'k'][..], &clock_bytes, &[2, 0, 0, 0, b'v', b'a']];
        assert_eq!(put, expected.concat());
        let values = Response::Values(vec![Versioned::new(clock.clone(), b"v")]).encode(RequestId(6));
        let expected = [&[1, 0x81, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15, 0, 0, 0][..], &clock_bytes, b"v"];
        assert_eq!(values, expected.concat());
        let asked = Request::Changes { from: 8, max_bytes: 9 }.encode(RequestId(6));
        assert_eq!(asked, [1, 34, 6, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        let changes = vec![
            NodeChange::Put { key: b"k".to_vec(), version: Versioned::new(clock.clone(), b"v") },
            NodeChange::Deleted { key: b"k".to_vec(), version: clock },
            NodeChange::Damaged { why: "x".to_owned() },
        ];
        let told = Response::Changes { next: 8, changes }.encode(RequestId(6));
        let expected = [
            &[1, 0xa2, 6, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0][..],
            &[0, 1, 0, b'k', 15, 0, 0, 0],
            &clock_bytes,
            b"v",
            &[1, 1, 0, b'k'],
            &clock_bytes,
            &[2, 1, 0, b'x'],
        ];
        assert_eq!(told, expected.concat());
        let at = vec![TreePlace { partition: 7, at: 8 }];
        let asked = Request::GetHashes { level: 2, at: at.clone() }.encode(RequestId(6));
        assert_eq!(asked, [1, 36, 6, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0]);
        let asked = Request::GetLeaves { at }.encode(RequestId(6));
        assert_eq!(asked, [1, 37, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0]);
        let told = Response::Hashes(vec![9]).encode(RequestId(6));
        assert_eq!(told, [1, 0xa4, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        let keys = vec![(b"k".to_vec(), vec![VectorClock::from_entries([(1, 2)], 3).expect("in range")])];
        let told = Response::Leaves(vec![TreeLeaf { place: TreePlace { partition: 7, at: 8 }, keys }]);
        let expected = [
            &[1, 0xa5, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0][..],
            &[1, 0, 0, 0, 1, 0, b'k', 1, 0, 0, 0],
            &clock_bytes,
        ];
        assert_eq!(told.encode(RequestId(6)), expected.concat());
        let refused = Response::Refused(ReplicaError::InvalidMetadata).encode(RequestId(7));
        assert_eq!(refused, [1, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0]);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(Request::decode(&[2, 1]), Err(MessageError::Version { found: 2 }));
        assert_eq!(Request::decode(&[1]), Err(MessageError::Truncated { field: "header", got: 1 }));
        let header = |kind: u8| [&[1, kind][..], &[0; 8]].concat();
        assert_eq!(Request::decode(&header(0x81)), Err(MessageError::Kind { found: 0x81 }));
        assert_eq!(Response::decode(&header(1)), Err(MessageError::Kind { found: 1 }));
        let wild = [header(0x81), vec![0xff; 4]].concat();
        assert_eq!(Response::decode(&wild), Err(MessageError::Count { count: u32::MAX, left: 0 }));
        let long = [header(32), vec![0]].concat();
        assert_eq!(Request::decode(&long), Err(MessageError::Trailing { extra: 1 }));
    }
}
