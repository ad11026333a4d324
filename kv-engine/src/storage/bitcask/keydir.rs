//! The key directory: every key, the clocks of its versions, and where their records stand. In memory, in shards.
//!
//! A shard is a [table](SlotTable) of small slots, a tag of the key's hash and where its packed [`Entry`] stands in the
//! shard's [`Arena`]: for a key of 16 bytes that one node writes about 80 bytes in all. The entry holds the key itself, so two
//! keys with one hash are told apart without a disk. A shard also knows the open segments, so that a get takes one
//! shared lock and no other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use engine_env::marks::reached;
use engine_env::{CACHE_LINE_BYTES, prefetch};

use super::arena::{Address, Arena};
use super::entry::{self, Entry, Place, Spots};
use super::get::Located;
use super::guess::{Guess, MapStarts};
use super::segment::Segment;
use super::slots::{Slot, SlotTable};
use crate::hash::{HashedKey, KeyHasher};
use crate::version::{Occurred, Siblings, VectorClock};

/// The segments of a store, by id.
pub(super) type Segments<F> = [Arc<Segment<F>>];

/// The segment that a place points to.
pub(super) fn segment_of<F>(segments: &Segments<F>, id: u32) -> &Arc<Segment<F>> {
    let at = segments
        .binary_search_by_key(&id, |s| s.id)
        .expect("a segment stays in the directory while places point to it");
    &segments[at]
}

/// What keys had before they changed, for a snapshot; nothing, if they weren't there.
pub(super) type Left<F> = HashMap<Box<[u8]>, Vec<Located<F>>, KeyHasher>;

/// A part of the directory.
#[derive(Debug)]
pub(super) struct Shard<F> {
    slots: SlotTable,
    arena: Arena,
    segments: Vec<Arc<Segment<F>>>,
    /// Snapshots that haven't come here, and what was left for each.
    snapshots: Vec<(u64, Left<F>)>,
    /// Where an entry is put together before it is stored.
    scratch: Vec<u8>,
}

impl<F> Default for Shard<F> {
    fn default() -> Self {
        Self {
            slots: SlotTable::default(),
            arena: Arena::default(),
            segments: Vec::new(),
            snapshots: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

impl<F> Shard<F> {
    fn find(&self, key: HashedKey<'_>, seen: impl Fn(&Slot)) -> Option<usize> {
        self.slots.find(key.tag(), |slot| {
            seen(slot);
            let entry = self.arena.at(slot.address);
            // Most entries stand in two lines.
            prefetch(entry.as_ptr().addr().wrapping_add(CACHE_LINE_BYTES));
            Entry::first_of(entry).key() == key.key
        })
    }

    fn entry(&self, slot: usize) -> Entry<'_> {
        Entry::first_of(self.arena.at(self.slots.at(slot).address))
    }

    /// The versions of a key in order of arrival.
    pub(super) fn spots(&self, key: HashedKey<'_>) -> Option<Spots<'_>> {
        self.find(key, |_| {}).map(|slot| self.entry(slot).spots())
    }

    /// [`Shard::spots`] for somebody who will read the records: has the newest one fetched meanwhile.
    pub(super) fn spots_to_read(&self, key: HashedKey<'_>, maps: &MapStarts) -> Option<Spots<'_>> {
        self.find(key, |slot| maps.prefetch(slot.record)).map(|slot| self.entry(slot).spots())
    }

    /// The stored clock that makes `clock` obsolete: one that descends from it or equals it.
    pub(super) fn newer_than(&self, key: HashedKey<'_>, clock: &VectorClock) -> Option<VectorClock> {
        let mut clocks = self.spots(key)?.map(|spot| spot.clock());
        clocks.find(|stored| clock.compare(stored) == Occurred::Before)
    }

    /// Whether a delete with `version` would remove something.
    pub(super) fn has_not_after(&self, key: HashedKey<'_>, version: &VectorClock) -> bool {
        let spots = self.spots(key).into_iter().flatten();
        spots.map(|spot| spot.clock()).any(|stored| stored.compare(version) == Occurred::Before)
    }

    /// All keys, in no particular order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.slots.iter().map(|slot| Entry::first_of(self.arena.at(slot.address)).key())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Memory taken by keys, clocks and places, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.bytes() + self.arena.bytes()
    }

    pub(super) fn segments(&self) -> &Segments<F> {
        &self.segments
    }

    /// From now on what a key has is left for this snapshot before it changes.
    pub(super) fn watch(&mut self, snapshot: u64) {
        self.snapshots.push((snapshot, Left::default()));
    }

    pub(super) fn forget_snapshot(&mut self, snapshot: u64) {
        self.snapshots.retain(|(id, _)| *id != snapshot);
    }

    fn leave(&mut self, key: HashedKey<'_>) {
        if self.snapshots.iter().all(|(_, left)| left.contains_key(key.key)) {
            return;
        }
        let mut snapshots = std::mem::take(&mut self.snapshots);
        for (_, left) in snapshots.iter_mut().filter(|(_, left)| !left.contains_key(key.key)) {
            let spots = self.spots(key).into_iter().flatten();
            left.insert(key.key.into(), spots.map(|spot| Located::new(&self.segments, &spot)).collect());
        }
        self.snapshots = snapshots;
    }

    /// A copy of the shard, and what was left for a snapshot.
    pub(super) fn freeze(&self, snapshot: u64, left: &mut Left<F>) -> Frozen<F> {
        let watched = self.snapshots.iter().find(|(id, _)| *id == snapshot);
        if let Some((_, here)) = watched {
            left.extend(here.iter().map(|(key, versions)| (key.clone(), versions.clone())));
        }
        let segments = self.segments.clone();
        Frozen { entries: self.entries(), segments, is_sorted: false }
    }

    /// A copy of all entries.
    pub(super) fn entries(&self) -> Entries {
        let addresses = self.slots.iter().map(|slot| slot.address).collect();
        Entries { addresses, arena: self.arena.clone() }
    }

    /// Changes the versions of a key; `change` says whether it did.
    fn change(
        &mut self,
        key: HashedKey<'_>,
        change: impl FnOnce(&mut Siblings<Place>, &Segments<F>) -> bool,
    ) -> bool {
        let found = self.find(key, |_| {});
        let (mut siblings, old_len) = match found.map(|slot| self.entry(slot)) {
            Some(entry) => (entry.siblings(), entry.len()),
            None => (Siblings::default(), 0),
        };
        let Self { slots, arena, segments, scratch, .. } = self;
        if !change(&mut siblings, segments) {
            return false;
        }
        let Some(newest) = siblings.as_slice().last() else {
            if let Some(found) = found {
                arena.free(slots.at(found).address, old_len);
                slots.remove(found);
            }
            return true;
        };
        let record = Guess::of(newest.segment, newest.position);
        scratch.clear();
        entry::encode(key.key, siblings.as_slice(), scratch);
        match found {
            Some(found) => {
                let slot = slots.at_mut(found);
                slot.address = arena.replace(slot.address, old_len, scratch);
                slot.record = record;
            }
            None => slots.insert(Slot { tag: key.tag(), address: arena.store(scratch), record }),
        }
        true
    }

    /// Publishes a put that was judged before.
    pub(super) fn put(&mut self, key: HashedKey<'_>, place: Place) {
        self.leave(key);
        self.change(key, |siblings, segments| {
            siblings
                .put(place, |old| forget(segments, &old))
                .expect("the put was judged under the writer's lock, against everything before it");
            true
        });
    }

    /// Publishes a delete; gives the bytes of the records that it killed.
    pub(super) fn delete(&mut self, key: HashedKey<'_>, version: &VectorClock) -> u64 {
        let mut freed = 0;
        self.leave(key);
        self.change(key, |siblings, segments| {
            siblings.delete(version, |old| {
                freed += u64::from(old.len);
                forget(segments, &old);
            })
        });
        freed
    }

    /// Forgets a version that has expired.
    pub(super) fn expire(&mut self, key: HashedKey<'_>, sequence: u64) {
        self.change(key, |siblings, segments| {
            siblings.remove_where(|place| place.sequence == sequence, |old| forget(segments, &old))
        });
    }

    /// Lets the version that was written with `sequence`, if it lives, stand in `to`; counts the record there.
    pub(super) fn relocate(
        &mut self,
        key: HashedKey<'_>,
        sequence: u64,
        to: &Segment<F>,
        position: u64,
        len: u64,
    ) {
        let lives = self.change(key, |siblings, segments| {
            let mut places = siblings.as_mut_slice().iter_mut();
            let Some(place) = places.find(|place| place.sequence == sequence) else { return false };
            forget(segments, place);
            (place.segment, place.position) = (to.id, position);
            true
        });
        to.count_put(len, lives);
    }

    /// Takes a put that recovery found; whether it lives. Whether a tombstone covers it was asked before.
    ///
    /// Records come in any order, so the rule looks at sequences: of two versions that aren't concurrent the later
    /// record stands. It descends from the earlier one, or the earlier one was deleted before it was taken: then the
    /// tombstone may be gone, in a merge or with a power cut in `os`.
    pub(super) fn recover_put(&mut self, key: HashedKey<'_>, place: Place) -> bool {
        self.change(key, |siblings, segments| {
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
            if siblings.is_empty() {
                siblings.push(place);
                return true;
            }
            // Order of arrival is the order of sequences, whatever order recovery reads in.
            let mut all: Vec<Place> = siblings.as_slice().to_vec();
            all.push(place);
            all.sort_by_key(|p| p.sequence);
            *siblings = all.into_iter().collect();
            true
        })
    }

    /// Takes a tombstone that recovery found: earlier puts before or equal to its clock are dead.
    pub(super) fn recover_tombstone(&mut self, key: HashedKey<'_>, version: &VectorClock, sequence: u64) {
        self.change(key, |siblings, segments| {
            siblings.remove_where(
                |old| old.sequence < sequence && old.clock.compare(version) == Occurred::Before,
                |old| forget(segments, &old),
            )
        });
    }
}

fn forget<F>(segments: &Segments<F>, place: &Place) {
    segment_of(segments, place.segment).forget(place);
}

/// The entries of a shard as they were.
#[derive(Debug)]
pub(super) struct Entries {
    addresses: Vec<Address>,
    arena: Arena,
}

impl Entries {
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.addresses.iter().map(|address| Entry::first_of(self.arena.at(*address)))
    }
}

/// A shard as it was.
#[derive(Debug)]
pub(super) struct Frozen<F> {
    entries: Entries,
    segments: Vec<Arc<Segment<F>>>,
    is_sorted: bool,
}

impl<F> Frozen<F> {
    /// The next wanted entry, in the order of their newest records on the disk.
    pub(super) fn next(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, Vec<Located<F>>)> {
        let Self { entries: Entries { addresses, arena }, segments, is_sorted } = self;
        let entry = |address: Address| Entry::first_of(arena.at(address));
        if !*is_sorted {
            let last =
                |address: &Address| entry(*address).spots().last().map(|spot| (spot.segment, spot.position));
            addresses.sort_by_cached_key(|address| std::cmp::Reverse(last(address)));
            *is_sorted = true;
        }
        loop {
            let entry = entry(addresses.pop()?);
            if wanted(entry.key()) {
                let versions = entry.spots().map(|spot| Located::new(segments, &spot)).collect();
                return Some((entry.key().to_vec(), versions));
            }
        }
    }
}

/// All shards.
#[derive(Debug)]
pub(super) struct Keydir<F> {
    shards: Box<[RwLock<Shard<F>>]>,
    pub(super) maps: MapStarts,
}

impl<F> Keydir<F> {
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| RwLock::default()).collect(), maps: MapStarts::default() }
    }

    /// Waits for the memory in which a key's entry is, so that nobody waits for it under the writer's lock.
    pub(super) fn fetch(&self, key: HashedKey<'_>) {
        std::hint::black_box(self.read(key).spots(key).is_some());
    }

    pub(super) fn read(&self, key: HashedKey<'_>) -> RwLockReadGuard<'_, Shard<F>> {
        self.read_shard(key.shard(self.shards.len()))
    }

    pub(super) fn write(&self, key: HashedKey<'_>) -> RwLockWriteGuard<'_, Shard<F>> {
        self.write_shard(key.shard(self.shards.len()))
    }

    pub(super) fn read_shard(&self, shard: usize) -> RwLockReadGuard<'_, Shard<F>> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_shard(&self, shard: usize) -> RwLockWriteGuard<'_, Shard<F>> {
        self.shards[shard].write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shard_indexes(&self) -> std::ops::Range<usize> {
        0..self.shards.len()
    }

    fn shards(&self) -> impl Iterator<Item = RwLockReadGuard<'_, Shard<F>>> {
        self.shard_indexes().map(|shard| self.read_shard(shard))
    }

    pub(super) fn len(&self) -> u64 {
        self.shards().map(|s| s.len() as u64).sum()
    }

    /// Memory taken by keys, clocks and places, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.shards().map(|s| s.bytes() as u64).sum()
    }

    /// Makes a segment known to every shard. Before any place points to it.
    pub(super) fn add_segment(&self, segment: &Arc<Segment<F>>) {
        for shard in self.shard_indexes() {
            let segments = &mut self.write_shard(shard).segments;
            if let Err(at) = segments.binary_search_by_key(&segment.id, |s| s.id) {
                segments.insert(at, Arc::clone(segment));
            }
        }
    }

    /// Forgets a segment that no place points to any more.
    pub(super) fn remove_segment(&self, id: u32) {
        for shard in self.shard_indexes() {
            self.write_shard(shard).segments.retain(|s| s.id != id);
        }
        self.maps.forget(id);
    }

    /// Whether a segment is known.
    pub(super) fn has_segment(&self, id: u32) -> bool {
        self.read_shard(0).segments.iter().any(|segment| segment.id == id)
    }

    /// All segments by id.
    pub(super) fn segments(&self) -> Vec<Arc<Segment<F>>> {
        self.shards().next().map_or_else(Vec::new, |s| s.segments.clone())
    }
}
