//! What compaction leaves of a batch: some of its records under their old offsets, or nothing but its offsets.
//!
//! Offsets never change. A batch keeps its first and last one, whatever goes in between, and where whole batches go, one
//! without records takes their place; so each batch of a log still begins where the one before it ends.

use super::batch::{
    ATTRIBUTES, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_HEADER_LEN, BATCH_LENGTH, Batch, CRC,
    LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH_PREFIX, MAGIC, MAGIC_V2, MAX_TIMESTAMP, PRODUCER_EPOCH,
    PRODUCER_ID, RECORDS_COUNT,
};
use super::record::{Header, NO_TIMESTAMP, Record, RecordView};
use crate::Offset;

/// Attribute bits 0 to 2: the codec.
const CODEC: i16 = 0x07;
/// Attribute bit 6 (Kafka's KIP-534): the base timestamp is the time from which the batch's tombstones may go.
const DELETE_HORIZON: i16 = 1 << 6;
/// Most offsets of one batch.
const OFFSETS_MAX: u64 = i32::MAX as u64;

impl Batch<'_> {
    /// When the batch's tombstones may go, milliseconds since the Unix epoch; `None` before compaction has decided that.
    pub(crate) fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp_ms())
    }
}

/// Appends `batch` with these of its records only, unpacked, and with that horizon for its tombstones.
pub(crate) fn put_with(
    out: &mut Vec<u8>,
    batch: &Batch<'_>,
    kept: &[RecordView<'_>],
    horizon_ms: Option<i64>,
) {
    let start = out.len();
    out.extend_from_slice(&batch.bytes()[..BATCH_HEADER_LEN]);
    // Kafka's reader adds a record's delta to whatever the base timestamp says.
    let base_ms = horizon_ms.unwrap_or_else(|| kept.first().map_or(NO_TIMESTAMP, |r| r.timestamp_ms));
    for record in kept {
        let headers: Vec<Header<'_>> = record.headers.collect();
        let plain = Record {
            key: record.key,
            value: record.value,
            timestamp_ms: record.timestamp_ms,
            headers: &headers,
        };
        let delta = i32::try_from(record.offset.0 - batch.base_offset().0).expect("it lies in its batch");
        plain.encode(out, record.timestamp_ms.wrapping_sub(base_ms), delta);
    }
    let horizon = if horizon_ms.is_some() { DELETE_HORIZON } else { 0 };
    let attributes = batch.attributes() & !(CODEC | DELETE_HORIZON) | horizon;
    let max_ms = if batch.is_log_append_time() {
        batch.max_timestamp_ms()
    } else {
        kept.iter().map(|r| r.timestamp_ms).max().unwrap_or(NO_TIMESTAMP)
    };
    let bytes = &mut out[start..];
    bytes[ATTRIBUTES..LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
    bytes[BASE_TIMESTAMP..MAX_TIMESTAMP].copy_from_slice(&base_ms.to_be_bytes());
    bytes[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&max_ms.to_be_bytes());
    let count = i32::try_from(kept.len()).expect("no more than there were");
    bytes[RECORDS_COUNT..BATCH_HEADER_LEN].copy_from_slice(&count.to_be_bytes());
    close(bytes);
}

/// Appends batches without records that cover the offsets from `from` up to `until`, of that leader's term.
pub(crate) fn put_empty(out: &mut Vec<u8>, mut from: Offset, until: Offset, leader_epoch: i32) {
    while from < until {
        let offsets = (until.0 - from.0).min(OFFSETS_MAX);
        let start = out.len();
        out.resize(start + BATCH_HEADER_LEN, 0);
        let bytes = &mut out[start..];
        let base = i64::try_from(from.0).expect("a log ends before offset 2^63");
        let last = i32::try_from(offsets - 1).expect("it was bounded");
        bytes[BASE_OFFSET..BATCH_LENGTH].copy_from_slice(&base.to_be_bytes());
        bytes[LEADER_EPOCH..MAGIC].copy_from_slice(&leader_epoch.to_be_bytes());
        bytes[MAGIC] = MAGIC_V2;
        bytes[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&last.to_be_bytes());
        bytes[BASE_TIMESTAMP..MAX_TIMESTAMP].copy_from_slice(&NO_TIMESTAMP.to_be_bytes());
        bytes[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&NO_TIMESTAMP.to_be_bytes());
        // Of no producer: minus one in all three.
        bytes[PRODUCER_ID..PRODUCER_EPOCH].fill(0xff);
        bytes[PRODUCER_EPOCH..BASE_SEQUENCE].fill(0xff);
        bytes[BASE_SEQUENCE..RECORDS_COUNT].fill(0xff);
        close(bytes);
        from = from.plus(offsets);
    }
}

/// Writes length and checksum.
fn close(bytes: &mut [u8]) {
    let length = i32::try_from(bytes.len() - LENGTH_PREFIX).expect("no longer than an i32 says");
    bytes[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&bytes[ATTRIBUTES..]);
    bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
}
