//! Why a node can't be started, or couldn't be stopped.

use engine_env::NetError;

use crate::membership::MetadataDamaged;
use crate::ring::NodeId;
use crate::storage::{CloseError, OpenError};

/// Why a node can't be started.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ring doesn't know it.
    #[error("{node} isn't in the ring; add it there first")]
    NotInRing {
        /// The node.
        node: NodeId,
    },
    /// Its store can't be opened.
    #[error("the store of {node} can't be opened")]
    Store {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: OpenError,
    },
    /// What it keeps of its own can't be read.
    #[error("the metadata of {node} can't be read")]
    Metadata {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: MetadataDamaged,
    },
    /// It can't join the network.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// Why a node couldn't be stopped cleanly. What was acknowledged is safe; the next start recovers.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// Its store couldn't be closed.
    #[error("the store of {node} couldn't be closed")]
    Store {
        /// The node.
        node: NodeId,
        /// Why not.
        #[source]
        source: CloseError,
    },
    /// Its thread panicked.
    #[error("the thread of {node} panicked; its message is in the standard error output")]
    Panicked {
        /// The node.
        node: NodeId,
    },
}
