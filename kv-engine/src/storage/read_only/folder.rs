//! A store's folder: `latest` and the folders of versions.
//!
//! | name | what |
//! | --- | --- |
//! | `latest` | which version is served |
//! | `version-N` | a whole version: the name is given when everything in it is on the disk |
//! | `version-N.building` | one that is being built, or whose building was interrupted |
//! | `version-N.bak` | one that a rollback set aside |
//! | `version-N.removing` | one that is being removed |
//!
//! A number is never used twice, so no reader takes a new version for an old one.

use engine_env::{Disk, DiskError, DiskErrorKind, EntryKind, Op};

use super::latest::{self, Latest};
use super::text_file;

/// Why a folder can't be told to be a read-only store in good order.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadOnlyFolderError {
    /// The file that says which version is served is damaged.
    #[error("latest is damaged ({why}); remove it, then swap in a version that verifies")]
    LatestDamaged {
        /// What doesn't fit.
        why: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Whole,
    Building,
    SetAside,
    Removing,
}

pub(super) fn name(version: u64, state: State) -> String {
    let suffix = match state {
        State::Whole => "",
        State::Building => ".building",
        State::SetAside => ".bak",
        State::Removing => ".removing",
    };
    format!("version-{version}{suffix}")
}

fn parse(folder: &str) -> Option<(u64, State)> {
    let (number, _) = folder.strip_prefix("version-")?.split_once('.').unwrap_or((&folder[8..], ""));
    let version = number.parse().ok()?;
    let states = [State::Whole, State::Building, State::SetAside, State::Removing];
    states.into_iter().find(|state| name(version, *state) == folder).map(|state| (version, state))
}

/// What is in the folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) latest: Option<Latest>,
    /// Ascending by version.
    versions: Vec<(u64, State)>,
}

impl Folder {
    /// Looks, and makes durable what is seen: nothing is built on a name that a power cut could still take back.
    pub(super) fn look<D: Disk>(disk: &mut D) -> Result<Self, ReadOnlyFolderError> {
        disk.run(Op::SyncDir { dir: String::new() })?;
        let latest = match text_file::read(disk, latest::NAME)? {
            Some(bytes) => {
                Some(Latest::decode(&bytes).map_err(|why| ReadOnlyFolderError::LatestDamaged { why })?)
            }
            None => None,
        };
        let entries = disk.list("")?.into_iter().filter(|entry| entry.kind == EntryKind::Dir);
        let mut versions: Vec<_> = entries.filter_map(|entry| parse(&entry.name)).collect();
        versions.sort_by_key(|(version, _)| *version);
        Ok(Self { latest, versions })
    }

    fn in_state(&self, state: State) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.versions.iter().filter(move |(_, s)| *s == state).map(|(version, _)| *version)
    }

    /// Versions that may be served, ascending: those of an unfinished rollback not.
    pub(super) fn whole(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let set_aside = self.latest.as_ref().map_or(&[][..], |latest| &latest.set_aside);
        self.in_state(State::Whole).filter(|version| !set_aside.contains(version))
    }

    /// Versions that a rollback set aside, ascending.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = u64> + '_ {
        self.in_state(State::SetAside)
    }

    /// A number that was never used here.
    pub(super) fn next_version(&self) -> u64 {
        let served = self.latest.as_ref().map_or(0, |latest| latest.version);
        self.versions.iter().map(|(version, _)| *version).max().unwrap_or(0).max(served) + 1
    }

    /// Finishes what an interrupted operation began: a rollback, a removal, a building that nobody goes on with.
    pub(super) fn tidy<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        latest::remove_unfinished(disk)?;
        if let Some(latest) = &self.latest {
            for version in &latest.set_aside {
                if let Some((_, state)) = self.versions.iter_mut().find(|v| **v == (*version, State::Whole)) {
                    let (from, to) = (name(*version, State::Whole), name(*version, State::SetAside));
                    disk.run(Op::RenameDir { from, to })?;
                    *state = State::SetAside;
                }
            }
            disk.run(Op::SyncDir { dir: String::new() })?;
        }
        for (version, state) in &self.versions {
            if let State::Building | State::Removing = state {
                remove_dir(disk, &name(*version, *state))?;
            }
        }
        self.versions.retain(|(_, state)| matches!(state, State::Whole | State::SetAside));
        Ok(())
    }

    /// Removes whole versions and ones set aside. Each changes its name first, so that none is ever there in part.
    pub(super) fn remove<D: Disk>(&mut self, disk: &mut D, versions: &[u64]) -> Result<(), DiskError> {
        for (version, state) in self.versions.iter_mut().filter(|(version, _)| versions.contains(version)) {
            let to = name(*version, State::Removing);
            disk.run(Op::RenameDir { from: name(*version, *state), to: to.clone() })?;
            disk.run(Op::SyncDir { dir: String::new() })?;
            *state = State::Removing;
            remove_dir(disk, &to)?;
        }
        self.versions.retain(|(_, state)| *state != State::Removing);
        Ok(())
    }
}

/// Removes a folder of ours with its files. It has no folders in it.
fn remove_dir<D: Disk>(disk: &mut D, dir: &str) -> Result<(), DiskError> {
    for entry in disk.list(dir)? {
        disk.run(Op::Remove { path: format!("{dir}/{}", entry.name) })?;
    }
    disk.run(Op::RemoveDir { dir: dir.to_owned() })?;
    Ok(())
}

pub(super) fn remove_if_there<D: Disk>(disk: &mut D, path: &str) -> Result<(), DiskError> {
    match disk.run(Op::Remove { path: path.to_owned() }) {
        Err(error) if error.kind != DiskErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_by_their_names() {
        assert_eq!(parse("version-12"), Some((12, State::Whole)));
        assert_eq!(parse("version-12.bak"), Some((12, State::SetAside)));
        assert_eq!(parse("version-12.building"), Some((12, State::Building)));
        for other in ["version-", "version-012", "version-1.old", "version-1.bak.bak", "latest", "version--1"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
