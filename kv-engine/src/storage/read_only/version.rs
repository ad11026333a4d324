//! [`Version`]: one version of a store, open. It never changes.

use std::collections::HashMap;

use engine_env::{Disk, File, OpenHow};

use super::bucket::{Bucket, Part};
use super::chunk::Chunk;
use super::damage::ReadOnlyDamage;
use super::digest::{chunk_of, index_hash};
use super::folder::{self, State};
use super::manifest::{self, FileEntry, Manifest};
use super::text_file;
use crate::ring::{key_hash, partition_of};
use crate::storage::GetError;

/// The file that says which format a version has, as the original writes it.
pub(super) const METADATA: &str = ".metadata";
pub(super) const METADATA_CONTENT: &str = r#"{"format":"ro2"}"#;

/// How much of a version is read before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadOnlyCheck {
    /// Every byte, against its checksum. Rot is found before a client meets it.
    #[default]
    Everything,
    /// The lengths of all files, and the bytes of the indexes. Rot in the data is then found by a verification; when the
    /// key is read, only if it hit the key, since the format has no checksum for a record.
    Indexes,
}

#[derive(Debug)]
pub(super) struct Version<F> {
    pub(super) number: u64,
    pub(super) manifest: Manifest,
    /// By partition: its chunks.
    partitions: HashMap<u32, Vec<Chunk<F>>>,
}

impl<F: File> Version<F> {
    /// Opens a whole version and checks it.
    pub(super) fn open<D: Disk<File = F>>(
        disk: &mut D,
        number: u64,
        check: ReadOnlyCheck,
    ) -> Result<Self, ReadOnlyDamage> {
        let dir = folder::name(number, State::Whole);
        let manifest = read_manifest(disk, &dir)?;
        let mut partitions: HashMap<u32, Vec<Chunk<F>>> = HashMap::new();
        // Data before index, chunk before chunk as text: 10 before 2, so they are put in order first.
        let mut files: Vec<_> =
            manifest.files.iter().filter_map(|f| Some((Bucket::parse(&f.name)?, f))).collect();
        files.sort_by_key(|(key, _)| *key);
        let mut replicas: HashMap<u32, u16> = HashMap::new();
        for pair in files.chunks(2) {
            let [((bucket, Part::Data), data), ((other, Part::Index), index)] = pair else {
                return Err(unpaired(&dir, pair[0].0.0));
            };
            let chunks = partitions.entry(bucket.partition).or_default();
            let replica = *replicas.entry(bucket.partition).or_insert(bucket.replica);
            // A node holds one copy of a partition; chunks go up from 0 without a gap.
            if bucket != other || replica != bucket.replica || bucket.chunk as usize != chunks.len() {
                return Err(unpaired(&dir, *bucket));
            }
            let (data_file, data_len) = open_file(disk, &dir, data)?;
            let (index_file, _) = open_file(disk, &dir, index)?;
            if check == ReadOnlyCheck::Everything {
                check_data(&dir, data, &data_file)?;
            }
            let mapped = index_file.map_sealed()?;
            checksum(&dir, index, crc32fast::hash(&mapped))?;
            chunks.push(Chunk { index: mapped, data: data_file, data_len });
        }
        Ok(Self { number, manifest, partitions })
    }

    pub(super) fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key_hash(key), self.manifest.partitions)
    }

    pub(super) fn holds(&self, partition: u32) -> bool {
        self.partitions.contains_key(&partition)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
        let Some(chunks) = self.partitions.get(&self.partition_of(key)) else { return Ok(None) };
        let hash = index_hash(key);
        let chunk = chunk_of(hash, u32::try_from(chunks.len()).expect("numbered with a u32"));
        chunks[chunk as usize].get(key, hash)
    }

    /// The open chunks with their buckets' partitions, for a look at every record.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u32, usize, usize, &Chunk<F>)> {
        self.partitions.iter().flat_map(|(partition, chunks)| {
            chunks.iter().enumerate().map(move |(number, chunk)| (*partition, number, chunks.len(), chunk))
        })
    }
}

/// The manifest of a version, with the format it is in.
pub(super) fn read_manifest<D: Disk>(disk: &mut D, dir: &str) -> Result<Manifest, ReadOnlyDamage> {
    let mut text = |name: &str| -> Result<(String, Vec<u8>), ReadOnlyDamage> {
        let file = format!("{dir}/{name}");
        match text_file::read(disk, &file)? {
            Some(bytes) => Ok((file, bytes)),
            None => Err(ReadOnlyDamage::Missing { file }),
        }
    };
    let (file, bytes) = text(METADATA)?;
    let metadata: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|e| ReadOnlyDamage::Text { file: file.clone(), why: format!("it is no JSON: {e}") })?;
    match metadata.get("format").and_then(serde_json::Value::as_str) {
        Some("ro2") => {}
        other => {
            let why = format!("its format is {other:?}, this build reads ro2");
            return Err(ReadOnlyDamage::Text { file, why });
        }
    }
    let (file, bytes) = text(manifest::NAME)?;
    Manifest::decode(&bytes).map_err(|why| ReadOnlyDamage::Text { file, why })
}

pub(super) fn open_file<D: Disk>(
    disk: &mut D,
    dir: &str,
    entry: &FileEntry,
) -> Result<(D::File, u64), ReadOnlyDamage> {
    let path = format!("{dir}/{}", entry.name);
    let (file, len) = match disk.open(&path, OpenHow::Existing) {
        Err(error) if error.kind == engine_env::DiskErrorKind::NotFound => {
            return Err(ReadOnlyDamage::Missing { file: path });
        }
        opened => opened?,
    };
    if len != entry.len {
        return Err(ReadOnlyDamage::Length { file: path, expected: entry.len, found: len });
    }
    Ok((file, len))
}

/// Reads all of a file and compares its checksum.
pub(super) fn check_data<F: File>(dir: &str, entry: &FileEntry, file: &F) -> Result<(), ReadOnlyDamage> {
    const PIECE: usize = 1 << 20;
    let mut piece = vec![0; PIECE.min(usize::try_from(entry.len).unwrap_or(PIECE))];
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0;
    while at < entry.len {
        match file.read_now(at, &mut piece, engine_env::ReadHow::MayBlock)? {
            engine_env::ReadNow::Read(n) if n > 0 => {
                crc.update(&piece[..n]);
                at += n as u64;
            }
            _ => break,
        }
    }
    checksum(dir, entry, crc.finalize())
}

pub(super) fn checksum(dir: &str, entry: &FileEntry, computed: u32) -> Result<(), ReadOnlyDamage> {
    if computed == entry.crc32 {
        return Ok(());
    }
    Err(ReadOnlyDamage::Checksum { file: format!("{dir}/{}", entry.name), stored: entry.crc32, computed })
}

fn unpaired(dir: &str, bucket: Bucket) -> ReadOnlyDamage {
    ReadOnlyDamage::Text {
        file: format!("{dir}/{}", manifest::NAME),
        why: format!("bucket {bucket} lacks a part, a chunk before it, or is a second copy of its partition"),
    }
}
