//! [`NodeChange`]: a change of a node's store, as those that follow it are told.

use super::MessageError;
use super::fields::{Rest, push_key, push_len, push_text};
use crate::version::{VectorClock, Versioned};

/// What a change is.
const CHANGE_PUT: u8 = 0;
const CHANGE_DELETED: u8 = 1;
const CHANGE_DAMAGED: u8 = 2;
/// The fewest bytes a change has: damage without a text.
const CHANGE_LEN_MIN: usize = 1 + 2;
/// Room that is made for changes before they are read: they are larger in memory than on the way.
const CHANGES_AHEAD_MAX: usize = 1024;

/// A change of a node's store, as a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeChange {
    /// A version was put.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The version.
        version: Versioned,
    },
    /// Versions were deleted.
    Deleted {
        /// The key.
        key: Vec<u8>,
        /// Those before or equal to this one are gone.
        version: VectorClock,
    },
    /// Changes can't be read any more: the node's file is damaged.
    Damaged {
        /// Where, and what is wrong.
        why: String,
    },
}

pub(super) fn push_changes(bytes: &mut Vec<u8>, changes: &[NodeChange]) {
    push_len(bytes, changes.len());
    changes.iter().for_each(|change| push_change(bytes, change));
}

fn push_change(bytes: &mut Vec<u8>, change: &NodeChange) {
    match change {
        NodeChange::Put { key, version } => {
            bytes.push(CHANGE_PUT);
            push_key(bytes, key);
            push_len(bytes, version.clock.encoded_len() + version.value.len());
            version.clock.encode(bytes);
            bytes.extend_from_slice(&version.value);
        }
        NodeChange::Deleted { key, version } => {
            bytes.push(CHANGE_DELETED);
            push_key(bytes, key);
            version.encode(bytes);
        }
        NodeChange::Damaged { why } => {
            bytes.push(CHANGE_DAMAGED);
            push_text(bytes, why);
        }
    }
}

pub(super) fn read_changes(rest: &mut Rest<'_>) -> Result<Vec<NodeChange>, MessageError> {
    let count = rest.count(CHANGE_LEN_MIN)?;
    let mut changes = Vec::with_capacity(count.min(CHANGES_AHEAD_MAX));
    for _ in 0..count {
        changes.push(read_change(rest)?);
    }
    Ok(changes)
}

fn read_change(rest: &mut Rest<'_>) -> Result<NodeChange, MessageError> {
    let [kind] = rest.array("change")?;
    Ok(match kind {
        CHANGE_PUT => {
            let key = rest.key()?.to_vec();
            let len = rest.u32("version length")? as usize;
            NodeChange::Put { key, version: Versioned::decode(rest.take(len, "version")?)? }
        }
        CHANGE_DELETED => NodeChange::Deleted { key: rest.key()?.to_vec(), version: rest.clock()? },
        CHANGE_DAMAGED => NodeChange::Damaged { why: rest.text()? },
        found => return Err(MessageError::Change { found }),
    })
}
