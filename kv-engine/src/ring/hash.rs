//! Which hash a key has: Voldemort's, so that a key lies on the partition where the original would put it.

/// 32-bit FNV-1a (first xor, then multiply), read as a signed number.
#[must_use]
pub fn key_hash(key: &[u8]) -> i32 {
    const BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 16_777_619;
    key.iter().fold(BASIS, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME)).cast_signed()
}

/// The partition of a hash, of `partitions`: the absolute value modulo their number. `i32::MIN` has no absolute value
/// and counts as `i32::MAX`, as in the original.
pub(crate) fn partition_of(hash: i32, partitions: u32) -> u32 {
    hash.checked_abs().unwrap_or(i32::MAX).unsigned_abs() % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_fnv_1a_read_as_signed() {
        assert_eq!(key_hash(b"foobar"), -1_080_231_576);
        // The published test vectors of FNV-1a.
        assert_eq!(key_hash(b"").cast_unsigned(), 0x811c_9dc5);
        assert_eq!(key_hash(b"a").cast_unsigned(), 0xe40c_292c);
    }

    #[test]
    fn partitions_come_from_the_absolute_value() {
        assert_eq!(partition_of(-1_080_231_576, 7), 1_080_231_576 % 7);
        assert_eq!(partition_of(12, 5), 2);
        assert_eq!(partition_of(-12, 5), 2);
        assert_eq!(partition_of(i32::MIN, 1000), i32::MAX.unsigned_abs() % 1000);
        assert_eq!(partition_of(0, 1), 0);
    }
}
