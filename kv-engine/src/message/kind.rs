//! Kinds of messages: their second byte.

use super::rebalance::RebalanceRequest;

/// Kinds of requests: the original's opcodes where it has one.
pub(super) const GET: u8 = 1;
pub(super) const PUT: u8 = 2;
pub(super) const DELETE: u8 = 3;
pub(super) const GET_ALL: u8 = 4;
pub(super) const GET_VERSIONS: u8 = 10;
pub(super) const PING: u8 = 32;
pub(super) const HINT: u8 = 33;
pub(super) const CHANGES: u8 = 34;
pub(super) const GET_RING: u8 = 35;
pub(super) const GET_HASHES: u8 = 36;
pub(super) const GET_LEAVES: u8 = 37;
/// An answer's kind is that of its request with this bit.
pub(super) const ANSWER: u8 = 0x80;
pub(super) const REFUSED: u8 = 0xff;

/// Whether these bytes, if they are a message, are an answer.
pub(crate) fn is_response(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|kind| kind & ANSWER != 0)
}

/// Whether these bytes, if they are a message, are a [`RebalanceRequest`].
pub(crate) fn asks_to_rebalance(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|kind| RebalanceRequest::is_kind(*kind))
}

/// Whether these bytes, if they are a message, are a [`Request::Changes`](super::Request::Changes).
pub(crate) fn asks_for_changes(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&CHANGES)
}

/// Whether these bytes, if they are a message, are a [`Request::GetHashes`](super::Request::GetHashes) or a
/// [`Request::GetLeaves`](super::Request::GetLeaves).
pub(crate) fn asks_about_trees(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(&(GET_HASHES | GET_LEAVES)))
}
