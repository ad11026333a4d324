//! [`Comparison`]: what one replica asks another, from the roots of the partitions that both hold down to the leaves that
//! differ, and then for the versions that it lacks; what the other lacks it sends.
//!
//! Questions about trees are asked one at a time, deepest first, so that little is kept in mind; the next one waits until
//! the versions that the last one found missing are where they belong.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::merkle::{Forest, LEAF_LEVEL, children, leaf_of, slice_of};
use super::server::HASHES_MAX;
use crate::message::{Request, RequestId, TreeLeaf, TreePlace};
use crate::replica::ReplicaStorage;
use crate::ring::{NodeId, Ring};
use crate::version::{Occurred, VectorClock, Versioned};

/// How many versions are on their way at once.
pub(super) const WINDOW: usize = 64;
/// No further version is sent while so many bytes are on their way.
const WINDOW_BYTES: usize = 4 << 20;
/// How many leaves are asked for at once.
const LEAVES_AT_ONCE: usize = 256;

/// What has been asked of the peer.
#[derive(Debug)]
pub(super) enum Asked {
    Hashes { level: u8, at: Vec<TreePlace> },
    Leaves { at: Vec<TreePlace> },
    Values { key: Vec<u8> },
    Put { bytes: usize },
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// This is asked.
    Ask(Asked, Vec<u8>),
    /// Answers are waited for.
    Wait,
    /// Nothing: the comparison is over.
    Nothing,
}

/// An answer that doesn't belong to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) peer: NodeId,
    /// How many versions are on their way at once.
    window: usize,
    /// When it is given up, unless the peer answers before.
    pub(super) until_ns: u64,
    /// Whether anything differed.
    pub(super) differs: bool,
    /// Places whose hashes are to be compared, of each level.
    places: [VecDeque<TreePlace>; LEAF_LEVEL as usize + 1],
    /// Leaves that differ, by slice.
    leaves: BTreeSet<(usize, TreePlace)>,
    to_fetch: VecDeque<Vec<u8>>,
    to_send: VecDeque<(Vec<u8>, VectorClock)>,
    under_way: BTreeMap<u64, Asked>,
    bytes_under_way: usize,
}

impl Comparison {
    /// With a peer that holds these partitions too.
    pub(super) fn new(peer: NodeId, partitions: impl Iterator<Item = u32>, window: usize) -> Self {
        let mut places: [VecDeque<TreePlace>; LEAF_LEVEL as usize + 1] = Default::default();
        places[0].extend(partitions.map(|partition| TreePlace { partition, at: 0 }));
        Self {
            peer,
            window,
            until_ns: 0,
            differs: false,
            places,
            leaves: BTreeSet::new(),
            to_fetch: VecDeque::new(),
            to_send: VecDeque::new(),
            under_way: BTreeMap::new(),
            bytes_under_way: 0,
        }
    }

    /// The next question, to be asked under `id`.
    pub(super) fn next(&mut self, id: RequestId, storage: &impl ReplicaStorage) -> Next {
        if self.under_way.len() >= self.window || self.bytes_under_way >= WINDOW_BYTES {
            return Next::Wait;
        }
        if let Some(key) = self.to_fetch.pop_front() {
            let question = Request::Get { key: &key }.encode(id);
            return Next::Ask(Asked::Values { key }, question);
        }
        while let Some((key, clock)) = self.to_send.pop_front() {
            // Gone by now, or not to be read: then there is nothing to send.
            let stored = storage.read(&key).unwrap_or_default();
            if let Some(Versioned { clock, value }) = stored.into_iter().find(|v| v.clock == clock) {
                let bytes = value.len();
                let put = Request::Put { key: &key, clock, value: &value };
                return Next::Ask(Asked::Put { bytes }, put.encode(id));
            }
        }
        if !self.under_way.is_empty() {
            return Next::Wait;
        }
        if let Some((slice, _)) = self.leaves.first().copied() {
            let of_slice = self.leaves.iter().take_while(|(other, _)| *other == slice);
            let at: Vec<_> = of_slice.take(LEAVES_AT_ONCE).map(|(_, leaf)| *leaf).collect();
            let question = Request::GetLeaves { at: at.clone() }.encode(id);
            return Next::Ask(Asked::Leaves { at }, question);
        }
        for level in (0..=LEAF_LEVEL).rev() {
            let places = &mut self.places[usize::from(level)];
            if !places.is_empty() {
                let at: Vec<_> = places.drain(..places.len().min(HASHES_MAX)).collect();
                let question = Request::GetHashes { level, at: at.clone() }.encode(id);
                return Next::Ask(Asked::Hashes { level, at }, question);
            }
        }
        Next::Nothing
    }

    /// It was asked.
    pub(super) fn asked(&mut self, id: RequestId, asked: Asked) {
        if let Asked::Put { bytes } = &asked {
            self.bytes_under_way += bytes;
        }
        self.under_way.insert(id.0, asked);
    }

    /// The question that is answered.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<Asked> {
        let asked = self.under_way.remove(&id.0)?;
        if let Asked::Put { bytes } = &asked {
            self.bytes_under_way -= bytes;
        }
        Some(asked)
    }

    /// The peer's hashes at these places.
    pub(super) fn compare_hashes(
        &mut self,
        ours: &Forest,
        (level, at): (u8, &[TreePlace]),
        theirs: &[u64],
    ) -> Result<(), Misfit> {
        if theirs.len() != at.len() {
            return Err(Misfit);
        }
        for (place, theirs) in at.iter().zip(theirs) {
            if ours.hash(level, *place).expect("it asks for places there are") == *theirs {
                continue;
            }
            self.differs = true;
            match self.places.get_mut(usize::from(level) + 1) {
                Some(below) => below.extend(children(level, *place)),
                None => {
                    self.leaves.insert((slice_of(*place), *place));
                }
            }
        }
        Ok(())
    }

    /// The peer's keys of the first of these leaves.
    pub(super) fn compare_leaves(
        &mut self,
        at: &[TreePlace],
        theirs: Vec<TreeLeaf>,
        ring: &Ring,
        storage: &impl ReplicaStorage,
    ) -> Result<(), Misfit> {
        let told: BTreeSet<TreePlace> = theirs.iter().map(|leaf| leaf.place).collect();
        let fits = !told.is_empty()
            && theirs.len() <= at.len()
            && theirs.iter().zip(at).all(|(leaf, place)| leaf.place == *place);
        if !fits {
            return Err(Misfit);
        }
        let slice = slice_of(at[0]);
        let mut keys: BTreeMap<Vec<u8>, (Vec<VectorClock>, Vec<VectorClock>)> = BTreeMap::new();
        for TreeLeaf { place, keys: theirs } in theirs {
            self.leaves.remove(&(slice, place));
            // What a peer on another ring takes for this leaf's is nothing to be fetched.
            for (key, clocks) in theirs.into_iter().filter(|(key, _)| leaf_of(ring, key) == place) {
                keys.entry(key).or_default().1 = clocks;
            }
        }
        let walked = storage.clocks_of_slice(slice, &mut |key, clocks| {
            if told.contains(&leaf_of(ring, key)) {
                keys.entry(key.to_vec()).or_default().0 = clocks.to_vec();
            }
        });
        assert!(walked, "the trees were made by walking through it");
        for (key, (ours, theirs)) in keys {
            if theirs.iter().any(|clock| is_lacking(clock, &ours)) {
                self.to_fetch.push_back(key.clone());
            }
            let lacking = ours.into_iter().filter(|clock| is_lacking(clock, &theirs));
            self.to_send.extend(lacking.map(|clock| (key.clone(), clock)));
        }
        Ok(())
    }
}

/// Whether a replica with these clocks lacks this one.
fn is_lacking(clock: &VectorClock, has: &[VectorClock]) -> bool {
    has.iter().all(|other| clock.compare(other) != Occurred::Before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_lacking_unless_it_or_a_descendant_is_there() {
        let clock = |text: &str| text.parse::<VectorClock>().expect("a clock");
        let lacks =
            |has: &[&str]| is_lacking(&clock("0:2"), &has.iter().map(|c| clock(c)).collect::<Vec<_>>());
        assert!(lacks(&[]) && lacks(&["0:1"]) && lacks(&["1:1"]) && lacks(&["0:1,1:1"]));
        assert!(!lacks(&["0:2"]) && !lacks(&["0:3"]) && !lacks(&["1:1", "0:2,1:1"]));
    }
}
