//! [`Batch`]: records gathered in memory up to a bound, sorted and spilled to a run. The first half of an external sort.

use engine_env::{Disk, DiskError};

use super::digest::index_hash;
use super::file_writer::FileWriter;

/// What stands in place of a value's length for a deleted key.
const DELETED: u32 = u32::MAX;
/// Bytes before the key in a run: hash, sequence, key length, value length.
pub(crate) const RUN_HEAD_LEN: usize = 8 + 8 + 4 + 4;

/// A record of a run without its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunHead {
    pub(crate) hash: u64,
    /// Rises with every record given to the builder: the last one of a key counts.
    pub(crate) sequence: u64,
    pub(crate) key_len: u32,
    /// `None`: the key was deleted.
    pub(crate) value_len: Option<u32>,
}

impl RunHead {
    pub(crate) fn encode(&self) -> [u8; RUN_HEAD_LEN] {
        let mut bytes = [0; RUN_HEAD_LEN];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.key_len.to_le_bytes());
        bytes[20..].copy_from_slice(&self.value_len.unwrap_or(DELETED).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; RUN_HEAD_LEN]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self {
            hash: u64_at(0),
            sequence: u64_at(8),
            key_len: u32_at(16),
            value_len: Some(u32_at(20)).filter(|len| *len != DELETED),
        }
    }

    pub(crate) fn body_len(&self) -> usize {
        self.key_len as usize + self.value_len.unwrap_or(0) as usize
    }
}

/// A record in memory: how it sorts, and where its bytes are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    partition: u32,
    value_len: Option<u32>,
    hash: u64,
    sequence: u64,
    key_len: u32,
    at: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    /// Memory that the records take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a record; the lengths were checked.
    pub(crate) fn push(&mut self, partition: u32, sequence: u64, key: &[u8], value: Option<&[u8]>) {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("checked by the builder");
        self.entries.push(Entry {
            partition,
            value_len: value.map(len),
            hash: index_hash(key),
            sequence,
            key_len: len(key),
            at: self.bytes.len(),
        });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// Sorts by partition and hash, the records of a key in the order they came, and writes all to the file `path`.
    /// Nothing is synced: a run that a crash loses is built again.
    pub(crate) fn spill<D: Disk>(mut self, disk: &mut D, path: String) -> Result<Run, DiskError> {
        self.entries.sort_unstable_by_key(|e| (e.partition, e.hash, e.sequence));
        let mut out = FileWriter::create(disk, &path)?;
        let mut parts: Vec<Slice> = Vec::new();
        for entry in &self.entries {
            let at = out.len();
            let Entry { hash, sequence, key_len, value_len, .. } = *entry;
            let head = RunHead { hash, sequence, key_len, value_len };
            out.write(&head.encode())?;
            out.write(&self.bytes[entry.at..entry.at + head.body_len()])?;
            let len = out.len() - at;
            match parts.last_mut() {
                Some(last) if last.partition == entry.partition => last.len += len,
                _ => parts.push(Slice { partition: entry.partition, at, len }),
            }
        }
        out.finish()?;
        Ok(Run { path, parts })
    }
}

/// The records of a partition in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) partition: u32,
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// A sorted run on the disk.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) path: String,
    /// Ascending by partition.
    parts: Vec<Slice>,
}

impl Run {
    pub(crate) fn slice(&self, partition: u32) -> Option<Slice> {
        let at = self.parts.binary_search_by_key(&partition, |slice| slice.partition).ok()?;
        Some(self.parts[at])
    }
}
