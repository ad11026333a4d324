//! [`Consumer`]: follows partitions of a log from a position in each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_env::clock::Monotonic;
use engine_env::{Home, Wait, Waker};

use crate::log::fetch::{FetchError, Fetched};
use crate::record::record::RecordView;
use crate::store::Log;
use crate::{Offset, TopicPartition};

/// Reads assigned partitions in turn. Positions are the caller's to keep: a new consumer starts where it is told.
#[derive(Debug)]
pub struct Consumer<H: Home> {
    log: Arc<Log<H>>,
    assigned: Vec<(TopicPartition, Offset)>,
    /// Whose turn it is.
    turn: usize,
    woken: Arc<AtomicBool>,
}

/// What a poll gave.
#[derive(Debug, Clone, Default)]
pub struct Consumed {
    fetched: Vec<Fetched>,
}

impl Consumed {
    /// Whether there was nothing new.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fetched.is_empty()
    }

    /// What was fetched, by partition.
    #[must_use]
    pub fn fetched(&self) -> &[Fetched] {
        &self.fetched
    }

    /// The records, those of a partition in order.
    pub fn records(&self) -> impl Iterator<Item = Result<(&TopicPartition, RecordView<'_>), FetchError>> {
        self.fetched.iter().flat_map(|f| f.records().map(move |r| r.map(|r| (f.partition(), r))))
    }
}

impl<H: Home> Consumer<H> {
    /// A consumer without partitions.
    #[must_use]
    pub fn new(log: Arc<Log<H>>) -> Self {
        Self { log, assigned: Vec::new(), turn: 0, woken: Arc::default() }
    }

    /// Follows `partition` from `position` on; moves there if it is followed already.
    pub fn assign(&mut self, partition: TopicPartition, position: Offset) {
        match self.assigned.iter_mut().find(|(p, _)| *p == partition) {
            Some((_, at)) => *at = position,
            None => self.assigned.push((partition, position)),
        }
    }

    /// The offset that comes next in a partition; `None` if it isn't followed.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.assigned.iter().find(|(p, _)| p == partition).map(|&(_, at)| at)
    }

    /// Ends a wait of [`Consumer::poll`] with nothing, from any thread: the one under way, or else the next.
    #[must_use]
    pub fn waker(&self) -> Waker {
        let (log, woken) = (Arc::clone(&self.log), Arc::clone(&self.woken));
        Waker::new(move || {
            woken.store(true, Ordering::Release);
            log.core().readable.advance();
        })
    }

    /// Records from the positions on, which move behind them: up to `max_bytes`, but at least a batch where there
    /// is one. Where there is nothing, waits for an append that readers may see, as `wait` says.
    ///
    /// # Errors
    /// A partition can't be read at its position. The others are as they were.
    pub fn poll(&mut self, max_bytes: usize, wait: Wait) -> Result<Consumed, FetchError> {
        let log = Arc::clone(&self.log);
        let readable = &log.core().readable;
        let clock = Monotonic::start();
        loop {
            let seen = readable.generation();
            let consumed = self.poll_now(max_bytes)?;
            if !consumed.is_empty() || self.woken.swap(false, Ordering::AcqRel) {
                return Ok(consumed);
            }
            // An append to a partition that isn't followed ends a wait too.
            let left = match wait {
                Wait::No => return Ok(consumed),
                Wait::Forever => Wait::Forever,
                Wait::AtMost(limit) => {
                    let left = limit.saturating_sub(Duration::from_nanos(clock.now_ns()));
                    if left.is_zero() {
                        return Ok(consumed);
                    }
                    Wait::AtMost(left)
                }
            };
            readable.wait(seen, left);
        }
    }

    fn poll_now(&mut self, max_bytes: usize) -> Result<Consumed, FetchError> {
        let mut fetched = Vec::new();
        let mut left = max_bytes;
        let count = self.assigned.len();
        for i in 0..count {
            let (partition, position) = &self.assigned[(self.turn + i) % count];
            let one = match self.log.fetch(partition, *position, left) {
                Ok(one) if one.is_empty() => continue,
                Ok(one) => one,
                Err(error) if fetched.is_empty() => {
                    // The others get their turn at the next poll.
                    self.turn = (self.turn + i + 1) % count;
                    return Err(error);
                }
                Err(_) => continue,
            };
            left = left.saturating_sub(one.len_bytes());
            fetched.push(one);
            if left == 0 {
                break;
            }
        }
        if count > 0 {
            self.turn = (self.turn + 1) % count;
        }
        for one in &fetched {
            let at = self.assigned.iter_mut().find(|(p, _)| p == one.partition());
            at.expect("it was fetched because it is assigned").1 = one.next_offset();
        }
        Ok(Consumed { fetched })
    }
}
