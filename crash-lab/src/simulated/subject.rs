//! [`Subject`]: an engine that can be moved by single steps, and the [`Notes`] that are taken of it.

use std::ops::Range;

use engine_env::Durability;
use engine_env::rng::Rng;
use engine_env::sim::SimHome;
use log_engine::{Offset, Sequence, TopicPartition};

use super::scenario::Setup;
use crate::stress::batch_plan::Draft;
use crate::stress::{Dump, Engine, Token};

/// A batch of an idempotent producer, as its client keeps it over the crashes of the log, to send it again.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) to: TopicPartition,
    pub(super) sequence: Sequence,
    pub(super) drafts: Vec<Draft>,
    /// When it was made, milliseconds.
    pub(super) made_ms: i64,
    /// Where it is, once that was acknowledged.
    pub(super) base: Option<Offset>,
}

impl Sent {
    /// It was acknowledged there.
    pub(super) fn is_at(&mut self, base: Offset) -> Result<(), String> {
        let known = *self.base.get_or_insert(base);
        if known == base {
            return Ok(());
        }
        let Self { to, sequence, .. } = self;
        Err(format!(
            "the batch of {sequence:?} is at {known} of {to}, and sent again it is told to be at {base}"
        ))
    }
}

/// What was attempted and acknowledged, and whether an operation has failed in this life.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) attempted: Vec<Token>,
    pub(super) acked: Vec<Token>,
    /// Read since somebody last looked: a reader was shown it, so it may not vanish.
    pub(super) seen: Vec<Token>,
    pub(super) failures: u64,
    /// The batches of idempotent producers, in the order in which they were first sent.
    pub(super) sent: Vec<Sent>,
    /// `interval:MS`: so many of `acked` were acknowledged before the last finished sync began.
    pub(super) synced: usize,
}

/// An engine on a simulated machine, from one opening to the next crash.
pub(super) trait Subject: Sized {
    const ENGINE: Engine;

    /// Recovers what the machine holds. `run` is the number of this life: IDs and clocks never repeat.
    fn open(
        home: &SimHome,
        setup: &Setup,
        durability: Durability,
        seed: u64,
        run: u64,
    ) -> Result<Self, String>;

    /// One step of the seed's choice. `Err` is a wrong answer: something no fault excuses.
    fn step(&mut self, rng: &mut Rng, notes: &mut Notes) -> Result<(), String>;

    /// `interval:MS`: the interval has passed. Syncs everything written so far; whether that is done.
    fn sync(&mut self) -> bool;

    /// Everything that can be read now. What is in flight needn't be finished.
    fn dump(&self) -> Dump;

    /// Whether `path` holds records: what may cost a record when it rots.
    fn holds_records(path: &str) -> bool;

    /// Where records stand in the bytes of a file that holds some.
    fn records_in(bytes: &[u8]) -> Vec<Range<u64>>;

    /// Finishes what is in flight and closes.
    fn close(self, notes: &mut Notes) -> Result<(), String>;
}

/// The text of an error with its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
