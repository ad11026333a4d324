//! The folder of a version that is being built: begun under a name that nobody serves, given its name at the end.

use engine_env::{Disk, DiskError, File as _, Op};

use super::folder::{self, Folder, ReadOnlyFolderError, State};
use super::manifest::{self, Manifest};
use super::text_file;
use super::version::{METADATA, METADATA_CONTENT};

/// Puts a folder in order and tells the first version number that was never used there.
pub(crate) fn next_version<D: Disk>(disk: &mut D) -> Result<u64, ReadOnlyFolderError> {
    let mut folder = Folder::look(disk)?;
    let next = folder.next_version();
    folder.tidy(disk)?;
    Ok(next)
}

/// The folder of a version that is being built.
pub(crate) fn dir(version: u64) -> String {
    folder::name(version, State::Building)
}

/// Makes the folder of a new version.
pub(crate) fn begin<D: Disk>(disk: &mut D, version: u64) -> Result<(), DiskError> {
    disk.run(Op::CreateDir { dir: dir(version) }).map(drop)
}

/// Makes a version whole: its files are written and synced; now come the manifest, the names, and the version's own name.
///
/// Only a planted bug leaves out the sync.
pub(crate) fn seal<D: Disk>(
    disk: &mut D,
    version: u64,
    manifest: &Manifest,
    synced: bool,
) -> Result<(), DiskError> {
    let building = dir(version);
    for (name, bytes) in [(METADATA, METADATA_CONTENT.into()), (manifest::NAME, manifest.encode())] {
        let file = text_file::create(disk, &format!("{building}/{name}"), &bytes)?;
        if synced {
            file.sync_now()?;
        }
    }
    disk.run(Op::SyncDir { dir: building.clone() })?;
    disk.run(Op::RenameDir { from: building, to: folder::name(version, State::Whole) })?;
    disk.run(Op::SyncDir { dir: String::new() })?;
    Ok(())
}
