//! [`ReadOnlyStore`]: the version that a store serves, and the change to another one while it is being read.

use std::sync::{Arc, PoisonError, RwLock};

use engine_env::{Disk, File};

use super::damage::ReadOnlyDamage;
use super::folder::{Folder, ReadOnlyFolderError};
use super::version::{ReadOnlyCheck, Version};
use crate::storage::{DeleteError, GetError, PutError, Storage};
use crate::version::{VectorClock, Versioned};

/// Why a read-only store can't be opened. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadOnlyOpenError {
    /// No version was swapped in yet.
    #[error("no version is served: build one and swap it in")]
    Empty,
    /// The served version isn't there, or damaged.
    #[error("version {version} is damaged: {damage}; roll back, or build a new version and swap it in")]
    Damaged {
        /// The served version.
        version: u64,
        /// The first damage that was found.
        #[source]
        damage: ReadOnlyDamage,
    },
    /// The folder isn't in order.
    #[error(transparent)]
    Folder(#[from] ReadOnlyFolderError),
}

/// A batch-built store, open for reading: for any number of threads, without a lock that readers could wait for.
///
/// Gets go on in the old version while [`reload`](Self::reload) opens the new one. Puts and deletes are refused.
#[derive(Debug)]
pub struct ReadOnlyStore<F> {
    served: RwLock<Arc<Version<F>>>,
    check: ReadOnlyCheck,
}

impl<F: File> ReadOnlyStore<F> {
    /// Opens the version that the folder says is served.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open<D: Disk<File = F>>(disk: &mut D, check: ReadOnlyCheck) -> Result<Self, ReadOnlyOpenError> {
        let version = open_served(disk, check)?;
        Ok(Self { served: RwLock::new(Arc::new(version)), check })
    }

    /// Serves what the folder says now, after a swap or a rollback. Until this returns the old version is served; if it
    /// fails, from then on too.
    ///
    /// # Errors
    /// There is no such version, or it is damaged.
    pub fn reload<D: Disk<File = F>>(&self, disk: &mut D) -> Result<(), ReadOnlyOpenError> {
        let version = Arc::new(open_served(disk, self.check)?);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = version;
        Ok(())
    }

    fn served(&self) -> Arc<Version<F>> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The version that is served.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.served().number
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.served().manifest.keys
    }

    /// Whether the key's partition is here. What isn't here is another node's to answer.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        let version = self.served();
        version.holds(version.partition_of(key))
    }

    /// The value of a key; `None` if it has none here. One search in the mapped index and, for all but large values, one
    /// read.
    ///
    /// # Errors
    /// The record can't be read, or isn't what was written. A value that rotted since it was checked isn't noticed.
    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
        self.served().get(key)
    }
}

fn open_served<D: Disk>(disk: &mut D, check: ReadOnlyCheck) -> Result<Version<D::File>, ReadOnlyOpenError> {
    let folder = Folder::look(disk)?;
    let version = folder.latest.ok_or(ReadOnlyOpenError::Empty)?.version;
    Version::open(disk, version, check).map_err(|damage| ReadOnlyOpenError::Damaged { version, damage })
}

impl<F: File> Storage for ReadOnlyStore<F> {
    /// The value under an empty clock, as the original has it.
    fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        let value = self.value(key)?;
        Ok(value.map(|value| Versioned::new(VectorClock::empty(0), value)).into_iter().collect())
    }

    fn get_versions(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        Ok(self.value(key)?.map(|_| VectorClock::empty(0)).into_iter().collect())
    }

    fn put(&self, _key: &[u8], _value: &Versioned) -> Result<(), PutError> {
        Err(PutError::ReadOnly)
    }

    fn put_versions(&self, _key: &[u8], _versions: &[Versioned]) -> Result<Vec<Versioned>, PutError> {
        Err(PutError::ReadOnly)
    }

    fn delete(&self, _key: &[u8], _version: &VectorClock) -> Result<bool, DeleteError> {
        Err(DeleteError::ReadOnly)
    }
}
