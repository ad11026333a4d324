//! What is said while partitions move: [`RebalanceRequest`] and [`RebalanceResponse`] as bytes, kinds 40 and up.

use std::sync::Arc;

use super::fields::{Rest, message, push_key, push_len, push_text, push_versions, versions_len};
use super::kind::ANSWER;
use super::ring::{push_ring, read_ring};
use super::{MessageError, RequestId};
use crate::ring::{NodeId, Ring};
use crate::storage::EntriesPosition;
use crate::version::{VectorClock, Versioned};

const ENTRIES: u8 = 40;
const PROXY_GET: u8 = 41;
const PROXY_PUT: u8 = 42;
const PROXY_DELETE: u8 = 43;
const SWITCH: u8 = 44;
const SUSPEND: u8 = 45;
const ROLL_BACK: u8 = 46;
const FINISH: u8 = 47;
const REPAIR: u8 = 48;
const STATE: u8 = 49;
/// An answer that has no request of its own.
const NOT_YET: u8 = 50 | ANSWER;
const FENCE: u8 = 51;

/// What one node is to take from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steal {
    /// From whom.
    pub donor: NodeId,
    /// Master partitions of its store.
    pub partitions: Vec<u32>,
}

/// The order to go by another ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The new ring's version.
    pub version: u64,
    /// The ring to go back to.
    pub source: Arc<Ring>,
    /// The new ring.
    pub target: Arc<Ring>,
    /// What the node that gets the order takes over.
    pub steals: Vec<Steal>,
}

/// What nodes and whoever has them rebalance ask.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebalanceRequest<'a> {
    /// A stealer asks its donor for entries. Refused as not yet until the donor goes by the ring of this version.
    Entries {
        /// The version of the new ring.
        ring_version: u64,
        /// Of these master partitions; of none, to ask only whether it goes by the ring.
        partitions: Vec<u32>,
        /// Where to go on.
        from: EntriesPosition,
        /// Most bytes of versions in the answer, but at least an entry.
        max_bytes: u32,
    },
    /// A get for a stealer's client: by the new ring the donor needn't hold the key.
    ProxyGet {
        /// The key.
        key: &'a [u8],
    },
    /// A put for a stealer's client.
    ProxyPut {
        /// The key.
        key: &'a [u8],
        /// Its clock.
        clock: VectorClock,
        /// Its value.
        value: &'a [u8],
    },
    /// A delete for a stealer's client.
    ProxyDelete {
        /// The key.
        key: &'a [u8],
        /// The clock.
        clock: VectorClock,
    },
    /// Go by a new ring. Answered when that is durable.
    Switch(Box<Switch>),
    /// Carry out no order that was given before this one, also after a restart: whoever gave it may be gone, and somebody
    /// else goes back. Refused where the rebalance is finished.
    Fence {
        /// The version of the ring that was switched to.
        version: u64,
    },
    /// Take nothing more, answer nothing from what was taken: a roll-back comes.
    Suspend {
        /// The version of the ring that was switched to.
        version: u64,
    },
    /// Go by the ring before again, under a version of its own.
    RollBack {
        /// The version of the ring that was switched to.
        version: u64,
        /// The version that the ring before has from now on.
        to: u64,
    },
    /// Everything was moved: there is no way back.
    Finish {
        /// The version of the ring that was switched to.
        version: u64,
    },
    /// Delete what the node doesn't hold by its ring. Answered when it is done.
    Repair,
    /// How far is it?
    State,
}

/// What nodes answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebalanceResponse {
    /// To [`RebalanceRequest::Entries`].
    Entries {
        /// Where to go on; none: that was all.
        next: Option<EntriesPosition>,
        /// Keys with their versions.
        entries: Vec<(Vec<u8>, Vec<Versioned>)>,
    },
    /// To [`RebalanceRequest::Entries`]: the donor doesn't go by that ring yet.
    NotYet,
    /// To [`RebalanceRequest::State`].
    State(NodeProgress),
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeProgress {
    /// The version of the ring that it goes by.
    pub ring_version: u64,
    /// A digest of that ring.
    pub ring_digest: u64,
    /// Voldemort's `REBALANCING_MASTER`; otherwise `NORMAL`.
    pub is_rebalancing: bool,
    /// Whether it waits for a roll-back.
    pub is_suspended: bool,
    /// Whether it deletes what it doesn't hold any more.
    pub is_repairing: bool,
    /// Donors that it takes from.
    pub steals: u32,
    /// Those from which it has everything.
    pub steals_done: u32,
    /// Keys that it has taken since it was started.
    pub keys_moved: u64,
    /// Bytes of versions that it has taken since it was started.
    pub bytes_moved: u64,
    /// Why it can't go on, if it can't.
    pub failure: Option<String>,
}

impl RebalanceRequest<'_> {
    pub(super) fn is_kind(kind: u8) -> bool {
        (ENTRIES..=STATE).contains(&kind) || kind == FENCE
    }

    pub(super) fn encode(&self, id: RequestId) -> Vec<u8> {
        let start = |kind, body_len| message(kind, id, body_len);
        match self {
            Self::Entries { ring_version, partitions, from, max_bytes } => {
                let mut bytes = start(ENTRIES, 8 + 4 + 4 * partitions.len() + 64);
                bytes.extend_from_slice(&ring_version.to_le_bytes());
                push_partitions(&mut bytes, partitions);
                push_position(&mut bytes, from);
                bytes.extend_from_slice(&max_bytes.to_le_bytes());
                bytes
            }
            Self::ProxyGet { key } => {
                let mut bytes = start(PROXY_GET, 2 + key.len());
                push_key(&mut bytes, key);
                bytes
            }
            Self::ProxyPut { key, clock, value } => {
                let mut bytes = start(PROXY_PUT, 2 + key.len() + clock.encoded_len() + 4 + value.len());
                push_key(&mut bytes, key);
                clock.encode(&mut bytes);
                push_len(&mut bytes, value.len());
                bytes.extend_from_slice(value);
                bytes
            }
            Self::ProxyDelete { key, clock } => {
                let mut bytes = start(PROXY_DELETE, 2 + key.len() + clock.encoded_len());
                push_key(&mut bytes, key);
                clock.encode(&mut bytes);
                bytes
            }
            Self::Switch(switch) => {
                let mut bytes = start(SWITCH, 8 + 8 * switch.target.partitions() as usize);
                bytes.extend_from_slice(&switch.version.to_le_bytes());
                push_ring(&mut bytes, &switch.source);
                push_ring(&mut bytes, &switch.target);
                push_steals(&mut bytes, &switch.steals);
                bytes
            }
            Self::Fence { version } => of_version(FENCE, id, *version),
            Self::Suspend { version } => of_version(SUSPEND, id, *version),
            Self::Finish { version } => of_version(FINISH, id, *version),
            Self::RollBack { version, to } => {
                let mut bytes = start(ROLL_BACK, 16);
                bytes.extend_from_slice(&version.to_le_bytes());
                bytes.extend_from_slice(&to.to_le_bytes());
                bytes
            }
            Self::Repair => start(REPAIR, 0),
            Self::State => start(STATE, 0),
        }
    }
}

impl<'a> RebalanceRequest<'a> {
    pub(super) fn read(kind: u8, rest: &mut Rest<'a>) -> Result<Self, MessageError> {
        Ok(match kind {
            ENTRIES => Self::Entries {
                ring_version: rest.u64("ring version")?,
                partitions: read_partitions(rest)?,
                from: read_position(rest)?,
                max_bytes: rest.u32("most bytes")?,
            },
            PROXY_GET => Self::ProxyGet { key: rest.key()? },
            PROXY_PUT => {
                let (key, clock) = (rest.key()?, rest.clock()?);
                let len = rest.u32("value length")? as usize;
                Self::ProxyPut { key, clock, value: rest.take(len, "value")? }
            }
            PROXY_DELETE => Self::ProxyDelete { key: rest.key()?, clock: rest.clock()? },
            SWITCH => Self::Switch(Box::new(Switch {
                version: rest.u64("ring version")?,
                source: read_ring(rest)?,
                target: read_ring(rest)?,
                steals: read_steals(rest)?,
            })),
            FENCE => Self::Fence { version: rest.u64("ring version")? },
            SUSPEND => Self::Suspend { version: rest.u64("ring version")? },
            ROLL_BACK => Self::RollBack { version: rest.u64("ring version")?, to: rest.u64("ring version")? },
            FINISH => Self::Finish { version: rest.u64("ring version")? },
            REPAIR => Self::Repair,
            STATE => Self::State,
            found => return Err(MessageError::Kind { found }),
        })
    }
}

impl RebalanceResponse {
    pub(super) fn is_kind(kind: u8) -> bool {
        const KINDS: [u8; 3] = [ENTRIES | ANSWER, STATE | ANSWER, NOT_YET];
        KINDS.contains(&kind)
    }

    pub(super) fn encode(&self, id: RequestId) -> Vec<u8> {
        match self {
            Self::Entries { next, entries } => {
                let size: usize =
                    entries.iter().map(|(key, versions)| 2 + key.len() + versions_len(versions)).sum();
                let mut bytes = message(ENTRIES | ANSWER, id, 64 + size);
                bytes.push(u8::from(next.is_some()));
                next.iter().for_each(|next| push_position(&mut bytes, next));
                push_len(&mut bytes, entries.len());
                for (key, versions) in entries {
                    push_key(&mut bytes, key);
                    push_versions(&mut bytes, versions);
                }
                bytes
            }
            Self::NotYet => message(NOT_YET, id, 0),
            Self::State(progress) => {
                let mut bytes = message(STATE | ANSWER, id, 64);
                bytes.extend_from_slice(&progress.ring_version.to_le_bytes());
                bytes.extend_from_slice(&progress.ring_digest.to_le_bytes());
                let flags = [progress.is_rebalancing, progress.is_suspended, progress.is_repairing];
                bytes.extend(flags.map(u8::from));
                bytes.extend_from_slice(&progress.steals.to_le_bytes());
                bytes.extend_from_slice(&progress.steals_done.to_le_bytes());
                bytes.extend_from_slice(&progress.keys_moved.to_le_bytes());
                bytes.extend_from_slice(&progress.bytes_moved.to_le_bytes());
                bytes.push(u8::from(progress.failure.is_some()));
                progress.failure.iter().for_each(|why| push_text(&mut bytes, why));
                bytes
            }
        }
    }

    pub(super) fn read(kind: u8, rest: &mut Rest<'_>) -> Result<Self, MessageError> {
        const TOLD: u8 = ENTRIES | ANSWER;
        const PROGRESS: u8 = STATE | ANSWER;
        Ok(match kind {
            TOLD => {
                let next = if rest.flag()? { Some(read_position(rest)?) } else { None };
                let count = rest.count(2 + 4)?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    entries.push((rest.key()?.to_vec(), rest.versions()?));
                }
                Self::Entries { next, entries }
            }
            NOT_YET => Self::NotYet,
            PROGRESS => Self::State(NodeProgress {
                ring_version: rest.u64("ring version")?,
                ring_digest: rest.u64("ring digest")?,
                is_rebalancing: rest.flag()?,
                is_suspended: rest.flag()?,
                is_repairing: rest.flag()?,
                steals: rest.u32("steals")?,
                steals_done: rest.u32("steals done")?,
                keys_moved: rest.u64("keys moved")?,
                bytes_moved: rest.u64("bytes moved")?,
                failure: if rest.flag()? { Some(rest.text()?) } else { None },
            }),
            found => return Err(MessageError::Kind { found }),
        })
    }
}

fn of_version(kind: u8, id: RequestId, version: u64) -> Vec<u8> {
    let mut bytes = message(kind, id, 8);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes
}

fn push_partitions(bytes: &mut Vec<u8>, partitions: &[u32]) {
    push_len(bytes, partitions.len());
    partitions.iter().for_each(|partition| bytes.extend_from_slice(&partition.to_le_bytes()));
}

fn read_partitions(rest: &mut Rest<'_>) -> Result<Vec<u32>, MessageError> {
    let count = rest.count(4)?;
    (0..count).map(|_| rest.u32("partition")).collect()
}

pub(crate) fn push_position(bytes: &mut Vec<u8>, position: &EntriesPosition) {
    bytes.extend_from_slice(&position.shards.to_le_bytes());
    bytes.extend_from_slice(&position.shard.to_le_bytes());
    bytes.push(u8::from(position.after.is_some()));
    position.after.iter().for_each(|key| push_key(bytes, key));
}

pub(crate) fn read_position(rest: &mut Rest<'_>) -> Result<EntriesPosition, MessageError> {
    let (shards, shard) = (rest.u32("position")?, rest.u32("position")?);
    let after = if rest.flag()? { Some(rest.key()?.to_vec()) } else { None };
    Ok(EntriesPosition { shards, shard, after })
}

pub(crate) fn push_steals(bytes: &mut Vec<u8>, steals: &[Steal]) {
    push_len(bytes, steals.len());
    for steal in steals {
        bytes.extend_from_slice(&steal.donor.0.to_le_bytes());
        push_partitions(bytes, &steal.partitions);
    }
}

pub(crate) fn read_steals(rest: &mut Rest<'_>) -> Result<Vec<Steal>, MessageError> {
    let count = rest.count(2 + 4)?;
    let mut steals = Vec::with_capacity(count);
    for _ in 0..count {
        steals.push(Steal { donor: NodeId(rest.u16("donor")?), partitions: read_partitions(rest)? });
    }
    Ok(steals)
}

#[cfg(test)]
mod tests {
    use super::super::{Request, Response};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..20)
    }

    fn clock() -> impl Strategy<Value = VectorClock> {
        (proptest::collection::btree_map(0u16..100, 1u64..1000, 0..4), any::<i64>())
            .prop_map(|(entries, at)| VectorClock::from_entries(entries, at).expect("in range"))
    }

    fn position() -> impl Strategy<Value = EntriesPosition> {
        (any::<[u32; 2]>(), proptest::option::of(bytes()))
            .prop_map(|([shards, shard], after)| EntriesPosition { shards, shard, after })
    }

    fn response() -> impl Strategy<Value = RebalanceResponse> {
        let version = (clock(), bytes()).prop_map(|(clock, value)| Versioned::new(clock, value));
        let entries = vec((bytes(), vec(version, 0..3)), 0..4);
        let progress = (any::<(u64, u64, u32)>(), any::<[bool; 3]>(), proptest::option::of(".{0,20}"));
        prop_oneof![
            (proptest::option::of(position()), entries)
                .prop_map(|(next, entries)| RebalanceResponse::Entries { next, entries }),
            Just(RebalanceResponse::NotYet),
            progress.prop_map(|((a, b, c), [d, e, f], failure)| {
                RebalanceResponse::State(NodeProgress {
                    ring_version: a,
                    ring_digest: b,
                    is_rebalancing: d,
                    is_suspended: e,
                    is_repairing: f,
                    steals: c,
                    steals_done: c / 2,
                    keys_moved: b,
                    bytes_moved: a,
                    failure,
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_request_reads_as_it_was_written(
            id: u64, kind in 0..11, key in bytes(), clock in clock(), value in bytes(),
            partitions in vec(any::<u32>(), 0..5), from in position(), version: u64
        ) {
            let request = match kind {
                0 => RebalanceRequest::Entries { ring_version: version, partitions, from, max_bytes: id as u32 },
                1 => RebalanceRequest::ProxyGet { key: &key },
                2 => RebalanceRequest::ProxyPut { key: &key, clock, value: &value },
                3 => RebalanceRequest::ProxyDelete { key: &key, clock },
                4 => RebalanceRequest::Switch(Box::new(Switch {
                    version,
                    source: Arc::new(Ring::even(3, 8).expect("a ring")),
                    target: Arc::new(Ring::even(4, 8).expect("a ring")),
                    steals: vec![Steal { donor: NodeId(2), partitions }],
                })),
                5 => RebalanceRequest::Suspend { version },
                6 => RebalanceRequest::RollBack { version, to: id },
                7 => RebalanceRequest::Finish { version },
                8 => RebalanceRequest::Repair,
                9 => RebalanceRequest::Fence { version },
                _ => RebalanceRequest::State,
            };
            let request = Request::Rebalance(request);
            let bytes = request.encode(RequestId(id));
            prop_assert_eq!(Request::decode(&bytes), Ok((RequestId(id), request)));
            for cut in 0..bytes.len() {
                prop_assert!(Request::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn a_response_reads_as_it_was_written(id: u64, response in response()) {
            let response = Response::Rebalance(response);
            let bytes = response.encode(RequestId(id));
            prop_assert_eq!(Response::decode(&bytes), Ok((RequestId(id), response)));
            for cut in 0..bytes.len() {
                prop_assert!(Response::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_give_a_message_or_an_error(
            body in vec(any::<u8>(), 0..200), kind in prop_oneof![40u8..52, 0xa8u8..0xb4]
        ) {
            let bytes = [&[1, kind][..], &[0; 8], &body].concat();
            let _ = Request::decode(&bytes);
            let _ = Response::decode(&bytes);
        }
    }

    // One golden message each way: it fails when a byte moves.
    #[test]
    fn the_layout_stands_as_documented() {
        let from = EntriesPosition { shards: 8, shard: 3, after: Some(b"k".to_vec()) };
        let asked = RebalanceRequest::Entries { ring_version: 2, partitions: vec![7], from, max_bytes: 9 };
        let expected = [
            &[1, 40, 6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 1, 1, 0, b'k', 9, 0, 0, 0],
        ];
        assert_eq!(Request::Rebalance(asked).encode(RequestId(6)), expected.concat());
        let told = RebalanceResponse::Entries { next: None, entries: vec![(b"k".to_vec(), vec![])] };
        let expected = [1, 0xa8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, b'k', 0, 0, 0, 0];
        assert_eq!(Response::Rebalance(told).encode(RequestId(6)), expected);
        let not_yet = Response::Rebalance(RebalanceResponse::NotYet).encode(RequestId(6));
        assert_eq!(not_yet, [1, 0xb2, 6, 0, 0, 0, 0, 0, 0, 0]);
    }
}
