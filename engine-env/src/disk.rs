//! [`Disk`]: submit operations, reap completions. [`File`]: the few operations that run on the caller's thread.
//!
//! Invariants every backend keeps, and the conformance suite checks:
//!
//! * Buffers are owned: an operation takes its buffer and the completion gives it back.
//! * Operations that are in flight together complete in any order. Whoever needs an order waits for a completion.
//! * A sync covers every write of that file that had *completed* before the sync was submitted, no other.
//! * After a failed write or sync the file is poisoned: later writes and syncs of it fail with
//!   [`DiskErrorKind::Poisoned`](crate::DiskErrorKind::Poisoned). Reads still work. Nothing is retried. The one
//!   exception: a write without a sync that finds the file system full doesn't poison; a prefix may be written.
//! * A created, renamed or removed name is durable after [`Op::SyncDir`] of its directory, not before.
//! * A write either completes whole or fails; short writes and interrupted calls are the backend's business.
//! * Dropping a disk finishes what is in flight. Its completions are lost, its effects are not.

use std::sync::Arc;
use std::time::Duration;

use crate::DiskError;
use crate::SealedBytes;

/// Names an operation between submit and completion; chosen by the submitter, unique among those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Whether a write is on stable storage when it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteSync {
    /// Handed to the kernel: survives the death of this process, not a power cut.
    None,
    /// On stable storage with all metadata needed to read it back (`RWF_DSYNC`).
    Data,
}

/// How [`Op::Open`] treats a file that is there, or isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// Open for reading and writing; it must exist.
    Existing,
    /// Create; it must not exist.
    CreateNew,
    /// Open what is there, else create.
    OpenOrCreate,
}

/// An operation. Paths are relative to the disk's root, with `/` between components; `""` is the root itself.
#[derive(Debug)]
pub enum Op<F> {
    /// Open a file. Completes with [`Outcome::Opened`].
    Open {
        /// Path of the file.
        path: String,
        /// What to do when it exists or doesn't.
        how: OpenHow,
    },
    /// The entries of a directory, sorted by name. Completes with [`Outcome::Listed`].
    List {
        /// Path of the directory.
        dir: String,
    },
    /// Create a directory; fine if it is there already.
    CreateDir {
        /// Path of the directory.
        dir: String,
    },
    /// Rename a file (not a directory), replacing what has the new name.
    Rename {
        /// Old path.
        from: String,
        /// New path.
        to: String,
    },
    /// Remove a file's name. Open handles go on working.
    Remove {
        /// Path of the file.
        path: String,
    },
    /// Give a directory another name, which must be free. What is below it goes along, also when the power is cut:
    /// the directory is under its old name or under its new one, whole.
    RenameDir {
        /// Old path.
        from: String,
        /// New path.
        to: String,
    },
    /// Remove a directory, which must be empty.
    RemoveDir {
        /// Path of the directory.
        dir: String,
    },
    /// Make the names in a directory durable.
    SyncDir {
        /// Path of the directory.
        dir: String,
    },
    /// Read into `buf`, whose length says how much is wanted; fewer bytes come only at the file's end.
    /// Completes with [`Outcome::Read`].
    Read {
        /// The file.
        file: F,
        /// Byte position.
        at: u64,
        /// Where to; handed back in [`Done::buf`].
        buf: Vec<u8>,
    },
    /// Write all of `buf`.
    Write {
        /// The file.
        file: F,
        /// Byte position.
        at: u64,
        /// What; handed back in [`Done::buf`].
        buf: Vec<u8>,
        /// Whether completion means durable.
        sync: WriteSync,
    },
    /// Make the file's data and length durable (`fdatasync`).
    Sync {
        /// The file.
        file: F,
    },
    /// Write real zeros (not a hole, not an unwritten extent), so that later overwrites change no metadata.
    ZeroFill {
        /// The file.
        file: F,
        /// First byte.
        at: u64,
        /// How many bytes.
        len: u64,
    },
    /// Set the file's length.
    Truncate {
        /// The file.
        file: F,
        /// New length in bytes.
        len: u64,
    },
}

/// What kind of thing a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else.
    Other,
}

/// A directory entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name without its directory.
    pub name: String,
    /// File or directory.
    pub kind: EntryKind,
}

/// What a successful operation gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome<F> {
    /// [`Op::Open`]: the handle, and the file's length at that moment.
    Opened {
        /// The handle. Dropping the last clone closes the file.
        file: F,
        /// Length in bytes.
        len: u64,
    },
    /// [`Op::List`].
    Listed(Vec<Entry>),
    /// [`Op::Read`]: how many bytes were read.
    Read(usize),
    /// Every other operation.
    Finished,
}

/// A completion.
#[derive(Debug)]
pub struct Done<F> {
    /// The operation's name.
    pub id: OpId,
    /// What it gave, or why it failed.
    pub result: Result<Outcome<F>, DiskError>,
    /// The operation's buffer, for reads and writes.
    pub buf: Option<Vec<u8>>,
}

/// How long [`Disk::reap`] may wait for a first completion or wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// At most this long.
    AtMost(Duration),
    /// Until there is one.
    Forever,
}

/// Ends a [`Disk::reap`] that waits, from any thread. A wake that comes before the wait isn't lost.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that runs `wake`.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Ends the wait.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// Whether [`File::read_now`] may wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadHow {
    /// Only what is in memory already; otherwise [`ReadNow::NotCached`].
    CachedOnly,
    /// Wait for the device if need be.
    MayBlock,
}

/// What [`File::read_now`] gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadNow {
    /// That many bytes; fewer than asked for only at the file's end.
    Read(usize),
    /// The bytes aren't in the page cache: submit an [`Op::Read`], or ask again with [`ReadHow::MayBlock`].
    NotCached,
}

/// An open file: cheap to clone, closed when the last clone is gone, usable from any thread.
#[expect(
    clippy::len_without_is_empty,
    reason = "asking is a system call that can fail; callers compare the length"
)]
pub trait File: Clone + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// Writes all of `bytes` on the caller's thread.
    ///
    /// With [`WriteSync::None`] this is the path of `os` durability: on return the kernel has the bytes.
    ///
    /// # Errors
    /// The write failed, and the file is now poisoned; or it was poisoned before.
    fn write_now(&self, at: u64, bytes: &[u8], sync: WriteSync) -> Result<(), DiskError>;

    /// Reads into `into` on the caller's thread.
    ///
    /// # Errors
    /// The device failed to read.
    fn read_now(&self, at: u64, into: &mut [u8], how: ReadHow) -> Result<ReadNow, DiskError>;

    /// Reads what stands at `at` into `first`, and what follows it into `then`, on the caller's thread: one call where
    /// the system has it. So the part that is kept needn't be copied out of the whole.
    ///
    /// # Errors
    /// The device failed to read.
    fn read_parts_now(
        &self,
        at: u64,
        first: &mut [u8],
        then: &mut [u8],
        how: ReadHow,
    ) -> Result<ReadNow, DiskError> {
        read_in_turn(self, at, first, then, how)
    }

    /// `fdatasync` on the caller's thread.
    ///
    /// # Errors
    /// The sync failed, and the file is now poisoned; or it was poisoned before.
    fn sync_now(&self) -> Result<(), DiskError>;

    /// Maps a file that nobody will write, truncate or reuse again while the map or a slice of it lives.
    ///
    /// A device error under a map kills the process with `SIGBUS`; [`File::read_now`] reports it instead.
    ///
    /// # Errors
    /// The file can't be mapped.
    fn map_sealed(&self) -> Result<SealedBytes, DiskError>;

    /// Length in bytes now.
    ///
    /// # Errors
    /// The file system can't say.
    fn len(&self) -> Result<u64, DiskError>;

    /// Path below the disk's root at the time of opening, for messages.
    fn path(&self) -> &str;
}

/// [`File::read_parts_now`] as two reads.
pub(crate) fn read_in_turn<F: File>(
    file: &F,
    at: u64,
    first: &mut [u8],
    then: &mut [u8],
    how: ReadHow,
) -> Result<ReadNow, DiskError> {
    match file.read_now(at, first, how)? {
        ReadNow::Read(read) if read == first.len() => {
            Ok(match file.read_now(at + read as u64, then, how)? {
                ReadNow::Read(more) => ReadNow::Read(read + more),
                ReadNow::NotCached => ReadNow::NotCached,
            })
        }
        short => Ok(short),
    }
}

/// A folder's disk, owned by one thread.
pub trait Disk: 'static {
    /// Its handles.
    type File: File;

    /// Hands an operation over. Never fails: errors come with the completion. Operations on names and directories
    /// may run on the calling thread; the others may start only with the next [`Disk::reap`]. Dropping the disk
    /// finishes what is in flight.
    fn submit(&mut self, id: OpId, op: Op<Self::File>);

    /// Appends completions to `out`, waiting for the first one as `wait` says. A wake ends the wait early.
    fn reap(&mut self, wait: Wait, out: &mut Vec<Done<Self::File>>);

    /// Ends a waiting [`Disk::reap`] from any thread.
    fn waker(&self) -> Waker;

    /// Runs one operation to its end: for opening, recovery and maintenance, where nothing else is in flight.
    ///
    /// # Errors
    /// The operation's own.
    ///
    /// # Panics
    /// If another operation is in flight on this disk: its completion would be lost.
    fn run(&mut self, op: Op<Self::File>) -> Result<Outcome<Self::File>, DiskError> {
        self.run_with_buf(op).0
    }

    /// Like [`Disk::run`], and gives the buffer back.
    ///
    /// # Panics
    /// If another operation is in flight on this disk.
    #[expect(clippy::type_complexity, reason = "what a completion holds, without its name")]
    fn run_with_buf(
        &mut self,
        op: Op<Self::File>,
    ) -> (Result<Outcome<Self::File>, DiskError>, Option<Vec<u8>>) {
        const ID: OpId = OpId(u64::MAX - 1);
        self.submit(ID, op);
        let mut done = Vec::with_capacity(1);
        while done.is_empty() {
            self.reap(Wait::Forever, &mut done);
        }
        let one = done.pop().expect("the loop above ends with a completion");
        assert!(one.id == ID && done.is_empty(), "run() found another operation in flight on this disk");
        (one.result, one.buf)
    }

    /// [`Disk::run`] of an [`Op::Open`].
    ///
    /// # Errors
    /// The file can't be opened or created.
    fn open(&mut self, path: &str, how: OpenHow) -> Result<(Self::File, u64), DiskError> {
        match self.run(Op::Open { path: path.to_owned(), how })? {
            Outcome::Opened { file, len } => Ok((file, len)),
            other => unreachable!("open completed with {other:?}"),
        }
    }

    /// [`Disk::run`] of an [`Op::List`].
    ///
    /// # Errors
    /// The directory can't be read.
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, DiskError> {
        match self.run(Op::List { dir: dir.to_owned() })? {
            Outcome::Listed(entries) => Ok(entries),
            other => unreachable!("list completed with {other:?}"),
        }
    }

    /// Reads `len` bytes at `at`, or fewer at the file's end.
    ///
    /// # Errors
    /// The device failed to read.
    fn read(&mut self, file: &Self::File, at: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let (result, buf) = self.run_with_buf(Op::Read { file: file.clone(), at, buf: vec![0; len] });
        let Outcome::Read(n) = result? else { unreachable!("a read completed without a count") };
        let mut buf = buf.expect("a read gives its buffer back");
        buf.truncate(n);
        Ok(buf)
    }
}

/// A folder that several threads may have disks of, all under one lock.
pub trait Home: Clone + Send + Sync + 'static {
    /// What it hands out. Built inside the thread that uses it.
    type Disk: Disk;

    /// A disk rooted at this folder, for the calling thread.
    ///
    /// # Errors
    /// The machine refuses (descriptors, memory, io_uring).
    fn disk(&self) -> Result<Self::Disk, DiskError>;
}

/// The file type of a [`Home`].
pub type FileOf<H> = <<H as Home>::Disk as Disk>::File;
