//! The materialized view: its messages, and the position that is kept with its data.

use migration::view::{Position, Reply, Request};

pub(crate) fn request(bytes: &[u8]) -> bool {
    let Ok(request) = Request::decode(bytes) else { return false };
    assert_eq!(Request::decode(&request.encode()), Ok(request), "what was read can be written and read");
    true
}

pub(crate) fn reply(bytes: &[u8]) -> bool {
    let Ok(reply) = Reply::decode(bytes) else { return false };
    assert_eq!(reply.encode(), bytes, "one reply has one form");
    true
}

pub(crate) fn position(bytes: &[u8]) -> bool {
    let Ok(position) = Position::decode(bytes) else { return false };
    assert_eq!(position.encode(), bytes, "one position has one form");
    true
}
