//! [`Contender`]: a store as a program that embeds it uses it.

use std::path::Path;

/// What a contender's own call may fail with.
pub type ContenderError = Box<dyn std::error::Error + Send + Sync>;

/// An open store, called from many threads.
pub(super) trait Contender: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ContenderError>;

    /// Replaces the key's value; as durable on return as the store was opened for.
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ContenderError>;

    /// Ends it in order.
    fn close(self: Box<Self>) -> Result<(), ContenderError>;

    /// Memory for each key, bytes, if it has an account of it.
    fn key_bytes(&self) -> Option<f64> {
        None
    }

    /// Waits until it has nothing left to tidy up.
    fn settle(&self) {}
}

/// Opens the store in a folder; with whether each put is to be on the disk when it returns.
pub(super) type Open = fn(&Path, bool) -> Result<Box<dyn Contender>, ContenderError>;

/// A sort of contender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) open: Open,
    /// It is what a store can be measured by, not one: nobody is compared with it as a rival, and it isn't reopened.
    pub(super) is_ceiling: bool,
}

/// The first is the one that the others are compared with.
pub(super) fn all() -> Vec<Kind> {
    #[cfg_attr(not(feature = "peers"), expect(unused_mut, reason = "there is nobody to add"))]
    let mut all = vec![super::kv::KIND, super::ceiling::KIND, super::kv::UNMERGED, super::kv::CALLED];
    #[cfg(feature = "peers")]
    all.extend(super::peer::KINDS);
    all
}
