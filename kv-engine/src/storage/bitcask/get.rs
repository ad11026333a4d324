//! Reading: one shared lock and one positioned read per version, verified before it is handed out.

use engine_env::{DiskError, DiskErrorKind, File, ReadHow, ReadNow};

use super::Bitcask;
use super::keydir::{Place, Shard};
use super::planted;
use super::record::{At, DamageKind, HEAD_LEN, Head, HeadRead};
use super::segment::{self, Origin};
use crate::storage::GetError;
use crate::version::{VectorClock, Versioned};

/// A record on its way from the disk.
struct Fetch<F> {
    at: At,
    origin: Origin,
    sequence: u64,
    buf: Vec<u8>,
    /// Set while the bytes are still to be read, because they weren't in the page cache.
    missing: Option<F>,
}

/// Reads what is in the page cache while the shard is locked: that costs no more than the lock itself. Whatever
/// needs the device is read after the lock is gone, so that a slow read holds up nobody else.
fn fetch<F: File>(shard: &Shard<F>, place: &Place) -> Result<Fetch<F>, DiskError> {
    let segment = shard.segment(place.segment).expect("a segment stays while places point to it");
    let mut buf = vec![0; place.len as usize];
    let cached = segment.file.read_now(place.position, &mut buf, ReadHow::CachedOnly)?;
    let missing = match cached {
        ReadNow::Read(n) => {
            buf.truncate(n);
            None
        }
        ReadNow::NotCached => Some(segment.file.clone()),
    };
    let at = At { segment: place.segment, position: place.position };
    Ok(Fetch { at, origin: segment.origin, sequence: place.sequence, buf, missing })
}

impl<F: File> Fetch<F> {
    fn finish(mut self, key: &[u8], verify: bool) -> Result<Versioned, GetError> {
        if let Some(file) = self.missing.take() {
            match file.read_now(self.at.position, &mut self.buf, ReadHow::MayBlock)? {
                ReadNow::Read(n) => self.buf.truncate(n),
                ReadNow::NotCached => {
                    return Err(DiskError::new("read", file.path(), None, DiskErrorKind::Os(11)).into());
                }
            }
        }
        let (at, origin) = (self.at, self.origin);
        self.open(key, verify).map_err(|why| GetError::Corrupt {
            file: segment::name(origin, at.segment),
            position: at.position,
            why: why.to_string(),
        })
    }

    fn open(mut self, key: &[u8], verify: bool) -> Result<Versioned, DamageKind> {
        let head = match self.buf.first_chunk::<HEAD_LEN>().map(Head::read) {
            Some(HeadRead::Plausible(head)) => head,
            _ => return Err(DamageKind::NoRecord),
        };
        if head.record_len() != self.buf.len() as u64 {
            return Err(DamageKind::BeyondEnd { len: head.record_len(), left: self.buf.len() as u64 });
        }
        let clock = head.verify(&self.buf, self.at)?;
        let view = head.view(&self.buf, clock, self.at.position);
        if view.key != key || view.sequence != self.sequence {
            return Err(DamageKind::OtherRecord);
        }
        if let Some(damage) = view.damage
            && verify
        {
            return Err(damage);
        }
        let clock = view.clock;
        self.buf.drain(..head.covered_len());
        Ok(Versioned { clock, value: self.buf })
    }
}

impl<F: File> Bitcask<F> {
    /// All versions of a key, in order of arrival; empty if there is none.
    ///
    /// # Errors
    /// A version can't be read, or isn't what was written.
    pub fn get(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        let verify = !planted!(self, ChecksumIgnored);
        let shard = self.keydir.read(key);
        match shard.places(key) {
            [] => Ok(Vec::new()),
            [one] => {
                let fetched = fetch(&shard, one)?;
                drop(shard);
                Ok(vec![fetched.finish(key, verify)?])
            }
            many => {
                let fetched = many.iter().map(|p| fetch(&shard, p)).collect::<Result<Vec<_>, _>>()?;
                drop(shard);
                fetched.into_iter().map(|f| f.finish(key, verify)).collect()
            }
        }
    }

    /// The clocks of all versions of a key, without the disk.
    #[must_use]
    pub fn get_versions(&self, key: &[u8]) -> Vec<VectorClock> {
        self.keydir.read(key).places(key).iter().map(|p| p.clock.clone()).collect()
    }

    /// Calls `each` with every key and its versions, or why they can't be read; in no particular order. Each key is
    /// seen once, before or after a write that comes meanwhile; one that is new or deleted meanwhile may be left out.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], Result<Vec<Versioned>, GetError>)) {
        for shard in self.keydir.shard_indexes() {
            // Keys are copied so that no lock is held while `each` runs and the disk is read.
            for key in self.keydir.keys_of(shard) {
                match self.get(&key) {
                    Ok(versions) if versions.is_empty() => {}
                    result => each(&key, result),
                }
            }
        }
    }
}
