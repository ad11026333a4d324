//! The `FORMAT` file of a log's folder: one line that says what the folder is, written before anything else.

use engine_env::{Disk, DiskError, DiskErrorKind, EntryKind, Op, OpenHow, WriteSync};

use crate::OpenError;

/// The file.
pub(crate) const FILE: &str = "FORMAT";
/// Its name while it is written.
const UNFINISHED: &str = "FORMAT.new";
/// What it says.
pub(crate) const LINE: &str = "log-engine 1";
/// More of a foreign file isn't worth reading.
const LINE_LEN_MAX: usize = 100;

/// Checks that the folder is a log of this version, or makes an empty one into such.
pub(crate) fn check<D: Disk>(disk: &mut D) -> Result<(), OpenError> {
    let entries = disk.list("")?;
    if entries.iter().any(|e| e.name == FILE && e.kind == EntryKind::File) {
        let (file, _) = disk.open(FILE, OpenHow::Existing)?;
        let bytes = disk.read(&file, 0, LINE_LEN_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let found = text.lines().next().unwrap_or_default();
        if found != LINE {
            return Err(OpenError::Format {
                file: FILE.to_owned(),
                found: found.to_owned(),
                expected: LINE.to_owned(),
            });
        }
        // A creation that was cut off may have left the name unsynced.
        disk.run(Op::SyncDir { dir: String::new() })?;
        return Ok(());
    }
    if let Some(foreign) = entries.iter().find(|e| e.name != "LOCK" && e.name != UNFINISHED) {
        return Err(OpenError::NotALog { found: foreign.name.clone() });
    }
    create(disk)?;
    Ok(())
}

fn create<D: Disk>(disk: &mut D) -> Result<(), DiskError> {
    match disk.run(Op::Remove { path: UNFINISHED.to_owned() }) {
        Ok(_) => {}
        Err(error) if error.kind == DiskErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (file, _) = disk.open(UNFINISHED, OpenHow::CreateNew)?;
    let line = format!("{LINE}\n").into_bytes();
    disk.run(Op::Write { file, at: 0, buf: line, sync: WriteSync::Data })?;
    disk.run(Op::Rename { from: UNFINISHED.to_owned(), to: FILE.to_owned() })?;
    disk.run(Op::SyncDir { dir: String::new() })?;
    Ok(())
}
