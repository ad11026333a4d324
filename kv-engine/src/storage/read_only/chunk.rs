//! [`Chunk`]: an open bucket. The index is mapped and searched, the data is read by position.

use std::borrow::Cow;

use engine_env::{File, ReadHow, ReadNow, SealedBytes};

use super::digest::index_hash;
use super::{index, record};
use crate::storage::{GetError, KEY_BYTES_MAX, VALUE_BYTES_MAX};

#[derive(Debug)]
pub(super) struct Chunk<F> {
    pub(super) index: SealedBytes,
    pub(super) data: F,
    pub(super) data_len: u64,
}

/// The first read of a record: most records are smaller, so most gets are one read.
const FIRST_READ: usize = 4096;

/// Bytes of the data that were read already.
struct Window<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl<F: File> Chunk<F> {
    /// The value of `key`, whose index hash is `hash`. The whole key is compared.
    pub(super) fn get(&self, key: &[u8], hash: u64) -> Result<Option<Vec<u8>>, GetError> {
        let Some(offset) = index::find(&self.index, hash) else { return Ok(None) };
        let start = u64::from(offset);
        let mut first = [0; FIRST_READ];
        let first = self.read_now(start, &mut first)?;
        let window = Window { start, bytes: first };
        let corrupt = |why: &str| self.corrupt(start, why);
        let keys = record::count(self.array(&window, start)?);
        if keys == 0 {
            return Err(corrupt("it holds no key"));
        }
        let mut at = start + record::COUNT_LEN as u64;
        for _ in 0..keys {
            let (key_len, value_len) = record::lengths(self.array(&window, at)?);
            let (key_len, value_len) = (key_len as usize, value_len as usize);
            let key_at = at + record::LENGTHS_LEN as u64;
            let value_at = key_at + key_len as u64;
            let end = value_at + value_len as u64;
            if key_len > KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX || end > self.data_len {
                return Err(corrupt("its lengths don't fit"));
            }
            let stored = self.bytes(&window, key_at, key_len)?;
            if *stored == *key {
                return Ok(Some(self.bytes(&window, value_at, value_len)?.into_owned()));
            }
            // Another key may share the hash by chance; one that doesn't share it isn't what was written.
            if index_hash(&stored) != hash {
                return Err(corrupt("a key's hash isn't the index's"));
            }
            at = end;
        }
        Ok(None)
    }

    fn array<const N: usize>(&self, window: &Window<'_>, at: u64) -> Result<[u8; N], GetError> {
        Ok(*self.bytes(window, at, N)?.first_chunk().expect("as many as asked"))
    }

    /// `len` bytes, of which the caller has seen that the file may have so many.
    fn bytes<'w>(&self, window: &Window<'w>, at: u64, len: usize) -> Result<Cow<'w, [u8]>, GetError> {
        let skip = usize::try_from(at - window.start).unwrap_or(usize::MAX);
        if let Some(bytes) = skip.checked_add(len).and_then(|end| window.bytes.get(skip..end)) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = vec![0; len];
        if self.read_now(at, &mut bytes)?.len() < len {
            return Err(self.corrupt(window.start, "the file ends within it"));
        }
        Ok(Cow::Owned(bytes))
    }

    fn read_now<'a>(&self, at: u64, into: &'a mut [u8]) -> Result<&'a [u8], GetError> {
        match self.data.read_now(at, into, ReadHow::MayBlock)? {
            ReadNow::Read(n) => Ok(&into[..n]),
            ReadNow::NotCached => unreachable!("a read that may block never says so"),
        }
    }

    fn corrupt(&self, position: u64, why: &str) -> GetError {
        GetError::Corrupt { file: self.data.path().to_owned(), position, why: why.to_owned() }
    }
}
