//! A record of the data: all keys that share an index hash, each with its value.
//!
//! u16 number of keys, then for each u32 key length, u32 value length, key, value; big-endian. Nothing in it says where
//! it ends or whether it is whole: the lengths of the files and their checksums stand in the manifest.

/// Bytes before the first key.
pub(super) const COUNT_LEN: usize = 2;
/// Bytes before each key.
pub(super) const LENGTHS_LEN: usize = 8;

/// Appends a record. The caller keeps to 65,535 keys.
pub(super) fn encode(keys: &[(Vec<u8>, Vec<u8>)], into: &mut Vec<u8>) {
    let count = u16::try_from(keys.len()).expect("the builder refuses more keys of one hash");
    into.extend_from_slice(&count.to_be_bytes());
    for (key, value) in keys {
        let len =
            |bytes: &[u8]| u32::try_from(bytes.len()).expect("the builder refuses longer ones").to_be_bytes();
        into.extend_from_slice(&len(key));
        into.extend_from_slice(&len(value));
        into.extend_from_slice(key);
        into.extend_from_slice(value);
    }
}

/// How many keys a record has.
pub(super) fn count(bytes: [u8; COUNT_LEN]) -> u16 {
    u16::from_be_bytes(bytes)
}

/// Lengths of a key and its value.
pub(super) fn lengths(bytes: [u8; LENGTHS_LEN]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}
