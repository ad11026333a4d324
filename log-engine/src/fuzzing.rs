//! Decoders for the fuzzer: each takes any bytes, and says whether they were what it reads.

use crate::Offset;
use crate::log::producer_snapshot;
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

/// What a log knew of its producers, as opening reads it and `workbench inspect` tells it. Also with the checksum that the
/// bytes would need, so that what lies behind it is reached.
#[must_use]
pub fn producer_snapshot(bytes: &[u8]) -> bool {
    /// Last sequence, last offset, offset delta, timestamp.
    const BATCH_LEN: usize = 4 + 8 + 4 + 8;
    let look = |bytes: &[u8]| {
        let Ok(producers) = crate::inspect::producer_snapshot(bytes) else { return false };
        let batches: usize = producers.iter().map(|producer| producer.batches.len()).sum();
        assert!(batches * BATCH_LEN <= bytes.len(), "every batch was paid for");
        let _ = producer_snapshot::decode(bytes, Offset(1 << 40), 100);
        true
    };
    let mut vouched = bytes.to_vec();
    producer_snapshot::vouch_for(&mut vouched);
    look(&vouched);
    look(bytes)
}
