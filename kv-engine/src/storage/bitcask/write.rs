//! [`Write`]: a put or a delete on its way in, checked, with the record that it will be.

use super::Bitcask;
use super::entry::Place;
use super::record::{At, Content, RecordKind, value_crc};
use crate::config::KvConfig;
use crate::storage::PutError;
use crate::version::{ENTRIES_LIMIT, VectorClock, Versioned};

/// A put or a delete on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) key: &'a [u8],
    pub(super) content: Content<'a>,
}

impl<'a> Write<'a> {
    pub(super) fn put(key: &'a [u8], version: &'a Versioned, config: &KvConfig) -> Result<Self, PutError> {
        let (len, max) = (key.len(), config.key_bytes_max);
        if len > max {
            return Err(PutError::KeyTooLong { len, max });
        }
        let (len, max) = (version.value.len(), config.value_bytes_max);
        if len > max {
            return Err(PutError::ValueTooLong { len, max });
        }
        check_clock(&version.clock)?;
        let value = version.value.as_slice();
        let content =
            Content { kind: RecordKind::Put, key, clock: &version.clock, value, value_crc: value_crc(value) };
        Ok(Self { key, content })
    }

    pub(super) fn delete(key: &'a [u8], version: &'a VectorClock) -> Result<Self, PutError> {
        check_clock(version)?;
        let content = Content {
            kind: RecordKind::Tombstone,
            key,
            clock: version,
            value: &[],
            value_crc: value_crc(&[]),
        };
        Ok(Self { key, content })
    }

    pub(super) fn is_put(&self) -> bool {
        self.content.kind == RecordKind::Put
    }

    pub(super) fn effect(&self, at: At, sequence: u64, len: u64) -> Effect {
        let clock = self.content.clock.clone();
        match self.content.kind {
            RecordKind::Tombstone => Effect::Delete(clock),
            RecordKind::Put => Effect::Put(Place {
                clock,
                sequence,
                position: at.position,
                segment: at.segment,
                len: u32::try_from(len).expect("key, clock and value are below 4 GiB together"),
            }),
        }
    }
}

/// What a record does to the key directory.
#[derive(Debug)]
pub(super) enum Effect {
    Put(Place),
    Delete(VectorClock),
}

/// A record is only written with a clock that can be read back.
fn check_clock(clock: &VectorClock) -> Result<(), PutError> {
    let entries = clock.entries().len();
    if entries > ENTRIES_LIMIT { Err(PutError::ClockTooLong { entries }) } else { Ok(()) }
}

impl<F> Bitcask<F> {
    /// Whether a put may be made at all, whatever is stored.
    ///
    /// # Errors
    /// Its key, value or clock is too long.
    pub fn check_put(&self, key: &[u8], version: &Versioned) -> Result<(), PutError> {
        Write::put(key, version, &self.config).map(drop)
    }
}
