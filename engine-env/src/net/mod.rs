//! The network's border: [`Net`] gives each party a [`Port`], and messages are encoded bytes whatever stands behind it.
//!
//! A message arrives whole, at most once, and in order between two ports while the connection between them lasts.
//! Nothing more is promised: what was sent to a party that died may be lost, and a protocol's own timeouts decide.
//!
//! | network | its ports | for |
//! | --- | --- | --- |
//! | [`LocalNet`] | queues in memory, one process | clusters in one process |
//! | [`TcpNet`] | sockets, length-prefixed frames | clusters of processes, and what a real network stack costs |
//! | [`SimNet`](crate::sim::SimNet) | one queue of events in virtual time | tests: loss, reorder, partition, from one seed |
//!
//! All three pass one conformance suite. The first two add delays ([`NetProfile`]) in one place, at the receiving port.
//!
//! **Nothing here waits for a receiver that doesn't read.** Up to [`UNREAD_BYTES_MAX`] wait for it; then the connection
//! is cut, both ends get [`Arrival::Unreachable`], and what was sent and not read may be lost. A protocol that keeps its
//! requests in flight below that bound never meets it.

mod local;
mod profile;
mod tcp;
mod transit;

use std::fmt;
use std::time::Duration;

pub use local::{LocalNet, LocalPort};
pub use profile::{NetProfile, UnknownNetProfile};
#[cfg(feature = "fuzzing")]
pub use tcp::fuzz_frames;
pub use tcp::{TcpNet, TcpPort};

use crate::{Wait, Waker};

/// A party on the network: a node or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(pub u32);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// The longest message, in bytes. A longer one isn't sent: its receiver counts as unreachable.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What may be queued from one party to another that doesn't read, in bytes, before the connection is cut. One flush or
/// one mebibyte may exceed it, and the operating system's socket buffers come on top.
pub const UNREAD_BYTES_MAX: usize = 64 << 20;

/// What comes out of a [`Port`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message.
    Message {
        /// Who sent it.
        from: Peer,
        /// Its bytes, as they were sent.
        bytes: Vec<u8>,
    },
    /// The connection to a party broke, or couldn't be made: what was sent to it and isn't answered may be lost.
    /// What it had sent before comes first. The next send tries again.
    Unreachable {
        /// Who can't be reached.
        peer: Peer,
    },
}

/// What a port has carried since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Messages sent.
    pub messages: u64,
    /// Bytes of these messages.
    pub bytes: u64,
}

/// Why a port can't be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Another port of this network has the name.
    #[error("{peer} is on the network already; close its port first")]
    Taken {
        /// The name.
        peer: Peer,
    },
    /// The operating system refuses what a client needs.
    #[error("{peer} can't join the network: {why}; raise the limit on open files, or close some ports")]
    Join {
        /// Who wanted to.
        peer: Peer,
        /// What the operating system says.
        why: String,
    },
    /// The operating system refuses the address.
    #[error("{peer} can't listen at {address}: {why}; choose another address")]
    Listen {
        /// Who wanted to.
        peer: Peer,
        /// Where.
        address: String,
        /// What the operating system says.
        why: String,
    },
}

/// How long a message is under way, one way, beyond what the machine itself needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delay(pub Duration);

/// A network that parties join.
pub trait Net: Clone + Send + Sync + 'static {
    /// Its ports.
    type Port: Port;

    /// Joins as `me`. A node can be reached by everybody; that a client can be reached is promised only to those that it
    /// has sent to.
    ///
    /// # Errors
    /// Somebody else is `me`, or the operating system refuses.
    fn join(&self, me: Peer) -> Result<Self::Port, NetError>;
}

/// One party's access to the network, owned by its thread. Dropping it leaves the network, as a killed process would.
pub trait Port: Send + 'static {
    /// Whose it is.
    fn me(&self) -> Peer;

    /// Queues a message. It goes with the next [`Port::flush`], or earlier.
    fn send(&mut self, to: Peer, bytes: Vec<u8>);

    /// Sends what is queued: one wake or one system call for each receiver.
    fn flush(&mut self);

    /// Moves everything that has arrived to the end of `out`, flushing first, and waiting for a first arrival as `wait`
    /// says. Ends early, perhaps with nothing, when it is woken; wakes from before it returned are spent then, so results
    /// that come another way are looked for after each call.
    ///
    /// Gives whether it was woken. Something may have arrived at the same time, so arrivals don't tell: who waits in turns
    /// and takes an arrival for the whole news sleeps through what it was woken for.
    fn receive(&mut self, wait: Wait, out: &mut Vec<Arrival>) -> bool;

    /// Ends this port's wait, from any thread: for results that don't come through the network.
    fn waker(&self) -> Waker;

    /// What it has carried.
    fn stats(&self) -> PortStats;
}
