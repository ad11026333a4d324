//! [`Bucket`]: a part of a version with files of its own, and how these are named.

use std::fmt;

/// One copy of one chunk of one partition. Its files are `PARTITION_REPLICA_CHUNK.index` and `.data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket {
    /// The master partition of its keys.
    pub(super) partition: u32,
    /// Which copy: the place of the node that holds it in the partition's preference list.
    pub(super) replica: u16,
    /// Which of the partition's chunks.
    pub(super) chunk: u32,
}

/// The two files of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Data,
    Index,
}

impl Bucket {
    pub(super) fn file(self, part: Part) -> String {
        let suffix = match part {
            Part::Data => "data",
            Part::Index => "index",
        };
        format!("{self}.{suffix}")
    }

    /// The bucket and part that a file's name says, if it is one that [`Bucket::file`] gives.
    pub(super) fn parse(file: &str) -> Option<(Self, Part)> {
        let (stem, suffix) = file.split_once('.')?;
        let part = match suffix {
            "data" => Part::Data,
            "index" => Part::Index,
            _ => return None,
        };
        let mut numbers = stem.split('_');
        let bucket = Self {
            partition: numbers.next()?.parse().ok()?,
            replica: numbers.next()?.parse().ok()?,
            chunk: numbers.next()?.parse().ok()?,
        };
        // One spelling a name: no signs, no zeros in front, nothing behind.
        (numbers.next().is_none() && bucket.file(part) == file).then_some((bucket, part))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.partition, self.replica, self.chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_in_no_other_spelling() {
        let bucket = Bucket { partition: 11, replica: 2, chunk: 0 };
        assert_eq!(bucket.file(Part::Data), "11_2_0.data");
        assert_eq!(Bucket::parse("11_2_0.index"), Some((bucket, Part::Index)));
        for other in ["11_2.index", "11_2_0", "011_2_0.data", "+1_2_0.data", "1_2_0_0.data", "1_70000_0.data"]
        {
            assert_eq!(Bucket::parse(other), None, "{other}");
        }
    }
}
