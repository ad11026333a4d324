//! Batches and partitions against an independent implementation of Kafka's client, kafka-python, in both directions.
//!
//! Skipped, with a line that says so, where there is no Python that has the package. `.ci/run` makes one:
//!
//! ```text
//! python3 -m venv target/kafka-python
//! target/kafka-python/bin/pip install kafka-python lz4 zstandard python-snappy
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use log_engine::{
    Batch, BatchBuilder, Compression, EncodedBatch, Header, Offset, OwnedRecord, Record, Sequence,
    partition_for_key,
};

const PEER: &str = include_str!("peer.py");
/// The modules of the package and of all its codecs.
const MODULES: &str = "import kafka, lz4.frame, zstandard, snappy";

/// A Python that has kafka-python.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn python() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder of the target folder");
    let candidates = [target.join("kafka-python/bin/python"), PathBuf::from("python3")];
    let found = candidates.into_iter().find(|python| {
        let tried =
            Command::new(python).args(["-c", MODULES]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        eprintln!(
            "skipped: no Python with kafka-python, lz4, zstandard and python-snappy; run `python3 -m venv \
             target/kafka-python && target/kafka-python/bin/pip install kafka-python lz4 zstandard python-snappy`"
        );
    }
    found
}

/// Asks kafka-python all questions at once; an answer each.
fn ask(python: &Path, questions: &[String]) -> Vec<String> {
    let mut child = Command::new(python)
        .args(["-c", PEER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it ran before");
    let mut input = child.stdin.take().expect("it is piped");
    let text = questions.join("\n") + "\n";
    #[expect(clippy::disallowed_methods, reason = "both pipes have to move")]
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads to the end");
    assert!(output.status.success(), "kafka-python failed, see above");
    let answers: Vec<_> = String::from_utf8(output.stdout).expect("hex").lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

fn nullable(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), hex)
}

/// A record as the peer writes it.
fn text(record: &OwnedRecord) -> String {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", hex(name.as_bytes()), nullable(value.as_deref())))
        .collect();
    let (key, value) = (nullable(record.key.as_deref()), nullable(record.value.as_deref()));
    format!("{}:{key}:{value}:{}", record.timestamp_ms, headers.join("+"))
}

/// Records that compress, with all that a record may have.
fn records(seed: u64) -> Vec<OwnedRecord> {
    (0..3 + seed % 40)
        .map(|i| OwnedRecord {
            key: (i % 3 != 0).then(|| format!("member {}", (i * seed) % 7).into_bytes()),
            value: (i % 5 != 4)
                .then(|| format!("{i} of {seed}, ").repeat(20 + (i * i % 90) as usize).into_bytes()),
            timestamp_ms: 1_700_000_000_000 + [0, 7, -3, 100_000][i as usize % 4] + i as i64,
            headers: (0..i % 3)
                .map(|h| (format!("héader {h}"), (h == 0).then(|| vec![h as u8, 0xff, i as u8])))
                .collect(),
        })
        .collect()
}

fn encoded(records: &[OwnedRecord], compression: Compression, sequence: Option<Sequence>) -> EncodedBatch {
    let mut builder = BatchBuilder::new();
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let timestamp_ms = record.timestamp_ms;
        builder.push(&Record { key, value, timestamp_ms, headers: &headers }, 0).expect("small");
    }
    builder.finish_as(compression, sequence).expect("not empty")
}

fn cases() -> impl Iterator<Item = (u64, Compression, Option<Sequence>)> {
    Compression::ALL.into_iter().flat_map(|compression| {
        (0..12).map(move |seed| {
            let sequence = (seed % 2 == 1).then_some(Sequence {
                producer_id: 4_000_000_000 + seed as i64,
                epoch: seed as i16,
                first: 1000 * seed as i32,
            });
            (seed, compression, sequence)
        })
    })
}

fn numbers(sequence: Option<Sequence>) -> String {
    sequence.map_or_else(|| "-1 -1 -1".to_owned(), |s| format!("{} {} {}", s.producer_id, s.epoch, s.first))
}

#[test]
fn batches_that_kafka_python_encodes_are_read() {
    let Some(python) = python() else { return };
    let questions: Vec<_> = cases()
        .map(|(seed, compression, sequence)| {
            let records: Vec<_> = records(seed).iter().map(text).collect();
            format!("encode {compression} {} {}", numbers(sequence), records.join(" "))
        })
        .collect();
    for ((seed, compression, sequence), answer) in cases().zip(ask(&python, &questions)) {
        let bytes = unhex(&answer);
        let batch = Batch::parse(&bytes).expect("a batch");
        batch.check_crc().expect("its checksum");
        assert_eq!(batch.compression(), Ok(compression), "the records are made to compress");
        let unpacked = batch.unpack().expect("a known codec");
        let found: Vec<_> = unpacked.records().map(|r| r.expect("whole").to_owned()).collect();
        assert_eq!(found, records(seed), "{compression}, seed {seed}");
        let found = format!("{} {} {}", batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
        assert_eq!(found, numbers(sequence));
        assert!(EncodedBatch::received(bytes.clone()).is_ok(), "a broker takes it as it came");
        if compression == Compression::None {
            // All but the leader epoch, which a broker gives: kafka-python says 0 there, Kafka's own producer -1.
            let ours = encoded(&records(seed), compression, sequence);
            let (ours, theirs) = (ours.bytes(), bytes.as_slice());
            assert_eq!(
                (&ours[..12], &ours[16..]),
                (&theirs[..12], &theirs[16..]),
                "the same bytes, seed {seed}"
            );
        }
    }
}

#[test]
fn batches_that_are_encoded_here_are_read_by_kafka_python() {
    let Some(python) = python() else { return };
    let questions: Vec<_> = cases()
        .map(|(seed, compression, sequence)| {
            let mut batch = encoded(&records(seed), compression, sequence);
            batch.set_base_offset(Offset(1000 + seed));
            format!("decode {}", hex(batch.bytes()))
        })
        .collect();
    for ((seed, compression, sequence), answer) in cases().zip(ask(&python, &questions)) {
        let records: Vec<_> = records(seed).iter().map(text).collect();
        let (base, last) = (1000 + seed, 1000 + seed + records.len() as u64 - 1);
        let expected = format!("{compression} {} {base} {last} {}", numbers(sequence), records.join(" "));
        assert_eq!(answer, expected, "{compression}, seed {seed}");
    }
}

#[test]
fn keys_go_to_the_partitions_that_kafka_python_chooses() {
    let Some(python) = python() else { return };
    let keys: Vec<Vec<u8>> = (0..600_usize)
        .map(|i| (0..i % 37).map(|j| (i * 131 + j * j * 7 + (i >> 3)) as u8).collect())
        .collect();
    let questions: Vec<_> = keys.iter().map(|key| format!("murmur2 {}", hex(key))).collect();
    for (key, answer) in keys.iter().zip(ask(&python, &questions)) {
        let hash: u32 = answer.parse().expect("a number");
        for partitions in [1, 7, 12, 1000] {
            let expected = (hash & 0x7fff_ffff) % partitions;
            assert_eq!(partition_for_key(key, partitions), expected, "{}", hex(key));
        }
    }
}
