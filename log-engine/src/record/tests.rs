//! Batches there and back, against the bytes that `docs/formats/log-batch.md` shows, and from arbitrary bytes.

use proptest::prelude::*;

use super::batch::*;
use super::builder::{BatchBuilder, EncodedBatch};
use super::compression::Compression;
use super::record::{Header, NO_TIMESTAMP, OwnedRecord, Record};
use crate::Offset;

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
        Record { key: Some(b"key"), value: Some(b"value"), timestamp_ms: 1_700_000_000_000, headers: &[] },
        Record { key: None, value: None, timestamp_ms: 1_700_000_000_005, headers: &headers },
    ];
    let mut batch = EncodedBatch::of(&records, 0, Vec::new()).expect("two small records");
    batch.set_base_offset(Offset(42));
    assert_eq!(batch.bytes(), golden("two records"));

    let decoded = Batch::parse(batch.bytes()).expect("it is a batch");
    decoded.check_next(Offset(42)).expect("checksum and offset");
    let unpacked = decoded.unpack().expect("plain");
    let back: Vec<_> = unpacked.records().map(|r| r.expect("well formed")).collect();
    assert_eq!(back[0].key, Some(b"key".as_slice()));
    assert_eq!(back[1].offset, Offset(43));
    assert_eq!(back[1].timestamp_ms, 1_700_000_000_005);
    assert_eq!(back[1].headers.collect::<Vec<_>>(), headers);
}

#[test]
fn a_batch_of_an_unknown_codec_is_refused_by_its_number() {
    let mut bytes = EncodedBatch::of(&[Record::of_value(b"x")], 1, Vec::new()).expect("one").into_bytes();
    bytes[ATTRIBUTES + 1] |= 6;
    let batch = Batch::parse(&bytes).expect("the header is fine");
    let error = batch.unpack().expect_err("Kafka has five");
    assert_eq!(error, BatchError::Codec { number: 6 });
}

/// Records by hand, packed by hand in the plainest way that each codec has: nothing is compressed in them.
#[test]
fn packed_bytes_of_the_format_document_unpack_to_its_record() {
    let record = golden("packed: the record");
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let packed = golden(&format!("packed: {codec}"));
        assert_eq!(codec.unpack(&packed, 100).as_ref(), Ok(&record), "{codec}");
    }
    let bare = golden("packed: snappy, bare");
    assert_eq!(Compression::Snappy.unpack(&bare, 100), Ok(record));
}

#[test]
fn with_the_time_of_the_append_all_records_have_the_batchs_latest() {
    let records = [10, 30, 20].map(|t| Record { timestamp_ms: t, ..Record::of_value(b"x") });
    let mut bytes = EncodedBatch::of(&records, 0, Vec::new()).expect("three").into_bytes();
    let times = |bytes: &[u8]| -> Vec<i64> {
        let batch = Batch::parse(bytes).expect("a batch").unpack().expect("plain");
        batch.records().map(|r| r.expect("whole").timestamp_ms).collect()
    };
    assert_eq!(times(&bytes), [10, 30, 20]);
    bytes[ATTRIBUTES + 1] |= LOG_APPEND_TIME as u8;
    assert_eq!(times(&bytes), [30, 30, 30]);
}

#[test]
fn a_batch_that_is_given_the_time_of_its_append_is_whole_and_says_so() {
    let records = [10, 30, 20].map(|t| Record { timestamp_ms: t, ..Record::of_value(b"x") });
    let mut batch = EncodedBatch::of(&records, 0, Vec::new()).expect("three");
    batch.set_append_time(25);
    let batch = batch.view();
    batch.check_crc().expect("it was computed anew");
    assert!(batch.is_log_append_time());
    assert_eq!((batch.base_timestamp_ms(), batch.max_timestamp_ms()), (10, 25));
    let unpacked = batch.unpack().expect("plain");
    assert!(unpacked.records().all(|r| r.expect("whole").timestamp_ms == 25));
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
    fn what_is_encoded_is_decoded(
        records in proptest::collection::vec(any_record(), 1..12), base in 0..1u64 << 62,
        codec in proptest::sample::select(&Compression::ALL),
    ) {
        let mut builder = BatchBuilder::new();
        for r in &records {
            let headers: Vec<_> =
                r.headers.iter().map(|(n, v)| Header { name: n, value: v.as_deref() }).collect();
            builder.push(&Record {
                key: r.key.as_deref(), value: r.value.as_deref(), timestamp_ms: r.timestamp_ms, headers: &headers,
            }, 0).expect("small");
        }
        let mut batch = builder.finish_as(codec, None).expect("not empty");
        batch.set_base_offset(Offset(base));
        let view = Batch::parse(batch.bytes()).expect("a batch");
        view.check_next(Offset(base)).expect("whole");
        prop_assert_eq!(view.compression(), Ok(codec));
        let unpacked = view.unpack().expect("packed by this program");
        let back: Vec<_> = unpacked.records().map(|r| r.expect("well formed").to_owned()).collect();
        prop_assert_eq!(back, records);
        prop_assert_eq!(EncodedBatch::received(batch.bytes().to_vec()), Ok(batch));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool) {
        if fix && bytes.len() > BATCH_HEADER_LEN {
            // Make the header plausible, so that the records are reached.
            let length = (bytes.len() - LENGTH_PREFIX) as i32;
            bytes[BATCH_LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
            bytes[MAGIC] = MAGIC_V2;
            bytes[ATTRIBUTES] = 0;
            bytes[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&1_000_000i32.to_be_bytes());
            bytes[RECORDS_COUNT..BATCH_HEADER_LEN].copy_from_slice(&1_000_000i32.to_be_bytes());
        }
        if let Ok(batch) = Batch::parse(&bytes) {
            let _ = batch.check_crc();
            if let Ok(unpacked) = batch.unpack() {
                for r in unpacked.records().flatten() {
                    r.headers.for_each(drop);
                }
            }
        }
    }
}
