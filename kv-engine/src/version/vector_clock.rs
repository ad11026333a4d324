//! [`VectorClock`]: who wrote how often. Voldemort's clock: its bytes, its comparison, its limits.
//!
//! Invariants: entries are sorted by node, each node once; versions are 1 to 2^56 - 1 (Voldemort's bytes can't hold
//! more); the timestamp plays no part in equality, hash or comparison.
//!
//! Bytes, big-endian: `u16` number of entries, `u8` width w of a version (as many bytes as the largest needs, at
//! least 1), per entry a `u16` node and a w-byte version, `i64` timestamp in milliseconds. Whatever follows is not
//! the clock's business.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// The highest node id.
const NODE_MAX: u16 = 32_767;
/// Voldemort refuses an increment that makes a clock this long, and its bytes can't count further: only a merge of
/// clocks of all nodes gives a longer one.
pub(crate) const ENTRIES_LIMIT: usize = 32_767;
/// Seven bytes: the widest version that Voldemort's bytes can hold.
const VERSION_WIDTH_MAX: usize = 7;
const VERSION_MAX: u64 = (1 << (8 * VERSION_WIDTH_MAX)) - 1;
const HEADER_LEN: usize = 2 + 1;
const TIMESTAMP_LEN: usize = 8;

/// How one clock stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurred {
    /// The first is older, or they are equal: Voldemort counts a clock as before itself, so that writing the same
    /// version twice is refused.
    Before,
    /// The first descends from the second.
    After,
    /// Neither descends from the other.
    Concurrently,
}

/// How often one node wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClockEntry {
    /// Node id, 0 to 32767.
    pub node: u16,
    /// Version, from 1.
    pub version: u64,
}

/// One writer is the rule, so one entry needs no allocation: keydirs hold millions of these.
#[derive(Debug, Clone)]
enum Entries {
    None,
    One(ClockEntry),
    Many(Vec<ClockEntry>),
}

/// A vector clock with the time of its last increment.
#[derive(Debug, Clone)]
pub struct VectorClock {
    entries: Entries,
    timestamp_ms: i64,
}

/// Why a clock can't be made or incremented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The node id is out of range.
    #[error("node {node} can't be in a vector clock: ids go from 0 to 32767")]
    NodeOutOfRange {
        /// The node.
        node: u32,
    },
    /// The version is out of range.
    #[error("version {version} of node {node} can't be in a vector clock: versions go from 1 to 2^56 - 1")]
    VersionOutOfRange {
        /// The node.
        node: u16,
        /// The version.
        version: u64,
    },
    /// Too many nodes have written.
    #[error("a vector clock holds fewer than 32767 entries; resolve this key's versions with a fresh clock")]
    TooManyEntries,
    /// A node was given twice.
    #[error("node {node} is in this vector clock twice")]
    DuplicateNode {
        /// The node.
        node: u16,
    },
}

/// Why bytes aren't a clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockDecodeError {
    /// The bytes end too early.
    #[error("a vector clock of {needed} bytes is cut off after {got}")]
    Truncated {
        /// Bytes that the header promises, as far as it is known.
        needed: usize,
        /// Bytes there are.
        got: usize,
    },
    /// More entries than a clock can have.
    #[error("a vector clock with {count} entries: 32767 is the most")]
    TooManyEntries {
        /// The count as read.
        count: u16,
    },
    /// The width of versions isn't 1 to 7 bytes.
    #[error("a vector clock with {width}-byte versions: 1 to 7 bytes are possible")]
    BadWidth {
        /// The width as read.
        width: u8,
    },
    /// An entry breaks a limit.
    #[error("a vector clock with an impossible entry")]
    BadEntry {
        /// Which limit.
        #[source]
        source: ClockError,
    },
}

impl VectorClock {
    /// The empty clock: before every other.
    #[must_use]
    pub fn empty(timestamp_ms: i64) -> Self {
        Self { entries: Entries::None, timestamp_ms }
    }

    /// A clock of `(node, version)` pairs in any order.
    ///
    /// # Errors
    /// A node or version is out of range, or a node comes twice.
    pub fn from_entries(
        entries: impl IntoIterator<Item = (u16, u64)>,
        timestamp_ms: i64,
    ) -> Result<Self, ClockError> {
        let mut rest = entries.into_iter().map(|(node, version)| ClockEntry { node, version });
        // One entry is the rule, and a get decodes a clock: no allocation for it.
        let Some(first) = rest.next() else { return Ok(Self::empty(timestamp_ms)) };
        let Some(second) = rest.next() else {
            check(first)?;
            return Ok(Self { entries: Entries::One(first), timestamp_ms });
        };
        let mut entries = Vec::with_capacity(2 + rest.size_hint().0);
        entries.extend([first, second].into_iter().chain(rest));
        if entries.len() > ENTRIES_LIMIT {
            return Err(ClockError::TooManyEntries);
        }
        for entry in &entries {
            check(*entry)?;
        }
        entries.sort_unstable();
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].node == pair[1].node) {
            return Err(ClockError::DuplicateNode { node: pair[0].node });
        }
        Ok(Self { entries: entries.into(), timestamp_ms })
    }

    /// The entries in node order.
    #[must_use]
    pub fn entries(&self) -> &[ClockEntry] {
        match &self.entries {
            Entries::None => &[],
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Many(entries) => entries,
        }
    }

    /// Time of the last increment, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Counts one more write of `node`, at `now_ms`.
    ///
    /// # Errors
    /// The node id is out of range, or the clock or the version is at its limit. The clock is then unchanged.
    pub fn increment(&mut self, node: u16, now_ms: i64) -> Result<(), ClockError> {
        if node > NODE_MAX {
            return Err(ClockError::NodeOutOfRange { node: node.into() });
        }
        match self.entries().binary_search_by_key(&node, |e| e.node) {
            Ok(i) => {
                let entry = match &mut self.entries {
                    Entries::None => unreachable!("the search found an entry"),
                    Entries::One(entry) => entry,
                    Entries::Many(entries) => &mut entries[i],
                };
                check(ClockEntry { node, version: entry.version + 1 })?;
                entry.version += 1;
            }
            Err(i) => {
                if self.entries().len() + 1 >= ENTRIES_LIMIT {
                    return Err(ClockError::TooManyEntries);
                }
                let mut entries = self.entries().to_vec();
                entries.insert(i, ClockEntry { node, version: 1 });
                self.entries = entries.into();
            }
        }
        self.timestamp_ms = now_ms;
        Ok(())
    }

    /// A clock that wins over counted ones without a read before: an entry of `now_ms` for each of the nodes, and that
    /// time as timestamp. Such blind writes of one millisecond are equal to each other.
    ///
    /// # Errors
    /// A node or the time is out of range, or a node comes twice.
    pub fn blind_write(nodes: impl IntoIterator<Item = u16>, now_ms: i64) -> Result<Self, ClockError> {
        // A time before 1970 is out of range too: version 0 says so.
        let version = u64::try_from(now_ms).unwrap_or(0);
        Self::from_entries(nodes.into_iter().map(|node| (node, version)), now_ms)
    }

    /// The clock without the entries of nodes that aren't kept. The timestamp stays.
    #[must_use]
    pub fn pruned(&self, mut keep: impl FnMut(u16) -> bool) -> Self {
        let entries: Vec<_> = self.entries().iter().copied().filter(|entry| keep(entry.node)).collect();
        Self { entries: entries.into(), timestamp_ms: self.timestamp_ms }
    }

    /// How this clock stands to `other`. Equal clocks give [`Occurred::Before`].
    #[must_use]
    pub fn compare(&self, other: &Self) -> Occurred {
        let (mut left, mut right) = (self.entries(), other.entries());
        let (mut bigger, mut smaller) = (false, false);
        while let ([l, ..], [r, ..]) = (left, right) {
            match l.node.cmp(&r.node) {
                Ordering::Less => {
                    bigger = true;
                    left = &left[1..];
                }
                Ordering::Greater => {
                    smaller = true;
                    right = &right[1..];
                }
                Ordering::Equal => {
                    bigger |= l.version > r.version;
                    smaller |= l.version < r.version;
                    (left, right) = (&left[1..], &right[1..]);
                }
            }
        }
        bigger |= !left.is_empty();
        smaller |= !right.is_empty();
        match (bigger, smaller) {
            (true, true) => Occurred::Concurrently,
            (true, false) => Occurred::After,
            (false, _) => Occurred::Before,
        }
    }

    /// Element-wise maximum, with `now_ms` as timestamp.
    #[must_use]
    pub fn merge(&self, other: &Self, now_ms: i64) -> Self {
        let mut merged = Vec::with_capacity(self.entries().len() + other.entries().len());
        let (mut left, mut right) = (self.entries(), other.entries());
        while let ([l, ..], [r, ..]) = (left, right) {
            let node = l.node.min(r.node);
            let mut version = 0;
            if l.node == node {
                version = l.version;
                left = &left[1..];
            }
            if r.node == node {
                version = version.max(r.version);
                right = &right[1..];
            }
            merged.push(ClockEntry { node, version });
        }
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        Self { entries: merged.into(), timestamp_ms: now_ms }
    }

    /// Length of [`VectorClock::encode`]'s bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.entries().len() * (2 + self.version_width()) + TIMESTAMP_LEN
    }

    /// Appends Voldemort's bytes of this clock.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let width = self.version_width();
        let count = u16::try_from(self.entries().len()).expect("there are 32768 node ids");
        into.extend_from_slice(&count.to_be_bytes());
        into.push(u8::try_from(width).expect("a width is at most 7"));
        for entry in self.entries() {
            into.extend_from_slice(&entry.node.to_be_bytes());
            into.extend_from_slice(&entry.version.to_be_bytes()[8 - width..]);
        }
        into.extend_from_slice(&self.timestamp_ms.to_be_bytes());
    }

    /// How many bytes a clock at the front of `bytes` takes, going by its header alone.
    pub(crate) fn len_of(bytes: &[u8]) -> Option<usize> {
        let &[c0, c1, width, ..] = bytes else { return None };
        let entries = usize::from(u16::from_be_bytes([c0, c1]));
        Some(HEADER_LEN + entries * (2 + usize::from(width)) + TIMESTAMP_LEN)
            .filter(|len| *len <= bytes.len())
    }

    /// The timestamp of an encoded clock: its last bytes.
    pub(crate) fn timestamp_of(bytes: &[u8]) -> i64 {
        i64::from_be_bytes(*bytes.last_chunk().expect("a clock ends with its timestamp"))
    }

    /// Reads a clock from the front of `bytes`; gives it and how many bytes it took.
    ///
    /// # Errors
    /// The bytes aren't a clock.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), ClockDecodeError> {
        let truncated = |needed| ClockDecodeError::Truncated { needed, got: bytes.len() };
        let [c0, c1, width, rest @ ..] = bytes else { return Err(truncated(HEADER_LEN + TIMESTAMP_LEN)) };
        let count = u16::from_be_bytes([*c0, *c1]);
        if usize::from(count) > ENTRIES_LIMIT {
            return Err(ClockDecodeError::TooManyEntries { count });
        }
        if !(1..=VERSION_WIDTH_MAX).contains(&usize::from(*width)) {
            return Err(ClockDecodeError::BadWidth { width: *width });
        }
        let entry_len = 2 + usize::from(*width);
        let entries_len = usize::from(count) * entry_len;
        let used = HEADER_LEN + entries_len + TIMESTAMP_LEN;
        // Checked before the entries are gathered, so that a wild count allocates nothing.
        if rest.len() < entries_len + TIMESTAMP_LEN {
            return Err(truncated(used));
        }
        let (entry_bytes, rest) = rest.split_at(entries_len);
        let pairs = entry_bytes.chunks_exact(entry_len).map(|e| {
            let node = u16::from_be_bytes([e[0], e[1]]);
            (node, e[2..].iter().fold(0u64, |v, b| v << 8 | u64::from(*b)))
        });
        let timestamp_ms =
            i64::from_be_bytes(rest[..TIMESTAMP_LEN].try_into().expect("the length was checked above"));
        let clock = Self::from_entries(pairs, timestamp_ms)
            .map_err(|source| ClockDecodeError::BadEntry { source })?;
        Ok((clock, used))
    }

    fn version_width(&self) -> usize {
        let largest = self.entries().iter().map(|e| e.version).max().unwrap_or(0);
        (8 - largest.leading_zeros() as usize / 8).max(1)
    }
}

fn check(entry: ClockEntry) -> Result<(), ClockError> {
    if entry.node > NODE_MAX {
        return Err(ClockError::NodeOutOfRange { node: entry.node.into() });
    }
    if !(1..=VERSION_MAX).contains(&entry.version) {
        return Err(ClockError::VersionOutOfRange { node: entry.node, version: entry.version });
    }
    Ok(())
}

impl From<Vec<ClockEntry>> for Entries {
    fn from(entries: Vec<ClockEntry>) -> Self {
        match entries.as_slice() {
            [] => Self::None,
            [one] => Self::One(*one),
            _ => Self::Many(entries),
        }
    }
}

impl PartialEq for VectorClock {
    fn eq(&self, other: &Self) -> bool {
        self.entries() == other.entries()
    }
}

impl Eq for VectorClock {}

impl Hash for VectorClock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries().hash(state);
    }
}

impl Default for VectorClock {
    fn default() -> Self {
        Self::empty(0)
    }
}

impl fmt::Display for VectorClock {
    /// `node:version,node:version` in node order; `-` when empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries().is_empty() {
            return f.write_str("-");
        }
        for (i, entry) in self.entries().iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}:{}", entry.node, entry.version)?;
        }
        Ok(())
    }
}

/// Why a text isn't a clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no vector clock; write node:version,node:version in node order, or - for the empty one")]
pub struct ParseClockError {
    /// The text.
    pub text: String,
}

impl FromStr for VectorClock {
    type Err = ParseClockError;

    /// Reads what `Display` writes. The timestamp is 0.
    fn from_str(text: &str) -> Result<Self, ParseClockError> {
        let wrong = || ParseClockError { text: text.to_owned() };
        if text == "-" {
            return Ok(Self::empty(0));
        }
        let pairs = text.split(',').map(|pair| {
            let (node, version) = pair.split_once(':').ok_or_else(wrong)?;
            Ok((node.parse().map_err(|_| wrong())?, version.parse().map_err(|_| wrong())?))
        });
        let pairs: Vec<_> = pairs.collect::<Result<_, ParseClockError>>()?;
        Self::from_entries(pairs, 0).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(text: &str) -> VectorClock {
        text.parse().expect("a clock in its text form")
    }

    fn bytes(clock: &VectorClock) -> Vec<u8> {
        let mut bytes = Vec::new();
        clock.encode(&mut bytes);
        bytes
    }

    #[test]
    fn bytes_are_voldemorts() {
        assert_eq!(bytes(&VectorClock::empty(0)), [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let one = VectorClock::from_entries([(1, 1)], 0x0102_0304_0506_0708).expect("valid");
        assert_eq!(bytes(&one), [0, 1, 1, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        let wide = VectorClock::from_entries([(32_767, 256), (2, 1)], -1).expect("valid");
        assert_eq!(
            bytes(&wide),
            [0, 2, 2, 0, 2, 0, 1, 0x7f, 0xff, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        let widest = VectorClock::from_entries([(0, VERSION_MAX)], 0).expect("valid");
        assert_eq!(bytes(&widest)[..12], [0, 1, 7, 0, 0, 255, 255, 255, 255, 255, 255, 255]);
        assert!(VectorClock::from_entries([(0, VERSION_MAX + 1)], 0).is_err());
    }

    #[test]
    fn versions_are_as_wide_as_the_largest_needs() {
        for (version, width) in [
            (1, 1),
            (255, 1),
            (256, 2),
            (65_535, 2),
            (65_536, 3),
            ((1 << 24) - 1, 3),
            (1 << 24, 4),
            (1 << 32, 5),
            (1 << 40, 6),
            ((1 << 48) - 1, 6),
            (1 << 48, 7),
            (VERSION_MAX, 7),
        ] {
            let c = VectorClock::from_entries([(1, 1), (2, version)], 5).expect("in range");
            let encoded = bytes(&c);
            assert_eq!((encoded[2], encoded.len()), (width, 11 + 2 * (2 + usize::from(width))), "{version}");
            assert_eq!(VectorClock::decode(&encoded), Ok((c, encoded.len())));
        }
        // A width that is larger than needed is read too.
        let wide = [0, 1, 3, 0, 9, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0xaa];
        let (c, used) = VectorClock::decode(&wide).expect("a clock, and a byte that isn't its business");
        assert_eq!((c.to_string().as_str(), c.timestamp_ms(), used), ("9:5", 1, 16));
    }

    #[test]
    fn comparison_is_voldemorts() {
        let check = |a: &str, b: &str, expected| assert_eq!(clock(a).compare(&clock(b)), expected, "{a} {b}");
        check("-", "-", Occurred::Before);
        check("1:1,2:2", "1:1,2:2", Occurred::Before);
        check("-", "1:1", Occurred::Before);
        check("1:1", "-", Occurred::After);
        check("1:1", "1:2", Occurred::Before);
        check("1:2", "1:1", Occurred::After);
        check("1:1", "2:1", Occurred::Concurrently);
        check("1:1,2:1", "1:1", Occurred::After);
        check("1:1,2:1", "1:2", Occurred::Concurrently);
        check("1:2,3:1", "1:1,2:1,3:1", Occurred::Concurrently);
    }

    #[test]
    fn increment_counts_and_keeps_the_limits() {
        let mut c = VectorClock::empty(0);
        c.increment(5, 10).expect("in range");
        c.increment(1, 11).expect("in range");
        c.increment(5, 12).expect("in range");
        assert_eq!((c.to_string().as_str(), c.timestamp_ms()), ("1:1,5:2", 12));
        assert_eq!(c.increment(32_768, 13), Err(ClockError::NodeOutOfRange { node: 32_768 }));
        let mut full =
            VectorClock::from_entries((0..32_766).map(|n| (n, 1)), 0).expect("one below the limit");
        assert_eq!(full.increment(32_767, 1), Err(ClockError::TooManyEntries));
        full.increment(7, 1).expect("a node that is in already");
        let mut worn = VectorClock::from_entries([(0, VERSION_MAX)], 0).expect("valid");
        assert!(worn.increment(0, 1).is_err());
    }

    #[test]
    fn a_blind_write_wins_over_counted_versions_without_a_read() {
        let now = 1_700_000_000_000;
        let blind = VectorClock::blind_write([0, 2], now).expect("in range");
        assert_eq!(blind.to_string(), "0:1700000000000,2:1700000000000");
        assert_eq!(blind.timestamp_ms(), now);
        assert_eq!(blind.compare(&clock("0:99,2:1")), Occurred::After);
        let later = VectorClock::blind_write([0, 2], now + 1).expect("in range");
        assert_eq!(later.compare(&blind), Occurred::After);
        // A node that isn't among those given makes it concurrent: hence the pruning after replicas have moved.
        assert_eq!(blind.compare(&clock("1:1")), Occurred::Concurrently);
        assert!(VectorClock::blind_write([0], -1).is_err());
    }

    #[test]
    fn pruning_drops_entries_and_keeps_the_timestamp() {
        let before = VectorClock::from_entries([(0, 1), (1, 7), (4, 2)], 9).expect("valid");
        let after = before.pruned(|node| node != 1);
        assert_eq!((after.to_string().as_str(), after.timestamp_ms()), ("0:1,4:2", 9));
        assert_eq!(before.pruned(|_| false), VectorClock::empty(0));
    }

    #[test]
    fn the_timestamp_is_no_part_of_equality() {
        assert_eq!(VectorClock::empty(1), VectorClock::empty(2));
    }

    #[test]
    fn damaged_bytes_say_what_is_wrong() {
        assert!(matches!(VectorClock::decode(&[]), Err(ClockDecodeError::Truncated { .. })));
        assert!(matches!(
            VectorClock::decode(&[0, 1, 1, 0, 1, 1, 0, 0]),
            Err(ClockDecodeError::Truncated { needed: 14, got: 8 })
        ));
        assert!(matches!(
            VectorClock::decode(&[0x80, 0, 1]),
            Err(ClockDecodeError::TooManyEntries { count: 0x8000 })
        ));
        assert!(matches!(VectorClock::decode(&[0, 1, 8, 0]), Err(ClockDecodeError::BadWidth { width: 8 })));
        let zero_version = [0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(VectorClock::decode(&zero_version), Err(ClockDecodeError::BadEntry { .. })));
    }

    prop_compose! {
        fn any_clock()(
            entries in prop::collection::btree_map(0u16..=NODE_MAX, 1..=VERSION_MAX, 0..6),
            small in prop::collection::btree_map(0u16..4, 1u64..4, 0..4),
            pick in any::<bool>(),
            timestamp_ms in any::<i64>(),
        ) -> VectorClock {
            VectorClock::from_entries(if pick { entries } else { small }, timestamp_ms).expect("in range")
        }
    }

    proptest! {
        #[test]
        fn bytes_and_text_come_back(c in any_clock(), tail in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut encoded = bytes(&c);
            let len = encoded.len();
            prop_assert_eq!(len, c.encoded_len());
            encoded.extend(tail);
            let (back, used) = VectorClock::decode(&encoded).expect("just encoded");
            prop_assert_eq!((&back, back.timestamp_ms(), used), (&c, c.timestamp_ms(), len));
            prop_assert_eq!(clock(&c.to_string()), c);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = VectorClock::decode(&bytes);
        }

        #[test]
        fn a_merge_descends_from_both(a in any_clock(), b in any_clock()) {
            let merged = a.merge(&b, 1);
            for part in [&a, &b] {
                prop_assert_eq!(part.compare(&merged), Occurred::Before);
            }
            prop_assert_eq!(&merged, &b.merge(&a, 2));
        }

        #[test]
        fn comparison_is_antisymmetric_but_for_equality(a in any_clock(), b in any_clock()) {
            let expected = match a.compare(&b) {
                Occurred::Before if a == b => Occurred::Before,
                Occurred::Before => Occurred::After,
                Occurred::After => Occurred::Before,
                Occurred::Concurrently => Occurred::Concurrently,
            };
            prop_assert_eq!(b.compare(&a), expected);
        }
    }
}
