//! The store's folder: the `FORMAT` file that says whose it is and which version.

use engine_env::{Disk, DiskError, DiskErrorKind, Op, OpenHow, WriteSync};

use crate::storage::OpenError;

const FORMAT: &str = "FORMAT";
const FORMAT_UNFINISHED: &str = "FORMAT.tmp";
const CONTENT: &str = "kv-engine 2";
/// Belongs to the disk layer.
const LOCK: &str = "LOCK";
/// Longer than any version's line; a longer file isn't ours.
const CONTENT_BYTES_MAX: u64 = 64;

/// Checks that the folder is a store that this build reads, or makes it one if it is empty. Whatever else it holds
/// stays untouched.
pub(super) fn check_or_create<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    match disk.open(FORMAT, OpenHow::Existing) {
        Ok((file, len)) => {
            let len = usize::try_from(len.min(CONTENT_BYTES_MAX)).expect("at most 64");
            let found = String::from_utf8_lossy(&disk.read(&file, 0, len)?).trim_end().to_owned();
            if found == CONTENT {
                // A killed process may have left the name in the cache alone; nothing is built on it before it is
                // on the disk.
                sync_dir(disk)?;
                return Ok(());
            }
            Err(OpenError::Format { file: FORMAT.to_owned(), found, expected: CONTENT.to_owned() })
        }
        Err(error) if error.kind == DiskErrorKind::NotFound => create(disk),
        Err(error) => Err(error.into()),
    }
}

fn create<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    if let Some(other) = disk.list("")?.into_iter().find(|e| e.name != LOCK && e.name != FORMAT_UNFINISHED) {
        return Err(OpenError::NotAStore { file: other.name });
    }
    let (file, len) = disk.open(FORMAT_UNFINISHED, OpenHow::OpenOrCreate)?;
    if len > 0 {
        disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
    }
    let line = format!("{CONTENT}\n").into_bytes();
    disk.run(Op::Write { file: file.clone(), at: 0, buf: line, sync: WriteSync::None })?;
    disk.run(Op::Sync { file })?;
    disk.run(Op::Rename { from: FORMAT_UNFINISHED.to_owned(), to: FORMAT.to_owned() })?;
    sync_dir(disk)?;
    Ok(())
}

/// Makes the folder's names durable.
pub(super) fn sync_dir<D: Disk>(disk: &mut D) -> Result<(), DiskError> {
    disk.run(Op::SyncDir { dir: String::new() }).map(drop)
}
