//! Reading a record batch: 61 bytes of header, then records, perhaps packed. Plain records are borrowed where they lie.
//!
//! Base offset, batch length and leader epoch lie in front of the checksummed part, so that a log can give a
//! producer's batch its offset without touching the rest. What that costs is told in `docs/formats/log-folder.md`
//! (stale data).

use std::borrow::Cow;

use super::compression::{Compression, UNPACKED_BYTES_MAX};
use super::record::RecordView;
use super::varint;
use crate::Offset;

// Offsets of the fields, each built from the one before it.
pub(super) const BASE_OFFSET: usize = 0;
pub(super) const BATCH_LENGTH: usize = BASE_OFFSET + 8;
pub(super) const LEADER_EPOCH: usize = BATCH_LENGTH + 4;
pub(super) const MAGIC: usize = LEADER_EPOCH + 4;
pub(super) const CRC: usize = MAGIC + 1;
pub(super) const ATTRIBUTES: usize = CRC + 4;
pub(super) const LAST_OFFSET_DELTA: usize = ATTRIBUTES + 2;
pub(super) const BASE_TIMESTAMP: usize = LAST_OFFSET_DELTA + 4;
pub(super) const MAX_TIMESTAMP: usize = BASE_TIMESTAMP + 8;
pub(super) const PRODUCER_ID: usize = MAX_TIMESTAMP + 8;
pub(super) const PRODUCER_EPOCH: usize = PRODUCER_ID + 8;
pub(super) const BASE_SEQUENCE: usize = PRODUCER_EPOCH + 2;
pub(super) const RECORDS_COUNT: usize = BASE_SEQUENCE + 4;
/// Bytes of a batch before its first record.
pub const BATCH_HEADER_LEN: usize = RECORDS_COUNT + 4;
/// What the batch length field doesn't count: itself and the base offset.
pub(crate) const LENGTH_PREFIX: usize = BATCH_LENGTH + 4;

const _: () = assert!(BATCH_HEADER_LEN == 61, "the specification's header is 61 bytes");
const _: () = assert!(CRC == 17 && ATTRIBUTES == 21, "the checksum covers everything from byte 21");

/// The only version that is read and written.
pub(super) const MAGIC_V2: u8 = 2;
/// The attribute bit that says: every record's timestamp is the batch's latest, the time of its append.
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
/// The attribute bit of control batches.
const CONTROL: i16 = 0x20;

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch is cut short: it needs {needed} bytes and has {have}")]
    Incomplete {
        /// Bytes that the batch needs, as far as is known.
        needed: u64,
        /// Bytes that there are.
        have: u64,
    },
    /// Zeros where a batch's header should be: space that was prepared and not written yet.
    #[error("no batch was written here: the space is zero")]
    Zero,
    /// The length field can't be true.
    #[error("the batch length field says {found}, and a batch has at least 49 bytes there")]
    Length {
        /// The field's value.
        found: i32,
    },
    /// Another version.
    #[error("the batch has magic {found}; this program reads magic 2 (Apache Kafka 0.11 and later)")]
    Magic {
        /// The field's value.
        found: u8,
    },
    /// The stored checksum isn't that of the bytes.
    #[error("the batch's CRC-32C is {computed:08x} and its header says {stored:08x}")]
    Crc {
        /// From the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Records that this program can't unpack.
    #[error(
        "the batch's records are packed with codec {number}; gzip (1), snappy (2), lz4 (3) and zstd (4) are known"
    )]
    Codec {
        /// The attribute bits.
        number: u8,
    },
    /// Records that don't unpack though the checksum is right.
    #[error("the batch's records don't unpack with {codec}: {why}")]
    Unpack {
        /// The codec.
        codec: Compression,
        /// What its decoder says.
        why: String,
    },
    /// Records that unpack to more than is taken into memory.
    #[error(
        "the batch's records unpack with {codec} to more than {bytes_max} bytes, the most that is read of one batch"
    )]
    UnpackedTooLarge {
        /// The codec.
        codec: Compression,
        /// The limit.
        bytes_max: usize,
    },
    /// The batch is whole, but not the one that belongs here.
    #[error("the batch starts at offset {found}, and {expected} is next")]
    BaseOffset {
        /// The offset that should come.
        expected: u64,
        /// The field's value.
        found: i64,
    },
    /// Something follows where one batch was to come alone.
    #[error("{bytes} bytes follow the batch, which was to come alone")]
    Behind {
        /// How many.
        bytes: u64,
    },
    /// Counts in the header contradict each other.
    #[error("the batch says it has {records} records and a last offset delta of {last_offset_delta}")]
    Count {
        /// Number of records.
        records: i32,
        /// Offset of the last one, counted from the first.
        last_offset_delta: i32,
    },
    /// A record is malformed though the checksum is right.
    #[error("record {index} of the batch is malformed: {what}")]
    Record {
        /// Which one, from 0.
        index: i32,
        /// What is wrong.
        what: &'static str,
    },
}

/// A batch in bytes, borrowed. The header is checked when it is made; the checksum when asked.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// The header can't be true, or the batch is longer than `bytes`. The checksum is not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let have = bytes.len() as u64;
        if bytes.len() < LENGTH_PREFIX {
            return Err(BatchError::Incomplete { needed: BATCH_HEADER_LEN as u64, have });
        }
        let length = i32::from_be_bytes(field(bytes, BATCH_LENGTH));
        if length == 0 && bytes.iter().take(BATCH_HEADER_LEN).all(|&b| b == 0) {
            return Err(BatchError::Zero);
        }
        let len = usize::try_from(length)
            .ok()
            .and_then(|n| n.checked_add(LENGTH_PREFIX))
            .filter(|&n| n >= BATCH_HEADER_LEN)
            .ok_or(BatchError::Length { found: length })?;
        if let Some(&magic) = bytes.get(MAGIC)
            && magic != MAGIC_V2
        {
            return Err(BatchError::Magic { found: magic });
        }
        let Some(bytes) = bytes.get(..len) else {
            return Err(BatchError::Incomplete { needed: len as u64, have });
        };
        let batch = Self { bytes };
        let (records, last_offset_delta) = (batch.records_count(), batch.last_offset_delta());
        if records < 0
            || last_offset_delta < 0
            || records > last_offset_delta.saturating_add(1)
            || batch.base_offset_field().checked_add(i64::from(last_offset_delta) + 1).is_none()
        {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        Ok(batch)
    }

    /// Whole length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least its header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn base_offset_field(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, BASE_OFFSET))
    }

    /// Offset of the first record; a negative one, which no log has, reads as 0.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(u64::try_from(self.base_offset_field()).unwrap_or(0))
    }

    pub(super) fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, LAST_OFFSET_DELTA))
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(u64::from(self.last_offset_delta().unsigned_abs()))
    }

    /// The offset behind the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Number of records.
    #[must_use]
    pub fn records_count(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, RECORDS_COUNT))
    }

    /// Epoch of the leader that appended it; -1 where nobody leads.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, LEADER_EPOCH))
    }

    /// Attribute bits: codec, timestamp type, transactional, control.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(field(self.bytes, ATTRIBUTES))
    }

    /// How the records are packed.
    ///
    /// # Errors
    /// An unknown codec.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::of_attributes(self.attributes()).map_err(|number| BatchError::Codec { number })
    }

    /// Whether it is a marker of a transaction's end, not of a producer's records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Whether the timestamps are those of the append, not of the records' creation.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// Timestamp of the first record, milliseconds since the Unix epoch.
    #[must_use]
    pub fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, BASE_TIMESTAMP))
    }

    /// Latest timestamp of a record.
    #[must_use]
    pub fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, MAX_TIMESTAMP))
    }

    /// Producer id, -1 for a producer that is not idempotent.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, PRODUCER_ID))
    }

    /// Producer epoch, or -1.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(field(self.bytes, PRODUCER_EPOCH))
    }

    /// Sequence number of the first record, or -1.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(field(self.bytes, BASE_SEQUENCE))
    }

    /// The stored checksum.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(field(self.bytes, CRC))
    }

    /// Compares the stored checksum with that of the bytes.
    ///
    /// # Errors
    /// They differ.
    #[inline]
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc_fast::crc32_iscsi(&self.bytes[ATTRIBUTES..]);
        let stored = self.crc();
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    /// Checks that this is the batch that comes next, whole and unharmed.
    #[inline]
    pub(crate) fn check_next(&self, expected: Offset) -> Result<(), BatchError> {
        self.check_base_offset(expected)?;
        self.check_crc()
    }

    /// Checks that this batch starts at the offset that comes next.
    #[inline]
    pub(crate) fn check_base_offset(&self, expected: Offset) -> Result<(), BatchError> {
        let found = self.base_offset_field();
        if u64::try_from(found) != Ok(expected.0) {
            return Err(BatchError::BaseOffset { expected: expected.0, found });
        }
        Ok(())
    }

    /// The batch with its records unpacked, if they are packed: at most [`UNPACKED_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// An unknown codec, records that don't unpack, or too many bytes.
    pub fn unpack(&self) -> Result<UnpackedBatch<'a>, BatchError> {
        let packed = &self.bytes[BATCH_HEADER_LEN..];
        let records = match self.compression()? {
            Compression::None => Cow::Borrowed(packed),
            codec => Cow::Owned(codec.unpack(packed, UNPACKED_BYTES_MAX)?),
        };
        Ok(UnpackedBatch { batch: *self, records })
    }

    /// The records in these unpacked bytes of theirs.
    pub(crate) fn records_in<'r>(&self, unpacked: &'r [u8]) -> Records<'r> {
        Records {
            rest: unpacked,
            base_offset: self.base_offset(),
            base_timestamp_ms: self.base_timestamp_ms(),
            appended_ms: self.is_log_append_time().then(|| self.max_timestamp_ms()),
            span: self.last_offset_delta().saturating_add(1),
            count: self.records_count(),
            index: 0,
        }
    }

    /// The records, if they are not packed.
    pub(crate) fn plain_records(&self) -> Option<Records<'a>> {
        let is_plain = self.compression() == Ok(Compression::None);
        is_plain.then(|| self.records_in(&self.bytes[BATCH_HEADER_LEN..]))
    }
}

/// A batch whose records can be read.
#[derive(Debug, Clone)]
pub struct UnpackedBatch<'a> {
    batch: Batch<'a>,
    records: Cow<'a, [u8]>,
}

impl UnpackedBatch<'_> {
    /// The records.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        self.batch.records_in(&self.records)
    }

    /// The records' bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.records.into_owned()
    }
}

/// Iterator over the records of a batch. After an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    base_offset: Offset,
    base_timestamp_ms: i64,
    /// The time of all of them, if it is that of the append.
    appended_ms: Option<i64>,
    span: i32,
    count: i32,
    index: i32,
}

impl Records<'_> {
    /// Leaves out the records before `from`, by their lengths alone where each offset has its record.
    pub(crate) fn skip_to(&mut self, from: Offset) {
        while self.span == self.count
            && self.index < self.count
            && self.base_offset.plus(u64::from(self.index.unsigned_abs())) < from
        {
            let mut rest = self.rest;
            let body = varint::take_int(&mut rest).and_then(|n| rest.get(usize::try_from(n).ok()?..));
            // A length that can't be true is next()'s to report.
            let Some(behind) = body else { return };
            self.rest = behind;
            self.index += 1;
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let index = self.index;
        match RecordView::decode(&mut self.rest, self.base_offset, self.base_timestamp_ms, self.span) {
            Ok(mut record) => {
                self.index += 1;
                if let Some(appended_ms) = self.appended_ms {
                    record.timestamp_ms = appended_ms;
                }
                Some(Ok(record))
            }
            Err(what) => {
                self.index = self.count;
                Some(Err(BatchError::Record { index, what }))
            }
        }
    }
}
