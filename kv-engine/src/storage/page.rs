//! Entries page by page: how a node's content is told to another one, a bit at a time, over hours and crashes.

use crate::version::Versioned;

/// Where to go on: a place in an order that a store's content alone decides, so that it means the same after a crash of
/// either side, and while keys come and go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EntriesPosition {
    /// Into how many parts the store was divided then; with another number it begins anew.
    pub shards: u32,
    /// The part.
    pub shard: u32,
    /// In it, the keys after this one; all of them if there is none.
    pub after: Option<Vec<u8>>,
}

/// Some entries. A key that is there all the time is told once between the first position and the end; one that is
/// written meanwhile is told as it was at some moment, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntriesPage {
    /// Keys with their versions, none without.
    pub entries: Vec<(Vec<u8>, Vec<Versioned>)>,
    /// Where to go on; none: that was all.
    pub next: Option<EntriesPosition>,
}

/// What an entry counts in a page.
pub(crate) fn entry_bytes(key: &[u8], versions: &[Versioned]) -> usize {
    key.len()
        + versions.iter().map(|version| version.clock.encoded_len() + version.value.len()).sum::<usize>()
}
