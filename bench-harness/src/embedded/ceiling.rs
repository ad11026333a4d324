//! The ceiling: what there is at least to do. A value is appended to a file, its place kept in a hash map, and read
//! back by position. No versions, no checksums, no order of recovery, and nothing is ever reclaimed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use engine_env::{Backend, Disk as _, File as _, Home as _, OpenHow, OsFile, OsHome, ReadHow, WriteSync};

use super::contender::{Contender, ContenderError, Kind};

pub(super) const KIND: Kind = Kind { name: "ceiling", open, is_ceiling: true };

const SHARDS: usize = 64;

/// By key, where its value stands and how long it is.
type Places = RwLock<HashMap<Vec<u8>, (u64, usize)>>;

struct Ceiling {
    file: OsFile,
    end: Mutex<u64>,
    places: Vec<Places>,
    sync: WriteSync,
}

fn open(dir: &Path, synced: bool) -> Result<Box<dyn Contender>, ContenderError> {
    let mut disk = OsHome::open(dir, Backend::Blocking)?.disk()?;
    let (file, end) = disk.open("values", OpenHow::OpenOrCreate)?;
    Ok(Box::new(Ceiling {
        file,
        end: Mutex::new(end),
        places: (0..SHARDS).map(|_| RwLock::default()).collect(),
        sync: if synced { WriteSync::Data } else { WriteSync::None },
    }))
}

impl Ceiling {
    fn shard(&self, key: &[u8]) -> &Places {
        // The keys of this measurement end in mixed bytes.
        &self.places[usize::from(*key.last().unwrap_or(&0)) % SHARDS]
    }
}

impl Contender for Ceiling {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ContenderError> {
        let place = self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        let Some((at, len)) = place else { return Ok(None) };
        let mut value = vec![0; len];
        self.file.read_now(at, &mut value, ReadHow::MayBlock)?;
        Ok(Some(value))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ContenderError> {
        let at = {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let at = *end;
            self.file.write_now(at, value, self.sync)?;
            *end += value.len() as u64;
            at
        };
        let mut places = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        match places.get_mut(key) {
            Some(place) => *place = (at, value.len()),
            None => drop(places.insert(key.to_vec(), (at, value.len()))),
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), ContenderError> {
        Ok(())
    }
}
