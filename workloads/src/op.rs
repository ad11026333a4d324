//! One operation of a workload: what is asked of an engine, with its key and the value it writes.
//!
//! Invariant: `key_index` and `key` name the same key for the whole run; the index is dense, so that the
//! [`Model`](crate::Model) can keep its state in an array.

use crate::values::Value;
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
    /// A member leaves.
    DeleteProfile,
    /// A plain read of a key.
    Get,
    /// A plain write of a whole value.
    Put,
    /// A plain delete of a key.
    Delete,
}

impl OpKind {
    /// Every kind, in the order in which reports list them.
    pub const ALL: [Self; 6] =
        [Self::ReadProfile, Self::UpdateProfile, Self::DeleteProfile, Self::Get, Self::Put, Self::Delete];

    /// The name in reports and file names: `read-profile`, `update-profile`, `delete-profile`, `get`, `put`, `delete`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadProfile => "read-profile",
            Self::UpdateProfile => "update-profile",
            Self::DeleteProfile => "delete-profile",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }

    /// What it does to the key.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::ReadProfile | Self::Get => Access::Read,
            Self::UpdateProfile | Self::Put => Access::Write,
            Self::DeleteProfile | Self::Delete => Access::Delete,
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
    /// The value to write: `Some` exactly when the access is [`Access::Write`].
    pub value: Option<Value>,
}

impl Op {
    /// An operation without a value: a read or a delete.
    #[must_use]
    pub fn without_value(kind: OpKind, key_index: u32, key: Key) -> Self {
        debug_assert_ne!(kind.access(), Access::Write, "a write carries a value");
        Self { kind, key_index, key, value: None }
    }

    /// An operation that writes `value`.
    #[must_use]
    pub fn with_value(kind: OpKind, key_index: u32, key: Key, value: Value) -> Self {
        debug_assert_eq!(kind.access(), Access::Write, "only a write carries a value");
        Self { kind, key_index, key, value: Some(value) }
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
        assert_eq!(Op::get(0, "k").access(), Access::Read);
        assert_eq!(Op::delete(0, "k").access(), Access::Delete);
        assert_eq!(Op::put(0, "k", Value::recorded(vec![1])).access(), Access::Write);
    }
}
