//! [`MessageError`]: why bytes are no message.

use super::fields::VERSION;
use crate::ring::RingError;
use crate::version::ClockDecodeError;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes end too early.
    #[error("the message ends at byte {got}, inside of its {field}")]
    Truncated {
        /// What is cut off.
        field: &'static str,
        /// Bytes there are.
        got: usize,
    },
    /// Another layout.
    #[error(
        "the message has layout version {found}, this build reads {VERSION}; run the same build on all nodes"
    )]
    Version {
        /// The version it has.
        found: u8,
    },
    /// A kind that this build doesn't know, or an answer where a request belongs, or the other way round.
    #[error("the message is of kind {found}, which doesn't belong here; run the same build on all nodes")]
    Kind {
        /// The kind it has.
        found: u8,
    },
    /// An error code that this build doesn't know.
    #[error("the answer has the unknown error code {found}; run the same build on all nodes")]
    Code {
        /// The code it has.
        found: u16,
    },
    /// More items than its bytes can hold.
    #[error("the message announces {count} items in {left} bytes")]
    Count {
        /// Announced items.
        count: u32,
        /// Bytes left for them.
        left: usize,
    },
    /// A value that is neither yes nor no.
    #[error("the message has {found} where 0 or 1 belongs")]
    Bool {
        /// What it has.
        found: u8,
    },
    /// A change that is none of those there are.
    #[error("the message tells a change of the unknown kind {found}; run the same build on all nodes")]
    Change {
        /// The kind it has.
        found: u8,
    },
    /// A clock that is none.
    #[error("the message holds no valid clock")]
    Clock {
        /// What is wrong with it.
        #[from]
        source: ClockDecodeError,
    },
    /// A ring that is none.
    #[error("the message holds no valid ring")]
    Ring {
        /// What is wrong with it.
        #[from]
        source: RingError,
    },
    /// A ring whose partition belongs to a node that it doesn't list.
    #[error("the ring in the message gives a partition to node {owner}, which it doesn't list")]
    UnknownOwner {
        /// The node.
        owner: u16,
    },
    /// Bytes behind the end.
    #[error("{extra} bytes follow the end of the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}
