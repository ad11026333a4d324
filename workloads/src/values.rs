//! Values that say themselves whether they are right.
//!
//! A generated value of 32 bytes or more begins with a header; everything is little-endian:
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | magic `57 42 76 31` ("WBv1") |
//! | 4 | 4 | length of the whole value |
//! | 8 | 4 | key index |
//! | 12 | 4 | stream: a tag of the seed the value was made from |
//! | 16 | 8 | version: the number of the operation in its stream, 0 for the preload |
//! | 24 | 8 | checksum over bytes 0..24 and 32.. (xxh3 of both parts, mixed) |
//!
//! A shorter one has no room for that and is derived from (stream, key index, version), so that it can be made
//! again and compared. A recorded one is somebody else's bytes, known by its [`Fingerprint`].

use crate::text;
use engine_env::rng::{Seed, mix};
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// Values at least this long carry a header.
pub const HEADER_LEN: usize = 32;

const MAGIC: [u8; 4] = *b"WBv1";
const CHECKSUM_AT: usize = 24;
const _: () = assert!(CHECKSUM_AT + size_of::<u64>() == HEADER_LEN);

/// A tag of the seed that a stream of values was made from; it keeps the values of two streams apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamTag(pub u32);

impl StreamTag {
    /// The tag of a seed.
    #[must_use]
    pub fn of(seed: Seed) -> Self {
        // Zero is left for values that carry no tag.
        Self(((seed.derive("values", 0).0 >> 32) as u32).max(1))
    }
}

/// Who wrote a value: what the header of a generated value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The key it belongs to.
    pub key_index: u32,
    /// The stream that made it.
    pub stream: StreamTag,
    /// The operation of that stream that wrote it; 0 is the preload.
    pub version: u64,
}

/// A 64-bit digest of a value's bytes, by which the model recognises it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The digest of any bytes: generated, recorded or damaged. One pass over them.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.get(CHECKSUM_AT..HEADER_LEN) {
            Some(stored) => {
                Self::from_checksums(checksum(bytes), u64::from_le_bytes(stored.try_into().expect("8 bytes")))
            }
            None => Self::from_hash(xxh3_64(bytes)),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// So that the checksum of a generated value, already computed, also yields its fingerprint.
    fn from_checksums(computed: u64, stored: u64) -> Self {
        Self::from_hash(mix(computed.rotate_left(29) ^ stored).wrapping_add(computed))
    }

    fn from_hash(hash: u64) -> Self {
        Self(hash.max(1))
    }
}

/// The bytes of a value that is to be written.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Vec<u8>,
    fingerprint: Fingerprint,
    label: Option<Label>,
}

impl Value {
    /// A self-checking value of exactly `len` bytes, filled with text that compresses like a profile.
    #[must_use]
    pub fn generate(stream: StreamTag, key_index: u32, version: u64, len: usize) -> Self {
        let label = Label { key_index, stream, version };
        if len < HEADER_LEN {
            let bytes = short_bytes(label, len);
            let fingerprint = Fingerprint::of(&bytes);
            return Self { bytes, fingerprint, label: Some(label) };
        }
        let mut bytes = Self::room(len);
        text::corpus().fill(&mut bytes, len - HEADER_LEN, label_hash(label));
        Self::seal(bytes, label)
    }

    /// A value of somebody else's bytes.
    #[must_use]
    pub fn recorded(bytes: Vec<u8>) -> Self {
        let fingerprint = Fingerprint::of(&bytes);
        Self { bytes, fingerprint, label: None }
    }

    /// An empty buffer with the header's room in front, to be filled and then [sealed](Self::seal). It has a step more
    /// than `len`, see [`text::STEP`].
    pub(crate) fn room(len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(HEADER_LEN) + text::STEP);
        bytes.extend_from_slice(&[0; HEADER_LEN]);
        bytes
    }

    /// Writes the header in front of what the buffer holds.
    pub(crate) fn seal(mut bytes: Vec<u8>, label: Label) -> Self {
        let len = u32::try_from(bytes.len()).expect("a generated value is far below 4 GiB");
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[8..12].copy_from_slice(&label.key_index.to_le_bytes());
        bytes[12..16].copy_from_slice(&label.stream.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&label.version.to_le_bytes());
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
        Self { bytes, fingerprint: Fingerprint::from_checksums(sum, sum), label: Some(label) }
    }

    /// The bytes to write.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The digest by which the model recognises it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Who wrote it; `None` for a recorded value.
    #[must_use]
    pub fn label(&self) -> Option<Label> {
        self.label
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes, {:016x}, {:?})", self.bytes.len(), self.fingerprint.0, self.label)
    }
}

/// What is wrong with bytes that should be a certain generated value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueFault {
    /// No header: other bytes, or the front is damaged.
    #[error("the value does not begin with the header of a generated value ({found} bytes)")]
    NoHeader {
        /// Length of what was found, in bytes.
        found: usize,
    },
    /// Cut short, or something was appended.
    #[error("the value is {found} bytes long, its header says {stated}")]
    WrongLength {
        /// What the header says, in bytes.
        stated: u32,
        /// Length of what was found, in bytes.
        found: usize,
    },
    /// Some byte differs from what was written.
    #[error("the value's checksum is {stored:016x}, its bytes give {computed:016x}")]
    BadChecksum {
        /// In the header.
        stored: u64,
        /// Of the bytes.
        computed: u64,
    },
    /// A whole value, but of another key.
    #[error("the value belongs to key {found}, asked was key {asked}")]
    WrongKey {
        /// The key index in the header.
        found: u32,
        /// The key index asked for.
        asked: u32,
    },
    /// A whole value of this key, but another version.
    #[error("the value is version {found}, expected was version {expected}")]
    WrongVersion {
        /// The version in the header.
        found: u64,
        /// The version asked for.
        expected: u64,
    },
    /// A whole value, but too short to hold a count.
    #[error("the value ({found} bytes) is too short to hold a count")]
    NoCount {
        /// Length of what was found, in bytes.
        found: usize,
    },
    /// A value under 32 bytes that differs from the one derived from (stream, key, version).
    #[error("the short value ({found} bytes) is not the one derived for key {key_index}, version {version}")]
    NotDerived {
        /// Length of what was found, in bytes.
        found: usize,
        /// The key index asked for.
        key_index: u32,
        /// The version asked for.
        version: u64,
    },
}

/// Checks that `bytes` are a whole generated value (32 bytes or more) and tells which.
///
/// # Errors
/// [`ValueFault`] names what is wrong; never panics, whatever the bytes.
pub fn read_label(bytes: &[u8]) -> Result<Label, ValueFault> {
    let found = bytes.len();
    if found < HEADER_LEN || bytes[..4] != MAGIC {
        return Err(ValueFault::NoHeader { found });
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("inside the header"));
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("inside the header"));
    let stated = word(4);
    if stated as usize != found {
        return Err(ValueFault::WrongLength { stated, found });
    }
    let (stored, computed) = (long(CHECKSUM_AT), checksum(bytes));
    if stored != computed {
        return Err(ValueFault::BadChecksum { stored, computed });
    }
    Ok(Label { key_index: word(8), stream: StreamTag(word(12)), version: long(16) })
}

/// Checks that `bytes` are the generated value that `label` names.
///
/// # Errors
/// [`ValueFault`]: damaged, of another key, or of another version.
pub fn check(bytes: &[u8], label: Label) -> Result<(), ValueFault> {
    if bytes.len() < HEADER_LEN {
        return if bytes == short_bytes(label, bytes.len()) {
            Ok(())
        } else {
            let Label { key_index, version, .. } = label;
            Err(ValueFault::NotDerived { found: bytes.len(), key_index, version })
        };
    }
    let found = read_label(bytes)?;
    if found.key_index != label.key_index {
        return Err(ValueFault::WrongKey { found: found.key_index, asked: label.key_index });
    }
    if (found.version, found.stream) != (label.version, label.stream) {
        return Err(ValueFault::WrongVersion { found: found.version, expected: label.version });
    }
    Ok(())
}

/// Covers all bytes but the checksum itself; `bytes` must hold a header.
fn checksum(bytes: &[u8]) -> u64 {
    mix(xxh3_64(&bytes[..CHECKSUM_AT]) ^ xxh3_64(&bytes[HEADER_LEN..]).rotate_left(23))
}

fn label_hash(label: Label) -> u64 {
    mix(label.version ^ mix(u64::from(label.stream.0) << 32 | u64::from(label.key_index)))
}

fn short_bytes(label: Label, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    let mut word = label_hash(label);
    while bytes.len() < len {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = mix(word.wrapping_add(0x9e37_79b9_7f4a_7c15));
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: StreamTag = StreamTag(7);

    fn label(key_index: u32, version: u64) -> Label {
        Label { key_index, stream: STREAM, version }
    }

    #[test]
    fn a_generated_value_has_its_length_and_checks_at_any_length() {
        for len in (0..200).chain([1100, 9000, 70_000]) {
            let value = Value::generate(STREAM, 5, 9, len);
            assert_eq!(value.len(), len);
            assert_eq!(check(value.as_bytes(), label(5, 9)), Ok(()));
            assert_eq!(Fingerprint::of(value.as_bytes()), value.fingerprint());
            assert_eq!(value, Value::generate(STREAM, 5, 9, len));
        }
    }

    #[test]
    fn another_key_or_version_is_named() {
        let value = Value::generate(STREAM, 5, 9, 100);
        assert_eq!(check(value.as_bytes(), label(6, 9)), Err(ValueFault::WrongKey { found: 5, asked: 6 }));
        assert_eq!(
            check(value.as_bytes(), label(5, 10)),
            Err(ValueFault::WrongVersion { found: 9, expected: 10 })
        );
        let short = Value::generate(STREAM, 5, 9, 8);
        assert!(check(short.as_bytes(), label(5, 10)).is_err());
        assert!(check(short.as_bytes(), label(6, 9)).is_err());
    }

    #[test]
    fn a_cut_or_lengthened_value_is_told_from_a_damaged_one() {
        let bytes = Value::generate(STREAM, 1, 1, 500).into_bytes();
        assert_eq!(read_label(&bytes[..499]), Err(ValueFault::WrongLength { stated: 500, found: 499 }));
        assert_eq!(read_label(&bytes[..31]), Err(ValueFault::NoHeader { found: 31 }));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(read_label(&longer), Err(ValueFault::WrongLength { stated: 500, found: 501 }));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(len in 1_usize..600, bit in any::<prop::sample::Index>()) {
            let value = Value::generate(STREAM, 3, 4, len);
            let mut bytes = value.as_bytes().to_vec();
            let bit = bit.index(len * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&bytes, label(3, 4)).is_err());
            prop_assert_ne!(Fingerprint::of(&bytes), value.fingerprint());
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_label(&bytes);
            let _ = check(&bytes, label(0, 0));
            let _ = Fingerprint::of(&bytes);
        }
    }
}
