//! Building a record batch: each record is written straight into its place, then the header and, if it is to be packed,
//! the records once more.

use super::batch::{
    ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_HEADER_LEN, BATCH_LENGTH, Batch,
    BatchError, CRC, LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH_PREFIX, LOG_APPEND_TIME, MAGIC, MAGIC_V2,
    MAX_TIMESTAMP, PRODUCER_EPOCH, PRODUCER_ID, RECORDS_COUNT, field,
};
use super::compression::{Compression, UNPACKED_BYTES_MAX};
use super::record::{NO_TIMESTAMP, Record};
use crate::Offset;

/// Of a batch that no leader has appended.
const NO_LEADER_EPOCH: i32 = -1;

/// Whose a batch of an idempotent producer is, and which of them: it is stored once, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// The producer: no two that are alive have the same.
    pub producer_id: i64,
    /// Its incarnation: a later one fences the earlier ones, and numbers its records from 0 again.
    pub epoch: i16,
    /// The number of the batch's first record, counted in the partition.
    pub first: i32,
}

impl Sequence {
    /// What a batch of no idempotent producer has.
    const NONE: Self = Self { producer_id: -1, epoch: -1, first: -1 };
}

/// Most bytes a batch may have: its length field is an `i32`.
const BATCH_LEN_MAX: usize = i32::MAX as usize;

/// Why records can't become a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A batch holds at least one record.
    #[error("a batch needs at least one record")]
    Empty,
    /// The batch's length field can't say it.
    #[error("the records need {bytes} bytes in one batch, and {limit} is the most; send fewer at a time")]
    TooLarge {
        /// Bytes that would be needed.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// Gathers records into an encoded batch. Its base offset is 0 until a log gives it one.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    records: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch that reuses a buffer.
    #[must_use]
    pub fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, ..Self::default() }
    }

    /// Number of records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records.unsigned_abs()
    }

    /// Bytes so far, header included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "records() tells whether it is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len().max(BATCH_HEADER_LEN)
    }

    /// Adds a record; `now_ms` is its timestamp if it has none.
    ///
    /// # Errors
    /// The batch would outgrow its length field; it is as it was.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>, now_ms: i64) -> Result<(), EncodeError> {
        // Fifty covers every varint of a record without headers, and each header has two more.
        let bytes = (self.len() + record.payload_len() + 50 + 10 * record.headers.len()) as u64;
        if bytes > BATCH_LEN_MAX as u64 || self.records == i32::MAX {
            return Err(EncodeError::TooLarge { bytes, limit: BATCH_LEN_MAX as u64 });
        }
        let timestamp_ms = if record.timestamp_ms == NO_TIMESTAMP { now_ms } else { record.timestamp_ms };
        if self.records == 0 {
            self.bytes.clear();
            self.bytes.resize(BATCH_HEADER_LEN, 0);
            self.base_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        record.encode(&mut self.bytes, timestamp_ms.wrapping_sub(self.base_timestamp_ms), self.records);
        self.records += 1;
        Ok(())
    }

    /// Writes the header and the checksum.
    ///
    /// # Errors
    /// There are no records.
    pub fn finish(self) -> Result<EncodedBatch, EncodeError> {
        self.finish_as(Compression::None, None)
    }

    /// As [`BatchBuilder::finish`], with the records packed, as a batch of an idempotent producer. More records than a
    /// reader would unpack ([`UNPACKED_BYTES_MAX`]) stay plain.
    ///
    /// # Errors
    /// There are no records.
    pub fn finish_as(
        mut self,
        compression: Compression,
        sequence: Option<Sequence>,
    ) -> Result<EncodedBatch, EncodeError> {
        if self.records == 0 {
            return Err(EncodeError::Empty);
        }
        let is_small = self.bytes.len() - BATCH_HEADER_LEN <= UNPACKED_BYTES_MAX;
        let compression = if is_small { compression } else { Compression::None };
        if compression != Compression::None {
            let mut packed = vec![0; BATCH_HEADER_LEN];
            compression.pack(&self.bytes[BATCH_HEADER_LEN..], &mut packed);
            self.bytes = packed;
        }
        let b = &mut self.bytes;
        let length = i32::try_from(b.len() - LENGTH_PREFIX).expect("push() keeps the batch below 2 GiB");
        b[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
        b[LEADER_EPOCH..MAGIC].copy_from_slice(&NO_LEADER_EPOCH.to_be_bytes());
        b[MAGIC] = MAGIC_V2;
        b[ATTRIBUTES..LAST_OFFSET_DELTA].copy_from_slice(&compression.attribute_bits().to_be_bytes());
        b[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&(self.records - 1).to_be_bytes());
        b[BASE_TIMESTAMP..MAX_TIMESTAMP].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        b[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        b[RECORDS_COUNT..BATCH_HEADER_LEN].copy_from_slice(&self.records.to_be_bytes());
        let mut batch = EncodedBatch { bytes: self.bytes, records: self.records.unsigned_abs() };
        batch.set_sequence(sequence.unwrap_or(Sequence::NONE));
        Ok(batch)
    }
}

/// A finished batch, on its way into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    bytes: Vec<u8>,
    records: u32,
}

impl EncodedBatch {
    /// Encodes `records`; `now_ms` is the timestamp of those without one.
    ///
    /// # Errors
    /// There are none, or too many for one batch.
    pub fn of(records: &[Record<'_>], now_ms: i64, reuse: Vec<u8>) -> Result<Self, EncodeError> {
        let mut builder = BatchBuilder::reusing(reuse);
        for record in records {
            builder.push(record, now_ms)?;
        }
        builder.finish()
    }

    /// A batch that somebody else encoded, alone in its bytes. It is kept as it came, without a look at its records.
    ///
    /// # Errors
    /// It isn't whole, its checksum is wrong, or it doesn't give each of its offsets to one record, which only a log's
    /// compaction may do.
    pub fn received(bytes: Vec<u8>) -> Result<Self, BatchError> {
        let batch = Batch::parse(&bytes)?;
        if batch.len() < bytes.len() {
            return Err(BatchError::Behind { bytes: (bytes.len() - batch.len()) as u64 });
        }
        let (records, last_offset_delta) = (batch.records_count(), batch.last_offset_delta());
        if records == 0 || records - 1 != last_offset_delta {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        batch.check_crc()?;
        Ok(Self { records: records.unsigned_abs(), bytes })
    }

    /// Number of records.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The batch, to look at.
    pub(crate) fn view(&self) -> Batch<'_> {
        Batch::parse(&self.bytes).expect("it was built here, or looked at when it came")
    }

    pub(crate) fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(&self.bytes, MAX_TIMESTAMP))
    }

    /// Says whose it is, and computes the checksum.
    pub(crate) fn set_sequence(&mut self, Sequence { producer_id, epoch, first }: Sequence) {
        let b = &mut self.bytes;
        b[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&producer_id.to_be_bytes());
        b[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&epoch.to_be_bytes());
        b[BASE_SEQUENCE..RECORDS_COUNT].copy_from_slice(&first.to_be_bytes());
        self.compute_crc();
    }

    /// Gives all its records the time of their append, whatever they were made with: Kafka's
    /// `message.timestamp.type=LogAppendTime`. Computes the checksum anew.
    ///
    /// A log does so by itself in the topics that its settings name; this is for
    /// [`SteppedLog::append_batch`](crate::SteppedLog::append_batch), which knows no time.
    pub fn set_append_time(&mut self, now_ms: i64) {
        let attributes = i16::from_be_bytes(field(&self.bytes, ATTRIBUTES)) | LOG_APPEND_TIME;
        self.bytes[ATTRIBUTES..LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
        self.bytes[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&now_ms.to_be_bytes());
        self.compute_crc();
    }

    fn compute_crc(&mut self) {
        let crc = crc_fast::crc32_iscsi(&self.bytes[ATTRIBUTES..]);
        self.bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    }

    /// Gives the batch its place. The checksum doesn't cover this field.
    pub fn set_base_offset(&mut self, base: Offset) {
        let field = i64::try_from(base.0).expect("a log ends before offset 2^63");
        self.bytes[BASE_OFFSET..BATCH_LENGTH].copy_from_slice(&field.to_be_bytes());
    }

    /// Says which leader's term it was appended in. The checksum doesn't cover this field.
    pub(crate) fn set_leader_epoch(&mut self, epoch: i32) {
        self.bytes[LEADER_EPOCH..MAGIC].copy_from_slice(&epoch.to_be_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
