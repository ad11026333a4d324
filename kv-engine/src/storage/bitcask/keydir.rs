//! The key directory: every key, the clocks of its versions, and where their records stand. In memory, in shards.
//!
//! A shard also knows the open segments, so that a get takes one shared lock and no other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use engine_env::marks::reached;

use super::segment::Segment;
use crate::hash::{KeyHasher, shard_of};
use crate::version::{Clocked, Occurred, Siblings, VectorClock};

/// Where a version's record stands, and its clock: enough to judge a put without the disk.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) clock: VectorClock,
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) segment: u32,
    pub(super) len: u32,
}

impl Clocked for Place {
    fn clock(&self) -> &VectorClock {
        &self.clock
    }
}

/// A part of the directory.
#[derive(Debug)]
pub(super) struct Shard<F> {
    keys: HashMap<Box<[u8]>, Siblings<Place>, KeyHasher>,
    /// By id.
    segments: Vec<Arc<Segment<F>>>,
}

impl<F> Default for Shard<F> {
    fn default() -> Self {
        Self { keys: HashMap::default(), segments: Vec::new() }
    }
}

impl<F> Shard<F> {
    pub(super) fn places(&self, key: &[u8]) -> &[Place] {
        self.keys.get(key).map_or(&[], Siblings::as_slice)
    }

    pub(super) fn siblings(&self, key: &[u8]) -> Option<&Siblings<Place>> {
        self.keys.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn segment(&self, id: u32) -> Option<&Arc<Segment<F>>> {
        self.segments.binary_search_by_key(&id, |s| s.id).ok().map(|i| &self.segments[i])
    }

    /// Publishes a put that was judged before.
    pub(super) fn put(&mut self, key: &[u8], place: Place) {
        let Self { keys, segments } = self;
        let siblings = match keys.get_mut(key) {
            Some(siblings) => siblings,
            None => keys.entry(key.into()).or_default(),
        };
        siblings
            .put(place, |old| forget(segments, &old))
            .expect("the put was judged under the writer's lock, against everything before it");
    }

    /// Publishes a delete.
    pub(super) fn delete(&mut self, key: &[u8], version: &VectorClock) {
        let Self { keys, segments } = self;
        let Some(siblings) = keys.get_mut(key) else { return };
        siblings.delete(version, |old| forget(segments, &old));
        if siblings.is_empty() {
            keys.remove(key);
        }
    }

    /// Lets the version that was written with `sequence`, if it lives, stand in `to`; counts the record there.
    pub(super) fn relocate(&mut self, key: &[u8], sequence: u64, to: &Segment<F>, position: u64, len: u64) {
        let Self { keys, segments } = self;
        let place = keys
            .get_mut(key)
            .and_then(|siblings| siblings.as_mut_slice().iter_mut().find(|p| p.sequence == sequence));
        to.count_put(len, place.is_some());
        if let Some(place) = place {
            forget(segments, place);
            place.segment = to.id;
            place.position = position;
        }
    }

    /// Takes a put that recovery found; whether it lives. Whether a tombstone covers it was asked before.
    ///
    /// Records come in any order, so the rule looks at sequences: of two versions that aren't concurrent the later
    /// record stands. It descends from the earlier one, or the earlier one was deleted before it was taken: then the
    /// tombstone may be gone, in a merge or with a power cut in `os`.
    pub(super) fn recover_put(&mut self, key: &[u8], place: Place) -> bool {
        let Self { keys, segments } = self;
        let siblings = match keys.get_mut(key) {
            Some(siblings) => siblings,
            None => keys.entry(key.into()).or_default(),
        };
        // An equal sequence is the same record, copied by a merge that didn't get to remove its input.
        let related = |other: &Place| other.clock.compare(&place.clock) != Occurred::Concurrently;
        let dead = siblings.as_slice().iter().any(|other| {
            other.sequence == place.sequence || (other.sequence > place.sequence && related(other))
        });
        if dead {
            reached("kv record found dead at opening");
            return false;
        }
        siblings.remove_where(related, |old| forget(segments, &old));
        // Order of arrival is the order of sequences, whatever order recovery reads in.
        let mut all: Vec<Place> = siblings.as_slice().to_vec();
        if all.is_empty() {
            siblings.push(place);
        } else {
            all.push(place);
            all.sort_by_key(|p| p.sequence);
            *siblings = all.into_iter().collect();
        }
        true
    }

    /// Takes a tombstone that recovery found: earlier puts before or equal to its clock are dead.
    pub(super) fn recover_tombstone(&mut self, key: &[u8], version: &VectorClock, sequence: u64) {
        let Self { keys, segments } = self;
        let Some(siblings) = keys.get_mut(key) else { return };
        siblings.remove_where(
            |old| old.sequence < sequence && old.clock.compare(version) == Occurred::Before,
            |old| forget(segments, &old),
        );
        if siblings.is_empty() {
            keys.remove(key);
        }
    }
}

fn forget<F>(segments: &[Arc<Segment<F>>], place: &Place) {
    let at = segments
        .binary_search_by_key(&place.segment, |s| s.id)
        .expect("a segment stays in the directory while places point to it");
    segments[at].forget(place);
}

/// All shards.
#[derive(Debug)]
pub(super) struct Keydir<F> {
    shards: Box<[RwLock<Shard<F>>]>,
}

impl<F> Keydir<F> {
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| RwLock::default()).collect() }
    }

    pub(super) fn read(&self, key: &[u8]) -> RwLockReadGuard<'_, Shard<F>> {
        self.shards[shard_of(key, self.shards.len())].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, key: &[u8]) -> RwLockWriteGuard<'_, Shard<F>> {
        self.shards[shard_of(key, self.shards.len())].write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shard_indexes(&self) -> std::ops::Range<usize> {
        0..self.shards.len()
    }

    /// A copy of one shard's keys.
    pub(super) fn keys_of(&self, shard: usize) -> Vec<Box<[u8]>> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner).keys.keys().cloned().collect()
    }

    fn shards(&self) -> impl Iterator<Item = RwLockReadGuard<'_, Shard<F>>> {
        self.shards.iter().map(|s| s.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn len(&self) -> u64 {
        self.shards().map(|s| s.len() as u64).sum()
    }

    /// Makes a segment known to every shard. Before any place points to it.
    pub(super) fn add_segment(&self, segment: &Arc<Segment<F>>) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if let Err(at) = shard.segments.binary_search_by_key(&segment.id, |s| s.id) {
                shard.segments.insert(at, Arc::clone(segment));
            }
        }
    }

    /// Forgets a segment that no place points to any more.
    pub(super) fn remove_segment(&self, id: u32) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).segments.retain(|s| s.id != id);
        }
    }

    /// All segments by id.
    pub(super) fn segments(&self) -> Vec<Arc<Segment<F>>> {
        self.shards().next().map_or_else(Vec::new, |s| s.segments.clone())
    }
}
