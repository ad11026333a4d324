//! [`Round`]: what reads, puts and deletes have in common, one round of requests each.

use crate::membership::NodeFailure;
use crate::message::ReplicaError;
use crate::ring::NodeId;

/// How many replicas a round needs, and how many it would like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quorum {
    pub(super) required: usize,
    pub(super) preferred: usize,
}

/// How long a round may take, and one replica where they are asked one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) round_ns: u64,
    pub(super) node_ns: u64,
}

/// A round as it is seen from outside, whatever it asks for.
pub(super) trait Round {
    /// A replica can't be reached.
    fn failed(&mut self, now_ns: u64, node: NodeId, failure: NodeFailure);

    /// A replica says no.
    fn refused(&mut self, now_ns: u64, node: NodeId, error: ReplicaError);

    /// Whether a replica was asked and hasn't answered.
    fn is_waiting_for(&self, node: NodeId) -> bool;

    /// When [`Round::handle_timeout`] should be called at the latest.
    fn poll_timeout(&self) -> Option<u64>;

    /// Gives up on replicas whose time is up, telling `gave_up` each.
    fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId));

    /// Whether nothing more is to come: it has been answered, and no replica's answer is of interest.
    fn is_over(&self) -> bool;
}
