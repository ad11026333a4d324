//! Where a key stands in the read-only format: its index hash and its chunk, both from MD5.

use md5::{Digest, Md5};

/// The first eight bytes of the key's MD5, big-endian: what the index is sorted by.
pub(super) fn index_hash(key: &[u8]) -> u64 {
    let digest: [u8; 16] = Md5::digest(key).into();
    u64::from_be_bytes(*digest.first_chunk().expect("16 bytes"))
}

/// The chunk of an index hash, of `chunks`: the absolute value of the digest's first four bytes as a signed number,
/// modulo their number. `i32::MIN` has no absolute value and counts as 0, as in the original.
pub(super) fn chunk_of(hash: u64, chunks: u32) -> u32 {
    let head = ((hash >> 32) as u32).cast_signed();
    head.checked_abs().unwrap_or(0).unsigned_abs() % chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_head_of_md5() {
        // RFC 1321, appendix A.5: d41d8cd98f00b204e980..., 900150983cd24fb0d696...
        assert_eq!(index_hash(b""), 0xd41d_8cd9_8f00_b204);
        assert_eq!(index_hash(b"abc"), 0x9001_5098_3cd2_4fb0);
    }

    #[test]
    fn chunks_come_from_the_absolute_value_of_the_first_four_bytes() {
        assert_eq!(chunk_of(0x0000_0007_ffff_ffff, 4), 3);
        assert_eq!(chunk_of(0xffff_fff9_0000_0000, 4), 3, "-7");
        assert_eq!(chunk_of(0x8000_0000_0000_0000, 4), 0, "no absolute value");
        assert_eq!(chunk_of(0x8000_0001_0000_0000, 10), 7, "2147483647 mod 10");
        assert_eq!(chunk_of(index_hash(b"abc"), 1), 0);
    }
}
