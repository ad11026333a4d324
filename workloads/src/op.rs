//! One operation of a workload: what is asked of an engine, with its key and the value it writes.
//!
//! Invariant: `key_index` and `key` name the same key for the whole run; the index is dense, so that the
//! [`Model`](crate::Model) can keep its state in an array.

use crate::counted;
use crate::values::{Value, ValueFault};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// What an operation means to the one who asks. Engines need only its [`access`](OpKind::access).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OpKind {
    /// A member's profile is shown.
    ReadProfile,
    /// A member changes some fields; the whole record is written.
    UpdateProfile,
    /// Somebody changes a member's profile while others do: it is read, a count in it goes up by one, and all of it
    /// is written back. Increments of one key overlap each other; those that another one overwrote are counted.
    IncrementProfile,
    /// A member leaves.
    DeleteProfile,
    /// A member's feed is shown.
    ReadFeed,
    /// A post arrives in the feed of one follower.
    UpdateFeed,
    /// A plain read of a key.
    Get,
    /// A plain write of a whole value.
    Put,
    /// A key that was not there is written.
    Insert,
    /// A key is read, and a whole new value is written to it.
    ReadModifyWrite,
    /// Keys from a start on are read in their order.
    Scan,
    /// A plain delete of a key.
    Delete,
}

impl OpKind {
    /// Every kind, in the order in which reports list them: the order of their declaration.
    pub const ALL: [Self; 12] = [
        Self::ReadProfile,
        Self::UpdateProfile,
        Self::IncrementProfile,
        Self::DeleteProfile,
        Self::ReadFeed,
        Self::UpdateFeed,
        Self::Get,
        Self::Put,
        Self::Insert,
        Self::ReadModifyWrite,
        Self::Scan,
        Self::Delete,
    ];

    /// Its place in [`ALL`](Self::ALL), for arrays that have a place for each kind.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in reports and file names: `read-profile`, `put`, `read-modify-write`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadProfile => "read-profile",
            Self::UpdateProfile => "update-profile",
            Self::DeleteProfile => "delete-profile",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::IncrementProfile => "increment-profile",
            Self::ReadFeed => "read-feed",
            Self::UpdateFeed => "update-feed",
            Self::Insert => "insert",
            Self::ReadModifyWrite => "read-modify-write",
            Self::Scan => "scan",
        }
    }

    /// What it does to the key.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::ReadProfile | Self::ReadFeed | Self::Get => Access::Read,
            Self::UpdateProfile | Self::UpdateFeed | Self::Put | Self::Insert => Access::Write,
            Self::DeleteProfile | Self::Delete => Access::Delete,
            Self::IncrementProfile | Self::ReadModifyWrite => Access::Modify,
            Self::Scan => Access::Scan,
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an operation does to its key: all that an engine and the [`Model`](crate::Model) have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Asks for the value.
    Read,
    /// Replaces the value.
    Write,
    /// Removes the key.
    Delete,
    /// Reads the value and writes the one that [`Op::modified`] makes of it. An engine that has no such operation
    /// says so, and the driver reads and writes by itself, with nothing to keep others out in between.
    Modify,
    /// Asks for the values of the key and of those that follow it in the order of their bytes.
    Scan,
}

impl Access {
    /// Whether it changes what is stored.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Delete | Self::Modify)
    }
}

/// An operation, ready to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What is asked.
    pub kind: OpKind,
    /// The key's dense number, the same for the same key over the whole run; the index into the model.
    pub key_index: u32,
    /// The key's bytes.
    pub key: Key,
    /// The value to write: `Some` exactly when the access is [`Access::Write`] or [`Access::Modify`]; the latter
    /// writes what [`modified`](Op::modified) makes of it.
    pub value: Option<Value>,
    /// How many keys a [`Access::Scan`] asks for at most; 0 otherwise.
    pub rows_max: u32,
}

impl Op {
    /// An operation without a value: a read or a delete.
    #[must_use]
    pub fn without_value(kind: OpKind, key_index: u32, key: Key) -> Self {
        debug_assert!(matches!(kind.access(), Access::Read | Access::Delete), "a write carries a value");
        Self { kind, key_index, key, value: None, rows_max: 0 }
    }

    /// An operation that writes `value`.
    #[must_use]
    pub fn with_value(kind: OpKind, key_index: u32, key: Key, value: Value) -> Self {
        debug_assert!(
            matches!(kind.access(), Access::Write | Access::Modify),
            "only what writes carries a value"
        );
        Self { kind, key_index, key, value: Some(value), rows_max: 0 }
    }

    /// A read of `rows_max` keys from `key` on.
    #[must_use]
    pub fn scan(key_index: u32, key: impl Into<Key>, rows_max: u32) -> Self {
        Self { kind: OpKind::Scan, key_index, key: key.into(), value: None, rows_max }
    }

    /// What a [`Access::Modify`] writes when it has read `old`.
    ///
    /// # Errors
    /// `old` is not a value that the operation can change: damaged, or of another kind.
    ///
    /// # Panics
    /// If the operation carries no value.
    pub fn modified(&self, old: Option<&[u8]>) -> Result<Value, ValueFault> {
        let new = self.value.as_ref().expect("an operation that modifies carries a value");
        match self.kind {
            OpKind::IncrementProfile => {
                let count = old.map_or(Ok(0), counted::count)?;
                Ok(counted::with_count(new, count + 1))
            }
            _ => Ok(new.clone()),
        }
    }

    /// A plain read.
    #[must_use]
    pub fn get(key_index: u32, key: impl Into<Key>) -> Self {
        Self::without_value(OpKind::Get, key_index, key.into())
    }

    /// A plain write.
    #[must_use]
    pub fn put(key_index: u32, key: impl Into<Key>, value: Value) -> Self {
        Self::with_value(OpKind::Put, key_index, key.into(), value)
    }

    /// A plain delete.
    #[must_use]
    pub fn delete(key_index: u32, key: impl Into<Key>) -> Self {
        Self::without_value(OpKind::Delete, key_index, key.into())
    }

    /// What it does to the key.
    #[must_use]
    pub fn access(&self) -> Access {
        self.kind.access()
    }
}

/// Keys up to this long need no allocation: a uuid in text (36 bytes) fits.
const INLINE_BYTES: usize = 38;

/// A key's bytes; short ones lie inside the operation, so that making one allocates nothing.
#[derive(Clone)]
pub struct Key(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE_BYTES {
            return Self(Repr::Heap(bytes.into()));
        }
        let mut inline = [0; INLINE_BYTES];
        inline[..bytes.len()].copy_from_slice(bytes);
        Self(Repr::Inline { len: bytes.len() as u8, bytes: inline })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::new(text.as_bytes())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{Label, StreamTag};
    use std::collections::HashSet;

    #[test]
    fn a_key_gives_back_its_bytes_at_any_length() {
        for len in 0..100_usize {
            let bytes: Vec<u8> = (0..len as u8).collect();
            let key = Key::from(bytes.as_slice());
            assert_eq!(key.as_bytes(), bytes);
            assert_eq!(key, key.clone());
            assert_eq!(matches!(key.0, Repr::Inline { .. }), len <= INLINE_BYTES);
        }
    }

    #[test]
    fn kinds_have_distinct_names_and_an_access_that_fits() {
        let names: HashSet<_> = OpKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), OpKind::ALL.len());
        assert!(OpKind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
        assert_eq!(Op::get(0, "k").access(), Access::Read);
        assert_eq!(Op::delete(0, "k").access(), Access::Delete);
        assert_eq!(Op::put(0, "k", Value::recorded(vec![1])).access(), Access::Write);
        assert_eq!(Op::scan(0, "k", 3).access(), Access::Scan);
        let changing = OpKind::ALL.iter().filter(|kind| kind.access().changes()).count();
        assert_eq!(changing, 8);
    }

    #[test]
    fn an_increment_goes_on_from_what_was_read_and_a_rewrite_does_not() {
        let template =
            |version| counted::template(Label { key_index: 3, stream: StreamTag(1), version }, 400);
        let increment = |version| Op::with_value(OpKind::IncrementProfile, 3, "k".into(), template(version));
        let first = increment(1).modified(None).expect("nothing was there");
        let second = increment(2).modified(Some(first.as_bytes())).expect("a counted value");
        assert_eq!(counted::count(second.as_bytes()), Ok(2));
        assert_eq!(second.label().map(|label| label.version), Some(2));
        let mut damaged = second.into_bytes();
        damaged[50] ^= 1;
        assert!(matches!(increment(3).modified(Some(&damaged)), Err(ValueFault::BadChecksum { .. })));
        assert!(increment(3).modified(Some(b"short")).is_err());
        let rewrite = Op::with_value(OpKind::ReadModifyWrite, 3, "k".into(), template(4));
        assert_eq!(rewrite.modified(Some(b"anything")).ok(), rewrite.value);
    }
}
