//! Decoders for the fuzzer: each takes any bytes, and says whether they were what it reads.

use crate::handoff::Slop;
pub use crate::membership::accepts_metadata as metadata;

/// The key of a hint in the slop store.
#[must_use]
pub fn slop(bytes: &[u8]) -> bool {
    Slop::decode_key(bytes)
        .inspect(|slop| assert_eq!(slop.encode_key(), bytes, "one hint has one key"))
        .is_some()
}
