//! The fields of messages, written one after the other and taken off again: little-endian but for clocks, which have
//! Voldemort's bytes.

use super::{MessageError, RequestId};
use crate::version::{VectorClock, Versioned};

/// The version of the layout that this build writes and reads.
pub(super) const VERSION: u8 = 1;
pub(super) const HEADER_LEN: usize = 1 + 1 + 8;

/// The fewest bytes a key takes: its length.
pub(super) const KEY_LEN_MIN: usize = 2;
/// The fewest bytes a clock has: the empty one's.
pub(super) const CLOCK_LEN_MIN: usize = 11;
/// Longest text of an error, in bytes.
const TEXT_LEN_MAX: usize = 1000;

pub(super) fn message(kind: u8, id: RequestId, body_len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body_len);
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(&id.0.to_le_bytes());
    bytes
}

pub(super) fn push_key(bytes: &mut Vec<u8>, key: &[u8]) {
    let len = u16::try_from(key.len()).expect("whoever asks has checked the key's length");
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(key);
}

pub(super) fn versions_len(versions: &[Versioned]) -> usize {
    4 + versions.iter().map(|v| 4 + v.clock.encoded_len() + v.value.len()).sum::<usize>()
}

pub(super) fn push_versions(bytes: &mut Vec<u8>, versions: &[Versioned]) {
    push_len(bytes, versions.len());
    for version in versions {
        push_len(bytes, version.clock.encoded_len() + version.value.len());
        version.clock.encode(bytes);
        bytes.extend_from_slice(&version.value);
    }
}

pub(super) fn push_len(bytes: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("values end at 1 GiB, and a key has few versions");
    bytes.extend_from_slice(&len.to_le_bytes());
}

pub(super) fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_LEN_MAX)];
    bytes.extend_from_slice(&u16::try_from(text.len()).expect("cut above").to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left of a message.
pub(crate) struct Rest<'a> {
    bytes: &'a [u8],
    /// Length of the whole message.
    len: usize,
}

impl<'a> Rest<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, len: bytes.len() }
    }

    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], MessageError> {
        let (head, tail) =
            self.bytes.split_at_checked(len).ok_or(MessageError::Truncated { field, got: self.len })?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn array<const LEN: usize>(&mut self, field: &'static str) -> Result<[u8; LEN], MessageError> {
        Ok(self.take(LEN, field)?.try_into().expect("as long as asked for"))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, MessageError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, MessageError> {
        match self.array("flag")? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(MessageError::Bool { found }),
        }
    }

    pub(super) fn header(&mut self) -> Result<(u8, RequestId), MessageError> {
        let [version, kind] = self.array("header")?;
        if version != VERSION {
            return Err(MessageError::Version { found: version });
        }
        Ok((kind, RequestId(self.u64("header")?)))
    }

    pub(crate) fn key(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.u16("key length")?;
        self.take(len.into(), "key")
    }

    pub(crate) fn clock(&mut self) -> Result<VectorClock, MessageError> {
        let (clock, used) = VectorClock::decode(self.bytes)?;
        self.bytes = &self.bytes[used..];
        Ok(clock)
    }

    pub(crate) fn versions(&mut self) -> Result<Vec<Versioned>, MessageError> {
        let count = self.count(4 + CLOCK_LEN_MIN)?;
        let mut versions = Vec::with_capacity(count);
        for _ in 0..count {
            let len = self.u32("version length")? as usize;
            versions.push(Versioned::decode(self.take(len, "version")?)?);
        }
        Ok(versions)
    }

    /// A number of items of which each takes at least `item_len_min` bytes.
    pub(crate) fn count(&mut self, item_len_min: usize) -> Result<usize, MessageError> {
        let count = self.u32("count")?;
        if count as usize > self.bytes.len() / item_len_min {
            return Err(MessageError::Count { count, left: self.bytes.len() });
        }
        Ok(count as usize)
    }

    /// A text that is for reading only: what isn't UTF-8 in it is replaced.
    pub(crate) fn text(&mut self) -> Result<String, MessageError> {
        let len = self.u16("text length")?;
        Ok(String::from_utf8_lossy(self.take(len.into(), "text")?).into_owned())
    }

    pub(crate) fn end(&self) -> Result<(), MessageError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(MessageError::Trailing { extra: self.bytes.len() }) }
    }
}
