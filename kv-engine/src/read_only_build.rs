//! [`ReadOnlyBuild`]: an edge. A version of a read-only store from a stream of records, for all nodes of a cluster, with
//! the threads that sort and merge.
//!
//! An external sort: records gather in memory up to a bound, are sorted by partition and hash and spilled while the next
//! ones gather; then partitions are merged side by side. No folder says `version-N` before all that is in it is on the
//! disk.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use engine_env::{Disk, DiskError, Home, Op};

use crate::ring::{NodeId, Ring, Routing, key_hash, partition_of};
use crate::storage::read_only::BuildError;
use crate::storage::read_only::batch::{Batch, Run};
use crate::storage::read_only::manifest::{FileEntry, Manifest};
use crate::storage::read_only::merge::{Copy, Merged, entries, merge_partition};
use crate::storage::read_only::{planted, version_writer};
use crate::storage::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Which nodes hold the keys of each partition, in the order of their replicas.
#[derive(Debug, Clone)]
pub struct Placement {
    lists: Box<[Box<[NodeId]>]>,
}

impl Placement {
    /// `copies` nodes for each partition, by consistent routing: its owner, then clockwise.
    #[must_use]
    pub fn consistent(ring: &Ring, copies: u16) -> Self {
        let lists = (0..ring.partitions()).map(|partition| ring.replicas_of(partition, copies).into());
        Self { lists: lists.collect() }
    }

    /// The nodes that hold the keys of each partition of a store of a cluster.
    #[must_use]
    pub fn routed(routing: &Routing) -> Self {
        let holders = |partition| routing.replicas_in(partition).expect("a partition of the ring").into();
        Self { lists: (0..routing.ring().partitions()).map(holders).collect() }
    }

    fn partitions(&self) -> u32 {
        u32::try_from(self.lists.len()).expect("a ring has at most 65536 partitions")
    }
}

/// How a version is built.
#[derive(Debug, Clone)]
pub struct BuildConfig {
    /// Memory for records that are being sorted, in bytes; at least 1 MiB, or one record. More means fewer and longer
    /// runs. Default: 256 MiB.
    pub memory_bytes: usize,
    /// Bytes of a chunk at about which a partition gets one more; below 2 GiB, which is what the format's offsets reach.
    /// Default: 1 GiB.
    pub chunk_bytes: u64,
    /// Threads that merge partitions, and whether runs are sorted beside the reading: 0 does all on the caller's thread.
    /// Default: as many as the machine has processors.
    pub threads: usize,
    /// A mistake put in on purpose. Default: none.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<crate::ReadOnlyBug>,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            chunk_bytes: 1 << 30,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

/// A version that was built, on all nodes. It isn't served yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its number, the same on all nodes.
    pub version: u64,
    /// Records that were given, deletes too.
    pub records: u64,
    /// Records that a later one of the same key replaced or deleted.
    pub replaced: u64,
    /// Sorted runs that were spilled.
    pub runs: usize,
    /// What each node holds.
    pub nodes: Vec<BuiltNode>,
}

/// What a node holds of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltNode {
    /// The node.
    pub node: NodeId,
    /// Keys.
    pub keys: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A version that is being built.
///
/// ```
/// use engine_env::{Backend, Home, OsHome};
/// use kv_engine::{
///     BuildConfig, NodeId, Placement, ReadOnlyBuild, ReadOnlyCheck, ReadOnlyConfig, ReadOnlyStore, Ring, swap_read_only,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// let home = OsHome::open(folder.path(), Backend::Blocking)?;
/// let placement = Placement::consistent(&Ring::even(1, 8)?, 1);
/// let mut build = ReadOnlyBuild::start(vec![(NodeId(0), home.clone())], placement, BuildConfig::default())?;
/// build.put(b"member:1", b"Ada")?;
/// let built = build.finish(&|_merged, _partitions| {})?;
///
/// let mut disk = home.disk()?;
/// swap_read_only(&mut disk, Some(built.version), &ReadOnlyConfig::default())?;
/// let store = ReadOnlyStore::open(&mut disk, ReadOnlyCheck::Everything)?;
/// assert_eq!(store.value(b"member:1")?.as_deref(), Some(&b"Ada"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadOnlyBuild<H: Home> {
    homes: Vec<(NodeId, H)>,
    placement: Placement,
    config: BuildConfig,
    version: u64,
    batch: Batch,
    records: u64,
    runs: Vec<Run>,
    spilling: Option<JoinHandle<Result<Run, DiskError>>>,
    spilled: usize,
}

impl<H: Home> ReadOnlyBuild<H> {
    /// Begins a new version in each node's folder. Nodes of the placement that aren't among `homes` are left out:
    /// somebody else builds for them.
    ///
    /// # Errors
    /// A setting is out of range, or a folder isn't in order.
    pub fn start(
        homes: Vec<(NodeId, H)>,
        placement: Placement,
        config: BuildConfig,
    ) -> Result<Self, BuildError> {
        let wrong = |why: &str| Err(BuildError::Setting { why: why.to_owned() });
        if homes.is_empty() {
            return wrong("there is no node to build for");
        }
        if config.memory_bytes < 1 << 20 {
            return wrong("memory_bytes is at least 1 MiB");
        }
        if !(1..1 << 31).contains(&config.chunk_bytes) {
            return wrong("chunk_bytes is at least 1 and below 2 GiB");
        }
        let mut version = 0;
        for (_, home) in &homes {
            version = version.max(version_writer::next_version(&mut home.disk()?)?);
        }
        for (_, home) in &homes {
            version_writer::begin(&mut home.disk()?, version)?;
        }
        Ok(Self {
            homes,
            placement,
            config,
            version,
            batch: Batch::default(),
            records: 0,
            runs: Vec::new(),
            spilling: None,
            spilled: 0,
        })
    }

    /// The number of the version that is being built.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Adds a record. Of several with the same key the last one counts.
    ///
    /// # Errors
    /// It is too long, or what gathered before can't be spilled.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        self.add(key, Some(value))
    }

    /// Takes back what was given for a key so far; of a stream of changes, the state at its end is built.
    ///
    /// # Errors
    /// It is too long, or what gathered before can't be spilled.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), BuildError> {
        self.add(key, None)
    }

    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), BuildError> {
        self.records += 1;
        let record = self.records;
        if key.len() > KEY_BYTES_MAX {
            return Err(BuildError::KeyTooLong { record, len: key.len() });
        }
        if let Some(value) = value.filter(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(BuildError::ValueTooLong { record, len: value.len() });
        }
        let partition = partition_of(key_hash(key), self.placement.partitions());
        self.batch.push(partition, record, key, value);
        // One batch gathers while another one is being sorted.
        if self.batch.memory_bytes() >= self.config.memory_bytes / 2 { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), BuildError> {
        self.await_spill()?;
        let batch = std::mem::take(&mut self.batch);
        let path = format!("{}/run-{}", version_writer::dir(self.version), self.spilled);
        self.spilled += 1;
        let home = self.homes[0].1.clone();
        let work = move || batch.spill(&mut home.disk()?, path);
        if self.config.threads == 0 {
            self.runs.push(work()?);
        } else {
            let thread = std::thread::Builder::new().name("read-only-sort".to_owned());
            #[expect(clippy::disallowed_methods, reason = "an edge: the build's own threads")]
            let thread = thread.spawn(work).map_err(|e| BuildError::Thread { why: e.to_string() })?;
            self.spilling = Some(thread);
        }
        Ok(())
    }

    fn await_spill(&mut self) -> Result<(), BuildError> {
        if let Some(thread) = self.spilling.take() {
            let ended = thread.join().map_err(|_| BuildError::Thread { why: "it panicked".to_owned() })?;
            self.runs.push(ended?);
        }
        Ok(())
    }

    /// Merges what was given and gives the version its name on every node; `progress` is told how many partitions of
    /// how many are merged. After this the version is whole and on the disk; it is served after a swap.
    ///
    /// # Errors
    /// A disk failed, or the records don't fit the format. No node has a version more then, or some do and nobody
    /// serves it.
    pub fn finish(mut self, progress: &(dyn Fn(u32, u32) + Sync)) -> Result<Built, BuildError> {
        if !self.batch.is_empty() {
            self.spill()?;
        }
        self.await_spill()?;
        let merge = Merge {
            homes: &self.homes,
            placement: &self.placement,
            runs: &self.runs,
            dir: version_writer::dir(self.version),
            chunk_bytes: self.config.chunk_bytes,
            synced: !planted!(self.config, BuildUnsynced),
            next: AtomicU32::new(0),
            done: AtomicU32::new(0),
            progress,
        };
        let merged = merge.run(self.config.threads)?;
        let synced = merge.synced;
        let mut disk = self.homes[0].1.disk()?;
        for run in &self.runs {
            disk.run(Op::Remove { path: run.path.clone() })?;
        }
        let mut nodes = Vec::new();
        for (node, home) in &self.homes {
            let manifest = manifest_of(*node, &self.placement, &merged);
            version_writer::seal(&mut home.disk()?, self.version, &manifest, synced)?;
            let bytes = manifest.files.iter().map(|file| file.len).sum();
            nodes.push(BuiltNode { node: *node, keys: manifest.keys, bytes });
        }
        Ok(Built {
            version: self.version,
            records: self.records,
            replaced: merged.iter().map(|(_, m)| m.replaced).sum(),
            runs: self.runs.len(),
            nodes,
        })
    }
}

/// What a node holds: the copies of it that it has a part in.
fn manifest_of(node: NodeId, placement: &Placement, merged: &[(u32, Merged)]) -> Manifest {
    let mut files: Vec<FileEntry> = Vec::new();
    let mut keys = 0;
    for (partition, merged) in merged {
        let place = placement.lists[*partition as usize].iter().position(|holder| *holder == node);
        if let Some(replica) = place {
            keys += merged.keys;
            files.extend(entries(merged, *partition, u16::try_from(replica).expect("a copy a node")));
        }
    }
    files.sort_unstable();
    Manifest { partitions: placement.partitions(), keys, files }
}

/// The merging of all partitions.
struct Merge<'a, H> {
    homes: &'a [(NodeId, H)],
    placement: &'a Placement,
    runs: &'a [Run],
    dir: String,
    chunk_bytes: u64,
    synced: bool,
    next: AtomicU32,
    done: AtomicU32,
    progress: &'a (dyn Fn(u32, u32) + Sync),
}

impl<H: Home> Merge<'_, H> {
    /// All partitions, each with what became of it, in no order.
    fn run(&self, threads: usize) -> Result<Vec<(u32, Merged)>, BuildError> {
        if threads == 0 {
            return self.work();
        }
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let result = self.work();
                    if result.is_err() {
                        // The others have nothing to gain by going on.
                        self.next.store(self.placement.partitions(), Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// Merges partitions as long as there are some that nobody took.
    fn work(&self) -> Result<Vec<(u32, Merged)>, BuildError> {
        let mut runs_disk = self.homes[0].1.disk()?;
        let mut disks = self.homes.iter().map(|(_, home)| home.disk()).collect::<Result<Vec<_>, _>>()?;
        let mut merged = Vec::new();
        loop {
            let partition = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(holders) = self.placement.lists.get(partition as usize) else { return Ok(merged) };
            let mut copies: Vec<Copy<'_, H::Disk>> = Vec::new();
            for ((node, _), disk) in self.homes.iter().zip(&mut disks) {
                if let Some(replica) = holders.iter().position(|holder| holder == node) {
                    let replica = u16::try_from(replica).expect("a copy a node");
                    copies.push(Copy { disk, dir: &self.dir, replica });
                }
            }
            if !copies.is_empty() {
                let one = merge_partition(
                    self.runs,
                    &mut runs_disk,
                    &mut copies,
                    partition,
                    self.chunk_bytes,
                    self.synced,
                )?;
                merged.push((partition, one));
            }
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            (self.progress)(done, self.placement.partitions());
        }
    }
}
