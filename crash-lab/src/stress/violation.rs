//! [`Violation`]: an invariant that a folder breaks, as a sentence that names the token, its line and what was found.

use std::fmt;

use super::clock::Clock;
use super::token::{Key, Partition, RecordId, Token, ValueCrc};

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    /// The token file.
    pub file: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The token.
    pub token: Token,
}

impl fmt::Display for Cited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}:{})", self.token, self.file, self.line)
    }
}

/// A version in the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its clock.
    pub clock: Clock,
    /// Checksum of the bytes that were read.
    pub value: ValueCrc,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.clock)
    }
}

/// A record in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its offset.
    pub offset: u64,
    /// Its name.
    pub id: RecordId,
    /// Checksum of the bytes that were read.
    pub value: ValueCrc,
}

/// What a folder breaks. The names K1 to K4, L1 to L3 and L12 are explained in `docs/crash.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// K1: an acknowledged put is gone, and nothing newer or deleted explains it.
    PutLost {
        /// The put.
        put: Cited,
        /// The versions that the key has.
        found: Vec<Found>,
    },
    /// K1: the acknowledged version is there with other bytes.
    WrongValue {
        /// The put.
        put: Cited,
        /// What the dump read.
        found: Found,
    },
    /// K2: a version that an acknowledged delete covered is there.
    DeletedIsBack {
        /// The delete.
        del: Cited,
        /// What the dump read.
        found: Found,
    },
    /// K3: a version that nobody tried to write.
    PhantomVersion {
        /// The key.
        key: Key,
        /// What the dump read.
        found: Found,
        /// The attempted checksums of the same clock.
        attempted: Vec<ValueCrc>,
    },
    /// K4: two versions of one key of which one has seen the other.
    NotSiblings {
        /// The key.
        key: Key,
        /// The older, or the first of two with the same clock.
        older: Found,
        /// The newer.
        newer: Found,
    },
    /// L1: an acknowledged record is not in the partition.
    RecordLost {
        /// The append.
        app: Cited,
        /// What stands at its offset.
        at_offset: Option<FoundRecord>,
    },
    /// L1: an acknowledged record is at another offset than the acknowledgement said.
    RecordMoved {
        /// The append.
        app: Cited,
        /// Where the dump read it.
        offset: u64,
    },
    /// L1: a record's bytes are not those that were acknowledged.
    WrongRecord {
        /// The append.
        app: Cited,
        /// What the dump read.
        found: FoundRecord,
    },
    /// L2: a record is there more than once.
    RecordTwice {
        /// The partition.
        of: Partition,
        /// The record.
        id: RecordId,
        /// Two of its offsets.
        offsets: [u64; 2],
    },
    /// L2: two records have one offset.
    OffsetTwice {
        /// The partition.
        of: Partition,
        /// The offset.
        offset: u64,
        /// The records.
        ids: [RecordId; 2],
    },
    /// L2: offsets between the partition's ends have no record.
    Gap {
        /// The partition.
        of: Partition,
        /// First missing offset.
        from: u64,
        /// The offset after the last missing one.
        to: u64,
    },
    /// L2: records of one thread are not in the order in which it sent them.
    Disorder {
        /// The partition.
        of: Partition,
        /// The record that comes first.
        first: FoundRecord,
        /// The one behind it, which was sent before it.
        second: FoundRecord,
    },
    /// L2: a record outside the partition's ends, or ends that aren't told, or told twice.
    Ends {
        /// The partition.
        of: Partition,
        /// What is wrong with them.
        why: EndsFault,
    },
    /// L3: the partition ends at or before an acknowledged record.
    EndTooLow {
        /// The append.
        app: Cited,
        /// The partition's end.
        end: u64,
    },
    /// K3 for logs: a record that nobody tried to append.
    PhantomRecord {
        /// The partition.
        of: Partition,
        /// What the dump read.
        found: FoundRecord,
        /// The checksum that was attempted under this ID, if one was.
        attempted: Option<ValueCrc>,
    },
    /// L12: of a key in a compacted topic the latest record is gone, and an older one can be read.
    ReplacedIsBack {
        /// The latest acknowledged append of the key.
        app: Cited,
        /// The key's last record that the dump read.
        found: FoundRecord,
    },
    /// K8: two dumps of the folder, one after the other, differ.
    DumpsDiffer {
        /// The first line that only one of them has.
        line: String,
        /// Whether it was the first that had it.
        first: bool,
    },
}

/// What can be wrong with a partition's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndsFault {
    /// There is no `end` line.
    Missing,
    /// There are several.
    Twice,
    /// The end is before the start.
    Reversed,
    /// The partition begins later than anybody allowed.
    StartsAt {
        /// Where it starts.
        start: u64,
        /// The last offset at which it might.
        allowed: u64,
    },
    /// The partition begins before the start that readers were told.
    WentBack {
        /// Where it starts.
        start: u64,
        /// Where it was told to start.
        told: u64,
    },
    /// A record is outside.
    Outside(u64),
}

impl Violation {
    /// The invariant's name in `docs/crash.md`.
    #[must_use]
    pub fn invariant(&self) -> &'static str {
        match self {
            Self::PutLost { .. } | Self::WrongValue { .. } => "K1",
            Self::DeletedIsBack { .. } => "K2",
            Self::PhantomVersion { .. } => "K3",
            Self::NotSiblings { .. } => "K4",
            Self::DumpsDiffer { .. } => "K8",
            Self::RecordLost { .. } | Self::RecordMoved { .. } | Self::WrongRecord { .. } => "L1",
            Self::RecordTwice { .. }
            | Self::OffsetTwice { .. }
            | Self::Gap { .. }
            | Self::Disorder { .. }
            | Self::Ends { .. } => "L2",
            Self::EndTooLow { .. } => "L3",
            Self::PhantomRecord { .. } => "L1",
            Self::ReplacedIsBack { .. } => "L12",
        }
    }
}

fn list(found: &[Found]) -> String {
    if found.is_empty() {
        return "the key has no version".to_owned();
    }
    let versions: Vec<String> = found.iter().map(ToString::to_string).collect();
    format!("the key has {}", versions.join(" and "))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.invariant())?;
        match self {
            Self::PutLost { put, found } => write!(
                f,
                "acknowledged {put} is lost: {}, none descends from it, and no attempted delete covers it",
                list(found)
            ),
            Self::WrongValue { put, found } => {
                write!(f, "acknowledged {put} reads back with another value, checksum {}", found.value)
            }
            Self::DeletedIsBack { del, found } => {
                write!(f, "the key of acknowledged {del} has version {found} again, which the delete covers")
            }
            Self::PhantomVersion { key, found, attempted } => {
                write!(f, "key {key} has version {found}, which was never attempted")?;
                if attempted.is_empty() {
                    return Ok(());
                }
                let crcs: Vec<String> = attempted.iter().map(ToString::to_string).collect();
                write!(f, " (with this clock only the value {} was)", crcs.join(" or "))
            }
            Self::NotSiblings { key, older, newer } => {
                write!(f, "key {key} has version {older} beside {newer}, which has seen it")
            }
            Self::RecordLost { app, at_offset: None } => {
                write!(f, "acknowledged {app} is lost: no record has its ID, and none its offset")
            }
            Self::RecordLost { app, at_offset: Some(other) } => write!(
                f,
                "acknowledged {app} is lost: no record has its ID, and its offset holds {} {}",
                other.id, other.value
            ),
            Self::RecordMoved { app, offset } => {
                write!(f, "acknowledged {app} reads back at offset {offset}")
            }
            Self::WrongRecord { app, found } => {
                write!(f, "acknowledged {app} reads back with another value, checksum {}", found.value)
            }
            Self::RecordTwice { of, id, offsets: [a, b] } => {
                write!(f, "record {id} of {of} is there twice, at offsets {a} and {b}")
            }
            Self::OffsetTwice { of, offset, ids: [a, b] } => {
                write!(f, "offset {offset} of {of} holds two records, {a} and {b}")
            }
            Self::Gap { of, from, to } => {
                write!(
                    f,
                    "{of} has no record at offsets {from}..{to}, between its ends, and reports no damage there"
                )
            }
            Self::Disorder { of, first, second } => write!(
                f,
                "in {of} record {} at offset {} comes before {} at offset {}, which was sent earlier",
                first.id, first.offset, second.id, second.offset
            ),
            Self::Ends { of, why: EndsFault::Missing } => write!(f, "{of} has records but no end line"),
            Self::Ends { of, why: EndsFault::Twice } => write!(f, "{of} has two end lines"),
            Self::Ends { of, why: EndsFault::Reversed } => write!(f, "{of} ends before it starts"),
            Self::Ends { of, why: EndsFault::StartsAt { start, allowed: 0 } } => {
                write!(f, "{of} starts at offset {start}, but nothing before it was ever retired")
            }
            Self::Ends { of, why: EndsFault::StartsAt { start, allowed } } => {
                write!(
                    f,
                    "{of} starts at offset {start}, but only what lies below {allowed} was ever retired"
                )
            }
            Self::Ends { of, why: EndsFault::WentBack { start, told } } => {
                write!(
                    f,
                    "{of} starts at offset {start} again, though readers were told that it starts at {told}"
                )
            }
            Self::Ends { of, why: EndsFault::Outside(offset) } => {
                write!(f, "{of} has a record at offset {offset}, outside its ends")
            }
            Self::EndTooLow { app, end } => {
                write!(f, "the partition of acknowledged {app} ends at {end}, at or before that offset")
            }
            Self::PhantomRecord { of, found, attempted: None } => {
                write!(
                    f,
                    "{of} has record {} at offset {}, which was never attempted",
                    found.id, found.offset
                )
            }
            Self::PhantomRecord { of, found, attempted: Some(crc) } => write!(
                f,
                "{of} has record {} at offset {} with value {}, but only the value {crc} was attempted",
                found.id, found.offset, found.value
            ),
            Self::ReplacedIsBack { app, found } => write!(
                f,
                "acknowledged {app} is the latest of its key, but what it replaced can be read, record {} at offset {}, and \
                 nothing behind it",
                found.id, found.offset
            ),
            Self::DumpsDiffer { line, first } => {
                let which = if *first { "first" } else { "second" };
                write!(f, "two dumps in a row differ: only the {which} has `{line}`")
            }
        }
    }
}
