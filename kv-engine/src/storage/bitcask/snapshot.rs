//! [`Snapshot`]: all entries as they were at one moment, while writes and merges go on.
//!
//! What it sees: every write that was published before it began, and none that came later; its position is the change
//! feed's, so a feed from there tells the rest. Merges don't disturb it: it keeps the files that it has still to read.
//!
//! How: from its beginning on, whoever changes a key in a shard that the snapshot hasn't come to leaves what the key had
//! with the shard. The snapshot takes one shard after the other: a copy of its part of the directory, made under a
//! shared lock, in place of what changed what was left. So it holds one shard's part of the directory at a time, and
//! of the shards to come what was changed meanwhile.

use engine_env::File;

use super::Bitcask;
use super::feed::FeedPosition;
use super::get::Located;
use super::keydir::{Frozen, Left};
use crate::storage::GetError;
use crate::version::Versioned;

/// An entry: a key and its versions, or why they can't be read.
pub type SnapshotEntry = (Vec<u8>, Result<Vec<Versioned>, GetError>);

/// Which keys are wanted.
type Wanted<'a> = Box<dyn Fn(&[u8]) -> bool + Send + 'a>;

/// All entries as they were when it began, in no particular order; see [`Bitcask::snapshot`].
pub struct Snapshot<'a, F: File> {
    store: &'a Bitcask<F>,
    id: u64,
    position: FeedPosition,
    wanted: Wanted<'a>,
    /// The next shard.
    next: usize,
    /// What is still to be told of the current one.
    frozen: Option<Frozen<F>>,
    /// What changed in it since the snapshot began, as it was; told after the rest.
    left: Left<F>,
    told_last: std::collections::hash_map::IntoIter<Box<[u8]>, Vec<Located<F>>>,
}

impl<F: File> std::fmt::Debug for Snapshot<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("position", &self.position).field("next", &self.next).finish()
    }
}

impl<F: File> Snapshot<'_, F> {
    /// Every write before this position is in it, and none after.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        self.position
    }

    fn read(&self, key: &[u8], versions: &[Located<F>]) -> Result<Vec<Versioned>, GetError> {
        versions.iter().map(|located| self.store.read_located(key, located)).collect()
    }

    fn next_located(&mut self) -> Option<(Vec<u8>, Vec<Located<F>>)> {
        loop {
            if let Some(frozen) = &mut self.frozen {
                let left = &self.left;
                let wanted = |key: &[u8]| (self.wanted)(key) && !left.contains_key(key);
                if let Some(found) = frozen.next(wanted) {
                    return Some(found);
                }
                self.frozen = None;
                self.told_last = std::mem::take(&mut self.left).into_iter();
            }
            for (key, versions) in self.told_last.by_ref() {
                if !versions.is_empty() && (self.wanted)(&key) {
                    return Some((key.into_vec(), versions));
                }
            }
            let keydir = &self.store.keydir;
            if self.next == keydir.shard_indexes().end {
                return None;
            }
            // What changes between the two is left for nobody.
            self.frozen = Some(keydir.read_shard(self.next).freeze(self.id, &mut self.left));
            keydir.write_shard(self.next).forget_snapshot(self.id);
            self.next += 1;
        }
    }
}

impl<F: File> Iterator for Snapshot<'_, F> {
    type Item = SnapshotEntry;

    fn next(&mut self) -> Option<SnapshotEntry> {
        loop {
            let (key, versions) = self.next_located()?;
            let mut versions = self.read(&key, &versions);
            if let Ok(versions) = &mut versions {
                let expired_before_ms = self.store.expired_before_ms();
                versions.retain(|version| version.clock.timestamp_ms() >= expired_before_ms);
                if versions.is_empty() {
                    continue;
                }
            }
            return Some((key, versions));
        }
    }
}

impl<F: File> Drop for Snapshot<'_, F> {
    fn drop(&mut self) {
        for shard in self.next..self.store.keydir.shard_indexes().end {
            self.store.keydir.write_shard(shard).forget_snapshot(self.id);
        }
    }
}

impl<F: File> Bitcask<F> {
    /// All entries with a wanted key, as they are now. While it is read, writers wait for it no longer than it takes to
    /// copy a shard's part of the key directory; an abandoned one costs memory for every key that changes, so drop it.
    pub fn snapshot<'a>(&'a self, wanted: impl Fn(&[u8]) -> bool + Send + 'a) -> Snapshot<'a, F> {
        // Nothing is published meanwhile.
        let writer = self.writer();
        let id = self.next_snapshot.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for shard in self.keydir.shard_indexes() {
            self.keydir.write_shard(shard).watch(id);
        }
        let position = FeedPosition(writer.applied);
        drop(writer);
        let wanted = Box::new(wanted);
        Snapshot {
            store: self,
            id,
            position,
            wanted,
            next: 0,
            frozen: None,
            left: Left::default(),
            told_last: Left::default().into_iter(),
        }
    }

    /// Calls `each` with every entry of a [`Bitcask::snapshot`].
    pub fn for_each(&self, mut each: impl FnMut(&[u8], Result<Vec<Versioned>, GetError>)) {
        self.snapshot(|_| true).for_each(|(key, versions)| each(&key, versions));
    }
}
