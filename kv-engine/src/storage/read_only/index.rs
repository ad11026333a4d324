//! The index of a bucket: hash and offset of each record, sorted by hash, each hash once.

/// Bytes of an entry: the hash, and where its record begins in the data.
pub(super) const ENTRY_LEN: usize = HASH_LEN + OFFSET_LEN;
const HASH_LEN: usize = 8;
const OFFSET_LEN: usize = 4;

/// The entry of a record.
pub(super) fn entry(hash: u64, offset: u32) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    bytes[..HASH_LEN].copy_from_slice(&hash.to_be_bytes());
    bytes[HASH_LEN..].copy_from_slice(&offset.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; ENTRY_LEN]) -> (u64, u32) {
    let hash = u64::from_be_bytes(*bytes.first_chunk().expect("eight of twelve bytes"));
    (hash, u32::from_be_bytes(*bytes.last_chunk().expect("four of twelve bytes")))
}

/// Every entry, in order; bytes behind the last whole one are ignored.
pub(super) fn entries(index: &[u8]) -> impl Iterator<Item = (u64, u32)> + '_ {
    index.as_chunks::<ENTRY_LEN>().0.iter().map(decode)
}

/// The offset of the record of `hash`, by binary search.
pub(super) fn find(index: &[u8], hash: u64) -> Option<u32> {
    let entries = index.as_chunks::<ENTRY_LEN>().0;
    let at = entries.binary_search_by_key(&hash, |bytes| decode(bytes).0).ok()?;
    Some(decode(&entries[at]).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_found_and_nothing_else(
            hashes in prop::collection::btree_set(prop_oneof![0..50u64, any::<u64>()], 0..40),
            other in prop_oneof![0..50u64, any::<u64>()],
        ) {
            let index: Vec<u8> = hashes.iter().zip(7..).flat_map(|(hash, at)| entry(*hash, at)).collect();
            for (hash, at) in hashes.iter().zip(7..) {
                prop_assert_eq!(find(&index, *hash), Some(at));
            }
            prop_assert_eq!(find(&index, other).is_some(), hashes.contains(&other));
            prop_assert!(entries(&index).map(|(hash, _)| hash).eq(hashes));
        }

        #[test]
        fn any_bytes_are_searched_without_a_panic(bytes: Vec<u8>, hash: u64) {
            let _ = find(&bytes, hash);
            prop_assert_eq!(entries(&bytes).count(), bytes.len() / 12);
        }
    }
}
