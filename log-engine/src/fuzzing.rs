//! Decoders for the fuzzer: each takes any bytes, and says whether they were what it reads.

use crate::message::Message;

/// The layout that the fuzzer's cluster has.
const LAYOUT: u32 = 0xfeed_beef;

/// A message between brokers and clients.
#[must_use]
pub fn message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes, LAYOUT) else { return false };
    let again = message.encode(LAYOUT);
    assert_eq!(Message::decode(&again, LAYOUT), Ok(message), "what was read can be written and read");
    true
}
