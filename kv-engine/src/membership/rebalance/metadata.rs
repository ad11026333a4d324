//! What a node keeps of its ring and of a rebalance, in a store of its own, and reads again when it starts.
//!
//! Two entries: which ring is in force, with what is needed to go back from it and on with it ([`RingRecord`]: the
//! original's `cluster.xml`, `server.state`, `rebalancing.source.cluster.xml` and `rebalancing.steal.info.key` in one value,
//! so that they change at once); and how far each donor's entries were taken ([`StealRecord`]), which changes with every
//! page. `docs/formats/kv-metadata.md` has the bytes.

use std::sync::Arc;

use crate::message::{
    MessageError, Rest, Steal, push_position, push_ring, push_steals, read_position, read_ring, read_steals,
};
use crate::ring::Ring;
use crate::storage::EntriesPosition;
use xxhash_rust::xxh3::xxh3_64;

/// The version of the layout that this build writes and reads.
const LAYOUT: u8 = 1;

/// Under which key of the metadata store something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataKey {
    /// Which ring is in force.
    Ring,
    /// How far donors' entries were taken.
    Steals,
}

impl MetadataKey {
    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Ring => b"ring",
            Self::Steals => b"rebalancing.steals",
        }
    }
}

/// Which ring is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RingRecord {
    /// The id of the order that has put it in force.
    pub(super) order: u64,
    pub(super) version: u64,
    pub(super) ring: Arc<Ring>,
    /// Voldemort's `REBALANCING_MASTER`: what it goes back to, and what it takes.
    pub(super) rebalancing: Option<(Arc<Ring>, Vec<Steal>)>,
}

impl RingRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT];
        bytes.extend_from_slice(&self.order.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        push_ring(&mut bytes, &self.ring);
        bytes.push(u8::from(self.rebalancing.is_some()));
        if let Some((source, steals)) = &self.rebalancing {
            push_ring(&mut bytes, source);
            push_steals(&mut bytes, steals);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut rest = layout(bytes)?;
        let (order, version, ring) = (rest.u64("order")?, rest.u64("ring version")?, read_ring(&mut rest)?);
        let rebalancing =
            if rest.flag()? { Some((read_ring(&mut rest)?, read_steals(&mut rest)?)) } else { None };
        rest.end()?;
        Ok(Self { order, version, ring, rebalancing })
    }
}

/// How far one donor's entries were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It hasn't been seen to go by the new ring.
    Waiting,
    /// Up to here.
    Fetching(EntriesPosition),
    /// All of them.
    Moved,
}

/// How far donors' entries were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StealRecord {
    /// The id of the latest order that the node knew.
    pub(super) order: u64,
    /// The ring's version: progress towards another one means nothing.
    pub(super) version: u64,
    /// Whether a roll-back was announced: nothing more is taken.
    pub(super) is_suspended: bool,
    /// As the steals stand in the ring's record.
    pub(super) stages: Vec<Stage>,
}

const WAITING: u8 = 0;
const FETCHING: u8 = 1;
const MOVED: u8 = 2;

impl StealRecord {
    /// Of a node that takes nothing.
    pub(super) fn none(order: u64, version: u64) -> Self {
        Self { order, version, is_suspended: false, stages: Vec::new() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![LAYOUT];
        bytes.extend_from_slice(&self.order.to_le_bytes());
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.push(u8::from(self.is_suspended));
        let count = u32::try_from(self.stages.len()).expect("at most one for each node");
        bytes.extend_from_slice(&count.to_le_bytes());
        for stage in &self.stages {
            match stage {
                Stage::Waiting => bytes.push(WAITING),
                Stage::Fetching(position) => {
                    bytes.push(FETCHING);
                    push_position(&mut bytes, position);
                }
                Stage::Moved => bytes.push(MOVED),
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut rest = layout(bytes)?;
        let (order, version, is_suspended) = (rest.u64("order")?, rest.u64("ring version")?, rest.flag()?);
        let count = rest.count(1)?;
        let mut stages = Vec::new();
        for _ in 0..count {
            stages.push(match rest.take(1, "stage")? {
                [WAITING] => Stage::Waiting,
                [FETCHING] => Stage::Fetching(read_position(&mut rest)?),
                [MOVED] => Stage::Moved,
                found => return Err(MessageError::Kind { found: found[0] }),
            });
        }
        rest.end()?;
        Ok(Self { order, version, is_suspended, stages })
    }
}

fn layout(bytes: &[u8]) -> Result<Rest<'_>, MessageError> {
    let mut rest = Rest::new(bytes);
    match rest.take(1, "layout version")? {
        [LAYOUT] => Ok(rest),
        found => Err(MessageError::Version { found: found[0] }),
    }
}

/// A number that two rings share only if they are equal, for all practical purposes.
pub(super) fn digest(ring: &Ring) -> u64 {
    let mut bytes = Vec::new();
    push_ring(&mut bytes, ring);
    xxh3_64(&bytes)
}

/// What a node has kept, of either kind.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn accepts_metadata(bytes: &[u8]) -> bool {
    let ring = RingRecord::decode(bytes)
        .inspect(|record| assert_eq!(RingRecord::decode(&record.encode()).as_ref(), Ok(record)));
    let steals = StealRecord::decode(bytes)
        .inspect(|record| assert_eq!(StealRecord::decode(&record.encode()).as_ref(), Ok(record)));
    ring.is_ok() || steals.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::NodeId;
    use proptest::prelude::*;

    #[test]
    fn records_read_as_they_were_written_and_end_where_they_end() {
        let ring = Arc::new(Ring::even(3, 8).expect("a ring"));
        let steals = vec![Steal { donor: NodeId(1), partitions: vec![3, 4] }];
        for rebalancing in [None, Some((Arc::clone(&ring), steals))] {
            let record = RingRecord { order: 5, version: 7, ring: Arc::clone(&ring), rebalancing };
            let bytes = record.encode();
            assert_eq!(RingRecord::decode(&bytes), Ok(record));
            assert!((0..bytes.len()).all(|cut| RingRecord::decode(&bytes[..cut]).is_err()));
        }
        let at = EntriesPosition { shards: 64, shard: 3, after: Some(b"k".to_vec()) };
        let stages = vec![Stage::Waiting, Stage::Fetching(at), Stage::Moved];
        let record = StealRecord { order: 5, version: 7, is_suspended: true, stages };
        let bytes = record.encode();
        assert_eq!(StealRecord::decode(&bytes), Ok(record));
        assert!((0..bytes.len()).all(|cut| StealRecord::decode(&bytes[..cut]).is_err()));
        // The golden bytes: order, version, suspended, three stages.
        let expected = [
            &[1, 5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0][..],
            &[1, 64, 0, 0, 0, 3, 0, 0, 0, 1, 1, 0, b'k', 2],
        ];
        assert_eq!(bytes, expected.concat());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_record_or_an_error(mut bytes: Vec<u8>) {
            let _ = RingRecord::decode(&bytes);
            bytes.insert(0, LAYOUT);
            let _ = (RingRecord::decode(&bytes), StealRecord::decode(&bytes));
        }
    }

    #[test]
    fn different_rings_have_different_digests() {
        let rings = [(3, 8), (3, 9), (4, 8)].map(|(nodes, parts)| Ring::even(nodes, parts).expect("a ring"));
        assert_ne!(digest(&rings[0]), digest(&rings[1]));
        assert_ne!(digest(&rings[0]), digest(&rings[2]));
        assert_eq!(digest(&rings[0]), digest(&rings[0].clone()));
    }
}
