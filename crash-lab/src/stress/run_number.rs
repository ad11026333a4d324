//! The number of a writer's run, durable in the folder before the run's first operation, so that no two runs on one
//! folder ever use the same ID, even when they are killed at once.

use engine_env::{Disk, DiskError, DiskErrorKind, Op, OpenHow, WriteSync};

/// Beside the engine's files; engines leave names alone that aren't theirs.
pub(super) const FILE: &str = "stress-run";
const NEXT: &str = "stress-run.next";

/// The run's number can't be read or moved on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunNumberError {
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file holds something else.
    #[error(
        "{FILE} holds {text:?} instead of a run number; if no earlier output for this folder matters, remove the folder"
    )]
    Damaged {
        /// What it holds.
        text: String,
    },
}

/// Moves the number on by one and returns it once it is durable. The first run is 1.
pub(super) fn advance(disk: &mut impl Disk) -> Result<u64, RunNumberError> {
    let last = match disk.open(FILE, OpenHow::Existing) {
        Err(e) if e.kind == DiskErrorKind::NotFound => 0,
        Err(e) => return Err(e.into()),
        Ok((file, _)) => {
            let bytes = disk.read(&file, 0, 64)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let number = text.strip_suffix('\n').and_then(super::number::<u64>);
            number.filter(|&n| n < u64::from(u32::MAX)).ok_or(RunNumberError::Damaged { text })?
        }
    };
    let run = last + 1;
    let (file, _) = disk.open(NEXT, OpenHow::OpenOrCreate)?;
    disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
    let buf = format!("{run}\n").into_bytes();
    disk.run(Op::Write { file: file.clone(), at: 0, buf, sync: WriteSync::Data })?;
    disk.run(Op::Sync { file })?;
    disk.run(Op::Rename { from: NEXT.to_owned(), to: FILE.to_owned() })?;
    disk.run(Op::SyncDir { dir: String::new() })?;
    Ok(run)
}

#[cfg(test)]
mod tests {
    use engine_env::{Backend, Home, OsHome};

    use super::*;

    #[test]
    fn runs_count_from_one_and_a_damaged_number_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = OsHome::open(dir.path(), Backend::Blocking).expect("an empty folder");
        let mut disk = home.disk().expect("a disk");
        assert_eq!(advance(&mut disk).expect("first"), 1);
        assert_eq!(advance(&mut disk).expect("second"), 2);
        // Killed between writing the next number and renaming it: the number was never used.
        std::fs::write(dir.path().join(NEXT), "999999").expect("a stray file");
        assert_eq!(advance(&mut disk).expect("third"), 3);
        std::fs::write(dir.path().join(FILE), "x\n").expect("damage");
        assert!(matches!(advance(&mut disk), Err(RunNumberError::Damaged { text }) if text == "x\n"));
    }
}
