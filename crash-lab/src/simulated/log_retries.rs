//! [`Retried`]: a log of idempotent producers. Each of two sends numbered batches to each partition, and some of the last
//! five once more. When the log comes back after a crash, they send their last five again, in the order of old, before
//! anything new: what is stored has to stay where it is, the rest has to be taken.
//!
//! Now and then the log's start moves, so that what is known of producers outlives their batches.

use std::collections::VecDeque;

use engine_env::Wait;
use engine_env::rng::Rng;
use log_engine::{LogConfig, Sequence, TopicPartition};
use rand::{Rng as _, RngExt as _};

use super::log::{Begun, IN_FLIGHT_MAX, LogSubject, Use, any_partition, encode};
use super::subject::{Notes, Sent};
use crate::stress::batch_plan::Draft;

const PRODUCERS: u32 = 2;
/// As many as may be under way.
const SENT_AGAIN_MAX: usize = 5;

#[derive(Default)]
pub(super) struct Retried {
    has_come_back: bool,
    /// What has to be sent again before anything else, by its place in [`Notes::sent`].
    again: VecDeque<usize>,
}

impl Use for Retried {
    fn settings(config: LogConfig) -> LogConfig {
        LogConfig { segment_bytes: 4096, ..config }
    }

    fn step(log: &mut LogSubject<Self>, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        if !log.using.has_come_back {
            log.using.has_come_back = true;
            log.using.again = last_of_each(notes);
        }
        match rng.random_range(0..100) {
            0..40 if log.in_flight() < IN_FLIGHT_MAX => match log.using.again.front().copied() {
                Some(number) => log.send_again_first(number, notes)?,
                None => log.send(rng, notes)?,
            },
            40..50 if log.using.again.is_empty() => log.send_any_again(rng, notes)?,
            50..72 => log.pump(Wait::No),
            72..76 => log.read(rng, notes)?,
            76..79 => log.cut(rng, notes),
            _ => log.keep_up(),
        }
        Ok(())
    }
}

/// The last batches of a producer to a partition, the oldest first.
fn last_of(notes: &Notes, producer_id: i64, to: &TopicPartition) -> Vec<usize> {
    let is_of = |sent: &Sent| sent.sequence.producer_id == producer_id && sent.to == *to;
    let all: Vec<_> = (0..notes.sent.len()).filter(|&number| is_of(&notes.sent[number])).collect();
    all[all.len().saturating_sub(SENT_AGAIN_MAX)..].to_vec()
}

/// The last batches of all producers to all partitions, in the order in which they were sent first.
fn last_of_each(notes: &Notes) -> VecDeque<usize> {
    let is_last = |number: &usize| {
        let Sent { to, sequence, .. } = &notes.sent[*number];
        last_of(notes, sequence.producer_id, to).contains(number)
    };
    (0..notes.sent.len()).filter(is_last).collect()
}

impl LogSubject<Retried> {
    /// A new batch.
    fn send(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let (to, producer) = (any_partition(rng), rng.random_range(0..PRODUCERS));
        let producer_id = i64::from(producer);
        let last = last_of(notes, producer_id, &to);
        let drafts: Vec<_> = (0..rng.random_range(1..4))
            .map(|_| {
                let mut value = vec![0; rng.random_range(0..500)];
                rng.fill_bytes(&mut value);
                Draft::new(&to, self.next_id(producer, None), Some(value))
            })
            .collect();
        let unknown = last.iter().filter(|&&number| notes.sent[number].base.is_none()).count();
        if unknown >= SENT_AGAIN_MAX {
            // What isn't acknowledged has to stay among those that may be sent again.
            return Ok(());
        }
        let first = last.last().map_or(0, |&number| {
            let Sent { sequence, drafts, .. } = &notes.sent[number];
            sequence.first + i32::try_from(drafts.len()).expect("a few")
        });
        let sequence = Sequence { producer_id, epoch: 0, first };
        let batch = encode(&drafts, self.now_ms, Some(sequence));
        let begun = self.hand_over(&to, &drafts, batch, Some(notes.sent.len()), notes)?;
        if begun != Begun::NotTaken {
            notes.sent.push(Sent { to, sequence, drafts, made_ms: self.now_ms, base: None });
        }
        Ok(())
    }

    /// Sends what has to come first after a crash.
    fn send_again_first(&mut self, number: usize, notes: &mut Notes) -> Result<(), String> {
        match self.send_again(number, notes)? {
            Begun::Accepted(_) => drop(self.using.again.pop_front()),
            Begun::NotTaken => {}
            Begun::Failed => {
                // Nothing more gets into that partition in this life.
                let to = &notes.sent[number].to;
                self.using.again.retain(|&number| notes.sent[number].to != *to);
            }
        }
        Ok(())
    }

    fn send_any_again(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        let (to, producer) = (any_partition(rng), rng.random_range(0..PRODUCERS));
        let last = last_of(notes, i64::from(producer), &to);
        if last.is_empty() {
            return Ok(());
        }
        self.send_again(last[rng.random_range(0..last.len())], notes).map(drop)
    }

    fn send_again(&mut self, number: usize, notes: &mut Notes) -> Result<Begun, String> {
        let Sent { to, sequence, drafts, made_ms, .. } = &notes.sent[number];
        let batch = encode(drafts, *made_ms, Some(*sequence));
        let (to, drafts) = (to.clone(), drafts.clone());
        self.note(format_args!("the batch of {sequence:?} again"));
        let begun = self.hand_over(&to, &drafts, batch, Some(number), notes)?;
        if let (Begun::Accepted(base), Some(known)) = (&begun, notes.sent[number].base)
            && *base != known
        {
            return Err(format!("a batch at {known} of {to} was sent again and accepted at {base}"));
        }
        Ok(begun)
    }
}
