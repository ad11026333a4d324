//! [`Forest`]: the Merkle trees of a store's keys and clocks, one for each partition, so that all replicas of a partition
//! have the same tree of it, whatever else they hold.
//!
//! A tree has a root, [`SLICES`] children and 16 leaves below each. A key's slice is told by its hash, and so is the shard
//! of the key directory that holds it: a store is walked through slice by slice, and the keys of a leaf are found without
//! looking at the others. A leaf's hash doesn't depend on the order in which keys are added. Timestamps of clocks play no
//! part, as in their comparison.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::hash::HashedKey;
use crate::message::TreePlace;
use crate::replica::ReplicaStorage;
use crate::ring::Ring;
use crate::version::VectorClock;

/// Into how many slices the keys of a store are divided; a power of two.
pub const SLICES: usize = 64;
/// How many leaves a tree has.
const LEAVES: usize = SLICES * 16;
/// The level of the leaves; the root is level 0, slices are level 1.
pub(super) const LEAF_LEVEL: u8 = 2;

/// Whether the keys of a slice have this one, for a store that is walked through.
pub(crate) fn is_in_slice(key: &[u8], slice: usize) -> bool {
    HashedKey::new(key).shard(SLICES) == slice
}

/// The leaf of a key.
pub(super) fn leaf_of(ring: &Ring, key: &[u8]) -> TreePlace {
    let leaf = HashedKey::new(key).shard(LEAVES);
    let at = u16::try_from(leaf).expect("there are 1024 leaves");
    TreePlace { partition: ring.master_partition(key), at }
}

/// The slice that has the keys of a leaf.
pub(super) fn slice_of(leaf: TreePlace) -> usize {
    usize::from(leaf.at) % SLICES
}

/// The places below one that is no leaf.
pub(super) fn children(level: u8, place: TreePlace) -> impl Iterator<Item = TreePlace> {
    let TreePlace { partition, at } = place;
    let (from, step) = if level == 0 { (0, 1) } else { (usize::from(at), SLICES) };
    let end = if level == 0 { SLICES } else { LEAVES };
    (from..end).step_by(step).map(move |at| {
        let at = u16::try_from(at).expect("there are 1024 leaves");
        TreePlace { partition, at }
    })
}

type Leaves = Box<[u64]>;

fn no_leaves() -> Leaves {
    vec![0; LEAVES].into()
}

/// The tree of a partition.
#[derive(Debug)]
struct Tree {
    root: u64,
    slices: Box<[u64]>,
    leaves: Leaves,
}

impl Tree {
    fn over(leaves: Leaves) -> Self {
        let mut bytes = Vec::new();
        let mut hash = |children: &mut dyn Iterator<Item = u64>| {
            bytes.clear();
            children.for_each(|child| bytes.extend_from_slice(&child.to_le_bytes()));
            xxh3_64(&bytes)
        };
        let of_slice = |slice: usize| leaves[slice..].iter().step_by(SLICES).copied();
        let slices: Box<[u64]> = (0..SLICES).map(|slice| hash(&mut of_slice(slice))).collect();
        let root = hash(&mut slices.iter().copied());
        Self { root, slices, leaves }
    }

    fn hash(&self, level: u8, at: u16) -> Option<u64> {
        match (level, at) {
            (0, 0) => Some(self.root),
            (1, _) => self.slices.get(usize::from(at)).copied(),
            (LEAF_LEVEL, _) => self.leaves.get(usize::from(at)).copied(),
            _ => None,
        }
    }
}

/// The trees of all partitions.
#[derive(Debug)]
pub(super) struct Forest {
    trees: BTreeMap<u32, Tree>,
    /// That of every other partition.
    of_nothing: Tree,
}

impl Forest {
    /// The hash at a place of a level; `None` if there is no such place in a tree.
    pub(super) fn hash(&self, level: u8, place: TreePlace) -> Option<u64> {
        self.trees.get(&place.partition).unwrap_or(&self.of_nothing).hash(level, place.at)
    }
}

/// A forest of which some slices are there.
#[derive(Debug, Default)]
pub(super) struct Growing {
    partitions: BTreeMap<u32, Leaves>,
    next_slice: usize,
    #[cfg(feature = "planted-bugs")]
    skips_last_leaf: bool,
}

/// What became of it with one slice more.
#[derive(Debug)]
pub(super) enum Grown {
    /// Slices are missing.
    Partly,
    /// All are there.
    Wholly(Forest),
    /// The store can't be walked through.
    Never,
}

impl Growing {
    /// A mistake put in on purpose: trees whose last leaf is always that of nothing.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn skipping_last_leaf(self) -> Self {
        Self { skips_last_leaf: true, ..self }
    }

    /// Adds the next slice of the store.
    pub(super) fn step(&mut self, ring: &Ring, storage: &impl ReplicaStorage) -> Grown {
        let mut bytes = Vec::new();
        let partitions = &mut self.partitions;
        let walked = storage.clocks_of_slice(self.next_slice, &mut |key, clocks| {
            let place = leaf_of(ring, key);
            let leaves = partitions.entry(place.partition).or_insert_with(no_leaves);
            let leaf = &mut leaves[usize::from(place.at)];
            *leaf = leaf.wrapping_add(hash_of(key, clocks, &mut bytes));
        });
        if !walked {
            return Grown::Never;
        }
        self.next_slice += 1;
        if self.next_slice < SLICES {
            return Grown::Partly;
        }
        #[cfg(feature = "planted-bugs")]
        if self.skips_last_leaf {
            self.partitions.values_mut().for_each(|leaves| leaves[LEAVES - 1] = 0);
        }
        let partitions = std::mem::take(&mut self.partitions).into_iter();
        let trees = partitions.map(|(partition, leaves)| (partition, Tree::over(leaves))).collect();
        Grown::Wholly(Forest { trees, of_nothing: Tree::over(no_leaves()) })
    }
}

/// The hash of a key and the clocks of its versions, in whatever order they stand.
fn hash_of(key: &[u8], clocks: &[VectorClock], bytes: &mut Vec<u8>) -> u64 {
    let of_key = xxh3_64(key);
    let mut hash = of_key;
    for clock in clocks {
        bytes.clear();
        for entry in clock.entries() {
            bytes.extend_from_slice(&entry.node.to_le_bytes());
            bytes.extend_from_slice(&entry.version.to_le_bytes());
        }
        hash = hash.wrapping_add(xxh3_64_with_seed(bytes, of_key));
    }
    // Mixed once more, so that sums over keys don't cancel out what the sum over clocks has made.
    xxh3_64(&hash.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Storage;
    use crate::storage::memory::MemoryStorage;
    use crate::version::Versioned;
    use proptest::prelude::*;

    type Held = Vec<(Vec<u8>, Vec<VectorClock>)>;

    fn forest(keys: &Held, ring: &Ring) -> Forest {
        let store = MemoryStorage::new();
        for (key, clocks) in keys {
            for clock in clocks {
                store.put(key, &Versioned::new(clock.clone(), b"v")).expect("siblings");
            }
        }
        let mut growing = Growing::default();
        for _ in 1..SLICES {
            assert!(matches!(growing.step(ring, &store), Grown::Partly));
        }
        let Grown::Wholly(forest) = growing.step(ring, &store) else { panic!("that was the last slice") };
        forest
    }

    fn keys(count: u16) -> Held {
        let clock = |n: u16| VectorClock::from_entries([(n % 3, u64::from(n) + 1)], 7).expect("in range");
        (0..count).map(|n| (n.to_le_bytes().to_vec(), vec![clock(n)])).collect()
    }

    fn differing(one: &Forest, other: &Forest, ring: &Ring) -> Vec<TreePlace> {
        let mut places: Vec<_> =
            (0..ring.partitions()).map(|partition| TreePlace { partition, at: 0 }).collect();
        for level in 0..=LEAF_LEVEL {
            let hash = |forest: &Forest, place| forest.hash(level, place).expect("a place there is");
            places.retain(|place| hash(one, *place) != hash(other, *place));
            if level < LEAF_LEVEL {
                places = places.into_iter().flat_map(|place| children(level, place)).collect();
            }
        }
        places
    }

    #[test]
    fn there_are_as_many_places_as_announced() {
        let ring = Ring::even(3, 6).expect("a ring");
        let forest = forest(&keys(10), &ring);
        let hash = |level, at| forest.hash(level, TreePlace { partition: 5, at });
        assert!(hash(0, 0).is_some() && hash(1, 63).is_some() && hash(2, 1023).is_some());
        assert_eq!((hash(0, 1), hash(1, 64), hash(2, 1024), hash(3, 0)), (None, None, None, None));
        let root = TreePlace { partition: 5, at: 0 };
        let leaves = children(0, root).flat_map(|slice| {
            assert_eq!(children(1, slice).map(slice_of).max(), Some(slice.at.into()));
            children(1, slice)
        });
        let mut leaves: Vec<_> = leaves.map(|leaf| usize::from(leaf.at)).collect();
        leaves.sort_unstable();
        assert_eq!(leaves, (0..LEAVES).collect::<Vec<_>>(), "each once");
    }

    proptest! {
        #[test]
        fn exactly_the_leaf_of_what_differs_differs(which in 0usize..300, kind in 0..3) {
            let ring = Ring::even(3, 6).expect("a ring");
            let one = keys(300);
            let mut other = one.clone();
            other.rotate_left(which);
            let before = forest(&one, &ring);
            prop_assert_eq!(differing(&before, &forest(&other, &ring), &ring), vec![], "order plays no part");
            let key = other[0].0.clone();
            let sibling = VectorClock::from_entries([(9, 1)], 0).expect("in range");
            match kind {
                0 => other[0].1.push(sibling),
                1 => drop(other.remove(0)),
                _ => other[0].1 = vec![sibling],
            }
            prop_assert_eq!(differing(&before, &forest(&other, &ring), &ring), [leaf_of(&ring, &key)]);
        }
    }

    #[test]
    fn timestamps_and_the_order_of_siblings_play_no_part() {
        let ring = Ring::even(3, 6).expect("a ring");
        let clock = |node, at| VectorClock::from_entries([(node, 1)], at).expect("in range");
        let one = forest(&vec![(b"k".to_vec(), vec![clock(1, 5), clock(2, 6)])], &ring);
        let other = forest(&vec![(b"k".to_vec(), vec![clock(2, 8), clock(1, 9)])], &ring);
        assert_eq!(differing(&one, &other, &ring), []);
    }
}
