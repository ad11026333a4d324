//! [`Clock`]: a version as the crash contract writes it, `node:version,node:version` in node order, `-` = empty.
//!
//! Deliberately not the store's own type: the judge compares clocks with code of its own, so that a mistake in the
//! store's comparison can't hide itself.

use std::fmt;
use std::str::FromStr;

use super::number;

/// The highest node number that a clock may name (the store's clocks hold a Java `short`).
pub const NODE_MAX: u16 = 32_767;

/// How one clock stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same entries.
    Same,
    /// Older: every entry is at most the other's, and one is less.
    Before,
    /// Newer: every entry is at least the other's, and one is more.
    After,
    /// Neither has seen the other.
    Concurrent,
}

/// A vector clock without its timestamp: node and version, sorted by node, versions from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Clock(Vec<(u16, u64)>);

/// Why a text is no clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// An entry isn't `node:version`.
    #[error("clock entry {entry:?} is not NODE:VERSION with a node up to {NODE_MAX} and a version from 1")]
    Entry {
        /// The entry.
        entry: String,
    },
    /// Nodes must rise.
    #[error("clock entry {entry:?} does not come after the one before it: nodes must rise")]
    Unsorted {
        /// The entry.
        entry: String,
    },
}

impl Clock {
    /// A clock from entries in node order.
    ///
    /// # Errors
    /// A node is out of range or not above the one before it, or a version is 0.
    pub fn from_entries(entries: impl IntoIterator<Item = (u16, u64)>) -> Result<Self, ClockError> {
        let mut clock = Self::default();
        for (node, version) in entries {
            clock.push(node, version)?;
        }
        Ok(clock)
    }

    fn push(&mut self, node: u16, version: u64) -> Result<(), ClockError> {
        let entry = || format!("{node}:{version}");
        if node > NODE_MAX || version == 0 {
            return Err(ClockError::Entry { entry: entry() });
        }
        if self.0.last().is_some_and(|&(last, _)| last >= node) {
            return Err(ClockError::Unsorted { entry: entry() });
        }
        self.0.push((node, version));
        Ok(())
    }

    /// Node and version, by node.
    #[must_use]
    pub fn entries(&self) -> &[(u16, u64)] {
        &self.0
    }

    /// How many events of `node` it has seen.
    pub(super) fn version_of(&self, node: u16) -> u64 {
        self.0.binary_search_by_key(&node, |&(n, _)| n).map_or(0, |i| self.0[i].1)
    }

    /// Raises `node` to at least `version`.
    ///
    /// # Panics
    /// If the node is above [`NODE_MAX`] or the version 0.
    pub fn raise(&mut self, node: u16, version: u64) {
        assert!(node <= NODE_MAX && version > 0, "{node}:{version} is no entry of a clock");
        match self.0.binary_search_by_key(&node, |&(n, _)| n) {
            Ok(i) => self.0[i].1 = self.0[i].1.max(version),
            Err(i) => self.0.insert(i, (node, version)),
        }
    }

    /// This clock with everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for &(node, version) in &other.0 {
            self.raise(node, version);
        }
    }

    /// This clock after one more event on `node`.
    ///
    /// # Panics
    /// If the node is above [`NODE_MAX`].
    #[must_use]
    pub fn incremented(mut self, node: u16) -> Self {
        let next = self.version_of(node) + 1;
        self.raise(node, next);
        self
    }

    /// Whether this clock has seen everything that `other` has: the same or newer.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|&(node, version)| self.version_of(node) >= version)
    }

    /// How this clock stands to `other`.
    #[must_use]
    pub fn order(&self, other: &Self) -> Order {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Order::Same,
            (true, false) => Order::After,
            (false, true) => Order::Before,
            (false, false) => Order::Concurrent,
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        for (i, (node, version)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{node}:{version}")?;
        }
        Ok(())
    }
}

impl FromStr for Clock {
    type Err = ClockError;

    fn from_str(text: &str) -> Result<Self, ClockError> {
        let mut clock = Self::default();
        if text == "-" {
            return Ok(clock);
        }
        for entry in text.split(',') {
            let bad = || ClockError::Entry { entry: entry.to_owned() };
            let (node, version) = entry.split_once(':').ok_or_else(bad)?;
            let node = number::<u16>(node).ok_or_else(bad)?;
            let version = number::<u64>(version).ok_or_else(bad)?;
            clock.push(node, version)?;
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(text: &str) -> Clock {
        text.parse().expect("a clock")
    }

    #[test]
    fn comparison_follows_the_entries_and_a_missing_node_counts_as_zero() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(clock(a).order(&clock(b)), expected, "{a} to {b}");
        };
        check("-", "-", Order::Same);
        check("-", "1:1", Order::Before);
        check("1:2", "1:1", Order::After);
        check("1:1,2:1", "1:1", Order::After);
        check("1:1,2:1", "1:1,3:1", Order::Concurrent);
        check("1:2,2:1", "1:1,2:2", Order::Concurrent);
        check("7:3", "7:3", Order::Same);
    }

    #[test]
    fn only_the_canonical_text_is_accepted() {
        for bad in
            ["", "1", "1:", ":1", "1:0", "01:1", "+1:1", "2:1,1:1", "1:1,1:2", "32768:1", "1:1,", "1:1 "]
        {
            assert!(bad.parse::<Clock>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(clock("1:1,32767:18446744073709551615").to_string(), "1:1,32767:18446744073709551615");
    }
}
