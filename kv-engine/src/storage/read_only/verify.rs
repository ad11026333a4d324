//! Verification: every byte of a version against its checksum, then every record against what the format asks for.

use engine_env::{Disk, EntryKind, File};

use super::chunk::Chunk;
use super::damage::ReadOnlyDamage;
use super::digest::{chunk_of, index_hash};
use super::folder::{self, Folder, ReadOnlyFolderError, State};
use super::manifest;
use super::version::{METADATA, ReadOnlyCheck, Version, check_data, open_file, read_manifest};
use super::{index, record};
use crate::ring::{key_hash, partition_of};

/// What a look at all of a version found.
#[derive(Debug, Clone, Default)]
pub struct ReadOnlyVerified {
    /// Keys, as the manifest counts them.
    pub keys: u64,
    /// Bytes of all buckets' files.
    pub bytes: u64,
    /// What isn't as it was built; empty if all is well.
    pub damage: Vec<ReadOnlyDamage>,
}

/// The versions in a store's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlyVersions {
    /// The one that is served; `None` before the first swap.
    pub served: Option<u64>,
    /// All whole ones, ascending.
    pub whole: Vec<u64>,
    /// Those that a rollback set aside, ascending.
    pub set_aside: Vec<u64>,
}

/// Lists the versions in a store's folder.
///
/// # Errors
/// The folder isn't in order.
pub fn read_only_versions<D: Disk>(disk: &mut D) -> Result<ReadOnlyVersions, ReadOnlyFolderError> {
    let folder = Folder::look(disk)?;
    Ok(ReadOnlyVersions {
        served: folder.latest.as_ref().map(|latest| latest.version),
        whole: folder.whole().collect(),
        set_aside: folder.set_aside().collect(),
    })
}

/// Reads all of a whole version and says what isn't as it was built. Whether the version is served doesn't matter.
///
/// Bytes that fit their checksums are then looked at through a memory map: a device that fails in that moment ends the
/// process.
#[must_use]
pub fn verify_read_only<D: Disk>(disk: &mut D, version: u64) -> ReadOnlyVerified {
    verify_version(disk, version)
}

pub(super) fn verify_version<D: Disk>(disk: &mut D, number: u64) -> ReadOnlyVerified {
    let mut verified = ReadOnlyVerified::default();
    let dir = folder::name(number, State::Whole);
    let manifest = match read_manifest(disk, &dir) {
        Ok(manifest) => manifest,
        Err(damage) => {
            verified.damage.push(damage);
            return verified;
        }
    };
    verified.keys = manifest.keys;
    verified.bytes = manifest.files.iter().map(|file| file.len).sum();
    let damage = &mut verified.damage;
    match disk.list(&dir) {
        Ok(entries) => damage.extend(
            entries
                .into_iter()
                .filter(|e| {
                    let named = manifest.files.binary_search_by(|f| f.name.cmp(&e.name)).is_ok();
                    e.kind != EntryKind::File
                        || !(named || [METADATA, manifest::NAME].contains(&e.name.as_str()))
                })
                .map(|e| ReadOnlyDamage::Unexpected { file: format!("{dir}/{}", e.name) }),
        ),
        Err(error) => damage.push(error.into()),
    }
    for entry in &manifest.files {
        let checked = open_file(disk, &dir, entry).and_then(|(file, _)| check_data(&dir, entry, &file));
        damage.extend(checked.err());
    }
    if damage.is_empty() {
        match Version::open(disk, number, ReadOnlyCheck::Indexes) {
            Ok(version) => check_records(&version, damage),
            Err(found) => damage.push(found),
        }
    }
    verified
}

fn check_records<F: File>(version: &Version<F>, damage: &mut Vec<ReadOnlyDamage>) {
    let mut keys = 0;
    for (partition, chunk_number, chunks, chunk) in version.chunks() {
        let placed = |key: &[u8], hash: u64| {
            index_hash(key) == hash
                && chunk_of(hash, chunks as u32) as usize == chunk_number
                && partition_of(key_hash(key), version.manifest.partitions) == partition
        };
        match check_chunk(chunk, placed) {
            Ok(found) => keys += found,
            Err(found) => damage.push(found),
        }
    }
    if damage.is_empty() && keys != version.manifest.keys {
        damage.push(ReadOnlyDamage::Text {
            file: format!("{}/{}", folder::name(version.number, State::Whole), manifest::NAME),
            why: format!("it counts {} keys, there are {keys}", version.manifest.keys),
        });
    }
}

/// Index and data of a bucket: hashes ascend, records follow each other without a gap, every key is where it belongs.
/// Gives the number of keys.
fn check_chunk<F: File>(
    chunk: &Chunk<F>,
    placed: impl Fn(&[u8], u64) -> bool,
) -> Result<u64, ReadOnlyDamage> {
    let data = chunk.data.map_sealed()?;
    let wrong = |position: u64, why: &str| ReadOnlyDamage::Structure {
        file: chunk.data.path().to_owned(),
        position,
        why: why.to_owned(),
    };
    let (mut at, mut keys, mut before) = (0_usize, 0, None);
    for (hash, offset) in index::entries(&chunk.index) {
        if offset as usize != at {
            return Err(wrong(u64::from(offset), "the index points here, where no record begins"));
        }
        if before.is_some_and(|before| before >= hash) {
            return Err(wrong(at as u64, "the index isn't sorted here"));
        }
        before = Some(hash);
        let start = at as u64;
        let cut = || wrong(start, "the record is cut short");
        let mut take = |len: usize| {
            let bytes = at.checked_add(len).and_then(|end| data.get(at..end)).ok_or_else(cut)?;
            at += len;
            Ok::<_, ReadOnlyDamage>(bytes)
        };
        let count = record::count(*take(record::COUNT_LEN)?.first_chunk().expect("as many as asked"));
        if count == 0 {
            return Err(wrong(start, "the record holds no key"));
        }
        for _ in 0..count {
            let lengths = *take(record::LENGTHS_LEN)?.first_chunk().expect("as many as asked");
            let (key_len, value_len) = record::lengths(lengths);
            let key = take(key_len as usize)?;
            if !placed(key, hash) {
                return Err(wrong(
                    start,
                    "a key of the record doesn't belong into this bucket, or under this hash",
                ));
            }
            take(value_len as usize)?;
            keys += 1;
        }
    }
    let indexed = chunk.index.len().is_multiple_of(index::ENTRY_LEN);
    if at != data.len() || !indexed {
        return Err(wrong(at as u64, "bytes follow that no index entry knows"));
    }
    Ok(keys)
}
