use proptest::prelude::*;

use super::fetch::FetchedPartition;
use super::follow::FollowedPartition;
use super::*;
use crate::{BrokerId, Offset, TimedOffset};

const LAYOUT: u32 = 0xfeed_beef;

fn every_kind() -> Vec<Message<'static>> {
    let leader = BrokerId(7);
    let base = Offset(1 << 40);
    let answers = [
        ProduceAnswer::Stored { base, copies: 3 },
        ProduceAnswer::UnknownPartition,
        ProduceAnswer::NotLeader { leader },
        ProduceAnswer::NotEnoughReplicas { in_sync: 1, min_isr: 2 },
        ProduceAnswer::NotEnoughReplicasAfterAppend { base, in_sync: 1, min_isr: 2 },
        ProduceAnswer::TimedOut { base },
        ProduceAnswer::BadBatch,
        ProduceAnswer::TooLarge { limit: 1 << 20 },
        ProduceAnswer::StorageFailed,
        ProduceAnswer::Closing,
        ProduceAnswer::LeaderLostLog,
        ProduceAnswer::DiskFull,
        ProduceAnswer::OutOfOrder { expected: 70_000 },
        ProduceAnswer::Fenced { current: 300 },
    ];
    let fetched = [
        FetchAnswer::Batches(b"batches"),
        FetchAnswer::OutOfRange { start: Offset(1), end: Offset(2) },
        FetchAnswer::UnknownPartition,
        FetchAnswer::NotLeader { leader },
        FetchAnswer::Failed("a sentence"),
    ];
    let followed = [
        FollowAnswer::Batches(b""),
        FollowAnswer::Diverging { epoch: 4, end: base },
        FollowAnswer::OutOfRange { start: base },
        FollowAnswer::NotLeader { leader },
        FollowAnswer::Failed,
    ];
    let mut messages: Vec<_> = [Acks::None, Acks::Leader, Acks::All]
        .into_iter()
        .map(|acks| {
            let batches = vec![
                ProduceBatch { id: u64::MAX, partition: 1, bytes: b"one" },
                ProduceBatch { id: 0, partition: u32::MAX, bytes: b"" },
            ];
            Message::Produce(Produce { acks, timeout_ms: 1500, batches })
        })
        .collect();
    let produced = answers.into_iter().zip(5..).map(|(answer, id)| Produced { id, answer });
    messages.push(Message::Produced(produced.collect()));
    let places = vec![(3, Offset(4)), (5, base)];
    messages.push(Message::Fetch(Fetch { correlation: 9, wait_ms: 500, bytes_max: 1 << 20, places }));
    let partitions = fetched.into_iter().zip(0..);
    let partitions =
        partitions.map(|(answer, partition)| FetchedPartition { partition, high_watermark: base, answer });
    messages.push(Message::Fetched(Fetched { correlation: 9, partitions: partitions.collect() }));
    let places = vec![FollowPlace { partition: 1, end: base, last_epoch: -1, held: Offset(3) }];
    messages.push(Message::Follow(Follow { correlation: 10, wait_ms: 1, bytes_max: 2, places }));
    let partitions = followed.into_iter().zip(0..).map(|(answer, partition)| FollowedPartition {
        partition,
        epoch: 12,
        high_watermark: base,
        answer,
    });
    messages.push(Message::Followed(Followed { correlation: 10, partitions: partitions.collect() }));
    messages.push(Message::Progress(vec![Progress { partition: 2, epoch: 3, held: base }]));
    messages.push(Message::Hello);
    messages.push(Message::FindTimes(FindTimes {
        correlation: 11,
        places: vec![(1, 0), (2, i64::MAX), (3, -1)],
    }));
    let answers = [
        FindAnswer::Found(TimedOffset { offset: base, timestamp_ms: 1_700_000_000_000 }),
        FindAnswer::Nothing,
        FindAnswer::UnknownPartition,
        FindAnswer::NotLeader { leader },
        FindAnswer::Failed("a sentence"),
    ];
    messages.push(Message::FoundTimes(FoundTimes { correlation: 11, answers: (0..).zip(answers).collect() }));
    messages
}

#[test]
fn every_message_comes_back_as_it_was() {
    for message in every_kind() {
        let bytes = message.encode(LAYOUT);
        assert_eq!(Message::decode(&bytes, LAYOUT).as_ref(), Ok(&message));
        for len in 0..bytes.len() {
            assert!(Message::decode(&bytes[..len], LAYOUT).is_err(), "{message:?} cut to {len} bytes");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Message::decode(&longer, LAYOUT).is_err(), "{message:?} with a byte behind it");
    }
}

// The fuzzer starts from these. `UPDATE_SEEDS=1` writes them anew, after a message has got another form on purpose.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read files")]
fn the_seeds_of_the_fuzzer_are_these_messages() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/log-message");
    for (message, n) in every_kind().iter().zip(0..) {
        let (file, bytes) = (format!("{dir}/{n:02}"), message.encode(LAYOUT));
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::create_dir_all(dir).expect("a folder");
            std::fs::write(&file, &bytes).expect("a file");
        }
        assert_eq!(std::fs::read(&file).ok(), Some(bytes), "{file}: run with UPDATE_SEEDS=1");
    }
}

#[test]
fn a_message_of_another_layout_or_version_is_refused() {
    let bytes = Message::Hello.encode(LAYOUT);
    let other = Message::decode(&bytes, 5);
    assert_eq!(other, Err(MessageError::Layout { expected: 5, found: LAYOUT }));
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(Message::decode(&newer, LAYOUT), Err(MessageError::Version { found: 2 }));
    let mut unknown = bytes;
    unknown[1] = 99;
    assert_eq!(Message::decode(&unknown, LAYOUT), Err(MessageError::Kind { found: 99 }));
}

#[test]
fn a_count_that_can_not_be_true_allocates_nothing() {
    let mut bytes = Message::Produced(Vec::new()).encode(LAYOUT);
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Message::decode(&bytes, LAYOUT), Err(MessageError::Malformed { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_message(kind in 0u8..12, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![VERSION, kind, 0, 0];
        bytes.extend_from_slice(&LAYOUT.to_le_bytes());
        bytes.extend_from_slice(&body);
        if let Ok(message) = Message::decode(&bytes, LAYOUT) {
            let again = message.encode(LAYOUT);
            prop_assert_eq!(Message::decode(&again, LAYOUT), Ok(message));
        }
        let _ = Message::decode(&body, LAYOUT);
    }

    #[test]
    fn a_message_with_a_flipped_bit_never_panics(which in any::<prop::sample::Index>(), bit in any::<prop::sample::Index>()) {
        let messages = every_kind();
        let mut bytes = messages[which.index(messages.len())].encode(LAYOUT);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = Message::decode(&bytes, LAYOUT);
    }
}
