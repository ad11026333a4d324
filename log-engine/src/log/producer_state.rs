//! [`ProducerState`]: what a partition remembers of idempotent producers, so that a batch that is sent again is stored
//! once: Kafka's rules.
//!
//! * A batch with the epoch and the sequence numbers of one of the producer's last five is that one, sent again: it gets
//!   the old offsets.
//! * Otherwise its first sequence number has to follow the last one. An unknown producer may begin anywhere, a new epoch
//!   begins with 0.
//! * An older epoch is fenced.
//!
//! Of the producers, those that appended last are remembered. Memory is bounded without a clock, where Kafka forgets a
//! producer after a day of silence.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::Offset;
use crate::record::batch::Batch;

/// Batches of a producer that may be sent again: no more may be under way, as in Kafka.
pub(crate) const BATCHES_REMEMBERED: usize = 5;

/// Why a producer's batch was not taken. Nothing was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// A batch before it is missing, or it is a repetition of one too old to be known.
    #[error(
        "producer {producer_id} sent sequence {found} and {expected} is next: a batch in front of it is missing, or it is an \
         old one sent again"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// What has to come.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// A later incarnation of the producer has appended.
    #[error("producer {producer_id} sent a batch of epoch {epoch}, and epoch {current} has taken its place")]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// Of the batch.
        epoch: i16,
        /// The latest.
        current: i16,
    },
    /// It names a producer and no sequence.
    #[error(
        "a batch of producer {producer_id} has epoch {epoch} and sequence {sequence}; neither may be negative"
    )]
    Unnumbered {
        /// The producer.
        producer_id: i64,
        /// Of the batch.
        epoch: i16,
        /// Its first sequence number.
        sequence: i32,
    },
}

/// What a batch says of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    producer_id: i64,
    epoch: i16,
    first_sequence: i32,
    last_sequence: i32,
    last_offset_delta: u32,
    timestamp_ms: i64,
}

impl Stamp {
    /// `None`: it is of no idempotent producer, or a marker of a transaction's end.
    pub(crate) fn of(batch: &Batch<'_>) -> Option<Self> {
        let producer_id = batch.producer_id();
        let is_numbered = producer_id >= 0 && !batch.is_control();
        is_numbered.then(|| {
            let delta = (batch.last_offset().0 - batch.base_offset().0) as u32;
            Self {
                producer_id,
                epoch: batch.producer_epoch(),
                first_sequence: batch.base_sequence(),
                last_sequence: sequence_after(batch.base_sequence(), delta),
                last_offset_delta: delta,
                timestamp_ms: batch.max_timestamp_ms(),
            }
        })
    }
}

/// The sequence number `n` further on: behind the largest comes 0.
pub(crate) fn sequence_after(sequence: i32, n: u32) -> i32 {
    ((i64::from(sequence) + i64::from(n)) & i64::from(i32::MAX)) as i32
}

/// A batch that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBatch {
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    pub(crate) last_offset_delta: u32,
    pub(crate) timestamp_ms: i64,
}

impl StoredBatch {
    pub(crate) fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0.saturating_sub(u64::from(self.last_offset_delta)))
    }

    pub(crate) fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.last_offset_delta);
        (first & i64::from(i32::MAX)) as i32
    }
}

/// A producer and its last batches, the oldest first: one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownProducer {
    pub(crate) epoch: i16,
    pub(crate) batches: VecDeque<StoredBatch>,
}

impl KnownProducer {
    pub(crate) fn last(&self) -> &StoredBatch {
        self.batches.back().expect("a producer is known by a batch")
    }
}

/// Whether a batch is to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    New,
    /// It was, at these offsets.
    Stored {
        base: Offset,
        end: Offset,
    },
}

/// The producers of a partition.
#[derive(Debug, Clone)]
pub(crate) struct ProducerState {
    producers: HashMap<i64, KnownProducer>,
    /// By the last offset of each.
    by_last_offset: BTreeMap<Offset, i64>,
    producers_max: usize,
}

impl ProducerState {
    pub(crate) fn new(producers_max: usize) -> Self {
        Self { producers: HashMap::new(), by_last_offset: BTreeMap::new(), producers_max }
    }

    /// Whether a batch of a client is the next of its producer.
    pub(crate) fn admit(&self, stamp: &Stamp) -> Result<Admission, SequenceError> {
        let Stamp { producer_id, epoch, first_sequence, last_sequence, .. } = *stamp;
        if epoch < 0 || first_sequence < 0 {
            return Err(SequenceError::Unnumbered { producer_id, epoch, sequence: first_sequence });
        }
        let Some(known) = self.producers.get(&producer_id) else { return Ok(Admission::New) };
        if epoch < known.epoch {
            return Err(SequenceError::Fenced { producer_id, epoch, current: known.epoch });
        }
        let expected = if epoch > known.epoch {
            0
        } else {
            let is_it =
                |b: &&StoredBatch| b.first_sequence() == first_sequence && b.last_sequence == last_sequence;
            if let Some(stored) = known.batches.iter().find(is_it) {
                let (base, end) = (stored.first_offset(), stored.last_offset.plus(1));
                return Ok(Admission::Stored { base, end });
            }
            sequence_after(known.last().last_sequence, 1)
        };
        if first_sequence != expected {
            return Err(SequenceError::OutOfOrder { producer_id, expected, found: first_sequence });
        }
        Ok(Admission::New)
    }

    /// A batch was appended at `base`, or is found there.
    pub(crate) fn appended(&mut self, stamp: &Stamp, base: Offset) {
        let batch = StoredBatch {
            last_sequence: stamp.last_sequence,
            last_offset: base.plus(u64::from(stamp.last_offset_delta)),
            last_offset_delta: stamp.last_offset_delta,
            timestamp_ms: stamp.timestamp_ms,
        };
        let known = self
            .producers
            .entry(stamp.producer_id)
            .or_insert_with(|| KnownProducer { epoch: stamp.epoch, batches: VecDeque::new() });
        if let Some(last) = known.batches.back() {
            self.by_last_offset.remove(&last.last_offset);
        }
        if known.epoch != stamp.epoch {
            known.batches.clear();
            known.epoch = stamp.epoch;
        }
        if known.batches.len() == BATCHES_REMEMBERED {
            known.batches.pop_front();
        }
        known.batches.push_back(batch);
        let before = self.by_last_offset.insert(batch.last_offset, stamp.producer_id);
        // What another producer was said to have there can't be true.
        if let Some(other) = before.filter(|&id| id != stamp.producer_id) {
            self.producers.remove(&other);
        }
        self.forget_beyond_the_limit();
    }

    /// Takes in a producer that a snapshot tells of. `false`: it, or another one with that last offset, is known.
    pub(crate) fn restore(&mut self, producer_id: i64, known: KnownProducer) -> bool {
        let last_offset = known.last().last_offset;
        if self.producers.contains_key(&producer_id) || self.by_last_offset.contains_key(&last_offset) {
            return false;
        }
        self.by_last_offset.insert(last_offset, producer_id);
        self.producers.insert(producer_id, known);
        self.forget_beyond_the_limit();
        true
    }

    fn forget_beyond_the_limit(&mut self) {
        while self.producers.len() > self.producers_max {
            let (_, producer_id) = self.by_last_offset.pop_first().expect("every producer has a last offset");
            self.producers.remove(&producer_id);
        }
    }

    /// The producers, those that were silent longest first.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = (i64, &KnownProducer)> {
        self.by_last_offset.values().map(|id| (*id, &self.producers[id]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(producer_id: i64, epoch: i16, first_sequence: i32, records: u32) -> Stamp {
        let delta = records - 1;
        let last_sequence = sequence_after(first_sequence, delta);
        Stamp { producer_id, epoch, first_sequence, last_sequence, last_offset_delta: delta, timestamp_ms: 5 }
    }

    fn stored(base: u64, records: u64) -> Result<Admission, SequenceError> {
        Ok(Admission::Stored { base: Offset(base), end: Offset(base + records) })
    }

    #[test]
    fn the_last_five_may_be_sent_again_and_the_sixth_is_out_of_order() {
        let mut state = ProducerState::new(10);
        for i in 0..6 {
            let next = stamp(7, 0, 2 * i, 2);
            assert_eq!(state.admit(&next), Ok(Admission::New));
            state.appended(&next, Offset(100 + 2 * i as u64));
        }
        for i in 1..6 {
            assert_eq!(state.admit(&stamp(7, 0, 2 * i, 2)), stored(100 + 2 * i as u64, 2));
        }
        let refused = |found| Err(SequenceError::OutOfOrder { producer_id: 7, expected: 12, found });
        assert_eq!(state.admit(&stamp(7, 0, 0, 2)), refused(0), "too old to be known");
        assert_eq!(state.admit(&stamp(7, 0, 13, 1)), refused(13), "one is missing");
        assert_eq!(state.admit(&stamp(7, 0, 10, 1)), refused(10), "half of a batch is another batch");
        assert_eq!(state.admit(&stamp(7, 0, 12, 5)), Ok(Admission::New));
    }

    #[test]
    fn a_later_epoch_begins_with_zero_and_fences_the_earlier() {
        let mut state = ProducerState::new(10);
        state.appended(&stamp(7, 3, 40, 1), Offset(0));
        assert!(matches!(
            state.admit(&stamp(7, 4, 41, 1)),
            Err(SequenceError::OutOfOrder { expected: 0, .. })
        ));
        assert_eq!(state.admit(&stamp(7, 4, 0, 1)), Ok(Admission::New));
        state.appended(&stamp(7, 4, 0, 1), Offset(1));
        let fenced = SequenceError::Fenced { producer_id: 7, epoch: 3, current: 4 };
        assert_eq!(state.admit(&stamp(7, 3, 40, 1)), Err(fenced), "also what it had stored");
        assert_eq!(state.admit(&stamp(7, 4, 0, 1)), stored(1, 1));
    }

    #[test]
    fn sequences_go_on_with_zero_behind_the_largest() {
        let mut state = ProducerState::new(10);
        let across = stamp(7, 0, i32::MAX - 1, 4);
        assert_eq!(across.last_sequence, 1);
        state.appended(&across, Offset(10));
        assert_eq!(state.admit(&across), stored(10, 4));
        assert_eq!(state.admit(&stamp(7, 0, 2, 1)), Ok(Admission::New));
        assert_eq!(sequence_after(i32::MAX, 1), 0);
    }

    #[test]
    fn an_unknown_producer_may_begin_anywhere_and_has_to_be_numbered() {
        let state = ProducerState::new(10);
        assert_eq!(state.admit(&stamp(1, 9, 1000, 3)), Ok(Admission::New));
        let unnumbered = Stamp { first_sequence: -1, ..stamp(1, 0, 0, 1) };
        assert!(matches!(state.admit(&unnumbered), Err(SequenceError::Unnumbered { .. })));
    }

    proptest! {
        /// Against a list of everything that was stored.
        #[test]
        fn what_is_stored_is_each_producers_batches_once(
            sends in proptest::collection::vec((0..3i64, 0..4usize, 1..4u32), 0..60),
        ) {
            let mut state = ProducerState::new(10);
            // By producer: the batches, each with its first sequence, records and offset.
            let mut sent: HashMap<i64, Vec<(i32, u32, u64)>> = HashMap::new();
            let mut end = 0;
            for (producer, again, records) in sends {
                let list = sent.entry(producer).or_default();
                let next = list.last().map_or(0, |&(first, records, _)| sequence_after(first, records));
                if let Some(&(first, records, offset)) = list.len().checked_sub(again + 1).and_then(|i| list.get(i))
                    && again > 0
                {
                    let found = state.admit(&stamp(producer, 0, first, records));
                    prop_assert_eq!(found, stored(offset, u64::from(records)));
                    continue;
                }
                let batch = stamp(producer, 0, next, records);
                prop_assert_eq!(state.admit(&batch), Ok(Admission::New));
                prop_assert!(state.admit(&stamp(producer, 0, sequence_after(next, 1), records)).is_err() || list.is_empty());
                state.appended(&batch, Offset(end));
                list.push((next, records, end));
                end += u64::from(records);
            }
        }

        #[test]
        fn only_the_producers_that_appended_last_are_remembered(ids in proptest::collection::vec(0..30i64, 1..100)) {
            let mut state = ProducerState::new(4);
            let mut next: HashMap<i64, i32> = HashMap::new();
            for (&id, offset) in ids.iter().zip(0..) {
                let sequence = next.entry(id).or_default();
                state.appended(&stamp(id, 0, *sequence, 1), Offset(offset));
                *sequence += 1;
            }
            let mut last: Vec<i64> = Vec::new();
            for &id in ids.iter().rev() {
                if !last.contains(&id) {
                    last.push(id);
                }
            }
            last.truncate(4);
            last.reverse();
            prop_assert_eq!(state.all().map(|(id, _)| id).collect::<Vec<_>>(), last);
        }
    }
}
