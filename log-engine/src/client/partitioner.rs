//! Which partition a key goes to: Kafka's default partitioner, so that both programs put a key in the same place.

/// MurmurHash2 with Kafka's seed, 32 bits.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Kafka's length is an `int` too, and wraps.
    let mut h = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, &byte) in rest.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of `key` in a topic with `partitions` partitions, as Kafka's default partitioner chooses it.
///
/// # Panics
/// If there are no partitions.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_values_of_another_client() {
        // Computed with kafka-python's `murmur2`; "21", "foobar" and the others up to there are also the vectors of
        // Kafka's own UtilsTest.
        for (key, hash) in [
            (b"".as_slice(), 275_646_681_u32),
            (b"a", 2_731_586_172),
            (b"ab", 316_155_434),
            (b"abc", 479_470_107),
            (b"abcd", 2_971_317_748),
            (b"21", 3_321_034_988),
            (b"foobar", 3_504_634_814),
            (b"a-little-bit-long-string", 3_308_985_760),
            (&[0xff, 0x80, 0x01], 1_034_853_807),
        ] {
            assert_eq!(murmur2(key), hash, "{key:?}");
        }
        assert_eq!(partition_for_key(b"abcd", 12), 8);
    }
}
