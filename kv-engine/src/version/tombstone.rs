//! Replica tombstones: a delete that leaves a version behind, beyond the original. It has a clock like any other, so
//! older puts stay obsolete, and read repair and hints carry it like any other.
//!
//! Bytes: the mark alone is a tombstone. A value that happens to begin with the mark is stored with one mark more, so
//! that every value can be stored, and nearly every one as it is.

use super::Versioned;

/// Sixteen bytes that no value begins with by chance.
const MARK: [u8; 16] = *b"\xffkv-tombstone\x00\x01\xff";

/// The bytes of a tombstone.
pub(crate) fn tombstone() -> Vec<u8> {
    MARK.to_vec()
}

/// The bytes as which a value is stored.
pub(crate) fn stored(value: Vec<u8>) -> Vec<u8> {
    if value.starts_with(&MARK) { [&MARK, value.as_slice()].concat() } else { value }
}

/// What a client with replica tombstones makes of a version as it is stored: the value that was written, or `None` if it is
/// the tombstone of a delete. For those who see stored versions, as a follower does.
#[must_use]
pub fn live_version(version: Versioned) -> Option<Versioned> {
    match version.value.strip_prefix(&MARK) {
        None => Some(version),
        Some([]) => None,
        Some(rest) => Some(Versioned { value: rest.to_vec(), clock: version.clock }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::VectorClock;
    use super::*;
    use proptest::prelude::*;

    fn read(value: Vec<u8>) -> Option<Vec<u8>> {
        live_version(Versioned::new(VectorClock::empty(0), value)).map(|version| version.value)
    }

    #[test]
    fn a_value_that_looks_like_a_tombstone_is_none() {
        assert_eq!(read(tombstone()), None);
        for value in [tombstone(), [tombstone(), tombstone()].concat(), [tombstone(), vec![7]].concat()] {
            assert_ne!(stored(value.clone()), value);
            assert_eq!(read(stored(value.clone())), Some(value));
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back(marks in 0usize..3, cut in 0usize..16, rest: Vec<u8>) {
            let value = [MARK.repeat(marks), MARK[..cut].to_vec(), rest].concat();
            prop_assert_eq!(read(stored(value.clone())), Some(value));
        }
    }
}
