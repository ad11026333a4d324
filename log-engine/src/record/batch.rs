//! The record batch: 61 bytes of header, then records. Encoding writes each record straight into its place;
//! decoding borrows.
//!
//! Base offset, batch length and leader epoch lie in front of the checksummed part, so that a log can give a
//! producer's batch its offset without touching the rest. What that costs is told in `docs/formats/log-folder.md`
//! (stale data).

use super::record::{NO_TIMESTAMP, Record, RecordView};
use super::varint;
use crate::Offset;

// Offsets of the fields, each built from the one before it.
const BASE_OFFSET: usize = 0;
const BATCH_LENGTH: usize = BASE_OFFSET + 8;
const LEADER_EPOCH: usize = BATCH_LENGTH + 4;
const MAGIC: usize = LEADER_EPOCH + 4;
const CRC: usize = MAGIC + 1;
const ATTRIBUTES: usize = CRC + 4;
const LAST_OFFSET_DELTA: usize = ATTRIBUTES + 2;
const BASE_TIMESTAMP: usize = LAST_OFFSET_DELTA + 4;
const MAX_TIMESTAMP: usize = BASE_TIMESTAMP + 8;
const PRODUCER_ID: usize = MAX_TIMESTAMP + 8;
const PRODUCER_EPOCH: usize = PRODUCER_ID + 8;
const BASE_SEQUENCE: usize = PRODUCER_EPOCH + 2;
const RECORDS_COUNT: usize = BASE_SEQUENCE + 4;
/// Bytes of a batch before its first record.
pub const BATCH_HEADER_LEN: usize = RECORDS_COUNT + 4;
/// What the batch length field doesn't count: itself and the base offset.
pub(crate) const LENGTH_PREFIX: usize = BATCH_LENGTH + 4;

const _: () = assert!(BATCH_HEADER_LEN == 61, "the specification's header is 61 bytes");
const _: () = assert!(CRC == 17 && ATTRIBUTES == 21, "the checksum covers everything from byte 21");

/// The only version that is read and written.
const MAGIC_V2: u8 = 2;
const COMPRESSION_MASK: i16 = 0x07;
/// "None" for leader epoch, producer id, producer epoch and sequence.
const NONE: i8 = -1;

/// Most bytes a batch may have: its length field is an `i32`.
pub(crate) const BATCH_LEN_MAX: usize = i32::MAX as usize;

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
    #[error("the batch is compressed with {codec}; only uncompressed batches are read so far")]
    Compression {
        /// The codec's name.
        codec: &'static str,
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

fn codec_name(attributes: i16) -> &'static str {
    match attributes & COMPRESSION_MASK {
        0 => "none",
        1 => "gzip",
        2 => "snappy",
        3 => "lz4",
        4 => "zstd",
        _ => "an unknown codec",
    }
}

/// A batch in bytes, borrowed. The header is checked when it is made; the checksum when asked.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
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

    fn last_offset_delta(&self) -> i32 {
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

    /// Name of the compression codec; `none` is the only one that [`Batch::records`] unpacks.
    #[must_use]
    pub fn codec(&self) -> &'static str {
        codec_name(self.attributes())
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

    /// The records.
    ///
    /// # Errors
    /// The batch is compressed.
    pub fn records(&self) -> Result<Records<'a>, BatchError> {
        if self.attributes() & COMPRESSION_MASK != 0 {
            return Err(BatchError::Compression { codec: self.codec() });
        }
        Ok(Records {
            rest: &self.bytes[BATCH_HEADER_LEN..],
            base_offset: self.base_offset(),
            base_timestamp_ms: self.base_timestamp_ms(),
            span: self.last_offset_delta().saturating_add(1),
            count: self.records_count(),
            index: 0,
        })
    }
}

/// Iterator over the records of a batch. After an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    base_offset: Offset,
    base_timestamp_ms: i64,
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
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(what) => {
                self.index = self.count;
                Some(Err(BatchError::Record { index, what }))
            }
        }
    }
}

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
    pub fn finish(mut self) -> Result<EncodedBatch, EncodeError> {
        if self.records == 0 {
            return Err(EncodeError::Empty);
        }
        let b = &mut self.bytes;
        let length = i32::try_from(b.len() - LENGTH_PREFIX).expect("push() keeps the batch below 2 GiB");
        b[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
        b[LEADER_EPOCH..MAGIC].copy_from_slice(&i32::from(NONE).to_be_bytes());
        b[MAGIC] = MAGIC_V2;
        b[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&(self.records - 1).to_be_bytes());
        b[BASE_TIMESTAMP..MAX_TIMESTAMP].copy_from_slice(&self.base_timestamp_ms.to_be_bytes());
        b[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&self.max_timestamp_ms.to_be_bytes());
        b[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&i64::from(NONE).to_be_bytes());
        b[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&i16::from(NONE).to_be_bytes());
        b[BASE_SEQUENCE..RECORDS_COUNT].copy_from_slice(&i32::from(NONE).to_be_bytes());
        b[RECORDS_COUNT..BATCH_HEADER_LEN].copy_from_slice(&self.records.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&b[ATTRIBUTES..]);
        b[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Ok(EncodedBatch { bytes: self.bytes, records: self.records.unsigned_abs() })
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

    /// Latest timestamp of a record.
    pub(crate) fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(&self.bytes, MAX_TIMESTAMP))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record::{Header, OwnedRecord};
    use proptest::prelude::*;

    /// The hex digits of the code block behind the line `<!-- golden: NAME -->`.
    fn golden(name: &str) -> Vec<u8> {
        let document = include_str!("../../../docs/formats/log-batch.md");
        let marker = format!("<!-- golden: {name} -->");
        let (_, rest) = document.split_once(&marker).expect("the document has the marker");
        let block = rest.split("```").nth(1).expect("a code block follows the marker");
        let digits: String = block.lines().skip(1).flat_map(|l| l.split('#').next()).collect();
        let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    #[test]
    fn encodes_the_bytes_that_the_format_document_shows() {
        let headers = [Header { name: "h", value: Some(b"v") }, Header { name: "n", value: None }];
        let records = [
            Record {
                key: Some(b"key"),
                value: Some(b"value"),
                timestamp_ms: 1_700_000_000_000,
                headers: &[],
            },
            Record { key: None, value: None, timestamp_ms: 1_700_000_000_005, headers: &headers },
        ];
        let mut batch = EncodedBatch::of(&records, 0, Vec::new()).expect("two small records");
        batch.set_base_offset(Offset(42));
        assert_eq!(batch.bytes(), golden("two records"));

        let decoded = Batch::parse(batch.bytes()).expect("it is a batch");
        decoded.check_next(Offset(42)).expect("checksum and offset");
        let back: Vec<_> =
            decoded.records().expect("uncompressed").map(|r| r.expect("well formed")).collect();
        assert_eq!(back[0].key, Some(b"key".as_slice()));
        assert_eq!(back[1].offset, Offset(43));
        assert_eq!(back[1].timestamp_ms, 1_700_000_000_005);
        assert_eq!(back[1].headers.collect::<Vec<_>>(), headers);
    }

    #[test]
    fn a_compressed_batch_is_refused_by_its_codecs_name() {
        let mut bytes = EncodedBatch::of(&[Record::of_value(b"x")], 1, Vec::new()).expect("one").into_bytes();
        bytes[ATTRIBUTES + 1] |= 4;
        let batch = Batch::parse(&bytes).expect("the header is fine");
        let error = batch.records().expect_err("zstd isn't unpacked");
        assert!(error.to_string().contains("zstd"), "{error}");
    }

    #[test]
    fn offset_length_and_epoch_lie_outside_the_checksum_and_nothing_else_does() {
        let whole = EncodedBatch::of(&[Record::new(b"k", b"v")], 1, Vec::new()).expect("one").into_bytes();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let harmed = Batch::parse(&bytes).map_or(true, |b| b.check_crc().is_err());
            let outside = at < BATCH_LENGTH || (LEADER_EPOCH..MAGIC).contains(&at);
            assert_eq!(harmed, !outside, "byte {at}");
        }
    }

    fn any_record() -> impl Strategy<Value = OwnedRecord> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        let header = ("[a-zé]{0,5}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)));
        (
            proptest::option::of(bytes.clone()),
            proptest::option::of(bytes),
            any::<i64>().prop_filter("stands for the append's time", |t| *t != NO_TIMESTAMP),
            proptest::collection::vec(header, 0..3),
        )
            .prop_map(|(key, value, timestamp_ms, headers)| OwnedRecord {
                key,
                value,
                timestamp_ms,
                headers,
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(records in proptest::collection::vec(any_record(), 1..12), base in 0..1u64 << 62) {
            let mut builder = BatchBuilder::new();
            for r in &records {
                let headers: Vec<_> =
                    r.headers.iter().map(|(n, v)| Header { name: n, value: v.as_deref() }).collect();
                builder.push(&Record {
                    key: r.key.as_deref(), value: r.value.as_deref(), timestamp_ms: r.timestamp_ms, headers: &headers,
                }, 0).expect("small");
            }
            let mut batch = builder.finish().expect("not empty");
            batch.set_base_offset(Offset(base));
            let view = Batch::parse(batch.bytes()).expect("a batch");
            view.check_next(Offset(base)).expect("whole");
            let back: Vec<_> = view.records().expect("plain").map(|r| r.expect("well formed").to_owned()).collect();
            prop_assert_eq!(back, records);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool) {
            if fix && bytes.len() > BATCH_HEADER_LEN {
                // Make the header plausible, so that the records are reached.
                let length = (bytes.len() - LENGTH_PREFIX) as i32;
                bytes[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
                bytes[MAGIC] = MAGIC_V2;
                bytes[ATTRIBUTES..LAST_OFFSET_DELTA].fill(0);
                bytes[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&1_000_000i32.to_be_bytes());
                bytes[RECORDS_COUNT..BATCH_HEADER_LEN].copy_from_slice(&1_000_000i32.to_be_bytes());
            }
            if let Ok(batch) = Batch::parse(&bytes) {
                let _ = batch.check_crc();
                if let Ok(records) = batch.records() {
                    for r in records.flatten() {
                        r.headers.for_each(drop);
                    }
                }
            }
        }
    }
}
