//! [`Manifest`]: what belongs to a version, with the length and CRC-32 of each file, and a checksum over all of it.
//!
//! The original has no such file: it leaves checksums to whoever transfers a version. A folder without one, of the
//! original's making or damaged, is refused.

use std::fmt::Write as _;

use super::bucket::Bucket;
use super::text_file;

/// Name of the file, in the version's folder.
pub(crate) const NAME: &str = ".manifest";
const HEAD: &str = "read-only 1";

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileEntry {
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) crc32: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// How many partitions the cluster has: with it a key's partition follows.
    pub(crate) partitions: u32,
    /// Keys in this version on this node.
    pub(crate) keys: u64,
    /// Ascending by name.
    pub(crate) files: Vec<FileEntry>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut lines = format!("{HEAD}\npartitions {}\nkeys {}\n", self.partitions, self.keys);
        for FileEntry { name, len, crc32 } in &self.files {
            let _ = writeln!(lines, "file {name} {len} {crc32:08x}");
        }
        text_file::seal(lines)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = text_file::open_seal(bytes)?;
        let mut lines = text.lines();
        match lines.next() {
            Some(HEAD) => {}
            other => return Err(format!("it begins with {other:?}, this build reads {HEAD:?}")),
        }
        let mut number = |key: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(key));
            line.and_then(|n| n.parse::<u64>().ok()).ok_or_else(|| format!("the line `{key}N` is missing"))
        };
        let partitions = number("partitions ")?;
        let partitions = u32::try_from(partitions).ok().filter(|p| (1..=65_536).contains(p));
        let partitions = partitions.ok_or("a ring has 1 to 65536 partitions")?;
        let keys = number("keys ")?;
        let mut files: Vec<FileEntry> = Vec::new();
        for line in lines {
            let file = file(line).ok_or_else(|| format!("the line {line:?} names no file of a version"))?;
            if files.last().is_some_and(|last| last.name >= file.name) {
                return Err(format!("{} isn't in its place", file.name));
            }
            files.push(file);
        }
        Ok(Self { partitions, keys, files })
    }
}

fn file(line: &str) -> Option<FileEntry> {
    let mut words = line.strip_prefix("file ")?.split(' ');
    let name = words.next().filter(|name| Bucket::parse(name).is_some())?.to_owned();
    let (len, crc) = (words.next()?, words.next()?);
    let entry = FileEntry { name, len: len.parse().ok()?, crc32: u32::from_str_radix(crc, 16).ok()? };
    words.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let entry = |name: &str| FileEntry { name: name.to_owned(), len: 1 << 33, crc32: 0xab };
        let files = vec![entry("0_0_0.data"), entry("0_0_0.index")];
        let manifest = Manifest { partitions: 12, keys: 7, files };
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }

    #[test]
    fn what_no_builder_writes_is_refused() {
        for (lines, why) in [
            ("read-only 2\n", "begins with"),
            ("read-only 1\nkeys 1\n", "partitions"),
            ("read-only 1\npartitions 0\nkeys 1\n", "1 to 65536"),
            ("read-only 1\npartitions 1\nkeys 1\nfile ../x 1 00000000\n", "names no file"),
            ("read-only 1\npartitions 1\nkeys 1\nfile 0_0_0.data 1 0 1\n", "names no file"),
            (
                "read-only 1\npartitions 1\nkeys 1\nfile 1_0_0.data 1 0\nfile 0_0_0.data 1 0\n",
                "isn't in its place",
            ),
        ] {
            let refused = Manifest::decode(&text_file::seal(lines.to_owned())).expect_err(lines);
            assert!(refused.contains(why), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_sealed_lines_never_panic(lines in "(read-only 1\n)?(partitions [0-9]{1,6}\n)?(keys 1\n)?[ -~\n]{0,60}") {
            let _ = Manifest::decode(&text_file::seal(lines));
        }
    }
}
