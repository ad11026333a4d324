//! The fields of a message, written one after the other and taken off again, little-endian.

use super::{HEADER_LEN, MessageError, VERSION};
use crate::Offset;
use crate::log::leader_epochs::Epoch;

/// Appends fields to a message.
#[derive(Debug)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn new(kind: u8, layout: u32, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_LEN + capacity);
        bytes.extend_from_slice(&[VERSION, kind, 0, 0]);
        bytes.extend_from_slice(&layout.to_le_bytes());
        Self(bytes)
    }

    pub(super) fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub(super) fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn i64(&mut self, n: i64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn epoch(&mut self, n: Epoch) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    pub(super) fn count(&mut self, n: usize) {
        self.u32(u32::try_from(n).expect("a message holds fewer than 2^32 things"));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

/// Takes fields off a message.
#[derive(Debug)]
pub(super) struct In<'a> {
    pub(super) whole: usize,
    pub(super) rest: &'a [u8],
}

impl<'a> In<'a> {
    pub(super) fn malformed(&self, what: &'static str) -> MessageError {
        MessageError::Malformed { at: self.whole - self.rest.len(), what }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        Ok(self.take(N)?.try_into().expect("take() gives what was asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, MessageError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn epoch(&mut self) -> Result<Epoch, MessageError> {
        Ok(Epoch::from_le_bytes(self.array()?))
    }

    /// Far from the end of 64 bits: no sum of an offset and a count overflows.
    pub(super) fn offset(&mut self) -> Result<Offset, MessageError> {
        match self.u64()? {
            n if n < 1 << 62 => Ok(Offset(n)),
            _ => Err(self.malformed("an offset is beyond 2^62")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| self.malformed("a length is beyond the address space"))?)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, MessageError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map_err(|_| self.malformed("a sentence isn't UTF-8"))
    }

    /// A counted list, whose entries take at least `entry_len` bytes each.
    pub(super) fn list<T>(
        &mut self,
        entry_len: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / entry_len {
            return Err(self.malformed("a count goes beyond the message's end"));
        }
        (0..count).map(|_| entry(self)).collect()
    }
}
