//! Merging the sorted runs of one partition into its buckets. The second half of an external sort: partitions don't
//! depend on each other, so any number of them are merged at the same time, each with disks of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use engine_env::{Disk, DiskError, File, OpenHow, ReadHow, ReadNow};

use super::batch::{RUN_HEAD_LEN, Run, RunHead, Slice};
use super::bucket::{Bucket, Part};
use super::build_error::BuildError;
use super::digest::chunk_of;
use super::file_writer::FileWriter;
use super::manifest::FileEntry;
use super::{index, record};

/// The largest file of the format: its offsets are signed 32-bit numbers in the original.
const FILE_BYTES_MAX: u64 = i32::MAX as u64;

/// What became of a partition.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Files of one copy, by chunk. Copies differ in their names alone.
    pub(crate) chunks: Vec<[(u64, u32); 2]>,
    /// Keys in one copy.
    pub(crate) keys: u64,
    /// Records that a later one of the same key replaced or deleted.
    pub(crate) replaced: u64,
}

/// The entries of a partition's copy, for its node's manifest.
pub(crate) fn entries(merged: &Merged, partition: u32, replica: u16) -> Vec<FileEntry> {
    let chunks = merged.chunks.iter().zip(0..);
    chunks
        .flat_map(|(parts, chunk)| {
            let bucket = Bucket { partition, replica, chunk };
            [Part::Data, Part::Index].into_iter().zip(parts).map(move |(part, (len, crc32))| FileEntry {
                name: bucket.file(part),
                len: *len,
                crc32: *crc32,
            })
        })
        .collect()
}

/// A copy's disk and folder, and which copy it is.
pub(crate) struct Copy<'a, D> {
    pub(crate) disk: &'a mut D,
    pub(crate) dir: &'a str,
    pub(crate) replica: u16,
}

/// Merges what the runs hold of a partition, and writes it to each copy's folder, synced. The names aren't synced yet.
pub(crate) fn merge_partition<D: Disk>(
    runs: &[Run],
    runs_disk: &mut D,
    copies: &mut [Copy<'_, D>],
    partition: u32,
    chunk_bytes: u64,
    synced: bool,
) -> Result<Merged, BuildError> {
    let mut sources = Vec::new();
    let mut bytes = 0;
    for run in runs {
        if let Some(slice) = run.slice(partition) {
            bytes += slice.len;
            sources.push(RunReader::open(runs_disk, run, slice)?);
        }
    }
    let chunks = u32::try_from(bytes.div_ceil(chunk_bytes).max(1)).unwrap_or(u32::MAX);
    let mut writers = (0..chunks)
        .map(|chunk| ChunkWriter::create(copies, partition, chunk))
        .collect::<Result<Vec<_>, DiskError>>()?;
    let mut merged = Merged::default();
    let mut heads = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        if let Some(head) = source.head()? {
            heads.push(Reverse((head.hash, head.sequence, number)));
        }
    }
    // All keys of one hash, each with its last value; one key as good as always.
    let mut group: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
    while let Some(Reverse((hash, _, number))) = heads.pop() {
        let (key, value) = sources[number].take()?;
        if let Some(head) = sources[number].head()? {
            heads.push(Reverse((head.hash, head.sequence, number)));
        }
        match group.iter_mut().find(|(k, _)| *k == key) {
            Some((_, last)) => {
                merged.replaced += 1;
                *last = value;
            }
            None => group.push((key, value)),
        }
        if heads.peek().is_some_and(|Reverse((next, _, _))| *next == hash) {
            continue;
        }
        let mut keys: Vec<_> = group.drain(..).filter_map(|(key, value)| Some((key, value?))).collect();
        if keys.is_empty() {
            continue;
        }
        if keys.len() > usize::from(u16::MAX) {
            return Err(BuildError::TooManyCollisions { hash });
        }
        keys.sort_unstable();
        merged.keys += keys.len() as u64;
        writers[chunk_of(hash, chunks) as usize].push(hash, &keys, partition)?;
    }
    for writer in writers {
        merged.chunks.push(writer.finish(synced)?);
    }
    Ok(merged)
}

/// The files of a chunk in all copies. They hold the same bytes.
struct ChunkWriter<F> {
    copies: Vec<[FileWriter<F>; 2]>,
    record: Vec<u8>,
    data_len: u64,
}

impl<F: File> ChunkWriter<F> {
    fn create<D: Disk<File = F>>(
        copies: &mut [Copy<'_, D>],
        partition: u32,
        chunk: u32,
    ) -> Result<Self, DiskError> {
        let create = |copy: &mut Copy<'_, D>| {
            let bucket = Bucket { partition, replica: copy.replica, chunk };
            let mut file =
                |part| FileWriter::create(copy.disk, &format!("{}/{}", copy.dir, bucket.file(part)));
            Ok([file(Part::Data)?, file(Part::Index)?])
        };
        let copies = copies.iter_mut().map(create).collect::<Result<_, DiskError>>()?;
        Ok(Self { copies, record: Vec::new(), data_len: 0 })
    }

    fn push(&mut self, hash: u64, keys: &[(Vec<u8>, Vec<u8>)], partition: u32) -> Result<(), BuildError> {
        self.record.clear();
        record::encode(keys, &mut self.record);
        let offset = self.data_len;
        self.data_len += self.record.len() as u64;
        if self.data_len > FILE_BYTES_MAX {
            return Err(BuildError::BucketTooLarge { partition });
        }
        let entry = index::entry(hash, u32::try_from(offset).expect("below the largest file"));
        for [data, index] in &mut self.copies {
            data.write(&self.record)?;
            index.write(&entry)?;
        }
        Ok(())
    }

    /// Lengths and checksums of data and index; every copy is on the disk then.
    fn finish(self, synced: bool) -> Result<[(u64, u32); 2], BuildError> {
        let mut told = [(0, 0); 2];
        for files in self.copies {
            for (file, told) in files.into_iter().zip(&mut told) {
                let (file, len, crc) = file.finish()?;
                if synced {
                    file.sync_now()?;
                }
                *told = (len, crc);
            }
        }
        Ok(told)
    }
}

/// Reads a partition's records from a run, front to back.
struct RunReader<F> {
    file: F,
    at: u64,
    end: u64,
    window: Vec<u8>,
    /// How much of the window was taken.
    taken: usize,
    path: String,
}

impl<F: File> RunReader<F> {
    /// Bytes per read: runs may be many, and each has a reader in every merge.
    const PIECE: u64 = 64 << 10;

    fn open<D: Disk<File = F>>(disk: &mut D, run: &Run, slice: Slice) -> Result<Self, DiskError> {
        let (file, _) = disk.open(&run.path, OpenHow::Existing)?;
        let Slice { at, len, .. } = slice;
        Ok(Self { file, at, end: at + len, window: Vec::new(), taken: 0, path: run.path.clone() })
    }

    /// The next record without its bytes; `None` behind the last one.
    fn head(&mut self) -> Result<Option<RunHead>, BuildError> {
        if self.taken == self.window.len() && self.at == self.end {
            return Ok(None);
        }
        self.need(RUN_HEAD_LEN)?;
        let head = self.window[self.taken..].first_chunk().expect("that many were needed");
        Ok(Some(RunHead::decode(head)))
    }

    /// The next record's key and value.
    fn take(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), BuildError> {
        let head = self.head()?.ok_or_else(|| BuildError::RunDamaged { file: self.path.clone() })?;
        self.need(RUN_HEAD_LEN + head.body_len())?;
        let start = self.taken + RUN_HEAD_LEN;
        let body = &self.window[start..start + head.body_len()];
        self.taken = start + body.len();
        let (key, value) = body.split_at(head.key_len as usize);
        Ok((key.to_vec(), head.value_len.map(|_| value.to_vec())))
    }

    /// Reads on until the window holds `bytes` that weren't taken.
    fn need(&mut self, bytes: usize) -> Result<(), BuildError> {
        let missing = bytes.saturating_sub(self.window.len() - self.taken) as u64;
        if missing == 0 {
            return Ok(());
        }
        let damaged = || BuildError::RunDamaged { file: self.path.clone() };
        if missing > self.end - self.at {
            return Err(damaged());
        }
        self.window.drain(..self.taken);
        self.taken = 0;
        let more = missing.max(Self::PIECE).min(self.end - self.at);
        let old = self.window.len();
        self.window.resize(old + usize::try_from(more).expect("as much as a record"), 0);
        match self.file.read_now(self.at, &mut self.window[old..], ReadHow::MayBlock)? {
            ReadNow::Read(n) if n as u64 == more => {}
            _ => return Err(damaged()),
        }
        self.at += more;
        Ok(())
    }
}
