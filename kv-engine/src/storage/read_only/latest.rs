//! [`Latest`]: which version is served. The one file whose replacement is the swap.
//!
//! The original has a symbolic link here. A file can also say which versions a rollback sets aside, so that one that
//! was interrupted is finished later and never serves them again.

use engine_env::{Disk, DiskError, File as _, Op};

use super::text_file;

/// Name of the file, in the store's folder.
pub(super) const NAME: &str = "latest";
const UNFINISHED: &str = "latest.tmp";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) version: u64,
    /// Newer versions that a rollback sets aside: they end as `version-N.bak`.
    pub(super) set_aside: Vec<u64>,
}

impl Latest {
    fn encode(&self) -> Vec<u8> {
        let mut lines = format!("version-{}\n", self.version);
        self.set_aside.iter().for_each(|n| lines.push_str(&format!("set-aside version-{n}\n")));
        text_file::seal(lines)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = text_file::open_seal(bytes)?.lines();
        let number = |line: &str, before: &str| {
            let number = line.strip_prefix(before).and_then(|n| n.parse().ok());
            number.ok_or_else(|| format!("{line:?} is no version"))
        };
        let version = number(lines.next().unwrap_or_default(), "version-")?;
        let set_aside = lines.map(|line| number(line, "set-aside version-")).collect::<Result<_, _>>()?;
        Ok(Self { version, set_aside })
    }

    /// Makes this what the store's folder says, durably: before or after a crash it says this or what it said before.
    ///
    /// Only a planted bug leaves out the sync.
    pub(super) fn install<D: Disk>(&self, disk: &mut D, synced: bool) -> Result<(), DiskError> {
        remove_unfinished(disk)?;
        let file = text_file::create(disk, UNFINISHED, &self.encode())?;
        if synced {
            file.sync_now()?;
        }
        disk.run(Op::Rename { from: UNFINISHED.to_owned(), to: NAME.to_owned() })?;
        disk.run(Op::SyncDir { dir: String::new() })?;
        Ok(())
    }
}

/// Removes what an interrupted [`Latest::install`] left.
pub(super) fn remove_unfinished<D: Disk>(disk: &mut D) -> Result<(), DiskError> {
    super::folder::remove_if_there(disk, UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        for set_aside in [vec![], vec![4, 5]] {
            let latest = Latest { version: 3, set_aside };
            assert_eq!(Latest::decode(&latest.encode()), Ok(latest));
        }
        let sealed = |lines: &str| Latest::decode(&text_file::seal(lines.to_owned()));
        for other in ["", "version-\n", "version-1\nversion-2\n", "version--1\n"] {
            assert!(sealed(other).is_err(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, lines in "(version-[0-9]{0,20}\n)?[ -~\n]{0,40}") {
            let _ = (Latest::decode(&bytes), Latest::decode(&text_file::seal(lines)));
        }
    }
}
