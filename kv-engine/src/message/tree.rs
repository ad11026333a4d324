//! The bytes of what replicas ask each other when they compare what they hold: places in the hash trees of partitions, their
//! hashes, and the keys of leaves with their clocks.

use super::MessageError;
use super::fields::{CLOCK_LEN_MIN, KEY_LEN_MIN, Rest, push_key, push_len};
use crate::version::VectorClock;

/// The fewest bytes a leaf has: its place, and no key.
const LEAF_LEN_MIN: usize = PLACE_LEN + 4;
/// Bytes of a place.
const PLACE_LEN: usize = 4 + 2;
/// Room that is made before they are read: leaves and keys are larger in memory than on the way.
const AHEAD_MAX: usize = 1024;

/// A place in the hash tree of a partition's keys: at level 0 its root, at level 1 a slice, at level 2 a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePlace {
    /// The partition.
    pub partition: u32,
    /// Which one of the level, from 0.
    pub at: u16,
}

/// The keys of a leaf, and the clocks of their versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLeaf {
    /// Which leaf.
    pub place: TreePlace,
    /// In no particular order.
    pub keys: Vec<(Vec<u8>, Vec<VectorClock>)>,
}

pub(super) fn places_len(places: &[TreePlace]) -> usize {
    4 + PLACE_LEN * places.len()
}

pub(super) fn push_places(bytes: &mut Vec<u8>, places: &[TreePlace]) {
    push_len(bytes, places.len());
    places.iter().for_each(|place| push_place(bytes, *place));
}

fn push_place(bytes: &mut Vec<u8>, place: TreePlace) {
    bytes.extend_from_slice(&place.partition.to_le_bytes());
    bytes.extend_from_slice(&place.at.to_le_bytes());
}

pub(super) fn read_places(rest: &mut Rest<'_>) -> Result<Vec<TreePlace>, MessageError> {
    let count = rest.count(PLACE_LEN)?;
    let mut places = Vec::with_capacity(count.min(AHEAD_MAX));
    for _ in 0..count {
        places.push(read_place(rest)?);
    }
    Ok(places)
}

fn read_place(rest: &mut Rest<'_>) -> Result<TreePlace, MessageError> {
    Ok(TreePlace { partition: rest.u32("partition")?, at: rest.u16("place in a tree")? })
}

pub(super) fn push_hashes(bytes: &mut Vec<u8>, hashes: &[u64]) {
    push_len(bytes, hashes.len());
    hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
}

pub(super) fn read_hashes(rest: &mut Rest<'_>) -> Result<Vec<u64>, MessageError> {
    let count = rest.count(8)?;
    (0..count).map(|_| rest.u64("hash")).collect()
}

pub(super) fn push_leaves(bytes: &mut Vec<u8>, leaves: &[TreeLeaf]) {
    push_len(bytes, leaves.len());
    for TreeLeaf { place, keys } in leaves {
        push_place(bytes, *place);
        push_len(bytes, keys.len());
        for (key, clocks) in keys {
            push_key(bytes, key);
            push_len(bytes, clocks.len());
            clocks.iter().for_each(|clock| clock.encode(bytes));
        }
    }
}

pub(super) fn read_leaves(rest: &mut Rest<'_>) -> Result<Vec<TreeLeaf>, MessageError> {
    let count = rest.count(LEAF_LEN_MIN)?;
    let mut leaves = Vec::with_capacity(count.min(AHEAD_MAX));
    for _ in 0..count {
        let place = read_place(rest)?;
        let count = rest.count(KEY_LEN_MIN + 4)?;
        let mut keys = Vec::with_capacity(count.min(AHEAD_MAX));
        for _ in 0..count {
            let key = rest.key()?.to_vec();
            let clocks = rest.count(CLOCK_LEN_MIN)?;
            keys.push((key, (0..clocks).map(|_| rest.clock()).collect::<Result<_, _>>()?));
        }
        leaves.push(TreeLeaf { place, keys });
    }
    Ok(leaves)
}
